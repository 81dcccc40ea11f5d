"""Workers are forked from one process that has loaded the libraries: they start at once, and share their memory.

That process is a fork server of geoseg's own: it is started by the first cluster, serves the later ones of the same
process too, and ends with it, or when a later cluster needs another environment. A program that uses multiprocessing
keeps the server and the settings that it has. On systems where loaded libraries must not be forked the server loads
none, and each worker imports them itself.

Workers never import the main module of the program, which multiprocessing does otherwise: a script without a main guard
would start its run again in each of them, and a notebook or a program on the standard input has no file to import.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import context, forkserver, popen_forkserver, process, reduction, spawn, util
from multiprocessing.context import set_spawning_popen
from threading import Lock

import psutil

from geoseg.errors import WorkerError
from geoseg.planning import IS_FORKING

LOADED = ("distributed", "geoseg.tasks", "geoseg.models.smp", "geoseg.engine.frozen")
"""What the server imports before it forks: what workers need, whatever they are asked for."""

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
_servers: dict[tuple[int, frozenset[tuple[str, str]]], _Server] = {}
"""Servers by the process that has started them, as a process that was forked since has none, and by the variables that
their libraries have read."""


def start_server(environment: Mapping[str, str]) -> dict[str, str]:
    """Start the server unless it runs; its imports go on while this process does something else.

    Parameters
    ----------
    environment : mapping
        Variables that a process reads when it starts, such as those of its allocator.

    Returns
    -------
    dict
        Dask's configuration for nannies whose workers are to be forked.
    """
    wanted = {name: os.environ.get(name, value) for name, value in environment.items()}
    with _lock, _environment({**wanted, **SAFE}):
        _server().ensure_running()
        _stop_others()
    return {METHOD: NAME}


def check_process() -> None:
    """Refuse a process in which no worker can be started.

    Raises
    ------
    WorkerError
        Its directory was removed, or it was forked after Dask had threads, without which it would wait for ever.
    """
    if not _has_directory():
        raise WorkerError("the current directory was removed, and no process starts in it; change to another one.")
    if _servers and all(owner != os.getpid() for owner, _ in _servers):
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

    def __init__(self) -> None:
        super().__init__()
        self.pids: set[int] = set()
        self.set_forkserver_preload(list(LOADED) if IS_FORKING else [])

    @property
    def is_idle(self) -> bool:
        """Whether all processes that it has started have ended."""
        return not any(psutil.pid_exists(pid) for pid in self.pids)


def _server() -> _Server:
    """The server of this process."""
    read = frozenset(item for item in os.environ.items() if item[0].startswith(READ_AT_IMPORT))
    key = os.getpid(), read
    if key not in _servers:
        _servers[key] = _Server()
    return _servers[key]


def _stop_others() -> None:
    """Stop servers of other variables that serve no run any more: each holds some hundred MiB."""
    current = _server()
    for key, server in list(_servers.items()):
        if key[0] == os.getpid() and server is not current and server.is_idle:
            _servers.pop(key)._stop()  # type: ignore[attr-defined]


class _Popen(popen_forkserver.Popen):
    """A process of our own server; as the base class launches it, but for the main module and the server."""

    def _launch(self, process_obj: process.BaseProcess) -> None:
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
        with os.fdopen(pipe, "wb") as file:
            file.write(content.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)
        server.pids.add(self.pid)


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
