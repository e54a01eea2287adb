"""How an escalation is named on a command line: as an argument, behind `--id`, by its request; and when that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from lab import Lab, Ran, git, ids, kt

from kt_escalation import Store
from kt_escalation.errors import BadInput, NotFound
from kt_escalation.model.ids import from_request

DIGEST = from_request("REQ-2041")


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A store with three requests, one of whose ids begins another's."""
    made = Lab(tmp_path_factory.mktemp("asked"))
    alice = made.clone("alice")
    for name in ("req_1", "req_12", "REQ-2041"):
        assert kt("raise", "--request-id", name, "--reason-code", "a.b", cwd=alice).code == 0
    return made


@pytest.fixture
def lab(asked: Lab, tmp_path: Path) -> Lab:
    """One's own copy of it."""
    return asked.copy(tmp_path)


@pytest.fixture
def clone(lab: Lab) -> Path:
    return lab.folder / "alice"


def held(ran: Ran) -> list[str]:
    assert ran.code == 0, ran.err
    return ids(ran.json["escalations"]) if "escalations" in ran.json else ids([ran.json["escalation"]])


def test_the_whole_life_of_one_that_is_named_as_an_argument(clone: Path) -> None:
    name = "esc_req_12"
    for args in (
        ["get", name],
        ["claim", name],
        ["claim", name, "--renew"],
        ["note", name, "--text", "hm"],
        ["unclaim", name],
        ["assign", name, "--to", "alice@example.com", "--reason", "mine"],
        ["resolve", name, "--outcome", "allow", "--reason", "fine"],
    ):
        assert held(kt(*args, "--json", cwd=clone)) == [name], args
    assert kt("wait", name, cwd=clone).json["release"] is True
    assert kt("reopen", name, "--reason", "again", "--json", cwd=clone).json["changed"] is True
    entries = kt("log", name, "--json", cwd=clone).json["entries"]
    assert [entry["action"] for entry in entries] == [
        "resolve",
        "assign",
        "unclaim",
        "note",
        "claim",
        "raise",
    ]
    assert kt("evidence", name, "-o", "case.tar", cwd=clone).code == 0


def test_a_record_that_was_damaged_is_named_so_as_well(lab: Lab, clone: Path) -> None:
    git("pull", "--quiet", "origin", "main", cwd=lab.seed)
    lab.put({"queue/esc_req_1.yaml": "<<<<<<<\n"})
    assert kt("restore", "esc_req_1", "--reason", "torn", cwd=clone).code == 0


