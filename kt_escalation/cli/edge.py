"""The edge: every error of the tool becomes one line and an exit code here, and nowhere else."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence

import click

from ..core.text import visible
from ..errors import Bug, Interrupted, KtError, SeveralFailed, Usage
from . import app


def run(program: str, args: Sequence[str]) -> int:
    """Run a command line; give its exit code (design, section 8)."""
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
    except BrokenPipeError:
        # Whoever read us has stopped; what was to be done is done.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _fail(_bug(error), as_json)
    return code if isinstance(code, int) else 0


def _usage(error: click.ClickException, as_json: bool) -> int:
    where = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        where = f"see `{error.ctx.command_path} --help`"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        click.echo(error.format_message(), err=True)
        return Usage.exit_code
    return _fail(Usage(problem=error.format_message().rstrip(".").replace("\n", " "), hint=where), as_json)


def _bug(error: Exception) -> Bug:
    with tempfile.NamedTemporaryFile(
        "w", prefix="kt-crash-", suffix=".log", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"{' '.join(sys.argv)!r}\n")
        file.write("".join(traceback.format_exception(error)))
    landed = app.opened[-1].landed if app.opened else None
    pushed = f"; commit {landed} had landed" if landed else ""
    return Bug(problem=f"{type(error).__name__}: {error}", traceback=file.name, pushed=pushed, commit=landed)


def _fail(error: KtError, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": error.as_json()}), file=sys.stderr)  # noqa: T201
    elif isinstance(error, SeveralFailed):
        for failure in error.failures:
            where = f"line {failure.where}" if isinstance(failure.where, int) else failure.where
            _say(f"{where}: {failure.error.message}")
        _say(error.hint)
    else:
        _say(error.message)
    return error.exit_code


def _say(text: str) -> None:
    print(f"kt: {visible(text)}", file=sys.stderr)  # noqa: T201
