"""Draw the figure of docs/footprints.md: made-up houses as a network might see them, and their regularized outlines.

``python -m benchmarks.draw_footprints docs/footprints.svg``
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from scipy.ndimage import gaussian_filter

from benchmarks.bench_footprints import Case, by_geoseg, geometry, traced

HEIGHT, WIDTH, SCALE = 150, 300, 4
NORTH_UP = Affine(1, 0, 0, 0, -1, 0)

HOUSE = shapely.box(0, 0, 30, 20)
FORMS = [
    (shapely.box(0, 0, 46, 34) - shapely.box(24, 16, 46, 34), 0.35, 40, 12),
    (shapely.box(0, 0, 50, 44) - shapely.box(16, 14, 34, 30), -0.3, 78, 26),
    (shapely.Polygon([(0, 0), (44, 0), (44, 14), (28, 30), (0, 30)]), 0.12, 152, 14),
    (shapely.Point(0, 0).buffer(15, 64), 0.0, 232, 30),
    (shapely.box(0, 0, 40, 26) | shapely.box(10, 26, 28, 44), 0.5, 280, 8),
    *((shapely.box(20 * k, 0, 20 * (k + 1), 30 + 8 * (k % 2)), -0.16, 26, 98) for k in range(4)),
    (shapely.box(0, 0, 44, 28), 0.22, 140, 82),
    (shapely.box(0, 29.5, 40, 52), 0.22, 140, 82),
    (shapely.union_all([shapely.box(0, 0, 56 - 13 * k, 22 + 9 * k) for k in range(3)]), -0.4, 212, 98),
]
"""Forms, how they are turned, and where they lie, px."""


def town() -> NDArray[np.int64]:
    """The houses, numbered, with edges that waver."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    labels, best, together = np.zeros((HEIGHT, WIDTH), np.int64), np.zeros((HEIGHT, WIDTH)), np.zeros((HEIGHT, WIDTH))
    for number, (form, angle, left, top) in enumerate(FORMS, start=1):
        cos, sin = math.cos(angle), math.sin(angle)
        u, v = cos * (x - left) + sin * (y - top), cos * (y - top) - sin * (x - left)
        soft = gaussian_filter(shapely.contains_xy(form, u, v).astype(float), 1.2)
        waves = gaussian_filter(rng.standard_normal(soft.shape), 2.2)
        score = soft + 0.16 * waves / waves.std() * (soft > 0.02) * (soft < 0.98)
        labels[score > best] = number
        best, together = np.maximum(score, best), together + score
    return np.where(together > 0.5, labels, 0)


def path(polygon: shapely.Polygon) -> str:
    """A polygon as SVG has it."""
    rings = [polygon.exterior, *polygon.interiors]
    return " ".join(
        "M" + " L".join(f"{SCALE * x:.1f},{-SCALE * y:.1f}" for x, y in ring.coords[:-1]) + " Z" for ring in rings
    )


def main(output: str) -> None:
    """Write the figure."""
    case = Case(town(), NORTH_UP, CRS("EPSG:32637"), {})
    pixels, walls = " ".join(map(path, geometry(traced(case, 0.0)))), by_geoseg(case)[1]
    drawn = "\n".join(f'<path d="{path(polygon)}"/>' for polygon in walls)
    Path(output).write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * SCALE} {HEIGHT * SCALE}">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n'
        f'<path d="{pixels}" fill="#d9e2ec" fill-rule="evenodd" stroke="#9fb3c8" stroke-width="1"/>\n'
        f'<g fill="none" stroke="#c0392b" stroke-width="2.5" stroke-linejoin="round">\n{drawn}\n</g>\n</svg>\n'
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
