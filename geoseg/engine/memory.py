"""What a run really needed: the peak of each process's memory, as the system has counted it.

Nothing is watched while a run goes on; the system keeps the peak, and it is asked twice. Peaks are resident sets, so
pages that processes share count in each of them.
"""

from __future__ import annotations

import os
import resource
import socket
from pathlib import Path

from distributed import Client

_STATUS, _REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peaks(client: Client) -> None:
    """Let each process count its peak from now on: workers may have worked for others before.

    Parameters
    ----------
    client : Client
        Whose workers are asked; its own process counts anew too.
    """
    _forget()
    client.run(_forget, on_error="ignore")


def read_peaks(client: Client) -> tuple[int, dict[str, int]]:
    """Ask each process for its peak.

    Parameters
    ----------
    client : Client
        Whose workers are asked. Workers that have died took their peak with them.

    Returns
    -------
    own : int
        This process, bytes.
    workers : dict of str to int
        Bytes by ``"host:process id"``; workers of one process are one.
    """
    return _peak()[1], dict(client.run(_peak, on_error="ignore").values())


def _forget() -> None:
    """Set the peak to what is resident now (``5`` in proc(5), clear_refs); where that cannot be, it stays."""
    try:
        _REFERENCES.write_text("5")
    except OSError:
        return


def _peak() -> tuple[str, int]:
    """This process and its largest resident set, bytes.

    ``VmHWM``, because ``ru_maxrss`` also counts the process that this one was forked from.
    """
    name = f"{socket.gethostname()}:{os.getpid()}"
    try:
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines() if ":" in line)
        return name, int(lines["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        return name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
