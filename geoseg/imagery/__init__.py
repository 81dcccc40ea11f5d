"""Whatever a person names as imagery, as one raster: files, names of the catalog, STAC items, catalogs and searches.

It reads descriptions and headers, and of pixels a few windows; how files are read stands in `geoseg.raster`.
"""

from __future__ import annotations

from geoseg.imagery.masking import Masking, read_masking
from geoseg.imagery.opening import open_imagery
from geoseg.imagery.searching import Search

__all__ = ["Masking", "Search", "open_imagery", "read_masking"]
