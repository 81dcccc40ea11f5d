"""The scheduler and the folder of a run, while it goes on: when one of them is lost, the run ends with one sentence."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distributed import Client, Worker
from distributed.client import FutureCancelledError
from distributed.comm.core import CommClosedError

from geoseg.engine.attempts import causes_of, require_connection
from geoseg.errors import GeosegError, OutputError, WorkerError
from geoseg.planning.sharing import ASSISTING, PREDICTING

WORKERLESS = 60.0
"""Seconds without a single worker after which a run ends."""

ERRORS = "errors"
"""Name of the folder of tracebacks, which each start removes."""

GO_ON = "what is done is kept: run the same command again to continue."

_LOST = (CommClosedError, FutureCancelledError, asyncio.CancelledError, concurrent.futures.CancelledError)
"""What Dask raises when its scheduler has gone, or has come back and knows no tasks."""


@contextmanager
def connected(client: Client) -> Iterator[None]:
    """Turn what Dask raises when its scheduler has gone into one sentence.

    Raises
    ------
    WorkerError
        The scheduler has ended or was started anew, or the client cannot be asked.
    """
    require_connection(client)
    address = str(client.scheduler.address) if client.scheduler is not None else "its address"
    try:
        yield
    except (*_LOST, OSError, RuntimeError, ValueError, AttributeError) as error:
        for cause in causes_of(error):
            if isinstance(cause, KeyboardInterrupt):  # the workers were stopped too, and what closes them fails
                raise cause from None
        if isinstance(error, GeosegError) or (client.status == "running" and not isinstance(error, _LOST)):
            raise
        raise lost(address) from error


def lost(address: str) -> WorkerError:
    """The error of a scheduler that has gone."""
    return WorkerError(
        f"the Dask scheduler at {address} has ended or was started anew in the middle of the run; {GO_ON}"
    )


def is_divided(client: Client) -> bool:
    """Whether some workers predict and others do what comes after, as their resources say."""
    found = client.run(_resources, on_error="ignore").values()
    return {PREDICTING, ASSISTING} <= set().union(*found)


def _resources(dask_worker: Worker) -> set[str]:
    """What a worker says that it has."""
    return set(dask_worker.state.total_resources)


class Workers:
    """How many workers there are, asked every few seconds: they may come and go.

    Parameters
    ----------
    client : Client
        Whose they are.
    """

    def __init__(self, client: Client) -> None:
        self._client, self._seen = client, time.monotonic()

    def count(self) -> int:
        """Threads of the workers that are there now.

        Raises
        ------
        WorkerError
            None has been there for too long.
        """
        count = int(sum(self._client.nthreads().values()))
        now = time.monotonic()
        if count:
            self._seen = now
        elif now - self._seen > WORKERLESS:
            raise WorkerError(f"the scheduler has had no worker for {WORKERLESS:.0f} s; start workers, and {GO_ON}")
        return count


@contextmanager
def present(folder: Path, lock: Path) -> Iterator[None]:
    """Name the cause of whatever fails because a folder, or a part of it, was removed.

    Parameters
    ----------
    folder : Path
        It.
    lock : Path
        The file in it that is held: one that is gone was removed with the folder, before there was somebody to look.

    Raises
    ------
    OutputError
        It was.
    """
    presence = Presence(folder)
    if not lock.exists():
        raise presence.error()
    try:
        yield
    except GeosegError:
        presence.check()
        raise


class Presence:
    """A folder that a run writes into, and that must stay the one that it was, with the folders in it.

    Parameters
    ----------
    folder : Path
        It.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._number = self._look()
        self._parts = [path for path in folder.glob("*") if path.is_dir() and path.name != ERRORS]

    def check(self) -> None:
        """Say when the folder is another one, or none, or a folder in it is gone.

        Raises
        ------
        OutputError
            It was removed or replaced: what was written before is lost.
        """
        if self._look() != self._number or not all(path.is_dir() for path in self._parts):
            raise self.error()

    def error(self) -> OutputError:
        """That it was removed or replaced."""
        return OutputError(
            f"{self.folder}, or a part of it, was removed or replaced while the run wrote into it; run the same "
            "command again to start anew, and leave its folder alone until it ends."
        )

    def _look(self) -> int | None:
        try:
            return self.folder.stat().st_ino
        except OSError:
            return None
