"""The stores that are measured, written by `git fast-import` with the records that kt's own rules make.

A store is a bare repository in a folder that can be deleted at any time; it is built once and never
written again: whoever measures takes a copy. The same parameters give the same records.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import IO, Any

from kt_escalation.model import archive_file, ids
from kt_escalation.model.record import Draft, Record
from kt_escalation.model.vocabulary import SEVERITIES
from kt_escalation.policies.decision_event import Raisable
from kt_escalation.policies.policy_set import Policies, assemble
from kt_escalation.rules import creation, permissions, transitions
from kt_escalation.rules.permissions import Actor
from kt_escalation.storage import layout, yaml_text
from kt_escalation.storage.commit_message import Message

from .measure import Failed, git
from .signing import Keys, sign

#: Counted up when the same parameters would make another store.
FORMAT = 2
REVIEWERS = tuple(f"reviewer-{number:02}" for number in range(1, 17))
GATEWAY, ADMIN = "gateway", "admin"
# Archives are of these years, a living history begins here, and what is only open was raised here.
ARCHIVED = range(2020, 2024)
LIVING = datetime(2024, 1, 1, tzinfo=UTC)
RAISED = datetime(2025, 1, 2, tzinfo=UTC)
# So a history of 100,000 transitions takes a year.
PACE = timedelta(minutes=5)
# Of those that are open, this part is held.
HELD = 0.2
# The day of the one that the others are made from, which no other text holds.
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)

_USERS = "".join(
    f"  - {{user_id: {name}, emails: [{name}@example.com], roles: [reviewer]}}\n" for name in REVIEWERS
)
POLICIES = {
    "policies/policy-config.yaml": """\
pack: {name: main, enabled: true}
providers:
  targets:
    - id: openai-prod
      escalation_routing: {team_id: triage}
      models: [{model_id: gpt-4o}, {model_id: gpt-4o-mini}]
""",
    "policies/roster.yaml": f"""\
teams:
  - {{team_id: triage, members: [{", ".join(REVIEWERS)}]}}
users:
{_USERS}\
  - {{user_id: {ADMIN}, emails: [{ADMIN}@example.com], roles: [admin]}}
  - {{user_id: {GATEWAY}, emails: [{GATEWAY}@example.com], roles: [gateway]}}
""",
    # The hook is asked about steps of long ago.
    "policies/settings.yaml": "default_route: {team_id: triage}\nclaims: {proposals: 3650d}\n",
}
# Everybody's key on the roster, and no step without a signature.
KEYS = Keys([*REVIEWERS, ADMIN, GATEWAY])
SIGNING = POLICIES | {
    "policies/roster.yaml": re.sub(
        r"user_id: ([\w-]+), ",
        lambda user: f'{user[0]}signing_keys: ["{KEYS.line(user[1])}"], ',
        POLICIES["policies/roster.yaml"],
    ),
    "policies/settings.yaml": f"{POLICIES['policies/settings.yaml']}signatures: required\n",
}
REASON = "Request complies with policy"


@dataclass(frozen=True)
class Stores:
    """Finds each store in one folder, or builds it there."""

    folder: Path

    def resting(self, waiting: int, *, archived: int = 0) -> Path:
        """A store of two commits: what was archived before, as an import, and what waits, as one batch."""

        def fill(stream: IO[bytes], policies: Policies) -> None:
            _rest(stream, waiting, archived, policies)

        return self._store(f"resting-{waiting}-{archived}", fill)

    def claimed(self, waiting: int, steps: int) -> Path:
        """What a resting store becomes when so many of those that wait are claimed, one a commit."""

        def fill(stream: IO[bytes], policies: Policies) -> None:
            for number, record in enumerate(_rest(stream, waiting, 0, policies)[:steps]):
                now = RAISED + (number + 1) * PACE
                who, token = REVIEWERS[number % len(REVIEWERS)], f"claim-{number}"
                after = transitions.claim(record, _act(who, now, policies), token)
                message = Message("claim", [record.escalation_id], who, claim_id=token)
                _step(stream, who, now, message, record, after)

        return self._store(f"claimed-{waiting}-{steps}", fill)

    def living(self, steps: int, at_once: int) -> Path:
        """A store whose history is so many transitions, one a commit, with so many open at any time."""
        return self._living(f"living-{steps}-{at_once}", steps, at_once, POLICIES)

    def signed(self, steps: int, at_once: int) -> Path:
        """The same history with every commit signed by an SSH key of its author's, as its settings ask."""
        return self._living(f"signed-{steps}-{at_once}", steps, at_once, SIGNING, KEYS)

    def _living(
        self, name: str, steps: int, at_once: int, files: Mapping[str, str], keys: Keys | None = None
    ) -> Path:
        def fill(stream: IO[bytes], policies: Policies) -> None:
            _commit(stream, ADMIN, LIVING, "Policies\n")
            for path, text in files.items():
                _file(stream, path, text.encode())
            _live(stream, steps, at_once, policies)

        return self._store(name, fill, packed=True, files=files, keys=keys)

    def _store(
        self,
        name: str,
        fill: Callable[[IO[bytes], Policies], None],
        *,
        packed: bool = False,
        files: Mapping[str, str] = POLICIES,
        keys: Keys | None = None,
    ) -> Path:
        store = self.folder / f"{name}.v{FORMAT}.git"
        if not store.exists():
            making = self.folder / f"{name}.making"
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(parents=True)
            git("init", "--quiet", "--bare", cwd=making)
            with _importing(making) as stream:
                fill(stream, _policies(making, files))
            if keys:
                sign(making, "main", keys)
            if packed:
                git("gc", "--quiet", "--prune=now", cwd=making)
            making.rename(store)
        return store


