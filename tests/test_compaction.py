"""Archives of resolved records: no command sees a difference, and no archive that is not made rightly passes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from evidence_case import unpack
from faulty import POINTS, VARIABLE
from forge import (
    ROSTER,
    SETTINGS,
    assert_found,
    identity,
    in_full,
    key_of,
    others,
    push,
    sign_as,
    spare_start,
    waive,
    way_in,
)
from hypothesis import given
from hypothesis import strategies as st
from lab import Lab, end, git, kt, kt_policy, kt_process, start
from pages import as_printed, text_of
from past import Past, acting

from kt_escalation import Store, audit
from kt_escalation.errors import BadInput
from kt_escalation.model import archive_file
from kt_escalation.model.archive_file import MAX_ARCHIVE, Member
from kt_escalation.model.query import Query
from kt_escalation.storage import reader
from kt_escalation.storage.clone import GitStore

JANUARY, MARCH = "queue/resolved/2024/01", "queue/resolved/2024/03"
ARCHIVE = f"{JANUARY}/archive-0001"


# --- no command sees a difference -----------------------------------------------------------------

#: What is asked before and after, as somebody.
QUESTIONS = {
    "every record": ["list", "--status", "all", "--json"],
    "the resolved": ["list", "--status", "resolved", "--sort", "created", "--limit", "2", "--json"],
    "one": ["get", "--id", "esc_anna", "--include-context", "--json"],
    "one as a page": ["get", "--id", "esc_dora"],
    "one by a prefix": ["get", "--id", "esc_clar", "--json"],
    "what was reopened": ["get", "--id", "esc_berta", "--json"],
    "none": ["get", "--id", "esc_nobody", "--json"],
    "none by a prefix": ["get", "--id", "esc_nobo", "--json"],
    "the end of waiting": ["wait", "--id", "esc_anna"],
    "a raise of the same": ["raise", "--request-id", "anna", "--reason-code", "a.b", "--json"],
    "a raise of another": ["raise", "--request-id", "anna", "--reason-code", "b.c", "--json"],
    "a batch of known ones": ["raise", "--batch", "-", "--json"],
    "a claim": ["claim", "--id", "esc_anna", "--json"],
    "a note": ["note", "--id", "esc_anna", "--text", "late", "--json"],
    "an unclaim by force": ["unclaim", "--id", "esc_dora", "--force", "--reason", "x", "--json"],
    "a restoration": ["restore", "--id", "esc_anna", "--reason", "x", "--json"],
    "a resolution of the same": ["resolve", "--id", "esc_anna", "--outcome", "denied", "--reason", "---\nno: it is not"],
    "a resolution otherwise": ["resolve", "--id", "esc_anna", "--outcome", "approved", "--reason", "yes", "--json"],
    "the story of one": ["log", "--id", "esc_anna"],
    "the story of all": ["log"],
    "what is there to check": ["doctor"],
    "the events": ["events", "--json"],
    "the figures": ["stats", "--since", "2023-01-01T00:00:00Z", "--json"],
}  # fmt: skip
ACTORS = {"raise": "gw", "claim": "alice", "resolve": "alice", "note": "alice"}
BATCH = b"".join(
    b'{"request_id": "%s", "reason_code": "a.b"}\n' % name for name in (b"anna", b"dora", b"anna")
)


def answer(past: Past, args: list[str]) -> tuple[int, str, str]:
    """What a command says, without what a compaction may change: paths, and the tip of the store."""
    ran = kt(*args, cwd=past.path, env=identity(ACTORS.get(args[0], "boss")), stdin=BATCH)
    told = re.compile(r'"(path|commit|revision|at)": |  (file|commit) |  compact  ')
    lines = [line for line in ran.out.splitlines() if not told.search(line)]
    return ran.code, "\n".join(lines), ran.err.replace(past.tip()[:12], "the tip")


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_command_says_the_same_before_and_after(past: Past, question: str) -> None:
    before = answer(past, QUESTIONS[question])
    compacted = past.tip()
    past.compact()
    assert past.tip() != compacted
    assert not list((past.path / JANUARY).glob("0*"))
    assert answer(past, QUESTIONS[question]) == before
    forget_index(past)
    assert answer(past, QUESTIONS[question]) == before


def test_policies_are_replayed_over_archived_records_as_well(past: Past) -> None:
    (past.path.parent / "other").mkdir()
    (past.path.parent / "other/settings.yaml").write_text("default_route: {team_id: security}\n")
    asked = ("policy", "replay", "--policies", "../other", "--json")
    before = kt_policy(*asked[1:], cwd=past.path)
    past.compact()
    after = kt_policy(*asked[1:], cwd=past.path)
    assert before.out == after.out
    assert '"esc_dora"' in after.out


def test_an_export_has_the_same_records_and_can_be_reconciled_with_git(past: Past) -> None:
    def exported() -> tuple[set[tuple[str, str]], dict[str, Any]]:
        ran = kt("export", "-o", "../out", "--json", cwd=past.path)
        rows = [json.loads(line) for line in (past.path.parent / "out").read_text().splitlines()]
        return {(row["blob"], json.dumps(row["escalation"])) for row in rows}, ran.json

    before, counts = exported()
    past.compact()
    after, now = exported()
    assert after == before
    assert len(before) == 6
    assert [now[key] for key in ("records", "open", "resolved")] == [
        counts[key] for key in ("records", "open", "resolved")
    ]
    listing = subprocess.run(
        ["git", "ls-tree", "-r", "-z", "HEAD", "queue/"], cwd=past.path, capture_output=True, check=True
    )
    assert hashlib.sha256(listing.stdout).hexdigest() in json.dumps(now)


def test_the_lines_of_the_page_reconcile_an_export_and_find_what_is_missing_or_too_much(past: Past) -> None:
    page = text_of("evidence.md")
    part = page[page.index("Reconcile, with git") : page.index("(`.gitkeep`")]
    script = "\n".join(line for line in part.splitlines() if line.startswith("    "))
    past.compact()
    with past.store(datetime(2024, 6, 1, tzinfo=UTC)) as store, acting("gw"):
        store.create(request_id="late", reason_code="a.b")
    # What would be taken for the branch, and for its newest commit.
    git("tag", "main", "HEAD~2", cwd=past.path)
    git("replace", "-f", "HEAD", "HEAD~1", cwd=past.path)
    folder = past.path.parent / "sum"

    def reconciled(export: str) -> str:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "population.jsonl").write_text(export)
        env = {**os.environ, "GIT_DIR": str(past.path / ".git")}
        done = subprocess.run(
            ["sh", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False
        )
        tree, listing, whole, *differs = done.stdout.splitlines()
        assert [tree, listing.split()[0], whole.split()[0]] == [
            told["tree"],
            told["listing"],
            hashlib.sha256(export.encode()).hexdigest(),
        ]
        assert done.stderr == ""
        assert done.returncode == bool(differs)
        return "\n".join(differs)

    ran = kt("export", "-o", "../population.jsonl", "--json", cwd=past.path)
    told, export = ran.json, (past.path.parent / "population.jsonl").read_text()
    assert export.count("/archive-") == 5
    assert len(export.splitlines()) == 7
    assert reconciled(export) == ""
    anna = next(line for line in export.splitlines() if '"esc_anna"' in line)
    assert reconciled(export.replace(f"{anna}\n", "")).count(f"{ARCHIVE}.yaml") == 1
    assert reconciled(f"{export}{anna}\n").count(f"{ARCHIVE}.yaml") == 1
    blob = anna[10:50]
    assert reconciled(export.replace(blob, "0" * 40)).count(f"{ARCHIVE}.yaml") == 2


def test_the_evidence_of_an_archived_record_tells_its_compaction_and_verifies(past: Past) -> None:
    past.compact()
    past.kt("boss", "evidence", "--id", "esc_anna", "-o", "../anna.tar")
    unpack(past.path.parent / "anna.tar", past.path.parent / "anna")
    pages = "".join(path.read_text() for path in (past.path.parent / "anna").rglob("README*"))
    assert f"compact esc_anna: into {ARCHIVE}.yaml" in pages
    [bundle] = (past.path.parent / "anna").rglob("*.bundle")
    git("clone", "--quiet", str(bundle), str(past.path.parent / "proof"), cwd=past.path)
    assert kt("verify", cwd=past.path.parent / "proof").code == 0


def test_what_a_compaction_only_pretends_to_move_is_an_event(past: Past) -> None:
    start = past.tip()
    past.as_kt_does("boss", "compact")
    past.edit(f"{ARCHIVE}.yaml", ("summary: About anna", "summary: About Anna"))
    past.commit("boss")
    lines = kt("events", "--since", start, "--json", cwd=past.path).out.splitlines()
    assert [(e["action"], e["escalation_id"]) for e in map(json.loads, lines)] == [("delete", "esc_anna")]


def test_an_archive_holds_the_files_as_they_were_and_the_log_tells_it_once(past: Past) -> None:
    names = git("ls-files", JANUARY, cwd=past.path).split()
    files = [past.read(name) for name in sorted(names, key=lambda name: name.rpartition("/")[2])]
    ran = kt("compact", "--json", cwd=past.path, env=identity("boss"))
    assert ran.json["compacted"] == 5
    assert ran.json["changed"]
    assert ran.json["commit"] == past.tip()
    assert ran.json["months"] == {"2024-01": 3, "2024-03": 1, "2024-04": 1}
    assert ran.json["left"] == []
    assert past.read(f"{ARCHIVE}.yaml") == "".join(f"---\n{text}" for text in files)
    assert past.read(f"{ARCHIVE}.ids") == "esc_anna\nesc_berta\nesc_clara\n"
    message = git("log", "-1", "--format=%B", cwd=past.path).splitlines()
    assert message[0] == "kt: compact 5 escalations of 2024-01 to 2024-04"
    assert message[2] == "Kt-Action: compact"
    assert "Kt-Escalation: esc_anna" in message
    assert "Kt-Count: 5" in message
    assert "Kt-Actor: boss" in message
    [told] = [line for line in kt("log", cwd=past.path).out.splitlines() if "compact" in line]
    assert told.endswith("compact  -  boss@example.com: 5 escalations into 3 archives")
    entries = kt("log", "--id", "esc_anna", "--json", cwd=past.path).json["entries"]
    assert [entry["action"] for entry in entries] == ["compact", "resolve", "note", "claim", "raise"]
    assert entries[0]["text"] == f"into {ARCHIVE}.yaml"
    assert git("status", "--porcelain", cwd=past.path) == ""


def test_what_was_compacted_can_be_reopened_once_and_its_deciders_count(past: Past) -> None:
    past.compact()
    past.kt("bob", "reopen", "--id", "esc_anna", "--reason", "again")
    second = kt("reopen", "--id", "esc_anna", "--reason", "x", "--json", cwd=past.path, env=identity("carol"))
    assert second.code == 6
    assert second.error["code"] == "already_reopened"
    third = kt("reopen", "--id", "esc_berta", "--reason", "x", "--json", cwd=past.path, env=identity("carol"))
    assert third.code == 0
    got = kt("get", "--id", "esc_berta", "--json", cwd=past.path).json["reopened_by"]
    assert len(got) == 2
    assert got[1] == third.json["escalation"]["escalation_id"]
    assert past.rules() == []


def test_compacting_again_changes_nothing_and_what_arrives_late_opens_the_next_number(past: Past) -> None:
    past.compact()
    tip = past.tip()
    again = kt("compact", "--json", cwd=past.path, env=identity("boss"))
    assert again.code == 0
    assert again.json["changed"] is False
    assert past.tip() == tip
    past.lived("late", datetime(2024, 1, 20, tzinfo=UTC))
    first = past.read(f"{ARCHIVE}.yaml")
    past.compact()
    assert past.read(f"{ARCHIVE}.yaml") == first
    assert past.read(f"{JANUARY}/archive-0002.ids") == "esc_late\n"
    assert kt("get", "--id", "esc_late", cwd=past.path).code == 0
    assert past.rules() == []


def test_only_months_that_ended_before_the_limit_are_folded(past: Past) -> None:
    since_april = datetime.now(UTC) - datetime(2024, 4, 1, tzinfo=UTC)
    before = f"{int((since_april + timedelta(minutes=1)).total_seconds())}s"
    ran = kt("compact", "--before", before, "--dry-run", "--json", cwd=past.path, env=identity("boss"))
    assert ran.json["months"] == {"2024-01": 3}
    assert ran.json["changed"] is False
    ran = kt(
        "compact",
        "--before",
        f"{int(since_april.total_seconds())}s",
        "--json",
        cwd=past.path,
        env=identity("boss"),
    )
    assert ran.json["months"] == {"2024-01": 3, "2024-03": 1}
    assert (past.path / "queue/resolved/2024/04").exists()
    # What was resolved just now is of a month that is not over.
    past.kt("alice", "claim", "--id", "esc_one")
    past.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    past.kt("boss", "compact", "--before", "0")
    assert past.resolved("one")
    assert past.rules() == []


@pytest.mark.parametrize(
    ("who", "before", "code"),
    [("alice", "90d", 3), ("gw", "90d", 3), ("boss", "-1d", 2), ("boss", "soon", 2), ("boss", "900000d", 2)],
)
def test_who_may_not_and_what_is_no_time_ago_is_refused(past: Past, who: str, before: str, code: int) -> None:
    tip = past.tip()
    for more in ([], ["--dry-run"]):
        ran = kt("compact", "--before", before, *more, "--json", cwd=past.path, env=identity(who))
        assert ran.code == code
        assert past.tip() == tip


def test_a_limit_from_python_is_bad_input_where_it_is_none(past: Past) -> None:
    with (
        acting("boss"),
        past.store(datetime.now(UTC)) as store,
        pytest.raises(BadInput, match="before is negative"),
    ):
        store.compact(timedelta(seconds=-1))


def test_without_a_roster_anyone_compacts(tmp_path: Path) -> None:
    past = Past(tmp_path, roster=None)
    past.compact("somebody")
    assert past.rules() == []


def test_what_cannot_be_read_stays_where_it_is(past: Past) -> None:
    path = past.resolved("anna")
    past.write(path, "broken\n")
    past.commit("alice")
    ran = kt("compact", "--json", cwd=past.path, env=identity("boss"))
    assert ran.json["compacted"] == 4
    assert [item["path"] for item in ran.json["left"]] == [path]
    past.kt("boss", "restore", "--id", "esc_anna", "--reason", "by accident")
    past.compact()
    assert past.read(f"{JANUARY}/archive-0002.ids") == "esc_anna\n"
    assert past.rules() == ["file"]


def test_an_archive_never_changes_so_what_is_wrong_in_it_cannot_be_restored(past: Past) -> None:
    past.edit(past.resolved("anna"), ("summary: About anna", "summary: Nothing"))
    past.commit("alice")
    past.compact()
    ran = kt("restore", "--id", "esc_anna", "--reason", "x", "--json", cwd=past.path, env=identity("boss"))
    assert ran.code == 6
    assert "an archive never changes" in ran.error["message"]
    waiting = kt("wait", "--id", "esc_anna", "--json", cwd=past.path)
    assert waiting.code == 6
    assert waiting.error["code"] == "illegal_record"


def test_files_of_the_user_in_the_checkout_are_left_as_they_are(past: Past) -> None:
    dirty, other = past.resolved("anna"), past.resolved("berta")
    past.write(dirty, "my own words\n")
    ran = kt("compact", "--json", cwd=past.path, env=identity("boss"))
    assert ran.code == 0
    assert ran.json["compacted"] == 5
    assert past.read(dirty) == "my own words\n"
    assert not (past.path / other).exists()
    assert (past.path / f"{ARCHIVE}.yaml").exists()
    assert git("status", "--porcelain", cwd=past.path) == f"?? {'/'.join(dirty.split('/')[:5])}/"


def test_a_path_that_is_staged_is_a_conflict(past: Past) -> None:
    past.write(past.resolved("anna"), "my own words\n")
    git("add", "--all", cwd=past.path)
    ran = kt("compact", "--json", cwd=past.path, env=identity("boss"))
    assert ran.code == 6
    assert ran.error["code"] == "path_staged"


# --- the form of archives -------------------------------------------------------------------------


def members(*sizes: int, month: str = "2024/01") -> list[Member]:
    return [Member(month, f"esc_{at:04}", f"p{at}", "0" * 40, size) for at, size in enumerate(sizes)]


def test_an_archive_is_as_full_as_it_can_be_and_no_fuller() -> None:
    whole = MAX_ARCHIVE - 4
    made = [*archive_file.batches(members(whole, whole - 5, 1, 1, 250_000), {"resolved/2024/01": 7})]
    assert [len(batch.members) for batch in made] == [1, 2, 2]
    assert [batch.name.number for batch in made] == [8, 9, 10]


def test_each_month_has_archives_of_its_own_in_the_order_of_ids() -> None:
    mixed = [*members(1, 2, month="2024/02"), *members(3, month="2024/01")]
    made = [*archive_file.batches(reversed(mixed), {})]
    assert [(batch.name.month, [m.escalation_id for m in batch.members]) for batch in made] == [
        ("2024/01", ["esc_0000"]),
        ("2024/02", ["esc_0000", "esc_0001"]),
    ]


@given(files=st.lists(st.text("-\nab: ", max_size=12).map(lambda text: f"{text}\n".encode()), min_size=1))
def test_files_that_are_fit_come_out_of_an_archive_as_they_went_in(files: list[bytes]) -> None:
    fit = [data for data in files if archive_file.why_unfit(data) is None]
    if fit:
        assert archive_file.read(archive_file.write(fit)) == fit


@pytest.mark.parametrize(
    ("month", "limit", "closed"),
    [
        ("2024/01", datetime(2024, 2, 1, tzinfo=UTC), True),
        ("2024/01", datetime(2024, 1, 31, 23, 59, 59, tzinfo=UTC), False),
        ("2024/12", datetime(2025, 1, 1, tzinfo=UTC), True),
        ("9999/12", datetime(9999, 12, 31, tzinfo=UTC), False),
        ("2024/13", datetime(2025, 1, 1, tzinfo=UTC), False),
    ],
)
def test_a_month_is_closed_when_it_is_over(month: str, limit: datetime, closed: bool) -> None:
    assert archive_file.is_closed(month, limit) is closed


# --- what is not made rightly ---------------------------------------------------------------------

FORGERIES: dict[str, tuple[str, Callable[[Past], None]]] = {}


def forgery(rule: str) -> Callable[[Callable[[Past], None]], Callable[[Past], None]]:
    """Enter a forged compaction, with the rule that it breaks."""

    def enter(make: Callable[[Past], None]) -> Callable[[Past], None]:
        FORGERIES[make.__name__.replace("_", " ")] = (rule, make)
        return make

    return enter


@forgery("compaction")
def one_byte_changed(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    past.edit(f"{ARCHIVE}.yaml", ("summary: About anna", "summary: About Anna"))
    past.commit("boss")


@forgery("compaction")
def one_record_dropped_that_the_ids_still_name(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    text = past.read(f"{ARCHIVE}.yaml")
    past.write(f"{ARCHIVE}.yaml", text[: text.index("---\nschema_version: 1\nescalation_id: esc_clara")])
    past.commit("boss")


@forgery("deleted")
def one_record_dropped(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    text = past.read(f"{ARCHIVE}.yaml")
    past.write(f"{ARCHIVE}.yaml", text[: text.index("---\nschema_version: 1\nescalation_id: esc_clara")])
    past.write(f"{ARCHIVE}.ids", "esc_anna\nesc_berta\n")
    past.commit("boss")


@forgery("compaction")
def one_record_added(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    text = past.read(f"{ARCHIVE}.yaml")
    more = text[text.index("---\nschema_version: 1\nescalation_id: esc_clara") :].replace("clara", "doris")
    past.write(f"{ARCHIVE}.yaml", text + more)
    past.write(f"{ARCHIVE}.ids", "esc_anna\nesc_berta\nesc_clara\nesc_doris\n")
    past.commit("boss")


@forgery("compaction")
def an_archive_of_nothing_that_was_there(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    text = (
        past.read(f"{MARCH}/archive-0001.yaml")
        .replace("esc_dora", "esc_dore")
        .replace("request_id: dora\n", "")
    )
    past.git("reset", "--quiet", "--hard")
    past.write(f"{MARCH}/archive-0001.yaml", text)
    past.write(f"{MARCH}/archive-0001.ids", "esc_dore\n")
    past.commit("boss")


@forgery("compaction")
def a_record_still_there_beside_its_archive(past: Past) -> None:
    path = past.resolved("anna")
    text = past.read(path)
    past.as_kt_does("boss", "compact")
    past.write(path, text)
    past.commit("boss")


def folded_by_hand(past: Past, path: str, folder: str, number: str = "0001") -> None:
    """An archive of one record, well made."""
    name = path.rpartition("/")[2].removesuffix(".yaml")
    past.write(f"{folder}/archive-{number}.yaml", f"---\n{past.read(path)}")
    past.write(f"{folder}/archive-{number}.ids", f"{name}\n")
    (past.path / path).unlink()


@forgery("compaction")
def an_open_month(past: Past) -> None:
    past.kt("alice", "claim", "--id", "esc_one")
    past.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    path = past.resolved("one")
    folded_by_hand(past, path, path.rpartition("/")[0].rpartition("/")[0])
    past.commit("boss")


@forgery("compaction")
def a_month_that_was_open_at_the_commits_time(past: Past) -> None:
    folded_by_hand(past, past.resolved("anna"), JANUARY)
    past.commit("boss", GIT_COMMITTER_DATE="2024-01-20T00:00Z")


@forgery("compaction")
def another_month(past: Past) -> None:
    folded_by_hand(past, past.resolved("anna"), MARCH)
    past.commit("boss")


@forgery("compaction")
def a_number_left_out(past: Past) -> None:
    folded_by_hand(past, past.resolved("anna"), JANUARY, "0002")
    past.commit("boss")


@forgery("not_allowed")
def a_compaction_by_a_reviewer(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    past.commit("alice")


@forgery("not_allowed")
def a_compaction_by_an_admin_enrolled_in_the_same_commit(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    past.write("policies/roster.yaml", ROSTER.replace("roles: [gateway]", "roles: [gateway, admin]"))
    past.commit("gw")


@forgery("compaction")
def a_compaction_with_something_else(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    past.write("policies/settings.yaml", SETTINGS.replace("1h", "2h"))
    past.commit("boss")


@forgery("not_allowed")
def a_compaction_that_hides_a_claim_in_anothers_name(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    past.as_kt_does("alice", "claim", "--id", "esc_one")
    past.commit("boss")


@forgery("archive")
def an_archive_edited_later(past: Past) -> None:
    past.compact()
    past.edit(f"{ARCHIVE}.yaml", ("summary: About anna", "summary: About Anna"))
    past.commit("boss")


@forgery("archive")
def an_archive_deleted(past: Past) -> None:
    past.compact()
    for name in (f"{ARCHIVE}.yaml", f"{ARCHIVE}.ids"):
        (past.path / name).unlink()
    past.commit("boss")


@forgery("archive")
def ids_edited_later(past: Past) -> None:
    past.compact()
    past.edit(f"{ARCHIVE}.ids", ("esc_berta\n", ""))
    past.commit("boss")


@forgery("archive")
def an_archive_that_a_later_one_overwrites(past: Past) -> None:
    past.compact()
    past.lived("late", datetime(2024, 1, 20, tzinfo=UTC))
    folded_by_hand(past, past.resolved("late"), JANUARY)
    past.commit("boss")


@forgery("compaction")
def ids_that_lie(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    past.edit(f"{ARCHIVE}.ids", ("esc_berta", "esc_berte"))
    past.commit("boss")


@forgery("compaction")
def ids_that_are_missing(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    (past.path / f"{ARCHIVE}.ids").unlink()
    past.commit("boss")


@forgery("compaction")
def ids_without_an_archive(past: Past) -> None:
    past.write(f"{ARCHIVE}.ids", "esc_anna\n")
    past.commit("boss")


@forgery("compaction")
def a_wrong_order(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    first, *rest = past.read(f"{ARCHIVE}.yaml").removeprefix("---\n").split("\n---\n")
    past.write(f"{ARCHIVE}.yaml", "---\n" + "\n---\n".join([rest[0], first, rest[1]]))
    past.write(f"{ARCHIVE}.ids", "esc_berta\nesc_anna\nesc_clara\n")
    past.commit("boss")


@forgery("compaction")
def a_wrong_order_of_two_archives(past: Past) -> None:
    folded_by_hand(past, past.resolved("berta"), JANUARY)
    folded_by_hand(past, past.resolved("anna"), JANUARY, "0002")
    past.commit("boss")


@forgery("compaction")
def an_archive_that_is_a_link(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    (past.path / f"{ARCHIVE}.yaml").unlink()
    (past.path / f"{ARCHIVE}.yaml").symlink_to("../03/archive-0001.yaml")
    past.commit("boss")


@forgery("compaction")
def an_archive_that_is_too_large(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    past.write(f"{ARCHIVE}.yaml", past.read(f"{ARCHIVE}.yaml") + "#" * MAX_ARCHIVE + "\n")
    past.commit("boss")


@forgery("deleted")
def deletions_without_an_archive(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    for path in git("ls-files", "*/archive-*", cwd=past.path).split():
        (past.path / path).unlink()
    past.commit("boss")


@forgery("duplicate_file")
def an_archived_id_raised_anew(past: Past) -> None:
    text = past.read(past.resolved("anna"))
    past.compact()
    born = text[: text.index("claim:")].replace("status: resolved", "status: queued")
    past.write("queue/esc_anna.yaml", born)
    past.commit("gw")


@forgery("duplicate_file")
def an_archived_record_put_back_by_an_admin(past: Past) -> None:
    path = past.resolved("anna")
    text = past.read(path)
    past.compact()
    past.write(path, text)
    past.commit("boss")


@forgery("foreign")
def an_archive_in_another_place(past: Past) -> None:
    past.write("queue/resolved/archive-0001.yaml", "---\nx\n")
    past.commit("boss")


@forgery("message")
def a_message_that_tells_another_action(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    past.commit("boss", "kt: sweep\n\nKt-Action: sweep\nKt-Actor: boss\n")


@forgery("message")
def a_message_that_leaves_one_out(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    past.commit(
        "boss", "kt: compact\n\nKt-Action: compact\nKt-Escalation: esc_anna\nKt-Count: 4\nKt-Actor: boss\n"
    )


@forgery("message")
def a_message_that_names_another_actor(past: Past) -> None:
    past.as_kt_does("boss", "compact")
    past.commit("boss", "kt: compact\n\nKt-Action: compact\nKt-Actor: carol\n")


@forgery("dropped")
def a_merge_that_takes_a_compaction_back(past: Past) -> None:
    side(past)
    past.compact()
    main = past.tip()
    past.git("switch", "--quiet", "side")
    past.git("merge", "--quiet", "--no-ff", "-s", "ours", "-m", "merge", main)
    past.git("branch", "--quiet", "-f", "main", "HEAD")
    past.git("switch", "--quiet", "main")


@forgery("merge")
def a_merge_that_puts_an_archived_record_back(past: Past) -> None:
    path = past.resolved("anna")
    text = past.read(path)
    side(past)
    past.compact()
    past.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    past.write(path, text)
    past.commit("boss")


@forgery("merge")
def a_merge_that_brings_an_archive_of_its_own(past: Past) -> None:
    side(past)
    past.kt("alice", "note", "--id", "esc_one", "--text", "main")
    past.git("merge", "--quiet", "--no-commit", "--no-ff", "side")
    folded_by_hand(past, past.resolved("anna"), JANUARY)
    past.commit("boss")


@forgery("not_allowed")
def a_side_branch_that_an_admin_since_removed_has_compacted(past: Past) -> None:
    past.git("switch", "--quiet", "-c", "side")
    past.compact()
    past.git("switch", "--quiet", "-")
    past.write(
        "policies/roster.yaml",
        ROSTER.replace("roles: [reviewer]", "roles: [reviewer, admin]", 1).replace("[admin]", "[reviewer]"),
    )
    past.commit("boss")
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")


def side(past: Past) -> None:
    """A branch from here with something on it, beside the one that is checked out."""
    past.git("switch", "--quiet", "-c", "side")
    past.raised("two")
    past.git("switch", "--quiet", "-")


@pytest.fixture(scope="session")
def past_server(past_ground: Path) -> Path:
    """A bare repository with the past, and the hook; each forgery is refused, so they can share it."""
    bare = past_ground.parent / "server.git"
    git("clone", "--quiet", "--bare", "--no-hardlinks", str(past_ground), str(bare), cwd=bare.parent)
    assert kt("hook", "install", "--server", str(bare), cwd=bare.parent).code == 0
    spare_start(bare)
    return bare


@pytest.mark.parametrize("name", others(FORGERIES))
def test_a_forged_compaction_is_found_by_verify_and_the_hook(
    past: Past, past_server: Path, name: str
) -> None:
    rule, make = FORGERIES[name]
    make(past)
    assert_found(past, past_server, rule, "")


@pytest.mark.parametrize("name", in_full(FORGERIES))
def test_a_forged_compaction_is_found_and_named(past: Past, past_server: Path, name: str) -> None:
    rule, make = FORGERIES[name]
    before = past.tip()
    make(past)
    assert rule in past.rules()
    checked = kt("check", f"{before}..HEAD", "--json", cwd=past.path)
    assert checked.code == 1
    assert rule in {found["rule"] for found in checked.json["violations"]}
    refused = way_in(FORGERIES, name)(past, past_server)
    assert refused.code == 1
    assert f": {rule}: " in refused.err
    assert git("rev-parse", "main", cwd=past_server) == before


@pytest.mark.parametrize("name", in_full(FORGERIES))
def test_a_forged_compaction_that_is_waived_releases_nothing_that_it_changed(past: Past, name: str) -> None:
    before = standing(past)
    FORGERIES[name][1](past)
    waived(past)
    after = standing(past)
    changed = {one for one in before.keys() | after.keys() if before.get(one) != after.get(one)}
    for one in sorted(changed):
        ran = kt("wait", "--id", one, "--timeout", "1", "--json", cwd=past.path, env=identity("gw"))
        assert ran.code not in (0, 1), (one, ran.out)
    # And a run from a mark says the same as one over all.
    assert past.rules() == []
    assert kt("verify", cwd=past.path).code == 0


def standing(past: Past) -> dict[str, list[str]]:
    """The blobs of each resolved record, wherever it is."""
    with closing(GitStore(past.path)) as store:
        snapshot = store.at(past.tip())
        return {
            name: sorted(oid for _, _, oid in snapshot.files_of(name)) for name in snapshot.ids(resolved=True)
        }


def waived(past: Past) -> None:
    """Let an admin waive all violations, also those that come out when others are waived."""
    accepted: set[tuple[str, str, str]] = set()
    users = yaml.safe_load(past.read("policies/roster.yaml"))["users"]
    who = next(user["user_id"] for user in users if "admin" in user["roles"])
    for _ in range(5):
        found = kt("verify", "--afresh", "--json", cwd=past.path).json["violations"]
        if not found:
            return
        accepted |= {(one["commit"], one["rule"], one["path"]) for one in found}
        waive(past, *sorted(accepted))
        past.commit(who)
    raise AssertionError(found)


def pieces(past: Past) -> list[str]:
    """The records in the archive, in order."""
    return [f"{one}\n" for one in past.read(f"{ARCHIVE}.yaml")[4:-1].split("\n---\n")]


def put(past: Past, files: list[str]) -> None:
    past.write(f"{ARCHIVE}.yaml", "".join(f"---\n{one}" for one in files))


def cut(past: Past, name: str) -> None:
    put(past, [one for one in pieces(past) if f"escalation_id: {name}" not in one])
    past.edit(f"{ARCHIVE}.ids", (f"{name}\n", ""))


def approval(piece: str) -> str:
    return piece.replace("outcome: denied", "outcome: approved")


def turned_round(past: Past) -> None:
    put(past, [approval(one) if "escalation_id: esc_anna" in one else one for one in pieces(past)])


def cut_out(past: Past) -> None:
    """Cut a reopening out of its archive, so that what it reopened seems to stand."""
    [again] = [name for name in past.read(f"{ARCHIVE}.ids").split() if name not in NAMES]
    cut(past, again)


def made_up(past: Past) -> None:
    [anna] = [one for one in pieces(past) if "escalation_id: esc_anna" in one]
    past.write(f"{JANUARY}/archive-0002.yaml", f"---\n{approval(anna).replace('anna', 'dore')}")
    past.write(f"{JANUARY}/archive-0002.ids", "esc_dore\n")


NAMES = ("esc_anna", "esc_berta", "esc_clara", "esc_emma")


@pytest.mark.parametrize(
    ("forge_it", "name"), [(turned_round, "esc_anna"), (cut_out, "esc_emma"), (made_up, "esc_dore")]
)
def test_an_approval_that_only_a_waived_archive_makes_is_not_released(
    past: Past, forge_it: Callable[[Past], None], name: str
) -> None:
    with acting("gw"), past.store(datetime(2024, 1, 8, 10, tzinfo=UTC)) as store:
        store.create(request_id="emma", reason_code="a.b")
    one = "esc_emma"
    for hour, who, outcome in ((11, "alice", "approved"), (13, "bob", "denied")):
        with acting(who), past.store(datetime(2024, 1, 8, hour, tzinfo=UTC)) as store:
            store.claim(one)
            store.resolve(one, outcome, "so be it")
        if outcome == "approved":
            with acting("bob"), past.store(datetime(2024, 1, 8, 12, tzinfo=UTC)) as store:
                one = store.reopen(one, "A second look").record.escalation_id
    past.compact()
    forge_it(past)
    past.commit("mallory")
    waited = ["wait", "--id", name, "--json"]
    ran = kt(*waited, cwd=past.path, env=identity("gw"))
    assert ran.error["code"] in ("illegal_record", "already_reopened"), ran.err
    waived(past)
    clone = past.path.parent / "clone"
    git("clone", "--quiet", str(past.path), str(clone), cwd=past.path.parent)
    for folder in (past.path, clone):
        ran = kt(*waited, cwd=folder, env=identity("gw"))
        assert (ran.code, ran.error["code"]) == (6, "illegal_record"), ran.out


def test_an_admin_who_takes_a_change_of_an_archive_back_makes_its_records_legal_again(past: Past) -> None:
    """They can be reopened, and are not released."""
    past.compact()
    turned_round(past)
    past.commit("mallory")
    past.git("revert", "--no-edit", "HEAD", who="boss")
    waived(past)
    assert kt("wait", "--id", "esc_anna", cwd=past.path, env=identity("gw")).code == 6
    past.kt("alice", "reopen", "--id", "esc_anna", "--reason", "A second look")
    assert past.rules() == []


def test_a_forged_file_beside_a_damaged_archive_never_becomes_the_legal_state(past: Past) -> None:
    legal = past.read(past.resolved("anna"))
    path = past.resolved("anna")
    past.compact()
    for forged in (approval(legal), None):
        cut(past, "esc_anna")
        if forged:
            past.write(path, forged)
        past.commit("mallory")
        if forged:
            past.git("revert", "--no-edit", "HEAD", who="boss")
    past.kt("boss", "restore", "--id", "esc_anna", "--reason", "it was cut out")
    assert past.read(path) == legal
    waived(past)
    past.kt("alice", "reopen", "--id", "esc_anna", "--reason", "A second look")
    assert past.rules() == []


def test_a_record_in_two_archives_is_illegal_until_both_are_gone(past: Past) -> None:
    legal, path = past.read(past.resolved("anna")), past.resolved("anna")
    for number, text in (("0001", approval(legal)), ("0002", legal)):
        past.write(f"{JANUARY}/archive-{number}.yaml", f"---\n{text}")
        past.write(f"{JANUARY}/archive-{number}.ids", "esc_anna\n")
    (past.path / path).unlink()
    past.commit("mallory")
    past.git("rm", "--quiet", f"{JANUARY}/archive-0002.yaml", f"{JANUARY}/archive-0002.ids")
    past.commit("mallory")
    for commit in ("HEAD", "HEAD~2"):
        past.git("revert", "--no-edit", commit, who="boss")
    assert past.read(path) == legal
    waived(past)
    past.kt("alice", "reopen", "--id", "esc_anna", "--reason", "A second look")
    assert past.rules() == []


def test_an_archive_that_a_merge_puts_back_is_legal_again(past: Past) -> None:
    past.compact()
    turned_round(past)
    past.commit("mallory")
    past.git("switch", "--quiet", "-c", "mended")
    past.git("revert", "--no-edit", "HEAD", who="boss")
    past.git("switch", "--quiet", "main")
    past.raised("two")
    past.git("merge", "--quiet", "--no-ff", "-m", "Merge mended", "mended", who="bob")
    waived(past)
    past.kt("alice", "reopen", "--id", "esc_anna", "--reason", "A second look")
    assert past.rules() == []


def test_an_archive_is_read_no_more_often_however_many_ids_it_lists(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    contents = archive_file.contents
    monkeypatch.setattr(archive_file, "contents", lambda *both: read.append(both) or contents(*both))
    counts = []
    for many in (10, 400):
        past.write(f"{JANUARY}/archive-0001.ids", "".join(f"esc_{number:04}\n" for number in range(many)))
        for text in ("one\n", "two\n", "three\n"):
            past.write(f"{JANUARY}/archive-0001.yaml", text)
            past.commit("boss")
        read.clear()
        audit.verify(past.path, "HEAD", afresh=True, now=datetime.now(UTC))
        counts.append(len(read))
    assert counts[1] <= 2 * counts[0] + 10


def test_who_raises_what_a_deleted_archive_held_is_found_from_a_mark_as_well(past: Past) -> None:
    an_archive_deleted(past)
    waived(past)
    assert kt("verify", cwd=past.path).code == 0
    past.kt("gw", "raise", "--request-id", "anna", "--reason-code", "a.b")
    assert kt("verify", "--json", cwd=past.path).json["violations"]
    assert past.rules() == ["restore"]


def test_a_record_of_a_deleted_archive_is_restored_as_a_file_and_released_no_more(past: Past) -> None:
    text = past.read(past.resolved("anna"))
    an_archive_deleted(past)
    waived(past)
    past.kt("boss", "restore", "--id", "esc_anna", "--reason", "its archive was deleted")
    assert past.read(past.resolved("anna")) == text
    assert past.rules() == []
    assert kt("verify", cwd=past.path).code == 0
    assert kt("wait", "--id", "esc_anna", cwd=past.path, env=identity("gw")).code == 6
    past.kt("alice", "reopen", "--id", "esc_anna", "--reason", "A second look")
    past.compact()
    assert past.rules() == []


def test_a_month_that_is_open_by_the_servers_clock_is_refused(past: Past, past_server: Path) -> None:
    past.kt("alice", "claim", "--id", "esc_one")
    past.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    before = past.tip()
    path = past.resolved("one")
    folded_by_hand(past, path, path.rpartition("/")[0].rpartition("/")[0])
    past.commit("boss", GIT_COMMITTER_DATE=(datetime.now(UTC) + timedelta(days=40)).isoformat())
    # Only whoever has a clock can tell.
    assert past.rules() == ["compaction", "time"]
    ran = kt("check", f"{before}..HEAD", cwd=past.path)
    assert ran.code == 1
    assert "compaction: expected a month that is over by now" in ran.out
    assert "a month that is over by now" in push(past, past_server).err


# --- and what is legal raises no alarm ------------------------------------------------------------


def test_a_compaction_between_two_looks_is_clean_for_every_judge(past: Past, past_server: Path) -> None:
    assert kt("verify", cwd=past.path).code == 0
    start = past.tip()
    past.compact()
    past.kt("alice", "claim", "--id", "esc_one")
    past.raised("two")
    new = kt("verify", "--json", cwd=past.path)
    assert new.json["ok"]
    assert new.json["since"] == start
    assert new.json["steps"] == 2
    assert kt("check", f"{start}..HEAD", "--json", cwd=past.path).json["violations"] == []
    bare = past.path.parent / "server.git"
    git("clone", "--quiet", "--bare", str(past_server), str(bare), cwd=past.path.parent)
    assert kt("hook", "install", "--server", str(bare), cwd=bare.parent).code == 0
    # One push with all of it, and one after it that knows the past only from archives.
    assert push(past, bare).code == 0
    past.raised("three")
    assert push(past, bare).code == 0
    again = past.tip()
    past.as_kt_does("gw", "raise", "--request-id", "anna-2", "--reason-code", "a.b")
    past.edit("queue/esc_anna-2.yaml", ("esc_anna-2", "esc_anna"), ("request_id: anna-2", "request_id: anna"))
    (past.path / "queue/esc_anna-2.yaml").rename(past.path / "queue/esc_anna.yaml")
    past.commit("gw")
    assert ": duplicate_file: expected " in push(past, bare).err
    assert git("rev-parse", "main", cwd=bare) == again


def test_merges_that_bring_a_compaction_in_either_way_are_clean(past: Past) -> None:
    side(past)
    past.compact()
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    past.git("switch", "--quiet", "-c", "other", "HEAD~1")
    past.raised("three")
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", "main")
    past.git("switch", "--quiet", "main")
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", "other")
    past.git("switch", "--quiet", "-c", "compacting", "side")
    past.git("switch", "--quiet", "main")
    assert past.rules() == []


def test_a_pull_request_that_merges_a_compacted_base_is_clean(past: Past) -> None:
    side(past)
    past.compact()
    base = past.tip()
    past.git("switch", "--quiet", "side")
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", base)
    assert kt("check", f"{base}..HEAD", "--json", cwd=past.path).json["violations"] == []


def test_a_side_branch_that_resolved_into_a_compacted_month_comes_in_and_opens_the_next_number(
    past: Past,
) -> None:
    # The proposal is older than any that may still be merged where nothing is said.
    past.write("policies/settings.yaml", "claims: {proposals: 3650d}\n")
    past.commit("boss")
    past.git("switch", "--quiet", "-c", "side")
    past.lived("late", datetime(2024, 1, 20, tzinfo=UTC))
    past.git("switch", "--quiet", "-")
    past.compact()
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    assert past.rules() == []
    past.compact()
    assert past.read(f"{JANUARY}/archive-0002.ids") == "esc_late\n"
    assert past.rules() == []


def test_a_side_branch_that_an_admin_compacted_is_brought_in(past: Past) -> None:
    past.git("switch", "--quiet", "-c", "side")
    past.compact()
    past.git("switch", "--quiet", "-")
    past.write("policies/settings.yaml", SETTINGS.replace("1h", "2h"))
    past.commit("boss")
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="boss")
    assert past.rules() == []


def test_a_compaction_is_signed_where_signatures_are_required(past: Past, past_server: Path) -> None:
    key = " ".join(key_of(past, "boss").with_suffix(".pub").read_text().split()[:2])
    past.edit("policies/roster.yaml", (r"roles: \[admin\]", rf'\g<0>, signing_keys: ["{key}"]'))
    past.write("policies/settings.yaml", f"{SETTINGS}signatures: required\n")
    past.commit("boss", "signatures from now on")
    past.compact()
    assert past.rules() == ["unsigned"]
    assert ": unsigned: " in push(past, past_server).err
    past.git("reset", "--quiet", "--hard", "HEAD^")
    sign_as(past, "alice")
    past.compact()
    assert past.rules() == ["signature"]
    past.git("reset", "--quiet", "--hard", "HEAD^")
    sign_as(past, "boss")
    past.compact()
    assert past.rules() == []


def test_an_unsigned_compaction_of_a_side_branch_does_not_come_in_where_signatures_are_required(
    past: Past,
) -> None:
    past.git("switch", "--quiet", "-c", "side")
    past.compact()
    past.git("switch", "--quiet", "-")
    past.write("policies/settings.yaml", f"{SETTINGS}signatures: required\n")
    past.commit("boss", "signatures from now on")
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who="boss")
    assert past.rules() == ["unsigned"]


def test_who_resolves_while_a_side_branch_compacts_loses_nothing(past: Past) -> None:
    past.git("switch", "--quiet", "-c", "side")
    past.compact()
    past.git("switch", "--quiet", "-")
    past.kt("alice", "claim", "--id", "esc_one")
    past.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    past.kt("bob", "reopen", "--id", "esc_anna", "--reason", "again")
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    assert past.rules() == []
    assert [kt("wait", "--id", name, cwd=past.path).code for name in ("esc_one", "esc_anna")] == [0, 1]
    assert len(kt("get", "--id", "esc_anna", "--json", cwd=past.path).json["reopened_by"]) == 1


def test_archives_of_the_first_commit_are_imported(past: Past) -> None:
    past.compact()
    git("switch", "--quiet", "--orphan", "new", cwd=past.path)
    git("checkout", "main", "--", ".", cwd=past.path)
    past.commit("boss", "import")
    ran = kt("verify", "--afresh", "--json", cwd=past.path)
    assert ran.json["violations"] == []
    assert ran.json["imported"] == 6
    entries = kt("log", "--id", "esc_anna", "--json", cwd=past.path).json["entries"]
    assert [entry["action"] for entry in entries] == ["resolve", "note", "raise"]
    ran = kt("wait", "--id", "esc_anna", cwd=past.path)
    assert ran.code == 6
    assert "it was imported already resolved or reviewed, and nobody can prove" in ran.err
    past.raised("four")
    past.write("queue/esc_anna.yaml", past.read("queue/esc_four.yaml").replace("four", "anna"))
    past.commit("gw")
    assert past.rules() == ["duplicate_file"]


def test_an_imported_archive_that_is_badly_made_is_told(past: Past) -> None:
    past.compact()
    git("switch", "--quiet", "--orphan", "new", cwd=past.path)
    git("checkout", "main", "--", ".", cwd=past.path)
    past.edit(f"{ARCHIVE}.yaml", ("summary: About anna", 'summary: "About anna"'))
    past.edit(f"{MARCH}/archive-0001.ids", ("dora", "dore"))
    past.commit("boss", "import")
    assert past.rules() == ["file", "file"]


# --- what is damaged is told and hides nothing ----------------------------------------------------


def test_an_archive_that_cannot_be_read_is_told_and_hides_no_other(past: Past) -> None:
    past.compact()
    past.write(f"{ARCHIVE}.yaml", "no archive\n")
    past.commit("mallory")
    listed = kt("list", "--status", "resolved", "--json", cwd=past.path).json
    assert [item["path"] for item in listed["invalid"]] == [f"{ARCHIVE}.yaml"]
    assert len(listed["escalations"]) == 2
    ran = kt("get", "--id", "esc_anna", "--json", cwd=past.path)
    assert ran.code == 2
    assert ran.error["code"] == "unreadable_record"
    again = kt(
        "raise", "--request-id", "anna", "--reason-code", "a.b", "--json", cwd=past.path, env=identity("gw")
    )
    assert again.code == 2
    assert again.error["code"] == "unreadable_record"


def test_a_lonely_half_of_an_archive_is_told(past: Past) -> None:
    past.compact()
    (past.path / f"{ARCHIVE}.ids").unlink()
    past.commit("mallory")
    listed = kt("list", "--status", "resolved", "--json", cwd=past.path).json
    assert [item["path"] for item in listed["invalid"]] == [f"{ARCHIVE}.yaml"]


def test_a_record_of_another_month_in_an_archive_is_told(past: Past) -> None:
    past.compact()
    for kind in ("yaml", "ids"):
        past.write(f"queue/resolved/2024/02/archive-0001.{kind}", past.read(f"{MARCH}/archive-0001.{kind}"))
    past.commit("mallory")
    told = kt("list", "--status", "resolved", cwd=past.path).err
    assert "2024/02/archive-0001.yaml: holds esc_dora, which belongs at queue/resolved/2024/03/31" in told


def test_what_only_an_archive_holds_is_listed_also_by_who_cannot_remember_it(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = kt("list", "--status", "all", "--json", cwd=past.path).json["escalations"]
    past.compact()
    git("switch", "--quiet", "--orphan", "new", cwd=past.path)
    git("checkout", "main", "--", ".", cwd=past.path)
    past.commit("boss", "import")
    clone = past.path.parent / "clone"
    address = past.path.as_uri()
    git("clone", "--quiet", "--single-branch", "-b", "new", address, str(clone), cwd=past.path.parent)
    monkeypatch.setattr(reader, "_REMEMBERED", 1)
    with Store.open(clone) as store:
        found = store.list(Query(statuses=frozenset({"queued", "claimed", "resolved"})))
    assert [record.as_dict() for record in found.records] == listed
    assert found.invalid == ()


# --- the clone's index ----------------------------------------------------------------------------


def found(past: Past, name: str) -> int:
    return kt("get", "--id", name, cwd=past.path).code


INDEX = ("archives-2-ids", "archives-2-reopened")


def forget_index(past: Past) -> None:
    for name in INDEX:
        (past.path / ".git/kt" / name).unlink(missing_ok=True)


def test_a_damaged_index_is_made_anew(past: Past) -> None:
    past.compact()
    index = past.path / ".git/kt" / INDEX[0]
    assert found(past, "esc_anna") == 0
    assert index.exists()
    index.write_bytes(b"no index at all" * 1000)
    assert found(past, "esc_dora") == 0
    good = index.read_bytes()
    index.write_bytes(good[:300] + b"\xff" * (len(good) - 300))
    assert found(past, "esc_anna") == 0
    assert found(past, "esc_nobody") == 7


def test_an_edited_index_hides_nothing(past: Past) -> None:
    """Whoever can write it, and not read the clone's key, cannot make commands say that a record is not there."""
    past.compact()
    asked = [
        ("get", "--id", "esc_anna", "--json"),
        ("get", "--id", "esc_berta", "--json"),
        ("wait", "--id", "esc_anna", "--json"),
        ("log", "--id", "esc_anna", "--json"),
        ("list", "--status", "resolved", "--json"),
        ("raise", "--request-id", "anna", "--reason-code", "x.y", "--json"),
        ("reopen", "--id", "esc_berta", "--reason", "again", "--json"),
    ]
    before = [kt(*args, cwd=past.path, env=identity("gw")) for args in asked]
    assert [ran.code for ran in before[:2]] == [0, 0]
    assert before[1].json["reopened_by"]
    for name in INDEX:
        path = past.path / ".git/kt" / name
        first, _, rest = path.read_bytes().partition(b"\n")
        # The same length, so that all but the tags is as it was.
        gone = re.sub(rb"esc_(anna|berta)", lambda match: b"esc_" + b"x" * len(match[1]), rest)
        assert gone != rest
        path.write_bytes(first + b"\n" + gone)
    assert [kt(*args, cwd=past.path, env=identity("gw")) for args in asked] == before


