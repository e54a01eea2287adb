"""Reads git objects through one long-lived process, and writes packs."""

from __future__ import annotations

import os
import re
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple, TypeVar

from ..errors import GitFailed
from .process import Underway

#: The modes of a file, a folder and a submodule in a tree (gitformat-index, mode).
FILE, TREE, SUBMODULE = "100644", "40000", "160000"
#: How git's bytes are read as text, as `os.fsdecode` does it.
NAMES = (sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())
#: The number of requests per batch. They must fit into a pipe while nobody reads the other end.
REQUESTS_AT_ONCE = 500

_TYPES = {"commit": 1, "tree": 2, "blob": 3}

_T = TypeVar("_T")


class TreeEntry(NamedTuple):
    """One entry of a git tree."""

    mode: str
    name: str
    oid: str


class Object(NamedTuple):
    """An object's id and size, and its bytes unless it is larger than the limit of the request."""

    oid: str
    kind: str
    size: int
    data: bytes | None


# The answer of `cat-file` for an existing object. For a missing one it repeats the request.
_FOUND = re.compile(rb"([0-9a-f]{40}|[0-9a-f]{64}) (blob|tree|commit|tag) (\d+)")
_BEFORE = re.compile(_FOUND.pattern + rb"\n")
_LINE_FEED = ord("\n")
_NOT_HERE = re.compile(rb"[0-9a-f]{40,64} submodule")


class Objects:
    """Reads objects through one `git cat-file --batch-command --buffer` process, kept open with the repository.

    ``start`` starts the process. If it is silent for ``silence`` seconds, it is stopped. If a request is
    interrupted, the process is stopped too, so an answer is never mistaken for the answer to another request.
    """

    def __init__(self, start: Callable[[], Underway], silence: float | None = None) -> None:
        self._start = start
        self._silence = silence
        #: What was written last, by id: whoever writes again reads it first.
        self.written: Mapping[str, Object] = {}
        self._process: Underway | None = None
        # A thread that an exception interrupts while it gives the reader back can take it again.
        self._lock = threading.RLock()
        # What the last `ids_of` has found, by id.
        self._sizes: Mapping[str, Object] = {}
        # Bytes that have been received but not read.
        self._data = b""
        self._at = 0

    def get(self, names: Sequence[str], largest: int | None = None) -> list[Object | None]:
        """Read the named objects. None for missing ones.

        The bytes of objects larger than ``largest`` are not read. Names are ids or `<id>:<path>`. Raises
        GitFailed, also for a name with a line feed, which cannot be sent.
        """
        found: list[Object | None] = [self.written.get(name) for name in names]
        if all(one and (largest is None or one.size <= largest) for one in found):
            return found
        found = []
        with self._asking() as process:
            for some in chunks(names, REQUESTS_AT_ONCE):
                if largest is None:
                    # Each request costs git and us a switch of processes, so nobody asks for sizes first.
                    self._send(process, [f"contents {name}" for name in some])
                    found += [self._whole(process, name) for name in some]
                    continue
                # An object never changes, nor does its size.
                unknown = [name for name in some if name not in self._sizes]
                asked = dict(zip(unknown, self._heads(process, unknown), strict=True))
                heads = [self._sizes.get(name) or asked.get(name) for name in some]
                wanted = {head.oid: head for head in heads if head and head.size <= largest}
                self._send(process, [f"contents {oid}" for oid in wanted])
                whole = {oid: self._whole_of(process, head) for oid, head in wanted.items()}
                found += [head and whole.get(head.oid, head) for head in heads]
        return found

    def id_of(self, name: str) -> str | None:
        """The id of the object with a name, or None if it is missing."""
        return self.ids_of([name])[0]

    def ids_of(self, names: Sequence[str]) -> list[str | None]:
        """The ids for several names, with one request."""
        with self._asking() as process:
            heads = [head for some in chunks(names, REQUESTS_AT_ONCE) for head in self._heads(process, some)]
        self._sizes = {head.oid: head for head in heads if head}
        return [head and head.oid for head in heads]

    def close(self) -> None:
        """Stop the process, and forget what was written."""
        process, self._process, self.written, self._sizes = self._process, None, {}, {}
        if process:
            process.close()

    @contextmanager
    def _asking(self) -> Iterator[Underway]:
        """The process, for one request at a time."""
        with self._lock:
            if self._process is None or not self._process.is_alive:
                self.close()
                self._process = self._start()
                self._process.widen()
                self._data, self._at = b"", 0
            process = self._process
            try:
                yield process
            except BaseException:
                self._process = None
                process.give_up()
                raise

    def _heads(self, process: Underway, names: Sequence[str]) -> list[Object | None]:
        self._send(process, [f"info {name}" for name in names])
        lines: list[bytes] = []
        rest = self._data[self._at :]
        while len(lines) < len(names):
            *more, rest = (rest + self._more(process)).split(b"\n")
            lines += more
        self._data, self._at = rest, 0
        if len(lines) > len(names):
            raise GitFailed(command="cat-file", words="it answered more than it was asked")
        return [*map(_head, lines, names)]

    def _whole(self, process: Underway, name: str) -> Object | None:
        """An object with its bytes; None if it is missing."""
        head = _head(self._line(process), name)
        return head and self._with_bytes(process, head)

    def _whole_of(self, process: Underway, head: Object) -> Object:
        """An object that was there a moment ago, with its bytes."""
        if self._line(process) != b"%b %b %d" % (head.oid.encode(), head.kind.encode(), head.size):
            raise GitFailed(command="cat-file", words=f"{head.oid} was there and is not any more")
        return self._with_bytes(process, head)

    def _with_bytes(self, process: Underway, head: Object) -> Object:
        oid, kind, size, _ = head
        end = self._at + size
        if end < len(self._data):
            data, after = self._data[self._at : end], self._data[end]
            self._at = end + 1
        else:
            data, after = self._take(process, size), self._take(process, 1)[0]
        if after != _LINE_FEED:
            raise GitFailed(command="cat-file", words=f"{oid} is longer than it said")
        return Object(oid, kind, size, data)

    def _send(self, process: Underway, requests: Sequence[str]) -> None:
        odd = next((request for request in requests if "\n" in request), None)
        if odd is not None:
            raise GitFailed(command="cat-file", words=f"there is a line feed in {odd.partition(' ')[2]!r}")
        if requests:
            asked = os.fsencode("".join(f"{request}\n" for request in requests))
            process.send(asked + b"flush\n", self._silence)

    def _line(self, process: Underway) -> bytes:
        """The next line, without its line feed."""
        while (end := self._data.find(b"\n", self._at)) < 0:
            self._data, self._at = self._data[self._at :] + self._more(process), 0
        line = self._data[self._at : end]
        self._at = end + 1
        return line

    def _take(self, process: Underway, size: int) -> bytes:
        """Read exactly this many bytes."""
        there = len(self._data) - self._at
        if there >= size:
            self._at += size
            return self._data[self._at - size : self._at]
        # A tree of ten thousand files is half a megabyte, so it is joined once and not copied again.
        parts = [self._data[self._at :]]
        while there < size:
            self._data = self._more(process)
            self._at = min(size - there, len(self._data))
            parts.append(self._data if self._at == len(self._data) else self._data[: self._at])
            there += self._at
        return b"".join(parts)

    def _more(self, process: Underway) -> bytes:
        data = process.some(self._silence)
        if not data:
            raise process.failed("it ended without an answer")
        return data


