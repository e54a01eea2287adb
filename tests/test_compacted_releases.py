"""Archives of releases: no command sees a difference, a decision stays used, and no forger gains by them."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from forge import assert_found, identity, in_full, others, push, rules_of, serve, side, waive, way_in
from gateways import DIGEST, draft
from lab import git, kt
from past import Past, UsedPast, acting

RELEASED, RESOLVED = "queue/released/2024/01", "queue/resolved/2024/01"
ARCHIVE = f"{RELEASED}/archive-0001"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = UsedPast(tmp_path_factory.mktemp("used"))
    # It leaves fewer files to copy.
    made.git("gc", "--quiet")
    return made.path


@pytest.fixture
def past(ground: Path, tmp_path: Path) -> UsedPast:
    made = UsedPast.__new__(UsedPast)
    made.path = tmp_path / "store"
    shutil.copytree(ground, made.path)
    return made


# --- no command sees a difference -----------------------------------------------------------------

RELEASE = ["release", "--digest", DIGEST, "--json"]
#: What is asked before and after, as the gateway.
QUESTIONS = {
    "one": ["get", "--id", "esc_anna", "--json"],
    "one as a page": ["get", "--id", "esc_berta"],
    "waiting for what was used": ["wait", "--id", "esc_anna", "--json"],
    "waiting for what was not": ["wait", "--id", "esc_dora", "--json"],
    "a release of the same": [*RELEASE, "--id", "esc_anna", "--release-id", "T.anna"],
    "a release under another id": [*RELEASE, "--id", "esc_anna", "--release-id", "T.other"],
    "a release of one without a receipt": [*RELEASE, "--id", "esc_clara", "--release-id", "T.other"],
    "a receipt of the same": ["receipt", "--id", "esc_anna", "--status", "executed", "--json"],
    "a receipt that says otherwise": ["receipt", "--id", "esc_anna", "--status", "failed", "--json"],
    "a receipt of what was not used": ["receipt", "--id", "esc_dora", "--status", "failed", "--json"],
    "the story of one": ["log", "--id", "esc_anna"],
    "the story of all": ["log"],
    "what is there to check": ["doctor"],
    "the events": ["events", "--json"],
    "the figures": ["stats", "--since", "2023-01-01T00:00:00Z", "--json"],
}  # fmt: skip


def answers(past: Past) -> dict[str, tuple[int, str, str]]:
    """What the commands say, without what a compaction may change: paths, and the tip of the store."""
    told = re.compile(r'"(path|commit|revision|at|release_commit)": |  (file|commit) |  compact  |commits')
    found = {}
    for question, args in QUESTIONS.items():
        ran = kt(*args, cwd=past.path, env=identity("gw"))
        lines = [line for line in ran.out.splitlines() if not told.search(line)]
        found[question] = ran.code, "\n".join(lines), ran.err.replace(past.tip()[:12], "the tip")
    return found


def test_the_commands_say_the_same_before_and_after(past: UsedPast) -> None:
    before = answers(past)
    assert [before[one][0] for one in ("a release of the same", "a release under another id")] == [0, 6]
    past.compact()
    assert not list((past.path / RELEASED).glob("0*"))
    assert not list((past.path / RESOLVED).glob("0*"))
    assert answers(past) == before
    shutil.rmtree(past.path / ".git/kt")
    assert answers(past) == before


def test_an_export_has_the_same_rows(past: UsedPast) -> None:
    def exported() -> tuple[set[str], dict[str, Any]]:
        ran = kt("export", "-o", "../out", "--json", cwd=past.path)
        rows = [json.loads(line) for line in (past.path.parent / "out").read_text().splitlines()]
        return {json.dumps({**row, "path": ""}) for row in rows}, ran.json

    before, counts = exported()
    past.compact()
    after, now = exported()
    assert after == before
    assert len(before) == 8
    for key in ("records", "released", "executed", "unused"):
        assert now[key] == counts[key], key
    assert (now["released"], now["executed"], now["unused"]) == (3, 1, 1)


def test_an_archive_holds_the_releases_as_they_were_and_the_log_tells_it_once(past: UsedPast) -> None:
    names = sorted(git("ls-files", RELEASED, cwd=past.path).split(), key=lambda name: Path(name).name)
    files = [past.read(name) for name in names]
    ran = kt("compact", "--json", cwd=past.path, env=identity("boss"))
    assert ran.json["archives"] == [f"{ARCHIVE}.yaml", f"{RESOLVED}/archive-0001.yaml"]
    assert ran.json["compacted"] == 7
    assert ran.json["left"] == []
    assert past.read(f"{ARCHIVE}.yaml") == "".join(f"---\n{text}" for text in files)
    assert past.read(f"{ARCHIVE}.ids") == "esc_anna\nesc_berta\nesc_clara\n"
    assert git("log", "-1", "--format=%s", cwd=past.path) == "kt: compact 4 escalations of 2024-01"
    entries = kt("log", "--id", "esc_anna", "--json", cwd=past.path).json["entries"]
    told = ["compact", "receipt", "release", "resolve", "claim", "raise"]
    assert [entry["action"] for entry in entries] == told
    assert entries[0]["text"] == f"into {RESOLVED}/archive-0001.yaml"
    assert kt("verify", "--afresh", cwd=past.path).code == 0
    assert not kt("compact", "--json", cwd=past.path, env=identity("boss")).json["changed"]


def test_a_release_waits_for_its_receipt_and_its_record_does_not(past: UsedPast) -> None:
    when = datetime.now(UTC) - timedelta(days=62)
    for name in ("berta2", "anna2"):
        past.used(name, when)
    with acting("gw"), past.store(when + timedelta(minutes=20)) as store:
        store.receipt("esc_anna2", "executed")
    past.kt("boss", "compact", "--before", "0")
    assert git("ls-files", "queue/released/*/esc_*.yaml", cwd=past.path).count("\n") == 0
    assert "esc_berta2" in git("ls-files", "queue/released", cwd=past.path)
    # The record is in an archive, its release is not: the receipt can still be given.
    past.kt("gw", "receipt", "--id", "esc_berta2", "--status", "executed")
    past.kt("boss", "compact", "--before", "0")
    assert not git("ls-files", "queue/released/*/esc_*.yaml", cwd=past.path)
    entries = kt("log", "--id", "esc_berta2", "--json", cwd=past.path).json["entries"]
    told = ["compact", "receipt", "compact", "release", "resolve", "claim", "raise"]
    assert [entry["action"] for entry in entries] == told
    assert past.rules() == []


def test_what_is_used_after_its_record_was_archived_is_told_and_legal(past: UsedPast) -> None:
    past.compact()
    past.kt("gw", "release", "--id", "esc_dora", "--digest", DIGEST, "--release-id", "T.dora")
    entries = kt("log", "--id", "esc_dora", "--json", cwd=past.path).json["entries"]
    assert [entry["action"] for entry in entries] == ["release", "compact", "resolve", "claim", "raise"]
    event = json.loads(kt("events", "--json", cwd=past.path).out.splitlines()[-1])
    assert (event["action"], event["escalation_id"], event["status"]) == ("release", "esc_dora", "resolved")
    assert past.rules() == []
    assert kt("wait", "--id", "esc_dora", cwd=past.path).code == 6


def test_a_reopening_in_an_archive_ends_a_decision_as_well(past: UsedPast) -> None:
    past.reopened("dora", datetime(2024, 2, 6, tzinfo=UTC))
    past.compact()
    for args in (("release", "--digest", DIGEST), ("wait",)):
        ran = kt(*args, "--id", "esc_dora", "--json", cwd=past.path, env=identity("gw"))
        assert (ran.code, ran.error["code"], ran.error["outcome"]) == (6, "already_reopened", "denied")
    tip = past.tip()
    release_again(past, name="dora", day="2024/01/08")
    assert past.rules() == ["release"]
    past.git("reset", "--quiet", "--hard", tip)
    assert past.rules() == []


def test_the_receipt_of_an_archived_release_stays_as_it_is(past: UsedPast) -> None:
    past.compact()
    tip = past.tip()
    for name, status in (("clara", "missing"), ("berta", "unknown")):
        who, more = ("gw", ()) if name == "clara" else ("boss", ("--reason", "seen"))
        args = ("receipt", "--id", f"esc_{name}", "--status", "executed", *more, "--json")
        ran = kt(*args, cwd=past.path, env=identity(who))
        assert (ran.code, ran.error["code"], ran.error["status"]) == (6, "other_receipt", status)
    assert past.tip() == tip


# --- no forger gains by it ------------------------------------------------------------------------

FORGERIES: dict[str, tuple[str, str, Callable[[UsedPast], None]]] = {}


def forgery(rule: str, said: str = "") -> Callable[[Callable[[UsedPast], None]], Callable[[UsedPast], None]]:
    """Enter a forgery into the corpus, with the rule that it breaks and words of what was expected."""

    def enter(make: Callable[[UsedPast], None]) -> Callable[[UsedPast], None]:
        FORGERIES[make.__name__.replace("_", " ")] = (rule, said, make)
        return make

    return enter


@forgery("release", "expected a release to stay where it is")
def a_release_that_the_archive_drops(past: UsedPast) -> None:
    past.as_kt_does("boss", "compact")
    text = past.read(f"{ARCHIVE}.yaml")
    cut = text[text.index("---", 1) : text.rindex("---")]
    past.write(f"{ARCHIVE}.yaml", text.replace(cut, ""))
    past.edit(f"{ARCHIVE}.ids", ("esc_berta\n", ""))
    past.commit("boss")


@forgery("compaction", "esc_anna byte for byte")
def a_release_with_other_bytes_in_the_archive(past: UsedPast) -> None:
    past.as_kt_does("boss", "compact")
    past.edit(f"{ARCHIVE}.yaml", ("release_id: T.anna", "release_id: T.other"))
    past.commit("boss")


@forgery("compaction", "only what the same commit moves there; esc_dora is not")
def a_release_that_only_the_archive_has(past: UsedPast) -> None:
    past.as_kt_does("boss", "compact")
    text = past.read(f"{ARCHIVE}.yaml")
    past.write(f"{ARCHIVE}.yaml", text + text[: text.index("---", 1)].replace("anna", "dora"))
    past.write(f"{ARCHIVE}.ids", past.read(f"{ARCHIVE}.ids") + "esc_dora\n")
    past.commit("boss")


@forgery("compaction", "final receipt")
def a_release_that_still_waits_for_its_receipt(past: UsedPast) -> None:
    past.used("late", datetime.now(UTC) - timedelta(days=62))
    [path] = git("ls-files", "queue/released/*/esc_late.yaml", cwd=past.path).split()
    archive = "/".join(path.split("/")[:4]) + "/archive-0001"
    past.write(f"{archive}.yaml", f"---\n{past.read(path)}")
    past.write(f"{archive}.ids", "esc_late\n")
    (past.path / path).unlink()
    past.commit("boss")


@forgery("not_allowed", "admin")
def a_compaction_by_the_gateway(past: UsedPast) -> None:
    past.as_kt_does("boss", "compact")
    past.commit("gw")


@forgery("archive", "an archive never changes")
def an_archive_that_changes(past: UsedPast) -> None:
    past.compact()
    past.edit(f"{ARCHIVE}.yaml", ("status: unknown", "status: executed"))
    past.commit("boss")


@forgery("archive", "an archive never changes")
def an_archive_that_is_deleted(past: UsedPast) -> None:
    past.compact()
    for name in (f"{ARCHIVE}.yaml", f"{ARCHIVE}.ids"):
        (past.path / name).unlink()
    past.commit("boss")


@forgery("compaction", "the next number of 2024/01, 1")
def an_archive_with_the_number_of_another(past: UsedPast) -> None:
    past.as_kt_does("boss", "compact")
    for end in ("yaml", "ids"):
        (past.path / f"{ARCHIVE}.{end}").rename(past.path / f"{RELEASED}/archive-0002.{end}")
    past.commit("boss")


def release_again(past: UsedPast, day: str = "2024/01/05", name: str = "anna") -> None:
    """Write a second release of anna's, as it would be by itself, or one like it of somebody else's."""
    text = past.read(f"{ARCHIVE}.yaml").split("---\n")[1]
    text = re.sub(r"\nreceipt:.*", "\n", text, flags=re.DOTALL).replace("T.anna", "T.again")
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = re.sub(r'released_at: ".*"', f'released_at: "{now}"', text)
    end = kt("get", "--id", f"esc_{name}", "--json", cwd=past.path).json["escalation"]["resolution"]
    text = re.sub(r'resolved_at: ".*"', f'resolved_at: "{end["resolved_at"]}"', text)
    past.write(f"queue/released/{day}/esc_{name}.yaml", text.replace("esc_anna", f"esc_{name}"))
    past.commit("gw")


@forgery("release", "expected a decision that legal steps led to")
def a_second_release_of_one_in_an_archive(past: UsedPast) -> None:
    past.compact()
    release_again(past)


@forgery("release", "expected a decision that legal steps led to")
def a_second_release_on_another_day_of_one_in_an_archive(past: UsedPast) -> None:
    past.compact()
    release_again(past, "2024/02/05")


@forgery("release", "expected a decision that legal steps led to")
def a_second_release_in_the_commit_that_archives_the_first_but_the_record(past: UsedPast) -> None:
    past.compact()
    past.write(f"{RELEASED}/archive-0002.ids", "esc_anna\n")
    release_again(past)


@forgery("release", "expected releases and receipts as plain commits")
def an_archive_of_releases_that_a_merge_brings(past: UsedPast) -> None:
    side(past, "compact", who="boss")
    past.kt("alice", "note", "--id", "esc_one", "--text", "main")
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="boss")


@pytest.mark.parametrize("name", others(FORGERIES))
def test_a_forgery_is_found_by_verify_and_the_hook(past: UsedPast, name: str) -> None:
    rule, said, make = FORGERIES[name]
    server = serve(past)
    make(past)
    assert_found(past, server, rule, said)


@pytest.mark.parametrize("name", in_full(FORGERIES))
def test_a_forgery_is_found_and_named(past: UsedPast, name: str) -> None:
    rule, said, make = FORGERIES[name]
    server = serve(past)
    assert kt("verify", cwd=past.path).code == 0
    make(past)
    before = git("rev-parse", "main", cwd=server)
    for args in (("verify",), ("verify", "--afresh"), ("check", f"{before}..HEAD")):
        ran = kt(*args, "--json", cwd=past.path)
        found = [(one["rule"], one["expected"]) for one in ran.json["violations"]]
        assert ran.code == 1, (args, found)
        assert any(one == rule and said in words for one, words in found), (args, found)
    refused = way_in(FORGERIES, name)(past, server)
    assert refused.code == 1, refused.err
    assert re.search(f": {rule}: .*{re.escape(said)}", refused.err), refused.err
    # Nobody is told that a decision may be used again.
    for one in ("anna", "berta", "clara"):
        args = ("release", "--id", f"esc_{one}", "--digest", DIGEST, "--release-id", "T.new", "--json")
        assert kt(*args, cwd=past.path, env=identity("gw")).code == 6


@forgery("compaction", "an archive; it is missing")
def ids_of_a_release_that_nobody_made(past: UsedPast) -> None:
    past.compact()
    past.write("queue/released/2024/02/archive-0001.ids", "esc_dora\n")
    past.commit("mallory")


def test_a_list_of_ids_without_an_archive_uses_nothing_for_any_run(past: UsedPast) -> None:
    ids_of_a_release_that_nobody_made(past)
    found = kt("verify", "--afresh", "--json", cwd=past.path).json["violations"]
    waive(past, *sorted({(one["commit"], one["rule"], one["path"]) for one in found}))
    past.commit("boss")
    assert kt("verify", cwd=past.path).code == 0
    past.kt("gw", "release", "--id", "esc_dora", "--digest", DIGEST)
    for args in ((), ("--afresh",)):
        assert rules_of(past, *args) == []
    # With the archive itself it would say that there was one.
    past.write("queue/released/2024/02/archive-0001.yaml", past.read(f"{ARCHIVE}.yaml"))
    past.commit("mallory")
    ran = kt("receipt", "--id", "esc_dora", "--status", "executed", cwd=past.path, env=identity("gw"))
    assert ran.code != 0
    for args in ((), ("--afresh",)):
        assert rules_of(past, *args)


def test_what_was_denied_is_not_used_where_it_was_called_approved_before_anybody_guarded_it(
    past: UsedPast,
) -> None:
    past.compact()
    with acting("gw"), past.store(datetime.now(UTC)) as store:
        store.create(draft("nora"))
    past.kt("alice", "claim", "--id", "esc_nora")
    past.kt("alice", "resolve", "--id", "esc_nora", "--outcome", "denied", "--reason", "no", "--yes")
    path = past.resolved("nora")
    past.edit(path, ("^  outcome: denied", "  outcome: approved"))
    past.commit("mallory")
    server = serve(past)
    before = past.tip()
    past.kt("boss", "restore", "--id", "esc_nora", "--reason", "forged")
    assert "outcome: denied" in past.read(path)
    release_again(past, "/".join(path.split("/")[2:5]), "nora")
    past.commit("gw")
    refused = push(past, server)
    assert refused.code == 1
    assert ": release: " in refused.err
    assert kt("check", f"{before}..HEAD", cwd=past.path).code == 1


def test_the_server_takes_in_what_is_legal(past: UsedPast) -> None:
    server = serve(past)
    past.compact()
    assert push(past, server).code == 0
    past.kt("gw", "release", "--id", "esc_dora", "--digest", DIGEST)
    assert push(past, server).code == 0


def test_what_was_there_when_the_store_began_is_neither_used_again_nor_for_the_first_time(
    past: UsedPast,
) -> None:
    past.compact()
    past.git("checkout", "--quiet", "--orphan", "new")
    past.commit("boss", "The store as it was handed over")
    assert past.rules() == []
    for name in ("anna", "dora"):
        args = ("release", "--id", f"esc_{name}", "--digest", DIGEST, "--json")
        ran = kt(*args, cwd=past.path, env=identity("gw"))
        assert (ran.code, ran.error["code"]) == (6, "illegal_record"), ran.err