def test_an_index_of_another_clone_is_no_index(past: Past, tmp_path: Path) -> None:
    """Made there of archives that are called the same: its tags are under another key."""
    past.compact()
    assert found(past, "esc_anna") == 0
    other = tmp_path / "other"
    git("clone", "--quiet", str(past.path), str(other), cwd=tmp_path)
    assert kt("get", "--id", "esc_anna", cwd=other).code == 0
    theirs, mine = (folder / ".git/kt" / INDEX[0] for folder in (other, past.path))
    assert theirs.read_bytes() != mine.read_bytes()
    mine.write_bytes(theirs.read_bytes())
    assert found(past, "esc_anna") == 0
    assert mine.read_bytes() != theirs.read_bytes()


def test_where_the_index_cannot_be_written_memory_will_do(past: Past) -> None:
    past.compact()
    assert found(past, "esc_anna") == 0
    index = past.path / ".git/kt" / INDEX[0]
    index.unlink()
    index.mkdir()
    assert found(past, "esc_anna") == 0
    assert found(past, "esc_nobody") == 7


def test_the_index_knows_many_revisions_and_answers_for_each(past: Past) -> None:
    start = past.tip()
    past.kt("boss", "compact", "--before", "0")
    assert found(past, "esc_anna") == 0
    before = kt("get", "--id", "esc_anna", "--rev", start, "--json", cwd=past.path).json
    assert before["path"].endswith("/05/esc_anna.yaml")
    git("reset", "--quiet", "--hard", start, cwd=past.path)
    assert kt("get", "--id", "esc_anna", "--json", cwd=past.path).json["path"] == before["path"]


