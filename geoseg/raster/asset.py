"""A file as a catalog describes it: known without being opened, and checked when it is.

So a plan over thousands of scenes opens none of them. It knows what a description says, not where it stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from geoseg.errors import AssetMismatchError, RasterReadError
from geoseg.grid import Window
from geoseg.raster.bands import is_alpha
from geoseg.raster.calibration import Calibration
from geoseg.raster.facts import declared_nodata, has_mask, numpy_type, usable_nodata
from geoseg.raster.handles import Result, is_remote, patiently
from geoseg.raster.placing import SAME_GRID, crs_label, definition, lies_at, stated_crs
from geoseg.raster.source import SIGN, Source, is_denied, reason


@dataclass(frozen=True)
class Asset(Source):
    """The chosen bands of a file that a catalog describes.

    Nodata values, alpha and masks that the file itself declares count as well as those of the description.

    Attributes
    ----------
    named : tuple of int
        Bands to which the catalog gives a name of data; none of them is alpha, whatever the file says.
    is_nodata_given : bool
        Whether a person has said what is nodata, which then goes before what the file declares.
    stamp : tuple of (str, str)
        Names and values of what the catalog says that changes with the file's content.
    """

    named: tuple[int, ...] = ()
    is_nodata_given: bool = False
    stamp: tuple[tuple[str, str], ...] = ()

    def calibrated(self, calibration: Calibration, positions: Sequence[int]) -> Self:
        """Return the asset as `Source.calibrated` does.

        Raises
        ------
        RasterError
            The nodata value that is said cannot be one.
        """
        read = super().calibrated(calibration, positions)
        return replace(
            read,
            # whatever the file's type turns out to be, floating point holds it
            dtype=read.dtype if calibration.override is None else np.result_type(read.dtype, np.float32),
            is_nodata_given=self.is_nodata_given or calibration.nodata is not None,
        )

    @property
    def version(self) -> dict[str, str] | None:
        """What the catalog says that changes with the file's content."""
        return dict(self.stamp)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window, as `Source.read`.

        Raises
        ------
        RasterReadError
            When the file is gone or damaged, or is not what the catalog says.
        """
        return self._read(lambda opened: self._as_opened(opened).read_opened(opened, window), f" at {window}")

    def as_opened(self) -> Source:
        """Return the source as its file describes it."""
        return self._read(self._as_opened)

    def _read(self, read: Callable[[rasterio.DatasetReader], Result], where: str = "") -> Result:
        try:
            return patiently(self.path, read, alone=is_remote(self.path))
        except RasterioError as error:
            remedy = "the file is gone or damaged, or its server did not answer: run the same command again"
            remedy = SIGN if is_denied(error) else remedy
            raise self.refused(f"'{self.given}' cannot be read{where} ({reason(error)}); {remedy}.") from error

    def _as_opened(self, opened: rasterio.DatasetReader) -> Source:
        """Return the source as its file describes it.

        Raises
        ------
        RasterReadError
            When the catalog says something else.
        """
        if not _is_same_grid(self.geobox.transform, self.geobox.shape, opened.transform, opened.shape):
            raise self._differs(
                f"{opened.width} x {opened.height} px at {tuple(opened.transform)[:6]}",
                f"{self.geobox.shape[1]} x {self.geobox.shape[0]} px at {tuple(self.geobox.transform)[:6]}",
            )
        if opened.crs and not lies_at(self.geobox, wkt := definition(opened.crs)):
            raise self._differs(crs_label(stated_crs(wkt)), crs_label(self.geobox.crs))
        if max(self.indexes) > opened.count:
            raise self._differs(f"{opened.count} bands", f"a band {max(self.indexes)}")
        dtypes = [numpy_type(opened.dtypes[index - 1]) for index in self.indexes]
        for dtype in dtypes:
            if not np.can_cast(dtype, self.dtype):
                raise self._differs(f"{dtype} pixels", str(self.dtype), "give `--scale 1` to read them as they are, ")
        values = declared_nodata(opened)
        declared = [values[index - 1] for index in self.indexes]
        told = zip(opened.indexes, opened.colorinterp, opened.descriptions, strict=True)
        alphas = [band for band, color, name in told if is_alpha(color.name, name or "") and band not in self.named]
        return Source(
            given=self.given,
            path=self.path,
            geobox=self.geobox,
            indexes=self.indexes,
            dtype=self.dtype,
            nodata=tuple(
                said if value is None or self.is_nodata_given else usable_nodata(value, dtype)
                for value, said, dtype in zip(declared, self.nodata, dtypes, strict=True)
            ),
            alpha=next((band for band in alphas if band not in self.indexes), None),
            masked=tuple(index for index in self.indexes if has_mask(opened.mask_flag_enums[index - 1])),
            lines=self.lines,
        )

    def _differs(self, found: str, said: str, remedy: str = "") -> RasterReadError:
        return self.refused(
            f"'{self.given}' has {found} and its catalog says {said}; {remedy}correct the catalog's entry, or give the "
            "files themselves as input.",
            AssetMismatchError,
        )


def _is_same_grid(one: Affine, shape: Any, other: Affine, size: tuple[int, int]) -> bool:
    """Say whether two grids of pixels are one, to a part of a pixel at each corner."""
    if tuple(shape) != tuple(size):
        return False
    shift = ~one @ other
    height, width = size
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    return all(
        abs(moved - at) <= SAME_GRID for corner in corners for moved, at in zip(shift @ corner, corner, strict=True)
    )
