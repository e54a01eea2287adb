"""Waits for running git processes: shows progress, handles ^C, and explains a missing answer."""

from __future__ import annotations

import time
from contextlib import suppress

from ..errors import RemoteUnreachable
from ..git.process import Done, Underway
from ..git.remote import Push
from ..model.progress import Wait
from .interface import Progress, Unanswered

INTERRUPT_SECONDS = 5.0


def awaited(progress: Progress | None, label: str, work: Underway | Push, timeout: float) -> Done | None:
    """The result of a git process, or None if it does not end within ``timeout`` seconds."""
    end = time.monotonic() + timeout
    wait = Wait(progress, label)
    done = None
    try:
        while done is None and (left := end - time.monotonic()) > 0:
            done = work.answer(min(left, wait.seconds or left))
            if done is None:
                wait.lasts()
    finally:
        wait.ends()
    return done or work.answer(0)


def answer(
    progress: Progress | None, label: str, sent: str, work: Underway | Push, end: float
) -> tuple[Done, Exception | KeyboardInterrupt | None]:
    """The result of a process that cannot be undone, and the exception raised meanwhile, if any.

    After ^C or another exception, kt waits for the result a moment longer. If none comes, that exception is
    raised, or else Unanswered.
    """
    caught: Exception | KeyboardInterrupt | None = None
    done = None
    try:
        done = awaited(progress, label, work, end - time.monotonic())
    except (Exception, KeyboardInterrupt) as error:
        caught = error
        with suppress(KeyboardInterrupt):
            done = awaited(
                progress, f"interrupted: waiting for the answer to {sent}", work, INTERRUPT_SECONDS
            )
    if done is None:
        work.give_up()
        raise caught or Unanswered("no answer in time")
    return done, caught


def unreachable(remote: str | None, done: Done | None, timeout: float) -> RemoteUnreachable:
    """The error for a remote that gave no answer (``done`` is None), or for the failure that git reports."""
    from ..git.push_result import folder_of_another, hint_for, remote_words, trust_hint

    if done is None or done.timed_out:
        return RemoteUnreachable(remote=remote, words=f"no answer within {timeout:.0f} s")
    words = remote_words(done.err) or done.words
    folder = folder_of_another(words)
    if folder is not None:
        return RemoteUnreachable(
            says="the remote {remote} is there, but git refuses to read it, because its folder {words} belongs to another user",
            hint=trust_hint(folder),
            remote=remote,
            words=folder,
        )
    return RemoteUnreachable(remote=remote, words=words, hint=hint_for(words) or RemoteUnreachable.hint)