def test_many_processes_fill_the_index_at_once(past: Past) -> None:
    past.compact()
    forget_index(past)
    running = [start("get", "--id", "esc_berta", "--json", cwd=past.path, forked=True) for _ in range(6)]
    assert [len(end(one).json["reopened_by"]) for one in running] == [1] * 6


# --- whatever dies in the middle, and who comes first ---------------------------------------------


@pytest.fixture
def shared(past: Past, tmp_path: Path) -> Past:
    """The same with a remote."""
    git(
        "clone",
        "--quiet",
        "--bare",
        "--no-hardlinks",
        str(past.path),
        str(tmp_path / "remote.git"),
        cwd=tmp_path,
    )
    past.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    past.git("fetch", "--quiet", "origin")
    past.git("remote", "set-head", "origin", "main")
    return past


def another_clone(shared: Past, name: str) -> Past:
    made = Past.__new__(Past)
    made.path = shared.path.parent / name
    git("clone", "--quiet", str(shared.path.parent / "remote.git"), str(made.path), cwd=shared.path.parent)
    return made


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(
    "point",
    [
        pytest.param(point, marks=[] if point in ("after-build", "after-push") else [pytest.mark.soak])
        for point in POINTS
    ],
)
def test_after_a_kill_a_compaction_is_whole_or_not_there(shared: Past, point: str, alone: bool) -> None:
    if alone:
        shared.git("remote", "remove", "origin")
    died = kt_process("compact", cwd=shared.path, env={**identity("boss"), VARIABLE: f"{point}:kill"})
    assert died.code == -signal.SIGKILL
    again = kt("compact", "--json", cwd=shared.path, env=identity("boss"))
    assert again.code == 0, again.err
    where = shared.path if alone else shared.path.parent / "remote.git"
    told = git("log", "--format=%s", "main", cwd=where).splitlines()
    assert len([subject for subject in told if "kt: compact 5 escalations" in subject]) == 1
    assert git("status", "--porcelain", cwd=shared.path) == ""
    assert shared.rules() == []
    assert found(shared, "esc_anna") == 0
    git("fsck", "--strict", cwd=shared.path)


