#!/usr/bin/env bash
# numbagg 0.9.6 (with flox 0.11.2 and xarray 2026.9.0; all three come with `pip install "xarray[accel]"`): where numbagg
# is installed, xarray's groupby counts the pixels of a group in the type of the pixels. Bytes, the type of class maps,
# begin again at 0 after 255 pixels, int16 after 32,767, and float32 stops at 2**24; the counts come back as int64. Chunked
# (dask) arrays of bytes have wrong means too, because a mean there is a sum divided by that count. Sums and means of float32
# values are kept in float32 in the same way. Without numbagg, or with xarray.set_options(use_flox=False), all are right.
# Nothing is said, and the installation alone decides. (numbagg's issue 211, of 2023, is another one: labels of int8.)
#
# Seen, for two zones of 300 x 700 pixels, each 210,000 pixels of the value 7:
#   uint8   count: flox with numbagg 80, 80;         without 210000, 210000
#   int16   count: flox with numbagg 13392, 13392;   without 210000, 210000
#   uint8   mean of an array in chunks of 100 rows: with numbagg 4375.0, without 7.0
#   float32 of 5000 x 5000 ones in one zone: count 16777216 and mean 0.671 with numbagg, 25000000 and 1.0 without
#
# Exits 0 as long as both are so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "xarray==2026.9.0" "flox==0.11.2" "numbagg==0.9.6" "numpy==2.4.6" "dask==2026.8.0"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import xarray as xr

def by_zone(pixels, zones, statistic, **options):
    with xr.set_options(**options):
        return getattr(pixels.groupby(zones), statistic)().values

zones = xr.DataArray(np.repeat([0, 1], 300)[:, None] * np.ones((1, 700), int), dims=("y", "x"), name="zone")
kept = True
for dtype, wrapped in (("uint8", 210_000 % 256), ("int16", 210_000 % 65_536)):
    pixels = xr.DataArray(np.full((600, 700), 7, dtype), dims=("y", "x"))
    counts = by_zone(pixels, zones, "count", use_flox=True)
    print(dtype, "count:", counts, counts.dtype, "without:", by_zone(pixels, zones, "count", use_flox=False))
    kept &= (counts == wrapped).all() and (by_zone(pixels, zones, "count", use_flox=False) == 210_000).all()

lazy = xr.DataArray(np.full((600, 700), 7, "uint8"), dims=("y", "x")).chunk(y=100)
wrong, right = by_zone(lazy, zones, "mean", use_flox=True), by_zone(lazy, zones, "mean", use_flox=False)
print("uint8 mean, in chunks:", wrong, "without:", right)
kept &= (wrong > 255).all() and (right == 7).all()

ones = xr.DataArray(np.ones((5000, 5000), "float32"), dims=("y", "x"))
one = xr.zeros_like(ones, int).rename("zone")
for flox in (True, False):
    count, mean = by_zone(ones, one, "count", use_flox=flox)[0], by_zone(ones, one, "mean", use_flox=flox)[0]
    print("float32, flox and numbagg" if flox else "float32, without", count, mean)
    kept &= (count, round(float(mean), 3)) == ((2**24, 0.671) if flox else (25_000_000, 1.0))
sys.exit(not kept)
PYTHON
