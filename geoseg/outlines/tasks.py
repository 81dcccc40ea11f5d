"""What runs on a worker for polygons: trace a block, join nodes; each of them safe to repeat.

Tasks exchange nothing but nodes; labels, pieces and features go through files.
"""

from __future__ import annotations

import time

from distributed import Worker, WorkerPlugin, get_worker

from geoseg.errors import WorkerError
from geoseg.outlines.clipping import clip
from geoseg.outlines.folder import Node
from geoseg.outlines.plan import OutlinePlan
from geoseg.outlines.sifting import merge_surveys, read_sifted, sift_block, survey_block
from geoseg.outlines.warming import compile_loops, compile_walls
from geoseg.store.markers import Digest
from geoseg.vectorize import Faces, Piece, features, join, reach_of, trace

Seconds = dict[str, float]


class OutlineJob(WorkerPlugin):
    """An outline, as a worker knows it.

    Parameters
    ----------
    name : str
        Its id; tasks find their job by it.
    plan : OutlinePlan
        What is outlined.
    """

    def __init__(self, name: str, plan: OutlinePlan) -> None:
        self.name, self.plan = name, plan

    def setup(self, worker: Worker) -> None:
        """Refuse a worker that does not see the folder."""
        if not self.plan.folder.path.is_dir():
            raise WorkerError(
                f"worker {worker.address} does not see {self.plan.folder.path}; choose an output folder that all "
                "workers share."
            )


def _job(name: str, worker: Worker | None = None) -> OutlineJob:
    job = (worker or get_worker()).plugins[name]
    if not isinstance(job, OutlineJob):
        raise WorkerError(f"worker plugin {name} is not a geoseg job; use a scheduler of the same geoseg version.")
    return job


def warm_up(job_name: str, dask_worker: Worker) -> None:
    """Compile what is compiled, ahead of the first block."""
    plan = _job(job_name, dask_worker).plan
    compile_loops(plan.shaping, plan.is_sifted)
    if plan.tolerance is not None:
        compile_walls(plan)


def trace_block(job_name: str, node: Node, is_final: bool) -> Seconds:
    """Trace a block.

    Parameters
    ----------
    job_name : str
        The outline.
    node : Node
        The block, at level 0.
    is_final : bool
        Whether all labels that it reads are; otherwise it is not marked, so that the next start traces it again.
    """
    start = time.perf_counter()
    plan = _job(job_name).plan
    core = plan.window(node)
    labels, confidence = plan.source.read(reach_of(core))
    if plan.is_sifted:
        labels = read_sifted(plan, node, labels)
    if plan.objects is not None:
        labels = plan.objects.choose(labels)
    faces, rest = trace(
        labels, confidence, core, plan.raster_shape, plan.shaping, nodata=plan.nodata, classes=plan.classes
    )
    digests = _keep(plan, node, faces, rest)
    if is_final:
        plan.folder.mark("trace", node, digests)
    return {"trace": time.perf_counter() - start}


def join_nodes(job_name: str, node: Node, is_final: bool) -> Seconds:
    """Join the children of a node; arguments as in `trace_block`."""
    start = time.perf_counter()
    plan = _job(job_name).plan
    if plan.folder.is_marked("join", node):
        return {"join": 0.0}
    children = plan.children(node)
    pieces = [Piece.from_arrays(plan.folder.read_arrays(child, "piece")) for child in children]
    faces, rest = join(pieces, plan.window(node), plan.shaping)
    digests = _keep(plan, node, faces, rest)
    if is_final:
        plan.folder.mark("join", node, digests)
        for child in children:
            plan.folder.drop_arrays(child, "piece")
    return {"join": time.perf_counter() - start}


def sift(job_name: str, stage: str, node: Node, is_final: bool) -> Seconds:
    """Run one stage of `SIFTING` on a node; arguments as in `trace_block`."""
    start = time.perf_counter()
    plan = _job(job_name).plan
    digests = SIFTING[stage](plan, node)
    if is_final:
        plan.folder.mark(stage, node, digests)
    return {stage: time.perf_counter() - start}


SIFTING = {"survey": survey_block, "merge": merge_surveys, "sift": sift_block}
"""What makes small faces go, by stage."""


def _keep(plan: OutlinePlan, node: Node, faces: Faces, rest: Piece) -> list[Digest]:
    """Write what a node has."""
    table = features(faces, plan.transform, plan.crs, plan.names)
    if plan.region is not None and plan.tolerance is None:  # walls are straightened before they are cut
        table = clip(table, plan.region, plan.transform, plan.crs)
    if plan.objects is not None:
        table = plan.objects.sort(table)
    digests = [plan.folder.write_features(node, table)]
    if node != plan.root:
        digests.append(plan.folder.write_arrays(node, "piece", rest.to_arrays()))
    return digests
