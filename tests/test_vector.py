"""Every format written and read back, and regions asked for pixels, against GDAL."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
import shapely.geometry
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from rasterio.features import geometry_mask

from geoseg.errors import CrsError, FormatWarning, InputNotFoundError, OutputError, RegionError, VectorError
from geoseg.grid import Window
from geoseg.vector import (
    COLUMNS,
    FORMATS,
    Region,
    StyledClass,
    check_format,
    place_region,
    pmtiles,
    read_region,
    shapefile,
    stream,
    wkb,
    write_features,
)

UTM = "EPSG:32618"
ENDINGS = list(FORMATS)
LAYERS = [ending for ending in ENDINGS if ending != ".pmtiles"]
"""Formats that give back what they got; tiles cut it into pieces."""

LONG = {short: name for name, short in shapefile.KNOWN.items()}


def squares(count: int, crs: str = UTM, left: float = 400_000, top: float = 4_100_000) -> gpd.GeoDataFrame:
    """Squares with a hole each, counter-clockwise."""
    outer = [shapely.box(left + 30 * i, top, left + 30 * i + 30, top + 30) for i in range(count)]
    geometry = [shapely.orient_polygons(square - square.buffer(-10)) for square in outer]
    names = [f"Wässer 水 {i}" for i in range(count)]
    columns = {"class": np.arange(count, dtype=np.int32), "name": np.array(names, object)}
    columns |= {"area_m2": np.arange(count) + 0.25, "perimeter_m": np.full(count, 160.5)}
    columns |= {"pixels": np.arange(count) + 2**40, "confidence": np.linspace(0, 1, count).round(4)}
    return gpd.GeoDataFrame(columns, geometry=geometry, crs=crs)


def arrow(table: gpd.GeoDataFrame) -> pa.Table:
    return pa.table(table.to_arrow(index=False))


def read(path: Path) -> gpd.GeoDataFrame:
    return gpd.read_parquet(path) if path.suffix == ".parquet" else pyogrio.read_dataframe(path)


def in_order(table: gpd.GeoDataFrame) -> gpd.GeoDataFrame:
    return table.sort_values("class").reset_index(drop=True)


@pytest.mark.parametrize("ending", [ending for ending in LAYERS if ending != ".geojson"])
def test_what_is_written_is_read_back(tmp_path: Path, ending: str) -> None:
    path, table = tmp_path / f"land{ending}", squares(7)
    assert (
        write_features(
            path, [arrow(table.iloc[:3]), arrow(table.iloc[3:3]), arrow(table.iloc[3:])], layer="land_use", crs=UTM
        )
        == 7
    )
    back = in_order(read(path)).rename(columns=LONG)
    assert list(back.columns) == [*COLUMNS, "geometry"]
    assert back.crs == UTM
    assert {name: str(back[name].dtype) for name in COLUMNS} == COLUMNS
    for name in COLUMNS:
        assert back[name].tolist() == table[name].tolist()
    assert shapely.equals_exact(
        shapely.normalize(back.geometry.to_numpy()), shapely.normalize(table.geometry.to_numpy())
    ).all()


@pytest.mark.parametrize("ending", LAYERS)
def test_no_features_are_a_valid_empty_layer_with_its_columns(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"land{ending}"
    assert write_features(path, [], layer="land_use", crs=UTM) == 0
    back = read(path)
    assert len(back) == 0
    if ending == ".geojson":
        assert json.loads(path.read_text())["features"] == []
    else:
        assert list(back.rename(columns=LONG).columns) == [*COLUMNS, "geometry"]
        assert back.crs == UTM


@pytest.mark.parametrize("ending", LAYERS)
def test_multipolygons_go_into_a_layer_of_multipolygons(tmp_path: Path, ending: str) -> None:
    table = squares(3)
    table.loc[1, "geometry"] = shapely.MultiPolygon([table.geometry[1], shapely.box(0, 0, 10, 10)])
    path = tmp_path / f"land{ending}"
    with pytest.raises(VectorError, match="MultiPolygon"):
        write_features(path, [arrow(table)], layer="land_use", crs=UTM)
    assert os.listdir(tmp_path) == []
    write_features(path, [arrow(table)], layer="land_use", crs=UTM, geometry_type="MultiPolygon")
    expected = table.to_crs(4326 if ending == ".geojson" else UTM).geometry.to_numpy()
    np.testing.assert_allclose(
        shapely.area(in_order(read(path)).geometry.to_numpy()), shapely.area(expected), rtol=1e-3
    )


@pytest.mark.parametrize("ending", [".parquet", ".fgb", ".shp", ".geojson", ".pmtiles"])
def test_bytes_do_not_depend_on_how_the_features_came(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BATCH", 4)
    table = squares(23)
    for folder, cut in (("one", 23), ("two", 5)):
        (tmp_path / folder).mkdir()
        batches = [arrow(part) for part in (table.iloc[:cut], table.iloc[cut : cut + 1], table.iloc[cut + 1 :])]
        write_features(tmp_path / folder / f"land{ending}", batches, layer="land_use", crs=UTM)
    written = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in written)


def test_a_geopackage_has_its_layer_and_a_spatial_index(tmp_path: Path) -> None:
    path = tmp_path / "land.gpkg"
    write_features(path, [arrow(squares(5))], layer="land_use", crs=UTM)
    assert pyogrio.list_layers(path).tolist() == [["land_use", "Polygon"]]
    assert pyogrio.read_info(path)["capabilities"]["fast_spatial_filter"]
    found = pyogrio.read_dataframe(path, bbox=(400_031, 4_100_001, 400_032, 4_100_002))
    assert found["class"].tolist() == [1]


def test_geoparquet_has_metadata_row_groups_and_a_covering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BATCH", 4)
    path = tmp_path / "land.parquet"
    write_features(path, [arrow(squares(10))], layer="land_use", crs=UTM)
    file = pq.ParquetFile(path)
    assert file.num_row_groups == 3
    geo = json.loads(file.schema_arrow.metadata[b"geo"] if b"geo" in (file.schema_arrow.metadata or {}) else
                     file.metadata.metadata[b"geo"])  # fmt: skip
    column = geo["columns"]["geometry"]
    assert (geo["version"], column["encoding"], column["geometry_types"]) == ("1.1.0", "WKB", ["Polygon"])
    assert column["bbox"] == [400_000, 4_100_000, 400_300, 4_100_030]
    assert CRS.from_json_dict(column["crs"]) == UTM
    assert gpd.read_parquet(path, bbox=(400_031, 4_100_001, 400_032, 4_100_002))["class"].tolist() == [1]


def test_a_shapefile_has_its_companions_and_no_warning_where_everything_fits(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_features(tmp_path / "land.shp", [arrow(squares(2))], layer="land_use", crs=UTM)
    assert sorted(os.listdir(tmp_path)) == ["land.cpg", "land.dbf", "land.prj", "land.shp", "land.shx"]
    assert (tmp_path / "land.cpg").read_text() == "UTF-8"


def test_numbers_of_a_shapefile_are_no_wider_than_a_database_takes(tmp_path: Path) -> None:
    """PostGIS makes a column NUMERIC(width, decimals) of the header, in which a country in m2 has to find room."""
    table = squares(4).assign(area_m2=[4e11, 1234567890.12361, np.nan, 0.00004])
    write_features(tmp_path / "land.shp", [arrow(table)], layer="land_use", crs=UTM)
    header = (tmp_path / "land.dbf").read_bytes()
    fields = [header[start : start + 32] for start in range(32, int.from_bytes(header[8:10], "little") - 1, 32)]
    numbers = {field[:11].rstrip(b"\0"): (field[16], field[17]) for field in fields}
    width, decimals = numbers[b"area_m2"]
    assert (decimals, width - decimals > 12) == (4, True)
    found = read(tmp_path / "land.shp")["area_m2"].tolist()
    np.testing.assert_allclose(found, [4e11, 1234567890.1236, np.nan, 0.0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("ending", [".shp", ".shx", ".dbf"])
def test_every_cut_of_a_shapefile_is_noticed_and_a_row_less_is_not(tmp_path: Path, ending: str) -> None:
    table = gpd.GeoDataFrame({"class": [1, 2, 3]}, geometry=[shapely.box(n, 0, n + 1, 1) for n in range(3)], crs=32618)
    table.to_file(tmp_path / "a.shp")
    file = tmp_path / f"a{ending}"
    whole = file.read_bytes()
    assert shapefile.is_whole(tmp_path / "a.shp")
    for length in range(len(whole) - 1):  # the last byte of a .dbf is a mark of its end
        file.write_bytes(whole[:length])
        assert not shapefile.is_whole(tmp_path / "a.shp")
    file.unlink()
    assert not shapefile.is_whole(tmp_path / "a.shp")
    table[1:].to_file(tmp_path / "a.shp")
    assert shapefile.is_whole(tmp_path / "a.shp")


def test_a_shapefile_says_which_names_and_texts_it_shortened(tmp_path: Path) -> None:
    table = squares(2).assign(confidence_mean=0.5, confidence_most=1.0, remark=["水" * 100, "short"])
    columns = dict.fromkeys(["confidence_mean", "confidence_most"], "float64") | {"remark": "str"}
    with pytest.warns(FormatWarning, match="'confidence_most' is called 'confiden_1', 1 texts are cut") as caught:
        write_features(tmp_path / "land.shp", [arrow(table)], layer="land_use", crs=UTM, columns=columns)
    assert len(caught) == 1
    back = read(tmp_path / "land.shp")
    assert list(back.columns) == ["confidence", "confiden_1", "remark", "geometry"]
    assert back["remark"].tolist() == ["水" * 84, "short"]


def test_a_shapefile_says_that_it_loses_a_shift_of_its_crs(tmp_path: Path) -> None:
    shifted = "+proj=utm +zone=33 +ellps=intl +towgs84=-104.1,-49.1,-9.9,0.971,-2.917,0.714,-11.68 +units=m +type=crs"
    with pytest.warns(FormatWarning, match=r"its CRS loses the shift to WGS 84 \(TOWGS84\).*; write \.gpkg to keep"):
        write_features(
            tmp_path / "land.shp", [arrow(squares(2).set_crs(shifted, allow_override=True))], layer="a", crs=shifted
        )
    places = (
        Transformer.from_crs(shifted, 4326),
        Transformer.from_crs(pyogrio.read_info(tmp_path / "land.shp")["crs"], 4326),
    )
    kept, lost = (np.array(place.transform(400_000, 4_100_000)) for place in places)
    assert np.abs(kept - lost).max() * 111_000 > 30


@given(st.lists(st.text(min_size=1, max_size=20), unique_by=str.lower, max_size=30))
def test_short_names_are_short_and_differ(names: list[str]) -> None:
    short = shapefile.short_names(names)
    assert list(short) == names
    assert all(len(name.encode()) <= 10 for name in short.values())
    assert len({name.lower() for name in short.values()}) == len(names)


def test_a_shapefile_is_refused_before_it_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapefile, "FILE_BYTES", 40_000)
    monkeypatch.setattr(stream, "BATCH", 10)
    with pytest.raises(VectorError, match=r"2 GB.*\.gpkg"):
        write_features(tmp_path / "land.shp", [arrow(squares(300))], layer="land_use", crs=UTM)
    assert os.listdir(tmp_path) == []


def test_the_size_that_is_reckoned_is_never_below_the_file(tmp_path: Path) -> None:
    table = squares(200)
    features = stream.FeatureStream([arrow(table)], CRS(UTM), COLUMNS, "Polygon")
    fitting = shapefile.ShapefileFit("land.shp", features.schema, CRS(32618))
    list(fitting.fit(features.record_batches()))
    write_features(tmp_path / "land.shp", [arrow(table)], layer="land_use", crs=UTM)
    assert fitting.shp_bytes + 100 >= (tmp_path / "land.shp").stat().st_size
    assert fitting.dbf_bytes + 4_096 >= (tmp_path / "land.dbf").stat().st_size


def features_of(path: Path) -> list[shapely.Geometry]:
    collection = json.loads(path.read_text(encoding="utf-8"))
    assert "crs" not in collection
    return [shapely.geometry.shape(feature["geometry"]) for feature in collection["features"]]


def test_geojson_is_wgs84_to_7_decimals_with_exteriors_counter_clockwise(tmp_path: Path) -> None:
    path, table = tmp_path / "land.geojson", squares(3)
    clockwise = table.set_geometry(shapely.orient_polygons(table.geometry.to_numpy(), exterior_cw=True))
    write_features(path, [arrow(clockwise)], layer="land_use", crs=UTM)
    for polygon, expected in zip(features_of(path), table.to_crs(4326).geometry, strict=True):
        assert polygon.exterior.is_ccw
        assert not polygon.interiors[0].is_ccw
        assert shapely.hausdorff_distance(polygon, expected) < 2e-7
        assert all(round(number, 7) == number for number in shapely.get_coordinates(polygon).ravel())
    assert json.loads(path.read_text(encoding="utf-8"))["features"][1]["properties"] == {
        "class": 1, "name": "Wässer 水 1", "area_m2": 1.25, "perimeter_m": 160.5, "pixels": 2**40 + 1,
        "confidence": 0.5,
    }  # fmt: skip


def test_geojson_is_cut_at_the_antimeridian(tmp_path: Path) -> None:
    table = squares(1, "EPSG:3832", left=0).set_geometry([shapely.box(3_300_000, 0, 3_400_000, 90_000)])
    write_features(tmp_path / "land.geojson", [arrow(table)], layer="land_use", crs="EPSG:3832")
    (feature,) = features_of(tmp_path / "land.geojson")
    assert feature.is_valid
    west, east = sorted(feature.geoms, key=lambda part: part.bounds[0])
    assert (west.bounds[0], east.bounds[2]) == (-180, 180)
    assert west.bounds[2] - -180 + 180 - east.bounds[0] == pytest.approx(100_000 / 111_319.49, rel=1e-6)


def test_long_edges_stay_in_place_in_geojson(tmp_path: Path) -> None:
    """An edge of 100 km in UTM is bent in degrees: by its ends alone its middle would be 150 m away."""
    table = squares(1).set_geometry([shapely.box(600_000, 4_900_000, 700_000, 4_900_010)])
    write_features(tmp_path / "land.geojson", [arrow(table)], layer="land_use", crs=UTM)
    (polygon,) = features_of(tmp_path / "land.geojson")
    (middle,) = gpd.GeoSeries([shapely.Point(650_000, 4_900_005)], crs=UTM).to_crs(4326)
    assert polygon.contains(middle)


def test_geojson_of_another_planet_is_refused(tmp_path: Path) -> None:
    mars = "+proj=longlat +a=3396190 +b=3376200"
    with pytest.raises(VectorError, match="on earth"):
        write_features(tmp_path / "land.geojson", [], layer="land_use", crs=mars)
    write_features(tmp_path / "land.gpkg", [arrow(squares(1, mars, 0, 0))], layer="land_use", crs=mars)
    assert read(tmp_path / "land.gpkg").crs.ellipsoid.semi_major_metre == 3_396_190


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_run_that_fails_leaves_what_was_there(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"land{ending}"
    write_features(path, [arrow(squares(2))], layer="land_use", crs=UTM)
    before = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def failing() -> Iterator[pa.Table]:
        yield arrow(squares(5))
        raise VectorError("stop here")

    with pytest.raises(VectorError, match="stop here"):
        write_features(path, failing(), layer="land_use", crs=UTM)
    assert {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)} == before


@pytest.mark.parametrize("ending", [ending for ending in ENDINGS if ending != ".gpkg"])
def test_a_file_that_is_there_is_replaced_with_its_companions(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"land{ending}"
    write_features(path, [arrow(squares(9))], layer="old", crs=UTM)
    stale, own = tmp_path / {".shp": "land.qix"}.get(ending, "other"), tmp_path / "land.shp.xml"
    stale.write_text("of the old file")
    own.write_text("what somebody wrote of the file")
    write_features(path, [arrow(squares(2))], layer="land_use", crs=UTM)
    assert len(read(path)) == 2
    assert stale.exists() == (stale.name == "other")
    assert own.exists()


def test_a_geopackage_that_is_gone_leaves_no_journal_to_the_next(tmp_path: Path) -> None:
    (tmp_path / "land.gpkg-journal").write_text("of a file that somebody has deleted")
    write_features(tmp_path / "land.gpkg", [arrow(squares(2))], layer="land_use", crs=UTM)
    assert os.listdir(tmp_path) == ["land.gpkg"]


def test_an_unknown_ending_names_the_known_ones() -> None:
    with pytest.raises(VectorError, match=r"'\.kml'.*\.gpkg, \.parquet, \.fgb, \.shp, \.geojson, \.pmtiles"):
        check_format(Path("out/land.kml"))
    assert check_format(Path("out/LAND.GPKG")).name == "GPKG"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, ending: str) -> None:
    for path in (tmp_path / "missing" / f"land{ending}", tmp_path / f"taken{ending}"):
        (tmp_path / f"taken{ending}").mkdir(exist_ok=True)
        with pytest.raises(OutputError, match=path.name):
            write_features(path, [arrow(squares(1))], layer="land_use", crs=UTM)
    assert os.listdir(tmp_path) == [f"taken{ending}"]


def test_features_that_do_not_fit_the_layer_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "land.gpkg"
    with pytest.raises(VectorError, match="project them first"):
        write_features(path, [arrow(squares(1, "EPSG:4326", 0, 0))], layer="land_use", crs=UTM)
    with pytest.raises(VectorError, match="no column 'area_m2'"):
        write_features(path, [arrow(squares(1).drop(columns="area_m2"))], layer="land_use", crs=UTM)
    with pytest.raises(CrsError, match="without a CRS"):
        write_features(path, [], layer="land_use", crs=None)


def test_numbers_that_are_missing_are_null(tmp_path: Path) -> None:
    for ending in ENDINGS:
        table = squares(2)
        table.loc[1, "area_m2"] = np.nan
        write_features(tmp_path / f"land{ending}", [arrow(table)], layer="land_use", crs=UTM)
        assert np.isnan(in_order(read(tmp_path / f"land{ending}"))["area_m2"]).tolist() == [False, True]


# Arrow ----------------------------------------------------------------------------------------------------------------


def test_features_that_are_no_table_or_have_other_types_are_refused(tmp_path: Path) -> None:
    path, table = tmp_path / "land.gpkg", squares(2)
    with pytest.raises(VectorError, match=r"GeoDataFrame where .* Table.*to_arrow"):
        write_features(path, [table], layer="land_use", crs=UTM)
    with pytest.raises(VectorError, match="'class' is double and cannot be written as int64"):
        write_features(path, [arrow(table.assign(**{"class": 0.5}))], layer="land_use", crs=UTM)
    broken = arrow(table).drop_columns("geometry").append_column("geometry", pa.array([b"\x01\x03", b"no"]))
    with pytest.raises(VectorError, match="no WKB"):
        write_features(path, [broken], layer="land_use", crs=UTM)
    nothing = arrow(table).drop_columns("geometry").append_column("geometry", pa.nulls(2, pa.binary()))
    with pytest.raises(VectorError, match="is a nothing"):
        write_features(path, [nothing], layer="land_use", crs=UTM)
    assert os.listdir(tmp_path) == []


def test_a_table_from_elsewhere_is_fitted_to_the_layer(tmp_path: Path) -> None:
    """Wider types, other columns and another order, heights and big-endian geometry."""
    table = squares(3)
    raised = shapely.to_wkb(shapely.force_3d(table.geometry.to_numpy(), 7.0), byte_order=0)
    elsewhere = pa.table({"more": [1, 2, 3], "geometry": pa.array(raised, pa.large_binary())})
    for name in reversed(COLUMNS):
        elsewhere = elsewhere.append_column(name, pa.array(table[name].tolist()))
    write_features(tmp_path / "land.gpkg", [elsewhere], layer="land_use", crs=UTM)
    back = read(tmp_path / "land.gpkg")
    assert {name: str(back[name].dtype) for name in COLUMNS} == COLUMNS
    assert not shapely.has_z(back.geometry.to_numpy()).any()
    assert shapely.equals(back.geometry.to_numpy(), table.geometry.to_numpy()).all()


FLAVOURS: list[dict[str, object]] = [
    {"byte_order": order, "output_dimension": dimension, "flavor": flavor}
    for order in (0, 1) for dimension in (2, 3) for flavor in ("iso", "extended")
]  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(FLAVOURS), st.booleans(), st.booleans()), max_size=8), st.integers(0, 8))
def test_wkb_of_any_flavour_becomes_plain(kinds: list[tuple[dict[str, object], bool, bool]], cut: int) -> None:
    ring = [(0, 0, 1), (4, 0, 1), (4, 3, 1)]
    polygons = [shapely.Polygon(ring, [ring] if holes else []) for _, _, holes in kinds]
    given_geometry = [
        shapely.MultiPolygon([polygon]) if multi else polygon
        for polygon, (_, multi, _) in zip(polygons, kinds, strict=True)
    ]
    blobs = [shapely.to_wkb(shape, **kind) for shape, (kind, _, _) in zip(given_geometry, kinds, strict=True)]
    column = pa.chunked_array([pa.array(blobs[:cut], pa.binary()), pa.array(blobs[cut:], pa.binary())])
    promoted = wkb.of_type(column, "MultiPolygon")
    expected = [shapely.MultiPolygon([shapely.force_2d(polygon)]) for polygon in polygons]
    assert promoted.to_pylist() == [shapely.to_wkb(shape, byte_order=1) for shape in expected]
    if any(multi for _, multi, _ in kinds):
        with pytest.raises(VectorError, match="is a MultiPolygon"):
            wkb.of_type(column, "Polygon")
    else:
        plain = [shapely.to_wkb(shapely.force_2d(shape), byte_order=1) for shape in polygons]
        assert wkb.of_type(column, "Polygon").to_pylist() == plain


@given(st.lists(st.integers(3, 40), max_size=60), st.lists(st.integers(0, 60), max_size=5), st.integers(1, 9))
def test_batches_depend_on_the_features_alone(corners: list[int], cuts: list[int], batch: int) -> None:
    wkbs = [
        shapely.to_wkb(shapely.Point(i, 0).buffer(1).segmentize(10 / n), byte_order=1) for i, n in enumerate(corners)
    ]
    table = pa.table({"class": pa.array(range(len(wkbs)), pa.int32()), "geometry": pa.array(wkbs, pa.binary())})
    ends = sorted({0, len(wkbs), *(min(cut, len(wkbs)) for cut in cuts)})
    parts = [table.slice(start, end - start) for start, end in itertools.pairwise(ends)]

    def batches(tables: list[pa.Table]) -> list[pa.RecordBatch]:
        features = stream.FeatureStream(tables, CRS(UTM), {"class": "int32"}, "Polygon")
        found = list(features.record_batches())
        assert features.count == len(wkbs)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "BATCH", batch)
        patch.setattr(stream, "BATCH_BYTES", 6_000)
        whole = batches([table])
        assert batches(parts) == whole
    sizes = [[len(blob) for blob in found["geometry"].to_pylist()] for found in whole]
    assert all(len(size) <= batch and sum(size[:-1]) < 6_000 for size in sizes)
    assert all(len(size) == batch or sum(size) >= 6_000 for size in sizes[:-1])
    assert [number for found in whole for number in found["class"].to_pylist()] == list(range(len(wkbs)))


# PMTiles --------------------------------------------------------------------------------------------------------------


def test_tiles_hold_the_features_up_to_the_zoom_of_their_pixels(tmp_path: Path) -> None:
    path, table = tmp_path / "land.pmtiles", squares(40)
    write_features(path, [arrow(table)], layer="land_use", crs=UTM)
    (layer,) = pyogrio.list_layers(path)[:, 0]
    about = pyogrio.read_info(path)["dataset_metadata"]
    assert (layer, about["minzoom"], about["maxzoom"]) == ("land_use", "6", "12")
    back = read(path)
    assert back.crs == "EPSG:3857"
    assert set(back.columns) >= {*COLUMNS}
    area = back.dissolve("class").area
    np.testing.assert_allclose(area, table.to_crs(3857).set_index("class").area, rtol=0.2)
    assert area.sum() == pytest.approx(table.to_crs(3857).area.sum(), rel=0.02)
    assert sorted(back["name"].unique()) == sorted(table["name"])


@pytest.mark.parametrize("crs", ["EPSG:32660", "EPSG:32601", "EPSG:4326", "EPSG:3832"])
def test_tiles_are_cut_at_the_antimeridian(tmp_path: Path, crs: str) -> None:
    table = squares(9)
    degrees = [shapely.box(179.98 + 0.005 * k, 10, 179.984 + 0.005 * k, 10.004) for k in range(9)]
    degrees[3] = (
        degrees[3].union(shapely.box(179.99, 10.01, 180.02, 10.05)).difference(shapely.box(180.0, 10.02, 180.01, 10.03))
    )
    there = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    own = (
        degrees
        if crs == "EPSG:4326"
        else [shapely.transform(one, there.transform, interleaved=False) for one in degrees]
    )
    table = gpd.GeoDataFrame(table.drop(columns="geometry"), geometry=own, crs=crs)
    path = tmp_path / "land.pmtiles"
    write_features(path, [arrow(table)], layer="land_use", crs=CRS(crs), geometry_type="MultiPolygon")
    back = read(path)
    half = 20_037_508.343
    left, _, right, _ = back.bounds.to_numpy().T
    assert left.min() == pytest.approx(-half, abs=5)
    assert right.max() == pytest.approx(half, abs=5)
    assert (right - left).max() < 3_000
    expected = gpd.GeoSeries(degrees).scale(111_319.49, 111_319.49 / np.cos(np.radians(10)), origin=(0, 0)).area
    found = back.dissolve("class").area
    np.testing.assert_allclose(found, expected, rtol=0.2)  # a tile has four steps in an edge
    assert found.sum() == pytest.approx(expected.sum(), rel=0.02)


def test_crowded_tiles_are_told_of_in_our_words_and_other_warnings_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def warn(path: Path, *_: object, **__: object) -> None:
        path.touch()
        warnings.warn("At least one tile exceeded the default maximum tile size", RuntimeWarning, stacklevel=2)
        warnings.warn("something else", RuntimeWarning, stacklevel=2)

    monkeypatch.setattr(pmtiles, "write_layer", warn)
    with pytest.warns() as caught:
        write_features(tmp_path / "land.pmtiles", [arrow(squares(1))], layer="land_use", crs=UTM)
    assert [warning.category for warning in caught] == [FormatWarning, RuntimeWarning]
    assert str(caught[0].message).startswith("'land.pmtiles' shows crowded tiles coarser")
    assert str(caught[1].message) == "something else"


def test_tiles_without_a_feature_are_one_empty_tile_that_gdal_opens(tmp_path: Path) -> None:
    path = tmp_path / "land.pmtiles"
    assert write_features(path, [], layer="Wässer", crs=UTM) == 0
    assert pyogrio.list_layers(path)[:, 0].tolist() == ["Wässer"]
    back = read(path)
    assert len(back) == 0
    assert set(back.columns) >= {*COLUMNS}


@given(st.floats(0.01, 1e5), st.floats(-70, 70))
def test_the_largest_zoom_is_the_first_that_shows_a_quarter_of_a_pixel(pixel: float, latitude: float) -> None:
    """In degrees: a step of a tile is 360 / 4096 / 2**zoom degrees of longitude."""
    size = pixel / 111_320
    lon = 10 + size * np.arange(20)
    table = shapely.box(lon, latitude, lon + size, latitude + 2 * size)
    smallest, largest = pmtiles.zooms(table, Transformer.from_crs(4326, 3857, always_xy=True))
    fits = [zoom for zoom in range(23) if 360 / 4096 / 2**zoom <= size / 4 * (1 + 1e-6)]
    assert largest == (fits[0] if fits else 22)
    assert smallest == max(largest - 6, 0)


def test_tiles_that_cannot_be_written_are_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, mars = tmp_path / "land.pmtiles", "+proj=longlat +a=3396190 +b=3376200"
    with pytest.raises(VectorError, match="on earth"):
        write_features(path, [arrow(squares(1, mars, 0, 0))], layer="land_use", crs=mars)
    monkeypatch.setattr(pyogrio, "list_drivers", lambda: {"PMTiles": "r"})
    with pytest.raises(VectorError, match=r"cannot write PMTiles.*wheel"):
        write_features(path, [arrow(squares(1))], layer="land_use", crs=UTM)
    assert os.listdir(tmp_path) == []


# Regions --------------------------------------------------------------------------------------------------------------


@st.composite
def stars(draw: st.DrawFn) -> shapely.MultiPolygon:
    """Jagged polygons, valid, with holes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 40)))
    radius = rng.uniform(5, 60, len(angles))
    outline = np.column_stack([50 + radius * np.cos(angles), 40 + radius * np.sin(angles)])
    star = shapely.make_valid(shapely.Polygon(outline)) - shapely.Point(50, 40).buffer(rng.uniform(0, 20))
    parts = [part for part in shapely.get_parts(star) if part.geom_type == "Polygon"]
    return shapely.MultiPolygon(parts or [shapely.box(0, 0, 30.3, 20.7)])


