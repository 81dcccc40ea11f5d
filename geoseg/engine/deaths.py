"""Why a worker process has died: for want of memory, of a fault, or by somebody's hand; each has another remedy.

Of the workers of this machine the signal is known that has ended them, and how often the system has killed processes
for want of memory; of those of a cluster what Dask says that watches over their memory.
"""

from __future__ import annotations

import re
import signal
import time
from pathlib import Path

from distributed import Client, KilledWorker

from geoseg.forking import ended_by

LESS = "give fewer --workers, a smaller --tile-size or --batch-size, --block-tiles 1, or more memory"
"""What helps where memory does not suffice."""

LIMIT = "worker-restart-memory"
"""The topic that Dask's nannies write to when they end a worker beyond its limit."""

COUNTERS = "/proc/vmstat", "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"
"""Where Linux counts the processes that it has killed for want of memory: of the machine, and of a container."""

PATIENCE = 2.0
"""Seconds until the end of a process is known here that the scheduler knows of."""

_killed_before = _ended_before = _told = 0


def note_kills() -> None:
    """Remember which processes have ended so far, and how many the system has killed: workers are about to start."""
    global _killed_before, _ended_before, _told
    _killed_before = _kills()
    _ended_before = _told = len(ended_by())


def cause_of_death(client: Client, error: KilledWorker) -> str:
    """Say why each process has died that tried a task, and what helps."""
    address = error.last_worker.address
    if any(event.get("worker") == address for _, event in client.get_events(LIMIT) or ()):
        return (
            "the process that worked on it exceeded the memory limit of its Dask worker each time; start workers with "
            "a higher --memory-limit, or give a smaller --tile-size or --batch-size, or --block-tiles 1"
        )
    code = _last_end()
    if code is None:
        return f"the process that worked on it died each time; the log of worker {address} says why, or that of its job"
    if code > 0:
        return f"the process that worked on it ended itself each time (exit code {code}); no model may call exit"
    number = -code
    name = signal.Signals(number).name
    if number != signal.SIGKILL:
        return (
            f"the process that worked on it crashed each time ({name}), which is a fault of a library and no want of "
            "memory; another --device, --runtime or --precision may avoid it"
        )
    if _kills() > _killed_before:
        return f"the system killed the process that worked on it each time for want of memory; {LESS}"
    return (
        f"the process that worked on it was killed each time from outside ({name}), as systems and batch jobs do for "
        f"want of memory; {LESS}"
    )


def _last_end() -> int | None:
    """What has ended a worker of this machine last since workers were started; None where nothing is known of one."""
    global _told
    end = time.monotonic() + PATIENCE
    while len(ended_by()) <= _told and time.monotonic() < end:
        time.sleep(0.05)
    codes = ended_by()
    _told = len(codes)
    return codes[-1] if len(codes) > _ended_before else None


def _kills() -> int:
    """Processes that this system has killed for want of memory; 0 where it does not say."""
    count = 0
    for name in COUNTERS:
        try:
            found = re.search(r"^oom_kill (\d+)$", Path(name).read_text(), re.MULTILINE)
        except OSError:
            continue
        count += int(found[1]) if found else 0
    return count
