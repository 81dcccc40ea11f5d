#!/usr/bin/env bash
# pyproj 3.7.2 (PROJ 9.5.1): a CRS that goes through a grid mapping of the CF conventions (CRS.to_cf, CRS.from_cf without
# crs_wkt, as netCDF and Zarr arrays carry it) comes back as another one. CRS.from_cf says nothing; of the three below,
# CRS.to_cf warns of the first alone.
#
# Seen (distance on the ground between the same coordinates before and after):
#   EPSG:2056   87 km   Switzerland. from_cf makes an oblique mercator whose angle from the rectified to the skew grid is
#                       0, where PROJ by itself takes the azimuth: the axes are turned by 90 degrees
#   EPSG:27572 578 km   France, zone II. to_cf writes the standard parallel in grads (52.0), as the definition has it;
#                       CF has degrees (46.8)
#   EPSG:3200  725 m    Iraq. CF has no scale factor for a Lambert of one standard parallel; to_cf leaves it out
# For UTM and Lambert 93, the CRS that one tries, nothing moves.
#
# Exits 0 as long as the three move by more than 500 m, the last two of them without a warning, and UTM and Lambert 93
# by less than a millimetre.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pyproj==3.7.2"
"$folder/venv/bin/python" - <<'PYTHON'
import sys
import warnings

import pyproj

EARTH = pyproj.Geod(ellps="WGS84")


def metres(before, after):
    """How far the middle of the area of use moves."""
    area = before.area_of_use
    place = (area.west + area.east) / 2, (area.south + area.north) / 2
    to_map = pyproj.Transformer.from_crs("EPSG:4326", before, always_xy=True)
    to_earth = pyproj.Transformer.from_crs(after, "EPSG:4326", always_xy=True)
    return EARTH.inv(*place, *to_earth.transform(*to_map.transform(*place)))[2]


print("pyproj", pyproj.__version__, "PROJ", pyproj.proj_version_str)
moved = {}
for code in (2056, 27572, 3200, 32632, 2154):
    before = pyproj.CRS.from_epsg(code)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore" if code == 2056 else "error")
        mapping = before.to_cf()
    mapping.pop("crs_wkt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        after = pyproj.CRS.from_cf(mapping)
    moved[code] = metres(before, after)
    print(f"EPSG:{code:<6} {moved[code]:>12,.3f} m  {before.name}, {mapping['grid_mapping_name']}")
is_same = min(moved[code] for code in (2056, 27572, 3200)) > 500 and max(moved[32632], moved[2154]) < 1e-3
sys.exit(not is_same)
PYTHON
