"""One git tree, parsed strictly. A tree that differs in few entries is parsed by looking only at those."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from ..git.trees import LINE, RawEntry, is_folder, lines, sort_key, wrong_with

# Entries are compared by so many at a time.
_BLOCK = 64
# A tree that differs in more entries is parsed as a whole.
_FEW = 8


class Tree:
    """One sound tree: its bytes, and the offsets of its entries, followed by the end of the last one."""

    __slots__ = ("data", "starts", "width")

    def __init__(self, data: bytes, width: int, starts: Sequence[int] | None = None) -> None:
        self.data = data
        self.width = width
        if starts is None:
            found = lines(data, width)
            sizes = (len(mode) + len(name) + width + 2 for mode, name, _ in found)
            starts = [*accumulate(sizes, initial=0)]
        self.starts = starts

    def line(self, index: int) -> RawEntry:
        """The entry at an index: mode, name and raw id."""
        return self._at(self.starts[index])

    def _at(self, start: int) -> RawEntry:
        match = LINE[self.width].match(self.data, start)
        assert match  # noqa: S101 - the bytes were parsed before
        return match[1], match[2], match[3]

    def __iter__(self) -> Iterator[RawEntry]:
        return iter(LINE[self.width].findall(self.data))

    def get(self, name: bytes) -> tuple[str, str] | None:
        """Mode and id of the entry of that name."""
        found = self.find(name)
        return (found[1].decode(), found[2].hex()) if found else None

    def find(self, name: bytes) -> tuple[int, bytes, bytes] | None:
        """Index, mode and id of the entry of that name."""
        data, at = self.data, -1
        while (at := data.find(b" %b\0" % name, at + 1)) >= 0:
            index = bisect_right(self.starts, at) - 1
            start, end = self.starts[index], self.starts[index + 1]
            # A match may also be part of an id, or the end of a longer name.
            if data.index(b" ", start) == at and at + len(name) + 2 + self.width == end:
                return index, data[start:at], data[end - self.width : end]
        return None

    def with_id(self, index: int, oid: bytes) -> Tree:
        """This tree with another id for the entry at an index."""
        end = self.starts[index + 1]
        return Tree(self.data[: end - self.width] + oid + self.data[end:], self.width, self.starts)

    def without(self, index: int) -> Tree:
        """This tree without the entry at an index."""
        start, end = self.starts[index], self.starts[index + 1]
        starts = [*self.starts[:index], *_moved(self.starts[index + 1 :], start - end)]
        return Tree(self.data[:start] + self.data[end:], self.width, starts)

    def with_entry(self, entry: RawEntry) -> Tree:
        """This tree with an entry of a name that it does not have."""
        count, line = len(self.starts) - 1, b"%b %b\0%b" % entry
        index = bisect_left(range(count), sort_key(entry), key=self._sort_key)
        start = self.starts[index]
        starts = [*self.starts[: index + 1], *_moved(self.starts[index:], len(line))]
        return Tree(self.data[:start] + line + self.data[start:], self.width, starts)

    def _sort_key(self, index: int) -> bytes:
        start, end = self.starts[index], self.starts[index + 1] - self.width - 1
        space = self.data.index(b" ", start)
        name = self.data[space + 1 : end]
        return name + b"/" if is_folder(self.data[start:space]) else name

    def followed_by(self, data: bytes) -> tuple[Tree, Sequence[RawEntry], Sequence[RawEntry]]:
        """Parse a newer version of this tree.

        Returns it with the removed and the added entries. Raises Unsound.
        If few entries differ, only those and their neighbours are parsed. All others are identical bytes of this
        tree, which is sound.
        """
        found = self._with_one(data) or self._with_few(data)
        if found is None:
            new = Tree(data, self.width)
            found = new, *between(self, new)
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


def between(old: Tree, new: Tree) -> tuple[list[RawEntry], list[RawEntry]]:
    """The entries that the new tree lacks, and those that the old one lacked."""
    was, now = set(old), set(new)
    return [line for line in old if line not in now], [line for line in new if line not in was]
