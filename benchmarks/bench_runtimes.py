"""Forward passes by torch and by OpenVINO, in the arithmetic that each has, on one core: times, labels, memory.

All ways take turns on each tile in one process, after a pass that does not count; memory is that of a process that runs
one of them. Prediction is timed, with scaling and probabilities. ``GEOSEG_DATA`` names a folder with imagery that does
not ship; without it the shipped scene alone is measured. ``ONEDNN_MAX_CPU_ISA=AVX2`` shows what older CPUs gain.

Then whole processes of ``geoseg run`` take turns over the shipped scene laid out 6 x 6 (64 Mpx); ``GEOSEG_BEFORE``
names a folder with an earlier state of geoseg, whose float32 runs along.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.bench_overhead import write_scene
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

WHOLE = {"float32": ("--runtime", "torch"), "int8": ("--runtime", "openvino")}
"""Whole processes that are timed: further arguments by precision."""


def main() -> None:
    """Print a table for each model, and one of whole processes."""
    for model, scene in SCENES.items():
        path = Path(os.environ.get("GEOSEG_DATA", ""), scene)
        if scene == "delmarva" or path.is_file():
            compare(model, scene if scene == "delmarva" else str(path))
    compare_runs()


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


def compare_runs(runs: int = 2, repeats: int = 6) -> None:
    """Print what whole processes take; graphs are converted and loops compiled before."""
    ways = {f"--precision {name}": (str(Path.cwd()), "--precision", name, *more) for name, more in WHOLE.items()}
    if before := os.environ.get("GEOSEG_BEFORE"):
        ways = {"before": (before,), **ways}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as name:
        small, large = (write_scene(Path(name, f"{size}.tif"), size) for size in (1, repeats))
        for scene in (small, *(large for _ in range(runs))):
            for way, (home, *more) in ways.items():
                output = ("--output", f"{name}/out", "--overwrite", "--workers", "2")
                arguments = ["-P", "-m", "geoseg", "run", "land_use", "--input", str(scene), *output, *more]
                took = measure(arguments, memory=False, environment={"PYTHONPATH": home}).seconds
                seconds[way] += [took] if scene is large else []
    first = statistics.median(next(iter(seconds.values())))
    rows = [
        [way, ", ".join(f"{took:.1f}" for took in found), f"{first / statistics.median(found):.2f}"]
        for way, found in seconds.items()
    ]
    table(f"geoseg run land_use, {repeats} x {repeats} scenes, 2 workers", ["way", "wall s", "times as fast"], rows)
