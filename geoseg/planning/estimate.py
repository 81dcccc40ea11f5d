"""How long a run takes and what it leaves on disk, from what was measured; the plan says it beforehand."""

from __future__ import annotations

from dataclasses import asdict, dataclass

START_SECONDS = 12.0
"""Until the first tile: Python, the workers and the model."""

BLOCK_FACTOR = 1.21
"""Blocks, with reading, blending, tracing and writing, by their forward passes; of `bench_overhead`."""

REPORT_SECONDS_PER_MPX = 0.025
"""What the report takes; 2.6 s were measured over 115 Mpx."""

STATE_BYTES = 2.5
"""Bytes a pixel of ``state``, as measured over nine copies of the shipped scene, with 254,000 polygons: 2.1, and 0.4 of
pieces that stay."""

PROBABILITY_BYTES = 1.3
"""Bytes of the probability of a class of a pixel, compressed; 1.23 of the nine classes of the shipped scene."""

RESULT_BYTES = 1.6
"""The same of rasters and unsimplified polygons in a GeoPackage."""


@dataclass(frozen=True)
class Estimate:
    """What a whole run takes, seconds of wall time by part.

    Attributes
    ----------
    start, blocks, report : float
        Until the first tile, from there to the last polygon, and for the report.
    workers : int
        Processes that work at the same time.
    """

    start: float
    blocks: float
    report: float
    workers: int

    @property
    def seconds(self) -> float:
        """Wall time of the run."""
        return self.start + self.blocks + self.report

    @property
    def core_hours(self) -> float:
        """Hours of a core: workers that wait are paid for too."""
        return self.seconds * self.workers / 3600

    def summary(self) -> dict[str, float]:
        """All numbers by name."""
        return {**asdict(self), "seconds": self.seconds, "core_hours": self.core_hours}
