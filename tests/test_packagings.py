"""What published files and folders tell of themselves becomes a model that labels as their own library does."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import rasterio
import segmentation_models_pytorch as smp
import torch
import transformers
from numpy.typing import NDArray

import geoseg
from geoseg.catalog import find_model
from geoseg.cli import main
from geoseg.errors import BandError, CatalogError, GeosegWarning, OutputError, WeightsError
from geoseg.models.packagings import GAP, write_new_item
from geoseg.models.packagings.gaps import Gaps
from geoseg.models.spec import Band
from geoseg.models.torchgeo import FCN
from geoseg.raster.bands import FileBand, match_bands
from tests.rasters import write_raster
from tests.test_detr import save_detr
from tests.test_item import check_schema
from tests.test_maskrcnn_exported import drawn
from tests.test_maskrcnn_exported import save_constants as save_found
from tests.test_yolo import ULTRALYTICS, Drawn, save_constants
from tests.trained import (
    GEOAI,
    MLM,
    TERRATORCH,
    TORCHGEO,
    build,
    build_torchvision,
    save_geoai,
    save_lightning,
    save_program,
    save_script,
    save_state,
    under,
)  # fmt: skip

SIDE = 64
NAMES = {0: "_background", 1: "building", 2: "woodland"}
EXACTLY = {"tile_size": SIDE, "halo": 0, "ramp": 0}
"""One tile that is the raster, which the library sees as a whole too."""

MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
NOTE = "does not name its bands"

pytestmark = pytest.mark.filterwarnings(f"ignore:.*{NOTE}:geoseg.errors.GeosegWarning")


class Scorer(torch.nn.Module):
    """Scores of each pixel from its neighbours, with an activation of its own."""

    def __init__(
        self, bands: int, scores: int, activation: torch.nn.Module | None, *, bands_last: bool = False
    ) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(bands, 8, 5, padding=2), torch.nn.Tanh(), torch.nn.Conv2d(8, scores, 1, bias=False)
        )
        self.activation, self.bands_last = activation or torch.nn.Identity(), bands_last

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        pixels = pixels.permute(0, 3, 1, 2) if self.bands_last else pixels
        scores: torch.Tensor = self.activation(4 * self.layers(pixels))
        return scores.permute(0, 2, 3, 1) if self.bands_last else scores


def patches(seed: int) -> NDArray[np.uint8]:
    """Noise in squares of 4 px."""
    small = np.random.default_rng(seed).integers(0, 256, (3, SIDE // 4, SIDE // 4), dtype=np.uint8)
    return np.kron(small, np.ones((1, 4, 4), np.uint8))


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """Patches of 4 px: uint8, shape (3, y, x)."""
    return patches(3)


@pytest.fixture
def raster(tmp_path: Path, pixels: NDArray[np.uint8]) -> str:
    return str(write_raster(tmp_path / "scene.tif", pixels))


def save_onnx(
    path: Path,
    metadata: Mapping[str, Any],
    *,
    bands: int = 3,
    scores: int = 3,
    activation: torch.nn.Module | None = None,
    side: int | None = SIDE,
    bands_last: bool = False,
) -> Path:
    """Export a small network, with metadata as Deepness' documentation writes it: each value as JSON."""
    torch.manual_seed(5)
    network = Scorer(bands, scores, activation, bands_last=bands_last).eval()
    example = torch.zeros(1, SIDE, SIDE, bands) if bands_last else torch.zeros(1, bands, SIDE, SIDE)
    image = {1: "y", 2: "x"} if bands_last else {2: "y", 3: "x"}
    axes = {name: {0: "n"} | ({} if side else image) for name in ("pixels", "scores")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, (example,), str(path), input_names=["pixels"], output_names=["scores"], dynamic_axes=axes,
            dynamo=False,
        )  # fmt: skip
    model = onnx.load(path)
    for key, value in metadata.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value if isinstance(value, str) else json.dumps(value)
    onnx.save(model, path)
    return path


def by_deepness(path: Path, pixels: NDArray[np.uint8], mean: list[float], deviation: list[float]) -> NDArray[Any]:
    """Outputs as the plugin's documentation describes its preprocessing: bytes to 0..1, then standardized."""
    scaled = (pixels.astype(np.float32) / 255 - np.array(mean)[:, None, None]) / np.array(deviation)[:, None, None]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    scores: NDArray[Any] = session.run(None, {"pixels": scaled[None].astype(np.float32)})[0][0]
    return scores


