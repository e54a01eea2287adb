"""`python -m kt_escalation` is `kt`."""

from .cli import main

main()
