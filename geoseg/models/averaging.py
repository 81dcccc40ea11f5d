"""Means of probabilities: of a network that looks at a tile several times, and of the members of an ensemble.

It knows scores, not which network gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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


def ensemble(openers: Sequence[Opener]) -> Opener:
    """Make the openers of the members of an ensemble one, for a spec whose parts they are."""

    def open_network(spec: ModelSpec, device: torch.device) -> Network:
        members = [opener(part, device) for opener, part in zip(openers, spec.parts, strict=True)]
        return Ensemble(members, spec.activation)

    return open_network


class Ensemble(torch.nn.Module):
    """Scaled pixels to the scores of the mean probabilities of all members.

    Parameters
    ----------
    members : sequence of callable
        Scaled pixels, float32 (n, band, y, x), to scores, float32 (n, class, y, x).
    activation : str
        What turns scores into probabilities.
    """

    def __init__(self, members: Sequence[Network], activation: Activation) -> None:
        super().__init__()
        self.modules_of_members = torch.nn.ModuleList(item for item in members if isinstance(item, torch.nn.Module))
        self._members, self._activation = tuple(members), activation

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        """Score by every member, and average."""
        first, *others = self._members
        total = probabilities_of(first(scaled), self._activation)
        for member in others:
            total = total + probabilities_of(member(scaled), self._activation)
        return scores_of(total / len(self._members), self._activation)


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
        return scores_of(total / (len(self._tta.turns) + len(self._tta.scales)), self._activation)

    def _look(self, view: torch.Tensor) -> torch.Tensor:
        return probabilities_of(self.network(view.contiguous(memory_format=_order(view))), self._activation)


def probabilities_of(scores: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Turn scores (n, class, y, x) of any precision into probabilities, float32."""
    if activation == "softmax":
        return scores.float().softmax(1)
    return scores.float().sigmoid() if activation == "sigmoid" else scores.float()


def scores_of(probabilities: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Return what an activation turns into these probabilities, float32 (n, class, y, x)."""
    if activation == "softmax":
        return probabilities.clamp_min(SMALLEST).log()
    return probabilities.logit(SMALLEST) if activation == "sigmoid" else probabilities


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
