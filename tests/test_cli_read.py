"""`list`, `get`, `log`, `schema` and `doctor`: committed state, at once, offline, and nothing skipped in silence."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from lab import Lab, git, ids, kt, on_a_terminal, path_to_git, record_text
from sample_records import DAY, at, open_text, resolved_path, resolved_text
from schema_faults import faults

from kt_escalation import doctor

LIST_KEYS = {"escalations", "next_cursor", "invalid"}
GET_KEYS = {
    *("escalation", "path", "blob", "commit", "shown", "reopened_by", "deadline", "overdue", "quorum"),
    *("digest", "amendment", "release", "invalid"),
}


SHELF = {
    "queue/esc_crit.yaml": open_text("crit", "critical", created_at=at(8), route="team_id: legal"),
    "queue/esc_high-b.yaml": open_text("high-b", "high", created_at=at(1), agent_id="agent-1"),
    "queue/esc_high-a.yaml": open_text("high-a", "high", created_at=at(1), holder="bob@example.com"),
    "queue/esc_high-new.yaml": open_text("high-new", "high", created_at=at(7), queued_at=at(9, 30)),
    "queue/esc_mine.yaml": open_text("mine", route="user_id: Alice", holder="Alice", agent_id="agent-1"),
    "queue/esc_low.yaml": open_text("low", "low", created_at=at(0), raised_at=at(9, 40), queued_at=at(9, 40)),
    resolved_path("done"): resolved_text("done", severity="high"),
    resolved_path("no"): resolved_text("no", "denied", hour=11, agent_id="agent-1", created_at=at(8, 59)),
}
OPEN = ["crit", "high-a", "high-b", "high-new", "mine", "low"]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of a store that nobody changes."""
    lab = Lab(tmp_path_factory.mktemp("shelf"))
    lab.put(SHELF)
    return lab.clone("alice")


def listed(cwd: Path, *args: str) -> list[str]:
    """The ids that a list gives, without their `esc_`."""
    ran = kt("list", *args, "--json", cwd=cwd)
    assert ran.code == 0, ran.err
    assert set(ran.json) == LIST_KEYS
    return [name.removeprefix("esc_") for name in ids(ran.json["escalations"])]


# --- list -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("", OPEN),
        ("--status open", OPEN),
        ("--status queued", ["crit", "high-b", "high-new", "low"]),
        ("--status claimed", ["high-a", "mine"]),
        ("--status resolved", ["done", "no"]),
        ("--status claimed --status resolved", ["high-a", "done", "no", "mine"]),
        ("--status all", ["crit", "high-a", "high-b", "high-new", "done", "no", "mine", "low"]),
        ("--severity low", ["low"]),
        ("--severity critical --severity medium", ["crit", "mine"]),
        ("--team legal", ["crit"]),
        ("--team nobody", []),
        ("--user bob@example.com", ["high-a"]),
        ("--user alice", ["mine"]),
        ("--status all --user BOB@example.com", ["high-a", "done", "no"]),
        ("--agent-id agent-1", ["high-b", "mine"]),
        ("--agent-id agent-1 --severity high", ["high-b"]),
        ("--status all --agent-id agent-1", ["high-b", "no", "mine"]),
        (f"--since {DAY}T07:00:00Z", ["crit", "high-new", "mine"]),
        (f"--since {DAY}T08:00:00+01:00", ["crit", "high-new", "mine"]),
        ("--since 0s", []),
        ("--since 36500d", OPEN),
        ("--sort severity", OPEN),
        ("--sort -severity", OPEN[::-1]),
        ("--sort created", ["low", "high-a", "high-b", "high-new", "crit", "mine"]),
        ("--sort -created", ["mine", "crit", "high-new", "high-b", "high-a", "low"]),
        ("--sort raised", ["crit", "high-a", "high-b", "high-new", "mine", "low"]),
        ("--sort queued", ["crit", "high-a", "high-b", "mine", "high-new", "low"]),
        ("--sort id", sorted(OPEN)),
        ("--sort -id", sorted(OPEN)[::-1]),
        ("--limit 2", OPEN[:2]),
        ("--limit 0", OPEN),
        ("--limit 2 --sort -id --status all", ["no", "mine"]),
    ],
)
def test_list_shows_what_is_asked_for_in_the_order_asked_for(
    shelf: Path, args: str, expected: list[str]
) -> None:
    assert listed(shelf, *args.split()) == expected


@pytest.mark.parametrize(
    "args",
    [
        "--status done",
        "--severity urgent",
        "--since yesterday",
        "--since 2026-13-01T00:00:00Z",
        "--since 999999999d",
        "--sort age",
        "--limit -1",
        "--limit many",
        "--cursor nonsense",
        "--rev nonsense",
        "surplus",
    ],
)
def test_a_list_that_makes_no_sense_is_bad_usage(shelf: Path, args: str) -> None:
    ran = kt("list", *args.split(), cwd=shelf)
    assert ran.code == 2
    assert ran.out == ""
    assert len(ran.err.strip().splitlines()) == 1


def test_without_a_terminal_each_is_one_line_of_fields(shelf: Path) -> None:
    ran = kt("list", "--status", "all", "--sort", "id", cwd=shelf)
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert ran.err == ""
    assert {len(row) for row in rows} == {9}
    assert [row[0] for row in rows] == sorted(f"esc_{name}" for name in [*OPEN, "done", "no"])
    [mine] = [row for row in rows if row[0] == "esc_mine"]
    assert mine[1:3] + mine[4:] == ["medium", "claimed", "-", "user Alice", "Alice", "oversight.required", ""]
    assert [row[2] for row in rows if row[0] in ("esc_done", "esc_no")] == ["approved", "denied"]


def test_the_listed_records_are_whole(shelf: Path) -> None:
    found = kt("list", "--json", "--status", "all", cwd=shelf).json["escalations"]
    for record in found:
        got = kt("get", "--id", record["escalation_id"], "--include-context", "--json", cwd=shelf).json
        assert got["escalation"] == record


def test_nothing_to_show_is_said_on_stderr_and_is_no_failure(shelf: Path) -> None:
    ran = kt("list", "--team", "nobody", cwd=shelf)
    assert (ran.code, ran.out) == (0, "")
    assert "no escalation matches" in ran.err


