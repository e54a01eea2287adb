"""What `check` tells CI systems: each form is valid, within its limits, and safe from text of strangers."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from forge import Forge, identity
from lab import Ran, git, kt

from kt_escalation.audit import Report, formats
from kt_escalation.rules.judge_step import Violation

HOSTILE = (
    "</pre></table><script>alert(1)</script>\n\n# Heading | [x](javascript:1) `code` ``` @everyone #1"
    "\r::error::x\x1b[31m\x00\u202e]]>&amp; ##[add-mask]x ::set-output name=a::b \ud800 \ufffe %0A"
)


@pytest.fixture(scope="module")
def branch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A branch with one legal step and one that claims in another's name."""
    forge = Forge(tmp_path_factory.mktemp("reports"))
    forge.git("checkout", "--quiet", "-b", "topic")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.as_kt_does("bob", "claim", "--id", "esc_two")
    forge.commit("alice")
    return forge.path


@pytest.fixture
def forged(branch: Path, tmp_path: Path) -> Forge:
    """One's own copy of that."""
    forge = Forge.__new__(Forge)
    forge.path = tmp_path / "store"
    shutil.copytree(branch, forge.path)
    return forge


def check(forge: Forge, *args: str, **env: str) -> Ran:
    return kt("check", "main..topic", *args, cwd=forge.path, env={**identity("alice"), **env})


def report(*violations: Violation, waived: tuple[Violation, ...] = ()) -> Report:
    return Report("0" * 40, 1, 1, 0, 0, ("a",), violations, waived)


