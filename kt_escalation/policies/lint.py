"""Finds all faults of a set of policy files at once, each with its place. See docs/operator.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from ..model.record import Fallback
from ..model.times import format_duration
from .policy_file import ROSTER, SETTINGS, WAIVERS, Fault, Path, PolicyFile
from .policy_set import Policies, assemble
from .roster import Roster
from .routing import ModelEntry, Pack, Target, dotted
from .settings import Rule
from .signing_keys import usable
from .waivers import is_rule


def lint(files: Mapping[str, PolicyFile], is_commit: Callable[[str], bool]) -> tuple[Fault, ...]:
    """All that is wrong in policy files, given by path; by file and line.

    ``is_commit`` says whether an id is a commit's here.
    """
    policies = assemble(None, files)
    found = list(policies.faults)
    for path, file in files.items():
        found += [Fault(path, line, column, problem) for line, column, problem in file.repeated]
    found += [
        files[path].fault(path, where, f"{dotted(where)}: {problem}" if where else problem)
        for path, where, problem in (*_across(policies), *_useless(policies, is_commit))
        if path in files
    ]
    return tuple(sorted(set(found), key=lambda fault: (fault.file, fault.line, fault.column, fault.problem)))


def warnings(files: Mapping[str, PolicyFile]) -> tuple[Fault, ...]:
    """What is legal in policy files, and most likely not meant; by file and line."""
    policies = assemble(None, files)
    found = [
        files[path].fault(path, where, problem)
        for path, where, problem in _doubtful(policies)
        if path in files
    ]
    return tuple(sorted(set(found), key=lambda fault: (fault.file, fault.line, fault.column, fault.problem)))


_Found = tuple[str, Path, str]


def _doubtful(policies: Policies) -> Iterator[_Found]:
    """What can be meant, and most likely is not."""
    settings, roster = policies.settings, policies.roster
    if policies.has_no_admin:
        yield (
            ROSTER,
            ("users",),
            "nobody has the role admin, so once this is committed nobody may change policies/ or restore records",
        )
    for index, rule in enumerate(settings.rules):
        if rule.approvals > 1 and settings.signatures != "required":
            yield (
                SETTINGS,
                ("rules", index, "approvals"),
                (
                    f"{rule.approvals} approvals are asked for, but nothing proves names, so one person can give them all: "
                    "set `signatures: required`, unless the server proves who pushes (`hook install --pusher-from`)"
                ),
            )
        if rule.claim_within and rule.resolve_within and rule.claim_within > rule.resolve_within:
            yield (
                SETTINGS,
                ("rules", index, "claim_within"),
                (
                    f"claim_within ({format_duration(rule.claim_within)}) is longer than resolve_within "
                    f"({format_duration(rule.resolve_within)}), so the fallback is never reached"
                ),
            )
    if roster is not None:
        yield from _short(policies, roster)
        if settings.signatures == "required":
            yield from _keyless(roster)


def _keyless(roster: Roster) -> Iterator[_Found]:
    """Users who act, and whose every step is refused since no signature can be by a key of theirs."""
    for index, user in enumerate(roster.users):
        if any(map(usable, user.signing_keys)) or not set(user.roles) - {"auditor"}:
            continue
        lacks = "has no signing_keys"
        if user.signing_keys:
            lacks = "lists no signing key that can be used (an SSH public key, or an OpenPGP key's whole fingerprint)"
        yield (
            ROSTER,
            ("users", index),
            (
                f"signatures are required, and {user.user_id} ({', '.join(user.roles)}) {lacks}: "
                "nothing that this user does is taken in"
            ),
        )


def _useless(policies: Policies, is_commit: Callable[[str], bool]) -> Iterator[_Found]:
    """Waivers that can accept nothing."""
    for index, waiver in enumerate(policies.waivers):
        if not is_rule(waiver.rule):
            yield (
                WAIVERS,
                ("waivers", index, "rule"),
                f"{waiver.rule} is no rule; `verify` gives each its name",
            )
        if not is_commit(waiver.commit):
            yield WAIVERS, ("waivers", index, "commit"), f"{waiver.commit} is no commit that is here"


def _across(policies: Policies) -> Iterator[_Found]:
    """What each file alone cannot know, or what is legal YAML and makes no sense."""
    for pack in policies.packs:
        for target in pack.targets:
            yield from _models(pack.file, target)
    yield from _targets([pack for pack in policies.packs if pack.enabled])
    yield from _hidden_elsewhere([pack for pack in policies.packs if pack.enabled])
    if policies.roster is not None:
        yield from _members(policies.roster)
        yield from _unknown(policies, policies.roster)
    yield from _never(policies.settings.rules)


def _models(file: str, target: Target) -> Iterator[_Found]:
    names: set[str] = set()
    for entry in target.models:
        if entry.model_id in names:
            yield file, entry.path, f"the model {entry.model_id} stands twice in target {target.target_id}"
        names.add(entry.model_id)
    owners: dict[str, str] = {}
    for entry in target.models:
        for index, alias in enumerate(entry.aliases):
            where = (*entry.path, "aliases", index)
            owner = alias if alias in names else owners.get(alias)
            if owner is not None:
                yield file, where, f"the alias {alias} of {entry.model_id} hides the model {owner}"
            owners.setdefault(alias, entry.model_id)


def _targets(packs: Iterable[Pack]) -> Iterator[_Found]:
    homes: dict[str, str] = {}
    for pack in packs:
        for target in pack.targets:
            if not target.target_id:
                continue
            if target.target_id in homes:
                where = (*target.path, "id")
                yield (
                    pack.file,
                    where,
                    f"the target {target.target_id} is in {homes[target.target_id]} already",
                )
            homes.setdefault(target.target_id, pack.file)


def _hidden_elsewhere(packs: Iterable[Pack]) -> Iterator[_Found]:
    """An alias takes a model from a later target, for escalations that name no provider."""
    targets = [(pack, target) for pack in packs for target in pack.targets]
    later: set[str] = set()
    for pack, target in reversed(targets):
        own = {entry.model_id for entry in target.models}
        for entry in target.models:
            for index, alias in enumerate(entry.aliases):
                if alias in later and alias not in own:
                    where = (*entry.path, "aliases", index)
                    yield pack.file, where, f"the alias {alias} hides the model {alias} of a later target"
        later |= own


def _members(roster: Roster) -> Iterator[_Found]:
    for index, team in enumerate(roster.teams):
        for place, member in enumerate(team.members):
            if member not in roster.by_id:
                yield ROSTER, ("teams", index, "members", place), f"there is no user {member}"


def _unknown(policies: Policies, roster: Roster) -> Iterator[_Found]:
    for file, path, whom in _destinations(policies):
        if whom.team_id is not None and not roster.has_team(whom.team_id):
            yield file, (*path, "team_id"), f"there is no team {whom.team_id} on the roster"
        if whom.user_id is not None and not roster.knows(whom.user_id):
            yield file, (*path, "user_id"), f"there is no user {whom.user_id} on the roster"
    for index, rule in enumerate(policies.settings.rules):
        team = rule.match.team_id
        if team is not None and not roster.has_team(team):
            yield SETTINGS, ("rules", index, "match", "team_id"), f"there is no team {team} on the roster"


def _destinations(policies: Policies) -> Iterator[tuple[str, Path, Fallback]]:
    """Every place that says where an escalation goes."""
    yield from _routes(policies)
    for index, rule in enumerate(policies.settings.rules):
        if rule.fallback is not None:
            yield SETTINGS, ("rules", index, "fallback"), rule.fallback


def _routes(policies: Policies) -> Iterator[tuple[str, Path, Fallback]]:
    """Those that say where it goes first."""
    for pack in policies.packs:
        for target in pack.targets:
            holders: tuple[Target | ModelEntry, ...] = (target, *target.models)
            for holder in holders:
                if holder.routing is not None:
                    yield pack.file, (*holder.path, "escalation_routing"), holder.routing
    if policies.settings.default_route is not None:
        yield SETTINGS, ("default_route",), policies.settings.default_route


def _short(policies: Policies, roster: Roster) -> Iterator[_Found]:
    """Rules that ask more people than there are where escalations go."""
    routed = replace(policies, packs=tuple(pack for pack in policies.packs if pack.enabled))
    for index, rule in enumerate(policies.settings.rules):
        places: list[tuple[Path, str | None]] = [(("rules", index, "match", "team_id"), rule.match.team_id)]
        if rule.match.team_id is None:
            teams = {whom.team_id for _, _, whom in _routes(routed)}
            places = [(("rules", index, "approvals"), team) for team in sorted(filter(None, teams))]
        if rule.fallback is not None:
            places.append((("rules", index, "fallback", "team_id"), rule.fallback.team_id))
            if rule.fallback.user_id is not None and rule.approvals > 1:
                alone = ("rules", index, "fallback", "user_id")
                yield SETTINGS, alone, f"one user cannot give the {rule.approvals} approvals that it asks for"
        for where, team in places:
            if team is None or not roster.has_team(team):
                continue
            reviewers = set(roster.members(team)) & set(roster.with_role("reviewer"))
            if len(reviewers) < rule.approvals:
                people = f"{len(reviewers)} reviewer{'s' if len(reviewers) != 1 else ''}"
                asked = f"{rule.approvals} approval{'s are' if rule.approvals > 1 else ' is'} asked for"
                yield SETTINGS, where, f"team {team} has {people}, and {asked}"


def _never(rules: Iterable[Rule]) -> Iterator[_Found]:
    """Rules whose every match an earlier rule takes first."""
    earlier: list[tuple[int, dict[str, object]]] = []
    for index, rule in enumerate(rules):
        asked = rule.match.model_dump(exclude_none=True)
        for before, taken in earlier:
            if taken.items() <= asked.items():
                problem = f"can never match: rules[{before}] takes all that it asks for"
                yield SETTINGS, ("rules", index), problem
                break
        earlier.append((index, asked))
