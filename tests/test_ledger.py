"""The server's ledger of who pushed what: whole lines only, in order, on disk, quick to ask; and what it lets in."""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest
from forge import Forge, identity, push, serve
from hypothesis import given
from hypothesis import strategies as st
from lab import Ran, git, kt

from kt_escalation.errors import BadInput
from kt_escalation.storage.push_ledger import NAME, Ledger

ONE, TWO, THREE = (letter * 40 for letter in "abc")


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "kt")


def test_nobody_has_pushed_what_no_line_names(ledger: Ledger) -> None:
    assert ledger.who([ONE]) == {ONE: frozenset()}
    ledger.record("alice", [TWO])
    assert ledger.who([ONE, TWO]) == {ONE: frozenset(), TWO: frozenset({"alice"})}
    assert ledger.who([]) == {}


def test_whoever_pushes_it_as_well_is_added(ledger: Ledger) -> None:
    ledger.record("mallory", [ONE])
    ledger.record("alice", [TWO], again=[ONE])
    assert ledger.who([ONE, TWO]) == {ONE: frozenset({"mallory", "alice"}), TWO: frozenset({"alice"})}


def test_what_was_on_no_ref_was_pushed_by_nobody_before(ledger: Ledger) -> None:
    """Alice's push was refused by another hook, or she took her branch back; then somebody pushes a copy."""
    ledger.record("alice", [ONE])
    ledger.record("bob", [], again=[ONE])
    ledger.record("mallory", [ONE])
    assert ledger.who([ONE])[ONE] == {"mallory"}
    ledger.record("alice", [], again=[ONE])
    assert ledger.who([ONE])[ONE] == {"mallory", "alice"}


@pytest.mark.parametrize("cut", range(1, 52))
def test_a_line_that_was_cut_off_is_never_read_and_harms_no_other(tmp_path: Path, cut: int) -> None:
    ledger = Ledger(tmp_path)
    ledger.record("alice", [ONE])
    ledger.record("mallory", [ONE])
    path = tmp_path / NAME
    whole = path.read_bytes()
    os.truncate(path, len(whole) - cut)
    assert ledger.who([ONE])[ONE] == {"alice"}
    ledger.record("bob", [TWO])
    # But for its line feed it was all there; else it counts for nobody, nor for whose name begins alike.
    assert ledger.who([ONE, TWO]) == {
        ONE: frozenset({"mallory" if cut == 1 else "alice"}),
        TWO: frozenset({"bob"}),
    }
    assert path.read_bytes().startswith(whole[: len(whole) - cut])


@given(st.text(min_size=1, max_size=60))
def test_any_name_is_one_name_again(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("kt"))
    try:
        name.encode()
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            ledger.record(name, [ONE])
        return
    ledger.record(name, [ONE, TWO])
    assert ledger.who([ONE, TWO]) == {ONE: frozenset({name}), TWO: frozenset({name})}


@pytest.mark.parametrize("name", ["", "x" * 301])
def test_no_name_is_refused(ledger: Ledger, name: str) -> None:
    with pytest.raises(BadInput, match="not a name to record"):
        ledger.record(name, [ONE])
    assert ledger.who([ONE])[ONE] == frozenset()


def test_longer_ids_are_told_apart_from_shorter_ones(ledger: Ledger) -> None:
    long = "a" * 64
    ledger.record("alice", [long])
    ledger.record("bob", [ONE])
    assert ledger.who([long]) == {long: frozenset({"alice"})}
    assert ledger.who([ONE]) == {ONE: frozenset({"bob"})}


def write_many(folder: Path, name: str, count: int) -> None:
    ledger = Ledger(folder)
    for number in range(count):
        ledger.record(name, [f"{number:040x}"], again=[f"{number + 1:040x}"])


def test_pushes_at_once_lose_no_line(tmp_path: Path) -> None:
    names = [f"user{number}" for number in range(4)]
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=write_many, args=(tmp_path, name, 25)) for name in names]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
        assert process.exitcode == 0
    lines = (tmp_path / NAME).read_text().splitlines()
    assert sorted(lines) == sorted(
        f"{number + plus:040x} {name} {mark}"
        for name in names
        for number in range(25)
        for plus, mark in ((0, "+"), (1, "="))
    )


