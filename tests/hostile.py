"""Hostile graphs: what somebody with push rights, or a careless hand, may make of a store's history.

A graph is made from one number, the same one from the same number. Its honest part is taken by the
package's own transitions; mixed with it are forged steps, policies and waivers by anybody, merges of any
two commits with any tree, and trees that git reads and a strict reader refuses. Objects are made here,
byte by byte, since git's own tools put such trees right; thousands of graphs go into a repository as one
pack.
"""

from __future__ import annotations

import base64
import re
import subprocess
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha1, sha256, sha512
from pathlib import Path
from random import Random

import oracle
import use_rules
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import strategies as st

from kt_escalation import KtError
from kt_escalation.errors import NotAllowed
from kt_escalation.model import archive_file, ids
from kt_escalation.model.record import Fallback, Record, Resolution
from kt_escalation.model.vocabulary import DECISIONS
from kt_escalation.policies.decision_event import from_record
from kt_escalation.policies.policy_set import Policies
from kt_escalation.rules import creation, due_actions, transitions
from kt_escalation.rules.permissions import Actor, actor
from kt_escalation.storage import layout, lookup, yaml_text
from kt_escalation.storage.commit_message import Message

PLAIN, FOLDER = "100644", "40000"
#: A file as a tree has it: its mode and its blob.
File = tuple[str, str]
Entry = tuple[str, bytes, str]

PACK, ROSTER = "policies/policy-config.yaml", "policies/roster.yaml"
SETTINGS, WAIVERS, KT_YAML = "policies/settings.yaml", "policies/waivers.yaml", ".kt.yaml"
PEOPLE = ("alice", "bob", "carol", "boss", "gw")
STRANGER = "mallory"
ROLES = {"alice": "[reviewer]", "bob": "[reviewer]", "carol": "[reviewer, admin]", "boss": "[admin]",
         "gw": "[gateway, reviewer]", "mallory": "[reviewer, admin]"}  # fmt: skip
PACKS = (
    "pack: {enabled: true}\n",
    "providers:\n  targets:\n    - id: openai\n      model: chat\n      escalation_routing: {team_id: legal}\n",
    "providers:\n  targets:\n    - id: openai\n      model: chat\n      escalation_routing: {user_id: bob}\n",
)
RULES = (
    "",
    "rules:\n  - match: {severity: high}\n    approvals: 2\n",
    "rules:\n  - claim_within: 30m\n    resolve_within: 3h\n    fallback: {team_id: legal}\n",
)
#: Those of decisions for one use.
SINGLE = (
    "rules: [{single_use: true}]\n",
    "rules: [{single_use: true, valid_for: 2h}]\n",
    "rules:\n  - {match: {severity: high}, single_use: true}\n  - {valid_for: 1h, single_use: true, approvals: 2}\n",
)
#: Names that some file system takes for the store's own.
DISGUISES = (b".GIT", b".git", b"Queue", b"QUEUE", b"policies ", b"Policies", b"policies.", b".Kt.yaml",
             "queue\u200c".encode(), b"GIT~1", b".git ")  # fmt: skip


#: Encodings of messages, each with Python's name of it; in the first three git shows no author of a commit.
ENCODINGS = {"UCS-2": "ascii", "UTF-16": "utf-16", "IBM037": "cp037", "UTF-7": "utf-7", "HZ": "ascii", "ISO-2022-JP": "iso2022_jp",
             "": "utf-8", "none of all": "utf-8", "ISO-8859-1//TRANSLIT": "latin-1", "Utf8": "utf-8", "ISO-8859-1": "latin-1",
             "windows-1251": "cp1251", "EUC-JP": "euc_jp", "Shift_JIS": "shift_jis"}  # fmt: skip
#: Other ways to write a commit that others read in another way: headers twice, a NUL, headers without an end.
TWO_WAYS = ("two authors", "two committers", "two encodings", "a NUL", "no end")


def email(who: str) -> str:
    return f"{who}@example.com"


class Forge:
    """Objects made by hand."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[str, bytes]] = {}

    def add(self, kind: str, data: bytes) -> str:
        oid = sha1(b"%s %d\0" % (kind.encode(), len(data)) + data, usedforsecurity=False).hexdigest()
        self.objects[oid] = (kind, data)
        return oid

    def blob(self, data: bytes | str) -> str:
        return self.add("blob", data.encode() if isinstance(data, str) else data)

    def tree(self, entries: Iterable[Entry]) -> str:
        return self.add(
            "tree", b"".join(b"%s %s\0" % (m.encode(), n) + bytes.fromhex(o) for m, n, o in entries)
        )

    def folder(self, files: Mapping[str, File], at: str = "", spoil: Spoil | None = None) -> str:
        """The tree of files given by path; ``spoil`` may change the entries of any folder."""
        inside: dict[str, dict[str, File]] = {}
        entries: list[Entry] = []
        for path, (mode, oid) in files.items():
            name, slash, rest = path.partition("/")
            if slash:
                inside.setdefault(name, {})[rest] = (mode, oid)
            else:
                entries.append((mode, name.encode(), oid))
        for name, some in inside.items():
            entries.append((FOLDER, name.encode(), self.folder(some, f"{at}{name}/", spoil)))
        entries.sort(key=lambda one: one[1] + b"/" * (one[0] == FOLDER))
        return self.tree(spoil(at, entries) if spoil else entries)

    def commit(self, tree: str, parents: Sequence[str], by: str, at: datetime | int, message: str,
               committer: str | None = None, encoding: str = "utf-8", sign: Callable[[bytes], str] | None = None) -> str:  # fmt: skip
        seconds = at if isinstance(at, int) else int(at.timestamp())
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [
            f"author Somebody <{by}> {seconds} +0000",
            f"committer Somebody <{committer or by}> {seconds} +0000",
        ]
        words = message.encode()
        if encoding in TWO_WAYS:
            more = {"two authors": [lines[-2].replace(by, "carol@example.com")], "two committers": [lines[-1]],
                    "two encodings": ["encoding UTF-8"] * 2}.get(encoding, [])  # fmt: skip
            data = "\n".join([*lines, *more]).encode() + (b"\n" if encoding == "no end" else b"\n\n" + words)
            return self.add("commit", data + b"\0more" if encoding == "a NUL" else data)
        if encoding != "utf-8":
            lines.append(f"encoding {encoding}")
            words = message.encode(ENCODINGS[encoding], "replace")
        if encoding == "UTF-7":
            # A letter may be written in more than one way, also in the time's zone, where git must find none such.
            lines = [line.replace("+0000", "-0000") for line in lines]
            words = message.replace("k", "+AGs-").replace("K", "+AEs-").encode("ascii", "replace")
        if sign is not None:
            signature = sign("\n".join(lines).encode() + b"\n\n" + words)
            lines.append("gpgsig " + signature.replace("\n", "\n ") if signature else "")
        return self.add("commit", "\n".join(filter(None, lines)).encode() + b"\n\n" + words)


Spoil = Callable[[str, list[Entry]], list[Entry]]


def write(forges: Iterable[Forge], repository: Path, refs: Mapping[str, str]) -> None:
    """Put all objects into a repository as one pack, as they are, and let refs name commits."""
    everything = {oid: made for forge in forges for oid, made in forge.objects.items()}
    kinds = {"commit": 1, "tree": 2, "blob": 3}
    parts = [b"PACK" + (2).to_bytes(4) + len(everything).to_bytes(4)]
    for kind, data in everything.values():
        size, byte = len(data) >> 4, kinds[kind] << 4 | len(data) & 15
        while size:
            parts.append(bytes([byte | 128]))
            byte, size = size & 127, size >> 7
        parts += [bytes([byte]), zlib.compress(data, 1)]
    pack = b"".join(parts)
    pack += sha1(pack, usedforsecurity=False).digest()
    named = "".join(f"create {name} {oid}\n" for name, oid in refs.items()).encode()
    for command, stdin in ((("index-pack", "--stdin"), pack), (("update-ref", "--stdin"), named)):
        subprocess.run(["git", *command], cwd=repository, input=stdin, check=True, capture_output=True)


# --- signatures ---------------------------------------------------------------------------------------


@cache
def key(who: str) -> tuple[Ed25519PrivateKey, bytes]:
    """A person's key, and its public half as SSH sends it."""
    made = Ed25519PrivateKey.from_private_bytes(sha256(who.encode()).digest())
    return made, _ssh(b"ssh-ed25519", made.public_key().public_bytes_raw())


