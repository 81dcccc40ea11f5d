#!/usr/bin/env bash
# dask 2026.8.0: dask.array.map_overlap calls its function on blocks that are not the array's chunks. Where the last
# chunk is smaller than the overlap it moves the borders of earlier chunks too, and the result has other chunks than the
# input. With a network that wants tiles of one size, tiles have other sizes; what is stored by chunk moves.
#
# Seen: 7 pixels in chunks (3, 3, 1), depth 2: the function sees blocks of 6 and 5 pixels, and the result has the chunks
# (3, 4). Chunks with the same overlap would be seen as 5, 6 and 3 pixels.
#
# Exits 0 as long as the result's chunks are (3, 4).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "dask[array]==2026.8.0"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import dask
import dask.array as da
import numpy as np

seen = []


def look(block):
    seen.append(block.shape)
    return block


result = da.map_overlap(look, da.ones(7, chunks=((3, 3, 1),)), depth=2, boundary="none", meta=np.array(()))
result.compute(scheduler="sync")
print("dask", dask.__version__, "blocks seen", seen, "chunks of the result", result.chunks)
sys.exit(result.chunks != ((3, 4),))
PYTHON
