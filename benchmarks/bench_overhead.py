"""What everything but the network costs: wall time of a run divided by bare forward passes over the same tiles.

The bare passes run in as many processes as the run has workers, one thread each, with the same allocator settings,
on tiles that lie in memory already. The run reads a GeoTIFF, blends, labels, traces and writes labels and polygons.
Both compute in float32, whatever the CPU has: the network's own speed is not what is measured here.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import rasterio
from rasterio.windows import Window

import geoseg
from benchmarks.measure import measure, table
from geoseg.catalog import find_imagery
from geoseg.engine import WORKER_ENVIRONMENT

REPEATS = 8
"""The shipped scene is laid out this many times down and across."""


def write_scene(path: Path, repeats: int = REPEATS) -> Path:
    """Write the shipped scene several times side by side, as a tiled GeoTIFF."""
    with rasterio.open(find_imagery("delmarva").paths[0]) as source:
        pixels, profile, names = source.read(), source.profile, source.descriptions
    height, width = pixels.shape[1:]
    profile.update(
        driver="GTiff", tiled=True, blockxsize=512, blockysize=512, height=height * repeats, width=width * repeats
    )
    with rasterio.open(path, "w", **profile) as target:
        target.descriptions = names
        for row in range(repeats):
            for col in range(repeats):
                target.write(pixels, window=Window(col * width, row * height, width, height))
    return path


def bare_seconds(workflow: Path, scene: Path, workers: int) -> float:
    """Longest of the processes that share the bare forward passes, s."""
    command = [sys.executable, "-m", "benchmarks.bare_passes", str(workflow), str(scene), str(workers)]
    environment = {**os.environ, **WORKER_ENVIRONMENT}
    processes = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, env=environment) for n in range(workers)]
    return max(float(process.communicate()[0]) for process in processes)


def main(runs: int = 3) -> None:
    """Print the table."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene = write_scene(folder / "scene.tif")
        workflow = folder / "land_use.yaml"
        workflow.write_text(Path("workflows/land_use.yaml").read_text() + "precision: float32\n")
        plan = geoseg.plan(workflow, input=str(scene))
        for number in range(runs):
            output = folder / f"out-{number}"
            bare = bare_seconds(workflow, scene, plan.workers)
            arguments = ["-m", "geoseg", "run", str(workflow), "--input", str(scene), "--output", str(output)]
            measured = measure(arguments, memory=False)
            seconds = json.loads((output / "run.json").read_text())["seconds"]
            working = seconds["blocks"] + seconds["write"]
            rows.append(
                [bare, working, measured.seconds, seconds["blocks"] / bare, working / bare, measured.seconds / bare]
            )
        watched = measure([*arguments, "--overwrite"])
        planned, peak = plan.total_bytes / 2**20, watched.peak_bytes / 2**20
    medians = [statistics.median(column) for column in zip(*rows, strict=True)]
    header = ["", "bare s", "working s", "wall s", "blocks/bare", "working/bare", "wall/bare"]
    lines = [[str(n), *(f"{value:.2f}" for value in row)] for n, row in enumerate(rows, 1)]
    height, width = plan.raster.shape
    title = f"overhead: {plan.spec.name} on {width:,} x {height:,} px, {plan.tile_count} tiles, {plan.workers} workers"
    table(title, header, [*lines, ["median", *(f"{value:.2f}" for value in medians)]])
    print(f"\npeak of the process tree {peak:,.0f} MiB, planned {planned:,.0f} MiB")


if __name__ == "__main__":
    main()
