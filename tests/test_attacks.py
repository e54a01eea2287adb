"""What a stranger with push rights may try, one forgery for each way in.

Each is a real repository, made by plain git or byte by byte. It is found by `verify`, by `check` and by the
server's hook, and `wait` releases nothing that hangs on it. The everyday flows that come close to one of
them stay legal: they are at the end.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attackbook
import pytest
from counts import every
from forge import ONE, ROSTER, SETTINGS, TWO, Forge, identity, offer, push, rules_of, serve, sign_as
from hostile import ENCODINGS
from lab import git, kt
from oracle import READABLE
from raw import Change, Entry, changed, committed, tree_with, written

from kt_escalation import Store
from kt_escalation.audit import messages
from kt_escalation.git.repository import Repository

#: A roster on which a stranger has made himself everything.
MALLORY = (
    ROSTER.replace("[alice, bob]", "[alice, bob, mallory]")
    + "  - {user_id: mallory, emails: [mallory@example.com], roles: [reviewer, admin, gateway]}\n"
)
ROSTER_FILE, SETTINGS_FILE = "policies/roster.yaml", "policies/settings.yaml"
#: The first second of the year 2099.
FAR = 4070908800


@dataclass(frozen=True)
class Attack:
    """A forgery: the rule that it breaks, words of what was expected, and what must not be released."""

    rule: str
    said: str
    make: Callable[[Forge], None]
    victim: str | None


ATTACKS: dict[str, Attack] = {}


def attack(
    rule: str, said: str = "", *, victim: str | None = None
) -> Callable[[Callable[[Forge], None]], Callable[[Forge], None]]:
    """Enter a forgery into the corpus."""

    def enter(make: Callable[[Forge], None]) -> Callable[[Forge], None]:
        ATTACKS[make.__name__.replace("_", " ")] = Attack(rule, said, make, victim)
        return make

    return enter


@pytest.fixture(scope="module")
def older(ground: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The legal history with a commit before it that has no store."""
    made = Forge.__new__(Forge)
    made.path = tmp_path_factory.mktemp("older") / "store"
    shutil.copytree(ground, made.path)
    empty = tree_with(made, made.git("commit-tree", "-m", "-", EMPTY_TREE), {"README.md": "Hello.\n"})
    first = made.git("commit-tree", "-m", "A repository", empty, who="boss")
    made.git("rebase", "--quiet", "--root", "--onto", first, who="boss")
    # It leaves fewer files to copy.
    made.git("gc", "--quiet")
    return made.path


EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


@pytest.fixture
def forge(older: Path, tmp_path: Path) -> Forge:
    made = Forge.__new__(Forge)
    made.path = tmp_path / "store"
    shutil.copytree(older, made.path)
    return made


def first_of(forge: Forge) -> str:
    """The commit from before the store."""
    return forge.git("rev-list", "--max-parents=0", "main")


def start_of(forge: Forge) -> str:
    """The commit that made the store."""
    return forge.git("rev-list", "main").splitlines()[-2]


#: Decisions that were made already, by the commit that they were made on, who made them, and of what.
MADE: dict[tuple[str, str, str], dict[str, str | None]] = {}


def decision(forge: Forge, who: str = "mallory", name: str = "one") -> dict[str, str | None]:
    """The files of an approval by somebody, as kt writes them where he may: made on a branch that is thrown away."""
    key = (forge.tip(), who, name)
    if key not in MADE:
        forge.git("reset", "--quiet", "--hard")
        forge.git("switch", "--quiet", "-c", "scratch")
        if who == "mallory":
            forge.write(ROSTER_FILE, MALLORY)
            forge.commit("boss")
        forge.kt(who, "claim", "--id", f"esc_{name}")
        forge.kt(who, "resolve", "--id", f"esc_{name}", "--outcome", "approved", "--reason", "ok")
        path = forge.resolved(name)
        MADE[key] = {f"queue/esc_{name}.yaml": None, path: forge.read(path)}
        forge.git("switch", "--quiet", "-")
        forge.git("branch", "--quiet", "-D", "scratch")
    return MADE[key]


def approved(forge: Forge, who: str = "mallory", name: str = "one") -> None:
    """Approve, by plain git and not by kt, what somebody may perhaps not approve."""
    made = decision(forge, who, name)
    committed(forge, tree_with(forge, forge.tip(), made), who)


@pytest.fixture
def called(request: pytest.FixtureRequest) -> str:
    """What this test is called in the book of attacks."""
    return str(request.node.name).removeprefix("test_").replace("_", " ")


def found_by_all(forge: Forge, server: Path, wanted: Attack, name: str) -> None:
    """`verify`, `check` and the hook find it, and `wait` releases nothing; what exactly is in `golden/attacks.txt`."""
    before = git("rev-parse", "main", cwd=server)
    ran = kt("verify", "--afresh", "--json", cwd=forge.path)
    assert ran.code == 1, (ran.out, ran.err)
    told = [(found["rule"], found["expected"]) for found in ran.json["violations"]]
    assert any(rule == wanted.rule and wanted.said in expected for rule, expected in told), told
    waited = None
    if wanted.victim is not None:
        waited = kt("wait", "--id", wanted.victim, "--timeout", "1s", "--json", cwd=forge.path)
        assert waited.code not in (0, 8), "it is released, or may be"
    checked = kt("check", f"{before}..HEAD", "--json", cwd=forge.path)
    refused = offer(forge, server)
    assert checked.code != 0, (checked.out, refused.err)
    assert refused.code == 1, (checked.out, refused.err)
    attackbook.hold(name, forge.path, ran, checked, refused, waited)


# --- one tree, two readings -----------------------------------------------------------------------


def moded(name: str, mode: bytes) -> Change:
    """Another mode for one entry."""
    return lambda found: [replace(e, mode=mode) if e.name == name.encode() else e for e in found]


def named(old: str, new: bytes) -> Change:
    """Another name for one entry."""
    return lambda found: [replace(e, name=new) if e.name == old.encode() else e for e in found]


def twice(name: str, *, at: int) -> Change:
    """A second entry of one name, before or behind the other, which is that of a file `evil`, and stays hidden."""

    def change(found: list[Entry]) -> list[Entry]:
        [good] = [e for e in found if e.name == name.encode()]
        [evil] = [e for e in found if e.name == b"evil"]
        place = found.index(good) + at
        both = [*found[:place], replace(evil, name=good.name), *found[place:]]
        return [e for e in both if e.name != b"evil"]

    return change


def beside(name: bytes, like: str) -> Change:
    """One more entry, with the content of another, where git would sort it."""

    def change(found: list[Entry]) -> list[Entry]:
        [model] = [e for e in found if e.name == like.encode()]
        more = [*found, replace(model, name=name)]
        return sorted(more, key=lambda e: e.name + (b"/" if e.mode == b"40000" else b""))

    return change


def turned_round(found: list[Entry]) -> list[Entry]:
    """The entries from the last to the first."""
    return found[::-1]


#: What is done to the entries of which folder.
DAMAGES: dict[str, tuple[str, Change]] = {
    "a leading zero in the mode of policies": ("", moded("policies", b"040000")),
    "a leading zero in the mode of the queue": ("", moded("queue", b"040000")),
    "permissions in the mode of policies": ("", moded("policies", b"40755")),
    "permissions in the mode of the queue": ("", moded("queue", b"40755")),
    "policies with the mode of a submodule": ("", moded("policies", b"160000")),
    "a queue with the mode of a link": ("", moded("queue", b"120000")),
    "policies without a type": ("", moded("policies", b"0")),
    "a roster that a group may write": ("policies", moded("roster.yaml", b"100664")),
    "a roster with a leading zero": ("policies", moded("roster.yaml", b"0100644")),
    "a roster that can be run": ("policies", moded("roster.yaml", b"100755")),
    "a pack that a group may write": ("policies", moded("policy-config.yaml", b"100664")),
    "settings that a group may write": ("policies", moded("settings.yaml", b"100664")),
    "a record that a group may write": ("queue", moded("esc_two.yaml", b"100664")),
    "resolved records with permissions": ("queue", moded("resolved", b"40755")),
    "a second roster behind the first": ("policies", twice("roster.yaml", at=1)),
    "a second roster before the first": ("policies", twice("roster.yaml", at=0)),
    "a second record behind the first": ("queue", twice("esc_two.yaml", at=1)),
    "a second policies behind the first": ("", twice("policies", at=1)),
    "a second queue before the first": ("", twice("queue", at=0)),
    "a name with a slash for a roster": ("", beside(b"policies/roster.yaml", "README.md")),
    "a name with a slash for a record": ("queue", named("esc_two.yaml", b"resolved/esc_two.yaml")),
    "a name with a slash for a whole path": ("", beside(b"queue/esc_two.yaml", "README.md")),
    "an empty name": ("policies", beside(b"", "roster.yaml")),
    "a name that is a dot": ("queue", beside(b".", "esc_two.yaml")),
    "a name that leads upwards": ("queue", beside(b"..", "esc_two.yaml")),
    "entries at the top from the last to the first": ("", turned_round),
    "policies from the last to the first": ("policies", turned_round),
    "policies in capitals": ("", beside(b"Policies", "policies")),
    "a queue in capitals": ("", beside(b"QUEUE", "queue")),
    "a queue with a letter that cannot be seen": ("", beside("que\u200cue".encode(), "queue")),
    "policies by their short name": ("", beside(b"POLICI~1", "policies")),
    "a root file in capitals": ("", beside(b".KT.yaml", "README.md")),
    "a repository in the repository": ("", beside(b".git", "README.md")),
    "a repository in capitals": ("", beside(b".GIT", "policies")),
}


def evil_for(damage: str) -> dict[str, str | None]:
    """What a damage needs to have something to show: a file or folder `evil` beside what it is a second of."""
    folder = DAMAGES[damage][0]
    if "a second roster" in damage:
        return {"policies/evil": MALLORY}
    if "a second policies" in damage:
        return {"evil/roster.yaml": MALLORY}
    if "a second queue" in damage:
        return {"evil/esc_one.yaml": "nothing\n"}
    return {f"{folder}/evil": "nothing\n"} if "a second" in damage else {}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_tree_that_is_not_sound_is_found_and_hides_nothing(forge: Forge, damage: str) -> None:
    damaged(forge, damage)


@pytest.mark.parametrize("damage", every(4, DAMAGES))
def test_a_tree_that_was_not_sound_is_found_once_it_is_tidied_up(forge: Forge, damage: str) -> None:
    damaged(forge, damage, tidied=True)


def damaged(forge: Forge, damage: str, *, tidied: bool = False) -> None:
    """Damage a tree, decide on it, and perhaps make it sound again."""
    server = serve(forge)
    base = forge.tip()
    made = decision(forge)
    folder, change = DAMAGES[damage]
    for files in ({}, made):
        tree = tree_with(forge, base, {**files, **evil_for(damage)})
        committed(forge, changed(forge, tree, folder, change), "mallory")
    if tidied:
        # The tip is sound again, and what was decided meanwhile still stands.
        committed(forge, tree_with(forge, base, made), "mallory")
    wanted = Attack("tree", "", lambda _: None, "esc_one")
    found_by_all(forge, server, wanted, f"{damage}, and {'tidied up' if tidied else 'it stays'}")


def mounted(forge: Forge, store: str) -> str:
    """A tree of a monorepo, in which a store's tree lies below `ops/review`."""
    inner = written(forge, "tree", b"40000 review\0" + bytes.fromhex(store))
    readme = written(forge, "blob", b"Hello.\n")
    outer = b"100644 README.md\0%s40000 ops\0%s" % (bytes.fromhex(readme), bytes.fromhex(inner))
    return written(forge, "tree", outer)


