"""The report of a run: what it measures, that it is one file, and that a person can use it in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterator
from dataclasses import astuple
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from distributed import Client
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from playwright.sync_api import Browser, Page
from pyproj import Geod, Transformer

import geoseg
from geoseg.cli import main
from geoseg.engine import connect
from geoseg.errors import InputNotFoundError, ReportError, ReportWarning
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.peak_memory import read_peaks
from geoseg.raster import open_raster
from geoseg.raster.placing import PLAIN_PIXELS
from geoseg.report import pictures, read_record, thinning, write_report
from geoseg.report.areas import class_areas
from geoseg.report.features import FeatureFile, count_features, smallest_of_largest
from geoseg.report.findings import find
from geoseg.report.framing import Frame
from geoseg.report.imagery import read_imagery
from geoseg.report.measures import LIMITS, geobox_of, kept_features, measure_features
from geoseg.report.pictures import _Means, read_confidence, read_labels
from geoseg.report.shapes import SUBPIXEL, Limits, _simplified, _tamed, encode, read_shapes
from geoseg.report.thinning import thin
from geoseg.report.wording import area, duration, number, percent, unit_for
from geoseg.thumbnails import choose_bands
from geoseg.workflow import make_report
from tests.browsing import Watched, chromium
from tests.folders import CLASSES, make_folder, smooth_labels
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster

UTM = "EPSG:32618"
TREES, BUILT = (0x39, 0x7D, 0x49, 255), (0xC4, 0x28, 0x1B, 255)
"""Colours of classes as a canvas shows them."""


def frame_of(shape: tuple[int, int], transform: Affine = TEN_METRES, crs: str = UTM, factor: int = 1) -> Frame:
    return Frame(GeoBox(shape, transform, crs), factor)


# Where pictures lie


@given(st.tuples(st.integers(1, 5000), st.integers(1, 5000)), st.integers(1, 3000), st.integers(1, 10**6))
def test_a_frame_is_the_finest_power_of_two_within_its_limits(shape: tuple[int, int], side: int, pixels: int) -> None:
    geobox = GeoBox(shape, TEN_METRES, UTM)
    frame = Frame.of(geobox, side=side, pixels=pixels)
    height, width = frame.shape
    assert max(height, width) <= side
    assert height * width <= pixels
    assert (height - 1) * frame.factor < shape[0] <= height * frame.factor
    if frame.factor > 1:
        finer = Frame(geobox, frame.factor // 2).shape
        assert max(finer) > side or finer[0] * finer[1] > pixels


@pytest.mark.parametrize("angle", [0, 35, 90, 200, -70])
def test_north_of_a_turned_raster_is_where_a_step_north_leads(angle: float) -> None:
    transform = Affine.translation(500_000, 4_200_000) @ Affine.rotation(angle) @ Affine.scale(10, -10)
    frame = frame_of((200, 300), transform)
    x, y = frame.transform @ (150, 100)
    to_earth = Transformer.from_crs(UTM, 4326, always_xy=True)
    longitude, latitude = to_earth.transform(x, y)
    north = to_earth.transform(longitude, latitude + 0.001, direction="INVERSE")
    column, row = ~frame.transform @ north
    expected = np.degrees(np.arctan2(column - 150, -(row - 100)))
    assert frame.north == pytest.approx(expected, abs=0.01)
    assert (frame.north - angle + 180) % 360 - 180 == pytest.approx(0, abs=0.1)  # 500,000 m is the central meridian


def test_a_raster_whose_rows_run_north_is_turned_over_and_not_mirrored() -> None:
    south_up = Affine(10, 0, 440_000, 0, 10, 4_197_000)
    frame = frame_of((301, 400), south_up, factor=2)
    assert frame.is_mirrored
    assert frame.transform.determinant < 0
    rows = np.arange(151)[:, None] * np.ones((1, 200))
    assert frame.arrange(rows)[0, 0] == 150
    left, top, right, bottom = frame.place(Window(0, 0, 10, 20))
    assert (left, right) == (0, 10)
    assert (top, bottom) == (151 - 5, 151)
    assert frame.transform @ (left, bottom) == pytest.approx(south_up @ (0, 0))


def test_a_pixel_of_a_geographic_raster_is_as_high_as_it_is_on_the_ground() -> None:
    frame = frame_of((100, 100), Affine(0.001, 0, 10, 0, -0.001, 60.05), "EPSG:4326")
    assert frame.aspect == pytest.approx(1 / np.cos(np.radians(60)), rel=0.01)
    assert frame.north == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (TEN_METRES, UTM),
        (Affine(0.01, 0, 179.5, 0, -0.01, -17), "EPSG:4326"),
        (Affine(300, 0, -2e7, 0, -300, 5e5), "EPSG:3857"),
    ],
)
def test_coordinates_between_the_points_of_the_lattice_are_those_of_proj(transform: Affine, crs: str) -> None:
    frame = frame_of((120, 150), transform, crs)
    lattice = frame.coordinates()
    assert lattice is not None
    x, y = frame.transform @ (150 * 5 / 16, 120 * 9 / 16)
    longitude, latitude = Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
    assert lattice[1, 9, 5] == pytest.approx(latitude, abs=1e-9)
    assert (lattice[0, 9, 5] - longitude + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)
    assert np.abs(np.diff(lattice[0], axis=1)).max() < 5, "longitudes run on over the antimeridian"


def test_around_a_pole_and_without_a_place_there_are_no_degrees() -> None:
    assert frame_of((100, 100), Affine(1e4, 0, -5e5, 0, -1e4, 5e5), "EPSG:3031").coordinates() is None
    plain = frame_of((50, 60), Affine(1, 0, 0, 0, -1, 0), 'LOCAL_CS["plain pixels",UNIT["pixel",1]]')
    assert (plain.north, plain.metres, plain.coordinates(), plain.aspect) == (None, None, None, 1.0)
    assert plain.square == "px²"


# What is measured


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (TEN_METRES, UTM),
        (Affine(0.02, 0, 10, 0, -0.02, 62), "EPSG:4326"),
        (Affine(150, 40, 2e6, 30, -160, 6e6), "EPSG:3857"),
    ],
)
def test_areas_of_classes_are_those_of_their_pixels_on_the_ellipsoid(
    transform: Affine, crs: str, tmp_path: Path
) -> None:
    labels = smooth_labels((150, 170))
    make_folder(tmp_path, labels, transform=transform, crs=crs, features=None, imagery=False)
    found = class_areas(tmp_path / "labels.tif", frame_of(labels.shape, transform, crs))
    expected = pixel_areas(labels.shape, transform, crs)
    assert set(found) == {0, 1, 2, 255}
    for value, item in found.items():
        assert item.pixels == (labels == value).sum()
        assert item.area == pytest.approx(expected[labels == value].sum(), rel=2e-5)


def pixel_areas(shape: tuple[int, int], transform: Affine, crs: str) -> NDArray[np.float64]:
    """Each pixel's area by pyproj: a geodesic polygon with points along its edges, which are straight in the CRS."""
    geod, to_earth = Geod(ellps="WGS84"), Transformer.from_crs(crs, 4326, always_xy=True)
    along = np.linspace(0, 1, 5)[:-1]
    square = np.concatenate(
        [
            np.stack(p, 1)
            for p in ((along, 0 * along), (0 * along + 1, along), (1 - along, 0 * along + 1), (0 * along, 1 - along))
        ]
    )
    areas = np.empty(shape)
    for row in range(shape[0]):
        for column in range(0, shape[1], 10):  # ten pixels at once: areas change linearly along a row
            x, y = transform @ (column + 10 * square[:, 0], row + square[:, 1])
            areas[row, column : column + 10] = abs(geod.polygon_area_perimeter(*to_earth.transform(x, y))[0]) / 10
    return areas


