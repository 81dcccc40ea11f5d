#!/usr/bin/env bash
# rasterio 1.4.4 and 1.5.2: CRS.to_epsg() answers with a code for a CRS that is another one. It takes matches of 70 %
# confidence by default and ignores datum shifts (TOWGS84), so a file that is read, asked for its code and written again
# moves on the ground.
#
# Seen: UTM zone 33 on the international ellipsoid with the datum shift of Monte Mario (Rome 1940) becomes EPSG:23033,
# ED50 / UTM zone 33N, whose coordinates of the same place differ by more than 150 m. pyproj says None to the same text.
#
# Exits 0 as long as rasterio answers 23033, pyproj answers None, and the two CRS are more than 100 m apart.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "pyproj==3.7.2"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import math
import sys

import pyproj
import rasterio
from rasterio.crs import CRS

text = (
    "+proj=utm +zone=33 +ellps=intl +units=m +no_defs "
    "+towgs84=-104.1,-49.1,-9.9,0.971,-2.917,0.714,-11.68"
)
crs = CRS.from_user_input(text)
code, other = crs.to_epsg(), pyproj.CRS(crs.to_wkt()).to_epsg()
print("rasterio", rasterio.__version__, "says", code, "- pyproj", pyproj.__version__, "says", other)
places = []
for name in (crs.to_wkt(), f"EPSG:{code}"):
    to_earth = pyproj.Transformer.from_crs(name, "EPSG:4326", always_xy=True, allow_ballpark=False)
    places.append(to_earth.transform(300_000, 4_640_000))
metres = pyproj.Geod(ellps="WGS84").inv(*places[0], *places[1])[2]
print(f"the same coordinates lie {metres:.0f} m apart")
sys.exit(not (code == 23033 and other is None and math.isfinite(metres) and metres > 100))
PYTHON
