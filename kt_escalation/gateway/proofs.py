"""Caches the decisions that a gateway has proved, so that repeated requests need no second proof."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple

from ..actions.decision import Proof
from ..model.vocabulary import RELEASING

# So many are kept.
_MOST = 10_000


class _Kept(NamedTuple):
    """A proof, and until when it is valid, by the monotonic clock."""

    proof: Proof
    until: float


class Proofs:
    """Keeps proofs of decisions that release nothing for ever.

    Keeps all others for ``seconds``, because they may be reopened.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}

    def keep(self, proof: Proof) -> None:
        """Add a proof."""
        end = proof.record.resolution
        releases = end is None or end.outcome in RELEASING
        until = time.monotonic() + self._seconds if releases else float("inf")
        with self._lock:
            self._kept[proof.record.escalation_id] = _Kept(proof, until)
            while len(self._kept) > _MOST:
                del self._kept[next(iter(self._kept))]

    def of(self, escalation_id: str) -> Proof | None:
        """The valid proof for an escalation, or None."""
        known = self._kept.get(escalation_id)
        return known.proof if known is not None and known.until >= time.monotonic() else None
