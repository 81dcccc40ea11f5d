"""What runs on a worker: one function a stage, each of them safe to repeat.

Tasks exchange nothing but positions of blocks; pixels, strips and labels go through the run folder, so work
stealing moves no data. The plan reaches each worker once, with a plugin, also workers that join later. The model
is opened once a worker, at its first block.
"""

from __future__ import annotations

import threading
import time
from functools import cached_property

import numpy as np
import torch
from distributed import Worker, WorkerPlugin, get_worker

from geoseg.blending import Strips, compile_loops
from geoseg.errors import WorkerError
from geoseg.models import Model, load_model
from geoseg.planning import Plan, environment
from geoseg.segmentation import Prediction, finish_block, predict_block
from geoseg.store import RunFolder

Seconds = dict[str, float]


class Job(WorkerPlugin):
    """A run, as a worker knows it.

    Parameters
    ----------
    name : str
        The run's id; tasks find their job by it.
    plan : Plan
        What runs.
    folder : RunFolder
        Where blocks are kept; every worker must see it.
    """

    def __init__(self, name: str, plan: Plan, folder: RunFolder) -> None:
        self.name, self.plan, self.folder = name, plan, folder
        self.versions = environment()

    def __getstate__(self) -> dict[str, object]:
        """Send the recipe, never the opened model."""
        return {key: self.__dict__[key] for key in ("name", "plan", "folder", "versions")}

    def setup(self, worker: Worker) -> None:
        """Refuse a worker whose results would differ, or that does not see the run folder."""
        self._opening = threading.Lock()
        versions = environment()
        if versions != self.versions:
            raise WorkerError(
                f"worker {worker.address} has {versions} and the plan needs {self.versions}; "
                "install the same versions on every worker."
            )
        if not self.folder.state.is_dir():
            raise WorkerError(
                f"worker {worker.address} does not see {self.folder.path}; choose an output folder that all workers "
                "share."
            )

    def open(self) -> Model:
        """Return the model, opened once; one thread inside an operation, because a network's bits depend on it."""
        torch.set_num_threads(1)
        with self._opening:
            return self._model

    @cached_property
    def _model(self) -> Model:
        model: Model = load_model(self.plan.spec, self.plan.device)
        return model


def _job(name: str, worker: Worker | None = None) -> Job:
    job = (worker or get_worker()).plugins[name]
    if not isinstance(job, Job):
        raise WorkerError(f"worker plugin {name} is not a geoseg job; use a scheduler of the same geoseg version.")
    return job


def open_model(job_name: str, dask_worker: Worker) -> None:
    """Open the model ahead of the first block, and try it on a tile of zeros.

    So one that cannot be opened, or whose output is not what its entry promises, stops the run and not each of its
    blocks; and the memory of a forward pass, which takes the system longer to find than the pass itself, is there.
    """
    job = _job(job_name, dask_worker)
    model, plan = job.open(), job.plan
    compile_loops()
    size = plan.grid.tiling.size
    pixels = np.zeros((plan.batch_size, len(plan.spec.bands), size, size), plan.raster.dtype)
    with torch.inference_mode():
        model.score(pixels, np.ones((plan.batch_size, size, size), bool))


def predict(job_name: str, row: int, col: int) -> Seconds:
    """Predict a block; write its draft and its strips.

    A block that is finished already is predicted again only for its strips: its labels stay.
    """
    start = time.perf_counter()
    job = _job(job_name)
    plan, folder, block = job.plan, job.folder, job.plan.grid.block(row, col)
    prediction = predict_block(
        plan.raster, job.open(), plan.grid, block, region=plan.region, batch_size=plan.batch_size
    )
    if not folder.is_marked("finish", block):
        folder.write_draft(block, prediction.labels, prediction.confidence)
    folder.write_strips(block, prediction.strips)
    folder.mark("predict", block)
    return {"predict": time.perf_counter() - start}


def finish(job_name: str, row: int, col: int, missing: tuple[str, ...] = ()) -> Seconds:
    """Complete a block's ramps with its neighbours' strips, and store the block.

    Parameters
    ----------
    job_name : str
        The run.
    row, col : int
        The block.
    missing : tuple of str
        Strips that will not come because their block failed. The ramps there keep what the other tiles say, and the
        block is not marked, so that the next start completes it.
    """
    start = time.perf_counter()
    job = _job(job_name)
    folder, grid, block = job.folder, job.plan.grid, job.plan.grid.block(row, col)
    if folder.is_marked("finish", block):
        return {"finish": 0.0}
    sources = {strip: place for strip, place in grid.sources_of(block).items() if job.plan.runs(place)}
    neighbours = {strip: folder.read_strip(*place, strip) for strip, place in sources.items() if strip not in missing}
    own = {strip: folder.read_strip(row, col, strip) for strip in ("top", "left")}
    unused = own["top"][:0]
    prediction = Prediction(*folder.read_draft(row, col), Strips(**own, right=unused, below=unused, corner=unused))
    folder.write_block(block, *finish_block(prediction, neighbours, job.plan.spec))
    if not missing:
        folder.mark("finish", block)
        for strip, place in {**sources, **dict.fromkeys(("top", "left", "draft"), (row, col))}.items():
            folder.drop_strip(*place, strip)
    return {"finish": time.perf_counter() - start}
