"""Proposing an action as a pull request: `--branch` puts the commit beside the store branch and moves nothing else."""

from __future__ import annotations

import json

import pytest
from lab import Lab, git, kt, kt_process, on_a_terminal, state
from proposals import branches, merge, raised
from terminal import at_a_terminal

from kt_escalation import Store
from kt_escalation.errors import BranchTaken


def test_a_claim_is_proposed_and_nobody_holds_it_before_the_merge(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    tip, before = lab.tip(), state(alice)
    ran = kt("claim", "--branch", "--id", "esc_one", "--json", cwd=alice)
    assert ran.code == 0, ran.err
    assert ran.json["proposed"] is True
    assert ran.json["changed"] is False
    assert ran.json["branch"] == "kt/claim/esc_one"
    assert ran.json["request_url"] is None
    assert ran.json["escalation"]["claim"]["claimed_by"] == "alice@example.com"
    assert branches(lab) == {"main": tip, "kt/claim/esc_one": ran.json["commit"]}
    assert git("rev-parse", "kt/claim/esc_one^", cwd=lab.remote) == tip
    assert state(alice) == before
    assert git("rev-parse", "origin/kt/claim/esc_one", cwd=alice) == ran.json["commit"]
    assert kt("list", "--fetch", "--json", cwd=alice).json["escalations"][0]["status"] == "queued"
    merge(lab, "kt/claim/esc_one")
    assert kt("list", "--fetch", "--json", cwd=alice).json["escalations"][0]["status"] == "claimed"
    assert kt("verify", cwd=lab.seed).code == 0


def test_a_listing_at_a_terminal_marks_the_proposals_that_the_clone_knows(lab: Lab) -> None:
    raised(lab, "one", "two")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    assert kt("claim", "esc_one", "--branch", cwd=alice).code == 0
    plain = kt("list", cwd=alice).out
    assert plain.splitlines()[0].split("\t")[2] == "queued"
    marked = "queued, claim proposed"
    code, shown = on_a_terminal(["list"], alice, {"COLUMNS": "150"})
    assert (code, shown.count(marked)) == (0, 1)
    assert marked in next(line for line in shown.splitlines() if "esc_one" in line)
    assert marked not in on_a_terminal(["list"], bob, {"COLUMNS": "150"})[1]
    git("fetch", "--quiet", cwd=bob)
    assert marked in on_a_terminal(["list"], bob, {"COLUMNS": "150"})[1]
    merge(lab, "kt/claim/esc_one")
    assert "proposed" not in on_a_terminal(["list", "--fetch"], alice, {"COLUMNS": "150"})[1]


def test_every_action_of_a_reviewer_can_be_proposed(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    name = ["--id", "esc_one"]
    for args, branch, to in (
        (["claim", *name], "kt/claim/esc_one", "claim esc_one"),
        (["note", *name, "--text", "Asked legal"], "kt/note/esc_one", "add a note to esc_one"),
        (["unclaim", *name], "kt/unclaim/esc_one", "give esc_one back"),
        (["claim", "--next"], "kt/claim/esc_one", "claim esc_one"),
        (
            ["assign", *name, "--to", "bob@example.com", "--reason", "his"],
            "kt/assign/esc_one",
            "assign esc_one to bob@example.com",
        ),
    ):
        ran = kt(*args, "--branch", cwd=alice)
        assert ran.code == 0, (args, ran)
        assert ran.out.startswith(f"proposed to {to} on branch {branch} in commit "), (args, ran)
        assert f"nothing changes until it is merged; open a pull request from {branch}" in ran.out
        merge(lab, branch)
    bob = lab.clone("bob")
    ran = kt("resolve", *name, "--outcome", "approved", "--reason", "fine", "--branch", "mine", cwd=bob)
    assert ran.code == 0
    assert ran.out.startswith("proposed to resolve esc_one as approved on branch mine in commit ")
    merge(lab, "mine")
    assert kt("get", "--fetch", "--json", *name, cwd=bob).json["escalation"]["status"] == "resolved"
    assert kt("verify", cwd=lab.seed).code == 0


def test_the_same_again_is_found_and_another_is_told_to_take_another_name(lab: Lab) -> None:
    raised(lab, "one")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    claim = ("claim", "--id", "esc_one", "--branch", "--json")
    first = kt(*claim, cwd=alice)
    again = kt(*claim, cwd=alice)
    assert again.code == 0
    assert again.json["proposed"] is True
    assert again.json["commit"] == first.json["commit"] == branches(lab)["kt/claim/esc_one"]
    text = kt(*claim[:-1], cwd=alice).out
    assert text.startswith("esc_one is proposed on branch kt/claim/esc_one already\n")
    assert "yours" not in text
    other = kt(*claim, cwd=bob)
    assert other.code == 6
    assert other.error["code"] == "branch_taken"
    assert other.error["branch"] == "kt/claim/esc_one"
    assert other.error["by"] == "alice@example.com"
    message = "alice@example.com proposes to claim esc_one already, on kt/claim/esc_one"
    assert other.error["message"].startswith(message)
    assert "--delete" not in other.error["message"]
    another = kt("claim", "--id", "esc_one", "--branch", "bobs", cwd=bob)
    assert another.code == 0
    assert "bobs" in branches(lab)
    token = kt(*claim, "--claim-id", "worker-2", cwd=alice)
    assert token.code == 6
    assert branches(lab)["kt/claim/esc_one"] == first.json["commit"]
    assert "by you" in token.error["message"]
    assert "git push origin --delete kt/claim/esc_one" in token.error["message"]


def test_who_proposes_it_is_named_as_the_roster_has_them(lab: Lab) -> None:
    raised(lab, "one", "two")
    roster = "users:\n" + "".join(
        f"  - {{user_id: {name}, emails: [{name}@example.com], roles: [reviewer]}}\n"
        for name in ("alice", "bob")
    )
    lab.put({"policies/roster.yaml": roster})
    both = ("claim", "--id", "esc_one", "--id", "esc_two", "--branch")
    assert kt(*both, cwd=lab.clone("alice")).code == 0
    bob = lab.clone("bob")
    refused = kt(*both, cwd=bob)
    assert refused.code == 6
    assert "alice proposes to claim esc_one and 1 more already" in refused.err
    # Called otherwise, it may propose anything.
    assert kt("note", "--id", "esc_two", "--text", "hm", "--branch", "notes", cwd=bob).code == 0
    refused = kt("claim", "--id", "esc_two", "--branch", "notes", cwd=lab.folder / "alice")
    assert refused.code == 6
    assert "bob proposes a change of esc_two already, on notes" in refused.err


def test_a_branch_that_holds_other_work_is_never_written(lab: Lab) -> None:
    raised(lab, "one", "two")
    alice = lab.clone("alice")
    git("checkout", "--quiet", "-b", "topic", cwd=alice)
    (alice / "README.md").write_text("mine\n")
    git("commit", "--quiet", "-am", "topic", cwd=alice)
    git("push", "--quiet", "origin", "topic", cwd=alice)
    git("checkout", "--quiet", "--orphan", "else", cwd=alice)
    git("commit", "--quiet", "--allow-empty", "-m", "else", cwd=alice)
    git("push", "--quiet", "origin", "else", cwd=alice)
    git("checkout", "--quiet", "main", cwd=alice)
    assert kt("claim", "--id", "esc_two", "--branch", "two", cwd=alice).code == 0
    before = branches(lab)
    for name in ("topic", "else", "two"):
        ran = kt("claim", "--id", "esc_one", "--branch", name, "--json", cwd=alice)
        assert ran.code == 6, (name, ran)
        assert ran.error["code"] == "branch_taken", (name, ran)
    # Also not where the store has moved on since it was made.
    assert kt("note", "--id", "esc_one", "--text", "meanwhile", cwd=lab.clone("bob")).code == 0
    for name in ("topic", "else", "two"):
        assert kt("claim", "--id", "esc_one", "--branch", name, cwd=alice).code == 6
    assert {**branches(lab), "main": ""} == {**before, "main": ""}


def test_a_proposal_that_the_store_has_overtaken_is_replaced(lab: Lab) -> None:
    raised(lab, "one", "two")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    claim = ("claim", "--id", "esc_one", "--branch", "--json")
    first = kt(*claim, cwd=alice).json["commit"]
    assert kt("note", "--id", "esc_two", "--text", "elsewhere", cwd=bob).code == 0
    assert kt(*claim, cwd=alice).json["commit"] == first
    assert kt("note", "--id", "esc_one", "--text", "here", cwd=bob).code == 0
    again = kt(*claim, cwd=alice)
    assert again.code == 0
    assert again.json["commit"] != first
    assert git("rev-parse", "kt/claim/esc_one^", cwd=lab.remote) == lab.tip()
    merge(lab, "kt/claim/esc_one")
    # What is merged is done, and its branch is free for the next round.
    done = kt(*claim, cwd=alice)
    assert done.code == 0
    assert done.json["changed"] is False
    assert "proposed" not in done.json
    assert kt("unclaim", "--id", "esc_one", cwd=alice).code == 0
    assert kt(*claim, cwd=bob).json["proposed"] is True


def test_next_passes_over_what_is_proposed(lab: Lab) -> None:
    raised(lab, "one", "two")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    took = [kt("claim", "--next", "--branch", "--json", cwd=who).json["branch"] for who in (alice, bob)]
    assert took == ["kt/claim/esc_one", "kt/claim/esc_two"]
    ran = kt("claim", "--next", "--branch", "--json", cwd=alice)
    assert ran.code == 7
    assert ran.error["state"] == "all_held"
    assert "held (2 open proposals)" in ran.error["message"]
    assert kt("claim", "--next", "--branch", "mine", cwd=alice).code == 0
    assert kt("claim", "--next", "--branch", "mine", cwd=bob).code == 6
    one = kt("claim", "--next", "--branch", "t", "--claim-id", "t1", "--json", cwd=bob)
    same = kt("claim", "--next", "--branch", "t", "--claim-id", "t1", "--json", cwd=bob)
    assert same.code == 0
    assert same.json["commit"] == one.json["commit"]


def test_several_are_one_commit_on_one_branch(lab: Lab) -> None:
    raised(lab, "two", "one")
    alice = lab.clone("alice")
    both = ("claim", "--id", "esc_two", "--id", "esc_one", "--branch")
    ran = kt(*both, cwd=alice)
    assert ran.code == 0
    assert ran.out == "esc_two\nesc_one\n"
    assert "2 proposed on branch kt/claim/esc_one" in ran.err
    assert "open a pull request" in ran.err
    again = kt(*both, "--json", cwd=alice)
    assert again.json["proposed"] is True
    assert again.json["unchanged"] == 2
    assert kt("claim", "--id", "esc_one", "--branch", cwd=alice).code == 0
    alone = kt("claim", "--id", "esc_one", "--id", "esc_gone", "--branch", cwd=alice)
    assert alone.code == 7
    partial = kt("claim", "--next", "--count", "5", "--branch", "rest", "--json", cwd=alice)
    assert partial.code == 0
    assert len(partial.json["escalations"]) == 2


@pytest.mark.parametrize(
    "name",
    [
        "-x",
        "a..b",
        "a b",
        "a~1",
        "@{-1}",
        "x.lock",
        "HEAD",
        "refs/heads/x",
        "a\nb",
        "a\x1b[2J",
        "x" * 201,
        "/x",
        "x/",
    ],
)
def test_a_name_that_no_branch_can_have_is_refused(lab: Lab, name: str) -> None:
    raised(lab, "one")
    before = branches(lab)
    ran = kt("claim", "--id", "esc_one", f"--branch={name}", "--json", cwd=lab.clone("alice"))
    assert ran.code == 2, ran
    assert ran.error["code"] in ("bad_input", "usage"), ran
    assert branches(lab) == before


def test_the_store_branch_itself_is_no_branch_to_propose_on(lab: Lab) -> None:
    raised(lab, "one")
    tip = lab.tip()
    ran = kt("claim", "--id", "esc_one", "--branch", "main", cwd=lab.clone("alice"))
    assert ran.code == 2
    assert "main is the store branch itself" in ran.err
    assert lab.tip() == tip


def test_without_a_remote_nothing_can_be_proposed(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    git("remote", "remove", "origin", cwd=alice)
    before = state(alice)
    ran = kt("claim", "--id", "esc_one", "--branch", cwd=alice)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert "has none" in ran.err
    assert state(alice) == before


def test_the_option_swallows_no_other(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    for args in (["--branch", "--id", "esc_one", "--json"], ["--id", "esc_one", "--json", "--branch"]):
        assert kt("claim", *args, cwd=alice).json["branch"] == "kt/claim/esc_one"
    assert kt("claim", "--id", "esc_one", "--branch=a/b", "--json", cwd=alice).json["branch"] == "a/b"


def test_a_name_that_git_cannot_have_beside_another_is_a_conflict(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    git("push", "--quiet", "origin", "HEAD:refs/heads/kt", cwd=alice)
    ran = kt("claim", "--id", "esc_one", "--branch", "--json", cwd=alice)
    assert ran.code == 6
    assert ran.error["code"] == "branch_taken"
    assert "there is a branch kt," in ran.error["message"]
    assert "--delete" not in ran.error["message"]
    assert kt("claim", "--id", "esc_one", "--branch", "main/x", "--json", cwd=alice).code == 6
    ran = kt("claim", "--next", "--branch", "--json", cwd=alice)
    assert ran.code == 6
    assert ran.error["branch"] == "kt/claim/esc_one"
    # What is in the way is told, and not the branch that there is not.
    git("push", "--quiet", "origin", "HEAD:refs/heads/top/bobs", cwd=alice)
    ran = kt("claim", "--id", "esc_one", "--branch", "top", cwd=alice)
    assert ran.code == 6
    assert "there is a branch top/bobs," in ran.err
    assert "--delete" not in ran.err


def test_what_the_rules_refuse_is_not_proposed(lab: Lab) -> None:
    raised(lab, "one")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    assert kt("claim", "--id", "esc_one", cwd=bob).code == 0
    before = branches(lab)
    ran = kt("claim", "--id", "esc_one", "--branch", "--json", cwd=alice)
    assert ran.code == 6
    assert ran.error["code"] == "already_claimed"
    done = ("resolve", "--id", "esc_one", "--outcome", "approved", "--reason", "x", "--branch")
    assert kt(*done, cwd=alice).code == 6
    assert branches(lab) == before


def test_a_refused_push_to_the_store_branch_points_at_the_option(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    lab.hook("pre-receive", 'while read -r _ _ ref; do [ "$ref" != refs/heads/main ] || exit 1; done')
    ran = kt("claim", "--id", "esc_one", cwd=alice)
    assert ran.code == 4
    assert "--branch" in ran.err
    assert kt("claim", "--id", "esc_one", "--branch", cwd=alice).code == 0
    lab.hook("pre-receive", "echo 'No such branches here.'; exit 1")
    ran = kt("claim", "--id", "esc_one", "--branch", "b", cwd=alice)
    assert ran.code == 4
    assert "No such branches here." in ran.err
    assert "give another name" in ran.err


def test_two_who_propose_on_one_branch_at_once_never_overwrite_each_other(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    # The branch appears between the question and the push.
    theirs = lab.tip()
    lab.hook(
        "pre-receive",
        f"[ -e once ] || {{ touch once; env -u GIT_QUARANTINE_PATH git update-ref refs/heads/kt/claim/esc_one {theirs}; }}",
    )
    ran = kt("claim", "--id", "esc_one", "--branch", "--json", cwd=alice)
    assert ran.code == 0, ran.err
    assert git("rev-parse", "kt/claim/esc_one^", cwd=lab.remote) == theirs


def test_a_lost_answer_is_learnt_from_the_branch(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    lab.hook("post-update", "[ -e once ] || { touch once; kill -9 $PPID; }")
    ran = kt("claim", "--id", "esc_one", "--branch", "--json", cwd=alice)
    assert ran.code == 0, ran
    assert ran.json["proposed"] is True, ran
    assert branches(lab)["kt/claim/esc_one"] == ran.json["commit"]


def test_the_address_of_the_request_is_told_for_a_forge(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    # What ssh would run on the forge's host is run here, on the lab's remote.
    ssh = lab.folder / "ssh"
    ssh.write_text(f'#!/bin/sh\nfor last; do :; done\nexec "${{last%% *}}" {lab.remote}\n')
    ssh.chmod(0o755)
    git("config", "core.sshCommand", str(ssh), cwd=alice)
    git("config", "ssh.variant", "simple", cwd=alice)
    git("remote", "set-url", "origin", "git@gitlab.example.com:team/review.git", cwd=alice)
    ran = kt("claim", "--id", "esc_one", "--branch", "--json", cwd=alice)
    page = "https://gitlab.example.com/team/review/-/merge_requests/new?"
    assert ran.code == 0, ran
    assert ran.json["request_url"].startswith(page), ran
    git("config", "kt.forge", "github", cwd=alice)
    ran = kt("claim", "--id", "esc_one", "--branch", cwd=alice)
    assert "open https://gitlab.example.com/team/review/compare/main...kt/claim/esc_one?expand=1" in ran.out
    git("config", "kt.forge", "sourceforge", cwd=alice)
    ran = kt("claim", "--id", "esc_one", "--branch", "b", cwd=alice)
    assert ran.code == 2
    assert "kt.forge is 'sourceforge'" in ran.err
    assert "b" not in branches(lab)


def test_a_server_that_names_the_address_itself_is_believed(lab: Lab) -> None:
    raised(lab, "one")
    lab.hook(
        "post-receive", "echo; echo '  https://forge.example.com/team/review/pull/new/kt/claim/esc_one'; echo"
    )
    ran = kt("claim", "--id", "esc_one", "--branch", "--json", cwd=lab.clone("alice"))
    assert ran.json["request_url"] == "https://forge.example.com/team/review/pull/new/kt/claim/esc_one"


def test_the_package_proposes_too(lab: Lab) -> None:
    raised(lab, "one")
    with Store.open(lab.clone("alice")) as store:
        result = store.claim("esc_one", branch="")
        assert (result.proposed, result.changed, result.found, result.branch) == (
            True,
            False,
            False,
            "kt/claim/esc_one",
        )
        assert store.claim("esc_one", branch="").found
        assert store.landed is None
    with Store.open(lab.clone("bob")) as store, pytest.raises(BranchTaken) as caught:
        store.claim("esc_one", branch="")
    assert json.dumps(caught.value.as_json())
    assert caught.value.branch == "kt/claim/esc_one"


def test_one_person_under_two_addresses_finds_their_own_proposal(lab: Lab) -> None:
    raised(lab, "one")
    roster = "users:\n  - {user_id: al, emails: [alice@example.com, al@home.example], roles: [reviewer]}\n"
    lab.put({"policies/roster.yaml": roster})
    alice, home = lab.clone("alice"), lab.clone("home", email="al@home.example")
    first = kt("claim", "--id", "esc_one", "--branch", "--json", cwd=alice)
    again = kt("claim", "--id", "esc_one", "--branch", "--json", cwd=home)
    assert again.code == 0
    assert again.json["commit"] == first.json["commit"]


def test_who_is_killed_before_the_push_has_proposed_nothing_and_may_do_it_again(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    before, mine = branches(lab), state(alice)
    claim = ("claim", "--id", "esc_one", "--branch", "--json")
    assert kt_process(*claim, cwd=alice, env={"KT_TEST_FAULT": "before-push:kill"}).code == -9
    assert branches(lab) == before
    assert state(alice) == mine
    assert kt(*claim, cwd=alice).json["proposed"] is True


def test_a_claim_a_note_and_a_decision_are_one_request(lab: Lab) -> None:
    raised(lab, "one", "two")
    alice, bob = lab.clone("alice"), lab.clone("bob")
    for args in (
        ["claim", "esc_one"],
        ["note", "esc_one", "--text", "Asked legal"],
        ["resolve", "esc_one", "--outcome", "approve", "--reason", "fine"],
    ):
        ran = kt(*args, "--branch", "--json", cwd=alice)
        assert ran.code == 0, ran.err
        assert ran.json["branch"] == "kt/claim/esc_one"
        assert ran.json["proposed"] is True
    assert sorted(branches(lab)) == ["kt/claim/esc_one", "main"]
    again = kt("resolve", "esc_one", "--outcome", "approve", "--reason", "fine", "--branch", cwd=alice)
    assert again.code == 0
    assert "proposed on branch kt/claim/esc_one already" in again.out
    # A proposal of somebody else's is nobody's to build on, and another decision is no repeat.
    theirs = kt("resolve", "esc_one", "--outcome", "deny", "--reason", "no", "--branch", "--json", cwd=bob)
    assert (theirs.code, theirs.error["code"]) == (6, "not_claimed")
    other = kt("resolve", "esc_one", "--outcome", "deny", "--reason", "no", "--branch", "--json", cwd=alice)
    assert (other.code, other.error["code"]) == (6, "already_resolved")
    git("fetch", "--quiet", cwd=alice)
    git("checkout", "--quiet", "--detach", "origin/kt/claim/esc_one", cwd=alice)
    assert kt("check", cwd=alice).code == 0
    merge(lab, "kt/claim/esc_one")
    assert kt("get", "esc_one", "--fetch", "--json", cwd=bob).json["escalation"]["status"] == "resolved"
    assert kt("verify", cwd=lab.seed).code == 0


def test_a_name_of_its_own_holds_claim_and_decision_too(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    assert kt("claim", "esc_one", "--branch", "mine", cwd=alice).code == 0
    decide = ["resolve", "esc_one", "--outcome", "approve", "--reason", "fine"]
    assert kt(*decide, "--branch", "--json", cwd=alice).error["code"] == "not_claimed"
    # At a terminal the question is asked about what the request would come to.
    code, shown = at_a_terminal(*decide, "--branch", "mine", cwd=alice, typed="y\n")
    assert code == 0
    assert "Resolve esc_one" in shown
    assert sorted(branches(lab)) == ["main", "mine"]


def test_a_claim_that_the_store_has_overtaken_is_not_built_on(lab: Lab) -> None:
    raised(lab, "one")
    alice = lab.clone("alice")
    assert kt("claim", "esc_one", "--branch", cwd=alice).code == 0
    assert kt("note", "esc_one", "--text", "meanwhile", cwd=lab.clone("bob")).code == 0
    ran = kt(
        "resolve", "esc_one", "--outcome", "approve", "--reason", "fine", "--branch", "--json", cwd=alice
    )
    assert ran.error["code"] == "not_claimed"
