"""Scenes that turn out damaged, servers that fail at times, and workers that die: named, left out, or asked again."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
from distributed import Client

import geoseg
from geoseg.cli import main
from geoseg.engine import attempt, connect, results_of
from geoseg.engine.deaths import _last_end, note_kills
from geoseg.errors import BlockError, FingerprintError, WorkerError
from geoseg.workflow import running
from tests.networks import Box, write_model
from tests.rasters import noise, write_raster
from tests.servers import serving
from tests.stac import write_json, write_scene
from tests.test_refresh import NAMES, SIDE, STEP, Region, assert_same

BAD = "bfg"
"""Scenes of which the last two lie over one another."""


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1) as client:
        yield client


@pytest.fixture
def region(tmp_path: Path, client: Client) -> Region:
    """Twelve scenes of which three have lost their last pixels."""
    (tmp_path / "scenes").mkdir()
    model = write_model(tmp_path / "model", Box(2), name="box", halo=4)
    region = Region(tmp_path, client)
    region.settings = {
        "model": str(model),
        "input": str(tmp_path / "scenes"),
        "outputs": ["confidence"],
        "ramp": 8,
        "block_tiles": 2,
        "workers": 1,
        "report": False,
    }
    for seed, name in enumerate(NAMES):
        region.place(name, seed)
    for name in BAD:
        damage(region.path(name))
    return region


def extent(name: str) -> tuple[slice, slice]:
    """The pixels of a scene."""
    row, col = divmod(NAMES.index(name), 4)
    return slice(row * STEP, row * STEP + SIDE), slice(col * STEP, col * STEP + SIDE)


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])


def only(region: Region, names: str) -> Path:
    """A run of some of the scenes."""
    return region.fresh(input=[str(region.path(name)) for name in names])


@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
def test_a_map_without_bad_scenes_is_that_of_the_others_until_they_are_repaired(region: Region) -> None:
    result = region.run(on_error="skip")
    skipped = result.plan.raster.skipped
    assert [re.findall(r"(\w)\.tif' cannot be read", text) for text in sorted(skipped)] == [[name] for name in BAD]
    holes = [re.findall(r"covers ([\d,]+) px of its place", text)[0] for text in sorted(skipped)]
    covered = np.zeros(result.plan.raster.shape, np.bool_)
    for name in set(NAMES) - set(BAD):
        covered[extent(name)] = True
    assert [int(text.replace(",", "")) for text in holes] == [(~covered[extent(name)]).sum() for name in BAD]
    assert not result.outcome.failed
    others = "".join(set(NAMES) - set(BAD))
    assert_same(result.output, only(region, "".join(sorted(others))))
    assert region.run(on_error="skip").is_unchanged
    assert geoseg.plan({**region.settings, "output": str(result.output)}, on_error="skip").tiles_to_predict == 0
    region.place("f", 5)
    mended = region.run(on_error="skip")
    assert 0 < mended.outcome.done["predict"] < mended.plan.block_count
    assert len(mended.plan.raster.skipped) == 2
    assert_same(mended.output, only(region, "".join(sorted(others + "f"))))
    with pytest.raises(FingerprintError, match=r"input b\.tif is new; input g\.tif is new"):
        region.run()


@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
def test_a_run_that_is_stopped_before_the_blocks_are_made_again_goes_on(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    compute, calls = running._compute, []
    monkeypatch.setattr(running, "_compute", lambda *given: stop() if calls else calls.append(1) or compute(*given))
    with pytest.raises(KeyboardInterrupt):
        region.run(on_error="skip")
    monkeypatch.undo()
    assert_same(region.run(on_error="skip").output, only(region, "".join(sorted(set(NAMES) - set(BAD)))))


def test_every_bad_scene_is_named_also_one_below_another(region: Region) -> None:
    with pytest.raises(BlockError) as error:
        region.run()
    names = re.search(r"3 files cannot be read \((.*?)\)", str(error.value))
    assert names is not None
    assert sorted(re.findall(r"(\w)\.tif", names[1])) == list(BAD)
    assert "repair what cannot be read, or leave it out with on_error: skip, and run the same" in str(error.value)


@pytest.mark.filterwarnings("default::geoseg.errors.GeosegWarning")
def test_the_terminal_and_the_report_say_what_is_missing(region: Region, capsys: pytest.CaptureFixture[str]) -> None:
    output = region.folder / "out"
    options = ["--model", region.settings["model"], "--ramp", "8", "--workers", "1", "--output", str(output)]
    command = ["run", region.settings["input"], *options, "--on-error", "skip"]
    assert main(command) == 1
    printed = capsys.readouterr()
    assert re.search(r"done, without 3 of the files or scenes, which cannot be read, in", printed.out)
    assert re.search(r"note: 3 of 12 files cannot be read \('.*[bfg]\.tif', '.*', '.*'\) and are left out", printed.err)
    raster = json.loads((output / "run.json").read_text())["plan"]["raster"]
    assert (len(raster["skipped"]), raster["files"]) == (3, 9)
    page = (output / "report.html").read_text()
    assert "3 files or scenes were left out, because they cannot be read; see Inputs." in page
    assert "no other imagery covers 6,000 px of its place" in page
    assert main(command) == 1, "nothing to do, and still three are missing"
    again = capsys.readouterr()
    assert "finished; checked, without 3 of the files" in again.out
    assert "cannot be read, as in an earlier start" in again.err


@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
def test_a_scene_of_several_files_goes_as_a_whole(region: Region, tmp_path: Path) -> None:
    items = []
    for number in range(2):
        bands = dict(zip(("B04", "B08"), noise(2, 120, 120, seed=number).astype(np.uint16) + 1, strict=True))
        items.append(write_scene(tmp_path, f"s{number}", bands, taken=f"2024-06-0{number + 1}T00:00:00Z"))
    damage(tmp_path / "s1_B08.tif")
    documents = [write_json(tmp_path / f"{number}.json", {"type": "FeatureCollection", "features": items[:number]})
                 for number in (1, 2)]  # fmt: skip
    more: dict[str, Any] = {"bands": ["red", "nir"], "mosaic": "newest", "on_error": "skip"}
    one, both = (region.run(f"out{path.stem}", input=str(path), **more) for path in documents)
    assert "s1_B08.tif" in both.plan.raster.skipped[0]
    assert "others cover its place" in both.plan.raster.skipped[0]
    assert_same(one.output, both.output)


def test_where_there_is_nothing_else_blocks_fail(region: Region) -> None:
    with pytest.raises(BlockError, match=r"fix the cause and run the same"):
        region.run(input=str(region.path("f")), on_error="skip")


# Servers


def test_answers_that_break_off_are_asked_for_again_and_counted(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    pixels = noise(2, 300, 300, seed=3)
    write_raster(tmp_path / "a.tif", pixels, tiled=True, blockxsize=64, blockysize=64, nodata=0)
    monkeypatch.setattr("geoseg.raster.handles.WAITS", (0.0, 0.0))
    model = str(write_model(tmp_path / "model", Box(2), name="box", halo=4))
    settings = {"model": model, "ramp": 8, "report": False, "features": []}
    near = geoseg.run(settings, input=str(tmp_path / "a.tif"), output=str(tmp_path / "near"), client=client)
    with serving(tmp_path) as server:
        geoseg.plan(settings, input=f"{server.url}/a.tif", client=client)  # asks for the header
        server.cut(4)  # GDAL itself reads anew what the trial on a tile lacks
        far = geoseg.run(settings, input=f"{server.url}/a.tif", output=str(tmp_path / "far"), client=client)
    with rasterio.open(near.labels_path) as first, rasterio.open(far.labels_path) as second:
        np.testing.assert_array_equal(first.read(), second.read())
    told = [str(item.message) for item in recwarn if "requests repeated" in str(item.message)]
    assert re.fullmatch(r"127\.0\.0\.1:\d+ was busy or failed; requests repeated: [1-4]\.", told[0])
    assert told[0] in json.loads((tmp_path / "far" / "run.json").read_text())["warnings"]


# Workers that die


@pytest.fixture(scope="module")
def mortal() -> Iterator[Client]:
    """A worker that may die once."""
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), connect(None, 1, predicting=False) as client:
        yield client


def why(client: Client, function: Any, *arguments: Any) -> str:
    with pytest.raises(WorkerError) as error:
        results_of(client, [client.submit(attempt, function, *arguments, pure=False)])
    return str(error.value)


def test_want_of_memory_a_fault_and_a_stranger_are_told_apart(mortal: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    said = why(mortal, bytearray, 1 << 60)
    assert "there was not enough memory for it (MemoryError); give fewer" in said
    assert "; give fewer --workers, a smaller --tile-size" in said
    said = why(mortal, signal.raise_signal, signal.SIGSEGV)
    assert "crashed each time (SIGSEGV), which is a fault of a library and no want of memory; another" in said
    said = why(mortal, os._exit, 3)
    assert "the process that worked on it ended itself each time (exit code 3); no model may call exit" in said
    said = why(mortal, signal.raise_signal, signal.SIGKILL)
    assert "was killed each time from outside (SIGKILL), as systems and batch jobs do for want of memory; give" in said
    monkeypatch.setattr("geoseg.engine.deaths._kills", lambda: 10**9)
    said = why(mortal, signal.raise_signal, signal.SIGKILL)
    assert "the system killed the process that worked on it each time for want of memory; give fewer" in said
    note_kills()  # as another run does: what has ended workers of this one is nothing to it
    monkeypatch.setattr("geoseg.engine.deaths.PATIENCE", 0.1)
    assert _last_end() is None
    monkeypatch.undo()
    mortal.wait_for_workers(1)
    address = next(iter(mortal.scheduler_info()["workers"]))
    mortal.log_event("worker-restart-memory", {"worker": address, "pid": 1, "rss": 1})  # as Dask's nannies do
    said = why(mortal, signal.raise_signal, signal.SIGKILL)
    assert "exceeded the memory limit of its Dask worker each time; start workers with a higher --memory-limit" in said
