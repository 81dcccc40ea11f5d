"""Which form each face takes: walls where they hold together, step by step back to what was traced.

Strategy. Every face begins with walls at right angles. A face that is not good goes one level back: to walls that lean
where they end at a node, to walls of half the tolerance, which follow the outline more closely, to the simplified
outline, to the outline as it was traced. An arc has the level of that one of its faces that is farther back, and so has
a node. At the last level nothing has moved: this comes to an end, and as it began in a valid map, it ends in one. A
face is good when it is valid, has about the area of what was traced and lies where that lies, and when it meets other
faces along common arcs only.

Faces of which it is decided already what they are, and faces that come later, take part without being changed: the
others give way to them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely

from geoseg.arcs.chains import Integers
from geoseg.footprints.drawing import Polylines
from geoseg.footprints.forms import ALIGNED, BENT, LEAST, NARROW, RIGHT, TRACED, Decided, Forms
from geoseg.footprints.network import NOBODY, Flags, Floats
from geoseg.footprints.overlap import common_areas
from geoseg.footprints.scene import Geometries, TracedFaces, bounds

WITHIN = 0.6
"""How much of the area that a face may gain or lose it still does when its walls are shifted for its sake."""

UNSURE = 0.04
"""So near to that, it is calculated exactly."""


@dataclass(frozen=True)
class Settled:
    """What became of the faces of a scene.

    Attributes
    ----------
    polygons : object, shape (face,)
        In the CRS.
    level : int64, shape (face,)
        How far back free faces went; `NOBODY`'s of others.
    is_changed : bool, shape (face,)
        Free faces that are no longer as they were traced.
    decided : Decided
        What free faces share with later ones.
    """

    polygons: Geometries
    level: Integers
    is_changed: Flags
    decided: Decided


def settle(scene: TracedFaces, forms: Forms) -> Settled:
    """Settle the free faces of a scene.

    Parameters
    ----------
    scene : TracedFaces
    forms : Forms
        Of its network.
    """
    state = _State(scene, forms)
    todo = scene.around(scene.is_free)
    while todo.any():
        state.draw(np.flatnonzero(todo))
        todo = scene.around(state.step_back(todo))
    return state.settled()


class _State:
    """Levels of faces, and what is drawn of them; `NOBODY`'s level is that of faces which are not free."""

    def __init__(self, scene: TracedFaces, forms: Forms) -> None:
        self.scene, self.forms = scene, forms
        count = len(scene.network)
        self.level = np.where(scene.is_free, forms.rules.first, NOBODY)
        self.least = np.full(len(scene.network.nodes), ALIGNED)  # of each arc, whatever its faces' levels
        self.push, self.is_pushed = np.zeros(count), np.zeros(count, bool)
        self.polygons, self.area = scene.polygons.copy(), shapely.area(scene.polygons)
        self.gain, self.overlap = np.zeros(count), np.ones(count)
        self.is_sound, self.is_waiting = np.ones(count, bool), np.zeros(count, bool)
        self.lines: Polylines
        self.nodes: Floats

    def draw(self, faces: Integers) -> None:
        """Draw the network, and compare some faces with what was traced."""
        network, (node, face) = self.scene.network, self.scene.meetings
        arc_level = np.where(network.faces == NOBODY, NOBODY, self.level[network.faces]).max(axis=1)
        arc_level = np.where(arc_level < ALIGNED, TRACED, np.maximum(arc_level, self.least))
        node_level = np.full(len(network.node_xy), NOBODY)
        np.maximum.at(node_level, node, self.level[face])
        # Faces lie on the left of their arcs. Only unshared walls are pushed.
        shift = np.where(network.faces[:, 1] == NOBODY, -self.push[network.faces[:, 0]], 0.0)
        self.lines, self.nodes = self.forms.draw(arc_level, node_level, shift)
        self._compare(faces)

    def _compare(self, faces: Integers) -> None:
        scene, lines = self.scene, self.lines
        drawn = scene.network.assemble(np.stack([lines.x, lines.y], axis=1), lines.offsets, faces)
        is_ring = np.diff(drawn.rings) > LEAST
        is_whole = np.logical_and.reduceat(is_ring, drawn.polygons[:-1])
        self._keep_rings(faces, ~is_ring)
        within = (bounds(drawn) - scene.bounds[faces]) * [-1, -1, 1, 1] <= scene.reach
        sound = np.flatnonzero(is_whole & within.all(axis=1))  # GEOS takes no ring of two corners
        self.is_sound[faces] = False
        drawn, faces = drawn.take(sound), faces[sound]
        self.polygons[faces] = drawn.to_polygons(scene.place(drawn.xy.astype(np.float64)))
        self.is_sound[faces] = shapely.is_valid(self.polygons[faces])
        traced = scene.faces.take(faces)
        common = scene.pixel_area * common_areas(
            drawn.xy.astype(np.float64),
            drawn.rings,
            drawn.polygons,
            traced.xy.astype(np.float64),
            traced.rings,
            traced.polygons,
        )
        both = shapely.area(self.polygons[faces]) + self.area[faces]
        unsure = np.flatnonzero(
            (np.abs(common / (both - common) - self.forms.rules.overlap) < UNSURE) & self.is_sound[faces]
        )
        pairs = self.polygons[faces[unsure]], scene.polygons[faces[unsure]]
        common[unsure] = shapely.area(shapely.intersection(*pairs))
        self.gain[faces], self.overlap[faces] = both / self.area[faces] - 2, common / (both - common)

    def _keep_rings(self, faces: Integers, is_gone: Flags) -> None:
        """Leave rings as they were traced whose walls enclose nothing: yards and corners too small to have any."""
        arcs = self.scene.network.arcs_of(faces, is_gone)
        arcs = arcs[self.least[arcs] < TRACED]
        self.least[arcs] = TRACED
        sides = self.scene.network.faces[arcs]
        self.is_waiting[:] = False
        self.is_waiting[sides[sides != NOBODY]] = True

    def step_back(self, drawn: Flags) -> Flags:
        """Make faces give way where some are not good; return those that are another form now."""
        is_misplaced = np.abs(self.gain) > self.forms.rules.area
        is_good = self.is_sound & ~is_misplaced & (self.overlap >= self.forms.rules.overlap)
        has_walls = (self.level >= ALIGNED) & (self.level <= NARROW)
        again = self.is_waiting.copy()
        pushed = drawn & self.is_sound & is_misplaced & has_walls & ~self.is_pushed & ~again
        self._push(np.flatnonzero(pushed))
        again |= pushed
        giving = self._giving_way(drawn & ~is_good & ~again, drawn & self.is_sound & ~again)
        self._go_back(giving)
        return again | giving

    def _push(self, faces: Integers) -> None:
        """Shift unshared walls of faces, outwards or inwards, so that areas are within bounds."""
        excess = self.gain[faces] - np.sign(self.gain[faces]) * WITHIN * self.forms.rules.area
        self.push[faces] = -excess * self.area[faces] / np.maximum(self.forms.outer[faces], self.forms.tolerance)
        self.is_pushed[faces] = True

    def _giving_way(self, is_bad: Flags, drawn: Flags) -> Flags:
        """Choose who gives way: the faces that are bad, and one of each two whose interiors meet.

        Of two, the one that is less far back, then the one that fits worse, then the one that comes later. A face that
        has no way back is in its state because of others around it.
        """
        can = self.scene.is_free & (self.level < TRACED)
        giving, stuck = is_bad & can, is_bad & ~can
        one, other = self._meeting(drawn)
        place = np.empty(len(can), np.int64)
        place[np.lexsort((np.arange(len(can)), -self.overlap, -self.level))] = np.arange(len(can))
        loser = np.where(can[one] & (~can[other] | (place[one] > place[other])), one, other)
        giving[loser[can[loser]]] = True
        stuck[one[~can[loser]]] = stuck[other[~can[loser]]] = True
        return giving | (self.scene.around(stuck) & can)

    def _meeting(self, drawn: Flags) -> tuple[Integers, Integers]:
        """Pairs of faces, one of which was drawn, that have more in common than arcs and nodes."""
        faces = np.flatnonzero(drawn)
        one, other = shapely.STRtree(self.polygons).query(self.polygons[faces], predicate="intersects")
        one = faces[one]
        is_pair = (one != other) & self.is_sound[other] & ~(drawn[other] & (other < one))
        one, other = one[is_pair], other[is_pair]
        # DE-9IM, nine letters: the first tells how the interiors meet, the fifth how the boundaries do.
        relation = shapely.relate(self.polygons[one], self.polygons[other]).astype("S9").view("S1").reshape(-1, 9)
        meets, touches = relation[:, 0] == b"2", relation[:, 4] != b"F"
        is_neighbour = self.scene.are_neighbours(one, other)
        meets |= touches & ~is_neighbour
        beside = np.flatnonzero(touches & is_neighbour & ~meets)
        meets[beside] = self._mismatch(one[beside], other[beside])
        return one[meets], other[meets]

    def _mismatch(self, one: Integers, other: Integers) -> Flags:
        """Pairs of neighbours that do not have the same vertices along all of their common boundary."""
        faces = np.union1d(one, other)
        is_odd = np.zeros(len(self.level), bool)
        is_odd[faces] = ~shapely.is_empty(shapely.coverage_invalid_edges(self.polygons[faces]))
        found = is_odd[one] | is_odd[other]  # where a corner lies on a wall, only the wall is odd
        for pair in np.flatnonzero(found):
            found[pair] = not shapely.coverage_is_valid(self.polygons[[one[pair], other[pair]]])
        return found

    def _go_back(self, faces: Flags) -> None:
        self.level[faces] += 1
        self.level[faces & (self.level <= BENT) & ~self.scene.has_nodes] = NARROW
        self.push[faces], self.is_pushed[faces] = 0.0, False
        network, level = self.scene.network, self.level
        farthest = np.where(network.faces == NOBODY, NOBODY, level[network.faces]).max(axis=1)
        for reached, tolerance in ((RIGHT, self.forms.tolerance), (NARROW, self.forms.tolerance / 2)):
            arcs = network.of_faces(faces & (level == reached)) & (farthest == reached) & (self.forms.pinned == NOBODY)
            self.forms.fit(np.flatnonzero(arcs), tolerance)

    def settled(self) -> Settled:
        """What there is in the end."""
        scene, network, lines = self.scene, self.scene.network, self.lines
        shared = network.of_faces(scene.is_free) & network.of_faces(scene.is_later)
        arcs = np.flatnonzero(shared)
        keys = map(tuple, network.keys[arcs].tolist())
        spans = zip(lines.offsets[arcs].tolist(), lines.offsets[arcs + 1].tolist(), strict=True)
        xy = np.stack([lines.x, lines.y], axis=1)
        node, face = scene.meetings
        nodes = np.intersect1d(node[scene.is_free[face]], node[scene.is_later[face]])
        places = (map(tuple, table[nodes].tolist()) for table in (network.node_xy, self.nodes))
        return Settled(
            self.polygons,
            self.level,
            self.is_changed(),
            Decided(
                {key: xy[first:last].copy() for key, (first, last) in zip(keys, spans, strict=True)},
                dict(zip(*places, strict=True)),
            ),
        )

    def is_changed(self) -> Flags:
        """Faces that were moved; at the last level by others that are decided."""
        found = self.scene.is_free & (self.level < TRACED)
        back = np.flatnonzero(self.scene.is_free & (self.level == TRACED))
        now, before = (shapely.normalize(polygons[back]) for polygons in (self.polygons, self.scene.polygons))
        found[back] = ~shapely.equals_exact(now, before, 0)
        return found
