"""Two maps and what changed, side by side, as a picture of the labels that were thinned while they were counted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from geoseg.comparison.pixels import KINDS, PixelChanges
from geoseg.evaluation.classes import IGNORE
from geoseg.report.cartography import GROUND
from geoseg.report.coloring import palette_of
from geoseg.report.framing import Frame
from geoseg.report.panels import Shape, resized
from geoseg.report.record import LegendClass

SAME = (250, 250, 248)
"""Colour of pixels that kept their class, where changes are shown."""


@dataclass(frozen=True)
class ChangePanels:
    """The panels of a comparison of classes."""

    changes: PixelChanges
    count: int = 3

    @property
    def frame(self) -> Frame:
        """The grid of all panels."""
        return self.changes.frame

    def legend(self) -> list[tuple[LegendClass, str]]:
        """Classes with what they won or lost, the largest first."""
        balance = self.changes.balance
        order = np.argsort(-(balance["before"] + balance["after"]).to_numpy(), kind="stable")
        net, unit = balance["net"].to_numpy(), self.changes.unit
        return [(self._classes[place], f"{net[place]:+,.1f} {unit}") for place in order.tolist()]

    def draw(self, shape: Shape, line: float) -> list[tuple[str, Image.Image]]:
        """Draw the first map, the second one, and the classes that pixels became where they changed."""
        del line
        palette = palette_of(self._classes, GROUND)
        first, second = np.divmod(np.asarray(self.frame.arrange(self.changes.picture)), KINDS)
        changed = palette[second]
        changed[first == second] = SAME
        changed[(first == IGNORE) | (second == IGNORE)] = GROUND
        maps = {"First map": palette[first], "Second map": palette[second], "Changes": changed}
        return [(caption, resized(colors, shape)) for caption, colors in maps.items()]

    @property
    def _classes(self) -> list[LegendClass]:
        return [LegendClass(item.index, item.name.replace("_", " "), item.color) for item in self.changes.classes]
