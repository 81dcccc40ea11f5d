"""The command evaluate: what it is given, what it prints and writes, and what it says when it cannot."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from PIL import Image
from shapely.geometry import box

import geoseg
from geoseg.cli import main
from geoseg.evaluation import evaluate
from tests.rasters import TEN_METRES, write_raster
from tests.servers import serving


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Labels, objects and polygons of one place, and the folders of a semantic and of an instance run."""
    labels = np.random.default_rng(0).integers(0, 3, (10, 12)).repeat(5, 0).repeat(5, 1).astype(np.uint8)
    objects = np.zeros((50, 60), np.uint16)
    objects[10:20, 10:20], objects[30:40, 40:50] = 1, 2
    shapes = [box(*(TEN_METRES @ (x, y + 10)), *(TEN_METRES @ (x + 10, y))) for y, x in ((10, 10), (30, 40))]
    columns = {"class": [1, 1], "name": ["house", "house"], "instance": [1, 2], "score": [0.9, 0.4]}
    frame = gpd.GeoDataFrame(columns, geometry=shapes, crs=32618)
    (tmp_path / "objects").mkdir()
    (tmp_path / "classes").mkdir()
    write_raster(tmp_path / "labels.tif", labels)
    write_raster(tmp_path / "instances.tif", objects)
    write_raster(tmp_path / "classes" / "labels.tif", np.roll(labels, 1, 0), nodata=255)
    frame.to_file(tmp_path / "buildings.geojson")
    frame.to_file(tmp_path / "objects" / "buildings.gpkg")
    write_raster(tmp_path / "objects" / "instances.tif", objects.astype(np.uint32), nodata=0)
    write_raster(tmp_path / "objects" / "labels.tif", np.where(objects, 1, 255).astype(np.uint8), nodata=255)
    results = {"results": ["labels.tif", "instances.tif", "buildings.gpkg"]}
    (tmp_path / "objects" / "run.json").write_text(json.dumps(results))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("prediction", "truth", "task"),
    [
        ("labels.tif", "labels.tif", "semantic"),
        ("classes", "labels.tif", "semantic"),
        ("classes", "buildings.geojson", "semantic"),
        ("instances.tif", "instances.tif", "instance"),
        ("objects", "instances.tif", "instance"),
        ("instances.tif", "buildings.geojson", "instance"),
        ("objects", "buildings.geojson", "polygons"),
        ("buildings.geojson", "buildings.geojson", "polygons"),
        ("objects", "objects", "panoptic"),
    ],
)
@pytest.mark.usefixtures("folder")
def test_the_task_is_found_from_what_is_given(prediction: str, truth: str, task: str) -> None:
    assert evaluate(prediction, truth).task == task
    assert main(["evaluate", prediction, truth]) == 0


def test_scores_of_a_runs_objects_come_from_its_features(folder: Path) -> None:
    found = evaluate("objects", "instances.tif").summary()["scores"]
    assert (found["ap50"], found["pairs"]) == (pytest.approx(1), 2)
    layer = folder / "objects" / "buildings.gpkg"
    gpd.read_file(layer)[1:].to_file(layer)
    truth = np.zeros((50, 60), np.uint16)
    truth[30:40, 40:50] = 2
    few = evaluate("objects", write_raster(folder / "second.tif", truth))
    assert few.summary()["scores"]["ap50"] == pytest.approx(1)  # the first, which is false, comes after the second
    assert few.notes == (f"1 objects have no score in '{Path('objects') / 'buildings.gpkg'}' and come last",)


def test_numbers_are_printed_and_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["classes", "labels.tif", "--classes", "0=water,1=[b]trees,2=built", "--tolerance", "1px"]
    for _ in range(2):  # what is there is written again
        assert main(["evaluate", *arguments, "--json", "scores.json", "--confusion", "confusion.png"]) == 0
    printed = capsys.readouterr().out
    written = json.loads((folder / "scores.json").read_text())
    assert written["task"] == "semantic"
    assert written["settings"] == {"classes": {"0": "water", "1": "[b]trees", "2": "built"}, "tolerance": "1px"}
    assert (
        written["scores"]
        == evaluate("classes", "labels.tif", classes={0: "water", 1: "[b]trees", 2: "built"}, tolerance=1).summary()[
            "scores"
        ]
    )
    assert f"accuracy {written['scores']['accuracy']:.4f}" in printed
    assert "[b]trees" in printed
    assert f"{written['scores']['classes']['built']['iou']:.4f}" in printed
    assert Image.open(folder / "confusion.png").format == "PNG"


def test_tables_show_what_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "objects", "buildings.geojson", "--sizes", "5000,20000", "--json", "scores.json"]) == 0
    printed = capsys.readouterr().out
    scores = json.loads((folder / "scores.json").read_text())["scores"]
    assert scores["sizes"]["medium"]["true_objects"] == 2
    for label, value in (("PoLiS, mean, m", scores["polis"]), ("AP50", scores["ap50"])):
        line = next(line for line in printed.splitlines() if label in line)
        assert f"{value:.4f}" in line
    assert main(["evaluate", "instances.tif", "instances.tif"]) == 0
    printed = capsys.readouterr().out
    assert next(line for line in printed.splitlines() if "AP50:95" in line).split()[-1] == "-"
    assert "note: the prediction has no scores" in printed
    assert main(["evaluate", "objects", "objects", "--thing-classes", "1"]) == 0
    assert "thing" in capsys.readouterr().out


