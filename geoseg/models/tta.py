"""Test-time augmentation: which views of a tile are averaged; plain data, and how people write it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from geoseg.errors import WorkflowError, nearest

WORDS = ("flips", "rotations", "scales")
SCALES = (0.8, 1.25)
"""What the word ``scales`` stands for."""


@dataclass(frozen=True)
class TestTimeAugmentation:
    """Views of a tile whose probabilities are averaged, beside the tile as it is.

    Attributes
    ----------
    flips : bool
        Left to right, top to bottom, and both.
    rotations : bool
        Quarter turns; with flips the eight symmetries of the square.
    scales : tuple of float
        Sizes of further views, as a factor; each is seen upright only.
    """

    __test__ = False  # its name is that of the method, and no test

    flips: bool = True
    rotations: bool = True
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        for scale in self.scales:
            if not isinstance(scale, int | float) or not isfinite(scale) or not 0.25 <= scale <= 4 or scale == 1:
                raise WorkflowError(f"tta.scales has {scale!r}; give factors from 0.25 to 4 other than 1.")

    @property
    def turns(self) -> tuple[tuple[int, bool], ...]:
        """Quarter turns, and whether a flip from left to right follows; each symmetry once."""
        if self.rotations:
            return tuple((turn, flip) for flip in ((False, True) if self.flips else (False,)) for turn in range(4))
        return ((0, False), (0, True), (2, False), (2, True)) if self.flips else ((0, False),)

    @property
    def work(self) -> float:
        """Pixels that the network sees, as a multiple of the tile's."""
        return len(self.turns) + sum(scale**2 for scale in self.scales)

    @property
    def widest(self) -> float:
        """How much farther the network sees in the smallest view, as a factor of at least 1."""
        return max((1 / scale for scale in self.scales), default=1.0) if min(self.scales, default=1.0) < 1 else 1.0

    @property
    def largest(self) -> float:
        """Side of the largest view, as a factor of at least 1."""
        return max(1.0, *self.scales) if self.scales else 1.0


def read_tta(value: bool | str | Mapping[str, Any] | None) -> TestTimeAugmentation | None:
    """Read what a person writes: true, words such as ``flips,scales``, or the fields of `TestTimeAugmentation`.

    Raises
    ------
    WorkflowError
        An unknown word, or a value that cannot be used.
    """
    if value is None or value is False:
        return None
    if value is True:
        return TestTimeAugmentation()
    if isinstance(value, str):
        words = [word.strip() for word in value.split(",") if word.strip()]
        for word in words:
            if word not in WORDS:
                raise WorkflowError(f"tta has the unknown word '{word}'; {nearest(word, WORDS)}")
        return TestTimeAugmentation("flips" in words, "rotations" in words, SCALES if "scales" in words else ())
    known = [item.name for item in fields(TestTimeAugmentation)]
    if not isinstance(value, Mapping):
        raise WorkflowError(f"tta is {value!r}; write true, or some of {', '.join(known)}.")
    for name in value:
        if name not in known:
            raise WorkflowError(f"tta has the unknown key '{name}'; {nearest(str(name), known)}")
    return TestTimeAugmentation(**{**value, "scales": tuple(value.get("scales") or ())})
