"""Many files as one raster: what covers a window, and who wins where files overlap.

It knows sources on a common grid; how a file is opened or resampled stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.crs import CRS
from odc.geo.geobox import GeoBox

from geoseg.errors import RasterError, RasterReadError, WindowError
from geoseg.grid import Window
from geoseg.raster.addresses import unsigned
from geoseg.raster.fingerprints import identify
from geoseg.raster.handles import is_remote
from geoseg.raster.options import configured
from geoseg.raster.overlay import Order, Overlay, Pixels
from geoseg.raster.placing import crs_label, footprint, ground_resolution, is_plain, pixel_offset
from geoseg.raster.readings import readings
from geoseg.raster.resample import Resampled, Resampling
from geoseg.raster.source import Source
from geoseg.showing import card

if TYPE_CHECKING:
    from geoseg.raster.scenes import Scenes

LARGE = 1_000_000_000
"""Px from which on a raster that is nearly empty is refused."""

SMALLEST_SHARE = 1e-3
"""Share of such a raster that files must cover."""


@dataclass(frozen=True)
class PlacedSource:
    """One source where it lies in the raster.

    Attributes
    ----------
    source : Source
        The file.
    extent : Window
        The pixels of the raster that it covers.
    resampled : Resampled or None
        How it is brought onto the raster's grid; None when it lies on that grid.
    origin : (int, int)
        Row and column of the raster at which its pixel (0, 0) lies, when it lies on the grid.
    """

    source: Source
    extent: Window
    resampled: Resampled | None = None
    origin: tuple[int, int] = (0, 0)

    @classmethod
    def of(cls, source: Source, geobox: GeoBox, resampling: Resampling = "auto") -> PlacedSource:
        """Place a source on a grid: as it is where the pixels agree, resampled elsewhere."""
        whole = Window(0, 0, *geobox.shape)
        origin = pixel_offset(source.geobox, geobox)
        if origin is not None:
            return cls(source, Window(*origin, *source.geobox.shape).intersect(whole), None, origin)
        extent = footprint(source.geobox, geobox).intersect(whole)
        return cls(source, extent, Resampled(source, geobox, resampling))

    def with_source(self, change: Callable[[Source], Source]) -> PlacedSource:
        """Return the same piece with its source changed."""
        source = change(self.source)
        resampled = None if self.resampled is None else replace(self.resampled, source=source)
        return replace(self, source=source, resampled=resampled)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window of the raster that lies within ``extent``."""
        if self.resampled is not None:
            return self.resampled.read(window)
        return self.source.read(Window(window.y - self.origin[0], window.x - self.origin[1], *window.shape))


@dataclass(frozen=True)
class Layer:
    """Bands that come from the same files.

    Attributes
    ----------
    positions : tuple of int
        Which bands of the raster they are, counted from 0.
    pieces : tuple of PlacedSource
        The files, the first on top.
    order : str
        ``"first"`` or ``"median"``: what a pixel is where several are valid.
    """

    positions: tuple[int, ...]
    pieces: tuple[PlacedSource, ...]

    order: Order = "first"

    @cached_property
    def _overlay(self) -> Overlay:
        return Overlay(self.pieces, len(self.positions), self.pieces[0].source.dtype, self.order)

    def __getstate__(self) -> dict[str, Any]:
        """Send the recipe, never the index."""
        return {"positions": self.positions, "pieces": self.pieces, "order": self.order}

    def read(self, window: Window) -> Pixels:
        """Read a window: pixels (band, y, x), 0 where invalid, and the mask (y, x)."""
        return self._overlay.read(window)


