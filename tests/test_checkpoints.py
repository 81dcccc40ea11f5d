"""Weights files without an entry: their network is told by their tensors, and labels are those of the library."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torchvision.models import segmentation

from geoseg.catalog import find_model
from geoseg.cli import main
from geoseg.errors import CatalogError, GeosegWarning, WeightsError
from geoseg.models import load_model
from geoseg.models.packagings import write_new_item
from geoseg.models.packagings.gaps import Gaps
from geoseg.models.smp_networks import TRACES, LibraryNetwork, find_networks
from geoseg.models.state_dicts import network_state
from geoseg.models.torchvision_hub import take_bands
from geoseg.models.torchvision_networks import find_torchvision
from tests.rasters import write_raster
from tests.test_packagings import NOTE, SIDE, assert_same, filled, labels_of, patches
from tests.trained import (
    GEOAI,
    MLM,
    TERRATORCH,
    TORCHGEO,
    build,
    build_torchvision,
    labels_by,
    save_geoai,
    save_lightning,
    save_program,
    save_script,
    under,
)

BYTES = [{"type": "scale", "value": 255}]

pytestmark = pytest.mark.filterwarnings(f"ignore:.*{NOTE}:geoseg.errors.GeosegWarning")


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """Patches of 4 px: uint8, shape (3, y, x)."""
    return patches(3)


@pytest.fixture
def raster(tmp_path: Path, pixels: NDArray[np.uint8]) -> str:
    return str(write_raster(tmp_path / "scene.tif", pixels))


def entry_of(path: Path) -> Path:
    """The entry of a weights file, with its gap filled in."""
    return filled(write_new_item(path, path.with_suffix(".json"))[0], BYTES)


def shapes_of(network: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def found(network: torch.nn.Module, **told: Any) -> list[LibraryNetwork]:
    return find_networks(shapes_of(network), told=told)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in TRACES if kind != "DPT"])  # whose encoders are timm's
def test_an_architecture_is_told_by_its_tensors(kind: str) -> None:
    network = getattr(smp, kind)(encoder_name="mobilenet_v2", encoder_weights=None, in_channels=5, classes=2)
    (only,) = found(network)
    assert (only.architecture, only.bands, only.scores) == (kind, 5, 2)
    rebuilt = getattr(smp, kind)(encoder_weights=None, in_channels=5, classes=2, **only.hyperparameters)
    rebuilt.load_state_dict(network.state_dict())
    pixels = torch.rand(1, 5, 128, 128)
    with torch.no_grad():
        assert torch.equal(rebuilt.eval()(pixels), network.eval()(pixels))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "arguments"),
    [
        ("resnet34", {"decoder_attention_type": "scse"}),
        ("efficientnet-b0", {"encoder_depth": 4, "decoder_channels": [64, 32, 16, 8]}),
        ("vgg11", {"decoder_use_norm": False}),
        ("mit_b0", {}),
        ("timm-skresnet18", {}),
        ("mobileone_s1", {}),
        ("dpn68b", {}),
    ],
)
def test_an_encoder_and_what_its_decoder_was_built_with_are_told_by_tensors(
    encoder: str, arguments: Mapping[str, Any]
) -> None:
    (only,) = found(smp.Unet(encoder, encoder_weights=None, in_channels=3, classes=7, **arguments))
    told = only.hyperparameters
    assert (told["encoder_name"], only.bands, only.scores) == (encoder, 3, 7)
    assert {key: told[key] for key in arguments} == arguments


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("fcn_resnet50", {"aux_loss": True}),
        ("fcn_resnet101", {}),
        ("deeplabv3_resnet50", {}),
        ("deeplabv3_resnet101", {}),
        ("deeplabv3_mobilenet_v3_large", {"aux_loss": True}),
        ("lraspp_mobilenet_v3_large", {}),
    ],
)
def test_a_network_of_torchvision_is_told_by_its_tensors(kind: str, arguments: Mapping[str, Any]) -> None:
    with torch.device("meta"):
        network = getattr(segmentation, kind)(weights=None, weights_backbone=None, num_classes=7, **arguments)
        take_bands(network, 5)
    (only,) = find_torchvision({f"model.{name}": shape for name, shape in shapes_of(network).items()})
    assert (only.library, only.architecture, only.bands, only.scores) == ("torchvision", kind, 5, 7)
    assert find_torchvision({name: shape for name, shape in shapes_of(network).items() if "layer2" not in name}) == (
        [] if "resnet" in kind else [only]
    )


@pytest.mark.parametrize("name", ["lraspp.pth", "deeplab.ckpt"])
def test_weights_of_torchvision_label_as_torchvision_does(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8], name: str
) -> None:
    kind = "lraspp_mobilenet_v3_large" if name == "lraspp.pth" else "deeplabv3_mobilenet_v3_large"
    network = build_torchvision(kind)
    if name == "lraspp.pth":
        torch.save(network.state_dict(), tmp_path / name)
    else:
        save_lightning(tmp_path / name, under("net.", network, criterion__weight=torch.ones(4)), {})
    entry = entry_of(tmp_path / name)
    assert find_model(entry).architecture == f"torchvision.{kind}"
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels / np.float32(255))[None])["out"][0].argmax(0).numpy()
    assert_same(labels_of(raster, entry), expected)


def test_what_leaves_no_trace_is_the_default_and_told_to_be_it() -> None:
    network = smp.DeepLabV3Plus("resnet18", encoder_weights=None, classes=2)
    (only,) = found(network)
    assert only.unsaid == ("encoder_output_stride", "decoder_atrous_rates")
    assert only.hyperparameters["encoder_output_stride"] == 16
    (hinted,) = found(network, encoder_output_stride=8)
    assert (hinted.hyperparameters["encoder_output_stride"], hinted.unsaid) == (8, ("decoder_atrous_rates",))


FILES = {
    "state_dict.safetensors": lambda network, path: save_file(network.state_dict(), path),
    "state_dict.pth": lambda network, path: torch.save(network.state_dict(), path),
    "torchgeo.ckpt": lambda network, path: save_lightning(
        path, under("model.", network, criterion__weight=torch.ones(4)), TORCHGEO
    ),
    "module.ckpt": lambda network, path: save_lightning(
        path, under("net._orig_mod.", network, loss_fn__weight=torch.ones(4), val_iou__confmat=torch.ones(4, 4)), {}
    ),
    "loop.pt": lambda network, path: torch.save(
        {"epoch": 3, "model_state_dict": under("module.", network), "optimizer_state_dict": {}}, path
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_weights_file_labels_as_its_library_does_once_its_scaling_is_filled_in(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8], name: str
) -> None:
    network = build()
    FILES[name](network, tmp_path / name)
    with pytest.raises(CatalogError, match=r"does not tell how pixels are scaled.*`geoseg models new .*--scaling 255"):
        find_model(tmp_path / name)
    entry = entry_of(tmp_path / name)
    assert find_model(entry).architecture == "smp.Unet"
    assert_same(labels_of(raster, entry), labels_by(network, pixels))


def test_a_checkpoint_of_terratorch_names_bands_and_classes(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8]
) -> None:
    network = build("FPN", decoder_segmentation_channels=32)
    path = save_lightning(tmp_path / "fpn.ckpt", under("model.smp_model.", network), TERRATORCH)
    item, unsaid = write_new_item(path, tmp_path / "fpn.json")
    assert unsaid == ["value_scaling", "resolution"]
    spec = find_model(filled(item, BYTES))
    assert spec.class_names == TERRATORCH["class_names"]
    assert spec.band_names == ["BLUE", "GREEN", "RED"]
    assert_same(labels_of(raster, item, bands=[1, 2, 3]), labels_by(network, pixels))


def test_a_folder_of_geoai_needs_no_entry(tmp_path: Path, raster: str, pixels: NDArray[np.uint8]) -> None:
    network = build()
    folder = save_geoai(tmp_path / "pushed", network)
    assert find_model(folder).value_range == ((0, 255),)
    for path in (folder, folder / "model.pth"):
        assert_same(labels_of(raster, path), labels_by(network, pixels))
    assert json.loads(write_new_item(folder, tmp_path / "m.json")[0].read_text())["assets"]["model"]["href"].endswith(
        "pushed/model.pth"
    )
    module = {key: value for key, value in GEOAI.items() if key != "model_type"} | {"learning_rate": 0.001}
    assert find_model(save_lightning(tmp_path / "m.ckpt", under("model.", network), module)).scalings[0].value == 255


def test_independent_scores_of_torchgeo_are_sigmoids(tmp_path: Path) -> None:
    several = TORCHGEO | {"task": "multilabel", "num_classes": None, "num_labels": 3}
    path = save_lightning(tmp_path / "several.ckpt", under("model.", build(classes=3)), several)
    spec = find_model(entry_of(path))
    assert (spec.activation, [item.value for item in spec.classes]) == ("sigmoid", [1, 2, 3, 0])
    torch.save(build(classes=1).state_dict(), tmp_path / "one.pt")
    assert find_model(entry_of(tmp_path / "one.pt")).activation == "sigmoid"


def test_an_encoder_of_timm_is_told_by_metadata(tmp_path: Path, raster: str, pixels: NDArray[np.uint8]) -> None:
    network = build(encoder_name="tu-resnet18")
    state = network.state_dict()
    save_file(state, tmp_path / "silent.safetensors")
    with pytest.raises(CatalogError, match=r"do not tell which of a thousand; save them with .*\"tu-"):
        write_new_item(tmp_path / "silent.safetensors")
    save_file(state, tmp_path / "told.safetensors", {"encoder_name": "tu-resnet18"})
    entry = entry_of(tmp_path / "told.safetensors")
    assert dict(find_model(entry).hyperparameters)["encoder_name"] == "tu-resnet18"
    assert_same(labels_of(raster, entry), labels_by(network, pixels))


def test_a_dpt_is_told_by_its_tensors_and_the_name_of_its_encoder(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8]
) -> None:
    torch.manual_seed(1)
    said = {"encoder_name": "tu-vit_tiny_patch16_224", "encoder_weights": None, "classes": 4}
    sizes = {"decoder_intermediate_channels": (8, 16, 24, 32), "decoder_fusion_channels": 16}
    network = smp.DPT(**said, **sizes, dynamic_img_size=True).eval()
    save_file(network.state_dict(), tmp_path / "m.safetensors", {"encoder_name": "tu-vit_tiny_patch16_224"})
    entry = entry_of(tmp_path / "m.safetensors")
    told = dict(find_model(entry).hyperparameters)
    assert (told["decoder_readout"], told["decoder_intermediate_channels"]) == ("cat", (8, 16, 24, 32))
    assert_same(labels_of(raster, entry), labels_by(network, pixels))
    added = smp.DPT(**said, **sizes, decoder_readout="add").state_dict()
    save_file(added, tmp_path / "add.safetensors", {"encoder_name": "tu-vit_tiny_patch16_224"})
    with pytest.raises(CatalogError, match=r"fit smp.DPT with decoder_readout ignore and with decoder_readout add"):
        find_model(tmp_path / "add.safetensors")
    told = {"encoder_name": "tu-vit_tiny_patch16_224", "decoder_readout": "add"}
    save_file(added, tmp_path / "told.safetensors", told)
    assert dict(find_model(entry_of(tmp_path / "told.safetensors")).hyperparameters)["decoder_readout"] == "add"


@pytest.mark.parametrize(
    "told",
    [
        {"encoder_name": "tu-hf-hub:a/b"},
        {"encoder_name": "tu-local-dir:/tmp"},
        {"encoder_name": 3},
        {"encoder_depth": 10**30, "decoder_channels": "x"},
        {"decoder_channels": [10**30] * 5},
        {"model_factory": "SMPModelFactory", "model_args": 3},
    ],
)
def test_what_stands_beside_tensors_is_never_looked_for_elsewhere(tmp_path: Path, told: Mapping[str, Any]) -> None:
    path = save_lightning(tmp_path / "m.ckpt", smp.Unet("tu-resnet18", encoder_weights=None).state_dict(), told)
    with pytest.raises(CatalogError, match=r"has an encoder of timm, and its tensors do not tell which of a thousand"):
        find_model(path)


def test_several_networks_that_fit_are_told_apart_by_metadata(tmp_path: Path) -> None:
    state = smp.PSPNet("vgg11", encoder_weights=None, encoder_depth=4, classes=2).state_dict()
    save_file(state, tmp_path / "silent.safetensors")
    with pytest.raises(CatalogError, match=r"fit smp.PSPNet with encoder_depth 5 and with .* 4 and .*; save"):
        write_new_item(tmp_path / "silent.safetensors")
    save_file(state, tmp_path / "told.safetensors", {"encoder_depth": "4"})
    assert dict(find_model(entry_of(tmp_path / "told.safetensors")).hyperparameters)["encoder_depth"] == 4


def test_what_standardized_pixels_beside_the_network_is_said(tmp_path: Path) -> None:
    state = under("model.", build(), mean=torch.zeros(1, 3, 1, 1), std=torch.ones(1, 3, 1, 1))
    entry = entry_of(save_lightning(tmp_path / "module.ckpt", state, {}))
    with pytest.warns(GeosegWarning, match=r"holds mean and std beside the network.*value_scaling of the entry has to"):
        load_model(find_model(entry))


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (under("model.", build()) | under("teacher.", build()), r"holds 2 networks, under 'model.', 'teacher.'; save"),
        (
            {"a.weight": torch.ones(2)},
            r"holds 1 tensors \(the first is a.weight\) of no network of segment",
        ),
        ({name: t for name, t in build().state_dict().items() if "layer2" not in name}, r"of no network of segment"),
    ],
)
def test_tensors_of_no_single_network_are_refused(
    tmp_path: Path, state: dict[str, torch.Tensor], sentence: str
) -> None:
    torch.save(state, tmp_path / "m.pt")
    with pytest.raises(CatalogError, match=sentence):
        find_model(tmp_path / "m.pt")


def test_another_network_of_terratorch_is_named(tmp_path: Path) -> None:
    hyperparameters = {"model_factory": "EncoderDecoderFactory", "model_args": {"backbone": "prithvi_eo_v2_300"}}
    path = save_lightning(tmp_path / "p.ckpt", {"model.encoder.cls_token": torch.zeros(1)}, hyperparameters)
    with pytest.raises(CatalogError, match=r"but of the EncoderDecoderFactory of terratorch; write a STAC MLM item"):
        find_model(path)


def test_tensors_that_pixels_may_go_through_are_never_left_out() -> None:
    state = {"model.a.weight": 1, "model.b.weight": 2, "projection.weight": 3, "criterion.weight": 4}
    with pytest.raises(WeightsError, match=r"1 tensors beside the network under 'model.', such as projection.weight"):
        network_state(state, ["a.weight", "b.weight"], Path("m.ckpt"))
    del state["projection.weight"]
    assert network_state(state, ["a.weight", "b.weight"], Path("m.ckpt")) == {"a.weight": 1, "b.weight": 2}
    twice = {f"{prefix}.a.weight": 1 for prefix in ("student", "teacher")}
    with pytest.raises(WeightsError, match=r"holds the network 2 times, under 'student.', 'teacher.'"):
        network_state(twice, ["a.weight"], Path("m.ckpt"))
    assert network_state({"a.weight": 1, "c.weight": 2}, ["a.weight"], Path("m.pt")) == {"a.weight": 1, "c.weight": 2}


def test_a_pickle_of_more_than_tensors_is_refused_with_the_command_that_converts_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = build()
    hyperparameters = TORCHGEO | {"class_weights": None, "root": PurePosixPath("data")}
    save_lightning(Path("m.ckpt"), under("model.", network), hyperparameters)
    assert main(["models", "new", "m.ckpt"]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "is a pickle that holds more than tensors and could run code when opened; it was not opened" in said
    command = said.partition('`python -c "')[2].partition('"`')[0]
    subprocess.run([sys.executable, "-c", command], check=True)
    spec = find_model(entry_of(tmp_path / "m.safetensors"))
    assert (spec.architecture, spec.activation) == ("smp.Unet", "softmax")


def test_a_program_with_mlm_metadata_labels_as_torch_does(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8]
) -> None:
    network = build()
    path = save_program(tmp_path / "towns.pt2", network, MLM)
    spec = find_model(path)
    assert (spec.name, spec.class_names, spec.band_names) == (
        "towns", ["town", "field", "wood", "water"], ["red", "green", "blue"],
    )  # fmt: skip
    assert (spec.classes[0].color, spec.tile_size, spec.fixed_size) == ("#FF0000", SIDE, True)
    assert_same(labels_of(raster, path), labels_by(network, pixels) + 1)
    item, _ = write_new_item(path, tmp_path / "m.json", gaps=Gaps(classes=["a", "b", "c", "d"]))
    assert find_model(item).class_names == ["a", "b", "c", "d"]


def test_a_program_without_metadata_tells_its_shapes(tmp_path: Path, raster: str, pixels: NDArray[np.uint8]) -> None:
    network = build(activation="softmax2d")
    path = save_program(tmp_path / "bare.pt2", network)
    with pytest.raises(CatalogError, match=r"does not tell how pixels are scaled"):
        find_model(path)
    spec = find_model(entry_of(path))
    assert (len(spec.bands), spec.score_count, spec.activation, spec.tile_size) == (3, 4, "none", SIDE)
    assert_same(labels_of(raster, path.with_suffix(".json")), labels_by(network, pixels))


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ("properties: [", r"has MLM metadata that are not properties of an item; pack them again"),
        ("!!python/object:os.system {}", r"has MLM metadata that are not properties of an item"),
        ("properties: 3", r"has MLM metadata that are not properties of an item"),
        (f"properties: {{a: [{'1, ' * 20_000}]}}", r"has MLM metadata that are not properties of an item"),
        ("properties: {input: 3}", r"does not describe itself as its library does"),
    ],
)
def test_metadata_that_cannot_be_read_are_refused_in_a_sentence(tmp_path: Path, metadata: str, sentence: str) -> None:
    with pytest.raises(CatalogError, match=sentence):
        find_model(save_program(tmp_path / "m.pt2", torch.nn.Conv2d(3, 2, 1).eval(), metadata))


def test_a_program_that_is_none_or_two_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(CatalogError, match=r"is not a torch.export program or is damaged; save the network with torch"):
        find_model(tmp_path / "text.pt2")
    with pytest.raises(WeightsError, match=r"holds the program 'transforms' beside its network"):
        find_model(save_program(tmp_path / "two.pt2", torch.nn.Conv2d(3, 2, 1).eval(), transforms=True))
    with pytest.raises(CatalogError, match=r"takes the shape \[1, 3, 64, 64\] and gives \[1, 3\]"):
        find_model(save_program(tmp_path / "flat.pt2", torch.nn.Sequential(torch.nn.AvgPool2d(64), torch.nn.Flatten())))


def test_torchscript_is_asked_only_where_a_person_trusts_it(
    tmp_path: Path, raster: str, pixels: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    network = build()
    path, item = save_script(tmp_path / "m.pt", network), tmp_path / "m.json"
    assert main(["models", "new", str(path), "--output", str(item)]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "tells its bands and classes only when it runs, and can read and write files then; write its entry" in said
    assert not item.exists()
    assert main(["models", "new", str(path), "--output", str(item), "--trust-model"]) == 0
    assert "value_scaling, bands, classes, resolution, geoseg:activation" in capsys.readouterr().out
    filled(item, BYTES)
    with pytest.raises(WeightsError, match=r"is a TorchScript program .*give --trust-model"):
        labels_of(raster, item)
    assert_same(labels_of(raster, item, trust_model=True), labels_by(network, pixels))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match=r"model '.*gone.ckpt' does not exist; give the path of a weights file"):
        find_model(tmp_path / "gone.ckpt")
