"""`golden/errors.txt`: every error as somebody meets it, with the command as typed, to be read at one go.

`UPDATE_GOLDEN=1 pytest tests/test_cli_edges.py tests/test_cli_governing.py tests/test_faults.py tests/test_feed.py tests/test_releases.py tests/test_report.py`
writes it anew.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

import book
from lab import Ran

FILE = Path(__file__).parent / "golden/errors.txt"
#: What nobody should have to read: words of the inside.
JARGON = re.compile(r"Traceback|Error\b|Exception|pydantic|NoneType|<class|refspec|errno|cat-file|None\b")


def told() -> dict[str, str]:
    """Exit code, command and line by error code."""
    return _parsed(FILE.read_text() if FILE.exists() else "")


def hold(ran: Ran, folder: Path) -> None:
    """Hold an error that `--json` has told to the book; ``folder`` is where the test is."""
    hold_line(ran.error["code"], ran.code, ran.error["message"], folder, ran.args)


def hold_line(code: str, exit_code: int, line: str, folder: Path, typed: Sequence[str]) -> None:
    """The same for a line; ``typed`` is what followed `kt escalation`."""
    settled = _settled(line, folder)
    # Of a bug nobody knows beforehand what there is to say.
    assert code == "bug" or not JARGON.search(settled), settled
    command = shlex.join(word for word in typed if word != "--json").replace(str(folder), "<folder>")
    text = f"{exit_code}\n$ kt escalation {command}\n{settled}\n"
    if os.environ.get("UPDATE_GOLDEN"):
        book.renew(FILE, code, text, _parsed, lambda code, said: f"{code} {said}")
    assert told().get(code) == text


def _settled(line: str, folder: Path) -> str:
    """A line without what differs from run to run."""
    settled = line.replace(str(folder), "<folder>")
    settled = re.sub(r"/\S*kt-crash-\w+\.log", "<file>", settled)
    settled = re.sub(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", settled)
    settled = re.sub(r"\b(?=[a-f]*\d)[0-9a-f]{12,64}\b", "<id>", settled)
    settled = re.sub(r"(?<![a-z0-9])01[0-9a-z]{24}\b", "<claim id>", settled)
    settled = re.sub(r"process \d+", "process <pid>", settled)
    settled = re.sub(r"\d{4}/\d\d/\d\d", "<day>", settled)
    settled = re.sub(r"not known \(.*?\); (?=run)", "not known (<what git said>); ", settled)
    return re.sub(r"\b\d+(\.\d+)? (s|times?|tries|try)\b", r"<n> \2", settled)


def _parsed(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) (\d+\n\$ .*\n.*\n)\n?", text, re.MULTILINE))
