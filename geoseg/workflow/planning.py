"""From settings to a frozen plan: opens headers, looks at a few windows of pixels, computes nothing."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Unpack

from distributed import Client

from geoseg.catalog import find_model
from geoseg.corrections import CorrectionLayer, read_corrections
from geoseg.engine import stages_of_run
from geoseg.engine.kept import predicted_blocks
from geoseg.errors import ModelError, RegionError, WorkflowError
from geoseg.grid import TileGrid, Tiling, Window
from geoseg.held import value_of
from geoseg.imagery import open_imagery
from geoseg.imagery.checking import check_values
from geoseg.models import is_promptable, needs_words, require_trust
from geoseg.models.background import with_background, with_unknown
from geoseg.models.changing import changed
from geoseg.models.combining import combine
from geoseg.models.own import OwnModel, SentNetwork
from geoseg.models.runtimes import refuse_compile
from geoseg.models.spec import ModelSpec
from geoseg.models.streams import IN_FLIGHT
from geoseg.models.weights import require_weights
from geoseg.options import Workflow
from geoseg.outlines import OutlineFolder
from geoseg.planning import Plan, RegionMask, core_count, tiling_of
from geoseg.planning.reading import bytes_read
from geoseg.planning.sharing import Crew, crew_of
from geoseg.prompting import PromptLayer, read_prompts
from geoseg.raster import LOCAL, Raster
from geoseg.raster.options import configured
from geoseg.signatures import RunArguments
from geoseg.stages import RUN
from geoseg.store import RunFolder
from geoseg.tree import Place
from geoseg.vector import Region, is_bare, read_region
from geoseg.workflow.correcting import check_kept, forgotten_by_corrections
from geoseg.workflow.hardware import Hardware, hardware_of
from geoseg.workflow.legend import ClassNames, apply_legend
from geoseg.workflow.masking import ModelMask, model_of_mask
from geoseg.workflow.outlines import mapping_unit, objects_of, plan_outlines
from geoseg.workflow.outputs import check_places
from geoseg.workflow.refreshing import refreshed
from geoseg.workflow.settings import WorkflowSource, output_file, read_workflow
from geoseg.workflow.skipping import without_known

MANY_TILES = 64
"""From so many tiles on a block has four of them, unless said otherwise."""


@configured()
def plan(
    workflow: WorkflowSource | None = None,
    *,
    client: Client | None = None,
    spec: ModelSpec | None = None,
    **settings: Unpack[RunArguments],
) -> Plan:
    """Say what would run; computes nothing.

    Parameters
    ----------
    workflow, **settings
        As in `read_workflow`.
    client : distributed.Client, optional
        Workers that the run is to have; they, or those of a scheduler, are asked for their device.
    spec : ModelSpec, optional
        What a network that is given as ``model`` promises.

    Returns
    -------
    Plan
        Blocks, tiles, memory, estimated time; and how many tiles are still to be predicted, where the output folder
        holds a part of the run.

    Raises
    ------
    GeosegError
        One sentence on what does not fit: input, bands, region, model. Whether it fits into memory is what
        `Plan.check_memory` says.
    """
    wanted = read_workflow(workflow, spec=spec, **settings)
    made, folder = make_plan(wanted, client=client), RunFolder(Path(wanted.output))
    check_places(wanted, made)
    made = _behind_mask(wanted, made, client)
    if wanted.overwrite or not folder.fingerprint:
        return _with_steps(wanted, made)
    check_kept(made, folder)
    made, is_refreshed = without_known(wanted, as_kept(made, folder), folder)
    if is_refreshed and (change := refreshed(with_progress(made, folder), folder)) is not None:
        return _with_steps(wanted, change[0], folder, change[1])
    is_kept = json.loads(json.dumps(made.fingerprint())) == folder.fingerprint
    return _with_steps(wanted, with_progress(made, folder), folder) if is_kept else _with_steps(wanted, made)


def _behind_mask(wanted: Workflow, made: Plan, client: Client | None) -> Plan:
    """The same plan, which says what of the imagery a model removes, and knows it where that is on disk."""
    mask = ModelMask.of(wanted, made)
    if mask is None:
        return made
    with mask.named_in_errors():
        first = None if mask.is_found else make_plan(mask.runs[0].workflow, client=client).estimated_seconds
    return replace(mask.applied(made) if mask.is_found else made, mask=mask.describe(first))


def as_kept(made: Plan, folder: RunFolder) -> Plan:
    """Go on keeping what a run folder has kept so far, also where nobody asks for it now: it may be asked for later."""
    before = folder.fingerprint
    kept, keeps = before.get("min_score"), made.keep_probabilities or bool(before.get("keep_probabilities"))
    spec = made.spec
    if made.has_things and isinstance(kept, int | float) and kept <= made.min_score:
        spec = with_min_score(spec, kept)
    return replace(made, spec=spec, keep_probabilities=keeps)


def with_progress(made: Plan, folder: RunFolder) -> Plan:
    """The same plan, which knows the blocks that are predicted, or whose predictions nobody waits for any more."""
    predicted = predicted_blocks(made, folder, stages_of_run(made, None))
    return replace(made, predicted=frozenset((row, col) for row, col in predicted))


def _with_steps(
    wanted: Workflow,
    made: Plan,
    kept: RunFolder | None = None,
    forgotten: Mapping[str, Collection[Place] | None] = MappingProxyType({}),
) -> Plan:
    """The same plan, which knows how many steps each stage has and has still to do in a folder that is kept.

    Of each stage some places are ``forgotten``, or all of them (None).
    """
    folder = kept or RunFolder(Path(wanted.output))
    outlines, decided = plan_outlines(wanted, made, folder) if wanted.features else (None, {})
    repeated = folder.repeated_stages(objects_of(made)) if made.has_things else ()
    forgotten = {**forgotten_by_corrections(made, folder), **forgotten} if kept is not None else forgotten
    has_nodes = outlines is not None and outlines.folder.is_made_from(decided)
    tree, steps = made.tree, {}
    for stage in stages_of_run(made, outlines):
        home = folder if stage.folder == RUN else OutlineFolder(folder.outlines)
        is_there = kept is not None and stage.name not in repeated and (stage.folder == RUN or has_nodes)
        is_there &= forgotten.get(stage.name, ()) is not None
        done = made.predicted if stage.name == "predict" else home.journal(stage.name).places()
        done = done - frozenset(forgotten.get(stage.name) or ())
        count = stage.count(tree)
        steps[stage.name] = (count - len(done) if is_there else count, count)
    return replace(made, steps=steps, read_bytes=bytes_read(made.raster, made.grid, made.unpredicted, made.workers))


def make_plan(wanted: Workflow, *, client: Client | None = None) -> Plan:
    """As `plan`, whatever the output folder holds."""
    model = _find_model(wanted)
    spec = _find_spec(wanted, model)
    raster = _open_input(wanted, spec)
    tiling = tiling_of(spec, raster.shape, tile_size=wanted.tile_size, halo=wanted.halo, ramp=wanted.ramp)
    grid = TileGrid(raster.shape, tiling, _block_tiles(wanted, raster.shape, tiling))
    hardware = hardware_of(wanted.device, wanted.runtime, wanted.precision, spec, wanted.scheduler, client)
    if wanted.compile:
        refuse_compile(hardware.runtime)
    classes, unknown = with_unknown(spec, wanted.min_confidence)
    legend, groups = apply_legend(classes, wanted.legend or {})
    names = {item.value: item.name for item in legend}
    unit, areas = mapping_unit(wanted.min_area, wanted.keep_classes, raster.geobox, names)
    corrections = _open_corrections(wanted, spec, raster, ClassNames(classes, legend, groups))
    made = Plan(
        raster=raster,
        spec=spec,
        grid=grid,
        region=_open_region(wanted, raster),
        batch_size=_batch_size(wanted, spec, grid, hardware),
        device=hardware.device,
        prompts=_open_prompts(wanted, spec, raster),
        runtime=hardware.runtime,
        precision=hardware.precision,
        compile=wanted.compile,
        unit=unit.ungrouped({item.value: groups.get(item.value, item.value) for item in classes}),
        areas=areas,
        min_score=_min_score(wanted, spec),
        is_local=wanted.scheduler is None and client is None,
        network=None if model.network is None else SentNetwork.of(model.network),
        keep_probabilities=_keeps_probabilities(wanted, spec) or (corrections is not None and corrections.denies),
        legend=legend,
        groups=groups,
        unknown=unknown,
        corrections=corrections,
        connectivity=wanted.connectivity,
        price_per_core_hour=wanted.price_per_core_hour,
    )
    if not made.block_count:
        raise RegionError("no prompt lies within the region; give prompts inside of it, or another region.")
    is_given = wanted.scale is not None or wanted.offset is not None
    values = check_values(raster, spec, cores=_cores(made), is_given=is_given)
    return replace(made, values=values, crew=_crew(wanted, hardware, made.block_count))


def _min_score(wanted: Workflow, spec: ModelSpec) -> float:
    """The score that objects need.

    Raises
    ------
    WorkflowError
        One is asked for of a model that finds no objects, and would change nothing.
    """
    if wanted.min_score is None:
        return spec.min_score
    if not spec.things:
        instead = "min_confidence" if spec.threshold is None else "threshold"
        raise WorkflowError(
            f"min_score is {wanted.min_score:g}, and model '{spec.name}' finds no objects that have a score; leave "
            f"min_score out, or use {instead}."
        )
    return wanted.min_score


def _crew(wanted: Workflow, hardware: Hardware, blocks: int) -> Crew:
    """One worker a core or a GPU, unless the person says how many, and no more than there are blocks."""
    workers = wanted.workers or (core_count() if hardware.device == "cpu" else hardware.count)
    return crew_of(hardware.device, core_count(), min(workers, blocks))


def _keeps_probabilities(wanted: Workflow, spec: ModelSpec) -> bool:
    """Whether probabilities are to be written, which a model must have."""
    is_wanted = any(output_file(output).startswith("probabilities.") for output in wanted.outputs)
    if is_wanted and not spec.stuff:
        raise WorkflowError(
            f"model '{spec.name}' finds objects, and no pixel has a probability of its classes; leave probabilities "
            "out of outputs: features have the score of each object, and confidence is a raster of it."
        )
    return is_wanted


def _cores(made: Plan) -> list[Window]:
    """Where the numbers of the imagery are looked at: in some of the blocks that run, spread over them."""
    if made.places is None:
        return [Window(0, 0, *made.raster.shape)]
    places = sorted(made.places)
    step = max(1, len(places) // MANY_TILES)
    return [made.grid.block(*place).core for place in places[::step]]


def _find_model(wanted: Workflow) -> OwnModel:
    """The model that is named, or given."""
    given = value_of(wanted.model, "model")
    if not isinstance(given, OwnModel):
        return OwnModel(find_model(given))
    if given.network is not None and wanted.weights is not None:
        raise WorkflowError("weights belong to a model of the catalog, and model is a network; load them into it.")
    spec = given.spec if given.network is None else replace(given.spec, int8=None)
    return replace(given, spec=with_background(spec))


def _find_spec(wanted: Workflow, model: OwnModel) -> ModelSpec:
    """The model, or two together, with what the person has changed."""
    spec = changed(
        model.spec,
        weights=wanted.weights,
        refine=wanted.refine,
        tta=wanted.tta,
        threshold=wanted.threshold,
        trust_model=wanted.trust_model,
    )
    if wanted.things is not None:
        spec = combine(spec, replace(find_model(wanted.things), tta=spec.tta, trust_model=wanted.trust_model))
    require_trust(spec)
    if model.network is None:
        for part in spec.networks:
            require_weights(part)
    if wanted.min_score is None or wanted.min_score >= spec.min_score:
        return spec
    return with_min_score(spec, wanted.min_score)


def with_min_score(spec: ModelSpec, min_score: float) -> ModelSpec:
    """The same model, and its parts, with another lowest score."""
    parts = tuple(with_min_score(part, min_score) for part in spec.parts)
    return replace(spec, min_score=min_score, parts=parts)


def _batch_size(wanted: Workflow, spec: ModelSpec, grid: TileGrid, hardware: Hardware) -> int:
    """Tiles of a forward pass: those of a block that half of a GPU holds twice; on a CPU more than one gain nothing.

    Not the memory that is free now, because a run could not be continued when that is another.
    """
    if wanted.batch_size != "auto":
        return wanted.batch_size
    if not hardware.device.startswith("cuda"):
        return 1
    if not hardware.memory:
        raise ModelError(
            f"device '{hardware.device}' is not available on this machine, so the batch size that it holds is not "
            "known; give batch_size, device cpu, or the scheduler of workers that have the device."
        )
    fitting = int(hardware.memory / 2 / IN_FLIGHT / (spec.activation_bytes * grid.tiling.size**2))
    return max(1, min(fitting, grid.block_tiles[0] * grid.block_tiles[1]))


def _open_prompts(wanted: Workflow, spec: ModelSpec, raster: Raster) -> PromptLayer | None:
    """Read prompts into the raster's pixels, for a model that can be asked."""
    if needs_words(spec) and wanted.text is None:
        raise WorkflowError(f"model '{spec.name}' segments what a text describes; give --text \"swimming pool\".")
    if wanted.prompts is None and wanted.text is None:
        return None
    if not is_promptable(spec):
        raise WorkflowError(f"model '{spec.name}' takes no prompts; choose one of the SAM family, or leave them out.")
    layer = PromptLayer() if wanted.prompts is None else read_prompts(wanted.prompts, raster.geobox)
    return replace(layer, text=wanted.text)


