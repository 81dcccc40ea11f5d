"""Rasters of confidence and probability, and what may change after a run without the network."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pyogrio
import pytest
import rasterio
import xarray as xr
from affine import Affine
from distributed import Client
from numpy.typing import NDArray
from odc.geo.xr import xr_coords  # noqa: F401 - gives arrays the accessor odc

import geoseg
from geoseg.cli import main
from geoseg.engine import connect
from geoseg.errors import FingerprintError, FormatError, ModelError, OutputError, WorkflowError
from geoseg.grid import Window
from geoseg.raster.zarr import write_zarr
from geoseg.store import RunFolder
from geoseg.vector import check_format
from tests.killing import kill_in_the_middle
from tests.networks import Box, Constant, write_model
from tests.rasters import noise, write_raster

BOTH = ["confidence", "probabilities", "confidence.zarr", "probabilities.zarr"]


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 2) as client:
        yield client


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    mask = np.ones((150, 140), bool)
    mask[40:60, 30:90] = False
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", noise(2, 150, 140), mask=mask)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), Box(1), name="box", halo=3)


@pytest.fixture(scope="module")
def roofs(box: Path) -> Path:
    """The same network of independent scores, with a threshold."""
    item = json.loads(box.read_text())
    item["properties"]["geoseg:activation"] = "sigmoid"
    item["properties"]["geoseg:threshold"] = 0.8
    for entry in item["properties"]["mlm:output"][0]["classification:classes"]:
        entry["value"] += 1
    path = box.with_name("roofs.json")
    path.write_text(json.dumps(item))
    return path


def settings(scene: Path, model: Path, output: Path, **more: Any) -> dict[str, Any]:
    return {"model": str(model), "input": str(scene), "output": str(output), "ramp": 8, "report": False, **more}


@pytest.mark.parametrize(
    "name",
    [
        *("labels.tif", "features.gpkg", "confidence.tif", "labels.tif.aux.xml", "features.gpkg-wal"),
        *("item.json", "run.json", "workflow.yaml", "performance.html"),
    ],
)
def test_a_folder_in_the_place_of_a_result_is_refused_before_anything_is_computed(
    scene: Path, box: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out" / name).mkdir(parents=True)
    outputs = ["confidence", "confidence.zarr"]
    given = settings(scene, box, tmp_path / "out", outputs=outputs, performance_report=True)
    for start in (geoseg.plan, geoseg.run):
        with pytest.raises(OutputError, match=f"{name}' is a folder; remove it, or choose"):
            start(given)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


@pytest.mark.parametrize("output", ["notes", "notes/out"])
def test_a_file_in_the_place_of_the_output_folder_is_refused_by_plan_and_run(
    scene: Path, box: Path, tmp_path: Path, output: str
) -> None:
    (tmp_path / "notes").write_text("mine")
    for start in (geoseg.plan, geoseg.run):
        with pytest.raises(OutputError, match="notes' is a file; choose another folder for the output"):
            start(settings(scene, box, tmp_path / output))
    assert (tmp_path / "notes").read_text() == "mine"


def test_a_list_of_polygon_files_is_not_taken_for_one_name(scene: Path, box: Path, tmp_path: Path) -> None:
    given = settings(scene, box, tmp_path / "out", features=["f.gpkg,f.parquet"])
    with pytest.raises(FormatError, match=r"'f.gpkg,f.parquet' are 2 files in one name; give each by itself\."):
        geoseg.run(given)
    with pytest.raises(FormatError, match="2 files in one name"):
        geoseg.plan(given)
    with pytest.raises(FormatError, match="2 files in one name"):
        geoseg.polygonize(str(scene), str(tmp_path / "f.gpkg,f.parquet"))
    assert check_format(Path("Essex, north.gpkg")).name == "GPKG"


def bands_of(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as source:
        pixels: NDArray[Any] = source.read()
        return pixels


@pytest.fixture(scope="module")
def reference(scene: Path, box: Path, client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("reference") / "out"
    result = geoseg.run(settings(scene, box, output, outputs=BOTH), client=client)
    assert [path.name for path in result.products] == [*(f"{name}.tif" for name in BOTH[:2]), *BOTH[2:]]
    return output


def test_the_first_largest_probability_is_the_label_and_its_share_the_confidence(reference: Path) -> None:
    labels, confidence = (bands_of(reference / f"{name}.tif")[0] for name in ("labels", "confidence"))
    probabilities = bands_of(reference / "probabilities.tif")
    is_known = labels != 255
    assert 0.9 < is_known.mean() < 1
    np.testing.assert_array_equal(probabilities.argmax(0)[is_known], labels[is_known])
    np.testing.assert_array_equal((probabilities == 65_535).all(0), ~is_known)
    np.testing.assert_allclose(probabilities[:, is_known].sum(0, dtype=int), 32_767, atol=2)
    expected = np.floor(probabilities.max(0).astype(float) * 255 / 32_767 + 0.5)
    np.testing.assert_array_equal(confidence, np.where(is_known, expected, 0))


def test_a_probability_raster_says_what_its_numbers_mean(reference: Path) -> None:
    with rasterio.open(reference / "probabilities.tif") as source:
        assert source.descriptions == ("water", "trees", "crops")
        assert source.scales == (1 / 32_767,) * 3
        assert source.offsets == (0,) * 3
        assert (source.nodata, source.dtypes[0]) == (65_535, "uint16")
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    with rasterio.open(reference / "confidence.tif") as source:
        assert (source.nodata, source.dtypes, source.scales) == (0, ("uint8",), (1 / 255,))
        assert source.descriptions == ("confidence",)


@pytest.mark.parametrize("name", ["confidence", "probabilities"])
def test_a_zarr_store_has_the_same_numbers_with_coordinates_and_crs_for_xarray(reference: Path, name: str) -> None:
    pixels = bands_of(reference / f"{name}.tif")
    with rasterio.open(reference / f"{name}.tif") as source:
        transform, crs, nodata, scale = source.transform, source.crs, source.nodata, source.scales[0]
    stored = xr.open_zarr(reference / f"{name}.zarr", consolidated=False, mask_and_scale=False)[name]
    np.testing.assert_array_equal(stored.values, pixels if name == "probabilities" else pixels[0])
    array = xr.open_zarr(reference / f"{name}.zarr", consolidated=False, decode_coords="all")[name]
    expected = np.where(pixels == nodata, np.nan, pixels.astype(float) * scale)
    np.testing.assert_allclose(array.values, expected if name == "probabilities" else expected[0])
    assert array.odc.geobox.affine == transform
    assert array.odc.crs.epsg == crs.to_epsg()
    if name == "probabilities":
        assert array.sel({"class": "trees"}).shape == pixels.shape[1:]
        assert list(array["class"].values) == ["water", "trees", "crops"]


@pytest.mark.parametrize("layout", [{"block_tiles": 1}, {"block_tiles": (3, 2)}, {"workers": 1}])
def test_rasters_are_the_same_for_every_layout(
    scene: Path, box: Path, client: Client, reference: Path, tmp_path: Path, layout: dict[str, Any]
) -> None:
    geoseg.run(settings(scene, box, tmp_path, outputs=BOTH[:2], features=[], **layout), client=client)
    for name in ("labels", "confidence", "probabilities"):
        np.testing.assert_array_equal(bands_of(tmp_path / f"{name}.tif"), bands_of(reference / f"{name}.tif"))


def test_a_constant_model_has_one_probability_everywhere(scene: Path, client: Client, tmp_path: Path) -> None:
    model = write_model(tmp_path, Constant(), name="constant", halo=2)
    geoseg.run(settings(scene, model, tmp_path / "out", outputs=BOTH[:2], features=[]), client=client)
    probabilities = bands_of(tmp_path / "out" / "probabilities.tif")
    is_known = (probabilities != 65_535).all(0)
    expected = np.exp([0.1, 0.7, 0.3]) / np.exp([0.1, 0.7, 0.3]).sum() * 32_767
    assert [np.unique(band[is_known]).tolist() for band in probabilities] == [[value] for value in np.rint(expected)]


def test_confidence_may_be_asked_for_after_a_run_and_probabilities_not(
    scene: Path, box: Path, client: Client, tmp_path: Path
) -> None:
    geoseg.run(settings(scene, box, tmp_path, features=[]), client=client)
    later = geoseg.run(settings(scene, box, tmp_path, features=[], outputs=["confidence"]), client=client)
    assert not later.outcome.done
    assert (tmp_path / "confidence.tif").is_file()
    with pytest.raises(FingerprintError, match=r"did not keep probabilities.*--overwrite its \d+ predicted blocks"):
        geoseg.run(settings(scene, box, tmp_path, features=[], outputs=["probabilities"]), client=client)


def test_probabilities_that_were_kept_are_written_again_without_the_network(
    scene: Path, box: Path, client: Client, tmp_path: Path
) -> None:
    wanted = settings(scene, box, tmp_path, features=[], outputs=["probabilities"])
    geoseg.run(wanted, client=client)
    before = (tmp_path / "probabilities.tif").read_bytes()
    (tmp_path / "probabilities.tif").unlink()
    assert not geoseg.run({**wanted, "outputs": []}, client=client).outcome.done
    again = geoseg.run(wanted, client=client)
    assert not again.outcome.done
    assert (tmp_path / "probabilities.tif").read_bytes() == before


def test_a_store_replaces_its_former_self_and_nothing_of_somebody(tmp_path: Path) -> None:
    def write(value: int) -> None:
        pixels = np.full((20, 30), value, np.uint8)
        windows = [(Window(0, 0, 20, 30), pixels)]
        place = path, (20, 30), Affine(10, 0, 5e5, 0, -10, 4e6), "EPSG:32618"
        write_zarr(*place, windows, description="confidence", dtype="uint8", nodata=0)

    path = tmp_path / "confidence.zarr"
    for value in (3, 7):
        write(value)
        assert (xr.open_zarr(path, consolidated=False, mask_and_scale=False).confidence == value).all()
    assert os.listdir(tmp_path) == ["confidence.zarr"]
    (path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"confidence.zarr' is a folder that holds 'notes.txt'; remove it, or choose"):
        write(9)
    assert (path / "notes.txt").read_text() == "mine"
    shutil.rmtree(path)
    path.write_text("mine")
    with pytest.raises(OutputError, match=r"confidence.zarr' is a file; remove it, or choose another folder for the"):
        write(9)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("outputs", [["confidense"], ["confidence.png"], ["labels.png"]])
def test_a_raster_that_no_run_writes_is_refused(scene: Path, box: Path, outputs: list[str], tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=f"outputs has '{outputs[0]}'"):
        geoseg.plan(settings(scene, box, tmp_path, outputs=outputs))


@pytest.mark.parametrize("model", ["box", "roofs"])
def test_the_lazy_result_has_the_probabilities_of_a_run(
    scene: Path, model: str, client: Client, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    item, names = request.getfixturevalue(model), ["labels", "confidence", "probabilities"]
    with rasterio.open(scene) as source:
        left, top = source.transform @ (90, 20)
        region = f"{left},{top - 400},{left + 300},{top},EPSG:32618"
    given = {"ramp": 8, "region": region, "tile_size": 32}
    result = geoseg.run(settings(scene, item, tmp_path, outputs=names, features=[], **given), client=client)
    maps = geoseg.segment(scene, str(item), outputs=names, block_tiles=2, **given)
    found = maps.probabilities.compute(scheduler="synchronous")
    xr.testing.assert_equal(found, result.probabilities.compute())
    assert found.dtype == np.float32
    is_known = found.notnull().all("class").values
    assert is_known[20:60, 90:120].any()
    np.testing.assert_array_equal(is_known, maps.labels.compute(scheduler="synchronous") != 255)
    assert not is_known[:, :64].any(), "blocks outside of the region"
    alone = geoseg.segment(scene, str(item), outputs="probabilities", ramp=8)
    assert alone.dims == ("class", *maps.labels.dims)


def test_a_result_is_read_from_its_folder_whatever_the_format_and_the_current_directory(
    scene: Path, box: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = [
        geoseg.run(
            settings(scene, box, Path(name), outputs=[f"confidence{ending}", f"probabilities{ending}"]), client=client
        )
        for name, ending in (("a", ".tif"), ("b", ".zarr"))
    ]
    table = results[0].features
    (elsewhere := tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(elsewhere)
    one, other = (pickle.loads(pickle.dumps(result)) for result in results)
    for name in ("labels", "confidence", "probabilities"):
        found = getattr(other, name)
        assert found.odc.crs == "EPSG:32618"
        xr.testing.assert_identical(found.compute(), getattr(one, name).compute())
    assert one.features.equals(table)
    assert other.plot(width=400).width == 400
    assert geoseg.compare(one, other).pixels.unchanged == 1
    assert geoseg.evaluate(one, other).summary()["scores"]["accuracy"] == 1


def test_the_item_of_a_run_is_its_map_and_another_item_is_none(
    reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = str(reference / "item.json")
    assert geoseg.evaluate(item, reference).scores.compared > 1_000
    assert geoseg.areas(item).table.equals(geoseg.areas(reference).table)
    other = tmp_path / "scene.json"
    other.write_text((reference / "item.json").read_text())
    for command in ("evaluate", "compare"):
        assert main([command, str(other), str(reference)]) == 3
        assert "is a STAC item, which is no map; give the file of one of its assets" in capsys.readouterr().err
    assert main(["polygonize", item, str(tmp_path / "a.gpkg")]) == 3
    assert re.search(r"is a STAC item \(.*labels.*\); give the file of one of its assets", capsys.readouterr().err)


def test_a_model_of_objects_has_no_probabilities_in_the_lazy_result(scene: Path) -> None:
    spec = geoseg.ModelSpec("own", "instance-segmentation", (geoseg.Band("a"),), (geoseg.ClassSpec(1, "roof"),))
    with pytest.raises(ModelError, match="'own' finds objects, and no pixel has probabilities; leave 'probabilities'"):
        geoseg.segment(scene, lambda pixels: pixels, spec=spec, bands=[1], outputs=["instances", "probabilities"])


@pytest.mark.slow
def test_after_kill_9_probabilities_labels_and_features_are_those_of_a_run_that_never_stopped(
    scene: Path, box: Path, reference: Path, client: Client, tmp_path: Path
) -> None:
    wanted = settings(scene, box, tmp_path / "out", outputs=BOTH, block_tiles=1, tile_size=32)
    folder = RunFolder(tmp_path / "out")
    kill_in_the_middle({**wanted, "workers": 1}, folder.state / "finish", 8)
    finished = len(folder.journal("finish").places())
    result = geoseg.run(wanted, client=client)
    assert 8 <= finished < result.plan.block_count, "the run was not interrupted in the middle"
    assert result.outcome.kept["finish"] >= finished
    for name in ("labels", "confidence", "probabilities"):
        np.testing.assert_array_equal(bands_of(tmp_path / "out" / f"{name}.tif"), bands_of(reference / f"{name}.tif"))
    stores = [xr.open_zarr(folder / "probabilities.zarr").probabilities for folder in (tmp_path / "out", reference)]
    xr.testing.assert_identical(*(store.compute() for store in stores))
    assert features_of(tmp_path / "out") == features_of(reference)


# What changes after a run


def features_of(folder: Path) -> list[tuple[Any, ...]]:
    table = pyogrio.read_dataframe(folder / "features.gpkg", layer="land_use")
    return sorted(zip(table["class"], table["name"], table["pixels"], table["confidence"], strict=True))


@pytest.mark.parametrize("threshold", [0.0, 0.6, 0.95, 1.0])
def test_another_threshold_gives_what_a_run_with_it_gives_and_predicts_nothing(
    scene: Path, roofs: Path, client: Client, tmp_path: Path, threshold: float
) -> None:
    outputs = {"outputs": ["confidence", "probabilities"]}
    geoseg.run(settings(scene, roofs, tmp_path / "a", **outputs), client=client)
    later = geoseg.run(settings(scene, roofs, tmp_path / "a", threshold=threshold, **outputs), client=client)
    assert {stage for stage, count in later.outcome.done.items() if count} == {"trace", "join"}
    geoseg.run(settings(scene, roofs, tmp_path / "b", threshold=threshold, **outputs), client=client)
    for name in ("labels", "confidence", "probabilities"):
        np.testing.assert_array_equal(
            bands_of(tmp_path / "a" / f"{name}.tif"), bands_of(tmp_path / "b" / f"{name}.tif")
        )
    assert features_of(tmp_path / "a") == features_of(tmp_path / "b")
    again = geoseg.run(settings(scene, roofs, tmp_path / "a", threshold=threshold, **outputs), client=client)
    assert again.is_unchanged


def test_names_and_colours_change_without_network_and_outlines(
    scene: Path, box: Path, client: Client, tmp_path: Path
) -> None:
    wanted = settings(scene, box, tmp_path, outputs=["confidence", "probabilities"])
    geoseg.run(wanted, client=client)
    before = features_of(tmp_path)
    confidence = (tmp_path / "confidence.tif").stat().st_mtime_ns
    legend = {"water": "#010203", 1: {"name": "Wald", "color": "#0A0B0C"}}
    later = geoseg.run(wanted, legend=legend, client=client)
    assert not later.outcome.done
    with rasterio.open(tmp_path / "labels.tif") as source:
        assert source.colormap(1)[0][:3] == (1, 2, 3)
        assert source.colormap(1)[1][:3] == (10, 11, 12)
        assert source.tags()["CLASS_1"] == "Wald"
    with rasterio.open(tmp_path / "probabilities.tif") as source:
        assert source.descriptions == ("water", "Wald", "crops")
    entries = [dict(entry.attrib) for entry in ElementTree.parse(tmp_path / "labels.qml").iter("paletteEntry")]  # noqa: S314 - ours
    assert [(entry["value"], entry["label"]) for entry in entries] == [("0", "water"), ("1", "Wald"), ("2", "crops")]
    assert [entry["color"] for entry in entries[:2]] == ["#010203", "#0A0B0C"]
    assert features_of(tmp_path) == sorted((a, "Wald" if b == "trees" else b, *rest) for a, b, *rest in before)
    assert (tmp_path / "confidence.tif").stat().st_mtime_ns == confidence
    item = json.loads((tmp_path / "item.json").read_text())
    assert item["assets"]["labels"]["bands"][0]["classification:classes"][1]["title"] == "Wald"
    assert geoseg.run(wanted, legend=legend, client=client).is_unchanged
    (tmp_path / "labels.qml").write_text("<qgis><!-- somebody's own --></qgis>")
    geoseg.run(wanted, client=client)
    assert "somebody's own" in (tmp_path / "labels.qml").read_text()


@pytest.mark.parametrize(
    ("legend", "message"),
    [
        ({"watr": "#000000"}, "no class is called 'watr'; "),
        ({"water": "#00"}, "the colour '#00'; write it as #rrggbb"),
        ({"water": {"colour": "#000000"}}, "the unknown key 'colour'; give name, color, or both"),
        ({9: "Ice"}, "legend has the value 9, and the model's classes are 0 water, "),
    ],
)
def test_a_legend_that_cannot_be_used_is_refused(
    scene: Path, box: Path, tmp_path: Path, legend: dict[Any, Any], message: str
) -> None:
    with pytest.raises(WorkflowError, match=message):
        geoseg.plan(settings(scene, box, tmp_path, legend=legend))


def test_the_plan_says_that_no_tile_is_to_be_predicted(
    scene: Path, roofs: Path, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = settings(scene, roofs, tmp_path, block_tiles=1, tile_size=64)
    fresh = geoseg.plan(wanted)
    assert all(left == every > 0 for left, every in fresh.steps.values())
    assert list(fresh.steps) == ["predict", "finish", "trace", "join"]
    geoseg.run(wanted, client=client)
    command = ["plan", str(scene), "--model", str(roofs), "--output", str(tmp_path), "--ramp", "8", "--tile-size", "64"]
    assert main([*command, "--threshold", "0.3", "--block-tiles", "1"]) == 0
    printed = capsys.readouterr().out
    assert "0 tiles to predict" in printed
    blocks, nodes = fresh.block_count, fresh.steps["join"][1]
    assert re.search(rf"^  0/{blocks} +predict: the model looks at tiles$", printed, re.MULTILINE)
    assert re.search(rf"^  {blocks}/{blocks} +trace: labels become arcs$", printed, re.MULTILINE)
    done = {"predict": (0, blocks), "finish": (0, blocks), "trace": (0, blocks), "join": (0, nodes)}
    assert geoseg.plan(wanted).steps == done
    sieved = geoseg.plan(wanted, min_area=900).steps
    assert [left for left, _ in sieved.values()] == [0, 0, blocks, nodes, blocks, blocks, nodes]
    assert f"predict 0/{blocks}, finish 0/{blocks}, survey {blocks}/{blocks}" in repr(geoseg.plan(wanted, min_area=900))
    assert geoseg.plan(wanted, features=[]).summary()["steps"]["finish"] == {"left": 0, "all": blocks}
    max((tmp_path / "state" / "finish").iterdir()).unlink()
    planned = geoseg.plan(wanted).steps
    again = geoseg.run(wanted, client=client, features=["features.gpkg", "b.gpkg"]).outcome.done
    assert {stage: left for stage, (left, _) in planned.items()} == {stage: again[stage] for stage in planned}
    assert again["predict"] > again["finish"] == 1


SETTINGS = {
    "label": {"min_area": 900.0, "keep_classes": [1]},
    "outline": {
        "simplify": 20.0,
        "regularize": True,
        "simplify_method": "visvalingam-whyatt",
        "smooth": "chaikin",
        "fill_holes": 500.0,
        "classes": [1],
        "connectivity": 8,
        "max_vertices": 50_000,
    },
    "write": {"legend": {1: "Wald"}, "outputs": ["confidence"], "features": ["a.parquet"], "layer": "b"},
    "predict": {"halo": 4, "nodata": 3.0, "bands": [2, 1], "outputs": ["probabilities"]},
    "nothing": {"workers": 1, "retries": 0, "report": False},
}


@pytest.mark.parametrize(("stage", "key"), [(stage, key) for stage, keys in SETTINGS.items() for key in keys])
def test_a_setting_decides_predictions_only_where_it_comes_before_labels(
    scene: Path, box: Path, tmp_path: Path, stage: str, key: str
) -> None:
    before, now = (
        geoseg.plan(settings(scene, box, tmp_path, **{"features": [], **more})).fingerprint()
        for more in ({}, {key: SETTINGS[stage][key]})
    )
    assert (before != now) == (stage == "predict")


def test_labels_in_a_zarr_store_are_those_of_the_geotiff_for_xarray_and_for_polygonize(
    client: Client, scene: Path, box: Path, tmp_path: Path
) -> None:
    result = geoseg.run(settings(scene, box, tmp_path / "out", outputs=["labels.zarr"]), client=client)
    store = tmp_path / "out" / "labels.zarr"
    with rasterio.open(result.labels_path) as file:
        expected = file.read(1)
    stored = xr.open_zarr(store, mask_and_scale=False, decode_coords="all")["labels"]
    assert (stored.dtype, stored.attrs["_FillValue"]) == (np.uint8, 255)
    np.testing.assert_array_equal(stored, expected)
    assert stored.odc.geobox == result.labels.odc.geobox
    decoded = xr.open_zarr(store)["labels"]
    np.testing.assert_array_equal(decoded.isnull(), expected == 255)
    assert decoded.attrs["flag_meanings"].split() == [item.name for item in result.plan.classes]
    assert decoded.attrs["flag_colors"] == [item.color for item in result.plan.classes]
    tables = [
        geoseg.polygonize(path, output=str(tmp_path / f"{number}.gpkg"))
        and pyogrio.read_dataframe(tmp_path / f"{number}.gpkg")
        for number, path in enumerate((str(store), str(result.labels_path)))
    ]
    assert tables[0].to_wkb().equals(tables[1].to_wkb())
    item = json.loads((tmp_path / "out" / "item.json").read_text())["assets"]["labels.zarr"]
    assert [entry["title"] for entry in item["bands"][0]["classification:classes"]] == [
        entry.name for entry in result.plan.classes
    ]
    assert geoseg.resume(result.output, client=client).is_unchanged
