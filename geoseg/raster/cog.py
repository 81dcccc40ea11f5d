"""Rasters to a Cloud Optimized GeoTIFF, streamed: colours, class names, bands, nodata, overviews.

It knows arrays and windows, not their source.

The file is made in two steps, because a COG's overviews stand before its pixels: windows go to an uncompressed
tiled GeoTIFF beside the target, overviews are reduced from it level by level, then GDAL's COG driver compresses both
into their final order. Overviews by the most frequent label are computed here: GDAL's own ``MODE`` takes 10 times as
long. 8,192 x 8,192 labels took 1.3 s on two cores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import rasterio
import rasterio.shutil
import rasterio.windows
from affine import Affine
from numba import njit
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling as GdalResampling
from rasterio.errors import RasterioError

from geoseg.errors import GeosegError, OutputError, WindowError
from geoseg.files import move_into_place, refuse_folder, working_folder
from geoseg.grid import Window
from geoseg.raster.handles import unplaced_allowed
from geoseg.raster.options import configured

BLOCK = 512
"""Side of the file's tiles, px; overviews go down until one tile holds the raster."""

Resampling = Literal["mode", "nearest", "average"]
"""How four pixels become one of an overview."""

ATTRIBUTES = (("Value", 0, 5), ("Class", 2, 2), ("Red", 0, 6), ("Green", 0, 7), ("Blue", 0, 8))
"""Columns of a raster attribute table: name, type and usage as GDAL counts them (GDALRATFieldType, -Usage)."""

_STRIDE = 4 * BLOCK  # side of the windows from which overviews are made, px
_AT_ONCE = 2**26  # bytes of such a window, about; of many bands it is smaller
_COG = {
    "driver": "COG",
    "blocksize": BLOCK,
    "compress": "DEFLATE",  # what every reader of TIFF has; ZSTD would be twice as fast and is not everywhere
    "level": 1,  # 6 takes 3 to 7 times as long for files smaller by a fifth to two fifths
    "num_threads": "ALL_CPUS",
    "bigtiff": "IF_SAFER",
    "overviews": "FORCE_USE_EXISTING",
}


def _predicted(dtype: str) -> dict[str, Any]:
    """Differences of neighbours compress numbers of 16 bits twice as well, and labels no better."""
    return {"predictor": "STANDARD"} if dtype == "uint16" else {}


