"""What `wait` and `release` answer while an illegal release stands on the store branch, and once an admin took it back."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from counts import every
from forge import Forge, identity, push, serve
from gateways import DIGEST, Gate, draft, made_in
from lab import Ran, git, kt
from past import acting
from test_releases import OTHER, release_text

from kt_escalation import Store
from kt_escalation.model.times import format_time

#: A decision to be released within a quarter of an hour, one that may be released at any time, and one whose time is over.
QUICK, EVER, OVER = "esc_quick", "esc_ever", "esc_over"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shared repository, the store of those who push by hand, and the clone of a gateway."""
    folder = tmp_path_factory.mktemp("ground")
    gate = Gate(made_in(folder))
    then = datetime.now(UTC) - timedelta(minutes=40)
    with acting("gw"), Store.open(gate.forge.path, clock=lambda: then) as store:
        store.create(draft("over"))
    with acting("alice"), Store.open(gate.forge.path, clock=lambda: then) as store:
        store.claim(OVER)
        store.resolve(OVER, "approved", "so be it")
    for name, code, people in ((QUICK, "tool.call", ["alice"]), (EVER, "tool.two", ["alice", "bob"])):
        gate.raised(name.removeprefix("esc_"), reason_code=code)
        for who in people:
            gate.review(who, name, "approved")
    git("clone", "--quiet", "--bare", str(gate.forge.path), "shared.git", cwd=folder)
    git("remote", "add", "origin", "../shared.git", cwd=gate.forge.path)
    return folder


class Shared:
    """People who push by hand, and gateways with clones of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.forge = Forge.__new__(Forge)
        self.forge.path = folder / "store"
        self.gate = Gate(self.forge)
        self.clone("gw")

    def clone(self, name: str) -> None:
        git("clone", "--quiet", "shared.git", name, cwd=self.folder)

    def pushed(self, who: str, **env: str) -> None:
        self.forge.commit(who, **env)
        self.forge.git("push", "--quiet", "origin", "HEAD:main")

    def run(self, *args: str, clone: str = "gw", who: str = "gw") -> Ran:
        return kt(*args, "--json", cwd=self.folder / clone, env=identity(who))

    def waited(self, name: str, *more: str, clone: str = "gw") -> str:
        """How a wait ends, in a word: it releases, or the error's code."""
        return said(self.run("wait", "--id", name, "--timeout", "5s", *more, clone=clone))

    def released(self, name: str, token: str, clone: str = "gw") -> str:
        return said(self.run("release", "--id", name, "--digest", DIGEST, "--release-id", token, clone=clone))


def said(ran: Ran) -> str:
    return ran.error["code"] if ran.code else "changed" if ran.json.get("changed") else "the same"


@pytest.fixture
def shared(ground: Path, tmp_path: Path) -> Shared:
    shutil.copytree(ground, tmp_path / "ground")
    return Shared(tmp_path / "ground")


Forgery = Callable[[Shared], tuple[str, str]]
#: Forgeries of a release, by what is wrong; each says which decision it is about, and what a wait answers afterwards.
FORGERIES: dict[str, Forgery] = {}


def forgery(make: Forgery) -> Forgery:
    FORGERIES[make.__name__.replace("_", " ")] = make
    return make


def wrong(shared: Shared, name: str, who: str = "gw", *, day: str = "", **more: str) -> tuple[str, str]:
    path, text = release_text(shared.gate, name, **more)
    shared.forge.write(re.sub(r"\d{4}/\d\d/\d\d", day, path) if day else path, text)
    shared.pushed(who)
    return name, "release_needed"


@forgery
def too_late(shared: Shared) -> tuple[str, str]:
    return wrong(shared, OVER)[0], "release_expired"


@forgery
def dated_back(shared: Shared) -> tuple[str, str]:
    return wrong(shared, EVER, released_at=f'"{format_time(datetime.now(UTC) - timedelta(hours=1))}"')


@forgery
def dated_ahead(shared: Shared) -> tuple[str, str]:
    return wrong(shared, QUICK, released_at=f'"{format_time(datetime.now(UTC) + timedelta(minutes=10))}"')


@forgery
def by_a_reviewer(shared: Shared) -> tuple[str, str]:
    return wrong(shared, QUICK, "alice", released_by="alice")


@forgery
def for_another_action(shared: Shared) -> tuple[str, str]:
    return wrong(shared, EVER, digest=f'"{OTHER}"')


@forgery
def on_another_day(shared: Shared) -> tuple[str, str]:
    return wrong(shared, QUICK, day="2001/01/01")


@forgery
def of_no_release_at_all(shared: Shared) -> tuple[str, str]:
    return wrong(shared, EVER, release_id='"a b"')


def taken_back(shared: Shared, name: str) -> None:
    shared.forge.git("rm", "--quiet", "--", *shared.gate.release_path(name).splitlines())
    shared.pushed("boss")


SEEN = ("all of it", "what was before", "the forgery", "nothing")


