"""The judge and the oracle agree on ten thousand hostile graphs, and on any that hypothesis thinks of.

So do `wait`, the server's hook and `check`: nothing is released, pushed or merged that the oracle is against,
and all of it that it has nothing against.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import hostile
import oracle
import pytest
import use_rules
from counts import examples
from hostile import PACK, ROSTER, Branch, Graph, roster
from hypothesis import HealthCheck, given, settings
from lab import git
from tale import Tale

from kt_escalation import audit
from kt_escalation.audit import carried_commits, record_history
from kt_escalation.audit.hook import receive
from kt_escalation.audit.mark import Mark
from kt_escalation.audit.report import reported
from kt_escalation.audit.run import History
from kt_escalation.audit.scope import Scope
from kt_escalation.errors import GitFailed, KtError
from kt_escalation.model.record import Fallback
from kt_escalation.rules import creation, transitions
from kt_escalation.rules.judge_step import Violation
from kt_escalation.rules.permissions import actor
from kt_escalation.storage import layout, lookup, yaml_text
from kt_escalation.storage.clone import GitStore

AT_ONCE = 500
#: Rules that the oracle must have found in the graphs of a slice: each class of attack is among them.
CLASSES = frozenset(
    [
        "actor",
        "archive",
        "invalid_creation",
        "compaction",
        "deleted",
        "dropped",
        "foreign",
        "merge",
        "message",
        "not_allowed",
        "policies",
        "restore",
        "root",
        "start",
        "time",
        "tree",
        "duplicate_file",
        "unsigned",
    ]
)


def spans(start: int, total: int, part: tuple[int, int] | None = None) -> list[object]:
    """The first seeds and numbers of graphs: a part in every run, all of them in the soak."""
    return [
        pytest.param(*(part or (start, 24)), id="slice"),
        *(
            pytest.param(n, AT_ONCE, id=f"from-{n}", marks=pytest.mark.soak)
            for n in range(start, start + total, AT_ONCE)
        ),
    ]


def written(graphs: Sequence[Graph], repository: Path) -> None:
    """Write graphs to a new repository, in which nothing names them."""
    git("init", "--quiet", "--bare", "-b", "main", str(repository), cwd=repository)
    hostile.write(graphs, repository, {})


def disagreements(graphs: Sequence[Graph], repository: Path) -> tuple[list[str], Counter[str]]:
    """Where the two differ about graphs, written to a new repository; and how often the oracle found what."""
    written(graphs, repository)
    told: list[str] = []
    count: Counter[str] = Counter()
    objects = oracle.objects_in(repository)
    for graph in graphs:
        verdict = oracle.judge(objects, graph.tip, graph.now)
        report = audit.verify(repository, graph.tip, afresh=True, now=graph.now)
        found = oracle.disagreements(
            verdict, {one.commit for one in report.violations}, {one.commit for one in report.waived}
        )
        told += [f"seed {graph.seed}: {line}" for line in found]
        told += [f"seed {graph.seed}: {one}" for one in report.violations if not is_for_people(one)]
        count.update({one.rule for one in verdict.violations if one.sure})
        count.update(clean=bool(verdict.clean), waived=bool(verdict.waived))
    return told, count


def is_for_people(violation: Violation) -> bool:
    """Whether what was expected is told in one line of our own words, and not in a library's."""
    text = violation.expected
    return "\n" not in text and not any(
        words in text for words in ("pydantic", "validation error", "input_value")
    )


@pytest.mark.parametrize(("first", "count"), spans(0, 10_000, part=(284, 44)))
def test_judge_and_oracle_agree(tmp_path: Path, first: int, count: int) -> None:
    told, found = disagreements([hostile.make(seed) for seed in range(first, first + count)], tmp_path)
    assert not told, "\n".join(told[:20])
    assert count * 0.15 < found["clean"] < count * 0.6, "neither harm alone nor harmlessness proves much"
    assert found["waived"] >= count * 0.05
    assert found.keys() >= CLASSES


@pytest.mark.parametrize(("first", "count"), spans(hostile.USING, 10_000))
def test_they_agree_where_decisions_are_used_as_well(tmp_path: Path, first: int, count: int) -> None:
    told, found = disagreements([hostile.make(seed) for seed in range(first, first + count)], tmp_path)
    assert not told, "\n".join(told[:20])
    assert count * 0.05 < found["clean"] < count * 0.5
    assert found["release"] >= count * 0.2
    assert found.keys() >= {"archive", "compaction", "merge", "policies", "restore", "tree"}


@pytest.mark.parametrize(("first", "count"), spans(hostile.RETURNING, 5_000))
def test_they_agree_where_something_comes_again_or_late(tmp_path: Path, first: int, count: int) -> None:
    told, found = disagreements([hostile.make(seed) for seed in range(first, first + count)], tmp_path)
    assert not told, "\n".join(told[:20])
    assert count * 0.03 < found["clean"] < count * 0.6
    assert found.keys() >= {"merge", "not_allowed", "policies", "release", "time"}