def test_a_team_that_the_roster_does_not_list_is_named_with_those_that_it_lists(lab: Lab) -> None:
    lab.escalations("one")
    clone = lab.clone("alice")
    assert kt("list", "--team", "nosuch", cwd=clone).err == "kt: no escalation matches\n"
    lab.put(
        {
            "policies/roster.yaml": "teams:\n- {team_id: triage, members: []}\n- {team_id: legal, members: []}\n"
        }
    )
    ran = kt("list", "--fetch", "--team", "nosuch", cwd=clone)
    assert (ran.code, ran.out) == (0, "")
    assert (
        ran.err == "kt: no escalation matches: the roster has no team nosuch; its teams are legal, triage\n"
    )
    assert kt("list", "--team", "legal", cwd=clone).err == "kt: no escalation matches\n"
    folder = lab.folder / "other"
    folder.mkdir()
    other = Lab(folder).clone("alice")
    both = ("-C", str(clone), "-C", str(other), "list", "--team", "nosuch")
    assert kt(*both, cwd=lab.folder).err == "kt: no escalation matches\n"


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("denied", ["no"]),
        ("reject", ["no"]),
        ("Deny", ["no"]),
        ("approve", ["done"]),
        ("expired", []),
        ("denied approved", ["done", "no"]),
    ],
)
def test_an_outcome_lists_what_was_resolved_so(shelf: Path, words: str, names: list[str]) -> None:
    args = [arg for word in words.split() for arg in ("--status", word)]
    assert sorted(listed(shelf, *args)) == names
    both = listed(shelf, *args, "--status", "queued")
    assert set(both) == {*names, *listed(shelf, "--status", "queued")}


def test_a_word_that_is_nearly_a_command_names_the_command(shelf: Path) -> None:
    ran = kt("lst", cwd=shelf)
    assert ran.code == 2
    assert "No such command 'lst': did you mean `kt-escalation list`?" in ran.err
    assert "did you mean" not in kt("frobnicate", cwd=shelf).err


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of a store with 60 escalations, many of them of one time and severity."""
    lab = Lab(tmp_path_factory.mktemp("crowd"))
    severities = ("low", "high", "critical")
    lab.put(
        {
            f"queue/esc_n{number:02}.yaml": open_text(
                f"n{number:02}", severities[number % 3], created_at=at(number % 4)
            )
            for number in range(60)
        }
    )
    return lab.clone("alice")


def test_fifty_are_shown_and_it_says_how_to_see_the_others(crowd: Path) -> None:
    ran = kt("list", cwd=crowd)
    assert len(ran.out.splitlines()) == 50
    found = re.search(r"--limit 0.*--cursor (\S+)", ran.err)
    assert found
    assert len(kt("list", "--cursor", found[1], cwd=crowd).out.splitlines()) == 10


@pytest.mark.parametrize(
    ("sort", "limit"),
    [
        *((sort, 7) for sort in ("severity", "-severity", "created", "-created", "id")),
        *(("severity", limit) for limit in (20, 59, 60)),
    ],
)
def test_the_pages_of_a_cursor_are_the_whole_list_in_its_order(crowd: Path, sort: str, limit: int) -> None:
    pages: list[str] = []
    cursor: list[str] = []
    while True:
        page = kt("list", "--sort", sort, "--limit", str(limit), *cursor, "--json", cwd=crowd).json
        assert len(page["escalations"]) <= limit
        pages += ids(page["escalations"])
        if page["next_cursor"] is None:
            break
        cursor = ["--cursor", page["next_cursor"]]
    assert pages == [f"esc_{name}" for name in listed(crowd, "--sort", sort, "--limit", "0")]
    assert len(pages) == 60


def test_a_cursor_goes_on_where_it_was_though_the_queue_has_changed(lab: Lab) -> None:
    lab.escalations("b", "d", "f")
    clone = lab.clone("alice")
    page = kt("list", "--sort", "id", "--limit", "2", "--json", cwd=clone).json
    lab.escalations("a", "e")
    kt("claim", "--id", "esc_b", cwd=clone)
    rest = listed(clone, "--sort", "id", "--cursor", page["next_cursor"])
    assert rest == ["e", "f"]


def test_a_cursor_of_another_order_is_refused(crowd: Path) -> None:
    cursor = kt("list", "--sort", "id", "--limit", "1", "--json", cwd=crowd).json["next_cursor"]
    ran = kt("list", "--sort", "created", "--cursor", cursor, "--json", cwd=crowd)
    assert ran.code == 2
    assert ran.error["code"] == "bad_input"
    assert "--sort id" in ran.error["message"]


# --- get --------------------------------------------------------------------------------------------


def test_get_gives_the_record_and_where_exactly_it_was_read(lab: Lab) -> None:
    context = "\n  scores:\n    risk: 0.7"
    lab.put({"queue/esc_job.yaml": open_text("job", summary="Read me", event_context=context)})
    clone = lab.clone("alice")
    ran = kt("get", "--id", "esc_job", "--json", cwd=clone)
    assert ran.code == 0
    assert set(ran.json) == GET_KEYS
    assert ran.err == ""
    assert ran.json["path"] == "queue/esc_job.yaml"
    assert ran.json["commit"] == lab.tip()
    assert ran.json["blob"] == git("rev-parse", "main:queue/esc_job.yaml", cwd=lab.remote)
    assert re.fullmatch("[0-9a-f]{64}", ran.json["shown"])
    assert "event_context" not in ran.json["escalation"]
    whole = kt("get", "--id", "esc_job", "--json", "--include-context", cwd=clone).json
    assert whole["escalation"]["event_context"] == {"scores": {"risk": 0.7}}
    assert {key: whole[key] for key in GET_KEYS - {"escalation"}} == {
        key: ran.json[key] for key in GET_KEYS - {"escalation"}
    }
    plain = kt("get", "--escalation-id", "esc_job", cwd=clone).out
    assert plain.startswith("esc_job  medium  queued\n")
    assert "Read me" in plain
    assert '"risk"' not in plain
    assert ran.json["shown"] in plain
    assert "--include-context" in plain
    assert '"risk": 0.7' in kt("get", "--id", "esc_job", "--include-context", cwd=clone).out


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of a store whose ids begin alike."""
    lab = Lab(tmp_path_factory.mktemp("names"))
    lab.put(
        {
            **{
                f"queue/esc_{name}.yaml": open_text(name)
                for name in ("alpha-1", "alpha-2", "alpha", "mixed-open")
            },
            **{
                resolved_path(name): resolved_text(name)
                for name in ("mixed-done", "past-1", "past-2", "only-past")
            },
            "queue/esc_torn-1.yaml": "<<<<<<<\n",
        }
    )
    return lab.clone("alice")


