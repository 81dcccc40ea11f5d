"""Arrays that a program holds (xarray, lazy or in memory) as rasters beside files: read by window, never whole.

The recipe of an array is the array itself where it is lazy, because then it travels without its pixels; one in memory
is written to a file while other processes read it. It knows arrays; where they lie on the ground is told by
`geoseg.raster.array_grids`.
"""

from __future__ import annotations

import hashlib
import math
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias

import cloudpickle
import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.crs import CRS
from rasterio.vrt import WarpedVRT

from geoseg.errors import BandError, InputTypeError, OutputError, RasterError
from geoseg.grid import Window
from geoseg.raster.array_grids import grid_of_array, spatial_dims
from geoseg.raster.bands import BandRequest, FileBand
from geoseg.raster.calibration import AS_STORED, Line
from geoseg.raster.facts import usable_nodata
from geoseg.raster.header import Header
from geoseg.raster.mosaic import Raster
from geoseg.raster.source import Source
from geoseg.raster.stores import STORE, is_store, open_store, variables_of

if TYPE_CHECKING:
    import xarray as xr

ImageryLike: TypeAlias = (
    "str | os.PathLike[str] | xr.DataArray | xr.Dataset | rasterio.DatasetReader | Sequence[ImageryLike] "
    "| Mapping[str, ImageryLike]"
)
"""A path, an open dataset, an array or Dataset, several, or those of each band."""

LARGE_RECIPE = 16 * 2**20
"""Bytes of a pickled array from which on it is written to a file for other processes, and not sent to each of them."""

SIDE, ALONG = 64, 4
"""Px, and number along each axis, of the windows by which the content of a lazy array is identified."""

_STRIP_BYTES = 64 * 2**20  # of an array in memory that are written or digested at once
_DATASETS = rasterio.DatasetReader, WarpedVRT
_NODATA = "_FillValue", "missing_value", "nodata", "nodatavals"
_UNITS = "scale_factor", "add_offset"
_UNIT_NAMES = ("scales", "scale_factor"), ("offsets", "add_offset")


class Pixels(Protocol):
    """Pixels of an array, by band and window."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""

    def take(self, bands: Sequence[int], rows: slice, columns: slice) -> NDArray[Any]:
        """Read bands, counted from 0, of some rows and columns: shape (band, y, x), the caller's own."""


@dataclass(frozen=True)
class LazyPixels:
    """Pixels of an array of xarray, in memory or lazy.

    Attributes
    ----------
    variable : xarray.Variable
        Its axes are band, y, x; or y, x of one band, as a new axis would read a lazy array whole.
    stored_bytes : int
        Of a chunk of the file that it is read from, which is read whole.
    """

    variable: Any
    stored_bytes: int = 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Bands, rows and columns."""
        *bands, height, width = self.variable.shape
        return (*bands, 1)[0], height, width

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the pixels."""
        dtype: np.dtype[Any] = self.variable.dtype
        return dtype

    @property
    def is_in_memory(self) -> bool:
        """Whether the pixels are there, and nothing has to be computed or read."""
        return isinstance(self.variable._data, np.ndarray)

    @property
    def chunk_bytes(self) -> int:
        """Bytes of the largest chunk of Dask, or of a file, which is computed or read whole; 0 where there are none."""
        if self.is_in_memory:
            return 0
        chunks = self.variable.chunks
        return math.prod(map(max, chunks)) * self.dtype.itemsize if chunks else self.stored_bytes

    def take(self, bands: Sequence[int], rows: slice, columns: slice) -> NDArray[Any]:
        """Read bands; what Dask has to compute for them is computed in this thread."""
        chosen = slice(None) if list(bands) == list(range(self.shape[0])) else list(bands)
        key = (chosen, rows, columns)[3 - self.variable.ndim :]
        part = self.variable[key].data
        if hasattr(part, "dask"):
            part = part.compute(scheduler="synchronous")
        return np.array(part).reshape(-1, *part.shape[-2:])


@dataclass(frozen=True)
class FilePixels:
    """Pixels that were written to a file of NumPy's, for other processes.

    Attributes
    ----------
    path : Path
        The file.
    shape : (int, int, int)
        Bands, rows and columns.
    dtype : numpy dtype
        Of the pixels.
    """

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]

    def take(self, bands: Sequence[int], rows: slice, columns: slice) -> NDArray[Any]:
        """Read bands; the file is mapped while it is read and no longer, so that it counts as no memory."""
        mapped = np.load(self.path, mmap_mode="r")
        return np.stack([np.array(mapped[band, rows, columns]) for band in bands])


