"""What every store promises to the use cases: one suite for the store in memory and the one in git."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from lab import Lab, git, record_text

from kt_escalation.errors import BadInput
from kt_escalation.model.record import Claim, Record, Resolution
from kt_escalation.storage import yaml_text
from kt_escalation.storage.clone import GitStore
from kt_escalation.storage.interface import Author, Change, Entry, Invalid, Onto, Port, Request, Stale
from kt_escalation.testing import MemoryRemote, MemoryStore

NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)
ALICE = Author("Alice", "alice@example.com")
TIMEOUT = 30.0

#: Makes a store that holds these files and opens it for two people.
Make = Callable[[Mapping[str, bytes]], tuple[Port, Port]]


def _in_memory(_: Path, files: Mapping[str, bytes]) -> tuple[Port, Port]:
    world = MemoryRemote(files)
    return MemoryStore(world, ALICE), MemoryStore(world, Author("Bob", "bob@example.com"))


def _between_clones(folder: Path, files: Mapping[str, bytes]) -> tuple[Port, Port]:
    lab = Lab(folder)
    lab.put(files)
    return GitStore(lab.clone("alice")), GitStore(lab.clone("bob"))


def _in_one_clone(folder: Path, files: Mapping[str, bytes]) -> tuple[Port, Port]:
    lab = Lab(folder)
    lab.put(files)
    git("remote", "remove", "origin", cwd=lab.seed)
    return GitStore(lab.seed), GitStore(lab.seed)


@pytest.fixture(params=[_in_memory, _between_clones, _in_one_clone], ids=["memory", "clones", "no-remote"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    opened: list[Port] = []

    def made(files: Mapping[str, bytes]) -> tuple[Port, Port]:
        opened.extend(request.param(tmp_path, files))
        return opened[0], opened[1]

    yield made
    for port in opened:
        if isinstance(port, GitStore):
            port.close()


PACK = b"pack: {enabled: true}\n"


def store_with(make: Make, *names: str, **files: bytes) -> tuple[Port, Port]:
    return make(
        {
            "policies/policy-config.yaml": PACK,
            **{f"queue/esc_{name}.yaml": record_text(name).encode() for name in names},
            **files,
        }
    )


def claimed(record: Record, by: str = "alice@example.com") -> Record:
    return record.replace(status="claimed", claim=Claim(claim_id="c1", claimed_by=by, claimed_at=NOW))


def resolved(record: Record) -> Record:
    end = Resolution(outcome="denied", reason="no", resolved_by="alice@example.com", resolved_at=NOW)
    return claimed(record).replace(status="resolved", resolution=end)


def entry(port: Port, escalation_id: str) -> Entry:
    found = port.tip(TIMEOUT).find(escalation_id)
    assert isinstance(found, Entry)
    return found


def send(port: Port, request: Request, proposal: Onto | None = None) -> str:
    """Commit what is asked for and land it."""
    prepared = port.prepare(request, proposal)
    refusal = prepared.send(TIMEOUT)
    if refusal is not None:
        raise refusal
    prepared.settle()
    return prepared.commit


def land(port: Port, *changes: Change) -> str:
    return send(port, Request(port.tip(TIMEOUT), changes, "kt: test\n", port.author(), NOW))


def test_what_was_committed_is_read_by_everybody(make: Make) -> None:
    mine, theirs = store_with(make, "one")
    was = entry(mine, "esc_one")
    revision = land(mine, Change(was, claimed(was.record)))
    seen = theirs.tip(TIMEOUT)
    assert seen.revision == revision
    assert entry(theirs, "esc_one").record == claimed(was.record)
    assert theirs.contains(seen, revision)


def test_a_commit_on_an_old_base_is_stale_and_changes_nothing(make: Make) -> None:
    mine, theirs = store_with(make, "one")
    old = theirs.tip(TIMEOUT)
    was = entry(mine, "esc_one")
    first = land(mine, Change(was, claimed(was.record)))
    with pytest.raises(Stale):
        send(
            theirs, Request(old, [Change(was, claimed(was.record, "bob@example.com"))], "late\n", ALICE, NOW)
        )
    assert theirs.tip(TIMEOUT).revision == first
    assert entry(theirs, "esc_one").record == claimed(was.record)


def test_a_snapshot_never_changes(make: Make) -> None:
    mine, _ = store_with(make, "one")
    before = mine.tip(TIMEOUT)
    was = before.find("esc_one")
    assert isinstance(was, Entry)
    after = land(mine, Change(was, resolved(was.record)))
    assert before.find("esc_one") == was
    assert list(before.open()) == [was]
    assert not [*before.resolved()]
    assert mine.contains(mine.tip(TIMEOUT), before.revision)
    assert not mine.contains(before, after)


def test_a_resolved_record_moves_and_is_found_where_it_went(make: Make) -> None:
    mine, theirs = store_with(make, "one", "two")
    was = entry(mine, "esc_one")
    land(mine, Change(was, resolved(was.record)))
    now = theirs.tip(TIMEOUT)
    assert (now.ids(resolved=False), now.ids(resolved=True)) == (["esc_two"], ["esc_one"])
    [there] = now.resolved()
    assert there == now.find("esc_one")
    assert isinstance(there, Entry)
    assert there.path == "queue/resolved/2026/11/23/esc_one.yaml"
    assert [e.record.escalation_id for e in now.open() if isinstance(e, Entry)] == ["esc_two"]


def test_several_changes_land_together(make: Make) -> None:
    mine, theirs = store_with(make, "one", "two")
    new = yaml_text.loads(record_text("three").encode())
    one, two = entry(mine, "esc_one"), entry(mine, "esc_two")
    revision = land(
        mine, Change(None, new), Change(one, claimed(one.record)), Change(two, resolved(two.record))
    )
    now = theirs.tip(TIMEOUT)
    assert now.revision == revision
    assert sorted(now.ids(resolved=False)) == ["esc_one", "esc_three"]
    assert now.find("esc_three") == next(e for e in now.open() if isinstance(e, Entry) and e.record == new)


def test_the_id_of_an_entry_names_its_bytes(make: Make) -> None:
    mine, theirs = store_with(make, "one")
    was = entry(mine, "esc_one")
    assert was.blob == entry(theirs, "esc_one").blob
    land(mine, Change(was, claimed(was.record)))
    assert entry(mine, "esc_one").blob != was.blob


def test_what_cannot_be_read_is_told_and_hides_nothing(make: Make) -> None:
    mine, _ = store_with(
        make,
        "good",
        **{
            "queue/esc_bad.yaml": b"<<<<<<< ours\n",
            "queue/readme.txt": b"hello",
            "queue/esc_other.yaml": record_text("elsewhere").encode(),
        },
    )
    now = mine.tip(TIMEOUT)
    found = [*now.open()]
    assert [e.record.escalation_id for e in found if isinstance(e, Entry)] == ["esc_good"]
    assert sorted(e.path for e in found if isinstance(e, Invalid)) == [
        "queue/esc_bad.yaml",
        "queue/esc_other.yaml",
        "queue/readme.txt",
    ]
    assert isinstance(now.find("esc_bad"), Invalid)
    assert now.find("esc_none") is None


def test_policies_are_read_with_what_is_wrong_in_them(make: Make) -> None:
    mine, _ = store_with(make, **{"policies/broken.yaml": b"a: [\n", "policies/roster.yaml": b"users: []\n"})
    tree, files = mine.tip(TIMEOUT).policies()
    assert tree
    assert len(tree) == 40
    assert sorted(files) == ["policies/broken.yaml", "policies/policy-config.yaml", "policies/roster.yaml"]
    assert files["policies/broken.yaml"].problem
    assert files["policies/roster.yaml"].value == {"users": []}


def test_an_old_revision_can_be_read_and_an_unknown_one_is_bad_input(make: Make) -> None:
    mine, _ = store_with(make, "one")
    was = entry(mine, "esc_one")
    before = mine.tip(TIMEOUT).revision
    land(mine, Change(was, resolved(was.record)))
    assert mine.read(before).find("esc_one") == was
    with pytest.raises(BadInput, match="names no commit"):
        mine.read("nothing")


def test_time_in_a_path_is_utc(make: Make) -> None:
    mine, _ = store_with(make, "late")
    was = entry(mine, "esc_late")
    end = datetime(2026, 12, 31, 23, 30, tzinfo=UTC) + timedelta(minutes=29)
    record = claimed(was.record).replace(
        status="resolved",
        resolution=Resolution(outcome="denied", reason="no", resolved_by="a@b", resolved_at=end),
    )
    land(mine, Change(was, record))
    assert entry(mine, "esc_late").path == "queue/resolved/2026/12/31/esc_late.yaml"


def test_a_proposal_stands_beside_the_store_and_is_never_overwritten_unseen(make: Make) -> None:
    mine, theirs = store_with(make, "one")
    if mine.remote is None:
        with pytest.raises(BadInput):
            mine.require_proposable("topic")
        return
    mine.require_proposable("topic")
    with pytest.raises(BadInput):
        mine.require_proposable("to pic")
    tip = mine.tip(TIMEOUT)
    with pytest.raises(BadInput):
        mine.proposal("main", tip, TIMEOUT)
    was = entry(mine, "esc_one")
    change = Change(was, claimed(was.record))
    assert mine.proposal("topic", tip, TIMEOUT) is None
    request = Request(tip, [change], "kt: test\n", ALICE, NOW)
    commit = send(mine, request, Onto("topic", None))
    assert mine.tip(TIMEOUT).revision == tip.revision
    assert entry(theirs, "esc_one") == was
    there = theirs.proposal("topic", theirs.tip(TIMEOUT), TIMEOUT)
    assert there is not None
    assert there.tip is not None
    assert there.base is not None
    found = there.tip.find("esc_one")
    assert isinstance(found, Entry)
    assert found.record == claimed(was.record)
    assert (there.commit, there.merged, there.base.revision) == (commit, False, tip.revision)
    assert (there.emails, there.paths) == ({"alice@example.com"}, {"queue/esc_one.yaml"})
    for seen in (None, tip.revision):
        with pytest.raises(Stale):
            send(theirs, replace(request, message="late\n"), Onto("topic", seen))
    newer = send(theirs, replace(request, message="newer\n"), Onto("topic", commit))
    assert newer != commit


def test_files_beside_records_are_written_and_deleted_in_the_same_commit(make: Make) -> None:
    mine, theirs = store_with(make, "one")
    was = entry(mine, "esc_one")
    two = Change(None, yaml_text.loads(record_text("two").encode()))
    others = {was.path: None, "policies/other.yaml": PACK}
    revision = send(mine, Request(mine.tip(TIMEOUT), [two], "kt: test\n", mine.author(), NOW, others))
    now = theirs.tip(TIMEOUT)
    assert now.revision == revision
    assert now.ids(resolved=False) == ["esc_two"]
    assert sorted(now.policies()[1]) == ["policies/other.yaml", "policies/policy-config.yaml"]


def test_ids_can_be_asked_for_by_how_they_begin(make: Make) -> None:
    mine, _ = store_with(make, "one", "other", "two")
    land(mine, *(Change(e, resolved(e.record)) for e in (entry(mine, "esc_one"), entry(mine, "esc_two"))))
    now = mine.tip(TIMEOUT)
    assert now.ids(resolved=False, prefix="esc_o") == ["esc_other"]
    assert now.ids(resolved=True, prefix="esc_o") == ["esc_one"]
