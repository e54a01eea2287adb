"""Stores for whoever shows one: months of work, or hostile texts, the same on every run.

The records are made by the rules of the core, in the order in which things happen, and written to real git
by one `git fast-import`.
"""

from __future__ import annotations

import heapq
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from itertools import count
from pathlib import Path
from random import Random

from lab import git

from kt_escalation.model import ids
from kt_escalation.model.record import Draft, Fallback, Record
from kt_escalation.policies.decision_event import Raisable
from kt_escalation.policies.policy_set import assemble
from kt_escalation.reporting.overview import Overview
from kt_escalation.rules import creation, due_actions, permissions, transitions
from kt_escalation.storage import layout, lookup, yaml_text
from kt_escalation.storage.commit_message import Message

#: When the last thing has happened.
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TEAMS = {
    "triage": ("alice", "bob", "carmen", "deniz"),
    "legal": ("alice", "edith"),
    "security": ("bob", "farid", "grace"),
}
PEOPLE = sorted({name for members in TEAMS.values() for name in members})
POLICIES = {
    "policies/policy-config.yaml": """\
pack: {name: main, enabled: true}
providers:
  targets:
    - {id: openai-prod, escalation_routing: {team_id: triage}, models: [{model_id: gpt-4o}, {model_id: gpt-4o-mini}]}
    - {id: anthropic-eu, escalation_routing: {team_id: legal}, models: [{model_id: claude-sonnet}]}
    - {id: local, escalation_routing: {team_id: security}, models: [{model_id: llama-70b}]}
""",
    "policies/roster.yaml": "teams:\n"
    + "".join(f"  - {{team_id: {team}, members: [{', '.join(who)}]}}\n" for team, who in TEAMS.items())
    + "users:\n"
    + "".join(f"  - {{user_id: {x}, emails: [{x}@example.com], roles: [reviewer]}}\n" for x in PEOPLE)
    + "  - {user_id: gateway, emails: [gateway@example.com], roles: [gateway]}\n"
    + "  - {user_id: admin, emails: [admin@example.com], roles: [admin]}\n",
    "policies/settings.yaml": """\
default_route: {team_id: triage}
claims: {lease: 8h}
rules:
  - match: {severity: critical}
    approvals: 2
    resolve_within: 2d
  - match: {severity: high}
    claim_within: 1d
    resolve_within: 7d
    fallback: {team_id: triage}
""",
}
TARGETS = (
    ("openai-prod", "gpt-4o"),
    ("openai-prod", "gpt-4o-mini"),
    ("anthropic-eu", "claude-sonnet"),
    ("local", "llama-70b"),
)
POLICY = {
    "human-oversight": ("oversight.required", "Refund of {n} EUR needs a person's consent"),
    "pii-detector": ("pii.detected", "Answer names a patient and case {n}"),
    "prompt-injection": ("injection.suspected", "Document {n} tells the model to ignore its rules"),
    "contract-guard": ("contract.change", "Clause {n} of the supply contract was reworded"),
    "code-sanitizer": ("code.secrets", "Generated script {n} reads the deployment keys"),
}
REASONS = {
    "approved": ("Request complies with policy", "Checked with the customer's file; nothing to object to"),
    "redacted": ("Names and numbers taken out", "Only the patient's initials are needed"),
    "rewritten": ("Answer now points to the published terms", "Reworded without the promise of a date"),
    "denied": (
        "Would disclose personal data to a third party",
        "The instruction came from the document, not from the user",
    ),
}


# What would act on a page, a terminal, a template, a spreadsheet or a reader if it were not shown as text.
HOSTILE = (
    "<script>window.pwned = 1</script>",
    "</script><script>window.pwned = 1</script>",
    "<!--<script>",
    "-->]]>",
    "\"'><img src=x onerror=window.pwned=1>",
    "<svg onload=window.pwned=1><style>*{display:none}</style>",
    "javascript:window.pwned=1",
    "<a href='javascript:window.pwned=1'>click</a>",
    "<base href=https://example.com/><link rel=stylesheet href=//example.com/x.css>",
    "<meta http-equiv=refresh content=0;url=https://example.com>",
    "{{ 7 * 7 }}{% raw %}{{ self.__init__.__globals__ }}",
    "${window.pwned=1}`",
    '=HYPERLINK("https://example.com")',
    "&lt;b&gt; &amp;amp; &#60;script&#62;",
    "__proto__",
    "\\u003c\\",
    "W" * 180,
    "Ω≈ç√ 審査 مراجعة 🚨",
)
#: What a record's free text may hold besides.
HIDDEN = "\x00 \x1b[2J \u202e gpj.exe \u2028 \ufeff \x9b"