@pytest.mark.parametrize(("first", "count"), spans(hostile.SIGNING, 5_000))
def test_they_agree_where_steps_are_signed(tmp_path: Path, first: int, count: int) -> None:
    told, found = disagreements([hostile.make(seed) for seed in range(first, first + count)], tmp_path)
    assert not told, "\n".join(told[:20])
    assert count * 0.03 < found["clean"] < count * 0.6
    assert found.keys() >= {"backdated", "policies", "signature", "unsigned"}


def test_they_agree_on_what_a_campaign_has_found(tmp_path: Path) -> None:
    """Merges of days to come; what waivers and admins excuse after others had damaged it; what a store began with."""
    told, _ = disagreements(
        [
            hostile.make(seed)
            for seed in (
                809,
                1082,
                1186,
                2262,
                4865,
                5051,
                5138,
                7855,
                11587,
                12746,
                41868,
                44447,
                70565,
                100308,
                100552,
                101425,
                101708,
                102339,
                102720,
                104155,
                200127,
                200178,
                200434,
                200522,
                200851,
                201060,
            )
        ],
        tmp_path,
    )
    assert not told, "\n".join(told)


@settings(max_examples=examples(20), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(hostile.graphs())
def test_judge_and_oracle_agree_on_any_graph(graph: Graph) -> None:
    with TemporaryDirectory() as repository:
        told, _ = disagreements([graph], Path(repository))
    assert not told, "\n".join([*told, *graph.story])


# --- what is released, pushed and merged ----------------------------------------------------------------


def at_the_doors(graph: Graph, repository: Path, count: Counter[str]) -> Iterator[str]:
    """Where `wait`, the hook or `check` are of another mind than the oracle about one graph."""
    verdict = oracle.judge(oracle.objects_in(repository), graph.tip, graph.now)
    git("update-ref", "refs/heads/main", graph.tip, cwd=repository)
    (repository / "kt/judged").unlink(missing_ok=True)
    records = graph.records(Branch(graph.tip, graph.files[graph.tip]))
    for name, wanted in sorted(verdict.released.items()):
        decided = records[name].resolution if name in records else None
        if decided is not None and decided.outcome in oracle.RELEASING:
            released = is_released(graph, repository, name, records)
            count[f"wait {wanted} {released}"] += 1
            if wanted not in (None, released):
                yield f"seed {graph.seed}: {name} is {'' if released else 'not '}released"
    yield from pushed(graph, repository, verdict, Random(graph.seed).choice(verdict.line), graph.now, count)
    if graph.seed >= hostile.USING and len(verdict.line) > 1:
        # A release is pushed when it is made, or not at all.
        at = min(oracle.commit_of(graph.tip, graph.objects[graph.tip][1]).at, graph.now) + timedelta(
            seconds=1
        )
        then = oracle.judge(graph.objects, graph.tip, at)
        yield from pushed(graph, repository, then, then.line[-2], at, count)


def pushed(
    graph: Graph, repository: Path, verdict: oracle.Verdict, base: str, now: datetime, count: Counter[str]
) -> Iterator[str]:
    """Where the hook or `check` are of another mind about what comes after a commit, at some time."""
    if base == graph.tip:
        return
    new = graph.ancestors(graph.tip) - graph.ancestors(base)
    wrong = any(one.sure and one.places <= new for one in verdict.violations)
    unsure = verdict.doubtful & new or any(one.places & new for one in (*verdict.violations, *verdict.waived))
    git("update-ref", "refs/heads/main", base, cwd=repository)
    # What was judged at a later time is not known yet.
    (repository / "kt/received").unlink(missing_ok=True)
    # As `hook install` does: a `.kt.yaml` that somebody has damaged or repointed does not say where the store is.
    git("config", "kt.root", "", cwd=repository)
    refused = list(receive(repository, [(base, graph.tip, "refs/heads/main")], now=now))
    try:
        checked = [one.rule for one in audit.check(repository, f"{base}..{graph.tip}", now=now).violations]
    except GitFailed:
        # git cannot compare with a malformed tree that was there before, so nobody knows what the request changes.
        assert any(one.rule == "tree" for one in verdict.violations)
        checked, unsure = ["tree"], True
    git("config", "--unset", "kt.root", cwd=repository)
    for who, found in (("the hook", refused), ("check", checked)):
        count[f"{who} {bool(found)}"] += 1
        if wrong and not found:
            yield f"seed {graph.seed}: {who} lets in what comes after {base}"
        # They know when it comes, and refuse what is late, or from the future, though it does nothing; and what builds on a
        # release that is late. No request releases.
        is_late = any("time" in one for one in found) and graph.seed >= hostile.USING
        harmless = ("time", "release") if who == "check" else ("time",)
        if not (unsure or is_late) and any(not any(rule in one for rule in harmless) for one in found):
            yield f"seed {graph.seed}: {who} refuses what comes after {base}: {found}"


def is_released(graph: Graph, repository: Path, name: str, records: dict[str, oracle.Record]) -> bool:
    """Whether `wait` believes a record, with those that it reopens and those that reopen it."""
    names = [name]
    while names[-1] in records and (origin := records[names[-1]].reopens) and origin not in names:
        names.append(origin)
    try:
        with closing(GitStore(repository)) as store:
            doubts = tuple(one.escalation_id for one in lookup.reopeners(store.at(graph.tip), name))
            wanted = record_history.Wanted(tuple(names), "queue", doubts)
            [found] = record_history.proven(store, graph.tip, [wanted], graph.now)
            return isinstance(found, record_history.Proven)
    except KtError:
        # A store that cannot be read or found.
        return False


@pytest.mark.parametrize(
    ("first", "count"),
    [
        pytest.param(0, 30, id="slice"),
        pytest.param(hostile.DOUBTING + 20, 5, id="doubts"),
        pytest.param(hostile.USING, 8, id="uses"),
        pytest.param(hostile.RETURNING + 40, 8, id="comes again"),
        pytest.param(hostile.SIGNING + 18, 6, id="signed"),
        *(
            # Among a hundred graphs with what comes again there may be no release.
            pytest.param(n, 200, id=f"from-{n}", marks=pytest.mark.soak)
            for start in (0, hostile.DOUBTING, hostile.USING, hostile.RETURNING, hostile.SIGNING)
            for n in range(start, start + 1_000, 200)
        ),
    ],
)
def test_what_is_released_pushed_and_merged_is_what_the_oracle_allows(
    tmp_path: Path, first: int, count: int
) -> None:
    graphs = [hostile.make(seed) for seed in range(first, first + count)]
    written(graphs, tmp_path)
    found: Counter[str] = Counter()
    told = [line for graph in graphs for line in at_the_doors(graph, tmp_path, found)]
    assert not told, "\n".join(told[:20])
    assert found.keys() >= {"wait True True", "wait False False", "the hook True", "the hook False"}


def places(violations: Sequence[Violation]) -> set[tuple[str, str]]:
    """Where something was found; by which rule may depend on what an archive that was tampered with holds."""
    return {(one.commit, one.path) for one in violations}


def told_of_marks(graph: Graph, repository: Path, most: int = 3) -> Iterator[str]:
    """Where a run that goes on from one of some marks finds something else than one run over all."""
    git("update-ref", "refs/heads/main", graph.tip, cwd=repository)
    # Where somebody has damaged `.kt.yaml` on the branch, a clone is told where the store is.
    git("config", "kt.root", "", cwd=repository)
    with closing(GitStore(repository)) as store:
        whole = History(store).run(graph.tip, Scope(graph.now))
        line = whole.lines.of(graph.tip)
        wanted = reported(whole, graph.tip)
        for base in Random(graph.seed).sample(line, min(most, len(line))):
            history = History(store)
            mark = history.known(base, [], graph.now)
            kept = Mark.of(json.loads(json.dumps(mark.plain())))
            assert kept == mark
            found = reported(history.run(graph.tip, Scope(graph.now), since=kept), graph.tip)
            if [*map(places, (found.violations, found.waived))] != [
                *map(places, (wanted.violations, wanted.waived))
            ]:
                yield f"seed {graph.seed}, from {base}: {found.violations} against {wanted.violations}"


@pytest.mark.parametrize(
    ("first", "count"),
    [
        pytest.param(0, 14, id="slice"),
        pytest.param(671, 1, id="an archive that was forged"),
        pytest.param(1920, 1, id="a start that cannot be read"),
        pytest.param(hostile.USING, 8, id="uses"),
        pytest.param(hostile.RETURNING, 8, id="comes again"),
        pytest.param(hostile.SIGNING, 8, id="signed"),
        *(
            pytest.param(n, 100, id=f"from-{n}", marks=pytest.mark.soak)
            for start in (0, hostile.USING, hostile.RETURNING, hostile.SIGNING)
            for n in range(start, start + 2_000, 100)
        ),
    ],
)
def test_what_goes_on_from_a_mark_finds_what_the_whole_does(tmp_path: Path, first: int, count: int) -> None:
    graphs = [hostile.make(seed) for seed in range(first, first + count)]
    written(graphs, tmp_path)
    assert not [line for graph in graphs for line in told_of_marks(graph, tmp_path)]


@pytest.mark.parametrize(
    ("first", "count"),
    [
        pytest.param(hostile.SIGNING, 8, id="slice"),
        *(
            pytest.param(n, 100, id=f"from-{n}", marks=pytest.mark.soak)
            for n in range(hostile.SIGNING, hostile.SIGNING + 1_000, 100)
        ),
    ],
)
def test_many_branches_from_before_a_mark_are_dated_as_in_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, count: int
) -> None:
    monkeypatch.setattr(carried_commits, "_MOST_FORKS", 0)
    test_what_goes_on_from_a_mark_finds_what_the_whole_does(tmp_path, first, count)


