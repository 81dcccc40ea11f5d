"""The task panoptic: how well maps of stuff and things agree, counted in windows.

It knows label rasters with rasters of objects; the measure is that of `panoptic`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import EvaluationError
from geoseg.evaluation.classes import IGNORE
from geoseg.evaluation.grid import EvaluationGrid, bring_onto, make_evaluation_grid, without_nodata
from geoseg.evaluation.inputs import EvaluationInput
from geoseg.evaluation.label_sources import nothing_compared
from geoseg.evaluation.naming import PREDICTION, TRUTH, Naming
from geoseg.evaluation.objects import Progress, RasterObjects
from geoseg.evaluation.overlaps import NOTHING, VOID, Integers, Overlaps, Tally, runs_of
from geoseg.evaluation.panoptic import BITS, PanopticScores, count_segments, dense
from geoseg.evaluation.report import Cell, Table
from geoseg.evaluation.semantic_maps import unique_names
from geoseg.grid import Window
from geoseg.options import EvaluationOptions
from geoseg.raster import Raster, read_labels, read_legend
from geoseg.vector import Region

Bools = NDArray[np.bool_]

KINDS: dict[str, bool | None] = {"all": None, "things": True, "stuff": False}
"""Classes over which means are taken."""

MOST = 0.5
"""A class has objects when more of its true pixels than this share belong to one."""


@dataclass(frozen=True, eq=False)
class PanopticMapScores:
    """Scores of a panoptic map.

    Attributes
    ----------
    panoptic : PanopticScores
        Panoptic quality by class.
    known, compared : int
        Pixels of known truth, and those among them that the prediction reaches.
    notes : tuple of str
        What a person should know.
    """

    panoptic: PanopticScores
    known: int
    compared: int
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Every number by name."""
        scores = self.panoptic
        return {
            **{name: self._means(isthing) for name, isthing in KINDS.items()},
            "pixels": self.compared,
            "compared": self.compared / self.known if self.known else math.nan,
            "classes": {name: self._class(place) for place, name in enumerate(scores.names)},
        }

    def _means(self, isthing: bool | None) -> dict[str, float]:
        scores = self.panoptic
        measures = {"pq": scores.pq, "sq": scores.sq, "rq": scores.rq}
        return {name: scores.mean(values, isthing=isthing) for name, values in measures.items()}

    def _class(self, place: int) -> dict[str, Any]:
        scores = self.panoptic
        _, pairs, spurious, missed = scores.counts[place].tolist()
        return {
            "isthing": scores.isthing[place],
            "pq": scores.pq[place],
            "sq": scores.sq[place],
            "rq": scores.rq[place],
            "pairs": int(pairs),
            "spurious": int(spurious),
            "missed": int(missed),
        }

    def tables(self) -> list[Table]:
        """Means, then classes."""
        means: tuple[tuple[Cell, ...], ...] = tuple(
            (name, *self._means(isthing).values()) for name, isthing in KINDS.items()
        )
        rows: list[tuple[Cell, ...]] = []
        for place, name in enumerate(self.panoptic.names):
            isthing, *numbers = self._class(place).values()
            rows.append((name, "thing" if isthing else "stuff", *numbers))
        headings = ("class", "", "PQ", "SQ", "RQ", "pairs", "spurious", "missed")
        return [Table("panoptic quality", ("", "PQ", "SQ", "RQ"), means), Table("by class", headings, tuple(rows))]


@dataclass(frozen=True, eq=False)
class _Panoptic:
    """Labels and objects of an input on the grid, and the labels as if no file declared nodata."""

    labels: Raster
    objects: RasterObjects
    whole: Raster

    @classmethod
    def of(cls, side: EvaluationInput, truth: EvaluationInput) -> _Panoptic:
        """Bring an input onto the truth's grid."""
        if side.labels is None or side.instances is None or side.is_file or truth.labels is None:
            flag = "--truth-instances" if side.role == "truth" else "--instances"
            raise EvaluationError(
                f"{side.name} lacks labels or instances, and panoptic quality needs both; give a folder with "
                f"labels.tif and instances.tif, or a label raster and {flag}"
            )
        geobox, names = truth.labels.geobox, (side.name, truth.name)
        labels, instances = (bring_onto(raster, geobox, names) for raster in (side.labels, side.instances))
        return cls(labels, RasterObjects.of(instances), without_nodata(labels))

    def read(self, window: Window, naming: Naming, side: int) -> tuple[NDArray[np.uint8], Integers, Bools]:
        """Class indices, 255 = none; numbers of objects, 0 = none; and where the labels reach."""
        values, known = read_labels(self.labels, window)
        reach = known if known.all() else self.whole.read(window)[1]
        objects, _ = self.objects.read(window)
        return naming.indices(side, values, known), objects, reach


