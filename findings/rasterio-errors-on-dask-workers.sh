#!/usr/bin/env bash
# distributed 2026.8.0 with rasterio 1.4.4: an error that rasterio raises in a task does not reach the client as what it
# is. Behind it stands an error of GDAL (CPLE_OpenFailedError, as __context__), which tblib, with which distributed
# pickles errors, cannot rebuild ("property 'args' ... has no setter"). So distributed sends a bare Exception with the
# text: `except rasterio.errors.RasterioIOError` around future.result() never catches it, although the same call in the
# client's own process raises that class.
#
# Seen: opening a file that is not there raises rasterio.errors.RasterioIOError locally, and on a worker
# Exception("RasterioIOError('nowhere.tif: No such file or directory')").
#
# Exits 0 as long as the class differs between the two.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "distributed==2026.8.0" "dask==2026.8.0" "rasterio==1.4.4"
cd "$folder"
cat > open.py <<'PYTHON'
import logging
import sys

import distributed
import rasterio
from distributed import Client, LocalCluster


def read():
    with rasterio.open("nowhere.tif") as raster:
        return raster.read()


def class_of(call):
    try:
        call()
    except Exception as error:
        return type(error)
    return None


if __name__ == "__main__":
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    local = class_of(read)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        remote = class_of(client.submit(read).result)
    print("distributed", distributed.__version__, "rasterio", rasterio.__version__)
    print("locally", local, "- on a worker", remote)
    sys.exit(not (local is rasterio.errors.RasterioIOError and remote is Exception))
PYTHON
timeout 300 venv/bin/python -W ignore open.py