def test_of_many_who_compact_at_once_one_does_and_nobody_loses_a_claim(shared: Past) -> None:
    shared.raised("two")
    clones = [another_clone(shared, f"clone{n}") for n in range(4)]
    compacting = [start("compact", "--json", cwd=clone.path, env=identity("boss")) for clone in clones[:3]]
    claiming = start("claim", "--id", "esc_two", cwd=clones[3].path, env=identity("alice"))
    ended = [end(process) for process in compacting]
    assert [ran.code for ran in ended] == [0, 0, 0], [ran.err for ran in ended]
    assert sorted(ran.json["changed"] for ran in ended) == [False, False, True]
    assert end(claiming).code == 0
    last = another_clone(shared, "last")
    assert last.rules() == []
    assert "claimed_by: alice" in last.read("queue/esc_two.yaml")
    assert last.read(f"{ARCHIVE}.ids") == "esc_anna\nesc_berta\nesc_clara\n"


def test_a_partial_clone_reads_what_it_needs_of_archives(shared: Past) -> None:
    shared.compact()
    path, remote = shared.path.parent / "partial", (shared.path.parent / "remote.git").as_uri()
    git("clone", "--quiet", "--filter=blob:none", "--no-checkout", remote, str(path), cwd=shared.path.parent)
    asked = kt("get", "--id", "esc_berta", "--json", cwd=path)
    assert asked.code == 0, asked.err
    assert len(asked.json["reopened_by"]) == 1, asked.err


