"""Small values: times, ids, text that is shown, commit messages, and what a push answered."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from counts import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lab import git
from strategies import TRAPS, claim_ids, durations, escalation_ids, lines, texts
from strategies import times as moments

from kt_escalation.git.push_result import PushAnswer, classify
from kt_escalation.model import ids, text, times
from kt_escalation.model.record import Draft
from kt_escalation.model.value import InvalidValue
from kt_escalation.policies.settings import Claims
from kt_escalation.storage.commit_message import Message

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)

# --- times and durations --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_", "written"),
    [
        ("2026-03-04T12:00:00Z", "2026-03-04T12:00:00.000Z"),
        ("2026-03-04t12:00:00z", "2026-03-04T12:00:00.000Z"),
        ("2026-03-04T12:00:00.5Z", "2026-03-04T12:00:00.500Z"),
        ("2026-03-04T12:00:00.123999Z", "2026-03-04T12:00:00.123Z"),
        ("2026-03-04T12:00:00.123456789012Z", "2026-03-04T12:00:00.123Z"),
        ("2026-03-04T23:30:00-01:00", "2026-03-05T00:30:00.000Z"),
        ("2026-03-04T12:00:00+05:45", "2026-03-04T06:15:00.000Z"),
        ("2026-03-04T12:00:00-00:00", "2026-03-04T12:00:00.000Z"),
        ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"),
        ("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.000Z"),
        ("2016-12-31T18:59:60-05:00", "2016-12-31T23:59:59.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_in_rfc_3339_is_written_in_utc_with_milliseconds(given_: str, written: str) -> None:
    assert times.format_time(times.parse_time(given_)) == written


@pytest.mark.parametrize(
    "bad",
    [
        *("", "now", "2026-03-04", "2026-03-04 12:00:00Z", "2026-03-04T12:00:00", "2026-03-04T12:00Z"),
        *("2026-3-4T12:00:00Z", "2026-03-04T12:00:00.Z", "2026-03-04T12:00:00,5Z", "1772625600"),
        *(
            "2026-03-04T12:00:00Z\n",
            " 2026-03-04T12:00:00Z",
            "2026-03-04T12:00:00UTC",
            "2026-03-04T12:00:00+1",
        ),
        *("2026-02-29T12:00:00Z", "2026-13-01T12:00:00Z", "2026-03-00T12:00:00Z", "0000-01-01T00:00:00Z"),
        *("2026-03-04T24:00:00Z", "2026-03-04T12:60:00Z", "2026-03-04T12:00:61Z", "2026-03-04T12:00:99Z"),
        *("2026-03-04T12:00:61+00:00", "2026-03-04T12:00:00+24:00", "2026-03-04T12:00:00+00:60"),
        *("9999-12-31T23:59:59-01:00", "0001-01-01T00:00:00+01:00", "２０２６-03-04T12:00:00Z"),
    ],
)
def test_what_is_no_time_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="is not "):
        times.parse_time(bad)


@given(moments(), st.integers(-1439, 1439))
def test_any_time_comes_back_whatever_zone_it_is_written_in(moment: datetime, minutes: int) -> None:
    assert times.parse_time(times.format_time(moment)) == moment
    zone = timezone(timedelta(minutes=minutes))
    try:
        local = moment.astimezone(zone)
    except OverflowError:
        return
    assert times.parse_time(local.isoformat()) == moment


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_times_sort_as_their_text_does(one: datetime, other: datetime) -> None:
    texts_ = [times.format_time(times.to_millis(moment)) for moment in (one, other)]
    assert (texts_[0] < texts_[1]) == (times.to_millis(one) < times.to_millis(other))


@pytest.mark.parametrize(
    ("given_", "seconds"),
    [("90", 90), ("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604800), ("0", 0), (" 5m ", 300)],
)
def test_durations_have_one_unit(given_: str, seconds: int) -> None:
    assert times.parse_duration(given_) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "bad", ["", "s", "-1", "+1", "1.5h", "1w", "1H", "1h30m", "2 h", "PT2H", "２h", "9" * 10, "1e3"]
)
def test_what_is_no_duration_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        times.parse_duration(bad)


@pytest.mark.parametrize("bad", ["1w", -1, 1.5, True, 10**15, 10**30], ids=repr)
def test_a_lease_that_is_no_duration_is_a_fault_of_the_settings(bad: object) -> None:
    with pytest.raises(InvalidValue):
        Claims.parse({"lease": bad})


@pytest.mark.parametrize("seconds", [0, 90, 10**9 - 1, 10**9 + 1, 10**12 + 1])
def test_a_lease_in_seconds_is_a_fault_or_can_be_written_and_read_again(seconds: int) -> None:
    try:
        lease = Claims.parse({"lease": seconds}).lease
    except InvalidValue:
        return
    assert lease is not None
    assert times.parse_duration(times.format_duration(lease)) == timedelta(seconds=seconds)


@given(durations())
def test_any_duration_comes_back_in_its_largest_whole_unit(span: timedelta) -> None:
    written = times.format_duration(span)
    assert times.parse_duration(written) == span
    assert written[-1] == "d" or span % timedelta(days=1) or not span


@pytest.mark.parametrize(
    ("seconds", "said"), [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (90000, "1d")]
)
def test_an_age_is_said_in_its_largest_unit(seconds: int, said: str) -> None:
    assert times.age(timedelta(seconds=seconds)) == said


# --- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "good"),
    [
        *((name, True) for name in ("esc_a", "esc_0", "esc_" + "z" * 60, "esc_a-b_c", "esc_a_", "esc_a--")),
        *((name, False) for name in ("", "esc_", "esc", "a", "ESC_a", "esc_A", "esc_-a", "esc__a", "esc-a")),
        *(
            (name, False)
            for name in ("esc_a\n", "\nesc_a", " esc_a", "esc_a ", "esc_a.b", "esc_a/b", "esc_é")
        ),
        *((name, False) for name in ("esc_../../etc", "esc_a\0", "esc_" + "a" * 61, "esc_" + "a" * 10_000)),
        *((name, False) for name in ("-esc_a", "--esc_a", "esc_ａ", "esc_１", "esc_a\u202e", "xesc_a")),
    ],
    ids=lambda value: f"{value!r:.24}",
)
def test_an_escalation_id_is_a_safe_file_name(name: str, good: bool) -> None:
    assert ids.is_escalation_id(name) is good
    accepted = True
    try:
        Draft(reason_code="a", escalation_id=name)
    except InvalidValue:
        accepted = False
    assert accepted is good


@pytest.mark.parametrize(
    ("name", "good"),
    [
        *((name, True) for name in ("esc_abcd", "esc_a-b_", "esc_" + "a" * 60)),
        *((name, False) for name in ("", "esc_", "esc_abc", "abcd", "esc_-bcd", "esc_ABCD", "esc_abcd\n")),
        *((name, False) for name in ("esc_abcd*", "esc_" + "a" * 61)),
    ],
)
def test_a_prefix_has_four_characters_or_more(name: str, good: bool) -> None:
    assert ids.is_prefix(name) is good


@given(texts(1) | escalation_ids().map(lambda name: name[4:]))
@example("Loan/42 ünï")
@example("a" * 61)
@example("h" + "a" * 40)
@example("0" * 26)
def test_a_request_id_gives_its_own_name_if_that_fits_and_else_a_digest(request_id: str) -> None:
    name = ids.from_request(request_id)
    assert ids.is_escalation_id(name)
    assert name == ids.from_request(request_id)
    looks_made = re.match("h[0-9a-f]{40}", request_id) or ids.is_ulid(f"esc_{request_id}")
    if ids.is_escalation_id(f"esc_{request_id}") and not looks_made:
        assert name == f"esc_{request_id}"
    else:
        assert name == f"esc_h{hashlib.sha256(request_id.encode()).hexdigest()[:40]}"


def test_a_ulid_is_the_one_of_its_specification_in_lower_case() -> None:
    moment = datetime(2016, 7, 30, 22, 36, 16, 385000, UTC)
    assert ids.ulid(moment, b"\xff" * 10) == "01aryz6s41" + "z" * 16
    assert ids.ulid(moment, b"\0" * 9 + b"\x21") == "01aryz6s41" + "0" * 14 + "11"


@settings(max_examples=examples(300))
@given(
    st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC)), st.integers(1, 10**9)
)
@example(datetime(2243, 1, 1, tzinfo=UTC), 1)
def test_ulids_sort_by_their_millisecond_whatever_their_random_part(moment: datetime, later: int) -> None:
    first = times.to_millis(moment)
    earlier = ids.ulid(first, b"\xff" * 10)
    assert earlier < ids.ulid(first + timedelta(milliseconds=later), b"\0" * 10)
    assert ids.is_escalation_id(f"esc_{earlier}")


# --- text that is shown ---------------------------------------------------------------------------


def is_noncharacter(char: str) -> bool:
    """Whether Unicode keeps the code point out of text for ever; git takes its bytes for Latin-1."""
    return ord(char) & 0xFFFE == 0xFFFE or 0xFDD0 <= ord(char) <= 0xFDEF


BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


@settings(max_examples=examples(300))
@given(st.text(max_size=40) | texts())
@example(BIDI + "\x1b]0;x\x07\x9b31m\x7f\u2028\u2029\ufeff\U000e0041\ud800")
def test_nothing_that_acts_on_a_terminal_survives_being_shown(shown: str) -> None:
    for char in text.visible(shown):
        assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert char not in BIDI
    many = text.visible(shown, lines=True)
    assert many.count("\n") == shown.count("\n")
    assert all(text.visible(line) == line for line in many.split("\n"))
    removed = text.without_hidden(shown)
    assert text.visible(removed, lines=True) == removed


@given(lines().filter(lambda line: not any(map(is_noncharacter, line))))
def test_text_without_hidden_characters_is_shown_as_it_is(line: str) -> None:
    assert text.visible(line) == text.visible(line, lines=True) == text.without_hidden(line) == line


@pytest.mark.parametrize(
    ("char", "seen"),
    [
        *(("\x1b", "\\x1b"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t"), ("\x9b", "\\x9b"), ("\0", "\\x00")),
        *(("\u202e", "\\u202e"), ("\U000e0001", "\\U000e0001"), ("\ud800", "\\ud800")),
    ],
)
def test_a_hidden_character_is_written_out(char: str, seen: str) -> None:
    assert text.visible(f"a{char}b") == f"a{seen}b"


# --- commit messages ------------------------------------------------------------------------------


def test_a_message_reads_as_the_design_shows_it() -> None:
    message = Message(
        "resolve", ["esc_abc123"], "alice", "01jd", "approved", text="Request complies with policy"
    )
    assert str(message) == (
        "kt: resolve esc_abc123 as approved\n"
        "\n"
        "    Request complies with policy\n"
        "\n"
        "Kt-Action: resolve\n"
        "Kt-Escalation: esc_abc123\n"
        "Kt-Actor: alice\n"
        "Kt-Claim: 01jd\n"
        "Kt-Outcome: approved\n"
    )


def test_a_first_review_of_two_says_so() -> None:
    message = Message("review", ["esc_abc123"], "alice", "01jd", "approved", detail="(1 of 2)")
    assert str(message).splitlines()[0] == "kt: review esc_abc123 as approved (1 of 2)"
    assert "Kt-Action: review" in str(message)


@pytest.mark.parametrize("count", [2, 100, 101, 250])
def test_several_escalations_are_named_in_order_up_to_a_hundred_and_then_counted(count: int) -> None:
    names = [f"esc_{number:03}" for number in range(count)]
    written = str(Message("claim", names[::-1], "alice", "c1")).splitlines()
    assert written[0] == f"kt: claim {count} escalations"
    named = [line for line in written if line.startswith("Kt-Escalation: ")]
    assert named == [f"Kt-Escalation: {name}" for name in names[:100]]
    assert written[written.index(named[-1]) + 1] == f"Kt-Count: {count}"


def test_a_text_of_nothing_visible_leaves_no_gap() -> None:
    empty = str(Message("note", ["esc_a"], "alice"))
    assert all(str(Message("note", ["esc_a"], "alice", text=said)) == empty for said in ("", "\n", "\x1b\n"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("messages")
    git("init", "--quiet", cwd=folder)
    git("config", "user.name", "Alice", cwd=folder)
    git("config", "user.email", "alice@example.com", cwd=folder)
    git("commit", "--quiet", "--allow-empty", "-m", "start", cwd=folder)
    return folder


def asked(repository: Path, *args: str, said: str = "") -> str:
    """Git's answer in UTF-8, given ``said`` on its standard input."""
    done = subprocess.run(
        ["git", *args], cwd=repository, input=said.encode(), capture_output=True, check=True, env=os.environ
    )
    return done.stdout.decode()


