"""Rasters in and out: windows of any imagery with a mask, on one grid; labels as Cloud Optimized GeoTIFF.

It knows files and grids, nothing of models, tiles or dask.
"""

from __future__ import annotations

from geoseg.raster.addresses import unsigned
from geoseg.raster.cog import most_frequent, write_cog
from geoseg.raster.fingerprints import content, file_digest, is_sampled
from geoseg.raster.labels import check_labels, common_nodata, read_labels, sample_windows
from geoseg.raster.legend import Legend, read_legend
from geoseg.raster.mosaic import Raster
from geoseg.raster.opening import Input, open_raster
from geoseg.raster.options import CACHE_BYTES
from geoseg.raster.pixel_areas import PixelAreas, nominal_area, pixel_areas
from geoseg.raster.placing import LOCAL, ground_resolution
from geoseg.raster.resample import READ_BYTES

__all__ = [
    "CACHE_BYTES",
    "LOCAL",
    "READ_BYTES",
    "Input",
    "Legend",
    "Raster",
    "PixelAreas",
    "content",
    "file_digest",
    "check_labels",
    "common_nodata",
    "ground_resolution",
    "is_sampled",
    "most_frequent",
    "nominal_area",
    "open_raster",
    "read_labels",
    "read_legend",
    "pixel_areas",
    "unsigned",
    "sample_windows",
    "write_cog",
]
