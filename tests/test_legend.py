"""Legends: classes of a finished run named, coloured, ordered and grouped, without the network."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import yaml
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

import geoseg
from geoseg.cli import main
from geoseg.engine import connect
from geoseg.errors import WorkflowError
from geoseg.models.background import with_background, with_unknown
from geoseg.models.spec import ClassSpec, ModelSpec
from geoseg.options import LegendClass
from geoseg.raster import open_raster, read_legend
from geoseg.workflow.legend import apply_legend
from tests.networks import Box, write_model
from tests.rasters import noise, write_raster

LAND = [
    {"name": "Land", "color": "#123456", "of": ["trees", "crops"], "value": 20},
    {"name": "Water", "of": [0]},
    {"name": "quarry", "of": [], "value": 7, "color": "#ff0000"},
]
"""Of three classes two become one, of another value, before the third; and one is new."""

SPEC = ModelSpec(
    name="land",
    task="semantic-segmentation",
    bands=(),
    classes=(ClassSpec(1, "trees"), ClassSpec(2, "crops")),
    activation="softmax",
)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1) as client:
        yield client


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mask = np.ones((150, 140), bool)
    mask[40:60, 30:90] = False
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", noise(2, 150, 140), mask=mask)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), Box(1), name="box", halo=3)


def settings(scene: Path, model: Path, output: Path, **more: Any) -> dict[str, Any]:
    return {"model": str(model), "input": str(scene), "output": str(output), "ramp": 8, "tile_size": 64, **more}


@pytest.fixture(scope="module")
def plain(scene: Path, box: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run without a legend."""
    folder = tmp_path_factory.mktemp("plain")
    outputs = ["confidence", "probabilities", "labels.zarr"]
    geoseg.run(settings(scene, box, folder, outputs=outputs, block_tiles=1), client=client)
    return folder


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def pixels(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as source:
        return source.read(1)


def value_of(name: str, folder: Path) -> int:
    names = read_legend(open_raster(folder / "labels.tif")).names
    return next(value for value, called in names.items() if called == name)


def table(folder: Path) -> gpd.GeoDataFrame:
    return gpd.read_file(folder / "features.gpkg", layer="land_use")


def rows(folder: Path) -> list[Any]:
    features = table(folder)
    columns = (features[name] for name in features.columns if name != "geometry")
    return sorted(zip(*columns, features.geometry.to_wkb(), strict=True))


def written(path: Path, classes: Any) -> Path:
    path.write_text(yaml.safe_dump({"classes": classes}))
    return path


def test_a_legend_of_a_finished_run_is_in_every_result_and_nothing_is_predicted(
    plain: Path, client: Client, tmp_path: Path
) -> None:
    out, legend = copied(plain, tmp_path / "out"), written(tmp_path / "legend.yaml", LAND)
    kept = (out / "confidence.tif").stat().st_mtime_ns
    planned = geoseg.plan(out / "workflow.yaml", legend=legend)
    assert planned.tiles_to_predict == 0
    later = geoseg.run(out / "workflow.yaml", legend=legend, client=client)
    assert {stage for stage, count in later.outcome.done.items() if count} == {"trace", "join"}
    before, labels = pixels(plain / "labels.tif"), pixels(out / "labels.tif")
    expected = np.select([before == 0, before == 255], [0, 255], 20)
    np.testing.assert_array_equal(labels, expected)
    assert (out / "confidence.tif").stat().st_mtime_ns == kept, "confidence is the model's"
    with rasterio.open(out / "labels.tif") as source:
        assert {value: source.colormap(1)[value][:3] for value in (20, 7)} == {20: (18, 52, 86), 7: (255, 0, 0)}
        assert source.tags() | {"CLASS_20": "Land", "CLASS_0": "Water"} == source.tags()
        assert "CLASS_1" not in source.tags()
    with rasterio.open(out / "probabilities.tif") as source:
        assert source.descriptions == ("Water", "trees", "crops")
    entries = [dict(entry.attrib) for entry in ElementTree.parse(out / "labels.qml").iter("paletteEntry")]  # noqa: S314 - ours
    assert [(entry["value"], entry["label"]) for entry in entries] == [("20", "Land"), ("0", "Water"), ("7", "quarry")]
    assert (out / "labels.clr").read_text().splitlines()[1:] == ["20 18 52 86", "0 65 155 223", "7 255 0 0"]
    item = json.loads((out / "item.json").read_text())["assets"]["labels"]["bands"][0]["classification:classes"]
    assert [(entry["value"], entry["title"]) for entry in item] == [(20, "Land"), (0, "Water"), (7, "quarry")]
    record = json.loads((out / "run.json").read_text())
    assert [entry["name"] for entry in record["model"]["classes"]] == ["Land", "Water", "quarry"]
    assert record["workflow"]["legend"][0]["of"] == ["trees", "crops"]
    page = (out / "report.html").read_text()
    assert "Land" in page
    assert "crops" not in page
    store = read_legend(open_raster(out / "labels.zarr", bands=[1]))
    assert store.names == {20: "Land", 0: "Water", 7: "quarry"}
    assert geoseg.run(out / "workflow.yaml", legend=legend, client=client).is_unchanged
    assert geoseg.run(out / "workflow.yaml", client=client).is_unchanged, "workflow.yaml holds the legend itself"


def test_borders_between_classes_that_are_one_disappear(plain: Path, client: Client, tmp_path: Path) -> None:
    out = copied(plain, tmp_path / "out")
    geoseg.run(out / "workflow.yaml", legend=LAND, client=client)
    labels, features = pixels(out / "labels.tif"), table(out)
    faces = {value: ndimage.label(labels == value)[1] for value in (0, 20)}
    assert Counter(features["class"]) == faces
    assert set(zip(features["class"], features["name"], strict=True)) == {(0, "Water"), (20, "Land")}
    for value in faces:
        assert features["pixels"][features["class"] == value].sum() == np.count_nonzero(labels == value)
    confidence = pixels(out / "confidence.tif") / 255
    largest = features.loc[features["pixels"].idxmax()]
    face = ndimage.label(labels == largest["class"])
    inside = face[0] == 1 + np.argmax(np.bincount(face[0].ravel())[1:])
    assert largest["confidence"] == pytest.approx(confidence[inside].mean(), abs=1e-3)


def test_a_legend_gives_the_same_after_a_run_and_with_it_in_other_blocks_and_goes_again(
    plain: Path, scene: Path, box: Path, client: Client, tmp_path: Path
) -> None:
    out = copied(plain, tmp_path / "out")
    geoseg.run(out / "workflow.yaml", legend=LAND, min_area=900, client=client)
    fresh = tmp_path / "fresh"
    wanted = settings(scene, box, fresh, block_tiles=[2, 3], min_area=900, report=False)
    geoseg.run(wanted, legend=LAND, client=client)
    np.testing.assert_array_equal(pixels(fresh / "labels.tif"), pixels(out / "labels.tif"))
    assert rows(fresh) == rows(out)
    geoseg.run(out / "workflow.yaml", legend={}, min_area=0, client=client)
    np.testing.assert_array_equal(pixels(plain / "labels.tif"), pixels(out / "labels.tif"))
    assert rows(plain) == rows(out)


def test_names_that_are_one_make_one_class_on_the_command_line(plain: Path, tmp_path: Path) -> None:
    out = copied(plain, tmp_path / "out")
    legend = "trees=Land,crops=Land,Land=#102030"
    assert main(["run", str(out / "workflow.yaml"), "--legend", legend, "--workers", "1", "--quiet"]) == 0
    np.testing.assert_array_equal(np.unique(pixels(out / "labels.tif")), [0, 1, 255])
    with rasterio.open(out / "labels.tif") as source:
        assert source.tags()["CLASS_1"] == "Land"
        assert source.colormap(1)[1][:3] == (16, 32, 48)


@pytest.mark.parametrize("threshold", [0.6, 0.95])
def test_background_may_be_a_part_of_a_class(
    scene: Path, box: Path, client: Client, tmp_path: Path, threshold: float
) -> None:
    item = json.loads(box.read_text())
    item["properties"] |= {"geoseg:activation": "sigmoid", "geoseg:threshold": threshold}
    for entry in item["properties"]["mlm:output"][0]["classification:classes"]:
        entry["value"] += 1
    model = box.with_name("roofs.json")
    model.write_text(json.dumps(item))
    wanted = settings(scene, model, tmp_path / "out", report=False, classes=[0, 1, 2, 3])
    geoseg.run(wanted, client=client)
    before = pixels(tmp_path / "out" / "labels.tif")
    legend = [{"name": "rest", "of": ["background", "crops"]}]
    later = geoseg.run(wanted | {"classes": ["rest", "trees"]}, legend=legend, client=client)
    assert not later.outcome.done["predict"]
    expected = np.where(before == 3, 0, before)
    np.testing.assert_array_equal(pixels(tmp_path / "out" / "labels.tif"), expected)
    faces = {value: ndimage.label(expected == value)[1] for value in (0, 2)}
    assert Counter(table(tmp_path / "out")["class"]) == +Counter(faces)


def classes_of(*names: str) -> list[ClassSpec]:
    return [ClassSpec(2 * value, name, f"#{value:06x}") for value, name in enumerate(names)]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=9), st.data())
