"""Workers are forked from one process that has loaded the libraries: they start at once, and share their memory.

That process is a fork server of geoseg's own: it is started by the first cluster, serves the later ones of the same
process too, and ends with it, or when a later cluster needs another environment. A program that uses multiprocessing
keeps the server and the settings that it has. On systems where loaded libraries must not be forked the server loads
none, and each worker imports them itself. Only predicting needs torch, which takes most of the time to load: a server
for workers that predict nothing leaves it out, and one that has it serves these too.

Workers never import the main module of the program, which multiprocessing does otherwise: a script without a main guard
would start its run again in each of them, and a notebook or a program on the standard input has no file to import.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import (
    context,
    forkserver,
    popen_forkserver,
    process,
    reduction,
    resource_tracker,
    spawn,
    util,
)
from multiprocessing.context import set_spawning_popen
from threading import Lock
from typing import Any

import psutil

from geoseg.errors import WorkerError

IS_FORKING = sys.platform == "linux"
"""Whether workers of this machine are forked from a process that has loaded their libraries, and share its memory."""

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

FIRST = ("geoseg.preloading",)
"""What the server imports first: what makes imports faster."""

LOADED = ("distributed", "geoseg.tasks", "geoseg.outlines.tasks", "geoseg.outlines.sifting", "geoseg.export")
"""What it imports before it forks: what workers need, whatever they are asked for."""

PREDICTING = ("torch", "geoseg.models.late_compiler", "geoseg.models.smp")
"""What it imports besides where workers predict."""

LAST = ("geoseg.engine.loaded", "geoseg.engine.frozen")
"""What it imports last: compiled loops, of those that can be called then, and what tidies up."""

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end a run: Ctrl-C, a batch system's or a container's, and that of a terminal that is closed."""

METHOD = "distributed.worker.multiprocessing-method"

NAME = "geoseg"
"""Of the way to start processes, beside ``spawn`` and ``forkserver``: Dask asks multiprocessing for it by name."""

UNSENT = "init_main", "start_method"
"""What a worker is not told of this process: its main module, and a way to start processes that may be joblib's own."""

READ_AT_IMPORT = ("CUDA_", "HF_", "HOME", "HUGGINGFACE_", "NUMBA_", "PYTORCH_", "TORCH", "TRANSFORMERS_", "XDG_")
"""How variables begin that libraries read when they are imported: with others a run needs a server of its own."""

SAFE = {"PYTHONSAFEPATH": "1"}
"""So that the server imports no ``random.py`` of the current directory; workers search where this process does."""

_lock = Lock()
_asking = Lock()
_methods: list[str | None] = []
"""How the caller's processes start, once for each thread that keeps it so."""

_ended_by: list[int] = []
_servers: dict[tuple[int, frozenset[tuple[str, str]], bool], _Server] = {}
"""Servers by the process that has started them, as a process that was forked since has none, by the variables that
their libraries have read, and by whether their workers can predict."""


def prepare_workers(*, predicting: bool = True) -> dict[str, str]:
    """Start the server unless it runs; its imports go on while this process does something else.

    Parameters
    ----------
    predicting : bool
        Whether its workers are to predict.

    Returns
    -------
    dict
        Dask's configuration for nannies whose workers are to be forked.

    Raises
    ------
    WorkerError
        No worker can be started in this process.
    """
    _check_process()
    wanted = {name: os.environ.get(name, value) for name, value in WORKER_ENVIRONMENT.items()}
    with _lock, interrupts_wait(), _environment({**wanted, **SAFE}):
        server = _server(predicting=predicting)
        with start_method_kept():
            server.ensure_running()
        server.has_failed = False
        _stop_others(server)
    return {METHOD: NAME}


@contextmanager
def interrupts_wait() -> Iterator[None]:
    """Let threads and processes that are started here never see `STOPPING` signals; this thread sees them afterwards.

    A terminal and a batch system send the signal to every process of the run. Workers that die of it would each print
    a traceback, and be started again, while this process is about to close them. A blocked signal is inherited, also by
    what is started from a thread that was started here, and by every later worker. The tracker of multiprocessing's
    resources has to run before, because the thread that starts it lets Ctrl-C and SIGTERM through from then on.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def server_failed() -> bool:
    """Whether a server has ended instead of starting a worker."""
    return any(server.has_failed for (owner, *_), server in _servers.items() if owner == os.getpid())


@contextmanager
def start_method_kept() -> Iterator[None]:
    """Let the caller choose how its own processes start, also afterwards: asking for the method decides on it.

    Where several threads overlap, the first one sees what the caller has chosen, and the last one brings it back.
    """
    with _asking:
        _methods.append(_methods[0] if _methods else multiprocessing.get_start_method(allow_none=True))
    try:
        yield
    finally:
        with _asking:
            method: Any = _methods.pop()
            if not _methods and method is None:
                multiprocessing.set_start_method(None, force=True)


def ended_by() -> list[int]:
    """What has ended processes of this program's servers, the last one last: exit codes, and signals as below zero."""
    return list(_ended_by)


