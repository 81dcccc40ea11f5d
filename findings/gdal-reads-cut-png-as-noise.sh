#!/usr/bin/env bash
# GDAL 3.10.3 (rasterio 1.4.4): a PNG of three bands that ends too early, as after a download that broke
# off, is read as noise when all of it is read at once: no exception, no warning, and not even the rows that are there.
# GDAL decodes such a file as a whole then; window by window the same file raises "IReadBlock failed".
#
# Seen: of 300 x 300 px of random colours, cut after 30, 90 and 99.9 % of its bytes, read() returns an array of which 99 %
# of the numbers are wrong, those of the first row too.
#
# Exits 0 as long as read() of the cut files raises nothing and more than half of the numbers are wrong.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "rasterio==1.4.4" "numpy==2.4.6" "pillow==12.0.0"
cd "$folder"
venv/bin/python -W ignore - <<'PYTHON'
import sys
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image

pixels = np.random.default_rng(1).integers(0, 255, (300, 300, 3)).astype(np.uint8)
Image.fromarray(pixels).save("whole.png")
content, expected = Path("whole.png").read_bytes(), np.moveaxis(pixels, 2, 0)
wrong = []
print("rasterio", rasterio.__version__, "GDAL", rasterio.__gdal_version__)
for share in (1, 0.3, 0.9, 0.999):
    path = f"cut-{share}.png"
    Path(path).write_bytes(content[: int(share * len(content))])
    try:
        with rasterio.open(path) as file:
            found = file.read()
        wrong.append((found != expected).mean())
        print(f"   {100 * share:g} % of the bytes: {100 * wrong[-1]:.1f} % of the numbers are wrong, and no error")
    except rasterio.errors.RasterioIOError as error:
        print(f"   {100 * share:g} % of the bytes: {error}")
        wrong.append(0)
sys.exit(not (wrong[0] == 0 and min(wrong[1:]) > 0.5))
PYTHON
