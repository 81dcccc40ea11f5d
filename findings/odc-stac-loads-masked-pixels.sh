#!/usr/bin/env bash
# odc-stac 0.5.3 (odc-loader 0.6.5, rasterio 1.4.4): odc.stac.load knows nodata values and nothing else. What a file masks
# by GDAL's mask, inside of it or in a sidecar .msk, or by an alpha band, is loaded as if it were seen: no nodata, no NaN, no
# warning. In a mosaic (groupby) the hidden pixels of the first scene, such as its clouds, lie over the ground that the next
# one shows, although that is copied, says the documentation, where "valid (i.e. not nodata) pixels have not yet been copied
# from previous items". rasterio.merge of the same files fills them from the next scene, and a file with a nodata value in
# place of its mask is right.
#
# Seen, for a scene of 100 whose western half is masked (250 beneath), over one of 200; both libraries have 100 in the east:
#   how it is hidden    rasterio.merge         odc.stac.load
#   mask in the file    200 in the west        250 in the west, nodata None
#   sidecar .msk        200 in the west        250 in the west, nodata None
#   alpha band          200 in the west        250 in the west, nodata None
#   nodata = 250        200 in the west        200 in the west, nodata 250
# The masked scene alone, with dtype="float32", has 100 and 250, and no NaN.
#
# Exits 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "odc-stac==0.5.3" "odc-loader==0.6.5" "odc-geo==0.5.3" "rio-stac==0.12.0" \
    "rasterio==1.4.4" "numpy==2.4.6" "xarray==2026.9.0"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import datetime
import sys
from pathlib import Path

import numpy as np
import odc.stac
import rasterio
from rasterio.enums import ColorInterp
from rasterio.merge import merge
from rasterio.transform import from_origin
from rio_stac import create_stac_item

SIZE, HALF = 64, 32
OPTIONS = dict(driver="GTiff", width=SIZE, height=SIZE, dtype="uint8", crs="EPSG:32618", transform=from_origin(5e5, 4e6, 10, 10))

def write(name, value, hidden=None):
    """A scene of one value, with the western half hidden in one of four ways, as a STAC item."""
    pixels, seen = np.full((SIZE, SIZE), value, "uint8"), np.full((SIZE, SIZE), 255, "uint8")
    if hidden:
        pixels[:, :HALF], seen[:, :HALF] = 250, 0
    options = OPTIONS | {"count": 2 if hidden == "alpha band" else 1, "nodata": 250 if hidden == "nodata = 250" else None}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=hidden == "mask in the file"), rasterio.open(name, "w", **options) as file:
        file.write(pixels, 1)
        if hidden == "alpha band":
            file.write(seen, 2)
            file.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
        elif hidden in ("mask in the file", "sidecar .msk"):
            file.write_mask(seen)
    return create_stac_item(name, id=name, input_datetime=datetime.datetime(2024, 1, 1), with_proj=True, with_raster=True,
                            asset_name="red", asset_href=str(Path(name).resolve()))

kept = True
below = write("below.tif", 200)
for hidden in ("mask in the file", "sidecar .msk", "alpha band", "nodata = 250"):
    name = "above_" + hidden.split()[0] + ".tif"
    above = write(name, 100, hidden)
    merged = merge([name, "below.tif"], indexes=[1])[0][0]
    band = odc.stac.load([above, below], bands=["red"], crs="EPSG:32618", resolution=10, groupby="time")["red"]
    loaded = band.values[0]
    west = [np.unique(pixels[:, :HALF]).tolist() for pixels in (merged, loaded)]
    east = [np.unique(pixels[:, HALF:]).tolist() for pixels in (merged, loaded)]
    print(f"{hidden}: in the west merge has {west[0]}, odc.stac.load {west[1]}, nodata {band.attrs.get('nodata')}")
    kept &= west == [[200], [200] if hidden == "nodata = 250" else [250]] and east == [[100], [100]]
alone = odc.stac.load([write("alone.tif", 100, "mask in the file")], bands=["red"], crs="EPSG:32618", resolution=10, dtype="float32")
print("alone, as float32:", np.unique(alone["red"].values).tolist())
kept &= np.unique(alone["red"].values).tolist() == [100.0, 250.0]
sys.exit(not kept)
PYTHON
