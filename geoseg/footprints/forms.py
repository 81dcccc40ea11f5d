"""The forms that the arcs of a network may take: walls, simplified, as traced, or as decided before.

It draws the network for given levels of its arcs; which levels these are to be is the business of `settling`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import shapely

from geoseg.arcs.chains import Integers, offsets_of
from geoseg.footprints.directions import find_directions
from geoseg.footprints.drawing import BY_WALLS, Polylines, draw
from geoseg.footprints.fitting import Walls, fit
from geoseg.footprints.network import FIXED, LOOSE, NOBODY, ON_EDGE, Bytes, Flags, Floats, Network
from geoseg.footprints.nodes import ANY_WAY, BY_COLUMN, BY_ROW, STAY, place_nodes
from geoseg.footprints.plane import Plane
from geoseg.footprints.scene import TracedFaces

STAIRS = 0.75
"""Px: how far the stairs of pixels stray from a straight wall; they are taken off before walls are fitted."""

RIGHT, BENT, NARROW, SIMPLIFIED, TRACED = range(5)
"""Levels: walls at right angles; the same, but those that end at a node may lean; walls of half the tolerance, which
may lean too; simplified; as traced."""

LEAST = 3
"""A ring has more vertices, or it has no area; the last repeats the first."""

Arc = tuple[int, ...]
Place = tuple[float, float]


@dataclass(frozen=True)
class Decided:
    """What is decided of arcs and nodes.

    Attributes
    ----------
    arcs : dict
        Vertices, float64 (vertex, 2), px, by the arc's key in `Network.keys`.
    nodes : dict
        Column and row by those of the node as it was traced, px.
    """

    arcs: dict[Arc, Floats] = field(default_factory=dict)
    nodes: dict[Place, Place] = field(default_factory=dict)


@dataclass(frozen=True)
class Forms:
    """What the arcs of a network may become.

    Attributes
    ----------
    network : Network
    plane : Plane
        Where right angles are right.
    tolerance : float
        In the plane.
    smooth : Polylines
        Arcs without stairs.
    given : Polylines
        Arcs as traced, arcs simplified, and what was decided before.
    pinned : int64, shape (arc,)
        The form of an arc that is decided, a number of ``given``; -1 of others.
    walls : Walls
        Those of arcs that are not pinned.
    node_x, node_y : float64, shape (node,)
        Where nodes are that are not moved, px.
    way : uint8, shape (node,)
        How they may move.
    directions : float64, shape (face,)
        Of faces that are not decided; NaN of others.
    """

    network: Network
    plane: Plane
    tolerance: float
    smooth: Polylines
    given: Polylines
    pinned: Integers
    walls: Walls
    node_x: Floats
    node_y: Floats
    way: Bytes
    directions: Floats

    @classmethod
    def of(cls, scene: TracedFaces, decided: Decided, plane: Plane, tolerance: float) -> Forms:
        """Find the forms of arcs.

        Parameters
        ----------
        scene : TracedFaces
            What is decided stays where it is.
        decided : Decided
            Where that is, if not as it was traced.
        plane, tolerance
            As above.
        """
        network, is_still = scene.network, scene.is_still
        raw = _floats(network)
        stays = (network.hold == FIXED) | network.of_faces(is_still)
        pixel = abs(plane.a * plane.e - plane.b * plane.d) ** 0.5
        smooth = simplified(raw, plane, STAIRS * pixel)
        extra, pinned = _pinned(network, stays, decided)
        given = _joined([raw, simplified(smooth, plane, min(tolerance, 2 * STAIRS * pixel)), extra])
        node_x, node_y = _node_places(network, decided)
        directions = _directions(network, smooth, ~is_still, plane, tolerance)
        walls = Walls.empty(len(pinned), len(smooth.x))
        forms = cls(
            network, plane, tolerance, smooth, given, pinned, walls, node_x, node_y, _ways(network, stays), directions
        )
        forms.fit(np.flatnonzero(pinned < 0), tolerance)
        return forms

    def fit(self, arcs: Integers, tolerance: float) -> None:
        """Fit walls to some arcs, anew where they have any."""
        smooth, network = self.smooth, self.network
        x, y = self.plane.to(smooth.x, smooth.y)
        fit(self.walls, arcs, smooth.offsets, x, y, network.is_closed, network.faces, self.directions, tolerance)

    @cached_property
    def length(self) -> Floats:
        """Of the arcs, in the plane."""
        x, y = self.plane.to(self.smooth.x, self.smooth.y)
        steps = np.append(np.hypot(np.diff(x), np.diff(y)), 0.0)
        length: Floats = np.add.reduceat(steps, self.smooth.offsets[:-1]) - steps[self.smooth.offsets[1:] - 1]
        return length

    @cached_property
    def outer(self) -> Floats:
        """Length of the unshared arcs of each face, in the plane."""
        faces = self.network.faces
        is_alone = (faces[:, 1] == NOBODY) & (self.network.hold == LOOSE)
        return np.bincount(faces[is_alone, 0], self.length[is_alone], minlength=len(self.network)).astype(np.float64)

    def draw(self, arc_level: Integers, is_movable: Flags, shift: Floats) -> tuple[Polylines, Floats]:
        """Draw the network.

        Parameters
        ----------
        arc_level : int64, shape (arc,)
            Level of each arc; what is pinned is drawn as it is.
        is_movable : bool, shape (node,)
            Which nodes follow their walls.
        shift : float64, shape (arc,)
            How far the walls of each arc are moved to their left, in the plane.

        Returns
        -------
        Polylines
            px.
        float64, shape (node, 2)
            Where nodes are, px.
        """
        arcs = np.arange(len(arc_level))
        has_walls = (arc_level <= NARROW) & (self.walls.counts >= 0)
        form = np.select(
            [self.pinned >= 0, has_walls, arc_level < TRACED],
            [self.pinned, np.full_like(arcs, BY_WALLS), arcs + len(arcs)],
            arcs,
        )
        network = self.network
        way = np.where(is_movable, self.way, STAY).astype(np.uint8)
        x, y = place_nodes(
            self.walls, has_walls & (self.pinned < 0), network.nodes, self.smooth.offsets, self.length, shift,
            self.node_x, self.node_y, way, self.plane, self.tolerance,
        )  # fmt: skip
        is_bent = arc_level > RIGHT
        drawn = draw(
            self.walls, form, network.nodes, self.smooth, self.given, shift, is_bent, x, y, self.plane, self.tolerance
        )
        return drawn, np.stack([x, y], axis=1)


def simplified(lines: Polylines, plane: Plane, tolerance: float) -> Polylines:
    """Simplify polylines by Douglas and Peucker's rule, their ends kept; vertices stay what they are, bit for bit."""
    x, y = plane.to(lines.x, lines.y)
    index = np.repeat(np.arange(len(lines.offsets) - 1), np.diff(lines.offsets))
    # The place of a vertex travels as its height.
    points = np.stack([x, y, np.arange(len(x), dtype=np.float64)], axis=1)
    found = shapely.simplify(shapely.linestrings(points, indices=index), tolerance, preserve_topology=False)
    kept, line = shapely.get_coordinates(found, include_z=True, return_index=True)
    vertex = kept[:, 2].astype(np.int64)
    return Polylines(offsets_of(np.bincount(line, minlength=len(lines.offsets) - 1)), lines.x[vertex], lines.y[vertex])


