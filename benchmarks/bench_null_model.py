"""How fast is everything but the model: a 1 x 1 convolution over a large GeoTIFF, beside MONAI.

Both read the same uint8 RGB GeoTIFF, run the same network with two threads or two workers, and write a label
GeoTIFF. MONAI's ``SlidingWindowInferer`` (window 512, overlap 0.25) takes the image as one array, so its memory grows
with the raster. Both wall times include starting Python; the second pair of columns leaves starting out.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml

from benchmarks.measure import Measured, measure, table
from benchmarks.scenes import write_null_model, write_rgb

MIB = 2**20


def run_geoseg(folder: Path, raster: Path, item: Path) -> tuple[Measured, float]:
    """Map the raster; returns what was measured, and the seconds without starting Python and the workers."""
    output = folder / f"geoseg-{raster.stem}"
    workflow = folder / "null.yaml"
    workflow.write_text(yaml.safe_dump({"model": str(item), "trust_model": True, "features": [], "block_tiles": 3}))
    arguments = ["-m", "geoseg", "run", str(workflow), "--input", str(raster), "--output", str(output), "--overwrite"]
    timed = measure(arguments, memory=False)
    seconds = json.loads((output / "run.json").read_text())["seconds"]
    return replace(timed, peak_bytes=measure(arguments).peak_bytes), seconds["blocks"] + seconds["write"]


def run_monai(folder: Path, raster: Path, item: Path, blended: str = "logits") -> tuple[Measured, float]:
    """Run the peer on the raster; see `benchmarks.peer_monai` for what is ``blended``."""
    output = folder / f"monai-{raster.stem}.tif"
    weights = str(item.with_suffix(".pt"))
    arguments = ["-m", "benchmarks.peer_monai", str(raster), weights, str(output), blended]
    timed = measure(arguments, memory=False)
    return replace(timed, peak_bytes=measure(arguments).peak_bytes), float(timed.output.split()[-1])


def main(sides: tuple[int, ...] = (8192, 16384), peer_sides: tuple[int, ...] = (8192,)) -> None:
    """Print the table."""
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        item = write_null_model(folder / "model")
        for side in sides:
            raster = write_rgb(folder / f"rgb-{side}.tif", side)
            runs: dict[str, Callable[[Path, Path, Path], tuple[Measured, float]]] = {"geoseg": run_geoseg}
            if side in peer_sides:
                runs["MONAI, logits"] = run_monai
                runs["MONAI, probabilities"] = partial(run_monai, blended="probabilities")
            for peer, run in runs.items():
                measured, working = run(folder, raster, item)
                megapixels = side * side / 1e6
                rows.append(
                    [
                        peer,
                        f"{side:,}",
                        f"{measured.seconds:.1f}",
                        f"{megapixels / measured.seconds:.1f}",
                        f"{working:.1f}",
                        f"{megapixels / working:.1f}",
                        f"{measured.peak_bytes / MIB:,.0f}",
                    ]
                )
            raster.unlink()
    header = ["", "side px", "wall s", "Mpx/s", "working s", "Mpx/s", "peak MiB"]
    table("null model: 1 x 1 convolution, 7 classes, uint8 RGB GeoTIFF to label GeoTIFF", header, rows)


if __name__ == "__main__":
    main()
