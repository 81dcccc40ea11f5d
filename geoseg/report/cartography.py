"""Marks of a map: the scale bar, north, and lines with smooth edges.

It knows pictures and lengths on the ground; nothing of runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from geoseg.report.lettering import Color, Lettering

INK, MUTED, PAPER, GROUND = (28, 32, 35), (89, 96, 102), (255, 255, 255), (228, 226, 220)

FINE = 2
"""Px of a drawing along the side of a picture's pixel, for smooth edges."""


def nice_length(most: float) -> float:
    """The longest of 1, 2 and 5 times a power of ten that is no longer."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9))


def length_name(length: float, *, is_ground: bool) -> str:
    """A length as a scale bar has it: 500 m, 2 km, 20 cm, 100 px."""
    if not is_ground:
        return f"{length:,g} px"
    if length >= 1000:
        return f"{length / 1000:,g} km"
    return f"{length:g} m" if length >= 1 else f"{length * 100:g} cm"


def draw_scale(
    picture: Image.Image, lettering: Lettering, right: float, top: float, room: float, pixel: float, *, is_ground: bool
) -> float:
    """Draw a scale bar of two halves that ends at a place.

    Parameters
    ----------
    picture : Image
        Drawn on.
    lettering : Lettering
        Writes on it.
    right, top : float
        Upper right corner, px.
    room : float
        Longest bar, px.
    pixel : float
        Length of a pixel on the ground, m; in px of the raster where there is no ground.
    is_ground : bool
        Whether there is.

    Returns
    -------
    float
        Left end, px.
    """
    length = nice_length(room * pixel)
    long, height, size = length / pixel, max(4.0, room / 40), max(10.0, room / 14)
    draw, left, below = ImageDraw.Draw(picture), right - long, top + size * 1.35
    draw.rectangle((left, below, right, below + height), fill=PAPER, outline=INK, width=max(1, round(height / 6)))
    draw.rectangle((left, below, left + long / 2, below + height), fill=INK)
    name = length_name(length, is_ground=is_ground)
    lettering.write((left, top + size), "0", size, INK, "ls")
    lettering.write((right, top + size), name, size, INK, "rs")
    half = f"{length / 2 / (1000 if name.endswith('km') else 0.01 if name.endswith('cm') else 1):,g}"
    if lettering.width(half, size) / 2 + lettering.width(f"   {name}", size) < long / 2:
        lettering.write((left + long / 2, top + size), half, size, INK, "ms")
    return left


def draw_north(
    picture: Image.Image, lettering: Lettering, center: tuple[float, float], size: float, degrees: float
) -> None:
    """Draw an arrow that points north, ``degrees`` clockwise from up, with its letter at the tip."""
    fine = 4  # so that a turned arrow has smooth edges
    side = math.ceil(size * fine)
    arrow = Image.new("L", (side, side))
    dark = Image.new("L", (side, side))
    angle = math.radians(degrees)

    def turned(across: float, down: float) -> tuple[float, float]:
        x = across * math.cos(angle) - down * math.sin(angle)
        y = across * math.sin(angle) + down * math.cos(angle)
        return side / 2 + x * side, side / 2 + y * side

    tip, tail, notch, other = turned(0, -0.3), turned(-0.17, 0.34), turned(0, 0.2), turned(0.17, 0.34)
    ImageDraw.Draw(arrow).polygon([tip, other, notch, tail], fill=255)
    ImageDraw.Draw(dark).polygon([tip, notch, tail], fill=255)
    ImageDraw.Draw(dark).line([tip, other, notch, tail, tip], fill=255, width=max(1, round(side / 45)), joint="curve")
    place = round(center[0] - size / 2), round(center[1] - size / 2)
    shape = math.ceil(size), math.ceil(size)
    for mask, color in ((arrow, PAPER), (dark, INK)):
        picture.paste(
            color, (*place, place[0] + shape[0], place[1] + shape[1]), mask.resize(shape, Image.Resampling.BOX)
        )
    x, y = turned(0, -0.44)
    lettering.write((place[0] + x / fine, place[1] + y / fine), "N", size * 0.24, INK, "mm")


def draw_polygons(
    ground: Image.Image,
    polygons: NDArray[np.object_],
    colors: Sequence[Color],
    scale: tuple[float, float],
    *,
    line: float,
    tint: float,
) -> Image.Image:
    """Draw polygons over a picture: their colours as a tint, their boundaries as dark lines with smooth edges.

    Parameters
    ----------
    ground : Image
        What lies below; it stays as it is.
    polygons : object (shape,)
        Shapely polygons, the first drawn first.
    colors : sequence of (red, green, blue)
        One a polygon.
    scale : (float, float)
        Px of the picture for one unit of the polygons, across and down.
    line : float
        Width of lines, px.
    tint : float
        How much of the colour covers the ground, 0 to 1.
    """
    size = ground.width * FINE, ground.height * FINE
    layers = fills, inside, lines = Image.new("RGB", size), Image.new("L", size), Image.new("L", size)
    draw_line, thick = ImageDraw.Draw(lines), max(1, round(line * FINE))
    for polygon, color in zip(polygons, colors, strict=True):
        for part in shapely.get_parts(polygon):
            rings = [_points(ring, scale) for ring in (part.exterior, *part.interiors)]
            _fill(fills, inside, rings, color)
            for points in rings:
                draw_line.line(points, fill=255, width=thick, joint="curve")
    fills, inside, lines = (layer.resize(ground.size, Image.Resampling.BOX) for layer in layers)
    # colours are weighed with their cover already, so they are added to what shines through
    cover = inside.point(lambda level: round(255 - tint * level))
    tinted = ImageChops.add(
        fills.point(lambda level: round(tint * level)),
        ImageChops.multiply(ground, Image.merge("RGB", (cover, cover, cover))),
    )
    return Image.composite(Image.new("RGB", ground.size, INK), tinted, lines.point(lambda level: round(0.8 * level)))


Points = list[tuple[float, float]]


def _points(ring: shapely.LinearRing, scale: tuple[float, float]) -> Points:
    xy = shapely.get_coordinates(ring) * (scale[0] * FINE, scale[1] * FINE)
    return [(x, y) for x, y in xy.tolist()]


def _fill(fills: Image.Image, inside: Image.Image, rings: Sequence[Points], color: Color) -> None:
    """Fill a polygon; what lies in its holes stays as it is."""
    if len(rings) == 1:
        ImageDraw.Draw(fills).polygon(rings[0], fill=color)
        ImageDraw.Draw(inside).polygon(rings[0], fill=255)
        return
    across, down = zip(*rings[0], strict=True)
    left, top = max(0, math.floor(min(across))), max(0, math.floor(min(down)))
    right, bottom = min(fills.width, math.ceil(max(across)) + 1), min(fills.height, math.ceil(max(down)) + 1)
    if right <= left or bottom <= top:
        return
    mask = Image.new("L", (right - left, bottom - top))
    for number, points in enumerate(rings):
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in points], fill=0 if number else 255)
    for layer, paint in ((fills, color), (inside, 255)):
        layer.paste(paint, (left, top, right, bottom), mask)
