"""Forward passes by torch and by OpenVINO, in the arithmetic that each has, on one core: times, labels, memory.

All ways take turns on each tile in one process, after a pass that does not count; memory is that of a process that runs
one of them. Prediction is timed, with scaling and probabilities. ``GEOSEG_DATA`` names a folder with imagery that does
not ship; without it the shipped scene alone is measured. ``ONEDNN_MAX_CPU_ISA=AVX2`` shows what older CPUs gain.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

from benchmarks.measure import measure, table
from geoseg.catalog import find_model
from geoseg.forking import WORKER_ENVIRONMENT
from geoseg.models.precision import multiplies_halves

SCENES = {
    "sentinel2-land-cover": "delmarva",
    "land-cover-aerial": "dubai/val/tile4_rgb.tif",
    "buildings": "buildings/val/zanzibar_tz_rgb.tif",
}
"""Imagery by model: of the catalog, or below ``GEOSEG_DATA``."""

TILES = 8


def main() -> None:
    """Print a table for each model."""
    for model, scene in SCENES.items():
        path = Path(os.environ.get("GEOSEG_DATA", ""), scene)
        if scene == "delmarva" or path.is_file():
            compare(model, scene if scene == "delmarva" else str(path))


def compare(model: str, scene: str) -> None:
    """Print what each way takes."""
    has_halves = multiplies_halves() and "ONEDNN_MAX_CPU_ISA" not in os.environ
    ways = ["torch-float32", "openvino-float32"]
    ways += ["torch-bfloat16", "openvino-bfloat16"] if has_halves else []
    ways += ["openvino-int8"] if find_model(model).int8 else []
    once = ["-m", "benchmarks.runtimes_once", model, scene]
    run = partial(measure, environment=WORKER_ENVIRONMENT)
    run([*once, "1", *ways], memory=False)  # graphs are converted
    found = json.loads(run([*once, str(TILES), *ways], memory=False).output)
    peaks = {way: run([*once, "3", way]).peak_bytes for way in ways}
    first = found[ways[0]][0]
    rows = [
        [*way.split("-"), f"{seconds:.2f}", f"{first / seconds:.2f}", f"{same:.2%}", f"{peaks[way] / 2**20:,.0f}"]
        for way, (seconds, same) in found.items()
    ]
    header = ["runtime", "precision", "s/Mpx", "times as fast", "same labels", "peak MiB"]
    table(f"{model}, {TILES} tiles at most, one core", header, rows)
