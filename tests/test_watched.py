"""What a gateway judges bit by bit, as it comes, is what a clone judges that sees all of it at once."""

from __future__ import annotations

import os
import shutil

import pytest
from forge import Forge, identity
from test_forgeries import FORGERIES

from kt_escalation import Store
from kt_escalation.errors import KtError

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
