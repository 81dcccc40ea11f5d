"""Polygons of classified rasters, in blocks on a real Dask cluster: the same for every layout, restart and format."""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import rasterio
import rasterio.features
import shapely
import shapely.geometry
from affine import Affine
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS
from scipy.ndimage import gaussian_filter

import geoseg
from geoseg.cli import main
from geoseg.engine import Event, ProgressEvent, Writing, connect
from geoseg.errors import GeosegError, GeosegWarning, OutputError, RasterError, WorkflowError
from geoseg.outlines import OutlineFolder, OutlinePlan, RunLabels
from geoseg.outlines.merging import AT_ONCE, merge
from geoseg.store import RunFolder
from geoseg.vectorize import Shaping

TRANSFORM = Affine(10, 0, 440_000, 0, -10, 4_200_000)
CRS_CODE = "EPSG:32618"


def noise(shape: tuple[int, int], classes: int = 4, seed: int = 0) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.standard_normal(shape), 2) for _ in range(classes)]
    return np.stack(fields).argmax(0).astype(np.uint8)


def write(path: Path, labels: NDArray[Any], **profile: Any) -> Path:
    shape = {"height": labels.shape[0], "width": labels.shape[1]}
    fixed = {"driver": "GTiff", "count": 1, "dtype": labels.dtype, "crs": CRS_CODE, "transform": TRANSFORM}
    with rasterio.open(path, "w", **fixed, **shape, **profile) as target:
        target.write(labels, 1)
    return path


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 2) as own:
        yield own


@pytest.fixture(scope="module")
def raster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    labels = noise((210, 190))
    labels[60:80, 40:120] = 255
    return write(tmp_path_factory.mktemp("raster") / "labels.tif", labels, nodata=255)


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    frame = gpd.read_file(path, layer="polygons") if path.suffix == ".gpkg" else gpd.read_file(path)
    return [tuple(row) for row in frame.assign(geometry=frame.geometry.to_wkb()).itertuples(index=False)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"simplify": 18.0},
        {"simplify": 30.0, "min_area": 2_500, "max_vertices": 200},
        {"connectivity": 8},
        {"smooth": "chaikin", "min_area": 2_500, "max_vertices": 200},
    ],
    ids=["pixels", "simplified", "sifted", "corners", "smoothed"],
)
def test_polygons_are_the_same_for_every_block_size(
    raster: Path, client: Client, tmp_path: Path, settings: dict[str, Any]
) -> None:
    found = []
    for block_size in (512, 64, 23):
        path = tmp_path / f"{block_size}.gpkg"
        result = geoseg.polygonize(str(raster), path, client=client, block_size=block_size, **settings)
        found.append(rows_of(path))
        assert result.count == len(found[-1]) > 10
        assert not list(tmp_path.glob(".*")), "what was needed on the way is left behind"
    assert found[1] == found[0]
    assert found[2] == found[0]


def test_polygons_cover_the_labels_exactly_and_say_what_they_are(raster: Path, client: Client, tmp_path: Path) -> None:
    geoseg.polygonize(str(raster), tmp_path / "out.gpkg", client=client, block_size=64)
    frame = gpd.read_file(tmp_path / "out.gpkg", layer="polygons")
    with rasterio.open(raster) as source:
        labels = source.read(1)
    drawn = rasterio.features.rasterize(
        zip(frame.geometry, frame["class"], strict=True), labels.shape, fill=255, transform=TRANSFORM
    )
    np.testing.assert_array_equal(drawn, labels)
    assert shapely.coverage_is_valid(frame.geometry.to_numpy())
    assert (frame["pixels"] * 100).to_numpy() == pytest.approx(frame.area.to_numpy())
    assert frame["perimeter_m"].to_numpy() == pytest.approx(frame.length.to_numpy(), rel=1e-3)
    assert "confidence" not in frame
    assert frame["name"].tolist() == frame["class"].astype(str).tolist()


def test_smooth_polygons_are_simplified_by_a_pixel_unless_told_otherwise(
    raster: Path, client: Client, tmp_path: Path
) -> None:
    frames = []
    for name, options in {"a": {}, "b": {"simplify": 10}, "c": {"simplify": 20}}.items():
        path = tmp_path / f"{name}.parquet"
        geoseg.polygonize(str(raster), path, client=client, block_size=64, smooth="chaikin", **options)
        frames.append(gpd.read_parquet(path))
    assert (frames[0].geometry == frames[1].geometry).all()
    assert not (frames[0].geometry == frames[2].geometry).all()
    for frame in frames:
        assert shapely.is_valid(frame.geometry).all() and shapely.coverage_is_valid(frame.geometry.to_numpy())
        assert frame.area.sum() == pytest.approx(100 * frame["pixels"].sum(), rel=1e-3)  # there is nodata
        assert frame["area_m2"].to_numpy() == pytest.approx(frame.area.to_numpy(), rel=2e-3)


