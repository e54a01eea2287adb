"""The pictures of a terminal in the docs are what kt shows.

`make recordings` writes them anew; the diff is then looked at.
"""

from __future__ import annotations

import os
import re
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pages import as_printed
from recordings import SCENES, recorded, store

IMAGES = Path(__file__).parent.parent / "docs/img"
LARGEST = 100_000
SVG = "{http://www.w3.org/2000/svg}"


def words(svg: str) -> list[str]:
    """What a picture shows, line by line; not how: that is rich's, and changes with its versions."""
    lines: dict[float, str] = {}
    for text in ElementTree.fromstring(svg).iter(f"{SVG}text"):  # noqa: S314 - our own
        height = float(text.get("y", "0"))
        lines[height] = lines.get(height, "") + unescape("".join(text.itertext())).replace("\u00a0", " ")
    return [line.rstrip() for _, line in sorted(lines.items())]


@pytest.mark.parametrize("scene", SCENES)
def test_a_picture_in_the_docs_is_what_is_shown(scene: str, tmp_path: Path) -> None:
    picture = IMAGES / f"terminal-{scene}.svg"
    svg = recorded(scene, store(tmp_path))
    if os.environ.get("UPDATE_GOLDEN"):
        picture.write_text(svg)
    kept = picture.read_text()
    assert words(kept) == words(svg)
    assert len(kept.encode()) < LARGEST
    # Nothing in it comes from elsewhere, or runs.
    assert re.findall(r"\w+://[^\"'\s<)]+", kept) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|<image|<foreignObject|@import|@font-face|\bon\w+=", kept)


def test_the_commands_of_the_page_run_as_printed(tmp_path: Path) -> None:
    # Nobody types at what runs the page; the picture of the session is made by somebody who does.
    as_printed("reviewing.md", store(tmp_path), leave=["kt escalation review"])


def test_every_picture_is_in_the_docs() -> None:
    page = (IMAGES.parent / "reviewing.md").read_text()
    shown = {Path(name).name for name in re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)}
    assert {f"terminal-{scene}.svg" for scene in SCENES} == shown
