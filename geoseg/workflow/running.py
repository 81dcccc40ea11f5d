"""A run from beginning to end: plan, blocks, results, manifest."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from distributed import Client

from geoseg import export
from geoseg.engine import (
    Listener,
    Started,
    Writing,
    announced,
    attempt,
    connect,
    connected,
    execute,
    ignore,
    prepare_workers,
    results_of,
)
from geoseg.engine.memory import forget_peaks, read_peaks
from geoseg.errors import BlockError
from geoseg.outlines import OutlinePlan, write_outlines
from geoseg.planning import Plan
from geoseg.store import RunFolder
from geoseg.vector import check_format, check_layer
from geoseg.workflow.layout import layout_of_run
from geoseg.workflow.manifest import Manifest, RunResult, feature_files
from geoseg.workflow.outlines import outlines_of_run, styled_classes
from geoseg.workflow.planning import plan
from geoseg.workflow.reporting import performance, try_report
from geoseg.workflow.result_item import try_result_item
from geoseg.workflow.settings import Workflow, WorkflowSource, read_workflow, write_workflow


def run(
    workflow: WorkflowSource,
    *,
    listen: Listener = ignore,
    client: Client | None = None,
    **settings: Any,
) -> RunResult:
    """Map a raster: labels, polygons and a manifest in the output folder.

    The same command continues a run that was interrupted: only blocks that are not on disk are repeated.

    Parameters
    ----------
    workflow, **settings
        As in `read_workflow`; any key of `Workflow`, such as ``input=`` and ``output=``.
    listen : callable, optional
        Called with all that is said, from `Started` to `Ended`; `geoseg.monitor.Monitor` shows it.
    client : distributed.Client, optional
        Workers that are already there.

    Returns
    -------
    RunResult
        Where the results are.

    Raises
    ------
    BlockError
        Some blocks failed after every retry; everything else is finished and written.
    GeosegError
        Something that a person wrote cannot be used.
    """
    wanted = read_workflow(workflow, **settings)
    is_own = wanted.scheduler is None and client is None
    if is_own:
        prepare_workers()
    made = plan(wanted, client=client)
    if is_own:
        made.check_memory()
    for name in wanted.features:
        check_format(Path(name), made.raster.crs)
        check_layer(Path(wanted.output) / name, wanted.layer)
    folder = RunFolder(Path(wanted.output))
    with folder.locked():
        started = time.perf_counter()
        inputs = made.raster.fingerprint()
        fingerprint = made.fingerprint_of(inputs)
        resumed = folder.prepare(made.grid, fingerprint, overwrite=wanted.overwrite, has_objects=made.has_things)
        if made.has_things:
            keep = sorted(made.keep_classes)
            folder.prepare_objects({"min_pixels": made.min_pixels, "keep_classes": keep})
        manifest = Manifest(wanted, made, folder, inputs)
        manifest.write("running")
        write_workflow(wanted, folder.path / "workflow.yaml")
        own = connect(wanted.scheduler, made.workers, wanted.dashboard)
        with (
            nullcontext(client) if client is not None else own as workers,
            performance(workers, folder.path / "performance.html", is_wanted=wanted.performance_report),
        ):
            result = _run_on(workers, wanted, made, folder, listen, resumed)
        result.seconds["total"] = time.perf_counter() - started
        manifest.write("incomplete" if result.outcome.failed else "finished", result)
        if wanted.report:
            result = replace(result, report=try_report(folder.path, made.raster))
        try_result_item(wanted, result)
    _raise_failures(result)
    return result


def _run_on(
    client: Client, wanted: Workflow, made: Plan, folder: RunFolder, listen: Listener, resumed: bool
) -> RunResult:
    """Say that a run begins, and run it."""
    shared = RunFolder(folder.path.absolute())  # a worker may have another current directory
    outlines = outlines_of_run(wanted, made, shared) if wanted.features else None
    with announced(listen, _started(client, made, shared, outlines, resumed)), connected(client):
        return _map(client, wanted, made, folder, shared, outlines, listen)


def _started(client: Client, made: Plan, shared: RunFolder, outlines: OutlinePlan | None, resumed: bool) -> Started:
    """What is said when a run begins."""
    verb, (height, width) = "continuing" if resumed else "mapping", made.raster.shape
    size = f"{width:,} x {height:,} px, {made.block_count} blocks, {made.workers} workers"
    counting = {"unite": 1, "number": made.block_count} if made.has_things else {}
    blocks = {"predict": made.block_count, "finish": made.block_count, **counting}
    return Started(
        f"{verb} with {made.spec.name}: {size}",
        client.dashboard_link or "",
        {**blocks, **(outlines.totals if outlines else {})},
        layout=layout_of_run(made, shared, styled_classes(made.spec)),
        client=client,
        planned_bytes=sum(made.worker_bytes.values()),
        estimated_seconds=made.estimated_seconds,
    )


def _map(
    client: Client,
    wanted: Workflow,
    made: Plan,
    folder: RunFolder,
    shared: RunFolder,
    outlines: OutlinePlan | None,
    listen: Listener,
) -> RunResult:
    """Run the blocks, then write the results."""
    forget_peaks(client)
    outcome = execute(made, shared, client, outlines=outlines, retries=wanted.retries, listen=listen)
    done = time.perf_counter()
    rasters = [folder.path / name for name in ("labels.tif", *(["instances.tif"] if made.has_things else []))]
    features = feature_files(folder.path, wanted.features) if outcome.is_outlined else []
    for path in (*rasters, *features):
        listen(Writing(path))
    _write(client, made, shared, outlines, rasters, features, wanted.layer)
    seconds = {**outcome.wall, "write": time.perf_counter() - done}
    instances, peaks = rasters[1] if made.has_things else None, read_peaks(client)
    return RunResult(
        folder.path, rasters[0], tuple(features), folder.run_file, made, outcome, seconds, instances, peaks
    )


def _write(
    client: Client,
    made: Plan,
    shared: RunFolder,
    outlines: OutlinePlan | None,
    rasters: list[Path],
    features: list[Path],
    layer: str,
) -> None:
    """Write all results at the same time, each on a worker."""
    submit: Callable[..., Any] = partial(client.submit, attempt, pure=False)
    run = uuid.uuid4().hex[:8]
    writers = export.write_labels, export.write_instances
    futures = [
        submit(write, made, shared, path.absolute(), key=(f"write-{run}", path.stem))
        for write, path in zip(writers, rasters, strict=False)  # instances are not always there
    ]
    style = styled_classes(made.spec)
    for path in features:
        key = (f"write-{run}", path.name)
        futures.append(submit(write_outlines, outlines, path.absolute(), layer, style, key=key))
    results_of(client, futures)


def _raise_failures(result: RunResult) -> None:
    failed = result.outcome.failed
    if failed:
        reason = next(iter(failed.values())).rstrip(".")
        names = ", ".join(list(failed)[:8])
        raise BlockError(
            f"{len(failed)} of {result.plan.block_count} blocks failed ({names}), the first in {reason}; the rest is "
            f"in {result.output}{result.outcome.trace_note}; mend the cause and run the same command again."
        )
