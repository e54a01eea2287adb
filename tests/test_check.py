"""What `check` says of a request before it is merged: the same as `verify` says of the merge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from forge import ONE, ROSTER, SETTINGS, Forge, identity, offer, push, serve
from lab import Ran, git, kt

from kt_escalation import Store, audit


def checked(forge: Forge, head: str, *options: str) -> Ran:
    return kt("check", f"main..{head}", "--json", *options, cwd=forge.path)


def told(ran: Ran) -> list[tuple[str, str]]:
    return [(found["rule"], found["path"]) for found in ran.json["violations"]]


def claimed(forge: Forge) -> str:
    """A branch on which bob claims; its first commit."""
    forge.git("switch", "--quiet", "-c", "topic")
    forge.kt("bob", "claim", "--id", "esc_one")
    return forge.tip()


def as_somebody(forge: Forge, who: str, when: datetime) -> Store:
    """The store as somebody opened it at a time of the past."""
    for key, value in (("name", who), ("email", f"{who}@example.com")):
        forge.git("config", f"user.{key}", value)
    return Store.open(forge.path, clock=lambda: when)


def dated(when: datetime) -> dict[str, str]:
    return {"GIT_AUTHOR_DATE": when.isoformat(), "GIT_COMMITTER_DATE": when.isoformat()}


# --- what the branch has by now -------------------------------------------------------------------


def test_it_leaves_nothing_in_the_repository(forge: Forge) -> None:
    claimed(forge)
    forge.git("switch", "--quiet", "main")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "meanwhile")
    before = forge.git("count-objects", "-v")
    assert told(checked(forge, "topic")) == []
    assert forge.git("count-objects", "-v") == before


def test_a_folder_with_a_colon_and_a_quote_in_its_name(forge: Forge, tmp_path: Path) -> None:
    claimed(forge)
    forge.git("switch", "--quiet", "main")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "meanwhile")
    forge.path = forge.path.rename(tmp_path / 'a:"b"\\c')
    assert told(checked(forge, "topic")) == []


def merged_at_last(forge: Forge, server: Path) -> None:
    """What was checked is merged; `verify` and a push have nothing against it."""
    forge.git("merge", "--quiet", "--no-ff", "-m", "Merge", "topic", who="alice")
    ran = kt("verify", "--afresh", "--json", cwd=forge.path)
    assert told(ran) == []
    ran = push(forge, server)
    assert ran.code == 0, ran.err


def test_nothing_has_moved_where_the_first_commit_of_a_request_was_picked(forge: Forge, server: Path) -> None:
    # What it adds to the file later is apart from what was picked, so that git can merge it.
    forge.kt("carol", "note", "--id", "esc_one", "--text", "First of all")
    picked = claimed(forge)
    forge.kt("bob", "note", "--id", "esc_one", "--text", "Looks right")
    forge.git("switch", "--quiet", "main")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "meanwhile")
    forge.git("cherry-pick", picked, who="carol")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "and on")
    assert told(checked(forge, "topic")) == []
    merged_at_last(forge, server)


def test_nothing_has_moved_where_the_branch_went_on_from_all_of_a_request(forge: Forge, server: Path) -> None:
    forge.kt("carol", "note", "--id", "esc_one", "--text", "First of all")
    claimed(forge)
    forge.git("switch", "--quiet", "main")
    forge.git("merge", "--quiet", "--squash", "topic")
    forge.commit("bob", "claimed (#4)")
    forge.kt("bob", "note", "--id", "esc_one", "--text", "Looks right")
    assert told(checked(forge, "topic")) == []
    merged_at_last(forge, server)


def test_who_was_first_is_told_however_it_lands(forge: Forge) -> None:
    claimed(forge)
    forge.git("switch", "--quiet", "main")
    forge.kt("alice", "claim", "--id", "esc_one")
    for method in ("merge", "rebase", "squash"):
        ran = checked(forge, "topic", "--method", method)
        assert told(ran) == [("moved", ONE)]
        assert "esc_one is held by alice" in ran.json["violations"][0]["expected"]


def conflicting(forge: Forge, path: str = "src/main.py") -> None:
    """A good request, beside which both sides have made a file of their own."""
    claimed(forge)
    forge.write(path, "# theirs\n")
    forge.commit("bob", "something else")
    forge.git("switch", "--quiet", "main")
    forge.write(path, "# ours\n")
    forge.commit("boss", "something else")


@pytest.mark.parametrize("method", ["merge", "squash"])
def test_what_git_cannot_merge_is_said_once_with_the_command(forge: Forge, method: str) -> None:
    conflicting(forge)
    base = forge.tip()
    ran = checked(forge, "topic", "--method", method)
    [found] = ran.json["violations"]
    assert (ran.code, found["rule"], found["path"]) == (1, "moved", "src/main.py")
    assert found["commit"] == forge.git("rev-parse", "topic")
    assert "escalation_id" not in found
    command = f"git merge {base[:12]}"
    assert f"`{command}`" in found["expected"]
    # And so it is: what was merged by hand goes in.
    forge.git("switch", "--quiet", "topic")
    forge.git(*command.split()[1:], "--quiet", "--strategy-option=ours", "--no-edit", who="bob")
    forge.git("switch", "--quiet", "main")
    assert told(checked(forge, "topic", "--method", method)) == []


def test_a_rebase_that_git_cannot_make_is_said_once_with_the_command(forge: Forge) -> None:
    conflicting(forge)
    base = forge.tip()
    [found] = checked(forge, "topic", "--method", "rebase").json["violations"]
    assert (found["rule"], found["path"]) == ("moved", "src/main.py")
    command = f"git rebase {base[:12]}"
    assert f"`{command}`" in found["expected"]
    forge.git("switch", "--quiet", "topic")
    forge.git(*command.split()[1:], "--quiet", "--strategy-option=theirs", who="bob")
    forge.git("switch", "--quiet", "main")
    assert told(checked(forge, "topic", "--method", "rebase")) == []


def test_a_rebase_leaves_out_what_was_picked_and_the_merges(forge: Forge) -> None:
    forge.kt("carol", "note", "--id", "esc_one", "--text", "First of all")
    picked = claimed(forge)
    forge.kt("bob", "note", "--id", "esc_one", "--text", "Looks right")
    forge.git("switch", "--quiet", "main")
    forge.git("cherry-pick", picked, who="carol")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "meanwhile")
    forge.git("switch", "--quiet", "topic")
    forge.git("merge", "--quiet", "-m", "Update branch", "main", who="carol")
    base = forge.git("rev-parse", "main")
    ran = kt("check", f"{base}..topic", "--method", "rebase", "--json", cwd=forge.path)
    assert (ran.code, ran.json["violations"], ran.json["steps"], ran.json["notes"]) == (0, [], 1, [])
    # And so git does it.
    forge.git("rebase", "--quiet", "main", who="carol")
    assert kt("verify", "--afresh", cwd=forge.path).code == 0


def test_a_rebase_of_a_merge_with_content_of_its_own_is_refused(forge: Forge) -> None:
    """Some hosts fast-forward to it, and others lose it."""
    claimed(forge)
    forge.git("switch", "--quiet", "main")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "meanwhile")
    forge.git("switch", "--quiet", "topic")
    forge.git("merge", "--quiet", "--no-commit", "main")
    forge.write("src/main.py", "# nobody's\n")
    forge.commit("bob", "Update branch")
    [found] = checked(forge, "topic", "--method", "rebase").json["violations"]
    assert (found["rule"], found["path"]) == ("moved", "src/main.py")
    assert "a merge of the request" in found["expected"]


def test_a_history_of_its_own_is_rebased_from_its_first_commit(forge: Forge) -> None:
    forge.git("switch", "--quiet", "--orphan", "topic")
    forge.write("docs/page.md", "one\n")
    forge.commit("bob", "a page")
    forge.write("docs/page.md", "two\n")
    forge.commit("bob", "more of it")
    ran = checked(forge, "topic", "--method", "rebase")
    assert (ran.code, ran.json["commits"]) == (0, 2)


def test_of_policies_that_conflict_it_says_to_rebase(forge: Forge) -> None:
    conflicting(forge, "policies/policy-config.yaml")
    [found] = checked(forge, "topic").json["violations"]
    assert found["path"] == "policies/policy-config.yaml"
    assert f"`git rebase {forge.tip()[:12]}`" in found["expected"]


def test_what_git_cannot_merge_is_judged_all_the_same(forge: Forge) -> None:
    conflicting(forge)
    forge.git("switch", "--quiet", "topic")
    forge.commit("mallory", "kt: resolve esc_two as approved")
    forge.git("switch", "--quiet", "main")
    assert sorted(told(checked(forge, "topic"))) == [("message", "queue"), ("moved", "src/main.py")]


def test_a_record_that_cannot_be_merged_beside_another_file(forge: Forge) -> None:
    conflicting(forge)
    forge.kt("alice", "claim", "--id", "esc_one")
    assert sorted(told(checked(forge, "topic"))) == [("moved", ONE), ("moved", "src/main.py")]


# --- where the store is ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["root: evil\n", "{{{\n"], ids=["another folder", "nothing"])
def test_the_root_that_the_base_names_counts(forge: Forge, text: str) -> None:
    forge.git("switch", "--quiet", "-c", "topic")
    forge.write("evil/policies/roster.yaml", ROSTER)
    forge.write(".kt.yaml", text)
    bad = forge.commit("boss", "elsewhere")
    ran = checked(forge, "HEAD")
    assert ran.code == 1
    assert ("root", ".kt.yaml") in told(ran)
    assert {found["commit"] for found in ran.json["violations"]} == {bad}


# --- time -----------------------------------------------------------------------------------------


def proposed_long_ago(forge: Forge, when: datetime, *, decides: bool = True) -> None:
    """A branch on which alice claims, and perhaps decides, at a time of the past."""
    with as_somebody(forge, "gw", when) as store:
        for name in ("old", "other"):
            store.create(request_id=name, reason_code="a.b")
    forge.git("switch", "--quiet", "-c", "topic")
    with as_somebody(forge, "alice", when + timedelta(seconds=1)) as store:
        store.claim("esc_old")
        if decides:
            store.resolve("esc_old", "approved", "ok")
    forge.git("switch", "--quiet", "main")


@pytest.mark.parametrize("decides", [True, False], ids=["a decision", "a claim within its lease"])
def test_a_merge_that_is_dated_back_brings_no_old_step(forge: Forge, decides: bool) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=300)
    proposed_long_ago(forge, long_ago, decides=decides)
    forge.kt("bob", "note", "--id", "esc_two", "--text", "meanwhile")
    server = serve(forge)
    base = forge.tip()
    env = {**identity("mallory"), **dated(long_ago + timedelta(minutes=1))}
    git("merge", "--quiet", "--no-ff", "-m", "Merge", "topic", cwd=forge.path, env=env)
    # Nobody who comes later can know, but whoever lets it in does.
    assert told(kt("verify", "--afresh", "--json", cwd=forge.path)) == []
    ran = kt("check", f"{base}..HEAD", "--json", cwd=forge.path)
    [found] = ran.json["violations"]
    assert found["rule"] == "time"
    assert "to be merged within 14d" in found["expected"]
    refused = offer(forge, server)
    assert refused.code == 1
    assert ": time: expected it to be merged within 14d" in refused.err


@pytest.mark.parametrize("moved", [False, True], ids=["as it is", "behind other work"])
def test_policies_that_an_admin_proposed_long_ago_do_not_land_by_a_push(forge: Forge, moved: bool) -> None:
    """Where the store has not changed since, they are on the line itself. An admin's merge lands them all the same."""
    base = forge.tip()
    forge.git("switch", "--quiet", "-c", "topic")
    forge.write("policies/policy-config.yaml", "pack: {enabled: false}\n")
    old = forge.commit("boss", "not today", **dated(datetime.now(UTC) - timedelta(days=15)))
    forge.git("switch", "--quiet", "main")
    if moved:
        forge.write("src/main.py", "1\n")
        base = forge.commit("carol", "other work")
    server = serve(forge)
    merged = "--no-ff" if moved else "--ff-only"
    git("merge", "--quiet", merged, "topic", cwd=forge.path, env=identity("mallory"))
    for ran in (kt("check", f"{base}..HEAD", "--json", cwd=forge.path), offer(forge, server)):
        assert ran.code == 1
        assert "expected it to be merged within 14d" in ran.out + ran.err
        assert old[:12] in ran.out + ran.err
    forge.git("reset", "--quiet", "--hard", base)
    git("merge", "--quiet", "--no-ff", "-m", "as proposed", "topic", cwd=forge.path, env=identity("boss"))
    assert kt("check", f"{base}..HEAD", "--json", cwd=forge.path).code == 0
    assert offer(forge, server).code == 0


