"""Whatever a person names as imagery, as one raster: files, names of the catalog, STAC items, catalogs and searches.

It reads descriptions and headers, and of pixels a few windows; how files are read stands in `geoseg.raster`.
"""

from __future__ import annotations

from geoseg.imagery.opening import open_imagery
from geoseg.imagery.qa_mask import QaMaskRule, read_qa_mask_rule
from geoseg.imagery.searching import Search

__all__ = ["QaMaskRule", "Search", "open_imagery", "read_qa_mask_rule"]
