"""What the name and the metadata of a satellite product say of a file: sensor, band, units, nodata.

Sentinel-2 and Landsat number their bands alike and mean others, and their files do not declare what stands in the
product's metadata alone. It knows the products' conventions, reads small text files beside the imagery, and opens no
raster.

Sources: Sentinel-2 Products Specification Document 15.0 (``BOA_ADD_OFFSET``, ``RADIO_ADD_OFFSET``, special values);
Landsat 8-9 Collection 2 Level 2 Science Product Guide 5.0, section 6 (0.0000275, -0.2); Landsat 8-9 data users
handbook, section 5 (reflectance at the top of the atmosphere).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

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

SENSORS = {"sentinel-2": SENTINEL_2, "landsat-8": _OLI, "landsat-5": _TM}
"""Bands of each kind of sensor: landsat-8 is OLI of Landsat 8 and 9, landsat-5 is TM and ETM+ of Landsat 4, 5 and 7."""

LANDSAT_PIXELS = (15.0, 30.0)
"""Of Landsat's bands, m; Sentinel-2 has none of them."""

_SENSOR_NAMES = (
    ("sentinel-2", r"sentinel-?2[abc]?|s2[abc]_msil[12][ac]\S*|t\d\d[a-z]{3}_\d{8}t\d{6}_\S*|hls[._]s30\S*"),
    ("landsat-8", r"landsat[-_]?[89]|l[co]0[89]_\S*|l[co]?[89](\d{13}|_)\S*|hls[._]l30\S*"),
    ("landsat-5", r"landsat[-_]?[457]|l[te]0[457]_\S*|l[te]?[457](\d{13}|_)\S*"),
)
_S2_FILE = re.compile(r"T\d{2}[A-Z]{3}_(\d{8})T\d{6}_(B\d[\dA])(?:_\d0m)?", re.IGNORECASE)
_S2_PRODUCT = re.compile(r"S2[ABC]_MSIL[12][AC]_\d{8}T\d{6}_N(\d{4})_", re.IGNORECASE)
_S2_METADATA = "MTD_MSIL2A.xml", "MTD_MSIL1C.xml"
_LANDSAT_FILE = re.compile(r"(L[COTEM]0[45789]_(L[12])\w+?)_(?:SR_)?B(\d+)", re.IGNORECASE)

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
    unit : Line or None
        Reflectance of its digital numbers.
    nodata : float or None
        Value of pixels without data.
    """

    unit: Line | None
    nodata: float | None


def product_file(path: str) -> ProductFile | None:
    """What the product of a file says of it; None when it is no band of one that is known by name."""
    file = Path(path)
    if file.suffix.lower() == ".jp2" and (found := _S2_FILE.fullmatch(file.stem)):
        return _sentinel_2(file, found[1], found[2])
    if file.suffix.lower() in (".tif", ".tiff") and (found := _LANDSAT_FILE.fullmatch(file.stem)):
        return _landsat(file, found[1], found[2].upper(), int(found[3]))
    return None


def is_product_metadata(path: Path) -> bool:
    """Say whether a file is the metadata of a Sentinel-2 product, whose bands lie in folders beside it."""
    return path.name in _S2_METADATA and path.is_file()


def bands_of_product(folder: Path) -> list[Path]:
    """Sentinel-2's bands below a folder, each where it is finest; beside IMG_DATA lie masks that have their names."""
    below = [file for file in folder.rglob("*.jp2") if "IMG_DATA" in file.parts]
    finest: dict[str, Path] = {}
    for file in sorted(below):
        finest.setdefault(re.sub(r"_\d0m$", "", file.stem), file)
    return list(finest.values())


def sensor_of(*texts: str) -> str | None:
    """The kind of sensor that texts name: parts of paths, values of tags; None when none or several do."""
    words = [word for text in texts for word in re.split(r"[\s/\\]+", text.lower()) if word]
    found = {name for name, pattern in _SENSOR_NAMES for word in words if re.fullmatch(pattern, word)}
    return found.pop() if len(found) == 1 else None


def sentinel_2_unit(baseline: str) -> Line:
    """Reflectance of digital numbers of a processing baseline, such as ``"05.09"``."""
    digits = re.sub(r"\D", "", baseline)
    return _SINCE_2022 if digits.isdecimal() and int(digits) >= _BASELINE else _REFLECTANCE


def _sentinel_2(file: Path, day: str, band: str) -> ProductFile:
    """A band as the product's metadata has it; by the product's name or date where that is not there."""
    for folder in list(file.absolute().parents)[:5]:
        for name in _S2_METADATA:
            if (folder / name).is_file() and (
                found := _read_sentinel_2(folder / name, band.upper().replace("B0", "B"))
            ):
                return found
    if product := _S2_PRODUCT.search(str(file.absolute())):
        return ProductFile(sentinel_2_unit(product[1]), 0)
    return ProductFile(_SINCE_2022 if day >= _CHANGED else None, 0)


@lru_cache(maxsize=256)
def _read_sentinel_2(path: Path, band: str) -> ProductFile | None:
    """Scale, offset and nodata of a band; None where the file lacks them."""
    text = path.read_text(encoding="utf-8", errors="replace")
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
    return ProductFile((scale, shift), float(special[1]) if special else 0)


def _landsat(file: Path, product: str, level: str, band: int) -> ProductFile | None:
    """A reflective band: of Level 2 by the guide's numbers, of Level 1 by the metadata beside it."""
    sensor = sensor_of(product)
    name = SENSORS.get(sensor or "", {}).get(f"b{band}")
    if name is None or name.startswith("lwir"):
        return ProductFile(None, 0)
    if level == "L2":
        return ProductFile(_COLLECTION_2, 0)
    metadata = file.with_name(f"{product}_MTL.txt")
    return ProductFile(_read_landsat(metadata, band) if metadata.is_file() else None, 0)


@lru_cache(maxsize=256)
def _read_landsat(path: Path, band: int) -> Line | None:
    """Reflectance at the top of the atmosphere, for the sun's height: ``(M x + A) / sin(elevation)``."""
    text = path.read_text(encoding="utf-8", errors="replace")

    def number(field: str) -> float | None:
        found = re.search(rf"^\s*{field}\s*=\s*([-+.\dEe]+)", text, re.MULTILINE)
        return float(found[1]) if found else None

    gain, shift = number(f"REFLECTANCE_MULT_BAND_{band}"), number(f"REFLECTANCE_ADD_BAND_{band}")
    height = number("SUN_ELEVATION")
    if gain is None or shift is None or height is None or height <= 0:
        return None
    sun = math.sin(math.radians(height))
    return gain / sun, shift / sun
