"""Errors have typed attributes, and a message and JSON that are made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from kt_escalation import errors
from kt_escalation.errors import AlreadyClaimed, BadInput, Failure, KtError, NothingToClaim, SeveralFailed
from kt_escalation.gateway import answers

BY_CODE = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, KtError) and kind is not SeveralFailed
}
PLACE = re.compile(r"\{(\w+)")


def values(kind: type[KtError]) -> Iterator[tuple[str, object]]:
    """A value for each fact of a class; a number where the message counts or formats it."""
    counted = set(re.findall(r"\{(\w+):(?!sh)", kind.says + kind.hint))
    for number, name in enumerate(sorted(kind.fact_names), 7):
        yield name, number if name in counted else f"<{name} {number}>"


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_every_fact_is_an_attribute_and_in_the_json_and_its_place_in_the_message(code: str) -> None:
    kind = BY_CODE[code]
    given = dict(values(kind))
    error = kind(**given)
    assert {name: getattr(error, name) for name in given} == given
    assert list(error.facts.items()) == list(given.items()), "in the order in which they were given"
    assert error.as_json() == {"code": code, "message": error.message, **given}
    places = set(PLACE.findall(kind.says + kind.hint)) - {"problem"} | (set(given) & {"problem"})
    assert places <= kind.fact_names, "a message names only facts that are declared"
    for name in places:
        assert str(given[name]) in error.message


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_over_http_no_message_says_which_command_to_run(code: str) -> None:
    kind = BY_CODE[code]
    message = answers.failed(kind(**dict(values(kind)))).body["error"]["message"]
    assert message
    assert not re.search(r"`|--\w| -C |command", message)


@pytest.mark.parametrize("code", sorted(BY_CODE))
def test_a_fact_that_is_not_declared_is_refused(code: str) -> None:
    with pytest.raises(TypeError, match="has no fact 'colour'"):
        BY_CODE[code](colour="red")


def test_a_template_is_no_fact_and_changes_one_error_alone() -> None:
    error = BadInput(problem="it is {odd}", says="no: {problem}", hint="try again")
    assert error.message == "no: it is {odd}; try again"
    assert error.as_json() == {"code": "bad_input", "message": error.message, "problem": "it is {odd}"}
    assert BadInput(problem="it is {odd}").message == "it is {odd}"


def test_a_fact_that_changes_changes_the_message() -> None:
    error = NothingToClaim(why="the queue is empty")
    assert (error.state, error.held_by, error.facts) == ("", {}, {"why": "the queue is empty"})
    error.why = "all 2 are held"
    assert error.message == "nothing to claim: all 2 are held"


def test_no_class_may_declare_what_every_error_has() -> None:
    with pytest.raises(TypeError, match="message"):
        type("Wrong", (KtError,), {"__annotations__": {"message": "str"}})


def test_several_failures_name_each_and_exit_as_the_first() -> None:
    first = AlreadyClaimed(escalation_id="esc_a", claimed_by="bob", since="then", claim_id="c")
    error = SeveralFailed([Failure("esc_a", first), Failure(3, BadInput(problem="is empty"))], others=True)
    assert (error.exit_code, error.count) == (6, 2)
    assert error.remedy.endswith("with --partial")
    assert json.loads(json.dumps(error.as_json()))["failed"] == [
        {"id": "esc_a", "code": "already_claimed", "message": first.message},
        {"line": 3, "code": "bad_input", "message": "is empty"},
    ]
