"""Runs that are started again: what has changed decides what is repeated, and nothing else is."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import yaml
from distributed import Client

import geoseg
from geoseg.catalog import resolve_input
from geoseg.cli import main
from geoseg.engine import Writing, connect
from geoseg.errors import ContinuationWarning, FingerprintError, InputNotFoundError, WorkflowError
from geoseg.evaluation.inputs import find_input
from geoseg.workflow.settings import read_workflow, write_workflow
from tests.networks import Box, write_model
from tests.rasters import noise, write_raster

REPORT = ("report.html", "item.json")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with connect(None, 1) as client:
        yield client


@dataclass(frozen=True)
class Started:
    """What a start did: tasks by stage, and files that were written."""

    stages: set[str]
    files: set[str]
    is_unchanged: bool = False


@dataclass(frozen=True)
class Run:
    """A finished run in a folder of its own, beside its scene and its model."""

    folder: Path
    settings: dict[str, Any]
    client: Client

    @property
    def output(self) -> Path:
        return self.folder / "out"

    def start(self, **more: Any) -> Started:
        before = self._files()
        written: list[str] = []
        result = geoseg.run(
            {**self.settings, **more},
            client=self.client,
            progress=lambda event: written.append(event.path.name) if isinstance(event, Writing) else None,
        )
        after = self._files()
        assert result.is_unchanged == (before == after)
        stages = {stage for stage, count in result.outcome.done.items() if count}
        return Started(stages, set(written), result.is_unchanged)

    def _files(self) -> dict[Path, tuple[int, int]]:
        files = (path for path in self.output.rglob("*") if path.is_file() and path.name != "lock")
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


@pytest.fixture(scope="module")
def finished(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("finished")
    scene = write_raster(folder / "scene.tif", noise(2, 150, 140), crs=None)
    model = write_model(folder / "model", Box(1), name="box", halo=3)
    settings = {"model": str(model), "input": str(scene), "crs": "EPSG:32618", "ramp": 8, "block_tiles": 2}
    run = Run(folder, {**settings, "output": str(folder / "out"), "workers": 1}, client)
    assert run.start() == Started({"predict", "finish", "trace", "join"}, {"labels.tif", "features.gpkg"})
    return run


@pytest.fixture
def run(finished: Run, tmp_path: Path) -> Run:
    """A copy of the finished run, in another place."""
    shutil.copytree(finished.folder, tmp_path, dirs_exist_ok=True)
    places = {"input": tmp_path / "scene.tif", "model": tmp_path / "model" / "box.json", "output": tmp_path / "out"}
    return Run(tmp_path, {**finished.settings, **{key: str(path) for key, path in places.items()}}, finished.client)


# What is repeated


NOTHING = Started(set(), set(), is_unchanged=True)


def touch(run: Run) -> dict[str, Any]:
    for path in run.folder.glob("**/*.*"):
        path.touch()
    return {}


def other_directory(run: Run) -> dict[str, Any]:
    (run.folder / "elsewhere").mkdir()
    return {"input": f"{run.folder}/elsewhere/../scene.tif", "output": f"{run.folder}/elsewhere/../out"}


def rename(run: Run) -> dict[str, Any]:
    return {"input": str((run.folder / "scene.tif").rename(run.folder / "renamed.tif"))}


def no_decision(_: Run) -> dict[str, Any]:
    return {"workers": 2, "retries": 0, "dashboard": "127.0.0.1:0", "performance_report": False}


def said(_: Run) -> dict[str, Any]:
    return {"precision": "float32", "device": "cpu", "batch_size": 1, "halo": 3}


@pytest.mark.parametrize("change", [touch, other_directory, rename, no_decision, said])
def test_what_decides_nothing_repeats_nothing(run: Run, change: Callable[[Run], dict[str, Any]]) -> None:
    assert run.start(**change(run)) == NOTHING


@pytest.mark.parametrize(
    ("more", "stages", "files"),
    [
        ({"simplify": 15.0}, {"trace", "join"}, {"features.gpkg"}),
        ({"classes": [1]}, {"trace", "join"}, {"features.gpkg"}),
        ({"min_area": 300.0}, {"survey", "merge", "sift", "trace", "join"}, {"features.gpkg"}),
        ({"layer": "map"}, set(), {"features.gpkg"}),
        ({"features": ["features.gpkg", "more.parquet"]}, set(), {"more.parquet"}),
        ({"crs": "EPSG:32617"}, {"trace", "join"}, {"labels.tif", "features.gpkg"}),
    ],
)
def test_a_changed_setting_repeats_its_stage_and_those_after_it(
    run: Run, more: dict[str, Any], stages: set[str], files: set[str]
) -> None:
    assert run.start(**more) == Started(stages, files)
    assert run.start(**more) == NOTHING


def test_a_corrected_crs_corrects_areas_and_places(run: Run) -> None:
    run.start(crs="EPSG:3857")
    assert pyogrio.read_info(run.output / "features.gpkg", layer="land_use")["crs"] == "EPSG:3857"
    with rasterio.open(run.output / "labels.tif") as source:
        assert source.crs.to_epsg() == 3857


@pytest.mark.parametrize("name", ["labels.tif", "features.gpkg"])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-7])])
def test_a_result_that_is_gone_or_damaged_is_written_again_from_what_is_stored(
    run: Run, name: str, damage: Callable[[Path], Any]
) -> None:
    before = (run.output / "labels.tif").read_bytes()
    damage(run.output / name)
    assert run.start() == Started(set(), {name})
    assert (run.output / "labels.tif").read_bytes() == before


@pytest.mark.parametrize("name", REPORT)
def test_a_page_that_is_gone_is_made_again_without_a_worker(
    run: Run, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.workflow.running.connect", lambda *_: pytest.fail("workers are started"))
    (run.output / name).unlink()
    record = json.loads((run.output / "run.json").read_text())
    assert run.start() == Started(set(), set())
    assert (run.output / name).is_file()
    assert json.loads((run.output / "run.json").read_text())["blocks"] == record["blocks"]


@pytest.mark.parametrize("name", ["run.json", "workflow.yaml"])
def test_a_record_that_is_gone_is_written_again(run: Run, name: str) -> None:
    (run.output / name).unlink()
    assert run.start() == Started(set(), set())
    assert json.loads((run.output / "run.json").read_text())["status"] == "finished"
    assert geoseg.resume(run.output).is_unchanged


# What is refused


@pytest.mark.parametrize(
    ("more", "phrases"),
    [
        ({"halo": 4, "ramp": 6}, ["grid tiling halo (3 before, 4 now)", "grid tiling ramp (8 before, 6 now)"]),
        ({"bands": [2, 1], "batch_size": 2}, ["bands", "batch_size (1 before, 2 now)"]),
        ({"nodata": 3.0}, ["raster nodata"]),
    ],
)
def test_a_folder_of_other_labels_is_refused_with_all_that_differs_and_what_it_would_cost(
    run: Run, more: dict[str, Any], phrases: list[str]
) -> None:
    with pytest.raises(FingerprintError) as refused:
        run.start(**more)
    sentence = str(refused.value)
    assert all(phrase in sentence for phrase in phrases)
    assert "with --overwrite its 4 predicted blocks would be predicted again" in sentence
    assert "another output folder" in sentence


def test_other_pixels_are_named_by_their_file(run: Run) -> None:
    write_raster(run.folder / "scene.tif", noise(2, 150, 140) ^ 1, crs=None)
    with pytest.raises(FingerprintError, match=r"input scene\.tif has another content"):
        run.start()


def test_an_upgraded_package_is_named_with_the_remedy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from geoseg import versions

    found = versions.version
    monkeypatch.setattr("geoseg.versions.version", lambda name: "9.9" if name == "transformers" else found(name))
    assert run.start() == NOTHING, "this model uses no transformers"
    monkeypatch.setattr("geoseg.versions.version", lambda name: "9.9" if name == "torch" else found(name))
    with pytest.raises(FingerprintError, match=r'versions torch \(.*"9\.9" now\).*install those versions again'):
        run.start()


def test_a_large_file_that_was_written_since_is_noted_and_kept(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.raster.fingerprints.SAMPLE_BYTES", 64)
    run.start(overwrite=True)
    (run.folder / "scene.tif").touch()
    with pytest.warns(ContinuationWarning, match=r"scene\.tif was written since .* --overwrite"):
        run.start()


def test_blocks_of_processors_of_two_kinds_are_noted(run: Run) -> None:
    (run.output / "state" / "instructions.json").write_text('["VECTORS"]')
    for marker in (run.output / "state" / "finish").iterdir():
        marker.unlink()
    with pytest.warns(ContinuationWarning, match=r"are computed with .*VECTORS.*machines of one kind"):
        run.start()


# What is left of an earlier run


def test_overwrite_leaves_no_result_of_the_run_before_and_everything_that_is_a_persons_own(run: Run) -> None:
    run.start(features=["features.gpkg", "old.parquet", "edited.fgb"])
    (run.output / "notes.txt").write_text("mine")
    with (run.output / "edited.fgb").open("ab") as file:
        file.write(b"mine")
    run.start(overwrite=True, halo=4)
    kept = {path.name for path in run.output.iterdir()}
    assert "old.parquet" not in kept
    assert {"notes.txt", "edited.fgb", "features.gpkg", "labels.tif"} <= kept


def layers(run: Run) -> list[str]:
    return sorted(pyogrio.list_layers(run.output / "features.gpkg")[:, 0])


def test_another_layer_takes_the_place_of_the_one_before_unless_somebody_has_changed_the_file(run: Run) -> None:
    before = pyogrio.read_dataframe(run.output / "features.gpkg", layer="land_use")
    assert run.start(layer="summer").files == {"features.gpkg"}
    assert layers(run) == ["layer_styles", "summer"]
    with closing(sqlite3.connect(run.output / "features.gpkg")) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
        assert not [name for name in tables if "land_use" in name]
        assert connection.execute("SELECT f_table_name FROM layer_styles").fetchall() == [("summer",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert pyogrio.read_dataframe(run.output / "features.gpkg", layer="summer").equals(before)
    assert run.start(layer="summer") == NOTHING
    assert run.start(layer="SUMMER").files == {"features.gpkg"}
    assert len(pyogrio.read_dataframe(run.output / "features.gpkg", layer="SUMMER")) == len(before)
    pyogrio.write_dataframe(before[:1], run.output / "features.gpkg", layer="mine")
    run.start(layer="winter")
    assert layers(run) == ["SUMMER", "layer_styles", "mine", "winter"]


def test_evaluate_takes_only_what_the_manifest_of_a_run_names(run: Run) -> None:
    assert find_input(run.output, "prediction").instances is None
    write_raster(run.output / "instances.tif", np.ones((1, 150, 140), np.uint32))
    assert find_input(run.output, "prediction").instances is None


# A second start


def test_a_second_start_of_a_finished_run_starts_no_worker_and_loads_no_torch(run: Run) -> None:
    code = f"""
