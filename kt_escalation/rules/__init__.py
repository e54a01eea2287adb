"""What may happen to an escalation, and by whom: pure functions, used to act and to judge."""
