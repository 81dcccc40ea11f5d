"""The reliability diagram of a card: how many pixels are right, by the confidence that they have.

It knows counts, and writes SVG.
"""

from __future__ import annotations

from pathlib import Path

from geoseg.files import write_file
from geoseg.training.calibrating import Calibration

DIAGRAM = "reliability.svg"

SIDE, MARGIN = 240, 44
"""Of the square from 0 to 1, and of what stands around it, px."""

RARE = 0.001
"""Part of all pixels below which a bin is not drawn."""

LINES = (("before", "without temperature", "#b0b0b0"), ("after", "with temperature", "#2166ac"))


def write_diagram(calibration: Calibration, path: Path) -> None:
    """Draw accuracy over confidence, without and with temperature; the dashed line is where they are equal."""
    parts = [
        f'<rect width="{SIDE + 2 * MARGIN}" height="{SIDE + 2 * MARGIN}" fill="white"/>',
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{SIDE}" height="{SIDE}" fill="none" stroke="#444"/>',
        _line([(0, 0), (1, 1)], "#888", ' stroke-dasharray="4 4"'),
    ]
    for place, (name, caption, color) in enumerate(LINES):
        rows = getattr(calibration, name).rows
        least = RARE * sum(count for _, _, count in rows)
        points = [(confidence, right) for confidence, right, count in rows if count >= least]
        parts.append(_line(points, color))
        parts += [_dot(*point, color) for point in points]
        parts.append(_text(MARGIN + 8, MARGIN + 18 + 16 * place, caption, f' fill="{color}"'))
    for value in (0.0, 0.5, 1.0):
        x, y = _at(value, value)
        parts.append(_text(x, MARGIN + SIDE + 16, f"{value:g}", ' text-anchor="middle"'))
        parts.append(_text(MARGIN - 6, y + 4, f"{value:g}", ' text-anchor="end"'))
    middle = MARGIN + SIDE / 2
    parts.append(_text(middle, MARGIN + SIDE + 34, "confidence", ' text-anchor="middle"'))
    parts.append(
        _text(0, 0, "share of right pixels", f' transform="translate(14 {middle}) rotate(-90)" text-anchor="middle"')
    )
    side = SIDE + 2 * MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side} {side}" width="{side}" height="{side}"'
    text = "\n".join([f'{head} font-family="sans-serif" font-size="12">', *parts, "</svg>", ""])
    write_file(path, lambda unfinished: unfinished.write_text(text))


def _at(x: float, y: float) -> tuple[float, float]:
    """Place of a point of the unit square, px from the upper left."""
    return round(MARGIN + SIDE * x, 1), round(MARGIN + SIDE * (1 - y), 1)


def _line(points: list[tuple[float, float]], color: str, more: str = "") -> str:
    places = " ".join(f"{x:g},{y:g}" for x, y in (_at(*point) for point in points))
    return f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="2"{more}/>'


def _dot(x: float, y: float, color: str) -> str:
    left, top = _at(x, y)
    return f'<circle cx="{left:g}" cy="{top:g}" r="3" fill="{color}"/>'


def _text(x: float, y: float, text: str, more: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}"{more}>{text}</text>'
