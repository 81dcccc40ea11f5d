"""The corrections of a run, written beside its labels block by block; what was traced of other labels is forgotten.

It knows the run folder and the plan. Memory holds a few blocks, and numbers of pieces of the segments that points lie
in.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import shapely

from geoseg.corrections import CorrectionLayer, Patch, Ranking, Segment, SegmentMap
from geoseg.files import write_json
from geoseg.models.background import probable_classes
from geoseg.planning import Plan
from geoseg.planning.refreshing import nodes_above
from geoseg.probabilities import NODATA, Labels
from geoseg.store.journal import Digest
from geoseg.store.run import RunFolder

Place = tuple[int, int]

BLOCKS = 4
"""Blocks whose labels are remembered while a segment is followed."""


@dataclass(frozen=True)
class _Spot:
    """A point: the segment that it lies in, and what it says."""

    segment: Segment
    label: int
    denies: bool


@dataclass
class Counts:
    """What corrections have come to.

    Attributes
    ----------
    pixels : int
        Those that a feature has given a class.
    changed : int
        Those among them that have another class than predicted.
    unused : int
        Points that lie where there is no data.
    by_class : Counter
        Pixels that were given each label.
    """

    pixels: int = 0
    changed: int = 0
    unused: int = 0
    by_class: Counter[int] = field(default_factory=Counter)


def corrections_settings(plan: Plan) -> dict[str, Any] | None:
    """All that decides what corrections do to given predictions, as JSON values; None where there are none."""
    if plan.corrections is None:
        return None
    labelling = json.loads(json.dumps(asdict(plan.labelling)))
    return {"features": plan.corrections.digest(), "connectivity": plan.connectivity, "labelling": labelling}


def prepare_corrections(plan: Plan, folder: RunFolder) -> None:
    """Forget corrections that were made of other features, or with other labels; those that are no more go at once."""
    settings = corrections_settings(plan)
    if settings == folder.corrections_settings:
        return
    folder.journal("correct").keep(set())
    if settings is None:
        for place in folder.blocks.corrected_places(plan.grid):
            forget_polygons(plan, folder, place)
            folder.blocks.remove_corrected(plan.grid.block(*place))
    folder.write_corrections_settings(settings)


def touched_places(plan: Plan, folder: RunFolder) -> set[Place]:
    """Blocks that features of corrections lie in, and those that have corrections already.

    The segments of points may reach into others.
    """
    places = folder.blocks.corrected_places(plan.grid)
    return places if plan.corrections is None else places | {*_blocks_of(plan, plan.corrections)}


def write_corrections(plan: Plan, folder: RunFolder) -> list[Digest]:
    """Write the corrections of all blocks that they touch.

    Polygons of blocks whose labels change are forgotten before these are written, so that after a kill none stays that
    was traced of other labels.
    """
    work = _Work(plan, folder)
    digests, counts = [], work.counts
    spots = list(work.spots())
    places = touched_places(plan, folder) | {place for spot in spots for place in spot.segment.pieces}
    for place in sorted(places):
        block, patch = plan.grid.block(*place), work.corrected(place, spots)
        codes = patch.codes()
        if folder.blocks.has_other_corrected(block, codes):
            forget_polygons(plan, folder, place)
        digests += folder.blocks.write_corrected(block, codes)
        counts.pixels += int(np.count_nonzero(codes))
        counts.changed += int(np.count_nonzero(patch.labels != work.predicted(place)[0]))
        counts.by_class.update(dict(enumerate(np.bincount(patch.labels[patch.corrected], minlength=1).tolist())))
    write_json(folder.corrections / "counts.json", asdict(counts) | {"by_class": +counts.by_class})
    return digests


def forget_polygons(plan: Plan, folder: RunFolder, place: Place) -> None:
    """Forget the polygons that the labels of a block are a part of."""
    traced = plan.tree.readers(place)
    folder.forget_outlines(traced, nodes_above(plan.tree, traced))


class _Work:
    """Blocks of a run while corrections are made."""

    def __init__(self, plan: Plan, folder: RunFolder) -> None:
        self.plan, self.folder, self.counts = plan, folder, Counts()
        self.predicted = lru_cache(maxsize=BLOCKS)(self._predicted)
        self._burnt = lru_cache(maxsize=BLOCKS)(self._burn)
        self._segments = SegmentMap(self._labels, plan.connectivity)

    def corrected(self, place: Place, spots: list[_Spot]) -> Patch:
        """A block with all corrections."""
        patch = self._burn(place)
        for spot in spots:
            if place in spot.segment.pieces:
                patch.correct(self._segments.inside(spot.segment, place), spot.label, denies=spot.denies)
        return patch

    def spots(self) -> Iterator[_Spot]:
        """Points with their segments, in order."""
        layer, found = self.plan.corrections, list[Segment]()
        if layer is None:
            return
        for (row, col), label, denies in zip(
            layer.spots.tolist(), layer.spot_labels.tolist(), layer.spot_denies.tolist(), strict=True
        ):
            place = _place_of(self.plan, row, col)
            core = self.plan.grid.block(*place).core
            at = row - core.y, col - core.x
            labels = self._labels(place)
            here = NODATA if labels is None else int(labels[at])
            if here == NODATA:
                self.counts.unused += 1
                continue
            known = (item for item in found if item.label == here and self._segments.has(item, place, *at))
            segment = next(known, None)
            if segment is None:
                segment = self._segments.at(place, *at, here)
                found.append(segment)
            yield _Spot(segment, label, denies)

    def _labels(self, place: Place) -> Labels | None:
        """Labels of a block with the polygons of corrections; None where no block runs."""
        rows, cols = self.plan.grid.rows.blocks, self.plan.grid.cols.blocks
        is_there = 0 <= place[0] < rows and 0 <= place[1] < cols and self.plan.runs(place)
        return self._burnt(place).labels if is_there else None

    def _predicted(self, place: Place) -> tuple[Labels, Labels]:
        return self.folder.blocks.read_predicted(*self.plan.grid.block(*place).core.slices())

    def _burn(self, place: Place) -> Patch:
        plan, blocks = self.plan, self.folder.blocks
        classes = tuple(item.value for item in probable_classes(plan.spec))
        ranking = Ranking(lambda window: blocks.read_probabilities(*window.slices()), classes, plan.labelling)
        patch = Patch(plan.grid.block(*place).core, *self.predicted(place), ranking=ranking)
        if plan.corrections is not None:
            patch.burn(plan.corrections)
        return patch


def _place_of(plan: Plan, row: int, col: int) -> Place:
    """The block that a pixel lies in; the last ones reach to the raster's end."""
    axes = (plan.grid.rows, row), (plan.grid.cols, col)
    down, across = (min(position // axis.chunk, axis.blocks - 1) for axis, position in axes)
    return down, across


def _blocks_of(plan: Plan, layer: CorrectionLayer) -> Iterator[Place]:
    """Blocks that run and that polygons or points lie in."""
    yield from (place for row, col in layer.spots.tolist() if plan.runs(place := _place_of(plan, row, col)))
    height, width = plan.grid.shape
    for shape, (left, top, right, bottom) in zip(layer.shapes, layer.bounds().tolist(), strict=True):
        shapely.prepare(shape)
        first = _place_of(plan, max(int(top), 0), max(int(left), 0))
        last = _place_of(plan, min(int(bottom), height - 1), min(int(right), width - 1))
        for place in product(range(first[0], last[0] + 1), range(first[1], last[1] + 1)):
            core = plan.grid.block(*place).core
            if plan.runs(place) and shape.intersects(shapely.box(core.x, core.y, core.right, core.bottom)):
                yield place
