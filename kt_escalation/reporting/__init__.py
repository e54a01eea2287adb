"""What a store can tell from its records and history: events, statistics, exports, evidence, and the report page."""
