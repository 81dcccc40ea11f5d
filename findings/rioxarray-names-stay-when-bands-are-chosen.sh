#!/usr/bin/env bash
# rioxarray 0.19.0 (0.23.0 alike): the names and scales of a file's bands are kept as lists in the attributes of the array, and
# choosing bands by array.sel(band=...) leaves the lists as they were. to_raster writes them by place: bands in another order get
# the names and scales of others. The coordinate `band` still has the numbers of the chosen bands, and is not looked at.
# With mask_and_scale=True, bands of different scales are read as what they mean and written as whole numbers of that, while
# the file that is written declares the scales: nothing is divided by them. With one scale for all it is.
#
# Seen, of bands blue, green, red of 1000, 2000, 3000 with scales 0.0001, 0.0002, 0.0005:
#    bands 3, 2, 1 to_raster: 3000 is called blue (scale 0.0001), 2000 green (0.0002), 1000 red (0.0005)
#    mask_and_scale to_raster: meant 0.1, 0.4, 1.5, written 0, 0, 2, which mean 0.0, 0.0, 0.001
#    mask_and_scale to_raster, one scale: meant 0.1, 0.2, 0.3, written 1000, 2000, 3000
#
# Exits 0 as long as both are so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rioxarray==0.19.0" "rasterio==1.4.4" "xarray==2025.7.1" "numpy==2.2.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import rasterio
import rioxarray
from affine import Affine

print("rioxarray", rioxarray.__version__)


def write(name, scales):
    profile = {"width": 8, "height": 8, "count": 3, "dtype": "uint16", "crs": "EPSG:32618", "transform": Affine(10, 0, 440_000, 0, -10, 4_200_000)}
    with rasterio.open(name, "w", driver="GTiff", **profile) as file:
        file.write(np.stack([np.full((8, 8), value, "uint16") for value in (1000, 2000, 3000)]))
        file.descriptions, file.scales = ("blue", "green", "red"), scales


def read(name):
    with rasterio.open(name) as file:
        return list(zip(file.descriptions, file.scales, file.read()[:, 0, 0].tolist()))


write("several.tif", (0.0001, 0.0002, 0.0005))
write("one.tif", (0.0001,) * 3)
rioxarray.open_rasterio("several.tif").sel(band=[3, 2, 1]).rio.to_raster("chosen.tif")
chosen = read("chosen.tif")
print("   bands 3, 2, 1 to_raster:", chosen)
written = {}
for name in ("several.tif", "one.tif"):
    array = rioxarray.open_rasterio(name, mask_and_scale=True)
    array.rio.to_raster("again.tif")
    written[name] = [value for _, _, value in read("again.tif")]
    print("   mask_and_scale to_raster:", name, array[:, 0, 0].values.round(4).tolist(), "written", read("again.tif"))
same = chosen == [("blue", 0.0001, 3000), ("green", 0.0002, 2000), ("red", 0.0005, 1000)]
sys.exit(not (same and written["several.tif"] == [0, 0, 2] and written["one.tif"] == [1000, 2000, 3000]))
PYTHON
