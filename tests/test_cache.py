"""What a clone keeps of what it has read: always the same answer, however the file fares."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import KT, Lab, Ran, end, git, ids, kt, kt_process, record_text, start
from strategies import records
from test_cli_read import open_text, resolved_path, resolved_text

from kt_escalation import Store
from kt_escalation.core.model import Record
from kt_escalation.core.row import Row, row_of
from kt_escalation.store import cache, codec, layout
from kt_escalation.store.cache import Cache, Kept

HEAVY = ("pydantic", "yaml", "git", "filelock", "cryptography")

FILES = {
    "queue/esc_one.yaml": open_text("one", "critical", route="team_id: legal", agent_id="agent-1"),
    "queue/esc_two.yaml": open_text("two", "high", holder="bob@example.com", summary="Two"),
    "queue/esc_three.yaml": open_text("three", "low", created_at='"2026-11-22T09:00:00.000Z"'),
    "queue/esc_late.yaml": open_text("late").replace("  approvals: 1\n", "  approvals: 1\n  resolve_within: 1h\n"),
    "queue/esc_rich.yaml": open_text("rich")
    + "event_context: {b: [1, 2.5, null, true], a: {z: \u00fc, y: '\\x1b'}}\n",
    resolved_path("done"): resolved_text("done"),
    # What cannot be read, each in its own way; a copy says that it is somebody else.
    "queue/esc_bad.yaml": "schema_version: 1\nescalation_id: esc_bad\n",
    "queue/esc_worse.yaml": "a: [\n",
    "queue/esc_copy.yaml": open_text("one", "critical", route="team_id: legal", agent_id="agent-1"),
    "queue/esc_large.yaml": f"summary: {'x' * 300_000}\n",
    "queue/notes.txt": "not ours\n",
}  # fmt: skip

LISTINGS = (
    [],
    ["--json"],
    ["--json", "--limit", "0", "--status", "all"],
    ["--sort", "-created", "--limit", "2"],
    ["--team", "legal"],
    ["--user", "BOB@example.com", "--severity", "high"],
    ["--agent-id", "agent-1", "--since", "2026-11-23T00:00:00Z"],
    ["--mine"],
    ["--overdue", "--json"],
    ["--claimable"],
)


@pytest.fixture
def clone(lab: Lab) -> Path:
    """Bob's clone of a store with what can be read and what cannot."""
    lab.put(FILES)
    return lab.clone("bob")


def kept(clone: Path) -> Path:
    """The file."""
    return clone / ".git/kt/records"


def answers(clone: Path, listings: Sequence[Sequence[str]] = LISTINGS) -> list[Ran]:
    """What every kind of listing says."""
    return [kt("list", *options, cwd=clone) for options in listings]


