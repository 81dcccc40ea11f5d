"""What numbers a raster's pixels are, from a few small windows of it, beside those that a model is meant for.

A model sees what it was not made for as readily as what it was, and maps it without a word; so somebody has to look at
the numbers first. It knows numbers, not models.

Strategy. Windows of 64 px are read at places spread over what is mapped until a few of them hold data: some
milliseconds of local files, and over a network two windows, however many scenes there are. Only what no scene can be is
refused: dark and bright scenes are legitimate, so limits are far from them, and quantiles count, not single pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import AssetMismatchError, RasterReadError
from geoseg.grid import Window
from geoseg.raster.calibration import AS_STORED, calibrate
from geoseg.raster.handles import is_remote
from geoseg.raster.mosaic import Raster
from geoseg.raster.placing import ground_resolution
from geoseg.raster.products import LANDSAT_PIXELS
from geoseg.raster.source import Source

SIDE = 64
"""Of a window that is read, px."""

ENOUGH, ENOUGH_REMOTE = 5, 2
"""Windows with data that are read; of files that are read over a network."""

BINS = 40
"""Columns of a histogram."""

FILLS = (0, 65535, -32768, -32767, 32767, -999, -9999, -99999, -(2.0**31), -float(np.finfo(np.float32).max), 1e20)
"""Numbers that files which declare none have where nothing was recorded, outside of a swath or a region; bytes have 255
besides, which is only a number among others elsewhere."""

_PLACES = (
    (0.5, 0.5), (0.1, 0.1), (0.9, 0.9), (0.1, 0.9), (0.9, 0.1), (0.5, 0.1), (0.5, 0.9), (0.1, 0.5), (0.9, 0.5),
    (0.3, 0.3), (0.7, 0.7), (0.3, 0.7), (0.7, 0.3),
)  # fmt: skip
_MORE = tuple(((number * 0.7548776662) % 1, (number * 0.5698402910) % 1) for number in range(1, 257))
"""Where else local files are looked at when no window has held data; Roberts' R2 sequence, without large gaps."""

_FAILURES = (
    2  # windows that cannot be read, after which no more are tried: a server that is gone takes half a minute each
)
_LEAST = 64  # px with data, below which nothing is concluded
_BYTES = (0.0, 255.0)
_THOUSANDS = 1000.0  # from such a highest number on bytes are no imagery of a model
_FAINT = 0.01  # of the expected range: water in shadow is brighter in some band
_BRIGHT = 0.6  # of the expected range
_GRADES = 32  # different numbers that a mask does not have

Range = tuple[float, float]


@dataclass(frozen=True)
class BandValues:
    """Numbers of one band.

    Attributes
    ----------
    name : str
        The band.
    low, middle, high : float
        Quantiles of 2, 50 and 98 %.
    least, most : float
        The smallest and the largest number.
    expected : (float, float) or None
        Between which numbers they are meant to lie.
    counts : tuple of int
        Pixels by number, in equal steps from ``start`` to ``stop``; those beyond are in the outer ones.
    start, stop : float
        Of the histogram.
    """

    name: str
    low: float
    middle: float
    high: float
    least: float
    most: float
    expected: Range | None
    counts: tuple[int, ...]
    start: float
    stop: float

    @property
    def limits(self) -> Range:
        """What is expected; everything where nothing is."""
        return self.expected or (-np.inf, np.inf)

    def part(self, number: float) -> float:
        """Where a number lies on the way from the lowest expected number, 0, to the highest, 1."""
        low, high = self.limits
        return (number - low) / (high - low)


@dataclass(frozen=True)
class Values:
    """Numbers of a raster, as they were found in a few windows.

    Attributes
    ----------
    bands : tuple of BandValues
        In the raster's order; empty where no window holds data.
    pixels : int
        Pixels that were looked at: those with data that do not have one of `FILLS` in every band.
    fill : float
        The most frequent of `FILLS` in every band.
    filled : float
        Part of the pixels with data that have it in every band, 0 to 1.
    note : str
        What is doubtful about them; empty when nothing is.
    """

    bands: tuple[BandValues, ...]
    pixels: int
    fill: float
    filled: float
    note: str = ""

    def summary(self) -> dict[str, Any]:
        """As JSON values, for ``run.json``."""
        return asdict(self)


def sample_values(
    raster: Raster, expected: Sequence[Range | None] = (), cores: Sequence[Window] | None = None
) -> Values:
    """Look at a few windows.

    Parameters
    ----------
    raster : Raster
        The imagery.
    expected : sequence of (float, float) or None
        Between which numbers the pixels of each band are meant to lie.
    cores : sequence of Window, optional
        Where to look; everywhere when None.

    Returns
    -------
    Values
        Empty where files cannot be read: what is wrong with them is for the block to say that needs them.

    Raises
    ------
    AssetMismatchError
        A file is not what its catalog says.
    """
    found = _read_windows(raster, cores or [Window(0, 0, *raster.shape)])
    pixels = np.concatenate([np.zeros((len(raster.bands), 0), raster.dtype), *found], axis=1)
    is_fill, fill, filled = _fill(pixels, raster.sources)
    pixels = pixels[:, ~is_fill]
    if pixels.shape[1] < _LEAST:
        return Values((), pixels.shape[1], fill, filled)
    ranges = list(expected) or [None] * len(raster.bands)
    bands = tuple(_band(name, band, told) for name, band, told in zip(raster.bands, pixels, ranges, strict=True))
    return Values(bands, pixels.shape[1], fill, filled)


