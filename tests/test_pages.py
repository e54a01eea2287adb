"""The pages below docs/: their commands run as printed, what they print is what they show, their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import TOP, steps, text_of

PAGES = sorted(page.name for page in (TOP / "docs").glob("*.md"))
TESTS = "".join(file.read_text() for file in (TOP / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("name", [name for name in ("README.md", *PAGES) if any(steps(text_of(name)))])
def test_there_is_a_test_that_runs_the_commands_of_a_page(name: str) -> None:
    assert re.search(rf'as_printed\(\s*"{name}"', TESTS), f"no test runs the commands of {name}; see pages.py"


def test_the_links_of_the_readme_lead_to_files_and_headings_that_there_are() -> None:
    """Those between pages are checked by `make docs`."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text_of("README.md"))
    assert len(links) > 5
    for path, anchor in links:
        target = TOP / (path or "README.md")
        assert target.exists(), path
        assert not anchor or anchor in headings(target), f"{path}#{anchor}"


def headings(page: Path) -> set[str]:
    """The anchors that a forge gives a page's headings."""
    titles = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
