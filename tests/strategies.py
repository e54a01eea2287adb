"""Hypothesis strategies: what strangers write, JSON as a context may hold it, and any valid record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from hypothesis import strategies as st

from kt_escalation.model import digests
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
from kt_escalation.model.text import is_hidden
from kt_escalation.model.times import FIRST_YEAR, LAST_YEAR
from kt_escalation.model.vocabulary import (
    CATEGORIES,
    MAX_DIGITS,
    MAX_KEY,
    MAX_SUMMARY,
    SEVERITIES,
    Outcome,
    Status,
)

#: Text that some YAML reader, shell, spreadsheet, terminal or git takes for something else.
TRAPS = (
    *("no", "NO", "Yes", "on", "OFF", "y", "N", "true", "False", "null", "Null", "~", "=", "<<", ""),
    *("0", "-0", "0777", "0o17", "0x1F", "0b1", "1_000", "12:30:45", "1:30.5", "1e5", "1.0e+5", ".5", "5."),
    *(".inf", "-.INF", ".nan", "NaN", "inf", "2026-11-23", "2026-11-23T10:00:00Z", "2026-11-23 10:00:00"),
    *("- a", "-", "? a", ": a", "a: b", "a:", "a #b", "#", "&a", "*a", "!t", "!!int 1", "%YAML 1.1", "---"),
    *("...", "|", ">-", "@a", "`a", "{}", "[a]", "''", '"', "\\", "\\n", " a", "a ", "a  b", "\ta", "a\t"),
    *(
        "\n",
        "\n\n",
        "a\n",
        "a\n\n",
        "\na",
        " \na",
        "a \nb",
        "a\n\n  b\n",
        "a\r\nb",
        "a\rb",
        "a\n---\nb",
        " a\nb",
        "\ta\nb",
    ),
    *(
        "\x00",
        "\x1b[31m",
        "\x7f",
        "\x85",
        "\u2028",
        "\u2029",
        "\ufeff",
        "\u202eabc",
        "\u2066a\u2069",
        "\uffff",
    ),
    *("\xa0", "\u3000a", "e\u0301", "\u00fcn\u00ef", "\U0001f600", "\U000e0001", "\U0010ffff", "\ue000"),
    *(
        "Kt-Outcome: approved",
        "a\n\nKt-Actor: mallory",
        "Signed-off-by: Eve <eve@example.com>",
        "'; rm -rf /",
    ),
    *("(cherry picked from commit 1234567)", "# ------------------------ >8 ------------------------"),
    *("<<<<<<< ours", "diff --git a/a b/a", "<script>", "=cmd|' /C calc'!A0", "../../etc/passwd", "--force"),
)

_CHARS = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.sampled_from("aZ09 _-:#'\"\\/\t\n\r\x00\x1b\x85\xa0\u200b\u202e\u2028\ufeff\U0001f600"),
)


def texts(min_size: int = 0, max_size: int = 400) -> st.SearchStrategy[str]:
    """Any Unicode text, with a liking for what goes wrong."""
    short = st.one_of(st.sampled_from(TRAPS), st.text(_CHARS, max_size=12))
    long = st.builds(lambda part, times: part * times, short, st.integers(2, 60))
    lines = st.lists(st.one_of(short, long), min_size=2, max_size=6).map("\n".join)
    cut = st.one_of(short, short, long, lines).map(lambda text: text[:max_size])
    return cut.filter(lambda text: len(text) >= min_size)


def lines(max_size: int = 60) -> st.SearchStrategy[str]:
    """One line that holds no control, bidi or other format character."""
    shown = texts(1).map(lambda text: "".join(char for char in text if not is_hidden(char)))
    return shown.map(lambda text: text[:max_size]).filter(bool)


def times() -> st.SearchStrategy[datetime]:
    """Any time that a record can hold."""
    first, last = datetime(FIRST_YEAR, 1, 1), datetime(LAST_YEAR, 12, 31, 23, 59, 59)
    return st.datetimes(first, last, timezones=st.just(UTC)).map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    )


def durations() -> st.SearchStrategy[timedelta]:
    """Whole seconds, as durations are written, up to a hundred years."""
    unit = st.sampled_from([1, 60, 3600, 86400])
    return st.builds(lambda count, size: timedelta(seconds=count * size), st.integers(0, 36_500), unit)


def escalation_ids() -> st.SearchStrategy[str]:
    """Any escalation id."""
    return st.from_regex(r"\Aesc_[a-z0-9][a-z0-9_-]{0,59}\Z")


def claim_ids() -> st.SearchStrategy[str]:
    """Any claim id."""
    return st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z")


def json_values(leaves: int = 8) -> st.SearchStrategy[Any]:
    """Nested JSON as `event_context` allows it."""
    huge = 10 ** (MAX_DIGITS - 1) - 1
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-1000, 1000),
        st.integers(-huge, huge),
        st.sampled_from([huge, -huge, 10**16, 2**53 + 1]),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from([0.0, -0.0, 1e16, 1e-7, 1e300, 5e-324, 0.1]),
        texts(),
    )
    return st.recursive(
        scalars,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(texts(max_size=MAX_KEY), inner, max_size=3)
        ),
        max_leaves=leaves,
    )


def contexts() -> st.SearchStrategy[dict[str, Any]]:
    """What a reviewer is shown, sometimes deep."""

    def dug(value: Any, lists: list[bool]) -> dict[str, Any]:
        for is_list in lists:
            value = [value] if is_list else {"k": value}
        return {"deep": value}

    wide = st.dictionaries(texts(max_size=MAX_KEY), json_values(), max_size=4)
    deep = st.builds(dug, texts(), st.lists(st.booleans(), max_size=29))
    return st.one_of(wide, wide, deep)


def _optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


# Built once: building a strategy costs more than drawing from it.
_IDS, _CLAIM_IDS, _TIMES, _LINES = escalation_ids(), claim_ids(), times(), lines()
_SAID = texts(1, 3000).filter(lambda text: bool(text.strip()))
_WHOM = st.builds(lambda key, name: {key: name}, st.sampled_from(["team_id", "user_id"]), _LINES)
_OUTCOMES, _CATEGORIES = st.sampled_from(get_args(Outcome)), _optional(st.sampled_from(CATEGORIES))
_REQUIRES = st.just(Requires()) | st.builds(
    Requires,
    approvals=st.integers(1, 20),
    claim_within=_optional(durations()),
    resolve_within=_optional(durations()),
    fallback=_optional(_WHOM.map(lambda whom: Fallback(**whom))),
    single_use=st.sampled_from([None, None, True]),
    valid_for=st.none() | st.none() | durations(),
)
_ROUTES = st.builds(
    lambda whom, source, tree: Route(**whom, source=source, policies=tree),
    st.just({}) | _WHOM,
    _LINES,
    st.sampled_from([None, "0123456789" * 4, "f" * 64]),
)
_CLAIMS = st.builds(
    Claim, claim_id=_CLAIM_IDS, claimed_by=_LINES, claimed_at=_TIMES, expires_at=_optional(_TIMES)
)
_SCHEMAS = st.sampled_from(
    [
        {},
        {"type": "object", "properties": {"no": {"const": None}, "~": {"enum": [1, 1.5, "1", True]}}},
        {"anyOf": [{"type": ["string", "null"], "maxLength": 0}, {"items": False, "minItems": 2}]},
    ]
)
_ACTIONS = st.builds(
    Action,
    kind=st.sampled_from(["tool.call", "model.request", "no"]),
    name=_LINES,
    digest=st.sampled_from(["sha256:" + "0e" * 32, "hmac-sha256:" + "12" * 32]),
    edit_schema=_optional(_SCHEMAS),
)


def _amendment(value: Any) -> Amendment | None:
    try:
        digest = digests.of_value(value)
    except digests.NotIJson:
        return None
    return Amendment(media_type="application/json", digest=digest, value=value) if value is not None else None


_AMENDMENTS = st.none() | st.none() | st.one_of(texts(), json_values(4)).map(_amendment)
_REVIEWS = st.builds(
    lambda amendment, **rest: Review(
        amendment=amendment if rest["outcome"] in ("redacted", "rewritten") else None, **rest
    ),
    amendment=_AMENDMENTS,
    reviewer=_LINES,
    outcome=_OUTCOMES,
    reason=_SAID,
    category=_CATEGORIES,
    reviewed_at=_TIMES,
    claim_id=_CLAIM_IDS,
    shown=st.sampled_from(["0" * 64, "0123456789abcdef" * 4, "e" * 64]),
)
_NOTES = st.builds(Note, by=_LINES, at=_TIMES, text=_SAID)
_RESOLUTIONS = st.builds(
    Resolution,
    outcome=_OUTCOMES,
    reason=_SAID,
    category=_CATEGORIES,
    resolved_by=_LINES,
    resolved_at=_TIMES,
)
_NAMES = st.dictionaries(
    st.sampled_from(
        ["request_id", "agent_id", "session_id", "config_version", "provider", "model", "policy"]
    ),
    texts(1, 200),
    max_size=4,
)
_REST = st.fixed_dictionaries(
    {
        "escalation_id": _IDS,
        "severity": st.sampled_from(SEVERITIES),
        "reason_code": st.sampled_from(["oversight.required", "no", "0777", "a.b-c_d.1", "X"]),
        "created_at": _TIMES,
        "raised_at": _TIMES,
        "raised_by": _LINES,
        "queued_at": _TIMES,
        "route": _ROUTES,
        "requires": _REQUIRES,
    },
    optional={
        "summary": lines(MAX_SUMMARY),
        "event_context": contexts(),
        "action": _optional(_ACTIONS),
        "labels": st.dictionaries(_LINES, texts(), max_size=3),
        "reopens": _IDS,
        "reviews": st.lists(_REVIEWS, max_size=2).map(lambda reviews: _each_value_once(reviews)),
        "notes": st.lists(_NOTES, max_size=2).map(tuple),
    },
)


def _each_value_once(reviews: list[Review]) -> tuple[Review, ...]:
    """Name by its digest alone an amendment that an earlier review has."""
    known: set[str] = set()
    found = []
    for review in reviews:
        amendment = review.amendment
        if amendment is not None and amendment.digest in known:
            alone = Amendment(media_type=amendment.media_type, digest=amendment.digest)
            review = review.replace(amendment=alone)
        known |= {amendment.digest} if amendment else set()
        found.append(review)
    return tuple(found)


_LIVES = {
    "queued": st.just({}),
    "claimed": st.fixed_dictionaries({"claim": _CLAIMS}),
    "resolved": st.fixed_dictionaries({"resolution": _RESOLUTIONS}, optional={"claim": _CLAIMS}),
}


@st.composite
def records(draw: st.DrawFn, status: Status | None = None) -> Record:
    """Any record that the model allows, of one status if it is given.

    A composite, for the sake of its short name: Hypothesis prints a strategy that it draws from again.
    """
    state = status or draw(st.sampled_from(tuple(_LIVES)))
    parts = {"status": state, **draw(_REST), **draw(_NAMES), **draw(_LIVES[state])}
    return Record(schema_version=Record.made(parts).schema_version, **parts)
