"""From labels to polygons: which node of an outline is where.

Strategy. A block is traced when its own labels and those of its left, upper and upper left neighbour are final; a node
is joined when all its children are there. Joins go first, so that pieces do not pile up. What is marked is never
repeated; a node above one that is not marked is.
"""

from __future__ import annotations

from collections.abc import Iterator

from geoseg.engine.flow import Flow, Place
from geoseg.outlines import Node, OutlineJob
from geoseg.outlines.tasks import join_nodes, trace_block


class NodeFlow:
    """The client's side of tracing and joining.

    Parameters
    ----------
    flow : Flow
        Where tasks go.
    job : OutlineJob
        What they work on.
    """

    def __init__(self, flow: Flow, job: OutlineJob) -> None:
        self.flow, self.job, self.plan = flow, job, job.plan
        self.marked: set[Node] = set(self.plan.folder.marked())
        self.here: set[Node] = set()
        self.final: dict[Place, bool] = {}
        self.submitted: set[Node] = set()

    def start(self) -> None:
        """Report what an earlier start has left, and trace blocks that never hold labels themselves."""
        for node in sorted(self.marked):
            if node[0]:
                self.flow.keep("join", node)
            else:
                self.flow.keep("trace", node[1:])
            self.here.add(node)
        for node in sorted(self.marked):
            self._try_join(self.plan.parent(node))

    def on_final(self, place: Place, is_final: bool) -> None:
        """Labels of a block will not change in this run: trace whoever waited for nothing else."""
        self.final[place] = is_final
        row, col = place
        down, across = self.plan.sizes[0]
        for y in (row, row + 1):
            for x in (col, col + 1):
                if y < down and x < across:
                    self._try_trace((0, y, x))

    def all_final(self) -> Iterator[Place]:
        """Blocks of a raster whose labels are there from the start, in raster order."""
        return ((row, col) for _, row, col in self.plan.blocks())

    def _try_trace(self, node: Node) -> None:
        if not self.plan.exists(node) or node in self.marked or node in self.submitted:
            return
        sources = [place for place in self.plan.sources_of(node) if self._holds_labels(place)]
        if not all(place in self.final for place in sources):
            return
        self.submitted.add(node)
        is_final = all(self.final[place] for place in sources)
        self.flow.submit(
            "trace",
            node[1:],
            trace_block,
            self.job.name,
            node,
            is_final,
            done=lambda _: self._on_done(node),
            failed=lambda _: self._on_failed(),
            priority=10,
        )

    def _holds_labels(self, place: Place) -> bool:
        return self.plan.places is None or place in self.plan.places

    def _on_done(self, node: Node) -> None:
        self.here.add(node)
        self._try_join(self.plan.parent(node))

    def _on_failed(self) -> None:
        """Without this node nothing above it can be joined: there will be no polygons."""
        self.flow.outcome.is_outlined = False

    def _try_join(self, node: Node | None) -> None:
        if node is None or node in self.marked or node in self.submitted:
            return
        if not all(child in self.here for child in self.plan.children(node)):
            return
        self.submitted.add(node)
        self.flow.submit(
            "join",
            node,
            join_nodes,
            self.job.name,
            node,
            done=lambda _: self._on_done(node),
            failed=lambda _: self._on_failed(),
            priority=20,
        )
