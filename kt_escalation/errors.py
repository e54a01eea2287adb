"""Every error of kt, with its code, its exit code, its facts and its message.

The codes are a closed list (docs/reference.md, *Exit codes*). Scripts match on ``code``, and people read
``message``. Each class says what happened and what to do next, and declares its facts as typed attributes.
The code that raises it gives the facts. Times are texts as in RFC 3339.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .base_error import KtError as KtError


def codes() -> frozenset[str]:
    """The codes of all errors, which are a closed list."""

    def below(kind: type[KtError]) -> Iterator[str]:
        yield kind.code
        for other in kind.__subclasses__():
            yield from below(other)

    return frozenset(below(KtError))


# --- exit 1: the answer is no ---------------------------------------------------------------------


class AnswerIsNo(KtError):
    """A question was asked and the answer is no: `doctor` found something, `wait` ended in a denial."""

    code = "answer_is_no"
    exit_code = 1
    problem: str


# --- exit 2: bad usage or bad input ---------------------------------------------------------------


class BadInput(KtError):
    """What was given cannot be used; ``problem`` says what and where."""

    code = "bad_input"
    problem: str


class BadAmendment(KtError):
    """The amendment is none that this decision can carry; ``pointer`` is where, as a JSON pointer."""

    code = "bad_amendment"
    says = "the amendment does not fit: {problem}"
    hint = "see what must fit with `kt escalation get`: the action's edit_schema"
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
    """The branch to write to cannot be known."""

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
    """The clone lacks the history that was asked about."""

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
        "an admin brings it back with `kt escalation restore --id {escalation_id} --reason TEXT`; "
        "what it was is in `git log -p -- {path:sh}`"
    )
    path: str
    problem: str
    escalation_id: str


class UnreadableStore(KtError):
    """A tree of the store is not one that git would have written, so nothing in it is believed."""

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
    """One of several that could not be done: its line (0 if it was not in lines) or its id, and the error."""

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
        #: What to do, and how to have the others, where there are some.
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


# --- exit 4: the remote ---------------------------------------------------------------------------


class RemoteUnreachable(KtError):
    """The remote could not be reached; nothing changed."""

    code = "remote_unreachable"
    exit_code = 4
    says = "the remote {remote} could not be reached: {words}"
    unchanged = "nothing changed"
    hint = "check the network and your access, then run the command again"
    remote: str | None
    words: str


class PushRefused(KtError):
    """The remote has a rule against this push; nothing changed."""

    code = "push_refused"
    exit_code = 4
    says = "the remote {remote} refused the push to {branch}: {words}"
    unchanged = "nothing changed"
    hint = (
        "ask the people who protect {branch}, or propose the change as a pull request: "
        "claim, unclaim, resolve, assign and note do that with --branch"
    )
    remote: str
    branch: str
    words: str = ""
    alike: str = ""


class RemoteFault(KtError):
    """The remote repository itself could not take the push; nothing changed."""

    code = "remote_fault"
    exit_code = 4
    says = "the remote {remote} could not take the push to {branch}: {words}"
    unchanged = "nothing changed"
    hint = "the repository itself is broken; tell its administrator"
    remote: str
    branch: str
    words: str


class HistoryRewritten(KtError):
    """The remote's store branch no longer contains the commit that this clone had seen on it."""

    code = "history_rewritten"
    exit_code = 4
    says = "THE HISTORY OF {branch} ON {remote} WAS REWRITTEN: it no longer goes on from {seen}"
    unchanged = "nothing changed"
    hint = "find out who did it, and accept it with `git fetch {remote:sh}` only if it was meant"
    branch: str
    remote: str
    seen: str


# --- exit 5: ours ---------------------------------------------------------------------------------


class Bug(KtError):
    """A bug in kt. The traceback is in a file."""

    code = "bug"
    exit_code = 5
    says = "kt failed in a way it should not ({problem}){pushed}"
    hint = "the traceback is in {traceback}: please report it"
    problem: str
    traceback: str
    pushed: str
    commit: str | None


# --- exit 6: conflict -----------------------------------------------------------------------------


class Conflict(KtError):
    """The record is not in a state that allows the action."""

    code = "conflict"
    exit_code = 6


class AlreadyClaimed(Conflict):
    """Someone else holds it."""

    code = "already_claimed"
    says = "{escalation_id} is held by {claimed_by} since {since}"
    hint = "take another with `kt escalation claim --next`"
    escalation_id: str
    claimed_by: str
    since: str
    claim_id: str


class AlreadyResolved(Conflict):
    """It was resolved before."""

    code = "already_resolved"
    says = "{escalation_id} was resolved as {outcome} by {resolved_by} at {resolved_at}"
    hint = "a resolved record never changes; read it with `kt escalation get --id {escalation_id}`"
    escalation_id: str
    outcome: str
    resolved_by: str
    resolved_at: str


class NotResolved(Conflict):
    """It is still open, and the action is for resolved escalations."""

    code = "not_resolved"
    says = "{escalation_id} is {status}, not resolved"
    hint = "decide it with `kt escalation resolve`; only what is resolved can be reopened"
    escalation_id: str
    status: str


