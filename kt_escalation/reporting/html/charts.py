"""Charts as inline SVG; the page's style sheet sets colours, lines and patterns. The only import of pygal.

Only the geometry and the names of the parts of pygal's drawing are kept: no script, no style, no ids. Each
mark has a `<title>` that says what it shows. See docs/report.md.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

import pygal
from markupsafe import Markup

from ...model.text import visible
from ...model.times import lasted

# pygal leaves a finder for its plugins that every later import would ask, in a way that Python has given up.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]

#: How wide a chart is, in the pixels of its text, where it has a line of its own, and where it stands in a pair.
WIDE, HALF = 1120, 540
_BAR, _AXIS, _LINES = 30, 46, 240
_FONT = 12
# What a figure in a bar needs to stand inside it, for each character and in all.
_CHARACTER, _ROOM = 7, 8
_LONGEST_LABEL = 26
#: The lines of a scale of times, in seconds.
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_TIMES = (
    *(1, 5, 15, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 4 * _HOUR, 12 * _HOUR),
    *(_DAY, 3 * _DAY, 7 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY),
)
# What a label of the time axis needs, in pixels.
_BESIDE = 85

Values = Mapping[str, Sequence[float | None]]


def bars(title: str, labels: Sequence[str], values: Values, width: int = WIDE) -> Markup:
    """A bar for each label, stacked from the values under each name; the first label on top."""
    chart = _chart(
        pygal.HorizontalStackedBar,
        width,
        len(labels) * _BAR + _AXIS,
        print_values=True,
        value_formatter=_count,
    )
    chart.x_labels = [_label(label) for label in reversed(labels)]
    most = max((sum(x or 0 for x in column) for column in zip(*values.values(), strict=True)), default=0)
    chart.y_labels = _steps(most)
    for name, row in values.items():
        chart.add(name, list(reversed(row)))
    return _drawn(chart, title, values)


def counts(title: str, labels: Sequence[str], values: Values) -> Markup:
    """A line of whole numbers for each name."""
    chart = _chart(pygal.Line, WIDE, _LINES, include_x_axis=True, value_formatter=_count)
    chart.y_labels = _steps(max((x or 0 for row in values.values() for x in row), default=0))
    return _line(chart, title, labels, values)


def times(title: str, labels: Sequence[str], values: Values) -> Markup:
    """A line of durations in seconds for each name, on a logarithmic scale; where there is None it has no dot."""
    # A logarithm knows no nothing.
    values = {name: [x if x is None else max(1.0, x) for x in row] for name, row in values.items()}
    known = [x for row in values.values() for x in row if x is not None]
    low = max((time for time in _TIMES if time <= min(known, default=1)), default=1)
    high = min((time for time in _TIMES if time >= max(known, default=60)), default=max(known, default=60))
    chart = _chart(pygal.Line, HALF, _LINES, logarithmic=True, value_formatter=lasted)
    chart.range = (low, max(high, low * 2))
    chart.y_labels = [{"value": time, "label": lasted(time)} for time in _TIMES if low <= time <= high]
    return _line(chart, title, labels, values)


def _line(chart: Any, title: str, labels: Sequence[str], values: Values) -> Markup:
    every = -(-len(labels) // (chart.config.width // _BESIDE))
    chart.x_labels = list(labels)
    chart.x_labels_major = list(labels)[:: max(1, every)]
    chart.show_minor_x_labels = False
    for name, row in values.items():
        chart.add(name, list(row))
    return _drawn(chart, title, values)


def _chart(kind: Any, width: int, height: int, **more: Any) -> Any:
    font = {f"{part}_font_size": _FONT for part in ("label", "major_label", "value")}
    return kind(
        style=pygal.style.Style(font_family="sans-serif", **font),
        width=width,
        height=height,
        margin=8,
        margin_right=_BESIDE // 2,
        truncate_label=-1,
        js=(),
        css=(),
        show_legend=False,
        disable_xml_declaration=True,
        **more,
    )


def _steps(most: float) -> list[int]:
    """Whole numbers for a scale, five at most above nothing."""
    step = 1
    while most > step * 5:
        # 1, 2, 5, 10, 20, 50, …
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return list(range(0, int(most) + step, step))


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _label(text: str) -> str:
    text = visible(text)
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"


def _drawn(chart: Any, title: str, values: Values) -> Markup:
    """What pygal draws, without what is not geometry, and with the names in place of numbers."""
    root = ElementTree.fromstring(chart.render())  # noqa: S314 - pygal's own
    for part in root.iter():
        part.tag = part.tag.rpartition("}")[2]
        for name in ("id", "style"):
            part.attrib.pop(name, None)
    for above in list(root.iter()):
        for part in list(above):
            if part.tag in ("defs", "title") or "tooltip-overlay" in part.get("class", ""):
                above.remove(part)
    for number, name in enumerate(values):
        groups = [part for part in root.iter("g") if f"serie-{number} " in part.get("class", "")]
        for group in groups:
            group.set("class", f"series is-{name}")
            for mark in list(group.iter("g")):
                _titled(mark, name)
        _fitted(groups)
    root.attrib.update({"role": "img", "aria-label": title, "class": f"chart of-{chart.config.width}"})
    # All text in it was set as text by pygal and is escaped by ElementTree.
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704


def _titled(mark: ElementTree.Element, name: str) -> None:
    """Say in a title what pygal says in descriptions for its script."""
    told = {part.get("class", ""): part.text or "" for part in mark.findall("desc")}
    for part in mark.findall("desc"):
        mark.remove(part)
    if "value" in told:
        title = ElementTree.SubElement(mark, "title")
        title.text = f"{told.get('x_label', '')}, {name}: {told['value']}"


def _fitted(groups: Sequence[ElementTree.Element]) -> None:
    """Leave out the figures that do not fit into their bars."""
    rects = [rect for group in groups for rect in group.iter("rect")]
    texts = [(group, text) for group in groups for text in group.findall("text")]
    if len(rects) == len(texts):
        for rect, (group, text) in zip(rects, texts, strict=True):
            if float(rect.get("width", "0")) < len(text.text or "") * _CHARACTER + _ROOM:
                group.remove(text)
