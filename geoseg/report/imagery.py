"""The imagery under a map as a small picture: overviews where files have them, thinned reads where they have none.

Strategy. Of each file the overview just finer than the picture is read. What is still much finer, because there are no
overviews, is thinned to about twice the picture's resolution by taking single pixels, so that memory depends on the
picture; and where even looking at every storage block would take minutes, fewer blocks are looked at and the picture
is coarse. Then the pixels are averaged onto the picture, whatever CRS and angle the file has.

It knows the recipe of a raster and a frame; nothing of models.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import rasterio
import rasterio.windows
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject

from geoseg.grid import Window
from geoseg.raster import Raster, ground_resolution
from geoseg.raster.mosaic import Piece
from geoseg.raster.placing import footprint
from geoseg.raster.source import Source
from geoseg.report.framing import Frame

MAX_FILES = 400
"""Files that one picture is made of, at most; opening more takes minutes and a picture does not show them."""

MAX_SAMPLES = 6_000_000_000
"""Pixels of one band of one file behind what is read, at most; some minutes of decoding."""

THINNED = 2
"""Pixels of a thinned read along the side of a picture's pixel."""

_FLAT = "EPSG:3857"  # stands for the CRS of both where they are the same: nothing is then projected

Pixels = NDArray[np.float32]


