"""A second judge, simple and slow, written from the rules alone: what the real one is compared with.

It replays the line commit by commit. Each commit's whole trees are read, ancestors are sets, a chain of
carried commits is searched by trying all of them, and nothing is remembered but what one run has read.
Of the package it takes the pure judge of one step of one record (`core.verify.judge`), the policies as
values, and the reader of records; the line, merges, policies in force, waivers, trees and messages are
its own.

What is compared (`disagreements`): whether the history is clean, which commits are guilty, and which are
guilty of nothing but what a waiver accepts. The rules leave some things open: at which of several commits
a violation is named (``places``), and what follows from a tree that cannot be read (``sure`` is false).
An answer within these bounds is right.
"""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property, lru_cache
from hashlib import sha1
from itertools import pairwise
from pathlib import Path
from unicodedata import normalize

import use_rules
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from kt_escalation.model import changes
from kt_escalation.model.record import Record
from kt_escalation.model.vocabulary import RELEASING
from kt_escalation.policies.policy_set import Policies, assemble
from kt_escalation.policies.roster import person
from kt_escalation.rules import judge_step
from kt_escalation.rules.permissions import known_as
from kt_escalation.storage import layout, yaml_text

Objects = Mapping[str, tuple[str, bytes]]
#: The files of one record: path, mode, blob.
State = frozenset[tuple[str, str, str]]
ABSENT: State = frozenset()
KT_YAML, WAIVERS, ROSTER = ".kt.yaml", "policies/waivers.yaml", "policies/roster.yaml"
OURS = {ROSTER, "policies/settings.yaml", WAIVERS, KT_YAML}
PROPOSALS = timedelta(days=14)
#: The encodings of `hostile.ENCODINGS` in which every letter of ASCII is written as in ASCII.
READABLE = {"", "utf-8", "utf8", "iso-8859-1", "windows-1251", "euc-jp", "shift_jis"}
#: The modes that git writes for what is no plain file: a fault of that file alone.
PLAINLY_NOT = {"100755", "120000", "160000"}
#: The last second that a store may know; git knows later ones.
LATEST = 221_845_391_999
LONG_AGO = datetime.min.replace(tzinfo=UTC)
#: The rules of which a violation is called the same by whoever reads them.
SIGNATURES = {"unsigned", "signature", "backdated"}
EXACT = {"policies", "message", "not_allowed", "actor", "deleted", "restore", "root", "dropped"} | SIGNATURES
#: Of more chains than this only so many are tried.
MOST_CHAINS = 100
ACTIONS = ("raise", "claim", "renew", "unclaim", "review", "resolve", "assign", "note", "sweep", "reopen",
           "restore", "compact", "withdraw", "release", "receipt", "erase")  # fmt: skip
KEYS = (
    "kt-action",
    "kt-escalation",
    "kt-count",
    "kt-actor",
    "kt-claim",
    "kt-outcome",
    "kt-root",
    "kt-release",
)
SUBJECT = re.compile(rf"kt: ({'|'.join(ACTIONS)}) (esc_[a-z0-9_-]+)(?: as ([a-z]+))?", re.IGNORECASE)
LINE = re.compile(rf"({'|'.join(KEYS)})[ \t]*:(.*)", re.IGNORECASE)
#: How git itself calls the merge of a pull; the store's branch is `main`.
PULL = re.compile(
    r"Merge (branch 'main'($| of | into [^'])|remote-tracking branch '[^']*/main'|commit '|\S+:)",
    re.MULTILINE,
)
#: What some file systems leave out of a name.
IGNORABLE = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
SHORT = {"git~1", "kt~1.yam", "polici~1", "queue~1"}
#: Which archive's file a path is: of records or of releases, its month, its number, which of the two; and the month of such
#: a file.
ARCHIVE = re.compile(
    r"queue/(resolved|released)/(\d{4}/\d\d)/archive-(\d{4}|[1-9]\d{4,8})\.(yaml|ids)", re.ASCII
)
DATED = re.compile(r"queue/(resolved|released)/(\d{4}/\d\d)/\d\d/([^/]+)\.yaml", re.ASCII)
IDS = re.compile(rb"(esc_[a-z0-9][a-z0-9_-]{0,59}\n)+")
LARGEST = 1024 * 1024
#: Stands for a tree where no tree has the policies in force.
GATHERED = "f" * 64


def objects_in(repository: Path) -> dict[str, tuple[str, bytes]]:
    """Every object of a repository, as git has it."""
    done = subprocess.run(
        ["git", "cat-file", "--batch-all-objects", "--batch", "--unordered"],
        cwd=repository, capture_output=True, check=True,
    )  # fmt: skip
    found, at, data = {}, 0, done.stdout
    while at < len(data):
        end = data.index(b"\n", at)
        oid, kind, size = data[at:end].decode().split()
        found[oid] = (kind, data[end + 1 : end + 1 + int(size)])
        at = end + 2 + int(size)
    return found


# --- commits and trees ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Commit:
    """A commit as it stands in git."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    email: str
    at: datetime
    message: str
    committer: str
    #: The key that signed it; None where nothing did, and "" where it does not hold.
    signer: str | None
    #: Whether everybody reads it in the same way.
    readable: bool = True


def commit_of(oid: str, data: bytes) -> Commit:
    head, _, message = data.partition(b"\n\n")
    tree, parents, email, committer, seconds, encoding = "", [], "", "", 0, "utf-8"
    for line in head.decode(errors="replace").split("\n"):
        key, _, value = line.partition(" ")
        if key == "tree":
            tree = value
        elif key == "parent":
            parents.append(value)
        elif key == "author" and not email:
            email = value.partition("<")[2].partition(">")[0]
        elif key == "encoding":
            encoding = value
        elif key == "committer" and not seconds:
            committer = value.partition("<")[2].partition(">")[0]
            seconds = int(value[value.rindex(">") + 1 :].split()[0])
    when = datetime.fromtimestamp(min(seconds, LATEST), UTC)
    # A commit that others may read in another way is refused.
    several = any(head.count(b"\n" + key + b" ") > 1 for key in (b"author", b"committer", b"encoding"))
    readable = encoding.lower() in READABLE and not several and b"\0" not in data and b"\n\n" in data
    message = message.partition(b"\0")[0]
    # Such a commit is by nobody.
    email = email if readable else ""
    try:
        text = message.decode((readable and encoding) or "utf-8")
    except UnicodeDecodeError:
        text = message.decode(errors="replace")
    return Commit(
        oid, tree, tuple(parents), email, when, text, committer, signer(*signature_of(data)), readable
    )


def signature_of(data: bytes) -> tuple[bytes, bytes]:
    """A commit's signature (b"" where it has none) and what it is of: the commit without it."""
    head, blank, message = data.partition(b"\n\n")
    found, rest = [], []
    for line in head.split(b"\n"):
        if line.startswith(b"gpgsig "):
            found.append(line.removeprefix(b"gpgsig "))
        elif line.startswith(b" ") and found:
            found.append(line[1:])
        else:
            rest.append(line)
    return b"\n".join(found), b"\n".join(rest) + blank + message


@cache
def signer(signature: bytes, payload: bytes) -> str | None:
    """The Ed25519 key (type and base64) of an SSH signature (OpenSSH, PROTOCOL.sshsig), as `Commit` has it."""
    if not signature:
        return None
    try:
        blob = base64.b64decode(b"".join(signature.split(b"\n")[1:-1]), validate=True)
        key, space, _, method, signed = strings(blob[10:])
        hashed = hashlib.new(method.decode(), payload).digest()
        covered = b"SSHSIG" + b"".join(len(one).to_bytes(4) + one for one in (space, b"", method, hashed))
        Ed25519PublicKey.from_public_bytes(strings(key)[1]).verify(strings(signed)[1], covered)
    except (ValueError, IndexError, InvalidSignature):
        return ""
    return f"ssh-ed25519 {base64.b64encode(key).decode()}"


def strings(data: bytes) -> list[bytes]:
    """The strings of SSH (RFC 4251, section 5) that some bytes are."""
    found = []
    while data:
        size = int.from_bytes(data[:4])
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def entries_of(data: bytes) -> list[tuple[str, bytes, str]]:
    """The entries of a tree as they stand there: mode, name, id."""
    found, at = [], 0
    while at < len(data):
        space, end = data.index(b" ", at), data.index(b"\0", at)
        found.append((data[at:space].decode(), data[space + 1 : end], data[end + 1 : end + 21].hex()))
        at = end + 21
    return found


def is_folder(mode: str) -> bool:
    """Whether git takes an entry for a folder."""
    return int(mode, 8) & 0o170000 == 0o040000


def is_disguised(name: bytes) -> bool:
    """Whether some file system takes a name for one of the store's, or for git's own folder."""
    text = IGNORABLE.sub("", normalize("NFC", name.decode(errors="replace"))).casefold()
    plain = text.partition(":")[0].rstrip(" .")
    same = plain in ("queue", "policies", KT_YAML, ".git") or plain in SHORT
    return same and name not in (b"queue", b"policies", KT_YAML.encode())


@dataclass
class Snap:
    """What a commit has of the store.

    ``own`` are the entries at the top that are the store's; ``faults`` what is wrong with trees. One that has
    any but a file that is plainly no plain file is not sound, and nothing of it counts as read.
    """

    own: list[tuple[str, bytes, str]]
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    faults: set[tuple[str, str]] = field(default_factory=set)
    sound: bool = True
    #: What archives hold, by id: the archive's path and the bytes, None where it is not well made.
    archived: dict[str, list[tuple[str, bytes | None]]] = field(default_factory=dict)
    #: The archives of releases that have an id.
    archived_uses: dict[str, set[str]] = field(default_factory=dict)

    @property
    def tree(self) -> str | None:
        """The id of `policies/`."""
        return next((oid for _, name, oid in self.own if name == b"policies"), None)

    @cached_property
    def _states(self) -> dict[str, State]:
        found: dict[str, set[tuple[str, str, str]]] = {}
        for path, file in self.files.items():
            if is_record(path):
                found.setdefault(layout.id_of(path) or "", set()).add((path, *file))
        for name, some in self.archived.items():
            found.setdefault(name, set()).update((path, *archived_as(data)) for path, data in some)
        return {name: frozenset(files) for name, files in found.items()}

    def state(self, name: str) -> State:
        """All files of a record; in an archive it has that one's path and the id of its own bytes."""
        return self._states.get(name, ABSENT)

    def records(self) -> set[str]:
        return set(self._states)

    @cached_property
    def uses(self) -> dict[str, State]:
        """All files of each release; of an archive its path alone."""
        found: dict[str, set[tuple[str, str, str]]] = {}
        for path, file in self.files.items():
            if name := use_rules.id_of(path):
                found.setdefault(name, set()).add((path, *file))
        for name, paths in self.archived_uses.items():
            found.setdefault(name, set()).update((path, "", "") for path in paths)
        return {name: frozenset(files) for name, files in found.items()}

    def archives(self) -> dict[str, tuple[str, str]]:
        """The files of archives."""
        return {p: f for p, f in self.files.items() if ARCHIVE.fullmatch(p)}

    def policies(self) -> dict[str, tuple[str, str]]:
        return {p: f for p, f in self.files.items() if p.startswith("policies/") or p == KT_YAML}

    def others(self) -> dict[str, tuple[str, str]]:
        """What is below `queue/` and no record, release or archive."""
        known = self.archives()
        return {
            p: f
            for p, f in self.files.items()
            if p.startswith("queue/") and not (is_record(p) or use_rules.id_of(p)) and p not in known
        }


def is_record(path: str) -> bool:
    return path.startswith("queue/") and layout.id_of(path) is not None


def blob_id(data: bytes) -> str:
    return sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def archived_as(data: bytes | None) -> tuple[str, str]:
    """The mode and id of what is in an archive; of what cannot be read there, none."""
    return ("100644", blob_id(data)) if data is not None else ("", "")


@lru_cache(10_000)
def pieces_of(data: bytes | None, beside: bytes | None) -> dict[str, bytes] | None:
    """What an archive holds, by id, from the bytes of its two files; None where they do not make one."""
    if data is None or beside is None or len(data) > LARGEST:
        return None
    if not IDS.fullmatch(beside) or not data.startswith(b"---\n") or not data.endswith(b"\n"):
        return None
    names, pieces = beside.decode().split(), [piece + b"\n" for piece in data[4:-1].split(b"\n---\n")]
    sound = names == sorted(set(names)) and len(names) == len(pieces)
    return dict(zip(names, pieces, strict=True)) if sound else None


