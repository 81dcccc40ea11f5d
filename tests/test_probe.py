"""Measured halo and cost: known reaches of known networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from geoseg.errors import ModelError
from geoseg.models import Band, ClassSpec, Detections, ModelSpec, Prompts, Scaling, wrap
from geoseg.models.probe import edge_profile, made_up_pixels, measure_cost, measure_edge, measure_half_precision

SPEC = ModelSpec(
    "m",
    "semantic-segmentation",
    (Band("a"), Band("b")),
    (ClassSpec(0, "x"), ClassSpec(1, "y")),
    scalings=(Scaling("min-max", minimum=0, maximum=255),),
    tile_size=64,
    multiple=1,
)


def box(reach: int) -> torch.nn.Module:
    """A mean over ``reach`` px on each side, and its negative; zeros beyond the edge."""
    layer = torch.nn.Conv2d(2, 2, 2 * reach + 1, padding=reach)
    torch.nn.init.constant_(layer.weight[0], 1 / (2 * reach + 1) ** 2)
    torch.nn.init.constant_(layer.weight[1], -1 / (2 * reach + 1) ** 2)
    return layer


class Mean(torch.nn.Module):
    """Each band less its mean over the whole tile: context without an end."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels - 4 * pixels.mean((2, 3), keepdim=True)


def find_frame(pixels: torch.Tensor, _prompts: Sequence[Prompts]) -> list[Detections]:
    """Two objects: a frame of 5 px around the tile, of score 0.9, and its last 10 columns, of score 0.6."""
    frame, columns = np.zeros((2, *pixels.shape[2:]), np.bool_)
    frame[:] = True
    frame[5:-5, 5:-5] = False
    columns[:, -10:] = True
    return [Detections.of([frame, columns], [0, 1], [0.9, 0.6]) for _ in pixels]


def test_a_network_of_one_size_cannot_be_probed_and_is_told_why() -> None:
    with pytest.raises(ModelError, match="takes tiles of 64 px and no others, so none is compared with a larger"):
        measure_edge(wrap(box(1), replace(SPEC, fixed_size=True)))


@pytest.mark.parametrize("reach", [0, 1, 3, 7])
def test_the_halo_of_a_box_filter_is_its_reach(reach: int) -> None:
    assert measure_edge(wrap(box(reach), SPEC)).halo == reach


def test_reaches_of_layers_add_up() -> None:
    network = torch.nn.Sequential(box(2), torch.nn.LeakyReLU(), box(3))
    assert measure_edge(wrap(network, SPEC), tolerance=1e-6).halo == 5


def test_the_profile_falls_to_zero_beyond_the_reach() -> None:
    profile = edge_profile(wrap(box(3), SPEC))
    assert profile.shape == (32,)
    assert (profile[:3] > 0).all()
    assert (profile[3:] < 1e-6).all()


def test_a_network_with_global_context_has_no_halo() -> None:
    assert measure_edge(wrap(lambda pixels: pixels - pixels[..., :1, :1] * 3, SPEC)).halo is None


def test_given_pixels_are_used_and_must_be_large_enough() -> None:
    model = wrap(box(2), SPEC)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 128, 128), dtype=np.uint8)
    assert measure_edge(model, pixels=pixels).halo == 2
    with pytest.raises(ModelError, match="at least 128 px"):
        measure_edge(model, pixels=pixels[:, :100, :100])


def test_the_cost_of_a_pass_holds_its_activations() -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 64, 3, padding=1), torch.nn.Conv2d(64, 2, 3, padding=1))
    cost = measure_cost(wrap(network, SPEC), size=512)
    assert cost.seconds_per_mpx > 0
    assert 64 * 4 * 0.9 < cost.activation_bytes < 64 * 4 * 8


def test_made_up_pixels_lie_where_the_scaling_expects_them() -> None:
    pixels = made_up_pixels(SPEC, 100, np.random.default_rng(0))
    assert pixels.shape == (2, 100, 100)
    assert pixels.min() >= 0
    assert 100 < pixels.max() <= 255
    assert pixels.std() > 10


def test_errors_are_what_a_halo_of_a_distance_leaves() -> None:
    model = wrap(box(12), SPEC)
    report, profile = measure_edge(model, tolerance=1e-4), edge_profile(model)
    assert report.halo == 12
    assert report.tolerance == 1e-4
    assert list(report.errors) == [0, 8, 16]
    assert report.errors[0] == profile.max()
    assert report.errors[8] == profile[8:].max() > 1e-4
    assert report.errors[16] == profile[16:].max() < 1e-6


def test_errors_of_global_context_are_reported_at_every_distance() -> None:
    report = measure_edge(wrap(Mean(), SPEC), size=128)
    assert report.halo is None
    assert list(report.errors) == [0, 8, 16, 32]
    assert all(error > 0.01 for error in report.errors.values())


