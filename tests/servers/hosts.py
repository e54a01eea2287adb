"""One bare repository, reached in three ways: by path, over HTTP with passwords, over ssh with keys.

The servers are real ones with the files that docs/servers.md shows, as processes of their own on free
ports of loopback; what they need is below one folder, and goes with it.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from lab import git, kt

PAGE = Path(__file__).parents[2] / "docs/servers.md"
PEOPLE = ("alice", "bob", "carol", "dora", "emil", "fay", "gw", "boss", "merger")
ROSTER = """\
teams:
  - {team_id: legal, members: [alice, bob, carol, dora, emil, fay]}
users:
  - {user_id: alice, emails: [alice@example.com], roles: [reviewer], logins: ["gitolite:alice-k"]}
  - {user_id: bob, emails: [bob@example.com], roles: [reviewer], logins: ["gitolite:bob"]}
  - {user_id: carol, emails: [carol@example.com], roles: [reviewer]}
  - {user_id: dora, emails: [dora@example.com], roles: [reviewer]}
  - {user_id: emil, emails: [emil@example.com], roles: [reviewer]}
  - {user_id: fay, emails: [fay@example.com], roles: [reviewer]}
  - {user_id: gw, emails: [gw@example.com], roles: [gateway]}
"""
LOOPBACK = "127.0.0.1"
#: How long a server may take to answer its first connection, in seconds.
START_SECONDS = 30.0
#: The hook's four seconds are less than a busy machine may need for a push.
PATIENT = ("--timeout", "60s")


def block(name: str) -> str:
    """A file that docs/servers.md shows; its name stands in the first lines, as a comment."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    [found] = [text for text in blocks if f"# {name}\n" in text]
    return str(found)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def until(holds: Callable[[], object], what: str, seconds: float = 20) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def family(pid: int) -> list[int]:
    """A process and all that it has started, as far as they live."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue  # it has ended meanwhile
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


class Host:
    """A way to the repository. ``name`` is what a test's id shows."""

    name = "path"

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        self.repository = repository

    def address(self, person: str) -> str:
        """What this person clones."""
        return str(self.repository)

    def settings(self, person: str) -> dict[str, str]:
        """The person's own git settings for it."""
        return {}

    def environment(self, person: str) -> dict[str, str]:
        """What has to be in the environment: by path there is nobody else to say who pushes."""
        return {"REMOTE_USER": person}

    def start(self) -> None:
        """Serve."""

    def stop(self) -> None:
        """Stop at once, with all that is going on."""


class Server(Host, ABC):
    """A host that is a process and listens on a port."""

    def __init__(self, folder: Path, repository: Path) -> None:
        super().__init__(folder, repository)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        self.log = folder / "log"

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments, which stays in the foreground."""

    def environment(self, person: str) -> dict[str, str]:
        return {}

    def start(self) -> None:
        with self.log.open("ab") as log:
            # The kernel ends it with us, should we be killed.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "TERM", *self.command()],
                env={"PATH": os.environ["PATH"]},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        until(self._answers, f"{self.name}: {self.log.read_text()}", START_SECONDS)

    def _answers(self) -> bool:
        assert self.process is not None, self.log.read_text()
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0

    def stop(self) -> None:
        if self.process is None:
            return
        for pid in family(self.process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait()
        self.process = None

    def die(self) -> None:
        """Kill the server alone; what it has started for others lives on."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.process = None

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Take connections and answer none of them."""
        assert self.process is not None
        pid = self.process.pid
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


class OverHttp(Server):
    """`git http-backend` behind lighttpd, which asks for a password."""

    name = "http"

    def __init__(self, folder: Path, repository: Path) -> None:
        super().__init__(folder, repository)
        people = folder / "people"
        for person in PEOPLE:
            asked = ["openssl", "passwd", "-6", "-stdin"]
            hashed = subprocess.run(
                asked, input=f"{person}-word\n", capture_output=True, text=True, check=True
            )
            with people.open("a") as file:
                file.write(f"{person}:{hashed.stdout}")
        text = block("lighttpd.conf")
        for shown, ours in {
            "8080": str(self.port),
            "/var/empty": str(folder / "empty"),
            "/var/log/lighttpd/git.log": str(self.log),
            "/etc/lighttpd/git-people": str(people),
            '"/srv/git"': f'"{repository.parent}"',
        }.items():
            assert shown in text
            text = text.replace(shown, ours)
        (folder / "empty").mkdir()
        (folder / "lighttpd.conf").write_text(text)

    def command(self) -> list[str]:
        return ["/usr/sbin/lighttpd", "-D", "-f", str(self.folder / "lighttpd.conf")]

    def address(self, person: str) -> str:
        return f"http://{LOOPBACK}:{self.port}/git/{self.repository.name}"

    def settings(self, person: str) -> dict[str, str]:
        return {"credential.helper": f"store --file={self.password(person, f'{person}-word')}"}

    def password(self, person: str, word: str) -> Path:
        """A file of git's credential store that holds this password."""
        path = self.folder / f"{person}.credentials"
        path.write_text(f"http://{person}:{word}@{LOOPBACK}%3a{self.port}\n")
        return path