# --- what they once were of two minds about -------------------------------------------------------------


def folded_on_a_side(tale: Tale, who: str = "alice", author: str | None = None) -> Branch:
    """A side on which a record is raised, decided and folded, which the line has never had."""
    side = tale.side()
    tale.does(side, "gw", "raise")
    tale.does(side, who, "claim", author=author)
    tale.does(side, who, "approved", author=author)
    tale.later()
    tale.folds(side, "esc_r1")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    return side


def a_record_that_only_an_archive_has_is_legal(tale: Tale) -> None:
    tale.merge(tale.main, folded_on_a_side(tale).tip, "bob")


def a_record_that_only_an_archive_has_was_forged(tale: Tale) -> None:
    tale.merge(tale.main, folded_on_a_side(tale, author="mallory").tip, "bob")


def a_record_is_in_an_archive_and_beside_it(tale: Tale) -> None:
    tale.decided()
    tale.later()
    side = tale.side()
    tale.folds(side, "esc_r1")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "bob", files=tale.main.files | side.files)


def what_was_folded_is_lost_in_the_merge(tale: Tale) -> None:
    tale.decided()
    tale.later()
    side = tale.side()
    tale.folds(side, "esc_r1")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    files = {path: file for path, file in tale.main.files.items() if "esc_r1" not in path}
    tale.merge(tale.main, side.tip, "mallory", files=files)


