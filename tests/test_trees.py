"""A tree that is read by what differs from the one before it is read as if all of it were."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kt_escalation.storage.parsed_tree import Tree
from kt_escalation.storage.trees import Unsound

WIDTH = 20
Entry = tuple[bytes, bytes, bytes]

_MODES = st.sampled_from([b"100644", b"100644", b"40000", b"100755", b"040000", b"100664", b"0", b"160000"])
_NAMES = st.one_of(
    st.text("ab.-0", min_size=1, max_size=3).map(str.encode),
    # What looks like the beginning of an entry, what is git's own, and what no tree may hold.
    st.sampled_from([b"100644 a", b"40000 b", b" ", b".git", b".GIT ", b"..", b"\xff", b"", b"a/b"]),
)
# Ids that look like entries, so that nothing is found where it only seems to be.
_IDS = st.sampled_from([b"\0", b"100644 a\0", b" a\0x", b"a\0\0", b"\n\0 \n", b"zzzz"]).map(
    lambda part: (part * WIDTH)[:WIDTH]
)
_ENTRIES = st.tuples(_MODES, _NAMES, _IDS)
_CLEAN = st.dictionaries(
    st.text("ab.-0", min_size=1, max_size=3).filter(lambda name: name not in (".", "..")),
    st.tuples(st.sampled_from([b"100644", b"100755", b"40000"]), _IDS),
    min_size=0,
    max_size=12,
)


def written(entries: list[Entry]) -> bytes:
    return b"".join(b"%s %s\0%s" % entry for entry in entries)


def in_order(clean: dict[str, tuple[bytes, bytes]]) -> list[Entry]:
    found = [(mode, name.encode(), oid) for name, (mode, oid) in clean.items()]
    return sorted(found, key=lambda entry: entry[1] + b"/" * (entry[0] == b"40000"))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A sound tree, and one that came of it by a few changes of any kind, or that is any bytes."""
    before = in_order(draw(_CLEAN))
    after = list(before)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(after)))
        kind = draw(st.sampled_from(["id", "id", "less", "more", "any", "twice", "elsewhere", "mode"]))
        if kind == "more":
            clean = {name.decode(): (mode, oid) for mode, name, oid in after if name.isascii()}
            after = in_order(clean | draw(_CLEAN))
        elif kind == "any":
            after.insert(at, draw(_ENTRIES))
        elif after:
            mode, name, oid = after.pop(at % len(after))
            if kind == "id":
                after.insert(at % (len(after) + 1) if at > len(after) else at, (mode, name, draw(_IDS)))
            elif kind == "mode":
                after.insert(min(at, len(after)), (draw(_MODES), name, oid))
            elif kind == "twice":
                after[at:at] = [(mode, name, oid), (mode, name, oid)]
            elif kind == "elsewhere":
                after.insert(draw(st.integers(0, len(after))), (mode, name, oid))
    data = written(after)
    cut = draw(st.integers(0, 20))
    return written(before), data[:-cut] + draw(st.binary(max_size=3)) if cut < 3 and cut else data


def by_all(old: Tree, data: bytes) -> object:
    """What differs, by parsing every byte."""
    try:
        new = Tree(data, WIDTH)
    except Unsound as error:
        return error.problem
    was, now = set(old), set(new)
    return new.starts, [line for line in old if line not in now], [line for line in new if line not in was]


def by_what_differs(old: Tree, data: bytes) -> object:
    try:
        new, gone, came = old.followed_by(data)
    except Unsound as error:
        return error.problem
    assert new.data == data
    assert all(new.get(name) == (mode.decode(), oid.hex()) for mode, name, oid in new)
    return new.starts, list(gone), list(came)


@given(pairs())
def test_both_readings_are_one(pair: tuple[bytes, bytes]) -> None:
    before, after = pair
    old = Tree(before, WIDTH)
    assert by_what_differs(old, after) == by_all(old, after)


@given(pairs())
def test_an_index_is_passed_on_as_it_would_be_made(pair: tuple[bytes, bytes]) -> None:
    before, after = pair
    old = Tree(before, WIDTH)
    old_index = [*map(list, old.index)]
    try:
        new, _, _ = old.followed_by(after)
    except Unsound:
        return
    assert new.index == Tree(after, WIDTH).index
    assert Tree(after, WIDTH, None, new.index).starts == Tree(after, WIDTH).starts
    assert [*old.index] == old_index, "trees share it"


@pytest.mark.parametrize("size", [3, 40, 4000])
def test_one_change_of_a_large_tree_is_found_wherever_it_is(size: int) -> None:
    entries = [(b"100644", b"esc_%05d.yaml" % n, b"%020d" % n) for n in range(size)]
    old = Tree(written(entries), WIDTH)
    for at in {0, 1, size // 2, size - 1}:
        other = (b"100644", entries[at][1], b"z" * WIDTH)
        before, behind = entries[:at], entries[at + 1 :]
        new = (b"100644", entries[at][1] + b"x", b"z" * WIDTH)
        for after in ([*before, other, *behind], [*before, *behind], [*before, entries[at], new, *behind]):
            assert by_what_differs(old, written(after)) == by_all(old, written(after))
        # One that stands where git would not sort it, and one that is there already.
        for odd in ([*behind, other, *before], [*before, entries[at], other, *behind]):
            assert isinstance(by_what_differs(old, written(odd)), str)
