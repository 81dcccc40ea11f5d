#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3) and 1.5.2 (GDAL 3.12.2): the nodata value of a 64-bit band goes through a float and back
# through its decimal text, so what is declared is not what is read, and nothing warns.
#
# Seen (declared -> read back, GeoTIFF):
#   int64   -9223372036854775808 -> -9.0                  the text "-9.22...e+18" is read up to its decimal point
#   uint64   9223372036854775808 ->  9.0
#   int64       9007199254740993 ->  9007199254740992.0   2**53 + 1: the neighbour
# Pixels that hold -9 become nodata, and pixels that hold the declared value become data. -2**63 is the fill value that
# tools write into int64 rasters by default.
#
# Exits 0 as long as all three are so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
import rasterio

print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__)


def read_back(dtype, nodata):
    options = {"driver": "GTiff", "width": 2, "height": 2, "count": 1, "dtype": dtype, "nodata": nodata}
    with rasterio.open("a.tif", "w", **options) as raster:
        raster.write(np.zeros((1, 2, 2), dtype))
    with rasterio.open("a.tif") as raster:
        return raster.nodata


cases = {("int64", -(2**63)): -9.0, ("uint64", 2**63): 9.0, ("int64", 2**53 + 1): 9007199254740992.0}
seen = {case: read_back(*case) for case in cases}
for (dtype, nodata), value in seen.items():
    print(f"{dtype:6} declared {nodata:>20} read {value!r}")
sys.exit(seen != cases)
PYTHON