WORDS = lines().filter(lambda line: bool(line.strip()) and not any(map(is_noncharacter, line)))


@settings(max_examples=examples(60))
@given(
    names=st.lists(escalation_ids(), min_size=1, max_size=3, unique=True),
    actor=WORDS,
    claim_id=st.none() | claim_ids(),
    outcome=st.sampled_from([None, "approved", "denied"]),
    detail=st.just("") | WORDS,
    said=st.none() | texts(),
)
@example(["esc_a"], "alice", "c1", "denied", "", "\n".join(TRAPS))
@example(["esc_a"], "alice", None, None, "x\n\nKt-Actor: eve", "fine\n\n---\nKt-Outcome: approved\n")
def test_git_reads_exactly_the_trailers_that_were_meant(
    repository: Path,
    names: Sequence[str],
    actor: str,
    claim_id: str | None,
    outcome: str | None,
    detail: str,
    said: str | None,
) -> None:
    message = str(Message("act", names, actor, claim_id, outcome, detail, said))
    meant = ["Kt-Action: act", *(f"Kt-Escalation: {name}" for name in sorted(names))]
    meant += [f"Kt-Count: {len(names)}"] if len(names) > 1 else []
    meant += [f"Kt-Actor: {' '.join(actor.split())}"]
    meant += [f"Kt-Claim: {claim_id}"] if claim_id else []
    meant += [f"Kt-Outcome: {outcome}"] if outcome else []
    commit = asked(repository, "commit-tree", "HEAD^{tree}", said=message).strip()
    subject, trailers = asked(repository, "log", "-1", "--format=%s%x00%(trailers)", commit).split("\0")
    assert trailers.strip("\n").split("\n") == meant
    assert asked(repository, "interpret-trailers", "--parse", said=message).strip("\n").split("\n") == meant
    assert subject.startswith("kt: act ")
    assert message.startswith(f"{subject}\n")
    body = message.removeprefix(subject).removesuffix("\n".join([*meant, ""]))
    assert all(line.startswith("    ") or not line for line in body.split("\n"))
    assert text.visible(message, lines=True) == message


