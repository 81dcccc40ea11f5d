"""What the report shows of results is measured while they are written, so that nothing large is read a second time.

Files in the state of a run keep it, with size and time of the results that it is about; where it is lost, damaged or of
other results, they are measured when the report is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geoseg.errors import DamagedError, ReportWarning
from geoseg.outlines import OutlinePlan
from geoseg.raster.options import configured
from geoseg.report.areas import class_areas
from geoseg.report.features import ClassFeatures, FeatureSource, Outlines, count_features, smallest_of_largest
from geoseg.report.framing import Frame
from geoseg.report.pictures import Picture, read_confidence
from geoseg.report.record import RunRecord, read_record
from geoseg.report.shapes import Limits, Shapes, read_shapes
from geoseg.store.arrays import read_arrays, write_arrays
from geoseg.thumbnails import PIXELS, SIDE

LIMITS = Limits(count=20_000, vertices=250_000)
"""Polygons of the report's map: about a megabyte, and drawn at once."""

Arrays = Mapping[str, NDArray[Any]]


def geobox_of(record: RunRecord) -> GeoBox:
    """The grid of a run's rasters."""
    height, width = record.raster["shape"]
    crs = record.raster["crs"]
    return GeoBox((height, width), Affine(*record.raster["transform"]), None if crs is None else CRS(crs))


def coarse(frame: Frame, side: int, pixels: float) -> Frame:
    """The frame of confidence, beside one of such limits."""
    return Frame.of(frame.raster, side=side // 2, pixels=pixels / 4)


@configured()
def keep_measures(folder: Path, *_: object) -> None:
    """Measure areas and confidence once labels are written: of a large raster that takes longer than all else here.

    Parameters
    ----------
    folder : Path
        The run's folder.
    *_
        What has to be done before.
    """
    record = read_record(folder)
    frame = Frame(geobox_of(record))
    areas, confidence = class_areas(record.labels, frame), find_confidence(record, coarse(frame, SIDE, PIXELS))
    columns = np.array([[value, item.pixels, item.area] for value, item in areas.items()]).reshape(-1, 3)
    arrays = {"areas": columns}
    if confidence is not None:
        arrays |= dict(zip(("confidence", "mask"), confidence, strict=True))
    _keep(record, "measures", arrays, [record.labels])


def kept_measures(record: RunRecord) -> Arrays:
    """What `keep_measures` has left of this very label raster; nothing where it has not, or where it is damaged."""
    return _kept(record, "measures", record.labels)


def find_confidence(record: RunRecord, frame: Frame) -> tuple[Picture, NDArray[np.bool_]] | None:
    """Mean confidence; None where the state of the run has none, or is damaged."""
    try:
        return read_confidence(record, frame)
    except DamagedError as error:
        warnings.warn(ReportWarning(f"the report of {record.path} lacks the confidence, because {error}"), stacklevel=3)
        return None


def measure_features(source: FeatureSource, frame: Frame, limits: Limits) -> tuple[dict[int, ClassFeatures], Shapes]:
    """Count polygons by the value of their class, and choose the largest.

    Parameters
    ----------
    source : FeatureFile or Outlines
        Where they are.
    frame : Frame
        The picture on which they are drawn.
    limits : Limits
        How many of them.
    """
    counted = count_features(source)
    sizes = np.sum([item.sizes for item in counted.values()], axis=0) if counted else np.zeros(1, np.int64)
    return counted, read_shapes(source, frame, limits, smallest_of_largest(sizes, limits.count))


@configured()
def measure_outlines(plan: OutlinePlan, folder: Path, *_: object) -> Arrays:
    """Measure polygons for the report while others write them to files.

    Parameters
    ----------
    plan : OutlinePlan
        Whose polygons are all on disk.
    folder : Path
        The run's folder.
    *_
        What has to be done before.

    Returns
    -------
    dict of str to array
        For `keep_features`; empty where there are none, and where they are straightened while they are written, which
        takes longer than to read them once more.
    """
    if plan.tolerance is not None:
        return {}
    frame = Frame.of(geobox_of(read_record(folder)), side=SIDE, pixels=PIXELS)
    counted, shapes = measure_features(Outlines(plan), frame, LIMITS)
    if not counted:
        return {}
    wkb = shapely.to_wkb(shapes.polygons)
    return {
        "of": _identity(frame, LIMITS),
        "classes": np.array([(value, *astuple(item)[:-1]) for value, item in counted.items()]),
        "sizes": np.array([item.sizes for item in counted.values()]),
        "wkb": np.frombuffer(b"".join(wkb), np.uint8),
        "ends": np.cumsum([len(item) for item in wkb], dtype=np.int64),
        **{f"column {name}": values for name, values in shapes.columns.items()},
    }


def keep_features(folder: Path, files: Sequence[Path], measured: object, *_: object) -> None:
    """Keep what was measured of polygons once they are in files.

    Parameters
    ----------
    folder : Path
        The run's folder.
    files : sequence of Path
        All of them hold these polygons.
    measured : dict of str to array
        By `measure_outlines`; where it has failed, nothing is kept.
    *_
        What has to be done before.
    """
    if isinstance(measured, Mapping) and measured:
        _keep(read_record(folder), "features", measured, files)


def kept_features(record: RunRecord, frame: Frame, limits: Limits) -> tuple[dict[int, ClassFeatures], Shapes] | None:
    """What `keep_features` has left of this very file; None where it has not, or for another picture."""
    kept = {} if record.features is None else _kept(record, "features", record.features)
    if not kept or not np.array_equal(kept["of"], _identity(frame, limits)):
        return None
    names = [item.name for item in fields(ClassFeatures)][:-1]
    counted = {}
    for (value, *numbers), sizes in zip(kept["classes"].tolist(), kept["sizes"], strict=True):
        item = ClassFeatures(**dict(zip(names, numbers, strict=True)), sizes=sizes)
        item.count, item.objects = int(item.count), int(item.objects)
        counted[int(value)] = item
    wkb = np.array([part.tobytes() for part in np.split(kept["wkb"], kept["ends"][:-1])], object)
    columns = {name.removeprefix("column "): values for name, values in kept.items() if name.startswith("column ")}
    return counted, Shapes(shapely.from_wkb(wkb), columns)


def _identity(frame: Frame, limits: Limits) -> NDArray[np.int64]:
    """What decides which polygons of a run are chosen, and how finely they are drawn."""
    return np.array([frame.factor, limits.count, limits.vertices])


def _keep(record: RunRecord, name: str, arrays: Arrays, results: Sequence[Path]) -> None:
    """Keep arrays about results that hold the same."""
    states = {f"state of {path.name}": _state_of(path) for path in results}
    write_arrays(record.folder.state / f"{name}.npz", record.folder.state, {**arrays, **states})


def _kept(record: RunRecord, name: str, result: Path) -> Arrays:
    """Arrays about this very result; nothing where there are none, or damaged ones."""
    try:
        kept = read_arrays(record.folder.state / f"{name}.npz", None)
        return kept if np.array_equal(kept[f"state of {result.name}"], _state_of(result)) else {}
    except (DamagedError, OSError, LookupError):
        return {}


def _state_of(path: Path) -> NDArray[np.int64]:
    """Size and time of change of a file."""
    status = path.stat()
    return np.array([status.st_size, status.st_mtime_ns])