def labels_of(raster: str, model: str | Path, **options: Any) -> NDArray[Any]:
    return np.asarray(geoseg.segment(raster, str(model), **EXACTLY, **options)).squeeze()


def assert_same(labels: NDArray[Any], expected: NDArray[Any]) -> None:
    """Labels agree but for pixels whose two best classes are a rounding apart, one in a thousand at most."""
    assert labels.shape == expected.shape
    assert len(np.unique(expected)) > 1
    assert (labels == expected).mean() >= 0.999


SEGMENTOR: dict[str, Any] = {"model_type": '"Segmentor"', "class_names": NAMES, "resolution": 50}


def test_a_segmentor_of_deepness_labels_as_the_plugin_does(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8]
) -> None:
    metadata = SEGMENTOR | {"standardization_mean": MEAN, "standardization_std": DEVIATION, "seg_thresh": 0.5}
    path = save_onnx(tmp_path / "land.onnx", metadata, activation=torch.nn.Softmax(1))
    spec = find_model(path)
    assert spec.classes[0].color == "#D9D9D9"
    assert len({item.color for item in spec.classes}) == 3
    assert (spec.name, spec.class_names, spec.resolution) == ("land", list(NAMES.values()), 0.5)
    assert (spec.tile_size, spec.fixed_size, spec.activation, spec.threshold) == (SIDE, True, "none", 0.5)
    outputs = by_deepness(path, pixels, MEAN, DEVIATION)
    expected = np.where(outputs < 0.5, 0, outputs).argmax(0)
    assert (outputs.max(0) < 0.5).any()
    with pytest.warns(GeosegWarning, match=NOTE):
        labels = labels_of(raster, path, resolution=10)
    assert_same(labels, expected)


def test_one_probability_is_a_class_and_its_background(tmp_path: Path, raster: str, pixels: NDArray[np.uint8]) -> None:
    names = {0: "no roof", 1: "roof"}
    mean, deviation = [0.5] * 3, [0.25] * 3
    standard = {"standardization_mean": mean, "standardization_std": deviation}
    metadata = {"model_type": '"Segmentor"', "class_names": [names], "seg_thresh": 0.6, **standard}
    path = save_onnx(tmp_path / "roofs.onnx", metadata, scores=1, activation=torch.nn.Sigmoid())
    outputs = by_deepness(path, pixels, mean, deviation)[0]
    assert_same(labels_of(raster, path), (outputs >= 0.6).astype(int))
    one = save_onnx(tmp_path / "one.onnx", metadata | {"class_names": {0: "roof"}}, scores=1)
    assert [(item.value, item.name) for item in find_model(one).classes] == [(1, "roof"), (0, "background")]


def test_tiles_of_any_size_take_size_and_overlap_of_the_metadata(tmp_path: Path) -> None:
    path = save_onnx(tmp_path / "m.onnx", SEGMENTOR | {"tile_size": 512, "tiles_overlap": 15}, side=None)
    spec = find_model(path)
    assert (spec.tile_size, spec.fixed_size) == (512, False)
    assert 2 * spec.halo + (spec.ramp or 0) == 96  # 15 % are 76.8 px, and 32 divides what tiles share


def test_bands_behind_the_image_are_read_from_the_shape(tmp_path: Path, raster: str) -> None:
    path = save_onnx(tmp_path / "last.onnx", SEGMENTOR, bands_last=True, activation=torch.nn.Softmax(1))
    first = save_onnx(tmp_path / "first.onnx", SEGMENTOR, activation=torch.nn.Softmax(1))
    assert find_model(path).score_count == 3
    assert np.array_equal(labels_of(raster, path, resolution=10), labels_of(raster, first, resolution=10))


def test_a_threshold_without_background_is_said_and_left_out(tmp_path: Path) -> None:
    metadata = SEGMENTOR | {"class_names": {0: "a", 1: "b", 2: "c"}, "seg_thresh": 0.5, "seg_small_segment": 7}
    path = save_onnx(tmp_path / "m.onnx", metadata)
    with pytest.warns(GeosegWarning) as said:
        assert find_model(path).threshold is None
    assert any("below which Deepness gives a pixel to its first class, 'a'" in str(item.message) for item in said)
    assert any("--min-area merges small polygons" in str(item.message) for item in said)