@pytest.mark.parametrize("command", ["get", "log"])
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("esc_alpha-1", "alpha-1"),
        ("esc_alpha", "alpha"),
        ("esc_alpha-", 2),
        ("esc_alph", 2),
        ("esc_mixed", "mixed-open"),
        ("esc_mixed-d", "mixed-done"),
        ("esc_past", 2),
        ("esc_only", "only-past"),
        ("esc_onl", 7),
        ("esc_none", 7),
        ("only-past", 2),
        ("esc_", 2),
        ("", 2),
    ],
)
def test_a_unique_prefix_of_four_is_enough_and_open_ones_come_first(
    names: Path, command: str, given: str, found: str | int
) -> None:
    ran = kt(command, "--id", given, "--json", cwd=names)
    if isinstance(found, int):
        assert ran.code == found
        assert ran.out == ""
        return
    assert ran.code == 0, ran.err
    shown = ran.json["escalation"] if command == "get" else ran.json["entries"][0]
    assert shown["escalation_id"] == f"esc_{found}"


def test_an_ambiguous_prefix_names_its_candidates(names: Path) -> None:
    ran = kt("get", "--id", "esc_past", "--json", cwd=names)
    assert ran.code == 2
    assert ran.error["code"] == "ambiguous_id"
    assert "esc_past-1" in ran.error["candidates"]
    assert "esc_past-2" in ran.error["candidates"]
    assert "esc_past-1, esc_past-2" in ran.error["message"]


# --- which committed state --------------------------------------------------------------------------


def test_reading_is_offline_and_rev_and_fetch_choose_another_state(lab: Lab) -> None:
    lab.escalations("old")
    clone = lab.clone("alice")
    old = lab.tip()
    lab.escalations("new")
    assert listed(clone) == ["old"]
    assert kt("get", "--id", "esc_new", cwd=clone).code == 7
    assert kt("get", "--id", "esc_new", "--fetch", "--json", cwd=clone).json["commit"] == lab.tip()
    assert listed(clone) == ["new", "old"], "what was fetched is known from then on"
    assert listed(clone, "--rev", old) == listed(clone, "--rev", "HEAD") == ["old"]
    assert kt("get", "--id", "esc_old", "--rev", "HEAD", "--json", cwd=clone).json["commit"] == old
    assert kt("get", "--id", "esc_new", "--rev", old, cwd=clone).code == 7
    entries = kt("log", "--rev", old, "--json", cwd=clone).json["entries"]
    assert [entry["escalation_id"] for entry in entries] == ["esc_old"]


def test_fetch_shows_what_the_remote_has_in_list_and_log(lab: Lab) -> None:
    clone = lab.clone("alice")
    lab.escalations("a")
    assert listed(clone, "--fetch") == ["a"]
    lab.escalations("b")
    assert len(kt("log", "--fetch", "--json", cwd=clone).json["entries"]) == 2


def test_the_local_branch_counts_where_it_contains_the_remotes_and_only_there(lab: Lab) -> None:
    lab.escalations("both")
    clone = lab.clone("alice")
    (clone / "queue/esc_local.yaml").write_text(record_text("local"))
    assert listed(clone) == ["both"], "what is not committed does not count"
    git("add", "--all", cwd=clone)
    git("commit", "--quiet", "-m", "mine", cwd=clone)
    assert listed(clone) == ["both", "local"]
    lab.escalations("theirs")
    git("fetch", "--quiet", cwd=clone)
    assert listed(clone) == ["both", "theirs"]


def test_reading_works_with_the_remote_gone(lab: Lab) -> None:
    lab.put(SHELF)
    clone = lab.clone("alice")
    shutil.rmtree(lab.remote)
    assert listed(clone, "--status", "all", "--limit", "0")
    for args in (["get", "--id", "esc_done"], ["log"], ["log", "--id", "esc_done"], ["schema"]):
        ran = kt(*args, cwd=clone)
        assert ran.code == 0, args
        assert ran.err == "", args
    for args in (["list", "--fetch"], ["get", "--id", "esc_done", "--fetch"], ["log", "--fetch"]):
        ran = kt(*args, "--json", cwd=clone)
        assert ran.code == 4, args
        assert ran.error["code"] == "remote_unreachable", args


# --- log --------------------------------------------------------------------------------------------

LIFE = [
    ("gw", ["raise", "--request-id", "r", "--reason-code", "a.b"]),
    ("alice", ["claim", "--id", "esc_r"]),
    ("alice", ["unclaim", "--id", "esc_r"]),
    ("bob", ["claim", "--id", "esc_r"]),
    ("alice", ["note", "--id", "esc_r", "--text", "Look\x1b[2J twice."]),
    ("bob", ["resolve", "--id", "esc_r", "--outcome", "rewrite", "--reason", "Names removed."]),
]


def test_log_follows_an_escalation_through_its_whole_life_newest_first(lab: Lab) -> None:
    for name in ("gw", "alice", "bob"):
        lab.clone(name)
    commits = []
    for number, (name, args) in enumerate(LIFE):
        ran = kt(*args, "--json", cwd=lab.folder / name)
        assert ran.code == 0, ran.err
        commits.append(ran.json["commit"])
        if number == 2:
            lab.escalations("other")
    lab.put({"README.md": "not ours\n"})
    ran = kt("log", "--id", "esc_r", "--fetch", "--json", cwd=lab.folder / "gw")
    assert ran.code == 0
    assert set(ran.json) == {"entries"}
    entries = ran.json["entries"]
    assert [entry["commit"] for entry in entries] == commits[::-1]
    assert [(entry["action"], entry["actor"]) for entry in entries] == [
        (args[0], f"{name}@example.com") for name, args in LIFE[::-1]
    ]
    always = {"commit", "at", "author", "escalation_id", "action", "actor"}
    more: dict[str, set[str]] = {"resolve": {"outcome", "text"}, "note": {"text"}}
    assert all(set(entry) == always | more.get(entry["action"], set()) for entry in entries)
    assert entries[0]["author"] == {"name": "Bob", "email": "bob@example.com"}
    assert (entries[0]["outcome"], entries[0]["text"]) == ("rewritten", "Names removed.")
    assert all(entry["escalation_id"] == "esc_r" for entry in entries)
    assert all(entry["at"].endswith(".000Z") for entry in entries)

    everything = kt("log", "--json", cwd=lab.folder / "gw").json["entries"]
    assert [entry["escalation_id"] for entry in everything].count("esc_other") == 1
    assert len(everything) == 7
    lines = kt("log", "--id", "esc_r", cwd=lab.folder / "gw").out.splitlines()
    assert [line.split()[1:4] for line in lines] == [
        [entry["commit"][:12], entry["action"], "esc_r"] for entry in entries
    ]
    assert lines[0].endswith("bob@example.com as rewritten: Names removed.")
    assert lines[1].endswith("alice@example.com: Look\\x1b[2J twice.")
    first = kt("log", "--limit", "1", "--id", "esc_r", "--json", cwd=lab.folder / "gw").json["entries"]
    assert first == entries[:1]


