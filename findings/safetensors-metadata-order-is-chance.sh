#!/usr/bin/env bash
# safetensors 0.8.0: a file with two or more entries of metadata has other bytes each time it is saved, because the
# entries stand in the header in the order of a hash map whose seed changes from call to call. Tensors are sorted, so
# files without metadata, or with one entry, are the same each time. A checksum of a model's file, which MLM items and
# caches have (file:checksum), then differs although nothing of the model does: saving it again looks like another model.
#
# Seen: of 40 saves of one tensor with three entries, in one process, all six orders of the entries; with one entry, or
# with none, one content each.
#
# Exits 0 as long as three entries give more than one content, and one entry or none give one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "safetensors==0.8.0" "numpy==2.4.6"
cd "$folder"
venv/bin/python - <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import load, save

TENSORS = {"weight": np.arange(4, dtype=np.float32), "bias": np.zeros(1, np.float32)}


def contents(metadata):
    """Contents of 40 saves; each of them is loaded as what was saved."""
    found = {save(TENSORS, metadata=metadata) for _ in range(40)}
    for content in found:
        loaded = load(content)
        assert all(np.array_equal(loaded[name], value) for name, value in TENSORS.items())
    return len(found)


three, one, none = (
    contents(metadata) for metadata in ({"format": "pt", "classes": "water,trees", "license": "MIT"}, {"format": "pt"}, None)
)
print(f"contents of 40 saves: {three} with three entries, {one} with one, {none} without")
sys.exit(not (three > 1 and one == none == 1))
PYTHON
