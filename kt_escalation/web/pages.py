"""Renders the desk's pages as HTML. Every text is escaped, and hidden characters are marked.

A hidden character (a control, a direction override) is in an element that shows its escape and contains the
character itself. A reader sees it, it cannot reverse other text, and copying gives the original text.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ..model.text import visible
from ..model.times import age, format_time, moments_in, parse_time
from ..model.vocabulary import CATEGORIES, DECISIONS, OUTCOMES, SEVERITIES
from ..reporting import facts, plain_text
from ..reporting.facts import Said
from .desk import VIEWS
from .plain import Plain, sentence

_NUL = "\x00"
# A parser would turn the character itself into a line feed.
_RETURN = Markup("&#13;")
_HIDDEN = Markup('<bdi class="hidden" data-seen="{}" data-point="{}">{}</bdi>')
# Hidden characters that may stay in a text.
_LAYOUT = "\n\t"
#: A longer text is folded up at first.
LONG = 2_000


class Pages:
    """The templates of one desk."""

    def __init__(self, **always: Any) -> None:
        self._environment = Environment(
            loader=ChoiceLoader(
                [PackageLoader("kt_escalation.web"), PackageLoader("kt_escalation", "templates")]
            ),
            autoescape=True,
            undefined=StrictUndefined,
            finalize=_seen,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters |= {
            "exact": escape,
            "escaped": visible,
            "when": when,
            "moment": lambda text: when(parse_time(text)),
            "said": said,
            "told": lambda text: said(moments_in(text)),
            "whom": plain_text.whom,
            "age": lambda text, now: age(now - parse_time(text)),
            "due_now": lambda text, now: parse_time(text) <= now,
            "ends": ends,
            "moment_of": parse_time,
            "spelled": facts.spelled,
            "sentence": sentence,
            "plain": Plain.of,
            "tone": lambda word: f"is-{word}" if word in _TONES else "",
            "words": lambda text: str(text).replace("_", " "),
            "label": lambda name: _LABELS.get(name, str(name).replace("_", " ")),
        }
        self._environment.globals |= {
            "views": tuple(VIEWS),
            "categories": CATEGORIES,
            "decisions": DECISIONS,
            "severities": SEVERITIES,
            "verbs": _VERBS,
            "long": LONG,
            "difference": facts.difference,
            "status_of": facts.status,
            **always,
        }

    def render(self, name: str, given: Mapping[str, Any]) -> str:
        """Render a page as HTML."""
        return self._environment.get_template(f"{name}.html").render({"now": datetime.now(UTC), **given})


#: The key of each outcome, and its verb.
_VERBS = {
    "approved": ("a", "Approve"),
    "redacted": ("r", "Redact"),
    "rewritten": ("w", "Rewrite"),
    "denied": ("d", "Deny"),
}
#: The words that have a colour. A verdict is a foreign word, and becomes a class only if it is in this list.
_TONES = frozenset({*SEVERITIES, *OUTCOMES, "allow", "block", "escalate"})
_LABELS = {"claimable": "Claimable", "mine": "Mine", "overdue": "Overdue", "all": "All open"}


def _seen(value: object) -> object:
    """Mark the hidden characters of every printed text."""
    return marked(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def marked(text: str) -> Markup:
    """The text as HTML in which every hidden character is visible and can be copied."""
    if text.isascii() and text.isprintable():
        return escape(text)
    return Markup("").join(_marked(char) for char in text)


def _marked(char: str) -> Markup | str:
    shown = visible(char)
    if char in _LAYOUT or shown == char:
        return char
    # HTML cannot hold NUL, nor UTF-8 half a character. The script puts them in by their number.
    lost = char == _NUL or 0xD800 <= ord(char) < 0xE000
    held = "" if lost else _RETURN if char == "\r" else char
    return _HIDDEN.format(shown, f"{ord(char):x}" if lost else "", held)


def when(moment: datetime | None) -> Markup:
    """A time, short and local, with the exact time in a tooltip."""
    if moment is None:
        return Markup("–")
    local = moment.astimezone()
    short = f"{local.day} {local:%b}" + (f" {local.year}" if local.year != datetime.now(UTC).year else "")
    exact = format_time(moment)
    return Markup('<time datetime="{0}" title="{0}">{1}</time>').format(exact, f"{short}, {local:%H:%M}")


def ends(end: datetime, now: datetime, lease: bool) -> str:
    """The end of a lease or deadline, as precisely as people need it."""
    left = plain_text.left(end, now)
    if end > now:
        return f"{'lease ends' if lease else 'due'} in {left}"
    return f"{'lease ended' if lease else 'was due'} {left}"


def said(parts: Said) -> Markup:
    """A text with its times formatted."""
    return Markup("").join(marked(part) if isinstance(part, str) else when(part) for part in parts)
