"""Areas by class and zone, what a sample of points makes of them, and the sample itself."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import pytest
import rasterio
import shapely
import xarray as xr
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.xr import xr_coords  # noqa: F401 - gives arrays the accessor odc

import geoseg
from geoseg.area_estimation import counting
from geoseg.area_estimation.estimation import estimate
from geoseg.area_estimation.sampling import allocate
from geoseg.cli import main
from geoseg.errors import EvaluationError, FormatError, RasterError, RegionError
from tests.rasters import write_raster

UTM = "EPSG:32633"
UPRIGHT = Affine(30, 0, 500_000, 0, -30, 5_000_000)
TURNED = UPRIGHT @ Affine.rotation(20)
MIRRORED = Affine(30, 0, 500_000, 0, 30, 5_000_000)
DEGREES = Affine(0.5, 0, 10, 0, -0.5, 60)


@pytest.fixture(autouse=True)
def near_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows that are divided where a zone ends, also of small maps."""
    monkeypatch.setattr(counting, "EDGE", 4)


names = st.sampled_from(["upright", "turned", "mirrored", "degrees"])
GRIDS = {"upright": (UPRIGHT, UTM), "turned": (TURNED, UTM), "mirrored": (MIRRORED, UTM), "degrees": (DEGREES, 4326)}


def write_labels(folder: Path, labels: NDArray[np.uint8], transform: Affine = UPRIGHT, crs: object = UTM) -> Path:
    path = folder / "labels.tif"
    write_raster(path, labels[None], transform=transform, crs=crs, nodata=255)
    with rasterio.open(path, "r+") as file:
        file.update_tags(CLASS_1="water", CLASS_2="trees", CLASS_3="town")
    return path


def pixel_boxes(shape: tuple[int, int], transform: Affine) -> NDArray[np.object_]:
    rows, columns = np.indices(shape).reshape(2, -1)
    corners = [(columns, rows), (columns, rows + 1), (columns + 1, rows + 1), (columns + 1, rows)]
    return shapely.polygons(np.stack([np.stack(transform @ corner, axis=-1) for corner in corners], axis=1))


def geodesic(shapes: NDArray[np.object_], crs: object) -> NDArray[np.float64]:
    """Areas on the ellipsoid by pyproj's geodesics, m2, of shapes whose edges are short."""
    degrees = gpd.GeoSeries(shapes, crs=crs).segmentize(0.02 if crs == 4326 else 1e9).to_crs(4326)
    geod = pyproj.Geod(ellps="WGS84")
    return np.array([abs(geod.geometry_area_perimeter(shape)[0]) for shape in degrees])


@settings(max_examples=12, deadline=None)
@given(names, st.integers(0, 10**6))
def test_zones_have_the_ground_of_their_pixels_and_of_parts_of_pixels(
    tmp_path_factory: pytest.TempPathFactory, grid: str, seed: int
) -> None:
    (transform, crs), rng, folder = GRIDS[grid], np.random.default_rng(seed), tmp_path_factory.mktemp("zones")
    labels = rng.choice(np.array([1, 2, 3, 255], np.uint8), (9, 11))
    path, boxes = write_labels(folder, labels, transform, crs), pixel_boxes(labels.shape, transform)
    everything = shapely.union_all(boxes)
    left, bottom, right, top = everything.bounds
    points = shapely.MultiPoint(np.stack([rng.uniform(left, right, 4), rng.uniform(bottom, top, 4)], axis=1))
    zones = shapely.get_parts(shapely.voronoi_polygons(points, extend_to=everything.envelope.buffer(1)))
    frame = gpd.GeoDataFrame({"name": [f"zone {number}" for number in range(len(zones))]}, geometry=zones, crs=crs)
    found = geoseg.areas(path, zones=frame, zone_column="name", unit="m2")
    ground, own = geodesic(boxes, crs), labels.ravel() != 255
    for zone, name in zip(zones, frame["name"], strict=True):
        parts = shapely.area(shapely.intersection(zone, boxes)) / shapely.area(boxes)
        table = found.table[found.table["zone"] == name].set_index("class")["area_m2"]
        for value in (1, 2, 3):
            wanted = (ground * parts)[own & (labels.ravel() == value)].sum()
            assert table.get(value, 0.0) == pytest.approx(
                wanted, rel=1e-3 if crs == 4326 else 1e-5, abs=1e-3 * ground[0]
            )
    whole = found.square_metres[:-1].sum(axis=0)
    np.testing.assert_allclose(whole, found.square_metres[-1], rtol=1e-5)