def hidden(found: list[Entry]) -> list[Entry]:
    """A folder under its own name and, before it, an empty one."""
    return [replace(found[0], id=EMPTY_TREE), *found]


@pytest.mark.parametrize(
    ("folder", "change"),
    [
        pytest.param("", moded("ops", b"040000"), id="a leading zero at the top"),
        pytest.param("", moded("ops", b"40755"), id="permissions at the top"),
        pytest.param("ops", moded("review", b"040000"), id="a leading zero below it"),
        pytest.param("ops", moded("review", b"160000"), id="a submodule"),
        pytest.param("ops", hidden, id="a second folder"),
        pytest.param("ops/review", moded("policies", b"40755"), id="permissions of the policies"),
        pytest.param("ops/review", beside(b"Policies", "policies"), id="policies in capitals"),
        pytest.param("", beside(b"ops/review", "README.md"), id="a name with a slash"),
    ],
)
def test_a_folder_on_the_way_to_the_store_must_be_sound_too(
    forge: Forge, called: str, folder: str, change: Change
) -> None:
    base = tree_with(forge, forge.tip(), {})
    after = tree_with(forge, forge.tip(), decision(forge))
    start = forge.git("commit-tree", "-m", "A monorepo", mounted(forge, base), who="boss")
    git("update-ref", "HEAD", start, cwd=forge.path)
    git("config", "kt.root", "ops/review", cwd=forge.path)
    assert rules_of(forge, "--afresh") == []
    server = forge.path.parent / "server.git"
    git("clone", "--quiet", "--bare", "--no-hardlinks", str(forge.path), str(server), cwd=forge.path)
    git("config", "kt.root", "ops/review", cwd=server)
    assert kt("hook", "install", "--server", str(server), cwd=forge.path).code == 0
    for tree in (base, after):
        committed(forge, changed(forge, mounted(forge, tree), folder, change), "mallory")
    found_by_all(forge, server, Attack("tree", "", lambda _: None, "esc_one"), called)


@pytest.mark.parametrize(
    ("damage", "commands"),
    [
        ("permissions in the mode of the queue", ("list", "get", "claim")),
        ("a second queue before the first", ("list", "get", "claim")),
        ("permissions in the mode of policies", ("list", "get", "claim")),
        # What lists does not read policies, and what writes does.
        ("a second roster behind the first", ("claim",)),
    ],
)
def test_a_command_reads_no_tree_that_is_not_sound(
    forge: Forge, damage: str, commands: tuple[str, ...]
) -> None:
    folder, change = DAMAGES[damage]
    tree = tree_with(forge, forge.tip(), evil_for(damage))
    at = committed(forge, changed(forge, tree, folder, change), "mallory")
    for command in commands:
        named = () if command == "list" else ("--id", "esc_two")
        ran = kt(command, *named, "--json", cwd=forge.path, env=identity("alice"))
        assert ran.code == 2, ran.err
        assert ran.error["code"] == "unreadable_store", ran.err
    # Above all nothing is written on it that would make it look sound.
    assert forge.tip() == at


@pytest.mark.parametrize(
    ("text", "said"),
    [("{{{\n", ".kt.yaml cannot be read"), ("root: ops\n", ".kt.yaml names that folder")],
)
def test_a_root_file_that_means_nothing_stops_every_command_but_who_names_the_root(
    forge: Forge, text: str, said: str
) -> None:
    server = serve(forge)
    bad = committed(forge, tree_with(forge, forge.tip(), {".kt.yaml": text}), "boss")
    for command in (("list",), ("verify",), ("wait", "--id", "esc_done")):
        ran = kt(*command, "--json", cwd=forge.path)
        assert ran.code == 2
        assert said in ran.error["message"]
    checked = kt("check", "HEAD^..HEAD", "--json", cwd=forge.path)
    assert checked.code == 1
    assert [one["rule"] for one in checked.json["violations"]] == ["root"]
    assert ": root: " in offer(forge, server).err
    git("config", "kt.root", "/", cwd=forge.path)
    found = kt("verify", "--afresh", "--json", cwd=forge.path).json["violations"]
    assert [(one["commit"], one["rule"], one["path"]) for one in found] == [(bad, "root", ".kt.yaml")]


def test_a_server_refuses_such_a_tree_by_itself_and_by_the_hook(forge: Forge) -> None:
    server = serve(forge)
    before = forge.tip()
    tree = changed(forge, tree_with(forge, before, {}), "", moded("policies", b"40755"))
    committed(forge, tree, "mallory")
    ran = push(forge, server)
    assert ran.code == 1
    assert git("rev-parse", "main", cwd=server) == before
    assert git("config", "receive.fsckObjects", cwd=server) == "true"
    git("config", "receive.fsckObjects", "false", cwd=server)
    ran = push(forge, server)
    assert ran.code == 1
    assert "pre-receive hook declined" in ran.err
    assert ": tree: " in ran.err
    assert git("rev-parse", "main", cwd=server) == before


# --- other branches' policies ---------------------------------------------------------------------


def merged(forge: Forge, first: str, second: str, who: str, files: Mapping[str, str | None]) -> str:
    """A merge of two commits, which has what the second has and some files of its own."""
    return committed(forge, tree_with(forge, second, files), who, first, second, message="Merge\n")


@attack("start", victim="esc_one")
def a_merge_whose_first_parent_is_from_before_the_store(forge: Forge) -> None:
    merged(forge, first_of(forge), forge.tip(), "mallory", {ROSTER_FILE: MALLORY})
    approved(forge)


@attack("policies", victim="esc_one")
def a_merge_whose_first_parent_is_the_start_of_the_store(forge: Forge) -> None:
    merged(forge, start_of(forge), forge.tip(), "mallory", {ROSTER_FILE: MALLORY})
    approved(forge)


@attack("start", victim="esc_one")
def a_merge_whose_first_parent_has_no_history(forge: Forge) -> None:
    orphan = written(
        forge,
        "commit",
        f"tree {EMPTY_TREE}\nauthor m <mallory@example.com> 1 +0000\n"
        "committer m <mallory@example.com> 1 +0000\n\nnothing\n".encode(),
    )
    merged(forge, orphan, forge.tip(), "mallory", {ROSTER_FILE: MALLORY})
    approved(forge)


@attack("start", victim="esc_one")
def a_merge_whose_first_parent_is_another_store(forge: Forge) -> None:
    main = forge.tip()
    forge.git("switch", "--quiet", "--orphan", "theirs")
    forge.write(ROSTER_FILE, MALLORY)
    theirs = forge.commit("mallory", "a store of mine")
    forge.git("switch", "--quiet", "main")
    merged(forge, theirs, main, "mallory", {ROSTER_FILE: MALLORY})
    approved(forge)


@attack("dropped", victim="esc_one")
def a_merge_whose_first_parent_is_from_when_somebody_was_admin(forge: Forge) -> None:
    forge.write(ROSTER_FILE, MALLORY)
    once = forge.commit("boss", "a new admin")
    forge.write(ROSTER_FILE, ROSTER)
    main = forge.commit("boss", "who was none")
    merged(forge, once, main, "mallory", {ROSTER_FILE: MALLORY})
    approved(forge)


@attack("policies", victim="esc_one")
def a_merge_of_a_branch_that_was_itself_turned_round(forge: Forge) -> None:
    # The inner merge holds the whole store, but the line does not lead through it.
    main, first = forge.tip(), start_of(forge)
    mine = committed(forge, tree_with(forge, first, {ROSTER_FILE: MALLORY}), "mallory", first)
    inner = merged(forge, mine, main, "mallory", {ROSTER_FILE: MALLORY})
    merged(forge, main, inner, "mallory", {ROSTER_FILE: MALLORY})
    approved(forge)


@attack("policies", victim="esc_one")
def side_policies_that_no_carried_commit_has_changed(forge: Forge) -> None:
    main = forge.tip()
    side = committed(forge, tree_with(forge, main, {"src/x.py": "x\n"}), "mallory")
    merged(forge, main, side, "mallory", {ROSTER_FILE: MALLORY})
    approved(forge)


@attack("merge", victim="esc_one")
def policies_that_a_carried_merge_has_made(forge: Forge) -> None:
    main = forge.tip()
    one = committed(forge, tree_with(forge, main, {"src/x.py": "x\n"}), "mallory", main)
    two = committed(forge, tree_with(forge, main, {"src/y.py": "y\n"}), "mallory", main)
    inner = merged(forge, one, two, "mallory", {"src/x.py": "x\n", ROSTER_FILE: MALLORY})
    moved = _moved(forge, main)
    merged(forge, moved, inner, "mallory", {TWO: git("show", f"{moved}:{TWO}", cwd=forge.path) + "\n"})
    approved(forge)


def _moved(forge: Forge, main: str) -> str:
    """The line after an honest step about another record."""
    forge.git("reset", "--quiet", "--hard", main)
    forge.kt("bob", "note", "--id", "esc_two", "--text", "meanwhile")
    return forge.tip()


@attack("policies", victim="esc_one")
def policies_by_an_admin_of_the_side_branch_alone(forge: Forge) -> None:
    main = forge.tip()
    committed(forge, tree_with(forge, main, {ROSTER_FILE: MALLORY}), "mallory")
    side = committed(
        forge, tree_with(forge, forge.tip(), {SETTINGS_FILE: SETTINGS.replace("approvals: 2", "approvals: 1")}),
        "mallory",
    )  # fmt: skip
    merged(forge, main, side, "mallory", {})
    approved(forge)


def _proposed(forge: Forge, roster: str, **when: int) -> str:
    """A commit of an admin's on a side branch, now or earlier."""
    at = datetime.now(UTC) - timedelta(**when)
    tree = tree_with(forge, forge.tip(), {ROSTER_FILE: roster})
    main, made = forge.tip(), committed(forge, tree, "boss", seconds=int(at.timestamp()))
    forge.git("reset", "--quiet", "--hard", main)
    return made


def _replayed(forge: Forge, landed: str) -> None:
    """An admin's roster lands in another commit and is taken back; then somebody merges the first commit, and approves."""
    once = _proposed(forge, MALLORY)
    for roster, words in ((landed, "a new admin"), (ROSTER, "who was none")):
        forge.write(ROSTER_FILE, roster)
        forge.commit("boss", words)
    merged(forge, forge.tip(), once, "mallory", {})
    approved(forge)


@attack("policies", "the branch has taken back such a change", victim="esc_one")
def policies_that_an_admin_amended_and_took_back_are_merged_as_they_were(forge: Forge) -> None:
    _replayed(forge, MALLORY)


@attack("policies", "the branch has taken back such a change", victim="esc_one")
def policies_that_an_admin_corrected_and_took_back_are_merged_as_they_were(forge: Forge) -> None:
    _replayed(forge, f"{MALLORY}# of the legal team\n")


@attack("policies", "expected it to be merged within 14d", victim="esc_one")
def policies_that_an_admin_proposed_long_ago_are_merged_by_somebody(forge: Forge) -> None:
    once = _proposed(forge, MALLORY, days=15)
    forge.kt("bob", "note", "--id", "esc_two", "--text", "meanwhile")
    merged(forge, forge.tip(), once, "mallory", {ROSTER_FILE: MALLORY, TWO: forge.read(TWO)})
    approved(forge)


def _dismissed_beside(forge: Forge, path: str, text: str | None) -> None:
    """Bob changes a policy file, which the admin accepts; then bob is dismissed, and approves."""
    made = decision(forge, "bob")
    committed(forge, tree_with(forge, forge.tip(), {path: text}), "bob")
    waived(forge, "boss", (forge.tip(), "policies", path))
    forge.write(ROSTER_FILE, ROSTER.replace("[alice, bob]", "[alice]"))
    forge.commit("boss", "bob has left the team")
    committed(forge, tree_with(forge, forge.tip(), made), "bob")


