"""How good are regularized footprints, beside faces as they were traced, simplified ones, and buildingregulariser.

True instances of two sites are seen as a network would see them: at 0.3 m, with round corners and edges that waver; and
as the shipped model `buildings` sees them. Each way makes outlines of the same faces, and these are compared with the
true ones. One thread; seconds are those of the processor, without tracing. The imagery does not ship; give its folder,
or lay it beside the project.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS
from scipy import ndimage

import geoseg
from benchmarks.measure import table
from geoseg.footprints import STAIRS
from geoseg.outlines import OutlineFolder, OutlinePlan
from geoseg.outlines.regularizing import regularize
from geoseg.vectorize import Metric, Shaping, Simplification, features, polygonize

HOME = Path(__file__).parents[2] / "shared" / "data" / "buildings" / "val"
SITES = "zanzibar_tz", "kampala_ug"
FACTOR = 4
"""Pixels of the truth in a pixel of the network, along a side."""

SEEDS = range(3)
TOLERANCE = 1.5
"""Px."""

PEER = "buildingregulariser"

NOISE = {"clear": (1.2, 0.35, 2.5), "rough": (2.0, 0.8, 4.0)}
"""How a network sees edges: px of blur, px of wavering about the true edge (roughly), px of its waves."""

Geometries = NDArray[np.object_]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Case:
    """Faces of one site, and the truth.

    Attributes
    ----------
    labels : int64, shape (y, x)
        What a network saw.
    transform : Affine
    crs : CRS
    truth : dict
        The true outline of each label that has one, in the CRS.
    """

    labels: Labels
    transform: Affine
    crs: CRS
    truth: dict[int, Any]


def seen(instances: Labels, noise: tuple[float, float, float], seed: int) -> Labels:
    """Instances as a network of larger pixels would see them; of each the largest part."""
    blur, wavering, waves = noise
    rng = np.random.default_rng(seed)
    height, width = (size // FACTOR for size in instances.shape)
    best, labels = np.full((height, width), 0.5), np.zeros((height, width), np.int64)
    for number, place in enumerate(ndimage.find_objects(instances), start=1):
        if place is None:
            continue
        top, left = (max(part.start // FACTOR - 8, 0) for part in place)
        bottom, right = (min(-(-part.stop // FACTOR) + 8, size) for part, size in zip(place, best.shape, strict=True))
        fine = instances[top * FACTOR : bottom * FACTOR, left * FACTOR : right * FACTOR] == number
        share = fine.reshape(bottom - top, FACTOR, right - left, FACTOR).mean(axis=(1, 3))
        soft = ndimage.gaussian_filter(share, blur, mode="nearest")
        noise_here = ndimage.gaussian_filter(rng.standard_normal(soft.shape), waves)
        score = soft + wavering * noise_here / max(noise_here.std(), 1e-9) / (blur * 2.5)
        window = slice(top, bottom), slice(left, right)
        wins = (score > best[window]) & (soft > 0.03)
        best[window][wins], labels[window][wins] = score[wins], number
    return _largest_parts(labels)


def _largest_parts(labels: Labels) -> Labels:
    kept = np.zeros_like(labels)
    for number, place in enumerate(ndimage.find_objects(labels), start=1):
        if place is not None:
            parts, _ = ndimage.label(labels[place] == number)
            kept[place][parts == np.bincount(parts[parts > 0]).argmax()] = number
    return kept


def made_up(folder: Path, noise: tuple[float, float, float]) -> list[Case]:
    """Every site, seen several times."""
    found = []
    for site in SITES:
        true = read(folder / f"{site}_instances.tif")
        coarse = true.transform @ Affine.scale(FACTOR)
        found += [Case(seen(true.labels, noise, seed), coarse, true.crs, true.truth) for seed in SEEDS]
    return found


def predicted(folder: Path) -> list[Case]:
    """Every site, as the shipped model sees it; what is true of an object is what it overlaps by more than a half."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        for site in SITES:
            true = read(folder / f"{site}_instances.tif")
            output = Path(name) / site
            image = str(folder / f"{site}_rgb.tif")
            geoseg.run({"model": "buildings"}, input=image, output=str(output), features=[], workers=1, report=False)
            case = read(output / "instances.tif")
            known = np.array(list(true.truth.values()))
            mine, theirs = shapely.STRtree(known).query(list(case.truth.values()), predicate="intersects")
            labels, faces = list(case.truth), np.array(list(case.truth.values()))
            common = shapely.area(shapely.intersection(faces[mine], known[theirs]))
            is_same = 2 * common > shapely.area(faces[mine]) + shapely.area(known[theirs]) - common
            truth = {labels[i]: known[j] for i, j in zip(mine[is_same], theirs[is_same], strict=True)}
            found.append(Case(case.labels, case.transform, case.crs, truth))
    return found


