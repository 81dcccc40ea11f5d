"""Polygons of a raster that no memory holds: traces of blocks, and the stitch over their borders.

Strategy. A face of a block that touches no inner border is complete. The others are open, and along each inner side
of the block the trace says which open face every pixel belongs to. The stitch reads the sides of all blocks first
(two numbers a border pixel, one row of blocks at a time) and unites open faces where equal labels face each other;
then it goes through the rows of blocks once more, and emits every face in the row that holds its first pixel. Each
union is made of whole pieces in integers and brought into canonical form, so no layout of blocks can be seen in the
result. This module knows blocks as places and windows; it does not know who traces them, or when.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import BlockError, OutputError
from geoseg.grid import Window
from geoseg.vectorize.connected import components
from geoseg.vectorize.faces import Faces, Labels, number_faces, outline
from geoseg.vectorize.rings import Integers, Rings, offsets, split_on_border
from geoseg.vectorize.union import unite

Place = tuple[int, int]
"""Row and column of a block."""


class _StoredArrays(Mapping[str, NDArray[Any]]):
    """The arrays of a file, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                array: NDArray[Any] = arrays[name]
                return array
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise OutputError(
                f"the trace '{self.path}' cannot be read ({error}); run again with --overwrite"
            ) from error

    def __iter__(self) -> Iterator[str]:
        with np.load(self.path, allow_pickle=False) as arrays:
            return iter(arrays.files)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class Trace:
    """The polygons of one block, in pixel coordinates of the raster.

    Attributes
    ----------
    arrays : mapping of str to ndarray
        Everything as plain arrays, of this process or of a file.
    """

    arrays: Mapping[str, NDArray[Any]]

    @property
    def window(self) -> Window:
        """The block's core in the raster."""
        return Window(*(int(number) for number in self.arrays["window"]))

    @property
    def raster_shape(self) -> tuple[int, int]:
        """Height and width of the raster, px."""
        height, width = self.arrays["raster_shape"]
        return int(height), int(width)

    @property
    def complete(self) -> Faces:
        """Faces that touch no inner border of the block."""
        return self._faces("complete")

    @property
    def open(self) -> Faces:
        """Faces that may go on in a neighbouring block."""
        return self._faces("open")

    @property
    def open_labels(self) -> Integers:
        """Labels of the open faces."""
        labels: Integers = self.arrays["open_numbers"][0]
        return labels

    def side(self, name: str) -> Integers:
        """Which open face each pixel along a side belongs to, -1 = nodata; empty on the raster's edge."""
        return self.arrays[name].astype(np.int64)

    def save(self, path: Path) -> None:
        """Write the trace to a temporary name beside the path, then rename it.

        Raises
        ------
        OutputError
            The folder cannot be written.
        """
        unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            with unfinished.open("wb") as file:
                _write_arrays(file, self.arrays)
            os.replace(unfinished, path)
        except OSError as error:
            unfinished.unlink(missing_ok=True)
            raise OutputError(
                f"the trace '{path}' cannot be written ({error.strerror}); free the disk or choose another output"
            ) from error

    @classmethod
    def load(cls, path: Path) -> Trace:
        """Open a trace; its arrays are read when they are used.

        Raises
        ------
        OutputError
            When an array is used and the file is missing or damaged.
        """
        return cls(_StoredArrays(Path(path)))

    def _faces(self, group: str) -> Faces:
        label, pixels, confidence_sum, key = self.arrays[f"{group}_numbers"]
        rings = Rings(*(self.arrays[f"{group}_{name}"].astype(np.int64) for name in ("xy", "rings", "polygons")))
        return Faces(label, pixels, confidence_sum, key, rings)


