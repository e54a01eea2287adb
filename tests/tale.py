"""Graphs that are told commit by commit, for what is asked of the oracle, or of the judge as well."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import hostile
import oracle
import use_rules
from hostile import ROSTER, Branch, Graph, email, roster

from kt_escalation.model.record import Record
from kt_escalation.policies.decision_event import from_record
from kt_escalation.rules import creation, transitions
from kt_escalation.rules.permissions import actor
from kt_escalation.storage import layout, yaml_text


class Tale:
    """A graph that is told commit by commit; a minute passes before each."""

    def __init__(self, policies: Mapping[str, str] | None = None) -> None:
        self.graph = Graph(0)
        self.main = Branch("", {})
        self.graph.put(self.main, {"README.md": "Hello\n"}, email("boss"), "A repository\n", parents=())
        self.root = self.main.tip
        self.put(self.main, {ROSTER: roster(*hostile.PEOPLE)} if policies is None else policies, "boss")
        self.start = self.main.tip

    def put(
        self,
        branch: Branch,
        changes: Mapping[str, object],
        who: str,
        message: str = "by hand\n",
        **more: object,
    ) -> str:
        self.graph.now += timedelta(minutes=1)
        return self.graph.put(branch, changes, email(who), message, **more)  # type: ignore[arg-type]

    def side(self, at: str | None = None) -> Branch:
        at = at or self.main.tip
        return Branch(at, dict(self.graph.files[at]))

    def record(self, branch: Branch, name: str) -> Record:
        return self.graph.records(branch)[name]

    def does(
        self,
        branch: Branch,
        who: str,
        what: str,
        name: str = "esc_r1",
        author: str | None = None,
        message: str = "by hand\n",
    ) -> str:
        """A step by somebody, committed by them or by another author."""
        self.graph.now += timedelta(minutes=1)
        one = actor(email(who), self.graph.now, self.graph.policies(branch))
        if what == "raise":
            raisable = from_record(
                {"request_id": name.removeprefix("esc_"), "reason_code": "oversight.required"}
            )
            after = creation.raise_(raisable, name, one, "c0")
        elif what == "claim":
            after = transitions.claim(self.record(branch, name), one, f"c-{who}")
        elif what == "withdraw":
            after = transitions.withdraw(self.record(branch, name), one, "not needed")
        elif what == "note":
            after = transitions.note(self.record(branch, name), one, f"Hm, {who}")
        else:
            after = transitions.resolve(self.record(branch, name), one, what, "because")  # type: ignore[arg-type]
        return self.graph.put(branch, self.graph.written(branch, after), email(author or who), message)

    def reopens(self, branch: Branch, who: str, name: str, new: str) -> str:
        """Somebody reopens a record under a given id."""
        self.graph.now += timedelta(minutes=1)
        one = actor(email(who), self.graph.now, self.graph.policies(branch))
        made = creation.reopen(self.record(branch, name), one, "It was wrong", new)
        return self.graph.put(branch, self.graph.written(branch, made), email(who), "by hand\n")

    def releases(self, branch: Branch, who: str = "gw", name: str = "esc_r1") -> str:
        """The release of a decision of the main branch by somebody."""
        record, at = self.record(self.main, name), self.graph.now + timedelta(minutes=1)
        by = actor(email(who), at, self.graph.policies(branch)).name
        made = use_rules.release(record, by, "T", at)
        return self.put(branch, {use_rules.path_of(record): yaml_text.dumps_release(made)}, who)

    def folds(self, branch: Branch, *names: str, who: str = "boss", data: bytes = b"") -> str:
        """Records that were resolved long ago move into an archive, or other bytes in their place."""
        month, paths = "", sorted(path for name in names for path in self.graph.paths(branch, name))
        for path in paths:
            month = layout.month_of(path) or ""
        number = layout.last_archives(branch.files).get(f"resolved/{month}", 0) + 1
        held = [(layout.id_of(path) or "", data or self.graph.data(branch.files[path])) for path in paths]
        changes = dict.fromkeys(paths) | hostile.archive(month, number, held)
        return self.put(branch, changes, who)

    def merge(self, first: Branch, second: str, who: str, *, files: Mapping[str, hostile.File] | None = None,
              message: str = "Merge\n", more: tuple[str, ...] = (), at: datetime | None = None) -> str:  # fmt: skip
        """A merge, with git's own tree where none is given."""
        tree = hostile.merged(self.graph, first.tip, second) if files is None else dict(files)
        changes = dict.fromkeys(first.files.keys() - tree.keys()) | tree
        return self.put(first, changes, who, message, parents=(first.tip, second, *more), at=at)

    def verdict(self, tip: str | None = None) -> oracle.Verdict:
        return oracle.judge(self.graph.objects, tip or self.main.tip, self.graph.now)

    def found(self) -> set[tuple[str, str]]:
        """The rules that are broken, each with the commit that breaks it."""
        return {(one.commit, one.rule) for one in self.verdict().violations if one.sure}

    def decided(self, who: str = "alice", outcome: str = "approved", *, branch: Branch | None = None) -> None:
        for by, what in (("gw", "raise"), (who, "claim"), (who, outcome)):
            self.does(branch or self.main, by, what)

    def later(self, days: int = 10) -> None:
        self.graph.now += timedelta(days=days)
