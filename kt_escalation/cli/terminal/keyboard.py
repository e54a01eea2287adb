"""Prompts at a terminal: one key, yes or no, one line, or a text in the user's editor."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping

import click

from ...model.text import has_hidden, visible
from .. import signals

# Text below this line in the editor is ours. git uses the same line in commit messages.
_SCISSORS = "# ------------------------ >8 ------------------------"
_RESUME = signal.SIGCONT
_END_OF_INPUT = "\x04"
# The longest line that a terminal returns (termios(3)).
_LONGEST_LINE = 4096


class _Resumed(Exception):
    """The process was stopped and continued (^Z and `fg`), and the shell may have changed the terminal's mode."""


class Back(Exception):
    """^C at a question that goes back to the keys."""


class Keyboard:
    """The keyboard of one session. It is used inside `watched`.

    ``stopped`` is set if ^C was pressed, the terminal closed, or a signal asked the process to end. The first
    of these raises KeyboardInterrupt in the current call and in all later ones. EOFError means the end of
    input, also if the terminal closed.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._heeded: frozenset[int] | None = None
        self._lent = False
        self._can_go_back = False
        self._was_resumed = False
        self._terminal = sys.stdin.fileno()
        self._wake = -1

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Handle the signals that end a session."""
        self._wake, told = os.pipe()
        os.set_blocking(told, False)
        # A signal just before a read would not interrupt it. A signal that writes to a pipe ends a select.
        woken = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        before = signal.signal(_RESUME, self._on_resume)
        try:
            with signals.heeding(self._on_signal):
                yield
        finally:
            signal.signal(_RESUME, before)
            signal.set_wakeup_fd(woken)
            os.close(told)
            os.close(self._wake)

    def heed(self, *numbers: signal.Signals) -> None:
        """Let only these signals interrupt from now on, and only once."""
        self._heeded = frozenset(numbers)

    def require_going(self) -> None:
        """Raise KeyboardInterrupt if a signal asked the session to end and nothing has reported it yet."""
        if self.stopped:
            raise KeyboardInterrupt

    def key(self, question: str, keys: Mapping[str, str], *, back: bool = False) -> str:
        """Wait for one of the keys, and print its word. Any other key asks again. With ``back``, ^C raises Back."""
        while True:
            pressed = self._answer(f"{visible(question, lines=True)} ", self._one_key, back=back).lower()
            click.echo(keys.get(pressed, ""))
            if pressed == _END_OF_INPUT:
                raise EOFError
            if pressed in keys:
                return pressed

    def line(self, question: str, *, back: bool = False) -> str:
        """Read one line, stripped. Empty if nothing was typed, or if it has control characters.

        With ``back``, ^C raises Back.
        """
        text = self._answer(f"{visible(question)}\n> ", self._read, back=back).strip()
        if has_hidden(text):
            # Most often an arrow key.
            click.echo(f"that contains control characters: {visible(text)}")
            return ""
        return text

    def agrees(self, question: str) -> bool:
        """Ask a yes-or-no question on stderr. An empty answer is no."""
        while True:
            said = self._answer(f"{visible(question)} [y/N]: ", self._read, err=True).strip().lower()
            if said in ("y", "yes"):
                return True
            if said in ("", "n", "no"):
                return False
            click.echo("type y for yes, or n for no", err=True)

    def text(self, about: str, draft: str = "") -> str:
        """Read a text from the user's editor. Empty if nothing was written or saved."""
        try:
            with self.lent():
                found = click.edit(f"{draft}\n{_SCISSORS}\n# {visible(about)}\n")
        except click.ClickException as error:
            click.echo(visible(error.format_message()))
            return ""
        except UnicodeError:
            click.echo("that is not UTF-8")
            return ""
        return (found or "").partition(_SCISSORS)[0].strip()

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Lend the keyboard to another program. ^C goes to that program."""
        self.require_going()
        self._lent = True
        try:
            yield
        finally:
            self._lent = False

    def pause(self, seconds: float, keys: str) -> str:
        """Wait until the time is over or one of the keys is pressed. Returns the key, or an empty text."""
        # A key that was pressed during the pause is the answer to this question.
        with self._key_by_key(termios.TCSADRAIN):
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                self.require_going()
                ready, _, _ = select.select([self._terminal, self._wake], [], [], left)
                self.require_going()
                if self._wake in ready:
                    os.read(self._wake, _LONGEST_LINE)
                if self._terminal in ready:
                    typed = os.read(self._terminal, _LONGEST_LINE).decode(errors="surrogateescape").lower()
                    if typed in ("", _END_OF_INPUT):
                        raise EOFError
                    if typed[-1] in keys:
                        return typed[-1]
        return ""

    def _answer(self, prompt: str, read: Callable[[], str], *, err: bool = False, back: bool = False) -> str:
        """Show a prompt and read. If the process was stopped and continued, the prompt is shown again."""
        while True:
            self._was_resumed = False
            # Before the question is seen, since ^C may be the answer.
            self._can_go_back = back
            try:
                click.echo(prompt, nl=False, err=err)
                with contextlib.suppress(_Resumed):
                    return read()
            finally:
                self._can_go_back = False

    def _one_key(self) -> str:
        with self._key_by_key():
            return self._read()

    def _read(self) -> str:
        """Read what is typed. Raises KeyboardInterrupt, EOFError, _Resumed, and OSError if the terminal is gone."""
        while True:
            self.require_going()
            if self._was_resumed:
                raise _Resumed
            ready, _, _ = select.select([self._terminal, self._wake], [], [])
            self.require_going()
            if self._wake in ready:
                os.read(self._wake, _LONGEST_LINE)
            if self._terminal in ready:
                break
        typed = os.read(self._terminal, _LONGEST_LINE)
        if not typed:
            raise EOFError
        return typed.decode(errors="surrogateescape")

    @contextlib.contextmanager
    def _key_by_key(self, when: int = termios.TCSAFLUSH) -> Iterator[None]:
        """Read single keys, without echo."""
        try:
            before = termios.tcgetattr(self._terminal)
            # Unless ``when`` says otherwise, keys that were typed before the question are discarded: they were meant
            # for another one.
            tty.setcbreak(self._terminal, when)
        except termios.error as error:
            raise OSError(*error.args) from None
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._terminal, termios.TCSADRAIN, before)

    def _on_resume(self, *_: object) -> None:
        self._was_resumed = True

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGINT and self._lent:
            # It is meant for the other program, which gets it too.
            return
        if number == signal.SIGINT and self._can_go_back and not self.stopped:
            signals.answered()
            raise Back
        self.stopped = True
        if self._heeded is None or number in self._heeded:
            # A closing terminal sends several signals and ends every read. No second signal may stop the
            # cleanup.
            self.heed()
            raise KeyboardInterrupt
