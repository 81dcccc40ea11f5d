"""What the values of a classified raster are called, and their colours, as its file says.

It knows ``CLASS_<value>`` items, as `write_cog` writes them, and colour tables; nothing of what classes are for.
"""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.raster.handles import dataset
from geoseg.raster.mosaic import Raster

_ITEM = "CLASS_"


@dataclass(frozen=True)
class Legend:
    """Names and colours of values.

    Attributes
    ----------
    names : dict of int to str
        From ``CLASS_<value>`` items of the file or its first band.
    colors : dict of int to (red, green, blue)
        The colour table, 0 to 255; empty where there is none.
    """

    names: dict[int, str]
    colors: dict[int, tuple[int, int, int]]


def read_legend(raster: Raster) -> Legend:
    """Read the legend of a raster: that of its first file."""
    source = dataset(raster.sources[0].path)
    items = source.tags() | source.tags(1)
    try:
        colors = {value: (red, green, blue) for value, (red, green, blue, _) in source.colormap(1).items()}
    except ValueError:  # there is no colour table
        colors = {}
    numbers = {key.removeprefix(_ITEM): str(name) for key, name in items.items() if key.startswith(_ITEM)}
    return Legend({int(number): name for number, name in numbers.items() if number.isdigit()}, colors)