def test_zones_whose_parts_share_an_edge_or_have_a_spike_have_their_area(tmp_path: Path) -> None:
    path = write_labels(tmp_path, np.ones((60, 60), np.uint8))
    left, top = 500_000, 5_000_000
    touching = shapely.MultiPolygon(
        [shapely.box(left, top - 300, left + 300, top), shapely.box(left + 300, top - 600, left + 600, top)]
    )
    corners = [(0, 0), (600, 0), (600, -600), (300, -600), (300, -900), (300, -600), (0, -600)]
    spike = shapely.Polygon([(left + x, top + y) for x, y in corners])
    frame = gpd.GeoDataFrame({"name": ["touching", "spike"]}, geometry=[touching, spike], crs="EPSG:32633")
    found = geoseg.areas(path, zones=frame, zone_column="name", unit="m2").table
    areas = found[found["class"].notna()].groupby("zone")["area_m2"].first()
    for name, wanted in (("touching", 270_000), ("spike", 360_000)):
        assert areas[name] == pytest.approx(wanted, rel=2e-3)


def test_a_map_without_a_class_has_nothing_to_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labels(tmp_path, np.full((30, 30), 255, np.uint8))
    assert main(["sample", str(path), str(tmp_path / "points.gpkg")]) == 3
    assert "has a class, so there is nothing to sample; give another map" in capsys.readouterr().err
    assert not (tmp_path / "points.gpkg").exists()


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:3857", Affine(20_000, 0, 1e6, 0, -20_000, 9e6)),
        ("EPSG:3857", Affine(1_000, 0, 1e6, 0, -1_000, 11e6)),
        ("EPSG:3031", Affine(25_000, 0, -1e6, 0, -25_000, 4e6)),
    ],
)
def test_coarse_pixels_are_weighed_one_by_one(crs: str, transform: Affine, tmp_path: Path) -> None:
    """A class a row: those of a cell have not the area of its mean."""
    labels = np.repeat(np.arange(1, 17, dtype=np.uint8)[:, None], 12, axis=1)
    found = geoseg.areas(write_labels(tmp_path, labels, transform, crs), unit="m2").table.set_index("class")["area_m2"]
    boxes = gpd.GeoSeries(pixel_boxes(labels.shape, transform), crs=crs).segmentize(transform.a / 8)
    ground = geodesic(boxes.to_numpy(), crs).reshape(labels.shape).sum(axis=1)
    np.testing.assert_allclose(found.reindex(range(1, 17)), ground, rtol=1e-4)
    polygons = geoseg.polygonize(tmp_path / "labels.tif").groupby("class")["area_m2"].sum()
    np.testing.assert_allclose(found.reindex(range(1, 17)), polygons.reindex(range(1, 17)), rtol=1e-4)


def test_coarse_pixels_beyond_the_rim_of_a_map_of_the_world_have_no_ground(tmp_path: Path) -> None:
    half = 18_100_000
    transform = Affine(100_000, 0, -half, 0, -100_000, half)
    labels = np.ones((362, 362), np.uint8)
    found = geoseg.areas(write_labels(tmp_path, labels, transform, "ESRI:54009"), unit="m2").table
    globe = 4 * np.pi * 6_371_007.2**2  # of the sphere that is as large as the ellipsoid
    assert found["area_m2"].sum() == pytest.approx(globe, rel=5e-3)  # pixels count by their centres


