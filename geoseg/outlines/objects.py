"""Outlines of instances: one feature an object, whatever its parts, and stuff beside it.

Stuff and things are traced as one map, so that they share their boundaries: the label of object n is ``THING + n``. It
knows the run folder, where the numbers of objects lead to their classes and scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import shapely
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.models.spec import NODATA
from geoseg.store import RunFolder

THING = 256
"""Labels of objects are larger than this, labels of stuff smaller."""

COLUMNS: Mapping[str, str] = {
    "class": "int64",
    "name": "str",
    "instance": "int64",
    "score": "float64",
    "isthing": "bool",
    "area_m2": "float64",
    "perimeter_m": "float64",
    "pixels": "int64",
}
"""Columns of a layer with objects and their NumPy types."""


@dataclass(frozen=True)
class RunObjects:
    """Labels and instances of a run as one map.

    Attributes
    ----------
    folder : RunFolder
        Holds its blocks and its objects.
    classes : frozenset of int, optional
        The only classes that are outlined, of stuff and of things.
    """

    folder: RunFolder
    classes: frozenset[int] | None = None
    has_confidence: ClassVar[bool] = True

    @property
    def dtype(self) -> np.dtype[Any]:
        """Wide enough for every object."""
        return np.dtype(np.int64)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Labels, int64 (y, x), 255 = nothing, and confidence, uint8 (y, x)."""
        labels, confidence, instances = self.folder.blocks.read_layers(*window.slices())
        return np.where(instances > 0, THING + instances.astype(np.int64), labels), confidence

    def choose(self, found: NDArray[Any]) -> NDArray[Any]:
        """Leave only what is of the classes that are outlined; small faces have gone to any class before."""
        if self.classes is None:
            return found
        classes, things = found.copy(), found > THING
        classes[things] = self.folder.blocks.read_objects().classes[found[things] - THING - 1]
        return np.where(np.isin(classes, list(self.classes)), found, NODATA)

    def sort(self, table: pa.Table) -> pa.Table:
        """Give all parts of an object the key of its first pixel, and sort by it."""
        label, key = (table.column(name).to_numpy() for name in ("class", "key"))
        things = label > THING
        keys = key.copy()
        keys[things] = self.folder.objects.read_united().first[label[things] - THING - 1]
        place = table.column_names.index("key")
        order = np.argsort(keys, kind="stable")
        return table.set_column(place, "key", pa.array(keys)).take(pa.array(order))

    def describe(self, tables: Iterator[pa.Table], names: Mapping[int, str]) -> Iterator[pa.Table]:
        """Make one feature of the parts of an object, and say what it is.

        Parameters
        ----------
        tables : iterator of Table
            Sorted by key; equal keys stand in one table.
        names : mapping of int to str
            Names of classes.

        Yields
        ------
        Table
            With `COLUMNS` and ``geometry``.
        """
        united = self.folder.blocks.read_objects()
        for table in map(_in_order, tables):
            begins = _begins(table)
            label = table.column("class").to_numpy()[begins]
            isthing = label > THING
            instance = np.where(isthing, label - THING, 0)
            classes = label.copy()
            classes[isthing] = united.classes[instance[isthing] - 1]
            score = table.column("confidence").to_numpy()[begins].copy()
            score[isthing] = np.round(united.scores[instance[isthing] - 1].astype(np.float64), 4)
            sums = {name: _summed(table, name, begins) for name in ("area_m2", "perimeter_m", "pixels")}
            called = [names.get(int(value), str(value)) for value in classes]
            columns = {"class": classes, "name": called, "instance": instance, "score": score, "isthing": isthing}
            yield pa.table({**columns, **sums, "geometry": _gathered(table.column("geometry"), begins)})


def _begins(table: pa.Table) -> NDArray[np.int64]:
    """Where each key begins."""
    return np.flatnonzero(np.diff(table.column("key").to_numpy(), prepend=-1)).astype(np.int64)


def _in_order(table: pa.Table) -> pa.Table:
    """Put the parts of an object in an order of their own: they come as blocks were joined, and sums depend on it."""
    begins = _begins(table)
    ends = np.append(begins[1:], len(table))
    several = np.flatnonzero(ends - begins > 1)
    if not several.size:
        return table
    order, wkb = np.arange(len(table)), table.column("geometry")
    for begin, end in zip(begins[several].tolist(), ends[several].tolist(), strict=True):
        order[begin:end] = sorted(range(begin, end), key=lambda row: wkb[row].as_py())
    return table.take(pa.array(order))


def _summed(table: pa.Table, name: str, begins: NDArray[np.int64]) -> NDArray[Any]:
    """Sum up a column from each beginning to the next."""
    values = table.column(name).to_numpy()
    return np.add.reduceat(values, begins) if len(begins) else values


def _gathered(geometry: pa.ChunkedArray, begins: NDArray[np.int64]) -> pa.Array:
    """One geometry, as WKB, from each beginning to the next."""
    wkb = geometry.to_pylist()
    ends = [*begins[1:].tolist(), len(wkb)]
    pairs = zip(begins.tolist(), ends, strict=True)
    return pa.array([wkb[begin] if end - begin == 1 else _one(wkb[begin:end]) for begin, end in pairs], pa.binary())


def _one(parts: list[bytes]) -> bytes:
    """A multipolygon of polygons; those that were cut along a line grow together again."""
    polygons = shapely.get_parts(shapely.from_wkb(parts))
    whole = shapely.multipolygons(polygons)
    made: bytes = shapely.to_wkb(whole if whole.is_valid else shapely.union_all(polygons), byte_order=1)
    return made