def transforms() -> st.SearchStrategy[Affine]:
    return st.sampled_from(
        [
            Affine(1, 0, -3, 0, -1, 90),
            Affine(1.7, 0, 2.3, 0, 0.6, -40),
            Affine(0.78, 0.6, 3, 0.45, -1.04, 8),
            Affine(-1.9, 0.6, 90, -0.6, -1.9, 80),
        ]
    )


@given(stars(), transforms())
def test_a_mask_is_that_of_gdal(star: shapely.MultiPolygon, transform: Affine) -> None:
    window = Window(-70, -60, 150, 170)
    t = transform
    corner = t.a * window.x + t.b * window.y + t.c, t.d * window.x + t.e * window.y + t.f
    moved = Affine(t.a, t.b, corner[0], t.d, t.e, corner[1])
    expected = geometry_mask([star], window.shape, moved, invert=True)
    np.testing.assert_array_equal(Region(star, CRS(UTM)).mask(window, transform), expected)


@given(stars(), transforms(), st.integers(-20, 60), st.integers(-20, 60), st.integers(1, 40), st.integers(1, 40))
def test_a_pixel_is_inside_or_not_whatever_the_window(
    star: shapely.MultiPolygon, transform: Affine, y: int, x: int, height: int, width: int
) -> None:
    region, window = Region(star, CRS(UTM)), Window(y, x, height, width)
    around = Window(-100, -100, 250, 250)
    mask = region.mask(window, transform)
    np.testing.assert_array_equal(mask, region.mask(around, transform)[window.relative_to(around).slices()])
    assert region.touches(window, transform) >= mask.any()


