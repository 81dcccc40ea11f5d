"""What `geoseg polygonize` wrote last at a place, so that polygons which a person has edited since are not replaced.

A GeoPackage keeps that in itself (`geoseg.vector.geopackage`) and a run in its folder; a file of another format has no
place for it, so it is kept in the user's cache. Without a record, as on another machine, columns alone decide.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

from geoseg.errors import LayerError, OutputError
from geoseg.files import cache_home, read_json, write_json
from geoseg.workflow.outputs import files_of, is_edited


def refuse_edited(path: Path) -> None:
    """Refuse to replace polygons that have been changed since `note_written`.

    Raises
    ------
    LayerError
        They have.
    """
    entry = read_json(_record(path))
    if entry is not None and is_edited(path, entry):
        raise LayerError(
            f"'{path}' has been changed since geoseg wrote it; rename it to keep the changes, delete it, or choose "
            "another output."
        )


def was_written(path: Path) -> bool:
    """Whether a file is as `note_written` has seen it, whatever its columns: those of OpenStreetMap are not known."""
    entry = read_json(_record(path))
    return entry is not None and path.exists() and files_of(path) == entry["files"]


def note_written(path: Path) -> None:
    """Remember the content of polygons that are whole; where the cache cannot be written nothing is remembered."""
    if path.suffix.lower() != ".gpkg":
        with suppress(OutputError, OSError):
            write_json(_record(path), {"path": str(path), "files": files_of(path)})


def _record(path: Path) -> Path:
    return cache_home("written") / f"{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:32]}.json"
