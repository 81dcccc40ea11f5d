"""From labels to polygons: which node of an outline is where.

Strategy. A block is traced when its labels and those of its left, upper and upper left neighbour are final; a node is
joined when all its children are there. Where small faces have to go, each block is surveyed when its labels are final,
surveys are merged up the tree, and only when the whole raster is decided on are blocks sifted and traced. Later stages
go first, so that little piles up. What is marked is never repeated; what rests on labels that are not what they should
be is never marked.
"""

from __future__ import annotations

from collections.abc import Iterator

from geoseg.engine.flow import Flow, Place
from geoseg.outlines import Node, OutlineJob
from geoseg.outlines.resuming import kept_nodes
from geoseg.outlines.tasks import join_nodes, sift, trace_block

PRIORITY: dict[str, int] = {"survey": 5, "merge": 10, "sift": 15, "trace": 20, "join": 30}

Step = tuple[str, Node]


class NodeFlow:
    """The client's side of surveying, merging, sifting, tracing and joining.

    Parameters
    ----------
    flow : Flow
        Where tasks go.
    job : OutlineJob
        What they work on.
    """

    def __init__(self, flow: Flow, job: OutlineJob) -> None:
        self.flow, self.job, self.plan = flow, job, job.plan
        stages: list[str] = ["survey", "merge", "sift"] if self.plan.is_sifted else []
        stages += ["trace", "join"]
        kept = kept_nodes(self.plan)
        self.here: dict[Step, bool] = {(stage, node): True for stage in stages for node in sorted(kept[stage])}
        self.final: dict[Place, bool] = {}
        self.submitted: set[Step] = set(self.here)

    def start(self) -> None:
        """Report what an earlier start has left, and go on from there."""
        for stage, node in list(self.here):
            self.flow.keep(stage, _place(stage, node))
        for step in list(self.here):
            self._go_on(step)

    def on_final(self, place: Place, is_final: bool) -> None:
        """Labels of a block will not change in this run: go on with whoever waited for nothing else."""
        self.final[place] = is_final
        for node in self._readers(place):
            self._try("survey" if self.plan.is_sifted else "trace", node)

    def all_final(self) -> Iterator[Place]:
        """Blocks of a raster whose labels are there from the start, in raster order."""
        return ((row, col) for _, row, col in self.plan.blocks() if self._holds_labels((row, col)))

    def _readers(self, place: Place) -> list[Node]:
        """Blocks that read labels of a block: itself, and those right of it, below it and at the corner."""
        row, col = place
        down, across = self.plan.sizes[0]
        nodes = [(0, y, x) for y in (row, row + 1) for x in (col, col + 1) if y < down and x < across]
        return [node for node in nodes if self.plan.exists(node)]

    def _holds_labels(self, place: Place) -> bool:
        return self.plan.places is None or place in self.plan.places

    def _needs(self, stage: str, node: Node) -> list[bool | None]:
        """What a step waits for: None is not there yet, False is there and not what it should be."""
        children = self.plan.children(node)
        if stage == "merge":
            return [self.here.get(("merge" if child[0] else "survey", child)) for child in children]
        if stage == "join":
            return [self.here.get(("join" if child[0] else "trace", child)) for child in children]
        if stage == "sift":
            return [self.here.get(("merge" if self.plan.root[0] else "survey", self.plan.root))]
        sources = self.plan.sources_of(node)
        if stage == "trace" and self.plan.is_sifted:
            blocks = [(0, row, col) for row, col in sources]
            return [self.here.get(("sift", block)) for block in blocks if self.plan.exists(block)]
        own = [node[1:]] if stage == "survey" else sources
        return [self.final.get(place) for place in own if self._holds_labels(place)]

    def _try(self, stage: str, node: Node | None) -> None:
        """Submit a step when nothing is missing that it needs."""
        if node is None or (stage, node) in self.submitted:
            return
        needs = self._needs(stage, node)
        if any(need is None for need in needs):
            return
        self.submitted.add((stage, node))
        is_final = all(needs)
        functions = {"trace": trace_block, "join": join_nodes}
        arguments = (node, is_final) if stage in functions else (stage, node, is_final)
        self.flow.submit(
            stage,
            _place(stage, node),
            functions.get(stage, sift),
            self.job.name,
            *arguments,
            done=lambda _: self._on_done((stage, node), is_final),
            failed=lambda _: self._on_failed(),
            priority=PRIORITY[stage],
        )

    def _on_done(self, step: Step, is_final: bool) -> None:
        self.here[step] = is_final
        self._go_on(step)

    def _on_failed(self) -> None:
        """Without this node nothing that rests on it can be made: there will be no polygons."""
        self.flow.outcome.is_outlined = False

    def _go_on(self, step: Step) -> None:
        """Try the steps that a step is needed for."""
        stage, node = step
        if stage in ("trace", "join"):
            self._try("join", self.plan.parent(node))
        elif stage == "sift":
            for reader in self._readers(node[1:]):
                self._try("trace", reader)
        elif node == self.plan.root:
            for block in self.plan.blocks():
                self._try("sift", block)
        else:
            self._try("merge", self.plan.parent(node))


def _place(stage: str, node: Node) -> Place:
    """A block by its row and column, a node by its level too."""
    return node if stage in ("merge", "join") else node[1:]
