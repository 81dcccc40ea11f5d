"""Objects of two maps with what is known of them: found and counted as an evaluation does it, told as a table.

It knows inputs of an evaluation; how pairs are judged stands beside it, and who outlines rasters of objects elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from geoseg.arcs.rings import Rings
from geoseg.comparison.relations import KEPT, STATES, Relations, relate, shares
from geoseg.evaluation.features import NO_CLASS, Features
from geoseg.evaluation.grid import make_evaluation_grid
from geoseg.evaluation.inputs import EvaluationInput
from geoseg.evaluation.instance_maps import class_objects, place_objects
from geoseg.evaluation.metric import metric_features
from geoseg.evaluation.object_classes import Classed
from geoseg.evaluation.objects import Progress, count_objects
from geoseg.evaluation.overlaps import Floats, Integers, Overlaps
from geoseg.evaluation.polygon_layers import cut_features, overlap_shapes, read_layer
from geoseg.evaluation.report import Table
from geoseg.options import EvaluationOptions
from geoseg.vector import Region, StyledClass, write_features
from geoseg.vector.wkb import encode
from geoseg.vectorize.areas import measure

LAYER = "objects"
"""Name of the layer of objects."""

COLUMNS = {
    "change": "str",
    "from_id": "int64",
    "to_id": "int64",
    "from": "int64",
    "to": "int64",
    "from_name": "str",
    "to_name": "str",
    "from_area_m2": "float64",
    "to_area_m2": "float64",
    "from_share": "float64",
    "to_share": "float64",
    "iou": "float64",
}
"""Its columns and their NumPy types; what an object does not have is null."""

COLORS = {
    "kept": "#9aa0a6",
    "split": "#e8a33d",
    "merged": "#8e63ce",
    "changed": "#3d85c6",
    "gone": "#c5221f",
    "new": "#188038",
}
"""Of what becomes of objects."""

HECTARE = 1e4
"""M2."""

Shapes = NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class ObjectMap:
    """Objects of one map.

    Attributes
    ----------
    side : EvaluationInput
        Where they come from.
    ids : NDArray
        int64, shape (object,): as the map numbers them.
    classed : Classed
        Their areas and classes.
    features : Features or None
        The objects as polygons; None where a raster has them.
    """

    side: EvaluationInput
    ids: Integers
    classed: Classed
    features: Features | None

    def described(self, places: pa.Array, prefix: str) -> dict[str, pa.Array]:
        """Id, class and name of some objects, told by position; null where that is."""
        values = self.classed.values
        known = np.full(len(self.ids), NO_CLASS) if values is None else values
        is_none, names = known == NO_CLASS, self.classed.names
        named = [None if value == NO_CLASS else names.get(value, str(value)) for value in known.tolist()]
        columns = {
            f"{prefix}_id": pa.array(self.ids),
            prefix: pa.array(known, mask=is_none),
            f"{prefix}_name": pa.array(named, pa.string()),
        }
        return {name: column.take(places) for name, column in columns.items()}


@dataclass(frozen=True, eq=False)
class ObjectChanges:
    """What became of the objects of a map.

    Attributes
    ----------
    maps : (ObjectMap, ObjectMap)
        The objects that are compared.
    overlaps : Overlaps
        Of them.
    relations : Relations
        What became of each.
    unit : str
        Of areas, ``"ha"`` or ``"px"``.
    """

    maps: tuple[ObjectMap, ObjectMap]
    overlaps: Overlaps
    relations: Relations
    unit: str

    @cached_property
    def places(self) -> tuple[pa.Array, pa.Array]:
        """Position of the object of each map in each row of the table; null where there is none."""
        rows = self.relations.first, self.relations.second
        return pa.array(rows[0], mask=rows[0] < 0), pa.array(rows[1], mask=rows[1] < 0)

    @cached_property
    def table(self) -> pa.Table:
        """A row for each pair that says something, and for each object that is gone or new; shapes and areas apart."""
        (one, other), relations = self.maps, self.relations
        pairs = pa.array(relations.pairs, mask=relations.pairs < 0)
        of_first, of_second = shares(self.overlaps)
        return pa.table(
            {
                "change": pa.array(STATES).take(pa.array(relations.states)),
                **one.described(self.places[0], "from"),
                **other.described(self.places[1], "to"),
                "from_share": pa.array(of_first).take(pairs),
                "to_share": pa.array(of_second).take(pairs),
                "iou": pa.array(self.overlaps.iou).take(pairs),
            }
        )

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Objects of each map by what became of them, and their areas in ``unit``."""
        relations, scale = self.relations, HECTARE if self.unit == "ha" else 1.0
        columns: dict[str, Any] = {}
        for name, states in (("first", relations.of_first), ("second", relations.of_second)):
            columns[name] = np.bincount(states, minlength=len(STATES))
        for name, states, item in zip(
            columns.copy(), (relations.of_first, relations.of_second), self.maps, strict=True
        ):
            columns[f"{name}_{self.unit}"] = np.bincount(states, item.classed.sizes / scale, len(STATES))
        return pd.DataFrame(columns, pd.Index(STATES, name="change"))

    @property
    def reclassified(self) -> int:
        """Objects that are kept, and have another class."""
        table = self.table.filter(pa.array(self.relations.states == KEPT))
        one, other = (table.column(name).to_pylist() for name in ("from_name", "to_name"))
        return sum(None not in pair and pair[0] != pair[1] for pair in zip(one, other, strict=True))

    def summary(self) -> dict[str, Any]:
        """Every number by name."""
        return {"unit": self.unit, "reclassified": self.reclassified, "changes": self.counts.to_dict(orient="index")}

    def tables(self) -> list[Table]:
        """How many there are of each kind."""
        title = f"objects; {self.reclassified:,} of those kept have another class"
        rows = tuple((str(name), *map(_cell, row)) for name, row in self.counts.astype(object).iterrows())
        return [Table(title, ("", *(name.replace("_", ", ") for name in self.counts.columns)), rows)]

    def write(self, path: Path, shapes: tuple[Shapes, Shapes], crs: CRS) -> int:
        """Write the layer of objects: shapes of the second map, and of the first where they are gone.

        Parameters
        ----------
        path : Path
            A GeoPackage.
        shapes : (NDArray, NDArray)
            Polygons of all objects of both maps, in the CRS.
        crs : CRS
            Of the layer.

        Returns
        -------
        int
            Number of features.
        """
        table = self.table
        for prefix, some, places in zip(("from", "to"), shapes, self.places, strict=True):
            table = table.append_column(f"{prefix}_area_m2", pa.array(areas_of(some, crs)).take(places))
        first, second = self.relations.first, self.relations.second
        drawn = np.empty(len(first), object)
        drawn[second >= 0], drawn[second < 0] = shapes[1][second[second >= 0]], shapes[0][first[second < 0]]
        return write_features(
            path,
            [table.append_column("geometry", encode(drawn))],
            layer=LAYER,
            crs=crs,
            columns=COLUMNS,
            geometry_type="MultiPolygon",
            style=[StyledClass(state, state, COLORS[state], "change") for state in STATES],
        )


