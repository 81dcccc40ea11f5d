"""Workers: those of a scheduler somewhere, or processes of this machine."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from weakref import WeakSet

import dask
from distributed import Client, LocalCluster
from distributed.client import AllExit, ClosedClientError
from distributed.comm.core import CommClosedError
from distributed.diagnostics.plugin import WorkerPlugin

from geoseg.engine.deaths import note_kills
from geoseg.errors import WorkerError
from geoseg.forking import interrupts_wait, prepare_workers, server_failed, start_method_kept
from geoseg.options import DASHBOARD
from geoseg.planning.sharing import ASSISTING, PREDICTING, Crew

_starting = threading.Lock()
_own: WeakSet[LocalCluster] = WeakSet()
"""Clusters that `connect` has started."""

_settings: list[dask.config.set] = []
"""What is set for each run of this process that has workers of its own; the first setting stays until the last ends."""


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
        with _only_news(), client:
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
    note_kills()
    with (
        _same_environment(),
        _only_news(),
        _configured(configuration),
        _local_cluster(Crew(workers) if isinstance(workers, int) else workers, dashboard) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        if cluster.worker_spec:
            client.wait_for_workers(len(cluster.worker_spec))
        client.register_plugin(_Quiet(), "geoseg-quiet")
        yield client


LOGS = ("asyncio", "tornado.application", "distributed.client", "distributed.scheduler")
"""Logs that tell of connections."""


CLOSED = (CommClosedError, ClosedClientError, AllExit, asyncio.CancelledError)
"""What is raised where a connection is closed."""


class _Quiet(WorkerPlugin):
    """Worker processes, those too that take the place of others, print no tracebacks.

    A failing task is an event, told in one sentence; the traceback of each try would bury it.
    """

    def setup(self, worker: object) -> None:
        """Print nothing from now on."""
        del worker
        logging.getLogger("distributed.worker").setLevel(logging.CRITICAL)


@contextmanager
def _only_news() -> Iterator[None]:
    """Leave out log records that are no news; after Ctrl-C for good, because they come until the program has ended."""
    logs = [logging.getLogger(name) for name in LOGS]
    news = partial(_is_news)  # each run has its own: the end of one leaves that of another in place
    for log in logs:
        log.addFilter(news)
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException:
        _tell_all(logs, news)
        raise
    _tell_all(logs, news)


def _tell_all(logs: Sequence[logging.Logger], news: Callable[[logging.LogRecord], bool]) -> None:
    """Leave out nothing any more."""
    for log in logs:
        log.removeFilter(news)


def _is_news(record: logging.LogRecord) -> bool:
    """Leave out log records of closed connections and dropped results: Ctrl-C causes them, and a worker that is killed.

    What was on that worker runs again, and what cannot run is told of.
    """
    error = record.exc_info[1] if record.exc_info is not None else None
    if isinstance(error, CLOSED) or str(error) == "ConnectionPool is closed":
        return False
    words = "Couldn't gather keys", "broadcast to", "sync.<locals>.cancel"
    return not any(item in record.getMessage() for item in words)


def ends_with_run(client: Client) -> bool:
    """Whether the scheduler of a client is one that `connect` has started."""
    return client.cluster in _own


def _local_cluster(crew: Crew, dashboard: str) -> LocalCluster:
    """Start workers that leave Ctrl-C to this process."""
    with _starting, interrupts_wait(), warnings.catch_warnings():  # one thread at a time: filters are of all threads
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
            _own.add(cluster)
            return cluster
        except (RuntimeError, OSError) as error:  # a TimeoutError is an OSError
            raise WorkerError(_why(error, dashboard)) from error


def _why(error: BaseException, dashboard: str) -> str:
    """Why workers of this machine do not start, in one sentence: what fails first, and not what fails because of it."""
    if server_failed():
        return (
            "the process that loads libraries for the workers has ended; what it printed above names the cause, such "
            "as a package that cannot be imported: mend that, and run the same command again."
        )
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
def _configured(configuration: Mapping[str, Any]) -> Iterator[None]:
    """Configure Dask while runs last; where several of this process overlap, the last one brings back what was."""
    with _starting:
        _settings.append(dask.config.set({} if _settings else configuration))
    try:
        yield
    finally:
        with _starting:
            last = _settings.pop()  # the first one when it is the only one
            if not _settings:
                last.__exit__(None, None, None)


@contextmanager
def _same_environment() -> Iterator[None]:
    """Leave this process's environment and way of starting processes as they were before Dask started some."""
    before = dict(os.environ)
    try:
        with start_method_kept():
            yield
    finally:
        for name in {"PYTHONHASHSEED", "__DASK_PARENT_PID"} - before.keys():
            os.environ.pop(name, None)
