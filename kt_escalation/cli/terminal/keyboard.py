"""Prompts at a terminal: one key, yes or no, one line, or a text in the user's editor."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Mapping

import click

from ...model.text import has_hidden, visible
from .. import signals

# What stands below this line in the editor is ours; the line is as git writes it for commit messages.
_SCISSORS = "# ------------------------ >8 ------------------------"
_BACK = signal.SIGCONT
_END_OF_INPUT = "\x04"
# No line that a terminal gives is longer (termios(3)).
_LONGEST_LINE = 4096


class _Back(Exception):
    """The process was stopped and goes on (^Z and `fg`): its shell has set up the terminal as it likes it."""


class Keyboard:
    """The keyboard of one session, to be used while it is `watched`.

    ``stopped`` says that ^C was pressed, the terminal closed, or the process told to end. The first of
    these ends whatever goes on in KeyboardInterrupt, and what is asked later as well. EOFError is the
    end of input, where a terminal was closed too.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._heeded: frozenset[int] | None = None
        self._editing = False
        self._is_back = False
        self._terminal = sys.stdin.fileno()
        self._wake = -1

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Watch for what ends a session."""
        self._wake, told = os.pipe()
        os.set_blocking(told, False)
        # A signal that comes just before a read does not end it; one that writes ends a select.
        woken = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        before = signal.signal(_BACK, self._on_return)
        try:
            with signals.heeding(self._on_signal):
                yield
        finally:
            signal.signal(_BACK, before)
            signal.set_wakeup_fd(woken)
            os.close(told)
            os.close(self._wake)

    def heed(self, *numbers: signal.Signals) -> None:
        """From now on only these signals interrupt, and the first that does is the last."""
        self._heeded = frozenset(numbers)

    def require_going(self) -> None:
        """Raise KeyboardInterrupt if the session was told to end, also where that was heard by nobody."""
        if self.stopped:
            raise KeyboardInterrupt

    def key(self, question: str, keys: Mapping[str, str]) -> str:
        """Wait for one of the keys, and show the word that stands for it; any other asks again."""
        while True:
            pressed = self._answer(f"{visible(question, lines=True)} ", self._one_key).lower()
            click.echo(keys.get(pressed, ""))
            if pressed == _END_OF_INPUT:
                raise EOFError
            if pressed in keys:
                return pressed

    def line(self, question: str) -> str:
        """One line, stripped; empty where nothing was typed, or what is no text."""
        text = self._answer(f"{visible(question)}\n> ", self._read).strip()
        if has_hidden(text):
            # An arrow key, most often.
            click.echo(f"that holds what is no text: {visible(text)}")
            return ""
        return text

    def agrees(self, question: str) -> bool:
        """Whether the answer, a line, is yes; asked on stderr, and no where nothing was typed."""
        while True:
            said = self._answer(f"{visible(question)} [y/N]: ", self._read, err=True).strip().lower()
            if said in ("y", "yes"):
                return True
            if said in ("", "n", "no"):
                return False
            click.echo("type y for yes, or n for no", err=True)

    def text(self, about: str, draft: str = "") -> str:
        """What is written in the user's editor; empty where nothing was, or it was left without saving."""
        self.require_going()
        self._editing = True
        try:
            found = click.edit(f"{draft}\n{_SCISSORS}\n# {visible(about)}\n")
        except click.ClickException as error:
            click.echo(visible(error.format_message()))
            return ""
        except UnicodeError:
            click.echo("that is not UTF-8")
            return ""
        finally:
            self._editing = False
        return (found or "").partition(_SCISSORS)[0].strip()

    def _answer(self, prompt: str, read: Callable[[], str], err: bool = False) -> str:
        """What is read after a prompt, which is shown again when whoever stopped us has come back."""
        while True:
            self._is_back = False
            click.echo(prompt, nl=False, err=err)
            with contextlib.suppress(_Back):
                return read()

    def _one_key(self) -> str:
        with self._key_by_key():
            return self._read()

    def _read(self) -> str:
        """What is typed next. Raises KeyboardInterrupt, EOFError, _Back, and OSError where the terminal is gone."""
        while True:
            self.require_going()
            if self._is_back:
                raise _Back
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
    def _key_by_key(self) -> Iterator[None]:
        """Let the terminal give each key as it is pressed, and show none."""
        try:
            before = termios.tcgetattr(self._terminal)
            # What was typed before the question is thrown away: it was meant for another one.
            tty.setcbreak(self._terminal, termios.TCSAFLUSH)
        except termios.error as error:
            raise OSError(*error.args) from None
        try:
            yield
        finally:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._terminal, termios.TCSADRAIN, before)

    def _on_return(self, *_: object) -> None:
        self._is_back = True

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGINT and self._editing:
            # It is meant for the editor, which gets it as well.
            return
        self.stopped = True
        if self._heeded is None or number in self._heeded:
            # A terminal that closes sends several, and ends every read too: one must not stop what another began.
            self.heed()
            raise KeyboardInterrupt
