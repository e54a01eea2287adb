"""The oracle on graphs made by hand, whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import hostile
import oracle
import pytest
from hostile import PLAIN, ROSTER, SETTINGS, WAIVERS, Branch, Entry, email, roster, settings, waivers
from lab import git
from tale import Tale

from kt_escalation.rules import due_actions
from kt_escalation.rules.permissions import actor

Files = Mapping[str, bytes | None]


# --- what is legal --------------------------------------------------------------------------------------


def test_a_line_of_legal_steps_is_clean_and_releases() -> None:
    tale = Tale()
    tale.decided()
    verdict = tale.verdict()
    assert verdict.clean
    assert verdict.released == {"esc_r1": True}
    assert len(verdict.line) == 4


def test_a_pull_beside_the_store_goes_along_what_was_pulled() -> None:
    tale = Tale()
    mine = tale.side()
    tale.put(mine, {"src/a.py": "1\n"}, "bob")
    tale.decided()
    tale.merge(mine, tale.main.tip, "bob")
    verdict = tale.verdict(mine.tip)
    assert verdict.clean
    assert verdict.released == {"esc_r1": True}
    assert tale.main.tip in verdict.line


def test_a_pull_request_is_legal_by_a_merge_commit() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.does(side, "alice", "claim")
    tale.does(side, "alice", "approved", message="kt: resolve esc_r1 as approved\n")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "bob")
    assert tale.verdict().clean
    assert tale.verdict().released == {"esc_r1": True}
    assert side.tip not in tale.verdict().line


def test_a_branch_may_be_brought_up_to_date_before() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.does(side, "alice", "claim")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(side, tale.main.tip, "alice", message="Merge branch 'main' into side\n")
    tale.does(side, "alice", "denied")
    tale.does(tale.main, "bob", "claim", "esc_r2")
    tale.merge(tale.main, side.tip, "bob", message="Merge pull request #1\n")
    assert tale.verdict().clean
    assert tale.verdict().released == {"esc_r1": False}


def test_one_persons_steps_may_be_squashed_and_the_branch_merged_again() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.does(side, "alice", "claim")
    tale.does(side, "alice", "approved")
    gone = dict.fromkeys(tale.main.files.keys() - side.files.keys())
    tale.put(tale.main, {**gone, **side.files}, "alice", "All in one (#7)\n")
    tale.merge(tale.main, side.tip, "bob")
    assert tale.verdict().clean


def test_what_was_cherry_picked_is_done_already() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.does(side, "alice", "claim")
    tale.put(tale.main, {"queue/esc_r1.yaml": side.files["queue/esc_r1.yaml"]}, "alice", "picked\n")
    tale.does(tale.main, "alice", "approved")
    tale.merge(tale.main, side.tip, "bob", files=tale.main.files)
    assert tale.verdict().clean


def test_a_set_up_may_come_by_a_merge() -> None:
    tale = Tale({"src/a.py": "1\n"})
    side = tale.side()
    tale.put(side, {ROSTER: roster(*hostile.PEOPLE)}, "boss")
    tale.does(side, "gw", "raise")
    tale.put(tale.main, {"src/a.py": "2\n"}, "bob")
    tale.merge(tale.main, side.tip, "bob")
    assert tale.verdict().clean
    assert side.tip in tale.verdict().line


def test_merges_beside_the_store_may_have_any_parents() -> None:
    tale = Tale()
    sides = [tale.side() for _ in range(2)]
    for number, side in enumerate(sides):
        tale.put(side, {f"src/{number}.py": "1\n"}, "bob")
    alone = Branch("", {})
    tale.graph.put(alone, {"other.txt": "x\n"}, email("mallory"), "nothing before\n", parents=())
    tale.decided()
    tale.merge(tale.main, sides[0].tip, "bob", more=(sides[1].tip,), files=tale.main.files)
    tale.merge(tale.main, alone.tip, "bob", files=tale.main.files)
    assert tale.verdict().clean


def test_an_admin_may_merge_what_somebody_proposes_for_the_policies() -> None:
    tale = Tale()
    side = tale.side()
    tale.put(side, {SETTINGS: settings(lease="1h")}, "alice")
    proposed = side.tip
    tale.merge(tale.main, side.tip, "boss", files=side.files)
    assert tale.verdict().clean, "the branch had not moved"
    side = tale.side()
    tale.put(side, {SETTINGS: settings()}, "alice")
    tale.does(tale.main, "gw", "raise")
    tale.merge(tale.main, side.tip, "boss")
    assert tale.verdict().clean, "the branch had moved"
    assert proposed in tale.verdict().line
    assert tale.verdict().last.versions[SETTINGS] == side.files[SETTINGS]


def test_an_admission_outlives_a_second_merge_of_the_same_branch() -> None:
    tale = Tale()
    side = tale.side()
    tale.put(side, {SETTINGS: settings(lease="1h")}, "alice")
    tale.merge(tale.main, side.tip, "boss", files=side.files)
    tale.put(side, {"src/a.py": "1\n"}, "alice")
    tale.merge(tale.main, side.tip, "bob")
    assert tale.verdict().clean


def test_a_merge_may_say_what_the_branch_had_not_yet() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.does(side, "alice", "claim")
    tale.merge(tale.main, side.tip, "bob", message="kt: claim esc_r1 (#12)\n")
    assert tale.verdict().clean


def test_links_and_modules_beside_the_store_are_nobodys_business() -> None:
    tale = Tale()
    link = tale.graph.blob("README.md")
    tale.put(
        tale.main, {"link": ("120000", link), "run.sh": ("100755", link), "sub": ("160000", tale.root)}, "bob"
    )
    tale.put(tale.main, {"old": ("100664", link)}, "bob")
    assert tale.verdict().clean


# --- what is not ----------------------------------------------------------------------------------------


def test_a_merge_onto_the_commit_before_the_store_is_no_start() -> None:
    tale = Tale()
    tale.decided(outcome="denied")
    forged = dict(tale.graph.files[tale.root]) | {ROSTER: (PLAIN, tale.graph.blob(roster("mallory")))}
    evil = Branch(tale.root, forged)
    oid = tale.merge(evil, tale.main.tip, "mallory", files=forged)
    rules = {(one.commit, one.rule) for one in tale.verdict(oid).violations}
    assert (oid, "start") in rules
    assert (tale.start, "start") in rules


def test_nobody_chooses_which_denial_never_happened() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    tale.does(tale.main, "alice", "claim")
    side = tale.side()
    tale.does(tale.main, "alice", "denied")
    tale.does(side, "alice", "approved")
    oid = tale.merge(side, tale.main.tip, "mallory", files=side.files)
    assert {(one.commit, one.rule) for one in tale.verdict(oid).violations} == {(oid, "dropped")}
    assert tale.verdict(oid).released == {"esc_r1": False}


def test_a_right_that_was_taken_back_does_not_come_back_by_an_old_parent() -> None:
    tale = Tale()
    tale.put(tale.main, {ROSTER: roster(*hostile.PEOPLE, "mallory")}, "boss")
    past = tale.side()
    tale.put(tale.main, {ROSTER: roster(*hostile.PEOPLE)}, "boss")
    files = tale.main.files | {ROSTER: past.files[ROSTER]}
    oid = tale.merge(past, tale.main.tip, "mallory", files=files)
    assert {(one.commit, one.rule) for one in tale.verdict(oid).violations} == {(oid, "dropped")}


@pytest.mark.parametrize("inner", [False, True], ids=["by a commit", "by a merge"])
def test_a_denial_is_not_taken_back_on_the_way_into_a_merge(inner: bool) -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    tale.does(tale.main, "alice", "claim")
    old = tale.side()
    tale.does(tale.main, "alice", "denied")
    if inner:
        side = tale.side(old.tip)
        tale.put(side, {"src/a.py": "1\n"}, "mallory")
        back = tale.merge(side, tale.main.tip, "mallory", files=side.files)
    else:
        gone = dict.fromkeys(tale.main.files.keys() - old.files.keys())
        back = tale.put(tale.main, gone | old.files, "mallory")
    oid = tale.merge(old, back, "mallory", files=old.files)
    tale.does(old, "alice", "approved")
    assert {(one.commit, one.rule) for one in tale.verdict(old.tip).violations} == {(oid, "dropped")}
    assert tale.verdict(old.tip).released == {"esc_r1": False}


def test_three_parents_drop_no_denial_either() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.does(tale.main, "alice", "claim")
    tale.put(side, {"src/a.py": "1\n"}, "bob")
    oid = tale.merge(side, tale.main.tip, "mallory", files=side.files, more=(tale.start,))
    assert {(one.commit, one.rule) for one in tale.verdict(oid).violations} == {(oid, "dropped")}


def test_nobody_enrols_themselves_on_a_side_branch() -> None:
    tale = Tale()
    side = tale.side()
    oid = tale.put(side, {ROSTER: roster(*hostile.PEOPLE, "mallory")}, "mallory")
    tale.does(tale.main, "gw", "raise")
    merge = tale.merge(tale.main, side.tip, "mallory")
    claim = tale.does(tale.main, "mallory", "claim")
    assert tale.found() == {(merge, "policies"), (claim, "not_allowed")}
    assert oid in next(one.places for one in tale.verdict().violations if one.rule == "policies")


def test_nobody_enrols_themselves_on_the_line() -> None:
    tale = Tale()
    oid = tale.put(tale.main, {ROSTER: roster(*hostile.PEOPLE, "mallory")}, "mallory")
    waived = tale.put(tale.main, {WAIVERS: waivers([(oid, "policies", ROSTER)])}, "mallory")
    assert tale.found() == {(oid, "policies"), (waived, "policies")}


@pytest.mark.parametrize(
    "line",
    [
        lambda oid: (oid[:7], "policies", ROSTER),
        lambda oid: (oid, "policies", SETTINGS),
        lambda oid: (oid, "file", ROSTER),
    ],
    ids=["short", "another path", "another rule"],
)
def test_a_waiver_that_is_not_exact_accepts_nothing(line: Callable[[str], tuple[str, str, str]]) -> None:
    tale = Tale()
    oid = tale.put(tale.main, {ROSTER: roster(*hostile.PEOPLE, "mallory")}, "mallory")
    tale.put(tale.main, {WAIVERS: waivers([line(oid)])}, "boss")
    assert (oid, "policies") in tale.found()


def test_an_exact_waiver_of_an_admin_accepts_and_puts_into_force() -> None:
    tale = Tale()
    oid = tale.put(tale.main, {ROSTER: roster(*hostile.PEOPLE, "mallory")}, "mallory")
    tale.put(tale.main, {WAIVERS: waivers([(oid, "policies", ROSTER)])}, "boss")
    tale.put(tale.main, {SETTINGS: settings()}, "mallory")
    assert tale.verdict().clean
    assert [one.commit for one in tale.verdict().waived] == [oid]


def test_words_in_a_carried_commit_of_nothing_are_found() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    said = tale.put(side, {}, "alice", "kt: resolve esc_r1 as approved\n")
    tale.put(side, {}, "alice", 'Revert "kt: resolve esc_r1 as approved"\n')
    tale.merge(tale.main, side.tip, "bob", files=tale.main.files)
    assert tale.found() == {(said, "message")}


def test_words_beside_the_line_that_a_pull_goes_along_are_found() -> None:
    tale = Tale()
    mine = tale.side()
    said = tale.put(mine, {}, "alice", "kt: resolve esc_r1 as approved\n")
    tale.does(tale.main, "gw", "raise")
    tip = tale.merge(mine, tale.main.tip, "bob")
    assert {(one.commit, one.rule) for one in tale.verdict(tip).violations} == {(said, "message")}


def test_a_trailer_in_small_letters_is_a_trailer() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    tale.does(tale.main, "alice", "claim")
    oid = tale.does(tale.main, "alice", "approved", message="words\n\nkt-outcome: denied\n")
    assert tale.found() == {(oid, "message")}


def test_a_step_of_somebody_else_is_found_where_it_is_carried() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.does(side, "alice", "claim")
    oid = tale.does(side, "alice", "approved", author="mallory")
    tale.put(tale.main, {"src/a.py": "1\n"}, "bob")
    tale.put(tale.main, {"queue/.gitkeep": ""}, "bob")
    tale.merge(tale.main, side.tip, "bob")
    assert {commit for commit, _ in tale.found()} == {oid}
    assert tale.verdict().released == {"esc_r1": False}


def test_what_nobody_carried_is_the_merges_own() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.put(side, {"src/a.py": "1\n"}, "bob")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    files = dict(tale.main.files)
    del files["queue/esc_r1.yaml"]
    oid = tale.merge(tale.main, side.tip, "boss", files=files)
    assert tale.found() == {(oid, "merge")}


def test_a_restoration_goes_to_the_last_legal_state_alone() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    older = tale.main.files["queue/esc_r1.yaml"]
    tale.does(tale.main, "alice", "claim")
    last = tale.main.files["queue/esc_r1.yaml"]
    gone = tale.put(tale.main, {"queue/esc_r1.yaml": None}, "mallory")
    wrong = tale.put(tale.main, {"queue/esc_r1.yaml": older}, "boss")
    stranger = tale.put(tale.main, {"queue/esc_r1.yaml": last}, "boss")
    assert tale.found() == {(gone, "deleted"), (wrong, "restore")}
    tale.does(tale.main, "alice", "approved")
    assert stranger not in {one.commit for one in tale.verdict().violations}
    assert tale.found() == {(gone, "deleted"), (wrong, "restore")}


def test_a_restoration_may_be_proposed() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    last = tale.main.files["queue/esc_r1.yaml"]
    gone = tale.put(tale.main, {"queue/esc_r1.yaml": None}, "mallory")
    side = tale.side()
    tale.put(side, {"queue/esc_r1.yaml": last}, "boss", "kt: restore esc_r1\n")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "bob")
    assert tale.found() == {(gone, "deleted")}


@pytest.mark.parametrize("path", [ROSTER, SETTINGS, WAIVERS])
@pytest.mark.parametrize("text", [None, "- [\n"])
def test_nobody_removes_or_damages_what_the_store_goes_by(path: str, text: str | None) -> None:
    tale = Tale({ROSTER: roster(*hostile.PEOPLE), SETTINGS: settings(), WAIVERS: waivers(())})
    oid = tale.put(tale.main, {path: text}, "boss")
    next_one = tale.put(tale.main, {SETTINGS: settings(lease="2h")}, "mallory")
    assert {commit for commit, _ in tale.found()} == {oid, next_one}


def test_another_root_is_nobodys_to_name() -> None:
    tale = Tale()
    oid = tale.put(tale.main, {".kt.yaml": "root: ops/review\n"}, "boss")
    assert tale.found() == {(oid, "root")}


@pytest.mark.parametrize("days", [0, 15])
def test_a_proposal_lands_within_its_time(days: int) -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    oid = tale.does(side, "alice", "claim")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    merge = tale.merge(tale.main, side.tip, "bob", at=tale.graph.now + timedelta(days=days))
    # Such a merge is a step of days to come as well.
    assert tale.found() == ({(oid, "time"), (merge, "time")} if days else set())


def test_what_acts_in_2099_is_found_and_what_does_not_is_not() -> None:
    tale = Tale()
    at = datetime(2099, 1, 1, tzinfo=UTC)
    tale.put(tale.main, {}, "mallory", "nothing\n", at=at)
    oid = tale.put(tale.main, {"queue/.gitkeep": ""}, "mallory", "something\n", at=at)
    assert tale.found() == {(oid, "time")}


def test_where_signatures_are_required_all_that_acts_or_speaks_is_asked_for_one() -> None:
    tale = Tale({ROSTER: roster(*hostile.PEOPLE), SETTINGS: settings(signed=True)})
    raised = tale.does(tale.main, "gw", "raise")
    side = tale.side()
    claim = tale.does(side, "alice", "claim")
    tale.put(side, {"src/a.py": "1\n"}, "alice")
    other = tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "bob")
    assert tale.found() == {(raised, "unsigned"), (claim, "unsigned"), (other, "unsigned")}


def _second(entries: list[Entry]) -> list[Entry]:
    return [twin for entry in entries for twin in (entry, entry)]


SPOILT: dict[str, Callable[[list[Entry]], list[Entry]]] = {
    "zero": lambda entries: [
        ("0" + mode if mode == "40000" else mode, name, oid) for mode, name, oid in entries
    ],
    "group": lambda entries: [
        ("40755" if mode == "40000" else mode, name, oid) for mode, name, oid in entries
    ],
    "second": _second,
    "order": lambda entries: entries[::-1],
    "slash": lambda entries: [*entries[:-1], (PLAIN, b"q/x", entries[0][2]), entries[-1]],
    "empty": lambda entries: [(PLAIN, b"", entries[0][2]), *entries],
    "disguise": lambda entries: [(PLAIN, b"Policies", entries[0][2]), *entries],
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_top_that_is_not_as_git_writes_it_is_found(kind: str) -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    oid = tale.put(tale.main, {}, "boss", spoil=lambda at, entries: entries if at else SPOILT[kind](entries))
    tale.put(tale.main, {}, "boss")
    assert tale.found() == {(oid, "tree")}


@pytest.mark.parametrize("mode", ["100664", "100755", "120000", "160000"])
@pytest.mark.parametrize("path", [ROSTER, "queue/esc_r1.yaml"])
def test_a_file_of_the_store_that_is_not_plain_is_found(mode: str, path: str) -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    oid = tale.root if mode == "160000" else tale.main.files[path][1]
    bad = tale.put(tale.main, {path: (mode, oid)}, "boss")
    assert {commit for commit, _ in tale.found()} == {bad}
    assert (bad, "tree") in tale.found()


def test_a_name_may_not_be_another_spelling_of_ours() -> None:
    for name in hostile.DISGUISES:
        assert oracle.is_disguised(name) or name == b".git", name
    for name in (b"queue", b"policies", b".kt.yaml", b".github", b"policies2", b"queues", "\u00e9".encode()):
        assert not oracle.is_disguised(name), name


def test_a_carried_merge_makes_up_nothing() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.put(side, {"src/a.py": "1\n"}, "alice")
    tale.does(tale.main, "bob", "note")
    files = dict(side.files)
    del files["queue/esc_r1.yaml"]
    made_up = tale.merge(side, tale.main.tip, "alice", files=files)
    tale.does(tale.main, "gw", "raise", "esc_r2")
    oid = tale.merge(tale.main, side.tip, "alice", files=tale.main.files)
    assert tale.found() == {(made_up, "merge")}
    assert oid == tale.main.tip


def test_an_expiry_waits_for_its_deadline_by_the_commits_date_too() -> None:
    tale = Tale({ROSTER: roster(*hostile.PEOPLE), SETTINGS: settings("rules:\n  - resolve_within: 1h\n")})
    tale.does(tale.main, "gw", "raise")
    tale.graph.now += timedelta(hours=1)
    one = actor(email("bob"), tale.graph.now + timedelta(seconds=30), tale.graph.policies(tale.main))
    after = due_actions.due([tale.record(tale.main, "esc_r1")], one, "c1")[0].after
    late = Branch(tale.main.tip, dict(tale.main.files))
    oid = tale.graph.put(
        tale.main,
        tale.graph.written(tale.main, after),
        email("bob"),
        "by hand\n",
        at=tale.graph.now - timedelta(seconds=5),
    )
    assert tale.found() == {(oid, "deadline")}
    oid = tale.graph.put(
        late,
        tale.graph.written(late, after),
        email("bob"),
        "by hand\n",
        at=tale.graph.now + timedelta(seconds=30),
    )
    assert tale.verdict(oid).clean


def test_what_was_imported_or_accepted_releases_nothing() -> None:
    tale = Tale()
    tale.decided()
    files = {path: file for path, file in tale.main.files.items() if path != "README.md"}
    other = Branch(tale.root, dict(tale.graph.files[tale.root]))
    oid = tale.put(other, files, "boss")
    assert tale.verdict(oid).clean
    assert tale.verdict(oid).released == {"esc_r1": False}
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    tale.does(tale.main, "alice", "claim")
    bad = tale.does(tale.main, "alice", "approved", author="mallory")
    path = next(path for path in tale.main.files if path.startswith("queue/resolved"))
    rule = next(one.rule for one in tale.verdict().violations)
    tale.put(tale.main, {WAIVERS: waivers([(bad, rule, path)])}, "boss")
    assert tale.verdict().clean
    assert tale.verdict().released["esc_r1"] is not True


@pytest.mark.parametrize(
    "message",
    [
        "\n\nkt: claim esc_r1\n",
        "kt: claim\nesc_r1 \n\nmore\n",
        "a \t\r\nb\x0b\n \nc\n",
        "kt: claim esc_r1\r\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ISO-8859-1"])
def test_a_subject_is_what_git_shows(tmp_path: Path, message: str, encoding: str) -> None:
    git("init", "--quiet", "--bare", str(tmp_path), cwd=tmp_path)
    forge = hostile.Forge()
    oid = forge.commit(
        forge.tree(()), (), email("bob"), datetime(2026, 11, 23, tzinfo=UTC), message, encoding=encoding
    )
    hostile.write([forge], tmp_path, {"refs/heads/main": oid})
    shown = oracle.commit_of(oid, forge.objects[oid][1]).message
    assert oracle.subject(shown) == git("log", "--format=%s", "main", cwd=tmp_path)


def test_what_differs_is_told() -> None:
    tale = Tale()
    tale.does(tale.main, "gw", "raise")
    oid = tale.put(tale.main, {"queue/esc_r1.yaml": None}, "mallory")
    assert oracle.disagreements(tale.verdict(), [oid], []) == []
    assert len(oracle.disagreements(tale.verdict(), [], [oid])) == 2
    assert len(oracle.disagreements(tale.verdict(), [oid, tale.start], [])) == 1


def test_a_graph_is_the_same_each_time() -> None:
    one, other = hostile.make(7), hostile.make(7)
    assert one.objects == other.objects
    assert one.tip == other.tip


def test_graphs_are_written_as_they_are_made(tmp_path: Path) -> None:
    git("init", "--quiet", "--bare", str(tmp_path), cwd=tmp_path)
    graphs = [hostile.make(seed) for seed in range(20)]
    hostile.write(graphs, tmp_path, {f"refs/heads/g{graph.seed}": graph.tip for graph in graphs})
    read = oracle.objects_in(tmp_path)
    for graph in graphs:
        assert {oid: read[oid] for oid in graph.objects} == graph.objects