def test_every_class_of_the_model_is_in_one_class_of_the_results(owners: list[int], data: st.DataObject) -> None:
    classes = classes_of(*(f"c{number}" for number in range(len(owners))))
    order = data.draw(st.permutations(sorted(set(owners))))
    entries = [
        LegendClass(
            name=f"g{group}", of=[item.name for item, owner in zip(classes, owners, strict=True) if owner == group]
        )
        for group in order
        if group < 5  # classes of group 5 stay as they are
    ]
    shown, labels = apply_legend(classes, entries)
    names = {item.value: item.name for item in shown}
    assert [item.name for item in shown[: len(entries)]] == [entry.name for entry in entries]
    for item, owner in zip(classes, owners, strict=True):
        assert names[labels.get(item.value, item.value)] == (f"g{owner}" if owner < 5 else item.name)
    mapping = {item.name: f"g{owner}" for item, owner in zip(classes, owners, strict=True) if owner < 5}
    alike, same = apply_legend(classes, mapping)
    assert same == labels
    assert {item.value: item.name for item in alike} == names


def test_a_class_keeps_value_and_colour_where_others_join_it() -> None:
    shown, labels = apply_legend(classes_of("a", "b", "c"), {"a": "c", "b": "#ffffff"})
    assert [(item.value, item.name, item.color) for item in shown] == [(4, "c", "#000002"), (2, "b", "#ffffff")]
    assert labels == {0: 4}


