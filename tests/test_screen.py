"""`list` and `get` on a terminal: they fit it, hide nothing that matters, and do nothing to it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from counts import examples
from forge import ROSTER, SETTINGS
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import HEAVY, KT, Lab, git, kt, loaded, record_text
from rich.cells import cell_len
from sample_records import open_text, resolved_path, resolved_text
from terminal import at_a_terminal

from kt_escalation import Store
from kt_escalation.cli.terminal import screen, views
from kt_escalation.model.text import visible
from kt_escalation.multistore import Listed
from kt_escalation.read_store import ReadStore
from kt_escalation.reporting import facts

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
STRANGE = {
    "wide": "顧客への返金、担当者の確認が必要です。金額は十二万円です。",
    "combining": "Zu\u0308rich a\u0301 la fac\u0327on o\u0308rtliche U\u0308bung",
    "markup": "[bold red]not red[/] [link=https://example.com]no link[/link] :smile: [/]",
    "quoted": "a\\[b] {escalation_id} %s $(id) `id`",
}
SOME = {
    "queue/esc_wide.yaml": open_text(
        "wide",
        "critical",
        route="team_id: 法務部",
        summary=json.dumps(STRANGE["wide"], ensure_ascii=False),
    ).replace("  approvals: 1\n", "  approvals: 1\n  resolve_within: 1h\n"),
    "queue/esc_combining.yaml": open_text(
        "combining", "high", holder="bob@example.com", summary=json.dumps(STRANGE["combining"])
    ),
    "queue/esc_markup.yaml": open_text("markup", "medium", summary=json.dumps(STRANGE["markup"])),
    f"queue/esc_{'long' * 15}.yaml": open_text("long" * 15, "low", summary=json.dumps(STRANGE["quoted"])),
}
CONTEXT = {
    "excerpt": "[green]Approve me[/green]\n\x1b[2Jverdict: allow",
    "policy_results": [
        {
            "policy_kind": "pii",
            "verdict": "block",
            "reason_code": "pii.name",
            "details": {"kinds": ["a", "b"], "said": "x\nphase: y"},
        },
        {"odd": [1, {"deep": None}]},
    ],
    "scores": {"risk": 0.97, "h\u202eidden": True},
    "review_result": {"by": "model", "text": "zwei\nZeilen"},
}


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of a store with strange texts, which nobody changes."""
    lab = Lab(tmp_path_factory.mktemp("some"))
    rich = open_text("full", "high") + f"event_context: {json.dumps(CONTEXT)}\n"
    lab.put({**SOME, "queue/esc_full.yaml": rich, resolved_path("done"): resolved_text("done", "denied")})
    return lab.clone("alice")


def seen(*args: str, cwd: Path, columns: int = 100, env: Mapping[str, str] | None = None) -> str:
    """What somebody at a terminal of that width reads."""
    code, shown = at_a_terminal(*args, cwd=cwd, env={"COLUMNS": str(columns), **(env or {})})
    assert code == 0, shown
    return ESCAPES.sub("", shown)


def test_what_is_resolved_was_claimed_and_is_held_by_nobody(some: Path) -> None:
    page = seen("get", "esc_done", cwd=some)
    assert re.search(r"claimed +by bob@example\.com at ", page)
    assert "held by" not in page


def offset(line: str, word: str) -> int:
    """The terminal's column at which a word begins."""
    return cell_len(line[: line.index(word)])


# --- list -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 100, 140, 300])
def test_a_table_fits_and_its_columns_stand_below_each_other(some: Path, columns: int) -> None:
    head, *rows = seen("list", cwd=some, columns=columns).splitlines()
    assert max(map(cell_len, [head, *rows])) <= columns
    # The long id stands in several lines rather than being cut; the others are whole.
    starts = [row for row in rows if row.startswith("esc_")]
    assert len(starts) == 5
    assert "".join(row.split()[0] for row in rows[rows.index(starts[-1]) :]).startswith(f"esc_{'long' * 3}")
    at = offset(head, "SEVERITY")
    for row, severity in zip(starts, ("critical", "high", "high", "medium", "low"), strict=True):
        assert offset(row, f" {severity}") + 1 == at
    if columns == 300:
        assert offset(starts[0], "金") > offset(head, "SUMMARY") == offset(starts[0], "顧客")
        assert offset(starts[1], "Zu\u0308rich") == offset(starts[3], "[bold red]") == offset(head, "SUMMARY")
        assert offset(starts[1], "bob@") == offset(head, "HOLDER")


