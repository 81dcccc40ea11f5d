"""How far each block is, on a grid of cells: a block each, or many where there are more than a screen can show.

A cell is one byte: 0 nothing runs there, 1 waiting, 2 to 253 the share of its stages that is done, 254 done, 255 one
of its blocks has failed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.engine import Layout

CELLS = 300
"""Cells across and down at most; a page draws the map on some 600 px."""

SKIPPED, WAITING, DONE, FAILED = 0, 1, 254, 255

_PARTS = DONE - 2
"""Shades of a cell that is neither waiting nor done."""


class BlockMap:
    """Blocks by state.

    Parameters
    ----------
    layout : Layout
        The blocks.
    stages : int
        How many stages each of them goes through.
    """

    def __init__(self, layout: Layout, stages: int) -> None:
        self.layout, self.stages = layout, stages
        shape = len(layout.rows) - 1, len(layout.cols) - 1
        self.factor = -(-max(shape) // CELLS)
        self._runs = _running(shape, layout.places)
        self._steps = np.zeros(shape, np.uint8)
        self._failed = np.zeros(shape, np.bool_)
        blocks = self._coarse(self._runs)
        self._todo, self._cells_done = blocks * stages, np.zeros_like(blocks)
        self._cells_failed = np.zeros(blocks.shape, np.bool_)
        running = int(self._runs.sum())
        self.counts = {"waiting": running, "part": 0, "done": 0, "failed": 0, "skipped": self._runs.size - running}
        self.changed: set[tuple[int, int]] = set()

    @property
    def shape(self) -> tuple[int, int]:
        """Cells down and across."""
        down, across = self._todo.shape
        return down, across

    @property
    def edges(self) -> tuple[list[int], list[int]]:
        """Where rows and columns of cells begin, px, and the end of the raster."""
        rows, cols = ([*starts[: -1 : self.factor], starts[-1]] for starts in (self.layout.rows, self.layout.cols))
        return rows, cols

    def step(self, place: tuple[int, ...]) -> None:
        """One more stage of a block is done."""
        row, col = place
        if not self._runs[row, col] or self._steps[row, col] == self.stages:
            return
        before = self._state(row, col)
        self._steps[row, col] += 1
        self._cells_done[self._cell(row, col)] += 1
        self._count(before, row, col)

    def fail(self, place: tuple[int, ...]) -> None:
        """A block has failed; it stays so, whatever else is done of it."""
        row, col = place
        if not self._runs[row, col]:
            return
        before = self._state(row, col)
        self._failed[row, col] = True
        self._cells_failed[self._cell(row, col)] = True
        self._count(before, row, col)

    def values(self) -> NDArray[np.uint8]:
        """All cells, uint8 (y, x)."""
        todo, done = np.maximum(self._todo, 1), self._cells_done
        values = np.where(done == 0, WAITING, 2 + (done * _PARTS) // todo)
        values[done == todo] = DONE
        values[self._cells_failed] = FAILED
        values[self._todo == 0] = SKIPPED
        return values.astype(np.uint8)

    def take_changes(self) -> list[tuple[int, int]]:
        """Index in raster order, and value, of cells that have changed since this was last asked."""
        cells, self.changed = sorted(self.changed), set()
        return [(row * self.shape[1] + col, self._value(row, col)) for row, col in cells]

    def _value(self, row: int, col: int) -> int:
        if self._cells_failed[row, col]:
            return FAILED
        done, todo = int(self._cells_done[row, col]), int(self._todo[row, col])
        if done in (0, todo):
            return DONE if done else WAITING
        return 2 + done * _PARTS // todo

    def _cell(self, row: int, col: int) -> tuple[int, int]:
        return row // self.factor, col // self.factor

    def _state(self, row: int, col: int) -> str:
        if self._failed[row, col]:
            return "failed"
        steps = int(self._steps[row, col])
        return "waiting" if steps == 0 else "done" if steps == self.stages else "part"

    def _count(self, before: str, row: int, col: int) -> None:
        self.counts[before] -= 1
        self.counts[self._state(row, col)] += 1
        self.changed.add(self._cell(row, col))

    def _coarse(self, blocks: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Number of blocks in each cell."""
        starts = (np.arange(0, size, self.factor) for size in blocks.shape)
        rows, cols = starts
        return np.add.reduceat(np.add.reduceat(blocks.astype(np.int64), rows, axis=0), cols, axis=1)


def _running(shape: tuple[int, int], places: frozenset[tuple[int, int]] | None) -> NDArray[np.bool_]:
    """Which blocks run, bool (row, column)."""
    if places is None:
        return np.ones(shape, np.bool_)
    runs = np.zeros(shape, np.bool_)
    rows, cols = zip(*places, strict=True) if places else ((), ())
    runs[list(rows), list(cols)] = True
    return runs
