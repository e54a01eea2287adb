"""Frozen values with declared keys: checked, compared, copied and made plain.

What fits is checked here, by plain functions, because loading pydantic takes longer than most commands' own work.
What does not fit goes to pydantic (`model.pydantic_schema`), which names everything that is wrong with it. Both
take the types and the constraints from the same declarations.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from .json_value import as_unicode, same_json
from .times import format_duration, format_time

# A cache of texts that fit a type. If it has this many, all are dropped. Longer texts are not cached.
_REMEMBERED = 1_000
_LONGEST = 100

Check = Callable[[Any], Any]
_T = TypeVar("_T")


#: The path of a key: the names and numbers on the way to it.
KeyPath = tuple[str | int, ...]
#: The path of a key, and what is wrong with it.
KeyFault = tuple[KeyPath, str]


class InvalidValue(ValueError):
    """A value does not fit its type. The message is one line; ``faults`` has each key with what is wrong with it."""

    def __init__(self, faults: Sequence[KeyFault]) -> None:
        named = ((".".join(map(str, path)), what) for path, what in faults)
        super().__init__("; ".join(f"{where}: {what}" if where else what for where, what in named))
        self.faults = faults


class Constraint:
    """One constraint of a type, as metadata of `Annotated`.

    ``check`` returns the value, which it may convert, or raises ValueError. It runs after the check of the type
    itself, or ``before`` it. ``core`` are the same constraint as keys of pydantic's schema, ``json`` the JSON Schema of the
    whole type, ``write`` the function that makes its values plain again.
    """

    def __init__(
        self,
        check: Check | None = None,
        *,
        before: bool = False,
        core: Mapping[str, Any] | None = None,
        json: Mapping[str, Any] | None = None,
        write: Check | None = None,
    ) -> None:
        self.check, self.before, self.core, self.json, self.write = check, before, core, json, write

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        from .pydantic_schema import constrained

        return constrained(self, handler(source))

    def __get_pydantic_json_schema__(self, schema: Any, handler: Callable[[Any], Any]) -> Any:
        return handler(schema) if self.json is None else dict(self.json)


def form(pattern: str) -> Constraint:
    """The whole text has this form."""

    compiled: re.Pattern[str] | None = None

    def check(text: str) -> str:
        nonlocal compiled
        # Not before it is needed: compiling all forms takes some milliseconds.
        compiled = compiled or re.compile(pattern)
        if compiled.fullmatch(text) is None:
            raise ValueError("has another form")
        return text

    return Constraint(check, core={"pattern": pattern})


def length(least: int, most: int | None = None) -> Constraint:
    """It has ``least`` to ``most`` characters or items."""

    def check(value: Any) -> Any:
        if len(value) < least or (most is not None and len(value) > most):
            raise ValueError("is too long or too short")
        return value

    return Constraint(check, core={"min_length": least or None, "max_length": most})


def _as_tuple(value: object) -> object:
    # YAML and JSON have lists; a frozen value has tuples.
    return tuple(value) if isinstance(value, list) else value


AS_TUPLE = Constraint(_as_tuple, before=True)
#: As many values of one type as there are, in order.
ListOf = Annotated[tuple[_T, ...], AS_TUPLE]


def between(least: int, most: int | None = None) -> Constraint:
    """The number is ``least`` to ``most``."""

    def check(number: int) -> int:
        if number < least or (most is not None and number > most):
            raise ValueError("is too large or too small")
        return number

    return Constraint(check, core={"ge": least, "le": most})


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=False)
class Value:
    """A frozen value that rejects unknown keys and converts nothing but what its types say."""

    #: Its keys in the order in which they are written, with the defaults of those that may be absent.
    KEYS: ClassVar[tuple[str, ...]] = ()
    REQUIRED: ClassVar[frozenset[str]] = frozenset()
    _defaults: ClassVar[Mapping[str, Any]] = {}
    #: The keys with JSON of the gateway's or the user's own.
    _json_keys: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        # `inspect.get_annotations` does the same, but loading `inspect` takes some milliseconds.
        declared = cls.__dict__.get("__annotations__", {})  # noqa: RUF063
        cls.KEYS = tuple(key for key in declared if not key.startswith("_"))
        cls._defaults = {key: cls.__dict__.get(key) for key in cls.KEYS}
        cls.REQUIRED = frozenset(key for key in cls.KEYS if key not in cls.__dict__)

    def __init__(self, **parts: Any) -> None:
        kind: Any = self.__class__
        try:
            checked = _parts_checker(kind)(parts)
            self.__dict__.update(self._defaults)
            self.__dict__.update(checked)
            self.check()
        except ValueError:
            self.__dict__.update(parse(kind, parts).__dict__)

    @classmethod
    def parse(cls, value: object) -> Self:
        """The value in a mapping of plain values. Raises InvalidValue, which names all that is wrong."""
        found: Self = parse(cls, value)
        return found

    @classmethod
    def of(cls, checked: Mapping[str, Any]) -> Self:
        """A value of parts that have already been checked. Missing parts get their defaults; required ones None."""
        made = cls.__new__(cls)
        made.__dict__.update(cls._defaults)
        made.__dict__.update(checked)
        return made

    def replace(self, **changes: Any) -> Self:
        """A copy with some parts changed, which must have been checked."""
        made = self.__new__(self.__class__)
        parts = self.__dict__.copy()
        parts.update(changes)
        object.__setattr__(made, "__dict__", parts)
        return made

    def check(self) -> None:
        """Raise ValueError if its parts do not agree."""

    def __setattr__(self, key: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, key: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        # A step that makes 1 of true has changed the content, so Python's comparison is not enough for JSON.
        if self.__class__ is not other.__class__ or self.__dict__ != other.__dict__:
            return False
        for key in self._json_keys:
            one, another = self.__dict__.get(key), other.__dict__.get(key)
            if one is not another and not same_json(one, another):
                return False
        return True

    def __hash__(self) -> int:
        return hash((self.__class__, *map(self.__dict__.get, self.KEYS)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={getattr(self, key)!r}' for key in self.KEYS)})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from .pydantic_schema import of_value

        return of_value(cls, handler)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Callable[[Any], Any]) -> Any:
        found = handler(schema)
        return {**found, "description": cls.__doc__}


def plain(part: Any) -> Any:
    """A part of a value as plain JSON. The gateway's own values already are."""
    if isinstance(part, Value):
        return {key: plain(value) for key, value in part.__dict__.items() if value is not None}
    if isinstance(part, tuple):
        return [plain(item) for item in part]
    if isinstance(part, datetime):
        return format_time(part)
    return format_duration(part) if isinstance(part, timedelta) else part


