#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3, wheels of PyPI) and zarr 3.1.6: GDAL opens a store of Zarr's format 3 and lists its
# arrays, but reads none of them, because it does not know the codec "bytes" that zarr-python writes into every array of
# numbers, as the specification has it. Format 2 of the same pixels is read. What zarr and xarray write by default is
# format 3.
#
# Seen: format 2: array listed, pixels equal; format 3: array listed, "Unsupported codec: bytes".
#
# Exits 0 as long as format 2 is read and format 3 is listed and fails so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "zarr==3.1.6" "numpy==2.4.6"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import numpy as np
import rasterio
import zarr

pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
seen = {}
for version in (2, 3):
    group = zarr.create_group(f"{version}.zarr", zarr_format=version)
    for name in ("red", "nir"):
        group.create_array(name, data=pixels, chunks=(32, 32))
    with rasterio.open(f'ZARR:"{version}.zarr"') as store:
        is_listed = any(name.endswith(":/red") for name in store.subdatasets)
    try:
        with rasterio.open(f'ZARR:"{version}.zarr":/red') as raster:
            read = bool((raster.read(1) == pixels).all())
    except rasterio.errors.RasterioIOError as error:
        read = str(error)
    seen[version] = (is_listed, read)
print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__, "zarr", zarr.__version__, seen)
sys.exit(seen[2] != (True, True) or seen[3][0] is not True or "bytes" not in str(seen[3][1]))
PYTHON
