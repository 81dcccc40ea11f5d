"""Features along a Hilbert curve, so that those of a row group lie together; sorted on disk, in flat memory.

They pass through two files: as they come, while it is kept where each lies and to which partition it belongs; and cut
to pieces by row group, of which one is gathered at a time. The order depends on the features alone. It knows record
batches with a bbox; neither formats nor what the columns mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import geopandas as gpd
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from geoseg.vector import stream

Centres = NDArray[np.float64]
"""Middles of bounding boxes, shape (feature, 2)."""

NumberOf = Callable[[pa.RecordBatch], NDArray[np.int64]]
"""Gives the partition of each feature."""

_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Spool:
    """Features on disk in the order in which they came.

    Attributes
    ----------
    path : Path
        An Arrow file.
    low, side : float64 of shape (2,), float
        The square that holds the middles of all.
    sizes : int32, shape (feature,)
        Bytes of each geometry.
    """

    path: Path
    low: NDArray[np.float64]
    side: float
    sizes: NDArray[np.int32]

    @classmethod
    def of(cls, path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> Spool:
        """Write batches with columns ``geometry`` and ``bbox`` to a new file."""
        low, high, sizes = np.full(2, np.inf), np.full(2, -np.inf), [np.empty(0, np.int32)]
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema, options=_OPTIONS) as writer:
            for batch in batches:
                writer.write_batch(batch)
                places = centres(batch)
                low, high = np.fmin(low, np.fmin.reduce(places)), np.fmax(high, np.fmax.reduce(places))
                sizes.append(pc.binary_length(batch.column("geometry")).to_numpy())
        side = float((high - low).max())
        return cls(path, low, side if np.isfinite(side) else 0.0, np.concatenate(sizes))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Features as they came, one batch at a time."""
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_file(file) as reader:
            yield from map(reader.get_batch, range(reader.num_record_batches))


def centres(batch: pa.RecordBatch) -> Centres:
    """Middles of the ``bbox`` of features; NaN of those without one."""
    left, bottom, right, top = (edge.to_numpy() for edge in batch.column("bbox").flatten())
    return np.column_stack([(left + right) / 2, (bottom + top) / 2])


@dataclass
class RowGroup:
    """Features that lie together.

    Attributes
    ----------
    partition : int
        To which all of them belong.
    bounds : float64, shape (4,)
        What holds them: left, bottom, right, top.
    pieces : list of int
        Numbers of the record batches of `sort_features` that they stand in.
    """

    partition: int
    bounds: NDArray[np.float64]
    pieces: list[int]


def sort_features(spool: Spool, number_of: NumberOf, path: Path) -> list[RowGroup]:
    """Sort features by partition, then along the curve, then as they came; a row group is as full as a batch.

    Parameters
    ----------
    spool : Spool
        The features; its file is removed.
    number_of : callable
        To which partition each feature of a batch belongs.
    path : Path
        New file of the features as pieces of one row group each, with their ``rank``.
    """
    distances, partitions = [np.empty(0, np.uint32)], [np.empty(0, np.int64)]
    for batch in spool.batches():
        distances.append(hilbert_distances(centres(batch), spool.low, spool.side))
        partitions.append(number_of(batch))
    numbers = np.concatenate(partitions)
    order = np.lexsort((np.concatenate(distances), numbers))
    ends = _ends(numbers[order], spool.sizes[order])
    nowhere = np.array([np.inf, np.inf, -np.inf, -np.inf])
    groups = [RowGroup(int(numbers[order[end - 1]]), nowhere.copy(), []) for end in ends]
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    begin = count = 0
    with pa.OSFile(str(spool.path)) as file, pa.ipc.open_file(file) as reader:
        schema = reader.schema.append(pa.field("rank", pa.int64()))
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, schema, options=_OPTIONS) as writer:
        for batch in spool.batches():
            for number, piece in _pieces(batch, rank[begin : begin + len(batch)], ends, schema):
                writer.write_batch(piece)
                _add_piece(groups[number], piece, count)
                count += 1
            begin += len(batch)
    spool.path.unlink()  # all of it is in the pieces
    return groups


def _pieces(
    batch: pa.RecordBatch, ranks: NDArray[np.int64], ends: NDArray[np.int64], schema: pa.Schema
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Features of a batch by their row groups."""
    places = np.argsort(ranks)
    ranks = ranks[places]
    ranked = pa.record_batch([*batch.take(pa.array(places)).columns, pa.array(ranks)], schema=schema)
    numbers = np.searchsorted(ends, ranks, side="right")
    starts = np.flatnonzero(np.diff(numbers, prepend=-1)).tolist()
    for start, end in zip(starts, [*starts[1:], len(ranks)], strict=True):
        yield int(numbers[start]), ranked.slice(start, end - start)


def _add_piece(group: RowGroup, piece: pa.RecordBatch, number: int) -> None:
    left, bottom, right, top = (edge.to_numpy() for edge in piece.column("bbox").flatten())
    group.bounds[:2] = np.fmin(group.bounds[:2], [np.fmin.reduce(left), np.fmin.reduce(bottom)])
    group.bounds[2:] = np.fmax(group.bounds[2:], [np.fmax.reduce(right), np.fmax.reduce(top)])
    group.pieces.append(number)


def read_groups(path: Path, groups: Iterable[RowGroup]) -> Iterator[pa.RecordBatch]:
    """Read row groups of `sort_features`, one at a time."""
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        for group in groups:
            table = pa.Table.from_batches(map(reader.get_batch, group.pieces), reader.schema)
            table = table.take(pc.sort_indices(table, sort_keys=[("rank", "ascending")])).drop_columns("rank")
            yield table.combine_chunks().to_batches()[0]


def _ends(partitions: NDArray[np.int64], sizes: NDArray[np.int32]) -> NDArray[np.int64]:
    """Where row groups of sorted features end: one is full with the feature that reaches the bytes of a batch."""
    bytes_before = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    borders = [*np.flatnonzero(np.diff(partitions)) + 1, len(partitions)]
    ends, begin = [], 0
    for border in borders:
        while begin < border:
            full = int(np.searchsorted(bytes_before, bytes_before[begin] + stream.BATCH_BYTES))
            begin = min(begin + stream.BATCH, full, border)
            ends.append(begin)
    return np.array(ends, np.int64)


def hilbert_distances(places: Centres, low: NDArray[np.float64], side: float) -> NDArray[np.uint32]:
    """Distances along a Hilbert curve over a square from its lower left corner; what lies nowhere goes first."""
    points = gpd.points_from_xy(*np.where(np.isnan(places), low, places).T)
    square = [*low.tolist(), *(low + side).tolist()]
    return gpd.GeoSeries(points).hilbert_distance(total_bounds=square).to_numpy()  # type: ignore[no-any-return]
