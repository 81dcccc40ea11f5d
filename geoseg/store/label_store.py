"""The label store of a run: labels of every block and what else is known of its pixels, in Zarr v3.

A chunk is a whole block's core, so no two tasks write one chunk. A marker says which chunks were written, so one
that is missing is noticed when it is read; one that differs fails its own checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore

from geoseg.errors import DamagedError, OutputError
from geoseg.files import clear, read_json, write_file, write_json
from geoseg.grid import Block, TileGrid
from geoseg.instances import MergedInstances
from geoseg.probabilities import LEVELS, NO_INTEGER, NODATA, Labelling, Labels, Stored, apply_threshold
from geoseg.stages import RASTER
from geoseg.store.arrays import DAMAGE
from geoseg.store.journal import Digest, Journal, compare, damaged
from geoseg.store.objects import ObjectFolder

ARRAYS: Mapping[str, tuple[type[np.unsignedinteger[Any]], int]] = {
    "labels": (np.uint8, NODATA),
    "confidence": (np.uint8, 0),
    "best": (np.uint16, NO_INTEGER),
    "probabilities": (np.uint16, NO_INTEGER),
    "instances": (np.uint32, 0),
    "corrected": (np.uint16, 0),
}
"""Arrays of the label store: their types, and what they hold where no block is stored.