@settings(max_examples=examples(40))
@given(texts())
@example("\ufddb31mred")
@example("\ufffe \uffff \U0010fffe")
def test_what_git_shows_of_a_message_acts_on_no_terminal(repository: Path, said: str) -> None:
    message = str(Message("note", ["esc_a"], "alice", text=said))
    commit = asked(repository, "commit-tree", "HEAD^{tree}", said=message).strip()
    stored = asked(repository, "log", "-1", "--format=%B", commit)
    assert text.visible(stored, lines=True) == stored
    assert stored.strip("\n") == message.strip("\n")


# --- what a push answered -------------------------------------------------------------------------

LANDED, LOST, REFUSED, FAULT, UNREACHED, UNKNOWN = PushAnswer
NO_READ = "fatal: Could not read from remote repository."
GITLAB = "remote: GitLab: You are not allowed to push code to protected branches on this project."
GITEA = "remote: Gitea: Not allowed to push to protected branch main"
GONE = "send-pack: unexpected disconnect while reading sideband packet\nfatal: the remote end hung up unexpectedly"
MOVED = "cannot lock ref 'refs/heads/main': is at 1a2b3c but expected 4d5e6f"


def ref_line(flag: str, summary: str) -> str:
    """What `git push --porcelain` prints about the one ref."""
    return f"To example.com:store.git\n{flag}\t4d5e6f:refs/heads/main\t{summary}\n" + "Done\n" * (flag != "!")


