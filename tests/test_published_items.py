"""Items of models as people publish them, rebuilt with random weights, label as their own library does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray

from geoseg.catalog import add_model, find_model, write_model_item
from geoseg.cli import main
from geoseg.errors import CatalogError, GeosegWarning, ModelError, WeightsError, WorkflowError
from geoseg.models import find_family, load_model
from geoseg.models.architectures import WORDS, read_architecture
from geoseg.models.availability import find_availability
from geoseg.models.changing import changed
from geoseg.models.smp import ARCHITECTURES
from geoseg.models.smp_networks import with_found_encoder
from geoseg.models.weights import resolve_weights
from tests.rasters import write_raster
from tests.test_item import example
from tests.test_packagings import SIDE, assert_same, labels_of, patches, save_onnx

Item = dict[str, Any]

pytestmark = pytest.mark.filterwarnings("ignore:.*(has 2 models|names a p|more than once):geoseg.errors.GeosegWarning")

CLEAR_AND_CLOUD = [{"value": 0.0, "name": "clear"}, {"value": 1.0, "name": "cloud"}]
ONE_CHANNEL = {
    "result": {
        "shape": [-1, 1, SIDE, SIDE],
        "dim_order": ["batch", "class", "height", "width"],
        "data_type": "float32",
    }
}


def network(kind: Any = smp.Unet, encoder: str = "resnet18", seed: int = 4, **arguments: Any) -> Any:
    """A network of the library whose random weights give every class somewhere."""
    torch.manual_seed(seed)
    made = kind(encoder, encoder_weights=None, **{"classes": 2, **arguments}).eval()
    with torch.no_grad():
        scores = made(window(arguments.get("in_channels", 3)))
        head = made.segmentation_head[0]
        head.bias -= scores.mean((0, 2, 3))
        for tensor in (head.weight, head.bias):
            tensor.mul_(2 / scores.std())
    return made


def window(bands: int = 3) -> torch.Tensor:
    """Patches of bytes as floats, shape (1, band, y, x)."""
    stacked = np.concatenate([patches(seed) for seed in range(3, 6)])[:bands]
    return torch.from_numpy(stacked[None].astype(np.float32))


def save(made: torch.nn.Module, path: Path) -> str:
    torch.save(made.state_dict(), path)
    return path.name


def write(item: Item, folder: Path, name: str = "item") -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(item))
    return path


def by_library(made: torch.nn.Module, bands: int = 3) -> NDArray[Any]:
    """Labels of the window: the largest score, or where a single one is above 0."""
    with torch.no_grad():
        scores = made(window(bands))[0]
    found: NDArray[Any] = (scores[0] > 0).long().numpy() if len(scores) == 1 else scores.argmax(0).numpy()
    return found


def by_geoseg(item: Path, folder: Path, bands: int = 3) -> NDArray[Any]:
    """Labels of the window; of a model whose bands have no place in a picture, by their numbers."""
    raster = str(write_raster(folder / "scene.tif", window(bands)[0].numpy().astype(np.uint8)))
    return labels_of(raster, item, **({"bands": list(range(1, bands + 1))} if bands > 3 else {}))


def torch_item(architecture: str, href: str, **changes: Any) -> Item:
    """An item of a network of torch."""
    said = {"mlm:framework": "PyTorch", "mlm:architecture": architecture, **changes.pop("properties", {})}
    return example(properties=said, asset={"href": href, "mlm:artifact_type": "torch.save"}, **changes)


def cloud_masks(folder: Path) -> tuple[Item, torch.nn.Module]:
    """As six items of cloud masks are: "UNet++", one channel for two classes, and class values with a point."""
    made = network(smp.UnetPlusPlus, "mobilenet_v2", classes=1)
    return torch_item("UNet++", save(made, folder / "m.pth"), classes=CLEAR_AND_CLOUD, model_output=ONE_CHANNEL), made


def mapping_of_roofs(folder: Path) -> tuple[Item, torch.nn.Module]:
    """As items of roofs are: "UNet", hyperparameters of training alone, code before and behind the network."""
    made = network(encoder="resnet34")
    code = {"format": "python", "expression": "models.roofs.pipeline:run"}
    item = torch_item(
        "UNet",
        save(made, folder / "m.pth"),
        order=["batch", "bands", "height", "width"],
        bands=[{"name": "red"}, {"name": "green"}, {"name": "blue"}],
        properties={"mlm:hyperparameters": {"epochs": 5, "training.loss": "CrossEntropyLoss", "chip_size": 256}},
        model_input={"pre_processing_function": code, "value_scaling": [{"type": None}]},
        model_output={"post_processing_function": code},
    )
    return item, made


def two_dates(folder: Path) -> tuple[Item, torch.nn.Module]:
    """As ``MLModelProperties.from_torch`` writes it: a class path and no hyperparameters; bands of two dates."""
    made = network(encoder="efficientnet-b3", in_channels=8)
    path = "segmentation_models_pytorch.decoders.unet.model"
    item = torch_item(
        f"{path}.Unet",
        save(made, folder / "m.pth"),
        bands=["B4", "B3", "B2", "B8A"] * 2,
        shape=[1, 8, 3, 3],
        properties={"mlm:framework": path, "mlm:name": "U-Net_efficientnet-b3"},
    )
    return item, made


def encoder_in_the_word(folder: Path) -> tuple[Item, torch.nn.Module]:
    made = network(encoder_depth=3, decoder_channels=(64, 32, 16), decoder_attention_type="scse")
    return torch_item("unet_resnet18", save(made, folder / "m.pth"), bands=[1, 2, 3]), made


def without_bands(folder: Path) -> tuple[Item, torch.nn.Module]:
    made = network()
    item = torch_item("U-Net", save(made, folder / "m.pth"))
    del item["properties"]["mlm:input"][0]["bands"]
    return item, made


def bands_from_zero(folder: Path) -> tuple[Item, torch.nn.Module]:
    made = network(smp.FPN)
    return torch_item("FPN (ResNet-18)", save(made, folder / "m.pth"), bands=[0, 1, 2]), made


PUBLISHED: dict[str, Callable[[Path], tuple[Item, torch.nn.Module]]] = {
    '"UNet++", one channel for two classes, values 0.0 and 1.0': cloud_masks,
    '"UNet" with the hyperparameters of its training alone': mapping_of_roofs,
    "class path without hyperparameters, bands of two dates": two_dates,
    '"unet_resnet18", bands by number': encoder_in_the_word,
    '"U-Net", no bands': without_bands,
    "bands counted from 0": bands_from_zero,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_item_labels_as_its_library_does(name: str, tmp_path: Path) -> None:
    item, made = PUBLISHED[name](tmp_path)
    bands = item["properties"]["mlm:input"][0]["input"]["shape"][1]
    assert_same(by_geoseg(write(item, tmp_path), tmp_path, bands), by_library(made, bands))


def forest(_folder: Path) -> Item:
    """A random forest of single pixels on bands and an index of bands."""
    index = {"name": "NDVI", "format": "rio-calc", "expression": "(B08 - B04) / (B08 + B04)"}
    said = {"mlm:framework": "scikit-learn", "mlm:architecture": "RandomForestClassifier"}
    asset = {"href": "forest.pkl", "mlm:artifact_type": "pickle"}
    return example(bands=["B04", index], shape=[-1, 2], order=["batch", "channel"], properties=said, asset=asset)


def two_forms(folder: Path) -> Item:
    """Weights whose architecture is a word, then the same network as ONNX; and a table beside the map."""
    item = torch_item("UNet", save(network(), folder / "m.pth"))
    save_onnx(folder / "m.onnx", {}, scores=2)
    compiled = {"href": "m.onnx", "roles": ["mlm:model", "mlm:compiled"], "mlm:artifact_type": "onnx"}
    item["assets"] = {"checkpoint": item["assets"]["weights"], "model": compiled}
    (output,) = item["properties"]["mlm:output"]
    table = {"result": {"shape": [-1, 2], "dim_order": ["batch", "variables"]}, "variables": ["class", "score"]}
    item["properties"]["mlm:output"].append(output | table)
    return item


def test_of_several_models_the_surest_is_opened_and_told(tmp_path: Path) -> None:
    item = two_forms(tmp_path)
    with pytest.warns(
        GeosegWarning, match=r"has 2 models: 'model' is opened, not 'checkpoint' \(the architecture 'UNet'"
    ):
        assert find_model(write(item, tmp_path)).framework == "onnx"
    item["properties"]["mlm:architecture"] = "smp.Unet"
    with pytest.warns(GeosegWarning, match=r"'checkpoint' is opened, not 'model' \(it is listed later\)"):
        assert find_model(write(item, tmp_path)).framework == "pytorch"
    item["assets"]["checkpoint"]["mlm:artifact_type"] = "pickle"
    with pytest.warns(GeosegWarning, match=r"'model' is opened, not 'checkpoint' \(pickle cannot be opened\)"):
        find_model(write(item, tmp_path))
    item["assets"]["checkpoint"] |= {"mlm:artifact_type": "torch.jit.script", "href": "m.pt"}
    with pytest.warns(GeosegWarning, match=r"not 'checkpoint' \(TorchScript is opened only for authors"):
        find_model(write(item, tmp_path))
    item["assets"]["checkpoint"] |= {"roles": ["mlm:model", "code"]}
    assert find_model(write(item, tmp_path)).framework == "onnx"


def test_the_onnx_of_several_models_labels_as_onnxruntime_does(tmp_path: Path) -> None:
    labels = by_geoseg(write(two_forms(tmp_path), tmp_path), tmp_path)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    assert_same(labels, session.run(None, {"pixels": window().numpy()})[0][0].argmax(0))


def test_onnx_that_ends_with_a_sigmoid_is_not_activated_twice(tmp_path: Path) -> None:
    save_onnx(tmp_path / "m.onnx", {}, scores=1, activation=torch.nn.Sigmoid())
    item = example(classes=CLEAR_AND_CLOUD, model_output=ONE_CHANNEL, asset={"href": "m.onnx"})
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"pixels": window().numpy()})[0][0, 0] > 0.5
    assert_same(by_geoseg(write(item, tmp_path), tmp_path), expected.astype(int))


def ensemble(folder: Path, members: int = 3) -> tuple[Item, list[torch.nn.Module]]:
    """Networks of one kind whose weights are assets."""
    nets = [network(seed=seed) for seed in range(members)]
    item = torch_item("UNet", "none")
    (asset,) = item["assets"].values()
    item["assets"] = {
        f"member {number}": asset | {"href": save(made, folder / f"{number}.pth")} for number, made in enumerate(nets)
    }
    item["properties"]["geoseg:ensemble"] = list(item["assets"])
    return item, nets


def test_an_ensemble_is_the_mean_of_the_probabilities_of_its_members(tmp_path: Path) -> None:
    item, nets = ensemble(tmp_path)
    with torch.no_grad():
        each = [made(window())[0].softmax(0) for made in nets]
    path = write(item, tmp_path)
    labels = by_geoseg(path, tmp_path)
    assert_same(labels, torch.stack(each).mean(0).argmax(0).numpy())
    assert any((labels != member.argmax(0).numpy()).any() for member in each)
    model = load_model(find_model(path))
    pixels = window().numpy().astype(np.uint8)
    found = model.predict(pixels, np.ones((1, SIDE, SIDE), np.bool_))[0]
    torch.testing.assert_close(found, torch.stack(each).mean(0), atol=1e-4, rtol=0)


def test_tiles_too_small_for_the_usual_ramp_get_a_smaller_one(tmp_path: Path) -> None:
    spec = find_model(write(torch_item("UNet", "m.pth"), tmp_path))
    assert (spec.tile_size, spec.halo, spec.ramp, spec.multiple) == (64, 8, 16, 32)
    spec = find_model(write(torch_item("UNet", "m.pth", shape=[-1, 3, 48, 48]), tmp_path))
    assert (spec.tile_size, spec.halo, spec.ramp, spec.multiple) == (48, 6, 12, 8)
    spec = find_model(write(torch_item("UNet", "m.pth", shape=[-1, 3, 256, 256]), tmp_path))
    assert (spec.tile_size, spec.halo, spec.ramp, spec.multiple) == (256, 32, None, 32)


def test_a_run_of_an_ensemble_counts_and_records_its_members(tmp_path: Path) -> None:
    item, _ = ensemble(tmp_path, 2)
    path = write(item, tmp_path)
    raster = str(write_raster(tmp_path / "scene.tif", patches(3)))
    assert (
        main(["run", "--input", raster, "--model", str(path), "--output", str(tmp_path / "out"), "--workers", "1"]) == 0
    )
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert [part["weights"] for part in record["model"]["parts"]] == ["0.pth", "1.pth"]
    spec = find_model(path)
    sizes = sum((tmp_path / name).stat().st_size for name in ("0.pth", "1.pth"))
    assert find_availability(spec).size == sizes
    with pytest.raises(WorkflowError, match=r"has 2 members with weights each; change them in a copy of its entry"):
        changed(spec, weights=str(tmp_path / "0.pth"))
    copied = find_model(add_model(path, tmp_path / "own"))
    assert [Path(str(part.weights)).parent.parent.parent for part in copied.parts] == [tmp_path / "own"] * 2
    (tmp_path / "1.pth").unlink()
    assert find_availability(spec).state == "missing"


@pytest.mark.parametrize(
    ("properties", "sentence"),
    [
        ({"geoseg:ensemble": ["member 0", "gone"]}, r"has the value \['member 0', 'gone'\]; give keys of assets"),
        ({"geoseg:ensemble": ["member 0", "member 0"]}, r"give keys of assets, each once: 'member 0', 'member 1'"),
        ({"geoseg:ensemble": [0]}, r"has the value \[0\]; give keys of assets"),
        (
            {"geoseg:ensemble": None, "mlm:architecture": "Ensemble of U-Nets"},
            r"is missing, and 'member 0', 'member 1' may be its members; list those that are",
        ),
        (
            {"mlm:tasks": ["instance-segmentation"]},
            r"averages scores, which a model for instance-segmentation does not",
        ),
    ],
)
def test_an_ensemble_that_does_not_say_its_members_is_refused(
    properties: Mapping[str, Any], sentence: str, tmp_path: Path
) -> None:
    item, _ = ensemble(tmp_path, 2)
    item["properties"] |= properties
    with pytest.raises(CatalogError, match=rf"field 'geoseg:ensemble'.*{sentence}"):
        find_model(write(item, tmp_path))


def test_what_needs_one_file_of_weights_says_that_an_ensemble_has_several(tmp_path: Path) -> None:
    spec = find_model(write(ensemble(tmp_path, 2)[0], tmp_path))
    with pytest.raises(WeightsError, match=r"has 2 members with weights each; give the entry of one"):
        resolve_weights(spec)
    with pytest.raises(ModelError, match=r"is made of 2 models; write an entry of each"):
        write_model_item(spec, tmp_path / "copy.json")
    assert not (tmp_path / "copy.json").exists()


def test_members_that_are_torchscript_need_trust(tmp_path: Path) -> None:
    item, _ = ensemble(tmp_path, 2)
    for asset in item["assets"].values():
        asset["mlm:artifact_type"] = "torch.jit.script"
    with pytest.raises(WeightsError, match=r"'U-Net of fields: member 0' is a TorchScript program"):
        load_model(find_model(write(item, tmp_path)))


@pytest.mark.parametrize("value", [0.5, float("nan")])
def test_a_class_without_a_whole_number_is_refused(value: float, tmp_path: Path) -> None:
    item = torch_item("UNet", "m.pth", classes=[{"value": value, "name": "a"}, {"value": 1, "name": "b"}])
    with pytest.raises(CatalogError, match=rf"field 'value'.* is {value} where a class needs a whole number"):
        find_model(write(item, tmp_path))


def test_every_word_is_a_class_that_can_be_opened() -> None:
    for name in WORDS.values():
        assert find_family(name) is not None
        assert not name.startswith("smp.") or name.removeprefix("smp.") in ARCHITECTURES


@dataclass(frozen=True)
class Word:
    said: str
    meant: str


@pytest.mark.parametrize(
    "word",
    [
        Word("UNet", "smp.Unet"),
        Word("U-Net_efficientnet-b3", "smp.Unet"),
        Word("Unet (ResNet34 encoder)", "smp.Unet"),
        Word("U-Net++", "smp.UnetPlusPlus"),
        Word("DeepLabV3+ ResNet50", "smp.DeepLabV3Plus"),
        Word("SegFormer", "transformers.SegformerForSemanticSegmentation"),
        Word("smp.Unet", "smp.Unet"),
        Word("UNetFormer", "UNetFormer"),
        Word("ViT-S/16 + UperNet", "ViT-S/16 + UperNet"),
        Word("Random Forest", "Random Forest"),
    ],
    ids=lambda word: word.said,
)
def test_words_for_architectures_mean_classes(word: Word) -> None:
    assert read_architecture(word.said) == word.meant


def test_weights_of_another_network_than_the_word_means_are_refused(tmp_path: Path) -> None:
    item = torch_item("U-Net", save(torch.nn.Conv2d(3, 2, 1), tmp_path / "m.pth"))
    with pytest.raises(WeightsError, match=r"does not fit smp.Unet .*correct mlm:architecture"):
        load_model(find_model(write(item, tmp_path)))
    with pytest.raises(ModelError, match=r"architecture 'UNetFormer', which no adapter knows"):
        load_model(find_model(write(torch_item("UNetFormer", "m.pth"), tmp_path)))


@pytest.mark.parametrize("encoder", ["resnet50", "mit_b0"])
def test_the_encoder_is_found_by_its_tensors(encoder: str, tmp_path: Path) -> None:
    spec = find_model(write(torch_item("UNet", "m.pth"), tmp_path))
    state = smp.Unet(encoder, encoder_weights=None, classes=2).state_dict()
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert dict(with_found_encoder(spec, shapes).hyperparameters)["encoder_name"] == encoder


OTHERS: dict[str, Callable[[Path], Item]] = {
    "several models, ONNX among them": two_forms,
    "an ensemble (`geoseg:ensemble`)": lambda folder: ensemble(folder, 2)[0],
    "random forest of single pixels": forest,
}
PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text()
TABLE = [
    [cell.strip() for cell in row.strip("|").split("|")]
    for row in PAGE.partition("| item |")[2].partition("\n\n")[0].splitlines()[2:]
]


def test_the_table_of_items_has_every_item_that_is_built() -> None:
    assert [name for name, _, _ in TABLE] == [*PUBLISHED, *OTHERS]
    assert {opened for name, _, opened in TABLE if name in PUBLISHED} == {"yes"}


@pytest.mark.parametrize("row", [row for row in TABLE if row[0] in OTHERS], ids=lambda row: row[0])
def test_the_table_of_items_is_true(row: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, _, opened = row
    code = main(["models", "check", str(write(OTHERS[name](tmp_path), tmp_path))])
    said = " ".join(capsys.readouterr().err.split())
    assert (code == 0) == (opened == "yes")
    assert opened.removeprefix("yes").removeprefix("no: ").strip('"') in said