SEMANTIC: dict[str, dict[str, Any]] = {
    "Segformer": {
        "depths": (1, 1, 1, 1),
        "hidden_sizes": (8, 16, 16, 32),
        "num_attention_heads": (1, 1, 2, 2),
        "decoder_hidden_size": 16,
    },
    "Beit": {
        "hidden_size": 16,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "image_size": SIDE,
        "patch_size": 16,
        "out_indices": [1, 2, 3, 4],
        "use_auxiliary_head": False,
    },
    "MobileViT": {
        "hidden_sizes": [8, 8, 8],
        "neck_hidden_sizes": [4, 4, 4, 4, 8, 8, 8],
        "image_size": SIDE,
        "aspp_out_channels": 8,
        "num_attention_heads": 2,
    },
}

AS_IT_IS = {"do_resize": False, "do_center_crop": False, "return_tensors": "pt"}
"""How the library is asked to prepare a window at its own resolution."""


def save_transformers(folder: Path, kind: str, **processing: Any) -> tuple[Any, Any]:
    """Let transformers save a small network and what prepares images for it."""
    torch.manual_seed(2)
    labels = {"id2label": NAMES, "label2id": {name: value for value, name in NAMES.items()}}
    configuration = getattr(transformers, f"{kind}Config")(**SEMANTIC[kind], **labels)
    network = getattr(transformers, f"{kind}ForSemanticSegmentation")(configuration).eval()
    for tensor in network.parameters():
        if tensor.dim() > 1:
            torch.nn.init.kaiming_normal_(tensor)
    processor = getattr(transformers, f"{kind}ImageProcessor")(**processing)
    head = [item for item in network.modules() if isinstance(item, torch.nn.Conv2d) and item.out_channels == len(NAMES)]
    noise = processor([np.moveaxis(patches(seed), 0, -1) for seed in range(4)], **AS_IT_IS)
    with torch.no_grad():  # random weights make one class of everything: layers and classes are balanced
        for item in network.modules():
            if isinstance(item, torch.nn.BatchNorm2d):
                item.momentum = None
        network.train()(**noise)
        assert head[-1].bias is not None
        logits = network.eval()(**noise).logits
        head[-1].bias -= logits.mean((0, 2, 3))
        for tensor in (head[-1].bias, head[-1].weight):
            tensor.mul_(2 / logits.std())
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return network, processor


@pytest.mark.parametrize("kind", SEMANTIC)
def test_a_folder_of_transformers_labels_as_the_library_does(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8], kind: str
) -> None:
    network, processor = save_transformers(tmp_path / "saved", kind)
    with torch.no_grad():
        outputs = network(**processor(np.moveaxis(pixels, 0, -1), **AS_IT_IS))
    expected = processor.post_process_semantic_segmentation(outputs, target_sizes=[(SIDE, SIDE)])[0].numpy()
    spec = find_model(tmp_path / "saved")
    assert spec.class_names == list(NAMES.values())
    assert spec.fixed_size == (kind == "Beit")
    assert_same(labels_of(raster, tmp_path / "saved"), expected)


def test_a_folder_of_transformers_alone_labels_as_the_library_does_once_its_scaling_is_said(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8]
) -> None:
    network, processor = save_transformers(tmp_path / "alone", "Segformer")
    (tmp_path / "alone" / "preprocessor_config.json").unlink()
    item, unsaid = write_new_item(tmp_path / "alone", tmp_path / "item.json", gaps=Gaps("imagenet"))
    assert unsaid == ["bands", "resolution"]
    with torch.no_grad():
        outputs = network(**processor(np.moveaxis(pixels, 0, -1), **AS_IT_IS))
    expected = processor.post_process_semantic_segmentation(outputs, target_sizes=[(SIDE, SIDE)])[0].numpy()
    assert_same(labels_of(raster, item), expected)


