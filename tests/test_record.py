"""docs/record.md is generated from the model: keys, types, meaning.

After an intended change, `UPDATE_GOLDEN=1 pytest tests/test_record.py` writes the page again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from pages import TOP, UPDATE

from kt_escalation.model import record_schema
from kt_escalation.model.edit_schema import MAX_COMPARISONS
from kt_escalation.model.record import (
    Action,
    Amendment,
    Claim,
    Fallback,
    Note,
    Record,
    Requires,
    Resolution,
    Review,
    Route,
)
from kt_escalation.model.vocabulary import MAX_BYTES, MAX_DEPTH, MAX_NOTED, MAX_OPEN, MAX_RAISED

pytestmark = pytest.mark.fast

PAGE = TOP / "docs/record.md"
EXAMPLE = TOP / "queue/resolved/2026/11/24/esc_req_7g9d.yaml"
HEAD = f"""\
# The record

This page describes an escalation's file, key by key. It is generated from the model, and a test compares the two.
`kt escalation schema` prints the same as a JSON Schema.

One escalation is one file. While it is open the file is `queue/<escalation_id>.yaml`. When it is resolved, the file moves to
`queue/resolved/<YYYY>/<MM>/<DD>/<escalation_id>.yaml`, by the UTC day of `resolved_at`. After
[compaction](compaction.md) it is in an archive of its month. This is one, from this project's own `queue/`:

```yaml
{{example}}```

A file is one YAML document in UTF-8, of at most {MAX_BYTES // 1024} KiB and {MAX_DEPTH} levels. Keys are in the order below; keys without a
value are left out. There is one way to write each content, so a diff shows exactly what changed. `true`, `false`, `null`,
whole numbers and decimal fractions are what they look like. Everything else is text, also `no`, `on`, `0777` and
`12:30:45`; kt quotes a text that another reader could take for something else. Anchors, aliases, tags, repeated keys and
keys that are not in these tables are refused. Times are RFC 3339 in UTC with milliseconds, from 1970 to 8999; durations are
`90s`, `15m`, `2h` or `7d`, up to `36500d`.

When you `raise`, you may leave out the keys that raising sets: `schema_version`, `escalation_id`, `status`, `created_at`,
`raised_at`, `raised_by`, `queued_at`, `route`, `requires`. `claim`, `reviews`, `notes` and `resolution` are refused.
A question mark after a key means that it may be absent.

There is always room for a decision, so nobody can fill a record up. A new record has at most {MAX_RAISED // 1024} KiB. Notes by people who
may not decide it end at {MAX_NOTED // 1024} KiB, and everything else that leaves it open at {MAX_OPEN // 1024} KiB. The rest is for a claim and the
decision.

Only raising a request takes the id of that request. A record without a request id has a ULID as its id: `reopen` makes
such records, and a draft may give such an id (`esc_01jd…`), but no other. If a request id looks like a ULID, or like `h` and a
digest, the record's id has a digest of it.

A record whose `action` has an `edit_schema` takes only amendments that fit it. The schema is a JSON Schema (draft 2020-12) of
the keywords `type`, `properties`, `required`, `additionalProperties`, `items`, `enum`, `const`, `minimum`, `maximum`,
`minLength`, `maxLength`, `minItems`, `maxItems` and `anyOf`, and no others, so that what fits is the same everywhere. It has at
most 8 KiB and 16 levels, and comparing an amendment with it takes at most {MAX_COMPARISONS} comparisons of parts, so that
nobody's `verify` is held up. All amendments of a record together have at most 24 KiB.
"""
TITLES = {
    "": "Keys",
    "action": "action",
    "route": "route",
    "requires": "requires",
    "requires.fallback": "requires.fallback",
    "claim": "claim",
    "reviews": "reviews, each",
    "reviews.amendment": "reviews, each: amendment",
    "notes": "notes, each",
    "resolution": "resolution",
}


def kind(rule: Mapping[str, Any]) -> str:
    """A key's type in words, from its JSON Schema."""
    [rule, *_] = [one for one in rule.get("anyOf", [rule]) if one.get("type") != "null"]
    if "$ref" in rule:
        return "mapping"
    if "const" in rule:
        return f"`{json.dumps(rule['const'])}`"
    if "type" not in rule:
        return "any JSON value but null"
    if "enum" in rule:
        return ", ".join(f"`{word}`" for word in rule["enum"])
    if rule.get("format") == "date-time":
        return "time"
    if rule.get("pattern") == "^[0-9]+[smhd]?$":
        return "duration"
    if rule["type"] == "array":
        return "list"
    if rule["type"] == "object":
        most = f", at most {rule['maxProperties']}" if "maxProperties" in rule else ""
        texts = rule.get("additionalProperties") is not True
        return f"mapping of text to text{most}" if texts else "mapping"
    if rule["type"] == "integer":
        return f"{rule['minimum']} to {rule['maximum']}"
    bounds = f", at most {rule['maxLength']:,} characters" if "maxLength" in rule else ""
    shape = f" `{rule['pattern'].strip('^$')}`".replace("|", "\\|") if "pattern" in rule else ""
    return f"text{shape}{bounds}"


def test_the_page_is_what_the_model_says() -> None:
    schema = record_schema.schema()
    needed = {
        "": schema["required"],
        **{p: schema["$defs"][n].get("required", []) for n, p in record_schema.PARTS.items()},
    }
    written = HEAD.format(example=EXAMPLE.read_text())
    for part, properties in record_schema.properties_of(schema):
        written += f"\n## {TITLES[part]}\n\n| key | type | |\n|---|---|---|\n"
        for key, rule in properties.items():
            always = "" if key in needed[part] or rule.get("default") else "?"
            written += f"| `{key}`{always} | {kind(rule)} | {rule['description']} |\n"
    if UPDATE:
        PAGE.write_text(written)
    assert PAGE.read_text() == written, "write it again with UPDATE_GOLDEN=1"


def test_every_key_has_a_meaning_and_no_other_word_has() -> None:
    models = dict(
        zip(
            record_schema.PARTS.values(),
            (Action, Route, Requires, Fallback, Claim, Review, Amendment, Note, Resolution),
            strict=True,
        )
    )
    keys = {(part, key) for part, model in models.items() for key in model.KEYS}
    found = {
        f"{part}.{key}" if f"{part}.{key}" in record_schema.MEANINGS else f".{key}" for part, key in keys
    }
    assert found | set(Record.KEYS) == set(record_schema.MEANINGS)
