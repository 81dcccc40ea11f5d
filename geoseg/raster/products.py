"""What the name and the metadata of a satellite product say of a file: sensor, band, units, nodata.

Sentinel-2 and Landsat number their bands alike and mean others, and their files do not declare what stands in the
product's metadata alone. It knows the products' conventions, reads small text files beside the imagery, and opens no
raster. What is known of a kind of product is a row of `PRODUCTS`.

Sources: Sentinel-2 Products Specification Document 15.0 (``BOA_ADD_OFFSET``, ``RADIO_ADD_OFFSET``, special values);
Landsat 8-9 Collection 2 Level 2 Science Product Guide 5.0, section 6 (0.0000275, -0.2); Landsat 8-9 data users
handbook, section 5 (reflectance at the top of the atmosphere); Planet Imagery Product Specifications, February 2024
(names of files, ``reflectanceCoefficient``, surface reflectance x 10,000, UDM2).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from geoseg.raster.archives import beside, text_of
from geoseg.raster.calibration import Line

SENTINEL_2 = {
    "b1": "coastal", "b2": "blue", "b3": "green", "b4": "red", "b5": "rededge71", "b6": "rededge75",
    "b7": "rededge78", "b8": "nir", "b8a": "nir8", "b9": "nir9", "b10": "cirrus", "b11": "swir16", "b12": "swir22",
}  # fmt: skip
"""Sentinel-2's bands and their common names, both as `geoseg.raster.bands` compares names."""

_OLI = {
    "b1": "coastal", "b2": "blue", "b3": "green", "b4": "red", "b5": "nir8", "b6": "swir16", "b7": "swir22",
    "b8": "pan", "b9": "cirrus", "b10": "lwir11", "b11": "lwir12",
}  # fmt: skip
_TM = {
    "b1": "blue", "b2": "green", "b3": "red", "b4": "nir8", "b5": "swir16", "b6": "lwir", "b7": "swir22", "b8": "pan",
}  # fmt: skip

_MODIS = {"b1": "red", "b2": "nir", "b3": "blue", "b4": "green", "b5": "nir12", "b6": "swir16", "b7": "swir22"}
_HRG = {"b1": "green", "b2": "red", "b3": "nir", "b4": "swir16"}

SENSORS = {"sentinel-2": SENTINEL_2, "landsat-8": _OLI, "landsat-5": _TM, "modis": _MODIS, "spot-5": _HRG}
"""Bands of each kind of sensor: landsat-8 is OLI of Landsat 8 and 9, landsat-5 is TM and ETM+ of Landsat 4, 5 and 7,
spot-5 is HRVIR and HRG of SPOT 4 and 5."""

LANDSAT_PIXELS = (15.0, 30.0)
"""Of Landsat's bands, m; Sentinel-2 has none of them."""

_SENSOR_NAMES = (
    ("sentinel-2", r"sentinel-?2[abc]?|s2[abc]_msil[12][ac]\S*|t\d\d[a-z]{3}_\d{8}t\d{6}_\S*|hls[._]s30\S*"),
    ("landsat-8", r"landsat[-_]?[89]|l[co]0[89]_\S*|l[co]?[89](\d{13}|_)\S*|hls[._]l30\S*"),
    ("landsat-5", r"landsat[-_]?[457]|l[te]0[457]_\S*|l[te]?[457](\d{13}|_)\S*"),
    ("modis", r"m[oy]d09\S*|mcd43a4\S*"),
    ("spot-5", r"spot[-_]?[45](?!\d)\S*"),
)
_S2_PRODUCT = re.compile(r"S2[ABC]_MSIL[12][AC]_\d{8}T\d{6}_N(\d{4})_", re.IGNORECASE)
_S2_METADATA = "MTD_MSIL2A.xml", "MTD_MSIL1C.xml"

_REFLECTANCE: Line = (0.0001, 0.0)
_SINCE_2022: Line = (0.0001, -0.1)
"""Of Sentinel-2 from processing baseline 04.00 on, which went into use on 25 January 2022."""
_BASELINE, _CHANGED = 400, "20220125"
_COLLECTION_2: Line = (0.0000275, -0.2)


@dataclass(frozen=True)
class ProductFile:
    """What a product says of one of its files.

    Attributes
    ----------
    units : tuple of (Line or None)
        Reflectance of the digital numbers, band by band; one for all bands, or none.
    nodata : float or None
        Value of pixels without data.
    bands : tuple of str
        Names of the bands; empty where the file's own name is that of its band.
    """

    units: tuple[Line | None, ...]
    nodata: float | None
    bands: tuple[str, ...] = ()

    def unit(self, index: int) -> Line | None:
        """Of a band, counted from 0."""
        return self.units[index] if len(self.units) > 1 else self.units[0]


