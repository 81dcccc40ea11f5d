"""What runs on a worker: one function a stage, each of them safe to repeat.

Tasks exchange nothing but positions of blocks; pixels, strips and labels go through the run folder, so work
stealing moves no data. The plan reaches each worker once, with a plugin, also workers that join later. The model
is opened once a worker, at its first block.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Collection
from functools import cached_property
from typing import Any

import numpy as np
import torch
from distributed import Worker, WorkerPlugin, get_worker

from geoseg.blending import Strips, compile_loops
from geoseg.errors import GeosegWarning, WorkerError
from geoseg.grid import Block
from geoseg.instances import TileObjects, meet, paint_core
from geoseg.instances import unite as unite_objects
from geoseg.models import AnyModel, load_model, trial_prompts, wrap
from geoseg.planning import Plan
from geoseg.raster.options import configured
from geoseg.segmentation import Prediction, detect_block, finish_block, parse_block, predict_block
from geoseg.store import RunFolder
from geoseg.store.markers import Digest
from geoseg.store.run import OWN_STRIPS
from geoseg.versions import instructions as instructions_of

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
        self.versions = plan.versions

    def __getstate__(self) -> dict[str, object]:
        """Send the recipe, never the opened model."""
        return {key: self.__dict__[key] for key in ("name", "plan", "folder", "versions")}

    def setup(self, worker: Worker) -> None:
        """Refuse a worker whose results would differ, or that does not see the run folder."""
        self._opening = threading.Lock()
        versions = self.plan.versions
        if versions != self.versions:
            changed = [name for name in self.versions if versions.get(name) != self.versions[name]]
            here, there = (
                ", ".join(f"{name} {has.get(name)}" for name in changed) for has in (versions, self.versions)
            )
            raise WorkerError(
                f"worker {worker.address} has {here} and the plan needs {there}; install the same versions on every "
                "worker."
            )
        if not self.folder.state.is_dir():
            raise WorkerError(
                f"worker {worker.address} does not see {self.folder.path}; choose an output folder that all workers "
                "share."
            )

    def open(self) -> Any:
        """Return the model, opened once; one thread inside an operation, because a network's bits depend on it."""
        torch.set_num_threads(1)
        with self._opening:
            return self._model

    @cached_property
    def _model(self) -> AnyModel:
        plan = self.plan
        if plan.network is not None:
            own: AnyModel = wrap(
                plan.network.open(), plan.spec, plan.device, precision=plan.precision, compile=plan.compile
            )
            return own
        model: AnyModel = load_model(plan.spec, plan.device, precision=plan.precision, compile=plan.compile)
        return model

    def sources_of(self, block: Block) -> dict[str, tuple[int, int]]:
        """Blocks that run and whose strips a block needs, by strip."""
        sources = self.plan.grid.sources_of(block)
        return {strip: place for strip, place in sources.items() if self.plan.runs(place)}

    def around(self, block: Block) -> list[tuple[int, int]]:
        """Blocks whose objects a block has to know: itself and its sources."""
        return [(block.row, block.col), *self.sources_of(block).values()]

    def strips_of(self, block: Block) -> set[str]:
        """Strips that a block still waits for, of those that it writes itself; its draft is one of them."""
        waiting = dict.fromkeys(OWN_STRIPS, (block.row, block.col)) | self.plan.grid.consumers_of(block)
        return {
            strip
            for strip, place in waiting.items()
            if self.plan.runs(place) and not self.folder.is_marked("finish", self.plan.grid.block(*place))
        }


def _job(name: str, worker: Worker | None = None) -> Job:
    job = (worker or get_worker()).plugins[name]
    if not isinstance(job, Job):
        raise WorkerError(f"worker plugin {name} is not a geoseg job; use a scheduler of the same geoseg version.")
    return job