def test_log_gives_times_in_utc_wherever_the_committer_was(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_COMMITTER_DATE", f"{DAY}T12:00:00+02:00")
    lab.escalations("job")
    [entry] = kt("log", "--json", cwd=lab.clone("alice")).json["entries"]
    assert entry["at"] == f"{DAY}T10:00:00.000Z"


@pytest.mark.parametrize("limit", ["2147483647", "2147483648", "4294967297", "99999999999999999999"])
def test_a_log_is_never_empty_in_silence_however_large_the_limit(shelf: Path, limit: str) -> None:
    ran = kt("log", "--limit", limit, cwd=shelf)
    if ran.code == 0:
        assert ran.out == kt("log", cwd=shelf).out
    else:
        assert ran.code == 2
        assert ran.err


def test_log_tells_what_no_action_explains_and_what_cannot_be_read(lab: Lab) -> None:
    lab.escalations("job")
    lab.put({"queue/esc_job.yaml": record_text("job", severity="low")})
    lab.put({"queue/esc_job.yaml": "<<<<<<<\n"})
    lab.put({"queue/esc_job.yaml": record_text("job")})
    git("rm", "--quiet", "queue/esc_job.yaml", cwd=lab.seed)
    git("commit", "--quiet", "-m", "gone", cwd=lab.seed)
    git("push", "--quiet", "origin", "HEAD:main", cwd=lab.seed)
    entries = kt("log", "--json", cwd=lab.clone("alice")).json["entries"]
    actions = [entry["action"] for entry in entries]
    assert actions == ["delete", "restore", "unreadable", "change", "raise"]
    ran = kt("events", "--json", cwd=lab.folder / "alice")
    assert [json.loads(line)["action"] for line in ran.out.splitlines()] == actions[::-1]


# --- schema -----------------------------------------------------------------------------------------


def test_the_schema_is_a_json_schema_that_every_record_fits(lab: Lab) -> None:
    lab.put(SHELF)
    clone = lab.clone("alice")
    args = [
        "--request-id",
        "full",
        "--reason-code",
        "a.b",
        "--summary",
        "s",
        "--context",
        "-",
        "--agent-id",
        "a",
    ]
    assert kt("raise", *args, cwd=clone, stdin=b'{"deep": [{"x": null, "y": 1.5}]}').code == 0
    kt("claim", "--id", "esc_full", cwd=clone)
    kt("note", "--id", "esc_full", "--text", "hm", cwd=clone)
    ran = kt("schema", cwd=clone)
    schema = ran.json
    assert ran.code == 0
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) <= set(schema["properties"])
    for target in re.findall(r'"\$ref": "#/\$defs/(\w+)"', ran.out):
        assert target in schema["$defs"]
    assert kt("schema", "--json", cwd=clone).out == ran.out
    for record in kt("list", "--status", "all", "--json", cwd=clone).json["escalations"]:
        got = kt("get", "--id", record["escalation_id"], "--json", "--include-context", cwd=clone).json
        assert faults(got["escalation"], schema, schema) == []
    assert faults({**record, "surprise": 1}, schema, schema)
    assert faults({**record, "status": "lost"}, schema, schema)


# --- unreadable files -------------------------------------------------------------------------------

TEXTS: dict[str, str | bytes] = {
    "torn": f"<<<<<<< HEAD\n{open_text('torn')}=======\n>>>>>>> theirs\n",
    "empty": "",
    "latin": open_text("latin", summary="caf\xe9").encode("latin-1"),
    "nul": open_text("nul") + "\x00",
    "list": "- 1\n",
    "two": f"{open_text('two')}---\n{open_text('two')}",
    "tag": open_text("tag", summary="!!str hm"),
    "anchor": open_text("anchor", summary="&a hm"),
    "twice": open_text("twice") + "status: queued\n",
    "unknown": open_text("unknown") + "surprise: 1\n",
    "newer": open_text("newer", schema_version="3"),
    "deep": open_text("deep") + "event_context: " + "{a: " * 40 + "1" + "}" * 40 + "\n",
    "huge": open_text("huge") + "#" * 256 * 1024,
    "liar": open_text("truth"),
    "Capital": open_text("capital"),
}
SAYS = {"newer": "upgrade kt", "huge": "256 KiB", "link": "symbolic link", "program": "executable"} | {
    "sub": "submodule",
    "liar": "esc_truth",
    "latin": "UTF-8",
    "twice": "twice",
    "unknown": "surprise",
    "folder": "folder",
}