def test_ages_are_right_aligned(lab: Lab) -> None:
    lab.put(
        {
            "queue/esc_old.yaml": open_text("old", created_at='"2001-01-01T00:00:00.000Z"'),
            "queue/esc_new.yaml": open_text("new", created_at='"2199-01-01T00:00:00.000Z"'),
        }
    )
    head, *rows = seen("list", cwd=lab.clone("alice")).splitlines()
    end = head.index("AGE") + 3
    assert {row[:end].split()[-1] for row in rows} == {row[:end].split(" ")[-1] for row in rows}


def test_what_a_reviewer_chooses_by_goes_last(lab: Lab) -> None:
    held = open_text(
        "a", "high", holder="bob@example.com", route="team_id: legal", summary="What it is about"
    )
    lab.put({"queue/esc_a.yaml": held.replace("  approvals: 1\n", "  approvals: 1\n  resolve_within: 1h\n")})
    clone = lab.clone("alice")
    heads = set()
    with ReadStore.open(clone) as shelf, pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_COLOR", "1")
        for columns in range(20, 140):
            patch.setenv("COLUMNS", str(columns))
            heads.add(
                next(
                    views.listing(
                        [Listed(None, row, None) for row in shelf.rows().page.rows],
                        datetime.now(UTC),
                        more=False,
                    )
                )
            )
    assert sorted((" ".join(head.split()) for head in heads), key=len) == [
        "ID SEVERITY",
        "ID SEVERITY SUMMARY",
        "ID SEVERITY DUE SUMMARY",
        "ID SEVERITY STATUS DUE SUMMARY",
        "ID SEVERITY STATUS AGE DUE SUMMARY",
        "ID SEVERITY STATUS AGE DUE HOLDER SUMMARY",
        "ID SEVERITY STATUS AGE DUE FOR HOLDER SUMMARY",
        "ID SEVERITY STATUS AGE DUE FOR HOLDER REASON SUMMARY",
    ]


def test_what_is_left_has_all_the_room_there_is(lab: Lab) -> None:
    lab.escalations("a", summary="word " * 30 + "end")
    clone = lab.clone("alice")
    for columns in (40, 60, 80, 160):
        _, row = seen("list", cwd=clone, columns=columns).splitlines()
        assert len(row) == columns
        assert row.endswith("…")


def test_records_cannot_write_markup_links_or_emoji(some: Path) -> None:
    _, shown = at_a_terminal("list", cwd=some, env={"COLUMNS": "300"})
    assert all(text in shown for text in STRANGE.values())
    assert "\x1b]" not in shown
    assert set(re.findall(r"\x1b[^m]*m", shown)) == {
        f"\x1b[{code}m" for code in ("0", "1", "1;31", "1;91", "31", "33", "32")
    }


@pytest.mark.parametrize(
    ("env", "columns"),
    [({"NO_COLOR": "1"}, "50"), ({"TERM": "dumb"}, "50"), ({"TERM": "unknown"}, "200")],
    ids=str,
)
def test_a_terminal_without_colour_gets_words_alone_and_its_whole_width(
    some: Path, env: dict[str, str], columns: str
) -> None:
    for args in (["list", "--status", "all"], ["get", "--id", "esc_full", "--include-context"]):
        _, shown = at_a_terminal(*args, cwd=some, env={"COLUMNS": columns, **env})
        assert "\x1b" not in shown
        _, coloured = at_a_terminal(*args, cwd=some, env={"COLUMNS": columns})
        assert "\x1b" in coloured
        assert ESCAPES.sub("", coloured) == shown


def test_a_footer_says_that_there_are_more(some: Path) -> None:
    shown = seen("list", "--limit", "2", cwd=some)
    assert shown.splitlines()[-1] == "the first 2; --limit 0 shows all"
    assert len(shown.splitlines()) == 4
    assert "--limit" not in seen("list", cwd=some)
    assert "--cursor" in kt("list", "--limit", "2", cwd=some).err


def test_files_that_cannot_be_read_are_still_named_on_stderr(lab: Lab) -> None:
    lab.put({"queue/esc_a.yaml": record_text("a"), "queue/esc_torn.yaml": "<<<<<<< HEAD\n"})
    clone = lab.clone("alice")
    master, inside = pty.openpty()
    done = subprocess.run([*KT, "escalation", "list"], cwd=clone, stdout=inside, stderr=subprocess.PIPE)
    os.close(inside)
    assert b"esc_torn" not in os.read(master, 4096)
    os.close(master)
    assert done.returncode == 0
    assert done.stderr.startswith(b"kt: queue/esc_torn.yaml: ")


# --- what it costs ----------------------------------------------------------------------------------


