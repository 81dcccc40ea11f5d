"""GeoParquet for query engines: row groups that lie together, and Hive folders, read by others' readers."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import shapely
from distributed import Client
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

import geoseg
from geoseg.engine import connect
from geoseg.errors import ExistingOutputError, LayerError, OutputError, VectorError, WorkflowError
from geoseg.report.features import FeatureFile, count_features
from geoseg.vector import stream, write_features
from geoseg.vector.hilbert import hilbert_distances
from geoseg.workflow.results import read_features
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster

UTM = "EPSG:32618"
SIDE = 32


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1, "127.0.0.1:0") as workers:
        yield workers


def squares(pixel: float = 30.0, side: int = SIDE) -> gpd.GeoDataFrame:
    """A chequer of squares in raster order, of three classes."""
    row, col = (axis.ravel() for axis in np.mgrid[:side, :side])
    left, top = 400_000 + pixel * col, 4_100_000 - pixel * row
    number = np.arange(len(row))
    columns: dict[str, Any] = {"class": number * 7 % 3 + 1, "name": [f"Wald {n % 3}" for n in number * 7]}
    columns |= {"area_m2": pixel**2 + number, "perimeter_m": 4 * pixel, "pixels": number, "confidence": 0.5}
    return gpd.GeoDataFrame(columns, geometry=shapely.box(left, top - pixel, left + pixel, top), crs=UTM)


def write(path: Path, table: gpd.GeoDataFrame, **more: Any) -> Path:
    given = pa.table(table.to_arrow(index=False))
    cuts = [given.slice(0, 5), given.slice(5, 300), given.slice(305)]
    assert write_features(path, cuts, layer="land", crs=table.crs, **more) == len(table)
    return path


def bounds_of_groups(path: Path) -> np.ndarray:
    """What the statistics of the bbox say of each row group, shape (group, 4)."""
    metadata = pq.ParquetFile(path).metadata
    found = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        columns = {group.column(i).path_in_schema: group.column(i).statistics for i in range(group.num_columns)}
        low, high = [columns[f"bbox.{name}"].min for name in ("xmin", "ymin")], ("xmax", "ymax")
        found.append([*low, *(columns[f"bbox.{name}"].max for name in high)])
    return np.array(found)


def same(found: gpd.GeoDataFrame, expected: gpd.GeoDataFrame) -> bool:
    """Whether two tables have the same rows, in whatever order."""
    found, expected = (table.sort_values("pixels").reset_index(drop=True) for table in (found, expected))
    return bool((found.geometry == expected.geometry).all()) and all(
        found[name].astype(expected[name].dtype).equals(expected[name]) for name in expected.columns[:-1]
    )


def test_a_small_window_touches_few_row_groups_by_their_statistics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BATCH", 16)
    path, table = write(tmp_path / "land.parquet", squares()), squares()
    groups = bounds_of_groups(path)
    assert len(groups) == SIDE**2 / 16
    window = 400_301.0, 4_099_601.0, 400_389.0, 4_099_689.0  # three squares by three
    hit = (groups[:, :2] < window[2:]).all(axis=1) & (groups[:, 2:] > window[:2]).all(axis=1)
    assert 1 <= hit.sum() <= 4  # of 64; in raster order it is three of bands as wide as the raster
    np.testing.assert_allclose(groups[:, 2:] - groups[:, :2], 120)  # squares of four by four
    found = gpd.read_parquet(path, bbox=window)
    assert same(found, table[table.intersects(shapely.box(*window))])
    rows = ds.dataset(path).scanner(
        filter=(ds.field("bbox", "xmin") < window[2]) & (ds.field("bbox", "xmax") > window[0])
    )
    assert rows.count_rows() == 3 * SIDE


def test_the_curve_goes_from_neighbour_to_neighbour() -> None:
    places, low = np.array([(x, y) for y in range(16) for x in range(16)], float), np.zeros(2)
    steps = np.diff(places[np.argsort(hilbert_distances(places, low, 15))], axis=0)
    assert (np.abs(steps).sum(axis=1) == 1).all()
    assert hilbert_distances(np.full((1, 2), np.nan), low, 15).tolist() == [0]


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=60), st.integers(1, 9), st.integers(1, 60))
def test_the_order_depends_on_the_features_alone(places: list[tuple[int, int]], batch: int, cut: int) -> None:
    """Those in one place stay in the order in which they came."""
    corners = np.array(places, float).reshape(-1, 2)
    frame = squares(side=8).iloc[: len(places)].set_geometry(shapely.box(*corners.T, *(corners + 1).T), crs=UTM)
    files = []
    with pytest.MonkeyPatch.context() as patched, TemporaryDirectory() as folder:
        patched.setattr(stream, "BATCH", batch)
        for name, size in (("a", cut), ("b", 7)):
            path = Path(folder) / f"{name}.parquet"
            pieces = [frame.iloc[start : start + size] for start in range(0, len(frame), size)]
            tables = [pa.table(piece.to_arrow(index=False)) for piece in pieces]
            write_features(path, tables, layer="land", crs=UTM)
            files.append(path.read_bytes())
        found = gpd.read_parquet(path)["pixels"].tolist()
    assert files[0] == files[1]
    low = corners.min(axis=0, initial=50)
    distances = hilbert_distances(corners, low, float((corners - low).max(initial=0)))
    assert found == sorted(range(len(places)), key=lambda number: (distances[number], number))


@pytest.mark.parametrize("partition", ["class", "quadkey"])
def test_folders_are_read_by_pyarrow_and_geopandas(
    tmp_path: Path, partition: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BATCH", 100)
    table = squares(pixel=6_000)
    path = write(tmp_path / "land.parquet", table, partition=partition)
    read = ds.dataset(path, partitioning="hive")
    found = gpd.read_parquet(path)
    assert found.crs == UTM
    assert same(found[table.columns], table)
    if partition == "class":
        assert sorted(file.name for file in path.iterdir()) == ["class=1", "class=2", "class=3"]
        assert read.count_rows(filter=ds.field("class") == 2) == int((table["class"] == 2).sum())
        assert len(list(read.get_fragments(ds.field("class") == 2))) == 1
        assert "class" not in pq.read_schema(path / "class=2" / "part-0.parquet").names
    else:
        keys = [folder.name.removeprefix("quadkey=") for folder in path.iterdir()]
        assert len(keys) > 5
        for key in keys:
            part = gpd.read_parquet(path / f"quadkey={key}" / "part-0.parquet")
            assert {quadkey(*shape.centroid.coords[0]) for shape in part.geometry} == {key}
    for file in path.rglob("*.parquet"):
        geo = json.loads(pq.read_metadata(file).metadata[b"geo"])["columns"]["geometry"]
        np.testing.assert_allclose(geo["bbox"], gpd.read_parquet(file).total_bounds)
    assert sum(item.count for item in count_features(FeatureFile(path, "land")).values()) == len(table)


@pytest.mark.parametrize("name", ["class=7", "class=forest", "quadkey=1"])
def test_folders_above_a_file_are_no_partitions_of_it(tmp_path: Path, name: str) -> None:
    table, folder = squares(side=4), tmp_path / name / "out"
    folder.mkdir(parents=True)
    expected = table["class"].value_counts().to_dict()
    for file, partition in (("one.parquet", None), ("parts.parquet", "class")):
        path = write(folder / file, table, partition=partition)
        assert {value: item.count for value, item in count_features(FeatureFile(path, "land")).items()} == expected
        found = read_features([path])
        assert set(found.columns) - {"bbox"} == set(table.columns)
        assert same(found[table.columns], table)


def quadkey(x: float, y: float, zoom: int = 9) -> str:
    """As Bing Maps' tile system defines it, digit by digit."""
    lon, lat = Transformer.from_crs(UTM, 4326, always_xy=True).transform(x, y)
    sine = math.sin(math.radians(lat))
    column = int((lon + 180) / 360 * 2**zoom)
    row = int((0.5 - math.log((1 + sine) / (1 - sine)) / (4 * math.pi)) * 2**zoom)
    return "".join(str((column >> bit & 1) + 2 * (row >> bit & 1)) for bit in reversed(range(zoom)))


