"""Several stores as one queue: one list, one next, and each store as plain as before (docs/many-stores.md)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from forge import identity
from golden_files import commands
from lab import (
    HEAVY,
    Lab,
    Ran,
    end,
    git,
    ids,
    kt,
    kt_gateway,
    kt_policy,
    loaded,
    on_a_terminal,
    record_text,
    start,
)
from pages import as_printed
from sample_records import open_text

from kt_escalation import Store
from kt_escalation.cli import app


def lab_in(folder: Path) -> Lab:
    folder.mkdir()
    return Lab(folder)


class Many:
    """Stores called one, two and three, and alice's clone of each."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.labs = {name: lab_in(folder / f"{name}-lab") for name in names}

    def clone(self) -> None:
        for name, lab in self.labs.items():
            (self.folder / name).symlink_to(lab.clone("alice"))

    @property
    def options(self) -> list[str]:
        return [word for name in self.labs for word in ("-C", name)]

    def kt(self, command: str, *args: str, **more: Any) -> Ran:
        return kt(command, *self.options, *args, cwd=self.folder, **more)


def at(day: int) -> str:
    return f'"2026-11-{day:02}T09:00:00.000Z"'


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Many:
    """Three stores to be read; `esc_same` is in two of them, a file of the second cannot be read."""
    many = Many(tmp_path_factory.mktemp("shelf"), "one", "two", "three")
    many.labs["one"].put(
        {
            "queue/esc_a.yaml": open_text("a", "high", created_at=at(3)),
            "queue/esc_b.yaml": open_text("b", "low", created_at=at(1)),
            "queue/esc_same.yaml": open_text("same", "medium", created_at=at(2)),
        }
    )
    many.labs["two"].put(
        {
            "queue/esc_c.yaml": open_text("c", "critical", created_at=at(9)),
            "queue/esc_d.yaml": open_text("d", "high", created_at=at(2), route="team_id: legal"),
            "queue/esc_same.yaml": open_text("same", "medium", created_at=at(2)),
            "queue/esc_torn.yaml": "a: [\n",
        }
    )
    many.clone()
    return many


@pytest.fixture
def pair(tmp_path: Path) -> Many:
    """Two stores to work on."""
    many = Many(tmp_path, "one", "two")
    for name, severity in (("a", "high"), ("c", "medium")):
        many.labs["one"].put({f"queue/esc_{name}.yaml": record_text(name, severity)})
    for name, severity in (("b", "critical"), ("d", "low")):
        many.labs["two"].put({f"queue/esc_{name}.yaml": record_text(name, severity)})
    many.clone()
    return many


ORDER = ["two esc_c", "two esc_d", "one esc_a", "one esc_same", "two esc_same", "one esc_b"]


def placed(listing: list[dict[str, Any]]) -> list[str]:
    return [f"{item['store']} {item['escalation_id']}" for item in listing]


# --- list -------------------------------------------------------------------------------------------


def test_the_list_is_one_of_all_stores_in_the_usual_order(shelf: Many) -> None:
    ran = shelf.kt("list", "--json")
    assert ran.code == 0
    assert set(ran.json) == {"escalations", "next_cursor", "invalid"}
    assert placed(ran.json["escalations"]) == ORDER
    assert ran.json["next_cursor"] is None
    [torn] = ran.json["invalid"]
    assert (torn["store"], torn["path"]) == ("two", "queue/esc_torn.yaml")
    assert torn["error"]
    assert "kt: two: queue/esc_torn.yaml: " in ran.err
    alone = kt("list", "--json", "-C", "one", cwd=shelf.folder).json["escalations"]
    with_store = [dict(item) for item in ran.json["escalations"] if item.pop("store") == "one"]
    assert with_store == alone, "with one store there is no such key"


def test_the_options_stand_before_the_command_as_well(shelf: Many) -> None:
    ran = kt(*shelf.options, "list", "--json", cwd=shelf.folder)
    assert placed(ran.json["escalations"]) == ORDER
    one = kt(*shelf.options, "list", "-C", "one", "--json", cwd=shelf.folder)
    assert "store" not in one.json["escalations"][0]


def test_the_store_is_the_first_field_and_the_first_column(shelf: Many) -> None:
    lines = shelf.kt("list").out.splitlines()
    assert [" ".join(line.split("\t")[:2]) for line in lines] == ORDER
    assert kt("list", "-C", "one", cwd=shelf.folder).out.splitlines() == [
        line.removeprefix("one\t") for line in lines if line.startswith("one\t")
    ]
    env = {"COLUMNS": "200", "NO_COLOR": "1"}
    code, table = on_a_terminal(["list", *shelf.options], shelf.folder, env)
    assert code == 0
    assert re.search(r"^STORE  ID +SEVERITY ", table, re.MULTILINE)
    assert re.search(r"^two    esc_c +critical", table, re.MULTILINE)