class AlreadyReopened(Conflict):
    """It was reopened, and that was not withdrawn. ``outcome`` is how the reopening has ended, if it has."""

    code = "already_reopened"
    says = "{escalation_id} was reopened as {reopened_by} at {since}, which is still open"
    hint = "decide that one; see it with `kt escalation get --id {reopened_by}`"
    escalation_id: str
    reopened_by: str
    since: str
    outcome: str | None = None


class IllegalRecord(Conflict):
    """The decision in the record was not made by the rules."""

    code = "illegal_record"
    says = "{escalation_id} is resolved, but not by legal steps alone: {problem}"
    hint = (
        "release nothing; an admin can bring it back to its last legal state with `kt escalation restore`; "
        "otherwise raise the request again under another id"
    )
    escalation_id: str
    problem: str
    #: Where it was broken and which rule, as `verify` says it. Where no step was, commit and rule are empty, and the
    #: path is that of the record.
    commit: str
    rule: str
    path: str


class ReleaseNeeded(Conflict):
    """The decision may be used once only, and nobody has taken it yet."""

    code = "release_needed"
    says = "{escalation_id} is {outcome} for one use, and to use it is to release it"
    hint = "take it with `kt escalation release --id {escalation_id}`, or wait with --release"
    escalation_id: str
    outcome: str


class AlreadyReleased(Conflict):
    """The decision was used: by somebody else, or under another release id."""

    code = "already_released"
    says = "{escalation_id} was released by {released_by} at {released_at} under release id {release_id}"
    hint = "do not run it again; raise it again if it is to be done once more"
    escalation_id: str
    released_by: str
    released_at: str
    release_id: str


class OtherAction(Conflict):
    """The decision is about another action than the one that is to be run."""

    code = "other_action"
    says = "{escalation_id} is about the action {digest}, not {given}"
    hint = "run what was decided on, or raise what is to be run as an escalation of its own"
    escalation_id: str
    digest: str
    given: str


class ReleaseExpired(Conflict):
    """The decision was not used in its time."""

    code = "release_expired"
    says = "{escalation_id} could be released until {until}"
    hint = "do not run it; `kt escalation reopen` asks again"
    escalation_id: str
    until: str


class Amended(Conflict):
    """The decision releases something else than what was proposed, and the caller does not apply amendments."""

    code = "amended"
    says = "{escalation_id} is {outcome}: what was proposed may not be run as it is"
    hint = "give --amended if you run what the decision says instead (`amendment`, or the reason)"
    escalation_id: str
    outcome: str
    reason: str = ""
    amendment_digest: str | None = None


class NotReleasing(Conflict):
    """The decision releases nothing."""

    code = "not_releasing"
    says = "{escalation_id} is {outcome}, which releases nothing"
    hint = "do not run it"
    escalation_id: str
    outcome: str


class NotReleased(Conflict):
    """There is no release that a receipt could be for."""

    code = "not_released"
    says = "{escalation_id} was not released"
    hint = "release it first with `kt escalation release --id {escalation_id}`"
    escalation_id: str
    status: str = ""
    release_id: str = ""
    given: str = ""


class OtherReceipt(Conflict):
    """There is a receipt already, and it says something else."""

    code = "other_receipt"
    says = "the receipt of {escalation_id} says {status}, by {receipt_by} at {receipt_at}"
    hint = "a receipt is final; only after unknown an admin may say what it was"
    escalation_id: str
    status: str
    receipt_by: str
    receipt_at: str


class NothingToRestore(Conflict):
    """There is nothing to restore: the record can be read and its history is legal."""

    code = "nothing_to_restore"
    says = "{escalation_id} is as it should be"
    hint = "restore is for records that are illegal or cannot be read"
    escalation_id: str
    #: The archive that holds it, if it is in one.
    path: str = ""


class NotClaimed(Conflict):
    """Nobody holds it, and only the holder may do this."""

    code = "not_claimed"
    says = "{escalation_id} is not claimed"
    hint = "claim it first with `kt escalation claim --id {escalation_id}`"
    escalation_id: str


class NotHolder(Conflict):
    """Somebody else holds it, and only the holder may do this."""

    code = "not_holder"
    says = "{escalation_id} is held by {claimed_by} since {since}, not by {actor}"
    hint = "only the holder may {action}"
    escalation_id: str
    claimed_by: str
    since: str
    actor: str
    action: str


class ClaimIdDiffers(Conflict):
    """The same person holds it under another claim id."""

    code = "claim_id_differs"
    says = "{escalation_id} is held by {claimed_by} under claim id {claim_id}, not {given}"
    hint = "another of your workers has it; take another with `kt escalation claim --next`"
    escalation_id: str
    claimed_by: str
    since: str
    claim_id: str
    given: str


class ShownDiffers(Conflict):
    """The record changed since the reviewer looked at it."""

    code = "shown_differs"
    says = "{escalation_id} is not as it was shown: {shown}, not {given}"
    hint = "read it again with `kt escalation get --id {escalation_id}` and decide again"
    escalation_id: str
    shown: str
    given: str


