"""Several dates as one input are the same bands stacked by hand: pixels, masks, labels, and what is made again."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import xarray as xr
import yaml
from affine import Affine
from distributed import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import geoseg
from geoseg.cli import main
from geoseg.engine import connect
from geoseg.errors import BandError, CatalogError, ExistingOutputError, GeosegError, RasterError, WorkflowError
from geoseg.grid import Window
from geoseg.models.item import read_model_item
from geoseg.models.item_writing import write_model_item
from geoseg.models.spec import Band
from geoseg.options import Workflow
from geoseg.raster import Raster, open_raster
from geoseg.store import RunFolder, differences
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster
from tests.stac import collection_of, write_json, write_scene

SIDE = 90
MODEL = [Band("B04", "red"), Band("B08", "nir")] * 2
NAMES = "before", "after"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1) as client:
        yield client


def scene(path: Path, seed: int, *, shift: float = 0, **more: Any) -> Path:
    """Red and near infrared with a hole of zeros, shifted by some pixels."""
    pixels = noise(2, SIDE, SIDE, "uint16", seed)
    pixels[:, 10 + seed : 30, 20:40] = 0
    transform = TEN_METRES @ Affine.translation(shift, shift)
    return write_raster(path, pixels, **{"transform": transform, "nodata": 0, "descriptions": ["red", "nir"], **more})


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Two scenes of one date, that of another between their pixels, and one file a band of a third."""
    folder = tmp_path_factory.mktemp("dates")
    (folder / "before").mkdir()
    scene(folder / "before" / "a.tif", 1)
    scene(folder / "before" / "b.tif", 2, shift=50)
    scene(folder / "after.tif", 3, shift=7.3, nodata=None)
    for band, seed in (("red", 4), ("nir", 5)):
        pixels = noise(1, SIDE // 2, SIDE // 2, "uint8", seed)
        write_raster(folder / f"{band}.tif", pixels, transform=TEN_METRES @ Affine.scale(2), nodata=7)
    third = {band: str(folder / f"{band}.tif") for band in ("red", "nir")}
    return {"before": str(folder / "before"), "after": str(folder / "after.tif"), "third": third}


def whole(raster: Raster) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    return raster.read(Window(0, 0, *raster.shape))


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(top=st.integers(0, 100), left=st.integers(0, 100), height=st.integers(1, 60), width=st.integers(1, 60))
def test_every_window_is_that_of_the_dates_by_themselves(
    places: dict[str, Any], top: int, left: int, height: int, width: int
) -> None:
    own = {"before": {"input": places["before"], "mosaic": "median"}, "third": {"input": places["third"], "scale": 2}}
    stacked = geoseg.open_imagery({**own, "after": {"input": places["after"], "nodata": 0}}, bands=["red", "nir"])
    stacked = pickle.loads(pickle.dumps(stacked))
    assert stacked.bands == ("before:red", "before:nir", "third:red", "third:nir", "after:red", "after:nir")
    first = open_raster(places["before"], bands=["red", "nir"], mosaic="median")
    assert stacked.geobox == first.geobox
    third = geoseg.open_imagery(places["third"], scale=2, geobox=first.geobox)
    after = geoseg.open_imagery(places["after"], nodata=0, geobox=first.geobox)
    window = Window(top, left, min(height, first.shape[0] - top), min(width, first.shape[1] - left))
    pixels, mask = stacked.read(window)
    parts = [raster.read(window) for raster in (first, third, after)]
    valid = np.logical_and.reduce([part[1] for part in parts])
    expected = np.concatenate([parts[0][0], parts[1][0], parts[2][0]])
    np.testing.assert_array_equal(mask, valid)
    np.testing.assert_array_equal(pixels, np.where(valid, expected, 0))


def test_dates_of_a_search_have_their_own_time_mask_and_rule(tmp_path: Path) -> None:
    items = []
    for number, taken in enumerate(("2024-05-02", "2024-05-20", "2024-09-01")):
        bands = {"B04": noise(1, SIDE, SIDE, "uint16", number)[0], "SCL": np.full((SIDE, SIDE), 4, np.uint8)}
        bands["SCL"][:, 30 * number : 30 * number + 20] = 3
        items.append(write_scene(tmp_path, f"s{number}", bands, taken=f"{taken}T00:00:00Z"))
    catalog = str(write_json(tmp_path / "items.json", collection_of(*items)))
    dates = {
        "spring": {"input": catalog, "datetime": "2024-05", "mosaic": "newest", "mask": "scl:3"},
        "autumn": {"input": catalog, "datetime": "2024-09", "query": "eo:cloud_cover<20"},
    }
    with pytest.raises(CatalogError):
        geoseg.open_imagery(dates, bands=["red"])
    dates["autumn"].pop("query")
    raster = geoseg.open_imagery(dates, bands=["red"], mask="scl:9")
    assert [taken.name for taken in raster.scenes] == ["s1", "s0", "s2"]
    pixels, mask = whole(raster)
    read = [rasterio.open(tmp_path / f"s{number}_B04.tif").read(1) for number in range(3)]
    columns = np.arange(SIDE)
    np.testing.assert_array_equal(mask, np.ones_like(mask))  # where one scene of spring is masked the other is valid
    spring = np.where((columns >= 30) & (columns < 50), read[0], read[1])
    np.testing.assert_array_equal(pixels, np.stack([spring, read[2]]))
    only = geoseg.open_imagery(
        {"a": {**dates["spring"], "datetime": "2024-05-20"}, "b": dates["autumn"]}, bands=["red"]
    )
    np.testing.assert_array_equal(whole(only)[1][0], (columns < 30) | (columns >= 50))


def opened(given: Any, dates: tuple[str, ...] = (), bands: Any = MODEL, **more: Any) -> Raster:
    return geoseg.open_imagery(given, bands=bands, units=[None] * 4, dates=dates, **more)


def test_the_model_orders_dates_that_it_names_and_a_person_all_others(places: dict[str, Any], tmp_path: Path) -> None:
    dates = {name: places[name] for name in ("before", "after")}
    swapped = dict(reversed(dates.items()))
    assert opened(dates).dates == opened(swapped, NAMES).dates == NAMES
    assert opened(swapped).dates == ("after", "before")
    model = opened(dates)
    for bands in ([1, 2, 1, 2], [1, 2], ["red", "nir"]):
        np.testing.assert_array_equal(whole(opened(dates, bands=bands))[0], whole(model)[0])
    numbered = [Band(str(number)) for number in range(1, 5)]
    plain = {at: str(scene(tmp_path / f"{at}.tif", 4, descriptions=None)) for at in "ab"}
    np.testing.assert_array_equal(*np.split(whole(opened(plain, bands=numbered))[0], 2))
    with pytest.raises(BandError, match="does not have the band '1'"):  # one key is a band that is misspelt
        opened({"a": plain["a"]}, bands=numbered)
    own = {
        "before": {"input": places["before"], "bands": "nir"},
        "after": {"input": places["after"], "bands": [2, 1, 2]},
    }
    assert len(opened(own).bands) == 4


def test_arrays_of_xarray_are_dates_too(places: dict[str, Any]) -> None:
    rioxarray = pytest.importorskip("rioxarray")
    arrays = {name: rioxarray.open_rasterio(path) for name, path in (("a", places["after"]), ("b", places["after"]))}
    pixels, mask = whole(opened(arrays, bands=[1, 2], nodata=0))
    np.testing.assert_array_equal(pixels[:2], pixels[2:])
    expected = rasterio.open(places["after"]).read()
    np.testing.assert_array_equal(pixels[:2], np.where(mask, expected, 0))
    plain = arrays["a"].drop_vars("band")
    dataset = xr.Dataset({"red": plain[0], "nir": plain[1]})
    np.testing.assert_array_equal(whole(opened({"a": dataset, "b": arrays["b"]}, nodata=0))[0], pixels)


@pytest.mark.parametrize(
    ("given", "names", "sentence", "kind"),
    [
        ({"a": "after", "b": "after", "c": "after"}, (), "has 3 dates .a, b, c., and the model takes 2", WorkflowError),
        ({"a": {"input": "after"}}, (), "has 1 date .a., and the model takes 2", WorkflowError),
        ({"before": "after"}, NAMES, "has the dates before, and the model takes before, after", WorkflowError),
        ({"spring": "after", "fall": "after"}, NAMES, "dates spring, fall, and the model takes before", WorkflowError),
        ({"a": {"red": "after", "nodata": 0}, "b": "after"}, (), "'a' has nodata and no input; write", WorkflowError),
        ({"a": "after"}, (), "has 1 date .a., and the model takes 2; give as many, each by a name", WorkflowError),
        ({"a": {"input": "after", "datetim": 1}, "b": "after"}, (), "unknown key 'datetim'; did you", WorkflowError),
        ({"a": {"input": "after", "region": "x"}, "b": "after"}, (), "'region', which holds for all", WorkflowError),
        ({"a": {"input": "after", "mask": {"model": "m"}}, "b": "after"}, (), "a model as its mask", WorkflowError),
        ({"a": {"input": "after", "bands": [1]}, "b": "after"}, (), "those chosen are 1 of 'a' and 2", BandError),
        ({"a": "after", "b": "far"}, (), "of 'b' does not overlap that of 'a'", RasterError),
        ("after", NAMES, "4 bands of 2 dates, and '.*after.tif' has 2; give each", BandError),
        ("after", (), "input: {date1: date1.tif, date2: date2.tif}", BandError),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    places: dict[str, Any], tmp_path: Path, given: Any, names: tuple[str, ...], sentence: str, kind: type[GeosegError]
) -> None:
    files = {"after": places["after"], "far": str(scene(tmp_path / "far.tif", 1, shift=5000))}

    def real(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: real(item) for key, item in value.items()}
        return files.get(value, value) if isinstance(value, str) else value

    with pytest.raises(kind, match=sentence):
        opened(real(given), names)


def test_dates_are_written_alike_on_the_command_line_and_in_yaml(tmp_path: Path) -> None:
    (tmp_path / "c=d.tif").touch()
    listed = ["a=x.tif", "b={input: y, datetime: 2024-06-01, mask: 'scl:3'}", "a=z.tif"]
    dates: Any = Workflow(model="m", input=listed).input
    dates["b"]["datetime"] = str(dates["b"]["datetime"])
    assert dates == {"a": ["x.tif", "z.tif"], "b": {"input": "y", "datetime": "2024-06-01", "mask": "scl:3"}}
    query = f"eo:cloud_cover<20,{'platform=a,' * 30}"
    long: Any = Workflow(model="m", input=[f"2024-05={{input: y, query: '{query}'}}", "post-event=z"], datetime=2024)
    assert long.input == {"2024-05": {"input": "y", "query": query}, "post-event": "z"}
    assert long.datetime == "2024"
    for plain in (["a=x.tif", "y.tif"], ["a=x.tif", "a=y.tif"], [str(tmp_path / "c=d.tif"), "e=f.tif"], ["a", "b"]):
        assert Workflow(model="m", input=plain).input == plain
    with pytest.raises(WorkflowError, match="is not YAML"):
        Workflow(model="m", input=["a={x", "b=y"])


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network of one band of two dates, which its item names."""
    path = write_model(tmp_path / "model", Box(2), name="change", halo=4)
    item = json.loads(path.read_text())
    item["properties"]["mlm:input"][0]["bands"] = ["red", "red"]
    item["properties"]["geoseg:dates"] = NAMES
    path.write_text(json.dumps(item))
    return path


def test_an_item_names_its_dates(model: Path) -> None:
    assert read_model_item(model).dates == NAMES
    written = write_model_item(read_model_item(model), model.parent / "again.json")
    assert read_model_item(written).dates == NAMES
    for wrong in (["one"], ["a", "a"], ["a", "b", "c"]):
        item = json.loads(model.read_text())
        item["properties"]["geoseg:dates"] = wrong
        (model.parent / "wrong.json").write_text(json.dumps(item))
        with pytest.raises(CatalogError, match="geoseg:dates"):
            read_model_item(model.parent / "wrong.json")


def labels_in(folder: Path) -> NDArray[np.uint8]:
    with rasterio.open(folder / "labels.tif") as labels:
        pixels: NDArray[np.uint8] = labels.read(1)
    return pixels


def test_a_run_of_two_dates_is_that_of_the_bands_stacked_by_hand(
    model: Path, client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: scene(tmp_path / f"{name}.tif", seed) for seed, name in enumerate(NAMES, start=1)}
    corner = tmp_path / "corner.tif"

    def place_corner(value: int) -> None:
        pixels = np.full((2, 20, 20), value, np.uint16)
        write_raster(corner, pixels, transform=TEN_METRES @ Affine.translation(70, 70), descriptions=["red", "nir"])

    place_corner(50)
    common: dict[str, Any] = {
        "model": str(model),
        "ramp": 8,
        "block_tiles": 1,
        "report": False,
        "client": client,
        "tile_size": 32,
    }

    def by_hand(output: str) -> NDArray[np.uint8]:
        pixels = np.stack([rasterio.open(path).read(1) for path in files.values()])
        pixels[1, 70:, 70:] = rasterio.open(corner).read(1)
        pixels[:, (pixels == 0).any(0)] = 0
        stacked = write_raster(tmp_path / "stacked.tif", pixels, nodata=0)
        return labels_in(geoseg.run(input=str(stacked), output=tmp_path / output, **common).output)

    dates: dict[str, Any] = {"after": [corner, files["after"]], "before": {"input": str(files["before"])}}
    out = geoseg.run(input=dates, output=tmp_path / "out", **common).output
    np.testing.assert_array_equal(labels_in(out), by_hand("by-hand"))
    larger = geoseg.run(input=dates, output=tmp_path / "larger", **{**common, "block_tiles": 3}).output
    np.testing.assert_array_equal(labels_in(out), labels_in(larger))
    segmented = np.asarray(geoseg.segment(dates, model=str(model), ramp=8, tile_size=32))
    np.testing.assert_array_equal(segmented, labels_in(out))
    recorded = yaml.safe_load((out / "workflow.yaml").read_text())
    assert recorded["input"] == {
        "after": [str(corner), str(files["after"])], "before": {"input": str(files["before"])},
    }  # fmt: skip
    links = {
        link["href"] for link in json.loads((out / "item.json").read_text())["links"] if link["title"] == "imagery"
    }
    assert links == {"../after.tif", "../before.tif", "../corner.tif"}
    assert geoseg.resume(out, client=client).is_unchanged
    command = [f"--input=after={corner}", *(f"--input={name}={path}" for name, path in files.items())]
    main(
        [
            "plan",
            "--json",
            "--model",
            str(model),
            "--output",
            str(out),
            "--ramp=8",
            "--block-tiles=1",
            "--tile-size=32",
            *command,
        ]
    )
    planned = json.loads(capsys.readouterr().out)
    assert planned["raster"]["dates"] == list(NAMES)
    place_corner(99)
    again = geoseg.run(input=dates, output=out, refresh=True, **common)
    assert 0 < again.outcome.done["predict"] < again.plan.block_count
    np.testing.assert_array_equal(labels_in(out), by_hand("by-hand-again"))


def test_a_file_of_another_date_and_the_rule_of_one_date_make_another_run(model: Path, tmp_path: Path) -> None:
    a, b, c = (str(scene(tmp_path / f"{name}.tif", 1)) for name in "abc")
    common: dict[str, Any] = {"model": str(model), "output": tmp_path / "out", "ramp": 8}

    def fingerprint(before: Any, after: Any) -> Any:
        planned = geoseg.plan(input={"before": before, "after": after}, **common).fingerprint()
        return json.loads(json.dumps(planned))

    first = fingerprint([a, b], [c])
    assert differences(first, fingerprint([a, b], [c])) == []
    assert differences(first, fingerprint([a], [b, c])) == ["inputs belong to other dates or bands"]
    median = fingerprint({"input": [a, b], "mosaic": "median"}, [c])
    assert RunFolder.other_differences(first, median)  # so --refresh keeps no block


def test_a_catalog_that_a_date_reads_is_not_replaced(model: Path, places: dict[str, Any], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    item = write_scene(tmp_path, "s", {"B04": noise(1, SIDE, SIDE, "uint16", 1)[0]})
    catalog = write_json(out / "item.json", collection_of(item))
    with pytest.raises(ExistingOutputError, match=r"item\.json is read and would be replaced"):
        geoseg.plan(input={"before": str(catalog), "after": places["after"]}, model=str(model), output=out, ramp=8)
