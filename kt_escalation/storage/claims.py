"""Reads from history the earlier claims that records no longer contain, in one stream."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from itertools import islice

from ..model.vocabulary import MAX_BYTES
from . import commits, layout, yaml_text
from .clone import GitStore

# How many commits' files are read from git in one go.
_AT_ONCE = 500
# Where the canonical text of a record names its claim; other texts are parsed.
_CLAIM_ID = re.compile(rb"\nclaim:\n  claim_id: (\S+)\n")


def taken(store: GitStore, revision: str, wanted: Collection[str]) -> dict[str, dict[str, datetime]]:
    """The time of each claim of these escalations up to a revision, by escalation id and claim id."""
    found: dict[str, dict[str, datetime]] = {name: {} for name in wanted}
    states = _states(store, revision, found)
    while some := list(islice(states, _AT_ONCE)):
        blobs = store.repository.objects.get([oid for _, oid in some], largest=MAX_BYTES)
        for (name, _), blob in zip(some, blobs, strict=True):
            if blob is None or blob.data is None or b"claim" not in blob.data:
                continue
            said = _CLAIM_ID.search(blob.data)
            if said and said[1].decode(errors="replace") in found[name]:
                continue
            try:
                claim = yaml_text.loads(blob.data).claim
            except yaml_text.Malformed:
                continue
            if claim:
                found[name].setdefault(claim.claim_id, claim.claimed_at)
    return found


def _states(store: GitStore, revision: str, wanted: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The escalation id and blob id of every earlier state of these escalations, oldest first."""
    known = frozenset(wanted)
    for commit in commits.walk(store, [revision]):
        for change in commit.changes:
            name = layout.id_of(change.path)
            if name in known and name is not None and change.new is not None:
                yield name, change.new
