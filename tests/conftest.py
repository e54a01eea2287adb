"""What every test stands on: a home without settings, pinned people, and git's templates left out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from lab import Lab

settings.register_profile("slice", deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
settings.load_profile("slice")


def pytest_configure() -> None:
    for name in list(os.environ):
        if name.startswith(("GIT_", "KT_", "SSH_", "XDG_")) or name == "NO_COLOR":
            del os.environ[name]
    # Hundreds of processes are started: let them find compiled modules.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    (home / "templates").mkdir()
    (home / "gitconfig").write_text(
        f"[init]\n\tdefaultBranch = main\n\ttemplateDir = {home / 'templates'}\n"
        '[protocol "file"]\n\tallow = always\n[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n'
    )
    os.environ.update(HOME=str(home), GIT_CONFIG_GLOBAL=str(home / "gitconfig"), GIT_CONFIG_NOSYSTEM="1")
    yield


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A bare remote that holds a store."""
    return Lab(tmp_path)