def test_an_old_history_moves_to_a_new_server(forge: Forge, tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=300)
    proposed_long_ago(forge, long_ago)
    with as_somebody(forge, "bob", long_ago + timedelta(seconds=1)) as store:
        store.note("esc_other", "meanwhile")
    env = {**identity("bob"), **dated(long_ago + timedelta(days=1))}
    git("merge", "--quiet", "--no-ff", "-m", "Merge", "topic", cwd=forge.path, env=env)
    bare = tmp_path / "new.git"
    git("init", "--quiet", "--bare", "--initial-branch=main", str(bare), cwd=tmp_path)
    assert kt("hook", "install", "--server", str(bare), cwd=tmp_path).code == 0
    ran = push(forge, bare)
    assert ran.code == 0, ran.err


# --- archives -------------------------------------------------------------------------------------


def test_a_request_that_decides_and_compacts(tmp_path: Path) -> None:
    forge = Forge.__new__(Forge)
    forge.path = tmp_path / "store"
    begun = datetime(2024, 1, 28, 10, tzinfo=UTC)
    git("init", "--quiet", str(forge.path), cwd=tmp_path)
    forge.write("policies/roster.yaml", ROSTER)
    forge.write("policies/settings.yaml", SETTINGS)
    forge.commit("boss", "start", **dated(begun))
    with as_somebody(forge, "gw", begun) as store:
        for name in ("one", "two"):
            store.create(request_id=name, reason_code="a.b")
    forge.git("switch", "--quiet", "-c", "topic")
    with as_somebody(forge, "alice", begun + timedelta(days=3)) as store:
        store.claim("esc_one")
        store.resolve("esc_one", "denied", "no")
    with as_somebody(forge, "boss", begun + timedelta(days=12)) as store:
        assert store.compact(timedelta()).archives
    forge.git("switch", "--quiet", "main")
    with as_somebody(forge, "bob", begun + timedelta(days=12)) as store:
        store.note("esc_two", "meanwhile")
    now = begun + timedelta(days=13)
    assert audit.check(forge.path, "main..topic", now=now).violations == ()
    env = {**identity("bob"), **dated(now)}
    git("merge", "--quiet", "--no-ff", "-m", "Merge", "topic", cwd=forge.path, env=env)
    assert audit.verify(forge.path, afresh=True, now=now).violations == ()


