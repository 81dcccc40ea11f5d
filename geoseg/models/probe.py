"""What a model's entry says by measurement: halo, errors near a tile's edge, memory and time, labels in bfloat16.

It feeds an opened model made-up pixels (or given ones) and looks at what comes out; it knows nothing of the network
inside, of rasters or of plans.

Strategy. Whatever a model finds is looked at as maps of the tile, so that one comparison serves every task:
probabilities of classes as they are, and objects as one map, which holds the highest score of the masks that cover a
pixel, 0 where none does. A tile is compared with the same place in a larger one, and the differences are sorted by
distance from the tile's edge.
"""

from __future__ import annotations

import ctypes
import gc
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.models import AnyModel
from geoseg.models.detections import Detections
from geoseg.models.semantic import activate, choose
from geoseg.models.spec import HalfPrecision, ModelSpec, Scaling, Task

TOLERANCE = 1e-3
"""Largest difference of a probability, or of an object's score, that a halo may leave."""

DISTANCES = (0, *(8 << doubled for doubled in range(16)))
"""Distances from a tile's edge, px, at which errors are reported, as far as the tile has them."""

CENTRE = 1 / 8
"""Part of a tile's side that must agree: the few pixels of a smaller centre may agree by chance."""

USUAL = (0.0, 4_000.0)
"""Digital numbers of surface reflectance x 10,000, where neither scaling nor value range of a model say others."""

FINEST = 16
"""Digital numbers that a band's usual range must span to be whole numbers."""

POLL = 0.001
"""Seconds between two looks at the process' memory."""


@dataclass(frozen=True)
class Cost:
    """What one forward pass takes.

    Attributes
    ----------
    activation_bytes : float
        Peak bytes per input pixel, beyond what the opened model holds.
    seconds_per_mpx : float
        Seconds of one CPU core per million input pixels, which other programs do not change; on a CUDA device
        seconds by the clock.
    """

    activation_bytes: float
    seconds_per_mpx: float


@dataclass(frozen=True)
class EdgeReport:
    """How far the edge of a tile disturbs what is found in it.

    Attributes
    ----------
    halo : int or None
        The smallest distance from the edge, px, beyond which nothing differs by more than the tolerance; None when
        even the tile's centre (`CENTRE`) does, as it must where the network's context is global.
    tolerance : float
        Largest difference that counts as agreement.
    errors : dict of int to float
        The largest difference that a halo of so many px leaves.
    """

    halo: int | None
    tolerance: float
    errors: dict[int, float]


def measure_edge(
    model: AnyModel,
    *,
    tolerance: float = TOLERANCE,
    size: int | None = None,
    pixels: NDArray[Any] | None = None,
    repeats: int = 3,
    seed: int = 0,
) -> EdgeReport:
    """Measure what the edge of a tile disturbs, whether or not there is a halo that hides it.

    Parameters
    ----------
    model : Model, ObjectModel or PanopticModel
        Whose; it must take tiles of twice the size.
    tolerance : float
        Largest difference of a probability, or of an object's score, that counts as agreement.
    size, pixels, repeats, seed
        See `edge_profile`.

    Returns
    -------
    EdgeReport
        With errors at 0, 8, 16, 32, 64, ... px, up to the tile's centre.
    """
    profile = edge_profile(model, size=size, pixels=pixels, repeats=repeats, seed=seed)
    left = np.maximum.accumulate(profile[::-1])[::-1]
    halo = int(np.count_nonzero(left > tolerance))
    errors = {distance: float(left[distance]) for distance in DISTANCES if distance < len(left)}
    return EdgeReport(halo if halo <= (1 - CENTRE) * len(left) else None, tolerance, errors)


