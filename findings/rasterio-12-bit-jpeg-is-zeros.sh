#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3, wheels of PyPI): a GeoTIFF of 12-bit JPEG, as sensors with more than 8 bits are shipped,
# is written without an exception and holds zeros only. In 1.5.2 (GDAL 3.12.2) the pixels are there.
#
# Seen: mean 2,011 written, 0 read back; the file opens, and no warning is raised in Python.
#
# Exits 0 as long as writing raises nothing and all pixels that are read back are 0.
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

pixels = np.random.default_rng(0).integers(500, 3500, (1, 64, 64), dtype=np.uint16)
options = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint16"}
with rasterio.open("a.tif", "w", compress="JPEG", nbits=12, **options) as raster:
    raster.write(pixels)
with rasterio.open("a.tif") as raster:
    read = raster.read()
print("rasterio", rasterio.__version__, "mean written", pixels.mean(), "mean read", read.mean())
sys.exit(bool(read.any()))
PYTHON
