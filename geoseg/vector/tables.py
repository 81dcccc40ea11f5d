"""Features that people give, in files or in memory: one layer with geometry and a CRS, or one sentence about it.

It knows tables and what they are for, not what features mean.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import geopandas as gpd
import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio.util import vsi_path
from pyproj import CRS
from pyproj.exceptions import CRSError
from shapely.errors import ShapelyError

from geoseg.errors import CrsError, GeosegError, InputNotFoundError, InputWarning
from geoseg.files import given_path
from geoseg.vector.globe import HALF_TURN, TURN

SEVERAL = {
    shapely.GeometryType.POLYGON: shapely.multipolygons,
    shapely.GeometryType.POINT: shapely.multipoints,
}
"""Kinds of shapes that features have, and what several of one kind make."""

GEOJSON = re.compile(r"^\s*(?:(?P<crs>[^{]+);)?\s*(?P<shape>\{.*\})\s*$", re.DOTALL)
"""Features as text: GeoJSON, with a CRS before it or without."""

AREAL = 2
"""The dimension of polygons, as shapely counts."""

OF_RASTER = "raster"
"""What stands for the CRS of a geometry that lies in that of the raster."""

TableLike: TypeAlias = "str | os.PathLike[str] | gpd.GeoDataFrame | gpd.GeoSeries | shapely.Geometry"
"""What `table_text` takes."""


def check_name(path: Path, error: type[GeosegError]) -> None:
    """Refuse a vector file by whose name pyogrio would read or replace another one.

    ``a;b.gpkg`` is the file ``a`` to it, and ``a!b.gpkg`` the file ``b.gpkg`` of the current folder, as in addresses
    (0.13; findings/pyogrio-writes-to-another-file.sh).

    Parameters
    ----------
    path : Path
        The whole path, folders too.
    error : type
        Raised where it is so.
    """
    text = str(path)
    if path.suffix.lower() != ".parquet" and set("!;") & set(text) and vsi_path(text) != text:
        raise error(
            f"'{text}' has '!' or ';' in it, which pyogrio takes for a part of an address and then uses another file; "
            "choose a name without them."
        )


def crs_text(crs: CRS) -> str:
    """A CRS by its code, or in full where it has none."""
    return ":".join(crs.to_authority(min_confidence=100) or ()) or str(crs.to_wkt())


def shape_text(crs: str, shape: shapely.Geometry) -> str:
    """A geometry as text, with every digit."""
    return f"{crs};{shapely.to_geojson(shape)}"  # well-known text of GEOS loses the last digit


def table_text(table: TableLike, what: str, columns: Sequence[str], error: type[GeosegError]) -> str:
    """What `read_table` takes as text: a path as it is, features as GeoJSON with their CRS.

    Parameters
    ----------
    table : str, path, GeoDataFrame, GeoSeries or shapely geometry
        A geometry lies in the CRS of the raster.
    what : str
        What it is, for errors: ``"the layer of prompts"``.
    columns : sequence of str
        Columns that are kept, where there are such.
    error : type
        Raised when it is something else.

    Raises
    ------
    CrsError
        A table has no CRS.
    """
    if isinstance(table, str | os.PathLike):
        return os.fspath(table)
    if isinstance(table, shapely.Geometry):
        return shape_text(OF_RASTER, table)
    if not isinstance(table, gpd.GeoDataFrame | gpd.GeoSeries):
        raise error(
            f"{what} is a {type(table).__name__}; give a vector file, a GeoDataFrame, a GeoSeries or a geometry."
        )
    if table.crs is None:
        raise CrsError(f"{what} is a table without a CRS; give it one with set_crs.")
    wanted = {name.casefold() for name in columns}
    known = table.columns.drop(table.geometry.name) if isinstance(table, gpd.GeoDataFrame) else ()
    kept = [name for name in known if str(name).casefold() in wanted]
    frame = gpd.GeoDataFrame({name: table[name] for name in kept}, geometry=table.geometry, crs=table.crs)
    return f"{crs_text(table.crs)};{json.dumps(frame.to_geo_dict(drop_id=True), default=str)}"


def with_names(table: gpd.GeoDataFrame, names: Sequence[str]) -> gpd.GeoDataFrame:
    """Columns by the names that they are known by; dBase and some databases write names in capitals."""
    found = {str(column).casefold(): column for column in reversed(table.columns.tolist())}
    others = {found[name.casefold()]: name for name in names if name not in table.columns and name.casefold() in found}
    return table.rename(columns=others)


def read_table(
    path: str | Path | gpd.GeoDataFrame,
    what: str,
    wanted: str,
    error: type[GeosegError],
    columns: list[str] | None = None,
    *,
    may_be_empty: bool = False,
    crs: Any = None,
) -> gpd.GeoDataFrame:
    """Read the features of a file with one layer; tables without geometry, such as styles, are no layers.

    Parameters
    ----------
    path : str, Path or GeoDataFrame
        Any format that OGR reads, in an archive too (``/vsizip/a.zip/b.gpkg``), or GeoParquet; or GeoJSON as
        `table_text` writes it; or the features themselves.
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
    crs : anything pyproj takes, optional
        That of the raster, in which geometries without a CRS lie; files too, where it is plain pixels.

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
        Some features have no geometry, or one without area.
    """
    if isinstance(path, gpd.GeoDataFrame):
        return _checked(path, what, wanted, error, may_be_empty=may_be_empty)
    if isinstance(path, str) and (text := GEOJSON.match(path)):
        table = _from_text(text["crs"], text["shape"], what, error, crs)
        return _checked(table, what, wanted, error, may_be_empty=may_be_empty)
    place = given_path(path)
    what = f"{what} '{place}'"
    _check_place(place, what, wanted, error)
    is_parquet = isinstance(place, Path) and place.suffix.lower() == ".parquet"
    try:
        table = gpd.read_parquet(place) if is_parquet else _read_layer(place, what, error, columns)
    except (pyogrio.errors.DataSourceError, OSError, ValueError, ShapelyError) as problem:
        if isinstance(problem, GeosegError):
            raise
        if "does not exist in the file system" in str(problem):  # GDAL of what is in no archive
            raise _absent(what, wanted) from problem
        raise error(f"{what} is not a readable vector file ({problem}); give one with {wanted}.") from problem
    if not isinstance(table, gpd.GeoDataFrame):
        raise error(f"{what} is a table without geometry; give a file with {wanted}.")
    if table.crs is None and crs is not None and CRS.from_user_input(crs).is_engineering:
        table = table.set_crs(crs)  # what is drawn on a photograph has no CRS
    return _checked(table, what, wanted, error, may_be_empty=may_be_empty)


def _absent(what: str, wanted: str) -> InputNotFoundError:
    return InputNotFoundError(f"{what} does not exist; give a vector file with {wanted}.")


def _check_place(place: Path | str, what: str, wanted: str, error: type[GeosegError]) -> None:
    """Refuse a file that is not there, or that only its name on a disk opens."""
    if isinstance(place, Path):
        if not place.exists():
            raise _absent(what, wanted)
        check_name(place, error)
    elif place.lower().endswith(".parquet"):
        raise error(f"{what} is GeoParquet, which is read from folders only; copy it into one.")


def _from_text(named: str | None, text: str, what: str, error: type[GeosegError], crs: Any) -> gpd.GeoDataFrame:
    """Features of GeoJSON: a collection of them, one, or a geometry; degrees of WGS 84 unless a CRS is named."""
    try:
        content = json.loads(text)
        features = content if "features" in content else [content if "properties" in content else _feature(content)]
        known = CRS.from_user_input((crs if named == OF_RASTER else named) or "EPSG:4326")
        return gpd.GeoDataFrame.from_features(features, crs=known)
    except (ValueError, TypeError, KeyError, AttributeError, ShapelyError, CRSError) as problem:
        raise error(f"{what} '{text[:40]}...' cannot be read ({problem}); give GeoJSON or a vector file.") from problem


def _feature(geometry: Any) -> dict[str, Any]:
    return {"type": "Feature", "properties": {}, "geometry": geometry}


def _checked(
    table: gpd.GeoDataFrame, what: str, wanted: str, error: type[GeosegError], *, may_be_empty: bool
) -> gpd.GeoDataFrame:
    """Features that have a geometry, counted; see `read_table`."""
    table = with_geometry(table, what).reset_index(drop=True)
    table = table.set_geometry(gpd.GeoSeries(unwrapped(table.geometry.to_numpy()), crs=table.crs))
    if table.empty and not may_be_empty:
        raise error(f"{what} has no features; give a file with {wanted}.")
    if table.crs is None:
        raise CrsError(f"{what} has no CRS; save it with one.")
    return table


def with_geometry(table: gpd.GeoDataFrame, what: str) -> gpd.GeoDataFrame:
    """Features that have a geometry, which is no polygon without area; how many have none is a warning.

    Parameters
    ----------
    table : GeoDataFrame
        Features.
    what : str
        What they are, for the warning: ``"the region 'a.gpkg'"``.

    Warns
    -----
    InputWarning
        Some features are left out.
    """
    shapes = table.geometry.to_numpy()
    missing = shapely.is_missing(shapes) | shapely.is_empty(shapes)
    nowhere = ~missing & _are_nowhere(shapes)
    flat = ~(missing | nowhere) & _are_flat(shapes)
    if (missing | nowhere | flat).all():  # what needs polygons says what is wrong with them
        return table[~(missing | nowhere)]
    lacks = (missing, "no geometry"), (nowhere, "coordinates that are no numbers"), (flat, "a polygon without area")
    for unusable, lack in lacks:
        if unusable.any():
            message = f"{unusable.sum():,} of {len(table):,} features of {what} have {lack}; left out."
            warnings.warn(InputWarning(message), stacklevel=4)
    return table[~(missing | nowhere | flat)]


def check_edges(shapes: NDArray[np.object_], crs: CRS, what: str, error: type[GeosegError]) -> None:
    """Refuse polygons in degrees that jump from one end of the globe to the other: they are meant to go the short way.

    Parameters
    ----------
    shapes : ndarray of geometries
        What is given.
    crs : CRS
        Theirs.
    what : str
        What they are: ``"the region 'a.gpkg'"``.
    error : type
        Raised where there is such an edge; a program writes one that moves vertices to degrees one by one.
    """
    if not crs.is_geographic:
        return
    rings = shapely.get_rings(shapely.get_parts(shapes))
    xy, ring = shapely.get_coordinates(rings, return_index=True)
    steps = np.abs(np.diff(xy[:, 0]))[ring[1:] == ring[:-1]]
    jumps = steps[(steps > HALF_TURN) & (steps < TURN)]
    if len(jumps):
        raise error(
            f"{what} has an edge over {jumps[0]:.1f} degrees; over the antimeridian give two polygons that meet there "
            "(a region also as bounds with minx larger than maxx), "
            "and vertices in between where the edge is meant so long"
        )


def _are_nowhere(shapes: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Say of each geometry whether it has a coordinate that is infinite or no number."""
    xy, index = shapely.get_coordinates(shapes, return_index=True)
    result = np.zeros(len(shapes), np.bool_)
    result[index[~np.isfinite(xy).all(axis=1)]] = True
    return result


