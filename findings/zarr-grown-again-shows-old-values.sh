#!/usr/bin/env bash
# zarr 3.1.6: an array that is made smaller and then larger again shows values that had been cut off. resize() deletes
# chunks that lie wholly outside of the new shape and leaves the others as they are, so what comes back is neither the
# fill value nor all that was there, but what shared a chunk (or a shard) with the new edge. append() uses resize() too.
# A map that is cut to one region and extended for another has labels of the old one at its edge.
#
# Seen, for 0 to 9 in chunks of 4 with fill value -1, made 5 long, given one more value (77) and then 9 long:
# 0 1 2 3 4 77 6 7 -1. h5py's chunked datasets have the fill value in place of 6 and 7.
#
# Exits 0 as long as zarr shows 6 and 7, in chunks of format 2 and 3 and in shards, and h5py shows the fill value.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "zarr==3.1.6" "h5py==3.16.0" "numpy==2.4.6"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys

import h5py
import numpy as np
import zarr

LAYOUTS = {
    "format 3, chunks": {"chunks": (4,), "zarr_format": 3},
    "format 3, shards": {"chunks": (2,), "shards": (4,), "zarr_format": 3},
    "format 2, chunks": {"chunks": (4,), "zarr_format": 2},
}
seen = {}
for name, layout in LAYOUTS.items():
    array = zarr.create_array(f"{name}.zarr", shape=(10,), dtype="int32", fill_value=-1, **layout)
    array[:] = np.arange(10)
    array.resize((5,))
    array.append(np.full(1, 77, np.int32))
    array.resize((9,))
    seen[name] = array[:].tolist()
with h5py.File("a.h5", "w") as file:
    data = file.create_dataset("a", data=np.arange(10), chunks=(4,), maxshape=(None,), fillvalue=-1)
    data.resize((5,))
    data.resize((6,))
    data[5] = 77
    data.resize((9,))
    right = data[:].tolist()
print("zarr", zarr.__version__, "h5py", h5py.__version__)
for name, values in (seen | {"h5py": right}).items():
    print(f"{name:17}", *values)
sys.exit(not (all(values == [0, 1, 2, 3, 4, 77, 6, 7, -1] for values in seen.values()) and right[6:8] == [-1, -1]))
PYTHON
