"""Imagery that is unlike what a model was trained on is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import geoseg
from geoseg.catalog import find_model, write_model_item
from geoseg.errors import CatalogError, GeosegWarning
from geoseg.imagery.checking import check_values
from geoseg.models.spec import ModelSpec
from geoseg.training import parse_recipe
from geoseg.training.fitting import read_scenes
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, write_raster
from tests.test_training import fields as fields
from tests.test_training import recipe_content


def with_seen(folder: Path, seen: object) -> Path:
    """The entry of a model with what it has seen."""
    path = write_model(folder, Box(1), name="box", halo=2)
    item = json.loads(path.read_text())
    item["properties"]["geoseg:seen_values"] = seen
    path.write_text(json.dumps(item))
    return path


def checked(folder: Path, spec: ModelSpec, *means: float) -> str:
    """What is said of a scene of two bands with these means."""
    noise = np.random.default_rng(0).normal(0, 5, (2, 70, 70))
    scene = np.rint(np.array(means)[:, None, None] + noise).clip(0, 255).astype(np.uint8)
    path = write_raster(folder / f"{means}.tif", scene, transform=TEN_METRES)
    return check_values(geoseg.open_raster(path), spec).note


def test_a_darker_scene_is_named_with_its_bands(tmp_path: Path) -> None:
    spec = find_model(with_seen(tmp_path / "models", [[50, 90, 140], [60, 100, 150]]))
    assert checked(tmp_path, spec, 90, 100) == ""
    words = r"unlike the training data of model 'box': 1 has a median of 20 where training had 90 \(96 % of its pixels "
    with pytest.warns(GeosegWarning, match=words + "from 50 to 140\\)"):
        assert "expect less of the map" in checked(tmp_path, spec, 20, 100)


def test_other_weights_and_entries_without_it_have_seen_nothing(tmp_path: Path) -> None:
    spec = find_model(with_seen(tmp_path / "models", [[50, 90, 140], [60, 100, 150]]))
    assert find_model(write_model_item(spec, tmp_path)).seen_values == spec.seen_values
    assert checked(tmp_path, spec.with_weights("other.onnx"), 20, 20) == ""


@pytest.mark.parametrize("seen", [[[1, 2, 3]], [[3, 2, 1], [1, 2, 3]], [[1, 2], [1, 2]], [["a", 2, 3], [1, 2, 3]]])
def test_what_cannot_be_quantiles_is_refused(tmp_path: Path, seen: object) -> None:
    with pytest.raises(CatalogError, match="give three ascending numbers for each of 2 bands"):
        find_model(with_seen(tmp_path, seen))


def test_training_keeps_quantiles_of_the_pixels_it_has_seen(fields: Path) -> None:
    scenes, spec = read_scenes(parse_recipe(recipe_content(fields)))
    wanted = np.percentile(scenes[0].pixels.reshape(2, -1), (2, 50, 98), axis=1).T
    np.testing.assert_allclose(spec.seen_values, wanted, rtol=1e-3)
