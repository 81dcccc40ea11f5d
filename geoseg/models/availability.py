"""Where a model's weights are before it is opened: on this machine, to be fetched, or to be got by a person.

It looks at paths, sizes and checksums; it fetches nothing and loads no deep-learning library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from geoseg.errors import WeightsError
from geoseg.models.spec import ModelSpec
from geoseg.models.weight_files import list_files
from geoseg.models.weights import local_weights, weights_digest, weights_size

State = Literal["missing", "to fetch", "here"]


@dataclass(frozen=True)
class Availability:
    """Whether a model can be opened.

    Attributes
    ----------
    state : str
        ``"here"``, ``"to fetch"`` (when the model is first opened) or ``"missing"``.
    place : str
        A path, an address, a name on a hub, or how a person gets the weights.
    size : int or None
        Bytes, of weights that are here, or as the entry says.
    intact : bool or None
        Whether the checksum is the entry's; None when there is nothing to compare.
    """

    state: State
    place: str
    size: int | None = None
    intact: bool | None = None


def find_availability(spec: ModelSpec) -> Availability:
    """Look for the weights of a model; those of an ensemble are where the farthest of its members is."""
    if spec.parts:
        found = [find_availability(part) for part in spec.parts]
        sizes, intact = [item.size for item in found], [item.intact for item in found if item.intact is not None]
        farthest = next(item.state for state in get_args(State) for item in found if item.state == state)
        return Availability(
            state=farthest,
            place=", ".join(item.place for item in found),
            size=None if None in sizes else sum(size or 0 for size in sizes),
            intact=all(intact) if intact else None,
        )
    if spec.weights is None:
        return Availability("missing", spec.obtain or "give them with --weights FILE")
    path, size = local_weights(spec), weights_size(spec)
    if path is None:
        return Availability("here" if size else "to fetch", spec.weights, size or spec.weights_bytes)
    lacking = [file for file in list_files(path).values() if not file.exists()]
    if lacking:
        return Availability("missing", f"{lacking[0]} does not exist")
    return Availability("here", str(path), size, None if spec.checksum is None else _is_intact(spec))


def _is_intact(spec: ModelSpec) -> bool:
    """Whether local weights have the checksum of their entry."""
    try:
        weights_digest(spec)
    except WeightsError:
        return False
    return True
