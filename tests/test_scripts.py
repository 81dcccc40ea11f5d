"""Python that people write: a script without a main guard, a notebook, a thread, a worker of somebody else.

Each runs in a fresh interpreter, because what decides is how that was started.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from tests.networks import Box, write_model
from tests.rasters import write_raster

TIMEOUT = 300.0
"""Seconds that a program may take on a machine that is busy."""


@pytest.fixture
def run(tmp_path: Path) -> str:
    """A line of Python that maps a raster and prints how many blocks were finished."""
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    write_raster(tmp_path / "scene.tif", np.random.default_rng(7).integers(1, 200, (2, 100, 100), np.uint8))
    settings = {
        "model": str(model), "input": str(tmp_path / "scene.tif"), "output": str(tmp_path / "out"), "ramp": 8,
        "tile_size": 64, "block_tiles": 1, "report": False, "dashboard": "127.0.0.1:0", "workers": 1,
    }  # fmt: skip
    (tmp_path / "workflow.yaml").write_text(json.dumps(settings))
    return f"print('finished', geoseg.run({str(tmp_path / 'workflow.yaml')!r}).outcome.done['finish'])"


def execute(*arguments: str, text: str | None = None, cwd: Path | None = None) -> str:
    """Run a fresh interpreter to its end; returns what it printed."""
    settings = {"OMP_NUM_THREADS", "PYTHONHASHSEED", "MALLOC_ARENA_MAX"}
    process = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments], input=text, cwd=cwd, capture_output=True, text=True,
        timeout=TIMEOUT,
        env={name: value for name, value in os.environ.items() if name not in settings},
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "Traceback" not in process.stderr
    return process.stdout


def as_a_file(folder: Path, program: str) -> str:
    (folder / "script.py").write_text(program)
    return execute(str(folder / "script.py"), cwd=folder)


def on_the_command_line(_folder: Path, program: str) -> str:
    return execute("-c", program)


def on_the_standard_input(_folder: Path, program: str) -> str:
    return execute("-", text=program)


@pytest.mark.slow
@pytest.mark.parametrize("way", [as_a_file, on_the_command_line, on_the_standard_input])
def test_a_program_needs_no_main_guard(way: Callable[[Path, str], str], run: str, tmp_path: Path) -> None:
    printed = way(tmp_path, f"import geoseg\nprint('begins')\n{run}\n")
    assert printed.splitlines() == ["begins", "finished 4"]


@pytest.mark.slow
def test_files_of_the_current_directory_are_no_modules_of_workers(run: str, tmp_path: Path) -> None:
    (folder := tmp_path / "here").mkdir()
    for name in ("random", "distributed", "socket", "selectors", "signal"):
        (folder / f"{name}.py").write_text(f"raise SystemExit('{name} of the current directory')")
    (tmp_path / "script.py").write_text(f"import geoseg\n{run}\n")
    assert execute(str(tmp_path / "script.py"), cwd=folder) == "finished 4\n"


def test_a_directory_that_was_removed_is_told(run: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        f"import os, geoseg, geoseg.errors\nos.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        f"try: {run}\nexcept geoseg.errors.WorkerError as error: print(error)\n"
    )
    assert "the current directory was removed" in execute(str(tmp_path / "script.py"), cwd=tmp_path)


@pytest.mark.slow
def test_a_script_outlines_as_the_readme_says(run: str, tmp_path: Path) -> None:
    outline = f"print(geoseg.polygonize({str(tmp_path / 'out' / 'labels.tif')!r}, {str(tmp_path / 'x.gpkg')!r}).count)"
    printed = as_a_file(tmp_path, f"import geoseg\n{run}\n{outline}\n")
    assert int(printed.splitlines()[1]) > 0


@pytest.mark.slow
def test_a_thread_maps_while_the_main_thread_goes_on(run: str, tmp_path: Path) -> None:
    program = f"""
        import threading
        import geoseg

        def work():
            {run}

        thread = threading.Thread(target=work)
        thread.start()
        print("goes on", flush=True)
        thread.join()
    """
    assert as_a_file(tmp_path, textwrap.dedent(program)).splitlines() == ["goes on", "finished 4"]


@pytest.mark.slow
def test_an_event_loop_maps(run: str, tmp_path: Path) -> None:
    program = f"""
        import asyncio
        import geoseg

        async def work():
            {run}

        asyncio.run(work())
    """
    assert as_a_file(tmp_path, textwrap.dedent(program)) == "finished 4\n"


@pytest.mark.slow
def test_a_notebook_maps_and_shows_its_progress_unless_told_not_to(run: str, tmp_path: Path) -> None:
    quiet = run.replace(").outcome", f", output={str(tmp_path / 'second')!r}, progress=False).outcome")
    cells = [nbformat.v4.new_code_cell(source) for source in ("import geoseg", run, quiet)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3").execute()
    for cell in notebook.cells[1:]:
        (output,) = (item for item in cell.outputs if item.get("name") == "stdout")
        assert output["text"] == "finished 4\n"
    (shown,) = (item for item in notebook.cells[1].outputs if item["output_type"] == "display_data")
    page = shown["data"]["text/html"]
    for text in ("mapping with box", "finish", "4 of 4", "done"):
        assert text in page
    assert not [item for item in notebook.cells[2].outputs if item["output_type"] == "display_data"]


@pytest.mark.slow
def test_a_worker_of_another_cluster_maps(run: str, tmp_path: Path) -> None:
    program = f"""
        from distributed import Client, LocalCluster

        def work():
            import geoseg
            {run.replace("print", "return ")}

        if __name__ == "__main__":  # Dask's own workers import this file
            with LocalCluster(1, threads_per_worker=1, dashboard_address=":0") as cluster, Client(cluster) as client:
                print(*client.submit(work).result())
    """
    assert as_a_file(tmp_path, textwrap.dedent(program)) == "finished 4\n"


FORKING = """
import multiprocessing
import geoseg

