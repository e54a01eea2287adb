"""Errors for a store that is not in the state that an action needs: exit codes 6 and 7."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from .base import KtError

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
    """The escalation was reopened, and the reopening was not withdrawn.

    ``outcome`` is the reopening's outcome, if it has one.
    """

    code = "already_reopened"
    says = "{escalation_id} was reopened as {reopened_by} at {since}, which is still open"
    hint = "decide that one; see it with `kt escalation get --id {reopened_by}`"
    escalation_id: str
    reopened_by: str
    since: str
    outcome: str | None = None


class IllegalRecord(Conflict):
    """Illegal steps led to the decision in the record."""

    code = "illegal_record"
    says = "{escalation_id} is resolved, but not by legal steps alone: {problem}"
    hint = (
        "release nothing; an admin can bring it back to its last legal state with `kt escalation restore`; "
        "otherwise raise the request again under another id"
    )
    escalation_id: str
    problem: str
    #: The commit, the rule and the path of the violation. If no step was illegal, commit and rule are empty,
    #: and the path is that of the record.
    commit: str
    rule: str
    path: str


class ReleaseNeeded(Conflict):
    """The decision may be used once only, and nobody has taken it yet."""

    code = "release_needed"
    says = "{escalation_id} is {outcome} for one use, so it must be released first"
    hint = "take it with `kt escalation release --id {escalation_id}`, or wait with --release"
    escalation_id: str
    outcome: str


class AlreadyReleased(Conflict):
    """The decision was already used, by somebody else or under another release id."""

    code = "already_released"
    says = "{escalation_id} was released by {released_by} at {released_at} under release id {release_id}"
    hint = "do not run the action again; to repeat it, raise it again"
    escalation_id: str
    released_by: str
    released_at: str
    release_id: str


class OtherAction(Conflict):
    """The decision is about another action than the caller's."""

    code = "other_action"
    says = "{escalation_id} is about the action {digest}, not {given}"
    hint = "run the action that was decided on, or raise the other one as an escalation of its own"
    escalation_id: str
    digest: str
    given: str


class ReleaseExpired(Conflict):
    """The time for using the decision is over."""

    code = "release_expired"
    says = "{escalation_id} could be released until {until}"
    hint = "do not run it; `kt escalation reopen` asks again"
    escalation_id: str
    until: str


class Amended(Conflict):
    """The decision releases an amended request, and the caller does not apply amendments."""

    code = "amended"
    says = "{escalation_id} is {outcome}: the request may not be run unchanged"
    hint = "give --amended if you apply the decision's changes (`amendment`, or the reason)"
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
    """There is no release to give a receipt for."""

    code = "not_released"
    says = "{escalation_id} was not released"
    hint = "release it first with `kt escalation release --id {escalation_id}`"
    escalation_id: str
    status: str = ""
    release_id: str = ""
    given: str = ""


class OtherReceipt(Conflict):
    """There is already another receipt."""

    code = "other_receipt"
    says = "the receipt of {escalation_id} says {status}, by {receipt_by} at {receipt_at}"
    hint = "a receipt is final; only after unknown may an admin record the result"
    escalation_id: str
    status: str
    receipt_by: str
    receipt_at: str


class NothingToRestore(Conflict):
    """There is nothing to restore: the record can be read and its history is legal."""

    code = "nothing_to_restore"
    says = "{escalation_id} needs no restoring"
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
    says = "{escalation_id} has changed since it was shown: its digest is {shown}, not {given}"
    hint = "read it again with `kt escalation get --id {escalation_id}` and decide again"
    escalation_id: str
    shown: str
    given: str


class DifferentContent(Conflict):
    """The id belongs to an escalation with other content."""

    code = "different_content"
    says = "{escalation_id} exists with other content ({differs})"
    hint = "the same id must mean the same request: give this one a request id of its own"
    escalation_id: str
    differs: str


class BranchTaken(Conflict):
    """The branch for the proposal already holds other changes."""

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
    hint = "list all with `kt escalation list --status all --fetch`"
    escalation_id: str


class NothingToClaim(KtError):
    """There is no escalation that the caller may claim."""

    code = "nothing_to_claim"
    exit_code = 7
    says = "nothing to claim: {why}"
    why: str
    #: Unreadable files, which were skipped.
    invalid: Sequence[str] = ()
    #: `empty`, `all_held` or `not_for_you`.
    state: str = ""
    #: How many escalations each person holds.
    held_by: Mapping[str, int] = MappingProxyType({})
    #: The facts of each store, if several were asked.
    stores: Sequence[Mapping[str, Any]] = ()
