"""Polygons of any CRS on earth: cut at the antimeridian, around a pole, at the edge of a map of the world."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Transformer
from shapely.affinity import translate

from geoseg.errors import FormatWarning
from geoseg.vector import earth, write_features
from geoseg.vector.earth import Places, in_degrees

EARTH = 510_065_621_724_089.0
"""Area of WGS 84, m2."""


def _on_earth(shape: Any, crs: str, highest: float = 90) -> tuple[Any, bool]:
    (degrees,), (is_whole,) = in_degrees(np.array([shape], dtype=object), Places(CRS(crs)), highest)
    return degrees, bool(is_whole)


def _area(degrees: Any) -> float:
    """On the ellipsoid, m2, by a map that keeps areas; of edges along parallels and meridians."""
    to_plane = Transformer.from_crs("EPSG:4326", "ESRI:54034", always_xy=True)
    return float(shapely.transform(degrees, to_plane.transform, interleaved=False).area)


@given(
    st.floats(178, 182),
    st.floats(-70, 70),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["EPSG:4326", "EPSG:4269", "EPSG:3832", "+proj=laea +lat_0=0 +lon_0=179 +type=crs"]),
)
def test_what_is_cut_at_the_antimeridian_is_the_same_on_both_sides(lon: float, lat: float, seed: int, crs: str) -> None:
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
    star = np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(0.5, 2, (12, 1)) + (lon, lat)
    whole = shapely.make_valid(shapely.Polygon(star).difference(shapely.Point(lon, lat).buffer(0.3)))
    there = partial(Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform, direction="INVERSE")
    own = whole
    if CRS(crs).is_projected:  # its edges are straight there
        own = shapely.transform(shapely.segmentize(whole, 0.02), there, interleaved=False)
    degrees, is_whole = _on_earth(own, crs)
    assert is_whole
    for part in shapely.get_parts(degrees):
        assert part.bounds[2] - part.bounds[0] < 180
        assert max(-part.bounds[0], part.bounds[2]) <= 180
    east = [translate(part, 360 if part.bounds[0] < 0 else 0) for part in shapely.get_parts(degrees)]
    differing = shapely.union_all(shapely.make_valid(np.array(east))).symmetric_difference(whole).area
    assert differing < 3e-5 * whole.length  # NAD83 lies a metre or two aside


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:8857"])
def test_edges_around_the_globe_are_no_jumps(crs: str) -> None:
    there = Transformer.from_crs("EPSG:4326", crs, always_xy=True).transform
    band = shapely.box(-179.9, -40, 179.9, 40)
    own = shapely.transform(shapely.segmentize(band, 1), there, interleaved=False)
    degrees, is_whole = _on_earth(own, crs)
    assert is_whole
    assert degrees.geom_type == "Polygon"
    assert degrees.symmetric_difference(band).area < 1


@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:3031", "EPSG:3573", "EPSG:6931", "EPSG:5936"])
@pytest.mark.parametrize("left", [-1e6, -3e5, 0.0, 1e5])
def test_polygons_around_a_pole_or_with_a_corner_there_keep_their_area(crs: str, left: float) -> None:
    """The pole within a square and within its hole; on an edge, on a corner; and beside them."""
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    pole = to_degrees.transform(0, -90 if crs == "EPSG:3031" else 90, direction="INVERSE")
    outer = translate(shapely.box(left, left, left + 2e6, left + 2e6), *pole)
    inner = translate(shapely.box(-2e5, -2e5, 2e5, 2e5), *pole)
    shapes = [outer, outer - inner, outer & inner]
    placed, is_whole = in_degrees(np.array(shapes), Places(CRS(crs)))
    whole, rest, within = map(_area, placed)
    assert is_whole.all()
    assert shapely.is_valid(placed).all()
    assert whole == pytest.approx(rest + within, rel=1e-7)
    if crs in ("EPSG:3573", "EPSG:6931"):  # these keep areas
        assert whole == pytest.approx(4e12, rel=1e-5)


@pytest.mark.parametrize(
    ("crs", "half", "area"),
    [
        ("ESRI:54009", (19e6, 10e6), EARTH),
        ("+proj=sinu +R=6371007.181 +units=m +no_defs", (21e6, 11e6), EARTH),
        ("+proj=igh +lon_0=0 +datum=WGS84 +units=m +no_defs", (21e6, 9e6), EARTH),
        ("EPSG:3857", (20037508.342789244, 20037508.342789244), EARTH * np.sin(np.radians(85.0511287798))),
    ],
)  # fmt: skip
def test_a_box_around_a_map_of_the_world_is_the_world(crs: str, half: tuple[float, float], area: float) -> None:
    degrees, is_whole = _on_earth(shapely.box(-half[0], -half[1], half[0], half[1]), crs)
    assert shapely.is_valid(degrees)
    assert is_whole == (crs == "EPSG:3857")
    assert _area(degrees) == pytest.approx(area, rel=2e-3)


GOODE = "+proj=igh +lon_0=0 +datum=WGS84 +units=m +no_defs"
BESIDE = shapely.box(14.625e5, 84e5, 15.625e5, 87e5) | shapely.box(14.625e5, 86e5, 16.625e5, 87e5)
"""Beside an interruption of Goode's map: a corner of its bounds is on the globe, and nothing of itself."""


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "crs"), [(shapely.box(1e9, 1e9, 2e9, 2e9), "EPSG:8857"), (BESIDE, GOODE)])
def test_what_has_no_place_is_empty(shape: shapely.Geometry, crs: str) -> None:
    degrees, is_whole = _on_earth(shape, crs)
    assert degrees.is_empty
    assert not is_whole


