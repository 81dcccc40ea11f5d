"""Vector files that people give: one layer with geometry and a CRS, or one sentence about what is wrong.

It knows files and what they are for, not what features mean.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from shapely.errors import ShapelyError

from geoseg.errors import CrsError, GeosegError, InputNotFoundError, InputWarning

SEVERAL = {
    shapely.GeometryType.POLYGON: shapely.multipolygons,
    shapely.GeometryType.POINT: shapely.multipoints,
}
"""Kinds of shapes that features have, and what several of one kind make."""


def read_table(
    path: Path,
    what: str,
    wanted: str,
    error: type[GeosegError],
    columns: list[str] | None = None,
    *,
    may_be_empty: bool = False,
) -> gpd.GeoDataFrame:
    """Read the features of a file with one layer; tables without geometry, such as styles, are no layers.

    Parameters
    ----------
    path : Path
        Any format that OGR reads, or GeoParquet.
    what : str
        What the file is, for errors: ``"the region"``.
    wanted : str
        What it should hold: ``"at least one polygon"``.
    error : type
        Raised when it is no such file.
    columns : list of str, optional
        The only columns to read; all unless given.
    may_be_empty : bool
        True also takes a file without features.

    Returns
    -------
    GeoDataFrame
        Features with a geometry that is not empty; a collection of polygons alone, or of points, is one of that kind.

    Raises
    ------
    InputNotFoundError
        There is no such file.
    CrsError
        It has no CRS.

    Warns
    -----
    InputWarning
        Some features have no geometry.
    """
    if not path.exists():
        raise InputNotFoundError(f"{what} '{path}' does not exist; give a vector file with {wanted}.")
    try:
        table = gpd.read_parquet(path) if path.suffix == ".parquet" else _read_layer(path, what, error, columns)
    except (pyogrio.errors.DataSourceError, OSError, ValueError, ShapelyError) as problem:
        if isinstance(problem, GeosegError):
            raise
        raise error(f"{what} '{path}' is not a readable vector file ({problem}); give one with {wanted}.") from problem
    if not isinstance(table, gpd.GeoDataFrame):
        raise error(f"{what} '{path}' is a table without geometry; give a file with {wanted}.")
    missing = table.geometry.isna() | table.geometry.is_empty
    if missing.any() and not missing.all():
        warnings.warn(
            InputWarning(
                f"{missing.sum():,} of {len(table):,} features of {what} '{path}' have no geometry; left out."
            ),
            stacklevel=3,
        )
    table = table[~missing].reset_index(drop=True)
    table = table.set_geometry(gpd.GeoSeries(_unwrapped(table.geometry.to_numpy()), crs=table.crs))
    if table.empty and not may_be_empty:
        raise error(f"{what} '{path}' has no features; give a file with {wanted}.")
    if table.crs is None:
        raise CrsError(f"{what} '{path}' has no CRS; save it with one.")
    return table


def _unwrapped(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Take polygons or points out of collections that hold nothing else."""
    result = shapes.copy()
    for place in np.flatnonzero(shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION):
        parts = shapely.get_parts(shapely.get_parts(shapes[place]))
        for kind, union in SEVERAL.items():
            if (shapely.get_type_id(parts) == kind).all():
                result[place] = parts[0] if len(parts) == 1 else union(parts)
    return result


def _read_layer(path: Path, what: str, error: type[GeosegError], columns: list[str] | None) -> Any:
    layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
    if len(layers) > 1:
        raise error(f"{what} '{path}' has layers {', '.join(layers)}; save the one you mean alone.")
    return pyogrio.read_dataframe(path, layer=layers[0] if layers else None, columns=columns)
