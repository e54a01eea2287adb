"""Opens the stores that a command line names, and records the effects of a command."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import click
from click.core import ParameterSource

from ..errors import Usage
from . import signals
from .terminal.progress import drawn

if TYPE_CHECKING:
    from ..actions.options import OpenOptions
    from ..storage.effect import Effect
    from ..store import Store

T = TypeVar("T")


class Work:
    """The facts about the running command that `edge` needs."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Forget the previous command."""
        #: Whether the command changes something.
        self.changes = False
        #: The effect of each of its changes.
        self.effects: deque[Effect] = deque()
        #: Whether the command reports each change itself when it is made, and then continues.
        self.is_session = False

    def begin_session(self) -> None:
        """Let the command report each of its changes itself. Only the last effect is kept."""
        self.is_session = True
        self.effects = deque(maxlen=1)


work = Work()


def store_of(where: str, **options: Unpack[OpenOptions]) -> Store:
    """Open a store, and record the effects of what the command does with it."""
    from ..store import Store

    signals.act_on_waiting()
    options["on_effect"] = work.effects.append
    return Store.open(where, **options)


@contextmanager
def writing_store(given: Mapping[str, Any], *, follow_checkout: bool = True) -> Iterator[Store]:
    """Open the store for a command that writes, with its timeouts, and show progress."""
    timeouts = {key: given[key] for key in ("lock_timeout", "retry_timeout")}
    with (
        drawn() as progress,
        store_of(given["repo"], follow_checkout=follow_checkout, progress=progress, **timeouts) as store,
    ):
        yield store


def folder(ctx: click.Context, repo: Sequence[str]) -> str:
    """The folder of a command that works on one store: `-C`, else KT_REPO, else the current one. Raises Usage."""
    named = _named(ctx, repo)
    if len(named) > 1:
        raise Usage(
            problem=f"this works on one store, and -C names {len(named)}",
            hint="give one of them; `list` and `claim --next` take several",
        )
    return named[0] if named else "."


def from_folder(repo: str, path: str) -> str:
    """A path on the command line, which begins in the folder of `-C`. KT_REPO names a store, and moves no other path."""
    ctx = click.get_current_context()
    is_named = ctx.get_parameter_source("repo") is ParameterSource.COMMANDLINE or ctx.obj
    return os.path.join(repo, path) if is_named else path  # noqa: PTH118 - a Path would lose `./`


def in_stores(repo: Sequence[str], one: Callable[[str], T], several: Callable[[Sequence[str]], T]) -> T:
    """Call ``one`` with the only store of the command line, or ``several`` with its stores.

    Several stores are named with `-C`. If no store is named, and the current folder is in none, they are
    those of `kt.store` in the user's git configuration.
    """
    named = _named(click.get_current_context(), repo)
    if not named:
        from .. import multistore

        named = multistore.of_the_user()
        # This is checked first, so no repository is fetched only to find that it is not a store.
        if not named or multistore.is_in_one("."):
            return one(".")
        return several(named)
    return several(named) if len(named) > 1 else one(named[0])


def _named(ctx: click.Context, repo: Sequence[str]) -> Sequence[str]:
    """The folders of `-C`, from the command or else its groups, else of KT_REPO, without repetitions."""
    return list(dict.fromkeys(repo or ctx.obj or filter(None, [os.environ.get("KT_REPO")])))
