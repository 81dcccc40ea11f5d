"""Files that are whole or not there: written to a temporary name, then renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from geoseg.errors import OutputError

UNFINISHED = ".tmp"
"""In the name of every file that is being written, and of no other."""


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file so that it is either whole or not there: to a temporary name, then renamed.

    Parameters
    ----------
    path : Path
        The file.
    write : callable
        Writes to the path it is given.

    Raises
    ------
    OutputError
        The disk refuses.
    """
    temporary = path.with_name(f"{path.stem}.{os.getpid()}{UNFINISHED}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):  # what cannot be removed was never there
            temporary.unlink()
        raise OutputError(
            f"{path} cannot be written ({error.strerror or error}); choose an output folder with space and permission."
        ) from error


def write_json(path: Path, content: object) -> None:
    """Write JSON through `write_file`."""
    write_file(path, lambda temporary: temporary.write_text(json.dumps(content, indent=2) + "\n"))