@pytest.mark.parametrize("limit", ["1", "2", "4"])
@pytest.mark.parametrize("sort", ["severity", "-created", "id"])
def test_pages_go_through_all_stores(shelf: Many, sort: str, limit: str) -> None:
    whole = placed(shelf.kt("list", "--json", "--sort", sort, "--limit", "0").json["escalations"])
    assert sorted(whole) == sorted(ORDER)
    seen: list[str] = []
    more: list[str] = []
    while True:
        page = shelf.kt("list", "--json", "--sort", sort, "--limit", limit, *more).json
        seen += placed(page["escalations"])
        if page["next_cursor"] is None:
            break
        assert len(page["escalations"]) == int(limit)
        more = ["--cursor", page["next_cursor"]]
    assert seen == whole


def test_filters_hold_in_every_store(shelf: Many) -> None:
    legal = shelf.kt("list", "--team", "legal", "--json")
    assert placed(legal.json["escalations"]) == ["two esc_d"]
    assert "no escalation matches" in shelf.kt("list", "--team", "nobody").err


@pytest.mark.parametrize(
    "options", [("--sort", "odd"), ("--cursor", "odd"), ("--team", "")], ids=lambda options: options[0]
)
def test_a_query_that_makes_no_sense_is_said_once(shelf: Many, options: tuple[str, str]) -> None:
    ran = shelf.kt("list", *options)
    assert ran.code == 2
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1


def test_a_store_that_cannot_be_read_hides_no_other_and_shows_in_the_exit(shelf: Many) -> None:
    ran = shelf.kt("list", "-C", "gone", "--json")
    assert ran.code == 2
    assert placed(ran.json["escalations"]) == ORDER
    assert ran.json["invalid"][0]["store"] == "gone"
    assert ran.json["invalid"][0]["path"] is None
    assert "there is no such folder" in ran.json["invalid"][0]["error"]
    plain = shelf.kt("list", "-C", "gone")
    assert plain.code == 2
    assert len(plain.out.splitlines()) == len(ORDER)
    assert [line for line in plain.err.splitlines() if line.startswith("kt: gone: gone is not a kt store")]


def test_a_remote_that_is_gone_is_exit_4_with_fetch_and_nothing_without(pair: Many) -> None:
    pair.labs["one"].remote.rename(pair.folder / "away")
    assert placed(pair.kt("list", "--json").json["escalations"])[:2] == ["two esc_b", "one esc_a"]
    ran = pair.kt("list", "--json", "--fetch")
    assert ran.code == 4
    assert placed(ran.json["escalations"]) == ["two esc_b", "two esc_d"]


def test_a_second_listing_of_several_needs_nothing_heavy_either(shelf: Many) -> None:
    options = ["list", "-C", "one", "-C", "two", "--json"]
    first, _ = loaded(*options, cwd=shelf.folder)
    second, modules = loaded(*options, cwd=shelf.folder)
    assert second == first
    assert modules.isdisjoint(HEAVY)


# --- which stores are meant -------------------------------------------------------------------------

# `hook` is a group, git calls its `pre-receive`, and `digest` needs no store.
OTHERS = ("list", "claim", "hook", "pre-receive", "digest")
ONE_STORE = [path for path in commands(app.kt) if len(path) > 1 and path[-1] not in OTHERS]


@pytest.mark.parametrize("path", ONE_STORE, ids=" ".join)
def test_every_other_command_works_on_one_store(shelf: Many, path: tuple[str, ...]) -> None:
    group, *command = path
    run = {"policy": kt_policy, "gateway": kt_gateway}.get(group, kt)
    ran = run(*command, "-C", "one", "-C", "two", cwd=shelf.folder)
    assert ran.code == 2
    assert ran.out == ""
    assert "this works on one store, and -C names 2" in ran.err
    assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    "args",
    [
        ("get", "--id", "esc_a"),
        ("claim", "--id", "esc_a"),
        ("claim", "--id", "esc_a", "--renew"),
        ("claim", "--next", "--branch"),
    ],
    ids=" ".join,
)
def test_what_names_one_escalation_works_on_one_store(shelf: Many, args: tuple[str, ...]) -> None:
    ran = kt(*shelf.options, *args, cwd=shelf.folder)
    assert ran.code == 2
    assert "one" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert not [subject for lab in shelf.labs.values() for subject in lab.commits("claim")]


