"""Small zooms of vector tiles: no gaps and no overlaps at any of them, whatever the blocks."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyproj import CRS

import geoseg
from geoseg.grid import Window
from geoseg.outlines import OutlineFolder, OutlinePlan, overviews
from geoseg.outlines.overviews import OutlineOverviews, overviews_of
from geoseg.vectorize import Shaping
from tests.test_outlines import CRS_CODE, TRANSFORM, noise, write
from tests.vector_tiles import EXTENT, about, tiles_of

AREA = EXTENT**2


@dataclass(frozen=True)
class Labels:
    """Labels in memory."""

    pixels: NDArray[Any]
    has_confidence: ClassVar[bool] = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.pixels.dtype

    def read(self, window: Window) -> tuple[NDArray[Any], None]:
        return self.pixels[window.slices()], None


def plan_of(labels: NDArray[Any], **more: Any) -> OutlinePlan:
    height, width = labels.shape
    source = Labels(labels)
    return OutlinePlan(
        source, OutlineFolder(Path("nowhere")), (0, height), (0, width), TRANSFORM, CRS(CRS_CODE), Shaping(), **more
    )


def voted(labels: NDArray[Any]) -> NDArray[Any]:
    """Half as many rows and columns: the most frequent label of each 2 x 2, the first to be read of equal ones."""
    height, width = labels.shape
    padded = np.pad(labels, ((0, height % 2), (0, width % 2)), "edge")
    found = np.empty((padded.shape[0] // 2, padded.shape[1] // 2), labels.dtype)
    for y, x in np.ndindex(found.shape):
        four = padded[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel().tolist()
        counts = Counter(four)
        found[y, x] = max(four, key=lambda value: (counts[value], -four.index(value)))
    return found


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 4), st.integers(0, 2**32), st.data())
def test_cells_have_the_most_frequent_label_of_four_again_and_again(
    height: int, width: int, halvings: int, seed: int, data: st.DataObject
) -> None:
    labels = np.random.default_rng(seed).integers(0, 4, (height, width)).astype(np.uint8)
    expected = labels
    for _ in range(halvings):
        expected = voted(expected)
    side = data.draw(st.sampled_from([1, 4, 16, 64]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overviews, "SIDE", side)
        y, x = (data.draw(st.integers(0, size - 1)) for size in expected.shape)
        rows, cols = expected.shape[0] - y, expected.shape[1] - x
        window = Window(y, x, data.draw(st.integers(1, rows)), data.draw(st.integers(1, cols)))
        found, _ = overviews._Cells(plan_of(labels), 2**halvings).read(window)
    np.testing.assert_array_equal(found, expected[window.slices()])


def gathered(plan: OutlinePlan, factor: int) -> list[tuple[int, str, bytes]]:
    tables = OutlineOverviews(plan).tables(factor)
    rows = [
        zip(*(table.column(name).to_pylist() for name in ("class", "name", "geometry")), strict=True)
        for table in tables
    ]
    return sorted(row for part in rows for row in part)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_copies_cover_every_cell_once_for_every_size_of_blocks(
    monkeypatch: pytest.MonkeyPatch, connectivity: int
) -> None:
    labels = noise((230, 190), 5, 3)
    labels[40:90, 100:150] = 255
    plan = plan_of(labels, names={2: "water"})
    plan = replace(plan, shaping=Shaping(connectivity=connectivity))
    found = []
    for block in (7, 16, 512):
        monkeypatch.setattr(overviews, "BLOCK", block)
        found.append(gathered(plan, 4))
    assert found[0] == found[1] == found[2]
    shapes = shapely.from_wkb([blob for *_, blob in found[0]])
    assert shapely.is_valid(shapes).all()
    cells = voted(voted(labels))
    united = shapely.union_all(shapes)
    assert shapely.area(shapes).sum() == pytest.approx(united.area)
    extent = shapely.box(*TRANSFORM @ (0, 230), *TRANSFORM @ (190, 0))
    mapped = extent & shapely.union_all(
        [
            shapely.box(*TRANSFORM @ (4 * x, 4 * y), *TRANSFORM @ (4 * x + 4, 4 * y + 4))
            for y, x in np.argwhere(cells != 255).tolist()
        ]
    )
    assert shapely.symmetric_difference(united, mapped).area < 0.02 * mapped.area, "only its stairs are gone"
    assert {(number, name) for number, name, _ in found[0]} == {(0, "0"), (1, "1"), (2, "water"), (3, "3"), (4, "4")}


def test_cells_of_a_region_are_read_where_it_has_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overviews, "BLOCK", 8)
    labels = np.full((300, 400), 255, np.uint8)
    labels[96:128, 320:352], labels[128:160, 32:64] = noise((32, 32), 3, 1), noise((32, 32), 3, 2)
    rows, cols = ((*range(0, size, 32), size) for size in labels.shape)
    everywhere = replace(plan_of(labels), rows=rows, cols=cols)
    plan, read = replace(everywhere, places=frozenset({(3, 10), (4, 1)})), []
    own = Labels.read
    monkeypatch.setattr(Labels, "read", lambda self, window: (read.append(window), own(self, window))[1])
    for factor in (2, 4, 16):
        read.clear()
        found = gathered(plan, factor)
        assert factor == 16 or sum(window.area for window in read) < 0.5 * labels.size
        assert found == gathered(everywhere, factor)


def test_objects_walls_and_a_single_class_have_no_boundaries_in_common() -> None:
    plan = plan_of(noise((20, 20)), names={1: "roof"})
    assert overviews_of(plan) is None
    assert overviews_of(replace(plan, classes=[0, 1])) is not None
    assert overviews_of(replace(plan, names={}, tolerance=1.0)) is None
    assert overviews_of(replace(plan, names={})) is not None


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"min_area": 4_000, "simplify": 15}], ids=["pixels", "sifted"])
def test_tiles_of_every_zoom_have_neither_gaps_nor_overlaps(tmp_path: Path, settings: dict[str, Any]) -> None:
    labels = noise((420, 390), 5)
    labels[60:180, 40:220] = 255
    raster, path = write(tmp_path / "labels.tif", labels, nodata=255), tmp_path / "map.pmtiles"
    geoseg.polygonize(str(raster), path, block_size=128, **settings)
    header, metadata = about(path)
    zooms = range(header["min_zoom"], header["max_zoom"] + 1)
    (layer,) = metadata["vector_layers"]
    assert len(zooms) == 7
    assert (layer["id"], layer["minzoom"], layer["maxzoom"]) == ("polygons", zooms[0], zooms[-1])
    areas = dict.fromkeys(zooms, 0.0)
    for (zoom, _, _), features in tiles_of(path):
        shapes = np.array([shape for _, shape in features], object)
        assert shapely.is_valid(shapes).all()
        inside = shapely.intersection(shapes, shapely.box(0, 0, EXTENT, EXTENT))
        united = shapely.union_all(inside)
        assert shapely.area(inside).sum() == pytest.approx(united.area, rel=1e-9), "polygons overlap"
        areas[zoom] += united.area / AREA * 4 ** (zooms[-1] - zoom)
        holes = [shapely.Polygon(ring).area for part in shapely.get_parts(united) for ring in part.interiors]
        assert all(hole > 0.05 * united.area for hole in holes), "polygons have gaps"
        assert {said["name"] for said, _ in features} <= set("01234")
    finer = {zoom: areas[zoom] for zoom in zooms[2:]}  # with cells of 32 px and less
    assert finer == pytest.approx(dict.fromkeys(finer, areas[zooms[-1]]), rel=0.1)
    assert min(areas.values()) > 0
