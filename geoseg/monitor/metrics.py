"""Metrics of runs for Prometheus, beside those that the scheduler has at ``/metrics``: what the page shows, as numbers.

They are taken from what runs have told the page, when somebody asks. As Dask's own they are there where
``prometheus_client`` is installed, and are those of the scheduler that was started last in a process.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from prometheus_client import Metric

ENDS = ("done", "incomplete", "stopped", "broken")
"""Phases after which a run goes on no more."""

Sample = tuple[dict[str, str], float | None]
"""Labels and a value; None when it is not known."""


class ToldRun(Protocol):
    """What a run has told, and when: seconds of the monotonic clock."""

    head: dict[str, Any]
    told: float


class Row(NamedTuple):
    """A metric: its name, what it counts, ``"counter"`` or ``"gauge"``, and its samples of a run."""

    name: str
    meaning: str
    kind: str
    samples: Callable[[ToldRun], Iterable[Sample]]


def _stages(field: str) -> Callable[[ToldRun], Iterable[Sample]]:
    return lambda view: [({"stage": stage}, work[field]) for stage, work in view.head["stages"].items()]


def _head(field: str) -> Callable[[ToldRun], Iterable[Sample]]:
    return lambda view: [({}, view.head.get(field))]


def _pixels(view: ToldRun) -> Iterable[Sample]:
    return _head("pixels")(view) if "predict" in view.head["stages"] else ()


TABLE = (
    Row("geoseg_blocks_planned", "Tasks of a stage: blocks, or nodes that join several", "gauge", _stages("total")),
    Row("geoseg_blocks_done", "Tasks that were done since the run began", "counter", _stages("done")),
    Row("geoseg_blocks_kept", "Tasks whose results were there from an earlier start", "counter", _stages("kept")),
    Row("geoseg_blocks_failed", "Tasks whose every try has failed", "counter", _stages("failed")),
    Row("geoseg_worker_seconds", "Time of workers for tasks that are done", "counter", _stages("seconds")),
    Row("geoseg_pixels_predicted", "Pixels that were predicted since the run began", "counter", _pixels),
    Row("geoseg_run_seconds", "Time since the run began, until it ended", "gauge", _head("elapsed")),
    Row("geoseg_run_left_seconds", "Time that the rest is expected to take", "gauge", _head("left")),
    Row("geoseg_run_done_ratio", "Part of the work that is done", "gauge", _head("share")),
    Row(
        "geoseg_run_finished",
        "1 when the run goes on no more, however it ended",
        "gauge",
        lambda view: [({}, view.head["phase"] in ENDS)],
    ),
    Row(
        "geoseg_run_silent_seconds",
        "Time since the run was last heard of",
        "gauge",
        lambda view: [({}, time.monotonic() - view.told)],
    ),
    Row(
        "geoseg_run_info",
        "What a run is, and its phase",
        "gauge",
        lambda view: [({"title": view.head["title"], "phase": view.head["phase"]}, 1)],
    ),
)
"""All metrics; each has the label ``run`` besides, and counters end in ``_total``."""


class RunCollector:
    """The metrics of the runs that a page shows."""

    def __init__(self) -> None:
        self.views: Mapping[str, ToldRun] | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering asks for no metrics."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Each metric with its samples of all runs."""
        from prometheus_client import Metric

        for row in TABLE:
            metric = Metric(row.name, row.meaning, row.kind)
            for run, view in (self.views or {}).items():
                for labels, value in row.samples(view):
                    if value is not None:
                        name = f"{row.name}_total" if row.kind == "counter" else row.name
                        metric.add_sample(name, {"run": run, **labels}, float(value))
            yield metric


_COLLECTOR = RunCollector()


def collect(views: Mapping[str, ToldRun]) -> None:
    """Add runs by name, those that there will be too, to ``/metrics``, where that can be had."""
    try:
        from prometheus_client import REGISTRY
    except ImportError:
        return
    if _COLLECTOR.views is None:
        registry: Any = REGISTRY
        registry.register(_COLLECTOR)
    _COLLECTOR.views = views
