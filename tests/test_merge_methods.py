"""What each way of merging keeps: docs/pull-requests.md says it in a table, and here each is done with git."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from forge import ROSTER, SETTINGS, Forge, key_of, sign_as
from lab import git, kt

PAGE = (Path(__file__).parent.parent / "docs/pull-requests.md").read_text()
#: Who presses the button, and whom the forge then names as committer.
BUTTON = {
    "GIT_AUTHOR_NAME": "Bob",
    "GIT_AUTHOR_EMAIL": "bob@example.com",
    "GIT_COMMITTER_NAME": "Forge",
    "GIT_COMMITTER_EMAIL": "noreply@forge.example",
}


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with keys for alice and carol, and a branch on which alice claims and notes, signed."""
    forge = Forge(tmp_path_factory.mktemp("merging"))
    roster = ROSTER.replace(
        "carol@example.com], roles: [reviewer]", "carol@example.com], roles: [reviewer, admin]"
    )
    for who in ("alice", "boss", "carol"):
        public = key_of(forge, who).with_suffix(".pub").read_text().strip()
        roster = re.sub(rf"(user_id: {who}, .*?roles: \[.*?\])", rf'\1, signing_keys: ["{public}"]', roster)
    forge.write("policies/roster.yaml", roster)
    sign_as(forge, "boss")
    forge.commit("boss", "keys")
    return forge.path


def store(ground: Path, folder: Path, required: bool) -> Forge:
    forge = Forge.__new__(Forge)
    forge.path = folder / "store"
    shutil.copytree(ground, forge.path)
    if required:
        forge.write("policies/settings.yaml", f"{SETTINGS}signatures: required\n")
        forge.commit("boss", "signatures from now on")
    forge.git("checkout", "--quiet", "-b", "topic")
    for who in ("alice", "boss", "carol"):
        shutil.copy(ground.parent / f"key-{who}", folder)
        shutil.copy(ground.parent / f"key-{who}.pub", folder)
    sign_as(forge, "alice")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "Asked legal")
    return forge


def moved(forge: Forge) -> None:
    """Let the store branch go on meanwhile, and stand on it as the forge, which signs nothing of ours."""
    forge.git("checkout", "--quiet", "main")
    sign_as(forge, "carol")
    forge.kt("carol", "note", "--id", "esc_two", "--text", "Meanwhile")
    forge.git("config", "commit.gpgsign", "false")


def press(forge: Forge, *args: str, **env: str) -> None:
    git(*args, cwd=forge.path, env={**BUTTON, **env})


def merge_commit(forge: Forge) -> None:
    moved(forge)
    press(forge, "merge", "--quiet", "--no-ff", "-m", "Merge pull request #7", "topic")


def updated(forge: Forge) -> None:
    moved(forge)
    forge.git("checkout", "--quiet", "topic")
    press(forge, "merge", "--quiet", "--no-ff", "-m", "Merge branch main into topic", "main")
    forge.git("checkout", "--quiet", "main")
    press(forge, "merge", "--quiet", "--no-ff", "-m", "Merge pull request #7", "topic")


def queued(forge: Forge) -> None:
    moved(forge)
    forge.git("checkout", "--quiet", "-b", "queue")
    press(forge, "merge", "--quiet", "--no-ff", "-m", "Merge pull request #7", "topic")
    forge.git("checkout", "--quiet", "main")
    press(forge, "merge", "--quiet", "--ff-only", "queue")


def fast_forward(forge: Forge) -> None:
    forge.git("checkout", "--quiet", "main")
    press(forge, "merge", "--quiet", "--ff-only", "topic")


def _squash(forge: Forge, author: str) -> None:
    press(forge, "merge", "--quiet", "--squash", "topic")
    said = git("log", "--reverse", "--format=* %s%n%n%b", "main..topic", cwd=forge.path)
    press(forge, "commit", "--quiet", "-m", f"A pull request (#7)\n\n{said}", GIT_AUTHOR_EMAIL=author)