@pytest.mark.parametrize("partition", ["class", "quadkey"])
def test_duckdb_reads_folders_and_skips_what_it_does_not_need(tmp_path: Path, partition: Any) -> None:
    table = squares(pixel=6_000)
    path = write(tmp_path / "land.parquet", table, partition=partition)
    connection = duckdb.connect()
    source = f"read_parquet('{path}/**/*.parquet', hive_partitioning = true)"
    query = f"select count(*), sum(area_m2) from {source} where class = 2"  # noqa: S608 - of a test
    count, area = connection.execute(query).fetchone()
    chosen = table[table["class"] == 2]
    assert (count, area) == (len(chosen), pytest.approx(chosen["area_m2"].sum()))
    if partition == "class":
        text = str(connection.execute(f"explain analyze {query}").fetchall())
        assert "Scanning Files: 1/3" in text


def test_no_features_are_a_folder_with_the_columns(tmp_path: Path) -> None:
    write(tmp_path / "land.parquet", squares().iloc[:0], partition="class")
    found = gpd.read_parquet(tmp_path / "land.parquet")
    assert len(found) == 0
    assert (found.crs, "name" in found.columns, "class" in found.columns) == (UTM, True, True)


def test_polygonize_writes_the_same_folders_for_every_layout_and_replaces_its_own_alone(
    tmp_path: Path, client: Client
) -> None:
    labels = np.random.default_rng(0).integers(1, 4, (1, 16, 16)).repeat(2, 1).repeat(2, 2).astype(np.uint8)
    raster, path = write_raster(tmp_path / "labels.tif", labels, transform=TEN_METRES), tmp_path / "a.parquet"
    contents = []
    for size in (8, 32):
        geoseg.polygonize(raster, path, block_size=size, partition="class", client=client)
        contents.append({file.relative_to(path): file.read_bytes() for file in path.rglob("*") if file.is_file()})
    assert contents[0] == contents[1]
    geoseg.polygonize(raster, tmp_path / "one.parquet", client=client)
    expected = gpd.read_parquet(tmp_path / "one.parquet")
    found = gpd.read_parquet(path)[expected.columns]
    assert sorted(found.geometry.to_wkb()) == sorted(expected.geometry.to_wkb())
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.parquet", "labels.tif", "one.parquet"]
    with pytest.raises(OutputError, match=r"a\.parquet' is a folder; remove it, or choose another name"):
        geoseg.polygonize(raster, path, client=client)
    with pytest.raises(
        WorkflowError, match=r"partition: class is of GeoParquet, and 'a\.gpkg' is none; name a file with"
    ):
        geoseg.polygonize(raster, tmp_path / "a.gpkg", partition="class", client=client)
    (path / "notes.txt").write_text("mine")
    with pytest.raises(
        ExistingOutputError, match=r"a folder that holds 'notes\.txt'; remove it, or choose another name"
    ):
        geoseg.polygonize(raster, path, partition="class", client=client)
    theirs = tmp_path / "theirs.parquet"
    pq.write_to_dataset(
        pa.table({"class": [1, 2]}), theirs, partition_cols=["class"], basename_template="part-{i}.parquet"
    )
    with pytest.raises(LayerError, match="is there and geoseg did not write it"):
        geoseg.polygonize(raster, theirs, partition="class", client=client)
    plain = write_raster(tmp_path / "plain.tif", labels, crs=None, transform=TEN_METRES)
    with pytest.raises(VectorError, match="quadkeys are of places on earth"):
        geoseg.polygonize(plain, tmp_path / "b.parquet", partition="quadkey", crs="local", client=client)


