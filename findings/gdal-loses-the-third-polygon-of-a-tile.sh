#!/usr/bin/env bash
# GDAL 3.12.4 (pyogrio 0.13.0), reading vector tiles (MVT, and PMTiles or MBTiles of them): where a feature is cut by the
# edge of its tile and also ends exactly at that edge, the third polygon of what is left of it is missing. No error, no
# warning; the tile holds all polygons, and another reader shows them.
# Tiles hold features with a margin, and GDAL cuts them at the edge when it reads. A polygon of the margin that ends at
# the edge leaves a line of the cut, so the result is a collection of lines and polygons, and from that GDAL takes the
# first, second, fourth and later polygons. GDAL 3.9.1, 3.10.3 and 3.11.4 (pyogrio 0.10.0, 0.11.1, 0.12.1) take them all;
# the open option CLIP=NO avoids it.
#
# Seen, of one multipolygon with 2 to 6 squares across the edge, without and with a square of the margin beside it:
#    2 squares: 2 are read, 2 with the one beside
#    3 squares: 3 are read, 2 with the one beside
#    4 squares: 4 are read, 3 with the one beside
#    5 squares: 5 are read, 4 with the one beside
#    6 squares: 6 are read, 5 with the one beside, the third of them is missing
#
# Exits 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pyogrio==0.13.0" "shapely==2.1.2" "numpy==2.4.6" "mapbox-vector-tile==2.2.0"
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys
from pathlib import Path

import mapbox_vector_tile
import pyogrio
import shapely

Path("12/2048").mkdir(parents=True)
tile = Path("12/2048/2047.pbf")
beside = shapely.box(-40, 3000, 0, 3100)  # of the margin alone: it ends where the tile begins
print("pyogrio", pyogrio.__version__, "GDAL", ".".join(map(str, pyogrio.__gdal_version__)))
is_so = True
for count in range(2, 7):
    across = [shapely.box(-40, 300 * n, 40, 300 * n + 100) for n in range(1, count + 1)]
    read = []
    for more in ([], [beside]):
        geometry = shapely.MultiPolygon(across + more)
        content = mapbox_vector_tile.encode(
            {"name": "land", "features": [{"geometry": geometry.wkb, "properties": {"class": 1}}]},
            default_options={"extents": 4096, "y_coord_down": True},
        )
        decoded = mapbox_vector_tile.decode(content, default_options={"y_coord_down": True})
        held = shapely.geometry.shape(decoded["land"]["features"][0]["geometry"])
        assert held.equals(geometry), "the tile holds something else"
        tile.write_bytes(content)
        found = shapely.from_wkb(pyogrio.raw.read(tile)[2])[0]
        read.append(found)
    counts = [shapely.get_num_geometries(shape) for shape in read]
    print(f"   {count} squares: {counts[0]} are read, {counts[1]} with the one beside")
    is_so &= counts == [count, count - (count > 2)]
lost = shapely.difference(*read)
rows = sorted(float(y) for y in {part.bounds[3] for part in shapely.get_parts(read[0])})
is_so &= shapely.get_num_geometries(lost) == 1 and rows[::-1].index(lost.bounds[3]) == 2
sys.exit(not is_so)
PYTHON
