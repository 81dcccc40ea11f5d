"""What is said while a run goes on, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Stage = Literal["predict", "finish", "unite", "number", "survey", "merge", "sift", "trace", "join"]


@dataclass(frozen=True)
class Started:
    """A run begins.

    Attributes
    ----------
    title : str
        What is done, in one line.
    dashboard : str
        Address of the Dask dashboard.
    totals : mapping of str to int
        How many tasks each stage has.
    """

    title: str
    dashboard: str
    totals: Mapping[str, int]


@dataclass(frozen=True)
class Event:
    """Something that happened to a block, or to a node that joins several.

    Attributes
    ----------
    stage : str
        ``"predict"``, ``"finish"``, ``"unite"``, ``"number"``, ``"survey"``, ``"merge"``, ``"sift"``, ``"trace"`` or
        ``"join"``.
    status : str
        ``"done"``, ``"failed"``, or ``"kept"`` from an earlier start.
    place : tuple of int
        Row and column of the block; level, row and column of a node.
    seconds : float
        Time on the worker.
    message : str
        Why it failed.
    """

    stage: Stage
    status: Literal["done", "failed", "kept"]
    place: tuple[int, ...]
    seconds: float = 0.0
    message: str = ""

    @property
    def id(self) -> str:
        """The place as people and files write it."""
        return "-".join(map(str, self.place))


@dataclass(frozen=True)
class Writing:
    """Every block is done, and a result file is being written.

    Attributes
    ----------
    path : Path
        The file.
    """

    path: Path


@dataclass(frozen=True)
class Compiling:
    """Loops are compiled, which happens once on a machine and takes about half a minute."""


Said = Started | Compiling | Event | Writing
Listener = Callable[[Said], None]


def ignore(event: Said) -> None:
    """Listen to nothing."""


@dataclass
class Outcome:
    """What became of the blocks.

    Attributes
    ----------
    done, kept : Counter
        Tasks by stage that ran now, and whose results were on disk already.
    failed : dict
        ``{block id: "stage: sentence"}``.
    seconds : dict
        Time of the workers by stage, s.
    wall : dict
        Wall time until every worker had opened the model, and of the blocks, s.
    is_outlined : bool
        Every node of the polygons is there; False when one could not be traced or joined.
    """

    done: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)
    is_outlined: bool = True
