"""Lines of longitude and latitude over a map, and their labels at its left and lower edge."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoseg.report.framing import Frame

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEPS = (
    *(degrees * 3600.0 for degrees in (30, 20, 10, 5, 2, 1)),
    *(minutes * 60.0 for minutes in (30, 20, 10, 5, 2, 1)),
    *(30.0, 20.0, 10.0, 5.0, 2.0, 1.0, 0.5, 0.2, 0.1),
)
"""Arc seconds from one line to the next."""

APART = 25.0
"""Least distance of two lines on paper, mm, so that their labels do not touch."""

POINTS = 65
"""Points along each side of the map whose longitude and latitude are computed; lines are straight between them."""

MINUTE, SECOND = "\u2032", "\u2033"
"""Signs behind minutes and seconds."""

COLOR, LINE, ALPHA = "#3c4246", 0.35, 0.55
"""How lines look: colour, width in points, and opacity."""


@dataclass(frozen=True)
class Graticule:
    """Longitude and latitude of a map.

    Attributes
    ----------
    shape : (int, int)
        Height and width of the map, px.
    places : float64 (2, n, n)
        Longitude and latitude, degrees, of points from corner to corner; NaN where the CRS has no such place.
    side : float
        Longer side of the map on paper, mm.
    """

    shape: tuple[int, int]
    places: NDArray[np.float64]
    side: float

    @classmethod
    def of(cls, frame: Frame, side: float) -> Graticule | None:
        """Return the graticule of a frame; None where it lies on no ellipsoid, or around a pole."""
        places = frame.coordinates(POINTS)
        return None if places is None or np.isnan(places).all() else cls(frame.shape, places, side)

    @cached_property
    def step(self) -> float:
        """Arc seconds from line to line, the same for both kinds: the finest whose lines are far enough apart."""
        span = max(np.nanmax(degrees) - np.nanmin(degrees) for degrees in self.places) * 3600
        most = max(2.0, self.side / APART)
        return next((step for step in reversed(STEPS) if span / step <= most), STEPS[0])

    def levels(self, kind: int) -> NDArray[np.float64]:
        """Degrees of the lines of longitude (0) or latitude (1)."""
        low, high = np.nanmin(self.places[kind]) * 3600, np.nanmax(self.places[kind]) * 3600
        return np.arange(np.ceil(low / self.step), np.floor(high / self.step) + 1) * self.step / 3600

    def labels(self, kind: int) -> list[tuple[float, str]]:
        """Places along the lower edge (longitude, 0) or the left edge (latitude, 1), px, and what stands there."""
        height, width = self.shape
        edge, length = (self.places[0, -1], width) if kind == 0 else (self.places[1, :, 0], height)
        labels = []
        for level in self.levels(kind):
            before = np.flatnonzero((edge[:-1] - level) * (edge[1:] - level) <= 0)
            if len(before) and edge[before[0]] != edge[before[0] + 1]:
                at = before[0] + (level - edge[before[0]]) / (edge[before[0] + 1] - edge[before[0]])
                labels.append((at * length / (POINTS - 1), name_degrees(level, self.step, "EW" if kind == 0 else "NS")))
        return labels

    def draw(self, axes: Axes) -> None:
        """Draw lines and labels on axes whose units are the map's pixels, (0, 0) its upper left corner."""
        height, width = self.shape
        columns, rows = np.linspace(0, width, POINTS), np.linspace(0, height, POINTS)
        for kind, axis in ((0, axes.xaxis), (1, axes.yaxis)):
            levels = self.levels(kind)
            if len(levels):
                degrees = np.ma.masked_invalid(self.places[kind])
                axes.contour(
                    columns, rows, degrees, levels=levels, colors=COLOR, linewidths=LINE, linestyles="-", alpha=ALPHA
                )
            labels = self.labels(kind)
            axis.set_ticks([at for at, _ in labels], [text for _, text in labels])
        for label in axes.get_yticklabels():
            label.set(rotation=90, va="center")


def name_degrees(degrees: float, step: float, letters: str) -> str:
    """Degrees, minutes and seconds as fine as lines are apart, such as 75°40'W.

    Parameters
    ----------
    degrees : float
        Longitude, which may run on over the antimeridian, or latitude.
    step : float
        Arc seconds from line to line.
    letters : str
        What stands behind positive and negative values: ``"EW"`` or ``"NS"``.
    """
    if letters == "EW":
        degrees = (degrees + 180) % 360 - 180
    digits = 1 if step < 1 else 0
    seconds = round(abs(degrees) * 3600, digits)
    text = f"{int(seconds // 3600)}°"
    if step < 3600:
        text += f"{int(seconds % 3600 // 60):02d}{MINUTE}"
    if step < 60:
        text += f"{seconds % 60:0{3 + digits if digits else 2}.{digits}f}{SECOND}"
    return text if abs(degrees) in (0, 180) else text + letters[int(degrees < 0)]
