"""What is published: a source distribution of what is in git, and a wheel of it that works far from any checkout."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

from lab import git

from kt_escalation import __version__

TOP = Path(__file__).parent.parent
MADE = {"PKG-INFO", "setup.cfg"}


def run(*command: str, cwd: Path, code: int = 0, **env: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def published() -> list[str]:
    """What is in git, or came with the source distribution that this is run in."""
    if (TOP / ".git").exists():
        return [
            name for name in git("ls-files", "-z", cwd=TOP).split("\0") if name and (TOP / name).is_file()
        ]
    listed = (TOP / "kt_escalation.egg-info/SOURCES.txt").read_text().splitlines()
    return [name for name in listed if not name.startswith("kt_escalation.egg-info/") and name not in MADE]


def test_what_is_built_from_what_is_in_git_installs_and_works_elsewhere(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tracked = published()
    for name in tracked:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((TOP / name).read_bytes())
    (tree / "demo.sh").chmod(0o755)
    # First the source distribution, and of that the wheel.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), cwd=tree)
    name = f"kt_escalation-{__version__}"
    with tarfile.open(tmp_path / f"{name}.tar.gz") as archive:
        inside = {item.name.partition("/")[2] for item in archive if item.isfile()}
    inside = {item for item in inside if not item.startswith("kt_escalation.egg-info/")}
    assert inside - MADE == set(tracked)
    wheel = tmp_path / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as unpacked:
        packed = {item for item in unpacked.namelist() if ".dist-info/" not in item}
        metadata = unpacked.read(f"{name}.dist-info/METADATA").decode()
    assert packed == {item for item in tracked if item.startswith("kt_escalation/")}
    assert "Description-Content-Type: text/markdown" in metadata
    assert "# kt-escalation" in metadata
    assert not re.search(r"^Requires-Dist: (?!.*extra ==).*(pytest|sphinx|Jinja)", metadata, re.M | re.I)
    lives_elsewhere(tmp_path, wheel)


def lives_elsewhere(folder: Path, wheel: Path) -> None:
    """The wheel in an environment of its own, with the libraries that are here."""
    venv.create(folder / "env", with_pip=False)
    programs = folder / "env/bin"
    pip = (sys.executable, "-m", "pip", "--python", str(programs / "python"))
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", str(wheel), cwd=folder)
    [site] = (folder / "env/lib").glob("python*/site-packages")
    # The editable install of the checkout is found by a .pth file, and those count in a site's own folder alone.
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    kt = str(programs / "kt")
    found = run(str(programs / "python"), "-c", "import kt_escalation as k; print(k.__file__)", cwd=folder)
    assert Path(found.strip()).is_relative_to(site)
    assert run(kt, "--version", cwd=folder) == f"kt, version {__version__}\n"
    git("init", "--quiet", "--bare", "server.git", cwd=folder)
    git("clone", "--quiet", "server.git", "store", cwd=folder)
    store = folder / "store"
    git("config", "user.name", "Alice", cwd=store)
    git("config", "user.email", "alice@example.com", cwd=store)
    run(kt, "escalation", "init", cwd=store)
    run(kt, "escalation", "init", "--ci", "github", cwd=store)
    run(kt, "escalation", "hook", "install", "--server", str(folder / "server.git"), cwd=store)
    run(
        kt,
        "escalation",
        "raise",
        "--request-id",
        "r1",
        "--reason-code",
        "a.b",
        "--model",
        "gpt-4o",
        cwd=store,
    )
    run(str(programs / "kt-escalation"), "claim", "--next", cwd=store)
    run(kt, "escalation", "resolve", "--id", "esc_r1", "--outcome", "denied", "--reason", "No", cwd=store)
    run(kt, "escalation", "report", "-o", "report.html", cwd=store)
    assert "esc_r1" in (store / "report.html").read_text()
    assert (store / ".github/workflows").is_dir()
    assert json.loads(run(kt, "escalation", "verify", "--json", cwd=store))["ok"] is True
    assert run(kt, "escalation", "wait", "--id", "esc_r1", cwd=store, code=1)
