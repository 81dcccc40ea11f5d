"""Models as one file with their item inside: what is written opens by itself, and gives the same labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import segmentation_models_pytorch as smp
import torch
from safetensors.torch import load_file, save_file

from geoseg.catalog import find_model, locate_model
from geoseg.cli import main
from geoseg.errors import CatalogError
from geoseg.models import Band, ClassSpec, ModelSpec, Scaling, load_model
from geoseg.models.item import read_model_item
from geoseg.models.item_writing import write_model_item
from geoseg.models.probe import made_up_pixels
from geoseg.models.spec import HalfPrecision

FORMATS = [".safetensors", ".pt2", ".onnx"]
SIDE = 64


@pytest.fixture(scope="module")
def item(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of segmentation-models-pytorch on bytes, as a person has it."""
    folder = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    network = smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=3, decoder_channels=(64, 32, 16, 8, 8))
    save_file(network.state_dict(), folder / "small.safetensors")
    spec = ModelSpec(
        name="small",
        task="semantic-segmentation",
        bands=(Band("red"), Band("green"), Band("blue")),
        classes=tuple(ClassSpec(value, name) for value, name in enumerate(("ground", "road", "roof"))),
        scalings=tuple(Scaling("z-score", mean=255 * mean, stddev=255 * 0.25) for mean in (0.5, 0.4, 0.3)),
        value_range=((0, 255),),
        resolution=0.3,
        tile_size=SIDE,
        halo=8,
        ramp=16,
        architecture="smp.Unet",
        hyperparameters=(("decoder_channels", (64, 32, 16, 8, 8)), ("encoder_name", "resnet18")),
        weights=str(folder / "small.safetensors"),
        description="A network of random weights.",
    )
    return write_model_item(spec, folder / "small.json")


@pytest.fixture(scope="module")
def exported(item: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The model in every format, alone in a folder."""
    folder = tmp_path_factory.mktemp("exported")
    for ending in FORMATS:
        assert main(["models", "export", str(item), str(folder / f"small{ending}")]) == 0
    return {ending: folder / f"small{ending}" for ending in FORMATS}


def scores_of(spec: ModelSpec) -> np.ndarray:
    pixels = made_up_pixels(spec, SIDE, np.random.default_rng(0))[None]
    with torch.inference_mode():
        scores: np.ndarray = load_model(spec).score(pixels, np.ones((1, SIDE, SIDE), np.bool_)).numpy()
    return scores


@pytest.mark.slow
@pytest.mark.parametrize("ending", FORMATS)
def test_an_exported_file_opens_by_itself_and_gives_the_same_labels(
    ending: str, item: Path, exported: dict[str, Path]
) -> None:
    before, after = read_model_item(item), find_model(exported[ending])
    of_file = {"weights", "checksum", "weights_bytes", "framework", "fixed_size"}
    kept = {name: value for name, value in vars(before).items() if name not in of_file}
    assert {name: getattr(after, name) for name in kept} == kept
    assert after.weights == str(exported[ending])
    expected, found = scores_of(before), scores_of(after)
    if ending == ".safetensors":
        np.testing.assert_array_equal(found, expected)
    else:
        np.testing.assert_allclose(found, expected, atol=1e-4)
        assert (found.argmax(1) == expected.argmax(1)).mean() > 0.999
    assert main(["models", "check", str(exported[ending])]) == 0


def test_what_is_exported_runs_without_geoseg(exported: dict[str, Path]) -> None:
    import onnxruntime

    pixels = torch.rand(2, 3, SIDE, SIDE)
    network = smp.Unet("resnet18", encoder_weights=None, in_channels=3, classes=3, decoder_channels=(64, 32, 16, 8, 8))
    network.load_state_dict(load_file(exported[".safetensors"]))
    with torch.inference_mode():
        expected = network.eval()(pixels)
        program = torch.export.load(exported[".pt2"]).module()(pixels)
    torch.testing.assert_close(program, expected, atol=1e-4, rtol=1e-3)
    session = onnxruntime.InferenceSession(str(exported[".onnx"]))
    (scores,) = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    torch.testing.assert_close(torch.from_numpy(scores), expected, atol=1e-4, rtol=1e-3)


def test_an_export_is_exported_and_added_like_any_other_model(
    exported: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for ending in (".onnx", ".safetensors"):
        again = tmp_path / "again.safetensors"
        code = main(["models", "export", str(exported[ending]), str(again)])
        assert code == (0 if ending == ".safetensors" else 3)
        assert ("is a graph already" in capsys.readouterr().err) == (code == 3)
    assert again.read_bytes() == exported[".safetensors"].read_bytes()
    assert main(["models", "add", str(again), "--home", str(tmp_path / "home")]) == 0
    assert find_model("small", home=tmp_path / "home").class_names == ["ground", "road", "roof"]


def test_deepness_reads_its_own_words_where_it_scales_as_the_model_wants(exported: dict[str, Path]) -> None:
    said = {entry.key: entry.value for entry in onnx.load(str(exported[".onnx"])).metadata_props}
    values = {key: json.loads(value) for key, value in said.items() if key != "mlm-item"}
    assert values["model_type"] == "Segmentor"
    assert values["class_names"] == {"0": "ground", "1": "road", "2": "roof"}
    assert (values["resolution"], values["tile_size"], values["tiles_overlap"]) == (30, SIDE, 50)
    assert values["standardization_mean"] == pytest.approx([0.5, 0.4, 0.3])
    assert values["standardization_std"] == pytest.approx([0.25] * 3)


def test_what_was_measured_of_the_network_is_not_said_of_a_graph_or_of_other_weights(
    item: Path, tmp_path: Path
) -> None:
    measured = replace(read_model_item(item), bfloat16=HalfPrecision(0.999, 1.0))
    path = write_model_item(measured, tmp_path / "measured.json")
    assert measured.weights is not None
    for target, options, kept in (
        ("same.safetensors", [], measured.bfloat16),
        ("other.safetensors", ["--weights", measured.weights], None),
        ("graph.pt2", [], None),
    ):
        assert main(["models", "export", str(path), str(tmp_path / target), *options]) == 0
        assert find_model(tmp_path / target).bfloat16 == kept


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sentinel2-land-cover", "buildings"])
def test_shipped_models_are_exported(name: str, tmp_path: Path) -> None:
    for ending in FORMATS:
        path = tmp_path / f"{name}{ending}"
        assert main(["models", "export", name, str(path)]) == 0
        assert replace(find_model(path), weights="", fixed_size=False).classes == find_model(locate_model(name)).classes
        assert main(["models", "check", str(path)]) == 0
        assert path.stat().st_size < 20e6


@pytest.mark.parametrize(
    ("model", "target", "sentence"),
    [
        ("small", "small.pth", "'small.pth' has the ending of no format for models; use .onnx, .pt2, .safetensors."),
        ("buildings-mask-rcnn", "b.onnx", "does not score pixels, so its graph cannot be written; export it as"),
        (
            "mask-rcnn-coco",
            "b.safetensors",
            "weights address 'hub:COCO_V1' of model 'mask-rcnn-coco' cannot be fetched",
        ),
    ],
)
def test_what_cannot_be_exported_is_refused(
    model: str,
    target: str,
    sentence: str,
    item: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["models", "export", str(item) if model == "small" else model, target]) != 0
    assert sentence in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_damaged_item_in_a_file_is_refused(exported: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "damaged.safetensors"
    save_file(load_file(exported[".safetensors"]), path, metadata={"mlm-item": "{"})
    with pytest.raises(CatalogError, match=r"damaged.safetensors' holds a damaged MLM item \(.*\); export the model"):
        find_model(path)