def test_the_published_example_is_reproduced() -> None:
    """Olofsson et al. 2014, tables 8 to 10 and section 5.2: 30 m pixels, 95 %."""
    pixels = np.array([200_000, 150_000, 3_200_000, 6_450_000]) * 900 / 1e4
    counts = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [1, 0, 153, 11], [2, 1, 9, 313]])
    found = estimate(pixels, counts, 0.95)
    np.testing.assert_allclose(found.users, [0.88, 0.73, 0.93, 0.96], atol=0.005)
    np.testing.assert_allclose(found.users_error, [0.07, 0.10, 0.04, 0.02], atol=0.005)
    np.testing.assert_allclose(found.producers, [0.75, 0.85, 0.93, 0.96], atol=0.005)
    assert (found.overall, found.overall_error) == (pytest.approx(0.95, abs=0.005), pytest.approx(0.02, abs=0.005))
    np.testing.assert_allclose(found.area, [21_158, 11_686, 285_770, 581_386], rtol=1e-4)
    np.testing.assert_allclose(found.area_error, [6_158, 3_756, 15_510, 16_282], rtol=2e-3)


def test_errors_are_those_of_samples_drawn_again_and_again() -> None:
    areas = np.array([20.0, 15, 320, 645])
    shares = np.array([[66, 0, 5, 4], [0, 55, 8, 12], [3, 3, 150, 9], [5, 6, 9, 305]]) / [[75], [75], [165], [325]]
    rng, sizes = np.random.default_rng(0), np.array([75, 75, 165, 325])
    drawn = [
        np.stack([rng.multinomial(size, share) for size, share in zip(sizes, shares, strict=True)]) for _ in range(4000)
    ]
    found = [estimate(areas, counts, 0.6827) for counts in drawn]
    for name in ("area", "users", "producers", "overall"):
        values, errors = (np.array([getattr(item, name + end) for item in found]) for end in ("", "_error"))
        np.testing.assert_allclose(np.mean(errors, axis=0), np.std(values, axis=0), rtol=0.12)


def test_a_sample_without_errors_gives_the_areas_of_the_map() -> None:
    areas, counts = np.array([10.0, 5.0]), np.diag([4, 3])
    found = estimate(areas, counts)
    np.testing.assert_allclose(found.area, areas)
    np.testing.assert_allclose([*found.area_error, found.overall_error], 0)
    np.testing.assert_allclose([*found.users, *found.producers, found.overall], 1)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=8), st.integers(1, 500), st.integers(1, 60))
def test_every_class_has_its_minimum_and_the_rest_goes_by_area(areas: list[float], size: int, minimum: int) -> None:
    sizes = np.array([area if area > 1e-3 else 0.0 for area in areas])
    counts = allocate(sizes, size, minimum)
    assert (counts[sizes > 0] >= minimum).all()
    assert (counts[sizes == 0] == 0).all()
    assert counts.sum() <= max(size + len(areas), minimum * (sizes > 0).sum())
    plenty = counts > minimum
    if plenty.sum() > 1:
        shares = counts[plenty] / sizes[plenty]
        assert np.ptp(shares * sizes[plenty]) >= 0
        np.testing.assert_allclose(counts[plenty], sizes[plenty] * counts[plenty].sum() / sizes[plenty].sum(), atol=1.5)


def test_a_sample_is_drawn_from_its_class_by_ground_without_repeats(tmp_path: Path) -> None:
    labels = np.full((120, 40), 1, np.uint8)
    labels[:, 30:], labels[0] = 2, 255
    path = write_labels(tmp_path, labels, Affine(0.5, 0, 0, 0, -0.7, 84), 4326)  # down to the equator
    drawn = geoseg.sample(path, size=800, minimum=100, seed=3)
    assert drawn.crs.to_epsg() == 4326
    assert list(drawn.columns) == ["id", "reference", "geometry"]
    assert drawn["reference"].isna().all()
    assert not drawn.geometry.duplicated().any()
    rows, columns = ((84 - drawn.geometry.y) / 0.7).astype(int), (drawn.geometry.x / 0.5).astype(int)
    counts = np.bincount(labels[rows, columns], minlength=256)
    assert counts[255] == 0
    assert counts[[1, 2]].sum() == pytest.approx(800, abs=1)
    assert counts[1] / 800 == pytest.approx(0.75, abs=0.01)
    latitudes = np.radians(84 - 0.7 * (np.arange(120) + 0.5))
    ground = np.cos(latitudes[1:]) / np.cos(latitudes[1:]).sum()
    north = rows.to_numpy() < 60
    assert north.mean() == pytest.approx(ground[:59].sum(), abs=4 * np.sqrt(0.25 / 800))
    assert drawn.equals(geoseg.sample(path, size=800, minimum=100, seed=3))
    assert not drawn.equals(geoseg.sample(path, size=800, minimum=100, seed=4))
    ordered = rows.to_numpy()
    assert (np.diff(ordered) < 0).any()  # in random order


