"""What a run really needed: the peak of each process's memory, as the system has counted it.

Nothing is watched while a run goes on; the system keeps the peak of each resident set, and it is asked twice. Of pages
that processes share, such as those of torch's libraries, each counts its part, so that peaks may be summed up.
"""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

SELF = Path("/proc/self")
"""What Linux tells of this process."""


@dataclass(frozen=True)
class Peaks:
    """Peaks of memory, bytes.

    Attributes
    ----------
    own : int
        Of the process that asks.
    workers : mapping of str to int
        Of each process of workers, by ``"host:process id"``.
    """

    own: int
    workers: Mapping[str, int]


def reset_peak_memory(client: Client) -> None:
    """Reset each process's peak to what is resident now: workers may have worked for others before.

    Parameters
    ----------
    client : Client
        Whose workers are asked; its own process is reset too.
    """
    _reset_peak()
    client.run(_reset_peak, on_error="ignore")


def read_peaks(client: Client) -> Peaks:
    """Ask each process for its peak.

    Parameters
    ----------
    client : Client
        Whose workers are asked. Workers that have died took their peak with them.
    """
    return Peaks(_peak()[1], dict(client.run(_peak, on_error="ignore").values()))


def _reset_peak() -> None:
    """Set the peak to what is resident now (``5`` in proc(5), clear_refs); where that cannot be, it stays."""
    try:
        (SELF / "clear_refs").write_text("5")
    except OSError:
        return


def _peak() -> tuple[str, int]:
    """Name this process, and its largest resident set less what others hold of its pages now, bytes.

    ``VmHWM``, because ``ru_maxrss`` also counts the process that this one was forked from; what is shared hardly
    changes once a process has loaded its libraries.
    """
    name = f"{socket.gethostname()}:{os.getpid()}"
    try:
        peak = sizes("status")["VmHWM"]
    except (OSError, KeyError):
        return name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    try:
        now = sizes("smaps_rollup")
        return name, peak - now["Rss"] + now["Pss"]
    except (OSError, KeyError):
        return name, peak


def sizes(file: str) -> dict[str, int]:
    """Sizes that Linux tells of this process, bytes by name; proc(5)."""
    lines = (line.split() for line in (SELF / file).read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if words[-1:] == ["kB"]}
