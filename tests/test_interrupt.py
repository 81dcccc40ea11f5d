"""Ctrl-C in a real process: nothing is left running, nothing is lost, and the same command goes on."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import psutil
import pytest
import rasterio
from distributed.client import AllExit, ClosedClientError
from distributed.comm import CommClosedError

from geoseg.cli import main
from geoseg.engine.cluster import _is_news
from geoseg.engine.connection import Presence
from geoseg.engine.flow import Flow
from tests.networks import Box, write_model
from tests.rasters import write_raster

START = 300.0
"""Seconds that a process may take until it works, on a machine that is busy."""

BLOCKS = 12 * 10
"""Of the run that is stopped; a tile of 64 px owns 54."""


@dataclass
class Ended:
    """A process that has ended, what it printed, and how long it took from the signal on."""

    code: int
    output: str
    errors: str
    seconds: float


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """A run of so many blocks that it can be interrupted in the middle."""
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    pixels = np.random.default_rng(7).integers(1, 200, (2, 54 * 12, 54 * 10), np.uint8)
    write_raster(tmp_path / "scene.tif", pixels)
    workflow = tmp_path / "workflow.yaml"
    settings = {
        "model": str(model), "input": str(tmp_path / "scene.tif"), "output": str(tmp_path / "out"), "ramp": 8,
        "tile_size": 64, "block_tiles": 1, "features": [], "report": False, "dashboard": "127.0.0.1:0", "workers": 2,
    }  # fmt: skip
    workflow.write_text(json.dumps(settings))
    return ["run", str(workflow)]


def markers(folder: Path, stage: str) -> int:
    """Blocks whose stage is on disk."""
    path = folder / "state" / stage
    return len(os.listdir(path)) if path.is_dir() else 0


def interrupt(
    arguments: list[str],
    when: Callable[[], bool],
    *,
    again: float | None = None,
    number: signal.Signals = signal.SIGINT,
    is_alone: bool = False,
) -> Ended:
    """Start a command, and press Ctrl-C at a moment: a terminal sends the signal to every process of the command.

    Parameters
    ----------
    arguments : list of str
        What stands behind ``geoseg``.
    when : callable
        Whether the moment has come.
    again : float, optional
        Seconds after which Ctrl-C is pressed once more.
    number : Signals
        Another signal than that of Ctrl-C.
    is_alone : bool
        Whether the command alone gets it, and none of its workers.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin deaf to Ctrl-C
    hangup = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and what nohup has started, to this
    process = subprocess.Popen(
        [sys.executable, "-m", "geoseg", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    signal.signal(signal.SIGINT, before)
    signal.signal(signal.SIGHUP, hangup)
    deadline = time.monotonic() + START
    while not when() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    children = psutil.Process(process.pid).children(recursive=True)
    pressed = time.monotonic()
    send = os.kill if is_alone else os.killpg
    send(process.pid, number)
    if again is not None:
        time.sleep(again)
        send(process.pid, number)
    output, errors = process.communicate(timeout=START)
    seconds = time.monotonic() - pressed
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
    return Ended(process.returncode, output, errors, seconds)


@pytest.mark.slow
def test_a_run_that_is_stopped_ends_cleanly_and_goes_on_to_the_same_map(arguments: list[str], tmp_path: Path) -> None:
    ended = interrupt(arguments, lambda: markers(tmp_path / "out", "predict") >= 5)
    assert ended.code == 130
    assert "Traceback" not in ended.output + ended.errors
    assert ended.errors.splitlines()[-2:] == [
        "stopped; what is done is kept, and the same command goes on from there:",
        shlex.join(["geoseg", *arguments]),
    ]
    assert "stopping" in ended.output
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "running"
    kept = markers(tmp_path / "out", "predict")
    assert 5 <= kept < BLOCKS

    assert main([*arguments, "--json"]) == 0
    assert main([*arguments, "--output", str(tmp_path / "whole")]) == 0
    paths = (tmp_path / folder / "labels.tif" for folder in ("out", "whole"))
    resumed, whole = (rasterio.open(path).read() for path in paths)
    assert (resumed == whole).all()
    counts = json.loads((tmp_path / "out" / "run.json").read_text())["blocks"]
    assert counts["kept"]["predict"] >= kept - 2
    assert counts["kept"]["predict"] + counts["done"]["predict"] == BLOCKS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "is_alone", "code"),
    [(signal.SIGTERM, False, 143), (signal.SIGTERM, True, 143), (signal.SIGHUP, False, 129)],
)
def test_sigterm_and_sighup_end_a_run_as_ctrl_c_does(
    arguments: list[str], tmp_path: Path, number: signal.Signals, is_alone: bool, code: int
) -> None:
    """A container's stop reaches the command alone, those of a batch system and a terminal reach its workers too."""
    when = lambda: markers(tmp_path / "out", "predict") >= 5  # noqa: E731
    ended = interrupt(arguments, when, number=number, is_alone=is_alone, again=0.3)
    assert ended.code == code
    assert "Traceback" not in ended.output + ended.errors
    assert ended.errors.splitlines()[-2:] == [
        "stopped; what is done is kept, and the same command goes on from there:",
        shlex.join(["geoseg", *arguments]),
    ]
    assert ended.seconds < 60


