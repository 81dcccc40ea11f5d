"""What a run folder keeps, and what it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoseg import files
from geoseg.blending import Strips
from geoseg.errors import DamagedError, FingerprintError, OutputError
from geoseg.files import write_file
from geoseg.grid import TileGrid, Tiling
from geoseg.probabilities import Background, Labelling, Pixels
from geoseg.store import RunFolder, differences
from geoseg.store.journal import Digest, Journal

GRID = TileGrid((50, 41), Tiling(16, 2, 4), (2, 2))
FINGERPRINT = {"model": {"name": "a", "halo": 3}, "device": "cpu"}


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "out")
    assert not folder.prepare(GRID, FINGERPRINT, overwrite=False)
    return folder


def test_blocks_come_back_as_they_were_written_and_the_rest_is_nodata(folder: RunFolder) -> None:
    block = GRID.block(1, 1)
    values = np.random.default_rng(0).integers(0, 9, block.core.shape, dtype=np.uint8)
    folder.blocks.write_block(block, {"labels": values, "confidence": values})
    np.testing.assert_array_equal(folder.blocks.read_labels(*block.core.slices()), values)
    np.testing.assert_array_equal(folder.blocks.read_confidence(*block.core.slices()), values)
    assert (folder.blocks.read_labels(slice(0, 50), slice(0, block.core.x)) == 255).all()


def test_a_block_without_a_label_is_not_stored_and_reads_as_nodata(folder: RunFolder) -> None:
    block = GRID.block(0, 0)
    empty = np.full(block.core.shape, 255, np.uint8)
    folder.blocks.write_block(block, {"labels": empty, "confidence": np.zeros_like(empty)})
    assert not list((folder.state / "blocks.zarr").glob("*/c/**/*"))
    assert (folder.blocks.read_labels(*block.core.slices()) == 255).all()


def test_a_block_whose_labels_are_all_zero_is_stored(folder: RunFolder) -> None:
    block, zeros = GRID.block(0, 0), np.zeros(GRID.block(0, 0).core.shape, np.uint8)
    folder.blocks.write_block(block, {"labels": zeros, "confidence": zeros})
    assert (folder.blocks.read_labels(*block.core.slices()) == 0).all()


def test_a_chunk_that_is_that_of_another_block_is_damaged_and_removed(folder: RunFolder) -> None:
    paths = []
    for block in (GRID.block(0, 0), GRID.block(0, 1)):
        values = np.full(block.core.shape, 1 + block.col, np.uint8)
        digests = folder.blocks.write_block(block, {"labels": values, "confidence": values})
        folder.journal("finish").put((block.row, block.col), digests)
        paths.append(folder.state / digests[0].name)
    contents = [path.read_bytes() for path in paths]
    paths[0].write_bytes(contents[1])
    assert len(contents[0]) == len(contents[1])
    folder.blocks.read_labels(*GRID.block(0, 1).core.slices())
    with pytest.raises(DamagedError, match=r"labels/c/0/0 was damaged .* and is removed"):
        folder.blocks.read_labels(slice(0, 50), slice(0, 41))
    assert not paths[0].exists()


def test_a_draft_comes_back_whole_and_is_dropped_like_a_strip(folder: RunFolder) -> None:
    block = GRID.block(1, 0)
    pixels = Pixels.empty(block.core.shape, 3)
    pixels.labels[3:5], pixels.best[2], pixels.probabilities[1, :, 4] = 7, 12_345, 678
    folder.strips.write_draft(block, pixels)
    found = folder.strips.read({"draft": (1, 0)})["draft"]
    for array, kept in zip(vars(pixels).values(), found, strict=True):
        np.testing.assert_array_equal(array, kept)
    folder.strips.file(1, 0, "draft").unlink()
    with pytest.raises(DamagedError, match=r"0-draft\.npy is missing; start the run again"):
        folder.strips.read({"draft": (1, 0)})


@pytest.mark.parametrize("value", [b"(", b"'", b"\x00", b"[", b"9", b"f", b">"])
def test_a_strip_with_any_other_byte_in_its_header_is_damaged_and_removed(folder: RunFolder, value: bytes) -> None:
    sums = np.ones((2, 3, 4), np.int32)
    block, path = GRID.block(0, 1), folder.strips.file(0, 1, "below")
    folder.journal("predict").put((0, 1), folder.strips.write(block, Strips(sums, sums, sums, sums, sums), ("below",)))
    content = path.read_bytes()
    for position in range(content.index(b"}")):
        if content[position : position + 1] not in (value, b" "):
            path.write_bytes(content[:position] + value + content[position + 1 :])
            with pytest.raises(DamagedError, match=r"below\.npy was damaged .* and is removed"):
                folder.strips.read({"below": (0, 1)})
            assert not path.exists()


def test_the_label_store_is_zarr_3_with_one_chunk_a_block(folder: RunFolder) -> None:
    array = zarr.open_array(str(folder.state / "blocks.zarr"), path="labels")
    assert array.metadata.zarr_format == 3
    assert array.chunks == GRID.chunks


def test_marks_and_strips_are_kept_by_place(folder: RunFolder) -> None:
    block, sums = GRID.block(0, 1), np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    strips = Strips(sums, sums + 1, sums + 2, sums + 3, sums + 4)
    digests = folder.strips.write(block, strips, ("top", "left", "right", "below", "corner"))
    folder.journal("predict").put((0, 1), digests)
    assert folder.journal("predict").places() == {(0, 1)}
    assert folder.journal("predict").has((0, 1))
    np.testing.assert_array_equal(folder.strips.read({"below": (0, 1)})["below"][0], sums + 3)
    folder.strips.file(0, 1, "below").unlink()
    with pytest.raises(DamagedError):
        folder.strips.read({"below": (0, 1)})


def test_the_same_fingerprint_continues_and_another_is_refused_with_what_changed(folder: RunFolder) -> None:
    folder.journal("finish").put((0, 0))
    assert folder.prepare(GRID, FINGERPRINT, overwrite=False)
    changed = {"model": {"name": "b", "halo": 3}, "device": "cpu"}
    with pytest.raises(FingerprintError, match=r'model name \("a" before, "b" now\).*--overwrite'):
        folder.prepare(GRID, changed, overwrite=False)
    assert folder.journal("finish").places() == {(0, 0)}
    assert not folder.prepare(GRID, changed, overwrite=True)
    assert folder.journal("finish").places() == set()


@pytest.mark.parametrize("left", ["predict", "finish", "blocks.zarr", "outlines", "objects", "fingerprint.json"])
def test_what_an_overwritten_run_leaves_is_never_taken_for_the_new_one(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    """A disk may refuse to remove what somebody else has written."""
    folder.journal("predict").put((0, 0))
    (folder.outlines).mkdir()
    path = folder.state / left
    keeping = lambda item: None if item == path else remove(item)  # noqa: E731
    remove = files.remove
    monkeypatch.setattr(files, "remove", keeping)
    with pytest.raises(OutputError, match=rf"{left} cannot be removed; remove it, or choose another output folder"):
        folder.prepare(GRID, {**FINGERPRINT, "model": "other"}, overwrite=True)


def test_a_stage_whose_file_is_gone_repeats_its_step_whatever_the_model(folder: RunFolder) -> None:
    path = folder.state / "counts.json"
    path.write_text("{}")
    folder.journal("overlap").put((0, 1), [Digest.of(path, folder.state)])
    assert folder.prepare(GRID, FINGERPRINT, overwrite=False)
    assert folder.journal("overlap").places() == {(0, 1)}
    path.unlink()
    assert folder.prepare(GRID, FINGERPRINT, overwrite=False)
    assert not folder.journal("overlap").places()


def test_folders_in_place_of_files_are_replaced(folder: RunFolder) -> None:
    block = GRID.block(0, 0)
    digests = folder.blocks.write_block(
        block, dict.fromkeys(("labels", "confidence"), np.ones(block.core.shape, np.uint8))
    )
    folder.journal("finish").put((block.row, block.col), digests)
    chunk = folder.state / digests[0].name
    marker = folder.state / "finish" / block.id
    for path in (chunk, marker):
        path.unlink()
        (path / "more").mkdir(parents=True)
        assert folder.prepare(GRID, FINGERPRINT, overwrite=False)
        assert not folder.journal("finish").places()
        folder.journal("finish").put(
            (block.row, block.col),
            folder.blocks.write_block(
                block, dict.fromkeys(("labels", "confidence"), np.ones(block.core.shape, np.uint8))
            ),
        )
        assert path.is_file()
        assert folder.prepare(GRID, FINGERPRINT, overwrite=False)
        assert folder.journal("finish").places() == {(0, 0)}


def test_a_run_folder_written_anew_is_read_anew(folder: RunFolder) -> None:
    block = GRID.block(0, 0)
    zeros = np.zeros(block.core.shape, np.uint8)
    folder.blocks.write_block(block, {"labels": zeros, "confidence": zeros})
    assert (folder.blocks.read_labels(slice(0, 2), slice(0, 2)) == 0).all()
    smaller = TileGrid((20, 20), Tiling(16, 2, 4), (1, 1))
    folder.prepare(smaller, FINGERPRINT, overwrite=True)
    assert folder.blocks.read_labels(slice(None), slice(None)).shape == (20, 20)


def test_what_a_killed_process_was_writing_is_swept_away(folder: RunFolder) -> None:
    chunks = folder.state / "blocks.zarr" / "labels" / "c" / "0"
    chunks.mkdir(parents=True)
    rubbish = [
        folder.path / ".labels.tif.pod_1-7-01234567.tmp",
        folder.path / "run.pod_1-7-01234567.tmp.json",
        folder.state / "strips" / "0-0-top.pod_1-7-01234567.tmp.npy",
        folder.state / "objects" / "united.pod_1-7-01234567.tmp",
        folder.state / "finish" / "0-1.pod_1-7-01234567.tmp",
        chunks / "0.0123456789abcdef.partial",
    ]
    for path in rubbish:
        path.mkdir() if path.suffix == ".tmp" else path.write_text("")
    (rubbish[0] / "half.tif").write_text("")
    own = folder.path / "notes.tmp.txt"
    own.write_text("a person's")
    folder.journal("finish").put((0, 0))
    assert folder.prepare(GRID, FINGERPRINT, overwrite=False)
    assert not any(path.exists() for path in rubbish)
    assert own.exists()
    assert folder.journal("finish").places() == {(0, 0)}


def test_differences_name_nested_keys_and_long_values_are_cut() -> None:
    assert differences({"a": {"b": 1}}, {"a": {"b": 2}}) == ["a b (1 before, 2 now)"]
    assert differences({"a": 1}, {"a": 1}) == []
    assert len(differences({"a": "x" * 500}, {})[0]) < 100


def test_a_folder_in_use_by_another_process_is_refused(folder: RunFolder) -> None:
    code = f"""
