"""Where commands print: results to one stream, notes and errors to the other.

Names of files and classes may hold brackets and colons: nothing that is printed is read as markup.
"""

from __future__ import annotations

import json
from contextvars import ContextVar
from datetime import UTC, datetime

from rich.console import Console

console = Console(markup=False, emoji=False, highlight=False)
errors = Console(stderr=True, markup=False, emoji=False, highlight=False)

command: ContextVar[str] = ContextVar("command", default="geoseg")
"""What was typed, so that it can be typed again."""


def public(text: str) -> str:
    """A text without the signatures, tokens and passwords of the addresses in it."""
    if not {"?", "@"} & set(text):
        return text
    from geoseg.raster import unsigned  # loads GDAL, which --help does without

    return unsigned(text)


def say(line: str) -> None:
    """Print a line of a result, however long."""
    console.print(public(line), soft_wrap=True)


def note(sentence: str) -> None:
    """Print a note beside the results."""
    errors.print(f"note: {public(sentence)}", style="yellow", soft_wrap=True)


def complain(sentence: str) -> None:
    """Print what ended a command, as one sentence."""
    words = public(sentence).rstrip(".")
    errors.print(words if words.endswith("?") else f"{words}.", style="red", soft_wrap=True)


def report_error(error: Exception, exit_code: int) -> None:
    """Print what ended a command as a JSON object, the last line of ``--json``."""
    fields = {
        "event": "error",
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "message": public(str(error)),
    }
    console.file.write(json.dumps({**fields, "kind": type(error).__name__, "exit_code": exit_code}) + "\n")
    console.file.flush()
