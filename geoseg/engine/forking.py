"""Workers are forked from one process that has loaded the libraries: they start at once, and share their memory.

That process is multiprocessing's fork server. It is started by the first cluster, serves the later ones of the same
process too, and ends with it. Other systems than Linux start each worker anew, as Dask does by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import forkserver
from threading import Lock

import dask
from distributed.utils import get_mp_context

from geoseg.planning import IS_FORKING

LOADED = ("distributed", "geoseg.tasks", "geoseg.models.smp", "geoseg.engine.frozen")
"""What the server imports before it forks: what workers need, whatever they are asked for."""

METHOD = "distributed.worker.multiprocessing-method"

_lock = Lock()
_started = False


def start_server(environment: Mapping[str, str]) -> dict[str, str]:
    """Start the server unless it runs; its imports go on while this process does something else.

    Parameters
    ----------
    environment : mapping
        Variables that a process reads when it starts, such as those of its allocator.

    Returns
    -------
    dict
        Dask's configuration for nannies whose workers are to be forked; empty on systems where they are not.
    """
    global _started
    if not IS_FORKING:
        return {}
    with _lock:
        if not _started:
            with dask.config.set({METHOD: "forkserver"}):
                get_mp_context().set_forkserver_preload(list(LOADED))  # Dask's own list first, then ours instead of it
            with _environment({name: os.environ.get(name, value) for name, value in environment.items()}):
                forkserver.ensure_running()
            _started = True
    return {METHOD: "forkserver"}


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
