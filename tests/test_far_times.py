"""Times and durations at the edges of what can be written end no command: they are read, or refused in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, get_args

import jsonschema
import pytest
from forge import Forge, identity, offer, serve
from gateways import GATEWAY_SETTINGS
from lab import Ran, kt
from sample_records import FULL

from kt_escalation.model import canonical, release
from kt_escalation.model.pydantic_schema import json_schema
from kt_escalation.model.record import Record
from kt_escalation.model.times import format_duration, format_time
from kt_escalation.model.value import InvalidValue, Value, hints, plain
from kt_escalation.policies.settings import Settings
from kt_escalation.storage import yaml_text

READ = ("1970-01-01T00:00:00.000Z", "8999-12-31T23:59:59.999Z")
REFUSED = (
    *("0001-01-01T00:00:00.000Z", "1969-12-31T23:59:59.999Z"),
    *("9000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"),
)
TOO_LONG = ("36501d", "999999999d")
SPANS = ("0s", "36500d", *TOO_LONG)
#: A time of a record or a release in its text.
WRITTEN = re.compile(r'^ *(?:- )?\w+: "(\d{4}-\d\d-\d\dT[\d:.]+Z)"$', re.MULTILINE)
#: Commands that read a store, and those that would change it.
COMMANDS = (
    *(
        "list",
        "list --overdue",
        "list --all",
        "stats",
        "export --format jsonl -o {report}",
        "verify --afresh",
        "check {before}..HEAD",
    ),
    *("sweep --dry-run", "doctor", "log", "events", "report -o {report}", "wait --timeout 1 --id esc_done"),
    *(
        "get --id esc_one",
        "wait --timeout 1 --id esc_one",
        "claim --id esc_one",
        "note --id esc_one --text x",
    ),
)


def leaves(kind: Any, wanted: type, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys with a time, or with a duration, whatever they are called."""
    for key, hint in hints(kind).items():
        every = [hint]
        while any(get_args(one) for one in every):
            every = [part for one in every for part in (get_args(one) or (one,))]
        for one in every:
            if isinstance(one, type) and issubclass(one, Value):
                yield from leaves(one, wanted, (*path, key))
            elif one is wanted:
                yield (*path, key)


TIMES, DURATIONS = sorted({*leaves(Record, datetime)}), sorted({*leaves(Record, timedelta)})
USED, LIMITS = sorted({*leaves(release.Release, datetime)}), sorted({*leaves(Settings, timedelta)})


def test_every_time_and_duration_is_found() -> None:
    assert len(TIMES) == 8
    assert len(DURATIONS) == 3
    assert len(USED) == 3
    assert len(LIMITS) == 6


def put(values: Any, path: tuple[str, ...], value: str) -> None:
    """Write a value into plain JSON; into each item of a list on the way."""
    if isinstance(values, list):
        for item in values:
            put(item, path, value)
    elif len(path) == 1:
        values[path[0]] = value
    else:
        put(values.setdefault(path[0], {}), path[1:], value)


@pytest.mark.fast
@pytest.mark.parametrize("path", TIMES, ids=".".join)
def test_reader_model_and_schema_agree_on_the_edges(path: tuple[str, ...]) -> None:
    schema = jsonschema.Draft202012Validator(json_schema(Record))
    for text in (*READ, *REFUSED):
        values = FULL.as_dict()
        put(values, path, text)
        # As it would be written if it were legal: so the fast reader is asked too.
        old = format_time(at(FULL, path))
        written, count = re.subn(
            rf'(?m)^( *(?:- )?{path[-1]}: )"{old}"$', rf'\1"{text}"', canonical.dumps(FULL)
        )
        assert count == 1
        if text in READ:
            assert schema.is_valid(values)
            assert plain(Record.parse(values)) == values
            assert yaml_text.loads(written.encode()) == Record.parse(values)
        else:
            assert not schema.is_valid(values)
            with pytest.raises(InvalidValue, match=f"{path[-1]}: '{text}' is not a time from 1970 to 8999"):
                Record.parse(values)
            with pytest.raises(yaml_text.Malformed, match="is not a time from 1970 to 8999"):
                yaml_text.loads(written.encode())


