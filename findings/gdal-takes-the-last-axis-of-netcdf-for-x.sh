#!/usr/bin/env bash
# rasterio 1.4.4 (GDAL 3.10.3, wheels of PyPI): a netCDF variable whose dimensions are (lon, lat), as some products of
# precipitation have them, is read with its last dimension as columns, and its place is made of the coordinates in that
# order: latitudes become x and longitudes y, with the CRS EPSG:4326 and without a warning, though standard_name and units
# of both coordinates say which is which. The same variable as (lat, lon) lies where it is.
#
# Seen: (lat, lon): left 10, top 50; (lon, lat): left 50, bottom 10; no warning.
#
# Exits 0 as long as GDAL does so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "xarray==2025.12.0" "scipy==1.16.3" "rioxarray==0.19.0"
cd "$folder"
venv/bin/python - <<'PYTHON'
import logging
import sys
import warnings

import numpy as np
import rasterio
import rioxarray  # noqa: F401
import xarray as xr

warnings.simplefilter("ignore")
said = []


class Listener(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            said.append(record.getMessage())


logging.getLogger("rasterio").addHandler(Listener())
place = {"lat": ("lat", 50 - 0.1 * (np.arange(20) + 0.5)), "lon": ("lon", 10 + 0.1 * (np.arange(30) + 0.5))}
made = xr.Dataset({"rain": (("lat", "lon"), np.arange(600, dtype=np.int16).reshape(20, 30))}, place)
made["lat"].attrs = {"standard_name": "latitude", "units": "degrees_north"}
made["lon"].attrs = {"standard_name": "longitude", "units": "degrees_east"}
made = made.rio.write_crs(4326)
made.to_netcdf("upright.nc", engine="scipy")
made.transpose("lon", "lat").to_netcdf("turned.nc", engine="scipy")
seen = {}
for name in ("upright", "turned"):
    with rasterio.open(f"netcdf:{name}.nc:rain") as raster:
        seen[name] = [round(side, 3) for side in raster.bounds], str(raster.crs)
print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__, seen, "said:", said)
upright, turned = seen["upright"][0], seen["turned"][0]
sys.exit(not (upright[0] == 10 and upright[3] == 50 and max(turned[0], turned[2]) == 50 and 10 in turned and not said))
PYTHON
