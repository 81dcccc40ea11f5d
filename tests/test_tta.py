"""Test-time augmentation: views and how they are undone, means of probabilities, and what a plan makes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from geoseg.errors import ModelError, WorkflowError
from geoseg.models import Band, ClassSpec, Detections, ModelSpec, wrap
from geoseg.models.averaging import turned, turned_back
from geoseg.models.tta import TestTimeAugmentation, read_tta
from geoseg.planning import tiling_of

SPEC = ModelSpec(
    "cover", "semantic-segmentation", (Band("red"),), (ClassSpec(0, "a"), ClassSpec(1, "b")), multiple=8, halo=16
)
VIEWS = [
    TestTimeAugmentation(),
    TestTimeAugmentation(rotations=False),
    TestTimeAugmentation(flips=False),
    TestTimeAugmentation(flips=False, rotations=False, scales=(0.5, 2.0)),
]


def lopsided(scaled: torch.Tensor) -> torch.Tensor:
    """Scores that depend on what lies left of a pixel: every view says something else."""
    left = torch.nn.functional.pad(scaled, (1, 0, 0, 0))[..., :-1]
    return torch.cat([scaled - left, 0.3 * left], 1)


@given(st.integers(0, 3), st.booleans(), st.integers(1, 6), st.integers(1, 6))
def test_a_view_that_is_undone_is_the_tile(turns: int, flips: bool, height: int, width: int) -> None:
    pixels = torch.arange(height * width).reshape(1, 1, height, width)
    assert torch.equal(turned_back(turned(pixels, turns, flips), turns, flips), pixels)


def test_the_views_are_the_symmetries_of_the_square_once_each() -> None:
    pixels = torch.arange(9).reshape(1, 1, 3, 3)
    counts = [len({tuple(turned(pixels, *view).flatten().tolist()) for view in tta.turns}) for tta in VIEWS[:3]]
    assert counts == [8, 4, 4] == [len(tta.turns) for tta in VIEWS[:3]]
    assert all(tta.turns[0] == (0, False) for tta in VIEWS)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("tta", VIEWS[:3], ids=["both", "flips", "rotations"])
def test_probabilities_are_the_mean_of_those_of_each_view(tta: TestTimeAugmentation, activation: str) -> None:
    spec = replace(SPEC, activation=activation)
    pixels = np.random.default_rng(0).normal(size=(2, 1, 8, 12)).astype(np.float32)
    mask = np.ones((2, 8, 12), np.bool_)
    model = wrap(lopsided, spec)
    views = []
    for turns, flips in tta.turns:
        view = np.rot90(pixels, turns, (-2, -1))
        view = np.ascontiguousarray(view[..., ::-1] if flips else view)
        found = model.predict(view, np.ones((2, *view.shape[2:]), np.bool_)).numpy()
        views.append(np.rot90(found[..., ::-1] if flips else found, -turns, (-2, -1)))
    found = wrap(lopsided, replace(spec, tta=tta)).predict(pixels, mask).numpy()
    np.testing.assert_allclose(found, np.mean(views, axis=0), atol=1e-5)
    assert np.abs(found - views[0]).max() > 0.05


def test_scaled_views_look_at_resampled_pixels() -> None:
    sizes: list[tuple[int, ...]] = []

    def network(scaled: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(scaled.shape[2:]))
        return torch.cat([scaled, -scaled], 1)

    ramp = np.tile(np.linspace(-2, 2, 32, dtype=np.float32), (1, 1, 16, 1))
    tta = TestTimeAugmentation(False, False, (0.5, 2.0))
    found = wrap(network, replace(SPEC, tta=tta)).predict(ramp, np.ones((1, 16, 32), np.bool_))
    assert sizes == [(16, 32), (8, 16), (32, 64)]  # multiples of 8
    plain = wrap(network, SPEC).predict(ramp, np.ones((1, 16, 32), np.bool_))
    assert float((found - plain)[..., 4:-4].abs().max()) < 0.01


def test_a_model_that_finds_objects_without_scores_is_refused() -> None:
    spec = replace(SPEC, task="instance-segmentation", tta=TestTimeAugmentation())
    with pytest.raises(ModelError, match="finds objects without them; leave tta out"):
        wrap(lambda _scaled, _prompts: [Detections.none()], spec)


def test_smaller_views_widen_the_halo_and_all_views_cost() -> None:
    tta = TestTimeAugmentation(scales=(0.5, 1.25))
    plain = tiling_of(SPEC, (4096, 4096))
    wide = tiling_of(replace(SPEC, tta=tta), (4096, 4096))
    assert (plain.halo, wide.halo) == (16, 32)
    assert wide.stride % 8 == 0
    assert tta.work == pytest.approx(8 + 0.25 + 1.25**2)
    assert (tta.widest, tta.largest) == (2.0, 1.25)
    assert (TestTimeAugmentation().widest, TestTimeAugmentation().largest) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (False, None),
        (True, TestTimeAugmentation()),
        ("flips", TestTimeAugmentation(True, False)),
        ("flips,scales", TestTimeAugmentation(True, False, (0.8, 1.25))),
        ({"rotations": False, "scales": [0.5]}, TestTimeAugmentation(True, False, (0.5,))),
    ],
)
def test_what_people_write(value: object, expected: TestTimeAugmentation | None) -> None:
    assert read_tta(value) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("flip", "unknown word 'flip'; did you mean 'flips'"),
        ({"flip": True}, "unknown key 'flip'; did you mean 'flips'"),
        ({"scales": [1]}, "tta.scales has 1; give factors"),
        (3, "tta is 3; write true"),
    ],
)
def test_a_mistake_is_one_sentence(value: object, message: str) -> None:
    with pytest.raises(WorkflowError) as caught:
        read_tta(value)  # type: ignore[arg-type]
    assert message in str(caught.value)
