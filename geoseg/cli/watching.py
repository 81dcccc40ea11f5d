"""How a command's run is watched, and what is said when a person stops it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from geoseg.cli.console import command, console, errors, report_error
from geoseg.errors import GeosegError, WorkflowError

if TYPE_CHECKING:
    from geoseg.monitor import Monitor

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has stopped, as shells have it: 128 and the signal's number."""


@contextmanager
def watched(*, quiet: bool, json: bool) -> Iterator[Monitor]:
    """Watch a run, in the form that was asked for.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    json : bool
        Show events as JSON lines.

    Raises
    ------
    WorkflowError
        Both were asked for.
    """
    from geoseg.monitor import Monitor

    if quiet and json:
        raise WorkflowError("--quiet and --json cannot both be; give one of them.")
    try:
        with Monitor(console, form="quiet" if quiet else "json" if json else "auto") as monitor:
            yield monitor
    except KeyboardInterrupt:
        sentence = "stopped; what is done is kept, and the same command goes on from there:"
        errors.print(f"{sentence}\n{command.get()}", style="yellow", soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    except GeosegError as error:
        if json:
            report_error(error, error.exit_code)
        raise
