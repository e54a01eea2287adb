"""What kt reads from a commit's bytes is what git reads, whatever somebody has written there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from random import Random

import hostile
import pytest
from counts import examples
from lab import git

from kt_escalation.errors import GitFailed
from kt_escalation.git.commit import is_signed, plain_commit
from kt_escalation.git.commit_signature import MAX_COMMIT
from kt_escalation.git.repository import Repository

#: What may come anywhere behind the parents: git reads the lines before only as it has written them.
PIECES = (b"\0", b"<", b">", b" ", b"  ", b"\t", b"\r", b"\n", b"\n\n", b"\n ", b"\x0b", b"\x85", b"\xa0", b"\xe9", b"\xff",
          "é".encode(), "\u2028".encode(), b"author ", b"committer ", b"\nauthor X <x@y> 5 +0000", b"\ncommitter X <x@y> 5 +0000",
          b"\nencoding UTF-8", b"\nencoding ISO-8859-1", b"\ngpgsig x", b"\ngpgsig-sha256 x\n y", b"\n gpgsig x", b"\nmergetag x", b"\nchange-id x", b"\nHG:extra x\n more", b"\nAUTHOR x", b"\nparent x", b"\ntree x",
          b"-", b"9", b"99999999999", b"+", b"+0000", b"> ", b" <", b"\x1b", b"\nkt: claim esc_a")  # fmt: skip
ROUND = 700
#: The encodings of `PIECES`.
READ = re.compile(rb"|UTF-8|ISO-8859-1\d?")
MISSING = "0123" * 10
PEOPLE = b"author An Author <a@example.com> 1700000000 +0100\ncommitter A Committer <c@example.com> 1700000001 -0230\n"


def raw(random: Random, tree: str, parents: list[str]) -> bytes:
    """A commit as git writes it, with some pieces put in or taken out, but for the first lines."""
    above = "".join(f"parent {parent}\n" for parent in parents)
    body = (
        bytearray(PEOPLE)
        + random.choice((b"", b"", b"gpgsig -----BEGIN X-----\n x\n \n y\n"))
        + b"\nkt: claim esc_a\n\nKt-Action: claim\n"
    )
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        at = random.randrange(len(body))
        body[at : at + random.choice((0, 0, 1, 2, 9))] = random.choice(PIECES)
    return f"tree {tree}\n{above}".encode() + bytes(body)


def is_odd(data: bytes) -> bool:
    """Whether a commit can be read in several ways."""
    headers = [line.partition(b" ") for line in data.partition(b"\n\n")[0].split(b"\n")]
    names = [name for name, _, _ in headers]
    odd = any(names.count(name) > 1 for name in (b"author", b"committer", b"encoding"))
    for name, _, value in headers:
        odd |= name == b"encoding" and not READ.fullmatch(value)
        odd |= name in (b"author", b"committer") and max(value.count(b"<"), value.count(b">")) > 1
    return odd or b"\0" in data or b"\n\n" not in data


def as_git_reads(repository: Path, oids: list[str]) -> dict[str, list[str | int]]:
    """What git's own log says of commits: parents, tree, author, both e-mails, seconds and message."""
    done = subprocess.run(
        ["git", "log", "--no-walk=unsorted", "--format=%x01%H%n%P%n%T%n%an%n%ae%n%ce%n%ct%n%B%x01", "--stdin"],
        cwd=repository, input="\n".join(oids).encode(), capture_output=True, check=True,
    )  # fmt: skip
    found: dict[str, list[str | int]] = {}
    for oid, rest in re.findall(r"\x01([0-9a-f]{40})\n(.*?)\x01\n", os.fsdecode(done.stdout), re.DOTALL):
        *texts, seconds, message = rest.split("\n", 6)
        found[oid] = [*texts, min(max(int(seconds or 0), 0), 221_845_391_999), message]
    return found


@pytest.mark.parametrize("seed", range(examples(3)))
def test_commits_are_read_as_git_reads_them(tmp_path: Path, seed: int) -> None:
    random, forge = Random(seed), hostile.Forge()
    git("init", "--quiet", "--bare", str(tmp_path), cwd=tmp_path)
    tree = forge.tree(())
    oids: list[str] = []
    for _ in range(ROUND):
        parents = random.sample(oids, min(len(oids), random.choice((0, 1, 1, 1, 2, 3))))
        oids.append(forge.add("commit", raw(random, tree, parents)))
    oids = list(dict.fromkeys(oids))
    hostile.write([forge], tmp_path, {})
    repository = Repository(tmp_path)
    told = as_git_reads(tmp_path, oids)
    plain = 0
    # Few at a time are read in one way, many in another.
    for some in (oids[:100], oids):
        for oid, (commit, signed) in zip(some, repository.commits(some), strict=True):
            data = forge.objects[oid][1]
            assert signed == is_signed(data), data
            assert bool(commit.unread) == is_odd(data), data
            # What can be read in several ways is refused, whatever is read of it.
            known = [" ".join(commit.parents), commit.tree]
            if not commit.unread:
                seconds = int(commit.committed_at.timestamp())
                known += [commit.author, commit.email, commit.committer, seconds, commit.message]
            assert known == told[oid][: len(known)], data
            plain += plain_commit(oid, data) is not None
    assert ROUND // 3 < plain < ROUND, "some are read from their bytes alone, and some are not"
    repository.objects.close()


def begun(repository: Path) -> tuple[hostile.Forge, bytes, str]:
    """A new repository's objects, the first line of its commits, and its first commit."""
    forge = hostile.Forge()
    git("init", "--quiet", "--bare", str(repository), cwd=repository)
    tree = f"tree {forge.tree(())}\n".encode()
    return forge, tree, forge.add("commit", tree + PEOPLE + b"\nfirst\n")


def test_a_commit_too_large_to_be_read_says_so(tmp_path: Path) -> None:
    forge, tree, first = begun(tmp_path)
    above = f"parent {first}\n".encode()
    large = forge.add("commit", tree + above + PEOPLE + b"\n" + b"x" * MAX_COMMIT)
    hostile.write([forge], tmp_path, {})
    repository = Repository(tmp_path)
    for times in (1, 300):
        oids = [first, large, first] * times
        found = [commit for commit, _ in repository.commits(oids)]
        assert [commit.oid for commit in found] == oids
        assert {commit.unread for commit in found[::3]} == {""}
        assert {commit.unread for commit in found[1::3]} == {"it is larger than 1024 KiB"}
        assert {(one.email, one.parents, one.message) for one in found[1::3]} == {("", (first,), "")}
    repository.objects.close()


def test_nobody_is_among_those_who_made_some_commits(tmp_path: Path) -> None:
    forge, tree, first = begun(tmp_path)
    second = forge.add(
        "commit", tree + f"parent {first}\n".encode() + PEOPLE + b"encoding UTF-16\n\nsecond\n"
    )
    hostile.write([forge], tmp_path, {})
    repository = Repository(tmp_path)
    # A proposal with a commit of nobody's is nobody's own.
    assert repository.emails([second]) == {"a@example.com", ""}
    repository.objects.close()


@pytest.mark.parametrize("times", [1, 600])
def test_a_missing_commit_is_told(tmp_path: Path, times: int) -> None:
    git("init", "--quiet", "--bare", str(tmp_path), cwd=tmp_path)
    repository = Repository(tmp_path)
    with pytest.raises(GitFailed, match=f"{MISSING} missing"):
        list(repository.commits([MISSING] * times))
    repository.objects.close()
