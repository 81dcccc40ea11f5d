"""What an earlier start has left of an outline, and still is what it was."""

from __future__ import annotations

from geoseg.outlines.folder import Node
from geoseg.outlines.plan import OutlinePlan

SIFTING = ("survey", "merge", "sift")
"""Stages whose files stay until the end."""


def kept_nodes(plan: OutlinePlan) -> dict[str, set[Node]]:
    """Nodes whose files are there, by stage; markers of others are removed, so that they are made again.

    A node needs the pieces of its children until it is joined. So from the root downwards: of a node that is kept the
    pieces below may be gone, and go; of one that is not they have to be there, or those nodes are made again too.
    """
    marked = {stage: plan.folder.marked(stage) for stage in (*SIFTING, "trace", "join")}
    kept = {
        stage: {node for node in marked[stage] if plan.folder.is_intact(stage, node)} if plan.is_sifted else set()
        for stage in SIFTING
    }
    kept |= {"trace": set(), "join": set()}
    waiting = [(plan.root, False)] if marked["trace"] or marked["join"] else []
    while waiting:
        node, is_joined_later = waiting.pop()
        stage = "join" if node[0] else "trace"
        is_kept = node in marked[stage] and plan.folder.is_intact(stage, node, with_piece=is_joined_later)
        if is_kept:
            kept[stage].add(node)
        if not is_joined_later:
            plan.folder.drop_arrays(node, "piece")
        waiting += [(child, not is_kept) for child in plan.children(node)]
    for stage, nodes in marked.items():
        for node in nodes - kept[stage]:
            plan.folder.unmark(stage, node)
    return kept


def is_whole(plan: OutlinePlan) -> bool:
    """Whether all polygons are on disk already, as they were written; markers of what is not are removed."""
    kept = kept_nodes(plan)
    return all(node in kept["join" if node[0] else "trace"] for node in plan.nodes())
