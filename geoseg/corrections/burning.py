"""Labels of a window with corrections in them.

What polygons do to a pixel depends on the pixel alone, so any window may be asked. It knows arrays and how classes are
ranked; nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from geoseg.corrections.layer import CorrectionLayer
from geoseg.grid import Window
from geoseg.probabilities import LEVELS, NODATA, Labelling, Labels, Stored, apply_threshold
from geoseg.vector.pixels import spans_inside

STRIP = 256
"""Rows of probabilities that are read at once, px."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Ranking:
    """How probable the classes of pixels are.

    Attributes
    ----------
    read : callable
        Gives the probabilities of a window: uint16 (class, y, x).
    classes : tuple of int
        Labels of the model, in the order of the probabilities.
    labelling : Labelling
        How labels of the results are made of these.
    """

    read: Callable[[Window], Stored]
    classes: tuple[int, ...]
    labelling: Labelling

    def best_without(self, window: Window, denied: Mapping[int, Bools]) -> tuple[Labels, Labels]:
        """Labels of the results, and their confidence, when some are denied.

        Parameters
        ----------
        window : Window
            Of the raster.
        denied : mapping of int to bool array
            Labels of the results, and which pixels they are denied: (y, x).

        Returns
        -------
        labels, confidence : uint8 arrays
            Shape (y, x); 255 and 0 where no class is left.
        """
        scores = self.read(window).astype(np.int32)
        for score, label in zip(scores, self._results(self.classes), strict=True):
            if label in denied:
                score[denied[label]] = -1
        best = scores.argmax(axis=0)
        highest = np.take_along_axis(scores, best[None], axis=0)[0]
        labels, integers = np.array(self.classes, np.uint8)[best], np.maximum(highest, 0).astype(np.uint16)
        found, confidence = apply_threshold(labels, integers)
        background = self.labelling.background
        has_none = highest < 0
        if background is not None:
            is_free = ~denied.get(self._results((background.value,))[0], np.zeros(window.shape, np.bool_))
            below, sure = apply_threshold(labels, integers, background)
            found, confidence = np.where(is_free, below, found), np.where(is_free, sure, confidence)
            has_none &= ~is_free
        return np.where(has_none, NODATA, self.labelling.results(found)), np.where(has_none, 0, confidence)

    def _results(self, labels: tuple[int, ...]) -> list[int]:
        found: list[int] = self.labelling.results(np.array(labels, np.uint8)).tolist()
        return found


@dataclass
class Patch:
    """Labels of a window while corrections are made.

    Attributes
    ----------
    window : Window
        Of the raster.
    labels, confidence : uint8 arrays
        Shape (y, x): as predicted, and then corrected.
    ranking : Ranking, optional
        Needed where classes are denied.
    """

    window: Window
    labels: Labels
    confidence: Labels
    ranking: Ranking | None = None
    denied: dict[int, Bools] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing is corrected yet."""
        self.labels, self.confidence = self.labels.copy(), self.confidence.copy()
        self.has_data: Bools = self.labels != NODATA
        self.corrected: Bools = np.zeros(self.labels.shape, np.bool_)

    def burn(self, layer: CorrectionLayer) -> None:
        """Do what the polygons of a layer say, in their order."""
        near = layer.near(self.window)
        if not len(near):
            return
        owners, rows, starts, stops = spans_inside(layer.shapes[near], self.window)
        for place, inside in self._masks(len(near), owners, rows, starts, stops):
            self.correct(inside, int(layer.shape_labels[near[place]]), denies=bool(layer.shape_denies[near[place]]))

    def correct(self, inside: Bools, label: int, *, denies: bool) -> None:
        """Give pixels a label, or any but that one; bool (y, x)."""
        inside = inside & self.has_data
        if not denies:
            self._set(inside, label, LEVELS)
            for mask in self.denied.values():
                mask[inside] = False
            return
        self.denied.setdefault(label, np.zeros(inside.shape, np.bool_))[inside] = True
        self._rank(inside & (self.labels == label))

    def codes(self) -> NDArray[np.uint16]:
        """What is kept of it: label * 256 + confidence of what is corrected, 0 elsewhere."""
        codes = self.labels.astype(np.uint16) * np.uint16(256) + self.confidence
        return np.where(self.corrected, codes, np.uint16(0))

    def _set(self, pixels: Bools, labels: Labels | int, confidence: Labels | int) -> None:
        self.labels[pixels], self.confidence[pixels] = labels, confidence
        self.corrected |= pixels

    def _rank(self, wrong: Bools) -> None:
        """Give pixels the best class that is not denied; those that have none stay."""
        rows = np.flatnonzero(wrong.any(axis=1))
        for top in range(int(rows[0]), int(rows[-1]) + 1, STRIP) if len(rows) else ():
            strip = slice(top, min(top + STRIP, int(rows[-1]) + 1))
            cols = np.flatnonzero(wrong[strip].any(axis=0))
            if not len(cols) or self.ranking is None:
                continue
            part = strip, slice(int(cols[0]), int(cols[-1]) + 1)
            height, width = wrong[part].shape
            window = Window(self.window.y + top, self.window.x + part[1].start, height, width)
            labels, confidence = self.ranking.best_without(
                window, {label: mask[part] for label, mask in self.denied.items()}
            )
            chosen = wrong[part] & (labels != NODATA)
            pixels = np.zeros_like(wrong)
            pixels[part] = chosen
            self._set(pixels, labels[chosen], confidence[chosen])

    def _masks(self, count: int, *spans: NDArray[np.int64]) -> Iterator[tuple[int, Bools]]:
        """The pixels of each polygon that has any, in order."""
        owners, rows, starts, stops = spans
        begins = np.searchsorted(owners, np.arange(count + 1))
        for place in np.flatnonzero(np.diff(begins)).tolist():
            inside = np.zeros(self.labels.shape, np.bool_)
            for span in range(begins[place], begins[place + 1]):
                inside[rows[span], starts[span] : stops[span]] = True
            yield place, inside
