"""Where an outline keeps what it has: features of each node, and pieces that wait to be joined.

Features are Arrow files, sorted by key, so that whoever merges them reads only the slice he needs. A node's marker is
written after its files; a piece is removed when the marker of the node that took it in is there. It knows files and
tables, not what is in them.

::

    L-R-C.arrow    features that were complete at a node
    L-R-C.npz      its piece: what was not
    L-R-C.done     its marker
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from geoseg.errors import OutputError
from geoseg.store import write_file, write_json
from geoseg.vectorize import Piece

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

    def _file(self, node: Node, ending: str) -> Path:
        return self.path / f"{'-'.join(map(str, node))}.{ending}"

    def mark(self, node: Node) -> None:
        """Say that a node's files are on disk, and will not change."""
        self._file(node, "done").touch()

    def marked(self) -> set[Node]:
        """Nodes whose files are on disk."""
        with os.scandir(self.path) as entries:
            names = [Path(entry.name) for entry in entries if entry.name.endswith(".done")]
        return {_node(name.stem) for name in names}

    def is_marked(self, node: Node) -> bool:
        """Say whether a node's files are on disk."""
        return self._file(node, "done").exists()

    def write_features(self, node: Node, features: pa.Table) -> None:
        """Write the features of a node."""
        write_file(self._file(node, "arrow"), lambda path: _write_table(path, features))

    def read_features(self) -> Iterator[pa.Table]:
        """Open the features of every node; they stay on disk until they are looked at."""
        for path in sorted(self.path.glob("*.arrow")):
            try:
                with pa.memory_map(str(path)) as file:
                    table = pa.ipc.open_file(file).read_all()
            except (OSError, pa.ArrowException) as error:
                raise OutputError(f"{path} cannot be read ({error}); run again with --overwrite.") from error
            if len(table):
                yield table

    def write_piece(self, node: Node, piece: Piece) -> None:
        """Write the piece of a node."""
        arrays: dict[str, Any] = piece.to_arrays()
        write_file(self._file(node, "npz"), lambda path: np.savez(path, **arrays))

    def read_piece(self, node: Node) -> Piece:
        """Read the piece of a node.

        Raises
        ------
        OutputError
            It is missing or damaged.
        """
        path = self._file(node, "npz")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return Piece.from_arrays(arrays)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise OutputError(f"{path} cannot be read ({error}); run again with --overwrite.") from error

    def drop_piece(self, node: Node) -> None:
        """Remove a piece that was taken in."""
        self._file(node, "npz").unlink(missing_ok=True)


def _node(name: str) -> Node:
    level, row, col = (int(number) for number in name.split("-"))
    return level, row, col


def _write_table(path: Path, table: pa.Table) -> None:
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table.combine_chunks())
