"""The panels of a preview: imagery, labels, and outlines over faded imagery, each as a picture of a wanted size.

It knows what was read of a run; nothing of the sheet that panels lie on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from geoseg.models.spec import NODATA
from geoseg.report.cartography import GROUND, draw_polygons
from geoseg.report.coloring import Colors, palette_of, stretched
from geoseg.report.findings import OpenImagery, find_features, find_imagery, legend_of
from geoseg.report.framing import Frame
from geoseg.report.imagery import ImageryPicture
from geoseg.report.lettering import Color
from geoseg.report.pictures import Picture, read_instances, read_labels
from geoseg.report.record import LegendClass, RunRecord
from geoseg.report.shapes import Limits, Shapes
from geoseg.report.wording import percent

LIMITS = Limits(count=40_000, vertices=500_000)
"""Polygons that are drawn; smaller ones are specks."""

TINT = 0.45
"""How much of a class's colour covers the imagery inside outlines."""

EDGE: Color = (24, 26, 28)
"""Colour of the edges of objects on labels."""

Shape = tuple[int, int]
"""Width and height of a picture, px, as Pillow has them."""


@dataclass(frozen=True)
class Panels:
    """What panels are drawn from.

    Attributes
    ----------
    frame : Frame
        The grid of all pictures.
    classes : list of LegendClass
        The legend.
    labels : uint8 (y, x)
        255 = nodata.
    instances : uint32 (y, x) or None
        0 = none.
    shapes : Shapes or None
        The largest polygons.
    objects : dict of int to int
        Number of objects by class.
    imagery : callable
        Reads the imagery as a picture, which takes long where blocks have kept none as fine; None where there is none.
    is_ordered : bool
        Whether a person has ordered the classes; otherwise the largest come first.
    """

    frame: Frame
    classes: list[LegendClass]
    labels: Picture
    instances: NDArray[np.uint32] | None
    shapes: Shapes | None
    objects: dict[int, int]
    imagery: Callable[[], ImageryPicture | None]
    is_ordered: bool = False

    @classmethod
    def read(cls, record: RunRecord, imagery: OpenImagery, frame: Frame) -> Panels:
        """Read a run; its imagery may be missing.

        Raises
        ------
        ReportError
            The run's labels cannot be read.
        """
        features, shapes = find_features(record, frame, LIMITS)
        return cls(
            frame,
            legend_of(record),
            read_labels(record, frame),
            read_instances(record, frame),
            shapes,
            {value: item.objects for value, item in features.items() if item.objects},
            partial(find_imagery, record, imagery, frame),
            isinstance(record.workflow.get("legend"), list),
        )

    @cached_property
    def colors(self) -> tuple[Colors, NDArray[np.bool_]] | None:
        """The imagery as the eye sees it, uint8 (y, x, 3), and where there is any, bool (y, x)."""
        picture = self.imagery()
        return None if picture is None or np.isnan(picture.pixels).all() else stretched(picture.pixels)

    @property
    def names(self) -> list[str]:
        """The panels: imagery and polygons only where there are any."""
        has_polygons = self.shapes is not None and len(self.shapes) > 0
        return ["imagery"] * (self.colors is not None) + ["classes"] + ["polygons"] * has_polygons

    @property
    def count(self) -> int:
        """Number of panels."""
        return len(self.names)

    def legend(self) -> list[tuple[LegendClass, str]]:
        """Classes that are to be seen, with their part of the map or the number of objects."""
        counts = np.bincount(self.labels.ravel(), minlength=256)
        total = max(1, int(counts.sum() - counts[NODATA]))
        shown = [item for item in self.classes if counts[item.value]]
        if not self.is_ordered:
            shown.sort(key=lambda item: -counts[item.value])
        return [
            (item, f"{number:,}" if (number := self.objects.get(item.value)) else percent(counts[item.value] / total))
            for item in shown
        ]

    def draw(self, shape: Shape, line: float) -> list[tuple[str, Image.Image]]:
        """Draw all panels, with their captions.

        Parameters
        ----------
        shape : (int, int)
            Width and height of each, px.
        line : float
            Width of lines, px.
        """
        return [(name.capitalize(), self.panel(name, shape, line)) for name in self.names]

    def panel(self, name: str, shape: Shape, line: float) -> Image.Image:
        """Draw the panel of a name, as `draw` does."""
        if name == "classes":
            return resized(self._painted_labels(), shape)
        imagery = self._imagery(shape)
        if name == "polygons":
            return self._outlined(Image.new("RGB", shape, GROUND) if imagery is None else imagery, line)
        assert imagery is not None  # noqa: S101 - it is named only where there is some
        return imagery

    def _imagery(self, shape: Shape) -> Image.Image | None:
        if self.colors is None:
            return None
        colors, mask = self.colors
        shown = np.where(mask[..., None], colors, np.array(GROUND, np.uint8))
        return resized(shown, shape, Image.Resampling.LANCZOS)

    def _painted_labels(self) -> Colors:
        """Labels in their colours; objects have edges, so that neighbours stay two."""
        painted = palette_of(self.classes, GROUND)[self.labels]
        if self.instances is not None:
            edges = np.zeros(self.labels.shape, bool)
            for axis in (0, 1):
                steps = np.diff(self.instances, axis=axis, prepend=self.instances.take([0], axis)) != 0
                edges |= steps
            painted[edges] = EDGE
        return painted

    def _outlined(self, ground: Image.Image, line: float) -> Image.Image:
        assert self.shapes is not None  # noqa: S101 - asked by the caller
        colors = {item.value: item.rgb for item in self.classes}
        height, width = self.frame.shape
        scale = ground.width / width, ground.height / height
        chosen = [colors.get(int(value), EDGE) for value in self.shapes.columns["class"]]
        return draw_polygons(ground, self.shapes.polygons, chosen, scale, line=line, tint=TINT)


def resized(colors: Colors, shape: Shape, finer: Image.Resampling = Image.Resampling.NEAREST) -> Image.Image:
    """Colours as a picture of a size: averaged to a smaller one; pixels stay pixels, or not, in a larger one."""
    picture = Image.fromarray(np.ascontiguousarray(colors))
    return picture.resize(shape, Image.Resampling.BOX if shape[0] < picture.width else finer)
