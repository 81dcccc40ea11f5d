"""Files that are whole or not there, and what killed processes leave."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
from affine import Affine

from geoseg import files
from geoseg.area_estimation.accounting import write_points
from geoseg.errors import OutputError, RasterReadError
from geoseg.files import ABANDONED, move_into_place, swap_into_place, unfinished, working_folder, write_file
from geoseg.grid import Window
from geoseg.raster import write_cog


def test_no_two_writers_share_a_name_whatever_their_process_and_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "0-0-top.npy"
    here = {unfinished(path).name for _ in range(100)}
    monkeypatch.setattr(files, "HOST", "another_pod")
    names = here | {unfinished(path).name}
    assert len(names) == 101
    assert all(name.startswith("0-0-top.") and name.endswith(".tmp.npy") for name in names)
    assert any("another_pod" in name for name in names), "two pods have the same number of a process"


def test_what_is_durable_is_on_the_disk_before_it_has_its_name_and_its_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def noting(name: str, call: Callable[..., object]) -> Callable[..., object]:
        def noted(*arguments: object) -> object:
            first = arguments[0]
            path = Path(f"/proc/self/fd/{first}" if isinstance(first, int) else str(first))
            steps.append(f"{name} {'folder' if path.is_dir() else 'file'}")
            return call(*arguments)

        return noted

    monkeypatch.setattr(files.os, "fsync", noting("sync", os.fsync))
    monkeypatch.setattr(files.os, "replace", noting("rename", os.replace))
    write_file(tmp_path / "run.json", lambda path: path.write_text("{}"))
    assert steps == ["sync file", "rename file", "sync folder"]
    steps.clear()
    write_file(tmp_path / "strip.npy", lambda path: path.write_text(""), durable=False)
    assert steps == ["rename file"], "nothing waits for the disk where what is lost is known and made again"


@pytest.mark.parametrize(("new", "old"), [("folder", "folder"), ("folder", "file"), ("file", "folder")])
def test_what_is_replaced_by_or_as_a_folder_is_there_until_the_new_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: str, old: str
) -> None:
    def make(path: Path, kind: str) -> Path:
        if kind == "folder":
            path.mkdir()
        (path / "part" if kind == "folder" else path).write_text(f"{kind} of {path.parent.name}")
        return path

    def content(path: Path) -> str:
        return (path / "part" if path.is_dir() else path).read_text()

    path, synced, rename = make(tmp_path / "a.parquet", old), set[Path](), Path.rename
    (tmp_path / "hidden").mkdir()
    written = make(tmp_path / "hidden" / "a.parquet", new)
    before = content(path)

    def refuse(source: Path, target: Path) -> Path:
        if source == written:
            raise OSError(5, "Input/output error")
        return rename(source, target)

    with monkeypatch.context() as patched:
        patched.setattr(files.Path, "rename", refuse)
        with pytest.raises(OSError, match="Input/output error"):
            swap_into_place(written, path)
    assert content(path) == before, "what was there is back"
    monkeypatch.setattr(files.os, "fsync", lambda number: synced.add(Path(f"/proc/self/fd/{number}").resolve()))
    swap_into_place(written, path)
    assert content(path) == f"{new} of hidden"
    assert [item.name for item in (tmp_path / "hidden").iterdir()] == ["a.parquet.former"]
    assert synced == {tmp_path, written, *([written / "part"] if new == "folder" else [])}


def test_a_disk_that_refuses_at_the_last_moment_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")  # as network file systems do

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(OutputError, match="No space left"):
        write_file(tmp_path / "run.json", lambda path: path.write_text("{}"))
    assert os.listdir(tmp_path) == []


@contextmanager
def _full_disk(size: int) -> Iterator[None]:
    """The system writes no more than so many bytes of a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_arrays_that_fit_in_part_name_the_full_disk_and_not_their_sizes(tmp_path: Path) -> None:
    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, np.zeros(100_000, np.uint8))

    with _full_disk(50_000), pytest.raises(OutputError, match="no space is left"):
        write_file(tmp_path / "strip.npy", write, durable=False)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["points.gpkg", "points.geojson"])
def test_points_of_a_sample_on_a_full_disk_are_one_sentence(tmp_path: Path, name: str) -> None:
    points = gpd.GeoDataFrame({"id": range(5000)}, geometry=gpd.points_from_xy(range(5000), range(5000)), crs=32618)
    with _full_disk(8192), pytest.raises(OutputError, match=name):
        write_points(points, tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_file_system_that_cannot_sync_a_folder_is_good_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(files.os, "fsync", refuse)
    write_file(tmp_path / "run.json", lambda path: path.write_text("{}"))
    assert os.listdir(tmp_path) == ["run.json"]


def test_the_next_writer_removes_what_a_killed_one_has_left_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "land.gpkg"
    code = f"""
from pathlib import Path
from geoseg.files import working_folder
with working_folder(Path({str(path)!r})) as folder:
    (folder / "land.gpkg").write_text("half"); print(folder, flush=True); input()
"""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        left = Path(other.stdout.readline().strip())
        with working_folder(path):
            assert left.is_dir(), "its writer is alive"
        os.kill(other.pid, signal.SIGKILL)
    elsewhere = tmp_path / ".land.gpkg.another_pod-17-0123abcd.tmp"
    of_others = [tmp_path / ".land.gpkg.notes", tmp_path / ".other.gpkg.x-1-0123abcd.tmp"]
    for folder in (elsewhere, *of_others):
        folder.mkdir()
    assert left.is_dir()
    with working_folder(path):
        assert not left.exists()
    assert elsewhere.is_dir(), "its writer may be alive on another machine"
    long_ago = time.time() - ABANDONED - 60
    os.utime(elsewhere, (long_ago, long_ago))
    with working_folder(path):
        assert not elsewhere.exists()
    assert sorted(tmp_path.iterdir()) == sorted(of_others)


def test_the_next_writer_of_a_file_removes_what_a_killed_one_has_left_of_it_and_nothing_else(tmp_path: Path) -> None:
    """Such as the state of a training, which is as large as its network, in a folder that nobody sweeps."""
    path = tmp_path / "state.pt"
    code = f"""
import os, signal
from pathlib import Path
from geoseg.files import write_file
def write(unfinished):
    unfinished.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
write_file(Path({str(path)!r}), write)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    (left,) = tmp_path.iterdir()
    of_others = [tmp_path / "state.notes.pt", tmp_path / "other.x-1-0123abcd.tmp.pt", unfinished(path)]
    for file in of_others:
        file.write_text("a person's")
    write_file(path, lambda unfinished: unfinished.write_text("whole"))
    assert not left.exists()
    assert sorted(tmp_path.iterdir()) == sorted([path, *of_others])


def test_names_with_signs_of_patterns_are_names(tmp_path: Path) -> None:
    with working_folder(tmp_path / "land[1]*.gpkg") as folder:
        (folder / "a").touch()
        move_into_place(folder / "a", tmp_path / "land[1]*.gpkg")
    assert os.listdir(tmp_path) == ["land[1]*.gpkg"]


def test_pixels_that_cannot_be_read_are_not_told_of_as_a_raster_that_cannot_be_written(tmp_path: Path) -> None:
    def windows() -> object:
        yield Window(0, 0, 2, 2), np.zeros((2, 2), np.uint8)
        raise RasterReadError("'scene.tif' cannot be read; copy it again.")

    with pytest.raises(RasterReadError, match=r"^'scene.tif' cannot be read; copy it again.$"):
        write_cog(tmp_path / "labels.tif", (4, 4), Affine.identity(), None, windows())  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == []
