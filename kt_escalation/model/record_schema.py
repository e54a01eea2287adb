"""The meaning of each key of a record, for its JSON Schema and for docs/record.md.

It is separate from the model, because every command imports the model and few need this.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from .pydantic_schema import json_schema
from .record import Record

#: The meanings, by key or by part and key. A leading dot marks a key that several parts share.
MEANINGS: Mapping[str, str] = {
    "schema_version": "the version of this format: `2` if and only if the record has `action`, `requires.single_use`, "
    "`requires.valid_for`, an amendment, or the outcome `withdrawn`. A kt that does not know it reports that and does not "
    "read the record",
    "escalation_id": "`esc_` and the request id if that fits unchanged; else a digest of it, or a new ULID",
    "status": "`queued`: it waits; `claimed`: somebody holds it; `resolved`: it is decided",
    "severity": "how urgent it is; `claim --next` takes the most severe first",
    "reason_code": "why a human is asked, in dotted words, such as `oversight.required`",
    "summary": "what it is about, in one line",
    "created_at": "when the gateway decided to ask",
    "raised_at": "when it was added to the store",
    "raised_by": "the person or gateway who raised it: a user id of the roster, or an e-mail",
    "queued_at": "when it began to wait; giving back, a short quorum and rerouting set it again",
    "request_id": "the gateway's request; the same request is the same escalation",
    "agent_id": "the agent that made the request",
    "session_id": "the session of the request",
    "config_version": "the gateway's configuration at that time",
    "provider": "the id of the requested target",
    "model": "the requested model",
    "policy": "the kind of the policy that escalated the request",
    "event_context": "what the reviewer sees, as the gateway gave it: results, scores, a digest of the prompt, "
    "a redacted excerpt; never a raw prompt",
    "action": "what the gateway will do if the request is released",
    "labels": "keys and values of your own",
    "route": "the team or user that it goes to",
    "requires": "what the settings required when it was raised",
    "reopens": "the resolved escalation that it reopens",
    "claim": "the claim on it; stays when it is resolved",
    "reviews": "one for each decision, in order; more than one if several approvals are required",
    "notes": "comments, in order, with the reasons for handing on and taking back",
    "resolution": "the final decision",
    "action.kind": "the kind of action, in dotted words, such as `tool.call`, `model.request` or `model.response`",
    "action.name": "the name of the tool or model",
    "action.digest": "`sha256:` or `hmac-sha256:` and 64 hex digits, over the RFC 8785 form of `{kind, name, input}`; "
    "`kt escalation digest` prints it",
    "action.edit_schema": "the JSON Schema that an amendment must fit",
    ".team_id": "the team; never together with `user_id`",
    ".user_id": "the user; this user holds it from then on",
    "route.source": "what decided the route: a place in a pack, `default`, `event`, `assigned` or `fallback`",
    "route.policies": "the git tree of `policies/` that was read",
    "requires.approvals": "how many different people must agree on the same releasing outcome",
    "requires.claim_within": "how long it may wait, from `queued_at`, before it goes to the fallback",
    "requires.resolve_within": "how long it may be open, from `raised_at`, before it expires",
    "requires.fallback": "the team or user that gets it if nobody claims it in time",
    "requires.single_use": "a decision releases the request once: `release` takes it. `true` or absent",
    "requires.valid_for": "how long a decision may be released, from when it came to the store branch",
    ".claim_id": "a token that no other claim has; in a review, the claim under which it was made",
    "claim.claimed_by": "the holder: a user id of the roster, or an e-mail",
    "claim.claimed_at": "when the claim began",
    "claim.expires_at": "when the lease ends; absent if it has no end",
    "reviews.reviewer": "the person who decided: a user id of the roster, or an e-mail",
    "reviews.reviewed_at": "when the review was made",
    "reviews.shown": "sha256 of the content that was decided on: the keys above `claim` without `schema_version`, "
    "`status` and `queued_at`, and the notes, as kt writes them",
    "reviews.amendment": "what the request is to be released as; only with `redacted` and `rewritten`",
    "reviews.amendment.media_type": "`application/json` for a JSON value, else that of the text",
    "reviews.amendment.digest": "`sha256:` and 64 hex digits, over the RFC 8785 form of the value; text counts as a JSON "
    "string",
    "reviews.amendment.value": "the JSON value or the text; absent where an earlier review has the same one",
    ".outcome": "`approved`, `redacted` and `rewritten` release the request, the latter two changed; `denied`, "
    "`expired` and `withdrawn` do not; only `sweep` writes `expired`, only `withdraw` writes `withdrawn`",
    ".reason": "the reason, in the reviewer's own words",
    ".category": "the kind of case",
    "notes.by": "the author of the note",
    "notes.at": "when the note was added",
    "notes.text": "the text of the note",
    "resolution.resolved_by": "the last person to decide; if it has expired, the person who ran `sweep`, and if it was "
    "withdrawn, the person who withdrew it",
    "resolution.resolved_at": "when it was resolved",
}
#: The parts of a record, by the name of their model.
PARTS: Mapping[str, str] = {
    "Action": "action",
    "Route": "route",
    "Requires": "requires",
    "Fallback": "requires.fallback",
    "Claim": "claim",
    "Review": "reviews",
    "Amendment": "reviews.amendment",
    "Note": "notes",
    "Resolution": "resolution",
}


def meaning(part: str, key: str) -> str:
    """The meaning of a key. ``part`` is `""` for keys of the record itself."""
    return MEANINGS[key] if not part else MEANINGS.get(f"{part}.{key}") or MEANINGS[f".{key}"]


def schema() -> dict[str, Any]:
    """The record's JSON Schema, with the meaning of each key."""
    found = json_schema(Record)
    for part, properties in properties_of(found):
        for key, rule in properties.items():
            rule["description"] = meaning(part, key)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **found}


def properties_of(found: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The keys of the record, then those of each part, by the name of the part."""
    yield "", found["properties"]
    for name, part in PARTS.items():
        yield part, found["$defs"][name]["properties"]
