"""One step of a stage on a worker: the stage's function, then its marker, then the files that are not needed any more.

Tasks exchange nothing but places; pixels, strips, labels and polygons go through files, so work stealing moves no data.
Every step is safe to repeat: what is marked is not done again, and what rests on something that is missing is not
marked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar

from distributed import Worker, WorkerPlugin, get_worker

from geoseg.errors import WorkerError
from geoseg.files import remove
from geoseg.stages import STAGES
from geoseg.store.journal import Digest, Journal
from geoseg.tree import Place

Seconds = dict[str, float]

Step = tuple[str, Place]
"""A stage, and where."""

AnyJob = TypeVar("AnyJob", bound="Job")


@dataclass(frozen=True)
class Written:
    """What a step has left on disk.

    Attributes
    ----------
    digests : iterable of Digest
        What its marker speaks of.
    spent : iterable of Path
        Input files that are not needed once it is marked.
    """

    digests: Iterable[Digest] = ()
    spent: Iterable[Path] = ()


class Job(WorkerPlugin):
    """What steps work on, as a worker knows it.

    The function of a stage is called with the job, the place, and the steps that it needs and that are missing, or not
    what they should be; it returns what it has `Written`.

    Parameters
    ----------
    name : str
        Its id; steps find their job by it.
    home : Path
        The folder that holds all files; every worker must see it.
    """

    def __init__(self, name: str, home: Path) -> None:
        self.name, self.home = name, home

    def setup(self, worker: Worker) -> None:
        """Refuse a worker that does not see the folder."""
        if not self.home.is_dir():
            raise WorkerError(
                f"worker {worker.address} does not see {self.home}; choose an output folder that all workers share."
            )

    def journal(self, stage: str) -> Journal:
        """Markers of a stage."""
        return Journal(self.home, self.home / stage)


def job_of(name: str, kind: type[AnyJob], worker: Worker | None = None) -> AnyJob:
    """The job with a name.

    Raises
    ------
    WorkerError
        It is something else, as on a scheduler of another version.
    """
    job = (worker or get_worker()).plugins[name]
    if not isinstance(job, kind):
        raise WorkerError(f"worker plugin {name} is not a geoseg job; use a scheduler of the same geoseg version.")
    return job


def run_step(job_name: str, stage: str, place: Place, missing: Collection[Step] = ()) -> Seconds:
    """Run a step, unless it is on disk.

    Parameters
    ----------
    job_name : str
        What it works on.
    stage : str
        A stage of the table.
    place : tuple of int
        Where.
    missing : collection of (str, tuple of int)
        Steps that it needs, and that have failed or rest on one that has: it does without, and is not marked, so that
        the next start does it again.
    """
    start = time.perf_counter()
    job = job_of(job_name, Job)
    journal = job.journal(stage)
    if not journal.has(place):
        function: Callable[[Any, Place, Collection[Step]], Written] = resolve_name(STAGES[stage].function)
        written = function(job, place, missing)
        if not missing:
            journal.put(place, written.digests)
            for path in written.spent:
                remove(path)
    return {stage: time.perf_counter() - start}