def work(output):
    {run}

{first}
with multiprocessing.get_context("fork").Pool(1) as pool:
    try:
        pool.map(work, [{output!r}])
    except RuntimeError as error:
        print(error)
"""


def test_a_forked_process_of_a_pool_maps(run: str, tmp_path: Path) -> None:
    line = run.replace(").outcome", ", output=output).outcome")
    assert as_a_file(tmp_path, FORKING.format(run=line, first="", output=str(tmp_path / "out"))) == "finished 4\n"


@pytest.mark.slow
def test_a_process_that_was_forked_too_late_is_told_so(run: str, tmp_path: Path) -> None:
    line = run.replace(").outcome", ", output=output).outcome")
    printed = as_a_file(tmp_path, FORKING.format(run=line, first=run, output=str(tmp_path / "second")))
    first, second = printed.splitlines()
    assert first == "finished 4"
    assert "was forked from one that has already started workers" in second
    assert "get_context('spawn')" in second


@pytest.mark.slow
def test_a_process_of_joblib_maps(run: str, tmp_path: Path) -> None:
    pytest.importorskip("joblib")
    (tmp_path / "script.py").write_text(
        f"import joblib\ndef work():\n    import geoseg\n    {run}\n    return 1\n"
        "print(joblib.Parallel(2)([joblib.delayed(work)(), joblib.delayed(int)()]))\n"
    )
    assert execute(str(tmp_path / "script.py")).endswith("[1, 0]\n")


@pytest.mark.slow
def test_a_test_of_pytest_maps(run: str, tmp_path: Path) -> None:
    (tmp_path / "test_map.py").write_text(f"import geoseg\n\ndef test_map():\n    {run}\n")
    assert "finished 4" in execute("-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", str(tmp_path / "test_map.py"))


@pytest.mark.slow
def test_a_program_keeps_its_own_fork_server_and_environment(run: str, tmp_path: Path) -> None:
    program = f"""
        import multiprocessing
        import os
        import geoseg

        def look(queue):
            import sys
            queue.put(("torch" in sys.modules, os.environ.get("MALLOC_ARENA_MAX")))

        if __name__ == "__main__":
            {run}
            print([name for name in os.environ if name.startswith(("OMP_NUM", "PYTHONHASH", "__DASK"))])
            print(multiprocessing.get_start_method(allow_none=True))
            context = multiprocessing.get_context("forkserver")
            queue = context.Queue()
            process = context.Process(target=look, args=(queue,))
            process.start()
            print(queue.get())
            process.join()
    """
    assert as_a_file(tmp_path, textwrap.dedent(program)).splitlines() == ["finished 4", "[]", "None", "(False, None)"]


@pytest.mark.slow
def test_python_ends_without_a_word_while_rasters_are_open(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    write_raster(tmp_path / "scene.tif", np.random.default_rng(7).integers(1, 200, (2, 100, 100), np.uint8))
    program = (
        f"import geoseg\ngeoseg.segment({str(tmp_path / 'scene.tif')!r}, {str(model)!r}, tile_size=64, ramp=8).values"
    )
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=TIMEOUT
    )
    assert (process.returncode, process.stderr) == (0, "")
