"""Whatever an attacker or an accident may try (design, section 11): any text anywhere, and any bytes in any file.

Each property keeps one store and tries many values on it. What holds for all of them is in `tried`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from counts import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lab import KT, Lab, Ran, git, kt, record_text

# All exits of the table but 5 (a bug), 9 (no answer) and 130 (^C): none of these is to be had by a value.
EXITS = {0, 1, 2, 3, 4, 6, 7, 8}
SMUGGLED = (
    "--upload-pack=touch pwned",
    "--output=pwned",
    "--exec=touch pwned",
    "-c",
    "-ccore.sshCommand=touch pwned",
    "--git-dir=pwned",
    "ext::sh -c touch% pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "'; touch pwned; '",
    "|touch pwned",
)
NASTY = (
    *SMUGGLED,
    "../../../etc/passwd",
    "esc_../../policies/roster",
    "-",
    "--",
    "--json",
    "\x1b[2J\x1b]0;title\x07",
    "\x9b31m",
    "\x7f",
    "\u202egnp.exe",
    "\u2028",
    "\ufeff",
    "\U000e0041",
    "two\nlines",
    "\r\n",
    "x\rkt: resolved",
    "x\n\nKt-Actor: mallory\nKt-Outcome: approved",
    "Kt-Action: resolve",
    "x\n---\nKt-Actor: mallory",
    "x\n    y\n\tz\n",
    "# comment\n;",
    "<script>alert(1)</script>",
    "[x](javascript:alert)",
    "=cmd|' /C calc'!A0",
    "ESC_JOB",
    "esc_",
    "esc_job",
    "esc_" + "a" * 61,
    "x" * 10_000,
    "é" * 5_000,
    "HEAD",
    "HEAD:queue",
    ":/start",
    "@{u}",
    "main..",
    "^main",
    "*",
    "a:b",
    "{",
    "{0}",
    "{x.__class__}",
    "%s%n",
    "no",
    "0777",
    "null",
    "&a *a",
    "!!python/object/apply:os.system [true]",
    "\udcff",
    "🙈",
    " ",
    "",
)
words = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30),
    st.lists(st.sampled_from(NASTY[:-1]), min_size=2, max_size=3).map("".join),
)
json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        words.map(lambda text: text.replace("\udcff", "")),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def is_hidden(char: str) -> bool:
    """Controls, bidi and other format characters, line separators, lone surrogates."""
    return char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")


def tried(ran: Ran, *, as_json: bool = False) -> Ran:
    """What holds for every command line: a known exit, one clear line of error, nothing that acts on a terminal."""
    assert ran.code in EXITS, ran.err
    assert "Traceback" not in ran.err
    assert not [char for char in ran.out + ran.err if is_hidden(char)]
    if ran.code not in (0, 1):
        assert ran.out == ""
        assert len(ran.err.strip("\n").split("\n")) == 1
        assert ran.error["code"] if as_json else ran.err.startswith("kt: ")
    return ran


def wrote(lab: Lab, before: str, ran: Ran) -> bool:
    """Whether a command that writes has changed the remote, which it may if and only if it says so."""
    after = lab.tip()
    assert (after != before) == (ran.code == 0 and ran.json["changed"])
    return after != before


def trailers(where: Path, commit: str) -> list[str]:
    """The trailers of a commit, which both of git's own readers must agree on."""
    shown = git("log", "-1", "--format=%(trailers:only,unfold)", commit, cwd=where).splitlines()
    message = git("log", "-1", "--format=%B", commit, cwd=where)
    parsed = subprocess.run(
        ["git", "interpret-trailers", "--parse"],
        input=message.encode(),
        cwd=where,
        capture_output=True,
        check=True,
    )
    assert [line for line in parsed.stdout.decode().splitlines() if line] == [line for line in shown if line]
    assert not [char for char in message if is_hidden(char)]
    return [line for line in shown if line]


