"""The run folder: labels of every block, what is finished, and what the run was made from.

Everything a crash may interrupt is written to a temporary name and renamed, and a block's marker is written after
its data, so whatever a marker says is true after ``kill -9``; what a power cut or a person has taken away or damaged
is noticed, because a marker says what was written, and made again. No two tasks write one chunk. This module knows
files; it does not know models, dask or why a block runs.

::

    out/state/fingerprint.json   what the blocks were made from
    out/state/labelling.json     the threshold that labels are read with
    out/state/blocks.zarr        labels and how probable they are, one chunk or shard a block (Zarr v3)
    out/state/strips/R-C-*.npy   sums waiting for their one consumer, and drafts of blocks waiting to be finished
    out/state/objects/           objects of tiles and blocks, and of the whole raster
    out/state/outlines/          polygons of blocks, and of blocks that were joined
    out/state/STAGE/R-C          markers of the stages that label blocks
    out/state/lock               held by the process that runs
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from geoseg.errors import DamagedError, FingerprintError, OutputError
from geoseg.files import clear, make_folder, read_json, remove, sweep, write_file, write_json
from geoseg.grid import Block, TileGrid
from geoseg.instances import MergedInstances
from geoseg.probabilities import (
    LEVELS,
    NO_INTEGER,
    NODATA,
    Background,
    Labels,
    Pixels,
    Stored,
    apply_threshold,
)
from geoseg.stages import RASTER, RUN, TABLE
from geoseg.store.arrays import DAMAGE
from geoseg.store.differences import differences
from geoseg.store.journal import Digest, Journal, damaged, missing
from geoseg.store.locking import locked
from geoseg.store.objects import ObjectFolder

if TYPE_CHECKING:  # torch stays out of processes that only store
    from geoseg.blending import Strips

ARRAYS: Mapping[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "labels": (np.uint8, NODATA),
    "confidence": (np.uint8, 0),
    "best": (np.uint16, NO_INTEGER),
    "probabilities": (np.uint16, NO_INTEGER),
    "instances": (np.uint32, 0),
}
"""Arrays of the label store: their types, and what they hold where no block is stored.

