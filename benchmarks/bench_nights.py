"""What nights cost that refresh a map of 16 scenes on a server: wall time, and what the server counts.

The network does next to nothing, so that the rest is seen. A scene is 512 x 512 px of noise in two bands, uint8.
`python -m benchmarks.bench_nights 0.05` lets the server wait 50 ms before each answer, as a distant one does.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from affine import Affine

import geoseg
from benchmarks.measure import table
from tests.networks import Box, write_model
from tests.rasters import write_raster
from tests.servers import serving

SIDE, SCENES = 512, 4
NIGHTS = (("1 scene", [5]), ("2 scenes", [0, 10]), ("nothing", []))


def write(folder: Path, number: int, seed: int) -> Path:
    """Write a scene at its place."""
    row, col = divmod(number, SCENES)
    place = Affine(10, 0, 440_000 + 10 * SIDE * col, 0, -10, 4_200_000 - 10 * SIDE * row)
    pixels = np.random.default_rng(seed).integers(1, 200, (2, SIDE // 16, SIDE // 16)).astype(np.uint8)
    pixels = pixels.repeat(16, 1).repeat(16, 2) + np.random.default_rng(seed).integers(0, 9, (2, SIDE, SIDE), np.uint8)
    return write_raster(
        folder / f"{number}.tif",
        pixels,
        transform=place,
        tiled=True,
        blockxsize=256,
        blockysize=256,
        compress="deflate",
    )


def main(delay: float = 0.0) -> None:
    """Print the table for a server that waits so many seconds before each answer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = folder / "scenes"
        scenes.mkdir()
        paths = [write(scenes, number, number) for number in range(SCENES**2)]
        size = sum(path.stat().st_size for path in paths)
        model = write_model(folder / "model", Box(2), name="box", halo=4, tile_size=256)
        rows = []
        with serving(scenes, delay) as traffic:
            addresses = [f"{traffic.url}/{path.name}" for path in paths]
            settings = {"model": str(model), "ramp": 8, "block_tiles": 1, "report": False, "workers": 2}
            for night, changed in (("all, a new run", []), *NIGHTS):
                for number in changed:
                    time.sleep(1.1)  # servers tell the time of a change in whole seconds
                    write(scenes, number, 100 + number)
                traffic.clear()
                started = time.perf_counter()
                result = geoseg.run(settings, input=addresses, output=str(folder / "out"), refresh=bool(rows))
                seconds = time.perf_counter() - started
                done = 0 if result.is_unchanged else result.outcome.done["predict"]
                sent = traffic.sent
                rows.append(
                    [
                        night,
                        f"{seconds:.1f}",
                        f"{sent / 1e6:.2f}",
                        f"{sent / size:.2f}",
                        str(len(traffic.requests)),
                        str(done),
                    ]
                )
        header = ["changed", "wall s", "MB served", "of the imagery", "requests", "blocks predicted"]
        table(f"nights after a run of 16 scenes, {size / 1e6:.1f} MB, {1e3 * delay:.0f} ms an answer", header, rows)


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
