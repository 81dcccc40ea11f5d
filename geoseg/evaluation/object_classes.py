"""Classes of objects in both inputs: which objects are evaluated, and which may be a pair.

It knows values and names of classes; where objects lie is not its matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from geoseg.errors import EvaluationError
from geoseg.evaluation.classes import IGNORE
from geoseg.evaluation.coco import ObjectAttributes
from geoseg.evaluation.features import NO_CLASS
from geoseg.evaluation.inputs import EvaluationInput
from geoseg.evaluation.label_sources import check_words
from geoseg.evaluation.naming import PREDICTION, TRUTH, Naming
from geoseg.evaluation.object_scores import ComparedObjects
from geoseg.evaluation.overlaps import Bools, Floats, Integers, Overlaps
from geoseg.evaluation.semantic_maps import unique_names
from geoseg.options import EvaluationOptions

EVERY = ("objects",)
"""The name of the only class where there are none."""


@dataclass(frozen=True, eq=False)
class Classed:
    """Objects of a side, as far as their classes go.

    Attributes
    ----------
    side : EvaluationInput
        Where they come from, for messages.
    sizes : NDArray
        float64, shape (object,): areas, in the unit of the sizes.
    values : NDArray or None
        int64, shape (object,): values of classes, -1 = none; None where the side has no classes.
    names : dict of int to str
        Names of the values.
    worded : bool
        Whether the values mean nothing without their names.
    """

    side: EvaluationInput
    sizes: Floats
    values: Integers | None = None
    names: dict[int, str] = field(default_factory=dict)
    worded: bool = False


def compare_classes(
    overlaps: Overlaps, sides: tuple[Classed, Classed], scores: Floats | None, settings: EvaluationOptions
) -> tuple[ComparedObjects, list[str]]:
    """Sort objects by their classes, where both sides have some, and choose those that are evaluated.

    Parameters
    ----------
    overlaps : Overlaps
        Of all objects.
    sides : (Classed, Classed)
        Truth and prediction, in the order of the overlaps.
    scores : NDArray, optional
        float64, shape (predicted,): how sure each is.
    settings : EvaluationOptions
        Options.

    Returns
    -------
    judged : ComparedObjects
        The objects.
    notes : list of str
        What a person should know.

    Raises
    ------
    EvaluationError
        Classes were asked for, and neither side has any, or they cannot be told to be alike.
    """
    notes: list[str] = []
    indices, names = _indices(sides[TRUTH], sides[PREDICTION], settings, notes)
    kept = [index != IGNORE for index in indices]
    lost = sum(int(np.count_nonzero(~side)) for side in kept)
    if lost:
        notes.append(f"{lost:,} objects of other classes, or of none, are left out")
    objects = [
        ObjectAttributes(side.sizes[chosen], index[chosen])
        for side, chosen, index in zip(sides, kept, indices, strict=True)
    ]
    chosen_scores = None if scores is None else scores[kept[PREDICTION]]
    return ComparedObjects(overlaps.among(*kept), objects[TRUTH], objects[PREDICTION], chosen_scores, names), notes


def _indices(
    truth: Classed, prediction: Classed, settings: EvaluationOptions, notes: list[str]
) -> tuple[list[Integers], tuple[str, ...]]:
    """Class index of each object of both sides, 255 = not evaluated, and the names of the classes."""
    both = (truth, prediction)
    alone = [np.zeros(len(side.sizes), np.int64) for side in both]
    if all(side.values is None for side in both):
        if settings.classes is not None:
            raise EvaluationError(
                f"neither {truth.side.name} nor {prediction.side.name} has classes of objects; omit --classes"
            )
        return alone, EVERY
    naming = Naming(truth.names, prediction.names, settings.classes)
    notes.extend(naming.notes if all(side.values is not None for side in both) else ())
    found = [_placed(naming, number, side) for number, side in enumerate(both)]
    order = [index for index in naming.in_order() if not naming.is_other(index)]
    if truth.values is None or prediction.values is None:
        if settings.classes is None:
            return alone, EVERY
        wanted = np.isin(np.arange(IGNORE + 1), order)
        return [_chosen(side, index, wanted) for side, index in zip(both, found, strict=True)], EVERY
    if settings.classes is not None:
        check_words(naming, truth.side, prediction.side, [side.worded for side in both])
    elif not _share(naming, truth, prediction):
        notes.append("the two inputs have no class in common, so objects are compared without classes")
        return alone, EVERY
    places = np.full(IGNORE + 1, IGNORE, np.int64)
    places[order] = np.arange(len(order))
    return [places[index] for index in found], unique_names(naming, order)


def _placed(naming: Naming, number: int, side: Classed) -> Integers:
    """Indices of classes as the naming gives them out."""
    if side.values is None:
        return np.full(len(side.sizes), IGNORE, np.int64)
    return naming.indices(number, side.values, side.values != NO_CLASS).astype(np.int64)


def _chosen(side: Classed, index: Integers, wanted: Bools) -> Integers:
    """One class for what was asked for of a side that has classes, and for everything of one that has none."""
    if side.values is None:
        return np.zeros(len(index), np.int64)
    return np.where(wanted[index], 0, IGNORE)


def _share(naming: Naming, truth: Classed, prediction: Classed) -> bool:
    """Whether the sides have a class in common; they have when one of them has no object."""
    if any(side.worded for side in (truth, prediction)) and not naming.by_name:
        return False
    values = [
        set() if side.values is None else set(np.unique(side.values[side.values != NO_CLASS]).tolist())
        for side in (truth, prediction)
    ]
    return not (values[TRUTH] and values[PREDICTION]) or naming.share(values[TRUTH], values[PREDICTION])
