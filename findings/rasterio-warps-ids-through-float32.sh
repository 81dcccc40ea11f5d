#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3): a WarpedVRT with Resampling.mode, the one for labels and ids, counts values as float32. An
# int32 or uint32 raster comes out with ids that it does not have, from 2**24 on. A decimated read of the same file with
# the same Resampling.mode is right, and so are overviews. In 1.5.2 (GDAL 3.12.2) mode is right; there and in 1.4.4
# Resampling.nearest in a WarpedVRT takes int64 through double, so 2**53 + 1 becomes 2**53.
#
# Seen, for a raster of ids 16,777,217 and 16,777,219 at half its resolution: read gives the two ids, WarpedVRT gives
# 16,777,216 and 16,777,220.
#
# Exits 0 as long as the read has the ids, the WarpedVRT has neither, and nearest changes 2**53 + 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "numpy==2.4.6"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

TRANSFORM = Affine(10, 0, 500_000, 0, -10, 5_000_000)


def halved(dtype, ids, resampling):
    """Ids of the raster at half its resolution, read and warped; each id fills whole pixels of the result."""
    pixels = np.repeat(np.array(ids, dtype), 4)[None, :].repeat(8, axis=0)
    options = {"driver": "GTiff", "width": pixels.shape[1], "height": 8, "count": 1, "dtype": dtype}
    with rasterio.open("a.tif", "w", crs="EPSG:32632", transform=TRANSFORM, **options) as raster:
        raster.write(pixels, 1)
    shape = 4, pixels.shape[1] // 2
    with rasterio.open("a.tif") as raster:
        read = raster.read(1, out_shape=shape, resampling=resampling)
        grid = {"transform": TRANSFORM @ Affine.scale(2), "height": shape[0], "width": shape[1]}
        with WarpedVRT(raster, resampling=resampling, **grid) as vrt:
            warped = vrt.read(1)
    return np.unique(read).tolist(), np.unique(warped).tolist()


print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__)
ids = [2**24 + 1, 2**24 + 3]
read, warped = halved("int32", ids, Resampling.mode)
print("mode, int32:", ids, "- read", read, "- warped", warped)
large = [2**53 + 1]
_, nearest = halved("int64", large, Resampling.nearest)
print("nearest, int64:", large, "- warped", nearest)
sys.exit(not (read == ids and not set(ids) & set(warped) and nearest == [2**53]))
PYTHON
