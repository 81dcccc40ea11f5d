"""What the values of a classified raster are called, and their colours, as its file says.

It knows ``CLASS_<value>`` items, as `write_cog` writes them, colour tables, and the category names and attribute tables
that GDAL finds within a file or beside it; nothing of what classes are for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain
from xml.etree import ElementTree

import rasterio
import rasterio.shutil
from rasterio.io import MemoryFile

from geoseg.errors import RasterError
from geoseg.raster.arrays import ArraySource
from geoseg.raster.handles import dataset
from geoseg.raster.mosaic import Raster
from geoseg.raster.options import configured

_ITEM = "CLASS_"
_HEX = re.compile("#[0-9A-Fa-f]{6}")

LOOKED_AT = 64
"""Files whose legends are read: of the tiles of a mosaic, all have one."""


@dataclass(frozen=True)
class Legend:
    """Names and colours of values.

    Attributes
    ----------
    names : dict of int to str
        From ``CLASS_<value>`` items of the file or its first band, else its category names or attribute table.
    colors : dict of int to (red, green, blue)
        The colour table, 0 to 255; empty where there is none.
    """

    names: dict[int, str]
    colors: dict[int, tuple[int, int, int]]


def read_legend(raster: Raster) -> Legend:
    """Read the legend of a raster: what its first `LOOKED_AT` files say, whatever their order.

    Raises
    ------
    RasterError
        Two files call one value differently.
    """
    names: dict[int, str] = {}
    colors: dict[int, tuple[int, int, int]] = {}
    said_by: dict[int, str] = {}
    for source in list({source.path: source for source in raster.sources}.values())[:LOOKED_AT]:
        legend = _legend_of_array(source) if isinstance(source, ArraySource) else _legend_of(source.path)
        for value, name in legend.names.items():
            if names.setdefault(value, name) != name:
                raise RasterError(
                    f"the value {value} is '{names[value]}' in '{said_by[value]}' and '{name}' in '{source.given}'; "
                    "give rasters with one legend"
                )
            said_by.setdefault(value, source.given)
        colors = legend.colors | colors
    return Legend(names, colors)


def _legend_of_array(source: ArraySource) -> Legend:
    """The legend of an array."""
    red_green_blue = {
        value: tuple(bytes.fromhex(color[1:])) for value, _, color in source.classes if _HEX.fullmatch(color)
    }
    colors = {value: (red, green, blue) for value, (red, green, blue) in red_green_blue.items()}
    return Legend({value: name for value, name, _ in source.classes}, colors)


@configured()
def _legend_of(path: str) -> Legend:
    """The legend of a file."""
    source = dataset(path)
    items = source.tags() | source.tags(1)
    try:
        colors = {value: (red, green, blue) for value, (red, green, blue, _) in source.colormap(1).items()}
    except ValueError:  # there is no colour table
        colors = {}
    numbers = {key.removeprefix(_ITEM): str(name) for key, name in items.items() if key.startswith(_ITEM)}
    names = {int(number): name for number, name in numbers.items() if number.isdecimal()}
    return Legend(names or _described_names(source), colors)


def _described_names(source: rasterio.DatasetReader) -> dict[int, str]:
    """Names of values of the first band that GDAL knows, within a file or beside it; empty where there are none.

    rasterio has no attribute tables, but GDAL writes them into a VRT.
    """
    with MemoryFile(ext=".vrt") as file:
        rasterio.shutil.copy(source, file.name, driver="VRT")
        band = ElementTree.fromstring(file.read()).find(".//*[@band='1']")  # noqa: S314 - GDAL has written it
    return {} if band is None else _categories(band) or _attributes(band)


def _categories(band: ElementTree.Element) -> dict[int, str]:
    """GDAL's category names, one a value from 0 on."""
    texts = [item.text or "" for item in band.iterfind("CategoryNames/Category")]
    return {value: text for value, text in enumerate(texts) if text}


def _attributes(band: ElementTree.Element) -> dict[int, str]:
    """Names in a raster attribute table, by the usages that GDAL gives its columns, or by what they are called."""
    table = band.find("GDALRasterAttributeTable")
    columns = [] if table is None else table.findall("FieldDefn")
    kinds = [(column.findtext("Usage", ""), column.findtext("Name", "").lower()) for column in columns]
    name = _column(kinds, ("2",), ("class_name", "classname", "class_names", "class", "name", "label"))
    texts = [index for index, column in enumerate(columns) if column.findtext("Type") == "2"]
    if name is None and len(texts) == 1:
        name = texts[0]
    if table is None or name is None:
        return {}
    rows = [[field.text or "" for field in row.iterfind("F")] for row in table.iterfind("Row")]
    value = _column(kinds, ("5", "3"), ("value",))
    first, step = (float(table.get(key, usual)) for key, usual in (("Row0Min", "0"), ("BinSize", "1")))
    values = [str(first + index * step) if value is None else row[value] for index, row in enumerate(rows)]
    return {
        int(float(text)): row[name] for text, row in zip(values, rows, strict=True) if _is_whole(text) and row[name]
    }


def _column(kinds: list[tuple[str, str]], usages: tuple[str, ...], names: tuple[str, ...]) -> int | None:
    by_usage = (index for usage in usages for index, kind in enumerate(kinds) if kind[0] == usage)
    by_name = (index for name in names for index, kind in enumerate(kinds) if kind[1] == name)
    return next(chain(by_usage, by_name), None)


def _is_whole(text: str) -> bool:
    try:
        return float(text).is_integer()
    except ValueError:
        return False
