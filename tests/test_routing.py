"""Where an escalation goes, by policy packs read as the gateway reads them (design, section 7)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from typing import Any

import pytest
from counts import examples
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kt_escalation.actions import candidates
from kt_escalation.model.record import Route
from kt_escalation.model.vocabulary import MAX_BYTES, MAX_NAME
from kt_escalation.policies.policy_set import Policies, assemble
from kt_escalation.policies.routing import MOST_FAULTS, read_pack
from kt_escalation.storage import yaml_text

pytestmark = pytest.mark.fast

TREE = "ab" * 20

#: A pack in the spirit of the gateway's own: routing on targets, on models, by alias, and none.
HARBOUR = """\
pack: &pack
  name: harbour-bank
  version: "3.1"
  enabled: true
  owner: !team risk
providers:
  routing: {strategy: ordered, order: [mistral-prod, openai-eu, local], retry_after: 12:30}
  targets:
    - id: mistral-prod
      provider: mistral
      secret_key_ref: {env: MISTRAL_KEY}
      escalation_routing:
        team_id: underwriting
      models:
        - model_id: mistral-large
          aliases: [default, big]
          escalation_routing: {team_id: risk, user_id: null}
        - model_id: mistral-small
          aliases: [shadowed]
        - model_id: shadowed
          escalation_routing: {user_id: erin}
    - id: openai-eu
      provider: openai
      model: gpt-harbour
      escalation_routing: {user_id: frank}
    - id: local
      provider: vllm
      models:
        - id: mistral-large
          escalation_routing: {team_id: never}
        - id: qwen
          aliases: [cheap]
        - model_id: phi
          id: ignored
          escalation_routing: {team_id: lab}
    - id: bare
policies:
  chain: [pii-filter, {human-oversight: {when: {path: /v1}}}]
