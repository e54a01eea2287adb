"""The printed commands read a roster as kt reads it, or stop: never otherwise."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

import pytest
from counts import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kt_escalation.model.text import without_case
from kt_escalation.policies.policy_file import ROSTER
from kt_escalation.policies.policy_set import assemble
from kt_escalation.policies.roster import Roster
from kt_escalation.reporting import offline_check
from kt_escalation.storage import yaml_text

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"
#: Another awk can be held to the same: `AWK="busybox awk"`.
AWK = os.environ.get("AWK", "awk").split()
[PROGRAM] = re.findall(r"LC_ALL=C awk '(.*?)'", offline_check.compared(["esc_a"], "", False), re.DOTALL)


def by_awk(text: str, author: str, committer: str) -> list[str] | None:
    """The keys that the printed commands find, None where they stop."""
    done = subprocess.run(
        [*AWK, PROGRAM],
        input=text.encode(),
        env={**os.environ, "LC_ALL": "C", "author": author, "committer": committer},
        capture_output=True,
        check=False,
    )
    if done.returncode:
        assert done.stderr.startswith(b"roster.yaml:"), done.stderr
        return None
    return done.stdout.decode().splitlines()


def roster_in(text: str) -> Roster | None:
    """The roster as kt reads it, None where it is broken."""
    found = assemble(None, {ROSTER: yaml_text.policy_file(ROSTER, text.encode())})
    return None if found.broken else found.roster


def by_kt(roster: Roster, author: str, committer: str) -> list[str]:
    owner = roster.by_email.get(without_case(author))
    if owner is None or owner != roster.by_email.get(without_case(committer)):
        return []
    keys = [
        re.match(r"((?:ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/=]+)( |$)", key)
        for key in roster.by_id[owner].signing_keys
    ]
    return [f'{owner} namespaces="git" {key[1]}' for key in keys if key]


PLAIN = {
    "in braces": f"""
teams:
  - {{team_id: triage, members: [alice, bob]}}
users:
  - {{user_id: alice, emails: [alice@example.com, a@b.c], roles: [reviewer], signing_keys: ["{KEY}a alice"]}}
  - {{user_id: bob, emails: ["bob@example.com"], roles: [], signing_keys: ['{KEY}b', {KEY}c bob@laptop]}}
""",
    "over several lines": f"""---
# Who may.
users:   # all of them
- {{user_id: alice, emails: [alice@example.com,a@b.c],
   roles: [reviewer],
   # The old one is gone.
   signing_keys: [
     "{KEY}a alice"]}}
- {{user_id: bob, emails: [bob@example.com], signing_keys: [{KEY}b, {KEY}c,]}}  # on leave
teams: []
""",
    "in blocks": f"""
teams:
  - team_id: triage
    name: "alice: those who look"
    members:
    - alice
users:
  - user_id: alice
    name: Alice O'Neil, Zürich
    emails: [alice@example.com, a@b.c]
    roles: [reviewer]

    signing_keys:
      - {KEY}a alice@example.com   # hers

  -   user_id: bob
      emails:
        - bob@example.com
      signing_keys: ["{KEY}b",
        '{KEY}c']
