"""Numbers and phases as people read them, the same in the terminal and in lines."""

from __future__ import annotations

from collections.abc import Iterator

from geoseg.engine import Event, Started
from geoseg.monitor.state import Summary

MIB = 2**20

PHASES = {
    "opening": "opening the model",
    "compiling": "compiling, once on this machine: about 30 s",
    "writing": "writing",
    "done": "done",
    "incomplete": "done, but for blocks that failed",
    "stopped": "stopped",
    "broken": "broken off",
}
"""What is said of a phase; of blocks that run, how fast."""


STOPPING = "stopping: workers are given a moment to end"
"""What is said at once when a person stops a run; closing takes some seconds."""


def duration(seconds: float) -> str:
    """A length of time: ``45 s``, ``12:05 min`` or ``3:07 h``."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 100:
        return f"{minutes}:{rest:02} min"
    return f"{minutes // 60}:{minutes % 60:02} h"


def speed(megapixels: float) -> str:
    """Pixels over time: ``0.71 Mpx/s``."""
    digits = 0 if megapixels >= 100 else 1 if megapixels >= 10 else 2 if megapixels >= 1 else 3
    return f"{megapixels:,.{digits}f} Mpx/s"


def size(count: float) -> str:
    """Bytes: ``620 MiB`` or ``1.2 GiB``."""
    return f"{count / MIB:,.0f} MiB" if count < 1000 * MIB else f"{count / MIB / 1024:,.1f} GiB"


def facts(summary: Summary) -> Iterator[str]:
    """What there is to say of a moment besides bars."""
    if summary.phase == "running":
        yield f"{speed(summary.pace)} now, {speed(summary.mean_pace)} mean"
    else:
        yield PHASES[summary.phase]
    if summary.left is not None:
        yield f"about {duration(summary.left)} left"
    if summary.workers:
        yield memory(summary)
    if summary.failed:
        yield f"{summary.failed} failed"


def memory(summary: Summary) -> str:
    """The worker that has most, and the plan: ``memory 620 of 1,062 MiB planned, the largest of 2 workers``."""
    largest = max(worker.bytes for worker in summary.workers)
    count = len(summary.workers)
    whose = "worker" if count == 1 else f"largest of {count} workers"
    plan = f" of {size(summary.planned_bytes)} planned" if summary.planned_bytes else ""
    return f"{size(largest)}{plan}, {whose}"


def opening(started: Started, page: str | None, problem: str) -> list[str]:
    """What is said when a run begins: where it can be watched, and what it is."""
    lines = [f"dashboard {started.dashboard}"] if started.dashboard else []
    if page:
        lines.append(f"map       {page}")
    elif problem:
        lines.append(f"no map of blocks on this dashboard ({problem})")
    return [*lines, started.title]


def failure(event: Event) -> str:
    """A block that failed, in one line."""
    return f"block {event.id} failed in {event.stage}: {event.message}"
