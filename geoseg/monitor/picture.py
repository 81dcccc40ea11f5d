"""A small picture of the labels that grows as blocks are finished.

Each of its pixels shows the label in its middle, so a block is read only when a middle lies in it. Reading takes time
from workers on the same machine: it is done when somebody looks, and never for more than a fixed share of the time
that the run has taken so far; what cannot be shown now waits.
"""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.engine import Layout

PIXELS = 448
"""The longer side of the picture, px."""

SHARE = 0.01
"""Of one core's time, that may be spent on the picture."""

BURST = 0.1
"""Seconds that are spent at once at most, so that whoever waits for the picture hears of the rest of the run too."""

EMPTY, NODATA = 0, 255
"""Picture values where nothing is known yet, and where there is no class; 1 to 254 are entries of the legend."""

COLORS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#ee8866", "#44bb99", "#99ddff")
"""For classes that bring none, told apart by colour-blind people too (Paul Tol, Colour Schemes, 2021, bright and
light)."""

Tile = tuple[int, int, NDArray[np.uint8]]
"""Column and row of the upper left pixel, and values (y, x)."""


class LabelPicture:
    """The picture of one run.

    Parameters
    ----------
    layout : Layout
        The blocks, their classes, and how labels are read.

    Attributes
    ----------
    values : ndarray of uint8, shape (y, x)
        Entries of the legend, counted from 1; `EMPTY` and `NODATA` besides.
    legend : dict
        Name and colour, ``"#rrggbb"``, by label.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        height, width = layout.rows[-1], layout.cols[-1]
        scale = min(1.0, PIXELS / max(height, width))
        self.shape = max(1, round(height * scale)), max(1, round(width * scale))
        self._ys, self._xs = (
            (2 * np.arange(count) + 1) * length // (2 * count)
            for count, length in zip(self.shape, (height, width), strict=True)
        )
        self.values = np.full(self.shape, EMPTY, np.uint8)
        self._waiting: deque[tuple[int, ...]] = deque()
        self._spent = 0.0
        self.legend = {item.value: (item.name, item.color) for item in layout.classes}
        self._entries = {value: entry for entry, value in enumerate(self.legend, start=1)}

    def add(self, place: tuple[int, ...]) -> None:
        """The labels of a block can be read."""
        self._waiting.append(place)

    def draw(self, elapsed: float) -> list[Tile]:
        """Read some of the blocks that wait, as many as a run of so many seconds can spare."""
        tiles, begin = [], time.monotonic()
        while self._waiting and self._spent <= SHARE * elapsed and time.monotonic() - begin < BURST:
            tile = self._tile(self._waiting.popleft())
            if tile is not None:
                tiles.append(tile)
        return tiles

    def _tile(self, place: tuple[int, ...]) -> Tile | None:
        window = self._layout.window(*place)
        top, bottom = np.searchsorted(self._ys, (window.y, window.bottom))
        left, right = np.searchsorted(self._xs, (window.x, window.right))
        if top == bottom or left == right:
            return None
        start = time.thread_time()
        try:
            labels = self._layout.read(window)
        except OSError:
            return None  # it is a picture: the run itself says what cannot be read
        middles = np.ix_(self._ys[top:bottom] - window.y, self._xs[left:right] - window.x)
        values = self._as_entries(labels[middles])
        self.values[top:bottom, left:right] = values
        self._spent += time.thread_time() - start
        return int(left), int(top), values

    def _as_entries(self, labels: NDArray[Any]) -> NDArray[np.uint8]:
        """Labels as entries of the legend, which grows by classes that nobody has announced."""
        found, inverse = np.unique(labels, return_inverse=True)
        entries = np.array([self._entry(int(value)) for value in found], np.uint8)
        return entries[inverse].reshape(labels.shape)

    def _entry(self, label: int) -> int:
        if label == self._layout.nodata:
            return NODATA
        if label not in self._entries:
            if len(self._entries) == NODATA - 1:
                return NODATA
            self._entries[label] = len(self._entries) + 1
            self.legend[label] = str(label), COLORS[(len(self._entries) - 1) % len(COLORS)]
        return self._entries[label]