def test_records_of_connections_that_a_stop_closes_are_no_news() -> None:
    def record(error: Exception, words: str = "failed") -> logging.LogRecord:
        return logging.LogRecord("tornado.application", logging.ERROR, "", 1, words, (), (type(error), error, None))

    assert not _is_news(record(CommClosedError("closed")))
    assert not _is_news(record(RuntimeError("ConnectionPool is closed")))
    assert not _is_news(record(AllExit()))
    assert not _is_news(record(ClosedClientError("Client is closed. Can't send report-key message.")))
    assert not _is_news(record(asyncio.CancelledError()))
    assert not _is_news(record(NameError("future"), "Exception in callback partial(<function sync.<locals>.cancel>)"))
    assert _is_news(record(RuntimeError("no space")))


def test_a_command_that_nobody_watches_says_that_it_was_stopped() -> None:
    program = (
        "import os, signal, sys, geoseg.training\nfrom geoseg.cli import main\n"
        "geoseg.training.train = lambda *_, **__: (os.kill(os.getpid(), signal.SIGTERM), signal.pause())\n"
        "sys.argv = ['geoseg', 'train', 'recipe.yaml']\nsys.exit(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 143
    assert ended.stderr.splitlines()[-1] == "stopped; run the same command again to continue."


def test_ctrl_c_while_the_command_line_is_loaded_prints_nothing() -> None:
    program = (
        "import os, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Finder:\n    def find_spec(self, name, *_):\n"
        "        if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Finder())\nfrom geoseg.__main__ import main\nsys.exit(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


def test_a_terminal_that_is_closed_ends_a_command_that_has_more_to_print() -> None:
    program = (
        "import signal, sys, geoseg.training\nfrom geoseg.cli import main\n"
        "geoseg.training.train = lambda *_, **__: (print('begins', flush=True), signal.pause())\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "sys.argv = ['geoseg', 'train', 'recipe.yaml']\nsys.exit(main())\n"
    )
    number, terminal = pty.fork()
    if number == 0:
        os.execv(sys.executable, [sys.executable, "-c", program])  # noqa: S606 - no shell is wanted
    printed = b""
    while b"begins" not in printed:
        printed += os.read(terminal, 1024)
    os.close(terminal)
    _, status = os.waitpid(number, 0)
    assert os.WIFEXITED(status)
    assert os.WEXITSTATUS(status) == 129


@pytest.mark.slow
def test_programs_are_told_that_a_run_was_stopped(arguments: list[str], tmp_path: Path) -> None:
    ended = interrupt([*arguments, "--json"], lambda: markers(tmp_path / "out", "predict") >= 30)
    lines = [json.loads(line) for line in ended.output.splitlines()]
    assert ended.code == 130
    assert lines[0]["event"] == "started"
    assert [line["event"] for line in lines[-2:]] == ["progress", "ended"]
    assert lines[-1]["status"] == "stopped"
    done = [line for line in lines if line["event"] == "block" and line["stage"] == "predict"]
    assert len(done) >= 1
    assert {line["status"] for line in done} == {"done"}


def test_whoever_presses_twice_does_not_wait_and_leaves_nothing_behind(arguments: list[str], tmp_path: Path) -> None:
    ended = interrupt(arguments, lambda: markers(tmp_path / "out", "predict") >= 3, again=0.3)
    assert ended.code == 130
    assert "Traceback" not in ended.output + ended.errors
    assert "goes on from there" in ended.errors


@pytest.mark.slow
def test_a_run_can_be_stopped_before_its_workers_are_there(arguments: list[str], tmp_path: Path) -> None:
    ended = interrupt(arguments, lambda: (tmp_path / "out" / "run.json").exists())
    assert ended.code == 130
    assert "Traceback" not in ended.output + ended.errors
    assert "goes on from there" in ended.errors


@pytest.mark.slow
def test_polygons_that_were_stopped_go_on_to_the_same_file(tmp_path: Path) -> None:
    classes = np.random.default_rng(3).integers(1, 4, (1, 128, 128)).repeat(8, 1).repeat(8, 2).astype(np.uint8)
    raster = write_raster(tmp_path / "classes.tif", classes)
    options = ["--block-size", "64", "--dashboard", "127.0.0.1:0"]
    arguments = ["polygonize", str(raster), str(tmp_path / "out.gpkg"), *options]
    folder = tmp_path / ".out.gpkg.geoseg" / "state" / "outlines"

    def traced() -> int:
        return len(list((folder / "trace").glob("*-*")))

    ended = interrupt(arguments, lambda: traced() >= 8)
    assert ended.code == 130
    assert "Traceback" not in ended.output + ended.errors
    assert 8 <= traced() < 256
    assert not (tmp_path / "out.gpkg").exists()
    assert main(arguments) == 0
    assert main(["polygonize", str(raster), str(tmp_path / "whole.gpkg"), *options]) == 0
    resumed, whole = gpd.read_file(tmp_path / "out.gpkg"), gpd.read_file(tmp_path / "whole.gpkg")
    assert resumed.equals(whole)


class Finalized:
    """Presses Ctrl-C while it is being finalized, where Python only prints what is raised."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_in_a_finalizer_ends_a_run_after_the_task_in_hand(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    flow, handled = object.__new__(Flow), list[int]()
    flow._waiting, flow._presence = [], Presence(tmp_path)

    def handle(future: int, _result: None) -> None:
        handled.append(future)
        if future == 2:
            Finalized()

    monkeypatch.setattr(flow, "_handle", handle)
    monkeypatch.setattr(flow, "_look", lambda: None)
    monkeypatch.setattr(flow, "_ended", lambda: [(number, None) for number in range(5)])
    try:
        with pytest.raises(KeyboardInterrupt):
            flow.run(lambda: None)
        assert handled == [0, 1, 2]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