def a_compaction_comes_behind_a_tree_that_cannot_be_read(tale: Tale) -> None:
    tale.decided()
    tale.later()
    tale.put(tale.main, {}, "bob", spoil=lambda at, entries: entries[::-1] if at == "" else entries)
    tale.folds(tale.main, "esc_r1")


def what_an_archive_had_is_taken_for_what_never_was(tale: Tale) -> None:
    tale.decided()
    loose = tale.main.files
    tale.later()
    side = tale.side()
    tale.does(side, "gw", "raise", "esc_r2")
    tale.folds(tale.main, "esc_r1")
    tale.merge(tale.main, side.tip, "mallory", files=loose)
    tale.put(tale.main, dict.fromkeys(tale.graph.paths(tale.main, "esc_r1")), "boss")


def a_restoration_heals_what_a_merge_has_dropped(tale: Tale) -> None:
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.does(side, "bob", "claim")
    tale.does(side, "bob", "denied")
    kept = dict(tale.main.files)
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "mallory", files=tale.main.files)
    tale.does(tale.main, "alice", "claim", author="mallory")
    back = {path: kept[path] for path in tale.graph.paths(tale.main, "esc_r1")}
    tale.put(tale.main, back, "boss")
    tale.does(tale.main, "alice", "claim")
    tale.does(tale.main, "alice", "approved")


def a_record_is_restored_beside_an_archive_of_it_that_cannot_be_read(tale: Tale) -> None:
    tale.decided()
    [path] = tale.graph.paths(tale.main, "esc_r1")
    file = tale.main.files[path]
    tale.later()
    tale.folds(tale.main, "esc_r1", data=b"no end")
    tale.put(tale.main, {path: file}, "boss")


def what_git_itself_does_not_read_is_on_the_way(tale: Tale) -> None:
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.does(side, "alice", "claim")
    empty = (hostile.PLAIN, b"", tale.graph.blob("x"))
    tale.put(tale.main, {}, "bob", spoil=lambda at, entries: [empty, *entries] if at == "queue/" else entries)
    tale.put(tale.main, {"src/main.py": "2\n"}, "bob")
    tale.merge(tale.main, side.tip, "bob", files=tale.main.files)


def what_git_itself_does_not_read_is_before_a_mark_where_dates_count(tale: Tale) -> None:
    empty = (hostile.PLAIN, b"", tale.graph.blob("x"))
    tale.put(tale.main, {hostile.SETTINGS: hostile.settings(signed=True)}, "boss")
    tale.does(tale.main, "gw", "raise")
    tale.put(tale.main, {}, "bob", spoil=lambda at, entries: [empty, *entries] if at == "queue/" else entries)
    tale.put(tale.main, {"src/main.py": "2\n"}, "bob")
    side = tale.side()
    tale.does(side, "alice", "claim")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "bob")


def merged_again(tale: Tale) -> Branch:
    """A side whose record the line has by a squash, and a note since; a clone then merges the side all the same."""
    side = tale.side()
    tale.does(side, "gw", "raise")
    [path] = tale.graph.paths(side, "esc_r1")
    tale.put(tale.main, {path: side.files[path]}, "gw")
    tale.does(tale.main, "bob", "note")
    clone = tale.side()
    tale.merge(clone, side.tip, "bob", files=clone.files)
    return clone


def what_was_squashed_is_merged_again_and_pulled_over(tale: Tale) -> None:
    clone = merged_again(tale)
    tale.does(tale.main, "alice", "note")
    tale.merge(clone, tale.main.tip, "bob", files=tale.main.files)
    tale.main = clone


def what_came_after_a_squash_is_left_out(tale: Tale) -> None:
    clone = merged_again(tale)
    tale.does(clone, "alice", "claim")
    tale.does(clone, "alice", "denied")
    tale.does(tale.main, "bob", "claim")
    tale.merge(tale.main, clone.tip, "bob", files=tale.main.files)


def a_policy_is_merged_again(tale: Tale, *, had: bool) -> None:
    """The line has another version of a policy; ``had`` says that it had the branch's before that."""
    one, two = ({PACK: f"# {version}\npack: {{enabled: true}}\n"} for version in (1, 2))
    side = tale.side()
    tale.put(side, one, "boss")
    for version in (one, two) if had else (two,):
        tale.put(tale.main, version, "boss")
    clone = tale.side()
    tale.merge(clone, side.tip, "bob", files=clone.files)
    tale.does(tale.main, "gw", "raise")
    tale.merge(clone, tale.main.tip, "bob", files=tale.main.files)
    tale.main = clone


def a_policy_that_the_line_had_is_merged_again(tale: Tale) -> None:
    a_policy_is_merged_again(tale, had=True)


