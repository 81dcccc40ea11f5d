"""The frozen run: what will be read, by which model, in which blocks, with how much memory.

A plan is made before anything runs, can be looked at, and is refused when it cannot fit. It holds recipes only:
making one reads headers and a few windows of pixels, and opens no network.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import product
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import psutil

from geoseg.errors import GridError, PlanError
from geoseg.grid import Block, TileGrid, Tiling
from geoseg.mapping_unit import KEEP_ALL, MappingUnit
from geoseg.models.background import later_background, probable_classes
from geoseg.models.own import SentNetwork
from geoseg.models.precision import Precision
from geoseg.models.runtimes import Runtime
from geoseg.models.spec import RAMP, ClassSpec, HalfPrecision, ModelSpec
from geoseg.models.weight_files import sha256
from geoseg.models.weights import resolve_quantized, weights_digest, word_model
from geoseg.planning import memory
from geoseg.planning.estimate import (
    BLOCK_FACTOR,
    PROBABILITY_BYTES,
    REPORT_SECONDS_PER_MPX,
    RESULT_BYTES,
    START_SECONDS,
    STATE_BYTES,
    Estimate,
)
from geoseg.planning.memory import MIB
from geoseg.planning.region import RegionMask
from geoseg.planning.sharing import ALONE, Crew
from geoseg.probabilities import Background, Labelling, Unknown
from geoseg.raster import PixelAreas, Raster, content
from geoseg.raster.readings import parts
from geoseg.raster.values import Values
from geoseg.showing import card
from geoseg.thumbnails import PictureGrid
from geoseg.tree import BlockTree
from geoseg.versions import deciding_versions

if TYPE_CHECKING:
    from geoseg.corrections import CorrectionLayer
    from geoseg.prompting import PromptLayer

SPEECH = (
    *("name", "weights", "checksum", "obtain", "parts", "description", "license", "metrics", "value_range"),
    *("halo", "ramp", "fixed_size", "edge_errors", "activation_bytes", "seconds_per_mpx", "bfloat16", "int8"),
    *("trust_model", "weights_bytes", "min_score", "mask", "seen_values", "dates"),
)
"""Fields of a spec that do not decide labels, or are decided elsewhere: by the grid, a digest of the weights, and
the lowest score of the objects that are kept."""


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
    crew : Crew
        Worker processes that predict, their threads, and processes beside them.
    prompts : PromptLayer or None
        What is asked of a model that can be asked; None asks for everything.
    runtime : str
        What runs the network; see `geoseg.models.runtimes`.
    precision : str
        Of the network's inner arithmetic; see `geoseg.models.running.Runner`.
    compile : bool
        Whether torch compiles the network.
    areas : PixelAreas or None
        What each pixel counts where ``unit`` is an area; 1 elsewhere.
    unit : MappingUnit
        Smaller objects are left out; another one does not predict anew.
    min_score : float
        Objects with a lower score are left out; the run folder keeps those down to the spec's ``min_score``, so whoever
        changes it within these does not predict anew.
    is_local : bool
        Whether all workers are on this machine; those of a cluster may share it with nobody.
    values : Values or None
        Numbers of the imagery in a few windows, beside those that the model is meant for.
    network : SentNetwork or None
        A network of a person's own, in place of the weights that the spec names.
    keep_probabilities : bool
        Whether the run folder keeps the probabilities of all classes, beside what labels are made of.
    legend : tuple of ClassSpec
        The classes of the results; those of the model unless given.
    groups : mapping of int to int
        Labels of the model that are others in the results, and what they are there.
    unknown : Unknown or None
        What pixels of a low confidence are; None where each has its best class.
    corrections : CorrectionLayer or None
        A person's corrections of the labels.
    connectivity : int
        4, or 8: pixels that touch at a corner only are one segment.
    predicted : frozenset of (int, int)
        Rows and columns of the blocks whose predictions an earlier start has left.
    steps : mapping of str to (int, int)
        Steps that are still to do and all steps of each stage, in order; nothing where nobody has asked the run folder.
    changes : tuple of str
        What of inputs and region is another than in the run folder, which is to be refreshed.
    mask : str
        What of the imagery another model removes first, in words; empty when nothing.
    read_bytes : int or None
        About the bytes of imagery that blocks still read; None where nobody has asked files how they store pixels.
    price_per_core_hour : float or None
        What a core costs an hour, in any currency.
    """

    raster: Raster
    spec: ModelSpec
    grid: TileGrid
    region: RegionMask | None = None
    batch_size: int = 1
    device: str = "cpu"
    crew: Crew = ALONE
    prompts: PromptLayer | None = None
    runtime: Runtime = "torch"
    precision: Precision = "auto"
    compile: bool = False
    unit: MappingUnit = KEEP_ALL
    areas: PixelAreas | None = None
    min_score: float = 0.0
    is_local: bool = True
    values: Values | None = None
    network: SentNetwork | None = None
    keep_probabilities: bool = False
    legend: tuple[ClassSpec, ...] = ()
    groups: Mapping[int, int] = field(default_factory=dict)
    unknown: Unknown | None = None
    corrections: CorrectionLayer | None = None
    connectivity: int = 4
    predicted: frozenset[tuple[int, int]] = frozenset()
    steps: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    mask: str = ""
    read_bytes: int | None = None
    price_per_core_hour: float | None = None

    def __repr__(self) -> str:
        return f"Plan({'; '.join(text for _, text in self._facts)})"

    def _repr_html_(self) -> str:
        return card("Plan", self._facts)

    @property
    def _facts(self) -> list[tuple[str, str]]:
        (height, width), steps = self.raster.shape, self.steps.items()
        seconds = "not known" if self.estimate is None else f"about {self.estimate.seconds:,.0f} s"
        return [
            ("map", f"{width:,} x {height:,} px by {self.spec.name}"),
            ("blocks", f"{self.block_count:,} blocks, {self.tile_count:,} tiles of {self.grid.tiling.size} px"),
            *([("steps", ", ".join(f"{name} {left:,}/{every:,}" for name, (left, every) in steps))] if steps else []),
            ("workers", f"{self.workers} workers on {self.device}"),
            ("memory", f"{self.total_bytes / MIB:,.0f} MiB at most"),
            ("disk", f"{(self.state_bytes + self.result_bytes) / MIB:,.0f} MiB on disk"),
            ("time", f"time {seconds}"),
        ]

    @property
    def classes(self) -> tuple[ClassSpec, ...]:
        """The classes of the results: the model's, as a person has named, coloured, ordered and grouped them."""
        return self.legend or self.spec.classes

    @property
    def workers(self) -> int:
        """Worker processes that predict."""
        return self.crew.workers

    @property
    def has_stuff(self) -> bool:
        """Whether every pixel is labelled with a class."""
        return bool(self.spec.stuff)

    @property
    def has_things(self) -> bool:
        """Whether objects are told apart."""
        return bool(self.spec.things)

    @property
    def background(self) -> Background | None:
        """What labels are read with; None where a threshold decides nothing, or the network has to run for another."""
        return later_background(self.spec) if self.has_stuff else None

    @property
    def labelling(self) -> Labelling:
        """How labels are read of what is stored."""
        return Labelling(self.background, self.unknown, tuple(sorted(self.groups.items())))

    @property
    def arrays(self) -> tuple[str, ...]:
        """What the run folder keeps of each pixel, by the names of its arrays."""
        return (
            *("labels", "confidence" if self.background is None else "best"),
            *(("probabilities",) if self.keep_probabilities else ()),
            *(("instances",) if self.has_things else ()),
            *(("corrected",) if self.corrections else ()),
        )

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
        return self.region.touched_blocks((down.blocks, down.block_reach), (across.blocks, across.block_reach))

    def _is_prompted(self, place: tuple[int, int]) -> bool:
        if self.prompts is None:
            return True
        return any(self.prompts.touches(tile.read) for tile in self.grid.tiles_around(self.grid.block(*place)))

    @property
    def unpredicted(self) -> Collection[tuple[int, int]] | None:
        """Rows and columns of the blocks that are still to be predicted; None is all of them."""
        if not self.predicted:
            return self.places
        return {(block.row, block.col) for block in self.blocks()} - self.predicted

    def runs(self, place: tuple[int, int]) -> bool:
        """Say whether the block at a row and column runs."""
        return self.places is None or place in self.places

    @property
    def tree(self) -> BlockTree:
        """Its blocks, and the nodes that join them."""
        return BlockTree((self.grid.rows.blocks, self.grid.cols.blocks), self.places)

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
        if self.places is None:
            return self.grid.rows.tiles * self.grid.cols.tiles
        return self._tiles_in(self.places)

    @property
    def tiles_to_predict(self) -> int:
        """Number of tiles without those of blocks that are predicted."""
        return self.tile_count - self._tiles_in(self.predicted)

    def _tiles_in(self, places: Iterable[tuple[int, int]]) -> int:
        """Number of tiles of the blocks at some rows and columns."""
        axes = self.grid.rows, self.grid.cols
        ranges = ([axis.block_range(block) for axis, block in zip(axes, place, strict=True)] for place in places)
        return sum(math.prod(stop - first for first, stop in pair) for pair in ranges)

    @property
    def measured(self) -> HalfPrecision | None:
        """What the arithmetic that is not float32 does to labels and time; None where it was not measured."""
        return {"bfloat16": self.spec.bfloat16, "int8": self.spec.int8}.get(self.precision)

    @property
    def estimated_seconds(self) -> float | None:
        """Seconds of the forward passes on this many CPU workers; None when the cost is not known, as of prompts."""
        if self.spec.seconds_per_mpx is None or self.device != "cpu" or self.prompts is not None:
            return None
        passing = self.spec.seconds_per_mpx if self.measured is None else self.measured.seconds_per_mpx
        refine = self.spec.refine
        refining = refine.seconds_per_mpx(len(self.spec.stuff)) if refine else 0.0
        looks = self.spec.tta.work if self.spec.tta else 1.0
        return (passing * looks + refining) * self.tiles_to_predict * self.grid.tiling.size**2 / 1e6 / self.workers

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
    def cost(self) -> float | None:
        """What the core hours cost; None where they or their price are not known."""
        if self.estimate is None or self.price_per_core_hour is None:
            return None
        return self.estimate.core_hours * self.price_per_core_hour

    @property
    def state_bytes(self) -> int:
        """About the bytes that blocks take on disk until the run folder's ``state`` is deleted."""
        blocks = self.grid.rows.blocks, self.grid.cols.blocks
        picture = 0 if self.picture is None else self.picture.kept_bytes(blocks, self.raster.dtype)
        return round(self._mapped_mpx * 1e6 * (STATE_BYTES + self._probability_bytes)) + picture

    @cached_property
    def picture(self) -> PictureGrid | None:
        """What blocks keep of the imagery for the report; None where not all of them run."""
        names = [band.common_name for band in self.spec.bands]
        return PictureGrid.of(self.raster.shape, names, self.raster.bands) if self.places is None else None

    @property
    def result_bytes(self) -> int:
        """About the bytes of rasters and polygons; noisy maps take more, simplified polygons less."""
        return round(self._mapped_mpx * 1e6 * (RESULT_BYTES + self._probability_bytes))

    @property
    def _probability_bytes(self) -> float:
        """Bytes that the probabilities of a pixel take, in the run folder and again as a raster."""
        return PROBABILITY_BYTES * len(probable_classes(self.spec)) if self.keep_probabilities else 0.0

    @property
    def _mapped_mpx(self) -> float:
        """Pixels of the blocks that run, in millions."""
        height, width = self.raster.shape
        return height * width / 1e6 * self.block_count / (self.grid.rows.blocks * self.grid.cols.blocks)

    def summary(self) -> dict[str, Any]:
        """The plan as JSON values: lengths in px, memory and disk in bytes, time in seconds."""
        return {
            "raster": self.raster.summary(),
            "mask": self.mask or None,
            "values": None if self.values is None else self.values.summary(),
            "model": self.spec.name,
            "tile_size": self.grid.tiling.size,
            "halo": self.grid.tiling.halo,
            "ramp": self.grid.tiling.ramp,
            "block_tiles": list(self.grid.block_tiles),
            "blocks": self.block_count,
            "tiles": self.tile_count,
            "tiles_to_predict": self.tiles_to_predict,
            "changes": list(self.changes),
            "corrections": None if self.corrections is None else self.corrections.summary(),
            "steps": {name: {"left": left, "all": every} for name, (left, every) in self.steps.items()},
            "batch_size": self.batch_size,
            "device": self.device,
            "runtime": self.runtime,
            "precision": self.precision,
            "workers": self.workers,
            "threads": self.crew.threads,
            "assistants": self.crew.assistants,
            "planned_bytes": self.total_bytes,
            "worker_bytes": self.worker_bytes,
            "client_bytes": self.client_bytes,
            "state_bytes": self.state_bytes,
            "result_bytes": self.result_bytes,
            "read_bytes": self.read_bytes,
            "written_bytes": self.state_bytes + self.result_bytes,
            "price_per_core_hour": self.price_per_core_hour,
            "cost": self.cost,
            "estimated_seconds": self.estimated_seconds,
            "estimate": None if self.estimate is None else self.estimate.summary(),
        }

    @cached_property
    def worker_bytes(self) -> dict[str, int]:
        """Peak bytes of one worker by cause; the sum is the bound that a run must keep."""
        return memory.worker_bytes(self)

    def word_models(self) -> list[ModelSpec]:
        """What understands the words that are asked, where that is another model."""
        if self.prompts is None or self.prompts.text is None:
            return []
        return [item for part in self.spec.networks if (item := word_model(part)) is not None]

    @property
    def total_bytes(self) -> int:
        """Peak bytes of all workers, of the process that starts them, and of the one that they are forked from."""
        workers = self.workers * sum(self.worker_bytes.values())
        assistants = self.crew.assistants and self.crew.assistants * memory.assistant_bytes(self)
        return workers + assistants + self.client_bytes + self.server_bytes

    @property
    def client_bytes(self) -> int:
        """Peak bytes of the process that starts the workers."""
        return memory.client_bytes(self)

    @property
    def server_bytes(self) -> int:
        """Peak bytes of the process that workers are forked from: its part of what they share."""
        return memory.server_bytes(self)

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
        if self.client_bytes > limit:
            raise PlanError(
                f"{self.block_count:,} blocks need {self.total_bytes / MIB:,.0f} MiB and {limit / MIB:,.0f} MiB are "
                "free, most of it to keep account of them; use more block_tiles, a coarser resolution or a smaller "
                "region."
            )
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
            "parts": parts(self.raster, inputs),
            "model": _model_facts(self.spec, self.network),
            "region": None if self.region is None else self.region.region.geometry.wkb_hex,
            "grid": asdict(self.grid),
            "batch_size": self.batch_size,
            "device": self.device,
            "runtime": self.runtime,
            "precision": self.precision,
            "quantized": sha256(resolve_quantized(self.spec)) if self.precision == "int8" else None,
            "compile": self.compile,
            "prompts": self.prompts.digest() if self.prompts else None,
            "words": [weights_digest(item) for item in self.word_models()],
            "keep_probabilities": self.keep_probabilities,
            "min_score": self.spec.min_score if self.has_things else None,
            "versions": self.versions,
        }

    @property
    def versions(self) -> dict[str, str]:
        """Versions of all that decides the labels; every worker must have the same."""
        return deciding_versions(self.spec, is_resampled=self.raster.is_resampled, runtime=self.runtime)


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

    Raises
    ------
    GridError
        A network of fixed size cannot have other tiles.
    """
    if spec.fixed_size and tile_size not in (None, spec.tile_size):
        raise GridError(f"model '{spec.name}' takes tiles of {spec.tile_size} px and no others; leave tile_size out.")
    if spec.fixed_size and spec.tta is not None and spec.tta.scales:
        raise GridError(
            f"model '{spec.name}' takes tiles of {spec.tile_size} px and no others; leave scales out of tta."
        )
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


def _model_facts(spec: ModelSpec, network: SentNetwork | None = None) -> dict[str, Any]:
    """What decides a model's results; its words and colours do not, nor where its weights lie."""
    facts = {key: value for key, value in asdict(spec).items() if key not in SPEECH}
    return facts | {
        "classes": [[item.value, item.isthing] for item in spec.classes],
        "threshold": spec.threshold if later_background(spec) is None or spec.refine else "applied later",
        "parts": [_model_facts(part) for part in spec.parts],
        **({"network": network.digest} if network else {"weights": None if spec.parts else weights_digest(spec)}),
    }
