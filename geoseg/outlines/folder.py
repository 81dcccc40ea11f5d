"""Where an outline keeps what it has: features of each node, and what waits to be joined.

Features are Arrow files, sorted by key, so that whoever merges them reads only the slice he needs. The marker of a
node's stage is written after its files; a piece is removed when the marker of the node that took it in is there. It
knows files, tables and arrays, not what is in them.

::

    L-R-C.arrow          features that were complete at a node
    L-R-C.piece.npz      what was not
    L-R-C.survey.npz     small faces that were not decided on; .fates.npz what became of them, and .faces.npz of a
                         block's faces
    L-R-C.labels         labels of a block without small faces
    L-R-C.STAGE.done     markers
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geoseg.errors import OutputError
from geoseg.files import UNFINISHED, sweep, write_file, write_json

Node = tuple[int, int, int]
"""Level, row and column."""


@dataclass(frozen=True)
class OutlineFolder:
    """A folder of features and pieces.

    Attributes
    ----------
    path : Path
        The folder.
    """

    path: Path

    def prepare(self, fingerprint: dict[str, Any]) -> bool:
        """Make the folder ready; what was made with other settings is removed, because it is quickly made again.

        Parameters
        ----------
        fingerprint : dict
            All that decides the polygons, as JSON values.

        Returns
        -------
        bool
            True when nodes of an earlier start are kept.

        Raises
        ------
        OutputError
            It cannot be written.
        """
        recorded = self.path / "fingerprint.json"
        try:
            if recorded.exists() and json.loads(recorded.read_text()) == json.loads(json.dumps(fingerprint)):
                self._sweep()
                return True
            shutil.rmtree(self.path, ignore_errors=True)
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(recorded, fingerprint)
            return False
        except OSError as error:
            raise OutputError(
                f"{self.path} cannot be written ({error.strerror or error}); choose an output folder with space and "
                "permission."
            ) from error

    def _sweep(self) -> None:
        """Remove what a killed process was writing; nobody else writes here, the run folder is locked."""
        sweep(self.path)

    def _file(self, node: Node, ending: str) -> Path:
        return self.path / f"{'-'.join(map(str, node))}.{ending}"

    def mark(self, stage: str, node: Node) -> None:
        """Say that a stage of a node is on disk, and will not change."""
        self._file(node, f"{stage}.done").touch()

    def marked(self, stage: str) -> set[Node]:
        """Nodes whose stage is on disk."""
        ending = f".{stage}.done"
        with os.scandir(self.path) as entries:
            return {_node(entry.name.removesuffix(ending)) for entry in entries if entry.name.endswith(ending)}

    def is_marked(self, stage: str, node: Node) -> bool:
        """Say whether a stage of a node is on disk."""
        return self._file(node, f"{stage}.done").exists()

    def write_features(self, node: Node, features: pa.Table) -> None:
        """Write the features of a node."""
        write_file(self._file(node, "arrow"), lambda path: _write_table(path, features))

    def feature_files(self) -> list[Path]:
        """Files of features, one for each node; what a worker left unfinished when it was killed is none of them."""
        return sorted(path for path in self.path.glob("*.arrow") if UNFINISHED not in path.name)

    def read_features(self, path: Path, begin: int = 0, end: int | None = None) -> pa.Table:
        """Read some rows of a file of features; nothing of the file stays open.

        Raises
        ------
        OutputError
            It is missing or damaged.
        """
        with _mapped(path) as table:
            return table.take(np.arange(begin, len(table) if end is None else end))  # a copy, so that the file can go

    def read_keys(self, path: Path) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Read the key of each feature of a file, and the bytes of its geometry, of which nothing else is read.

        Raises
        ------
        OutputError
            It is missing or damaged.
        """
        with _mapped(path) as table:
            keys, sizes = table.column("key"), pc.binary_length(table.column("geometry"))
            return keys.to_numpy().copy(), sizes.to_numpy().copy()

    def write_arrays(self, node: Node, kind: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write what is known of a node, as plain arrays."""
        named: dict[str, Any] = dict(arrays)
        write_file(self._file(node, f"{kind}.npz"), lambda path: np.savez(path, **named))

    def read_arrays(self, node: Node, kind: str) -> dict[str, NDArray[Any]]:
        """Read what is known of a node.

        Raises
        ------
        OutputError
            It is missing or damaged.
        """
        path = self._file(node, f"{kind}.npz")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise OutputError(f"{path} cannot be read ({error}); run again with --overwrite.") from error

    def drop_arrays(self, node: Node, kind: str) -> None:
        """Remove what was taken in."""
        self._file(node, f"{kind}.npz").unlink(missing_ok=True)

    def write_labels(self, node: Node, labels: NDArray[Any]) -> None:
        """Write the labels of a block, compressed."""
        table = pa.table({"labels": labels.ravel()})
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        write_file(self._file(node, "labels"), lambda path: _write_table(path, table, options))

    def read_labels(self, node: Node, shape: tuple[int, int]) -> NDArray[Any]:
        """Read the labels of a block."""
        path = self._file(node, "labels")
        try:
            with pa.OSFile(str(path)) as file:
                column = pa.ipc.open_file(file).read_all().column("labels")
        except (OSError, pa.ArrowException) as error:
            raise OutputError(f"{path} cannot be read ({error}); run again with --overwrite.") from error
        labels: NDArray[Any] = column.to_numpy().reshape(shape)
        return labels


def _node(name: str) -> Node:
    level, row, col = (int(number) for number in name.split("-"))
    return level, row, col


@contextmanager
def _mapped(path: Path) -> Iterator[pa.Table]:
    """A table of which only what is touched is read."""
    try:
        with pa.memory_map(str(path)) as file:
            yield pa.ipc.open_file(file).read_all()
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{path} cannot be read ({error}); run again with --overwrite.") from error


def _write_table(path: Path, table: pa.Table, options: pa.ipc.IpcWriteOptions | None = None) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema, options=options) as writer:
        writer.write_table(table.combine_chunks())