def a_policy_that_the_line_never_had_is_left_out(tale: Tale) -> None:
    a_policy_is_merged_again(tale, had=False)


def what_was_folded_meanwhile_comes_back_as_a_file(tale: Tale) -> None:
    side = tale.side()
    tale.does(side, "gw", "raise")
    [path] = tale.graph.paths(side, "esc_r1")
    tale.put(tale.main, {path: side.files[path]}, "gw")
    tale.does(tale.main, "alice", "claim")
    tale.does(tale.main, "alice", "approved")
    tale.later()
    tale.folds(tale.main, "esc_r1")
    tale.merge(tale.main, side.tip, "bob")


def what_is_no_record_is_folded_and_merged(tale: Tale) -> None:
    tale.decided()
    [path] = tale.graph.paths(tale.main, "esc_r1")
    tale.put(tale.main, {path: "- no\n"}, "mallory")
    tale.later()
    side = tale.side()
    tale.folds(side, "esc_r1")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "bob")


def two_archives_of_one_record_have_equal_ids(tale: Tale) -> None:
    tale.decided()
    [path] = tale.graph.paths(tale.main, "esc_r1")
    data = tale.graph.data(tale.main.files[path])
    tale.later()
    tale.put(tale.main, hostile.archive(layout.month_of(path) or "", 1, [("esc_r1", data)]), "boss")
    tale.folds(tale.main, "esc_r1")


def an_archive_that_cannot_be_read_lists_what_the_line_has(tale: Tale) -> None:
    tale.does(tale.main, "gw", "raise")
    side = tale.side()
    tale.does(side, "alice", "claim")
    tale.does(side, "alice", "approved")
    tale.later()
    tale.folds(side, "esc_r1", data=b"no end")
    tale.does(tale.main, "bob", "claim")
    tale.does(tale.main, "bob", "denied")
    tale.merge(tale.main, side.tip, "boss", files=side.files | tale.main.files)


def what_is_routed_to_somebody_is_born_without_a_claim(tale: Tale) -> None:
    tale.put(tale.main, {"policies/settings.yaml": "default_route: {user_id: alice}\n"}, "boss")
    side = tale.side()
    tale.does(side, "gw", "raise")
    born = tale.record(side, "esc_r1")
    free = born.replace(status="queued", claim=None)
    tale.put(tale.main, tale.graph.written(tale.main, free), "gw")


def a_carried_merge_says_what_one_of_its_commits_did(tale: Tale) -> None:
    side = tale.side()
    tale.does(side, "gw", "raise")
    tale.graph.now += timedelta(minutes=1)
    who = actor(hostile.email("boss"), tale.graph.now, tale.graph.policies(side))
    given = transitions.assign(
        tale.record(side, "esc_r1"), who, Fallback(user_id="alice"), "Yours", "c-alice"
    )
    tale.put(side, tale.graph.written(side, given), "boss")
    other = tale.side()
    tale.put(other, {"src/main.py": "1\n"}, "bob")
    tale.merge(other, side.tip, "bob", message="kt: assign esc_r1 to alice (#6)\n")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, other.tip, "bob")


def a_carried_merge_says_what_none_of_its_commits_did(tale: Tale) -> None:
    side = tale.side()
    tale.does(side, "gw", "raise")
    other = tale.side()
    tale.put(other, {"src/main.py": "1\n"}, "bob")
    tale.merge(other, side.tip, "bob", message="kt: claim esc_r1 (#6)\n")
    tale.does(other, "alice", "claim")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, other.tip, "bob")


def for_one_use(tale: Tale, more: str = "") -> None:
    rules = f"rules:\n  - single_use: true\n{more}"
    tale.put(tale.main, {"policies/settings.yaml": rules}, "boss")


def a_release_that_was_taken_back_is_followed_by_a_legal_one(tale: Tale) -> None:
    for_one_use(tale)
    tale.decided()
    tale.releases(tale.main, "alice")
    tale.put(tale.main, dict.fromkeys(filter(use_rules.id_of, tale.main.files)), "boss")
    tale.releases(tale.main)


def a_release_is_left_out_where_it_is_carried(tale: Tale) -> None:
    for_one_use(tale)
    tale.decided()
    side = tale.side()
    tale.releases(side)
    tale.put(side, dict.fromkeys(filter(use_rules.id_of, side.files)), "gw")
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "bob")
    tale.releases(tale.main)


def begins_with(tale: Tale, files: Mapping[str, str | hostile.File], **more: object) -> None:
    """The tale begins anew, with a store that has these files."""
    begun = Branch(tale.root, tale.graph.files[tale.root])
    tale.put(begun, {path: file for path, file in files.items() if path not in begun.files}, "boss", **more)
    tale.main = begun


def a_decision_is_used_that_was_open_when_the_store_began(tale: Tale) -> None:
    for_one_use(tale)
    tale.does(tale.main, "gw", "raise")
    begins_with(tale, tale.main.files)
    tale.does(tale.main, "alice", "claim")
    tale.does(tale.main, "alice", "approved")
    tale.releases(tale.main)