def test_what_is_recorded_outlives_a_kill(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from kt_escalation.storage.push_ledger import Ledger; "
        f"Ledger(Path(sys.argv[1])).record('alice', ['{ONE}']); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert Ledger(tmp_path).who([ONE])[ONE] == {"alice"}


def test_a_million_lines_are_answered_in_bounded_time_and_room(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.record("alice", [f"{number:040x}" for number in range(1_000_000)])
    wanted = [f"{number:040x}" for number in range(0, 1_000_000, 1000)]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    found = ledger.who([*wanted, "f" * 40])
    took = time.process_time() - began
    assert all(found[commit] == {"alice"} for commit in wanted)
    assert found["f" * 40] == frozenset()
    assert took < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_where_it_cannot_be_written_it_says_who_can_help(tmp_path: Path) -> None:
    (tmp_path / "kt").write_text("in the way")
    for ask in (lambda it: it.record("alice", [ONE]), lambda it: it.who([ONE])):
        with pytest.raises(BadInput, match=r"cannot be used: .*an administrator of the server"):
            ask(Ledger(tmp_path / "kt"))


# --- what the hook lets in by it ------------------------------------------------------------------


@pytest.fixture
def asked(forge: Forge) -> Path:
    """The server of a store, which names in WHO who is pushing."""
    return serve(forge, "--pusher-from", "WHO")


def topic(forge: Forge, *, made_by: str, in_name_of: str) -> str:
    """Leave the branch `topic` with a claim in somebody's name, whoever made it; its commit."""
    forge.git("switch", "--quiet", "-c", "topic", "main")
    forge.kt(in_name_of, "claim", "--id", "esc_one")
    if made_by != in_name_of:
        forge.git("commit", "--quiet", "--amend", "--no-edit", f"--author={author(in_name_of)}", who=made_by)
    made = forge.tip()
    forge.git("switch", "--quiet", "main")
    return made


def author(who: str) -> str:
    names = identity(who)
    return f"{names['GIT_AUTHOR_NAME']} <{names['GIT_AUTHOR_EMAIL']}>"


def merged(forge: Forge, server: Path, *, by: str) -> Ran:
    """Merge the topic branch on the store branch, and push that."""
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "topic", who=by)
    return push(forge, server, WHO=by)


def test_what_somebody_pushed_may_be_merged_by_somebody_else(forge: Forge, asked: Path) -> None:
    made = topic(forge, made_by="bob", in_name_of="bob")
    pushed = push(forge, asked, what="topic", WHO="bob")
    assert pushed.code == 0, pushed.err
    ran = merged(forge, asked, by="alice")
    assert ran.code == 0, ran.err
    assert git("rev-parse", "main", cwd=asked) == forge.tip()
    # Who brings it in has pushed it as well.
    assert Ledger(asked / "kt").who([made, forge.tip()]) == {made: {"alice", "bob"}, forge.tip(): {"alice"}}


@pytest.mark.parametrize("first", [None, "alice", "carol"])
def test_a_commit_in_somebodys_name_that_somebody_else_pushed_is_refused(
    forge: Forge, asked: Path, first: str | None
) -> None:
    """By whoever merges it, or by a third one; once its author has pushed it, it is theirs."""
    before = git("rev-parse", "main", cwd=asked)
    made = topic(forge, made_by=first or "alice", in_name_of="bob")
    if first:
        assert push(forge, asked, what="topic", WHO=first).code == 0
    ran = merged(forge, asked, by="alice")
    assert ran.code == 1
    assert git("rev-parse", "main", cwd=asked) == before
    assert (
        f"commit {made[:12]} by bob@example.com: pusher: expected a commit by alice, who is pushing, "
        "or one that bob has pushed here" in ran.err
    )
    assert push(forge, asked, what="topic:theirs", WHO="bob").code == 0
    assert push(forge, asked, WHO="alice").code == 0


def test_a_push_that_was_refused_vouches_for_nothing(forge: Forge, asked: Path) -> None:
    """Bob's own push holds what is illegal, with an honest commit of his below it."""
    made = topic(forge, made_by="bob", in_name_of="bob")
    forge.git("switch", "--quiet", "topic")
    forge.edit("queue/esc_two.yaml", ("severity: critical", "severity: low"))
    bad = forge.commit("bob")
    ran = push(forge, asked, what="topic:main", WHO="bob")
    assert ran.code == 1
    assert ": transition: " in ran.err
    assert Ledger(asked / "kt").who([made, bad]) == {made: frozenset(), bad: frozenset()}


def test_who_cannot_be_written_down_is_not_let_in(forge: Forge, asked: Path) -> None:
    (asked / "kt" / NAME).mkdir(parents=True)
    forge.kt("alice", "claim", "--id", "esc_one")
    for what in ("HEAD:main", "HEAD:topic"):
        ran = push(forge, asked, what=what, WHO="alice")
        assert ran.code == 1
        assert "which says who pushed what, cannot be used" in ran.err
    assert git("branch", "--list", "topic", cwd=asked) == ""


def test_without_a_variable_nobody_is_asked_and_nothing_is_written_down(forge: Forge, server: Path) -> None:
    topic(forge, made_by="alice", in_name_of="bob")
    ran = merged(forge, server, by="alice")
    assert ran.code == 0, ran.err
    assert not (server / "kt" / NAME).exists()


def test_a_new_branch_notes_no_more_than_what_the_store_branch_has_not(forge: Forge, asked: Path) -> None:
    """Each would append all of history otherwise."""
    forge.kt("alice", "claim", "--id", "esc_one")
    assert push(forge, asked, WHO="alice").code == 0
    before = (asked / "kt" / NAME).read_text()
    for name in ("one", "two"):
        assert push(forge, asked, what=f"HEAD:{name}", WHO="bob").code == 0
    assert (asked / "kt" / NAME).read_text() == before


def test_a_tag_of_something_else_than_a_commit_is_let_in(forge: Forge, asked: Path) -> None:
    for name, what in (("file", "HEAD:README"), ("folder", "HEAD^{tree}"), ("note", "HEAD")):
        forge.write("README", "A store.\n")
        forge.commit("alice")
        forge.git("tag", "--annotate", "-m", "x", name, what)
        ran = push(forge, asked, what=f"refs/tags/{name}", WHO="alice")
        assert ran.code == 0, ran.err


# --- a quorum, or an admin, out of forged names ---------------------------------------------------


def test_a_commit_without_an_author_is_nobodys_and_is_told_so(forge: Forge, asked: Path) -> None:
    topic(forge, made_by="alice", in_name_of="bob")
    forge.git("switch", "--quiet", "topic")
    forge.git("commit", "--quiet", "--amend", "--no-edit", "--author=bob <>", who="alice")
    made = forge.tip()
    forge.git("switch", "--quiet", "main")
    ran = merged(forge, asked, by="alice")
    assert ran.code == 1
    wanted = "by somebody without an e-mail: pusher: expected a commit by alice, who is pushing"
    assert f"remote: kt: commit {made[:12]} {wanted}" in [line.rstrip() for line in ran.err.splitlines()]


def reviewed(forge: Forge, *names: str, made_by: str | None = None) -> list[str]:
    """A branch `side` on which people approve what two must approve; whoever made the commits, all in their names."""
    forge.git("switch", "--quiet", "-c", "side", "main")
    made = []
    for who in names:
        forge.kt(who, "claim", "--id", "esc_two")
        forge.kt(who, "resolve", "--id", "esc_two", "--outcome", "approved", "--reason", "as I see it")
        made += forge.git(
            "rev-list", "--reverse", "HEAD", "^main", *(f"^{commit}" for commit in made)
        ).split()
    if made_by is not None:
        forge.git("rebase", "--quiet", "--force-rebase", "main", who=made_by)
        made = forge.git("rev-list", "--reverse", "main..HEAD").split()
    forge.git("switch", "--quiet", "main")
    return made


def whom_it_names(ran: Ran) -> list[str]:
    """The commits by people who have pushed nothing, as the hook has told them."""
    assert all(": pusher: " in line for line in ran.err.splitlines() if "kt: commit" in line), ran.err
    return re.findall(r"kt: commit ([0-9a-f]{12}) by ", ran.err)


@pytest.mark.parametrize("first", [None, "alice", "carol"], ids=["nobody", "the pusher", "a third one"])
def test_a_quorum_of_forged_names_is_no_quorum(forge: Forge, asked: Path, first: str | None) -> None:
    """Alice approves, and then as bob; her merge brings it, whoever has pushed the branch before."""
    before = git("rev-parse", "main", cwd=asked)
    made = reviewed(forge, "alice", "bob", made_by="alice")
    assert "status: resolved" in forge.git("show", f"side:{resolved_on(forge, 'side')}")
    if first is not None:
        assert push(forge, asked, what="side", WHO=first).code == 0
    forge.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side", who="alice")
    # The merge says nothing of the kind: to `verify`, which knows no pusher, each name is as written.
    ran = kt("verify", "--json", cwd=forge.path)
    assert ran.code == 0
    assert ran.json["nobody_proven"] is True
    ran = push(forge, asked, WHO="alice")
    assert ran.code == 1
    assert git("rev-parse", "main", cwd=asked) == before
    assert whom_it_names(ran) == [commit[:12] for commit in made[2:]]
    # Once bob himself has pushed them, they are his.
    assert push(forge, asked, what="side:bobs", WHO="bob").code == 0
    ran = push(forge, asked, WHO="alice")
    assert ran.code == 0, ran.err


def resolved_on(forge: Forge, branch: str) -> str:
    [path] = [
        name
        for name in forge.git("ls-tree", "-r", "--name-only", branch, "queue/resolved").splitlines()
        if name.endswith("/esc_two.yaml")
    ]
    return path


def test_who_merges_forged_approvals_approves_nothing_either(forge: Forge, asked: Path) -> None:
    """Carol, who is in another team, has all the names of the team that may decide."""
    before = git("rev-parse", "main", cwd=asked)
    made = reviewed(forge, "alice", "bob", made_by="carol")
    forge.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side", who="carol")
    ran = push(forge, asked, WHO="carol")
    assert ran.code == 1
    assert git("rev-parse", "main", cwd=asked) == before
    assert whom_it_names(ran) == [commit[:12] for commit in made]


@pytest.mark.parametrize("way", ["a merge", "an update of the branch first", "a commit on the branch itself"])
def test_an_admin_in_name_alone_makes_nobody_admin(forge: Forge, asked: Path, way: str) -> None:
    before = git("rev-parse", "main", cwd=asked)
    forge.git("switch", "--quiet", "-c", "side")
    roster = forge.read("policies/roster.yaml")
    forge.write(
        "policies/roster.yaml",
        f"{roster}  - {{user_id: mallory, emails: [mallory@example.com], roles: [admin]}}\n",
    )
    made = forge.commit("boss", "Mallory helps out")
    assert push(forge, asked, what="side", WHO="mallory").code == 0
    forge.git("switch", "--quiet", "main")
    if way == "an update of the branch first":
        forge.kt("alice", "note", "--id", "esc_one", "--text", "meanwhile")
        assert push(forge, asked, WHO="alice").code == 0
        before = git("rev-parse", "main", cwd=asked)
        forge.git("switch", "--quiet", "side")
        forge.git("merge", "--quiet", "--no-ff", "-m", "Update", "main", who="mallory")
        forge.git("switch", "--quiet", "main")
    if way == "a commit on the branch itself":
        forge.git("merge", "--quiet", "--ff-only", "side")
    else:
        forge.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side", who="mallory")
    ran = push(forge, asked, WHO="mallory")
    assert ran.code == 1
    assert git("rev-parse", "main", cwd=asked) == before
    assert whom_it_names(ran) == [made[:12]]


def test_an_admins_merge_that_vouches_is_the_admins_to_push(forge: Forge, asked: Path) -> None:
    """Bob has changed the roster, as he may not; the merge that would admit it is in boss's name and mallory's."""
    before = git("rev-parse", "main", cwd=asked)
    forge.git("switch", "--quiet", "-c", "side")
    forge.edit("policies/settings.yaml", ("approvals: 2", "approvals: 1"))
    made = forge.commit("bob", "One is enough")
    assert push(forge, asked, what="side", WHO="bob").code == 0
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--no-ff", "-m", "Merge side", "side", who="boss")
    assert kt("verify", cwd=forge.path).code == 0
    ran = push(forge, asked, WHO="mallory")
    assert ran.code == 1
    assert git("rev-parse", "main", cwd=asked) == before
    assert whom_it_names(ran) == [forge.tip()[:12]]
    assert made[:12] not in ran.err
    assert push(forge, asked, WHO="boss").code == 0
