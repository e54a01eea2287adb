"""The programs on the pages about adapters, run as printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import as_printed, text_of
from room import Room


def told(page: str) -> list[str]:
    return re.findall(r"```text\n([^▶]*?)```", text_of(page), re.DOTALL)


@pytest.fixture
def room(tmp_path: Path) -> Room:
    made = Room(tmp_path)
    made.alice.close()
    return made


def test_an_agent_over_mcp_runs_as_printed(room: Room) -> None:
    env = {"XDG_STATE_HOME": str(room.folder)}
    assert as_printed("adapters/mcp.md", room.gw, env=env) == told("adapters/mcp.md")


def test_a_graph_runs_as_printed(room: Room) -> None:
    env = {"XDG_STATE_HOME": str(room.folder)}
    assert as_printed("adapters/langgraph.md", room.gw, env=env) == told("adapters/langgraph.md")


def test_an_agent_of_openai_runs_as_printed(room: Room) -> None:
    env = {"XDG_STATE_HOME": str(room.folder)}
    assert as_printed("adapters/openai-agents.md", room.gw, env=env) == told("adapters/openai-agents.md")
