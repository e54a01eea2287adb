"""The pages below docs/: their commands run as printed, what they print is what they show, their links lead somewhere."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from lab import Lab, git, kt, record_text
from pages import TOP, as_printed, steps, text_of

from kt_escalation import Store, errors
from kt_escalation.model.event import HAPPENINGS
from kt_escalation.model.vocabulary import OUTCOMES

EVENTS = {
    row.partition("` |")[0]: row for row in re.findall(r"^\| `(.*)$", text_of("events.md"), re.MULTILINE)
}
PAGES = sorted(str(page.relative_to(TOP / "docs")) for page in (TOP / "docs").rglob("*.md"))
AT_THE_TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
TESTS = "".join(file.read_text() for file in (TOP / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("name", [name for name in (*AT_THE_TOP, *PAGES) if any(steps(text_of(name)))])
def test_there_is_a_test_that_runs_the_commands_of_a_page(name: str) -> None:
    assert re.search(rf'as_printed\(\s*"{name}"', TESTS), f"no test runs the commands of {name}; see pages.py"


def test_what_the_front_page_shows_is_so(lab: Lab) -> None:
    as_printed("index.md", lab.clone("alice"))


def test_the_tutorial_runs_as_printed(tmp_path: Path) -> None:
    as_printed("tutorial.md", tmp_path)
    assert not list(tmp_path.iterdir()), "it tidies up"


def test_setting_up_a_team_runs_as_printed(tmp_path: Path) -> None:
    as_printed(
        "setup.md",
        tmp_path,
        replace={
            "/home/carol": str(tmp_path),
            "/srv/kt/review": str(tmp_path / "kt-team/carol"),
            "/srv/kt/venv/bin": str(Path(sys.executable).parent),
        },
    )


def test_the_guide_for_operators_runs_as_printed(lab: Lab) -> None:
    """Bob holds one; another has waited for longer than the settings of its time allowed."""
    gateway, bob, carol = lab.clone("gw"), lab.clone("bob"), lab.clone("carol")
    deadline = "  claim_within: 15m\n  fallback:\n    team_id: security\n"
    lab.put({"queue/esc_req_7.yaml": record_text("req_7", "critical") + deadline})
    kt("raise", "--request-id", "req_42", "--reason-code", "a.b", "--model", "gpt-4o", cwd=gateway)
    kt("claim", "--id", "esc_req_42", cwd=bob)
    git("pull", "--quiet", cwd=carol)
    as_printed(
        "operator.md",
        carol,
        replace={
            "/srv/kt/review": str(carol),
            "/srv/kt/venv/bin": str(Path(sys.executable).parent),
            "/srv/git/review.git": str(lab.remote),
        },
    )
    assert lab.commits("assign esc_req_42 to alice")
    assert lab.commits("sweep esc_req_7")


def test_the_guide_for_gateways_runs_as_printed(lab: Lab) -> None:
    lab.clone("alice")
    [told] = re.findall(r"```python\n.*?```\n\n```text\n(.*?)```", text_of("gateway.md"), re.DOTALL)
    assert told in as_printed("gateway.md", lab.folder, replace={"/srv/git/review.git": str(lab.remote)})


def test_a_gateway_in_python_runs_as_printed(lab: Lab) -> None:
    clone = lab.clone("gw")
    kt("raise", "--request-id", "req_7", "--reason-code", "tool.call", cwd=clone)
    kt("claim", "--id", "esc_req_7", cwd=clone)
    kt("resolve", "--id", "esc_req_7", "--outcome", "approved", "--reason", "as agreed", "--yes", cwd=clone)
    [told] = re.findall(r"```text\n(run it\n)```", text_of("adapters/index.md"))
    state = {"XDG_STATE_HOME": str(lab.folder)}
    assert as_printed("adapters/index.md", clone, env=state) == [told]


def test_the_gateway_over_http_runs_as_printed(lab: Lab) -> None:
    clone = lab.clone("gw")
    lab.clone("alice")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    listens = {"kt gateway serve": f"kt gateway serve --listen 127.0.0.1:{port}", "8181": port}
    as_printed("adapters/http.md", clone, replace=listens)


def test_the_guide_for_gateways_says_what_to_do_for_every_answer() -> None:
    """The errors are those that the methods name; a code of the table that kt does not have would be a dead row."""
    page = text_of("gateway.md")
    table = page[page.index("## What to do for each answer") : page.index("## Report the result")]
    told = {
        (int(row[1]), code)
        for row in re.finditer(r"^\| (\d+) \| (.*?) \|", table, re.M)
        for code in re.findall(r"`(\w+)`", row[2])
    }
    raised = {
        kind
        for method in (Store.wait, Store.release, Store.wait_and_release)
        for kind in (getattr(errors, name, None) for name in re.findall(r"\b[A-Z]\w+", method.__doc__ or ""))
        if isinstance(kind, type) and issubclass(kind, errors.KtError)
    }
    assert len(raised) > 12
    assert {(kind.exit_code, kind.code) for kind in raised} <= told
    assert {word for exit_code, word in told if exit_code > 1} <= errors.codes()
    assert {word for exit_code, word in told if exit_code < 2} >= set(OUTCOMES)


def test_the_guide_for_auditors_runs_as_printed(lab: Lab) -> None:
    # As `init` begins a store, so that nothing on the page is imported; and the id of its policies begins with a digit.
    pack = files("kt_escalation.templates").joinpath("policy-config.yaml").read_text()
    lab.put({"queue/.gitkeep": "", "policies/policy-config.yaml": pack})
    assert git("rev-parse", "HEAD:policies", cwd=lab.seed)[0].isdigit()
    clone = lab.clone("alice")
    for number in ("42", "43"):
        asked = ("--request-id", f"req_{number}", "--reason-code", "a.b", "--severity", "high")
        kt("raise", *asked, "--summary", "A clause that the model changed", cwd=clone)
    kt("claim", "--id", "esc_req_42", cwd=clone)
    kt("resolve", "--id", "esc_req_42", "--outcome", "denied", "--reason", "Not as agreed", cwd=clone)
    told = as_printed("auditor.md", clone)
    assert "policy-config.yaml" in told[-1]
    # Whoever raises an escalation can put a key of the same name into it.
    [tree] = re.findall(r"\(sed .*\)", text_of("auditor.md"))
    context = {"request_id": "req_44", "reason_code": "a.b", "event_context": {"policies": "0" * 40}}
    assert kt("raise", "--file", "-", cwd=clone, stdin=json.dumps(context).encode()).code == 0
    own = tree.strip("()").replace("resolved/*/*/*/esc_req_42", "esc_req_44")
    found = subprocess.run(["sh", "-c", own], cwd=clone, capture_output=True, text=True, check=True).stdout
    assert found.split() == [git("rev-parse", "HEAD:policies", cwd=clone)]


def test_the_page_of_events_names_each_action_of_one() -> None:
    assert {*re.findall("`([a-z]+)`", EVENTS["action"])} == {*HAPPENINGS, "deadline"}


def test_the_programs_on_the_pages_are_typed(tmp_path: Path) -> None:
    """As strictly as the package is."""
    for page in PAGES:
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", text_of(page), re.DOTALL | re.M)):
            stem = re.sub(r"\W", "_", page[:-3])
            (tmp_path / f"{stem}_{number}.py").write_text(code)
    files = sorted(str(file) for file in tmp_path.glob("*.py"))
    assert len(files) >= 4
    # With the cache of `make lint`, which has read the package: it would take half a minute again.
    mypy = [sys.executable, "-m", "mypy", "--strict"]
    ran = subprocess.run([*mypy, *files], cwd=TOP, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("name", AT_THE_TOP)
def test_the_links_of_the_pages_at_the_top_lead_to_files_and_headings_that_there_are(name: str) -> None:
    """Those between pages are checked by `make docs`."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text_of(name))
    assert len(links) > 5
    for path, anchor in links:
        target = TOP / (path or name)
        assert target.exists(), path
        assert not anchor or anchor in headings(target), f"{path}#{anchor}"


def test_python_runs_as_printed(lab: Lab) -> None:
    lab.clone("review")
    told = re.findall(r"```text\n(.*?)```", text_of("python.md"), re.DOTALL)
    assert len(told) == 2
    assert as_printed("python.md", lab.folder) == told
    assert lab.commits("resolve esc_req_43 as approved")


def headings(page: Path) -> set[str]:
    """The anchors that a forge gives a page's headings."""
    titles = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
