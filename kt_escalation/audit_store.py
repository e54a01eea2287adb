"""The part of `Store` for auditors and policy authors: verify, check, export, evidence, stats, report, lint, route.

Each method opens the repository once more. A long report then does not hold up other threads of the store,
and `check` may read the store from the folder that the pull request's base names.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from .read_store import ReadStore

if TYPE_CHECKING:
    from .actions.policy import Explanation, Linted, Moved
    from .audit import Report, Sender
    from .policies.policy_set import Policies
    from .reporting.evidence import Evidence
    from .reporting.export import Exported, Format, Sink
    from .reporting.figures import Figures
    from .reporting.overview import Overview
    from .reporting.statistics import By, Period
    from .storage.interface import Progress


class AuditStore(ReadStore):
    """A store to read, to judge and to report on.

    A store in memory (`kt_escalation.testing`) has no repository, so these methods raise BadInput there.
    """

    @property
    def _folder(self) -> Path:
        return self._session.git.location.where

    @property
    def _progress(self) -> Progress | None:
        return self._session.git.progress

    # --- judging ----------------------------------------------------------------------------------

    def verify(
        self,
        wanted: str | None = None,
        *,
        afresh: bool = False,
        require_signatures: bool = False,
        contains: str | None = None,
    ) -> Report:
        """Judge every step in the whole history up to HEAD, or in a range such as ``A..B``.

        Without a range, this clone remembers the last commit that was clean, and the next run judges only what
        is new, unless ``afresh``. ``require_signatures`` requires signatures even if the settings do not.
        ``contains`` is a commit that must be on the line. Raises ShallowClone, BadInput, NotAStore.
        """
        from . import audit

        return audit.verify(
            self._folder,
            wanted,
            afresh=afresh,
            require_signatures=require_signatures,
            contains=contains,
            now=self._session.clock(),
            progress=self._progress,
        )

    def check(
        self,
        wanted: str | None = None,
        *,
        method: str | None = None,
        actors: Sequence[Sender] | None = None,
        strict: bool = False,
    ) -> Report:
        """Judge what a pull request would bring in.

        ``wanted`` is ``BASE..HEAD``; the default is what HEAD has that the remote's store branch does not.
        ``method`` is how it will be merged: "merge", "rebase" or "squash". All ``actors`` must be the author of
        everything that acts in it. With ``strict``, a change of the files that run this check is a violation.
        Raises ShallowClone, BadInput, NotAStore.
        """
        from . import audit

        return audit.check(
            self._folder,
            wanted,
            now=self._session.clock(),
            method=method,
            actors=actors,
            strict=strict,
            progress=self._progress,
        )

    # --- reports ----------------------------------------------------------------------------------

    def export(
        self, out: Sink, form: Format = "jsonl", *, rev: str | None = None, fetch: bool = False
    ) -> Exported:
        """Write every escalation at one commit to a binary file, as "jsonl" or "csv".

        Raises BadInput, NotAStore, GitFailed, and with ``fetch`` whatever fetching raises.
        """
        from .reporting import export

        return export.export(self._folder, out, form, rev=rev, fetch=fetch, progress=self._progress)

    def evidence(
        self,
        escalation_ids: Collection[str],
        out: BinaryIO,
        *,
        minimal: bool = False,
        rev: str | None = None,
        fetch: bool = False,
    ) -> Evidence:
        """Write everything that proves the history of some escalations to a binary file, as tar.

        ``escalation_ids`` are ids or unique prefixes. ``minimal`` leaves out the rest of the history.
        Raises NotFound, AmbiguousId, BadInput, NotAStore, ShallowClone, GitFailed.
        """
        from .actions import inputs
        from .reporting import evidence

        wanted = [inputs.one_id(name) for name in inputs.several_ids(escalation_ids)]
        return evidence.evidence(
            self._folder, wanted, out, minimal=minimal, rev=rev, fetch=fetch, progress=self._progress
        )

    def stats(
        self,
        by: By | None = None,
        *,
        period: Period = "month",
        since: datetime | None = None,
        until: datetime | None = None,
        rev: str | None = None,
        fetch: bool = False,
    ) -> Figures:
        """Count escalations, outcomes and durations from ``since`` to ``until``.

        ``by`` groups the numbers: "period", "team", "reviewer", "policy" or "model".
        Raises BadInput, NotAStore, and ShallowClone if history is needed and cut off.
        """
        from .reporting import figures
        from .reporting.statistics import Window

        return figures.stats(
            self._folder,
            now=self._session.clock(),
            by=by,
            period=period,
            window=Window(since, until),
            rev=rev,
            fetch=fetch,
            progress=self._progress,
        )

    def report(
        self,
        out: Sink | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        team: str | None = None,
        period: Period | None = None,
        rev: str | None = None,
        fetch: bool = False,
    ) -> Overview:
        """Collect the state of the queue, and write it to a binary file as one HTML page if ``out`` is given.

        The page needs the extra `report`. ``team`` selects the escalations that are routed to one team.
        Raises MissingExtra, BadInput, NotAStore, ShallowClone, GitFailed.
        """
        from .reporting import overview
        from .reporting.html import page_writer
        from .reporting.statistics import Window

        # Without the extra, a long history is not read in vain.
        page = page_writer() if out is not None else None
        found = overview.report(
            self._folder,
            now=self._session.clock(),
            window=Window(since, until),
            team=team,
            period=period,
            rev=rev,
            fetch=fetch,
            progress=self._progress,
        )
        if out is not None and page is not None:
            out.write(page(found).data)
        return found

    # --- policies ---------------------------------------------------------------------------------

    def lint(self) -> Linted:
        """The faults and warnings of the policy files in the folder, committed or not."""
        from .actions import policy

        return policy.lint(self._folder)

    def route(
        self,
        *,
        severity: str | None = None,
        reason_code: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        policy: str | None = None,
        rev: str | None = None,
    ) -> Explanation:
        """The route of an escalation with these keys, its requirements, and the reason. Raises NotAStore."""
        from .actions import policy as policies

        keys = {
            "severity": severity,
            "reason_code": reason_code,
            "provider": provider,
            "model": model,
            "policy": policy,
        }
        return policies.explain(self.policies(rev=rev), keys)

    def replay(
        self,
        changed: Policies | str | os.PathLike[str],
        *,
        since: datetime | None = None,
        rev: str | None = None,
    ) -> tuple[int, tuple[Moved, ...]]:
        """Route past escalations by changed policies: how many were looked at, and which would go elsewhere.

        ``changed`` are policies, or the folder that has them. Raises BadInput for policies with faults.
        """
        from .actions import policy

        other = policy.read(changed) if isinstance(changed, str | os.PathLike) else changed
        return policy.replay(self._folder, other, since, rev, self._progress)
