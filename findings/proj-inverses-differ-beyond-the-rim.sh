#!/usr/bin/env bash
# pyproj 3.7.2 (PROJ 9.5.1): beyond the rim of a map of the world, where there is no place on earth, the inverse of some
# projections is infinite and that of others is a place, without an error, also with errcheck=True. Code that finds
# corners off the globe by infinite numbers (footprints of Mollweide or Robinson grids) finds none in MODIS' sinusoidal
# grid or in Equal Earth: the corner lies somewhere else on the globe. Aitoff and Hammer move it to another latitude, and
# Aitoff's latitude may be 628 degrees.
#
# Seen, at the rim of 60 N times 1.01, 1.5, 3 and 40 (longitude, latitude):
#   moll, robin, eck4, goode, igh, wag4   infinite four times
#   sinu, eqearth, natearth               -178.2, -90.0, 180.0, -0.04 at 60.0: round the globe, ever faster
#   hammer                                (-178.9, 59.8), (-126.6, 45.9), then nan
#   aitoff                                (-179.1, 59.8), (-140.8, 47.4), (-42.4, 11.8), (27.0, 628.3)
#
# Exits 0 as long as the first six are infinite, the next three come back to other places at the same latitude, Hammer
# and Aitoff to other latitudes, and Aitoff to one beyond 90 degrees.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pyproj==3.7.2"
cd "$folder"
venv/bin/python - <<'PYTHON'
import math
import sys

from pyproj import CRS, Transformer

FACTORS = (1.01, 1.5, 3, 40)


def beyond(projection):
    """Where places beyond the rim at 60 N are on earth, degrees."""
    crs = CRS(f"+proj={projection} +ellps=WGS84 +units=m")
    transformer = Transformer.from_crs(crs.geodetic_crs, crs, always_xy=True)
    x, y = transformer.transform(179.999, 60)
    return [
        transformer.transform(x * factor, y, direction="INVERSE", errcheck=projection in TURNED) for factor in FACTORS
    ]


ENDED, TURNED, MOVED = ("moll", "robin", "eck4", "goode", "igh", "wag4"), ("sinu", "eqearth", "natearth"), ("hammer", "aitoff")
places = {name: beyond(name) for name in (*ENDED, *TURNED, *MOVED)}
for name, found in places.items():
    print(f"{name:9}", *(f"({lon:.2f}, {lat:.2f})" for lon, lat in found))
ended = all(math.isinf(lon) for name in ENDED for lon, _ in places[name])
turned = all(abs(lat - 60) < 1e-6 and abs(lon) <= 180 for name in TURNED for lon, lat in places[name])
moved = all(abs(places[name][1][1] - 60) > 10 for name in MOVED)
sys.exit(not (ended and turned and moved and places["aitoff"][3][1] > 90))
PYTHON