def nothing_else_was_touched(lab: Lab, start: str) -> None:
    """All that came into the remote since ``start`` is below `queue/`, sound, and readable."""
    paths = git("log", "-z", "--name-only", "--format=", f"{start}..main", cwd=lab.remote).split("\0")
    assert all(path.strip("\n").startswith("queue/") for path in paths if path.strip("\n"))
    git("fsck", "--strict", cwd=lab.remote)
    assert git("for-each-ref", "--format=%(refname)", cwd=lab.remote) == "refs/heads/main"
    listed = kt("list", "--fetch", "--status", "all", "--limit", "0", "--json", cwd=lab.folder / "alice")
    assert listed.code == 0
    assert listed.json["invalid"] == []
    assert not list(lab.folder.rglob("pwned"))


@pytest.fixture
def store(lab: Lab) -> Iterator[Lab]:
    """A store with a clone for alice, looked over at the end."""
    lab.escalations("job", agent_id='"\\e[2J\\x7f\\u202e"')
    start = lab.tip()
    lab.clone("alice")
    yield lab
    nothing_else_was_touched(lab, start)


# --- text on the command line -----------------------------------------------------------------------

READS: tuple[tuple[str, ...], ...] = (
    ("?",),
    ("list", "?"),
    ("-C", "?", "list"),
    ("list", "-C", "?"),
    ("list", "--team", "?", "--status", "all"),
    ("list", "--user", "?"),
    ("list", "--agent-id=?"),
    ("list", "--since", "?"),
    ("list", "--sort", "?"),
    ("list", "--limit", "?"),
    ("list", "--status=?"),
    ("list", "--cursor", "?"),
    ("list", "--rev", "?"),
    ("list", "--rev=?"),
    ("get", "--id", "?"),
    ("get", "--id=?"),
    ("get", "--id", "esc_?"),
    ("get", "--rev", "?", "--id", "esc_job"),
    ("log", "--id", "?"),
    ("log", "--rev", "?"),
    ("log", "--limit", "?"),
    ("?", "--help"),
)


@settings(max_examples=examples(75))
@given(args=st.sampled_from(READS), value=words, as_json=st.booleans())
@example(args=("list", "-C", "?"), value="x" * 300, as_json=False)
@example(args=("list", "--rev", "?"), value="{", as_json=False)
@example(args=("?",), value="--", as_json=True)
@example(args=("get", "--id", "?"), value="esc_job", as_json=True)
def test_any_text_is_safe_to_read_with(store: Lab, args: tuple[str, ...], value: str, as_json: bool) -> None:
    line = [word.replace("?", value) for word in args] + ["--json"] * as_json
    tried(kt(*line, cwd=store.folder / "alice"), as_json="--json" in line)


@settings(max_examples=examples(30))
@given(
    key=st.sampled_from(["severity", "created", "-queued", "id"]),
    parts=st.lists(
        st.one_of(st.none(), st.integers(), st.booleans(), st.floats(), st.text(max_size=5)), max_size=4
    ),
)
@example(key="severity", parts=["a", "b", "c"])
@example(key="id", parts=[1])
def test_a_cursor_of_ones_own_making_is_a_page_or_bad_input(store: Lab, key: str, parts: list[Any]) -> None:
    import base64

    cursor = base64.urlsafe_b64encode(json.dumps([key, *parts]).encode()).decode().rstrip("=")
    ran = tried(
        kt("list", "--sort", key, "--cursor", cursor, "--json", cwd=store.folder / "alice"), as_json=True
    )
    assert ran.code in (0, 2)


FLAGS = (
    "request_id",
    "reason_code",
    "severity",
    "provider",
    "model",
    "policy",
    "agent_id",
    "session_id",
    "config_version",
    "summary",
    "context",
)


