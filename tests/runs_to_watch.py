"""What the engine says of a made-up run, so that watching it needs no workers and no model."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from geoseg.engine import Event, Layout, Started
from geoseg.grid import Window
from geoseg.vector import StyledClass

CLASSES = (StyledClass(3, "water", "#419bdf"), StyledClass(7, "trees", "#397d49"))


def striped(window: Window) -> NDArray[np.uint8]:
    """Labels: 3 in rows below 100, 7 beyond, and nodata right of column 150."""
    rows, cols = np.mgrid[window.y : window.bottom, window.x : window.right]
    return np.where(cols >= 150, 255, np.where(rows < 100, 3, 7)).astype(np.uint8)


def layout(
    rows: tuple[int, ...] = (0, 80, 160, 200),
    cols: tuple[int, ...] = (0, 80, 160),
    places: frozenset[tuple[int, int]] | None = None,
    read: Callable[[Window], NDArray[np.uint8]] = striped,
) -> Layout:
    """Three rows and two columns of blocks, the last row a low one."""
    return Layout(rows, cols, places, CLASSES, 255, "finish", read)


def started(blocks: Layout | None = None, **more: object) -> Started:
    """A run of six blocks and one node."""
    made = layout() if blocks is None else blocks
    count = (len(made.rows) - 1) * (len(made.cols) - 1) if made.places is None else len(made.places)
    totals = {"predict": count, "finish": count, "join": 1}
    given = {"planned_bytes": 900 * 2**20, "estimated_seconds": 60.0} | more
    return Started("mapping with box: 160 x 200 px, 6 blocks, 2 workers", "", totals, layout=made, **given)  # type: ignore[arg-type]


def done(stage: str, *place: int, seconds: float = 2.0) -> Event:
    """A task that is done."""
    return Event(stage, "done", place, seconds)  # type: ignore[arg-type]


def failed(stage: str, *place: int, message: str = "the disk is full.") -> Event:
    """A task whose every try has failed."""
    return Event(stage, "failed", place, message=message)  # type: ignore[arg-type]
