"""Errors about the remote, timeouts and unknown outcomes: exit codes 4, 8, 9 and 130."""

from __future__ import annotations

from .base import KtError

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
        "claim, unclaim, resolve, assign, note, withdraw and `kt policy waive` do that with --branch"
    )
    remote: str
    branch: str
    words: str = ""
    alike: str = ""


class RemoteFault(KtError):
    """The remote repository has a fault and could not accept the push; nothing changed."""

    code = "remote_fault"
    exit_code = 4
    says = "the remote {remote} could not take the push to {branch}: {words}"
    unchanged = "nothing changed"
    hint = "the repository itself is broken; tell its administrator"
    remote: str
    branch: str
    words: str


class HistoryRewritten(KtError):
    """The remote's store branch no longer contains a commit that this clone has seen on it."""

    code = "history_rewritten"
    exit_code = 4
    says = "THE HISTORY OF {branch} ON {remote} WAS REWRITTEN: it no longer continues from {seen}"
    unchanged = "nothing changed"
    hint = "find out who did it, and accept it with `git fetch {remote:sh}` only if it was meant"
    branch: str
    remote: str
    seen: str


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
    """No time was left: other commits were always first, or the remote could not accept the push."""

    code = "retry_timeout"
    exit_code = 8
    says = "others changed the store first, {attempts:time|times} within {seconds:g} s"
    hint = "nothing changed; run the command again, or give more time with --retry-timeout"
    attempts: int
    seconds: float
    remote: str | None = None
    words: str = ""


def exhausted(attempts: int, seconds: float, remote: str | None, said: str) -> RetriesExhausted:
    """The error for a change that took too long. ``said`` is the remote's reason if no other commit was first."""
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
    says = "event {event_id} was not delivered after {tries:try|tries}: {problem}"
    hint = "fix that and start again: delivery continues with this event"
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
