"""Progress callback of a run: passes its events on to the terminal and to the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Literal

from rich.console import Console

from geoseg.engine import Ended, ProgressCallback, ProgressEvent, Started, ignore
from geoseg.monitor.feed import Feed
from geoseg.monitor.lines import Display, JsonLines, ProgressLines
from geoseg.monitor.notebook import Notebook
from geoseg.monitor.state import RunState
from geoseg.monitor.terminal import Terminal

Form = Literal["auto", "json", "quiet"]
"""A picture in a terminal, a card in a notebook, lines elsewhere; JSON lines; nothing."""


Progress = ProgressCallback | bool | None
"""What a caller gives: a callback; whether to show a `Monitor`; or nothing, which shows one in notebooks alone."""


@contextmanager
def shown(progress: Progress) -> Iterator[ProgressCallback]:
    """Watch a run as its caller wants."""
    if callable(progress):
        yield progress
    elif progress or (progress is None and Console().is_jupyter):
        with Monitor() as monitor:
            yield monitor
    else:
        yield ignore


class Monitor:
    """A progress callback of `geoseg.run` and `geoseg.polygonize` that shows the run while it goes on.

    It also adds the page ``/geoseg`` to the Dask dashboard and keeps it up to date.

    Parameters
    ----------
    console : Console, optional
        Where to draw; the standard output unless given.
    form : str
        ``"auto"``, ``"json"`` or ``"quiet"``.

    Examples
    --------
    >>> with Monitor() as monitor:  # doctest: +SKIP
    ...     geoseg.run("land_use", progress=monitor)
    """

    def __init__(self, console: Console | None = None, *, form: Form = "auto") -> None:
        self.state = RunState()
        self._display = _display(console or Console(), self.state, form)
        self._feed: Feed | None = None

    def __enter__(self) -> Monitor:
        """Wait for the run to start; until then there is nothing to show."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show no more."""
        self._display.close()
        if self._feed is not None:
            self._feed.stop(waits=False)

    def __call__(self, event: ProgressEvent) -> None:
        """Take in what happens, and show it."""
        self.state(event)
        if isinstance(event, Started):
            self._start(event)
        else:
            self._display.say(event)
            if isinstance(event, Ended) and self._feed is not None:
                self._feed.stop(waits=event.error is None)

    def result(self, files: Sequence[Path], seconds: float, note: str = "done") -> None:
        """Show where the results are.

        Parameters
        ----------
        files : sequence of Path
            The results.
        seconds : float
            What the run took.
        note : str
            What there is to say of them.
        """
        self._display.result(files, seconds, note)

    def _start(self, event: Started) -> None:
        page, problem = None, ""
        if event.client is not None:
            self._feed = Feed(self.state, event.client)
            page, problem = self._feed.start(), self._feed.problem
        self._display.begin(event, page, problem)


def _display(console: Console, state: RunState, form: Form) -> Display:
    if form == "quiet":
        return Display()
    if form == "json":
        return JsonLines(console, state)
    if console.is_jupyter:
        return Notebook(state)
    return Terminal(console, state) if console.is_terminal else ProgressLines(console, state)