def a_decision_is_used_in_a_store_whose_start_cannot_be_read(tale: Tale) -> None:
    def spoil(at: str, entries: list[hostile.Entry]) -> list[hostile.Entry]:
        return [(f"0{mode}" if mode == hostile.FOLDER and not at else mode, *rest) for mode, *rest in entries]  # type: ignore[misc]

    begins_with(tale, {hostile.SETTINGS: (hostile.PLAIN, tale.graph.blob("rules: []\n"))}, spoil=spoil)
    for_one_use(tale)
    tale.decided()
    tale.releases(tale.main)


def begins_unread(tale: Tale) -> None:
    """The store begins in the repository's first commit, whose tree cannot be read."""
    begins_with(tale, {ROSTER: hostile.roster(*hostile.PEOPLE), "queue": "no folder\n"}, parents=())


def a_decision_is_used_in_a_store_whose_first_commit_cannot_be_read(tale: Tale) -> None:
    begins_unread(tale)
    tale.put(tale.main, {"queue": None}, "boss")
    for_one_use(tale)
    tale.decided()
    tale.releases(tale.main)


def a_branch_leaves_where_nothing_could_be_read_yet(tale: Tale) -> None:
    begins_unread(tale)
    policies = {ROSTER: tale.main.files[ROSTER]}
    tale.put(tale.main, {ROSTER: None}, "boss")
    side = tale.side()
    tale.put(tale.main, {"queue": None, **policies}, "boss")
    tale.put(side, {"queue": None, **policies}, "boss")
    tale.merge(tale.main, side.tip, "boss")


def a_compaction_is_carried_from_a_tree_that_cannot_be_read(tale: Tale) -> None:
    def spoil(at: str, entries: list[hostile.Entry]) -> list[hostile.Entry]:
        return [
            ("100664", *rest) if "/released/" in at and mode == hostile.PLAIN else (mode, *rest)
            for mode, *rest in entries
        ]  # type: ignore[misc]

    for_one_use(tale)
    tale.decided()
    tale.releases(tale.main)
    [path] = tale.graph.paths(tale.main, "esc_r1")
    data = tale.graph.data(tale.main.files[path])
    tale.later()
    side = tale.side()
    tale.put(side, {}, "boss", spoil=spoil)
    tale.put(side, {path: None, **hostile.archive("2026/11", 1, [("esc_r1", data)])}, "boss", spoil=spoil)
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "bob")


def a_record_is_reopened_that_the_store_began_with_twice(tale: Tale) -> None:
    tale.decided()
    files = tale.main.files
    tale.later()
    tale.folds(tale.main, "esc_r1")
    begins_with(tale, files | tale.main.files)
    tale.graph.now += timedelta(minutes=1)
    bob = actor(hostile.email("bob"), tale.graph.now, tale.graph.policies(tale.main))
    again = creation.reopen(tale.record(tale.main, "esc_r1"), bob, "Hm", f"esc_{'0' * 26}")
    tale.put(tale.main, tale.graph.written(tale.main, again), "bob", at=tale.graph.now)


def a_decision_is_used_whose_release_was_forged_into_an_archive(tale: Tale) -> None:
    for_one_use(tale)
    tale.decided()
    record = tale.record(tale.main, "esc_r1")
    data = yaml_text.dumps_release(use_rules.release(record, "gw", "T", tale.graph.now))
    tale.put(tale.main, hostile.archive("2026/11", 1, [("esc_r1", data)], "released"), "mallory")
    tale.releases(tale.main)


def a_decision_is_used_again_whose_archive_was_deleted(tale: Tale) -> None:
    for_one_use(tale)
    tale.decided()
    tale.releases(tale.main)
    [path] = filter(use_rules.id_of, tale.main.files)
    made = use_rules.Uses(
        Random(0), tale.main.files, tale.graph.data, (), tale.graph.now + timedelta(minutes=1)
    ).answer()
    assert made
    tale.put(tale.main, made[0], "gw")
    data = tale.graph.data(tale.main.files[path])
    tale.later()
    archive = hostile.archive("2026/11", 1, [("esc_r1", data)], "released")
    tale.put(tale.main, {path: None, **archive}, "boss")
    tale.put(tale.main, dict.fromkeys(archive), "mallory")
    tale.releases(tale.main)


def a_record_is_restored_whose_release_was_deleted(tale: Tale) -> None:
    for_one_use(tale)
    tale.decided()
    tale.releases(tale.main)
    tale.put(tale.main, dict.fromkeys(filter(use_rules.id_of, tale.main.files)), "gw")
    [path] = tale.graph.paths(tale.main, "esc_r1")
    file = tale.main.files[path]
    tale.put(tale.main, {path: tale.graph.data(file).replace(b"because", b"hence")}, "alice")
    tale.put(tale.main, {path: file}, "boss")


def a_late_proposal_is_merged_by_a_commit_that_is_dated_back(tale: Tale) -> None:
    side = tale.side()
    tale.decided(branch=side)
    in_time = tale.graph.now + timedelta(days=1)
    tale.later(20)
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "bob", at=in_time)


def a_late_release_is_dated_back(tale: Tale) -> None:
    for_one_use(tale, "    valid_for: 1h\n")
    tale.decided()
    now = tale.graph.now
    tale.later(3)
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.graph.now = now
    tale.releases(tale.main)
    tale.later(4)


