"""The plan on Dask: submits blocks in raster order, retries, resumes, and says what happens.

Strategy. ``predict`` of a block depends on nothing. ``finish`` needs the strips of three neighbours, ``trace`` the
finished labels. The client keeps a sliding window of about four predictions a worker in flight and submits a block's
next stage as soon as what it needs is on disk; it holds no future longer than its task runs, so a dead worker repeats
only what it was doing. There is no barrier between rows or stages. What is on disk is never repeated.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dask
from distributed import Client, Future, LocalCluster, as_completed

from geoseg import tasks
from geoseg.errors import GeosegError, WorkerError
from geoseg.grid import Block
from geoseg.planning import Plan
from geoseg.store import STAGES, RunFolder, Stage

WINDOW = 4
"""Predictions in flight per worker: enough that none waits for the client, few enough that strips stay few."""

WINDOW_REFRESH = 5.0
"""Seconds after which the number of workers is asked again."""

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc gives big buffers back to the system on every call otherwise, and every forward pass pays for it. Tasks run
    # in a thread, and only the main arena can keep buffers of more than 64 MiB: let every thread use that one.
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # huge pages where the system offers them: forward passes gain 4 %
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
}

Place = tuple[int, int]


@dataclass(frozen=True)
class Started:
    """A run begins.

    Attributes
    ----------
    plan : Plan
        What will run.
    dashboard : str
        Address of the Dask dashboard.
    resumed : bool
        Whether blocks of an earlier start are kept.
    """

    plan: Plan
    dashboard: str
    resumed: bool


@dataclass(frozen=True)
class Event:
    """Something that happened to a block.

    Attributes
    ----------
    stage : str
        ``"predict"``, ``"finish"`` or ``"trace"``.
    status : str
        ``"done"``, ``"failed"``, or ``"kept"`` from an earlier start.
    block : Block
        Whose stage.
    seconds : float
        Time on the worker.
    message : str
        Why it failed.
    """

    stage: Stage
    status: Literal["done", "failed", "kept"]
    block: Block
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True)
class Writing:
    """Every block is done, and a result file is being written.

    Attributes
    ----------
    path : Path
        The file.
    """

    path: Path


Listener = Callable[[Started | Event | Writing], None]


@dataclass
class Outcome:
    """What became of the blocks.

    Attributes
    ----------
    done, kept : Counter
        Blocks by stage that ran now, and that were on disk already.
    failed : dict
        ``{block id: "stage: sentence"}``.
    seconds : dict
        Time of the workers by stage, s.
    wall : dict
        Wall time until every worker had opened the model, and of the blocks, s.
    """

    done: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)


@contextmanager
def connect(scheduler: str | None, workers: int) -> Iterator[Client]:
    """Connect to a scheduler, or start workers on this machine.

    Parameters
    ----------
    scheduler : str or None
        Address such as ``"tcp://host:8786"``; None starts a local cluster on the loopback interface.
    workers : int
        Processes of the local cluster, one thread each.

    Raises
    ------
    WorkerError
        Nothing answers at the address.
    """
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="15s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise WorkerError(
                f"no Dask scheduler answers at {scheduler}; start one with 'dask scheduler' or leave --scheduler out."
            ) from error
        with client:
            yield client
        return
    configuration = {
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        "distributed.worker.profile.interval": "100ms",
    }
    with (
        dask.config.set(configuration),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:8787",
            memory_limit=0,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        # A failing task is an event, told in one sentence; the traceback of each try would bury it.
        client.run(logging.getLogger("distributed.worker").setLevel, logging.CRITICAL)
        yield client


def ignore(event: Started | Event | Writing) -> None:
    """Listen to nothing."""


def execute(
    plan: Plan,
    folder: RunFolder,
    client: Client,
    *,
    stages: tuple[Stage, ...] = STAGES,
    retries: int = 2,
    listen: Listener = ignore,
) -> Outcome:
    """Run every block of a plan that is not on disk yet.

    Parameters
    ----------
    plan : Plan
        What to run.
    folder : RunFolder
        Prepared for this plan.
    client : Client
        Where to run.
    stages : tuple of str
        What to do with each block; without ``"trace"`` there will be no polygons.
    retries : int
        How often a failing block is tried again.
    listen : callable
        Called with each `Event`.

    Returns
    -------
    Outcome
        What ran, what was kept, and what failed; a failing block does not stop the others.

    Raises
    ------
    ModelError, WeightsError
        The model cannot be opened.
    WorkerError
        A worker has other versions, or does not see the folder.
    """
    job = tasks.Job(f"geoseg-{uuid.uuid4().hex[:8]}", plan, folder)
    started = time.perf_counter()
    try:
        client.register_plugin(job)
        client.run(tasks.open_model, job.name)
        opened = time.perf_counter()
        outcome = _Execution(job, client, stages, retries, listen).run()
        outcome.wall = {"open": opened - started, "blocks": time.perf_counter() - opened}
        return outcome
    finally:
        client.unregister_worker_plugin(job.name)


class _Execution:
    """The client's side of one run: which stage of which block is where."""

    def __init__(
        self, job: tasks.Job, client: Client, stages: tuple[Stage, ...], retries: int, listen: Listener
    ) -> None:
        self.job, self.client, self.stages, self.retries, self.listen = job, client, stages, retries, listen
        self.plan, self.grid, self.folder = job.plan, job.plan.grid, job.folder
        self.on_disk: dict[str, set[Place]] = {stage: self.folder.marked(stage) for stage in STAGES}
        self.on_disk["predict"] -= {place for place in self.on_disk["predict"] if self._strip_is_lost(place)}
        self.failed: set[Place] = set()
        self.submitted: set[Place] = set()
        self.tasks: dict[Any, tuple[Stage, Place]] = {}
        self.completed = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        self.outcome = Outcome()
        self._window, self._window_asked = WINDOW, 0.0

    def run(self) -> Outcome:
        """Submit until nothing is left, and handle each task as it ends."""
        self._keep_what_is_on_disk()
        pending = self._to_predict()
        self._fill(pending)
        for future, result in self.completed:
            stage, place = self.tasks.pop(future.key)
            if future.status == "finished":
                self._on_done(stage, place, result)
            else:
                self._on_failed(stage, place, future.exception())
            self._fill(pending)
        return self.outcome

    def _keep_what_is_on_disk(self) -> None:
        """Report stages of an earlier start, and continue blocks that stopped between two stages."""
        for stage in self.stages:
            for place in sorted(self.on_disk[stage]):
                self.outcome.kept[stage] += 1
                self.listen(Event(stage, "kept", self.grid.block(*place)))
        for place in sorted(self.on_disk["finish"] - self.on_disk["trace"]):
            self._trace(place)
        for place in sorted(self.on_disk["predict"] - self.on_disk["finish"]):
            self._try_finish(place)

    def _to_predict(self) -> Iterator[Block]:
        """Blocks that are not on disk, in raster order."""
        return (block for block in self.plan.blocks() if (block.row, block.col) not in self.on_disk["predict"])

    def _strip_is_lost(self, place: Place) -> bool:
        """Say whether somebody still waits for a strip of a predicted block that is not there any more."""
        waiting = {"top": place, "left": place} | self.grid.consumers_of(self.grid.block(*place))
        return any(
            self.plan.runs(consumer)
            and consumer not in self.on_disk["finish"]
            and not self.folder.strip_path(*place, strip).exists()
            for strip, consumer in waiting.items()
        )

    def _fill(self, pending: Iterator[Block]) -> None:
        """Keep the sliding window full."""
        while len(self.tasks) < self._window_size():
            block = next(pending, None)
            if block is None:
                return
            self._submit("predict", (block.row, block.col))

    def _window_size(self) -> int:
        """Tasks to keep in flight; workers may come and go, so the scheduler is asked again every few seconds."""
        if time.monotonic() - self._window_asked > WINDOW_REFRESH:
            self._window = WINDOW * max(1, len(self.client.nthreads()))
            self._window_asked = time.monotonic()
        return self._window

    def _submit(self, stage: Stage, place: Place, *arguments: Any) -> None:
        """Submit one stage of one block; later stages go first, so that strips and labels do not pile up."""
        future: Future[Any] = self.client.submit(
            getattr(tasks, stage),
            self.job.name,
            *place,
            *arguments,
            key=(f"{stage}-{self.job.name.split('-')[1]}", *place),
            retries=self.retries,
            priority=0 if stage == "predict" else 10,
            pure=False,
        )
        self.tasks[future.key] = (stage, place)
        self.completed.add(future)

    def _on_done(self, stage: Stage, place: Place, seconds: dict[str, float]) -> None:
        self.outcome.done[stage] += 1
        self.outcome.seconds[stage] = self.outcome.seconds.get(stage, 0.0) + seconds[stage]
        self.listen(Event(stage, "done", self.grid.block(*place), seconds[stage]))
        if stage == "predict":
            self.on_disk["predict"].add(place)
            self._try_finish_around(place)
        elif stage == "finish":
            self._trace(place)

    def _trace(self, place: Place) -> None:
        if "trace" in self.stages:
            self._submit("trace", place)

    def _on_failed(self, stage: Stage, place: Place, error: BaseException | None) -> None:
        block = self.grid.block(*place)
        sentence = str(error) if isinstance(error, GeosegError) else f"{type(error).__name__}: {error}"
        self.outcome.failed[block.id] = f"{stage}: {sentence}"
        self.listen(Event(stage, "failed", block, message=sentence))
        if stage == "predict":
            self.failed.add(place)
            self._try_finish_around(place)

    def _try_finish_around(self, place: Place) -> None:
        """A block's strips are there, or never will be: finish whoever waited for nothing else."""
        for waiting in (place, *self.grid.consumers_of(self.grid.block(*place)).values()):
            self._try_finish(waiting)

    def _try_finish(self, place: Place) -> None:
        """Submit ``finish`` when the block is predicted and each of its sources is predicted or has failed."""
        if place not in self.on_disk["predict"] or place in self.on_disk["finish"] or place in self.submitted:
            return
        sources = self.grid.sources_of(self.grid.block(*place))
        sources = {strip: source for strip, source in sources.items() if self.plan.runs(source)}
        if all(source in self.on_disk["predict"] or source in self.failed for source in sources.values()):
            self.submitted.add(place)
            self._submit("finish", place, tuple(strip for strip, source in sources.items() if source in self.failed))
