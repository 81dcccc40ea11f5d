"""Features in files: every vector format that is written, and the region of interest that is read and cut to.

Knows tables of polygons; not where they come from, nor anything of rasters but a transform.
"""

from geoseg.vector.clipping import clip_features
from geoseg.vector.geopackage import check_layer
from geoseg.vector.regions import Region, check_region, geographic_outline, read_region
from geoseg.vector.styles import StyledClass
from geoseg.vector.writing import COLUMNS, FORMATS, check_format, write_features

__all__ = [
    "COLUMNS",
    "FORMATS",
    "Region",
    "StyledClass",
    "check_format",
    "check_layer",
    "check_region",
    "clip_features",
    "geographic_outline",
    "read_region",
    "write_features",
]
