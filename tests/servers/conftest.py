"""A repository with kt's hook, the ways to it, and people with clones of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hosts import Host, Server, Site, make_keys


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ssh keys of everybody's."""
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="session")
def founded(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Path:
    """A repository with kt's hook, a roster and one escalation, to be copied."""
    made = Site(tmp_path_factory.mktemp("founded"), keys)
    made.found()
    return made.repository


@pytest.fixture
def site(tmp_path: Path, keys: Path, founded: Path) -> Iterator[Site]:
    """A server's repository that holds esc_job, which waits for a reviewer."""
    made = Site(tmp_path, keys, founded)
    yield made
    made.stop()


@pytest.fixture
def empty(tmp_path: Path, keys: Path) -> Iterator[Site]:
    """A server's repository without a commit, with kt's hook in it."""
    made = Site(tmp_path, keys)
    yield made
    made.stop()


@pytest.fixture(params=["path", "http", "ssh"])
def host(site: Site, request: pytest.FixtureRequest) -> Host:
    """Each of the three ways."""
    return site.start(request.param)


@pytest.fixture(params=["http", "ssh"])
def server(site: Site, request: pytest.FixtureRequest) -> Server:
    """Each of the two that can go down."""
    made = site.start(request.param)
    assert isinstance(made, Server)
    return made
