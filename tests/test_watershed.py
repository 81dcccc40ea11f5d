"""Scores of objects and boundaries to objects: seeds, growth, small ones, and what an entry says of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter, label

from geoseg.errors import ModelError, WorkflowError
from geoseg.models import Band, ClassSpec, ModelSpec, wrap
from geoseg.models.background import with_background
from geoseg.models.separating import BOUNDARY, detect, scoring_spec, separate
from geoseg.models.watershed import Watershed, read_watershed

SPEC = ModelSpec(
    "houses",
    "instance-segmentation",
    (Band("red"),),
    (ClassSpec(1, "house"), ClassSpec(0, "shed")),
    activation="sigmoid",
    min_score=0.0,
    watershed=Watershed(seed_pixels=2, min_pixels=4),
)


def smooth_fields(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of objects and of boundaries, random and smooth."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(2, 48, 40)), (0, 2, 2))
    objects, boundary = (1 / (1 + np.exp(-20 * noise))).astype(np.float32)
    return objects, boundary


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30))
def test_objects_are_connected_parts_of_the_mask_with_one_seed_each(seed: int, seed_pixels: int, least: int) -> None:
    objects, boundary = smooth_fields(seed)
    settings = Watershed(0.5, 0.6, seed_pixels, least)
    found = separate(objects, boundary, settings)
    mask, inside = objects >= 0.5, objects * (1 - boundary)
    seeds, count = label(mask & (inside >= 0.6))
    real = [number for number in range(1, count + 1) if (seeds == number).sum() >= seed_pixels]
    assert not found[~mask].any()
    for number in np.unique(found[found > 0]):
        own = found == number
        assert own.sum() >= least
        assert label(own)[1] == 1
        held = [value for value in real if (seeds[own] == value).any()]
        assert len(held) == 1
        assert (found[seeds == held[0]] == number).all()
    grown = sum(any((found[seeds == value] > 0).any() for value in [item]) for item in real)
    assert grown == len(np.unique(found[found > 0]))


def test_every_pixel_of_a_component_with_a_seed_belongs_to_an_object() -> None:
    objects, boundary = smooth_fields(7)
    found = separate(objects, boundary, Watershed(0.5, 0.6, 1, 1))
    components, count = label(objects >= 0.5)
    for number in range(1, count + 1):
        own = found[components == number]
        assert (own > 0).all() or not own.any()


def test_two_houses_that_share_a_wall_are_two() -> None:
    objects = np.zeros((20, 30), np.float32)
    objects[4:16, 4:26] = 0.9
    boundary = np.zeros_like(objects)
    boundary[:, 13:15] = 0.9
    found = separate(objects, boundary, Watershed())
    (left,), (right,) = np.unique(found[4:16, 4:13]), np.unique(found[4:16, 15:26])
    assert 0 != left != right != 0
    assert (found > 0).sum() == 12 * 22
    assert len(np.unique(separate(objects, np.zeros_like(objects), Watershed()))) == 2


def test_detections_have_class_window_and_mean_probability() -> None:
    scores = np.full((2, 12, 12), 0.1, np.float32)
    scores[0, 2:5, 1:7] = 0.8
    scores[1, 7:11, 6:12] = np.linspace(0.6, 0.9, 24, dtype=np.float32).reshape(4, 6)
    found = detect(scores, np.zeros((12, 12), np.float32), Watershed(0.5, 0.5, 1, 4))
    assert found.classes.tolist() == [0, 1]
    assert found.boxes.tolist() == [[1, 2, 7, 5], [6, 7, 12, 11]]
    np.testing.assert_allclose(found.scores, [0.8, 0.75], atol=1e-6)
    assert all(mask.all() for mask in found.masks)


def test_a_network_that_scores_becomes_one_that_finds() -> None:
    def network(scaled: torch.Tensor) -> torch.Tensor:
        return torch.cat([scaled, -scaled, torch.full_like(scaled, -9)], 1)

    pixels = np.full((2, 1, 16, 16), -5, np.int16)
    pixels[0, 0, 3:9, 3:9] = 5
    first, second = wrap(network, SPEC).predict(pixels, np.ones((2, 16, 16), np.bool_))
    assert first.classes.tolist() == [0, 1]
    assert [int(mask.sum()) for mask in first.masks] == [36, 256 - 36]
    assert second.classes.tolist() == [1]


def test_scores_that_are_no_numbers_are_no_empty_map() -> None:
    model = wrap(lambda scaled: torch.cat([scaled] * 3, 1), SPEC)
    pixels = np.full((1, 1, 8, 8), np.inf, np.float32)
    with pytest.raises(ModelError, match="gave values that are not finite"):
        model.predict(pixels, np.ones((1, 8, 8), np.bool_))


def test_scores_of_another_number_of_channels_are_refused() -> None:
    with pytest.raises(ModelError, match=r"\(1, 2, 8, 8\) where scores of shape \(1, 3, 8, 8\) are expected"):
        wrap(lambda scaled: torch.cat([scaled] * 2, 1), SPEC).predict(
            np.zeros((1, 1, 8, 8), np.uint8), np.ones((1, 8, 8), np.bool_)
        )


def test_the_network_beneath_is_a_semantic_one_with_a_boundary() -> None:
    spec = scoring_spec(SPEC)
    assert (spec.task, spec.activation, spec.watershed) == ("semantic-segmentation", "sigmoid", None)
    assert [(item.value, item.name) for item in spec.classes if not item.implied] == [
        (1, "house"),
        (0, "shed"),
        (2, BOUNDARY),
    ]
    assert spec.score_count == 3
    assert with_background(spec).classes == spec.classes


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"threshold": 0}, "watershed.threshold is 0"),
        ({"seed": "much"}, "watershed.seed is 'much'"),
        ({"min_pixels": 0}, "watershed.min_pixels is 0"),
        ({"seed_pixels": 1.5}, "watershed.seed_pixels is 1.5"),
        ({"seeds": 0.5}, "unknown key 'seeds'; did you mean 'seed"),
        ("deep", "watershed is 'deep'; write some of its keys"),
    ],
)
def test_a_mistake_is_one_sentence(value: object, message: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        read_watershed(value)  # type: ignore[arg-type]
    assert message in str(caught.value)
