"""One run on one client: its jobs reach the workers, its tasks flow until nothing is left."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain

from distributed import Client

from geoseg import tasks
from geoseg.engine.attempts import on_each_worker, warn_here
from geoseg.engine.events import Compiling, Opened, Outcome, ProgressCallback, ignore
from geoseg.engine.flow import Flow
from geoseg.engine.kept import kept_blocks
from geoseg.engine.schedule import Schedule
from geoseg.errors import ContinuationWarning
from geoseg.outlines import OutlineJob, OutlinePlan, is_compiled
from geoseg.outlines.job import warm_up
from geoseg.outlines.resuming import kept_nodes
from geoseg.planning import Plan
from geoseg.raster.repeats import COUNT, take_repeated
from geoseg.stages import OUTLINES, RUN, Scope, Stage, stages_of
from geoseg.steps import Job
from geoseg.store import RunFolder
from geoseg.tree import BlockTree, Place


@dataclass(frozen=True)
class _Part:
    """A job, what makes workers ready for it, and before which stages that is needed."""

    job: Job
    open: Callable[[], None]
    stages: Sequence[Stage]


def stages_of_run(plan: Plan | None, outlines: OutlinePlan | None) -> tuple[Stage, ...]:
    """Stages of a run that labels blocks, outlines labels, or both."""
    return stages_of(
        Scope(
            predicts=plan is not None,
            stuff=plan is None or plan.has_stuff,
            things=plan is not None and plan.has_things,
            corrects=plan is not None and plan.corrections is not None,
            outlines=outlines is not None,
            sieves=outlines is not None and outlines.is_sifted,
        )
    )


def execute(
    plan: Plan,
    folder: RunFolder,
    client: Client,
    *,
    outlines: OutlinePlan | None = None,
    retries: int = 2,
    progress: ProgressCallback = ignore,
) -> Outcome:
    """Run every step of a plan that is not on disk yet; without a network where every block is predicted.

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
    progress : callable
        Called with each event from `Opened` to the last `Event`.

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
    flow = Flow(client, retries, progress, folder.state)
    stages = stages_of_run(plan, outlines)
    kept = kept_blocks(plan, folder, stages)
    job = tasks.Job(f"geoseg-{flow.name}", plan, folder)

    def open_model() -> None:
        if len(kept["predict"]) < plan.block_count:
            flow.outcome.warnings = warn_here(chain.from_iterable(on_each_worker(client, tasks.open_model, job.name)))
            _compare(folder.note_instructions(set(on_each_worker(client, tasks.instructions, job.name)) - {None}))

    own = [stage for stage in stages if stage.folder == RUN]
    parts = {RUN: _Part(job, open_model, own)}
    if outlines is None:
        return _run(flow, plan.tree, stages, kept, parts)
    if "correct" in kept and not kept["correct"]:  # says which polygons are kept
        _run(flow, plan.tree, own, kept, parts)
        if flow.outcome.failed:
            flow.outcome.is_outlined = False
            return flow.outcome
        parts, stages = {}, tuple(stage for stage in stages if stage not in own)
    parts[OUTLINES] = _outlining(flow, outlines)
    return _run(flow, plan.tree, stages, kept | kept_nodes(outlines), parts)


def outline(plan: OutlinePlan, client: Client, *, retries: int = 2, progress: ProgressCallback = ignore) -> Outcome:
    """Make the polygons of labels that are there already.

    Parameters
    ----------
    plan : OutlinePlan
        What to outline.
    client, retries, progress
        As in `execute`.

    Returns
    -------
    Outcome
        What ran, what was kept, and what failed.
    """
    flow = Flow(client, retries, progress, plan.folder.path.parent)
    parts = {OUTLINES: _outlining(flow, plan)}
    return _run(flow, plan.tree, parts[OUTLINES].stages, kept_nodes(plan), parts)


def _outlining(flow: Flow, plan: OutlinePlan) -> _Part:
    """What makes polygons; workers compile loops first, which is told where it takes long."""
    job = OutlineJob(f"geoseg-outline-{flow.name}", plan)

    def compile_loops() -> None:
        if not is_compiled():
            flow.progress(Compiling())
        on_each_worker(flow.client, warm_up, job.name)

    return _Part(job, compile_loops, stages_of_run(None, plan))


def _run(
    flow: Flow,
    tree: BlockTree,
    stages: Sequence[Stage],
    kept: Mapping[str, set[Place]],
    parts: Mapping[str, _Part],
) -> Outcome:
    """Run what is left, on workers that know the jobs of these stages and no others."""
    schedule = Schedule(flow, tree, stages, kept, {folder: part.job.name for folder, part in parts.items()})
    left = {stage.name for stage in stages if len(kept[stage.name]) < stage.count(tree)}
    if not left:
        schedule.start()
        return flow.outcome
    with ExitStack() as jobs:
        needed = [part for part in parts.values() if any(stage.name in left for stage in part.stages)]
        heard = [jobs.enter_context(_heard(flow.client, part.job.name)) for part in needed]
        for part in needed:
            jobs.enter_context(_registered(flow.client, part.job))
        started = time.perf_counter()
        for part in needed:
            part.open()
        opened = time.perf_counter()
        flow.progress(Opened(flow.name))
        schedule.start()
        flow.run(schedule.fill)
        told = flow.outcome.warnings
        sentences = _counted(chain(*heard, take_repeated()))
        told += warn_here(sentence for sentence in sentences if sentence not in told)
        wall = {"open": opened - started, "blocks": time.perf_counter() - opened}
        flow.outcome.wall = {key: flow.outcome.wall.get(key, 0.0) + seconds for key, seconds in wall.items()}
    return flow.outcome


def _counted(told: Iterable[str | tuple[str, int]]) -> list[str]:
    """Sentences that workers say, once each; those of something that is counted with the sum."""
    sums: Counter[str] = Counter()
    for item in told:
        sentence, count = (item, 0) if isinstance(item, str) else item
        sums[sentence] += count
    return [sentence.replace(COUNT, f"{count:,}") for sentence, count in sums.items()]


def _compare(instructions: list[str]) -> None:
    """Say that blocks of one run are computed in several ways; the map is whole, but not the same bit for bit."""
    if len(instructions) > 1:
        sentence = (
            f"blocks of this run are computed with {' and '.join(instructions)}, so labels of nearly tied pixels may "
            "differ between machines; for one map bit for bit give it machines of one kind."
        )
        warnings.warn(ContinuationWarning(sentence), stacklevel=3)


@contextmanager
def _heard(client: Client, topic: str) -> Iterator[list[str | tuple[str, int]]]:
    """What workers say about a topic, those that come late too; each worker says it before its task has ended."""
    sentences: list[str | tuple[str, int]] = []
    client.subscribe_topic(topic, lambda event: sentences.extend(event[1]))
    try:
        yield sentences
    finally:
        if client.status == "running":
            client.unsubscribe_topic(topic)


@contextmanager
def _registered(client: Client, job: Job) -> Iterator[None]:
    """Make a job known to every worker, also to those that come later, as long as it runs."""
    client.register_plugin(job)
    try:
        yield
    finally:
        if client.status == "running":  # a scheduler that has gone knows no plugins
            client.unregister_worker_plugin(job.name)
