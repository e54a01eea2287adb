"""The result of a run of the judge, for its callers."""

from __future__ import annotations

from ..frozen import dataclass
from ..rules.judge_step import Violation
from ..rules.permissions import known_as
from .findings import key
from .run import Run


@dataclass(frozen=True)
class SignatureCounts:
    """Numbers of commits that acted: signed as required, signed although not required, unsigned."""

    held: int
    unasked: int
    unsigned: int


@dataclass(frozen=True)
class Report:
    """The judged commits, and the violations with and without a waiver.

    ``notes`` say what the judge cannot decide. ``nobody_proven`` means that nothing proves who made a commit.
    """

    revision: str
    commits: int
    steps: int
    imported: int
    signatures: SignatureCounts
    people: tuple[str, ...]
    violations: tuple[Violation, ...]
    waived: tuple[Violation, ...] = ()
    since: str | None = None
    notes: tuple[str, ...] = ()
    nobody_proven: bool = False

    @property
    def clean(self) -> bool:
        """Whether waivers accept all violations."""
        return not self.violations


def reported(run: Run, revision: str, *, only_new: bool = False, may_waive: bool = True) -> Report:
    """The report of a run up to a revision, with the violations before its mark unless ``only_new``.

    A pull request or a push cannot waive its own violations: ``may_waive`` is False for these.
    """
    judge = run.judge
    listed = {waiver.key for waiver in judge.policies.waivers}
    excused = judge.findings.accepted & listed if may_waive else set()
    every = run.violations if only_new else list(dict.fromkeys((*judge.findings.earlier, *run.violations)))
    found = [violation for violation in every if key(violation) not in excused]
    tally = judge.tally
    now = judge.policies.policies
    return Report(
        revision,
        tally.commits,
        tally.steps,
        tally.imported,
        SignatureCounts(tally.held, tally.unasked, tally.unsigned),
        # Who acted before there was a roster is known by an e-mail.
        tuple(sorted({known_as(name, now.roster) for name in tally.people})),
        tuple(found),
        tuple(violation for violation in every if key(violation) in excused),
        run.since,
        nobody_proven=now.settings.signatures != "required",
    )


def violation_line(violation: Violation) -> str:
    """A violation in one line: commit, author, file, rule, and what was expected."""
    return f"commit {violation.commit[:12]} by {author_named(violation.author)}: {violation.path}: {violation.rule}: {violation.expected}"


def author_named(email: str) -> str:
    """The author of a commit, in a sentence."""
    return email or "somebody without an e-mail"
