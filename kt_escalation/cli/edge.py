"""Turns every error into one message and an exit code. No other module does this."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence

import click

from ..errors import Bug, GitFailed, Interrupted, KtError, OutcomeUnknown, SeveralFailed, Usage
from ..storage.effect import EffectOutcome
from . import app, signals
from .output import discard_output, for_people, settle_streams
from .stores import work


def run(program: str, args: Sequence[str]) -> int:
    """Run a command line and return its exit code. See docs/reference.md, *Exit codes*."""
    as_json = "--json" in args
    try:
        try:
            work.begin()
            signals.begin()
            _fill_closed_streams()
            group = app.kt if program == "kt" else app.escalation
            code = group.main(args=list(args), prog_name=program, standalone_mode=False)
            sys.stdout.flush()
            settle_streams()
            signals.end()
            return code if isinstance(code, int) else 0
        except (Exception, KeyboardInterrupt) as error:
            code = _ended_by(error, as_json)
            settle_streams()
            signals.end()
            return code
    except (Exception, KeyboardInterrupt) as error:
        # The error handling itself was interrupted or failed.
        signals.end()
        code = _ended_by(error, as_json)
        settle_streams()
        return code


def _ended_by(error: BaseException, as_json: bool) -> int:
    """Report the error that ended a command, and return the exit code.

    The exit code depends on what the recorded effects of the command say, not on the error. See
    docs/design.md.
    """
    if isinstance(error, app.ReaderGone | OSError):
        discard_output()
    effects = () if isinstance(error, OutcomeUnknown) else tuple(work.effects)
    for effect in effects:
        if effect.outcome in (EffectOutcome.SENT, EffectOutcome.UNKNOWN):
            return _fail(effect.given_up(_words(error)), as_json)
    landed = [effect.commit for effect in effects if effect.outcome is EffectOutcome.LANDED and effect.commit]
    if landed and not work.is_session:
        if not isinstance(error, app.ReaderGone | BrokenPipeError):
            listed = ", ".join(commit[:12] for commit in landed)
            what = f"commit {listed} has" if len(landed) == 1 else f"commits {listed} have"
            _say(f"{what} landed, but the report was cut short: {_words(error)}")
        return 0
    if isinstance(error, click.ClickException):
        return _usage(error, as_json)
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return _fail(Interrupted(), as_json)
    if isinstance(error, app.ReaderGone | BrokenPipeError) and not effects:
        # The reader of the output has stopped. There is nothing else to do.
        return 0
    if isinstance(error, OSError):
        what = "the output could not be written" if _is_of_output(error) else "this machine failed"
        return _fail(GitFailed(says=f"{what}: {{words}}", words=_words(error)), as_json)
    if signals.asked() and not isinstance(error, KtError):
        return _fail(Interrupted(), as_json)
    return _fail(error if isinstance(error, KtError) else _bug(error, landed), as_json)


def _is_of_output(error: OSError) -> bool:
    """Whether the error comes from writing the output: from click, or from the last flush here."""
    at = error.__traceback__
    while at and at.tb_next:
        at = at.tb_next
    return at is not None and at.tb_frame.f_code.co_filename in (click.utils.__file__, __file__)


def _words(error: BaseException) -> str:
    """The error that ended a command, in words. For a bug, also where to read more."""
    if isinstance(error, click.Abort | KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, KtError):
        return error.summary
    return _bug(error, []).message


def _fill_closed_streams() -> None:
    """Open the null device for each closed standard stream, so that no other file gets its number.

    Reading from a closed stdin is an error. Output to a closed stream is discarded.
    """
    for name, mode, way in (
        ("stdin", "r", os.O_WRONLY),
        ("stdout", "w", os.O_RDWR),
        ("stderr", "w", os.O_RDWR),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, way), mode, closefd=False))


def _usage(error: click.ClickException, as_json: bool) -> int:
    where = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        where = f"see `{error.ctx.command_path} --help`"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return Usage.exit_code
    # click puts each value of a choice on a line of its own.
    problem = error.format_message().rstrip(".").replace("\n\t", "\n").replace("\n", " ")
    return _fail(Usage(problem=problem, hint=where), as_json)


def _bug(error: BaseException, landed: Sequence[str]) -> Bug:
    import tempfile
    import traceback

    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="kt-crash-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"{' '.join(sys.argv)!r}\n")
            file.write("".join(traceback.format_exception(error)))
        where = file.name
    except OSError as problem:
        where = f"no file, as none could be written ({problem.strerror})"
    commit = landed[-1] if landed else None
    pushed = f"; commit {commit} had landed" if commit else ""
    return Bug(problem=f"{type(error).__name__}: {error}", traceback=where, pushed=pushed, commit=commit)


def _fail(error: KtError, as_json: bool) -> int:
    error.only_read = not work.changes
    if as_json:
        _print(json.dumps({"error": error.as_json()}))
    elif isinstance(error, SeveralFailed):
        for failure in error.failures:
            where = f"line {failure.where}" if isinstance(failure.where, int) else failure.where
            _say(f"{where}: {failure.error.message}")
        _say(error.remedy)
    else:
        _say(error.message)
    return error.exit_code


def _say(text: str) -> None:
    _print(f"kt: {for_people(text, sys.stderr)}")


def _print(text: str) -> None:
    # If stderr cannot be written either, there is still the exit code.
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201
