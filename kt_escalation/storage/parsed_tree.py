"""One git tree, parsed strictly. A tree that differs in few entries is parsed by looking only at those."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from operator import sub

from ..git.trees import LINE, RawEntry, lines, sort_key, wrong_with

# Entries are compared by so many at a time.
_BLOCK = 64
# A tree that differs in more entries is parsed as a whole.
_FEW = 8


#: The sort keys of a tree's entries, and the number of bytes of each. Trees share these lists, so they are never changed.
Index = tuple[list[bytes], list[int]]


class Tree:
    """One sound tree: its bytes, and where its entries are, as far as somebody has asked for it.

    Whoever compares trees needs offsets, and whoever writes them an index. Each is made of the other when it is needed.
    """

    __slots__ = ("_index", "_starts", "data", "width")

    def __init__(
        self, data: bytes, width: int, starts: Sequence[int] | None = None, index: Index | None = None
    ) -> None:
        self.data = data
        self.width = width
        self._index = index
        if starts is None and index is None:
            found = lines(data, width)
            sizes = (len(mode) + len(name) + width + 2 for mode, name, _ in found)
            starts = [*accumulate(sizes, initial=0)]
        self._starts = starts

    @property
    def starts(self) -> Sequence[int]:
        """The offsets of the entries, followed by the end of the last one."""
        if self._starts is None:
            self._starts = [*accumulate(self.index[1], initial=0)]
        return self._starts

    @property
    def index(self) -> Index:
        """The sort keys of the entries, and the number of bytes of each."""
        if self._index is None:
            starts = self.starts
            self._index = [*map(sort_key, self)], [*map(sub, starts[1:], starts)]
        return self._index

    def line(self, index: int) -> RawEntry:
        """The entry at an index: mode, name and raw id."""
        match = LINE[self.width].match(self.data, self.starts[index])
        assert match  # noqa: S101 - the bytes were parsed before
        return match[1], match[2], match[3]

    def __iter__(self) -> Iterator[RawEntry]:
        return iter(LINE[self.width].findall(self.data))

    def get(self, name: bytes) -> tuple[str, str] | None:
        """Mode and id of the entry of that name. Looks for its bytes, as most trees are asked only once."""
        data, at = self.data, -1
        while (at := data.find(b" %b\0" % name, at + 1)) >= 0:
            index = bisect_right(self.starts, at) - 1
            start, end = self.starts[index], self.starts[index + 1]
            # A match may also be part of an id, or the end of a longer name.
            if data.index(b" ", start) == at and at + len(name) + 2 + self.width == end:
                return data[start:at].decode(), data[end - self.width : end].hex()
        return None

    def followed_by(self, data: bytes) -> tuple[Tree, Sequence[RawEntry], Sequence[RawEntry]]:
        """Parse a newer version of this tree.

        Returns it with the removed and the added entries. Raises Unsound.
        If few entries differ, only those and their neighbours are parsed. All others are identical bytes of this
        tree, which is sound.
        """
        found = self._with_one(data) or self._with_few(data)
        if found is None:
            new = Tree(data, self.width)
            return new, *between(self, new)
        new, gone, came = found
        new._index = self._index and _changed(self._index, gone, came, self.width)
        return found

    def _with_one(self, data: bytes) -> tuple[Tree, list[RawEntry], list[RawEntry]] | None:
        """The same as `followed_by` if only the id of one entry differs, which is the usual case. Else None."""
        old, starts = self.data, self.starts
        if len(data) != len(old):
            return None
        index = self._same_upto(0, data, 0)
        if index == len(starts) - 1:
            return None
        end = starts[index + 1]
        begin = end - self.width
        if not data.startswith(old[starts[index] : begin], starts[index]) or data[end:] != old[end:]:
            return None
        mode, name, oid = self.line(index)
        return Tree(data, self.width, starts), [(mode, name, oid)], [(mode, name, data[begin:end])]

    def _with_few(self, data: bytes) -> tuple[Tree, list[RawEntry], list[RawEntry]] | None:
        """The same as `followed_by` if few entries differ. None if more differ, or if something may be unsound."""
        old, starts, count = self.data, self.starts, len(self.starts) - 1
        gone: list[RawEntry] = []
        came: list[RawEntry] = []
        # The offsets of the entries in the new bytes, and the entries with new neighbours.
        begins: list[int] = []
        moved: list[int] = []
        index = shift = 0
        while (at := starts[index]) + shift != len(data) or index < count:
            if index and len(old) + shift == len(data) and data.startswith(old[at:], at + shift):
                break
            if len(gone) + len(came) > _FEW:
                return None
            upto = self._same_upto(index, data, shift)
            begins += _moved(starts[index:upto], shift)
            index = upto
            at = starts[index]
            was = self.line(index) if index < count else None
            match = LINE[self.width].match(data, at + shift)
            if match is None and at + shift < len(data):
                return None
            now = (match[1], match[2], match[3]) if match else None
            if now and was and now[:2] == was[:2]:
                begins.append(at + shift)
                gone.append(was)
                came.append(now)
                index += 1
            elif now and (was is None or sort_key(now) < sort_key(was)):
                moved.append(len(begins))
                begins.append(at + shift)
                came.append(now)
                shift += len(now[0]) + len(now[1]) + self.width + 2
            elif was:
                gone.append(was)
                index += 1
                shift += at - starts[index]
        if shift or moved:
            begins += _moved(starts[index:], shift)
            new = Tree(data, self.width, begins)
        else:
            new = Tree(data, self.width, starts)
        for place in moved:
            around = [new.line(n) for n in range(max(place - 1, 0), min(place + 2, len(begins) - 1))]
            # Parsing the whole tree reports what is wrong, if anything is.
            if wrong_with(around) or data.count(b" " + new.line(place)[1] + b"\0") > 1:
                return None
        return new, gone, came

    def _same_upto(self, index: int, data: bytes, shift: int) -> int:
        """The first entry, from an index on, that differs from the other bytes, which are shifted by ``shift``."""
        old, starts, low, count = self.data, self.starts, index, len(self.starts) - 1
        high = min(low + _BLOCK, count)
        while low < count and data.startswith(old[starts[low] : starts[high]], starts[low] + shift):
            low, high = high, min(high + _BLOCK, count)
        while high - low > 1:
            middle = (low + high) // 2
            if data.startswith(old[starts[low] : starts[middle]], starts[low] + shift):
                low = middle
            else:
                high = middle
        return low


def _moved(starts: Sequence[int], shift: int) -> Sequence[int]:
    return [start + shift for start in starts] if shift else starts


def _changed(index: Index, gone: Sequence[RawEntry], came: Sequence[RawEntry], width: int) -> Index:
    """The index of a tree that lacks some entries and has others."""
    if [line[:2] for line in gone] == [line[:2] for line in came]:
        return index
    keys, sizes = index[0].copy(), index[1].copy()
    for line in gone:
        at = bisect_left(keys, sort_key(line))
        del keys[at], sizes[at]
    for line in came:
        at = bisect_left(keys, sort_key(line))
        keys.insert(at, sort_key(line))
        sizes.insert(at, len(line[0]) + len(line[1]) + width + 2)
    return keys, sizes


def between(old: Tree, new: Tree) -> tuple[list[RawEntry], list[RawEntry]]:
    """The entries that the new tree lacks, and those that the old one lacked."""
    was, now = set(old), set(new)
    return [line for line in old if line not in now], [line for line in new if line not in was]
