"""Two descriptions as one: a model that scores stuff and one that finds things.

Plain data, like the specs it takes; `geoseg.models.together` runs what it describes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from geoseg.errors import ModelError
from geoseg.models.spec import Band, ClassSpec, ModelSpec

MOST = 254
"""The largest label of a class."""


def combine(stuff: ModelSpec, things: ModelSpec) -> ModelSpec:
    """Describe two models as one.

    A class of ``things`` that has the name of a class of ``stuff`` replaces it; other classes get the next free labels
    when theirs are taken.

    Parameters
    ----------
    stuff : ModelSpec
        For semantic segmentation.
    things : ModelSpec
        For instance segmentation, at the same resolution.

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
    if None not in (stuff.resolution, things.resolution) and stuff.resolution != things.resolution:
        raise ModelError(
            f"models '{stuff.name}' ({stuff.resolution:g} m) and '{things.name}' ({things.resolution:g} m) cannot be "
            "run together; choose two of the same resolution."
        )
    bands = list(stuff.bands)
    bands += [band for band in things.bands if find_band(band, stuff.bands) is None]
    return ModelSpec(
        name=f"{stuff.name} with {things.name}",
        task="panoptic-segmentation",
        bands=tuple(bands),
        classes=_classes(stuff, things),
        resolution=stuff.resolution if things.resolution is None else things.resolution,
        tile_size=max(stuff.tile_size, things.tile_size),
        halo=max(stuff.halo, things.halo),
        multiple=math.lcm(stuff.multiple, things.multiple),
        fixed_size=stuff.fixed_size or things.fixed_size,
        activation=stuff.activation,
        activation_bytes=max(stuff.activation_bytes, things.activation_bytes),
        seconds_per_mpx=_sum(stuff.seconds_per_mpx, things.seconds_per_mpx),
        ramp=_largest(stuff.ramp, things.ramp),
        min_score=things.min_score,
        refine=stuff.refine,
        parts=(stuff, things),
        license="; ".join(dict.fromkeys(item for item in (stuff.license, things.license) if item)),
    )


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


def _sum(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _largest(one: int | None, other: int | None) -> int | None:
    return max((item for item in (one, other) if item is not None), default=None)
