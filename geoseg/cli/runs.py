"""Commands that map: run, plan and polygonize."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from json import dumps
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from geoseg.cli.command import Command, argument, given, json, quiet
from geoseg.cli.console import console, public, say
from geoseg.cli.watching import told, watched
from geoseg.errors import PART_FAILED
from geoseg.stages import STAGES

if TYPE_CHECKING:
    from geoseg.monitor import Monitor
    from geoseg.planning import Plan
    from geoseg.workflow import RunResult

MIB = 2**20

MOST_NOTES = 5
"""Notes about files that a plan prints."""

source = argument(
    "workflow",
    "WORKFLOW|IMAGERY...",
    "Workflow file or name of a shipped one, with imagery behind it or not; or imagery (also --input), which needs "
    "--model.",
    nargs=-1,
    required=False,
)


@click.command(cls=Command, table="Workflow")
@source
@quiet
@json
def run(workflow: Sequence[str], quiet: bool, json: bool, **settings: Any) -> None:
    """Map imagery: labels, polygons and a report in the output folder."""
    from geoseg.cli.starting import start_early

    options = given(settings)
    start_early(options)
    from geoseg import workflow as runs

    with watched(quiet=quiet, json=json) as monitor:
        result = runs.run(workflow, progress=monitor, **options)
        _show(result, monitor)
    if result.plan.raster.skipped:
        raise click.exceptions.Exit(PART_FAILED)


@click.command(cls=Command, table="Workflow", only="RESUMABLE")
@argument("folder", "RUN", "Output folder of a run.")
@quiet
@json
def resume(folder: str, quiet: bool, json: bool, **settings: Any) -> None:
    """Continue a run by its folder alone; what is finished is not repeated."""
    from geoseg import workflow as runs

    with watched(quiet=quiet, json=json) as monitor:
        result = runs.resume(folder, progress=monitor, **given(settings))
        _show(result, monitor)
    if result.plan.raster.skipped:
        raise click.exceptions.Exit(PART_FAILED)


def _show(result: RunResult, monitor: Monitor) -> None:
    """Say where the results of a run are."""
    pages = [] if result.report is None else [result.report]
    files = (*result.rasters, *result.features_paths, result.run_file, *pages)
    note = f"nothing to do: {result.output} is finished; checked" if result.is_unchanged else "done"
    if skipped := len(result.plan.raster.skipped):
        note += f", without {skipped:,} of the files or scenes, which cannot be read,"
    monitor.result(files, result.seconds["total"], note)


@click.command(cls=Command, table="Workflow")
@source
@click.option("--json", is_flag=True, help="Print the plan as a JSON object.")
def plan(workflow: Sequence[str], json: bool, **settings: Any) -> None:
    """Dry run: print blocks, tiles, peak memory, disk and estimated time."""
    from geoseg import workflow as runs

    with told(json=json):
        plan = runs.plan(workflow, **given(settings))
        if json:
            console.print_json(public(dumps(plan.summary())), indent=None)
        else:
            for key, value in _plan_lines(plan):
                say(f"{key:12} {value}")
        if plan.is_local:
            plan.check_memory()


def _plan_lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """The plan for people: a heading and what stands beside it."""
    from geoseg.raster import ground_resolution

    (height, width), tiling = plan.raster.shape, plan.grid.tiling
    rows, cols = plan.grid.rows, plan.grid.cols
    yield "raster", f"{width:,} x {height:,} px, {plan.raster.summary()['crs']}, bands {' '.join(plan.raster.bands)}"
    for note in plan.raster.notes[:MOST_NOTES]:
        yield "note", note
    if plan.raster.skipped:
        yield "skipped", f"{len(plan.raster.skipped)} files or scenes that cannot be read"
    if plan.mask:
        yield "mask", plan.mask
    yield "model", f"{plan.spec.name}: {len(plan.spec.classes)} classes"
    if plan.spec.resolution is None and not plan.raster.is_plain:
        pixel = ground_resolution(plan.raster.geobox)[1]
        yield "resolution", f"{pixel:g} m; the model names none, so give --resolution if it was trained at another"
    for change in plan.changes[:MOST_NOTES]:
        yield "changed", change
    if plan.corrections is not None:
        yield "corrections", f"{len(plan.corrections.shapes):,} polygons, {len(plan.corrections.spots):,} points"
    overlap = f"halo {tiling.halo}, ramp {tiling.ramp}, stride {tiling.stride}"
    rest = f"; {plan.tiles_to_predict:,} tiles to predict" if plan.predicted else ""
    yield "tiles", f"{plan.tile_count:,} of {tiling.size} px, {overlap}{rest}"
    down, across = plan.grid.block_tiles
    yield "blocks", f"{plan.block_count:,} of {rows.blocks} x {cols.blocks}, {down} x {across} tiles each"
    yield "steps", "still to do:"
    for name, (left, every) in plan.steps.items():
        yield f"  {left:,}/{every:,}", f"{name}: {STAGES[name].does}"
    crew = plan.crew
    feeding = f", {crew.threads} threads each" if crew.threads > 1 else ""
    assisting = f", and {crew.assistants} processes for what follows the network" if crew.assistants else ""
    yield "workers", f"{plan.workers} on {plan.device}{feeding}{assisting}"
    kept = "" if plan.measured is None else f", {plan.measured.agreement:.1%} of labels as in float32"
    yield "precision", f"{plan.precision} by {plan.runtime}{kept}"
    yield from _faster(plan)
    yield from _costs(plan)


def _costs(plan: Plan) -> Iterator[tuple[str, str]]:
    """What the run takes of memory, disk, network and time."""
    yield "memory", f"{plan.total_bytes / MIB:,.0f} MiB at most; a worker's part:"
    for cause, size in plan.worker_bytes.items():
        yield f"  {size / MIB:6,.0f} MiB", cause
    state, results = plan.state_bytes / MIB, plan.result_bytes / MIB
    kept = ", probabilities of all classes among them" if plan.keep_probabilities else ""
    yield "disk", f"about {state:,.0f} MiB of state{kept}, {results:,.0f} MiB of results"
    if plan.read_bytes is not None:
        yield "imagery", f"about {plan.read_bytes / MIB:,.0f} MiB to read"
    estimate = plan.estimate
    if estimate is None:
        yield "time", "not known for this model"
    else:
        parts = (
            f"{estimate.start:,.0f} s to start, {estimate.blocks:,.0f} s of blocks, {estimate.report:,.0f} s of report"
        )
        yield "time", f"about {estimate.seconds:,.0f} s ({parts}), {estimate.core_hours:,.2f} core hours"
    if plan.price_per_core_hour is not None:
        yield "cost", "not known for this model" if plan.cost is None else f"about {plan.cost:,.2f} for core hours"


def _faster(plan: Plan) -> Iterator[tuple[str, str]]:
    """What 8-bit weights of the model would gain where they are not used."""
    from geoseg.models.precision import overflows
    from geoseg.models.runtimes import is_installed

    weights, now = plan.spec.int8, plan.measured or plan.spec
    if weights is None or now is weights or plan.device != "cpu" or now.seconds_per_mpx is None or overflows(weights):
        return
    missing = "" if is_installed("openvino") else ", after pip install 'geoseg[openvino]'"
    gain = f"int8 through OpenVINO is {now.seconds_per_mpx / weights.seconds_per_mpx:.1f} x as fast"
    yield "faster", f"{gain}, {weights.agreement:.1%} of labels as in float32: give --precision int8{missing}"


@click.command(cls=Command, table="Polygonizing")
@argument("input", "RASTER...", "Classified raster, or several on one grid.", nargs=-1)
@argument("output", "OUTPUT", "Polygon file to write; the extension is the format.")
@quiet
@json
def polygonize(input: Sequence[str], output: str, quiet: bool, json: bool, **settings: Any) -> None:  # noqa: A002
    """Turn a classified raster into polygons."""
    from geoseg.cli.starting import load_libraries

    if settings.get("scheduler") is None:
        load_libraries(predicting=False)
    from geoseg import workflow as runs

    with watched(quiet=quiet, json=json) as monitor:
        result = runs.polygonize(output=output, progress=monitor, **given({"input": input, **settings}))
        monitor.result([result.output], result.seconds["total"], f"{result.count:,} polygons")


@click.command(cls=Command, table="SieveOptions")
@argument("input", "RASTER...", "Classified raster, or several on one grid.", nargs=-1)
@argument("output", "OUTPUT", "GeoTIFF to write.")
@quiet
@json
def sieve(input: Sequence[str], output: str, quiet: bool, json: bool, **settings: Any) -> None:  # noqa: A002
    """Give a classified raster a minimum mapping unit: smaller faces join a neighbour."""
    from geoseg.cli.starting import load_libraries

    if settings.get("scheduler") is None:
        load_libraries(predicting=False)
    from geoseg import workflow as runs

    started = perf_counter()
    with watched(quiet=quiet, json=json) as monitor:
        options = given({"input": input, **settings})
        path = runs.sieve(options.pop("input"), output, progress=monitor, **options)
        monitor.result([path], perf_counter() - started, "sieved")
