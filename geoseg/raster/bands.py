"""Which bands of a file are meant: by number, name, common name, colour, or order.

Pure: it sees what a file says of its bands, never the file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from geoseg.errors import BandError
from geoseg.raster.products import SENSORS, SENTINEL_2


class NamedBand(Protocol):
    """A band as a model asks for it; ``geoseg.models.spec.Band`` is one."""

    @property
    def name(self) -> str:
        """The sensor's name of the band, such as ``"B04"``."""

    @property
    def common_name(self) -> str | None:
        """The name of the STAC eo extension, such as ``"red"``."""


BandRequest = str | int | NamedBand


@dataclass(frozen=True)
class FileBand:
    """One band as its file describes it.

    Attributes
    ----------
    index : int
        The number in the file, counted from 1.
    description : str
        The file's name of the band, or ``""``.
    color : str
        The colour interpretation, such as ``"red"``, ``"gray"``, ``"alpha"``.
    common : str
        What is known of the band beside its name: the common name, from the sensor or a catalog, or ``""``.
    """

    index: int
    description: str
    color: str
    common: str = ""

    @property
    def is_named(self) -> bool:
        """Say whether the file tells what the band shows; ``"Band 1"`` and ``"gray"`` do not."""
        return not _is_number(self.description) or self.color in _COLORS

    @property
    def label(self) -> str:
        """The best name there is: description, colour, or number."""
        if not _is_number(self.description):
            return self.description.strip()
        return self.color if self.color in _COLORS else str(self.index)


@dataclass(frozen=True)
class BandList:
    """Bands of an array or a netCDF variable, of which attributes list what was said of each band of a file.

    Attributes
    ----------
    count : int
        How many they are.
    numbers : tuple of int
        Their numbers in the file, from 1, as rioxarray's coordinate keeps them when bands are chosen; or empty.
    given : str
        The array's name.
    """

    count: int
    numbers: tuple[int, ...]
    given: str

    def entries(self, name: str, values: Sequence[Any]) -> list[Any] | None:
        """What a list says of each band: of the band of its number in a longer list, else of its place.

        None where the list is of something else.

        Raises
        ------
        BandError
            Bands are in another order than their numbers: rioxarray 0.19 leaves such a list in the order of the file.
        """
        by_place = list(values) if len(values) == self.count else None
        is_of_file = bool(self.numbers) and 1 <= min(self.numbers) and max(self.numbers) <= len(values)
        by_number = [values[number - 1] for number in self.numbers] if is_of_file else None
        if by_place is not None and by_number is not None and list(map(str, by_place)) != list(map(str, by_number)):
            said, numbers = ", ".join(map(str, values)), ", ".join(map(str, self.numbers))
            raise BandError(
                f"'{self.given}' has the bands {numbers} of a file and {name} ({said}), which may be in the order of "
                "the file or of the array; write it in the order of the array, and number its bands anew: "
                f"array.assign_attrs({name}=[...]).assign_coords(band=range(1, {self.count + 1}))."
            )
        return by_number if by_place is None else by_place


def is_alpha(color: str, description: str) -> bool:
    """Say whether a band is alpha: its colour says so, and no name of data, such as ``"NIR"``, which goes before.

    GDAL tags the fourth band of four bytes as alpha when nobody says what it is.
    """
    key = _key(description)
    is_named = not _is_number(description) and not any(word in key for word in _TRANSPARENT)
    return color == "alpha" and not is_named


_TRANSPARENT = ("alpha", "mask", "opacity", "transparen", "valid")
_NUMBERED = re.compile(r"(?:(?:band|layer|channel|image|gray|grey|dataset)[^a-z0-9]*\d*|\d{0,3})", re.IGNORECASE)
_COLORS = ("red", "green", "blue", "coastal", "rededge", "nir", "pan")
_PHRASES = {"red edge": "rededge", "near infrared": "nir", "near ir": "nir"}

# Sentinel-2's numbers and the spellings people use, as keys of the common names of the STAC eo extension.
_COMMON = {
    **SENTINEL_2,
    "nearinfrared": "nir", "nir1": "nir", "nirnarrow": "nir8", "narrownir": "nir8", "swir1": "swir16",
    "swir2": "swir22", "rededge1": "rededge71", "rededge2": "rededge75", "rededge3": "rededge78",
    "coastalaerosol": "coastal", "panchromatic": "pan",
}  # fmt: skip


