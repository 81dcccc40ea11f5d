"""A run from beginning to end: plan, blocks, results, manifest."""

from __future__ import annotations

import json
import os
import time
import uuid
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Unpack

from distributed import Client, Future

from geoseg import export
from geoseg.engine import (
    Outcome,
    ProgressCallback,
    Started,
    Writing,
    announced,
    attempt,
    connect,
    connected,
    execute,
    hear,
    prepare_workers,
    present,
    results_of,
    stages_of_run,
    warn_here,
)
from geoseg.errors import BlockError, ContinuationWarning, DamagedError, InputNotFoundError, WorkflowError
from geoseg.held import is_lost
from geoseg.models.background import probable_classes
from geoseg.models.own import ModelLike
from geoseg.models.spec import ModelSpec
from geoseg.monitor.watching import Progress, shown
from geoseg.options import RECORD, RESUMABLE, Workflow, given_options
from geoseg.outlines import OutlinePlan, write_outlines
from geoseg.peak_memory import read_peaks, reset_peak_memory
from geoseg.planning import Plan
from geoseg.raster.options import configured
from geoseg.raster.sending import sendable
from geoseg.report import keep_features, keep_measures, measure_outlines
from geoseg.signatures import ResumeArguments, RunArguments
from geoseg.stages import totals
from geoseg.store import RunFolder
from geoseg.store.correcting import prepare_corrections
from geoseg.vector import drop_layer
from geoseg.workflow.correcting import check_kept
from geoseg.workflow.layout import layout_of_run
from geoseg.workflow.manifest import Manifest, RunResult
from geoseg.workflow.masking import masked, within
from geoseg.workflow.outlines import objects_of, outlines_of_run, styled_classes
from geoseg.workflow.outputs import PERFORMANCE, REPORT, Outputs, check_places
from geoseg.workflow.planning import as_kept, make_plan
from geoseg.workflow.publishing import check_address, publish
from geoseg.workflow.refreshing import forget_changed
from geoseg.workflow.reporting import performance, try_report
from geoseg.workflow.result_item import try_result_item
from geoseg.workflow.settings import WorkflowSource, read_workflow, write_workflow
from geoseg.workflow.skipping import forget_skipped, leave_out, named, without_known
from geoseg.workflow.work import Work


