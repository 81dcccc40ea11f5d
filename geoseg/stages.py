"""The table of stages: everything that engine, store, monitor, page, plan and report have to know of each.

A stage is added by a row here and by the function that the row names. It knows places, not what happens there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from geoseg.tree import BlockTree, Place

RASTER = (0, 0)
"""The place of a step that works on the whole raster."""

RUN, OUTLINES = ".", "outlines"
"""Folders of stages that label blocks, and of those that make polygons of any labels."""

LABELS = ("finish", "number")
"""Stages that write labels, which are final after the last of them that a run has."""

Over = Literal["blocks", "outlines", "nodes", "raster"]
"""What a stage goes through: blocks that are mapped; those that may hold polygons; nodes that join them; the raster."""


@dataclass(frozen=True)
class Relation:
    """Places that a step at a place needs, and those that need a place; an iterator where that may be all of them."""

    needs: Callable[[BlockTree, Place], Iterable[Place]]
    readers: Callable[[BlockTree, Place], Iterable[Place]]


SAME = Relation(lambda _, place: [place], lambda _, place: [place])
AROUND = Relation(BlockTree.around, BlockTree.readers)
CHILDREN = Relation(BlockTree.children, BlockTree.parents)
EVERYWHERE = Relation(lambda tree, _: tree.mapped_blocks(), lambda *_: [RASTER])
ONCE = Relation(lambda *_: [RASTER], lambda tree, _: tree.mapped_blocks())
ROOT = Relation(lambda tree, _: [tree.root], lambda tree, place: tree.blocks() if place == tree.root else ())


@dataclass(frozen=True)
class Need:
    """What a step waits for.

    Attributes
    ----------
    where : Relation
        At which places.
    stages : tuple of str
        In which stages, as far as a run has them.
    is_vital : bool
        Whether the step cannot run when one of these has failed; otherwise it runs without it and is not marked.
    """

    where: Relation
    stages: tuple[str, ...]
    is_vital: bool = False


@dataclass(frozen=True)
class Scope:
    """What a run is made of, which decides its stages.

    Attributes
    ----------
    predicts : bool
        A model labels blocks; otherwise labels are there already.
    stuff, things : bool
        Every pixel is labelled with a class; objects are told apart.
    corrects : bool
        A person's corrections are burnt into labels.
    outlines : bool
        Polygons are made.
    sieves : bool
        Small faces go.
    """

    predicts: bool = False
    stuff: bool = True
    things: bool = False
    corrects: bool = False
    outlines: bool = False
    sieves: bool = False


@dataclass(frozen=True)
class Stage:
    """One row of the table.

    Attributes
    ----------
    name : str
        One word, as people, files and tasks have it.
    does : str
        What happens, for people.
    function : str
        ``"module:name"`` of what runs on a worker, see `geoseg.steps`.
    over : str
        What it goes through.
    when : callable
        Whether a run has it.
    needs : tuple of Need
        What each step waits for.
    folder : str
        Where in the folder ``state`` its files and markers are: `RUN` or `OUTLINES`, each with a job of its own.
    is_dispensable : bool
        Whether a run goes on where a step has failed; otherwise there are no polygons.
    """

    name: str
    does: str
    function: str
    over: Over
    when: Callable[[Scope], bool]
    needs: tuple[Need, ...] = ()
    folder: str = RUN
    is_dispensable: bool = False

    @property
    def makes_labels(self) -> bool:
        """Whether it writes labels."""
        return self.name in LABELS

    @property
    def goes_through_blocks(self) -> bool:
        """Whether its places are blocks."""
        return self.over in ("blocks", "outlines")

    def places(self, tree: BlockTree) -> Iterator[Place]:
        """Where it has a step, in order."""
        if self.over == "raster":
            return iter([RASTER])
        places = {"blocks": tree.mapped_blocks, "outlines": tree.blocks, "nodes": tree.nodes}
        return places[self.over]()

    def has(self, tree: BlockTree, place: Place) -> bool:
        """Say whether it has a step at a place."""
        if self.over in ("blocks", "raster"):
            return len(place) == len(RASTER) and (self.over == "raster" or tree.is_mapped(place))
        return self.goes_through_blocks == (len(place) == len(RASTER)) and tree.exists(place)

    def count(self, tree: BlockTree) -> int:
        """How many steps it has, without going through all blocks of a raster that is mapped whole."""
        if tree.mapped is not None or self.over == "raster":
            return sum(1 for _ in self.places(tree))
        blocks, *nodes = (down * across for down, across in tree.sizes)
        return blocks if self.goes_through_blocks else sum(nodes)


TABLE = (
    Stage(
        "predict",
        "the model looks at tiles",
        "geoseg.tasks:predict",
        over="blocks",
        when=lambda scope: scope.predicts,
        is_dispensable=True,
    ),
    Stage(
        "finish",
        "borders of tiles are blended",
        "geoseg.tasks:finish",
        over="blocks",
        when=lambda scope: scope.predicts and scope.stuff,
        needs=(Need(SAME, ("predict",), is_vital=True), Need(AROUND, ("predict",))),
        is_dispensable=True,
    ),
    Stage(
        "overlap",
        "objects are counted where tiles overlap",
        "geoseg.tasks:overlap",
        over="blocks",
        when=lambda scope: scope.things,
        needs=(Need(SAME, ("predict",), is_vital=True), Need(AROUND, ("predict",))),
        is_dispensable=True,
    ),
    Stage(
        "unite",
        "objects are joined over tiles",
        "geoseg.tasks:unite",
        over="raster",
        when=lambda scope: scope.things,
        needs=(Need(EVERYWHERE, ("predict", "finish", "overlap")),),
    ),
    Stage(
        "number",
        "objects get their numbers",
        "geoseg.tasks:number",
        over="blocks",
        when=lambda scope: scope.things,
        needs=(Need(ONCE, ("unite",)), Need(AROUND, ("predict",))),
        is_dispensable=True,
    ),
    Stage(
        "correct",
        "corrections are burnt into labels",
        "geoseg.tasks:correct",
        over="raster",
        when=lambda scope: scope.corrects,
        needs=(Need(EVERYWHERE, ("finish",)),),
    ),
    Stage(
        "survey",
        "small faces are found",
        "geoseg.outlines.sifting:survey_block",
        over="outlines",
        when=lambda scope: scope.sieves,
        needs=(Need(SAME, LABELS),),
        folder=OUTLINES,
    ),
    Stage(
        "merge",
        "who takes them is decided",
        "geoseg.outlines.sifting:merge_surveys",
        over="nodes",
        when=lambda scope: scope.sieves,
        needs=(Need(CHILDREN, ("survey", "merge")),),
        folder=OUTLINES,
    ),
    Stage(
        "sift",
        "labels without small faces",
        "geoseg.outlines.sifting:sift_block",
        over="outlines",
        when=lambda scope: scope.sieves,
        needs=(Need(ROOT, ("survey", "merge")), Need(SAME, ("survey",))),
        folder=OUTLINES,
    ),
    Stage(
        "trace",
        "labels become arcs",
        "geoseg.outlines.tasks:trace_block",
        over="outlines",
        when=lambda scope: scope.outlines,
        needs=(Need(AROUND, (*LABELS, "sift")),),
        folder=OUTLINES,
    ),
    Stage(
        "join",
        "arcs become polygons",
        "geoseg.outlines.tasks:join_nodes",
        over="nodes",
        when=lambda scope: scope.outlines,
        needs=(Need(CHILDREN, ("trace", "join")),),
        folder=OUTLINES,
    ),
)
"""All stages; later ones go first, so that little piles up."""

WRITING = "write results"
"""What follows the last stage: files of results, which `geoseg.workflow.outputs` keeps count of."""

STAGES = {stage.name: stage for stage in TABLE}
"""Stages by name."""


def stages_of(scope: Scope) -> tuple[Stage, ...]:
    """Stages of a run, in order."""
    return tuple(stage for stage in TABLE if stage.when(scope))


def totals(stages: Iterable[Stage], tree: BlockTree) -> dict[str, int]:
    """How many steps each stage has, by its name."""
    return {stage.name: stage.count(tree) for stage in stages}


def unneeded(stage: Stage, tree: BlockTree, stages: Sequence[Stage], kept: Mapping[str, set[Place]]) -> set[Place]:
    """Places of a stage that are not on disk, and that no step needs that is not on disk either.

    Parameters
    ----------
    stage : Stage
        The stage.
    tree : BlockTree
        The blocks of the run.
    stages : sequence of Stage
        Those of the run that read it.
    kept : mapping of str to set
        Places by stage that are on disk.
    """
    readers = [(reader, need.where) for reader in stages for need in reader.needs if stage.name in need.stages]
    return {
        place
        for place in stage.places(tree)
        if place not in kept[stage.name]
        and all(
            at in kept[reader.name]
            for reader, where in readers
            for at in where.readers(tree, place)
            if reader.has(tree, at)
        )
    }
