"""What an analyst's steps after the first map cost, beside the first map: docs/finishing.md, command by command.

The steps are those of the page: other classes, forty corrections, a minimum mapping unit of 0.1 ha, smooth boundaries,
GeoPackage and Shapefile, a sieved raster, areas by zone, a sheet of paper. Each is a process of its own, as typed, and
then all are run in one, as a script does. The raster is the shipped scene, by itself and laid out several times down
and across.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import rasterio
import yaml
from shapely.geometry import box

from benchmarks.bench_overhead import write_scene
from benchmarks.measure import measure, table
from tests.test_docs import commands
from tests.test_finishing import LEGEND, edits

REPEATS = 1, 8
"""The shipped scene is laid out this many times down and across."""


def write_inputs(scene: Path) -> None:
    """Write what an analyst has drawn beside a scene: classes, corrections and zones."""
    folder = scene.parent
    (folder / "legend.yaml").write_text(yaml.safe_dump({"classes": LEGEND}))
    with rasterio.open(scene) as source:
        left, bottom, right, top = source.bounds
        edits(source.bounds).to_file(folder / "edits.gpkg")
    middle = (left + right) / 2 + 3
    zones = [box(left, bottom, middle, top), box(middle, bottom, right, top)]
    gpd.GeoDataFrame({"name": ["west", "east"]}, geometry=zones, crs="EPSG:32618").to_file(folder / "aoi.geojson")


def seconds_of(scene: Path) -> tuple[dict[str, float], list[float]]:
    """Seconds of each command of the page, in a scene's folder: as processes, and in one."""
    found, home = {}, Path.cwd()
    os.chdir(scene.parent)
    try:
        for command in commands("finishing"):
            arguments = shlex.split(command)[1:]
            name = f"geoseg {arguments[0]}" + (" again" if f"geoseg {arguments[0]}" in found else "")
            found[name] = measure(["-m", "geoseg", *arguments], memory=False).seconds
        shutil.rmtree("out")
        once = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(home)!r})"]
        once[-1] += "; from benchmarks.finishing_once import main; main()"
        output = subprocess.run(once, check=True, capture_output=True, text=True).stdout
    finally:
        os.chdir(home)
    return found, json.loads(output.splitlines()[-1])


def main(*repeats: int) -> None:
    """Print a table of each size."""
    for count in repeats or REPEATS:
        with tempfile.TemporaryDirectory() as name:
            scene = write_scene(Path(name) / "scene.tif", count)
            write_inputs(scene)
            typed, together = seconds_of(scene)
            with rasterio.open(scene) as source:
                mpx = source.width * source.height / 1e6
        seconds = np.array([list(typed.values()), together]).T
        steps = dict(zip(typed, seconds, strict=True)) | {"all after the first map": seconds[1:].sum(axis=0)}
        rows = [
            [
                step,
                *(text for s, whole in zip(pair, seconds[0], strict=True) for text in (f"{s:.1f}", f"{s / whole:.3f}")),
            ]
            for step, pair in steps.items()
        ]
        header = ["", "processes, s", "of the first map", "in one process, s", "of the first map"]
        table(f"From a first map to a finished one, {mpx:.1f} Mpx", header, rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