@configured()
def run(
    workflow: WorkflowSource | None = None,
    *,
    progress: Progress = None,
    client: Client | None = None,
    spec: ModelSpec | None = None,
    **settings: Unpack[RunArguments],
) -> RunResult:
    """Map a raster: labels, polygons and a manifest in the output folder.

    The same command continues a run that was interrupted: only blocks that are not on disk are repeated.

    Parameters
    ----------
    workflow, **settings
        As in `read_workflow`; any key of `Workflow`, such as ``input=`` and ``output=``.
    progress : callable or bool, optional
        Called with each event, from `Started` to `Ended`; `geoseg.monitor.Monitor` shows it. True shows one, False
        nothing; unless given, one is shown in a notebook.
    client : distributed.Client, optional
        Workers that are already there.
    spec : ModelSpec, optional
        What a network that is given as ``model`` promises.

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
    wanted = read_workflow(workflow, spec=spec, **settings)
    folder = RunFolder(Path(wanted.output))
    is_own = wanted.scheduler is None and client is None
    is_begun = not _seems_finished(folder) or wanted.overwrite
    if is_own and is_begun:
        prepare_workers()
    made = make_plan(wanted, client=client)
    if is_own and is_begun:
        made.check_memory()
    check_places(wanted, made)
    check_address(wanted, made)
    with folder.locked(), shown(progress) as callback:
        started = time.perf_counter()
        made = masked(wanted, made, partial(run, progress=within(callback), client=client))
        work, manifest, resumed = _prepare(wanted, made, folder)
        if not work.missing and _seems_finished(folder) and (folder.path / RECORD).is_file():
            count = publish(wanted, folder)
            return replace(work.unchanged(time.perf_counter() - started), is_unchanged=not count)
        if is_own and not is_begun:
            made.check_memory()
        if not wanted.overwrite:
            work.outputs.check_edited(work.missing)
        manifest.write("running")
        write_workflow(wanted, folder.path / RECORD, **_resolved(made))
        result, work, manifest = _mended(work, wanted, manifest, callback, client, resumed)
        result.seconds["total"] = time.perf_counter() - started
        result = _conclude(work, wanted, manifest, result)
        if not result.outcome.failed:
            publish(wanted, folder)
        result.seconds["total"] = time.perf_counter() - started  # with the report, which tells the time up to itself
    _raise_failures(result)
    return result


def _prepare(wanted: Workflow, made: Plan, folder: RunFolder) -> tuple[Work, Manifest, bool]:
    """Make a folder ready, and find out what there is to do; True when blocks of an earlier start are kept."""
    if wanted.overwrite:
        forget_skipped(folder)
    else:
        check_kept(made, folder)
        made = as_kept(made, folder)
    made, is_refreshed = without_known(wanted, made, folder)
    inputs = made.raster.fingerprint()
    fingerprint = made.fingerprint_of(inputs)
    resumed = folder.prepare(
        made.grid,
        fingerprint,
        overwrite=wanted.overwrite,
        arrays=made.arrays,
        classes=len(probable_classes(made.spec)),
        labelling=made.labelling,
        refresh=partial(forget_changed, made, folder) if is_refreshed else None,
    )
    if made.has_things:
        folder.prepare_objects(objects_of(made))
    prepare_corrections(made, folder)
    manifest = Manifest.of(wanted, made, folder, inputs)
    if resumed:
        _note_edited(manifest.edited)
    outputs = Outputs.of(wanted, made, folder, fingerprint)
    return Work.of(made, folder, outputs), manifest, resumed


def _conclude(work: Work, wanted: Workflow, manifest: Manifest, result: RunResult) -> RunResult:
    """Write what describes the results, and record them when they are whole."""
    outputs, folder = work.outputs, work.folder.path
    is_whole = not result.outcome.failed
    outputs.begin(outputs.pages)
    manifest.write("finished" if is_whole else "incomplete", result)
    if wanted.report:
        page = folder / REPORT
        result = replace(result, report=try_report(folder, work.plan.raster) if page in work.missing else page)
    pages = [page for page in (result.report, try_result_item(wanted, result)) if page is not None]
    if is_whole:
        more = [folder / PERFORMANCE] if wanted.performance_report else []
        outputs.record([*work.files, *pages, *more])
    return result


def _mended(
    work: Work, wanted: Workflow, manifest: Manifest, progress: ProgressCallback, client: Client | None, resumed: bool
) -> tuple[RunResult, Work, Manifest]:
    """Do what is missing; scenes that cannot be read are left out where that is asked for.

    What of an earlier start is found damaged on the way is removed, and made again, once.
    """
    again = wanted.model_copy(update={"overwrite": False, "refresh": False})
    told: list[str] = []
    is_mended = False
    while True:
        made: Plan | None = None
        try:
            result = _compute(work, wanted, progress, client, resumed)
        except DamagedError:
            if is_mended:
                raise
            made, is_mended = work.plan, True
        else:
            told = result.outcome.warnings = list(dict.fromkeys([*told, *result.outcome.warnings]))
            if _can_skip(wanted, work, result.outcome):
                made = leave_out(work.plan, work.folder, manifest.inputs, result.outcome.unreadable)
            elif result.outcome.is_damaged and not is_mended:
                made, is_mended = work.plan, True
        if made is None:
            return result, work, manifest
        (work, found, _), resumed = _prepare(again, made, work.folder), True
        manifest = replace(found, former=manifest.former)


def _can_skip(wanted: Workflow, work: Work, outcome: Outcome) -> bool:
    """Whether scenes could not be read that are to be left out, and there are others."""
    files = outcome.unreadable
    return wanted.on_error == "skip" and bool(files) and work.plan.raster.without(files) is not None


@configured()
def resume(
    folder: str | os.PathLike[str],
    *,
    progress: Progress = None,
    client: Client | None = None,
    model: ModelLike | None = None,
    spec: ModelSpec | None = None,
    **settings: Unpack[ResumeArguments],
) -> RunResult:
    """Continue a run by its folder alone, from whatever working directory.

    Parameters
    ----------
    folder : path
        The run's; it may have been moved.
    progress, client
        As in `run`.
    model, spec : optional
        The same network again, where a network of a program was given; no file holds it.
    **settings
        Of `RESUMABLE`; ``input`` where the imagery is elsewhere now, or its addresses are signed anew.

    Raises
    ------
    InputNotFoundError
        The folder holds no run.
    WorkflowError
        A setting that decides labels or results.
    GeosegError
        As `run`.
    """
    record = Path(folder).expanduser() / RECORD
    if not record.is_file():
        raise InputNotFoundError(f"{folder} holds no {RECORD}; give the output folder of a run, such as out/land_use.")
    try:
        recorded = read_workflow(record)
    except WorkflowError as error:
        raise WorkflowError(
            f"{record} is damaged ({error}); run the first command again, with the same output."
        ) from error
    given: dict[str, Any] = dict(settings) | ({} if model is None else {"model": model, "spec": spec})
    allowed = (*RESUMABLE, "model") if is_lost(recorded.model) else RESUMABLE
    others = [key for key in given_options(Workflow, given) if key in Workflow.model_fields and key not in allowed]
    if others:
        raise WorkflowError(
            f"{others[0]} cannot be changed when a run is continued; run '{record}' with it, which recomputes "
            "what depends on it."
        )
    return run(record, output=str(record.parent), progress=progress, client=client, **given)


def _seems_finished(folder: RunFolder) -> bool:
    """Whether workers are probably not needed; starting them early only saves time."""
    try:
        return bool(json.loads(folder.run_file.read_text())["status"] == "finished")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _resolved(made: Plan) -> dict[str, Any]:
    """What the plan has chosen where a workflow leaves it open; later versions may choose otherwise."""
    tiling = made.grid.tiling
    return {
        "tile_size": tiling.size,
        "halo": tiling.halo,
        "ramp": tiling.ramp,
        "block_tiles": list(made.grid.block_tiles),
        "batch_size": made.batch_size,
        "device": made.device,
        "runtime": made.runtime,
        "precision": made.precision,
    }


def _note_edited(paths: Sequence[str]) -> None:
    """Say that large files were written since, whose every byte was not compared."""
    if paths:
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        sentence = (
            f"{paths[0]}{more} was written since this run began, and size and samples of its content are the same; if "
            "pixels were edited in place, give --overwrite."
        )
        warnings.warn(ContinuationWarning(sentence), stacklevel=3)


def _compute(
    work: Work, wanted: Workflow, progress: ProgressCallback, client: Client | None, resumed: bool
) -> RunResult:
    """Do what is missing: on workers, unless it is pages alone."""
    if not work.files:
        return replace(work.unchanged(0.0), is_unchanged=False)
    is_predicting = work.tiles_to_predict > 0
    if wanted.performance_report:
        work.outputs.begin([work.folder.path / PERFORMANCE])
    own = connect(wanted.scheduler, work.plan.crew, wanted.dashboard, predicting=is_predicting)
    with (
        sendable(work.plan.raster, work.folder.state.absolute() / "arrays") as raster,
        nullcontext(client) if client is not None else own as workers,
        performance(workers, work.folder.path / PERFORMANCE, is_wanted=wanted.performance_report),
    ):
        sent = replace(work, plan=replace(work.plan, raster=raster))
        return replace(_run_on(workers, wanted, sent, progress, resumed), plan=work.plan)


def _run_on(client: Client, wanted: Workflow, work: Work, progress: ProgressCallback, resumed: bool) -> RunResult:
    """Say that a run begins, and run it."""
    shared = RunFolder(work.folder.path.absolute())  # a worker may have another current directory
    with present(shared.state, shared.lock):
        outlines = outlines_of_run(wanted, work.plan, shared) if work.is_outlining else None
        begun = _started(client, work, shared, outlines, resumed, is_refreshed=resumed and wanted.refresh)
        with announced(progress, begun), connected(client):
            return _map(client, wanted, work, shared, outlines, progress)


def _started(
    client: Client, work: Work, shared: RunFolder, outlines: OutlinePlan | None, resumed: bool, *, is_refreshed: bool
) -> Started:
    """What is said when a run begins."""
    made = work.plan
    verb, (height, width) = "continuing" if resumed else "mapping", made.raster.shape
    size = f"{width:,} x {height:,} px, {made.block_count} blocks, {made.workers} workers"
    if resumed and (is_refreshed or not work.tiles_to_predict):
        size += f", {work.tiles_to_predict:,} tiles to predict"
    return Started(
        f"{verb} with {made.spec.name}: {size}",
        client.dashboard_link or "",
        totals(stages_of_run(made, outlines), made.tree),
        layout=layout_of_run(made, shared, styled_classes(made)),
        client=client,
        planned_bytes=sum(made.worker_bytes.values()),
        estimated_seconds=made.estimated_seconds,
    )


def _map(
    client: Client,
    wanted: Workflow,
    work: Work,
    shared: RunFolder,
    outlines: OutlinePlan | None,
    progress: ProgressCallback,
) -> RunResult:
    """Run the blocks, then write the results that are missing."""
    made, folder = work.plan, work.folder
    reset_peak_memory(client)
    outcome = execute(made, shared, client, outlines=outlines, retries=wanted.retries, progress=progress)
    done = time.perf_counter()
    outputs = work.outputs
    files = [path for path in work.files if outcome.is_outlined or path not in outputs.features]
    if _can_skip(wanted, work, outcome):
        files = []  # the blocks are made again first, without what cannot be read
    for path in files:
        progress(Writing(path))
    outputs.begin(files)
    former = {path: layer for path, layer in outputs.former_layers().items() if path in files}
    outcome.warnings.extend(_write(client, wanted, made, shared, outlines, files, outputs))
    for path, layer in former.items():
        drop_layer(path, layer)
    seconds = {**outcome.wall, "write": time.perf_counter() - done}
    instances, peaks = outputs.instances, read_peaks(client)
    features = tuple(outputs.features) if outcome.is_outlined else ()
    return RunResult(
        *(
            folder.path,
            outputs.labels,
            features,
            folder.run_file,
            made,
            outcome,
            seconds,
            instances,
            peaks,
        ),
        products=outputs.products,
    )


def _write(
    client: Client,
    wanted: Workflow,
    made: Plan,
    shared: RunFolder,
    outlines: OutlinePlan | None,
    files: Sequence[Path],
    outputs: Outputs,
) -> list[str]:
    """Write results at the same time, each on a worker, which tries again as it does with blocks; return its warnings.

    What the report shows of labels and polygons is measured meanwhile.
    """
    submit: Callable[..., Any] = partial(client.submit, attempt, pure=False, retries=wanted.retries)
    run = uuid.uuid4().hex[:8]
    more, written = (wanted.layer, styled_classes(made), wanted.partition), {}
    for path in files:
        key = (f"write-{run}", path.name)
        if path in outputs.rasters:
            written[path] = submit(hear, export.write_raster, made, shared, path.absolute(), key=key)
        else:
            written[path] = submit(hear, write_outlines, outlines, path.absolute(), *more, key=key)
    measured: list[Future[Any]] = []
    if outputs.labels in written and wanted.report:
        measured.append(submit(keep_measures, shared.path, written[outputs.labels], key=f"measure-labels-{run}"))
    features = {path.absolute(): future for path, future in written.items() if path not in outputs.rasters}
    if features and wanted.report:
        first = next(iter([*measured, *features.values()]))  # after it, and so where it was: files take the others
        counted = submit(measure_outlines, outlines, shared.path, first, key=f"measure-features-{run}")
        arguments = shared.path, list(features), counted, list(features.values())
        measured.append(submit(keep_features, *arguments, key=f"keep-features-{run}"))
    warned = [sentences for _, sentences in results_of(client, list(written.values()))]
    for future in measured:
        future.exception()  # waits; where it has failed, the report measures itself
    return warn_here(chain.from_iterable(warned))


def _raise_failures(result: RunResult) -> None:
    failed, files = result.outcome.failed, result.outcome.unreadable
    if failed:
        reason = next(iter(failed.values())).rstrip(".")
        names = ", ".join(list(failed)[:8])
        unread = f"; {len(files)} files cannot be read ({named(files)})" if len(files) > 1 else ""
        remedy = "fix the cause"
        if files and result.plan.raster.without(files) is not None:
            remedy = "repair what cannot be read, or leave it out with on_error: skip,"
        raise BlockError(
            f"{len(failed)} of {result.plan.block_count} blocks failed ({names}), the first in {reason}{unread}; the "
            f"rest is in {result.output}{result.outcome.trace_note}; {remedy} and run the same command again."
        )