@dataclass(frozen=True)
class ArraySource(Source):
    """The chosen bands of an array.

    Attributes
    ----------
    array : Pixels
        All bands.
    classes : tuple of (int, str, str)
        Values, names and colours (empty where there are none) that the array gives its numbers.
    """

    array: Pixels = field(default=None, compare=False, repr=False)  # type: ignore[assignment]  # fields before it have defaults
    classes: tuple[tuple[int, str, str], ...] = field(default=(), repr=False)
    is_file: ClassVar[bool] = False

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window, as `Source.read`.

        Raises
        ------
        RasterReadError
            What the array is computed of cannot be read or computed.
        """
        try:
            layers = self.array.take([index - 1 for index in self.indexes], *window.slices())
        except Exception as error:  # a lazy array runs a program of others
            text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")[:200]
            raise self.refused(
                f"'{self.given}' cannot be read at {window} ({text}); compute the array alone to see the cause, such "
                "as array[..., :100, :100].compute()."
            ) from error
        return self.finished(layers.astype(self.dtype, copy=False), None)

    @property
    def chunk_bytes(self) -> int:
        """Memory that a chunk of the array takes."""
        return self.array.chunk_bytes if isinstance(self.array, LazyPixels) else 0

    def identity(self) -> dict[str, Any]:
        """Identify the content: of all pixels of an array in memory, of `ALONG` x `ALONG` windows of a lazy one."""
        shape, dtype = self.array.shape, self.array.dtype
        digest = hashlib.sha256(f"{shape} {dtype.str}".encode())
        bands = range(shape[0])
        is_whole = not isinstance(self.array, LazyPixels) or self.array.is_in_memory
        for window in _strips(shape, dtype) if is_whole else _samples(shape):
            digest.update(np.ascontiguousarray(self.array.take(bands, *window.slices())).data)
        facts = {"size": int(np.prod(shape)) * dtype.itemsize, "mtime_ns": None, "sha256": digest.hexdigest()}
        return {"path": self.given, "absolute": self.given, **facts}


@dataclass(frozen=True)
class ArrayHeader(Header):
    """What an array says of itself.

    Attributes
    ----------
    array : Pixels
        All bands.
    classes : tuple of (int, str, str)
        As of `ArraySource`.
    """

    array: Pixels = field(default=None, compare=False, repr=False)  # type: ignore[assignment]  # fields before it have defaults
    classes: tuple[tuple[int, str, str], ...] = ()

    def select(self, wanted: Sequence[BandRequest] | None) -> tuple[Source, tuple[str, ...]]:
        """Choose bands, as `Header.select`."""
        source, names = super().select(wanted)
        return ArraySource(**vars(source), array=self.array, classes=self.classes), names


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
        return {name: given_imagery(item) for name, item in value.items()}
    if isinstance(value, _DATASETS):
        return _path_of(value)
    remedy = "a path, an open rasterio dataset, an xarray.DataArray or Dataset"
    if isinstance(value, np.ndarray):
        remedy = 'its place too: xarray.DataArray(array, dims=("band", "y", "x")) with coordinates, or crs="local"'
    raise InputTypeError(f"a {type(value).__name__} is no imagery; give {remedy}.")


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
    shared = {key: dataset.attrs[key] for key in (*_NODATA, *_UNITS) if key in dataset.attrs}
    bands = {
        str(name): item.assign_attrs({**shared, **item.attrs})  # where array.to_dataset("band") leaves them
        for name, item in dataset.data_vars.items()
        if item.ndim >= 2
    }
    if not bands:
        raise RasterError("the Dataset has no variable with rows and columns; give one with imagery.")
    return next(iter(bands.values())) if len(bands) == 1 else bands


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
    with rasterio.open(name) as again:
        if (again.shape, again.transform, again.count) != (dataset.shape, dataset.transform, dataset.count):
            raise InputTypeError(
                f"the dataset '{name}' was opened with options that change its pixels, such as an overview; give the "
                "file with resolution= instead."
            )
    return name


def read_array_header(array: xr.DataArray, *, crs: CRS | None = None, require_crs: bool = True) -> ArrayHeader:
    """Note what an array says of itself; reads no pixel.

    Parameters
    ----------
    array : DataArray
        Rows and columns, and at most one other axis longer than 1, which are bands.
    crs, require_crs
        As of `geoseg.raster.header.read_header`.

    Raises
    ------
    BandError
        It has more axes.
    RasterError
        It holds no numbers.
    CrsError
        It is not placed on the ground.
    """
    given = named(array)
    rows, columns = spatial_dims(array, given)
    others = [name for name in array.dims if name not in (rows, columns)]
    long = [name for name in others if array.sizes[name] != 1]
    if len(long) > 1:
        example = ", ".join(f"{name}=0" for name in long[:-1])
        raise BandError(
            f"'{given}' has the axes {', '.join(map(str, array.dims))}, and one of them is for bands; choose one of "
            f"each other first: array.isel({example})."
        )
    bands = long[0] if long else next((name for name in others if name in ("band", "bands")), None)
    array = array.isel({name: 0 for name in others if name != bands})
    variable = array.variable.transpose(..., rows, columns)
    bare: Any = type(variable)  # without attributes, and an index that xarray keeps beside a coordinate
    stored = array.encoding.get("chunks") or array.encoding.get("chunksizes")
    pixels = LazyPixels(bare(variable.dims, variable._data), math.prod(stored or ()) * variable.dtype.itemsize)
    dtype = _pixel_type(variable.dtype, given)
    names = _band_names(array, bands, pixels.shape[0])
    nodata = [usable_nodata(value, dtype) for value in _nodata(array, dtype, len(names))]
    return ArrayHeader(
        given=given,
        path=f"memory:{given}",
        geobox=grid_of_array(array, (rows, columns), given, crs, require_crs=require_crs),
        bands=tuple(FileBand(index, name, "undefined") for index, name in enumerate(names, 1)),
        dtypes=(dtype,) * len(names),
        nodata=tuple(nodata),
        masked=(False,) * len(names),
        units=_units(array, len(names)),
        array=pixels,
        classes=_classes(array),
    )


def _pixel_type(dtype: np.dtype[Any], given: str) -> np.dtype[Any]:
    """The type in which pixels are read: the array's, in this machine's byte order; bytes for what is true or false."""
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype == np.float16:
        return np.dtype(np.float32)
    if dtype.kind not in "iufc":
        raise RasterError(f"'{given}' holds {dtype} values, which are no pixels; give an array of numbers.")
    return dtype.newbyteorder("=")


def _band_names(array: xr.DataArray, bands: Any, count: int) -> list[str]:
    """Names of bands: words of their coordinate, descriptions of files as rioxarray keeps them, or the array's name."""
    if bands is not None and bands in array.coords:
        labels = array.coords[bands].to_numpy().ravel()
        if labels.dtype.kind in "UO" and all(isinstance(label, str) for label in labels):
            return [str(label) for label in labels]
    described = array.attrs.get("long_name")
    if isinstance(described, list | tuple) and len(described) == count:
        return [str(text or "") for text in described]
    if count > 1:
        return [""] * count
    return [own_name(array) or (described if isinstance(described, str) else "")]


