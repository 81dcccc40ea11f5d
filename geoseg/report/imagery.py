"""The imagery under a map as a small picture: what blocks have seen of it, or else which files lie where.

Each file is read thinned and averaged onto the picture, whatever its CRS and angle, the first on top. It knows a run
folder, the recipe of a raster and a frame; nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import product

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.warp import reproject

from geoseg.errors import DamagedError
from geoseg.grid import Window
from geoseg.raster import Raster
from geoseg.raster.layers import PlacedSource
from geoseg.raster.scenes import QaMask, Scene
from geoseg.report.framing import Frame
from geoseg.report.record import RunRecord
from geoseg.report.thinning import Pixels, thin
from geoseg.store.arrays import read_arrays
from geoseg.thumbnails import PictureGrid

MAX_FILES = 400
"""Files that one picture is made of, at most; opening more takes minutes and a picture does not show them."""

_FLAT = "EPSG:3857"  # stands for the CRS of both where they are the same: nothing is then projected


@dataclass
class ImageryPicture:
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


def read_seen(record: RunRecord, frame: Frame) -> ImageryPicture | None:
    """What the blocks of a run have seen as a picture; None unless each of them has kept it, and as finely."""
    names, layout = tuple(map(str, record.raster["bands"])), record.grid
    common = [band.get("common_name") for band in record.model.get("bands") or []]
    grid = PictureGrid.of((int(frame.raster.shape[0]), int(frame.raster.shape[1])), common, names)
    times, rest = divmod(frame.factor, grid.factor)
    if layout is None or rest or not times:
        return None
    sums, counts = np.zeros((len(grid.bands), *grid.cells)), np.zeros(grid.cells)
    try:
        for place in product(range(layout.rows.blocks), range(layout.cols.blocks)):
            kept = read_arrays(record.folder.thumbnail(*place), None)
            if not np.array_equal(kept["grid"], grid.digest):
                return None
            grid.add(kept, sums, counts)
    except (DamagedError, OSError, LookupError):
        return None
    sums, counts = (_added(values, times) for values in (sums, counts))
    pixels = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0).astype(np.float32)
    return ImageryPicture(np.ascontiguousarray(frame.arrange(pixels)), tuple(names[band] for band in grid.bands))


def _added(values: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Sums of squares of so many cells."""
    for axis in (-2, -1):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], times), axis=axis)
    return values


def read_imagery(raster: Raster, positions: Sequence[int], frame: Frame) -> ImageryPicture:
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
    imagery = ImageryPicture(picture, tuple(raster.bands[position] for position in positions))
    if raster.order != "first":
        imagery.note(
            f"Where scenes overlap the picture shows the first one, and the map was made of their {raster.order}."
        )
    for sheets in _sheets(raster, positions):
        _lay_all(sheets, frame, imagery)
    imagery.pixels[:, np.isnan(imagery.pixels).any(axis=0)] = np.nan
    imagery.pixels = np.ascontiguousarray(frame.arrange(imagery.pixels))
    return imagery


@dataclass(frozen=True)
class _Sheet:
    """Files whose pixels are taken together, or not at all.

    Attributes
    ----------
    bands : tuple of (int, Piece, int)
        For a band of the picture: its place, the file, and which of the file's bands it is.
    qa_mask : QaMask or None
        Says which pixels are not used.
    """

    bands: tuple[tuple[int, PlacedSource, int], ...]
    qa_mask: QaMask | None = None

    @property
    def extent(self) -> Window:
        """The pixels of the raster that all files cover."""
        return reduce(Window.intersect, (piece.extent for _, piece, _ in self.bands))

    @property
    def places(self) -> list[int]:
        """Bands of the picture."""
        return [place for place, _, _ in self.bands]


def _sheets(raster: Raster, positions: Sequence[int]) -> Iterator[list[_Sheet]]:
    """Lists of sheets, the first of each on top; lists have bands of their own."""
    for layer in raster.layers:
        wanted = [(place, layer.positions.index(p)) for place, p in enumerate(positions) if p in layer.positions]
        if wanted:
            yield [_sheet_of(part, wanted) for part in layer.parts]


def _sheet_of(part: PlacedSource | Scene, wanted: Sequence[tuple[int, int]]) -> _Sheet:
    """The files of a part that have bands of the picture: pairs of a band there, and in the layer."""
    if not isinstance(part, Scene):
        return _Sheet(tuple((place, part, band) for place, band in wanted))
    files = list(zip(part.positions, part.pieces, strict=True))
    bands = [(place, piece, held.index(band)) for place, band in wanted for held, piece in files if band in held]
    return _Sheet(tuple(bands), part.qa_mask)


