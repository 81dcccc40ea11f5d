"""1,000,000 x 1,000,000 pixels on paper: planned in seconds, in flat memory, blocks submitted one by one."""

from __future__ import annotations

import itertools
import pickle
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

import geoseg
from geoseg.engine.schedule import Schedule
from geoseg.planning import Plan
from geoseg.stages import RUN, Scope, stages_of
from tests.networks import Box, write_model
from tests.rasters import noise, write_raster

PIXELS = 1_000_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), Box(1), name="box", halo=16, tile_size=1024)


def planned(folder: Path, model: Path, size: int, **more: Any) -> Plan:
    """The plan of a VRT that stretches one small file over ``size`` x ``size`` px."""
    write_raster(folder / "small.tif", noise(2, 64, 64))
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource>'
        f'<SourceFilename relativeToVRT="1">small.tif</SourceFilename><SourceBand>{band}</SourceBand>'
        f'<SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/><DstRect xOff="0" yOff="0" xSize="{size}" ySize="{size}"/>'
        "</SimpleSource></VRTRasterBand>"
        for band in (1, 2)
    )
    vrt = folder / f"{size}.vrt"
    grid = "<SRS>EPSG:32618</SRS><GeoTransform>200000, 0.3, 0, 4500000, 0, -0.3</GeoTransform>"
    vrt.write_text(f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}">{grid}{bands}</VRTDataset>')
    return geoseg.plan({"model": str(model), "input": str(vrt), "workers": 2, **more})


def test_a_raster_of_a_million_million_pixels_is_planned_in_seconds_and_flat_memory(
    model: Path, tmp_path: Path
) -> None:
    planned(tmp_path, model, 2_000).fingerprint()  # what is imported once is not the plan's
    peaks = []
    for size in (10_000, PIXELS):
        tracemalloc.start()
        started = time.process_time()
        plan = planned(tmp_path, model, size)
        plan.fingerprint()
        assert plan.total_bytes > 0
        assert time.process_time() - started < 5
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert plan.block_count > 250_000
    assert plan.raster.shape == (PIXELS, PIXELS)
    assert 0 < plan.client_bytes - planned(tmp_path, model, 2_000).client_bytes < 1_000 * plan.block_count
    assert peaks[1] < peaks[0] + 100_000
    assert len(pickle.dumps(plan)) < 10_000


def test_its_blocks_are_made_one_at_a_time(model: Path, tmp_path: Path) -> None:
    plan = planned(tmp_path, model, PIXELS)
    tracemalloc.start()
    blocks = list(itertools.islice(plan.blocks(), 3))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [(block.row, block.col) for block in blocks] == [(0, 0), (0, 1), (0, 2)]
    assert peak < 100_000


def test_no_more_blocks_are_submitted_than_the_window_holds(model: Path, tmp_path: Path) -> None:
    plan = planned(tmp_path, model, PIXELS)
    submitted: list[Any] = []

    class Window:
        """Room for eight tasks, and nobody who runs them."""

        @property
        def has_room(self) -> bool:
            return len(submitted) < 8

        def submit(self, stage: str, place: Any, *_: Any, **__: Any) -> None:
            submitted.append((stage, place))

    stages = stages_of(Scope(predicts=True))
    kept: dict[str, set[Any]] = {stage.name: set() for stage in stages}
    schedule = Schedule(Window(), plan.tree, stages, kept, {RUN: "job"})  # type: ignore[arg-type]
    tracemalloc.start()
    schedule.start()
    schedule.fill()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert submitted == [("predict", (0, col)) for col in range(8)]
    assert peak < 100_000


@pytest.mark.slow
def test_a_region_of_it_has_the_blocks_and_tiles_that_it_touches(model: Path, tmp_path: Path) -> None:
    plan = planned(tmp_path, model, PIXELS, region="210000,4300000,390000,4490000,EPSG:32618")
    assert plan.block_count == pytest.approx(0.38 * 272_000, rel=0.05)
    assert plan.tile_count > 2 * plan.block_count


@given(st.lists(st.tuples(st.integers(0, 2900), st.integers(0, 2900)), min_size=3, max_size=6))
def test_blocks_and_tiles_of_a_region_are_those_whose_reach_it_touches(
    small_plans: tuple[Plan, Any], corners: list[tuple[int, int]]
) -> None:
    plan, with_region = small_plans
    hull = shapely.MultiPoint(corners).convex_hull.buffer(0.25)
    made = with_region(hull)
    touched = {
        (block.row, block.col)
        for block in plan.grid.blocks()
        if hull.intersects(shapely.box(block.reach.x, block.reach.y, block.reach.right, block.reach.bottom))
    }
    assert made.places == touched
    assert [(block.row, block.col) for block in made.blocks()] == sorted(touched)
    assert made.tile_count == sum(len(plan.grid.tiles_of(plan.grid.block(*place))) for place in touched)


@pytest.fixture(scope="module")
def small_plans(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Any]:
    """A plan of 9 x 9 blocks, and how it is with a region that is given in pixels."""
    from dataclasses import replace

    from pyproj import CRS
    from shapely.affinity import affine_transform

    from geoseg.planning import RegionMask
    from geoseg.vector import Region

    folder = tmp_path_factory.mktemp("small")
    item = write_model(folder / "model", Box(1), name="box", halo=3)
    scene = write_raster(folder / "scene.tif", np.ones((2, 900, 950), np.uint8))
    plan = geoseg.plan({"model": str(item), "input": str(scene), "ramp": 8, "block_tiles": (2, 3)})

    def with_region(pixels: Any) -> Plan:
        placed = affine_transform(pixels, plan.raster.transform.to_shapely())
        return replace(plan, region=RegionMask(Region(placed, CRS("EPSG:32618")), plan.raster.geobox))

    return plan, with_region
