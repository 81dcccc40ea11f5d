"""How well are buildings found, whatever the imagery's resolution, beside the same scenes at others.

``GEOSEG_DATA`` names the folder that holds ``buildings/val``, imagery with instance rasters that does not ship; without
it nothing is measured. Each scene is resampled by averages to 0.2, 0.4 and 0.6 m on the ground, mapped by the whole of
``geoseg run``, and judged by ``geoseg evaluate`` against the instances at full resolution.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio

import geoseg
from benchmarks.measure import table
from geoseg.evaluation import evaluate
from geoseg.grid import Window
from geoseg.raster import ground_resolution, open_raster

RESOLUTIONS = (None, 0.2, 0.4, 0.6)
"""Metres; None is the scene as it is."""

MODELS = [name for name in os.environ.get("GEOSEG_MODELS", "buildings").split(",") if name]
"""Names in the catalog, or folders of entries."""

TTA = [word or None for word in os.environ.get("GEOSEG_TTA", "").split(";")]
"""Views that are averaged; none unless given."""


def main() -> None:
    """Print the table."""
    home = Path(os.environ.get("GEOSEG_DATA", "")) / "buildings" / "val"
    scenes = sorted(home.glob("*_rgb.tif"))
    if not scenes:
        print("\nbuildings: not measured, because GEOSEG_DATA names no folder with buildings/val")
        return
    rows = [
        row(scene, resolution, model, tta)
        for model in MODELS
        for tta in TTA
        for scene in scenes
        for resolution in RESOLUTIONS
    ]
    header = ["model", "views", "scene", "m", "F1", "precision", "recall", "AP50", "pixel IoU", "s"]
    table("Buildings of scenes that were never seen, at an IoU of 0.5", header, rows)


def row(scene: Path, resolution: float | None, model: str, tta: str | None) -> list[str]:
    """One run and how good it is."""
    with tempfile.TemporaryDirectory() as folder:
        path = scene if resolution is None else resampled(scene, resolution, Path(folder) / "scene.tif")
        own = sum(ground_resolution(open_raster(path).geobox)) / 2
        started = time.perf_counter()
        settings = {"input": str(path), "output": f"{folder}/out", "tta": tta, "regularize": False, "report": False}
        geoseg.run("buildings", model=model, **settings)
        seconds = time.perf_counter() - started
        truth = scene.with_name(scene.name.replace("_rgb", "_instances"))
        scores = evaluate(f"{folder}/out", truth, task="instance").summary()["scores"]
    names = ("f1", "precision", "recall", "ap50", "area_iou")
    figures = [f"{scores[name]:.3f}" for name in names]
    return [Path(model).name, tta or "1", scene.stem.removesuffix("_rgb"), f"{own:.2f}", *figures, f"{seconds:.0f}"]


def resampled(scene: Path, resolution: float, path: Path) -> Path:
    """The scene at another resolution, by averages of pixels."""
    raster = open_raster(scene, resolution=resolution)
    pixels, mask = raster.read(Window(0, 0, *raster.shape))
    options = {"crs": raster.crs, "transform": raster.transform, "dtype": pixels.dtype, "photometric": "RGB"}
    height, width = raster.shape
    with rasterio.open(path, "w", driver="GTiff", count=3, height=height, width=width, **options) as file:
        file.write(np.where(mask, pixels, 0))
    return path


if __name__ == "__main__":
    main()
