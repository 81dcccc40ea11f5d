"""Tasks in flight: submitted one by one, handled as they end.

The client holds no future longer than its task runs, so a dead worker repeats only what it was doing. It knows
functions and keys; whoever submits says what happens next.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from distributed import Client, Future, as_completed

from geoseg.engine.events import Event, Listener, Outcome, Stage
from geoseg.engine.interrupts import noticed_interrupts
from geoseg.errors import GeosegError

WINDOW = 4
"""Tasks in flight per worker: enough that none waits for the client, few enough that results stay few."""

WINDOW_REFRESH = 5.0
"""Seconds after which the number of workers is asked again."""

Place = tuple[int, ...]
Done = Callable[[Place], None]


class Flow:
    """What one run has in flight.

    Parameters
    ----------
    client : Client
        Where tasks run.
    retries : int
        How often a failing task is tried again.
    listen : Listener
        Called with each `Event`.
    """

    def __init__(self, client: Client, retries: int, listen: Listener) -> None:
        self.client, self.retries, self.listen = client, retries, listen
        self.name = uuid.uuid4().hex[:8]
        self.outcome = Outcome()
        self._tasks: dict[Any, tuple[Stage, Place, Done, Done]] = {}
        self._completed = as_completed(loop=client.loop, with_results=True, raise_errors=False)
        self._window, self._window_asked = WINDOW, 0.0

    def submit(
        self,
        stage: Stage,
        place: Place,
        function: Callable[..., dict[str, float]],
        *arguments: Any,
        done: Done,
        failed: Done,
        priority: int = 0,
    ) -> None:
        """Submit a task, and say what to do when it is done, and when every try has failed."""
        future: Future[Any] = self.client.submit(
            function,
            *arguments,
            key=(f"{stage}-{self.name}", *place),
            retries=self.retries,
            priority=priority,
            pure=False,
        )
        self._tasks[future.key] = stage, place, done, failed
        self._completed.add(future)

    def keep(self, stage: Stage, place: Place) -> None:
        """Say that a task's result is on disk already."""
        self.outcome.kept[stage] += 1
        self.listen(Event(stage, "kept", place))

    @property
    def has_room(self) -> bool:
        """Whether the sliding window is not full."""
        return len(self._tasks) < self._window_size()

    def run(self, fill: Callable[[], None]) -> None:
        """Handle tasks until none is left; ``fill`` is called before the first and after each one."""
        with noticed_interrupts() as is_interrupted:
            fill()
            for future, result in self._completed:
                self._handle(future, result)
                fill()
                if is_interrupted():
                    raise KeyboardInterrupt

    def _handle(self, future: Future[Any], result: Any) -> None:
        """Say that a task has ended."""
        stage, place, done, failed = self._tasks.pop(future.key)
        if future.status == "finished":
            self._count(stage, place, result[stage])
            done(place)
        else:
            self._report(stage, place, future.exception())
            failed(place)

    def _count(self, stage: Stage, place: Place, seconds: float) -> None:
        self.outcome.done[stage] += 1
        self.outcome.seconds[stage] = self.outcome.seconds.get(stage, 0.0) + seconds
        self.listen(Event(stage, "done", place, seconds))

    def _report(self, stage: Stage, place: Place, error: BaseException | None) -> None:
        sentence = str(error) if isinstance(error, GeosegError) else f"{type(error).__name__}: {error}"
        event = Event(stage, "failed", place, message=sentence)
        self.outcome.failed[event.id] = f"{stage}: {sentence}"
        self.listen(event)

    def _window_size(self) -> int:
        """Tasks to keep in flight; workers may come and go, so the scheduler is asked again every few seconds."""
        if time.monotonic() - self._window_asked > WINDOW_REFRESH:
            self._window = WINDOW * max(1, len(self.client.nthreads()))
            self._window_asked = time.monotonic()
        return self._window