class OverSsh(Server):
    """sshd, for which each key names its owner."""

    name = "ssh"
    #: What sshd sets for each session beside.
    set_env = ""

    def __init__(self, folder: Path, repository: Path, keys: Path) -> None:
        super().__init__(folder, repository)
        self.keys = keys
        self.configure()

    def configure(self) -> None:
        """Write the files of the page."""
        keys, folder = self.keys, self.folder
        shown = block("~git/.ssh/authorized_keys").splitlines()
        line = shown[1]
        assert line.count("alice") == 2
        assert "ssh-ed25519 AAAA…" in line
        public = {person: (keys / f"{person}.pub").read_text().split()[1] for person in PEOPLE}
        (folder / "authorized_keys").write_text(
            "".join(
                line.replace("alice", person).replace("AAAA…", key) + "\n" for person, key in public.items()
            )
        )
        self.write_config(folder / "authorized_keys")

    def write_config(self, authorized_keys: Path) -> None:
        """The page's sshd_config, and what lets it run here."""
        folder, keys = self.folder, self.keys
        (folder / "sshd_config").write_text(
            f"{block('sshd_config')}\n"
            f"ListenAddress {LOOPBACK}:{self.port}\n"
            f"HostKey {keys / 'host'}\n"
            f"AuthorizedKeysFile {authorized_keys}\n"
            "PidFile none\n"
            "UsePAM no\n"
            # The default costs both sides a tenth of a second of CPU time for each of hundreds of connections.
            "KexAlgorithms curve25519-sha256\n"
            # Nor does bash read ~/.bashrc where it is not the first shell: it is ours, and no part of the server.
            f"SetEnv SHLVL=2 {self.set_env}\n"
            # The folder is below /tmp, where all may write.
            "StrictModes no\n"
        )
        host = (keys / "host.pub").read_text()
        (folder / "known_hosts").write_text(f"[{LOOPBACK}]:{self.port} {host}")

    def command(self) -> list[str]:
        return ["/usr/sbin/sshd", "-D", "-e", "-f", str(self.folder / "sshd_config")]

    def start(self) -> None:
        if os.getuid() == 0:
            # Compiled into sshd, and made by its service, which is not asked here (Debian's README).
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        super().start()

    def address(self, person: str) -> str:
        return f"ssh://{pwd.getpwuid(os.getuid()).pw_name}@{LOOPBACK}:{self.port}{self.repository}"

    def settings(self, person: str) -> dict[str, str]:
        return {"core.sshCommand": self.client(person)}

    def client(self, person: str) -> str:
        """ssh with this person's key, and no other setting of this machine's."""
        return (
            f"ssh -F none -i {self.keys / person} -o IdentitiesOnly=yes -o IdentityAgent=none "
            f"-o UserKnownHostsFile={self.folder / 'known_hosts'} -o GlobalKnownHostsFile=none"
        )