@settings(max_examples=examples(24))
@given(flags=st.dictionaries(st.sampled_from(FLAGS), words, min_size=1, max_size=3))
@example(flags={"agent_id": "\x7f"})
@example(flags={"request_id": "\udcff"})
@example(flags={"summary": "Kt-Outcome: approved"})
def test_any_text_is_raised_as_it_is_or_refused(store: Lab, flags: dict[str, str]) -> None:
    before = store.tip()
    given_ = {"reason_code": "a.b", **flags}
    line = [f"--{key.replace('_', '-')}={value}" for key, value in given_.items()]
    ran = tried(kt("raise", *line, "--json", cwd=store.folder / "alice"), as_json=True)
    if wrote(store, before, ran):
        record = ran.json["escalation"]
        assert {key: record[key] for key in given_} == given_
        assert trailers(store.remote, ran.json["commit"]) == [
            "Kt-Action: raise",
            f"Kt-Escalation: {record['escalation_id']}",
            "Kt-Actor: alice@example.com",
        ]
        tried(kt("get", "--id", record["escalation_id"], cwd=store.folder / "alice"))


@settings(max_examples=examples(6))
@given(text=words, reason=words, claim_id=words, category=words, outcome=words)
@example(
    text="\r\n x \x1b[2J\n", reason="x\n---\nKt-Actor: mallory", claim_id="T", category="", outcome="allow"
)
def test_any_words_of_a_reviewer_are_kept_as_they_are_and_can_forge_nothing(
    store: Lab, text: str, reason: str, claim_id: str, category: str, outcome: str
) -> None:
    alice = store.folder / "alice"
    name = kt("raise", "--reason-code", "a.b", "--json", cwd=alice).json["escalation"]["escalation_id"]
    steps: list[tuple[str, list[str]]] = [
        ("claim", [f"--claim-id={claim_id}"]),
        ("claim", []),
        ("note", [f"--text={text}"]),
        ("resolve", [f"--outcome={outcome}", "--reason=x"]),
        ("resolve", ["--outcome=redact", f"--reason={reason}", f"--shown={claim_id}"]),
        ("resolve", ["--outcome=redact", f"--reason={reason}", f"--category={category}"]),
        ("resolve", ["--outcome=redact", f"--reason={reason}"]),
        ("unclaim", [f"--claim-id={claim_id}"]),
    ]
    for action, options in steps:
        before = store.tip()
        ran = tried(kt(action, f"--id={name}", *options, "--json", cwd=alice), as_json=True)
        if not wrote(store, before, ran):
            continue
        record = ran.json["escalation"]
        expected = [f"Kt-Action: {action}", f"Kt-Escalation: {name}", "Kt-Actor: alice@example.com"]
        if action == "claim":
            expected.append(f"Kt-Claim: {record['claim']['claim_id']}")
        if action == "note":
            assert record["notes"][-1]["text"] == text.replace("\r\n", "\n").strip()
        if action == "resolve":
            review = record["reviews"][-1]
            expected += [f"Kt-Claim: {review['claim_id']}", f"Kt-Outcome: {review['outcome']}"]
            assert record["resolution"]["reason"] in ("x", reason.replace("\r\n", "\n").strip())
        if action == "unclaim":
            expected.append(f"Kt-Claim: {claim_id}")
        assert trailers(store.remote, ran.json["commit"]) == expected
    for args in (["get", "--id", name], ["log", "--id", name], ["list", "--status", "all"]):
        assert tried(kt(*args, cwd=alice)).code == 0


@settings(max_examples=examples(24))
@given(
    action=st.sampled_from(["claim", "unclaim", "resolve", "note"]),
    ids=st.lists(words, min_size=1, max_size=3),
)
@example(action="claim", ids=["esc_job\0"])
def test_any_text_as_an_id_is_refused_on_the_line_and_on_stdin(
    store: Lab, action: str, ids: list[str]
) -> None:
    if "esc_job" in " ".join(ids).split():
        ids = ["esc_gone"]
    more = {"resolve": ["--outcome=denied", "--reason=x"], "note": ["--text=x"]}.get(action, [])
    before = store.tip()
    on_the_line = [f"--id={name}" for name in ids if "\0" not in name and name != "-"]
    stdin = "\n".join(ids).encode(errors="surrogateescape")
    for line in (on_the_line, ["--id=-"]):
        ran = tried(kt(action, *line, *more, "--json", cwd=store.folder / "alice", stdin=stdin), as_json=True)
        assert ran.code in (2, 7)
        assert store.tip() == before