@attack("not_allowed", victim="esc_one")
def a_dismissal_beside_a_root_file_of_somebody_elses(forge: Forge) -> None:
    _dismissed_beside(forge, ".kt.yaml", "root: ''\n")


@attack("not_allowed", victim="esc_one")
def a_dismissal_beside_settings_that_were_removed(forge: Forge) -> None:
    _dismissed_beside(forge, SETTINGS_FILE, None)


@attack("not_allowed", victim="esc_one")
def a_dismissal_beside_a_pack_that_nobody_accepts(forge: Forge) -> None:
    made = decision(forge, "bob")
    committed(forge, tree_with(forge, forge.tip(), {"policies/zzz.yaml": "pack: {enabled: false}\n"}), "bob")
    forge.write(ROSTER_FILE, ROSTER.replace("[alice, bob]", "[alice]"))
    forge.commit("boss", "bob has left the team")
    committed(forge, tree_with(forge, forge.tip(), made), "bob")


@attack("policies", victim="esc_one")
def a_waiver_of_seven_digits(forge: Forge) -> None:
    approved(forge)
    waived(forge, "boss", (forge.tip()[:7], "not_allowed", "queue/esc_one.yaml"))


@attack("policies", victim="esc_one")
def a_policy_that_waives_itself(forge: Forge) -> None:
    forge.write(ROSTER_FILE, MALLORY)
    bad = forge.commit("mallory")
    waived(forge, "mallory", (bad, "policies", ROSTER_FILE))
    waived(
        forge,
        "mallory",
        (bad, "policies", ROSTER_FILE),
        (forge.tip(), "policies", "policies/waivers.yaml"),
    )
    approved(forge)


@attack("policies", victim="esc_one")
def a_waiver_that_was_merged_from_the_side(forge: Forge) -> None:
    approved(forge)
    bad, main = forge.tip(), forge.tip()
    forge.git("reset", "--quiet", "--hard")
    forge.git("switch", "--quiet", "-c", "side")
    forge.write(ROSTER_FILE, MALLORY)
    forge.commit("mallory")
    waived(forge, "mallory", (bad, "not_allowed", "queue/esc_one.yaml"))
    waivers, side = forge.read("policies/waivers.yaml"), forge.tip()
    forge.git("switch", "--quiet", "main")
    committed(forge, tree_with(forge, main, {"src/x.py": "x\n"}), "mallory")
    files: dict[str, str | None] = {"policies/waivers.yaml": waivers}
    committed(forge, tree_with(forge, forge.tip(), files), "mallory", forge.tip(), side)


def waived(forge: Forge, who: str, *accepted: tuple[str, str, str]) -> None:
    """Commit waivers."""
    # Quoted: an id may look like a number.
    lines = [
        f'  - {{commit: "{commit}", rule: {rule}, path: {path}, reason: so be it}}\n'
        for commit, rule, path in accepted
    ]
    files: dict[str, str | None] = {"policies/waivers.yaml": f"waivers:\n{''.join(lines)}"}
    committed(forge, tree_with(forge, forge.tip(), files), who)
    git("reset", "--quiet", "--hard", cwd=forge.path)


def repointed(forge: Forge, who: str, *, first: str | None = None) -> None:
    """Another store below a folder, where all is decided, and a file that sends every clone there."""
    files: dict[str, str | None] = {ROSTER_FILE: MALLORY, SETTINGS_FILE: SETTINGS}
    files |= {path: text for path, text in decision(forge).items() if text is not None}
    elsewhere: dict[str, str | None] = {f"evil/{path}": text for path, text in files.items()}
    if first is not None:
        committed(forge, tree_with(forge, forge.tip(), {".kt.yaml": f"root: {first}\n"}), "boss")
    committed(forge, tree_with(forge, forge.tip(), {**elsewhere, ".kt.yaml": "root: evil\n"}), who)


@attack("root", victim="esc_one")
def a_file_that_sends_clones_to_another_store(forge: Forge) -> None:
    repointed(forge, "mallory")


@attack("root", victim="esc_one")
def a_file_of_an_admins_that_sends_clones_to_another_store(forge: Forge) -> None:
    repointed(forge, "boss")


@attack("root", victim="esc_one")
def a_file_that_sends_clones_from_one_wrong_store_to_another(forge: Forge) -> None:
    repointed(forge, "mallory", first="nowhere")


@attack("policies")
def a_roster_that_is_removed_on_a_branch_an_admin_merges(forge: Forge) -> None:
    # What he brings in by his merge he may have changed himself; this nobody may.
    main = forge.tip()
    side = committed(forge, tree_with(forge, main, {ROSTER_FILE: None}), "bob")
    committed(forge, tree_with(forge, side, {}), "boss", main, side, message="Merge side\n")


@attack("policies")
def settings_that_an_admin_removes(forge: Forge) -> None:
    committed(forge, tree_with(forge, forge.tip(), {SETTINGS_FILE: None}), "boss")


@attack("policies")
def a_roster_that_an_admin_removes(forge: Forge) -> None:
    committed(forge, tree_with(forge, forge.tip(), {ROSTER_FILE: None}), "boss")


# --- carried commits, words -----------------------------------------------------------------------


@attack("merge", victim="esc_one")
def a_decision_that_only_a_carried_merge_has(forge: Forge) -> None:
    main = forge.tip()
    made = decision(forge, "alice")
    one = committed(forge, tree_with(forge, main, {"src/x.py": "x\n"}), "mallory", main)
    two = committed(forge, tree_with(forge, main, {"src/y.py": "y\n"}), "mallory", main)
    inner = merged(forge, one, two, "mallory", {"src/x.py": "x\n", **made})
    moved = _moved(forge, main)
    merged(forge, moved, inner, "mallory", {TWO: git("show", f"{moved}:{TWO}", cwd=forge.path) + "\n"})


@attack("merge", victim="esc_one")
def a_decision_that_comes_out_of_nowhere(forge: Forge) -> None:
    main, made = forge.tip(), decision(forge, "alice")
    side = committed(forge, tree_with(forge, main, {"src/x.py": "x\n"}), "mallory")
    merged(forge, main, side, "alice", made)


