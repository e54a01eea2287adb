"""Error messages for people who have never used git: plain words first, and git's own words separately."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import GitFailed, KtError, OutcomeUnknown, PushRefused, RemoteFault, RemoteUnreachable

# By error: what it means for a reviewer.
_SAID: tuple[tuple[type[KtError], str], ...] = (
    (RemoteUnreachable, "The remote cannot be reached, so nothing was changed. Try again when it answers."),
    (PushRefused, "The remote does not allow this change, so nothing was changed. Ask its administrator."),
    (RemoteFault, "The remote could not store the change, so nothing was changed. Tell its administrator."),
    (
        OutcomeUnknown,
        "The change was sent, but the remote’s answer was lost. Do the same again: it is not done twice.",
    ),
    (GitFailed, "Git failed on this machine, so nothing was changed."),
)


class Plain(NamedTuple):
    """An error in whole sentences, and git's own words (empty if there are none)."""

    said: str
    words: str = ""

    @staticmethod
    def of(error: KtError) -> Plain:
        """The message of an error for a reviewer."""
        for kind, said in _SAID:
            if isinstance(error, kind):
                return Plain(said, str(error.facts.get("words", "")))
        return Plain(sentence(error.summary))


def sentence(text: str) -> str:
    """A message as one sentence, with a full stop.

    The first letter becomes a capital unless the message begins with a name such as an id.
    """
    text = text.rstrip(".")
    return (text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text) + "."
