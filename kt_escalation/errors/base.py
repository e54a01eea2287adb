"""The root of all errors of kt. It fills an error's facts into its sentence.

The other modules of this package have the errors themselves.
"""

from __future__ import annotations

import re
import shlex
from typing import Any, ClassVar, dataclass_transform

# `{fact}`, `{fact:format}`, `{fact:sh}` as a word for a shell, or a number with its noun: `{tries:try|tries}`.
_PLACE = re.compile(r"\{(\w+)(?::([\w|]+))?\}")
_TEMPLATES = ("says", "unchanged", "hint")


@dataclass_transform(kw_only_default=True, eq_default=False)
class _Declared(Exception):
    """Lets type checkers derive the keywords of each error below from the attributes that it declares."""


class KtError(_Declared):
    """The root of all errors that kt raises on purpose.

    ``code`` is the stable name for scripts, and ``exit_code`` the exit code of the command line. Each class
    declares its facts as typed attributes, such as ``claimed_by`` of AlreadyClaimed. All facts are JSON values.

    A fact is given as a keyword. The keywords ``says``, ``unchanged`` and ``hint`` replace the templates of
    the class in this one error. An unknown keyword raises TypeError.
    """

    code: ClassVar[str] = "error"
    exit_code = 2
    #: What happened, with the facts in braces.
    says: str = "{problem}"
    #: That nothing was changed. It comes before the hint, but not for a command that only reads.
    unchanged: str = ""
    #: What to do next.
    hint: str = ""
    #: The path of the store, if a command works on several.
    store: str | None = None
    #: What kept other stores from being used, if a command works on several.
    besides: str | None = None
    #: In a stream: the number of the first line without a result.
    unacknowledged_from: int | None = None
    only_read = False
    #: The names of the facts that an error of this class may have.
    fact_names: ClassVar[frozenset[str]] = frozenset({"store", "besides", "unacknowledged_from"})

    def __init_subclass__(cls) -> None:
        # Annotations are texts here, because of `from __future__ import annotations`.
        declared = {
            name for name, kind in vars(cls).get("__annotations__", {}).items() if "ClassVar" not in kind
        }
        taken = {name for name in declared - cls.fact_names if hasattr(KtError, name)}
        if taken:
            raise TypeError(
                f"{cls.__name__} declares what every error has already: {', '.join(sorted(taken))}"
            )
        cls.fact_names = cls.fact_names | declared

    def __init__(self, **given: Any) -> None:
        super().__init__()
        for name, value in given.items():
            if name not in self.fact_names and name not in _TEMPLATES:
                raise TypeError(f"{type(self).__name__} has no fact {name!r}")
            setattr(self, name, value)

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that are known, by name, in the order in which they were given."""
        return {name: value for name, value in vars(self).items() if name in self.fact_names}

    @property
    def summary(self) -> str:
        """What happened, in one sentence."""
        return self._fill(self.says)

    @property
    def remedy(self) -> str:
        """What to do next. Empty if there is nothing to suggest."""
        return self._fill(self.hint)

    @property
    def message(self) -> str:
        """What happened and what to do next, in one line."""
        unchanged = "" if self.only_read else self.unchanged
        return "; ".join(filter(None, (self.summary, unchanged, self.remedy)))

    def _fill(self, template: str) -> str:
        """The template with each fact in its place. Braces that name no fact stay as they are."""
        facts = self.facts

        def fact(found: re.Match[str]) -> str:
            name, form = found.groups()
            if name not in facts:
                return found[0]
            one, bar, more = (form or "").partition("|")
            if bar:
                return f"{facts[name]} {one if facts[name] == 1 else more}"
            if form == "sh":
                return shlex.quote(str(facts[name]))
            return format(facts[name], form or "")

        return _PLACE.sub(fact, template)

    def __str__(self) -> str:
        return self.message

    def as_json(self) -> dict[str, Any]:
        """The body of ``{"error": …}``: code, message, and the facts."""
        return {"code": self.code, "message": self.message, **self.facts}