def test_areas_add_up_over_windows_and_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = smooth_labels((300, 400))
    make_folder(tmp_path, labels, features=None, imagery=False)
    whole = class_areas(tmp_path / "labels.tif", frame_of(labels.shape))
    monkeypatch.setattr("geoseg.report.areas.SIDE", 64)
    parts = class_areas(tmp_path / "labels.tif", frame_of(labels.shape))
    assert {value: item.pixels for value, item in parts.items()} == {
        value: item.pixels for value, item in whole.items()
    }
    for value, item in parts.items():
        assert item.area == pytest.approx(whole[value].area, rel=1e-6)


def test_what_a_run_has_measured_is_shown_until_its_labels_change(
    run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run_folder, tmp_path / "out")
    record, kept = read_record(tmp_path / "out"), tmp_path / "out" / "state" / "measures.npz"

    def found() -> Any:
        result = find(record, lambda: None, side=2048, pixels=3e6, limits=Limits(9, 999))
        assert result.confidence is not None
        return result.areas, result.confidence[1].tolist(), result.confidence[2].tolist()

    with monkeypatch.context() as patched:
        for name in ("findings.class_areas", "measures.read_confidence"):
            patched.setattr(f"geoseg.report.{name}", None)
        shown = found()
    content = kept.read_bytes()
    kept.unlink()
    assert found() == shown
    for damaged in (b"", content[:100], content.replace(b"\x00", b"\x01", 1)):
        kept.write_bytes(damaged)
        assert found() == shown
    kept.write_bytes(content)
    with rasterio.open(record.labels, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as labels:
        labels.write(np.ones(labels.shape, np.uint8), 1)
    assert set(found()[0]) == {1}


def test_what_a_run_has_measured_of_its_polygons_is_what_their_file_says(run_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(run_folder, tmp_path / "out")
    record = read_record(tmp_path / "out")
    frame = Frame.of(geobox_of(record), side=2048, pixels=3e6)
    assert record.features is not None
    read, read_shapes = measure_features(FeatureFile(record.features, record.workflow["layer"]), frame, LIMITS)
    kept = kept_features(record, frame, LIMITS)
    assert kept is not None
    measured, shapes = kept
    assert len(shapes) > 10
    assert measured.keys() == read.keys()
    for value, item in measured.items():
        assert astuple(item)[:-1] == pytest.approx(astuple(read[value])[:-1], rel=1e-12)
        assert item.sizes.tolist() == read[value].sizes.tolist()
    assert shapely.to_wkb(shapes.polygons).tolist() == shapely.to_wkb(read_shapes.polygons).tolist()
    for name, values in read_shapes.columns.items():
        np.testing.assert_array_equal(shapes.columns[name], values)

    assert kept_features(record, frame, Limits(9, 999)) is None, "the preview draws others"
    os.utime(record.features, ns=(1, 1))
    assert kept_features(record, frame, LIMITS) is None, "it is another file"


def test_labels_are_read_from_an_overview_and_not_from_all_pixels(tmp_path: Path) -> None:
    record = make_folder(tmp_path, np.zeros((2100, 1900), np.uint8), features=None, imagery=False)
    with rasterio.open(tmp_path / "labels.tif", "r+", overview_level=1, IGNORE_COG_LAYOUT_BREAK="YES") as overview:
        overview.write(np.full(overview.shape, 2, np.uint8), 1)
    seen = read_labels(record, frame_of((2100, 1900), factor=4))
    assert seen.shape == (525, 475)
    assert (seen == 2).all()
    assert (read_labels(record, frame_of((2100, 1900), factor=2)) == 0).all()


@given(st.integers(0, 3), st.tuples(st.integers(1, 40), st.integers(1, 40)), st.randoms(use_true_random=False))
def test_means_of_a_picture_are_those_of_its_pixels_however_windows_cut_them(
    level: int, shape: tuple[int, int], random: Any
) -> None:
    factor = 2**level
    rng = np.random.default_rng(random.randrange(2**32))
    values, valid = rng.integers(0, 256, shape).astype(np.uint8), rng.random(shape) < 0.7
    means = _Means(frame_of(shape, factor=factor))
    cuts = [sorted({0, size, *(random.randint(0, size) for _ in range(3))}) for size in shape]
    for top, bottom in zip(cuts[0], cuts[0][1:], strict=False):
        for left, right in zip(cuts[1], cuts[1][1:], strict=False):
            rows, cols = slice(top, bottom), slice(left, right)
            means.add(Window(top, left, bottom - top, right - left), values[rows, cols], valid[rows, cols])
    for row in range(means.counts.shape[0]):
        for col in range(means.counts.shape[1]):
            own = slice(row * factor, (row + 1) * factor), slice(col * factor, (col + 1) * factor)
            assert means.counts[row, col] == valid[own].sum()
            assert means.sums[row, col] == values[own][valid[own]].sum()


# Imagery


def test_imagery_is_the_average_of_its_pixels(tmp_path: Path) -> None:
    pixels = noise(3, 64, 96, "uint16")
    raster = open_raster(str(write_raster(tmp_path / "scene.tif", pixels)))
    seen = read_imagery(raster, (2, 1, 0), Frame(raster.geobox, 2))
    expected = pixels[::-1].reshape(3, 32, 2, 48, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(seen.pixels, expected, atol=1e-3)
    assert seen.notes == []


def test_imagery_without_data_stays_empty_and_the_first_file_is_on_top(tmp_path: Path) -> None:
    low = np.full((3, 40, 40), 10, np.uint8)
    low[:, :20] = 0
    first = write_raster(tmp_path / "1.tif", low, nodata=0)
    moved = TEN_METRES @ Affine.translation(0, 10)
    second = write_raster(tmp_path / "2.tif", np.full((3, 40, 40), 99, np.uint8), transform=moved, nodata=0)
    raster = open_raster([str(first), str(second)])
    seen = read_imagery(raster, (0, 1, 2), Frame(raster.geobox)).pixels[0]
    assert np.isnan(seen[:10]).all()
    assert (seen[10:20, :] == 99).all(), "where the first file has no data, the second one is seen"
    assert (seen[20:40] == 10).all()
    assert (seen[40:50] == 99).all()


def test_imagery_in_another_crs_lies_where_the_raster_has_it(tmp_path: Path) -> None:
    pixels = np.ones((3, 200, 200), np.uint8)
    pixels[:, 60:100, 120:180] = 200
    utm = open_raster(str(write_raster(tmp_path / "utm.tif", pixels, nodata=0)))
    corner = Transformer.from_crs(UTM, 4326, always_xy=True).transform(440_000, 4_200_000)
    geobox = GeoBox((220, 240), Affine(1e-4, 0, corner[0], 0, -1e-4, corner[1]), "EPSG:4326")
    raster = open_raster(str(tmp_path / "utm.tif"), geobox=geobox)
    exact, mask = raster.read(Window(0, 0, 220, 240))
    seen = read_imagery(raster, (0, 1, 2), Frame(geobox)).pixels[0]
    both = mask & ~np.isnan(seen)
    assert (mask == ~np.isnan(seen)).mean() > 0.999
    assert np.abs(seen - exact[0])[both].max() < 25, "GDAL may err by an eighth of a pixel, of a step of 199"
    assert utm.shape == (200, 200)


def test_overviews_of_imagery_are_what_is_read(tmp_path: Path) -> None:
    path = write_raster(
        tmp_path / "scene.tif",
        np.full((3, 512, 512), 50, np.uint8),
        overviews=[2, 4, 8],
        tiled=True,
        blockxsize=64,
        blockysize=64,
    )
    with rasterio.open(path, "r+", overview_level=1) as overview:
        overview.write(np.full((3, 128, 128), 150, np.uint8))
    raster = open_raster(str(path))
    assert (read_imagery(raster, (0, 1, 2), Frame(raster.geobox, 4)).pixels == 150).all()
    assert (read_imagery(raster, (0, 1, 2), Frame(raster.geobox, 2)).pixels == 50).all()


def test_a_large_file_without_overviews_is_looked_at_here_and_there_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.report.thinning.MAX_SAMPLES", 100_000)
    pixels = np.tile(np.linspace(10, 250, 1024).astype(np.uint8), (3, 1024, 1))
    raster = open_raster(str(write_raster(tmp_path / "scene.tif", pixels, tiled=True, blockxsize=16, blockysize=16)))
    seen = read_imagery(raster, (0, 1, 2), Frame(raster.geobox, 4))
    assert any("gdaladdo" in note for note in seen.notes)
    assert not np.isnan(seen.pixels).any()
    assert np.abs(seen.pixels[0, 0] - pixels[0, 0, 2::4]).max() < 25


@pytest.mark.filterwarnings("ignore:the imagery of")
def test_a_damaged_part_of_a_run_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    labels = smooth_labels((60, 80))
    make_folder(tmp_path, labels, imagery=False)
    features = tmp_path / "features.gpkg"
    os.truncate(features, features.stat().st_size // 2)
    with pytest.warns(
        ReportWarning, match=r"features\.gpkg cannot be read \(.*\), so the report has no polygons; run the"
    ):
        assert make_report(tmp_path).is_file()
    os.truncate(tmp_path / "labels.tif", 3000)
    with pytest.raises(ReportError, match=r"labels\.tif cannot be read \((?!Read failed).*\); run the same command"):
        make_report(tmp_path)


def test_a_file_that_is_gone_is_noted_and_the_rest_is_shown(tmp_path: Path) -> None:
    first = write_raster(tmp_path / "1.tif", np.full((3, 40, 40), 10, np.uint8))
    write_raster(
        tmp_path / "2.tif", np.full((3, 40, 40), 99, np.uint8), transform=TEN_METRES @ Affine.translation(0, 20)
    )
    raster = open_raster([str(first), str(tmp_path / "2.tif")])
    first.unlink()
    seen = read_imagery(raster, (0, 1, 2), Frame(raster.geobox))
    assert "1.tif cannot be read any more" in seen.notes[0]
    assert (seen.pixels[0, 20:60] == 99).all()


@pytest.mark.parametrize(
    ("common", "names", "chosen"),
    [
        (["blue", "green", "red", "nir"], ["B02", "B03", "B04", "B08"], (2, 1, 0)),
        (["nir", "red", "green"], ["8", "4", "3"], (0, 1, 2)),
        ([None, None], ["a", "b"], (0,)),
        ([], ["blue", "red", "green"], (1, 2, 0)),
        (["vv", "vh", "angle", "dem"], ["1", "2", "3", "4"], (0, 1, 2)),
    ],
)
def test_bands_that_are_shown_are_colours_where_there_are_any(
    common: list[str | None], names: list[str], chosen: tuple[int, ...]
) -> None:
    assert choose_bands(common, names) == chosen


# Polygons


@pytest.mark.parametrize(
    "name", ["features.gpkg", "features.parquet", "features.fgb", "features.geojson", "features.shp"]
)
def test_polygons_of_every_format_lie_where_their_labels_lie(name: str, tmp_path: Path) -> None:
    labels = smooth_labels((150, 170))
    record = make_folder(tmp_path, labels, features=name, imagery=False)
    assert record.features == tmp_path / name
    file, frame = FeatureFile(tmp_path / name, "land_use"), frame_of(labels.shape)
    counted = count_features(file)
    shapes = read_shapes(file, frame, Limits(10_000, 10**6))
    assert sum(item.count for item in counted.values()) == len(shapes)
    drawn = rasterio.features.rasterize(
        zip(shapes.polygons, shapes.columns["class"].astype(int) + 1, strict=True), labels.shape
    )
    expected = np.where(labels == 255, 0, labels + 1)
    assert (drawn != expected).mean() < (0.01 if name.endswith("geojson") else 1e-9)
    for value, item in counted.items():
        assert item.area == pytest.approx((labels == value).sum() * 100, rel=1e-6)
        assert item.confidence == pytest.approx(0.8)
        assert item.smallest <= item.median <= item.largest * 1.05


def test_the_largest_polygons_are_kept_within_the_limits(tmp_path: Path) -> None:
    labels = smooth_labels((300, 400))
    make_folder(tmp_path, labels, imagery=False)
    file, frame = FeatureFile(tmp_path / "features.gpkg", "land_use"), frame_of(labels.shape)
    everything = read_shapes(file, frame, Limits(10**6, 10**7))
    some = read_shapes(file, frame, Limits(10, 10**7))
    assert len(some) == 10
    np.testing.assert_allclose(some.columns["area_m2"], np.sort(everything.columns["area_m2"])[::-1][:10])
    few = read_shapes(file, frame, Limits(10**6, 1_500))
    assert shapely.get_num_coordinates(few.polygons).sum() <= 1_500
    assert len(few) > 3, "no polygon takes all the vertices"
    sizes = np.sum([item.sizes for item in count_features(file).values()], axis=0)
    least = smallest_of_largest(sizes, 10)
    assert least is not None
    assert 10 <= (everything.columns["area_m2"] >= least).sum() <= 14
    assert smallest_of_largest(sizes, 10**6) is None


def test_the_largest_polygons_are_the_same_however_they_are_batched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = smooth_labels((300, 400))
    make_folder(tmp_path, labels, imagery=False)
    file, frame, limits = FeatureFile(tmp_path / "features.gpkg", "land_use"), frame_of(labels.shape), Limits(25, 2_000)
    whole = read_shapes(file, frame, limits)
    monkeypatch.setattr("geoseg.report.features.BATCH", 7)
    monkeypatch.setattr("geoseg.report.shapes.AT_ONCE", 3)
    parts = read_shapes(file, frame, limits)
    assert sorted(map(shapely.to_wkb, parts.polygons)) == sorted(map(shapely.to_wkb, whole.polygons))
    np.testing.assert_array_equal(parts.columns["area_m2"], whole.columns["area_m2"])


def test_simplified_polygons_keep_what_lies_beyond_a_narrow_neck_and_narrow_rivers() -> None:
    left = [(20, 10), (20, 0), (0, 0), (0, 20), (20, 20), (20, 10.1)]
    lakes = shapely.Polygon([*left, (40, 10), (40, 20), (60, 20), (60, 0), (40, 0), (40, 9.9)])
    river = shapely.LineString([(x, 5 * np.sin(x / 9)) for x in range(0, 300, 2)]).buffer(0.1)
    field = shapely.Point(0, 0).buffer(50, 64)
    polygons = np.array([lakes, river, field], object)
    simple = _simplified(polygons, 0.35)
    assert shapely.is_valid(simple).all()
    assert simple[0].area == pytest.approx(lakes.area, rel=0.05)
    assert simple[0].bounds == lakes.bounds
    assert simple[1].bounds == pytest.approx(river.bounds, abs=0.5)
    assert simple[1].hausdorff_distance(river) < 1
    assert shapely.get_num_coordinates(simple[2]) < shapely.get_num_coordinates(field) / 3
    assert simple[2].hausdorff_distance(field) < 0.4


@pytest.mark.parametrize("name", ["features.gpkg", "features.geojson"])
def test_boundaries_on_a_coarse_picture_stray_less_than_half_a_pixel(name: str, tmp_path: Path) -> None:
    labels = smooth_labels((300, 400))
    make_folder(tmp_path, labels, features=name, imagery=False)
    file, fine, coarse = (
        FeatureFile(tmp_path / name, "land_use"),
        frame_of(labels.shape),
        frame_of((300, 400), factor=4),
    )
    exact, seen = (read_shapes(file, frame, Limits(30, 10**6)) for frame in (fine, coarse))
    assert shapely.get_num_coordinates(seen.polygons).sum() < shapely.get_num_coordinates(exact.polygons).sum() / 3
    for one, other in zip(exact.polygons, seen.polygons, strict=True):
        scaled = shapely.affinity.scale(one, 0.25, 0.25, origin=(0, 0))
        assert other.boundary.hausdorff_distance(scaled.boundary) < 0.5


def test_noise_is_simplified_to_its_shells_and_larger_holes() -> None:
    rng = np.random.default_rng(0)
    land = np.ones((220, 440), np.uint8)
    land[:, 218:222] = 0  # two parts
    land[20:60, 30:80], land[100:150, 300:330] = 0, 0
    land[1:-1:2, 1:-1:2] &= rng.random((109, 219)) > 0.3  # thousands of holes of one pixel
    parts = [shapely.geometry.shape(item) for item, value in rasterio.features.shapes(land, land > 0) if value]
    noisy = np.array([shapely.MultiPolygon(parts), shapely.box(0, 0, 9, 9)], object)
    simple = _tamed(noisy.copy(), 600)
    assert shapely.get_num_coordinates(noisy[0]) > 20_000
    assert shapely.get_num_coordinates(simple[0]) <= 600
    assert shapely.is_valid(simple).all()
    assert simple[1] == noisy[1]
    whole = shapely.unary_union([shapely.Polygon(part.exterior) for part in parts])
    whole = whole - shapely.box(30, 20, 80, 60) - shapely.box(300, 100, 330, 150)
    assert simple[0].symmetric_difference(whole).area < 0.02 * whole.area


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("uint8", 0), ("uint8", None), ("int16", -7), ("uint16", 3.5), ("float32", np.nan), ("float32", -3.4e38),
     ("float64", 5.0), ("int32", 5)],
)  # fmt: skip
def test_pixels_without_data_are_those_of_the_mask(
    dtype: str, nodata: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    numbers = rng.integers(1, 99, (1, 220, 260)).astype(dtype)
    if nodata is not None:
        numbers[rng.random(numbers.shape) < 0.3] = np.array(nodata).astype(dtype)
    path = write_raster(tmp_path / "scene.tif", numbers, nodata=nodata)
    raster = open_raster(path)
    (piece,) = raster.pieces
    found = thin(piece.source, 0, raster.geobox, 3)
    monkeypatch.setattr(thinning, "_telling_nodata", lambda *_: None)
    expected = thin(piece.source, 0, raster.geobox, 3)
    assert found is not None
    assert expected is not None
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert np.isnan(found.pixels).any() or nodata in (None, 3.5)


def decoded(data: bytes, count: int) -> list[list[list[tuple[float, float]]]]:
    """Read encoded polygons byte by byte, as the page's script does."""
    stream, x, y = iter(zlib.decompress(data)), 0, 0

    def following() -> int:
        value = shift = 0
        while True:
            byte = next(stream)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def step() -> int:
        value = following()
        return -(value + 1) // 2 if value % 2 else value // 2

    polygons = []
    for _ in range(count):
        rings = []
        for _ in range(following()):
            points = []
            for _ in range(following()):
                x, y = x + step(), y + step()
                points.append((x / SUBPIXEL, y / SUBPIXEL))
            rings.append(points)
        polygons.append(rings)
    assert next(stream, None) is None
    return polygons


def test_encoded_polygons_are_the_polygons(tmp_path: Path) -> None:
    labels = smooth_labels((150, 170))
    make_folder(tmp_path, labels, imagery=False)
    shapes = read_shapes(
        FeatureFile(tmp_path / "features.gpkg", "land_use"), frame_of(labels.shape), Limits(999, 10**6)
    )
    found = decoded(encode(shapes), len(shapes))
    assert any(len(rings) > 1 for rings in found), "there should be holes to encode"
    for rings, polygon in zip(found, shapes.polygons, strict=True):
        assert shapely.Polygon(rings[0], rings[1:]).equals(polygon)


# Words


@given(st.floats(1e-4, 1e13))
def test_numbers_keep_four_digits_that_count(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=1e-3, abs=1e-6)


def test_areas_parts_and_times_read_well() -> None:
    assert [area(1_234_567.8, unit) for unit in ("m2", "ha", "km2")] == ["1,234,568 m²", "123.46 ha", "1.23 km²"]
    assert area(10, "km2") == "< 0.01 km²"
    assert [unit_for([size]) for size in (900, 2e5, 3e7)] == ["m2", "ha", "km2"]
    assert [percent(part) for part in (0.3291, 0.0004, 0.00004, 0.0, 1.0)] == [
        "32.9 %",
        "0.04 %",
        "< 0.01 %",
        "0.00 %",
        "100.0 %",
    ]
    assert [duration(seconds) for seconds in (0.312, 36.84, 725, 12_000)] == [
        "0.31 s",
        "36.8 s",
        "12 min 5 s",
        "3 h 20 min",
    ]


# The page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
        yield client


@pytest.fixture(scope="module")
def run_folder(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run, with confidence, of a model of two bands."""
    folder = tmp_path_factory.mktemp("run")
    field = smooth_labels((190, 230)).astype(np.uint8)
    pixels = np.stack(
        [np.where(field == 255, 0, 40 + 60 * (field % 3)), np.where(field == 255, 0, 200 - 70 * (field % 3))]
    )
    scene = write_raster(folder / "scene.tif", pixels.astype(np.uint8), nodata=0)
    model = write_model(folder / "model", Box(3), name="box", halo=3)
    geoseg.run({"model": str(model)}, input=str(scene), output=str(folder / "out"), ramp=8, client=client)
    return folder / "out"


@pytest.fixture(scope="module")
def page_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder made by hand, with its page: what lies where is known."""
    folder = tmp_path_factory.mktemp("made")
    record = make_folder(folder, smooth_labels((300, 400)))
    write_report(record, lambda: open_raster(str(folder / "scene.tif")))
    return folder


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    context = browser.new_context(viewport={"width": 1300, "height": 900})
    yield Watched(context.new_page())
    context.close()


def on_screen(page: Page, column: float, row: float, shape: tuple[int, int] = (300, 400)) -> tuple[float, float]:
    """Where a place of a picture of that shape is, when the map shows all of it."""
    canvas = page.locator("#map canvas")
    box, scale = canvas.bounding_box(), float(canvas.get_attribute("data-scale"))
    return (
        box["x"] + box["width"] / 2 + (column - shape[1] / 2) * scale,
        box["y"] + box["height"] / 2 + (row - shape[0] / 2) * scale,
    )


def color_at(page: Page, column: float, row: float) -> tuple[int, ...]:
    """What the canvas shows at a place of the picture: red, green, blue and alpha."""
    page.wait_for_timeout(120)
    return shown_at(page, *on_screen(page, column, row))


def shown_at(page: Page, x: float, y: float) -> tuple[int, ...]:
    """What the canvas shows at a place of the window: red, green, blue and alpha."""
    read = """([x, y]) => {
      const canvas = document.querySelector("#map canvas"), { left, top } = canvas.getBoundingClientRect();
      const ratio = canvas.width / canvas.clientWidth;
      const place = [Math.round((x - left) * ratio), Math.round((y - top) * ratio)];
      return [...canvas.getContext("2d").getImageData(...place, 1, 1).data];
    }"""
    return tuple(page.evaluate(read, [x, y]))


def inside(labels: NDArray[np.uint8], value: int) -> tuple[int, int]:
    """Column and row of a pixel deep inside a patch of a class."""
    from scipy.ndimage import distance_transform_edt

    row, column = np.unravel_index(np.argmax(distance_transform_edt(labels == value)), labels.shape)
    return int(column), int(row)


def switch(page: Page, name: str, value: str) -> None:
    page.locator(f"input[name={name}][value='{value}']").click()


def test_a_page_loads_without_a_complaint_and_asks_for_nothing_but_itself(
    run_folder: Path, page_folder: Path, watched: Watched
) -> None:
    for folder in (run_folder, page_folder):
        watched.asked.clear()
        watched.open(folder / "report.html")
        watched.page.wait_for_timeout(300)
        assert watched.complaints == []
        assert [url for url in watched.asked if not url.startswith("data:")] == [(folder / "report.html").as_uri()]


class _Addresses(HTMLParser):
    """Collects everything in a page that names something outside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, _tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found += [value or "" for name, value in attributes if name in ("src", "href", "srcset", "action", "data")]


def test_a_page_names_nothing_outside_of_itself_and_forbids_it_too(run_folder: Path) -> None:
    text = (run_folder / "report.html").read_text()
    parser = _Addresses()
    parser.feed(text)
    assert parser.found
    assert all(address.startswith("data:") for address in parser.found)
    assert "default-src 'none'" in text
    outside = re.findall(r"(?:https?:)?//[\w.-]+\.\w+", re.sub(r"base64,[^\"]*|\"data\":\"[^\"]*\"", "", text))
    assert set(outside) <= {"http://www.w3.org"}


def test_the_wheel_zooms_around_the_pointer_and_buttons_and_keys_zoom_and_move(
    page_folder: Path, watched: Watched
) -> None:
    page = watched.open(page_folder / "report.html")
    canvas, labels = page.locator("#map canvas"), smooth_labels((300, 400))
    switch(page, "layer", "imagery")
    switch(page, "layer", "polygons")
    page.locator("#opacity").fill("100")
    column, row = inside(labels, 2)
    x, y = on_screen(page, column, row)
    fitting = float(canvas.get_attribute("data-scale"))
    page.mouse.move(x, y)
    page.mouse.wheel(0, -400)
    page.wait_for_timeout(150)
    assert float(canvas.get_attribute("data-scale")) > 1.3 * fitting
    assert shown_at(page, x, y) == BUILT, "what was under the pointer stays there"
    page.get_by_label("Show everything").click()
    assert float(canvas.get_attribute("data-scale")) == pytest.approx(fitting, rel=1e-3)
    page.get_by_label("Zoom in").click()
    assert float(canvas.get_attribute("data-scale")) == pytest.approx(1.6 * fitting, rel=1e-3)
    canvas.focus()
    page.keyboard.press("-")
    page.keyboard.press("+")
    page.keyboard.press("0")
    assert float(canvas.get_attribute("data-scale")) == pytest.approx(fitting, rel=1e-3)
    before = canvas.screenshot()
    page.keyboard.press("ArrowRight")
    page.wait_for_timeout(150)
    assert canvas.screenshot() != before
    page.keyboard.press("0")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 80, y + 30, steps=4)
    page.mouse.up()
    page.wait_for_timeout(150)
    assert shown_at(page, x + 80, y + 30) == BUILT, "what was grabbed moves along"
    assert watched.complaints == []


def test_two_fingers_zoom(page_folder: Path, watched: Watched) -> None:
    page = watched.open(page_folder / "report.html")
    before = float(page.locator("#map canvas").get_attribute("data-scale"))
    page.evaluate(
        """() => {
          const canvas = document.querySelector("#map canvas"), { left, top } = canvas.getBoundingClientRect();
          canvas.setPointerCapture = () => {};
          const say = (name, id, x, y) => canvas.dispatchEvent(
            new PointerEvent(name, { pointerId: id, pointerType: "touch", clientX: left + x, clientY: top + y }));
          say("pointerdown", 1, 300, 300);
          say("pointerdown", 2, 400, 300);
          say("pointermove", 1, 250, 300);
          say("pointermove", 2, 450, 300);
          say("pointerup", 1, 250, 300);
          say("pointerup", 2, 450, 300);
        }"""
    )
    assert float(page.locator("#map canvas").get_attribute("data-scale")) == pytest.approx(2 * before, rel=0.01)


def test_pointing_at_the_map_tells_class_area_and_confidence(page_folder: Path, watched: Watched) -> None:
    page, labels = watched.open(page_folder / "report.html"), smooth_labels((300, 400))
    tip = page.locator(".tip")
    for value, (name, _) in CLASSES.items():
        column, row = inside(labels, value)
        page.mouse.move(*on_screen(page, column, row))
        assert tip.locator("b").inner_text() == name.replace("_", " ")
        assert re.search(r"Area\s+[\d.,]+ (m²|ha|km²)\s+Mean confidence\s+80 %", tip.inner_text())
    x, y = frame_of(labels.shape).transform @ (column, row)
    longitude, latitude = Transformer.from_crs(UTM, 4326, always_xy=True).transform(x, y)
    degrees = re.search(r"([\d.]+)° N, ([\d.]+)° W\n([\d.]+), ([\d.]+)", page.locator(".place").inner_text())
    assert degrees is not None
    found = [float(text) for text in degrees.groups()]
    assert found == pytest.approx([latitude, -longitude, x, y], rel=5e-6)
    page.mouse.move(*on_screen(page, 70, 40))
    assert tip.is_hidden(), "where there is no data there is nothing to tell"


def test_the_keyboard_reads_the_map_aloud(page_folder: Path, watched: Watched) -> None:
    page, labels = watched.open(page_folder / "report.html"), smooth_labels((300, 400))
    page.locator("#map canvas").focus()
    page.keyboard.press("Enter")
    spoken = page.locator("#spoken")
    assert spoken.get_attribute("aria-live") == "polite"
    assert spoken.inner_text().startswith(CLASSES[int(labels[150, 200])][0].replace("_", " "))
    assert "Area" in spoken.inner_text()


def test_layers_and_classes_are_switched_on_and_off(page_folder: Path, watched: Watched) -> None:
    page, labels = watched.open(page_folder / "report.html"), smooth_labels((300, 400))
    column, row = inside(labels, 1)
    mixed = color_at(page, column, row)
    switch(page, "layer", "imagery")
    page.locator("#opacity").fill("100")
    assert color_at(page, column, row) == TREES
    assert mixed != TREES
    switch(page, "class", "1")
    assert color_at(page, column, row)[3] == 0, "the class is hidden and nothing lies below"
    other = inside(labels, 2)
    assert color_at(page, *other) == BUILT
    page.mouse.move(*on_screen(page, column, row))
    assert page.locator(".tip").is_hidden()
    switch(page, "class", "1")
    switch(page, "layer", "labels")
    edge = page.locator("#map canvas").screenshot()
    switch(page, "layer", "polygons")
    page.wait_for_timeout(150)
    assert page.locator("#map canvas").screenshot() != edge
    switch(page, "layer", "imagery")
    red, green, blue, _ = color_at(page, column, row)
    assert red == green == blue, "imagery of this folder is grey"
    assert watched.complaints == []


def test_confidence_is_a_layer_of_a_real_run(run_folder: Path, watched: Watched) -> None:
    page = watched.open(run_folder / "report.html")
    before = page.locator("#map canvas").screenshot()
    switch(page, "layer", "confidence")
    page.wait_for_timeout(150)
    assert page.locator("#map canvas").screenshot() != before
    assert page.locator("#confidence-picture").evaluate("canvas => canvas.width") > 50


def test_plain_pixels_are_counted_and_have_neither_metres_nor_degrees(tmp_path: Path, watched: Watched) -> None:
    labels, crs = smooth_labels((100, 120)), PLAIN_PIXELS.to_wkt()
    record = make_folder(tmp_path, labels, transform=Affine(1, 0, 0, 0, -1, 0), crs=crs)
    write_report(record, lambda: open_raster(str(tmp_path / "scene.tif")))
    page = watched.open(tmp_path / "report.html")
    assert f"{(labels != 255).sum():,} px²" in page.locator(".areas tfoot").inner_text()
    assert re.fullmatch(r"\d+ px", page.locator(".scale").inner_text().strip())
    assert page.locator(".north").count() == page.locator(".units").count() == 0
    page.mouse.move(*on_screen(page, *inside(labels, 1), labels.shape))
    assert re.search(r"Area\s+[\d.,]+ px²", page.locator(".tip").inner_text())
    assert "°" not in page.locator(".place").inner_text()
    assert watched.complaints == []


def test_areas_are_shown_in_the_unit_that_is_chosen(page_folder: Path, watched: Watched) -> None:
    page, labels = watched.open(page_folder / "report.html"), smooth_labels((300, 400))
    pixels = (labels != 255).sum()
    page.locator(".units label", has_text="m²").first.click()
    shown = page.locator(".areas tfoot td[data-area]").inner_text()
    assert shown.endswith(" m²")
    assert float(shown.replace(",", "").split()[0]) == pytest.approx(pixels * 100, rel=1e-3)
    page.locator(".units label", has_text="ha").click()
    assert page.locator(".areas tfoot td[data-area]").inner_text().endswith(" ha")


def test_names_are_text_whatever_they_hold(tmp_path: Path, watched: Watched) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
    classes = {0: (evil, "#419bdf"), 1: ("a & b < c", "#397d49"), 2: ("x", "#c4281b")}
    blocks = {"done": {}, "kept": {}, "failed": {"0-0": f"predict: {evil}"}}
    record = make_folder(tmp_path, smooth_labels((100, 120)), classes=classes, status="incomplete", blocks=blocks)
    write_report(record, lambda: open_raster(str(tmp_path / "scene.tif")))
    page = watched.open(tmp_path / "report.html")
    page.wait_for_timeout(200)
    assert watched.complaints == []
    assert evil in page.locator(".areas").inner_text()
    assert "a & b < c" in page.locator(".legend").inner_text()
    assert evil in page.locator("#failures ~ .scroll").inner_text()


def test_a_run_with_failed_blocks_says_so_lists_them_and_shows_where(tmp_path: Path, watched: Watched) -> None:
    labels = smooth_labels((300, 400))
    blocks = {
        "done": {"predict": 19},
        "kept": {},
        "failed": {"1-2": "predict: the disk is on fire", "3-1-0": "join: no"},
    }
    record = make_folder(tmp_path, labels, status="incomplete", blocks=blocks)
    grid = TileGrid((300, 400), Tiling(84, 2, 16), (1, 1))
    (tmp_path / "state").mkdir()
    described = {
        "shape": [300, 400],
        "tiling": {"size": 84, "halo": 2, "ramp": 16, "multiple": 1},
        "block_tiles": [1, 1],
    }
    (tmp_path / "state" / "fingerprint.json").write_text(json.dumps({"grid": described}))
    core = grid.block(1, 2).core
    assert record.failed_windows() == {"1-2": core}
    write_report(record, lambda: open_raster(str(tmp_path / "scene.tif")))
    page = watched.open(tmp_path / "report.html")
    assert "2 blocks failed" in page.locator(".notice").first.inner_text()
    assert "the disk is on fire" in page.locator("#failures ~ .scroll").inner_text()
    page.mouse.move(*on_screen(page, core.x + core.width / 2, core.y + core.height / 2))
    assert "the disk is on fire" in page.locator(".tip").inner_text()
    switch(page, "layer", "failed")
    page.mouse.move(*on_screen(page, core.x + core.width / 2 + 1, core.y + core.height / 2))
    assert "the disk is on fire" not in page.locator(".tip").inner_text()


CONTRAST = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (rgb) => rgb.slice(0, 3).map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
  const behind = (element) => {
    for (let item = element; item; item = item.parentElement) {
      const color = parts(getComputedStyle(item).backgroundColor);
      if (color.length < 4 || color[3] > 0.7) return color;
    }
    return [255, 255, 255];
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode, element = text.parentElement;
    if (!text.textContent.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, style, svg, noscript")) continue;
    const [one, other] = [luminance(parts(getComputedStyle(element).color)), luminance(behind(element))].sort();
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) poor.push([text.textContent.trim().slice(0, 30), ratio]);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_by_day_and_by_night(scheme: Any, run_folder: Path, browser: Browser) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = Watched(context.new_page()).open(run_folder / "report.html")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background))) < 200) == (scheme == "dark")
    assert page.evaluate(CONTRAST) == []
    context.close()


@pytest.mark.parametrize("width", [360, 800, 1400])
def test_nothing_is_wider_than_the_screen(width: int, run_folder: Path, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800})
    page = Watched(context.new_page()).open(run_folder / "report.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


def test_every_control_has_a_name_and_every_heading_its_place(run_folder: Path, watched: Watched) -> None:
    page = watched.open(run_folder / "report.html")
    for control in page.locator("button, input, canvas[tabindex]").all():
        name = control.evaluate("item => item.ariaLabel || item.labels?.[0]?.textContent || item.textContent")
        assert name.strip()
    levels = page.locator("h1, h2, h3").evaluate_all("items => items.map(item => Number(item.tagName[1]))")
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_printed_page_has_the_map_and_the_tables_and_no_buttons(run_folder: Path, browser: Browser) -> None:
    context = browser.new_context()
    page = Watched(context.new_page()).open(run_folder / "report.html")
    page.emulate_media(media="print")
    assert page.locator("#map canvas").is_visible()
    assert page.locator(".areas").is_visible()
    assert not page.locator(".tools").is_visible()
    assert not page.locator(".units").is_visible()
    printed = page.pdf()
    assert printed.count(b"/Type /Page\n") <= 4, "the page needs more sheets of paper than it has sections for"
    context.close()


def test_the_printed_map_has_the_shape_of_the_map_and_its_scale(run_folder: Path, browser: Browser) -> None:
    """A canvas that paper stretches would have another scale across than down, and a wrong scale bar."""
    context = browser.new_context()
    page = Watched(context.new_page()).open(run_folder / "report.html")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    size = page.locator("#map canvas").evaluate(
        "item => [item.width / item.height, item.clientWidth / item.clientHeight]"
    )
    assert size[0] == pytest.approx(180 / 112, rel=0.01)
    assert size[1] == pytest.approx(size[0], rel=0.01)
    names = page.locator(".legend .classes span:not(.swatch)").evaluate_all(
        "items => items.map(item => item.offsetHeight)"
    )
    assert max(names) < 40, "names of classes stand in a line or two"
    page.emulate_media(media="screen")
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert not page.locator("#map.printed").count()
    context.close()


def test_numbers_of_areas_fit_on_a_phone(run_folder: Path, browser: Browser) -> None:
    context = browser.new_context(viewport={"width": 360, "height": 740})
    page = Watched(context.new_page()).open(run_folder / "report.html")
    seen = page.locator(".areas").evaluate("item => item.closest('.scroll').clientWidth - item.scrollWidth")
    assert seen >= 0
    context.close()


# Runs


def test_a_run_ends_with_its_report_and_its_manifest_tells_of_model_and_memory(run_folder: Path) -> None:
    record = read_record(run_folder)
    assert record.status == "finished"
    assert record.model["name"] == "box"
    assert [item["name"] for item in record.model["classes"]] == ["water", "trees", "crops"]
    memory = record.content["memory"]
    assert memory["client"] > 50 * 2**20
    assert all(peak > 50 * 2**20 for peak in memory["workers"].values())
    assert sum(record.plan["worker_bytes"].values()) > 0
    text = (run_folder / "report.html").read_text()
    for heading in (
        "Areas by class",
        "Polygons",
        "Confidence",
        "Time",
        "Memory",
        "Inputs",
        "Model: box",
        "The same again",
    ):
        assert heading in text


def test_confidence_of_a_run_is_the_mean_of_what_its_blocks_say(run_folder: Path) -> None:
    record = read_record(run_folder)
    frame = Frame(geobox_of(record), 4)
    found = read_confidence(record, frame)
    assert found is not None
    labels = record.folder.blocks.read_labels(slice(0, 190), slice(0, 230))
    confidence = record.folder.blocks.read_confidence(slice(0, 190), slice(0, 230)).astype(float)
    confidence[labels == 255] = np.nan
    padded = np.pad(confidence, ((0, 2), (0, 2)), constant_values=np.nan).reshape(48, 4, 58, 4)
    with np.errstate(all="ignore"):
        expected = np.nanmean(padded, axis=(1, 3), where=~np.isnan(padded))
    values, mask = found
    np.testing.assert_array_equal(mask, ~np.isnan(expected))
    np.testing.assert_allclose(values[mask], expected[mask], atol=0.51)


def test_confidence_of_very_many_blocks_is_read_from_some_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "MOST_BLOCKS", 16)
    grid = TileGrid((640, 640), Tiling(32, 0, 0, 1), (1, 1))
    (tmp_path / "blocks.zarr").mkdir()
    asked: list[tuple[int, int]] = []

    class Folder:
        state = tmp_path

        @property
        def blocks(self) -> Folder:
            return self

        def journal(self, stage: str) -> Any:
            places = {(block.row, block.col) for block in grid.blocks() if block.col < 10}
            return SimpleNamespace(places=lambda: places if stage == "finish" else set())

        def read_labels_and_confidence(self, rows: slice, cols: slice) -> tuple[np.ndarray, np.ndarray]:
            asked.append((rows.start, cols.start))
            labels = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
            return labels, labels + np.uint8(200 if rows.start < 320 else 100)

    labels = np.zeros((640, 640), np.uint8)
    labels[:, 40:48] = 255
    record: Any = SimpleNamespace(grid=grid, folder=Folder(), labels=write_raster(tmp_path / "labels.tif", labels))
    box = GeoBox((640, 640), Affine.translation(0, 640) @ Affine.scale(1, -1), "EPSG:32633")
    found = read_confidence(record, Frame(box, 4))
    assert found is not None
    assert len(asked) <= 16
    values, mask = found
    assert values.shape == mask.shape == (160, 160)
    assert mask[:, :10].all()
    assert not mask[:, 10:12].any()
    assert mask[:, 12:64].all()
    assert not mask[:, 128:].any()
    assert (values[:64, :64] == 200).all()
    assert (values[96:, :64] == 100).all()


def test_the_workflow_in_the_folder_makes_the_same_map_again(
    run_folder: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    again = geoseg.run(run_folder / "workflow.yaml", output=str(tmp_path / "again"), client=client, report=False)
    with rasterio.open(run_folder / "labels.tif") as first, rasterio.open(again.labels_path) as second:
        np.testing.assert_array_equal(first.read(1), second.read(1))
    assert again.report is None
    assert not (tmp_path / "again" / "report.html").exists()


def test_a_report_that_cannot_be_made_costs_a_run_nothing(
    run_folder: Path, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("no ink")

    monkeypatch.setattr("geoseg.workflow.reporting.write_report", fail)
    with pytest.warns(ReportWarning, match=r"no ink.*geoseg report .* tries again"):
        result = geoseg.run(run_folder / "workflow.yaml", output=str(tmp_path / "again"), client=client)
    assert result.report is None
    assert read_record(tmp_path / "again").status == "finished"


def test_dasks_own_report_is_written_on_request_and_needs_no_network(
    run_folder: Path, client: Client, tmp_path: Path
) -> None:
    geoseg.run(run_folder / "workflow.yaml", output=str(tmp_path), client=client, report=False, performance_report=True)
    text = (tmp_path / "performance.html").read_text()
    assert "predict" in text
    assert not re.findall(r"<script[^>]+src=|<link[^>]+stylesheet[^>]+http", text)


def test_a_report_is_made_again_and_without_imagery_that_is_gone(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = make_folder(tmp_path, smooth_labels((100, 120)))
    (tmp_path / "scene.tif").unlink()
    with pytest.warns(ReportWarning, match="imagery of"):
        path = make_report(record.path)
    assert 'id="imagery"' not in path.read_text()
    first = (run_folder / "report.html").read_text()
    (run_folder / "report.html").unlink()
    assert main(["report", str(run_folder)]) == 0
    assert capsys.readouterr().out.strip() == str(run_folder / "report.html")
    assert (run_folder / "report.html").read_text() == first


def test_a_folder_that_is_no_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputNotFoundError, match=r"holds no run\.json; give the output folder"):
        make_report(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ReportError, match="not a run manifest"):
        make_report(tmp_path)
    make_folder(tmp_path, smooth_labels((100, 120)))
    (tmp_path / "labels.tif").write_bytes(b"no tiff")
    with pytest.raises(ReportError, match=r"labels\.tif cannot be read"):
        write_report(read_record(tmp_path), lambda: None)


PEAKS = """
import json
from distributed import Client
from geoseg.peak_memory import reset_peak_memory, read_peaks

with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
    reset_peak_memory(client)
    before = read_peaks(client)
    block = bytearray(b"x") * (300 * 2**20)
    del block
    used = read_peaks(client)
    reset_peak_memory(client)
    print(json.dumps([list(before.workers.values()), before.own, used.own, read_peaks(client).own]))
"""
"""In a process of its own: of one that is large and idle the kernel may take more pages than the block has."""


def test_peaks_of_workers_count_what_was_used() -> None:
    """The workers of this client live in its process, which is therefore one."""
    printed = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True).stdout
    workers, before, used, after = json.loads(printed)
    assert workers == [pytest.approx(before, rel=0.05)]
    assert used - before == pytest.approx(300 * 2**20, rel=0.1)
    assert after < used - 200 * 2**20


@pytest.mark.slow
def test_peaks_of_other_processes_are_asked_for() -> None:
    with connect(None, 1) as client:
        before = read_peaks(client)
        client.run(eval, f"len(bytearray(b'x') * {300 * 2**20})")
        used = read_peaks(client)
    (name,) = before.workers
    assert used.workers[name] - before.workers[name] == pytest.approx(300 * 2**20, rel=0.1)
    assert used.own < before.own + 100 * 2**20
