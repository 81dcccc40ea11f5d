"""Tasks in flight: how many at once, what is tried again, what a failure leaves, and what ends a run."""

from __future__ import annotations

import errno
import heapq
import logging
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rasterio
import torch
from distributed import Client, LocalCluster, Worker
from distributed.core import error_message

from geoseg.engine import flow as flows
from geoseg.engine.attempts import Failure, on_each_worker
from geoseg.engine.connection import ERRORS, connected, present
from geoseg.engine.flow import WINDOW, Flow
from geoseg.engine.schedule import Schedule
from geoseg.errors import GeosegError, ModelError, OutputError, RasterReadError, WorkerError
from geoseg.stages import OUTLINES, Scope, stages_of
from geoseg.training.checkpoints import Checkpoints
from geoseg.tree import BlockTree

SIDE = 50
"""Blocks of the raster of a fake client, down and across."""


class FakeClient:
    """Two workers that do nothing, and how much was with them at once."""

    loop = None
    status = "running"
    scheduler = None

    def __init__(self) -> None:
        self.in_flight: list[tuple[int, int, Any]] = []
        self.most, self.stages = 0, Counter[str]()

    def nthreads(self) -> dict[str, int]:
        return {"a": 1, "b": 1}

    def run(self, *_call: Any, **_options: Any) -> dict[str, set[str]]:
        return {"a": set(), "b": set()}

    def submit(self, *_call: Any, key: Any, priority: int, **_options: Any) -> SimpleNamespace:
        self.stages[key[0].split("-")[0]] += 1
        heapq.heappush(self.in_flight, (-priority, sum(self.stages.values()), key))
        self.most = max(self.most, len(self.in_flight))
        return SimpleNamespace(key=key, status="finished")


class FakeCompleted:
    """The tasks of a fake client, finished in the order of their priority."""

    client: FakeClient

    def __init__(self, **_options: Any) -> None:
        return

    def add(self, _future: Any) -> None:
        return

    def is_empty(self) -> bool:
        return not self.client.in_flight

    def has_ready(self) -> bool:
        return True

    def __next__(self) -> tuple[Any, dict[str, float]]:
        key = heapq.heappop(self.client.in_flight)[2]
        return SimpleNamespace(key=key, status="finished"), {key[0].split("-")[0]: 0.0}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    client = FakeClient()
    monkeypatch.setattr(FakeCompleted, "client", client, raising=False)
    monkeypatch.setattr(flows, "as_completed", FakeCompleted)
    return client


@pytest.mark.parametrize("is_sifted", [False, True])
@pytest.mark.parametrize("kept", [set(), {"survey", "merge"}, {"survey", "merge", "sift"}])
def test_no_stage_has_more_in_flight_than_the_window(
    fake: FakeClient, tmp_path: Path, is_sifted: bool, kept: set[str]
) -> None:
    """New or continued: all labels are final at once, as a second start finds them."""
    tree, stages = BlockTree((SIDE, SIDE)), stages_of(Scope(outlines=True, sieves=is_sifted))
    whole = {stage.name: set(stage.places(tree)) for stage in stages}
    marked = {name: places for name, places in whole.items() if name in kept}
    flow = Flow(fake, 2, lambda _: None, tmp_path)  # type: ignore[arg-type]
    schedule = Schedule(flow, tree, stages, {name: marked.get(name, set()) for name in whole}, {OUTLINES: "job"})
    schedule.start()
    flow.run(schedule.fill)
    inner = list(tree.nodes())
    expected = {"trace": SIDE**2, "join": len(inner)}
    expected |= {"survey": SIDE**2, "merge": len(inner), "sift": SIDE**2} if is_sifted else {}
    assert fake.stages == {stage: count for stage, count in expected.items() if stage not in marked}
    assert fake.most <= 2 * WINDOW
    assert not flow._waiting