@given(stars(), st.sampled_from([1.0, 4.0]), st.sampled_from([0.0, 0.25]))
def test_touched_pixels_are_those_whose_open_square_meets_the_region(
    star: shapely.MultiPolygon, grid: float, shift: float
) -> None:
    """Vertices on quarters of a pixel: many edges run along pixels or through their corners."""
    on_grid = shapely.transform(shapely.get_parts(star), lambda xy: np.round(xy * grid) / grid + shift)
    valid = on_grid[shapely.is_valid(on_grid) & ~shapely.is_empty(on_grid)]
    assume(len(valid) > 0)
    shape = valid[0]
    window = Window(-25, -15, 140, 130)
    region, transform = Region(shape, CRS(UTM)), Affine.identity()
    touched = region.mask(window, transform, all_touched=True)
    x, y = np.meshgrid(np.arange(window.x, window.right), np.arange(window.y, window.bottom))
    shapely.prepare(shape)
    squares = shapely.box(x, y, x + 1, y + 1)
    expected = shapely.intersects(shape, squares) & ~shapely.touches(shape, squares)
    np.testing.assert_array_equal(touched, expected)


@given(stars(), transforms(), st.integers(-20, 60), st.integers(-20, 60), st.integers(1, 40), st.integers(1, 40))
def test_a_pixel_is_touched_or_not_whatever_the_window_and_touched_if_its_centre_is_inside(
    star: shapely.MultiPolygon, transform: Affine, y: int, x: int, height: int, width: int
) -> None:
    region, window = Region(star, CRS(UTM)), Window(y, x, height, width)
    around = Window(-100, -100, 250, 250)
    touched = region.mask(window, transform, all_touched=True)
    np.testing.assert_array_equal(
        touched, region.mask(around, transform, all_touched=True)[window.relative_to(around).slices()]
    )
    assert (touched >= region.mask(window, transform)).all()
    assert region.touches(window, transform) >= touched.any()