def test_a_class_with_few_pixels_gives_all_of_them(tmp_path: Path) -> None:
    labels = np.ones((30, 30), np.uint8)
    labels[3, 4:9] = 2
    drawn = geoseg.sample(write_labels(tmp_path, labels), size=100, minimum=20)
    rows, columns = ((5_000_000 - drawn.geometry.y) / 30).astype(int), ((drawn.geometry.x - 500_000) / 30).astype(int)
    assert np.bincount(labels[rows, columns]).tolist() == [0, 80, 5]


def test_points_are_written_once_labelled_and_give_the_estimate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(np.array([1, 2, 3], np.uint8), (200, 220), p=[0.6, 0.3, 0.1])
    labels = np.where(rng.random(truth.shape) < 0.8, truth, 2).astype(np.uint8)
    path, points = write_labels(tmp_path, labels), tmp_path / "points.gpkg"
    assert main(["sample", str(path), str(points), "--size", "900", "--minimum", "60"]) == 0
    assert main(["sample", str(path), str(points)]) == 2
    assert "may be labelled; give another file" in capsys.readouterr().err
    assert main(["areas", str(path), "--sample", str(points)]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert said == "no point of the sample has a class in its column 'reference'; write down what is there."
    table = gpd.read_file(points)
    rows = ((5_000_000 - table.geometry.y) / 30).astype(int)
    columns = ((table.geometry.x - 500_000) / 30).astype(int)
    words = np.array(["", "water", "trees", "town"])
    table["reference"] = words[truth[rows, columns]]
    table.loc[0, "reference"] = ""
    table.to_crs(4326).to_file(points)
    csv, out = tmp_path / "areas.csv", tmp_path / "areas.json"
    assert main(["areas", str(path), "--sample", str(points), "--csv", str(csv), "--json", str(out)]) == 0
    assert "1 of 900 points have no reference and are left out" in " ".join(capsys.readouterr().out.split())
    found, numbers = pd.read_csv(csv), json.loads(out.read_text())
    hectares = np.bincount(truth.ravel(), minlength=4)[1:] * 0.09
    assert (abs(found["area_ha"] - hectares) < 1.5 * found["error_ha"]).all()
    assert abs(found.loc[1, "mapped_ha"] - hectares[1]) > 2 * found.loc[1, "error_ha"]  # the map has too many trees
    assert numbers["overall_accuracy"] == pytest.approx((labels == truth).mean(), abs=0.05)
    assert [row["name"] for row in numbers["estimated"]] == ["water", "trees", "town"]


def test_arrays_and_runs_are_maps_too(tmp_path: Path) -> None:
    labels = np.kron(np.array([[1, 2], [2, 3]], np.uint8), np.ones((8, 8), np.uint8))
    path = write_labels(tmp_path, labels)
    (tmp_path / "run.json").write_text(json.dumps({"results": ["labels.tif"]}))
    wanted = geoseg.areas(path, unit="m2").table
    assert wanted["name"].tolist() == ["water", "trees", "town"]
    assert wanted["area_m2"].tolist() == pytest.approx([64 * 900, 128 * 900, 64 * 900], rel=1e-3)
    pd.testing.assert_frame_equal(geoseg.areas(tmp_path, unit="m2").table, wanted)
    array = xr.DataArray(labels, dims=("y", "x")).odc.assign_crs(UTM)
    array = array.assign_coords(x=500_015 + 30 * np.arange(16), y=4_999_985 - 30 * np.arange(16))
    assert geoseg.areas(array, unit="m2").table["area_m2"].tolist() == pytest.approx(wanted["area_m2"].tolist())


def test_zones_of_one_name_have_rows_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_labels(tmp_path, np.ones((8, 8), np.uint8))
    boxes = [shapely.box(500_000, 4_999_760, 500_060, 5_000_000), shapely.box(500_060, 4_999_760, 500_240, 5_000_000)]
    gpd.GeoDataFrame({"name": ["map", "map"]}, geometry=boxes, crs=UTM).to_file(tmp_path / "zones.gpkg")
    assert main(["areas", str(path), "--zones", str(tmp_path / "zones.gpkg"), "--zone-column", "name"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("map")]
    assert [float(line[1]) for line in lines] == pytest.approx([1.44, 4.32, 5.76], rel=1e-3)


def test_every_row_says_whose_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Zones without a name, named as the whole map is, named alike, and named by numbers beside nothing."""
    path, zones = write_labels(tmp_path, np.ones((8, 8), np.uint8)), tmp_path / "zones.gpkg"
    boxes = [shapely.box(500_000 + 60 * i, 4_999_760, 500_060 + 60 * i, 5_000_000) for i in range(4)]
    columns = {"name": ["map", None, "map", "nan"], "code": [7.0, np.nan, 1.5, 12.0]}
    gpd.GeoDataFrame(columns, geometry=boxes, crs=UTM).to_file(zones)
    for column, names in {"name": ["map", "", "map", "nan", "map"], "code": ["7", "", "1.5", "12", "map"]}.items():
        words = ["areas", str(path), "--zones", str(zones), "--zone-column", column]
        assert main([*words, "--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.json")]) == 0
        said = capsys.readouterr().out
        table = pd.read_csv(tmp_path / "a.csv", dtype=str, keep_default_na=False)
        assert table["zone"].tolist() == names
        assert table["zone_number"].tolist() == ["1", "2", "3", "4", ""]
        rows = json.loads((tmp_path / "a.json").read_text())["areas"]
        assert [(row["zone"] or "", row["zone_number"]) for row in rows] == [
            *zip(names, (1, 2, 3, 4, None), strict=True)
        ]
        assert f"note: 1 of 4 zones have no {column}" in said
        assert [line.split()[0] for line in said.splitlines() if "." in line] == [name or "-" for name in names]
    assert "zone_number" not in geoseg.areas(path).table


@pytest.mark.parametrize("dtype", ["uint16", "int32", "float32"])
def test_codes_of_classes_may_be_large_in_every_type(tmp_path: Path, dtype: str) -> None:
    """As those of CORINE, 111 to 523."""
    labels = np.random.default_rng(0).choice([523, 111, 312], (40, 50), p=[0.5, 0.3, 0.2]).astype(dtype)
    path = write_raster(tmp_path / "corine.tif", labels[None], transform=UPRIGHT, crs=UTM)
    table = geoseg.areas(path, unit="m2").table
    assert table["class"].tolist() == [111, 312, 523]
    side = abs(UPRIGHT.a * UPRIGHT.e)
    wanted = [(labels == value).sum() * side for value in (111, 312, 523)]
    assert table["area_m2"].tolist() == pytest.approx(wanted, rel=2e-3)
    points = geoseg.sample(path, size=60, minimum=20)
    places = [~UPRIGHT @ (point.x, point.y) for point in points.geometry]
    points["reference"] = [str(int(labels[int(row), int(column)])) for column, row in places]
    for ending in ("", ".0"):  # as spreadsheets write a column of numbers and blanks
        told = points.assign(reference=points["reference"] + ending)
        found = geoseg.areas(path, sample=told, unit="m2").estimated
        assert found["class"].tolist() == [111, 312, 523]
        assert found["area_m2"].tolist() == pytest.approx(wanted, rel=2e-3)


def test_numbers_that_are_not_whole_are_no_classes_wherever_they_lie(tmp_path: Path) -> None:
    """1.7 is not class 1."""
    labels = np.ones((1, 1200, 1200), np.float32)
    labels[0, 5, 7] = 1.7
    path = write_raster(tmp_path / "fractions.tif", labels, transform=UPRIGHT, crs=UTM)
    for ask in (geoseg.areas, geoseg.sample):
        with pytest.raises(RasterError, match=r"holds 1\.7000000476837158, which is not a 63-bit integer"):
            ask(path)


def test_what_cannot_be_measured_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.ones((8, 8), np.uint8)
    labels[0] = 2
    path = write_labels(tmp_path, labels)
    far = gpd.GeoDataFrame({"name": ["far"]}, geometry=[shapely.box(0, 0, 1, 1)], crs=4326)
    with pytest.raises(RegionError, match="no zone overlaps the map; give zones of the same place"):
        geoseg.areas(path, zones=far)
    near = gpd.GeoDataFrame({"name": ["near"]}, geometry=[shapely.box(500_000, 4_999_800, 500_100, 5_000_000)], crs=UTM)
    with pytest.raises(RegionError, match="the layer of zones has no column 'nam'; did you mean 'name'"):
        geoseg.areas(path, zones=near, zone_column="nam")
    both = geoseg.areas(path, zones=pd.concat([near, far.to_crs(UTM)]), zone_column="name")
    assert both.notes == ("1 of 2 zones lie outside of the map",)
    with pytest.raises(RegionError, match="the zones hold a Point; give polygons"):
        geoseg.areas(path, zones=gpd.GeoDataFrame(geometry=[shapely.Point(500_000, 5_000_000)], crs=UTM))
    with pytest.raises(EvaluationError, match="areas are estimated by points of known class; give a sample"):
        _ = both.estimated
    points = gpd.GeoDataFrame(
        {"reference": [1, 1, 9]}, geometry=gpd.points_from_xy([500_015] * 3, [4_999_900, 4_999_800, 4_999_850]), crs=UTM
    )
    with pytest.raises(EvaluationError, match=r"fewer than two points where the map shows trees; draw one with geoseg"):
        geoseg.areas(path, sample=points)
    plain = write_raster(tmp_path / "plain.tif", labels[None], transform=UPRIGHT, crs=UTM)
    points["reference"] = ["1.5"] * 3
    points.to_file(tmp_path / "points.gpkg")
    assert main(["areas", str(plain), "--sample", str(tmp_path / "points.gpkg")]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert said == "the sample has the class '1.5', which the map does not; known: 1, 2."
    points["reference"] = ["watr"] * 3
    with pytest.raises(EvaluationError, match="the sample has the class 'watr', which the map does not; did you mean"):
        geoseg.areas(path, sample=points)
    with pytest.raises(EvaluationError, match=r"3 of 3 points of the sample lie where .* has no class"):
        geoseg.areas(path, sample=points.assign(reference=1).set_geometry(points.translate(10**5)))
    wide = write_raster(tmp_path / "wide.tif", np.full((1, 4, 4), 70_000, np.uint32), transform=UPRIGHT, crs=UTM)
    with pytest.raises(EvaluationError, match="holds 70000, which is no class from 0 to 65,535"):
        geoseg.areas(wide)
    many = np.arange(400, dtype=np.uint16).reshape(1, 20, 20)
    with pytest.raises(EvaluationError, match="holds more than 256 values; give a raster of classes"):
        geoseg.areas(write_raster(tmp_path / "many.tif", many, transform=UPRIGHT, crs=UTM))
    wide = write_raster(tmp_path / "huge.tif", np.full((1, 4, 4), 2**63, np.uint64), transform=UPRIGHT, crs=UTM)
    with pytest.raises(RasterError, match="holds 9223372036854775808, which is not a 63-bit integer"):
        geoseg.areas(wide)
    plain = write_raster(tmp_path / "plain.tif", np.ones((1, 4, 4), np.uint8), transform=UPRIGHT, crs=None)
    with pytest.raises(EvaluationError, match="has no CRS, so its pixels have no area"):
        geoseg.areas(plain)
    for name in ("points.shp", "points.csv", "points"):
        with pytest.raises(
            FormatError, match=r"none of the formats that points are written in; give \.gpkg or \.geojson"
        ):
            geoseg.area_estimation.write_points(points, tmp_path / name)
    assert main(["areas", str(path), "--csv", str(tmp_path / "a.csv"), "--json", str(tmp_path / "a.csv")]) == 2
