"""What is known of the polygons of one rectangle of the raster: arcs, nodes and parts that may go on outside.

A piece comes from a block's labels or from smaller pieces that were joined. It owns the pixel corners of
``[top, bottom) x [left, right)``, and those on the raster's own lower and right edge, so each corner of the raster is
classified once. An arc that leaves the owned corners ends in a stub. The last step of either way is `resolve`: what can
no longer change is simplified and becomes faces, what can is kept.

What can still change, and so stays open: parts that touch an arc with a stub, or the end of a side (a side without any
crack has no stub, but all its pixels are one part); and both parts of an arc whose two end nodes carry arcs with stubs,
because one of those might turn out to have the same two ends.

Where holes are filled, regions of void are parts as well. A hole is filled when the void in it borders no other face,
and that is known once the ring around it is: whatever lies in a ring lies in the piece. A face in it may have been
complete in a smaller piece already: so void that goes on outside, or borders a face that is kept, is kept as well, and
says whether a complete face borders it.

It knows the algebra of pieces, nothing of files or tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeVar

import numpy as np
from affine import Affine
from numba import njit
from numpy.typing import NDArray

from geoseg.arcs.chains import Chains, Coordinates, Floats, Integers
from geoseg.arcs.faces import Faces
from geoseg.arcs.guard import VertexIndex, vertices_near
from geoseg.arcs.metric import Metric
from geoseg.arcs.parts import VOID, Parts
from geoseg.arcs.rings import Fillable, chain_rings
from geoseg.arcs.simplification import Simplification, kept_vertices
from geoseg.arcs.smoothing import round_corners
from geoseg.arcs.taking import taken_area, waiting
from geoseg.arcs.tracing import CLOSED, FREE, TWIN, Arcs, Nodes
from geoseg.grid import Window
from geoseg.raster import PixelAreas
from geoseg.vectorize.least import Least, charge, decide

CELL = 2_048
"""Distance of the cutting lines, px, counted from the raster's first pixel."""

GONE = -3
"""A part that is a face already."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Holes:
    """Holes that are filled: those that are smaller than an area.

    Attributes
    ----------
    least : float
        What a hole must have to stay: pixels, or units of ``areas``.
    areas : PixelAreas, optional
        What a pixel counts where the hole begins; 1 unless given.
    """

    least: float
    areas: PixelAreas | None = None

    def fills(self, area: Floats, start: NDArray[Any]) -> Flags:
        """Whether holes of some areas, squared px, are filled; ``start`` has each one's column and row."""
        size = area if self.areas is None else area * self.areas.at(start[:, 1] - 0.5, start[:, 0] - 0.5)
        return size < self.least


@dataclass(frozen=True)
class Shaping:
    """What polygons are to look like.

    Attributes
    ----------
    metric : Metric
        How steps of pixels become CRS units.
    simplification : Simplification
        How much is removed.
    max_vertices : int, optional
        A face whose boundary has more vertices, before any is removed, is cut along lines `CELL` px apart; without it
        no face ever is, and memory is bounded by the largest face.
    connectivity : int
        4: faces that touch at a corner are two features; 8: they are one.
    holes : Holes, optional
        Which holes of void are filled in which no face lies; none unless given.
    least : Least, optional
        What simplification must leave of polygons; nothing unless given.
    keeps_outer : bool
        Boundaries to where there is no label stay as they are: a region that polygons are clipped to needs all of the
        pixels it touches.
    """

    metric: Metric = Metric.of(Affine.identity())  # noqa: RUF009 - frozen
    simplification: Simplification = Simplification(0.0)  # noqa: RUF009 - frozen
    max_vertices: int | None = None
    connectivity: Literal[4, 8] = 4
    holes: Holes | None = None
    least: Least | None = None
    keeps_outer: bool = False

    @property
    def margin(self) -> int | None:
        """How far simplification reaches, px; None where it may take as much as it likes."""
        if self.least is None or self.simplification.tolerance == 0:
            return None
        return max(self.metric.reach(self.simplification.reach))