def _fill(pixels: NDArray[Any], sources: Sequence[Source]) -> tuple[NDArray[np.bool_], float, float]:
    """Pixels (band, n) that have one of `FILLS` in every band, bool (n,); the most frequent such number, its part."""
    known = _fills_as_read(pixels.dtype, sources)
    is_fill = (pixels == pixels[:1]).all(axis=0) & np.isin(pixels[0], list(known))
    numbers, counts = np.unique(pixels[0, is_fill], return_counts=True)
    if not numbers.size:
        return is_fill, 0.0, 0.0
    return is_fill, known[numbers[counts.argmax()]], float(counts.max() / pixels.shape[1])


def _fills_as_read(dtype: np.dtype[Any], sources: Sequence[Source]) -> dict[Any, float]:
    """`FILLS` by what they are read as, where all bands of a file are read alike."""
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    fills = [fill for fill in ((0, 255) if dtype == np.uint8 else FILLS) if limits.min <= fill <= limits.max]
    lines = {line for source in sources for line in source.lines or (AS_STORED,) if len(set(source.lines)) <= 1}
    known: dict[Any, float] = {}
    for line in sorted(lines):
        numbers = np.array([fills], dtype)
        with np.errstate(over="ignore"):
            calibrate(numbers, [line])
        known |= {number: float(fill) for number, fill in zip(numbers[0], fills, strict=True) if number not in known}
    return known


def _read_windows(raster: Raster, cores: Sequence[Window]) -> list[NDArray[Any]]:
    """Pixels with data (band, n) of as many windows as are enough."""
    enough = ENOUGH_REMOTE if any(is_remote(source.path) for source in raster.sources[:1]) else ENOUGH
    found = _read_places(raster, cores, _PLACES, enough)
    return found or ([] if enough == ENOUGH_REMOTE else _read_places(raster, cores, _MORE, enough))


