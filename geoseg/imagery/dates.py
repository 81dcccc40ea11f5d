"""Several dates stacked as one input: those that a person gives, in the model's order, each with options of its own.

It knows names, bands and options; what a date names is opened elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from geoseg.errors import BandError, RasterError, WorkflowError
from geoseg.models.spec import Band
from geoseg.options import ImageryOptions, read_options
from geoseg.raster import Raster
from geoseg.raster.bands import BandRequest, FileBand, find_bands
from geoseg.raster.calibration import Line
from geoseg.raster.given import INPUT, is_dataset, named

OWN = (
    *("bands", "scale", "offset", "nodata", "remove_offset", "zoom"),
    *("collections", "datetime", "query", "mask", "mosaic"),
)
"""Options that a date may have for itself; all others hold for all dates."""

Share = tuple[Sequence[BandRequest] | None, Sequence[Line | None]]
"""Bands of one date, and their units."""


@dataclass(frozen=True)
class Date:
    """One of several dates.

    Attributes
    ----------
    name : str
        As a person or the model calls it.
    input : Any
        Imagery of any kind.
    options : mapping
        Those of `OWN` that are given for this date alone.
    """

    name: str
    input: Any
    options: Mapping[str, Any]


def read_dates(given: Any, bands: Sequence[BandRequest] | None, names: Sequence[str], total: int) -> tuple[Date, ...]:
    """List the dates of an input, in the model's order; none where it is one raster, or one file a band.

    A mapping is of dates when a value is a mapping itself, a key is a name of the model's dates, or it has several
    keys, none of them a band that is wanted, and the model takes more bands than that.

    Parameters
    ----------
    given : Any
        The input.
    bands : sequence or None
        Bands that are wanted.
    names : sequence of str
        Names of the model's dates, in its order; empty where they have none.
    total : int
        Bands that the model takes; 0 without one.

    Raises
    ------
    WorkflowError
        There are more or fewer dates than the model takes, others than it names, or an option that no date has.
    """
    if not isinstance(given, Mapping) or is_dataset(given):
        return ()
    from geoseg.imagery.documents import is_read_item

    if is_read_item(given) or not _has_dates(given, bands, names, total):
        return ()
    dates = {str(name): _date(str(name), value) for name, value in given.items()}
    told, wanted = ", ".join(dates), ", ".join(names)
    if names and set(dates) != set(names):
        raise WorkflowError(
            f"the input has the dates {told}, and the model takes {wanted}; give each of them by that name, such as "
            f"{_example(names)}."
        )
    count = len(names) or taken(bands, names)
    if len(dates) < 2 or (count > 1 and len(dates) != count):
        needed = f"the model takes {count}; give as many" if count > 1 else "only several are stacked; give others too"
        raise WorkflowError(
            f"the input has {len(dates)} date{'s' * (len(dates) != 1)} ({told}), and {needed}, each by a name."
        )
    return tuple(dates[name] for name in names or dates)


def taken(bands: Sequence[BandRequest] | None, names: Sequence[str]) -> int:
    """How many dates a model takes, whose bands these are: those it names, or how often its bands repeat."""
    own = [band.name for band in bands or () if not isinstance(band, int | str)]
    if not own or len(own) != len(bands or ()):
        return 1
    sizes = (size for size in range(1, len(own) + 1) if len(own) % size == 0)
    return len(names) or next(len(own) // size for size in sizes if own == own[:size] * (len(own) // size))


def share(dates: Sequence[Date], bands: Sequence[BandRequest] | None, units: Sequence[Line | None]) -> list[Share]:
    """Divide the bands that are wanted among the dates: evenly, unless dates say bands of their own.

    Parameters
    ----------
    dates : sequence of Date
        In their order.
    bands : sequence or None
        All bands, date after date, or those of each date; where no model wants them, always of each date.
    units : sequence
        Units of all bands that a model wants; empty without one.

    Raises
    ------
    BandError
        The dates have more or fewer bands than are wanted.
    """
    own = [date.options.get("bands") for date in dates]
    if not units or bands is None:
        return [(chosen or bands, ()) for chosen in own]
    total, even = len(units), len(units) // len(dates)
    common = bands if len(bands) == even else None
    counts = [even if chosen is None else len(chosen) for chosen in own]
    if sum(counts) != total or (common is None and len(bands) != total):
        told = " and ".join(f"{count} of '{date.name}'" for date, count in zip(dates, counts, strict=True))
        told = told if sum(counts) != total else f"{len(bands)} for all dates"
        raise BandError(f"the model takes {total} bands, and those chosen are {told}; name bands for each date.")
    ends = [0, *np.cumsum(counts).tolist()]
    return [
        (chosen or common or _numbered(bands[begin:end]), units[begin:end])
        for chosen, (begin, end) in zip(own, pairwise(ends), strict=True)
    ]


def stack(dates: Sequence[Date], rasters: Sequence[Raster]) -> Raster:
    """Lay rasters of one grid behind one another, band-wise.

    Raises
    ------
    RasterError
        A date lies elsewhere than the first.
    """
    layers, begin = [], 0
    for date, raster in zip(dates, rasters, strict=True):
        if not any(piece.extent.area for piece in raster.pieces):
            raise RasterError(
                f"the imagery of '{date.name}' does not overlap that of '{dates[0].name}'; give dates of one area."
            )
        for layer in raster.layers:
            positions = tuple(begin + position for position in layer.positions)
            layers.append(replace(layer, positions=positions, date=date.name))
        begin += len(raster.bands)
    names = (f"{date.name}:{band}" for date, raster in zip(dates, rasters, strict=True) for band in raster.bands)
    skipped = tuple(sentence for raster in rasters for sentence in raster.skipped)
    dtype = np.result_type(*(raster.dtype for raster in rasters))
    return Raster(rasters[0].geobox, tuple(names), dtype, tuple(layers), skipped)


def check_stacked(raster: Raster, given: Any, bands: Sequence[BandRequest], names: Sequence[str]) -> Raster:
    """Refuse one raster for a model of several dates, unless it has the bands of all of them.

    Raises
    ------
    BandError
        It has more or fewer.
    """
    if len(raster.bands) == len(bands):
        return raster
    count = taken(bands, names)
    raise BandError(
        f"the model takes {len(bands)} bands of {count} dates, and '{named(given)}' has {len(raster.bands)}; give each "
        f"date: {_example(names or [f'date{number}' for number in range(1, count + 1)])}."
    )


def _example(names: Sequence[str]) -> str:
    return f"input: {{{', '.join(f'{name}: {name}.tif' for name in names)}}}"


def _has_dates(given: Mapping[Any, Any], bands: Sequence[BandRequest] | None, names: Sequence[str], total: int) -> bool:
    if any(isinstance(value, Mapping) for value in given.values()) or not {*map(str, given)}.isdisjoint(names):
        return True
    keys = [FileBand(index, str(key), "undefined") for index, key in enumerate(given, start=1)]
    wanted = [band for band in bands or () if not isinstance(band, int)]
    is_short = len(keys) < total if total else bool(wanted)
    may_be = is_short and (len(keys) > 1 or taken(bands, names) > 1)
    return may_be and not any(find_bands(band, keys) for band in wanted)


def _date(name: str, value: Any) -> Date:
    """A date with its own options, which are checked as those of a run are."""
    if not isinstance(value, Mapping) or is_dataset(value):
        return Date(name, value, {})
    if INPUT not in value:
        if options := [key for key in OWN if key in value]:
            raise WorkflowError(
                f"the date '{name}' has {options[0]} and no input; write its imagery as the key input beside it."
            )
        return Date(name, value, {})
    own = {str(key): item for key, item in value.items() if key != INPUT}
    read = read_options(ImageryOptions, own, f"the date '{name}'")
    if alien := sorted(set(own) - set(OWN)):
        raise WorkflowError(f"the date '{name}' has '{alien[0]}', which holds for all dates; write it beside input.")
    if isinstance(read.mask, Mapping) and "model" in read.mask:
        raise WorkflowError(
            f"the date '{name}' has a model as its mask, which is that of all dates; write mask beside input."
        )
    return Date(name, value[INPUT], {key: getattr(read, key) for key, item in own.items() if item is not None})


def _numbered(bands: Sequence[BandRequest]) -> list[BandRequest]:
    """Bands of one date; those that a model numbers through its dates are counted from 1 in each."""
    if all(isinstance(band, Band) and band.name.isdecimal() and band.common_name is None for band in bands):
        return [replace(band, name=str(number)) for number, band in enumerate(bands, start=1) if isinstance(band, Band)]
    return list(bands)
