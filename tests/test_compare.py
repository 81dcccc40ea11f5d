"""Two maps side by side: the matrix as NumPy counts it, polygons that sum to it, and objects as geopandas overlays."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import shapely
from affine import Affine
from distributed import Client
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from odc.geo.xr import wrap_xr
from PIL import Image
from scipy.ndimage import gaussian_filter

import geoseg
from geoseg.cli import main
from geoseg.comparison.object_maps import areas_of
from geoseg.comparison.relations import NEW, STATES, relate
from geoseg.engine import connect
from geoseg.errors import EvaluationError, GeosegError, WorkflowError
from geoseg.evaluation import grid
from geoseg.evaluation.overlaps import overlaps_of
from tests.rasters import TEN_METRES, write_raster

UTM = "EPSG:32618"
NAMES = {1: "water", 2: "forest", 3: "built"}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1, predicting=False) as own:
        yield own


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 37 px, so that small rasters have many."""
    monkeypatch.setattr(grid, "SIDE", 37)


def fields(seed: int, shape: tuple[int, int] = (90, 110)) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    return np.stack([gaussian_filter(rng.standard_normal(shape), 3) for _ in range(3)])


def maps() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Classes 1 to 3, and the same some time later; both with holes."""
    before, after = fields(0), fields(0) + 0.6 * fields(1)
    first, second = (1 + item.argmax(0).astype(np.uint8) for item in (before, after))
    first[:9, :20], second[40:60, 30:35], second[:5, :25] = 255, 255, 255
    return first, second


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("maps")
    one, other = (
        write_raster(folder / f"{name}.tif", labels, nodata=255)
        for name, labels in zip(("before", "after"), maps(), strict=True)
    )
    return one, other


def crosstab(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.int64]:
    known = (first != 255) & (second != 255)
    return np.histogram2d(first[known], second[known], bins=[[1, 2, 3, 4]] * 2)[0].astype(np.int64)


# Pixels


def test_the_matrix_is_that_of_numpy_and_nodata_is_never_a_change(pair: tuple[Path, Path]) -> None:
    first, second = maps()
    result = geoseg.compare(*pair)
    counts = crosstab(first, second)
    np.testing.assert_array_equal(result.pixels.pixel_matrix, counts)
    assert result.matrix.to_numpy() == pytest.approx(counts / 100, rel=1e-3)
    assert list(result.matrix.index) == list(result.matrix.columns) == ["1", "2", "3"]
    one, other = first == 255, second == 255
    expected = {"first": (one & ~other).sum(), "second": (other & ~one).sum(), "both": (one & other).sum()}
    assert result.pixels.nodata == expected
    assert result.pixels.unchanged == pytest.approx(np.trace(counts) / counts.sum(), rel=1e-4)
    balance = result.pixels.balance
    assert balance["net"].to_numpy() == pytest.approx((balance["gained"] - balance["lost"]).to_numpy())


def test_areas_in_degrees_are_those_of_the_ellipsoid(tmp_path: Path) -> None:
    first, second = maps()
    transform = Affine(0.01, 0, 10, 0, -0.01, 60)
    paths = [
        write_raster(tmp_path / f"{name}.tif", labels, crs="EPSG:4326", transform=transform, nodata=255)
        for name, labels in (("a", first), ("b", second))
    ]
    geod = pyproj.Geod(ellps="WGS84")
    rows = np.array(
        [
            abs(geod.geometry_area_perimeter(shapely.segmentize(shapely.box(10, top - 0.01, 10.01, top), 1e-4))[0])
            for top in 60 - 0.01 * np.arange(len(first))
        ]
    )
    areas = np.broadcast_to(rows[:, None], first.shape) / 1e4
    chosen = (first == 1) & (second == 2)
    assert geoseg.compare(*paths).matrix.loc["1", "2"] == pytest.approx(areas[chosen].sum(), rel=1e-6)


@settings(max_examples=5, deadline=None)
@given(data=st.data())
def test_areas_of_polygons_sum_to_the_matrix_and_both_ways_are_transposed(data: st.DataObject, client: Client) -> None:
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    labels = st.lists(st.sampled_from([1, 2, 3, 255]), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1])
    first, second = (np.array(data.draw(labels), np.uint8).reshape(shape) for _ in range(2))
    first[0, 0] = second[0, 0] = 1
    place = GeoBox(shape, TEN_METRES, UTM)
    one, other = (wrap_xr(array, place, nodata=255) for array in (first, second))
    result, back = geoseg.compare(one, other), geoseg.compare(other, one)
    pd.testing.assert_frame_equal(result.pixels.pixel_matrix, back.pixels.pixel_matrix.T, check_names=False)
    assert geoseg.compare(one, one).pixels.unchanged == 1
    with TemporaryDirectory() as folder:
        kept = data.draw(st.booleans())
        options = {"unchanged": kept, "block_size": 16}
        written = geoseg.compare(one, other, Path(folder) / "out.gpkg", client=client, **options).features
    found = written.groupby(["from_name", "to_name"])[["pixels", "area_m2"]].sum()
    wanted = {
        (str(i), str(j)): count
        for (i, j), count in np.ndenumerate(result.pixels.pixel_matrix.to_numpy())
        if count and (kept or i != j)
    }
    names = result.pixels.names
    wanted = {(names[int(i)], names[int(j)]): count for (i, j), count in wanted.items()}
    assert found["pixels"].to_dict() == wanted
    for (i, j), area in found["area_m2"].items():
        assert area / 1e4 == pytest.approx(result.matrix.loc[i, j], rel=1e-5)
    assert written.union_all().area == pytest.approx(written.area.sum())


def test_polygons_lie_where_pixels_changed_and_say_from_what_to_what(
    pair: tuple[Path, Path], client: Client, tmp_path: Path
) -> None:
    first, second = maps()
    path = tmp_path / "out.gpkg"
    result = geoseg.compare(*pair, path, client=client, block_size=64)
    known = (first != 255) & (second != 255)
    rows, cols = np.nonzero((first != second) & known)
    points = gpd.GeoSeries.from_xy(440_005 + 10 * cols, 4_199_995 - 10 * rows, crs=UTM).to_frame("geometry")
    joined = points.sjoin(result.features)
    assert len(joined) == len(points) == result.features["pixels"].sum()
    np.testing.assert_array_equal(joined["from"].sort_index(), first[rows, cols])
    np.testing.assert_array_equal(joined["to"].sort_index(), second[rows, cols])
    assert result.features.crs == UTM
    with closing(sqlite3.connect(path)) as connection:
        ((style,),) = connection.execute("SELECT styleQML FROM layer_styles WHERE f_table_name = 'changes'").fetchall()
    assert 'attr="to"' in style
    assert [item.name for item in tmp_path.iterdir()] == ["out.gpkg"], "what was needed on the way is left behind"


def test_small_changes_become_what_is_around_them(pair: tuple[Path, Path], client: Client, tmp_path: Path) -> None:
    every = geoseg.compare(*pair, tmp_path / "all.gpkg", client=client).features
    large = geoseg.compare(*pair, tmp_path / "large.gpkg", client=client, min_area=2000).features
    assert every["area_m2"].min() < 1000
    assert 0 < len(large) < len(every)
    inner = large[
        ~large.touches(gpd.GeoSeries([shapely.box(440_000, 4_199_100, 441_100, 4_200_000)], crs=UTM)[0].boundary)
    ]
    assert inner["pixels"].min() >= 20
    with pytest.raises(WorkflowError, match="compare takes one min_area for all; give a number"):
        geoseg.compare(*pair, tmp_path / "no.gpkg", client=client, min_area={1: 2000})


def test_classes_are_matched_by_name_and_what_has_no_counterpart_is_said(client: Client, tmp_path: Path) -> None:
    first, second = maps()
    other = np.array([0, 7, 5, 9] + [255] * 252, np.uint8)[second]
    colors = {1: "#0000ff", 2: "#00aa00", 3: "#aa0000"}
    place = GeoBox(first.shape, TEN_METRES, UTM)
    arrays = []
    for labels, names in ((first, NAMES), (other, {7: "Water", 5: "forest", 9: "ice"})):
        array = wrap_xr(labels, place, nodata=255)
        flags = {"flag_values": list(names), "flag_meanings": " ".join(names.values())}
        array.attrs |= flags | {"flag_colors": [colors.get(value, "#123456") for value in names]}
        arrays.append(array)
    result = geoseg.compare(*arrays)
    counts = crosstab(first, second)
    assert result.matrix.index.tolist() == ["water", "forest", "built", "ice"]
    np.testing.assert_array_equal(result.pixels.pixel_matrix.iloc[:3, [0, 1, 3]], counts)
    assert result.notes == (
        "classes without a counterpart in the other map: built of the first map; ice of the second map",
    )
    changes = result.write(tmp_path / "out.gpkg", client=client).features
    assert set(zip(changes["to"], changes["to_name"], strict=True)) == {(7, "water"), (5, "forest"), (9, "ice")}
    assert result.pixels.classes[1].color == "#00aa00"


def test_the_second_map_is_brought_onto_the_first_ones_grid(pair: tuple[Path, Path], tmp_path: Path) -> None:
    _, second = maps()
    finer = np.kron(second, np.ones((3, 3), np.uint8))
    finer[::3, ::3] = 3  # not at a centre
    place = TEN_METRES @ Affine.scale(1 / 3)
    path = write_raster(tmp_path / "finer.tif", finer[30:], transform=place @ Affine.translation(0, 30), nodata=255)
    result = geoseg.compare(pair[0], path)
    first = maps()[0]
    np.testing.assert_array_equal(result.pixels.pixel_matrix, crosstab(first[10:], second[10:]))
    assert result.pixels.nodata["second"] == ((first != 255)[:10].sum() + ((first != 255) & (second == 255))[10:].sum())


def test_polygons_and_a_region_count_by_the_centres_of_pixels(
    pair: tuple[Path, Path], client: Client, tmp_path: Path
) -> None:
    first, _ = maps()
    rows, cols = np.indices(first.shape)
    layer = gpd.GeoDataFrame({"class": [2]}, geometry=[shapely.box(440_200, 4_199_500, 440_800, 4_200_000)], crs=UTM)
    burnt = np.where((cols >= 20) & (cols < 80) & (rows < 50), 2, 255)
    counts = crosstab(first, burnt)
    result = geoseg.compare(pair[0], layer, task="semantic")
    np.testing.assert_array_equal(result.pixels.pixel_matrix.loc[["1", "2", "3"], "2"], counts[:, 1])
    changes = result.write(tmp_path / "burnt.gpkg", client=client).features
    assert changes["pixels"].sum() == counts[[0, 2], 1].sum()
    box = {"region": f"440200,4199500,440800,4200000,{UTM}", "block_size": 32}
    inner = geoseg.compare(*pair, tmp_path / "inner.gpkg", client=client, **box)
    np.testing.assert_array_equal(inner.pixels.pixel_matrix, crosstab(np.where(burnt == 2, first, 255), maps()[1]))
    assert inner.features["pixels"].sum() == sum(inner.pixels.pixel_matrix.to_numpy()[~np.eye(3, dtype=bool)])


def test_classes_that_are_not_asked_for_are_one(pair: tuple[Path, Path], client: Client, tmp_path: Path) -> None:
    first, second = (np.where(item == 3, 1, item) for item in maps())
    result = geoseg.compare(*pair, tmp_path / "out.gpkg", classes=[2], client=client)
    assert result.matrix.index.tolist() == ["2", "other"]
    np.testing.assert_array_equal(result.pixels.pixel_matrix, crosstab(first, second)[[1, 0]][:, [1, 0]])
    assert set(result.features["from"]) == {2, -1}
    named = geoseg.compare(*pair, classes={1: "water", 2: "forest", 3: "built"})
    assert named.matrix.index.tolist() == ["water", "forest", "built"]


def test_many_classes_are_told_by_their_largest_changes(tmp_path: Path) -> None:
    first = np.random.default_rng(0).integers(1, 13, (24, 15)).astype(np.uint8)
    second = np.where(np.indices(first.shape)[1] < 5, 12, first).astype(np.uint8)
    result = geoseg.compare(*(write_raster(tmp_path / f"{n}.tif", i) for n, i in (("a", first), ("b", second))))
    _, changes = result.tables()
    counts = result.pixels.pixel_matrix.stack()
    counts = counts[counts.index.get_level_values(0) != counts.index.get_level_values(1)]
    assert len(result.pixels.names) > 10
    assert dict(changes.rows) == {
        f"{one} to {other}": f"{count / 100:.2f}" for (one, other), count in counts[counts > 0].items()
    }
    assert [row[1] for row in changes.rows] == sorted((row[1] for row in changes.rows), reverse=True)


def test_a_background_stands_for_nodata_of_both(pair: tuple[Path, Path]) -> None:
    first, second = maps()
    result = geoseg.compare(*pair, background=0)
    one, other = (np.where(item == 255, 0, item) for item in (first, second))
    counts = np.histogram2d(one.ravel(), other.ravel(), bins=[[0, 1, 2, 3, 4]] * 2)[0]
    np.testing.assert_array_equal(result.pixels.pixel_matrix, counts)


def test_rasters_without_a_place_are_counted_in_pixels(client: Client, tmp_path: Path) -> None:
    first, second = maps()
    paths = [
        write_raster(tmp_path / f"{name}.tif", labels, crs=None, transform=None, nodata=255)
        for name, labels in (("a", first), ("b", second))
    ]
    result = geoseg.compare(*paths, tmp_path / "out.gpkg", client=client)
    np.testing.assert_array_equal(result.matrix, crosstab(first, second))
    assert result.pixels.unit == "px"
    assert result.features["pixels"].sum() == result.features.area.sum()


def test_the_picture_shows_both_maps_and_the_class_that_pixels_became(pair: tuple[Path, Path], tmp_path: Path) -> None:
    result = geoseg.compare(*pair)
    result.draw(tmp_path / "change.png", width=900)
    with Image.open(tmp_path / "change.png") as picture:
        assert picture.width == 900
        colors = {tuple(color) for _, color in picture.convert("RGB").getcolors(2**24) or []}
    assert {tuple(bytes.fromhex(item.color[1:])) for item in result.pixels.classes} <= colors
    assert "unchanged" in result._repr_html_()


# Objects


def objects() -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """One object of each kind; the second map numbers them anew."""
    first, second = np.zeros((2, 100, 120), np.uint16)
    first[5:25, 5:25], second[6:26, 5:25] = 1, 7
    first[30:50, 5:45], second[30:50, 5:24], second[30:50, 26:45] = 2, 1, 2
    first[60:80, 5:24], first[60:80, 26:45], second[60:80, 5:45] = 3, 4, 3
    first[5:15, 60:70], second[5:15, 80:90] = 5, 9
    first[30:50, 60:80], second[30:50, 72:92] = 6, 11
    return first, second


EXPECTED = {(1, 7): "kept", (2, 1): "split", (2, 2): "split", (3, 3): "merged", (4, 3): "merged", (6, 11): "changed",
            (5, 0): "gone", (0, 9): "new"}  # fmt: skip


def told(features: gpd.GeoDataFrame) -> dict[tuple[int, int], str]:
    ids = features[["from_id", "to_id"]].fillna(0).astype(int)
    return dict(zip(ids.itertuples(index=False, name=None), features["change"], strict=True))


def layer_of(labels: NDArray[np.uint16], **columns: Any) -> gpd.GeoDataFrame:
    values = np.unique(labels[labels > 0])
    boxes = []
    for value in values:
        rows, cols = np.nonzero(labels == value)
        left, top = TEN_METRES @ (cols.min(), rows.min())
        right, bottom = TEN_METRES @ (cols.max() + 1, rows.max() + 1)
        boxes.append(shapely.box(left, bottom, right, top))
    return gpd.GeoDataFrame({"instance": values} | columns, geometry=boxes, crs=UTM)


@pytest.mark.parametrize("kinds", ["rasters", "layers", "both"])
def test_objects_are_kept_split_merged_changed_gone_or_new(kinds: str, client: Client, tmp_path: Path) -> None:
    first, second = objects()
    rasters = [write_raster(tmp_path / f"{n}.tif", item, nodata=0) for n, item in (("a", first), ("b", second))]
    layers = [layer_of(first), layer_of(second)]
    given = {"rasters": rasters, "layers": layers, "both": [rasters[0], layers[1]]}[kinds]
    result = geoseg.compare(*given, tmp_path / "out.gpkg", task="instance", client=client)
    features = result.features
    assert told(features) == EXPECTED
    assert result.objects.counts["first"].to_dict() | {"new": 1} == dict.fromkeys(STATES, 1) | {"merged": 2}
    assert result.objects.counts["second"].to_dict() | {"gone": 1} == dict.fromkeys(STATES, 1) | {"split": 2}
    shared = layers[0].overlay(layers[1], how="intersection")
    overlay = {
        (one, other): area
        for one, other, area in zip(shared["instance_1"], shared["instance_2"], shared.area, strict=True)
    }
    sizes = [dict(zip(layer["instance"], layer.area, strict=True)) for layer in layers]
    for row in features[features["iou"].notna()].itertuples():
        both = overlay[row.from_id, row.to_id]
        one, other = sizes[0][row.from_id], sizes[1][row.to_id]
        assert (row.iou, row.from_share, row.to_share) == pytest.approx(
            (both / (one + other - both), both / one, both / other)
        )
        assert (row.from_area_m2, row.to_area_m2) == pytest.approx((one, other), rel=1e-3)
        assert row.geometry.area == pytest.approx(other)
    assert features.loc[features["change"] == "gone"].area.item() == pytest.approx(sizes[0][5])


def test_folders_of_runs_have_classes_and_objects(client: Client, tmp_path: Path) -> None:
    folders = []
    for name, item in zip("ab", objects(), strict=True):
        folders.append(tmp_path / name)
        folders[-1].mkdir()
        write_raster(folders[-1] / "instances.tif", item.astype(np.uint32), nodata=0)
        write_raster(folders[-1] / "labels.tif", np.where(item > 0, 1, 255).astype(np.uint8), nodata=255)
        layer_of(item).assign(**{"class": 1, "name": "building"}).to_file(folders[-1] / "features.gpkg")
    first, second = (item > 0 for item in objects())
    result = geoseg.compare(*folders, tmp_path / "out.gpkg", client=client)
    assert result.pixels.pixel_matrix.to_numpy().tolist() == [[(first & second).sum()]]
    assert result.notes == ("where a map has no object it may have no class; --background 0 compares that as class 0",)
    assert len(result.features) == 0
    rows = result.read_layer("objects")
    assert told(rows) == EXPECTED
    assert set(rows["from"].dropna()) == set(rows["to"].dropna()) == {1}
    filled = geoseg.compare(*folders, background=0)
    assert filled.pixels.pixel_matrix.loc["0", "1"] == (second & ~first).sum()
    assert filled.notes == ()


def test_objects_of_runs_are_compared_where_none_lies_over_another(tmp_path: Path) -> None:
    before, after, none = np.zeros((3, 40, 50), np.uint32)
    before[5:15, 5:15], after[20:32, 30:44] = 1, 1
    folders = {name: tmp_path / name for name in ("before", "after", "none")}
    for folder, item in zip(folders.values(), (before, after, none), strict=True):
        folder.mkdir()
        write_raster(folder / "instances.tif", item, nodata=0)
        write_raster(folder / "labels.tif", np.where(item > 0, 1, 255).astype(np.uint8), nodata=255)
    found = geoseg.compare(folders["before"], folders["after"])
    assert found.pixels is None
    assert sorted(found.features["change"]) == ["gone", "new"]
    assert geoseg.compare(folders["before"], folders["none"]).features["change"].tolist() == ["gone"]
    with pytest.raises(EvaluationError, match=r"the first map has no pixel with a class; choose --task instance where"):
        geoseg.compare(folders["none"], folders["after"], task="panoptic")
    scores = geoseg.evaluate(folders["before"], folders["none"])
    assert (scores.task, scores.summary()["scores"]["precision"]) == ("instance", 0)


def brute_force(first: NDArray[np.int64], second: NDArray[np.int64], iou: float) -> dict[tuple[int, int], str]:
    """The definitions, object by object, in sets of pixels."""
    one, other = (
        {int(value): set(np.flatnonzero(item.ravel() == value).tolist()) for value in np.unique(item[item > 0])}
        for item in (first, second)
    )
    rows: dict[tuple[int, int], str] = {}
    shared = {(i, j): len(one[i] & other[j]) for i in one for j in other if one[i] & other[j]}
    split = {p for p in shared if 2 * shared[p] > len(other[p[1]]) and 10 * shared[p] >= len(one[p[0]])}
    split = {p for p in split if sum(q[0] == p[0] for q in split) > 1}
    merged = {p for p in shared if 2 * shared[p] > len(one[p[0]]) and 10 * shared[p] >= len(other[p[1]])}
    merged = {p for p in merged if sum(q[1] == p[1] for q in merged) > 1}
    rows |= {p: "changed" if p in split & merged else "split" if p in split else "merged" for p in split | merged}
    firsts, seconds = {i for i, _ in rows}, {j for _, j in rows}
    for p, both in shared.items():
        free = p[0] not in firsts and p[1] not in seconds
        if free and both / (len(one[p[0]]) + len(other[p[1]]) - both) >= iou:
            rows[p] = "kept"
    firsts, seconds = {i for i, _ in rows}, {j for _, j in rows}
    for side, items, known, alone in ((0, one, firsts, "gone"), (1, other, seconds, "new")):
        for number in items:
            partners = [p for p in shared if p[side] == number and 10 * shared[p] >= len(items[number])]
            if number in known:
                continue
            if partners:
                rows[max(partners, key=lambda p: (shared[p], -p[1 - side]))] = "changed"
            else:
                rows[(number, 0) if side == 0 else (0, number)] = alone
    return rows


label_arrays = st.lists(st.integers(0, 4), min_size=48, max_size=48).map(lambda some: np.array(some).reshape(6, 8))
blocky = st.lists(st.integers(0, 4), min_size=12, max_size=12).map(
    lambda some: np.kron(np.array(some).reshape(3, 4), np.ones((2, 2), np.int64))
)


@settings(max_examples=50, deadline=None)
@given(label_arrays | blocky, label_arrays | blocky, st.sampled_from([0.5, 0.6, 0.9]))
@example(np.array([[1] * 10 + [2] * 3]), np.array([[2] * 4 + [1] * 8 + [0]]), 0.5)  # part of a split and of a merger
def test_relations_are_those_of_the_definitions_and_mirrored_the_other_way(
    first: NDArray[np.int64], second: NDArray[np.int64], iou: float
) -> None:
    def rows(one: NDArray[np.int64], other: NDArray[np.int64]) -> dict[tuple[int, int], str]:
        overlaps = overlaps_of(one, other)
        relations = relate(overlaps, iou)
        ids = [np.append(numbers, 0)[places] for numbers, places in (
            (overlaps.trues, relations.first), (overlaps.found, relations.second))]  # fmt: skip
        pairs = zip(ids[0].tolist(), ids[1].tolist(), strict=True)
        return {pair: STATES[state] for pair, state in zip(pairs, relations.states, strict=True)}

    found = rows(first, second)
    assert found == brute_force(first, second, iou)
    mirror = {"split": "merged", "merged": "split", "gone": "new", "new": "gone"}
    assert {(j, i): mirror.get(state, state) for (i, j), state in found.items()} == rows(second, first)
    assert {i for i, _ in found} >= set(np.unique(first[first > 0]).tolist())
    assert set(rows(first, first).values()) <= {"kept"}


def test_objects_beyond_the_other_map_are_not_new(tmp_path: Path) -> None:
    first, second = objects()
    path = write_raster(tmp_path / "a.tif", first[:, :75], nodata=0)
    result = geoseg.compare(path, write_raster(tmp_path / "b.tif", second, nodata=0), task="instance")
    assert result.objects.counts.loc["new", "second"] == 0
    assert NEW not in result.objects.relations.states


def test_objects_that_are_kept_may_have_another_class() -> None:
    first, second = objects()
    one, other = layer_of(first), layer_of(second)
    one["class"] = 4
    other["class"] = np.where(other["instance"] == 7, 8, 4)
    result = geoseg.compare(one, other)
    assert result.objects.reclassified == 1
    assert result.summary()["objects"]["changes"]["kept"]["first"] == 1


def test_two_layers_have_pixels_where_those_have_a_size() -> None:
    first, second = objects()
    one, other = layer_of(first), layer_of(second)
    one["class"], other["class"] = 1, 2
    result = geoseg.compare(one, other, resolution=10)
    assert result.pixels.pixel_matrix.loc["1", "2"] == ((first > 0) & (second > 0)).sum()
    assert result.objects.counts["first"].sum() == 6


def test_areas_of_polygons_are_those_of_pyproj() -> None:
    ring = shapely.Point(10, 50).buffer(0.05).difference(shapely.Point(10, 50).buffer(0.02))
    shapes = np.array(
        [ring, shapely.MultiPolygon([shapely.box(10, 50, 10.01, 50.01), shapely.box(10.02, 50, 10.03, 50.01)])]
    )
    geod = pyproj.Geod(ellps="WGS84")
    expected = [
        abs(geod.geometry_area_perimeter(shapely.orient_polygons(shapely.segmentize(item, 1e-4)))[0]) for item in shapes
    ]
    assert areas_of(shapes, pyproj.CRS("EPSG:4326")) == pytest.approx(expected, rel=1e-6)
    assert areas_of(shapes[::-1], pyproj.CRS("EPSG:4326")) == pytest.approx(expected[::-1], rel=1e-6)


# The command, and what it refuses


def test_the_command_prints_and_writes_everything(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [str(path) for path in pair]
    gpd.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(0, 0)], crs=UTM).to_file("out.gpkg", layer="mine")
    files = ["--json", "out.json", "--matrix", "matrix.csv", "--picture", "change.png"]
    assert main(["compare", *names, "out.gpkg", *files, "--workers", "1"]) == 0
    shown = capsys.readouterr().out
    apart = np.logical_or(*(item == 255 for item in maps())).sum()
    assert f"% unchanged, ha; {apart} px have no class in one map or both" in " ".join(shown.split())
    summary = json.loads(Path("out.json").read_text())
    matrix = pd.read_csv("matrix.csv", index_col="from_to_ha")
    np.testing.assert_allclose(summary["pixels"]["matrix"]["areas"], matrix)
    assert sorted(gpd.list_layers("out.gpkg")["name"]) == ["changes", "layer_styles", "mine"]
    assert Path("change.png").stat().st_size > 1000
    assert main(["compare", *names]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["change.png", "matrix.csv", "out.gpkg", "out.json"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["before.tif", "after.tif", "out.shp"], 2, "'out.shp' is no GeoPackage by its name, and changes are layers"),
        (["before.tif", "after.tif", "no/out.gpkg"], 5, "no does not exist; create it, or choose another output"),
        (["before.tif", "after.tif", "taken.gpkg"], 2, "has a layer 'changes' that geoseg did not write; choose"),
        (["before.tif", "after.tif", "roads.gpkg"], 2, "has a layer 'objects' that geoseg did not write; choose"),
        (["before.tif", "gone.tif"], 3, "'gone.tif' does not exist"),
        (["before.tif", "after.tif", "--iou", "0"], 2, "the comparison has iou: '0', which cannot be used"),
        (["before.tif", "after.tif", "--task", "things"], 2, "the comparison has task: 'things'"),
        (["before.tif", "far.tif"], 3, "the second map 'far.tif' and the first map 'before.tif' do not overlap"),
        (["before.tif", "empty.tif"], 3, "the second map has no pixel with a class; choose --task instance where"),
        (["a.gpkg", "a.gpkg", "--matrix", "m.csv"], 3, "only objects were compared, so there is no matrix of classes"),
        (["before.tif", "after.tif", "--picture", "p.gif"], 5, "the ending '.gif' of 'p.gif' is not a known picture"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_one_sentence(
    arguments: list[str], code: int, words: str, pair: tuple[Path, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for path in pair:
        Path(path.name).symlink_to(path)
    first, _ = maps()
    write_raster("far.tif", first, transform=TEN_METRES @ Affine.translation(500, 0), nodata=255)
    write_raster("empty.tif", np.full_like(first, 255), nodata=255)
    road = gpd.GeoDataFrame({"area_m2": [1.0]}, geometry=[shapely.box(0, 0, 1, 1)], crs=UTM)
    road.to_file("taken.gpkg", layer="changes")
    road.to_file("roads.gpkg", layer="objects")
    road.to_file("a.gpkg", layer="a")
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert main(["compare", *arguments]) == code
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_layer_of_an_earlier_comparison_does_not_stay(
    pair: tuple[Path, Path], client: Client, tmp_path: Path
) -> None:
    first, second = objects()
    path = tmp_path / "out.gpkg"
    geoseg.compare(layer_of(first), layer_of(second), path)
    assert gpd.list_layers(path)["name"].tolist()[0] == "objects"
    geoseg.compare(*pair, path, client=client)
    assert "objects" not in gpd.list_layers(path)["name"].tolist()
    with pytest.raises(EvaluationError, match="only objects were compared"):
        _ = geoseg.compare(layer_of(first), layer_of(second)).matrix
    assert issubclass(EvaluationError, GeosegError)