class OverGitolite(OverSsh):
    """gitolite as Debian has it, which is told of people and repositories by pushes to a repository of its own."""

    name = "gitolite"
    #: Who has which key, by the names that gitolite gives them; alice's is none of the roster's ids.
    logins: ClassVar[dict[str, str]] = {"boss": "boss", "alice": "alice-k", "bob": "bob"}

    def configure(self) -> None:
        self.home = self.folder / "home"
        self.home.mkdir()
        self.set_env = f"HOME={self.home}"
        shutil.copy(self.keys / "boss.pub", self.folder / "boss.pub")
        self.gitolite("setup", "--pubkey", str(self.folder / "boss.pub"))
        self.write_config(self.home / ".ssh/authorized_keys")
        self.repository = self.home / "repositories/review.git"

    def gitolite(self, *args: str) -> None:
        env = {"HOME": str(self.home), "PATH": os.environ["PATH"], "LOGNAME": "git", "USER": "git"}
        done = subprocess.run(["gitolite", *args], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def found(self, history: Path) -> None:
        """Tell gitolite of the people and the repository, and put a history and kt's hook there, as the page does."""
        admin = self.folder / "gitolite-admin"
        options = ("-c", f"core.sshCommand={self.client('boss')}", "-c", "user.name=Boss")
        options += ("-c", "user.email=boss@example.com")
        git(*options, "clone", "--quiet", f"{self.server}/gitolite-admin", str(admin), cwd=self.folder)
        for person, login in self.logins.items():
            shutil.copy(self.keys / f"{person}.pub", admin / f"keydir/{login}.pub")
        (admin / "conf/gitolite.conf").write_text(block("conf/gitolite.conf"))
        git("add", "--all", cwd=admin)
        git(*options, "commit", "--quiet", "-m", "People and the store", cwd=admin)
        git(*options, "push", "--quiet", "origin", "HEAD:master", cwd=admin)
        git("fetch", "--quiet", str(history), "main:main", cwd=self.repository)
        git("symbolic-ref", "HEAD", "refs/heads/main", cwd=self.repository)
        installed = kt(
            *("hook", "install", "--server", str(self.repository)),
            *("--pusher-from", "GL_USER", "--logins", "gitolite"),
            *PATIENT,
            cwd=self.folder,
        )
        assert installed.code == 0, installed.err

    @property
    def server(self) -> str:
        return f"ssh://{pwd.getpwuid(os.getuid()).pw_name}@{LOOPBACK}:{self.port}"

    def address(self, person: str) -> str:
        return f"{self.server}/review"


def make_keys(folder: Path) -> Path:
    """A key for each person, for the host, and one that nobody knows."""
    for name in (*PEOPLE, "host", "stranger"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(made, check=True)
    return folder


def clone(host: Host, person: str, folder: Path) -> Path:
    """A person's clone by way of a host."""
    config = [word for item in host.settings(person).items() for word in ("-c", "=".join(item))]
    git("clone", "--quiet", *config, host.address(person), str(folder), cwd=folder.parent)
    git("config", "user.name", person.title(), cwd=folder)
    git("config", "user.email", f"{person}@example.com", cwd=folder)
    return folder


class Site:
    """The repository on its server, the hosts that lead to it, and clones by any of them."""

    def __init__(self, folder: Path, keys: Path, founded: Path | None = None) -> None:
        self.folder = folder
        self.keys = keys
        self.repository = folder / "git/review.git"
        self.by_path = Host(folder, self.repository)
        self._running: list[Host] = []
        if founded:
            shutil.copytree(founded, self.repository)
            return
        self.repository.mkdir(parents=True)
        git("init", "--quiet", "--bare", "--initial-branch=main", str(self.repository), cwd=folder)
        installed = kt(
            *("hook", "install", "--server", str(self.repository), "--pusher-from", "REMOTE_USER"),
            *PATIENT,
            cwd=folder,
        )
        assert installed.code == 0, installed.err

    def start(self, name: str) -> Host:
        """A host of that name, serving."""
        host = (
            OverHttp(self.folder / "http", self.repository)
            if name == OverHttp.name
            else OverSsh(self.folder / "ssh", self.repository, self.keys)
            if name == OverSsh.name
            else OverGitolite(self.folder / "gitolite", self.repository, self.keys)
            if name == OverGitolite.name
            else self.by_path
        )
        self._running.append(host)
        host.start()
        if isinstance(host, OverGitolite):
            host.found(self.repository)
            self.repository = host.repository
        return host

    def stop(self) -> None:
        """End every server that was started."""
        for host in self._running:
            host.stop()

    def found(self) -> None:
        """Make the store, with a roster, and raise esc_job."""
        boss, gateway = (clone(self.by_path, name, self.folder / name) for name in ("boss", "gw"))
        git("switch", "--quiet", "--orphan", "main", cwd=boss)
        (boss / "policies").mkdir()
        (boss / "policies/roster.yaml").write_text(ROSTER)
        (boss / "policies/settings.yaml").write_text("default_route: {team_id: legal}\n")
        git("add", "--all", cwd=boss)
        git("commit", "--quiet", "-m", "found", cwd=boss)
        git("push", "--quiet", "origin", "main", cwd=boss, env=self.by_path.environment("boss"))
        ran = kt(
            *("raise", "--request-id", "job", "--reason-code", "a.b"),
            cwd=gateway,
            env=self.by_path.environment("gw"),
        )
        assert ran.code == 0, ran.err

    def protect(self) -> None:
        """Let only the merger push to the store branch, as docs/servers.md shows."""
        self.hook("update", block("hooks/update"))

    def hook(self, name: str, script: str) -> None:
        """Install a hook of the server's; one that runs now goes on as it was."""
        new = self.repository / "hooks" / f"{name}.new"
        new.write_text(script)
        new.chmod(0o755)
        new.replace(new.with_suffix(""))

    def commits(self, *words: str) -> list[str]:
        """The subjects on the server's store branch that hold all the words."""
        subjects = git("log", "--format=%s", "main", cwd=self.repository).splitlines()
        return [subject for subject in subjects if all(word in subject for word in words)]

    def tip(self, branch: str = "main") -> str:
        """The newest commit of a branch on the server."""
        return git("rev-parse", branch, cwd=self.repository)

    def file(self, path: str) -> str:
        """A file at the tip of the server's store branch."""
        return git("show", f"main:{path}", cwd=self.repository)