def _open_corrections(wanted: Workflow, spec: ModelSpec, raster: Raster, names: ClassNames) -> CorrectionLayer | None:
    """Read corrections into the raster's pixels, of a map without objects."""
    if wanted.corrections is None:
        return None
    if spec.things:
        raise WorkflowError(
            f"model '{spec.name}' tells objects apart, and corrections change classes of pixels; leave corrections "
            "out, or map with a model that labels pixels alone."
        )
    return read_corrections(wanted.corrections, raster.geobox, names.label_of)


def _block_tiles(wanted: Workflow, shape: tuple[int, int], tiling: Tiling) -> tuple[int, int]:
    """Tiles of a block: single ones where few tiles are to be shared among the workers.

    Larger blocks read less of the raster twice. The number of workers must not decide, or a run could not be continued
    with another one.
    """
    if wanted.block_tiles is None:
        whole = TileGrid(shape, tiling, (1, 1))
        return (2, 2) if whole.rows.tiles * whole.cols.tiles >= MANY_TILES else (1, 1)
    return wanted.block_tiles if isinstance(wanted.block_tiles, tuple) else (wanted.block_tiles,) * 2


def _open_input(wanted: Workflow, spec: ModelSpec) -> Raster:
    """Open the input at the model's resolution, with the model's bands."""
    if wanted.input is None:
        raise WorkflowError("the workflow names no input; give --input with a raster, a folder or a catalog name.")
    bands = wanted.bands or spec.bands
    raster = open_imagery(
        value_of(wanted.input, "input"),
        bands=bands,
        resolution=wanted.resolution or spec.resolution,
        region=_searched_region(wanted),
        zoom=wanted.zoom,
        crs=wanted.crs,
        mosaic=wanted.mosaic,
        mask=None if model_of_mask(wanted.mask) else wanted.mask,
        collections=wanted.collections,
        datetime=wanted.datetime,
        query=wanted.query,
        remove_offset=wanted.remove_offset,
        scale=wanted.scale,
        offset=wanted.offset,
        nodata=wanted.nodata,
        units=spec.units,
        on_error=wanted.on_error,
        dates=spec.dates,
    )
    if wanted.resolution is not None and raster.is_plain:
        raise WorkflowError("pixel coordinates cannot be resampled to metres; leave resolution out, or give the crs.")
    return raster


def _searched_region(wanted: Workflow) -> Region | None:
    """The region as a catalog is asked for it, where it has a place without a raster."""
    if wanted.region is None or wanted.crs == LOCAL or is_bare(wanted.region):
        return None
    return read_region(wanted.region)


def _open_region(wanted: Workflow, raster: Raster) -> RegionMask | None:
    return None if wanted.region is None else RegionMask.of(wanted.region, raster)