@pytest.mark.parametrize("case", every(3, product(FORGERIES, SEEN)), ids=" seeing ".join)
def test_a_release_that_was_taken_back_is_none(shared: Shared, case: tuple[str, str]) -> None:
    """Whatever the clone had judged when the admin took it back, and whatever it remembers of that."""
    made, seen = case
    if seen in ("all of it", "what was before"):
        assert shared.waited(QUICK) == "release_needed"
    name, after = FORGERIES[made](shared)
    if seen in ("all of it", "the forgery"):
        # What cannot be read where it lies is said as such.
        assert shared.waited(name) in ("illegal_record", "unreadable_record"), made
        assert shared.waited(name, "--release", "--digest", DIGEST) in ("illegal_record", "unreadable_record")
        assert shared.released(name, "T2") in ("illegal_record", "unreadable_record")
    taken_back(shared, name)
    if seen == "all of it":
        assert shared.waited(name) == after
    if after == "release_expired":
        assert shared.released(name, "T2") == after
        assert shared.waited(name, "--release", "--digest", DIGEST) == after
        return
    way: dict[str, Callable[[], Any]] = {
        "all of it": lambda: said(shared.run("wait", "--id", name, "--release", "--digest", DIGEST, "--release-id", "T2")),
        "the forgery": lambda: (shared.clone("other"), shared.released(name, "T2", "other"))[1],
    }  # fmt: skip
    assert way.get(seen, lambda: shared.released(name, "T2"))() == "changed"
    # It was used once, and whoever looks sees that: the clone that had seen the forgery as well.
    assert shared.waited(name) == "already_released"
    assert shared.released(name, "T3") == "already_released"
    assert shared.released(name, "T2") == "the same"
    assert shared.waited(QUICK if name == EVER else EVER) == "release_needed"
    shared.forge.git("pull", "--quiet", "--ff-only", "origin", "main")
    found = kt("verify", "--json", cwd=shared.forge.path).json["violations"]
    assert len({one["commit"] for one in found}) == 1, found


def by_somebody_else(shared: Shared, path: str, text: str) -> None:
    now = format_time(datetime.now(UTC))
    shared.forge.write(
        path, f'{text}receipt:\n  status: executed\n  receipt_by: alice\n  receipt_at: "{now}"\n'
    )
    shared.pushed("alice")


def deleted(shared: Shared, path: str, text: str) -> None:
    (shared.forge.path / path).unlink()
    shared.pushed("boss")


def under_another_id(shared: Shared, path: str, text: str) -> None:
    shared.forge.write(path, text.replace("release_id: T1", "release_id: T9"))
    shared.pushed("gw")


@pytest.mark.parametrize("seen", ["all of it", "the forgery", "nothing"])
@pytest.mark.parametrize(
    "made", [by_somebody_else, deleted, under_another_id], ids=lambda made: made.__name__
)
def test_a_release_that_was_brought_back_is_the_one_that_it_was(
    shared: Shared, made: Callable[[Shared, str, str], None], seen: str
) -> None:
    """What was made of a legal release is taken back as well; then its receipt can be given, once."""
    assert shared.released(QUICK, "T1") == "changed"
    shared.forge.git("pull", "--quiet", "--ff-only", "origin", "main")
    path = shared.gate.release_path(QUICK)
    text = shared.forge.read(path)
    if seen == "nothing":
        shutil.rmtree(shared.folder / "gw/.git/kt")
    made(shared, path, text)
    if seen != "nothing":
        assert shared.waited(QUICK) == "illegal_record"
        assert shared.released(QUICK, "T2") == "illegal_record"
    shared.forge.write(path, text)
    shared.pushed("boss")
    if seen == "all of it":
        assert shared.waited(QUICK) == "already_released"
    assert shared.released(QUICK, "T2") == "already_released"
    assert shared.released(QUICK, "T1") == "the same"
    assert said(shared.run("receipt", "--id", QUICK, "--status", "executed")) == "changed"
    assert said(shared.run("receipt", "--id", QUICK, "--status", "failed")) == "other_receipt"
    assert shared.waited(QUICK) == "already_released"
    shared.forge.git("pull", "--quiet", "--ff-only", "origin", "main")
    found = kt("verify", "--json", cwd=shared.forge.path).json["violations"]
    assert len({one["commit"] for one in found}) == 1, found


def test_a_server_takes_in_at_once_what_takes_a_release_back_and_the_legal_one(shared: Shared) -> None:
    """Its hook was installed while the illegal one stood, and goes on from there."""
    forge = shared.forge
    by_a_reviewer(shared)
    server = serve(forge)
    forge.git("rm", "--quiet", shared.gate.release_path(QUICK))
    forge.commit("boss")
    forge.git("remote", "remove", "origin")
    shared.gate.do("gw", "release", "--id", QUICK, "--digest", DIGEST)
    ran = push(forge, server)
    assert ran.code == 0, ran.err


def test_what_restores_the_record_restores_no_release(shared: Shared) -> None:
    """Else the decision could be used again: somebody deletes its release, and has an admin restore the record."""
    assert shared.released(QUICK, "T1") == "changed"
    forge = shared.forge
    forge.git("pull", "--quiet", "--ff-only", "origin", "main")
    (forge.path / shared.gate.release_path(QUICK)).unlink()
    shared.pushed("gw")
    forge.edit(forge.resolved("quick"), ("reason: so it is", "reason: so it was"))
    shared.pushed("alice")
    assert shared.waited(QUICK) == "illegal_record"
    shared.gate.do("boss", "restore", "--id", QUICK, "--reason", "it was so")
    assert shared.waited(QUICK) == "illegal_record"
    assert shared.released(QUICK, "T2") == "illegal_record"
