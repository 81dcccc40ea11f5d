"""Classes of two maps, pixel by pixel: each pair of classes counted, measured, and coded as one label.

Strategy. Windows are read once to count: then all classes are known, and the labels of a second reading, in the blocks
of an outline, depend on nothing but the pixels. It knows label pairs; files are the caller's business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.evaluation.classes import IGNORE
from geoseg.evaluation.grid import is_placed
from geoseg.evaluation.label_sources import ClassReader, LabelPair, nothing_compared
from geoseg.evaluation.naming import PREDICTION, TRUTH
from geoseg.evaluation.objects import Progress
from geoseg.evaluation.report import Table
from geoseg.evaluation.semantic_maps import WIDEST, unique_names
from geoseg.grid import Window
from geoseg.models.packagings import color_of
from geoseg.outlines import OutlinePlan, read_outlines
from geoseg.raster import Raster, read_legend
from geoseg.raster.placing import PLAIN_PIXELS, UPRIGHT
from geoseg.raster.sending import sendable
from geoseg.report.areas import ground_areas
from geoseg.report.framing import Frame
from geoseg.vector import StyledClass, write_features

FIRST, SECOND = TRUTH, PREDICTION
"""Positions of the maps."""

KINDS = IGNORE + 1
"""Indices of classes, and that of none."""

NODATA = KINDS * KINDS - 1
"""The label of a pixel that has no class in either map."""

UNCHANGED = NODATA - 1
"""The label of all pixels that kept their class, where those are not written; no pair of classes has it."""

REST = -1
"""The value of all classes that were not asked for."""

LAYER = "changes"
"""Name of the layer of polygons."""

COLUMNS = {
    "from": "int64",
    "to": "int64",
    "from_name": "str",
    "to_name": "str",
    "area_m2": "float64",
    "perimeter_m": "float64",
    "pixels": "int64",
}
"""Its columns and their NumPy types."""

PICTURE = 1600
"""Longer side of the picture of labels that is kept, px at most."""

HECTARE = 1e4
"""M2."""

MOST = 20
"""Changes that are listed where the matrix is too wide to be read."""

ROOM = 60
"""Characters that names of columns may take."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ChangeClass:
    """A class of one map or of both.

    Attributes
    ----------
    index : int
        In labels.
    name : str
        What people call it.
    first, second : int or None
        Its value in each map; None where no pixel has it, -1 of all classes that were not asked for.
    color : str
        ``"#rrggbb"``.
    """

    index: int
    name: str
    first: int | None
    second: int | None
    color: str


