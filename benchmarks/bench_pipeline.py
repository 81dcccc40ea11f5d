"""How busy a device is kept: a stand-in that holds no lock and computes nothing for some milliseconds a Mpx.

One process feeds it with several threads on one core, as a GPU is fed; the client has the other cores. The stand-in
gives every tile the same scores once the time is over that a device would have taken, one batch after another.
What is printed is its share of the time from its first batch to its last.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from distributed import Client, Worker

import geoseg
from benchmarks.measure import table
from benchmarks.scenes import write_null_model, write_rgb
from geoseg.engine import connect
from geoseg.planning.sharing import Crew


class StandIn:
    """A network on a device that is not there.

    Parameters
    ----------
    seconds_per_mpx : float
        That a pass takes.
    classes : int
        Of the scores: smooth fields.
    """

    def __init__(self, seconds_per_mpx: float, classes: int) -> None:
        self.seconds_per_mpx, self.classes = seconds_per_mpx, classes
        self.first, self.last, self.busy = 0.0, 0.0, 0.0
        self._lock, self._scores = threading.Lock(), torch.empty(0)

    def __call__(self, scaled: torch.Tensor) -> torch.Tensor:
        """Wait, and return scores."""
        count, _, height, width = scaled.shape
        if not self._scores.numel():
            coarse = 4 * torch.randn(
                1, self.classes, height // 32, width // 32, generator=torch.Generator().manual_seed(0)
            )
            self._scores = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")
        with self._lock:
            started = time.perf_counter()
            time.sleep(count * height * width * self.seconds_per_mpx / 1e6)
            self.last = time.perf_counter()
            self.first, self.busy = self.first or started, self.busy + self.last - started
        return self._scores.expand(count, -1, -1, -1)


def install(seconds_per_mpx: float, core: int, dask_worker: Worker) -> None:
    """Give a worker one core, and put the stand-in in the place of every network that it opens."""
    from geoseg import tasks
    from geoseg.models import load_model

    os.sched_setaffinity(0, {core})
    stand_in = dask_worker.stand_in = StandIn(seconds_per_mpx, 7)

    def load(*arguments: object, **more: object) -> object:
        model = load_model(*arguments, **more)
        model._runner._network = stand_in
        return model

    tasks.load_model = load


def forget(dask_worker: Worker) -> None:
    """Count from now on: what came before was the trial."""
    dask_worker.stand_in.first = dask_worker.stand_in.busy = 0.0


def read(dask_worker: Worker) -> tuple[float, float]:
    """Seconds that the stand-in was busy, and from its first batch to its last."""
    stand_in = dask_worker.stand_in
    return stand_in.busy, stand_in.last - stand_in.first


def run(folder: Path, raster: Path, item: Path, milliseconds: float, threads: int) -> list[str]:
    """One run; returns a row of the table."""

    def on_event(said: object) -> None:
        if type(said).__name__ == "Opened":
            client.run(forget)

    client: Client
    with connect(None, Crew(1, threads), dashboard="127.0.0.1:0") as client:
        client.run(install, milliseconds / 1e3, sorted(os.sched_getaffinity(0))[-1])
        settings = {
            "model": str(item),
            "trust_model": True,
            "features": ["f.parquet"],
            "report": False,
            "block_tiles": 2,
        }
        output = folder / f"out-{milliseconds:g}-{threads}"
        geoseg.run(settings, input=str(raster), output=str(output), client=client, progress=on_event)
        ((busy, whole),) = client.run(read).values()
    return [f"{milliseconds:g}", str(threads), f"{whole:.1f}", f"{busy / whole:.1%}"]


def main(side: int = 8192, times: tuple[float, ...] = (150.0, 75.0), threads: tuple[int, ...] = (1, 2, 4)) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        item, raster = write_null_model(folder / "model"), write_rgb(folder / "rgb.tif", side)
        rows = [run(folder, raster, item, milliseconds, count) for milliseconds in times for count in threads]
    header = ["device ms/Mpx", "threads", "blocks s", "device busy"]
    table(f"pipeline: {side:,} px square to labels and polygons, one feeder core", header, rows)


if __name__ == "__main__":
    main(*(int(value) for value in sys.argv[1:2]))
