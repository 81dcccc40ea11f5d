"""Batches one after another, drawn in the process that trains or, ahead of it, in processes beside it.

It knows a sampler and a goal. A batch depends on its number alone, so the number of processes changes no weight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Generator, Tensor, from_numpy
from torch.utils.data import DataLoader, Dataset

from geoseg.errors import TrainingError
from geoseg.forking import IS_FORKING
from geoseg.training.goals import Goal, Targets
from geoseg.training.sampling import Sampler

AHEAD = 4
"""Batches that each process has ready."""


@dataclass(frozen=True)
class TrainingBatch:
    """A batch, with what is to be answered.

    Attributes
    ----------
    pixels : Tensor
        float32, shape (n, band, y, x), digital numbers.
    mask : Tensor
        bool, shape (n, y, x), True = valid.
    targets : dict
        As the goal makes them.
    """

    pixels: Tensor
    mask: Tensor
    targets: Targets


class _Batches(Dataset[tuple[Tensor, Tensor, Targets]]):
    """Batches by number."""

    def __init__(self, sampler: Sampler, goal: Goal, size: int) -> None:
        self._sampler, self._goal, self._size = sampler, goal, size

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor, Targets]:
        batch = self._sampler.batch(number, self._size)
        return from_numpy(batch.pixels), from_numpy(batch.mask), self._goal.targets(batch)


def batches(sampler: Sampler, goal: Goal, *, size: int, numbers: range, loaders: int = 0) -> Iterator[TrainingBatch]:
    """Draw batches.

    Parameters
    ----------
    sampler : Sampler
        What draws them.
    goal : Goal
        What makes targets of them.
    size : int
        Windows a batch.
    numbers : range
        Which batches, in this order.
    loaders : int
        Processes that draw ahead; on Linux they share the scenes' memory, being forked. 0 draws when asked.

    Raises
    ------
    TrainingError
        A process that drew ahead has died.
    """
    way = "fork" if IS_FORKING else None
    beside: dict[str, Any] = {"multiprocessing_context": way, "prefetch_factor": AHEAD} if loaders else {}
    # without a batch size the loader stacks nothing: an item is a batch already
    loader = DataLoader(
        _Batches(sampler, goal, size),
        batch_size=None,
        sampler=numbers,
        num_workers=loaders,
        generator=Generator(),  # of its own: the network's chance is left where it stands
        **beside,
    )
    try:
        for pixels, mask, targets in loader:
            yield TrainingBatch(pixels, mask, targets)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):  # torch has no class of its own for it
            raise
        raise TrainingError(
            f"one of {loaders} processes that draw windows has died, maybe for want of memory in /dev/shm; give fewer "
            "loaders, or 0."
        ) from error
