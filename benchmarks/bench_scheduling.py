"""What a block costs before anything is computed: 100,000 blocks through the engine, with tasks that do nothing.

The engine is the real one, with its sliding window, its two tasks a block and its order; only what runs on the workers
is replaced. Seconds of this process's cores count, in which client and scheduler run together: what one scheduler can
do at most, whatever else the machine does meanwhile.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import psutil

from benchmarks import idle_tasks
from geoseg.engine import Event, ProgressEvent, connect, schedule
from geoseg.engine.flow import Flow
from geoseg.stages import Scope, stages_of
from geoseg.tree import BlockTree

MIB = 2**20
ROWS = 10


def tree_of(count: int) -> BlockTree:
    """A square raster of at least so many blocks."""
    side = 1
    while side * side < count:
        side += 1
    return BlockTree((side, side))


def main(count: int = 100_000, workers: int = 2) -> None:
    """Print the table, a row each tenth of the blocks."""
    schedule.run_step = idle_tasks.run_step
    stages, step, process = stages_of(Scope(predicts=True)), count // ROWS, psutil.Process()
    print("| blocks | core ms / block | wall ms / block | client and scheduler MiB |")
    print("| ---: | ---: | ---: | ---: |", flush=True)
    with connect(None, workers) as client, tempfile.TemporaryDirectory() as folder:
        done, before = 0, (time.process_time(), time.perf_counter())

        def progress(event: ProgressEvent) -> None:
            nonlocal done, before
            done += isinstance(event, Event) and event.stage == "finish"
            if isinstance(event, Event) and event.stage == "finish" and done % step == 0:
                now = time.process_time(), time.perf_counter()
                core, wall = ((after - earlier) / step * 1e3 for after, earlier in zip(now, before, strict=True))
                print(f"| {done:,} | {core:.2f} | {wall:.2f} | {process.memory_info().rss / MIB:,.0f} |", flush=True)
                before = now

        flow = Flow(client, 2, progress, Path(folder))
        kept = {stage.name: set() for stage in stages}
        part = schedule.Schedule(flow, tree_of(count), stages, kept, {stage.folder: "idle" for stage in stages})
        part.start()
        flow.run(part.fill)


if __name__ == "__main__":
    main()
