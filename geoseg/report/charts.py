"""Charts as SVG and HTML: histograms and bars, drawn here so that a page shows and prints them without a script.

It knows numbers and colours; nothing of runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 560, 170
"""Of a histogram, in its own units; the page stretches it."""

RAMP = '<span class="ramp"></span><span class="ends"><span>0 %</span><span>100 %</span></span>'
"""The colours of confidence, which the page's script fills in."""

_LEFT, _BOTTOM, _TOP = 44, 24, 14


@dataclass(frozen=True)
class Series:
    """Counts of one colour, which are stacked on those before it.

    Attributes
    ----------
    name : str
        What is counted.
    color : str
        ``"#rrggbb"``; empty is the page's own.
    counts : array (bin,)
        How many.
    """

    name: str
    color: str
    counts: NDArray[np.float64]


def histogram(series: Sequence[Series], ticks: Sequence[tuple[float, str]], *, title: str, top: str) -> str:
    """Draw stacked columns.

    Parameters
    ----------
    series : sequence of Series
        From the bottom to the top, all with as many bins.
    ticks : sequence of (float, str)
        Where names stand below the columns, in bins from the left edge.
    title : str
        What a screen reader says.
    top : str
        Name of the largest column's height.
    """
    bins = len(series[0].counts)
    totals = np.sum([item.counts for item in series], axis=0)
    highest = max(float(totals.max()), 1e-12)
    step, room = (WIDTH - _LEFT) / bins, HEIGHT - _BOTTOM - _TOP
    base = HEIGHT - _BOTTOM
    parts = [
        f'<line class="axis" x1="{_LEFT}" x2="{WIDTH}" y1="{base}" y2="{base}"/>',
        f'<line class="axis" x1="{_LEFT}" x2="{WIDTH}" y1="{_TOP}" y2="{_TOP}" stroke-dasharray="2 4"/>',
        f'<text x="{_LEFT - 6}" y="{_TOP + 4}" text-anchor="end">{escape(top)}</text>',
        f'<text x="{_LEFT - 6}" y="{base + 4}" text-anchor="end">0</text>',
    ]
    floor = np.zeros(bins)
    for item in series:
        heights = item.counts / highest * room
        paint = f'fill="{escape(item.color)}"' if item.color else 'class="plain"'
        bars = "".join(
            f'<rect x="{_LEFT + index * step + 0.6:.1f}" y="{base - floor[index] - height:.1f}" '
            f'width="{max(step - 1.2, 0.8):.1f}" height="{max(height, 0.6):.1f}"/>'
            for index, height in enumerate(heights)
            if height > 0
        )
        parts.append(f"<g {paint}><title>{escape(item.name)}</title>{bars}</g>")
        floor += heights
    parts += [
        f'<text x="{_LEFT + place * step:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(name)}</text>'
        for place, name in ticks
    ]
    label = escape(title, quote=True)
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def bar(part: float, color: str = "") -> str:
    """A bar over a part, 0 to 1, of the place that it has; nothing for 0."""
    if not part > 0:
        return ""
    paint = f"; background: {escape(color, quote=True)}" if color else ""
    edge = ' class="edged"' if color else ""
    return f'<i{edge} style="width: {100 * min(1.0, part):.2f}%{paint}"></i>'


def stack(parts: Sequence[float], whole: float, marks: Sequence[float] = ()) -> str:
    """Parts of a whole beside each other, in the page's shades, with lines at some values."""
    pieces = "".join(
        f'<i style="width: {100 * part / whole:.3f}%; background: var(--shade-{index % 7 + 1})"></i>'
        for index, part in enumerate(parts)
    )
    lines = "".join(f'<span class="mark" style="left: {100 * min(1.0, mark / whole):.3f}%"></span>' for mark in marks)
    return f'<div class="against"><div class="stack">{pieces}</div>{lines}</div>'


def swatch(color: str) -> str:
    """A spot of a class's colour."""
    return f'<span class="swatch" style="background: {escape(color, quote=True)}"></span>'


def shade(index: int) -> str:
    """A spot of one of the page's shades."""
    return f'<span class="swatch" style="background: var(--shade-{index % 7 + 1})"></span>'
