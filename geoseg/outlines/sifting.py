"""What runs on a worker so that small faces go: survey a block, merge surveys, sift a block's labels.

See `geoseg.vectorize.sieve`. Surveys go up the tree of nodes until nothing is open; then each block reads the fates of
its own faces, and those of the nodes above it, and writes labels without small faces.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.arcs.chains import Integers
from geoseg.models.spec import NODATA
from geoseg.outlines.folder import Node
from geoseg.outlines.objects import THING
from geoseg.outlines.plan import OutlinePlan
from geoseg.store.markers import Digest
from geoseg.vectorize import reach_of
from geoseg.vectorize.sieve import Fates, Survey, apply, merge, survey

MOST = 128 * 2**20
"""Bytes of the surveys that one task may take in; deciding on them needs several times as much."""


def survey_block(plan: OutlinePlan, node: Node) -> list[Digest]:
    """Find the small faces of a block, and decide on those that nothing else touches."""
    core = plan.window(node)
    labels = _stuff(plan, plan.source.read(core)[0])
    surveyed, fates = survey(
        labels,
        core,
        plan.raster_shape,
        plan.min_pixels,
        nodata=plan.nodata,
        keep_classes=plan.keep_classes,
        max_bytes=MOST,
        areas=plan.areas,
    )
    return [
        plan.folder.write_arrays(node, "survey", surveyed.to_arrays()),
        plan.folder.write_arrays(node, "faces", fates.to_arrays()),
    ]


def merge_surveys(plan: OutlinePlan, node: Node) -> list[Digest]:
    """Decide on small faces that lie within a node, and on nothing else."""
    children = plan.children(node)
    parts = [Survey.from_arrays(plan.folder.read_arrays(child, "survey")) for child in children]
    surveyed, fates = merge(parts, plan.window(node), MOST)
    return [
        plan.folder.write_arrays(node, "survey", surveyed.to_arrays()),
        *(
            plan.folder.write_arrays(child, "fates", fate.to_arrays())
            for child, fate in zip(children, fates, strict=True)
        ),
    ]


def sift_block(plan: OutlinePlan, node: Node) -> list[Digest]:
    """Write the labels of a block without small faces."""
    labels = _stuff(plan, plan.source.read(plan.window(node))[0])
    fates = Fates.from_arrays(plan.folder.read_arrays(node, "faces"))
    settled = fates.settled(_settled(plan, node))
    return [plan.folder.write_labels(node, apply(labels, fates, settled, plan.nodata))]


def _settled(plan: OutlinePlan, node: Node) -> Integers:
    """Labels of what was open at a node, as the nodes above it decided."""
    parent = plan.parent(node)
    if parent is None:
        return np.empty(0, np.int64)
    fates = Fates.from_arrays(plan.folder.read_arrays(node, "fates"))
    return fates.settled(_settled(plan, parent))


def read_sifted(plan: OutlinePlan, node: Node, labels: NDArray[Any]) -> NDArray[Any]:
    """Labels without small faces of a block, one more row above it and one more column to its left.

    Parameters
    ----------
    plan, node
        The block.
    labels : array
        The same with small faces; things stay as they are there.
    """
    reach = reach_of(plan.window(node))
    found = _void(plan, reach.shape)
    for row, col in plan.sources_of(node):
        source = 0, row, col
        if plan.exists(source):
            window = plan.window(source)
            place = window.intersect(reach)
            part = plan.folder.read_labels(source, window.shape)[place.relative_to(window).slices()]
            found[place.relative_to(reach).slices()] = part
    return found if plan.objects is None else np.where(labels > THING, labels, found)


def _stuff(plan: OutlinePlan, labels: NDArray[Any]) -> NDArray[Any]:
    """Labels of which small faces may go; objects are walls between them."""
    return labels if plan.objects is None else np.where(labels > THING, NODATA, labels)


def _void(plan: OutlinePlan, shape: tuple[int, int]) -> NDArray[Any]:
    """An array of nodata."""
    nodata = 0 if plan.nodata is None else plan.nodata
    return np.full(shape, nodata, plan.source.dtype)
