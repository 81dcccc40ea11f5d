"""What is said while a run goes on, and what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from distributed import Client
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.vector import StyledClass


@dataclass(frozen=True)
class Layout:
    """Where the blocks of a run lie, and what can be seen of their labels.

    Attributes
    ----------
    rows, cols : tuple of int
        Where rows and columns of blocks begin, px, and the end of the raster.
    places : frozenset, optional
        Rows and columns of the blocks that run; all of them unless given.
    classes : tuple of StyledClass
        The classes that are known beforehand.
    nodata : int or None
        The label that is no class.
    final : str
        The stage after which labels of a block can be read.
    read : callable
        Labels, integers (y, x), of a window.
    """

    rows: tuple[int, ...]
    cols: tuple[int, ...]
    places: frozenset[tuple[int, int]] | None
    classes: tuple[StyledClass, ...]
    nodata: int | None
    final: str
    read: Callable[[Window], NDArray[Any]]

    def window(self, row: int, col: int) -> Window:
        """The pixels of a block."""
        top, bottom = self.rows[row : row + 2]
        left, right = self.cols[col : col + 2]
        return Window(top, left, bottom - top, right - left)


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
    layout : Layout, optional
        Its blocks.
    client : Client, optional
        Where it runs, for queries about workers.
    planned_bytes : int, optional
        Peak memory of one worker, as planned.
    estimated_seconds : float, optional
        What the forward passes take, as planned.
    """

    title: str
    dashboard: str
    totals: Mapping[str, int]
    layout: Layout | None = None
    client: Client | None = field(default=None, compare=False, repr=False)
    planned_bytes: int | None = None
    estimated_seconds: float | None = None


@dataclass(frozen=True)
class Opened:
    """Every worker is ready, and the blocks begin.

    Attributes
    ----------
    name : str
        The run's, which stands in the keys of its tasks: ``(f"{stage}-{name}", *place)``.
    """

    name: str


@dataclass(frozen=True)
class Event:
    """Something that happened to a block, or to a node that joins several.

    Attributes
    ----------
    stage : str
        Its name in the table of `geoseg.stages`.
    status : str
        ``"done"``, ``"failed"``, or ``"kept"`` from an earlier start.
    place : tuple of int
        Row and column of the block; level, row and column of a node.
    seconds : float
        Time on the worker.
    message : str
        Why it failed.
    """

    stage: str
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


@dataclass(frozen=True)
class Ended:
    """No more events follow; workers are still there.

    Attributes
    ----------
    error : BaseException, optional
        What ended it before its time, such as a `KeyboardInterrupt`.
    """

    error: BaseException | None = None


ProgressEvent = Started | Compiling | Opened | Event | Writing | Ended
ProgressCallback = Callable[[ProgressEvent], None]


def ignore(event: ProgressEvent) -> None:
    """Do nothing with an event."""


@contextmanager
def announced(progress: ProgressCallback, started: Started) -> Iterator[None]:
    """Say that a run begins, and that it has ended, however it does."""
    try:
        progress(started)
        yield
    except BaseException as error:
        progress(Ended(error))
        raise
    progress(Ended())


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
    warnings : list of str
        What the workers warn of, each sentence once.
    traces : list of Path
        Tracebacks of the tasks that failed, as files.
    is_outlined : bool
        Every node of the polygons is there; False when one could not be traced or joined.
    is_damaged : bool
        A task has failed because what an earlier start has left is damaged, and is removed.
    unreadable : dict
        Files of the imagery that could not be read, by the names that they were given, and a sentence about each.
    """

    done: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    wall: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    traces: list[Path] = field(default_factory=list)
    is_outlined: bool = True
    is_damaged: bool = False
    unreadable: dict[str, str] = field(default_factory=dict)

    @property
    def trace_note(self) -> str:
        """Where the first traceback is, to go on with in a sentence; nothing when none was kept."""
        return f", the traceback in {self.traces[0]}" if self.traces else ""
