"""What it costs to watch a run: the same run with nobody, with the terminal and the page, and with a browser that asks.

On a machine whose cores are all busy, throughput falls by what watching takes from them. So the CPU time of the process
that hosts client, scheduler and page is compared, as a share of all CPU time of the run; wall times of so short a run
vary more than what is sought. Runs alternate. The scene is the shipped one, laid out 3 x 3 times.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio

from benchmarks.measure import table
from geoseg.catalog import find_imagery

WAYS = {"none": "no callback", "monitor": "terminal and page", "browser": "and a browser looks"}


def main(runs: int = 5) -> None:
    """Print the table."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        scene = write_scene(Path(folder) / "scene.tif")
        for _ in range(runs):
            for way in WAYS:
                watched = ["benchmarks.watched_once", str(scene), f"{folder}/out", way]
                command = [sys.executable, "-W", "ignore", "-m", *watched]
                found[way].append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    rows, base = [], 0.0
    for way, spent in found.items():
        wall, own, workers = (statistics.median(item[key] for item in spent) for key in ("wall", "own", "workers"))
        base = base or own
        more = 100 * (own - base) / (base + workers)
        rows.append([WAYS[way], f"{wall:.1f}", f"{workers:.1f}", f"{own:.2f}", f"{more:.2f}"])
    header = ["", "wall s", "workers' CPU s", "host's CPU s", "more, % of all CPU time"]
    table(f"watching: 16 Mpx of Sentinel-2 on two workers, medians of {runs} runs", header, rows)


def write_scene(path: Path) -> Path:
    """Write the shipped scene 3 x 3 times side by side."""
    with rasterio.open(find_imagery("delmarva").paths[0]) as source:
        profile = source.profile | {"driver": "GTiff", "height": 3 * source.height, "width": 3 * source.width}
        pixels, names = source.read(), source.descriptions
    with rasterio.open(path, "w", **profile) as target:
        target.write(np.tile(pixels, (1, 3, 3)))
        target.descriptions = names
    return path


if __name__ == "__main__":
    main()
