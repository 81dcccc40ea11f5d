"""Workers of this machine: forked from one process that has loaded the libraries, and gone with the one that asked."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import psutil
import pytest

from geoseg.engine import connect, forking

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


def test_systems_that_cannot_fork_start_each_worker_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forking, "IS_FORKING", False)
    assert forking.start_server({}) == {}
    with connect(None, 1) as client:
        ((parent, *_),) = client.run(look).values()
    assert parent == os.getpid()


@forked
def test_nothing_is_left_of_a_process_that_was_killed() -> None:
    program = textwrap.dedent("""
        import time
        from geoseg.engine import connect
        if __name__ == "__main__":
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