def edge_profile(
    model: AnyModel,
    *,
    size: int | None = None,
    pixels: NDArray[Any] | None = None,
    repeats: int = 3,
    seed: int = 0,
) -> NDArray[np.float32]:
    """Compare a tile with the same place in a larger tile, by distance from the tile's edge.

    Parameters
    ----------
    model : Model, ObjectModel or PanopticModel
        Whose; it must take tiles of twice the size.
    size : int, optional
        Side of the tile, px; the spec's ``tile_size`` by default. The larger tile has half of it more on each side.
    pixels : array, optional
        Digital numbers, shape (band, y, x), at least ``2 * size`` on each side; made up when not given.
    repeats : int
        Number of made-up tiles.
    seed : int
        Of the made-up tiles.

    Returns
    -------
    float32 array
        Shape (size // 2,): entry d is the largest difference d px away from the tile's edge.
    """
    if model.spec.fixed_size:
        raise ModelError(
            f"model '{model.spec.name}' takes tiles of {model.spec.tile_size} px and no others, so none is compared "
            "with a larger one; write geoseg:halo into its entry, or export it with height and width open."
        )
    size = _multiple(size or model.spec.tile_size, model.spec.multiple)
    margin = _multiple(size // 2, model.spec.multiple)
    whole = size + 2 * margin
    rng = np.random.default_rng(seed)
    count = repeats if pixels is None else 1
    profiles = []
    for _ in range(count):
        large = made_up_pixels(model.spec, whole, rng) if pixels is None else pixels[:, :whole, :whole]
        if large.shape[1:] != (whole, whole):
            raise ModelError(f"pixels of shape {large.shape} are too small to probe; give at least {whole} px a side.")
        inner = slice(margin, margin + size)
        small_result = predict_maps(model, large[:, inner, inner])
        large_result = predict_maps(model, large)[:, inner, inner]
        profiles.append(_by_distance((small_result - large_result).abs().amax(0).numpy()))
    profile: NDArray[np.float32] = np.max(profiles, axis=0)
    return profile


def measure_cost(model: AnyModel, *, size: int | None = None, repeats: int = 3, seed: int = 0) -> Cost:
    """Measure memory and time of one forward pass.

    Memory is that of the first pass, so give a model that has not predicted yet: runtimes keep what they once had.

    Parameters
    ----------
    model : Model, ObjectModel or PanopticModel
        Whose; on a CUDA device memory is the device's.
    size : int, optional
        Side of the tile, px; the spec's ``tile_size`` by default.
    repeats : int
        Passes that are timed, after the first one; the median counts.
    seed : int
        Of the made-up pixels.
    """
    size = _multiple(size or model.spec.tile_size, model.spec.multiple)
    pixels = made_up_pixels(model.spec, size, np.random.default_rng(seed))
    peak = _peak_bytes(model, pixels)
    clock = time.process_time if model.device.type == "cpu" else time.perf_counter
    seconds = []
    for _ in range(repeats):
        started = clock()
        predict_maps(model, pixels)
        seconds.append(clock() - started)
    return Cost(round(peak / size**2, 1), round(float(np.median(seconds)) / size**2 * 1e6, 3))


def measure_half_precision(
    exact: AnyModel, half: AnyModel, tiles: Iterable[tuple[NDArray[Any], NDArray[np.bool_]]]
) -> HalfPrecision:
    """Measure what another arithmetic does to labels and time.

    Parameters
    ----------
    exact, half : Model, ObjectModel or PanopticModel
        The same model in float32 and in the other one.
    tiles : iterable of (array, array)
        Imagery as a run reads it: digital numbers, shape (band, y, x), and where they are valid, shape (y, x).

    Raises
    ------
    ModelError
        No tile has a pixel that counts.
    """
    same = counted = 0
    seconds: list[float] = []
    for pixels, mask in tiles:
        one, started = predict_maps(exact, pixels), time.process_time()
        other = predict_maps(half, pixels)
        seconds.append((time.process_time() - started) / pixels[0].size * 1e6)
        found, counts = labels_agree(exact.spec, one, other)
        same += int(np.count_nonzero(found & mask))
        counted += int(np.count_nonzero(counts & mask))
    if not counted:
        raise ModelError(
            f"model '{exact.spec.name}' labels no pixel of this imagery; give imagery that shows its classes."
        )
    return HalfPrecision(round(same / counted, 4), round(float(np.median(seconds)), 3))


def labels_agree(spec: ModelSpec, one: torch.Tensor, other: torch.Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
    """Where two results give the same labels, and which pixels count: all, or what either covers with an object."""
    if spec.task == "semantic-segmentation":
        same = (choose(spec, one)[0] == choose(spec, other)[0]).numpy()
        return same, np.ones_like(same)
    covered = [maps[-1].numpy() >= spec.min_score for maps in (one, other)]
    if spec.task == "instance-segmentation":
        return covered[0] & covered[1], covered[0] | covered[1]
    stuff = [maps[:-1].argmax(0).numpy() for maps in (one, other)]
    same = np.where(covered[0] | covered[1], covered[0] & covered[1], stuff[0] == stuff[1])
    return same, np.ones_like(same)


def made_up_pixels(spec: ModelSpec, size: int, rng: np.random.Generator) -> NDArray[np.uint16] | NDArray[np.float32]:
    """Digital numbers that the spec's scalings expect, with structure at every scale from 1 to 64 px.

    Returns
    -------
    uint16 or float32 array
        Shape (band, size, size); float32 where a band's usual numbers are no whole numbers from 0 to 65,535.
    """
    scalings = spec.scalings if len(spec.scalings) == len(spec.bands) else (spec.scalings or (None,)) * len(spec.bands)
    told = (spec.value_range or (USUAL,)) * (1 if len(spec.value_range) == len(spec.bands) else len(spec.bands))
    ranges = [_usual_range(scaling, other) for scaling, other in zip(scalings, told, strict=True)]
    whole = all(high - low >= FINEST and low + high > 0 and high <= 65_535 for low, high in ranges)
    pixels = np.empty((len(spec.bands), size, size), np.uint16 if whole else np.float32)
    for band, (low, high) in enumerate(ranges):
        values = low + (high - low) * _texture(size, rng)
        pixels[band] = values.clip(0) if whole else values
    return pixels


def _texture(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Numbers from 0 to 1 with structure at every scale from 1 to 64 px, shape (size, size)."""
    texture = np.zeros((size, size))
    for scale in (1, 4, 16, 64):
        coarse = rng.random((-(-size // scale), -(-size // scale)))
        texture += np.kron(coarse, np.ones((scale, scale)))[:size, :size]
    return texture / 4


def _usual_range(scaling: Scaling | None, other: tuple[float, float]) -> tuple[float, float]:
    """Digital numbers that a scaling was made for; others where it does not say."""
    if scaling is not None and scaling.mean is not None and scaling.stddev is not None:
        return scaling.mean - 2 * scaling.stddev, scaling.mean + 2 * scaling.stddev
    if scaling is not None and scaling.maximum is not None:
        return scaling.minimum or 0.0, scaling.maximum
    if scaling is not None and scaling.type == "scale" and scaling.value is not None:
        return 0.0, scaling.value
    return other


def predict_maps(model: AnyModel, pixels: NDArray[Any]) -> torch.Tensor:
    """What is found in one tile, as maps: float32 (map, y, x), in main memory."""
    result = model.predict(pixels[None], np.ones((1, *pixels.shape[1:]), np.bool_))
    return MAPS[model.spec.task](model.spec, result, pixels.shape[1:])


def _probabilities(_spec: ModelSpec, result: Any, _shape: tuple[int, ...]) -> torch.Tensor:
    """Maps of a semantic model's result: one a class."""
    maps: torch.Tensor = result[0].cpu()
    return maps


def _objects(_spec: ModelSpec, result: list[Detections], shape: tuple[int, ...]) -> torch.Tensor:
    """The map of an instance model's result: the highest score of the masks that cover a pixel."""
    covered = np.zeros(shape, np.float32)
    for window, mask, score in zip(result[0].windows, result[0].masks, result[0].scores, strict=True):
        place = covered[window.slices()]
        np.maximum(place, score, out=place, where=mask)
    return torch.from_numpy(covered[None])


def _both(spec: ModelSpec, result: tuple[Any, list[Detections]], shape: tuple[int, ...]) -> torch.Tensor:
    """Maps of a panoptic model's result: one a class of stuff, and one of its objects."""
    scores, found = result
    return torch.cat([activate(scores, spec.activation)[0].cpu(), _objects(spec, found, shape)])


MAPS: dict[Task, Callable[[ModelSpec, Any, tuple[int, ...]], torch.Tensor]] = {
    "semantic-segmentation": _probabilities,
    "instance-segmentation": _objects,
    "panoptic-segmentation": _both,
}
"""How what a model finds is looked at, by its task."""


def _by_distance(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """Largest value at each distance from the edge of a square."""
    side = np.arange(len(difference))
    from_edge = np.minimum(side, side[::-1])
    distance = np.minimum(from_edge[:, None], from_edge[None, :])
    largest = np.zeros(int(distance.max()) + 1, np.float32)
    np.maximum.at(largest, distance, difference)
    return largest


def _multiple(size: int, multiple: int) -> int:
    """The size rounded up to a multiple."""
    return -(-size // multiple) * multiple


def _trim() -> None:
    """Give freed memory back to the system, where the C library can, so that it is not mistaken for free of cost."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _peak_bytes(model: AnyModel, pixels: NDArray[Any]) -> int:
    """Bytes that a pass needs beyond what is there before it."""
    gc.collect()
    _trim()
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
        before = torch.cuda.memory_allocated(model.device)
        predict_maps(model, pixels)
        return torch.cuda.max_memory_allocated(model.device) - before
    process = psutil.Process()
    before = highest = process.memory_info().rss
    finished = threading.Event()

    def watch() -> None:
        nonlocal highest
        while not finished.wait(POLL):
            highest = max(highest, process.memory_info().rss)

    watcher = threading.Thread(target=watch, name="memory", daemon=True)
    watcher.start()
    try:
        predict_maps(model, pixels)
    finally:
        finished.set()
        watcher.join()
    return int(highest - before)