@dataclass(frozen=True)
class Raster:
    """A raster to be read window by window: a recipe, small and picklable, that holds no open file.

    Make one with ``open_raster``. It may be read from many threads and processes at once; each opens its own files.
    Processes must be spawned, as dask does: PROJ's database does not outlive a fork.

    Attributes
    ----------
    geobox : odc.geo.geobox.GeoBox
        Shape, transform and CRS of the grid.
    bands : tuple of str
        Names of the bands.
    dtype : numpy dtype
        Type of the pixels: the common type of the bands.
    layers : tuple of Layer
        Where the bands come from; empty when they come from scenes.
    scenes : Scenes or None
        Where all bands of a pixel come from together.
    skipped : tuple of str
        Why each raster that was left out cannot be opened or read; see ``on_error`` of ``open_raster``.
    """

    geobox: GeoBox
    bands: tuple[str, ...]
    dtype: np.dtype[Any]
    layers: tuple[Layer, ...] = field(repr=False)
    scenes: Scenes | None = field(default=None, repr=False)
    skipped: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Raster({', '.join(text for _, text in self._facts)})"

    def _repr_html_(self) -> str:
        return card("Raster", self._facts)

    @property
    def _facts(self) -> list[tuple[str, str]]:
        height, width = self.shape
        count = len({source.path for source in self.sources})
        named = [source.given for source in self.sources[:1]]
        return [
            ("size", f"{width:,} x {height:,} px"),
            ("CRS", crs_label(self.crs)),
            ("bands", f"bands {' '.join(self.bands)} of {self.dtype}"),
            ("source", f"{count:,} sources" if count > 1 else f"'{''.join(named)}'"),
        ]

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in px."""
        height, width = self.geobox.shape
        return int(height), int(width)

    @property
    def transform(self) -> Affine:
        """From px ``(x, y)``, (0, 0) the outer corner of the first pixel, to CRS units."""
        return self.geobox.transform

    @property
    def crs(self) -> CRS | None:
        """The coordinate reference system; None only when it was opened with ``require_crs=False``."""
        return self.geobox.crs

    @property
    def is_plain(self) -> bool:
        """Whether the pixels have no place on the ground."""
        return is_plain(self.geobox)

    @property
    def resolution(self) -> tuple[float, float]:
        """Height and width of a pixel in metres on the ground, at the centre."""
        return ground_resolution(self.geobox)

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files, band by band, in the order in which they win."""
        return tuple(piece.source for piece in self.pieces)

    @property
    def pieces(self) -> tuple[PlacedSource, ...]:
        """The files where they lie, in the same order."""
        scenes = () if self.scenes is None else self.scenes.scenes
        return (
            *(piece for layer in self.layers for piece in layer.pieces),
            *(piece for scene in scenes for piece in scene.all_pieces),
        )

    def check_filled(self) -> None:
        """Refuse files that lie so far apart that nearly all of the raster that holds them is empty.

        Raises
        ------
        RasterError
            Says how large the raster would be, and how much of it is imagery.
        """
        height, width = self.shape
        extents = {piece.source.given: piece.extent.area for piece in self.pieces}
        share = sum(extents.values()) / (height * width)
        if height * width > LARGE and share < SMALLEST_SHARE:
            raise RasterError(
                f"the {len(extents):,} rasters are far apart and cover only {share:.2g} of the {width:,} x {height:,} "
                "px around them; process each area in its own run."
            )

    @property
    def order(self) -> Order:
        """What a pixel is where several files are valid."""
        return self.layers[0].order if self.scenes is None else self.scenes.order

    @property
    def notes(self) -> list[str]:
        """What a person should know of the files that were opened, a sentence each; damage is an error instead."""
        return [
            f"'{given}': {note}" for given, note in dict.fromkeys((s.given, n) for s in self.sources for n in s.notes)
        ]

    @property
    def is_resampled(self) -> bool:
        """Say whether some file is not on the raster's own grid."""
        return any(piece.resampled is not None for piece in self.pieces)

    @configured()
    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Read a window.

        Overviews are never read. Digital numbers are returned as stored (``scale`` and ``offset`` of the bands are
        not applied) unless the raster is resampled.

        Parameters
        ----------
        window : Window
            Pixels of the raster, inside it.

        Returns
        -------
        pixels : ndarray, shape (band, y, x), ``dtype``
            0 where invalid. The caller owns the array.
        mask : ndarray of bool, shape (y, x)
            True = valid in all bands; False for nodata, NaN, transparent or masked pixels, and outside every file.

        Raises
        ------
        WindowError
            When the window is empty or leaves the raster.
        RasterReadError
            When a file is gone, truncated or damaged.
        """
        if window.height < 1 or window.width < 1 or not Window(0, 0, *self.shape).contains(window):
            raise WindowError(
                f"{window} is empty or leaves the raster of {self.shape[0]} x {self.shape[1]} px; "
                "read windows within it and pad outside."
            )
        if self.scenes is not None:
            return self.scenes.read(window)
        if len(self.layers) == 1:
            return self.layers[0].read(window)
        pixels = np.empty((len(self.bands), *window.shape), self.dtype)
        mask = np.ones(window.shape, np.bool_)
        for layer in self.layers:
            found, valid = layer.read(window)
            pixels[list(layer.positions)] = found
            mask &= valid
        if not mask.all():
            np.copyto(pixels, 0, where=~mask)
        return pixels, mask

    def with_sources(self, change: Callable[[Source], Source]) -> Raster:
        """Return the same raster with each source changed; what it is and where it lies must stay."""
        layers = tuple(
            replace(layer, pieces=tuple(piece.with_source(change) for piece in layer.pieces)) for layer in self.layers
        )
        return replace(self, layers=layers, scenes=None if self.scenes is None else self.scenes.with_sources(change))

    def unreadable(self, window: Window) -> dict[str, str]:
        """Files of this machine that cannot be read in a window: their names, and why; each file is tried by itself."""
        files: dict[str, str] = {}
        for piece in self.pieces:
            shared = piece.extent.intersect(window)
            if shared.area and not is_remote(piece.source.path):
                try:
                    piece.read(shared)
                except RasterReadError as error:
                    files |= error.files
        return files

    def without(self, files: Mapping[str, str]) -> Raster | None:
        """Leave out files that cannot be read, and scenes that have one; the grid stays.

        Parameters
        ----------
        files : mapping of str to str
            Their names as they were given, and why they cannot be read.

        Returns
        -------
        Raster or None
            None when a band has no other file.
        """

        def is_sound(piece: PlacedSource) -> bool:
            return piece.source.given not in files

        layers = tuple(replace(layer, pieces=tuple(filter(is_sound, layer.pieces))) for layer in self.layers)
        scenes = self.scenes
        if scenes is not None:
            sound = tuple(scene for scene in scenes.scenes if all(map(is_sound, scene.all_pieces)))
            scenes = replace(scenes, scenes=sound)
        if not all(layer.pieces for layer in layers) or (scenes is not None and not scenes.scenes):
            return None
        raster = replace(self, layers=layers, scenes=scenes)
        lost = {given: self._lost(given, raster) for given in files}
        told = (f"{unsigned(why.rstrip('.'))}. {_hole(lost[given], self.shape)}" for given, why in files.items())
        return replace(raster, skipped=(*self.skipped, *told))

    def _lost(self, given: str, other: Raster) -> float:
        """Px of a file that none of the files of another raster covers."""
        own = [_box(piece.extent) for piece in self.pieces if piece.source.given == given]
        extents = shapely.union_all(own)
        others = shapely.STRtree([_box(piece.extent) for piece in other.pieces])
        near = others.geometries[others.query(extents)]
        return float(shapely.difference(extents, shapely.union_all(near)).area)

    def fingerprint(self) -> list[dict[str, Any]]:
        """Identify the content of every file, sidecars and sources of a VRT included.

        Returns
        -------
        list of dict
            One a file, in the order of reading; see `geoseg.raster.fingerprints.identify`.

        Raises
        ------
        RasterReadError
            When a file is gone.
        """
        return identify(self.sources)

    def treatment(self) -> dict[str, Any]:
        """All besides the files' content that decides what is read, as JSON values.

        The CRS is part of it only where it decides pixels: where files are brought onto another grid.
        """
        scenes = () if self.scenes is None else self.scenes.scenes
        qa_mask = next((scene.qa_mask for scene in scenes if scene.qa_mask is not None), None)
        return {
            **({} if self.order == "first" else {"mosaic": self.order}),
            **({} if qa_mask is None else {"exclude": list(qa_mask.exclude), "bits": qa_mask.bits}),
            **readings(self.pieces),
        }

    def summary(self) -> dict[str, Any]:
        """Describe the raster in plain values, for a plan that is printed and for ``run.json``."""
        return {
            "files": len({source.path for source in self.sources}),
            **({} if self.scenes is None else {"scenes": len(self.scenes.scenes)}),
            "mosaic": self.order,
            "bands": list(self.bands),
            "dtype": self.dtype.name,
            "shape": list(self.shape),
            "crs": None if self.crs is None else str(self.crs),
            "transform": list(self.transform)[:6],
            "resolution_m": None
            if self.crs is None or self.is_plain
            else [round(metres, 6) for metres in self.resolution],
            "resampled": self.is_resampled,
            **({"skipped": list(self.skipped)} if self.skipped else {}),
            **({"notes": notes} if (notes := self.notes) else {}),
        }


def _box(window: Window) -> shapely.Polygon:
    return shapely.box(window.x, window.y, window.right, window.bottom)


def _hole(pixels: float, shape: tuple[int, int]) -> str:
    """How much of a raster a file leaves empty that is left out."""
    if not pixels:
        return "It is left out; others cover its place."
    share = pixels / (shape[0] * shape[1])
    return f"It is left out, and no other imagery covers {pixels:,.0f} px of its place, {share:.2%} of the raster."