def signature(who: str, payload: bytes) -> str:
    """An SSH signature in git's namespace (OpenSSH, PROTOCOL.sshsig)."""
    private, public = key(who)
    parts = (b"git", b"", b"sha512")
    signed = private.sign(b"SSHSIG" + _ssh(*parts, sha512(payload).digest()))
    blob = b"SSHSIG" + (1).to_bytes(4) + _ssh(public, *parts, _ssh(b"ssh-ed25519", signed))
    text = base64.b64encode(blob).decode()
    lines = [text[n : n + 70] for n in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----"])


def _ssh(*strings: bytes) -> bytes:
    return b"".join(len(one).to_bytes(4) + one for one in strings)


@dataclass
class Signing:
    """Who signs what, and whose keys a roster lists: mostly as it should be."""

    random: Random
    #: How often somebody signs as nobody should.
    oddity: float

    def listed(self, text: str) -> str:
        """A roster with keys."""

        def user(found: re.Match[str]) -> str:
            who = (
                found[1]
                if self.random.random() > self.oddity / 2
                else self.random.choice((*PEOPLE, STRANGER))
            )
            line = f"ssh-ed25519 {base64.b64encode(key(who)[1]).decode()}"
            return found[0][:-1] + f', signing_keys: ["{line}"]' + "}"

        return re.sub(r"\{user_id: (\w+), .*\}", user, text)

    def of(self, by: str, is_merge: bool) -> Callable[[bytes], str] | None:
        """What signs a commit, if anything does: its author, somebody else, or something that does not hold."""
        chance, other = self.random.random(), self.random.choice((*PEOPLE, STRANGER))
        if chance < (0.5 if is_merge else self.oddity):
            return None
        if chance > 1 - self.oddity / 2:
            return lambda payload: signature(by, payload + b"more")
        who = other if chance > 1 - self.oddity else by
        return lambda payload: signature(who, payload)


# --- policies -----------------------------------------------------------------------------------------


def roster(*people: str, admins: Sequence[str] = ("carol", "boss", "mallory")) -> str:
    """A roster of some people; who is not among the admins has not that role."""
    members = ", ".join(who for who in people if who != "boss")
    lines = ["teams:", f"  - {{team_id: legal, members: [{members}]}}", "users:"]
    for who in people:
        roles = (
            ROLES[who] if who in admins else ROLES[who].replace(", admin", "").replace("[admin]", "[auditor]")
        )
        lines.append(f"  - {{user_id: {who}, emails: [{email(who)}], roles: {roles}}}")
    return "\n".join(lines) + "\n"


def settings(rules: str = "", lease: str = "", *, signed: bool = False) -> str:
    """Settings with some rules, a lease (`1h`), and whether signatures are required."""
    text = f"claims: {{clock_tolerance: 1m{f', lease: {lease}' if lease else ''}}}\n"
    return text + ("signatures: required\n" if signed else "") + rules


def waivers(lines: Iterable[tuple[str, str, str]]) -> str:
    """A `waivers.yaml` of (commit, rule, path)."""
    text = "".join(
        f'  - {{commit: "{commit}", rule: {rule}, path: "{path}", reason: accepted}}\n'
        for commit, rule, path in lines
    )
    return f"waivers:\n{text}" if text else "waivers: []\n"


# --- graphs -------------------------------------------------------------------------------------------


@dataclass
class Branch:
    """Where a branch stands."""

    tip: str
    files: dict[str, File]


@dataclass
class Graph(Forge):
    """A graph that is being made: its commits with their files as they should be, and what was done."""

    seed: int
    now: datetime = datetime(2026, 11, 23, 10, tzinfo=UTC)
    tip: str = ""
    files: dict[str, dict[str, File]] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    story: list[str] = field(default_factory=list)
    signing: Signing | None = None

    def __post_init__(self) -> None:
        super().__init__()

    def put(self, branch: Branch, changes: Mapping[str, bytes | str | File | None], by: str, message: str, *,
            parents: Sequence[str] | None = None, at: datetime | int | None = None, spoil: Spoil | None = None,
            committer: str | None = None, encoding: str = "utf-8", what: str = "") -> str:  # fmt: skip
        """One commit on a branch."""
        files = dict(branch.files)
        over = (branch.tip,) if parents is None else tuple(parents)
        sign = None
        if self.signing is not None:
            sign = self.signing.of(by.partition("@")[0], len(over) > 1)
        for path, data in changes.items():
            if data is None:
                files.pop(path, None)
            elif self.signing is not None and path == ROSTER and isinstance(data, str):
                files[path] = PLAIN, self.blob(self.signing.listed(data))
            else:
                files[path] = data if isinstance(data, tuple) else (PLAIN, self.blob(data))
        tree = self.folder(files, spoil=spoil)
        when = self.now if at is None else at
        oid = self.commit(tree, over, by, when, message, committer, encoding, sign)
        self.files[oid], self.parents[oid] = files, over
        branch.tip, branch.files = oid, files
        self.story.append(
            f"{oid[:8]} <- {' '.join(p[:8] for p in over)}: {by.partition('@')[0]} {what or message.split(chr(10))[0]}"
        )
        return oid

    def ancestors(self, oid: str) -> set[str]:
        found: set[str] = set()
        waiting = [oid]
        while waiting:
            at = waiting.pop()
            if at not in found:
                found.add(at)
                waiting += self.parents[at]
        return found

    def data(self, file: File) -> bytes:
        return self.objects[file[1]][1]

    def policies(self, branch: Branch) -> Policies:
        """The policies as a branch has them."""
        below = {p.removeprefix("policies/"): f for p, f in branch.files.items() if p.startswith("policies/")}
        tree = self.folder(below) if below else None
        files = [
            (f"policies/{name}", self.data(file))
            for name, file in below.items()
            if f"policies/{name}" != WAIVERS
        ]
        return oracle.policies_of(tree, tuple(files))

    def records(self, branch: Branch) -> dict[str, Record]:
        """The records of a branch that can be read, by id."""
        found = {}
        for path, file in sorted(branch.files.items()):
            if oracle.is_record(path) and self.objects[file[1]][0] == "blob":
                record = oracle.parsed(self.data(file))
                if record is not None and layout.id_of(path) == record.escalation_id:
                    found[record.escalation_id] = record
        for name, data in self.archived(branch).items():
            if (record := oracle.parsed(data)) is not None:
                found.setdefault(name, record)
        return found

    def archived(self, branch: Branch) -> dict[str, bytes]:
        """The records in a branch's archives, by id."""
        found: dict[str, bytes] = {}
        for path in sorted(branch.files):
            beside = branch.files.get(path.removesuffix("yaml") + "ids")
            is_archive = oracle.ARCHIVE.fullmatch(path) and path.startswith("queue/resolved/")
            if is_archive and path.endswith(".yaml") and beside is not None:
                found |= oracle.pieces_of(self.data(branch.files[path]), self.data(beside)) or {}
        return found

    def paths(self, branch: Branch, name: str) -> list[str]:
        return [path for path in branch.files if oracle.is_record(path) and layout.id_of(path) == name]

    def written(self, branch: Branch, record: Record) -> dict[str, bytes | None]:
        """The changes that give a record its new state."""
        gone: dict[str, bytes | None] = dict.fromkeys(self.paths(branch, record.escalation_id))
        return {**gone, layout.path_of(record): yaml_text.dumps(record)}


def merged(
    graph: Graph, ours: str, theirs: str, random: Random | None = None, oddity: float = 0.0
) -> dict[str, File]:
    """The files of a merge as git makes it, of one record (or other file) at a time.

    Where both sides have changed it, chance takes one of them; with ``oddity``, anywhere any state at all.
    """
    random = random or Random(0)
    common = graph.ancestors(ours) & graph.ancestors(theirs)
    best = [
        at for at in graph.files if at in common and not any(at in graph.ancestors(o) for o in common - {at})
    ]
    sides = [graph.files[best[-1]] if best else {}, graph.files[ours], graph.files[theirs]]
    found: dict[str, File] = {}
    # Of archives that both have made the one is taken, or the other, with all of their month.
    months = {_month(p) for p in sides[1].keys() | sides[2].keys() if oracle.ARCHIVE.fullmatch(p)
              and sides[0].get(p) != sides[1].get(p) != sides[2].get(p) != sides[0].get(p)}  # fmt: skip

    def item_of(path: str) -> str:
        return _month(path) if _month(path) in months else _item(path)

    for item in sorted({item_of(path) for side in sides for path in side}):
        was, here, there = ({p: f for p, f in side.items() if item_of(p) == item} for side in sides)
        chosen = there if here == was else here if there == was else random.choice((here, there))
        if random.random() < oddity:
            chosen = random.choice((was, here, there))
        found |= chosen
    return found


#: From these numbers on graphs have withdrawals; decisions for one use; what comes again or late; and signatures.
DOUBTING, USING, RETURNING, SIGNING = 20_000, 40_000, 100_000, 200_000


def make(seed: int) -> Graph:
    """The graph that a number stands for."""
    return _Maker(Random(seed), seed).run()


def graphs() -> st.SearchStrategy[Graph]:
    """Any graph.

    Of a number, and not of single choices: a graph goes on from what the oracle says of it so far, which remembers equal
    sets in the order in which it met them first.
    """
    kinds = st.sampled_from((0, DOUBTING, USING, RETURNING, SIGNING))
    return st.builds(lambda first, more: make(first + more), kinds, st.integers(0, 9_999))


class _Maker:
    """Makes one graph."""

    def __init__(self, random: Random, seed: int = -1) -> None:
        self.random = random
        self.graph = Graph(seed)
        self.raised = 0

    def run(self) -> Graph:
        graph, random = self.graph, self.random
        if random.random() < 0.4:
            # Some month is soon over.
            graph.now += timedelta(days=7, hours=random.randrange(16))
        #: Whether there is a past that can be folded.
        self.is_old = random.random() < 0.4
        # In these, decisions are doubted often, and who doubted or asked may take that back. Those before stay as they were.
        self.doubts, self.uses = graph.seed >= DOUBTING, graph.seed >= USING
        # In these, what was taken back or is late often comes again.
        self.signs = graph.seed >= SIGNING
        self.returns = graph.seed >= RETURNING and not (self.signs and graph.seed % 2)
        if self.signs:
            signing = Random(graph.seed)
            graph.signing = Signing(signing, signing.choice((0.0, 0.02, 0.1)))
        graph.now -= timedelta(days=35) * self.is_old
        main = self.begin()
        if self.is_old:
            self.decide(main)
            if self.uses:
                for does in (self.use, self.use, self.answer, self.answer):
                    self.pass_time()
                    does(main)
            graph.now += timedelta(days=35)
        for _ in range(2 * self.uses):
            self.decide(main)
        self.branches = [main]
        #: How hostile it is: not at all, one attack, some.
        self.hostility = random.choice((0.0, 0.1, 0.1, 0.3, 0.5))
        #: Every tip that the main branch had.
        tips = [main.tip]
        steps = random.randint(5, 22)
        #: When somebody lays hands on what was folded.
        worst = random.randrange(steps) if self.is_old and self.hostility and random.random() < 0.5 else None
        for number in range(steps):
            self.pass_time()
            if number == worst:
                self.compact(main)
                self.damage_archive(main)
            branch = main if random.random() < 0.6 else random.choice(self.branches)
            self.attack(branch) if random.random() < self.hostility else self.honest(branch)
            tips.append(main.tip)
        for side in self.branches[1:]:
            if random.random() < 0.5:
                self.pass_time()
                self.merge(main, side.tip)
                tips.append(main.tip)
        kept = [tip for tip in tips if {ROSTER, SETTINGS} & graph.files[tip].keys()
                or any(path.startswith("queue/") for path in graph.files[tip])]  # fmt: skip
        graph.tip = kept[-1]
        graph.now += timedelta(hours=1)
        return graph

    # --- how it begins ---

    def begin(self) -> Branch:
        random, graph = self.random, self.graph
        branch = Branch("", {})
        graph.put(
            branch,
            {"README.md": "Hello\n", "src/main.py": "1\n"},
            email("boss"),
            "A repository\n",
            parents=(),
        )
        self.root = branch.tip
        files: dict[str, str | bytes] = {".gitkeep": ""} if random.random() < 0.1 else {}
        if random.random() < 0.85:
            files[ROSTER] = roster(*PEOPLE)
        if random.random() < 0.7 or ROSTER not in files:
            files[SETTINGS] = self.settings()
        if random.random() < 0.7:
            files[PACK] = random.choice(PACKS)
        if random.random() < 0.3:
            files[WAIVERS] = waivers(())
        if random.random() < 0.15:
            # A set-up that comes by a merge.
            side = Branch(branch.tip, dict(branch.files))
            graph.put(side, files, email("boss"), "A store in it\n")
            for _ in range(random.randint(0, 2)):
                self.legal(side)
            if random.random() < 0.5:
                graph.put(branch, {"src/main.py": "2\n"}, email("bob"), "code\n")
            changes = {p: f for p, f in side.files.items() if not p.startswith("src/")}
            graph.put(branch, changes, email("alice"), "Merge the set-up\n", parents=(branch.tip, side.tip))
        elif random.random() < (0.35 if self.is_old else 0.15):
            # One that was elsewhere before, as it stands.
            scratch = Branch(
                branch.tip, {**branch.files, **{p: (PLAIN, graph.blob(t)) for p, t in files.items()}}
            )
            old = random.random() < 0.4
            if old:
                graph.now -= timedelta(days=35)
            for _ in range(random.randint(1, 6 if old else 4)):
                self.pass_time()
                used = self.used(scratch) if self.uses and random.random() < 0.3 else None
                if (step := used or self.step(scratch)) is not None:
                    files |= {path: data for path, data in step[0].items() if data is not None}
                    for path in [path for path, data in step[0].items() if data is None]:
                        files.pop(path, None)
                    scratch.files = {**branch.files, **{p: (PLAIN, graph.blob(t)) for p, t in files.items()}}
            if old:
                graph.now += timedelta(days=35)
                if random.random() < 0.6 and (folded := self.folded(scratch)):
                    folded = self.misfold(scratch, folded) if random.random() < 0.2 else folded
                    files |= {path: data for path, data in folded.items() if data is not None}
                    files = {path: data for path, data in files.items() if folded.get(path, b"") is not None}
            if random.random() < 0.1:
                files["queue/esc_r1.yaml"] = random.choice(("- no\n", "# so\n"))
            spoil = self.spoiling(scratch) if random.random() < 0.1 else None
            graph.put(branch, files, email("boss"), "A store in it\n", spoil=spoil, what="imports")
        else:
            graph.put(branch, files, email("boss"), "A store in it\n")
        return branch

    def decide(self, branch: Branch) -> None:
        """Some are raised and decided."""
        graph, random = self.graph, self.random
        for _ in range(random.randint(1, 3)):
            name, taker = "", ""
            for who in ("gw", random.choice(("alice", "bob")), ""):
                self.pass_time()
                records, taker = graph.records(branch), who or taker
                one = actor(email(taker), graph.now, graph.policies(branch))
                with suppress(KtError, ValueError):
                    if who == "gw":
                        made = self.born(one, "c0")
                        name = made.escalation_id
                    elif who:
                        made = transitions.claim(records[name], one, f"c{self.raised}")
                    else:
                        made = transitions.resolve(records[name], one, random.choice(DECISIONS), "because")
                    graph.put(
                        branch, graph.written(branch, made), email(taker), "by hand\n", what=f"decides {name}"
                    )

    def settings(self) -> str:
        random = self.random
        rules = random.choice(SINGLE if self.uses and random.random() < 0.8 else RULES)
        return settings(
            rules, random.choice(("", "", "1h")), signed=random.random() < (0.85 if self.signs else 0.03)
        )

    def pass_time(self) -> None:
        self.graph.now += timedelta(
            milliseconds=self.random.randrange(self.random.choice((1, 2_000, 900_000, 5_000_000)))
        )

    def anybody(self) -> str:
        return self.random.choice((*PEOPLE, STRANGER))

    def admin(self) -> str:
        return email(self.random.choice(("carol", "boss")))

    def maybe_admin(self) -> str:
        return self.admin() if self.random.random() < 0.6 else email(self.anybody())

    def somewhere(self) -> str:
        """Any commit at all."""
        return self.random.choice(list(self.graph.files))

    # --- what is honest, on its branch at least ---

    def honest(self, branch: Branch) -> None:
        if self.signs and self.random.random() < 0.1:
            self.be_ahead(branch)
            return
        if self.returns and self.random.random() < 0.3:
            self.random.choice((self.replay, self.replay, self.stall, self.lag, self.excuse))(
                self.branches[0]
            )
            return
        if self.uses and self.random.random() < 0.4:
            where = self.branches[0] if self.random.random() < 0.8 else branch
            self.random.choices((self.use, self.answer, self.take_back), (5, 4, 4))[0](where)
            return
        self.random.choices(
            (self.legal, self.policy, self.elsewhere, self.fork, self.join, self.update, self.cherry_pick, self.squash,
             self.restore, self.waive, self.request, self.compact, self.go_past, self.reopen),
            (24, 3, 2, 3, 4, 2, 2, 2, 2, 2, 8, 8 if self.is_old else 2, 2, 1),
        )[0](branch)  # fmt: skip

    def legal(self, branch: Branch) -> None:
        """A step that the branch's own policies allow somebody, if there is one."""
        step = self.step(branch)
        if step is None:
            return
        changes, who, message = step
        self.graph.put(branch, changes, email(who), message if self.random.random() < 0.7 else "by hand\n",
                       committer=email(self.anybody()) if self.random.random() < 0.05 else None)  # fmt: skip

    # --- decisions that are used ---

    def making(self, branch: Branch) -> use_rules.Uses:
        graph = self.graph
        return use_rules.Uses(
            self.random, branch.files, graph.data, graph.records(branch).values(), graph.now
        )

    def also(self, *more: Callable[[Branch], None]) -> tuple[Callable[[Branch], None], ...]:
        """What is done too where decisions are used."""
        return more if self.uses else ()

    def used(self, branch: Branch, *, answers: bool = False) -> tuple[use_rules.Changes, str, str] | None:
        """A release or receipt: what it changes, by whom, and what it says."""
        making = self.making(branch)
        made = making.answer() if answers else making.use()
        if made is None:
            return None
        action = "receipt" if answers else "release"
        text = str(Message(action, [made[2].escalation_id], made[1], release_id=made[2].release_id))
        return made[0], made[1], text if self.random.random() < 0.7 else "by hand\n"

    def use(self, branch: Branch, *, answers: bool = False) -> None:
        """Use a decision; it may be too late, doubted, or of a branch that nobody may release on."""
        if (made := self.used(branch, answers=answers)) is not None:
            self.graph.put(branch, made[0], email(made[1]), made[2], what=f"uses {' '.join(made[0])}")

    def answer(self, branch: Branch) -> None:
        self.use(branch, answers=True)

    def misuse(self, branch: Branch) -> None:
        """A release or receipt that is not as it should be, with words about it or without."""
        making = self.making(branch)
        made = making.forged((*PEOPLE, STRANGER))
        if made is None:
            self.use(branch)
            return
        who, names = self.random.choice((*PEOPLE, "gw", STRANGER)), sorted(map(use_rules.id_of, made[1]))
        action = self.random.choice(("release", "receipt"))
        text = str(Message(action, names[:1], who, release_id="T"))
        self.graph.put(
            branch,
            made[1],
            email(who),
            text if self.random.random() < 0.3 else "by hand\n",
            what=f"{made[0]} {' '.join(made[1])}",
        )

    def take_back(self, branch: Branch) -> None:
        """Somebody, mostly an admin, brings a release back to what it legally was, or to something near it."""
        verdict = self.verdict(branch)
        if verdict is None or not verdict.last.misused:
            return
        name = self.random.choice(sorted(verdict.last.misused))
        now = {path: file for path, file in branch.files.items() if use_rules.id_of(path) == name}
        then = {path: (mode, oid) for path, mode, oid in verdict.last.misused[name] if mode}
        if self.random.random() < 0.15:
            then = dict(list({**now, **then}.items())[:1])
        changes: dict[str, bytes | str | File | None] = {**dict.fromkeys(sorted(now)), **then}
        if now == then:
            return
        by = self.admin() if self.random.random() < 0.8 else email("gw")
        text = (
            str(Message("restore", [name], by.partition("@")[0])) if self.random.random() < 0.3 else "back\n"
        )
        self.graph.put(branch, changes, by, text, what=f"takes back the release of {name}")

    def step(
        self, branch: Branch, policies: Policies | None = None
    ) -> tuple[dict[str, bytes | None], str, str] | None:
        """Some step that is legal by the branch's policies, or others: what it changes, by whom, and what it says."""
        records, policies = self.graph.records(branch), policies or self.graph.policies(branch)
        for _ in range(6):
            who = self.random.choice(PEOPLE)
            one = actor(email(who), self.graph.now, policies)
            with suppress(KtError, ValueError):
                made = self.taken(one, records)
                if made is not None:
                    action, before, after, outcome, claim = made
                    if before == after:
                        continue
                    text = Message(action, [after.escalation_id], one.name, claim, outcome)
                    return self.graph.written(branch, after), who, str(text)
        return None

    def taken(
        self, one: Actor, records: dict[str, Record]
    ) -> tuple[str, Record | None, Record, str | None, str | None] | None:
        random, token = self.random, f"c{self.random.randrange(10**9)}"
        opened = [record for record in records.values() if record.resolution is None]
        resolved = [record for record in records.values() if record.resolution is not None]
        if len(opened) < 2 and self.raised < 4 + 3 * self.is_old and random.random() < 0.6:
            return ("raise", None, self.born(one, token), None, None)
        if resolved and random.random() < (0.3 if self.doubts else 0.1):
            target = random.choice(resolved)
            if any(record.reopens == target.escalation_id for record in opened):
                return None
            name = f"esc_{ids.ulid(one.now, random.randbytes(10))}"
            return ("reopen", None, creation.reopen(target, one, "It was wrong", name), None, None)
        if not opened:
            return None
        record = random.choice(opened)
        if self.doubts and random.random() < 0.2:
            return "withdraw", record, transitions.withdraw(record, one, "not needed"), "withdrawn", None
        deciders = lookup.reviewers(record, records.get)
        try:
            due = due_actions.due([record], one, token, lambda _: deciders)
        except NotAllowed:
            due = ()
        if due and random.random() < 0.7:
            after = due[0].after
            outcome = after.resolution.outcome if after.resolution else None
            return "sweep", record, after, outcome, None
        kind = random.choice(("go", "go", "go", "go", "note", "unclaim", "renew", "assign", "both"))
        if kind == "note":
            return "note", record, transitions.note(record, one, f"Hm {random.random()}"), None, None
        if record.claim is None and kind in ("go", "both"):
            held = transitions.claim(record, one, token, deciders=deciders)
            if kind == "go":
                return "claim", record, held, None, token
            outcome = random.choice(DECISIONS)
            after = transitions.resolve(held, one, outcome, "because")
            return ("resolve" if after.resolution else "review"), record, after, outcome, token
        if record.claim is None:
            return None
        if kind == "unclaim":
            return "unclaim", record, transitions.unclaim(record, one), None, None
        if kind == "renew":
            return "renew", record, transitions.renew(record, one), None, None
        if kind == "assign":
            whom = random.choice((Fallback(team_id="legal"), Fallback(user_id=random.choice(PEOPLE))))
            return (
                "assign",
                record,
                transitions.assign(record, one, whom, "better so", token, deciders=deciders),
                None,
                None,
            )
        outcome = random.choice((*DECISIONS, "approved"))
        after = transitions.resolve(record, one, outcome, "because")
        return ("resolve" if after.resolution else "review"), record, after, outcome, record.claim.claim_id

    def born(self, one: Actor, token: str) -> Record:
        self.raised += 1
        draft = {"request_id": f"r{self.raised}", "reason_code": "oversight.required", "model": self.random.choice(("chat", "other")),
                 "severity": self.random.choice(("high", "low"))}  # fmt: skip
        if self.random.random() < 0.2:
            draft["route"] = {"user_id": self.random.choice(PEOPLE)}
        raisable = from_record(draft)
        return creation.raise_(raisable, creation.escalation_id(raisable, one.now, b"0" * 10), one, token)

    def policy(self, branch: Branch) -> None:
        """Policies change, by an admin, or on a side branch by anybody, for an admin to merge."""
        random = self.random
        path = random.choice((PACK, ROSTER, SETTINGS, SETTINGS))
        text = {PACK: random.choice(PACKS), SETTINGS: self.settings(), ROSTER: self.roster()}[path]
        changes: dict[str, bytes | str | None] = {path: text}
        if path == PACK and random.random() < 0.2 and branch.files.keys() & {ROSTER, SETTINGS}:
            changes = {PACK: None}
        proposed = branch is not self.branches[0] and random.random() < 0.3
        by = email(self.anybody()) if proposed else self.admin()
        self.graph.put(branch, changes, by, "policies\n", what=f"changes {path}")

    def roster(self) -> str:
        return self.random.choice((roster(*PEOPLE), roster("alice", "carol", "boss", "gw"), roster("alice", "bob", "boss", "gw"),
                                   roster(*PEOPLE, admins=("boss",)), roster(*PEOPLE, admins=("carol",))))  # fmt: skip

    def elsewhere(self, branch: Branch) -> None:
        files = {} if self.random.random() < 0.3 else {"src/main.py": f"{self.random.random()}\n"}
        self.graph.put(branch, files, email(self.anybody()), "something else\n\nKt-Note: nothing\n")

    def fork(self, _: Branch) -> None:
        if len(self.branches) < 4:
            at = self.branches[0].tip if self.random.random() < 0.7 else self.somewhere()
            self.branches.append(Branch(at, dict(self.graph.files[at])))

    def request(self, branch: Branch, *, hostile: bool = False) -> None:
        """A pull request from its first commit to its merge, while the branch moves on or does not."""
        graph, random = self.graph, self.random
        side = Branch(branch.tip, dict(branch.files))
        if random.random() < 0.15 and len(graph.parents[branch.tip]) == 1:
            side = Branch(graph.parents[branch.tip][0], dict(graph.files[graph.parents[branch.tip][0]]))
        moves = random.choice((0, 0, 1, 2))
        steps = random.randint(1, 3)
        for number in range(steps):
            self.pass_time()
            if hostile and random.random() < 0.5:
                random.choice((self.forge_author, self.edit, self.delete, self.birth, self.seize, self.damage_policies, self.say,
                               self.mistime, self.spoil, lambda b: self.restore(b, wrong=True),
                               lambda b: self.compact(b, wrong=True), self.damage_archive,
                               *self.also(self.misuse, self.use)))(side)  # fmt: skip
            else:
                random.choice(
                    (
                        self.legal,
                        self.legal,
                        self.legal,
                        self.legal,
                        self.propose,
                        self.restore,
                        self.waive,
                        self.compact,
                    )
                )(side)
            if moves and random.random() < 0.6:
                moves -= 1
                more = (self.compact,) * (1 + self.is_old) + self.also(self.use, self.answer)
                random.choice((self.legal, self.legal, self.legal, self.policy, self.elsewhere, *more))(
                    branch
                )
            if number == 0 and random.random() < 0.3:
                self.merge(side, branch.tip, honest=not hostile or random.random() < 0.5)
        if random.random() < 0.15:
            graph.now += random.choice((timedelta(hours=2), timedelta(days=13), timedelta(days=15)))
        if side.tip in graph.ancestors(branch.tip):
            return
        files = merged(graph, branch.tip, side.tip, random)
        changes: dict[str, bytes | str | File | None] = dict.fromkeys(branch.files.keys() - files.keys())
        by = self.admin() if random.random() < 0.5 else email(self.anybody())
        message = self.pulls() if random.random() < 0.07 else "Merge pull request\n"
        graph.put(
            branch, changes | files, by, message, parents=(branch.tip, side.tip), what="lands a request"
        )
        if len(self.branches) < 5 and random.random() < 0.3:
            # Somebody goes on from there.
            self.branches.append(side)

    def reopen(self, branch: Branch) -> None:
        """Ask once more about something that is decided, be it in an archive."""
        resolved = [record for record in self.graph.records(branch).values() if record.resolution is not None]
        who = email(self.random.choice(PEOPLE))
        one = actor(who, self.graph.now, self.graph.policies(branch))
        with suppress(KtError, ValueError, IndexError):
            name = f"esc_{ids.ulid(one.now, self.random.randbytes(10))}"
            made = creation.reopen(self.random.choice(resolved), one, "It was wrong", name)
            self.graph.put(
                branch, self.graph.written(branch, made), who, "by hand\n", what=f"reopens {made.reopens}"
            )

    # --- archives ---

    def compact(self, branch: Branch, *, wrong: bool = False) -> None:
        """Fold what can be folded, some days later where no month is over yet."""
        graph, random = self.graph, self.random
        resolved = {month for path in branch.files if (month := layout.month_of(path))}
        if not resolved:
            return
        if all(not archive_file.is_closed(month, graph.now) for month in resolved):
            end = archive_file.month_end(min(resolved))
            if end is None or (not wrong and end - graph.now > timedelta(days=2)):
                return
            if not wrong or random.random() < 0.7:
                graph.now = end + timedelta(minutes=random.randrange(600))
        changes, by = self.folded(branch, early=wrong and random.random() < 0.3), self.admin()
        if not changes:
            return
        if wrong:
            changes, by = self.misfold(branch, changes), self.maybe_admin()
        gone = [path for path, data in changes.items() if data is None]
        names = sorted({name for path in gone if (name := layout.id_of(path) or use_rules.id_of(path))})
        message = (
            str(Message("compact", names, by.partition("@")[0]))
            if names and random.random() < 0.7
            else "by hand\n"
        )
        graph.put(
            branch, changes, by, message, what=f"folds {' '.join(names)}" + (" wrongly" if wrong else "")
        )

    def folded(self, branch: Branch, *, early: bool = False) -> dict[str, bytes | str | File | None]:
        """The changes that fold some of what is resolved in months that are over."""
        graph, some = self.graph, self.random.random() < 0.3
        found: dict[tuple[str, str], list[tuple[str, bytes]]] = {}
        items = [_item(path) for path in branch.files]
        for path, file in branch.files.items():
            month, name, used = layout.month_of(path), layout.id_of(path), use_rules.id_of(path)
            is_known = name and graph.objects[file[1]][0] == "blob" and items.count(name) == 1
            if used and graph.objects[file[1]][0] == "blob":
                release = use_rules.read(graph.data(file))
                is_known = (early or (release and release.closed_at is None)) and items.count(path) == 1
            is_over = month and (early or archive_file.is_closed(month, graph.now))
            if month and is_known and is_over and not (some and self.random.random() < 0.4):
                kind = "released" if used else "resolved"
                found.setdefault((kind, month), []).append((path, graph.data(file)))
        changes: dict[str, bytes | str | File | None] = {}
        for (kind, month), files in found.items():
            names = {path: layout.id_of(path) or use_rules.id_of(path) or "" for path, _ in files}
            files.sort(key=lambda one, names=names: names[one[0]])  # type: ignore[misc]
            number = layout.last_archives(branch.files).get(f"{kind}/{month}", 0) + 1
            cut = self.random.randint(1, len(files)) if self.random.random() < 0.3 else len(files)
            for part in filter(None, (files[:cut], files[cut:])):
                changes |= archive(month, number, [(names[path], data) for path, data in part], kind)
                number += 1
            changes |= dict.fromkeys(path for path, _ in files)
        return changes

    def misfold(
        self, branch: Branch, changes: Mapping[str, bytes | str | File | None]
    ) -> dict[str, bytes | str | File | None]:
        """A compaction that is not as it should be."""
        random, made = self.random, dict(changes)
        archives = sorted(path for path in made if path.endswith(".ids"))
        path = random.choice(archives)
        folder, month, number, _ = oracle.ARCHIVE.fullmatch(path).groups()  # type: ignore[union-attr]
        held = list((oracle.pieces_of(made[path.removesuffix("ids") + "yaml"], made[path]) or {}).items())  # type: ignore[arg-type]
        files = [path for path, data in made.items() if data is None]
        if not held:
            return made
        kind = random.choice(
            (
                "lacks",
                "adds",
                "edited",
                "kept",
                "number",
                "beside",
                "order",
                "twice",
                "half",
                "ids",
                "month",
                "other",
            )
        )
        n = random.randrange(len(held))
        other = (
            f"esc_z{random.randrange(9)}",
            held[n][1].replace(b"denied", b"approved").replace(held[n][0].encode(), b"esc_z"),
        )
        if kind in ("lacks", "adds", "edited", "order", "twice"):
            pieces = {
                "lacks": held[:n] + held[n + 1 :], "adds": sorted([*held, other]), "order": held[::-1], "twice": [*held, held[n]],
                "edited": [(name, data.replace(b"denied", b"approved").replace(b"because", b"hence")) for name, data in held],
            }[kind]  # fmt: skip
            made |= archive(month, int(number), pieces, folder)
        elif kind == "kept":
            del made[random.choice(files)]
        elif kind in ("number", "month", "twice"):
            again = {
                "number": (month, int(number) + 1),
                "twice": (month, int(number) + 1),
                "month": ("2026/01", 1),
            }[kind]
            if kind != "twice":
                del made[path], made[path.removesuffix("ids") + "yaml"]
            made |= archive(*again, held, folder)
        elif kind == "beside":
            made |= {random.choice((PACK, "queue/.gitkeep", "queue/resolved/.gitkeep")): ""}
        elif kind == "half":
            del made[random.choice((path, path.removesuffix("ids") + "yaml"))]
        elif kind == "ids":
            made[path] = "".join(
                f"{name}\n" for name in random.choice(([*dict(held), "esc_zz"], list(dict(held))[1:]))
            )
        elif (step := self.step(branch)) is not None:
            made |= step[0]
        return made

    def damage_archive(self, branch: Branch) -> None:
        """Something done to archives that are there, or to what they hold."""
        graph, random = self.graph, self.random
        archives = sorted(
            path for path in branch.files if oracle.ARCHIVE.fullmatch(path) and path.endswith(".yaml")
        )
        if not archives:
            self.compact(branch, wrong=random.random() < 0.5)
            return
        path = random.choice(archives)
        beside = path.removesuffix("yaml") + "ids"
        folder, month, number, _ = oracle.ARCHIVE.fullmatch(path).groups()  # type: ignore[union-attr]
        held = list(
            (
                oracle.pieces_of(
                    *(graph.data(branch.files[at]) if at in branch.files else None for at in (path, beside))
                )
                or {}
            ).items()
        )
        kind = random.choice(
            (
                "deleted",
                "deleted",
                "half",
                "edited",
                "edited",
                "ids",
                "lacks",
                "adds",
                "back",
                "back",
                "forged",
                "new",
                "earlier",
            )
        )
        changes: dict[str, bytes | str | File | None] = {}
        if kind == "deleted":
            changes = {path: None, beside: None}
        elif kind == "half":
            changes = {random.choice((path, beside)): None}
        elif kind == "earlier":
            # As some commit had it, deleted since or edited.
            files = graph.files[self.somewhere()]
            changes = {at: files.get(at) for at in (path, beside)}
        elif held:
            name, data = random.choice(held)
            forged = data.replace(b"outcome: denied", b"outcome: approved").replace(b"because", b"hence")
            if folder == "released":
                forged = data.replace(b"outcome: approved", b"outcome: redacted")
            where = f"queue/{folder}/{month}/{random.choice(('22', '29', '30'))}/{name}.yaml"
            record = oracle.parsed(data) if folder == "resolved" else None
            if record is not None and random.random() < 0.8:
                where = layout.path_of(record)
            changes = {
                "edited": lambda: archive(
                    month, int(number), [(n, forged if n == name else d) for n, d in held], folder
                ),
                "lacks": lambda: archive(month, int(number), [one for one in held if one[0] != name], folder),
                "adds": lambda: archive(
                    month,
                    int(number),
                    sorted([*held, ("esc_z1", forged.replace(name.encode(), b"esc_z1"))]),
                    folder,
                ),
                "ids": lambda: {beside: "".join(f"{n}\n" for n, _ in held if n != name) or "esc_zz\n"},
                "back": lambda: {where: random.choice((data, data, forged))},
                "forged": lambda: {path: None, beside: None, where: random.choice((data, forged))},
                "new": lambda: archive(
                    month, int(number) + random.choice((1, 1, 2)), [(name, forged)], folder
                ),
            }[kind]()
        by, message = (
            self.maybe_admin(),
            random.choice(
                ("by hand\n", str(Message("restore", [held[0][0]] if held else ["esc_r1"], "boss")))
            ),
        )
        if changes and any(branch.files.get(at) != data for at, data in changes.items()):
            graph.put(branch, changes, by, message, what=f"archive {number}: {kind}")

    # --- sides that the line goes past ---

    def go_past(self, branch: Branch, *, hostile: bool = False) -> None:
        """Two sides from one commit, of which each may carry something, and a merge that takes one of them."""
        graph, random = self.graph, self.random
        base = Branch(branch.tip, dict(branch.files))
        one, other = (Branch(branch.tip, dict(branch.files)) for _ in range(2))
        for side, most in ((one, 3), (other, 2)):
            for _ in range(random.randint(0, most)):
                self.pass_time()
                kinds = (
                    self.legal,
                    self.legal,
                    self.legal,
                    self.legal,
                    self.policy,
                    self.compact,
                    self.elsewhere,
                )
                wrong = (
                    self.edit,
                    self.seize,
                    self.forge_author,
                    self.delete,
                    self.damage_archive,
                    lambda b: self.compact(b, wrong=True),
                    *self.also(self.misuse, self.use),
                )
                kinds += self.also(self.use) if hostile else ()
                random.choice(wrong if hostile and random.random() < 0.3 else kinds)(side)
        if hostile and one.tip != base.tip:
            # All of it, or some, is left out again on the way.
            self.pass_time()
            parents = (base.tip, one.tip) if random.random() < 0.7 else (one.tip, base.tip)
            files = base.files if random.random() < 0.7 else merged(graph, base.tip, one.tip, random, 0.4)
            self.set(one, files, random.choice((email(self.anybody()), self.admin())), parents, "leaves out")
        first, second = (one, other) if random.random() < 0.6 else (other, one)
        if first.tip == second.tip or second.tip in graph.ancestors(first.tip):
            return
        self.pass_time()
        files = (
            second.files
            if hostile and random.random() < 0.6
            else merged(graph, first.tip, second.tip, random)
        )
        if hostile and random.random() < 0.2:
            files = first.files
        by = self.admin() if random.random() < 0.4 else email(self.anybody())
        parents = [first.tip, second.tip, *([self.somewhere()] if hostile and random.random() < 0.1 else [])]
        branch.tip, branch.files = first.tip, dict(first.files)
        self.set(branch, files, by, list(dict.fromkeys(parents)), "goes past")

    def set(
        self, branch: Branch, files: Mapping[str, File], by: str, parents: Sequence[str], what: str
    ) -> None:
        """A merge with these files."""
        changes: dict[str, bytes | str | File | None] = dict.fromkeys(branch.files.keys() - files.keys())
        message = self.pulls() if self.random.random() < 0.1 else "Merge a branch\n"
        self.graph.put(branch, changes | dict(files), by, message, parents=parents, what=what)

    def pulls(self) -> str:
        """What git calls the merge of a pull, of the store's branch or of another."""
        names = (
            "branch 'main' of host:store",
            "remote-tracking branch 'origin/main'",
            "branch 'other' of host:store",
            "branch 'main'",
            "branch 'main' into topic",
            "branch 'main' into 'main'",
            "commit '0123abc' into topic",
            "remote-tracking branch 'refs/remotes/far/away/main' into topic",
            "ssh://host/store",
        )
        return f"Merge {self.random.choice(names)}\n"

    def propose(self, branch: Branch) -> None:
        """A change of policies that is for an admin to merge."""
        path = self.random.choice((PACK, SETTINGS, ROSTER))
        text = {PACK: self.random.choice(PACKS), SETTINGS: self.settings(), ROSTER: self.roster()}[path]
        self.graph.put(branch, {path: text}, email(self.anybody()), "policies\n", what=f"proposes {path}")

    def join(self, branch: Branch) -> None:
        """Merge a side branch into the main one."""
        others = [other for other in self.branches if other is not self.branches[0]]
        if others:
            self.merge(self.branches[0], self.random.choice(others).tip, honest=True)

    def update(self, branch: Branch) -> None:
        """Merge the main branch into a side branch."""
        if branch is not self.branches[0]:
            self.merge(branch, self.branches[0].tip, honest=True)

    def merge(self, branch: Branch, other: str, *, honest: bool = False) -> None:
        """Merge any commit into a branch, as git would, with any of the trees there are, or by hand."""
        graph, random = self.graph, self.random
        if other in graph.ancestors(branch.tip) and (honest or random.random() < 0.7):
            return
        if honest and branch.tip in graph.ancestors(other) and random.random() < 0.3:
            branch.tip, branch.files = other, dict(graph.files[other])
            return
        kind = random.choices(("git", "ours", "theirs", "any"), (12, 1, 1, 1) if honest else (4, 2, 2, 2))[0]
        files = dict(graph.files[branch.tip if kind == "ours" else other])
        if kind in ("git", "any"):
            files = merged(graph, branch.tip, other, random, 0.3 if kind == "any" else 0.0)
        parents = [branch.tip, other]
        if not honest and random.random() < 0.3:
            parents.reverse()
        if random.random() < (0.03 if honest else 0.15):
            parents.append(self.somewhere())
        changes: dict[str, bytes | str | File | None] = dict.fromkeys(branch.files.keys() - files.keys())
        changes |= files
        by = email(self.anybody()) if random.random() < 0.6 else self.admin()
        at = graph.now
        if not honest and random.random() < 0.1:
            at += timedelta(days=random.choice((-3, 13, 30, 26_000)))
        spoil = self.spoiling(branch) if not honest and random.random() < 0.07 else None
        if not honest and random.random() < 0.15:
            # Something that none of the parents has.
            changes |= random.choice(
                ({ROSTER: roster(*PEOPLE, STRANGER)}, {SETTINGS: settings()}, self.tampered(branch) or {})
            )
        message = random.choice(("Merge a branch\n", "Merge a branch\n", "Merge pull request (#12)\n"))
        if random.random() < 0.1:
            message = self.claimed_message(branch)
        elif random.random() < 0.1:
            message = self.pulls()
        graph.put(branch, changes, by, message, parents=list(dict.fromkeys(parents)), at=at, spoil=spoil,
                  what=f"merges ({kind})" + (f", spoils {spoil.__doc__}" if spoil else ""))  # fmt: skip

    def cherry_pick(self, branch: Branch) -> None:
        """Take what a commit did to another branch, as its author did it."""
        graph = self.graph
        commit = self.somewhere()
        if len(graph.parents[commit]) != 1:
            return
        old, new = graph.files[graph.parents[commit][0]], graph.files[commit]
        changes = {
            path: new.get(path) for path in sorted(old.keys() | new.keys()) if old.get(path) != new.get(path)
        }
        if all(branch.files.get(path) == old.get(path) for path in changes):
            one = oracle.commit_of(commit, graph.objects[commit][1])
            graph.put(branch, changes, one.email, one.message, what=f"picks {commit[:8]}")

    def squash(self, branch: Branch) -> None:
        """All that a side branch did, in one commit by somebody."""
        graph, side = self.graph, self.random.choice(self.branches)
        if branch.tip in graph.ancestors(side.tip):
            one = oracle.commit_of(side.tip, graph.objects[side.tip][1])
            changes: dict[str, bytes | str | File | None] = dict.fromkeys(
                branch.files.keys() - side.files.keys()
            )
            graph.put(branch, changes | side.files, one.email, "All in one (#7)\n", what="squashes")

    def verdict(self, branch: Branch) -> oracle.Verdict | None:
        try:
            return oracle.judge(self.graph.objects, branch.tip, self.graph.now)
        except StopIteration:
            return None

    def restore(self, branch: Branch, wrong: bool = False) -> None:
        """Bring back what is illegal: as it must be, or otherwise."""
        graph, verdict = self.graph, self.verdict(branch)
        if verdict is None or not (verdict.last.bad or wrong):
            return
        names = sorted(verdict.last.bad) or sorted(graph.records(branch))
        if not names:
            return
        name = self.random.choice(names)
        state = oracle.loose(verdict.last.legal.get(name, oracle.ABSENT))
        if wrong and self.random.random() < 0.7:
            states = sorted(
                {
                    tuple(sorted((p, *f) for p, f in files.items() if _item(p) == name))
                    for files in graph.files.values()
                }
            )
            state = frozenset(self.random.choice(states))
        if state == frozenset((path, *branch.files[path]) for path in graph.paths(branch, name)):
            return
        changes: dict[str, bytes | str | File | None] = dict.fromkeys(graph.paths(branch, name))
        changes |= {path: (mode, oid) for path, mode, oid in state}
        by = self.maybe_admin() if wrong else self.admin()
        who = by.partition("@")[0]
        message = str(Message("restore", [name], who)) if self.random.random() < 0.5 else "back\n"
        graph.put(branch, changes, by, message, what=f"restores {name}")

    def waive(self, branch: Branch, wrong: bool = False) -> None:
        """Accept what was found, rightly or not."""
        verdict = self.verdict(branch)
        if verdict is None or not verdict.violations:
            return
        one = self.random.choice(
            sorted(verdict.violations, key=lambda found: (found.commit, found.rule, found.path))
        )
        line = (one.commit, one.rule, one.path)
        if wrong:
            other = self.random.choice(("path", "rule", "short", "commit", "who", "who"))
            line = {"path": (one.commit, one.rule, "queue/esc_other.yaml"), "rule": (one.commit, "deadline", one.path),
                    "short": (one.commit[:7], one.rule, one.path), "commit": (branch.tip, one.rule, one.path)}.get(other, line)  # fmt: skip
        known = self.graph.data(branch.files[WAIVERS]) if WAIVERS in branch.files else b""
        listed = sorted((w.commit, w.rule, w.path) for w in oracle.waivers_in(known) or ())
        by = email(self.anybody()) if wrong else self.admin()
        self.graph.put(
            branch,
            {WAIVERS: waivers([*listed, line])},
            by,
            "accepted\n",
            what=f"waives {line[0][:8]} {line[1]}",
        )

    # --- what comes again, or late ---

    def replay(self, branch: Branch) -> None:
        """What an admin has proposed lands in some other way, is taken back, and then is merged all the same; or some of that."""
        graph, random = self.graph, self.random
        side, path = Branch(branch.tip, dict(branch.files)), random.choice((PACK, SETTINGS, ROSTER, ROSTER))
        old, versions = branch.files.get(path), []
        for _ in range(random.randint(1, 2)):
            self.pass_time()
            by = self.admin() if random.random() < 0.9 else email(self.anybody())
            graph.put(side, {path: self.content(path)}, by, "policies\n", what=f"proposes {path}")
            versions.append(side.files[path])
        lands = random.choice((None, versions[0], versions[-1], self.content(path)))
        if lands is not None:
            self.pass_time()
            graph.put(branch, {path: lands}, self.admin(), "policies again\n", what=f"lands {path}")
        if random.random() < 0.2:
            self.merge(side, branch.tip, honest=True)
        if lands is not None and (old is not None or path == PACK) and random.random() < 0.7:
            self.pass_time()
            graph.put(branch, {path: old}, self.admin(), "not so\n", what=f"takes back {path}")
        if random.random() < 0.4:
            graph.now += random.choice((timedelta(hours=2), timedelta(days=13), timedelta(days=15)))
        if random.random() < 0.4:
            self.legal(branch)
        self.merge(branch, side.tip, honest=True)

    def content(self, path: str) -> str:
        """Some version of a policy file."""
        return {PACK: lambda: self.random.choice(PACKS), SETTINGS: self.settings, ROSTER: self.roster}[path]()

    def stall(self, branch: Branch) -> None:
        """A policy file is illegal, waived or not, while an admin changes another; then somebody acts by what was before."""
        graph, random = self.graph, self.random
        policies = graph.policies(branch)
        path = random.choice((PACK, SETTINGS, KT_YAML, WAIVERS))
        text = {KT_YAML: "root: ''\n", WAIVERS: waivers(())}.get(path) or self.content(path)
        if random.random() < 0.7:
            graph.put(branch, {path: text}, email(self.anybody()), "tidy up\n", what=f"changes {path}")
        else:
            self.damage_policies(branch)
        for does in (self.waive, self.policy, self.restore, self.waive):
            self.pass_time()
            if random.random() < 0.5:
                does(branch)
            if does == self.policy and random.random() < 0.7:
                graph.put(
                    branch, {ROSTER: self.roster()}, self.admin(), "people\n", what="changes the roster"
                )
            if does == self.policy:
                for known in (policies, None):
                    self.pass_time()
                    if (step := self.step(branch, known)) is not None:
                        graph.put(branch, step[0], email(step[1]), step[2])

    def lag(self, branch: Branch) -> None:
        """A request or a release waits; when it lands, its commit is dated back, or not."""
        graph, random = self.graph, self.random
        side = Branch(branch.tip, dict(branch.files))
        for _ in range(random.randint(1, 2)):
            self.pass_time()
            self.legal(side)
        graph.now += timedelta(hours=random.choice((1, 3, 13 * 24, 15 * 24, 20 * 24)))
        self.legal(branch)
        now, back = graph.now, timedelta(hours=random.choice((0, 0, 2, 3, 14 * 24, 19 * 24)))
        graph.now -= back
        if random.random() < 0.5:
            self.use(branch)
        self.merge(branch, side.tip, honest=True)
        graph.now = now

    def excuse(self, branch: Branch) -> None:
        """A step whose commit says something, true or not; a waiver of that; and the use of what was decided."""
        graph, random = self.graph, self.random
        for _ in range(random.randint(1, 3)):
            self.pass_time()
            if (step := self.step(branch)) is not None:
                graph.put(branch, step[0], email(step[1]), self.claimed_message(branch))
        for does in (self.waive, self.use, self.use):
            self.pass_time()
            does(branch)

    # --- what is hostile ---

    def attack(self, branch: Branch) -> None:
        self.random.choices(
            (self.forge_author, self.edit, self.delete, self.birth, self.twice, self.seize, self.damage_policies, self.merge_any,
             self.say, self.mistime, self.spoil, lambda b: self.restore(b, wrong=True), lambda b: self.waive(b, wrong=True),
             self.litter, self.orphan, self.repoint, lambda b: self.request(b, hostile=True),
             lambda b: self.compact(b, wrong=True), self.damage_archive, lambda b: self.go_past(b, hostile=True),
             self.misuse),
            (4, 5, 2, 2, 2, 5, 3, 8, 4, 3, 5, 3, 4, 1, 2, 1, 14, 3 + 3 * self.is_old, 12 * self.is_old, 8, 25 * self.uses),
        )[0](branch)  # fmt: skip

    def forge_author(self, branch: Branch) -> None:
        """An honest step, committed by somebody else."""
        if (step := self.step(branch)) is not None:
            self.graph.put(
                branch,
                step[0],
                email(self.anybody()),
                self.random.choice((step[2], "by hand\n")),
                what="forges",
            )

    def edit(self, branch: Branch) -> None:
        """Change anything in a record."""
        if (changes := self.tampered(branch)) is not None:
            name, who = next(filter(None, map(layout.id_of, changes))), self.anybody()
            message = self.random.choice(("by hand\n", str(Message("note", [name], who))))
            self.graph.put(branch, changes, email(who), message, what=f"edits {name}")

    def tampered(self, branch: Branch) -> dict[str, bytes | None] | None:
        """What changes anything in a record that is there."""
        graph, random = self.graph, self.random
        records = graph.records(branch)
        if not records:
            return None
        record, who = records[random.choice(sorted(records))], self.anybody()
        end = Resolution(outcome=random.choice(("approved", "denied")), reason="so", resolved_by=random.choice((*PEOPLE, STRANGER)),
                         resolved_at=graph.now.replace(microsecond=graph.now.microsecond // 1000 * 1000))  # fmt: skip
        updates = random.choice((
            {"severity": "critical"}, {"summary": "other"}, {"requires": record.requires.replace(approvals=1)},
            {"raised_by": who}, {"queued_at": record.queued_at - timedelta(hours=1)}, {"reviews": record.reviews[:-1]},
            {"status": "resolved", "resolution": end}, {"notes": ()}, {"labels": {"a": "b"}},
            {"status": "queued", "claim": None}, {"status": "queued", "claim": None, "resolution": None},
            {"route": record.route.replace(source="default")},
        ))  # fmt: skip
        with suppress(ValueError):
            made = record.replace(**updates)
            changes = graph.written(branch, made)
            if random.random() < 0.2:
                # Not in the form that records have, or no record.
                path = layout.path_of(made)
                changes[path] = random.choice(
                    (b"# so\n" + yaml_text.dumps(made), yaml_text.dumps(made)[:-30], b"", b"- no\n")
                )
            return changes
        return None

    def delete(self, branch: Branch) -> None:
        records = self.graph.records(branch)
        if records:
            name = self.random.choice(sorted(records))
            self.graph.put(
                branch,
                dict.fromkeys(self.graph.paths(branch, name)),
                self.maybe_admin(),
                "gone\n",
                what=f"deletes {name}",
            )

    def birth(self, branch: Branch) -> None:
        """A record with a wrong id, or that another made."""
        graph, random = self.graph, self.random
        one = actor(email("gw"), graph.now, graph.policies(branch))
        with suppress(KtError, ValueError):
            made = self.born(one, "c1")
            made = random.choice((made.replace(escalation_id=f"esc_x{self.raised}"), made.replace(request_id="other"),
                                  made.replace(raised_by="alice"), made.replace(route=made.route.replace(policies="0" * 40))))  # fmt: skip
            graph.put(
                branch,
                graph.written(branch, made),
                email(random.choice(("gw", "boss", "bob"))),
                "new\n",
                what="bears wrongly",
            )

    def twice(self, branch: Branch) -> None:
        """One id in another folder as well, or moved there."""
        graph, random = self.graph, self.random
        paths = [path for path in sorted(branch.files) if oracle.is_record(path)]
        if paths:
            path = random.choice(paths)
            name = path.rpartition("/")[2]
            other = random.choice(
                (f"queue/{name}", f"queue/resolved/2026/11/22/{name}", f"queue/resolved/2026/11/23/{name}")
            )
            changes: dict[str, File | None] = {other: branch.files[path]}
            if random.random() < 0.3 and other != path:
                changes[path] = None
            graph.put(branch, changes, self.maybe_admin(), "again\n", what=f"puts {name} to {other}")

    def seize(self, branch: Branch) -> None:
        """Policies by anybody: rights for oneself, for nobody, for all."""
        random = self.random
        path, text = random.choice((
            (ROSTER, roster(*PEOPLE, STRANGER)), (ROSTER, roster(STRANGER)), (ROSTER, roster(*PEOPLE, admins=())),
            (SETTINGS, settings()), (SETTINGS, self.settings()), (PACK, random.choice(PACKS)), (WAIVERS, waivers(())),
        ))  # fmt: skip
        self.graph.put(branch, {path: text}, email(self.anybody()), "policies\n", what=f"seizes {path}")

    def damage_policies(self, branch: Branch) -> None:
        """Policy files removed or made unreadable."""
        path = self.random.choice((ROSTER, SETTINGS, WAIVERS, PACK))
        text = self.random.choice((None, "users: [\n", "- no\n", ""))
        if path in branch.files:
            self.graph.put(branch, {path: text}, self.maybe_admin(), "policies\n", what=f"damages {path}")

    def merge_any(self, branch: Branch) -> None:
        self.merge(branch, self.root if self.random.random() < 0.15 else self.somewhere())

    def orphan(self, _: Branch) -> None:
        """A branch without a past, with or without a store of its own."""
        graph, branch = self.graph, Branch("", {})
        files = {"other.txt": "x\n"}
        if self.random.random() < 0.5:
            files[ROSTER] = roster(STRANGER)
        graph.put(branch, files, email(STRANGER), "nothing before\n", parents=())
        self.branches = [*self.branches[:3], branch]

    def claimed_message(self, branch: Branch) -> str:
        """Words about some record, that may be true."""
        random = self.random
        names = sorted(self.graph.records(branch)) or ["esc_r1"]
        name, who = random.choice(names), random.choice((*PEOPLE, STRANGER))
        return random.choice((
            f"kt: resolve {name} as approved\n", f"kt: claim {name} (#3)\n", f"kt: compact {name}\n", str(Message("compact", [name], who)), str(Message("resolve", [name], who, None, "approved")),
            "words\n\nkt-outcome: denied\n", f"words\n\nKT-ACTOR: {who}\n", f"words\n\nKt-Action: claim\nKt-Escalation: {name}\n",
            f"words\rKt-Action: note\rKt-Actor: {who}\n", f'Revert "kt: resolve {name} as approved"\n', f"words\n\n  Kt-Actor: {who}\n",
            f"\n\nkt: resolve {name} as approved\n", f"kt: resolve\n{name} as approved\n", f"Kt: resolve {name}\n", f"words\u2028Kt-Escalation: {name}\n", "words\n\nKt-Root: elsewhere\nKt-Action: claim\n",
        ))  # fmt: skip

    def say(self, branch: Branch) -> None:
        """Say what was not done: in a commit of nothing, or beside a step."""
        random = self.random
        message, changes, by = self.claimed_message(branch), {}, email(self.anybody())
        if random.random() < 0.4 and (step := self.step(branch)) is not None:
            changes, by = step[0], email(step[1])
            message = random.choice(
                (
                    message,
                    step[2].rstrip("\n") + f"\nKt-Count: {random.choice((1, 2))}\n",
                    step[2].rstrip("\n") + "\nkt-outcome: denied\n",
                    step[2].replace("Kt-Actor: ", "Kt-Actor: x"),
                )
            )
        encoding = "utf-8"
        if random.random() < 0.1:
            # Without a choice of its own, so that the same numbers still make the same graphs.
            ways = (*ENCODINGS, *TWO_WAYS)
            encoding = ways[sum(map(ord, message)) % len(ways)]
        self.graph.put(
            branch, changes, by, message, encoding=encoding, what=f"says {message!r} in {encoding}"
        )

    def mistime(self, branch: Branch) -> None:
        """A step, or nothing, at a time that is not now."""
        random, graph = self.random, self.graph
        at = random.choice((datetime(2099, 1, 1, tzinfo=UTC), 400_000_000_000, 0, graph.now - timedelta(hours=2), graph.now - timedelta(days=20),
                            graph.now + timedelta(seconds=90), graph.now - timedelta(seconds=45)))  # fmt: skip
        step = self.step(branch) if random.random() < 0.6 else None
        changes, by, message = step or ({}, self.anybody(), "nothing\n")
        graph.put(branch, changes, email(by), message, at=at, what=f"at {at}")

    def be_ahead(self, branch: Branch) -> None:
        """A step by somebody whose clock is fast, or who says so, and one by somebody else after it."""
        for ahead in (timedelta(minutes=self.random.choice((2, 30, 120, 600))), timedelta()):
            if (step := self.step(branch)) is not None:
                changes, by, message = step
                self.graph.put(branch, changes, email(by), message, at=self.graph.now + ahead)
            self.pass_time()

    def litter(self, branch: Branch) -> None:
        path, text = self.random.choice(
            (
                ("queue/notes.txt", "x\n"),
                ("queue/.gitkeep", ""),
                ("queue/.gitkeep", "x"),
                ("queue/resolved/.gitkeep", ""),
            )
        )
        self.graph.put(branch, {path: text}, email(self.anybody()), "litter\n", what=f"puts {path}")

    def repoint(self, branch: Branch) -> None:
        text = self.random.choice(("root: ops/review\n", "root: [\n"))
        self.graph.put(branch, {KT_YAML: text}, self.maybe_admin(), "elsewhere\n", what="repoints")

    # --- trees that are not as they should be ---

    def spoil(self, branch: Branch) -> None:
        """A commit, or some, with a tree that a strict reader refuses, or that only looks so."""
        spoil = self.spoiling(branch)
        step = self.step(branch) if self.random.random() < 0.3 else None
        changes, who, message = step or ({}, self.anybody(), "a tree\n")
        self.graph.put(branch, changes, email(who), message, spoil=spoil, what=f"spoils {spoil.__doc__}")
        if self.random.random() < 0.2:
            self.graph.put(branch, {}, email(self.anybody()), "the same\n", spoil=spoil, what="leaves it so")

    def spoiling(self, branch: Branch) -> Spoil:
        """What spoils one folder of a tree."""
        random, graph = self.random, self.graph
        kind = random.choice(
            ("folder", "folder", "file", "file", "second", "second", "order", "slash", "empty", "disguise")
        )
        below = sorted(
            {path.rpartition("/")[0] for path in branch.files if path.startswith(("queue/", "policies/"))}
        )
        where = random.choice(["", *(f"{folder}/" for folder in below)])
        if kind == "disguise" or (kind == "folder" and random.random() < 0.8):
            where = ""
        number, after, as_folder = random.random(), random.random() < 0.5, random.random() < 0.5
        mode = random.choice(("100664", "100755", "120000", "160000"))
        if kind == "folder":
            mode = random.choice(("040000", "040000", "40755", "40755", "100644", "120000", "160000"))
        name, other = (
            random.choice(DISGUISES),
            graph.blob(random.choice((roster(STRANGER), "x\n", waivers(())))),
        )
        folder = graph.folder({"roster.yaml": (PLAIN, other)})

        def change(at: str, entries: list[Entry]) -> list[Entry]:
            if at != where:
                return entries
            made = list(entries)
            fits = [
                n
                for n, entry in enumerate(made)
                if kind == "second" or (entry[0] == FOLDER) == (kind == "folder")
            ]
            n = fits[int(number * len(fits))] if fits else 0
            if kind == "order":
                made.reverse()
            elif kind == "slash":
                made = _sorted([*made, (PLAIN, b"a/b", other)])
            elif kind == "empty":
                made.insert(0, (PLAIN, b"", other))
            elif kind == "disguise":
                made = _sorted([*made, (FOLDER, name, folder) if as_folder else (PLAIN, name, other)])
            elif fits and kind == "second":
                twin = (FOLDER, made[n][1], folder) if made[n][0] == FOLDER else (PLAIN, made[n][1], other)
                made.insert(n + after, twin)
            elif fits:
                instead = (
                    self.root if mode == "160000" else other if mode in ("100644", "120000") else made[n][2]
                )
                made[n] = (mode, made[n][1], made[n][2] if kind == "file" and mode != "160000" else instead)
            return made

        change.__doc__ = f"{where or 'the top'}: {kind} {mode if kind in ('file', 'folder') else ''}"
        return change


def _item(path: str) -> str:
    """What a file belongs to: its record, or itself."""
    return (layout.id_of(path) or path) if oracle.is_record(path) else path


def archive(
    month: str, number: int, held: Sequence[tuple[str, bytes]], kind: str = "resolved"
) -> dict[str, bytes | str | File | None]:
    """The two files of an archive that holds some records, or releases."""
    path = f"queue/{kind}/{month}/archive-{number:04}"
    pieces, names = b"".join(b"---\n" + data for _, data in held), "".join(f"{name}\n" for name, _ in held)
    return {f"{path}.yaml": pieces, f"{path}.ids": names.encode()}


def _month(path: str) -> str:
    """The folder of a month that a file is in, if it is in one."""
    is_dated = path.startswith(("queue/resolved/", "queue/released/"))
    return "/".join(path.split("/")[:4]) if is_dated else ""


def _sorted(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda one: one[1] + b"/" * (one[0] == FOLDER))
