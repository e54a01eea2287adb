"""The violations of a check in the formats of CI systems: JUnit, GitHub's commands, GitLab's code quality."""

from __future__ import annotations

import hashlib
import html
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from ..frozen import dataclass
from ..model.text import plural, visible

if TYPE_CHECKING:
    from ..rules.judge_step import Violation
    from . import Report

# What GitHub shows of a step's errors, and of its warnings (GitHub documentation, workflow commands, limits); a job shows 50.
ANNOTATIONS = 10
# What GitHub takes of a step's summary (GitHub documentation, workflow commands, job summaries).
MAX_SUMMARY = 1024 * 1024
_ROOM_FOR_END = 1024


@dataclass(frozen=True)
class Annotation:
    """One line for GitHub to show beside a file: where (``line`` 0: the file as a whole) and what."""

    file: str
    text: str
    line: int = 0
    column: int = 0


def for_github(notes: Sequence[Annotation], level: Literal["error", "warning"] = "error") -> Iterator[str]:
    """GitHub workflow commands, up to the number that GitHub shows of a level.

    The last one counts the rest, which are plain log lines.
    """
    shown = notes if len(notes) <= ANNOTATIONS else notes[: ANNOTATIONS - 1]
    for note in shown:
        place = f",line={note.line},col={note.column}" if note.line else ""
        yield f"::{level} file={_property(note.file)}{place}::{_data(note.text)}"
    rest = notes[len(shown) :]
    for note in rest:
        place = f":{note.line}:{note.column}" if note.line else ""
        yield _plain(f"- {note.file}{place}: {note.text}")
    if rest:
        yield f"::{level}::and {len(rest)} more, in this step's log"


def _plain(text: str) -> str:
    # The runner takes the old form of a command, `##[…]`, anywhere in a line.
    return visible(text).replace("##[", "## [")


def _data(text: str) -> str:
    plain = _plain(text)
    return plain.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def notes(report: Report) -> list[Annotation]:
    """The violations as notes for GitHub."""
    return [Annotation(o.path, f"{o.rule}: {o.expected} ({_where(o)})") for o in report.violations]


def _where(violation: Violation) -> str:
    return f"{violation.commit[:12]}{f' by {violation.author}' if violation.author else ''}"


def write_summary(report: Report, told: str) -> str | None:
    """Append to the step's summary, if GitHub names a file for it. Returns the reason if that failed, else None."""
    name = os.environ.get("GITHUB_STEP_SUMMARY")
    if not name:
        return None
    try:
        with open(name, "ab") as file:  # noqa: PTH123 - a name from the environment
            file.write(summary(report, told, MAX_SUMMARY - file.tell()).encode())
    except OSError as error:
        return f"the step's summary could not be written: {error.strerror}"
    return None


def summary(report: Report, told: str, room: int = MAX_SUMMARY) -> str:
    """The report as Markdown of at most ``room`` bytes, in which foreign text has no markup.

    It is in an HTML table: Markdown is not parsed from the table's first line to the next empty one
    (CommonMark, HTML blocks), and everything is escaped for HTML.
    """
    verdict = plural(len(report.violations), "violation") if report.violations else "every step is legal"
    text = f"### kt escalation check: {verdict}\n\n<p>{_cell(told)}</p>\n\n"
    if report.violations:
        text += "<table>\n<tr><th>rule</th><th>file</th><th>commit</th><th>expected</th></tr>\n"
        size = len(text.encode())
        for number, violation in enumerate(report.violations):
            cells = (violation.rule, violation.path, _where(violation), violation.expected)
            row = f"<tr>{''.join(f'<td><code>{_cell(cell)}</code></td>' for cell in cells)}</tr>\n"
            size += len(row.encode())
            if size > room - _ROOM_FOR_END:
                text += f"<tr><td colspan=4>and {len(report.violations) - number} more</td></tr>\n"
                break
            text += row
        text += "</table>\n\n"
    return text if len(text.encode()) <= room else ""


def _cell(text: str) -> str:
    return html.escape(visible(text))


def junit(report: Report, told: str) -> str:
    """The report as JUnit XML: a failure for each violation, one skipped for each that is waived."""
    from xml.etree import ElementTree

    cases = [(violation, "failure") for violation in report.violations]
    cases += [(violation, "skipped") for violation in report.waived]
    counts = {
        "tests": str(len(cases) or 1),
        "failures": str(len(report.violations)),
        "skipped": str(len(report.waived)),
        "errors": "0",
    }
    name = "kt escalation check"
    root = ElementTree.Element("testsuites", {"name": name, **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    for violation, kind in cases:
        # Readers take equal names for one test, so the commit and the rule are part of it.
        called = {
            "classname": visible(violation.path),
            "name": visible(f"{violation.rule} in {violation.commit[:12]}: {violation.expected}"),
            "file": visible(violation.path),
        }
        case = ElementTree.SubElement(suite, "testcase", called)
        found = ElementTree.SubElement(
            case, kind, {"type": visible(violation.rule), "message": visible(violation.expected)}
        )
        found.text = visible(_line(violation))
    if not cases:
        ElementTree.SubElement(suite, "testcase", {"classname": name, "name": "every step is legal"})
    ElementTree.SubElement(suite, "system-out").text = visible(told)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def code_quality(report: Report) -> str:
    """The report as GitLab's code quality JSON (GitLab documentation, code quality, custom tools).

    The fingerprint of a finding stays the same if its branch is rebased: it is made of the rule, the file and
    the author, and of a number if one author breaks one rule in one file more than once.
    """
    seen: Counter[str] = Counter()
    rows = []
    for violation in report.violations:
        key = "\0".join((violation.rule, violation.path, violation.author.casefold()))
        seen[key] += 1
        rows.append(
            {
                "description": visible(f"{violation.expected} ({_where(violation)})"),
                "check_name": f"kt/{violation.rule}",
                "fingerprint": hashlib.sha256(f"{key}\0{seen[key]}".encode(errors="replace")).hexdigest(),
                "severity": "blocker",
                "location": {"path": visible(violation.path), "lines": {"begin": 1}},
            }
        )
    return json.dumps(rows, indent=2) + "\n"


def _line(violation: Violation) -> str:
    from .report import violation_line

    return violation_line(violation)
