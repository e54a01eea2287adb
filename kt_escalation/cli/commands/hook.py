"""`kt escalation hook`: install, status, uninstall, and pre-receive, which runs the judge with limits on time and memory."""

from __future__ import annotations

import os
import re
import resource
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from ...errors import AnswerIsNo, BadInput, KtError
from ...model.text import plural, visible
from ..app import escalation
from ..options import SPAN, VARIABLE, changes, common_from, flag, takes, takes_time
from ..output import attributes, exit_with, put_json, warn
from ..stores import from_folder

#: How long the server's hook may take, in seconds; hosts stop hooks that take longer.
HOOK_SECONDS = 4.0


@escalation.group("hook", short_help="Let a server judge each push.")
def hook() -> None:
    """Put the check on a server."""


class _Size(click.ParamType[int]):
    """A number of bytes, as git's configuration writes them: `1g`, `512m`."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([1-9][0-9]{0,11})([kmg]?)", value.lower())
        if not found:
            self.fail(f"{value[:40]!r} is not a size; write 512m or 2g", param, ctx)
        return int(found[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[found[2]]


SIZE = _Size()
_SERVER = takes("--server", "server", "REPO", "The bare repository on the server.", required=True)
_COMMON = common_from("Look for REPO from this folder.")


def _server(given: Mapping[str, Any]) -> Path:
    """The server's repository."""
    return Path(from_folder(given["repo"], given["server"]))


@hook.command("install", short_help="Install the hook in a repository on a server.")
@_SERVER
@takes("--branch", "NAME", "The branch to guard (sets kt.branch there). Default: the branch that HEAD names.")
@takes("--root", "DIR", "The store's folder in the repository (sets kt.root there).")
@takes(
    "--pusher-from", "VAR", "The environment variable with the pusher's name. A push without it is refused."
)
@takes(
    "--logins",
    "FORGE",
    "These names are logins of this forge (github, gitlab, gitea, forgejo, gitolite, ...). They are compared "
    "with the roster's logins, not with ids or e-mails.",
)
@takes_time("--timeout", "Refuse a push that takes longer than this to judge (default 4s).")
@takes(
    "--memory", "SIZE", "Refuse a push that takes more memory than this to judge (default 512m).", type=SIZE
)
@flag("--force", "Install even in a working clone.")
@changes
@_COMMON
def install_command(timeout: float | None, memory: int | None, **given: Any) -> None:
    """Install a pre-receive hook that refuses any push of an illegal step to the store branch.

    It also lets git check each pushed object (receive.fsckObjects), limits the time and memory of a push, and
    keeps the given options in the repository's configuration. Variables that name the pusher: GL_USERNAME on
    GitLab, GL_USER with gitolite, GITEA_PUSHER_NAME on Gitea and Forgejo, REMOTE_USER over HTTP.
    """
    from ...audit import hosting

    pusher_from = given["pusher_from"]
    if pusher_from is not None and not VARIABLE.fullmatch(pusher_from):
        raise BadInput(
            problem=f"--pusher-from is {pusher_from[:40]!r}, which is not the name of a variable; give one such as REMOTE_USER"
        )
    options = ["--timeout", f"{timeout:.0f}s"] if timeout is not None else []
    options += ["--memory", str(memory)] if memory is not None else []
    # -I: the hook loads no modules from PYTHONPATH or from the repository's folder.
    command = [sys.executable, "-I", "-m", "kt_escalation", *_RECEIVE, *options]
    settings = {key: given[key] for key in ("branch", "root", "pusher_from", "logins", "force")}
    done = hosting.install(_server(given), command, **settings)
    warn(*done.warnings)
    if given["as_json"]:
        guarded = attributes(done, "branch", "root", "pusher_from", "logins")
        put_json({"hook": str(done.path), "changed": True, **guarded})
    else:
        click.echo(
            visible(f"installed {done.path}; it guards {_guarded(done.branch, done.root, done.pusher_from)}")
        )


def _guarded(branch: str | None, root: str, pusher_from: str | None) -> str:
    """What a hook guards, as text."""
    guarded = f"the branch {branch}" if branch else "no branch"
    inside = f", the store in {root}" if root else ""
    pusher = f", and {pusher_from} names who pushes" if pusher_from is not None else ""
    return f"{guarded}{inside}{pusher}"


@hook.command("status", short_help="Show what the hook guards, and whether it runs.")
@_SERVER
@takes("--branch", "NAME", "Ask whether this branch is guarded.")
@_COMMON
def status_command(**given: Any) -> None:
    """Show what guards a server's repository. Runs the hook once to see whether git would run it.

    Exits 1 if the store branch is not guarded.
    """
    from ...audit import hosting

    found = hosting.status(_server(given), branch=given["branch"])
    if given["as_json"]:
        places = {"repository": str(found.repository), "hooks_path": str(found.hooks_path)}
        facts = attributes(found, "runs", "branch", "root", "pusher_from", "nobody_proven")
        put_json({"ok": found.ok, **places, **facts})
    elif found.ok:
        guarded = _guarded(found.branch, found.root, found.pusher_from)
        click.echo(visible(f"{found.repository}: the hook runs and guards {guarded}"))
    else:
        click.echo(visible(f"{found.repository}: not guarded"))
    warn(*found.problems, *found.warnings)
    if not found.ok:
        exit_with(AnswerIsNo.exit_code)