def a_decision_is_used_whose_commit_says_what_a_waiver_accepts(tale: Tale) -> None:
    for_one_use(tale)
    for by, what in (("gw", "raise"), ("alice", "claim")):
        tale.does(tale.main, by, what)
    bad = tale.does(tale.main, "alice", "approved", message="kt: resolve esc_r1 as denied\n")
    listed = hostile.waivers([(bad, "message", "queue")])
    tale.put(tale.main, {"policies/waivers.yaml": listed}, "boss")
    tale.releases(tale.main)


def a_decision_is_used_beside_which_a_waiver_accepts_something(tale: Tale) -> None:
    """What is wrong with one record says nothing about another one that the same commit has changed."""
    for_one_use(tale)
    for name in ("esc_r1", "esc_r2"):
        tale.does(tale.main, "gw", "raise", name)
    side = tale.side()
    tale.does(side, "alice", "claim")
    claimed, other = "queue/esc_r1.yaml", "queue/esc_r2.yaml"
    changed = tale.graph.data(tale.main.files[other]).replace(b"severity: medium", b"severity: low")
    tale.put(tale.main, {claimed: side.files[claimed], other: changed}, "alice")
    tale.does(tale.main, "alice", "approved")
    tale.releases(tale.main)


def who_decided_first_decides_beside_what_hides_it(tale: Tale) -> None:
    """The merge that brings a decision also changes the record between it and the one that its author decided."""
    tale.put(tale.main, {"policies/settings.yaml": "rules:\n  - approvals: 2\n"}, "boss")
    for by, what in (
        ("gw", "raise"),
        ("alice", "claim"),
        ("alice", "approved"),
        ("bob", "claim"),
        ("bob", "approved"),
    ):
        tale.does(tale.main, by, what)
    between, again = "esc_01m84v4g00p521bw6ppg4swqwm", "esc_01000000000000000000000000"
    tale.reopens(tale.main, "carol", "esc_r1", between)
    tale.does(tale.main, "carol", "withdraw", between)
    tale.reopens(tale.main, "carol", between, again)
    side = tale.side()
    # kt refuses it: she has decided what is reopened.
    tale.does(side, "alice", "claim", again)
    [path] = tale.graph.paths(side, between)
    hidden = tale.graph.data(side.files[path]).replace(b"reopens: esc_r1", b"reopens: esc_r0")
    tale.put(side, {path: hidden}, "mallory")
    tale.does(tale.main, "gw", "raise", "esc_r3")
    tale.merge(tale.main, side.tip, "mallory")


def somebody_raises_while_settings_are_gone_and_people_change(tale: Tale) -> None:
    """No tree has the policies in force, so those who raise name the one that is there."""
    tale.put(tale.main, {"policies/settings.yaml": "claims: {proposals: 20d}\n"}, "boss")
    bad = tale.put(tale.main, {"policies/settings.yaml": None}, "mallory")
    listed = hostile.waivers([(bad, "policies", "policies/settings.yaml")])
    tale.put(tale.main, {"policies/waivers.yaml": listed}, "boss")
    tale.put(tale.main, {ROSTER: roster("alice", "gw", "boss")}, "boss")
    side = tale.side()
    tale.decided(branch=side)
    tale.does(tale.main, "gw", "raise", "esc_r2")
    tale.merge(tale.main, side.tip, "alice")


def what_cannot_be_read_is_accepted_and_then_removed(tale: Tale) -> None:
    tale.does(tale.main, "gw", "raise")
    path = "queue/esc_r1.yaml"
    bad = tale.put(tale.main, {path: ""}, "mallory")
    listed = hostile.waivers([(bad, "file", path)])
    tale.put(tale.main, {"policies/waivers.yaml": listed}, "boss")
    tale.put(tale.main, {path: None}, "mallory")


def what_cannot_be_read_is_accepted_and_then_written_anew(tale: Tale) -> None:
    what_cannot_be_read_is_accepted_and_then_removed(tale)
    side = tale.side(tale.start)
    tale.does(side, "gw", "raise")
    old = Branch(
        tale.graph.parents[tale.main.tip][0], dict(tale.graph.files[tale.graph.parents[tale.main.tip][0]])
    )
    tale.main.tip, tale.main.files = old.tip, old.files
    tale.put(tale.main, {"queue/esc_r1.yaml": side.files["queue/esc_r1.yaml"]}, "gw")


def what_an_admin_took_back_is_merged_by_an_admin(tale: Tale) -> None:
    _taken_back_and_merged(tale, "boss")


def what_an_admin_took_back_is_merged_by_somebody(tale: Tale) -> None:
    _taken_back_and_merged(tale, "bob")


def _taken_back_and_merged(tale: Tale, who: str) -> None:
    side, old = tale.side(), tale.main.files[ROSTER]
    tale.put(side, {ROSTER: roster("alice", "boss")}, "boss")
    tale.put(tale.main, {ROSTER: side.files[ROSTER]}, "boss", "the same, in other words\n")
    tale.put(tale.main, {ROSTER: old}, "boss")
    tale.merge(tale.main, side.tip, who)


