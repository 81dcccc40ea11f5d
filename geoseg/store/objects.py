"""Objects on disk: of the tiles of each block, what blocks counted of them, and the objects of the whole raster.

Each file is written whole and never changed. It knows files and arrays.

::

    R-C.tiles.npz      objects of the tiles of a block
    R-C.meeting.npz    what the block's core says about them
    united/NAME.npy    objects of the raster, one file a column, so that workers map what they need
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import DamagedError
from geoseg.files import clear, remove, unwritable
from geoseg.files import unfinished as unfinished_name
from geoseg.grid import Block
from geoseg.instances import InstanceTable, Meeting, MergedInstances, TileObjects
from geoseg.store.arrays import DAMAGE, read_arrays, write_arrays
from geoseg.store.journal import Digest, Journal, missing

Place = tuple[int, int]

WRITER = {"tiles": "predict", "meeting": "overlap"}
"""The stage that writes each kind of file."""

COLUMNS = ("classes", "scores", "prompts")
"""What the table of all objects needs of those of a tile."""


@dataclass(frozen=True)
class ObjectFolder:
    """A folder of objects.

    Attributes
    ----------
    path : Path
        The folder.
    """

    path: Path

    def write_tiles(self, block: Block, tiles: Mapping[Place, TileObjects]) -> Digest:
        """Keep the objects of a block's tiles, by row and column of the tile."""
        arrays = {
            f"{row}-{col}.{field.name}": getattr(objects, field.name)
            for (row, col), objects in tiles.items()
            for field in fields(TileObjects)
        }
        return write_arrays(self._file((block.row, block.col), "tiles"), self.path.parent, arrays, compress=True)

    def read_tiles(
        self, row: int, col: int, wanted: set[Place] | None = None, *, min_score: float = 0.0
    ) -> dict[Place, TileObjects]:
        """Read objects of the tiles of the block at a position.

        Parameters
        ----------
        row, col : int
            The block.
        wanted : set, optional
            Rows and columns of the only tiles to read.
        min_score : float
            Objects with a lower score are left out.

        Raises
        ------
        DamagedError
            They are missing or damaged.
        """
        arrays = self._read((row, col), "tiles", lambda name: wanted is None or _place(_tile_of(name)) in wanted)
        tiles = {
            _place(name): TileObjects(*(arrays[f"{name}.{field.name}"] for field in fields(TileObjects)))
            for name in dict.fromkeys(map(_tile_of, arrays))
        }
        return {place: objects.above(min_score) for place, objects in tiles.items()}

    def remove_of(self, row: int, col: int) -> None:
        """Remove the objects of the tiles of the block at a position."""
        clear(self._file((row, col), "tiles"))

    def has_tiles(self, row: int, col: int) -> bool:
        """Say whether the block at a position was predicted."""
        return self._file((row, col), "tiles").exists()

    def write_meeting(self, block: Block, meeting: Meeting) -> Digest:
        """Keep what a block's core says about objects."""
        arrays = {field.name: getattr(meeting, field.name) for field in fields(Meeting)}
        return write_arrays(self._file((block.row, block.col), "meeting"), self.path.parent, arrays)

    def read_meeting(self, blocks: Iterable[Place], *, is_complete: bool) -> Meeting:
        """What all cores say.

        Parameters
        ----------
        blocks : iterable of (int, int)
            Rows and columns of the blocks of the run.
        is_complete : bool
            False when a block has failed: then those that are not there are left out.

        Raises
        ------
        DamagedError
            A file is missing or damaged.
        """
        files = self._files("meeting", blocks, is_complete=is_complete)
        return Meeting.of([Meeting(*(arrays[field.name] for field in fields(Meeting))) for arrays in files])

    def read_table(
        self, tiles_across: int, blocks: Iterable[Place], *, is_complete: bool, min_score: float = 0.0
    ) -> InstanceTable:
        """All objects of all tiles; tiles are counted in raster order.

        Parameters
        ----------
        tiles_across : int
            Tiles of a row.
        blocks, is_complete
            As in `read_meeting`.
        min_score : float
            As in `read_tiles`.

        Raises
        ------
        DamagedError
            A file is missing or damaged.
        """
        files = self._files("tiles", blocks, is_complete=is_complete, columns=COLUMNS)
        return InstanceTable.of(tiles_across, (item for arrays in files for item in _columns(arrays, min_score)))

    def _files(
        self, kind: str, blocks: Iterable[Place], *, is_complete: bool, columns: Collection[str] | None = None
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Arrays of each block, or some columns of them."""
        for place in blocks:
            if is_complete or self._file(place, kind).exists():
                yield self._read(place, kind, lambda name: columns is None or name.rpartition(".")[2] in columns)

    def _read(self, place: Place, kind: str, chosen: Callable[[str], bool]) -> dict[str, NDArray[Any]]:
        """Arrays of a block, as the marker of the stage that wrote them knows them."""
        path, root = self._file(place, kind), self.path.parent
        return read_arrays(path, Journal(root, root / WRITER[kind]).digest(path, place), chosen)

    def forget_meetings(self) -> None:
        """Remove what cores say about objects that count no more, or of which others count now."""
        for path in self.path.glob("*.meeting.npz"):
            clear(path)

    def write_united(self, objects: MergedInstances) -> list[Digest]:
        """Keep the objects of the raster."""
        unfinished = unfinished_name(self.path / "united")
        try:
            unfinished.mkdir()
            for field in fields(MergedInstances):
                np.save(unfinished / f"{field.name}.npy", getattr(objects, field.name), allow_pickle=False)
            remove(self.path / "united")
            unfinished.rename(self.path / "united")
        except OSError as error:
            raise unwritable(self.path, error) from error
        return [Digest.of(self._column(field.name), self.path.parent) for field in fields(MergedInstances)]

    def read_united(self) -> MergedInstances:
        """Objects of the raster; columns are mapped, not read.

        Raises
        ------
        DamagedError
            They are missing or damaged.
        """
        try:
            return MergedInstances(
                *(np.load(self._column(field.name), mmap_mode="r") for field in fields(MergedInstances))
            )
        except FileNotFoundError as error:
            raise missing(self.path / "united") from error
        except DAMAGE as error:
            raise DamagedError(
                f"{self.path / 'united'} is damaged ({error}); start the run again, which makes it anew."
            ) from error

    def _column(self, name: str) -> Path:
        return self.path / "united" / f"{name}.npy"

    def _file(self, place: Place, kind: str) -> Path:
        return self.path / f"{place[0]}-{place[1]}.{kind}.npz"


def _columns(arrays: Mapping[str, NDArray[Any]], min_score: float) -> Iterator[tuple[Place, tuple[Any, Any, Any]]]:
    """What the table of all objects needs of each tile of a block."""
    for name in dict.fromkeys(map(_tile_of, arrays)):
        keep = arrays[f"{name}.scores"] >= min_score
        classes, scores, prompts = (arrays[f"{name}.{column}"][keep] for column in COLUMNS)
        yield _place(name), (classes, scores, prompts)


def _tile_of(name: str) -> str:
    """The tile that an array belongs to."""
    return name.partition(".")[0]


def _place(name: str) -> Place:
    row, col = name.split("-")
    return int(row), int(col)
