"""A model that gives every pixel a probability of every class, and one look at its output.

It knows tensors and a spec, not where the network comes from; an adapter hands it a callable.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.errors import GeosegWarning, ModelError
from geoseg.models.background import background_of, scored_classes
from geoseg.models.crf import Refiner
from geoseg.models.running import Runner
from geoseg.models.spec import Activation, ModelSpec

SLACK = 1e-3
"""How far outside 0 to 1 rounding may take a probability."""

APART = 0.01
"""From which mean distance to 1 on the sums of a pixel's probabilities are not those of classes that exclude others."""


TRIALS = 2
"""Batches by whose scores a mistaken activation is seen: one of zeros, with scores all alike, and another."""


class SemanticModel:
    """See `geoseg.models.Model`.

    Parameters
    ----------
    runner : Runner
        Its network maps scaled pixels to scores, float32 (n, class, y, x).
    """

    def __init__(self, runner: Runner) -> None:
        self.spec, self.device, self._runner = runner.spec, runner.device, runner
        self._check = ScoreCheck(runner.spec)
        refine = self.spec.refine
        self._refiner = None if refine is None else Refiner(refine, self.spec, runner.device)

    def score(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """See `geoseg.models.Model.score`."""
        with torch.inference_mode():
            scaled = self._runner.scale(pixels, mask)
            scores = self._runner.run(scaled)
            self._check(scores, scaled)
            floats: torch.Tensor = scores.float()
            if self._refiner is None:
                return floats
            return self._refiner(floats, scaled, torch.tensor(mask, device=floats.device))

    def predict(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """See `geoseg.models.Model.predict`."""
        with torch.inference_mode():
            probabilities = activate(self.score(pixels, mask).contiguous(), self.spec.activation)
            if not torch.isfinite(probabilities.sum()):
                raise not_finite(self.spec)
        return probabilities


def activate(scores: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Turn scores (n, class, y, x) into probabilities."""
    if activation == "none":
        return scores
    return scores.softmax(1) if activation == "softmax" else scores.sigmoid()


def choose(spec: ModelSpec, probabilities: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Label the pixels of a tile that is not blended.

    Parameters
    ----------
    spec : ModelSpec
        The model's.
    probabilities : torch.Tensor
        float32, shape (class, y, x).

    Returns
    -------
    tuple of torch.Tensor
        Positions among the spec's classes, int64 (y, x), and their probabilities, float32 (y, x).
    """
    scored = scored_classes(spec, len(probabilities)) or ()
    best, first = probabilities.max(0)
    if spec.temperature is not None:
        powers = probabilities ** (1 / spec.temperature)
        best = powers.amax(0) / powers.sum(0)
    labels = torch.tensor([spec.classes.index(item) for item in scored], device=first.device)[first]
    background = background_of(spec, scored)
    if background is None:
        return labels, best
    is_below = best <= background[1]
    return labels.masked_fill(is_below, spec.classes.index(background[0])), torch.where(is_below, 1 - best, best)


class ScoreCheck:
    """Compares what a network gives with what its spec promises.

    A network may answer one batch otherwise than another, and loops rely on shapes: type, shape and range of each are
    looked at, and of the first ones whether scores and activation go together.

    Parameters
    ----------
    spec : ModelSpec
        The model's.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self._spec, self._trials, self._known = spec, TRIALS, False
        self._count = spec.score_count

    def __call__(self, scores: Any, scaled: torch.Tensor) -> None:
        """Say in one sentence why scores of scaled pixels (n, band, y, x) are not what was promised.

        Raises
        ------
        ModelError
            They are no tensor of floating point numbers, of shape (n, class, y, x), or no probabilities where these
            are promised.
        """
        expected = (scaled.shape[0], self._count, *scaled.shape[2:])
        _check_shape(self._spec, scores, expected)
        if self._known and scores.shape[1] != self._count:
            raise _misshapen(self._spec, tuple(scores.shape), expected, "it must score the same classes in every tile")
        self._count, self._known = scores.shape[1], True
        if self._spec.activation == "none":
            _check_range(self._spec, scores)
        if self._trials:
            _warn_of_shares(self._spec, scores)
            self._trials -= 1


def _check_shape(spec: ModelSpec, scores: Any, expected: tuple[int, ...]) -> None:
    """Refuse what is no tensor of floating point numbers of a shape; background may go without scores of its own."""
    if not isinstance(scores, torch.Tensor):
        raise ModelError(
            f"model '{spec.name}' returned a {type(scores).__name__} instead of a tensor; "
            "wrap it so that it returns scores of shape (n, class, y, x)."
        )
    found = tuple(scores.shape)
    if scores.is_complex():
        raise ModelError(f"model '{spec.name}' returned complex numbers; return real scores, such as scores.abs().")
    if not scores.is_floating_point():
        raise ModelError(
            f"model '{spec.name}' returned whole numbers ({str(scores.dtype).removeprefix('torch.')}), as the classes "
            "of an argmax are, where scores are expected; export it without its last step."
        )
    if len(found) != 4 or found[0] != expected[0]:
        raise _misshapen(spec, found, expected, "it must return scores of shape (n, class, y, x)")
    if found != expected and found[1:] == (*expected[2:], expected[1]):
        raise _misshapen(spec, found, expected, "move its classes before rows and columns, by permute(0, 3, 1, 2)")
    if scored_classes(spec, found[1]) is None:
        raise _misshapen(spec, found, expected, _class_remedy(spec, found[1]))
    if found[2:] != expected[2:]:
        raise _misshapen(
            spec, found, expected, "let the network resample its scores to the size of its input, or export it so"
        )


def _class_remedy(spec: ModelSpec, count: int) -> str:
    """What to do about a network that scores another number of classes than its entry describes."""
    if count == 1:
        return (
            "a network of one score tells one class from background: describe that class, or it and one named "
            "'background', and set geoseg:activation in its entry to sigmoid"
        )
    return f"describe {count} classes in its entry, or use weights of {spec.score_count} classes"


def _check_range(spec: ModelSpec, scores: torch.Tensor) -> None:
    """Refuse scores that are said to be probabilities and are not."""
    lowest, highest = (float(value) for value in scores.float().aminmax())
    if lowest < -SLACK or highest > 1 + SLACK:
        raise ModelError(
            f"model '{spec.name}' has the activation 'none' but gave values from {lowest:.3g} to {highest:.3g}, which "
            "are not probabilities; set geoseg:activation in its entry to softmax or sigmoid."
        )


def _warn_of_shares(spec: ModelSpec, scores: torch.Tensor) -> None:
    """Say that scores and activation do not go together.

    A softmax of probabilities makes every class about as likely, a sigmoid brings everything above one half, and of
    probabilities that do not exclude each other the largest need not be large.
    """
    floats = scores.float()
    lowest, highest = (float(value) for value in floats.aminmax())
    sums = floats.sum(1)
    has_several, are_shares = floats.shape[1] > 1, bool((floats >= -SLACK).all() and ((sums - 1).abs() < SLACK).all())
    if spec.activation == "sigmoid" and 0 <= lowest < highest <= 1:
        _warn(
            f"model '{spec.name}' gives values from {lowest:.3g} to {highest:.3g}, as probabilities are, and its "
            "activation sigmoid is meant for logits: each becomes 0.5 or more; set geoseg:activation in its entry to "
            "none."
        )
    if spec.activation == "softmax" and has_several and are_shares:
        _warn(
            f"model '{spec.name}' gives probabilities (those of each pixel sum to 1), and its activation softmax is "
            "meant for logits: confidence will be too low; set geoseg:activation in its entry to none."
        )
    is_exclusive = spec.task == "semantic-segmentation" and spec.activation == "none" and spec.threshold is None
    if is_exclusive and has_several and float((sums - 1).abs().mean()) > APART:
        _warn(
            f"model '{spec.name}' gives probabilities that do not sum to 1 (from {float(sums.min()):.3g} to "
            f"{float(sums.max()):.3g} a pixel), as those of classes that do not exclude each other, and each pixel "
            "gets the largest, however small; set geoseg:threshold in its entry, such as 0.5, if a pixel may belong to "
            "none."
        )


def _warn(sentence: str) -> None:
    warnings.warn(sentence, GeosegWarning, stacklevel=5)


def not_finite(spec: ModelSpec) -> ModelError:
    """Say what to do about scores that have no probability."""
    return ModelError(
        f"model '{spec.name}' gave values that are not finite (NaN or infinite); "
        "check that its scalings fit the raster's digital numbers, and its weights."
    )


def _misshapen(spec: ModelSpec, found: tuple[int, ...], expected: tuple[int, ...], remedy: str) -> ModelError:
    return ModelError(f"model '{spec.name}' returned shape {found} where {expected} is expected; {remedy}.")