def test_a_run_writes_folders_shows_them_and_knows_them_again(tmp_path: Path, client: Client) -> None:
    scene = write_raster(tmp_path / "scene.tif", noise(2, 96, 96))
    given: dict[str, Any] = {
        "input": str(scene),
        "model": str(write_model(tmp_path / "model", Box(1), name="box", halo=3)),
    }
    given |= {"output": str(tmp_path / "out"), "ramp": 8, "features": ["a.parquet"], "client": client}
    assert (tmp_path / "out" / "a.parquet").exists() is False
    geoseg.run(**given)
    assert (tmp_path / "out" / "a.parquet").is_file()
    count = len(gpd.read_parquet(tmp_path / "out" / "a.parquet"))
    result = geoseg.run(**given, partition="class")
    assert len(result.features) == count
    assert geoseg.run(**given, partition="class").is_unchanged
    of_plan = {key: value for key, value in given.items() if key != "client"}
    assert geoseg.plan(**of_plan, partition="class") is not None
    path = tmp_path / "out" / "a.parquet"
    part = next(path.glob("class=*/part-0.parquet"))
    whole = part.read_bytes()
    part.write_bytes(whole[:-9])
    assert not geoseg.run(**given, partition="class").is_unchanged
    assert part.read_bytes() == whole, "what is damaged is no edit, and is written again"
    pq.write_table(pq.read_table(part).slice(1), part)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"a\.parquet' is a folder; remove it"):
            geoseg.plan(**of_plan, overwrite=overwrite)
    part.write_bytes(whole)
    result = geoseg.run(**given)
    assert (path.is_file(), len(result.features)) == (True, count), "a run may go back to a single file"
    assert not [item.name for item in path.parent.iterdir() if ".tmp" in item.name]
    other = tmp_path / "other"
    write(tmp_path / "land.parquet", squares(side=8), partition="class")
    other.mkdir()
    (tmp_path / "land.parquet").rename(other / "a.parquet")
    with pytest.raises(ExistingOutputError, match=r"a\.parquet is there and is no result of a run in"):
        geoseg.run(**given | {"output": str(other)}, partition="class")
    with pytest.raises(OutputError, match=r"a\.parquet' is a folder; remove it"):
        geoseg.plan(**of_plan | {"output": str(other)}, overwrite=True)
