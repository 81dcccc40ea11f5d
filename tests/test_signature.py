"""Programs that take other types, batches and orders of axes than a model is fed with give the same probabilities."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import geoseg
from geoseg.catalog import find_model
from geoseg.errors import CatalogError, GeosegWarning, GridError, ModelError
from geoseg.models import Band, ClassSpec, ModelSpec, Scaling, load_model, wrap
from geoseg.models.tta import TestTimeAugmentation
from geoseg.planning import tiling_of
from tests.networks import write_item
from tests.rasters import noise, write_raster

SPEC = ModelSpec(
    name="program",
    task="semantic-segmentation",
    bands=(Band("a"), Band("b")),
    classes=(ClassSpec(0, "land"), ClassSpec(1, "water"), ClassSpec(2, "ice")),
    scalings=(Scaling("scale", value=100),),
    multiple=4,
)
PLAIN = replace(SPEC, scalings=())
SIDE = 16


class Changed(torch.nn.Module):
    """A convolution between two changes of axes or types."""

    def __init__(self, before: Callable[[Any], Any], after: Callable[[Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(11)
        self.layer, self.before, self.after = torch.nn.Conv2d(2, 3, 3, padding=1), before, after

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.after(self.layer(self.before(pixels)))
        return result


def same(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def to_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(0, 2, 3, 1)


def to_first(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(0, 3, 1, 2)


def save(network: torch.nn.Module, pixels: torch.Tensor, axes: tuple[int, ...], path: Path) -> ModelSpec:
    """Write a program whose input may vary along some axes; its spec."""
    if path.suffix == ".pt2":
        sizes = dict.fromkeys(axes, torch.export.Dim.DYNAMIC)
        torch.export.save(torch.export.export(network.eval(), (pixels,), dynamic_shapes=(sizes,)), path)
    else:
        varying = {"pixels": {axis: f"axis{axis}" for axis in axes}}
        names: dict[str, Any] = {"input_names": ["pixels"], "dynamic_axes": varying, "dynamo": False}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(network.eval(), (pixels,), str(path), **names)
    framework = {".pt2": "torch.export", ".onnx": "onnx"}[path.suffix]
    return replace(SPEC, framework=framework, weights=str(path))


def tiles(count: int = 3, top: int = 200) -> tuple[np.ndarray, np.ndarray]:
    pixels = np.random.default_rng(2).integers(0, top, (count, 2, SIDE, SIDE), dtype=np.uint8)
    return pixels, np.ones((count, SIDE, SIDE), bool)


def expected(pixels: np.ndarray, spec: ModelSpec = SPEC) -> torch.Tensor:
    """Probabilities by torch alone."""
    scaled = torch.from_numpy(pixels.astype(np.float32) / (100 if spec.scalings else 1))
    with torch.no_grad():
        return Changed(same, same).layer(scaled).softmax(1)


SUFFIXES = pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
EXAMPLE = torch.zeros(2, 2, SIDE, SIDE)


@SUFFIXES
@pytest.mark.parametrize("after", [same, to_last])
def test_bands_behind_the_image_are_put_there(after: Callable[[Any], Any], suffix: str, tmp_path: Path) -> None:
    spec = save(Changed(to_first, after), to_last(EXAMPLE).contiguous(), (0, 1, 2), tmp_path / f"net{suffix}")
    pixels, mask = tiles()
    torch.testing.assert_close(load_model(spec).predict(pixels, mask), expected(pixels), atol=1e-5, rtol=0)


@SUFFIXES
def test_scores_behind_the_image_are_put_before_it(suffix: str, tmp_path: Path) -> None:
    spec = save(Changed(same, to_last), EXAMPLE, (0, 2, 3), tmp_path / f"net{suffix}")
    pixels, mask = tiles()
    torch.testing.assert_close(load_model(spec).predict(pixels, mask), expected(pixels), atol=1e-5, rtol=0)


@SUFFIXES
def test_half_floats_are_given_as_such(suffix: str, tmp_path: Path) -> None:
    network = Changed(torch.Tensor.float, torch.Tensor.half)
    spec = save(network, EXAMPLE.half(), (0, 2, 3), tmp_path / f"net{suffix}")
    pixels, mask = tiles()
    torch.testing.assert_close(load_model(spec).predict(pixels, mask), expected(pixels), atol=2e-3, rtol=0)


@SUFFIXES
def test_bytes_are_given_as_they_are_and_nothing_is_cut_off(suffix: str, tmp_path: Path) -> None:
    network = Changed(torch.Tensor.float, same)
    spec = save(network, EXAMPLE.to(torch.uint8), (0, 2, 3), tmp_path / f"net{suffix}")
    pixels, mask = tiles()
    model = load_model(replace(spec, scalings=()))
    torch.testing.assert_close(model.predict(pixels, mask), expected(pixels, PLAIN), atol=1e-5, rtol=0)
    with pytest.raises(ModelError, match=r"takes pixels of type uint8, and would lose digits of .*leave value_scaling"):
        load_model(spec).predict(pixels, mask)
    with pytest.raises(ModelError, match=r"would lose digits of those it is given \(.* to 5\d\d\)"):
        model.predict(pixels.astype(np.uint16) * 3, mask)


@SUFFIXES
@pytest.mark.parametrize("batch", [1, 2])
def test_a_program_of_one_batch_is_run_as_often_as_needed(batch: int, suffix: str, tmp_path: Path) -> None:
    spec = save(Changed(same, same), EXAMPLE[:batch], (2, 3), tmp_path / f"net{suffix}")
    for count in (1, 3):
        pixels, mask = tiles(count)
        torch.testing.assert_close(load_model(spec).predict(pixels, mask), expected(pixels), atol=1e-5, rtol=0)


def test_scores_are_found_among_the_outputs_of_an_onnx_file(tmp_path: Path) -> None:
    spec = save(Changed(same, lambda scores: (scores.mean((2, 3)), scores)), EXAMPLE, (0, 2, 3), tmp_path / "net.onnx")
    pixels, mask = tiles()
    torch.testing.assert_close(load_model(spec).predict(pixels, mask), expected(pixels), atol=1e-5, rtol=0)


@SUFFIXES
@pytest.mark.parametrize(("before", "example"), [(same, EXAMPLE[:1]), (to_first, to_last(EXAMPLE[:1]).contiguous())])
def test_a_program_that_takes_tiles_of_one_size_is_asked_for_it(
    before: Callable[[Any], Any], example: torch.Tensor, suffix: str, tmp_path: Path
) -> None:
    weights = tmp_path / f"net{suffix}"
    save(Changed(before, same), example, (), weights)
    framework = "ONNX" if suffix == ".onnx" else "PyTorch"
    item = write_item(tmp_path / "net.json", weights, halo=1, tile_size=64, bands=["a", "b"], framework=framework)
    found = find_model(str(item))
    assert tiling_of(found, (100, 100)).size == SIDE
    with pytest.raises(GridError, match="takes tiles of 16 px and no others"):
        tiling_of(found, (100, 100), tile_size=32)
    with pytest.raises(GridError, match="and no others; leave scales out of tta"):
        tiling_of(replace(found, tta=TestTimeAugmentation(scales=(0.5,))), (100, 100))


@SUFFIXES
def test_tiles_that_are_no_squares_are_refused_with_their_size(suffix: str, tmp_path: Path) -> None:
    spec = save(Changed(same, same), EXAMPLE[:, :, :8], (0,), tmp_path / f"net{suffix}")
    with pytest.raises(ModelError, match=r"takes tiles of 8 x 16 px and no others.*export it with height and width"):
        load_model(spec)


def test_an_entry_may_say_that_bands_stand_behind_the_image(tmp_path: Path) -> None:
    weights = tmp_path / "net.onnx"
    save(Changed(to_first, same), to_last(EXAMPLE).contiguous(), (0, 1, 2), weights)
    item = write_item(tmp_path / "net.json", weights, halo=1, tile_size=64, bands=["a", "b"], framework="ONNX")
    text = item.read_text().replace('"batch", "bands", "height", "width"', '"batch", "height", "width", "bands"')
    item.write_text(text.replace("[-1, 2, -1, -1]", "[-1, 48, 48, 2]"))
    assert find_model(str(item)).bands == SPEC.bands
    item.write_text(text.replace("[-1, 2, -1, -1]", "[-1, 48, 48, 3]"))
    with pytest.raises(CatalogError, match="has 3 channels and 2 bands are named"):
        find_model(str(item))


def test_classes_in_place_of_scores_are_refused_with_the_remedy() -> None:
    pixels, mask = tiles()
    for keepdim in (False, True):
        network = Changed(same, lambda scores, keep=keepdim: scores.argmax(1, keepdim=keep))
        with pytest.raises(ModelError, match=r"returned whole numbers \(int64\), as the classes of an argmax"):
            wrap(network, SPEC).predict(pixels, mask)


@pytest.mark.parametrize(
    ("later", "told"),
    [
        (lambda scores: scores[:, :2], "returned shape .* where .* is expected; describe 2 classes"),
        (lambda scores: torch.cat([scores, scores], 1), "returned shape .* where .* is expected; describe 6 classes"),
        (lambda scores: scores[..., :-4], "returned shape .* where .* is expected; let the network resample"),
        (lambda scores: scores[:0], "returned shape .* where .* is expected; it must return scores of shape"),
        (lambda scores: scores.long(), r"returned whole numbers \(int64\)"),
        (lambda scores: scores.to(torch.complex64), "returned complex numbers; return real scores"),
        (lambda scores: {"out": scores}, "returned a dict instead of a tensor"),
        (lambda scores: scores * 3, "gave values from .* which are not probabilities"),
    ],
)
def test_a_network_that_answers_a_later_batch_otherwise_is_refused(later: Callable[[Any], Any], told: str) -> None:
    pixels, mask = tiles()
    answers = [same]
    network = Changed(same, lambda scores: answers[-1](scores.softmax(1)))
    model = wrap(network, replace(SPEC, activation="none"))
    for _ in range(4):
        model.predict(pixels, mask)
    answers.append(later)
    with pytest.raises(ModelError, match=told):
        model.predict(pixels, mask)


def test_background_has_a_score_in_all_batches_or_in_none() -> None:
    pixels, mask = tiles()
    answers = [same]
    network = Changed(same, lambda scores: answers[-1](scores.sigmoid()))
    classes = ClassSpec(0, "background"), ClassSpec(1, "water"), ClassSpec(2, "ice")
    model = wrap(network, replace(SPEC, activation="none", threshold=0.5, classes=classes))
    model.predict(pixels, mask)
    answers.append(lambda scores: scores[:, 1:])
    with pytest.raises(ModelError, match="it must score the same classes in every tile"):
        model.predict(pixels, mask)


def test_probabilities_of_several_labels_without_a_threshold_are_warned_of() -> None:
    spec = replace(SPEC, activation="none", classes=tuple(ClassSpec(n, f"c{n}") for n in (1, 2, 3)))
    network, (pixels, mask) = Changed(same, torch.sigmoid), tiles()
    with pytest.warns(GeosegWarning, match=r"do not exclude each other.*set geoseg:threshold in its entry"):
        wrap(network, spec).predict(pixels, mask)
    wrap(network, replace(spec, threshold=0.5)).predict(pixels, mask)
    wrap(Changed(same, lambda scores: scores.softmax(1)), spec).predict(pixels, mask)


def test_classes_behind_rows_and_columns_are_told_of(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", noise(2, 40, 40))
    classes = tuple(ClassSpec(value, f"c{value}") for value in range(3))
    spec = ModelSpec("m", "semantic-segmentation", (Band("1"), Band("2")), classes, tile_size=32, halo=0, multiple=1)
    with pytest.raises(ModelError, match=r"returned shape \(1, 32, 32, 3\) .*permute\(0, 3, 1, 2\)"):
        geoseg.segment(
            path, lambda pixels: pixels[:, [0, 1, 0]].permute(0, 2, 3, 1), spec=spec, bands=[1, 2], ramp=0
        ).compute()