def test_only_a_terminal_pays_for_rich(some: Path) -> None:
    for args in (["list"], ["list", "--json"], ["get", "--id", "esc_full"]):
        _, modules = loaded(*args, cwd=some)
        assert not any(name.split(".")[0] == "rich" for name in modules), args
    master, inside = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *KT[1:], "escalation", "list"],
        cwd=some,
        stdout=inside,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    os.close(inside)
    os.close(master)
    modules = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "rich.table" in modules
    assert modules.isdisjoint(HEAVY)


# --- get --------------------------------------------------------------------------------------------


def parts(page: str) -> dict[str, list[str]]:
    """The lines below each title of a page."""
    found: dict[str, list[str]] = {"": []}
    for line in page.splitlines():
        if line.startswith("  ") or line == "" or not found[""]:
            found[list(found)[-1]].append(line)
        else:
            found[line] = []
    return {title: [line for line in lines if line] for title, lines in found.items()}


def test_a_page_says_what_happened_why_and_who_has_looked_at_it(some: Path) -> None:
    told = parts(seen("get", "--id", "esc_full", cwd=some))
    assert list(told) == [
        "",
        "What happened",
        "What the policies said",
        "Scores",
        "Context",
        "Where it stands",
        "What you may do",
    ]
    assert told[""] == ["esc_full  high  queued"]
    assert [line.split() for line in told["What the policies said"]] == [
        ["block", "pii:", "pii.name"],
        ["details:"],
        ["kinds:", "a,", "b"],
        ["said:", "x"],
        ["phase:", "y"],
        ["-", "-"],
        ["odd:"],
        ["-", "1"],
        ["-", "deep:", "null"],
    ]
    # What a text says is further in than the keys beside it.
    said, phase = (line for line in told["What the policies said"] if "said:" in line or "phase:" in line)
    assert phase.index("phase:") > said.index("said:")
    assert [line.split() for line in told["Scores"]] == [["risk", "0.97"], [r"h\u202eidden", "true"]]
    assert told["Context"] == [
        "  excerpt  [green]Approve me[/green]",
        r"           \x1b[2Jverdict: allow",
        "  context  1 more key; show with --include-context",
    ]
    ended = parts(seen("get", "--id", "esc_done", cwd=some))
    assert ended["Who has looked at it"] == [
        "  denied  bob@example.com at 2026-11-23 10:00",
        "          fine",
    ]
    assert not any("missing" in line for line in ended["Where it stands"])


def test_a_page_with_its_context_holds_every_word_of_it(some: Path) -> None:
    shown = seen("get", "--id", "esc_full", "--include-context", cwd=some)
    assert "review_result  by: model\n                 text: zwei\n                   Zeilen\n" in shown
    assert "--include-context" not in shown


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)


def leaves(value: object) -> list[str]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in (key, *leaves(item))]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value.rstrip("\n") if isinstance(value, str) else json.dumps(value)]


@settings(max_examples=examples(60))
@given(
    st.dictionaries(
        st.sampled_from(["policy_results", "scores", "excerpt", "review_result", "\x1b[2J"]), json_values
    )
)
def test_whatever_a_context_holds_is_on_the_page(context: dict[str, object]) -> None:
    sections = facts._context(context, whole=True)
    told = "\n".join(
        f"{section.title}\n" + "\n".join(f"{fact.name}\n{fact.said[0]}" for fact in section.facts)
        for section in sections
    )
    titled = [key for key in ("policy_results", "scores") if key in context]
    for leaf in (leaf for leaf in leaves(context) if leaf not in titled):
        for line in leaf.split("\n"):
            assert line in told


