"""What a plan promises before anything runs."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine

import geoseg
from geoseg.errors import PlanError, WeightsError, WorkflowError
from geoseg.grid import Axis
from geoseg.planning import MIB, Plan
from geoseg.prompting import PromptLayer
from geoseg.workflow.hardware import Hardware
from tests.networks import Box, write_model
from tests.rasters import write_raster


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", Box(1), name="box", halo=3)


def make(tmp_path: Path, item: Path, /, shape: tuple[int, int] = (310, 283), **more: Any) -> Plan:
    scene = write_raster(tmp_path / "scene.tif", np.ones((2, *shape), np.uint8))
    return geoseg.plan({"model": str(item), "input": str(scene), "ramp": 8, **more})


def test_a_plan_counts_blocks_and_tiles(tmp_path: Path, model: Path) -> None:
    plan = make(tmp_path, model, block_tiles=(3, 2))
    assert (plan.tile_count, plan.block_count) == (42, 9)
    assert len(list(plan.blocks())) == 9


def test_a_plan_does_not_start_more_workers_than_there_are_blocks(tmp_path: Path, model: Path) -> None:
    assert make(tmp_path, model, workers=64, block_tiles=3).workers == 6


def test_a_raster_smaller_than_a_tile_gets_one_smaller_tile(tmp_path: Path, model: Path) -> None:
    plan = make(tmp_path, model, shape=(20, 31))
    assert plan.tile_count == 1
    assert plan.grid.tiling.size < 64


def test_memory_depends_on_the_block_and_not_on_the_raster(tmp_path: Path, model: Path) -> None:
    small = make(tmp_path, model, shape=(300, 300), workers=1, block_tiles=2)
    large = make(tmp_path, model, shape=(900, 1200), workers=1, block_tiles=2)
    assert small.worker_bytes == large.worker_bytes
    assert sum(make(tmp_path, model, workers=1, block_tiles=4).worker_bytes.values()) > sum(small.worker_bytes.values())


def test_each_worker_counts_its_part_of_what_workers_share(tmp_path: Path, model: Path) -> None:
    one, six = (make(tmp_path, model, workers=workers, block_tiles=3) for workers in (1, 6))
    assert six.worker_bytes["the process"] < one.worker_bytes["the process"]
    assert 6 * six.worker_bytes["the process"] > 2 * one.worker_bytes["the process"]
    assert replace(six, is_local=False).worker_bytes["the process"] > one.worker_bytes["the process"]


def test_weights_that_are_not_fetched_yet_count_in_the_memory(tmp_path: Path, model: Path) -> None:
    here = make(tmp_path, model)
    size = 3 * model.with_suffix(".onnx").stat().st_size
    assert here.worker_bytes["the weights"] == size
    for known, cause in ((10**8, "by their entry"), (None, "taken as 400 MiB each")):
        spec = replace(here.spec, weights="hub:nobody/nothing", weights_bytes=known)
        bytes_by_cause = replace(here, spec=spec).worker_bytes
        assert bytes_by_cause[next(key for key in bytes_by_cause if key.endswith(cause))] == 3 * (known or 400 * MIB)
        assert "the weights" not in bytes_by_cause
    asked = replace(spec, weights_bytes=10**8, hyperparameters=(("text_model", "hub:nobody/words"),))
    words = replace(here, spec=asked, prompts=PromptLayer(text="car")).worker_bytes
    others = {cause: size for cause, size in replace(here, spec=asked).worker_bytes.items() if "picture" not in cause}
    assert sum(words.values()) == sum(others.values()) + 3 * 400 * MIB


def test_few_tiles_are_shared_one_by_one_and_many_by_fours(tmp_path: Path, model: Path) -> None:
    few = make(tmp_path, model, shape=(300, 300))
    many = make(tmp_path, model, shape=(900, 1200))
    assert few.tile_count < 64 <= many.tile_count
    assert (few.grid.block_tiles, many.grid.block_tiles) == ((1, 1), (2, 2))


def test_a_plan_that_does_not_fit_is_refused_with_the_worst_offender_and_the_remedy(
    tmp_path: Path, model: Path
) -> None:
    plan = make(tmp_path, model, shape=(900, 900), workers=2)
    plan.check_memory(plan.total_bytes)
    with pytest.raises(PlanError, match=r"2 workers need .* MiB .*for joining polygons \(.*fewer workers"):
        plan.check_memory(plan.total_bytes - 1)


@pytest.mark.parametrize(("gib", "batch_size"), [(80, 4), (0.02, 2), (0.001, 1)])
def test_a_gpu_takes_as_many_tiles_at_once_as_a_block_has_and_half_of_it_holds_twice(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, gib: float, batch_size: int
) -> None:
    found = {"cuda": Hardware("cuda", "bfloat16", int(gib * 2**30)), "cpu": Hardware("cpu", "float32")}
    monkeypatch.setattr("geoseg.workflow.hardware.find_hardware", lambda device, *_: found[device])
    assert make(tmp_path, model, device="cuda", block_tiles=2).batch_size == batch_size
    assert make(tmp_path, model, device="cuda", block_tiles=2, batch_size=3).batch_size == 3
    assert make(tmp_path, model, block_tiles=2, device="cpu").batch_size == 1


def test_a_huge_raster_is_planned_without_making_its_blocks(tmp_path: Path, model: Path) -> None:
    small = write_raster(tmp_path / "small.tif", np.ones((2, 10, 10), np.uint8))
    with rasterio.open(small) as source:
        transform: Affine = source.transform
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">small.tif'
        f"</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2)
    )
    huge = tmp_path / "huge.vrt"
    huge.write_text(
        f'<VRTDataset rasterXSize="1000000" rasterYSize="1000000"><SRS>EPSG:32618</SRS>'
        f"<GeoTransform>{', '.join(map(str, transform.to_gdal()))}</GeoTransform>{bands}</VRTDataset>"
    )
    plan = geoseg.plan({"model": str(model), "input": str(huge), "ramp": 8, "nodata": 0})
    assert plan.block_count == 10_000**2
    assert next(plan.blocks()).id == "0-0"
    with pytest.raises(PlanError, match=r"100,000,000 blocks need .* to keep account of them; use more block_tiles"):
        plan.check_memory(2**33)


def test_weights_that_are_not_there_are_refused_before_anything_is_made(tmp_path: Path, model: Path) -> None:
    scene, output = write_raster(tmp_path / "scene.tif", np.ones((2, 100, 100), np.uint8)), tmp_path / "out"
    item = json.loads(model.read_text())
    item["assets"]["model"]["href"] = "./gone.safetensors"
    model.write_text(json.dumps(item))
    refused = {
        str(model): r"gone.safetensors' of model 'box' do not exist; give others with --weights PATH\.",
        "dynamic-world": "model 'dynamic-world' ships without weights; convert the SavedModel",
    }
    for name, words in refused.items():
        for start in (geoseg.plan, geoseg.run):
            with pytest.raises(WeightsError, match=words):
                start(input=str(scene), model=name, ramp=8, output=str(output))
    assert not output.exists()


def test_a_plan_can_be_sent_to_a_worker_and_stays_small(tmp_path: Path, model: Path) -> None:
    plan = make(tmp_path, model)
    sent = pickle.dumps(plan)
    assert len(sent) < 20_000
    assert pickle.loads(sent).fingerprint() == plan.fingerprint()


def test_a_fingerprint_is_json_and_changes_with_whatever_decides_the_labels(tmp_path: Path, model: Path) -> None:
    def fingerprint(**more: Any) -> str:
        return json.dumps(make(tmp_path, model, **more).fingerprint() | {"inputs": None}, sort_keys=True)

    before = fingerprint()
    assert before == fingerprint(workers=1)
    for change in (
        {"tile_size": 80},
        {"halo": 4},
        {"ramp": 6},
        {"block_tiles": 3},
        {"batch_size": 2},
        {"bands": [2, 1]},
        {"region": "440100,4199000,440900,4199900,EPSG:32618"},
    ):
        assert fingerprint(**change) != before, change


def test_a_region_plans_only_the_blocks_that_predict_some_of_it(tmp_path: Path, model: Path) -> None:
    plan = make(tmp_path, model, block_tiles=1, region="440010,4199900,440090,4199990,EPSG:32618")
    assert {(block.row, block.col) for block in plan.blocks()} == {(0, 0)}


def test_a_small_region_is_planned_without_a_walk_along_a_huge_raster(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2^26 pixels along each axis, as a tile service has at zoom 18; in degrees, and turned by some."""
    size = 2**26
    write_raster(tmp_path / "one.tif", np.ones((2, 64, 64), np.uint8))
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="1">one.tif'
        f'</SourceFilename><SourceBand>{band}</SourceBand><SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/>'
        f'<DstRect xOff="0" yOff="0" xSize="{size}" ySize="{size}"/></SimpleSource></VRTRasterBand>'
        for band in (1, 2)
    )
    asked: list[int] = []
    for name in ("block_reach", "block_range", "block_core"):
        plain = getattr(Axis, name)
        monkeypatch.setattr(Axis, name, lambda axis, block, plain=plain: asked.append(block) or plain(axis, block))
    for place in (f"-180,{360 / size},0,90,0,{-180 / size}", f"5,{4 / size},{1 / size},49,{1 / size},{-4 / size}"):
        (tmp_path / "huge.vrt").write_text(
            f'<VRTDataset rasterXSize="{size}" rasterYSize="{size}"><SRS>EPSG:4326</SRS>'
            f"<GeoTransform>{place}</GeoTransform>{bands}</VRTDataset>"
        )
        scene = {"input": str(tmp_path / "huge.vrt"), "region": "6.5,48.1,6.50001,48.10001"}
        plan = geoseg.plan({"model": str(model), "ramp": 8, "block_tiles": 2, **scene})
        assert 1 <= plan.block_count == plan.tile_count / 4 < 10_000
    assert len(asked) < 20_000


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tile_sise": 4}, "unknown key 'tile_sise'; did you mean 'tile_size'"),
        ({"device": "gpu"}, "device: 'gpu'"),
        ({"ramp": -1}, "ramp: -1"),
        ({"model": None}, "does not say 'model'"),
        ({"input": None}, "names no input"),
    ],
)
def test_what_a_person_writes_wrongly_is_said_in_one_sentence(
    tmp_path: Path, model: Path, change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(WorkflowError, match=sentence):
        make(tmp_path, model, **change)


def test_the_process_that_plans_holds_less_than_a_worker(tmp_path: Path, model: Path) -> None:
    plan = make(tmp_path, model, workers=1)
    assert plan.total_bytes - sum(plan.worker_bytes.values()) - plan.server_bytes < 1024 * MIB