def user(tmp_path: Path, *stores: str | Path) -> dict[str, str]:
    """A user with a configuration of their own."""
    home = tmp_path / "home"
    home.mkdir()
    base = Path(os.environ["GIT_CONFIG_GLOBAL"]).read_text()
    lines = "".join(f"\tstore = {store}\n" for store in stores)
    (home / "gitconfig").write_text(f"{base}[kt]\n{lines}")
    return {"HOME": str(home), "GIT_CONFIG_GLOBAL": str(home / "gitconfig")}


def test_the_users_own_stores_count_where_nothing_else_is_named(shelf: Many, tmp_path: Path) -> None:
    env = user(tmp_path, shelf.folder / "one", "~/two")
    (tmp_path / "home/two").symlink_to(shelf.folder / "two")
    names = {"one": str(shelf.folder / "one"), "two": str(tmp_path / "home/two")}
    expected = [f"{names[name]} {found}" for name, found in (line.split() for line in ORDER)]
    nowhere = tmp_path / "nowhere"
    nowhere.mkdir()
    assert placed(kt("list", "--json", cwd=nowhere, env=env).json["escalations"]) == expected
    git("init", "--quiet", ".", cwd=nowhere)
    assert placed(kt("list", "--json", cwd=nowhere, env=env).json["escalations"]) == expected

    inside = shelf.folder / "three"
    assert kt("list", "--json", cwd=inside, env=env).json["escalations"] == []
    assert "store" not in kt("list", "--json", "-C", "one", cwd=shelf.folder, env=env).json["escalations"][0]
    found = kt("list", "--json", cwd=nowhere, env={**env, "KT_REPO": names["one"]}).json["escalations"]
    assert ids(found) == ["esc_a", "esc_same", "esc_b"]
    assert "store" not in found[0]


def test_a_repository_that_is_no_store_is_not_fetched_to_learn_that(pair: Many, tmp_path: Path) -> None:
    env = user(tmp_path, *(pair.folder / name for name in pair.labs))
    other = tmp_path / "other"
    git("init", "--quiet", str(other), cwd=tmp_path)
    git("remote", "add", "origin", str(tmp_path / "missing.git"), cwd=other)
    ran = kt("claim", "--next", "--json", cwd=other, env=env)
    assert ran.code == 0
    assert ran.json["store"] == str(pair.folder / "two")


@pytest.mark.parametrize(
    ("store", "says"), [("stores/legal", "give the whole path"), ("~nobody-at-all/x", "config")]
)
def test_a_store_of_the_users_that_is_no_path_is_exit_2(tmp_path: Path, store: str, says: str) -> None:
    ran = kt("list", cwd=tmp_path, env=user(tmp_path, store))
    assert ran.code == 2
    assert says in ran.err
    assert len(ran.err.splitlines()) == 1


def test_without_any_store_it_is_said_as_before(tmp_path: Path) -> None:
    ran = kt("list", cwd=tmp_path, env=user(tmp_path))
    assert ran.code == 2
    assert "not in a git repository" in ran.err


# --- claim --next -----------------------------------------------------------------------------------


def test_the_best_over_all_stores_is_taken_first(pair: Many) -> None:
    taken = []
    for _ in range(4):
        ran = pair.kt("claim", "--next", "--json")
        assert ran.code == 0
        assert set(ran.json) == {"store", "escalation", "commit", "changed"}
        assert ran.json["commit"] == pair.labs[ran.json["store"]].tip()
        taken.append(f"{ran.json['store']} {ran.json['escalation']['escalation_id']}")
    assert taken == ["two esc_b", "one esc_a", "one esc_c", "two esc_d"]
    none = pair.kt("claim", "--next", "--json")
    assert none.code == 7
    assert none.error["code"] == "nothing_to_claim"
    assert [(item["store"], item["state"]) for item in none.error["stores"]] == [
        ("one", "all_held"),
        ("two", "all_held"),
    ]
    assert "in one: all 2 are held" in none.error["message"]


def test_in_text_the_store_stands_before_what_was_taken(pair: Many) -> None:
    ran = pair.kt("claim", "--next")
    assert re.fullmatch(r"two: claimed esc_b \(claim \w+\) in commit [0-9a-f]{12}\n", ran.out)


def test_a_count_is_one_commit_in_each_store(pair: Many) -> None:
    ran = pair.kt("claim", "--next", "--count", "3", "--json")
    assert ran.code == 0
    assert placed(ran.json["escalations"]) == ["two esc_b", "one esc_a", "one esc_c"]
    assert ran.json["commits"] == {name: lab.tip() for name, lab in pair.labs.items()}
    assert (ran.json["changed"], ran.json["unchanged"], ran.json["failed"]) == (True, 0, [])
    assert [len(lab.commits("claim")) for lab in pair.labs.values()] == [1, 1]
    rest = pair.kt("claim", "--next", "--count", "9")
    assert (rest.code, rest.out) == (0, "two\tesc_d\n")