def at(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = getattr(value[0] if isinstance(value, tuple) else value, key)
    return value


@pytest.fixture
def far(forge: Forge) -> Forge:
    """A store with one decision that was used, and open escalations, one of them claimed."""
    forge.write("policies/settings.yaml", GATEWAY_SETTINGS)
    forge.commit("boss")
    forge.kt("gw", "raise", "--request-id", "used", "--reason-code", "tool.call")
    forge.kt("alice", "claim", "--id", "esc_used")
    forge.kt("alice", "resolve", "--id", "esc_used", "--outcome", "approved", "--reason", "ok")
    forge.kt("gw", "release", "--id", "esc_used")
    forge.kt("gw", "receipt", "--id", "esc_used", "--status", "executed")
    forge.kt("alice", "claim", "--id", "esc_one")
    forge.kt("alice", "claim", "--id", "esc_two")
    forge.kt("alice", "resolve", "--id", "esc_two", "--outcome", "approved", "--reason", "ok")
    forge.kt("bob", "claim", "--id", "esc_two")
    forge.kt("bob", "note", "--id", "esc_two", "--text", "look")
    return forge


def ask(forge: Forge, before: str) -> Iterator[Ran]:
    """What each command says, none of which fails by a bug of ours."""
    words = {"before": before, "report": str(forge.path.parent / "report.html")}
    for command in COMMANDS:
        ran = kt(*command.format_map(words).split(), cwd=forge.path, env=identity("alice"))
        assert ran.code != 5, (command, ran.err)
        yield ran


SOME = (REFUSED[0], REFUSED[-1], READ[-1])
REST = [pytest.param(text, marks=pytest.mark.soak) for text in (*READ, *REFUSED) if text not in SOME]


@pytest.mark.parametrize("text", [*SOME, *REST])
def test_no_time_in_a_record_or_a_release_ends_a_command(far: Forge, text: str) -> None:
    """Each time in turn is set in all files by somebody with plain git."""
    server, before = serve(far), far.tip()
    files = {path: far.read(path) for path in far.git("ls-files", "queue/*.yaml").splitlines()}
    found = {path: [*WRITTEN.finditer(whole)] for path, whole in files.items()}
    most = max(map(len, found.values()))
    # In an open and in a resolved record, and in a release with its receipt.
    assert most >= 7
    for turn in range(most):
        for path, places in found.items():
            if turn < len(places):
                start, end = places[turn].span(1)
                far.write(path, files[path][:start] + text + files[path][end:])
        far.commit("mallory")
        heard = "".join(ran.err for ran in ask(far, before))
        assert (text in REFUSED) == ("is not a time from 1970 to 8999" in heard)
        refused = offer(far, server)
        assert refused.code == 1, refused.err
        far.git("reset", "--quiet", "--hard", before)


@pytest.mark.parametrize("span", SPANS)
def test_no_duration_in_the_settings_ends_a_command(far: Forge, span: str) -> None:
    before, text = far.tip(), far.read("policies/settings.yaml")
    for path in LIMITS:
        key = path[-1]
        new = f"claims: {{{key}: {span}}}" if path[0] == "claims" else f"{key}: {span}"
        made, count = re.subn(r"claims: \{.*\}" if path[0] == "claims" else rf"{key}: \w+", new, text)
        assert count
        far.write("policies/settings.yaml", made)
        far.commit("boss")
        heard = "".join(ran.err for ran in ask(far, before))
        assert (span in TOO_LONG) == ("is longer than 36500 days" in heard)
        # Whatever is raised and claimed by them has times that can be read again.
        for command in (
            "raise --request-id new --reason-code later.use --severity critical",
            "claim --id esc_new",
            "claim --id esc_new --renew",
            "sweep",
            "get --id esc_new",
            "verify --afresh",
        ):
            ran = kt(*command.split(), cwd=far.path, env=identity("gw" if "raise" in command else "bob"))
            assert ran.code != 5, ran.err
        far.git("reset", "--quiet", "--hard", before)


@pytest.mark.parametrize(
    "seconds", ["0", "-1", "-99999999999999", "221845392000", "253402300799", "99999999999999999999"]
)
@pytest.mark.parametrize("expires", ["", READ[1]])
def test_no_date_of_a_commit_ends_a_command(far: Forge, seconds: str, expires: str) -> None:
    from test_forgeries import raw_commit

    before = far.tip()
    path = "queue/esc_one.yaml"
    by = f'  expires_at: "{expires}"\n' if expires else ""
    far.write(path, re.sub(r"  expires_at: .*\n", by, far.read(path)))
    far.commit("alice")
    raw_commit(far, (r"^author (.*>) .*$", rf"author \1 {seconds} +0000"),
               (r"^committer (.*>) .*$", rf"committer \1 {seconds} +0000"))  # fmt: skip
    assert any(ran.code == 1 for ran in ask(far, before))


def test_the_longest_duration_is_a_hundred_years() -> None:
    assert format_duration(timedelta(days=36_500)) == "36500d"
