"""Asking whoever sits at the terminal: one key, one line, or a text in their editor."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
from types import FrameType

import click

from ..core.text import visible

# What stands below this line in the editor is ours; the line is as git writes it for commit messages.
_SCISSORS = "# ------------------------ >8 ------------------------"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Keyboard:
    """The keyboard of one session.

    ``stopped`` says that ^C was pressed, the terminal closed, or the process told to end; whatever was
    asked then ends in KeyboardInterrupt, and so does everything that is asked later.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._editing = False
        self._closing = False

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Let ^C, a closed terminal and SIGTERM raise KeyboardInterrupt once, wherever the process is."""
        before = {number: signal.signal(number, self._on_signal) for number in _ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def closing(self) -> None:
        """From now on only ^C interrupts: what the end of the session needs must be done."""
        self._closing = True

    def require_going(self) -> None:
        """Raise KeyboardInterrupt if the session was told to end, also where that was heard by nobody."""
        if self.stopped:
            raise KeyboardInterrupt

    def key(self, question: str, keys: Mapping[str, str]) -> str:
        """Wait for one of the keys, and show the word that stands for it; none is chosen by Enter alone."""
        self.require_going()
        click.echo(f"{visible(question)} ", nl=False)
        while True:
            # What was typed before this question is thrown away (TCSAFLUSH): it was meant for another one.
            pressed = click.getchar().lower()
            if not pressed:
                raise EOFError
            if pressed in keys:
                click.echo(keys[pressed])
                return pressed

    def line(self, question: str) -> str:
        """One line, stripped; empty where nothing was typed."""
        self.require_going()
        with contextlib.suppress(ImportError):
            # Arrow keys move in the line instead of being part of it.
            import readline  # noqa: F401
        click.echo(visible(question))
        try:
            return input("> ").strip()
        except UnicodeError:
            click.echo("that was not UTF-8")
            return ""

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
            click.echo("that was not UTF-8")
            return ""
        finally:
            self._editing = False
        return (found or "").partition(_SCISSORS)[0].strip()

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGINT and self._editing:
            # It is meant for the editor, which gets it as well.
            return
        if self._closing:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        if not self.stopped:
            self.stopped = True
            raise KeyboardInterrupt
