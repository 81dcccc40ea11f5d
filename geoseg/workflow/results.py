"""Results on disk as what a person computes with: rasters as lazy arrays of xarray, polygons as a GeoDataFrame.

It reads files that a run has written, whoever asks for them and whenever.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import dask.array as da
import geopandas as gpd
import numpy as np
import pyogrio
import xarray as xr
from dask.array.core import normalize_chunks
from dask.base import tokenize
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoseg.errors import InputNotFoundError, RasterReadError
from geoseg.probabilities import as_floats
from geoseg.raster.arrays import read_array_header
from geoseg.raster.handles import lent
from geoseg.raster.header import read_header
from geoseg.raster.options import configured

CHUNK = 2048
"""Side of a chunk, px."""

UNREADABLE = ".pmtiles"
"""Ending of files that hold polygons cut into tiles."""


def check_there(path: Path) -> None:
    """Refuse to read a file of a run that was moved or removed since, and say which, or which folder.

    Raises
    ------
    InputNotFoundError
        It is not there.
    """
    if path.exists():
        return
    gone = next(place for place in (*reversed(path.parents), path) if not place.exists())
    if gone == path:
        raise InputNotFoundError(
            f"{path} of the run is not there any more; put it back, or run the same again, which writes what is missing"
        )
    raise InputNotFoundError(
        f"the folder {gone} of the run's {path.name} is not there any more; put it back, or give geoseg.resume the "
        "folder in which the run is now"
    )


@configured()
def read_raster(path: Path, name: str, attributes: Mapping[str, Any]) -> xr.DataArray:
    """Return a raster as a lazy array: (y, x) of one band, with its numbers as stored; (class, y, x) of several.

    Those of several bands are probabilities: float32, NaN where there are none.

    Parameters
    ----------
    path : Path
        A GeoTIFF, or a Zarr store.
    name : str
        Of the array.
    attributes : mapping
        Of the array.

    Raises
    ------
    InputNotFoundError
        It is not there any more.
    RasterError
        It cannot be opened.
    """
    check_there(path)
    if path.suffix == ".zarr":
        return _read_store(path, name, attributes)
    header = read_header(str(path), str(path), require_crs=False)
    with lent(str(path)) as opened:
        bands, dtype = opened.count, np.dtype(opened.dtypes[0])
        nodata, names = opened.nodata, [text or "" for text in opened.descriptions]
    is_several = name == "probabilities"
    shape = (bands, *header.geobox.shape) if is_several else tuple(header.geobox.shape)
    chunks = normalize_chunks((*((-1,) if is_several else ()), CHUNK, CHUNK), shape, dtype=dtype)
    pixels = da.map_blocks(
        _read, str(path), chunks=chunks,
        dtype=np.dtype(np.float32) if is_several else dtype, meta=np.empty((0,) * len(shape), dtype),
        name=f"{name}-{tokenize(str(path.absolute()), path.stat().st_mtime_ns, path.stat().st_size)}",
    )  # fmt: skip
    grid = _grid(header.geobox)
    if not is_several:
        return _single(pixels, grid, name, {"nodata": nodata, **attributes})
    return _several(pixels, grid, name, attributes, names)


def _read_store(path: Path, name: str, attributes: Mapping[str, Any]) -> xr.DataArray:
    """A raster of a Zarr store as that of a GeoTIFF is."""
    stored = xr.open_zarr(path, mask_and_scale=False, decode_coords="all")
    array: xr.DataArray = next(item for item in stored.data_vars.values() if item.ndim > 1)
    grid = _grid(read_array_header(array, require_crs=False).geobox)
    if name != "probabilities":
        return _single(array.data, grid, name, {"nodata": array.attrs.get("_FillValue"), **attributes})
    pixels = array.data.map_blocks(as_floats, dtype=np.float32)
    return _several(pixels, grid, name, attributes, array["class"].values.tolist())


def _single(pixels: da.Array, grid: GeoBox, name: str, attributes: Mapping[str, Any]) -> xr.DataArray:
    """Pixels (y, x) with their place."""
    array: xr.DataArray = wrap_xr(pixels, grid, **attributes)
    return array.rename(name)


def _several(
    pixels: da.Array, grid: GeoBox, name: str, attributes: Mapping[str, Any], classes: Sequence[str]
) -> xr.DataArray:
    """Pixels (class, y, x) with their place."""
    array: xr.DataArray = wrap_xr(pixels, grid, axis=1, dims=("class", *grid.dimensions), **attributes)
    return array.assign_coords({"class": list(classes)}).rename(name)


def _grid(geobox: GeoBox) -> GeoBox:
    """A grid without its CRS where that is a local one, which odc-geo has no names of axes for."""
    is_local = geobox.crs is not None and geobox.crs.proj.is_engineering
    return GeoBox(geobox.shape, geobox.transform, None) if is_local else geobox


def _read(path: str, block_info: Any = None) -> NDArray[Any]:
    """Pixels of a chunk, of one band or of probabilities."""
    *bands, (top, bottom), (left, right) = block_info[None]["array-location"]
    window = Window(left, top, right - left, bottom - top)
    try:
        with lent(path) as opened:
            pixels: NDArray[Any] = opened.read(None if bands else 1, window=window)
    except RasterioError as error:
        raise RasterReadError(f"'{path}' cannot be read ({error}); has it been moved? Run it again.") from error
    return as_floats(pixels) if bands else pixels


def read_features(paths: Sequence[Path]) -> gpd.GeoDataFrame:
    """Return the polygons of the first file that can be read whole.

    Raises
    ------
    InputNotFoundError
        There is none, or not any more.
    """
    whole = [path for path in paths if path.suffix.lower() != UNREADABLE]
    if not whole:
        raise InputNotFoundError(
            "the run has no file of polygons that can be read whole; name one, such as features=['features.gpkg']."
        )
    path = next((path for path in whole if path.exists()), whole[0])
    check_there(path)
    if path.suffix.lower() == ".parquet":
        return gpd.read_parquet(path)
    named = [name for name, kind in pyogrio.list_layers(path) if kind is not None]  # styles are no layer
    return pyogrio.read_dataframe(path, layer=named[0] if named else None)


def explore(features: gpd.GeoDataFrame, colors: Mapping[Any, str], column: str) -> Any:
    """Return an interactive map of polygons, by folium or by lonboard, whichever is installed.

    Parameters
    ----------
    features : GeoDataFrame
        With a CRS on the ground.
    colors : mapping
        Colours ``"#rrggbb"`` by the values of a column.
    column : str
        That column.

    Raises
    ------
    InputNotFoundError
        Neither is installed.
    """
    placed = features.to_crs(4326)
    shown = [name for name in features.columns if name != features.geometry.name]
    try:
        import folium
    except ImportError:
        try:
            from lonboard import viz
        except ImportError as error:
            raise InputNotFoundError(
                "explore() draws with folium or lonboard, and neither is installed; pip install folium."
            ) from error
        return viz(features)
    left, bottom, right, top = placed.total_bounds.tolist() if len(placed) else (-180, -60, 180, 60)
    page = folium.Map()
    page.fit_bounds([[bottom, left], [top, right]])

    def style(feature: Mapping[str, Any]) -> dict[str, Any]:
        color = colors.get(feature["properties"].get(column), "#3388ff")
        return {"color": color, "fillColor": color, "weight": 1, "fillOpacity": 0.5}

    if len(placed):
        folium.GeoJson(placed, style_function=style, tooltip=folium.GeoJsonTooltip(shown)).add_to(page)
    return page
