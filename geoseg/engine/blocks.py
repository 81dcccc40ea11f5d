"""From imagery to labels: which stage of which block is where.

Strategy. ``predict`` of a block depends on nothing, ``finish`` needs the strips of three neighbours. A block is
predicted as soon as the sliding window has room, in raster order, and finished as soon as what it needs is on disk;
there is no barrier between rows or stages. What is on disk is never repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from geoseg import tasks
from geoseg.engine.flow import Flow, Place
from geoseg.grid import Block
from geoseg.store.run import OWN_STRIPS

Final = Callable[[Place, bool], None]
"""Told of each block whose labels will not change in this run, and whether they are what they should be."""


class BlockFlow:
    """The client's side of predicting and finishing.

    Parameters
    ----------
    flow : Flow
        Where tasks go.
    job : tasks.Job
        What they work on.
    final : callable
        Told of each block whose labels will not change any more.
    """

    def __init__(self, flow: Flow, job: tasks.Job, final: Final) -> None:
        self.flow, self.job, self.final = flow, job, final
        self.plan, self.grid, self.folder = job.plan, job.plan.grid, job.folder
        self.finished: set[Place] = set(self.folder.marked("finish"))
        self.predicted: set[Place] = {place for place in self.folder.marked("predict") if not self._lost_strip(place)}
        self.failed: set[Place] = set()
        self.submitted: set[Place] = set()
        self.pending = self._to_predict()

    def start(self) -> None:
        """Report stages of an earlier start, and continue blocks that stopped between two stages."""
        for place in sorted(self.predicted):
            self.flow.keep("predict", place)
        for place in sorted(self.finished):
            self.flow.keep("finish", place)
            if not self._lacks_objects(place):
                self.final(place, True)
        for place in sorted(self.predicted - self.finished):
            self._try_finish(place)

    def fill(self) -> None:
        """Keep the sliding window full."""
        while self.flow.has_room:
            block = next(self.pending, None)
            if block is None:
                return
            place = block.row, block.col
            self.flow.submit(
                "predict", place, tasks.predict, self.job.name, *place, done=self._on_predicted, failed=self._on_lost
            )

    def _to_predict(self) -> Iterator[Block]:
        """Blocks that are not on disk, in raster order."""
        return (block for block in self.plan.blocks() if (block.row, block.col) not in self.predicted)

    def _lost_strip(self, place: tuple[int, int]) -> bool:
        """Say whether somebody still waits for a strip of a predicted block that is not there any more."""
        if not self.plan.has_stuff:
            return False
        waiting = dict.fromkeys(OWN_STRIPS, place) | self.grid.consumers_of(self.grid.block(*place))
        strips = {
            strip for strip, consumer in waiting.items() if self.plan.runs(consumer) and consumer not in self.finished
        }
        return not self.folder.has_strips(*place, strips)

    def _lacks_objects(self, place: Place) -> bool:
        """Say whether a block is finished, but the objects of its tiles were lost and are found again."""
        return self.plan.has_things and place in self.finished and place not in self.predicted

    def _on_predicted(self, place: Place) -> None:
        if self._lacks_objects(place):
            self.final(place, True)
        self.predicted.add(place)
        self._try_finish_around(place)

    def _on_lost(self, place: Place) -> None:
        """Every try has failed: its neighbours are finished without its strips, and its labels stay what they are."""
        self.failed.add(place)
        if place not in self.finished or self._lacks_objects(place):
            self.final(place, False)
        self._try_finish_around(place)

    def _try_finish_around(self, place: Place) -> None:
        """A block's strips are there, or never will be: finish whoever waited for nothing else."""
        row, col = place
        for waiting in (place, *self.grid.consumers_of(self.grid.block(row, col)).values()):
            self._try_finish(waiting)

    def _try_finish(self, place: Place) -> None:
        """Submit ``finish`` when the block is predicted and each of its sources is predicted or has failed.

        Later stages go first, so that strips do not pile up.
        """
        if place not in self.predicted or place in self.finished or place in self.submitted:
            return
        row, col = place
        sources = self.grid.sources_of(self.grid.block(row, col))
        sources = {strip: source for strip, source in sources.items() if self.plan.runs(source)}
        if not all(source in self.predicted or source in self.failed for source in sources.values()):
            return
        self.submitted.add(place)
        missing = tuple(strip for strip, source in sources.items() if source in self.failed)
        self.flow.submit(
            "finish",
            place,
            tasks.finish,
            self.job.name,
            row,
            col,
            missing,
            done=lambda place: self.final(place, not missing),
            failed=lambda place: self.final(place, False),
            priority=10,
        )