@pytest.mark.parametrize(
    ("answer", "status", "stdout", "stderr"),
    [
        (LANDED, 0, ref_line(" ", "1a2b3c..4d5e6f"), ""),
        (LANDED, 0, ref_line("*", "[new branch]"), "remote: Create a pull request for 'main'"),
        (LOST, 0, ref_line("=", "[up to date]"), "Everything up-to-date"),
        (LOST, 1, ref_line("!", "[rejected] (fetch first)"), ""),
        (LOST, 1, ref_line("!", "[rejected] (non-fast-forward)"), ""),
        (LOST, 1, ref_line("!", "[rejected] (stale info)"), ""),
        (LOST, 1, ref_line("!", "[rejected] (remote ref updated since checkout)"), ""),
        (LOST, 1, ref_line("!", "[remote rejected] (failed to update ref)"), ""),
        (LOST, 1, ref_line("!", "[remote rejected] (incorrect old value provided)"), ""),
        (LOST, 1, ref_line("!", "[remote rejected] (reference already exists)"), ""),
        (LOST, 1, ref_line("!", "[remote rejected] (atomic transaction failed)"), ""),
        (LOST, 1, ref_line("!", f"[remote rejected] ({MOVED})"), ""),
        (REFUSED, 1, ref_line("!", "[remote rejected] (protected branch hook declined)"), "remote: GH006"),
        (
            REFUSED,
            1,
            ref_line("!", "[remote rejected] (push declined due to repository rule violations)"),
            "remote: error: GH013",
        ),
        (REFUSED, 1, ref_line("!", "[remote rejected] (pre-receive hook declined)"), "remote: no"),
        (REFUSED, 1, ref_line("!", "[remote rejected] (pre-receive hook declined)"), "remote: fetch first"),
        (REFUSED, 1, ref_line("!", "[remote rejected] (hook declined)"), ""),
        (REFUSED, 1, ref_line("!", "[remote rejected] (deny updating a hidden ref)"), ""),
        (REFUSED, 1, ref_line("!", "[remote rejected] (deletion prohibited)"), ""),
        (REFUSED, 1, ref_line("!", "[remote rejected] (non-fast-forward)"), ""),
        (REFUSED, 1, ref_line("!", "[remote rejected] (pre-receive hook declined)"), GITLAB),
        (REFUSED, 1, ref_line("!", "[remote rejected] (pre-receive hook declined)"), GITEA),
        (REFUSED, 128, "", f"{GITLAB}\nfatal: Could not read from remote repository."),
        (REFUSED, 128, "", f"{GITEA}\nfatal: the remote end hung up unexpectedly"),
        (FAULT, 1, ref_line("!", "[remote rejected] (shallow update not allowed)"), ""),
        (FAULT, 1, ref_line("!", "[remote rejected] (unpacker error)"), "error: remote unpack failed"),
        (FAULT, 1, ref_line("!", "[remote rejected] (missing necessary objects)"), ""),
        (FAULT, 1, ref_line("!", "[remote rejected] (branch is currently checked out)"), ""),
        (UNKNOWN, 1, ref_line("!", "[remote failure] (remote failed to report status)"), ""),
        (UNKNOWN, 128, "", "fatal: the remote end hung up unexpectedly"),
        (UNKNOWN, 1, "Done\n", f"error: RPC failed; curl 56 Recv failure: Connection reset by peer\n{GONE}"),
        (UNKNOWN, 1, "Done\n", f"error: RPC failed; HTTP 502 curl 22\n{GONE}"),
        (REFUSED, 1, "Done\n", f"error: RPC failed; HTTP 413 curl 22\n{GONE}"),
        (UNKNOWN, 128, "", "fatal: Could not read from remote repository.\n\nPlease make sure"),
        (UNKNOWN, 128, "", "remote: ssh: connect to host x port 22: Connection refused\nfatal: early EOF"),
        (UNKNOWN, 1, "Done\n", f"error: RPC failed; curl 7 Failed to connect to x port 443\n{GONE}"),
        (UNREACHED, 128, "", "fatal: unable to access 'https://x.org/': Could not resolve host: x.org"),
        (
            UNREACHED,
            128,
            "",
            "fatal: unable to access 'http://x/': Failed to connect to x port 80 after 0 ms",
        ),
        (UNREACHED, 128, "", f"ssh: connect to host x port 22: Connection refused\n{NO_READ}"),
        (UNREACHED, 128, "", f"ssh: Could not resolve hostname x: Name or service not known\n{NO_READ}"),
        (UNREACHED, 128, "", "fatal: unable to connect to x:\nx[0: 10.0.0.1]: errno=Connection refused"),
        (UNREACHED, 128, "", f"fatal: '/srv/x.git' does not appear to be a git repository\n{NO_READ}"),
        (UNREACHED, 128, "", "fatal: repository 'http://x/x.git/' not found"),
        # Of two push URLs the second one, after the first has taken it.
        (UNKNOWN, 128, ref_line(" ", "1a2b3c..4d5e6f"), "fatal: repository 'http://x/x.git/' not found"),
        (UNKNOWN, 128, "", "fatal: ref updates aborted by hook\nfatal: the remote end hung up unexpectedly"),
        (UNKNOWN, 128, "", ""),
        (UNKNOWN, -9, "", ""),
        (UNKNOWN, -9, ref_line(" ", "1a2b3c..4d5e6f"), ""),
    ],
)
def test_each_answer_of_a_push_is_taken_for_what_it_is(
    answer: PushAnswer, status: int, stdout: str, stderr: str
) -> None:
    assert classify(status, stdout, stderr).answer is answer


def test_a_refusal_is_told_in_the_servers_own_words() -> None:
    said = "remote: \nremote: Only admins\x20\nremote: may push.\nTo example.com\nerror: failed to push some refs"
    stdout = ref_line("!", "[remote rejected] (pre-receive hook declined)")
    assert classify(1, stdout, said).words == "Only admins / may push."
    assert classify(1, stdout, "error: failed to push some refs to 'x'").words == (
        "[remote rejected] (pre-receive hook declined)"
    )
