"""Arrays that a program holds (xarray, lazy or in memory) as rasters beside files: read by window, never whole.

It knows arrays; `geoseg.raster.array_grids` tells where they lie on the ground, and `geoseg.raster.sending` how other
processes get them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from odc.geo.crs import CRS

from geoseg.errors import BandError, RasterError
from geoseg.grid import Window
from geoseg.raster.array_grids import grid_of_array, spatial_dims
from geoseg.raster.bands import BandList, BandRequest, FileBand
from geoseg.raster.calibration import AS_STORED, Line
from geoseg.raster.facts import usable_nodata
from geoseg.raster.given import LINE_KEYS, NODATA_KEYS, named, own_name
from geoseg.raster.header import Header
from geoseg.raster.source import Source

if TYPE_CHECKING:
    import xarray as xr

SIDE, ALONG = 64, 4
"""Px, and number along each axis, of the windows by which the content of a lazy array is identified."""

_STRIP_BYTES = 64 * 2**20  # of an array in memory that are written or digested at once
_TIMES = "time", "times", "date", "dates", "year", "month"


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
        for window in strips(shape, dtype) if is_whole else _samples(shape):
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
        It holds no numbers, or no pixel.
    CrsError
        It is not placed on the ground.
    """
    given = named(array)
    rows, columns = spatial_dims(array, given)
    _check_filled(array, given)
    others = [name for name in array.dims if name not in (rows, columns)]
    long = [name for name in others if array.sizes[name] != 1]
    if len(long) > 1:
        example = ", ".join(f"{name}=0" for name in long[:-1])
        raise BandError(
            f"'{given}' has the axes {', '.join(map(str, array.dims))}, and one of them is for bands; choose one of "
            f"each other first: array.isel({example})."
        )
    bands = long[0] if long else next((name for name in (*others, *array.coords) if name in ("band", "bands")), None)
    array = array.isel({name: 0 for name in others if name != bands})
    listed = _listed(array, bands, given)
    variable = array.variable.transpose(..., rows, columns)
    bare: Any = type(variable)  # without attributes, and an index that xarray keeps beside a coordinate
    stored = array.encoding.get("chunks") or array.encoding.get("chunksizes")
    pixels = LazyPixels(bare(variable.dims, variable._data), math.prod(stored or ()) * variable.dtype.itemsize)
    dtype = _pixel_type(variable.dtype, given)
    names = _band_names(array, bands, listed)
    nodata = [usable_nodata(value, dtype) for value in _nodata(array, dtype, listed)]
    return ArrayHeader(
        given=given,
        path=f"memory:{given}",
        geobox=grid_of_array(array, (rows, columns), given, crs, require_crs=require_crs),
        bands=tuple(FileBand(index, name, "undefined") for index, name in enumerate(names, 1)),
        dtypes=(dtype,) * len(names),
        nodata=tuple(nodata),
        masked=(False,) * len(names),
        units=_units(array, listed),
        array=pixels,
        classes=_classes(array),
    )


def _check_filled(array: xr.DataArray, given: str) -> None:
    """Refuse an array without a pixel, which a slice against the order of its coordinates gives.

    Raises
    ------
    RasterError
        Naming the axis of length 0.
    """
    empty = next((name for name in array.dims if array.sizes[name] == 0), None)
    if empty is not None:
        raise RasterError(
            f"'{given}' has no pixel: its axis '{empty}' has the length 0; choose a part that has some. Where the "
            f"coordinates fall, as y mostly does, it is array.sel({empty}=slice(high, low))."
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


def _listed(array: xr.DataArray, bands: Any, given: str) -> BandList:
    """The numbers that the coordinate of bands has, of one band too that was chosen by its number."""
    labels = array.coords[bands].to_numpy().ravel() if bands in array.coords else np.empty(0)
    count = array.sizes.get(bands, 1)
    is_numbered = labels.dtype.kind in "iu" and len(labels) == count
    return BandList(count, tuple(map(int, labels)) if is_numbered else (), given)


def _band_names(array: xr.DataArray, bands: Any, listed: BandList) -> list[str]:
    """Names of bands: words of their coordinate, descriptions of files as rioxarray keeps them, or the array's name.

    Times that have coordinates are names too: what was seen at three times is not red, green and blue.
    """
    if bands is not None and bands in array.coords:
        labels = array.coords[bands].to_numpy().ravel()
        if labels.dtype.kind in "UO" and all(isinstance(label, str) for label in labels):
            return [str(label) for label in labels]
        if labels.dtype.kind in "Mm" or str(bands).lower() in _TIMES:
            return [f"{bands} {label}" for label in labels]
    described = array.attrs.get("long_name")
    names = listed.entries("long_name", described) if isinstance(described, list | tuple) else None
    if names is not None:
        return [str(text or "") for text in names]
    if listed.count > 1:
        return [""] * listed.count
    return [own_name(array) or (described if isinstance(described, str) else "")]


def _nodata(array: xr.DataArray, dtype: np.dtype[Any], listed: BandList) -> list[float | None]:
    """Declared nodata of each band; what xarray has decoded to NaN is declared no more."""
    said = array.attrs if dtype.kind == "f" else {**array.encoding, **array.attrs}
    return [None if item is None else np.asarray(item).item() for item in _each(said, NODATA_KEYS, None, listed)]


def _units(array: xr.DataArray, listed: BandList) -> tuple[Line | None, ...]:
    """What the numbers of each band mean: as attributes declare; physical values where xarray has decoded them."""
    if any(name in array.encoding for name in LINE_KEYS):
        return (AS_STORED,) * listed.count
    scales = _each(array.attrs, LINE_KEYS[:2], AS_STORED[0], listed)
    offsets = _each(array.attrs, LINE_KEYS[2:], AS_STORED[1], listed)
    lines = [(float(scale), float(offset)) for scale, offset in zip(scales, offsets, strict=True)]
    return tuple(None if line == AS_STORED else line for line in lines)


def _each(said: Mapping[str, Any], names: Sequence[str], default: Any, listed: BandList) -> list[Any]:
    """A number of each band: what the first of some attributes says of each, or of all."""
    name = next((name for name in names if said.get(name) is not None), "")
    value = said.get(name, default)
    if not (isinstance(value, list | tuple | np.ndarray) and np.ndim(value)):
        return [value] * listed.count
    found = listed.entries(name, list(value))
    return [default] * listed.count if found is None else found


def _classes(array: xr.DataArray) -> tuple[tuple[int, str, str], ...]:
    """Values, names and colours of classes: CF's flags, with the names as they are where geoseg has written them."""
    said = array.attrs
    values = [int(value) for value in np.ravel(said.get("flag_values", ())) if float(value).is_integer()]
    names = [str(name) for name in said.get("class_names") or str(said.get("flag_meanings", "")).split()]
    colors = [str(color) for color in said.get("flag_colors", ())] or [""] * len(values)
    is_whole = len(values) == len(names) == len(colors)
    return tuple(zip(values, names, colors, strict=True)) if is_whole else ()


def strips(shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Iterator[Window]:
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
