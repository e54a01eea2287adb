"""What a gateway judges bit by bit, as it comes, is what a clone judges that sees all of it at once."""

from __future__ import annotations

import os
import shutil

import pytest
from forge import Forge, identity
from test_forgeries import FORGERIES

from kt_escalation import Store
from kt_escalation.actions import decision
from kt_escalation.audit.watched import Watched
from kt_escalation.errors import KtError
from kt_escalation.storage import lookup

#: Every tenth in the suite, and all of them as soak.
NAMES = [
    pytest.param(name, marks=() if number % 10 == 0 else pytest.mark.soak)
    for number, name in enumerate(FORGERIES)
]


def answers(store: Store) -> dict[str, str]:
    """What a wait says of everything that is resolved at the tip."""
    found = {}
    try:
        names = store.resolved_ids("esc_")
    except KtError as error:
        return {"all": error.code}
    for name in names:
        try:
            found[name] = store.wait(name, 30).outcome
        except KtError as error:
            found[name] = error.code
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_forgery_that_comes_while_somebody_waits_is_found_all_the_same(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for key, value in identity("gw").items():
        monkeypatch.setitem(os.environ, key, value)
    _, _, make = FORGERIES[name]
    with Store.open(forge.path) as store:
        assert answers(store) == {"esc_done": "denied"}
        make(forge)
        bit_by_bit = answers(store)
    shutil.rmtree(forge.path / ".git/kt", ignore_errors=True)
    with Store.open(forge.path) as store:
        assert bit_by_bit == answers(store)


@pytest.mark.parametrize("forgets", [False, True])
def test_a_history_that_is_rewritten_while_somebody_waits_is_not_believed(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, forgets: bool
) -> None:
    """Nor where the clone has lost its notes, or could never write them: the process itself has seen the other one."""
    for key, value in identity("gw").items():
        monkeypatch.setitem(os.environ, key, value)
    with Store.open(forge.path) as store:
        assert answers(store) == {"esc_done": "denied"}
        forge.git("reset", "--quiet", "--hard", "HEAD^")
        forge.kt("alice", "resolve", "--id", "esc_done", "--outcome", "approved", "--reason", "yes")
        if forgets:
            shutil.rmtree(forge.path / ".git/kt")
        assert answers(store) == {"esc_done": "illegal_record"}


@pytest.mark.parametrize("judged_by", ["nobody", "this thread", "another thread", "another process"])
def test_a_state_that_was_judged_past_already_is_answered_as_the_newest_one(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, judged_by: str
) -> None:
    """Whoever reads an older state may find that another one of this clone has judged a newer one meanwhile."""
    for key, value in identity("gw").items():
        monkeypatch.setitem(os.environ, key, value)
    with Store.open(forge.path) as store, Store.open(forge.path) as other:
        session = store._session
        states = []
        for name in ("a", "b", "c"):
            forge.raised(name)
            forge.kt("alice", "claim", "--id", f"esc_{name}")
            forge.kt("alice", "resolve", "--id", f"esc_{name}", "--outcome", "approved", "--reason", "yes")
            states.append(session.snapshot())
        newest = states[-1].revision
        if judged_by == "another process":
            assert other.wait("esc_c", 30).outcome == "approved"
        elif judged_by != "nobody":
            session.watched = Watched(session.git)
            session.watched.catch_up(newest, session.clock())
        if judged_by == "another thread":
            other._session.watched, session.watched = session.watched, None
        for state in states[::-1]:
            entry = lookup.entry(state, "esc_a")
            assert decision.proof(session, state, entry).decision().release
            watched = session.watched = session.watched or Watched(session.git)
            watched.catch_up(state.revision, session.clock())
            assert decision.proof(session, state, entry).decision().release
