"""The frozen run: what will be read, by which model, in which blocks, with how much memory.

A plan is made before anything runs, can be looked at, and is refused when it cannot fit. It holds recipes only:
making one reads headers and a few windows of pixels, and opens no network.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import product
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geoseg.errors import PlanError
from geoseg.grid import Block, TileGrid, Tiling, Window
from geoseg.models import is_promptable
from geoseg.models.spec import ModelSpec
from geoseg.models.weights import UNKNOWN_BYTES, expected_size, weights_digest, word_model
from geoseg.raster import CACHE_BYTES, READ_BYTES, Raster, RowAreas, content
from geoseg.raster.values import Values
from geoseg.vector import Region, RegionLike, is_bare, place_region, read_region
from geoseg.versions import deciding_versions

if TYPE_CHECKING:
    from geoseg.models.running import Precision
    from geoseg.prompting import PromptLayer

MIB = 2**20

IS_FORKING = sys.platform == "linux"
"""Whether workers of this machine are forked from a process that has loaded their libraries, and share its memory."""

OWN_BYTES = 560 * MIB
"""Memory of a worker that was started by itself, before model and blocks, without files of libraries. Loops that
are compiled, once on a machine, take 250 MiB more."""

FORKED_BYTES = 100 * MIB
"""The same of a worker that was forked, beside what it was forked with."""

LOADED_BYTES = 200 * MIB
"""What forked workers share with the process that they were forked from; each counts its part."""

SERVER_BYTES = 240 * MIB
"""Memory of the process that forks workers, without files of libraries; 442 MiB with its part were measured beside
two."""

LIBRARY_BYTES = 900 * MIB
"""Files of libraries, torch's with CUDA most of all, that all processes of a run share; each counts its part. Forked
workers took 446 MiB of all this where there was one, and 347 each of two; whatever other programs share is less."""

JOINING_BYTES = 440 * MIB
"""What joining the polygons of a map takes beyond its last block; 420 MiB were measured over 115 Mpx."""

CLIENT_BYTES = 460 * MIB
"""Memory of the process that starts the workers and hosts their scheduler, without those files; 618 MiB with its part
of them were measured beside one worker, and 604 beside two."""

FILE_BYTES = 2_500
"""Memory of one file's recipe, as measured over 10,000 of them (2,002), and a quarter."""

MANY_FILES = 1_000
"""From so many files on their recipes are worth a line in the plan."""

BLOCK_BYTES = 1_000
"""What the process that starts the workers remembers of a block: 680 bytes as measured, and a half."""

RAMP = 32
"""Overlap of tiles, px, unless the model or a person says otherwise."""

SPEECH = (
    *("name", "weights", "checksum", "obtain", "parts", "description", "license", "metrics", "value_range"),
    *("halo", "ramp", "fixed_size", "edge_errors", "activation_bytes", "seconds_per_mpx"),
    *("trust_model", "weights_bytes"),
)
"""Fields of a spec that do not decide labels, or are decided elsewhere: by the grid, and a digest of the weights."""


START_SECONDS = 12.0
"""Until the first tile: Python, the workers and the model."""

BLOCK_FACTOR = 1.21
"""Blocks, with reading, blending, tracing and writing, by their forward passes; of `bench_overhead`."""

REPORT_SECONDS_PER_MPX = 0.3
"""What the report takes; 35 to 44 s were measured over 115 Mpx."""

STATE_BYTES = 2.1
"""Bytes a pixel of ``state``, as measured over nine copies of the shipped scene, with 254,000 polygons."""

RESULT_BYTES = 1.6
"""The same of rasters and unsimplified polygons in a GeoPackage."""


@dataclass(frozen=True)
class Estimate:
    """What a whole run takes, seconds of wall time by part.

    Attributes
    ----------
    start, blocks, report : float
        Until the first tile, from there to the last polygon, and for the report.
    workers : int
        Processes that work at the same time.
    """

    start: float
    blocks: float
    report: float
    workers: int

    @property
    def seconds(self) -> float:
        """Wall time of the run."""
        return self.start + self.blocks + self.report

    @property
    def core_hours(self) -> float:
        """Hours of a core: workers that wait are paid for too."""
        return self.seconds * self.workers / 3600

    def summary(self) -> dict[str, float]:
        """All numbers by name."""
        return {**asdict(self), "seconds": self.seconds, "core_hours": self.core_hours}


