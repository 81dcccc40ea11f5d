"""How a run begins: with a workflow by path or name, or with imagery and a model; and what a plan says beforehand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
import yaml

import geoseg
from geoseg.cli import main
from geoseg.errors import GeosegWarning, InputNotFoundError, InputTypeError, RasterError, WorkflowError
from geoseg.imagery import open_imagery
from geoseg.workflow import Workflow, read_workflow
from tests.networks import Box, write_item, write_model
from tests.rasters import write_raster

PIXELS = np.random.default_rng(0).integers(1, 255, (2, 150, 140), dtype=np.uint8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", Box(1), name="box", halo=1)


# What a run begins with


@pytest.mark.slow
def test_imagery_and_a_model_are_enough(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_raster(tmp_path / "scene.tif", PIXELS)
    options = ["--model", str(model), "--ramp", "8", "--workers", "1", "--no-report"]
    assert main(["run", "scene.tif", *options, "--output", "mine"]) == 0
    keys = {"model": str(model), "input": "scene.tif", "ramp": 8, "workers": 1, "report": False, "output": "other"}
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(keys))
    assert main(["run", "map.yaml"]) == 0
    with rasterio.open("mine/labels.tif") as mine, rasterio.open("other/labels.tif") as other:
        assert np.array_equal(mine.read(), other.read())


def test_a_workflow_may_be_given_imagery_behind_it() -> None:
    one = read_workflow(["land_use", "a.tif"])
    several = read_workflow(["land_use", "a.tif", "b.tif"])
    assert (one.model, one.input, several.input) == ("sentinel2-land-cover", "a.tif", ["a.tif", "b.tif"])
    for twice in (["land_use", "a.tif"], ["a.tif"]):
        with pytest.raises(WorkflowError, match=r"'a.tif' is imagery, and input names more"):
            read_workflow(twice, input="b.tif", model="buildings")
    with pytest.raises(WorkflowError, match="neither a workflow nor imagery"):
        read_workflow([])
    for other in (3, [3]):
        with pytest.raises(InputTypeError, match="is no workflow; give its path, a dict of its keys, or imagery with"):
            geoseg.run(other)  # type: ignore[arg-type]


def test_imagery_may_be_named_by_input_alone(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = write_raster(tmp_path / "scene.tif", PIXELS)
    named = read_workflow(input=scene, model="buildings")
    assert named == read_workflow(scene, model="buildings")
    assert read_workflow(input=["a.tif", "b.tif"], model=str(model)).input == ["a.tif", "b.tif"]
    assert geoseg.plan(input=scene, model=model, ramp=8).raster.shape == PIXELS.shape[1:]
    assert main(["plan", "--input", str(scene), "--model", str(model), "--ramp", "8"]) == 0
    with pytest.raises(WorkflowError, match=r"no model is given for the input; give --model"):
        geoseg.run(input=scene)
    with pytest.raises(WorkflowError, match="neither a workflow nor imagery is given"):
        geoseg.run(model=model)
    capsys.readouterr()
    assert main(["run", "--model", str(model)]) == 2
    assert "neither a workflow nor imagery is given" in capsys.readouterr().err


def test_a_value_that_cannot_be_used_is_blamed_on_those_who_gave_it(tmp_path: Path) -> None:
    with pytest.raises(WorkflowError, match=r"^the run has nodata: 'abc'"):
        read_workflow("land_use", nodata="abc")
    (tmp_path / "mine.yaml").write_text("model: buildings\nnodata: abc\n")
    with pytest.raises(WorkflowError, match=r"mine\.yaml has nodata: 'abc'"):
        read_workflow(tmp_path / "mine.yaml", scale=2)


@pytest.mark.parametrize("name", ["buildings", "land_cover_aerial", "land_use", "panoptic", "prompts"])
def test_a_model_brings_the_settings_of_its_shipped_workflow(name: str) -> None:
    shipped = read_workflow(name)
    settings = read_workflow(Path("scene.tif"), model=shipped.model, things=shipped.things)
    assert settings == shipped.model_copy(update={"input": "scene.tif"})


def test_another_model_has_the_defaults(model: Path) -> None:
    assert read_workflow("scene.tif", model=str(model)) == Workflow(model=str(model), input="scene.tif")


def test_a_mistyped_path_never_runs_a_shipped_workflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = "nowhere/land_use.yaml", "./nowhere/land_use", tmp_path / "land_use.yaml"
    for path in (*paths, "./land_use.yaml", "./land_use", "land_use/", "land_use.yaml", "land_use.yml"):
        with pytest.raises((InputNotFoundError, WorkflowError), match=r"land_use.* does not exist|no model is given"):
            read_workflow(path)
    (tmp_path / "land_use.yaml").write_text("model: buildings\n")
    assert read_workflow("land_use.yaml").model == "buildings", "one's own file comes before the shipped one"
    assert read_workflow("land_use").model == "sentinel2-land-cover"


def test_what_is_neither_is_said_with_the_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, code, words in (
        (["scene.tif"], 2, "no model is given for 'scene.tif'; give --model with a name of `geoseg models`"),
        (["land_uze"], 3, "workflow land_uze does not exist; did you mean 'land_use'?"),
        (["scen.tif", "--model", "buildings"], 3, "the input 'scen.tif' does not exist"),
    ):
        assert main(["plan", *arguments]) == code
        assert words in capsys.readouterr().err


# Results are written to disks


@pytest.mark.parametrize(
    "address", ["s3://bucket/folder", "gs://bucket/a.gpkg", "https://host/a.gpkg", "/vsis3/b/a.gpkg"]
)
def test_an_address_is_refused_as_output(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_raster(tmp_path / "a.tif", PIXELS[0])
    for command in (
        ["run", "land_use", "--output", address],
        ["run", "land_use", "--features", address],
        ["polygonize", "a.tif", address],
        ["preview", "out", address],
        ["train", "train_land_cover", "--output", address],
        ["evaluate", "a.tif", "a.tif", "--json", address],
        ["evaluate", "a.tif", "a.tif", "--confusion", address],
        *(["compare", "a.tif", "a.tif", option, address] for option in ("--json", "--matrix", "--picture")),
        ["compare", "a.tif", "a.tif", address],
        ["catalog", "add", "a.tif", "--home", address],
        ["models", "add", "sentinel2-land-cover", "--home", address],
    ):
        assert main(command) == 2, command
        assert "is an address, and results are written to disks of this machine only" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


# Plans


def test_a_plan_takes_every_option_of_a_run_and_is_json_too(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = write_raster(tmp_path / "scene.tif", PIXELS)
    options = ["--ramp", "8", "--workers", "1", "--retries", "0", "--simplify", "1", "--no-report"]
    arguments = ["plan", str(scene), "--model", str(model), "--output", str(tmp_path / "out"), *options]
    assert main([*arguments, "--json"]) == 0
    plan = geoseg.plan(scene, model=str(model), ramp=8, workers=1)
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(plan.summary()))
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    for cause in plan.worker_bytes:
        assert cause in printed
    for heading in ("disk", "time"):
        assert f"\n{heading} " in printed
    assert not (tmp_path / "out").exists()


def test_causes_of_equal_size_are_all_shown(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = write_raster(tmp_path / "scene.tif", PIXELS)
    causes = {f"cause {number}": 2**20 for number in range(5)}
    monkeypatch.setattr("geoseg.planning.Plan.worker_bytes", causes)
    assert main(["plan", str(scene), "--model", str(model), "--workers", "1", "--ramp", "8"]) == 0
    printed = capsys.readouterr().out
    assert all(re.search(f"^ +1 MiB +{cause}$", printed, re.MULTILINE) for cause in causes)


def test_the_parts_of_an_estimate_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a map of this workflow would leave nothing to predict
    plan = geoseg.plan("land_use")
    estimate = plan.estimate
    assert estimate is not None
    assert estimate.seconds == pytest.approx(estimate.start + estimate.blocks + estimate.report)
    assert estimate.core_hours == pytest.approx(estimate.seconds * estimate.workers / 3600)
    assert plan.estimated_seconds is not None
    assert estimate.blocks > plan.estimated_seconds > 0


def test_a_tolerance_in_the_wrong_unit_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    degrees = rasterio.Affine(1e-5, 0, 5, 0, -1e-5, 50)
    labels = write_raster(tmp_path / "labels.tif", PIXELS[0], crs="EPSG:4326", transform=degrees)
    assert main(["polygonize", str(labels), str(tmp_path / "a.gpkg"), "--simplify", "1", "--workers", "1"]) == 2
    assert "simplify 1 is 100,000 pixels of this raster, which would leave triangles" in capsys.readouterr().err


# Scenes of many that cannot be opened


def scenes(folder: Path) -> list[str]:
    """Two scenes side by side, and two files that are none."""
    for number in range(2):
        place = rasterio.Affine(10, 0, 440_000 + 1400 * number, 0, -10, 4_200_000)
        write_raster(folder / f"scene{number}.tif", PIXELS, transform=place)
    (folder / "damaged.tif").write_bytes((folder / "scene0.tif").read_bytes()[:60])
    (folder / "text.tif").write_text("not a raster")
    return [str(path) for path in sorted(folder.glob("*.tif"))]


def test_all_that_cannot_be_opened_are_named(tmp_path: Path) -> None:
    paths = scenes(tmp_path)
    for given in (paths, str(tmp_path), str(tmp_path / "*.tif")):
        with pytest.raises(
            RasterError, match=r"2 of 4 rasters cannot be used \('.*damaged.tif', '.*text.tif'\), the first"
        ):
            open_imagery(given)
    with pytest.raises(RasterError, match=r"text.tif") as one:
        open_imagery(paths[-1:], on_error="skip")
    assert "left out" not in str(one.value), "nothing is left when the only one is skipped"


@pytest.mark.filterwarnings("default::geoseg.errors.GeosegWarning")
def test_they_are_left_out_on_request_and_the_run_says_so(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = scenes(tmp_path)
    options = ["--model", str(model), "--ramp", "8", "--workers", "1", "--output", str(tmp_path / "out")]
    assert main(["run", *paths, *options]) == 3
    assert "leave them out with on_error: skip" in capsys.readouterr().err
    assert main(["run", *paths, *options, "--on-error", "skip"]) == 1
    assert capsys.readouterr().err.count("note: 2 of 4 rasters cannot be used") == 1
    skipped = json.loads((tmp_path / "out" / "run.json").read_text())["plan"]["raster"]["skipped"]
    assert ["damaged.tif" in skipped[0], "text.tif" in skipped[1]] == [True, True]
    assert "Left out: 2 that cannot be read" in (tmp_path / "out" / "report.html").read_text()
    with rasterio.open(tmp_path / "out" / "labels.tif") as labels:
        assert labels.shape == (150, 280)
        assert (labels.read() != 255).all()


def test_items_that_cannot_be_used_are_left_out_too(tmp_path: Path) -> None:
    scenes(tmp_path)
    items = [
        {"type": "Feature", "stac_version": "1.0.0", "id": path.stem, "geometry": None, "links": [],
         "properties": {"datetime": "2024-06-01T00:00:00Z"}, "assets": {"data": {"href": str(path), "roles": ["data"]}}}
        for path in sorted(tmp_path.glob("*.tif"))
    ]  # fmt: skip
    document = tmp_path / "items.json"
    document.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    with pytest.raises(RasterError, match=r"2 of 4 rasters cannot be used \('damaged', 'text'\)"):
        open_imagery(document)
    with pytest.warns(GeosegWarning, match=r"\('damaged', 'text'\) and are left out"):
        raster = open_imagery(document, on_error="skip")
    assert len(raster.skipped) == 2
    assert raster.shape == (150, 280)


def test_rasters_that_lie_far_apart_are_no_map(model: Path, tmp_path: Path) -> None:
    for number, left in enumerate((300_000, 600_000)):
        place = rasterio.Affine(1, 0, left, 0, -1, 4_200_000 + 300_000 * number)
        write_raster(tmp_path / f"{number}.tif", PIXELS, transform=place)
    with pytest.raises(
        RasterError, match=r"the 2 rasters are far apart and cover only 4.7e-07 of the 300,140 x 300,150 px around them"
    ):
        geoseg.plan([tmp_path / "0.tif", tmp_path / "1.tif"], model=str(model), resolution=1, ramp=8)


def test_bands_that_share_no_pixel_are_no_map(tmp_path: Path) -> None:
    """Every pixel would be nodata: files of two UTM zones, and two files that touch along an edge."""
    shape = PIXELS[0].shape
    write_raster(tmp_path / "red.tif", PIXELS[0])
    write_raster(tmp_path / "west.tif", PIXELS[0], crs="EPSG:32617")
    beside = rasterio.Affine(10, 0, 440_000 + 10 * shape[1], 0, -10, 4_200_000)
    write_raster(tmp_path / "beside.tif", PIXELS[0], transform=beside)
    for other, crs in (("west", "EPSG:32617"), ("beside", "EPSG:32618")):
        files = {"red": tmp_path / "red.tif", "nir": tmp_path / f"{other}.tif"}
        sentence = (
            f"band 'nir' ('{files['nir']}', {crs}) shares no pixel with those before it ('{files['red']}', "
            "EPSG:32618), so that no pixel has all bands; give bands of one place."
        )
        with pytest.raises(RasterError, match=re.escape(sentence)):
            open_imagery(files)
    between = rasterio.Affine(10, 0, 440_000 + 10 * shape[1] - 10, 0, -10, 4_200_000)
    write_raster(tmp_path / "beside.tif", PIXELS[0], transform=between)
    assert open_imagery(files).shape == (shape[0], 2 * shape[1] - 1)


def test_an_item_whose_files_lie_apart_is_named(tmp_path: Path) -> None:
    write_raster(tmp_path / "red.tif", PIXELS[0])
    write_raster(tmp_path / "nir.tif", PIXELS[0], crs="EPSG:32617")
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "two zones", "geometry": None, "links": [],
        "properties": {"datetime": "2024-06-01T00:00:00Z"},
        "assets": {name: {"href": str(tmp_path / f"{name}.tif"), "roles": ["data"]} for name in ("red", "nir")},
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    with pytest.raises(RasterError, match=r"the files of 'two zones' share no pixel \('.*nir.tif' in EPSG:32617\)"):
        open_imagery(tmp_path / "item.json")


def test_an_onnx_file_of_one_size_is_asked_for_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shape = [1, 2, 64, 64]
    pixels = onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, shape)
    scores = onnx.helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, shape)
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["pixels"], ["scores"])], "net", [pixels], [scores])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, tmp_path / "net.onnx")
    item = write_item(
        tmp_path / "net.json",
        tmp_path / "net.onnx",
        halo=4,
        tile_size=256,
        bands=["b1", "b2"],
        framework="ONNX",
        classes=2,
    )
    small = write_raster(tmp_path / "small.tif", PIXELS[:, :40, :50])
    plan = geoseg.plan(small, model=str(item), ramp=8)
    assert plan.grid.tiling.size == 64, "not the 256 px of the entry, nor less for a small raster"
    assert geoseg.segment(small, str(item), ramp=8).compute(scheduler="synchronous").shape == (40, 50)
    assert main(["plan", str(small), "--model", str(item), "--tile-size", "128"]) == 2
    assert "takes tiles of 64 px and no others; leave tile_size out" in capsys.readouterr().err
