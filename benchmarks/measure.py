"""Run a command and measure it from outside: wall time and peak memory of its whole process tree."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

INTERVAL = 0.5
"""Seconds between two looks at the process tree; a look costs the watched processes time."""


@dataclass(frozen=True)
class Measured:
    """One run of a command.

    Attributes
    ----------
    seconds : float
        Wall time of the process, s.
    peak_bytes : int
        Largest proportional set size (memory, shared pages counted once) of the process and all its children.
    output : str
        What it printed.
    peaks : dict
        The largest size by stage, bytes, where stages are told apart.
    """

    seconds: float
    peak_bytes: int
    output: str
    peaks: dict[str, int]


def measure(
    arguments: Sequence[str],
    *,
    memory: bool = True,
    stage: Callable[[], str] = lambda: "all",
    environment: Mapping[str, str] | None = None,
) -> Measured:
    """Run ``python arguments...`` and watch its process tree.

    Parameters
    ----------
    arguments : sequence of str
        What stands behind ``python``.
    memory : bool
        Watch the memory; leave it out where the time counts, because looking costs the watched processes time.
    stage : callable
        Says what the command is doing now.
    environment : mapping, optional
        Variables that it has besides this process' own.

    Raises
    ------
    RuntimeError
        The command failed; the message is what it printed last.
    """
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    peaks = {"all": 0}
    stop = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks, stage, stop))
    if memory:
        watcher.start()
    output, errors = process.communicate()
    seconds = time.perf_counter() - started
    stop.set()
    if memory:
        watcher.join()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {errors[-2000:]}")
    return Measured(seconds, max(peaks.values()), output, peaks)


def _watch(pid: int, peaks: dict[str, int], stage: Callable[[], str], stop: threading.Event) -> None:
    while not stop.wait(INTERVAL):
        name = stage()
        peaks[name] = max(peaks.get(name, 0), _tree_bytes(pid))


def _tree_bytes(pid: int) -> int:
    """Proportional set size of a process and all its children, bytes; processes that ended meanwhile count 0."""
    total = 0
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table in columns."""
    widths = [max(len(str(row[column])) for row in [header, *rows]) for column in range(len(header))]
    print(f"\n{title}\n")
    for row in [header, ["-" * width for width in widths], *rows]:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(row, widths, strict=True)))
