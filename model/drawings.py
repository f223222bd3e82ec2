"""Inline SVG for a page without scripts: places in percent and text in pixels, so that it reads on a phone too."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What a text may hold and a page must not obey: control characters and marks that turn the reading direction."""
Scale = tuple[float, float]
"""The values at the left and the right edge."""
WIDE, TALL = 600.0, 180.0
"""The inner units of a curve's drawing, which is stretched to the width of the page."""


def safe(text: object) -> str:
    """Return a text as HTML that shows it and does nothing else (C78)."""
    return escape(CONTROL.sub("\ufffd", str(text)))


def nice(values: Sequence[float], *, unit: bool = False) -> tuple[Scale, list[float]]:
    """Return (a scale around some finite values, its three to seven round ticks); `unit` keeps it in [0, 1]."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    span = high - low or abs(high) or 1.0
    step = 10.0 ** math.floor(math.log10(span))
    step *= next(part for part in (0.2, 0.5, 1.0, 2.0) if span / (part * step) <= 5)
    first, last = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
    if unit:
        first, last = max(0.0, first), min(1.0, last)
    if last <= first:
        last = first + step
    ticks = [round(first + place * step, 9) for place in range(round((last - first) / step) + 1)]
    return (first, last), ticks


def place(value: float, scale: Scale) -> float:
    """Return where a value stands between the edges, in percent from 0 to 100."""
    return round(100 * min(1.0, max(0.0, (value - scale[0]) / (scale[1] - scale[0]))), 3)


def interval_row(
    value: float | None,
    low: float | None,
    high: float | None,
    scale: Scale,
    *,
    told: str,
    tone: str = "accent",
    mark: float | None = None,
    ticks: Sequence[float] = (),
    height: int = 26,
) -> str:
    """Return a dot with its interval on a line, all in one row; `mark`: a dashed line at what has to be beaten.

    `told` is what a screen reader says, `tone` the class that gives the colour.
    """
    middle, parts = height / 2, []
    parts += [
        f'<line class="tick" x1="{place(t, scale)}%" x2="{place(t, scale)}%" y1="0" y2="{height}"/>' for t in ticks
    ]
    parts.append(f'<line class="track" x1="0" x2="100%" y1="{middle:g}" y2="{middle:g}"/>')
    if mark is not None:
        at = place(mark, scale)
        parts.append(f'<line class="mark" x1="{at}%" x2="{at}%" y1="0" y2="{height}"/>')
    if low is not None and high is not None:
        ends = f'x1="{place(low, scale)}%" x2="{place(high, scale)}%"'
        parts.append(f'<line class="span" {ends} y1="{middle:g}" y2="{middle:g}"/>')
    if value is not None:
        parts.append(
            f'<circle class="dot" cx="{place(value, scale)}%" cy="{middle:g}" r="{min(5.5, height / 3.8):.1f}"/>'
        )
    named = f'class="plot {safe(tone)}" role="img" aria-label="{safe(told)}"'
    return f'<svg {named} width="100%" height="{height}">{"".join(parts)}</svg>'


def axis(scale: Scale, ticks: Sequence[float]) -> str:
    """Return the numbers under interval rows, the outer ones inside the edges."""
    parts = []
    for tick in ticks:
        at = place(tick, scale)
        anchor = "start" if at < 4 else "end" if at > 96 else "middle"
        parts.append(f'<text class="num" x="{at}%" y="13" text-anchor="{anchor}">{tick:g}</text>')
    return f'<svg class="axis" aria-hidden="true" width="100%" height="18">{"".join(parts)}</svg>'


def curves(series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return lines of (x, y) points, one a series, with a legend and the range of both axes in words.

    Each line is drawn with a class `line0`, `line1` and so on; a series without points is left out.
    """
    drawn = {name: points for name, points in series.items() if points}
    every = [point for points in drawn.values() for point in points]
    if not every:
        return ""
    scale, ticks = nice([y for _, y in every])
    across = (min(x for x, _ in every), max(x for x, _ in every))
    across = across if across[1] > across[0] else (across[0] - 1, across[0] + 1)
    lines, dots, keys = [], [], []
    for tick in ticks:
        y = TALL * (1 - place(tick, scale) / 100)
        lines.append(f'<line class="tick" x1="0" x2="{WIDE:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for number, (name, points) in enumerate(drawn.items()):
        # without letters a drawing may be stretched; the stroke keeps its width
        at = [(WIDE * place(x, across) / 100, TALL * (1 - place(y, scale) / 100)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        lines.append(f'<polyline class="line{number % 4}" points="{path}"/>')
        dots += [
            f'<line class="line{number % 4} end" x1="{x:.1f}" y1="{y:.1f}" x2="{x:.1f}" y2="{y:.1f}"/>' for x, y in at
        ]
        keys.append(f'<span class="key"><i class="line{number % 4}"></i>{safe(name)}</span>')
    levels = "".join(f'<span style="bottom:{place(tick, scale)}%">{tick:g}</span>' for tick in ticks)
    box = f'viewBox="0 0 {WIDE:g} {TALL:g}" preserveAspectRatio="none" width="100%" height="{TALL:g}"'
    told = f"{', '.join(drawn)} over {across[0]:g} to {across[1]:g}"
    return (
        f'<div class="legend">{"".join(keys)}</div><div class="curve"><div class="levels">{levels}</div>'
        f'<svg role="img" aria-label="{safe(told)}" {box}>{"".join(lines + dots)}</svg></div>'
        f'<div class="ends"><span>epoch {across[0]:g}</span><span>{across[1]:g}</span></div>'
    )