@pytest.mark.parametrize("path", [".github/workflows/kt.yml", ".gitlab-ci.yml", ".gitea/x", ".forgejo/x"])
def test_a_change_of_what_runs_the_check_is_named_and_refused_where_that_is_asked(
    forge: Forge, path: str
) -> None:
    """The check may run from the branch that it judges; a request that removes the file is one as well."""
    forge.write(path, "on: push\n")
    forge.commit("boss", "what runs the check")
    forge.git("switch", "--quiet", "-c", "topic")
    (forge.path / path).unlink()
    forge.commit("alice", "tidy up")
    ran = checked(forge, "topic")
    assert ran.code == 0
    assert f"changes the files that run this check: {path}" in ran.json["notes"]
    strict = checked(forge, "topic", "--strict")
    assert strict.code == 1
    assert told(strict) == [("foreign", path)]


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
def test_a_merge_of_the_base_that_keeps_an_older_file_of_the_check_is_found(
    forge: Forge, method: str
) -> None:
    """The request and the base have merged the same two commits, so that each of these is a newest common one."""
    path = ".github/workflows/kt.yml"
    forge.write(path, "weak\n")
    forge.commit("boss", "what runs the check")
    forge.git("switch", "--quiet", "-c", "harden")
    forge.write(path, "strict\n")
    hardened = forge.commit("boss", "harden it")
    forge.git("switch", "--quiet", "main")
    forge.write("README.md", "more\n")
    fork = forge.commit("boss", "something else")
    forge.git("merge", "--quiet", "--no-ff", "-m", "Merge harden", "harden", who="boss")
    forge.git("switch", "--quiet", "-c", "topic", fork)
    forge.git("merge", "--quiet", "--no-commit", "--no-ff", hardened)
    forge.write(path, "weak\n")
    forge.commit("mallory", "Merge harden")
    ran = checked(forge, "topic", "--strict", "--method", method)
    assert ran.code == 1
    assert told(ran) == [("moved" if method == "rebase" else "foreign", path)]