def test_a_store_below_a_folder_and_with_long_ids_of_objects_is_compacted_as_well(tmp_path: Path) -> None:
    lab = Lab(tmp_path, object_format="sha256")
    clone = lab.clone("boss")
    git("config", "kt.root", "shop/[a]", cwd=clone)
    assert kt("init", "shop/[a]", cwd=clone).code == 0
    when = datetime(2024, 1, 5, tzinfo=UTC)
    with Store.open(clone, clock=lambda: when) as store:
        store.create(request_id="anna", reason_code="a.b")
        store.claim("esc_anna")
        store.resolve("esc_anna", "denied", "no")
    ran = kt("compact", "--json", cwd=clone)
    assert ran.code == 0
    assert ran.json["archives"] == [f"{ARCHIVE}.yaml"]
    got = kt("get", "--id", "esc_anna", "--json", cwd=clone)
    assert got.json["path"] == f"shop/[a]/{ARCHIVE}.yaml"
    assert len(got.json["blob"]) == 64
    assert [e["action"] for e in kt("log", "--id", "esc_anna", "--json", cwd=clone).json["entries"]] == [
        "compact",
        "resolve",
        "claim",
        "raise",
    ]
    assert kt("verify", cwd=clone).code == 0


# --- the page for operators -----------------------------------------------------------------------