@settings(max_examples=examples(20))
@given(name=words, email=st.tuples(words, words).map("@".join))
@example(name="x", email="a\u202eb@c")
@example(name="x", email="a@" + "b" * 2000)
@example(name="x", email="a  b@c")
@example(name="Kt-Actor: mallory", email="{0}@{")
def test_any_name_and_address_of_an_actor_is_recorded_as_it_is_or_refused(
    store: Lab, name: str, email: str
) -> None:
    env = {"GIT_AUTHOR_NAME": name, "GIT_AUTHOR_EMAIL": email}
    for action in ("claim", "unclaim"):
        before = store.tip()
        ran = tried(
            kt(action, "--id", "esc_job", "--json", cwd=store.folder / "alice", env=env), as_json=True
        )
        if wrote(store, before, ran):
            found = dict(line.split(": ", 1) for line in trailers(store.remote, ran.json["commit"]))
            author = git("log", "-1", "--format=%ae", ran.json["commit"], cwd=store.remote)
            assert found["Kt-Actor"] == author
            assert action == "unclaim" or ran.json["escalation"]["claim"]["claimed_by"] == author


@settings(max_examples=examples(24))
@given(key=st.sampled_from(["kt.root", "kt.remote", "kt.branch"]), value=words)
@example(key="kt.branch", value="ma{in")
@example(key="kt.remote", value="ext::sh -c touch% pwned")
@example(key="kt.branch", value="*")
def test_any_text_in_the_configuration_is_refused_or_harmless(store: Lab, key: str, value: str) -> None:
    env = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": key, "GIT_CONFIG_VALUE_0": value}
    before = git("for-each-ref", cwd=store.remote)
    for args in (["list"], ["claim", "--id", "esc_gone"], ["doctor"]):
        tried(kt(*args, "--json", cwd=store.folder / "alice", env=env), as_json=True)
    assert git("for-each-ref", cwd=store.remote) == before


def test_options_of_git_that_are_smuggled_through_a_value_have_no_effect(store: Lab) -> None:
    alice, before = store.folder / "alice", store.tip()
    for value in SMUGGLED:
        for line in (
            ["claim", f"--id={value}"],
            ["claim", "--next", f"--team={value}"],
            ["claim", "--id=esc_gone", f"--claim-id={value}"],
            ["list", f"--rev={value}"],
            ["log", f"--rev={value}"],
            ["log", f"--id={value}"],
            ["list", "-C", value],
            ["raise", "--file", value],
        ):
            assert tried(kt(*line, cwd=alice)).code != 0, line
    assert store.tip() == before
    assert not [where for where in (alice, store.folder, Path.cwd()) if (where / "pwned").exists()]


# --- bytes on stdin ---------------------------------------------------------------------------------

EVENT = {"verdict": "escalate", "request_id": "r", "reason_code": "a.b"}
EVENT_KEYS = (
    *EVENT,
    "timestamp",
    "details",
    "metadata",
    "prompt_hash",
    "agent_id",
    "session_id",
    "event_type",
)
RECORD_KEYS = (
    "escalation_id",
    "schema_version",
    "status",
    "severity",
    "reason_code",
    "summary",
    "created_at",
    "raised_by",
    "request_id",
    "policy",
    "event_context",
    "labels",
    "route",
    "requires",
    "claim",
)


