#!/usr/bin/env bash
# pyogrio 0.13.0 (GDAL 3.12.4, wheels of PyPI): GeoParquet that geopandas wrote is not read, and the error names another
# product. The wheel has no Parquet driver; its ADBC driver knows the file by its first bytes, whatever its name, and
# loads DuckDB's library, which the wheel does not have either. geopandas.read_parquet is the remedy.
#
# Seen, for zones.parquet and for the same bytes as zones.data: "DataSourceError: libduckdb.so: cannot open shared object
# file: No such file or directory".
#
# Exits 0 as long as there is no Parquet driver, both names are told so, and geopandas reads the file.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "pyogrio==0.13.0" "geopandas==1.1.4" "pyarrow>=20"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import shutil
import sys

import geopandas
import pyogrio
from shapely.geometry import Point

zones = geopandas.GeoDataFrame({"zone": [1]}, geometry=[Point(0, 0)], crs="EPSG:4326")
zones.to_parquet("zones.parquet")
shutil.copy("zones.parquet", "zones.data")
print(pyogrio.__version__, pyogrio.__gdal_version__, "Parquet driver:", "Parquet" in pyogrio.list_drivers())
said = {}
for name in ("zones.parquet", "zones.data"):
    try:
        said[name] = str(len(pyogrio.read_dataframe(name)))
    except Exception as error:
        said[name] = f"{type(error).__name__}: {error}"
    print(name, "->", said[name])
same = (
    "Parquet" not in pyogrio.list_drivers()
    and all("libduckdb" in sentence for sentence in said.values())
    and len(geopandas.read_parquet("zones.data")) == 1
)
sys.exit(not same)
PYTHON
