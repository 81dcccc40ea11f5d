#!/usr/bin/env bash
# SciPy 1.17.1: scipy.ndimage.distance_transform_edt of an array without background invents one. Every pixel gets its
# distance from pixel (-1, 0), above the upper left corner, and with return_indices=True that is the nearest background
# that it names, which NumPy then takes for the last row. So a tile that lies wholly within a lake or a roof has a ramp
# from its upper left to its lower right corner, and a watershed or a blend that trusts it gets its peak at a tile's
# corner. The two other transforms of the same module say something else each: cdt -1, bf 1.3e154.
#
# Seen, for 256 x 256 pixels that are all foreground: 1 at the upper left, 255.002 at the upper right, 361.3 at the lower
# right; the index of the nearest background of all of them is (-1, 0).
#
# Exits 0 as long as edt, cdt and bf answer so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "scipy==1.17.1" "numpy==2.4.6"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numpy as np
import scipy
from scipy import ndimage

inside = np.ones((256, 256), bool)
distance, nearest = ndimage.distance_transform_edt(inside, return_indices=True)
rows, columns = np.indices(inside.shape)
from_above = np.hypot(rows + 1, columns)
small = np.ones((3, 3), bool)
chamfer, brute = ndimage.distance_transform_cdt(small), ndimage.distance_transform_bf(small)

print("scipy", scipy.__version__, "corners", distance[0, 0], distance[0, -1], distance[-1, 0], distance[-1, -1])
print("nearest background:", {tuple(map(int, index)) for index in nearest.reshape(2, -1).T})
print("cdt:", np.unique(chamfer), "bf:", np.unique(brute))
is_invented = np.allclose(distance, from_above) and (nearest == np.array([-1, 0]).reshape(2, 1, 1)).all()
sys.exit(not (is_invented and (chamfer == -1).all() and (brute > 1e100).all()))
PYTHON