class DifferentContent(Conflict):
    """That id belongs to an escalation with other content."""

    code = "different_content"
    says = "{escalation_id} exists with other content ({differs})"
    hint = "the same id must mean the same request: give this one a request id of its own"
    escalation_id: str
    differs: str


class BranchTaken(Conflict):
    """The branch to propose on holds something else already."""

    code = "branch_taken"
    says = "the branch {branch} on {remote} holds something else already ({what})"
    unchanged = "nothing was written"
    hint = "propose it under another name with --branch NAME"
    branch: str
    remote: str | None
    what: str = ""
    #: The commit that the branch holds, and who made it.
    commit: str | None = None
    by: str = ""
    #: A branch whose name makes this one impossible.
    beside: str = ""


class PathStaged(Conflict):
    """The user has staged a path that the change would touch; only without a remote."""

    code = "path_staged"
    says = "{path} is staged in your index"
    hint = (
        "nothing was written; commit or unstage it with `git restore --staged -- {path:sh}`, then try again"
    )
    path: str


class GitLocked(Conflict):
    """Another git command holds a lock file of this repository that is needed."""

    code = "git_locked"
    says = "{lock} is held by another git command, perhaps one whose editor is open"
    hint = "nothing was written; run the command again when the other one has ended, or delete the file if no git runs here"
    lock: str


# --- exit 7: nothing there ------------------------------------------------------------------------


class NotFound(KtError):
    """No escalation has that id."""

    code = "not_found"
    exit_code = 7
    says = "there is no escalation {escalation_id}"
    hint = "see what there is with `kt escalation list --fetch`"
    escalation_id: str


class NothingToClaim(KtError):
    """There is nothing that the caller may claim."""

    code = "nothing_to_claim"
    exit_code = 7
    says = "nothing to claim: {why}"
    why: str
    #: Files that cannot be read, and so were passed over.
    invalid: Sequence[str] = ()
    #: `empty`, `all_held` or `not_for_you`.
    state: str = ""
    #: How many escalations each person holds.
    held_by: Mapping[str, int] = MappingProxyType({})
    #: The facts of each store, if several were asked.
    stores: Sequence[Mapping[str, Any]] = ()


# --- exit 8: timed out ----------------------------------------------------------------------------


class LockTimeout(KtError):
    """Another process of this clone holds the lock."""

    code = "lock_timeout"
    exit_code = 8
    says = "the clone's lock is held by process {pid} since {since}"
    unchanged = "nothing changed"
    hint = "wait for it to end, or give more time with --lock-timeout"
    lock: str
    #: The process that holds the lock, if known.
    pid: str = ""
    since: str = ""


class RetriesExhausted(KtError):
    """The time was over: others were faster each time, or the remote could not take the push."""

    code = "retry_timeout"
    exit_code = 8
    says = "others changed the store first, {attempts:time|times} within {seconds:g} s"
    hint = "nothing changed; run the command again, or give more time with --retry-timeout"
    attempts: int
    seconds: float
    remote: str | None = None
    words: str = ""


def exhausted(attempts: int, seconds: float, remote: str | None, said: str) -> RetriesExhausted:
    """The error for a change that took too long; ``said`` is the remote's reason if nobody was faster."""
    if not said:
        return RetriesExhausted(attempts=attempts, seconds=seconds)
    return RetriesExhausted(
        says="the remote {remote} did not take the push, {attempts:time|times} within {seconds:g} s, "
        "though nobody was faster: {words}",
        hint="nothing changed; the administrator of the remote can fix that; then run the command again",
        remote=remote,
        words=said,
        attempts=attempts,
        seconds=seconds,
    )


class WaitTimeout(KtError):
    """`wait` ended before the escalation was resolved."""

    code = "wait_timeout"
    exit_code = 8
    says = "{escalation_id} was not resolved within {seconds:g} s; it is {status}"
    hint = "nothing may be released yet; run the command again to wait longer"
    escalation_id: str = ""
    seconds: float | None
    status: str = ""
    #: Of `watch --count`: how many events came, and how many were asked for.
    count: int = 0
    wanted: int = 0


class DeliveryFailed(KtError):
    """A command or a webhook did not take an event, after all retries."""

    code = "delivery_failed"
    exit_code = 8
    says = "event {event_id} was not taken after {tries:try|tries}: {problem}"
    hint = "fix that and start again: it goes on with this event, and no later event was delivered"
    event_id: str
    escalation_id: str
    tries: int
    problem: str


# --- exit 9 and 130 -------------------------------------------------------------------------------


class OutcomeUnknown(KtError):
    """A push was sent, and it is not known whether it landed."""

    code = "outcome_unknown"
    exit_code = 9
    says = "the push of {commit} to {remote} was sent but its outcome is not known ({words})"
    hint = "run the same command again, it finds its own effect; or look with `{find}`"
    commit: str | None
    remote: str | None
    words: str
    find: str
    claim_id: str | None = None


class Interrupted(KtError):
    """^C, SIGTERM or SIGHUP before anything was changed."""

    code = "interrupted"
    exit_code = 130
    says = "interrupted"
    unchanged = "nothing changed"
    #: What an interactive session had done.
    told: str = ""
