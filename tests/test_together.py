"""Two models as one: what is stuff, what is a thing, and each with its own bands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoseg.errors import ModelError
from geoseg.models import Band, ClassSpec, Detections, ModelSpec, wrap
from geoseg.models.combining import combine
from geoseg.models.together import Together

COVER = ModelSpec(
    "cover",
    "semantic-segmentation",
    (Band("red"), Band("nir")),
    (ClassSpec(0, "water"), ClassSpec(5, "building"), ClassSpec(2, "grass")),
    resolution=0.5,
    tile_size=256,
    halo=16,
    multiple=8,
    activation="softmax",
)
THINGS = ModelSpec(
    "objects",
    "instance-segmentation",
    (Band("green"), Band("red")),
    (ClassSpec(0, "car"), ClassSpec(1, "building"), ClassSpec(7, "ship")),
    tile_size=320,
    halo=64,
    multiple=12,
    ramp=64,
    min_score=0.6,
)


def test_classes_of_both_are_one_list_and_a_common_name_is_a_thing() -> None:
    spec = combine(COVER, THINGS)
    assert spec.task == "panoptic-segmentation"
    assert [(item.value, item.name, item.isthing) for item in spec.classes] == [
        (0, "water", False),
        (5, "building", True),
        (2, "grass", False),
        (1, "car", True),
        (7, "ship", True),
    ]
    assert [item.name for item in spec.stuff] == ["water", "grass"]
    assert spec.band_names == ["red", "nir", "green"]
    assert (spec.tile_size, spec.halo, spec.multiple, spec.ramp, spec.resolution) == (320, 64, 24, 64, 0.5)


def test_bands_of_one_common_name_are_one_band_whatever_sensors_call_them() -> None:
    sentinel = replace(COVER, bands=(Band("B04", "red"), Band("B08", "nir"), Band("B02", "blue")))
    photo = replace(THINGS, bands=(Band("red", "red"), Band("green", "green"), Band("blue", "blue")))
    spec = combine(sentinel, photo)
    assert spec.band_names == ["B04", "B08", "B02", "green"]
    seen: list[torch.Tensor] = []

    def objects(scaled: torch.Tensor, _prompts: object) -> list[Detections]:
        seen.append(scaled)
        return [Detections.none()]

    pixels = np.random.default_rng(3).integers(0, 9, (1, 4, 8, 8), dtype=np.uint8)
    model = Together(spec, wrap(lambda scaled: scaled, sentinel), wrap(objects, photo))
    model.predict(pixels, np.ones((1, 8, 8), np.bool_))
    np.testing.assert_array_equal(seen[0].numpy(), pixels[:, [0, 3, 2]])


def test_models_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ModelError, match=r"0\.3 m"):
        combine(COVER, replace(THINGS, resolution=0.3))
    with pytest.raises(ModelError, match="'objects' does instance-segmentation"):
        combine(THINGS, COVER)
    many = tuple(ClassSpec(value, f"class {value}") for value in range(254))
    with pytest.raises(ModelError, match="more than 255 classes"):
        combine(replace(COVER, classes=many), THINGS)


def test_stuff_of_coarser_pixels_sees_averages_and_is_interpolated() -> None:
    fine = replace(THINGS, resolution=0.1, halo=24)
    spec = combine(COVER, fine)
    assert (spec.resolution, spec.multiple) == (0.1, 120)
    assert (spec.tile_size % 120, (2 * spec.halo + 64) % 120) == (0, 0)
    seen: list[torch.Tensor] = []

    def cover(scaled: torch.Tensor) -> torch.Tensor:
        seen.append(scaled)
        return torch.cat([scaled, scaled[:, :1] * 3], 1)

    def objects(scaled: torch.Tensor, _prompts: object) -> list[Detections]:
        assert scaled.shape[2:] == (20, 30)
        return [Detections.none()]

    pixels = np.random.default_rng(3).integers(0, 99, (1, 3, 20, 30), dtype=np.uint8)
    mask = np.ones((1, 20, 30), np.bool_)
    mask[0, :5, :3] = False  # more than half of the first square
    mask[0, 5:7, :5] = False  # less than half of the one below it
    scores, _ = Together(spec, wrap(cover, COVER), wrap(objects, fine)).predict(pixels, mask)
    assert scores.shape == (1, 2, 20, 30)
    means = np.ma.array(pixels[0, 0], mask=~mask[0]).reshape(4, 5, 6, 5).mean((1, 3))
    expected = np.rint(means.filled(0))
    expected[0, 0] = 0
    np.testing.assert_array_equal(seen[0][0, 0].numpy(), expected)
    np.testing.assert_allclose(scores[0, 0, 2::5, 2::5].numpy(), expected, atol=1e-4)


def test_each_model_sees_its_own_bands_and_stuff_alone_is_scored() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 9, (1, 3, 8, 8), dtype=np.uint8)
    seen: list[torch.Tensor] = []

    def cover(scaled: torch.Tensor) -> torch.Tensor:
        return torch.cat([scaled, scaled[:, :1] * 3], 1)

    def objects(scaled: torch.Tensor, _prompts: object) -> list[Detections]:
        seen.append(scaled)
        masks = [np.eye(8, dtype=np.bool_), np.ones((8, 8), np.bool_)]
        return [Detections.of(masks, [1, 2], [0.7, 0.5])]

    model = Together(combine(COVER, THINGS), wrap(cover, COVER), wrap(objects, THINGS))
    scores, found = model.predict(pixels, np.ones((1, 8, 8), np.bool_))
    np.testing.assert_array_equal(scores.numpy(), pixels[:, [0, 0]] * np.array([1, 3])[None, :, None, None])
    np.testing.assert_array_equal(seen[0].numpy(), pixels[:, [2, 0]])
    assert found[0].classes.tolist() == [1]  # the building, as the list of both has it; the ship scores too low