REFUSED = [
    ("[{name: Land, of: [watr]}]", "no class is called 'watr'; did you mean 'water'?"),
    (
        "[{name: Land, of: [9]}]",
        "legend has the value 9, and the model's classes are 0 water, 1 trees, 2 crops; give one of them.",
    ),
    ("[{name: A, of: [0, 1]}, {name: B, of: [1]}]", "legend has 'trees' in 'A' and in 'B'; leave it in one."),
    ("[{name: crops, of: trees}]", "legend gives two classes the name 'crops'; make them one class with both in 'of'."),
    ("[{name: A, of: trees, value: 2}]", "legend gives 'A' and 'crops' the value 2; give one of them another value."),
    (
        "[{name: quarry, of: []}]",
        "legend has the class 'quarry' of no class of the model, for corrections; give it a value that no other class "
        "has, 0 to 254.",
    ),
    ("[{name: A, colour: x}]", "class 1 of the legend 'PATH' has an unknown key 'colour'; did you mean 'color'?"),
    (
        "[{name: trees}, trees]",
        "class 2 of the legend 'PATH' is 'trees'; write its keys, such as {name: Forest, of: [trees]}.",
    ),
    ("[{of: trees}]", "class 1 of the legend 'PATH' does not say 'name'; add that key."),
    ("[{name: trees, value: 255}]", "class 1 of the legend 'PATH' has value: 255, which cannot be used"),
    ("trees", "the legend 'PATH' has classes: 'trees', which cannot be used"),
]  # fmt: skip


