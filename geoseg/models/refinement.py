"""What may follow a semantic network within each tile: plain data, like the rest of a spec, and how people write it.

It knows numbers and their names; nothing of torch, which turns them into a result (`geoseg.models.crf`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from geoseg.errors import WorkflowError, nearest

CRF = "crf"
"""What a person writes for a `Refinement` as it is by default."""


@dataclass(frozen=True)
class Refinement:
    """Mean-field inference of the fully connected CRF of Krähenbühl and Koltun (2011), with kernels cut to a window.

    Two kernels let a pixel hear others within the window: smoothness hears near ones, appearance near ones of the same
    colour. Their defaults are the authors'; the window is that of Teichmann and Cipolla (2018).

    Attributes
    ----------
    iterations : int
        Steps of mean-field inference, at least 1.
    window : int
        Side of the square beyond which kernels are 0, px; odd, at least 3. Time and memory grow with its square.
    smoothness, appearance : float
        Weights of the two kernels, 0 = none.
    smoothness_distance, appearance_distance : float
        Standard deviations of their Gaussians in space, px.
    contrast : float or None
        Standard deviation of the appearance kernel in colour, in units of what the network sees; None is 13 of 255
        parts of each band's range, as its scaling gives it (`geoseg.models.crf.contrasts`).

    Raises
    ------
    WorkflowError
        A value cannot be used.
    """

    iterations: int = 5
    window: int = 11
    smoothness: float = 3.0
    smoothness_distance: float = 3.0
    appearance: float = 10.0
    appearance_distance: float = 80.0
    contrast: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        self._need("iterations", "a whole number of at least 1", lambda value: _is_whole(value) and value >= 1)
        self._need(
            "window", "an odd number of px, at least 3", lambda value: _is_whole(value) and value > 2 and value % 2 == 1
        )
        for name in ("smoothness", "appearance"):
            self._need(name, "a number of at least 0", lambda value: _is_number(value) and value >= 0)
        for name in ("smoothness_distance", "appearance_distance"):
            self._need(name, "a number above 0", lambda value: _is_number(value) and value > 0)
        if self.contrast is not None:
            self._need("contrast", "a number above 0", lambda value: _is_number(value) and value > 0)

    def _need(self, name: str, wanted: str, fits: Callable[[Any], bool]) -> None:
        value = getattr(self, name)
        if not fits(value):
            raise WorkflowError(f"refine.{name} is {value!r}; give {wanted}.")

    @property
    def radius(self) -> int:
        """How far a pixel hears others in one step, px."""
        return self.window // 2

    @property
    def reach(self) -> int:
        """How far a pixel's result depends on others, px: it adds to the halo.

        Each step hears one radius further, and what is heard is weighed by the sums of kernels there, which look
        another radius ahead.
        """
        return (self.iterations + 1) * self.radius

    def seconds_per_mpx(self, classes: int) -> float:
        """Seconds of one CPU core per Mpx, as measured; within a third of it on other machines of its time.

        Parameters
        ----------
        classes : int
            Of the model.
        """
        return self.iterations * self.window**2 * (1.1e-3 + 2.2e-4 * classes)

    def bytes_per_pixel(self, classes: int, bands: int) -> float:
        """Peak bytes per pixel of a tile, beyond its pixels and scores; the tiles of a batch are refined in turn."""
        pairs = self.window**2 // 2
        return 4 * (1.1 * pairs + 7 * classes + 3 * bands + 8)  # a tenth for the zeros between rows


def read_refinement(value: str | Mapping[str, Any] | None) -> Refinement | None:
    """Read what a person writes: ``crf``, or the fields of `Refinement`; nothing gives None.

    Raises
    ------
    WorkflowError
        An unknown key, or a value that cannot be used.
    """
    if value is None:
        return None
    if value == CRF:
        return Refinement()
    known = [item.name for item in fields(Refinement)]
    if not isinstance(value, Mapping):
        raise WorkflowError(f"refine is {value!r}; write {CRF}, or some of its keys {', '.join(known)}.")
    for name in value:
        if name not in known:
            raise WorkflowError(f"refine has the unknown key '{name}'; {nearest(str(name), known)}")
    return Refinement(**value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