def test_a_folder_of_an_older_version_is_scaled_as_its_class_did(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    save_transformers(folder, "Segformer")
    now = find_model(folder)
    assert now.value_range == ((0, 255),)
    kept = {"do_normalize": True, "do_resize": True, "image_mean": MEAN, "image_std": DEVIATION, "size": 512}
    old = kept | {"feature_extractor_type": "SegformerFeatureExtractor", "reduce_labels": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(old))
    assert find_model(folder) == now
    (folder / "preprocessor_config.json").write_text("[" * 100_000)
    with pytest.raises(CatalogError, match=r"preprocessor_config.json' is not JSON"):
        find_model(folder)


@pytest.mark.parametrize(
    ("processing", "scaling"),
    [
        ({"do_normalize": False}, ("scale", None, None, 255)),
        ({"do_rescale": False}, ("z-score", 0.485, 0.229, None)),
        ({"rescale_factor": 1e-4}, ("z-score", 4850, 2290, None)),
    ],
)
def test_scaling_is_what_the_processor_does(
    tmp_path: Path, processing: Mapping[str, Any], scaling: tuple[Any, ...]
) -> None:
    save_transformers(tmp_path / "saved", "Segformer", **processing)
    first = find_model(tmp_path / "saved").scalings[0]
    assert (first.type, first.mean, first.stddev, first.value) == pytest.approx(scaling)


def save_smp(folder: Path, **arguments: Any) -> Any:
    torch.manual_seed(4)
    network = smp.Unet("resnet18", encoder_weights=None, encoder_depth=3, decoder_channels=(16, 8, 8), **arguments)
    with torch.no_grad():
        network.segmentation_head[0].weight.mul_(10)
    network.eval().save_pretrained(folder)
    return network


def filled(item: Path, scaling: list[dict[str, Any]]) -> Path:
    """The item with its gap filled in."""
    document = json.loads(item.read_text())
    (model_input,) = document["properties"]["mlm:input"]
    assert model_input["value_scaling"] == [{"type": GAP}]
    model_input["value_scaling"] = scaling
    item.write_text(json.dumps(document))
    return item


def test_a_folder_of_smp_labels_as_the_library_does_once_its_scaling_is_filled_in(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    network = save_smp(tmp_path / "unet", classes=3)
    item = tmp_path / "item.json"
    assert main(["models", "new", str(tmp_path / "unet"), "--output", str(item)]) == 0
    assert "value_scaling, bands, classes, resolution" in capsys.readouterr().out
    with pytest.raises(CatalogError, match=r"value_scaling.*has the type 'FILL IN"):
        find_model(item)
    filled(item, [{"type": "scale", "value": 255}])
    assert json.loads(item.read_text())["assets"]["model"]["href"] == "./unet"
    with torch.no_grad():
        expected = smp.from_pretrained(tmp_path / "unet").eval()(torch.from_numpy(pixels[None] / np.float32(255)))
        assert torch.equal(expected, network(torch.from_numpy(pixels[None] / np.float32(255))))
    assert_same(labels_of(raster, item), expected[0].argmax(0).numpy())


def save_transform(folder: Path, *steps: Mapping[str, Any]) -> Path:
    """A transform as ``albumentations.Compose([...]).save_pretrained(folder)`` of version 2.0.8 writes it."""
    listed = [{"__class_fullname__": "Resize", "p": 1.0, "height": 640, "interpolation": 1, "width": 640}, *steps]
    compose = {"__class_fullname__": "Compose", "p": 1.0, "transforms": listed, "bbox_params": None}
    document = {"__version__": "2.0.8", "transform": compose}
    (folder / "albumentations_config_eval.json").write_text(json.dumps(document))
    return folder


NORMALIZE = {
    "__class_fullname__": "Normalize",
    "p": 1.0,
    "max_pixel_value": 255.0,
    "mean": MEAN,
    "normalization": "standard",
    "std": DEVIATION,
}


def test_a_folder_of_smp_with_its_transform_labels_as_the_library_does(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8]
) -> None:
    network = save_smp(tmp_path / "unet", classes=3)
    save_transform(tmp_path / "unet", NORMALIZE)
    mean, deviation = (np.array(values, np.float32)[:, None, None] for values in (MEAN, DEVIATION))
    with torch.no_grad():
        expected = network(torch.from_numpy((pixels / np.float32(255) - mean) / deviation)[None])[0].argmax(0).numpy()
    assert find_model(tmp_path / "unet").value_range == ((0, 255),)
    assert_same(labels_of(raster, tmp_path / "unet"), expected)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [NORMALIZE, NORMALIZE],
        [{"__class_fullname__": "CLAHE", "p": 1.0}, NORMALIZE],
        [NORMALIZE | {"normalization": "image"}],
        [NORMALIZE | {"std": 0.5}],
    ],
)
def test_a_transform_that_does_anything_else_tells_no_scaling(tmp_path: Path, steps: list[dict[str, Any]]) -> None:
    save_smp(tmp_path / "unet", classes=3)
    with pytest.raises(CatalogError, match="does not tell how pixels are scaled"):
        find_model(save_transform(tmp_path / "unet", *steps))