@attack("not_claimed", victim="esc_one")
def a_squash_of_two_peoples_steps(forge: Forge) -> None:
    forge.kt("alice", "note", "--id", "esc_one", "--text", "hm")
    forge.kt("bob", "claim", "--id", "esc_one")
    forge.kt("bob", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    forge.git("reset", "--quiet", "--soft", "HEAD~3")
    forge.commit("bob", "all in one (#7)")


@attack("not_allowed", victim="esc_one")
def a_carried_step_by_somebody_who_may_no_longer(forge: Forge) -> None:
    side = _side(forge, "bob")
    forge.write(ROSTER_FILE, ROSTER.replace("[alice, bob]", "[alice]"))
    forge.commit("boss", "bob has left the team")
    forge.git("merge", "--quiet", "--no-ff", "-m", "Merge", side, who="alice")


def _side(forge: Forge, who: str, name: str = "one", outcome: str = "approved") -> str:
    """A branch on which somebody decides."""
    forge.git("switch", "--quiet", "-c", f"side-{who}")
    forge.kt(who, "claim", "--id", f"esc_{name}")
    forge.kt(who, "resolve", "--id", f"esc_{name}", "--outcome", outcome, "--reason", "as I see it")
    side = forge.tip()
    forge.git("switch", "--quiet", "main")
    return side


WORDS = "kt: resolve esc_one as approved\n\nKt-Action: resolve\nKt-Escalation: esc_one\nKt-Actor: alice\n"


def said(forge: Forge, message: str | bytes, encoding: str = "", who: str = "alice") -> None:
    """A commit without changes that says something."""
    tree = tree_with(forge, forge.tip(), {})
    committed(forge, tree, who, message=message, encoding=encoding)


@attack("message")
def an_empty_commit_that_says_it_was_approved(forge: Forge) -> None:
    said(forge, f"{WORDS}Kt-Outcome: approved\n")


@attack("message")
def a_subject_alone_that_says_it_was_approved(forge: Forge) -> None:
    said(forge, "kt: resolve esc_one as approved (#12)\n")


@attack("message")
def an_empty_merge_that_says_it_was_approved(forge: Forge) -> None:
    main = forge.tip()
    side = committed(forge, tree_with(forge, main, {"src/x.py": "x\n"}), "mallory")
    committed(forge, tree_with(forge, side, {}), "alice", main, side, message=WORDS)


@attack("message", victim="esc_one")
def an_outcome_in_small_letters_that_contradicts_the_record(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no")
    forge.commit("alice", "no\n\nkt-action: resolve\nkt-escalation: esc_one\nkt-outcome: approved")


@attack("message")
def words_of_a_store_that_is_named_by_nothing(forge: Forge) -> None:
    said(forge, "kt: resolve esc_one as approved\n\nKt-Root:\n")


@attack("message")
def words_of_a_store_that_is_named_by_a_dot(forge: Forge) -> None:
    said(forge, "kt: resolve esc_one as approved\n\nKt-Root: .\n")


@attack("message")
def words_of_a_store_that_is_named_by_a_path_to_the_top(forge: Forge) -> None:
    said(forge, "kt: resolve esc_one as approved\n\nKt-Root: ./\n")


@attack("message")
def words_of_a_store_in_one_of_two_folders(forge: Forge) -> None:
    said(forge, "kt: resolve esc_one as approved\n\nKt-Root: ./\nKt-Root: elsewhere\n")


@attack("message")
def words_of_many_at_once(forge: Forge) -> None:
    said(forge, "kt: resolve 3 escalations as approved\n")


@attack("message")
def an_outcome_that_is_none(forge: Forge) -> None:
    _denied(forge)
    forge.git("commit", "--quiet", "--amend", "-m", "kt: resolve esc_one as allowed", who="alice")


@attack("message")
def an_action_in_mixed_letters(forge: Forge) -> None:
    said(forge, "well\n\nkT-aCtIoN: resolve\nkt-ESCALATION: esc_one\nKT-Outcome: approved\n")


@attack("message")
def an_escalation_in_the_middle_of_a_text(forge: Forge) -> None:
    said(forge, "well\n\nKt-Action: resolve\nKt-Escalation: esc_one\nKt-Outcome: approved\n\nand so on\n")


@attack("message")
def one_step_and_the_words_of_another(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    words = WORDS.replace("esc_one", "esc_two").partition("\n\n")[2]
    forge.commit("alice", f"{WORDS}Kt-Outcome: approved\n{words}Kt-Outcome: approved")


@attack("merge")
def a_record_that_a_merge_leaves_out(forge: Forge) -> None:
    main = forge.tip()
    side = committed(forge, tree_with(forge, main, {"src/x.py": "x\n"}), "mallory")
    merged(forge, main, side, "mallory", {TWO: None})


#: What some program that shows a message takes for the end of a line.
SEPARATORS = {
    "a carriage return": "\r",
    "a vertical tab": "\v",
    "a form feed": "\f",
    "a record separator": "\x1e",
    "a next line": "\x85",
    "a line separator": "\u2028",
    "a paragraph separator": "\u2029",
}
HIDDEN = "well{0}Kt-Action: resolve{0}Kt-Escalation: esc_one{0}Kt-Outcome: approved"


@pytest.mark.parametrize("name", SEPARATORS)
def test_words_behind_what_ends_a_line_for_somebody_are_heard(forge: Forge, called: str, name: str) -> None:
    server = serve(forge)
    said(forge, HIDDEN.format(SEPARATORS[name]) + "\n")
    found_by_all(forge, server, Attack("message", "", lambda _: None, None), called)


@pytest.mark.parametrize(("encoding", "codec"), [("IBM037", "cp037"), ("IBM500", "cp500")])
def test_words_in_an_encoding_that_git_log_reads_are_heard(
    forge: Forge, called: str, encoding: str, codec: str
) -> None:
    server = serve(forge)
    said(forge, f"well\n\n{WORDS}".encode(codec), encoding)
    # git's own log shows them (git documentation, i18n.commitEncoding).
    assert "Kt-Action: resolve" in git("log", "-1", "--format=%B", cwd=forge.path)
    found_by_all(forge, server, Attack("message", "", lambda _: None, None), called)


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if name.lower() not in READABLE])
def test_a_commit_in_an_encoding_that_nobody_can_be_sure_of_is_refused(
    forge: Forge, called: str, encoding: str
) -> None:
    server = serve(forge)
    # What git showed before is not taken for what this one says.
    committed(forge, tree_with(forge, forge.tip(), {}), "bob", message="words of somebody else\n")
    said(forge, "tidy up\n", encoding)
    found_by_all(forge, server, Attack("message", repr(encoding), lambda _: None, None), called)
    [found] = kt("verify", "--afresh", "--json", cwd=forge.path).json["violations"]
    assert (found["commit"], found["author"]) == (forge.tip(), "")


def raw_commit(
    forge: Forge, head: str, body: bytes = b"\ntidy up\n", files: Mapping[str, str | None] | None = None
) -> None:
    """A commit whose headers behind its parent are these."""
    above = f"tree {tree_with(forge, forge.tip(), files or {})}\nparent {forge.tip()}\n"
    git("update-ref", "HEAD", written(forge, "commit", above.encode() + head.encode() + body), cwd=forge.path)


BY = {who: f"{who} <{who}@example.com> 1795000000 +0000" for who in ("alice", "bob")}
#: Headers that are read in one way here and in another there, and why nobody can say what they mean.
READ_IN_TWO_WAYS = {
    "two authors": (f"author {BY['bob']}\ncommitter {BY['alice']}\nauthor {BY['alice']}\n", "several headers `author`"),
    "two committers": (f"author {BY['bob']}\ncommitter {BY['bob']}\ncommitter {BY['alice']}\n", "several headers `committer`"),
    "a second date of thousands of digits": (
        f"author {BY['bob']}\ncommitter {BY['bob']}\ncommitter {BY['bob'].replace('1795', '1795' * 1100)}\n",
        "several headers `committer`",
    ),
    "two encodings": (
        f"author {BY['bob']}\ncommitter {BY['bob']}\nencoding UTF-8\nencoding UTF-7\n", "several headers `encoding`",
    ),
    "two addresses": (
        f"author bob <bob@example.com> <alice@example.com> 1795000000 +0000\ncommitter {BY['bob']}\n", "several addresses",
    ),
    "an encoding that git looks for in many places": (
        f"author {BY['bob']}\ncommitter {BY['bob']}\nencoding {'/x' * 300_000}\n", "it names the encoding '/x/x",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ_IN_TWO_WAYS)
def test_a_commit_that_is_read_in_two_ways_is_refused(forge: Forge, called: str, name: str) -> None:
    head, why = READ_IN_TWO_WAYS[name]
    server = serve(forge)
    raw_commit(forge, head)
    found_by_all(forge, server, Attack("message", why, lambda _: None, None), called)


@attack("message", "several headers `author`", victim="esc_one")
def an_approval_by_whom_of_two_one_likes(forge: Forge) -> None:
    approved(forge, "alice")
    head, _, text = git("cat-file", "commit", "HEAD", cwd=forge.path).partition("\nauthor ")
    one, _, rest = text.partition("\n")
    data = f"{head}\nauthor {one}\nauthor {one.replace('alice', 'mallory')}\n{rest}\n".encode()
    git("update-ref", "HEAD", written(forge, "commit", data), cwd=forge.path)


@pytest.mark.parametrize("body", [b"", b"\nwords\n\0more words\n"], ids=["no end", "a NUL"])
def test_a_commit_whose_text_ends_elsewhere_for_others_is_refused(
    forge: Forge, called: str, body: bytes
) -> None:
    server = serve(forge)
    raw_commit(forge, f"author {BY['bob']}\ncommitter {BY['bob']}\n", body)
    found_by_all(forge, server, Attack("message", "", lambda _: None, None), called)


APPROVED = (
    "kt: resolve esc_one as approved\n\nKt-Action: resolve\nKt-Escalation: esc_one\nKt-Outcome: approved\n"
)
#: Words that a terminal, a browser or git itself shows, though no line is just them.
DISGUISED = {
    "a colour": f"well\n\n\x1b[m{APPROVED}",
    "a colour between": APPROVED.replace("kt:", "k\x1b[0mt:").replace("Kt-", "K\x1b[0mt-"),
    "a colour of one byte": APPROVED.replace("kt:", "\u009b0mkt:").replace("Kt-", "\u009b0mKt-"),
    "a link": APPROVED.replace("kt:", "\x1b]8;;http://x\x1b\\kt:").replace("Kt-", "\x1b]8;;http://x\x07Kt-"),
    "a backspace": APPROVED.replace("kt:", "x\bkt:").replace("Kt-", "x\bKt-"),
    "a unit separator": APPROVED.replace("kt:", "k\x1ft:").replace("Kt-", "Kt\x1f-"),
    "a file separator": APPROVED.replace("kt:", "kt\x1c:").replace("Kt-", "Kt\x1c-"),
    "a carriage return": APPROVED.replace("kt:", "hi\rkt:").replace("Kt-", "hi\rKt-"),
    "a wide blank line": "kt:\n\u3000\nresolve esc_one as approved\n",
    "a folded outcome": "well\n\nKt-Outcome:\n approved\n",
    "the end of a folded outcome": "well\n\nKt-Action: claim\n resolve\n",
}


@pytest.mark.parametrize("name", DISGUISED)
def test_words_are_heard_whatever_moves_them(forge: Forge, called: str, name: str) -> None:
    server = serve(forge)
    said(forge, DISGUISED[name])
    found_by_all(forge, server, Attack("message", "", lambda _: None, None), called)


@pytest.mark.parametrize(
    "words", ["a red \x1b[31mword\x1b[m\n", "two\r\nlines\r\n", "a page\x0cand one\n", "✔\ufe0f kt is nice\n"]
)
def test_people_may_write_what_moves_a_cursor(forge: Forge, words: str) -> None:
    server = serve(forge)
    said(forge, words)
    assert_legal(forge, server)


def test_no_name_of_a_merge_costs_more_than_reading_it() -> None:
    assert not messages.is_pull(f"Merge {':' * 60_000} x", "main")
    assert messages.is_pull(f"Merge {':' * 60_000}", "main")


#: Headers of nobody, and a body.
BY_NOBODY = f"author {BY['bob']}\nauthor {BY['alice']}\ncommitter {BY['alice']}\n"


def begun(folder: Path) -> Forge:
    """A store that has just begun, without a roster."""
    made = Forge.__new__(Forge)
    made.path = folder / "store"
    made.path.mkdir()
    made.git("init", "--quiet", "-b", "main")
    assert kt("init", cwd=made.path, env=identity("boss")).code == 0
    assert not (made.path / ROSTER_FILE).exists()
    return made


def test_nobody_changes_policies_where_everybody_may(tmp_path: Path) -> None:
    made = begun(tmp_path)
    raw_commit(made, BY_NOBODY, b"\nwho we are\n", {ROSTER_FILE: MALLORY})
    assert rules_of(made) == ["message", "policies"]
    made.git("reset", "--quiet", "--hard")
    made.write(ROSTER_FILE, ROSTER)
    made.commit("boss", "who we are")
    assert rules_of(made) == ["message", "policies"], "nobody's has never come into force"


def test_a_store_is_begun_by_somebody(tmp_path: Path) -> None:
    made = begun(tmp_path)
    data = f"tree {made.git('rev-parse', 'HEAD^{tree}')}\n{BY_NOBODY}\na store\n".encode()
    git("update-ref", "HEAD", written(made, "commit", data), cwd=made.path)
    assert rules_of(made, "--afresh") == ["message"]


def test_a_squash_of_what_is_read_in_two_ways_is_refused(forge: Forge) -> None:
    base = forge.tip()
    raw_commit(forge, BY_NOBODY)
    for method in ("merge", "squash", "rebase"):
        ran = kt("check", f"{base}..HEAD", "--method", method, "--json", cwd=forge.path)
        assert ran.code == 1, ran.out
        assert [found["rule"] for found in ran.json["violations"]] == ["message"]


@pytest.mark.parametrize("address", ["", "whoever merges"])
def test_who_has_no_address_is_not_who_sent_it(forge: Forge, address: str) -> None:
    base = forge.tip()
    tree = tree_with(forge, base, {"policies/policy-config.yaml": "pack: {enabled: true}\n# more\n"})
    at = "1795000000 +0000"
    data = (
        f"tree {tree}\nparent {base}\nauthor boss <{address}> {at}\ncommitter boss <{address}> {at}\n\nmore\n"
    )
    git("update-ref", "HEAD", written(forge, "commit", data.encode()), cwd=forge.path)
    ran = kt("check", f"{base}..HEAD", "--json", "--actor-from", "WHO", cwd=forge.path, env={"WHO": "boss"})
    assert "pusher" in [found["rule"] for found in ran.json["violations"]]


def test_a_date_of_thousands_of_digits_is_in_the_future(forge: Forge, called: str) -> None:
    server = serve(forge)
    raw_commit(forge, f"author {BY['bob']}\ncommitter {BY['bob'].replace('1795', '1795' * 1100)}\n")
    refused = offer(forge, server)
    assert (refused.code, "a commit no later than now" in refused.err) == (1, True), refused.err
    ran = kt("verify", "--afresh", "--json", cwd=forge.path)
    assert (ran.code, ran.err) == (0, ""), "it does nothing"
    forge.edit(TWO, ("severity: critical", "severity: low"))
    forge.commit("alice")
    assert rules_of(forge, "--afresh") == ["transition"]


@pytest.mark.parametrize(
    "unseen", ["\ufe0f", "\u034f", "\u115f", "\u3164", "\U000e0100", "\U000e0fff", "\u200b"]
)
def test_words_with_what_nobody_sees_in_them_are_heard(forge: Forge, called: str, unseen: str) -> None:
    server = serve(forge)
    said(forge, WORDS.replace("kt:", f"k{unseen}t:").replace("Kt-", f"Kt{unseen}-"))
    found_by_all(forge, server, Attack("message", "", lambda _: None, None), called)


@pytest.mark.parametrize("letter", ["x", "\U0001f600"])
def test_a_long_message_may_state_nothing(forge: Forge, called: str, letter: str) -> None:
    server = serve(forge)
    said(forge, f"well\n\n{letter * 200_000}\n")
    assert_legal(forge, server)
    said(forge, f"well\n\n{letter * 200_000}\n\nKt-Action: claim\n")
    found_by_all(forge, server, Attack("message", "more than 64 KiB", lambda _: None, None), called)


def test_of_very_many_false_statements_some_are_told(forge: Forge) -> None:
    said(forge, "well\n\n" + "".join(f"Kt-Action: {number}\n" for number in range(2_000)))
    assert rules_of(forge, "--afresh") == ["message"] * 10


@pytest.mark.parametrize("encoding", sorted(READABLE))
def test_words_in_an_old_encoding_are_heard(forge: Forge, called: str, encoding: str) -> None:
    server = serve(forge)
    said(forge, f"w\u00e9ll\n\n{WORDS}".encode(encoding or "utf-8", "replace"), encoding)
    found_by_all(forge, server, Attack("message", "Kt-Action", lambda _: None, None), called)


@pytest.mark.parametrize(
    ("encoding", "words"),
    [("ISO-8859-1", "déjà vu"), ("EUC-JP", "日本"), ("windows-1251", "слово"), ("Big5", "中文")],
)
def test_people_may_write_in_the_encodings_of_their_countries(
    forge: Forge, encoding: str, words: str
) -> None:
    server = serve(forge)
    said(forge, f"{words}\n".encode(encoding), encoding)
    assert_legal(forge, server)
    repository = Repository(forge.path)
    *_, newest = repository.headers(["HEAD"])
    repository.objects.close()
    assert (newest.message, newest.unread) == (f"{words}\n", "")


# --- the order of parents, damage and restoration -------------------------------------------------


@attack("dropped", victim="esc_one")
def a_merge_whose_order_of_parents_drops_a_denial(forge: Forge) -> None:
    side = _side(forge, "bob")
    main = _denied(forge)
    git("update-ref", "HEAD", side, cwd=forge.path)
    mine = git("ls-tree", "-r", "--name-only", side, "queue", cwd=forge.path).splitlines()
    [path] = [name for name in mine if name.endswith("esc_one.yaml")]
    text = git("show", f"{side}:{path}", cwd=forge.path) + "\n"
    committed(forge, tree_with(forge, main, {path: text}), "bob", side, main, message="Merge main\n")


def _denied(forge: Forge) -> str:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.kt("alice", "resolve", "--id", "esc_one", "--outcome", "denied", "--reason", "no")
    return forge.tip()


@attack("dropped", victim="esc_one")
def a_removal_taken_back_on_the_way_into_a_merge(forge: Forge) -> None:
    # Seen from when he was admin, who was removed changes the roster back rightly, and nothing is left to explain.
    forge.write(ROSTER_FILE, MALLORY)
    once = forge.commit("boss", "a new admin")
    forge.write(ROSTER_FILE, ROSTER)
    main = forge.commit("boss", "who was none")
    side = committed(forge, tree_with(forge, main, {ROSTER_FILE: MALLORY}), "mallory", main)
    merged(forge, once, side, "mallory", {"queue/.gitkeep": ""})
    approved(forge)


@attack("dropped", victim="esc_one")
def a_denial_taken_back_on_the_way_into_a_merge(forge: Forge) -> None:
    # The record is at last as it was at first: then nothing of it differs.
    base, old = forge.tip(), forge.read(ONE)
    main = _denied(forge)
    side = committed(forge, tree_with(forge, main, {forge.resolved("one"): None, ONE: old}), "mallory", main)
    merged(forge, base, side, "mallory", {"queue/.gitkeep": ""})
    approved(forge, "bob")


@attack("dropped", victim="esc_one")
def a_denial_that_an_inner_merge_drops(forge: Forge) -> None:
    # The outer merge takes all of the inner one, and that took of the record what one of its parents has.
    base = forge.tip()
    side = _side(forge, "bob")
    main = _denied(forge)
    inner = committed(forge, tree_with(forge, side, {}), "mallory", main, side, message="Merge\n")
    merged(forge, base, inner, "mallory", {"queue/.gitkeep": ""})


@attack("dropped", victim="esc_one")
def a_denial_that_an_inner_merge_drops_beside_an_honest_step(forge: Forge) -> None:
    base = forge.tip()
    side = _side(forge, "bob")
    main = _denied(forge)
    inner = committed(forge, tree_with(forge, side, {}), "mallory", main, side, message="Merge\n")
    moved = _moved(forge, base)
    text = git("show", f"{moved}:{TWO}", cwd=forge.path) + "\n"
    merged(forge, moved, inner, "mallory", {TWO: text})


@attack("dropped", victim="esc_one")
def a_denial_that_a_merge_dropped_which_the_line_goes_past(forge: Forge) -> None:
    # The inner merge alone would be refused; the outer one has nothing of it on its line.
    base = forge.tip()
    denial = _denied(forge)
    forge.git("reset", "--quiet", "--hard", base)
    side = _side(forge, "bob")
    inner = committed(forge, tree_with(forge, base, {}), "mallory", base, denial, message="Merge\n")
    committed(forge, tree_with(forge, side, {}), "mallory", inner, side, message="Merge\n")


@attack("dropped", victim=None)
def a_removal_that_a_merge_dropped_which_the_line_goes_past(forge: Forge) -> None:
    forge.write(ROSTER_FILE, MALLORY)
    base = forge.commit("boss", "a new admin")
    forge.write(ROSTER_FILE, ROSTER)
    removal = forge.commit("boss", "who is one no more")
    forge.git("reset", "--quiet", "--hard", base)
    side = _moved(forge, base)
    inner = committed(forge, tree_with(forge, base, {}), "bob", base, removal, message="Merge\n")
    committed(forge, tree_with(forge, side, {}), "bob", inner, side, message="Merge\n")


@attack("merge", victim="esc_one")
def a_merge_that_takes_all_of_the_other_side(forge: Forge) -> None:
    side = _side(forge, "bob")
    main = _denied(forge)
    committed(forge, tree_with(forge, side, {}), "bob", main, side, message="Merge side\n")


@attack("dropped", victim="esc_one")
def a_merge_that_keeps_what_was_denied_elsewhere_open(forge: Forge) -> None:
    # The denial came in by nobody's choice but that of who merged: it is dropped, and then decided anew.
    forge.git("switch", "--quiet", "-c", "denial")
    denial = _denied(forge)
    forge.git("switch", "--quiet", "main")
    forge.kt("bob", "note", "--id", "esc_two", "--text", "meanwhile")
    main = forge.tip()
    committed(forge, tree_with(forge, main, {}), "bob", main, denial, message="Merge denial\n")
    git("reset", "--quiet", "--hard", cwd=forge.path)
    forge.git("reset", "--quiet", "--hard")
    committed(forge, tree_with(forge, forge.tip(), decision(forge, "bob")), "bob")


@attack("restore", victim="esc_one")
def a_denial_undone_by_damage_and_an_older_state(forge: Forge) -> None:
    old = forge.read(ONE)
    _denied(forge)
    path = forge.resolved("one")
    committed(forge, tree_with(forge, forge.tip(), {path: "broken\n"}), "mallory")
    committed(forge, tree_with(forge, forge.tip(), {path: None, ONE: old}), "boss")
    git("reset", "--quiet", "--hard", cwd=forge.path)
    committed(forge, tree_with(forge, forge.tip(), decision(forge, "bob")), "bob")


@attack("restore", victim="esc_one")
def a_decision_about_a_damaged_record(forge: Forge) -> None:
    committed(
        forge, tree_with(forge, forge.tip(), {ONE: forge.read(ONE).replace("medium", "low")}), "mallory"
    )
    git("reset", "--quiet", "--hard", cwd=forge.path)
    approved(forge, "alice")


@attack("duplicate_file", victim="esc_done")
def two_files_of_one_id_in_two_folders(forge: Forge) -> None:
    path = forge.resolved("done")
    day = re.search(r"\d{4}/\d\d/\d\d", path)
    assert day
    earlier = datetime.strptime(day[0], "%Y/%m/%d") - timedelta(days=1)
    text = forge.read(path).replace("denied", "approved")
    text = text.replace(day[0].replace("/", "-"), f"{earlier:%Y-%m-%d}")
    committed(
        forge,
        tree_with(forge, forge.tip(), {path.replace(day[0], f"{earlier:%Y/%m/%d}"): text}),
        "mallory",
    )


@attack("merge", victim="esc_one")
def an_octopus_that_brings_a_decision(forge: Forge) -> None:
    side = _side(forge, "bob")
    main = forge.tip()
    other = committed(forge, tree_with(forge, main, {"src/x.py": "x\n"}), "mallory")
    forge.git("reset", "--quiet", "--hard", main)
    moved = committed(forge, tree_with(forge, main, {"src/z.py": "z\n"}), "mallory")
    whole = tree_with(forge, side, {"src/x.py": "x\n", "src/z.py": "z\n"})
    committed(forge, whole, "alice", moved, side, other, message="Merge both\n")


@attack("dropped", victim="esc_one")
def an_octopus_for_which_a_denial_was_taken_back_on_the_way(forge: Forge) -> None:
    base, old = forge.tip(), forge.read(ONE)
    other = committed(forge, tree_with(forge, base, {"src/x.py": "x\n"}), "mallory")
    forge.git("reset", "--quiet", "--hard", base)
    main = _denied(forge)
    side = committed(forge, tree_with(forge, main, {forge.resolved("one"): None, ONE: old}), "mallory", main)
    committed(
        forge, tree_with(forge, base, {"src/x.py": "x\n"}), "mallory", base, side, other, message="Merge\n"
    )
    git("reset", "--quiet", "--hard", cwd=forge.path)
    approved(forge, "bob")


@attack("already_reopened")
def two_reopenings_in_one_commit(forge: Forge) -> None:
    base = forge.tip()
    forge.kt("alice", "reopen", "--id", "esc_done", "--reason", "again")
    [path] = git("diff", "--name-only", base, "HEAD", cwd=forge.path).splitlines()
    name = "esc_01zzzzzzzzzzzzzzzzzzzzzzzz"
    text = forge.read(path).replace(path.removeprefix("queue/").removesuffix(".yaml"), name)
    tree = tree_with(forge, forge.tip(), {f"queue/{name}.yaml": text})
    at = int(git("log", "-1", "--format=%ct", cwd=forge.path))
    forge.git("reset", "--quiet", "--hard", base)
    committed(forge, tree, "alice", seconds=at)


@attack("already_reopened")
def two_reopenings_that_one_merge_brings(forge: Forge) -> None:
    # Each was the only one where it was made.
    main = forge.tip()
    sides = []
    for who in ("alice", "bob"):
        forge.kt(who, "reopen", "--id", "esc_done", "--reason", "again")
        sides.append(forge.tip())
        forge.git("reset", "--quiet", "--hard", main)
    [path] = git("diff", "--name-only", main, sides[0], cwd=forge.path).splitlines()
    text = git("show", f"{sides[0]}:{path}", cwd=forge.path) + "\n"
    inner = merged(forge, *sides, "alice", {path: text})
    moved = _moved(forge, main)
    text = git("show", f"{moved}:{TWO}", cwd=forge.path) + "\n"
    merged(forge, moved, inner, "alice", {TWO: text})


# --- time -----------------------------------------------------------------------------------------


@attack("time", victim="esc_one")
def a_decision_in_2099(forge: Forge) -> None:
    committed(forge, tree_with(forge, forge.tip(), decision(forge, "alice")), "alice", seconds=FAR)


@attack("time", victim="esc_one")
def a_merge_in_2099_of_a_decision(forge: Forge) -> None:
    main = forge.tip()
    side = _side(forge, "alice")
    moved = _moved(forge, main)
    text = git("show", f"{moved}:{TWO}", cwd=forge.path) + "\n"
    committed(forge, tree_with(forge, side, {TWO: text}), "alice", moved, side, seconds=FAR)


@attack("deadline")
def an_expiry_that_is_early_within_the_tolerance(forge: Forge) -> None:
    forge.write(SETTINGS_FILE, "rules: [{match: {severity: critical}, resolve_within: 90s}]\n")
    forge.commit("boss")
    forge.raised("new", severity="critical")
    with clocked(forge, "carol", seconds=91) as store:
        store.sweep()
    forge.git("reset", "--quiet", "--soft", "HEAD^")
    forge.commit("carol", "too late")


def clocked(forge: Forge, who: str, **span: int) -> Store:
    """The store as somebody opens it, with a clock that is off by so much."""
    for key, value in identity(who).items():
        if key.startswith("GIT_AUTHOR_"):
            forge.git("config", f"user.{key.removeprefix('GIT_AUTHOR_').lower()}", value)
    off = timedelta(**span)
    return Store.open(forge.path, clock=lambda: datetime.now(UTC) + off)


def _old_proposal(forge: Forge, days: int, propose: Callable[[Store], object]) -> str:
    """A branch of some days ago, with a record as old, from which the line has moved on."""
    with clocked(forge, "gw", days=-days) as store:
        store.create(request_id="old", reason_code="a.b")
    forge.git("switch", "--quiet", "-c", "proposal")
    with clocked(forge, "alice", days=-days, seconds=1) as store:
        propose(store)
    side = forge.tip()
    forge.git("switch", "--quiet", "main")
    forge.kt("bob", "note", "--id", "esc_two", "--text", "meanwhile")
    return side


@attack("time")
def a_claim_that_is_merged_after_its_lease(forge: Forge) -> None:
    side = _old_proposal(forge, 2, lambda store: store.claim("esc_old"))
    forge.git("merge", "--quiet", "--no-ff", "-m", "Merge", side, who="mallory")


@attack("time", victim="esc_old")
def a_decision_that_is_merged_long_after_its_author_took_it_back(forge: Forge) -> None:
    def decide(store: Store) -> None:
        store.claim("esc_old")
        store.resolve("esc_old", "approved", "ok")

    side = _old_proposal(forge, 20, decide)
    forge.git("merge", "--quiet", "--no-ff", "-m", "Merge", side, who="mallory")


@attack("time", victim="esc_old")
def a_decision_taken_back_that_somebody_has_committed_anew(forge: Forge) -> None:
    # The author stays, and the committer's date is of today, as after `git rebase --force-rebase`.
    def decide(store: Store) -> None:
        store.claim("esc_old")
        store.resolve("esc_old", "approved", "ok")

    side = _old_proposal(forge, 20, decide)
    base = forge.git("merge-base", "main", side)
    forge.git("switch", "--quiet", "proposal")
    forge.git("rebase", "--quiet", "--force-rebase", base, who="mallory")
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--no-ff", "-m", "Merge", "proposal", who="mallory")


# --- ids ------------------------------------------------------------------------------------------


def _reborn(forge: Forge, who: str, *args: str, new: str) -> None:
    """Something that is raised by kt, and then called otherwise."""
    was = set(git("ls-files", "queue", cwd=forge.path).splitlines())
    forge.as_kt_does(who, *args)
    [path] = set(git("ls-files", "queue", cwd=forge.path).splitlines()) - was
    text = forge.read(path).replace(path.removeprefix("queue/").removesuffix(".yaml"), new)
    (forge.path / path).unlink()
    forge.write(f"queue/{new}.yaml", text)
    forge.commit(who, "raise")


@attack("bad_input", "which only a request_id makes")
def a_reopening_that_takes_the_id_of_a_request_to_come(forge: Forge) -> None:
    _reborn(forge, "alice", "reopen", "--id", "esc_done", "--reason", "again", new="esc_invoice-7")


@attack("invalid_creation")
def a_request_that_takes_the_id_of_a_digest(forge: Forge) -> None:
    name = f"h{'0' * 40}"
    forge.as_kt_does("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    text = forge.read("queue/esc_new.yaml").replace("esc_new", f"esc_{name}")
    text = text.replace("request_id: new", f"request_id: {name}")
    (forge.path / "queue/esc_new.yaml").unlink()
    forge.write(f"queue/esc_{name}.yaml", text)
    forge.commit("gw", "raise")


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_found_by_all_and_releases_nothing(forge: Forge, name: str) -> None:
    server = serve(forge)
    tried = ATTACKS[name]
    tried.make(forge)
    found_by_all(forge, server, tried, name)


# --- signatures and names -------------------------------------------------------------------------


def unsigned(signed: Forge) -> None:
    signed.git("config", "commit.gpgsign", "false")


def test_a_carried_commit_in_anothers_name_is_asked_for_its_signature(signed: Forge, called: str) -> None:
    server = serve(signed)
    unsigned(signed)
    side = _side(signed, "alice")
    signed.kt("bob", "note", "--id", "esc_two", "--text", "unsigned as well")
    signed.git("reset", "--quiet", "--hard", "HEAD^")
    signed.write("src/x.py", "x\n")
    signed.commit("mallory", "something else")
    signed.git("merge", "--quiet", "--no-ff", "-m", "Merge", side, who="mallory")
    found_by_all(signed, server, Attack("unsigned", "", lambda _: None, "esc_one"), called)


@pytest.mark.parametrize("moved", [False, True], ids=["the line stands", "the line has moved"])
def test_a_merge_that_acts_in_an_admins_name_is_asked_for_its_signature(
    signed: Forge, called: str, moved: bool
) -> None:
    server = serve(signed)
    unsigned(signed)
    signed.git("switch", "--quiet", "-c", "side")
    signed.write("policies/policy-config.yaml", "pack: {enabled: false}\n")
    signed.commit("mallory")
    signed.git("switch", "--quiet", "main")
    if moved:
        signed.write("src/x.py", "x\n")
        signed.commit("mallory", "something else")
        sign_as(signed, "boss")
        signed.write(SETTINGS_FILE, f"{SETTINGS.replace('1h', '2h')}signatures: required\n")
        signed.commit("boss", "another lease")
        unsigned(signed)
    signed.git("merge", "--quiet", "--no-ff", "-m", "Merge", "side", who="boss")
    found_by_all(signed, server, Attack("unsigned", "", lambda _: None, None), called)


@pytest.mark.parametrize("kind", ["empty", "merge"])
def test_a_commit_of_2099_that_does_nothing_stops_no_store(signed: Forge, kind: str) -> None:
    server = serve(signed)
    main = signed.tip()
    tree = tree_with(signed, main, {"src/x.py": "x\n"})
    side = committed(signed, tree, "mallory") if kind == "merge" else None
    if side:
        committed(signed, tree, "mallory", main, side, seconds=FAR)
    else:
        committed(signed, tree_with(signed, main, {}), "mallory", seconds=FAR)
    signed.git("reset", "--quiet", "--hard")
    # Whoever keeps the door does not let it in,
    assert offer(signed, server).code == 1
    checked = kt("check", f"{main}..HEAD", "--json", cwd=signed.path)
    assert [found["rule"] for found in checked.json["violations"]] == ["time"]
    # but where it is in, people go on.
    sign_as(signed, "alice")
    signed.kt("alice", "claim", "--id", "esc_one")
    signed.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    assert rules_of(signed, "--afresh") == []
    assert kt("wait", "--id", "esc_one", cwd=signed.path).code == 0


# --- what is kept in mind, refs, and git's settings -----------------------------------------------


def test_a_wait_does_not_make_verify_pass_over_what_it_has_not_judged(forge: Forge) -> None:
    forge.edit(TWO, ("severity: critical", "severity: low"))
    bad = forge.commit("alice")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    for _ in range(2):
        assert kt("wait", "--id", "esc_one", cwd=forge.path).code == 0
    found = kt("verify", "--json", cwd=forge.path).json["violations"]
    assert [(violation["commit"], violation["rule"]) for violation in found] == [(bad, "transition")]


def test_a_wait_judges_what_an_earlier_one_for_another_record_passed_over(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    forge.raised("late")
    approved(forge, name="late")
    assert kt("wait", "--id", "esc_one", cwd=forge.path).code == 0
    assert kt("wait", "--id", "esc_late", cwd=forge.path).code == 6


def test_what_was_waived_releases_nothing(forge: Forge) -> None:
    approved(forge)
    bad = forge.tip()
    path = "queue/esc_one.yaml"
    for found in kt("verify", "--json", cwd=forge.path).json["violations"]:
        assert (found["commit"], found["rule"]) == (bad, "not_allowed")
        path = found["path"]
    git("reset", "--quiet", "--hard", cwd=forge.path)
    waived(forge, "boss", (bad, "not_allowed", path))
    ran = kt("verify", "--json", cwd=forge.path)
    assert ran.code == 0
    assert len(ran.json["waived"]) == 1
    assert kt("wait", "--id", "esc_one", cwd=forge.path).code == 6


def test_a_tag_named_like_the_branch_hides_nothing(forge: Forge) -> None:
    forge.git("branch", "honest")
    forge.edit(ONE, ("severity: medium", "severity: low"))
    bad = forge.commit("alice")
    forge.git("branch", "topic")
    forge.git("switch", "--quiet", "topic")
    forge.git("branch", "--force", "main", "honest")
    forge.git("tag", "main", bad)
    ran = kt("check", "main..HEAD", "--json", cwd=forge.path)
    assert [found["rule"] for found in ran.json["violations"]] == ["transition"]


def test_a_tag_named_like_the_branch_is_not_taken_in(forge: Forge) -> None:
    server = serve(forge)
    ran = push(forge, server, what="HEAD:refs/tags/main")
    assert ran.code == 1
    assert "pre-receive hook declined" in ran.err
    assert git("for-each-ref", "refs/tags", cwd=server) == ""


def test_a_replacement_is_not_taken_in(forge: Forge) -> None:
    server = serve(forge)
    good = forge.tip()
    ran = push(forge, server, what=f"HEAD^:refs/replace/{good}")
    assert ran.code == 1
    assert "pre-receive hook declined" in ran.err
    assert git("for-each-ref", "refs/replace", cwd=server) == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("grep.patternType", "fixed"),
        ("color.ui", "always"),
        ("log.showSignature", "true"),
        ("log.follow", "true"),
        ("log.mailmap", "true"),
        ("i18n.logOutputEncoding", "UTF-16"),
        ("diff.renames", "copies"),
        ("diff.noprefix", "true"),
        ("diff.ignoreSubmodules", "all"),
        ("diff.orderFile", "/dev/null"),
        ("core.quotePath", "false"),
        ("core.ignoreCase", "true"),
        ("trailer.separators", "#"),
        ("core.abbrev", "4"),
    ],
)
def test_a_setting_of_the_users_hides_nothing(forge: Forge, called: str, key: str, value: str) -> None:
    server = serve(forge)
    forge.edit(TWO, ("severity: critical", "severity: low"))
    forge.commit("alice")
    said(forge, f"well\n\n{WORDS}")
    forge.git("config", key, value)
    git("config", key, value, cwd=server)
    found_by_all(forge, server, Attack("transition", "", lambda _: None, None), called)
    assert rules_of(forge, "--afresh") == ["transition", "message"]


# --- and what is legal stays so -------------------------------------------------------------------


def assert_legal(forge: Forge, server: Path) -> None:
    """`verify`, `check` and a real push have nothing against it."""
    before = git("rev-parse", "main", cwd=server)
    ran = kt("verify", "--afresh", "--json", cwd=forge.path)
    assert (ran.code, ran.json["violations"]) == (0, [])
    checked = kt("check", f"{before}..HEAD", "--json", cwd=forge.path)
    assert (checked.code, checked.json["violations"]) == (0, [])
    ran = push(forge, server)
    assert ran.code == 0, ran.err


@pytest.fixture
def server(forge: Forge) -> Path:
    return serve(forge)


def topic(forge: Forge, *paths: str, on: str = "main", name: str = "topic") -> str:
    """A branch on which somebody works on something else; `main` is checked out again."""
    forge.git("switch", "--quiet", "-c", name, on)
    for path in paths:
        forge.write(path, f"{path}\n")
        forge.commit("mallory", f"write {path}")
    forge.git("switch", "--quiet", "main")
    return name


def merge(forge: Forge, *args: str, who: str = "mallory") -> None:
    forge.git("merge", "--quiet", "--no-ff", *args, who=who)


def test_an_octopus_of_other_work(forge: Forge, server: Path) -> None:
    names = [topic(forge, f"src/{n}.py", name=n) for n in ("a", "b", "c")]
    forge.kt("alice", "claim", "--id", "esc_one")
    merge(forge, "-m", "Merge three", *names)
    assert len(forge.git("log", "-1", "--format=%P").split()) == 4
    assert_legal(forge, server)


def foreign(forge: Forge) -> str:
    """Another repository's history, fetched."""
    forge.git("switch", "--quiet", "--orphan", "theirs")
    forge.write("lib.py", "theirs\n")
    forge.commit("mallory", "theirs")
    forge.git("switch", "--quiet", "main")
    return "theirs"


def test_a_merge_of_an_unrelated_history(forge: Forge, server: Path) -> None:
    theirs = foreign(forge)
    forge.kt("alice", "claim", "--id", "esc_one")
    merge(forge, "--allow-unrelated-histories", "-m", "Merge theirs", theirs)
    assert_legal(forge, server)


def test_a_subtree_that_is_added_and_brought_up_to_date(forge: Forge, server: Path) -> None:
    # As `git subtree add` does, and later `git subtree pull`.
    theirs = foreign(forge)
    options = ("-s", "ours", "--no-commit", "--allow-unrelated-histories")
    merge(forge, *options, theirs)
    forge.git("read-tree", "--prefix=vendor/lib/", "-u", theirs)
    forge.git("commit", "--quiet", "-m", "Add vendor/lib", who="mallory")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.git("switch", "--quiet", theirs)
    forge.write("lib.py", "newer\n")
    forge.commit("mallory", "newer")
    forge.git("switch", "--quiet", "main")
    merge(forge, "-X", "subtree=vendor/lib", "-m", "Update vendor/lib", theirs)
    assert forge.read("vendor/lib/lib.py") == "newer\n"
    assert_legal(forge, server)


def test_links_submodules_and_programs_beside_the_store(forge: Forge, server: Path) -> None:
    (forge.path / "latest").symlink_to("queue")
    forge.write("run.sh", "#!/bin/sh\n")
    (forge.path / "run.sh").chmod(0o755)
    forge.git("add", "--all")
    forge.git("update-index", "--add", "--cacheinfo", f"160000,{forge.tip()},modules/x")
    forge.git("commit", "--quiet", "-m", "something else", who="mallory")
    forge.git("reset", "--quiet", "--hard")
    forge.kt("alice", "claim", "--id", "esc_one")
    assert_legal(forge, server)


def test_modes_that_git_reads_beside_the_store(forge: Forge) -> None:
    tree = tree_with(forge, forge.tip(), {"src/x.py": "x\n"})
    tree = changed(forge, tree, "src", moded("x.py", b"100664"))
    committed(forge, changed(forge, tree, "", moded("README.md", b"100664")), "mallory")
    forge.git("reset", "--quiet", "--hard")
    forge.kt("alice", "claim", "--id", "esc_one")
    assert rules_of(forge, "--afresh") == []


def test_a_policy_request_that_is_merged_while_the_policies_moved_on(forge: Forge, server: Path) -> None:
    forge.git("switch", "--quiet", "-c", "topic")
    forge.write("policies/policy-config.yaml", "pack: {enabled: false}\n")
    forge.commit("boss", "another pack")
    forge.git("switch", "--quiet", "main")
    forge.write(SETTINGS_FILE, SETTINGS.replace("1h", "2h"))
    forge.commit("boss", "another lease")
    merge(forge, "-m", "Merge", "topic", who="noreply@forge.example")
    assert_legal(forge, server)
    forge.kt("gw", "raise", "--request-id", "new", "--reason-code", "a.b")
    forge.kt("alice", "claim", "--id", "esc_new")
    assert_legal(forge, server)


@pytest.mark.parametrize("moved", ["not at all", "with the store", "with something else"])
def test_a_policy_request_of_anybodys_that_an_admin_merges(forge: Forge, server: Path, moved: str) -> None:
    forge.git("switch", "--quiet", "-c", "topic")
    forge.write(SETTINGS_FILE, SETTINGS.replace("1h", "2h"))
    forge.commit("alice", "another lease")
    forge.git("switch", "--quiet", "main")
    if moved == "with the store":
        forge.kt("alice", "claim", "--id", "esc_two")
    elif moved == "with something else":
        forge.write("src/x.py", "x\n")
        forge.commit("mallory", "something else")
    merge(forge, "-m", "Merge", "topic", who="boss")
    forge.kt("bob", "claim", "--id", "esc_one")
    assert_legal(forge, server)


def test_a_branch_that_is_merged_twice_while_the_line_goes_on(forge: Forge, server: Path) -> None:
    """What the first merge brought is older than what the line has made of it since."""
    forge.git("switch", "--quiet", "-c", "topic")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.git("switch", "--quiet", "main")
    forge.kt("bob", "note", "--id", "esc_two", "--text", "meanwhile")
    merge(forge, "-m", "Merge", "topic", who="alice")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "gone on")
    forge.git("switch", "--quiet", "topic")
    forge.write("src/x.py", "x\n")
    forge.commit("alice", "something else")
    forge.git("switch", "--quiet", "main")
    merge(forge, "-m", "Merge", "topic", who="alice")
    assert_legal(forge, server)


def test_a_policy_change_that_is_taken_back_on_its_branch(forge: Forge, server: Path) -> None:
    # In the end it wants nothing of the pack, which the line has changed meanwhile.
    forge.git("switch", "--quiet", "-c", "topic")
    for pack in ("pack: {enabled: false}\n", "pack: {enabled: true}\n"):
        forge.write("policies/policy-config.yaml", pack)
        forge.commit("boss", "the pack")
    forge.git("switch", "--quiet", "main")
    forge.write("policies/policy-config.yaml", "pack: {enabled: true}\nproviders: {targets: []}\n")
    forge.commit("boss", "the pack on the line")
    merge(forge, "-m", "Merge", "topic", who="noreply@forge.example")
    assert_legal(forge, server)


def test_a_request_that_decides_and_reopens(forge: Forge, server: Path) -> None:
    _side(forge, "bob", outcome="denied")
    forge.git("switch", "--quiet", "side-bob")
    forge.kt("alice", "reopen", "--id", "esc_one", "--reason", "again")
    side = forge.tip()
    forge.git("switch", "--quiet", "main")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "meanwhile")
    checked = kt("check", f"main..{side}", "--json", cwd=forge.path)
    assert checked.json["violations"] == []
    merge(forge, "-m", "Merge", side, who="alice")
    assert_legal(forge, server)


