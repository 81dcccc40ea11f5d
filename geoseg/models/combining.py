"""Two descriptions as one: a model that scores stuff and one that finds things.

Plain data, like the specs it takes; `geoseg.models.together` runs what it describes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from geoseg.errors import ModelError
from geoseg.models.spec import Band, ClassSpec, HalfPrecision, ModelSpec

MOST = 254
"""The largest label of a class."""

SAME = 0.01
"""Ratios of resolutions that differ from a whole number by this part or less are one."""

TILES = 8
"""Tiles of two models of different resolution have so many times the px that their sides are a multiple of."""

RAMP = 32
"""Overlap of tiles, px, of a model that leaves it to the workflow."""


def combine(stuff: ModelSpec, things: ModelSpec) -> ModelSpec:
    """Describe two models as one.

    A class of ``things`` that has the name of a class of ``stuff`` replaces it; other classes get the next free labels
    when theirs are taken.

    Parameters
    ----------
    stuff : ModelSpec
        For semantic segmentation.
    things : ModelSpec
        For instance segmentation, at the same resolution or at one that is a whole number of times finer: the map has
        that resolution, and the other model sees averages of pixels.

    Raises
    ------
    ModelError
        The models do not fit together.
    """
    for spec, task in ((stuff, "semantic-segmentation"), (things, "instance-segmentation")):
        if spec.task != task:
            raise ModelError(
                f"model '{spec.name}' does {spec.task} and one for {task} is needed here; give model a semantic one "
                "and things one that finds instances."
            )
    factor = coarseness(stuff, things)
    multiple = math.lcm(stuff.multiple * factor, things.multiple)
    tile_size = _round_up(max(stuff.tile_size, things.tile_size, TILES * multiple if factor > 1 else 1), multiple)
    ramp = _largest(stuff.ramp, things.ramp)
    bands = list(stuff.bands)
    bands += [band for band in things.bands if find_band(band, stuff.bands) is None]
    return ModelSpec(
        name=f"{stuff.name} with {things.name}",
        task="panoptic-segmentation",
        bands=tuple(bands),
        classes=_classes(stuff, things),
        resolution=stuff.resolution if things.resolution is None else things.resolution,
        tile_size=tile_size if factor > 1 else max(stuff.tile_size, things.tile_size),
        halo=_halo(stuff, things, factor, tile_size, multiple, ramp),
        multiple=multiple,
        fixed_size=stuff.fixed_size or things.fixed_size,
        activation=stuff.activation,
        threshold=stuff.threshold,
        temperature=stuff.temperature,
        activation_bytes=max(stuff.activation_bytes / factor**2, things.activation_bytes),
        seconds_per_mpx=_sum(_part(stuff.seconds_per_mpx, factor), things.seconds_per_mpx),
        bfloat16=_halves(stuff, things, factor),
        ramp=ramp,
        min_score=things.min_score,
        refine=stuff.refine,
        tta=max((item.tta for item in (stuff, things) if item.tta), key=lambda tta: tta.work, default=None),
        parts=(stuff, things),
        license="; ".join(dict.fromkeys(item for item in (stuff.license, things.license) if item)),
    )


def coarseness(stuff: ModelSpec, things: ModelSpec) -> int:
    """How many pixels of ``things`` are one of ``stuff``, down and across.

    Raises
    ------
    ModelError
        It is no whole number.
    """
    if stuff.resolution is None or things.resolution is None:
        return 1
    ratio = stuff.resolution / things.resolution
    if round(ratio) < 1 or abs(ratio / round(ratio) - 1) > SAME:
        raise ModelError(
            f"models '{stuff.name}' ({stuff.resolution:g} m) and '{things.name}' ({things.resolution:g} m) cannot be "
            "run together; choose two whose resolutions are the same, or stuff a whole number of times coarser."
        )
    return round(ratio)


def _halves(stuff: ModelSpec, things: ModelSpec, factor: int) -> HalfPrecision | None:
    """What bfloat16 does to both, where it was measured of both."""
    if stuff.bfloat16 is None or things.bfloat16 is None:
        return None
    return HalfPrecision(
        min(stuff.bfloat16.agreement, things.bfloat16.agreement),
        stuff.bfloat16.seconds_per_mpx / factor**2 + things.bfloat16.seconds_per_mpx,
    )


def _halo(stuff: ModelSpec, things: ModelSpec, factor: int, tile_size: int, multiple: int, ramp: int | None) -> int:
    """The wider of both halos; a coarse model gets as much as an eighth of the tile, as far as tiles fit the grid."""
    if factor == 1:
        return max(stuff.halo, things.halo)
    wanted = max(things.halo, min(stuff.halo * factor, tile_size // 8))
    overlap = RAMP if ramp is None else ramp
    fitting = [halo for halo in range(tile_size // 2) if (2 * halo + overlap) % multiple == 0]
    return min(fitting, key=lambda halo: abs(halo - wanted), default=wanted)


def find_band(band: Band, bands: Sequence[Band]) -> int | None:
    """The position of a band among others: the same one, or one of the same common name; None when there is none."""
    if band in bands:
        return bands.index(band)
    common = [other.common_name for other in bands]
    return common.index(band.common_name) if band.common_name is not None and band.common_name in common else None


def _classes(stuff: ModelSpec, things: ModelSpec) -> tuple[ClassSpec, ...]:
    """Classes of the stuff model, one of them a thing where both have it; then the other things."""
    found = {item.name: item for item in things.classes}
    classes = [replace(item, isthing=item.name in found) for item in stuff.classes]
    taken, named = {item.value for item in classes}, {item.name for item in classes}
    for item in things.classes:
        if item.name not in named:
            free = item.value if item.value not in taken else next((n for n in range(MOST + 1) if n not in taken), None)
            if free is None:
                raise ModelError(
                    f"models '{stuff.name}' and '{things.name}' have more than {MOST + 1} classes together; choose "
                    "models of fewer classes."
                )
            taken.add(free)
            classes.append(replace(item, value=free, isthing=True))
    return tuple(classes)


def _part(seconds: float | None, factor: int) -> float | None:
    return None if seconds is None else seconds / factor**2


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _largest(one: int | None, other: int | None) -> int | None:
    return max((item for item in (one, other) if item is not None), default=None)
