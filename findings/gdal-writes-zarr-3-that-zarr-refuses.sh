#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3, wheels of PyPI) and zarr 3.1.6 with xarray 2026.9.0: what GDAL writes with
# FORMAT=ZARR_V3 GDAL reads, and zarr does not open. Whole numbers without nodata get "fill_value": null, which format 2
# has and format 3 has not, and no array has the list "codecs" that format 3 wants. The errors name neither the array
# nor the cause. Format 2, GDAL's default, is the remedy. (GDAL 3.12.2 of rasterio 1.5.2 writes "codecs", and the same
# null.)
#
# Seen: format 2: opened, pixels equal; format 3: "TypeError: Invalid type: None. Expected an integer."; format 3 with
# nodata 0: "KeyError: 'codecs'".
#
# Exits 0 as long as GDAL reads all three, zarr opens that of format 2, and refuses those of format 3 so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "zarr==3.1.6" "xarray==2026.9.0" "numpy==2.4.6"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import json
import sys

import numpy as np
import rasterio
import rasterio.shutil
import xarray
import zarr

pixels = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)
seen = {}
for name, version, nodata in (("two", 2, None), ("three", 3, None), ("filled", 3, 0)):
    options = {"width": 30, "height": 20, "count": 1, "dtype": "uint16", "crs": "EPSG:32632", "nodata": nodata}
    with rasterio.open(f"{name}.tif", "w", driver="GTiff", transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), **options) as file:
        file.write(pixels, 1)
    rasterio.shutil.copy(f"{name}.tif", f"{name}.zarr", driver="Zarr", FORMAT=f"ZARR_V{version}")
    with rasterio.open(f"{name}.zarr") as store:
        read_by_gdal = bool((store.read(1) == pixels).all())
    said = []
    for opening in (lambda path: zarr.open_group(path, mode="r")[name], lambda path: xarray.open_zarr(path)[name].load()):
        try:
            opening(f"{name}.zarr")
            said.append("opened")
        except Exception as error:
            said.append(f"{type(error).__name__}: {error}")
    place = f"{name}.zarr/{name}/" + (".zarray" if version == 2 else "zarr.json")
    seen[name] = (read_by_gdal, json.load(open(place))["fill_value"], said)
    print(name, seen[name])
same = (
    all(read for read, _, _ in seen.values())
    and seen["two"][1:] == (None, ["opened", "opened"])
    and seen["three"][1] is None
    and all(word.startswith("TypeError: Invalid type: None") for word in seen["three"][2])
    and seen["filled"][1] == 0
    and seen["filled"][2][0] == "KeyError: 'codecs'"
)
sys.exit(not same)
PYTHON
