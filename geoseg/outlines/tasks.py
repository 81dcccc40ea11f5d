"""What runs on a worker for polygons: trace a block, join nodes; each of them safe to repeat."""

from __future__ import annotations

from collections.abc import Collection

from geoseg.outlines.clipping import clip
from geoseg.outlines.job import OutlineJob
from geoseg.outlines.plan import OutlinePlan
from geoseg.outlines.sifting import read_final
from geoseg.steps import Step, Written
from geoseg.store.journal import Digest
from geoseg.tree import Place
from geoseg.vectorize import Faces, Piece, features, join, reach_of, trace


def trace_block(job: OutlineJob, place: Place, _: Collection[Step]) -> Written:
    """Trace a block."""
    plan, core = job.plan, job.plan.window(place)
    labels, confidence = read_final(plan, reach_of(core))
    if plan.objects is not None:
        labels = plan.objects.choose(labels)
    faces, rest = trace(
        labels, confidence, core, plan.raster_shape, plan.shaping, nodata=plan.nodata, classes=plan.classes
    )
    return Written(_keep(plan, place, faces, rest))


def join_nodes(job: OutlineJob, place: Place, _: Collection[Step]) -> Written:
    """Join the children of a node; their pieces stay, for the day when one of them has changed."""
    plan, children = job.plan, job.plan.tree.children(place)
    pieces = [Piece.from_arrays(plan.folder.read_arrays(child, "piece")) for child in children]
    return Written(_keep(plan, place, *join(pieces, plan.window(place), plan.shaping)))


def _keep(plan: OutlinePlan, place: Place, faces: Faces, rest: Piece) -> list[Digest]:
    """Write what a block or node has."""
    table = features(faces, plan.transform, plan.crs, {})  # other names of classes need no other outlines
    if plan.region is not None and plan.tolerance is None:  # walls are straightened before they are cut
        table = clip(table, plan.region, plan.transform, plan.crs)
    if plan.objects is not None:
        table = plan.objects.sort(table)
    digests = [plan.folder.write_features(place, table)]
    if place != plan.tree.root:
        digests.append(plan.folder.write_arrays(place, "piece", rest.to_arrays()))
    return digests
