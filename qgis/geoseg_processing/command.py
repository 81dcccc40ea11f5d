"""The command ``geoseg`` as a process of its own: where it is, how far it is, and how it is cancelled.

It knows processes and lines of JSON, and nothing of QGIS.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

PLACES = tuple(
    f"~/{folder}/bin"
    for folder in (".local", "geoseg/.venv", ".venv", "miniforge3/envs/geoseg", "miniconda3/envs/geoseg")
)
"""Where the command is looked for, besides PATH."""

FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PYTHONEXECUTABLE", "GDAL_DATA", "GDAL_DRIVER_PATH", "PROJ_LIB", "PROJ_DATA")
"""Variables that QGIS sets for its own Python and GDAL, and that would break those of geoseg."""

PATIENCE = 20.0
"""Seconds that a cancelled command has to leave its folder in order."""

KEPT = 20
"""Lines of errors that are told when a command fails."""


class CommandError(Exception):
    """The command cannot be found, or has failed; the text is what it said."""


class CancelledError(Exception):
    """The command was cancelled; what is finished stays and is not repeated by the next start."""


class Line(NamedTuple):
    """A line that the command has printed.

    Attributes
    ----------
    text : str
        It.
    is_error : bool
        Whether it went to the stream of errors, where warnings go too.
    """

    text: str
    is_error: bool


def find_command(chosen: str = "", environment: Mapping[str, str] = os.environ) -> str:
    """Find the command: as it was chosen, by the variable ``GEOSEG_COMMAND``, on PATH, or in a usual environment.

    Raises
    ------
    CommandError
        It is not there.
    """
    for name in (chosen.strip(), environment.get("GEOSEG_COMMAND", "")):
        if name:
            found = shutil.which(str(Path(name).expanduser()))
            if found is None:
                raise CommandError(f"the geoseg command '{name}' does not exist or cannot be run; choose another one")
            return found
    places = os.pathsep.join([environment.get("PATH", ""), *(str(Path(place).expanduser()) for place in PLACES)])
    found = shutil.which("geoseg", path=places)
    if found is None:
        raise CommandError("the command geoseg was not found; install it (pip install geoseg), then choose it")
    return found


def own_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment without what QGIS has set for its own Python."""
    return {name: value for name, value in environment.items() if name not in FOREIGN}


def run_command(
    words: Sequence[str],
    *,
    tell: Callable[[Line], object],
    hear: Callable[[dict[str, Any]], object] = lambda _: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Run the command to its end.

    Parameters
    ----------
    words : sequence of str
        The command and its arguments.
    tell : callable
        Called with each `Line` of text.
    hear : callable
        Called with each event that ``--json`` prints.
    is_cancelled : callable
        Asked several times a second.

    Raises
    ------
    CommandError
        It has failed; with what it said last.
    CancelledError
        It was cancelled, and has ended.
    """
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    process = subprocess.Popen(  # noqa: S603 - the command that the person chose
        list(words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=own_environment(),
        text=True, encoding="utf-8", errors="replace", **options,
    )  # fmt: skip
    errors: list[str] = []
    try:
        for line in _lines(process, is_cancelled):
            event = None if line.is_error else _event(line.text)
            if event is not None:
                hear(event)
                continue
            tell(line)
            if line.is_error:
                errors.append(line.text)
    finally:
        if process.poll() is None:
            _interrupt(process)
    if is_cancelled():
        raise CancelledError
    if process.returncode:
        said = " ".join(errors[-KEPT:]).strip()
        raise CommandError(said or f"geoseg ended with exit code {process.returncode}")


def _lines(process: subprocess.Popen[str], is_cancelled: Callable[[], bool]) -> Iterator[Line]:
    """Lines of both streams as they come, until both have ended or the command is cancelled."""
    waiting: queue.Queue[Line | None] = queue.Queue()

    def read(stream: IO[str], *, is_error: bool) -> None:
        with stream:
            for text in stream:
                waiting.put(Line(text.rstrip("\n"), is_error))
        waiting.put(None)

    streams = ((process.stdout, False), (process.stderr, True))
    for stream, is_error in streams:
        threading.Thread(target=read, args=(stream,), kwargs={"is_error": is_error}, daemon=True).start()
    ended = 0
    while ended < len(streams) and not is_cancelled():
        try:
            line = waiting.get(timeout=0.2)
        except queue.Empty:
            continue
        if line is None:
            ended += 1
        else:
            yield line
    if ended == len(streams):
        process.wait()


def _event(text: str) -> dict[str, Any] | None:
    """What a line of ``--json`` says; None of other lines."""
    if not text.startswith('{"event"'):
        return None
    try:
        event = json.loads(text)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _interrupt(process: subprocess.Popen[str]) -> None:
    """End a command as Ctrl-C does: finished blocks stay. One that does not end in time is killed."""
    process.send_signal(signal.CTRL_BREAK_EVENT if sys.platform == "win32" else signal.SIGINT)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def version_of(command: str) -> str:
    """The version of a command.

    Raises
    ------
    CommandError
        It does not say one.
    """
    said: list[str] = []
    run_command([command, "--version"], tell=lambda line: said.append(line.text))
    return " ".join(said).split()[-1] if said else ""


def words_of(options: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> list[str]:
    """Arguments of options that are not as they are anyway.

    Parameters
    ----------
    options : sequence of dict
        As in ``commands.json``.
    values : dict
        By the option's name; None and empty text are as if it was not given.
    """
    words = list[str]()
    for option in options:
        value = values.get(option["name"])
        if value is None or value == "" or value == option["default"]:
            continue
        flag = option["flag"]
        if option["kind"] == "flag":
            words.append(flag if value else f"--no-{flag[2:]}")
        elif option["repeated"]:
            words += [word for text in str(value).splitlines() if text.strip() for word in (flag, text.strip())]
        else:
            number = f"{value:.15g}" if isinstance(value, float) else str(value)
            words += [flag, number]
    return words


def commands() -> dict[str, Any]:
    """Commands with their options, as they are in ``commands.json``."""
    text = Path(__file__).with_name("commands.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
