"""Which pixel is taken where scenes overlap, exactly, whatever the window; and that ten thousand scenes cost little."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import geoseg.raster.overlay
from geoseg.errors import WorkflowError
from geoseg.grid import Window
from geoseg.imagery import open_imagery
from geoseg.raster import Raster, open_raster
from geoseg.raster.medians import medians
from tests.rasters import write_raster
from tests.stac import collection_of, write_json, write_scene

SIDE = 40
TAKEN = {"old": "2023-05-01T00:00:00Z", "new": "2024-05-01T00:00:00Z", "middle": "2023-09-01T00:00:00Z"}
CLOUDS = {"old": 20.0, "new": 60.0, "middle": None}
VALUES = {"old": 100, "new": 203, "middle": 150}


def whole(raster: Raster) -> tuple[Any, Any]:
    return raster.read(Window(0, 0, *raster.shape))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Three scenes of one place; the newest lacks its left quarter, the oldest its upper one, and all lack a corner."""
    folder = tmp_path_factory.mktemp("stack")
    items = []
    for name, value in VALUES.items():
        pixels = np.full((SIDE, SIDE), value, np.uint16)
        pixels[:5, :5] = 0
        if name == "new":
            pixels[:, :10] = 0
        if name == "old":
            pixels[:10] = 0
        items.append(write_scene(folder, name, {"B04": pixels}, taken=TAKEN[name], cloud_cover=CLOUDS[name]))
    return str(write_json(folder / "stack.json", collection_of(*items)))


@pytest.mark.parametrize(
    ("mosaic", "centre", "left", "top"),
    [("first", 100, 100, 203), ("newest", 203, 150, 203), ("least_cloudy", 100, 100, 203), ("median", 150, 125, 176)],
)
def test_each_order_takes_the_pixel_it_says(mosaic: Any, centre: int, left: int, top: int, stack: str) -> None:
    raster = open_imagery(stack, bands=["red"], mosaic=mosaic)
    pixels, mask = whole(raster)
    assert not mask[:5, :5].any()
    assert mask.sum() == SIDE * SIDE - 25
    assert np.unique(pixels[0, 12:, 12:]).tolist() == [centre]
    assert np.unique(pixels[0, 12:, :10]).tolist() == [left]
    assert np.unique(pixels[0, :10, 12:]).tolist() == [top]
    assert raster.summary()["mosaic"] == ("median" if mosaic == "median" else "first")


def test_scenes_of_unknown_cloud_cover_come_last_and_the_newest_of_equal_ones_first(tmp_path: Path) -> None:
    items = [
        write_scene(tmp_path, name, {"B04": np.full((4, 4), 9, np.uint16)}, taken=TAKEN[day], cloud_cover=clouds)
        for name, day, clouds in (("a", "new", None), ("b", "old", 5.0), ("c", "middle", 5.0))
    ]
    path = write_json(tmp_path / "items.json", collection_of(*items))
    raster = open_imagery(path, bands=["red"], mosaic="least_cloudy")
    assert [scene.name for scene in raster.scenes] == ["c", "b", "a"]


def test_files_know_no_dates_but_medians(tmp_path: Path) -> None:
    paths = [write_raster(tmp_path / f"{value}.tif", np.full((8, 8), value, np.uint8)) for value in (7, 1, 5)]
    for mosaic in ("newest", "least_cloudy"):
        with pytest.raises(WorkflowError, match=rf"mosaic: {mosaic} sorts scenes .* `geoseg catalog add`"):
            open_imagery([str(path) for path in paths], mosaic=mosaic)
    with pytest.raises(WorkflowError, match="mosaic 'best' is not known; use first, newest"):
        open_imagery(str(paths[0]), mosaic="best")
    assert np.unique(whole(open_raster(paths, mosaic="median"))[0]).tolist() == [5]
    assert np.unique(whole(open_raster(paths))[0]).tolist() == [7]


# Medians