def read(path: Path) -> Case:
    """A raster of instances, which is its own truth."""
    with rasterio.open(path) as source:
        labels, transform, crs = source.read(1).astype(np.int64), source.transform, CRS(source.crs)
    exact = features(polygonize(labels, nodata=0), transform, crs, {})
    truth: dict[int, Any] = {}
    for label, polygon in zip(exact["class"].to_pylist(), geometry(exact), strict=True):
        truth[label] = polygon if label not in truth else truth[label] | polygon
    return Case(labels, transform, crs, truth)


def geometry(features: pa.Table) -> Geometries:
    return shapely.from_wkb(features.column("geometry").to_numpy(zero_copy_only=False))


def traced(case: Case, px: float) -> pa.Table:
    """Faces whose boundaries stray by so many px."""
    metric = Metric.of(case.transform)
    simplification = Simplification(px * math.sqrt(metric.gram.area))
    faces = polygonize(case.labels, nodata=0, shaping=Shaping(metric, simplification))
    return features(faces, case.transform, case.crs, {})


Outlines = tuple[list[int], Geometries, float]
"""Labels, polygons, and seconds."""


def as_traced(case: Case) -> Outlines:
    found = traced(case, 0.0)
    return found["class"].to_pylist(), geometry(found), 0.0


def simplified(case: Case) -> Outlines:
    found = traced(case, TOLERANCE)
    return found["class"].to_pylist(), geometry(found), 0.0


def by_geoseg(case: Case, **settings: Any) -> Outlines:
    height, width = case.labels.shape
    pixel = math.sqrt(abs(case.transform.determinant))
    faces, source = traced(case, STAIRS), Any
    plan = OutlinePlan(
        source, OutlineFolder(Path()), (0, height), (0, width), case.transform, case.crs, Shaping(),
        tolerance=TOLERANCE * pixel, **settings,
    )  # fmt: skip
    started = time.process_time()
    found = pa.concat_tables(regularize([faces], plan))
    return found["class"].to_pylist(), geometry(found), time.process_time() - started


def with_right_angles(case: Case) -> Outlines:
    """As the preset osm does."""
    return by_geoseg(case, right_angles=True, shortest_edge=0.5)


def by_peer(case: Case, **settings: Any) -> Outlines:
    from buildingregulariser import regularize_geodataframe

    faces = traced(case, 0.0)
    frame = gpd.GeoDataFrame({"class": faces["class"].to_numpy()}, geometry=geometry(faces), crs=case.crs)
    started = time.process_time()
    found = regularize_geodataframe(frame, num_cores=1, **settings)
    return found["class"].tolist(), found.geometry.to_numpy(), time.process_time() - started


def peer_as_documented(case: Case) -> Outlines:
    """With the tolerance of two pixels that its documentation asks for."""
    return by_peer(case, simplify_tolerance=2 * math.sqrt(abs(case.transform.determinant)))


