"""Writes objects: blobs, trees and commits, loose or as a pack."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import trees
from .command import FLUSH, Git
from .objects import Object, TreeEntry, pack_of
from .people import Author

# If there are at least this many new objects, they are kept as one pack instead of loose files.
_KEEP_PACK = 200
# The last ones are also kept in memory if they have at most so many bytes.
_MOST_KEPT = 1 << 20
# Objects never change, so their files are read-only.
_LOOSE_MODE = 0o444


# A pack that depends on its objects alone: neither on the packs that a clone happens to have, nor on its settings, nor
# on which thread is first (git-pack-objects).
_SAME_SETTINGS = ("-c", "pack.windowMemory=0", "-c", "core.bigFileThreshold=512m")
_SAME_BYTES = (
    *("--no-reuse-delta", "--no-reuse-object", "--no-use-bitmap-index", "--threads=1"),
    *("--compression=6", "--window=10", "--depth=50"),
)


class Writing(Git):
    """Writes objects into a repository, and reads packs from it."""

    def object_id(self, kind: str, data: bytes) -> str:
        """The id that git gives to an object (gitformat-loose). SHA-1 or SHA-256, as the repository uses."""
        import hashlib

        return hashlib.new(
            self._hash_name, b"%s %d\0" % (kind.encode(), len(data)) + data, usedforsecurity=False
        ).hexdigest()

    @property
    def _hash_name(self) -> str:
        return "sha256" if self.object_format == "sha256" else "sha1"

    def write_objects(self, objects: Sequence[tuple[str, str, bytes]], *, flush: bool) -> None:
        """Store objects (id, kind, bytes): a few as loose files, many as one pack that is kept.

        To write files is faster than a git process. If users share a repository, git is used, because it
        knows the right owners and permissions.
        """
        if len(objects) < _KEEP_PACK and "core.sharedrepository" not in self.config:
            for oid, kind, data in objects:
                self._write_loose(oid, kind, data, flush=flush)
            is_small = sum(len(data) for _, _, data in objects) <= _MOST_KEPT
            kept = [Object(oid, kind, len(data), data) for oid, kind, data in objects if is_small]
            self.objects.written = {item.oid: item for item in kept}
            return
        packed = pack_of([(kind, data) for _, kind, data in objects], self._hash_name)
        command = ("index-pack", "--stdin") if len(objects) >= _KEEP_PACK else ("unpack-objects", "-q")
        self._must(*(FLUSH if flush else ()), *command, stdin=packed)

    def _write_loose(self, oid: str, kind: str, data: bytes, *, flush: bool) -> None:
        """Store one object as a loose file, completely or not at all (gitformat-loose)."""
        folder = self._apart.get("GIT_OBJECT_DIRECTORY") or self.common_dir / "objects"
        path = Path(folder) / oid[:2] / oid[2:]
        if path.exists():
            return
        path.parent.mkdir(exist_ok=True)
        # If the process is killed here, `git gc` removes the file by this name.
        part = path.with_name(f"tmp_obj_{os.urandom(8).hex()}")
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _LOOSE_MODE), "wb") as file:
                file.write(zlib.compress(b"%s %d\0%s" % (kind.encode(), len(data), data), 1))
                if flush:
                    file.flush()
                    os.fsync(file.fileno())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    @contextmanager
    def scratch(self) -> Iterator[None]:
        """Write objects into a temporary folder, which is removed at the end."""
        # Quoted, because a colon separates folders (git, GIT_ALTERNATE_OBJECT_DIRECTORIES).
        own = str(self.common_dir / "objects").replace("\\", "\\\\").replace('"', '\\"')
        import tempfile

        with tempfile.TemporaryDirectory(prefix="kt-") as folder:
            self.objects.close()
            self._apart = {"GIT_OBJECT_DIRECTORY": folder, "GIT_ALTERNATE_OBJECT_DIRECTORIES": f'"{own}"'}
            try:
                yield
            finally:
                self.objects.close()
                self._apart = {}

    def pack(self, wanted: Sequence[str], *, history: bool) -> Iterator[bytes]:
        """A pack, in chunks: of exactly these objects, or with ``history`` of everything these commits reach.

        The same objects give the same bytes, whatever packs and settings a clone has. Raises GitFailed if an object
        is missing.
        """
        revs = ("--revs",) if history else ()
        command = (*_SAME_SETTINGS, "pack-objects", "--stdout", "-q", *_SAME_BYTES, *revs)
        yield from self._stream(*command, stdin="".join(f"{oid}\n" for oid in wanted).encode())

    # --- trees ------------------------------------------------------------------------------------

    def parse_tree(self, data: bytes) -> list[TreeEntry]:
        """The entries of a raw tree object. Raises UnreadableStore if git would not have written it."""
        return trees.parse(data, self._width)

    def tree_lines(self, data: bytes) -> dict[bytes, bytes]:
        """The raw entries of a tree object by name, unchanged, to replace a few of many."""
        return {name: b"%s %s\0%s" % (mode, name, oid) for mode, name, oid in trees.lines(data, self._width)}

    @property
    def _width(self) -> int:
        """The length of an id in a tree."""
        return 32 if self.object_format == "sha256" else 20

    @staticmethod
    def join_tree(lines: Mapping[bytes, bytes]) -> bytes:
        """A raw tree object of these entries, in git's order: folders sort as if their names ended in a slash."""
        ordered = sorted(
            (name + b"/" if trees.is_folder(line.partition(b" ")[0]) else name, line)
            for name, line in lines.items()
        )
        return b"".join(line for _, line in ordered)

    @staticmethod
    def tree_line(entry: TreeEntry) -> bytes:
        """One entry of a raw tree object."""
        return b"%s %s\0%s" % (entry.mode.encode(), os.fsencode(entry.name), bytes.fromhex(entry.oid))

    # --- commits ----------------------------------------------------------------------------------

    @property
    def signs(self) -> bool:
        """Whether the user's git signs commits."""
        return self.flag("commit.gpgsign")

    @staticmethod
    def format_commit(
        tree: str,
        parents: Sequence[str],
        message: str,
        author: Author,
        seconds: int,
        committer: Author | None = None,
    ) -> bytes:
        """A raw commit object without a signature, as commit-tree makes it. The committer is by default the author."""
        above = "".join(f"parent {parent}\n" for parent in parents)
        by, in_by = (f"{who.name} <{who.email}> {seconds} +0000" for who in (author, committer or author))
        return f"tree {tree}\n{above}author {by}\ncommitter {in_by}\n\n{message}".encode(
            errors="surrogateescape"
        )

    def signed_commit(
        self, tree: str, parents: Sequence[str], message: str, author: Author, seconds: int, *, flush: bool
    ) -> str:
        """Write a commit that the user's git signs. Author and committer are the same."""
        date = f"@{seconds} +0000"
        who = {
            f"GIT_{role}_{what}": value
            for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", author.name), ("EMAIL", author.email), ("DATE", date))
        }
        above = [word for parent in parents for word in ("-p", parent)]
        done = self._must(
            *(FLUSH if flush else ()),
            "commit-tree",
            "-S",
            *above,
            tree,
            stdin=message.encode(),
            env=who,
        )
        return done.text
