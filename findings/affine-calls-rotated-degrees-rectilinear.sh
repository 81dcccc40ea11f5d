#!/usr/bin/env bash
# affine 3.0.1 with rasterio 1.4.4: Affine.is_rectilinear compares the rotation terms with 1e-5, whatever the unit. In
# degrees, those of a raster with pixels finer than about a metre are all smaller, so every rotation passes as none.
# rasterio.merge asks is_rectilinear to refuse rotated rasters: in a CRS of metres it does, in degrees it lays the raster
# out as if it were north-up, with exit 0. (is_identity, almost_equals and is_conformal have the same 1e-5. In rasterio
# 1.5.2 merge asks the same.)
#
# Seen: a raster of 0.5 m pixels turned by 30 degrees. With EPSG:32632 merge raises MergeError; with EPSG:4326 a marked
# square comes out 37.6 m away from where the raster's own transform has it, of an image 100 m wide.
#
# Exits 0 as long as metres are refused, and the square in degrees is more than 20 m off.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "affine==3.0.1" "rasterio==1.4.4" "numpy==2.4.6"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import math
import sys

import affine
import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import MergeError
from rasterio.merge import merge

METRES_PER_DEGREE = 111_195


def moved(crs, left, top, pixel):
    """How far the square moves, in units of the CRS (x, y); None when merge refuses the raster."""
    transform = Affine.translation(left, top) @ Affine.rotation(30) @ Affine.scale(pixel, -pixel)
    pixels = np.zeros((200, 200), np.uint8)
    pixels[150:, :50] = 1
    options = {"driver": "GTiff", "width": 200, "height": 200, "count": 1, "dtype": "uint8"}
    with rasterio.open("a.tif", "w", crs=crs, transform=transform, **options) as raster:
        raster.write(pixels, 1)
    print(crs, "is_rectilinear:", transform.is_rectilinear, "rotation terms:", transform.b, transform.d)
    with rasterio.open("a.tif") as raster:
        try:
            merged, placed = merge([raster])
        except MergeError as error:
            print("   MergeError:", error)
            return None
    rows, columns = np.nonzero(merged[0])
    found, right = placed @ (columns.mean() + 0.5, rows.mean() + 0.5), transform @ (25, 175)
    return found[0] - right[0], found[1] - right[1]


print("affine", affine.__version__, "rasterio", rasterio.__version__)
metres = moved("EPSG:32632", 500_000, 5_000_000, 0.5)
degrees = moved("EPSG:4326", 10, 0, 0.5 / METRES_PER_DEGREE)  # on the equator, where degrees are equally long
distance = math.hypot(*degrees) * METRES_PER_DEGREE if degrees else 0
print(f"   merged, and the square is {distance:.1f} m away")
sys.exit(not (metres is None and distance > 20))
PYTHON
