"""What a packaging tells of its model, whatever its kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from geoseg.models import SEMANTIC
from geoseg.models.spec import RAMP, Task
from geoseg.models.stac import Json

BYTES = 255.0
"""The largest number of a byte."""

OVERLAP = 96
"""Px that neighbouring tiles share unless a packaging says otherwise: a halo on both sides and a ramp."""

Classes = list[tuple[int, str]]


@dataclass(frozen=True)
class Contents:
    """What a packaging tells.

    Attributes
    ----------
    architecture, framework : str
        As in an item.
    bands : int
        Of the network's input.
    classes : list of (int, str)
        Value and name of each class, in the network's order.
    scores : int
        What the network gives a pixel; -1 where it gives objects.
    scaling : list of mapping or None
        Entries of ``value_scaling``; empty when numbers are used as they are stored, None when nothing tells.
    sides : sequence of int
        Height and width of the network's input, px; -1 takes any.
    blue_first : bool
        Whether the network wants the bands of a picture in reverse.
    properties : mapping
        Further properties of the item.
    unsaid : sequence of str
        What is not told and can be done without, beside names of bands.
    notes : sequence of str
        What else a person should know who maps with it.
    artifact : str
        ``mlm:artifact_type`` of the weights.
    named_bands : sequence of str
        Names of the bands, in the network's order, where they are told.
    weights : str
        The file with the weights in a folder; empty where the packaging is what is opened.
    task : str
        As in an item.
    """

    architecture: str
    framework: str
    bands: int
    classes: Classes
    scores: int
    scaling: list[Json] | None
    sides: Sequence[int] = (-1, -1)
    blue_first: bool = False
    properties: Json = field(default_factory=dict)
    unsaid: Sequence[str] = ()
    notes: Sequence[str] = ()
    artifact: str = "safetensors.torch.save_file"
    named_bands: Sequence[str] = ()
    weights: str = ""
    task: Task = SEMANTIC

    @property
    def band_names(self) -> list[str]:
        """Names of the bands in the network's order, or their positions in the imagery, counted from 1."""
        if self.named_bands:
            return list(self.named_bands)
        names = [str(position) for position in range(1, self.bands + 1)]
        return names[::-1] if self.blue_first else names


def result_of(contents: Contents) -> dict[str, Any]:
    """``result`` of an output: what the network gives a pixel, or masks of objects."""
    is_scored = contents.task == SEMANTIC
    return {
        "shape": [-1, contents.scores, *contents.sides],
        "dim_order": ["batch", "class" if is_scored else "object", "height", "width"],
        "data_type": "float32" if is_scored else "uint8",
    }


def scaled(factor: float, mean: Sequence[float] = (), deviation: Sequence[float] = ()) -> list[Json]:
    """Entries of ``value_scaling`` for ``(x * factor - mean) / deviation``, one a band, or without mean for all."""
    if mean:
        pairs = zip(mean, deviation, strict=True)
        return [{"type": "z-score", "mean": centre / factor, "stddev": spread / factor} for centre, spread in pairs]
    return [] if factor == 1 else [{"type": "scale", "value": 1 / factor}]


def numbered_classes(count: int) -> Classes:
    """Classes without names; of a single score the value is 1, since the rest is background."""
    return [(1, "class 1")] if count == 1 else [(value, f"class {value}") for value in range(count)]


def tiles(size: int, overlap: float = OVERLAP) -> dict[str, Any]:
    """Size, halo and ramp of tiles that share about so many px, at most half of each."""
    step = math.gcd(RAMP, size)
    shared = min(math.ceil(overlap / step) * step, size // 2 // step * step)
    ramp = min(RAMP, shared // 2)
    ramp += (shared - ramp) % 2
    return {"geoseg:tile_size": size, "geoseg:halo": (shared - ramp) // 2, "geoseg:ramp": ramp}


def object_tiles(size: int, multiple: int) -> dict[str, Any]:
    """Tiles of at least a size, px, for networks that find objects: neighbours share about a quarter of their side."""
    return {
        "geoseg:tile_size": -(-size // multiple) * multiple,
        "geoseg:halo": 0,
        "geoseg:ramp": max(size // 4 // multiple, 1) * multiple,
        "geoseg:multiple": multiple,
    }
