"""A run whose imagery or region has changed: what of the earlier start goes, and what stays."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from geoseg.files import clear
from geoseg.planning import Plan
from geoseg.planning.refreshing import Refresh
from geoseg.stages import OUTLINES, TABLE
from geoseg.store import RunFolder
from geoseg.store.differences import differences
from geoseg.tree import Place


def forget_changed(made: Plan, folder: RunFolder, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Remove what earlier starts have left of the blocks that have changed; polygons first, which are made of them.

    Parameters
    ----------
    made : Plan
        The run.
    folder : RunFolder
        Its folder, locked.
    before, now : dict
        Fingerprints that differ in inputs and region alone.
    """
    refresh = Refresh.of(made, before, now)
    if made.has_things or refresh.has_other_region:  # numbers of objects, and what polygons are clipped to
        clear(folder.outlines)
    elif refresh.changed:
        folder.forget_outlines(refresh.traced, refresh.joined)
    folder.forget_blocks(made.grid, refresh.changed, refresh.finished, made.tree.is_mapped)


def refreshed(made: Plan, folder: RunFolder) -> tuple[Plan, Mapping[str, Collection[Place] | None]] | None:
    """The plan of a refresh, and what it forgets of each stage, None being all; changes nothing.

    Parameters
    ----------
    made : Plan
        The run, which knows what an earlier start has predicted.
    folder : RunFolder
        Its folder.

    Returns
    -------
    None
        Nothing has changed, or something besides inputs and region.
    """
    before, now = folder.fingerprint, json.loads(json.dumps(made.fingerprint()))
    changes = differences(before, now)
    if not changes or folder.other_differences(before, now):
        return None
    refresh = Refresh.of(made, before, now)
    kept = frozenset(place for place in made.predicted if made.runs(place)) - refresh.predicted
    has_all = made.has_things or refresh.has_other_region
    forgotten: dict[str, Collection[Place] | None] = {"finish": refresh.finished}
    forgotten |= {"trace": refresh.traced, "join": refresh.joined}
    whole = [stage.name for stage in TABLE if stage.folder == OUTLINES and (has_all or stage.name not in forgotten)]
    if made.has_things:
        whole += ["overlap", "unite", "number"]
    return replace(made, predicted=kept, changes=tuple(changes)), forgotten | dict.fromkeys(whole)
