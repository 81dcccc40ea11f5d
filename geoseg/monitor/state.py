"""What is known of a run while it goes on: events go in, a summary comes out, in the terminal and on the page alike.

Events come from the thread that runs, and summaries are asked for by threads that draw.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from geoseg.engine import Compiling, Ended, Event, Opened, ProgressEvent, Started, Writing
from geoseg.monitor.blockmap import BlockMap
from geoseg.monitor.pace import Pace, StageProgress, seconds_left, share_done
from geoseg.monitor.picture import LabelPicture
from geoseg.stages import STAGES

FAILURES = 100
"""Failures that are told in full; more are counted."""


@dataclass(frozen=True)
class FailedTask:
    """A block, or a node, whose every try has failed."""

    stage: str
    id: str
    message: str


@dataclass(frozen=True)
class WorkerMemory:
    """A worker, by name, and its resident memory, bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Summary:
    """A run at one moment.

    Attributes
    ----------
    phase : str
        ``"opening"`` the model, ``"compiling"``, ``"running"`` the blocks, ``"writing"`` results, ``"done"``,
        ``"incomplete"`` because blocks have failed, ``"stopped"`` by a person, or ``"broken"`` by an error.
    stages : mapping of str to Work
        In order.
    blocks : mapping of str to int
        Number of blocks that are ``waiting``, ``part`` done, ``done``, ``failed`` and ``skipped``.
    share : float
        What part of the work is done, 0 to 1.
    pace, mean_pace : float
        Mpx/s of late, and since the blocks began.
    pixels : int
        Those that were predicted since the blocks began.
    elapsed : float
        Since the run began, s.
    left : float or None
        Seconds that the rest will take; None when that is not known.
    workers : tuple of WorkerMemory
        Those that have told their memory.
    planned_bytes : int or None
        Memory of a worker as planned.
    failures : tuple of FailedTask
        The first of them.
    failed : int
        How many there are.
    writing : tuple of str
        Files that are being written, or have been.
    message : str
        What broke the run.
    """

    phase: str
    stages: Mapping[str, StageProgress]
    blocks: Mapping[str, int]
    share: float
    pace: float
    mean_pace: float
    pixels: int
    elapsed: float
    left: float | None
    workers: tuple[WorkerMemory, ...]
    planned_bytes: int | None
    failures: tuple[FailedTask, ...]
    failed: int
    writing: tuple[str, ...]
    message: str


@dataclass
class RunState:
    """What is known of a run.

    Attributes
    ----------
    clock : callable
        Seconds.
    """

    clock: Callable[[], float] = time.monotonic
    started: Started | None = None
    name: str = ""
    phase: str = "opening"
    stages: dict[str, StageProgress] = field(default_factory=dict)
    blocks: BlockMap | None = None
    picture: LabelPicture | None = None
    workers: tuple[WorkerMemory, ...] = ()

    def __post_init__(self) -> None:
        """Nothing has happened yet."""
        self.lock = threading.RLock()
        self._begun = self.clock()
        self._opened: float | None = None
        self._ended: float | None = None
        self._pace = Pace(self._begun)
        self._failures: list[FailedTask] = []
        self._failed = 0
        self._writing: list[str] = []
        self._message = ""

    def __call__(self, event: ProgressEvent) -> None:
        """Take in what the engine says."""
        with self.lock:
            if isinstance(event, Event):
                self._happen(event)
            elif isinstance(event, Started):
                self._start(event)
            elif isinstance(event, Compiling):
                self.phase = "compiling"
            elif isinstance(event, Opened):
                self.name, self.phase, self._opened = event.name, "running", self.clock()
                self._pace = Pace(self._opened)
            elif isinstance(event, Writing):
                self.phase = "writing"
                self._writing.append(str(event.path))
            else:
                self._end(event)

    def summary(self) -> Summary:
        """The run now."""
        with self.lock:
            now = self.clock() if self._ended is None else self._ended
            running = 0.0 if self._opened is None else now - self._opened
            is_running = self.phase in ("opening", "compiling", "running")
            estimate = self.started.estimated_seconds if self.started else None
            return Summary(
                phase=self.phase,
                stages={stage: StageProgress(**vars(work)) for stage, work in self.stages.items()},
                blocks=dict(self.blocks.counts) if self.blocks else {},
                share=share_done(self.stages),
                pace=self._pace.now(now) / 1e6 if self.phase == "running" else 0.0,
                mean_pace=self._pace.mean(now if self._are_pixels_left() else self._pace.last) / 1e6,
                pixels=self._pace.pixels,
                elapsed=now - self._begun,
                left=seconds_left(self.stages, running, estimate) if is_running else None,
                workers=self.workers,
                planned_bytes=self.started.planned_bytes if self.started else None,
                failures=tuple(self._failures),
                failed=self._failed,
                writing=tuple(self._writing),
                message=self._message,
            )

    def _pixel_stage(self) -> str | None:
        """The first stage that goes through the blocks: what it has done counts as speed."""
        return next((stage for stage in self.stages if _goes_through_blocks(stage)), None)

    def _are_pixels_left(self) -> bool:
        stage = self._pixel_stage()
        return stage is not None and self.stages[stage].left > 0

    def _start(self, event: Started) -> None:
        self.started, self._begun = event, self.clock()
        self.stages = {stage: StageProgress(total) for stage, total in event.totals.items()}
        if event.layout is not None:
            self.blocks = BlockMap(event.layout, sum(map(_goes_through_blocks, event.totals)))
            self.picture = LabelPicture(event.layout)

    def _happen(self, event: Event) -> None:
        work = self.stages.setdefault(event.stage, StageProgress(0))
        setattr(work, event.status, getattr(work, event.status) + 1)
        work.seconds += event.seconds
        if event.status == "failed":
            self._failed += 1
            if len(self._failures) < FAILURES:
                self._failures.append(FailedTask(event.stage, event.id, event.message))
        if self.blocks is not None and _goes_through_blocks(event.stage):
            self._move(self.blocks, event)

    def _move(self, blocks: BlockMap, event: Event) -> None:
        """A stage of a block has come to an end."""
        if event.status == "failed":
            blocks.fail(event.place)
            return
        blocks.step(event.place)
        if self.picture is not None and event.stage == blocks.layout.final:
            self.picture.add(event.place)
        if event.status == "done" and event.stage == self._pixel_stage():
            self._pace.add(self.clock(), blocks.layout.window(*event.place).area)

    def _end(self, event: Ended) -> None:
        self._ended = self.clock()
        if isinstance(event.error, KeyboardInterrupt):
            self.phase = "stopped"
        elif self._failed:
            self.phase = "incomplete"
        elif event.error is not None:
            self.phase, self._message = "broken", str(event.error) or type(event.error).__name__
        else:
            self.phase = "done"


def _goes_through_blocks(stage: str) -> bool:
    return stage in STAGES and STAGES[stage].goes_through_blocks
