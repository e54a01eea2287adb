"""The five promises under random actions, lost races and lost answers, in memory and on git."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from lab import Lab, git
from promises import FAULTS, FaultyPort, check_step, records

from kt_escalation import KtError, Store, audit
from kt_escalation.actions import commit_loop
from kt_escalation.errors import OutcomeUnknown
from kt_escalation.model.record import Record
from kt_escalation.model.vocabulary import DECISIONS, SEVERITIES
from kt_escalation.policies.policy_set import assemble
from kt_escalation.results import Result
from kt_escalation.rules import judge_step
from kt_escalation.rules.judge_step import Violation
from kt_escalation.rules.permissions import known_as
from kt_escalation.storage import lookup
from kt_escalation.storage.clone import GitStore
from kt_escalation.storage.interface import Author, Port
from kt_escalation.storage.yaml_text import policy_file
from kt_escalation.testing import MemoryRemote, MemoryStore

PEOPLE = ("alice", "bob", "carol")
# Whatever time it is for the people of a test, it is later for whoever audits.
FAR = datetime(2100, 1, 1, tzinfo=UTC)
WAITS_LONG, WAITS_SHORT = 30.0, 0.05
REQUESTS = tuple(f"r{n}" for n in range(4))
SETTINGS = b"""\
default_route: {team_id: legal}
claims: {lease: 30m, max_per_reviewer: 3}
rules:
  - match: {severity: critical}
    approvals: 2
    claim_within: 15m
    resolve_within: 4h
    fallback: {team_id: security}
  - match: {severity: high}
    claim_within: 15m
    fallback: {user_id: carol@example.com}
"""
ROSTER = b"""\
teams:
  - {team_id: legal, members: [alice, bob]}
  - {team_id: security, members: [bob, carol]}
users:
  - {user_id: alice, emails: [alice@example.com], roles: [reviewer]}
  - {user_id: bob, emails: [Bob@example.com, bob@home.example], roles: [reviewer, gateway]}
  - {user_id: carol, emails: [carol@example.com], roles: [reviewer, admin]}
  - {user_id: dave, emails: [dave@example.com], roles: [gateway]}
"""
FILES = {"policies/policy-config.yaml": b"pack: {enabled: true}\n", "policies/settings.yaml": SETTINGS}
WITH_ROSTER = {**FILES, "policies/roster.yaml": ROSTER}


def email(who: str) -> str:
    return f"{who}@example.com"


class InMemory:
    """A store that all share in memory."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._world = MemoryRemote(files)

    def port(self, who: str) -> Port:
        return MemoryStore(self._world, Author(who, email(who)))

    def history(self, known: int) -> list[tuple[str, str, Mapping[str, bytes]]]:
        """Commit, author's e-mail and files of each commit after the first ``known``."""
        return [(c.id, c.author.email, c.files) for c in self._world.commits[known:]]

    def offences(self) -> Sequence[Violation]:
        """What the audit of the whole history finds; there is no history of commits in memory."""
        return ()

    def close(self) -> None:
        pass