def test_holes_of_what_is_written_are_filled_below_an_area(client: Client, tmp_path: Path) -> None:
    labels = np.full((60, 60), 1, np.uint8)
    labels[5:8, 5:8], labels[20:26, 20:26], labels[40:43, 40:43], labels[41, 41] = 2, 2, 2, 255
    path = write(tmp_path / "labels.tif", labels, nodata=255)
    options = {"client": client, "block_size": 32, "fill_holes": 1_000}
    geoseg.polygonize(str(path), tmp_path / "one.parquet", classes=[1], **options)
    (polygon,) = gpd.read_parquet(tmp_path / "one.parquet").geometry
    assert [shapely.Polygon(ring).area for ring in polygon.interiors] == [3_600]
    geoseg.polygonize(str(path), tmp_path / "all.parquet", **options)
    frame = gpd.read_parquet(tmp_path / "all.parquet")
    assert shapely.coverage_is_valid(frame.geometry.to_numpy())
    assert sorted(frame.area) == [900, 900, 3_600, 60 * 60 * 100 - 5_400]


@pytest.mark.parametrize("walls", [False, True])
def test_a_hole_around_another_polygon_stays_also_where_blocks_between_are_not_traced(
    walls: bool, client: Client, tmp_path: Path
) -> None:
    """A lake with an island and a pond on it; the region has a hole larger than blocks, in which the pond is kept."""
    labels = np.full((200, 200), 3, np.uint8)
    labels[20:180, 20:180], labels[40:160, 40:160], labels[90:110, 90:110] = 1, 2, 1
    path = write(tmp_path / "labels.tif", labels, nodata=255)
    left, top = rasterio.open(path).bounds[0], rasterio.open(path).bounds[3]
    hole, pond = (shapely.box(left + a, top - b, left + b, top - a) for a, b in ((440, 1_560), (880, 1_120)))
    ring = shapely.box(left, top - 2_000, left + 2_000, top) - hole
    for number, region in enumerate((None, ring | pond)):
        place = None if region is None else gpd.GeoSeries([region], crs=rasterio.open(path).crs)
        out, options = tmp_path / f"{number}.parquet", {"classes": [1], "fill_holes": 1e7, "regularize": walls}
        geoseg.polygonize(str(path), out, region=place, client=client, block_size=16, **options)
        assert sorted(gpd.read_parquet(out).area) == pytest.approx([40_000, 100 * (160**2 - 120**2)])