def peer_at_its_best(case: Case) -> Outlines:
    """Of tolerances from 1 to 3 px and thresholds from 1 to 8 px those with the largest overlap on these sites."""
    pixel = math.sqrt(abs(case.transform.determinant))
    return by_peer(case, simplify_tolerance=pixel, parallel_threshold=pixel)


WAYS: dict[str, Callable[[Case], Outlines]] = {
    "as traced": as_traced,
    f"simplified by {TOLERANCE:g} px": simplified,
    "geoseg": by_geoseg,
    "geoseg, right angles": with_right_angles,
}
if find_spec(PEER) is not None:
    WAYS |= {PEER: peer_as_documented, f"{PEER}, tuned": peer_at_its_best}


def measured(way: Callable[[Case], Outlines], cases: list[Case]) -> list[str]:
    """What a way reaches on some cases: one row of the table."""
    way(cases[0])  # compiled, and read
    overlaps, vertices, right, invalid, crossing, seconds, count = [], [], [], 0, 0, 0.0, 0
    for case in cases:
        labels, polygons, spent = way(case)
        sound = shapely.make_valid(polygons)
        known = np.flatnonzero([label in case.truth for label in labels])
        truth = np.array([case.truth[labels[place]] for place in known])
        common = shapely.area(shapely.intersection(sound[known], truth))
        overlaps += list(common / (shapely.area(sound[known]) + shapely.area(truth) - common))
        vertices += list(shapely.get_num_coordinates(polygons) - 1 - shapely.get_num_interior_rings(polygons))
        right += [angle for polygon in polygons for angle in angles(polygon)]
        invalid += int((~shapely.is_valid(polygons)).sum())
        crossing += overlapping(sound)
        seconds += spent
        count += len(polygons)
    at_right = np.mean(np.abs(np.array(right) - 90) < 1)
    return [
        f"{np.mean(overlaps):.3f}",
        f"{np.median(overlaps):.3f}",
        f"{np.mean(vertices):.1f}",
        f"{100 * at_right:.0f} %",
        f"{invalid}",
        f"{crossing}",
        f"{1000 * seconds / count:.2f}" if seconds else "",
    ]


def angles(polygon: Any) -> NDArray[np.float64]:
    """At the corners of all rings, degrees."""
    found = []
    for ring in shapely.get_rings(shapely.get_parts(polygon)):
        xy = shapely.get_coordinates(ring)[:-1]
        back, forth = np.roll(xy, 1, axis=0) - xy, np.roll(xy, -1, axis=0) - xy
        cosine = (back * forth).sum(axis=1) / np.hypot(*back.T) / np.hypot(*forth.T)
        found.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return np.concatenate(found)


def overlapping(polygons: Geometries) -> int:
    """How many pairs have area in common."""
    one, other = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    one, other = one[one < other], other[one < other]
    return int(shapely.relate_pattern(polygons[one], polygons[other], "T********").sum())


def main(folder: str | Path = HOME) -> None:
    """Print the tables."""
    folder = Path(folder)
    if not folder.is_dir():
        print(f"bench_footprints: skipped, because {folder} with the true buildings of {', '.join(SITES)} is not there")
        return
    if find_spec(PEER) is None:
        print(f"bench_footprints: rows of {PEER} are left out, because it is not installed: pip install {PEER}")
    header = ["one thread", "mean IoU", "median", "vertices", "right", "invalid", "overlaps", "s per 1,000"]
    sets = {f"at 0.3 m, {name} edges": made_up(folder, noise) for name, noise in NOISE.items()}
    for name, cases in {**sets, "at 0.2 m as the model sees them": predicted(folder)}.items():
        count = sum(len(np.unique(case.labels)) - 1 for case in cases)
        rows = [[way, *measured(make, cases)] for way, make in WAYS.items()]
        table(f"{count:,} buildings {name}, beside the true outlines", header, rows)


if __name__ == "__main__":
    main(*sys.argv[1:])
