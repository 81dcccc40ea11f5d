"""From objects of tiles to instances: which block is counted, and when all are united.

Strategy. Numbers go by raster order, so they wait until every block is finished; then one task unites the objects of
the whole raster, of which it reads tables and no pixels, and each block is numbered on its own. What is united with a
block missing is never marked, nor what rests on it.
"""

from __future__ import annotations

from collections.abc import Iterator

from geoseg import tasks
from geoseg.engine.blocks import Final
from geoseg.engine.flow import Flow, Place
from geoseg.grid import Block

WHOLE = (0, 0)
"""Where the task stands that works on the whole raster."""


class ObjectFlow:
    """The client's side of uniting and numbering.

    Parameters
    ----------
    flow : Flow
        Where tasks go.
    job : tasks.Job
        What they work on.
    final : callable
        Told of each block whose instances will not change any more.
    """

    def __init__(self, flow: Flow, job: tasks.Job, final: Final) -> None:
        self.flow, self.job, self.final = flow, job, final
        self.finished: dict[Place, bool] = {}
        is_united = job.folder.objects.is_united
        self.numbered: set[Place] = set(job.folder.marked("number")) if is_united else set()
        self.is_united = is_united
        self.pending: Iterator[Block] = iter(())

    def start(self) -> None:
        """Report stages of an earlier start, and go on from there."""
        if self.is_united:
            self.flow.keep("unite", WHOLE)
            self._begin()
        for place in sorted(self.numbered):
            self.flow.keep("number", place)
            self.final(place, True)

    def on_finished(self, place: Place, is_final: bool) -> None:
        """A block is finished: when it is the last one, unite."""
        self.finished[place] = is_final
        if self.is_united or len(self.finished) < self.job.plan.block_count:
            return
        self.flow.submit(
            "unite",
            WHOLE,
            tasks.unite,
            self.job.name,
            all(self.finished.values()),
            done=lambda _: self._begin(),
            failed=lambda _: self._give_up(),
        )

    def fill(self) -> None:
        """Keep the sliding window full."""
        while self.flow.has_room:
            block = next(self.pending, None)
            if block is None:
                return
            self._number((block.row, block.col))

    def _begin(self) -> None:
        blocks = self.job.plan.blocks()
        self.pending = (block for block in blocks if (block.row, block.col) not in self.numbered)

    def _number(self, place: Place) -> None:
        is_final = self.is_united or all(self.finished.values())
        self.flow.submit(
            "number",
            place,
            tasks.number,
            self.job.name,
            *place,
            is_final,
            done=lambda place: self.final(place, is_final),
            failed=lambda place: self.final(place, False),
            priority=10,
        )

    def _give_up(self) -> None:
        """Without numbers there are no instances, and nothing to outline."""
        self.flow.outcome.is_outlined = False