def test_the_commands_of_the_page_run_as_printed(shared: Past) -> None:
    as_printed(
        "compaction.md",
        shared.path,
        replace={
            "esc_req_42": "esc_anna",
            "2026/03": "2024/01",
            "/srv/kt/review": str(shared.path),
            "/srv/kt/venv/bin": str(Path(sys.executable).parent),
        },
        env=identity("boss"),
    )
    assert shared.rules() == []
    assert (shared.path / f"{ARCHIVE}.yaml").exists()


def test_the_rules_that_the_page_names_are_those_of_the_judge() -> None:
    named = re.search(r"is a violation \(([^)]*)\)", text_of("compaction.md"))
    assert named
    assert set(re.findall(r"`(\w+)`", named[1])) <= {rule for rule, _ in FORGERIES.values()}


# --- what is in an archive is not believed for being there ------------------------------------------


def _by_a_merge(past: Past, who: str) -> None:
    past.git("switch", "--quiet", "main")
    past.kt("bob", "note", "--id", "esc_one", "--text", "meanwhile")
    past.git("merge", "--quiet", "--no-ff", "-m", "merge", "side", who=who)


def _released(past: Past, name: str) -> int:
    return kt("wait", "--id", name, "--timeout", "1s", cwd=past.path).code


@pytest.mark.parametrize("gone", ["*", "ids"], ids=["both files", "the ids"])
def test_a_merge_brings_no_compaction_whose_archive_was_deleted_again(past: Past, gone: str) -> None:
    past.git("switch", "--quiet", "-c", "side")
    past.compact()
    for file in past.path.glob(f"{ARCHIVE}.{gone}"):
        file.unlink()
    past.commit("mallory", "tidy")
    _by_a_merge(past, "mallory")
    found = kt("verify", "--afresh", "--json", cwd=past.path).json["violations"]
    assert {one["escalation_id"] for one in found if one["rule"] == "deleted"} >= {"esc_anna", "esc_berta"}


