"""Workers: those of a scheduler somewhere, or processes of this machine."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster

from geoseg.errors import WorkerError

WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # glibc gives big buffers back to the system on every call otherwise, and every forward pass pays for it. Tasks run
    # in a thread, and only the main arena can keep buffers of more than 64 MiB: let every thread use that one.
    "MALLOC_ARENA_MAX": "1",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # huge pages where the system offers them: forward passes gain 4 %
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**31),
}


@contextmanager
def connect(scheduler: str | None, workers: int) -> Iterator[Client]:
    """Connect to a scheduler, or start workers on this machine.

    Parameters
    ----------
    scheduler : str or None
        Address such as ``"tcp://host:8786"``; None starts a local cluster on the loopback interface.
    workers : int
        Processes of the local cluster, one thread each.

    Raises
    ------
    WorkerError
        Nothing answers at the address.
    """
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout="15s", set_as_default=False)
        except (OSError, ValueError) as error:
            raise WorkerError(
                f"no Dask scheduler answers at {scheduler}; start one with 'dask scheduler' or leave --scheduler out."
            ) from error
        with client:
            yield client
        return
    configuration = {
        "distributed.nanny.pre-spawn-environ": WORKER_ENVIRONMENT,
        # Each process looks at itself many times a second, which takes a twentieth of a core from the workers.
        "distributed.worker.profile.interval": "100ms",
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "1s",
    }
    with (
        dask.config.set(configuration),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:8787",
            memory_limit=0,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        # A failing task is an event, told in one sentence; the traceback of each try would bury it.
        client.run(logging.getLogger("distributed.worker").setLevel, logging.CRITICAL)
        yield client