def what_was_squashed_goes_on_and_is_merged_by_somebody(tale: Tale) -> None:
    side = tale.side()
    tale.put(side, {ROSTER: roster("alice", "bob", "boss")}, "boss")
    tale.put(tale.main, {ROSTER: side.files[ROSTER]}, "boss", "squashed\n")
    tale.put(side, {ROSTER: roster("alice", "boss")}, "boss")
    tale.merge(tale.main, side.tip, "bob")


@pytest.mark.parametrize(
    ("tell", "rules", "released"),
    [
        (a_late_proposal_is_merged_by_a_commit_that_is_dated_back, set(), True),
        (a_decision_is_used_beside_which_a_waiver_accepts_something, {"transition"}, True),
        (what_cannot_be_read_is_accepted_and_then_removed, {"restore"}, None),
        (what_cannot_be_read_is_accepted_and_then_written_anew, {"restore"}, None),
        (who_decided_first_decides_beside_what_hides_it, {"resolved", "not_allowed"}, None),
        (somebody_raises_while_settings_are_gone_and_people_change, set(), None),
        (a_late_release_is_dated_back, {"release"}, False),
        (a_decision_is_used_whose_commit_says_what_a_waiver_accepts, set(), None),
        (what_an_admin_took_back_is_merged_by_an_admin, set(), None),
        (what_an_admin_took_back_is_merged_by_somebody, {"policies"}, None),
        (what_was_squashed_goes_on_and_is_merged_by_somebody, set(), None),
        (a_release_that_was_taken_back_is_followed_by_a_legal_one, {"release"}, True),
        (a_release_is_left_out_where_it_is_carried, {"release"}, True),
        (a_decision_is_used_that_was_open_when_the_store_began, set(), True),
        (a_decision_is_used_in_a_store_whose_start_cannot_be_read, {"tree"}, None),
        (a_decision_is_used_in_a_store_whose_first_commit_cannot_be_read, {"tree"}, None),
        (a_branch_leaves_where_nothing_could_be_read_yet, {"tree"}, None),
        (a_compaction_is_carried_from_a_tree_that_cannot_be_read, {"tree"}, None),
        (a_record_is_reopened_that_the_store_began_with_twice, {"duplicate_file", "reopens"}, False),
        (a_decision_is_used_whose_release_was_forged_into_an_archive, {"compaction", "release"}, False),
        (a_decision_is_used_again_whose_archive_was_deleted, {"archive", "release"}, False),
        (a_record_is_restored_whose_release_was_deleted, {"release", "resolved"}, False),
        (what_was_squashed_is_merged_again_and_pulled_over, set(), None),
        (what_git_itself_does_not_read_is_before_a_mark_where_dates_count, {"tree", "unsigned"}, None),
        (what_came_after_a_squash_is_left_out, {"dropped"}, None),
        (a_policy_that_the_line_had_is_merged_again, set(), None),
        (a_policy_that_the_line_never_had_is_left_out, {"dropped"}, None),
        (what_was_folded_meanwhile_comes_back_as_a_file, {"merge"}, False),
        (what_is_no_record_is_folded_and_merged, {"file"}, None),
        (two_archives_of_one_record_have_equal_ids, {"compaction"}, False),
        (an_archive_that_cannot_be_read_lists_what_the_line_has, {"compaction", "duplicate_file"}, False),
        (what_is_routed_to_somebody_is_born_without_a_claim, {"invalid_creation"}, None),
        (a_carried_merge_says_what_one_of_its_commits_did, set(), None),
        (a_carried_merge_says_what_none_of_its_commits_did, {"message"}, None),
        (a_record_that_only_an_archive_has_is_legal, set(), True),
        (a_record_that_only_an_archive_has_was_forged, {"not_allowed"}, False),
        (a_record_is_in_an_archive_and_beside_it, {"duplicate_file"}, False),
        (what_was_folded_is_lost_in_the_merge, {"deleted", "dropped"}, False),
        (a_compaction_comes_behind_a_tree_that_cannot_be_read, {"tree"}, None),
        (what_git_itself_does_not_read_is_on_the_way, {"tree", "dropped"}, None),
        (what_an_archive_had_is_taken_for_what_never_was, {"merge", "archive", "dropped", "restore"}, False),
        (a_restoration_heals_what_a_merge_has_dropped, {"dropped", "not_allowed"}, False),
        (
            a_record_is_restored_beside_an_archive_of_it_that_cannot_be_read,
            {"compaction", "deleted", "restore"},
            False,
        ),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_judge_and_oracle_agree_about(
    tmp_path: Path, tell: Callable[[Tale], None], rules: set[str], released: bool | None
) -> None:
    tale = Tale()
    tell(tale)
    graph = tale.graph
    graph.tip = tale.main.tip
    told, _ = disagreements([graph], tmp_path)
    told += told_of_marks(graph, tmp_path, most=99)
    report = audit.verify(tmp_path, graph.tip, afresh=True, now=graph.now)
    assert not told, "\n".join([*told, *graph.story])
    found = {one.rule for one in report.violations}
    assert found >= rules
    assert bool(found) == bool(rules)
    git("update-ref", "refs/heads/main", graph.tip, cwd=tmp_path)
    if released is not None:
        assert is_released(graph, tmp_path, "esc_r1", graph.records(tale.main)) == released
        assert tale.verdict().released.get("esc_r1", False) == released