@given(st.integers(0, 20), st.integers(0, 20))
def test_regions_that_share_a_border_through_centres_share_no_pixel(y: int, x: int) -> None:
    """Corners and edges exactly on pixel centres: each pixel belongs to one of four quadrants."""
    boxes = [(0, 0, x + 0.5, y + 0.5), (x + 0.5, 0, 22, y + 0.5), (0, y + 0.5, x + 0.5, 22), (x + 0.5, y + 0.5, 22, 22)]
    masks = [
        Region(shapely.box(*box), CRS(UTM)).mask(Window(0, 0, 22, 22), Affine.identity()).astype(int) for box in boxes
    ]
    assert (sum(masks) == 1).all()


def test_a_region_far_from_a_window_does_not_touch_it() -> None:
    region = Region(shapely.box(0, 0, 10, 10), CRS(UTM))
    assert not region.touches(Window(20, 20, 5, 5), Affine.identity())
    assert not region.mask(Window(20, 20, 5, 5), Affine.identity()).any()


def test_bounds_are_degrees_or_say_their_crs() -> None:
    assert read_region("-76, 37.5,-75.5,38").geometry.bounds == (-76, 37.5, -75.5, 38)
    assert read_region("-76,37.5,-75.5,38").crs == "EPSG:4326"
    region = read_region("4e5,4100000,410000,4.2e6,EPSG:32618")
    assert region.crs == UTM
    assert region.geometry.bounds == (400_000, 4_100_000, 410_000, 4_200_000)


