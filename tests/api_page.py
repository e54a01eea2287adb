"""docs/api.md, made from the signatures and docstrings of the public names. `make api-page` writes it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator

import kt_escalation
from kt_escalation import Store, errors, testing
from kt_escalation.actions import listing, options
from kt_escalation.errors import KtError

HEAD = """\
# The Python API

This page lists the methods of `Store`, the types that they take and return, and the errors. It is generated from the code, and
a test compares the two. [From Python](python.md) shows them in programs.

```{contents}
:local:
:depth: 1
```

"""
#: The values of `**options` and `**filters`, by the name of the annotation.
KEYWORDS = {
    kind.__name__: kind
    for kind in (
        options.NoteOptions,
        options.CommitOptions,
        options.BatchOptions,
        options.OpenOptions,
        listing.Filters,
    )
}
#: Names of the language and of its library.
_KNOWN = re.compile(r"[a-z_.]+|None|Any|Literal|Iterator|Iterable|Collection|Sequence|Mapping|Callable|Self")


def returned(name: str) -> set[str]:
    """The names of our own types in the annotation of what a method or a property gives."""
    member = inspect.getattr_static(Store, name)
    function = member.fget if isinstance(member, property) else getattr(Store, name)
    return {
        word for word in re.findall(r"\w+", function.__annotations__["return"]) if not _KNOWN.fullmatch(word)
    }


def page() -> str:
    """The whole page."""
    parts = [HEAD, "## Store\n\n", text(Store), *methods(), "## Types\n\n", *types()]
    parts += [
        "## A store in memory\n\n",
        text(testing.MemoryRemote),
        *in_memory(),
        *keywords(),
        "## Errors\n\n",
        *failures(),
    ]
    return "".join(parts).rstrip("\n") + "\n"


def text(of: object) -> str:
    """A docstring as Markdown."""
    told = re.sub(r"``(.+?)``", r"`\1`", inspect.getdoc(of) or "", flags=re.DOTALL)
    return f"{told}\n\n"


def methods() -> Iterator[str]:
    """Each method and property of a store, in the order of the code: `Store`, then what it inherits."""
    seen = set()
    for kind in Store.__mro__[:-1]:
        for name, member in vars(kind).items():
            if name.startswith("_") or name in seen:
                continue
            seen.add(name)
            yield f"### `{name}`\n\n```text\n{signature(name, member)}\n```\n\n{text(member)}"


def signature(name: str, member: object) -> str:
    """How a method is called, with each keyword of `**options`."""
    if isinstance(member, property):
        return f"store.{name}: {member.fget.__annotations__['return']}"
    function = getattr(member, "__func__", member)
    assert callable(function)
    owner = "store" if function is member else "Store"
    words, starred = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            words.append("*")
            starred = True
        if parameter.kind is parameter.VAR_KEYWORD and "Unpack" in str(parameter.annotation):
            words += [] if starred else ["*"]
            kind = KEYWORDS[str(parameter.annotation)[len("Unpack[") : -1]]
            words += [
                f"{key}: {annotation(kind, key)} = …"
                for key in sorted(kind.__annotations__ | inherited(kind))
            ]
        else:
            words.append(written(parameter))
    line = f"{owner}.{name}({', '.join(words)}) -> {function.__annotations__['return']}"
    if len(line) <= 100:
        return line
    inner = ",\n    ".join(words)
    return f"{owner}.{name}(\n    {inner},\n) -> {function.__annotations__['return']}"


def written(parameter: inspect.Parameter) -> str:
    """A parameter with its type, and its default where that is a plain value."""
    stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
    told = f"{stars}{parameter.name}: {parameter.annotation}"
    if parameter.default is parameter.empty:
        return told
    plain = parameter.default is None or isinstance(parameter.default, str | int | float | tuple)
    return f"{told} = {parameter.default!r}" if plain else f"{told} = …"


def inherited(kind: type) -> dict[str, object]:
    """The keys of a typed dictionary, also those of its bases."""
    return {
        key: None
        for base in getattr(kind, "__orig_bases__", ())
        for key in getattr(base, "__annotations__", {})
    }


def annotation(kind: type, key: str) -> str:
    """A key's type as it is written in the code."""
    found = kind.__annotations__[key]
    return getattr(found, "__forward_arg__", str(found))


def types() -> Iterator[str]:
    """Each exported type, with its fields."""
    for name in kt_escalation.__all__:
        kind = getattr(kt_escalation, name)
        if not inspect.isclass(kind) or kind is Store or issubclass(kind, KtError):
            continue
        yield f"### `{name}`\n\n{text(kind)}"
        rows = list(fields(kind))
        if rows:
            yield (
                "| attribute | type |\n|---|---|\n"
                + "".join(f"| `{key}` | `{told}` |\n" for key, told in rows)
                + "\n"
            )


def fields(kind: type) -> Iterator[tuple[str, str]]:
    """The fields of a value, with their types as they are written."""
    if dataclasses.is_dataclass(kind):
        yield from (
            (field.name, cell(field.type)) for field in dataclasses.fields(kind) if field.name[0] != "_"
        )
    elif hasattr(kind, "_fields"):
        yield from ((name, cell(kind.__annotations__[name])) for name in kind._fields)
    elif hasattr(kind, "KEYS"):
        source = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(source, ast.ClassDef)
        named = [node for node in source.body if isinstance(node, ast.AnnAssign)]
        for node in named:
            if ast.unparse(node.target) in kind.KEYS:
                yield ast.unparse(node.target), cell(ast.unparse(node.annotation))


def cell(told: object) -> str:
    """A type for a cell of a table."""
    shown = re.sub(r"\bListOf\[(\w+)\]", r"tuple[\1, ...]", getattr(told, "__forward_arg__", str(told)))
    return shown.replace("|", "\\|")


def in_memory() -> Iterator[str]:
    """How a store in memory is opened."""
    told = signature("store", testing.MemoryRemote.store).replace("store.store", "remote.store")
    yield f"```text\n{told}\n```\n\n{text(testing.MemoryRemote.store)}"


def keywords() -> Iterator[str]:
    """What the keywords that many methods share mean."""
    yield "## Shared keywords\n\n"
    for name in ("OpenOptions", "Filters"):
        yield f"### `{name}`\n\n{text(KEYWORDS[name])}"


def failures() -> Iterator[str]:
    """Each error, with its typed attributes."""
    yield "Each error is a `KtError`.\n\n" + text(KtError)
    yield "| error | code | exit | attributes |\n|---|---|---|---|\n"
    every_one = [
        kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, KtError)
    ]
    for kind in sorted(every_one, key=lambda kind: (kind.exit_code, kind.__name__)):
        if kind is not KtError:
            name = kind.__name__
            own = list(facts(kind))
            exit_code = "of the first" if kind is errors.SeveralFailed else kind.exit_code
            yield f"| `{name}` | `{kind.code}` | {exit_code} | {', '.join(f'`{key}`' for key in own)} |\n"


def facts(kind: type[KtError]) -> Iterator[str]:
    """The facts that an error declares, with their types."""
    for key, told in vars(kind).get("__annotations__", {}).items():
        yield f"{key}: {told}".replace("|", "\\|")