SIZES = {
    "here": "the weights",
    "entry": "weights that are not fetched yet, by their entry",
    "guess": f"weights that are not fetched yet, taken as {UNKNOWN_BYTES // MIB} MiB each",
}
"""What the plan calls the memory of weights, by what says their size."""


@dataclass(frozen=True)
class RegionMask:
    """A region of interest on the raster's grid.

    Attributes
    ----------
    region : Region
        In the raster's CRS.
    geobox : GeoBox
        The raster's grid.
    """

    region: Region
    geobox: GeoBox

    @classmethod
    def of(cls, region: RegionLike, raster: Raster) -> RegionMask:
        """Read a region and bring it onto a raster; numbers without a CRS are the raster's where it is plain pixels.

        Raises
        ------
        GeosegError
            It cannot be read, or lies outside of the raster.
        """
        own = raster.crs if raster.is_plain or is_bare(region) else None
        return cls(place_region(read_region(region, crs=own), raster.geobox), raster.geobox)

    @property
    def window(self) -> Window:
        """Pixels between the bounds of the region; they may lie outside of the raster."""
        left, bottom, right, top = self.region.geometry.bounds
        corners = [~self.geobox.affine @ (x, y) for x in (left, right) for y in (bottom, top)]
        columns, rows = zip(*corners, strict=True)
        top_row, first = math.floor(min(rows)) - 1, math.floor(min(columns)) - 1
        return Window(top_row, first, math.ceil(max(rows)) + 1 - top_row, math.ceil(max(columns)) + 1 - first)

    def mask(self, window: Window) -> NDArray[np.bool_]:
        """Bool (y, x), True = touched, of a window of the raster; so polygons can be clipped to the region exactly."""
        return self.region.mask(window, self.geobox.affine, all_touched=True)

    def touches(self, window: Window) -> bool:
        """Say whether the region may hold a pixel of the window."""
        return self.region.touches(window, self.geobox.affine)

    def touches_each(self, windows: Sequence[Window]) -> NDArray[np.bool_]:
        """Say of each window whether the region may hold a pixel of it."""
        return self.region.touches_each(windows, self.geobox.affine)

    def touched_blocks(
        self, rows: Sequence[tuple[int, int]], cols: Sequence[tuple[int, int]]
    ) -> Iterator[tuple[int, int]]:
        """Rows and columns of the blocks that the region may hold a pixel of, in raster order.

        Only those between its bounds are looked at one by one.

        Parameters
        ----------
        rows, cols : sequence of (int, int)
            Where the blocks of each row and column begin and end, px.
        """
        near = self.window
        across = [col for col, (left, right) in enumerate(cols) if left < near.right and right > near.x]
        for row, (top, bottom) in enumerate(rows):
            if not across or top >= near.bottom or bottom <= near.y:
                continue
            windows = [Window(top, left, bottom - top, right - left) for left, right in (cols[col] for col in across)]
            yield from ((row, across[index]) for index in np.flatnonzero(self.touches_each(windows)).tolist())