""",
}


@pytest.mark.parametrize("how", PLAIN)
def test_a_roster_that_is_written_plainly_is_read(how: str) -> None:
    roster = roster_in(PLAIN[how])
    assert roster
    assert roster.by_id.keys() == {"alice", "bob"}
    for author, committer, count in (
        ("alice@example.com", "a@b.c", 1),
        ("BOB@Example.com", "bob@example.com", 2),
        ("alice@example.com", "bob@example.com", 0),
        ("eve@example.com", "eve@example.com", 0),
        ("", "", 0),
    ):
        found = by_awk(PLAIN[how], author, committer)
        assert found == by_kt(roster, author, committer)
        assert len(found) == count


@pytest.mark.parametrize(
    "line", ["x: &a b", "x: *a", "x: !t b", "x: |", "x: >", 'x: "\\x61"', "x: 'a''b'", "x: a: b", "x:\ty"]
)
def test_what_is_not_plain_stops_it(line: str) -> None:
    text = f"users:\n  - user_id: alice\n    emails: [a@b.c]\n    {line}\n"
    assert by_awk(text, "a@b.c", "a@b.c") is None


ADDRESSES = ["a@b.c", "d@e.f", "x+y@z.w", "not plain@b.c", "G@h.i", "j@k.l"]
COMMENTS = ["", " a@b.c", " me, myself", " #1", ' d@e.f]", ', " {", ": x", " it's", " x: y"]
TITLES = [
    *(
        "Alice",
        "a: b",
        "a, emails: [d@e.f]",
        "x], emails: [d@e.f",
        "# no",
        "O'Neil",
        'the "boss"',
        "users:",
        "é",
    ),
    *(
        "[",
        "}",
        "- x",
        "a #b",
        "null",
        "&a",
        "*a",
        "|",
        "\\",
        "\\x61",
        "''",
        "a  b",
        "'a",
        "a'",
        "@a",
        "?",
        "a?b",
    ),
]
PLAIN_IN_BLOCK = re.compile(r"(?![-?:,\[\]{}#&*!|>'\"%@`])(?!.*(: | #))[^\n]*[^:\s]")
DAMAGE = [
    "",
    " ",
    "\n",
    "#",
    " #",
    "'",
    '"',
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ": ",
    "- ",
    "&",
    "\t",
    "\r",
    "\\",
    "---\n",
]


@st.composite
def written(draw: st.DrawFn) -> str:
    """A roster in braces or blocks, quoted or not, with comments, and now and then with damage."""

    def text(value: str, inside: bool) -> str:
        single, double = value.replace("'", "''"), value.replace("\\", "\\\\").replace('"', '\\"')
        ways = [f"'{single}'", f'"{double}"']
        if PLAIN_IN_BLOCK.fullmatch(value) and not (inside and re.search(r"[][{},?]", value)):
            ways += [value, value]
        return draw(st.sampled_from(ways))

    def flow(values: Sequence[str]) -> str:
        between = draw(st.sampled_from([", ", ",", ",\n          "]))
        return f"[{between.join(text(value, True) for value in values)}]"

    def after() -> str:
        return draw(st.sampled_from(["", "", " # x", "  # [x]", " "]))

    free = list(draw(st.permutations(ADDRESSES)))
    lines: list[str] = []
    for section in draw(st.permutations(["users", "teams"])):
        pad = draw(st.sampled_from(["", "  ", "    "]))
        lines.append(f"{section}:{after()}")
        for name in draw(st.lists(st.sampled_from(["alice", "bob", "c.d"]), min_size=1, unique=True)):
            title = draw(st.none() | st.sampled_from(TITLES))
            key = st.builds("{}{}{}".format, st.just(KEY), st.sampled_from("xyz"), st.sampled_from(COMMENTS))
            pairs: list[tuple[str, str | Sequence[str]]] = [("name", title)] if title is not None else []
            if section == "users":
                mine = [free.pop() for _ in range(draw(st.integers(1, 2)))]
                pairs += [
                    ("user_id", name),
                    ("emails", mine),
                    ("signing_keys", draw(st.lists(key, max_size=2))),
                ]
            else:
                pairs += [("team_id", name), ("members", ["alice"])]
            pairs = list(draw(st.permutations(pairs)))
            if draw(st.booleans()):
                between = draw(st.sampled_from([", ", ",\n      "]))
                inside = (
                    f"{key}: {text(value, True) if isinstance(value, str) else flow(value)}"
                    for key, value in pairs
                )
                lines.append(f"{pad}- {{{between.join(inside)}}}{after()}")
                continue
            begin = f"{pad}-" + draw(st.sampled_from([" ", "   "]))
            for key_, value in pairs:
                if isinstance(value, str):
                    lines.append(f"{begin}{key_}: {text(value, False)}{after()}")
                elif draw(st.booleans()) or not value:
                    lines.append(f"{begin}{key_}: {flow(value)}{after()}")
                else:
                    lines.append(f"{begin}{key_}:{after()}")
                    deeper = " " * (len(begin) + draw(st.integers(0, 2)))
                    lines += [f"{deeper}- {text(one, False)}{after()}" for one in value]
                begin = " " * len(begin)
    made = "\n".join(lines) + "\n"
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = draw(st.integers(0, len(made)))
        made = made[:at] + draw(st.sampled_from(DAMAGE)) + made[at + draw(st.integers(0, 2)) :]
    return made


@settings(max_examples=examples(120))
@given(written(), st.sampled_from(ADDRESSES), st.sampled_from(ADDRESSES))
@example('users:\n  - {user_id: a, name: "x\n\nusers:\n  - b", emails: [a@b.c]}\n', "a@b.c", "a@b.c")
def test_any_roster_is_read_as_kt_reads_it_or_not_at_all(text: str, author: str, committer: str) -> None:
    roster = roster_in(text)
    found = by_awk(text, author, committer)
    if roster is not None and found is not None:
        assert found == by_kt(roster, author, committer)