@pytest.mark.slow
@given(
    st.sampled_from([np.uint8, np.int16, np.uint16, np.float32]).flatmap(
        lambda dtype: st.tuples(
            hnp.arrays(dtype, (5, 2, 3, 4), elements=st.integers(0, 200)),
            hnp.arrays(np.bool_, (5, 3, 4)),
        )
    )
)
def test_a_median_is_that_of_numpy_over_what_is_valid(drawn: tuple[Any, Any]) -> None:
    pixels, masks = drawn
    found, mask = medians(pixels, masks)
    np.testing.assert_array_equal(mask, masks.any(axis=0))
    hidden = np.ma.masked_array(pixels, np.broadcast_to(~masks[:, None], pixels.shape))
    expected = np.ma.median(hidden.astype(np.float64), axis=0).filled(0)
    np.testing.assert_array_equal(found, np.rint(expected) if pixels.dtype.kind in "iu" else expected)


def test_many_images_are_sorted_as_few_are() -> None:
    pixels = np.random.default_rng(0).integers(0, 60_000, (101, 1, 6, 7)).astype(np.uint16)
    found, _ = medians(pixels, np.ones((101, 6, 7), np.bool_))
    np.testing.assert_array_equal(found, np.median(pixels, axis=0).astype(np.uint16))


def test_a_median_in_strips_is_the_same_and_needs_no_more_memory_than_it_may(
    stack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raster = open_imagery(stack, bands=["red"], mosaic="median")
    expected, _ = whole(raster)
    sizes: list[int] = []

    def noted(pixels: Any, masks: Any) -> Any:
        sizes.append(pixels.nbytes + masks.nbytes)
        return medians(pixels, masks)

    monkeypatch.setattr(geoseg.raster.overlay, "READ_BYTES", 2500)
    monkeypatch.setattr(geoseg.raster.overlay, "medians", noted)
    np.testing.assert_array_equal(whole(raster)[0], expected)
    assert len(sizes) > 5
    assert max(sizes) <= 2500


# Ten thousand scenes


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> str:
    """10,000 items side by side over one small file: 100 x 100 scenes, each half over its right neighbour."""
    folder = tmp_path_factory.mktemp("crowd")
    item = write_scene(folder, "0", {"B04": np.full((20, 20), 7, np.uint16)})
    items = []
    for number in range(10_000):
        row, col = divmod(number, 100)
        transform = [10, 0, 440_000 + 100 * col, 0, -10, 4_200_000 - 200 * row]
        asset = {**item["assets"]["b04"], "proj:transform": transform}
        items.append({**item, "id": f"s{number:05}", "assets": {"b04": asset}})
    return str(write_json(folder / "crowd.json", collection_of(*items)))


@pytest.mark.slow
def test_ten_thousand_scenes_open_in_seconds_and_travel_small(crowd: str) -> None:
    started = time.process_time()
    raster = open_imagery(crowd, bands=["red"])
    assert time.process_time() - started < 30
    assert raster.shape == (2000, 1010)
    assert len(raster.pieces) == 10_000
    assert len(pickle.dumps(raster)) < 1000 * len(raster.pieces)


def test_a_window_of_ten_thousand_scenes_asks_only_those_that_touch_it(
    crowd: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raster = pickle.loads(pickle.dumps(open_imagery(crowd, bands=["red"])))
    asked: list[str] = []
    monkeypatch.setattr(
        "geoseg.raster.scenes.Scene.read",
        lambda scene, window: (
            asked.append(scene.name),
            (np.ones((1, *window.shape), np.uint16), np.ones(window.shape, bool)),
        )[1],
    )
    raster.read(Window(45, 33, 10, 4))
    assert asked == ["s00202"]  # it fills the window, so the one below is not asked
    (index,) = raster.layers
    assert [part.name for part in index.near(Window(45, 33, 10, 4))] == ["s00202", "s00203"]
    started = time.process_time()
    for place in range(200):
        index.near(Window(9 * place, 5 * place, 20, 10))
    assert time.process_time() - started < 1