def test_large_pixels_are_projected_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 100 km: each edge becomes a hundred, so that a batch would be a hundred times what was read."""
    monkeypatch.setattr(earth, "MOST_VERTICES", 2_000)
    x = np.arange(0, 4e6, 1e5)
    squares = gpd.GeoDataFrame({"class": range(len(x))}, geometry=shapely.box(x, 0, x + 1e5, 1e5), crs="EPSG:8857")
    whole = pa.table(squares.to_arrow(index=False))
    placed = list(earth.on_earth(whole.to_batches(), CRS("EPSG:8857"), "a.geojson"))
    assert pa.concat_arrays([batch.column("class") for batch in placed]).to_pylist() == [*range(len(x))]
    shapes = [shapely.from_wkb(batch.column("geometry").to_pylist()) for batch in placed]
    assert max(shapely.get_num_coordinates(part).sum() for part in shapes) <= 2_000 + 405
    assert sum(map(_area, np.concatenate(shapes))) == pytest.approx(4e6 * 1e5, rel=1e-4)


def test_latitudes_beyond_the_poles_end_there() -> None:
    degrees, _ = _on_earth(shapely.box(-180.05, 80, 10, 90.05), "EPSG:4326")
    expected = shapely.union(shapely.box(-180, 80, 10, 90), shapely.box(179.95, 80, 180, 90))
    assert degrees.symmetric_difference(expected).area < 1e-9
    cut, is_whole = _on_earth(shapely.box(0, 80, 10, 90), "EPSG:4326", 85)
    assert cut.equals(shapely.box(0, 80, 10, 85))
    assert not is_whole


@pytest.mark.parametrize(("ending", "highest"), [(".geojson", 90.0), (".pmtiles", 85.0511287798066)])
@pytest.mark.parametrize("crs", ["EPSG:3413", "EPSG:6931"])
def test_files_hold_a_disk_around_the_pole(tmp_path: Path, ending: str, highest: float, crs: str) -> None:
    disk = shapely.Point(0, 0).buffer(3e6)
    table = gpd.GeoDataFrame({"class": [1]}, geometry=[disk], crs=crs)
    path, columns = tmp_path / f"a{ending}", {"class": "int64"}
    arrow = pa.table(table.to_arrow(index=False))
    if highest < 90:
        with pytest.warns(
            FormatWarning, match=r"1 polygons are not in 'a.pmtiles', or a part .* latitude 85.05; write"
        ):
            write_features(path, [arrow], layer="land", crs=crs, columns=columns)
    else:
        write_features(path, [arrow], layer="land", crs=crs, columns=columns)
    back = gpd.read_file(path).to_crs("ESRI:54034")
    assert len(back) == 1
    edge = Transformer.from_crs(crs, "EPSG:4326", always_xy=True).transform(3e6, 0)[1]
    assert back.area.sum() == pytest.approx(_area(shapely.box(-180, edge, 180, highest)), rel=5e-3)
