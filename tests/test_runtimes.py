"""What runs a network: torch or OpenVINO, with 8-bit weights too; and which of them where nobody chooses."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import save_file

import geoseg
from geoseg.catalog import add_model, find_imagery, find_model
from geoseg.cli import main
from geoseg.errors import GeosegWarning, ModelError, WeightsError
from geoseg.models import Band, ClassSpec, ModelSpec, Scaling, load_model, precision, runtimes, wrap
from geoseg.models.item import read_model_item
from geoseg.models.item_writing import write_model_item
from geoseg.models.precision import multiplies_halves
from geoseg.models.probe import made_up_pixels
from geoseg.models.runtimes import choose_runtime
from geoseg.models.spec import Quantized
from geoseg.workflow import hardware
from tests.rasters import write_raster

pytestmark = pytest.mark.usefixtures("empty_cache")

SIDE = 64
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="pip install 'geoseg[openvino]'")
needs_nncf = pytest.mark.skipif(find_spec("nncf") is None, reason="pip install 'geoseg[quantize]'")
PLAIN = ModelSpec("plain", "semantic-segmentation", (Band("a"),), (ClassSpec(0, "x"), ClassSpec(1, "y")))


@pytest.fixture
def item(tmp_path: Path) -> Path:
    """A small network."""
    torch.manual_seed(0)
    network = smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=3, decoder_channels=(64, 32, 16, 8, 8))
    save_file(network.state_dict(), tmp_path / "small.safetensors")
    spec = ModelSpec(
        name="small",
        task="semantic-segmentation",
        bands=(Band("red"), Band("green"), Band("blue")),
        classes=tuple(ClassSpec(value, name) for value, name in enumerate(("ground", "road", "roof"))),
        scalings=(Scaling("scale", value=255.0),),
        tile_size=SIDE,
        halo=8,
        ramp=16,
        architecture="smp.Unet",
        hyperparameters=(("decoder_channels", (64, 32, 16, 8, 8)), ("encoder_name", "resnet18")),
        weights=str(tmp_path / "small.safetensors"),
        seconds_per_mpx=4.0,
    )
    return write_model_item(spec, tmp_path / "small.json")


def tiles_of(spec: ModelSpec, count: int, side: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return np.stack([made_up_pixels(spec, side, rng) for _ in range(count)]), np.ones((count, side, side), np.bool_)


def measured(agreement: float) -> Quantized:
    return Quantized(agreement, 1.0, "/nowhere.int8.safetensors")


@pytest.mark.parametrize(
    ("asked", "int8", "has_openvino", "chosen"),
    [
        (("auto", "auto"), None, True, ("torch", "float32")),
        (("auto", "auto"), 0.995, True, ("openvino", "int8")),
        (("auto", "auto"), 0.995, False, ("torch", "float32")),
        (("auto", "auto"), 0.985, True, ("torch", "float32")),
        (("auto", "int8"), 0.985, True, ("openvino", "int8")),
        (("auto", "float32"), 0.995, True, ("torch", "float32")),
        (("openvino", "auto"), 0.985, True, ("openvino", "float32")),
        (("torch", "auto"), 0.995, True, ("torch", "float32")),
    ],
)
def test_8_bits_are_chosen_where_they_were_seen_to_keep_the_labels(
    asked: Any, int8: float | None, has_openvino: bool, chosen: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda _name: object() if has_openvino else None)
    monkeypatch.setattr(precision, "multiplies_bytes", lambda: True)
    spec = replace(PLAIN, int8=None if int8 is None else measured(int8))
    assert choose_runtime(spec, "cpu", *asked) == chosen
    assert choose_runtime(spec, "cuda", "auto", "auto") == ("torch", "auto")
    monkeypatch.setattr(precision, "multiplies_bytes", lambda: False)
    assert choose_runtime(spec, "cpu", "auto", "auto") == ("torch", "float32")
    if spec.int8 is not None:
        spec = replace(spec, int8=replace(spec.int8, half_range=True))
        assert choose_runtime(spec, "cpu", *asked) == chosen


def test_8_bits_that_overflow_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda _name: object())
    for has_bytes, half_range in ((True, False), (True, True), (False, True), (False, False)):
        spec = replace(PLAIN, int8=replace(measured(0.995), half_range=half_range))
        monkeypatch.setattr(precision, "multiplies_bytes", lambda has_bytes=has_bytes: has_bytes)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            found = hardware.find_hardware("cpu", "auto", "int8", spec)
        assert (found.runtime, found.precision) == ("openvino", "int8")
        said = any("so sums of products overflow" in str(item.message) for item in caught)
        assert said == (not has_bytes and not half_range)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"runtime": "openvino", "device": "cuda"},
            "runtime openvino computes on CPUs, and device is cuda; use device",
        ),
        (
            {"precision": "int8", "device": "cuda:1"},
            "precision int8 computes on CPUs, and device is cuda:1; use device",
        ),
        ({"precision": "int8"}, "model 'plain' has no 8-bit weights; make them with geoseg models quantize, or use"),
        ({"runtime": "torch", "precision": "int8"}, "torch does not compute in int8 on a CPU; use precision float32, "),
        ({"runtime": "openvino", "precision": "float16"}, "OpenVINO does not compute in float16 on a CPU; use precis"),
        ({"runtime": "tensorrt"}, "'tensorrt' is not a runtime; use auto, torch, openvino."),
        ({"runtime": "openvino", "framework": "onnx"}, "model 'plain' is a graph in onnx already, which OpenVINO is "),
        ({"runtime": "openvino", "task": "instance-segmentation"}, "model 'plain' finds objects by itself, which Open"),
    ],
)
def test_what_does_not_go_together_is_refused(
    settings: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda _name: object())
    spec = replace(PLAIN, **{key: settings.pop(key) for key in ("framework", "task") if key in settings})
    options = {"device": "cpu", "runtime": "auto", "precision": "auto", **settings}
    with pytest.raises(ModelError) as caught:
        choose_runtime(spec, **options)  # type: ignore[arg-type]
    assert str(caught.value).startswith(sentence)


def test_a_runtime_that_is_not_installed_is_named_with_its_extra(
    item: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda _name: None)
    scene = write_raster(tmp_path / "scene.tif", np.ones((3, 100, 100), np.uint8))
    assert main(["plan", "--input", str(scene), "--model", str(item), "--runtime", "openvino"]) != 0
    printed = " ".join(capsys.readouterr().err.split())
    assert "runtime openvino (and precision int8) needs openvino; install it with pip install" in printed
    quantize = ["models", "quantize", str(item), "--input", str(scene), "--validation", str(scene)]
    assert main(quantize) != 0
    printed = " ".join(capsys.readouterr().err.split())
    assert "geoseg models quantize needs openvino; install it with pip install 'geoseg[quantize]'." in printed


def test_a_plan_offers_8_bits_where_an_entry_has_them(
    item: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.int8.safetensors").write_bytes(b"weights")
    content = json.loads(item.read_text())
    known = {"agreement": 0.985, "seconds_per_mpx": 1.0}
    content["assets"]["int8"] = {"href": "./small.int8.safetensors", "roles": ["geoseg:int8"], "geoseg:int8": known}
    item.write_text(json.dumps(content))
    scene = write_raster(tmp_path / "scene.tif", np.ones((3, 100, 100), np.uint8))
    asked = ["plan", "--input", str(scene), "--model", str(item), "--workers", "1"]
    offers = {}
    monkeypatch.setattr(precision, "multiplies_bytes", lambda: True)
    for has_openvino in (False, True):
        monkeypatch.setattr(runtimes, "find_spec", lambda _name, has=has_openvino: object() if has else None)
        assert main(asked) == 0
        offers[has_openvino] = " ".join(capsys.readouterr().out.split())
    gain = "faster int8 through OpenVINO is 4.0 x as fast, 98.5% of labels as in float32: give --precision int8"
    assert f"{gain}, after pip install 'geoseg[openvino]' memory" in offers[False]
    assert f"{gain} memory" in offers[True]
    plain = geoseg.plan(model=item, input=scene, workers=1)
    monkeypatch.setattr("geoseg.versions._version", lambda _package: "1")
    rough = geoseg.plan(model=item, input=scene, workers=1, precision="int8")
    assert (rough.runtime, rough.precision) == ("openvino", "int8")
    assert (rough.estimated_seconds or 0) * 4 == plain.estimated_seconds
    assert rough.total_bytes > plain.total_bytes
    before = rough.fingerprint()
    (tmp_path / "small.int8.safetensors").write_bytes(b"others")
    changed = [key for key, value in rough.fingerprint().items() if value != before[key]]
    assert changed == ["quantized"]
    assert before["versions"]["openvino"] == "1"


def test_a_copied_entry_has_its_8_bit_weights_beside_it(item: Path, tmp_path: Path) -> None:
    (tmp_path / "w.int8.safetensors").write_bytes(b"weights")
    weights = Quantized(0.99, 1.0, str(tmp_path / "w.int8.safetensors"), half_range=True)
    spec = replace(read_model_item(item), int8=weights)
    found = find_model(str(add_model(write_model_item(spec, item), tmp_path / "own")))
    assert found.int8 is not None
    assert found.int8.half_range
    assert Path(found.int8.graph).parent == Path(found.weights or "").parent != tmp_path
    assert Path(found.int8.graph).read_bytes() == b"weights"
    assert found.with_weights("others").int8 is None


@needs_openvino
def test_openvino_gives_the_scores_of_torch_in_float32_and_one_graph_serves_every_batch(
    item: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_model_item(item)
    pixels, masks = tiles_of(spec, 3)
    expected = load_model(spec, runtime="torch", precision="float32").score(pixels, masks)
    with pytest.warns(GeosegWarning, match=r"model 'small' was converted for OpenVINO, once on this machine for tiles"):
        scores = load_model(spec, runtime="openvino", precision="float32").score(pixels, masks)
    torch.testing.assert_close(scores, expected, atol=2e-5, rtol=0)  # weights in float16 or bfloat16 are 100 times off
    monkeypatch.setattr("geoseg.models.smp.open_network", None)  # a second time nobody builds the network
    again = load_model(spec, runtime="openvino", precision="float32")
    for place in range(3):
        alone = again.score(pixels[place : place + 1], masks[place : place + 1])
        assert torch.equal(alone[0], scores[place])
    if multiplies_halves():
        rough = load_model(spec, runtime="openvino", precision="bfloat16").score(pixels, masks)
        assert 1e-4 < float((rough - expected).abs().max()) < 0.1


@needs_openvino
def test_a_graph_that_is_damaged_is_told(item: Path, empty_cache: Path) -> None:
    spec = read_model_item(item)
    pixels, masks = tiles_of(spec, 1)
    with pytest.warns(GeosegWarning, match="was converted"):
        load_model(spec, runtime="openvino", precision="float32").score(pixels, masks)
    (graph,) = (empty_cache / "geoseg" / "graphs").glob("*.safetensors")
    graph.write_bytes(graph.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"does not hold a graph that OpenVINO .* can open; delete it, or make it"):
        load_model(spec, runtime="openvino", precision="float32").score(pixels, masks)


@needs_openvino
def test_a_network_of_ones_own_is_run_by_openvino_and_what_it_cannot_convert_is_told() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1))
    spec = replace(PLAIN, weights="/not/its/own.safetensors", int8=measured(1.0))
    pixels, masks = tiles_of(spec, 2)
    expected = wrap(network, spec, runtime="torch", precision="float32").score(pixels, masks)
    opened = wrap(network, spec, runtime="openvino", precision="float32")
    torch.testing.assert_close(opened.score(pixels, masks), expected, atol=1e-3, rtol=1e-5)
    with pytest.raises(ModelError, match=r"compile is torch's, and OpenVINO runs the network; leave one of them out"):
        wrap(network, spec, runtime="openvino", compile=True)
    with pytest.raises(ModelError, match=r"model 'plain' is no torch.nn.Module, which OpenVINO converts; use runtime"):
        wrap(lambda scaled: network(scaled), spec, runtime="openvino").score(pixels, masks)


class Restless(torch.nn.Module):
    """Gives other scores at each call, as a network may that keeps something."""

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        return torch.cat([scaled, torch.rand(scaled.shape)], 1)


@needs_openvino
def test_a_graph_with_other_scores_than_its_network_is_refused() -> None:
    pixels, masks = tiles_of(PLAIN, 1)
    with pytest.raises(ModelError, match=r"the graph that OpenVINO makes of model 'plain' gives other scores"):
        wrap(Restless(), PLAIN, runtime="openvino", precision="float32").score(pixels, masks)


@pytest.mark.slow
@needs_openvino
@needs_nncf
def test_quantized_weights_stand_in_the_entry_and_keep_the_labels(
    item: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = read_model_item(item)
    rng = np.random.default_rng(1)
    for name in ("training", "validation"):
        write_raster(tmp_path / f"{name}.tif", made_up_pixels(spec, 200, rng).astype(np.uint8))
    scenes = ["--input", str(tmp_path / "training.tif"), "--validation", str(tmp_path / "validation.tif")]
    assert main(["models", "quantize", str(item), *scenes]) == 0
    assert "% of labels as in float32" in capsys.readouterr().out
    made = read_model_item(item)
    assert made.int8 is not None
    assert Path(made.int8.graph) == tmp_path / "small.int8.safetensors"
    assert 4 * Path(made.int8.graph).stat().st_size < 2 * Path(made.weights or "").stat().st_size
    assert 0.8 < made.int8.agreement < 1
    for side in (SIDE, 2 * SIDE):
        pixels, masks = tiles_of(made, 2, side)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nothing is converted
            rough = load_model(made, precision="int8").score(pixels, masks)
        exact = load_model(made, runtime="torch", precision="float32").score(pixels, masks)
        assert 0.7 < float((rough.argmax(1) == exact.argmax(1)).float().mean()) < 1
    Path(made.int8.graph).write_bytes(b"others")
    with pytest.raises(WeightsError, match="has the checksum"):
        load_model(made, precision="int8").score(pixels, masks)


@needs_openvino
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_labels_by_openvino_are_the_same_for_every_layout_worker_and_batch(precision: str, tmp_path: Path) -> None:
    with rasterio.open(find_imagery("delmarva").paths[0]) as source:
        pixels = source.read(window=rasterio.windows.Window(300, 200, 460, 420))
    scene = write_raster(tmp_path / "scene.tif", pixels)
    wanted = {"model": "sentinel2-land-cover", "input": str(scene), "tile_size": 256, "precision": precision}
    wanted |= {"runtime": "openvino", "bands": [1, 2, 3, 4], "features": [], "report": False}
    labels = []
    for number in (1, 3):
        output = tmp_path / f"out-{number}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GeosegWarning)  # the network may be converted
            ran = geoseg.run(wanted, output=str(output), block_tiles=number, batch_size=number, workers=min(number, 2))
        assert ran.plan.tile_count > 4
        assert ran.plan.versions["openvino"]
        with rasterio.open(output / "labels.tif") as source:
            labels.append(source.read(1))
    np.testing.assert_array_equal(*labels)
    assert len(np.unique(labels[0])) > 2
