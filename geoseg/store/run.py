"""The run folder: labels of every block, what is finished, and what the run was made from.

Everything a crash may interrupt is written to a temporary name and renamed, and a block's marker is written after
its data, so whatever a marker says is true after ``kill -9``. No two tasks write one chunk. This module knows files;
it does not know models, dask or why a block runs.

::

    out/state/fingerprint.json   what the blocks were made from
    out/state/blocks.zarr        labels and confidence, one chunk a block (Zarr v3)
    out/state/strips/R-C-*.npy   sums waiting for their one consumer, and drafts of blocks waiting to be finished
    out/state/objects/           objects of tiles and blocks, and of the whole raster
    out/state/outlines/          polygons of blocks, and of blocks that were joined
    out/state/predict/R-C        markers: predicted, finished, numbered
    out/state/lock               held by the process that runs
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from geoseg.errors import FingerprintError, OutputError
from geoseg.files import sweep, write_file, write_json
from geoseg.grid import Block, TileGrid
from geoseg.instances import Objects
from geoseg.store.objects import ObjectFolder

if TYPE_CHECKING:  # torch stays out of processes that only store
    from geoseg.blending import Labels, Strips, Sums

Stage = Literal["predict", "finish", "number"]
STAGES: tuple[Stage, ...] = ("predict", "finish", "number")

FILL = {"labels": 255, "confidence": 0, "instances": 0}
"""Arrays of the label store, and what they hold where no block is stored."""

DTYPES = {"instances": np.uint32}
"""Types of arrays that are not uint8."""


OWN_STRIPS = ("top", "left", "draft")
"""What waits for its own block alone."""


@dataclass(frozen=True)
class RunFolder:
    """Where one run keeps its blocks; a path, so that it can be sent to any worker.

    Attributes
    ----------
    path : Path
        The output folder.
    """

    path: Path

    @property
    def state(self) -> Path:
        """Where everything lies that is not a result."""
        return self.path / "state"

    @property
    def run_file(self) -> Path:
        """The run's manifest, ``run.json``."""
        return self.path / "run.json"

    def prepare(
        self, grid: TileGrid, fingerprint: dict[str, Any], *, overwrite: bool, has_objects: bool = False
    ) -> bool:
        """Make the folder ready for a run, new or continued.

        Parameters
        ----------
        grid : TileGrid
            The raster's layout.
        fingerprint : dict
            All that decides the labels; compared with the folder's.
        overwrite : bool
            Forget blocks that were made from something else.
        has_objects : bool
            Whether there are instances besides labels.

        Returns
        -------
        bool
            True when blocks of an earlier start are kept.

        Raises
        ------
        FingerprintError
            The folder holds blocks made from something else.
        OutputError
            The folder cannot be written.
        """
        path = self.state / "fingerprint.json"
        self._sweep()
        fingerprint = json.loads(json.dumps(fingerprint))
        if path.exists() and not overwrite:
            changed = differences(json.loads(path.read_text()), fingerprint)
            if not changed:
                return True
            raise self._differs(changed)
        self._clear()
        self._create_blocks(grid, [name for name in FILL if has_objects or name != "instances"])
        write_json(path, fingerprint)
        return False

    def _differs(self, changed: list[str]) -> FingerprintError:
        """All that differs, what it would cost, and what else can be done."""
        kept = len(self.marked("predict"))
        blocks = "no block is predicted yet" if not kept else f"its {kept:,} predicted blocks would be predicted again"
        is_upgrade = all(phrase.startswith("versions ") for phrase in changed)
        remedy = "install those versions again, give" if is_upgrade else "give"
        return FingerprintError(
            f"{self.path} holds another run: {'; '.join(changed)}. To keep both, {remedy} another output folder; with "
            f"--overwrite {blocks}."
        )

    def prepare_objects(self, settings: dict[str, Any]) -> None:
        """Forget how objects were united when it was done with other settings; what was predicted stays.

        Parameters
        ----------
        settings : dict
            All that decides it, as JSON values.
        """
        path = self.objects.path / "settings.json"
        if path.exists() and json.loads(path.read_text()) == settings:
            return
        (self.objects.path / "united.done").unlink(missing_ok=True)
        for marker in (self.state / "number").iterdir():
            marker.unlink()
        write_json(path, settings)

    def _sweep(self) -> None:
        """Remove what a killed process was writing; nobody else writes here, the folder is locked."""
        for folder in (self.path, self.state, self.state / "strips", self.state / "objects"):
            sweep(folder)
        for path in (self.state / "blocks.zarr").glob("*/c/*/*.partial"):  # Zarr's name of what is being written
            path.unlink()
        finished = self.marked("finish") if (self.state / "finish").is_dir() else set()
        for path in (self.state / "strips").glob("*.npy"):  # killed after its mark, a block has not dropped its own
            row, col, strip = path.stem.split("-")
            if strip in OWN_STRIPS and (int(row), int(col)) in finished:
                path.unlink()

    def _clear(self) -> None:
        """Remove an earlier run, the fingerprint first: a folder without one holds nothing that counts."""
        (self.state / "fingerprint.json").unlink(missing_ok=True)
        for name in ("blocks.zarr", "strips", "objects", "outlines", *STAGES):
            shutil.rmtree(self.state / name, ignore_errors=True)

    def _create_blocks(self, grid: TileGrid, names: list[str]) -> None:
        """Create the empty label store; its chunk is a whole block's core."""
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            group = zarr.create_group(str(self.state / "blocks.zarr"), zarr_format=3)
            for name in names:
                group.create_array(
                    name,
                    shape=grid.shape,
                    chunks=grid.chunks,
                    dtype=DTYPES.get(name, np.uint8),
                    fill_value=FILL[name],
                    compressors=BloscCodec(cname="lz4", clevel=1, shuffle="noshuffle"),
                    dimension_names=("y", "x"),
                )
            for name in ("strips", "objects", *STAGES):
                (self.state / name).mkdir()
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror or error}); choose an output folder with space and "
                "permission."
            ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that no second process runs in it; the system lets go when this one dies.

        Raises
        ------
        OutputError
            Another process runs in the folder, or the folder cannot be written.
        """
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            lock = (self.state / "lock").open("a")
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror or error}); choose another output folder."
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise OutputError(
                    f"{self.path} is in use by another run; wait until it ends or choose another output folder."
                ) from error
            yield

    def mark(self, stage: Stage, block: Block) -> None:
        """Say that a stage of a block is on disk."""
        (self.state / stage / block.id).touch()

    def is_marked(self, stage: Stage, block: Block) -> bool:
        """Say whether a stage of a block is on disk."""
        return (self.state / stage / block.id).exists()

    def marked(self, stage: Stage) -> set[tuple[int, int]]:
        """Rows and columns of the blocks whose stage is on disk."""
        with os.scandir(self.state / stage) as entries:
            places = (entry.name.split("-") for entry in entries)
            return {(int(row), int(col)) for row, col in places}

    def write_block(self, block: Block, labels: Labels, confidence: Labels) -> None:
        """Store a block's final labels and confidence, uint8 (y, x); a block of nodata is what is not stored."""
        if labels.min() != FILL["labels"]:
            self._write(block, {"labels": labels, "confidence": confidence})

    def write_instances(self, block: Block, instances: NDArray[np.uint32]) -> None:
        """Store a block's instances, uint32 (y, x), 0 = none; always, because an earlier start may have had others."""
        self._write(block, {"instances": instances})

    def _write(self, block: Block, arrays: dict[str, NDArray[Any]]) -> None:
        for name, values in arrays.items():
            try:
                self._array(name)[block.core.slices()] = values
            except OSError as error:
                raise OutputError(
                    f"block {block.id} cannot be written to {self.state} ({error.strerror or error}); free some space "
                    "and run the same command again."
                ) from error

    @property
    def has_objects(self) -> bool:
        """Whether there are instances besides labels."""
        return (self.state / "blocks.zarr" / "instances").is_dir()

    def read_labels(self, rows: slice, cols: slice) -> Labels:
        """Labels, uint8 (y, x), of a part of the raster; things lie over stuff."""
        return self._labels(rows, cols, self._instances(rows, cols))

    def read_confidence(self, rows: slice, cols: slice) -> Labels:
        """Confidence, uint8 (y, x), 255 = 1.0, of a part of the raster; that of a thing is its score."""
        return self._confidence(rows, cols, self._instances(rows, cols))

    def read_layers(self, rows: slice, cols: slice) -> tuple[Labels, Labels, NDArray[np.uint32]]:
        """Labels, confidence and instances of a part of a raster whose objects are told apart."""
        instances = self.read_instances(rows, cols)
        return self._labels(rows, cols, instances), self._confidence(rows, cols, instances), instances

    def _instances(self, rows: slice, cols: slice) -> NDArray[np.uint32] | None:
        return self.read_instances(rows, cols) if self.has_objects else None

    def _labels(self, rows: slice, cols: slice, instances: NDArray[np.uint32] | None) -> Labels:
        return self._overlaid("labels", rows, cols, instances, lambda objects, number: objects.classes[number])

    def _confidence(self, rows: slice, cols: slice, instances: NDArray[np.uint32] | None) -> Labels:
        return self._overlaid(
            "confidence", rows, cols, instances, lambda objects, number: as_levels(objects.scores[number])
        )

    def _overlaid(
        self,
        name: str,
        rows: slice,
        cols: slice,
        instances: NDArray[np.uint32] | None,
        of: Callable[[Objects, NDArray[np.uint32]], Labels],
    ) -> Labels:
        """What lies under objects, and what each object has instead."""
        values = np.asarray(self._array(name)[rows, cols], np.uint8)
        if instances is not None and instances.any():
            found = instances > 0
            values = values.copy()
            values[found] = of(self.objects.read_united(), instances[found] - 1)
        return values

    def read_instances(self, rows: slice, cols: slice) -> NDArray[np.uint32]:
        """Instances, uint32 (y, x), 0 = none, of a part of the raster."""
        return np.asarray(self._array("instances")[rows, cols], np.uint32)

    def _array(self, name: str) -> Any:
        path = self.state / "blocks.zarr" / name
        return _open_array(str(path), (path / "zarr.json").stat().st_mtime_ns)

    def strip_path(self, row: int, col: int, strip: str) -> Path:
        """Where a strip of the block at a position waits."""
        return self.state / "strips" / f"{row}-{col}-{strip}.npy"

    @property
    def objects(self) -> ObjectFolder:
        """Where objects of tiles wait to be united."""
        return ObjectFolder(self.state / "objects")

    @property
    def outlines(self) -> Path:
        """Where polygons are made."""
        return self.state / "outlines"

    def write_draft(self, block: Block, labels: Labels, confidence: Labels) -> None:
        """Keep a block's labels and confidence, uint8 (y, x), until its ramps are complete."""

        def write(path: Path) -> None:
            with path.open("wb") as file:
                np.save(file, labels, allow_pickle=False)
                np.save(file, confidence, allow_pickle=False)

        write_file(self.strip_path(block.row, block.col, "draft"), write)

    def read_draft(self, row: int, col: int) -> tuple[Labels, Labels]:
        """Read a block's draft; FileNotFoundError when the finished block is on disk already."""
        with self.strip_path(row, col, "draft").open("rb") as file:
            return np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)

    def write_strips(self, block: Block, strips: Strips) -> None:
        """Store a block's strips, each under its own name, because each has its own consumer."""
        for item in fields(strips):
            path = self.strip_path(block.row, block.col, item.name)
            write_file(path, _array_writer(getattr(strips, item.name)))

    def read_strip(self, row: int, col: int, strip: str) -> Sums:
        """Read a strip; FileNotFoundError when its consumer is on disk already."""
        return np.asarray(np.load(self.strip_path(row, col, strip), allow_pickle=False), np.int32)

    def drop_strip(self, row: int, col: int, strip: str) -> None:
        """Remove a strip whose consumer is on disk."""
        self.strip_path(row, col, strip).unlink(missing_ok=True)


