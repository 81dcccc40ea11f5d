"""Where an array of xarray lies on the ground, as rioxarray, odc-geo and the CF conventions say it.

A grid is taken from the transform that is stated, where coordinates agree with it, because that has every digit of the
file which the array was read from; sliced arrays still lie on it. Else it comes from the coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyproj
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from pyproj.exceptions import CRSError

from geoseg.errors import CrsError, RasterError
from geoseg.raster.placing import SAME_GRID, grid_of, named_crs, stated_crs

if TYPE_CHECKING:
    import xarray as xr

SPATIAL = (
    ("y", "x"), ("Y", "X"), ("latitude", "longitude"), ("lat", "lon"), ("northing", "easting"),
    ("projection_y_coordinate", "projection_x_coordinate"), ("row", "col"),
)  # fmt: skip
"""What rows and columns are called."""

_WKT = "crs_wkt", "spatial_ref"
_UNEVEN = 0.1  # px that a coordinate of single precision may be off its place
DEGREES = "degrees_north", "degree_north", "degrees_east", "degree_east"
"""Units of coordinates in degrees, which are those of WGS 84 where nothing says of what."""

_METRES = dict.fromkeys(("m", "metre", "metres", "meter", "meters"), 1.0)
_METRES |= dict.fromkeys(("km", "kilometre", "kilometres", "kilometer", "kilometers"), 1000.0)
_METRES |= dict.fromkeys(("rad", "radian", "radians"), float("nan"))  # angles of a satellite's scan: no length
"""Lengths that units of coordinates stand for, m."""


def spatial_dims(array: xr.DataArray, given: str) -> tuple[Any, Any]:
    """Names of the axes of rows and of columns: those with known names or CF's axis attributes, else the last two.

    Raises
    ------
    RasterError
        The array has fewer than two axes.
    """
    for names in SPATIAL:
        if set(names) <= set(array.dims):
            return names
    axes = {str(array.coords[name].attrs.get("axis", "")).upper(): name for name in array.dims if name in array.coords}
    if {"Y", "X"} <= axes.keys():
        return axes["Y"], axes["X"]
    if array.ndim < 2:
        raise RasterError(
            f"'{given}' has the axes ({', '.join(map(str, array.dims))}); give one with rows and columns."
        )
    return array.dims[-2], array.dims[-1]


def grid_of_array(
    array: xr.DataArray, dims: tuple[Any, Any], given: str, default: CRS | None, *, require_crs: bool
) -> GeoBox:
    """Shape, transform and CRS of an array.

    Parameters
    ----------
    array : DataArray
        The array, with its coordinates.
    dims : (str, str)
        Axes of rows and columns.
    given : str
        What it is called, for messages.
    default : CRS, optional
        Of an array that has none.
    require_crs : bool
        False also takes an array without a place.

    Raises
    ------
    CrsError
        It has no place, or one that is not a grid of equal steps.
    """
    mapping = _mapping(array)
    if "gcps" in mapping or "rpcs" in mapping:
        raise CrsError(
            f"'{given}' is placed by ground control points; warp it first, such as array.rio.reproject(crs)."
        )
    shape = array.sizes[dims[0]], array.sizes[dims[1]]
    transform = _transform(array, dims, _stated_transform(mapping), given)
    crs = _crs(array, dims, mapping, given)
    if crs is not None:
        _check_units(array, dims, crs, given)
    geobox = grid_of(shape, transform, crs, default, require_crs=require_crs)
    if geobox is None:
        lacks = "coordinates of rows and columns" if transform.is_identity else "coordinate reference system"
        remedy = (
            "give coordinates, or" if transform.is_identity else 'write it with array.rio.write_crs("EPSG:32618"), or'
        )
        raise CrsError(f"'{given}' has no {lacks}; {remedy} give crs: an EPSG code, or crs: local for plain pixels.")
    return geobox


def _mapping(array: xr.DataArray) -> Mapping[str, Any]:
    """Attributes of the coordinate that says the CRS: the one that is named, else the first that looks like one."""
    name = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping")
    if name in array.coords:
        return dict(array.coords[name].attrs)
    known = {*_WKT, "grid_mapping_name"}
    found = (item.attrs for item in array.coords.values() if not item.ndim and known & item.attrs.keys())
    return dict(next(found, {}))


def _crs(array: xr.DataArray, dims: tuple[Any, Any], mapping: Mapping[str, Any], given: str) -> CRS | None:
    """The CRS that is stated; degrees of WGS 84 where coordinates are degrees and nothing says of what."""
    text = next((str(mapping[name]) for name in _WKT if mapping.get(name)), None)
    try:
        if text is not None:
            return stated_crs(text) if "[" in text else named_crs(text)
        if "grid_mapping_name" in mapping:
            return _described_crs(mapping)
        if array.attrs.get("crs"):
            return named_crs(str(array.attrs["crs"]))
    except (CrsError, CRSError, KeyError) as error:
        raise CrsError(f"'{given}': {error}") from error
    units = [array.coords[name].attrs.get("units") for name in dims if name in array.coords]
    return named_crs("EPSG:4326") if len(units) == 2 and all(unit in DEGREES for unit in units) else None


def _described_crs(mapping: Mapping[str, Any]) -> CRS:
    """The CRS of a grid mapping without WKT: the one of its name, because parameters of CF lose scales and units."""
    name = str(mapping.get("projected_crs_name", ""))
    try:
        named = pyproj.CRS.from_user_input(name)
    except CRSError:
        named = None
    if named is not None and named.name == name:
        return stated_crs(named.to_wkt())
    if mapping["grid_mapping_name"] == "oblique_mercator":  # pyproj turns its axes by an angle that CF does not know
        raise CrsError(
            "its grid mapping 'oblique_mercator' does not say how its axes are turned; "
            'write the CRS with array.rio.write_crs("EPSG:2056").'
        )
    return stated_crs(pyproj.CRS.from_cf(dict(mapping)).to_wkt())


def _check_units(array: xr.DataArray, dims: tuple[Any, Any], crs: CRS, given: str) -> None:
    """Refuse coordinates in another unit than that of the CRS."""
    axis = crs.proj.axis_info[0]
    for name in dims:
        unit = str(array.coords[name].attrs.get("units", "")) if name in array.coords else ""
        if _METRES.get(unit.lower(), axis.unit_conversion_factor) != axis.unit_conversion_factor:
            raise CrsError(
                f"'{given}' has coordinates in {unit}, and its CRS counts in {axis.unit_name}; convert them first, "
                f"such as array.assign_coords({dims[1]}=array.{dims[1]} * factor, {dims[0]}=array.{dims[0]} * factor)."
            )


def _stated_transform(mapping: Mapping[str, Any]) -> Affine | None:
    """The transform beside the CRS, as GDAL writes it."""
    text = mapping.get("GeoTransform")
    if text is None:
        return None
    numbers = [float(number) for number in (text.split() if isinstance(text, str) else text)]
    return Affine.from_gdal(*numbers) if len(numbers) == 6 and np.isfinite(numbers).all() else None


def _transform(array: xr.DataArray, dims: tuple[Any, Any], stated: Affine | None, given: str) -> Affine:
    """From px to CRS units; the identity where nothing says it."""
    if not all(name in array.coords for name in dims):
        return _from_positions(array, dims, stated, given)
    if stated is not None and (stated.b or stated.d):  # coordinates of a rotated grid are pixels of it
        inner = _from_axes(array, dims, Affine.identity(), given)
        return stated @ inner
    own, shape = _from_axes(array, dims, stated, given), (array.sizes[dims[0]], array.sizes[dims[1]])
    if hasattr(array.attrs.get("spec"), "resolutions_xy"):
        return _stacked(own, shape, array.attrs["spec"], given)
    return own if stated is None else _aligned(own, stated, shape)


def _stacked(own: Affine, shape: tuple[int, int], spec: Any, given: str) -> Affine:
    """The transform of an array of stackstac, where coordinates are corners of the pixels unless centres are asked for.

    Parameters
    ----------
    own : Affine
        Of its coordinates, as if they were centres.
    shape : (int, int)
        Rows and columns.
    spec : RasterSpec
        The grid on which it was stacked: ``bounds`` and ``resolutions_xy``.
    """
    left, _, _, top = spec.bounds
    x, y = spec.resolutions_xy
    for half in (0.0, 0.5):
        moved = own @ Affine.translation(half, half)
        placed = _aligned(moved, Affine(x, 0, left, 0, -y, top), shape)
        if placed is not moved:
            return placed
    raise CrsError(
        f"'{given}' was stacked by stackstac and resampled since, and its coordinates may be corners or centres of "
        'pixels; stack it at this resolution, or say that they are centres: array.attrs.pop("spec").'
    )


def _steps(found: NDArray[Any], pixels: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """Where the first pixel of a part of a grid is, px of the grid, and the steps from pixel to pixel; None if unequal.

    Parameters
    ----------
    found : ndarray of float, (n, 2)
        Columns and rows of the places of its first row, first column and last pixel, px of the grid.
    pixels : ndarray of int, (n, 2)
        Columns and rows of the same pixels in the part.
    """
    last = pixels[-1]
    steps = np.where(last > 0, (found[-1] - found[0]) / np.maximum(last, 1), 1.0)
    whole = np.round(steps)
    steps = np.where(np.abs(steps - whole) * np.maximum(last, 1) <= 10 * SAME_GRID, whole, steps)
    first = np.round(found[0] * 2) / 2  # centres of pixels, or edges between two that were averaged
    first = np.where(np.abs(found[0] - first) <= 10 * SAME_GRID, first, found[0])
    off = np.abs(first + pixels * steps - found).max()
    return (first, steps) if off <= 10 * SAME_GRID and (steps != 0).all() else None


def _from_positions(array: xr.DataArray, dims: tuple[Any, Any], stated: Affine | None, given: str) -> Affine:
    """The transform of an array with a position for each pixel: all of the stated grid, a part, every nth pixel."""
    positions = {name: item for name, item in array.coords.items() if set(item.dims) == set(dims)}
    if not positions:
        return stated or Affine.identity()
    x, y = (
        next(
            (item for name, item in positions.items() if str(item.attrs.get("axis", name)).lower()[:1] == letter), None
        )
        for letter in "xy"
    )
    if stated is not None and x is not None and y is not None:
        rows, cols = (np.arange(array.sizes[name]) for name in dims)
        pixels = np.array([*((col, 0) for col in cols), *((0, row) for row in rows), (cols[-1], rows[-1])])
        parts = ({dims[0]: 0}, {dims[1]: 0}, {dims[0]: [-1], dims[1]: -1})
        across, down = (np.concatenate([item[part].to_numpy() for part in parts]).astype(float) for item in (x, y))
        steps = _steps(np.stack(~stated @ (across, down), axis=1), pixels)
        if steps is not None:
            first, step = steps
            return stated @ Affine.translation(*first) @ Affine.scale(*step) @ Affine.translation(-0.5, -0.5)
    raise CrsError(f"'{given}' has a position for each pixel and no grid; resample it to one of equal steps first.")


def _from_axes(array: xr.DataArray, dims: tuple[Any, Any], stated: Affine | None, given: str) -> Affine:
    """The transform of coordinates of the pixels' centres."""
    (step_y, top), (step_x, left) = (
        _axis(array.coords[name].to_numpy(), step, f"{name} of '{given}'")
        for name, step in zip(dims, (None, None) if stated is None else (stated.e, stated.a), strict=True)
    )
    return Affine(step_x, 0, left - step_x / 2, 0, step_y, top - step_y / 2)


