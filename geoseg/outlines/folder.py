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
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geoseg.files import clear, remove, sweep, write_file, write_json
from geoseg.store.arrays import read_arrays, write_arrays
from geoseg.store.markers import Digest, Markers, check, damaged, missing

Node = tuple[int, int, int]
"""Level, row and column."""

NODE = re.compile(r"\d+-\d+-\d+")
"""Names of nodes."""


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
        if self._recorded(recorded) == json.loads(json.dumps(fingerprint)):
            sweep(self.path)
            return True
        clear(self.path)
        write_json(recorded, fingerprint)
        return False

    def _recorded(self, path: Path) -> Any:
        """The fingerprint of what is there; None when it is not there or was cut off."""
        try:
            return json.loads(path.read_bytes())
        except (FileNotFoundError, IsADirectoryError, ValueError):
            return None

    def _file(self, node: Node, ending: str) -> Path:
        return self.path / f"{_name(node)}.{ending}"

    def _markers(self, stage: str) -> Markers:
        return Markers(self.path, self.path, f".{stage}.done")

    def mark(self, stage: str, node: Node, digests: Iterable[Digest] = ()) -> None:
        """Say that a stage of a node is on disk, and will not change."""
        self._markers(stage).write(_name(node), digests)

    def marked(self, stage: str) -> set[Node]:
        """Nodes whose stage is on disk."""
        return {_node(name) for name in self._markers(stage).names(NODE)}

    def is_marked(self, stage: str, node: Node) -> bool:
        """Say whether a stage of a node is on disk."""
        return self._markers(stage).has(_name(node))

    def is_intact(self, stage: str, node: Node, *, with_piece: bool = True) -> bool:
        """Say whether the files of a stage are there in their sizes; a piece may have been taken in."""
        return self._markers(stage).is_intact(_name(node), lambda name: with_piece or not name.endswith(".piece.npz"))

    def unmark(self, stage: str, node: Node) -> None:
        """Forget that a stage of a node is on disk."""
        self._markers(stage).remove(_name(node))

    def write_features(self, node: Node, features: pa.Table) -> Digest:
        """Write the features of a node."""
        return self._write_table(self._file(node, "arrow"), features)

    def read_features(self, node: Node, begin: int = 0, end: int | None = None) -> pa.Table:
        """Read some rows of the features of a node; nothing of the file stays open.

        Raises
        ------
        DamagedError
            They are missing or damaged.
        """
        with _mapped(self._file(node, "arrow")) as table:
            return table.take(np.arange(begin, len(table) if end is None else end))  # a copy, so that the file can go

    def read_keys(self, node: Node) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Read the key of each feature of a node, and the bytes of its geometry; the file is checked as a whole.

        Raises
        ------
        DamagedError
            It is missing or damaged.
        """
        path = self._file(node, "arrow")
        self._check(path, "join" if node[0] else "trace", node)
        with _mapped(path) as table:
            keys, sizes = table.column("key"), pc.binary_length(table.column("geometry"))
            return keys.to_numpy().copy(), sizes.to_numpy().copy()

    def write_arrays(self, node: Node, kind: str, arrays: Mapping[str, NDArray[Any]]) -> Digest:
        """Write what is known of a node, as plain arrays."""
        return write_arrays(self._file(node, f"{kind}.npz"), self.path, arrays)

    def read_arrays(self, node: Node, kind: str) -> dict[str, NDArray[Any]]:
        """Read what is known of a node.

        Raises
        ------
        DamagedError
            It is missing or damaged.
        """
        return read_arrays(self._file(node, f"{kind}.npz"))

    def drop_arrays(self, node: Node, kind: str) -> None:
        """Remove what was taken in."""
        remove(self._file(node, f"{kind}.npz"))

    def write_labels(self, node: Node, labels: NDArray[Any]) -> Digest:
        """Write the labels of a block, compressed."""
        table = pa.table({"labels": labels.ravel()})
        return self._write_table(self._file(node, "labels"), table, pa.ipc.IpcWriteOptions(compression="lz4"))

    def read_labels(self, node: Node, shape: tuple[int, int]) -> NDArray[Any]:
        """Read the labels of a block.

        Raises
        ------
        DamagedError
            They are missing or damaged.
        """
        path = self._file(node, "labels")
        self._check(path, "sift", node)
        with _mapped(path) as table:
            labels: NDArray[Any] = table.column("labels").to_numpy().reshape(shape)
            return labels

    def _check(self, path: Path, stage: str, node: Node) -> None:
        """Refuse a file that is not what the marker of a stage says."""
        check(path, self.path, self._markers(stage).read(_name(node)))

    def _write_table(self, path: Path, table: pa.Table, options: pa.ipc.IpcWriteOptions | None = None) -> Digest:
        def write(path: Path) -> None:
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema, options=options) as writer:
                writer.write_table(table.combine_chunks())

        write_file(path, write, durable=False)
        return Digest.of(path, self.path)


def _name(node: Node) -> str:
    return "-".join(map(str, node))


def _node(name: str) -> Node:
    level, row, col = (int(number) for number in name.split("-"))
    return level, row, col


@contextmanager
def _mapped(path: Path) -> Iterator[pa.Table]:
    """A table of which only what is touched is read."""
    try:
        with pa.memory_map(str(path)) as file:
            yield pa.ipc.open_file(file).read_all()
    except FileNotFoundError as error:
        raise missing(path) from error
    except (OSError, pa.ArrowInvalid) as error:
        if isinstance(error, OSError) and error.errno:  # the disk, not the file
            raise
        raise damaged(path, error) from error
