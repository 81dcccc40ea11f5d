"""How the cores of a machine are shared out between what feeds a device and what comes after it.

A CPU is used best by processes of one thread, each of which does everything. A GPU is fed by one process: its threads
have a block each, and while one of them has its batch on the device, others read and label. Whatever comes after the
network needs Python's lock more than a core, so it goes to processes of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

PREDICTING, ASSISTING = "geoseg-predict", "geoseg-assist"
"""Resources of Dask workers: where both are there, blocks are predicted by those of the one kind, and finished and
outlined by those of the other."""

FEEDERS = 8
"""Threads of a process that feeds a device, at most: more of them wait for each other's Python."""


@dataclass(frozen=True)
class Crew:
    """The workers of a machine.

    Attributes
    ----------
    workers : int
        Processes that predict.
    threads : int
        Of each of them: blocks that it has in hand.
    assistants : int
        Processes of one thread beside them, for what comes after.
    """

    workers: int
    threads: int = 1
    assistants: int = 0

    @property
    def processes(self) -> int:
        """All of them."""
        return self.workers + self.assistants


ALONE = Crew(1)


def crew_of(device: str, cores: int, workers: int) -> Crew:
    """Share out cores.

    Parameters
    ----------
    device : str
        What computes the network.
    cores : int
        Of the machine.
    workers : int
        Processes that predict.
    """
    if not device.startswith("cuda"):
        return Crew(workers)
    threads = max(2, min(FEEDERS, cores // (2 * workers)))
    return Crew(workers, threads, max(0, cores - workers * threads))
