"""What a clone keeps of what it has read: always the same answer, however the file fares."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import get_args

import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import (
    HEAVY,
    KT,
    Lab,
    Ran,
    end,
    git,
    ids,
    kt,
    kt_process,
    loaded,
    record_text,
    start,
    without_side_files,
)
from sample_records import BAD, FULL, FULL_TEXT, SMALL_TEXT, open_text, resolved_path, resolved_text
from strategies import records

from kt_escalation import Store
from kt_escalation.model import forms, record
from kt_escalation.model.record import Record, Value
from kt_escalation.model.summary import RecordSummary, summary_of
from kt_escalation.storage import cache, clone_key, layout, yaml_text
from kt_escalation.storage.cache import Cache, Kept

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


# --- the second time ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("--json",), ("--limit", "0", "--sort", "id")])
def test_a_second_listing_needs_neither_the_model_nor_yaml_nor_gitpython_nor_locks(
    clone: Path, options: tuple[str, ...]
) -> None:
    first, modules = loaded("list", *options, cwd=clone)
    assert modules.issuperset({"kt_escalation.model.record", "yaml"})
    second, modules = loaded("list", *options, cwd=clone)
    assert second == first
    assert modules.isdisjoint({*HEAVY, "kt_escalation.model.record"})


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
    assert modules.isdisjoint({*HEAVY, "kt_escalation.model.record"})
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


def _moved(data: bytes) -> bytes:
    at = data.index(b"\n") + 1
    rows, places, bodies = (int.from_bytes(data[at + n : at + n + 4], "little") for n in (4, 8, 12))
    lengths = b"".join(size.to_bytes(4, "little") for size in (rows, places - 1, bodies + 1))
    return data[: at + 4] + lengths + data[at + 16 :]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "garbage": lambda _: b"\0\xff{}" * 5_000,
    "one line": lambda data: data.partition(b"\n")[0] + b"\n",
    "without its end": lambda data: data[:-10],
    "half of it": lambda data: data[: len(data) // 2],
    "another version's": lambda data: b"kt records 0\n" + data.partition(b"\n")[2],
    "a byte of the first head": lambda data: _flipped(data, data.index(b"\n") + 6),
    "a byte of the rows": lambda data: _flipped(data, data.index(b"\n") + 200),
    "a byte of the last record": lambda data: _flipped(data, -20),
    "twice": lambda data: data + data,
    "zeros behind": lambda data: data + bytes(4_096),
    "as large as it can say": lambda data: data.partition(b"\n")[0] + b"\nkt\r\n" + b"\xff" * 44,
    "a byte of the first lengths": lambda data: _flipped(data, data.index(b"\n") + 13),
    "a byte of the first tag": lambda data: _flipped(data, data.index(b"\n") + 20),
    "lengths moved from the places to the records": lambda data: _moved(data),
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


@settings(max_examples=examples(40))
@given(cut=st.integers(0, 10_000), flip=st.none() | st.integers(0, 10_000), tail=st.binary(max_size=40))
def test_whatever_the_bytes_what_is_known_is_right(cut: int, flip: int | None, tail: bytes) -> None:
    items = [
        _kept(yaml_text.loads(text.encode()))
        for path, text in FILES.items()
        if "two" in path or "one" in path
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


def _lie(clone: Path, folder: Path) -> bytes:
    """A file that says of the bytes of esc_one that they are something else, written below another folder."""
    blob = git("rev-parse", "HEAD:queue/esc_one.yaml", cwd=clone)
    text = FILES["queue/esc_one.yaml"].replace("critical", "low")
    other = yaml_text.loads(
        text.replace("  approvals: 1\n", "  approvals: 1\n  resolve_within: 1s\n").encode()
    )
    found = summary_of(other, layout.path_of(other), blob)
    Cache(folder / "records").add([Kept(blob, found, cache.body(other.as_dict()))])
    return (folder / "records").read_bytes()


def test_what_another_clone_has_written_is_not_believed(clone: Path, tmp_path: Path) -> None:
    first = answers(clone, LISTINGS[1:4])
    kept(clone).write_bytes(_lie(clone, tmp_path / "other"))
    assert answers(clone, LISTINGS[1:4]) == first
    # The key makes the difference: who may read it can write what is believed, and a whole copy is that clone.
    kept(clone).write_bytes(_lie(clone, tmp_path / "other"))
    (clone / ".git/kt/key").write_bytes((tmp_path / "other/key").read_bytes())
    listed = kt("list", "--json", cwd=clone).json["escalations"]
    assert {e["escalation_id"]: e["severity"] for e in listed}["esc_one"] == "low"
    assert kt("get", "--json", "--id", "esc_one", cwd=clone).json["escalation"]["severity"] == "critical"


def test_whatever_writes_reads_git_and_not_what_was_kept(clone: Path, tmp_path: Path) -> None:
    kt("list", cwd=clone)
    kept(clone).write_bytes(_lie(clone, tmp_path / "other"))
    (clone / ".git/kt/key").write_bytes((tmp_path / "other/key").read_bytes())
    # The cache says that the time of esc_one is over as well.
    due = kt("sweep", "--json", cwd=clone).json["due"]
    assert [one["escalation_id"] for one in due] == ["esc_late"]
    taken = kt("claim", "--next", "--count", "9", "--json", cwd=clone).json["escalations"]
    assert {e["escalation_id"]: e["severity"] for e in taken}["esc_one"] == "critical"
    changed = git("diff", "HEAD^", "HEAD", "--", "queue/esc_one.yaml", cwd=clone)
    assert "+status: claimed" in changed
    assert "severity: low" not in changed


@pytest.mark.parametrize("key", [b"", b"k" * 31, b"k" * 33, None], ids=["empty", "short", "long", "gone"])
def test_without_its_key_all_is_read_again_and_there_is_a_new_key(clone: Path, key: bytes | None) -> None:
    first = answers(clone, LISTINGS[1:4])
    file = clone / ".git/kt/key"
    old = file.read_bytes()
    file.unlink()
    if key is not None:
        file.write_bytes(key)
    assert answers(clone, LISTINGS[1:4]) == first
    assert len(file.read_bytes()) == 32
    assert file.read_bytes() != old
    assert loaded("list", cwd=clone)[1].isdisjoint(HEAVY)


def test_the_key_is_for_its_owner_alone_and_the_same_for_all_who_make_it_at_once(tmp_path: Path) -> None:
    script = "import sys, pathlib; from kt_escalation.storage import clone_key; "
    script += "print(clone_key.make(pathlib.Path(sys.argv[1])).hex())"
    making = [sys.executable, "-c", script, str(tmp_path / "kt")]
    made = [subprocess.Popen(making, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    [one] = {process.communicate()[0].strip() for process in made}
    assert bytes.fromhex(one) == clone_key.read(tmp_path / "kt")
    assert [path.name for path in (tmp_path / "kt").iterdir()] == ["key"]
    assert (tmp_path / "kt/key").stat().st_mode & 0o777 == 0o600


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
    done = subprocess.run(
        limited, cwd=clone, env=without_side_files(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, first.out)
    assert not kept(clone).exists()
    assert [path.name for path in (clone / ".git/kt").glob("records*")] == []
    # With some of it there already, what could be written in part is passed over by the next.
    kt("list", "--json", cwd=clone)
    size = kept(clone).stat().st_size
    kept(clone).write_bytes(kept(clone).read_bytes()[: -size // 2])
    subprocess.run(limited, cwd=clone, env=without_side_files(), capture_output=True, text=True, check=True)
    assert kt("list", "--json", cwd=clone).out == first.out


def test_many_processes_at_once_list_and_write(lab: Lab) -> None:
    lab.put({f"queue/esc_r{n:03}.yaml": open_text(f"r{n:03}") for n in range(120)})
    clone = lab.clone("bob")
    listing = [start("list", "--json", "--limit", "0", cwd=clone, forked=True) for _ in range(6)]
    claiming = [start("claim", "--next", "--count", "3", cwd=clone, forked=True) for _ in range(3)]
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
    return Kept(blob, summary_of(record, layout.path_of(record), blob), cache.body(record.as_dict()))


@settings(max_examples=examples(40))
@given(st.lists(records(), min_size=1, max_size=4, unique_by=lambda record: record.escalation_id))
def test_what_is_kept_is_what_was_read(some: list[Record]) -> None:
    with Folder() as folder:
        items = [_kept(record) for record in some]
        Cache(folder / "records").add(items)
        again = Cache(folder / "records")
        assert again.known == {item.blob: item.found for item in items}
        assert all(isinstance(found, RecordSummary) for found in again.known.values())
        for item, record in zip(items, some, strict=True):
            [plain] = again.bodies([item.blob]).values()
            assert plain == record.as_dict()
            assert list(plain) == list(record.as_dict())
            assert Record.parse(plain) == record


def test_processes_add_behind_each_other(tmp_path: Path) -> None:
    one, other = Cache(tmp_path / "records"), Cache(tmp_path / "records")
    items = [_kept(yaml_text.loads(record_text(f"r{n}").encode())) for n in range(6)]
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
    return json.loads(item.body)


def test_what_listings_no_longer_want_is_dropped_once_it_is_much(tmp_path: Path) -> None:
    file = tmp_path / "records"
    like = _kept(yaml_text.loads(record_text("r").encode()))
    assert isinstance(like.found, RecordSummary)
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
    items = [_kept(yaml_text.loads(record_text(f"r{n}").encode())) for n in range(260)]
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
    assert "kt_escalation.model.record" in modules


# --- its version ----------------------------------------------------------------------------------

#: What each version reads of the samples below, as a digest. What differs is another version: raise
#: `cache.VERSION` and put the new digest here.
READS = (6, "b0505bc4064b15a6343b372710c06bd3f15705c4e70d3fc8aee869a7a1064a3e")


def samples() -> Iterator[bytes]:
    """Blobs in whose reading a change would show: good ones of each status, odd ones, and what is no record."""
    yield from (text.encode() for text in FILES.values())
    yield from (SMALL_TEXT.encode(), FULL_TEXT.encode(), FULL_TEXT.replace("- ", "-  ").encode())
    yield from (data for data, _, _ in BAD.values())


def parts() -> Iterator[str]:
    """What a record is made of: every key of it and of its parts, and every limit and word that holds for them."""
    for name, kind in inspect.getmembers(record, inspect.isclass):
        if issubclass(kind, Value):
            yield f"{name}: {[(key, key in kind.REQUIRED) for key in kind.KEYS]}"
    yield from (
        # A set has another order in each process.
        f"{name}: {sorted(value) if isinstance(value, frozenset) else value}"
        for name, value in sorted({**vars(record), **vars(forms)}.items())
        if name.isupper() and name[0] != "_"
    )
    yield from (
        str(get_args(kind)) for kind in (record.Status, record.Severity, record.Outcome, record.Category)
    )
    yield f"{RecordSummary._fields}"


def test_what_is_read_of_the_samples_is_what_the_version_says() -> None:
    read = [*parts()]
    for data in samples():
        try:
            record = yaml_text.loads(data)
        except yaml_text.Malformed:
            # The words come from libraries in part, and may change with them.
            read.append("no record")
            continue
        row = summary_of(record, layout.path_of(record), "")
        read += [repr(tuple(row)), cache.body(record.as_dict()).decode()]
    assert len(read) > 90
    assert repr(FULL.as_dict()["notes"][0]["text"])[1:-1] in "".join(read)
    digest = hashlib.sha256("\n".join(read).encode()).hexdigest()
    assert (cache.VERSION, digest) == READS, "raise cache.VERSION and write down what it reads now"
