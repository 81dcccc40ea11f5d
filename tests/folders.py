"""Run folders made by hand, in a moment and without a model: labels, polygons, imagery and a manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import shapes
from scipy.ndimage import gaussian_filter

from geoseg.grid import Window
from geoseg.raster import write_cog
from geoseg.report import RunRecord, read_record
from tests.rasters import TEN_METRES, write_raster

CLASSES = {0: ("open_water", "#419bdf"), 1: ("trees", "#397d49"), 2: ("built", "#c4281b")}
"""Names and colours by label."""

HOLE = (slice(20, 60), slice(30, 110))
"""Rows and columns without data."""


def smooth_labels(shape: tuple[int, int], seed: int = 1) -> NDArray[np.uint8]:
    """Labels of three classes in patches, with a hole of nodata where it fits."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 9)
    labels = np.digitize(field / field.std(), [-0.5, 0.6]).astype(np.uint8)
    labels[HOLE] = 255
    return labels


def make_folder(
    folder: Path,
    labels: NDArray[np.uint8],
    *,
    transform: Affine = TEN_METRES,
    crs: str | None = "EPSG:32618",
    instances: NDArray[np.uint32] | None = None,
    features: str | None = "features.gpkg",
    imagery: bool = True,
    classes: dict[int, tuple[str, str]] = CLASSES,
    **content: Any,
) -> RunRecord:
    """Make a run folder.

    Parameters
    ----------
    folder : Path
        Made when missing.
    labels : uint8 (y, x)
        255 = nodata.
    transform, crs
        Where it lies.
    instances : uint32 (y, x), optional
        0 = none; features are then objects.
    features : str, optional
        Name of the polygon file; None is without.
    imagery : bool
        Whether ``scene.tif`` lies there: red, green and blue, 0 where there is no data.
    classes : dict
        Names and colours by label.
    **content
        Replaces parts of the manifest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = [(Window(0, 0, *labels.shape), labels)]
    colors = {value: tuple(bytes.fromhex(color[1:])) for value, (_, color) in classes.items()}
    names = {value: name for value, (name, _) in classes.items()}
    write_cog(folder / "labels.tif", labels.shape, transform, crs, whole, colors=colors, categories=names)
    results = ["labels.tif"]
    if instances is not None:
        windows = [(Window(0, 0, *labels.shape), instances)]
        options: dict[str, Any] = {"dtype": "uint32", "nodata": 0, "overview_resampling": "nearest"}
        write_cog(folder / "instances.tif", labels.shape, transform, crs, windows, **options)
        results.append("instances.tif")
    if features is not None:
        write_polygons(folder / features, labels, transform, crs, names, instances)
        results.append(features)
    if imagery:
        write_raster(
            folder / "scene.tif", picture_of(labels), transform=transform, crs=crs, nodata=0,
            descriptions=["red", "green", "blue"],
        )  # fmt: skip
    (folder / "run.json").write_text(json.dumps(manifest(folder, labels.shape, transform, crs, results) | content))
    return read_record(folder)


def picture_of(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Imagery in which each class has a grey of its own, uint8 (3, y, x)."""
    greys = np.zeros(256, np.uint8)
    greys[:3] = 60, 120, 200
    return np.stack([greys[labels]] * 3)


def write_polygons(
    path: Path,
    labels: NDArray[np.uint8],
    transform: Affine,
    crs: str,
    names: dict[int, str],
    instances: NDArray[np.uint32] | None,
) -> None:
    """Polygons of labels, or of objects, as rasterio traces them; their areas in the CRS' own plane."""
    values = labels.astype(np.int32) if instances is None else instances.astype(np.int32)
    traced = [(shapely.geometry.shape(item), int(value)) for item, value in shapes(values, transform=transform)]
    wanted = [(item, value) for item, value in traced if (value != 255 if instances is None else value > 0)]
    frame = gpd.GeoDataFrame({"value": [value for _, value in wanted]}, geometry=[item for item, _ in wanted], crs=crs)
    first = (
        {value: int(labels[instances == value][0]) for value in set(frame["value"])} if instances is not None else {}
    )
    frame["class"] = frame["value"].map(first) if instances is not None else frame["value"]
    frame["name"] = frame["class"].map(names)
    frame["area_m2"] = frame.geometry.area
    frame["pixels"] = np.rint(frame.geometry.area / abs(transform.determinant)).astype(int)
    if instances is None:
        frame["confidence"] = 0.8
    else:
        frame["instance"], frame["score"], frame["isthing"] = frame["value"], 0.9, True
    frame = frame.drop(columns="value")
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        (frame.to_crs(4326) if path.suffix == ".geojson" else frame).to_file(path, layer="land_use")


def manifest(folder: Path, shape: tuple[int, int], transform: Affine, crs: str, results: list[str]) -> dict[str, Any]:
    """What ``run.json`` of a finished run says."""
    return {
        "status": "finished",
        "written": "2026-03-01T12:00:00+00:00",
        "workflow": {
            "model": "three-classes", "input": str(folder / "scene.tif"), "output": str(folder), "layer": "land_use",
        },
        "inputs": [{"path": str(folder / "scene.tif"), "size": 12_345, "mtime_ns": 10**18, "sha256": "ab" * 32}],
        "plan": {
            "raster": {
                "shape": list(shape), "transform": list(transform)[:6], "crs": crs, "bands": ["red", "green", "blue"],
                "dtype": "uint8", "resampled": False, "resolution_m": [10.0, 10.0],
            },
            "model": "three-classes", "tile_size": 64, "halo": 2, "ramp": 8, "block_tiles": [1, 1], "blocks": 4,
            "tiles": 4, "device": "cpu", "precision": "auto", "workers": 2, "planned_bytes": 3 * 2**30,
            "worker_bytes": {"the process": 860 * 2**20, "the read cache": 64 * 2**20},
        },
        "model": {
            "name": "three-classes", "task": "semantic-segmentation", "license": "MIT", "metrics": {"mean_iou": 0.83},
            "bands": [{"name": name, "common_name": name} for name in ("red", "green", "blue")],
            "classes": [{"value": 0, "name": "open_water", "isthing": False}], "resolution": 10.0,
            "description": "A model of three classes", "provenance": "- Drawn by hand.\n- Checked twice.",
        },
        "versions": {"geoseg": "0.1.0", "torch": "2.5.1"},
        "results": results,
        "seconds": {"open": 3.0, "blocks": 10.0, "write": 0.5, "total": 20.0},
        "worker_seconds": {"predict": 18.0, "finish": 0.4},
        "memory": {"client": 400 * 2**20, "workers": {"here:1": 500 * 2**20, "here:2": 600 * 2**20}},
        "blocks": {"done": {"predict": 4, "finish": 4}, "kept": {}, "failed": {}},
    }  # fmt: skip