def test_a_policy_request_that_an_admin_corrects_and_merges(forge: Forge, server: Path) -> None:
    forge.git("switch", "--quiet", "-c", "topic")
    forge.write(SETTINGS_FILE, SETTINGS.replace("1h", "9h"))
    forge.commit("alice", "another lease")
    forge.write(SETTINGS_FILE, SETTINGS.replace("1h", "2h"))
    forge.commit("boss", "but not that long")
    forge.git("switch", "--quiet", "main")
    merge(forge, "-m", "Merge", "topic", who="boss")
    assert_legal(forge, server)


def test_a_policy_request_that_takes_something_back_and_is_merged_by_an_admin(
    forge: Forge, server: Path
) -> None:
    forge.git("switch", "--quiet", "-c", "topic")
    for pack in ("pack: {enabled: false}\n", "pack: {enabled: true}\n"):
        forge.write("policies/policy-config.yaml", pack)
        forge.commit("alice", "the pack")
    forge.write(SETTINGS_FILE, SETTINGS.replace("1h", "2h"))
    forge.commit("alice", "another lease")
    forge.git("switch", "--quiet", "main")
    merge(forge, "-m", "Merge", "topic", who="boss")
    assert_legal(forge, server)


def test_a_cherry_pick_of_what_is_merged_later(forge: Forge, server: Path) -> None:
    _claimed(forge, moved=True)
    picked = forge.git("rev-parse", "topic")
    forge.git("switch", "--quiet", "topic")
    forge.kt("bob", "note", "--id", "esc_one", "--text", "Looks right")
    forge.git("switch", "--quiet", "main")
    forge.git("cherry-pick", "-x", picked, who="carol")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "and on")
    merge(forge, "-X", "theirs", "-m", "Merge", "topic", who="alice")
    assert "Looks right" in forge.read(ONE)
    assert_legal(forge, server)


