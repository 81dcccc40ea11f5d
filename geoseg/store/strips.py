"""Strips of a run: sums of scores along the edges of a block, and drafts, until the blocks that need them have them."""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import DamagedError
from geoseg.files import clear, remove, write_file
from geoseg.grid import Block, TileGrid
from geoseg.probabilities import Pixels
from geoseg.store.arrays import DAMAGE
from geoseg.store.journal import Digest, Journal, damaged, missing
from geoseg.tree import Place

if TYPE_CHECKING:  # torch stays out of processes that only store
    from geoseg.blending import Strips

OWN_STRIPS = ("top", "left", "draft")
"""What waits for its own block alone."""

CONSUMED = ("right", "below", "corner")
"""What waits for other blocks, see `geoseg.grid.TileGrid.consumers_of`."""

STRIP = re.compile(r"(\d+)-(\d+)-([a-z]+)")
"""Names of files of strips."""


@dataclass(frozen=True)
class StripFolder:
    """Files of strips and drafts, one for each consumer.

    Attributes
    ----------
    state : Path
        The folder of state of the run.
    """

    state: Path

    @property
    def path(self) -> Path:
        """Where they lie."""
        return self.state / "strips"

    def file(self, row: int, col: int, strip: str) -> Path:
        """Where a strip of the block at a position waits."""
        return self.path / f"{row}-{col}-{strip}.npy"

    def write_draft(self, block: Block, pixels: Pixels) -> Digest:
        """Keep the pixels of a block until its ramps are complete."""
        return self._write_strip(block, "draft", pixels.labels, pixels.best, pixels.probabilities)

    def write(self, block: Block, strips: Strips, names: Collection[str]) -> list[Digest]:
        """Store some of a block's strips, each under its own name, because each has its own consumer."""
        return [self._write_strip(block, name, getattr(strips, name)) for name in names]

    def read(self, places: Mapping[str, tuple[int, int]]) -> dict[str, list[NDArray[Any]]]:
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

    def has(self, row: int, col: int, names: Collection[str]) -> bool:
        """Say whether some strips of a block, its draft among them, are there in their sizes."""
        files = {self._name(self.file(row, col, name)) for name in names}
        journal, place = self._journal, (row, col)
        return not files or (journal.has_sizes(place, files.__contains__) and files <= set(journal.read(place) or ()))

    def _write_strip(self, block: Block, name: str, *arrays: NDArray[Any]) -> Digest:
        def write(path: Path) -> None:
            with path.open("wb") as file:
                for values in arrays:
                    np.save(file, values, allow_pickle=False)

        path = self.file(block.row, block.col, name)
        write_file(path, write, durable=False)
        return Digest(self._name(path), path.stat().st_size, _crc32(arrays))

    def _read_strip(self, row: int, col: int, name: str) -> list[NDArray[Any]]:
        """Read the arrays of a strip; their checksum is taken in memory, so that the file is read once."""
        path = self.file(row, col, name)
        digest = self._journal.digest(path, (row, col))
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

    def remove_of(self, row: int, col: int) -> None:
        """Remove all strips of the block at a position, and its draft."""
        for name in (*OWN_STRIPS, *CONSUMED):
            clear(self.file(row, col, name))

    def remove_consumed(self, grid: TileGrid, finished: Collection[Place]) -> None:
        """Remove strips that no block waits for."""
        for path in self.path.glob("*.npy"):
            match = STRIP.fullmatch(path.stem)
            if match:
                place = int(match[1]), int(match[2])
                if grid.consumers_of(grid.block(*place)).get(match[3], place) in finished:
                    remove(path)

    @property
    def _journal(self) -> Journal:
        return Journal(self.state, self.state / "predict")

    def _name(self, path: Path) -> str:
        """What a marker calls a file."""
        return path.relative_to(self.state).as_posix()


def _crc32(arrays: Iterable[NDArray[Any]]) -> int:
    """One checksum of the values of some arrays, and of what they are."""
    crc32 = 0
    for values in arrays:
        crc32 = zlib.crc32(f"{values.dtype.str} {values.shape}".encode(), crc32)
        crc32 = zlib.crc32(np.ascontiguousarray(values).data, crc32)
    return crc32
