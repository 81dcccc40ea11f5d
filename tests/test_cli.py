"""The command line as a person meets it: what it prints, what it returns, and what it says of bad input."""

from __future__ import annotations

import errno
import json
import os
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

import geoseg
from benchmarks.measure import measure
from geoseg.cli import main
from geoseg.errors import WeightsError
from geoseg.models import Band, ClassSpec, ModelSpec
from geoseg.models.item import read_model_item
from geoseg.models.item_writing import write_model_item
from geoseg.models.maskrcnn import ARCHITECTURES
from geoseg.outlines import is_compiled
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


TOO_LONG = "a" * 300


@pytest.mark.parametrize(
    "command",
    [
        ["run", f"{TOO_LONG}.tif", "--model", "sentinel2-land-cover"],
        ["run", "land_use", "--region", f"{TOO_LONG}.geojson"],
        ["plan", "land_use", "--model", TOO_LONG],
        ["resume", TOO_LONG],
        ["evaluate", f"{TOO_LONG}.tif", f"{TOO_LONG}.tif"],
        ["areas", f"{TOO_LONG}.tif"],
        ["train", f"{TOO_LONG}.yaml", "--output", "out"],
    ],
    ids=lambda command: command[0] + command[2][:8] if len(command) > 2 else command[0],
)
def test_a_name_longer_than_the_disk_takes_is_told(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 2
    assert re.search(r"the system refuses \S*a{9,}\.\.\. \(File name too long\); give the path", sentence_of(capsys))


@pytest.mark.parametrize("output", ["out", "out/map"])
def test_an_output_that_is_a_link_to_nothing_is_told(
    output: str, workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").symlink_to("/disk/that/is/not/mounted")
    assert main(["run", str(workflow), "--output", str(tmp_path / output)]) == 5
    told = f"{tmp_path}/out is a link to /disk/that/is/not/mounted, which is not there; make that folder, or remove"
    assert told in sentence_of(capsys)
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "the system refuses /disk/loop.nbi (No space left on device); free space on the disk, and run"),
        (errno.EMFILE, "the system refuses /disk/loop.nbi (Too many open files); raise the limit of open files"),
    ],
)
def test_what_the_system_refuses_a_library_is_one_sentence(
    number: int, sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "/disk/loop.nbi")

    monkeypatch.setattr("geoseg.workflow.plan", write)
    assert main(["plan", "land_use"]) == 5
    assert sentence in sentence_of(capsys)


def test_a_file_that_is_missing_inside_is_a_mistake_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object, **__: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No such file", "table.json")

    monkeypatch.setattr("geoseg.workflow.plan", read)
    with pytest.raises(FileNotFoundError):
        main(["plan", "land_use"])


def test_a_run_prints_the_dashboard_and_where_the_results_are(
    workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(workflow)]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"dashboard http://127\.0\.0\.1:\d+/status", printed)
    for name in ("labels.tif", "features.gpkg", "run.json"):
        assert str(tmp_path / "out" / name) in printed
        assert (tmp_path / "out" / name).is_file()


@pytest.mark.slow
def test_a_run_keeps_the_memory_that_was_planned(tmp_path: Path) -> None:
    arguments = ["land_use", "--output", str(tmp_path / "land_use")]
    plan, was_compiled = geoseg.plan("land_use"), is_compiled()
    assert measure(["-m", "geoseg", "run", *arguments]).peak_bytes < plan.total_bytes
    workers = json.loads((tmp_path / "land_use" / "run.json").read_text())["memory"]["workers"]
    assert not was_compiled or max(workers.values()) < sum(plan.worker_bytes.values())


