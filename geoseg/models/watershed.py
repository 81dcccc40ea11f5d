"""How scores of objects and of their boundaries become objects: plain data, like the rest of a spec.

It knows numbers and their names; `geoseg.models.separating` applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from geoseg.errors import WorkflowError, nearest


@dataclass(frozen=True)
class Watershed:
    """Marker-controlled watershed (Meyer and Beucher 1990) of a network that scores objects and their boundaries.

    The network gives one score a class, which says that a pixel lies in an object of it, and one more, which says that
    a pixel lies at the boundary of an object. Seeds are connected pixels that are surely inside; each grows over the
    pixels of objects, the surest first, until it meets another.

    Attributes
    ----------
    threshold : float
        Least probability of a pixel of an object, 0 to 1.
    seed : float
        Least probability of being in an object and not at its boundary, ``object * (1 - boundary)``, of a seed.
    seed_pixels : int
        Seeds with fewer pixels are none.
    min_pixels : int
        Objects with fewer pixels are left out; also those that hold no seed.

    Raises
    ------
    WorkflowError
        A value cannot be used.
    """

    threshold: float = 0.5
    seed: float = 0.5
    seed_pixels: int = 8
    min_pixels: int = 16

    def __post_init__(self) -> None:
        """Refuse what cannot be used."""
        for name in ("threshold", "seed"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value < 1:
                raise WorkflowError(f"watershed.{name} is {value!r}; give a probability between 0 and 1.")
        for name in ("seed_pixels", "min_pixels"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise WorkflowError(f"watershed.{name} is {value!r}; give a whole number of at least 1.")


def read_watershed(value: Mapping[str, Any] | None) -> Watershed | None:
    """Read the fields of a `Watershed`; nothing gives None.

    Raises
    ------
    WorkflowError
        An unknown key, or a value that cannot be used.
    """
    if value is None:
        return None
    known = [item.name for item in fields(Watershed)]
    if not isinstance(value, Mapping):
        raise WorkflowError(f"watershed is {value!r}; write some of its keys {', '.join(known)}.")
    for name in value:
        if name not in known:
            raise WorkflowError(f"watershed has the unknown key '{name}'; {nearest(str(name), known)}")
    return Watershed(**value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
