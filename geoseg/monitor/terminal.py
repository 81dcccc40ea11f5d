"""A run as a terminal shows it: one picture that is drawn anew, and above it what has to stay."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from geoseg.engine import Ended, Event, ProgressEvent, Started, Writing
from geoseg.monitor.lines import PrintingDisplay
from geoseg.monitor.state import RunState, Summary
from geoseg.monitor.words import STOPPING, duration, facts, failure, opening

REFRESH = 1.0
"""Pictures a second; drawing takes time from the workers."""


class Terminal(PrintingDisplay):
    """A bar a stage, speed, time left, memory and failures.

    Parameters
    ----------
    console : Console
        A terminal.
    state : RunState
        The run.
    """

    def __init__(self, console: Console, state: RunState) -> None:
        super().__init__(console)
        self._state = state
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=REFRESH)

    def begin(self, started: Started, page: str | None, problem: str) -> None:
        """Say what stays above the picture, and draw it for the first time."""
        for line in opening(started, page, problem):
            self._print(line)
        self._live.start()

    def say(self, event: ProgressEvent) -> None:
        """Say what has to stay."""
        if isinstance(event, Event) and event.status == "failed":
            self._print(failure(event), "red")
        elif isinstance(event, Writing):
            self._print(f"writing {event.path}")
        elif isinstance(event, Ended):
            self._live.stop()
            if isinstance(event.error, KeyboardInterrupt):
                self._print(STOPPING, "yellow")

    def close(self) -> None:
        """Leave the last picture."""
        self._live.stop()

    def _draw(self) -> RenderableType:
        summary = self._state.summary()
        return Group(_bars(summary), Text(" · ".join([*facts(summary), f"{duration(summary.elapsed)} gone"])))


def _bars(summary: Summary) -> Table:
    table = Table.grid(padding=(0, 2))
    for stage, work in summary.stages.items():
        ended = work.total - work.left
        style = "red" if work.failed else "bar.complete" if work.left else "bar.finished"
        bar = ProgressBar(total=max(1, work.total), completed=ended, width=36, complete_style=style)
        each = "" if work.mean is None else f"{work.mean:.2g} s each"
        table.add_row(stage, bar, f"{ended:,}/{work.total:,}", Text(each, style="dim"))
    return table
