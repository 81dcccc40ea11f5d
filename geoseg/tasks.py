"""What runs on a worker to label blocks: one function a stage, each of them safe to repeat.

The plan reaches each worker once, with a plugin, also workers that join later. The model is opened once a worker, at
its first block; torch is loaded then and not before, because only predicting needs it.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Collection
from functools import cached_property, partial
from typing import Any

import numpy as np
from distributed import Worker
from numpy.typing import NDArray

from geoseg import steps
from geoseg.blending import Strips, compile_loops
from geoseg.errors import GeosegError, GeosegWarning, ModelError, RasterReadError, WorkerError
from geoseg.grid import Block, Window
from geoseg.instances import TileObjects, meet, paint_core
from geoseg.instances import unite as unite_objects
from geoseg.models import AnyModel, load_model, trial_prompts, wrap
from geoseg.planning import Plan
from geoseg.planning.refreshing import read_window
from geoseg.planning.sharing import ASSISTING
from geoseg.probabilities import Pixels
from geoseg.raster.options import configured
from geoseg.raster.repeats import take_repeated
from geoseg.segmentation import (
    Prediction,
    by_class,
    detect_block,
    finish_block,
    label_block,
    parse_block,
    predict_block,
)
from geoseg.steps import Step, Written
from geoseg.store import RunFolder
from geoseg.store.arrays import write_arrays
from geoseg.store.correcting import write_corrections
from geoseg.store.strips import OWN_STRIPS
from geoseg.thumbnails import Thumbnail
from geoseg.tree import Place
from geoseg.versions import instructions as instructions_of

SWITCH_SECONDS = 1e-4
"""After so long a thread lets others have Python where a GPU is fed: launching a kernel asks for it each time."""


class Job(steps.Job):
    """A run, as a worker knows it.

    Parameters
    ----------
    name : str
        Its id.
    plan : Plan
        What runs.
    folder : RunFolder
        Where blocks are kept.
    """

    def __init__(self, name: str, plan: Plan, folder: RunFolder) -> None:
        super().__init__(name, folder.state)
        self.plan, self.folder = plan, folder
        self.versions = plan.versions

    def __getstate__(self) -> dict[str, object]:
        """Send the recipe, never the opened model."""
        return {key: self.__dict__[key] for key in ("name", "home", "plan", "folder", "versions")}

    def setup(self, worker: Worker) -> None:
        """Refuse a worker whose results would differ, or that does not see the run folder."""
        self._opening, self._name = threading.Lock(), worker.name
        self._tell = partial(worker.log_event, self.name)
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
        super().setup(worker)

    def open(self) -> Any:
        """Return the model, opened once; one thread inside an operation, because a network's bits depend on it."""
        import torch

        torch.set_num_threads(1)
        with self._opening:
            return self._opened[0]

    def tell_repeated(self) -> None:
        """Tell the client which servers were busy, and how many requests were repeated since it was told last."""
        if repeated := take_repeated():
            self._tell(repeated)

    @property
    def warnings(self) -> list[str]:
        """What geoseg has warned of when the model was opened."""
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[AnyModel, list[str]]:
        """The model, tried on a tile of zeros, and its warnings, told to the client: a worker may have come late."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", GeosegWarning)
            model = self._load()
            _try_model(model, self.plan)
        told = (str(item.message) for item in caught if issubclass(item.category, GeosegWarning))
        sentences = list(dict.fromkeys(told))
        if sentences:
            self._tell(sentences)
        return model, sentences

    def _load(self) -> AnyModel:
        import torch

        plan = self.plan
        device = own_device(plan.device, self._name, torch.cuda.device_count()) if plan.is_local else plan.device
        opener = load_model if plan.network is None else partial(wrap, plan.network.open())
        model: AnyModel = opener(
            plan.spec, device, precision=plan.precision, compile=plan.compile, runtime=plan.runtime
        )
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)  # weights are there before any stream reads them
            sys.setswitchinterval(SWITCH_SECONDS)
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
            strip for strip, place in waiting.items() if self.plan.runs(place) and not self.journal("finish").has(place)
        }


def own_device(device: str, worker: object, count: int) -> str:
    """The device of a worker of this machine: GPUs are dealt out by the workers' numbers, which are their names.

    Parameters
    ----------
    device : str
        The plan's; ``"cuda"`` is any of them.
    worker : object
        Its name.
    count : int
        GPUs that it sees.
    """
    return f"cuda:{worker % count}" if device == "cuda" and isinstance(worker, int) and count > 1 else device


def open_model(job_name: str, dask_worker: Worker) -> list[str]:
    """Open the model ahead of the first block, and try it on a tile of zeros.

    So one that cannot be opened, or whose output is not what its entry promises, stops the run and not each of its
    blocks; and the memory of a forward pass, which takes the system longer to find than the pass itself, is there.

    Returns
    -------
    list of str
        What geoseg warns of: a worker's own standard error is read by nobody.
    """
    if is_assistant(dask_worker):
        return []
    job = steps.job_of(job_name, Job, dask_worker)
    job.open()
    return job.warnings


def is_assistant(worker: Worker) -> bool:
    """Whether a worker predicts no blocks, but does what comes after; see `geoseg.planning.sharing`."""
    return ASSISTING in worker.state.total_resources


def _try_model(model: Any, plan: Plan) -> None:
    """Have a model predict a tile of zeros, and one of the raster where it scores pixels."""
    import torch

    compile_loops()
    size = plan.grid.tiling.size
    pixels = np.zeros((plan.batch_size, len(plan.spec.bands), size, size), plan.raster.dtype)
    asked = trial_prompts(plan.spec, size, plan.prompts.text if plan.prompts else None)
    prompts = () if asked is None else ([asked] * plan.batch_size,)
    with torch.inference_mode():
        model.predict(pixels, np.ones((plan.batch_size, size, size), np.bool_), *prompts)
        if plan.spec.stuff:
            _try_scores(model, plan)


def _try_scores(model: Any, plan: Plan) -> None:
    """Have a model score the middle of the raster: of zeros all scores may be alike, which tells nothing of their kind.

    Raises
    ------
    ModelError
        The scores are not what the spec promises.
    """
    size, (height, width) = plan.grid.tiling.size, plan.raster.shape
    top, left = max(0, (height - size) // 2), max(0, (width - size) // 2)
    window = Window(top, left, min(size, height), min(size, width))
    pixels = np.zeros((1, len(plan.spec.bands), size, size), plan.raster.dtype)
    mask = np.zeros((1, size, size), np.bool_)
    try:
        pixels[0, :, : window.height, : window.width], mask[0, : window.height, : window.width] = plan.raster.read(
            window
        )
        getattr(model, "score", model.predict)(pixels, mask)
    except GeosegError as error:  # what cannot be read or run is for its block to say
        if isinstance(error, ModelError) and error.__cause__ is None:
            raise


def instructions(job_name: str, dask_worker: Worker) -> str | None:
    """What the device of a worker computes with; see `geoseg.versions.instructions`. None of one that predicts not."""
    if is_assistant(dask_worker):
        return None
    plan = steps.job_of(job_name, Job, dask_worker).plan
    return instructions_of(plan.device, plan.runtime)


@configured()
def predict(job: Job, place: Place, _: Collection[Step]) -> Written:
    """Predict a block; write its draft and its strips, and the objects of its tiles.

    A block that is finished already is predicted again only for its strips: its labels stay, and tiles that give none
    are left out. Where a file cannot be read, the others that the block needs are tried too, so that all are named.
    """
    block = job.plan.grid.block(*place)
    try:
        return _predict(job, block)
    except RasterReadError as error:
        error.files = job.plan.raster.unreadable(read_window(job.plan.grid, block)) | error.files
        raise


def _predict(job: Job, block: Block) -> Written:
    plan, folder = job.plan, job.folder
    waiting = job.strips_of(block)
    strips = None if plan.has_things or "draft" in waiting else waiting
    picture = plan.picture if strips is None else None
    thumbnail = None if picture is None else Thumbnail(picture, plan.raster, block.core)
    source = thumbnail or plan.raster, job.open(), plan.grid, block
    how: dict[str, Any] = {"region": plan.region, "batch_size": plan.batch_size}
    prediction, tiles = None, None
    if not plan.has_things:
        prediction = predict_block(*source, **how, keep_probabilities=plan.keep_probabilities, strips=strips)
    elif plan.has_stuff:
        prediction, tiles = parse_block(*source, **how, keep_probabilities=plan.keep_probabilities)
    else:
        tiles = detect_block(*source, **how, prompts=plan.prompts)
    digests = [] if tiles is None else [folder.objects.write_tiles(block, tiles)]
    if prediction is not None:
        if "draft" in waiting:
            digests.append(folder.strips.write_draft(block, prediction.pixels))
        digests += folder.strips.write(block, prediction.strips, waiting - {"draft"})
    if thumbnail is not None:  # no marker speaks of it: one that is lost repeats no block
        write_arrays(folder.thumbnail(block.row, block.col), folder.state, thumbnail.arrays())
    job.tell_repeated()
    return Written(digests)


def finish(job: Job, place: Place, missing: Collection[Step]) -> Written:
    """Complete a block's ramps with its neighbours' strips, and store its labels.

    Ramps where a neighbour is missing keep what the other tiles say.
    """
    folder, block = job.folder, job.plan.grid.block(*place)
    lost = {at for _, at in missing}
    sources = {strip: at for strip, at in job.sources_of(block).items() if at not in lost}
    places = {**sources, **dict.fromkeys(OWN_STRIPS, (block.row, block.col))}
    arrays = folder.strips.read(places)
    sums = {strip: arrays[strip][0] for strip in (*sources, "top", "left")}
    unused = sums["top"][:0]
    strips = Strips(sums["top"], sums["left"], right=unused, below=unused, corner=unused)
    neighbours = {strip: sums[strip] for strip in sources}
    pixels = finish_block(Prediction(Pixels(*arrays["draft"]), strips), neighbours, job.plan.spec)
    digests = folder.blocks.write_block(block, _stored(pixels, job.plan, len(strips.top)))
    return Written(digests, [folder.strips.file(*at, strip) for strip, at in places.items()])


def _stored(pixels: Pixels, plan: Plan, count: int) -> dict[str, NDArray[Any]]:
    """What is kept of the pixels of a block of so many scores, by the arrays of the run folder."""
    kept: dict[str, NDArray[Any]] = {"labels": pixels.labels, "best": pixels.best}
    if plan.background is None:
        labels, confidence = label_block(pixels, plan.spec, count)
        kept = {"labels": labels, "confidence": confidence}
    return kept | ({"probabilities": by_class(pixels, plan.spec)} if plan.keep_probabilities else {})


class _Looking:
    """Objects that count of the tiles around a block, each file read once; those of blocks that are lost have none."""

    def __init__(self, job: Job, block: Block, lost: Collection[Place]) -> None:
        self._tiles: dict[tuple[int, int], TileObjects] = {}
        wanted = {(tile.row, tile.col) for tile in job.plan.grid.tiles_around(block)}
        for place in job.around(block):
            if place not in lost:
                self._tiles |= job.folder.objects.read_tiles(*place, wanted, min_score=job.plan.min_score)

    def look(self, row: int, col: int) -> TileObjects | None:
        """Objects of a tile; None where there are none."""
        return self._tiles.get((row, col))


def overlap(job: Job, place: Place, missing: Collection[Step]) -> Written:
    """Count what a block's core says of the objects of overlapping tiles."""
    block = job.plan.grid.block(*place)
    counts = meet(job.plan.grid, block, _Looking(job, block, {at for _, at in missing}).look)
    return Written([job.folder.objects.write_meeting(block, counts)])


