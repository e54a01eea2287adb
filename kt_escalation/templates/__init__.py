"""What `kt escalation init` writes into a new store."""