def test_a_plan_says_blocks_tiles_memory_and_time_and_computes_nothing(
    workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", str(workflow)]) == 0
    printed = capsys.readouterr().out
    for word in ("tiles", "blocks", "memory", "time", "MiB"):
        assert word in printed
    assert "\nresolution   10 m; the model names none, so give --resolution if it was trained at another\n" in printed
    assert not (tmp_path / "out").exists()


def test_models_lists_the_catalog(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    printed = capsys.readouterr().out
    assert "sentinel2-land-cover" in printed
    assert "dynamic-world" in printed


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An own catalog that is empty."""
    folder = tmp_path / "own"
    monkeypatch.setenv("GEOSEG_CATALOG", str(folder))
    return folder


def test_a_model_is_added_shown_checked_and_run_by_its_name(
    model: Path, workflow: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "add", str(model)]) == 0
    assert str(own / "models" / "box" / "box.json") in capsys.readouterr().out
    assert main(["models", "add", str(model)]) == 3
    assert "is in the catalog already" in sentence_of(capsys)
    assert main(["models", "add", str(model), "--overwrite"]) == 0
    capsys.readouterr()
    assert main(["models"]) == 0
    assert re.search(r"^box: semantic-segmentation", capsys.readouterr().out, re.MULTILINE)
    assert main(["models", "show", "box"]) == 0
    shown = capsys.readouterr().out
    for words in ("bands        b1 b2", "64 px, halo 1 px", "checksum as in the entry", "MiB", "0 \u25a0 #"):
        assert words in shown
    assert main(["models", "check", "box"]) == 0
    assert "it gave probabilities of 3 classes" in capsys.readouterr().out
    assert main(["plan", str(workflow), "--model", "box"]) == 0


def test_torchscript_runs_only_where_its_author_is_trusted(
    workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "script.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(Box(1), torch.zeros(1, 2, 32, 32)).save(str(path))
    item = write_item(tmp_path / "script.json", path, halo=1, tile_size=64, bands=["b1", "b2"], framework="TorchScript")
    content = json.loads(item.read_text())
    content["properties"] |= {"geoseg:trust_model": True, "trust_model": True}  # no entry can vouch for itself
    item.write_text(json.dumps(content))
    for command in (
        ["run", str(workflow), "--model"],
        ["plan", str(workflow), "--model"],
        ["models", "check"],
        ["probe"],
    ):
        assert main([*command, str(item)]) == 3
        assert "give --trust-model (trust_model: true) if you trust its author" in sentence_of(capsys)
        if command[0] != "probe":
            assert main([*command, str(item), "--trust-model"]) == 0
        capsys.readouterr()
    scene = str(tmp_path / "scene.tif")
    with pytest.raises(WeightsError, match="trust_model: true"):
        geoseg.segment(scene, str(item), ramp=8)
    assert geoseg.segment(scene, str(item), ramp=8, trust_model=True).shape == (150, 140)


def test_a_model_is_added_to_the_catalog_that_is_named(
    model: Path, tmp_path: Path, own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "add", str(model), "--home", str(tmp_path / "team")]) == 0
    path = tmp_path / "team" / "models" / "box" / "box.json"
    assert str(path) in capsys.readouterr().out
    assert not own.exists()
    assert main(["models", "show", str(path)]) == 0


def test_a_checksum_that_differs_is_shown_and_refused(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with model.with_suffix(".onnx").open("ab") as weights:
        weights.write(b"more")
    assert main(["models", "show", str(model)]) == 0
    assert "CHECKSUM DIFFERS" in capsys.readouterr().out
    for command in ("check", "add"):
        assert main(["models", command, str(model)]) == 3
        assert "checksum" in sentence_of(capsys)


def test_a_model_that_is_not_what_its_entry_says_fails_its_check(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(model.read_text())
    del document["properties"]["mlm:output"][0]["classification:classes"][2]
    model.write_text(json.dumps(document))
    assert main(["models", "check", str(model)]) == 3
    assert "describe 3 classes in its entry" in sentence_of(capsys)
    assert main(["models", "check", str(model), "--device", "abacus"]) == 3
    assert "'abacus' is not a device" in sentence_of(capsys)


def test_models_without_weights_here_are_shown_and_say_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "sam-vit-base"]) == 0
    shown = capsys.readouterr().out
    for words in ("instance-segmentation", "any resolution", "ramp 256 px", "Apache-2.0", "hub:facebook/sam-vit-base"):
        assert words in shown
    assert main(["models", "show", "dynamic-world"]) == 0
    assert "missing: convert the SavedModel" in capsys.readouterr().out
    assert main(["models", "check", "dynamic-world"]) == 3
    assert "ships without weights" in sentence_of(capsys)
    assert main(["models", "show", "sam-vit-bas"]) == 3
    assert "did you mean 'sam-vit-base'" in sentence_of(capsys)


def test_a_mask_rcnn_with_weights_of_ones_own_is_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "net.safetensors"
    save_file(ARCHITECTURES["maskrcnn_mobilenet_v3_large_fpn"](num_classes=3).state_dict(), weights)
    spec = ModelSpec(
        name="cars",
        task="instance-segmentation",
        bands=(Band("red"), Band("green"), Band("blue")),
        classes=(ClassSpec(1, "car"), ClassSpec(2, "boat")),
        tile_size=64,
        architecture="torchvision.maskrcnn_mobilenet_v3_large_fpn",
        weights=str(weights),
        min_score=0.0,
    )
    item = write_model_item(spec, tmp_path)
    assert main(["models", "check", str(item)]) == 0
    assert re.search(r"it gave \d+ objects with a score of at least 0", capsys.readouterr().out)


def test_a_probe_measures_and_writes_to_the_entry_on_request(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = json.loads(model.read_text())
    before["properties"] |= {"geoseg:halo": 30, "datetime": None}  # STAC wants a date that is not known to be null
    model.write_text(json.dumps(before))
    assert main(["probe", str(model)]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["halo"] == 1
    assert {"0", "8", "16"} <= set(measured["edge_errors"])
    assert measured["edge_errors"]["0"] > measured["tolerance"] > measured["edge_errors"]["8"]
    assert json.loads(model.read_text()) == before
    assert main(["probe", str(model), "--write"]) == 0
    printed, _, place = capsys.readouterr().out.partition("written to ")
    assert place.strip() == str(model)
    again = json.loads(printed)
    after = json.loads(model.read_text())
    assert {name: after["properties"][f"geoseg:{name}"] for name in again if name != "tolerance"} == {
        name: value for name, value in again.items() if name != "tolerance"
    }
    assert read_model_item(model).halo == 1
    kept = {key: value for key, value in after["properties"].items() if key not in MEASURED}
    assert kept == {key: value for key, value in before["properties"].items() if key not in MEASURED}
    assert {**after, "properties": None} == {**before, "properties": None}


MEASURED = {f"geoseg:{name}" for name in ("halo", "edge_errors", "activation_bytes", "seconds_per_mpx")}


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
        assert main(["run", str(workflow), "--model", str(item), "--overwrite"]) == 3
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
        "missing file": (["--input", str(tmp_path / "missing.tif")], 3, "missing.tif"),
        "not a raster": (["--input", str(text)], 3, "text.tif"),
        "no CRS": (["--input", str(nowhere)], 3, "(?i)crs|reference system"),
        "wrong number of bands": (["--input", str(bands)], 3, "bands"),
        "too few bands chosen": (["--bands", "1"], 3, "needs 2"),
        "a band that is not there": (["--bands", "1,7"], 3, "7"),
        "unknown model": (["--model", "sentinel2-landcover"], 3, "did you mean 'sentinel2-land-cover'"),
        "region outside the raster": (["--region", "0,0,1,1"], 3, "(?i)region"),
        "region that is not there": (["--region", str(tmp_path / "no.geojson")], 3, "no.geojson"),
        "unwritable folder": (["--output", str(file / "out")], 5, "is a file; choose another folder"),
        "unknown format": (["--features", "polygons.doc"], 2, "polygons.doc"),
        "tile too small": (["--tile-size", "8"], 2, "too small"),
        "no scheduler": (["--scheduler", "tcp://127.0.0.1:9"], 5, "no Dask scheduler answers"),
    }
    for name, (options, code, words) in cases.items():
        assert main(["run", str(workflow), *options]) == code, name
        assert re.search(words, sentence_of(capsys)), name
    assert main(["run", str(unknown)]) == 2
    assert "did you mean 'tile_size'" in sentence_of(capsys)
    assert main(["run", str(tmp_path / "land_uze.yaml")]) == 3
    assert "did you mean 'land_use'" in sentence_of(capsys)


def test_a_truncated_raster_fails_by_block_and_says_so(
    workflow: Path, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = scene.read_bytes()
    scene.write_bytes(whole[: len(whole) * 2 // 3])
    assert main(["run", str(workflow)]) in (1, 3)
    assert re.search(r"scene\.tif", capsys.readouterr().err)


def test_an_output_folder_in_use_is_refused(workflow: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunFolder(tmp_path / "out").locked():
        assert main(["run", str(workflow)]) == 5
    assert "in use by another run" in sentence_of(capsys)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_reported_and_the_run_can_be_continued(
    workflow: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import geoseg.files

    def full(*_arguments: object) -> None:
        with Path("/dev/full").open("wb") as device:
            device.write(b"0" * 9000)

    monkeypatch.setattr(geoseg.files.os, "replace", full)
    assert main(["run", str(workflow)]) == 5
    assert "No space left" in sentence_of(capsys)
    monkeypatch.undo()
    assert main(["run", str(workflow)]) == 0


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_score_that_no_object_has_is_refused(
    activation: str, workflow: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    item = json.loads(model.read_text())
    item["properties"]["geoseg:activation"] = activation
    for entry in item["properties"]["mlm:output"][0]["classification:classes"]:
        entry["value"] += 1  # 0 is what pixels below a threshold are
    model.write_text(json.dumps(item))
    assert main(["plan", str(workflow), "--min-score", "0.6"]) == 2
    instead = {"softmax": "min_confidence", "sigmoid": "threshold"}[activation]
    told = "min_score is 0.6, and model 'box' finds no objects that have a score; leave min_score out, or use "
    assert f"{told}{instead}." in sentence_of(capsys)