def unite(job: Job, _: Place, missing: Collection[Step]) -> Written:
    """Unite the objects of all tiles, and number them."""
    plan, objects = job.plan, job.folder.objects
    blocks = [(block.row, block.col) for block in plan.blocks()]
    united = unite_objects(
        objects.read_table(plan.grid.cols.tiles, blocks, is_complete=not missing, min_score=plan.min_score),
        objects.read_meeting(blocks, is_complete=not missing),
        unit=plan.unit,
        weigh=None if plan.areas is None else plan.areas.at,
    )
    return Written(objects.write_united(united))


def number(job: Job, place: Place, missing: Collection[Step]) -> Written:
    """Store the instances of a block, by the numbers that they have in the whole raster."""
    block, objects = job.plan.grid.block(*place), job.folder.objects
    lost = [at for at in job.around(block) if not objects.has_tiles(*at)] if missing else []
    painted = paint_core(job.plan.grid, block, _Looking(job, block, lost).look)
    return Written(job.folder.blocks.write_instances(block, objects.read_united().numbered(painted)))


def correct(job: Job, _: Place, missing: Collection[Step]) -> Written:  # noqa: ARG001 - as every stage's function
    """Store the corrections of all blocks, and forget the polygons of those whose labels they change."""
    return Written(write_corrections(job.plan, job.folder))
