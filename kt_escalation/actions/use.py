"""Uses decisions: releases a decision once, and records the result of the release. See docs/gateway.md."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from ..errors import BadInput, NoStoreBranch, NotFound, NotReleased, OtherReceipt
from ..model import forms
from ..model.record import Record
from ..model.release import RECEIPT_STATUSES, ReceiptStatus, Release
from ..model.times import format_time
from ..results import Decision, Received
from ..rules import releasing
from ..rules.permissions import Actor
from ..storage import layout, lookup, notebook, yaml_text
from ..storage.commit_message import Message
from ..storage.interface import Snapshot
from . import decision, inputs
from .plan import Plan
from .session import Session

#: The clone's note of the release ids that it created, by escalation, and how many of them it keeps.
RELEASES, _KEPT = "releases", 1_000
_DIGEST = re.compile(r"(hmac-)?sha256:[0-9a-f]{64}", re.ASCII)
_RESULT = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def release(
    session: Session,
    escalation_id: str,
    *,
    digest: str | None = None,
    release_id: str | None = None,
    amended: bool = False,
    signed: bool = False,
    tell: Callable[[str], object] = lambda _: None,
) -> Decision:
    """Take a decision for its one use. ``tell`` is called with the release id before anything is pushed.

    A decision that is not for one use, or that releases nothing, is returned, and nothing is written.
    """
    inputs.whole_ids([escalation_id])
    token = _release_id(release_id)
    action_digest(digest)
    _require_shared(session)
    made: Decision | None = None
    token_told = False

    def decide(snapshot: Snapshot, actor: Actor) -> Plan:
        nonlocal made, token, token_told
        entry = lookup.entry(snapshot, escalation_id)
        record = entry.record
        releasing.require_digest(record, digest)
        releasing.require_user(record, actor)
        releasing.require_releasing(record)
        releasing.require_action(record, digest)
        found = decision.proof(session, snapshot, entry, signed=signed)
        if record.requires.single_use is None:
            made = decision.plain_answer(found, actor.now, digest, amended=amended)
            return Plan(records=(record,), unchanged=1)
        decision.require_amendable(record, amended=amended)
        token = token or session.token()
        after = releasing.release(found.decided, actor, token)
        made = replace(found.decision(), release_id=token)
        if after is found.decided.release:
            made = replace(made, repeat=True)
            return Plan(records=(record,), unchanged=1)
        if not token_told:
            token_told = True
            if release_id is None:
                _keep(session, escalation_id, token)
            tell(token)
        return _plan(session, record, after, actor, "release")

    result = session.commit(decide)
    assert made is not None  # noqa: S101 - whoever commits has decided
    written = result.changed
    return replace(
        made,
        changed=written,
        release_commit=result.commit if made.release_id is not None else None,
        warnings=result.warnings,
    )


def receipt(
    session: Session,
    escalation_id: str,
    status: str,
    *,
    result_digest: str | None = None,
    reason: str | None = None,
    release_id: str | None = None,
) -> Received:
    """Record the result of a release.

    For the person who released it; after `unknown` also for an admin, with a reason.
    """
    inputs.whole_ids([escalation_id])
    known = _status(status)
    words = None if reason is None else inputs.words(reason, "the reason")
    if release_id is not None:
        _release_id(release_id)
    if result_digest is not None and not _RESULT.fullmatch(inputs.text(result_digest, "the result digest")):
        raise BadInput(problem=f"{result_digest[:80]!r} is not a valid digest: sha256: and 64 hex digits")
    _require_shared(session)
    made: Release | None = None

    def decide(snapshot: Snapshot, actor: Actor) -> Plan:
        nonlocal made
        record = lookup.entry(snapshot, escalation_id).record
        releasing.require_receivable(record)
        found = decision.release_of(snapshot, record)
        if found is not None and release_id not in (None, found.release_id):
            raise NotReleased(
                says="{escalation_id} was released under release id {release_id}, not {given}",
                hint="give the receipt of your own release",
                escalation_id=escalation_id,
                release_id=found.release_id,
                given=release_id,
            )
        made = releasing.receipt(
            found, escalation_id, actor, known, result_digest=result_digest, reason=words
        )
        if made is found:
            return Plan(records=(record,), unchanged=1)
        _require_no_archive(session, snapshot, found or made)
        return _plan(session, record, made, actor, "receipt", words)

    result = session.commit(decide)
    if made is None or made.receipt is None:
        raise NotFound(escalation_id=escalation_id)
    return Received(
        escalation_id, made.release_id, made.receipt, result.commit, result.changed, result.warnings
    )


def _require_no_archive(session: Session, snapshot: Snapshot, found: Release) -> None:
    """Raise OtherReceipt for a release in an archive: the time for a final receipt is over."""
    name = found.escalation_id
    if session.has_git and session.git.at(snapshot.revision).is_archived(name, "released"):
        before = found.receipt
        raise OtherReceipt(
            says="the release of {escalation_id} is in an archive, which never changes; its receipt stays {status}",
            hint="give the receipt of a release within 90 days; `kt escalation get --id {escalation_id}` shows it",
            escalation_id=name,
            status=before.status if before else "missing",
            receipt_by=before.receipt_by if before else "nobody",
            receipt_at=format_time(before.receipt_at) if before else "",
        )


def _plan(
    session: Session, record: Record, after: Release, actor: Actor, action: str, text: str | None = None
) -> Plan:
    detail = after.receipt.status if after.receipt is not None else ""
    message = Message(
        action, [record.escalation_id], actor.name, detail=detail, text=text, release_id=after.release_id
    )
    path = layout.release_path(record)
    path = session.git.full(path) if session.has_git else path
    return Plan(
        message=message,
        records=(record,),
        others={path: yaml_text.dumps_release(after)},
        find=f"kt escalation get --fetch --id {record.escalation_id}",
    )


def _keep(session: Session, escalation_id: str, token: str) -> None:
    """Store the release id that this clone created, before it is used."""
    if not session.has_git:
        return
    folder = session.git.lock_folder
    known = dict((notebook.read(folder, RELEASES) or {}).items())
    known.pop(escalation_id, None)
    kept = [*known.items(), (escalation_id, token)][-_KEPT:]
    notebook.write(folder, RELEASES, dict(kept))


def _require_shared(session: Session) -> None:
    """Raise NoStoreBranch if the repository has remotes but the release would be committed only here."""
    if not session.has_git or session.git.remote is not None:
        return
    names = sorted(session.git.repository.remotes())
    if names:
        raise NoStoreBranch(
            problem=f"this repository has remotes ({', '.join(names)}), and none of them is the store's, so a release "
            "here could be made again elsewhere",
            hint="name the store's remote with `git config kt.remote NAME`",
        )


def _release_id(text: str | None) -> str:
    """The caller's own release id, or empty. Raises BadInput."""
    if text is not None and not re.fullmatch(forms.RELEASE_ID, inputs.text(text, "the release id"), re.ASCII):
        raise BadInput(
            problem=f"{text[:80]!r} is not a valid release id: letters, digits, dots, dashes, at most 64"
        )
    return text or ""


def action_digest(text: str | None) -> None:
    """Raise BadInput for a text that is not the digest of an action."""
    if text is not None and not _DIGEST.fullmatch(inputs.text(text, "the digest")):
        raise BadInput(
            problem=f"{text[:80]!r} is not a valid digest: sha256: or hmac-sha256:, and 64 hex digits",
            hint="`kt escalation digest` prints it",
        )


def _status(text: str) -> ReceiptStatus:
    for known in RECEIPT_STATUSES:
        if inputs.text(text, "the status") == known:
            return known  # type: ignore[return-value]
    raise BadInput(problem=f"{text[:80]!r} is not a valid receipt; use one of {', '.join(RECEIPT_STATUSES)}")