def compare_objects(
    first: EvaluationInput,
    second: EvaluationInput,
    iou: float,
    settings: EvaluationOptions,
    region: Region | None = None,
    progress: Progress | None = None,
) -> ObjectChanges:
    """Compare the objects of two maps: on the grid of the first raster, or by exact shapes where there is none.

    Raises
    ------
    EvaluationError
        A map has no objects, or they cannot be compared.
    """
    rasters = [side.instances for side in (first, second) if side.instances is not None]
    if not rasters:
        layers = [cut_features(read_layer(side, settings), region) for side in (first, second)]
        overlaps = overlap_shapes(*(item.shapes for item in metric_features(layers[0], layers[1])))
        classed = [
            Classed(side, areas_of(item.shapes, item.crs), item.classes, item.names)
            for side, item in zip((first, second), layers, strict=True)
        ]
        maps = [ObjectMap(item.side, layer.numbers, item, layer) for item, layer in zip(classed, layers, strict=True)]
        unit = "px" if layers[0].crs.is_engineering else "ha"
        return ObjectChanges((maps[0], maps[1]), overlaps, relate(overlaps, iou), unit)
    grid = make_evaluation_grid(rasters[0].geobox, rasters, region)
    placed = [place_objects(side, first, grid.geobox, settings) for side in (first, second)]
    overlaps = count_objects(placed[0].source, placed[1].source, grid, progress=progress).overlaps
    scale = 1.0 if grid.pixel_size is None else grid.pixel_size**2
    maps = []
    for item, numbers, areas in zip(
        placed, (overlaps.trues, overlaps.found), (overlaps.true_areas, overlaps.found_areas), strict=True
    ):
        classed_objects = class_objects(item, numbers, areas * scale, grid)
        features = None if item.features is None else item.features.take(numbers - 1)
        ids = numbers if features is None else features.numbers
        maps.append(ObjectMap(item.side, ids, classed_objects, features))
    return ObjectChanges((maps[0], maps[1]), overlaps, relate(overlaps, iou), "px" if grid.pixel_size is None else "ha")


def areas_of(shapes: Shapes, crs: CRS) -> Floats:
    """Area of polygons and multipolygons on the ellipsoid, float64 (shape,), m2; squares of the unit of a plane CRS."""
    parts, owner = shapely.get_parts(shapely.orient_polygons(shapes), return_index=True)
    if not len(parts):
        return np.zeros(len(shapes))
    _, xy, (rings, polygons) = shapely.to_ragged_array(parts)
    faces = Rings(xy, rings.astype(np.int64), polygons.astype(np.int64))
    areas = np.abs(measure(faces, Affine.identity(), crs).area)
    return np.bincount(owner, areas, len(shapes)).astype(np.float64)


def _cell(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"
