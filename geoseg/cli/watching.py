"""How a command's run is watched, and what is said when a person stops it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
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

SIGNALS = (signal.SIGTERM, signal.SIGHUP)
"""What ends a command as Ctrl-C does: of batch systems and containers, and of a terminal that is closed."""


class Terminated(KeyboardInterrupt):
    """One of `SIGNALS`, which ends a command as Ctrl-C does.

    Attributes
    ----------
    exit_code : int
        As shells have it: 128 and the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


def end_on_signals() -> None:
    """Let `SIGNALS` end this command as Ctrl-C does; a second one changes nothing, as it is about to end.

    Ctrl-C is an exception from here on.
    """

    def handle(number: int, _frame: FrameType | None) -> None:
        for later in SIGNALS:
            signal.signal(later, signal.SIG_IGN)
        if number == signal.SIGHUP:
            _leave(terminals)
        raise Terminated(number)

    terminals = [stream for stream in (1, 2) if os.isatty(stream)]
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup has SIGHUP ignored
            signal.signal(number, handle)


def _leave(terminals: Sequence[int]) -> None:
    """Print no more to streams of a terminal, which refuses what is written to it once it is closed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in terminals:
        os.dup2(nowhere, stream)


def code_of(error: KeyboardInterrupt) -> int:
    """The exit code of what has stopped a command."""
    return error.exit_code if isinstance(error, Terminated) else INTERRUPTED


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
