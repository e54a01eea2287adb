"""Golden files, and the commands that each have one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click

GOLDEN = Path(__file__).parent / "golden"


UPDATE = bool(os.environ.get("UPDATE_GOLDEN"))


def compare(name: str, text: str) -> None:
    """Hold a text to its golden file."""
    file = GOLDEN / f"{name}.txt"
    if UPDATE:
        GOLDEN.mkdir(exist_ok=True)
        file.write_text(text)
    assert file.exists(), f"{file} is missing; write it with UPDATE_GOLDEN=1"
    assert text == file.read_text()


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command below one, itself included."""
    yield path
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from commands(command.commands[name], (*path, name))
