"""Which step of a run is where: a step is submitted as soon as everything that it needs is on disk, or never will be.

Strategy. The table of stages says what a step needs. Of each step that waits the needs that are still to come are
counted, and each step that ends counts down those that read it; no graph is built, and there is no barrier between rows
or stages. Steps that need nothing are made one by one as the sliding window has room, in raster order, and so are those
that all wait for one step of the whole raster. What is on disk is never repeated; what rests on a step that has failed
runs without it, and is not marked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from geoseg.engine.flow import Flow
from geoseg.stages import TABLE, Relation, Stage
from geoseg.steps import Step, run_step
from geoseg.tree import BlockTree, Place

PRIORITY = {stage.name: priority for priority, stage in enumerate(TABLE)}
"""Later stages go first, so that little piles up."""


class Schedule:
    """The client's side of all stages.

    Parameters
    ----------
    flow : Flow
        Where tasks go.
    tree : BlockTree
        The blocks.
    stages : sequence of Stage
        What the run has, in order.
    kept : mapping of str to set
        Places by stage whose files are on disk.
    jobs : mapping of str to str
        Name of the job of a stage's steps, by the stage's `folder`.
    """

    def __init__(
        self,
        flow: Flow,
        tree: BlockTree,
        stages: Sequence[Stage],
        kept: Mapping[str, set[Place]],
        jobs: Mapping[str, str],
    ) -> None:
        self.flow, self.tree, self.kept, self.jobs = flow, tree, kept, jobs
        self.stages = {stage.name: stage for stage in stages}
        self._readers = {name: list(self._readers_of(name)) for name in self.stages}
        self._counts: dict[Step, int] = {}
        self._missing: set[Step] = set()
        self._pending: list[Iterator[Step]] = [self._free()]

    def start(self) -> None:
        """Report what an earlier start has left, and go on from there."""
        steps = [(name, place) for name in self.stages for place in sorted(self.kept[name])]
        for step in steps:
            self.flow.keep(*step)
        for step in steps:
            self._end(step)

    def fill(self) -> None:
        """Keep the sliding window full: the latest stage that has steps to make goes first."""
        while self._pending and self.flow.has_room:
            step = next(self._pending[-1], None)
            if step is None:
                self._pending.pop()
            else:
                self._count_down(step)

    def _readers_of(self, name: str) -> Iterator[tuple[Stage, Relation]]:
        """Stages that need a stage, and where; twice those that need it twice."""
        for stage in self.stages.values():
            yield from ((stage, need.where) for need in stage.needs if name in need.stages)

    def _free(self) -> Iterator[Step]:
        """Steps that need nothing, in order."""
        for stage in self.stages.values():
            for place in stage.places(self.tree):
                if place not in self.kept[stage.name] and next(self._needs((stage.name, place)), None) is None:
                    yield stage.name, place

    def _needs(self, step: Step, *, vital: bool | None = None) -> Iterator[Step]:
        """Steps that a step needs; those that are vital, or not, when that is said."""
        name, place = step
        for need in self.stages[name].needs:
            if vital in (None, need.is_vital):
                for source in (self.stages[item] for item in need.stages if item in self.stages):
                    yield from (
                        (source.name, at) for at in need.where.needs(self.tree, place) if source.has(self.tree, at)
                    )

    def _end(self, step: Step) -> None:
        """A step is on disk, or never will be: count down those that read it."""
        name, place = step
        for reader, where in self._readers[name]:
            places = where.readers(self.tree, place)
            steps = ((reader.name, at) for at in places if reader.has(self.tree, at))
            if isinstance(places, Iterator):  # a whole raster of them
                self._pending.append(steps)
            else:
                for item in steps:
                    self._count_down(item)

    def _count_down(self, step: Step) -> None:
        """One need less; submit a step that waits for nothing more."""
        count = self._counts.pop(step, None)
        left = (sum(1 for _ in self._needs(step)) if count is None else count) - 1
        if left > 0:
            self._counts[step] = left
        elif step[1] not in self.kept[step[0]]:
            self._submit(step)

    def _submit(self, step: Step) -> None:
        name, place = step
        missing = tuple(need for need in self._needs(step) if need in self._missing) if self._missing else ()
        if missing and any(need in missing for need in self._needs(step, vital=True)):
            self._lose(step)
            return
        self.flow.submit(
            name,
            place,
            run_step,
            self.jobs[self.stages[name].folder],
            name,
            place,
            missing,
            done=lambda _: self._done(step, is_missing=bool(missing)),
            failed=lambda _: self._lose(step),
            priority=PRIORITY[name],
        )

    def _done(self, step: Step, *, is_missing: bool) -> None:
        if is_missing:
            self._missing.add(step)
        self._end(step)

    def _lose(self, step: Step) -> None:
        """Every try has failed: others go on without it, or there will be no polygons."""
        if self.stages[step[0]].is_dispensable:
            self._done(step, is_missing=True)
        else:
            self.flow.outcome.is_outlined = False