@pytest.mark.parametrize("ending", [".geojson", ".gpkg", ".parquet", ".shp", ".fgb"])
def test_a_region_is_the_union_of_a_files_polygons(tmp_path: Path, ending: str) -> None:
    table = gpd.GeoDataFrame(
        geometry=[shapely.box(0, 0, 2, 2), shapely.box(1, 1, 3, 3), shapely.box(8, 8, 9, 9)], crs=4326
    )
    path = tmp_path / f"region{ending}"
    table.to_parquet(path) if ending == ".parquet" else table.to_file(path)
    region = read_region(path)
    assert region.geometry.equals(table.union_all())
    assert region.crs == "EPSG:4326"


def test_a_bow_tie_is_repaired(tmp_path: Path) -> None:
    bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
    gpd.GeoDataFrame(geometry=[bow_tie], crs=4326).to_file(tmp_path / "tie.geojson")
    assert read_region(tmp_path / "tie.geojson").geometry.area == pytest.approx(2)


def test_straight_edges_stay_in_place_in_another_crs() -> None:
    region = read_region("-78,44.0,-72,44.2")
    moved = region.to_crs(UTM)
    (middle,) = gpd.GeoSeries([shapely.Point(-75, 44.001)], crs=4326).to_crs(UTM)
    assert moved.geometry.contains(middle)
    assert moved.to_crs(4326).geometry.symmetric_difference(region.geometry).area < 1e-6
    assert region.to_crs("EPSG:4326") is region


