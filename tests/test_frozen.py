"""A frozen class is what the standard library makes of it."""

from __future__ import annotations

import dataclasses
import inspect
from functools import cached_property
from typing import Any

import pytest

from kt_escalation.frozen import dataclass

pytestmark = pytest.mark.fast


def made(decorate: Any) -> list[type]:
    """Classes of several kinds, made by one decorator or by the other."""

    @decorate(frozen=True)
    class Nothing:
        pass

    @decorate(frozen=True)
    class One:
        name: str

    @decorate(frozen=True)
    class Several:
        name: str
        number: int = 1
        tags: tuple[str, ...] = dataclasses.field(default_factory=tuple)
        aside: object = dataclasses.field(default=None, compare=False, repr=False)

        @cached_property
        def twice(self) -> str:
            return self.name * 2

    @decorate(frozen=True)
    class More(Several):
        last: str = "z"

    @decorate(frozen=True)
    class Own:
        name: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, str) and other == self.name

        def __repr__(self) -> str:
            return f"<{self.name}>"

    @decorate(frozen=True, order=True)
    class Ordered:
        number: int

    @decorate(eq=False)
    class Open:
        name: str
        seen: list[str] = dataclasses.field(default_factory=list, init=False)

    @decorate(frozen=True)
    class Late:
        name: str = "n"
        named: int = dataclasses.field(default=0, kw_only=True)
        whole: str = dataclasses.field(init=False, default="")

        def __post_init__(self) -> None:
            object.__setattr__(self, "whole", f"{self.name}{self.named}")

    return [Nothing, One, Several, More, Own, Ordered, Open, Late]


GIVEN: dict[str, list[dict[str, Any]]] = {
    "Nothing": [{}],
    "One": [{"name": "a"}, {"name": "b"}],
    "Several": [{"name": "a"}, {"name": "a", "aside": 5}, {"name": "a", "number": 2}, {"name": "a", "tags": ("x",)}],
    "More": [{"name": "a"}, {"name": "a", "last": "y"}],
    "Own": [{"name": "a"}, {"name": "b"}],
    "Ordered": [{"number": 1}, {"number": 2}],
    "Open": [{"name": "a"}],
    "Late": [{"name": "a"}, {"named": 2}],
}  # fmt: skip


def told(kinds: list[type]) -> list[object]:
    """All that can be seen of values of these classes."""
    found: list[object] = [str(inspect.signature(kind)) for kind in kinds]
    values = [kind(**given) for kind in kinds for given in GIVEN[kind.__name__]]
    for one in values:
        found += [
            repr(one) if type(one).__name__ != "Open" else "",
            [one == other for other in [*values, "a"]],
            [one != other for other in [*values, "a"]],
            [field.name for field in dataclasses.fields(one)],
        ]
        if type(one).__name__ not in ("Open", "Ordered"):
            for change in (lambda one=one: setattr(one, "name", "c"), lambda one=one: delattr(one, "name")):
                with pytest.raises(dataclasses.FrozenInstanceError):
                    change()
    found.append([len({one, other}) for one in values for other in values if one == other])
    found += [repr(dataclasses.replace(values[1], name="c")), kinds[2]("a", 3).number, kinds[2]("a").twice]
    found.append(sorted([kinds[5](2), kinds[5](1)], key=lambda one: one)[0].number)
    for wrong in ({}, {"name": "a", "surplus": 1}):
        with pytest.raises(TypeError) as refused:
            kinds[1](**wrong)
        found.append(str(refused.value))
    changing = kinds[6]("a")
    changing.name = "changed"
    found += [changing.name, changing.seen, kinds[6].__init__ is kinds[6].__init__]
    return found


def test_it_makes_what_the_standard_library_makes() -> None:
    assert told(made(dataclass)) == told(made(dataclasses.dataclass))
