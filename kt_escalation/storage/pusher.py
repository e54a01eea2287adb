"""Pushes one commit to one branch of the remote. Returns whether it landed, or why it did not."""

from __future__ import annotations

import time

from ..errors import Interrupted, PushRefused, RemoteFault
from . import waiting
from .interface import Stale, Unanswered
from .newest_tip import NewestTip
from .reader import Reader
from .store_branch import alike


class Pusher:
    """Pushes to the remote of one clone."""

    def __init__(self, reader: Reader, newest: NewestTip) -> None:
        self._location = reader.location
        self._repository = reader.repository
        self._progress = reader.progress
        self._newest = newest
        #: What the remote said about the last push.
        self.said = ""

    def push(
        self, commit: str, branch: str, lease: str, end: float, *, proposed: bool, refspec: str | None = None
    ) -> Exception | None:
        """Push a commit to a branch that is at ``lease`` (empty: no such branch).

        Returns as `Prepared.send` does.
        Without the lease, a remote that was set back to an earlier commit would accept the push as a
        fast-forward.
        """
        from ..git.push_result import PushAnswer, classify, hint_for, is_astray

        remote = self._location.remote or ""
        push = self._repository.push(remote, commit, branch, lease, refspec)
        waited = end - time.monotonic()
        try:
            done, caught = waiting.answer(self._progress, "pushing", "the push", push, end)
        except (Exception, KeyboardInterrupt) as error:
            if push.may_have_sent():
                raise
            if isinstance(error, KeyboardInterrupt):
                return Interrupted()
            return waiting.unreachable(remote, None, waited)
        out = done.out.decode(errors="replace")
        if refspec is None and is_astray(branch, out, done.err):
            if self._repository.push_address(remote).startswith(("http://", "https://")):
                # Over HTTP git splits each push into two processes, and does not pass a pattern on to the
                # second one (git-remote-http).
                return self._alike(branch, end)
            with self._repository.pattern(commit, branch) as pattern:
                return self.push(commit, branch, lease, end, proposed=proposed, refspec=pattern)
        self.said = done.err
        pushed = classify(done.status, out, done.err)
        if pushed.answer is PushAnswer.LANDED:
            return None
        # A server hook's output does not count as an answer. After something was sent, only the report on the ref does.
        unanswered = push.may_have_sent() if pushed.answer is PushAnswer.UNKNOWN else push.has_sent()
        if not pushed.reported and unanswered:
            raise caught or Unanswered(pushed.words)
        if caught:
            return Interrupted() if isinstance(caught, KeyboardInterrupt) else caught
        if pushed.answer is PushAnswer.LOST:
            self._newest.lost(store_branch=not proposed)
            return Stale(pushed.words)
        if pushed.answer in (PushAnswer.UNREACHED, PushAnswer.UNKNOWN):
            return waiting.unreachable(remote, done, 0)
        kind = RemoteFault if pushed.answer is PushAnswer.FAULT else PushRefused
        refusal = kind(remote=remote, branch=branch, words=pushed.words)
        hint = hint_for(pushed.words)
        if pushed.here:
            refusal.says = "the pre-push hook of this clone stopped the push to {branch}: {words}"
            refusal.hint = "it is in .git/hooks or where core.hooksPath says; fix it, or ask who put it there"
        elif hint:
            refusal.hint = hint
        elif proposed:
            refusal.hint = "ask who guards {branch}, or give another name with --branch NAME"
        return refusal

    def _alike(self, branch: str, end: float) -> PushRefused:
        """The error for a remote with another ref that git could confuse with the branch."""
        remote = self._location.remote or ""
        asked = self._repository.ask_branch(remote, branch, max(end - time.monotonic(), 0.1))
        [ref, *_] = [*alike(branch, asked), f"refs/heads/refs/heads/{branch}"]
        return PushRefused(
            says="{branch} on {remote} cannot be pushed to: git takes {alike} there for it as well",
            hint="delete that with `git push {remote:sh} --delete {alike:sh}`, which anybody who may push can do",
            remote=remote,
            branch=branch,
            alike=ref,
        )
