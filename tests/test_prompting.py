"""Layers of prompts taken to pixels and tiles, against rasterio, pyproj and brute force."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.features import rasterize

from geoseg.errors import CrsError, GeosegError, InputNotFoundError, InputWarning, RegionError, VectorError
from geoseg.grid import Window
from geoseg.models.prompts import Prompt
from geoseg.prompting import PromptLayer, prompts_text, read_prompts
from geoseg.workflow.settings import read_workflow, write_workflow

SHAPE = (300, 400)
"""Of the rasters here: y, x, px."""

EVERYWHERE = Window(0, 0, *SHAPE)

TRANSFORMS = {
    "north up": Affine(0.5, 0, 440_000, 0, -0.5, 4_200_000),
    "south up": Affine(0.5, 0, 440_000, 0, 0.5, 4_200_000),
    "rotated": Affine.translation(440_000, 4_200_000) @ Affine.rotation(30) @ Affine.scale(0.5, -0.25),
}


def geobox(transform: Affine = TRANSFORMS["north up"]) -> GeoBox:
    return GeoBox(SHAPE, transform, "EPSG:32618")


def write(path: Path, pixels: list[Any], grid: GeoBox | None = None, crs: Any = None, **columns: list[Any]) -> Path:
    """Write geometries given in pixels of a raster as a layer in any CRS."""
    grid = grid or geobox()
    placed = [shapely.affinity.affine_transform(shape, grid.affine.to_shapely()) for shape in pixels]
    table = gpd.GeoDataFrame(columns, geometry=placed, crs=str(grid.crs))
    (table if crs is None else table.to_crs(crs)).to_file(path)
    return path


def points(*places: tuple[float, float]) -> list[shapely.Point]:
    return [shapely.Point(place) for place in places]


def only(layer: PromptLayer, window: Window = EVERYWHERE) -> Prompt:
    (prompt,) = layer.within(window).objects
    return prompt


def refusal(kind: type[GeosegError], path: Path, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        read_prompts(path, geobox(), **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message[-1] in ".?"
    return message


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("crs", ["EPSG:32618", "EPSG:4326", "EPSG:3857"])
def test_points_of_any_crs_fall_on_the_pixels_that_pyproj_and_the_transform_say(
    tmp_path: Path, transform: Affine, crs: str
) -> None:
    grid = geobox(transform)
    places = np.random.default_rng(0).uniform((0, 0), SHAPE[::-1], (20, 2))
    path = write(tmp_path / "points.gpkg", points(*places), grid, crs)
    layer = read_prompts(path, grid)
    table = gpd.read_file(path)
    world = Transformer.from_crs(crs, "EPSG:32618", always_xy=True).transform(table.geometry.x, table.geometry.y)
    expected = np.column_stack(~transform @ tuple(np.asarray(axis) for axis in world))
    np.testing.assert_allclose(layer.points, expected[np.argsort(expected[:, 1])], atol=1e-6)
    np.testing.assert_allclose(np.sort(layer.points[:, 1]), np.sort(places[:, 1]), atol=1e-3)


def test_a_tile_gets_its_points_from_its_own_corner(tmp_path: Path) -> None:
    layer = read_prompts(write(tmp_path / "p.gpkg", points((50.5, 60.25), (200.0, 10.0))), geobox())
    found = layer.within(Window(40, 30, 64, 64)).objects
    assert [item.id for item in found] == [0]
    np.testing.assert_allclose(found[0].points, [[20.5, 20.25]], atol=1e-4)
    assert found[0].points.dtype == np.float32
    assert found[0].positive.tolist() == [True]
    assert found[0].box is None
    assert found[0].mask is None


def test_a_point_on_the_line_between_tiles_belongs_to_one_of_them() -> None:
    layer = PromptLayer(np.array([[64.0, 64.0]]), np.ones(1, bool), np.zeros(1, np.int64))
    corners = [Window(y, x, 64, 64) for y in (0, 64) for x in (0, 64)]
    assert [len(layer.within(window).objects) for window in corners] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    "signs",
    [[None, 0, 1], [True, False, True], ["", "Negative", "positive"], [1.0, 0.0, None], ["1", "0", "true"]],
    ids=str,
)
def test_negative_points_go_to_every_object_of_the_tile(tmp_path: Path, signs: list[Any]) -> None:
    path = write(tmp_path / "p.gpkg", points((10, 10), (20, 20), (30, 30)), positive=signs)
    layer = read_prompts(path, geobox())
    found = layer.within(Window(0, 0, 64, 64)).objects
    assert [item.id for item in found] == [0, 2]
    assert [item.positive.tolist() for item in found] == [[True, False], [False, True]]
    np.testing.assert_allclose(found[1].points, [[20, 20], [30, 30]], atol=1e-4)
    assert not layer.touches(Window(15, 15, 10, 10))  # only the negative point is there
    assert layer.within(Window(15, 15, 10, 10)).objects == ()


def test_another_column_may_hold_the_signs(tmp_path: Path) -> None:
    path = write(tmp_path / "p.gpkg", points((10, 10), (20, 20)), label=[1, 0])
    assert only(read_prompts(path, geobox(), column="label")).positive.tolist() == [True, False]


def test_rows_of_one_object_are_one_prompt(tmp_path: Path) -> None:
    shapes = [*points((10, 10), (20, 20), (30, 30)), shapely.box(40, 40, 60, 70)]
    path = write(tmp_path / "p.gpkg", shapes, object=["oak", "ash", "oak", "oak"], positive=[1, 1, 0, 1])
    oak, ash = read_prompts(path, geobox()).within(EVERYWHERE).objects
    np.testing.assert_allclose(oak.points, [[10, 10], [30, 30]], atol=1e-4)
    assert oak.positive.tolist() == [True, False]
    assert oak.box == pytest.approx((40, 40, 60, 70), abs=1e-4)
    assert oak.mask is None
    assert ash.positive.tolist() == [True]  # the negative point belongs to the oak
    assert (oak.id, ash.id) == (0, 1)


def test_rows_without_an_object_stand_alone(tmp_path: Path) -> None:
    path = write(tmp_path / "p.gpkg", points((10, 10), (20, 20), (30, 30), (40, 40)), object=[7, None, 7, None])
    found = read_prompts(path, geobox()).within(EVERYWHERE).objects
    assert [len(item.points) for item in found] == [2, 1, 1]


def test_parts_of_a_multi_geometry_are_one_prompt(tmp_path: Path) -> None:
    several = shapely.MultiPoint([(10, 10), (20, 20)])
    two = shapely.MultiPolygon([shapely.box(100, 10, 120, 30), shapely.box(130, 10, 140, 20)])
    first, second = read_prompts(write(tmp_path / "p.gpkg", [several, two]), geobox()).within(EVERYWHERE).objects
    np.testing.assert_allclose(first.points, [[10, 10], [20, 20]], atol=1e-4)
    assert second.box == pytest.approx((100, 10, 140, 30), abs=1e-4)
    assert second.mask is not None
    assert second.mask.sum() == 20 * 20 + 10 * 10


def test_boxes_are_cut_to_the_tile_and_left_out_where_they_do_not_meet_it(tmp_path: Path) -> None:
    layer = read_prompts(write(tmp_path / "p.gpkg", [shapely.box(50, 60, 150, 160)]), geobox())
    assert only(layer, Window(100, 100, 64, 64)).box == pytest.approx((0, 0, 50, 60), abs=1e-4)
    assert only(layer, Window(0, 0, 64, 64)).box == pytest.approx((50, 60, 64, 64), abs=1e-4)
    assert layer.within(Window(160, 0, 64, 64)).objects == ()
    assert not layer.touches(Window(160, 0, 64, 64))


def test_boxes_that_only_touch_a_tile_are_left_out() -> None:
    layer = PromptLayer(
        boxes=np.array([[0.0, 0, 64, 64]]), box_owners=np.zeros(1, np.int64), outlines=np.array([None], object)
    )
    for y, x in ((0, 64), (64, 0), (64, 64), (0, -64), (-64, 0)):
        assert not layer.touches(Window(y, x, 64, 64))
        assert layer.within(Window(y, x, 64, 64)).objects == ()
    assert layer.touches(Window(63, 63, 64, 64))


def test_a_polygon_is_left_out_where_only_its_bounds_meet_the_tile(tmp_path: Path) -> None:
    triangle = shapely.Polygon([(10, 10), (200, 10), (10, 200)])
    layer = read_prompts(write(tmp_path / "p.gpkg", [triangle]), geobox())
    assert layer.touches(Window(20, 20, 64, 64))
    assert not layer.touches(Window(130, 130, 64, 64))
    assert layer.within(Window(130, 130, 64, 64)).objects == ()


def test_a_wide_rectangle_in_degrees_keeps_its_curved_edges(tmp_path: Path) -> None:
    grid = GeoBox(SHAPE, Affine(1000, 0, 300_000, 0, -1000, 5_100_000), "EPSG:32618")
    box = shapely.box(-77.0, 44.0, -73.0, 45.0)
    gpd.GeoDataFrame(geometry=[box], crs="EPSG:4326").to_file(tmp_path / "p.gpkg")
    ring = gpd.GeoSeries([shapely.segmentize(box, 0.01)], crs="EPSG:4326").to_crs("EPSG:32618")[0]
    curved = shapely.affinity.affine_transform(ring, (~grid.affine).to_shapely()).bounds
    straight = shapely.affinity.affine_transform(
        gpd.GeoSeries([box], crs="EPSG:4326").to_crs("EPSG:32618")[0], (~grid.affine).to_shapely()
    ).bounds
    assert np.abs(np.subtract(curved, straight)).max() > 1
    assert read_prompts(tmp_path / "p.gpkg", grid).boxes[0] == pytest.approx(curved, abs=0.2)


@pytest.mark.parametrize("crs", ["EPSG:32618", "EPSG:4326"])
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
def test_a_rectangle_of_its_own_crs_is_a_box_without_a_mask(tmp_path: Path, transform: Affine, crs: str) -> None:
    grid = geobox(transform)
    middle = gpd.GeoSeries([shapely.Point(*(transform @ (200, 150)))], crs="EPSG:32618").to_crs(crs)[0]
    half = 20.0 if crs == "EPSG:32618" else 2e-4
    box = shapely.box(middle.x - half, middle.y - half, middle.x + half, middle.y + half)
    gpd.GeoDataFrame(geometry=[box], crs=crs).to_file(tmp_path / "b.gpkg")
    found = only(read_prompts(tmp_path / "b.gpkg", grid))
    ring = gpd.GeoSeries([shapely.segmentize(box, half / 50)], crs=crs).to_crs("EPSG:32618")[0]
    pixels = shapely.affinity.affine_transform(ring, (~transform).to_shapely())
    assert found.mask is None
    assert found.box == pytest.approx(pixels.bounds, abs=0.05)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_the_mask_of_a_polygon_is_what_rasterio_burns_in_every_tile(seed: int) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    radius = rng.uniform(20, 140, 9)
    xy = np.column_stack([200 + radius * np.cos(angles), 150 + radius * np.sin(angles)])
    star = shapely.make_valid(shapely.Polygon(xy))
    layer = PromptLayer(
        boxes=np.array([star.bounds]), box_owners=np.zeros(1, np.int64), outlines=np.array([star], object)
    )
    whole = rasterize([star], SHAPE).astype(bool)
    for y, x in rng.integers(-20, 300, (4, 2)):
        window = Window(int(y), int(x), 96, 80)
        inside = window.intersect(EVERYWHERE)
        found = layer.within(window).objects
        mask = found[0].mask if found else None
        ours = np.zeros(window.shape, bool) if mask is None else mask
        theirs = np.zeros(window.shape, bool)
        theirs[inside.relative_to(window).slices()] = whole[inside.slices()]
        np.testing.assert_array_equal(ours, theirs)
        assert layer.touches(window) == bool(found)


def test_what_stands_outside_of_the_raster_is_cut_off(tmp_path: Path) -> None:
    shapes = [*points((-5, 10), (10, 10), (10, 310)), shapely.box(380, 290, 500, 500)]
    with pytest.warns(InputWarning, match="2 of 4 features .* lie outside of the raster"):
        layer = read_prompts(write(tmp_path / "p.gpkg", shapes), geobox())
    point, box = layer.within(Window(-50, -50, 600, 600)).objects
    assert point.id == 1
    assert box.box == pytest.approx((430, 340, 450, 350), abs=1e-4)


def scene(count: int, seed: int) -> PromptLayer:
    """Many points, positive and negative, owned and not, and boxes."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(0, 5_000, (count, 2))
    xy = xy[np.argsort(xy[:, 1])]
    positive = rng.random(count) < 0.8
    owners = rng.integers(0, count // 2, count)
    owners[~positive & (rng.random(count) < 0.5)] = -1
    corner, size = rng.uniform(0, 5_000, (count // 4, 2)), rng.uniform(1, 80, (count // 4, 2))
    numbers = rng.permutation(count)[: count // 4]
    boxes = np.column_stack([corner, corner + size])
    return PromptLayer(xy, positive, owners, boxes, numbers, np.full(len(boxes), None, object))


def brute_force(layer: PromptLayer, window: Window) -> dict[int, tuple[list[Any], Any]]:
    """What each object has in a window, one prompt after the other."""
    corner = shapely.box(window.x, window.y, window.right, window.bottom)
    found: dict[int, tuple[list[Any], Any]] = {}
    everyone, marked = [], set()
    for (x, y), positive, owner in zip(layer.points, layer.positive, layer.owners, strict=True):
        if window.x <= x < window.right and window.y <= y < window.bottom:
            item = (np.float32(x - window.x), np.float32(y - window.y), bool(positive))
            if owner == -1:
                everyone.append(item)
            else:
                found.setdefault(int(owner), ([], None))[0].append(item)
                marked |= {int(owner)} if positive else set()
    for box, owner in zip(layer.boxes, layer.box_owners, strict=True):
        part = shapely.box(*box).intersection(corner)
        if part.area > 0:
            found[int(owner)] = (found.get(int(owner), ([], None))[0], part.bounds)
            marked.add(int(owner))
    return {owner: (sorted(found[owner][0] + everyone), found[owner][1]) for owner in marked}


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(-100, 5_000), st.integers(-100, 5_000), st.integers(1, 900))
def test_tiles_get_what_a_search_through_every_prompt_finds(seed: int, y: int, x: int, size: int) -> None:
    layer, window = scene(400, seed), Window(y, x, size, size)
    expected = brute_force(layer, window)
    found = layer.within(window).objects
    assert [item.id for item in found] == sorted(expected)
    assert layer.touches(window) == bool(expected)
    for item in found:
        spots, box = expected[item.id]
        ours = zip(item.points[:, 0], item.points[:, 1], item.positive.tolist(), strict=True)
        assert sorted(ours) == spots
        assert (item.box is None) == (box is None)
        if item.box is not None:
            np.testing.assert_allclose(np.add(item.box, (x, y, x, y)), box, atol=1e-9)


def test_text_is_asked_in_every_tile() -> None:
    layer = PromptLayer(text="a tree")
    assert layer.touches(Window(10_000, 0, 64, 64))
    assert layer.within(Window(10_000, 0, 64, 64)).objects == ()
    assert layer.within(Window(0, 0, 64, 64)).text == "a tree"
    assert not PromptLayer().touches(EVERYWHERE)


def test_a_layer_survives_pickling_and_is_small() -> None:
    layer = scene(100_000, 0)
    packed = pickle.dumps(layer)
    assert len(packed) < 5_000_000
    assert pickle.loads(packed).digest() == layer.digest()


def variants() -> dict[str, PromptLayer]:
    star, base = shapely.Point(50, 50).buffer(20), scene(40, 1)
    outlines: NDArray[np.object_] = base.outlines.copy()
    outlines[0] = star
    return {
        "moved": replace(base, points=base.points + 1e-9),
        "sign": replace(base, positive=~base.positive),
        "owner": replace(base, owners=base.owners + 1),
        "box": replace(base, boxes=base.boxes * 1.5),
        "box owner": replace(base, box_owners=base.box_owners + 1),
        "outline": replace(base, outlines=outlines),
        "text": replace(base, text="a tree"),
    }


@pytest.mark.parametrize(("name", "other"), variants().items(), ids=variants())
def test_the_digest_tells_any_change(name: str, other: PromptLayer) -> None:
    assert other.digest() != scene(40, 1).digest()
    assert other.digest() == variants()[name].digest()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "none.gpkg" in refusal(InputNotFoundError, tmp_path / "none.gpkg")


def test_a_file_that_is_no_vector_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.gpkg").write_text("not a database")
    assert "not a readable vector file" in refusal(VectorError, tmp_path / "p.gpkg")


def test_a_layer_without_crs_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        gpd.GeoDataFrame(geometry=points((1, 1))).to_file(tmp_path / "p.gpkg")
    assert "no CRS" in refusal(CrsError, tmp_path / "p.gpkg")


def test_a_layer_without_features_is_refused(tmp_path: Path) -> None:
    gpd.GeoDataFrame(geometry=[None], crs="EPSG:32618").to_file(tmp_path / "p.gpkg", geometry_type="Point")
    assert "no features" in refusal(VectorError, tmp_path / "p.gpkg")


def test_lines_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.gpkg", [shapely.LineString([(1, 1), (9, 9)])])
    assert "type LineString" in refusal(VectorError, path)


def test_several_layers_are_refused(tmp_path: Path) -> None:
    for name in ("roofs", "trees"):
        table = gpd.GeoDataFrame(geometry=points((440_010, 4_199_990)), crs="EPSG:32618")
        table.to_file(tmp_path / "p.gpkg", layer=name)
    assert "layers roofs, trees" in refusal(VectorError, tmp_path / "p.gpkg")


def test_a_sign_that_nobody_understands_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.gpkg", points((10, 10), (20, 20)), positive=["yes", "maybe"])
    assert "'yes' in the column 'positive'" in refusal(VectorError, path)


def test_a_negative_polygon_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.gpkg", [*points((10, 10)), shapely.box(5, 5, 9, 9)], positive=[1, 0])
    assert "only points" in refusal(VectorError, path)


def test_a_column_that_is_not_there_is_named_with_its_nearest(tmp_path: Path) -> None:
    path = write(tmp_path / "p.gpkg", points((10, 10)), labels=[1])
    assert "did you mean 'labels'?" in refusal(VectorError, path, column="label")


@pytest.mark.parametrize(
    "shapes", [points((-50, 10)), [shapely.box(500, 500, 600, 600)], points((1e7, 1e7))], ids=["left", "below", "far"]
)
def test_prompts_outside_of_the_raster_are_refused(tmp_path: Path, shapes: list[Any]) -> None:
    assert "within the raster" in refusal(RegionError, write(tmp_path / "p.gpkg", shapes))


def test_a_layer_of_negative_points_alone_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "p.gpkg", points((10, 10)), positive=[0])
    assert "marks an object" in refusal(RegionError, path)


def test_geoparquet_and_geojson_are_read_too(tmp_path: Path) -> None:
    table = gpd.read_file(write(tmp_path / "p.geojson", points((10, 20)), crs="EPSG:4326"))
    table.to_parquet(tmp_path / "p.parquet")
    for name in ("p.geojson", "p.parquet"):
        np.testing.assert_allclose(read_prompts(tmp_path / name, geobox()).points, [[10, 20]], atol=1e-3)


def table(crs: str = "EPSG:32618") -> gpd.GeoDataFrame:
    """A positive and a negative point of one object, a polygon, and a column that says nothing here."""
    shapes = [shapely.Point(440_010.125, 4_199_990.3), shapely.Point(440_020, 4_199_980)]
    shapes.append(shapely.Polygon([(440_050, 4_199_950), (440_090, 4_199_940), (440_060, 4_199_900)]))
    columns = {"positive": [True, False, None], "object": ["a", "a", None], "owner": ["Ada", "Bo", "Cy"]}
    return gpd.GeoDataFrame(columns, geometry=shapes, crs="EPSG:32618").to_crs(crs)


@pytest.mark.parametrize("crs", ["EPSG:32618", "EPSG:4326", "ESRI:54009"])
def test_prompts_in_memory_are_those_of_their_file(tmp_path: Path, crs: str) -> None:
    frame = table(crs)
    frame.to_file(tmp_path / "p.gpkg")
    expected = read_prompts(tmp_path / "p.gpkg", geobox()).digest()
    assert read_prompts(frame, geobox()).digest() == expected
    assert read_prompts(prompts_text(frame), geobox()).digest() == expected
    frame.geometry.to_file(tmp_path / "shapes.gpkg")
    shapes = read_prompts(tmp_path / "shapes.gpkg", geobox()).digest()
    assert read_prompts(frame.geometry, geobox()).digest() == shapes != expected


def test_a_geometry_is_a_prompt_in_the_rasters_crs() -> None:
    for shape in table().geometry:
        series = gpd.GeoSeries([shape], crs="EPSG:32618")
        assert read_prompts(shape, geobox()).digest() == read_prompts(series, geobox()).digest()


def test_prompts_as_geojson_are_in_degrees_unless_a_crs_is_named() -> None:
    degrees, metres = (str(table(crs).geometry.to_json()) for crs in ("EPSG:4326", "EPSG:32618"))
    expected = read_prompts(table().geometry, geobox())
    np.testing.assert_allclose(read_prompts(degrees, geobox()).points, expected.points, atol=1e-3)
    assert read_prompts(f"EPSG:32618;{metres}", geobox()).digest() == expected.digest()
    feature = {"type": "Feature", "properties": {"positive": 1}, "geometry": table().geometry[0].__geo_interface__}
    assert len(read_prompts(f"EPSG:32618;{json.dumps(feature)}", geobox()).points) == 1


def test_a_workflow_keeps_prompts_in_memory(tmp_path: Path) -> None:
    wanted = read_workflow({"model": "sam", "input": "a.tif"}, prompts=table())
    write_workflow(wanted, tmp_path / "workflow.yaml")
    again = read_workflow(tmp_path / "workflow.yaml")
    assert again.prompts == wanted.prompts is not None
    assert read_prompts(again.prompts, geobox()).digest() == read_prompts(table(), geobox()).digest()


@pytest.mark.parametrize(
    ("prompts", "kind", "words"),
    [
        (table().set_crs(None, allow_override=True), CrsError, "without a CRS; give it one with set_crs"),
        ([1, 2], VectorError, "is a list; give a vector file"),
        ('{"type": "Point"', VectorError, "at least one point"),
        ('{"type": "Point"}', VectorError, "cannot be read"),
        ('EPSG:0;{"type": "Point", "coordinates": [0, 0]}', VectorError, "cannot be read"),
        (shapely.LineString([(0, 0), (1, 1)]), VectorError, "the prompts have features of type LineString"),
        (shapely.Point(0, 0), RegionError, "no point and no polygon of the prompts that marks an object"),
        (gpd.GeoSeries([None], crs=4326), VectorError, "no features"),
    ],
    ids=["no CRS", "list", "cut off", "no coordinates", "unknown CRS", "line", "outside", "empty"],
)
def test_prompts_in_memory_that_cannot_be_used_are_refused(prompts: Any, kind: type[GeosegError], words: str) -> None:
    if words == "at least one point":  # no GeoJSON, so a path
        kind = InputNotFoundError
    assert words in refusal(kind, prompts)


@pytest.mark.parametrize("west", [170.0, -190.0, 530.0], ids=str)
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3832", "EPSG:32601", "EPSG:3857"])
@pytest.mark.parametrize("turns", [-1, 0, 1])
def test_prompts_fall_on_rasters_over_the_antimeridian_whatever_their_longitudes(
    west: float, crs: str, turns: int
) -> None:
    """A raster of 170 to 190 degrees, or of the same place counted otherwise; EPSG:3832 has no seam there."""
    grid = GeoBox((200, 400), Affine(0.05, 0, west, 0, -0.05, 5), "EPSG:4326")
    lon = np.array([172.0, 179.9, 181.0, 188.0])
    wrapped = np.where(lon > 180, lon - 360, lon)
    spots = gpd.GeoSeries(shapely.points(wrapped, 1), crs="EPSG:4326")
    if crs == "EPSG:4326":
        spots = spots.translate(360 * turns)
    elif crs != "EPSG:32601":
        spots = spots.to_crs(crs)
    else:
        spots = spots[2:3].to_crs(crs)
        lon = lon[2:3]
    layer = read_prompts(spots, grid)
    np.testing.assert_allclose(np.sort(layer.points[:, 0]), (lon - 170) / 0.05, atol=1e-3)
    if crs == "EPSG:3857":
        return
    box = gpd.GeoSeries([shapely.box(178.5, 0, 181.5, 2)], crs="EPSG:4326").translate(-360)
    box = box.translate(360 * turns) if crs == "EPSG:4326" else box.to_crs(crs)
    found = read_prompts(box, grid)
    np.testing.assert_allclose(found.boxes, [[170, 60, 230, 100]], atol=1)


def test_names_of_columns_may_be_in_capitals() -> None:
    table = gpd.GeoDataFrame(
        {"Positive": [1, 0, 1], "OBJECT": ["a", "a", "b"]}, geometry=points((9, 9), (20, 9), (30, 9)), crs="EPSG:32618"
    )
    table.geometry = table.geometry.affine_transform(geobox().affine.to_shapely())
    expected = read_prompts(prompts_text(table.rename(columns=str.lower)), geobox())
    assert read_prompts(prompts_text(table), geobox()).digest() == expected.digest()
    assert expected.positive.tolist() == [True, False, True]


def test_dates_and_bytes_name_objects_too() -> None:
    names = [np.datetime64("2020-01-01"), np.datetime64("2021-01-01"), np.datetime64("2020-01-01")]
    for column in (names, [b"a", b"b", b"a"]):
        table = gpd.GeoDataFrame({"object": column}, geometry=points((9, 9), (20, 9), (30, 9)), crs="EPSG:32618")
        table.geometry = table.geometry.affine_transform(geobox().affine.to_shapely())
        owners = read_prompts(prompts_text(table), geobox()).owners
        assert owners[0] == owners[2] != owners[1]


def test_prompts_that_are_left_out_are_counted() -> None:
    edge = shapely.Point(SHAPE[1], 9)
    table = gpd.GeoDataFrame(geometry=[*points((9, 9), (-20, 9), (np.nan, 9)), edge], crs="EPSG:32618")
    table.geometry = table.geometry.affine_transform(geobox().affine.to_shapely())
    with pytest.warns(InputWarning) as warned:
        assert len(read_prompts(prompts_text(table), geobox()).points) == 1
    assert [str(item.message) for item in warned] == [
        "1 of 4 features of the layer of prompts have coordinates that are no numbers; left out.",
        "2 of 3 features of the prompts lie outside of the raster; left out.",
    ]