def test_a_halo_must_leave_a_centre_that_cannot_agree_by_chance() -> None:
    assert measure_edge(wrap(box(28), SPEC), tolerance=1e-5).halo == 28
    assert edge_profile(wrap(box(29), SPEC))[29:].max() < 1e-5
    assert measure_edge(wrap(box(29), SPEC), tolerance=1e-5).halo is None


def test_objects_are_compared_by_their_scores() -> None:
    model = wrap(find_frame, replace(SPEC, task="instance-segmentation"))
    profile = edge_profile(model)
    np.testing.assert_allclose(profile[:5], 0.9)
    np.testing.assert_allclose(profile[5:10], 0.6)
    assert not profile[10:].any()
    assert measure_edge(model).halo == 10
    assert measure_edge(model, tolerance=0.7).halo == 5
    assert measure_cost(model, repeats=1).seconds_per_mpx > 0


def test_stuff_and_objects_of_a_panoptic_model_both_count() -> None:
    classes = (*SPEC.classes, ClassSpec(2, "thing", isthing=True))
    spec = replace(SPEC, task="panoptic-segmentation", classes=classes)

    def with_things(layer: torch.nn.Module, found: bool) -> object:
        def run(pixels: torch.Tensor) -> tuple[torch.Tensor, list[Detections]]:
            scores = torch.nn.functional.pad(layer(pixels), (0, 0, 0, 0, 0, 1))
            objects = [replace(item, classes=np.full(len(item), 2)) for item in find_frame(pixels, ())]
            return scores, objects if found else [Detections.none()] * len(pixels)

        return wrap(run, spec)

    near, far = box(3), box(14)
    alone, beside = measure_edge(wrap(near, SPEC)), measure_edge(with_things(near, False))
    assert beside.halo == alone.halo
    assert beside.errors == pytest.approx(alone.errors, rel=1e-6), "another number of channels, another order of sums"
    assert measure_edge(with_things(near, True)).halo == 10
    assert measure_edge(with_things(far, True)).halo == 14


@pytest.mark.parametrize(
    ("scaling", "dtype", "lowest", "highest"),
    [
        (Scaling("z-score", mean=123.7, stddev=58.4), np.uint16, 6, 241),
        (Scaling("z-score", mean=900, stddev=800), np.uint16, 0, 2500),
        (Scaling("min-max", minimum=0, maximum=1), np.float32, 0, 1),
        (Scaling("z-score", mean=-12, stddev=5), np.float32, -22, -2),
        (Scaling("scale", value=100_000), np.float32, 0, 100_000),
    ],
)
def test_made_up_pixels_have_the_type_that_holds_what_a_scaling_expects(
    scaling: Scaling, dtype: type, lowest: float, highest: float
) -> None:
    pixels = made_up_pixels(replace(SPEC, scalings=(scaling,)), 64, np.random.default_rng(0))
    assert pixels.dtype == dtype
    assert lowest <= pixels.min() < pixels.max() <= highest
    assert pixels.max() - pixels.min() > 0.5 * (highest - lowest)


class Above(torch.nn.Module):
    """Class y where band b is above a number, x elsewhere."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.tensor(number))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        above = (pixels[:, 1:] - self.number / 255).sign() * 9
        return torch.cat([-above, above], 1)


def test_agreement_is_the_part_of_valid_pixels_with_the_same_label() -> None:
    rng = np.random.default_rng(0)
    tiles = [(rng.integers(0, 256, (2, 64, 64), np.uint8), rng.random((64, 64)) < 0.7) for _ in range(3)]
    differing = sum(int(((pixels[1] > 99.5) & (pixels[1] < 127.5) & mask).sum()) for pixels, mask in tiles)
    count = sum(int(mask.sum()) for _, mask in tiles)
    found = measure_half_precision(wrap(Above(99.5), SPEC), wrap(Above(127.5), SPEC), tiles)
    assert found.agreement == pytest.approx(1 - differing / count, abs=1e-4)
    assert found.seconds_per_mpx > 0


def test_objects_agree_by_what_they_cover() -> None:
    def left(columns: int) -> Callable[..., list[Detections]]:
        mask = np.zeros((64, 64), np.bool_)
        mask[:, :columns] = True
        return lambda pixels, _prompts: [Detections.of([mask], [0], [0.9]) for _ in pixels]

    spec = replace(SPEC, task="instance-segmentation")
    tiles = [(np.zeros((2, 64, 64), np.uint8), np.ones((64, 64), np.bool_))]
    assert measure_half_precision(wrap(left(10), spec), wrap(left(16), spec), tiles).agreement == 10 / 16
    with pytest.raises(ModelError, match="labels no pixel of this imagery; give imagery that shows its classes"):
        measure_half_precision(wrap(left(0), spec), wrap(left(0), spec), tiles)