@dataclass(frozen=True, eq=False)
class PixelChanges:
    """What became of each class.

    Attributes
    ----------
    pair : LabelPair
        Classes of both maps on one grid.
    frame : Frame
        Of the picture.
    order : list of int
        Indices of the classes, by their value in the first map.
    counts : NDArray
        int64, shape (256, 256): pixels by index of the class in the first map and in the second, 255 = none.
    areas : NDArray
        float64, the same shape: m2 on the ellipsoid; pixels where the maps lie nowhere on one.
    picture : NDArray
        uint16 (y, x): labels, thinned.
    """

    pair: LabelPair
    frame: Frame
    order: list[int]
    counts: Integers
    areas: Floats
    picture: NDArray[np.uint16]

    @property
    def unit(self) -> str:
        """Of areas, for people."""
        return "ha" if self.frame.has_place else "px"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the classes, in their order."""
        return unique_names(self.pair.naming, self.order)

    @property
    def matrix(self) -> pd.DataFrame:
        """Area by class in the first map (rows) and in the second (columns), ha; px where there is no ground."""
        return self._framed(self.areas / (HECTARE if self.frame.has_place else 1.0))

    @property
    def pixel_matrix(self) -> pd.DataFrame:
        """The same in pixels."""
        return self._framed(self.counts)

    @property
    def unchanged(self) -> float:
        """Share of the compared area that kept its class; NaN where nothing is compared."""
        areas = self.matrix.to_numpy()
        return float(np.trace(areas) / areas.sum()) if areas.any() else float("nan")

    @property
    def nodata(self) -> dict[str, int]:
        """Pixels that are not compared, by the map that has no class there."""
        counts = self.counts
        return {
            "first": int(counts[IGNORE, :IGNORE].sum()),
            "second": int(counts[:IGNORE, IGNORE].sum()),
            "both": int(counts[IGNORE, IGNORE]),
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know."""
        names = [self.pair.naming.unmatched(side) for side in (FIRST, SECOND)]
        parts = [
            f"{', '.join(alone)} of the {mine} map"
            for alone, mine in zip(names, ("first", "second"), strict=True)
            if alone
        ]
        return (f"classes without a counterpart in the other map: {'; '.join(parts)}",) if parts else ()

    def _framed(self, values: NDArray[Any]) -> pd.DataFrame:
        chosen = values[np.ix_(self.order, self.order)]
        return pd.DataFrame(chosen, pd.Index(self.names, name="from"), pd.Index(self.names, name="to"))

    @cached_property
    def balance(self) -> pd.DataFrame:
        """Of each class its area before and after, gained, lost, net and unchanged, in the unit of `matrix`."""
        areas = self.matrix.to_numpy()
        before, after, same = areas.sum(axis=1), areas.sum(axis=0), np.diag(areas)
        columns = {"before": before, "after": after, "gained": after - same, "lost": before - same}
        columns |= {"net": after - before, "unchanged": same}
        return pd.DataFrame(columns, pd.Index(self.names, name="class"))

    def summary(self) -> dict[str, Any]:
        """Every number by name."""
        return {
            "unit": self.unit,
            "unchanged": self.unchanged,
            "compared": int(self.pixel_matrix.to_numpy().sum()),
            "nodata": self.nodata,
            "classes": self.balance.to_dict(orient="index"),
            "matrix": {"classes": self.names, "pixels": self.pixel_matrix.to_numpy(), "areas": self.matrix.to_numpy()},
        }

    def tables(self) -> list[Table]:
        """The balance of all classes, and the matrix, or the largest changes where that is too wide to be read."""
        apart = sum(self.nodata.values())
        title = f"{self.unchanged:.2%} unchanged, {self.unit}; {apart:,} px have no class in one map or both"
        balance = Table(title, ("class", *self.balance.columns), _rows(self.balance))
        if len(self.names) <= WIDEST:
            heading = f"from (row) to (column), {self.unit}"
            return [balance, _square(heading, self.matrix)]
        areas = self.matrix.to_numpy()
        largest = sorted(self.changed(), key=lambda change: -float(areas[change]))[:MOST]
        cells = tuple((f"{self.names[one]} to {self.names[other]}", _area(areas[one, other])) for one, other in largest)
        return [balance, Table("largest changes", ("", self.unit), cells)]

    def changed(self) -> list[tuple[int, int]]:
        """Positions in `names` of the pairs of classes that changed somewhere."""
        places = np.argwhere(self.pixel_matrix.to_numpy()).tolist()
        return [(one, other) for one, other in places if one != other]

    @property
    def changed_labels(self) -> frozenset[int]:
        """Labels of those pairs."""
        return frozenset(self.order[one] * KINDS + self.order[other] for one, other in self.changed())

    @cached_property
    def classes(self) -> tuple[ChangeClass, ...]:
        """The classes, in their order, in the colours of the first map, else of the second, else made up."""
        pair = self.pair
        values = [pair.naming.values(side) for side in (FIRST, SECOND)]
        colors = [_colors(reader) for reader in (pair.truth, pair.prediction)]
        found = []
        for position, (index, name) in enumerate(zip(self.order, self.names, strict=True)):
            if pair.naming.is_other(index):
                one, other = (REST if index in known else None for known in values)
            else:
                one, other = (known.get(index) for known in values)
            color = colors[FIRST].get(one) or colors[SECOND].get(other) or f"#{color_of(position, name)}"
            found.append(ChangeClass(index, name, one, other, color))
        return tuple(found)


