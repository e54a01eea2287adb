"""Writes the README of an evidence file: what it shows, and how to check it offline. See docs/evidence.md.

Untrusted text is only in indented blocks, visible and on one line each, so it is never read as Markdown.
Shell blocks contain only ids, quoted paths, and the commands of `offline_check`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from ..frozen import dataclass
from ..model.text import visible
from ..model.times import format_time
from ..policies.policy_file import ROSTER
from ..policies.policy_set import Policies
from . import offline_check
from .offline_check import BUNDLE, PACK, TEXTS


@dataclass(frozen=True)
class Copy:
    """A text in the evidence file: the copy of what git has at a path of a commit."""

    name: str
    path: str


@dataclass(frozen=True)
class Waived:
    """A violation in the case that an admin accepted, from `policies/waivers.yaml`."""

    commit: str
    rule: str
    path: str | None
    reason: str


@dataclass(frozen=True)
class DossierStep:
    """One commit: what it did to the escalations, as lines, and the policies at its parent."""

    commit: str
    parent: str | None
    author: str
    committed_at: datetime
    told: Sequence[str]
    policies: str | None
    roster: str
    signature: str
    copies: Sequence[Copy]
    waived: Sequence[Waived]


@dataclass(frozen=True)
class Dossier:
    """The content of the page, as of commit ``revision``.

    ``commits`` is the number of commits up to it. ``waived`` are accepted violations in the case by other
    commits than its steps. ``policies`` is the tree of the policies at ``revision``.
    """

    escalation_ids: Sequence[str]
    revision: str
    minimal: bool
    commits: int
    root: str
    policies: str | None
    steps: Sequence[DossierStep]
    waived: Sequence[Waived]
    left_out: Sequence[str]


def roster_entry(policies: Policies, name: str) -> str:
    """What a roster says about a person, on one line."""
    roster = policies.roster
    if ROSTER in policies.broken:
        return f"{ROSTER} could not be read"
    if roster is None:
        return "there was no roster: everybody might review everything"
    user = roster.by_id.get(name)
    if user is None:
        return f"{name} was not on the roster"
    teams = ", ".join(team.team_id for team in roster.teams if name in team.members) or "none"
    keys = f"{len(user.signing_keys)} signing keys"
    return f"{name}: roles {', '.join(user.roles) or 'none'}; teams {teams}; {keys}"


def page(dossier: Dossier) -> str:
    """The README of an evidence file, as Markdown."""
    return "\n".join(_page(dossier)) + "\n"


def _page(it: Dossier) -> Iterator[str]:
    yield f"# Evidence about {', '.join(it.escalation_ids)}"
    yield from ("", f"Taken from a kt store as it was at commit `{it.revision}`.", "")
    yield "**Do not believe this page.** The person who handed it over could change it, and every other file beside it. A commit's"
    yield "id cannot be faked: it is a digest of what the commit holds and of everything before it. So first get the id from"
    yield "somewhere else. Then run the commands below, or take the same commands from kt's documentation (*Evidence*): they"
    yield "use nothing from here but git objects that the id vouches for."
    yield from ("", "## What happened", "")
    for step in it.steps:
        for line in step.told:
            yield f"    {visible(line)}"
        yield from (f"    {visible(_accepted(waived))}" for waived in step.waived)
    yield from (f"    {visible(_accepted(waived))}" for waived in it.waived)
    yield from ("", "## What is in here", "")
    yield from _contents(it)
    yield from ("", "## What it proves, and what not", "")
    yield from _meaning(it)
    yield from ("", "## 1. Get the ids from elsewhere", "")
    yield from _elsewhere(it)
    yield from ("", f"## 2. Take the objects out of the {'pack' if it.minimal else 'bundle'}", "")
    yield from _objects(it)
    yield from ("", "## 3. Check the texts and the signatures, with git alone", "")
    yield from _with_git(it)
    yield from ("", "## 4. Check whether each step was legal, with kt", "")
    yield from _with_kt(it)
    yield from ("", "## The steps")
    for number, step in enumerate(it.steps, 1):
        yield from _step(number, step)


def _contents(it: Dossier) -> Iterator[str]:
    if it.minimal:
        yield f"- `{PACK}`: the git objects of the steps below and nothing else."
    else:
        yield f"- `{BUNDLE}`: the store's whole history up to that commit, as a git bundle. It ends there."
    yield f"- `{TEXTS}/steps/`: each commit as git stores it, and the escalation's files after it, by their paths."
    yield f"- `{TEXTS}/policies/`: roster, settings, waivers and packs, by tree id: as they were at the parent of each step"
    last = f", and at that last commit (tree `{it.policies}`)" if it.policies else ""
    yield f"  (a step is judged by those){last}."
    if it.left_out:
        yield "- Not copied as text, because the name or the size could cause trouble in a shell or a file system:"
        yield ""
        yield from (f"      {visible(name)}" for name in it.left_out)


def _meaning(it: Dossier) -> Iterator[str]:
    yield "Once you know from elsewhere that the commits are the store's, their ids prove every byte of the steps: who is"
    yield "named, when, why, what the escalation said before and after, and which roster and policies held. A name and a"
    yield "time in a commit without a signature are what its author claimed; each step below says whether it is signed."
    yield ""
    if it.minimal:
        yield "There is no history here, on purpose: other escalations are not part of this file, except that the folder"
        yield "listings name some of them, and a commit that changed several names them. So it proves what each step was. It does"
        yield "not prove that there was no other step, that each was legal, or what an admin accepted in"
        yield "`policies/waivers.yaml`; for that, verify a whole clone of the store."
    else:
        yield f"**The bundle carries more than this case**: all {it.commits} commits of the store's repository up to then, and with"
        yield "them every other escalation, the roster and all other files. You need them to verify that each step was legal and"
        yield "that none is missing. Give it only to people who may see all that; `evidence --minimal` leaves it out."
    if any(step.waived for step in it.steps) or it.waived:
        yield ""
        yield "**Accepted by an admin**: what is called *waived* above broke a rule. `policies/waivers.yaml` lists it with a reason,"
        yield "so that `verify` counts it and does not report it as a violation."


def _elsewhere(it: Dossier) -> Iterator[str]:
    if it.minimal:
        yield "Ask someone who has the whole store, and whom you trust, for the ids of all steps, oldest first. They get them in"
        yield "their clone with these commands; the first one fails if the store does not have that commit on its branch."
        yield from (
            "",
            "```sh",
            _on_the_line(it.revision),
            offline_check.steps(it.escalation_ids, it.root, it.revision),
        )
        yield from ("```", "", "Put them all into one variable, separated by blanks:", "", "    known='…'")
        return
    yield "Ask the store's server, someone else who keeps a clone, or your own clone. In an up-to-date clone that you trust,"
    yield "with the store's branch checked out, one of these must succeed; the first needs git alone."
    yield from ("", "```sh", _on_the_line(it.revision), "```", "", "```sh")
    yield f"kt escalation verify --contains {it.revision}"
    yield from (
        "```",
        "",
        "Without a clone: `git ls-remote URL BRANCH` prints the id of the newest commit on the server. It is",
    )
    yield "the same id unless something was committed since. Then say what you know:"
    yield from ("", "    known=…", "")
    yield "If all that you know is the id of an *older* commit, let `known` be the id above all the same, and in step 4 give"
    yield "your own to `--contains`. Then the history up to your commit is proved; what came after it is only as good as its"
    yield "signatures."


def _on_the_line(revision: str) -> str:
    return f"git rev-list --first-parent HEAD | grep -x {revision}"


def _objects(it: Dossier) -> Iterator[str]:
    yield "In a new, empty folder (not in this one, where a hidden `.git` could give orders to your git), in a POSIX shell such"
    yield "as `sh` or `bash`. `from` is the folder of this README."
    yield from ("", "    from=…", "", "```sh", offline_check.taken(it.minimal).rstrip("\n"), "```", "")
    if it.minimal:
        yield "git computes every id again. The commands fail if a step that you know is not in the pack."
    else:
        yield "git computes every id again, and no branch or tag of the bundle is taken. The commands fail if the bundle does not"
        yield "end at the commit that you know."


def _with_git(it: Dossier) -> Iterator[str]:
    yield "In the same shell and folder. They write what git has into a folder `proved`, compare the texts with it, and hold"
    yield "each SSH signature against the keys that the roster had for the author at the step's parent, read from git. Only if"
    yield "the last line says so does it all hold. Then read in `proved` what happened."
    yield from (
        "",
        "```sh",
        offline_check.compared(it.escalation_ids, it.root, it.minimal).rstrip("\n"),
        "```",
    )
    yield from (
        "",
        "This does not tell whether a step was legal, nor whether the roster came about legally; step 4 does.",
    )


def _with_kt(it: Dossier) -> Iterator[str]:
    if it.minimal:
        yield "Not with this file: `kt escalation verify` needs a whole clone of the store."
        return
    yield "In the same shell and folder; step 3 is not needed. The commands make this evidence again, from git alone, and"
    yield "compare it with what you got, this page included (with the version of kt that wrote it). `verify` judges every step"
    yield "of every escalation up to that commit, by the waivers of that commit, and exits 1 if one was not legal; what it"
    yield "finds may be about other escalations."
    yield from ("", "```sh", offline_check.judged(it.escalation_ids, it.root).rstrip("\n"), "```")


def _accepted(it: Waived) -> str:
    where = f" {it.path}" if it.path else ""
    return f"waived: {it.rule}{where} in {it.commit}: {it.reason}"


def _step(number: int, step: DossierStep) -> Iterator[str]:
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
        *(("waived", f"{waived.rule}: {waived.reason}") for waived in step.waived),
    )
    yield from (f"    {key.ljust(9)}{visible(value)}" for key, value in facts)
