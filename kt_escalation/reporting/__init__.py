"""Reports from records and history: events, statistics, exports, evidence, and the report page."""
