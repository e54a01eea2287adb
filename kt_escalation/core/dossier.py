"""The page that goes with a piece of evidence: what it shows, and how to check it offline.

Text from strangers stands in indented blocks only, visible and on one line each, so that it is never read
as Markdown; what stands in a shell block is made of ids and quoted paths.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from .roster import Roster
from .text import visible
from .times import format_time

BUNDLE, PACK = "store.bundle", "records.pack"
# Whom and what `ssh-keygen` reads without a meaning of its own (ssh-keygen, *ALLOWED SIGNERS*).
_PLAIN_EMAIL = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+", re.ASCII)
_PLAIN_KEY = re.compile(r"([a-z0-9@.-]+ [A-Za-z0-9+/=]+)( .*)?", re.ASCII)


@dataclass(frozen=True)
class Copy:
    """A file of the artefact that holds what git has at a path of a commit."""

    name: str
    commit: str
    path: str


@dataclass(frozen=True)
class Step:
    """One commit: what it did to the escalations, as lines, and what held at its parent."""

    commit: str
    parent: str | None
    author: str
    committed_at: datetime
    told: Sequence[str]
    policies: str | None
    roster: str
    signature: str
    signers: str | None
    commit_file: str
    copies: Sequence[Copy]


@dataclass(frozen=True)
class Dossier:
    """All that the page tells. ``tip`` is the last commit in the bundle, None where there is no bundle."""

    escalation_ids: Sequence[str]
    revision: str
    tip: str | None
    commits: int
    root: str
    sha256: bool
    steps: Sequence[Step]
    policies: Sequence[Copy]
    left_out: Sequence[str]


def roster_entry(roster: Roster | None, name: str) -> str:
    """What the roster says of somebody, in one line."""
    if roster is None:
        return "there was no roster: everybody might review everything"
    user = roster.by_id.get(name)
    if user is None:
        return f"{name} was not on the roster"
    teams = ", ".join(team.team_id for team in roster.teams if name in team.members) or "none"
    keys = f"{len(user.signing_keys)} signing keys"
    return f"{name}: roles {', '.join(user.roles) or 'none'}; teams {teams}; {keys}"


def signers(roster: Roster | None, name: str) -> str:
    """The SSH keys that the roster lists for somebody, as `gpg.ssh.allowedSignersFile` wants them."""
    user = roster.by_id.get(name) if roster else None
    emails = ",".join(email for email in user.emails if _PLAIN_EMAIL.fullmatch(email)) if user else ""
    keys = [found[1] for key in (user.signing_keys if user else ()) if (found := _PLAIN_KEY.fullmatch(key))]
    return "".join(f'{emails} namespaces="git" {key}\n' for key in keys) if emails else ""


def page(dossier: Dossier) -> str:
    """The README of an artefact, as Markdown."""
    return "\n".join(_page(dossier)) + "\n"


def _page(it: Dossier) -> Iterator[str]:
    yield f"# Evidence about {', '.join(it.escalation_ids)}"
    yield from ("", f"Taken from a kt store as it was at commit `{it.revision}`.")
    yield from ("", "## What happened", "")
    for step in it.steps:
        for line in step.told:
            yield f"    {visible(line)}"
    yield from ("", "## What is in here", "")
    yield from _contents(it)
    yield from ("", "## What it proves, and what not", "")
    yield from _meaning(it)
    yield from ("", "## Check it with git alone", "")
    yield "In this folder, in a shell. Only if the last line says so does it all hold: every copy here is what git has, and"
    yield "git has what the ids stand for. The words of this page prove nothing; what the commands have compared does."
    yield from ("", "```sh", "(set -e", *_commands(it), 'echo "it all holds")', "```", "")
    yield "And elsewhere, in a clone of the store that you trust or on its server: each of these commits is part of it."
    yield from ("", "```sh")
    yield from (f"git merge-base --is-ancestor {step.commit} HEAD" for step in it.steps)
    yield from ("```", "", "## Check it with kt", "")
    yield from _with_kt(it)
    yield from ("", "## The steps")
    for number, step in enumerate(it.steps, 1):
        yield from _step(number, step)


def _contents(it: Dossier) -> Iterator[str]:
    if it.tip:
        yield f"- `{BUNDLE}`: the store's whole history up to commit `{it.tip}`, as a git bundle."
    else:
        yield f"- `{PACK}`: the git objects of the steps below and nothing else."
    yield "- `steps/`: each commit as git stores it, the escalation's file after it, and, where the commit has an SSH"
    yield "  signature, the SSH keys that the roster had for its author, as `signers`."
    yield "- `policies/`: roster, settings and packs as they were at the parent of a step, by tree id."
    if it.left_out:
        yield "- Not copied as text, since a shell or a file system might stumble over the name or the size:"
        yield ""
        yield from (f"      {visible(name)}" for name in it.left_out)


def _meaning(it: Dossier) -> Iterator[str]:
    yield "A commit's id is a digest of its content, of its message and of its parents. So the ids below, once you know"
    yield "from elsewhere that they are the store's, prove every byte of the steps: who is named, when, why, what the"
    yield "escalation said before and after, and which roster and policies held. Nothing in this file can prove that the"
    yield "ids are the store's; ask a clone or a server that you trust."
    yield ""
    yield "A name and a time in a commit without a signature are what its author claimed. Below each step stands whether it"
    yield "is signed."
    yield ""
    if it.tip:
        yield f"**The bundle carries more than this case**: all {it.commits} commits of the store's repository up to then, and with"
        yield "them every other escalation, the roster and all other files. That is what lets you verify that each step was legal"
        yield "and that none is missing. Give it only to whom may see all that; `evidence --minimal` leaves it out."
    else:
        yield "There is no history here, on purpose: other escalations are no part of this file, except that the folder listings"
        yield "name those that were open, and a commit that changed several names them. So it proves what each step was, and not"
        yield "that there was no other between them, nor that each was legal; for that, verify a whole clone of the store."


def _commands(it: Dossier) -> Iterator[str]:
    if it.tip:
        yield f"git clone --quiet {BUNDLE} store"
        yield f"git -C store bundle verify --quiet ../{BUNDLE}"
        yield f'test "$(git -C store rev-parse HEAD)" = {it.tip}'
    else:
        yield f"git init --quiet{' --object-format=sha256' if it.sha256 else ''} store"
        yield f"git -C store unpack-objects -q < {PACK}"
    for step in it.steps:
        yield f'test "$(git -C store hash-object -t commit --stdin < {step.commit_file})" = {step.commit}'
        yield from map(_compared, step.copies)
        if step.parent and step.policies:
            path = shlex.quote(f"{step.parent}:{it.root + '/' if it.root else ''}policies")
            yield f'test "$(git -C store rev-parse {path})" = {step.policies}'
        if step.signers:
            file = f'"$PWD/{step.signers}"'
            yield f"git -C store -c gpg.ssh.allowedSignersFile={file} verify-commit {step.commit}"
    yield from map(_compared, it.policies)


def _compared(copy: Copy) -> str:
    there = shlex.quote(f"{copy.commit}:{copy.path}")
    return f'test "$(git -C store hash-object --stdin < {copy.name})" = "$(git -C store rev-parse {there})"'


def _with_kt(it: Dossier) -> Iterator[str]:
    if it.tip is None:
        yield "Not with this file: `kt escalation verify` needs a whole clone of the store."
        return
    yield "After the commands above. `verify` judges every step of every escalation up to here, and exits 1 where one was"
    yield "not legal; what it finds may be about others than this case."
    yield from ("", "```sh")
    if it.root:
        yield f"git -C store config kt.root {shlex.quote(it.root)}"
    yield "kt escalation -C store verify --afresh"
    yield from (f"kt escalation -C store log --id {name}" for name in it.escalation_ids)
    yield "```"


def _step(number: int, step: Step) -> Iterator[str]:
    yield from ("", f"### {number}. Commit {step.commit[:12]}", "")
    files = [f"{copy.path} (as {copy.name})" for copy in step.copies]
    facts = (
        ("commit", step.commit),
        ("parent", step.parent or "none: it begins the history"),
        ("author", step.author),
        ("time", format_time(step.committed_at)),
        ("signed", step.signature),
        ("policies", step.policies or "there were none"),
        ("roster", step.roster),
        *(("file", name) for name in files),
        *(("did", line) for line in step.told),
    )
    yield from (f"    {key.ljust(9)}{visible(value)}" for key, value in facts)
