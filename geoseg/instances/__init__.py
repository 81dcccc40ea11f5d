"""Objects over tiles: painted in each tile, counted where tiles overlap, united over the raster, numbered.

It knows arrays and the grid of tiles; nothing of networks, of files or of tasks.
"""

from geoseg.instances.meeting import LOCAL, Meeting, meet, paint_core
from geoseg.instances.painting import TileObjects, paint
from geoseg.instances.uniting import InstanceTable, MergedInstances, unite

__all__ = [
    "LOCAL",
    "Meeting",
    "MergedInstances",
    "InstanceTable",
    "TileObjects",
    "meet",
    "paint",
    "paint_core",
    "unite",
]