def evaluate_panoptic(
    truth: EvaluationInput,
    prediction: EvaluationInput,
    settings: EvaluationOptions,
    region: Region | None = None,
    progress: Progress | None = None,
) -> PanopticMapScores:
    """Evaluate a panoptic map; where the prediction has no class, what is true there is missed.

    Parameters
    ----------
    truth, prediction : EvaluationInput
        With labels and instances.
    settings : EvaluationOptions
        Options.
    region : Region, optional
        What counts; segments are cut to it on both sides.
    progress : callable, optional
        Called after each window.

    Raises
    ------
    EvaluationError
        They cannot be compared.
    """
    if settings.classes is not None and not hasattr(settings.classes, "keys"):
        raise EvaluationError("panoptic quality covers all classes; omit --classes, or give names: 1=water")
    one, other = _Panoptic.of(truth, truth), _Panoptic.of(prediction, truth)
    grid = make_evaluation_grid(one.labels.geobox, [one.labels, other.labels], region)
    naming = Naming(read_legend(one.labels).names, read_legend(other.labels).names, settings.classes, settings.ignore)
    tally, known, compared = _count(one, other, grid, naming, progress)
    if not compared:
        raise nothing_compared((prediction.name, truth.name), (1, known))
    columns, areas = tally.total()
    order = naming.in_order()
    isthing = _things(columns, areas, order, naming, settings)
    overlaps = _segments(columns, areas, order, isthing)
    scores = PanopticScores(count_segments(overlaps, len(order)), unique_names(naming, order), tuple(isthing))
    return PanopticMapScores(scores, known, compared, naming.notes)


def _count(
    one: _Panoptic, other: _Panoptic, grid: EvaluationGrid, naming: Naming, progress: Progress | None
) -> tuple[Tally, int, int]:
    """Areas by true class, true object, predicted class and predicted object; pixels of known truth, and compared."""
    tally, known, compared = Tally(4), 0, 0
    windows = grid.windows()
    for done, window in enumerate(windows, 1):
        true, true_objects, _ = one.read(window, naming, TRUTH)
        found, found_objects, reach = other.read(window, naming, PREDICTION)
        inside = grid.inside(window)
        judged = inside & reach
        known += int(np.count_nonzero((true != IGNORE) & inside))
        compared += int(np.count_nonzero((true != IGNORE) & judged))
        tally.add(*runs_of(*(layer[judged] for layer in (true, true_objects, found, found_objects))))
        if progress is not None:
            progress(done, len(windows))
    return tally, known, compared


def _things(
    columns: tuple[Integers, ...], areas: NDArray[Any], order: list[int], naming: Naming, settings: EvaluationOptions
) -> list[bool]:
    """Which classes have objects: those that are named, else those most of whose pixels have; the truth decides."""
    if settings.thing_classes is not None:
        return [named in {naming.key(entry) for entry in settings.thing_classes} for named in map(naming.key_at, order)]
    shares = []
    for labels, objects in (columns[:2], columns[2:]):
        every = np.bincount(labels, areas, IGNORE + 1)
        shares.append(np.bincount(labels, areas * (objects > NOTHING), IGNORE + 1) / np.maximum(every, 1))
        shares[-1][every == 0] = np.nan
    share = np.where(np.isnan(shares[0]), shares[1], shares[0])
    return [bool(share[index] > MOST) for index in order]


def _segments(
    columns: tuple[Integers, ...], areas: NDArray[Any], order: list[int], isthing: Sequence[bool]
) -> Overlaps:
    """Overlaps of segments: all of a class of stuff is one, and a thing without an object is none."""
    places = np.full(IGNORE + 1, VOID, np.int64)
    places[order] = np.arange(len(order))
    things = np.append(np.array(isthing, np.bool_), [False])
    sides = []
    for (labels, objects), none in ((columns[:2], VOID), (columns[2:], NOTHING)):
        place = places[labels]
        is_thing = things[place]
        numbers = (place + 1 << BITS) + np.where(is_thing, dense(objects), 0)
        sides.append(np.where((place == VOID) | (is_thing & (objects == NOTHING)), none, numbers))
    tally = Tally(2)
    tally.add((sides[0], sides[1]), areas)
    return Overlaps.of_tallies(tally)
