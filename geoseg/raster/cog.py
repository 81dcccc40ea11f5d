"""Labels to a Cloud Optimized GeoTIFF, streamed: colours, class names, nodata, overviews.

It knows arrays and windows; whence they come is not its matter.

The file is made in two steps, because a COG's overviews stand before its pixels: windows go to an uncompressed
tiled GeoTIFF beside the target, overviews are reduced from it level by level, then GDAL's COG driver compresses both
into their final order. Overviews by the most frequent label are computed here: GDAL's own ``MODE`` takes 10 times as
long. 8,192 x 8,192 labels took 1.3 s on two cores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
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
from rasterio.enums import Resampling
from rasterio.errors import RasterioError

from geoseg.errors import GeosegError, OutputError, WindowError
from geoseg.files import move_into_place, working_folder
from geoseg.grid import Window
from geoseg.raster.handles import unplaced_allowed
from geoseg.raster.options import configured

BLOCK = 512
"""Side of the file's tiles, px; overviews go down until one tile holds the raster."""

_STRIDE = 4 * BLOCK  # side of the windows from which overviews are made, px
_COG = {
    "driver": "COG",
    "blocksize": BLOCK,
    "compress": "DEFLATE",  # what every reader of TIFF has; ZSTD would be twice as fast and is not everywhere
    "level": 1,  # 6 takes 3 to 7 times as long for files smaller by a fifth to two fifths
    "num_threads": "ALL_CPUS",
    "bigtiff": "IF_SAFER",
    "overviews": "FORCE_USE_EXISTING",
}


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
    overview_resampling: Literal["mode", "nearest"] = "mode",
) -> Path:
    """Write labels as a Cloud Optimized GeoTIFF.

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
    windows : iterable of (Window, ndarray of shape (y, x))
        The labels, in any order, best in windows of whole multiples of 512 px; what is left out is nodata.
    nodata : int or None
        The value without a label; in overviews it counts like a label.
    dtype : str
        An unsigned integer type.
    colors : mapping of value to (red, green, blue), optional
        The colour table, 0 to 255; ``"uint8"`` only.
    categories : mapping of value to name, optional
        Class names: as GDAL's category names in ``<path>.aux.xml`` (shown by QGIS and gdalinfo; a TIFF has no place
        for them) and as items ``CLASS_<value>`` of the file's own metadata.
    description : str
        Name of the band.
    tags : mapping, optional
        More metadata items.
    overview_resampling : str
        ``"mode"`` takes the most frequent of four labels, the first of equally frequent ones.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    OutputError
        When it cannot be written.
    GeosegError
        Whatever reading the windows raises.
    WindowError
        When a window leaves the raster or its array has another shape.
    """
    path = Path(path)
    profile = {
        "driver": "GTiff", "height": shape[0], "width": shape[1], "count": 1, "dtype": dtype, "nodata": nodata,
        "transform": transform, "crs": _rasterio_crs(crs), "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK,
        "sparse_ok": True, "bigtiff": "IF_SAFER",
    }  # fmt: skip
    items = {**(tags or {}), **{f"CLASS_{value}": name for value, name in sorted((categories or {}).items())}}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(path) as folder:
            draft, final = folder / "draft.tif", folder / "final.tif"
            levels = _create(draft, profile, colors, description, items)
            _fill(draft, shape, windows)
            for level in range(levels):
                _reduce(draft, level, overview_resampling)
            rasterio.shutil.copy(draft, final, **_COG)
            _publish(final, path, categories)
    except GeosegError:  # of whoever reads the windows
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
    description: str,
    items: Mapping[str, str],
) -> int:
    """Make the empty file with its overviews; return how many."""
    with unplaced_allowed(), rasterio.open(draft, "w", **profile) as dataset:
        dataset.set_band_description(1, description)
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
            dataset.build_overviews(factors, Resampling.nearest)
    return len(factors)


def _fill(draft: Path, shape: tuple[int, int], windows: Iterable[tuple[Window, NDArray[Any]]]) -> None:
    """Write the windows at full resolution."""
    whole = Window(0, 0, *shape)
    with rasterio.open(draft, "r+") as dataset:
        for window, labels in windows:
            if not whole.contains(window) or labels.shape != window.shape:
                raise WindowError(
                    f"labels of shape {labels.shape} do not fit {window} of a raster of {shape[0]} x {shape[1]} px; "
                    "give each window an array of its own shape, inside the raster."
                )
            dataset.write(labels, 1, window=_rasterio_window(window))


def _reduce(draft: Path, level: int, overview_resampling: str) -> None:
    """Fill one overview from the level below it."""
    finer = {} if level == 0 else {"overview_level": level - 1}
    with (
        rasterio.open(draft, **finer) as source,
        rasterio.open(draft, "r+", overview_level=level) as target,
    ):
        for window in _windows(source.shape, _STRIDE):
            labels = source.read(1, window=_rasterio_window(window))
            halved = most_frequent(labels) if overview_resampling == "mode" else labels[::2, ::2]
            where = Window(window.y // 2, window.x // 2, *halved.shape)
            target.write(np.ascontiguousarray(halved), 1, window=_rasterio_window(where))


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


def _publish(final: Path, path: Path, categories: Mapping[int, str] | None) -> None:
    """Move the finished file and its sidecar to their names; remove what an earlier file left."""
    sidecar = path.with_name(path.name + ".aux.xml")
    sidecar.unlink(missing_ok=True)
    if categories:
        written = final.with_name(final.name + ".aux.xml")
        ElementTree.ElementTree(_category_names(categories)).write(written, encoding="utf-8")
        move_into_place(written, sidecar)
    move_into_place(final, path)


def _category_names(categories: Mapping[int, str]) -> ElementTree.Element:
    """Return GDAL's sidecar: one name a value from 0 to the last, empty where there is none."""
    root = ElementTree.Element("PAMDataset")
    names = ElementTree.SubElement(ElementTree.SubElement(root, "PAMRasterBand", band="1"), "CategoryNames")
    for value in range(max(categories) + 1):
        ElementTree.SubElement(names, "Category").text = categories.get(value, "")
    return root


def _windows(shape: tuple[int, int], stride: int) -> Iterator[Window]:
    for y in range(0, shape[0], stride):
        for x in range(0, shape[1], stride):
            yield Window(y, x, min(stride, shape[0] - y), min(stride, shape[1] - x))


def _rasterio_window(window: Window) -> rasterio.windows.Window:
    return rasterio.windows.Window(window.x, window.y, window.width, window.height)


def _rasterio_crs(crs: Any) -> CRS | None:
    return None if crs is None else CRS.from_user_input(crs if isinstance(crs, str | CRS) else crs.to_wkt())
