"""Intact results of an earlier start of a run; markers of damaged or missing ones are removed."""

from __future__ import annotations

from collections.abc import Sequence

from geoseg.planning import Plan
from geoseg.stages import RASTER, RUN, Stage, unneeded
from geoseg.store import RunFolder
from geoseg.store.strips import OWN_STRIPS
from geoseg.tree import Place

Kept = dict[str, set[Place]]
"""Places by stage."""


def kept_blocks(plan: Plan, folder: RunFolder, stages: Sequence[Stage]) -> Kept:
    """Steps whose files are on disk, of the stages that come before polygons; and predictions without a consumer.

    Parameters
    ----------
    plan : Plan
        The run.
    folder : RunFolder
        Prepared for it.
    stages : sequence of Stage
        All that the run has.
    """
    own = [stage for stage in stages if stage.folder == RUN]
    kept = _marked(plan, folder, own)
    if plan.has_things and not folder.journal("unite").is_whole(RASTER):
        kept |= {"unite": set(), "number": set()}  # numbers are those of the objects of the raster
    if "correct" in kept and len(kept["finish"]) < plan.block_count:
        kept |= {"correct": set()}
    for stage in own:
        folder.journal(stage.name).keep(kept[stage.name])
    return _with_unneeded(plan, own, kept)


def predicted_blocks(plan: Plan, folder: RunFolder, stages: Sequence[Stage]) -> set[Place]:
    """Blocks that need no prediction any more, by what markers say; arguments as of `kept_blocks`, changes nothing."""
    own = [stage for stage in stages if stage.folder == RUN]
    return _with_unneeded(plan, own, _marked(plan, folder, own))["predict"]


def _marked(plan: Plan, folder: RunFolder, own: Sequence[Stage]) -> Kept:
    """Steps that have a marker, without predictions whose strips somebody waits for and that are gone."""
    kept = {stage.name: folder.journal(stage.name).places() for stage in own}
    if plan.has_stuff:
        kept["predict"] -= {place for place in kept["predict"] if not _has_strips(plan, folder, place, kept["finish"])}
    return kept


def _with_unneeded(plan: Plan, own: Sequence[Stage], kept: Kept) -> Kept:
    """The same with predictions that nobody waits for."""
    if not any(kept.values()):
        return kept
    return kept | {"predict": kept["predict"] | unneeded(own[0], plan.tree, own, kept)}


def _has_strips(plan: Plan, folder: RunFolder, place: Place, finished: set[Place]) -> bool:
    """Say whether all strips of a predicted block that somebody still waits for are there."""
    row, col = place
    consumers = plan.grid.consumers_of(plan.grid.block(row, col))
    waiting = {**dict.fromkeys(OWN_STRIPS, (row, col)), **consumers}
    strips = {strip for strip, consumer in waiting.items() if plan.runs(consumer) and consumer not in finished}
    return folder.strips.has(row, col, strips)
