"""An exit code never lies: whatever fails, and wherever, it agrees with the history."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from campaign import ERRORS, Case, Tracer, cases

# --- the exception campaign -------------------------------------------------------------------------

#: Of these a few lines are tried in every run, of all of them each line in the soak.
SLICE = ("claim", "resolve without a remote", "several")


def campaign(case: Case, folder: Path, every: int) -> int:
    """Raise something at one in so many of the lines behind the push; how often that was."""
    case.build(folder / "ground")
    # The first run imports what the others have.
    for name in ("first", "seen"):
        seen = Tracer()
        ran = case.run(folder / name, seen)
        assert ran.code == 0, ran.err
        case.judge(folder / name, ran)
    raised, wrong = 0, []
    every_one = [(place, error) for place in seen.seen for error in ERRORS]
    for number, (place, error) in enumerate(every_one[::every]):
        tracer, where = Tracer(place, ERRORS[error]), folder / f"run{number}"
        ran = case.run(where, tracer)
        # A line that waits for something may not be met each time.
        raised += tracer.raised
        try:
            case.judge(where, ran)
        except AssertionError as told:
            wrong.append(f"{error} at {place[0]}:{place[1]}: {told}")
        # A push without an answer may still be at work there.
        shutil.rmtree(where, ignore_errors=True)
    assert not wrong, "\n".join([f"{case}:", *wrong])
    return raised


@pytest.mark.parametrize("case", [case for case in cases() if str(case) in SLICE], ids=str)
def test_whatever_is_raised_behind_the_push_the_exit_code_agrees_with_history(
    case: Case, tmp_path: Path
) -> None:
    # A prime, so that each error comes to many lines.
    assert campaign(case, tmp_path, 151) >= 4


@pytest.mark.soak
@pytest.mark.parametrize("case", cases(), ids=str)
def test_whatever_is_raised_at_each_line_behind_the_push_the_exit_code_agrees_with_history(
    case: Case, tmp_path: Path
) -> None:
    assert campaign(case, tmp_path, 1) >= 400