@pytest.mark.parametrize("merged", [False, True])
def test_to_compact_what_was_forged_makes_it_no_better(past: Past, merged: bool) -> None:
    path = past.resolved("anna")
    past.write(path, past.read(path).replace("denied", "approved"))
    past.commit("mallory", "forged")
    if merged:
        past.git("switch", "--quiet", "-c", "side")
    past.compact()
    if merged:
        _by_a_merge(past, "boss")
    assert kt("verify", "--afresh", cwd=past.path).code == 1
    assert _released(past, "esc_anna") == 6


def test_wait_releases_nothing_that_an_archive_was_made_to_say(past: Past) -> None:
    past.compact()
    text = past.read(f"{ARCHIVE}.yaml")
    anna, end, rest = text.partition("escalation_id: esc_berta")
    past.write(f"{ARCHIVE}.yaml", anna.replace("outcome: denied", "outcome: approved") + end + rest)
    one = text.split("\n---\n")[0].removeprefix("---\n") + "\n"
    forged = one.replace("anna", "zoe").replace("outcome: denied", "outcome: approved")
    past.write(f"{JANUARY}/archive-0002.yaml", f"---\n{forged}")
    past.write(f"{JANUARY}/archive-0002.ids", "esc_zoe\n")
    past.commit("mallory", "archives")
    assert kt("verify", "--afresh", cwd=past.path).code == 1
    assert (_released(past, "esc_anna"), _released(past, "esc_zoe")) == (6, 6)


