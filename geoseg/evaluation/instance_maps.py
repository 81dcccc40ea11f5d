"""The task instance: how well objects are found, from rasters of numbers and from polygons, counted in windows.

It brings inputs onto one grid; what is counted there, and how it is scored, stands elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from odc.geo.geobox import GeoBox

from geoseg.errors import EvaluationError
from geoseg.evaluation.burning import Burnt
from geoseg.evaluation.confidences import UNSCORED, find_scores
from geoseg.evaluation.features import Features, read_features
from geoseg.evaluation.grid import EvaluationGrid, bring_onto, make_evaluation_grid
from geoseg.evaluation.inputs import EvaluationInput
from geoseg.evaluation.object_classes import Classed, compare_classes
from geoseg.evaluation.object_scores import ObjectScores, score_objects
from geoseg.evaluation.objects import (
    ObjectSource,
    PolygonObjects,
    Progress,
    RasterObjects,
    count_labels,
    count_objects,
)
from geoseg.evaluation.overlaps import Floats, Integers
from geoseg.evaluation.polygon_layers import evaluate_layers
from geoseg.evaluation.report import Table
from geoseg.options import EvaluationOptions
from geoseg.raster import Raster, read_legend
from geoseg.vector import Region


@dataclass(frozen=True, eq=False)
class InstanceScores:
    """Scores of a map of objects.

    Attributes
    ----------
    objects : ObjectScores
        All numbers of objects.
    known, compared : int
        Pixels of known truth, and those among them on which the prediction says something.
    notes : tuple of str
        What a person should know.
    """

    objects: ObjectScores
    known: int
    compared: int
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Every number by name."""
        share = self.compared / self.known if self.known else math.nan
        return self.objects.summary() | {"pixels": self.compared, "compared": share}

    def tables(self) -> list[Table]:
        """Those of the objects."""
        return self.objects.tables()


@dataclass(frozen=True, eq=False)
class PlacedObjects:
    """Objects of an input on the grid."""

    side: EvaluationInput
    source: ObjectSource
    features: Features | None
    labels: Raster | None


def evaluate_instances(
    truth: EvaluationInput,
    prediction: EvaluationInput,
    settings: EvaluationOptions,
    region: Region | None = None,
    progress: Progress | None = None,
) -> InstanceScores:
    """Evaluate a map of objects; two vector files are compared by their exact shapes, without any grid.

    Parameters
    ----------
    truth, prediction : EvaluationInput
        With instances or features.
    settings : EvaluationOptions
        Options.
    region : Region, optional
        What counts; objects are cut to it on both sides.
    progress : callable, optional
        Called after each window.

    Raises
    ------
    EvaluationError
        They cannot be compared.
    """
    rasters = [side.instances for side in (truth, prediction) if side.instances is not None]
    if not rasters:
        layers = evaluate_layers(truth, prediction, settings, region)
        return InstanceScores(layers.objects, 0, 0, layers.notes)
    geobox = rasters[0].geobox
    one, other = (place_objects(side, truth, geobox, settings) for side in (truth, prediction))
    grid = make_evaluation_grid(geobox, rasters, region)
    counts = count_objects(one.source, other.source, grid, ignore=_numbers(settings, truth), progress=progress)
    overlaps = counts.overlaps
    scale = 1.0 if grid.pixel_size is None else grid.pixel_size**2
    classed = (
        class_objects(one, overlaps.trues, overlaps.true_areas * scale, grid),
        class_objects(other, overlaps.found, overlaps.found_areas * scale, grid),
    )
    scores, remarks = _scores(other, overlaps.found, settings)
    judged, notes = compare_classes(overlaps, classed, scores, settings)
    unit = "px" if grid.pixel_size is None else "m2"
    objects = score_objects(judged, counts.both / counts.either if counts.either else math.nan, settings.sizes, unit)
    return InstanceScores(objects, counts.known, counts.compared, (*notes, *remarks))


def place_objects(
    side: EvaluationInput, truth: EvaluationInput, geobox: GeoBox, settings: EvaluationOptions
) -> PlacedObjects:
    """Bring the objects of an input onto the grid."""
    if side.instances is None:
        if side.layer is None:
            raise EvaluationError(f"{side.name} has neither an instance raster nor features; give one")
        features = read_features(
            side.layer, side.role, class_column=settings.class_column, score_column=settings.score_column
        )
        return PlacedObjects(side, PolygonObjects(Burnt(features, geobox), len(features)), features, None)
    placed = bring_onto(side.instances, geobox, (side.name, truth.name))
    labels = None if side.is_file or side.labels is None else bring_onto(side.labels, geobox, (side.name, truth.name))
    return PlacedObjects(side, RasterObjects.of(placed), None, labels)


def class_objects(given: PlacedObjects, numbers: Integers, sizes: Floats, grid: EvaluationGrid) -> Classed:
    """What classes the objects of an input have."""
    if given.features is not None:
        values = None if given.features.classes is None else given.features.classes[numbers - 1]
        return Classed(given.side, sizes, values, given.features.names, given.features.worded)
    if given.labels is None:
        return Classed(given.side, sizes)
    values = count_labels(given.source, given.labels, grid, numbers)
    return Classed(given.side, sizes, values, read_legend(given.labels).names)


def _scores(given: PlacedObjects, numbers: Integers, settings: EvaluationOptions) -> tuple[Floats | None, list[str]]:
    """How sure the prediction is of each of its objects, and what a person should know of that."""
    if given.features is None:
        return find_scores(given.side, numbers, settings)
    return (None, [UNSCORED]) if given.features.scores is None else (given.features.scores[numbers - 1], [])


def _numbers(settings: EvaluationOptions, truth: EvaluationInput) -> tuple[int, ...]:
    """Numbers of the truth that stand for unknown pixels."""
    for entry in settings.ignore:
        if not isinstance(entry, int) or truth.instances is None:
            raise EvaluationError(
                f"objects of {truth.name} cannot be ignored by '{entry}'; give numbers of a raster of objects"
            )
    return tuple(int(entry) for entry in settings.ignore)