@pytest.mark.parametrize("who", ["boss", "alice"])
def test_a_branch_that_was_begun_on_what_an_admin_took_back(forge: Forge, server: Path, who: str) -> None:
    """An admin merges it as it is, and thereby approves; somebody else leaves it out."""
    once = _proposed(forge, MALLORY)
    forge.git("switch", "--quiet", "-c", "work", once)
    work = committed(forge, tree_with(forge, once, {"src/work.py": "x\n"}), "alice")
    forge.git("switch", "--quiet", "main")
    for roster in (MALLORY, ROSTER):
        forge.write(ROSTER_FILE, roster)
        forge.commit("boss", "enrolled, and not")
    merge(forge, "-m", "Merge", work, who=who)
    if who != "boss":
        assert rules_of(forge) == ["policies"]
        # The line of docs/pull-requests.md.
        forge.git("checkout", "--quiet", "HEAD^", "--", "policies")
        forge.git("commit", "--quiet", "--amend", "--no-edit", who=who)
    assert_legal(forge, server)


def test_a_squash_that_is_merged_again(forge: Forge, server: Path) -> None:
    side = _side(forge, "bob")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "meanwhile")
    forge.git("merge", "--quiet", "--squash", side)
    forge.commit("bob", "decided (#4)")
    forge.kt("alice", "reopen", "--id", "esc_one", "--reason", "again")
    # A record that was decided and one that reopens it look to git like one that was renamed twice.
    merge(forge, "-s", "resolve", "-m", "Merge", side, who="alice")
    assert_legal(forge, server)


