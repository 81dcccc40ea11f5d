#!/usr/bin/env bash
# numba 0.68.1: sum() and mean() of a float32 array, compiled, add every pixel to one float32. From 2**24 (a raster of
# 4096 x 4096 pixels) the total stops growing, so the mean of a larger raster falls with its size; std() and var() take
# that mean and are wrong too. NumPy adds pairwise and is right; numba's own np.nanmean is right, np.nansum is not.
# Nothing warns, and tests with small arrays pass.
#
# Seen, for 6000 x 6000 pixels that are all 1.0: sum 16,777,216 of 36,000,000, mean 0.466, std 0.534; nanmean 1.0.
# With parallel=True each thread has a total of its own, so the answer depends on how many there are: two threads give
# 0.932, four 1.0.
#
# Exits 0 as long as the compiled mean is below 0.5 where NumPy's is 1, and nanmean is 1.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "numba==0.68.1" "numpy==2.4.6"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import sys

import numba
import numpy as np


def statistics(pixels):
    return pixels.sum(), pixels.mean(), np.std(pixels), np.nanmean(pixels), np.nansum(pixels)


def mean(pixels):
    return pixels.mean()


pixels = np.ones((6000, 6000), np.float32)
compiled = numba.njit(statistics)(pixels)
print("numba", numba.__version__, "sum, mean, std, nanmean, nansum")
print("NumPy   ", *(float(value) for value in statistics(pixels)))
print("compiled", *(float(value) for value in compiled))
parallel = numba.njit(mean, parallel=True)
for threads in (1, 2, 4):
    if threads <= numba.config.NUMBA_NUM_THREADS:
        numba.set_num_threads(threads)
        print("parallel,", threads, "threads: mean", float(parallel(pixels)))
sys.exit(not (compiled[1] < 0.5 and pixels.mean() == 1 and compiled[3] == 1))
PYTHON
