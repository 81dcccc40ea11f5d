"""Zarr stores and netCDF files of several variables, by path or address, as what is read by window.

GDAL of rasterio's wheels reads arrays of Zarr's format 2 one at a time, and none that zarr-python writes in format 3.
So variables of a store are arrays of xarray, which are read chunk by chunk and say where they lie as
`geoseg.raster.array_grids` knows it; what the GeoZarr conventions ``proj:`` and ``spatial:`` say is brought into that
form here. Of a netCDF file GDAL reads each variable; here they are found.

Sources: CF conventions 1.11, section 5.6; the conventions geo-proj, spatial and multiscales of
https://github.com/zarr-conventions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from geoseg.errors import CrsError, RasterError
from geoseg.raster.handles import close_former, unplaced_allowed
from geoseg.raster.placing import named_crs, stated_crs

if TYPE_CHECKING:
    import xarray as xr

STORE = "geoseg:store"
"""Key in the encoding of an array: the store that it was opened from, as it was given."""

_METADATA = "zarr.json", ".zgroup", ".zarray", ".zmetadata"
_ADDRESS = re.compile(r"[a-z0-9+]+://.*\.zarr(/|$)", re.IGNORECASE)
_NETCDF = ".nc", ".nc4", ".cdf"
_ALONG_X = {"standard_name": "longitude", "units": "degrees_east", "axis": "X"}
_MAPPING = "spatial_ref"
_NODATA = "_FillValue", "missing_value"
_CODES = "proj:code", "proj:wkt2", "proj:projjson", "proj:epsg", "_CRS"
_OF_GDAL = "wkt", "projjson", "url"
_CONVENTIONS = "proj:", "spatial:"
_TRANSFORMS = "spatial:transform", "proj:transform"


def is_store(given: str) -> bool:
    """Say whether a path or an address is that of a Zarr store, or of a group or an array in one."""
    if _ADDRESS.match(given):
        return True
    path = Path(given).expanduser()
    return path.is_dir() and any((path / name).is_file() for name in _METADATA)


def open_store(given: str, said: Mapping[str, Any] = MappingProxyType({})) -> xr.Dataset | xr.DataArray:
    """The imagery of a store: all variables of a group that have pixels, the finest of several scales, or one array.

    Parameters
    ----------
    given : str
        Path or address of the store, or of a group or an array in it.
    said : mapping
        What the group says that it is one of the scales of.

    Raises
    ------
    RasterError
        It cannot be opened, or holds groups alone.
    """
    address = given.rstrip("/") if _ADDRESS.match(given) else str(Path(given).expanduser().absolute())
    node = _open_node(address, given)
    if hasattr(node, "shape"):
        home, _, name = address.rpartition("/")
        return _dataset(_open_node(home, given), home, given, said, only=name)[name]
    if finest := _finest(node.attrs.get("multiscales")):
        place = {key: value for key, value in {**node.attrs, **finest}.items() if key.startswith(_CONVENTIONS)}
        return open_store(f"{address}/{finest.get('asset') or finest.get('path')}", place)
    dataset = _dataset(node, address, given, said)
    if not any(item.ndim >= 2 for item in dataset.data_vars.values()):
        groups = sorted(name for name, _ in node.groups())
        raise RasterError(
            f"'{given}' holds no variable with rows and columns"
            + (f", but the groups {', '.join(groups)}; name one, such as '{given}/{groups[0]}'." if groups else ".")
        )
    return dataset


def variables_of(given: str) -> str | dict[str, str]:
    """A netCDF file of several variables on one grid, band by band as GDAL names them; another file as it is given.

    Raises
    ------
    RasterError
        Its rows run along x, and GDAL takes them for y.
    """
    path = Path(given).expanduser()
    if path.suffix.lower() not in _NETCDF or not path.is_file():
        return given
    shapes: dict[str, tuple[int, int]] = {}
    counts: dict[str, int] = {}
    close_former(str(path.absolute()))
    try:
        with unplaced_allowed():
            with rasterio.open(path) as whole:
                names = list(whole.subdatasets)
                if whole.count:
                    _check_axes(path, whole)
            for name in names:
                with rasterio.open(name) as variable:
                    shapes[name], counts[name] = variable.shape, variable.count
                    _check_axes(path, variable)
    except RasterioError:
        return given  # opening it says why
    largest = max(shapes.values(), key=lambda shape: shape[0] * shape[1], default=(0, 0))
    chosen = [name for name, shape in shapes.items() if shape == largest]
    if len(chosen) == 1 and counts[chosen[0]] > 1:  # beside it are small ones, such as letters of its bands' names
        return chosen[0]
    return {name.rpartition(":")[2]: name for name in chosen} or given


def _check_axes(path: Path, opened: rasterio.DatasetReader) -> None:
    """Refuse a variable whose last dimension is y: GDAL 3.12 takes it for x, without a word."""
    transform, (height, width) = opened.transform, opened.shape
    columns = transform.c + transform.a * (np.arange(width) + 0.5)
    rows = transform.f + transform.e * (np.arange(height) + 0.5)
    along_x = [
        key.partition("#")[0] for key, value in opened.tags().items() if _ALONG_X.get(key.partition("#")[2]) == value
    ]
    for name in along_x:
        try:
            with rasterio.open(f"netcdf:{path.absolute()}:{name}") as coordinate:
                values = coordinate.read(1).ravel()
        except RasterioError:  # no array of its own
            continue
        if _are_alike(values, rows, transform.a) and not _are_alike(values, columns, transform.a):
            raise RasterError(
                f"'{path}' has rows along {name}, which GDAL takes for columns; turn it first, such as in xarray by "
                f"dataset.transpose(..., '{name}'), or write it as a Zarr store."
            )


def _are_alike(values: NDArray[Any], others: NDArray[np.float64], step: float) -> bool:
    """Whether two axes have the same places, in whichever direction."""
    return len(values) == len(others) and np.allclose(np.sort(values), np.sort(others), rtol=0, atol=1e-3 * abs(step))


def _open_node(address: str, given: str) -> Any:
    """A group or an array of zarr."""
    import zarr

    try:
        return zarr.open(address, mode="r")
    except ImportError as error:
        raise RasterError(
            f"'{given}' is read through fsspec, which lacks a package ({error}); install it, such as `pip install "
            "aiohttp` for https or `pip install s3fs` for s3."
        ) from error
    except Exception as error:  # stores and their codecs raise what they like
        text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")[:200]
        raise RasterError(f"'{given}' is no Zarr store that can be opened ({text}); correct its address.") from error


def _finest(scales: Any) -> Mapping[str, Any]:
    """The finest of several scales, which all conventions name first; empty where there are none."""
    first = scales[0] if isinstance(scales, list) and scales else scales
    for key in ("layout", "datasets"):
        levels = first.get(key) if isinstance(first, Mapping) else None
        if isinstance(levels, list) and levels and isinstance(levels[0], Mapping):
            return levels[0] if levels[0].get("asset") or levels[0].get("path") else {}
    return {}


def _dataset(group: Any, address: str, given: str, said: Mapping[str, Any], only: str | None = None) -> xr.Dataset:
    """Variables of a group with rows and columns, as stored, that know their place and nodata; of them all or one."""
    import xarray as xr

    try:
        others = [name for name, item in group.arrays() if only and name != only and item.ndim > 1]
    except (TypeError, KeyError) as error:
        raise RasterError(
            f"'{given}' has metadata that zarr does not read ({type(error).__name__}: {error}), as GDAL writes it with "
            "FORMAT=ZARR_V3; write it with FORMAT=ZARR_V2."
        ) from error
    dataset = xr.open_dataset(
        address, engine="zarr", chunks=None, cache=False, mask_and_scale=False, decode_times=False, decode_coords="all",
        use_zarr_fill_value_as_mask=False, consolidated=group.metadata.consolidated_metadata is not None,
        drop_variables=others,
    )  # fmt: skip
    dataset = dataset.set_coords([name for name, item in dataset.data_vars.items() if not item.ndim])
    for name in [name for name, item in dataset.data_vars.items() if item.ndim >= 2]:
        item = dataset[name]
        fill = group[name].fill_value
        if not any(key in item.attrs for key in _NODATA) and fill is not None and fill != 0:
            item = item.assign_attrs(_FillValue=np.asarray(fill).item())
        item.encoding[STORE] = given
        dataset[name] = _placed(item, {**said, **dataset.attrs, **item.attrs}, f"{given}/{name}")
    return dataset[sorted(map(str, dataset.data_vars))]  # a folder lists them in any order


def _placed(array: xr.DataArray, said: Mapping[str, Any], given: str) -> xr.DataArray:
    """An array with the CRS and the transform of the GeoZarr conventions in the form that CF and GDAL have for them."""
    import xarray as xr

    mapping: dict[str, Any] = {}
    if (code := next((said[key] for key in _CODES if said.get(key)), None)) is not None:
        try:
            mapping["crs_wkt"] = _wkt(code)
        except (CrsError, ValueError) as error:
            raise CrsError(f"'{given}': {error}") from error
    numbers = next((said[key] for key in _TRANSFORMS if key in said), None)
    if numbers is not None:
        affine = Affine(*map(float, list(numbers)[:6]))
        if str(said.get("spatial:registration", "pixel")) == "node":
            affine @= Affine.translation(-0.5, -0.5)
        mapping["GeoTransform"] = " ".join(map(repr, affine.to_gdal()))
    named = [str(name) for name in said.get("spatial:dimensions", ())]
    if len(named) == 2 and set(named) <= set(array.dims):
        array = array.rename({old: new for old, new in zip(named, ("y", "x"), strict=True) if old != new})
    if not mapping:
        return array
    before = array.encoding.get("grid_mapping") or array.attrs.get("grid_mapping")
    known = dict(array.coords[before].attrs) if before in array.coords else {}
    placed = array.assign_coords({_MAPPING: xr.DataArray(0, attrs={**known, **mapping})})
    placed.encoding = {**array.encoding, "grid_mapping": _MAPPING}
    return placed


def _wkt(code: Any) -> str:
    """The CRS of a code, WKT or PROJJSON, or of several of these, as GDAL's driver writes them (``_CRS``)."""
    if isinstance(code, Mapping):
        code = next((code[key] for key in _OF_GDAL if code.get(key)), code)
    if isinstance(code, Mapping):
        import pyproj

        return pyproj.CRS.from_json(json.dumps(code)).to_wkt()
    text = f"EPSG:{code}" if str(code).isdecimal() else str(code)
    crs = stated_crs(text) if "[" in text else named_crs(text)
    return str(crs.to_wkt())