def _write_arrays(file: BinaryIO, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write what ``numpy.load`` reads; deflated at the fastest level, which costs a third of numpy's own."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            member = zipfile.ZipInfo(f"{name}.npy")  # without the time: equal traces give equal bytes
            archive.writestr(member, content.getbuffer(), zipfile.ZIP_DEFLATED, compresslevel=1)


def trace(
    labels: Labels,
    confidence: Labels | None,
    origin: Window,
    raster_shape: tuple[int, int],
    nodata: int = 255,
) -> Trace:
    """Trace the polygons of one block.

    Parameters
    ----------
    labels : uint8, shape (y, x)
        Classes of the block's core.
    confidence : uint8, shape (y, x), or None
        How sure each pixel is, 255 = certain.
    origin : Window
        The block's core in the raster.
    raster_shape : (int, int)
        Height and width of the raster, px.
    nodata : int
        The label that is never a face.

    Returns
    -------
    Trace
        Complete faces, open faces, and who touches the inner sides.
    """
    numbered = number_faces(labels, confidence, nodata)
    faces = _in_raster(outline(labels, numbered), origin, raster_shape[1])
    inner = _inner_sides(numbered.number, origin, raster_shape)
    touched = np.unique(np.concatenate(list(inner.values())))
    opened = touched[touched >= 0]
    # The last entry stands for nodata, so that -1 finds it.
    place_of = np.full(len(faces) + 1, -1, np.int32)
    place_of[opened] = np.arange(len(opened))
    return Trace(
        {
            "window": np.array([origin.y, origin.x, origin.height, origin.width]),
            "raster_shape": np.array(raster_shape),
            **{name: place_of[side] for name, side in inner.items()},
            **_arrays("complete", faces.take(np.setdiff1d(np.arange(len(faces)), opened))),
            **_arrays("open", faces.take(opened)),
        }
    )


def _in_raster(faces: Faces, origin: Window, raster_width: int) -> Faces:
    """Count pixels and corners of a block from the raster's upper left corner."""
    y, x = np.divmod(faces.key, origin.width)
    key = (y + origin.y) * raster_width + x + origin.x
    return Faces(faces.label, faces.pixels, faces.confidence_sum, key, faces.rings.shift(origin.x, origin.y))


def _inner_sides(number: NDArray[np.int32], core: Window, shape: tuple[int, int]) -> dict[str, NDArray[np.int32]]:
    """Face numbers along each side of a block; nothing along the raster's own edges."""
    height, width = shape
    sides = {
        "top": (core.y > 0, number[0]),
        "right": (core.right < width, number[:, -1]),
        "bottom": (core.bottom < height, number[-1]),
        "left": (core.x > 0, number[:, 0]),
    }
    return {name: side if is_inner else side[:0] for name, (is_inner, side) in sides.items()}


def _arrays(group: str, faces: Faces) -> dict[str, NDArray[Any]]:
    """Faces as plain arrays; pixel coordinates fit 32 bits."""
    return {
        f"{group}_numbers": np.stack([faces.label, faces.pixels, faces.confidence_sum, faces.key]),
        f"{group}_xy": faces.rings.xy.astype(np.int32),
        f"{group}_rings": faces.rings.rings.astype(np.int32),
        f"{group}_polygons": faces.rings.polygons.astype(np.int32),
    }


def stitch(traces: Mapping[Place, Callable[[], Trace]], raster_width: int) -> Iterator[Faces]:
    """Unite the faces of all blocks over their borders.

    Memory is bounded by the faces that begin in one row of blocks, and a few numbers for each open face.

    Parameters
    ----------
    traces : mapping of (row, column) to callable
        Opens the trace of each block that was traced; nothing is joined across a missing one.
    raster_width : int
        Width of the raster, px.

    Yields
    ------
    Faces
        Those that begin in one row of blocks, sorted by key, never none. One after another they are the same
        sequence for every layout of blocks.

    Raises
    ------
    BlockError
        A trace is of another raster.
    """
    seam = _join(traces, raster_width)
    for row in sorted({place[0] for place in traces}):
        complete = [traces[place]().complete for place in sorted(traces) if place[0] == row]
        faces = Faces.concatenate([*complete, _united(traces, seam, row)])
        if len(faces):
            yield faces.take(np.argsort(faces.key))


@dataclass(frozen=True)
class _Seam:
    """Which open faces are one.

    Attributes
    ----------
    places : list of Place
        The blocks, in raster order.
    begins : int64, shape (block + 1,)
        Where the open faces of each block begin when all are counted through, and the end.
    root : int64, shape (open face,)
        The first of the open faces that each one is united with.
    """

    places: list[Place]
    begins: Integers
    root: Integers

    def beginning_in(self, row: int) -> Integers:
        """Open faces, counted through, whose united face has its first piece in a row of blocks."""
        rows = np.array([place[0] for place in self.places])
        first, last = np.searchsorted(rows, [row, row + 1])
        return np.flatnonzero((self.root >= self.begins[first]) & (self.root < self.begins[last]))


def _join(traces: Mapping[Place, Callable[[], Trace]], raster_width: int) -> _Seam:
    """Read the sides of all blocks, a row at a time, and unite what faces each other with equal labels."""
    places = sorted(traces)
    counts: list[int] = []
    links: list[Integers] = [np.empty((2, 0), np.int64)]
    bottoms: dict[Place, _Side] = {}
    right: tuple[Place, _Side] | None = None
    begin = 0
    for row, col in places:
        opened = traces[row, col]()
        if opened.raster_shape[1] != raster_width:
            raise BlockError(
                f"the trace of block {row}-{col} is of a raster {opened.raster_shape[1]} px wide, not {raster_width}; "
                "run again with --overwrite"
            )
        labels = opened.open_labels
        if right is not None and right[0] == (row, col - 1):
            links.append(_links(right[1], _Side(opened.side("left"), labels, begin)))
        if (above := bottoms.pop((row - 1, col), None)) is not None:
            links.append(_links(above, _Side(opened.side("top"), labels, begin)))
        bottoms[row, col] = _Side(opened.side("bottom"), labels, begin)
        right = (row, col), _Side(opened.side("right"), labels, begin)
        counts.append(len(labels))
        begin += len(labels)
    one, other = np.concatenate(links, axis=1)
    return _Seam(places, offsets(np.array(counts)), components(begin, one, other))


@dataclass(frozen=True)
class _Side:
    """One side of a block: the open face of each pixel, labels of the open faces, and the number of the first."""

    face: Integers
    labels: Integers
    begin: int


def _links(one: _Side, other: _Side) -> Integers:
    """Pairs of open faces that face each other with equal labels, int64, shape (2, link)."""
    valid = (one.face >= 0) & (other.face >= 0)
    first, second = one.face[valid], other.face[valid]
    equal = one.labels[first] == other.labels[second]
    pairs = np.stack([first[equal] + one.begin, second[equal] + other.begin])
    return np.unique(pairs, axis=1)


def _united(traces: Mapping[Place, Callable[[], Trace]], seam: _Seam, row: int) -> Faces:
    """Unite the open faces that begin in a row of blocks; each block that has pieces of them is opened once."""
    wanted = seam.beginning_in(row)
    block_of = np.searchsorted(seam.begins, wanted, side="right") - 1
    pieces = []
    for block in np.unique(block_of):
        opened = traces[seam.places[block]]()
        faces = opened.open.take(wanted[block_of == block] - seam.begins[block])
        pieces.append(replace(faces, rings=split_on_border(faces.rings, opened.window)))
    return _unite(Faces.concatenate(pieces), seam.root[wanted])


def _unite(pieces: Faces, root: Integers) -> Faces:
    """Make one face of all pieces with one root."""
    if len(pieces) == 0:
        return pieces
    order = np.argsort(root, kind="stable")
    starts = np.flatnonzero(np.diff(root[order], prepend=-1))
    face = np.empty(len(root), np.int64)
    face[order] = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(root)))
    return Faces(
        pieces.label[order][starts],
        np.add.reduceat(pieces.pixels[order], starts),
        np.add.reduceat(pieces.confidence_sum[order], starts),
        np.minimum.reduceat(pieces.key[order], starts),
        unite(pieces.rings, face),
    )