@pytest.mark.parametrize("method", ["squash", "rebase"])
def test_who_did_not_send_it_is_told_of_a_commit_of_the_request(forge: Forge, method: str) -> None:
    made = claimed(forge)
    forge.git("switch", "--quiet", "main")
    forge.kt("alice", "note", "--id", "esc_two", "--text", "meanwhile")
    options = ("--actor-from", "A", "--method", method)
    ran = kt("check", "main..topic", "--json", *options, cwd=forge.path, env={"A": "alice"})
    assert [(found["rule"], found["commit"]) for found in ran.json["violations"]] == [("pusher", made)]


def test_all_whom_the_host_names_must_have_made_what_acts(forge: Forge) -> None:
    """Who opened a request, and who sent the newest event of it."""
    forge.git("switch", "--quiet", "-c", "topic")
    forge.kt("alice", "note", "--id", "esc_one", "--text", "hm")
    actors = ("--actor-from", "A", "--actor-from", "B")
    for names, code in (({"A": "alice", "B": "alice"}, 0), ({"A": "alice", "B": "bob"}, 1)):
        ran = kt("check", "main..topic", "--json", *actors, cwd=forge.path, env=names)
        assert (ran.code, [rule for rule, _ in told(ran)]) == (code, ["pusher"] * code)
    # A variable that the host does not set names nobody.
    assert kt("check", "main..topic", "--json", *actors, cwd=forge.path, env={"A": "alice"}).code != 0