def test_a_region_across_the_antimeridian_is_on_both_sides_in_degrees() -> None:
    moved = read_region("100000,-3000000,400000,-2000000,EPSG:32601").to_crs("EPSG:4326")
    assert moved.geometry.is_valid
    assert moved.geometry.contains(shapely.Point(-179.5, -24))
    assert moved.geometry.contains(shapely.Point(179.9, -24)) == moved.geometry.contains(shapely.Point(-180.1, -24))
    assert not moved.geometry.contains(shapely.Point(0, -24))


def test_a_region_is_plain_data() -> None:
    region = read_region("-76,37.5,-75.5,38")
    assert pickle.loads(pickle.dumps(region)) == region


def geobox(crs: str = UTM) -> GeoBox:
    return GeoBox((100, 200), Affine(10, 0, 400_000, 0, -10, 4_100_000), crs)


def test_a_region_outside_of_the_raster_is_refused_with_both_bounds() -> None:
    place_region(read_region("401000,4099500,500000,4200000,EPSG:32618"), geobox())
    with pytest.raises(
        RegionError, match=r"\(500000, 4000000, 510000, 4010000\).*\(400000, 4099000, 402000, 4100000\)"
    ):
        place_region(read_region("500000,4000000,510000,4010000,EPSG:32618"), geobox())
    with pytest.raises(RegionError, match="EPSG:32618"):
        place_region(read_region("10,50,11,51"), geobox())