@dataclass
class Office:
    """People at work on one store; ``commits`` is what they have written."""

    path: Path
    random: Random = field(default_factory=lambda: Random(9))

    def __post_init__(self) -> None:
        self._stream: list[bytes] = []
        self._records: dict[str, Record] = {}
        self._events: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._order = count()
        git("init", "--quiet", "--bare", "--initial-branch=main", str(self.path), cwd=self.path.parent)
        listed = []
        for path, text in POLICIES.items():
            blob = git("hash-object", "-w", "--stdin", cwd=self.path, stdin=text)
            listed.append(f"100644 blob {blob}\t{Path(path).name}\n")
        tree = git("mktree", cwd=self.path, stdin="".join(listed))
        files = {path: yaml_text.policy_file(path, text.encode()) for path, text in POLICIES.items()}
        self._policies = assemble(tree, files)

    def work(self, number: int, since: timedelta = 70 * DAY) -> None:
        """So many escalations in the time before `NOW`, each taken up, decided or left as real ones are."""
        begin = NOW - since
        self._write("admin", begin - HOUR, "Policies\n", {path: x.encode() for path, x in POLICIES.items()})
        for index in range(number):
            share = (index + self.random.random()) / number
            self._at(begin + share * since, lambda now, index=index: self._raise(index, now))
        while self._events:
            now, _, action = heapq.heappop(self._events)
            if now < NOW:
                action(now)

    def hostility(self) -> None:
        """One escalation for each hostile text, which stands wherever a text of strangers may stand."""
        begin = NOW - 2 * DAY
        self._write("admin", begin - HOUR, "Policies\n", {path: x.encode() for path, x in POLICIES.items()})
        for index, text in enumerate(HOSTILE):
            words, now = f"{text}\n{HIDDEN}", begin + index * HOUR
            draft = Draft(
                reason_code="a.b",
                summary=text[:200],
                request_id=f"{index} {words}",
                agent_id=words,
                model=words,
                policy=words,
                labels={text[:100]: words},
                event_context={text[:100]: words},
            )
            name = self.raised(draft, ids.from_request(f"{index} {words}"), now).escalation_id
            now += HOUR / 2
            self._step(
                "note", "alice", now, transitions.note(self._records[name], self._act("alice", now), words)
            )
            self._claim_by(name, "alice", now)
            if index % 2:
                done = transitions.resolve(self._records[name], self._act("alice", now), "denied", words)
                self._step("resolve", "alice", now, done)

    def raised(self, draft: Draft, name: str, now: datetime) -> Record:
        """Raise one more, and leave it."""
        given = [key for key in Draft.KEYS if getattr(draft, key) != getattr(Draft, key, None)]
        record = creation.raise_(
            Raisable(draft, frozenset(given)), name, self._act("gateway", now), self._token(now)
        )
        self._step("raise", "gateway", now, record)
        return record

    def save(self) -> Path:
        """Write it all to git."""
        subprocess.run(
            ["git", "fast-import", "--quiet"],
            cwd=self.path,
            input=b"".join(self._stream),
            check=True,
            capture_output=True,
        )
        return self.path

    # --- what people do ---------------------------------------------------------------------------

    def _at(self, when: datetime, action: Callable[[datetime], None]) -> None:
        heapq.heappush(self._events, (when.replace(microsecond=0), next(self._order), action))

    def _later(self, now: datetime, typical: timedelta, action: Callable[[datetime], None]) -> None:
        self._at(now + typical * self.random.lognormvariate(0, 0.8), action)

    def _raise(self, index: int, now: datetime) -> None:
        provider, model = self.random.choices(TARGETS, (5, 3, 3, 2))[0]
        policy = self.random.choices(list(POLICY), (5, 4, 2, 3, 1))[0]
        reason, summary = POLICY[policy]
        draft = Draft(
            severity=self.random.choices(("critical", "high", "medium", "low"), (1, 4, 8, 4))[0],
            reason_code=reason,
            summary=summary.format(n=self.random.randint(10, 990)),
            provider=provider,
            model=model,
            policy=policy,
            request_id=f"req-{index:05}",
        )
        name = self.raised(draft, f"esc_req-{index:05}", now).escalation_id
        wait = {"critical": HOUR, "high": 5 * HOUR, "medium": DAY, "low": 3 * DAY}[draft.severity]
        self._later(now, wait, lambda now: self._claim(name, now))

    def _claim(self, name: str, now: datetime) -> None:
        record = self._records[name]
        if self.random.random() < 0.09:
            # Nobody wants this one.
            self._later(now, 6 * DAY, lambda now: self._claim(name, now))
            return
        due = due_actions.due([record], self._act("admin", now), self._token(now))
        if due:
            self._swept(due[0].after, now)
            return
        team = TEAMS[record.route.team_id or "triage"]
        deciders = lookup.reviewers(record, self._records.get)
        free = [
            x
            for x in team
            if permissions.why_not(record, self._policies, x, deciders) is None
            and not permissions.has_reviewed(record, self._policies, x)
        ]
        if not free:
            return
        who = self.random.choices(free, [5 - min(free.index(x), 4) for x in free])[0]
        if self.random.random() < 0.1:
            text = "Asked the customer's team for the signed order; wait for their answer"
            self._step("note", who, now, transitions.note(record, self._act(who, now), text), text=text)
            record = self._records[name]
        if self.random.random() < 0.06:
            self._step("assign", "admin", now, self._moved(record, now))
            self._later(now, 3 * HOUR, lambda now: self._claim(name, now))
            return
        self._claim_by(name, who, now)
        if self.random.random() < 0.08:
            self._later(now, HOUR, lambda now: self._unclaim(name, who, now))
        else:
            self._later(now, 2 * HOUR, lambda now: self._resolve(name, who, now))

    def _claim_by(self, name: str, who: str, now: datetime) -> None:
        actor, token = self._act(who, now), self._token(now)
        self._step("claim", who, now, transitions.claim(self._records[name], actor, token))

    def _swept(self, after: Record, now: datetime) -> None:
        self._step("sweep", "admin", now, after)
        if after.resolution is None:
            self._later(now, 2 * HOUR, lambda now: self._claim(after.escalation_id, now))

    def _moved(self, record: Record, now: datetime) -> Record:
        other = self.random.choice([team for team in TEAMS if team != record.route.team_id])
        why = "Belongs to them by the new division of work"
        return transitions.assign(
            record, self._act("admin", now), Fallback(team_id=other), why, self._token(now)
        )

    def _unclaim(self, name: str, who: str, now: datetime) -> None:
        self._step("unclaim", who, now, transitions.unclaim(self._records[name], self._act(who, now)))
        self._later(now, 4 * HOUR, lambda now: self._claim(name, now))

    def _resolve(self, name: str, who: str, now: datetime) -> None:
        record = self._records[name]
        if transitions.lapsed(record, self._act(who, now)):
            [due] = due_actions.due([record], self._act("admin", now), "unused")
            self._swept(due.after, now)
            return
        weights = (2, 4, 1, 3) if record.policy == "pii-detector" else (6, 1, 1, 2)
        outcome = self.random.choices(list(REASONS), weights)[0]
        if record.requires.approvals > 1:
            outcome = self.random.choice(("approved", "approved", "denied"))
        reason = self.random.choice(REASONS[outcome])
        done = transitions.resolve(record, self._act(who, now), outcome, reason)
        action = "resolve" if done.resolution else "review"
        self._step(action, who, now, done, outcome=outcome, text=reason)
        if done.resolution is None:
            self._later(now, 2 * HOUR, lambda now: self._claim(name, now))
        elif self.random.random() < 0.04:
            self._later(now, DAY, lambda now: self._reopen(name, now))

    def _reopen(self, name: str, now: datetime) -> None:
        reason = "The customer has sent what was missing"
        new = f"esc_{ids.ulid(now, self.random.randbytes(ids.ULID_RANDOM_BYTES))}"
        who = self.random.choice(PEOPLE)
        self._step("reopen", who, now, creation.reopen(self._records[name], self._act(who, now), reason, new))
        self._later(now, 5 * HOUR, lambda now: self._claim(new, now))

    # --- what it writes ---------------------------------------------------------------------------

    def _act(self, who: str, now: datetime) -> permissions.Actor:
        return permissions.actor(f"{who}@example.com", now, self._policies)

    def _token(self, now: datetime) -> str:
        return ids.ulid(now, self.random.randbytes(ids.ULID_RANDOM_BYTES))

    def _step(
        self,
        action: str,
        who: str,
        now: datetime,
        after: Record,
        outcome: str | None = None,
        text: str | None = None,
    ) -> None:
        name = after.escalation_id
        before = self._records.get(name)
        claim_id = after.claim.claim_id if after.claim and action in ("claim", "resolve") else None
        files: dict[str, bytes | None] = {}
        if before and layout.path_of(before) != layout.path_of(after):
            files[layout.path_of(before)] = None
        files[layout.path_of(after)] = yaml_text.dumps(after)
        message = Message(action, [name], who, claim_id=claim_id, outcome=outcome, text=text)
        self._write(who, now, str(message), files)
        self._records[name] = after

    def _write(self, who: str, now: datetime, message: str, files: dict[str, bytes | None]) -> None:
        name = f"{who.title()} <{who}@example.com> {int(now.timestamp())} +0000"
        text = message.encode()
        self._stream.append(f"commit refs/heads/main\nauthor {name}\ncommitter {name}\n".encode())
        self._stream.append(b"data %d\n%b\n" % (len(text), text))
        for path, data in files.items():
            if data is None:
                self._stream.append(f"D {path}\n".encode())
            else:
                self._stream += [f"M 100644 inline {path}\ndata {len(data)}\n".encode(), data, b"\n"]


def many(found: Overview, number: int) -> Overview:
    """So many escalations made from those of a report: with ids, commits and words of their own."""
    cases = []
    for index in range(number):
        case = found.cases[index % len(found.cases)]
        mark = sha1(b"%d" % index).hexdigest()  # noqa: S324
        row = case.row._replace(escalation_id=f"esc_h{mark}", summary=f"{case.row.summary}, case {mark[:8]}")
        events = tuple(
            replace(
                event,
                commit=sha1(f"{mark}{event.commit}".encode()).hexdigest(),  # noqa: S324
                text=f"{event.text}; see the file of {mark[:12]} for what was asked and answered"
                if event.text
                else None,
            )
            for event in case.events
        )
        cases.append(replace(case, row=row, request_id=f"request-{mark}", events=events))
    return replace(found, cases=tuple(sorted(cases, key=lambda case: not case.is_open)))
