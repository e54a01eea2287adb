"""The clone's index of archives: it answers as a search of all archives would, whatever became of its files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from kt_escalation.model.archive_file import ArchiveName
from kt_escalation.storage.archive_index import Index
from kt_escalation.storage.archives import Archive

FILE = "archives-2-ids"
#: Also what no archive of ours has in it: the index takes it as it comes.
NAMES = st.sampled_from(
    ["esc_a", "esc_a-b", "esc_a0", "esc_ab", "esc_b", "esc_a 1 2", "esc_\u00e4", "x\r", "~"]
)
#: Some of them with equal ids.
CONTENTS = st.lists(st.lists(NAMES, max_size=8), min_size=1, max_size=5).flatmap(
    lambda some: st.lists(st.sampled_from(some), min_size=1, max_size=5)
)


class Store:
    """Archives by number, as a repository would hold them."""

    def __init__(self, folder: Path, contents: Sequence[Sequence[str]]) -> None:
        self.folder = folder
        self.contents = contents
        # Equal files are one blob.
        blobs = [contents.index(names) for names in contents]
        self.archives = [
            Archive(ArchiveName("2024/01", n), f"{n:04}", f"d{blob}", f"{blob}")
            for n, blob in enumerate(blobs)
        ]

    def index(self) -> Index:
        return Index(self.folder, self._read)

    def _read(self, blobs: Sequence[str]) -> list[bytes | None]:
        return ["\n".join(self.contents[int(blob.removeprefix("d"))]).encode() for blob in blobs]

    def listed(self, number: int) -> list[str]:
        return [name.encode().decode("ascii", "replace") for name in self.contents[number]]

    def assert_right(self, index: Index, archives: Sequence[Archive]) -> None:
        every = {name for number in range(len(self.contents)) for name in self.listed(number)}
        mine = [
            (archive, name, at)
            for archive in archives
            for at, name in enumerate(self.listed(int(archive.ids)))
        ]
        for name in every | {"esc_", "esc_none"}:
            found = [(place.archive, place.at) for place in index.find(archives, name)]
            assert found == [(archive, at) for archive, other, at in mine if other == name]
        for prefix in ("", "esc_", "esc_a", "esc_a-", "esc_b", "z"):
            assert index.beginning(archives, prefix) == sorted(
                {n for _, n, _ in mine if n.startswith(prefix)}
            )


@given(CONTENTS, st.integers(1, 3), st.data())
@settings(max_examples=examples(75))
def test_it_answers_as_a_search_would(
    tmp_path_factory: pytest.TempPathFactory, contents: list[list[str]], rows: int, data: st.DataObject
) -> None:
    """In any order of archives asked for, from memory and from the files, and after any damage to these."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kt_escalation.storage.archive_index._ROWS_IN_BLOCK", rows)
        store = Store(tmp_path_factory.mktemp("kt"), contents)
        index = store.index()
        for _ in range(3):
            some = data.draw(st.lists(st.sampled_from(store.archives), unique=True), label="archives")
            store.assert_right(index, sorted(some, key=lambda archive: archive.path))
        path = store.folder / FILE
        if path.exists():
            whole = path.read_bytes()
            at = data.draw(st.integers(0, len(whole) - 1), label="damaged at")
            by = data.draw(st.binary(max_size=4).filter(lambda b: b != whole[at : at + 1]), label="by")
            path.write_bytes(whole[:at] + by + whole[at + 1 :])
        store.assert_right(store.index(), store.archives)
        store.assert_right(index, store.archives)


def test_a_file_that_is_put_in_the_place_of_another_is_no_index(tmp_path: Path) -> None:
    store = Store(tmp_path, [["esc_a", "esc_b"]])
    store.index().reopening(store.archives, "esc_a")
    (tmp_path / "archives-2-reopened").rename(tmp_path / FILE)
    store.assert_right(store.index(), store.archives)