def _is_number(description: str) -> bool:
    """Say whether a description only counts bands; a year, a date or a fraction names what the band shows."""
    return _NUMBERED.fullmatch(description.strip()) is not None


def match_bands(wanted: Sequence[BandRequest], bands: Sequence[FileBand], *, file: str) -> tuple[int, ...]:
    """Find the wanted bands in a file.

    A number is taken as it is. A name is looked up, in this order, among the descriptions, the words in them
    (``"B2, blue"``) and the colour interpretations: first as the sensor's name, then as the common name, then
    through the sensor's common names (``"B04"`` finds ``"red"``). When the file names none of its bands and has
    as many as are wanted, they are taken in the file's order; alpha bands are never counted.

    Parameters
    ----------
    wanted : sequence of str, int or named band
        What to find, in the order of the result.
    bands : sequence of FileBand
        What the file has, alpha included.
    file : str
        The file's name, for the error.

    Returns
    -------
    tuple of int
        Numbers of bands in the file, counted from 1.

    Raises
    ------
    BandError
        When a wanted band is not there, or its name fits several.
    """
    if not wanted:
        raise BandError(f"no band of '{file}' is asked for; leave bands out to take all, or name at least one.")
    data = [band for band in bands if band.color != "alpha"]
    positions = _positions(wanted, data)
    if positions is not None:
        return tuple(data[position].index for position in positions)
    named = any(band.is_named for band in data)
    if not named and len(data) == len(wanted) and not any(isinstance(item, int) for item in wanted):
        return tuple(band.index for band in data)
    return tuple(_find(item, wanted, bands, file) for item in wanted)


def _positions(wanted: Sequence[BandRequest], data: Sequence[FileBand]) -> list[int] | None:
    """Positions of the bands of a model that numbers them; None where they have names, or the file's may be others."""
    names = [item.name for item in wanted if not isinstance(item, int | str) and item.common_name is None]
    count = len(wanted)
    if len(names) != count or {*names} != {str(number) for number in range(1, count + 1)} or count > len(data):
        return None
    is_picture = count >= len(_PICTURE) and tuple(band.color for band in data[: len(_PICTURE)]) == _PICTURE
    return [int(name) - 1 for name in names] if is_picture or not any(band.is_named for band in data) else None


_PICTURE = ("red", "green", "blue")
_OFFICIAL = (
    "pan", "coastal", "blue", "green", "green05", "yellow", "red", "rededge", "rededge071", "rededge075", "rededge078",
    "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir", "lwir11", "lwir12",
)  # fmt: skip


def common_name(text: str) -> str | None:
    """Return the common name of the STAC eo extension that a text says in words; numbers of bands say none.

    ``"B04, red"`` is red; ``"B05"`` is another band on every satellite.
    """
    official = {_key(name): name for name in _OFFICIAL}
    words = _words(FileBand(0, text, ""))
    found = {official[key] for word in words if (key := word if word in official else _spelt(word)) in official}
    return found.pop() if len(found) == 1 else None


def band_of_name(stem: str) -> str | None:
    """Return the one word of a file's name that names a band, such as ``"B02"`` in ``"T18_B02"``; None without one."""
    words = [word for word in re.split(r"[-_. ]+", stem) if _key(word) in _COMMON or common_name(word)]
    return words[0] if len(words) == 1 else None


def _spelt(word: str) -> str:
    """Return the key of a name that is spelt in another way; numbers of bands stay what they are."""
    return word if re.fullmatch(r"b\d+a?", word) else _COMMON.get(word, word)


def find_bands(item: str | NamedBand, bands: Sequence[FileBand]) -> list[int]:
    """List the numbers of the bands that a name fits, as `match_bands` looks it up; none or several are no error."""
    return _named(item, bands)


def band_name(wanted: BandRequest, bands: Sequence[FileBand], index: int) -> str:
    """Return the name under which a matched band is known: the name asked for, or the file's for a number."""
    if isinstance(wanted, int):
        return next(band.label for band in bands if band.index == index)
    return wanted if isinstance(wanted, str) else wanted.name


