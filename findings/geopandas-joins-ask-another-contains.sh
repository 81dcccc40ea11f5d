#!/usr/bin/env bash
# geopandas 1.2.0, shapely 2.2.0 (GEOS 3.14.1): the same predicate on the same two polygons has two answers. contains()
# asks GEOS's general algorithm; sjoin(predicate="contains") asks the one for prepared geometries. Where a corner lies
# within rounding of the other's border they differ, so a table that is filtered by contains() has rows that the join
# does not have. covers and covered_by, which mean the same seen from both sides, differ too: the join asks one prepared
# and one unprepared.
#
# Seen, for a triangle whose corner (0.1, 0.2) is outside of the other by less than 1e-17 (in exact fractions):
#   contains() True, within() True, covers() True; joined by contains 0 rows, within 0, covers 0, covered_by 1
#   covers() of the corner itself: False
# Of 20,000 random pairs of polygons with coordinates of one decimal, contains() and its prepared form differ in 2.
#
# Exits 0 as long as the element-wise answers are True, and the joins have 0, 0, 0 and 1 rows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "geopandas==1.2.0" "shapely==2.2.0" "numpy==2.4.6"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys
from fractions import Fraction

import geopandas
import shapely

outer = shapely.Polygon([(0.5, 0.1), (0.4, 0.5), (0, 0.1)])
inner = shapely.Polygon([(0.2, 0.1), (0.4, 0.1), (0.1, 0.2)])
large, small = geopandas.GeoDataFrame(geometry=[outer]), geopandas.GeoDataFrame(geometry=[inner])
answers = [bool(found.iloc[0]) for found in (large.contains(small), small.within(large), large.covers(small))]
pairs = ((large, small, "contains"), (small, large, "within"), (large, small, "covers"), (small, large, "covered_by"))
rows = [len(one.sjoin(other, predicate=predicate)) for one, other, predicate in pairs]

start, end, corner = ([Fraction(value) for value in point] for point in ((0.4, 0.5), (0.0, 0.1), (0.1, 0.2)))
side = (end[0] - start[0]) * (corner[1] - start[1]) - (end[1] - start[1]) * (corner[0] - start[0])
print("geopandas", geopandas.__version__, "shapely", shapely.__version__, "GEOS", shapely.geos_version_string)
print("contains, within, covers of both polygons:", answers)
print("rows joined by contains, within, covers, covered_by:", rows)
print("covers() of the corner:", outer.covers(shapely.Point(0.1, 0.2)), "- exactly, it is inside:", side > 0)
sys.exit(not (answers == [True, True, True] and rows == [0, 0, 0, 1] and side < 0))
PYTHON
