"""The command line as a person meets it: what it prints, what it returns, and what it says of bad input."""

from __future__ import annotations

import os
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import geoseg
from benchmarks.measure import measure
from geoseg.cli import main
from geoseg.store import RunFolder
from tests.networks import Box, write_item, write_model
from tests.rasters import write_raster

PIXELS = np.random.default_rng(0).integers(1, 255, (2, 150, 140), dtype=np.uint8)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", PIXELS)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model", Box(1), name="box", halo=1)


@pytest.fixture
def workflow(tmp_path: Path, model: Path, scene: Path) -> Path:
    path = tmp_path / "map.yaml"
    keys = {"model": str(model), "input": str(scene), "output": str(tmp_path / "out"), "ramp": 8, "workers": 1}
    path.write_text(yaml.safe_dump(keys))
    return path


def sentence_of(capsys: pytest.CaptureFixture[str]) -> str:
    """What stands on the error stream: one line, one sentence."""
    text = capsys.readouterr().err.strip()
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1, text
    assert text.endswith((".", "?")), text
    return text


def test_a_run_prints_the_dashboard_and_where_the_results_are(
    workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(workflow)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"dashboard http://127\.0\.0\.1:\d+/status", printed)
    for name in ("labels.tif", "features.gpkg", "run.json"):
        assert str(tmp_path / "out" / name) in printed
        assert (tmp_path / "out" / name).is_file()


def test_a_run_keeps_the_memory_that_was_planned(tmp_path: Path) -> None:
    arguments = ["land_use", "--output", str(tmp_path / "land_use")]
    planned = geoseg.plan("land_use").total_bytes
    assert measure(["-m", "geoseg", "run", *arguments]).peak_bytes < planned


def test_a_plan_says_blocks_tiles_memory_and_time_and_computes_nothing(
    workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(workflow)]) == 0
    printed = capsys.readouterr().out
    for word in ("tiles", "blocks", "memory", "time", "MiB"):
        assert word in printed
    assert not (tmp_path / "out").exists()


def test_models_lists_the_catalog(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert "sentinel2-land-cover" in printed
    assert "dynamic-world" in printed


def test_options_replace_keys_of_the_workflow(workflow: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(workflow), "--tile-size", "96", "--bands", "2,1", "--block-tiles", "3"]) == 0
    printed = capsys.readouterr().out
    assert "of 96 px" in printed
    assert "3 x 3 tiles" in printed


class Trap:
    """A pickle that runs code when it is opened."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_a_malicious_pickle_is_refused_and_not_opened(
    workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trap = tmp_path / "trap"
    for name, framework in (("evil.pt", "TorchScript"), ("evil.pt2", "torch.export"), ("evil.onnx", "ONNX")):
        weights = tmp_path / name
        weights.write_bytes(pickle.dumps(Trap(str(trap))))
        item = write_item(
            tmp_path / "evil.json", weights, halo=0, tile_size=64, bands=["b1", "b2"], framework=framework
        )
        assert main(["run", str(workflow), "--model", str(item), "--overwrite"]) == 2
        assert weights.name in sentence_of(capsys)
        assert not trap.exists()


def test_each_bad_input_gets_one_sentence_with_the_remedy(
    workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "text.tif"
    text.write_text("not a raster")
    nowhere = write_raster(tmp_path / "nowhere.tif", PIXELS, crs=None)
    bands = write_raster(tmp_path / "bands.tif", np.concatenate([PIXELS, PIXELS[:1]]))
    file = tmp_path / "file"
    file.write_text("")
    unknown = tmp_path / "unknown.yaml"
    unknown.write_text(workflow.read_text() + "\ntile_sise: 64\n")
    cases = {
        "missing file": (["--input", str(tmp_path / "missing.tif")], "missing.tif"),
        "not a raster": (["--input", str(text)], "text.tif"),
        "no CRS": (["--input", str(nowhere)], "(?i)crs|reference system"),
        "wrong number of bands": (["--input", str(bands)], "bands"),
        "too few bands chosen": (["--bands", "1"], "needs 2"),
        "a band that is not there": (["--bands", "1,7"], "7"),
        "unknown model": (["--model", "sentinel2-landcover"], "did you mean 'sentinel2-land-cover'"),
        "region outside the raster": (["--region", "0,0,1,1"], "(?i)region"),
        "region that is not there": (["--region", str(tmp_path / "no.geojson")], "no.geojson"),
        "unwritable folder": (["--output", str(file / "out")], "cannot be written"),
        "unknown format": (["--features", "polygons.doc"], "polygons.doc"),
        "tile too small": (["--tile-size", "8"], "too small"),
        "no scheduler": (["--scheduler", "tcp://127.0.0.1:9"], "no Dask scheduler answers"),
    }
    for name, (options, words) in cases.items():
        assert main(["run", str(workflow), *options]) == 2, name
        assert re.search(words, sentence_of(capsys)), name
    assert main(["run", str(unknown)]) == 2
    assert "did you mean 'tile_size'" in sentence_of(capsys)
    assert main(["run", str(tmp_path / "land_uze.yaml")]) == 2
    assert "did you mean 'land_use'" in sentence_of(capsys)


def test_a_truncated_raster_fails_by_block_and_says_so(
    workflow: Path, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = scene.read_bytes()
    scene.write_bytes(whole[: len(whole) * 2 // 3])
    assert main(["run", str(workflow)]) in (1, 2)
    assert re.search(r"scene\.tif", capsys.readouterr().err)


def test_an_output_folder_in_use_is_refused(workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunFolder(tmp_path / "out").locked():
        assert main(["run", str(workflow)]) == 2
    assert "in use by another run" in sentence_of(capsys)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported_and_the_run_can_be_continued(
    workflow: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import geoseg.store.files

    def full(*_arguments: object) -> None:
        with Path("/dev/full").open("wb") as device:
            device.write(b"0" * 9000)

    monkeypatch.setattr(geoseg.store.files.os, "replace", full)
    assert main(["run", str(workflow)]) == 2
    assert "No space left" in sentence_of(capsys)
    monkeypatch.undo()
    assert main(["run", str(workflow)]) == 0
