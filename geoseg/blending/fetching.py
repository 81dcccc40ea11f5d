"""Scores of tiles on a device: they become labels there, so that only these leave it.

A batch of scores is several times as large as its labels and ramps, and a device makes integers of it in no time. The
arithmetic is that of the compiled pass (`geoseg.blending.integers`), one rounded operation after another, so both give
the same bits for the same scores. It knows scores and ramps, nothing of networks or of blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch

from geoseg.blending import integers as compiled
from geoseg.blending.integers import AS_THEY_ARE, NOT_FINITE, Integers, Mask, Powers
from geoseg.blending.scores import TileScores
from geoseg.grid import Tiling, Window
from geoseg.probabilities import SCALE, Labels, Pixels, Stored

PIECE = 2**26
"""Scores that are quantised together on a device: what is kept beside them takes some 20 bytes each."""


@dataclass(frozen=True)
class FetchedScores:
    """See `TileScores`: what has left a device.

    Attributes
    ----------
    labels, best, probabilities : array
        As of `geoseg.probabilities.Pixels`; the last of no class where they are not kept.
    rows, cols : tuple of int16 array
        The ramps at both ends, (class, ramp, x) and (class, y, ramp).
    """

    labels: Labels
    best: Stored
    probabilities: Stored
    rows: tuple[Integers, Integers]
    cols: tuple[Integers, Integers]

    def label(self, shape: tuple[int, int], wanted: Mask, pixels: Pixels, corner: tuple[int, int]) -> None:
        """See `TileScores`."""
        own, place = Window(0, 0, *shape).slices(), Window(*corner, *shape).slices()
        for found, target in ((self.labels, pixels.labels), (self.best, pixels.best)):
            np.copyto(target[place], found[own], where=wanted[own])
        for line, kept in zip(self.probabilities, pixels.probabilities, strict=True):
            np.copyto(kept[place], line[own], where=wanted[own])

    def across(self, y: int) -> Integers:
        """See `TileScores`."""
        return self.rows[y > 0]

    def down(self, x: int) -> Integers:
        """See `TileScores`."""
        return self.cols[x > 0]


def fetch(
    scores: torch.Tensor,
    activation: str,
    tiling: Tiling,
    reaches: Sequence[Window],
    values: Labels,
    *,
    keep_all: bool = False,
    powers: Powers = AS_THEY_ARE,
) -> list[TileScores]:
    """Quantise and label scores on their device, whatever it is; arguments as in `geoseg.blending.tile_scores`."""
    tiles: list[TileScores] = []
    for (y, x), run in groupby(reaches, lambda reach: (reach.y, reach.x)):  # all but the last of a raster begin alike
        own = scores[len(tiles) : len(tiles) + len(list(run)), :, y:, x:]
        side = tiling.stride + tiling.ramp
        for piece in own[..., :side, :side].split(max(1, PIECE // own[0].numel())):
            tiles += _fetch(piece, activation, tiling, values, keep_all=keep_all, powers=powers)
    return tiles


def _fetch(
    scores: torch.Tensor, activation: str, tiling: Tiling, values: Labels, *, keep_all: bool, powers: Powers
) -> Iterator[TileScores]:
    """Label some tiles on their device, and bring over what is needed of them."""
    floats, is_finite = quantise_on_device(scores, activation)
    integers = floats.to(torch.int16)
    best, first = integers.max(1)  # the first of equal ones; several times faster than argmax
    labels = torch.from_numpy(values).to(first.device)[first]
    ends = slice(0, tiling.ramp), slice(tiling.stride, None)
    ramps = [*(integers[:, :, end] for end in ends), *(integers[..., end] for end in ends)]
    kept = integers
    if len(powers):
        kept = temper_on_device(integers, powers)
        best = kept.gather(1, first[:, None])[:, 0]
    kept = kept if keep_all else kept[:, :0]
    finite, *parts = (part.numpy() for part in to_host([is_finite, labels, best, kept, *ramps]))
    if not finite:
        raise FloatingPointError(NOT_FINITE)
    for names, sure, every, top, bottom, left, right in zip(*parts, strict=True):
        yield FetchedScores(names, sure.view(np.uint16), every.view(np.uint16), (top, bottom), (left, right))


def to_host(parts: list[torch.Tensor]) -> list[torch.Tensor]:
    """Copy tensors into memory, and wait for them without keeping a core busy."""
    if parts[0].device.type != "cuda":
        return [part.cpu() for part in parts]
    copies = [torch.empty(part.shape, dtype=part.dtype, pin_memory=True) for part in parts]
    for copy, part in zip(copies, parts, strict=True):
        copy.copy_(part, non_blocking=True)
    copied = torch.cuda.Event(blocking=True)
    copied.record()
    copied.synchronize()
    return copies


def quantise_on_device(scores: torch.Tensor, activation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn scores into integers as the compiled pass does.

    Parameters
    ----------
    scores : torch.Tensor
        float32, shape (n, class, y, x).
    activation : str
        See `geoseg.blending.quantise`.

    Returns
    -------
    integers : torch.Tensor
        float32 of the same shape, whole numbers.
    is_finite : torch.Tensor
        One bool: whether every pixel has probabilities.
    """
    if activation == "none":
        return scores.clamp(0, 1).mul_(SCALE).round_(), scores.isfinite().all()
    if activation == "sigmoid":
        power = _exponential(-scores.abs())
        share = torch.where(scores < 0, power, 1).mul_(SCALE)
        return share.div_(power + 1).round_(), power.isfinite().all()
    powers = _exponential(scores - scores.amax(1, keepdim=True))
    total = powers[:, 0].clone()
    for position in range(1, powers.shape[1]):  # in this order: a sum of floats depends on it
        total.add_(powers[:, position])
    is_finite = total.isfinite().all()
    share = torch.full_like(total, SCALE).div_(total)  # a number over a tensor is a product with its reciprocal
    return powers.mul_(share[:, None]).round_(), is_finite


