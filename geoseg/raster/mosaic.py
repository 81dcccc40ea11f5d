"""Many files as one raster, which is read by window: bands from layers, of one date or of several that are stacked.

It knows layers on a common grid; what lies in them stands elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

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
from geoseg.raster.layers import Layer, PlacedSource
from geoseg.raster.options import configured
from geoseg.raster.overlay import Order
from geoseg.raster.placing import crs_label, ground_resolution, is_plain
from geoseg.raster.readings import readings
from geoseg.raster.scenes import QaMask, Scene
from geoseg.raster.source import Source, files_of
from geoseg.showing import card

LARGE = 1_000_000_000
"""Px from which on a raster that is nearly empty is refused."""

SMALLEST_SHARE = 1e-3
"""Share of such a raster that files must cover."""


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
        Where the bands come from; a pixel is valid where it is valid in all of them.
    skipped : tuple of str
        Why each raster that was left out cannot be opened or read; see ``on_error`` of ``open_raster``.
    """

    geobox: GeoBox
    bands: tuple[str, ...]
    dtype: np.dtype[Any]
    layers: tuple[Layer, ...] = field(repr=False)
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
    def files(self) -> tuple[str, ...]:
        """The files by name, those that a VRT names too; what a program holds is none."""
        paths = dict.fromkeys(source.path for source in self.sources if source.is_file)
        return tuple(file for path in paths for file in (files_of(path) if path.lower().endswith(".vrt") else [path]))

    @property
    def pieces(self) -> tuple[PlacedSource, ...]:
        """The files where they lie, in the same order."""
        return tuple(piece for layer in self.layers for piece in layer.pieces)

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """Of what all bands of a pixel come together; empty where bands come from files alone."""
        return tuple(part for layer in self.layers for part in layer.parts if isinstance(part, Scene))

    @property
    def dates(self) -> tuple[str, ...]:
        """Names of the dates that are stacked; empty where it is one."""
        return tuple(dict.fromkeys(layer.date for layer in self.layers if layer.date))

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

    def check_overlap(self) -> None:
        """Refuse bands of which no pixel is covered by all, as files of two places or of two UTM zones are.

        Raises
        ------
        RasterError
            Names a band that lies apart from those before it, and its file.
        """
        shared = shapely.box(0, 0, *reversed(self.shape))
        for layer in self.layers if len(self.layers) > 1 else ():
            shared = shapely.intersection(shared, shapely.union_all([_box(part.extent) for part in layer.parts]))
            if not shared.area:
                first, apart = (
                    f"('{source.given}', {crs_label(source.geobox.crs)})"
                    for source in (self.sources[0], layer.pieces[0].source)
                )
                raise RasterError(
                    f"band '{self.bands[layer.positions[0]]}' {apart} shares no pixel with those before it {first}, so "
                    "that no pixel has all bands; give bands of one place."
                )

    @property
    def order(self) -> Order:
        """What a pixel is where several files are valid; ``"median"`` where it is of some of several dates."""
        return "median" if any(layer.order == "median" for layer in self.layers) else "first"

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
        if len(self.layers) == 1:
            return self.layers[0].read(window)
        pixels = np.empty((len(self.bands), *window.shape), self.dtype)
        mask = np.ones(window.shape, np.bool_)
        for layer in self.layers:
            if not mask.any():
                break
            found, valid = layer.read(window)
            pixels[list(layer.positions)] = found
            mask &= valid
        if not mask.all():
            np.copyto(pixels, 0, where=~mask)
        return pixels, mask

    def with_sources(self, change: Callable[[Source], Source]) -> Raster:
        """Return the same raster with each source changed; what it is and where it lies must stay."""
        return replace(self, layers=tuple(layer.with_sources(change) for layer in self.layers))

    def by_scene(self) -> Raster:
        """Return the same raster of scenes, date by date: those it has, files with all bands, or one of a file a band.

        Raises
        ------
        RasterError
            Bands have several files each, of which nothing says which belong together.
        """
        dates = dict.fromkeys(layer.date for layer in self.layers)
        return replace(self, layers=tuple(_joined([x for x in self.layers if x.date == date], self) for date in dates))

    def with_masks(self, masks: Mapping[int, QaMask]) -> Raster:
        """Return the same raster with other masks of some of its scenes, by their positions."""
        scenes = enumerate(self.scenes)
        masked = iter([replace(scene, qa_mask=masks.get(number, scene.qa_mask)) for number, scene in scenes])
        return replace(self, layers=tuple(replace(x, parts=tuple(islice(masked, len(x.parts)))) for x in self.layers))

    def with_scenes(self, scenes: Sequence[Scene], order: Order = "first") -> Raster:
        """Return the same raster, all of whose bands come from scenes over one another."""
        return replace(self, layers=(Layer(tuple(range(len(self.bands))), tuple(scenes), order),))

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
        raster = replace(self, layers=tuple(layer.without(files) for layer in self.layers))
        if not all(layer.parts for layer in raster.layers):
            return None
        lost = {given: self._lost(given, raster) for given in files}
        told = (f"{unsigned(why.rstrip('.'))}. {_hole(lost[given], self.shape)}" for given, why in files.items())
        return replace(raster, skipped=(*self.skipped, *told))

    def _lost(self, given: str, other: Raster) -> float:
        """Px of a file that in some layer none of the files of another raster covers."""
        holes = []
        for layer, rest in zip(self.layers, other.layers, strict=True):
            extents = shapely.union_all([_box(piece.extent) for piece in layer.pieces if piece.source.given == given])
            others = shapely.STRtree([_box(piece.extent) for piece in rest.pieces])
            near = others.geometries[others.query(extents)]
            holes.append(shapely.difference(extents, shapely.union_all(near)))
        return float(shapely.union_all(holes).area)

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
        layers = [_treatment(layer) for layer in self.layers]
        is_alike = all(item == layers[0] for item in layers)
        return {**(layers[0] if is_alike else {"layers": layers}), **readings(self.pieces)}

    def summary(self) -> dict[str, Any]:
        """Describe the raster in plain values, for a plan that is printed and for ``run.json``."""
        return {
            "files": len({source.path for source in self.sources}),
            **({"scenes": len(scenes)} if (scenes := self.scenes) else {}),
            **({"dates": list(dates)} if (dates := self.dates) else {}),
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


def _joined(layers: Sequence[Layer], raster: Raster) -> Layer:
    """Layers of one date as one layer of scenes."""
    if len(layers) == 1 and any(isinstance(part, Scene) for part in layers[0].parts):
        return layers[0]
    positions = tuple(position for layer in layers for position in layer.positions)
    if all(len(layer.parts) == 1 for layer in layers):
        groups = [[(layer.positions, layer.pieces[0]) for layer in layers]]
    elif len(layers) == 1:
        groups = [[(positions, piece)] for piece in layers[0].pieces]
    else:
        raise RasterError(
            "mask goes with one file a band, or a model as mask with files that have all bands; describe several "
            "scenes first with `geoseg catalog add`."
        )
    scenes = (
        Scene(
            Path(group[0][1].source.given).stem,
            tuple(piece for _, piece in group),
            tuple(tuple(map(positions.index, own)) for own, _ in group),
            raster.dtype,
        )
        for group in groups
    )
    return replace(layers[0], positions=positions, parts=tuple(scenes))


def _treatment(layer: Layer) -> dict[str, Any]:
    """What of a layer decides pixels besides its files, as JSON values."""
    scenes = [part for part in layer.parts if isinstance(part, Scene)]
    qa_mask = next((scene.qa_mask for scene in scenes if scene.qa_mask is not None), None)
    return {
        **({} if layer.order == "first" else {"mosaic": layer.order}),
        **({} if qa_mask is None else {"exclude": list(qa_mask.exclude), "bits": qa_mask.bits}),
    }


def _box(window: Window) -> shapely.Polygon:
    return shapely.box(window.x, window.y, window.right, window.bottom)


def _hole(pixels: float, shape: tuple[int, int]) -> str:
    """How much of a raster a file leaves empty that is left out."""
    if not pixels:
        return "It is left out; others cover its place."
    share = pixels / (shape[0] * shape[1])
    return f"It is left out, and no other imagery covers {pixels:,.0f} px of its place, {share:.2%} of the raster."
