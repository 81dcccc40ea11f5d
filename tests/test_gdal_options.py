"""The options that geoseg sets are in force while it reads and writes, and the caller's rasterio keeps its own."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import rasterio
from rasterio.env import get_gdal_config, set_gdal_config

from geoseg.grid import Window
from geoseg.raster import open_raster, options
from geoseg.raster.options import CACHE_BYTES, configured, configured_with
from tests.networks import Box, write_model
from tests.rasters import noise, write_raster

NAMES = [*options._OPTIONS, "GDAL_CACHEMAX"]


def found() -> dict[str, Any]:
    return {name: get_gdal_config(name, normalize=False) for name in NAMES}


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", noise(2, 96, 96))


SCRIPT = """
import json, sys, threading
import rasterio
from rasterio.env import get_gdal_config, set_gdal_config
names, scene, model, out = json.loads(sys.argv[1])
def found():
    here = {name: get_gdal_config(name) for name in names}
    there = []
    thread = threading.Thread(target=lambda: there.append({name: get_gdal_config(name) for name in names}))
    thread.start(), thread.join()
    return here, there[0]
if __name__ == "__main__":
    set_gdal_config("GDAL_HTTP_CONNECTTIMEOUT", 7)
    before = found()
    import geoseg
    from geoseg.grid import Window
    seen = [found()]
    geoseg.open_raster(scene).read(Window(0, 0, 9, 9))
    seen.append(found())
    geoseg.segment(scene, model).compute(scheduler="threads")
    seen.append(found())
    geoseg.run({"input": scene, "model": model, "output": out}, workers=1)
    seen.append(found())
    assert before[0]["GDAL_HTTP_CONNECTTIMEOUT"] == 7 and before[0]["GDAL_CACHEMAX"] > 2**26, before
    assert all(each == before for each in seen), (before, seen)
"""


@pytest.mark.slow
def test_the_options_of_a_caller_are_after_a_call_what_they_were_before(scene: Path, tmp_path: Path) -> None:
    model = str(write_model(tmp_path / "model", Box(1), name="box", halo=1, tile_size=72))
    (tmp_path / "caller.py").write_text(SCRIPT)
    given = json.dumps([NAMES, str(scene), model, str(tmp_path / "out")])
    done = subprocess.run(
        [sys.executable, tmp_path / "caller.py", given], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_options_are_in_force_inside_a_block_and_in_blocks_within_it() -> None:
    before = found()
    with configured():
        inside = found()
        with configured():
            assert found() == inside
        assert found() == inside
    assert inside == {**options._OPTIONS, "GDAL_CACHEMAX": CACHE_BYTES}
    assert found() == before


def test_they_are_taken_back_after_an_error() -> None:
    before = found()
    with pytest.raises(ZeroDivisionError), configured():
        raise ZeroDivisionError
    assert found() == before


@contextmanager
def by_environment(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv(name, value)
        yield


@contextmanager
def by_env(name: str, value: str, _: pytest.MonkeyPatch) -> Iterator[None]:
    with rasterio.Env(**{name: value}):
        yield


@pytest.mark.parametrize("setting", [by_environment, by_env])
@pytest.mark.parametrize(("name", "value"), [("GDAL_HTTP_MAX_RETRY", "1"), ("GDAL_DISABLE_READDIR_ON_OPEN", "FALSE")])
def test_an_option_that_the_caller_has_set_is_left_alone(
    setting: Any, name: str, value: str, monkeypatch: pytest.MonkeyPatch, scene: Path
) -> None:
    with setting(name, value, monkeypatch):
        before = found()
        with configured(), configured_with({name: "5"}):
            assert get_gdal_config(name, normalize=False) == before[name]
            assert get_gdal_config("GDAL_HTTP_RETRY_DELAY") == 1
        open_raster(scene).read(Window(0, 0, 9, 9))
        assert found() == before


def test_an_option_in_place_of_geosegs_own_holds_for_its_block_also_where_the_caller_has_an_env() -> None:
    name = "GDAL_DISABLE_READDIR_ON_OPEN"
    with rasterio.Env(CPL_DEBUG="OFF"), configured():
        with configured_with({name: "EMPTY_DIR"}):
            assert get_gdal_config(name) == "EMPTY_DIR"
        assert get_gdal_config(name, normalize=False) == "TRUE"


def test_a_size_of_the_cache_that_the_caller_has_set_is_left_alone() -> None:
    with rasterio.Env(GDAL_CACHEMAX=300_000_000), configured():
        assert get_gdal_config("GDAL_CACHEMAX") == 300_000_000


def test_threads_that_read_at_the_same_time_each_have_the_options_until_their_last_block(scene: Path) -> None:
    """A thread that begins inside another's block takes nothing from it, and loses nothing when that ends."""
    begun, ended, there = threading.Event(), threading.Event(), []

    def read() -> None:
        with configured():
            begun.set()
            ended.wait(10)
            there.append(found())
            open_raster(scene).read(Window(0, 0, 9, 9))
        there.append(found())

    before = found()
    thread = threading.Thread(target=read)
    with configured():
        thread.start()
        begun.wait(10)
    assert get_gdal_config("GDAL_CACHEMAX") == CACHE_BYTES
    ended.set()
    thread.join()
    assert there == [{**options._OPTIONS, "GDAL_CACHEMAX": CACHE_BYTES}, before]
    assert found() == before


def test_many_threads_that_read_leave_nothing_behind(scene: Path) -> None:
    raster, before, after, ended = open_raster(scene), found(), [], threading.Event()

    def read() -> None:
        for _ in range(30):
            raster.read(Window(3, 3, 9, 9))
        ended.wait(60)  # while the main thread reads, its options are those of all threads
        after.append({name: get_gdal_config(name, normalize=False) for name in options._OPTIONS})

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        raster.read(Window(3, 3, 9, 9))
    ended.set()
    for thread in threads:
        thread.join()
    assert after == [dict.fromkeys(options._OPTIONS)] * 4
    assert found() == before
    assert (options._process.readers, options._process.values) == (0, {})


def test_an_option_that_another_thread_of_the_caller_has_is_its_own() -> None:
    """What the caller sets in his thread holds there, although geoseg has set the same in the main thread."""
    there = []

    def read() -> None:
        with rasterio.Env(GDAL_HTTP_MAX_RETRY=2), configured():
            there.append(get_gdal_config("GDAL_HTTP_MAX_RETRY"))
        set_gdal_config("GDAL_HTTP_RETRY_DELAY", 3)
        with configured():
            pass
        there.append(get_gdal_config("GDAL_HTTP_RETRY_DELAY"))

    thread = threading.Thread(target=read)
    with configured():
        thread.start()
        thread.join()
    assert there == [2, 3]
