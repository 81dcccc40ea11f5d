"""Batches in flight on a device: while one is computed, the next is on its way there and the last is on its way back.

Each has a CUDA stream of its own, and there are few of them, so that the memory of a device does not grow with the
threads that feed it. It knows devices, nothing of models, and loads torch where there is something to compute.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from queue import LifoQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IN_FLIGHT = 2
"""Batches that a device has at a time; others wait for them in memory."""


@contextmanager
def in_flight(device: torch.device) -> Iterator[None]:
    """Have a batch on a device: what is computed in this block is in the order of one stream, and has its turn.

    No gradients are kept. Whatever is needed of it has to be brought over within the block. A CPU computes as many as
    there are threads.
    """
    import torch

    if device.type != "cuda":
        with torch.inference_mode():
            yield
        return
    streams = _streams(device)
    stream = streams.get()
    try:
        with torch.inference_mode(), torch.cuda.stream(stream):
            yield
    finally:
        streams.put(stream)


@cache
def _streams(device: torch.device) -> LifoQueue[torch.cuda.Stream]:
    """The idle streams of a device."""
    import torch

    streams: LifoQueue[torch.cuda.Stream] = LifoQueue()
    for _ in range(IN_FLIGHT):
        streams.put(torch.cuda.Stream(device))
    return streams


def to_device(values: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Send values to a device without waiting for them to arrive; those that are there already stay."""
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