def request_id(number: int, kind: str = "open") -> str:
    """A gateway's name for its request; they come in no order, as the ids of real requests do."""
    return f"{kind}-{sha256(b'%d' % number).hexdigest()[:20]}"


def event(number: int, kind: str = "open") -> dict[str, Any]:
    """What a gateway gives to `raise`, as a line of a batch."""
    return {
        "request_id": request_id(number, kind),
        "reason_code": "oversight.required",
        "severity": SEVERITIES[number % len(SEVERITIES)],
        "summary": f"Contract clause {number} was changed by the model",
        "agent_id": f"agent-{number % 7}",
        "provider": "openai-prod",
        "model": "gpt-4o",
        "policy": "human-oversight",
        "event_context": {
            "prompt_hash": f"hmac-sha256:{sha256(b'prompt %d' % number).hexdigest()}",
            "prompt_redacted": True,
            "policy_results": [{"policy_kind": "human-oversight", "verdict": "escalate"}],
            "excerpt": f"[PERSON] asked to change clause {number} of the contract with [ORGANISATION].",
        },
    }


# --- records, by the rules of the core ------------------------------------------------------------


def _act(who: str, now: datetime, policies: Policies) -> Actor:
    return permissions.actor(f"{who}@example.com", now, policies)


def _raised(number: int, actor: Actor, kind: str = "open") -> Record:
    given = event(number, kind)
    raisable = Raisable(Draft.parse(given), frozenset(given))
    return creation.raise_(raisable, ids.from_request(given["request_id"]), actor, "unused")


def _rest(stream: IO[bytes], waiting: int, archived: int, policies: Policies) -> list[Record]:
    """Write the two commits of a resting store; what waits in it."""
    _commit(stream, ADMIN, RAISED, "Policies, and what was decided before\n")
    for path, text in POLICIES.items():
        _file(stream, path, text.encode())
    for path, data in _archives(archived, policies):
        _file(stream, path, data)
    actor = _act(GATEWAY, RAISED, policies)
    records = [_raised(number, actor) for number in range(waiting)]
    named = [record.escalation_id for record in records]
    _commit(stream, GATEWAY, RAISED, str(Message("raise", named, GATEWAY)))
    for record in records:
        _file(stream, layout.path_of(record), yaml_text.dumps(record))
    return records


def _live(stream: IO[bytes], steps: int, at_once: int, policies: Policies) -> None:
    """Raise until enough is open, claim until enough is held, else resolve; the longest waiting first."""
    random = Random(1)
    queued: deque[Record] = deque()
    held: deque[Record] = deque()
    number, now = 0, LIVING
    for _ in range(steps):
        now += PACE
        if len(queued) + len(held) < at_once:
            record = _raised(number, _act(GATEWAY, now, policies), "living")
            queued.append(record)
            number += 1
            message = Message("raise", [record.escalation_id], GATEWAY, text=record.summary)
            _step(stream, GATEWAY, now, message, None, record)
        elif len(held) <= HELD * at_once and queued:
            record = queued.popleft()
            who = random.choice(REVIEWERS)
            token = ids.ulid(now, random.randbytes(ids.ULID_RANDOM_BYTES))
            claimed = transitions.claim(record, _act(who, now, policies), token)
            held.append(claimed)
            message = Message("claim", [record.escalation_id], who, claim_id=token)
            _step(stream, who, now, message, record, claimed)
        else:
            record = held.popleft()
            assert record.claim
            who, token = record.claim.claimed_by, record.claim.claim_id
            done = transitions.resolve(record, _act(who, now, policies), "approved", REASON)
            message = Message(
                "resolve", [record.escalation_id], who, claim_id=token, outcome="approved", text=REASON
            )
            _step(stream, who, now, message, record, done)


def _archives(count: int, policies: Policies) -> Iterator[tuple[str, bytes]]:
    """The files of so many archived escalations: archives and their ids (design, section 10)."""
    if count == 0:
        return
    for year, month, files in _Past(policies).months(count):
        for index, some in enumerate(_filled(files), 1):
            name = f"{layout.RESOLVED}/{year}/{month:02}/archive-{index:04}"
            yield f"{name}.yaml", archive_file.write(data for _, data in some)
            yield f"{name}.ids", archive_file.write_ids(escalation_id for escalation_id, _ in some)


