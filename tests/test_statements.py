"""What a message says is read in one way, whether kt wrote it or somebody who would have it read otherwise."""

from __future__ import annotations

from counts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from kt_escalation.audit import messages
from kt_escalation.storage.commit_message import Message

WORDS = st.sampled_from(
    ["kt: ", "resolve", "claim", "release", " ", "  ", " as ", " AS ", "approved", "Denied", "esc_r1", "esc_r2", "\n",
     "\n\n", "    ", "Kt-Action: ", "Kt-Escalation: ", "Kt-Actor: ", "Kt-Claim:", "kt-outcome: ", "Kt-Root: ops", "bob",
     ":", "é", "\t", "\r", "(1 of 2)", "2 escalations", "Kt-Count: 2"]
)  # fmt: skip
OURS = st.builds(
    Message,
    st.sampled_from(["resolve", "claim", "reopen", "release"]),
    st.lists(st.sampled_from(["esc_r1", "esc_r2"]), min_size=1, max_size=2, unique=True),
    st.sampled_from(["bob", "alice@example.com"]),
    st.none() | st.just("01j0z"),
    st.none() | st.sampled_from(["approved", "denied"]),
    st.sampled_from(["", "(1 of 2)", "for esc_r3", "as it was", "As denied"]),
    st.none() | st.sampled_from(["so be it", "Kt-Action: claim\n\nx", "é"]),
    st.none() | st.just("T1"),
).map(str)


@st.composite
def changed(draw: st.DrawFn) -> str:
    """A message of kt's with something put in, or taken out, at a few places."""
    text = draw(OURS)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(WORDS) + text[at + draw(st.integers(0, 3)) :]
    return text


@settings(max_examples=examples(120))
@given(changed() | st.lists(WORDS, max_size=12).map("".join))
def test_the_quick_reading_is_that_of_every_other_message(text: str) -> None:
    assert messages.statements(text) == messages._any_statements(text)


def test_nearly_all_messages_are_read_quickly() -> None:
    for action, outcome in (("claim", None), ("resolve", "approved"), ("release", None)):
        text = str(Message(action, ["esc_r1"], "bob", "01j0z", outcome, text="a\n\nb", release_id="T1"))
        assert messages._as_written(text) == messages._any_statements(text) != []
