"""Rasters to a sharded Zarr store, streamed, as xarray and GDAL read it: coordinates, CRS, scale, names of classes.

Two processes that write parts of one shard lose what the other wrote, without a word; so a store has one writer, which
writes whole shards. Format 3 of Zarr; coordinates and grid mapping by the CF conventions 1.11, sections 5.6 and 8.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from zarr.codecs import BloscCodec

from geoseg.errors import OutputError
from geoseg.files import working_folder
from geoseg.grid import Window

CHUNK = 512
"""Side of what is read at once, px."""

SHARD = 2 * CHUNK
"""Side of what lies in one file, and is written at once, px."""

GRID_MAPPING = "spatial_ref"
"""Where odc-geo and rioxarray look for the CRS."""


def shards_of(shape: tuple[int, int]) -> Iterator[Window]:
    """Windows of a raster that are whole shards, in raster order."""
    for y in range(0, shape[0], SHARD):
        for x in range(0, shape[1], SHARD):
            yield Window(y, x, min(SHARD, shape[0] - y), min(SHARD, shape[1] - x))


def write_zarr(
    path: Path,
    shape: tuple[int, int],
    transform: Affine,
    crs: Any,
    windows: Iterable[tuple[Window, NDArray[Any]]],
    *,
    description: str,
    dtype: str,
    nodata: int,
    bands: Sequence[str] = (),
    scale: float = 1.0,
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Write a Zarr store, which appears under its name when it is complete.

    Parameters
    ----------
    path, shape, transform, crs
        As of `geoseg.raster.write_cog`.
    windows : iterable of (Window, ndarray of shape (y, x) or (class, y, x))
        The pixels by `shards_of`.
    description : str
        Name of the variable.
    dtype : str
        An unsigned integer type.
    nodata : int
        The value without data; xarray makes NaN of it.
    bands : sequence of str
        Names along the dimension ``class``; without any there is none.
    scale : float
        What a number x means: ``scale * x``.
    attributes : mapping
        More of the variable, such as names of classes.

    Raises
    ------
    OutputError
        It cannot be written, or a file or a folder with other content lies there.
    """
    _refuse_others(path, {description, "class", "y", "x", GRID_MAPPING})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(path) as folder:
            group = zarr.open_group(str(folder / "store"), mode="w", zarr_format=3)
            _describe(group, shape, transform, crs, bands)
            depth = (len(bands),) if bands else ()
            meaning = {} if scale == 1.0 else {"scale_factor": scale}
            array = group.create_array(
                description,
                shape=(*depth, *shape),
                chunks=(*(1 for _ in depth), CHUNK, CHUNK),
                shards=(*depth, SHARD, SHARD),
                dtype=dtype,
                fill_value=nodata,
                compressors=BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle"),
                dimension_names=(*("class" for _ in depth), "y", "x"),
                attributes={"_FillValue": nodata, **meaning, "grid_mapping": GRID_MAPPING, **attributes},
            )
            for window, pixels in windows:
                array[(..., *window.slices())] = pixels
            if path.exists():
                path.rename(folder / "former")
            (folder / "store").rename(path)
    except OSError as error:
        raise OutputError(
            f"'{path}' cannot be written ({error.strerror or error}); choose a folder that you may write to and that "
            "has space."
        ) from error
    return path


def _refuse_others(path: Path, names: set[str]) -> None:
    """Refuse to replace what is no store of these arrays, and may be somebody's."""
    others = {entry.name for entry in path.iterdir()} - {"zarr.json", *names} if path.is_dir() else set()
    if others or path.is_file():
        kind = f"a folder that holds '{min(others)}'" if others else "a file"
        raise OutputError(f"'{path}' is {kind}; remove it, or choose another folder for the output.")


def _describe(group: zarr.Group, shape: tuple[int, int], transform: Affine, crs: Any, bands: Sequence[str]) -> None:
    """Write names of classes, where pixels lie, and the CRS."""
    if bands:
        _coordinate(group, "class", np.array(bands, object), str, {})
    names = _axes(crs)
    if transform.b == transform.d == 0:  # a rotated grid has no coordinates of rows and columns
        rows, cols = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
        _coordinate(group, "y", transform.f + transform.e * rows, np.float64, names[1])
        _coordinate(group, "x", transform.c + transform.a * cols, np.float64, names[0])
    attributes: dict[str, Any] = {"GeoTransform": " ".join(map(repr, transform.to_gdal()))}
    if crs is not None:
        attributes |= {key: CRS.from_user_input(crs).to_wkt() for key in ("crs_wkt", "spatial_ref")}
    group.create_array(GRID_MAPPING, shape=(), dtype="int32", attributes=attributes)


def _coordinate(group: zarr.Group, name: str, values: NDArray[Any], dtype: Any, attributes: dict[str, Any]) -> None:
    array = group.create_array(name, shape=values.shape, dtype=dtype, dimension_names=(name,), attributes=attributes)
    array[:] = values


def _axes(crs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What x and y are, as the CF conventions have it."""
    if crs is None:
        return {}, {}
    if CRS.from_user_input(crs).is_geographic:
        return (
            {"standard_name": "longitude", "units": "degrees_east"},
            {"standard_name": "latitude", "units": "degrees_north"},
        )
    return {"standard_name": "projection_x_coordinate"}, {"standard_name": "projection_y_coordinate"}
