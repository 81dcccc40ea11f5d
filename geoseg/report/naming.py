"""What a run is called where people see it, and whose imagery it shows."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from geoseg.catalog import find_imagery
from geoseg.errors import CatalogError
from geoseg.held import MEMORY, is_lost
from geoseg.raster.addresses import is_tile_template, is_wmts
from geoseg.report import wording
from geoseg.report.record import RunRecord


def subject_of(record: RunRecord) -> str:
    """What was mapped, in a few words: the imagery's name, its files, or the name of an array."""
    given = record.workflow.get("input")
    if is_lost(given):
        kind, _, name = str(given).removeprefix(MEMORY).partition(" ")
        is_one = not kind.endswith(":") and "," not in str(given)
        return name if name and is_one else "Imagery in memory"
    if is_tile_template(given) or is_wmts(given):
        return urlsplit(str(given).removeprefix("WMTS:")).hostname or str(given)
    if isinstance(given, str):
        return Path(given).stem or given
    paths = list(given.values()) if isinstance(given, dict) else list(given or [])
    noun = "date" if record.raster.get("dates") else "file"
    return Path(str(paths[0])).stem if len(paths) == 1 else wording.plural(len(paths), noun)


def credit_of(record: RunRecord) -> str:
    """Whose imagery it is, as a person, the imagery itself or the catalog says; empty where none of them does."""
    given = record.workflow.get("input")
    declared = dict.fromkeys(
        item["attribution"] for item in record.content.get("inputs") or () if "attribution" in item
    )
    if text := record.workflow.get("attribution") or "; ".join(declared):
        return str(text)
    try:
        return find_imagery(given).attribution if isinstance(given, str) else ""
    except CatalogError:
        return ""
