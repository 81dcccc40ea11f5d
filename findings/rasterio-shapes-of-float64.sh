#!/usr/bin/env bash
# rasterio 1.4.4: rasterio.features.shapes takes float64 rasters and compares them as float32, so regions of different
# values become one polygon, with the value of one of them; with int32 the same numbers stay apart. In 1.5.2 (GDAL
# 3.12.2) float64 stays float64.
#
# Seen: a raster of 16777216.0 and 16777217.0 (2**24 and the next number: ids of parcels, for one) gives one polygon.
#
# Exits 0 as long as float64 gives one polygon and int32 two.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import rasterio
from rasterio.features import shapes

labels = np.array([[2**24, 2**24 + 1], [2**24, 2**24 + 1]])
found = {dtype: [value for _, value in shapes(labels.astype(dtype))] for dtype in ("float64", "int32")}
print("rasterio", rasterio.__version__, found)
sys.exit([len(values) for values in found.values()] != [1, 2])
PYTHON
