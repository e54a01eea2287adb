"""What every test stands on: a home without settings, pinned people, and git's templates left out."""

from __future__ import annotations

import gc
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from forge import Forge, require_signatures, serve
from hypothesis import HealthCheck, settings
from lab import Lab
from past import Past
from room import Room

# Under `nohup`, or behind a shell's `&`, these are ignored, and would be by every process that the tests start.
for ignored, usual in ((signal.SIGHUP, signal.SIG_DFL), (signal.SIGINT, signal.default_int_handler)):
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, usual)

settings.register_profile("slice", deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
settings.load_profile("slice")


#: Beginnings of names of variables that no test may see from outside: git's, ours, and those of the locale.
OUTSIDE = ("GIT_", "KT_", "SSH_", "XDG_", "LC_")
#: What decides how something looks on a terminal, or which programs a user has chosen for it.
TERMINAL = frozenset(
    (
        *("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS", "PYTHON_COLORS", "COLORTERM"),
        *("TERM_PROGRAM", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "JUPYTER_COLUMNS", "JUPYTER_LINES"),
        *(
            "COLUMNS",
            "LINES",
            "LANGUAGE",
            "PYTHONIOENCODING",
            "EDITOR",
            "VISUAL",
            "PAGER",
            "PYTHONUNBUFFERED",
        ),
    )
)
#: A file system in memory, and how much must be left in it; what has passed is removed, so that all need far less.
MEMORY, NEEDED = Path("/dev/shm"), 2 << 30  # noqa: S108 - pytest makes a folder of its own there


def in_memory() -> bool:
    """Whether the tests can work in memory: a commit waits ten times for a disk, and for nothing there."""
    try:
        disk = os.statvfs(MEMORY)
        left = int(
            re.findall(r"^MemAvailable: *(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)[0]
        )
    except (OSError, IndexError):
        return False
    runs = os.access(MEMORY, os.W_OK) and not disk.f_flag & os.ST_NOEXEC
    return runs and min(disk.f_bavail * disk.f_frsize, left << 10) > NEEDED


def pytest_configure(config: pytest.Config) -> None:
    if "TMPDIR" not in os.environ and in_memory():
        os.environ["TMPDIR"], tempfile.tempdir = str(MEMORY), None
    for name in list(os.environ):
        if name.startswith(OUTSIDE) or name in TERMINAL:
            del os.environ[name]
    # What is drawn, and in which language and zone programs answer, is the same wherever the tests are started.
    # Nobody turns the pages of a pager.
    os.environ.update(TERM="xterm", LANG="C.UTF-8", TZ="UTC", PAGER="cat")
    time.tzset()
    # A shell starts what is to run in the background with ^C ignored, and that would be inherited.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Hundreds of processes are started: let them find compiled modules.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    if getattr(config.option, "tx", None) and not hasattr(config, "workerinput"):
        compile_once([Path(argument) for argument in config.args])


def compile_once(arguments: Iterable[Path]) -> None:
    """Have pytest rewrite the test files of whole folders before its workers start, each of which would do it for itself.

    That takes some ten seconds of CPU time. What cannot be imported is told where the tests are collected.
    """
    files = [file for folder in arguments if folder.is_dir() for file in folder.glob("test_*.py")]
    files.sort(key=lambda file: file.stat().st_size)
    count = os.cpu_count() or 1
    for number in range(count):
        if os.fork() == 0:
            for file in files[number::count]:
                with suppress(BaseException):
                    importlib.import_module(file.stem)
            os._exit(0)
    for _ in range(count):
        os.wait()


def pytest_collection_finish() -> None:
    # What has been collected stays: the collector of garbage need not look through it again and again.
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    (home / "templates").mkdir()
    (home / "gitconfig").write_text(
        f"[init]\n\tdefaultBranch = main\n\ttemplateDir = {home / 'templates'}\n"
        '[protocol "file"]\n\tallow = always\n[uploadpack]\n\tallowFilter = true\n\tallowAnySHA1InWant = true\n'
        # Each of some ten thousand commits and pushes would start a process to ask whether there is anything to tidy.
        "[maintenance]\n\tauto = false\n[receive]\n\tautogc = false\n"
    )
    os.environ.update(HOME=str(home), GIT_CONFIG_GLOBAL=str(home / "gitconfig"), GIT_CONFIG_NOSYSTEM="1")
    yield


@pytest.fixture(scope="session")
def _lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The one that every test gets a copy of."""
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture
def lab(_lab: Lab, tmp_path: Path) -> Lab:
    """A bare remote that holds a store."""
    return _lab.copy(tmp_path)


@pytest.fixture(scope="session")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The legal history that every forgery is built on."""
    made = Forge(tmp_path_factory.mktemp("ground"))
    # It leaves fewer files to copy.
    made.git("gc", "--quiet")
    return made.path


@pytest.fixture
def forge(ground: Path, tmp_path: Path) -> Forge:
    made = Forge.__new__(Forge)
    made.path = tmp_path / "store"
    shutil.copytree(ground, made.path)
    return made


@pytest.fixture
def server(forge: Forge) -> Path:
    """A bare repository with the history so far, and the hook."""
    return serve(forge)


@pytest.fixture(scope="session")
def signed_ground(ground: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with signatures from now on; its keys lie beside it."""
    made = Forge.__new__(Forge)
    made.path = tmp_path_factory.mktemp("signed") / "store"
    shutil.copytree(ground, made.path)
    require_signatures(made)
    return made.path


@pytest.fixture
def signed(signed_ground: Path, forge: Forge) -> Forge:
    """A store whose settings require signatures, with keys of alice's and boss's on the roster."""
    shutil.rmtree(forge.path)
    shutil.copytree(signed_ground.parent, forge.path.parent, dirs_exist_ok=True)
    config = forge.path / ".git/config"
    config.write_text(config.read_text().replace(str(signed_ground.parent), str(forge.path.parent)))
    return forge


@pytest.fixture(scope="session")
def past_ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = Past(tmp_path_factory.mktemp("past"))
    # It leaves fewer files to copy.
    made.git("gc", "--quiet")
    return made.path


@pytest.fixture
def past(past_ground: Path, tmp_path: Path) -> Past:
    made = Past.__new__(Past)
    made.path = tmp_path / "store"
    shutil.copytree(past_ground, made.path)
    return made


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A remote, a gateway's clone and a reviewer's, for all tests of a file."""
    made = Room(tmp_path_factory.mktemp("room"))
    with made.alice:
        yield made