def test_a_set_up_that_comes_by_a_merge(forge: Forge, tmp_path: Path) -> None:
    made = Forge.__new__(Forge)
    made.path = tmp_path / "new/store"
    made.path.mkdir(parents=True)
    git("init", "--quiet", cwd=made.path)
    made.write("README.md", "Hello.\n")
    made.commit("mallory", "a repository")
    made.git("switch", "--quiet", "-c", "set-up")
    made.write(ROSTER_FILE, ROSTER)
    made.commit("boss", "a store")
    made.write(SETTINGS_FILE, SETTINGS)
    made.commit("boss", "and its settings")
    made.git("switch", "--quiet", "main")
    made.write("src/x.py", "x\n")
    made.commit("mallory", "something else")
    merge(made, "-m", "Merge pull request #1", "set-up", who="noreply@forge.example")
    made.raised("one")
    made.kt("alice", "claim", "--id", "esc_one")
    assert rules_of(made, "--afresh") == []
    server = serve(made)
    made.kt("alice", "note", "--id", "esc_one", "--text", "hm")
    assert_legal(made, server)


@pytest.mark.parametrize("setting", ["true", "false"])
@pytest.mark.parametrize("work", [True, False], ids=["with work of one's own", "with none"])
def test_a_pull_that_is_pushed(forge: Forge, server: Path, setting: str, work: bool) -> None:
    local = forge.path.parent / "local"
    git("clone", "--quiet", str(server), str(local), cwd=forge.path.parent)
    mine = Forge.__new__(Forge)
    mine.path = local
    if work:
        mine.write("src/x.py", "x\n")
        mine.commit("mallory", "something else")
    forge.kt("alice", "claim", "--id", "esc_one")
    assert_legal(forge, server)
    mine.git("-c", f"merge.ff={setting}", "pull", "--quiet", "--no-rebase", "--no-edit", who="mallory")
    assert_legal(mine, server)
    mine.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    assert rules_of(mine, "--afresh") == []


