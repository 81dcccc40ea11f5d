"""Tasks that do nothing, for `benchmarks.bench_scheduling`: a module of its own, because workers find tasks by name."""

from __future__ import annotations


def predict(_job: str, _row: int, _col: int) -> dict[str, float]:
    """Predict nothing."""
    return {"predict": 0.0}


def finish(_job: str, _row: int, _col: int, _missing: tuple[str, ...] = ()) -> dict[str, float]:
    """Finish nothing."""
    return {"finish": 0.0}