def test_a_claim_id_makes_a_repeat_in_whichever_store(pair: Many) -> None:
    first = pair.kt("claim", "--next", "--count", "2", "--claim-id", "t-1", "--json").json
    again = pair.kt("claim", "--next", "--count", "2", "--claim-id", "t-1", "--json").json
    assert placed(again["escalations"]) == placed(first["escalations"]) == ["two esc_b", "one esc_a"]
    assert (again["changed"], again["unchanged"]) == (False, 2)
    assert [len(lab.commits("claim")) for lab in pair.labs.values()] == [1, 1]


def test_a_choice_that_is_lost_makes_the_next_one_over_all_the_best(
    pair: Many, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = pair.labs["two"].clone("bob")
    claim_next = Store.claim_next

    def faster(self: Store, *, dry_run: bool = False, **given: Any) -> Any:
        if not dry_run:
            monkeypatch.setattr(Store, "claim_next", claim_next)
            with Store.open(bob) as bobs:
                bobs.claim("esc_b")
        return claim_next(self, dry_run=dry_run, **given)

    monkeypatch.setattr(Store, "claim_next", faster)
    ran = pair.kt("claim", "--next", "--json")
    assert (ran.json["store"], ran.json["escalation"]["escalation_id"]) == ("one", "esc_a")


def test_many_who_drain_several_stores_get_each_once(pair: Many) -> None:
    for number in range(3):
        for name, lab in pair.labs.items():
            clone = lab.clone(f"r{number}")
            (pair.folder / f"r{number}").mkdir(exist_ok=True)
            (pair.folder / f"r{number}" / name).symlink_to(clone)
    taken: list[str] = []
    while True:
        running = [
            start("claim", "--next", *pair.options, "--json", cwd=pair.folder / f"r{n}", forked=True)
            for n in range(3)
        ]
        ended = [end(process) for process in running]
        assert {ran.code for ran in ended} <= {0, 7}, [ran.err for ran in ended]
        taken += [ran.json["escalation"]["escalation_id"] for ran in ended if ran.code == 0]
        if any(ran.code == 7 for ran in ended):
            break
    assert sorted(taken) == ["esc_a", "esc_b", "esc_c", "esc_d"]


def test_a_store_that_cannot_be_asked_or_refuses_hides_no_other(pair: Many) -> None:
    two = pair.labs["two"]
    two.hook("pre-receive", "echo 'not on sundays' >&2; exit 1")
    refused = pair.kt("claim", "--next", "--json")
    assert refused.code == 0
    assert refused.json["store"] == "one"
    assert "kt: two: the remote origin refused the push" in refused.err
    two.remote.rename(pair.folder / "away")
    gone = pair.kt("claim", "--next", "--count", "5", "--json")
    assert gone.code == 0
    assert placed(gone.json["escalations"]) == ["one esc_c"]
    assert [(item["store"], item["code"]) for item in gone.json["failed"]] == [("two", "remote_unreachable")]
    nothing = pair.kt("claim", "--next", "--json")
    assert nothing.code == 4
    assert nothing.out == ""
    assert nothing.error["code"] == "remote_unreachable"
    assert nothing.error["store"] == "two"
    assert "besides, in one: all 2 are held" in nothing.error["message"]


def test_where_an_outcome_cannot_be_learnt_nothing_else_is_taken(pair: Many) -> None:
    pair.labs["two"].hook("pre-receive", "kill -9 $PPID")
    ran = pair.kt("claim", "--next", "--retry-timeout", "1", "--json")
    assert ran.code == 9
    assert ran.error["code"] == "outcome_unknown"
    assert ran.error["store"] == "two"
    assert pair.labs["one"].commits("claim") == []
    pair.labs["one"].put(
        {"queue/esc_top.yaml": record_text("top", "critical", created_at='"2026-01-01T00:00:00.000Z"')}
    )
    both = pair.kt("claim", "--next", "--count", "2", "--retry-timeout", "1", "--json")
    assert both.code == 9
    assert placed(both.json["escalations"]) == ["one esc_top"]
    assert both.json["failed"][0]["code"] == "outcome_unknown"


# --- the page ---------------------------------------------------------------------------------------


def test_the_commands_of_the_page_run_as_printed(tmp_path: Path) -> None:
    labs = {name: lab_in(tmp_path / name) for name in ("legal", "triage")}
    labs["legal"].escalations("req_42", severity="high")
    labs["triage"].escalations("other")
    env = user(tmp_path)
    remotes = {f"/srv/git/{name}.git": str(lab.remote) for name, lab in labs.items()}
    as_printed("many-stores.md", tmp_path, replace=remotes, env={**env, **identity("me")})
    assert labs["legal"].commits("resolve esc_req_42 as approved")
    assert labs["triage"].commits("claim") == []