def mappings(base: Mapping[str, Any], keys: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """A mapping as JSON in which some keys have values of any kind."""
    more = st.dictionaries(st.one_of(st.sampled_from(keys), st.text(max_size=5)), json_values, max_size=4)
    return more.map(lambda some: json.dumps({**base, **some}).encode())


def deep(levels: int) -> bytes:
    return (
        json.dumps(EVENT)[:-1].encode() + b', "details": ' + b'{"a": ' * levels + b"1" + b"}" * levels + b"}"
    )


files = st.one_of(
    st.binary(max_size=60),
    words.map(lambda text: text.encode(errors="surrogateescape")),
    mappings(EVENT, EVENT_KEYS),
    mappings({"reason_code": "a.b"}, RECORD_KEYS),
    st.lists(mappings(EVENT, EVENT_KEYS), max_size=3).map(b"\n".join),
)


@settings(max_examples=examples(36))
@given(
    option=st.sampled_from(["--file", "--event", "--batch", "--context"]), data=files, partial=st.booleans()
)
@example(option="--file", data=json.dumps({**EVENT, "verdict": "allow"}).encode(), partial=False)
@example(option="--event", data=deep(31), partial=False)
@example(option="--event", data=deep(100_000), partial=False)
@example(option="--file", data=b"[" * 100_000, partial=False)
@example(option="--file", data=b"a: &a [*a]", partial=False)
@example(option="--batch", data=json.dumps({**EVENT, "details": {"x": 10**400}}).encode(), partial=True)
@example(option="--batch", data=b'{"reason_code": "a.b", "labels": {"\\u0000": "\\ud800"}}', partial=True)
@example(
    option="--batch", data=b'{"reason_code": "a.b", "labels": {"x": "\\u0000\\u007f\\u202e"}}', partial=True
)
@example(option="--event", data=b"\xef\xbb\xbf{}", partial=False)
@example(option="--context", data=b"x: " + b"y" * 300_000, partial=False)
def test_any_bytes_are_raised_or_refused_in_one_line(
    store: Lab, option: str, data: bytes, partial: bool
) -> None:
    before = store.tip()
    line = ["raise", option, "-", *(["--reason-code", "a.b"] if option == "--context" else [])]
    line += ["--partial"] * partial
    ran = tried(kt(*line, "--json", cwd=store.folder / "alice", stdin=data), as_json=True)
    if wrote(store, before, ran):
        commit = ran.json["commit"]
        records = ran.json.get("escalations") or [ran.json["escalation"]]
        found = trailers(store.remote, commit)
        assert found[0] == "Kt-Action: raise"
        assert found[-1] == "Kt-Actor: alice@example.com"
        named = [line.removeprefix("Kt-Escalation: ") for line in found if line.startswith("Kt-Escalation: ")]
        assert set(named) <= {record["escalation_id"] for record in records}


# --- files in the store, put there by plain git -----------------------------------------------------


def imported(
    repository: Path, files: Mapping[str, tuple[str, bytes]], who: str = "A <a@b> 1700000000 +0000"
) -> None:
    """Set the branch to one commit that holds these files (mode and bytes by path), by `git fast-import`."""

    def quoted(path: str) -> bytes:
        escaped = "".join(f"\\{byte:03o}" for byte in os.fsencode(path))
        return f'"{escaped}"'.encode()

    stream = b"commit refs/heads/main\nmark :1\ncommitter %b\ndata 1\nx\n" % os.fsencode(who)
    for path, (mode, data) in files.items():
        stream += b"M %b inline %b\ndata %d\n%b\n" % (mode.encode(), quoted(path), len(data), data)
    done = subprocess.run(
        ["git", "fast-import", "--quiet", "--force", "--date-format=raw-permissive"],
        cwd=repository,
        input=stream,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def alone(folder: Path) -> Path:
    """A bare repository without a remote."""
    git("init", "--bare", "--quiet", str(folder / "alone.git"), cwd=folder)
    for key, value in {"user.name": "Alice", "user.email": "alice@example.com"}.items():
        git("config", key, value, cwd=folder / "alone.git")
    return folder / "alone.git"


def tree(repository: Path, *but: str) -> list[bytes]:
    """The branch's files with their modes and ids, but those of some names."""
    listed = subprocess.run(
        ["git", "ls-tree", "-r", "-z", "main"], cwd=repository, capture_output=True, check=True
    )
    return [line for line in listed.stdout.split(b"\0") if not any(name.encode() in line for name in but)]


GOOD = {"queue/esc_good.yaml": ("100644", record_text("good").encode())}
PACK = {"policies/p.yaml": ("100644", b"pack: {enabled: true}\n")}
file_names = st.one_of(
    st.sampled_from(
        ["esc_x.yaml", "esc_X.yaml", "resolved", "-rf", "--help", ".yaml", "esc_{0}.yaml", "\x1b[2J"]
    ),
    words.map(lambda text: text.replace("/", "_")[:100]),
    words.map(lambda text: f"esc_{text.replace('/', '_')[:100]}.yaml"),
).filter(lambda name: name.lower() not in ("", ".", "..", ".git", "esc_good.yaml"))
yaml_texts = st.tuples(st.sampled_from(record_text("x").splitlines()), words).map(
    lambda pair: record_text("x").replace(pair[0], f"{pair[0].partition(':')[0]}: {pair[1]}")
)
contents = st.one_of(
    st.binary(max_size=60),
    yaml_texts.map(lambda text: text.encode(errors="surrogateescape")),
    mappings({"escalation_id": "esc_x"}, RECORD_KEYS),
    words.map(lambda text: json.dumps(text.replace("\udcff", "")).encode()),
)


@settings(max_examples=examples(20))
@given(
    name=file_names,
    folder=st.sampled_from(["queue/", "queue/resolved/", "queue/resolved/2026/11/23/"]),
    mode=st.sampled_from(["100644", "100644", "100755", "120000"]),
    data=contents,
)
@example(name="esc_x.yaml\n", folder="queue/", mode="100644", data=b"")
@example(name="\udcff{\u202e\x7f.yaml", folder="queue/", mode="120000", data=b"../../../etc/passwd")
@example(name="esc_x.yaml", folder="queue/", mode="100644", data=b"a: &a [*a, *a]\n")
@example(name="resolved", folder="queue/", mode="100644", data=b"")
def test_any_file_in_the_queue_is_shown_or_named_and_never_touched(
    tmp_path: Path, name: str, folder: str, mode: str, data: bytes
) -> None:
    where = tmp_path / "alone.git" if (tmp_path / "alone.git").exists() else alone(tmp_path)
    imported(where, {**GOOD, **PACK, f"{folder}{name}": (mode, data)})
    before = tree(where, "esc_good")
    listed = tried(kt("list", "--status", "all", "--json", cwd=where), as_json=True)
    found = {record["escalation_id"] for record in listed.json["escalations"]}
    harmless = name in (".gitkeep", ".gitignore", ".gitattributes")
    assert "esc_good" in found
    assert len(found) + len(listed.json["invalid"]) == 2 - harmless
    assert len(listed.err.splitlines()) == len(listed.json["invalid"])
    for args in (["list"], ["log"], ["log", "--json"], ["get", "--id", "esc_good"]):
        assert tried(kt(*args, cwd=where)).code == 0, args
    assert tried(kt("doctor", cwd=where)).code == int(bool(listed.json["invalid"]))
    assert tried(kt("claim", "--id", "esc_good", cwd=where)).code == 0
    assert tree(where, "esc_good") == before


POLICY_KEYS = re.findall(
    r"\w+",
    "pack enabled providers targets id model models model_id aliases escalation_routing team_id user_id "
    "teams users members emails roles claims lease default_route rules match approvals",
)
policy_files = st.one_of(
    st.sampled_from(["roster.yaml", "settings.yaml", "p.yaml", "waivers.yaml"]),
    words.map(lambda text: f"{text.replace('/', '_')[:100]}.yaml"),
)
policy_values = st.recursive(
    words.map(lambda text: text.replace("\udcff", "")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(
            st.sampled_from(POLICY_KEYS),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=8,
)
RECURSIVE = b"users: &a [*a]\n"


@settings(max_examples=examples(24))
@given(
    name=policy_files,
    data=st.one_of(st.binary(max_size=40), policy_values.map(lambda value: json.dumps(value).encode())),
    mode=st.sampled_from(["100644", "100644", "120000"]),
)
@example(name="\x1b[2J.yaml", data=b"[", mode="100644")
@example(name="\udcff.yaml", data=b"[", mode="100644")
@example(name="{0.yaml", data=b"[", mode="100644")
@example(name="roster.yaml", data=RECURSIVE, mode="100644")
@example(name="settings.yaml", data=b"rules: &a [*a]\n", mode="100644")
@example(name="p.yaml", data=b"providers: {targets: &a [*a]}\n", mode="100644")
@example(name="p.yaml", data=b"default_route: {team_id: \x00}\n", mode="100644")
def test_any_file_in_policies_routes_or_is_named_and_loses_no_escalation(
    tmp_path: Path, name: str, data: bytes, mode: str
) -> None:
    where = tmp_path / "alone.git" if (tmp_path / "alone.git").exists() else alone(tmp_path)
    imported(where, {**GOOD, **PACK, f"policies/{name}": (mode, data)})
    before = tree(where)
    ran = tried(kt("raise", "--request-id", "new", "--reason-code", "a.b", "--json", cwd=where), as_json=True)
    if ran.code == 0:
        assert tree(where, "esc_new") == before
    else:
        assert name in ("roster.yaml", "settings.yaml"), "a pack is never in the way"
        assert ran.code in (2, 3), "a pack is never in the way"
        assert tree(where) == before
    for args in (["doctor"], ["list"], ["log"]):
        tried(kt(*args, cwd=where))


BOMB = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
)
MODELS = "[" + ", ".join(["&m {model_id: a, aliases: [b]}", *["*m"] * 3000]) + "]"
WIDE = f"providers: {{targets: [&t {{id: x, models: {MODELS}}}{', *t' * 3000}]}}\n"


@pytest.mark.parametrize(
    ("name", "text", "codes"),
    [
        ("policies/roster.yaml", f"{BOMB}\nusers: *a11\n", {2}),
        ("policies/settings.yaml", f"{BOMB}\nrules: *a11\n", {2}),
        ("policies/p.yaml", WIDE, {0}),
        ("queue/esc_bomb.yaml", BOMB, {0}),
        ("queue/esc_bomb.yaml", "{" * 100_000, {0}),
    ],
    ids=["roster", "settings", "pack", "aliases", "braces"],
)
def test_a_bomb_does_not_go_off(tmp_path: Path, name: str, text: str, codes: set[int]) -> None:
    where = alone(tmp_path)
    imported(where, {**GOOD, **PACK, name: ("100644", text.encode())})
    line = [*KT, "escalation", "raise", "--request-id", "r", "--reason-code", "a.b", "--model", "c", "--json"]
    done = subprocess.run(line, cwd=where, capture_output=True, text=True, timeout=10, check=False)
    assert tried(Ran(done.returncode, done.stdout, done.stderr), as_json=True).code in codes
    listed = kt("list", "--json", cwd=where).json
    assert [item["path"] for item in listed["invalid"]] == [name] * name.startswith("queue")


@pytest.mark.parametrize(
    "who",
    [
        "A <a@b> 253402300800 +0000",
        "A <a@b> 99999999999999 +0000",
        "A <a@b> 1700000000 +9999",
        "A <a@b> 1700000000 -1400",
        "A <a@b> 0 +0000",
        "\x1b[2J\u202e\x01:100644 <\x1b[2J\x7f@{0}> 1700000000 +0000",
        "\udcff <\udcff@b> 1700000000 +0000",
        " <> 1700000000 +0000",
    ],
    ids=["year 10000", "no year", "no zone", "west", "1970", "escapes", "bytes", "nobody"],
)
def test_any_commit_can_be_told_of(tmp_path: Path, who: str) -> None:
    where = alone(tmp_path)
    imported(where, {**GOOD, **PACK}, who)
    for as_json in (False, True):
        ran = tried(kt("log", *["--json"] * as_json, cwd=where), as_json=as_json)
        assert ran.code == 0
        assert "esc_good" in ran.out
    entries = kt("log", "--json", cwd=where).json["entries"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.000Z", entries[0]["at"])
    claimed = kt("claim", "--id", "esc_good", cwd=where)
    assert claimed.code == 0, claimed.err
