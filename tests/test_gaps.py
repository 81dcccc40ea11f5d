"""What a packaging does not tell is said on the command line, and the model labels as its library does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from geoseg.catalog import find_model
from geoseg.cli import main
from geoseg.errors import CatalogError
from geoseg.models.packagings import write_new_item
from geoseg.models.packagings.gaps import Gaps
from geoseg.models.spec import Scaling
from tests.rasters import write_raster
from tests.test_item import check_schema
from tests.test_packagings import SIDE, assert_same, labels_of, patches, save_onnx, save_smp


def test_the_command_fills_all_gaps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = save_onnx(tmp_path / "bare.onnx", {})
    raster = str(write_raster(tmp_path / "scene.tif", patches(3)))
    said = ["--scaling", "255", "--classes", "background, water,road", "--bands", "3,2,1", "--resolution", "10"]
    assert main(["models", "new", "bare.onnx", *said]) == 0
    assert capsys.readouterr().out == "bare.json\n"
    check_schema(json.loads((tmp_path / "bare.json").read_text()))
    spec = find_model("bare.json")
    assert (spec.class_names, spec.band_names, spec.resolution) == (
        ["background", "water", "road"],
        ["3", "2", "1"],
        10,
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"pixels": patches(3)[None, ::-1].astype(np.float32) / 255})[0][0].argmax(0)
    assert_same(labels_of(raster, "bare.json"), expected)


def test_the_scaling_of_imagenet_is_that_of_its_library(tmp_path: Path) -> None:
    network = save_smp(tmp_path / "unet", classes=3)
    item, unsaid = write_new_item(tmp_path / "unet", tmp_path / "m.json", gaps=Gaps("imagenet", bands=("1", "2", "3")))
    assert unsaid == ["classes", "resolution"]
    raster = str(write_raster(tmp_path / "scene.tif", patches(3)))
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = torch.from_numpy(patches(3) / np.float32(255))
    with torch.no_grad():
        expected = network(((pixels - mean[:, None, None]) / deviation[:, None, None])[None])[0].argmax(0).numpy()
    assert expected.shape == (SIDE, SIDE)
    assert_same(labels_of(raster, item), expected)


@pytest.mark.parametrize(
    ("text", "scalings"),
    [
        ("2750", (Scaling("scale", value=2750),)),
        ("0,3000", (Scaling("min-max", minimum=0, maximum=3000),)),
        ("-1,1.5", (Scaling("min-max", minimum=-1, maximum=1.5),)),
        ("none", ()),
    ],
)
def test_a_scaling_is_a_number_limits_or_a_word(tmp_path: Path, text: str, scalings: tuple[Scaling, ...]) -> None:
    save_smp(tmp_path / "unet", classes=3)
    assert find_model(write_new_item(tmp_path / "unet", tmp_path / "m.json", gaps=Gaps(text))[0]).scalings == scalings


@pytest.mark.parametrize(
    ("names", "values"),
    [(("roof",), [(1, "roof"), (0, "background")]), (("Background", "roof"), [(0, "Background"), (1, "roof")])],
)
def test_a_single_score_has_a_class_and_background(
    tmp_path: Path, names: tuple[str, ...], values: list[tuple[int, str]]
) -> None:
    save_smp(tmp_path / "unet", classes=1)
    item, _ = write_new_item(tmp_path / "unet", tmp_path / "m.json", gaps=Gaps("255", names))
    assert [(found.value, found.name) for found in find_model(item).classes] == values


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"scaling": "half"}, r"scaling is 'half'; give a number that divides pixels \(255\), minimum,maximum"),
        ({"scaling": "0"}, r"scaling is '0'"),
        ({"scaling": "inf"}, r"scaling is 'inf'"),
        ({"scaling": "nan"}, r"scaling is 'nan'"),
        ({"scaling": "5,5"}, r"scaling is '5,5'"),
        (
            {"classes": ["a", "b"]},
            r"classes has the names a, b and the network 1 or 2|and the network 3; name each once",
        ),
        ({"classes": ["a", "a", "b"]}, r"classes has the names a, a, b and the network 3; name each once"),
        ({"bands": ["red"]}, r"bands has 1 names and the network 3; name each once"),
        ({"resolution": 0.0}, r"resolution is 0; give metres per pixel, such as 10"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path: Path, said: dict[str, Any], sentence: str) -> None:
    save_smp(tmp_path / "unet", classes=3)
    with pytest.raises(CatalogError, match=sentence):
        write_new_item(tmp_path / "unet", tmp_path / "m.json", gaps=Gaps(**said))
    assert not (tmp_path / "m.json").exists()


def test_imagenet_and_two_names_need_what_they_are_for(tmp_path: Path) -> None:
    save_smp(tmp_path / "four", classes=1, in_channels=4)
    with pytest.raises(CatalogError, match=r"scaling imagenet is for red, green and blue, and the network has 4 bands"):
        write_new_item(tmp_path / "four", tmp_path / "m.json", gaps=Gaps("imagenet"))
    with pytest.raises(CatalogError, match=r"two names for one score and the first is 'roof'; name it background"):
        write_new_item(tmp_path / "four", tmp_path / "m.json", gaps=Gaps("255", ("roof", "wall")))
