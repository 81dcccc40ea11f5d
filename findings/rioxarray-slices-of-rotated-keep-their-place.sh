#!/usr/bin/env bash
# rioxarray 0.19.0 (0.23.0 alike): what is cut out of a rotated raster keeps the transform of the whole, so it is written, and
# reprojected, where the whole raster begins. The coordinates xc and yc of the slice, a position for each pixel, are right;
# nothing that rioxarray computes looks at them. A raster without rotation has its transform made anew from its coordinates.
#
# Seen, of a raster of 80 x 100 px of 10 m turned by 30 degrees, cut to columns 10 to 19 and rows 20 to 29:
#    to_raster: the first pixel is written 223.6 m from where it lies
#    reproject: the mean of all pixels is 223.8 m off
#    without rotation: 0.0 m
#
# Exits 0 as long as the slice of the rotated raster alone is written in another place than its coordinates say.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rioxarray==0.19.0" "rasterio==1.4.4" "xarray==2025.7.1" "numpy==2.2.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import math
import sys

import numpy as np
import rasterio
import rioxarray
from affine import Affine

print("rioxarray", rioxarray.__version__)
off = {}
for angle in (0, 30):
    transform = Affine.translation(440_000, 4_200_000) * Affine.rotation(angle) * Affine.scale(10, -10)
    rows, cols = np.mgrid[:100, :80]
    profile = {"width": 80, "height": 100, "count": 2, "dtype": "float64", "crs": "EPSG:32618", "transform": transform}
    with rasterio.open("whole.tif", "w", driver="GTiff", **profile) as file:
        file.write(np.stack([rows, cols]).astype(float))
    part = rioxarray.open_rasterio("whole.tif").isel(x=slice(10, 20), y=slice(20, 30))
    part.rio.to_raster("part.tif")
    with rasterio.open("part.tif") as file:
        row, col = file.read()[:, 0, 0]
        off[angle, "to_raster"] = math.dist(file.transform * (0.5, 0.5), transform * (col + 0.5, row + 0.5))
    moved = part.astype(float).rio.reproject("EPSG:32618", resolution=1, nodata=-1)
    place, (row, col) = moved.rio.transform(), moved.values
    ys, xs = np.nonzero(row >= 0)
    told = np.array([place * (x + 0.5, y + 0.5) for y, x in zip(ys, xs)]).mean(0)
    truth = np.array([transform * (c + 0.5, r + 0.5) for r, c in zip(row[ys, xs], col[ys, xs])]).mean(0)
    off[angle, "reproject"] = math.dist(told, truth)
for (angle, way), metres in off.items():
    print(f"   turned by {angle:2d} degrees, {way}: {metres:.1f} m from where it lies")
sys.exit(not (off[0, "to_raster"] < 0.1 and off[0, "reproject"] < 5 and min(off[30, w] for w in ("to_raster", "reproject")) > 200))
PYTHON
