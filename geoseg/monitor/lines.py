"""A run as lines: for logs, in which nothing can be drawn anew, and as JSON for programs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from geoseg.engine import Compiling, Ended, Event, Opened, ProgressEvent, Started, Writing
from geoseg.monitor.state import RunState, Summary
from geoseg.monitor.words import PHASES, STOPPING, duration, facts, failure, opening

EVERY = 20.0
"""Seconds between lines that say how far a run is."""

EVERY_JSON = 5.0
"""The same, for programs."""


class Display:
    """A way to show a run; this one shows nothing: errors are printed by the caller."""

    def begin(self, started: Started, page: str | None, problem: str) -> None:
        """Show that a run begins, and where its page is, or why there is none."""

    def say(self, event: ProgressEvent) -> None:
        """Show what happens."""

    def result(self, files: Sequence[Path], seconds: float, note: str) -> None:
        """Show where the results are."""

    def close(self) -> None:
        """Show no more."""


class PrintingDisplay(Display):
    """Prints lines of text.

    Parameters
    ----------
    console : Console
        Where to print.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def result(self, files: Sequence[Path], seconds: float, note: str) -> None:
        """Say where the results are."""
        for path in files:
            self._print(str(path))
        self._print(f"{note} in {seconds:.1f} s")

    def _print(self, line: str, style: str | None = None) -> None:
        self._console.print(line, style=style, highlight=False, markup=False, emoji=False, soft_wrap=True)


class ProgressLines(PrintingDisplay):
    """What happens to a run, a line each, and now and then how far it is.

    Parameters
    ----------
    console : Console
        Where to print.
    state : RunState
        The run.
    every : float
        Seconds between lines that say how far it is.
    """

    def __init__(self, console: Console, state: RunState, every: float = EVERY) -> None:
        super().__init__(console)
        self._state, self._ticker = state, Ticker(every, self._progress)

    def begin(self, started: Started, page: str | None, problem: str) -> None:
        """Say what begins, and where it can be watched."""
        for line in opening(started, page, problem):
            self._print(line)
        self._ticker.start()

    def say(self, event: ProgressEvent) -> None:
        """Say what cannot wait."""
        if isinstance(event, Compiling):
            self._print(PHASES["compiling"])
        elif isinstance(event, Writing):
            self._print(f"writing {event.path}")
        elif isinstance(event, Event) and event.status == "failed":
            self._print(failure(event))
        elif isinstance(event, Ended):
            self._ticker.stop()
            self._progress()
            if isinstance(event.error, KeyboardInterrupt):
                self._print(STOPPING)

    def close(self) -> None:
        """Say no more."""
        self._ticker.stop()

    def _progress(self) -> None:
        summary = self._state.summary()
        stages = (f"{stage} {work.total - work.left}/{work.total}" for stage, work in summary.stages.items())
        self._print(f"{duration(summary.elapsed)}: {', '.join([*stages, *facts(summary)])}")


class JsonLines(Display):
    """Every event as a JSON object in a line of its own; docs/watching.md says which there are.

    Parameters
    ----------
    console : Console
        Where to print.
    state : RunState
        The run.
    every : float
        Seconds between lines that say how far it is.
    """

    def __init__(self, console: Console, state: RunState, every: float = EVERY_JSON) -> None:
        self._file, self._state = console.file, state
        self._lock = threading.Lock()
        self._ticker = Ticker(every, self._progress)

    def begin(self, started: Started, page: str | None, problem: str) -> None:
        """Say what begins, and where it can be watched."""
        self._print(
            "started",
            title=started.title,
            dashboard=started.dashboard or None,
            page=page,
            totals=dict(started.totals),
            planned_bytes=started.planned_bytes,
            estimated_seconds=started.estimated_seconds,
            note=problem or None,
        )
        self._ticker.start()

    def say(self, event: ProgressEvent) -> None:
        """Say it."""
        if isinstance(event, Event):
            how = {"message": event.message} if event.status == "failed" else {"seconds": round(event.seconds, 4)}
            self._print("block", stage=event.stage, status=event.status, place=list(event.place), **how)
        elif isinstance(event, Compiling):
            self._print("compiling")
        elif isinstance(event, Opened):
            self._print("opened")
        elif isinstance(event, Writing):
            self._print("writing", path=str(event.path))
        elif isinstance(event, Ended):
            self._ticker.stop()
            self._progress()
            summary = self._state.summary()
            self._print("ended", status=summary.phase, failed=summary.failed, message=summary.message or None)

    def result(self, files: Sequence[Path], seconds: float, note: str) -> None:
        """Say where the results are."""
        self._print("result", files=[str(path) for path in files], seconds=round(seconds, 3), note=note)

    def close(self) -> None:
        """Say no more."""
        self._ticker.stop()

    def _progress(self) -> None:
        self._print("progress", **_progress(self._state.summary()))

    def _print(self, event: str, **fields: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"event": event, "time": now, **fields}, ensure_ascii=False)
        with self._lock:
            self._file.write(f"{line}\n")
            self._file.flush()


class Ticker:
    """Does something again and again, in a thread of its own; it may begin anew after it has ended.

    Parameters
    ----------
    seconds : float
        Between two times.
    act : callable
        What it does.
    """

    def __init__(self, seconds: float, act: Callable[[], None]) -> None:
        self._seconds, self._act = seconds, act
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin."""
        self.stop()
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="geoseg-lines", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, after what is being done."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._seconds):
            self._act()


def _progress(summary: Summary) -> dict[str, Any]:
    """How far a run is, as JSON values."""
    return {
        "phase": summary.phase,
        "share": round(summary.share, 4),
        "stages": {stage: asdict(work) for stage, work in summary.stages.items()},
        "blocks": dict(summary.blocks),
        "mpx_per_second": round(summary.pace, 4),
        "mean_mpx_per_second": round(summary.mean_pace, 4),
        "elapsed_seconds": round(summary.elapsed, 3),
        "left_seconds": None if summary.left is None else round(summary.left, 1),
        "worker_bytes": {worker.name: worker.bytes for worker in summary.workers},
        "failed": summary.failed,
    }