def _are_flat(shapes: NDArray[np.object_]) -> NDArray[np.bool_]:
    """Say of each geometry whether it is a polygon without area: of few points, or along a line and back."""
    flat = (shapely.get_dimensions(shapes) == AREAL) & (shapely.area(shapes) == 0)
    flat[flat] = shapely.area(shapely.make_valid(shapes[flat])) == 0  # the two halves of a bow tie cancel out
    return np.asarray(flat, np.bool_)


def unwrapped(shapes: NDArray[np.object_]) -> NDArray[np.object_]:
    """Take polygons or points out of collections that hold nothing else."""
    result = shapes.copy()
    for place in np.flatnonzero(shapely.get_type_id(shapes) == shapely.GeometryType.GEOMETRYCOLLECTION):
        parts = shapely.get_parts(shapely.get_parts(shapes[place]))
        for kind, union in SEVERAL.items():
            if (shapely.get_type_id(parts) == kind).all():
                result[place] = parts[0] if len(parts) == 1 else union(parts)
    return result


def _read_layer(path: Path | str, what: str, error: type[GeosegError], columns: list[str] | None) -> Any:
    layers = [name for name, kind in pyogrio.list_layers(path) if kind is not None]
    if len(layers) > 1:
        raise error(f"{what} has layers {', '.join(layers)}; save the one you mean alone.")
    return pyogrio.read_dataframe(path, layer=layers[0] if layers else None, columns=columns)
