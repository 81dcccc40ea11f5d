"""Classes of an input, read by window: a raster's values, or those of polygons that are burnt onto the grid.

It knows inputs, grids and windows; which values are one class stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.errors import EvaluationError
from geoseg.evaluation.burning import Burnt
from geoseg.evaluation.features import CLASS, NO_CLASS, Features, read_features
from geoseg.evaluation.grid import EvaluationGrid, bring_onto, make_evaluation_grid, without_nodata
from geoseg.evaluation.inputs import EvaluationInput
from geoseg.evaluation.metric import metric_features
from geoseg.evaluation.naming import PREDICTION, TRUTH, Naming
from geoseg.grid import Window
from geoseg.options import EvaluationOptions
from geoseg.raster import Raster, read_labels, read_legend
from geoseg.vector import Region

PRESENT, ABSENT = 1, 0
"""Values of pixels inside and outside of polygons that have no classes."""


class ClassReader(Protocol):
    """Values of classes by window."""

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values, integers (y, x), and where there is one, bool (y, x)."""
        ...


@dataclass(frozen=True, eq=False)
class RasterValues:
    """Values of a raster that lies on the grid."""

    raster: Raster

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and mask."""
        return read_labels(self.raster, window)


@dataclass(frozen=True, eq=False)
class FilledValues:
    """The same, with a class where a file declares that there is none; not beyond the edges of all files."""

    raster: Raster
    whole: Raster
    background: int

    @classmethod
    def of(cls, raster: Raster, background: int) -> FilledValues:
        """Fill a raster."""
        return cls(raster, without_nodata(raster), background)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and mask."""
        values, mask = read_labels(self.raster, window)
        if mask.all():
            return values, mask
        _, reach = self.whole.read(window)
        return np.where(mask, values.astype(np.int64), self.background), reach


@dataclass(frozen=True, eq=False)
class BurntValues:
    """Values of polygons; later ones lie over earlier ones."""

    burnt: Burnt
    values: NDArray[np.int64]
    background: int

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values and mask."""
        painted = self.burnt.paint(window, self.values, self.background)
        return painted, painted != NO_CLASS


class NothingComparedError(EvaluationError):
    """Two inputs of which no pixel has a class in both."""


def nothing_compared(names: Sequence[str], counts: Sequence[int]) -> NothingComparedError:
    """The error of two inputs of which no pixel has a class in both.

    Parameters
    ----------
    names : (str, str)
        What they are called.
    counts : (int, int)
        Pixels of each that have a class.
    """
    empty = [name for name, count in zip(names, counts, strict=True) if not count]
    if not empty:
        return NothingComparedError(
            f"no pixel has a class in both {names[0]} and {names[1]}; give two inputs of the same area"
        )
    return NothingComparedError(
        f"{' and '.join(empty)} {'has' if len(empty) == 1 else 'have'} no pixel with a class; choose --task instance "
        "where there may be no object, --background 0 where pixels without a class are one, or another input"
    )


@dataclass(frozen=True, eq=False)
class LabelPair:
    """Classes of two inputs on one grid.

    Attributes
    ----------
    grid : EvaluationGrid
        Where they are compared.
    truth, prediction : ClassReader
        Values of either.
    naming : Naming
        Which values are one class.
    unclassed : str or None
        The input whose polygons have no classes, unless the classes to evaluate were given.
    """

    grid: EvaluationGrid
    truth: ClassReader
    prediction: ClassReader
    naming: Naming
    unclassed: str | None = None

    def read(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Class indices of a window, uint8 (y, x), of truth and prediction; 255 = no class, or beyond the region."""
        inside = self.grid.inside(window)
        sides = []
        for side, source in ((TRUTH, self.truth), (PREDICTION, self.prediction)):
            values, mask = source.read(window)
            sides.append(self.naming.indices(side, values, mask & inside))
        return sides[TRUTH], sides[PREDICTION]

    def check_classes(self, values: Collection[int | None]) -> None:
        """Refuse polygons without classes, which stand for the class 1, where there are other classes than 1 and 0.

        Parameters
        ----------
        values : collection of int
            The classes that were seen on either side.

        Raises
        ------
        EvaluationError
            There are others.
        """
        others = [value for value in values if value not in (PRESENT, ABSENT)]
        if self.unclassed is not None and others:
            raise EvaluationError(
                f"the polygons of {self.unclassed} have no column '{CLASS}' and would all be the class {PRESENT}, but "
                f"there is a class {others[0]}; name their column with --class-column, or give --classes {PRESENT} to "
                "evaluate that class alone"
            )