def damage(lab: Lab, folder: str, prefix: str) -> set[str]:
    """Put a file of every unreadable kind into a folder of the store; their paths."""

    def path(kind: str) -> Path:
        return lab.seed / folder / f"esc_{prefix}{kind}.yaml"

    path("x").parent.mkdir(parents=True, exist_ok=True)
    for kind, text in TEXTS.items():
        data = text if isinstance(text, bytes) else text.encode()
        path(kind).write_bytes(data.replace(b"esc_" + kind.encode(), b"esc_" + (prefix + kind).encode()))
    path("link").symlink_to("esc_good.yaml")
    path("program").write_text(open_text(f"{prefix}program"))
    path("program").chmod(0o755)
    git("init", "--quiet", str(path("sub")), cwd=lab.seed)
    name = ("-c", "user.name=a", "-c", "user.email=a@b")
    git(*name, "commit", "--quiet", "--allow-empty", "-m", "x", cwd=path("sub"))
    (lab.seed / folder / f"{prefix}notes.txt").write_text("mine\n")
    kinds = [*TEXTS, "link", "program", "sub"]
    return {f"{folder}/esc_{prefix}{kind}.yaml" for kind in kinds} | {f"{folder}/{prefix}notes.txt"}


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Lab, set[str], set[str]]:
    """A store with every kind of unreadable file, open and resolved, between good ones."""
    lab = Lab(tmp_path_factory.mktemp("damaged"))
    good = {f"queue/esc_good{n}.yaml": open_text(f"good{n}") for n in range(3)}
    lab.put({**good, resolved_path("fine"): resolved_text("fine"), "queue/.gitkeep": ""})
    opened = damage(lab, "queue", "")
    resolved = damage(lab, str(Path(resolved_path("x")).parent), "r")
    more = {
        "queue/resolved/esc_flat.yaml": resolved_text("flat"),
        "queue/resolved/2025/01/01/esc_otherday.yaml": resolved_text("otherday"),
        "queue/resolved/2026/11/23/esc_queued.yaml": open_text("queued"),
    }
    wrong = {"queue/esc_over.yaml": resolved_text("over"), "queue/esc_folder.yaml/inside.yaml": "x\n"}
    lab.put({**more, **wrong})
    lab.clone("alice")
    return lab, opened | {"queue/esc_over.yaml", "queue/esc_folder.yaml"}, resolved | set(more)


@pytest.mark.parametrize("status", ["open", "resolved", "all"])
def test_an_unreadable_file_neither_hides_the_others_nor_is_skipped_in_silence(
    damaged: tuple[Lab, set[str], set[str]], status: str
) -> None:
    lab, opened, resolved = damaged
    expected = {"open": opened, "resolved": resolved, "all": opened | resolved}[status]
    good = {"open": ["good0", "good1", "good2"], "resolved": ["fine"]}
    for as_json in ([], ["--json"]):
        ran = kt("list", "--status", status, "--sort", "id", *as_json, cwd=lab.folder / "alice")
        assert ran.code == 0
        warned = ran.err.splitlines()
        assert len(warned) == len(expected)
        assert all(sum(f"{path}: " in line for line in warned) == 1 for path in expected)
        if as_json:
            assert {item["path"] for item in ran.json["invalid"]} == expected
            assert {frozenset(item) for item in ran.json["invalid"]} == {frozenset({"path", "error"})}
            for item in ran.json["invalid"]:
                kind = (
                    Path(item["path"])
                    .stem.removeprefix("esc_")
                    .removeprefix("r" * ("resolved" in item["path"]))
                )
                assert SAYS.get(kind, "") in item["error"], item
            found = [name.removeprefix("esc_") for name in ids(ran.json["escalations"])]
            assert found == good.get(status, ["fine", *good["open"]])


@pytest.mark.parametrize("prefix", ["", "r"], ids=["open", "resolved"])
@pytest.mark.parametrize("kind", ["torn", "huge", "liar", "link", "sub"])
def test_nothing_is_written_to_an_unreadable_record(
    damaged: tuple[Lab, set[str], set[str]], kind: str, prefix: str
) -> None:
    lab, _, _ = damaged
    before, name = lab.tip(), f"esc_{prefix}{kind}"
    for args in (
        ["claim", "--id", name],
        ["unclaim", "--id", name],
        ["resolve", "--id", name, "--outcome", "denied", "--reason", "no"],
        ["note", "--id", name, "--text", "hm"],
        ["raise", "--request-id", name.removeprefix("esc_"), "--reason-code", "a.b"],
        ["get", "--id", name],
    ):
        ran = kt(*args, "--json", cwd=lab.folder / "alice")
        assert ran.code == 2, args
        assert ran.error["code"] == "unreadable_record", args
        assert ran.error["path"].endswith(f"/{name}.yaml")
        assert "git log -p" in ran.error["message"]
    assert lab.tip() == before


def test_the_log_of_a_damaged_store_tells_of_the_damage(damaged: tuple[Lab, set[str], set[str]]) -> None:
    lab, _, _ = damaged
    ran = kt("log", "--json", cwd=lab.folder / "alice")
    told = {entry["escalation_id"]: entry["action"] for entry in ran.json["entries"]}
    assert ran.code == 0
    assert told["esc_torn"] == told["esc_rhuge"] == "unreadable"
    assert told["esc_good1"] == "raise"


# --- doctor -----------------------------------------------------------------------------------------


def test_doctor_finds_nothing_in_a_store_that_is_well(lab: Lab) -> None:
    lab.put(SHELF)
    ran = kt("doctor", "--json", cwd=lab.clone("alice"))
    assert ran.code == 0
    assert ran.json["ok"] is True
    assert ran.err == ""
    # Nothing proves names there, and no hook judges what is pushed, which is not for this clone to fix.
    warned = [finding for finding in ran.json["findings"] if "remedy" in finding]
    assert [(one["check"], one["ok"], one["fixed_by"]) for one in warned] == [
        ("hook", True, "server"),
        ("names", True, "server"),
    ]
    assert all(set(one) == {"check", "ok", "detail"} for one in ran.json["findings"] if one not in warned)
    plain = kt("doctor", cwd=lab.folder / "alice")
    assert plain.code == 0
    assert plain.err == ""
    assert {line[:4] for line in plain.out.splitlines()} == {"ok  ", "!!  ", "    "}


def no_identity(lab: Lab, clone: Path) -> None:
    git("config", "--unset", "user.email", cwd=clone)


def remote_gone(lab: Lab, clone: Path) -> None:
    git("remote", "set-url", "origin", str(lab.folder / "gone.git"), cwd=clone)


def unknown_remote(lab: Lab, clone: Path) -> None:
    git("config", "kt.remote", "nowhere", cwd=clone)


def detached(lab: Lab, clone: Path) -> None:
    git("remote", "remove", "origin", cwd=clone)
    git("checkout", "--quiet", "--detach", cwd=clone)


def fetched(files: Mapping[str, str], lab: Lab, clone: Path) -> None:
    lab.put(files)
    git("fetch", "--quiet", cwd=clone)


def unreadable(lab: Lab, clone: Path) -> None:
    fetched({"queue/esc_torn.yaml": "<<<<<<<\n"}, lab, clone)