def squash(forge: Forge) -> None:
    moved(forge)
    _squash(forge, "alice@example.com")


def squash_by_another(forge: Forge) -> None:
    moved(forge)
    _squash(forge, "bob@example.com")


def squash_of_two(forge: Forge) -> None:
    sign_as(forge, "carol")
    forge.kt("carol", "note", "--id", "esc_one", "--text", "Mine too")
    moved(forge)
    _squash(forge, "alice@example.com")


def rebase(forge: Forge) -> None:
    moved(forge)
    press(forge, "rebase", "--quiet", "main", "topic")
    forge.git("checkout", "--quiet", "main")
    press(forge, "merge", "--quiet", "--ff-only", "topic")


METHODS: dict[str, Callable[[Forge], None]] = {
    "merge commit": merge_commit,
    "merge commit, after *Update branch*": updated,
    "merge commit, by a merge queue": queued,
    "fast-forward": fast_forward,
    "squash of one person's steps": squash,
    "squash in the name of another": squash_by_another,
    "squash of two people's steps": squash_of_two,
    "rebase": rebase,
}


def table() -> dict[str, tuple[str, ...]]:
    rows = re.findall(
        r"^\| (?!method|-)(.*?) \|$", PAGE.split("## Which way of merging")[1].split("\n## ")[0], re.MULTILINE
    )
    cells = [row.split(" | ") for row in rows]
    return {name: tuple(rest) for name, *rest in cells}


def verdict(forge: Forge) -> str:
    return {0: "legal", 1: "violation"}[kt("verify", cwd=forge.path).code]


@pytest.mark.parametrize("method", METHODS)
def test_what_the_page_says_is_what_git_and_verify_say(ground: Path, tmp_path: Path, method: str) -> None:
    (tmp_path / "free").mkdir()
    (tmp_path / "required").mkdir()
    free, required = store(ground, tmp_path / "free", False), store(ground, tmp_path / "required", True)
    for forge in (free, required):
        METHODS[method](forge)
    steps = git("log", "--no-merges", "--format=%H", "--", "queue/esc_one.yaml", cwd=free.path).split()
    raw = [git("cat-file", "commit", commit, cwd=free.path) for commit in steps[:-1]]
    authors = {re.search(r"^author .* <(.*)>", text, re.MULTILINE)[1] for text in raw}  # type: ignore[index]
    acted = {"alice@example.com"} | ({"carol@example.com"} if "two" in method else set())
    said = (
        "kept" if authors == acted else "lost",
        "kept" if all("\ngpgsig" in text for text in raw) else "lost",
        verdict(free),
        verdict(required),
    )
    assert table()[method] == said


@pytest.mark.parametrize(
    ("way", "method"),
    [
        ("merge commit", "merge"),
        ("merge commit, after *Update branch*", "merge"),
        ("rebase", "rebase"),
        ("squash of one person's steps", "squash"),
        ("squash of two people's steps", "squash"),
    ],
)
def test_check_says_beforehand_what_verify_says_of_it(
    ground: Path, tmp_path: Path, way: str, method: str
) -> None:
    for required in (False, True):
        folder = tmp_path / f"{required}"
        folder.mkdir()
        forge = store(ground, folder, required)
        METHODS[way](forge)
        base = forge.git("rev-list", "--max-count=1", "--grep=note esc_two", "main")
        # The request as it was before the button was pressed.
        topic = forge.git("log", "-1", "--format=%H", "--walk-reflogs", "--grep=note esc_one", "topic")
        ran = kt("check", f"{base}..{topic}", "--method", method, "--json", cwd=forge.path)
        assert {0: "legal", 1: "violation"}[ran.code] == verdict(forge)
        asked = forge.git("rev-list", f"{base}..{topic}").split()
        assert {found["commit"] for found in ran.json["violations"]} <= set(asked)


def test_every_way_in_the_table_is_tried() -> None:
    assert set(table()) == set(METHODS)
