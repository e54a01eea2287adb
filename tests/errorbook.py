"""`golden/errors.txt`: the line of every error as somebody meets it, to be read at one go.

`UPDATE_GOLDEN=1 pytest tests/test_cli_edges.py tests/test_cli_governing.py tests/test_faults.py tests/test_feed.py`
writes it anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from lab import Ran

FILE = Path(__file__).parent / "golden/errors.txt"
#: What nobody should have to read: words of the inside.
JARGON = re.compile(r"Traceback|Error\b|Exception|pydantic|NoneType|<class|refspec|errno|cat-file|None\b")


def told() -> dict[str, str]:
    """Exit code and line by error code."""
    text = FILE.read_text() if FILE.exists() else ""
    return dict(re.findall(r"^(\w+) (\d+\n.*\n)\n?", text, re.MULTILINE))


def hold(ran: Ran, folder: Path) -> None:
    """Hold an error that `--json` has told to the book; ``folder`` is where the test is."""
    hold_line(ran.error["code"], ran.code, ran.error["message"], folder)


def hold_line(code: str, exit_code: int, line: str, folder: Path) -> None:
    """The same for a line."""
    settled = line.replace(str(folder), "<folder>")
    settled = re.sub(r"/\S*kt-crash-\w+\.log", "<file>", settled)
    settled = re.sub(r"\b\d{4}-\d\d-\d\dT[\d:.]+Z", "<time>", settled)
    settled = re.sub(r"\b(?=[a-f]*\d)[0-9a-f]{12,64}\b", "<id>", settled)
    settled = re.sub(r"(?<![a-z0-9])01[0-9a-z]{24}\b", "<claim id>", settled)
    settled = re.sub(r"process \d+", "process <pid>", settled)
    settled = re.sub(r"\d{4}/\d\d/\d\d", "<day>", settled)
    settled = re.sub(r"not known \(.*?\); (?=run)", "not known (<what git said>); ", settled)
    settled = re.sub(r"\b\d+(\.\d+)? (s|times?|tries|try)\b", r"<n> \2", settled)
    # Of a bug nobody knows beforehand what there is to say.
    assert code == "bug" or not JARGON.search(settled), settled
    found = told()
    if os.environ.get("UPDATE_GOLDEN"):
        found[code] = f"{exit_code}\n{settled}\n"
        FILE.write_text("\n".join(f"{name} {text}" for name, text in sorted(found.items())))
    assert found.get(code) == f"{exit_code}\n{settled}\n"
