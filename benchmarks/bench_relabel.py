"""What another threshold, another colour or another smallest area costs after a run, beside the run itself.

The model is the shipped one for land cover, its classes taken as independent so that a threshold decides; the raster is
the shipped scene laid out several times down and across. Each change is a command of its own in the run's folder. The
network computes in float32, as most CPUs do: in bfloat16 the run takes half as long, and a change no less.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import rasterio

import geoseg
from benchmarks import bench_overhead
from benchmarks.measure import measure, table
from geoseg.catalog import locate_model

REPEATS = 8
"""The shipped scene is laid out this many times down and across."""

CHANGES = {
    "threshold 0.6": ["--threshold", "0.6"],
    "names and colours": ["--threshold", "0.6", "--legend", "trees=#00441b,trees=Forest"],
    "confidence as well": ["--threshold", "0.6", "--outputs", "confidence"],
    "min_area 2,000 m2": ["--threshold", "0.6", "--min-area", "2000"],
}


def write_model(folder: Path) -> Path:
    """Write the entry of the shipped model with independent scores beside its weights."""
    shipped = locate_model("sentinel2-land-cover")
    item = json.loads(shipped.read_text())
    item["properties"] |= {"geoseg:activation": "sigmoid", "geoseg:threshold": 0.5}
    for asset in item["assets"].values():
        asset["href"] = str((shipped.parent / asset["href"]).resolve())
    for entry in item["properties"]["mlm:output"][0]["classification:classes"]:
        entry["value"] += 1
    path = folder / "independent.json"
    path.write_text(json.dumps(item))
    return path


def main(repeats: int = REPEATS) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene, model = bench_overhead.write_scene(folder / "scene.tif", repeats), write_model(folder)
        command = ["-m", "geoseg", "run", str(scene), "--model", str(model), "--output", str(folder / "out")]
        command += ["--precision", "float32"]
        whole = measure(command, memory=False).seconds
        rows = [["the run", f"{whole:.1f}", "1.000"]]
        for change, options in CHANGES.items():
            seconds = measure([*command, *options], memory=False).seconds
            blocks = json.loads((folder / "out" / "run.json").read_text())["blocks"]["done"]
            if "predict" in blocks:
                sys.exit(f"{change} has predicted {blocks['predict']} blocks")
            rows.append([change, f"{seconds:.1f}", f"{seconds / whole:.3f}"])
        with rasterio.open(scene) as source:
            mpx = source.width * source.height / 1e6
        tiles = geoseg.plan(str(scene), model=str(model)).tile_count
    table(f"changes after a run of {mpx:.0f} Mpx, {tiles} tiles", ["", "wall s", "of the run"], rows)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
