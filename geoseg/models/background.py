"""What a pixel is when none of a model's classes is probable enough: binary and multi-label models.

A network of one sigmoid, or of several that do not exclude each other, gives a label only where the largest
probability is above a threshold. The rest is background: a class that the entry describes, or one that is added. It
knows specs, nothing of scores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from geoseg.errors import ModelError, WorkflowError
from geoseg.models.spec import ClassSpec, ModelSpec
from geoseg.probabilities import Background, Unknown

THRESHOLD = 0.5
"""Unless an entry or a person says otherwise."""

NAMES = ("background", "nothing", "none", "other")
"""What background is called."""

ADDED = ClassSpec(0, NAMES[0], "#D9D9D9", "Pixels where no class has a probability above the threshold.", implied=True)
"""Background that no entry describes."""

UNKNOWN = ClassSpec(254, "unknown", "#BDBDBD", "Pixels whose class has a lower confidence than was asked for.")
"""What pixels are that a person wants no class of; its value is the largest that is free."""


def with_background(spec: ModelSpec) -> ModelSpec:
    """Make threshold and background explicit where a model has them, else return the spec as it is.

    A model has a threshold when its activation is sigmoid; when the activation is none and it has one class, or an
    entry or a person gives a threshold, or the entry describes one class more than the network scores. When none of
    its classes is background, one of value 0 is added behind the others.

    Raises
    ------
    ModelError
        There is one class with softmax, a threshold that cannot be used, or no value for background.
    """
    problem = class_problem(spec)
    if problem is not None:
        raise ModelError(f"model '{spec.name}' {problem}.")
    if not _has_threshold(spec):
        return spec
    threshold = THRESHOLD if spec.threshold is None else spec.threshold
    added = () if find_background(spec) else (ADDED,)
    return replace(spec, threshold=threshold, classes=(*spec.classes, *added))


def class_problem(spec: ModelSpec) -> str | None:
    """What is wrong with classes, activation and threshold, and its remedy; None when nothing is."""
    if spec.threshold is not None and not 0 <= spec.threshold <= 1:
        return f"has the threshold {spec.threshold:g}; give a probability from 0 to 1"
    if spec.temperature is not None and not 0 < spec.temperature < math.inf:
        return f"has the temperature {spec.temperature:g}; give a number above 0"
    if spec.temperature is not None and (spec.task == "instance-segmentation" or _has_threshold(spec)):
        return "has a temperature, which is for classes that exclude each other; leave geoseg:temperature out"
    if spec.task == "instance-segmentation":
        return None if spec.threshold is None else "finds objects and has a threshold; leave it out, or use min_score"
    if spec.activation == "softmax" and spec.task == "semantic-segmentation" and len(spec.classes) == 1:
        return (
            "has one class and the activation softmax, which gives every pixel to it; set geoseg:activation to sigmoid "
            "where the network gives a score, to none where it gives a probability"
        )
    if spec.activation == "softmax" and spec.threshold is not None:
        return "has the activation softmax, whose classes leave no pixel over, and a threshold; leave threshold out"
    if _has_threshold(spec) and find_background(spec) is None:
        return _taken(spec)
    return None


def find_background(spec: ModelSpec) -> ClassSpec | None:
    """The class of pixels below the threshold, among those that a pixel may have.

    It is the one that is called so; else the one of value 0, where the entry describes two classes or one more than the
    network scores; else, in the latter case, the first.
    """
    if len(spec.stuff) < 2:
        return None
    named = next((item for item in spec.stuff if _is_named(item)), None)
    if named is not None or not (len(spec.stuff) == 2 or spec.channels is not None):
        return named
    zero = next((item for item in spec.stuff if item.value == ADDED.value), None)
    return spec.stuff[0] if zero is None and spec.channels is not None else zero


def scored_classes(
    spec: ModelSpec, count: int, among: Sequence[ClassSpec] | None = None
) -> tuple[ClassSpec, ...] | None:
    """The classes that so many scores belong to, in the network's order; None when they do not fit the spec.

    Parameters
    ----------
    spec : ModelSpec
        As `with_background` returns it.
    count : int
        Scores of a pixel.
    among : sequence of ClassSpec, optional
        The classes that are scored; all unless given.

    """
    described = tuple(item for item in among or spec.classes if not item.implied)
    background = find_background(spec)
    if count == len(described):
        return described
    rest = tuple(item for item in described if item != background)
    is_sure = background is not None and (_is_named(background) or spec.channels is not None or count == 1)
    return rest if is_sure and count == len(rest) and spec.activation != "softmax" else None


def background_of(spec: ModelSpec, scored: Sequence[ClassSpec]) -> tuple[ClassSpec, float] | None:
    """Background and threshold of a model that scores these classes; None where the largest score always counts.

    Raises
    ------
    ModelError
        A class that is scored has the value that background needs.
    """
    background = find_background(spec)
    if background is None or (spec.threshold is None and background in scored):
        return None
    if background in scored and not _is_named(background):
        raise ModelError(f"model '{spec.name}' {_taken(spec) or 'scores all of its classes'}.")
    return background, THRESHOLD if spec.threshold is None else spec.threshold


def probable_classes(spec: ModelSpec) -> tuple[ClassSpec, ...]:
    """Classes of stuff of which a pixel has a probability; background that no entry describes has none."""
    return tuple(item for item in spec.stuff if not item.implied)


def later_background(spec: ModelSpec) -> Background | None:
    """What stored pixels of a model are labelled with when they are read; None where they have final labels.

    They also have where nobody has said a threshold, and the network's scores decide whether there is one.
    """
    background = None if spec.threshold is None else find_background(spec)
    return None if background is None else Background(background.value, spec.threshold or 0.0)


def with_unknown(spec: ModelSpec, min_confidence: float | None) -> tuple[tuple[ClassSpec, ...], Unknown | None]:
    """The classes that a pixel may have, and how pixels of a lower confidence are found; None where none is asked for.

    Such a pixel has the model's own class that is called unknown, else one more.

    Raises
    ------
    WorkflowError
        The model's classes leave pixels over, it has none of pixels, or no value is free.
    """
    if min_confidence is None:
        return spec.classes, None
    if not spec.stuff:
        raise WorkflowError(
            f"model '{spec.name}' finds objects, and no pixel has a confidence of its class; leave min_confidence out, "
            "or use min_score."
        )
    if (background := find_background(spec)) is not None and spec.threshold is not None:
        raise WorkflowError(
            f"model '{spec.name}' has a threshold, below which pixels are '{background.name}'; leave min_confidence "
            "out, or use threshold."
        )
    own = next((item for item in spec.stuff if item.name.casefold() == UNKNOWN.name), None)
    if own is not None:
        return spec.classes, Unknown(own.value, min_confidence)
    free = set(range(UNKNOWN.value + 1)) - {item.value for item in spec.classes}
    if not free:
        raise WorkflowError(f"model '{spec.name}' has 255 classes, and none is free; leave min_confidence out.")
    added = replace(UNKNOWN, value=max(free))
    return (*spec.classes, added), Unknown(added.value, min_confidence)


def _has_threshold(spec: ModelSpec) -> bool:
    if spec.task == "instance-segmentation" or spec.activation == "softmax":
        return False
    is_binary = spec.task == "semantic-segmentation" and len(spec.classes) == 1
    return spec.activation == "sigmoid" or is_binary or spec.threshold is not None or spec.channels is not None


def _is_named(item: ClassSpec) -> bool:
    return item.implied or is_background_name(item.name)


def is_background_name(name: str) -> bool:
    """Say whether a class is called background, also as ``_background``."""
    return name.strip(" _").casefold() in NAMES


def _taken(spec: ModelSpec) -> str | None:
    """What to do when background needs a value that a scored class has; None when it is free."""
    taken = next((item for item in spec.classes if item.value == ADDED.value), None)
    if taken is None:
        return None
    return (
        f"scores the class '{taken.name}' of value 0, which pixels below the threshold need; give '{taken.name}' "
        f"another value, or name the class of those pixels '{ADDED.name}'"
    )