class OnGit:
    """A bare remote with a clone for each."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._lab = Lab(Path(self._folder.name))
        self._lab.put(files)
        self._ports: list[GitStore] = []

    def port(self, who: str) -> Port:
        self._ports.append(GitStore(self._lab.clone(who)))
        return self._ports[-1]

    def history(self, known: int) -> list[tuple[str, str, Mapping[str, bytes]]]:
        lines = git("log", "--reverse", "--format=%H %ae", "main", cwd=self._lab.remote).splitlines()
        return [(commit, who, self._files(commit)) for commit, who in map(str.split, lines[known:])]

    def _files(self, commit: str) -> dict[str, bytes]:
        names = git("ls-tree", "-r", "--name-only", commit, "queue", cwd=self._lab.remote).splitlines()
        return {n: f"{git('show', f'{commit}:{n}', cwd=self._lab.remote)}\n".encode() for n in names}

    def offences(self) -> Sequence[Violation]:
        """What the audit of the whole history finds."""
        return audit.verify(self._lab.remote, "main", afresh=True, now=FAR).violations

    def close(self) -> None:
        for port in self._ports:
            port.close()
        self._folder.cleanup()


class Life(RuleBasedStateMachine):
    """People who do anything at any time, with anything going wrong in between."""

    make_world: Callable[[Mapping[str, bytes]], InMemory | OnGit]

    @initialize(files=st.sampled_from((FILES, WITH_ROSTER)))
    def begin(self, files: Mapping[str, bytes]) -> None:
        self.world = self.make_world(files)
        self.policies = assemble("1" * 40, {path: policy_file(path, data) for path, data in files.items()})
        self.now = datetime(2026, 11, 23, 10, tzinfo=UTC)
        self.others = 0
        somebody = Store(self.world.port("dave"), clock=lambda: self.now)

        def comes_first() -> None:
            self.others += 1
            somebody.create(request_id=f"other-{self.others}", reason_code="a.b")

        self.ports = {who: FaultyPort(self.world.port(who), comes_first) for who in PEOPLE}
        self.seen = len(self.world.history(0))
        self.state = records(self.world.history(0)[-1][2])

    def teardown(self) -> None:
        if hasattr(self, "world"):
            try:
                assert not self.world.offences(), "a legal history raises an alarm"
            finally:
                self.world.close()

    def act(self, who: str, faults: tuple[str, ...], do: Callable[[Store], Result]) -> None:
        """Let somebody act, and hold the outcome against the history (promises 1, 2 and 3)."""
        self.ports[who].plan(*faults)
        quiet = any(fault.endswith("silent") for fault in faults)
        store = Store(
            self.ports[who], clock=lambda: self.now, retry_timeout=WAITS_SHORT if quiet else WAITS_LONG
        )
        result: Result | None = None
        error: KtError | None = None
        try:
            result = do(store)
        except KtError as caught:
            error = caught
        new = self.world.history(self.seen)
        mine = [commit for commit, author, _ in new if author == email(who)]
        if result is not None:
            assert mine == ([result.commit] if result.changed else []), "exit 0 and history disagree"
        elif isinstance(error, OutcomeUnknown):
            assert len(mine) <= 1
        else:
            assert error is not None
            assert error.exit_code != 5
            assert not mine, f"{error.code}, and yet it was done"
        for _, author, files in new:
            after = records(files)
            for name in {*self.state, *after}:
                if self.state.get(name) != after.get(name):
                    self.check(self.state.get(name), after.get(name), author)
            self.state = after
        self.seen += len(new)
        if result is not None:
            for record in result.records:
                assert self.state[record.escalation_id] == record, "what was said is not what is there"
        self.ports[who].plan()

    def check(self, before: Record | None, after: Record | None, author: str) -> None:
        """Hold one step against the tests' own checks and against the judge."""
        roster = self.policies.roster
        admin = roster is None or known_as(author, roster) == "carol"
        check_step(before, after, author, admin, lambda name: known_as(name, roster))
        assert after is not None
        origin = self.state.get(after.reopens) if after.reopens else None
        deciders = lookup.reviewers(after, self.state.get)
        policies = replace(self.policies, tree=after.route.policies)
        told = judge_step.StepContext(author, self.now, policies, deciders, origin)
        assert judge_step.judge(before, after, told) == ()

    people = st.sampled_from(PEOPLE)
    requests = st.sampled_from(REQUESTS)
    faults = st.lists(st.sampled_from(FAULTS), max_size=3).map(tuple)
    tokens = st.none() | st.sampled_from(("t1", "t2"))

    @rule(who=people, request=requests, severity=st.sampled_from(SEVERITIES), faults=faults)
    def raise_one(self, who: str, request: str, severity: str, faults: tuple[str, ...]) -> None:
        self.act(
            who, faults, lambda store: store.create(request_id=request, reason_code="a.b", severity=severity)
        )

    @rule(who=people, request=requests, token=tokens, faults=faults)
    def claim(self, who: str, request: str, token: str | None, faults: tuple[str, ...]) -> None:
        self.act(who, faults, lambda store: store.claim(f"esc_{request}", claim_id=token))

    @rule(who=people, count=st.integers(1, 3), faults=faults)
    def claim_next(self, who: str, count: int, faults: tuple[str, ...]) -> None:
        self.act(who, faults, lambda store: store.claim_next(count=count))

    @rule(who=people, request=requests, token=tokens, faults=faults)
    def unclaim(self, who: str, request: str, token: str | None, faults: tuple[str, ...]) -> None:
        self.act(who, faults, lambda store: store.unclaim(f"esc_{request}", claim_id=token))

    @rule(who=people, request=requests, outcome=st.sampled_from(DECISIONS), faults=faults)
    def resolve(self, who: str, request: str, outcome: str, faults: tuple[str, ...]) -> None:
        self.act(who, faults, lambda store: store.resolve(f"esc_{request}", outcome, "because"))

    @rule(who=people, request=requests, faults=faults)
    def note(self, who: str, request: str, faults: tuple[str, ...]) -> None:
        self.act(who, faults, lambda store: store.note(f"esc_{request}", "Something"))

    @rule(who=people, request=requests, token=tokens, faults=faults)
    def renew(self, who: str, request: str, token: str | None, faults: tuple[str, ...]) -> None:
        self.act(who, faults, lambda store: store.renew(f"esc_{request}", claim_id=token))

    @rule(who=people, request=requests, faults=faults)
    def force(self, who: str, request: str, faults: tuple[str, ...]) -> None:
        self.act(who, faults, lambda store: store.unclaim(f"esc_{request}", force_reason="away"))

    @rule(who=people, request=requests, user=st.none() | people, faults=faults)
    def assign(self, who: str, request: str, user: str | None, faults: tuple[str, ...]) -> None:
        team = "security" if user is None else None
        to = email(user) if user else None
        self.act(
            who, faults, lambda store: store.assign(f"esc_{request}", "better there", user=to, team=team)
        )

    @rule(who=people, request=requests, faults=faults)
    def reopen(self, who: str, request: str, faults: tuple[str, ...]) -> None:
        self.act(who, faults, lambda store: store.reopen(f"esc_{request}", "it was wrong"))

    @rule(who=people, faults=faults)
    def sweep(self, who: str, faults: tuple[str, ...]) -> None:
        self.act(who, faults, lambda store: store.sweep().result)

    @rule(minutes=st.integers(1, 60))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @invariant()
    def everybody_reads_the_same(self) -> None:
        if hasattr(self, "ports"):
            listed = Store(self.ports["alice"]).list(fetch=True)
            assert {r.escalation_id for r in listed.records} == {
                name for name, record in self.state.items() if record.status != "resolved"
            }


RUNS = {"memory": (InMemory, 40, 40), "git": (OnGit, 3, 12)}
SOAK = {"memory": (InMemory, 5000, 50), "git": (OnGit, 100, 30)}


@pytest.mark.parametrize(
    ("make_world", "examples", "steps"),
    [
        *(pytest.param(*run, id=name) for name, run in RUNS.items()),
        *(pytest.param(*run, id=f"{name}-soak", marks=pytest.mark.soak) for name, run in SOAK.items()),
    ],
)
def test_the_promises_hold_whatever_people_do(
    make_world: Callable[[Mapping[str, bytes]], InMemory | OnGit],
    examples: int,
    steps: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(commit_loop, "FIRST_PAUSE", 0.0)
    machine = type("Living", (Life,), {"make_world": staticmethod(make_world)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )
