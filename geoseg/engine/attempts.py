"""One try of a task on a worker, and what comes back of it when it fails: words, which every process can read.

Exceptions do not travel: those of other libraries may not be readable elsewhere, and Dask repeats a task for each that
is raised. So only what may pass is raised, and everything that is known of a failure is text.
"""

from __future__ import annotations

import asyncio
import errno
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from distributed import Client, KilledWorker, Worker

from geoseg.engine.deaths import LESS, cause_of_death
from geoseg.errors import (
    ENVIRONMENT_FAILED,
    GeosegError,
    GeosegWarning,
    RasterReadError,
    WorkerError,
    is_want_of_memory,
)
from geoseg.raster import unsigned

_LASTING = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}
"""What a system refuses as often as it is asked: no space, a quota, no permission."""


_WORKERS_TIMEOUT = 60
"""Seconds to wait for the first worker."""


@dataclass(frozen=True)
class Failure:
    """Why a task has failed.

    Attributes
    ----------
    sentence : str
        In one sentence.
    trace : str
        The worker's traceback.
    kind : type, optional
        The class of an error of geoseg's own.
    may_pass : bool
        Whether another try may succeed.
    files : mapping of str to str
        Files that cannot be read, as `RasterReadError` has them.
    """

    sentence: str
    trace: str
    kind: type[GeosegError] | None = None
    may_pass: bool = True
    files: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """What is to be known of an exception."""
        trace, sentence = unsigned("".join(traceback.format_exception(error))), unsigned(str(error))
        if not isinstance(error, GeosegError):
            sentence = f"{type(error).__name__}: {sentence}" if sentence else type(error).__name__
            told = f"there was not enough memory for it ({sentence}); {LESS}"
            return cls(told if is_want_of_memory(error) else sentence, trace)
        lasts = any(isinstance(item, OSError) and item.errno in _LASTING for item in causes_of(error))
        files = dict(error.files) if isinstance(error, RasterReadError) else {}
        return cls(sentence, trace, type(error), error.may_pass and not lasts, files)

    @classmethod
    def of_dask(cls, error: BaseException, client: Client) -> Failure:
        """What is to be known of what the scheduler says of a task."""
        if isinstance(error, FailedTry):
            return error.failure
        if isinstance(error, KilledWorker):
            sentence = cause_of_death(client, error)
            return cls(sentence, f"{sentence}\n{error}\n")
        return cls.of(error)

    @property
    def concerns_all(self) -> bool:
        """Whether every other task would fail alike: the disk is full, the output folder cannot be written."""
        return self.kind is not None and self.kind.exit_code == ENVIRONMENT_FAILED

    def error(self) -> GeosegError:
        """An error of geoseg's own to raise for it; the worker's traceback is its cause."""
        if self.kind is None:
            sentence = f"a worker fails ({self.sentence.rstrip('.')}); see its traceback, and fix what it names."
            error: GeosegError = WorkerError(sentence)
        else:
            error = self.kind(self.sentence)
        error.__cause__ = FailedTry(self)
        return error


class FailedTry(Exception):  # noqa: N818 - not an error that anybody sees, but one that Dask repeats
    """Raised on a worker, so that Dask tries again."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure

    def __str__(self) -> str:
        """What failed on the worker."""
        return f"on a worker:\n{self.failure.trace}"


def attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task; a permanent error is returned as a `Failure`, which is not retried.

    Raises
    ------
    FailedTry
        What failed may pass.
    """
    result = _try(function, arguments)
    if isinstance(result, Failure) and result.may_pass:
        raise FailedTry(result)  # out of reach of the exception, which Dask would send along
    return result


def hear(function: Callable[..., Any], *arguments: Any) -> tuple[Any, list[str]]:
    """Run a function; what it returns, and what geoseg warns of meanwhile."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GeosegWarning)
        result = function(*arguments)
    return result, [str(item.message) for item in caught if issubclass(item.category, GeosegWarning)]


def warn_here(sentences: Iterable[str]) -> list[str]:
    """Say here what workers warn of, however many do; return each sentence once."""
    unlike = list(dict.fromkeys(sentences))
    for sentence in unlike:
        warnings.warn(sentence, GeosegWarning, stacklevel=3)
    return unlike


def on_each_worker(client: Client, function: Callable[..., Any], name: str) -> list[Any]:
    """Run ``function(name, dask_worker=...)`` once on each worker, and return what it returned.

    Raises
    ------
    GeosegError
        What the first worker that failed has raised.
    """
    results = list(client.run(_on_worker, function, name).values())
    for result in results:
        if isinstance(result, Failure):
            raise result.error()
    return results


def require_connection(client: Client) -> None:
    """Refuse a client that cannot be asked.

    Raises
    ------
    WorkerError
        It is closed, or is to be awaited.
    """
    if client.status in ("closing", "closed"):
        raise WorkerError("the Dask client is closed; give one that is connected, or leave client out.")
    if client.asynchronous:
        raise WorkerError(
            "the Dask client is asynchronous, and results are waited for here; give Client(address) without "
            "asynchronous=True."
        )


def each_worker(client: Client, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Run a function once on each worker; what it returns, by the worker's address.

    Raises
    ------
    WorkerError
        The client is closed or asynchronous, there is no worker, or one fails: the first, by its address.
    """
    require_connection(client)
    try:
        client.wait_for_workers(1, timeout=_WORKERS_TIMEOUT)
    except TimeoutError as error:
        raise WorkerError(f"the scheduler has had no worker for {_WORKERS_TIMEOUT} s; start workers.") from error
    results: dict[str, Any] = client.run(_try, function, arguments)
    for address, result in results.items():
        if isinstance(result, Failure):
            raise WorkerError(f"worker {address}: {result.sentence}") from result.error()
    return results


def results_of(client: Client, futures: list[Any]) -> list[Any]:
    """Results of futures of `attempt`.

    Raises
    ------
    GeosegError
        What the first one that failed has raised.
    """
    try:
        results = client.gather(futures)
    except (FailedTry, KilledWorker) as error:
        raise Failure.of_dask(error, client).error() from None
    for result in results:
        if isinstance(result, Failure):
            raise result.error()
    return list(results)


async def _on_worker(function: Callable[..., Any], name: str, dask_worker: Worker) -> Any:
    """In a thread of its own: a worker that compiles for minutes still answers, and ends when it is told to."""
    return await asyncio.to_thread(_try, partial(function, dask_worker=dask_worker), (name,))


def _try(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told by name
        return Failure.of(error)


def causes_of(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that it came of."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
