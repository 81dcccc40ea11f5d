#!/usr/bin/env bash
# rasterstats 0.21.0 and exactextract 0.3.0 (given an array of rioxarray 0.19.0): statistics of zones ignore the rotation
# of a raster, without a word. exactextract refuses the same raster as a file: "Rotated rasters are not supported".
#
# Seen: a raster of 100 x 100 px of 10 m, turned by 10 degrees, and a zone that is 20 x 20 of its pixels, with the mean
# 2989.5. rasterio.mask finds them. rasterstats says 132 pixels with the mean 2340.5; exactextract by the array none;
# with 30 degrees it is rasterstats that says none, and exactextract 68.1 pixels with the mean 258.0.
#
# Exits 0 as long as rasterio.mask is right, exactextract refuses the file, and both others are wrong without an error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "exactextract==0.3.0" "rasterstats==0.21.0" "rioxarray==0.19.0" \
    "geopandas==1.2.0" "shapely==2.2.0"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import geopandas as gpd
import numpy as np
import rasterio
import rasterstats
import rioxarray
import shapely
from affine import Affine
from exactextract import exact_extract
from rasterio.mask import mask

pixels = np.arange(10_000, dtype="float32").reshape(100, 100)
truth = (400, float(pixels[20:40, 30:50].mean()))
kept = True
for degrees in (10, 30):
    place = Affine.translation(500_000, 4_000_000) * Affine.rotation(degrees) * Affine.scale(10, -10)
    options = dict(driver="GTiff", width=100, height=100, count=1, dtype="float32", crs="EPSG:32618")
    with rasterio.open("turned.tif", "w", transform=place, **options) as target:
        target.write(pixels, 1)
    zone = shapely.Polygon([place * corner for corner in ((30, 20), (50, 20), (50, 40), (30, 40))])
    table = gpd.GeoDataFrame(geometry=[zone], crs="EPSG:32618")

    with rasterio.open("turned.tif") as source:
        inside = mask(source, [zone], nodata=-1)[0]
    inside = inside[inside != -1]
    masked = (len(inside), float(inside.mean()))
    by_stats = rasterstats.zonal_stats(table, "turned.tif", stats=["count", "mean"])[0]
    by_array = exact_extract(rioxarray.open_rasterio("turned.tif"), table, ["count", "mean"])[0]["properties"]
    try:
        exact_extract("turned.tif", table, ["count", "mean"])
        refusal = None
    except ValueError as error:
        refusal = str(error)
    print(degrees, "degrees: truth", truth, "| rasterio.mask", masked, "| rasterstats", by_stats)
    print("   exactextract by the array", by_array, "| by the file", refusal)
    kept &= masked == truth and refusal == "Rotated rasters are not supported."
    kept &= abs(by_stats["count"] - 400) > 100 and abs(by_array["count"] - 400) > 100
sys.exit(not kept)
PYTHON
