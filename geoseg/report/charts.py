"""Geometry of charts; ``assets/macros.html`` draws them.

It knows numbers; nothing of runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray


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


class Column(NamedTuple):
    """A rectangle, in units of the chart."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Histogram:
    """Stacked columns, in units of their own; the page stretches them.

    Attributes
    ----------
    series : sequence of Series
        From the bottom to the top, all with as many bins.
    ticks : sequence of (float, str)
        Where names stand below the columns, in bins from the left edge.
    title : str
        What a screen reader says.
    highest : str
        Name of the largest column's height.
    """

    series: Sequence[Series]
    ticks: Sequence[tuple[float, str]]
    title: str
    highest: str

    left: ClassVar[int] = 44
    right: ClassVar[int] = 560
    top: ClassVar[int] = 14
    base: ClassVar[int] = 146
    height: ClassVar[int] = 170

    @property
    def step(self) -> float:
        """Width of a bin."""
        return (self.right - self.left) / len(self.series[0].counts)

    def columns(self) -> Iterator[tuple[Series, list[Column]]]:
        """Each series with its columns that are not empty."""
        step, floor = self.step, np.zeros(len(self.series[0].counts))
        largest = max(float(np.sum([item.counts for item in self.series], axis=0).max()), 1e-12)
        for item in self.series:
            heights = item.counts / largest * (self.base - self.top)
            yield (
                item,
                [
                    Column(
                        self.left + index * step + 0.6,
                        self.base - floor[index] - height,
                        max(step - 1.2, 0.8),
                        max(height, 0.6),
                    )
                    for index, height in enumerate(heights)
                    if height > 0
                ],
            )
            floor += heights