``best`` stands in place of ``confidence`` where a threshold decides labels: they are made of it when they are read.
"""

SEMANTIC = ("labels", "confidence")
"""Arrays of a model without a threshold that finds no objects."""

SENTENCES = {"keep_probabilities": "it did not keep probabilities"}
"""What a fingerprint lacks, by its key."""

BLOCK_STAGES = tuple(stage.name for stage in TABLE if stage.folder == RUN)
"""Stages whose files are here."""

OWN_STRIPS = ("top", "left", "draft")
"""What waits for its own block alone."""

STRIP = re.compile(r"(\d+)-(\d+)-([a-z]+)")
"""Names of files of strips."""


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
        self,
        grid: TileGrid,
        fingerprint: dict[str, Any],
        *,
        overwrite: bool,
        arrays: Collection[str] = SEMANTIC,
        classes: int = 0,
        background: Background | None = None,
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
        arrays : collection of str
            Which of `ARRAYS` blocks have.
        classes : int
            Those of ``probabilities``.
        background : Background, optional
            What labels are read with where there is ``best``; blocks stay whatever it is.

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
        before = None if overwrite else self._recorded(path)
        if before is not None:
            changed = differences(before, fingerprint)
            if not changed:
                self._create_blocks(grid, arrays, classes)
                self._forget_damaged(grid, has_objects="instances" in arrays)
                self._write_background(background)
                return True
            raise self._differs(changed)
        self._clear()
        self._create_blocks(grid, arrays, classes)
        self._write_background(background)
        write_json(path, fingerprint)
        return False

    def _write_background(self, background: Background | None) -> None:
        """Say what labels are read with from now on."""
        content = None if background is None else asdict(background)
        if read_json(self._labelling) != content:
            write_json(self._labelling, content)

    @property
    def background(self) -> Background | None:
        """What labels are read with."""
        content = read_json(self._labelling)
        return Background(**content) if content else None

    @property
    def _labelling(self) -> Path:
        return self.state / "labelling.json"

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What the blocks that are there were made from; nothing where that is not known."""
        recorded = read_json(self.state / "fingerprint.json")
        return recorded if isinstance(recorded, dict) else {}

    def _differs(self, changed: list[str]) -> FingerprintError:
        """All that differs, what it would cost, and what else can be done."""
        changed = [SENTENCES.get(phrase.split()[0], phrase) for phrase in changed]
        kept = len(self.journal("predict").places())
        blocks = "no block is predicted yet" if not kept else f"its {kept:,} predicted blocks would be predicted again"
        is_upgrade = all(phrase.startswith("versions ") for phrase in changed)
        remedy = "install those versions again, give" if is_upgrade else "give"
        return FingerprintError(
            f"{self.path} holds another run: {'; '.join(changed)}. To keep both, {remedy} another output folder; with "
            f"--overwrite {blocks}."
        )

    def _recorded(self, path: Path) -> dict[str, Any] | None:
        """The fingerprint of the blocks that are there; None when there are none."""
        if not path.exists():
            return None
        recorded = read_json(path)
        if not isinstance(recorded, dict) and any(self.journal(stage).places() for stage in BLOCK_STAGES):
            raise FingerprintError(
                f"{path} is damaged, so what the blocks beside it were made from is unknown; give --overwrite to start "
                "anew, or another output folder."
            )
        return recorded if isinstance(recorded, dict) else None

    def note_instructions(self, now: set[str]) -> list[str]:
        """Record what workers compute with, and return all that the blocks of this run were computed with."""
        path = self.state / "instructions.json"
        try:
            before = {str(name) for name in json.loads(path.read_text())}
        except (OSError, ValueError, TypeError):  # nothing is known of what came before
            before = set()
        if not now <= before:
            write_json(path, sorted(before | now))
        return sorted(before | now)

    def prepare_objects(self, settings: dict[str, Any]) -> None:
        """Forget how objects were united when it was done with other settings; what was predicted stays.

        Parameters
        ----------
        settings : dict
            All that decides it, as JSON values.
        """
        path = self.objects.path / "settings.json"
        if read_json(path) == settings:
            return
        for stage in ("unite", "number"):
            self.journal(stage).keep(set())
        write_json(path, settings)

    def _sweep(self) -> None:
        """Remove what a killed process was writing; nobody else writes here, the folder is locked."""
        for folder in (self.path, self.state, self.state / "strips", self.state / "objects"):
            sweep(folder)
        for stage in BLOCK_STAGES:
            self.journal(stage).sweep()
        for path in (self.state / "blocks.zarr").glob("*/c/**/*.partial"):  # Zarr's name of what is being written
            path.unlink()

    def _forget_damaged(self, grid: TileGrid, *, has_objects: bool) -> None:
        """Remove markers whose files are not there as they were written, and strips that no block waits for."""
        is_united = self.journal("unite").has(RASTER)
        spent = {"predict": "strips/", **({"finish": "objects/"} if is_united else {})}  # what others have taken in
        for stage in BLOCK_STAGES if has_objects else ("finish",):
            journal, counts = self.journal(stage), partial(_is_needed, spent=spent.get(stage))
            for place in journal.places():
                for path in journal.differing(place, counts):
                    remove(path)
                    journal.remove(place)
        finished = self.journal("finish").places()
        for path in (self.state / "strips").glob("*.npy"):
            match = STRIP.fullmatch(path.stem)
            if match:
                place = int(match[1]), int(match[2])
                consumers = grid.consumers_of(grid.block(*place))
                if consumers.get(match[3], place) in finished:
                    remove(path)

    def _clear(self) -> None:
        """Remove an earlier run, the fingerprint first: a folder without one holds nothing that counts."""
        for name in ("fingerprint.json", "instructions.json"):
            clear(self.state / name)
        for name in ("blocks.zarr", "strips", "objects", "outlines", *BLOCK_STAGES):
            clear(self.state / name)

    def _create_blocks(self, grid: TileGrid, names: Collection[str], classes: int) -> None:
        """Create what is missing of the label store, or is described otherwise than this run would."""
        root = self.state / "blocks.zarr"
        for name, content in _description(grid, names, classes).items():
            path = root / name
            if path.is_dir():
                clear(path)
            if not path.is_file() or path.read_bytes() != content:
                write_file(path, partial(Path.write_bytes, data=content))
        for name in ("strips", "objects", *BLOCK_STAGES):
            make_folder(self.state / name)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder, so that no second process runs in it; the system lets go when this one dies.

        Raises
        ------
        OutputError
            Another process runs in the folder, or the folder cannot be written.
        """
        with locked(self.state / "lock"):
            yield

    def journal(self, stage: str) -> Journal:
        """Markers of a stage that labels blocks."""
        return Journal(self.state, self.state / stage)

    def write_block(self, block: Block, arrays: Mapping[str, NDArray[Any]]) -> list[Digest]:
        """Store a block's labels and what else is known of it, by name; a block of nodata is what is not stored."""
        return [] if arrays["labels"].min() == NODATA else self._write(block, arrays)

    def write_instances(self, block: Block, instances: NDArray[np.uint32]) -> list[Digest]:
        """Store a block's instances, uint32 (y, x), 0 = none; always, because an earlier start may have had others."""
        return self._write(block, {"instances": instances})

    def _write(self, block: Block, arrays: Mapping[str, NDArray[Any]]) -> list[Digest]:
        try:
            for name, values in arrays.items():
                self._array(name)[(..., *block.core.slices())] = values
            chunks = [chunk for name in arrays for chunk, *_ in self._chunks(name, *block.core.slices())]
            return [Digest.of(chunk, self.state, checks_itself=True) for chunk in chunks]
        except OSError as error:
            raise OutputError(
                f"block {block.id} cannot be written to {self.state} ({error.strerror or error}); free some space "
                "and run the same command again."
            ) from error

    @property
    def has_objects(self) -> bool:
        """Whether there are instances besides labels."""
        return self._has("instances")

    def _has(self, name: str) -> bool:
        return (self.state / "blocks.zarr" / name).is_dir()

    def read_labels(self, rows: slice, cols: slice) -> Labels:
        """Labels, uint8 (y, x), of a part of the raster; things lie over stuff."""
        labels = self.read_stuff(rows, cols)[0] if self._has("best") else self._read("labels", rows, cols)
        return self._with_classes(labels, self._instances(rows, cols))

    def read_confidence(self, rows: slice, cols: slice) -> Labels:
        """Confidence, uint8 (y, x), 255 = 1.0, 0 = no data, of a part of the raster; that of a thing is its score."""
        confidence = self.read_stuff(rows, cols)[1] if self._has("best") else self._read("confidence", rows, cols)
        return self._with_scores(confidence, self._instances(rows, cols))

    def read_stuff(self, rows: slice, cols: slice) -> tuple[Labels, Labels]:
        """Labels and confidence of what lies under things."""
        labels = self._read("labels", rows, cols)
        if not self._has("best"):
            return labels, self._read("confidence", rows, cols)
        return apply_threshold(labels, self._read("best", rows, cols), self.background)

    def read_layers(self, rows: slice, cols: slice) -> tuple[Labels, Labels, NDArray[np.uint32]]:
        """Labels, confidence and instances of a part of a raster whose objects are told apart."""
        labels, confidence = self.read_stuff(rows, cols)
        instances = self.read_instances(rows, cols)
        return self._with_classes(labels, instances), self._with_scores(confidence, instances), instances

    def read_probabilities(self, rows: slice, cols: slice) -> Stored:
        """Probabilities of the classes of stuff, uint16 (class, y, x), 32,767 = 1.0, 65,535 = no data."""
        return np.asarray(self._read("probabilities", rows, cols), np.uint16)

    def _instances(self, rows: slice, cols: slice) -> NDArray[np.uint32] | None:
        return self.read_instances(rows, cols) if self.has_objects else None

    def _with_classes(self, labels: Labels, instances: NDArray[np.uint32] | None) -> Labels:
        """Labels, and over them those of objects."""
        return self._overlaid(labels, instances, lambda objects, number: objects.classes[number])

    def _with_scores(self, confidence: Labels, instances: NDArray[np.uint32] | None) -> Labels:
        """Confidence, and over it that of objects."""
        return self._overlaid(confidence, instances, lambda objects, number: as_levels(objects.scores[number]))

    def _overlaid(
        self,
        values: Labels,
        instances: NDArray[np.uint32] | None,
        of: Callable[[MergedInstances, NDArray[np.uint32]], Labels],
    ) -> Labels:
        """What lies under objects, and what each object has instead."""
        if instances is None or not instances.any():
            return values
        found, values = instances > 0, values.copy()
        values[found] = of(self.objects.read_united(), instances[found] - 1)
        return values

    def read_instances(self, rows: slice, cols: slice) -> NDArray[np.uint32]:
        """Instances, uint32 (y, x), 0 = none, of a part of the raster."""
        return np.asarray(self._read("instances", rows, cols), np.uint32)

    def _read(self, name: str, rows: slice, cols: slice) -> NDArray[Any]:
        """A part of an array; a chunk that has no pixel is not there, one that a marker speaks of has to be.

        Raises
        ------
        DamagedError
            A chunk is missing, or is not what was written.
        """
        for chunk, row, col in self._chunks(name, rows, cols):
            if not chunk.exists() and self._was_written(name, chunk, row, col):
                raise missing(chunk)
        try:
            return np.asarray(self._array(name)[..., rows, cols])
        except DAMAGE as error:
            raise self._damaged(name, rows, cols, error) from error

    def _damaged(self, name: str, rows: slice, cols: slice, reason: Exception) -> DamagedError:
        """The error of the chunk that cannot be read."""
        array = self._array(name)
        for chunk, row, col in self._chunks(name, rows, cols):
            try:
                array[(..., *_under(array, row, col))]
            except DAMAGE as error:
                return damaged(chunk, error)
        return DamagedError(f"{self.state / 'blocks.zarr' / name} cannot be read ({reason}); start the run again.")

    def _chunks(self, name: str, rows: slice, cols: slice) -> list[tuple[Path, int, int]]:
        """Files of the chunks or shards under a part of an array, with their rows and columns."""
        array, folder = self._array(name), self.state / "blocks.zarr" / name / "c"
        folder = folder / "0" if array.ndim == 3 else folder  # all classes of a block lie in one file
        down, across = (
            range(begin // size, -(-end // size))
            for (begin, end, _), size in zip(
                (part.indices(length) for part, length in zip((rows, cols), array.shape[-2:], strict=True)),
                _file_shape(array),
                strict=True,
            )
        )
        return [(folder / str(row) / str(col), row, col) for row in down for col in across]

    def _was_written(self, name: str, chunk: Path, row: int, col: int) -> bool:
        """Whether the marker of the block that owns a chunk speaks of it; the last blocks own two of an axis."""
        journal, file = self.journal("number" if name == "instances" else "finish"), self._name(chunk)
        return any(file in (journal.read((y, x)) or ()) for y in (row, row - 1) for x in (col, col - 1))

    def _name(self, path: Path) -> str:
        """What a marker calls a file."""
        return path.relative_to(self.state).as_posix()

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

    def write_draft(self, block: Block, pixels: Pixels) -> Digest:
        """Keep the pixels of a block until its ramps are complete."""
        return self._write_strip(block, "draft", pixels.labels, pixels.best, pixels.probabilities)

    def write_strips(self, block: Block, strips: Strips, names: Collection[str]) -> list[Digest]:
        """Store some of a block's strips, each under its own name, because each has its own consumer."""
        return [self._write_strip(block, name, getattr(strips, name)) for name in names]

    def read_strips(self, places: Mapping[str, tuple[int, int]]) -> dict[str, list[NDArray[Any]]]:
        """Read strips and drafts.

        Parameters
        ----------
        places : mapping of str to (int, int)
            Row and column of the block that wrote each strip.

        Returns
        -------
        dict of str to list of array
            One array of sums, int32 (class, y, x), a strip; the arrays of `Pixels` of a draft.

        Raises
        ------
        DamagedError
            One is not there as it was written, or not there any more. All that are damaged are removed, so that one
            more start is enough.
        """
        arrays, errors = {}, []
        for strip, place in places.items():
            try:
                arrays[strip] = self._read_strip(*place, strip)
            except DamagedError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return arrays

    def has_strips(self, row: int, col: int, names: Collection[str]) -> bool:
        """Say whether some strips of a block, its draft among them, are there in their sizes."""
        files = {self._name(self.strip_path(row, col, name)) for name in names}
        journal, place = self.journal("predict"), (row, col)
        return not files or (journal.has_sizes(place, files.__contains__) and files <= set(journal.read(place) or ()))

    def _write_strip(self, block: Block, name: str, *arrays: NDArray[Any]) -> Digest:
        def write(path: Path) -> None:
            with path.open("wb") as file:
                for values in arrays:
                    np.save(file, values, allow_pickle=False)

        path = self.strip_path(block.row, block.col, name)
        write_file(path, write, durable=False)
        return Digest(self._name(path), path.stat().st_size, _crc32(arrays))

    def _read_strip(self, row: int, col: int, name: str) -> list[NDArray[Any]]:
        """Read the arrays of a strip; their checksum is taken in memory, so that the file is read once."""
        path = self.strip_path(row, col, name)
        digest = (self.journal("predict").read((row, col)) or {}).get(self._name(path))
        try:
            with path.open("rb") as file:
                arrays = [np.load(file, allow_pickle=False) for _ in range(3 if name == "draft" else 1)]
        except FileNotFoundError as error:
            raise missing(path) from error
        except DAMAGE as error:
            raise damaged(path, error) from error
        if digest is not None and _crc32(arrays) != digest.crc32:
            raise damaged(path, "its checksum differs")
        return arrays


def _is_needed(file: str, spent: str | None) -> bool:
    """Whether a file of a marker counts, when those of one folder do not."""
    return spent is None or not file.startswith(spent)


def _crc32(arrays: Iterable[NDArray[Any]]) -> int:
    """One checksum of the values of some arrays, and of what they are."""
    crc32 = 0
    for values in arrays:
        crc32 = zlib.crc32(f"{values.dtype.str} {values.shape}".encode(), crc32)
        crc32 = zlib.crc32(np.ascontiguousarray(values).data, crc32)
    return crc32


def as_levels(scores: NDArray[np.float32]) -> Labels:
    """Scores, 0 to 1, as confidence, uint8, 255 = 1.0, at least 1."""
    return np.rint(np.clip(scores * LEVELS, 1, LEVELS)).astype(np.uint8)


def _description(grid: TileGrid, names: Iterable[str], classes: int) -> dict[str, bytes]:
    """Zarr's files that describe the label store, by path.

    A chunk is a whole block's core, and has a checksum; chunks of all classes of a block are one shard, so one file.
    """
    files: dict[str, Any] = {}
    group = zarr.open_group(MemoryStore(files), mode="w", zarr_format=3)
    for name in names:
        dtype, fill = ARRAYS[name]
        is_wide = dtype is np.uint16
        band = () if name != "probabilities" else (classes,)
        group.create_array(
            name,
            shape=(*band, *grid.shape),
            chunks=(*(1 for _ in band), *grid.chunks),
            shards=(*band, *grid.chunks) if band else None,
            dtype=dtype,
            fill_value=fill,
            compressors=(
                BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle" if is_wide else "noshuffle"),
                Crc32cCodec(),
            ),
            dimension_names=(*("class" for _ in band), "y", "x"),
        )
    return {path: content.to_bytes() for path, content in files.items()}


def _file_shape(array: Any) -> tuple[int, int]:
    """Rows and columns of what lies in one file of an array."""
    height, width = (array.shards or array.chunks)[-2:]
    return height, width


def _under(array: Any, row: int, col: int) -> tuple[slice, slice]:
    """The part of an array that lies in one file."""
    height, width = _file_shape(array)
    return slice(row * height, (row + 1) * height), slice(col * width, (col + 1) * width)


@lru_cache(maxsize=8)
def _open_array(path: str, written: int) -> Any:  # noqa: ARG001 - part of the cache key
    """Open one array of the label store, once a process and once for each time it was ``written`` anew.

    `RunFolder.write_block` looks for empty blocks itself; Zarr's way takes longer than writing.
    """
    with zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(path, mode="r+")