def unreadable_resolved(lab: Lab, clone: Path) -> None:
    fetched({resolved_path("torn"): "<<<<<<<\n"}, lab, clone)


def broken_roster(lab: Lab, clone: Path) -> None:
    fetched({"policies/roster.yaml": "users: 1\n"}, lab, clone)


def broken_settings(lab: Lab, clone: Path) -> None:
    fetched({"policies/settings.yaml": "claims: {lease: soon}\n"}, lab, clone)


def broken_pack(lab: Lab, clone: Path) -> None:
    fetched({"policies/policy-config.yaml": "pack: [\n"}, lab, clone)


@pytest.mark.parametrize(
    ("trouble", "check", "detail", "remedy"),
    [
        (no_identity, "identity", "does not know who you are", "git config user.email"),
        (remote_gone, "remote", "did not answer", "git remote get-url origin"),
        (unknown_remote, "remote", "nowhere", "git config --unset kt.remote"),
        (detached, "branch", "detached", "git switch"),
        (unreadable, "files", "queue/esc_torn.yaml", "git log -p -- queue/esc_torn.yaml"),
        (unreadable_resolved, "files", resolved_path("torn"), f"git log -p -- {resolved_path('torn')}"),
        (broken_roster, "policies", "policies/roster.yaml", "fix it"),
        (broken_settings, "policies", "policies/settings.yaml:1:10: claims.lease", "fix it"),
        (broken_pack, "policies", "policies/policy-config.yaml", "fix it"),
    ],
)
def test_doctor_names_what_is_bad_and_how_to_mend_it(
    lab: Lab, trouble: Any, check: str, detail: str, remedy: str
) -> None:
    lab.escalations("job")
    clone = lab.clone("alice")
    trouble(lab, clone)
    ran = kt("doctor", "--json", cwd=clone)
    assert ran.code == 1
    assert ran.json["ok"] is False
    assert ran.err == ""
    found = [finding for finding in ran.json["findings"] if not finding["ok"]]
    assert {frozenset(bad) for bad in found} == {frozenset({"check", "ok", "detail", "remedy", "fixed_by"})}
    bad = found[0]
    assert bad["check"] == check
    assert detail in bad["detail"]
    assert remedy in bad["remedy"]
    assert all(bad["remedy"] for bad in found)
    plain = kt("doctor", cwd=clone)
    assert plain.code == 1
    assert f"BAD {check}" in plain.out
    assert f"to fix it:  {bad['remedy']}" in plain.out
    assert re.fullmatch(rf"kt: {len(found)} of \d+ checks failed\n", plain.err)


@pytest.mark.parametrize(
    ("ref", "name"),
    [
        ("refs/tags/main", "main"),
        ("refs/main", "main"),
        ("refs/tags/origin/main", "origin/main"),
        ("refs/heads/origin/main", "origin/main"),
        ("refs/tags/origin", "origin"),
        ("refs/heads/origin/HEAD", "origin/HEAD"),
    ],
)
def test_doctor_warns_of_what_git_shows_in_place_of_the_store_branch(lab: Lab, ref: str, name: str) -> None:
    lab.put(SHELF)
    clone = lab.clone("alice")
    git("update-ref", "refs/tags/main/1", "HEAD~", cwd=clone)
    assert not [one for one in findings(clone, "branch") if "remedy" in one]
    git("update-ref", "-d", "refs/tags/main/1", cwd=clone)
    git("update-ref", ref, "HEAD", cwd=clone)
    assert not [one for one in findings(clone, "branch") if "remedy" in one], "it is the same commit"
    git("update-ref", "refs/heads/side", "HEAD~", cwd=clone)
    git("symbolic-ref", ref, "refs/heads/side", cwd=clone)
    shown = git("rev-parse", name, cwd=clone)
    assert shown == git("rev-parse", "HEAD~", cwd=clone) != git("rev-parse", "HEAD", cwd=clone)
    [warned] = [one for one in findings(clone, "branch") if "remedy" in one]
    assert f"take {name} for {ref} here" in warned["detail"]
    assert warned["ok"] is True
    if name == "main":
        git("remote", "remove", "origin", cwd=clone)
        assert warned in findings(clone, "branch")
    if ref.startswith("refs/heads/"):
        git("update-ref", "--no-deref", ref, "HEAD~", cwd=clone)
    git(*shlex.split(warned["remedy"].partition(";")[0])[1:], cwd=clone)
    assert not [one for one in findings(clone, "branch") if "remedy" in one]
    kept = ("side", *(["NAME"] if ref.startswith("refs/heads/") else []))
    assert {git("rev-parse", f"refs/heads/{name}", cwd=clone) for name in kept} == {shown}


ROSTER = """\
users:
  - {user_id: alice, emails: [alice@example.com], roles: [reviewer]}
  - {user_id: boss, emails: [boss@example.com], roles: [admin]}
"""


def test_what_only_an_admin_can_fix_is_no_fault_of_everybodys_clone(lab: Lab) -> None:
    lab.put({"policies/roster.yaml": ROSTER, "queue/esc_torn.yaml": "<<<<<<<\n"})
    for name, code, fixed_by in (("alice", 0, "admin"), ("boss", 1, "you")):
        clone = lab.clone(name)
        ran = kt("doctor", "--json", cwd=clone)
        [bad] = [finding for finding in ran.json["findings"] if not finding["ok"]]
        assert (ran.code, ran.json["ok"], bad["fixed_by"]) == (code, not code, fixed_by)
        plain = kt("doctor", cwd=clone)
        assert plain.code == code
        assert "BAD files" in plain.out
        assert " checks failed" in plain.err
    assert "an admin can fix it:  " in kt("doctor", cwd=lab.folder / "alice").out


def findings(clone: Path, check: str) -> list[dict[str, Any]]:
    return [one for one in kt("doctor", "--json", cwd=clone).json["findings"] if one["check"] == check]


