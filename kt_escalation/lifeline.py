"""One record's own line of states, judged as `verify` judges it: what `restore` goes back to and `wait` releases by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from . import lookup
from .audit import Audit, Offence, Only
from .core import signatures
from .core.model import Record
from .errors import ShallowClone
from .store import graph, history
from .store.gitstore import GitStore
from .store.graph import Commit


@dataclass(frozen=True)
class Life:
    """The states that legal steps led to, oldest first, and what `verify` has against how the record came to be.

    The first state counts as legal among the states, since there is none before it to go back to.
    ``imported`` says that it came with the commit that began the store: nobody can tell how it came about.
    ``wrong`` is what is wrong with the first state, or with a later one that nobody has restored since.
    """

    states: tuple[Record, ...]
    imported: bool
    wrong: Offence | None


def life(store: GitStore, revision: str, escalation_id: str) -> Life:
    """The life of a record up to a commit; only the commits that touch it are looked at.

    The policies count as they are at each commit's parent; how they came to be so is not asked.
    Raises ShallowClone.
    """
    require_history(store)
    paths = history.everywhere(store, revision, escalation_id)
    commits = list(graph.walk(store, [revision], paths=paths))
    only = Only(escalation_id, paths, any(len(commit.parents) > 1 for commit in commits))
    folding = {commit.oid for commit in commits if graph.touches_archives(commit)}

    def about(offence: Offence) -> bool:
        """Whether it is a step of the record that is wrong, or not signed; a compaction is no step."""
        if offence.escalation_id is not None:
            return offence.escalation_id == escalation_id
        return offence.rule in signatures.RULES and offence.commit not in folding

    states: list[tuple[str, Record]] = []
    audit = Audit(store, [revision], former=lambda *_: [state for _, state in states], only=only)
    birth: str | None = None
    imported = False
    born: Offence | None = None
    wrong: Offence | None = None
    for commit, offences in audit.life(_whole(store, commits)):
        found = [offence for offence in offences if about(offence)]
        begins = audit.began_with(commit)
        if begins and graph.beginning(store, revision) != commit.oid:
            found.append(audit.second_start(commit))
        record = lookup.record_of(store.at(commit.oid), escalation_id)
        if record is not None and birth is None:
            birth, imported = commit.oid, begins
            states.append((birth, record))
        elif record is not None and not found and len(commit.parents) < 2 and commit.oid not in folding:
            if any(record == state for _, state in states):
                # Whoever may has brought it back, and the line goes on from there.
                wrong = None
            if wrong is None:
                states.append((commit.oid, record))
        guilty = {offence.commit for offence in found} - {birth}
        states = [(oid, state) for oid, state in states if oid not in guilty]
        born = born or next((offence for offence in found if offence.commit == birth), None)
        wrong = wrong or next((offence for offence in found if offence.commit != birth), None)
    return Life(tuple(state for _, state in states), imported, born or wrong)


def legal_states(store: GitStore, revision: str, escalation_id: str) -> tuple[Record, ...]:
    """The states of a record, oldest first, that a row of legal steps led to, up to a commit."""
    return life(store, revision, escalation_id).states


def require_history(store: GitStore) -> None:
    """Raise ShallowClone where history is cut off."""
    if store.repository.is_shallow:
        raise ShallowClone(where=str(store.repository.toplevel or store.repository.git_dir))


def _whole(store: GitStore, commits: Iterable[Commit]) -> Iterator[Commit]:
    """The commits; of those with archives all that they did, by which alone a compaction can be judged."""
    for commit in commits:
        if graph.touches_archives(commit) and len(commit.parents) < 2:
            yield from graph.walk(store, [f"{commit.oid}^!"])
        else:
            yield commit
