"""Semantic families against their own libraries, against the papers, and in tiles against the whole image."""

from __future__ import annotations

import json
import pickle
import shutil
import urllib.error
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segmentation_models_pytorch
import torch
import torchvision
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

import geoseg
from geoseg.errors import ModelError, WeightsError
from geoseg.grid import TileGrid, Tiling
from geoseg.models import Band, ClassSpec, ModelSpec, Scaling, load_model, torchgeo, wrap
from geoseg.models.deeplab import DeepLabV1, DeepLabV2
from geoseg.models.torchvision import ScoreNetwork
from tests.rasters import write_raster
from tests.test_segmentation import ArrayRaster, reflect, run_blocks

CLASSES = 3
FCN, LRASPP = "torchvision.fcn_resnet50", "torchvision.lraspp_mobilenet_v3_large"
SMALL_VIT: dict[str, Any] = {
    "encoder_name": "tu-vit_tiny_patch16_224",
    "decoder_intermediate_channels": (16, 16, 32, 32),
    "decoder_fusion_channels": 16,
}


@dataclass(frozen=True)
class Family:
    """An architecture with its hyperparameters.

    Attributes
    ----------
    halo : int
        The smallest multiple of 8 px that is not less than its reach; 0 = its reach is not looked at.
    """

    architecture: str
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    halo: int = 0

    def __str__(self) -> str:
        return "-".join([self.architecture, *(str(value) for value in self.hyperparameters.values())])

    def build(self, bands: int = 3, classes: int = CLASSES) -> nn.Module:
        """Call the library's own constructor, with random weights."""
        torch.manual_seed(7)
        library, _, name = self.architecture.partition(".")
        if library == "smp":
            constructor = getattr(segmentation_models_pytorch, name)
            sizes = {"dynamic_img_size": True} if name == "DPT" else {}
            options = {**self.hyperparameters, **sizes, "in_channels": bands, "classes": classes}
            network: nn.Module = constructor(encoder_weights=None, **options)
        elif library == "torchvision":
            constructor = getattr(torchvision.models.segmentation, name)
            options = {"weights": None, "weights_backbone": None, "num_classes": classes}
            network = constructor(**options, **self.hyperparameters)
        else:
            own = {"DeepLabV1": DeepLabV1, "DeepLabV2": DeepLabV2, "FCN": torchgeo.FCN}
            network = own[name](bands, classes, **self.hyperparameters)
        return network.eval()

    def spec(self, weights: Path | str | None = None, bands: int = 3, classes: int = CLASSES) -> ModelSpec:
        """Describe it; digital numbers are divided by 255."""
        return ModelSpec(
            name="family",
            task="semantic-segmentation",
            bands=tuple(Band(f"b{number}") for number in range(1, bands + 1)),
            classes=tuple(ClassSpec(value, f"class {value}") for value in range(classes)),
            scalings=(Scaling("scale", value=255),),
            architecture=self.architecture,
            hyperparameters=tuple(sorted(self.hyperparameters.items())),
            weights=None if weights is None else str(weights),
            multiple=8,
        )


def smp(name: str, encoder: str = "resnet18", **hyperparameters: Any) -> Family:
    """A family of segmentation-models-pytorch."""
    return Family(f"smp.{name}", {"encoder_name": encoder, **hyperparameters})


WIDE = [
    Family(FCN),
    Family("torchvision.fcn_resnet101"),
    Family("torchvision.deeplabv3_resnet50"),
    Family("torchvision.deeplabv3_resnet101"),
    Family("torchvision.deeplabv3_mobilenet_v3_large"),
    Family(LRASPP),
    Family("torchgeo.FCN", {"num_filters": 8}),
    Family("geoseg.DeepLabV1"),
    Family("geoseg.DeepLabV1", {"backbone": "vgg11", "rate": 2, "width": 32}),
    Family("geoseg.DeepLabV2"),
    Family("geoseg.DeepLabV2", {"backbone": "resnet50", "rates": (1, 2)}),
    smp("Unet"),
    smp("UnetPlusPlus"),
    smp("MAnet"),
    smp("Linknet"),
    smp("FPN"),
    smp("PSPNet"),
    smp("PAN"),
    smp("DeepLabV3"),
    smp("DeepLabV3Plus"),
    smp("UPerNet"),
    smp("Segformer", "mit_b0"),
    smp("Unet", "tu-mobilenetv3_small_100"),
    Family("smp.DPT", SMALL_VIT),
]
"""Every family as people use it."""

