"""Intact results of an earlier start of an outline; markers of damaged or missing ones are removed."""

from __future__ import annotations

from collections.abc import Mapping

from geoseg.outlines.plan import OutlinePlan
from geoseg.stages import OUTLINES, TABLE
from geoseg.tree import BlockTree, Place, is_block

Kept = dict[str, set[Place]]
"""Places by stage."""


def kept_nodes(plan: OutlinePlan) -> Kept:
    """Places whose files are there, by stage, and those whose files are not needed.

    A node needs the pieces of its children until it is joined. So from the root downwards: of a node that is kept the
    pieces below may be gone; of one that is not they have to be there, or those nodes are made again too.
    """
    journals = {stage.name: plan.folder.journal(stage.name) for stage in TABLE if stage.folder == OUTLINES}
    marked = {stage: journal.places() for stage, journal in journals.items()}
    kept: Kept = {stage: set() for stage in journals}
    waiting = [(plan.tree.root, False)] if marked["trace"] or marked["join"] else []
    while waiting:
        place, is_joined_later = waiting.pop()
        stage, piece = "trace" if is_block(place) else "join", plan.folder.file(place, "piece.npz")
        spent = "" if is_joined_later else piece.name
        if place in marked[stage] and journals[stage].has_sizes(place, spent.__ne__):
            kept[stage].add(place)
        waiting += [(child, place not in kept[stage]) for child in plan.tree.children(place)]
    if plan.is_sifted and any(marked.values()):
        whole = {
            stage: {place for place in marked[stage] if journals[stage].has_sizes(place)}
            for stage in ("survey", "merge", "sift")
        }
        kept |= _kept_of_sieve(plan.tree, whole, kept["trace"])
    for stage, journal in journals.items():
        journal.keep(kept[stage])
    return kept


def _kept_of_sieve(tree: BlockTree, whole: Mapping[str, set[Place]], traced: set[Place]) -> Kept:
    """Stages before a trace: labels of which all readers are traced are not needed, nor surveys when no labels are.

    What a block's labels rest on is written by the merges above it, so one of these that is made again makes all above
    it wait.
    """
    blocks, nodes = set(tree.blocks()), set(tree.nodes())
    sifted = whole["sift"] | {
        block for block in blocks if all(reader in traced for reader in tree.readers(block) if tree.exists(reader))
    }
    if len(sifted) == len(blocks):
        return {"survey": blocks, "merge": nodes, "sift": sifted}
    merged = set(whole["merge"])
    for place in (blocks - whole["survey"]) | (nodes - whole["merge"]):
        above = tree.parent(place)
        while above in merged:
            merged.remove(above)
            above = tree.parent(above)
    return {"survey": whole["survey"], "merge": merged, "sift": sifted}
