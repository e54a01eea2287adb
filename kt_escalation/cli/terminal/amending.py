"""Lets a reviewer amend what is proposed, in an editor, and shows the difference."""

from __future__ import annotations

from collections.abc import Iterator

import click

from ...actions import amendments
from ...errors import BadAmendment, BadInput
from ...model.record import Amendment, Record
from ...model.text import visible
from ...model.vocabulary import Outcome
from ...reporting import facts
from ...rules import amending
from . import screen
from .keyboard import Keyboard


def asked(keyboard: Keyboard, record: Record, outcome: Outcome) -> Amendment | None:
    """Ask for an amendment in the user's editor, until it fits. None if the reviewer cancels."""
    before = facts.text_of(facts.proposed(record))
    draft, what = before, f"{record.action.kind} {record.action.name}" if record.action else "the request"
    about = f"{record.escalation_id}: what {what} is {outcome} to, as JSON or text; nothing cancels"
    while True:
        draft = keyboard.text(about, draft)
        if not draft:
            return None
        try:
            found = amending.fitting(record, outcome, amendments.read(draft.encode()))
        except (BadAmendment, BadInput) as error:
            click.echo(visible(error.summary))
            if keyboard.key("e edit it again  c cancel:", {"e": "edit", "c": "cancel"}, back=True) == "c":
                return None
            continue
        for line in difference(before, draft):
            click.echo(line)
        return found


def difference(before: str, after: str) -> Iterator[str]:
    """The difference of two texts, line by line, for a terminal."""
    tones = {"+": "approved", "-": "denied", "@": "faint"}
    for line in facts.difference(before, after):
        yield from screen.lines((line, tones.get(line[:1], "")))
