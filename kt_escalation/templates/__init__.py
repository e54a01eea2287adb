"""The files that `kt escalation init` writes into a new store."""