policy: {human-oversight: {action: escalate, pack: *pack}}
"""

SETTINGS = "default_route: {team_id: triage}\n"


def store(**files: str) -> Policies:
    """The policies in files named without folder and suffix."""
    parsed = {}
    for name, text in files.items():
        path = f"policies/{name}.yaml"
        parsed[path] = yaml_text.policy_file(path, text.encode())
    return assemble(TREE, parsed)


def pack(target: str, team: str, model: str = "m", enabled: str = "true") -> str:
    return (
        f"pack: {{enabled: {enabled}}}\nproviders:\n  targets:\n    - id: {target}\n"
        f"      models: [{{model_id: {model}}}]\n      escalation_routing: {{team_id: {team}}}\n"
    )


def whom(route: Route) -> tuple[str | None, str]:
    """The one that a route names and what decided."""
    return route.team_id or route.user_id, route.source.removeprefix("policies/")


@pytest.mark.parametrize(
    ("provider", "model", "goes_to", "by"),
    [
        # The target is the one that the provider names, with the routing of the model before its own.
        ("mistral-prod", "mistral-large", "risk", "harbour.yaml#providers.targets[0].models[0]"),
        ("mistral-prod", "big", "risk", "harbour.yaml#providers.targets[0].models[0]"),
        ("mistral-prod", "mistral-small", "underwriting", "harbour.yaml#providers.targets[0]"),
        ("mistral-prod", "unheard-of", "underwriting", "harbour.yaml#providers.targets[0]"),
        ("mistral-prod", None, "underwriting", "harbour.yaml#providers.targets[0]"),
        ("openai-eu", "gpt-harbour", "frank", "harbour.yaml#providers.targets[1]"),
        ("openai-eu", "mistral-large", "frank", "harbour.yaml#providers.targets[1]"),
        ("local", "mistral-large", "never", "harbour.yaml#providers.targets[2].models[0]"),
        ("local", "phi", "lab", "harbour.yaml#providers.targets[2].models[2]"),
        # A target or a model without routing leaves it to the default.
        ("local", "qwen", "triage", "default"),
        ("local", "ignored", "triage", "default"),
        ("bare", "mistral-large", "triage", "default"),
        # A provider names a target's id, not its vendor, and one that is not there is not guessed.
        ("mistral", "mistral-large", "triage", "default"),
        ("", "mistral-large", "triage", "default"),
        # Without a provider: the first target in order that offers the model.
        (None, "mistral-large", "risk", "harbour.yaml#providers.targets[0].models[0]"),
        (None, "default", "risk", "harbour.yaml#providers.targets[0].models[0]"),
        (None, "gpt-harbour", "frank", "harbour.yaml#providers.targets[1]"),
        (None, "phi", "lab", "harbour.yaml#providers.targets[2].models[2]"),
        (None, "cheap", "triage", "default"),
        # Within a target a model id beats an alias that stands before it.
        (None, "shadowed", "erin", "harbour.yaml#providers.targets[0].models[2]"),
        ("mistral-prod", "shadowed", "erin", "harbour.yaml#providers.targets[0].models[2]"),
        (None, "MISTRAL-LARGE", "triage", "default"),
        (None, "unheard-of", "triage", "default"),
        (None, None, "triage", "default"),
    ],
)
def test_an_escalation_goes_where_the_pack_says(
    provider: str | None, model: str | None, goes_to: str, by: str
) -> None:
    policies = store(harbour=HARBOUR, settings=SETTINGS)
    assert policies.faults == ()
    route = policies.route(provider, model)
    assert whom(route) == (goes_to, by)
    assert route.policies == TREE


@pytest.mark.parametrize(
    ("files", "provider", "model", "expected"),
    [
        ({}, "a", "m", (None, "default")),
        ({"settings": SETTINGS}, "a", "m", ("triage", "default")),
        ({"settings": "default_route: {user_id: erin}"}, "a", "m", ("erin", "default")),
        ({"p": "pack: {}"}, "a", "m", (None, "default")),
        ({"p": "providers: {targets: []}"}, "a", "m", (None, "default")),
        # In name order, whatever order they are found in.
        (
            {"b": pack("a", "second"), "a": pack("a", "first")},
            "a",
            "m",
            ("first", "a.yaml#providers.targets[0]"),
        ),
        (
            {"10": pack("x", "ten"), "9": pack("y", "nine")},
            None,
            "m",
            ("ten", "10.yaml#providers.targets[0]"),
        ),
        # The order of targets comes before model id and alias.
        (
            {
                "a": "providers: {targets: [{id: a, models: [{id: x, aliases: [m]}], "
                "escalation_routing: {team_id: alias}}]}",
                "b": pack("b", "id"),
            },
            None,
            "m",
            ("alias", "a.yaml#providers.targets[0]"),
        ),
        # The first match counts, also where it has no routing.
        (
            {"a": "providers: {targets: [{id: a, model: m}]}", "b": pack("a", "late"), "settings": SETTINGS},
            "a",
            "m",
            ("triage", "default"),
        ),
        # A disabled pack does not count, whatever is in it.
        (
            {"a": pack("a", "off", enabled="false"), "b": pack("a", "on")},
            "a",
            "m",
            ("on", "b.yaml#providers.targets[0]"),
        ),
        (
            {
                "a": "pack: {enabled: false}\nproviders: {targets: [{escalation_routing: {}}]}",
                "b": pack("a", "on"),
            },
            "a",
            "m",
            ("on", "b.yaml#providers.targets[0]"),
        ),
        # Waivers, roster and settings are no packs.
        (
            {"waivers": "- {commit: a}", "roster": "teams: []", "p": pack("a", "on")},
            "a",
            "m",
            ("on", "p.yaml#providers.targets[0]"),
        ),
    ],
)
def test_packs_are_taken_in_name_order_and_then_the_default(
    files: Mapping[str, str], provider: str, model: str, expected: tuple[str | None, str]
) -> None:
    assert whom(store(**files).route(provider, model)) == expected


TARGETS = "providers: {targets: "


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: [", "not YAML"),
        ("", "empty"),
        ("- a", "must be a mapping"),
        ("pack: on", "pack: must be a mapping"),
        ("pack: {enabled: 1}", "pack.enabled: must be true or false"),
        ("pack: {enabled: true, enabled: true}", "stands twice"),
        ("providers: []", "providers: must be a mapping"),
        (TARGETS + "{}}", "providers.targets: must be a list"),
        (TARGETS + "[a]}", "providers.targets[0]: must be a mapping"),
        (TARGETS + "[{id: a}, {}]}", "providers.targets[1].id: must be text"),
        (TARGETS + "[{id: 5}]}", "providers.targets[0].id: must be text"),
        (TARGETS + "[{id: ' '}]}", "providers.targets[0].id: must be text"),
        (TARGETS + "[{id: a, model: m, models: []}]}", "providers.targets[0].model: "),
        (TARGETS + "[{id: a, model: []}]}", "providers.targets[0].model: must be text"),
        (TARGETS + "[{id: a, models: m}]}", "providers.targets[0].models: must be a list"),
        (TARGETS + "[{id: a, models: [{}]}]}", "providers.targets[0].models[0]: a model needs a model_id"),
        (TARGETS + "[{id: a, models: [{id: ''}]}]}", "providers.targets[0].models[0].id: must be text"),
        (TARGETS + "[{id: a, models: [{id: m, aliases: n}]}]}", "models[0].aliases: must be a list"),
        (TARGETS + "[{id: a, models: [{id: m, aliases: [1]}]}]}", "models[0].aliases[0]: must be text"),
        (TARGETS + "[{id: a, escalation_routing: {}}]}", "has neither"),
        (TARGETS + "[{id: a, escalation_routing: legal}]}", "escalation_routing: must be a mapping"),
        (TARGETS + "[{id: a, escalation_routing: {team_id: a, user_id: b}}]}", "has both"),
        (TARGETS + "[{id: a, escalation_routing: {team_id: null, user_id: null}}]}", "has neither"),
        (TARGETS + "[{id: a, escalation_routing: {team_id: ''}}]}", "team_id: must be text"),
        (TARGETS + "[{id: a, escalation_routing: {user_id: 7}}]}", "user_id: must be text"),
        (TARGETS + '[{id: a, escalation_routing: {team_id: "a\\nb"}}]}', "team_id: must be one line"),
        (TARGETS + "[{id: a, models: [{id: m, escalation_routing: {}}]}]}", "models[0].escalation_routing: "),
    ],
)
def test_a_broken_pack_takes_the_default_route_and_is_named(text: str, problem: str) -> None:
    policies = store(a=pack("a", "sound"), b=text, settings=SETTINGS)
    [fault] = policies.faults
    assert fault.file == "policies/b.yaml"
    assert problem in fault.problem
    team, source = whom(policies.route("a", "m"))
    assert team == "triage"
    assert "policies/b.yaml is broken" in source
    policies.require_sound()


@pytest.mark.parametrize(
    "name",
    ["sp ace", "ünï", "\x1b[31mred", "\u202eevil", "two\nlines", "a" * (MAX_NAME + 1)],
    ids=lambda name: f"{name!r:.12}",
)
@pytest.mark.parametrize("text", ["a: [", pack("a", "sound")], ids=["broken", "sound"])
def test_a_pack_is_named_in_the_route_whatever_it_is_called(name: str, text: str) -> None:
    route = store(**{name: text, "settings": SETTINGS}).route("a", "m")
    assert route.team_id == ("sound" if text != "a: [" else "triage")
    assert ("broken" in route.source) == (text == "a: [")


@pytest.mark.parametrize(
    "foreign",
    [
        "limits: {retries: 0777, at: 12:30:45, on: yes, when: 2026-03-04}",
        "limits: {timeout: 1e999, ratio: .inf, none: ~}",
        "limits:",
        "limits: {1: a, null: b, 2.5: c}",
        "secret: !env KEY",
        "base: &base {id: 5}\nother: [*base, *base]",
        "escalation_routing: 5",
        "policy: {models: [{}], model: 7}",
    ],
)
def test_what_is_the_gateways_business_is_left_alone(foreign: str) -> None:
    policies = store(p=f"{pack('a', 'legal')}{foreign}\n")
    assert policies.faults == ()
    assert policies.route("a", "m").team_id == "legal"


@pytest.mark.parametrize(
    ("no", "nothing"),
    [
        ("false", "null"),
        ("False", "null"),
        ("FALSE", "null"),
        ("false", "~"),
        ("false", "Null"),
        ("false", ""),
    ],
)
def test_words_that_mean_one_thing_to_every_yaml_reader_mean_it_here(no: str, nothing: str) -> None:
    policies = store(
        a=pack("a", "off", enabled=no),
        b=f"providers:\n  targets:\n    - id: a\n      escalation_routing:\n        user_id: {nothing}\n"
        "        team_id: legal\n",
    )
    assert policies.faults == ()
    assert whom(policies.route("a", None)) == ("legal", "b.yaml#providers.targets[0]")


def test_the_pack_that_init_writes_routes_nobody() -> None:
    text = resources.files("kt_escalation.templates").joinpath("policy-config.yaml").read_text("utf-8")
    policies = store(**{"policy-config": text})
    assert policies.faults == ()
    assert len(policies.packs[0].targets) == 2
    for provider, model in (
        (None, "gpt-4o"),
        (None, "chat-default"),
        ("openai-prod", None),
        (None, "anything"),
    ):
        assert policies.route(provider, model).team_id is None


#: Two million items when expanded: seconds for who walks them, nothing for who does not.
BOMB = "\n".join(
    [
        "a0: &a0 [x]",
        *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 7)),
        "teams: *a6",
        "",
    ]
)


@pytest.mark.parametrize("name", ["roster", "settings", "waivers", "pack"])
@pytest.mark.parametrize(
    "text", ["users: &u [*u]\n", "rules: &r {a: *r}\n", BOMB], ids=["ring", "loop", "bomb"]
)
def test_aliases_in_a_policy_file_do_not_go_off(name: str, text: str) -> None:
    began = time.process_time()
    policies = store(**{name: text})
    assert time.process_time() - began < 0.5
    assert [fault.file for fault in policies.faults] == ([] if name == "pack" else [f"policies/{name}.yaml"])


class Visits:
    """Counts the values that are read from the lists and mappings of a document."""

    def __init__(self) -> None:
        self.count = 0
        self._known: dict[int, Any] = {}

    def counted(self, value: Any) -> Any:
        """A document in which every visit counts, and what was shared is shared."""
        if not isinstance(value, list | dict):
            return value
        if id(value) not in self._known:
            made: Any = self._list() if isinstance(value, list) else self._mapping()
            self._known[id(value)] = made
            if isinstance(value, list):
                made.extend(map(self.counted, value))
            else:
                made.update({key: self.counted(item) for key, item in value.items()})
        return self._known[id(value)]

    def _list(self) -> list[Any]:
        visits = self

        class Counted(list[Any]):
            def __iter__(self) -> Iterator[Any]:
                for item in super().__iter__():
                    visits.count += 1
                    yield item

        return Counted()

    def _mapping(self) -> dict[str, Any]:
        visits = self

        class Counted(dict[str, Any]):
            def get(self, key: str, default: Any = None) -> Any:
                visits.count += 1
                return super().get(key, default)

        return Counted()


def listed(first: str, again: str, count: int) -> str:
    return f"[{', '.join([first, *[again] * count])}]"


def pack_of(targets: str) -> str:
    return f"providers: {{targets: {targets}}}\n"


def target(models: str, target_id: str = "t") -> str:
    return f"{{id: {target_id}, models: {models}}}"


def model(aliases: str = "[]", model_id: str = "m") -> str:
    return f"{{id: {model_id}, aliases: {aliases}}}"


def text_of(size: int) -> str:
    return f"&x {'x' * size}"


def one_model_of(aliases: str) -> str:
    return pack_of(f"[{target(f'[{model(aliases)}]')}]")


def models_again(models: str, n: int) -> str:
    return pack_of(listed(target(f"&m {models}"), target("*m"), n))


def aliases_again(aliases: str, n: int) -> str:
    return listed(model(f"&a {aliases}"), model("*a"), n)


#: Packs in which something large is repeated by something short, each by the number of times.
REPEATED: Mapping[str, Callable[[int], str]] = {
    "models": lambda n: models_again(listed(model(), model(), n), n),
    "aliases": lambda n: pack_of(f"[{target(aliases_again(listed('a', 'a', n), n))}]"),
    "all of them": lambda n: models_again(aliases_again(listed("a", "a", n), n), n),
    "mappings": lambda n: pack_of(listed(f"&t {target(listed(f'&m {model()}', '*m', n))}", "*t", n)),
    "what is no text": lambda n: pack_of(f"[{target(aliases_again(listed('1', '1', n), n))}]"),
    "what is no model": lambda n: models_again(listed("1", "1", n), n),
    "the id of a target": lambda n: pack_of(listed(target("[]", text_of(n)), target("[]", "*x"), n)),
    "the model of a target": lambda n: pack_of(
        listed(f"{{id: t, model: {text_of(n)}}}", "{id: t, model: *x}", n)
    ),
    "the id of a model": lambda n: pack_of(
        f"[{target(listed(model(model_id=text_of(n)), model(model_id='*x'), n))}]"
    ),
    "one alias": lambda n: one_model_of(listed(text_of(n), "*x", n)),
    "blanks": lambda n: one_model_of(listed(f"&x '{' ' * n}'", "*x", n)),
    "a team": lambda n: pack_of(
        listed(
            f"{{id: t, escalation_routing: {{team_id: {text_of(n)}}}}}",
            "{id: t, escalation_routing: {team_id: *x}}",
            n,
        )
    ),
    "a list in itself": lambda n: pack_of(f"&t {listed(target('*t'), target('*t'), n)}"),
}
#: The most visits for each value of a file.
VISITS = 8


@pytest.mark.parametrize("repeated", REPEATED.values(), ids=REPEATED)
@settings(max_examples=examples(6), deadline=None)
@given(times=st.integers(0, 3000))
@example(times=100)
@example(times=3000)
def test_a_pack_is_read_in_steps_of_its_size_whatever_its_aliases_repeat(
    repeated: Callable[[int], str], times: int
) -> None:
    data = repeated(times).encode()
    file = yaml_text.policy_file("policies/p.yaml", data)
    assert file.problem is None
    visits = Visits()
    found, faults = read_pack("policies/p.yaml", visits.counted(file.value))
    assert visits.count <= VISITS * len(data)
    assert len(faults) <= MOST_FAULTS + 1
    # What a route and `policy lint` go through is no more than a file without aliases can have.
    assert sum(len(target.target_id) for target in found.targets) <= MAX_BYTES
    models = {id(target.models): target.models for target in found.targets}
    aliases = {id(entry.aliases): entry.aliases for some in models.values() for entry in some}
    assert sum(map(len, [*models.values(), *aliases.values()])) <= len(data)
    sizes = {
        key: sum(1 + len(entry.model_id) + len(entry.aliases) for entry in some)
        for key, some in models.items()
    }
    assert sum(sizes[id(target.models)] for target in found.targets) <= MAX_BYTES
    if times == 3000:
        assert faults
        policies = assemble(TREE, {"policies/p.yaml": file})
        assert policies.route("t", "m").source == "default (policies/p.yaml is broken)"


def test_a_pack_that_is_too_large_without_its_aliases_says_where_and_what_to_do() -> None:
    text = pack_of(
        "\n" + listed(f"{{id: t, models: &m {listed('{id: m}', '{id: m}', 999)}}}", "{id: t, models: *m}", 99)
    )
    [fault] = store(p=text).faults
    assert (fault.file, fault.line) == ("policies/p.yaml", 2)
    assert fault.problem == (
        "providers.targets[87].models: with the YAML aliases written out, the targets up to here are larger than "
        "256 KiB; repeat less, or split the pack"
    )


@pytest.mark.parametrize(
    ("before", "item", "after"),
    [
        ("[", "{id: a},", "]"),
        ("[{id: a, models: [", "{id: a},", "]}]"),
        ("[{id: a, models: [{id: a, aliases: [", "a,", "]}]}]"),
        ("[{id: a, models: [{id: a, aliases: [", "é,", "]}]}]"),
        ("[{id: ", "a", "}]"),
        ("[", "{id: a, model: b, escalation_routing: {team_id: c}},", "]"),
    ],
    ids=["targets", "models", "aliases", "wide aliases", "id", "routing"],
)
def test_no_pack_without_aliases_is_too_large(before: str, item: str, after: str) -> None:
    room = MAX_BYTES - len(pack_of(before + after).encode())
    text = pack_of(before + item * (room // len(item.encode())) + after)
    assert store(p=text).faults == ()


def test_a_pack_with_a_thousand_faults_is_not_read_further() -> None:
    faults = store(p=pack_of(listed("1", "1", 5000))).faults
    assert len(faults) == MOST_FAULTS + 1
    assert faults[-1].problem == (
        "providers.targets[1000]: is the fault after 1000 others; the rest of the pack is not read"
    )


@pytest.mark.parametrize(
    ("provider", "model", "goes_to", "by"),
    [
        ("a", "large", "risk", "p.yaml#providers.targets[0].models[0]"),
        ("b", "large", "risk", "p.yaml#providers.targets[1].models[0]"),
        ("b", "big", "risk", "p.yaml#providers.targets[1].models[0]"),
        ("c", "large", "risk", "p.yaml#providers.targets[2].models[1]"),
        ("c", "big", "risk", "p.yaml#providers.targets[2].models[1]"),
        ("c", "own", "triage", "p.yaml#providers.targets[2]"),
        (None, "big", "risk", "p.yaml#providers.targets[0].models[0]"),
    ],
)
def test_what_an_alias_repeats_counts_in_each_place(
    provider: str | None, model: str, goes_to: str, by: str
) -> None:
    text = (
        "providers:\n  targets:\n"
        "    - id: a\n      models: &all\n"
        "        - &large {id: large, aliases: &names [big], escalation_routing: {team_id: risk}}\n"
        "    - {id: b, models: *all}\n"
        "    - {id: c, models: [{id: own, aliases: [o]}, *large], escalation_routing: {team_id: triage}}\n"
        "    - {id: d, models: [{id: other, aliases: *names}]}\n"
    )
    policies = store(p=text)
    assert policies.faults == ()
    assert whom(policies.route(provider, model)) == (goes_to, by)


def test_why_nothing_is_for_somebody_names_each_reason_once() -> None:
    why = candidates.Why()
    for reason in ("routed to team legal; alice may", "bob raised it", "routed to team legal; alice may"):
        why.refusals.append(reason)
    assert why.text(None) == (
        "none of the 3 waiting is for you (2: routed to team legal; alice may / 1: bob raised it)"
    )
    why.refusals += ["a", "b", "c"]
    assert why.text(None).endswith("/ and more)")
    only = candidates.Why(refusals=["bob raised it"] * 2)
    assert only.text(None) == "none of the 2 waiting is for you (bob raised it)"