@pytest.mark.parametrize("topic", [False, True], ids=["pulled", "taken into a topic"])
@pytest.mark.parametrize("work", ["src/x.py", "policies/policy-other.yaml"], ids=["beside", "of policies"])
def test_an_admin_who_takes_in_the_branch_approves_nothing_of_what_is_there(
    forge: Forge, work: str, topic: bool
) -> None:
    unguarded = forge.path.parent / "unguarded.git"
    git("clone", "--quiet", "--bare", str(forge.path), str(unguarded), cwd=forge.path.parent)
    mine = Forge.__new__(Forge)
    mine.path = forge.path.parent / "mine"
    git("clone", "--quiet", str(unguarded), str(mine.path), cwd=forge.path.parent)
    mine.write(work, "pack: {enabled: true}\n")
    mine.commit("boss", "my own work")
    forge.write(ROSTER_FILE, MALLORY)
    forge.commit("mallory", "enrolled")
    approved(forge, "mallory")
    assert push(forge, unguarded).code == 0
    if topic:
        mine.git("switch", "--quiet", "-c", "topic")
        mine.git("fetch", "--quiet", "origin")
        mine.git("merge", "--quiet", "--no-edit", "origin/main", who="boss")
        mine.git("switch", "--quiet", "main")
        mine.git("merge", "--quiet", "--ff-only", "topic")
    else:
        mine.git("pull", "--quiet", "--no-rebase", "--no-edit", who="boss")
    assert {"policies", "not_allowed"} <= set(rules_of(mine, "--afresh"))
    assert kt("wait", "--id", "esc_one", "--timeout", "1s", cwd=mine.path).code == 6


def test_two_admins_who_pull_bring_both_of_their_changes(forge: Forge) -> None:
    mine = Forge.__new__(Forge)
    mine.path = forge.path.parent / "mine"
    git("clone", "--quiet", str(forge.path), str(mine.path), cwd=forge.path.parent)
    mine.write(ROSTER_FILE, ROSTER.replace("teams:", "teams:\n  - {team_id: ops, members: [bob]}"))
    mine.commit("boss", "a team")
    forge.write(ROSTER_FILE, ROSTER + "  - {user_id: dan, emails: [dan@example.com], roles: [reviewer]}\n")
    forge.commit("boss", "a person")
    mine.git("pull", "--quiet", "--no-rebase", "--no-edit", who="boss")
    assert rules_of(mine, "--afresh") == []


def test_waivers_that_an_admin_merges_count(forge: Forge) -> None:
    approved(forge)
    bad = forge.tip()
    git("reset", "--quiet", "--hard", cwd=forge.path)
    forge.git("switch", "--quiet", "-c", "topic")
    waived(forge, "bob", (bad, "not_allowed", forge.resolved("one")))
    forge.git("switch", "--quiet", "main")
    merge(forge, "-m", "Merge pull request #1", "topic", who="boss")
    ran = kt("verify", "--afresh", "--json", cwd=forge.path)
    assert (ran.code, len(ran.json["waived"])) == (0, 1), ran.out


@pytest.mark.parametrize("merged", [False, True], ids=["as it is", "by a merge"])
def test_a_decision_taken_back_does_not_come_in_on_a_branch_that_stands(forge: Forge, merged: bool) -> None:
    with clocked(forge, "gw", days=-20) as store:
        store.create(request_id="old", reason_code="a.b")
    server = serve(forge)
    forge.git("switch", "--quiet", "-c", "proposal")
    with clocked(forge, "alice", days=-20, seconds=1) as store:
        store.claim("esc_old")
        store.resolve("esc_old", "approved", "ok")
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--no-ff" if merged else "--ff-only", "proposal", who="mallory")
    before = git("rev-parse", "main", cwd=server)
    checked = kt("check", f"{before}..HEAD", "--json", cwd=forge.path)
    assert {found["rule"] for found in checked.json["violations"]} == {"time"}
    assert "time: expected it to be merged within 14d" in offer(forge, server).err


def _claimed(forge: Forge, moved: bool) -> str:
    """A request that claims, and a line that has moved or not."""
    forge.git("switch", "--quiet", "-c", "topic")
    forge.kt("bob", "claim", "--id", "esc_one")
    forge.git("switch", "--quiet", "main")
    if moved:
        forge.kt("alice", "note", "--id", "esc_two", "--text", "meanwhile")
    return forge.git("log", "-1", "--format=%B", "topic")


@pytest.mark.parametrize("moved", [False, True], ids=["the line stands", "the line has moved"])
@pytest.mark.parametrize(
    "title",
    [
        "Merge pull request #12 from bob/topic\n\nkt: claim esc_one",
        "kt: claim esc_one (#12)",
        "kt: claim esc_one (#12)\n\n* kt: claim esc_one\n\nKt-Action: claim\nKt-Escalation: esc_one\nKt-Actor: bob",
        "Merge branch 'topic' into 'main'\n\nkt: claim esc_one\n\nSee merge request review/store!12",
    ],
    ids=["GitHub's words", "the request's title", "its title and text", "GitLab's words"],
)
def test_what_a_forge_writes_when_it_merges(forge: Forge, server: Path, title: str, moved: bool) -> None:
    _claimed(forge, moved)
    merge(forge, "-m", title, "topic", who="noreply@forge.example")
    assert_legal(forge, server)


def test_what_a_forge_writes_when_it_squashes(forge: Forge, server: Path) -> None:
    _claimed(forge, moved=True)
    forge.git("switch", "--quiet", "topic")
    forge.kt("bob", "note", "--id", "esc_one", "--text", "Asked legal")
    forge.kt("bob", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    forge.git("switch", "--quiet", "main")
    bodies = forge.git("log", "--reverse", "--format=* %B", "main..topic")
    forge.git("merge", "--quiet", "--squash", "topic")
    text = f"Decide esc_one (#12)\n\n{bodies}\n\nCo-authored-by: Carol <carol@example.com>\nSigned-off-by: Bob <bob@example.com>"
    forge.commit("bob", text, GIT_COMMITTER_EMAIL="noreply@forge.example")
    assert_legal(forge, server)
    assert kt("wait", "--id", "esc_one", cwd=forge.path).code == 0


def squashed_with_all_words(forge: Forge, who: str) -> None:
    """A squash of `topic` with the messages of its commits, as GitHub writes it by default."""
    bodies = forge.git("log", "--reverse", "--format=* %B", "main..topic")
    forge.git("merge", "--quiet", "--squash", "topic")
    forge.commit(who, f"Decide (#13)\n\n{bodies}", GIT_COMMITTER_EMAIL="noreply@forge.example")


def test_a_squash_of_a_claim_and_a_review_that_ends_it(forge: Forge, server: Path) -> None:
    forge.git("switch", "--quiet", "-c", "topic")
    forge.kt("alice", "claim", "--id", "esc_two")
    forge.kt("alice", "resolve", "--id", "esc_two", "--outcome", "approved", "--reason", "ok")
    forge.git("switch", "--quiet", "main")
    squashed_with_all_words(forge, "alice")
    assert_legal(forge, server)


def test_a_squash_of_a_raise_and_a_claim(forge: Forge, server: Path) -> None:
    forge.write(
        ROSTER_FILE,
        ROSTER.replace("[reviewer]}\n  - {user_id: bob", "[reviewer, gateway]}\n  - {user_id: bob"),
    )
    forge.commit("boss", "alice raises too")
    forge.git("switch", "--quiet", "-c", "topic")
    forge.kt("alice", "raise", "--request-id", "three", "--reason-code", "a.b")
    forge.kt("alice", "claim", "--id", "esc_three")
    forge.git("switch", "--quiet", "main")
    squashed_with_all_words(forge, "alice")
    assert_legal(forge, server)


def test_a_squash_of_which_one_message_counts_its_own(forge: Forge, server: Path) -> None:
    forge.raised("three")
    forge.git("switch", "--quiet", "-c", "topic")
    forge.kt("alice", "claim", "--id", "esc_one", "--id", "esc_two")
    forge.kt("alice", "note", "--id", "esc_three", "--text", "hm")
    forge.git("commit", "--quiet", "--amend", "-m", "by hand", who="alice")
    forge.git("switch", "--quiet", "main")
    squashed_with_all_words(forge, "alice")
    assert_legal(forge, server)


def test_a_squash_of_one_step_keeps_its_subject_with_the_forges_suffix(forge: Forge, server: Path) -> None:
    words = _claimed(forge, moved=True)
    forge.git("merge", "--quiet", "--squash", "topic")
    forge.commit("bob", words.replace("kt: claim esc_one", "kt: claim esc_one (#12)"))
    assert_legal(forge, server)


def test_a_revert_of_something_else_quotes_a_subject_and_says_nothing(forge: Forge, server: Path) -> None:
    topic(forge, "src/x.py")
    forge.git("merge", "--quiet", "--ff-only", "topic")
    forge.git("revert", "--no-edit", "HEAD", who="mallory")
    committed(forge, tree_with(forge, forge.tip(), {}), "mallory", message='Revert "kt: claim esc_one"\n')
    assert_legal(forge, server)


def test_two_requests_by_a_merge_queue(forge: Forge, server: Path) -> None:
    for who, name in (("bob", "one"), ("carol", "three")):
        if name == "three":
            forge.kt("gw", "raise", "--request-id", "three", "--reason-code", "a.b")
            assert_legal(forge, server)
        forge.git("switch", "--quiet", "-c", f"topic-{name}")
        forge.kt(who if name == "one" else "alice", "claim", "--id", f"esc_{name}")
        forge.git("switch", "--quiet", "main")
    forge.git("switch", "--quiet", "-c", "queue")
    for number, name in enumerate(("one", "three"), 7):
        merge(forge, "-m", f"Merge pull request #{number}", f"topic-{name}", who="noreply@forge.example")
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--ff-only", "queue")
    assert_legal(forge, server)


def test_a_branch_that_was_brought_up_to_date_before(forge: Forge, server: Path) -> None:
    _claimed(forge, moved=True)
    forge.git("switch", "--quiet", "topic")
    merge(forge, "-m", "Merge branch 'main' into topic", "main", who="bob")
    forge.kt("bob", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    forge.git("switch", "--quiet", "main")
    merge(forge, "-m", "Merge pull request #12", "topic", who="noreply@forge.example")
    assert_legal(forge, server)
    assert kt("wait", "--id", "esc_one", cwd=forge.path).code == 0


def test_a_proposal_of_some_days_ago(forge: Forge, server: Path) -> None:
    def note(store: Store) -> None:
        store.note("esc_old", "Looks right")

    side = _old_proposal(forge, 3, note)
    merge(forge, "-m", "Merge", side, who="alice")
    assert_legal(forge, server)


def test_a_gitkeep_comes_and_goes(forge: Forge, server: Path) -> None:
    forge.write("queue/.gitkeep", "")
    forge.commit("mallory", "keep the folder")
    (forge.path / "queue/.gitkeep").unlink()
    forge.commit("mallory", "not needed")
    assert_legal(forge, server)


def test_a_damage_that_is_restored_by_its_own_command(forge: Forge) -> None:
    committed(forge, tree_with(forge, forge.tip(), {ONE: "broken\n"}), "mallory")
    bad = forge.tip()
    forge.git("reset", "--quiet", "--hard")
    forge.kt("boss", "restore", "--id", "esc_one", "--reason", "by accident")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    found = kt("verify", "--afresh", "--json", cwd=forge.path).json["violations"]
    assert [violation["commit"] for violation in found] == [bad]


def test_the_ground_itself_is_legal(forge: Forge) -> None:
    assert rules_of(forge, "--afresh") == []


def test_the_corpus_covers_each_way_in() -> None:
    assert len(ATTACKS) + len(DAMAGES) + len(SEPARATORS) >= 80
    rules = {tried.rule for tried in ATTACKS.values()}
    assert rules >= {
        "policies",
        "start",
        "root",
        "dropped",
        "merge",
        "message",
        "time",
        "deadline",
        "restore",
    }
