"""Where an outline keeps what it has: features of each node, and what waits to be joined.

Features are Arrow files, sorted by key, so that merging reads only the slice it needs. Pieces stay when they are
joined: where a block changes, its neighbours are not traced again. It knows files, tables and arrays, not what is in
them. A place is ``R-C``, row and column of a block, or ``L-R-C`` of a node.

::

    PLACE.arrow          features that were complete there
    PLACE.piece.npz      what was not
    PLACE.survey.npz     small faces that were not decided on; .fates.npz what became of them, and .faces.npz of a
                         block's faces
    R-C.labels           labels of a block without small faces
    STAGE/PLACE          markers
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geoseg.files import clear, read_json, sweep, write_file, write_json
from geoseg.store.arrays import read_arrays, write_arrays
from geoseg.store.journal import Digest, Journal, damaged, missing
from geoseg.tree import Place, id_of, is_block


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
        if self.is_made_from(fingerprint):
            sweep(self.path)
            return True
        clear(self.path)
        write_json(self._fingerprint, fingerprint)
        return False

    def is_made_from(self, fingerprint: dict[str, Any]) -> bool:
        """Say whether what is there was made with these settings."""
        recorded: Any = read_json(self._fingerprint)
        return bool(recorded == json.loads(json.dumps(fingerprint)))

    @property
    def _fingerprint(self) -> Path:
        return self.path / "fingerprint.json"

    def journal(self, stage: str) -> Journal:
        """Markers of a stage."""
        return Journal(self.path, self.path / stage)

    def file(self, place: Place, ending: str) -> Path:
        """The file of a place that holds what its ending says."""
        return self.path / f"{id_of(place)}.{ending}"

    def write_features(self, place: Place, features: pa.Table) -> Digest:
        """Write the features of a node."""
        return self._write_table(self.file(place, "arrow"), features)

    def read_features(
        self, place: Place, begin: int = 0, end: int | None = None, *, columns: Sequence[str] | None = None
    ) -> pa.Table:
        """Read some rows of the features of a node, of all columns unless some are named.

        The file is closed then, and its pages stay mapped as long as the table lives.

        Raises
        ------
        DamagedError
            They are missing or damaged.
        """
        with _mapped(self.file(place, "arrow")) as table:
            table = table if columns is None else table.select(list(columns))
            return table.slice(begin, None if end is None else end - begin)

    def read_keys(self, place: Place) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Read the key of each feature of a node, and the bytes of its geometry; the file is checked as a whole.

        Raises
        ------
        DamagedError
            It is missing or damaged.
        """
        path = self.file(place, "arrow")
        self.journal("trace" if is_block(place) else "join").check(path, place)
        with _mapped(path) as table:
            keys, sizes = table.column("key"), pc.binary_length(table.column("geometry"))
            return keys.to_numpy().copy(), sizes.to_numpy().copy()

    def write_arrays(self, place: Place, kind: str, arrays: Mapping[str, NDArray[Any]]) -> Digest:
        """Write what is known of a node, as plain arrays."""
        return write_arrays(self.file(place, f"{kind}.npz"), self.path, arrays)

    def read_arrays(self, place: Place, kind: str, writer: Place | None = None) -> dict[str, NDArray[Any]]:
        """Read what is known of a node; ``writer`` is the node that has written it, itself unless given.

        Raises
        ------
        DamagedError
            It is missing or damaged.
        """
        path = self.file(place, f"{kind}.npz")
        writer = writer or place
        stages = ("trace", "join") if kind == "piece" else ("survey", "merge")
        return read_arrays(path, self.journal(stages[not is_block(writer)]).digest(path, writer))

    def write_labels(self, place: Place, labels: NDArray[Any]) -> Digest:
        """Write the labels of a block, compressed."""
        table = pa.table({"labels": labels.ravel()})
        return self._write_table(self.file(place, "labels"), table, pa.ipc.IpcWriteOptions(compression="lz4"))

    def read_labels(self, place: Place, shape: tuple[int, int]) -> NDArray[Any]:
        """Read the labels of a block.

        Raises
        ------
        DamagedError
            They are missing or damaged.
        """
        path = self.file(place, "labels")
        self.journal("sift").check(path, place)
        with _mapped(path) as table:
            labels: NDArray[Any] = table.column("labels").to_numpy().reshape(shape)
            return labels

    def _write_table(self, path: Path, table: pa.Table, options: pa.ipc.IpcWriteOptions | None = None) -> Digest:
        def write(path: Path) -> None:
            with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema, options=options) as writer:
                writer.write_table(table.combine_chunks())

        write_file(path, write, durable=False)
        return Digest.of(path, self.path)


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