def _head(line: bytes, name: str) -> Object | None:
    """An object without its bytes in the answer to a name. None if it is missing."""
    found = _FOUND.fullmatch(line)
    if found:
        oid, kind, size = found.groups()
        return Object(oid.decode(), kind.decode(), int(size), None)
    asked = os.fsencode(name)
    if line in (asked + b" missing", asked + b" ambiguous") or _NOT_HERE.fullmatch(line):
        return None
    raise GitFailed(command="cat-file", words=f"its answer to {name!r} is {os.fsdecode(line)[:200]!r}")


def whole_objects(answer: Iterable[bytes], largest: int) -> Iterator[bytes | None]:
    """The bytes of each object in an answer of `cat-file --batch`, None for larger ones than ``largest``.

    Raises GitFailed if one is missing.
    """
    data, left_out = b"", 0
    for chunk in answer:
        data, left_out = data + chunk[left_out:], max(0, left_out - len(chunk))
        at = 0
        while found := _BEFORE.match(data, at):
            begin, end = found.end(), found.end() + int(found[3])
            if int(found[3]) > largest:
                yield None
                left_out = max(0, end + 1 - len(data))
            elif end < len(data):
                yield data[begin:end]
            else:
                break
            at = end + 1
        data = data[at:]
        if not found and b"\n" in data:
            break
    if data:
        raise GitFailed(command="cat-file", words=os.fsdecode(data.partition(b"\n")[0][:200]))


def pack_of(objects: Sequence[tuple[str, bytes]], hash_name: str) -> bytes:
    """The objects as a pack without deltas (gitformat-pack)."""
    import hashlib

    parts = [b"PACK" + struct.pack(">II", 2, len(objects))]
    for kind, data in objects:
        size = len(data)
        byte = (_TYPES[kind] << 4) | (size & 15)
        size >>= 4
        head = bytearray()
        while size:
            head.append(byte | 0x80)
            byte, size = size & 0x7F, size >> 7
        head.append(byte)
        parts += [bytes(head), zlib.compress(data, 1)]
    body = b"".join(parts)
    return body + hashlib.new(hash_name, body, usedforsecurity=False).digest()


def chunks(items: Iterable[_T], size: int = 500) -> Iterator[list[_T]]:
    """The items in order, in lists of ``size``."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
