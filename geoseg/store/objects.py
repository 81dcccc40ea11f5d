"""Objects on disk: of the tiles of each block, what blocks counted of them, and the objects of the whole raster.

Each file is written whole and never changed. It knows files and arrays.

::

    R-C.tiles.npz      objects of the tiles of a block
    R-C.meeting.npz    what the block's core says about them
    united/NAME.npy    objects of the raster, one file a column, so that workers map what they need
    united.done        marker
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.errors import OutputError
from geoseg.files import write_file
from geoseg.grid import Block
from geoseg.instances import LOCAL, Meeting, Objects, Table, TileObjects

Place = tuple[int, int]


@dataclass(frozen=True)
class ObjectFolder:
    """A folder of objects.

    Attributes
    ----------
    path : Path
        The folder.
    """

    path: Path

    def write_tiles(self, block: Block, tiles: Mapping[Place, TileObjects]) -> None:
        """Keep the objects of a block's tiles, by row and column of the tile."""
        arrays: dict[str, Any] = {}
        for (row, col), objects in tiles.items():
            for field in fields(TileObjects):
                arrays[f"{row}-{col}.{field.name}"] = getattr(objects, field.name)
        write_file(self._tiles(block.row, block.col), lambda path: np.savez_compressed(path, **arrays))

    def read_tiles(self, row: int, col: int, wanted: set[Place] | None = None) -> dict[Place, TileObjects]:
        """Read objects of the tiles of the block at a position; none at all when it was never predicted.

        Parameters
        ----------
        row, col : int
            The block.
        wanted : set, optional
            Rows and columns of the only tiles to read.
        """
        path = self._tiles(row, col)
        if not path.exists():
            return {}
        with _opened(path) as arrays:
            names = dict.fromkeys(name.partition(".")[0] for name in arrays.files)
            places = {_place(name): name for name in names}
            return {
                place: TileObjects(*(arrays[f"{name}.{field.name}"] for field in fields(TileObjects)))
                for place, name in places.items()
                if wanted is None or place in wanted
            }

    def write_meeting(self, block: Block, meeting: Meeting) -> None:
        """Keep what a block's core says about objects."""
        arrays: dict[str, Any] = {field.name: getattr(meeting, field.name) for field in fields(Meeting)}
        write_file(self.path / f"{block.id}.meeting.npz", lambda path: np.savez(path, **arrays))

    def read_meeting(self) -> Meeting:
        """What all cores say."""
        return Meeting.of([_read_meeting(path) for path in sorted(self.path.glob("*.meeting.npz"))])

    def read_table(self, tiles_across: int) -> Table:
        """All objects of all tiles; tiles are counted in raster order.

        Parameters
        ----------
        tiles_across : int
            Tiles of a row.
        """
        parts = []
        for path in self.path.glob("*.tiles.npz"):
            with _opened(path) as arrays:
                for name in dict.fromkeys(item.partition(".")[0] for item in arrays.files):
                    row, col = _place(name)
                    classes, scores, prompts = (
                        arrays[f"{name}.{column}"] for column in ("classes", "scores", "prompts")
                    )
                    keys = (row * tiles_across + col) * LOCAL + np.arange(1, len(classes) + 1)
                    parts.append((keys, classes, scores, prompts))
        parts.sort(key=lambda part: part[0][:1].tolist())
        types = (np.int64, np.uint8, np.float32, np.int64)
        return Table(
            *(
                np.concatenate([np.empty(0, dtype), *(part[column] for part in parts)]).astype(dtype)
                for column, dtype in enumerate(types)
            )
        )

    def write_united(self, objects: Objects, *, is_final: bool) -> None:
        """Keep the objects of the raster, and mark them when nothing is missing."""
        unfinished = self.path / f"united.{os.getpid()}.tmp"
        (self.path / "united.done").unlink(missing_ok=True)
        try:
            unfinished.mkdir(exist_ok=True)
            for field in fields(Objects):
                np.save(unfinished / f"{field.name}.npy", getattr(objects, field.name), allow_pickle=False)
            shutil.rmtree(self.path / "united", ignore_errors=True)
            unfinished.rename(self.path / "united")
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror or error}); choose an output folder with space."
            ) from error
        if is_final:
            (self.path / "united.done").touch()

    @property
    def is_united(self) -> bool:
        """Whether the objects of the raster are there, and will not change."""
        return (self.path / "united.done").exists()

    def read_united(self) -> Objects:
        """Objects of the raster; columns are mapped, not read."""
        try:
            return Objects(
                *(np.load(self.path / "united" / f"{field.name}.npy", mmap_mode="r") for field in fields(Objects))
            )
        except (OSError, ValueError) as error:
            raise OutputError(f"{self.path} cannot be read ({error}); run again with --overwrite.") from error

    def _tiles(self, row: int, col: int) -> Path:
        return self.path / f"{row}-{col}.tiles.npz"


def _opened(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise OutputError(f"{path} cannot be read ({error}); run again with --overwrite.") from error


def _read_meeting(path: Path) -> Meeting:
    with _opened(path) as arrays:
        return Meeting(*(arrays[field.name] for field in fields(Meeting)))


def _place(name: str) -> Place:
    row, col = name.split("-")
    return int(row), int(col)
