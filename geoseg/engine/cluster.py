"""Workers: those of a scheduler somewhere, or processes of this machine."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, LocalCluster
from distributed.comm.core import CommClosedError

from geoseg.errors import WorkerError
from geoseg.forking import interrupts_wait, prepare_workers
from geoseg.options import DASHBOARD
from geoseg.planning.sharing import ASSISTING, PREDICTING, Crew


@contextmanager
def connect(
    scheduler: str | None, workers: int | Crew, dashboard: str = DASHBOARD, *, predicting: bool = True
) -> Iterator[Client]:
    """Connect to a scheduler, or start workers on this machine.

    Parameters
    ----------
    scheduler : str or None
        Address such as ``"tcp://host:8786"``; None starts a local cluster on the loopback interface.
    workers : int or Crew
        Processes of the local cluster; as many of one thread each where it is a number.
    dashboard : str
        Address and port of the local cluster's dashboard; another port when that one is taken.
    predicting : bool
        Whether workers of the local cluster are to predict; without it they start in half the time.

    Raises
    ------
    WorkerError
        Nothing answers at the address, or the dashboard cannot be served at its own.
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
        **prepare_workers(predicting=predicting),
        "distributed.nanny.pre-spawn-environ": {},  # the server's is theirs; Dask would put these into this process
        # Each process looks at itself many times a second, which takes a twentieth of a core from the workers.
        "distributed.worker.profile.interval": "100ms",
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "1s",
    }
    with (
        _same_environment(),
        dask.config.set(configuration),
        _local_cluster(Crew(workers) if isinstance(workers, int) else workers, dashboard) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        if cluster.worker_spec:
            client.wait_for_workers(len(cluster.worker_spec))
        # A failing task is an event, told in one sentence; the traceback of each try would bury it.
        client.run(logging.getLogger("distributed.worker").setLevel, logging.CRITICAL)
        try:
            yield client
        except KeyboardInterrupt:
            for name in ("asyncio", "tornado.application", "distributed.scheduler"):
                logging.getLogger(name).addFilter(_is_news)
            raise


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out log records of closed connections and dropped results, which Ctrl-C causes."""
    error = record.exc_info[1] if record.exc_info is not None else None
    if isinstance(error, CommClosedError) or str(error) == "ConnectionPool is closed":
        return False
    return not any(words in record.getMessage() for words in ("Couldn't gather keys", "broadcast to"))


def _local_cluster(crew: Crew, dashboard: str) -> LocalCluster:
    """Start workers that leave Ctrl-C to this process."""
    with interrupts_wait(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Port \d+ is already in use")  # the address that it has is printed
        try:
            cluster = LocalCluster(
                n_workers=crew.workers,
                threads_per_worker=crew.threads,
                resources={PREDICTING: crew.threads} if crew.assistants else None,
                host="127.0.0.1",
                dashboard_address=dashboard,
                memory_limit=0,
                silence_logs=logging.ERROR,
                env=dict(os.environ),  # those of now: a server may have been started with others
            )
            if crew.assistants:
                options = {**cluster.new_spec["options"], "nthreads": 1, "resources": {ASSISTING: 1}}
                cluster.new_spec = {**cluster.new_spec, "options": options}
                cluster.scale(crew.workers + crew.assistants)
            return cluster
        except (RuntimeError, OSError) as error:  # a TimeoutError is an OSError
            raise WorkerError(_why(error, dashboard)) from error


def _why(error: BaseException, dashboard: str) -> str:
    """Why workers of this machine do not start, in one sentence: what fails first, and not what fails because of it."""
    first, is_scheduler = error, "Cluster failed" in str(error)
    while first.__cause__ is not None:
        first = first.__cause__
    reason = " ".join(str(first).split()).rstrip(".") or type(first).__name__
    if is_scheduler and isinstance(first, OSError | ValueError):
        return (
            f"workers do not start with a dashboard at {dashboard} ({reason}); give --dashboard an address and a port "
            "of this machine, such as 127.0.0.1:8787."
        )
    return (
        f"workers of this machine do not start ({type(first).__name__}: {reason}); see whether the machine has memory "
        "and processes left, give fewer --workers, or the --scheduler of workers that run already."
    )


@contextmanager
def _same_environment() -> Iterator[None]:
    """Take out of this process's environment what Dask puts into it for the processes that it starts."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in {"PYTHONHASHSEED"} - before.keys():
            os.environ.pop(name, None)