@dataclass
class Imagery:
    """A picture of imagery.

    Attributes
    ----------
    pixels : float32 (band, y, x)
        NaN where there is no data.
    bands : tuple of str
        Names of the bands, three or one.
    notes : list of str
        What the picture lacks, one sentence each.
    """

    pixels: Pixels
    bands: tuple[str, ...]
    notes: list[str] = field(default_factory=list)

    def note(self, sentence: str) -> None:
        """Say what the picture lacks, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)


def choose_bands(common_names: Sequence[str | None], names: Sequence[str]) -> tuple[int, ...]:
    """Choose the bands that a picture shows: red, green, blue; else near infrared, red, green; else the first ones.

    Parameters
    ----------
    common_names : sequence of (str or None)
        Of the model's bands, in the raster's order; may be empty.
    names : sequence of str
        Of the raster's bands.

    Returns
    -------
    tuple of int
        Three positions, or one.
    """
    called = [(name or "").lower() for name in common_names] if len(common_names) == len(names) else []
    for candidates in (called, [name.lower() for name in names]):
        for wanted in (("red", "green", "blue"), ("nir", "red", "green")):
            if set(wanted) <= set(candidates):
                return tuple(candidates.index(name) for name in wanted)
    return (0, 1, 2) if len(names) >= 3 else (0,)


def read_imagery(raster: Raster, positions: Sequence[int], frame: Frame) -> Imagery:
    """Read bands of a raster as a picture.

    Parameters
    ----------
    raster : Raster
        The imagery, on the frame's grid.
    positions : sequence of int
        Bands of the raster, counted from 0.
    frame : Frame
        The picture.
    """
    picture = np.full((len(positions), *frame.shape), np.nan, np.float32)
    imagery = Imagery(picture, tuple(raster.bands[position] for position in positions))
    for layer in raster.layers:
        wanted = [(place, layer.positions.index(p)) for place, p in enumerate(positions) if p in layer.positions]
        if wanted:
            _lay(layer.pieces, wanted, frame, imagery)
    imagery.pixels[:, np.isnan(imagery.pixels).any(axis=0)] = np.nan
    imagery.pixels = np.ascontiguousarray(frame.arrange(imagery.pixels))
    return imagery


def _lay(pieces: Sequence[Piece], wanted: list[tuple[int, int]], frame: Frame, imagery: Imagery) -> None:
    """Lay files onto the picture, the first on top; of many, those that show most."""
    shown = sorted(pieces, key=lambda piece: piece.extent.area, reverse=True)[:MAX_FILES]
    if len(shown) < len(pieces):
        imagery.note(f"The {len(shown)} largest of {len(pieces):,} files are shown.")
    for piece in (piece for piece in pieces if piece in shown):
        try:
            _lay_piece(piece, wanted, frame, imagery)
        except (RasterioError, OSError):
            imagery.note(f"{piece.source.given} cannot be read any more and is not shown.")


def _lay_piece(piece: Piece, wanted: list[tuple[int, int]], frame: Frame, imagery: Imagery) -> None:
    """Lay one file where nothing lies yet, band by band."""
    inside = piece.extent.intersect(Window(0, 0, *map(int, frame.raster.shape)))
    rows, cols = (
        slice(start // frame.factor, -(-stop // frame.factor))
        for start, stop in ((inside.y, inside.bottom), (inside.x, inside.right))
    )
    if not inside.area or not np.isnan(imagery.pixels[[place for place, _ in wanted], rows, cols]).any():
        return
    crop: GeoBox = frame.raster[inside.slices()]
    transform = frame.raster.transform @ Affine.scale(frame.factor) @ Affine.translation(cols.start, rows.start)
    crs = _names(piece.source.geobox.crs, frame.raster.crs)
    for place, band in wanted:
        thinned = _thin(piece.source, band, crop, frame.factor, imagery)
        if thinned is None:
            continue
        target = imagery.pixels[place, rows, cols]
        found = np.full(target.shape, np.nan, np.float32)
        reproject(
            thinned.pixels, found, src_transform=thinned.transform, src_crs=crs[0], src_nodata=np.nan,
            dst_transform=transform, dst_crs=crs[1], dst_nodata=np.nan,
            resampling=Resampling.average if thinned.zoom > 1 else Resampling.bilinear,
        )  # fmt: skip
        np.copyto(target, found, where=np.isnan(target))


def _names(source: CRS | None, target: CRS | None) -> tuple[str, str]:
    """Names of two CRS for GDAL; one name for both where they are the same, also where there is no ground."""
    return (
        (_FLAT, _FLAT) if source is None or target is None or source == target else (source.to_wkt(), target.to_wkt())
    )


@dataclass(frozen=True)
class _Thinned:
    """One band of a file, thinned.

    Attributes
    ----------
    pixels : float32 (y, x)
        NaN where invalid.
    transform : Affine
        From its px to CRS units.
    zoom : float
        How many of its px lie along the side of a picture's.
    """

    pixels: Pixels
    transform: Affine
    zoom: float


def _thin(source: Source, band: int, crop: GeoBox, factor: int, imagery: Imagery) -> _Thinned | None:
    """Read one band of a file, where it lies under a part of the raster, at about the picture's resolution or finer."""
    index, whole = source.indexes[band], source.extent
    around = footprint(crop, source.geobox)
    needed = Window(around.y - 2, around.x - 2, around.height + 4, around.width + 4).intersect(whole)
    if not needed.area:
        return None
    zoom = factor * _pixel_ratio(crop, source.geobox)
    with rasterio.open(source.path) as opened:
        levels = [factor for factor in sorted(opened.overviews(index)) if factor <= zoom * 1.01]
        blocks = opened.block_shapes[index - 1]
    options = {"overview_level": len(levels) - 1} if levels else {}
    with rasterio.open(source.path, **options) as opened:
        down, across = opened.height / whole.height, opened.width / whole.width
        step, is_coarse = _step(needed.height * down, needed.width * across, blocks, zoom * across)
        if is_coarse:
            imagery.note(f"{source.given} has no overviews and is shown coarsely; gdaladdo makes them.")
        window = rasterio.windows.Window(
            needed.x * across, needed.y * down, needed.width * across, needed.height * down
        )
        shape = max(1, round(window.height / step)), max(1, round(window.width / step))
        pixels = opened.read(index, window=window, out_shape=shape, out_dtype="float32")
        pixels[opened.read_masks(index, window=window, out_shape=shape) == 0] = np.nan
    pixels[~np.isfinite(pixels)] = np.nan
    scale = Affine.scale(needed.width / shape[1], needed.height / shape[0])
    transform = source.geobox.transform @ Affine.translation(needed.x, needed.y) @ scale
    return _Thinned(pixels, transform, zoom * shape[1] / needed.width)


def _pixel_ratio(one: GeoBox, other: GeoBox) -> float:
    """How many pixels of another grid lie along the side of a pixel."""
    if one.crs == other.crs:
        return math.sqrt(abs(one.transform.determinant / other.transform.determinant))
    return math.sqrt(math.prod(ground_resolution(one)) / math.prod(ground_resolution(other)))


def _step(height: float, width: float, block: tuple[int, int], zoom: float) -> tuple[float, bool]:
    """Px from one sample to the next, and whether that is coarser than the picture.

    With steps longer than a storage block only blocks that hold a sample are read, which is how large files without
    overviews stay within `MAX_SAMPLES`.
    """
    step = max(1.0, zoom / THINNED)
    while height * width * min(1, block[0] / step) * min(1, block[1] / step) > MAX_SAMPLES:
        step *= 2
    return step, step > max(1.0, zoom)