def loose(state: State) -> State:
    """The files of a record that are in no archive."""
    return frozenset(file for file in state if not ARCHIVE.fullmatch(file[0]))


def plain_data(objects: Objects, file: tuple[str, str] | None) -> bytes | None:
    """The bytes of a plain file."""
    return objects[file[1]][1] if file and file[0] == "100644" and objects[file[1]][0] == "blob" else None


def path_in(state: State) -> str:
    """How a state is named by a file: by one that is in no archive, if there is one."""
    return min(path for path, _, _ in loose(state) or state)


def snap(objects: Objects, tree: str) -> Snap:
    """Read all that a commit's tree has of the store, strictly."""
    top = entries_of(objects[tree][1])
    found = Snap([entry for entry in top if entry[1] in (b"queue", b"policies", KT_YAML.encode())])

    def fault(path: str, what: str) -> None:
        found.faults.add((path or "queue", what))
        found.sound = found.sound and what in PLAINLY_NOT

    def structure(entries: list[tuple[str, bytes, str]], at: str) -> None:
        names = [name for _, name, _ in entries]
        keys = [name + b"/" * is_folder(mode) for mode, name, _ in entries]
        if keys != sorted(keys) or len(set(names)) != len(names):
            fault(at, "order")
        if any(b"/" in name or name in (b"", b".", b"..", b".git") for name in names):
            fault(at, "name")

    def walk(tree: str, at: str) -> None:
        entries = entries_of(objects[tree][1])
        structure(entries, at)
        for mode, name, oid in entries:
            path = f"{at}/{name.decode(errors='replace')}"
            if is_folder(mode):
                if mode != "40000":
                    fault(path, mode)
                walk(oid, path)
            else:
                if mode != "100644":
                    fault(path, mode)
                found.files[path] = (mode, oid)

    structure(top, "")
    if any(is_disguised(name) for _, name, _ in top):
        fault("", "disguise")
    for mode, name, oid in found.own:
        path = name.decode()
        if path == KT_YAML and not is_folder(mode):
            found.files[path] = (mode, oid)
        if mode != ("100644" if path == KT_YAML else "40000"):
            fault(path, mode if path == KT_YAML else f"no folder: {mode}")
        if is_folder(mode) and path != KT_YAML:
            walk(oid, path)
    for path in sorted(path for path in found.archives() if path.endswith(".yaml")):
        both = [plain_data(objects, found.files.get(at)) for at in (path, path.removesuffix("yaml") + "ids")]
        pieces: Mapping[str, bytes | None] | None = pieces_of(both[0], both[1])
        if pieces is None and None not in both and IDS.fullmatch(both[1] or b""):
            pieces = dict.fromkeys((both[1] or b"").decode().split())
        if "/released/" in path:
            for name in pieces or {}:
                found.archived_uses.setdefault(name, set()).add(path)
            continue
        for name, piece in (pieces or {}).items():
            found.archived.setdefault(name, []).append((path, piece))
    return found


def has_store(found: Snap) -> bool:
    queue = any(name == b"queue" and is_folder(mode) for mode, name, _ in found.own)
    return queue or ROSTER in found.files or "policies/settings.yaml" in found.files


# --- what is read ---------------------------------------------------------------------------------------


@lru_cache(10_000)
def parsed(data: bytes) -> Record | None:
    """The record in bytes that are canonical and nothing else."""
    try:
        record = yaml_text.loads(data)
    except yaml_text.Malformed:
        return None
    return record if yaml_text.dumps(record) == data else None


@lru_cache(10_000)
def policies_of(tree: str | None, files: tuple[tuple[str, bytes], ...]) -> Policies:
    """The policies in some files."""
    return assemble(tree, {path: yaml_text.policy_file(path, data) for path, data in files})


@dataclass(frozen=True)
class Waiver:
    commit: str
    rule: str
    path: str


def waivers_in(data: bytes | None) -> set[Waiver] | None:
    """What a `waivers.yaml` lists; None where it cannot be read."""
    if data is None:
        return set()
    try:
        value = yaml_text.load_yaml(data).value
        found = set()
        for item in value["waivers"] if value else ():
            if (
                item.keys() != {"commit", "rule", "path", "reason"}
                or not str(item["reason"]).strip()
                or not item["path"]
            ):
                return None
            if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", item["commit"]):
                return None
            found.add(Waiver(item["commit"], item["rule"], item["path"]))
        return found if not value or value.keys() == {"waivers"} else None
    except (yaml_text.Malformed, TypeError, KeyError, AttributeError):
        return None


def root_in(data: bytes) -> str | None:
    """The root that a `.kt.yaml` names; None where it cannot be read."""
    try:
        value = yaml_text.load_yaml(data).value
        return value["root"].strip("/") if value.keys() == {"root"} else None
    except (yaml_text.Malformed, TypeError, KeyError, AttributeError):
        return None


@dataclass(frozen=True)
class Group:
    """What a message says: one action, on which escalations, by whom, how."""

    ids: tuple[str, ...] = ()
    action: str | None = None
    actor: str | None = None
    outcome: str | None = None
    claim: str | None = None
    count: str | None = None
    release: str | None = None


def subject(message: str) -> str:
    """The subject as git shows it: the first lines that are not blank, as one."""
    lines = [line.rstrip(" \t\r") for line in message.split("\n")]
    while lines and not lines[0]:
        del lines[0]
    return " ".join(lines[: lines.index("")] if "" in lines else lines)


def said(message: str) -> list[Group]:
    """The groups of what a message says of the store at the top."""
    lines = message.splitlines()
    groups = []
    if re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]", message.replace("\r\n", "\n")):
        plain = "".join(char for char in message if char.isprintable()).lower()
        if any(key in plain for key in KEYS) or re.search(rf"kt\s*:\s*({'|'.join(ACTIONS)})", plain):
            # Nobody can say what a terminal makes of it.
            groups.append(Group(("nothing",)))
    if found := SUBJECT.match(subject(message)):
        groups.append(Group((found[2].lower(),), found[1].lower(), outcome=found[3] and found[3].lower()))
    rest: list[Group] = []
    for line in lines:
        if not (told := LINE.match(line)):
            continue
        key, value = told[1].lower().removeprefix("kt-"), told[2].strip()
        if key == "root":
            return []
        if key == "action" or not rest:
            rest.append(Group())
        if key == "escalation":
            rest[-1] = replace(rest[-1], ids=(*rest[-1].ids, value))
        else:
            rest[-1] = replace(rest[-1], **{key: value})
    return groups + rest


# --- what is found --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """One violation; ``places`` are the commits at one of which it may be named."""

    commit: str
    rule: str
    path: str
    places: frozenset[str]
    name: str | None = None
    sure: bool = True
    #: What nobody may do, an admin neither: no merge of an admin's admits it.
    grave: bool = False
    #: Whether nothing is left by which one could go, also where a waiver accepts it.
    ruin: bool = False
    #: Whether it is about the release of ``name``, and not about the record.
    is_use: bool = False


@dataclass
class At:
    """What holds at one commit of the line."""

    legal: dict[str, State] = field(default_factory=dict)
    bad: dict[str, list[Found]] = field(default_factory=dict)
    versions: dict[str, tuple[str, str]] = field(default_factory=dict)
    ill: dict[str, list[Found]] = field(default_factory=dict)
    force: Policies = field(default_factory=Policies)
    counting: set[Waiver] = field(default_factory=set)
    #: The commits whose changes of waivers others have accepted.
    agreed: set[str] = field(default_factory=set)
    #: Whether some tree on the way could not be read: then what is found is not sure.
    fog: bool = False
    #: Records of which the rules do not say in what state they are.
    muddy: set[str] = field(default_factory=set)
    #: When each decision for one use came to the line; which were used; and the releases that are illegal, as they legally were.
    landed: dict[str, datetime] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    misused: dict[str, State] = field(default_factory=dict)
    #: Records that only a waiver made legal, and those of whose releases the rules do not say whether they are.
    excused: set[str] = field(default_factory=set)
    unclear: set[str] = field(default_factory=set)

    def copy(self) -> At:
        return At(dict(self.legal), dict(self.bad), dict(self.versions), dict(self.ill), self.force,
                  set(self.counting), set(self.agreed), self.fog, set(self.muddy), dict(self.landed), set(self.used), dict(self.misused),
                  set(self.excused), set(self.unclear))  # fmt: skip

    def know(self, name: str, state: State, record: Record | None, arrived: datetime) -> None:
        """A record has a new legal state, that came by a step."""
        self.legal[name] = state
        if record is not None and record.resolution is not None and record.requires.single_use:
            self.landed.setdefault(name, arrived)


@dataclass
class Verdict:
    """What the oracle says of a history; ``released`` is None for a record of which the rules say too little."""

    violations: list[Found]
    waived: list[Found]
    released: dict[str, bool | None]
    line: list[str]
    #: What holds at the tip.
    last: At
    #: Commits of which the rules do not say whether they are guilty.
    doubtful: set[str]

    @property
    def clean(self) -> bool | None:
        """None where all that was found is unsure."""
        if any(found.sure for found in self.violations):
            return False
        return None if self.violations else True


def disagreements(verdict: Verdict, guilty: Iterable[str], waived: Iterable[str]) -> list[str]:
    """Where the guilty and the waived commits of another judge are not those of the oracle."""
    told = []
    for what, found, theirs in (
        ("guilty", verdict.violations, set(guilty)),
        ("waived", verdict.waived, set(waived)),
    ):
        for one in found:
            if one.sure and not one.places & theirs:
                told.append(f"not {what}: {one.commit} {one.rule} {one.path}")
        possible = {place for one in found for place in one.places} | verdict.doubtful
        told += [f"{what} for nothing: {commit}" for commit in sorted(theirs - possible)]
    return told


# --- the oracle -----------------------------------------------------------------------------------------


def judge(objects: Objects, tip: str, now: datetime) -> Verdict:
    """Replay everything that a commit contains."""
    return _Replay(objects, tip, now).run()


