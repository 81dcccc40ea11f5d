"""What an analyst's steps after the first map cost, beside the first map: docs/finishing.md, command by command.

The steps are those of the page: other classes, forty corrections, a minimum mapping unit of 0.1 ha, smooth boundaries,
GeoPackage and Shapefile, a sieved raster, areas by zone, a sheet of paper. Each is a process of its own, as typed. The
raster is the shipped scene, by itself and laid out several times down and across.
"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path

import geopandas as gpd
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


def seconds_of(scene: Path) -> dict[str, float]:
    """Seconds of each command of the page, in a scene's folder."""
    found, home = {}, Path.cwd()
    os.chdir(scene.parent)
    try:
        for command in commands("finishing"):
            arguments = shlex.split(command)[1:]
            name = f"geoseg {arguments[0]}" + (" again" if f"geoseg {arguments[0]}" in found else "")
            found[name] = measure(["-m", "geoseg", *arguments], memory=False).seconds
    finally:
        os.chdir(home)
    return found


def main(*repeats: int) -> None:
    """Print a table of each size."""
    for count in repeats or REPEATS:
        with tempfile.TemporaryDirectory() as name:
            scene = write_scene(Path(name) / "scene.tif", count)
            write_inputs(scene)
            (first, *later), (whole, *seconds) = zip(*seconds_of(scene).items(), strict=True)
            with rasterio.open(scene) as source:
                mpx = source.width * source.height / 1e6
        rows = [[first, f"{whole:.1f}", "1"]]
        rows += [[step, f"{each:.1f}", f"{each / whole:.3f}"] for step, each in zip(later, seconds, strict=True)]
        rows.append(["all after the first map", f"{sum(seconds):.1f}", f"{sum(seconds) / whole:.3f}"])
        table(f"From a first map to a finished one, {mpx:.1f} Mpx", ["", "wall s", "of the first map"], rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
