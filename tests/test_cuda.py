"""The same on a GPU: training, and whole runs. All of it is skipped where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch

import geoseg
from geoseg.models import load_model
from geoseg.models.probe import measure_cost
from geoseg.models.state_dicts import read_state
from geoseg.training import parse_recipe, train
from geoseg.training.fitting import fit_recipe
from tests import test_training_detection as detection
from tests import test_training_objects as objects
from tests.networks import Box, write_model
from tests.test_training import fields, recipe_content  # noqa: F401 - a fixture
from tests.test_training_detection import village  # noqa: F401
from tests.test_training_objects import town  # noqa: F401

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def test_a_network_learns_in_mixed_precision(fields: Path) -> None:  # noqa: F811
    trained = fit_recipe(parse_recipe(recipe_content(fields, device="cuda", loaders=2)))
    assert trained.evaluation.scores.mean_iou > 0.9
    assert all(tensor.device.type == "cpu" for tensor in trained.weights.values())


def test_float16_with_a_scaled_loss_learns_too(fields: Path) -> None:  # noqa: F811
    trained = fit_recipe(parse_recipe(recipe_content(fields, device="cuda", precision="float16")))
    assert trained.evaluation.scores.mean_iou > 0.9


def test_objects_are_learnt(town: Path) -> None:  # noqa: F811
    trained = fit_recipe(parse_recipe(objects.recipe_content(town, device="cuda", loaders=2)))
    assert trained.evaluation.objects is not None
    assert trained.evaluation.objects.f1 > 0.8


def test_a_mask_rcnn_takes_steps(village: Path) -> None:  # noqa: F811
    content = detection.recipe_content(village, steps=4, steps_per_epoch=2, warm_up=1, device="cuda", loaders=2)
    trained = fit_recipe(parse_recipe(content))
    assert all(np.isfinite(epoch.loss) for epoch in trained.log)


def test_an_interrupted_run_goes_on(fields: Path, tmp_path: Path) -> None:  # noqa: F811
    def interrupt(epoch: Any) -> None:
        if epoch.step == 40:
            raise KeyboardInterrupt

    recipe = parse_recipe(recipe_content(fields, device="cuda"))
    with pytest.raises(KeyboardInterrupt):
        train(recipe, output=tmp_path / "entry", progress=interrupt)
    result = train(recipe, output=tmp_path / "entry")
    assert [epoch.step for epoch in result.log] == [40, 80]
    assert result.evaluation.scores.mean_iou > 0.9
    assert read_state(Path(str(result.spec.weights)))


def test_what_an_entry_says_of_cost_and_halo_is_measured_on_the_cpu(fields: Path, tmp_path: Path) -> None:  # noqa: F811
    spec = train(parse_recipe(recipe_content(fields, device="cuda")), output=tmp_path / "entry").spec
    here = measure_cost(load_model(spec), repeats=1)
    assert spec.activation_bytes == pytest.approx(here.activation_bytes, rel=0.5)


@pytest.mark.parametrize(("precision", "part"), [("float32", 1e-4), ("auto", 0.02)])
def test_a_run_on_the_gpu_gives_the_map_of_the_cpu(tmp_path: Path, precision: str, part: float) -> None:
    rng = np.random.default_rng(3)
    pixels = np.kron(rng.integers(1, 255, (2, 40, 37)), np.ones((8, 8))).astype(np.uint8)
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", count=2, height=320, width=296, dtype="uint8", crs="EPSG:32633",
        transform=rasterio.transform.from_origin(500_000, 5_000_000, 10, 10),
    ) as file:  # fmt: skip
        file.write(pixels)
    model = write_model(tmp_path / "model", Box(3), name="box", halo=3, tile_size=64)
    found = []
    for device in ("cpu", "cuda"):
        result = geoseg.run(
            {
                "model": str(model),
                "input": str(tmp_path / "scene.tif"),
                "output": str(tmp_path / device),
                "ramp": 8,
                "device": device,
                "precision": "float32" if device == "cpu" else precision,
            }
        )
        assert result.plan.device == device
        with rasterio.open(tmp_path / device / "labels.tif") as file:
            found.append(file.read(1))
    assert np.mean(found[0] != found[1]) <= part
