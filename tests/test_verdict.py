"""What `verify` and `check` say beside what the judge finds: where there is no store, what is remembered or waived."""

from __future__ import annotations

from pathlib import Path

import pytest
from forge import ONE, Forge, identity, push, rules_of, side, waive
from lab import Lab, git, kt

# --- no store -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ("", "if the store is in review, run `git config kt.root review`"),
        ("reveiw", "reveiw is not a kt store"),
    ],
)
def test_where_there_is_no_store_nothing_is_clean(tmp_path: Path, root: str, said: str) -> None:
    git("init", "--quiet", str(tmp_path), cwd=tmp_path)
    (tmp_path / "review/policies").mkdir(parents=True)
    (tmp_path / "review/policies/policy-config.yaml").write_text("pack: {enabled: true}\n")
    git("add", "--all", cwd=tmp_path)
    git("commit", "--quiet", "-m", "start", cwd=tmp_path, env=identity("boss"))
    git("config", "kt.root", root, cwd=tmp_path)
    for args in (["verify"], ["verify", "HEAD..HEAD"], ["check", "HEAD..HEAD"]):
        ran = kt(*args, "--json", cwd=tmp_path)
        assert ran.code == 2
        assert ran.error["code"] == "not_a_store"
        assert said in ran.error["message"]


def test_an_empty_repository_is_no_store(tmp_path: Path) -> None:
    git("init", "--quiet", str(tmp_path), cwd=tmp_path)
    ran = kt("verify", "--json", cwd=tmp_path)
    assert ran.code == 2
    assert ran.error["code"] == "not_a_store"
    assert "it has no commit yet" in ran.err


def test_a_store_that_was_taken_away_whole_is_judged(forge: Forge) -> None:
    git("rm", "-r", "--quiet", "queue", "policies", cwd=forge.path)
    forge.commit("boss")
    assert set(rules_of(forge)) == {"deleted", "policies"}


# --- what a clone remembers -----------------------------------------------------------------------


@pytest.fixture
def served(forge: Forge) -> Path:
    """A remote without a hook, which the forge's repository has as its origin."""
    bare = forge.path.parent / "plain.git"
    git("clone", "--quiet", "--bare", "--no-hardlinks", str(forge.path), str(bare), cwd=forge.path)
    forge.git("remote", "add", "origin", str(bare))
    forge.git("fetch", "--quiet", "origin")
    forge.git("remote", "set-head", "origin", "main")
    forge.git("config", "kt.branch", "main")
    return bare


def noted(forge: Forge, text: str) -> None:
    """A note that is only in this clone."""
    forge.git("config", "kt.remote", "")
    forge.kt("bob", "note", "--id", "esc_two", "--text", text)
    forge.git("config", "--unset", "kt.remote")


def since(forge: Forge) -> str | None:
    ran = kt("verify", "--json", cwd=forge.path)
    assert ran.code == 0, ran.out
    found: str | None = ran.json["since"]
    return found


def test_what_was_never_pushed_may_be_taken_back(forge: Forge, served: Path) -> None:
    published = forge.tip()
    noted(forge, "first thoughts")
    assert since(forge) is None
    assert since(forge) == published
    forge.git("commit", "--quiet", "--amend", "--no-edit", "--date", "2026-01-01T00:00:00Z", who="bob")
    assert since(forge) == published
    forge.git("reset", "--quiet", "--hard", "origin/main")
    assert since(forge) == published
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    assert since(forge) is None, "what is older than what was verified is judged anew, and is no rewriting"


def test_a_remote_that_was_rewritten_is_told_until_it_is_accepted(forge: Forge, served: Path) -> None:
    verified = forge.tip()
    assert since(forge) is None
    forge.git("reset", "--quiet", "--hard", "HEAD^")
    noted(forge, "another past")
    assert push(forge, served, "--force").code == 0
    forge.git("fetch", "--quiet", "origin")
    for _ in range(2):
        [found] = kt("verify", "--json", cwd=forge.path).json["violations"]
        assert (found["rule"], found["commit"], found["author"]) == (
            "rewritten",
            forge.tip(),
            "bob@example.com",
        )
        assert verified[:12] in found["expected"]
        assert "`kt escalation verify --afresh`" in found["expected"]
    assert kt("verify", "--afresh", cwd=forge.path).code == 0
    assert since(forge) == forge.tip()


def test_who_has_not_fetched_for_a_while_is_told_nothing_of_rewriting(lab: Lab) -> None:
    here = lab.clone("here")
    lab.put({"README.md": "changed"})
    git("fetch", "--quiet", cwd=here)
    git("merge", "--quiet", "--ff-only", "origin/main", cwd=here)
    assert kt("verify", cwd=here).code == 0
    git("switch", "--quiet", "--detach", "HEAD^", cwd=here)
    assert kt("verify", "--json", cwd=here).json["violations"] == []


