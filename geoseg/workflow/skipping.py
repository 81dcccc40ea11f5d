"""Scenes that turn out damaged while blocks are read: left out on request, and made up for when they are repaired.

A run folder keeps which files were left out and their content. A later start leaves them out at once while they are as
they were; one that was repaired, or that a server gives again, is an input that has changed, and is refreshed.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from geoseg.errors import GeosegWarning
from geoseg.files import clear, read_json, write_json
from geoseg.options import Workflow
from geoseg.planning import Plan
from geoseg.raster import unsigned
from geoseg.raster.fingerprints import content
from geoseg.raster.handles import is_remote
from geoseg.store import RunFolder

SHOWN = 20
"""Names of files in a sentence."""


def named(files: Mapping[str, str]) -> str:
    """Files by their names, in a sentence."""
    names = [f"'{unsigned(given)}'" for given in list(files)[:SHOWN]]
    return ", ".join([*names, *([f"{len(files) - SHOWN:,} more"] if len(files) > SHOWN else [])])


def leave_out(
    made: Plan, folder: RunFolder, inputs: Sequence[Mapping[str, Any]], files: Mapping[str, str]
) -> Plan | None:
    """The plan without files that cannot be read, which the run folder remembers; None where nothing else is there."""
    raster = made.raster.without(files)
    if raster is None:
        return None
    contents = _contents(made, inputs)
    known, names = _recorded(folder)
    names |= {PurePath(given).name for given in contents.keys() - {source.given for source in raster.sources}}
    known += [{"content": contents[given], "why": unsigned(why)} for given, why in files.items()]
    write_json(_file(folder), {"files": known, "names": sorted(map(unsigned, names))})
    sentence = (
        f"{len(files):,} of {len(made.raster.sources):,} files cannot be read ({named(files)}) and are left out, the "
        f"first because {next(iter(files.values()))}"
    )
    warnings.warn(GeosegWarning(unsigned(sentence)), stacklevel=2)
    return replace(made, raster=raster)


def without_known(wanted: Workflow, made: Plan, folder: RunFolder) -> tuple[Plan, bool]:
    """The plan without files that an earlier start has left out, and whether others of them are to be refreshed."""
    records, names = _recorded(folder) if wanted.on_error == "skip" else ([], set[str]())
    if wanted.overwrite or not records:
        return made, wanted.refresh
    contents = _contents(made, made.raster.fingerprint())
    known = {_key(record["content"]): record["why"] for record in records}
    left = {
        source.given: known[key]
        for source in made.raster.sources
        if not is_remote(source.path) and (key := _key(contents[source.given])) in known
    }
    raster = made.raster.without(left) if left else None
    if raster is not None:
        made = replace(made, raster=raster)
        sentence = f"{named(left)} cannot be read, as in an earlier start, and is left out again until it is repaired."
        warnings.warn(GeosegWarning(sentence), stacklevel=2)
    return made, wanted.refresh or _is_alike(folder.fingerprint, made.fingerprint(), names)


def forget_skipped(folder: RunFolder) -> None:
    """Forget what was left out, as a run that begins anew does."""
    clear(_file(folder))


def _is_alike(before: Mapping[str, Any], now: Mapping[str, Any], names: set[str]) -> bool:
    """Whether two fingerprints have the same region, and the same inputs besides some."""

    def others(fingerprint: Mapping[str, Any]) -> list[Any]:
        return [item for item in fingerprint.get("inputs", ()) if item["name"] not in names]

    return before.get("region") == now["region"] and _key(others(before)) == _key(others(now))


def _contents(made: Plan, inputs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What each file of a raster holds, by the name that it was given."""
    found: dict[str, list[Any]] = {source.given: [] for source in made.raster.sources}
    for item in inputs:
        for given in {made.raster.sources[number].given for number in item["sources"]}:
            found[given].append(content(item))
    return found


def _recorded(folder: RunFolder) -> tuple[list[dict[str, Any]], set[str]]:
    """Files that were left out, and the names of all files of their scenes."""
    recorded = read_json(_file(folder))
    return (recorded["files"], set(recorded["names"])) if isinstance(recorded, dict) else ([], set())


def _file(folder: RunFolder) -> Path:
    return folder.state / "skipped.json"


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