def test_inputs_lie_in_archives_and_at_urls_of_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer = folder / "objects" / "buildings.gpkg"
    with zipfile.ZipFile("a.zip", "w") as archive:
        archive.write(layer, "b.gpkg")
    (folder / "a.geojson.gz").write_bytes(gzip.compress((folder / "buildings.geojson").read_bytes()))
    given = f"/vsizip/{folder}/a.zip/b.gpkg", f"/vsigzip/{folder}/a.geojson.gz", layer.as_uri(), layer.parent.as_uri()
    for text in given:
        assert main(["evaluate", text, "buildings.geojson"]) == 0, text
        assert "polygons: " in capsys.readouterr().out
    assert main(["evaluate", "instances.tif", "instances.tif", "--scores", given[0]]) == 0
    assert "has no scores" not in capsys.readouterr().out
    assert main(["evaluate", f"file://{folder}/none.gpkg", "labels.tif"]) == 3
    assert "none.gpkg' does not exist; correct the path" in capsys.readouterr().err
    assert main(["evaluate", given[0], (folder / "labels.tif").as_uri(), "--json", "labels.tif"]) == 2
    assert "labels.tif is read and would be replaced" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("code", "arguments", "sentence"),
    [
        (3, ["nowhere.tif", "labels.tif"], "'nowhere.tif' does not exist"),
        (3, ["nowhere.gpkg", "labels.tif"], "the prediction 'nowhere.gpkg' does not exist"),
        (2, ["labels.tif", "labels.tif", "--task", "semantics"], "has task: 'semantics'; did you mean 'semantic'?"),
        (2, ["labels.tif", "labels.tif", "--tolerance", "2 miles"], "has tolerance: '2 miles'; write a length"),
        (2, ["labels.tif", "labels.tif", "--sizes", "100"], "has sizes: '100'; give two ascending areas"),
        (2, ["labels.tif", "labels.tif", "--sizes", "a,b"], "has sizes: 'a,b'; give two ascending areas"),
        (2, ["labels.tif", "labels.tif", "--classes", "a=1"], "has classes: 'a=1'; write values and names"),
        (2, ["labels.tif", "labels.tif", "--resolution", "-1"], "the evaluation has resolution: '-1', which cannot"),
        (3, ["labels.tif", "labels.tif", "--task", "polygons"], "the truth 'labels.tif' has no features"),
        (3, ["labels.tif", "labels.tif", "--task", "panoptic"], "the truth 'labels.tif' lacks labels or instances"),
        (3, ["classes", "instances.tif"], "the truth 'instances.tif' may hold classes or object ids"),
        (3, ["classes", "instances.tif", "--task", "instance"], "has neither an instance raster nor features"),
        (3, ["classes", "buildings.geojson", "--instances", "nowhere.tif"], "'nowhere.tif' does not exist"),
        (3, ["buildings.geojson", "labels.tif", "--instances", "instances.tif"], "has no labels that the instances"),
        (3, ["instances.tif", "instances.tif", "--confusion", "c.png"], "the task 'instance' has no confusion"),
        (2, ["labels.tif", "labels.tif", "--json", "file:a.json"], "json 'file:a.json' is an address, and results"),
        (2, ["labels.tif", "labels.tif", "--json", "/vsizip/a.zip/a.json"], "json '/vsizip/a.zip/a.json' is an addr"),
        (5, ["labels.tif", "labels.tif", "--json", "labels.tif/a.json"], "labels.tif/a.json cannot be written (File"),
        (5, ["labels.tif", "labels.tif", "--json", "classes"], "'classes' is a folder; remove it, or choose another"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("folder")
def test_what_cannot_be_used_is_one_sentence(
    code: int, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == code
    error = capsys.readouterr().err.strip()
    assert sentence in error
    assert "\n" not in error


@pytest.mark.usefixtures("folder")
def test_an_option_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(geoseg.errors.WorkflowError, match="unknown key 'ignored'; did you mean 'ignore'"):
        evaluate("labels.tif", "labels.tif", ignored=[0])
    assert evaluate("labels.tif", "labels.tif", task=None).settings == evaluate("labels.tif", "labels.tif").settings


@pytest.mark.usefixtures("folder")
def test_it_can_be_called_in_python() -> None:
    result = geoseg.evaluate("labels.tif", "labels.tif")
    assert result.scores.mean_iou == 1
    assert result.summary()["scores"]["accuracy"] == 1


def test_signatures_of_addresses_stand_in_no_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(folder) as traffic:
        signed = f"{traffic.url}/labels.tif?sv=1&sig=SECRET9"
        layer = signed.replace("labels.tif", "buildings.geojson")
        assert main(["evaluate", signed, "labels.tif", "--json", "e.json", "--region", layer]) == 0
        assert main(["compare", signed, "classes/labels.tif", "--json", "c.json", "--region", layer]) == 0
        assert main(["areas", signed, "--json", "a.json", "--zones", layer]) == 0
        assert "SECRET9" not in repr(evaluate(signed, "labels.tif"))
        assert "SECRET9" not in geoseg.compare(signed, "labels.tif")._repr_html_()
    assert "SECRET9" not in "".join(capsys.readouterr())
    for name in ("e", "c", "a"):
        text = (folder / f"{name}.json").read_text()
        assert "/labels.tif" in text
        assert "SECRET9" not in text


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"results": 3}'])
def test_a_damaged_manifest_is_one_sentence(content: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "objects" / "run.json").write_text(content)
    for words in (["evaluate", "objects", "labels.tif"], ["compare", "objects", "labels.tif"], ["areas", "objects"]):
        assert main(words) != 0
        said = " ".join(capsys.readouterr().err.split())
        assert said.endswith("run.json is damaged; 'geoseg resume objects' writes it anew, or name the files.")