def test_one_score_of_smp_is_a_sigmoid(tmp_path: Path) -> None:
    save_smp(tmp_path / "unet", classes=1)
    spec = find_model(filled(write_new_item(tmp_path / "unet", tmp_path / "m.json")[0], [{"type": "none"}]))
    assert (spec.activation, spec.threshold) == ("sigmoid", 0.5)
    assert [(item.value, item.name) for item in spec.classes] == [(1, "class 1"), (0, "background")]


def test_the_written_item_is_the_same_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = save_onnx(tmp_path / "land.onnx", SEGMENTOR)
    item, unsaid = write_new_item(path)
    assert (item, unsaid) == (Path("land.json"), ["bands"])
    check_schema(json.loads(item.read_text()))
    assert find_model(item) == find_model(path)
    with pytest.raises(OutputError, match=r"'land.json' exists; remove it, or choose another file with --output"):
        write_new_item(path)


def test_the_commands_take_a_packaging(
    tmp_path: Path, raster: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GEOSEG_CATALOG", str(tmp_path / "own"))
    path = str(save_onnx(tmp_path / "land.onnx", SEGMENTOR, activation=torch.nn.Softmax(1)))
    for command in ("show", "check", "add"):
        capsys.readouterr()
        assert main(["models", command, path]) == 0
        assert " ".join(capsys.readouterr().err.split()).count(NOTE) == 1
    assert find_model("land").weights == str(tmp_path / "own" / "models" / "land" / "land.onnx")
    run = ["run", "--input", raster, "--model", path, "--output", str(tmp_path / "out"), "--workers", "1"]
    assert main([*run, "--resolution", "10"]) == 0
    with rasterio.open(tmp_path / "out" / "labels.tif") as labels:
        assert len(np.unique(labels.read())) > 1
    capsys.readouterr()
    assert main(["probe", path, "--write"]) != 0
    assert "has no entry to write into; write one with `geoseg models new" in " ".join(capsys.readouterr().err.split())


def broken_folder(folder: Path, config: Mapping[str, Any]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_what_is_not_told_is_asked_for(tmp_path: Path) -> None:
    bare = save_onnx(tmp_path / "bare.onnx", {})
    save_transformers(tmp_path / "alone", "Segformer")
    (tmp_path / "alone" / "preprocessor_config.json").unlink()
    for path in (bare, tmp_path / "alone"):
        with pytest.raises(
            CatalogError, match=r"does not tell how pixels are scaled.*`geoseg models new .* --scaling 255`"
        ):
            find_model(path)


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"model_type": '"Detector"'}, r"is a Detector of Deepness, and only a Segmentor gives a map of classes"),
        (SEGMENTOR | {"class_names": {0: "a"}}, r"has the class_names \{\"0\": \"a\"\} and an output of 3 scores"),
        (SEGMENTOR | {"class_names": [NAMES, NAMES]}, r"name the classes of one output"),
        (SEGMENTOR | {"resolution": "fine"}, r"has the resolution 'fine', which is not JSON; correct it"),
        (SEGMENTOR | {"class_names": "[" * 100_000}, r"has the class_names '\[\[.*, which is not JSON; correct it"),
        (SEGMENTOR | {"resolution": [1]}, r"has the resolution \[1\], which is no number from 0 on"),
        (SEGMENTOR | {"resolution": "-50"}, r"has the resolution -50, which is no number from 0 on"),
        (SEGMENTOR | {"resolution": "NaN"}, r"has the resolution NaN, which is no number from 0 on"),
        (
            SEGMENTOR | {"standardization_mean": [0.5], "standardization_std": [1, 1, 1]},
            r"has the standardization_mean \[0.5\] for 3 bands; give one number for each",
        ),
    ],
)
def test_metadata_that_cannot_be_used_is_named(tmp_path: Path, metadata: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence):
        find_model(save_onnx(tmp_path / "m.onnx", metadata))