def write_table(path: Path, geometry: list[shapely.Geometry], crs: str | None = "EPSG:4326") -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gpd.GeoDataFrame({"a": range(len(geometry))}, geometry=geometry, crs=crs).to_file(path)
    return path


def test_regions_that_cannot_be_used_are_refused_with_the_remedy(tmp_path: Path) -> None:
    box = shapely.box(0, 0, 1, 1)
    with pytest.raises(InputNotFoundError, match="does not exist"):
        read_region(tmp_path / "missing.gpkg")
    with pytest.raises(RegionError, match="no features"):
        read_region(write_table(tmp_path / "empty.gpkg", []))
    with pytest.raises(RegionError, match="type LineString"):
        read_region(write_table(tmp_path / "line.gpkg", [shapely.LineString([(0, 0), (1, 1)])]))
    with pytest.raises(CrsError, match="has no CRS"):
        read_region(write_table(tmp_path / "nowhere.gpkg", [box], None))
    with pytest.raises(RegionError, match="covers no area"):
        read_region(write_table(tmp_path / "flat.gpkg", [shapely.Polygon([(0, 0), (1, 0), (2, 0)])]))
    (tmp_path / "text.geojson").write_text("not a vector file")
    with pytest.raises(RegionError, match="not a readable vector file"):
        read_region(tmp_path / "text.geojson")
    with pytest.raises(RegionError, match="is empty"):
        read_region("5,5,4,6,EPSG:32618")
    with pytest.raises(CrsError, match="'nowhere'"):
        read_region("4,5,5,6,nowhere")