def pair_labels(
    truth: EvaluationInput,
    prediction: EvaluationInput,
    settings: EvaluationOptions,
    region: Region | None,
    *,
    fills: tuple[bool, bool] = (False, True),
) -> LabelPair:
    """Bring the classes of two inputs onto one grid: the truth's grid, or the prediction's where that is the raster.

    ``fills`` says of which raster, the truth's and the prediction's, a background takes the place of nodata.

    Raises
    ------
    EvaluationError
        An input has no classes, two vector files come without a resolution, or classes cannot be told to be alike.
    """
    sides = [_given(side, settings) for side in (truth, prediction)]
    geobox = _grid_of(sides[0], sides[1], settings)
    placed = [
        bring_onto(given, geobox, (side.name, truth.name)) if isinstance(given, Raster) else given
        for given, side in zip(sides, (truth, prediction), strict=True)
    ]
    grid = make_evaluation_grid(geobox, [item for item in placed if isinstance(item, Raster)], region)
    one, other = (
        _source(item, geobox, settings.background, fills=fill) for item, fill in zip(placed, fills, strict=True)
    )
    names = [read_legend(item).names if isinstance(item, Raster) else item.names for item in placed]
    naming = Naming(names[0], names[1], settings.classes, settings.ignore)
    check_words(naming, truth, prediction, [isinstance(item, Features) and item.worded for item in placed])
    unclassed = [
        side.name
        for item, side in zip(placed, (truth, prediction), strict=True)
        if isinstance(item, Features) and item.classes is None and settings.classes is None
    ]
    return LabelPair(grid, one, other, naming, unclassed[0] if unclassed else None)


def check_words(naming: Naming, truth: EvaluationInput, prediction: EvaluationInput, worded: list[bool]) -> None:
    """Refuse classes that are words on one side and numbers without names on the other."""
    if any(worded) and not naming.by_name:
        one, other = (truth, prediction) if worded[0] else (prediction, truth)
        raise EvaluationError(
            f"classes of {one.name} are words and those of {other.name} numbers without names; name the numbers: "
            "--classes 1=water,2=forest"
        )


def _given(side: EvaluationInput, settings: EvaluationOptions) -> Raster | Features:
    """The labels of a side, or its features."""
    if side.labels is not None:
        return side.labels
    if side.layer is None:
        raise EvaluationError(f"{side.name} has numbers of objects but no classes; give labels, or the task 'instance'")
    return read_features(side.layer, side.role, class_column=settings.class_column, objects=False)


def _grid_of(truth: Raster | Features, prediction: Raster | Features, settings: EvaluationOptions) -> GeoBox:
    """The grid on which classes are compared."""
    if isinstance(truth, Raster):
        return truth.geobox
    if isinstance(prediction, Raster):
        return prediction.geobox
    if settings.resolution is None:
        raise EvaluationError(
            "two vector files are compared by class on a grid; give its pixel size, such as --resolution 1 (metres)"
        )
    both = metric_features(truth, prediction)
    if not any(len(item) for item in both):
        raise EvaluationError("neither of the two vector files has features; give files that have")
    bounds = np.array([item.bounds for item in both if len(item)])
    (left, bottom), (right, top) = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
    return GeoBox.from_bbox((left, bottom, right, top), both[0].crs, resolution=settings.resolution)


def _source(given: Raster | Features, geobox: GeoBox, background: int | None, *, fills: bool) -> ClassReader:
    """Values of an input; a background is for pixels of no polygon, and of a raster that it fills."""
    if isinstance(given, Raster):
        return RasterValues(given) if background is None or not fills else FilledValues.of(given, background)
    classes = given.classes
    values = np.full(len(given), PRESENT, np.int64) if classes is None else classes
    if background is None:
        background = ABSENT if classes is None else NO_CLASS
    chosen = values != NO_CLASS
    return BurntValues(Burnt(given.take(chosen), geobox), values[chosen], background)