def test_what_cannot_be_opened_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(CatalogError, match=r"is not an ONNX file or is damaged"):
        find_model(tmp_path / "text.onnx")
    with pytest.raises(CatalogError, match=r"model '.*gone.onnx' does not exist"):
        find_model(tmp_path / "gone.onnx")
    with pytest.raises(CatalogError, match=r"class 'BertModel', which does not tell that it maps classes"):
        find_model(broken_folder(tmp_path / "bert", {"architectures": ["BertModel"]}))
    with pytest.raises(CatalogError, match=r"has the classes None; give a whole number from 1 to 254"):
        write_new_item(broken_folder(tmp_path / "unet", {"_model_class": "Unet", "in_channels": 3}))
    with pytest.raises(CatalogError, match=r"has the activation 'argmax', which cannot be used"):
        write_new_item(broken_folder(tmp_path / "fpn", {"_model_class": "FPN", "classes": 2, "activation": "argmax"}))
    with pytest.raises(CatalogError, match=r"'.*' does not describe itself; give an ONNX file"):
        write_new_item(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"_model_class": "Unet", "classes": 3, "activation": []},
        {"architectures": 7},
        {"architectures": ["BeitForSemanticSegmentation"], "backbone_config": "x"},
        {"architectures": ["BeitForSemanticSegmentation"], "num_labels": "x"},
    ],
)
def test_fields_of_other_types_are_refused_in_a_sentence(tmp_path: Path, config: Mapping[str, Any]) -> None:
    with pytest.raises(CatalogError, match=r"does not describe itself as its library does \(.*\); save it again"):
        find_model(broken_folder(tmp_path / "m", config))


def test_a_pickle_in_a_folder_is_never_opened(tmp_path: Path, raster: str) -> None:
    save_transformers(tmp_path / "saved", "Segformer")
    (tmp_path / "saved" / "model.safetensors").rename(tmp_path / "saved" / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"as a pickle, which could run code when opened; it was not opened"):
        labels_of(raster, tmp_path / "saved")


def file_bands(*described: tuple[str, str]) -> list[FileBand]:
    return [FileBand(index, text, color) for index, (text, color) in enumerate(described, 1)]


def test_numbered_bands_are_taken_by_position_where_they_can_be_meant() -> None:
    rgb, bgr = [Band(name) for name in "123"], [Band(name) for name in "321"]
    picture = file_bands(("", "red"), ("", "green"), ("", "blue"), ("", "alpha"))
    nameless = file_bands(*[("", "gray"), ("", "undefined"), ("", "undefined"), ("", "undefined")])
    assert match_bands(rgb, picture, file="f") == (1, 2, 3)
    assert match_bands(bgr, picture, file="f") == (3, 2, 1)
    assert match_bands(rgb, nameless, file="f") == (1, 2, 3)
    assert match_bands(bgr, nameless[:3], file="f") == (3, 2, 1)
    sentinel = file_bands(("B02", "gray"), ("B03", "undefined"), ("B04", "undefined"))
    with pytest.raises(BandError, match=re.escape("give their numbers in this order, such as `bands: [3, 2, 1]`")):
        match_bands(rgb, sentinel, file="f")


def save_folder(folder: Path, leave_out: str = "", **names: str) -> Path:
    """A Segformer's folder without a file, or with files of other names."""
    save_transformers(folder, "Segformer")
    for old, new in names.items():
        (folder / old.replace("_", ".")).rename(folder / new)
    if leave_out:
        (folder / leave_out).unlink()
    return folder


def filled_unet(folder: Path) -> Path:
    save_smp(folder / "unet", classes=3)
    return filled(write_new_item(folder / "unet", folder / "unet.json")[0], [{"type": "scale", "value": 255}])


def smp_folder(folder: Path) -> Path:
    save_smp(folder / "unet", classes=3)
    return folder / "unet"


def save_yolo(path: Path, outputs: int = 2) -> Path:
    drawn = Drawn()
    return save_constants(path, ULTRALYTICS, *[drawn.rows("v8"), drawn.prototypes][:outputs])


def saved_detr(folder: Path) -> Path:
    save_detr(folder)
    return folder


