"""What a program gives as imagery: paths, open datasets, arrays and Datasets of xarray, and lists and mappings of them.

It knows what an object is and what messages call it; pixels are read elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT

from geoseg.errors import BandError, InputTypeError, RasterError
from geoseg.raster.array_grids import spatial_dims
from geoseg.raster.header import Header
from geoseg.raster.stores import STORE, is_store, open_store, variables_of

if TYPE_CHECKING:
    import xarray as xr

ImageryLike: TypeAlias = (
    "str | os.PathLike[str] | xr.DataArray | xr.Dataset | rasterio.DatasetReader | Sequence[ImageryLike] "
    "| Mapping[str, ImageryLike | Mapping[str, Any]]"
)
"""A path, an open dataset, an array or Dataset, several, those of each band, or each date with options of its own."""

INPUT = "input"
"""Key of the imagery in a mapping of one date with its options."""

NODATA_KEYS = "_FillValue", "missing_value", "nodata", "nodatavals"
"""Attributes of an array that tell its nodata, the first that is there."""

LINE_KEYS = "scales", "scale_factor", "offsets", "add_offset"
"""Attributes of an array whose values are scaled: a list of its bands, as rioxarray has it, before what is of all."""

_DATASETS = rasterio.DatasetReader, WarpedVRT


def is_array(value: Any) -> bool:
    """Say whether a value is an array of xarray; xarray is not loaded to find out."""
    return type(value).__name__ == "DataArray" and type(value).__module__.startswith("xarray.")


def is_dataset(value: Any) -> bool:
    """Say whether a value is a Dataset of xarray."""
    return type(value).__name__ == "Dataset" and type(value).__module__.startswith("xarray.")


def is_imagery_object(value: Any) -> bool:
    """Say whether a value is imagery that a program holds, and no path."""
    return is_array(value) or is_dataset(value) or isinstance(value, _DATASETS)


def named(value: Any) -> str:
    """What messages call an input: its path, or what kind of object it is and its name."""
    if isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return ", ".join(map(named, value[:3])) + (", ..." if len(value) > 3 else "")
    if isinstance(value, Mapping) and not is_dataset(value):
        return ", ".join(f"{key}: {named(item)}" for key, item in list(value.items())[:3])
    name = own_name(value)
    if is_array(value) and value.encoding.get(STORE):
        return f"{value.encoding[STORE]}/{name}"
    return f"{type(value).__name__} {name}" if name else type(value).__name__


def own_name(value: Any) -> str:
    """The name that somebody gave an object; xarray takes that of a Dask array, which is a key of its graph."""
    name = getattr(value, "name", None)
    is_given = isinstance(name, str) and name != getattr(
        getattr(getattr(value, "variable", None), "_data", None), "name", ""
    )
    return str(name) if is_given else ""


def given_imagery(value: Any) -> Any:
    """What a caller gives as imagery, with paths as text, open datasets as their paths, and a Dataset band by band.

    Parameters
    ----------
    value : path, DatasetReader, DataArray, Dataset, or a list or mapping of these
        Imagery.

    Raises
    ------
    InputTypeError
        It is another object.
    """
    if isinstance(value, str | Header) or is_array(value):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if is_dataset(value):
        return _bands_of(value)
    if isinstance(value, list | tuple):
        return [given_imagery(item) for item in value]
    if isinstance(value, Mapping):
        own = {INPUT: given_imagery(value[INPUT])} if INPUT in value else None
        return {**value, **own} if own else {name: _given_as(name, item) for name, item in value.items()}
    if isinstance(value, _DATASETS):
        return _path_of(value)
    remedy = "a path, an open rasterio dataset, an xarray.DataArray or Dataset"
    if isinstance(value, np.ndarray):
        remedy = 'its place too: xarray.DataArray(array, dims=("band", "y", "x")) with coordinates, or crs="local"'
    raise InputTypeError(f"a {type(value).__name__} is no imagery; give {remedy}.")


def _given_as(name: Any, value: Any) -> Any:
    """What a caller gives as one band or date of several, by whose name it is refused."""
    try:
        return given_imagery(value)
    except InputTypeError as error:
        raise InputTypeError(f"the input's '{name}': {error}") from error


def with_stores(value: Any) -> Any:
    """The same imagery, with Zarr stores as arrays and netCDF files as their variables, band by band.

    Raises
    ------
    RasterError
        A store cannot be opened, or several have other variables.
    """
    if isinstance(value, str):
        return given_imagery(open_store(value)) if is_store(value) else variables_of(value)
    if isinstance(value, Mapping):
        return {name: with_stores(item) for name, item in value.items()}
    if not isinstance(value, list):
        return value
    items = [with_stores(item) for item in value]
    if not any(isinstance(item, dict) for item in items):
        return items
    names = [sorted(item) if isinstance(item, dict) else ["bands of a file"] for item in items]
    if (other := next((number for number, own in enumerate(names) if own != names[0]), None)) is not None:
        raise RasterError(
            f"'{named(value[other])}' has other variables ({', '.join(names[other])}) than '{named(value[0])}' "
            f"({', '.join(names[0])}); process them in runs of their own."
        )
    return {name: [item[name] for item in items] for name in names[0]}


def holds_arrays(value: Any) -> bool:
    """Say whether imagery, as `given_imagery` returns it, has arrays in it."""
    if isinstance(value, Mapping):
        return any(map(holds_arrays, value.values()))
    return any(map(holds_arrays, value)) if isinstance(value, list) else is_array(value)


def _bands_of(dataset: xr.Dataset) -> xr.DataArray | dict[str, xr.DataArray]:
    """The variables of a Dataset that have pixels, by name; one alone is a raster of as many bands as it has."""
    mappings = [name for name, item in dataset.data_vars.items() if not item.ndim]
    dataset = dataset.set_coords(mappings)
    shared = {key: dataset.attrs[key] for key in (*NODATA_KEYS, *LINE_KEYS, "long_name") if key in dataset.attrs}
    bands: dict[str, xr.DataArray] = {}
    for name, item in dataset.data_vars.items():
        if item.ndim >= 2:  # array.to_dataset("band") leaves attributes of the array to the Dataset
            own = {key: entry for key, value in shared.items() if (entry := _of_number(value, name)) is not None}
            label = str(own.pop("long_name", "") if isinstance(name, int) else "") or str(name)
            bands[str(name) if label in bands else label] = item.assign_attrs({**own, **item.attrs})
    if not bands:
        raise RasterError("the Dataset has no variable with rows and columns; give one with imagery.")
    if len(bands) == 1:
        return next(iter(bands.values()))
    for name, item in bands.items():
        others = [axis for axis in item.dims if axis not in spatial_dims(item, name) and item.sizes[axis] > 1]
        if others:
            raise BandError(
                f"the variable '{name}' of the Dataset has the axis '{others[0]}' of length {item.sizes[others[0]]}, "
                f"and each of several variables is one band; choose one of it first: dataset.isel({others[0]}=0)."
            )
    return bands


def _of_number(value: Any, name: Any) -> Any:
    """What a list of a file's bands says of the band of a number; what is said of all as it is."""
    if not (isinstance(value, list | tuple | np.ndarray) and np.ndim(value)):
        return value
    return value[name - 1] if isinstance(name, int) and 1 <= name <= len(value) else None


def _path_of(dataset: rasterio.DatasetReader) -> str:
    """The path of an open dataset, where opening it again gives the same pixels.

    Raises
    ------
    InputTypeError
        It is a view of another dataset, or has no path of its own.
    """
    name = str(dataset.name)
    if type(dataset).__name__ == "WarpedVRT" or not name or dataset.mode != "r":
        raise InputTypeError(
            f"the dataset '{name}' is no file of its own; write it to one first, such as rasterio.shutil.copy(dataset, "
            "'imagery.vrt', driver='VRT'), and open a WarpedVRT with add_alpha=True, because it loses masks else."
        )
    if Path(name).exists():
        name = str(Path(name).absolute())
    try:
        again = rasterio.open(name)
    except RasterioError as error:
        raise InputTypeError(
            f"the dataset '{name}' cannot be opened again by its name; keep its file, or the MemoryFile that holds it."
        ) from error
    with again:
        if (again.shape, again.transform, again.count) != (dataset.shape, dataset.transform, dataset.count):
            raise InputTypeError(
                f"the dataset '{name}' was opened with options that change its pixels, such as an overview; give the "
                "file with resolution= instead."
            )
    return name
