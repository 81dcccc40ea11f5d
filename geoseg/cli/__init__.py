"""The command line: arguments in, exit code out.

Exit codes: 0 done, 130 stopped by Ctrl-C, 143 by SIGTERM, 129 by a terminal that was closed, and those of
`geoseg.errors`. Modules that load torch or dask are imported by the commands that need them, and tables of options
where options are asked for, so that ``--help`` answers at once.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import shlex
import signal
import sys
import warnings

import click
from click.shell_completion import shell_complete

import geoseg
from geoseg.cli import catalog, completion, evaluation, models, report, runs, schema, training
from geoseg.cli.command import Group, usage_sentence
from geoseg.cli.console import command, complain, note, say
from geoseg.cli.watching import code_of, end_on_signals
from geoseg.errors import BAD_USAGE, GeosegError, GeosegWarning
from geoseg.files import refused

__all__ = ["app", "main"]


@click.group(
    cls=Group,
    invoke_without_command=True,
    context_settings={"max_content_width": 120, "help_option_names": ["--help", "-h"]},
)
@click.option("--version", is_flag=True, help="Print the version.")
@click.pass_context
def app(context: click.Context, version: bool) -> None:
    """From imagery of any size to maps and polygons."""
    if version:
        say(f"geoseg {geoseg.__version__}")
    elif context.invoked_subcommand is None:
        click.echo(context.get_help())


for _command in (
    *(runs.run, runs.plan, runs.resume, runs.polygonize, runs.sieve, evaluation.evaluate, evaluation.compare),
    *(evaluation.areas, evaluation.sample, training.train),
    *(report.report, report.preview, models.app, models.probe, catalog.app, schema.schema, completion.completion),
):
    app.add_command(_command)


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
    if arguments is not None:
        return _run(arguments)
    gc.set_threshold(50_000)  # libraries make many objects that stay: looking for garbage is a tenth of importing them
    end_on_signals()
    leaving = _Leaving()
    atexit.register(leaving.end)  # the first that is registered is the last that is called
    leaving.code = _run(sys.argv[1:])
    if leaving.code > 128:  # stopped by a signal
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # pressing again while Python ends changes nothing
    if "geoseg.forking" in sys.modules:
        sys.modules["geoseg.forking"].stop_loading()
    return leaving.code


class _Leaving:
    """The end of this process, after everything that libraries do then: Python would take a second to free torch."""

    code = 1  # of an error that geoseg does not know, and Python has printed

    def end(self) -> None:
        """Leave with the exit code; with Python's own where what was said could not be written."""
        code = self.code
        for stream in filter(None, (sys.stdout, sys.stderr)):  # one that was closed before the start is None
            try:
                stream.flush()
            except (OSError, ValueError):
                code = code or 120
        os._exit(code)


def _run(arguments: list[str]) -> int:
    """The exit code of a command."""
    if instruction := os.environ.get(completion.VARIABLE):
        return shell_complete(app, {}, "geoseg", completion.VARIABLE, instruction)
    try:
        with app.make_context("geoseg", list(arguments)) as context:
            app.invoke(context)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.UsageError as error:
        complain(usage_sentence(error))
        return BAD_USAGE
    except KeyboardInterrupt as error:  # of a command that nobody watches, such as training
        complain("stopped; run the same command again to continue.")
        return code_of(error)
    except GeosegError as error:
        complain(str(error))
        return error.exit_code
    except OSError as error:
        refusal = refused(error)
        if refusal is None:
            raise
        logging.getLogger("geoseg").debug("refused by the system", exc_info=True)
        complain(str(refusal))
        return refusal.exit_code
    return 0
