"""What each key of a record means, for its JSON Schema and for its page in the docs (design, section 3).

It stands apart from the model, which every command imports and pays for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .model import Record

#: By key, and by part and key; those that several parts share stand once, behind a dot.
MEANINGS: Mapping[str, str] = {
    "schema_version": "the form of the record; a kt that does not know it says so and reads no further",
    "escalation_id": "`esc_` and the request id, where that fits as it is; else a digest of it, or a new ULID",
    "status": "`queued`: it waits; `claimed`: somebody holds it; `resolved`: it is decided",
    "severity": "how urgent it is; the most severe are taken first",
    "reason_code": "why a human is asked, in dotted words, such as `oversight.required`",
    "summary": "what it is about, in one line",
    "created_at": "when the gateway decided to ask",
    "raised_at": "when it came into the store",
    "raised_by": "who brought it there: a user id of the roster, or an e-mail",
    "queued_at": "since when it waits for somebody; giving back, a short quorum and rerouting set it anew",
    "request_id": "the gateway's request; the same one is the same escalation",
    "agent_id": "the agent that made the request",
    "session_id": "the session that it was made in",
    "config_version": "the gateway's configuration then",
    "provider": "the id of the target that was asked for",
    "model": "the model that was asked for",
    "policy": "the kind of policy that escalated",
    "event_context": "what the reviewer is shown, as the gateway gave it: results, scores, a digest of the prompt, "
    "a redacted excerpt; never a raw prompt",
    "labels": "keys and values of your own",
    "route": "who it goes to",
    "requires": "what the settings asked for when it was raised",
    "reopens": "the resolved escalation that it brings up again",
    "claim": "who holds it; stays when it is resolved",
    "reviews": "one for each decision, in order; more than one where several approvals are asked for",
    "notes": "what was said about it, in order; reasons for handing on and taking back are here too",
    "resolution": "how it ended",
    ".team_id": "the team; never together with `user_id`",
    ".user_id": "the user, who then holds it",
    "route.source": "what decided: a place in a pack, `default`, `event`, `assigned` or `fallback`",
    "route.policies": "the git tree of `policies/` that was read",
    "requires.approvals": "how many different people have to come to the same releasing outcome",
    "requires.claim_within": "how long it may wait, from `queued_at`, before it goes to the fallback",
    "requires.resolve_within": "how long it may be open, from `raised_at`, before it expires",
    "requires.fallback": "who gets it when nobody has claimed it in time",
    ".claim_id": "a token that no other claim has; of a review, the claim that it was made under",
    "claim.claimed_by": "the holder: a user id of the roster, or an e-mail",
    "claim.claimed_at": "since when",
    "claim.expires_at": "until when the lease lasts; absent where it has no end",
    "reviews.reviewer": "who decided: a user id of the roster, or an e-mail",
    "reviews.reviewed_at": "when",
    "reviews.shown": "sha256 of what was decided on: the keys above `claim` without `status` and `queued_at`, and "
    "the notes, as kt writes them",
    ".outcome": "`approved`, `redacted` and `rewritten` release the request, the latter two changed; `denied` does "
    "not, nor does `expired`, which the sweep alone writes",
    ".reason": "why, in the reviewer's own words",
    ".category": "what kind of case it was",
    "notes.by": "who said it",
    "notes.at": "when",
    "notes.text": "what was said",
    "resolution.resolved_by": "who decided last; of what has expired, who ran the sweep",
    "resolution.resolved_at": "when",
}
#: The parts of a record, by the name of their model.
PARTS: Mapping[str, str] = {
    "Route": "route",
    "Requires": "requires",
    "Fallback": "requires.fallback",
    "Claim": "claim",
    "Review": "reviews",
    "Note": "notes",
    "Resolution": "resolution",
}


def meaning(part: str, key: str) -> str:
    """What a key of a part, `""` for the record itself, means."""
    return MEANINGS[key] if not part else MEANINGS.get(f"{part}.{key}") or MEANINGS[f".{key}"]


def schema() -> dict[str, Any]:
    """The record's JSON Schema, with what each key means."""
    found = Record.model_json_schema()
    for part, properties in properties_of(found):
        for key, rule in properties.items():
            rule["description"] = meaning(part, key)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def properties_of(found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The record's keys and then those of each of its parts, by the part's name."""
    yield "", found["properties"]
    for name, part in PARTS.items():
        yield part, found["$defs"][name]["properties"]
