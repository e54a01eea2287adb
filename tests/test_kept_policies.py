"""What a clone keeps of its parsed policies: a claim needs no YAML for them, and no release believes them."""

from __future__ import annotations

import gc
import hashlib
from contextlib import closing
from pathlib import Path
from weakref import ref

import pytest
from forge import Forge
from gateways import DIGEST, Gate, made_in
from lab import Lab, git, kt, loaded

from kt_escalation.audit.policies_in_force import Written
from kt_escalation.policies import policy_set
from kt_escalation.policies.policy_file import ROSTER, PolicyFile
from kt_escalation.policies.policy_set import assemble
from kt_escalation.policies.routing import Pack, PackFault, read_pack
from kt_escalation.storage import clone_key, kept_policies, yaml_text
from kt_escalation.storage.clone import GitStore

PACK = "policies/policy-config.yaml"
#: Files in whose parsing a change would show: every kind of value, and what an alias shares.
SAMPLES = {
    PACK: b"pack: {enabled: yes}\nproviders:\n  targets:\n  - &one {id: a, model: m, n: [1, -2.5, ~, True, '3', 0777, 12:30]}\n  - *one\n",
    ROSTER: b"users:\n  - {user_id: alice, emails: [alice@example.com], roles: [reviewer]}\n",
    "policies/settings.yaml": b"claims:\n  lease: 30m\n  max_per_reviewer: 3\nrules: [{match: {severity: high}, single_use: true}]\n",
}
TREE = "1" * 40


def parsed() -> dict[str, PolicyFile]:
    return {path: yaml_text.policy_file(path, data) for path, data in SAMPLES.items()}


def test_what_is_kept_is_what_was_parsed_and_aliases_stay_shared(tmp_path: Path) -> None:
    kept_policies.write(tmp_path, TREE, parsed())
    assert kept_policies.read(tmp_path, TREE) == parsed()
    assert kept_policies.read(tmp_path, "2" * 40) is None
    again = kept_policies.read(tmp_path, TREE)
    assert again is not None
    one, other = again[PACK].value["providers"]["targets"]
    assert one is other


def test_what_is_parsed_of_the_samples_is_what_the_version_says() -> None:
    found = repr(
        sorted((path, file.value, sorted(file.marks.items(), key=repr)) for path, file in parsed().items())
    )
    digest = hashlib.sha256(found.encode()).hexdigest()
    assert (kept_policies.VERSION, digest) == (
        1,
        "f177d868713579170b61faa735f32e7c864431605164cb9db77664aa0c2b21e8",
    ), "raise kept_policies.VERSION and write down what is parsed now"


def test_a_file_that_cannot_be_read_is_not_kept(tmp_path: Path) -> None:
    kept_policies.write(
        tmp_path, TREE, {**parsed(), ROSTER: PolicyFile(problem="is missing from this clone")}
    )
    assert kept_policies.read(tmp_path, TREE) is None


@pytest.mark.parametrize("damage", ["cut", "flipped", "foreign", "empty"])
def test_what_this_clone_has_not_written_is_not_believed(tmp_path: Path, damage: str) -> None:
    kept_policies.write(tmp_path, TREE, parsed())
    file = tmp_path / "policies"
    data = file.read_bytes()
    file.write_bytes(
        {"cut": data[:-1], "flipped": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}.get(damage, data)
    )
    if damage == "foreign":
        (tmp_path / "key").write_bytes(b"k" * clone_key.KEY_BYTES)
    assert kept_policies.read(tmp_path, TREE) is None


def test_the_second_claim_needs_no_yaml_and_new_policies_are_read(lab: Lab) -> None:
    lab.escalations("one", "two", "three", "four")
    clone = lab.clone("alice")
    assert "yaml" in loaded("claim", "--id", "esc_one", cwd=clone)[1]
    assert "yaml" not in loaded("claim", "--id", "esc_two", cwd=clone)[1]
    lab.put({ROSTER: "users:\n  - {user_id: bob, emails: [bob@example.com], roles: [reviewer]}\n"})
    assert kt("claim", "--id", "esc_three", "--json", cwd=clone).error["code"] == "not_allowed"
    (clone / ".git/kt/policies").write_bytes(b"")
    assert kt("claim", "--id", "esc_three", "--json", cwd=clone).error["code"] == "not_allowed"


def test_no_release_believes_what_is_kept_and_what_it_lets_through_is_found(tmp_path: Path) -> None:
    gate = Gate(made_in(tmp_path))
    name = gate.decided("r1")
    held = gate.raised("r2")
    # Whoever can read the clone's key makes everybody a gateway and a reviewer.
    folder, tree = gate.forge.path / ".git/kt", git("rev-parse", "HEAD:policies", cwd=gate.forge.path)
    files = kept_policies.read(folder, tree)
    assert files is not None
    roster = files[ROSTER].value
    for user in roster["users"]:
        user["roles"] = ["gateway", "reviewer", "admin"]
    for team in roster["teams"]:
        team["members"] = [user["user_id"] for user in roster["users"]]
    kept_policies.write(folder, tree, files)
    for who in ("alice", "eve"):
        refused = gate.run(who, "release", "--id", name, "--digest", DIGEST, "--json")
        assert refused.code == 3
        assert refused.error["code"] == "not_allowed"
    gate.do("gw", "claim", "--id", held)
    found = gate.run("boss", "verify", "--json")
    assert found.code == 1
    assert [one["rule"] for one in found.json["violations"]] == ["not_allowed"]


# --- in memory, while history is judged -----------------------------------------------------------------


def test_versions_that_are_not_in_use_do_not_stay_in_memory(forge: Forge) -> None:
    trees = []
    for number in range(40):
        forge.write("policies/p.yaml", f"x: {number}\n")
        forge.commit("mallory")
        trees.append(forge.git("rev-parse", "HEAD:policies"))
    with closing(GitStore(forge.path)) as store:
        written = Written(store)
        used = written.of(trees[0])
        others = [ref(written.of(tree)) for tree in trees[1:]]
        gc.collect()
        alive = [other() for other in others if other() is not None]
        assert 0 < len(alive) < 20
        assert written.of(trees[0]) is used
        assert written.of(trees[-1]) is alive[-1]
        assert written.of(trees[1]).tree == trees[1]


def test_no_pack_is_read_for_a_version_that_routes_nothing(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def spied(file: str, document: object) -> tuple[Pack, tuple[PackFault, ...]]:
        read.append(file)
        return read_pack(file, document)

    monkeypatch.setattr(policy_set, "read_pack", spied)
    for number in range(40):
        forge.write(f"policies/p{number:02}.yaml", f"providers: {{targets: [{{id: t{number}}}]}}\n")
    forge.write("policies/q.yaml", "providers: {targets: 1}\n")
    forge.commit("mallory")
    with closing(GitStore(forge.path)) as store:
        policies = Written(store).of(forge.git("rev-parse", "HEAD:policies"))
        assert policies.roster is not None
        policies.require_sound()
        assert policies.broken == {}
        assert read == []
        assert policies.route("t7", None).source == "default (policies/q.yaml is broken)"
        assert [pack.file for pack in policies.packs] == read
        assert [fault.file for fault in policies.faults] == ["policies/q.yaml"]
        whole = assemble(policies.tree, store.reader.policy_files(policies.tree or ""))
    assert read == sorted(read[:42]) * 2
    assert (whole.packs, whole.faults, whole.roster) == (policies.packs, policies.faults, policies.roster)
    assert (whole.settings, whole.waivers) == (policies.settings, policies.waivers)
