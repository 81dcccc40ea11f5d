"""What a night costs in which 2 of 60 scenes have changed, beside a run of all of them: seconds and bytes read.

The raster is the shipped scene, laid out 6 times down and 10 across, each a file of its own. The changed ones are the
scene upside down. Tiles are small, so that two scenes touch a twentieth of the blocks, as they do where scenes are
large; and the network computes in float32, as most CPUs do.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray

from benchmarks.measure import measure, table
from geoseg.catalog import find_imagery

DOWN, ACROSS = 6, 10
NIGHTS = (("2 scenes", [(1, 2), (4, 7)]), ("1 scene", [(0, 0)]), ("nothing", []))


def write(path: Path, row: int, col: int, *, is_turned: bool) -> None:
    """Write the shipped scene at a place of the raster."""
    with rasterio.open(find_imagery("delmarva").paths[0]) as source:
        pixels: NDArray[np.generic] = source.read()
        profile, names, transform = source.profile, source.descriptions, source.transform
    height, width = pixels.shape[1:]
    profile.update(
        driver="GTiff",
        tiled=True,
        blockxsize=512,
        blockysize=512,
        compress="deflate",
        transform=transform @ Affine.translation(col * width, row * height),
    )
    with rasterio.open(path, "w", **profile) as target:
        target.descriptions = names
        target.write(pixels[:, ::-1] if is_turned else pixels)


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = folder / "scenes"
        scenes.mkdir()
        for row in range(DOWN):
            for col in range(ACROSS):
                write(scenes / f"{row}-{col}.tif", row, col, is_turned=False)

        def run(output: str, *options: str) -> tuple[float, dict[str, int]]:
            command = ["-m", "geoseg", "run", str(scenes), "--model", "sentinel2-land-cover", "--precision", "float32"]
            command += ["--tile-size", "256", "--block-tiles", "1"]
            seconds = measure([*command, "--output", str(folder / output), *options], memory=False).seconds
            record = json.loads((folder / output / "run.json").read_text())
            return seconds, record["blocks"]["done"]

        first, blocks = run("out")
        rows = [["all 60 scenes, a new run", f"{first:.1f}", "1.000", str(blocks["predict"]), str(blocks["trace"])]]
        for night, changed in NIGHTS:
            for row, col in changed:
                write(scenes / f"{row}-{col}.tif", row, col, is_turned=True)
            seconds, done = run("out", "--refresh")
            again = [str(done.get(stage, 0)) if changed else "0" for stage in ("predict", "trace")]
            rows.append([night, f"{seconds:.1f}", f"{seconds / first:.3f}", *again])
        header = ["changed", "wall s", "of the run", "blocks predicted", "blocks traced"]
        table("nights after a run of 60 scenes", header, rows)


if __name__ == "__main__":
    main()
