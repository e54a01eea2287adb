"""Handles the signals that end a command: ^C, SIGTERM and SIGHUP, all in the same way.

Each of them raises KeyboardInterrupt while a command runs. A signal waits while a module is being loaded,
because half a module cannot be loaded again, and while pydantic builds the schema of a type, because pydantic would
turn the interrupt into another error. Such a signal is tried again after a moment, and at the latest before the command
opens its store. It also waits until errors can be reported, and is ignored once the exit code is decided.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Code that a signal does not interrupt: `importlib` and pydantic.
_UNCUT = ("importlib", "pydantic")
# How long a signal waits until it is tried again, in seconds.
_AGAIN = 0.002


class _State:
    """Whether a command is running, whether a signal has come, and which signal another program sent."""

    runs = False
    asked = False
    sent: int | None = None
    waiting: Callable[[], None] | None = None


def _interrupt(_: int) -> None:
    if _State.runs:
        raise KeyboardInterrupt


def heed() -> None:
    """Install the handlers. Signals that were ignored when kt was started (nohup) stay ignored."""
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _after_loading(_interrupt))


def begin() -> None:
    """Begin a command that signals can interrupt. Raises KeyboardInterrupt if one has already come."""
    _State.runs = True
    if _State.asked:
        raise KeyboardInterrupt


def asked() -> bool:
    """Whether a signal has asked this command to end. A library may have turned the interrupt into another error."""
    return _State.asked


def answered() -> None:
    """Forget the signal: ^C only went back one question."""
    _State.asked = False


def act_on_waiting() -> None:
    """Act on a signal that still waits, as its handler would. Each trial may have come while another module was loaded."""
    waiting, _State.waiting = _State.waiting, None
    if waiting:
        signal.setitimer(signal.ITIMER_REAL, 0)
        waiting()


def end() -> None:
    """End the command. The exit code is decided, and no signal interrupts any more."""
    _State.runs, _State.asked, _State.waiting = False, False, None


@contextmanager
def heeding(act: Callable[[int], None]) -> Iterator[None]:
    """Call ``act`` for signals inside the block."""
    before = {number: signal.signal(number, _after_loading(act)) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _after_loading(act: Callable[[int], None]) -> Callable[[int, FrameType | None], None]:
    """A signal handler that calls ``act`` once no module is being loaded and no schema built."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        at = frame
        while at is not None:
            if str(at.f_globals.get("__name__")).partition(".")[0] in _UNCUT:
                _State.waiting = lambda: on_signal(number, None)
                signal.signal(signal.SIGALRM, lambda _, later: on_signal(number, later))
                signal.setitimer(signal.ITIMER_REAL, _AGAIN)
                return
            at = at.f_back
        _State.waiting = None
        if number != signal.SIGINT:
            # A closing terminal or a supervisor sends several different signals. Only the first one counts.
            if _State.sent not in (None, number):
                return
            _State.sent = number
        _State.asked = True
        act(number)

    return on_signal
