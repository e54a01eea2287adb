"""The whole population, exported: complete, reconcilable with git alone, safe to open."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from counts import examples
from hypothesis import given, settings
from lab import KT, Lab, git, kt, kt_process, record_text, without_side_files
from pages import text_of
from strategies import records, texts
from terminal import at_a_terminal

from kt_escalation.model.record import Record
from kt_escalation.model.release import Release
from kt_escalation.model.text import is_hidden
from kt_escalation.reporting import table

TOP = Path(__file__).parent.parent
FORMULAS = (
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "  =1",
    "\n=1",
    "＝1",
    "＋1",
    "－1",
    "＠a",
    "﹦1",
    "'=1",
)
EVIL = 'x\x1b[2J","=cmd|\' /C calc\'!A0"\r\n\u202e=1;=2'


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def exported(cwd: Path, *args: str) -> tuple[dict[str, Any], bytes]:
    """The summary of an export and the bytes that it wrote."""
    out = cwd.parent / "exported"
    ran = kt("export", "-o", str(out), "--json", *args, cwd=cwd)
    assert ran.code == 0, ran.err
    return ran.json, out.read_bytes()


def listed(cwd: Path, rev: str = "HEAD") -> bytes:
    """What git alone lists below queue/."""
    done = subprocess.run(
        ["git", "ls-tree", "-r", "-z", rev, "queue/"], cwd=cwd, capture_output=True, check=True
    )
    return done.stdout


@pytest.fixture
def alice(lab: Lab) -> Path:
    """A clone of a store with an open, a resolved and an unreadable escalation, and files that are none."""
    lab.escalations("one", "two")
    lab.put(
        {
            "queue/esc_torn.yaml": b"<<<<<<< HEAD\n\xff",
            "queue/.gitkeep": b"",
            "queue/ünd\n so.txt": b"not ours",
        }
    )
    clone = lab.clone("alice")
    kt("claim", "--id", "esc_two", cwd=clone)
    kt("resolve", "--id", "esc_two", "--outcome", "denied", "--reason", "=no", cwd=clone)
    return clone


# --- complete ---------------------------------------------------------------------------------------


def test_the_digests_are_those_that_git_alone_gives(alice: Path) -> None:
    summary, data = exported(alice)
    assert summary["tree"] == git("rev-parse", "HEAD:queue", cwd=alice)
    assert summary["listing"] == hashlib.sha256(listed(alice)).hexdigest()
    assert summary["revision"] == git("rev-parse", "HEAD", cwd=alice)
    assert (summary["sha256"], summary["size"]) == (hashlib.sha256(data).hexdigest(), len(data))


def test_every_file_is_a_row_in_gits_order_but_those_that_are_nobodys(alice: Path) -> None:
    summary, data = exported(alice)
    told = [f"100644 blob {row['blob']}\t{row['path']}" for row in rows(data.decode())]
    assert told == [line for line in listed(alice).decode().split("\0")[:-1] if ".gitkeep" not in line]
    assert (summary["records"], summary["open"], summary["resolved"]) == (2, 1, 1)


def test_what_cannot_be_read_is_a_row_and_a_warning(alice: Path) -> None:
    summary, data = exported(alice)
    bad = {row["path"]: row["error"] for row in rows(data.decode()) if "error" in row}
    assert set(bad) == {"queue/esc_torn.yaml", "queue/ünd\n so.txt"}
    assert {item["path"]: item["error"] for item in summary["invalid"]} == bad
    ran = kt("export", "-o", "/dev/null", cwd=alice)
    assert ran.code == 0
    assert ran.err.count("it is a row without a record") == 2
    assert "queue/ünd\\n so.txt" in ran.err
    assert "2 escalations (1 open, 1 resolved), 2 unreadable" in ran.err


def test_a_row_holds_the_record_as_get_shows_it(alice: Path) -> None:
    _, data = exported(alice)
    held = {row["escalation"]["escalation_id"]: row for row in rows(data.decode()) if "escalation" in row}
    shown = kt("get", "--id", "esc_two", "--include-context", "--json", cwd=alice).json
    row = held["esc_two"]
    assert (row["escalation"], row["blob"], row["path"]) == (
        shown["escalation"],
        shown["blob"],
        shown["path"],
    )


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_two_clones_give_the_same_bytes(lab: Lab, alice: Path, form: str) -> None:
    bob = lab.clone("bob")
    assert exported(alice, "--format", form) == exported(bob, "--format", form)


def test_more_than_is_read_at_once_is_all_there(lab: Lab) -> None:
    lab.escalations(*(f"n{number:04}" for number in range(1201)))
    clone = lab.clone("alice")
    summary, data = exported(clone)
    assert summary["records"] == 1201
    assert len(rows(data.decode())) == 1201
    assert summary["listing"] == hashlib.sha256(listed(clone)).hexdigest()


def test_an_empty_store_is_an_empty_export(lab: Lab) -> None:
    clone = lab.clone("alice")
    summary, data = exported(clone)
    assert (data, summary["tree"], summary["records"]) == (b"", None, 0)
    assert summary["listing"] == hashlib.sha256(b"").hexdigest()
    _, table_only = exported(clone, "--format", "csv")
    assert table_only.decode() == ",".join(table.COLUMNS) + "\r\n"


def test_an_older_revision_and_a_fetched_one(lab: Lab, alice: Path) -> None:
    before = git("rev-parse", "HEAD", cwd=alice)
    lab.escalations("later")
    assert exported(alice)[0]["records"] == 2
    fetched, _ = exported(alice, "--fetch")
    assert fetched["records"] == 3
    assert fetched["revision"] == lab.tip()
    assert exported(alice, "--rev", before)[0]["revision"] == before


def test_a_merge_of_two_lines_is_one_population(lab: Lab, alice: Path) -> None:
    git("switch", "--quiet", "-c", "side", "HEAD~1", cwd=alice)
    (alice / "queue/esc_side.yaml").write_text(record_text("side"))
    git("add", "queue", cwd=alice)
    git("commit", "--quiet", "-m", "side", cwd=alice)
    git("switch", "--quiet", "main", cwd=alice)
    git("merge", "--quiet", "--no-edit", "side", cwd=alice)
    summary, _ = exported(alice, "--rev", "HEAD")
    assert summary["records"] == 3
    assert summary["tree"] == git("rev-parse", "HEAD:queue", cwd=alice)


def test_a_store_in_a_folder_is_listed_by_whole_paths(lab: Lab) -> None:
    lab.put({"ops/review/queue/esc_in.yaml": record_text("in"), "ops/review/policies/a.yaml": "pack: {}\n"})
    clone = lab.clone("alice")
    git("config", "kt.root", "ops/review", cwd=clone)
    summary, data = exported(clone)
    assert [row["path"] for row in rows(data.decode())] == ["ops/review/queue/esc_in.yaml"]
    assert summary["tree"] == git("rev-parse", "HEAD:ops/review/queue", cwd=clone)


# --- where it goes ----------------------------------------------------------------------------------


def test_rows_go_to_stdout_and_the_summary_to_stderr(alice: Path) -> None:
    ran = kt_process("export", "--json", cwd=alice)
    summary = json.loads(ran.err.splitlines()[-1])
    assert summary["file"] is None
    assert summary["sha256"] == hashlib.sha256(ran.out.encode()).hexdigest()
    assert len(rows(ran.out)) == 4


def test_a_file_is_replaced_by_a_whole_one_or_not_at_all(alice: Path) -> None:
    out = alice.parent / "out.jsonl"
    out.write_text("what was there")
    assert kt("export", "-o", str(out), "--rev", "nonsense", cwd=alice).code == 2
    assert out.read_text() == "what was there"
    assert kt("export", "-o", str(out), cwd=alice).code == 0
    assert len(rows(out.read_text())) == 4
    assert [file.name for file in out.parent.iterdir() if file.name.endswith(".part")] == []


@pytest.mark.parametrize("command", ["export", "evidence"])
def test_a_file_that_cannot_be_written_is_one_line(alice: Path, command: str) -> None:
    more = ["--id", "esc_one"] if command == "evidence" else []
    for name in ("/nowhere/out", str(alice)):
        ran = kt(command, *more, "-o", name, "--json", cwd=alice)
        assert (ran.code, ran.error["code"], ran.out) == (2, "bad_input", "")
        assert name in ran.error["message"]


def test_nothing_acts_on_a_terminal(lab: Lab) -> None:
    lab.put({"queue/esc_evil.yaml": record_text("evil", request_id=json.dumps(EVIL))})
    clone = lab.clone("alice")
    for form in ("jsonl", "csv"):
        code, shown = at_a_terminal("export", "--format", form, cwd=clone)
        assert code == 0
        assert "esc_evil" in shown
        assert not any(is_hidden(char) for char in shown.replace("\r\n", "").replace("\n", ""))


# --- a table that is safe to open -------------------------------------------------------------------


def as_spreadsheet(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_what_begins_like_a_formula_is_text(lab: Lab) -> None:
    names = [f"f{number}" for number in range(len(FORMULAS))]
    files = {
        f"queue/esc_{name}.yaml": record_text(name, request_id=json.dumps(text), model=json.dumps(EVIL))
        for name, text in zip(names, FORMULAS, strict=True)
    }
    lab.put(files)
    _, data = exported(lab.clone("alice"), "--format", "csv")
    found = {row["escalation_id"]: row for row in as_spreadsheet(data)}
    assert len(found) == len(FORMULAS)
    for name, text in zip(names, FORMULAS, strict=True):
        told = found[f"esc_{name}"]["request_id"]
        # A carriage return is written out, and so is no blank any more.
        assert told[0] == ("\\" if text[0] == "\r" else "'")
    assert found["esc_f13"]["request_id"] == "''=1"
    assert all(row["model"] == 'x\\x1b[2J","=cmd|\' /C calc\'!A0"\\r\n\\u202e=1;=2' for row in found.values())


@given(texts())
def test_a_cell_never_calculates_and_gives_its_text_back(text: str) -> None:
    told = table.cell(text)
    assert told.lstrip()[:1] not in set("=+-@＝＋－＠") or told == ""
    assert not any(is_hidden(char) for char in told.replace("\n", ""))
    if not any(is_hidden(char) for char in text):
        assert told.removeprefix("'") == text
    line = io.StringIO()
    csv.writer(line).writerow([told, "end"])
    assert next(csv.reader(io.StringIO(line.getvalue(), newline=""))) == [told, "end"]


@settings(max_examples=examples(50))
@given(records())
def test_a_row_says_all_that_the_record_says(record: Record) -> None:
    row = dict(zip(table.COLUMNS, table.row("b" * 40, "queue/x", record.as_dict(), None), strict=True))
    assert row["escalation_id"] == record.escalation_id
    assert row["error"] == ""
    assert row["route.team_id"] == table.cell(record.route.team_id)
    plain = record.as_dict()
    for key in ("event_context", "labels", "reviews", "notes"):
        assert (json.loads(row[key]) if row[key] else None) == plain.get(key)
    assert (row["resolution.outcome"] == "") == (record.resolution is None)


def test_there_is_a_column_for_every_key_and_the_docs_name_them() -> None:
    expected: list[str] = []
    types = get_type_hints(Record)
    for key in Record.KEYS:
        # A part that is there once at most; a tuple has several.
        kinds = [] if get_origin(types[key]) is tuple else [types[key], *get_args(types[key])]
        inner = [name for kind in kinds if hasattr(kind, "KEYS") for name in kind.KEYS]
        expected += [f"{key}.{name}" for name in inner] or [key]
    expected += [f"release.{key}" for key in Release.KEYS if key not in ("schema_version", "escalation_id")]
    assert list(table.COLUMNS) == ["blob", "path", "error", *expected]
    [told] = re.findall(r"^```text\n(blob, .*?)\n```$", text_of("evidence.md"), re.DOTALL | re.MULTILINE)
    assert re.split(r",\s+", told) == list(table.COLUMNS)


def test_what_is_no_plain_file_is_listed_as_git_lists_it(lab: Lab) -> None:
    clone = lab.clone("alice")
    (clone / "queue").mkdir()
    (clone / "queue/esc_link.yaml").symlink_to("/etc/passwd")
    git("add", "queue", cwd=clone)
    commit = git("rev-parse", "HEAD", cwd=clone)
    git("update-index", "--add", "--cacheinfo", f"160000,{commit},queue/esc_module.yaml", cwd=clone)
    git("commit", "--quiet", "-m", "no files", cwd=clone)
    summary, data = exported(clone)
    assert summary["listing"] == hashlib.sha256(listed(clone)).hexdigest()
    assert [row["error"] for row in rows(data.decode())] == [
        "is a symbolic link, not an escalation's file",
        "is a submodule, not an escalation's file",
    ]


def test_a_file_that_cannot_be_written_to_its_end_is_named_and_not_there(alice: Path) -> None:
    limited = 'ulimit -f 1; exec "$@"'
    ran = subprocess.run(
        ["sh", "-c", limited, "sh", *KT, "escalation", "export", "-o", "all.jsonl"],
        cwd=alice,
        env=without_side_files(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert ran.stderr == "kt: all.jsonl: File too large\n"
    assert not list(alice.glob("*all.jsonl*"))


def test_what_a_killed_process_left_of_the_file_is_removed(alice: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    left, others, mine = (alice / f".all.jsonl.{pid}.part" for pid in (dead.pid, os.getppid(), "x"))
    for path in (left, others, mine):
        path.write_text("")
    assert kt("export", "-o", "all.jsonl", cwd=alice).code == 0
    assert (left.exists(), others.exists(), mine.exists()) == (False, True, True)
