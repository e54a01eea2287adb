"""What trees are foretold to be is what they are, and a wrong guess changes nothing but the time."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from lab import git

from kt_escalation.git.objects import Object
from kt_escalation.git.repository import Repository
from kt_escalation.storage.trees import Trees

NAMES = [f"esc_{letter}{number}" for letter in "abmyz" for number in (1, 10, 2)]
Files = dict[str, tuple[str, bytes]]


class Past:
    """A repository, and the root trees of a random history in it, each with the files that were changed for it."""

    def __init__(self, path: Path, root: str, object_format: str) -> None:
        git("init", "--quiet", f"--object-format={object_format}", str(path), cwd=path.parent)
        self.path, self.root = path, f"{root}/" if root else ""
        self._blobs: dict[bytes, str] = {}
        files: Files = {
            "README.md": ("100644", b"x"),
            f"{self.root}policies/roster.yaml": ("100644", b"teams: []"),
        }
        self.files = files | {f"{self.root}queue/.gitkeep": ("100644", b"")}

    def _blob(self, data: bytes) -> str:
        if data not in self._blobs:
            told = ["git", "hash-object", "-w", "--stdin"]
            done = subprocess.run(told, cwd=self.path, input=data, capture_output=True, check=True)
            self._blobs[data] = done.stdout.decode().strip()
        return self._blobs[data]

    def tree(self) -> str:
        """The root tree of the files as they are now."""
        lines = []
        for path, (mode, data) in self.files.items():
            lines.append(f"{mode} {self._blob(data)}\t{path}\n")
        git("read-tree", "--empty", cwd=self.path)
        subprocess.run(
            ["git", "update-index", "--index-info"], cwd=self.path, input="".join(lines).encode(), check=True
        )
        return git("write-tree", cwd=self.path)

    def step(self, random: Random, number: int) -> list[str]:
        """Change a record as kt does: raise it, write it again, or move it. The files, below the store's top."""
        name, data = random.choice(NAMES), b"%d\n" % number
        still = f"queue/{name}.yaml"
        done = f"queue/resolved/20{random.randint(24, 25)}/0{random.randint(1, 2)}/01/{name}.yaml"
        if f"{self.root}{still}" in self.files and random.random() < 0.6:
            del self.files[f"{self.root}{still}"]
            self.files[f"{self.root}{done}"] = "100644", data
            return [still, done]
        self.files[f"{self.root}{still}"] = "100644", data
        return [still]

    def beside(self, random: Random, changed: str) -> None:
        """Change something that nobody would guess."""
        path = random.choice(
            ["README.md", f"{self.root}policies/settings.yaml", f"{self.root}queue/esc_other.yaml", changed]
        )
        mode = "100755" if path == changed else "100644"
        if path in self.files or path != changed:
            self.files[path] = mode, b"%d" % random.randrange(10**9)


def reading(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The kinds of the objects that are read from now on."""
    kinds: list[str] = []
    get = repository.objects.get

    def watched(names: Sequence[str], largest: int | None = None) -> list[Object | None]:
        found = get(names, largest)
        kinds.extend(one.kind for one in found if one)
        return found

    monkeypatch.setattr(repository.objects, "get", watched)
    return kinds


@pytest.fixture(params=["", "team/a b"])
def root(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_right_guesses_read_no_tree_and_find_the_same(
    tmp_path: Path, root: str, object_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    past, random = Past(tmp_path / "r", root, object_format), Random(f"{root}{object_format}")
    roots, guesses = [past.tree()], []
    for number in range(40):
        guesses.append(past.step(random, number))
        roots.append(past.tree())
    pairs = list(pairwise(roots))
    repository = Repository(past.path)
    wanted = Trees(repository, root).differences(pairs)
    trees = Trees(repository, root)
    trees.differences(pairs[:1])
    kinds = reading(repository, monkeypatch)
    assert trees.differences(pairs[1:], guesses[1:]) == wanted[1:]
    repository.objects.close()
    assert kinds == [], "all of them were foretold"
    moved = [one for one in wanted if len(one.changes) == 2]
    assert len(moved) > 5, "records were also resolved"


@pytest.mark.parametrize("seed", range(6))
def test_wrong_guesses_find_the_same(tmp_path: Path, root: str, seed: int) -> None:
    past, random = Past(tmp_path / "r", root, "sha1"), Random(seed)
    roots: list[str | None] = [past.tree()]
    guesses: list[list[str]] = []
    for number in range(40):
        guess = past.step(random, number)
        if random.random() < 0.3:
            past.beside(random, f"{past.root}{guess[-1]}")
        if random.random() < 0.2:
            guess = random.choice(
                [[], [f"queue/{random.choice(NAMES)}.yaml"], ["queue"], ["queue/resolved/x/y.yaml"]]
            )
        guesses.append(guess)
        roots.append(past.tree())
    roots.append(roots[0])
    guesses.append(["queue/esc_a1.yaml"])
    pairs = list(pairwise([None, *roots]))
    repository = Repository(past.path)
    wanted = Trees(repository, root).differences(pairs)
    assert Trees(repository, root).differences(pairs, [["queue/esc_a1.yaml"], *guesses]) == wanted
    repository.objects.close()
