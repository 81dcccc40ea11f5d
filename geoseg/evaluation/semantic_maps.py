"""The task semantic: how well two maps of classes agree, pixel by pixel and along boundaries, read in windows.

It knows label sources; scores of counts are `Scores` and `BoundaryScores`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.boundaries import BoundaryScores, count_boundaries
from geoseg.evaluation.classes import IGNORE, Scores, confusion, ratio
from geoseg.evaluation.grid import EvaluationGrid
from geoseg.evaluation.inputs import EvaluationInput
from geoseg.evaluation.label_sources import LabelPair, nothing_compared, pair_labels
from geoseg.evaluation.naming import CAPACITY, Naming
from geoseg.evaluation.objects import Progress
from geoseg.evaluation.reliability import Reliability, confidence_of
from geoseg.evaluation.report import Table
from geoseg.grid import Window
from geoseg.options import EvaluationOptions
from geoseg.vector import Region


@dataclass(frozen=True, eq=False)
class SemanticScores:
    """Scores of a map of classes.

    Attributes
    ----------
    pixels : Scores
        Confusion counts of all classes, and what follows from them.
    boundaries : BoundaryScores
        The same of boundary pixels.
    values : tuple of (int or None)
        Value of each class; None for ``"other"``, all classes that were not asked for, which no mean counts.
    tolerance : float
        Px that boundaries may be apart.
    pixel_size : float or None
        EvaluationInput of a pixel, m.
    known, compared : int
        Pixels of known truth, and those among them that have a prediction.
    notes : tuple of str
        What a person should know.
    reliability : Reliability or None
        Compared pixels by confidence; None where the prediction has none.
    """

    pixels: Scores
    boundaries: BoundaryScores
    values: tuple[int | None, ...]
    tolerance: float
    pixel_size: float | None
    known: int
    compared: int
    notes: tuple[str, ...] = ()
    reliability: Reliability | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Class names."""
        return self.pixels.names

    def mean(self, values: NDArray[np.float64], occurs: NDArray[np.bool_]) -> float:
        """Mean of a value per class, over the classes that truly occur and were asked for; NaN when there are none."""
        counted = occurs & np.array([value is not None for value in self.values], np.bool_)
        return float(values[counted].mean()) if counted.any() else float("nan")

    @property
    def mean_iou(self) -> float:
        """Mean IoU."""
        return self.means["mean_iou"]

    @property
    def means(self) -> dict[str, float]:
        """Means of the metrics of classes, by name, over the classes that truly occur, or have a boundary."""
        return {
            metric.mean: self.mean(metric.values(self), metric.occurs(self)) for metric in CLASS_METRICS if metric.mean
        }

    def summary(self) -> dict[str, Any]:
        """Every number by name."""
        metres = None if self.pixel_size is None else self.tolerance * self.pixel_size
        return {
            **self._of_map(),
            **self.means,
            "tolerance_px": self.tolerance,
            "tolerance_m": metres,
            "pixels": self.compared,
            "compared": self.compared / self.known if self.known else math.nan,
            "reliability": None if self.reliability is None else self.reliability.rows,
            "classes": {name: self._class(place) for place, name in enumerate(self.names)},
            "confusion": {"classes": self.names, "counts": self.pixels.counts},
        }

    def _of_map(self) -> dict[str, float]:
        """The numbers of the whole map."""
        error = {} if self.reliability is None else {"calibration_error": self.reliability.error}
        return {name: value(self) for name, value in MAP_METRICS.items()} | error

    def _class(self, place: int) -> dict[str, Any]:
        """The numbers of a class."""
        counts = self.pixels.counts
        return {
            "value": self.values[place],
            **{metric.name: float(metric.values(self)[place]) for metric in CLASS_METRICS},
            "true_pixels": int(counts[place].sum()),
            "predicted_pixels": int(counts[:, place].sum()),
        }

    def tables(self) -> list[Table]:
        """All classes, and their means; then the confusion, unless it is too wide to be read."""
        columns = (*(metric.name for metric in CLASS_METRICS), "true_pixels")
        rows = [(name, *(self._class(place)[key] for key in columns)) for place, name in enumerate(self.names)]
        means = ("mean", *(self.means.get(metric.mean) for metric in CLASS_METRICS), self.compared)
        headings = ("class", *(metric.heading for metric in CLASS_METRICS), "px")
        title = ", ".join(f"{name} {value:.4f}" for name, value in self._of_map().items())
        tables = [Table(f"{title}; boundaries within {self.tolerance:g} px", headings, (*rows, means))]
        if len(self.names) <= WIDEST:
            counts = self.pixels.counts
            shares = ratio(counts, np.broadcast_to(counts.sum(axis=1, keepdims=True), counts.shape)).tolist()
            confused = tuple((name, *row) for name, row in zip(self.names, shares, strict=True))
            tables.append(Table("share of each true class, a row, by prediction", ("", *self.names), confused))
        return tables


