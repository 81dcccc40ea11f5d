#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3), and rasterstats 0.21.0, which asks it: rasterio.features.rasterize, with all_touched=False,
# takes "only pixels whose center is within the polygon". Where edges pass through centres of pixels, a polygon gets those of
# its upper and of its lower edge, but only one of left and right, so neighbours share rows of pixels, counts and areas grow,
# and the later one of two wins. That is no rare case: polygons traced from 10 m pixels meet the centres of 20 m pixels with
# every second edge. On a south-up raster of the same place each pixel along such edges belongs to one polygon, so the same
# polygon has another size there. (rasterio's issue 1844 is an older one: the result depended on the direction of the ring.)
#
# Seen:
#   a square of 4 x 4 px whose corners are centres of pixels: 4 x 5 px north-up, 4 x 4 px south-up
#   100 such squares side by side, on 44 x 44 px: 360 px belong to two of them north-up, none south-up
#   30 regions of a map of 10 m that fill 99 x 99 px of 20 m (9,801 px), counted by rasterstats: 10,293 px, 5.0 % more;
#   exactextract 0.3.0 counts 9,801.0
#
# Exits 0 as long as north-up is so, south-up shares no pixel between squares, and exactextract's sum is right.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "rasterstats==0.21.0" "exactextract==0.3.0" "geopandas==1.2.0" \
    "shapely==2.2.0" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import geopandas as gpd
import numpy as np
import rasterio
import rasterstats
import shapely
from affine import Affine
from exactextract import exact_extract
from rasterio.features import rasterize, shapes

NORTH_UP, SOUTH_UP = Affine(1, 0, 0, 0, -1, 44), Affine(1, 0, 0, 0, 1, 0)
squares = [shapely.box(x, y, x + 4, y + 4) for x in np.arange(0.5, 40)[::4] for y in np.arange(0.5, 40)[::4]]
print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__)
seen = []
for name, transform in (("north-up", NORTH_UP), ("south-up", SOUTH_UP)):
    held = np.array([rasterize([square], out_shape=(44, 44), transform=transform) for square in squares])
    rows, columns = np.nonzero(held[55])
    shared = int((held.sum(0) > 1).sum())
    seen.append((np.unique(rows).size, np.unique(columns).size, shared, int((held.sum(0) > 0).sum())))
    print(name, "one square: %d rows, %d columns; pixels of two squares: %d; of any: %d" % seen[-1])
kept = seen == [(5, 4, 360, 1640), (4, 4, 0, 1600)]

# A map of three classes at 10 m: sums of waves, so that it is the same everywhere.
y, x = np.mgrid[:198, :198]
classes = np.digitize(np.sin(x / 9) + np.sin(y / 7 + x / 31) + np.sin((x + 2 * y) / 23), [-0.7, 0.7]).astype("uint8")
place = Affine(10, 0, 500_000, 0, -10, 4_000_000)
regions = [shapely.geometry.shape(region) for region, _ in shapes(classes, transform=place)]
table = gpd.GeoDataFrame(geometry=regions, crs="EPSG:32618")
coarse = place @ Affine.scale(2)
options = dict(driver="GTiff", width=99, height=99, count=1, dtype="uint8", crs="EPSG:32618", transform=coarse)
with rasterio.open("coarse.tif", "w", **options) as file:
    file.write(np.ones((1, 99, 99), "uint8"))
by_centre = sum(zone["count"] for zone in rasterstats.zonal_stats(table, "coarse.tif", stats="count"))
exact = sum(zone["properties"]["count"] for zone in exact_extract("coarse.tif", table, ["count"]))
print(len(regions), "regions over", 99 * 99, "pixels: rasterstats", by_centre, "exactextract", round(exact, 3))
kept &= by_centre > 1.03 * 99 * 99 and abs(exact - 99 * 99) < 1
sys.exit(not kept)
PYTHON
