"""Workers of this machine: forked from one process that has loaded the libraries, and gone with the one that asked."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import textwrap
import warnings
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from distributed import Client, Nanny

from geoseg import forking
from geoseg.engine import connect
from geoseg.engine.cluster import _only_news
from geoseg.errors import WorkerError

forked = pytest.mark.skipif(not forking.IS_FORKING, reason="workers are forked on Linux alone")


def look() -> tuple[int, str | None, str | None, bool]:
    """What a worker is: its parent, two variables, and whether it came with the libraries."""
    loaded = "segmentation_models_pytorch" in sys.modules
    return os.getppid(), os.environ.get("GEOSEG_TEST"), os.environ.get("MALLOC_ARENA_MAX"), loaded


@forked
def test_workers_of_later_runs_have_the_same_parent_and_the_environment_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    parents = set()
    for value in ("one", "two"):
        monkeypatch.setenv("GEOSEG_TEST", value)
        with connect(None, 2) as client:
            found = list(client.run(look).values())
        assert len(found) == 2
        for parent, variable, arenas, loaded in found:
            parents.add(parent)
            assert (variable, arenas, loaded) == (value, "1", True)
    assert len(parents) == 1
    assert parents != {os.getpid()}


def collector() -> tuple[bool, int]:
    """Whether a worker's garbage collector works, and how many objects it leaves alone."""
    return gc.isenabled(), gc.get_freeze_count()


@forked
def test_the_garbage_collector_of_workers_leaves_alone_what_was_loaded() -> None:
    with connect(None, 1) as client:
        ((works, frozen),) = client.run(collector).values()
    assert works
    assert frozen > 100_000


def has_torch() -> bool:
    """Whether a worker has torch without having asked for it."""
    return "torch" in sys.modules


@pytest.mark.slow
@forked
def test_workers_that_predict_nothing_come_without_torch_unless_a_server_has_it_already() -> None:
    code = textwrap.dedent(
        """
        from geoseg.engine import connect
        from tests.test_forking import has_torch

        for predicting in (False, True, False):
            with connect(None, 1, predicting=predicting) as client:
                print(*client.run(has_torch).values())
        """
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True", "True"]


@pytest.mark.slow
@forked
def test_a_server_of_other_variables_is_stopped_once_its_workers_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def parent_under(client: Client) -> int:
        return int(next(iter(client.run(look).values()))[0])

    monkeypatch.setenv("HF_HUB_CACHE", "/first")
    with connect(None, 1) as first:
        before = parent_under(first)
        monkeypatch.setenv("HF_HUB_CACHE", "/second")
        with connect(None, 1) as second:
            now = parent_under(second)
            assert now != before
            assert parent_under(first) == before
    monkeypatch.setenv("HF_HUB_CACHE", "/third")
    with connect(None, 1) as third:
        assert parent_under(third) not in (before, now)
        assert not psutil.pid_exists(before)
        assert not psutil.pid_exists(now)


def test_systems_that_cannot_fork_libraries_load_them_in_each_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "IS_FORKING", False)
    monkeypatch.setattr(forking, "_servers", {})
    with connect(None, 1) as client:
        ((_, _, arenas, loaded),) = client.run(look).values()
    assert (arenas, loaded) == ("1", False)


@pytest.mark.slow
def test_workers_that_do_not_start_are_no_matter_of_the_dashboard(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_nanny: Nanny) -> None:
        raise MemoryError("no memory for another process")

    monkeypatch.setattr(Nanny, "start_unsafe", refuse)
    with (
        pytest.raises(WorkerError, match=r"do not start \(MemoryError: no memory for another process\)") as caught,
        connect(None, 1),
    ):
        pass
    assert "dashboard" not in str(caught.value)


@forked
def test_libraries_that_cannot_be_loaded_are_the_cause_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "broken_library.py").write_text("raise OSError('libbroken.so.1: cannot open shared object file')")
    program = textwrap.dedent("""
        from geoseg import forking
        from geoseg.engine import connect
        from geoseg.errors import WorkerError
        forking.LOADED = ("broken_library",)
        try:
            with connect(None, 1, "127.0.0.1:0"):
                pass
        except WorkerError as error:
            print(error)
    """)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT", "5s")
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert ended.stdout.startswith("the process that loads libraries for the workers has ended")
    assert "libbroken.so.1: cannot open" in ended.stderr


@forked
def test_a_worker_that_takes_the_place_of_a_killed_one_is_as_quiet(caplog: pytest.LogCaptureFixture) -> None:
    with connect(None, 1, "127.0.0.1:0") as client:
        future = client.submit(os.getpid, pure=False)
        os.kill(future.result(), signal.SIGKILL)
        assert client.submit(level_of, "distributed.worker").result(timeout=120) == logging.CRITICAL
        logging.getLogger("distributed.scheduler").error("Couldn't gather keys: {'one': 'queued'}")
        logging.getLogger("distributed.scheduler").error("something else")
    assert "gather" not in caplog.text
    assert "something else" in caplog.text


def level_of(name: str) -> int:
    """The level of a log in a worker."""
    return logging.getLogger(name).level


@forked
def test_a_command_that_ends_early_leaves_no_server_that_holds_its_output_open() -> None:
    program = (
        "import sys\nfrom geoseg import forking\nfrom geoseg.cli import main\nforking.prepare_workers()\n"
        "print(*(server._forkserver_pid for server in forking._servers.values()), flush=True)\n"
        "sys.argv = ['geoseg', '--version']\nsys.exit(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert not psutil.pid_exists(int(ended.stdout.split()[0]))


def test_nothing_is_left_of_a_process_that_was_killed() -> None:
    program = textwrap.dedent("""
        import time
        from geoseg.engine import connect
        with connect(None, 2, "127.0.0.1:0"):
            print("ready", flush=True)
            time.sleep(300)
    """)
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 3
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []


def test_a_port_that_is_taken_is_no_warning_of_dasks() -> None:
    with socket.socket() as taken, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with connect(None, 1, address) as client:
            assert client.dashboard_link
            assert address not in client.dashboard_link
    assert [item for item in caught if "already in use" in str(item.message)] == []


def test_overlapping_runs_leave_the_start_method_and_the_logs_as_they_were() -> None:
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(None, force=True)
    log = logging.getLogger("distributed.scheduler")
    filters = list(log.filters)
    try:
        with ExitStack() as second:
            with forking.start_method_kept(), _only_news():
                multiprocessing.get_start_method()  # decides on it
                second.enter_context(forking.start_method_kept())
                second.enter_context(_only_news())
                assert len(log.filters) == len(filters) + 2
            assert len(log.filters) == len(filters) + 1
            multiprocessing.get_start_method()
        assert multiprocessing.get_start_method(allow_none=True) is None
        assert log.filters == filters
    finally:
        multiprocessing.set_start_method(before, force=True)
