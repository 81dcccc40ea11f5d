"""What may follow a semantic network within each tile: plain data, like the rest of a spec."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Refinement:
    """Mean-field inference of the fully connected CRF of Krähenbühl and Koltun (2011), with kernels cut to a window.

    Attributes
    ----------
    iterations : int
        Steps of mean-field inference.
    window : int
        Side of the square beyond which kernels are 0, px; odd.
    """

    iterations: int = 5
    window: int = 11

    @property
    def reach(self) -> int:
        """How far a pixel's result depends on others, px: it adds to the halo."""
        return (self.iterations + 1) * (self.window // 2)