@hook.command("uninstall", short_help="Remove the hook and its settings.")
@_SERVER
@changes
@_COMMON
def uninstall_command(**given: Any) -> None:
    """Remove the hook and its settings. Leaves other hooks alone."""
    from ...audit import hosting

    gone = hosting.uninstall(_server(given))
    changed = gone.path is not None or bool(gone.settings)
    if given["as_json"]:
        path = str(gone.path) if gone.path else None
        put_json({"hook": path, "changed": changed, "settings": list(gone.settings)})
    elif changed:
        settings = plural(len(gone.settings), "setting")
        click.echo(visible(f"removed {gone.path or 'no hook'}, and {settings} of the repository"))
    else:
        click.echo("there is no hook of kt's to remove")


_RECEIVE = ("escalation", "hook", "pre-receive")
# The messages of a git process that got no more memory (git, usage.c and wrapper.c; strerror(3), ENOMEM).
_OF_MEMORY = re.compile(r"on the server: git .*(out of memory|cannot allocate memory)", re.IGNORECASE)
#: How many violations are sent to the pusher. `check` prints them all.
MOST_LINES = 20


@hook.command("pre-receive", hidden=True)
@click.option("--timeout", type=SPAN, help="The --timeout of `hook install` (default 4s).")
@takes("--memory", "SIZE", "The --memory of `hook install` (default 512m).", type=SIZE)
def receive_command(timeout: float | None, memory: int | None) -> None:
    """Run by the installed hook. Reads the old id, new id and ref of each update from stdin."""
    from ...audit import hosting
    from ...storage import server_hook

    # GitLab shows only lines with this prefix on its pages (GitLab documentation, server hooks).
    lead = "GL-HOOK-ERR: " if os.environ.get("GL_REPOSITORY") or os.environ.get("GL_USERNAME") else ""
    # The name of a ref is any bytes but a few (git-check-ref-format), so also what is white space in Unicode.
    lines = (os.fsdecode(line.rstrip(b"\n")) for line in sys.stdin.buffer)
    updates = [(old, new, ref) for old, new, ref in (line.split(" ", 2) for line in lines)]
    if not updates:
        click.echo(os.environ.get(server_hook.PROBE, ""), err=True)
        return
    told = 0
    with (
        _bounded(hosting.HOOK_MEMORY if memory is None else memory, lead),
        _limited(HOOK_SECONDS if timeout is None else timeout, lead),
    ):
        for line in _received(updates):
            if _OF_MEMORY.match(line):
                raise MemoryError
            if told == MOST_LINES:
                click.echo(f"{lead}kt: and more; `kt escalation check` prints all of it", err=True)
                break
            click.echo(f"{lead}kt: {visible(line)}", err=True)
            told += 1
    if told:
        exit_with(AnswerIsNo.exit_code)


def _received(updates: list[tuple[str, str, str]]) -> Iterator[str]:
    """The violations of a push. The server's configuration says how to find the pusher."""
    from ... import audit
    from ...audit import hosting

    try:
        pinned, name = hosting.pushing(".", os.environ)
    except KtError as error:
        yield f"on the server: {error.message}"
        return
    yield from audit.receive(
        ".",
        updates,
        now=datetime.now(UTC),
        pusher=name,
        # If a variable is configured, it must be set. Otherwise a server that lost it would accept everybody.
        anonymous=pinned.pusher_from is None,
    )


@contextmanager
def _bounded(most: int, lead: str) -> Iterator[None]:
    """End this process, which refuses the push, if judging needs more memory than this, here or in a git process."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    wanted = most + _in_use()
    with suppress(OSError, ValueError):  # not every system has this limit (setrlimit(2))
        soft = wanted if before[1] == resource.RLIM_INFINITY else min(wanted, before[1])
        resource.setrlimit(resource.RLIMIT_AS, (soft, before[1]))
    try:
        yield
    except MemoryError:
        _refuse(
            f"this push cannot be judged within {most >> 20} MiB of memory; push it in smaller parts", lead
        )
    finally:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_AS, before)


def _in_use() -> int:
    """The address space of this process in bytes; 0 if the system does not say (proc(5), statm)."""
    try:
        with open("/proc/self/statm") as file:  # noqa: PTH123 - a Path costs more than reading it
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _refuse(why: str, lead: str) -> None:
    """End this process at once, without waiting for other threads."""
    os.write(sys.stderr.fileno(), f"{lead}kt: {why}\n".encode())
    os._exit(AnswerIsNo.exit_code)


@contextmanager
def _limited(seconds: float, lead: str) -> Iterator[None]:
    """End this process, which refuses the push, if the code inside takes longer than this, in seconds.

    This also covers a single huge commit, git itself, and the program that checks a signature.
    """

    why = f"this push cannot be judged within {seconds:g} s; push it in smaller parts (or, where the hook is new on the server, run `kt escalation hook status` there first)"
    timer = threading.Timer(seconds, _refuse, (why, lead))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
