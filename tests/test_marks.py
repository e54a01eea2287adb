"""What goes on from a branch that was illegal before anybody guarded it: judged by the policies in force, and mended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from forge import ONE, TWO, Forge, push, rules_of, serve, waive
from lab import Ran, git, kt
from raw import Change, changed, committed, tree_with
from test_attacks import DAMAGES, MALLORY, ROSTER_FILE, evil_for

from kt_escalation.audit.hook import RECEIVED
from kt_escalation.storage import notebook


def asked(forge: Forge, server: Path) -> tuple[Ran, Ran]:
    """What the hook says of what is new since the server's tip, and what `check` says of it."""
    before = git("rev-parse", "main", cwd=server)
    checked = kt("check", f"{before}..HEAD", "--json", cwd=forge.path)
    return push(forge, server), checked


def assert_in(forge: Forge, server: Path) -> None:
    pushed, checked = asked(forge, server)
    assert pushed.code == 0, pushed.err
    assert checked.code == 0, checked.json["violations"]


def assert_out(forge: Forge, server: Path, rule: str) -> None:
    pushed, checked = asked(forge, server)
    assert pushed.code == 1
    assert f": {rule}: " in pushed.err
    assert checked.code == 1
    assert rule in [found["rule"] for found in checked.json["violations"]]


@pytest.mark.parametrize("damage", ["permissions in the mode of policies", "a second queue before the first",
                                    "a roster that a group may write", "entries at the top from the last to the first"])  # fmt: skip
def test_a_tree_that_was_spoilt_before_can_be_mended_by_whoever_reverts_it(forge: Forge, damage: str) -> None:
    folder, change = DAMAGES[damage]
    good = forge.tip()
    spoil(forge, folder, change, tree_with(forge, good, dict(evil_for(damage))))
    server = serve(forge)
    # Before it is mended nothing goes on from it, and what is there does not hide a step.
    committed(forge, tree_with(forge, good, {ONE: "nothing\n"}), "mallory")
    assert_out(forge, server, "file")
    forge.git("reset", "--quiet", "--soft", "HEAD^")
    committed(forge, tree_with(forge, good, {}), "carol", message="Put it back\n")
    assert_in(forge, server)
    # It was wrong once, which `verify` goes on to say; and nothing after it is.
    assert rules_of(forge) == ["tree"]


def spoil(forge: Forge, folder: str, change: Change, tree: str) -> None:
    committed(forge, changed(forge, tree, folder, change), "mallory")
    forge.git("update-index", "--refresh", "-q")


def test_a_store_that_was_deleted_does_not_begin_again_after_a_mark(tmp_path: Path) -> None:
    git("init", "--quiet", cwd=tmp_path)
    forge = Forge.__new__(Forge)
    forge.path = tmp_path
    forge.write("queue/.gitkeep", "")
    forge.commit("boss")
    (forge.path / "queue/.gitkeep").unlink()
    forge.commit("mallory")
    assert kt("verify", cwd=forge.path).code == 0
    forge.write(ROSTER_FILE, MALLORY)
    forge.commit("mallory")
    for args in ((), ("--afresh",)):
        assert rules_of(forge, *args) == ["start"]


def test_who_enrolled_himself_before_has_no_rights(forge: Forge) -> None:
    forge.write(ROSTER_FILE, MALLORY)
    forge.commit("mallory")
    server = serve(forge)
    forge.edit(ROSTER_FILE, ("carol@example.com", "mia@example.com"))
    forge.commit("mallory")
    assert_out(forge, server, "policies")
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    forge.kt("mallory", "claim", "--id", "esc_one")
    assert_out(forge, server, "not_allowed")
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    # The last legal policies are in force, so an admin of those takes it back.
    forge.git("checkout", "--quiet", "HEAD^", "--", ROSTER_FILE)
    forge.commit("boss", "Take it back")
    assert_in(forge, server)