@dataclass(frozen=True)
class Product:
    """A kind of product.

    Attributes
    ----------
    file : pattern
        Names of its files of pixels, with the groups ``scene`` and ``band``.
    read : callable
        What the product says of a file, by its path and what the pattern has found.
    best : callable
        Sorts files of one band of one scene, the one that is read first.
    quality : mapping of str to str
        Patterns of the files by which pixels can be masked, by the name of that mask; ``{scene}`` stands in them.
    folder : str
        Name of the folder above its files of pixels; others that have such names are something else. Empty: any, where
        no other raster lies beside them.
    """

    file: re.Pattern[str]
    read: Callable[[str, re.Match[str]], ProductFile | None]
    best: Callable[[str], tuple[bool | str, ...]] = lambda path: (path,)
    quality: Sequence[tuple[str, str]] = ()
    folder: str = ""

    def match(self, path: str) -> re.Match[str] | None:
        """What the pattern finds in the name of a file."""
        return self.file.fullmatch(path.rpartition("/")[2])

    def bands(self, paths: Sequence[str]) -> list[str]:
        """The files of bands among those of a folder or an archive; none where these are no such product."""
        rasters = [path for path in paths if self.folder in path.split("/") or not self.folder]
        found = [(path, match) for path in rasters if (match := self.match(path))]
        scenes = {match["scene"] for _, match in found}
        if not self.folder and not all(Path(path).name.startswith(tuple(scenes)) for path in rasters):
            return []
        chosen: dict[tuple[str, str], str] = {}
        for path, match in sorted(found, key=lambda pair: self.best(pair[0])):
            chosen.setdefault((match["scene"], match["band"] or ""), path)
        return sorted(chosen.values())


def product_file(path: str) -> ProductFile | None:
    """What the product of a file says of it; None when it is no band of one that is known by name."""
    return next((row.read(path, found) for row in PRODUCTS if (found := row.match(path))), None)


def is_product_metadata(path: Path) -> bool:
    """Say whether a file is the metadata of a Sentinel-2 product, whose bands lie in folders beside it."""
    return path.name in _S2_METADATA and path.is_file()


def bands_of_product(paths: Iterable[str]) -> list[str]:
    """The files of bands among the rasters of a folder, or of an archive; none where these are no known product."""
    rasters = list(paths)
    return next((bands for row in PRODUCTS if (bands := row.bands(rasters))), [])


def quality_of(path: str, name: str) -> tuple[str, str] | None:
    """The scene of a file of bands, and the file by which its pixels are masked; None where there is no such file."""
    for row in PRODUCTS:
        found, pattern = row.match(path), dict(row.quality).get(name.lower())
        if found and pattern:
            wanted = re.compile(pattern.format(scene=re.escape(found["scene"])), re.IGNORECASE)
            names = (other for other in _near(path, row.folder) if wanted.fullmatch(other.rpartition("/")[2]))
            return next(((found["scene"], other) for other in names), None)
    return None


def _near(path: str, folder: str) -> list[str]:
    """Files beside one; where a product has a folder for each pixel size, those in the others too."""
    if not folder or path.rpartition("/")[0].endswith(folder):
        return beside(path)
    home = path.rpartition("/")[0].rpartition("/")[0]
    return [other for size in ("R20m", "R60m", "R10m") for other in beside(f"{home}/{size}/*")]


def sensor_of(*texts: str) -> str | None:
    """The kind of sensor that texts name: parts of paths, values of tags; None when none or several do."""
    words = [word for text in texts for word in re.split(r"[\s/\\]+", text.lower()) if word]
    found = {name for name, pattern in _SENSOR_NAMES for word in words if re.fullmatch(pattern, word)}
    return found.pop() if len(found) == 1 else None


def sentinel_2_unit(baseline: str) -> Line:
    """Reflectance of digital numbers of a processing baseline, such as ``"05.09"``."""
    digits = re.sub(r"\D", "", baseline)
    return _SINCE_2022 if digits.isdecimal() and int(digits) >= _BASELINE else _REFLECTANCE


def _sentinel_2(path: str, found: re.Match[str]) -> ProductFile | None:
    """A band as the product's metadata has it; by the product's name or date where that is not there."""
    band = found["band"].upper()
    if not re.fullmatch(r"B\d[\dA]", band):
        return None
    file = Path(path).absolute()
    for folder in list(file.parents)[:5]:
        for name in _S2_METADATA:
            if read := _read_sentinel_2(f"{folder}/{name}", band.replace("B0", "B")):
                return read
    if product := _S2_PRODUCT.search(str(file)):
        return ProductFile((sentinel_2_unit(product[1]),), 0)
    return ProductFile((_SINCE_2022 if (found["day"] or "") >= _CHANGED else None,), 0)


@lru_cache(maxsize=256)
def _read_sentinel_2(path: str, band: str) -> ProductFile | None:
    """Scale, offset and nodata of a band; None where the file lacks them, or is not there."""
    text = text_of(path) or ""
    quantity = re.search(r"<(?:BOA_)?QUANTIFICATION_VALUE[^>]*>\s*([\d.]+)", text)
    if quantity is None or not float(quantity[1]):
        return None
    numbers = re.findall(r'<Spectral_Information\b[^>]*\bbandId="(\d+)"[^>]*\bphysicalBand="(\w+)"', text)
    known = {name: number for number, name in numbers} or dict(
        zip((key.upper() for key in SENTINEL_2), map(str, range(13)), strict=True)
    )
    offsets = dict(re.findall(r'<(?:BOA|RADIO)_ADD_OFFSET\b[^>]*band_id="(\d+)"[^>]*>\s*([-\d.]+)', text))
    special = re.search(r"<SPECIAL_VALUE_TEXT>\s*NODATA\s*</SPECIAL_VALUE_TEXT>\s*<SPECIAL_VALUE_INDEX>\s*(\d+)", text)
    scale = 1 / float(quantity[1])
    shift = float(offsets.get(known.get(band, ""), 0)) * scale
    return ProductFile(((scale, shift),), float(special[1]) if special else 0)


