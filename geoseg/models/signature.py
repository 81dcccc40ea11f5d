"""What an exported program takes, which may be another type, batch or order of axes than a model is fed with.

It knows shapes and tensors, neither files nor the libraries that run them: an adapter says what its program takes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from geoseg.errors import ModelError
from geoseg.models.running import Network
from geoseg.models.spec import ModelSpec

IMAGE = 4
"""Axes of a batch of images."""


@dataclass(frozen=True)
class Signature:
    """The input of a program.

    Attributes
    ----------
    dtype : torch.dtype
        Of its pixels.
    shape : tuple
        The length of each axis; None where any length will do.
    """

    dtype: torch.dtype
    shape: tuple[int | None, ...]

    def fit(self, program: Callable[[torch.Tensor], Any], spec: ModelSpec) -> Network:
        """Return what maps scaled pixels, float32 (n, band, y, x), by the program to scores (n, class, y, x).

        A program may give a list with an item for each image instead.

        Raises
        ------
        ModelError
            It takes no image, or no square tile.
        """
        is_last = self._has_bands_last(spec)
        if len(self.shape) != IMAGE:
            raise ModelError(
                f"model '{spec.name}' takes an input of {len(self.shape)} axes; export it with one float32 input of "
                "shape (n, band, y, x)."
            )
        sides = self.shape[1:3] if is_last else self.shape[2:]
        if None not in sides and sides[0] != sides[1]:
            raise ModelError(
                f"model '{spec.name}' takes tiles of {sides[0]} x {sides[1]} px and no others, and tiles are square; "
                "export it with height and width that may vary, or are the same."
            )

        def run(scaled: torch.Tensor) -> torch.Tensor:
            pixels = _cast(scaled, self.dtype, spec)
            scores = _in_batches(program, pixels.movedim(1, -1).contiguous() if is_last else pixels, self.shape[0])
            return _bands_first(scores, spec, scaled.shape[2:]) if isinstance(scores, torch.Tensor) else scores

        return _Fitted(program, run) if isinstance(program, torch.nn.Module) else run

    def _has_bands_last(self, spec: ModelSpec) -> bool:
        """Whether the shape fits only (n, y, x, band)."""
        return len(self.shape) == IMAGE and self.shape[3] == len(spec.bands) and self.shape[1] != len(spec.bands)


class _Fitted(torch.nn.Module):
    """A module that stays one, with parameters that can be looked at and compiled."""

    def __init__(self, program: torch.nn.Module, run: Network) -> None:
        super().__init__()
        self.program, self.run = program, run

    def forward(self, scaled: torch.Tensor) -> torch.Tensor:
        """Scores of scaled pixels."""
        scores: torch.Tensor = self.run(scaled)
        return scores


def _cast(scaled: torch.Tensor, dtype: torch.dtype, spec: ModelSpec) -> torch.Tensor:
    """Pixels in a program's type; a type of whole numbers must hold them as they are."""
    pixels = scaled.to(dtype)
    if not dtype.is_floating_point and not torch.equal(pixels.to(scaled.dtype), scaled):
        raise ModelError(
            f"model '{spec.name}' takes pixels of type {str(dtype).removeprefix('torch.')}, and would lose digits of "
            f"those it is given ({scaled.min():g} to {scaled.max():g}); leave value_scaling out of its entry, or give "
            "imagery whose numbers it can hold."
        )
    return pixels


def _in_batches(program: Callable[[torch.Tensor], Any], pixels: torch.Tensor, size: int | None) -> Any:
    """Run a program as often as its fixed batch needs; what the last one lacks repeats its first image."""
    if size is None or len(pixels) == size:
        return program(pixels)
    lacking = pixels[:1].expand(-len(pixels) % size, *pixels.shape[1:])
    parts = torch.cat([pixels, lacking]).split(size)
    given = [program(part) for part in parts]
    joined = torch.cat(given) if isinstance(given[0], torch.Tensor) else [item for part in given for item in part]
    return joined[: len(pixels)]


def _bands_first(scores: torch.Tensor, spec: ModelSpec, size: torch.Size) -> torch.Tensor:
    """Scores with their classes before the image's axes, where these stand behind them."""
    is_last = scores.dim() == IMAGE and scores.shape[1:3] == size and scores.shape[2:] != size
    return scores.movedim(-1, 1) if is_last and scores.shape[3] <= len(spec.classes) else scores
