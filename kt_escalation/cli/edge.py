"""The edge: every error of the tool becomes one line and an exit code here, and nowhere else."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Sequence

import click

from ..core.text import visible
from ..errors import Bug, GitFailed, Interrupted, KtError, SeveralFailed, Usage
from . import app


def run(program: str, args: Sequence[str]) -> int:
    """Run a command line; give its exit code (design, section 8)."""
    _fill_closed_streams()
    app.work.changes = False
    group = app.kt if program == "kt" else app.escalation
    as_json = "--json" in args
    try:
        code = group.main(args=list(args), prog_name=program, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        return _usage(error, as_json)
    except (click.Abort, KeyboardInterrupt):
        return _fail(Interrupted(), as_json)
    except KtError as error:
        return _fail(error, as_json)
    except (app.ReaderGone, BrokenPipeError):
        # Whoever read us has stopped; what was to be done is done.
        app.discard_output()
        return 0
    except OSError as error:
        app.discard_output()
        return _machine_failed(error, as_json)
    except Exception as error:
        return _fail(_bug(error), as_json)
    return code if isinstance(code, int) else 0


def _fill_closed_streams() -> None:
    """Put the null device where a standard stream was closed, so that no file of ours takes its number.

    Whoever reads a closed stdin is told; what is written nowhere is written nowhere.
    """
    for name, mode, way in (
        ("stdin", "r", os.O_WRONLY),
        ("stdout", "w", os.O_RDWR),
        ("stderr", "w", os.O_RDWR),
    ):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, way), mode, closefd=False))


def _machine_failed(error: OSError, as_json: bool) -> int:
    """A full disk, most often where the output goes; what has landed stays landed, and exit 0."""
    words = error.strerror or str(error)
    landed = app.opened[-1].landed if app.opened else None
    if landed:
        _say(f"commit {landed[:12]} has landed, but its report could not be written: {words}")
        return 0
    return _fail(GitFailed(says="this machine failed: {words}", words=words), as_json)


def _usage(error: click.ClickException, as_json: bool) -> int:
    where = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        where = f"see `{error.ctx.command_path} --help`"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return Usage.exit_code
    return _fail(Usage(problem=error.format_message().rstrip(".").replace("\n", " "), hint=where), as_json)


def _bug(error: Exception) -> Bug:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="kt-crash-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"{' '.join(sys.argv)!r}\n")
        file.write("".join(traceback.format_exception(error)))
    landed = app.opened[-1].landed if app.opened else None
    pushed = f"; commit {landed} had landed" if landed else ""
    return Bug(problem=f"{type(error).__name__}: {error}", traceback=file.name, pushed=pushed, commit=landed)


def _fail(error: KtError, as_json: bool) -> int:
    error.only_read = not app.work.changes
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
    _print(f"kt: {visible(text)}")


def _print(text: str) -> None:
    # Where even stderr cannot be written, the exit code still says it.
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)  # noqa: T201