def test_doctor_finds_a_remote_whose_history_was_rewritten(lab: Lab) -> None:
    """Also where what is there now has never been fetched; every other command ends with exit 4 then."""
    lab.escalations("job")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    git("commit", "--quiet", "--amend", "-m", "another past", cwd=bob)
    git("push", "--quiet", "--force", "origin", "HEAD:main", cwd=bob)
    assert kt("claim", "--next", cwd=alice).code == 4
    before = git("for-each-ref", cwd=alice)
    ran = kt("doctor", "--json", cwd=alice)
    [bad] = [one for one in ran.json["findings"] if not one["ok"]]
    assert ran.code == 1
    assert bad["check"] == "branch"
    assert "git fetch origin" in bad["remedy"]
    assert kt("claim", "--next", "--json", cwd=alice).error["message"].startswith(bad["detail"])
    assert git("for-each-ref", cwd=alice) == before
    git("fetch", "--quiet", "origin", cwd=alice)
    git("reset", "--quiet", "--hard", "origin/main", cwd=alice)
    assert kt("doctor", cwd=alice).code == 0
    # Somebody else's new commit is no rewriting.
    assert kt("note", "--id", "esc_job", "--text", "x", cwd=bob).code == 0
    assert kt("doctor", cwd=alice).code == 0


@pytest.mark.parametrize("behind", [0, 100], ids=["at once", "behind many commits"])
def test_a_tip_that_was_thrown_off_the_line_is_a_rewritten_history(lab: Lab, behind: int) -> None:
    """Mallory merges what alice has seen as the second parent, with a store from before it."""
    lab.escalations("job")
    alice, mallory = lab.clone("alice"), lab.clone("mallory")
    claim = kt("claim", "--id", "esc_job", "--json", cwd=alice).json["commit"]
    denied = kt("resolve", "--id", "esc_job", "--outcome", "denied", "--reason", "no", "--json", cwd=alice)
    seen = denied.json["commit"]
    git("fetch", "--quiet", cwd=mallory)
    git("reset", "--quiet", "--hard", claim, cwd=mallory)
    git("merge", "--quiet", "--no-ff", "--strategy=ours", "-m", "tidy up", seen, cwd=mallory)
    for number in range(behind):
        git("commit", "--quiet", "--allow-empty", "-m", str(number), cwd=mallory)
    git("push", "--quiet", "origin", "HEAD:main", cwd=mallory)
    assert git("merge-base", seen, "HEAD", cwd=mallory) == seen
    for args in (["list", "--fetch"], ["note", "--id", "esc_job", "--text", "x"], ["claim", "--next"]):
        ran = kt(*args, "--json", cwd=alice)
        assert (ran.code, ran.error["code"]) == (4, "history_rewritten"), args
        assert seen[:12] in ran.error["message"]
        assert git("rev-parse", "origin/main", cwd=alice) == seen
    [bad] = findings(alice, "branch")
    assert not bad["ok"]
    assert ran.error["message"].startswith(bad["detail"])


def test_a_harmless_pull_that_is_pushed_is_no_rewritten_history(lab: Lab) -> None:
    """A merge with one's own work as the first parent, which leaves the store as the other side has it."""
    lab.escalations("job")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    assert kt("claim", "--id", "esc_job", cwd=alice).code == 0
    (bob / "code.py").write_text("x = 1\n")
    git("add", "code.py", cwd=bob)
    git("commit", "--quiet", "-m", "code", cwd=bob)
    git("pull", "--quiet", "--no-rebase", "--no-edit", "origin", "main", cwd=bob)
    git("push", "--quiet", "origin", "HEAD:main", cwd=bob)
    assert findings(alice, "branch")[0]["ok"]
    assert kt("note", "--id", "esc_job", "--text", "x", cwd=alice).code == 0


def test_doctor_does_not_advise_to_push_what_the_hook_refuses(lab: Lab) -> None:
    lab.escalations("job")
    assert kt("hook", "install", "--server", str(lab.remote), cwd=lab.folder).code == 0
    bob = lab.clone("bob")
    record = bob / "queue/esc_job.yaml"
    record.write_text(record.read_text().replace("severity: medium", "severity: low"))
    git("commit", "--quiet", "--all", "-m", "it was fine, really", cwd=bob)
    [bad] = findings(bob, "branch")
    commands = re.findall("`([^`]+)`", bad["remedy"])
    assert commands == [
        "kt escalation check origin/main..main",
        "git push origin main",
        "git reset --keep origin/main",
    ]
    assert kt(*commands[0].split()[2:], cwd=bob).code == 1
    git("switch", "--quiet", "-c", "topic", "origin/main", cwd=bob)
    [bad] = findings(bob, "branch")
    last = re.findall("`([^`]+)`", bad["remedy"])[-1]
    assert last == "git branch --force main origin/main"
    git(*last.split()[1:], cwd=bob)
    assert [one["ok"] for one in findings(bob, "branch")] == [True]


def test_doctor_finds_a_hook_that_does_not_run(lab: Lab) -> None:
    alice = lab.clone("alice")
    [seen] = findings(alice, "hook")
    assert seen["ok"] is True
    assert f"hook install --server {lab.remote}" in seen["remedy"]
    assert kt("hook", "install", "--server", str(lab.remote), cwd=lab.folder).code == 0
    assert findings(alice, "hook") == [
        {"check": "hook", "ok": True, "detail": f"the hook of {lab.remote} runs and guards main"}
    ]
    git("config", "core.hooksPath", "elsewhere", cwd=lab.remote)
    [bad] = findings(alice, "hook")
    assert bad["ok"] is False
    assert bad["fixed_by"] == "server"
    assert bad["remedy"] == f"see `kt escalation hook status --server {lab.remote}`"
    ran = kt("doctor", cwd=alice)
    assert ran.code == 0
    assert "the administrator of the server can fix it:  see" in ran.out
    assert "1 of 8 checks failed; there is nothing to fix in this clone" in ran.err


def test_doctor_finds_a_hook_that_guards_the_store_of_another_folder(lab: Lab) -> None:
    alice = lab.clone("alice")
    assert kt("hook", "install", "--server", str(lab.remote), "--root", "other", cwd=lab.folder).code == 0
    [bad] = findings(alice, "hook")
    assert bad["ok"] is False
    assert bad["fixed_by"] == "server"
    assert "guards the store in other, and this clone's is in the top of the repository" in bad["detail"]
    command = re.findall("`kt escalation ([^`]+)`", bad["remedy"])[0]
    assert kt(*shlex.split(command), cwd=lab.folder).code == 0
    assert [one["ok"] for one in findings(alice, "hook")] == [True]


