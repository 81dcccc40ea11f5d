"""The task polygons: how well two layers of polygons agree, by their exact shapes, in metres.

It knows features; which are alike, and how far outlines are apart, stands elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from geoseg.errors import EvaluationError
from geoseg.evaluation.confidences import UNSCORED
from geoseg.evaluation.features import Features, areal, read_features
from geoseg.evaluation.inputs import EvaluationInput
from geoseg.evaluation.metric import metric_features
from geoseg.evaluation.object_classes import Classed, compare_classes
from geoseg.evaluation.object_scores import ObjectScores, score_objects
from geoseg.evaluation.overlaps import Floats, Integers, Overlaps
from geoseg.evaluation.report import Table
from geoseg.evaluation.shapes import Shapes, hausdorff_distances, polis_distances, rotations
from geoseg.options import EvaluationOptions
from geoseg.vector import Region

BATCH = 100_000
"""Pairs of polygons that are cut with each other at once."""


@dataclass(frozen=True, eq=False)
class PolygonScores:
    """Scores of a layer of polygons.

    Attributes
    ----------
    objects : ObjectScores
        Pairs, precision, recall and average precision, by exact shapes.
    unit : str
        Of lengths, ``"m"`` or ``"px"``.
    polis, hausdorff : NDArray
        float64, shape (pair,): how far the outlines of each pair are apart.
    rotation : NDArray
        float64, shape (pair,): degrees from 0 to 45, as `rotations` has them.
    areas : NDArray
        float64, shape (pair, 2): true and predicted area.
    vertices : NDArray
        int64, shape (pair, 2): true and predicted number of vertices.
    totals : NDArray
        float64, shape (2,): area of all true and of all predicted polygons.
    invalid : (int, int)
        True and predicted features that were not valid, and repaired.
    notes : tuple of str
        What a person should know.
    """

    objects: ObjectScores
    unit: str
    polis: Floats
    hausdorff: Floats
    rotation: Floats
    areas: Floats
    vertices: Integers
    totals: Floats
    invalid: tuple[int, int]
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """Every number by name."""
        true, predicted = self.areas.sum(axis=0).tolist()
        corners = self.vertices.sum(axis=0).tolist()
        return self.objects.summary() | {
            "length_unit": self.unit,
            "polis": _mean(self.polis),
            "polis_median": _median(self.polis),
            "hausdorff": _mean(self.hausdorff),
            "hausdorff_median": _median(self.hausdorff),
            "rotation": _mean(self.rotation),
            "rotation_median": _median(self.rotation),
            "area_bias": predicted / true - 1 if true else math.nan,
            "area_difference": _mean(self.areas[:, 1] - self.areas[:, 0]),
            "true_area": self.totals[0],
            "predicted_area": self.totals[1],
            "true_vertices": _mean(self.vertices[:, 0]),
            "predicted_vertices": _mean(self.vertices[:, 1]),
            "vertex_ratio": corners[1] / corners[0] if corners[0] else math.nan,
            "true_invalid": self.invalid[0],
            "predicted_invalid": self.invalid[1],
        }

    def tables(self) -> list[Table]:
        """The shapes of pairs, after the objects."""
        summary = self.summary()
        units = {"length": self.unit, "area": self.objects.unit}
        rows = tuple((label.format(**units), summary[key]) for key, label in LABELS.items())
        first, *others = self.objects.tables()
        return [first, Table("shapes of pairs", ("", ""), rows), *others]


LABELS = {
    "polis": "PoLiS, mean, {length}",
    "polis_median": "PoLiS, median, {length}",
    "hausdorff": "Hausdorff, mean, {length}",
    "hausdorff_median": "Hausdorff, median, {length}",
    "rotation": "rotation, mean, degrees",
    "rotation_median": "rotation, median, degrees",
    "area_bias": "area, predicted / true - 1",
    "area_difference": "area, mean difference, {area}",
    "true_vertices": "vertices, mean, true",
    "predicted_vertices": "vertices, mean, predicted",
    "vertex_ratio": "vertices, predicted / true",
    "true_area": "area of all, true, {area}",
    "predicted_area": "area of all, predicted, {area}",
    "true_invalid": "invalid geometries, true",
    "predicted_invalid": "invalid geometries, predicted",
}
"""What measures are called in the table."""


def evaluate_layers(
    truth: EvaluationInput, prediction: EvaluationInput, settings: EvaluationOptions, region: Region | None = None
) -> PolygonScores:
    """Evaluate a layer of polygons.

    Parameters
    ----------
    truth, prediction : EvaluationInput
        With features.
    settings : EvaluationOptions
        Options.
    region : Region, optional
        What counts; polygons are cut to it on both sides.

    Raises
    ------
    EvaluationError
        An input has no features, or they cannot be compared.
    """
    if settings.ignore:
        raise EvaluationError(f"features of {truth.name} cannot be ignored; leave them out, or choose by --classes")
    one, other = metric_features(read_layer(truth, settings), read_layer(prediction, settings))
    one, other = cut_features(one, region), cut_features(other, region)
    overlaps = overlap_shapes(one.shapes, other.shapes)
    classed = (
        Classed(truth, overlaps.true_areas, one.classes, one.names, one.worded),
        Classed(prediction, overlaps.found_areas, other.classes, other.names, other.worded),
    )
    judged, notes = compare_classes(overlaps, classed, other.scores, settings)
    length, area = ("px", "px") if one.crs.is_engineering else ("m", "m2")
    trues, found = one.shapes[judged.overlaps.trues - 1], other.shapes[judged.overlaps.found - 1]
    objects = score_objects(judged, _area_iou(trues, found), settings.sizes, area)
    if other.scores is None:
        notes.append(UNSCORED)
    first, second = judged.overlaps.trues[objects.first] - 1, judged.overlaps.found[objects.second] - 1
    pairs = one.shapes[first], other.shapes[second]
    return PolygonScores(
        objects,
        length,
        polis_distances(*pairs),
        hausdorff_distances(*pairs),
        rotations(*pairs),
        np.stack([shapely.area(side) for side in pairs], axis=1),
        np.stack([one.vertices[first], other.vertices[second]], axis=1),
        np.array([shapely.area(side).sum() for side in (trues, found)]),
        (one.invalid, other.invalid),
        tuple(notes),
    )


def overlap_shapes(trues: Shapes, found: Shapes) -> Overlaps:
    """Overlaps of polygons by their exact shapes; the number of each is its position plus 1."""
    second, first = shapely.STRtree(trues).query(found, predicate="intersects")
    shared = _shared_areas(trues, found, first, second)
    real = np.flatnonzero(shared > 0)
    order = real[np.lexsort((second[real], first[real]))]
    return Overlaps(
        trues=np.arange(1, len(trues) + 1),
        found=np.arange(1, len(found) + 1),
        true_areas=shapely.area(trues),
        found_areas=shapely.area(found),
        hidden=np.zeros(len(found)),
        first=first[order],
        second=second[order],
        shared=shared[order],
    )


def read_layer(side: EvaluationInput, settings: EvaluationOptions) -> Features:
    """The features of an input, with the columns that options name."""
    if side.layer is None:
        raise EvaluationError(f"{side.name} has no features; give a vector file, or the task 'instance'")
    return read_features(side.layer, side.role, class_column=settings.class_column, score_column=settings.score_column)


def cut_features(features: Features, region: Region | None) -> Features:
    """What lies in a region."""
    if region is None:
        return features
    outline = region.to_crs(features.crs).geometry
    shapely.prepare(outline)
    near = np.flatnonzero(shapely.intersects(outline, features.shapes))
    kept = features.take(near)
    crossing = np.flatnonzero(~shapely.covers(outline, kept.shapes))
    shapes = kept.shapes.copy()
    shapes[crossing] = areal(shapely.intersection(shapes[crossing], outline))
    return kept.reshaped(shapes).take(~shapely.is_empty(shapes))


def _area_iou(trues: Shapes, found: Shapes) -> float:
    """Intersection over union of what all polygons of either side cover."""
    one, other = _united(trues), _united(found)
    both = overlap_shapes(one, other).shared.sum()
    either = shapely.area(one).sum() + shapely.area(other).sum() - both
    return float(both / either) if either else math.nan


def _united(shapes: Shapes) -> Shapes:
    """Shapes that share no area and cover the same: only those that lie over each other become one."""
    first, second = shapely.STRtree(shapes).query(shapes, predicate="intersects")
    first, second = first[first < second], second[first < second]
    crossing = _shared_areas(shapes, shapes, first, second) > 0
    links = csr_matrix((crossing[crossing], (first[crossing], second[crossing])), (len(shapes), len(shapes)))
    _, groups = connected_components(links, directed=False)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)
    united = [shapes[some[0]] if len(some) == 1 else shapely.union_all(shapes[some]) for some in members if len(some)]
    return np.array(united, object)


def _shared_areas(one: Shapes, other: Shapes, first: Integers, second: Integers) -> Floats:
    """What pairs of polygons, told by position, share."""
    shared = np.empty(len(first))
    for start in range(0, len(first), BATCH):
        some = slice(start, start + BATCH)
        shared[some] = shapely.area(shapely.intersection(one[first[some]], other[second[some]]))
    return shared


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def _median(values: Any) -> float:
    return float(np.median(values)) if len(values) else math.nan