class _Replay:
    def __init__(self, objects: Objects, tip: str, now: datetime) -> None:
        self.objects, self.tip, self.now = objects, tip, now
        self.commits: dict[str, Commit] = {}
        waiting = [tip]
        while waiting:
            oid = waiting.pop()
            if oid not in self.commits:
                self.commits[oid] = commit_of(oid, objects[oid][1])
                waiting += self.commits[oid].parents
        self.order: list[str] = []
        while len(self.order) < len(self.commits):
            done = set(self.order)
            self.order += [
                c.oid for c in self.commits.values() if c.oid not in done and done >= set(c.parents)
            ]
        self.raw = {oid: snap(objects, commit.tree) for oid, commit in self.commits.items()}
        #: The records in archives, by the ids that they would have as files.
        self.pieces = {
            blob_id(data): data
            for found in self.raw.values()
            for some in found.archived.values()
            for _, data in some
            if data is not None
        }
        #: The same, but that of an unreadable tree on the line what was before it is taken.
        self.snaps = dict(self.raw)
        self.ancestors: dict[str, set[str]] = {}
        self.before: dict[str, str | None] = {}
        #: Whether a tree that cannot be read decides which way the line goes: then nothing is sure.
        self.is_murky = False
        for oid in self.order:
            parents = self.commits[oid].parents
            self.ancestors[oid] = {oid}.union(*(self.ancestors[parent] for parent in parents))
            self.before[oid] = self.line_parent(oid)
        self.found: list[Found] = []
        self.at: dict[str, At] = {}
        self.added: dict[Waiver, str] = {}
        self.unclear_waivers: set[Waiver] = set()
        self.doubtful: set[str] = set()
        #: What was found of records that have rightly been restored since; what is lost is not brought back by that.
        self.healed: list[Found] = []
        #: What was found of archives that hold a record, or held it.
        self.touched: dict[str, list[Found]] = {}
        #: Records of which such an archive holds the use, or held it: what that says of the record is not said.
        self.brushed: set[str] = set()
        #: The merges by which their authors have acted.
        self.acted: set[str] = set()
        #: The commits whose dates nobody proves, though they should.
        self.undated: set[str] = set()
        #: The newest date up to some commits of the line.
        self.dates: dict[tuple[str, datetime], datetime] = {}

    # --- the line ---

    def line(self, oid: str) -> list[str]:
        """The line that leads to a commit, newest first."""
        found: list[str] = []
        at: str | None = oid
        while at is not None:
            found.append(at)
            at = self.before[at]
        return found

    def fork(self, first: str, second: str) -> str | None:
        """The newest commit of the first one's line that the second reaches."""
        return next((oid for oid in self.line(first) if oid in self.ancestors[second]), None)

    def line_parent(self, oid: str) -> str | None:
        parents = self.commits[oid].parents
        if len(parents) == 2:
            first, second = parents
            fork = self.fork(first, second)
            if fork is not None and fork in self.line(second):
                since = self.line(first)
                since = since[: since.index(fork) + 1]
                quiet = all(self.raw[at].own == self.raw[fork].own for at in since)
                # Where a merge there may have admitted what came along with it, it must stay on the line.
                merges = [at for at in since[:-1] if self.is_along(at)]
                quiet = quiet and all(
                    self.raw[self.commits[at].parents[0]].own == self.raw[at].own for at in merges
                )
                new, readable = self.raw[oid].own, all(self.raw[at].sound for at in (oid, second, *since))
                if quiet and new == self.raw[second].own != self.raw[first].own:
                    self.is_murky = self.is_murky or not readable
                    return second if readable else first
        return parents[0] if parents else None

    def is_along(self, oid: str) -> bool:
        """Whether the line goes along the second parent at a merge."""
        parents = self.commits[oid].parents
        return len(parents) == 2 and self.before[oid] == parents[1] != parents[0]

    # --- the run ---

    def run(self) -> Verdict:
        line = self.line(self.tip)[::-1]
        start = next(oid for oid in line if has_store(self.snaps[oid]))
        for oid in self.order:
            parents = self.commits[oid].parents
            fresh = has_store(self.snaps[oid]) and not any(has_store(self.snaps[p]) for p in parents)
            clear = all(self.raw[p].sound for p in parents)
            if oid != start and (fresh or (has_store(self.snaps[oid]) and not clear)):
                self.report(oid, "start", "queue", sure=clear)
        # Whether a store begins with a tree that cannot be read, nobody can say.
        unread = [oid for oid in line[: line.index(start) + 1] if not self.raw[oid].sound]
        self.is_murky = self.is_murky or bool(unread)
        self.begin(start)
        self.at_line = set(line)
        for oid in line[line.index(start) + 1 :]:
            self.step(oid)
        return self.verdict(line[line.index(start) :], start)

    def report(self, oid: str, rule: str, path: str, *, places: Iterable[str] = (), name: str | None = None,
               sure: bool = True, grave: bool = False, is_use: bool = False) -> Found:  # fmt: skip
        one = Found(oid, rule, path, frozenset({oid, *places}), name, sure, grave, grave, is_use)
        self.found.append(one)
        return one

    def data(self, entry: tuple[str, str] | None) -> bytes | None:
        if entry is not None and entry[1] in self.pieces:
            return self.pieces[entry[1]]
        if entry is None or not entry[0].startswith("100") or self.objects[entry[1]][0] != "blob":
            return None
        return self.objects[entry[1]][1]

    def assembled(self, found: Snap) -> Policies:
        files = [
            (path, self.data(entry) or b"")
            for path, entry in found.policies().items()
            if path.count("/") == 1 and path.endswith(".yaml") and path != WAIVERS
        ]
        return policies_of(found.tree, tuple(files))

    def is_broken(self, path: str, entry: tuple[str, str], policies: Policies) -> bool:
        """Whether one of our policy files cannot be read."""
        data = self.data(entry)
        if entry[0] != "100644" or data is None:
            return True
        if path == WAIVERS:
            return waivers_in(data) is None
        return root_in(data) is None if path == KT_YAML else path in policies.broken

    def begin(self, start: str) -> None:
        """Everything in the start is imported."""
        here, now = self.snaps[start], At()
        self.started, self.began = start, here
        if len(self.commits[start].parents) > 1:
            self.report(start, "start", "queue")
        for path, _ in here.faults:
            self.report(start, "tree", path)
        for path in sorted(self.fresh_archives(Snap([]), here)):
            if pieces_of(*self.both(here, path)) is None:
                self.report(start, "file", path, sure=here.sound)
        for name in here.records():
            state = frozenset(file for file in here.state(name) if file[1])
            fault, record = self.file_fault(state), self.record(state)
            if fault is None and record is not None and record.escalation_id != name:
                # The ids beside an archive call it otherwise than it does itself.
                fault = ("file", path_in(state))
            if fault:
                now.bad[name] = [self.report(start, *fault, name=name, sure=here.sound)]
            else:
                now.legal[name] = state
        now.force = self.assembled(here)
        for path, entry in here.policies().items():
            if path in OURS and self.is_broken(path, entry, now.force):
                self.report(start, "policies", path, sure=here.sound)
                now.fog = True
        now.versions = here.policies()
        now.fog = now.fog or not here.sound
        self.sure = not now.fog
        self.foreign(start, Snap([]), here, ())
        for waiver in waivers_in(self.data(here.files.get(WAIVERS))) or ():
            self.unclear_waivers.add(waiver)
        self.at[start] = now

    def is_imported(self, name: str) -> bool:
        """Whether a record was there, with reviews or an end that nobody can prove, when the store began."""
        record = self.record(self.began.state(name))
        return record is not None and bool(record.reviews or record.resolution)

    def step(self, oid: str) -> None:
        """Judge one commit of the line."""
        commit, before = self.commits[oid], self.before[oid]
        assert before is not None
        was, then = self.at[before], self.at[before].copy()
        self.sure = not was.fog
        self.undated |= {
            one for one in (oid, *self.carried(oid)) if self.unproven(self.commits[one], was.force)
        }
        for path, what in sorted(self.raw[oid].faults):
            # What was so before may be named once, or as long as it is there.
            fresh = (path, what) not in self.raw[before].faults
            self.report(oid, "tree", path, places=self.carried(oid), sure=self.sure and fresh)
        if not self.raw[oid].sound:
            # Nothing of it is read: what was there before counts on.
            self.snaps[oid] = replace(self.snaps[before], sound=True)
        if self.is_along(oid):
            self.along(commit, was, then)
        elif len(commit.parents) > 2:
            self.octopus(commit, was, then)
        elif len(commit.parents) == 2:
            self.merge(commit, was, then)
        else:
            self.plain(commit, was, then)
        self.settle(oid, before, was, then)
        # Whether a merge changes a store that cannot be read, and so along which parent the line goes, is not said.
        blind = len(commit.parents) == 2 and not self.raw[before].sound
        if was.fog or then.fog or blind:
            self.doubtful |= {oid} | self.carried(oid)
        self.at[oid] = then

    def settle(self, oid: str, before: str, was: At, then: At) -> None:
        """What counts from this commit on: waivers, waived states, and the policies in force."""
        here = self.snaps[oid]
        entry = here.files.get(WAIVERS)
        listed = waivers_in(self.data(entry)) or set()
        # Who mends or restores a file, also one that was deleted, does not add what was in it before.
        files = (self.snaps[at].files.get(WAIVERS) for at in self.line(before) if at in self.snaps)
        read = (waivers_in(self.data(file)) for file in files if file)
        known = next((some for some in read if some is not None), set())
        if then.fog:
            self.unclear_waivers |= listed - known
        if WAIVERS not in then.ill and then.versions.get(WAIVERS) == entry:
            for waiver in listed - known:
                if waiver.commit in self.ancestors[oid] - {oid}:
                    self.added[waiver] = oid
                    then.counting.add(waiver)
                    if waiver.commit not in self.ancestors[before]:
                        self.unclear_waivers.add(waiver)
            self.unclear_waivers |= then.counting - listed
        while self.accepts(oid, then, listed):
            pass
        legal, now, known = (
            {path: entry for path, entry in some.items() if path != KT_YAML}
            for some in (then.versions, here.policies(), was.versions)
        )
        if legal == now and here.sound:
            then.force = self.assembled(here)
        elif legal != known:
            # No tree has them together.
            then.force = self.assembled(Snap([("40000", b"policies", GATHERED)], legal))

    def accepts(self, oid: str, then: At, listed: set[Waiver]) -> bool:
        """Take records and policy files as waived that are; whether more waivers count by that."""
        here, before = self.snaps[oid], len(then.counting)
        for name, causes in list(then.bad.items()):
            if any(self.is_waived(one, then.counting) for one in causes) and not all(map(is_exact, causes)):
                then.muddy.add(name)
            if any(self.is_waived(one, self.unclear_waivers) for one in causes):
                then.muddy.add(name)
            if all(self.is_waived(one, then.counting) for one in causes):
                del then.bad[name]
                then.legal[name] = here.state(name)
                then.excused.add(name)
                then.muddy |= {name} if len(self.about(name)) > len(causes) else set()
        for path, causes in list(then.ill.items()):
            ruined = any(one.ruin and one.commit == causes[-1].commit for one in causes)
            where = {(one.commit, one.path) for one in causes}
            beside = [one for one in self.found if (one.commit, one.path) in where]
            # What breaks several rules is accepted with all of them.
            whole = all(self.is_waived(one, then.counting) for one in (*causes, *beside) if one.sure)
            if not ruined and whole and all(self.is_waived(one, then.counting) for one in causes):
                then.fog = then.fog or not all(map(is_exact, causes))
                then.fog = then.fog or not all(self.is_waived(one, then.counting) for one in beside)
                del then.ill[path]
                self.set_version(then, path, here.files.get(path))
        changed = [one for one in self.found if one.path == WAIVERS]
        standing = {one.commit for one in changed if not self.is_waived(one, then.counting)}
        changes = {one.commit for one in changed if one.rule != "tree"} - standing
        new, then.agreed = changes - then.agreed, then.agreed | changes
        if WAIVERS not in then.ill and new:
            for waiver in listed:
                # Whoever accepts a change of waivers accepts those that are there by it.
                if waiver.commit in self.ancestors[oid] - {oid}:
                    self.added.setdefault(waiver, oid)
                    then.counting.add(waiver)
        return len(then.counting) > before

    def about(self, name: str) -> list[Found]:
        return [one for one in self.found if one.name == name and not one.is_use]

    def is_waived(self, one: Found, counting: set[Waiver]) -> bool:
        return any(Waiver(place, one.rule, one.path) in counting for place in one.places)

    @staticmethod
    def set_version(then: At, path: str, entry: tuple[str, str] | None) -> None:
        if entry is None:
            then.versions.pop(path, None)
        else:
            then.versions[path] = entry

    # --- one step ---

    def file_fault(self, state: State) -> tuple[str, str] | None:
        """What is wrong with a record's files, whatever they say."""
        if len(state) > 1:
            return "duplicate_file", max(path for path, _, _ in loose(state) or state)
        for path, mode, oid in state:
            data = self.data((mode, oid))
            record = parsed(data) if data is not None else None
            if mode != "100644":
                return "tree", path
            if record is None:
                return "file", path
            if found := ARCHIVE.fullmatch(path):
                if f"/{found[2]}/" not in layout.path_of(record):
                    return "file", path
            elif layout.misplaced(record, path):
                return "moved", path
        return None

    def record(self, state: State) -> Record | None:
        """The record in a state without fault."""
        if len(state) != 1:
            return None
        ((_, mode, oid),) = state
        data = self.data((mode, oid))
        return parsed(data) if data is not None and mode == "100644" else None

    def judged(self, name: str, before: State, after: State, commit: Commit, policies: Policies,
               around: list[Snap]) -> list[tuple[str, str]]:  # fmt: skip
        """The violations (rule, path) of a step of a record from a legal state."""
        if fault := self.file_fault(after):
            return [fault]
        path = path_in(after or before)
        old, new = self.record(before), self.record(after)
        if old is None and before:
            return [("restore", path)]
        reopens = (new or old).reopens if new or old else None
        there = [found for one in around if reopens and (found := self.record(one.state(reopens)))]
        reopened = next((found for found in there if found.resolution), there[0] if there else None)
        reopener = None
        for one in around if new is not None and old is None and reopens else ():
            reopener = reopener or self.open_again(one, reopens, name)
        deciders = {who for one in around for who in self.deciders(one, name, reopens)}
        told = judge_step.StepContext(
            commit.email, commit.at, policies, tuple(sorted(deciders)), reopened, reopener
        )
        found = [(one.rule, path) for one in judge_step.judge(old, new, told)]
        if not found and old is not None and new is not None and is_early(old, new, commit.at, policies):
            found.append(("deadline", path))
        return found

    def deciders(self, there: Snap, name: str, reopens: str | None) -> Iterator[str]:
        """Who reviewed what a record reopens, or what that reopens, and so on."""
        seen = {name}
        while reopens is not None and reopens not in seen:
            seen.add(reopens)
            # Whoever has legally decided it counts, whatever somebody has made of it since.
            is_bad = reopens in self.bad
            origin = self.record(self.legal.get(reopens, ABSENT) if is_bad else there.state(reopens))
            yield from (one.reviewer for one in origin.reviews) if origin else ()
            reopens = origin.reopens if origin else None

    def is_named(self, there: Snap, reopened: str | None) -> bool:
        """Whether a file that is no record says that it reopens one, so that nobody can tell whether it does."""
        words = f"\nreopens: {reopened}\n".encode()
        return reopened is not None and any(
            words in (self.data((mode, oid)) or b"")
            for name in there.records()
            for _, mode, oid in there.state(name)
            if self.record(there.state(name)) is None
        )

    def open_again(self, there: Snap, reopened: str, *but: str) -> Record | None:
        """What reopens a record, or what reopened it, and so on, and is not decided."""
        for other in sorted(there.records() - {*but}):
            found = self.record(there.state(other))
            if found is not None and found.reopens == reopened:
                again = found if found.resolution is None else self.open_again(there, other, *but, other)
                if again is not None:
                    return again
        return None

    def is_admin(self, email: str, policies: Policies) -> bool:
        roster = policies.roster
        if roster is None:
            return True
        user = roster.by_id.get(known_as(email, roster))
        return user is not None and "admin" in user.roles

    @staticmethod
    def named(policies: Policies, there: Snap) -> Policies:
        """Policies with the tree that a command names which routes by them at a commit."""
        return replace(policies, tree=there.tree) if policies.tree == GATHERED else policies

    def unproven(self, commit: Commit, policies: Policies) -> list[str]:
        """The rules by which a commit's signature is wrong, whatever its date."""
        if policies.settings.signatures != "required":
            return []
        if commit.signer is None:
            return ["unsigned"]
        who = known_as(commit.email, policies.roster)
        user = policies.roster.by_id.get(who) if policies.roster else None
        keys = {" ".join(key.split()[:2]) for key in user.signing_keys} if user else set()
        own = commit.signer in keys and known_as(commit.committer, policies.roster) == who
        return [] if own else ["signature"]

    def is_backdated(self, commit: Commit, policies: Policies) -> bool:
        """Whether a commit is older than what it builds on: a merge of the line, than what was there."""
        if policies.settings.signatures != "required":
            return False
        before = self.before[commit.oid]
        tips = (before,) if before and commit.oid in self.at_line else commit.parents
        newest = max((self.newest(tip, policies) for tip in tips), default=LONG_AGO)
        return newest - commit.at > policies.settings.claims.clock_tolerance

    def signature_faults(self, commit: Commit, policies: Policies) -> list[str]:
        """The rules by which a commit's signature is wrong."""
        found = self.unproven(commit, policies)
        is_read = commit.signer not in (None, "")
        return [*found, *["backdated"] * (is_read and self.is_backdated(commit, policies))]

    def is_proven(self, commit: Commit, policies: Policies) -> bool:
        """Whether a change of policies is signed where they ask for it."""
        return not self.signature_faults(commit, policies)

    def is_admin_there(self, email: str, there: Snap) -> bool:
        """Whether somebody is admin by a roster as a commit has it; one that cannot be read makes nobody so."""
        policies = self.assembled(there)
        known = policies.roster is not None and there.files[ROSTER][0] == "100644"
        return there.sound and known and self.is_admin(email, policies)

    def restored(self, name: str, after: State, email: str, was: At, policies: Policies) -> bool:
        """Whether an illegal record is brought back as it must be: where it was, or from an archive to a file."""
        legal = was.legal.get(name, ABSENT)
        record, bare = self.record(legal), {(mode, data) for _, mode, data in legal}
        file = {(layout.path_of(record), *one) for one in bare} if record and not loose(legal) else legal
        return self.is_admin(email, policies) and after in (legal, file)

    def heal(self, name: str, then: At) -> None:
        then.bad.pop(name)
        self.healed += [one for one in self.about(name) if one.rule != "dropped"]

    def plain(self, commit: Commit, was: At, then: At) -> None:
        oid = commit.oid
        self.bad, self.legal = was.bad, was.legal
        old, new = self.snaps[commit.parents[0]], self.snaps[oid]
        wrong, folded, folded_uses = self.foldings(oid, was.force)
        archives = [self.report(oid, *fault, sure=self.sure) for fault in wrong]
        for name in sorted(old.records() | new.records()):
            before, after = old.state(name), new.state(name)
            if before == after:
                continue
            sure = self.sure and name not in was.muddy
            self.doubtful |= {oid} if name in was.muddy else set()
            self.touched.setdefault(name, []).extend(archives)
            rest, is_archives = (
                loose(before) - folded.get(name, ABSENT),
                before - loose(before) != after - loose(after),
            )
            if rest == loose(after):
                # Nothing was done to it but by archives. To fold what is illegal makes it no better.
                if name not in folded or len(after) > 1:
                    then.bad[name] = then.bad.get(name, []) + archives
                    # Whether it can be reopened before that is accepted is not said.
                    then.muddy.add(name)
                elif name not in was.bad:
                    then.legal[name] = after
                continue
            path = path_in(loose(after) - rest or rest - after)
            if name in was.bad:
                if self.restored(name, after, commit.email, was, was.force):
                    self.heal(name, then)
                    continue
                if after == was.legal.get(name, ABSENT):
                    then.muddy.add(name)
                then.bad[name] = [self.report(oid, "restore", path, name=name, sure=sure)]
                continue
            if is_archives:
                before, after = rest, loose(after)
            broken = self.judged(name, before, after, commit, self.named(was.force, old), [old])
            if is_archives and not before:
                # Whatever it is, something of that name was there.
                broken = [("duplicate_file", path)]
            record = self.record(after)
            sure = sure and not (record and record.reopens in was.muddy)
            is_unfit = record is not None and record.reopens in was.bad and record.reopens not in was.muddy
            if not before and is_unfit and not self.file_fault(after):
                broken = [("reopens", path)]
            blind = not self.raw[commit.parents[0]].sound
            # Of what has two files either may be asked whether it reopens something.
            blind = blind or any(len(old.state(bad)) > 1 for bad in was.bad)
            blind = blind or (record is not None and self.is_named(old, record.reopens))
            if record is not None and record.reopens and (blind or record.reopens in was.muddy):
                # Whether what it reopens is there is read from a tree that cannot be, or not said.
                then.muddy.add(name)
                self.doubtful.add(oid)
            if broken or is_archives:
                then.bad[name] = [self.report(oid, *one, name=name, sure=sure) for one in broken] + archives
                # By policies of which not all is said: nor is what may be done with it then.
                then.muddy |= set() if self.sure else {name}
            else:
                then.know(name, after, record, commit.at)
        used = [*self.plain_uses(commit, was, then, folded_uses)]
        self.foreign(oid, old, new, ())
        acts = old.own != new.own
        everything = {p for p in old.files.keys() | new.files.keys() if old.files.get(p) != new.files.get(p)}
        first = min(
            (p for p in everything if p.startswith(("queue/", "policies/", KT_YAML))), default="queue"
        )
        unsigned = self.signed(commit, acts or bool(said(commit.message)), was, path=first)
        for path in sorted(old.policies().keys() | new.policies().keys()):
            entry = new.files.get(path)
            if entry == old.files.get(path):
                continue
            # Of several things that are wrong with a file one is named: who wrote it, before what was written.
            by = ["policies"] if not self.is_admin(commit.email, was.force) else []
            by = by or self.signature_faults(commit, was.force)[:1]
            sure, self.sure = self.sure, self.sure and by in ([], ["policies"])
            wrong = self.written(oid, path, entry, was, new)
            self.sure = sure
            wrong += [
                self.report(oid, rule, path, sure=sure and not (wrong and rule == "policies")) for rule in by
            ]
            # What breaks several rules is accepted with all of them.
            wrong += [one for one in unsigned if one.path == path and one not in wrong]
            self.write(then, path, entry, wrong)
        self.ahead(commit, acts, was)
        changed = {n for n in old.uses.keys() | new.uses.keys() if old.uses.get(n) != new.uses.get(n)}
        for name in changed if archives else ():
            self.brushed.add(name)
        blind = bool(changed & then.unclear)
        self.message(commit, [(oid, commit.parents[0])], was, used, blind=blind)

    # --- decisions that are used ---

    def plain_uses(self, commit: Commit, was: At, then: At, folded: Mapping[str, State]) -> Iterator[Step]:
        """Judge what a plain commit of the line did to releases, and tell which actions that may be called."""
        oid, old, new = commit.oid, self.snaps[commit.parents[0]], self.snaps[commit.oid]
        self.archived_uses(old, new, then)
        for name in sorted(old.uses.keys() | new.uses.keys()):
            before, after = old.uses.get(name, ABSENT), new.uses.get(name, ABSENT)
            rest, files = (
                {one[0]: one for one in loose(state)} for state in (before - folded.get(name, ABSENT), after)
            )
            paths = sorted(path for path in rest.keys() | files.keys() if rest.get(path) != files.get(path))
            if not paths:
                continue
            if (
                not self.raw[commit.parents[0]].sound
                or name in was.muddy
                or self.doubted_unclearly(old, name, then)
            ):
                then.unclear.add(name)
            # What is wrong with other commits may be named in several ways, which it notes.
            self.is_unbelieved(commit, name, then)
            sure = self.sure and name not in then.unclear
            if not sure:
                then.unclear.add(name)
                self.doubtful.add(oid)
            if name in was.misused:
                if self.is_admin(commit.email, was.force) and after == was.misused[name]:
                    del then.misused[name]
                    self.healed += [one for one in self.found if one.name == name and one.is_use]
                    yield name, {"restore"}, known_as(commit.email, was.force.roster), None, set(), None
                else:
                    self.report(oid, "release", paths[0], name=name, sure=sure, is_use=True)
                continue
            made = self.use(files.get(paths[0])) if len(paths) == 1 else None
            is_legal = False
            if made is not None and paths[0] not in rest:
                yield name, {"release"}, made.released_by, None, set(), made.release_id
                is_legal = self.is_release(commit, name, paths[0], made, was, then)
            elif made is not None:
                by = made.receipt.receipt_by if made.receipt else known_as(commit.email, was.force.roster)
                yield name, {"receipt"}, by, None, set(), made.release_id
                is_legal = self.is_receipt(commit, self.use(rest[paths[0]]), made, was.force)
            if is_legal:
                then.used.add(name)
            else:
                then.misused[name] = before
                self.report(oid, "release", paths[0], name=name, sure=sure, is_use=True)

    @staticmethod
    def archived_uses(old: Snap, new: Snap, then: At) -> None:
        """What an archive of releases says was used, and stays so when somebody changes or deletes that archive."""
        then.used |= new.archived_uses.keys() - old.archived_uses.keys()
        for path, file in old.archives().items():
            if new.files.get(path) != file:
                archive = path.rpartition(".")[0] + ".yaml"
                for name in (name for name, paths in old.archived_uses.items() if archive in paths):
                    then.misused.setdefault(name, old.uses[name])

    def use(self, file: tuple[str, str, str] | None) -> use_rules.Release | None:
        return use_rules.read(plain_data(self.objects, file and file[1:]))

    def is_release(
        self, commit: Commit, name: str, path: str, made: use_rules.Release, was: At, then: At
    ) -> bool:
        """Whether a new file is the one release of a decision."""
        old, new, force = self.snaps[commit.parents[0]], self.snaps[commit.oid], was.force
        record, landed = self.record(was.legal.get(name, ABSENT)), was.landed.get(name)
        if record is None or landed is None or not use_rules.releases(record):
            return False
        if self.is_imported(name):
            return False
        if name in {*then.bad, *was.bad, *was.excused, *was.used} or old.uses.get(name):
            return False
        if old.state(name) != new.state(name) or self.is_doubted(old, name, then):
            return False
        if self.is_unbelieved(commit, name, then):
            return False
        who = known_as(commit.email, force.roster)
        user = force.roster.by_id.get(who) if force.roster else None
        may = force.roster is None or (user is not None and {"gateway", "admin"} & {*user.roles})
        tolerance = force.settings.claims.clock_tolerance
        rightly = use_rules.is_release(made, record, who, commit.at, landed, tolerance)
        # So long after its time nobody remembers it.
        date = self.newest(commit.parents[0], force) - timedelta(days=1)
        rightly = rightly and not use_rules.is_late(record, date, landed)
        return bool(may) and path == use_rules.path_of(record) and rightly

    def is_unbelieved(self, commit: Commit, name: str, then: At) -> bool:
        """Whether something else is wrong with a commit that changed a record, which may be waived."""
        some = [
            (oid, parent)
            for oid, parent in self.plain_ones(self.ancestors[commit.parents[0]])
            if loose(self.snaps[oid].state(name)) != loose(self.snaps[parent].state(name))
        ]
        # What the store began with is taken as it was.
        by = {oid for oid, _ in some} - {self.started}
        # What is only said, or lies beside it, says nothing about it.
        wrong = [
            one
            for one in self.found
            if one.name is None and one.places & by and one.rule not in ("message", "foreign")
        ]
        if any(not one.sure or len(one.places) > 1 or self.folds(one.commit, name, then) for one in wrong):
            then.unclear.add(name)
        return bool(wrong)

    def is_receipt(
        self, commit: Commit, before: use_rules.Release | None, made: use_rules.Release, force: Policies
    ) -> bool:
        """Whether one release became the other by a receipt."""
        if before is None:
            return False
        who = known_as(commit.email, force.roster)
        is_mine = person(force.roster, who) == person(force.roster, before.released_by)
        return use_rules.is_receipt(before, made, who, commit.at, force.settings.claims.clock_tolerance,
                                    is_mine=is_mine, is_admin=self.is_admin(commit.email, force))  # fmt: skip

    def doubting(self, there: Snap, name: str, then: At) -> dict[str, Record | None]:
        """What reopens a record, or what reopens that, as it stands or, where it is illegal, also as it legally was."""
        every: dict[str, list[Record | None]] = {}
        for other in there.records() | then.bad.keys():
            states = [there.state(other)] + ([then.legal.get(other, ABSENT)] if other in then.bad else [])
            every[other] = [one for state in states for one in [self.record(state)] if one is not None]
        found: dict[str, Record | None] = {}
        names = {name}
        while True:
            more = {other: one for other, some in every.items() if other not in names
                    for one in some if one is not None and one.reopens in names}  # fmt: skip
            if not more:
                return found
            found |= more
            names |= more.keys()

    def is_doubted(self, there: Snap, name: str, then: At) -> bool:
        """Whether something reopens a decision that was not legally withdrawn."""
        return any(
            one is None
            or one.resolution is None
            or one.resolution.outcome != "withdrawn"
            or other in then.bad
            or other in then.excused
            for other, one in self.doubting(there, name, then).items()
        )

    def doubted_unclearly(self, there: Snap, name: str, then: At) -> bool:
        """Whether the rules do not say what becomes of something that reopens a decision, or it cannot be read."""
        return any(
            other in then.muddy or self.file_fault(there.state(other))
            for other in self.doubting(there, name, then)
        )

    def merged_uses(self, commit: Commit, was: At, then: At) -> None:
        """No merge brings releases or archives of them, and no commit that it carries has made any."""
        line = self.before[commit.oid] or ""
        pairs = [(oid, parents[0] if (parents := self.commits[oid].parents) else None) for oid in sorted(self.carried(commit.oid))
                 if len(self.commits[oid].parents) < 2]  # fmt: skip
        self.archived_uses(self.snaps[line], self.snaps[commit.oid], then)
        for oid, parent in [(commit.oid, line), *pairs]:
            old, new = self.snaps[parent] if parent else Snap([]), self.snaps[oid]
            is_read = self.raw[oid].sound and (parent is None or self.raw[parent].sound)
            changed = {p for p in old.files.keys() | new.files.keys() if old.files.get(p) != new.files.get(p)}
            for path in sorted(changed):
                name, archive = use_rules.id_of(path), ARCHIVE.fullmatch(path)
                if name is None and (archive is None or archive[1] != "released"):
                    continue
                one = self.report(oid, "release", path, name=name, sure=self.sure and is_read, is_use=True)
                self.doubtful |= set() if one.sure else {oid}
                if oid != commit.oid:
                    # The line's own is as it was, but for what the merge has taken over.
                    self.healed.append(one)
                elif name is not None:
                    then.unclear |= set() if one.sure else {name}
                    then.misused.setdefault(name, self.snaps[line].uses.get(name, ABSENT))

    def foreign(self, oid: str, old: Snap, new: Snap, carried: Iterable[str]) -> None:
        """What is below `queue/` and none of its business."""
        for path in sorted(old.others().keys() | new.others().keys()):
            entry = new.files.get(path)
            if entry == old.files.get(path):
                continue
            keep = path.endswith("/.gitkeep")
            empty = entry is None or (entry[0] == "100644" and self.data(entry) == b"")
            if not (keep and empty):
                places = [c for c in carried if self.changes(c, path)]
                self.report(oid, "foreign", path, places=places, sure=self.sure and entry is not None)

    @staticmethod
    def fresh_archives(old: Snap, new: Snap) -> set[str]:
        """The archives of which a file is new, by the path of the one that holds the records."""
        fresh = new.archives().keys() - old.archives().keys()
        return {path.rpartition(".")[0] + ".yaml" for path in fresh}

    def both(self, here: Snap, path: str, but: Iterable[str] = ()) -> list[bytes | None]:
        """The bytes of both files of an archive; of those that count as missing, and of what is no plain file, None."""
        paths = (path, path.removesuffix("yaml") + "ids")
        return [None if at in but else plain_data(self.objects, here.files.get(at)) for at in paths]

    def folding(self, oid: str, force: Policies) -> tuple[list[tuple[str, str]], dict[str, State]]:
        """What is wrong with what a commit with one parent did to archives, and the records that it moved into them."""
        return self.foldings(oid, force)[:2]

    def foldings(
        self, oid: str, force: Policies
    ) -> tuple[list[tuple[str, str]], dict[str, State], dict[str, State]]:
        """The same, and the releases that it moved."""
        commit = self.commits[oid]
        old, new = self.snaps[commit.parents[0]], self.snaps[oid]
        changed = {p for p in old.files.keys() | new.files.keys() if old.files.get(p) != new.files.get(p)}
        wrong = [("archive", path) for path in sorted(changed & old.archives().keys())]
        fresh = self.fresh_archives(old, new)
        gone = {
            (f"{found[1]}/{found[2]}", found[3]): path
            for path in changed - new.files.keys()
            if (found := DATED.fullmatch(path))
        }
        last: dict[str, int] = {}
        for path in old.archives():
            found = ARCHIVE.fullmatch(path)
            assert found
            series = f"{found[1]}/{found[2]}"
            last[series] = max(last.get(series, 0), int(found[3]))
        folded: dict[str, dict[str, State]] = {"resolved": {}, "released": {}}
        newest: dict[str, str] = {}
        tolerance = force.settings.claims.clock_tolerance
        for series, number, path in sorted(
            (f"{found[1]}/{found[2]}", int(found[3]), path)
            for path in fresh
            if (found := ARCHIVE.fullmatch(path))
        ):
            kind, _, month = series.partition("/")
            pieces = pieces_of(*self.both(new, path, old.files))
            rightly = number == last.get(series, 0) + 1 and is_over(month, commit.at)
            last[series] = max(last.get(series, 0) + 1, number)
            for name, data in (pieces or {}).items():
                file = gone.get((series, name), "")
                rightly = (
                    rightly and bool(file) and name > newest.get(series, "") and name not in folded[kind]
                )
                if file and old.files[file][1] == blob_id(data):
                    folded[kind][name] = frozenset({(file, *old.files[file])})
                    release = use_rules.read(data) if kind == "released" else None
                    is_open = (
                        release and release.closed_at and release.closed_at >= commit.at + use_rules.SECOND
                    )
                    if kind == "released" and (release is None or is_open):
                        wrong.append(("compaction" if release else "release", file))
                else:
                    rightly = False
                newest[series] = name
            if pieces is None or not rightly:
                wrong.append(("compaction", path))
            if not is_over(month, self.now + tolerance):
                wrong.append(("compaction", "queue/resolved"))
        if fresh and not self.is_admin(commit.email, force):
            wrong.append(("not_allowed", "queue/resolved"))
        if fresh and (more := changed - new.archives().keys() - old.archives().keys() - set(gone.values())):
            wrong.append(("compaction", min(more)))
        return wrong, folded["resolved"], folded["released"]

    def changes(self, oid: str, path: str) -> bool:
        parents = self.commits[oid].parents
        return bool(parents) and all(
            self.snaps[p].files.get(path) != self.snaps[oid].files.get(path) for p in parents
        )

    def written(self, oid: str, path: str, entry: tuple[str, str] | None, was: At, new: Snap,
                carried: Iterable[str] = ()) -> list[Found]:  # fmt: skip
        """What is wrong with a policy file as it is now, whoever made it so."""
        places = [c for c in carried if self.changes(c, path)]
        if entry is not None and entry[0] != "100644":
            return [self.report(oid, "tree", path, places=places, sure=self.sure, grave=path in OURS)]
        if path not in OURS:
            return []
        policies = self.assembled(new)
        if entry is None:
            # What came by no legal change may go again, as far as the rules say.
            sure = self.sure and path in was.versions and path not in was.ill
            return [self.report(oid, "policies", path, places=places, sure=sure, grave=True)]
        # A tree whose `.kt.yaml` is no plain file is not read, so that nothing may have changed since the one before it.
        before = [self.snaps[parent].files.get(KT_YAML) for parent in self.commits[oid].parents]
        sure = self.sure and (path != KT_YAML or all(one is None or one[0] == "100644" for one in before))
        if self.is_broken(path, entry, policies):
            return [self.report(oid, "policies", path, places=places, sure=sure, grave=True)]
        if path == KT_YAML and root_in(self.data(entry) or b"") not in ("", "."):
            return [self.report(oid, "root", path, places=places, sure=sure, grave=True)]
        if path == ROSTER and policies.has_no_admin and was.force.roster and not was.force.has_no_admin:
            return [
                replace(
                    self.report(oid, "policies", path, places=places, sure=self.sure, grave=True), ruin=False
                )
            ]
        return []

    def write(self, then: At, path: str, entry: tuple[str, str] | None, wrong: list[Found]) -> None:
        """A policy file has a new version: legal, or the old one stays the legal one."""
        if wrong and then.versions.get(path) != entry:
            then.ill[path] = then.ill.get(path, []) + wrong
        else:
            then.ill.pop(path, None)
            if not wrong:
                self.set_version(then, path, entry)

    # --- times, signatures, messages ---

    def ahead(self, commit: Commit, acts: bool, was: At, *, sure: bool = True) -> None:
        if acts and commit.at - self.now > was.force.settings.claims.clock_tolerance:
            self.report(commit.oid, "time", "queue", sure=sure and self.sure)

    def signed(
        self, commit: Commit, asked: bool, was: At, *, path: str = "queue", sure: bool = True
    ) -> list[Found]:
        rules = self.signature_faults(commit, was.force) if asked else ()
        return [self.report(commit.oid, rule, path, sure=sure and self.sure) for rule in rules]

    def message(
        self,
        commit: Commit,
        pairs: list[tuple[str, str]],
        was: At,
        used: Iterable[Step] = (),
        *,
        blind: bool = False,
    ) -> None:
        """Hold what a message says against the steps (each from a parent to a commit) that it brought."""
        if not commit.readable:
            self.report(commit.oid, "message", "queue", sure=self.sure)
        groups = said(commit.message)
        if not groups:
            return
        steps = [*used]
        for oid, parent in pairs:
            old, new = self.snaps[parent], self.snaps[oid]
            blind = blind or not (self.raw[parent].sound and self.raw[oid].sound)
            by = self.commits[oid].email
            folded, uses = (
                self.foldings(oid, was.force)[1:] if len(self.commits[oid].parents) == 1 else ({}, {})
            )
            who = known_as(by, was.force.roster)
            steps += [(name, {"compact"}, who, None, set(), None) for name in (*folded, *uses)]
            for name in old.records() | new.records():
                before, after = loose(old.state(name)) - folded.get(name, ABSENT), loose(new.state(name))
                if before != after:
                    # Of two files either may be what a message means.
                    blind = blind or len(before) > 1
                    beside = oid != commit.oid or oid not in self.at_line
                    # What was done wrongly, too, is what it says of itself.
                    beside = beside or any(one.commit == oid and one.name == name for one in self.found)
                    steps += self.told(name, before, after, by, was, beside=beside)
        roster = was.force.roster
        if len(commit.parents) > 1:
            # Who merges puts right, in a way, what the branch has done: that says nothing of who decided what.
            by = known_as(commit.email, roster)
            steps += [(name, {"restore"}, by, None, claims, None) for name, _, _, _, claims, _ in steps]
        held = all(
            (
                all(any(fits(group, step, name, roster) for step in steps) for name in group.ids)
                and bool(group.ids)
            )
            or (not group.ids and any(fits(group, step, None, roster) for step in steps))
            for group in groups
        )
        if blind:
            # What a tree does that cannot be read is not said, nor whether a message may say it.
            self.doubtful.add(commit.oid)
        # All are named up to a hundred, and no graph of ours has so many.
        if not held or any(group.count not in (None, str(len(set(group.ids)))) for group in groups):
            self.report(commit.oid, "message", "queue", sure=self.sure and not blind)

    def told(
        self, name: str, before: State, after: State, email: str, was: At, *, beside: bool
    ) -> Iterator[Step]:
        """The actions that a step of a record is, as a message may call them.

        What a branch has done wrong is put right there, ``beside`` the line.
        """
        # Who puts a second file there has at least said what that one is.
        old, new = self.record(before - after), self.record(after - before)
        claims = {one.claim.claim_id for one in (old, new) if one and one.claim}
        claims |= {review.claim_id for one in (old, new) if one for review in one.reviews}
        actor = known_as(email, was.force.roster)
        if name in was.bad or beside:
            yield name, {"restore"}, actor, None, claims, None
        # A squash may claim what it raises or reviews, or assigns to its own author, of which the review and the claim tell.
        known = {old.claim.claim_id} if old and old.claim else set()
        begun = (
            []
            if new is None
            else [(r.claim_id, r.reviewer) for r in new.reviews[len(old.reviews) if old else 0 :]]
        )
        if new is not None and new.claim is not None:
            # Who was given it has not claimed it.
            givers = {one.actor for one in changes.between(old, new) if one.action == "assign"}
            begun += [(new.claim.claim_id, new.claim.claimed_by)] if givers <= {new.claim.claimed_by} else []
        for claim, by in begun:
            if claim not in known:
                yield name, {"claim"}, by, None, claims, None
        for one in changes.between(old, new):
            actions = {one.action} if one.action != "delete" else {"restore"}
            if one.action in ("sweep", "unclaim"):
                # To the team that has it already it is given back in the same way.
                actions = {"sweep", "unclaim", "assign"}
            elif one.action == "review":
                actions = {"review", "resolve"}
            elif one.action == "claim":
                actions = {"claim", "assign"}
            yield name, actions, one.actor or actor, one.outcome, claims, None
            if one.action in ("sweep", "unclaim"):
                yield name, actions, actor, one.outcome, claims, None

    # --- merges ---

    def carried(self, oid: str) -> set[str]:
        """What a merge brings beside its line: all that its line parent does not contain, but for itself."""
        before = self.before[oid]
        return self.ancestors[oid] - (self.ancestors[before] if before else set()) - {oid}

    def plain_ones(self, some: Iterable[str]) -> list[tuple[str, str]]:
        """Those of some commits that have one parent, each with it."""
        return [(c, self.commits[c].parents[0]) for c in some if len(self.commits[c].parents) == 1]

    def carried_are_sane(self, commit: Commit, was: At) -> None:
        """What is asked of every carried commit: its signature, its time, and what it says."""
        carried = self.carried(commit.oid)
        for oid in sorted(carried, key=self.order.index):
            one = self.commits[oid]
            plain = len(one.parents) == 1
            acts = plain and self.snaps[oid].own != self.snaps[one.parents[0]].own
            looked = not self.is_along(commit.oid) and self.raw[commit.oid].sound
            self.ahead(one, acts, was, sure=looked)
            self.signed(
                one,
                acts or bool(said(one.message)),
                was,
                sure=looked or (bool(said(one.message)) and self.raw[commit.oid].sound),
            )
            pairs = [(oid, one.parents[0])] if plain else []
            if len(one.parents) > 1:
                pairs = self.plain_ones(self.ancestors[oid] - self.ancestors[one.parents[0]] - {oid})
                pairs.append((oid, one.parents[0]))
                # What it has not taken over it has not brought.
                old, new = self.snaps[one.parents[0]], self.snaps[oid]
                names = [n for n in old.records() | new.records() if old.state(n) != new.state(n)]
                pairs = [pair for pair in pairs if any(self.moves(*pair, name) for name in names)]
            self.message(one, pairs, was)
            if not self.snaps[oid].sound and looked:
                self.report(oid, "tree", "", sure=False)

    def along(self, commit: Commit, was: At, then: At) -> None:
        """A merge whose line goes along its second parent: it brings nothing of the store."""
        first, second = commit.parents
        acted = False
        fork = self.fork(first, second)
        if fork in self.at and has_store(self.snaps[fork]):
            line, base = self.line(second), self.at[fork]
            since = line[: line.index(fork)]
            admin = self.is_admin(commit.email, base.force) and self.is_admin(commit.email, was.force)
            admin = admin and not PULL.match(commit.message)
            if admin and not self.is_proven(commit, was.force):
                admin = False
                self.doubtful.add(commit.oid)
            for one in list(self.found) if admin else ():
                plain = len(self.commits[one.commit].parents) == 1
                there = [each for each in self.found if (each.commit, each.path) == (one.commit, one.path)]
                # Who accepts all of it has approved it; and what nobody may do stays what it is, whoever did it.
                plain = plain and not all(self.is_waived(each, was.counting) for each in there)
                plain = plain and not any(each.grave for each in there)
                if one.rule == "policies" and not one.grave and one.commit in since and plain:
                    acted = True
                    self.found.remove(one)
                    # What a waiver accepts beside it is no hindrance, nor who had signed it.
                    ill = [
                        each
                        for each in then.ill.get(one.path, ())
                        if not self.is_waived(each, was.counting)
                        and (each.commit != one.commit or each.rule not in SIGNATURES)
                    ]
                    if ill[-1:] == [one]:
                        del then.ill[one.path]
                        self.set_version(then, one.path, self.snaps[commit.oid].files.get(one.path))
            if acted:
                listed = waivers_in(self.data(self.snaps[commit.oid].files.get(WAIVERS))) or set()
                for waiver in listed - base.counting - then.counting:
                    self.unclear_waivers.add(waiver)
        self.acted |= {commit.oid} if acted else set()
        self.ahead(commit, acted, was)
        self.signed(commit, acted or bool(said(commit.message)), was)
        if was.force.settings.signatures == "required" and said(commit.message):
            # By which policies a merge is asked that only says something is not said where they differ.
            self.doubtful.add(commit.oid)
        # What came in on the side that the line goes past may not be lost there.
        self.bad, self.legal = then.bad, then.legal
        self.dropped(commit, first, was)
        self.carried_merges(commit, was)
        # It may say what the branch had not yet, though its line had it a commit before.
        news = self.ancestors[second] - self.ancestors[first]
        self.message(commit, self.plain_ones(news), was)
        self.carried_are_sane(commit, was)
        self.merged_uses(commit, was, then)

    def octopus(self, commit: Commit, was: At, then: At) -> None:
        first = commit.parents[0]
        old, new = self.snaps[first], self.snaps[commit.oid]
        if old.own != new.own or said(commit.message):
            one = self.report(commit.oid, "merge", "queue", sure=self.sure)
            for name in old.records() | new.records():
                if old.state(name) != new.state(name):
                    then.bad[name] = [replace(one, name=name)]
            for path in old.policies().keys() | new.policies().keys():
                if old.files.get(path) != new.files.get(path):
                    then.ill[path] = [one]
        if not commit.readable:
            self.report(commit.oid, "message", "queue", sure=self.sure)
        self.bad, self.legal = then.bad, then.legal
        for other in commit.parents[1:]:
            self.dropped(commit, other, was)
        self.carried_merges(commit, was)
        self.carried_are_sane(commit, was)
        self.merged_uses(commit, was, then)

    def merge(self, commit: Commit, was: At, then: At) -> None:
        first, second = commit.parents
        old, new, carried = self.snaps[first], self.snaps[commit.oid], self.carried(commit.oid)
        brought: set[str] = set()
        self.bad, self.legal = then.bad, then.legal
        # What reopens another comes after it.
        for name in sorted(old.records() | new.records(), key=lambda name: (self.depth(new, name), name)):
            if old.state(name) != new.state(name):
                brought.add(name)
                self.merged_record(commit, name, was, then)
        self.merged_archives(commit, was)
        self.foreign(commit.oid, old, new, carried)
        acted = False
        for path in sorted(old.policies().keys() | new.policies().keys()):
            if old.files.get(path) != new.files.get(path):
                acted |= self.merged_policy(commit, path, was, then)
        self.dropped(commit, second, was)
        self.carried_merges(commit, was)
        self.acted |= {commit.oid} if acted else set()
        # Its date is when what it brings came to the line.
        self.ahead(commit, acted or old.own != new.own, was)
        self.signed(commit, acted or bool(said(commit.message)), was)
        pairs = self.plain_ones(carried)
        self.message(
            commit, [pair for pair in pairs if any(self.moves(*pair, name) for name in brought)], was
        )
        self.carried_are_sane(commit, was)
        self.merged_uses(commit, was, then)

    def is_blind(self, carried: set[str]) -> bool:
        """Whether some step that is carried is from a tree that cannot be read, or to one."""
        around = carried.union(*(self.commits[oid].parents for oid in carried))
        return any(not self.raw[oid].sound for oid in around)

    def depth(self, there: Snap, name: str) -> int:
        """How many records a record reopens, directly or through others."""
        seen: list[str] = []
        at: str | None = name
        while at is not None and at not in seen:
            seen.append(at)
            at = self.reopens(there, at)
        return len(seen)

    def reopens(self, there: Snap, name: str) -> str | None:
        record = self.record(there.state(name))
        return record.reopens if record else None

    def moves(self, oid: str, parent: str, name: str) -> bool:
        return self.snaps[oid].state(name) != self.snaps[parent].state(name)

    def chains(self, states: Mapping[str, object], start: object, goal: object) -> list[list[str]]:
        """All chains of commits (given with their states) that lead from one state to another."""
        found: list[list[str]] = []

        def search(chain: list[str], at: object) -> None:
            for oid in states:
                if chain and (chain[-1] == oid or chain[-1] not in self.ancestors[oid]):
                    continue
                if self.states_before[oid] == at and len(found) < MOST_CHAINS:
                    if states[oid] == goal:
                        found.append([*chain, oid])
                    search([*chain, oid], states[oid])

        search([], start)
        return found

    def steps_of(self, item: str, carried: set[str], *, bare: bool = False) -> dict[str, object]:
        """The carried plain commits that change a record or a policy file, oldest first, each with its state."""
        self.states_before: dict[str, object] = {}
        found: dict[str, object] = {}
        for oid in sorted(carried, key=self.order.index):
            parents = self.commits[oid].parents
            if len(parents) != 1:
                continue
            before, after = self.item(parents[0], item, bare=bare), self.item(oid, item, bare=bare)
            if before != after:
                found[oid], self.states_before[oid] = after, before
        return found

    def item(self, oid: str, item: str, *, bare: bool = False) -> object:
        """The state of a record, or the version of a policy file; of trees that cannot be read, one like no other.

        What is ``bare`` is the same in an archive as it was in a file.
        """
        here = self.snaps[oid]
        if not self.raw[oid].sound:
            return object()
        if not item.startswith("esc_"):
            return here.files.get(item)
        state = here.state(item)
        return frozenset((mode, data) for _, mode, data in state) if bare else state

    def merged_record(self, commit: Commit, name: str, was: At, then: At) -> None:
        first = commit.parents[0]
        old, new = self.snaps[first], self.snaps[commit.oid]
        before, after = old.state(name), new.state(name)
        carried = self.carried(commit.oid)
        path = path_in(after or before)
        blind = self.is_blind(carried) or self.is_named(new, self.reopens(new, name))
        if blind or {name, self.reopens(new, name)} & then.muddy:
            then.muddy.add(name)
            self.doubtful |= {commit.oid} | carried
        sure = self.sure and name not in then.muddy
        chains = self.chains(self.steps_of(name, carried), before, after)
        forks = {self.fork(first, self.commits[oid].parents[0]) for chain in chains for oid in chain}
        if not forks <= self.at.keys():
            # Before its start a store has no policies that one could go by.
            then.muddy.add(name)
            self.doubtful |= {commit.oid} | carried
            sure = False
        # Whether what only archives have done to it can be reopened, if wrongly, before that is accepted is not said.
        unclear = {name} if loose(before) == loose(after) else set()
        if not chains:
            then.muddy |= unclear
            # Where it was in an archive on the way, what was done to that may have deleted it.
            places = self.steps_of(name, carried) if layout.archive_at(path) else ()
            wrong = [self.report(commit.oid, "merge", path, name=name, places=places, sure=sure)]
            then.bad[name] = wrong
            return
        steps = self.steps_of(name, carried)
        tried = [self.chain_faults(commit, name, chain, was) for chain in chains]
        if not all(tried):
            rightly = [chain for chain, faults in zip(chains, tried, strict=True) if not faults]
            if name not in was.bad or any(
                not self.folds(oid, name, was) for chain in rightly for oid in chain
            ):
                if name in then.bad:
                    self.heal(name, then)
                then.legal[name] = after
                if name not in was.bad:
                    ends = [
                        self.record(self.snaps[oid].state(name))
                        for oid in rightly[0]
                        if not self.folds(oid, name, was)
                    ]
                    then.know(name, after, ends[-1] if ends else None, commit.at)
            return
        then.muddy |= unclear
        late = all(rule == "time" for _, rule, _ in tried[0])
        places = {oid for faults in tried for oid, _, _ in faults} if len(tried) > 1 or late else set()
        if self.file_fault(after) or any(len(self.snaps[oid].state(name)) > 1 for oid in chains[0]):
            # What is no record at all, at its end or on the way, may be the merge's own as well.
            places.add(commit.oid)
        around = [at for oid in steps for at in (oid, self.commits[oid].parents[0])]
        if any(loose(self.snaps[at].state(name)) != self.snaps[at].state(name) for at in around):
            # What was in an archive on the way may be taken for gone, and for there again.
            places |= {commit.oid, *steps}
        then.bad[name] = [
            self.report(oid, rule, where, name=name, places=places, sure=sure)
            for oid, rule, where in tried[0]
        ]
        then.muddy |= set() if self.sure else {name}

    def chain_faults(
        self, commit: Commit, name: str, chain: list[str], was: At
    ) -> list[tuple[str, str, str]]:
        """The violations (commit, rule, path) of a chain of carried steps of a record."""
        first = commit.parents[0]
        state, is_bad = self.snaps[first].state(name), name in was.bad
        tolerance = was.force.settings.claims.clock_tolerance
        faults: list[tuple[str, str, str]] = []
        for oid in chain:
            one, after = self.commits[oid], self.snaps[oid].state(name)
            path = path_in(after - state or state - after)
            if wrong := self.archive_faults(oid, name, was):
                return [*faults, *((oid, rule, where) for rule, where in wrong)]
            if self.folds(oid, name, was):
                state = after
                continue
            if is_bad:
                if not self.restored(name, after, one.email, was, was.force):
                    return [*faults, (oid, "restore", path)]
                state, is_bad = after, False
                continue
            wrong = self.carried_faults(commit, name, state, oid, was)
            if wrong:
                return [*faults, *((oid, rule, where) for rule, where in wrong)]
            state = after
        last = self.record(state)
        chain = [oid for oid in chain if not self.folds(oid, name, was)]
        if not chain:
            return faults
        restores = name in was.bad and len(chain) == 1
        if last and last.status == "claimed" and last.claim and last.claim.expires_at and not restores:
            until = last.claim.expires_at + tolerance
            if commit.at > until:
                return [*faults, (chain[-1], "time", layout.path_of(last))]
            if self.dated(commit) <= until:
                return faults
        for oid in chain:
            record = self.record(self.snaps[oid].state(name))
            if record is None:
                continue
            # What restores proposes nothing.
            date = self.dated(commit)
            when = date if oid == chain[0] and name in was.bad else record.last_time
            if when != record.last_time and date - record.last_time > PROPOSALS:
                self.doubtful.add(oid)
            if date - when > PROPOSALS:
                faults.append((oid, "time", layout.path_of(record)))
        return faults

    def carried_faults(
        self, commit: Commit, name: str, state: State, oid: str, was: At
    ) -> list[tuple[str, str]]:
        """The violations (rule, path) of one carried step of a record from a legal state."""
        first, one, after = self.before[commit.oid], self.commits[oid], self.snaps[oid].state(name)
        fork = self.fork(first, one.parents[0])
        there = self.at[fork].force if fork in self.at else Policies()
        tolerance = was.force.settings.claims.clock_tolerance
        claims = there.settings.claims.replace(clock_tolerance=tolerance)
        settings = there.settings.replace(claims=claims)
        mixed = replace(there, roster=was.force.roster, settings=settings)
        mixed = self.named(mixed, self.snaps[fork]) if fork in self.at else mixed
        around = [self.snaps[commit.oid]]
        wrong = self.judged(name, state, after, one, mixed, around)
        record = self.record(after)
        if record is not None and not state and record.reopens in self.bad:
            wrong = [("reopens", min(p for p, _, _ in after))]
        if not wrong and not state and record is not None and is_weaker(record, was.force):
            wrong = [("quorum", min(p for p, _, _ in after))]
        return wrong

    def folds(self, oid: str, name: str, was: At) -> bool:
        """Whether a commit moved a record into an archive."""
        return name in self.folding(oid, was.force)[1]

    def archive_faults(self, oid: str, name: str, was: At) -> list[tuple[str, str]]:
        """What is wrong with what a carried commit did to a record by an archive."""
        before, after = (self.snaps[at].state(name) for at in (self.commits[oid].parents[0], oid))
        is_archives = before - loose(before) != after - loose(after)
        return self.folding(oid, was.force)[0] if is_archives else []

    def merged_archives(self, commit: Commit, was: At) -> None:
        """An archive that a merge brings was made by a carried commit; and none changes."""
        old, new = self.snaps[commit.parents[0]], self.snaps[commit.oid]
        for path in sorted(old.archives().keys() | new.archives().keys()):
            entry = new.files.get(path)
            if entry == old.files.get(path):
                continue
            carried = [oid for oid in self.carried(commit.oid) if self.changes(oid, path)]
            makers = [oid for oid, _ in self.plain_ones(carried) if self.snaps[oid].files.get(path) == entry]
            if path in old.files or not makers:
                rule = "archive" if path in old.files else "merge"
                self.report(commit.oid, rule, path, places=carried, sure=self.sure)
            elif all(self.folding(oid, was.force)[0] for oid in makers):
                for rule, where in self.folding(makers[0], was.force)[0]:
                    self.report(makers[0], rule, where, places=[*makers, commit.oid], sure=self.sure)
                # Whether what it took away counts as deleted, if the archive cannot be read, is not said.
                there = self.snaps[self.commits[makers[0]].parents[0]].files.keys()
                for where in sorted(filter(DATED.fullmatch, there - self.snaps[makers[0]].files.keys())):
                    self.report(makers[0], "deleted", where, sure=False)

    def merged_policy(self, commit: Commit, path: str, was: At, then: At) -> bool:
        """Whether a merge itself has acted to bring a policy file."""
        carried, new = self.carried(commit.oid), self.snaps[commit.oid]
        entry, steps = new.files.get(path), self.steps_of(path, carried)
        wrong = self.written(commit.oid, path, entry, was, new, carried)
        chains = self.chains(steps, self.snaps[commit.parents[0]].files.get(path), entry)
        if any(self.is_by_admins(chain, was) and not self.is_over(commit, path, chain) for chain in chains):
            self.write(then, path, entry, wrong)
            return False
        theirs = self.snaps[commit.parents[1]]
        acted = self.is_admin(commit.email, was.force) and self.is_admin_there(commit.email, theirs)
        acted = acted and was.force.roster is not None
        if PULL.match(commit.message) and not self.is_by_admins(steps, was):
            # Whoever pulls takes in what others have pushed, and approves none of it.
            acted = False
        if not acted:
            blind = self.is_blind(carried)
            # Without a roster the first one is free, and who merges which other is not said.
            then.fog = then.fog or blind or was.force.roster is None
            wrong.append(
                self.report(commit.oid, "policies", path, places=steps, sure=self.sure and not then.fog)
            )
            if path == WAIVERS and then.fog:
                for version in (entry, was.versions.get(WAIVERS)):
                    self.unclear_waivers |= waivers_in(self.data(version)) or set()
        else:
            wrong += self.signed(commit, True, was, path=path)
        self.write(then, path, entry, wrong)
        return acted

    def is_by_admins(self, some: Iterable[str], was: At) -> bool:
        made = map(self.commits.__getitem__, some)
        return all(self.is_admin(one.email, was.force) and self.is_proven(one, was.force) for one in made)

    def is_over(self, commit: Commit, path: str, chain: list[str]) -> bool:
        """Whether what admins have once made of a policy file is too old for others to merge, or was taken back since."""
        first, date = commit.parents[0], self.dated(commit)
        if any(date - self.commits[oid].at > PROPOSALS for oid in chain):
            return True
        left, line = self.fork(first, self.commits[chain[0]].parents[0]), self.line(first)
        since = line[: line.index(left) + 1] if left else line
        # Where no tree before one that cannot be read says what there was, nobody knows what it took back.
        if not all(self.snaps[oid].sound for oid in since[: len(since) if left is None else -1]):
            return True
        versions = [self.snaps[oid].files.get(path) for oid in since]
        gone = {old for new, old in pairwise(versions) if new != old}
        return bool(gone & {versions[0], *(self.snaps[oid].files.get(path) for oid in chain)})

    def dated(self, commit: Commit) -> datetime:
        """The date of a merge, which is no earlier than that of anything below it that acted, if that is signed."""
        before = self.before[commit.oid]
        if before is None or self.at[before].force.settings.signatures != "required":
            return commit.at
        return max(commit.at, self.newest(before, self.at[before].force))

    def newest(self, tip: str, force: Policies) -> datetime:
        """The newest date of a commit that acted up to another one, by the policies in force."""
        until = self.now + force.settings.claims.clock_tolerance
        if (tip, until) not in self.dates:
            some = [self.commits[oid] for oid in self.ancestors[tip]]
            dates = [
                one.at
                for one in some
                if one.at <= until
                and one.oid not in self.undated
                and (one.oid in self.acted or self.has_acted(one))
            ]
            self.dates[tip, until] = max(dates, default=LONG_AGO)
        return self.dates[tip, until]

    def has_acted(self, one: Commit) -> bool:
        if len(one.parents) > 1:
            return False
        if not one.parents:
            return has_store(self.raw[one.oid])
        return not self.raw[one.oid].sound or self.raw[one.oid].own != self.raw[one.parents[0]].own

    def dropped(self, commit: Commit, second: str, was: At) -> None:
        """What the side has and the merge has not, and the line never had."""
        first = self.before[commit.oid] or ""
        fork, line = self.fork(first, second), self.line(first)
        # What the line has had since the fork was done there already.
        line = line[: line.index(fork)] if fork else line
        there = self.snaps[second]
        base = self.snaps[fork] if fork else Snap([])
        if not there.sound or not base.sound:
            self.report(commit.oid, "dropped", "queue", sure=False)
            return
        both = self.is_admin(commit.email, was.force) and self.is_admin_there(commit.email, there)
        both = both and was.force.roster is not None
        carried = self.ancestors[second] - self.ancestors[first]
        clear = self.sure and self.raw[commit.oid].sound and not self.is_blind(carried)
        self.doubtful |= set() if clear else {commit.oid}
        for path in sorted(there.archives().keys() | base.archives().keys()):
            entry = there.files.get(path)
            if entry not in [
                base.files.get(path),
                *(self.snaps[oid].files.get(path) for oid in [*line, commit.oid]),
            ]:
                self.report(commit.oid, "dropped", path, sure=clear)
        items = there.records() | base.records() | there.policies().keys() | base.policies().keys()
        for oid in carried:
            items |= self.snaps[oid].records() | self.snaps[oid].policies().keys()
        for item in sorted(items):
            name = item if item.startswith("esc_") else None
            # He acts by it, if he leaves anything out; but not what takes his own role.
            is_his = name is None and both
            self.doubtful |= {commit.oid} if is_his else set()
            goals = [self.item(oid, item, bare=True) for oid in [*line, commit.oid]]
            state = self.item(second, item, bare=True)
            whole = [self.item(oid, item) for oid in [*line, commit.oid, *([fork] if fork else [])]]
            changed = state != self.item(fork, item, bare=True) if fork else state not in (ABSENT, None)
            left = changed and state not in goals
            if not is_his and (left or self.item(second, item) not in (*whole, ABSENT, None)):
                # One that no legal step has made may be called dropped, or not.
                files = there.state(item) or base.state(item) if name else ABSENT
                path = path_in(files) if files else item
                self.report(commit.oid, "dropped", path, name=name, sure=False)
            steps = self.steps_of(item, carried, bare=True)
            before = dict(self.states_before)
            legal = [oid for oid in steps if self.is_legal(commit, item, oid, was)]
            if fork:
                # Who has legally taken back what he changed wants nothing of it.
                goals.append(self.item(fork, item, bare=True))
            # What the line has had since a commit's own branch left it was done there already.
            done = {oid for oid in legal if self.line_had(first, oid, item, steps[oid])}
            lost = self.is_lost(legal, legal, steps, before, goals, done)
            if lost:
                # Where the merge has changed it, its chain is judged, and what is illegal in it named there.
                judged = self.item(first, item) != self.item(commit.oid, item)
                named = judged and not self.is_lost(legal, list(steps), steps, before, goals, done)
                files = (
                    there.state(item) or base.state(item) or self.snaps[legal[-1]].state(item)
                    if name
                    else ABSENT
                )
                path = path_in(files) if files else item
                sure = clear and not named and name not in was.muddy and not is_his
                self.report(commit.oid, "dropped", path, name=name, sure=sure)

    def line_had(self, first: str, oid: str, item: str, state: object) -> bool:
        """Whether the line had what a carried commit made, when the commit's branch left it or since then."""
        left, line = self.fork(first, self.commits[oid].parents[0]), self.line(first)
        return any(
            self.item(at, item, bare=True) == state for at in (line[: line.index(left) + 1] if left else line)
        )

    def is_lost(
        self,
        legal: list[str],
        ways: list[str],
        after: Mapping[str, object],
        before: Mapping[str, object],
        goals: list[object],
        done: set[str],
    ) -> bool:
        """Whether nothing leads on from what some legal step has made to where it had to come."""

        def goes_on(oid: str) -> bool:
            following = [
                to for to in ways if to != oid and oid in self.ancestors[to] and before[to] == after[oid]
            ]
            return after[oid] in goals or oid in done or any(map(goes_on, following))

        return not all(map(goes_on, legal))

    def is_legal(self, commit: Commit, item: str, oid: str, was: At) -> bool:
        """Whether a carried step of a record or policy file is legal, wherever it leads."""
        one, first = self.commits[oid], self.before[commit.oid] or ""
        if not item.startswith("esc_"):
            there = self.snaps[one.parents[0]]
            proven = self.is_proven(one, was.force)
            return proven and self.is_admin(one.email, was.force) and self.is_admin_there(one.email, there)
        state = self.item(one.parents[0], item)
        if not isinstance(state, frozenset) or not isinstance(self.item(oid, item), frozenset):
            return False
        if self.folding(oid, was.force)[0]:
            # What is done beside a compaction is not legal either.
            return False
        if item in was.bad and self.item(one.parents[0], item, bare=True) == self.item(
            first, item, bare=True
        ):
            # Moving an illegal record into an archive does not change it.
            return self.restored(item, self.snaps[oid].state(item), one.email, was, was.force)
        return not self.carried_faults(commit, item, state, oid, was)

    def carried_merges(self, commit: Commit, was: At) -> None:
        """Carried merges have, for each record and policy file, what one of their parents has."""
        if not self.raw[commit.oid].sound:
            self.doubtful |= self.carried(commit.oid)
            return
        for oid in sorted(self.carried(commit.oid), key=self.order.index):
            one = self.commits[oid]
            if len(one.parents) > 1 and self.is_admin(one.email, was.force):
                # What he authors by it is his to sign and to date.
                self.doubtful.add(oid)
            elif len(one.parents) > 1:
                self.carried_merge(oid)

    def carried_merge(self, oid: str) -> None:
        """What one of them has that none of its parents has."""
        one = self.commits[oid]
        snaps = [self.snaps[parent] for parent in one.parents]
        here = self.snaps[oid]
        sure = self.sure and here.sound and all(there.sound for there in snaps)
        if not sure:
            self.doubtful.add(oid)
        for name in sorted(here.records().union(*(there.records() for there in snaps))):
            after, before = loose(here.state(name)), loose(snaps[0].state(name))
            if all(after != loose(there.state(name)) for there in snaps):
                self.report(oid, "merge", path_in(after - before or before - after), name=name, sure=sure)
            elif all(here.state(name) != there.state(name) for there in snaps):
                # What it has made of archives is found where they are brought.
                self.report(oid, "merge", "queue", name=name, sure=False)
        for path in sorted(here.policies().keys() | {p for there in snaps for p in there.policies()}):
            if all(here.files.get(path) != there.files.get(path) for there in snaps):
                self.report(oid, "merge", path, sure=sure)

    # --- the answer ---

    def verdict(self, line: list[str], start: str) -> Verdict:
        last = self.at[self.tip]
        listed = waivers_in(self.data(last.versions.get(WAIVERS))) or set()
        counting = {waiver for waiver in self.added if waiver in listed}
        if self.is_murky:
            self.found = [replace(one, sure=False) for one in self.found]
            self.doubtful |= self.commits.keys()
        violations, waived = [], []
        for one in self.found:
            unclear = self.is_waived(one, self.unclear_waivers) or not is_exact(one)
            if not self.is_waived(one, counting | self.unclear_waivers):
                violations.append(one)
            elif self.is_waived(one, counting):
                waived.append(replace(one, sure=one.sure and not unclear))
                if unclear:
                    violations.append(replace(one, sure=False))
            else:
                violations.append(replace(one, sure=one.sure and not unclear))
                if unclear:
                    waived.append(replace(one, sure=False))
        return Verdict(
            violations, waived, dict(self.released(violations, waived, line)), line, last, self.doubtful
        )

    def doubts(self, name: str) -> set[str]:
        """What reopens a record, and what reopens that, whatever forgers have made of them at the tip."""
        here, last = self.snaps[self.tip], self.at[self.tip]
        found = {name}
        while True:
            more = {
                other
                for other in here.records() | last.bad.keys()
                for state in (
                    here.state(other),
                    last.legal.get(other, ABSENT) if other in last.bad else ABSENT,
                )
                if (one := self.record(state)) is not None and one.reopens in found
            }
            if more <= found:
                return found - {name}
            found |= more

    def released(
        self, violations: list[Found], waived: list[Found], line: list[str]
    ) -> Iterator[tuple[str, bool | None]]:
        """For each resolved record of the tip, whether its outcome may be believed."""
        here, last = self.snaps[self.tip], self.at[self.tip]
        # What is about no record is about all, unless it is only said or lies beside them.
        beside = {"message", "foreign", "compaction", "file"}
        general = [one for one in violations if one.name is None and one.rule not in beside]
        clear = {"tree", "start", "root", "policies", "merge", "dropped"}
        # What a merge of the line may leave out is where the rules say least.
        unsure = any(len(self.commits[oid].parents) > 1 for oid in self.doubtful.intersection(line))
        for name in sorted(here.records()):
            record = self.record(here.state(name))
            if record is None or record.resolution is None:
                continue
            names, at = {name}, record
            while at is not None and at.reopens and at.reopens not in names:
                names.add(at.reopens)
                at = self.record(here.state(at.reopens))
            if record.resolution.outcome in RELEASING:
                names |= self.doubts(name)
            touched = [one for each in names for one in self.touched.get(each, ())]
            mine, accepted = (
                [one for one in some if (one.name in names or one in touched) and one not in self.healed]
                for some in (violations, waived)
            )
            is_bad = any(each in last.bad and each not in last.muddy for each in names)
            surely = [one for one in general if one.rule in clear and not layout.archive_at(one.path)]
            against = surely + mine + accepted
            # A waiver of what was done to archives does not say that what they hold is true.
            is_bad = is_bad or any(one.sure for one in touched)
            if is_bad or any(one.sure for one in against) or self.is_imported(name):
                yield name, False
            elif general or against or waived or unsure or name in last.unclear or names & self.brushed:
                yield name, None
            else:
                yield name, record.resolution.outcome in RELEASING


