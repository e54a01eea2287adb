"""The record's text: canonical, read strictly, and the same to every YAML reader (design, section 3)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from datetime import timedelta
from typing import Any

import pytest
import yaml
from counts import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sample_records import BAD, FULL, FULL_TEXT, NOON, SMALL_TEXT, laughs, nested
from strategies import TRAPS, json_values, records, texts

from kt_escalation.model import canonical, digests
from kt_escalation.model.record import (
    Action,
    Amendment,
    Claim,
    Note,
    Record,
    Requires,
    Review,
    Route,
)
from kt_escalation.model.text import visible
from kt_escalation.model.vocabulary import MAX_BYTES
from kt_escalation.rules.size_limits import largest
from kt_escalation.storage import canonical_reader, yaml_text
from kt_escalation.storage.yaml_text import Malformed

pytestmark = pytest.mark.fast


SMALL = Record(
    escalation_id="esc_small",
    status="queued",
    reason_code="oversight.required",
    created_at=NOON,
    raised_at=NOON,
    raised_by="gw@example.com",
    queued_at=NOON,
    route=Route(source="default"),
)


_VALUE = {"to": "ceo@example.com", "amount": 90, "note": None}
#: The same with all that version 2 has.
NEW = FULL.replace(
    action=Action(
        kind="tool.call",
        name="send mail",
        digest="hmac-sha256:" + "1f" * 32,
        edit_schema={
            "type": "object",
            "properties": {"to": {"type": "string"}},
            "additionalProperties": True,
        },
    ),
    requires=FULL.requires.replace(single_use=True, valid_for=timedelta(minutes=15)),
    reviews=(
        Review(
            reviewer="carol",
            outcome="rewritten",
            reason="less",
            amendment=Amendment(media_type="application/json", digest=digests.of_value(_VALUE), value=_VALUE),
            reviewed_at=NOON,
            claim_id="c1",
            shown="5e" * 32,
        ),
    ),
)
NEW_TEXT = (
    FULL_TEXT.replace("schema_version: 1", "schema_version: 2")
    .replace(
        "labels:\n",
        """\
action:
  kind: tool.call
  name: send mail
  digest: "hmac-sha256:1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f1f"
  edit_schema:
    additionalProperties: true
    properties:
      to:
        type: string
    type: object
labels:
""",
    )
    .replace("    user_id: erin\n", '    user_id: erin\n  single_use: true\n  valid_for: "15m"\n')
    .replace(
        FULL_TEXT[FULL_TEXT.index("    outcome: denied\n    reason: ") : FULL_TEXT.index("    reviewed_at")],
        f"""\
    outcome: rewritten
    reason: less
    amendment:
      media_type: application/json
      digest: "{digests.of_value(_VALUE)}"
      value:
        amount: 90
        note: null
        to: ceo@example.com