@dataclass(frozen=True)
class Plan:
    """What will run.

    Attributes
    ----------
    raster : Raster
        The imagery, as the model wants to see it.
    spec : ModelSpec
        The model.
    grid : TileGrid
        Tiles and blocks.
    region : RegionMask or None
        Where to map; None is everywhere.
    batch_size : int
        Tiles per forward pass.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"mps"``.
    workers : int
        Worker processes, one thread each.
    prompts : PromptLayer or None
        What is asked of a model that can be asked; None asks for everything.
    precision : str
        Of the network's inner arithmetic; see `geoseg.models.running.Runner`.
    compile : bool
        Whether torch compiles the network.
    areas : RowAreas or None
        What a pixel of each row counts where ``min_pixels`` is an area; 1 elsewhere.
    min_pixels : int
        Objects with fewer pixels are left out; whoever changes it does not predict anew.
    keep_classes : frozenset of int
        Labels of classes whose objects stay whatever their size.
    is_local : bool
        Whether all workers are on this machine; those of a cluster may share it with nobody.
    values : Values or None
        Numbers of the imagery in a few windows, beside those that the model is meant for.
    """

    raster: Raster
    spec: ModelSpec
    grid: TileGrid
    region: RegionMask | None = None
    batch_size: int = 1
    device: str = "cpu"
    workers: int = 1
    prompts: PromptLayer | None = None
    precision: Precision = "auto"
    compile: bool = False
    min_pixels: int = 1
    areas: RowAreas | None = None
    keep_classes: frozenset[int] = frozenset()
    is_local: bool = True
    values: Values | None = None

    @property
    def has_stuff(self) -> bool:
        """Whether every pixel is labelled with a class."""
        return bool(self.spec.stuff)

    @property
    def has_things(self) -> bool:
        """Whether objects are told apart."""
        return bool(self.spec.things)

    @cached_property
    def places(self) -> frozenset[tuple[int, int]] | None:
        """Rows and columns of the blocks that run; None is all of them.

        A block runs when the region touches what it predicts, its overhang included, because its neighbours
        need the strips there; and when there is a prompt in what a tile reads that reaches into the block.
        """
        if self.region is None and self.prompts is None:
            return None
        return frozenset(place for place in self._in_region() if self._is_prompted(place))

    def _in_region(self) -> Iterator[tuple[int, int]]:
        """Rows and columns of the blocks that the region touches."""
        down, across = self.grid.rows, self.grid.cols
        if self.region is None:
            return product(range(down.blocks), range(across.blocks))
        rows, cols = ([axis.block_reach(block) for block in range(axis.blocks)] for axis in (down, across))
        return self.region.touched_blocks(rows, cols)

    def _is_prompted(self, place: tuple[int, int]) -> bool:
        if self.prompts is None:
            return True
        return any(self.prompts.touches(tile.read) for tile in self.grid.tiles_around(self.grid.block(*place)))

    def runs(self, place: tuple[int, int]) -> bool:
        """Say whether the block at a row and column runs."""
        return self.places is None or place in self.places

    def blocks(self) -> Iterator[Block]:
        """Blocks that run, in raster order, made one at a time."""
        if self.places is None:
            return self.grid.blocks()
        return (self.grid.block(*place) for place in sorted(self.places))

    @property
    def block_count(self) -> int:
        """Number of blocks that run."""
        return self.grid.rows.blocks * self.grid.cols.blocks if self.places is None else len(self.places)

    @property
    def tile_count(self) -> int:
        """Number of tiles in the blocks that run."""
        axes = self.grid.rows, self.grid.cols
        if self.places is None:
            return axes[0].tiles * axes[1].tiles
        down, across = ([stop - first for first, stop in map(axis.block_range, range(axis.blocks))] for axis in axes)
        return sum(down[row] * across[col] for row, col in self.places)

    @property
    def estimated_seconds(self) -> float | None:
        """Seconds of the forward passes on this many CPU workers; None when the cost is not known, as of prompts."""
        if self.spec.seconds_per_mpx is None or self.device != "cpu" or self.prompts is not None:
            return None
        refine = self.spec.refine
        refining = refine.seconds_per_mpx(len(self.spec.stuff)) if refine else 0.0
        looks = self.spec.tta.work if self.spec.tta else 1.0
        return (
            (self.spec.seconds_per_mpx * looks + refining)
            * self.tile_count
            * self.grid.tiling.size**2
            / 1e6
            / self.workers
        )

    @property
    def estimate(self) -> Estimate | None:
        """What the whole run takes; None when the cost of a forward pass is not known."""
        forward, mpx = self.estimated_seconds, self._mapped_mpx
        if forward is None:
            return None
        return Estimate(
            start=START_SECONDS,
            blocks=forward * BLOCK_FACTOR,
            report=mpx * REPORT_SECONDS_PER_MPX,
            workers=self.workers,
        )

    @property
    def state_bytes(self) -> int:
        """About the bytes that blocks take on disk until the run folder's ``state`` is deleted."""
        return round(self._mapped_mpx * 1e6 * STATE_BYTES)

    @property
    def result_bytes(self) -> int:
        """About the bytes of rasters and polygons; noisy maps take more, simplified polygons less."""
        return round(self._mapped_mpx * 1e6 * RESULT_BYTES)

    @property
    def _mapped_mpx(self) -> float:
        """Pixels of the blocks that run, in millions."""
        height, width = self.raster.shape
        return height * width / 1e6 * self.block_count / (self.grid.rows.blocks * self.grid.cols.blocks)

    def summary(self) -> dict[str, Any]:
        """The plan as JSON values: lengths in px, memory and disk in bytes, time in seconds."""
        return {
            "raster": self.raster.summary(),
            "values": None if self.values is None else self.values.summary(),
            "model": self.spec.name,
            "tile_size": self.grid.tiling.size,
            "halo": self.grid.tiling.halo,
            "ramp": self.grid.tiling.ramp,
            "block_tiles": list(self.grid.block_tiles),
            "blocks": self.block_count,
            "tiles": self.tile_count,
            "batch_size": self.batch_size,
            "device": self.device,
            "precision": self.precision,
            "workers": self.workers,
            "planned_bytes": self.total_bytes,
            "worker_bytes": self.worker_bytes,
            "client_bytes": self.client_bytes,
            "state_bytes": self.state_bytes,
            "result_bytes": self.result_bytes,
            "estimated_seconds": self.estimated_seconds,
            "estimate": None if self.estimate is None else self.estimate.summary(),
        }

    @cached_property
    def worker_bytes(self) -> dict[str, int]:
        """Peak bytes of one worker by cause; the sum is the bound that a run must keep."""
        tiling, classes, bands = self.grid.tiling, len(self.spec.stuff), len(self.spec.bands)
        block = self.grid.block(0, 0).reach
        pixels = self.batch_size * tiling.size**2
        ramps = tiling.ramp * (
            block.width * (self.grid.block_tiles[0] + 1) + block.height * (self.grid.block_tiles[1] + 1)
        )
        return {
            "the process": self._process_bytes,
            "the read cache": CACHE_BYTES,
            **self._weights_bytes(),
            f"the forward pass of {self.batch_size} x {tiling.size} x {tiling.size} px": self._forward_bytes(),
            "pixels and probabilities": pixels * (bands * (3 * self.raster.dtype.itemsize + 8) + classes * 10),
            f"{classes} classes on ramps": 3 * classes * 4 * ramps,
            f"a block of {block.height} x {block.width} px": (80 if self.has_things else 40) * block.area,
            "joining polygons": JOINING_BYTES,
            **self._reading_bytes(),
        }

    @property
    def _is_forked(self) -> bool:
        return self.is_local and IS_FORKING

    @property
    def _library_part(self) -> int:
        """A process's part of the files of libraries: workers, client, and the server that forks."""
        return LIBRARY_BYTES // (self.workers + 1 + self._is_forked)

    @property
    def _process_bytes(self) -> int:
        """A worker before its model and its blocks."""
        if not self.is_local:
            return OWN_BYTES + LIBRARY_BYTES  # it may be alone on its machine
        own = FORKED_BYTES + LOADED_BYTES // (self.workers + 1) if self._is_forked else OWN_BYTES
        return own + self._library_part

    def _weights_bytes(self) -> dict[str, int]:
        """The weights of every network, also of those that are not fetched yet."""
        networks = [*(self.spec.parts or (self.spec,)), *self._word_models()]
        sizes = [expected_size(item) for item in networks]
        counted = {SIZES[source]: 3 * sum(size for size, of in sizes if of == source) for source in SIZES}
        return {cause: size for cause, size in counted.items() if size}

    def _word_models(self) -> list[ModelSpec]:
        """What understands the words that are asked, where that is another model."""
        if self.prompts is None or self.prompts.text is None:
            return []
        return [item for part in self.spec.parts or (self.spec,) if (item := word_model(part)) is not None]

    def _reading_bytes(self) -> dict[str, int]:
        """What reading takes beyond one file at a time."""
        files = len(self.raster.pieces)
        return {
            **({"images of a median": READ_BYTES} if self.raster.order == "median" else {}),
            **({f"the list of {files:,} files": files * FILE_BYTES} if files > MANY_FILES else {}),
        }

    def _forward_bytes(self) -> int:
        """Peak bytes of a forward pass, or of what follows it, which takes tile by tile."""
        spec, side = self.spec, self.grid.tiling.size
        refining = spec.refine.bytes_per_pixel(len(spec.stuff), len(spec.bands)) * side**2 if spec.refine else 0
        # networks that can be asked look at every tile in the size that they were made for
        looked_at = max(side, spec.tile_size) if is_promptable(spec) else side
        looked_at = round(looked_at * (spec.tta.largest if spec.tta else 1))
        return int(max(self.batch_size * looked_at**2 * spec.activation_bytes, refining))

    @property
    def total_bytes(self) -> int:
        """Peak bytes of all workers, of the process that starts them, and of the one that they are forked from."""
        return self.workers * sum(self.worker_bytes.values()) + self.client_bytes + self.server_bytes

    @property
    def client_bytes(self) -> int:
        """Peak bytes of the process that starts the workers."""
        return CLIENT_BYTES + self._library_part + BLOCK_BYTES * self.block_count

    @property
    def server_bytes(self) -> int:
        """Peak bytes of the process that workers are forked from: its part of what they share."""
        return SERVER_BYTES + self._library_part if self._is_forked else 0

    def check_memory(self, available: int | None = None) -> None:
        """Refuse a run that does not fit.

        Parameters
        ----------
        available : int, optional
            Bytes; what the machine has free unless given.

        Raises
        ------
        PlanError
            Names the worst offender and the remedy.
        """
        limit = psutil.virtual_memory().available if available is None else available
        if self.total_bytes <= limit:
            return
        cause, size = max(self.worker_bytes.items(), key=lambda item: item[1])
        raise PlanError(
            f"{self.workers} workers need {self.total_bytes / MIB:,.0f} MiB and {limit / MIB:,.0f} MiB are free, most "
            f"of it for {cause} ({size / MIB:,.0f} MiB each); use fewer workers, or a smaller tile_size, batch_size or "
            "block_tiles."
        )

    def fingerprint(self) -> dict[str, Any]:
        """All that decides the labels, as JSON values: a run with another fingerprint cannot be continued."""
        return self.fingerprint_of(self.raster.fingerprint())

    def fingerprint_of(self, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The same, of inputs that were identified before by `Raster.fingerprint`."""
        return {
            "inputs": [{"name": PurePath(item["path"]).name, **content(item)} for item in inputs],
            "raster": {
                "shape": list(self.raster.shape),
                "transform": list(self.raster.transform)[:6],
                **self.raster.treatment(),
            },
            "bands": list(self.raster.bands),
            "model": _model_facts(self.spec),
            "region": _region_digest(self.region),
            "grid": asdict(self.grid),
            "batch_size": self.batch_size,
            "device": self.device,
            "precision": self.precision,
            "compile": self.compile,
            "prompts": self.prompts.digest() if self.prompts else None,
            "words": [weights_digest(item) for item in self._word_models()],
            "versions": self.versions,
        }

    @property
    def versions(self) -> dict[str, str]:
        """Versions of all that decides the labels; every worker must have the same."""
        return deciding_versions(self.spec, is_resampled=self.raster.is_resampled)


def tiling_of(
    spec: ModelSpec,
    shape: tuple[int, int],
    *,
    tile_size: int | None = None,
    halo: int | None = None,
    ramp: int | None = None,
) -> Tiling:
    """How tiles of a raster overlap: as the model wants it, unless said otherwise.

    What follows the network within a tile adds its reach to the model's halo, and smaller views of test-time
    augmentation see farther; the sum is rounded up so that the network's down-sampling fits.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    shape : (int, int)
        Height and width of the raster, px; one smaller tile is enough for a small one.
    tile_size, halo, ramp : int, optional
        Px.
    """
    overlap = next(item for item in (ramp, spec.ramp, RAMP) if item is not None)
    margin = spec.halo if halo is None else halo
    if halo is None and (spec.refine is not None or spec.tta is not None):
        margin = math.ceil(margin * spec.tta.widest) if spec.tta else margin
        margin += spec.refine.reach if spec.refine else 0
        margin += next(
            (more for more in range(spec.multiple) if (2 * (margin + more) + overlap) % spec.multiple == 0), 0
        )
    tiling = Tiling(tile_size or spec.tile_size, margin, overlap, spec.multiple)
    return tiling if spec.fixed_size else tiling.fitted(shape)


def core_count() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _model_facts(spec: ModelSpec) -> dict[str, Any]:
    """What decides a model's results; its words and colours do not, nor where its weights lie."""
    facts = {key: value for key, value in asdict(spec).items() if key not in SPEECH}
    return facts | {
        "classes": [[item.value, item.isthing] for item in spec.classes],
        "parts": [_model_facts(part) for part in spec.parts],
        "weights": None if spec.parts else weights_digest(spec),
    }


def _region_digest(region: RegionMask | None) -> str | None:
    if region is None:
        return None
    return hashlib.sha256(region.region.geometry.wkb).hexdigest()
