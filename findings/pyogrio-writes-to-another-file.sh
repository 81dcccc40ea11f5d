#!/usr/bin/env bash
# pyogrio 0.13.0: a vector file whose name has ';' or '!' in it is written to another file, which is replaced without a
# warning. Names are taken apart as addresses are (pyogrio.util.vsi_path): what follows ';' is dropped, and what precedes
# '!' is an archive, so that only the rest is the name, in the current folder. geopandas writes through it.
#
# Seen, of two files that are there before:
#    'a;b.fgb' is written: there is no such file, and 'a' is no longer what it was
#    'a!b.fgb' is written: there is no such file, and 'b.fgb' of the current folder is no longer what it was
#
# Exits 0 as long as that is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pyogrio==0.13.0" "geopandas==1.1.1" "shapely==2.1.2" "numpy==2.4.6"
mkdir "$folder/data" "$folder/current"
cd "$folder/current"
"$folder/venv/bin/python" - "$folder/data" <<'PYTHON'
import sys
from pathlib import Path

import geopandas
import pyogrio
import shapely

data, is_so = Path(sys.argv[1]), True
print("pyogrio", pyogrio.__version__)
table = geopandas.GeoDataFrame({"class": [1]}, geometry=[shapely.box(0, 0, 1, 1)], crs="EPSG:32618")
for name, other in (("a;b.fgb", data / "a"), ("a!b.fgb", Path("b.fgb"))):
    other.write_text("kept")
    table.to_file(data / name, driver="FlatGeobuf")
    is_kept = other.is_file() and other.read_bytes() == b"kept"
    print(f"   {name!r}: is there: {(data / name).exists()}; {other.name!r} is as it was: {is_kept}")
    is_so &= not (data / name).exists() and not is_kept
sys.exit(not is_so)
PYTHON
