"""Measured halo and cost: known reaches of known networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geoseg.errors import ModelError
from geoseg.models import Band, ClassSpec, ModelSpec, Scaling, wrap
from geoseg.models.probe import edge_profile, made_up_pixels, measure_cost, measure_halo

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


@pytest.mark.parametrize("reach", [0, 1, 3, 7])
def test_the_halo_of_a_box_filter_is_its_reach(reach: int) -> None:
    assert measure_halo(wrap(box(reach), SPEC)) == reach


def test_reaches_of_layers_add_up() -> None:
    network = torch.nn.Sequential(box(2), torch.nn.LeakyReLU(), box(3))
    assert measure_halo(wrap(network, SPEC), tolerance=1e-6) == 5


def test_the_profile_falls_to_zero_beyond_the_reach() -> None:
    profile = edge_profile(wrap(box(3), SPEC))
    assert profile.shape == (32,)
    assert (profile[:3] > 0).all()
    assert (profile[3:] < 1e-6).all()


def test_a_network_with_global_context_has_no_halo() -> None:
    with pytest.raises(ModelError, match="no halo"):
        measure_halo(wrap(lambda pixels: pixels - pixels[..., :1, :1] * 3, SPEC))


def test_given_pixels_are_used_and_must_be_large_enough() -> None:
    model = wrap(box(2), SPEC)
    pixels = np.random.default_rng(0).integers(0, 255, (2, 128, 128), dtype=np.uint8)
    assert measure_halo(model, pixels=pixels) == 2
    with pytest.raises(ModelError, match="at least 128 px"):
        measure_halo(model, pixels=pixels[:, :100, :100])


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
