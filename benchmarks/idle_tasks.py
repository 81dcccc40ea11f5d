"""A step that does nothing, for `benchmarks.bench_scheduling`: a module of its own, because workers find it by name."""

from __future__ import annotations

from collections.abc import Collection

from geoseg.steps import Step
from geoseg.tree import Place


def run_step(_job: str, stage: str, _place: Place, _missing: Collection[Step] = ()) -> dict[str, float]:
    """Do nothing."""
    return {stage: 0.0}