def parsed(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314 - our own


def offence(number: int = 0, text: str = "expected") -> Violation:
    return Violation("actor", text, f"{number:040x}", f"{text}@example.com", f"queue/{text}.yaml")


# --- each form, end to end ----------------------------------------------------------------------------


def test_text_and_json_say_the_same(forged: Forge) -> None:
    ran = check(forged)
    assert ran.code == 1
    assert re.search(r"queue/esc_two.yaml: \w+: expected ", ran.out)
    as_json = check(forged, "--format", "json")
    assert as_json.code == 1
    assert as_json.out == check(forged, "--json").out
    assert len(as_json.json["violations"]) == len(ran.out.splitlines())


def test_junit_has_a_failure_for_each_violation(forged: Forge) -> None:
    ran = check(forged, "--format", "junit")
    root = parsed(ran.out)
    found = root.findall("./testsuite/testcase/failure")
    assert ran.code == 1
    assert len(found) == int(root.attrib["failures"]) == int(root.attrib["tests"]) > 0
    assert {case.attrib["file"] for case in root.iter("testcase")} == {"queue/esc_two.yaml"}


def test_junit_of_a_legal_branch_has_one_test_that_passes(forged: Forge) -> None:
    forged.git("reset", "--quiet", "--hard", "HEAD^")
    ran = check(forged, "--format", "junit")
    root = parsed(ran.out)
    assert ran.code == 0
    assert root.attrib["tests"] == "1"
    assert root.find("./testsuite/testcase/*") is None


def test_github_annotates_and_adds_to_the_steps_summary(forged: Forge, tmp_path: Path) -> None:
    file = tmp_path / "summary.md"
    file.write_text("before\n\n")
    ran = check(forged, "--format", "github", GITHUB_STEP_SUMMARY=str(file))
    assert ran.code == 1
    assert re.match(r"::error file=queue/esc_two.yaml::\w+: expected ", ran.out)
    assert file.read_text().startswith("before\n\n### kt escalation check: ")
    assert "<code>queue/esc_two.yaml</code>" in file.read_text()
    ran = check(forged, "--format", "github", GITHUB_STEP_SUMMARY=str(tmp_path))
    assert ran.code == 1
    assert "summary could not be written" in ran.err


def test_gitlab_gets_code_quality_whose_fingerprints_survive_a_rebase(forged: Forge) -> None:
    ran = check(forged, "--format", "gitlab")
    assert ran.code == 1
    for row in ran.json:
        assert set(row) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert row["check_name"].startswith("kt/")
        assert "expected" in row["description"]
        assert row["location"] == {"path": "queue/esc_two.yaml", "lines": {"begin": 1}}
        assert row["severity"] == "blocker"
        assert re.fullmatch(r"[0-9a-f]{64}", row["fingerprint"])
    forged.git("checkout", "--quiet", "main")
    forged.write("README.md", "moved\n")
    forged.commit("boss")
    forged.git("rebase", "--quiet", "main", "topic", who="boss")
    again = check(forged, "--format", "gitlab").json
    assert [row["fingerprint"] for row in again] == [row["fingerprint"] for row in ran.json]


@pytest.mark.parametrize("form", ["json", "junit", "gitlab"])
def test_a_report_in_a_file_leaves_the_text_to_the_log(forged: Forge, tmp_path: Path, form: str) -> None:
    file = tmp_path / "report"
    ran = check(forged, "--format", form, "-o", str(file))
    assert ran.code == 1
    assert ran.out == check(forged).out
    assert "1 violation;" in ran.err
    assert file.read_text() == check(forged, "--format", form).out
    ran = check(forged, "--format", form, "-o", str(tmp_path / "no/such"))
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "No such file" in ran.err


def test_forms_that_cannot_go_together_are_refused(forged: Forge) -> None:
    for args in (
        ["--json", "--format", "github"],
        ["--format", "junit", "--json"],
        ["-o", "x"],
        ["--format", "github", "-o", "x"],
    ):
        assert check(forged, *args).code == 2, args
    assert check(forged, "--format", "json", "--json").code == 1


def test_paths_are_those_of_the_repository_also_for_a_store_in_a_folder(tmp_path: Path) -> None:
    top = tmp_path / "mono"
    git("init", "--quiet", str(top), cwd=tmp_path)
    env = identity("alice")
    assert kt("init", "sub/store", cwd=top, env=env).code == 0
    base = git("rev-parse", "HEAD", cwd=top)
    (top / "sub/store/queue/stray.txt").write_text("x\n")
    git("add", "--all", cwd=top)
    git("commit", "--quiet", "-m", "stray", cwd=top, env=env)
    found = kt("check", f"{base}..HEAD", "--format", "gitlab", cwd=top / "sub", env=env)
    assert [row["location"]["path"] for row in found.json] == ["sub/store/queue/stray.txt"]


# --- limits and hostile text ----------------------------------------------------------------------------


def test_github_gets_no_more_annotations_than_it_shows() -> None:
    ten = list(formats.for_github(formats.notes(report(*map(offence, range(10))))))
    assert len(ten) == 10
    assert all(line.startswith("::error file=") for line in ten)
    many = list(formats.for_github(formats.notes(report(*map(offence, range(30))))))
    assert sum(line.startswith("::error") for line in many) == 10
    assert many[-1] == "::error::and 21 more, in this step's log"
    assert len(many) == 31


def test_hostile_text_is_one_annotation_and_no_other_command() -> None:
    for line in formats.for_github(formats.notes(report(*(offence(n, HOSTILE) for n in range(12))))):
        assert line.isprintable()
        assert "##[" not in line
        head, _, data = (
            line.removeprefix("::error").partition("::") if line.startswith("::") else ("", "", line)
        )
        assert "\n" not in data
        assert head.count(",") == 0
        assert head.count(":") == 0


def test_hostile_text_stays_text_in_the_summary() -> None:
    text = formats.summary(report(offence(1, HOSTILE)), HOSTILE)
    blocks = text.split("\n\n")
    assert [block[:6] for block in blocks] == ["### kt", "<p>&lt", "<table", ""]
    assert "<script" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    cells = re.findall(r"<td><code>(.*?)</code></td>", blocks[2])
    assert len(cells) == 4
    assert "<" not in "".join(cells)
    assert "<script>alert(1)</script>" in html.unescape(cells[3])


def test_the_summary_is_never_larger_than_github_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    big = report(*(offence(n, "<" * 1000) for n in range(1000)))
    text = formats.summary(big, "told")
    assert 900_000 < len(text.encode()) <= 1024 * 1024
    assert re.search(r"and \d+ more</td></tr>\n</table>", text)
    file = tmp_path / "summary"
    file.write_bytes(b"x" * (1024 * 1024 - 5000))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    assert formats.write_summary(big, "told") is None
    assert file.stat().st_size <= 1024 * 1024
    assert re.search(rb"and 1000 more</td></tr>\n</table>\n\n$", file.read_bytes())


def test_hostile_text_is_valid_in_every_document() -> None:
    bad = report(offence(1, HOSTILE), offence(2, HOSTILE), waived=(offence(3, HOSTILE),))
    root = parsed(formats.junit(bad, HOSTILE))
    assert len(root.findall(".//failure")) == 2
    assert len(root.findall(".//skipped")) == 1
    assert "<script>alert(1)</script>" in root.findall(".//failure")[0].attrib["message"]
    assert all(char.isprintable() or char in "\n" for char in "".join(root.itertext()))
    rows = json.loads(formats.code_quality(bad))
    assert len({row["fingerprint"] for row in rows}) == 2
    assert all(row["description"].isprintable() and row["location"]["path"].isprintable() for row in rows)