def parse(hint: Any, value: object) -> Any:
    """The value of a type. Raises InvalidValue, which names all that is wrong."""
    try:
        return checker(hint)(value)
    except ValueError:
        from .pydantic_schema import validate

        return validate(hint, value)


def hints(kind: type[Value]) -> Mapping[str, Any]:
    """The type of each key."""
    hashed: Any = kind
    return _hints(hashed)


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    found = get_type_hints(kind, include_extras=True)
    return {key: found[key] for key in kind.KEYS}


@cache
def checker(hint: Any) -> Check:
    """The function that checks and converts values of a type. It raises ValueError, which need not say why."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _constrained(checker(hint.__origin__), hint.__metadata__)
    if origin in (Union, UnionType):
        [arm] = [one for one in arguments if one is not NoneType]
        return _or_none(checker(arm))
    if origin is Literal:
        return _one_of(arguments)
    if origin is tuple:
        return _each(checker(arguments[0]))
    if origin in (dict, Mapping):
        return _mapping(*map(checker, arguments))
    if hint is Any:
        return lambda value: value
    if hint is str:
        return _text
    return _value(hint) if issubclass(hint, Value) else _exactly(hint)


def _constrained(check: Check, constraints: Sequence[Constraint]) -> Check:
    checks = [check]
    for one in constraints:
        if one.check is not None:
            # The last one to come before the type's own check is the first to run.
            checks.insert(0 if one.before else len(checks), one.check)
    checked = _one_after_another(checks)
    return _remembering(checked) if check is _text else checked


def _one_after_another(checks: Sequence[Check]) -> Check:
    if len(checks) == 1:
        return checks[0]
    if len(checks) == 2:
        first, then = checks
        return lambda value: then(first(value))

    def checked(value: Any) -> Any:
        for check in checks:
            value = check(value)
        return value

    return checked


def _remembering(check: Check) -> Check:
    """The same check of text. Texts that fit are not checked again: most are read, and then written or compared."""
    fitting: set[str] = set()

    def checked(value: Any) -> Any:
        if type(value) is str and value in fitting:
            return value
        found = check(value)
        # Text that is converted has no place here.
        if found is value and len(value) <= _LONGEST:
            if len(fitting) >= _REMEMBERED:
                fitting.clear()
            fitting.add(value)
        return found

    return checked


def _or_none(check: Check) -> Check:
    return lambda value: None if value is None else check(value)


def _one_of(words: Sequence[Any]) -> Check:
    kinds = {type(word) for word in words}

    def checked(value: Any) -> Any:
        if type(value) not in kinds or value not in words:
            raise ValueError("is another word")
        return value

    return checked


def _each(check: Check) -> Check:
    def checked(value: Any) -> Any:
        if type(value) is not tuple:
            raise ValueError("is no list")
        return tuple(map(check, value))

    return checked


def _mapping(check_key: Check, check: Check) -> Check:
    def checked(value: Any) -> Any:
        if type(value) is not dict:
            raise ValueError("is no mapping")
        return {check_key(key): check(item) for key, item in value.items()}

    return checked


def _exactly(kind: type) -> Check:
    def checked(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError("has another type")
        return value

    return checked


def _text(value: Any) -> str:
    if type(value) is not str:
        raise ValueError("is no text")
    # No file can hold unpaired surrogates.
    return value if value.isascii() else as_unicode(value)


def _value(kind: Any) -> Check:
    def checked(value: Any) -> Any:
        if type(value) is kind:
            return value
        if type(value) is not dict:
            raise ValueError("is no mapping")
        made = kind.of(_parts_checker(kind)(value))
        made.check()
        return made

    return checked


@cache
def _parts_checker(kind: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The function that checks and converts the parts of a value, each by itself."""
    checks = {key: checker(hint) for key, hint in hints(kind).items()}
    required, known = kind.REQUIRED, checks.keys()

    def checked(parts: dict[str, Any]) -> dict[str, Any]:
        if not required <= parts.keys() <= known:
            raise ValueError("has other keys")
        return {key: checks[key](part) for key, part in parts.items()}

    return checked
