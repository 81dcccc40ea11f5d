"""The command line: arguments in, exit code out.

Exit codes: 0 done, 130 stopped by Ctrl-C, 143 stopped by SIGTERM, and those of `geoseg.errors`. Modules that load torch
or dask are imported by the commands that need them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import shlex
import signal
import sys
import warnings
from importlib import metadata
from typing import Annotated

import typer

from geoseg.cli import catalog, evaluation, models, report, runs, training
from geoseg.cli.console import command, complain, note, say
from geoseg.cli.watching import INTERRUPTED, TERMINATED, code_of, end_on_sigterm
from geoseg.errors import GeosegError, GeosegWarning

__all__ = ["app", "main"]


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        say(f"geoseg {metadata.version('geoseg')}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)]

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
commands = (runs.run, runs.resume, runs.plan, runs.polygonize, report.report, report.preview)
for function in (*commands, training.train, evaluation.evaluate, models.probe):
    app.command()(function)
app.add_typer(models.app, name="models")
app.add_typer(catalog.app, name="catalog")


@app.callback()
def _top(version: Version = False) -> None:
    """From imagery of any size to maps and polygons."""


def _warn(message: Warning | str, category: type[Warning], *_place: object, **_more: object) -> None:
    if issubclass(category, GeosegWarning):
        note(str(message))


def main(arguments: list[str] | None = None) -> int:
    """Run a command; an error that geoseg knows is one sentence, not a traceback.

    Parameters
    ----------
    arguments : list of str, optional
        What stands behind ``geoseg``; the command line's own unless given.

    Returns
    -------
    int
        The exit code.
    """
    warnings.showwarning = _warn
    warnings.filterwarnings("default", category=GeosegWarning)  # notes are said however Python's own are set
    command.set(shlex.join(["geoseg", *(sys.argv[1:] if arguments is None else arguments)]))
    if arguments is None:
        end_on_sigterm()
    code = _run(arguments)
    if arguments is None and code in (INTERRUPTED, TERMINATED):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever presses again while Python ends changes nothing
    return code


def _run(arguments: list[str] | None) -> int:
    """The exit code of a command."""
    try:
        app(arguments)
    except SystemExit as done:  # typer's own word: help, or an option that does not exist
        cause = done.__context__.__cause__ if done.__context__ is not None else None
        return _stop(cause) if isinstance(cause, KeyboardInterrupt) else int(done.code or 0)
    except KeyboardInterrupt as error:
        return _stop(error)
    except GeosegError as error:
        complain(str(error))
        return error.exit_code
    return 0


def _stop(error: KeyboardInterrupt) -> int:
    """Say that a command was stopped which nobody watches, such as training; its exit code."""
    complain("stopped; run the same command again to continue.")
    return code_of(error)