def _filled(files: Iterable[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """The files in parts of at most an archive's size."""
    part: list[tuple[str, bytes]] = []
    size = 0
    for escalation_id, data in files:
        more = len(data) + len(b"---\n")
        if part and size + more > archive_file.MAX_ARCHIVE:
            yield part
            part, size = [], 0
        part.append((escalation_id, data))
        size += more
    if part:
        yield part


class _Past:
    """Resolved escalations by the million: the rules make one, the others' texts are made from its text.

    The first of each month is made by the rules as well, and the two must be the same.
    """

    def __init__(self, policies: Policies) -> None:
        self._policies = policies
        self._text = yaml_text.dumps(self._made(0, _FIRST)).decode()
        self._shown = self._made(0, _FIRST).reviews[0].shown

    def months(self, count: int) -> Iterator[tuple[int, int, list[tuple[str, bytes]]]]:
        """Year, month, and ids and bytes in id order; so many in all, spread evenly."""
        months = [(year, month) for year in ARCHIVED for month in range(1, 13)]
        for at, (year, month) in enumerate(months):
            numbers = range(at * count // len(months), (at + 1) * count // len(months))
            files = [self._file(number, _day(number, year, month)) for number in numbers]
            for number in numbers[:1]:
                record = self._made(number, _day(number, year, month))
                assert files[0] == (record.escalation_id, yaml_text.dumps(record))
            yield year, month, sorted(files)

    def _made(self, number: int, day: datetime) -> Record:
        raised = _raised(number, _act(GATEWAY, day, self._policies), "past")
        actor = _act(REVIEWERS[0], day + timedelta(hours=1), self._policies)
        claimed = transitions.claim(raised, actor, f"for-{request_id(number, 'past')}")
        return transitions.resolve(claimed, actor, "approved", REASON)

    def _file(self, number: int, day: datetime) -> tuple[str, bytes]:
        name = request_id(number, "past")
        text = self._text.replace(request_id(0, "past"), name).replace(
            f"{_FIRST:%Y-%m-%d}", f"{day:%Y-%m-%d}"
        )
        was, now = event(0), event(number)
        for key in ("severity", "summary", "agent_id"):
            text = text.replace(f"{key}: {was[key]}\n", f"{key}: {now[key]}\n")
        for key in ("prompt_hash", "excerpt"):
            text = text.replace(was["event_context"][key], now["event_context"][key])
        text = text.replace(f"shown: {_quoted(self._shown)}", f"shown: {_quoted(_digest(text))}")
        return ids.from_request(name), text.encode()


def _day(number: int, year: int, month: int) -> datetime:
    return datetime(year, month, 1 + number % 28, tzinfo=UTC)


def _digest(text: str) -> str:
    """The digest of what a reviewer is shown: what stands above `claim`, without a few keys."""
    above = text.partition("claim:\n")[0].splitlines(keepends=True)
    return sha256(
        "".join(x for x in above if not x.startswith(("schema_version:", "status:", "queued_at:"))).encode()
    ).hexdigest()


def _quoted(digest: str) -> str:
    return f'"{digest}"' if digest[0].isdigit() else digest


# --- git's own stream -----------------------------------------------------------------------------


@contextmanager
def _importing(store: Path) -> Iterator[IO[bytes]]:
    process = subprocess.Popen(["git", "fast-import", "--quiet"], cwd=store, stdin=subprocess.PIPE)
    assert process.stdin
    with process.stdin:
        yield process.stdin
    if process.wait() != 0:
        raise Failed(f"git fast-import ended with status {process.returncode}")


def _commit(stream: IO[bytes], who: str, when: datetime, message: str) -> None:
    name = f"{who.title()} <{who}@example.com> {int(when.timestamp())} +0000"
    text = message.encode()
    stream.write(b"commit refs/heads/main\nauthor %b\ncommitter %b\n" % (name.encode(), name.encode()))
    stream.write(b"data %d\n%b\n" % (len(text), text))


def _file(stream: IO[bytes], path: str, data: bytes) -> None:
    stream.write(b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(data), data))


def _step(
    stream: IO[bytes], who: str, now: datetime, message: Message, before: Record | None, after: Record
) -> None:
    _commit(stream, who, now, str(message))
    path = layout.path_of(after)
    if before and layout.path_of(before) != path:
        stream.write(f"D {layout.path_of(before)}\n".encode())
    _file(stream, path, yaml_text.dumps(after))


def _policies(store: Path, files: Mapping[str, str]) -> Policies:
    """The policies in these files, with the id of their tree."""
    lines = [
        f"100644 blob {git('hash-object', '-w', '--stdin', cwd=store, stdin=text.encode())}\t{Path(path).name}\n"
        for path, text in files.items()
    ]
    tree = git("mktree", cwd=store, stdin="".join(lines).encode())
    return assemble(tree, {path: yaml_text.policy_file(path, text.encode()) for path, text in files.items()})
