"""Where an outline reads labels: blocks of a run, or a raster that somebody classified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import RasterError
from geoseg.grid import Window
from geoseg.planning import RegionMask
from geoseg.raster import Raster, read_labels
from geoseg.raster.labels import LIMITS
from geoseg.store import RunFolder


@dataclass(frozen=True)
class RunLabels:
    """Labels and confidence of a run.

    Attributes
    ----------
    folder : RunFolder
        Holds its blocks.
    """

    folder: RunFolder
    has_confidence: ClassVar[bool] = True

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the labels."""
        return np.dtype(np.uint8)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Labels and confidence, uint8 (y, x); 255 where nothing was mapped."""
        return self.folder.blocks.read_stuff(*window.slices())


@dataclass(frozen=True)
class LabelRaster:
    """The first band of a raster.

    Attributes
    ----------
    raster : Raster
        Whole numbers.
    nodata : int
        The label that masked pixels get, and no other pixel has; wider integers hold it when the raster's own type does
        not.
    region : RegionMask, optional
        What it does not touch is masked too.
    """

    raster: Raster
    nodata: int
    region: RegionMask | None = None
    has_confidence: ClassVar[bool] = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """The raster's own where that are integers which hold nodata, and have a sign when they are wide."""
        own = self.raster.dtype
        if own.kind == "f" or own == np.uint64:
            return np.dtype(np.int64)
        limits = np.iinfo(own)
        return own if limits.min <= self.nodata <= limits.max else np.dtype(np.int64)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
        """Labels, integers (y, x); every pixel is certain."""
        labels, mask = read_labels(self.raster, window)
        if self.nodata == LIMITS.min and labels.dtype.itemsize == 8 and (mask & (labels == self.nodata)).any():
            raise RasterError(
                f"'{self.raster.sources[0].given}' holds {self.nodata}, which no label can be; declare it as nodata."
            )
        if self.region is not None:
            mask = mask & self.region.mask(window)
        if mask.all():
            return labels, None
        labels = labels.astype(self.dtype, copy=False)
        return np.where(mask, labels, labels.dtype.type(self.nodata)), None
