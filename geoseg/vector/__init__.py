"""Features in files: every vector format that is written, and the region of interest that is read and cut to.

Knows tables of polygons; not where they come from, nor anything of rasters but a transform.
"""

from geoseg.vector.clipping import clip_features
from geoseg.vector.geopackage import check_layer, drop_layer, holds_something, layer_state
from geoseg.vector.geoparquet import check_partition, is_partitioned, is_parts_alone, parts_of
from geoseg.vector.globe import every_reading, geographic_bounds
from geoseg.vector.regions import (
    Region,
    RegionLike,
    geographic_outline,
    is_bare,
    place_region,
    read_region,
    region_text,
)
from geoseg.vector.stream import Partition
from geoseg.vector.styles import StyledClass
from geoseg.vector.tables import GEOJSON, TableLike, check_name
from geoseg.vector.writing import COLUMNS, FORMATS, check_format, check_place, write_features

__all__ = [
    "COLUMNS",
    "FORMATS",
    "GEOJSON",
    "Partition",
    "Region",
    "RegionLike",
    "StyledClass",
    "TableLike",
    "check_format",
    "check_layer",
    "check_name",
    "check_partition",
    "check_place",
    "clip_features",
    "drop_layer",
    "every_reading",
    "geographic_bounds",
    "geographic_outline",
    "holds_something",
    "is_bare",
    "is_partitioned",
    "is_parts_alone",
    "layer_state",
    "parts_of",
    "place_region",
    "read_region",
    "region_text",
    "write_features",
]
