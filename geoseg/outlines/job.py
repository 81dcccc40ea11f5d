"""An outline as workers know it: so that steps of small faces and those of polygons find the same plan."""

from __future__ import annotations

from distributed import Worker

from geoseg.outlines.plan import OutlinePlan
from geoseg.outlines.warming import compile_loops, compile_walls
from geoseg.steps import Job, job_of


class OutlineJob(Job):
    """An outline, as a worker knows it.

    Parameters
    ----------
    name : str
        Its id.
    plan : OutlinePlan
        What is outlined.
    """

    def __init__(self, name: str, plan: OutlinePlan) -> None:
        super().__init__(name, plan.folder.path)
        self.plan = plan


def warm_up(job_name: str, dask_worker: Worker) -> None:
    """Compile what is compiled, ahead of the first block."""
    plan = job_of(job_name, OutlineJob, dask_worker).plan
    compile_loops(plan.shaping, plan.is_sifted)
    if plan.tolerance is not None:
        compile_walls(plan)
