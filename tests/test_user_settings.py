"""What users set for git, and how others call their refs, changes nothing that kt reads or writes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest
from forge import identity
from governed import GOVERNED
from lab import Lab, git, kt, kt_process

from kt_escalation.errors import BadInput
from kt_escalation.git.repository import Repository

#: Each of these changes what some git command prints, or is fatal to one that minds it.
HOSTILE = """\
[advice]\n detachedHead = false\n pushNonFastForward = false
[alias]\n log = !false\n grep = !false\n rev-list = !false
[am]\n threeWay = true
[apply]\n whitespace = fix
[blame]\n coloring = repeatedLines\n date = relative
[branch]\n autoSetupMerge = always\n sort = -committerdate
[branch "main"]\n mergeOptions = --squash
[checkout]\n workers = 4
[color]\n ui = always\n branch = always\n diff = always\n grep = always\n status = always\n decorate = always
[color "diff"]\n meta = red
[column]\n ui = always
[commit]\n cleanup = scissors\n verbose = 2\n template = /nowhere
[core]\n abbrev = 4\n attributesFile = {folder}/attributes\n commentChar = k\n editor = false\n excludesFile = {folder}/excludes
 notesRef = refs/notes/x\n pager = false\n quotePath = true\n useReplaceRefs = true\n warnAmbiguousRefs = true\n whitespace = -trailing-space
[diff]\n algorithm = patience\n autoRefreshIndex = false\n context = 0\n external = false\n ignoreSubmodules = all\n mnemonicPrefix = true
 noprefix = true\n orderFile = /nowhere\n relative = true\n renames = copies\n submodule = log\n wordRegex = .
[diff "odd"]\n binary = true\n command = false\n textconv = false
[fetch]\n prune = true\n pruneTags = true\n output = compact\n showForcedUpdates = false\n unpackLimit = 1\n writeCommitGraph = true
[format]\n notes = true\n pretty = raw
[gc]\n auto = 0
[grep]\n column = true\n extendedRegexp = true\n fullName = false\n lineNumber = true\n patternType = fixed
[i18n]\n commitEncoding = ISO-8859-1\n logOutputEncoding = ISO-8859-1
[log]\n abbrevCommit = true\n date = relative\n decorate = full\n diffMerges = combined\n follow = true\n mailmap = true
 showRoot = false\n showSignature = true