def stop_loading() -> None:
    """Stop servers without workers at the end of a command: one that still loads libraries would hold its output open.

    So a mistake, and Ctrl-C, end a pipe such as ``geoseg run scene.tif | tee log`` at once.
    """
    for (owner, *_), server in _servers.items():
        pid: int | None = server._forkserver_pid  # type: ignore[attr-defined]
        if owner == os.getpid() and pid is not None and server.is_idle:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _check_process() -> None:
    """Refuse a process in which no worker can be started.

    Raises
    ------
    WorkerError
        Its directory was removed, or it was forked after Dask had threads, without which it would wait for ever.
    """
    if not _has_directory():
        raise WorkerError("the current directory was removed, and no process starts in it; change to another one.")
    if _servers and all(owner != os.getpid() for owner, *_ in _servers):
        raise WorkerError(
            f"process {os.getpid()} was forked from one that has already started workers, and Dask's threads are not "
            "in it; start it with multiprocessing.get_context('spawn'), or before the first run."
        )


def _has_directory() -> bool:
    """Whether the current directory is there."""
    try:
        os.getcwd()  # noqa: PTH109 - as multiprocessing asks
    except FileNotFoundError:
        return False
    return True


class _Server(forkserver.ForkServer):
    """A fork server that knows the processes that it has started."""

    def __init__(self, *, predicting: bool) -> None:
        super().__init__()
        self.pids: set[int] = set()
        self.has_failed = False
        modules = [*FIRST, *LOADED, *(PREDICTING if predicting else ()), *LAST]
        self.set_forkserver_preload(modules if IS_FORKING else [])

    @property
    def is_idle(self) -> bool:
        """Whether all processes that it has started have ended."""
        return not any(psutil.pid_exists(pid) for pid in self.pids)


def _server(*, predicting: bool = False) -> _Server:
    """The server of this process; one whose workers can predict, where there is one or has to be."""
    read = frozenset(item for item in os.environ.items() if item[0].startswith(READ_AT_IMPORT))
    able = os.getpid(), read, True
    key = able if predicting or able in _servers else (os.getpid(), read, False)
    if key not in _servers:
        _servers[key] = _Server(predicting=key[-1])
    return _servers[key]


def _stop_others(current: _Server) -> None:
    """Stop servers that serve no run any more, such as those of other variables: each holds some hundred MiB."""
    for key, server in list(_servers.items()):
        if key[0] == os.getpid() and server is not current and server.is_idle:
            _servers.pop(key)._stop()  # type: ignore[attr-defined]


class _Popen(popen_forkserver.Popen):
    """A process of our own server; as the base class launches it, but for the main module and the server."""

    def _launch(self, process_obj: process.BaseProcess) -> None:
        with start_method_kept():
            description = spawn.get_preparation_data(process_obj.name)
        content = io.BytesIO()
        set_spawning_popen(self)
        try:
            reduction.dump({key: description[key] for key in description if not key.startswith(UNSENT)}, content)
            reduction.dump(process_obj, content)
        finally:
            set_spawning_popen(None)
        server = _server()
        self.sentinel, pipe = server.connect_to_new_process(self._fds)  # type: ignore[attr-defined]
        alive = os.dup(pipe)  # the child sees by it that this process has ended
        self.finalizer = util.Finalize(self, util.close_fds, (alive, self.sentinel))  # type: ignore[attr-defined]
        try:
            with os.fdopen(pipe, "wb") as file:
                file.write(content.getbuffer())
            self.pid = forkserver.read_signed(self.sentinel)
        except (EOFError, ConnectionError):
            server.has_failed = True  # Dask loses this exception where it cannot end the process that is none
            raise
        server.pids.add(self.pid)

    def poll(self, flag: int = os.WNOHANG) -> int | None:
        """As the base class; what has ended the process is remembered, unless all went well."""
        is_news = self.returncode is None
        code: int | None = super().poll(flag)
        if is_news and code:
            _ended_by.append(code)
        return code


class _Process(context.ForkServerProcess):
    """A process that a daemon may start too, such as a Dask worker or one of a pool; ours end with their parent."""

    @staticmethod
    def _Popen(process_obj: process.BaseProcess) -> _Popen:  # noqa: N802 - multiprocessing's name
        return _Popen(process_obj)

    def start(self) -> None:
        """Start it, whatever this process is."""
        configuration = process.current_process()._config  # type: ignore[attr-defined]
        with _lock:
            is_daemon = configuration.pop("daemon", None)
            try:
                super().start()
            finally:
                if is_daemon is not None:
                    configuration["daemon"] = is_daemon


class _Context(context.ForkServerContext):
    _name = NAME
    Process = _Process


context._concrete_contexts[NAME] = _Context()  # type: ignore[attr-defined] # where it looks names up


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Have other variables for a while."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