@pytest.mark.parametrize(
    ("args", "stdin"),
    [
        (["esc_req_1", "--id", "esc_req_12"], ""),
        (["--id", "esc_req_12", "esc_req_1", "esc_req_1"], ""),
        (["esc_req_1", "--request-id", "req_12"], ""),
        (["-"], "esc_req_1\nesc_req_12\n"),
        (["--id", "-", "esc_req_12"], "esc_req_1"),
        (["--", "esc_req_1", "esc_req_12"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_whatever_way_they_are_named_they_are_one_list(clone: Path, args: list[str], stdin: str) -> None:
    ran = kt("claim", "--json", *args, cwd=clone, stdin=stdin.encode())
    assert sorted(held(ran)) == ["esc_req_1", "esc_req_12"]


def test_a_request_names_its_escalation_also_where_the_id_is_a_digest(clone: Path) -> None:
    by_request = ["--request-id", "REQ-2041", "--json"]
    assert held(kt("get", *by_request, cwd=clone)) == [DIGEST]
    assert held(kt("claim", *by_request, cwd=clone)) == [DIGEST]
    assert held(kt("list", *by_request, cwd=clone)) == [DIGEST]
    assert held(kt("list", *by_request, "--request-id", "req_1", cwd=clone)) == ["esc_req_1", DIGEST]
    assert held(kt("resolve", "--outcome", "block", "--reason", "no", *by_request, cwd=clone)) == [DIGEST]
    assert kt("wait", *by_request, cwd=clone).json["escalation_id"] == DIGEST
    assert held(kt("list", *by_request, cwd=clone)) == []
    gone = kt("get", "--request-id", "gone", "--json", cwd=clone)
    assert (gone.code, gone.error["escalation_id"]) == (7, "esc_gone")


@pytest.mark.parametrize("command", ["get", "wait", "log", "note", "reopen", "restore"])
@pytest.mark.parametrize(
    "args",
    [
        ["esc_req_1", "esc_req_1"],
        ["--id", "esc_req_1", "--id", "esc_req_12"],
        ["esc_req_1", "--id", "esc_req_1"],
        ["--request-id", "req_1", "--request-id", "req_1"],
        ["--id", "esc_req_1", "--request-id", "req_1"],
    ],
    ids=" ".join,
)
def test_what_takes_one_takes_no_second_not_even_the_same(clone: Path, command: str, args: list[str]) -> None:
    more = {"note": ["--text", "x"], "reopen": ["--reason", "x"], "restore": ["--reason", "x"]}
    tip = git("rev-parse", "main", cwd=clone)
    ran = kt(command, *args, *more.get(command, []), "--json", cwd=clone)
    assert (ran.code, ran.error["code"], ran.out) == (2, "usage", "")
    assert "takes one escalation, and 2 ids were given" in ran.error["message"]
    assert git("rev-parse", "main", cwd=clone) == tip


@pytest.mark.parametrize("command", ["get", "wait", "note --text x", "claim", "unclaim", "evidence -o -"])
def test_where_none_is_named_the_command_says_how(clone: Path, command: str) -> None:
    ran = kt(*command.split(), "--json", cwd=clone)
    assert (ran.code, ran.error["code"], ran.out) == (2, "usage", "")
    assert "id" in ran.error["message"]


@pytest.mark.parametrize("text", ["", "x" * 1001, "\udcff"], ids=["empty", "long", "no text"])
def test_what_no_request_can_be_called_names_none(clone: Path, text: str) -> None:
    for command in (["get"], ["list"], ["claim"], ["wait"]):
        ran = kt(*command, "--request-id", text, "--json", cwd=clone)
        assert (ran.code, ran.error["code"]) == (2, "bad_input"), command


def test_a_branch_is_not_named_by_an_id_that_stands_behind_the_option(clone: Path) -> None:
    refs = git("for-each-ref", cwd=clone)
    ran = kt("claim", "esc_req_1", "--branch", "esc_req_12", "--json", cwd=clone)
    assert (ran.code, ran.error["code"]) == (2, "usage")
    assert "`esc_req_12 --branch`" in ran.error["message"]
    assert git("for-each-ref", cwd=clone) == refs
    ran = kt("claim", "esc_req_12", "--branch", "--json", cwd=clone)
    assert ran.json["branch"] == "kt/claim/esc_req_12"


# --- the beginning of an id -------------------------------------------------------------------------


def test_reading_takes_the_beginning_of_an_id_and_waiting_does_not(clone: Path) -> None:
    assert kt("get", "esc_req_12", "--json", cwd=clone).json["escalation"]["escalation_id"] == "esc_req_12"
    assert kt("get", DIGEST[:12], "--json", cwd=clone).json["escalation"]["escalation_id"] == DIGEST
    ran = kt("wait", DIGEST[:12], "--timeout", "0", "--json", cwd=clone)
    assert (ran.code, ran.error["code"], ran.out) == (2, "bad_input", "")
    assert DIGEST in ran.error["message"]
    assert "whole id" in ran.error["message"]
    assert kt("wait", "esc_nobody", "--timeout", "0", "--json", cwd=clone).error["code"] == "not_found"
    # A whole one that begins another is that one.
    assert kt("wait", "esc_req_1", "--timeout", "0", "--json", cwd=clone).error["code"] == "wait_timeout"


def test_waiting_in_a_program_takes_the_whole_id(clone: Path) -> None:
    with Store.open(clone) as store:
        for name in ("esc_", "req_1", "esc_r", ""):
            with pytest.raises(BadInput):
                store.wait(name, timeout=0)
        with pytest.raises(BadInput, match="esc_req_1, esc_req_12"):
            store.wait("esc_req_", timeout=0)
        with pytest.raises(NotFound):
            store.wait("esc_req_3", timeout=0)
        assert store.get("esc_req_12").record.escalation_id == "esc_req_12"


def test_an_approval_of_another_request_releases_nothing(clone: Path) -> None:
    """The one that is waited for is not there, and its id begins that of one that was approved."""
    kt("claim", "esc_req_12", cwd=clone)
    assert kt("resolve", "esc_req_12", "--outcome", "approved", "--reason", "ok", cwd=clone).code == 0
    for name in ("esc_req_", "esc_req"):
        ran = kt("wait", name, "--timeout", "0", cwd=clone)
        assert ran.code == 2
        assert ran.out == ""
