"""Libraries of workers are loaded ahead where a run has surely something to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from geoseg import forking
from geoseg.cli.starting import start_early
from geoseg.errors import WorkerError


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each server that was started, whether its workers are to predict."""
    calls: list[bool] = []
    monkeypatch.setattr(forking, "prepare_workers", lambda *, predicting: calls.append(predicting))
    return calls


def write_run(folder: Path, status: str, **settings: Any) -> Path:
    """Leave what a run leaves in its folder."""
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"status": status}))
    (folder / "workflow.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.mark.parametrize(
    ("status", "given", "expected"),
    [
        (None, {}, [True]),
        ("running", {}, [True]),
        ("finished", {"overwrite": True}, [True]),
        ("finished", {"threshold": 0.6}, [False]),
        ("finished", {"threshold": 0.5}, []),
        ("finished", {}, []),
        ("finished", {"input": "./scene.tif", "model": "other"}, []),
        (None, {"scheduler": "tcp://127.0.0.1:8786"}, []),
    ],
)
def test_what_is_started(
    tmp_path: Path, started: list[bool], status: str | None, given: dict[str, Any], expected: list[bool]
) -> None:
    folder = tmp_path / "out"
    if status:
        write_run(folder, status, threshold=0.5, input="scene.tif")
    start_early({"output": str(folder), **given})
    assert started == expected


def test_nothing_is_started_for_a_folder_that_the_workflow_names(started: list[bool]) -> None:
    start_early({"input": "scene.tif"})
    assert started == []


@pytest.mark.parametrize("damage", ["", "[1]", "{}", "{", "\0"])
def test_a_damaged_record_is_the_run_s_matter(tmp_path: Path, started: list[bool], damage: str) -> None:
    folder = write_run(tmp_path / "out", "finished")
    (folder / "workflow.yaml").write_text(damage)
    start_early({"output": str(folder), "threshold": 0.6})
    (folder / "run.json").write_text(damage)
    start_early({"output": str(folder), "threshold": 0.6})
    assert started == [False, True]


def test_what_no_worker_can_be_started_for_is_the_run_s_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*, predicting: bool) -> None:
        raise WorkerError(f"no process starts here, predicting or not ({predicting}).")

    monkeypatch.setattr(forking, "prepare_workers", refuse)
    start_early({"output": str(tmp_path / "out")})


def test_a_command_ends_with_its_code_and_all_that_it_has_said() -> None:
    for arguments, code in ((["--version"], 0), (["geoseg"], 2)):
        done = subprocess.run([sys.executable, "-m", "geoseg", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert "geoseg" in done.stdout + done.stderr


def test_what_libraries_do_at_the_end_of_a_command_is_done() -> None:
    code = (
        "import atexit, sys; sys.argv = ['geoseg', '--version']; from geoseg.cli import main; code = main();"
        "atexit.register(print, 'the end'); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[1] == "the end"


def test_a_command_whose_output_cannot_be_written_does_not_end_as_done() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "geoseg", "--version"], stdout=full, stderr=full, check=False)
    assert done.returncode != 0


def test_a_command_without_an_output_ends_without_a_traceback() -> None:
    command = f"{sys.executable} -m geoseg --version >&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