BUILT: dict[str, Callable[[Path], Path]] = {
    "ONNX with Deepness' metadata": lambda folder: save_onnx(
        folder / "land.onnx", SEGMENTOR, activation=torch.nn.Softmax(1)
    ),
    "ONNX without metadata": lambda folder: save_onnx(folder / "bare.onnx", {}),
    "ONNX of YOLO, a segmentation network (v5, v8 to v11, 26)": lambda folder: save_yolo(folder / "best.onnx"),
    "ONNX of YOLO without masks": lambda folder: save_yolo(folder / "boxes.onnx", outputs=1),
    "ONNX of torchvision's Mask R-CNN": lambda folder: save_found(folder / "roofs.onnx", *drawn(size=512)),
    "ONNX of a detector without masks (boxes, labels, scores)": lambda folder: save_found(
        folder / "detector.onnx", *drawn()[:3]
    ),
    "ONNX of a Deepness detector": lambda folder: save_onnx(folder / "cars.onnx", {"model_type": '"Detector"'}),
    "folder of transformers, a semantic network with its image processor": lambda folder: save_folder(folder / "s"),
    "folder of transformers, RF-DETR's segmentation network": lambda folder: saved_detr(folder / "rf-detr"),
    "folder of transformers without preprocessor_config.json": lambda folder: save_folder(
        folder / "alone", "preprocessor_config.json"
    ),
    "folder of transformers of another task": lambda folder: broken_folder(
        folder / "bert", {"architectures": ["BertModel"]}
    ),
    "folder of transformers with a pickle (.bin)": lambda folder: save_folder(
        folder / "old", model_safetensors="pytorch_model.bin"
    ),
    "folder of segmentation-models-pytorch with albumentations_config_eval.json": lambda folder: save_transform(
        smp_folder(folder), NORMALIZE
    ),
    "folder of segmentation-models-pytorch alone": smp_folder,
    "folder of geoai, model.pth and its config.json": lambda folder: save_geoai(folder / "pushed", build()),
    "weights of segmentation-models-pytorch as .safetensors": lambda folder: save_state(folder / "u.safetensors"),
    "the same by torch.save (.pt, .pth)": lambda folder: save_state(folder / "unet.pth"),
    "weights with an encoder of timm": lambda folder: save_state(folder / "t.safetensors", encoder_name="tu-resnet18"),
    "weights of torchvision's FCN, DeepLab v3 and LR-ASPP": lambda folder: save_state(
        folder / "deeplab.pth", build_torchvision("lraspp_mobilenet_v3_large")
    ),
    "weights of torchgeo's FCN": lambda folder: save_state(folder / "fcn.pth", FCN(3, 4)),
    "weights of another library": lambda folder: save_state(folder / "other.pth", torch.nn.Conv2d(3, 4, 3)),
    "Lightning checkpoint of torchgeo's SemanticSegmentationTask": lambda folder: save_lightning(
        folder / "torchgeo.ckpt", under("model.", build(), criterion__weight=torch.ones(4)), TORCHGEO
    ),
    "Lightning checkpoint of terratorch's SemanticSegmentationTask with SMPModelFactory": lambda folder: save_lightning(
        folder / "fpn.ckpt", under("model.smp_model.", build("FPN", decoder_segmentation_channels=32)), TERRATORCH
    ),
    "Lightning checkpoint of geoai's TimmSegmentationModel": lambda folder: save_lightning(
        folder / "geoai.ckpt", under("model.", build()), GEOAI
    ),
    "Lightning checkpoint whose hyperparameters are objects": lambda folder: save_lightning(
        folder / "objects.ckpt", under("model.", build()), {"root": folder}
    ),
    "torch.export program (.pt2) with stac-model's metadata": lambda folder: save_program(
        folder / "towns.pt2", build(), MLM
    ),
    "torch.export program (.pt2) without metadata": lambda folder: save_program(folder / "bare.pt2", build()),
    "torch.export program (.pt2) with its transforms beside it": lambda folder: save_program(
        folder / "two.pt2", torch.nn.Conv2d(3, 4, 1).eval(), transforms=True
    ),
    "TorchScript": lambda folder: save_script(folder / "script.pt", torch.nn.Conv2d(3, 4, 1).eval()),
    "its entry from `geoseg models new`, filled in": filled_unet,
}
PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
TABLE = PAGE.partition("| packaging |")[2].partition("\n\n")[0].splitlines()[2:]


@pytest.mark.slow
@pytest.mark.parametrize("row", TABLE)
def test_the_table_of_packagings_is_true(tmp_path: Path, row: str, capsys: pytest.CaptureFixture[str]) -> None:
    packaging, _, opened = (cell.strip() for cell in row.strip("|").split("|"))
    code = main(["models", "check", str(BUILT[packaging](tmp_path))])
    said = " ".join(capsys.readouterr().err.split())
    if opened == "yes":
        assert code == 0
    else:
        assert code != 0
        assert opened.removeprefix("no: ").strip('"') in said


def test_the_table_has_every_packaging_that_is_built() -> None:
    assert [row.strip("|").split("|")[0].strip() for row in TABLE] == list(BUILT)
