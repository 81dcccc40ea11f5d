"""One run on one client: its jobs reach the workers, its tasks flow until nothing is left."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING

from distributed import Client

from geoseg.engine.attempts import on_each_worker
from geoseg.engine.events import Compiling, Listener, Opened, Outcome, ignore
from geoseg.engine.flow import Flow, Place
from geoseg.engine.nodes import NodeFlow
from geoseg.errors import ContinuationWarning, GeosegWarning
from geoseg.outlines import OutlineJob, OutlinePlan, is_compiled
from geoseg.outlines.tasks import warm_up
from geoseg.planning import Plan
from geoseg.store import RunFolder

if TYPE_CHECKING:
    from geoseg.engine.blocks import BlockFlow
    from geoseg.engine.objects import ObjectFlow
    from geoseg.tasks import Job


def execute(
    plan: Plan,
    folder: RunFolder,
    client: Client,
    *,
    outlines: OutlinePlan | None = None,
    retries: int = 2,
    listen: Listener = ignore,
) -> Outcome:
    """Run every block of a plan that is not on disk yet.

    Parameters
    ----------
    plan : Plan
        What to run.
    folder : RunFolder
        Prepared for this plan.
    client : Client
        Where to run.
    outlines : OutlinePlan, optional
        The polygons to make of the labels; none unless given.
    retries : int
        How often a failing block is tried again.
    listen : callable
        Called with everything that is said from `Opened` to the last `Event`.

    Returns
    -------
    Outcome
        What ran, what was kept, and what failed; a failing block does not stop the others.

    Raises
    ------
    ModelError, WeightsError
        The model cannot be opened.
    WorkerError
        A worker has other versions, or does not see the folder.
    """
    # Tasks of blocks load torch, which whoever only outlines does not need.
    from geoseg import tasks
    from geoseg.engine.blocks import BlockFlow
    from geoseg.engine.objects import ObjectFlow

    flow = Flow(client, retries, listen, folder.state)
    job = tasks.Job(f"geoseg-{flow.name}", plan, folder)
    with _registered(client, job), _nodes(flow, outlines) if outlines else nullcontext() as nodes:
        started = time.perf_counter()
        flow.outcome.warnings = _warn(on_each_worker(client, tasks.open_model, job.name))
        _compare(folder.note_instructions(set(on_each_worker(client, tasks.instructions, job.name))))
        if nodes:
            _warm_up(nodes, listen)
        opened = time.perf_counter()
        listen(Opened(flow.name))
        final = nodes.on_final if nodes else _tell_nobody
        objects = ObjectFlow(flow, job, final) if plan.has_things else None
        blocks = BlockFlow(flow, job, objects.on_finished if objects else final)
        for part in (nodes, objects, blocks):
            if part:
                part.start()
        flow.run(lambda: _fill(objects, blocks))
        flow.outcome.wall = {"open": opened - started, "blocks": time.perf_counter() - opened}
    return flow.outcome


def _warn(sentences: list[list[str]]) -> list[str]:
    """Say here what workers warn of, however many do; return each sentence once."""
    unlike = list(dict.fromkeys(chain.from_iterable(sentences)))
    for sentence in unlike:
        warnings.warn(sentence, GeosegWarning, stacklevel=3)
    return unlike


def _compare(instructions: list[str]) -> None:
    """Say that blocks of one run are computed in several ways; the map is whole, but not the same bit for bit."""
    if len(instructions) > 1:
        sentence = (
            f"blocks of this run are computed with {' and '.join(instructions)}, so labels of nearly tied pixels may "
            "differ between machines; for one map bit for bit give it machines of one kind."
        )
        warnings.warn(ContinuationWarning(sentence), stacklevel=3)


def outline(plan: OutlinePlan, client: Client, *, retries: int = 2, listen: Listener = ignore) -> Outcome:
    """Make the polygons of labels that are there already.

    Parameters
    ----------
    plan : OutlinePlan
        What to outline.
    client, retries, listen
        As in `execute`.

    Returns
    -------
    Outcome
        What ran, what was kept, and what failed.
    """
    flow = Flow(client, retries, listen, plan.folder.path.parent)
    with _nodes(flow, plan) as nodes:
        _warm_up(nodes, listen)
        started = time.perf_counter()
        listen(Opened(flow.name))
        nodes.start()
        pending = nodes.all_final()

        def fill() -> None:
            while flow.has_room:
                place = next(pending, None)
                if place is None:
                    return
                nodes.on_final(place, True)

        flow.run(fill)
        flow.outcome.wall = {"blocks": time.perf_counter() - started}
    return flow.outcome


def _fill(*flows: BlockFlow | ObjectFlow | None) -> None:
    """Later stages go first, so that little piles up."""
    for item in flows:
        if item:
            item.fill()


def _tell_nobody(place: Place, is_final: bool) -> None:
    """Labels are all that is wanted."""


def _warm_up(nodes: NodeFlow, listen: Listener) -> None:
    """Compile loops on every worker, and say so where it takes long."""
    if not is_compiled():
        listen(Compiling())
    on_each_worker(nodes.flow.client, warm_up, nodes.job.name)


@contextmanager
def _registered(client: Client, job: Job | OutlineJob) -> Iterator[None]:
    """Make a job known to every worker, also to those that come later, as long as it runs."""
    client.register_plugin(job)
    try:
        yield
    finally:
        if client.status == "running":  # a scheduler that has gone knows no plugins
            client.unregister_worker_plugin(job.name)


@contextmanager
def _nodes(flow: Flow, plan: OutlinePlan) -> Iterator[NodeFlow]:
    job = OutlineJob(f"geoseg-outline-{flow.name}", plan)
    with _registered(flow.client, job):
        yield NodeFlow(flow, job)
