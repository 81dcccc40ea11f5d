"""How fast labels become polygons, beside GDAL with shapely, and beside xarray-spatial.

Each measurement is a process of its own with one thread, which loads the labels, warms up on a corner of them, and then
times itself: the median of several runs. Maps: (a) noise of five classes, about 37,000 faces; (b) the land cover of the
shipped scene, laid out several times; (c) white noise, the worst there is. Then the same on Dask with one worker and
with two, and maps of growing size for the memory of the whole process tree.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin
from scipy.ndimage import gaussian_filter

import geoseg
from benchmarks.measure import measure, table
from geoseg.engine import connect

SIDE = 4_096
TOLERANCE = 20.0
"""CRS units: two pixels."""

MIB = 2**20


def noise(side: int = SIDE) -> np.ndarray:
    """Five smooth random fields, and which of them is the largest."""
    rng = np.random.default_rng(0)
    fields = [gaussian_filter(rng.standard_normal((side, side)), sigma) for sigma in (6, 6, 8, 10, 12)]
    return (np.stack([field / field.std() for field in fields]).argmax(0) + 1).astype(np.uint8)


def land_cover(folder: Path) -> np.ndarray:
    """Labels of the shipped scene, side by side with their mirror images, so that faces go on."""
    geoseg.run("land_use.yaml", output=str(folder / "land"), features=[])
    with rasterio.open(folder / "land" / "labels.tif") as source:
        labels = source.read(1)
    wide = np.concatenate([labels, labels[:, ::-1]] * 2, axis=1)
    return np.concatenate([wide, wide[::-1]] * 2, axis=0)


def mirrored(labels: np.ndarray, times: int) -> np.ndarray:
    """A map laid out several times down and across."""
    wide = np.concatenate([labels if i % 2 == 0 else labels[:, ::-1] for i in range(times)], axis=1)
    return np.concatenate([wide if i % 2 == 0 else wide[::-1] for i in range(times)], axis=0)


def write_labels(path: Path, labels: np.ndarray, times: int = 1) -> Path:
    """Write a map, laid out several times, as a tiled GeoTIFF."""
    height, width = labels.shape
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "height": height * times,
        "width": width * times,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "crs": "EPSG:32618",
        "transform": from_origin(400_000, 4_200_000, 10, 10),
        "nodata": 255,
    }
    with rasterio.open(path, "w", **profile) as target:
        for row in range(times):
            for col in range(times):
                part = labels[:: 1 if row % 2 == 0 else -1, :: 1 if col % 2 == 0 else -1]
                target.write(part, 1, window=rasterio.windows.Window(col * width, row * height, width, height))
    return path


def in_one_thread(folder: Path, maps: dict[str, np.ndarray]) -> None:
    """Print what each way takes on one thread."""
    rows = []
    for name, labels in maps.items():
        path = write_labels(folder / "labels.tif", labels)
        ways = ["geoseg polygons", "geoseg GeoPackage"]
        if "white" not in name:
            ways += ["GDAL + coverage_simplify", "xarray-spatial, tracing"]
        for way in ways:
            arguments = ["-m", "benchmarks.polygonize_once", way, str(path), str(TOLERANCE)]
            measured = measure(arguments)
            found = json.loads(measured.output.strip().splitlines()[-1])
            seconds = statistics.median(found["seconds"])
            rows.append(
                [
                    name,
                    way,
                    f"{seconds:.2f}",
                    f"{labels.size / 1e6 / seconds:.1f}",
                    f"{found['faces']:,}",
                    f"{found['vertices']:,}",
                    f"{measured.peak_bytes / MIB:,.0f}",
                ]
            )
    header = ["map", "one thread", "s", "Mpx/s", "faces", "vertices", "peak MiB"]
    table(f"labels to polygons simplified by {TOLERANCE:g} m (pixels of 10 m)", header, rows)


def on_dask(folder: Path, labels: np.ndarray, times: int = 4, runs: int = 3) -> None:
    """Print what one worker and two take."""
    path = write_labels(folder / "large.tif", labels, times)
    megapixels = labels.size * times * times / 1e6
    seconds: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for workers in seconds:
        with connect(None, workers) as client:
            for _ in range(runs + 1):
                result = geoseg.polygonize(str(path), folder / "large.gpkg", simplify=TOLERANCE, client=client)
                seconds[workers].append(result.seconds)
    rows = []
    for workers, found in seconds.items():
        blocks, write = (statistics.median(item[key] for item in found[1:]) for key in ("blocks", "write"))
        rows.append([workers, f"{blocks:.2f}", f"{megapixels / blocks:.1f}", f"{write:.2f}", f"{blocks + write:.2f}"])
    one, two = (statistics.median(item["blocks"] for item in seconds[workers][1:]) for workers in (1, 2))
    table(
        f"{megapixels:,.0f} Mpx in blocks of 2,048 px on Dask, two workers {one / two:.2f} x one",
        ["workers", "blocks s", "Mpx/s", "GeoPackage s", "together s"],
        rows,
    )


def of_any_size(folder: Path, labels: np.ndarray, times: tuple[int, ...] = (4, 8)) -> None:
    """Print time and peak memory of the process tree by size."""
    rows = []
    for count in times:
        path = write_labels(folder / "huge.tif", labels, count)
        arguments = ["-m", "geoseg", "polygonize", str(path), str(folder / "huge.gpkg"), "--simplify", f"{TOLERANCE:g}"]
        timed = measure(arguments, memory=False)
        watched = measure(arguments, stage=lambda: "write" if list(folder.glob(".huge.gpkg.*/*.gpkg")) else "outline")
        side, peaks = SIDE * count, watched.peaks
        rows.append(
            [
                f"{side:,}",
                f"{timed.seconds:.0f}",
                f"{side * side / 1e6 / timed.seconds:.1f}",
                f"{peaks['outline'] / MIB:,.0f}",
                f"{peaks['write'] / MIB:,.0f}",
            ]
        )
        path.unlink()
    header = ["side px", "wall s", "Mpx/s", "peak MiB before output", "and during it"]
    table("geoseg polygonize, from the command line to a GeoPackage", header, rows)


def main(*wanted: str) -> None:
    """Print all tables, or some: ``thread``, ``dask``, ``size``."""
    parts: dict[str, Callable[[Path, np.ndarray], None]] = {"dask": on_dask, "size": of_any_size}
    wanted = wanted or ("thread", *parts)
    with tempfile.TemporaryDirectory() as name:
        folder, labels = Path(name), noise()
        if "thread" in wanted:
            white = np.random.default_rng(0).integers(0, 5, (SIDE, SIDE)).astype(np.uint8)
            in_one_thread(folder, {"noise": labels, "land cover": land_cover(folder), "white noise": white})
        for part in wanted:
            if part in parts:
                parts[part](folder, labels)


if __name__ == "__main__":
    main(*sys.argv[1:])
