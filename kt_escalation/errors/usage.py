"""Errors for requests that are wrong, not allowed, or answered with no: exit codes 1, 2, 3 and 5."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..frozen import dataclass
from .base import KtError

# --- exit 1: the answer is no ---------------------------------------------------------------------


class AnswerIsNo(KtError):
    """The answer is no: `doctor` found a problem, or `wait` ended in a denial."""

    code = "answer_is_no"
    exit_code = 1
    problem: str


# --- exit 2: bad usage or bad input ---------------------------------------------------------------


class BadInput(KtError):
    """The input cannot be used. ``problem`` says what is wrong and where."""

    code = "bad_input"
    problem: str


class BadAmendment(KtError):
    """The decision cannot have this amendment. ``pointer`` is the place of the fault, as a JSON pointer."""

    code = "bad_amendment"
    says = "the amendment does not fit: {problem}"
    hint = "the action's edit_schema says what fits: see `kt escalation get`"
    problem: str
    pointer: str = ""


class Usage(KtError):
    """The command line itself is wrong."""

    code = "usage"
    problem: str


class MissingExtra(KtError):
    """A command or method needs a library that only one of kt's extras installs."""

    code = "missing_extra"
    says = "{command} needs {library}, which is not installed"
    hint = "{install}"
    command: str
    library: str | None
    extra: str
    install: str


class AmbiguousId(KtError):
    """A prefix fits several escalations."""

    code = "ambiguous_id"
    says = "{prefix} fits several escalations: {candidates}"
    hint = "give more of the id"
    prefix: str
    candidates: str


class NotAStore(KtError):
    """There is no store here."""

    code = "not_a_store"
    says = "{where} is not a kt store: {problem}"
    hint = "run `kt escalation init`, or point at a store with -C DIR or KT_REPO"
    where: str
    problem: str


class NoStoreBranch(KtError):
    """It is unknown which branch to write to."""

    code = "no_store_branch"
    says = "the store branch is not known: {problem}"
    problem: str
    #: The branches of a remote whose HEAD names none of them.
    branches: Sequence[str] = ()


class NoIdentity(KtError):
    """git does not know who is acting."""

    code = "no_identity"
    says = "git does not know who you are"
    hint = "run `git config user.name 'Your Name'` and `git config user.email you@example.com`"


class ClockSkew(KtError):
    """This machine's clock is behind what the record already says."""

    code = "clock_skew"
    says = "this clock ({now}) is behind {escalation_id}, last changed at {last}"
    hint = "set the clock right and run the command again"
    escalation_id: str
    now: str
    last: str


class ShallowClone(KtError):
    """The clone lacks history that is needed."""

    code = "shallow_clone"
    says = "{where} is a shallow clone, which lacks the history that this needs"
    hint = "get it with `git fetch --unshallow`"
    where: str


class NotInHistory(KtError):
    """Events cannot begin after this commit: it is not in the store's history, which may have been rewritten."""

    code = "not_in_history"
    says = "{commit} is not in the history of {tip}: it belongs to another branch or store, or history was rewritten"
    hint = "find out which; then begin at a time (--since 2h) or at a commit that is there, with a new cursor"
    commit: str
    tip: str


class UnreadableRecord(KtError):
    """The record's file is there but does not hold a record."""

    code = "unreadable_record"
    says = "{path} cannot be read: {problem}"
    hint = (
        "unless a newer kt wrote it, an admin brings it back with `kt escalation restore --id {escalation_id} --reason TEXT`; "
        "what it was is in `git log -p -- {path:sh}`"
    )
    path: str
    problem: str
    escalation_id: str


class UnreadableStore(KtError):
    """A tree of the store is malformed, so its contents cannot be trusted."""

    code = "unreadable_store"
    says = "the store cannot be read: {where} {problem}"
    unchanged = "nothing was changed"
    hint = "`kt escalation verify` names the commit; anyone who may push can undo it with `git revert`"
    problem: str
    path: str
    where: str


class BrokenPolicies(KtError):
    """The roster or the settings cannot be read, so nothing may be decided by them."""

    code = "broken_policies"
    says = "{where}: {problem}"
    hint = "fix it in a commit on the store branch, then try again"
    where: str
    problem: str


class GitFailed(KtError):
    """git in this clone failed for a reason of its own: a full disk, an unsafe or damaged repository."""

    code = "git_failed"
    says = "git {command} failed: {words}"
    unchanged = "nothing was changed"
    hint = "fix that and run the command again"
    command: str = ""
    words: str


@dataclass(frozen=True)
class Failure:
    """One failed item of several: its line (0 if it was not in lines) or its id, and the error."""

    where: int | str
    error: KtError

    def as_json(self) -> dict[str, Any]:
        """``line`` or ``id``, and the error's code and message."""
        key = "line" if isinstance(self.where, int) else "id"
        return {key: self.where, "code": self.error.code, "message": self.error.message}


class SeveralFailed(KtError):
    """Several escalations were given and some were refused, so none was changed.

    ``failed`` lists the refused ones; the exit code is that of the first.
    """

    code = "several_failed"
    says = "{count} of them cannot be done: {listed}"
    count: int
    listed: str
    failed: Sequence[Mapping[str, Any]]

    def __init__(self, failures: Sequence[Failure], *, others: bool) -> None:
        self.failures = tuple(failures)
        #: The next step, and how to do the others if there are some.
        self.fix = f"fix {'it' if len(failures) == 1 else 'them'}"
        self.others = ", or do the others with --partial" if others else ""
        self.exit_code = self.failures[0].error.exit_code
        named = [
            f"{'line ' if isinstance(failure.where, int) else ''}{failure.where}: {failure.error.message}"
            for failure in failures
        ]
        super().__init__(
            count=len(failures), listed=" | ".join(named), failed=[failure.as_json() for failure in failures]
        )
        self.hint = f"nothing was written; {self.fix}{self.others}"


# --- exit 3: not allowed --------------------------------------------------------------------------


class NotAllowed(KtError):
    """The actor may not do that: a role, the route, the quorum or a limit is missing."""

    code = "not_allowed"
    exit_code = 3
    says = "{actor} may not {action} {escalation_id}: {missing}"
    actor: str
    action: str
    escalation_id: str
    missing: str

    @property
    def summary(self) -> str:
        """What happened, in one sentence, which names the actor once."""
        return super().summary.replace(f": {self.actor} ", ": ", 1)


# --- exit 5: ours ---------------------------------------------------------------------------------


class Bug(KtError):
    """A bug in kt. The traceback is in a file."""

    code = "bug"
    exit_code = 5
    says = "kt failed because of a bug ({problem}){pushed}"
    hint = "the traceback is in {traceback}: please report it"
    problem: str
    traceback: str
    pushed: str
    commit: str | None
