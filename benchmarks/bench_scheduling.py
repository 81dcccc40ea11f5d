"""What a block costs before anything is computed: 100,000 blocks through the engine, with tasks that do nothing.

The engine is the real one, with its sliding window, its two tasks a block and its order; only what runs on the workers
is replaced. Seconds of this process's cores count, in which client and scheduler run together: what one scheduler can
do at most, whatever else the machine does meanwhile.
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import psutil

from benchmarks import idle_tasks
from geoseg.engine import blocks, connect
from geoseg.engine.flow import Flow
from geoseg.grid import TileGrid, Tiling

MIB = 2**20
TILING = Tiling(1024, 32, 32, 32)
ROWS = 10


def grid_of(count: int) -> TileGrid:
    """A square raster of at least so many blocks of 2 x 2 tiles."""
    side = 1
    while side * side < count:
        side += 1
    return TileGrid((2 * side * TILING.stride,) * 2, TILING)


def main(count: int = 100_000, workers: int = 2) -> None:
    """Print the table, a row each tenth of the blocks."""
    blocks.tasks = idle_tasks  # type: ignore[assignment]
    grid, step = grid_of(count), count // ROWS
    process = psutil.Process()
    print("| blocks | core ms / block | wall ms / block | client and scheduler MiB |")
    print("| ---: | ---: | ---: | ---: |", flush=True)
    with connect(None, workers) as client:
        plan = SimpleNamespace(grid=grid, blocks=grid.blocks, has_stuff=False, runs=lambda _place: True)
        folder = SimpleNamespace(marked=lambda _stage: set())
        done, before = 0, (time.process_time(), time.perf_counter())

        def on_final(_place: Any, _is_final: bool) -> None:
            nonlocal done, before
            done += 1
            if done % step == 0:
                now = time.process_time(), time.perf_counter()
                core, wall = ((after - earlier) / step * 1e3 for after, earlier in zip(now, before, strict=True))
                print(f"| {done:,} | {core:.2f} | {wall:.2f} | {process.memory_info().rss / MIB:,.0f} |", flush=True)
                before = now

        flow = Flow(client, 2, lambda _event: None)
        job: Any = SimpleNamespace(plan=plan, folder=folder, name="idle")
        part = blocks.BlockFlow(flow, job, on_final)
        part.start()
        flow.run(part.fill)


if __name__ == "__main__":
    main()