``best`` stands in place of ``confidence`` where a threshold decides labels: they are made of it when they are read.
``corrected`` is label * 256 + confidence of pixels that a person has corrected, and lies over both.
"""

SEMANTIC = ("labels", "confidence")
"""Arrays of a model without a threshold that finds no objects."""


@dataclass(frozen=True)
class LabelStore:
    """Labels, confidence, probabilities and instances of the blocks of a run.

    Attributes
    ----------
    state : Path
        The folder of state of the run.
    """

    state: Path

    @property
    def path(self) -> Path:
        """The Zarr group."""
        return self.state / "blocks.zarr"

    def create(self, grid: TileGrid, names: Collection[str], classes: int) -> None:
        """Create what is missing of the label store, or is described otherwise than this run would."""
        for name, content in _description(grid, names, classes).items():
            path = self.path / name
            if path.is_dir():
                clear(path)
            if not path.is_file() or path.read_bytes() != content:
                write_file(path, partial(Path.write_bytes, data=content))

    def write_labelling(self, labelling: Labelling) -> None:
        """Say how labels are read from now on."""
        if self.labelling != labelling:
            write_json(self._labelling, asdict(labelling))

    @property
    def labelling(self) -> Labelling:
        """How labels are read."""
        return Labelling.of(read_json(self._labelling))

    @property
    def _labelling(self) -> Path:
        return self.state / "labelling.json"

    def write_block(self, block: Block, arrays: Mapping[str, NDArray[Any]]) -> list[Digest]:
        """Store a block's labels and what else is known of it, by name; a block of nodata is what is not stored."""
        return [] if arrays["labels"].min() == NODATA else self._write(block, arrays)

    def write_instances(self, block: Block, instances: NDArray[np.uint32]) -> list[Digest]:
        """Store a block's instances, uint32 (y, x), 0 = none; always, because an earlier start may have had others."""
        return self._write(block, {"instances": instances})

    def corrected_places(self, grid: TileGrid) -> set[tuple[int, int]]:
        """Blocks that corrections are stored of."""
        chunks = (path.relative_to(self.path / "corrected" / "c").parts for path in self._corrected_chunks())
        last = grid.rows.blocks - 1, grid.cols.blocks - 1
        return {(min(int(row), last[0]), min(int(col), last[1])) for row, col in chunks}

    def _corrected_chunks(self) -> list[Path]:
        return sorted((self.path / "corrected").glob("c/*/[0-9]*"))

    def has_other_corrected(self, block: Block, codes: NDArray[np.uint16]) -> bool:
        """Say whether a block has other corrections than these; what is damaged counts as others."""
        try:
            return not np.array_equal(self._array("corrected")[block.core.slices()], codes)
        except DAMAGE:
            return True

    def write_corrected(self, block: Block, codes: NDArray[np.uint16]) -> list[Digest]:
        """Store the corrections of a block; nothing where there are none."""
        if codes.any():
            return self._write(block, {"corrected": codes})
        self.remove_corrected(block)
        return []

    def remove_corrected(self, block: Block) -> None:
        """Remove the corrections of a block."""
        for chunk, *_ in self._chunks("corrected", *block.core.slices()):
            clear(chunk)

    def remove_block(self, block: Block) -> None:
        """Remove all that is stored of a block: one that has only nodata from now on is not written."""
        for name in ARRAYS:
            if self._has(name):
                for chunk, *_ in self._chunks(name, *block.core.slices()):
                    clear(chunk)

    def _write(self, block: Block, arrays: Mapping[str, NDArray[Any]]) -> list[Digest]:
        try:
            for name, values in arrays.items():
                self._array(name)[(..., *block.core.slices())] = values
            chunks = [chunk for name in arrays for chunk, *_ in self._chunks(name, *block.core.slices())]
            return [Digest.of(chunk, self.state) for chunk in chunks]
        except OSError as error:
            raise OutputError(
                f"block {block.id} cannot be written to {self.state} ({error.strerror or error}); free some space "
                "and run the same command again."
            ) from error

    def _has(self, name: str) -> bool:
        return (self.path / name).is_dir()

    def read_labels(self, rows: slice, cols: slice) -> Labels:
        """Labels, uint8 (y, x), of a part of the raster; things lie over stuff."""
        if self._has("best") or self._has("corrected") or self.labelling.unknown is not None:
            labels = self.read_stuff(rows, cols)[0]
        else:
            labels = self.labelling.results(self._read("labels", rows, cols))
        return self._with_classes(labels, self._instances(rows, cols))

    def read_confidence(self, rows: slice, cols: slice) -> Labels:
        """Confidence, uint8 (y, x), 255 = 1.0, 0 = no data, of a part of the raster; that of a thing is its score."""
        if self._has("best") or self._has("corrected"):
            confidence = self.read_stuff(rows, cols)[1]
        else:
            confidence = self._read("confidence", rows, cols)
        return self._with_scores(confidence, self._instances(rows, cols))

    def read_labels_and_confidence(self, rows: slice, cols: slice) -> tuple[Labels, Labels]:
        """Both of a part of the raster, as `read_labels` and `read_confidence` give them; each array is read once."""
        labels, confidence = self.read_stuff(rows, cols)
        instances = self._instances(rows, cols)
        return self._with_classes(labels, instances), self._with_scores(confidence, instances)

    def read_stuff(self, rows: slice, cols: slice) -> tuple[Labels, Labels]:
        """Labels and confidence of what lies under things, with corrections."""
        labels, confidence = self.read_predicted(rows, cols)
        if not self._has("corrected"):
            return labels, confidence
        codes = self._read("corrected", rows, cols)
        is_corrected = codes > 0
        return (
            np.where(is_corrected, codes >> 8, labels).astype(np.uint8),
            np.where(is_corrected, codes & 255, confidence).astype(np.uint8),
        )

    def read_predicted(self, rows: slice, cols: slice) -> tuple[Labels, Labels]:
        """The same without corrections; confidence is that of the model's class, also where that is in a group."""
        labels, labelling = self._read("labels", rows, cols), self.labelling
        if not self._has("best"):
            confidence = self._read("confidence", rows, cols)
            return labelling.results(labels, confidence), confidence
        labels, confidence = apply_threshold(labels, self._read("best", rows, cols), labelling.background)
        return labelling.results(labels), confidence

    def read_layers(self, rows: slice, cols: slice) -> tuple[Labels, Labels, NDArray[np.uint32]]:
        """Labels, confidence and instances of a part of a raster whose objects are told apart."""
        labels, confidence = self.read_stuff(rows, cols)
        instances = self.read_instances(rows, cols)
        return self._with_classes(labels, instances), self._with_scores(confidence, instances), instances

    def read_probabilities(self, rows: slice, cols: slice) -> Stored:
        """Probabilities of the classes of stuff, uint16 (class, y, x), 32,767 = 1.0, 65,535 = no data."""
        return np.asarray(self._read("probabilities", rows, cols), np.uint16)

    def _instances(self, rows: slice, cols: slice) -> NDArray[np.uint32] | None:
        return self.read_instances(rows, cols) if self._has("instances") else None

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
        values[found] = of(self.read_objects(), instances[found] - 1)
        return values

    def read_objects(self) -> MergedInstances:
        """Objects of the raster, with their classes as results have them."""
        united = ObjectFolder(self.state / "objects").read_united()
        return replace(united, classes=self.labelling.results(united.classes))

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
            self._check(name, chunk, row, col)
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
        array, folder = self._array(name), self.path / name / "c"
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

    def _check(self, name: str, chunk: Path, row: int, col: int) -> None:
        """Compare a chunk with the marker of the block that owns it; the last blocks own two of an axis."""
        stage = {"instances": "number", "corrected": "correct"}.get(name, "finish")
        journal = Journal(self.state, self.state / stage)
        owners = [(y, x) for y in (row, row - 1) for x in (col, col - 1)] if name != "corrected" else [RASTER]
        digest = next(filter(None, (journal.digest(chunk, place) for place in owners)), None)
        if digest is not None:
            compare(chunk, digest)

    def _array(self, name: str) -> Any:
        path = self.path / name
        return _open_array(str(path), (path / "zarr.json").stat().st_mtime_ns)


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

    `LabelStore.write_block` looks for empty blocks itself; Zarr's way takes longer than writing.
    """
    with zarr.config.set({"array.write_empty_chunks": True}):
        return zarr.open_array(path, mode="r+")
