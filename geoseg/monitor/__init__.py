"""What a person watches while a run goes on: the terminal, lines for machines, and the page on the Dask dashboard.

It receives the events of the engine, and draws; it decides nothing. Importing this package loads nothing: the scheduler
of a cluster imports the page from it, and has no use for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoseg.monitor.watching import Monitor

__all__ = ["Monitor"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'geoseg.monitor' has no attribute '{name}'")
    return getattr(import_module("geoseg.monitor.watching"), name)
