"""Temperature scaling: confidence that means what it says over labels that stay; how it is fitted and measured."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax, softmax

import geoseg
from geoseg.catalog import find_model, write_model_item
from geoseg.cli import main
from geoseg.errors import CatalogError
from geoseg.evaluation.reliability import BINS, Reliability
from geoseg.grid import TileGrid, Window
from geoseg.models.semantic import choose
from geoseg.models.spec import ModelSpec
from geoseg.probabilities import SCALE, tempered
from geoseg.segmentation import finish_block, predict_block
from geoseg.training import parse_recipe, train
from geoseg.training.calibrating import HeldOutPixels, calibrate, fit_temperature
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster
from tests.strategies import grids, pixels
from tests.test_segmentation import ArrayRaster, BoxModel
from tests.test_training import fields as fields
from tests.test_training import recipe_content

TEMPERATURES = st.sampled_from([0.4, 0.9, 1.3, 2.0, 5.0])


@given(arrays(np.float64, (5, 40), elements=st.floats(-6, 6)), TEMPERATURES)
def test_integers_are_tempered_as_softmax_of_divided_scores_is(scores: np.ndarray, temperature: float) -> None:
    integers = np.rint(softmax(scores, axis=0) * SCALE).astype(np.uint16)
    found = tempered(integers, temperature) / SCALE
    shares = integers.astype(np.float64) / SCALE
    wanted = shares ** (1 / temperature) / (shares ** (1 / temperature)).sum(0)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    unrounded = softmax(scores / temperature, axis=0)
    exact = integers.min(0) >= 16  # where rounding to integers moves no share by more than a thirtieth
    np.testing.assert_allclose(found.max(0)[exact], unrounded.max(0)[exact], atol=0.02)


@dataclass
class TemperedModel(BoxModel):
    """The same with a temperature."""

    temperature: float | None = None

    @property
    def spec(self) -> ModelSpec:
        return replace(super().spec, temperature=self.temperature)

    def score(self, pixels: np.ndarray, mask: np.ndarray) -> torch.Tensor:
        return 6 * super().score(pixels, mask)


@settings(max_examples=10)
@given(grids(longest=40), st.integers(0, 2**32 - 1), TEMPERATURES, st.data())
def test_labels_stay_and_probabilities_are_tempered_on_ramps_and_elsewhere(
    grid: TileGrid, seed: int, temperature: float, data: st.DataObject
) -> None:
    valid = np.random.default_rng(seed).random(grid.shape) > 0.1
    raster = ArrayRaster(data.draw(pixels(grid.shape)), valid)
    found = []
    for model in (TemperedModel(3), TemperedModel(3, temperature=temperature)):
        drafts = {(b.row, b.col): predict_block(raster, model, grid, b, keep_probabilities=True) for b in grid.blocks()}
        final = []
        for block in grid.blocks():
            sources = grid.sources_of(block).items()
            strips = {strip: getattr(drafts[place].strips, strip) for strip, place in sources}
            final.append(finish_block(drafts[block.row, block.col], strips, model.spec))
        found.append(final)
    for plain, own in zip(*found, strict=True):
        np.testing.assert_array_equal(own.labels, plain.labels)
        if not len(plain.probabilities):
            continue
        known = plain.labels < 255
        wanted = tempered(plain.probabilities[:, known], temperature)
        np.testing.assert_array_equal(own.probabilities[:, known], wanted)
        np.testing.assert_array_equal(own.best[known], wanted.max(0))


def test_a_tile_that_is_not_blended_has_the_same_confidence() -> None:
    scores = torch.randn(3, 8, 8) * 3
    spec = replace(BoxModel().spec, temperature=1.7)
    labels, confidence = choose(spec, scores.softmax(0))
    assert torch.equal(labels, scores.argmax(0))
    torch.testing.assert_close(confidence, (scores / 1.7).softmax(0).amax(0))


def drawn(count: int, factor: float, seed: int = 0) -> HeldOutPixels:
    """Pixels whose truth follows probabilities that a network overstates by a factor of its scores."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1.5, (4, count))
    truth = (scores + rng.gumbel(size=scores.shape)).argmax(0).astype(np.uint8)  # of softmax(scores)
    return HeldOutPixels(np.rint(softmax(factor * scores, axis=0) * SCALE).astype(np.uint16), truth)


@pytest.mark.parametrize("factor", [0.6, 1.0, 2.5])
def test_the_temperature_is_by_how_much_scores_are_overstated(factor: float) -> None:
    found = drawn(60_000, factor)
    assert fit_temperature(found) == pytest.approx(factor, rel=0.03)
    calibration = calibrate([drawn(20_000, factor, seed) for seed in range(3)])
    assert calibration is not None
    assert calibration.temperature == pytest.approx(factor, rel=0.05)
    assert calibration.after.error < 0.015
    assert factor == 1.0 or calibration.before.error > 0.05


def test_no_other_temperature_has_a_smaller_loss() -> None:
    found = drawn(5000, 2.0)
    logs = np.log(np.maximum(found.integers, 0.5) / SCALE)

    def loss(temperature: float) -> float:
        return -float(log_softmax(logs / temperature, axis=0)[found.truth, np.arange(5000)].mean())

    best = loss(fit_temperature(found))
    assert all(best <= loss(temperature) + 1e-9 for temperature in np.geomspace(0.3, 7, 40))