@configured()
def write_cog(
    path: str | Path,
    shape: tuple[int, int],
    transform: Affine,
    crs: Any,
    windows: Iterable[tuple[Window, NDArray[Any]]],
    *,
    nodata: int | None = 255,
    dtype: str = "uint8",
    colors: Mapping[int, tuple[int, int, int]] | None = None,
    categories: Mapping[int, str] | None = None,
    description: str = "labels",
    tags: Mapping[str, str] | None = None,
    overview_resampling: Resampling = "mode",
    bands: Sequence[str] = (),
    scale: float = 1.0,
) -> Path:
    """Write a Cloud Optimized GeoTIFF of labels, or of numbers in one band or several.

    Memory does not depend on the raster's size; beside the target, about 1.4 bytes a pixel (of one byte) of disk are
    needed while it runs. The file appears under its name when it is complete.

    Parameters
    ----------
    path : path
        The file; its folder is made when missing.
    shape : (int, int)
        ``(height, width)`` in px.
    transform : Affine
        From px to CRS units.
    crs : odc.geo CRS, rasterio CRS, str or None
        The coordinate reference system.
    windows : iterable of (Window, ndarray of shape (y, x) or (band, y, x))
        The pixels, in any order, best in windows of whole multiples of 512 px; what is left out is nodata.
    nodata : int or None
        The value without a label; in overviews it counts like a label.
    dtype : str
        An unsigned integer type.
    colors : mapping of value to (red, green, blue), optional
        The colour table, 0 to 255; ``"uint8"`` only.
    categories : mapping of value to name, optional
        Class names, for which a TIFF has no place: as GDAL's category names and as a raster attribute table in
        ``<path>.aux.xml``, with ``colors`` where they are given, and as items ``CLASS_<value>`` of the file's own
        metadata.
    description : str
        Name of the band, where there is one.
    tags : mapping, optional
        More metadata items.
    overview_resampling : str
        ``"mode"`` takes the most frequent of four labels, the first of equally frequent ones; ``"average"`` the mean of
        those that are not nodata, rounded.
    bands : sequence of str
        Names of the bands, where there are several.
    scale : float
        What a number x means: ``scale * x``.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        When it cannot be written, or a folder lies there.
    GeosegError
        Whatever reading the windows raises.
    WindowError
        When a window leaves the raster or its array has another shape.
    """
    path = Path(path)
    refuse_folder(path)
    profile = {
        "driver": "GTiff", "height": shape[0], "width": shape[1], "count": max(1, len(bands)), "dtype": dtype,
        "nodata": nodata,
        "transform": transform, "crs": _rasterio_crs(crs), "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK,
        "sparse_ok": True, "bigtiff": "IF_SAFER",
    }  # fmt: skip
    items = {**(tags or {}), **{f"CLASS_{value}": name for value, name in sorted((categories or {}).items())}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(path) as folder:
            draft, final = folder / "draft.tif", folder / "final.tif"
            levels = _create(draft, profile, colors, bands or (description,), scale, items)
            _fill(draft, shape, windows)
            for level in range(levels):
                _reduce(draft, level, overview_resampling)
            rasterio.shutil.copy(draft, final, **_COG, **_predicted(dtype))
            _publish(final, path, categories, colors or {})
    except GeosegError:  # raised by the reader of the windows
        raise
    except (OSError, RasterioError) as error:
        reason = " ".join(str(error.__cause__ or error).split()).rstrip(".")
        raise OutputError(
            f"'{path}' cannot be written ({reason}); choose a folder that you may write to and that has space."
        ) from error
    return path


def _create(
    draft: Path,
    profile: dict[str, Any],
    colors: Mapping[int, tuple[int, int, int]] | None,
    bands: Sequence[str],
    scale: float,
    items: Mapping[str, str],
) -> int:
    """Make the empty file with its overviews; return how many."""
    with unplaced_allowed(), rasterio.open(draft, "w", **profile) as dataset:
        dataset.descriptions = tuple(bands)
        if scale != 1:
            dataset.scales, dataset.offsets = (scale,) * len(bands), (0.0,) * len(bands)
        dataset.update_tags(**items)
        if colors is not None:
            table = dict.fromkeys(range(256), (0, 0, 0, 255))
            dataset.write_colormap(1, table | {value: (*color, 255) for value, color in colors.items()})
    longer = max(profile["height"], profile["width"])
    factors: list[int] = []
    while longer > BLOCK << len(factors):
        factors.append(2 << len(factors))
    if factors:
        with rasterio.Env(SPARSE_OK_OVERVIEW=True), rasterio.open(draft, "r+") as dataset:
            dataset.build_overviews(factors, GdalResampling.nearest)
    return len(factors)


def _fill(draft: Path, shape: tuple[int, int], windows: Iterable[tuple[Window, NDArray[Any]]]) -> None:
    """Write the windows at full resolution."""
    whole = Window(0, 0, *shape)
    with rasterio.open(draft, "r+") as dataset:
        for window, pixels in windows:
            flat = pixels[None] if pixels.ndim == 2 else pixels
            if not whole.contains(window) or flat.shape != (dataset.count, *window.shape):
                raise WindowError(
                    f"pixels of shape {pixels.shape} do not fit {window} of a raster of {shape[0]} x {shape[1]} px and "
                    f"{dataset.count} bands; give each window an array of its own shape, inside the raster."
                )
            dataset.write(flat, window=_rasterio_window(window))


def _reduce(draft: Path, level: int, overview_resampling: Resampling) -> None:
    """Fill one overview from the level below it."""
    finer = {} if level == 0 else {"overview_level": level - 1}
    with (
        rasterio.open(draft, **finer) as source,
        rasterio.open(draft, "r+", overview_level=level) as target,
    ):
        for window in _windows(source.shape, _stride(source)):
            pixels = source.read(window=_rasterio_window(window))
            halved = np.stack([_halve(band, overview_resampling, source.nodata) for band in pixels])
            where = Window(window.y // 2, window.x // 2, *halved.shape[1:])
            target.write(halved, window=_rasterio_window(where))


def _stride(source: rasterio.DatasetReader) -> int:
    """Side of a window, an even number of blocks, that holds `_AT_ONCE` bytes at most if it can be so small."""
    pixel_bytes = source.count * np.dtype(source.dtypes[0]).itemsize
    sides = (side for side in (_STRIDE, _STRIDE // 2) if side**2 * pixel_bytes <= _AT_ONCE)
    return next(sides, BLOCK)


def _halve(band: NDArray[Any], resampling: Resampling, nodata: float | None) -> NDArray[Any]:
    """Make one pixel of four."""
    if resampling == "nearest":
        return band[::2, ::2]
    return most_frequent(band) if resampling == "mode" else mean_of_valid(band, -1 if nodata is None else int(nodata))


def mean_of_valid(band: NDArray[Any], nodata: int) -> NDArray[Any]:
    """Halve numbers: of each 2 x 2 pixels the rounded mean of those that are not nodata; nodata where all are.

    Parameters
    ----------
    band : ndarray, shape (y, x)
        Unsigned integers; an odd last row or column counts twice.
    nodata : int
        The number of pixels without data; none where it is negative.

    Returns
    -------
    ndarray, shape (ceil(y / 2), ceil(x / 2))
    """
    height, width = band.shape
    result = np.empty((-(-height // 2), -(-width // 2)), band.dtype)
    _average(np.ascontiguousarray(band), nodata, result)
    return result


@njit(cache=True, nogil=True)
def _average(band: NDArray[Any], nodata: int, result: NDArray[Any]) -> None:
    """Fill the halved band row by row."""
    height, width = band.shape
    for y in range(len(result)):
        upper, lower, line = band[2 * y], band[min(2 * y + 1, height - 1)], result[y]
        for x in range(len(line)):
            total, count = 0, 0
            for value in (
                upper[2 * x],
                upper[min(2 * x + 1, width - 1)],
                lower[2 * x],
                lower[min(2 * x + 1, width - 1)],
            ):
                if value != nodata:
                    total, count = total + value, count + 1
            line[x] = (2 * total + count) // (2 * count) if count else nodata


def most_frequent(labels: NDArray[Any]) -> NDArray[Any]:
    """Halve labels: of each 2 x 2 pixels the most frequent one, the first in reading order of equally frequent ones.

    Parameters
    ----------
    labels : ndarray, shape (y, x)
        An odd last row or column counts twice.

    Returns
    -------
    ndarray, shape (ceil(y / 2), ceil(x / 2))
    """
    height, width = labels.shape
    result = np.empty((-(-height // 2), -(-width // 2)), labels.dtype)
    _vote(np.ascontiguousarray(labels), result)
    return result


@njit(cache=True, nogil=True)
def _vote(labels: NDArray[Any], result: NDArray[Any]) -> None:
    """Fill the halved labels row by row; next to an odd last row or column two labels agree, and win."""
    height, width = labels.shape
    for y in range(len(result)):
        upper, lower, line = labels[2 * y], labels[min(2 * y + 1, height - 1)], result[y]
        line[-1] = upper[-1]
        for x in range(width // 2):
            first, second, third, fourth = upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1]
            later = second if (second == third) | (second == fourth) else third if third == fourth else first
            line[x] = first if (first == second) | (first == third) | (first == fourth) else later


def _publish(
    final: Path, path: Path, categories: Mapping[int, str] | None, colors: Mapping[int, tuple[int, int, int]]
) -> None:
    """Move the finished file and its sidecar to their names; remove what an earlier file left."""
    sidecar = path.with_name(path.name + ".aux.xml")
    sidecar.unlink(missing_ok=True)
    if categories:
        written = final.with_name(final.name + ".aux.xml")
        ElementTree.ElementTree(_sidecar(categories, colors)).write(written, encoding="utf-8")
        move_into_place(written, sidecar)
    move_into_place(final, path)


def _sidecar(categories: Mapping[int, str], colors: Mapping[int, tuple[int, int, int]]) -> ElementTree.Element:
    """Return GDAL's sidecar: category names and an attribute table."""
    root = ElementTree.Element("PAMDataset")
    band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
    names = ElementTree.SubElement(band, "CategoryNames")
    for value in range(max(categories) + 1):  # one a value from 0 to the last, empty where there is none
        ElementTree.SubElement(names, "Category").text = categories.get(value, "")
    table = ElementTree.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    columns = ATTRIBUTES if colors else ATTRIBUTES[:2]
    for index, (name, kind, usage) in enumerate(columns):
        column = ElementTree.SubElement(table, "FieldDefn", index=str(index))
        for key, text in ("Name", name), ("Type", str(kind)), ("Usage", str(usage)):
            ElementTree.SubElement(column, key).text = text
    for index, (value, name) in enumerate(sorted(categories.items())):
        row = ElementTree.SubElement(table, "Row", index=str(index))
        for field in (value, name, *colors.get(value, (0, 0, 0)))[: len(columns)]:
            ElementTree.SubElement(row, "F").text = str(field)
    return root


def _windows(shape: tuple[int, int], stride: int) -> Iterator[Window]:
    for y in range(0, shape[0], stride):
        for x in range(0, shape[1], stride):
            yield Window(y, x, min(stride, shape[0] - y), min(stride, shape[1] - x))


def _rasterio_window(window: Window) -> rasterio.windows.Window:
    return rasterio.windows.Window(window.x, window.y, window.width, window.height)


def _rasterio_crs(crs: Any) -> CRS | None:
    return None if crs is None else CRS.from_user_input(crs if isinstance(crs, str | CRS) else crs.to_wkt())