def loaded(*args: str, cwd: Path, env: dict[str, str] | None = None) -> tuple[str, set[str]]:
    """What a command prints, and the modules that its process imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *KT[1:], "escalation", *args],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    traced = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return done.stdout, {line.rpartition("|")[2].strip() for line in traced}


# --- the second time ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--json",), ("--limit", "0", "--sort", "id")])
def test_a_second_listing_needs_neither_the_model_nor_yaml_nor_gitpython_nor_locks(
    clone: Path, options: tuple[str, ...]
) -> None:
    first, modules = loaded("list", *options, cwd=clone)
    assert modules.issuperset({"pydantic", "yaml"})
    second, modules = loaded("list", *options, cwd=clone)
    assert second == first
    assert modules.isdisjoint(HEAVY)


def test_after_a_change_only_that_is_read(clone: Path) -> None:
    kt("list", cwd=clone)
    size = kept(clone).stat().st_size
    assert kt("claim", "--id", "esc_one", cwd=clone).code == 0
    listed = kt("list", "--json", cwd=clone)
    assert {e["escalation_id"]: e["status"] for e in listed.json["escalations"]}["esc_one"] == "claimed"
    assert kept(clone).stat().st_size - size < 1_500


def test_all_worktrees_share_it_and_an_old_revision_is_right(clone: Path) -> None:
    before = kt("list", "--json", cwd=clone)
    old = git("rev-parse", "HEAD", cwd=clone)
    git("worktree", "add", "--quiet", "../linked", cwd=clone)
    assert kt("claim", "--id", "esc_one", cwd=clone).code == 0
    linked = clone.parent / "linked"
    _, modules = loaded("list", "--rev", old, cwd=linked)
    assert modules.isdisjoint(HEAVY)
    assert kt("list", "--json", "--rev", old, cwd=linked).out == before.out
    assert kt("list", "--json", cwd=linked).out == kt("list", "--json", cwd=clone).out != before.out


def test_the_same_content_below_two_roots_is_at_home_in_both(clone: Path) -> None:
    for folder in ("a", "b"):
        (clone / folder / "queue").mkdir(parents=True)
        (clone / folder / "queue/esc_one.yaml").write_text(record_text("one"))
    git("add", ".", cwd=clone)
    git("commit", "--quiet", "-m", "two stores", cwd=clone)
    for folder in ("a", "b"):
        git("config", "kt.root", folder, cwd=clone)
        listed = kt("list", "--json", cwd=clone).json
        assert (ids(listed["escalations"]), listed["invalid"]) == (["esc_one"], [])
        with Store.open(clone) as store:
            assert store.get("esc_one").path == f"{folder}/queue/esc_one.yaml"


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_both_kinds_of_ids(tmp_path: Path, object_format: str) -> None:
    lab = Lab(tmp_path, object_format=object_format)
    lab.put(FILES)
    clone = lab.clone("bob")
    first = answers(clone)
    assert len({len(blob) for blob in Cache(kept(clone)).known}) == 1
    assert answers(clone) == first


# --- however the file fares -----------------------------------------------------------------------


def _flipped(data: bytes, at: int) -> bytes:
    at %= len(data)
    return data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "garbage": lambda _: b"\0\xff{}" * 5_000,
    "one line": lambda data: data.partition(b"\n")[0] + b"\n",
    "without its end": lambda data: data[:-10],
    "half of it": lambda data: data[: len(data) // 2],
    "another parser's": lambda data: b"kt records 00000000\n" + data.partition(b"\n")[2],
    "a byte of the first head": lambda data: _flipped(data, data.index(b"\n") + 6),
    "a byte of the rows": lambda data: _flipped(data, data.index(b"\n") + 200),
    "a byte of the last record": lambda data: _flipped(data, -20),
    "twice": lambda data: data + data,
    "zeros behind": lambda data: data + bytes(4_096),
    "as large as it can say": lambda data: data.partition(b"\n")[0] + b"\nkt\r\n" + b"\xff" * 12,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_costs_time_and_nothing_else(clone: Path, damage: str) -> None:
    first = answers(clone, LISTINGS[1:4])
    known = Cache(kept(clone)).known
    kept(clone).write_bytes(DAMAGE[damage](kept(clone).read_bytes()))
    for options, right in zip(LISTINGS[1:4], first, strict=True):
        assert kt("list", *options, cwd=clone) == right
    # It is mended on the way.
    assert Cache(kept(clone)).known == known


@settings(max_examples=40)
@given(cut=st.integers(0, 10_000), flip=st.none() | st.integers(0, 10_000), tail=st.binary(max_size=40))
def test_whatever_the_bytes_what_is_known_is_right(cut: int, flip: int | None, tail: bytes) -> None:
    items = [
        _kept(codec.loads(text.encode())) for path, text in FILES.items() if "two" in path or "one" in path
    ]
    with Folder() as folder:
        whole = Cache(folder / "records")
        whole.add(items[:1])
        whole.add(items[1:])
        data = (folder / "records").read_bytes()
        data = (_flipped(data, flip) if flip is not None else data)[:cut] + tail
        (folder / "records").write_bytes(data)
        seen = Cache(folder / "records")
        right = {item.blob: item for item in items}
        assert all(found == right[blob].found for blob, found in seen.known.items())
        bodies = seen.bodies(right)
        assert all(cache.body(plain) == right[blob].body for blob, plain in bodies.items())
        seen.add(items)
        assert Cache(folder / "records").known == {item.blob: item.found for item in items}


def test_where_it_cannot_be_written_listings_are_the_same(clone: Path) -> None:
    first = answers(clone)
    kept(clone).unlink()
    kept(clone).mkdir()
    assert answers(clone) == first
    kept(clone).rmdir()
    (clone / ".git/kt").rename(clone / ".git/away")
    (clone / ".git/kt").write_text("no folder\n")
    assert answers(clone) == first


def test_a_full_disk_is_no_error_of_a_listing(clone: Path) -> None:
    first = kt("list", "--json", cwd=clone)
    kept(clone).unlink()
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *KT, "escalation", "list", "--json"]
    done = subprocess.run(limited, cwd=clone, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, first.out)
    assert not kept(clone).exists()
    assert [path.name for path in (clone / ".git/kt").glob("records*")] == []
    # With some of it there already, what could be written in part is passed over by the next.
    kt("list", "--json", cwd=clone)
    size = kept(clone).stat().st_size
    kept(clone).write_bytes(kept(clone).read_bytes()[: -size // 2])
    subprocess.run(limited, cwd=clone, capture_output=True, text=True, check=True)
    assert kt("list", "--json", cwd=clone).out == first.out


def test_many_processes_at_once_list_and_write(lab: Lab) -> None:
    lab.put({f"queue/esc_r{n:03}.yaml": open_text(f"r{n:03}") for n in range(120)})
    clone = lab.clone("bob")
    listing = [start("list", "--json", "--limit", "0", cwd=clone) for _ in range(6)]
    claiming = [start("claim", "--next", "--count", "3", cwd=clone) for _ in range(3)]
    for process in listing:
        done = end(process)
        assert (done.code, len(done.json["escalations"]), done.json["invalid"]) == (0, 120, [])
    assert [end(process).code for process in claiming] == [0, 0, 0]
    warm = kt("list", "--json", "--limit", "0", cwd=clone)
    kept(clone).unlink()
    assert kt("list", "--json", "--limit", "0", cwd=clone).out == warm.out
    assert warm.out.count('"status": "claimed"') == 9


# --- the file itself ------------------------------------------------------------------------------


class Folder:
    """A folder of one example."""

    def __enter__(self) -> Path:
        import tempfile

        self._folder = tempfile.TemporaryDirectory()
        return Path(self._folder.name)

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()


def _kept(record: Record) -> Kept:
    blob = f"{abs(hash(record.escalation_id)):040x}"
    return Kept(blob, row_of(record, layout.path_of(record), blob), cache.body(record.as_dict()))


@settings(max_examples=100)
@given(st.lists(records(), min_size=1, max_size=4, unique_by=lambda record: record.escalation_id))
def test_what_is_kept_is_what_was_read(some: list[Record]) -> None:
    with Folder() as folder:
        items = [_kept(record) for record in some]
        Cache(folder / "records").add(items)
        again = Cache(folder / "records")
        assert again.known == {item.blob: item.found for item in items}
        assert all(isinstance(found, Row) for found in again.known.values())
        for item, record in zip(items, some, strict=True):
            [plain] = again.bodies([item.blob]).values()
            assert plain == record.as_dict()
            assert list(plain) == list(record.as_dict())
            assert Record.model_validate(plain) == record


def test_processes_add_behind_each_other(tmp_path: Path) -> None:
    one, other = Cache(tmp_path / "records"), Cache(tmp_path / "records")
    items = [_kept(codec.loads(record_text(f"r{n}").encode())) for n in range(6)]
    one.add(items[:1])
    other.add(items[1:2])
    for at in range(1, 6):
        one.add(items[at : at + 1])
        other.add(items[at : at + 1])
    third = Cache(tmp_path / "records")
    assert third.known.keys() >= {item.blob for item in items[1:]}
    for reader in (one, other, third):
        read = reader.bodies(item.blob for item in items)
        assert read.items() <= {item.blob: item_plain(item) for item in items}.items()
    assert len(third.bodies(item.blob for item in items)) >= 5


def item_plain(item: Kept) -> object:
    import json

    return json.loads(item.body)


def test_what_listings_no_longer_want_is_dropped_once_it_is_much(tmp_path: Path) -> None:
    file = tmp_path / "records"
    like = _kept(codec.loads(record_text("r").encode()))
    assert isinstance(like.found, Row)
    items = [
        Kept(f"{n:040x}", like.found._replace(blob=f"{n:040x}"), like.body if n < 900 else b"")
        for n in range(10_501)
    ]
    whole = Cache(file)
    for at in range(0, len(items), cache.AT_ONCE):
        whole.add(items[at : at + cache.AT_ONCE])
    size = file.stat().st_size
    wanted = [item.blob for item in items[:501]]
    whole.trim(wanted)
    assert file.stat().st_size == size
    whole.trim(wanted[:-1])
    assert file.stat().st_size < size / 4
    for reader in (whole, Cache(file)):
        assert reader.known == {item.blob: item.found for item in items[:500]}
        assert list(reader.bodies(item.blob for item in items)) == wanted[:-1]


def test_many_small_additions_become_few(tmp_path: Path) -> None:
    items = [_kept(codec.loads(record_text(f"r{n}").encode())) for n in range(260)]
    whole = Cache(tmp_path / "records")
    for item in items:
        whole.add([item])
        whole.trim([item.blob for item in items])
    assert (tmp_path / "records").read_bytes().count(b"kt\r\n") < 210
    assert len(Cache(tmp_path / "records").bodies(item.blob for item in items)) == 260


def test_a_large_record_is_listed_from_its_row_and_read_from_git(lab: Lab) -> None:
    large = open_text("large", summary="Large") + "event_context:\n  excerpt: " + "x" * 40_000 + "\n"
    lab.put({"queue/esc_large.yaml": large, "queue/esc_small.yaml": open_text("small")})
    clone = lab.clone("bob")
    first = kt_process("list", "--json", cwd=clone)
    assert kept(clone).stat().st_size < 5_000
    assert loaded("list", cwd=clone)[1].isdisjoint(HEAVY)
    again, modules = loaded("list", "--json", cwd=clone)
    assert again == first.out
    assert "pydantic" in modules
