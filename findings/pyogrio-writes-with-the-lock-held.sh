#!/usr/bin/env bash
# pyogrio 0.13.0 (GDAL 3.12.4, wheels of PyPI): write_arrow holds Python's lock while GDAL writes a batch. So a thread
# that makes the next batch, progress in another thread, or two files written by two threads wait: writing is not
# overlapped by anything of the same process. rasterio's dataset.write, in the same place, lets other threads run.
#
# Seen, with a thread that wakes every 2 ms: while one batch of 60,000 polygons is written (0.35 s), it sleeps for 98 % of
# that time at a stretch; while rasterio writes a raster (0.20 s), its longest sleep is 1 % of the time.
#
# Exits 0 as long as the longest sleep is more than half of the writing of vectors, and less than a quarter of that of
# rasters. The remedy is a process for each file, or to make batches in another process.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pyogrio==0.13.0" "geopandas==1.1.4" "pyarrow>=20" "rasterio==1.4.4"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys
import threading
import time

import geopandas
import numpy
import pyarrow
import pyogrio
import rasterio
import shapely

rng = numpy.random.default_rng(0)
places = shapely.points(rng.random((60_000, 2)) * 1e5)
frame = geopandas.GeoDataFrame({"a": range(len(places))}, geometry=shapely.buffer(places, 30, quad_segs=20), crs=32632)
table = pyarrow.table(frame.to_arrow(index=False)).combine_chunks()
pixels = rng.integers(0, 9, (3_000, 3_000), numpy.uint8)


def write_vectors():
    pyogrio.write_arrow(
        table, "a.gpkg", driver="GPKG", geometry_name="geometry", geometry_type="Polygon", crs="EPSG:32632"
    )


def write_raster():
    profile = {"driver": "GTiff", "height": 3_000, "width": 3_000, "count": 1, "dtype": "uint8"}
    with rasterio.open("a.tif", "w", compress="deflate", tiled=True, **profile) as target:
        target.write(pixels, 1)


def longest_sleep(write):
    gaps, done = [], threading.Event()

    def wake():
        last = time.perf_counter()
        while not done.wait(0.002):
            now = time.perf_counter()
            gaps.append(now - last)
            last = now
        gaps.append(time.perf_counter() - last)

    thread = threading.Thread(target=wake)
    thread.start()
    begin = time.perf_counter()
    write()
    seconds = time.perf_counter() - begin
    done.set()
    thread.join()
    return max(gaps) / seconds, seconds


print(pyogrio.__version__, pyogrio.__gdal_version__, rasterio.__version__)
shares = {}
for write in (write_vectors, write_raster):
    shares[write], seconds = longest_sleep(write)
    print(f"{write.__name__}: {seconds:.2f} s, longest sleep of the other thread {shares[write]:.0%} of it")
sys.exit(not (shares[write_vectors] > 0.5 and shares[write_raster] < 0.25))
PYTHON