[mailmap]\n file = {folder}/mailmap
[merge]\n autoStash = true\n ff = false\n log = true\n stat = true\n verifySignatures = true
[notes]\n displayRef = *
[pager]\n config = false\n grep = false\n log = false\n rev-list = false\n show-ref = false
[pull]\n rebase = true
[push]\n autoSetupRemote = true\n default = nothing\n followTags = true\n useForceIfIncludes = true
[remote "origin"]\n prune = true\n tagOpt = --tags
[rerere]\n enabled = true
[status]\n branch = true\n relativePaths = true\n short = true\n showUntrackedFiles = no
[submodule]\n recurse = true
[tag]\n sort = -version:refname
[trailer]\n ifExists = replace\n separators = %
[trailer "Kt-Action"]\n ifExists = doNothing\n key = "Kt-Nothing% "
[transfer]\n fsckObjects = true\n unpackLimit = 1
[versionsort]\n suffix = -rc
"""


@pytest.fixture
def hostile(tmp_path: Path) -> Mapping[str, str]:
    """The environment of a user who has set all that beside what everybody has."""
    folder = tmp_path / "settings"
    folder.mkdir()
    (folder / "attributes").write_text("*.yaml diff=odd binary export-ignore\n")
    (folder / "excludes").write_text("*\n")
    (folder / "mailmap").write_text("Mallory <mallory@example.com> <alice@example.com>\n")
    text = HOSTILE.replace("{folder}", str(folder))
    shared = git("config", "--global", "--list", "--show-origin", "--name-only", cwd=tmp_path).splitlines()
    include = shared[0].split("\t")[0].removeprefix("file:") if shared else ""
    (folder / "config").write_text(f"[include]\n path = {include}\n{text}" if include else text)
    return {"GIT_CONFIG_GLOBAL": str(folder / "config")}


@pytest.fixture
def store(lab: Lab) -> Lab:
    """A store with people, in which `live` is then played."""
    lab.put(GOVERNED)
    for who in ("gw", "alice", "bob", "boss"):
        lab.clone(who)
    return lab


LIFE = (
    ("gw", "raise --request-id one --reason-code a.b --summary", "Caf\u00e9 \u20ac"),
    ("gw", "raise --request-id two --reason-code a.b --severity critical"),
    ("alice", "claim --id esc_one"),
    ("alice", "note --id esc_one --text", "a note, \u00fc"),
    ("alice", "claim --id esc_one --renew"),
    ("alice", "unclaim --id esc_one"),
    ("bob", "claim --next --count 2"),
    ("bob", "resolve --id esc_one --outcome denied --reason", "kt: resolve it\n\nKt-Action: claim"),
    ("bob", "resolve --id esc_two --outcome approved --reason", "fine"),
    ("alice", "claim --id esc_two"),
    ("alice", "resolve --id esc_two --outcome approved --reason", "fine too"),
    ("boss", "reopen --id esc_one --reason", "was wrong"),
    ("gw", "raise --request-id three --reason-code a.b"),
    ("boss", "assign --id esc_three --team security --reason", "theirs"),
    ("boss", "sweep"),
)


def live(store: Lab, env: Mapping[str, str]) -> list[str]:
    """Play a whole life; what the remote's history says of it, without ids and times, and each checkout's state."""
    for who, words, *text in LIFE:
        ran = kt(*words.split(), *text, cwd=store.folder / who, env=env)
        assert ran.code == 0, (words, ran.err)
        assert "left as it is" not in ran.err
        assert git("status", "--porcelain", cwd=store.folder / who) == ""
        tip = git("rev-parse", "refs/heads/main", cwd=store.folder / who)
        assert git("rev-parse", "refs/heads/main", cwd=store.remote) == tip
    told = git("log", "--reverse", "--format=%an %ae %cn%n%e%n%B", "refs/heads/main", cwd=store.remote)
    return re.sub(r"(?<![0-9a-z])(01[0-9a-z]{24}|[0-9a-f]{40})", "<id>", told).splitlines()


def answers(folder: Path, env: Mapping[str, str]) -> dict[str, tuple[int, str]]:
    """What all that reads answers."""
    asked = (
        "list --json --limit 0 --status all", "get --id esc_two --json", "log", "log --id esc_one", "log --id esc_two --json",
        "events --json --since", "verify --afresh --json", "verify refs/heads/main~3..HEAD", "verify --afresh",
        "check main~9..main --json", "check origin/main~1..main", "stats --json", "export -o ../population.jsonl --json", "get --id esc_one",
        "list --rev main~4 --json",
    )  # fmt: skip
    start = git("rev-list", "--max-parents=0", "HEAD", cwd=folder)
    found = {}
    for words in asked:
        args = [*words.split(), start] if words.endswith("--since") else words.split()
        ran = kt(*args, cwd=folder, env=env)
        found[words] = (ran.code, re.sub(r'\d+[smh] ago|"at": "[^"]*"', "", ran.out + ran.err))
    return found


def test_a_whole_life_is_the_same_whatever_the_user_has_set(
    store: Lab, hostile: Mapping[str, str], tmp_path: Path
) -> None:
    other = store.copy(tmp_path / "other")
    assert git("config", "grep.patternType", cwd=store.remote, env=hostile) == "fixed"
    told = live(store, hostile)
    assert told == live(other, {})
    assert sum("Caf\u00e9 \u20ac" in line for line in told) == 1
    clone = store.folder / "bob"
    git("pull", "--quiet", cwd=clone)
    right = answers(clone, {})
    assert right["verify --afresh"][0] == 0
    assert right["list --json --limit 0 --status all"][1].count("esc_") > 4
    assert answers(clone, hostile) == right


def test_what_is_forged_is_found_whatever_the_user_has_set(store: Lab, hostile: Mapping[str, str]) -> None:
    live(store, {})
    alice = store.folder / "alice"
    git("pull", "--quiet", cwd=alice)
    # Reopened by hand what is reopened already, which only git grep tells, and a decision in another's name.
    [again] = [path for path in (alice / "queue").glob("*.yaml") if "reopens: esc_one" in path.read_text()]
    name = f"esc_{'0' * 26}"
    text = again.read_text().replace(again.stem, name).replace("raised_by: boss", "raised_by: alice")
    (alice / f"queue/{name}.yaml").write_text(text.replace("by: boss", "by: alice"))
    git("add", ".", cwd=alice)
    git("commit", "--quiet", "-m", "kt: reopen", cwd=alice, env=identity("alice"))
    (alice / "queue/esc_three.yaml").write_text(
        (alice / "queue/esc_three.yaml").read_text().replace("severity: medium", "severity: low")
    )
    git("commit", "--quiet", "-am", "kt: note", cwd=alice)
    right = answers(alice, {})
    assert right["verify --afresh"][0] == right["check main~9..main --json"][0] == 1
    assert "already_reopened" in right["verify --afresh --json"][1]
    assert answers(alice, hostile) == right


# --- refs -----------------------------------------------------------------------------------------


def tagged(folder: Path, commit: str) -> None:
    """Refs that git takes for a branch where there is none of that name, or before it."""
    for name in (
        "main",
        "origin/main",
        "refs/heads/main",
        "heads/main",
        "refs/remotes/origin/main",
        "refs/heads/gone",
        "gone",
    ):
        git("update-ref", f"refs/tags/{name}", commit, cwd=folder)


def test_a_tag_called_like_a_branch_means_nothing(store: Lab) -> None:
    live(store, {})
    alice = store.folder / "alice"
    git("pull", "--quiet", cwd=alice)
    name = "queue/esc_three.yaml"
    (alice / name).write_text((alice / name).read_text().replace("severity: medium", "severity: low"))
    git("commit", "--quiet", "-am", "kt: note", cwd=alice)
    right = answers(alice, {})
    assert right["check origin/main~1..main"][0] == 1
    tagged(alice, git("rev-parse", "HEAD~2", cwd=alice))
    assert answers(alice, {}) == right
    git("branch", "--quiet", "topic", "HEAD", cwd=alice)
    git("switch", "--quiet", "topic", cwd=alice)
    assert kt("check", "main~1..topic", cwd=alice).code == kt("check", "origin/main..", cwd=alice).code == 1
    assert kt("claim", "--id", "esc_three", cwd=store.folder / "bob").code == 3
    for who in ("bob", "alice"):
        tagged(store.folder / who, git("rev-parse", "HEAD~2", cwd=store.folder / who))
    ran = kt("raise", "--request-id", "four", "--reason-code", "a.b", cwd=store.folder / "gw")
    assert ran.code == 0, ran.err


def test_a_tag_is_not_read_as_the_store_branch_where_that_is_not_here(store: Lab) -> None:
    live(store, {})
    alice = store.folder / "alice"
    git("pull", "--quiet", cwd=alice)
    git("switch", "--quiet", "--detach", cwd=alice)
    git("branch", "--quiet", "-D", "main", cwd=alice)
    right = kt("list", "--json", "--limit", "0", cwd=alice).out
    (alice / "queue/esc_three.yaml").unlink()
    git("commit", "--quiet", "-am", "forged", cwd=alice)
    tagged(alice, git("rev-parse", "HEAD", cwd=alice))
    git("checkout", "--quiet", "--detach", "HEAD~1", cwd=alice)
    assert kt("list", "--json", "--limit", "0", cwd=alice).out == right
    assert kt_process("claim", "--id", "esc_three", cwd=alice).code == 3
    repository = Repository(alice)
    with closing(repository.objects):
        assert repository.tip_of("refs/heads/main") is None
        assert repository.tip_of("refs/heads/gone") is None


def test_a_revision_is_what_a_user_means_by_it(tmp_path: Path) -> None:
    git("init", "--quiet", str(tmp_path), cwd=tmp_path)
    for text in ("one", "two", "three", "four"):
        git("commit", "--quiet", "--allow-empty", "-m", text, cwd=tmp_path, env=identity("alice"))
    four, three, two, one = git("rev-list", "HEAD", cwd=tmp_path).split()
    git("update-ref", "refs/remotes/origin/main", two, cwd=tmp_path)
    git("config", "remote.origin.url", "/nowhere", cwd=tmp_path)
    git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*", cwd=tmp_path)
    git("branch", "--quiet", "--set-upstream-to=origin/main", "main", cwd=tmp_path)
    git("tag", "-a", "-m", "v1", "v1", three, cwd=tmp_path, env=identity("alice"))
    git("update-ref", "refs/heads/a@b", three, cwd=tmp_path)
    for name in ("main", "origin/main", "heads/main", "a@b", four):
        git("update-ref", f"refs/tags/{name}", one, cwd=tmp_path)
    repository = Repository(tmp_path)
    meant = {
        "main": four, "main~1": three, "main^": three, "main^^{commit}": three, "heads/main": four, "HEAD": four, "@": four,
        "refs/heads/main": four, "refs/heads/main~3": one, "refs/tags/main": one, "tags/main": one, "origin/main": two,
        "remotes/origin/main": two, "v1": three, "v1~1": two, "tags/v1^{}": three, "a@b": three, "a@b~2": one, "main@{u}": two,
        "main@{upstream}": two, "@{u}": two, four: four, four[:12]: four, f"{four[:12]}~1": three, ":/two": None,
        "main@{0}": four, "main@{1}": three, "HEAD~1^{tree}": None, "gone": None, "refs/heads/gone": None, "": None,
        "refs/heads/v1": None, "--all": None, "main main": None, "heads/gone": None, "main~99": None, "a\nb": None,
    }  # fmt: skip
    with closing(repository.objects):
        assert {rev: repository.commit_of(rev) for rev in meant} == meant


def test_the_beginning_of_an_id_names_no_ref(tmp_path: Path) -> None:
    """Who can push could give the name to a tag, and move the end of a range or what `--contains` asks for."""
    git("init", "--quiet", str(tmp_path), cwd=tmp_path)
    # The same ids in every run: no two of them begin alike.
    env = {**identity("alice"), "GIT_AUTHOR_DATE": "@1 +0000", "GIT_COMMITTER_DATE": "@1 +0000"}
    for text in ("one", "two"):
        git("commit", "--quiet", "--allow-empty", "-m", text, cwd=tmp_path, env=env)
    two, one = git("rev-list", "HEAD", cwd=tmp_path).split()
    tree = git("rev-parse", "HEAD^{tree}", cwd=tmp_path)
    gone = "f" * 40 if not two.startswith("f") else "e" * 40
    places = ("refs/heads", "refs/tags", "refs/remotes", "refs")
    for digits in range(4, 40):
        for place in places:
            git("update-ref", f"{place}/{two[:digits]}", one, cwd=tmp_path)
            git("update-ref", f"{place}/{gone[:digits]}", one, cwd=tmp_path)
    repository = Repository(tmp_path)
    with closing(repository.objects):
        for digits in range(4, 40):
            assert repository.commit_of(two[:digits]) == two
            assert repository.commit_of(two[:digits].upper()) == two
            assert repository.commit_of(f"{two[:digits]}^") == one
            assert repository.commit_of(f"tags/{two[:digits]}") == one
            with pytest.raises(BadInput, match=f"give heads/{gone[:digits]} if you mean"):
                repository.commit_of(gone[:digits])
        assert repository.commit_of(tree[:12]) is None