def _find(item: BandRequest, wanted: Sequence[BandRequest], bands: Sequence[FileBand], file: str) -> int:
    if isinstance(item, int):
        found = [band.index for band in bands if band.index == item]
    else:
        found = _named(item, [band for band in bands if band.color != "alpha"])
    if len(found) == 1:
        return found[0]
    if len(wanted) > len(bands):
        remedy = f"give imagery with {len(wanted)} bands, or a model of fewer"
        if len(bands) == 1 and bands[0].color == "palette":
            remedy = f"its numbers are of a colour table: gdal_translate -expand rgb '{file}' rgb.tif writes bands"
    else:
        numbers = [band.index for band in bands if band.color != "alpha"]
        remedy = f"give their numbers in this order, such as `bands: {numbers[::-1][: len(wanted)]}`"
    problem = "does not have" if not found else f"has {len(found)} bands called"
    raise BandError(
        f"'{file}' {problem} the band {spoken(item)}: it has {_listing(bands)}, and {len(wanted)} "
        f"({', '.join(spoken(each) for each in wanted)}) are needed; {remedy}."
    )


def _named(item: str | NamedBand, bands: Sequence[FileBand]) -> list[int]:
    name, common = (item, None) if isinstance(item, str) else (item.name, item.common_name)
    if common:
        bands = [band for band in bands if _agrees(_key(common), _key(band.common))]
    keys = [_key(text) for text in (name, common) if text]
    for key in keys:
        for names in (_whole, _words, _color):
            if found := [band.index for band in bands if key in names(band)]:
                return found
    commons = {_COMMON.get(key, key) for key in keys}
    for names in (_whole, _words, _color):
        if found := [band.index for band in bands if commons & _commons(band, names(band))]:
            return found
    return []


def sensor_band(sensor: str | None, name: str) -> str:
    """The common name that a sensor's number of a band stands for, such as ``"SR_B4"``; ``""`` without one."""
    number = re.search(r"(?:^|[^a-z0-9])b0?(\d{1,2}a?)(?:_\d0m|_1)?$", name.lower())
    return SENSORS.get(sensor or "", {}).get(f"b{number[1]}", "") if number else ""


def counts_as_sentinel(wanted: Sequence[BandRequest]) -> bool:
    """Say whether no band of a model is numbered otherwise than Sentinel-2's: ``B5`` as near infrared is Landsat's."""
    named = [item for item in wanted if not isinstance(item, int | str) and item.common_name is not None]
    return all(_agrees(_key(str(item.common_name)), SENTINEL_2.get(_key(item.name), "")) for item in named)


def _agrees(wanted: str, known: str) -> bool:
    """Say whether a common name may be the wanted one: older catalogs write ``rededge`` for each of three bands."""
    wanted, known = (_COMMON.get(name, name) for name in (wanted, known))
    return not known or wanted.startswith(known) or known.startswith(wanted)


def _commons(band: FileBand, keys: set[str]) -> set[str]:
    """Common names of a band; where they are known, its number says none. Landsat has one near infrared."""
    if not band.common:
        return {_COMMON.get(key, key) for key in keys}
    known = _COMMON.get(_key(band.common), _key(band.common))
    return {known, "nir"} if known == "nir8" and not _is_narrow(band) else {known}


def _is_narrow(band: FileBand) -> bool:
    """Say whether a near infrared band is Sentinel-2's narrow one, beside which there is a wide one."""
    return bool({"b8a"} & (_words(band) | _whole(band)))


def _whole(band: FileBand) -> set[str]:
    return {_key(band.description)} - {""}


def _words(band: FileBand) -> set[str]:
    text = re.sub(r"[^a-z0-9]+", " ", band.description.lower())
    for phrase, word in _PHRASES.items():
        text = text.replace(phrase, word)
    return {_key(word) for word in text.split()}


def _color(band: FileBand) -> set[str]:
    return {band.color} & set(_COLORS)


def _key(text: str) -> str:
    """Return a name without case, separators and leading zeros: ``"B02"``, ``"b_2"`` and ``"B2"`` are one."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[^a-z0-9]", "", text.lower()))


def spoken(item: BandRequest) -> str:
    """Write a wanted band as a message names it."""
    if isinstance(item, int):
        return str(item)
    if isinstance(item, str):
        return f"'{item}'"
    return f"'{item.name}'" + (f" ({item.common_name})" if item.common_name else "")


def _listing(bands: Sequence[FileBand]) -> str:
    shown = [str(band.index) + (f" ({_seen(band)})" if _seen(band) else "") for band in bands[:16]]
    return f"{len(bands)} band{'s' if len(bands) != 1 else ''}: " + ", ".join(shown) + (", ..." * (len(bands) > 16))


def _seen(band: FileBand) -> str:
    return band.description.strip() or (band.color if band.color in (*_COLORS, "alpha") else "")
