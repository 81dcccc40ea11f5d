"""Everything a report shows that has to be read from results: pictures, areas, polygons, confidence.

It gathers; how each is read stands beside it, and how it looks is the page's matter.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import GeosegError, ReportError, ReportWarning
from geoseg.models.spec import NODATA
from geoseg.raster import Raster, open_raster, read_legend
from geoseg.report.areas import ClassArea, class_areas
from geoseg.report.features import ClassFeatures, FeatureFile
from geoseg.report.framing import Frame
from geoseg.report.imagery import ImageryPicture, read_imagery, read_seen
from geoseg.report.measures import (
    coarse,
    find_confidence,
    geobox_of,
    kept_features,
    kept_measures,
    measure_features,
)
from geoseg.report.pictures import Picture, read_labels
from geoseg.report.record import LegendClass, RunRecord, spoken
from geoseg.report.shapes import Limits, Shapes
from geoseg.thumbnails import choose_bands

CONFIDENCE_BINS = 20

OpenImagery = Callable[[], Raster | None]
"""Opens the imagery of a run; None where it is not there any more."""

GREY = "#808080"
"""Colour of a class without one."""


@dataclass(frozen=True)
class Findings:
    """What was found in a run folder.

    Attributes
    ----------
    frame : Frame
        The grid of the labels' picture.
    labels : uint8 (y, x)
        255 = nodata.
    areas : dict
        By label, nodata too.
    features : dict
        By class; empty without a polygon file that can be read.
    shapes : Shapes or None
        The largest polygons, in px of the frame.
    imagery : ImageryPicture or None
        On the frame; None where the imagery is not there any more.
    confidence : (Frame, uint8 (y, x), bool (y, x)) or None
        A coarser picture of it, and where there is any.
    """

    frame: Frame
    labels: Picture
    areas: dict[int, ClassArea]
    features: dict[int, ClassFeatures]
    shapes: Shapes | None
    imagery: ImageryPicture | None
    confidence: tuple[Frame, Picture, NDArray[np.bool_]] | None

    @property
    def labelled(self) -> ClassArea:
        """What has a class."""
        found = [area for value, area in self.areas.items() if value != NODATA]
        return ClassArea(sum(item.pixels for item in found), sum(item.area for item in found))

    def confidence_parts(self) -> NDArray[np.float64] | None:
        """Parts of the picture by confidence, from 0 to 1 in `CONFIDENCE_BINS` steps; None without confidence."""
        if self.confidence is None or not self.confidence[2].any():
            return None
        _, values, mask = self.confidence
        counts, _ = np.histogram(values[mask] / 255, CONFIDENCE_BINS, (0, 1))
        parts: NDArray[np.float64] = counts / counts.sum()
        return parts


def find(record: RunRecord, imagery: OpenImagery, *, side: int, pixels: float, limits: Limits) -> Findings:
    """Read what a report shows.

    Parameters
    ----------
    record : RunRecord
        The run.
    imagery : callable
        Gives its imagery, or None; called where the run folder has no picture of it.
    side, pixels : int
        Largest side and size of pictures, px.
    limits : Limits
        Of the polygons.

    Raises
    ------
    ReportError
        There are no labels.

    Warns
    -----
    ReportWarning
        Something else cannot be read; the report lacks it.
    """
    frame = Frame.of(geobox_of(record), side=side, pixels=pixels)
    labels = read_labels(record, frame)
    features, shapes = find_features(record, frame, limits)
    small, kept = coarse(frame, side, pixels), kept_measures(record)
    has_confidence = "confidence" in kept and kept["confidence"].shape == small.shape
    confidence = (kept["confidence"], kept["mask"]) if has_confidence else find_confidence(record, small)
    areas = {int(value): ClassArea(int(count), float(area)) for value, count, area in kept.get("areas", ())}
    return Findings(
        frame=frame,
        labels=labels,
        areas=areas or class_areas(record.labels, frame),
        features=features,
        shapes=shapes,
        imagery=find_imagery(record, imagery, frame),
        confidence=None if confidence is None else (small, *confidence),
    )


def find_features(record: RunRecord, frame: Frame, limits: Limits) -> tuple[dict[int, ClassFeatures], Shapes | None]:
    """Count the polygons of a run, and read the largest; nothing where no file can be read in parts."""
    if record.features is None:
        return {}, None
    file = FeatureFile(record.features, str(record.workflow.get("layer")))
    try:
        if file.is_readable:
            return kept_features(record, frame, limits) or measure_features(file, frame, limits)
        why = "is too large to be read in parts" if file.is_large else "has tags in place of columns"
        _warn(f"{file.path} {why}, so the report has no polygons; add a .gpkg to features.")
    except (RuntimeError, OSError, ValueError, KeyError) as error:  # pyogrio's and pyarrow's of a damaged file
        cause = " ".join(str(error).split()).rstrip(".")[:160]
        _warn(f"{file.path} cannot be read ({cause}), so the report has no polygons; run the same command again.")
    return {}, None


def find_imagery(record: RunRecord, imagery: OpenImagery, frame: Frame) -> ImageryPicture | None:
    """Read a run's imagery as a picture; None where it is not there any more."""
    if (seen := read_seen(record, frame)) is not None:
        return seen
    raster = imagery()
    if raster is None:
        return None
    if tuple(raster.shape) != tuple(frame.raster.shape):
        _warn(f"the imagery of {record.path} is {raster.shape} px now and its labels are not; the picture lacks it.")
        return None
    common = [band.get("common_name") for band in record.model.get("bands") or []]
    return read_imagery(raster, choose_bands(common, raster.bands), frame)


def legend_of(record: RunRecord) -> list[LegendClass]:
    """Classes of a run as its label raster names and colours them, in the order of `run.json`; others follow by value.

    Raises
    ------
    ReportError
        There are no labels.
    """
    try:
        legend = read_legend(open_raster(record.labels, bands=[1], require_crs=False))
    except GeosegError as error:
        raise ReportError(f"{record.labels} cannot be read; run the same command again.") from error
    colors = {value: "#{:02x}{:02x}{:02x}".format(*color) for value, color in legend.colors.items()}
    places = {item["value"]: place for place, item in enumerate(record.model.get("classes") or [])}
    shown = sorted(legend.names.items(), key=lambda item: (places.get(item[0], len(places)), item[0]))
    return [LegendClass(value, spoken(name), colors.get(value, GREY)) for value, name in shown]


def _warn(sentence: str) -> None:
    warnings.warn(ReportWarning(sentence), stacklevel=3)
