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
from geoseg.footprints.aligning import align, group
from geoseg.footprints.directions import find_directions
from geoseg.footprints.drawing import BY_WALLS, Polylines, draw
from geoseg.footprints.fitting import Walls, fit
from geoseg.footprints.network import FIXED, LOOSE, NOBODY, ON_EDGE, Bytes, Flags, Floats, Network
from geoseg.footprints.nodes import ANY_WAY, BY_COLUMN, BY_ROW, STAY, place_nodes
from geoseg.footprints.plane import Plane
from geoseg.footprints.scene import TracedFaces
from geoseg.footprints.walls import ASKEW

STAIRS = 0.75
"""Px: how far the stairs of pixels stray from a straight wall; they are taken off before walls are fitted."""

ALIGNED, RIGHT, BENT, NARROW, SIMPLIFIED, TRACED = range(6)
"""Levels: walls in the direction of buildings that touch, on common lines; in a face's own direction; the same, but
those that end at a node may lean; walls of half the tolerance, which may lean too; simplified; as traced."""


@dataclass(frozen=True)
class Rules:
    """What walls have to keep.

    Attributes
    ----------
    first : int
        The level that every face begins with.
    askew : float
        Cost of a wall that is not at right angles, as `find_walls` takes it.
    area : float
        How much of its area a face may gain or lose.
    overlap : float
        The least intersection over union with the face as it was traced.
    shortest : float
        In the plane: walls that come out shorter are dropped, as far as there are others.
    """

    first: int = RIGHT
    askew: float = ASKEW
    area: float = 0.05
    overlap: float = 0.85
    shortest: float = 0.0


RIGHT_ANGLES = Rules(ALIGNED, askew=40.0, area=0.15, overlap=0.75)
"""Rules for right angles wherever they can be had."""

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
    rules : Rules
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
    turns : float64, shape (face,)
        From these to the direction that faces have together with those that they touch.
    aligned : (bool, float64, float64), shape (node,)
        Nodes on common lines of walls, and where they are there, px.
    """

    network: Network
    plane: Plane
    tolerance: float
    rules: Rules
    smooth: Polylines
    given: Polylines
    pinned: Integers
    walls: Walls
    node_x: Floats
    node_y: Floats
    way: Bytes
    directions: Floats
    turns: Floats
    aligned: tuple[Flags, Floats, Floats]

    @classmethod
    def of(cls, scene: TracedFaces, decided: Decided, plane: Plane, tolerance: float, rules: Rules) -> Forms:
        """Find the forms of arcs.

        Parameters
        ----------
        scene : TracedFaces
            What is decided stays where it is.
        decided : Decided
            Where that is, if not as it was traced.
        plane, tolerance, rules
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
        pairs, around = scene.neighbours, _perimeters(network, smooth, plane)
        groups, turns = group(*pairs, directions, around)
        if rules.first != ALIGNED:
            turns = np.zeros_like(turns)
        walls, way = Walls.empty(len(pinned), len(smooth.x)), _ways(network, stays)
        x, y = plane.to(smooth.x, smooth.y)
        fit(
            walls, np.flatnonzero(pinned < 0), smooth.offsets, x, y, network.is_closed, network.faces, directions,
            turns, tolerance, rules.askew,
        )  # fmt: skip
        aligned = align(
            walls, pinned < 0, network.nodes, network.faces, smooth.offsets, groups, directions + turns,
            node_x, node_y, way, plane, tolerance, rules.shortest,
        )  # fmt: skip
        return cls(
            network,
            plane,
            tolerance,
            rules,
            smooth,
            given,
            pinned,
            walls,
            node_x,
            node_y,
            way,
            directions,
            turns,
            aligned,
        )

    def fit(self, arcs: Integers, tolerance: float) -> None:
        """Fit walls to some arcs anew, in the directions of their own faces."""
        smooth, network = self.smooth, self.network
        x, y = self.plane.to(smooth.x, smooth.y)
        fit(
            self.walls, arcs, smooth.offsets, x, y, network.is_closed, network.faces, self.directions,
            np.zeros_like(self.turns), tolerance, self.rules.askew,
        )  # fmt: skip

    @cached_property
    def length(self) -> Floats:
        """Of the arcs, in the plane."""
        return _lengths(self.smooth, self.plane)

    @cached_property
    def outer(self) -> Floats:
        """Length of the unshared arcs of each face, in the plane."""
        faces = self.network.faces
        is_alone = (faces[:, 1] == NOBODY) & (self.network.hold == LOOSE)
        return np.bincount(faces[is_alone, 0], self.length[is_alone], minlength=len(self.network)).astype(np.float64)

    def draw(self, arc_level: Integers, node_level: Integers, shift: Floats) -> tuple[Polylines, Floats]:
        """Draw the network.

        Parameters
        ----------
        arc_level : int64, shape (arc,)
            Level of each arc; what is pinned is drawn as it is.
        node_level : int64, shape (node,)
            Level of each node: which ones follow their walls, and which ones common lines.
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
        follows = (node_level >= ALIGNED) & (node_level <= NARROW)
        way = np.where(follows, self.way, STAY).astype(np.uint8)
        x, y = place_nodes(
            self.walls, has_walls & (self.pinned < 0), network.nodes, self.smooth.offsets, self.length, shift,
            self.node_x, self.node_y, way, self.plane, self.tolerance,
        )  # fmt: skip
        is_aligned, aligned_x, aligned_y = self.aligned
        is_aligned = is_aligned & (node_level == ALIGNED)
        x, y = np.where(is_aligned, aligned_x, x), np.where(is_aligned, aligned_y, y)
        is_bent = arc_level > RIGHT
        drawn = draw(
            self.walls, form, network.nodes, self.smooth, self.given, shift, is_bent, x, y, self.plane, self.tolerance,
            self.rules.shortest,
        )  # fmt: skip
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


def _perimeters(network: Network, smooth: Polylines, plane: Plane) -> Floats:
    """Length of the outline of each face, in the plane."""
    length = _lengths(smooth, plane)
    sides = network.faces.T
    found = sum(np.bincount(side[side >= 0], length[side >= 0], minlength=len(network)) for side in sides)
    return np.asarray(found, np.float64)


def _lengths(lines: Polylines, plane: Plane) -> Floats:
    x, y = plane.to(lines.x, lines.y)
    steps = np.append(np.hypot(np.diff(x), np.diff(y)), 0.0)
    length: Floats = np.add.reduceat(steps, lines.offsets[:-1]) - steps[lines.offsets[1:] - 1]
    return length


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
