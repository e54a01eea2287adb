"""The command `raise`: its options, and the files that it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import BadInput, Usage
from ...model.vocabulary import SEVERITIES
from ..app import escalation
from ..options import PARTIAL, Count, called, chooses, common, read_file, takes, takes_time, writes
from ..output import (
    as_json_of,
    decisions_as_json,
    put_json,
    report,
    report_decided,
    warn,
    what_to_do,
)
from ..stores import writing_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...actions.drafts import Item
    from ...results import Result


@escalation.command("raise", short_help="Put an escalation into the queue.")
@takes(
    "--request-id",
    "ID",
    "The id of the gateway's request. A second raise of the same request changes nothing.",
)
@takes("--reason-code", "CODE", "Why a human is asked, such as oversight.required.")
@chooses("--severity", SEVERITIES, "How urgent it is (default medium).")
@takes("--provider", "ID", "The provider target's id; also used for events that name none.")
@takes("--model", "NAME", "The requested model; also used for events that name none.")
@takes("--policy", "KIND", "The kind of policy that escalated.")
@takes("--agent-id", "ID", "The agent that made the request.")
@takes("--session-id", "ID", "The session that the request belongs to.")
@takes("--config-version", "VERSION", "The version of the gateway's configuration.")
@takes("--summary", "LINE", "What the escalation is about, in one line.")
@takes("--context", "FILE", "A JSON or YAML file with a mapping to show the reviewer; - reads stdin.")
@takes("--file", "record_file", "FILE", "A file with one record, as YAML or JSON; - reads stdin.")
@takes(
    "--event",
    "event_file",
    "FILE",
    "A file with a decision event of the gateway, or several as NDJSON; - reads stdin.",
)
@takes(
    "--batch",
    "batch_file",
    "FILE",
    "A file with events and records as NDJSON, raised in one commit; - reads stdin.",
)
@takes(
    "--flush-count",
    "N",
    "With --batch: raise lines as they arrive, at most N in a commit (default 1000), and acknowledge each.",
    type=Count(min=1),
)
@takes_time(
    "--flush-every", "With --batch: raise lines as they arrive, at most this long after the first of them."
)
@PARTIAL
@writes
@common
def raise_command(**given: Any) -> None:
    """Put an escalation into the queue, from options, a record, or a gateway's events.

    With --flush-count or --flush-every, --batch reads a stream. When an input line is on the remote, a
    line on stdout acknowledges it: its number, the escalation's id, and "raised", "unchanged",
    "skipped" or "failed".
    """
    from ...results import ALONE

    source = _source(given)
    if given["flush_count"] is not None or given["flush_every"] is not None:
        if given["batch_file"] is None:
            raise Usage(problem="--flush-count and --flush-every go with --batch")
        from .raise_batch import stream

        stream(given)
        return
    items = _items_of_file(given, *source) if source else [_item_of_options(given)]
    several = source is not None and source[0] != "record"
    alone = [number for number, _ in items] == [ALONE]
    with writing_store(given) as store:
        result = store.raise_lines(items, partial=given["partial"])
    # --event accepts one event or several, so the JSON has the keys of both forms.
    is_both = several and alone and bool(result.records)
    if given["as_json"]:
        warn(*result.warnings)
        forms = [False, True] if is_both else [several]
        put_json({key: value for form in forms for key, value in _as_json(result, form).items()})
        return
    several = several and not is_both
    report(result, False, several, "raised {id} in commit {commit}", _same(result))
    report_decided(result, several)


def _same(result: Result) -> str:
    """The sentence for an escalation that was raised before. It names the decision only if that is proved."""
    found = result.decision
    if found is None:
        status = "resolved" if result.decision_errors else "{status}"
        return f"{{id}} is there already ({status})"
    there = f"{{id}} is there already ({{status}} by {', '.join(found.by)})"
    return there if result.decision_errors else f"{there}: {what_to_do(found)}"


def _as_json(result: Result, several: bool) -> dict[str, Any]:
    return as_json_of(result, several) | decisions_as_json(result, several)


# The options that are keys of a record, except --provider and --model, which also complete events.
_KEYS = (
    *("request_id", "reason_code", "severity", "policy", "agent_id", "session_id", "config_version"),
    "summary",
)


def _source(given: Mapping[str, Any]) -> tuple[str, str] | None:
    """The kind and name of the file to raise from, or None for options. Raises Usage if both are given."""
    files = {"file": given["record_file"], "event": given["event_file"], "batch": given["batch_file"]}
    chosen = [(option, name) for option, name in files.items() if name is not None]
    if len(chosen) > 1:
        raise Usage(problem="--file, --event and --batch cannot go together", hint="give one of them")
    if not chosen:
        return None
    [(option, name)] = chosen
    others = [key for key in (*_KEYS, "context") if given[key] is not None]
    if others:
        listed = ", ".join(f"--{key.replace('_', '-')}" for key in others)
        raise Usage(problem=f"{listed} cannot go with --{option}", hint="give one or the other")
    return "record" if option == "file" else option, name


def _items_of_file(given: Mapping[str, Any], kind: str, name: str) -> list[tuple[int, Item]]:
    """The items to raise in a file, with their lines. Raises BadInput."""
    from ...actions import drafts

    items = drafts.read_items(
        read_file(name), kind, name=called(name), provider=given["provider"], model=given["model"]
    )
    if not items and kind != "batch":
        raise BadInput(problem=f"{called(name)} holds nothing to raise")
    return items


def _item_of_options(given: Mapping[str, Any]) -> tuple[int, Item]:
    """The item to raise in the options. Raises Usage, BadInput."""
    from ...actions import drafts
    from ...results import ALONE

    keys = {key: given[key] for key in _KEYS if given[key] is not None}
    if "reason_code" not in keys:
        raise Usage(
            problem="--reason-code is missing" if keys else "nothing to raise",
            hint="give --reason-code and what else is known, or one of --file, --event and --batch",
        )
    if given["context"] is not None:
        keys["event_context"] = drafts.read_context(read_file(given["context"]), called(given["context"]))
    return ALONE, drafts.from_keys({**keys, "provider": given["provider"], "model": given["model"]})
