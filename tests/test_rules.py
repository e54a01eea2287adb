"""docs/rules.md: every rule that the judge names is in its table, and nothing else is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import test_compaction
import test_forgeries

from kt_escalation.errors import codes
from kt_escalation.policies import waivers
from kt_escalation.rules import difference

pytestmark = pytest.mark.fast

TOP = Path(__file__).parent.parent
SOURCES = "\n".join(path.read_text() for path in (TOP / "kt_escalation").rglob("*.py"))
ROWS = re.findall(r"^\| (`.*?) \|", (TOP / "docs/rules.md").read_text(), re.MULTILINE)
RULES = [rule for row in ROWS for rule in re.findall(r"`(\w+)`", row)]


def test_the_page_has_every_rule_of_the_judge_and_those_that_forgeries_break() -> None:
    named = re.findall(r'\bViolation\("(\w+)"|_offence\(\s*\w+, [^"\n]*?, "(\w+)"', SOURCES)
    rules = {rule for found in named for rule in found if rule} | set(difference.RULES)
    rules |= {rule for rule, *_ in test_forgeries.FORGERIES.values()}
    rules |= {rule for rule, *_ in test_compaction.FORGERIES.values()}
    assert len(rules) > 30
    assert rules <= set(RULES)


def test_lint_knows_each_rule_by_its_name() -> None:
    assert {rule for rule in RULES if not waivers.is_rule(rule)} == set()
    assert set(RULES) - codes() <= waivers.RULES <= set(RULES)
    assert not waivers.is_rule("nonsense")


def test_every_rule_of_the_page_is_one_that_is_told() -> None:
    assert len(RULES) == len(set(RULES))
    assert [rule for rule in RULES if f'"{rule}"' not in SOURCES and f": {rule}: " not in SOURCES] == []
