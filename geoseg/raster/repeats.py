"""How often servers are asked again: counted in each process, by server, and told once.

It knows counts; who asks, and how long is waited between, stands elsewhere.
"""

from __future__ import annotations

import threading
from collections import Counter
from urllib.parse import urlsplit

COUNT = "{count}"
"""Stands in what is told for a number that is summed over all processes."""

_repeated: Counter[str] = Counter()
_counting = threading.Lock()


def note_repeated(address: str) -> None:
    """Count one more request to the server of an address."""
    host = urlsplit(address).netloc.rpartition("@")[2] or address
    with _counting:
        _repeated[host] += 1


def take_repeated() -> list[tuple[str, int]]:
    """Take what is to be told of requests that this process has repeated since it was last asked.

    Returns
    -------
    list of (str, int)
        A sentence about each server, in which `COUNT` stands for the number.
    """
    with _counting:
        taken = _repeated.copy()
        _repeated.clear()
    return [(f"{host} was busy or failed; requests repeated: {COUNT}.", count) for host, count in taken.items()]
