"""A plan on Dask: what is submitted when, what is tried again, what is kept from an earlier start.

It knows which task needs which, and that results go through files; it does not know what tasks compute.
"""

from geoseg.engine.attempts import attempt, each_worker, hear, results_of, warn_here
from geoseg.engine.cluster import connect, ends_with_run
from geoseg.engine.connection import connected, present
from geoseg.engine.events import (
    Compiling,
    Ended,
    Event,
    Layout,
    Opened,
    Outcome,
    ProgressCallback,
    ProgressEvent,
    Started,
    Writing,
    announced,
    ignore,
)
from geoseg.engine.execution import execute, outline, stages_of_run
from geoseg.forking import WORKER_ENVIRONMENT, prepare_workers

__all__ = [
    "WORKER_ENVIRONMENT",
    "Compiling",
    "Ended",
    "Event",
    "Layout",
    "ProgressCallback",
    "Opened",
    "Outcome",
    "ProgressEvent",
    "Started",
    "Writing",
    "announced",
    "attempt",
    "connect",
    "ends_with_run",
    "connected",
    "each_worker",
    "execute",
    "hear",
    "ignore",
    "outline",
    "prepare_workers",
    "present",
    "results_of",
    "stages_of_run",
    "warn_here",
]