""",
    )
)

#: The keys in the order of the table in design, section 3.
KEYS = [
    "schema_version",
    "escalation_id",
    "status",
    "severity",
    "reason_code",
    "summary",
    "created_at",
    "raised_at",
    "raised_by",
    "queued_at",
    "request_id",
    "agent_id",
    "session_id",
    "config_version",
    "provider",
    "model",
    "policy",
    "event_context",
    "action",
    "labels",
    "route",
    "requires",
    "reopens",
    "claim",
    "reviews",
    "notes",
    "resolution",
]


def typed(value: Any) -> str:
    """Values as text that tells 1 from 1.0 and from true."""
    return json.dumps(value, sort_keys=True)


def context(value: Any) -> Record:
    return SMALL.replace(event_context={"value": value})


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "text"),
    [(SMALL, SMALL_TEXT), (FULL, FULL_TEXT), (NEW, NEW_TEXT)],
    ids=["small", "full", "version 2"],
)
def test_a_record_has_exactly_this_text(record: Record, text: str) -> None:
    assert yaml_text.dumps(record).decode() == text
    assert yaml_text.loads(text.encode()) == record


def test_keys_are_written_in_the_order_of_the_design_and_absent_ones_left_out() -> None:
    assert list(Record.KEYS) == KEYS
    written = yaml.safe_load(canonical.dumps(NEW))
    assert list(written) == KEYS
    assert list(yaml.safe_load(canonical.dumps(SMALL))) == [
        key for key in KEYS if f"\n{key}:" in "\n" + SMALL_TEXT
    ]


def test_a_byte_order_mark_before_json_is_passed_over() -> None:
    assert yaml_text.load_json(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@settings(max_examples=examples(150))
@given(records())
@example(FULL)
def test_any_record_comes_back_as_it_was_written(record: Record) -> None:
    data = yaml_text.dumps(record)
    for again in (yaml_text.loads(data), yaml_text.from_yaml(data)):
        assert again == record
        assert yaml_text.dumps(again) == data
    assert data.endswith(b"\n")
    assert not data.endswith(b"\n\n")
    # Whether a record fits is told from its free texts where they are short.
    assert len(data) <= largest(record)


@pytest.mark.parametrize("char", ["\n", "\U000e0001", "\x1b", "\u00e9", "\U0001f600", '"'])
def test_no_text_takes_more_room_than_is_reckoned_with(char: str) -> None:
    for text in (char * 1_000, f"a{char}" * 500 + "a", f"{char}a" * 500):
        note = Note(by="a", at=NOON, text=f"a{text}")
        for made in (
            SMALL.replace(event_context={"excerpt": text}),
            SMALL.replace(event_context={f"{n}{char * 90}": [[text[:9]]] for n in range(20)}),
            SMALL.replace(labels={f"{n}": text for n in range(20)}),
            SMALL.replace(notes=(note,) * 5),
        ):
            assert len(yaml_text.dumps(made)) <= largest(made)
    deep: object = {}
    for _ in range(28):
        deep = {"": [deep, 1]}
    made = SMALL.replace(event_context={"a": deep, **{f"{n}": [[[[n, {}]]]] for n in range(99)}})
    assert len(yaml_text.dumps(made)) <= largest(made)


@settings(max_examples=examples(150))
@given(records())
@example(FULL)
def test_canonical_text_is_read_without_yaml_for_the_same_record(record: Record) -> None:
    reading = canonical_reader.read(canonical.dumps(record))
    assert reading is not None
    assert reading.record == record
    assert typed(reading.record.as_dict()) == typed(record.as_dict())
    assert reading.shown == canonical.shown(record)
    assert "".join(f"{text}\n" for text in reading.texts.values()) == canonical.dumps(record)


@settings(max_examples=examples(100))
@given(records())
@example(FULL)
def test_any_yaml_reader_takes_the_text_for_the_same_values(record: Record) -> None:
    text, values = canonical.dumps(record), record.as_dict()
    for loader in (yaml.CSafeLoader, yaml.SafeLoader):
        assert typed(yaml.load(text, Loader=loader)) == typed(values)  # noqa: S506


@settings(max_examples=examples(300))
@given(json_values())
def test_any_json_value_comes_back_with_its_type(value: Any) -> None:
    text = yaml_text.dumps(context(value))
    assert typed(yaml_text.loads(text).event_context) == typed({"value": value})
    assert typed(yaml.load(text, Loader=yaml.CSafeLoader)["event_context"]) == typed({"value": value})


@settings(max_examples=examples(200))
@given(texts(max_size=3000))
def test_any_text_stays_text_for_every_reader(text: str) -> None:
    written = yaml_text.dumps(context([text]))
    assert yaml_text.loads(written) == context([text])
    for loader in (yaml.CSafeLoader, yaml.SafeLoader):
        assert yaml.load(written, Loader=loader)["event_context"]["value"] == [text]  # noqa: S506


@pytest.mark.parametrize(
    ("text", "written"),
    [
        *((text, text) for text in ("a", "a b", "gpt-4o.mini", "a/b", "x@example.com", "_", "nope", "e5")),
        *(
            (text, f'"{text}"')
            for text in ("y", "N", "yes", "No", "on", "OFF", "Null", "~", "nan", "Inf", "")
        ),
        *(
            (text, f'"{text}"')
            for text in ("0", "1e5", "12:30", "2026-03-04", "- a", "a: b", "a #b", " a", "a ")
        ),
        ("a\nb", "|-\n    a\n    b"),
        ("a\n\n  b\n", "|\n    a\n\n      b"),
        ("a" * 100, "a" * 100),
        ("a" * 101, "|-\n    " + "a" * 101),
        ("a \nb", '"a \\nb"'),
        (" a\nb", '" a\\nb"'),
        ("\na", '"\\na"'),
        ("a\n\n", '"a\\n\\n"'),
        ("a\tb\r\x1b\u202e", '"a\\tb\\r\\x1b\\u202e"'),
        ("ü\U0001f600", '"ü\U0001f600"'),
    ],
    ids=lambda text: f"{text!r:.16}",
)
def test_a_text_is_plain_quoted_or_a_block(text: str, written: str) -> None:
    assert f"\n  value: {written}\n" in canonical.dumps(context(text))


@pytest.mark.parametrize("text", TRAPS)
def test_a_trap_is_no_trap_as_a_value_and_as_a_key(text: str) -> None:
    record = SMALL.replace(event_context={text: text}, labels={"key": text})
    written = yaml_text.dumps(record)
    assert yaml_text.loads(written) == record
    for loader in (yaml.CSafeLoader, yaml.SafeLoader):
        read = yaml.load(written, Loader=loader)  # noqa: S506
        assert read["event_context"] == {text: text}
        assert read["labels"] == {"key": text}


@pytest.mark.parametrize(
    "number",
    [0, -1, 10**300 - 1, -(10**299), -(10**300 - 1), 0.0, -0.0, 1e16, -1e-07, 5e-324, 1.7976931348623157e308],
    ids=lambda number: f"{number!r:.12}",
)
def test_the_last_numbers_that_a_record_takes_come_back(number: float) -> None:
    record = context(number)
    assert typed(yaml_text.loads(yaml_text.dumps(record)).event_context) == typed({"value": number})


def test_no_character_that_acts_on_a_terminal_is_written_raw() -> None:
    everything = "".join(chr(point) for point in range(0x3000) if not 0xD800 <= point < 0xE000)
    written = yaml_text.dumps(context([everything, everything.replace("\n", "")])).decode()
    assert visible(written, lines=True) == written


@pytest.mark.parametrize("piece", ["/", " ", "a", "a/", "a ", "/ ", ".", "-", "_", "@a", "\n", "é", "\x1b"])
def test_no_repeated_piece_takes_long_to_write(piece: str) -> None:
    began = time.process_time()
    for text in (piece * 25, f"a{piece * 25}!", f"{piece * 25}\n"):
        assert yaml_text.loads(yaml_text.dumps(context(text))) == context(text)
    assert time.process_time() - began < 0.5


def test_the_order_of_a_mapping_is_not_content_so_it_does_not_change_the_bytes() -> None:
    forth = SMALL.replace(labels={"a": "1", "b": "2"}, event_context={"x": {"c": 1, "d": 2}, "y": 3})
    back = SMALL.replace(labels={"b": "2", "a": "1"}, event_context={"y": 3, "x": {"d": 2, "c": 1}})
    assert forth == back
    assert yaml_text.dumps(forth) == yaml_text.dumps(back)


@pytest.mark.parametrize(
    ("old", "new"),
    [("\U0001f600", "\U0001fae8"), ("\u4e00", "\U000323af"), ("\u1c80", "\u1c89")],
    ids=["emoji of Unicode 15", "ideograph of Unicode 15", "letter of Unicode 16"],
)
def test_a_character_is_written_in_one_way_whatever_unicode_version_python_knows(old: str, new: str) -> None:
    def is_raw(char: str) -> bool:
        return char in canonical.dumps(SMALL.replace(summary=f"a {char}"))

    assert is_raw(old) == is_raw(new)


# --- reading strictly -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "value"),
    [
        *((word, word) for word in ("no", "Yes", "on", "y", "True", "FALSE", "Null", "~", "0777", "0o17")),
        *((word, word) for word in ("0x1F", "1_000", "+1", "12:30:45", "2026-11-23", "1.", ".5", ".inf")),
        *((word, word) for word in (".nan", "NaN", "00", "-01", "1e", "0b1", "=", "١")),
        *(("true", True), ("false", False), ("null", None), ("0", 0), ("-12", -12), ("1.50", 1.5)),
        *(("1e5", 1e5), ("-2.5E-3", -0.0025), ('"1"', "1"), ("'true'", "true"), ('""', "")),
        *(("[]", []), ("{}", {}), ("a  b", "a  b")),
    ],
)
def test_scalars_mean_what_the_design_says_and_nothing_else(plain: str, value: object) -> None:
    assert typed(yaml_text.load_yaml(f"value: {plain}\n".encode()).value) == typed({"value": value})


@pytest.mark.parametrize("word", ["no", "null", "007", "1.10", "1e5", "12:30", "2026-11-23", "-0"])
def test_a_key_is_the_text_that_stands_there(word: str) -> None:
    assert list(yaml_text.load_yaml(f"{word}: x\n".encode()).value) == [word]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_record_is_refused_with_its_line(name: str) -> None:
    data, problem, line = BAD[name]
    with pytest.raises(Malformed) as caught:
        yaml_text.loads(data)
    assert problem in caught.value.problem
    assert caught.value.line == line
    assert str(caught.value).startswith(f"line {line}: " if line else caught.value.problem)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("inner", ["", "1", "a"], ids=["empty", "number", "text"])
def test_a_record_may_be_nested_32_deep(inner: str) -> None:
    record = yaml_text.loads(nested(32, inner))
    assert yaml_text.loads(yaml_text.dumps(record)) == record


def test_a_record_may_be_256_kib_large() -> None:
    padding = b"#" * (MAX_BYTES - len(SMALL_TEXT.encode()))
    assert yaml_text.loads(SMALL_TEXT.encode() + padding) == SMALL


TOKENS = (
    b"\x00 \xff \xf0\x9f \x85 \t \r\n \xef\xbb\xbf --- ... & * ! | > ' \" { } [ ] , : ? - # % @ ` << = ~ null "
    b"true 1e999 99999999999999999999 -1 0777 !!python/name:os.system \\ud800 schema_version: approvals: "
    b"claim_within: status: labels: notes: claim:"
).split(b" ")


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    """A good file with a few pieces put in, cut out or moved."""
    data = yaml_text.dumps(draw(st.sampled_from([SMALL, FULL])))
    for _ in range(draw(st.integers(1, 4))):
        at, until = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        piece = draw(st.sampled_from(TOKENS) | st.binary(max_size=4) | st.just(data[at:until]))
        end = draw(st.sampled_from([at, at + 1, until]))
        data = data[:at] + piece + data[end:]
    return data


@settings(max_examples=examples(200))
@given(st.binary(max_size=200) | broken())
def test_any_bytes_are_a_record_or_malformed_and_nothing_else(data: bytes) -> None:
    try:
        record = yaml_text.loads(data)
    except Malformed as error:
        assert str(error)
    else:
        assert yaml_text.loads(yaml_text.dumps(record)) == record
    canonically = yaml_text.canonical_reading(data)
    if canonically is not None:
        again = yaml_text.from_yaml(data)
        assert again == canonically.record
        assert yaml_text.dumps(again) == data


@settings(max_examples=examples(100))
@given(records(), st.data())
def test_what_is_read_as_canonical_is_what_yaml_reads_and_what_would_be_written(
    record: Record, data: st.DataObject
) -> None:
    lines = canonical.dumps(record).split("\n")
    at = data.draw(st.integers(0, len(lines) - 1))
    changed = data.draw(
        st.sampled_from(
            [lines[at][2:], f"  {lines[at]}", f"{lines[at]} ", f"{lines[at]}x", "", "  ", "    ", *lines]
        )
    )
    text = "\n".join([*lines[:at], changed, *lines[at + 1 :]])
    reading = canonical_reader.read(text)
    if reading is None:
        with contextlib.suppress(Malformed):
            assert yaml_text.dumps(yaml_text.from_yaml(text.encode())).decode() != text
    else:
        again = yaml_text.from_yaml(text.encode())
        assert again == reading.record
        assert canonical.dumps(again) == text


@pytest.mark.parametrize(
    ("before", "absent"),
    [
        ("created_at", "summary: null"),
        ("route", "agent_id: null"),
        ("route", "event_context: null"),
        ("", "reopens: null"),
        ("", "claim: null"),
        ("", "reviews: []"),
        ("", "notes: []"),
        ("", "resolution: null"),
    ],
    ids=lambda text: text.partition(":")[0],
)
def test_what_is_absent_is_left_out_and_text_that_writes_it_is_not_canonical(
    before: str, absent: str
) -> None:
    at = SMALL_TEXT.index(f"\n{before}:") + 1 if before else len(SMALL_TEXT)
    text = f"{SMALL_TEXT[:at]}{absent}\n{SMALL_TEXT[at:]}"
    assert yaml_text.from_yaml(text.encode()) == SMALL
    assert canonical_reader.read(text) is None


@pytest.mark.parametrize(
    "written", ["12:00:00.0000Z", "12:00:00Z", "13:00:00.000+01:00", "12:00:60.000Z", "12:00:00.000z"]
)
@pytest.mark.parametrize("record", [SMALL, FULL], ids=["small", "full"])
def test_a_time_that_is_written_otherwise_is_read_and_is_not_canonical(record: Record, written: str) -> None:
    text = canonical.dumps(record)
    for place in re.finditer(r'_?at: "\d{4}-\d\d-\d\dT(12:00:00\.000Z)"', text):
        other = f"{text[: place.start(1)]}{written}{text[place.end(1) :]}"
        assert isinstance(yaml_text.from_yaml(other.encode()), Record)
        assert canonical_reader.read(other) is None


@settings(max_examples=examples(100))
@given(records(), st.data())
def test_keys_in_another_order_or_number_are_not_canonical(record: Record, data: st.DataObject) -> None:
    text = canonical.dumps(record)
    indent = data.draw(st.sampled_from(["", "  ", "    "]))
    chunks = re.split(rf"\n{indent}(?=[^ \n])", text[:-1])
    one, other = (data.draw(st.integers(0, len(chunks) - 1)) for _ in range(2))
    how = data.draw(st.sampled_from(["exchange", "repeat", "drop"]))
    if how == "exchange":
        chunks[one], chunks[other] = chunks[other], chunks[one]
    elif how == "repeat":
        chunks.insert(other, chunks[one])
    else:
        del chunks[one]
    changed = f"\n{indent}".join(chunks) + "\n"
    reading = canonical_reader.read(changed)
    if reading is None:
        with contextlib.suppress(Malformed):
            assert yaml_text.dumps(yaml_text.from_yaml(changed.encode())).decode() != changed
    else:
        assert reading.record == yaml_text.from_yaml(changed.encode())
        assert canonical.dumps(reading.record) == changed
        assert reading.shown == canonical.shown(reading.record)


@settings(max_examples=examples(20))
@given(st.lists(records(), max_size=6))
def test_what_is_read_does_not_depend_on_what_is_remembered(several: list[Record]) -> None:
    small = canonical_reader._RecordReader(Record, "", 3)
    for record in several * 2:
        text = canonical.dumps(record)
        chunks = re.split(r"\n(?=[a-z])", text[:-1])
        assert Record.of(small.parts(chunks)) == record
        assert len(small._known) <= 3
        reading = canonical_reader.read(text)
        assert reading is not None
        assert reading.record == record
        assert list(reading.texts.values()) == chunks


def test_the_content_that_steps_share_is_read_once() -> None:
    queued = SMALL.replace(status="queued", claim=None, reviews=(), notes=(), resolution=None)
    canonical_reader.read(canonical.dumps(queued))
    before = canonical_reader._content.cache_info().hits
    claim = Claim(claim_id="01j", claimed_by="bob", claimed_at=NOON)
    claimed = canonical_reader.read(canonical.dumps(queued.replace(status="claimed", claim=claim)))
    assert claimed is not None
    assert claimed.record.claim == claim
    assert canonical_reader._content.cache_info().hits == before + 1


def test_a_blank_line_in_a_block_has_no_blanks() -> None:
    reason = "A long reason.\n\nOf several lines."
    value = {"said": {"deep": reason}, "lines": [reason]}
    text = canonical.dumps(SMALL.replace(event_context=value))
    assert "\n\n" in text
    assert canonical_reader.read(text) is not None
    for blanks in (" ", "  ", "    ", "      "):
        for place in re.finditer("\n\n", text):
            other = f"{text[: place.start() + 1]}{blanks}{text[place.start() + 1 :]}"
            assert canonical_reader.read(other) is None


@settings(max_examples=examples(300))
@given(st.text(alphabet='aZ09_/ .@+-:"\n\té', max_size=20))
def test_text_is_written_without_quotes_only_in_the_plain_form(text: str) -> None:
    plain = re.fullmatch(r"[A-Za-z_/][A-Za-z0-9_/]*(?:[ .@+-]+[A-Za-z0-9_/]+)*", text, re.ASCII)
    assert bool(canonical._PLAIN.fullmatch(text)) == bool(plain)
    assert canonical.on_a_line(text) == canonical.on_a_line_once(text)


#: More than any of these takes on a slow machine, and far less than one bomb does.
QUICK = 3.0


@pytest.mark.parametrize(
    "piece",
    [
        "[",
        "{",
        "(",
        "-",
        "?",
        ":",
        "'",
        '"',
        "&",
        "*",
        "!",
        "%",
        "#",
        "|",
        ">",
        ",",
        "\\",
        "---",
        "...",
        "[a],",
        "{a:",
        "{?a:",
        "a:\\n",
        "-\\n",
        "'a':",
        "!a&b",
        "a,",
        "\t",
        "\x01",
        "😀",
    ],
    ids=repr,
)
def test_no_repeated_piece_takes_long_to_refuse(piece: str) -> None:
    piece = piece.replace("\\n", "\n")
    for text in (piece, f"{piece} "):
        data = (text.encode() * MAX_BYTES)[: MAX_BYTES - 4]
        began = time.process_time()
        with pytest.raises(Malformed):
            yaml_text.loads(data)
        assert time.process_time() - began < QUICK


@pytest.mark.parametrize("strict", [True, False], ids=["record", "policy"])
def test_a_bomb_of_aliases_does_not_go_off(strict: bool) -> None:
    began = time.process_time()
    if strict:
        with pytest.raises(Malformed, match="anchor"):
            yaml_text.load_yaml(laughs(40), strict=True)
    else:
        assert len(yaml_text.load_yaml(laughs(40), strict=False).value) == 40
    assert time.process_time() - began < QUICK


# --- JSON -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'[{"b": {"a": 1, "a": 2}}]', "twice"),
        (b"NaN", "NaN"),
        (b'{"a": [-Infinity]}', "-Infinity"),
        (b"1" + b"0" * 300, "300 digits"),
        (b"-" + b"9" * 100_000, "300 digits"),
        (b"[" * 100_000, "deep"),
        (b'{"a":' * 100_000, "deep"),
        (b'"\xfc"', "UTF-8"),
        (b'"a\x00b"', "not JSON"),
    ],
    ids=lambda value: f"{value!r:.20}",
)
def test_json_is_read_strictly(data: bytes, problem: str) -> None:
    with pytest.raises(Malformed, match=problem):
        yaml_text.load_json(data)


@pytest.mark.parametrize("number", [10**300 - 1, -(10**300 - 1)], ids=["+", "-"])
def test_json_numbers_may_have_300_digits(number: int) -> None:
    assert yaml_text.load_json(str(number).encode()) == number


def test_the_line_of_a_json_fault_is_told() -> None:
    with pytest.raises(Malformed) as caught:
        yaml_text.load_json(b'{\n "a": 1,\n "b": x}')
    assert caught.value.line == 3


@settings(max_examples=examples(75))
@given(json_values())
def test_any_json_value_is_read_as_python_reads_it(value: Any) -> None:
    assert typed(yaml_text.load_json(json.dumps(value).encode())) == typed(value)


# --- what was shown -------------------------------------------------------------------------------

#: Another value for each key that can change alone.
OTHER: dict[str, Any] = {
    "escalation_id": "esc_other",
    "severity": "low",
    "reason_code": "other",
    "summary": None,
    "created_at": NOON - timedelta(hours=1),
    "raised_at": NOON + timedelta(hours=1),
    "raised_by": "other@example.com",
    "request_id": "777",
    "agent_id": None,
    "session_id": "s",
    "config_version": "1.1",
    "provider": "bank-us",
    "model": "m",
    "policy": "p",
    "event_context": {"scores": {"risk": 0.76}},
    "labels": {"on": "2026-03-05"},
    "route": Route(user_id="erin", source="assigned"),
    "requires": Requires(),
    "action": Action(kind="tool.call", name="mail", digest="sha256:" + "00" * 32),
    "reopens": None,
    "notes": (),
}


@pytest.mark.parametrize("key", OTHER)
def test_what_is_shown_changes_with(key: str) -> None:
    assert canonical.shown(FULL.replace(**{key: OTHER[key]})) != canonical.shown(FULL)


def test_no_key_is_forgotten_in_what_is_shown() -> None:
    never = {"schema_version", "status", "queued_at", "claim", "reviews", "resolution"}
    assert set(OTHER) | never == set(Record.KEYS)


@settings(max_examples=examples(20))
@given(records(), records())
def test_what_is_shown_does_not_change_with_the_decision(record: Record, decided: Record) -> None:
    life = {key: getattr(decided, key) for key in ("status", "queued_at", "claim", "reviews", "resolution")}
    assert canonical.shown(record.replace(**life)) == canonical.shown(record)


def test_what_is_shown_is_the_digest_of_the_canonical_text_without_the_decision() -> None:
    kept = [
        line
        for line in SMALL_TEXT.splitlines(keepends=True)
        if not line.startswith(("schema_version:", "status:", "queued_at:"))
    ]
    assert canonical.shown(SMALL) == hashlib.sha256("".join(kept).encode()).hexdigest()
