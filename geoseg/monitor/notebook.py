"""A run as a notebook shows it: a card below the cell that is drawn anew.

It is drawn in the thread that runs, because only that one belongs to the cell.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geoseg.engine import Ended, Event, ProgressEvent, Started
from geoseg.monitor.lines import Display
from geoseg.monitor.state import RunState
from geoseg.monitor.words import duration, facts, failure, opening
from geoseg.showing import card

EVERY = 1.0
"""Seconds between cards."""


class Notebook(Display):
    """Stages with their steps, speed, time left, memory and failures.

    Parameters
    ----------
    state : RunState
        The run.
    """

    def __init__(self, state: RunState) -> None:
        self._state, self._drawn = state, 0.0
        self._title, self._lines = "", list[str]()
        self._shown: Any = None

    def begin(self, started: Started, page: str | None, problem: str) -> None:
        """Draw the first card."""
        from IPython.display import display  # the kernel has it

        *self._lines, self._title = opening(started, page, problem)
        self._shown = display(self, display_id=True)  # type: ignore[no-untyped-call]

    def say(self, event: ProgressEvent) -> None:
        """Draw it anew, where that is some time ago or will not be done again."""
        if isinstance(event, Event) and event.status == "failed":
            self._lines.append(failure(event))
        if isinstance(event, Ended) or time.monotonic() > self._drawn + EVERY:
            self._drawn = time.monotonic()
            self._shown.update(self)

    def result(self, files: Sequence[Path], seconds: float, note: str) -> None:
        """Leave it to the result, which shows itself."""

    def close(self) -> None:
        """Leave the last card."""

    def _repr_html_(self) -> str:
        summary = self._state.summary()
        steps = [(stage, f"{work.total - work.left:,} of {work.total:,}") for stage, work in summary.stages.items()]
        now = " · ".join([*facts(summary), f"{duration(summary.elapsed)} gone"])
        return card(self._title, [*(("", line) for line in self._lines), *steps, ("", now)])
