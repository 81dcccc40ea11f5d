"""How much memory the processes of a plan take at most, by cause: what was measured, and what follows from sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from geoseg.forking import IS_FORKING
from geoseg.models import is_promptable
from geoseg.models.runtimes import RUNTIMES
from geoseg.models.weights import UNKNOWN_BYTES, expected_size
from geoseg.raster import CACHE_BYTES, READ_BYTES

if TYPE_CHECKING:
    from geoseg.planning.plan import Plan

MIB = 2**20

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

SIZES = {
    "here": "the weights",
    "entry": "weights that are not fetched yet, by their entry",
    "guess": f"weights that are not fetched yet, taken as {UNKNOWN_BYTES // MIB} MiB each",
}
"""What the plan calls the memory of weights, by what says their size."""


def worker_bytes(plan: Plan) -> dict[str, int]:
    """Peak bytes of one worker by cause; the sum is the bound that a run must keep.

    Each of its threads has a block, and a batch that waits for the device or comes from it.
    """
    threads = plan.crew.threads
    tiling, classes, bands = plan.grid.tiling, len(plan.spec.stuff), len(plan.spec.bands)
    block = plan.grid.block(0, 0).reach
    pixels = plan.batch_size * tiling.size**2
    ramps = tiling.ramp * (block.width * (plan.grid.block_tiles[0] + 1) + block.height * (plan.grid.block_tiles[1] + 1))
    return {
        "the process": _process_bytes(plan),
        "the read cache": CACHE_BYTES,
        **_weights_bytes(plan),
        **_runtime_bytes(plan),
        _name_of_pass(plan): _forward_bytes(plan),
        "pixels and probabilities": threads * pixels * (bands * (3 * plan.raster.dtype.itemsize + 8) + classes * 10),
        f"{classes} classes on ramps": threads * 3 * classes * 4 * ramps,
        _name_of_blocks(plan): threads * (80 if plan.has_things else 40) * block.area,
        **(
            {f"{classes} probabilities of a block": threads * 8 * classes * block.area}
            if plan.keep_probabilities
            else {}
        ),
        **_picture_bytes(plan),
        "joining polygons": JOINING_BYTES,
        **_reading_bytes(plan),
    }


def _picture_bytes(plan: Plan) -> dict[str, int]:
    """What blocks note of the imagery while they are predicted."""
    if plan.picture is None:
        return {}
    return {
        "a picture of a block": plan.crew.threads
        * plan.picture.block_bytes(plan.grid.block(0, 0).core, plan.raster.dtype)
    }


def _name_of_blocks(plan: Plan) -> str:
    """What the blocks of a worker are called."""
    block, threads = plan.grid.block(0, 0).reach, plan.crew.threads
    return f"{'a block' if threads == 1 else f'{threads} blocks'} of {block.height} x {block.width} px"


def assistant_bytes(plan: Plan) -> int:
    """Peak bytes of a process that finishes and outlines blocks, one at a time, and predicts none."""
    one = worker_bytes(replace(plan, crew=replace(plan.crew, threads=1)))
    idle = ("the read cache", "pixels and probabilities", *SIZES.values(), *_runtime_bytes(plan), _name_of_pass(plan))
    return sum(size for cause, size in one.items() if cause not in idle)


def _name_of_pass(plan: Plan) -> str:
    size = plan.grid.tiling.size
    return f"the forward pass of {plan.batch_size} x {size} x {size} px"


def _is_forked(plan: Plan) -> bool:
    return plan.is_local and IS_FORKING


def _library_part(plan: Plan) -> int:
    """A process's part of the files of libraries: workers, client, and the server that forks."""
    return LIBRARY_BYTES // (plan.crew.processes + 1 + _is_forked(plan))


def _process_bytes(plan: Plan) -> int:
    """A worker before its model and its blocks."""
    if not plan.is_local:
        return OWN_BYTES + LIBRARY_BYTES  # it may be alone on its machine
    own = FORKED_BYTES + LOADED_BYTES // (plan.crew.processes + 1) if _is_forked(plan) else OWN_BYTES
    return own + _library_part(plan)


def _weights_bytes(plan: Plan) -> dict[str, int]:
    """The weights of every network, also of those that are not fetched yet."""
    networks = [*plan.spec.networks, *plan.word_models()]
    sizes = [expected_size(item) for item in networks]
    if plan.network is not None:
        return {SIZES["here"]: 3 * len(plan.network.content)}
    counted = {SIZES[source]: 3 * sum(size for size, of in sizes if of == source) for source in SIZES}
    return {cause: size for cause, size in counted.items() if size}


def _runtime_bytes(plan: Plan) -> dict[str, int]:
    """What runs the network, where it is not torch."""
    row = RUNTIMES[plan.runtime]
    return {row.title: row.own_bytes} if row.own_bytes else {}


def _reading_bytes(plan: Plan) -> dict[str, int]:
    """What reading takes beyond one file at a time."""
    files = len(plan.raster.pieces)
    chunk = max((source.chunk_bytes for source in plan.raster.sources), default=0)
    return {
        **({"chunks of lazy arrays": 2 * chunk} if chunk else {}),
        **({"images of a median": READ_BYTES} if plan.raster.order == "median" else {}),
        **({f"the list of {files:,} files": files * FILE_BYTES} if files > MANY_FILES else {}),
    }


def _forward_bytes(plan: Plan) -> int:
    """Peak bytes of a forward pass, or of what follows it, which takes tile by tile."""
    spec, side = plan.spec, plan.grid.tiling.size
    refining = spec.refine.bytes_per_pixel(len(spec.stuff), len(spec.bands)) * side**2 if spec.refine else 0
    # networks that can be asked look at every tile in the size that they were made for
    looked_at = max(side, spec.tile_size) if is_promptable(spec) else side
    looked_at = round(looked_at * (spec.tta.largest if spec.tta else 1))
    return int(max(plan.batch_size * looked_at**2 * spec.activation_bytes, refining))


def client_bytes(plan: Plan) -> int:
    """Peak bytes of the process that starts the workers."""
    return CLIENT_BYTES + _library_part(plan) + BLOCK_BYTES * plan.block_count


def server_bytes(plan: Plan) -> int:
    """Peak bytes of the process that workers are forked from: its part of what they share."""
    return SERVER_BYTES + _library_part(plan) if _is_forked(plan) else 0
