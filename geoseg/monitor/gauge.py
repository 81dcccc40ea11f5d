"""Memory metric of a worker, in the measure that plans are made in: of pages that processes share, its part.

It is loaded by workers; it knows nothing of runs.
"""

from __future__ import annotations

import time

from distributed import Worker, WorkerPlugin

from geoseg.peak_memory import SELF, sizes

METRIC = "geoseg-memory"
"""What it is called among a worker's metrics, bytes."""

LOOKS = 30.0
"""Seconds between looks at what is shared: it hardly changes once libraries are loaded, and a look takes 12 ms."""

GROWTH = 0.1
"""Share by which the resident set changes before that: another look is due."""


class Gauge(WorkerPlugin):
    """Tells the memory of a worker with each of its heartbeats."""

    name = METRIC
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Begin; where a system does not tell what is shared, the worker's own measure stands."""
        self._shared, self._seen, self._looked = 0, 0, float("-inf")
        if (SELF / "smaps_rollup").exists():
            worker.metrics[METRIC] = self.measure

    def teardown(self, worker: Worker) -> None:
        """End."""
        worker.metrics.pop(METRIC, None)

    def measure(self, worker: Worker) -> int:  # noqa: ARG002 - how distributed asks for a metric
        """Resident set of this process less what others hold of it, bytes."""
        resident = sizes("status")["VmRSS"]
        if time.monotonic() - self._looked > LOOKS or abs(resident - self._seen) > GROWTH * resident:
            rollup = sizes("smaps_rollup")
            self._shared, self._seen, self._looked = rollup["Rss"] - rollup["Pss"], resident, time.monotonic()
        return max(0, resident - self._shared)
