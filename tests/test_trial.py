"""One made-up tile through models of each task: what is said of it, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoseg.errors import ModelError
from geoseg.models import Band, ClassSpec, Detections, ModelSpec, wrap
from geoseg.models.trial import try_model

SPEC = ModelSpec(
    name="small",
    task="semantic-segmentation",
    bands=(Band("1"), Band("2")),
    classes=(ClassSpec(0, "land"), ClassSpec(1, "water"), ClassSpec(2, "house", isthing=True)),
    tile_size=40,
    multiple=16,
    activation="none",
)


def quarters(pixels: torch.Tensor) -> torch.Tensor:
    """The left quarter is water for sure, the rest is land."""
    scores = torch.zeros(len(pixels), 3, *pixels.shape[2:])
    is_water = torch.arange(pixels.shape[3]) < pixels.shape[3] // 4
    scores[:, 0], scores[:, 1] = ~is_water, is_water
    return scores


def squares(pixels: torch.Tensor, *_prompts: object) -> list[Detections]:
    """Two houses and one faint lake in each tile."""
    masks = np.zeros((3, *pixels.shape[2:]), np.bool_)
    masks[:, :4, :4] = True
    return [Detections.of(masks, [2, 2, 1], [0.9, 0.8, 0.1])] * len(pixels)


def test_a_semantic_model_gives_shares_of_its_classes() -> None:
    tried = try_model(wrap(quarters, SPEC))
    assert tried.size == 48  # the next multiple of 16
    assert tried.result == "probabilities of 3 classes (land 75%, water 25%)"
    assert 0 < tried.seconds < 60


def test_an_instance_model_gives_objects_of_its_classes() -> None:
    spec = replace(SPEC, task="instance-segmentation")
    assert try_model(wrap(squares, spec)).result == "2 objects with a score of at least 0.5 (house 2)"
    assert try_model(wrap(squares, replace(spec, min_score=0.95)), size=16).result == (
        "0 objects with a score of at least 0.95"
    )


def test_a_panoptic_model_gives_both() -> None:
    model = wrap(lambda pixels: (quarters(pixels), squares(pixels)), replace(SPEC, task="panoptic-segmentation"))
    assert try_model(model).result == (
        "scores of 2 classes of stuff, and 2 objects with a score of at least 0.5 (house 2)"
    )


def test_a_model_that_gives_more_classes_than_its_entry_is_refused() -> None:
    with pytest.raises(ModelError, match="3 classes"):
        try_model(wrap(quarters, replace(SPEC, classes=SPEC.classes[:2])))
    with pytest.raises(ModelError, match="objects of class 2"):
        try_model(wrap(squares, replace(SPEC, task="instance-segmentation", classes=SPEC.classes[:2])))


class Unchecked:
    """A model that looks at nothing it gives."""

    spec = SPEC

    def predict(self, pixels: np.ndarray, _mask: np.ndarray) -> torch.Tensor:
        return torch.zeros(1, 3, *pixels.shape[2:])[..., 1:]


def test_probabilities_of_another_size_are_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \(1, 3, 48, 47\) where its entry means \(1, 3, 48, 48\)"):
        try_model(Unchecked())