BY_HAND = '{"main": {"commit": "TIP", "waived": []}}'


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"main": 5}', '{"main": {"commit": "--help"}}', "0" * 40 + " main", BY_HAND,
     f"kt note 1 {'0' * 32}\n{BY_HAND}"],
)  # fmt: skip
def test_what_cannot_be_remembered_is_judged_anew(forge: Forge, text: str) -> None:
    assert since(forge) is None
    (forge.path / ".git/kt/verified").write_text(text.replace("TIP", forge.tip()))
    assert since(forge) is None
    assert since(forge) == forge.tip()
    remembered = (forge.path / ".git/kt/verified").read_text()
    (forge.path / ".git/kt/verified").write_text(remembered.replace("[]", '[{"some": "thing"}]'))
    assert since(forge) is None


# --- what is waived -------------------------------------------------------------------------------


def test_every_summary_counts_what_is_waived(forge: Forge) -> None:
    forge.edit(ONE, ("severity: medium", "severity: low"))
    bad = forge.commit("alice")
    waive(forge, (bad, "transition", ONE))
    forge.commit("boss")
    for _ in range(2):
        ran = kt("verify", "--json", cwd=forge.path)
        assert ran.code == 0
        assert [found["commit"] for found in ran.json["waived"]] == [bad]
        forge.kt("alice", "note", "--id", "esc_two", "--text", "more")
    assert "1 waived" in kt("verify", cwd=forge.path).err
    waive(forge)
    forge.commit("boss")
    assert rules_of(forge) == ["transition"], "what is waived no more is a violation again"


def test_a_waiver_by_who_is_no_admin_accepts_nothing_until_an_admin_accepts_it(forge: Forge) -> None:
    forge.edit(ONE, ("severity: medium", "severity: low"))
    bad = forge.commit("alice")
    waive(forge, (bad, "transition", ONE))
    added = forge.commit("alice")
    assert rules_of(forge) == ["transition", "policies"]
    assert rules_of(forge, f"{bad}^..HEAD") == ["transition", "policies"]
    # An admin who adds another leaves it what it is; one who accepts the change accepts what it brought.
    waive(forge, (bad, "transition", ONE), ("0" * 40, "merge", ONE))
    forge.commit("boss")
    assert rules_of(forge) == ["transition", "policies"]
    waive(forge, (bad, "transition", ONE), (added, "policies", "policies/waivers.yaml"))
    forge.commit("boss")
    ran = kt("verify", "--json", cwd=forge.path)
    assert ran.code == 0
    assert {found["commit"] for found in ran.json["waived"]} == {bad, added}


def test_a_waiver_that_an_admin_adds_again_counts(forge: Forge) -> None:
    forge.edit(ONE, ("severity: medium", "severity: low"))
    bad = forge.commit("alice")
    waive(forge, (bad, "transition", ONE))
    forge.commit("alice")
    waive(forge)
    forge.commit("boss")
    waive(forge, (bad, "transition", ONE))
    forge.commit("boss")
    assert rules_of(forge) == ["policies"]


def test_a_waiver_that_was_not_signed_where_it_must_be_accepts_nothing(signed: Forge) -> None:
    signed.git("config", "commit.gpgsign", "false")
    signed.kt("bob", "claim", "--id", "esc_one")
    claim = signed.tip()
    waive(signed, (claim, "unsigned", ONE))
    signed.commit("boss")
    assert rules_of(signed) == ["unsigned", "unsigned"]


def test_what_was_fetched_and_not_pulled_is_said_to_be_unjudged(lab: Lab) -> None:
    alice, bob = lab.clone("alice"), lab.clone("bob")
    for name in ("one", "two"):
        assert kt("raise", "--request-id", name, "--reason-code", "a.b", cwd=bob).code == 0
    assert kt("verify", cwd=alice).err.startswith("kt: 0 steps")
    assert kt("list", "--fetch", cwd=alice).code == 0
    ran = kt("verify", cwd=alice)
    assert ran.code == 0
    assert "kt: note: origin/main is 2 commits further than HEAD; they were not judged" in ran.err
    git("pull", "--quiet", cwd=alice)
    assert "note:" not in kt("verify", cwd=alice).err


# --- pull requests --------------------------------------------------------------------------------


def test_a_record_that_moved_on_names_the_commit_and_its_author(forge: Forge) -> None:
    side(forge, "claim", "--id", "esc_one")
    forge.git("switch", "--quiet", "side")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "something else")
    forge.git("switch", "--quiet", "main")
    forge.kt("alice", "claim", "--id", "esc_one")
    found = kt("check", "HEAD..side", "--json", cwd=forge.path).json["violations"]
    [moved] = [one for one in found if one["rule"] == "moved"]
    assert (moved["commit"], moved["author"]) == (forge.git("rev-parse", "side^"), "bob@example.com")


def test_a_head_that_has_merged_its_base_is_told_what_the_hook_wants(forge: Forge) -> None:
    side(forge, "note", "--id", "esc_one", "--text", "side")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "main")
    base = forge.tip()
    forge.git("switch", "--quiet", "side")
    forge.git("merge", "--quiet", "--no-ff", "-m", "update branch", "main")
    ran = kt("check", f"{base}..side", cwd=forge.path)
    assert ran.code == 0
    assert f"note: {forge.tip()[:12]} has merged {base[:12]} into itself" in ran.err
    assert len(kt("check", f"{base}..side", "--json", cwd=forge.path).json["notes"]) == 1
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--no-ff", "-m", "as the forge does", "side")
    assert kt("check", f"{base}..HEAD", "--json", cwd=forge.path).json["notes"] == []
