"""`wait` releases what `verify` has nothing against, for that record's own line of states, and nothing else."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from forge import ONE, SETTINGS, Forge, identity, side, sign_as
from lab import Ran, git, kt

from kt_escalation import Store
from kt_escalation.git.repository import Repository
from kt_escalation.model import canonical
from kt_escalation.model.release import Release
from kt_escalation.model.times import to_millis
from kt_escalation.storage import layout, yaml_text


def waited(forge: Forge, name: str = "esc_one") -> Ran:
    return kt("wait", "--id", name, "--timeout", "1s", "--json", cwd=forge.path)


def assert_not_released(forge: Forge, *words: str, name: str = "esc_one") -> None:
    ran = waited(forge, name)
    assert ran.code == 6, (ran.out, ran.err)
    assert ran.error["code"] == "illegal_record", (ran.out, ran.err)
    assert ran.out == "", (ran.out, ran.err)
    for word in words:
        assert word in ran.error["message"], ran.error["message"]


def approve(forge: Forge, who: str = "alice", name: str = "esc_one") -> None:
    forge.kt(who, "claim", "--id", name)
    forge.kt(who, "resolve", "--id", name, "--outcome", "approved", "--reason", "ok")


def test_what_was_decided_by_legal_steps_is_released(forge: Forge) -> None:
    approve(forge)
    assert waited(forge).code == 0


def test_what_is_not_signed_where_it_must_be_is_not_released(signed: Forge) -> None:
    signed.git("config", "commit.gpgsign", "false")
    approve(signed, "bob")
    # Its state is legal, so `restore` has nothing to do.
    told = "raise the request again under another id, and let it be decided in signed steps"
    assert_not_released(signed, "unsigned: expected a signature of bob@example.com", told)


def test_what_is_signed_as_it_must_be_is_released(signed: Forge) -> None:
    sign_as(signed, "alice")
    approve(signed)
    assert waited(signed).code == 0


def test_what_is_signed_by_somebody_elses_key_is_not_released(signed: Forge) -> None:
    sign_as(signed, "boss")
    approve(signed, "bob")
    assert_not_released(signed, "signature: expected a key of bob")


def test_a_decision_that_was_there_before_it_was_raised_is_not_released(forge: Forge) -> None:
    approve(forge)
    path = forge.resolved("one")
    forge.write(path.replace("esc_one", "esc_new"), forge.read(path).replace("esc_one", "esc_new"))
    forge.commit("alice")
    again = kt("raise", "--request-id", "new", "--reason-code", "a.b", cwd=forge.path, env=identity("gw"))
    assert again.code == 6
    assert_not_released(forge, "not_allowed: alice may not raise", name="esc_new")


def test_a_shallow_clone_cannot_tell_and_says_so_before_it_waits(forge: Forge, tmp_path: Path) -> None:
    approve(forge)
    clone = tmp_path / "shallow"
    git("clone", "--quiet", "--depth", "1", forge.path.as_uri(), str(clone), cwd=tmp_path)
    for name in ("esc_one", "esc_two"):
        ran = kt("wait", "--id", name, "--json", cwd=clone)
        assert ran.code == 2
        assert ran.error["code"] == "shallow_clone"
        assert "--unshallow" in ran.err


def test_what_was_imported_already_resolved_is_not_released_and_what_was_open_is(forge: Forge) -> None:
    approve(forge)
    git("switch", "--quiet", "--orphan", "new", cwd=forge.path)
    git("checkout", "main", "--", ".", cwd=forge.path)
    forge.commit("boss", "import")
    git("branch", "--quiet", "--force", "main", cwd=forge.path)
    git("switch", "--quiet", "main", cwd=forge.path)
    told = "raise the request again under another request id, or reopen this one"
    assert_not_released(forge, "imported already resolved", "nobody can prove", told)
    forge.kt("alice", "claim", "--id", "esc_two")
    forge.kt("alice", "resolve", "--id", "esc_two", "--outcome", "denied", "--reason", "no")
    assert waited(forge, "esc_two").code == 1


#: What is done with an escalation that two have to approve, step by step, and whether a store that begins there can prove
#: its decision.
LIFE = (
    (("gw", "raise", "--request-id", "four", "--reason-code", "tool.two"), True),
    (("alice", "claim", "--id", "esc_four"), True),
    (("alice", "resolve", "--id", "esc_four", "--outcome", "approved", "--reason", "ok"), False),
    (("bob", "claim", "--id", "esc_four"), False),
    (("bob", "resolve", "--id", "esc_four", "--outcome", "approved", "--reason", "ok"), False),
)


@pytest.mark.parametrize("single_use", [False, True])
@pytest.mark.parametrize("begins", range(1, len(LIFE) + 1))
def test_a_store_that_begins_with_a_review_releases_nothing_by_it(
    forge: Forge, begins: int, single_use: bool
) -> None:
    rules = (
        f"  - match: {{reason_code: tool.two}}\n    approvals: 2\n    single_use: {str(single_use).lower()}\n"
    )
    forge.write("policies/settings.yaml", f"{SETTINGS}{rules}")
    forge.commit("boss")
    for (who, *command), _ in LIFE[:begins]:
        forge.kt(who, *command)
    forge.git("switch", "--quiet", "--orphan", "new")
    git("checkout", "main", "--", ".", cwd=forge.path)
    forge.commit("boss", "import")
    git("branch", "--quiet", "--force", "main", cwd=forge.path)
    git("switch", "--quiet", "main", cwd=forge.path)
    for (who, *command), _ in LIFE[begins:]:
        forge.kt(who, *command)
    verified = kt("verify", "--json", cwd=forge.path)
    assert verified.json["violations"] == []
    assert verified.json["imported"] == 4
    asked = ("release", "--id", "esc_four") if single_use else ("wait", "--id", "esc_four")
    _, is_proven = LIFE[begins - 1]
    ran = kt(*asked, "--json", cwd=forge.path, env=identity("gw"))
    if is_proven:
        assert ran.code == 0, ran.err
        return
    assert_not_released(forge, "resolved or reviewed", "under another request id, or reopen", name="esc_four")
    assert ran.code == 6
    assert ran.error["code"] == "illegal_record"
    if single_use:
        release_by_hand(forge)
        [found] = kt("verify", "--json", cwd=forge.path).json["violations"]
        assert found["rule"] == "release"
    # What it says is done as it says it.
    forge.kt("boss", "reopen", "--id", "esc_four", "--reason", "decide it here")
    again = kt("list", "--json", cwd=forge.path).json["escalations"][-1]["escalation_id"]
    assert kt("claim", "--id", again, cwd=forge.path, env=identity("alice")).code == 3


def release_by_hand(forge: Forge) -> None:
    """Write the release of a decision that kt would not write."""
    record = yaml_text.loads(forge.read(forge.resolved("four")).encode())
    assert record.resolution
    made = Release(
        escalation_id="esc_four",
        outcome="approved",
        resolved_at=record.resolution.resolved_at,
        release_id="T.1",
        released_by="gw",
        released_at=to_millis(datetime.now(UTC)),
    )
    forge.write(layout.release_path(record), canonical.dumps_value(made))
    forge.commit("gw")


def test_what_a_second_beginning_brings_is_not_released(forge: Forge) -> None:
    """Not even where it was decided by legal steps there: nobody has judged what they began with."""
    forge.git("switch", "--quiet", "--orphan", "other")
    git("checkout", "main", "--", ".", cwd=forge.path)
    forge.write(
        "queue/esc_new.yaml", forge.read(ONE).replace("esc_one", "esc_new").replace("id: one", "id: new")
    )
    forge.commit("alice", "another history")
    approve(forge, name="esc_new")
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--allow-unrelated-histories", "-s", "ours", "--no-commit", "other")
    git("checkout", "other", "--", "queue/resolved", cwd=forge.path)
    forge.commit("alice", "merge")
    assert_not_released(forge, "start: expected one beginning", name="esc_new")


def test_what_was_decided_on_a_branch_by_who_had_lost_the_right_meanwhile_is_not_released(
    forge: Forge,
) -> None:
    forge.git("switch", "--quiet", "-c", "side")
    approve(forge, "bob")
    forge.git("switch", "--quiet", "-")
    forge.edit("policies/roster.yaml", (r"members: \[alice, bob\]", "members: [alice]"))
    forge.commit("boss")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    assert_not_released(forge, "not_allowed", "bob may not claim")


def test_what_a_branch_decided_without_the_signature_that_the_line_requires_is_not_released(
    forge: Forge,
) -> None:
    forge.git("switch", "--quiet", "-c", "side")
    approve(forge, "bob")
    forge.git("switch", "--quiet", "-")
    forge.write("policies/settings.yaml", f"{SETTINGS}signatures: required\n")
    forge.commit("boss")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    assert_not_released(forge, "unsigned: expected a signature of bob@example.com")


def test_what_comes_in_by_a_merge_is_released(forge: Forge) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "main")
    forge.git("merge", "--quiet", "--no-ff", "-m", "merge", "side")
    forge.kt("bob", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    assert waited(forge).code == 0


@pytest.mark.parametrize("first", ["main", "side"])
def test_of_two_decisions_of_one_escalation_neither_is_released(forge: Forge, first: str) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.kt("alice", "claim", "--id", "esc_one")
    if first == "side":
        forge.git("branch", "--quiet", "--move", "main", "old")
        forge.git("branch", "--quiet", "--move", "side", "main")
        forge.git("branch", "--quiet", "--move", "old", "side")
        forge.git("switch", "--quiet", "main")
    holder = "alice" if first == "main" else "bob"
    forge.git("merge", "--quiet", "-s", "ours", "-m", "merge", "side")
    forge.kt(holder, "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    assert_not_released(forge, "dropped: expected esc_one")


def test_a_decision_made_by_a_merge_is_not_released(forge: Forge) -> None:
    forge.kt("alice", "claim", "--id", "esc_one")
    side(forge, "note", "--id", "esc_two", "--text", "side")
    forge.as_kt_does("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    git("stash", "--quiet", "--include-untracked", cwd=forge.path, env=identity("alice"))
    forge.git("merge", "--quiet", "--no-ff", "--no-commit", "side")
    git("stash", "pop", "--quiet", cwd=forge.path, env=identity("alice"))
    forge.commit("alice", "merge")
    assert_not_released(forge, "merge: expected esc_one in the branch's state")


def test_a_legal_decision_on_an_illegal_state_is_not_released_until_it_is_restored(forge: Forge) -> None:
    forge.as_kt_does("alice", "claim", "--id", "esc_one")
    forge.commit("bob")
    forge.kt("alice", "resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "ok")
    assert_not_released(forge, "actor: expected claim.claimed_by bob")
    forge.kt("boss", "restore", "--id", "esc_one", "--reason", "bob claimed in alice's name")
    approve(forge)
    assert waited(forge).code == 0


def test_who_takes_back_a_forgery_without_being_an_admin_has_not_restored_it(forge: Forge) -> None:
    before = forge.read(ONE)
    forge.edit(ONE, ("severity: medium", "severity: low"))
    forge.commit("alice")
    forge.write(ONE, before)
    forge.commit("alice")
    approve(forge)
    assert_not_released(forge, "transition: expected")


def test_waiting_asks_git_no_more_than_it_must(forge: Forge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two walks over the ids of commits, beside what reading the record takes: the process that reads it reads them too."""
    approve(forge)
    for key, value in identity("gw").items():
        monkeypatch.setitem(os.environ, key, value)
    asked: list[str] = []
    start = Repository._start

    def counted(self: Repository, args: list[str], **more: object) -> object:
        asked.append(next(arg for arg in args if not arg.startswith("-") and "=" not in arg))
        return start(self, args, **more)  # type: ignore[arg-type]

    with Store.open(forge.path) as store:
        monkeypatch.setattr(Repository, "_start", counted)
        store.get("esc_one")
        reading = len(asked)
        store.wait("esc_one")
    assert [name for name in asked[reading:] if name not in asked[:reading]] == ["rev-list", "rev-list"]


def test_what_was_denied_and_deleted_before_somebody_waited_is_not_raised_anew(forge: Forge) -> None:
    """The mark of a `wait` for another record says nothing of one that was there and is gone."""
    for name in ("esc_one", "esc_two"):
        forge.kt("alice", "claim", "--id", name)
        forge.kt("alice", "resolve", "--id", name, "--outcome", "denied", "--reason", "no")
    (forge.path / forge.resolved("one")).unlink()
    forge.commit("mallory", "gone")
    assert waited(forge, "esc_two").code != 0
    forge.raised("one")
    approve(forge, "bob")
    assert_not_released(forge)
