"""What may happen to an escalation, and who may do it: pure functions, used both to act and to judge."""