@given(st.lists(st.tuples(st.integers(1, 255), st.booleans()), min_size=1, max_size=200))
def test_the_calibration_error_is_that_of_its_definition(seen: list[tuple[int, bool]]) -> None:
    confidence, right = np.array([level / 255 for level, _ in seen]), np.array([hit for _, hit in seen])
    wanted = 0.0
    for place in range(BINS):
        inside = [i for i, (level, _) in enumerate(seen) if place * 255 < level * BINS <= (place + 1) * 255]
        if inside:
            wanted += len(inside) / len(seen) * abs(right[inside].mean() - confidence[inside].mean())
    half = len(seen) // 2
    found = Reliability.of(confidence[:half], right[:half]) + Reliability.of(confidence[half:], right[half:])
    assert found.error == pytest.approx(wanted)
    assert sum(count for _, _, count in found.rows) == len(seen)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of a model without and with a temperature, and one with probabilities in place of confidence."""
    folder = tmp_path_factory.mktemp("runs")
    write_raster(folder / "scene.tif", noise(2, 120, 150), transform=TEN_METRES)
    plain = write_model(folder / "models", Box(3), name="plain", halo=4)
    item = json.loads(plain.read_text())
    item["properties"]["geoseg:temperature"] = 0.25
    (folder / "models" / "sure.json").write_text(json.dumps(item))
    for name, outputs in (("plain", ["confidence"]), ("sure", ["confidence", "probabilities"])):
        model, output = folder / "models" / f"{name}.json", folder / name
        how = {"workers": 1, "ramp": 8, "features": [], "report": False}
        geoseg.run(input=folder / "scene.tif", model=model, output=output, outputs=outputs, **how)
    return {"plain": folder / "plain", "sure": folder / "sure", "models": folder / "models"}


def read(path: Path) -> np.ndarray:
    return geoseg.open_raster(path).read(Window(0, 0, 120, 150))[0]


def test_a_run_with_a_temperature_has_the_same_labels_and_another_confidence(runs: dict[str, Path]) -> None:
    plain, sure = (read(runs[name] / "labels.tif") for name in ("plain", "sure"))
    np.testing.assert_array_equal(plain, sure)
    confidence, other = (read(runs[name] / "confidence.tif") for name in ("plain", "sure"))
    assert (other >= confidence).all()
    assert other.mean() > confidence.mean() + 5
    probabilities = read(runs["sure"] / "probabilities.tif") / SCALE
    np.testing.assert_allclose(probabilities.max(0), other[0] / 255, atol=1 / 255)


def test_evaluation_of_a_run_has_the_calibration_error(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, confidence = read(runs["sure"] / "labels.tif")[0], read(runs["sure"] / "confidence.tif")[0]
    truth = np.where(np.random.default_rng(0).random(labels.shape) < 0.7, labels, (labels + 1) % 3).astype(np.uint8)
    write_raster(tmp_path / "truth.tif", truth[None], transform=TEN_METRES)
    result = geoseg.evaluate(runs["sure"], tmp_path / "truth.tif", task="semantic")
    wanted = Reliability.of(confidence / 255, labels == truth)
    assert result.summary()["scores"]["calibration_error"] == pytest.approx(wanted.error)
    assert len(result.summary()["scores"]["reliability"]) == len(wanted.rows)
    assert main(["evaluate", str(runs["sure"]), str(tmp_path / "truth.tif"), "--task", "semantic"]) == 0
    assert f"calibration_error {wanted.error:.4f}" in capsys.readouterr().out
    assert (
        "calibration_error"
        not in geoseg.evaluate(runs["sure"] / "labels.tif", tmp_path / "truth.tif", task="semantic").summary()["scores"]
    )


def test_an_entry_keeps_its_temperature_which_other_weights_do_not_have(runs: dict[str, Path], tmp_path: Path) -> None:
    spec = find_model(runs["models"] / "sure.json")
    assert spec.temperature == 0.25
    assert find_model(write_model_item(spec, tmp_path)).temperature == 0.25
    assert spec.with_weights(tmp_path / "other.onnx").temperature is None


@pytest.mark.parametrize(
    ("fields_of_item", "words"),
    [
        ({"geoseg:temperature": 0}, "has the temperature 0; give a number above 0"),
        (
            {"geoseg:temperature": 2, "geoseg:activation": "sigmoid"},
            "has a temperature, which is for classes that exclude each other; leave geoseg:temperature out",
        ),
    ],
)
def test_a_temperature_that_cannot_be_used_is_refused(
    runs: dict[str, Path], fields_of_item: dict[str, Any], words: str
) -> None:
    item = json.loads((runs["models"] / "plain.json").read_text())
    item["properties"] |= fields_of_item
    path = runs["models"] / "bad.json"
    path.write_text(json.dumps(item))
    with pytest.raises(CatalogError, match=words):
        find_model(path)


def test_training_fits_a_temperature_and_shows_what_it_does(fields: Path, tmp_path: Path) -> None:
    result = train(parse_recipe(recipe_content(fields, steps=20, steps_per_epoch=20)), output=tmp_path / "entry")
    assert result.evaluation.pixels is not None
    assert result.spec.temperature == round(fit_temperature(result.evaluation.pixels), 3)
    assert find_model(tmp_path / "entry" / "fields.json").temperature == result.spec.temperature
    card = (tmp_path / "entry" / "README.md").read_text()
    error = result.evaluation.pixels.reliability(result.spec.temperature).error
    assert f"Scores are divided by the temperature {result.spec.temperature:g}" in card
    assert f"The expected calibration error there is {error:.3f}" in card
    assert (tmp_path / "entry" / "reliability.svg").read_text().startswith("<svg")
    assert int(result.evaluation.pixels.truth.size) == result.evaluation.scores.pixels
