"""A network that looks at a tile several times, turned, flipped and scaled, and averages what it says.

It knows scores, not which network gives them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from geoseg.models.running import Network, Opener
from geoseg.models.spec import Activation, ModelSpec
from geoseg.models.tta import TestTimeAugmentation

SMALLEST = 1e-7
"""Least probability that is kept when a mean of probabilities becomes a score again."""


def averager(opener: Opener) -> Opener:
    """Make an adapter's opener of networks that score one of networks that look several times."""

    def open_network(spec: ModelSpec, device: torch.device) -> Network:
        network = opener(spec, device)
        return network if spec.tta is None else Averager(network, spec.tta, spec.activation, spec.multiple)

    return open_network


class Averager(torch.nn.Module):
    """Scaled pixels to the scores of the mean probabilities of all views.

    Parameters
    ----------
    network : callable
        Scaled pixels, float32 (n, band, y, x), to scores, float32 (n, class, y, x).
    tta : TestTimeAugmentation
        Which views.
    activation : str
        What turns scores into probabilities.
    multiple : int
        Sides of scaled views are a multiple of it, px.
    """

    def __init__(
        self,
        network: Callable[[torch.Tensor], torch.Tensor],
        tta: TestTimeAugmentation,
        activation: Activation,
        multiple: int,
    ) -> None:
        super().__init__()
        self.network, self._tta, self._activation, self._multiple = network, tta, activation, multiple

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        """Score every view, and average."""
        (_, _), *others = self._tta.turns  # the first is the tile as it is
        total = self._look(scaled)
        for turns, flips in others:
            total = total + turned_back(self._look(turned(scaled, turns, flips)), turns, flips)
        for scale in self._tta.scales:
            size = [max(1, round(side * scale / self._multiple)) * self._multiple for side in scaled.shape[2:]]
            found = self._look(_resized(scaled, size))
            total = _resized(found, list(scaled.shape[2:])) + total
        return self._score(total / (len(self._tta.turns) + len(self._tta.scales)))

    def _look(self, view: torch.Tensor) -> torch.Tensor:
        scores = self.network(view.contiguous(memory_format=_order(view))).float()
        if self._activation == "softmax":
            return scores.softmax(1)
        return scores.sigmoid() if self._activation == "sigmoid" else scores

    def _score(self, probabilities: torch.Tensor) -> torch.Tensor:
        """What the activation turns into these probabilities."""
        if self._activation == "softmax":
            return probabilities.clamp_min(SMALLEST).log()
        return probabilities.logit(SMALLEST) if self._activation == "sigmoid" else probabilities


def turned(pixels: torch.Tensor, turns: int, flips: bool) -> torch.Tensor:
    """Turn the last two axes by quarter turns, then perhaps flip the last."""
    found = pixels.rot90(turns, (-2, -1))
    return found.flip(-1) if flips else found


def turned_back(pixels: torch.Tensor, turns: int, flips: bool) -> torch.Tensor:
    """Undo `turned`."""
    return (pixels.flip(-1) if flips else pixels).rot90(-turns, (-2, -1))


def _resized(pixels: torch.Tensor, size: list[int]) -> torch.Tensor:
    return functional.interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=True)


def _order(pixels: torch.Tensor) -> torch.memory_format:
    """The order in memory that the network was given."""
    last = pixels.is_contiguous(memory_format=torch.channels_last) or pixels.stride(1) == 1
    return torch.channels_last if last else torch.contiguous_format