def _lay_all(sheets: Sequence[_Sheet], frame: Frame, imagery: ImageryPicture) -> None:
    """Lay sheets onto the picture, the first on top; of many, those that show most."""
    largest = sorted(range(len(sheets)), key=lambda number: -sheets[number].extent.area)[:MAX_FILES]
    if len(largest) < len(sheets):
        imagery.note(f"The {len(largest)} largest of {len(sheets):,} scenes are shown.")
    for number in sorted(largest):
        try:
            _lay(sheets[number], frame, imagery)
        except (RasterioError, OSError):
            imagery.note(f"{sheets[number].bands[0][1].source.given} cannot be read any more and is not shown.")


def _lay(sheet: _Sheet, frame: Frame, imagery: ImageryPicture) -> None:
    """Lay one sheet where nothing lies yet."""
    inside = sheet.extent.intersect(Window(0, 0, *map(int, frame.raster.shape)))
    rows, cols = (
        slice(start // frame.factor, -(-stop // frame.factor))
        for start, stop in ((inside.y, inside.bottom), (inside.x, inside.right))
    )
    target = imagery.pixels[:, rows, cols]
    missing = np.isnan(target[sheet.places])
    if not inside.area or not missing.any():
        return
    crop = _Crop(frame, inside, (cols.start, rows.start), missing.shape[1:])
    found = np.stack([crop.read(piece, band, imagery) for _, piece, band in sheet.bands])
    if sheet.qa_mask is not None:
        classes = crop.read(sheet.qa_mask.piece, 0, imagery, is_class=True)
        found[:, ~_usable(classes, sheet.qa_mask)] = np.nan
    found[:, np.isnan(found).any(axis=0)] = np.nan
    for number, place in enumerate(sheet.places):
        np.copyto(target[place], found[number], where=missing[number])


def _usable(classes: Pixels, qa_mask: QaMask) -> NDArray[np.bool_]:
    """Where a classification lets pixels be used; unclassified pixels may not be."""
    known = ~np.isnan(classes)
    values = np.where(known, classes, 0).astype(np.int64)
    usable: NDArray[np.bool_] = known & ~np.isin(values, qa_mask.exclude) & ((values & qa_mask.bits) == 0)
    return usable


@dataclass(frozen=True)
class _Crop:
    """A part of a picture.

    Attributes
    ----------
    frame : Frame
        The picture.
    window : Window
        Pixels of the raster.
    corner : (int, int)
        Column and row of its first pixel in the picture.
    shape : (int, int)
        Height and width, px of the picture.
    """

    frame: Frame
    window: Window
    corner: tuple[int, int]
    shape: tuple[int, ...]

    def read(self, piece: PlacedSource, band: int, imagery: ImageryPicture, *, is_class: bool = False) -> Pixels:
        """One band of a file on the part's pixels, float32 (y, x), NaN where there is no data; classes as they are."""
        raster, source = self.frame.raster, piece.source
        found = np.full(self.shape, np.nan, np.float32)
        geobox: GeoBox = raster[self.window.slices()]
        thinned = thin(source, band, geobox, self.frame.factor)
        if thinned is None:
            return found
        if thinned.is_coarse:
            imagery.note(f"{source.given} has no overviews and is shown coarsely; gdaladdo makes them.")
        averaged = Resampling.average if thinned.zoom > 1 else Resampling.bilinear
        own, wanted = _names(source.geobox.crs, raster.crs)
        reproject(
            thinned.pixels, found, src_transform=thinned.transform, src_crs=own, src_nodata=np.nan,
            dst_transform=raster.transform @ Affine.scale(self.frame.factor) @ Affine.translation(*self.corner),
            dst_crs=wanted, dst_nodata=np.nan, resampling=Resampling.nearest if is_class else averaged,
        )  # fmt: skip
        if source.lines and not is_class:
            gain, shift = source.lines[band]
            found = found * np.float32(gain) + np.float32(shift)
        return found


def _names(source: CRS | None, target: CRS | None) -> tuple[str, str]:
    """Names of two CRS for GDAL; one name for both where they are the same, also where there is no ground."""
    return (
        (_FLAT, _FLAT) if source is None or target is None or source == target else (source.to_wkt(), target.to_wkt())
    )