@pytest.fixture(scope="module")
def workers() -> Iterator[Client]:
    with (
        LocalCluster(2, processes=False, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def run_one(client: Client, folder: Path, function: Callable[..., Any], retries: int = 2) -> Flow:
    """Run one task to its end."""
    flow = Flow(client, retries, lambda _: None, folder)
    flow.submit("predict", (3, 4), function, str(folder), done=lambda _: None, failed=lambda _: None)
    with connected(client):
        flow.run(lambda: None)
    return flow


def count_try(folder: str) -> int:
    """Count how often a task was tried, in a file."""
    path = Path(folder) / "tries"
    path.write_text(f"{path.read_text() if path.exists() else ''}x")
    return len(path.read_text())


def never_fits(folder: str) -> dict[str, float]:
    count_try(folder)
    raise ModelError("the model's output does not fit; describe it.")


def passes(folder: str) -> dict[str, float]:
    if count_try(folder) < 3:
        raise RasterReadError("the server is busy; try again.")
    return {"predict": 0.0}


def breaks(folder: str) -> dict[str, float]:
    count_try(folder)
    raise ZeroDivisionError("of somebody else's")


def fills_the_disk(folder: str) -> dict[str, float]:
    count_try(folder)
    try:
        raise OSError(errno.ENOSPC, "No space left on device")
    except OSError as error:
        raise OutputError("block 3-4 cannot be written; free some space.") from error


def deletes_its_folder(folder: str) -> dict[str, float]:
    shutil.rmtree(folder)
    raise FileNotFoundError(folder)


def test_what_cannot_pass_is_tried_once(workers: Client, tmp_path: Path) -> None:
    flow = run_one(workers, tmp_path, never_fits)
    assert (tmp_path / "tries").read_text() == "x"
    assert flow.outcome.failed == {"3-4": "predict: the model's output does not fit; describe it."}


def seen(path: str, dask_worker: Worker) -> bool:  # noqa: ARG001 - what is called on each worker gets it
    """Wait for a file, as long as compiling may take."""
    deadline = time.monotonic() + 20
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return Path(path).exists()


def test_a_worker_that_gets_ready_answers_and_can_be_stopped(workers: Client, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(on_each_worker, workers, seen, str(tmp_path / "answered"))
        time.sleep(0.5)
        workers.run(os.getpid)
        (tmp_path / "answered").touch()
        assert set(found.result()) == {True}


def test_what_may_pass_is_tried_again(workers: Client, tmp_path: Path) -> None:
    flow = run_one(workers, tmp_path, passes)
    assert (tmp_path / "tries").read_text() == "xxx"
    assert flow.outcome.done == {"predict": 1}


def test_an_exception_of_others_is_tried_again_then_named_and_its_traceback_kept(
    workers: Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "geoseg"):
        flow = run_one(workers, tmp_path, breaks)
    assert (tmp_path / "tries").read_text() == "xxx"
    assert flow.outcome.failed == {"3-4": "predict: ZeroDivisionError: of somebody else's"}
    (path,) = flow.outcome.traces
    assert path == tmp_path / "errors" / "predict-3-4.txt"
    assert "in breaks\n" in path.read_text()
    warning, trace = (record for record in caplog.records if record.name.startswith("geoseg"))
    assert warning.getMessage() == "predict of block 3-4 failed: ZeroDivisionError: of somebody else's"
    assert "in breaks\n" in trace.getMessage()


def test_tracebacks_of_an_earlier_start_go_with_the_next(workers: Client, tmp_path: Path) -> None:
    run_one(workers, tmp_path, breaks, retries=0)
    run_one(workers, tmp_path, passes)
    assert not (tmp_path / "errors").exists()


def test_a_full_disk_ends_the_run_after_one_try_and_says_how_to_go_on(workers: Client, tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match="free some space; what is done is kept: run the same command again"
    ) as caught:
        run_one(workers, tmp_path, fills_the_disk)
    assert (tmp_path / "tries").read_text() == "x"
    assert caught.value.exit_code == 5
    assert "No space left on device" in str(caught.value.__cause__)


def test_a_folder_that_was_removed_ends_the_run(workers: Client, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="or a part of it, was removed or replaced while the run wrote into it"):
        run_one(workers, tmp_path / "state" if (tmp_path / "state").mkdir() is None else tmp_path, deletes_its_folder)


def test_whatever_fails_because_a_part_of_a_folder_was_removed_is_told_so(tmp_path: Path) -> None:
    for name in ("predict", ERRORS):
        (tmp_path / name).mkdir()

    def fail() -> None:
        raise OutputError("block 0-0 cannot be written (No such file or directory); free some space.")

    lock = tmp_path / "lock"
    lock.touch()
    with pytest.raises(OutputError, match="free some space"), present(tmp_path, lock):
        (tmp_path / ERRORS).rmdir()  # as a run does itself
        fail()
    with (
        pytest.raises(OutputError, match="or a part of it, was removed or replaced") as caught,
        present(tmp_path, lock),
    ):
        (tmp_path / "predict").rmdir()
        fail()
    assert "free some space" in str(caught.value.__context__)


def test_a_folder_that_was_removed_while_workers_started_is_told_of_before_a_block_is_predicted(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="was removed or replaced"), present(tmp_path, tmp_path / "lock"):
        pytest.fail("the run goes on in a folder that is another one")


def rasterio_fails() -> None:
    try:
        rasterio.open("/nowhere/at/all.tif")
    except rasterio.errors.RasterioIOError as error:
        raise RasterReadError("'all.tif' cannot be read; mend it.") from error


def test_every_error_survives_pickling_with_its_cause_as_text() -> None:
    def kinds(base: type[GeosegError]) -> Iterator[type[GeosegError]]:
        yield base
        for kind in base.__subclasses__():
            yield from kinds(kind)

    for kind in kinds(GeosegError):
        try:
            try:
                rasterio.open("/nowhere/at/all.tif")
            except rasterio.errors.RasterioIOError as error:
                raise kind("what, the value, the remedy.") from error
        except GeosegError as error:
            again = pickle.loads(pickle.dumps(error))
            assert type(again) is kind
            assert str(again) == "what, the value, the remedy."
            assert "RasterioIOError: /nowhere/at/all.tif" in str(again.__cause__)


def test_dask_can_send_an_error_that_rasterio_has_caused() -> None:
    try:
        rasterio_fails()
    except RasterReadError as error:
        error_message(error)  # from here on pickle takes an error's cause along
        again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, RasterReadError)
    assert "rasterio" in str(again.__cause__)


def test_a_failure_of_a_worker_is_an_error_with_its_traceback() -> None:
    error = Failure("ZeroDivisionError: by zero", "Traceback ...").error()
    assert isinstance(error, WorkerError)
    assert str(error) == "a worker fails (ZeroDivisionError: by zero); see its traceback, and fix what it names."
    assert "Traceback ..." in str(error.__cause__)


def sleep(_folder: str) -> dict[str, float]:
    time.sleep(1)
    return {"predict": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("returns", [False, True])
def test_a_scheduler_that_dies_in_the_middle_ends_the_run(tmp_path: Path, returns: bool) -> None:
    def start(port: int) -> tuple[subprocess.Popen[str], int]:
        options = ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show"]
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *options]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        line = next(line for line in process.stderr if "Scheduler at:" in line)
        return process, int(line.strip().rsplit(":", 1)[1])

    scheduler, port = start(0)
    address = f"tcp://127.0.0.1:{port}"
    worker = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "distributed.cli.dask_worker",
            address,
            "--nthreads",
            "1",
            "--no-nanny",
            "--no-dashboard",
        ],
        stderr=subprocess.DEVNULL,
    )
    processes = [scheduler, worker]

    def kill() -> None:
        scheduler.kill()
        scheduler.wait()
        if returns:
            processes.append(start(port)[0])

    try:
        with Client(address, timeout="30s", set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            flow, done = Flow(client, 2, lambda _: None, tmp_path), list[int]()
            for number in range(20):
                flow.submit("predict", (0, number), sleep, "", done=lambda _: done.append(1), failed=lambda _: None)
            started = time.monotonic()
            with (
                pytest.raises(WorkerError, match=f"the Dask scheduler at {address} has ended") as caught,
                connected(client),
            ):
                flow.run(lambda: kill() if len(done) == 2 else None)
            assert "run the same command again" in str(caught.value)
            assert caught.value.exit_code == 5
        assert time.monotonic() - started < 60
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_disk_that_is_full_ends_a_training_with_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path / "state.pt", "digest")
    checkpoints.write({"step": 1})

    monkeypatch.setattr(Path, "open", lambda _, mode: open("/dev/full", mode))  # noqa: PTH123, SIM115
    with pytest.raises(OutputError, match=r"state.pt cannot be written \(No space left on device\); choose") as caught:
        checkpoints.write({"step": 2, "weights": torch.zeros(10**5)})
    assert caught.value.exit_code == 5
    monkeypatch.undo()
    state = checkpoints.read()
    assert state is not None
    assert state["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