def is_over(month: str, at: datetime) -> bool:
    """Whether a month such as `2026/03` is over."""
    return month < at.strftime("%Y/%m") and "01" <= month[5:] <= "12" and month[:4] != "0000"


def is_exact(one: Found) -> bool:
    """Whether the rules say how a violation is called and where it is, as a waiver must name it."""
    return len(one.places) == 1 and one.rule in EXACT and one.path != KT_YAML


#: Of which record, how it may be called, by whom, with which outcome, under which claims, under which release id.
Step = tuple[str, set[str], str | None, str | None, set[str], str | None]


def fits(group: Group, step: Step, name: str | None, roster: object) -> bool:
    """Whether a step is what a group says."""
    about, actions, actor, outcome, claims, release = step
    return (
        name in (None, about)
        and (group.action is None or group.action in actions)
        and (group.actor is None or person(roster, group.actor) == person(roster, actor or ""))
        and (group.outcome is None or group.outcome == outcome)
        and (group.claim is None or group.claim in claims)
        and (group.release is None or group.release == release)
    )


def is_early(old: Record, new: Record, at: datetime, policies: Policies) -> bool:
    """Whether a commit's date is before the deadline that it enforces."""
    end = None
    if new.resolution is not None and new.resolution.outcome == "expired" and old.requires.resolve_within:
        end = old.raised_at + old.requires.resolve_within
    elif new.route.source == "fallback" != old.route.source and old.requires.claim_within:
        end = old.queued_at + old.requires.claim_within
    elif old.claim is not None and old.claim.expires_at is not None and old.route == new.route:
        new_ids = [
            one.claim_id for one in (*new.reviews[len(old.reviews) :], *([new.claim] if new.claim else []))
        ]
        if new_ids and old.claim.claim_id not in new_ids:
            # It was claimed over, in whatever number of steps.
            end = old.claim.expires_at + policies.settings.claims.clock_tolerance
    return end is not None and at < end.replace(microsecond=0)


def is_weaker(record: Record, policies: Policies) -> bool:
    """Whether a birth asks for less than the policies would."""
    route = record.route if record.route.source == "event" else policies.route(record.provider, record.model)
    asked = policies.settings.requirements(
        severity=record.severity, reason_code=record.reason_code, provider=record.provider, model=record.model,
        policy=record.policy, route=route,
    )  # fmt: skip
    mine, least = record.requires.resolve_within, asked.resolve_within
    valid, most = record.requires.valid_for, asked.valid_for
    return (
        record.requires.approvals < asked.approvals
        or (least is not None and (mine is None or mine > least))
        or (most is not None and (valid is None or valid > most))
        or bool(asked.single_use and not record.requires.single_use)
    )
