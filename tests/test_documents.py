"""Workflows, recipes and options as a person may write them by mistake."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
import yaml

import geoseg
from geoseg.cli import main
from geoseg.errors import GeosegError, OutputError, WorkflowError
from geoseg.files import refuse_read
from geoseg.options.documents import read_document
from geoseg.vector import check_name, region_text
from geoseg.workflow import read_workflow
from tests.rasters import write_raster


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "model: a\nmin_area: 5\ncrs: local\nmin_area: 500\n",
            "FILE has the key 'min_area' at line 2 and at line 4; keep one of them.",
        ),
        (
            "mask: {asset: scl, exclude: [3], asset: qa}\n",
            "FILE has the key 'asset' at line 1 and at line 1; keep one of",
        ),
        ("model: a\n3: b\n", "FILE has the key 3, and keys are words; see a.yaml for the form."),
        ("~: b\n", "FILE has the key None, and keys are words"),
        ("classes: [\n", "FILE is not YAML at line 2; see a.yaml for the form."),
        ("- a\n", "FILE holds no keys; see a.yaml for the form."),
    ],
)
def test_what_is_no_document_is_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "map.yaml"
    path.write_text(text)
    with pytest.raises(WorkflowError) as caught:
        read_document(path, "a.yaml")
    assert str(caught.value).replace(str(path), "FILE").startswith(words)


def test_aliases_are_read_and_may_not_repeat_without_end(tmp_path: Path) -> None:
    path = tmp_path / "map.yaml"
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]\n"
    path.write_text(text)
    assert read_document(path, "a.yaml") == yaml.safe_load(text) == {
        "a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": [{"x": 1, "y": 2}] * 2,
    }  # fmt: skip
    path.write_text("a: &a [" + "1, " * 400 + "1]\nb: [" + "*a, " * 400 + "1]\n")
    with pytest.raises(WorkflowError, match=r"holds more than \d+ values by its aliases; write out what is meant"):
        read_document(path, "a.yaml")


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("nodata: no", "nodata", False),
        ("scale: yes", "scale", True),
        ("threshold: off", "threshold", False),
        ("tile_size: yes", "tile_size", True),
        ("bands: [yes, 2]", "bands", [True, 2]),
        ("keep_classes: [no]", "keep_classes", [False]),
        ("simplify: yes", "simplify", True),
    ],
)
def test_yes_and_no_are_no_numbers(tmp_path: Path, text: str, key: str, value: Any) -> None:
    words = f" has {key}: {value}; yes, no, true and false are no numbers and no names; quote the word, or leave"
    (tmp_path / "map.yaml").write_text(f"model: buildings\n{text}\n")
    for given in (lambda: read_workflow(tmp_path / "map.yaml"), lambda: read_workflow("buildings", **{key: value})):
        with pytest.raises(WorkflowError) as caught:
            given()
        assert words in str(caught.value)


def test_options_that_are_yes_or_no_stay_so() -> None:
    wanted = read_workflow({"model": "buildings", "report": False, "tta": True, "block_tiles": 2, "query": {"a": True}})
    assert (wanted.report, wanted.tta, wanted.query) == (False, True, {"a": True})


def test_an_unset_variable_of_the_shell_is_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_raster(tmp_path / "labels.tif", np.ones((1, 8, 8), np.uint8))
    assert main(["plan", "land_use", "--input", "labels.tif", "--output", ""]) == 2
    assert capsys.readouterr().err == "output is empty, as an unset variable of the shell is; give a path.\n"
    with pytest.raises(GeosegError, match="output is empty"):
        geoseg.polygonize("labels.tif", "")


def test_a_name_that_no_disk_takes_is_one_sentence(tmp_path: Path) -> None:
    write_raster(tmp_path / "labels.tif", np.ones((1, 8, 8), np.uint8))
    words = r"output has the name 'ö{32}\.\.\.' of 265 bytes, and disks take 255; choose a shorter one\."
    with pytest.raises(WorkflowError, match=words):
        geoseg.polygonize(tmp_path / "labels.tif", tmp_path / f"{'ö' * 130}.gpkg")


def test_features_as_text_are_no_file(tmp_path: Path) -> None:
    frame = gpd.GeoDataFrame(geometry=[shapely.Point(5e5, 4e6).buffer(50)], crs="EPSG:32618")
    text = region_text(frame)
    assert isinstance(text, str)
    assert len(text) > 255
    refuse_read(tmp_path / "a.gpkg", text, frame, None)


@pytest.mark.parametrize("name", ["a;b.geojson", "a!b.gpkg", "wow!/x.shp", "a;b.fgb"])
def test_vector_files_whose_names_pyogrio_takes_apart_are_refused_before_any_work(tmp_path: Path, name: str) -> None:
    raster = write_raster(tmp_path / "labels.tif", np.ones((1, 8, 8), np.uint8))
    (tmp_path / "wow!").mkdir()
    for other in ("a", "b.gpkg"):
        (tmp_path / other).write_text("precious")
    path = tmp_path / name
    words = r"has '!' or ';' in it, which pyogrio takes for a part of an address and then uses another file; choose a"
    with pytest.raises(OutputError, match=words):
        geoseg.polygonize(raster, path)
    path.write_text("{}")
    with pytest.raises(GeosegError, match=words):
        geoseg.polygonize(raster, tmp_path / "c.gpkg", region=path)
    assert {(tmp_path / other).read_text() for other in ("a", "b.gpkg")} == {"precious"}
    assert not (tmp_path / "c.gpkg").exists()


def test_parquet_may_have_any_name(tmp_path: Path) -> None:
    check_name(tmp_path / "a;b!c.parquet", OutputError)
    check_name(tmp_path / "plain, (1) & äö.gpkg", OutputError)
