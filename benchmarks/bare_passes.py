"""Forward passes of a workflow's network, and nothing else: one of N processes that share the tiles.

Prints the seconds.
"""

from __future__ import annotations

import sys
import time

import torch

import geoseg
from geoseg.models import load_model
from geoseg.segmentation import read_tile


def main(workflow: str, scene: str, processes: int, number: int) -> None:
    """Run this process' share of the tiles."""
    torch.set_num_threads(1)
    plan = geoseg.plan(workflow, input=scene)
    model = load_model(plan.spec, plan.device, precision=plan.precision, runtime=plan.runtime)
    tile = read_tile(plan.raster, plan.grid.tile(0, 0))
    runner = model._runner  # what a model wraps: scaling is not part of a bare pass
    scaled = runner.scale(tile.pixels[None], tile.mask[None])
    with torch.inference_mode():
        runner.run(scaled)
        started = time.perf_counter()
        for _ in range(number, plan.tile_count, processes):
            runner.run(scaled)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