def test_features_are_read_from_archives_and_from_urls_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_table(tmp_path / "a b.gpkg", [shapely.box(0, 0, 1, 1)])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(table, "in/b.gpkg")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(table, "b.gpkg")
    gpd.read_file(table).to_parquet(tmp_path / "a.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in (
        f"/vsizip/{tmp_path}/a.zip/in/b.gpkg", f"/vsizip/{{{tmp_path}/a.zip}}/in/b.gpkg", "/vsizip/a.zip/in/b.gpkg",
        f"/vsitar/{tmp_path}/a.tar/b.gpkg", f"zip://{tmp_path}/a.zip!in/b.gpkg", "~/a b.gpkg",
        f"file://{tmp_path}/a%20b.gpkg", f"file://localhost{tmp_path}/a%20b.gpkg", f"file://{tmp_path}/a.parquet",
    ):  # fmt: skip
        assert read_region(text).geometry.equals(shapely.box(0, 0, 1, 1)), text
    for text in (f"/vsizip/{tmp_path}/a.zip/none.gpkg", f"/vsizip/{tmp_path}/none.zip/b.gpkg"):
        with pytest.raises(InputNotFoundError, match=f"^the region '{text}' does not exist; give a vector file with"):
            read_region(text)
    with pytest.raises(InputNotFoundError, match=f"the region '{tmp_path}/none.gpkg' does not exist"):
        read_region(f"file://{tmp_path}/none.gpkg")
    with pytest.raises(RegionError, match=r"/a.zip/b.parquet' is GeoParquet, .* read from folders only; copy it"):
        read_region("/vsizip/a.zip/b.parquet")


def test_what_is_written_with_a_style_can_be_a_region(tmp_path: Path) -> None:
    path = tmp_path / "land.gpkg"
    style = [StyledClass(0, "Water", "#0000ff")]
    write_features(path, [arrow(squares(2))], layer="land_use", crs=UTM, style=style)
    assert len(pyogrio.list_layers(path)) == 2
    assert read_region(path).geometry.equals(squares(2).union_all())


def test_a_region_with_several_layers_is_refused_by_their_names(tmp_path: Path) -> None:
    for layer in ("fields", "roads"):
        gpd.GeoDataFrame(geometry=[shapely.box(0, 0, 1, 1)], crs=4326).to_file(tmp_path / "a.gpkg", layer=layer)
    with pytest.raises(RegionError, match="fields, roads"):
        read_region(tmp_path / "a.gpkg")


@pytest.mark.parametrize("bounds", ["-180,-90,180,90", "-170,-10,-160,10", "0,-80,179,80"])
def test_a_region_without_a_place_in_the_rasters_crs_is_refused(bounds: str) -> None:
    with pytest.raises(RegionError, match="cannot be projected to EPSG:32618"):
        read_region(bounds).to_crs("EPSG:32618")


def test_the_whole_globe_is_a_region_of_web_mercator() -> None:
    region = read_region("-180,-90,180,90").to_crs("EPSG:3857")
    assert region.mask(Window(0, 0, 8, 8), Affine(5_000_000, 0, -2e7, 0, -5_000_000, 2e7)).all()


def test_a_region_around_a_pole_has_its_place() -> None:
    region = read_region("-180,-90,180,-70").to_crs("EPSG:3031")
    inside = region.mask(Window(0, 0, 6, 6), Affine(1_000_000, 0, -3_000_000, 0, -1_000_000, 3_000_000))
    assert inside[1:5, 1:5].all()
    assert not inside[0, 0]
