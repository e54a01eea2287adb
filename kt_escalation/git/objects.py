"""git's objects: read through one process that lives on, and made into a pack."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple, NoReturn, TypeVar

from ..errors import GitFailed
from .process import widen

#: A file of the tree, a folder, a submodule (gitformat-index, mode).
FILE, TREE, SUBMODULE = "100644", "40000", "160000"
#: So many answers are awaited at a time: what is asked must fit into a pipe while nobody reads.
REQUESTS_AT_ONCE = 500

_TYPES = {"commit": 1, "tree": 2, "blob": 3}
_KINDS = {kind.encode(): kind for kind in (*_TYPES, "tag")}

_T = TypeVar("_T")


class TreeEntry(NamedTuple):
    """One line of a git tree."""

    mode: str
    name: str
    oid: str


class Object(NamedTuple):
    """An object's id and size, and its bytes unless it is larger than was asked for."""

    oid: str
    kind: str
    size: int
    data: bytes | None


class Objects:
    """Reads objects through one `git cat-file --batch-command --buffer` that lives as long as the repository is used.

    ``start`` starts it; an answer that takes longer than ``patience`` seconds ends it, None for none.
    """

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]], patience: float | None) -> None:
        self._start = start
        self._patience = patience
        self._process: subprocess.Popen[bytes] | None = None
        self._out: IO[bytes] = io.BytesIO()
        self._lock = threading.Lock()

    def get(self, names: Sequence[str], largest: int | None = None) -> list[Object | None]:
        """The objects that the names stand for, None for what is missing.

        Bytes of objects larger than ``largest`` are not read. Names are ids or `<id>:<path>` without
        line feeds.
        """
        found: list[Object | None] = []
        with self._lock:
            for some in chunks(names, REQUESTS_AT_ONCE):
                *_, objects = self.asking(some, largest)
                found += objects
        return found

    def asking(self, names: Sequence[str], largest: int | None = None) -> Iterator[list[Object | None]]:
        """The same in steps, so that git works while its caller does; at most `REQUESTS_AT_ONCE` names.

        The first `next` asks for the sizes, the second for the bytes, and only the third gives the objects.
        Nothing else may be asked in between.
        """
        self._send([f"info {name}" for name in names])
        yield []
        heads = [self._head() for _ in names]
        wanted = [head.oid for head in heads if head and (largest is None or head.size <= largest)]
        self._send([f"contents {oid}" for oid in wanted])
        yield []
        contents = {oid: self._contents() for oid in wanted}
        yield [Object(h.oid, h.kind, h.size, contents.get(h.oid)) if h else None for h in heads]

    def id_of(self, name: str) -> str | None:
        """The id of an object that a name without line feeds stands for, None if it is missing."""
        return self.ids_of([name])[0]

    def ids_of(self, names: Sequence[str]) -> list[str | None]:
        """The same for several names, at most `REQUESTS_AT_ONCE`, at the cost of one."""
        with self._lock:
            self._send([f"info {name}" for name in names])
            found = [self._head() for _ in names]
        return [one.oid if one else None for one in found]

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process:
            if process.stdin:
                process.stdin.close()
            if process.stdout:
                process.stdout.close()
            if process.stderr:
                process.stderr.close()
            process.wait()

    def _head(self) -> Object | None:
        parts = self._line().split(b" ")
        kind = _KINDS.get(parts[1]) if len(parts) == 3 else None
        return Object(parts[0].decode(), kind, int(parts[2]), None) if kind else None

    def _contents(self) -> bytes | None:
        parts = self._line().split(b" ")
        if len(parts) != 3:
            return None
        size = int(parts[2])
        # Not at once and cut, which copies what may be large.
        data = self._read(size) if size else b""
        self._read(1)
        return data

    def _send(self, requests: Sequence[str]) -> None:
        if not requests:
            return
        process = self._process
        if process is None or process.poll() is not None:
            self.close()
            process = self._process = self._start()
            widen(process)
            assert process.stdout  # noqa: S101 - opened as a pipe above
            self._out = process.stdout
        assert process.stdin  # noqa: S101 - opened as a pipe above
        try:
            process.stdin.write(os.fsencode("".join(f"{request}\n" for request in requests)) + b"flush\n")
            process.stdin.flush()
        except BrokenPipeError:
            self._broken()

    def _line(self) -> bytes:
        return self._guarded(self._out.readline)

    def _read(self, size: int) -> bytes:
        data = self._guarded(self._out.read, size)
        if len(data) != size:
            self._broken()
        return data

    def _guarded(self, read: Callable[..., bytes], *size: int) -> bytes:
        """Read from git; a partial clone may go to the network for it."""
        if self._patience is None:
            data = read(*size)
        else:
            assert self._process  # noqa: S101 - `_send` has started it
            timer = threading.Timer(self._patience, self._process.kill)
            timer.start()
            try:
                data = read(*size)
            finally:
                timer.cancel()
        if not data:
            self._broken()
        return data

    def _broken(self) -> NoReturn:
        process, self._process = self._process, None
        words = ""
        if process:
            _, err = process.communicate()
            words = " / ".join(err.decode(errors="replace").split("\n")).strip(" /")
        raise GitFailed(command="cat-file", words=words or "it ended without an answer")


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


def chunks(items: Sequence[_T], size: int = 500) -> Iterator[Sequence[_T]]:
    """The items in order, ``size`` at a time."""
    for at in range(0, len(items), size):
        yield items[at : at + size]