@pytest.mark.parametrize(("classes", "message"), REFUSED)
def test_a_legend_that_cannot_be_used_is_one_sentence(
    scene: Path, box: Path, tmp_path: Path, classes: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "legend.yaml"
    path.write_text(f"classes: {classes}\n")
    assert main(["plan", str(scene), "--model", str(box), "--ramp", "8", "--legend", str(path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(message.replace("PATH", str(path)))
    assert told.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "the legend 'PATH' does not exist; give a YAML file of classes (docs/outputs.md)."),
        ("classes: [", "PATH is not YAML at line 1; see docs/outputs.md for the form."),
        ("colours: []", "the legend 'PATH' does not say 'classes'; add that key."),
        ("classes: []\nclass: []", "the legend 'PATH' has an unknown key 'class'; did you mean 'classes'?"),
    ],
)
def test_a_file_that_is_no_legend_is_one_sentence(
    scene: Path, box: Path, tmp_path: Path, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "legend.yaml"
    if content is not None:
        path.write_text(content)
    assert main(["plan", str(scene), "--model", str(box), "--ramp", "8", "--legend", str(path)]) in (2, 3)
    assert capsys.readouterr().err == message.replace("PATH", str(path)) + "\n"


def test_the_value_of_a_class_that_is_a_part_of_another_is_refused(scene: Path, box: Path, tmp_path: Path) -> None:
    wanted = settings(scene, box, tmp_path, legend=LAND, classes=[1])
    with pytest.raises(WorkflowError, match=re.escape("class 1 is a part of 'Land' in the legend; give 20.")):
        geoseg.plan(wanted)


@pytest.mark.parametrize("legend", [None, [{"name": "unsure", "of": ["unknown", "crops"], "color": "#abcdef"}]])
def test_pixels_of_a_low_confidence_are_unknown_in_every_result_and_nothing_is_predicted(
    plain: Path, client: Client, tmp_path: Path, legend: Any
) -> None:
    out = copied(plain, tmp_path / "out")
    before, confidence = pixels(plain / "labels.tif"), pixels(plain / "confidence.tif")
    least = float(np.median(confidence[confidence > 0])) / 255
    more = {} if legend is None else {"legend": written(tmp_path / "legend.yaml", legend)}
    assert geoseg.plan(out / "workflow.yaml", min_confidence=least, **more).tiles_to_predict == 0
    kept = (out / "confidence.tif").stat().st_mtime_ns
    geoseg.run(out / "workflow.yaml", min_confidence=least, **more, client=client)

    is_unknown = (confidence > 0) & (confidence < np.ceil(least * 255))
    assert 0.2 < is_unknown.mean() < 0.8
    is_other = is_unknown if legend is None else is_unknown | (before == value_of("crops", plain))
    expected = np.where(is_other, 254, before)
    np.testing.assert_array_equal(pixels(out / "labels.tif"), expected)
    assert (out / "confidence.tif").stat().st_mtime_ns == kept
    features = table(out)
    assert set(features["name"][features["class"] == 254]) == {"unknown" if legend is None else "unsure"}
    areas = features.geometry.area.groupby(features["class"]).sum().to_dict()
    assert areas == {value: 100.0 * (expected == value).sum() for value in np.unique(expected) if value != 255}

    wanted = yaml.safe_load((out / "workflow.yaml").read_text())
    geoseg.run({**wanted, "output": str(tmp_path / "fresh"), "block_tiles": 2}, client=client)
    assert rows(tmp_path / "fresh") == rows(out)
    np.testing.assert_array_equal(pixels(tmp_path / "fresh" / "labels.tif"), expected)
    given = {key: value for key, value in wanted.items() if key not in ("min_confidence", "legend")}
    geoseg.run({**given, "output": str(out)}, client=client)
    assert rows(out) == rows(plain)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"activation": "sigmoid"}, "has a threshold, below which pixels are 'background'; leave min_confidence out,"),
        ({"task": "instance-segmentation"}, "finds objects, and no pixel has a confidence of its class; leave"),
        ({"classes": tuple(ClassSpec(value, f"c{value}") for value in range(255))}, "has 255 classes, and none is"),
    ],
)
def test_models_that_have_no_use_for_a_least_confidence_are_named(change: dict[str, Any], sentence: str) -> None:
    spec = with_background(replace(SPEC, **change))
    with pytest.raises(WorkflowError, match=sentence):
        with_unknown(spec, 0.5)


def test_unknown_is_the_class_of_that_name_or_has_the_largest_value_that_is_free() -> None:
    for other, value in ((ClassSpec(9, "Unknown"), 9), (ClassSpec(254, "cloud"), 253)):
        classes, unknown = with_unknown(replace(SPEC, classes=(*SPEC.classes, other)), 0.4)
        assert unknown is not None
        assert (classes[-1].value, unknown.value) == (value, value)
        assert [item.name for item in classes][:3] == ["trees", "crops", other.name]
    assert with_unknown(SPEC, None) == (SPEC.classes, None)
