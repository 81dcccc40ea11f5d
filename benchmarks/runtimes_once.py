"""A network run in some ways over the same tiles, one way after the other on each; prints JSON, the first way is 1.

python -m benchmarks.runtimes_once MODEL SCENE TILES RUNTIME-PRECISION ...
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import torch

from geoseg.catalog import find_model
from geoseg.models import load_model
from geoseg.models.probe import labels_agree, predict_maps
from geoseg.workflow.sampling import sample_tiles


def main(model: str, scene: str, count: int, *ways: str) -> None:
    """Seconds of processor time per Mpx, and the part of the labels that are those of the first way."""
    torch.set_num_threads(1)
    spec = find_model(model)
    opened = {}
    for way in ways:
        runtime, _, precision = way.partition("-")
        opened[way] = load_model(spec, runtime=runtime, precision=precision)  # type: ignore[arg-type]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    same, counted = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0)
    for pixels, mask in sample_tiles(model, scene, count):
        first = None
        for way in ways:
            if not seconds[way]:
                predict_maps(opened[way], pixels)
            started = time.process_time()
            found = predict_maps(opened[way], pixels)
            seconds[way].append((time.process_time() - started) / mask.size * 1e6)
            first = found if first is None else first
            equal, counts = labels_agree(spec, first, found)
            same[way] += int(np.count_nonzero(equal & mask))
            counted[way] += int(np.count_nonzero(counts & mask))
    print(json.dumps({way: [float(np.median(seconds[way])), same[way] / max(counted[way], 1)] for way in ways}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
