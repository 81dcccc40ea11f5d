"""One synthetic tile through an opened model: whether it gives what its entry promises, and how long it takes.

It knows the three kinds of models by their task, not what they are made of.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.errors import GeosegWarning, ModelError
from geoseg.models import trial_prompts
from geoseg.models.background import scored_classes
from geoseg.models.detections import Detections
from geoseg.models.probe import made_up_pixels
from geoseg.models.semantic import choose
from geoseg.models.spec import ModelSpec, Task

SHOWN = 0.01
"""Smaller shares of a tile are not worth a word."""


@dataclass(frozen=True)
class Trial:
    """What one tile took and gave.

    Attributes
    ----------
    size : int
        Side of the tile, px.
    seconds : float
        By the clock.
    result : str
        What came out, for people.
    """

    size: int
    seconds: float
    result: str


def try_model(model: Any, *, size: int | None = None, seed: int = 0) -> Trial:
    """Feed a model one made-up tile and compare what it gives with its spec; one that takes prompts is asked for one.

    Parameters
    ----------
    model : Model, ObjectModel or PanopticModel
        Whose.
    size : int, optional
        Side of the tile, px; the spec's ``tile_size`` by default, rounded up to its ``multiple``.
    seed : int
        Of the made-up pixels.

    Raises
    ------
    ModelError
        When it cannot be run, or gives something else than its entry says.
    """
    spec: ModelSpec = model.spec
    size = -(-(size or spec.tile_size) // spec.multiple) * spec.multiple
    pixels = made_up_pixels(spec, size, np.random.default_rng(seed))[None]
    asked = trial_prompts(spec, size)
    prompts = () if asked is None else ([asked],)
    started = time.perf_counter()
    found = model.predict(pixels, np.ones((1, size, size), np.bool_), *prompts)
    seconds = time.perf_counter() - started
    return Trial(size, seconds, SAYINGS[spec.task](spec, found, size))


def _of_semantic(spec: ModelSpec, probabilities: Any, size: int) -> str:
    count = probabilities.shape[1]
    classes = scored_classes(spec, count)
    _check_shape(spec, probabilities, spec.score_count if classes is None else count, size)
    names = _names(spec, probabilities[0])
    shares = ", ".join(f"{name} {share:.0%}" for name, share in names.items() if share >= SHOWN)
    _warn_of_one(spec, names)
    return f"probabilities of {_counted(count)} ({shares})"


def _of_instances(spec: ModelSpec, found: list[Detections], _size: int) -> str:
    return _objects(spec, found[0])


def _of_panoptic(spec: ModelSpec, found: tuple[Any, list[Detections]], size: int) -> str:
    scores, things = found
    count = scores.shape[1]
    _check_shape(spec, scores, len(scored_classes(spec, count, spec.stuff) or spec.stuff), size)
    return f"scores of {_counted(count)} of stuff, and {_objects(spec, things[0])}"


SAYINGS: dict[Task, Callable[[ModelSpec, Any, int], str]] = {
    "semantic-segmentation": _of_semantic,
    "instance-segmentation": _of_instances,
    "panoptic-segmentation": _of_panoptic,
}
"""What is looked at and said, by task."""


def _check_shape(spec: ModelSpec, scores: Any, classes: int, size: int) -> None:
    expected = (1, classes, size, size)
    if tuple(scores.shape) != expected:
        raise ModelError(
            f"model '{spec.name}' gave scores of shape {tuple(scores.shape)} where its entry means {expected} "
            "(n, class, y, x); correct its classes."
        )


def _counted(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"


def _names(spec: ModelSpec, probabilities: Any) -> dict[str, float]:
    """Names of the classes that a tile is labelled with, most frequent first, and their shares of it."""
    labels = choose(spec, probabilities)[0].flatten().tolist()
    counts = Counter(spec.class_names[label] for label in labels)
    return {name: count / len(labels) for name, count in counts.most_common()}


def _warn_of_one(spec: ModelSpec, shares: dict[str, float]) -> None:
    """Say when noise is one class and nothing else, as it is where scores are misunderstood."""
    if len(shares) == 1:
        (name,) = shares
        warnings.warn(
            f"model '{spec.name}' gives all of a synthetic tile the class '{name}'; if it does so everywhere, check "
            "value_scaling, geoseg:activation and geoseg:threshold in its entry.",
            GeosegWarning,
            stacklevel=4,
        )


def _objects(spec: ModelSpec, found: Detections) -> str:
    counted = Counter(spec.classes[number].name for number in found.classes.tolist()).most_common()
    kinds = f" ({', '.join(f'{name} {count}' for name, count in counted)})" if counted else ""
    return f"{len(found)} objects with a score of at least {spec.min_score:g}{kinds}"
