"""The message of a commit: text for people who read `git log`, and trailers for scripts."""

from __future__ import annotations

from collections.abc import Sequence

from ..frozen import dataclass
from ..model.text import without_hidden

MAX_NAMED = 100


@dataclass(frozen=True)
class Message:
    """The parts of a commit message; ``text`` is the reviewer's own words."""

    action: str
    escalation_ids: Sequence[str]
    actor: str
    claim_id: str | None = None
    outcome: str | None = None
    detail: str = ""
    text: str | None = None
    release_id: str | None = None

    def __str__(self) -> str:
        named = sorted(self.escalation_ids)
        what = named[0] if len(named) == 1 else f"{len(named)} escalations"
        subject = f"kt: {self.action} {what}"
        if self.outcome:
            subject += f" as {self.outcome}"
        if self.detail:
            subject += f" {_line(self.detail)}"
        trailers = [f"Kt-Action: {self.action}"]
        trailers += [f"Kt-Escalation: {name}" for name in named[:MAX_NAMED]]
        if len(named) > 1:
            trailers.append(f"Kt-Count: {len(named)}")
        trailers.append(of_actor(self.actor))
        if self.claim_id:
            trailers.append(f"Kt-Claim: {self.claim_id}")
        if self.outcome:
            trailers.append(f"Kt-Outcome: {self.outcome}")
        if self.release_id:
            trailers.append(f"Kt-Release: {self.release_id}")
        parts = [subject]
        body = _indented(self.text) if self.text else ""
        if body:
            parts.append(body)
        parts.append("\n".join(trailers))
        return "\n\n".join(parts) + "\n"


def in_folder(message: str, root: str) -> str:
    """A message about the store in a folder; ``root`` is empty for the repository's top.

    It names the folder, because a repository may have several stores, and each one's judge reads all messages.
    """
    has_trailers = message.rpartition("\n\n")[2].startswith("Kt-Action: ")
    return f"{message}Kt-Root: {_line(root)}\n" if root and has_trailers else message


def of_actor(actor: str) -> str:
    """The trailer that names the actor."""
    return f"Kt-Actor: {_line(actor)}"


@dataclass(frozen=True)
class PlainMessage:
    """The message of a commit that is not about an escalation: a subject, and the author's text."""

    subject: str
    text: str

    def __str__(self) -> str:
        return f"{_line(self.subject)}\n\n{_indented(self.text)}\n"


def _line(text: str) -> str:
    return " ".join(without_hidden(text).split())


def _indented(text: str) -> str:
    """The text with four spaces before every line, so that no line can be a trailer or the `---` of a patch."""
    lines = [line.rstrip() for line in without_hidden(text).strip("\n").split("\n")]
    return "\n".join(f"    {line}" if line else "" for line in lines)