import sys, multiprocessing.forkserver, psutil
import geoseg
import geoseg.workflow.running as running
running.connect = running.prepare_workers = lambda *_: sys.exit("workers are started")
result = geoseg.run({run.settings!r})
assert result.is_unchanged and result.outcome.kept["finish"] == 4
assert "torch" not in sys.modules, "torch is loaded"
assert not psutil.Process().children(), "processes are started"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_command_says_that_there_is_nothing_to_do(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["resume", str(run.output)]) == 0
    assert f"nothing to do: {run.output} is finished; checked in" in capsys.readouterr().out


# Resume


def test_a_run_is_continued_by_its_folder_from_another_directory_wherever_it_lies(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    moved = (run.output).rename(tmp_path / "elsewhere" / "moved")
    (moved / "labels.tif").unlink()
    result = geoseg.resume("moved", client=run.client, input=str(run.folder / "scene.tif"))
    assert result.labels_path.is_file()
    assert not result.outcome.done
    assert geoseg.run("moved/workflow.yaml", client=run.client, input="../scene.tif").is_unchanged


def test_workflow_yaml_says_everything_that_decides_even_what_was_left_to_defaults(run: Run) -> None:
    content = yaml.safe_load((run.output / "workflow.yaml").read_text())
    assert "output" not in content
    assert content["mosaic"] == "first"
    expected = {"tile_size": 64, "halo": 3, "ramp": 8, "block_tiles": [2, 2], "batch_size": 1, "device": "cpu"}
    assert {key: content[key] for key in expected} == expected
    assert content["precision"] == "float32"
    plan = geoseg.plan(run.output / "workflow.yaml", input=run.settings["input"])
    assert plan.fingerprint() == geoseg.plan(run.settings).fingerprint()


def test_a_pattern_is_absolute_in_workflow_yaml(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(run.folder)
    run.start(input="scene*.tif", layer="other")
    assert yaml.safe_load((run.output / "workflow.yaml").read_text())["input"] == str(run.folder / "scene*.tif")


@pytest.mark.parametrize("names", [{"model": "buildings"}, {"things": "buildings"}, {"input": "delmarva"}])
def test_a_name_of_the_catalog_stays_one_though_the_folder_of_the_run_has_it_too(
    names: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    output = next(iter(names.values()))
    (tmp_path / output / "state").mkdir(parents=True)
    settings = {"model": "land-cover-aerial", "input": "scene.tif", "output": output, **names}
    write_workflow(read_workflow(settings), tmp_path / "workflow.yaml")
    content = yaml.safe_load((tmp_path / "workflow.yaml").read_text())
    assert {key: content[key] for key in names} == names


def test_imagery_of_the_catalog_is_read_again_when_the_folder_of_the_run_has_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    before = resolve_input("delmarva")
    (tmp_path / "delmarva").mkdir()
    assert resolve_input("delmarva") == "delmarva", "a folder of a person's own imagery"
    (tmp_path / "delmarva" / "state").mkdir()
    assert resolve_input("delmarva") == before


def test_resume_refuses_what_is_no_run_and_settings_that_decide(run: Run) -> None:
    with pytest.raises(InputNotFoundError, match=r"holds no workflow\.yaml; give the output folder of a run"):
        geoseg.resume(run.folder)
    with pytest.raises(WorkflowError, match="halo cannot be changed when a run is continued"):
        geoseg.resume(run.output, halo=4)


def test_a_damaged_record_of_a_run_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "workflow.yaml").write_text("model: [")
    with pytest.raises(WorkflowError, match=r"workflow\.yaml is damaged \(.* not YAML.*\); run the first command"):
        geoseg.resume(tmp_path)


def test_no_signature_of_an_address_is_written(run: Run) -> None:
    from tests.servers import serving

    query = "Signature=Abc%2F1&Expires=99"
    with serving(run.folder) as server:
        wanted = {**run.settings, "input": f"{server.url}/scene.tif?{query}", "output": str(run.folder / "remote")}
        geoseg.run(wanted, client=run.client)
        again = {**wanted, "input": f"{server.url}/scene.tif?Signature=Other&Expires=100"}
        assert geoseg.run(again, client=run.client).is_unchanged
    files = [path for path in (run.folder / "remote").rglob("*") if path.suffix in (".json", ".yaml", ".html", ".txt")]
    assert len(files) >= 5
    assert not [path.name for path in files if "Signature=" in path.read_text() or "Expires" in path.read_text()]
    assert "signed anew" in (run.folder / "remote" / "workflow.yaml").read_text()
