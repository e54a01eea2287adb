"""Charts as inline SVG. The page's style sheet sets colours, lines and patterns by class. See docs/report.md.

Each mark has a `<title>` that says what it shows. Every text goes through `Markup.format`, which escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log

from markupsafe import Markup

from ...model.text import visible
from ...model.times import lasted

#: The width of a chart on a line of its own, and of one in a pair, in the pixels of its text.
WIDE, HALF = 1120, 540
# The space for one bar, for the labels below a chart, at its right end, and the height of a line chart.
_BAR, _AXIS, _RIGHT, _LINES = 30, 24, 40, 240
# The width of a character, the gap beside a text, and how far its baseline is below its middle.
_CHARACTER, _GAP, _BASELINE = 7, 8, 4
_LONGEST_LABEL = 26
# The least distances between two labels, along the time axis and along the scale.
_BESIDE, _ABOVE = 85, 14
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
#: The possible labels of a scale of durations, in seconds.
_TIMES = (
    *(1, 5, 15, _MINUTE, 5 * _MINUTE, 15 * _MINUTE, _HOUR, 4 * _HOUR, 12 * _HOUR),
    *(_DAY, 3 * _DAY, 7 * _DAY, 30 * _DAY, 90 * _DAY, 365 * _DAY),
)

Values = Mapping[str, Sequence[float | None]]

_CHART = Markup(
    '<svg class="chart of-{width}" viewBox="0 0 {width} {height}" role="img" aria-label="{title}">{parts}</svg>'
)
_SERIES = Markup('<g class="series is-{}">{}</g>')
_GUIDE = Markup('<path class="guide" d="M{:.1f} {:.1f}{}"/>')
_TEXT = Markup('<text class="{}" x="{:.1f}" y="{:.1f}">{}</text>')
_RECT = Markup(
    '<rect class="bar" x="{:.1f}" y="{}" width="{:.1f}" height="{}"><title>{}, {}: {}</title></rect>'
)
_LINE = Markup('<path class="line" d="M{}"/>')
_DOT = Markup('<circle class="dot" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}, {}: {}</title></circle>')


def bars(title: str, labels: Sequence[str], values: Values, width: int = WIDE) -> Markup:
    """A bar for each label, stacked from the values under each name; the first label on top."""
    shown = [_label(label) for label in labels]
    scale = _scale(
        max((sum(x or 0 for x in column) for column in zip(*values.values(), strict=True)), default=0)
    )
    left, bottom = _left(shown), len(shown) * _BAR
    unit = (width - left - _RIGHT) / scale[-1]
    parts = [_GUIDE.format(left + step * unit, 0, f"V{bottom}") for step in scale]
    parts += [
        _TEXT.format("middle", left + step * unit, bottom + _AXIS - _GAP, _count(step)) for step in scale
    ]
    middles = [number * _BAR + _BAR // 2 + _BASELINE for number in range(len(shown))]
    parts += [_TEXT.format("end", left - _GAP, y, label) for y, label in zip(middles, shown, strict=True)]
    starts = [float(left)] * len(shown)
    for name, row in values.items():
        marks = []
        for number, value in enumerate(row):
            length, text = (value or 0) * unit, _count(value or 0)
            marks.append(
                _RECT.format(starts[number], number * _BAR + 2, length, _BAR - 4, shown[number], name, text)
            )
            if length >= len(text) * _CHARACTER + _GAP:
                marks.append(_TEXT.format("value middle", starts[number] + length / 2, middles[number], text))
            starts[number] += length
        parts.append(_SERIES.format(name, Markup().join(marks)))
    return _CHART.format(width=width, height=bottom + _AXIS, title=title, parts=Markup().join(parts))


def counts(title: str, labels: Sequence[str], values: Values) -> Markup:
    """A line of whole numbers for each name."""
    scale = _scale(max((x or 0 for row in values.values() for x in row), default=0))
    return _lines(title, labels, values, WIDE, scale, lambda value: value / scale[-1], _count)


def times(title: str, labels: Sequence[str], values: Values) -> Markup:
    """A line of durations in seconds for each name, on a logarithmic scale; None has no dot."""
    # Zero has no logarithm.
    values = {name: [x if x is None else max(1.0, x) for x in row] for name, row in values.items()}
    known = [x for row in values.values() for x in row if x is not None]
    least, most = min(known, default=1), max(known, default=_MINUTE)
    low = max(time for time in _TIMES if time <= least)
    high = max(min((time for time in _TIMES if time >= most), default=most), low * 2)
    scale = [time for time in _TIMES if low <= time <= high]
    return _lines(title, labels, values, HALF, scale, lambda x: log(x / low) / log(high / low), lasted)


def _lines(
    title: str,
    labels: Sequence[str],
    values: Values,
    width: int,
    scale: Sequence[float],
    share: Callable[[float], float],
    said: Callable[[float], str],
) -> Markup:
    """Lines over time. ``share`` gives the height of a value in the chart, from 0 to 1. ``said`` gives its text."""
    left, bottom = _left([said(step) for step in scale]), _LINES - _AXIS
    span = width - left - _RIGHT
    xs = [left + span * number / max(1, len(labels) - 1) for number in range(len(labels))]
    every = -(-len(labels) * _BESIDE // width)
    parts = [
        _TEXT.format("middle", max(x, len(label) * _CHARACTER / 2), _LINES - _GAP, label)
        for x, label in [*zip(xs, labels, strict=True)][:: max(1, every)]
    ]

    def height(value: float) -> float:
        return _GAP + (bottom - 2 * _GAP) * (1 - share(value))

    last = float(_LINES)
    for step in scale:
        y = height(step)
        if last - y >= _ABOVE:
            parts += [
                _GUIDE.format(left, y, f"H{width - _RIGHT}"),
                _TEXT.format("end", left - _GAP, y + _BASELINE, said(step)),
            ]
            last = y
    for name, row in values.items():
        dots = [
            (x, height(value), label, value)
            for x, label, value in zip(xs, labels, row, strict=True)
            if value is not None
        ]
        marks = [_LINE.format("L".join(f"{x:.1f} {y:.1f}" for x, y, *_ in dots))] if dots else []
        marks += [_DOT.format(x, y, label, name, said(value)) for x, y, label, value in dots]
        parts.append(_SERIES.format(name, Markup().join(marks)))
    return _CHART.format(width=width, height=_LINES, title=title, parts=Markup().join(parts))


def _left(texts: Sequence[str]) -> int:
    """The left edge of a chart with these labels to its left."""
    return max(map(len, texts), default=0) * _CHARACTER + 2 * _GAP


def _scale(most: float) -> list[int]:
    """Whole numbers for a scale: from 0 to at least ``most``, which counts as at least 1, in five steps at most."""
    step = 1
    while most > step * 5:
        # 1, 2, 5, 10, 20, 50, …
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return list(range(0, max(1, int(most)) + step, step))


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _label(text: str) -> str:
    text = visible(text)
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"