def test_doctor_says_what_proves_names(lab: Lab) -> None:
    alice = lab.clone("alice")

    def told() -> str:
        [found] = findings(alice, "names")
        assert found["ok"] is True
        return str(found["detail"])

    assert "nothing in the store proves names" in told()
    args = ("hook", "install", "--server", str(lab.remote), "--pusher-from", "REMOTE_USER")
    assert kt(*args, cwd=lab.folder).code == 0
    assert told() == "the server says who pushes, in REMOTE_USER"
    git("config", "core.hooksPath", "elsewhere", cwd=lab.remote)
    assert "nothing in the store proves names" in told(), "a hook that does not run proves nothing"
    lab.put({"policies/settings.yaml": "signatures: required\n"})
    git("pull", "--quiet", cwd=alice)
    assert told() == "each step is signed by its author"


def test_a_remedy_can_be_copied_to_a_shell_whatever_a_file_is_called(lab: Lab) -> None:
    """Where a name holds what a shell would run."""
    lab.put({"queue/a;touch X;b": "x\n", "queue/esc_torn.yaml": "x\n"})
    clone = lab.clone("alice")
    [odd] = [one for one in findings(clone, "files") if "touch" in one["detail"]]
    [command] = re.findall("`(git rm [^`]+)`", odd["remedy"])
    assert shlex.split(command) == ["git", "rm", "--", "queue/a;touch X;b"]


def test_doctor_names_the_command_for_changed_path_filters_where_they_are_worth_it(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = lab.clone("alice")

    def history() -> list[str]:
        found = kt("doctor", "--json", cwd=clone)
        assert found.code == 0
        return [one["detail"] for one in found.json["findings"] if one["check"] == "history"]

    assert history() == []
    commits = int(git("rev-list", "--count", "HEAD", cwd=clone))
    monkeypatch.setattr(doctor, "_MANY", commits)
    assert history() == []
    monkeypatch.setattr(doctor, "_MANY", commits - 1)
    git("commit-graph", "write", "--reachable", cwd=clone)
    [detail] = history()
    [command] = re.findall("`(git .+?)`", detail)
    git(*command.split()[1:], cwd=clone)
    assert history() == []
    (clone / ".git/objects/info/commit-graph").unlink()
    git("commit-graph", "write", "--reachable", "--changed-paths", "--split", cwd=clone)
    assert history() == []


def test_doctor_says_who_holds_the_lock(lab: Lab) -> None:
    clone = lab.clone("alice")
    assert kt("raise", "--reason-code", "a.b", cwd=clone).code == 0
    with FileLock(clone / ".git/kt/lock"):
        ran = kt("doctor", "--json", cwd=clone)
    [bad] = [finding for finding in ran.json["findings"] if not finding["ok"]]
    pid = json.loads((clone / ".git/kt/holder").read_text())["pid"]
    assert ran.code == 1
    assert bad["check"] == "lock"
    assert f"process {pid}" in bad["detail"]


# --- fresh at a terminal ------------------------------------------------------------------------------


def test_a_terminal_shows_what_the_remote_has_or_says_how_old_it_is(lab: Lab) -> None:
    alice, bob = lab.clone("alice"), lab.clone("bob")
    assert kt("raise", "--request-id", "new", "--reason-code", "a.b", cwd=bob).code == 0
    assert "esc_new" not in kt("list", cwd=alice).out, "a script reads offline"
    code, shown = on_a_terminal(["list", "--no-fetch"], alice, {})
    assert code == 0
    assert "esc_new" not in shown
    assert re.search(r"kt: as of (the last fetch|\w+ ago)", shown)
    code, shown = on_a_terminal(["list"], alice, {})
    assert code == 0
    assert "esc_new" in shown
    assert "as of" not in shown
    assert kt("claim", "esc_new", cwd=bob).code == 0
    assert "held by" in on_a_terminal(["get", "esc_new"], alice, {})[1]
    lab.remote.rename(lab.folder / "away")
    for args in (["list"], ["get", "esc_new"]):
        code, shown = on_a_terminal(args, alice, {})
        assert code == 0
        assert "esc_new" in shown
        assert re.search(r"kt: as of \d+s ago: the remote origin could not be reached", shown), shown
    assert "as of" not in on_a_terminal(["get", "esc_new", "--rev", "origin/main"], alice, {})[1]


def test_a_remote_that_does_not_answer_holds_a_terminal_up_for_two_seconds(lab: Lab, tmp_path: Path) -> None:
    alice = lab.clone("alice")
    env = {"PATH": path_to_git(tmp_path, 'case " $* " in *" fetch "*) sleep 30 ;; esac\ngit "$@"')}
    began = time.monotonic()
    code, shown = on_a_terminal(["list"], alice, env)
    assert code == 0
    assert "as of" in shown
    assert time.monotonic() - began < 15


def test_several_stores_at_a_terminal_say_each_how_old_they_are(tmp_path: Path) -> None:
    labs = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        labs.append(Lab(tmp_path / name))
    clones = [str(each.clone("alice")) for each in labs]
    labs[1].remote.rename(tmp_path / "away")
    code, shown = on_a_terminal(["list", "-C", clones[0], "-C", clones[1]], tmp_path, {})
    assert code == 0
    assert shown.count("as of") == 1
    assert f"{clones[1]}: as of" in shown


def test_what_is_longer_than_the_terminal_goes_to_the_pager(lab: Lab, tmp_path: Path) -> None:
    bob = lab.clone("bob")
    for number in range(12):
        assert kt("raise", "--request-id", f"r{number}", "--reason-code", "a.b", cwd=bob).code == 0
    pager = tmp_path / "pager"
    pager.write_text(f"#!/bin/sh\ncat > {tmp_path}/paged\n")
    pager.chmod(0o755)
    code, shown = on_a_terminal(["log"], bob, {"PAGER": str(pager), "LINES": "10"})
    paged = (tmp_path / "paged").read_text()
    assert code == 0
    assert "esc_r0" not in shown
    assert paged.count("raise") >= 12
    # Times are local and short here, and exact in a script.
    assert re.match(r"\d\d:\d\d +[0-9a-f]{12}  raise", paged)
    assert "000Z" in kt("log", cwd=bob).out
    (tmp_path / "paged").unlink()
    for env in ({"LINES": "40"}, {"LINES": "10", "PAGER": "cat"}, {"LINES": "10", "TERM": "dumb"}):
        code, shown = on_a_terminal(["log"], bob, {"PAGER": str(pager), **env})
        assert code == 0
        assert "esc_r0" in shown
        assert not (tmp_path / "paged").exists()
