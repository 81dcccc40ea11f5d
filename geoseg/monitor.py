"""What a person watches while a run goes on: where the dashboard is, how far each stage is, what failed.

It listens to the engine's events and draws; it decides nothing.
"""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from geoseg.engine import Compiling, Event, Said, Started, Writing


class Monitor:
    """A progress bar a stage in the terminal; a listener of `geoseg.run` and `geoseg.polygonize`.

    Parameters
    ----------
    console : rich.console.Console
        Where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description:8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            refresh_per_second=2,  # drawing takes time from the workers
        )
        self._bars: dict[str, TaskID] = {}

    def __enter__(self) -> Monitor:
        """Wait for the run to start; until then there is nothing to draw."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to draw."""
        if self._bars:
            self._progress.stop()

    def __call__(self, event: Said) -> None:
        """Draw an event."""
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Compiling):
            self._console.print("compiling, once on this machine: about 30 s", highlight=False)
        elif isinstance(event, Writing):
            self._console.print(f"writing {event.path}", highlight=False)
        elif isinstance(event, Event):
            self._advance(event)

    def _start(self, event: Started) -> None:
        self._console.print(f"dashboard {event.dashboard}", highlight=False)
        self._console.print(event.title, highlight=False)
        self._progress.start()
        self._bars = {stage: self._progress.add_task(stage, total=total) for stage, total in event.totals.items()}

    def _advance(self, event: Event) -> None:
        if event.status == "failed":
            self._console.print(f"block {event.id} failed in {event.stage}: {event.message}", style="red")
        else:
            self._progress.advance(self._bars[event.stage])