def test_walls_are_not_smoothed(raster: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["polygonize", str(raster), str(tmp_path / "out.gpkg"), "--smooth", "chaikin", "--regularize"]
    assert main([*arguments, "--classes", "1"]) == 2
    assert "regularize makes straight walls and smooth: chaikin curves; choose one of both" in " ".join(
        capsys.readouterr().err.split()
    )


def test_only_faces_of_the_minimum_area_are_left(raster: Path, client: Client, tmp_path: Path) -> None:
    geoseg.polygonize(str(raster), tmp_path / "out.gpkg", client=client, block_size=64, min_area=2_500)
    frame = gpd.read_file(tmp_path / "out.gpkg", layer="polygons")
    assert frame["pixels"].min() >= 25
    with rasterio.open(raster) as source:
        assert frame["pixels"].sum() == (source.read(1) != 255).sum()


def test_polygons_of_the_minimum_area_keep_it_when_they_are_simplified(
    raster: Path, client: Client, tmp_path: Path
) -> None:
    frames = []
    for least in (0, 2_500):
        path = tmp_path / f"{least}.parquet"
        geoseg.polygonize(
            str(raster), path, client=client, block_size=64, min_area=least, simplify=20, smooth="chaikin"
        )
        frames.append(gpd.read_parquet(path))
    free, kept = frames
    assert (free.area < 100 * np.minimum(free["pixels"], 25) - 1e-6).any()
    assert kept.area.min() >= 2_500 - 1e-6
    assert shapely.coverage_is_valid(kept.geometry.to_numpy())


def test_small_faces_of_a_class_that_is_kept_stay(raster: Path, client: Client, tmp_path: Path) -> None:
    geoseg.polygonize(str(raster), tmp_path / "a.gpkg", client=client, block_size=64)
    options = {"min_area": 2_500, "keep_classes": [2], "block_size": 64}
    geoseg.polygonize(str(raster), tmp_path / "b.gpkg", client=client, **options)
    before, after = (gpd.read_file(tmp_path / name, layer="polygons") for name in ("a.gpkg", "b.gpkg"))
    assert (after.loc[after["class"] == 2, "pixels"] < 25).any()
    assert len(after) < len(before)
    assert (after.loc[after["class"] != 2, "pixels"] >= 25).all()


def test_the_command_writes_the_wanted_classes(raster: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.gpkg"
    arguments = ["polygonize", str(raster), str(path), "--simplify", "15", "--min-area", "1000", "--classes", "1,3"]
    assert main([*arguments, "--workers", "1", "--layer", "polygons"]) == 0
    frame = gpd.read_file(path, layer="polygons")
    assert set(frame["class"]) == {1, 3}
    assert shapely.is_valid(frame.geometry).all()


@pytest.mark.parametrize("ending", [".gpkg", ".parquet", ".fgb", ".shp", ".geojson", ".pmtiles"])
def test_every_format_has_every_polygon(raster: Path, client: Client, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"out{ending}"
    result = geoseg.polygonize(str(raster), path, client=client, simplify=20)
    assert path.stat().st_size > 0
    if ending == ".pmtiles":
        return
    read = gpd.read_parquet if ending == ".parquet" else gpd.read_file
    assert len(read(path)) == result.count


def test_a_colour_table_and_names_come_along(client: Client, tmp_path: Path) -> None:
    path = write(tmp_path / "labels.tif", noise((40, 40), 2), nodata=255)
    with rasterio.open(path, "r+") as target:
        target.write_colormap(1, {0: (65, 155, 223, 255), 1: (57, 125, 73, 255)})
        target.update_tags(CLASS_0="water", CLASS_1="trees")
    geoseg.polygonize(str(path), tmp_path / "out.gpkg", client=client, classes=["trees"])
    frame = gpd.read_file(tmp_path / "out.gpkg", layer="polygons")
    assert set(frame["name"]) == {"trees"}
    with sqlite3.connect(tmp_path / "out.gpkg") as database:
        ((style,),) = database.execute("SELECT styleQML FROM layer_styles").fetchall()
    assert "57,125,73" in style


def test_integers_of_any_width_and_a_mask_without_nodata(client: Client, tmp_path: Path) -> None:
    labels = noise((50, 60)).astype(np.int32) * 70_000 - 70_000
    path = write(tmp_path / "labels.tif", labels)
    mask = np.ones(labels.shape, bool)
    mask[10:20, 20:45] = False
    with rasterio.open(path, "r+") as target:
        target.write_mask(mask)
    geoseg.polygonize(str(path), tmp_path / "out.gpkg", client=client, block_size=32, min_area=300)
    frame = gpd.read_file(tmp_path / "out.gpkg", layer="polygons")
    assert frame["pixels"].sum() == mask.sum()
    assert set(frame["class"]) <= set(np.unique(labels).tolist())


def test_a_raster_without_labels_gives_an_empty_layer(client: Client, tmp_path: Path) -> None:
    path = write(tmp_path / "labels.tif", np.full((40, 30), 255, np.uint8), nodata=255)
    for keys in ({}, {"min_area": 1_000, "simplify": 5}):
        with pytest.warns(GeosegWarning, match="there is no polygon: no valid pixel"):
            result = geoseg.polygonize(str(path), tmp_path / "out.gpkg", client=client, block_size=16, **keys)
        assert result.count == 0
        assert len(gpd.read_file(tmp_path / "out.gpkg", layer="polygons")) == 0


def test_a_region_cuts_polygons_exactly(raster: Path, client: Client, tmp_path: Path) -> None:
    circle = shapely.Point(441_000, 4_198_700).buffer(333.3)
    gpd.GeoDataFrame(geometry=[circle], crs=CRS_CODE).to_file(tmp_path / "region.gpkg")
    found = []
    for block_size in (512, 32):
        path = tmp_path / f"{block_size}.gpkg"
        options = {"region": str(tmp_path / "region.gpkg"), "simplify": 25, "block_size": block_size}
        geoseg.polygonize(str(raster), path, client=client, **options)
        found.append(rows_of(path))
    frame = gpd.read_file(tmp_path / "512.gpkg", layer="polygons")
    assert frame.union_all().symmetric_difference(circle).area < 1e-3
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["0-1.arrow", "0-2.labels 0-2.survey.npz"])
def test_polygons_that_hold_other_bytes_are_made_again_in_the_same_start(
    raster: Path, client: Client, tmp_path: Path, name: str
) -> None:
    options: dict[str, Any] = {"client": client, "block_size": 64, "simplify": 20, "min_area": 2_500}
    geoseg.polygonize(str(raster), tmp_path / "whole.gpkg", **options)

    def stop(event: ProgressEvent) -> None:
        if isinstance(event, Writing):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        geoseg.polygonize(str(raster), tmp_path / "out.gpkg", progress=stop, **options)
    outlines = tmp_path / ".out.gpkg.geoseg" / "state" / "outlines"
    for file in name.split():
        content = bytearray((outlines / file).read_bytes())
        content[len(content) // 2] ^= 255
        (outlines / file).write_bytes(content)
    if "labels" in name:
        (outlines / "trace" / "0-2").unlink()
    geoseg.polygonize(str(raster), tmp_path / "out.gpkg", **options)
    assert rows_of(tmp_path / "out.gpkg") == rows_of(tmp_path / "whole.gpkg")


@pytest.mark.slow
def test_after_kill_9_the_same_command_goes_on(raster: Path, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "out.gpkg"
    code = (
        "import geoseg\nif __name__ == '__main__':"
        f" geoseg.polygonize({str(raster)!r}, {str(path)!r}, block_size=12, workers=1, simplify=15)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    folder = OutlineFolder(RunFolder(tmp_path / ".out.gpkg.geoseg").outlines)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and (not folder.path.is_dir() or len(folder.journal("trace").places()) < 20):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    traced = folder.journal("trace").places()
    assert 20 <= len(traced) < 18 * 16, "it was not interrupted in the middle"
    (
        folder.path / "0-1-5.pod_1-6614-01234567.tmp.arrow"
    ).touch()  # as a process leaves it that is killed while it writes
    events: list[Any] = []
    result = geoseg.polygonize(
        str(raster), path, client=client, block_size=12, simplify=15, progress=events.append, workers=1
    )
    again = {
        event.place for event in events if isinstance(event, Event) and (event.stage, event.status) == ("trace", "done")
    }
    assert again.isdisjoint(traced)
    assert result.outcome.kept["trace"] == len(traced)
    geoseg.polygonize(str(raster), tmp_path / "whole.gpkg", client=client, simplify=15)
    assert rows_of(path) == rows_of(tmp_path / "whole.gpkg")


def test_what_a_killed_worker_left_unfinished_holds_no_features(tmp_path: Path) -> None:
    folder = OutlineFolder(tmp_path / "outlines")
    assert not folder.prepare({"simplify": 5})
    folder.write_features((0, 1, 5), pa.table({"key": [1]}))
    (folder.path / "0-1-5.pod_1-6614-01234567.tmp.arrow").touch()
    (folder.path / "0-1-5.piece.pod_1-6614-01234567.tmp.npz").touch()
    assert folder.read_features((0, 1, 5)).to_pydict() == {"key": [1]}, "other workers go on when one is killed"
    assert folder.prepare({"simplify": 5})
    assert {path.name for path in folder.path.iterdir()} == {"fingerprint.json", "0-1-5.arrow"}


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"classes": ["forest"]}, WorkflowError, "no class is called 'forest'"),
        ({"simplfy": 3}, WorkflowError, "unknown key 'simplfy'; did you mean 'simplify'"),
        ({"simplify": -1}, WorkflowError, "simplify: -1"),
        ({"region": "0,0,1,1,EPSG:4326"}, GeosegError, "region"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(
    raster: Path, client: Client, tmp_path: Path, settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        geoseg.polygonize(str(raster), tmp_path / "out.gpkg", client=client, **settings)
    assert os.listdir(tmp_path) == [], "nothing was begun, so nothing is left"


def test_shares_are_not_classes_and_a_folder_must_be_there(raster: Path, client: Client, tmp_path: Path) -> None:
    path = write(tmp_path / "floats.tif", np.full((5, 5), 0.5, np.float32))
    with pytest.raises(RasterError, match=r"floats\.tif' holds 0\.5, which is not a 63-bit integer"):
        geoseg.polygonize(str(path), tmp_path / "out.gpkg", client=client)
    with pytest.raises(OutputError, match="does not exist; create it"):
        geoseg.polygonize(str(raster), tmp_path / "nowhere" / "out.gpkg", client=client)


def plan_of(folder: Path, rows: tuple[int, ...], cols: tuple[int, ...], **more: Any) -> OutlinePlan:
    source = RunLabels(RunFolder(folder))
    return OutlinePlan(source, OutlineFolder(folder), rows, cols, TRANSFORM, CRS(CRS_CODE), Shaping(), **more)


def test_every_node_covers_its_children_and_the_root_covers_the_raster(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, (*range(0, 90, 5), 93), (*range(0, 40, 7), 40))
    tree = plan.tree
    assert plan.window(tree.root).shape == (93, 40)
    assert sum(plan.window(block).area for block in tree.blocks()) == 93 * 40
    for node in tree.nodes():
        children = tree.children(node)
        assert sum(plan.window(child).area for child in children) == plan.window(node).area
        assert all(plan.window(node).contains(plan.window(child)) for child in children)


def test_blocks_beside_those_with_labels_are_traced_because_they_own_the_corners(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, tuple(range(0, 60, 10)), tuple(range(0, 60, 10)), places=frozenset({(1, 1)}))
    assert set(plan.tree.blocks()) == {(1, 1), (1, 2), (2, 1), (2, 2)}
    assert plan.tree.exists(plan.tree.root)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), max_size=40), max_size=5),
    st.integers(1, 9),
    st.integers(1, 200),
)
def test_tables_merge_in_the_order_of_their_keys_in_bands_that_are_full(
    parts: list[list[tuple[int, int]]], rows: int, size: int
) -> None:
    tables = [_keyed(sorted(part)) for part in parts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoseg.outlines.merging.AT_ONCE", rows)
        patch.setattr("geoseg.outlines.merging.AT_ONCE_BYTES", size)
        keys = [table.column("key").to_numpy() for table in tables]
        sizes = [pc.binary_length(table.column("geometry")).to_numpy() for table in tables]
        readers = [lambda begin, end, table=table: table.slice(begin, end - begin) for table in tables]
        bands = [table.to_pylist() for table in merge(keys, sizes, readers)]
    found = [(row["key"], len(row["geometry"])) for band in bands for row in band]
    assert [key for key, _ in found] == sorted(key for part in parts for key, _ in part)
    assert sorted(found) == sorted(row for part in parts for row in part)
    for band, following in itertools.pairwise([*bands, []]):
        assert not following or band[-1]["key"] < following[0]["key"], "equal keys stand in one table"
        before = [row for row in band if row["key"] < band[-1]["key"]]
        assert len(before) < rows and sum(len(row["geometry"]) for row in before) < size, "no band holds more than full"


def _keyed(rows: list[tuple[int, int]]) -> pa.Table:
    keys, geometry = [key for key, _ in rows], [bytes(size) for _, size in rows]
    return pa.table({"key": pa.array(keys, pa.int64()), "geometry": pa.array(geometry, pa.binary())})


@pytest.mark.slow
def test_a_face_that_a_region_cuts_into_more_parts_than_are_sorted_at_once_is_written_whole(
    client: Client, tmp_path: Path
) -> None:
    write(tmp_path / "labels.tif", np.ones((64, 64), np.uint8))
    parcels = [
        shapely.box(440_000 + x, 4_200_000 - y - 1, 440_000 + x + 1, 4_200_000 - y)
        for x in range(0, 380, 2)
        for y in range(0, 380, 2)
    ]
    gpd.GeoDataFrame(geometry=parcels, crs=CRS_CODE).to_file(tmp_path / "parcels.fgb")
    result = geoseg.polygonize(
        str(tmp_path / "labels.tif"),
        tmp_path / "parts.parquet",
        client=client,
        region=str(tmp_path / "parcels.fgb"),
        block_size=64,
    )
    assert result.count == len(parcels) == 36_100 > AT_ONCE
    written = pq.ParquetFile(tmp_path / "parts.parquet")
    assert [written.metadata.row_group(n).num_rows for n in range(2)] == [32_768, 36_100 - 32_768]
    assert gpd.read_parquet(tmp_path / "parts.parquet").area.sum() == pytest.approx(36_100)