def test_a_login_that_somebody_gave_himself_before_names_nobody(forge: Forge) -> None:
    forge.edit(ROSTER_FILE, (r"user_id: alice,", 'user_id: alice, logins: ["gitlab:mallory"],'))
    forge.commit("mallory")
    server = serve(forge, "--pusher-from", "WHO", "--logins", "gitlab")
    forge.kt("alice", "claim", "--id", "esc_one")
    refused = push(forge, server, WHO="mallory")
    assert refused.code == 1
    assert ": pusher: " in refused.err


def test_nothing_goes_on_from_what_was_forged_before_but_its_restoration(forge: Forge) -> None:
    forge.edit(TWO, ("severity: critical", "severity: low"))
    forge.commit("mallory")
    server = serve(forge)
    forge.kt("alice", "claim", "--id", "esc_two")
    assert_out(forge, server, "restore")
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    forge.kt("boss", "restore", "--id", "esc_two", "--reason", "forged")
    assert_in(forge, server)
    forge.kt("alice", "claim", "--id", "esc_two")
    assert_in(forge, server)


def test_what_was_deleted_before_is_not_raised_again_though_a_waiver_accepts_it(forge: Forge) -> None:
    (forge.path / ONE).unlink()
    gone = forge.commit("mallory")
    server = serve(forge)
    waive(forge, (gone, "deleted", ONE))
    forge.commit("boss")
    assert_in(forge, server)
    forge.raised("one")
    assert_out(forge, server, "duplicate_file")


def test_a_waiver_accepts_what_was_forged_before_and_the_next_step_goes_on_from_it(forge: Forge) -> None:
    forge.edit(TWO, ("severity: critical", "severity: low"))
    bad = forge.commit("mallory")
    server = serve(forge)
    waive(forge, (bad, "transition", TWO))
    forge.commit("boss")
    assert_in(forge, server)
    forge.kt("alice", "claim", "--id", "esc_two")
    assert_in(forge, server)


# --- the server's marks ---------------------------------------------------------------------------------


def test_marks_of_what_never_landed_harm_nothing(forge: Forge, server: Path) -> None:
    git("config", "receive.denyNonFastForwards", "true", cwd=server)
    (server / "hooks/update").write_text("#!/bin/sh\nexit 1\n")
    (server / "hooks/update").chmod(0o755)
    forge.kt("alice", "claim", "--id", "esc_one")
    assert push(forge, server).code == 1
    (server / "hooks/update").unlink()
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    forge.kt("bob", "claim", "--id", "esc_one")
    assert_in(forge, server)


@pytest.mark.parametrize("harm", ["gone", "by hand", "of another branch", "of another build"])
def test_a_mark_that_is_none_is_judged_anew(forge: Forge, server: Path, harm: str) -> None:
    kt("hook", "status", "--server", str(server), cwd=forge.path)
    forge.edit(TWO, ("severity: critical", "severity: low"))
    forge.commit("mallory")
    # Past the hook: whoever administers the server may do that, and it judges what that left.
    git("fetch", "--quiet", str(forge.path), "main:main", cwd=server)
    note = server / "kt" / RECEIVED
    text = note.read_text()
    if harm == "gone":
        note.unlink()
    elif harm == "by hand":
        head, body = text.split("\n", 1)
        marks = json.loads(body)
        marks["main"][0]["commit"] = forge.tip()
        note.write_text(f"{head}\n{json.dumps(marks)}")
    elif harm == "of another build":
        # It means something else by what it says: here, that the forgery was judged.
        mark = json.loads(text.split("\n", 1)[1])["main"][0]
        changed = {**mark, "format": mark["format"] - 1, "commit": forge.tip()}
        notebook.write(server / "kt", RECEIVED, {"main": [changed]})
    else:
        notebook.write(server / "kt", RECEIVED, {"other": json.loads(text.split("\n", 1)[1])["main"]})
    forge.kt("alice", "claim", "--id", "esc_two")
    assert_out(forge, server, "restore")


def test_each_push_leaves_a_mark_where_it_takes_the_branch(forge: Forge, server: Path) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    assert_in(forge, server)
    note = notebook.read(server / "kt", RECEIVED)
    assert note is not None
    assert note["main"][0]["commit"] == forge.tip()
