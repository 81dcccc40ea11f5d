"""Tasks in flight: submitted one by one, handled as they end.

The client holds no future longer than its task runs, so a dead worker repeats only what it was doing. Whatever asks for
tasks, no more than a window of them are with the scheduler; the others wait here, the latest stage first. It knows
functions and keys; the caller says what happens next.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distributed import Client, Future, as_completed

from geoseg.engine.attempts import Failure, attempt
from geoseg.engine.connection import ERRORS, GO_ON, Presence, Workers, is_divided
from geoseg.engine.events import Event, Outcome, ProgressCallback
from geoseg.engine.interrupts import noticed_interrupts
from geoseg.errors import DamagedError
from geoseg.planning.sharing import ASSISTING, PREDICTING

WINDOW = 4
"""Tasks in flight per thread of a worker: enough that none waits for the client, few enough that results stay few."""

WINDOW_REFRESH = 5.0
"""Seconds after which the workers, the scheduler and the run folder are looked at again."""

TICK = 0.1
"""Seconds to wait for a task before looking at them."""

Place = tuple[int, ...]
Done = Callable[[Place], None]

_log = logging.getLogger("geoseg.engine")


@dataclass(frozen=True, order=True)
class _Task:
    """A task that waits, ordered by its priority and then by when it was asked for."""

    order: tuple[int, int]
    stage: str = field(compare=False)
    place: Place = field(compare=False)
    call: tuple[Any, ...] = field(compare=False)
    done: Done = field(compare=False)
    failed: Done = field(compare=False)


class Flow:
    """What one run has in flight.

    Parameters
    ----------
    client : Client
        Where tasks run.
    retries : int
        How often a failing task is tried again.
    progress : ProgressCallback
        Called with each `Event`.
    state : Path
        The folder that tasks write into; tracebacks of failed ones are kept in its ``errors``.
    """

    def __init__(self, client: Client, retries: int, progress: ProgressCallback, state: Path) -> None:
        self.client, self.retries, self.progress = client, retries, progress
        self.name = uuid.uuid4().hex[:8]
        self.outcome = Outcome()
        self._errors = state / ERRORS
        self._presence, self._workers = Presence(state), Workers(client)
        self._waiting: list[_Task] = []
        self._numbers = itertools.count()
        self._tasks: dict[Any, _Task] = {}
        self._completed = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        self._window, self._looked = WINDOW, 0.0
        self._is_divided = is_divided(client)
        shutil.rmtree(self._errors, ignore_errors=True)  # what failed in an earlier start is tried again

    def submit(
        self,
        stage: str,
        place: Place,
        function: Callable[..., dict[str, float]],
        *arguments: Any,
        done: Done,
        failed: Done,
        priority: int = 0,
    ) -> None:
        """Submit a task when there is room, and say what to do when it is done, and when every try has failed."""
        order = -priority, next(self._numbers)
        heapq.heappush(self._waiting, _Task(order, stage, place, (function, *arguments), done, failed))
        self._send()

    def keep(self, stage: str, place: Place) -> None:
        """Say that a task's result is on disk already."""
        self.outcome.kept[stage] += 1
        self.progress(Event(stage, "kept", place))

    @property
    def has_room(self) -> bool:
        """Whether the sliding window is not full, and nothing waits for it."""
        return not self._waiting and len(self._tasks) < self._window

    def run(self, fill: Callable[[], None]) -> None:
        """Handle tasks until none is left; ``fill`` is called before the first and after each one.

        Raises
        ------
        GeosegError
            What concerns every task: no space, no folder, no scheduler, no worker.
        """
        with noticed_interrupts() as raise_dropped:
            self._look()
            fill()
            for future, result in self._ended():
                self._handle(future, result)
                self._send()
                fill()
                raise_dropped()
            self._presence.check()

    def _send(self) -> None:
        """Hand tasks to the scheduler while there is room."""
        while self._waiting and len(self._tasks) < self._window:
            task = heapq.heappop(self._waiting)
            future: Future[Any] = self.client.submit(
                attempt,
                *task.call,
                key=(f"{task.stage}-{self.name}", *task.place),
                retries=self.retries,
                priority=-task.order[0],
                resources={PREDICTING if task.stage == "predict" else ASSISTING: 1} if self._is_divided else None,
                pure=False,
            )
            self._tasks[future.key] = task
            self._completed.add(future)

    def _ended(self) -> Iterator[tuple[Future[Any], Any]]:
        """Tasks as they end; while none does, whether there is still somebody who works on them."""
        while not self._completed.is_empty():
            if self._completed.has_ready():
                yield next(self._completed)
            else:
                with self._completed.thread_condition:
                    self._completed.thread_condition.wait(TICK)
            self._look()

    def _look(self) -> None:
        """See every few seconds how many workers there are, and whether the folder is."""
        if time.monotonic() - self._looked > WINDOW_REFRESH:
            self._presence.check()
            self._window = WINDOW * max(1, self._workers.count())
            self._looked = time.monotonic()

    def _handle(self, future: Future[Any], result: Any) -> None:
        """Say that a task has ended."""
        task = self._tasks.pop(future.key)
        if future.status == "finished" and not isinstance(result, Failure):
            self._count(task, result[task.stage])
            task.done(task.place)
            return
        if isinstance(result, BaseException):  # cancelled, by a scheduler that has lost it
            raise result
        self._report(task, result if isinstance(result, Failure) else Failure.of_dask(result[1], self.client))
        task.failed(task.place)

    def _count(self, task: _Task, seconds: float) -> None:
        self.outcome.done[task.stage] += 1
        self.outcome.seconds[task.stage] = self.outcome.seconds.get(task.stage, 0.0) + seconds
        self.progress(Event(task.stage, "done", task.place, seconds))

    def _report(self, task: _Task, failure: Failure) -> None:
        """Tell of a failure, and keep its traceback; when it concerns every task, end the run."""
        event = Event(task.stage, "failed", task.place, message=failure.sentence)
        _log.warning("%s of block %s failed: %s", task.stage, event.id, failure.sentence)
        _log.debug("%s", failure.trace)
        self._presence.check()
        if failure.concerns_all:
            error = failure.error()
            kind, sentence = type(error), failure.sentence
            known = "again" in sentence
            raise (error if known else kind(f"{sentence.rstrip('.')}; {GO_ON}")) from error.__cause__
        self._keep_trace(self._errors / f"{task.stage}-{event.id}.txt", failure.trace)
        self.outcome.is_damaged |= failure.kind is DamagedError
        self.outcome.unreadable |= failure.files
        self.outcome.failed[event.id] = f"{task.stage}: {failure.sentence}"
        self.progress(event)

    def _keep_trace(self, path: Path, trace: str) -> None:
        """Write a traceback; one that cannot be written is no failure of its own."""
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text(trace)
        except OSError as error:
            _log.warning("the traceback %s cannot be written (%s)", path, error)
            return
        self.outcome.traces.append(path)