def _nodata(array: xr.DataArray, dtype: np.dtype[Any], count: int) -> list[float | None]:
    """Declared nodata of each band; what xarray has decoded to NaN is declared no more."""
    said = array.attrs if dtype.kind == "f" else {**array.encoding, **array.attrs}
    return [None if item is None else np.asarray(item).item() for item in _each(said, _NODATA, None, count)]


def _units(array: xr.DataArray, count: int) -> tuple[Line | None, ...]:
    """What the numbers of each band mean: as attributes declare; physical values where xarray has decoded them."""
    if any(name in array.encoding for name in _UNITS):
        return (AS_STORED,) * count
    numbers = [_each(array.attrs, names, default, count) for names, default in zip(_UNIT_NAMES, AS_STORED, strict=True)]
    lines = [(float(scale), float(offset)) for scale, offset in zip(*numbers, strict=True)]
    return tuple(None if line == AS_STORED else line for line in lines)


def _each(said: Mapping[str, Any], names: Sequence[str], default: Any, count: int) -> list[Any]:
    """A number of each band: what the first of some attributes says of each, or of all."""
    value = next((said[name] for name in names if said.get(name) is not None), default)
    values = list(value) if isinstance(value, list | tuple | np.ndarray) and np.ndim(value) else [value] * count
    return values if len(values) == count else [default] * count


