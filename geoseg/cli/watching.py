"""How a command's run is watched, and what is said when a person stops it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

import click

from geoseg.cli.console import command, console, errors, report_error
from geoseg.errors import GeosegError, WorkflowError

if TYPE_CHECKING:
    from geoseg.monitor import Monitor

INTERRUPTED = 130
"""The exit code of a command that Ctrl-C has stopped, as shells have it: 128 and the signal's number."""

TERMINATED = 143
"""The exit code of a command that SIGTERM has stopped, as batch systems and containers do."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


def end_on_sigterm() -> None:
    """Let SIGTERM end this command as Ctrl-C does; a second one changes nothing, as it is about to end."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise Terminated

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, handle)


def code_of(error: KeyboardInterrupt) -> int:
    """The exit code of what has stopped a command."""
    return TERMINATED if isinstance(error, Terminated) else INTERRUPTED


@contextmanager
def told(*, json: bool) -> Iterator[None]:
    """Print an error as JSON too, where that was asked for."""
    try:
        yield
    except GeosegError as error:
        if json:
            report_error(error, error.exit_code)
        raise


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
        with told(json=json), Monitor(console, form="quiet" if quiet else "json" if json else "auto") as monitor:
            yield monitor
    except KeyboardInterrupt as error:
        sentence = "stopped; what is done is kept, and the same command goes on from there:"
        errors.print(f"{sentence}\n{command.get()}", style="yellow", soft_wrap=True)
        raise click.exceptions.Exit(code_of(error)) from None