from pathlib import Path
from geoseg.store import RunFolder
with RunFolder(Path({str(folder.path)!r})).locked():
    print("locked", flush=True); input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(OutputError, match="in use by another run"), folder.locked():
            pass
        other.kill()
    with folder.locked():
        pass


def test_a_file_that_fails_half_way_leaves_the_old_one_and_no_rubbish(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left"):
        write_file(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["run.json"]


@pytest.mark.parametrize("name", ["file/out", "/proc/out", "/dev/null/out"])
def test_a_folder_that_cannot_be_made_is_refused_with_the_remedy(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"), RunFolder(tmp_path / name).locked():
        pass


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_marker_counts_only_while_its_files_are_what_it_says(
    tmp_path: Path, contents: list[bytes], data: st.DataObject
) -> None:
    root = Path(tempfile.mkdtemp(dir=tmp_path))
    journal, paths = Journal(root, root / "finish"), [root / str(n) for n in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    journal.put((0, 0), [Digest.of(path, root) for path in paths])
    assert journal.has_sizes((0, 0))
    assert journal.is_whole((0, 0))
    for path in paths:
        journal.check(path, (0, 0))
    number = data.draw(st.integers(0, len(paths) - 1))
    path, before = paths[number], contents[number]
    after = data.draw(st.binary(max_size=40).filter(lambda content: content != before) | st.none())
    path.unlink() if after is None else path.write_bytes(after)
    assert journal.has_sizes((0, 0)) == (after is not None and len(after) == len(before)), "a start compares sizes"
    with pytest.raises(DamagedError, match="start the run again, which makes it anew"):
        journal.check(path, (0, 0))
    assert not path.exists(), "so that the next start makes it again"
    assert not journal.has_sizes((0, 0))
    cut = data.draw(st.integers(0, (root / "finish" / "0-0").stat().st_size - 1))
    os.truncate(root / "finish" / "0-0", cut)
    assert not journal.has_sizes((0, 0))
    assert journal.read((0, 0)) is None


def test_probabilities_come_back_whichever_blocks_a_window_touches_and_one_file_holds_a_block(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "out")
    folder.prepare(GRID, FINGERPRINT, overwrite=False, arrays=("labels", "best", "probabilities"), classes=3)
    whole = np.random.default_rng(0).integers(0, 32_768, (3, *GRID.shape), dtype=np.uint16)
    for block in GRID.blocks():
        part = whole[(slice(None), *block.core.slices())]
        labels = part.argmax(0).astype(np.uint8)
        digests = folder.blocks.write_block(block, {"labels": labels, "best": part.max(0), "probabilities": part})
        assert sum("probabilities" in digest.name for digest in digests) in (
            1,
            2,
            4,
        )  # the last blocks own two of an axis
    np.testing.assert_array_equal(folder.blocks.read_probabilities(slice(3, 44), slice(7, 40)), whole[:, 3:44, 7:40])
    files = [path for path in (folder.state / "blocks.zarr" / "probabilities" / "c").rglob("*") if path.is_file()]
    array = zarr.open_array(str(folder.state / "blocks.zarr"), path="probabilities")
    assert array.shards == (3, *GRID.chunks)
    assert len(files) == np.prod([-(-length // size) for length, size in zip(GRID.shape, GRID.chunks, strict=True)])


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.5, 1.0])
def test_labels_are_read_with_the_threshold_of_the_last_start(tmp_path: Path, threshold: float) -> None:
    folder, arrays = RunFolder(tmp_path / "out"), ("labels", "best")
    folder.prepare(GRID, FINGERPRINT, overwrite=False, arrays=arrays, labelling=Labelling(Background(0, 0.9)))
    block = GRID.block(0, 0)
    best = np.random.default_rng(0).integers(0, 32_768, block.core.shape, dtype=np.uint16)
    best[:2] = [[0], [32_767]]
    labels = np.where(best % 2, 3, 4).astype(np.uint8)
    labels[4], best[4] = 255, 65_535
    folder.blocks.write_block(block, {"labels": labels, "best": best})
    folder.prepare(GRID, FINGERPRINT, overwrite=False, arrays=arrays, labelling=Labelling(Background(0, threshold)))
    is_above, is_known = best / 32_767 > threshold, labels != 255
    found, confidence = (
        read(*block.core.slices()) for read in (folder.blocks.read_labels, folder.blocks.read_confidence)
    )
    np.testing.assert_array_equal(found, np.where(is_known & ~is_above, 0, labels))
    chance = np.where(is_above, best, 32_767.0 - best) / 32_767
    np.testing.assert_allclose(confidence, np.where(is_known, np.maximum(chance * 255, 1), 0), atol=0.5001)
