"""What runs on a worker so that small faces go: survey a block, merge surveys, sift a block's labels.

See `geoseg.vectorize.sieve`. Surveys go up the tree of nodes until nothing is open; then each block reads the fates of
its own faces, and those of the nodes above it, and writes labels without small faces.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.arcs.chains import Integers
from geoseg.grid import Window
from geoseg.models.spec import NODATA
from geoseg.outlines.job import OutlineJob
from geoseg.outlines.objects import THING
from geoseg.outlines.plan import OutlinePlan
from geoseg.steps import Step, Written
from geoseg.tree import Place
from geoseg.vectorize.sieve import Fates, Survey, apply, merge, survey

MOST = 128 * 2**20
"""Bytes of the surveys that one task may take in; deciding on them needs several times as much."""


def survey_block(job: OutlineJob, place: Place, _: Collection[Step]) -> Written:
    """Find the small faces of a block, and decide on those that nothing else touches."""
    plan, core = job.plan, job.plan.window(place)
    labels = _stuff(plan, plan.source.read(core)[0])
    surveyed, fates = survey(
        labels,
        core,
        plan.raster_shape,
        plan.unit,
        nodata=plan.nodata,
        max_bytes=MOST,
        areas=plan.areas,
    )
    return Written(
        [
            plan.folder.write_arrays(place, "survey", surveyed.to_arrays()),
            plan.folder.write_arrays(place, "faces", fates.to_arrays()),
        ]
    )


def merge_surveys(job: OutlineJob, place: Place, _: Collection[Step]) -> Written:
    """Decide on small faces that lie within a node, and on nothing else."""
    plan, children = job.plan, job.plan.tree.children(place)
    parts = [Survey.from_arrays(plan.folder.read_arrays(child, "survey")) for child in children]
    surveyed, fates = merge(parts, plan.window(place), MOST)
    return Written(
        [
            plan.folder.write_arrays(place, "survey", surveyed.to_arrays()),
            *(
                plan.folder.write_arrays(child, "fates", fate.to_arrays())
                for child, fate in zip(children, fates, strict=True)
            ),
        ]
    )


def sift_block(job: OutlineJob, place: Place, _: Collection[Step]) -> Written:
    """Write the labels of a block without small faces."""
    plan = job.plan
    labels = _stuff(plan, plan.source.read(plan.window(place))[0])
    fates = Fates.from_arrays(plan.folder.read_arrays(place, "faces"))
    settled = fates.settled(_settled(plan, place))
    return Written([plan.folder.write_labels(place, apply(labels, fates, settled, plan.nodata))])


def _settled(plan: OutlinePlan, place: Place) -> Integers:
    """Labels of what was open at a place, as the nodes above it decided."""
    parent = plan.tree.parent(place)
    if parent is None:
        return np.empty(0, np.int64)
    fates = Fates.from_arrays(plan.folder.read_arrays(place, "fates", parent))
    return fates.settled(_settled(plan, parent))


def read_final(plan: OutlinePlan, window: Window) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """Labels as they are traced, and confidence; small faces are gone where some are to go.

    Parameters
    ----------
    plan : OutlinePlan
        The outline; blocks that the window touches have been sifted.
    window : Window
        Of the raster.

    Returns
    -------
    labels : integers, shape (y, x)
        Things stay as they are.
    confidence : uint8, shape (y, x), or None
        255 = certain; None when every pixel is.
    """
    labels, confidence = plan.source.read(window)
    if not plan.is_sifted:
        return labels, confidence
    found = _void(plan, window.shape)
    for source in _blocks(plan, window):
        block = plan.window(source)
        place = block.intersect(window)
        part = plan.folder.read_labels(source, block.shape)[place.relative_to(block).slices()]
        found[place.relative_to(window).slices()] = part
    return found if plan.objects is None else np.where(labels > THING, labels, found), confidence


def _blocks(plan: OutlinePlan, window: Window) -> Iterator[Place]:
    """Blocks that a window touches and that may hold labels."""
    rows, cols = (
        range(bisect_right(starts, first) - 1, bisect_left(starts, end))
        for starts, first, end in ((plan.rows, window.y, window.bottom), (plan.cols, window.x, window.right))
    )
    return filter(plan.tree.exists, product(rows, cols))


def _stuff(plan: OutlinePlan, labels: NDArray[Any]) -> NDArray[Any]:
    """Labels of which small faces may go; objects are walls between them."""
    return labels if plan.objects is None else np.where(labels > THING, NODATA, labels)


def _void(plan: OutlinePlan, shape: tuple[int, int]) -> NDArray[Any]:
    """An array of nodata."""
    nodata = 0 if plan.nodata is None else plan.nodata
    return np.full(shape, nodata, plan.source.dtype)