@dataclass(frozen=True)
class Metric:
    """One row of the table of metrics of classes.

    Attributes
    ----------
    name : str
        Key in JSON.
    heading : str
        Of its column, for people.
    values : callable
        Scores to float64, shape (class,), NaN where there is none.
    mean : str
        Key of its mean in JSON; empty where no mean is printed.
    occurs : callable
        Scores to bool, shape (class,): classes that the mean counts.
    """

    name: str
    heading: str
    values: Callable[[SemanticScores], NDArray[np.float64]]
    mean: str = ""
    occurs: Callable[[SemanticScores], NDArray[np.bool_]] = lambda scores: scores.pixels.counts.sum(axis=1) > 0


CLASS_METRICS = (
    Metric("iou", "IoU", lambda scores: scores.pixels.iou, "mean_iou"),
    Metric("f1", "F1", lambda scores: scores.pixels.f1, "mean_f1"),
    Metric("precision", "precision", lambda scores: scores.pixels.precision),
    Metric("recall", "recall", lambda scores: scores.pixels.recall),
    Metric(
        "boundary_f1",
        "boundary F1",
        lambda scores: scores.boundaries.f1,
        "boundary_f1",
        lambda scores: scores.boundaries.counts[:, 3] > 0,
    ),
)
"""The table of metrics of classes, in the order in which they are printed."""

MAP_METRICS: dict[str, Callable[[SemanticScores], float]] = {"accuracy": lambda scores: scores.pixels.accuracy}
"""The table of metrics of a whole map, by name, in JSON and for people."""

WIDEST = 10
"""Classes of the widest confusion that is printed."""


def evaluate_semantic(
    truth: EvaluationInput,
    prediction: EvaluationInput,
    settings: EvaluationOptions,
    region: Region | None = None,
    progress: Progress | None = None,
) -> SemanticScores:
    """Evaluate a map of classes.

    Parameters
    ----------
    truth, prediction : EvaluationInput
        With labels, or features that are burnt onto the other's grid.
    settings : EvaluationOptions
        Options.
    region : Region, optional
        What counts.
    progress : callable, optional
        Called after each window.

    Raises
    ------
    EvaluationError
        They cannot be compared.
    """
    pair = pair_labels(truth, prediction, settings, region)
    tolerance = _pixels(settings, pair.grid)
    counts, edges = np.zeros((CAPACITY, CAPACITY), np.int64), np.zeros((CAPACITY, 4), np.int64)
    confidence, reliability = confidence_of(prediction, pair.grid, truth.name), Reliability.empty()
    known = labelled = 0
    windows = pair.grid.windows()
    for done, window in enumerate(windows, 1):
        true, found, core = _read(pair, window, int(tolerance) + 1)
        place = core.slices()
        counts += confusion(true[place], found[place], CAPACITY)
        edges += count_boundaries(true, found, CAPACITY, tolerance, core)
        known += int(np.count_nonzero(true[place] != IGNORE))
        labelled += int(np.count_nonzero(found[place] != IGNORE))
        if confidence is not None:
            reliability += confidence.count(window, true[place], found[place])
        if progress is not None:
            progress(done, len(windows))
    compared = int(counts.sum())
    if not compared:
        raise nothing_compared((prediction.name, truth.name), (labelled, known))
    order, naming = pair.naming.in_order(), pair.naming
    chosen = [index for index in order if not naming.is_other(index)]
    if settings.classes is not None and not counts[chosen].sum() + counts[:, chosen].sum():
        raise EvaluationError(
            f"neither {truth.name} nor {prediction.name} has a pixel of the classes that are evaluated "
            f"({', '.join(map(str, settings.classes))}); give others, or leave classes out"
        )
    pair.check_classes([naming.value(index) for index in order])
    names = unique_names(naming, order)
    return SemanticScores(
        Scores(counts[np.ix_(order, order)], names),
        BoundaryScores(edges[order], names),
        tuple(naming.value(index) for index in order),
        tolerance,
        pair.grid.pixel_size,
        known,
        compared,
        naming.notes,
        None if confidence is None else reliability,
    )


def unique_names(naming: Naming, order: list[int]) -> tuple[str, ...]:
    """Names of classes, with the value behind those that are alike."""
    names = [naming.name(index) for index in order]
    return tuple(
        name if names.count(name) == 1 else f"{name} ({naming.value(index)})"
        for name, index in zip(names, order, strict=True)
    )


def _read(pair: LabelPair, window: Window, margin: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Window]:
    """Class indices of a window and its surroundings, and where the window lies in them."""
    wide = Window(window.y - margin, window.x - margin, window.height + 2 * margin, window.width + 2 * margin)
    seen = wide.intersect(pair.grid.whole)
    return *pair.read(seen), window.relative_to(seen)


def _pixels(settings: EvaluationOptions, grid: EvaluationGrid) -> float:
    """The tolerance in px of the grid."""
    length, unit = settings.length()
    if unit == "px":
        return length
    if grid.pixel_size is None:
        raise EvaluationError(
            f"a tolerance of {length:g} m cannot be converted to px without a CRS; give pixels, such as 2px"
        )
    return length / grid.pixel_size
