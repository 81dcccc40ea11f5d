"""Label rasters of every kind that people have: types, nodata, whole numbers in floats, and pictures that are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st

import geoseg
from geoseg import catalog
from geoseg.cli import main
from geoseg.engine import connect
from geoseg.errors import EvaluationError, GeosegError, RasterError, WorkflowError
from geoseg.grid import Window
from geoseg.options import words
from geoseg.raster import open_raster, read_labels, read_legend, sample_windows
from geoseg.workflow.outlines import values_of

BIG = [2**31 + 100, 2**32 - 2, 7]


def write(path: Path, labels: np.ndarray, left: float = 440_000, **profile: Any) -> Path:
    labels = labels if labels.ndim == 3 else labels[None]
    count, height, width = labels.shape
    transform = Affine(10, 0, left, 0, -10, 4_200_000)
    fixed = {"driver": "GTiff", "crs": "EPSG:32618", "transform": transform, "dtype": labels.dtype}
    with rasterio.open(path, "w", count=count, height=height, width=width, **fixed, **profile) as target:
        target.write(labels)
    return path


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1) as own:
        yield own


def polygons(client: Client, inputs: Any, folder: Path, ending: str = ".gpkg", **settings: Any) -> gpd.GeoDataFrame:
    path = folder / f"polygons{ending}"
    paths = [str(item) for item in inputs] if isinstance(inputs, list) else str(inputs)
    geoseg.polygonize(paths, path, client=client, **settings)
    return gpd.read_parquet(path) if ending == ".parquet" else pyogrio.read_dataframe(path)


def areas(frame: gpd.GeoDataFrame) -> dict[int, int]:
    return {int(value): int(pixels) for value, pixels in frame.groupby("class")["pixels"].sum().items()}


def tiles(folder: Path) -> list[Path]:
    """Two tiles: 0 is nodata on the left and a class on the right, where 255 is nodata; a third one declares none."""
    left, right = np.ones((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    left[:5], right[10:], right[:2] = 0, 1, 255
    plain = np.full((20, 20), 255, np.uint8)
    return [
        write(folder / "left.tif", left, nodata=0),
        write(folder / "right.tif", right, left=440_200, nodata=255),
        write(folder / "plain.tif", plain, left=440_400),
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_each_tile_says_itself_what_is_nodata_whatever_the_order(
    client: Client, tmp_path: Path, order: tuple[int, ...]
) -> None:
    given = tiles(tmp_path)
    frame = polygons(client, [given[number] for number in order], tmp_path)
    assert areas(frame) == {0: 8 * 20, 1: 15 * 20 + 10 * 20, 255: 20 * 20}


@pytest.mark.parametrize("ending", [".gpkg", ".parquet", ".shp", ".fgb", ".geojson"])
@pytest.mark.parametrize("dtype", ["uint32", "int64", "uint64", "float64"])
def test_numbers_beyond_32_bits_stay_themselves_in_every_format(
    client: Client, tmp_path: Path, dtype: str, ending: str
) -> None:
    labels = np.zeros((40, 40), dtype)
    labels[:10, :10], labels[20:, 20:], labels[20:, :10] = BIG
    expected = dict(zip(BIG, (100, 400, 200), strict=True))
    if dtype != "uint32":
        labels[:10, 20:] = 2**32 + 7  # 7 in 32 bits
        expected[2**32 + 7] = 200
    raster = write(tmp_path / "labels.tif", labels, nodata=0)
    assert areas(polygons(client, raster, tmp_path, ending)) == expected


def test_polygons_of_a_raster_have_no_confidence(client: Client, tmp_path: Path) -> None:
    frame = polygons(client, write(tmp_path / "labels.tif", np.ones((9, 9), np.uint8)), tmp_path)
    assert list(frame.columns) == ["class", "name", "area_m2", "perimeter_m", "pixels", "geometry"]


@pytest.mark.parametrize("nodata", [None, np.nan, -9999.0, 0.0])
def test_whole_numbers_of_a_float_are_classes(client: Client, tmp_path: Path, nodata: float | None) -> None:
    labels = np.full((30, 30), 2, np.float32)
    labels[:10] = 3
    labels[20:] = np.nan if nodata is None else nodata
    raster = write(tmp_path / "labels.tif", labels, nodata=nodata)
    assert areas(polygons(client, raster, tmp_path)) == {2: 300, 3: 300}


@pytest.mark.parametrize(("one", "other"), [("int64", "float32"), ("int64", "uint64")])
def test_numbers_that_become_another_type_are_never_rounded(
    client: Client, tmp_path: Path, one: str, other: str
) -> None:
    """Files of two types are read as float64, in which 2^53 and the number after it are one."""
    few = write(tmp_path / "few.tif", np.full((20, 20), 7, other), 440_200)
    exact = write(tmp_path / "exact.tif", np.full((20, 20), 2**53 - 1, one))
    assert areas(polygons(client, [exact, few], tmp_path)) == {7: 400, 2**53 - 1: 400}
    values = np.full((20, 20), 2**53 + 1, one)
    values[:10] = 2**53
    many = write(tmp_path / "many.tif", values)
    with pytest.raises(GeosegError, match=r"holds 900\d+ as float64, in which .* are rounded, so several may have"):
        polygons(client, [many, few], tmp_path, retries=0)
    assert areas(polygons(client, [many], tmp_path)) == {2**53: 200, 2**53 + 1: 200}


def test_numbers_that_a_float_may_have_rounded_are_refused(tmp_path: Path) -> None:
    """In float32 2^24 and the number after it are one."""
    window = Window(0, 0, 9, 9)
    exact = open_raster(write(tmp_path / "exact.tif", np.full((9, 9), 2**24 - 1, np.float32)))
    assert np.unique(read_labels(exact, window)[0]) == 2**24 - 1
    for number, dtype, power in ((2**24, np.float32, 24), (2**53, np.float64, 53)):
        rounded = open_raster(write(tmp_path / f"{power}.tif", np.full((9, 9), number, dtype)))
        with pytest.raises(RasterError, match=rf"holds {number} as float.*from 2\^{power} on are rounded, so several"):
            read_labels(rounded, window)


def test_numbers_that_are_not_whole_are_no_classes(client: Client, tmp_path: Path) -> None:
    labels = np.full((30, 30), 0.25, np.float32)
    with pytest.raises(RasterError, match=r"labels\.tif' holds 0\.25, which is not a 63-bit integer"):
        polygons(client, write(tmp_path / "labels.tif", labels), tmp_path)
    with pytest.raises(RasterError, match="not a 63-bit integer"):
        read_labels(open_raster(write(tmp_path / "wide.tif", np.full((3, 3), 2**63, np.uint64))), Window(0, 0, 3, 3))


def test_labels_painted_in_colours_are_refused_with_the_remedy(client: Client, tmp_path: Path) -> None:
    raster = write(tmp_path / "painted.tif", np.zeros((3, 30, 30), np.uint8), photometric="RGB")
    with pytest.raises(
        RasterError, match=r"painted\.tif' has 3 bands, so it looks like a picture.*rgb2pct\.py of GDAL"
    ):
        polygons(client, raster, tmp_path)


@given(st.tuples(st.integers(1, 3_000), st.integers(1, 3_000)))
def test_windows_that_are_looked_at_lie_inside_and_not_over_another(shape: tuple[int, int]) -> None:
    windows = sample_windows(shape)
    assert 1 <= len(windows) <= 3
    assert all(Window(0, 0, *shape).contains(window) for window in windows)
    assert not any(a.intersect(b).area for a in windows for b in windows if a is not b)


# Names of classes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1,3", [1, 3]),
        ("water, trees", ["water", "trees"]),
        ('"Developed, Open Space",11', ["Developed, Open Space", 11]),
        ('11, "a ""quoted"" name"', [11, 'a "quoted" name']),
        ('21="Open space, parks",11=Water', ["21=Open space, parks", "11=Water"]),
        ('5" pipe,3', ['5" pipe', 3]),
        ("-9999,²,--5", [-9999, "²", "--5"]),
        ("", []),
    ],
)
def test_a_list_is_taken_apart_at_its_commas_but_not_within_quotes(text: str, expected: list[str | int]) -> None:
    assert words(text) == expected


def test_classes_with_commas_can_be_said_on_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], client: Client
) -> None:
    labels = np.repeat(np.array([[11, 21, 22]], np.uint8), 20, axis=1).repeat(30, axis=0)
    raster = write(tmp_path / "nlcd.tif", labels)
    with rasterio.open(raster, "r+") as target:
        target.update_tags(CLASS_11="Open Water", CLASS_21="Developed, Open Space", CLASS_22="Developed, Low Intensity")
    output, address = tmp_path / "polygons.gpkg", client.scheduler.address
    command = ["polygonize", str(raster), str(output), "--scheduler", address, "--classes"]
    assert main([*command, '"Developed, Open Space",11']) == 0
    assert sorted(pyogrio.read_dataframe(output)["name"]) == ["Developed, Open Space", "Open Water"]
    capsys.readouterr()
    assert main([*command, "Developed, Open Space"]) == 2
    remedy = """; write a name with commas in double quotes, such as '"Developed, Low Intensity"'"""
    assert f"no class is called 'Developed'{remedy}" in capsys.readouterr().err
    assert main(["evaluate", str(raster), str(raster), "--classes", "Developed, Open Space"]) == 3
    assert f"no class is called 'Developed'{remedy}" in capsys.readouterr().err
    evaluated = ["evaluate", str(raster), str(raster), "--classes", '21="Open space, parks","11=Open, Water"']
    assert main([*evaluated, "--task", "semantic"]) == 0


@pytest.mark.parametrize("item", ["--5", "²", "5-"])
def test_what_is_no_number_is_looked_for_as_a_name(item: str) -> None:
    with pytest.raises(WorkflowError, match=f"no class is called '{item}'; known: trees, water"):
        values_of([item], {1: "water", 2: "trees"})


def test_a_name_of_several_classes_is_refused_unless_its_capitals_tell() -> None:
    names = {1: "Water", 2: "water", 3: "trees", 4: "trees"}
    assert values_of(["Water", "water", 3], names) == {1, 2, 3}
    with pytest.raises(WorkflowError, match="2 classes are called 'trees'; give a value: 3, 4"):
        values_of(["trees"], names)
    with pytest.raises(WorkflowError, match="2 classes are called 'WATER'; give a value: 1, 2"):
        values_of(["WATER"], names)


def test_imagery_of_the_catalog_is_found_by_a_name_with_a_dot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item = tmp_path / "imagery" / "town.2024" / "town.2024.json"
    item.parent.mkdir(parents=True)
    item.write_text("{}")
    monkeypatch.setattr(catalog, "own_catalog_home", lambda: tmp_path)
    assert catalog.resolve_input("town.2024") == str(item)
    assert catalog.resolve_input("scene.tif") == "scene.tif"


# Evaluation -----------------------------------------------------------------------------------------------------------


def test_names_of_tiles_are_put_together_and_may_not_differ(tmp_path: Path) -> None:
    paths = tiles(tmp_path)
    for path, tags in zip(paths, ({"CLASS_1": "water"}, {"CLASS_0": "trees", "CLASS_1": "water"}, {}), strict=True):
        with rasterio.open(path, "r+") as target:
            target.update_tags(**tags)
    for order in (paths, paths[::-1]):
        assert read_legend(open_raster([str(path) for path in order])).names == {0: "trees", 1: "water"}
    with rasterio.open(paths[2], "r+") as target:
        target.update_tags(CLASS_1="town")
    with pytest.raises(RasterError, match=r"the value 1 is 'water' in .*left\.tif' and 'town' in .*plain\.tif'"):
        read_legend(open_raster([str(path) for path in paths]))


def class_map(dtype: str) -> np.ndarray:
    classes = np.random.default_rng(0).integers(1, 4, (8, 8))
    return classes.repeat(16, 0).repeat(16, 1).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32"])
@pytest.mark.parametrize("is_named", [True, False])
def test_the_same_classes_are_classes_in_every_type(tmp_path: Path, dtype: str, is_named: bool) -> None:
    predicted = class_map("uint8")
    predicted[::7] = 2
    paths = write(tmp_path / "p.tif", predicted, nodata=255), write(tmp_path / "t.tif", class_map(dtype))
    if is_named:
        with rasterio.open(paths[0], "r+") as target:
            target.update_tags(CLASS_1="water", CLASS_2="trees", CLASS_3="crops")
    result = geoseg.evaluate(*paths)
    assert result.task == "semantic"
    assert result.scores.summary()["accuracy"] == (predicted == class_map("uint8")).mean()


def test_many_numbers_of_which_each_is_in_one_place_are_objects(tmp_path: Path) -> None:
    numbers = np.zeros((100, 100), np.uint16)
    numbers[5:95:10, 5:95:10] = np.arange(81).reshape(9, 9) + 1
    path = write(tmp_path / "t.tif", numbers.repeat(3, 0).repeat(3, 1))
    assert geoseg.evaluate(path, path).task == "instance"


def test_what_may_be_classes_or_objects_asks_for_the_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = np.zeros((60, 60), np.int32)
    few[5:20, 5:20], few[30:50, 30:50] = 1, 2
    paths = [str(write(tmp_path / "p.tif", class_map("uint8"))), str(write(tmp_path / "t.tif", few))]
    assert main(["evaluate", *paths]) == 3
    assert "t.tif' may hold classes or object ids; give --task semantic or --task instance" in " ".join(
        capsys.readouterr().err.split()
    )
    assert geoseg.evaluate(*paths, task="semantic").task == "semantic"


def test_each_tile_says_itself_what_is_nodata_in_an_evaluation_too(tmp_path: Path) -> None:
    left, right, plain = (str(path) for path in tiles(tmp_path))
    truth = np.zeros((20, 60), np.uint8)
    truth[:, :20], truth[10:, 20:40], truth[:, 40:] = 1, 1, 255
    reference = write(tmp_path / "truth.tif", truth)
    for inputs in ([left, right, plain], [plain, right, left]):
        folder = tmp_path / f"tiles {inputs.index(left)}"
        merged = mosaic(folder, inputs)
        known = geoseg.evaluate(merged, reference, task="semantic").scores.summary()
        assert (known["accuracy"], known["pixels"]) == (1.0, 60 * 20 - 7 * 20)
        filled = geoseg.evaluate(merged, reference, task="semantic", background=9).scores.summary()
        assert filled["pixels"] == 60 * 20
        assert filled["classes"]["9"]["predicted_pixels"] == 7 * 20


def mosaic(folder: Path, inputs: list[str]) -> Path:
    """A folder of tiles, in the order of their names."""
    folder.mkdir()
    for number, path in enumerate(inputs):
        (folder / f"{number}.tif").symlink_to(path)
    return folder


def test_numbers_of_objects_beyond_32_bits_stay_apart_in_every_task(tmp_path: Path) -> None:
    """2**32 + 7 is 7 in 32 bits, and 2**33 + 7 an object of the next class where classes take the upper bits."""
    numbers = np.zeros((60, 60), np.int64)
    numbers[5:20, 5:20], numbers[5:20, 30:50], numbers[30:50, 5:20] = 7, 2**32 + 7, 2**33 + 7
    objects = write(tmp_path / "objects.tif", numbers)
    assert geoseg.evaluate(objects, objects).scores.summary()["pairs"] == 3
    labels = write(tmp_path / "labels.tif", np.where(numbers > 0, 1, 2).astype(np.uint8))
    both = geoseg.evaluate(labels, labels, instances=objects, truth_instances=objects)
    found = both.scores.summary()["classes"]
    assert both.task == "panoptic"
    assert {name: item["pairs"] for name, item in found.items()} == {"1": 3, "2": 1}


def test_names_that_differ_in_capitals_are_one_class_and_that_is_said(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{side}.tif", class_map("uint8")) for side in "pt"]
    for path, names in zip(paths, (("water", "Trees", "crops"), ("Water", "trees", "crops")), strict=True):
        with rasterio.open(path, "r+") as target:
            target.update_tags(**{f"CLASS_{value}": name for value, name in enumerate(names, 1)})
    result = geoseg.evaluate(*paths)
    assert result.scores.summary()["accuracy"] == 1
    assert result.notes == (
        "the class 'Trees' of the prediction is the truth's 'trees'",
        "the class 'water' of the prediction is the truth's 'Water'",
    )


def test_classes_of_which_none_has_the_same_name_are_noted(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{side}.tif", class_map("uint8")) for side in "pt"]
    for path, names in zip(paths, ("abc", "xyz"), strict=True):
        with rasterio.open(path, "r+") as target:
            target.update_tags(**{f"CLASS_{value}": name for value, name in enumerate(names, 1)})
    assert geoseg.evaluate(*paths).notes == (
        "no class name occurs in both inputs: the truth has x, y, z, the prediction a, b, c",
    )


def test_a_collection_of_one_polygon_is_a_truth_and_a_region(tmp_path: Path) -> None:
    box = shapely.box(440_000, 4_199_000, 440_500, 4_199_800)
    for name, shape in (("plain", box), ("wrapped", shapely.GeometryCollection([box]))):
        gpd.GeoDataFrame(geometry=[shape], crs="EPSG:32618").to_file(tmp_path / f"{name}.gpkg")
    scores = geoseg.evaluate(tmp_path / "plain.gpkg", tmp_path / "wrapped.gpkg", region=tmp_path / "wrapped.gpkg")
    assert scores.scores.summary()["f1"] == 1
    table = gpd.GeoDataFrame(geometry=[shapely.GeometryCollection([box])], crs="EPSG:32618")
    assert geoseg.evaluate(tmp_path / "plain.gpkg", tmp_path / "plain.gpkg", region=table).scores.summary()["f1"] == 1
    mixed = shapely.GeometryCollection([box, shapely.Point(0, 0)])
    gpd.GeoDataFrame(geometry=[mixed], crs="EPSG:32618").to_file(tmp_path / "mixed.gpkg")
    with pytest.raises(EvaluationError, match="has features of type GeometryCollection; give polygons only"):
        geoseg.evaluate(tmp_path / "plain.gpkg", tmp_path / "mixed.gpkg")


def test_names_beside_a_file_are_those_of_polygons_and_evaluations(client: Client, tmp_path: Path) -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[:5] = 2
    path = write(tmp_path / "labels.tif", labels)
    names = "<Category>water</Category><Category></Category><Category>trees</Category>"
    (tmp_path / "labels.tif.aux.xml").write_text(
        f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand></PAMDataset>'
    )
    frame = polygons(client, path, tmp_path, classes=["Trees"])
    assert (areas(frame), frame["name"].tolist()) == ({2: 100}, ["trees"])
    scores = geoseg.evaluate(path, path, task="semantic", classes=["trees"]).summary()["scores"]
    assert "trees" in str(scores)
    assert "water" not in str(scores["classes"])