def _floats(network: Network) -> Polylines:
    chains = network.chains
    return Polylines(chains.offsets, chains.x.astype(np.float64), chains.y.astype(np.float64))


def _joined(lines: list[Polylines]) -> Polylines:
    return Polylines(
        offsets_of(np.concatenate([np.diff(item.offsets) for item in lines])),
        np.concatenate([item.x for item in lines]),
        np.concatenate([item.y for item in lines]),
    )


def _ways(network: Network, stays: Flags) -> Bytes:
    """How nodes may move: those of arcs that stay do not, those on the raster's edge along it."""
    way = np.full(len(network.node_xy), ANY_WAY, np.uint8)
    chains = network.chains
    for end, first, step in ((0, chains.offsets[:-1], 1), (1, chains.offsets[1:] - 1, -1)):
        on_edge = np.flatnonzero((network.hold == ON_EDGE) & (network.nodes[:, end] != NOBODY))
        is_by_row = chains.x[first[on_edge]] == chains.x[first[on_edge] + step]
        node = network.nodes[on_edge, end]
        turns = (way[node] != ANY_WAY) & (way[node] != np.where(is_by_row, BY_ROW, BY_COLUMN))
        way[node] = np.where(turns, STAY, np.where(is_by_row, BY_ROW, BY_COLUMN))
    ends = network.nodes[stays]
    way[ends[ends != NOBODY]] = STAY
    return way


def _pinned(network: Network, stays: Flags, decided: Decided) -> tuple[Polylines, Integers]:
    """What was decided of arcs, and the form of each arc, or -1."""
    found: list[Floats] = []
    count = len(network.nodes)
    pinned = np.full(count, -1, np.int64)
    pinned[network.hold == ON_EDGE] = np.flatnonzero(network.hold == ON_EDGE)
    arcs = np.flatnonzero(stays)
    for arc, key in zip(arcs.tolist(), network.keys[arcs].tolist(), strict=True):
        line = decided.arcs.get(tuple(key))
        pinned[arc] = arc if line is None else 2 * count + len(found)
        if line is not None:
            found.append(line)
    xy = np.concatenate([np.empty((0, 2)), *found])
    return Polylines(offsets_of(np.array([len(line) for line in found], np.int64)), xy[:, 0], xy[:, 1]), pinned


def _node_places(network: Network, decided: Decided) -> tuple[Floats, Floats]:
    places: Mapping[Place, Place] = decided.nodes
    xy = [places.get((x, y), (x, y)) for x, y in network.node_xy.tolist()]
    found = np.array(xy, np.float64).reshape(-1, 2)
    return found[:, 0].copy(), found[:, 1].copy()


def _directions(network: Network, smooth: Polylines, wanted: Flags, plane: Plane, tolerance: float) -> Floats:
    """The direction of each wanted face, that of its exterior; NaN of others."""
    directions = np.full(len(network), np.nan)
    faces = np.flatnonzero(wanted)
    outlines = network.assemble(np.stack([smooth.x, smooth.y], axis=1), smooth.offsets, faces)
    exterior = outlines.polygons[:-1]
    is_outline = np.diff(outlines.rings)[exterior] > LEAST
    x, y = plane.to(*outlines.xy.T)
    directions[faces[is_outline]] = find_directions(x, y, outlines.rings, exterior[is_outline], tolerance)
    return directions
