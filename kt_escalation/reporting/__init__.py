"""What history and records say: events, numbers, exports, evidence, and the page."""
