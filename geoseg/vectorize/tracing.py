"""The piece of one block: its labels to arcs, nodes and parts.

A block reads one more pixel above and left of its own, so that it sees all four pixels around each corner that it owns.
It knows arrays and where they lie in the raster; nothing of files or tasks.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.arcs.faces import CERTAIN, Faces
from geoseg.arcs.parts import (
    VOID,
    Parts,
    number_parts,
    number_voids,
    run_at,
    sheltered_pixels,
    sum_parts,
    unite_pairs,
)
from geoseg.arcs.scanning import Corners, Flags, Runs, scan
from geoseg.arcs.tracing import CROSSING, Arcs, Nodes, trace_arcs
from geoseg.grid import Window
from geoseg.vectorize.pieces import CELL, Piece, Shaping, concatenated, resolve

Labels = NDArray[Any]


def polygonize(
    labels: Labels,
    *,
    confidence: NDArray[np.uint8] | None = None,
    mask: NDArray[np.bool_] | None = None,
    nodata: int | None = 255,
    classes: Collection[int] | None = None,
    shaping: Shaping | None = None,
) -> Faces:
    """Turn an array of labels into polygons, one for each 4-connected region of equal labels.

    Parameters
    ----------
    labels : integers, shape (y, x)
        Classes.
    confidence : uint8, shape (y, x), optional
        How sure each pixel is, 255 = certain; without it every pixel is.
    mask : bool, shape (y, x), optional
        True = valid; invalid pixels belong to no face.
    nodata : int, optional
        The label that is never a face.
    classes : collection of int, optional
        The only labels that are faces.
    shaping : Shaping, optional
        What polygons are to look like: every corner of the pixels, unless given.

    Returns
    -------
    Faces
        In raster order of their first pixels.
    """
    height, width = labels.shape
    if not labels.size:
        return Faces.empty()
    if mask is not None:
        labels, nodata = _recoded(labels, nodata, None)
        labels = np.where(mask, labels, labels.dtype.type(nodata))
    faces, _ = trace(
        labels,
        confidence,
        Window(0, 0, height, width),
        (height, width),
        shaping or Shaping(),
        nodata=nodata,
        classes=classes,
    )
    return faces


def reach_of(core: Window) -> Window:
    """What a block reads: its own pixels, and one more row above and column to the left where there are any."""
    y, x = max(core.y - 1, 0), max(core.x - 1, 0)
    return Window(y, x, core.bottom - y, core.right - x)


def trace(
    labels: Labels,
    confidence: NDArray[np.uint8] | None,
    core: Window,
    raster_shape: tuple[int, int],
    shaping: Shaping,
    *,
    nodata: int | None = 255,
    classes: Collection[int] | None = None,
) -> tuple[Faces, Piece]:
    """Trace the polygons of one block.

    Parameters
    ----------
    labels : integers, shape (y, x)
        Classes of what the block reads, see `reach_of`.
    confidence : uint8, shape (y, x), or None
        How sure each of these pixels is, 255 = certain; without it every pixel is.
    core : Window
        The block's own pixels.
    raster_shape : (int, int)
        Height and width of the raster, px.
    shaping : Shaping
        What polygons are to look like.
    nodata : int, optional
        The label that is never a face.
    classes : collection of int, optional
        The only labels that are faces.

    Returns
    -------
    faces : Faces
        Those that are complete within the block, sorted by key.
    rest : Piece
        What may go on outside.
    """
    labels, void = _recoded(labels, nodata, classes)
    framed = _framed(labels, core, raster_shape, void)
    origin = core.y - 1, core.x - 1
    cell = CELL if shaping.max_vertices is not None else 0
    row_cut, col_cut = (
        _cuts(first, count, size, cell) for first, count, size in zip(origin, framed.shape, raster_shape, strict=True)
    )
    runs, corners = scan(framed, void, row_cut, col_cut)
    part, face = number_parts(runs, framed, void, row_cut)
    beside, voids = part, 0
    if shaping.holes is not None:
        region, voids = number_voids(runs, framed, void)
        beside = np.where(part < 0, region + np.int32(len(face)), part)
    arcs, nodes = trace_arcs(runs, corners, beside, origin, raster_shape)
    weights = np.empty((0, 0), np.uint8) if confidence is None else _framed(confidence, core, raster_shape, 0)
    parts = _parts(runs, part, face, framed, weights, arcs, nodes.stub, origin, raster_shape[1], shaping.margin)
    piece = Piece(
        core,
        raster_shape,
        arcs,
        nodes,
        concatenated([parts, Parts.void(voids, len(face))]),
        _side_ends(runs, beside, core, raster_shape),
        *_own_corners(corners, core, raster_shape),
    )
    if shaping.connectivity == 8:
        piece = replace(piece, parts=_touching(piece.parts, nodes))
    return resolve(piece, shaping)


def _touching(parts: Parts, nodes: Nodes) -> Parts:
    """Make one feature of faces of one label that touch at a corner."""
    crossing = nodes.around[nodes.code == CROSSING]
    pairs = np.concatenate([crossing[:, [0, 3]], crossing[:, [1, 2]]])
    pairs = pairs[(pairs >= 0).all(axis=1)]
    pairs = pairs[(parts.label[pairs[:, 0]] == parts.label[pairs[:, 1]]) & ~parts.is_void[pairs].any(axis=1)]
    group = parts.face.copy()
    unite_pairs(group, pairs)
    return replace(parts, group=group)


def _recoded(labels: Labels, nodata: int | None, classes: Collection[int] | None) -> tuple[Labels, int]:
    """Labels as uint8 or int64, for which loops are compiled, with one label for all that is no face."""
    if labels.dtype != np.uint8:
        labels = labels.astype(np.int64)
    void = nodata
    if void is None or not np.iinfo(labels.dtype).min <= void <= np.iinfo(labels.dtype).max:
        labels, void = _with_free_label(labels)
    if classes is not None and labels.dtype == np.uint8:
        kept = np.full(256, void, np.uint8)
        chosen = [value for value in classes if 0 <= value < len(kept)]
        kept[chosen] = chosen
        # np.take would make an index of eight bytes of each label first
        labels = np.frombuffer(labels.tobytes().translate(kept.tobytes()), np.uint8).reshape(labels.shape)
    elif classes is not None:
        labels = np.where(np.isin(labels, list(classes)), labels, labels.dtype.type(void))
    return labels, void


def _with_free_label(labels: Labels) -> tuple[Labels, int]:
    """Find a label that no pixel has; bytes that have all of them become wider."""
    smallest, largest = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    if largest < np.iinfo(labels.dtype).max:
        return labels, largest + 1
    if smallest > np.iinfo(labels.dtype).min:
        return labels, smallest - 1
    return labels.astype(np.int64), largest + 1


def _framed(values: Labels, core: Window, raster_shape: tuple[int, int], void: int) -> Labels:
    """Put a row above and a column left of a block's own pixels, and void beyond the raster's edges."""
    height, width = raster_shape
    above, left = int(core.y == 0), int(core.x == 0)
    below, right = int(core.bottom == height), int(core.right == width)
    framed = np.full((values.shape[0] + above + below, values.shape[1] + left + right), void, values.dtype)
    framed[above : above + values.shape[0], left : left + values.shape[1]] = values
    return framed


def _cuts(first: int, count: int, size: int, cell: int) -> Flags:
    """1 for rows, or columns, that begin at a cutting line inside of the raster."""
    place = np.arange(first, first + count)
    if not cell:
        return np.zeros(count, np.uint8)
    is_cut: Flags = ((place % cell == 0) & (place > 0) & (place < size)).astype(np.uint8)
    return is_cut


def _parts(
    runs: Runs,
    part: Coordinates,
    face: Coordinates,
    labels: Labels,
    weights: NDArray[np.uint8],
    arcs: Arcs,
    stub: Integers,
    origin: tuple[int, int],
    raster_width: int,
    margin: int | None,
) -> Parts:
    """What is counted in each part of a face in a block; pixels above and left of it belong to others."""
    count = len(face)
    none, no = np.zeros(count, np.int64), np.zeros(count, bool)
    pixels, total, key = sum_parts(runs.start, runs.rows, runs.width, part, count, weights, origin, raster_width)
    row, col = np.divmod(key, raster_width)
    label = labels[row - origin[0], col - origin[1]].astype(np.int64)
    return Parts(
        label,
        pixels,
        total if weights.size else CERTAIN * pixels,
        key,
        _vertices(arcs, stub, label),
        none,
        none if margin is None else sheltered_pixels(runs.start, runs.rows, runs.width, part, count, margin),
        face,
        face,
        no,
        no,
        no,
    )


def _vertices(arcs: Arcs, stub: Integers, label: Integers) -> Integers:
    """Count the vertices on the boundary of each part, each arc on both sides; cutting lines have none.

    A node counts for the part on the left of each half-edge that leaves it.
    """
    found = np.zeros(len(label), np.int64)
    length = np.diff(arcs.chains.offsets)
    closed = arcs.start < 0
    inner = length - np.where(closed, 1, 2)
    is_node = np.append(stub < 0, False)
    left, right = (np.where(side < len(label), side, VOID) for side in (arcs.left, arcs.right))
    is_cut = (left >= 0) & (right >= 0) & (label[left] == label[right]) if len(label) else closed
    for side, node in ((left, arcs.start), (right, arcs.end)):
        counted = ~is_cut & (side >= 0)
        number = inner + is_node[node]
        found += np.bincount(side[counted], weights=number[counted], minlength=len(label)).astype(np.int64)
    return found


def _side_ends(runs: Runs, part: Coordinates, core: Window, raster_shape: tuple[int, int]) -> Coordinates:
    """Parts of the pixels that `Piece.side_ends` names; the block's own pixels begin at row and column 1."""
    height, width = raster_shape
    pixels = [
        (core.y > 0, 0, core.width),
        (core.right < width, core.height, core.width),
        (core.bottom < height, core.height, core.width),
        (core.x > 0, core.height, 0),
    ]
    found = [part[run_at(runs.start, runs.rows, y, x)] if is_open else VOID for is_open, y, x in pixels]
    return np.array(found, np.int32)


def _own_corners(corners: Corners, core: Window, raster_shape: tuple[int, int]) -> tuple[Coordinates, Coordinates]:
    """Corners that the block owns, in the raster's lattice."""
    height, width = raster_shape
    x, y = corners.x + np.int32(core.x - 1), corners.y + np.int32(core.y - 1)
    bottom = core.bottom + (core.bottom == height)
    right = core.right + (core.right == width)
    own = (y >= core.y) & (y < bottom) & (x >= core.x) & (x < right)
    return x[own], y[own]
