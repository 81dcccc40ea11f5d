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


def say(line: str) -> None:
    """Print a line of a result as it is, however long."""
    console.print(line, soft_wrap=True)


def note(sentence: str) -> None:
    """Print a note beside the results."""
    errors.print(f"note: {sentence}", style="yellow", soft_wrap=True)


def complain(sentence: str) -> None:
    """Print what ended a command, as one sentence."""
    words = sentence.rstrip(".")
    errors.print(words if words.endswith("?") else f"{words}.", style="red", soft_wrap=True)


def report_error(error: Exception, exit_code: int) -> None:
    """Print what ended a command as a JSON object, the last line of ``--json``."""
    fields = {"event": "error", "time": datetime.now(UTC).isoformat(timespec="milliseconds"), "message": str(error)}
    console.file.write(json.dumps({**fields, "kind": type(error).__name__, "exit_code": exit_code}) + "\n")
    console.file.flush()