def temper_on_device(integers: torch.Tensor, powers: Powers) -> torch.Tensor:
    """Temper integers, int16 (n, class, y, x), as `geoseg.probabilities.tempered` does."""
    shares = torch.from_numpy(powers).to(integers.device)[integers.long()]
    total = shares.sum(1, keepdim=True, dtype=torch.int64)
    tempered = torch.empty_like(integers)
    for position in range(shares.shape[1]):  # numbers of 64 bits of one class at a time
        share = shares[:, position : position + 1].long().mul_(SCALE).add_(total // 2)
        found = share.div_(total.clamp(min=1), rounding_mode="floor").to(torch.int16)
        tempered[:, position : position + 1] = torch.where(total > 0, found, integers[:, position : position + 1])
    return tempered


def _exponential(x: torch.Tensor) -> torch.Tensor:
    """See `geoseg.blending.integers`: no operation of two may become one that rounds once."""
    x = x.clamp(min=-float(compiled.FARTHEST))
    shifted = x.mul(float(compiled.PER_OCTAVE)).add_(float(compiled.ROUNDER))
    n = shifted - float(compiled.ROUNDER)
    r = x.sub_(n.mul(float(compiled.LN2_HIGH))).sub_(n.mul_(float(compiled.LN2_LOW)))
    series = r.mul(float(compiled.C7))
    for coefficient in (compiled.C6, compiled.C5, compiled.C4, compiled.C3):
        series.add_(float(coefficient)).mul_(r)
    series.add_(float(compiled.C2)).mul_(r).mul_(r).add_(r).add_(1)
    power = shifted.view(torch.int32).add_(127).bitwise_and_(0xFF).bitwise_left_shift_(23)  # the bits of 2^n
    return series.mul_(power.view(torch.float32))