SHALLOW: dict[str, Any] = {"encoder_depth": 3, "decoder_channels": (32, 16, 8)}

NARROW = [
    replace(smp("Unet", **SHALLOW), halo=72),
    replace(smp("Unet", "mobilenet_v2", **SHALLOW), halo=56),
    replace(smp("UnetPlusPlus", **SHALLOW), halo=72),
    replace(smp("Linknet", encoder_depth=3), halo=64),
    Family("geoseg.DeepLabV1", {"backbone": "vgg11", "rate": 2, "width": 32}, halo=104),
    pytest.param(
        Family("geoseg.DeepLabV2", {"backbone": "resnet50", "rates": (1, 2)}, halo=240), marks=pytest.mark.slow
    ),
    pytest.param(Family(FCN, halo=232), marks=pytest.mark.slow),
]
"""Families without global context, and how far they look."""

GLOBAL = [
    smp("FPN"),
    smp("MAnet", **SHALLOW),
    smp("Unet", "tu-mobilenetv3_small_100", **SHALLOW),
    smp("PSPNet"),
    smp("DeepLabV3Plus"),
    smp("Segformer", "mit_b0"),
    Family(LRASPP),
]
"""Families whose every output depends on the whole tile: by pooling, attention or normalisation over it."""


def randomise(network: nn.Module, pixels: NDArray[np.uint8], margin: int = 0) -> None:
    """Give normalisations statistics as after a training, and scores of mean 0 and deviation 1 inside a margin."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 1.5)
    scores = score(network, pixels)[..., margin : pixels.shape[2] - margin, margin : pixels.shape[3] - margin]
    spread, mean = scores.std((0, 2, 3)), scores.mean((0, 2, 3))
    heads = [item for item in network.modules() if isinstance(item, nn.Conv2d) and item.out_channels == CLASSES]
    with torch.no_grad():
        for head in heads:
            head.weight.div_(spread[:, None, None, None])
            head.bias.div_(spread)
        heads[-1].bias.sub_(mean / spread)


def score(network: nn.Module, pixels: NDArray[np.uint8]) -> torch.Tensor:
    """Call a network as its library has it, on pixels (n, band, y, x) divided by 255."""
    with torch.no_grad():
        result = network(torch.from_numpy(pixels / np.float32(255)))
    scores: torch.Tensor = result["out"] if isinstance(result, dict) else result
    return scores


def noise(*shape: int) -> NDArray[np.uint8]:
    """Random pixels that are smooth enough for networks to see something in them."""
    coarse = np.random.default_rng(3).integers(0, 256, (*shape[:-2], -(-shape[-2] // 4), -(-shape[-1] // 4)))
    return coarse.repeat(4, -2).repeat(4, -1)[..., : shape[-2], : shape[-1]].astype(np.uint8)


def everywhere(pixels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """A mask of pixels (n, band, y, x) that are all valid."""
    return np.ones((len(pixels), *pixels.shape[2:]), np.bool_)


@pytest.mark.slow
@pytest.mark.parametrize("family", WIDE, ids=str)
def test_an_opened_family_predicts_what_its_own_library_predicts(family: Family, tmp_path: Path) -> None:
    network, pixels = family.build(), noise(1, 3, 128, 160)
    randomise(network, pixels)
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    found = load_model(family.spec(tmp_path / "weights.safetensors")).predict(pixels, everywhere(pixels))
    wanted = score(network, pixels).softmax(1)
    assert found.shape == (1, CLASSES, 128, 160)
    assert wanted.std() > 0.1
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


FIRST = {
    "torchvision.deeplabv3_resnet50": "backbone.conv1.weight",
    LRASPP: "backbone.0.0.weight",
    "geoseg.DeepLabV1": "features.0.weight",
    "geoseg.DeepLabV2": "backbone.conv1.weight",
    "smp.FPN": "encoder.conv1.weight",
    "smp.DPT": "encoder.model.patch_embed.proj.weight",
}
"""The first convolution of each kind of trunk."""


@pytest.mark.parametrize(
    "family", {item.architecture: item for item in WIDE if item.architecture in FIRST}.values(), ids=str
)
def test_bands_whose_weights_are_zero_change_nothing(family: Family, tmp_path: Path) -> None:
    state, pixels = family.build().state_dict(), noise(1, 5, 64, 64)
    save_file(state, tmp_path / "three.safetensors")
    first = FIRST[family.architecture]
    none = torch.zeros_like(state[first][:, :2])
    save_file({**state, first: torch.cat([state[first], none], 1)}, tmp_path / "five.safetensors")
    five = load_model(family.spec(tmp_path / "five.safetensors", bands=5)).predict(pixels, everywhere(pixels))
    three = load_model(family.spec(tmp_path / "three.safetensors")).predict(pixels[:, :3], everywhere(pixels))
    torch.testing.assert_close(five, three, atol=1e-4, rtol=1e-5)


def test_deeplab_v1_has_as_many_weights_as_the_paper_says() -> None:
    weights = sum(item.numel() for item in DeepLabV1(3, 21).parameters())
    assert round(weights / 1e6, 1) == 20.5  # table 2 of arXiv:1412.7062, the row of DeepLab-CRF-LargeFOV


def test_deeplab_v1_computes_what_the_paper_describes() -> None:
    family, pixels = Family("geoseg.DeepLabV1"), noise(1, 3, 72, 96)
    network = family.build()
    layers = iter(list(network.state_dict().values()))
    features = torch.from_numpy(pixels / np.float32(255))
    for block, convolutions in enumerate((2, 2, 3, 3, 3)):
        rate = 2 if block == 4 else 1
        for _ in range(convolutions):
            features = functional.conv2d(features, next(layers), next(layers), padding=rate, dilation=rate).relu()
        features = functional.max_pool2d(features, *((2,) if block < 3 else (3, 1, 1)))
    assert features.shape[2:] == (9, 12)
    features = functional.conv2d(features, next(layers), next(layers), padding=12, dilation=12).relu()
    features = functional.conv2d(features, next(layers), next(layers)).relu()
    features = functional.conv2d(features, next(layers), next(layers))
    wanted = functional.interpolate(features, (72, 96), mode="bilinear")
    torch.testing.assert_close(score(network, pixels), wanted, atol=1e-4, rtol=1e-4)


def test_deeplab_v2_sums_its_pyramid_on_top_of_the_trunk_that_torchvision_gives_deeplab_v3() -> None:
    pixels = noise(1, 3, 72, 96)
    network = Family("geoseg.DeepLabV2", {"backbone": "resnet50", "rates": (6, 12, 18, 24)}).build()
    trunk = Family("torchvision.deeplabv3_resnet50").build().backbone
    trunk.load_state_dict(network.backbone.state_dict())
    features = trunk(torch.from_numpy(pixels / np.float32(255)))["out"]
    assert features.shape[2:] == (9, 12)
    rates = zip((6, 12, 18, 24), network.pyramid, strict=True)
    summed = sum(functional.conv2d(features, item.weight, item.bias, 1, rate, rate) for rate, item in rates)
    wanted = functional.interpolate(summed, (72, 96), mode="bilinear")
    torch.testing.assert_close(score(network, pixels), wanted.detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("said", [{}, {"aux_loss": True}], ids=["unsaid", "said"])
def test_weights_with_an_auxiliary_head_fit_whether_the_spec_says_so_or_not(
    said: dict[str, bool], tmp_path: Path
) -> None:
    family, pixels = Family("torchvision.deeplabv3_mobilenet_v3_large", {"aux_loss": True}), noise(1, 3, 64, 64)
    network = family.build()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    assert any(name.startswith("aux_classifier") for name in load_file(tmp_path / "weights.safetensors"))
    model = load_model(replace(family, hyperparameters=said).spec(tmp_path / "weights.safetensors"))
    found = model.score(pixels, everywhere(pixels))
    torch.testing.assert_close(found, score(network, pixels), atol=1e-4, rtol=1e-5)


def test_weights_without_the_auxiliary_head_that_the_spec_says_they_have_are_refused(tmp_path: Path) -> None:
    family = Family("torchvision.deeplabv3_mobilenet_v3_large")
    save_file(family.build().state_dict(), tmp_path / "weights.safetensors")
    told = replace(family, hyperparameters={"aux_loss": True})
    with pytest.raises(WeightsError, match=r"lacks aux_classifier\.0\.weight"):
        load_model(told.spec(tmp_path / "weights.safetensors"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where torchvision keeps what it fetched; it cannot fetch more."""

    def refuse(address: str, *_args: object, **_options: object) -> None:
        raise urllib.error.URLError(f"no way to {address}")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


