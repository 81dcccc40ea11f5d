"""Runs whose imagery or region changes from night to night: only what has changed is made again, as a new run would."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from distributed import Client

import geoseg
from geoseg.cli import main
from geoseg.engine import connect
from geoseg.errors import ContinuationWarning, FingerprintError
from geoseg.raster import fingerprints
from tests.networks import Box, write_model
from tests.rasters import TEN_METRES, noise, write_raster

SIDE, STEP = 100, 80
"""Px of a scene, and between two of them."""

NAMES = "abcdefghijkl"
CORNERS, INNER = "adil", "fg"


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1) as client:
        yield client


@dataclass
class Region:
    """Twelve scenes that overlap, a model, and the folder of a run that is refreshed every night."""

    folder: Path
    client: Client
    settings: dict[str, Any] = field(default_factory=dict)

    def place(self, name: str, seed: int, *, hole: bool = False, shift: int = 0) -> None:
        """Write a scene."""
        row, col = divmod(NAMES.index(name), 4)
        pixels = noise(2, SIDE, SIDE, seed=seed)
        if hole:
            pixels[:, 20:60, 30:90] = 0
        transform = TEN_METRES @ Affine.translation(col * STEP + shift, row * STEP + shift)
        write_raster(self.path(name), pixels, transform=transform, nodata=0)

    def path(self, name: str) -> Path:
        return self.folder / "scenes" / f"{name}.tif"

    def run(self, output: str = "out", **more: Any) -> geoseg.RunResult:
        return geoseg.run({**self.settings, **more, "output": str(self.folder / output)}, client=self.client)

    def fresh(self, **more: Any) -> Path:
        shutil.rmtree(self.folder / "fresh", ignore_errors=True)
        return self.run("fresh", **more).output


@pytest.fixture
def region(tmp_path: Path, client: Client) -> Region:
    (tmp_path / "scenes").mkdir()
    model = write_model(tmp_path / "model", Box(2), name="box", halo=4)
    region = Region(tmp_path, client)
    for seed, name in enumerate(NAMES):
        region.place(name, seed)
    region.settings = {
        "model": str(model),
        "input": str(tmp_path / "scenes"),
        "outputs": ["confidence"],
        "ramp": 8,
        "block_tiles": 1,
        "workers": 1,
        "report": False,
    }
    return region


def assert_same(one: Path, other: Path) -> None:
    """All rasters and features of two runs are the same."""
    for name in ("labels.tif", "confidence.tif"):
        with rasterio.open(one / name) as first, rasterio.open(other / name) as second:
            assert (first.read() == second.read()).all()
    first, second = (geopandas.read_file(folder / "features.gpkg", layer="land_use") for folder in (one, other))
    assert first.to_wkb().equals(second.to_wkb())


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"simplify": 12.0, "mosaic": "median"}, {"min_area": 900.0}])
def test_nights_of_random_changes_give_what_new_runs_give(region: Region, more: dict[str, Any]) -> None:
    rng = np.random.default_rng(len(more) + len(str(more)))
    nights = 2 if more else 5
    region.run(**more)
    for night in range(nights):
        for name in rng.choice(list(NAMES), rng.integers(1, 3), replace=False):
            change = rng.choice(["content", "hole", "gone"])
            if change == "gone" and name not in CORNERS:
                region.path(name).unlink(missing_ok=True)
            else:
                shift = int(rng.integers(-9, 9)) if name in INNER else 0
                region.place(name, 100 * night + ord(name), hole=change == "hole", shift=shift)
        result = region.run(**more, refresh=True)
        fresh = region.fresh(**more)
        assert_same(result.output, fresh)
        done = result.outcome.done["predict"]
        assert 0 < done < result.plan.block_count


def test_only_blocks_near_a_changed_scene_are_made_again(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "SAMPLE_BYTES", 64)  # these files are large ones, of which parts are compared
    blocks = region.run().plan.block_count
    region.place("a", 99)
    planned = geoseg.plan({**region.settings, "output": str(region.folder / "out")}, refresh=True)
    assert [change.split(" ", 1)[1] for change in planned.changes] == ["a.tif has another content"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", ContinuationWarning)  # it is another file, and no edit that may not be seen
        result = region.run(refresh=True)
    counts = {stage: count for stage, (count, _) in planned.steps.items()}
    assert {stage: result.outcome.done[stage] for stage in counts} == counts
    # 100 px of scene, 40 px of stride: blocks 0 to 2 read it, block 3 takes their strips, and 4 their labels
    assert (blocks, counts["predict"], counts["finish"], counts["trace"]) == (42, 16, 16, 25)
    assert region.run(refresh=True).is_unchanged


@pytest.mark.slow
def test_a_region_that_grows_moves_and_goes_gives_what_new_runs_give(region: Region) -> None:
    left, top = TEN_METRES.c, TEN_METRES.f
    boxes = [(0, 0, 150, 120), (0, 0, 210, 120), (60, 30, 210, 170), None, (5, 5, 60, 60)]
    regions = [
        None
        if box is None
        else shapely.box(left + 10 * box[0], top - 10 * box[3], left + 10 * box[2], top - 10 * box[1])
        for box in boxes
    ]
    for number, shape in enumerate(regions):
        more = {} if shape is None else {"region": geopandas.GeoDataFrame(geometry=[shape], crs="EPSG:32618")}
        result = region.run(refresh=number > 0, **more)
        assert_same(result.output, region.fresh(**more))
    assert result.outcome.done["predict"] < 16


def test_a_killed_refresh_is_continued(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    region.run()
    region.place("f", 99)
    monkeypatch.setattr("geoseg.workflow.running._mended", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        region.run(refresh=True)
    monkeypatch.undo()
    region.place("k", 98)  # and the next night has come
    assert_same(region.run(refresh=True).output, region.fresh())


def test_anything_else_than_imagery_and_region_is_refused_still(
    region: Region, capfd: pytest.CaptureFixture[str]
) -> None:
    region.run()
    region.place("f", 99)
    with pytest.raises(
        FingerprintError, match=r"input f\.tif has another content.*with --refresh those that read what"
    ):
        region.run()
    with pytest.raises(FingerprintError, match=r"halo \(4 before, 8 now\)\. To keep both.*folder; with --overwrite"):
        region.run(refresh=True, halo=8)
    shutil.move(region.path("a"), region.folder / "a.tif")
    with pytest.raises(FingerprintError, match=r"raster shape|raster transform"):
        region.run(refresh=True, input=str(region.folder / "scenes" / "[b-h].tif"))
    capfd.readouterr()


def test_the_plan_tells_what_a_refresh_costs(region: Region, capsys: pytest.CaptureFixture[str]) -> None:
    region.run()
    region.place("f", 99)
    options = ["--block-tiles", "1", "--ramp", "8", "--outputs", "confidence", "--output", str(region.folder / "out")]
    command = ["plan", region.settings["input"], "--model", region.settings["model"], *options]
    assert main([*command, "--refresh"]) == 0
    printed = capsys.readouterr().out
    assert "changed" in printed
    assert "input f.tif has another content" in printed
    assert main([*command, "--refresh", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["changes"] == ["input f.tif has another content"]
    assert 0 < plan["tiles_to_predict"] < plan["tiles"]