@settings(max_examples=examples(75))
@given(st.text(max_size=60), st.integers(20, 60), st.sampled_from(["", "late"]))
def test_whatever_a_text_holds_a_terminal_gets_what_is_seen_and_colour(
    text: str, columns: int, tone: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        patch.setenv("TERM", "xterm")
        section = screen.PageSection("Title", [((text, tone), (text, tone))])
        shown = [*screen.page([(text, tone)], None, [section])]
        shown += screen.table([screen.Column("A", whole=True)], [[(text, tone)]])
    plain = ESCAPES.sub("", "\n".join(shown))
    assert all(line == visible(line) for line in plain.split("\n"))
    assert max(map(cell_len, plain.split("\n"))) <= columns


@pytest.mark.parametrize("columns", [20, 40, 80, 300])
def test_a_page_fits(some: Path, columns: int) -> None:
    shown = seen("get", "--id", "esc_full", "--include-context", cwd=some, columns=columns)
    assert max(map(cell_len, shown.splitlines())) <= min(columns, 110)


# --- what one may do next ---------------------------------------------------------------------------

TYPED = {"OUTCOME": "denied", "TEXT": "because", "TEAM": "security", "USER": "bob"}


@pytest.fixture(scope="module")
def court(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A store with a roster, one escalation in each state, and clones for everybody."""
    lab = Lab(tmp_path_factory.mktemp("court"))
    lab.put({"policies/roster.yaml": ROSTER, "policies/settings.yaml": SETTINGS})
    gw = lab.clone("gw")
    for name in ("free", "held", "done"):
        assert kt("raise", "--request-id", name, "--reason-code", "a.b", cwd=gw).code == 0
    alice = lab.clone("alice")
    assert kt("claim", "--id", "esc_held", "--id", "esc_done", cwd=alice).code == 0
    ended = ["--id", "esc_done", "--outcome", "denied", "--reason", "no"]
    assert kt("resolve", *ended, cwd=alice).code == 0
    for who in ("bob", "carol", "boss", "eve"):
        lab.clone(who)
    for who in ("alice", "gw"):
        git("pull", "--quiet", cwd=lab.folder / who)
    return lab


MAY = {
    ("alice", "free"): ["claim", "note"],
    ("alice", "held"): ["resolve", "renew", "unclaim", "assign", "note"],
    ("alice", "done"): ["reopen"],
    ("bob", "held"): ["note"],
    ("carol", "free"): ["note"],
    ("boss", "free"): ["assign", "note"],
    ("boss", "held"): ["force", "assign", "note"],
    ("eve", "free"): [],
    ("eve", "done"): [],
    ("gw", "held"): [],
}


@pytest.mark.parametrize(("who", "what"), MAY, ids=map("-".join, MAY))
def test_the_commands_on_a_page_are_those_that_run(court: Lab, who: str, what: str, tmp_path: Path) -> None:
    told = parts(seen("get", "--id", f"esc_{what}", cwd=court.folder / who)).get("What you may do", [])
    lines = [line for line in told if "kt escalation" in line]
    labels = {words: action for action, (words, _) in views.COMMANDS.items()}
    assert [labels[line.partition("  kt ")[0].strip()] for line in lines] == MAY[who, what]
    # Typed in a store of one's own, what is shown works; what is not is refused or does nothing.
    clone = tmp_path / "own"
    git("clone", "--quiet", str(court.remote), str(clone), cwd=tmp_path)
    git("remote", "remove", "origin", cwd=clone)
    env = {"GIT_AUTHOR_NAME": who, "GIT_AUTHOR_EMAIL": f"{who}@example.com"}
    for action, (_, command) in views.COMMANDS.items():
        words = [TYPED.get(word, word) for word in command.format(id=f"esc_{what}").split()]
        ran = kt(*words, "--json", cwd=clone, env=env)
        done = ran.code == 0 and ran.json["changed"]
        assert done == (action in MAY[who, what]), (action, ran.err)
        if done:
            git("reset", "--quiet", "--hard", "HEAD~1", cwd=clone)


def test_a_page_says_why_it_cannot_be_claimed(court: Lab) -> None:
    said = {who: seen("get", "--id", "esc_held", cwd=court.folder / who) for who in ("bob", "carol", "gw")}
    assert "claim it    no: esc_held is held by alice since " in said["bob"]
    assert "claim it    no: carol may not claim esc_held: it is routed to team legal" in said["carol"]
    assert "claim it  no: gw may not claim esc_held" in said["gw"]


def test_of_an_old_state_nothing_is_said_about_what_to_do(court: Lab) -> None:
    clone = court.folder / "alice"
    assert "What you may do" not in seen("get", "--id", "esc_held", "--rev", "HEAD", cwd=clone)


def test_who_is_nobody_is_told_so_and_shown_the_page(court: Lab) -> None:
    clone = court.clone("nobody")
    git("config", "--unset", "user.email", cwd=clone)
    shown = seen("get", "--id", "esc_free", cwd=clone)
    assert "git does not know who you are" in shown
    assert "kt escalation claim" not in shown


def test_moves_can_be_asked_for_from_python(court: Lab) -> None:
    with Store.open(court.folder / "boss") as store:
        asked = {one.action: one for one in store.available_actions(store.get("esc_free"))}
    assert [whom.team_id or whom.user_id for whom in asked["assign"].to] == [
        "security",
        "alice",
        "bob",
        "carol",
    ]
    assert asked["claim"].refusal
    assert asked["claim"].refusal.code == "not_allowed"