def open_model(job_name: str, dask_worker: Worker) -> list[str]:
    """Open the model ahead of the first block, and try it on a tile of zeros.

    So one that cannot be opened, or whose output is not what its entry promises, stops the run and not each of its
    blocks; and the memory of a forward pass, which takes the system longer to find than the pass itself, is there.

    Returns
    -------
    list of str
        What geoseg warns of: a worker's own standard error is read by nobody.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GeosegWarning)
        _try_model(_job(job_name, dask_worker))
    return [str(item.message) for item in caught if issubclass(item.category, GeosegWarning)]


def _try_model(job: Job) -> None:
    """Open the model and have it predict a tile of zeros."""
    model, plan = job.open(), job.plan
    compile_loops()
    size = plan.grid.tiling.size
    pixels = np.zeros((plan.batch_size, len(plan.spec.bands), size, size), plan.raster.dtype)
    asked = trial_prompts(plan.spec, size, plan.prompts.text if plan.prompts else None)
    prompts = () if asked is None else ([asked] * plan.batch_size,)
    with torch.inference_mode():
        model.predict(pixels, np.ones((plan.batch_size, size, size), np.bool_), *prompts)


def instructions(job_name: str, dask_worker: Worker) -> str:
    """What the device of a worker computes with; see `geoseg.versions.instructions`."""
    return instructions_of(_job(job_name, dask_worker).plan.device)


@configured()
def predict(job_name: str, row: int, col: int) -> Seconds:
    """Predict a block; write its draft and its strips, and the objects of its tiles.

    A block that is finished already is predicted again only for its strips: its labels stay.
    """
    start = time.perf_counter()
    job = _job(job_name)
    plan, folder, block = job.plan, job.folder, job.plan.grid.block(row, col)
    source = plan.raster, job.open(), plan.grid, block
    prediction, tiles = None, None
    if not plan.has_things:
        prediction = predict_block(*source, region=plan.region, batch_size=plan.batch_size)
    elif plan.has_stuff:
        prediction, tiles = parse_block(*source, region=plan.region, batch_size=plan.batch_size)
    else:
        tiles = detect_block(*source, region=plan.region, batch_size=plan.batch_size, prompts=plan.prompts)
    digests = [] if tiles is None else [folder.objects.write_tiles(block, tiles)]
    if prediction is not None:
        strips = job.strips_of(block)
        if "draft" in strips:
            digests.append(folder.write_draft(block, prediction.labels, prediction.confidence))
        digests += folder.write_strips(block, prediction.strips, strips - {"draft"})
    folder.mark("predict", block, digests)
    return {"predict": time.perf_counter() - start}


def finish(job_name: str, row: int, col: int, missing: tuple[str, ...] = ()) -> Seconds:
    """Complete a block's ramps with its neighbours' strips and store the block; count what its core says of objects.

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
    folder, block = job.folder, job.plan.grid.block(row, col)
    if folder.is_marked("finish", block):
        return {"finish": 0.0}
    digests = []
    if job.plan.has_things:
        lost = {place for strip, place in job.sources_of(block).items() if strip in missing}
        digests.append(folder.objects.write_meeting(block, meet(job.plan.grid, block, _Looking(job, block, lost).look)))
    if job.plan.has_stuff:
        digests += _finish_labels(job, block, missing)
    if not missing:
        folder.mark("finish", block, digests)
        _drop_strips(job, block)
    return {"finish": time.perf_counter() - start}


def _finish_labels(job: Job, block: Block, missing: tuple[str, ...]) -> list[Digest]:
    """Complete a block's ramps, and store its labels."""
    sources = {strip: place for strip, place in job.sources_of(block).items() if strip not in missing}
    own = dict.fromkeys(OWN_STRIPS, (block.row, block.col))
    arrays = job.folder.read_strips({**sources, **own})
    sums = {strip: arrays[strip][0] for strip in (*sources, "top", "left")}
    unused = sums["top"][:0]
    strips = Strips(sums["top"], sums["left"], right=unused, below=unused, corner=unused)
    labels, confidence = arrays["draft"]
    prediction = Prediction(labels, confidence, strips)
    neighbours = {strip: sums[strip] for strip in sources}
    return job.folder.write_block(block, *finish_block(prediction, neighbours, job.plan.spec))


def _drop_strips(job: Job, block: Block) -> None:
    """Remove what nobody but this block has waited for."""
    own = dict.fromkeys(OWN_STRIPS, (block.row, block.col))
    for strip, place in {**job.sources_of(block), **own}.items():
        job.folder.drop_strip(*place, strip)


class _Looking:
    """Objects of the tiles around a block, each file of objects read once; those of blocks that are lost have none."""

    def __init__(self, job: Job, block: Block, lost: Collection[tuple[int, int]]) -> None:
        self._tiles: dict[tuple[int, int], TileObjects] = {}
        wanted = {(tile.row, tile.col) for tile in job.plan.grid.tiles_around(block)}
        for place in job.around(block):
            if place not in lost:
                self._tiles |= job.folder.objects.read_tiles(*place, wanted)

    def look(self, row: int, col: int) -> TileObjects | None:
        """Objects of a tile; None where there are none."""
        return self._tiles.get((row, col))


def unite(job_name: str, is_final: bool) -> Seconds:
    """Unite the objects of all tiles, and number them.

    Parameters
    ----------
    job_name : str
        The run.
    is_final : bool
        False when a block is missing: then the next start has to do it again.
    """
    start = time.perf_counter()
    job = _job(job_name)
    objects = job.folder.objects
    plan = job.plan
    blocks = [(block.row, block.col) for block in plan.blocks()]
    united = unite_objects(
        objects.read_table(plan.grid.cols.tiles, blocks, is_complete=is_final),
        objects.read_meeting(blocks, is_complete=is_final),
        min_pixels=plan.min_pixels,
        keep_classes=plan.keep_classes,
        weigh=None if plan.areas is None else plan.areas.at,
    )
    objects.write_united(united, is_final=is_final)
    return {"unite": time.perf_counter() - start}


def number(job_name: str, row: int, col: int, is_final: bool) -> Seconds:
    """Store the instances of a block, by the numbers that they have in the whole raster.

    Parameters
    ----------
    job_name : str
        The run.
    row, col : int
        The block.
    is_final : bool
        Whether the numbers will stay.
    """
    start = time.perf_counter()
    job = _job(job_name)
    block = job.plan.grid.block(row, col)
    objects = job.folder.objects
    lost = [] if is_final else [place for place in job.around(block) if not objects.has_tiles(*place)]
    painted = paint_core(job.plan.grid, block, _Looking(job, block, lost).look)
    digests = job.folder.write_instances(block, objects.read_united().numbered(painted))
    if is_final:
        job.folder.mark("number", block, digests)
    return {"number": time.perf_counter() - start}
