#!/usr/bin/env bash
# rasterio 1.4.4, and rioxarray 0.19.0's merge_arrays, which calls it (rasterio 1.5.2 too): rasterio.merge places a
# raster whose pixels are not aligned with those of the first by a whole number of pixels, without a word, and that
# number is not the nearest one: offsets of up to 0.7 px are rounded down. The result then ends in columns of nodata.
#
# Seen, for a raster of 10 px a row that starts 10.7 px right of the first: its pixels start at column 10, 0.7 px too
# far left (column 11 would be 0.3 px off), and column 20 is nodata. At 10.9 it starts at column 11.
#
# Exits 0 as long as both place it at column 10 for 10.6 and 10.7, with an empty last column.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "rioxarray==0.19.0"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import rasterio
import rioxarray
from affine import Affine
from rasterio.merge import merge
from rioxarray.merge import merge_arrays

pixels = np.arange(1, 101, dtype="int32").reshape(10, 10)


def write(name, array, left):
    place = Affine(10, 0, left, 0, -10, 100)
    options = dict(driver="GTiff", width=10, height=10, count=1, dtype="int32", nodata=0, crs="EPSG:32618")
    with rasterio.open(name, "w", transform=place, **options) as target:
        target.write(array, 1)
    return name


print("rasterio", rasterio.__version__, "rioxarray", rioxarray.__version__)
kept = True
for true in (10.3, 10.6, 10.7, 10.9):
    files = write("first.tif", pixels, 0), write("second.tif", pixels * 100, true * 10)
    merged = merge(files)[0][0, 0]
    by_arrays = merge_arrays([rioxarray.open_rasterio(name) for name in files]).values[0, 0]
    columns = [int(np.flatnonzero(row == 200)[0]) - 1 for row in (merged, by_arrays)]
    print("second raster starts at column", true, "-> it is put at", columns, "last pixel", int(merged[-1]))
    if true in (10.6, 10.7):
        kept &= columns == [10, 10] and merged[-1] == by_arrays[-1] == 0
sys.exit(not kept)
PYTHON