def _classes(array: xr.DataArray) -> tuple[tuple[int, str, str], ...]:
    """Values, names and colours of classes: CF's flags, with the names as they are where geoseg has written them."""
    said = array.attrs
    values = [int(value) for value in np.ravel(said.get("flag_values", ())) if float(value).is_integer()]
    names = [str(name) for name in said.get("class_names") or str(said.get("flag_meanings", "")).split()]
    colors = [str(color) for color in said.get("flag_colors", ())] or [""] * len(values)
    is_whole = len(values) == len(names) == len(colors)
    return tuple(zip(values, names, colors, strict=True)) if is_whole else ()


def _strips(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Iterator[Window]:
    """All rows of an array, some at a time."""
    bands, height, width = shape
    step = max(1, _STRIP_BYTES // max(1, bands * width * dtype.itemsize))
    for top in range(0, height, step):
        yield Window(top, 0, min(step, height - top), width)


def _samples(shape: tuple[int, int, int]) -> Iterator[Window]:
    """Small windows of an array, evenly spread from its first pixel to its last."""
    sizes = [min(SIDE, length) for length in shape[1:]]
    places = [
        sorted({(length - size) * step // (ALONG - 1) for step in range(ALONG)})
        for length, size in zip(shape[1:], sizes, strict=True)
    ]
    for y, x in product(*places):
        yield Window(y, x, *sizes)


@contextmanager
def sendable(raster: Raster, folder: Path) -> Iterator[Raster]:
    """Have a raster whose recipe is small: pixels in this process's memory lie in files while the block runs.

    Parameters
    ----------
    raster : Raster
        As it was opened.
    folder : Path
        Where files may lie that all workers see; it is removed afterwards.

    Yields
    ------
    Raster
        The same pixels.

    Raises
    ------
    InputTypeError
        A lazy array holds something that cannot be sent to another process.
    OutputError
        The disk refuses.
    """
    if not any(_is_here(source) for source in raster.sources):
        yield raster
        return
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    written: dict[int, Pixels] = {}
    try:
        yield raster.with_sources(lambda source: _sent(source, folder, written))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_here(source: Source) -> bool:
    """Whether only this process has the pixels of a source."""
    return not source.is_file or source.path.startswith("/vsimem/")


def _sent(source: Source, folder: Path, written: dict[int, Pixels]) -> Source:
    """A source as other processes can read it; each array is written once, also where several sources are its bands."""
    try:
        if isinstance(source, ArraySource):
            key = id(source.array)
            if key not in written:
                written[key] = _sent_pixels(source, folder / f"{len(written)}.npy")
            return replace(source, array=written[key])
        if source.path.startswith("/vsimem/"):
            return replace(source, path=_copied(source.path, folder))
    except OSError as error:
        raise OutputError(
            f"'{source.given}' cannot be written to {folder} for the workers ({error.strerror or error}); choose an "
            "output folder with space and permission."
        ) from error
    return source


def _sent_pixels(source: ArraySource, path: Path) -> Pixels:
    array = source.array
    if not isinstance(array, LazyPixels):
        return array
    if not array.is_in_memory:
        try:
            if len(cloudpickle.dumps(array)) <= LARGE_RECIPE:
                return array
        except (pickle.PicklingError, TypeError, AttributeError, ValueError) as error:
            raise InputTypeError(
                f"'{source.given}' is lazy, and what it is computed of cannot be sent to workers ({error}); write it "
                "to a file first, or use geoseg.segment, which computes in this process."
            ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    file = np.lib.format.open_memmap(path, "w+", array.dtype, array.shape)
    bands = range(array.shape[0])
    for window in _strips(array.shape, array.dtype):
        rows, columns = window.slices()
        file[:, rows, columns] = array.take(bands, rows, columns)
    file.flush()
    return FilePixels(path, array.shape, array.dtype)


def _copied(path: str, folder: Path) -> str:
    """A dataset in memory, copied to a folder with the files that belong to it."""
    import rasterio.shutil

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / Path(path).name
    rasterio.shutil.copyfiles(path, target)
    return str(target)
