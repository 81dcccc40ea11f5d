"""Tiles and what is asked of them to detections, through a network that points, boxes and masks can ask.

It decides what is asked: prompts as they are, words through a model that turns them into prompts, or everything.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

import torch

from geoseg.models.detections import Detections
from geoseg.models.prompts import Prompt, Prompts
from geoseg.models.sam.asking import Asker
from geoseg.models.sam.viewing import Viewer

Finder = Callable[[torch.Tensor, str], list[Prompt]]
"""Natural colours, 0 to 1, float32 (3, y, x), and words to what marks each object that the words mean."""


class Segmenter:
    """Finds what is asked of each tile.

    Parameters
    ----------
    viewer, asker
        Of one network.
    open_finder : callable
        Opens what understands words; called when words are asked for the first time.
    """

    def __init__(self, viewer: Viewer, asker: Asker, open_finder: Callable[[], Finder]) -> None:
        self._viewer, self._asker, self._open_finder = viewer, asker, open_finder

    def __call__(self, pixels: torch.Tensor, prompts: Sequence[Prompts]) -> list[Detections]:
        """Find objects in scaled pixels, float32 (n, 3, y, x)."""
        return [self._find(tile, asked) for tile, asked in zip(pixels, prompts, strict=True)]

    @cached_property
    def _finder(self) -> Finder:
        return self._open_finder()

    def _find(self, pixels: torch.Tensor, asked: Prompts) -> Detections:
        """Find what is asked of one tile (3, y, x); words and other prompts are both answered."""
        meant = [] if asked.text is None else self._finder(self._viewer.natural(pixels), asked.text)
        wanted = [*asked.objects, *meant]
        if not wanted and asked.text is not None:
            return Detections.none()
        view = self._viewer.look(pixels)
        return self._asker.answer(view, wanted) if wanted else self._asker.everything(view)
