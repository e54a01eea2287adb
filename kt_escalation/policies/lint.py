"""Finds all faults in a set of policy files, each with its position. See docs/operator.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ..model.record import Fallback
from ..model.times import format_duration
from ..model.value import KeyPath, plain
from .policy_file import ROSTER, SETTINGS, WAIVERS, Fault, PolicyFile
from .policy_set import Policies, assemble
from .roster import Roster
from .routing import Pack, Target, dotted
from .settings import Rule, Settings
from .signing_keys import usable
from .waivers import is_rule


def lint(files: Mapping[str, PolicyFile], is_commit: Callable[[str], bool]) -> tuple[Fault, ...]:
    """All faults in policy files, which are given by path, sorted by file and line.

    ``is_commit`` says whether an id is a commit of this repository.
    """
    policies = assemble(None, files)
    found = list(policies.faults)
    for path, file in files.items():
        found += [Fault(path, line, column, problem) for line, column, problem in file.repeated]
    found += [
        files[path].fault(path, where, f"{dotted(where)}: {problem}" if where else problem)
        for path, where, problem in (*_faults_between_files(policies), *_useless_waivers(policies, is_commit))
        if path in files
    ]
    return tuple(sorted(set(found), key=lambda fault: (fault.file, fault.line, fault.column, fault.problem)))


def warnings(files: Mapping[str, PolicyFile]) -> tuple[Fault, ...]:
    """Warnings: settings that are legal but probably mistakes, sorted by file and line."""
    policies = assemble(None, files)
    found = [
        files[path].fault(path, where, problem)
        for path, where, problem in _probable_mistakes(policies)
        if path in files
    ]
    return tuple(sorted(set(found), key=lambda fault: (fault.file, fault.line, fault.column, fault.problem)))


_Found = tuple[str, KeyPath, str]


def _probable_mistakes(policies: Policies) -> Iterator[_Found]:
    """Settings that are legal but probably mistakes."""
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
        yield from _too_few_people(policies, roster)
        if settings.signatures == "required":
            yield from _users_without_key(roster)


def _users_without_key(roster: Roster) -> Iterator[_Found]:
    """Users whose every step is refused, because signatures are required and they have no usable key."""
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
                "nothing that this user does is accepted"
            ),
        )


def _useless_waivers(policies: Policies, is_commit: Callable[[str], bool]) -> Iterator[_Found]:
    """Waivers that can never apply to a violation."""
    for index, waiver in enumerate(policies.waivers):
        if not is_rule(waiver.rule):
            yield (
                WAIVERS,
                ("waivers", index, "rule"),
                f"{waiver.rule} is not a rule; `verify` prints the rule of each violation",
            )
        if not is_commit(waiver.commit):
            yield WAIVERS, ("waivers", index, "commit"), f"{waiver.commit} is not a commit of this repository"


def _faults_between_files(policies: Policies) -> Iterator[_Found]:
    """Faults between files, and legal YAML that makes no sense."""
    for pack in policies.packs:
        for target in pack.targets:
            yield from _models(pack.file, target)
    yield from _targets([pack for pack in policies.packs if pack.enabled])
    yield from _hidden_by_alias([pack for pack in policies.packs if pack.enabled])
    if policies.roster is not None:
        yield from _members(policies.roster)
        yield from _unknown(policies, policies.roster)
    yield from _unreachable_rules(policies.settings.rules)


def _models(file: str, target: Target) -> Iterator[_Found]:
    names: set[str] = set()
    for entry in target.models:
        if entry.model_id in names:
            where = (*target.path, *entry.path)
            yield file, where, f"the model {entry.model_id} is listed twice in target {target.target_id}"
        names.add(entry.model_id)
    owners: dict[str, str] = {}
    for entry in target.models:
        for index, alias in enumerate(entry.aliases):
            where = (*target.path, *entry.path, "aliases", index)
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


def _hidden_by_alias(packs: Iterable[Pack]) -> Iterator[_Found]:
    """An alias hides a model of a later target for escalations that name no provider."""
    targets = [(pack, target) for pack in packs for target in pack.targets]
    later: set[str] = set()
    for pack, target in reversed(targets):
        own = {entry.model_id for entry in target.models}
        for entry in target.models:
            for index, alias in enumerate(entry.aliases):
                if alias in later and alias not in own:
                    where = (*target.path, *entry.path, "aliases", index)
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


def _destinations(policies: Policies) -> Iterator[tuple[str, KeyPath, Fallback]]:
    """Every place that names the destination of an escalation."""
    yield from _routes(policies.packs, policies.settings)
    for index, rule in enumerate(policies.settings.rules):
        if rule.fallback is not None:
            yield SETTINGS, ("rules", index, "fallback"), rule.fallback


def _routes(packs: Iterable[Pack], settings: Settings) -> Iterator[tuple[str, KeyPath, Fallback]]:
    """The routes in packs and the default one, which name the first destination."""
    for pack in packs:
        for target in pack.targets:
            if target.routing is not None:
                yield pack.file, (*target.path, "escalation_routing"), target.routing
            for entry in target.models:
                if entry.routing is not None:
                    yield pack.file, (*target.path, *entry.path, "escalation_routing"), entry.routing
    if settings.default_route is not None:
        yield SETTINGS, ("default_route",), settings.default_route


def _too_few_people(policies: Policies, roster: Roster) -> Iterator[_Found]:
    """Rules that require more people than their destination has."""
    enabled = [pack for pack in policies.packs if pack.enabled]
    for index, rule in enumerate(policies.settings.rules):
        places: list[tuple[KeyPath, str | None]] = [
            (("rules", index, "match", "team_id"), rule.match.team_id)
        ]
        if rule.match.team_id is None:
            teams = {whom.team_id for _, _, whom in _routes(enabled, policies.settings)}
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


def _unreachable_rules(rules: Iterable[Rule]) -> Iterator[_Found]:
    """Rules that never match, because an earlier rule matches everything first."""
    earlier: list[tuple[int, dict[str, object]]] = []
    for index, rule in enumerate(rules):
        asked = plain(rule.match)
        for before, taken in earlier:
            if taken.items() <= asked.items():
                problem = f"can never match: rules[{before}] already matches everything it could"
                yield SETTINGS, ("rules", index), problem
                break
        earlier.append((index, asked))