@pytest.mark.parametrize("how", ["compacted", "damaged and restored"])
def test_an_imported_decision_is_not_released_for_what_was_done_with_it_since(past: Past, how: str) -> None:
    past.git("switch", "--quiet", "--orphan", "new")
    past.git("checkout", "main", "--", ".")
    path = past.resolved("anna")
    past.write(path, past.read(path).replace("denied", "approved"))
    past.commit("boss", "import")
    past.git("branch", "-M", "main")
    assert _released(past, "esc_anna") == 6
    if how == "compacted":
        past.compact()
    else:
        past.write(path, "x\n")
        past.commit("mallory", "damage")
        past.kt("boss", "restore", "--id", "esc_anna", "--reason", "damaged")
    assert _released(past, "esc_anna") == 6


def test_wait_releases_nothing_that_an_archive_says_of_what_was_imported_open(past: Past) -> None:
    when = datetime(2024, 2, 1, tzinfo=UTC)
    with acting("gw"), past.store(when) as store:
        store.create(request_id="ida", reason_code="a.b")
    past.git("switch", "--quiet", "--orphan", "new")
    past.git("checkout", "main", "--", ".")
    dates = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2024-02-01T00:00Z")
    past.commit("boss", "import", **dates)
    past.git("branch", "-M", "main")
    past.decided("esc_ida", when)
    past.compact()
    assert _released(past, "esc_ida") == 1
    archive = "queue/resolved/2024/02/archive-0001.yaml"
    past.write(archive, past.read(archive).replace("outcome: denied", "outcome: approved"))
    past.commit("mallory", "archive")
    assert _released(past, "esc_ida") == 6