def as_levels(scores: NDArray[np.float32]) -> Labels:
    """Scores, 0 to 1, as the stored uint8, 255 = 1.0."""
    return np.rint(np.clip(scores, 0, 1) * 255).astype(np.uint8)


def _array_writer(values: Sums) -> Callable[[Path], None]:
    return lambda path: np.save(path, values, allow_pickle=False)


@lru_cache(maxsize=8)
def _open_array(path: str, written: int) -> Any:  # noqa: ARG001 - part of the cache key
    """Open one array of the label store, once a process and once for each time it was ``written`` anew.

    `RunFolder.write_block` looks for empty blocks itself; Zarr's way takes longer than writing.
    """
    with zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(path, mode="r+")


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say in words what two fingerprints differ in, one phrase a key, and a phrase for each file.

    Parameters
    ----------
    before, now : dict
        Nested dicts of JSON values; lists of dicts that have a ``name`` are files, whose names do not count.
    """
    changed: list[str] = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, list) and isinstance(new, list) and _are_files(old) and _are_files(new):
            changed += _file_differences(old, new)
        elif old == new:
            continue
        elif isinstance(old, dict) and isinstance(new, dict):
            changed += [f"{key} {phrase}" for phrase in differences(old, new)]
        else:
            changed.append(f"{key} ({_short(old)} before, {_short(new)} now)")
    return changed


def _are_files(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(item, dict) and "name" in item for item in value)


def _file_differences(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    """What became of files, each by its name; nothing when their content is the same in the same order."""
    old, new = ([json.dumps({**item, "name": None}, sort_keys=True) for item in items] for items in (before, now))
    if old == new:
        return []
    gone = [item["name"] for item, content in zip(before, old, strict=True) if content not in set(new)]
    come = [item["name"] for item, content in zip(now, new, strict=True) if content not in set(old)]
    changed = [name for name in gone if name in come]
    phrases = [f"input {name} has another content" for name in changed]
    phrases += [f"input {name} is gone" for name in gone if name not in changed]
    phrases += [f"input {name} is new" for name in come if name not in changed]
    more = len(phrases) - _NAMED
    return [*phrases[:_NAMED], *([f"{more:,} more inputs"] if more > 0 else [])] or ["inputs are in another order"]


_NAMED = 20  # files that a sentence names


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."
