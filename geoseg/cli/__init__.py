"""The command line: arguments in, exit code out.

Exit codes: 0 done, 1 some blocks failed and the rest is written, 2 something given cannot be used, 130 stopped by
Ctrl-C. Modules that load torch or dask are imported by the commands that need them, so that ``--help`` answers at once.
"""

from __future__ import annotations

import shlex
import signal
import sys
import warnings

import typer

from geoseg.cli import catalog, evaluation, models, report, runs, training
from geoseg.cli.console import command, errors
from geoseg.cli.watching import INTERRUPTED
from geoseg.errors import BlockError, GeosegError, GeosegWarning

__all__ = ["app", "main"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="From imagery of any size to maps and polygons.",
)
commands = (runs.run, runs.plan, runs.polygonize, report.report, report.preview)
for function in (*commands, training.train, evaluation.evaluate, models.probe):
    app.command()(function)
app.add_typer(models.app, name="models")
app.add_typer(catalog.app, name="catalog")


def _warn(message: Warning | str, category: type[Warning], *_place: object, **_more: object) -> None:
    if issubclass(category, GeosegWarning):
        errors.print(f"note: {message}", style="yellow", highlight=False, soft_wrap=True)


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
    command.set(shlex.join(["geoseg", *(sys.argv[1:] if arguments is None else arguments)]))
    code = _run(arguments)
    if arguments is None and code == INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever presses again while Python ends changes nothing
    return code


def _run(arguments: list[str] | None) -> int:
    """The exit code of a command."""
    try:
        app(arguments)
    except SystemExit as done:  # typer's own word: help, or an option that does not exist
        return int(done.code or 0)
    except KeyboardInterrupt:
        _complain("interrupted; run the same command again to continue.")
        return INTERRUPTED
    except BlockError as error:
        _complain(str(error))
        return 1
    except GeosegError as error:
        _complain(str(error))
        return 2
    return 0


def _complain(sentence: str) -> None:
    errors.print(
        f"{sentence.rstrip('.')}{'' if sentence.endswith('?') else '.'}", style="red", highlight=False, soft_wrap=True
    )