def _landsat(path: str, found: re.Match[str]) -> ProductFile | None:
    """A reflective band: of Level 2 by the guide's numbers, of Level 1 by the metadata beside it."""
    number = re.fullmatch(r"B(\d+)", found["band"], re.IGNORECASE)
    if number is None:
        return None
    name = SENSORS.get(sensor_of(found["scene"]) or "", {}).get(f"b{number[1]}")
    if name is None or name.startswith("lwir"):
        return ProductFile((None,), 0)
    if found["level"].upper() == "L2":
        return ProductFile((_COLLECTION_2,), 0)
    metadata = f"{path.rpartition('/')[0]}/{found['scene']}_MTL.txt"
    return ProductFile((_read_landsat(metadata, int(number[1])),), 0)


@lru_cache(maxsize=256)
def _read_landsat(path: str, band: int) -> Line | None:
    """Reflectance at the top of the atmosphere, for the sun's height: ``(M x + A) / sin(elevation)``."""
    text = text_of(path) or ""

    def number(field: str) -> float | None:
        found = re.search(rf"^\s*{field}\s*=\s*([-+.\dEe]+)", text, re.MULTILINE)
        return float(found[1]) if found else None

    gain, shift = number(f"REFLECTANCE_MULT_BAND_{band}"), number(f"REFLECTANCE_ADD_BAND_{band}")
    height = number("SUN_ELEVATION")
    if gain is None or shift is None or height is None or height <= 0:
        return None
    sun = math.sin(math.radians(height))
    return gain / sun, shift / sun


_DOVES = {
    4: ("blue", "green", "red", "nir"),
    8: ("coastal", "blue", "green05", "green", "yellow", "red", "rededge071", "nir"),
}
"""PlanetScope's bands, by how many there are: green05 is its Green I, rededge071 its Red Edge, both named by place."""


def _planetscope(path: str, found: re.Match[str]) -> ProductFile | None:
    """Surface reflectance x 10,000, or radiance with the coefficients of the metadata beside it."""
    names = _DOVES[8 if found["eight"] else 4]
    units: tuple[Line | None, ...] = (_REFLECTANCE,)
    if not found["surface"]:
        start = f"{found['scene']}_3B_AnalyticMS"
        texts = [
            other for other in beside(path) if (name := Path(other).name).startswith(start) and name.endswith(".xml")
        ]
        units = _read_planetscope(texts[0], len(names)) if texts else (None,)
    return ProductFile(units, 0, names)


@lru_cache(maxsize=256)
def _read_planetscope(path: str, count: int) -> tuple[Line | None, ...]:
    """Reflectance at the top of the atmosphere of each band."""
    one = r"<ps:bandNumber>\s*(\d+)\s*</ps:bandNumber>.*?<ps:reflectanceCoefficient>\s*([-+.\dEe]+)"
    gains = {int(number): float(gain) for number, gain in re.findall(one, text_of(path) or "", re.DOTALL)}
    return tuple((gains[band], 0.0) if band in gains else None for band in range(1, count + 1))


PRODUCTS = (
    Product(
        re.compile(
            r"(?P<scene>(?:\w+_)?T\d{2}[A-Z]{3}(?:_(?P<day>\d{8})T\d{6})?)_(?P<band>[A-Z\d]{3})(?:_\d0m)?\.jp2",
            re.IGNORECASE,
        ),
        _sentinel_2,
        quality=[("scl", r"{scene}_SCL_20m\.jp2")],
        folder="IMG_DATA",
    ),
    Product(
        re.compile(
            r"(?P<scene>L[COTEM]0[45789]_(?P<level>L[12])\w+?)_(?:SR_|ST_)?(?P<band>B\d+|[A-Z_]+)\.tiff?",
            re.IGNORECASE,
        ),
        _landsat,
        quality=[("qa_pixel", r"{scene}_QA_PIXEL\.tiff?")],
    ),
    Product(
        re.compile(
            r"(?P<scene>\d{8}_\d{6}_(?:\d{2}_)?\w{4})_3B_(?:AnalyticMS(?P<surface>_SR)?(?P<eight>_8b)?"
            r"(?:_harmonized)?)(?P<band>)(?:_clip)?\.tiff?",
            re.IGNORECASE,
        ),
        _planetscope,
        best=lambda path: ("_SR" not in path, "harmonized" not in path, path),
        quality=[("udm2", r"{scene}_3B_udm2(?:_clip)?\.tiff?")],
    ),
)
"""The kinds of products that are known; a row is all that opening, units and masks need."""