def _axis(values: Any, stated: float | None, name: str) -> tuple[float, float]:
    """Step and first value of coordinates."""
    if values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise CrsError(f"the coordinates {name} are no numbers; give those of the pixels' centres.")
    numbers = values.astype(np.float64)
    if len(numbers) == 1:
        if stated is None:
            raise CrsError(
                f"one coordinate {name} says no pixel size; give a GeoTransform, as array.rio.write_transform()."
            )
        return stated, float(numbers[0])
    step = (numbers[-1] - numbers[0]) / (len(numbers) - 1)
    rounding = 4 * np.finfo(values.dtype).eps * np.abs(numbers).max() if values.dtype.kind == "f" else 0.0
    off = np.abs(numbers - numbers[0] - step * np.arange(len(numbers))).max()
    if step == 0 or off > max(SAME_GRID * abs(step), min(rounding, _UNEVEN * abs(step))):
        raise CrsError(f"the coordinates {name} have no equal steps; resample the array to a regular grid first.")
    return float(step), float(numbers[0])


def _aligned(own: Affine, stated: Affine, shape: tuple[int, int]) -> Affine:
    """The stated grid, from the pixel on where the array begins, if its pixels are the array's; else its own."""
    shift = ~stated @ own
    x, y = round(shift.c), round(shift.f)
    for corner in ((0, 0), (shape[1], shape[0])):
        at_x, at_y = shift @ corner
        if max(abs(at_x - corner[0] - x), abs(at_y - corner[1] - y)) > 10 * SAME_GRID:
            return own
    return stated @ Affine.translation(x, y)
