"""Libraries of workers are loaded while a command's own are, where there is surely something to do.

It only saves time: whatever cannot be known yet, or is wrong, is the run's matter, which starts its workers anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from geoseg import forking
from geoseg.errors import GeosegError
from geoseg.options import RECORD, RUN_FILE


def start_early(settings: Mapping[str, Any]) -> None:
    """Start loading what workers of a run need.

    A run that has ended begins anew only with ``overwrite``, and probably in part with ``refresh``; with another option
    than it had, what comes after the network may have to be done.

    Parameters
    ----------
    settings : mapping
        Options that were given.
    """
    if "output" not in settings or "scheduler" in settings:
        return
    folder = Path(str(settings["output"]))
    is_told = bool(settings.get("overwrite") or settings.get("refresh"))
    is_begun = is_told or _read(folder / RUN_FILE).get("status") != "finished"
    if is_begun or _is_changed(folder, settings):
        load_libraries(predicting=is_begun)


def load_libraries(*, predicting: bool) -> None:
    """Start loading the libraries of workers that are to predict or not; an error is told when workers are needed."""
    with suppress(GeosegError):
        forking.prepare_workers(predicting=predicting)


def _is_changed(folder: Path, settings: Mapping[str, Any]) -> bool:
    """Whether an option is not what the folder's workflow says; paths may be written in several ways."""
    recorded = _read(folder / RECORD)
    compared = settings.keys() - {"input", "model", "output"}
    return any(recorded.get(key) != settings[key] for key in compared)


def _read(path: Path) -> dict[str, Any]:
    """What a file of YAML or JSON says; nothing where it cannot be read."""
    with suppress(OSError, ValueError, yaml.YAMLError):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}