def _read_places(
    raster: Raster, cores: Sequence[Window], places: Sequence[tuple[float, float]], enough: int
) -> list[NDArray[Any]]:
    """Pixels with data (band, n) of as many windows as are enough; of windows with few where no other has more."""
    found, scarce = list[NDArray[Any]](), list[NDArray[Any]]()
    failures = 0
    for number, place in enumerate(places):
        core = cores[number * len(cores) // len(places)] if len(cores) > len(places) else cores[number % len(cores)]
        try:
            pixels, mask = raster.read(_window(core, place))
        except AssetMismatchError:
            raise
        except RasterReadError:
            failures += 1
            if failures == _FAILURES:
                break
            continue
        (found if mask.mean() > 0.1 else scarce).append(pixels[:, mask])
        if len(found) == enough:
            break
    return found or [pixels for pixels in scarce if pixels.size]


def _window(core: Window, place: tuple[float, float]) -> Window:
    """A window at a place of a larger one, 0 to 1 down and across."""
    height, width = min(SIDE, core.height), min(SIDE, core.width)
    y, x = int((core.height - height) * place[0]), int((core.width - width) * place[1])
    return Window(core.y + y, core.x + x, height, width)


def _band(name: str, numbers: NDArray[Any], expected: Range | None) -> BandValues:
    values = numbers.astype(np.float64)
    low, middle, high = np.quantile(values, (0.02, 0.5, 0.98))
    least, most = values.min(), values.max()
    ends = [*(expected or ()), low, high]
    start, stop = (min(ends), max(ends)) if min(ends) < max(ends) else (least - 0.5, least + 0.5)
    counts, _ = np.histogram(np.clip(values, start, stop), BINS, (start, stop))
    low, middle, high, least, most = (float(f"{number:.6g}") for number in (low, middle, high, least, most))
    columns = tuple(map(int, counts))
    return BandValues(name, low, middle, high, least, most, expected, columns, float(start), float(stop))


@dataclass(frozen=True)
class Doubt:
    """Why numbers are not those that a model is meant for.

    Attributes
    ----------
    sentence : str
        What, the numbers, the remedy.
    is_certain : bool
        Whether no scene has such numbers.
    """

    sentence: str
    is_certain: bool


def find_doubt(values: Values, raster: Raster, model: str, *, is_given: bool) -> Doubt | None:
    """Compare numbers with those that a model is meant for.

    Parameters
    ----------
    values : Values
        Of the raster, with what is expected.
    raster : Raster
        For its name and type.
    model : str
        The model's name.
    is_given : bool
        Whether a person has said scale or offset, who then knows better: nothing is certain any more.
    """
    bands = [band for band in values.bands if band.expected is not None]
    if not bands:
        return _doubt_of_fill(values, raster) or _doubt_of_alpha(raster)
    for check in (_too_small, _too_large, _too_bright):
        if (finding := check(bands, raster)) is not None:
            remedy, is_certain = finding
            remedy = "correct scale and offset" if is_given else f"{remedy}, or `--scale 1` if the numbers are right"
            sentence = f"{_seen(bands, raster)}, and model '{model}' is meant for {_meant(bands)}; {remedy}."
            return Doubt(sentence, is_certain and not is_given)
    return _doubt_of_fill(values, raster) or _doubt_of_alpha(raster)


_Finding = tuple[str, bool]
"""The remedy, and whether it is certain."""


def _too_small(bands: Sequence[BandValues], raster: Raster) -> _Finding | None:
    """Reflectance from 0 to 1 or percent instead of thousands; bytes instead of thousands."""
    highest = max(band.limits[1] for band in bands)
    if min(band.limits[0] for band in bands) < 0:
        return None
    if raster.dtype == np.uint8:
        return ("give the imagery as it was before it was stretched to bytes", True) if highest >= _THOUSANDS else None
    if max(band.part(band.high) for band in bands) >= _FAINT:
        return None
    unit, words = (1, "parts of 1") if max(band.high for band in bands) <= 2 else (100, "percent")
    return f"give `--scale {highest / unit:g}` if they are {words}", True


def _too_large(bands: Sequence[BandValues], _raster: Raster) -> _Finding | None:
    """More than 8 bits for bytes; far beyond what was expected for others."""
    middle, high, most = (max(getattr(band, name) for band in bands) for name in ("middle", "high", "most"))
    highest = max(band.limits[1] for band in bands)
    if all(band.expected == _BYTES for band in bands):
        full = next((full for full in (1023, 2047, 4095, 16383) if high < full <= 2 * high), 65535)
        remedy = f"give `--scale {highest / full:.4g}` if they fill {full.bit_length()} bits, or another to 255"
        return (remedy, middle > highest or high > 2 * highest) if most > highest else None
    beyond = max(band.part(band.middle) for band in bands)
    return (f"give `--scale {highest / high:.3g}` or what else brings them there", beyond > 20) if beyond > 2 else None


def _too_bright(bands: Sequence[BandValues], raster: Raster) -> _Finding | None:
    """Every band far from 0 everywhere, in pixels of Landsat's size: its numbers are so, and else only clouds."""
    if any(band.expected == _BYTES for band in bands) or not _is_landsat_sized(raster):
        return None
    is_bright = min(band.part(band.low) for band in bands) > _BRIGHT
    return ("give `--scale 0.275 --offset -2000` if they are Landsat's Collection 2", False) if is_bright else None


def _is_landsat_sized(raster: Raster) -> bool:
    if raster.is_plain or raster.crs is None:
        return False
    size = max(ground_resolution(raster.sources[0].geobox))
    return any(abs(size / pixel - 1) < 0.01 for pixel in LANDSAT_PIXELS)


def _doubt_of_fill(values: Values, raster: Raster) -> Doubt | None:
    """Pixels that have one of `FILLS` in every band; bytes may be black or white."""
    if values.filled < (0.3 if raster.dtype == np.uint8 else 0.02):
        return None
    number = f"{values.fill:.9g}"
    return Doubt(
        f"{values.filled:.0%} of the pixels of '{_name(raster)}' that were looked at are {number} in every band and "
        f"are mapped like any other; give `--nodata {number}` if nothing was recorded there.",
        False,
    )


def _doubt_of_alpha(raster: Raster) -> Doubt | None:
    """A band that GDAL takes for alpha, as the fourth of four bytes, and that has as many numbers as imagery has."""
    try:
        source = raster.sources[0].as_opened()
    except RasterReadError:
        return None
    if source.alpha is None:
        return None
    layer = replace(source, indexes=(source.alpha,), nodata=(None,), alpha=None, masked=(), units=(), lines=())
    try:
        windows = [layer.read(_window(layer.extent, place))[0] for place in _PLACES[:ENOUGH]]
    except RasterReadError:
        return None
    numbers = np.concatenate([window.ravel() for window in windows])
    between = (numbers > 0) & (numbers < numbers.max())
    if between.mean() < 0.3 or len(np.unique(numbers)) < _GRADES:
        return None
    return Doubt(
        f"band {source.alpha} of '{source.given}' is tagged as alpha and has the numbers of imagery, so pixels "
        f"where it is 0 are left out; if it is data, give `gdal_edit.py -colorinterp_{source.alpha} undefined`.",
        False,
    )


def _seen(bands: Sequence[BandValues], raster: Raster) -> str:
    low, high = min(band.low for band in bands), max(band.high for band in bands)
    return f"most pixels of '{_name(raster)}' lie between {_number(low)} and {_number(high)}"


def _meant(bands: Sequence[BandValues]) -> str:
    low, high = min(band.limits[0] for band in bands), max(band.limits[1] for band in bands)
    return f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 10 or value == int(value) else f"{value:.2g}"


def _name(raster: Raster) -> str:
    return raster.sources[0].given if raster.sources else "the imagery"