PUBLISHED = "lraspp_mobilenet_v3_large-d234d4ea.pth"
"""What torchvision calls the weights of LR-ASPP."""


@pytest.mark.parametrize("name", ["DEFAULT", "COCO_WITH_VOC_LABELS_V1"])
def test_a_name_of_torchvision_stands_for_the_weights_that_it_fetched(name: str, hub: Path) -> None:
    family, pixels = Family(LRASPP), noise(1, 3, 64, 64)
    network = family.build(classes=21)
    torch.save(network.state_dict(), hub / PUBLISHED)
    model = load_model(family.spec(f"hub:{name}", classes=21))
    torch.testing.assert_close(model.score(pixels, everywhere(pixels)), score(network, pixels), atol=1e-4, rtol=1e-5)


def test_what_torchvision_cannot_fetch_is_said_in_one_sentence(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not any(hub.iterdir())
    with pytest.raises(WeightsError, match=rf"'hub:DEFAULT'.*cannot be fetched.*{PUBLISHED}.*--weights FILE\.$"):
        load_model(Family(LRASPP).spec("hub:DEFAULT", classes=21))
    assert capsys.readouterr().out == ""


def test_a_name_that_torchvision_does_not_know_is_said_with_those_that_it_knows() -> None:
    with pytest.raises(WeightsError, match="for lraspp_mobilenet_v3_large; did you mean 'COCO_WITH_VOC_LABELS_V1'"):
        load_model(Family(LRASPP).spec("hub:COCO_WITH_VOC_LABELS_V9", classes=21))


def test_fetched_weights_that_would_run_code_are_not_opened(hub: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
            return (hub / "sprung").touch, ()

    torch.save({"weight": Trap()}, hub / PUBLISHED, pickle_module=pickle)
    with pytest.raises(WeightsError, match=r"^weights 'hub:DEFAULT' [^\n]+\(Weights only load failed[^\n]+$"):
        load_model(Family(LRASPP).spec("hub:DEFAULT", classes=21))
    assert not (hub / "sprung").exists()


def test_weights_of_21_classes_do_not_pass_for_weights_of_3(hub: Path) -> None:
    torch.save(Family(LRASPP).build(classes=21).state_dict(), hub / PUBLISHED)
    with pytest.raises(WeightsError, match=r"has shape \(21, 40, 1, 1\) where \(3, 40, 1, 1\) is expected"):
        load_model(Family(LRASPP).spec("hub:DEFAULT"))


SAVED = smp("Unet", **SHALLOW)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as a person's training leaves it: pretrained encoder, sigmoid, and a head for whole images."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    network = replace(SAVED, hyperparameters={**SAVED.hyperparameters, "aux_params": {"classes": 4}}).build()
    network.config.update(encoder_weights="imagenet", activation="sigmoid")
    network.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_a_folder_that_smp_saved_predicts_what_was_saved(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pixels = noise(1, 3, 64, 64)
    model = load_model(SAVED.spec(folder))
    assert capsys.readouterr().out == ""
    network = SAVED.build()
    state = load_file(folder / "model.safetensors")
    network.load_state_dict({name: item for name, item in state.items() if not name.startswith("classification")})
    torch.testing.assert_close(model.score(pixels, everywhere(pixels)), score(network, pixels), atol=1e-4, rtol=1e-5)


def test_the_entry_need_not_repeat_what_a_folder_says(folder: Path) -> None:
    pixels = noise(1, 3, 64, 64)
    silent = load_model(replace(SAVED.spec(folder), hyperparameters=()))
    told = load_model(SAVED.spec(folder))
    assert torch.equal(silent.score(pixels, everywhere(pixels)), told.score(pixels, everywhere(pixels)))


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        (
            {"classes": (ClassSpec(0, "one"), ClassSpec(1, "two"))},
            "have the classes 3 where .* has 2;",
        ),
        ({"bands": (Band("one"),)}, "have the in_channels 3 where the entry of model 'family' has 1;"),
        ({"architecture": "smp.FPN"}, "have the architecture Unet where the entry of model 'family' has FPN;"),
        ({"hyperparameters": (("encoder_depth", 5),)}, "have the encoder_depth 3 where .* has 5;"),
        ({"architecture": "smp.Uent"}, "did you mean 'Unet'"),
    ],
)
def test_a_folder_that_is_not_what_the_entry_says_is_refused(changed: dict[str, Any], match: str, folder: Path) -> None:
    with pytest.raises((WeightsError, ModelError), match=match):
        load_model(replace(SAVED.spec(folder), **changed))


@pytest.mark.parametrize("lost", ["config.json", "_model_class", "encoder.conv1.weight"])
def test_a_folder_that_smp_cannot_open_is_refused_in_one_sentence(lost: str, folder: Path) -> None:
    settings, weights = folder / "config.json", folder / "model.safetensors"
    if lost == settings.name:
        settings.unlink()
    elif lost == "_model_class":
        settings.write_text(json.dumps({"encoder_name": "resnet18"}))
    else:
        save_file({name: item for name, item in load_file(weights).items() if name != lost}, weights)
    with pytest.raises(WeightsError, match=r"cannot be opened by segmentation_models_pytorch \(.+\); give one as"):
        load_model(SAVED.spec(folder))


def test_a_name_on_the_hub_stands_for_the_folder_that_was_fetched(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(WeightsError, match=r"'hub:someone/fields'.*hub cannot be reached"):
        load_model(SAVED.spec("hub:someone/fields"))
    stored = tmp_path / "hub" / "models--someone--fields"
    shutil.copytree(folder, stored / "snapshots" / ("a" * 40))
    (stored / "refs").mkdir()
    (stored / "refs" / "main").write_text("a" * 40)
    pixels = noise(1, 3, 64, 64)
    found, wanted = (load_model(SAVED.spec(weights)) for weights in ("hub:someone/fields", folder))
    assert torch.equal(found.score(pixels, everywhere(pixels)), wanted.score(pixels, everywhere(pixels)))


@pytest.mark.parametrize(
    ("family", "match"),
    [
        (Family("torchvision.fcn_resnet5"), "which does not exist; did you mean 'fcn_resnet50'"),
        (Family(LRASPP, {"aux_loss": True}), "cannot be built as .*auxiliary loss"),
        (Family(FCN, {"aux_los": True}), "hyperparameter 'aux_los', which .* did you mean 'aux_loss'"),
        (Family("geoseg.DeepLabV3"), "did you mean 'DeepLabV"),
        (Family("geoseg.DeepLabV1", {"backbone": "vgg61"}), "no backbone 'vgg61'.*did you mean 'vgg"),
        (Family("geoseg.DeepLabV2", {"backbone": "resnet18"}), "no backbone 'resnet18'.*did you mean 'resnet"),
        (Family("geoseg.DeepLabV2", {"backbone": "resnet50", "rates": ()}), "rates are empty"),
        (Family("geoseg.DeepLabV2", {"rate": 6}), "hyperparameter 'rate', which .* did you mean 'rates'"),
        (Family("smp.DPT", {"encoder_name": "resnet18"}), "Only Timm encoders"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_said_in_one_sentence(family: Family, match: str, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ModelError, match=match):
        load_model(family.spec(tmp_path / "weights.safetensors"))


def compare(family: Family, tiling: Tiling, shape: tuple[int, int], folder: Path) -> tuple[Any, Any, Any]:
    """Label a raster in tiles and at once: labels of tiles, labels of the whole, and the lead of the whole's best."""
    network, pixels, halo = family.build(), noise(3, *shape), tiling.halo
    rows, cols = (reflect(np.arange(-halo, length + halo), length) for length in shape)
    padded = pixels[None, :, rows[:, None], cols]
    randomise(network, padded, halo)
    save_file(network.state_dict(), folder / "weights.safetensors")
    model = load_model(family.spec(folder / "weights.safetensors"))
    labels, _ = run_blocks(ArrayRaster(pixels), model, TileGrid(shape, tiling, (2, 2)))
    best = score(network, padded).softmax(1)[0, :, halo:-halo, halo:-halo].topk(2, 0)
    assert np.sort(np.bincount(best.indices[0].flatten()))[-2] > 50
    return labels, best.indices[0].numpy(), (best.values[0] - best.values[1]).numpy()


@pytest.mark.slow
@pytest.mark.parametrize("family", NARROW, ids=str)
def test_tiles_are_labelled_as_the_whole_image_when_the_halo_covers_the_reach(family: Family, tmp_path: Path) -> None:
    labels, whole, lead = compare(family, Tiling(2 * family.halo + 48, family.halo, 16, 8), (40, 88), tmp_path)
    clear = lead > 1e-4  # less is a draw, which rounding decides
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(labels[clear], whole[clear])


def test_tiles_are_not_labelled_as_the_whole_image_when_the_halo_is_smaller_than_the_reach(tmp_path: Path) -> None:
    labels, whole, lead = compare(NARROW[0], Tiling(80, 16, 16, 8), (40, 88), tmp_path)
    assert (labels != whole)[lead > 1e-4].any()


@pytest.mark.parametrize("family", GLOBAL, ids=str)
def test_with_global_context_tiles_are_labelled_as_the_whole_image_on_most_pixels_only(
    family: Family, tmp_path: Path
) -> None:
    labels, whole, _ = compare(family, Tiling(192, 64, 32, 32), (64, 128), tmp_path)
    assert (labels != whole).mean() < 0.3


def test_a_module_of_torchvision_labels_a_raster(tmp_path: Path) -> None:
    family, pixels = Family(LRASPP), noise(3, 64, 64)
    network = family.build()
    seen = reflect(np.arange(-16, 80), 64)
    padded = pixels[None, :, seen[:, None], seen]
    randomise(network, padded, 16)
    raster = write_raster(tmp_path / "raster.tif", pixels)
    spec = replace(family.spec(), bands=(Band("1"), Band("2"), Band("3")))
    options = {"tile_size": 96, "halo": 16, "ramp": 0, "bands": [1, 2, 3]}
    labels = geoseg.segment(raster, model=ScoreNetwork(network), spec=spec, **options).compute(scheduler="synchronous")
    wanted = score(network, padded)[0, :, 16:80, 16:80].argmax(0)
    assert np.unique(labels).tolist() == [0, 1, 2]
    assert (labels.values == wanted.numpy()).mean() > 0.999


def test_a_module_that_returns_a_dict_is_refused_in_one_sentence() -> None:
    family, pixels = Family(LRASPP), noise(1, 3, 64, 64)
    with pytest.raises(ModelError, match="returned a OrderedDict instead of a tensor; wrap it"):
        wrap(family.build(), family.spec()).predict(pixels, everywhere(pixels))
