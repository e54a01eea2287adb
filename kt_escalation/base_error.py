"""The root of all errors of kt: it fills an error's sentence with the error's facts. The errors are in errors.py."""

from __future__ import annotations

import re
import shlex
from typing import Any, ClassVar

# `{fact}`, `{fact:format}`, `{fact:sh}` as a word for a shell, or a number with its noun: `{tries:try|tries}`.
_PLACE = re.compile(r"\{(\w+)(?::([\w|]+))?\}")


class KtError(Exception):
    """The root of all errors that kt raises on purpose.

    ``code`` is the stable name for scripts, ``exit_code`` the exit of the command line, ``facts``
    what is known, as JSON values.
    """

    code: ClassVar[str] = "error"
    exit_code: int = 2
    says: ClassVar[str] = "{problem}"
    #: Said before the hint to whoever wanted something changed; of no use to who only reads.
    unchanged: ClassVar[str] = ""
    hint: ClassVar[str] = ""
    only_read = False

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self.facts: dict[str, Any] = facts

    @property
    def what(self) -> str:
        """What happened."""
        return self._fill(self.facts.get("says", self.says))

    @property
    def remedy(self) -> str:
        """What to do next, empty where nothing can be said."""
        return self._fill(self.facts.get("hint", self.hint))

    @property
    def message(self) -> str:
        """What happened and what to do next, in one line."""
        unchanged = "" if self.only_read else self.facts.get("unchanged", self.unchanged)
        return "; ".join(filter(None, (self.what, unchanged, self.remedy)))

    def _fill(self, template: str) -> str:
        """The template with each fact in its place; braces that name none are somebody's own text."""
        return _PLACE.sub(lambda found: self._fact(found), template)

    def _fact(self, found: re.Match[str]) -> str:
        name, form = found.groups()
        if name not in self.facts:
            return found[0]
        one, bar, more = (form or "").partition("|")
        if bar:
            return f"{self.facts[name]} {one if self.facts[name] == 1 else more}"
        if form == "sh":
            return shlex.quote(str(self.facts[name]))
        return format(self.facts[name], form or "")

    def __str__(self) -> str:
        return self.message

    def as_json(self) -> dict[str, Any]:
        """The body of ``{"error": …}``: code, message, and the facts."""
        facts = {key: value for key, value in self.facts.items() if key not in ("says", "hint", "unchanged")}
        return {"code": self.code, "message": self.message, **facts}