@dataclass(frozen=True)
class ChangeLabels:
    """Pairs of classes as labels; an outline reads them.

    Attributes
    ----------
    pair : LabelPair
        All of whose classes have been seen.
    keeps : bool
        Whether pixels that kept their class have a label for each class.
    """

    pair: LabelPair
    keeps: bool
    has_confidence: ClassVar[bool] = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Wide enough for all pairs."""
        return np.dtype(np.int64)

    def read(self, window: Window) -> tuple[NDArray[Any], None]:
        """Labels, int64 (y, x), ``from * 256 + to``; every pixel is certain."""
        if not self.pair.grid.counts(window):
            return np.full(window.shape, NODATA, np.int64), None
        first, second = self.pair.read(window)
        labels = _coded(first, second).astype(np.int64)
        if not self.keeps:
            labels[first == second] = UNCHANGED
        labels[(first == IGNORE) | (second == IGNORE)] = NODATA
        return labels, None


def count_changes(pair: LabelPair, progress: Progress | None = None) -> PixelChanges:
    """Count and measure the pairs of classes of two maps.

    Raises
    ------
    EvaluationError
        They have no pixel in common, or their classes cannot be told to be alike.
    """
    frame = Frame.of(placed_grid(pair.grid.geobox), side=PICTURE)
    counts, areas = np.zeros(KINDS * KINDS, np.int64), np.zeros(KINDS * KINDS)
    picture = np.full(frame.shape, NODATA, np.uint16)
    windows = pair.grid.windows()
    for done, window in enumerate(windows, 1):
        labels, inside = _coded(*pair.read(window)), pair.grid.inside(window)
        counts += np.bincount(labels[inside], minlength=len(counts))
        weights = ground_areas(window, frame)[inside] if frame.has_place else None
        areas += np.bincount(labels[inside], weights, len(areas))
        _thin(labels, window, frame.factor, picture)
        if progress is not None:
            progress(done, len(windows))
    shape = KINDS, KINDS
    matrix = counts.reshape(shape)
    if not matrix[:IGNORE, :IGNORE].any():
        raise nothing_compared(("the first map", "the second map"), (matrix[:IGNORE].sum(), matrix[:, :IGNORE].sum()))
    order = pair.naming.in_order()
    pair.check_classes([pair.naming.value(index) for index in order])
    return PixelChanges(pair, frame, order, matrix, areas.reshape(shape), picture)


def _rows(areas: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    """Areas as people read them, each row behind its name."""
    named = zip(areas.index, areas.to_numpy().tolist(), strict=True)
    return tuple((str(name), *map(_area, row)) for name, row in named)


def _square(heading: str, matrix: pd.DataFrame) -> Table:
    """A matrix whose columns have the names of its rows, or their numbers where names would not fit a terminal."""
    names, rows = tuple(map(str, matrix.columns)), _rows(matrix)
    if sum(len(name) + 2 for name in names) <= ROOM:
        return Table(heading, ("", *names), rows)
    numbers = tuple(str(number) for number in range(1, len(names) + 1))
    numbered = tuple((f"{number} {name}", *row) for number, (name, *row) in zip(numbers, rows, strict=True))
    return Table(heading, ("", *numbers), numbered)


def _area(area: float) -> str:
    """An area to three digits at least."""
    return f"{area:,.{2 if abs(area) < 10 else 1 if abs(area) < 1000 else 0}f}" if area else "0"


def write_changes(plan: OutlinePlan, path: Path, classes: Sequence[ChangeClass]) -> int:
    """Write polygons of an outline of `ChangeLabels`, in the colour of the class that each became.

    Returns
    -------
    int
        Their number.
    """
    values = [(item.second, item) for item in classes]
    return write_features(
        path,
        (_described(table, classes) for table in read_outlines(plan)),
        layer=LAYER,
        crs=plan.crs,
        columns=COLUMNS,
        geometry_type="Polygon" if plan.shaping.connectivity == 4 else "MultiPolygon",
        style=[StyledClass(value, item.name, item.color, "to") for value, item in values if value is not None],
    )


def _described(table: pa.Table, classes: Sequence[ChangeClass]) -> pa.Table:
    """Features of labels with the columns of the layer."""
    labels = table.column("class").to_numpy()
    names = np.empty(KINDS, object)
    values = np.zeros((2, KINDS), np.int64)
    for item in classes:
        names[item.index] = item.name
        values[:, item.index] = item.first or 0, item.second or 0
    for column, known, index in zip(("from", "to"), values, np.divmod(labels, KINDS), strict=True):
        table = table.append_column(column, pa.array(known[index]))
        table = table.append_column(f"{column}_name", pa.array(names[index], pa.string()))
    return table


def _colors(reader: ClassReader) -> dict[int | None, str]:
    """Colours of values, as a raster has them; black stands for none."""
    raster = getattr(reader, "raster", None)
    colors = {} if raster is None else read_legend(raster).colors
    return {value: "#{:02x}{:02x}{:02x}".format(*color) for value, color in colors.items() if any(color)}


def placed_grid(geobox: GeoBox) -> GeoBox:
    """A grid, that of plain pixels where it lies nowhere."""
    return geobox if is_placed(geobox) else GeoBox(geobox.shape, UPRIGHT, PLAIN_PIXELS)


@contextmanager
def sent(pair: LabelPair, folder: Path) -> Iterator[LabelPair]:
    """Have the same maps as workers can read them: arrays of this process lie in a folder while the block runs."""
    with ExitStack() as stack:

        def sent_reader(reader: Any, name: str) -> ClassReader:
            rasters = {
                field.name: stack.enter_context(sendable(getattr(reader, field.name), folder / f"{name}-{field.name}"))
                for field in fields(reader)
                if isinstance(getattr(reader, field.name), Raster)
            }
            changed: ClassReader = replace(reader, **rasters)
            return changed

        yield replace(pair, truth=sent_reader(pair.truth, "first"), prediction=sent_reader(pair.prediction, "second"))


def _coded(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> NDArray[np.uint16]:
    labels: NDArray[np.uint16] = first.astype(np.uint16) * KINDS + second
    return labels


def _thin(labels: NDArray[np.uint16], window: Window, factor: int, picture: NDArray[np.uint16]) -> None:
    """Put each pixel of a window that stands for itself in a picture there."""
    thinned = labels[-window.y % factor :: factor, -window.x % factor :: factor]
    top, left = -(-window.y // factor), -(-window.x // factor)
    picture[top : top + thinned.shape[0], left : left + thinned.shape[1]] = thinned