@dataclass(frozen=True)
class Piece:
    """Arcs and parts of a rectangle that may go on outside of it.

    Attributes
    ----------
    window : Window
        The rectangle.
    raster_shape : (int, int)
        Height and width of the raster, px.
    arcs, nodes, parts : Arcs, Nodes, Parts
        What is open, and what bounds it.
    side_ends : int32, shape (4,)
        Parts of the last pixel along the top, right, bottom and left side: just outside the rectangle at the top and
        at the left, just inside at the others; -1 of void without a number, and on the raster's own edge.
    guard_x, guard_y : int32, shape (vertex,)
        Vertices of the whole map that a chord of an open arc might come near.
    """

    window: Window
    raster_shape: tuple[int, int]
    arcs: Arcs
    nodes: Nodes
    parts: Parts
    side_ends: Coordinates
    guard_x: Coordinates
    guard_y: Coordinates

    @property
    def open_sides(self) -> tuple[int | None, int | None, int | None, int | None]:
        """Lattice row or column of the top, right, bottom and left side; None on the raster's own edge."""
        return _open_sides(self.window, self.raster_shape)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as plain arrays, each under a name."""
        return {
            "window": np.array([self.window.y, self.window.x, self.window.height, self.window.width]),
            "raster_shape": np.array(self.raster_shape),
            **{f"chains.{field.name}": getattr(self.arcs.chains, field.name) for field in fields(Chains)},
            **{f"arcs.{field.name}": getattr(self.arcs, field.name) for field in fields(Arcs)[1:]},
            **{f"nodes.{field.name}": getattr(self.nodes, field.name) for field in fields(Nodes)},
            **{f"parts.{field.name}": getattr(self.parts, field.name) for field in fields(Parts)},
            **{name: getattr(self, name) for name in ("side_ends", "guard_x", "guard_y")},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Piece:
        """Make a piece of what `to_arrays` gave; KeyError when something is missing."""

        def table(name: str, kind: type[Any]) -> dict[str, Any]:
            return {key.name: arrays[f"{name}.{key.name}"] for key in fields(kind) if key.name != "chains"}

        height, width = (int(number) for number in arrays["raster_shape"])
        return cls(
            Window(*(int(number) for number in arrays["window"])),
            (height, width),
            Arcs(chains=Chains(**table("chains", Chains)), **table("arcs", Arcs)),
            Nodes(**table("nodes", Nodes)),
            Parts(**table("parts", Parts)),
            arrays["side_ends"],
            arrays["guard_x"],
            arrays["guard_y"],
        )


def _open_sides(window: Window, raster_shape: tuple[int, int]) -> tuple[int | None, int | None, int | None, int | None]:
    height, width = raster_shape
    return (
        window.y if window.y > 0 else None,
        window.right if window.right < width else None,
        window.bottom if window.bottom < height else None,
        window.x if window.x > 0 else None,
    )


Table = TypeVar("Table", Arcs, Nodes, Parts)


def concatenated(items: Sequence[Table]) -> Table:
    """Put tables one after another, column by column."""
    columns: dict[str, Any] = {}
    for field in fields(items[0]):
        values = [getattr(item, field.name) for item in items]
        columns[field.name] = Chains.concatenate(values) if field.name == "chains" else np.concatenate(values)
    return type(items[0])(**columns)


def void_piece(like: Piece, window: Window) -> Piece:
    """A piece of the raster of another one in which no face lies."""
    none = np.empty(0, np.int64)
    return Piece(
        window,
        like.raster_shape,
        like.arcs.take(none),
        Nodes(*(getattr(like.nodes, field.name)[none] for field in fields(Nodes))),
        Parts.void(1),
        np.array([VOID if side is None else 0 for side in _open_sides(window, like.raster_shape)], np.int32),
        like.guard_x[none],
        like.guard_y[none],
    )


def resolve(piece: Piece, shaping: Shaping) -> tuple[Faces, Piece]:
    """Turn what is complete into faces, and keep the rest.

    Parameters
    ----------
    piece : Piece
        With every vertex that its arcs need as guards.
    shaping : Shaping
        The same for all pieces of a raster.

    Returns
    -------
    faces : Faces
        Sorted by key.
    rest : Piece
        What is open.
    """
    arcs, nodes = piece.arcs, piece.nodes
    is_cut = _at_both_ends(arcs, nodes.stub >= 0, np.logical_or)
    is_held = np.zeros(len(nodes), bool)
    is_held[arcs.start[is_cut]] = is_held[arcs.end[is_cut]] = True
    is_unsure = _at_both_ends(arcs, is_held, np.logical_and) & (arcs.start != arcs.end) & ~is_cut & ~arcs.is_settled
    is_open = is_cut | is_unsure
    keep = np.maximum(arcs.keep, _keep(arcs.start, arcs.end, nodes.half_edges))
    known = arcs.is_settled
    arcs = _settled(replace(arcs, keep=keep), is_open, piece, shaping)

    parts = _with_giants(piece.parts, shaping.max_vertices)
    is_open_part = _touched(len(parts), [arcs.left[is_open], arcs.right[is_open], piece.side_ends])
    if shaping.least is not None:
        parts = charge(parts, arcs, arcs.is_settled & ~known)
        is_open_group = _touched(len(parts), [parts.group[is_open_part]])[parts.group]
        arcs = decide(arcs, parts, is_open_group, shaping.least, piece.raster_shape[1])
        is_open_part |= _touched(len(parts), [arcs.left[arcs.is_waiting], arcs.right[arcs.is_waiting]])
    is_open_group = _touched(len(parts), [parts.group[is_open_part]])
    is_kept = np.where(parts.is_giant, is_open_part, is_open_group[parts.group]) & ~parts.is_void
    is_complete = ~is_kept & ~parts.is_void
    faces = _emit(arcs, nodes, parts, is_complete, shaping)
    if shaping.holes is not None:
        parts = _marked(parts, arcs, is_complete)
    return faces, _rest(replace(piece, arcs=arcs, parts=parts), is_open, is_kept, shaping)


def _at_both_ends(arcs: Arcs, flags: Flags, combine: np.ufunc) -> Flags:
    """Combine a flag of the two end nodes of each arc; False for closed ones."""
    found: Flags = combine(flags[arcs.start], flags[arcs.end]) if len(flags) else np.zeros(len(arcs), bool)
    return found & (arcs.start >= 0)


def _touched(count: int, indices: list[Coordinates]) -> Flags:
    """Flags of the parts that are named; negative names belong to no part."""
    found = np.zeros(count, bool)
    for index in indices:
        found[index[index >= 0]] = True
    return found


@njit(cache=True, nogil=True)
def _keep(start: Coordinates, end: Coordinates, half_edges: Coordinates) -> NDArray[np.uint8]:
    """Closed arcs and loops, and arcs that share both end nodes with another one: twins."""
    keep = np.full(start.size, FREE, np.uint8)
    for arc in range(start.size):
        if start[arc] == end[arc]:
            keep[arc] = CLOSED
            continue
        for half_edge in half_edges[start[arc]]:
            other = half_edge >> 1
            if half_edge >= 0 and other != arc:
                far = start[other] if half_edge & 1 else end[other]
                if far == end[arc]:
                    keep[arc] = TWIN
    return keep


def _settled(arcs: Arcs, is_open: Flags, piece: Piece, shaping: Shaping) -> Arcs:
    """Simplify and smooth the arcs that can no longer change."""
    chosen = ~is_open & ~arcs.is_settled
    if shaping.simplification.tolerance > 0 and chosen.any():
        index = VertexIndex.of(piece.guard_x, piece.guard_y)
        removed = chosen & ~_is_outer(arcs, piece.parts) if shaping.keeps_outer else chosen
        how, metric = shaping.simplification, shaping.metric
        kept = kept_vertices(arcs.chains, removed, arcs.keep, index, metric, how)
        chains = arcs.chains.keep(kept)
        if how.smoothing is not None:
            chains = round_corners(arcs.chains, chains, removed, arcs.start < 0, index, metric, how.tolerance)
        if shaping.least is not None:
            taken = np.where(removed, taken_area(arcs.chains, chains, removed, arcs.start < 0), arcs.taken)
            chains = waiting(arcs.chains, chains, kept)
            arcs = replace(arcs, taken=taken, is_waiting=arcs.is_waiting | removed)
        arcs = replace(arcs, chains=chains)
    return replace(arcs, is_settled=arcs.is_settled | chosen)


def _with_giants(parts: Parts, max_vertices: int | None) -> Parts:
    """Mark the parts of features with too many vertices; counts only grow, so every layout marks the same ones."""
    if max_vertices is None:
        return parts
    vertices = np.bincount(parts.group, weights=parts.vertices, minlength=len(parts))
    is_giant = (vertices > max_vertices) | _touched(len(parts), [parts.group[parts.is_giant]])
    return replace(parts, is_giant=is_giant[parts.group])


def _emit(arcs: Arcs, nodes: Nodes, parts: Parts, is_wanted: Flags, shaping: Shaping) -> Faces:
    """Make polygons of complete faces, and of the complete parts of giant ones."""
    wanted = np.flatnonzero(is_wanted)
    if len(wanted) == 0:
        return Faces.empty()
    is_alone = parts.is_giant[wanted]
    _, first, unit = np.unique(np.where(is_alone, wanted, parts.face[wanted]), return_index=True, return_inverse=True)
    key = _smallest(parts.key[wanted], unit)
    _, feature = np.unique(np.where(is_alone, wanted, parts.group[wanted])[first], return_inverse=True)
    group = _smallest(key, feature)[feature]
    rank = np.empty(len(key), np.int32)
    order = np.lexsort((key, group))
    rank[order] = np.arange(len(key), dtype=np.int32)
    polygon = np.full(len(parts) + 1, -1, np.int32)
    polygon[wanted] = rank[unit]
    return Faces(
        parts.label[wanted][first][order],
        _sums(parts.pixels[wanted], unit)[order],
        _sums(parts.confidence_sum[wanted], unit)[order],
        key[order],
        group[order],
        chain_rings(arcs, nodes, polygon, len(key), _fillable(arcs, parts, shaping.holes)),
    )


def _fillable(arcs: Arcs, parts: Parts, holes: Holes | None) -> Fillable | None:
    """Void that borders one face only, and how much of it goes; None where none does."""
    if holes is None:
        return None
    least, most = np.full(len(parts), len(parts)), np.full(len(parts), -1)
    for side, other in _sides(arcs):
        is_beside = _of_parts(side, parts.is_void)
        face = parts.face[other[is_beside]]
        np.minimum.at(least, side[is_beside], face)
        np.maximum.at(most, side[is_beside], face)
    is_alone = parts.is_void & (least == most) & ~parts.borders_faces
    return Fillable(np.append(is_alone, False), holes.fills)


def _marked(parts: Parts, arcs: Arcs, is_complete: Flags) -> Parts:
    """Mark the void that borders faces that are complete."""
    beside = [side[_of_parts(side, parts.is_void) & _of_parts(other, is_complete)] for side, other in _sides(arcs)]
    return replace(parts, borders_faces=parts.borders_faces | _touched(len(parts), beside))


def _sides(arcs: Arcs) -> tuple[tuple[Coordinates, Coordinates], tuple[Coordinates, Coordinates]]:
    """Each side of the arcs, with the other one."""
    return (arcs.left, arcs.right), (arcs.right, arcs.left)


def _is_outer(arcs: Arcs, parts: Parts) -> Flags:
    """Arcs with void on a side."""
    left, right = ((side == VOID) | _of_parts(side, parts.is_void) for side in (arcs.left, arcs.right))
    found: Flags = left | right
    return found


def _smallest(values: Integers, group: Integers) -> Integers:
    """The smallest value of each group."""
    found = np.full(group.max() + 1, np.iinfo(np.int64).max)
    np.minimum.at(found, group, values)
    return found


def _sums(values: Integers, group: Integers) -> Integers:
    """Sum by group; exact below 2 ** 53."""
    return np.bincount(group, weights=values).astype(np.int64)


def _rest(piece: Piece, is_open: Flags, is_kept: Flags, shaping: Shaping) -> Piece:
    """Keep open arcs, all arcs of parts that stay, their nodes, and the vertices that open arcs may come near."""
    arcs, nodes, parts = piece.arcs, piece.nodes, piece.parts
    arc = np.flatnonzero(is_open | _of_parts(arcs.left, is_kept) | _of_parts(arcs.right, is_kept))
    is_near = _touched(len(parts), [arcs.left[arc], arcs.right[arc], piece.side_ends])
    part = np.flatnonzero(is_kept | (parts.is_void & is_near))
    node = np.unique(np.concatenate([arcs.start[arc], arcs.end[arc]]))
    node = node[node >= 0]
    arc_number, part_number = _numbers(arc, len(arcs)), _numbers(part, len(parts))
    guard_x, guard_y = _guards(piece, is_open, shaping)
    return Piece(
        piece.window,
        piece.raster_shape,
        _take_arcs(arcs, arc, _numbers(node, len(nodes)), part_number),
        _take_nodes(nodes, node, arc_number, part_number),
        _take_parts(parts, part),
        _renamed(piece.side_ends, part_number),
        guard_x,
        guard_y,
    )


def _of_parts(part: Coordinates, flags: Flags) -> Flags:
    """Look a flag up; False for what is no part."""
    return np.append(flags, False)[np.where(part >= 0, part, len(flags))]


def _numbers(index: Integers, count: int) -> Coordinates:
    """New numbers of what is taken, -1 for the rest and for the last entry, which stands for -1."""
    number = np.full(count + 1, -1, np.int32)
    number[index] = np.arange(len(index), dtype=np.int32)
    return number


def _renamed(part: Coordinates, number: Coordinates) -> Coordinates:
    """Parts by their new numbers; those that are not taken are gone, and negative ones stay what they are."""
    renamed = np.where(part >= 0, number[np.maximum(part, 0)], part)
    return np.where((part >= 0) & (renamed < 0), GONE, renamed).astype(np.int32)


def _take_arcs(arcs: Arcs, index: Integers, node: Coordinates, part: Coordinates) -> Arcs:
    taken = arcs.take(index)
    return replace(
        taken,
        start=node[taken.start],
        end=node[taken.end],
        left=_renamed(taken.left, part),
        right=_renamed(taken.right, part),
    )


def _take_nodes(nodes: Nodes, index: Integers, arc: Coordinates, part: Coordinates) -> Nodes:
    half_edges = nodes.half_edges[index]
    kept = arc[half_edges >> 1]
    half_edges = np.where((half_edges >= 0) & (kept >= 0), 2 * kept + (half_edges & 1), -1).astype(np.int32)
    return Nodes(
        nodes.x[index],
        nodes.y[index],
        nodes.code[index],
        half_edges,
        _renamed(nodes.around[index], part),
        nodes.stub[index],
    )


def _take_parts(parts: Parts, index: Integers) -> Parts:
    """Parts that stay; faces and groups are named by the first of them."""
    return Parts(
        parts.label[index],
        parts.pixels[index],
        parts.confidence_sum[index],
        parts.key[index],
        parts.vertices[index],
        parts.lost[index],
        parts.sheltered[index],
        _first(parts.face[index], len(parts)),
        _first(parts.group[index], len(parts)),
        parts.is_giant[index],
        parts.is_void[index],
        parts.borders_faces[index],
    )


def _first(name: Coordinates, count: int) -> Coordinates:
    """Rename what has equal names to the place of the first one."""
    first = np.empty(count, np.int32)
    first[name[::-1]] = np.arange(len(name), dtype=np.int32)[::-1]
    return first[name]


def _guards(piece: Piece, is_open: Flags, shaping: Shaping) -> tuple[Coordinates, Coordinates]:
    """Vertices that a later chord or curve may need to see: those within reach of open arcs and open sides."""
    x, y = piece.guard_x, piece.guard_y
    if shaping.simplification.tolerance == 0:
        return x[:0], y[:0]
    reach = shaping.metric.reach(shaping.simplification.reach)
    near = vertices_near(x, y, piece.arcs.chains, is_open, piece.open_sides, reach)
    return x[near], y[near]
