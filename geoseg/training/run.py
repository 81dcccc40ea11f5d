"""From a recipe to a catalog entry: training, validation, files.

This is the one place that knows all parts of training; each of them knows only itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.catalog import find_model, write_model_item
from geoseg.errors import ExistingOutputError
from geoseg.files import local_path, refuse_read, refuse_to_replace, write_json
from geoseg.models import load_model
from geoseg.models.exporting import checked_export, export_model
from geoseg.models.item_document import Document
from geoseg.models.probe import measure_cost, measure_edge
from geoseg.models.running import find_device
from geoseg.models.separating import scoring_spec
from geoseg.models.spec import ModelSpec
from geoseg.training import TrainResult
from geoseg.training.calibrating import calibrate
from geoseg.training.checkpoints import Checkpoints
from geoseg.training.cross_validation import RECORD, CrossValidation, cross_validate, forget
from geoseg.training.detection import probed
from geoseg.training.diagram import DIAGRAM, write_diagram
from geoseg.training.entry import CARD, origin_of, write_card
from geoseg.training.families import family_of
from geoseg.training.fitting import Trained, fit_recipe, read_scenes, reproducible
from geoseg.training.folder import made, write_weights
from geoseg.training.log import NAME as LOG
from geoseg.training.log import Log
from geoseg.training.picture import PICTURE, write_picture
from geoseg.training.recipe import Recipe
from geoseg.training.recipe_parts import TeacherLabels
from geoseg.training.scenes import LabelledImage
from geoseg.training.watching import Watch

LEFT = (CARD, PICTURE, LOG, RECORD, DIAGRAM)
"""Files of an entry beside its item and weights."""

WIDEST = 1 / 10
"""Part of a tile that a halo may take on each side."""


def run(recipe: Recipe, folder: Path, watch: Watch) -> TrainResult:
    """Train, measure, and write the entry; see `geoseg.training.train`."""
    path, checkpoints = folder / f"{recipe.name}.safetensors", Checkpoints.of(folder, recipe)
    exported = None if recipe.export is None else checked_export(local_path(recipe.export, "export"))
    if exported is not None and exported.resolve() == path.resolve():
        raise ExistingOutputError(f"the export {exported} is a file of the entry; choose another place or ending")
    if exported is not None and not recipe.overwrite:
        refuse_to_replace(exported)
    refuse_read(path, recipe.encoder_weights, *(find_model(name).weights for name in _models(recipe)))
    origin = origin_of(recipe)  # by the end the checkout may be another
    if recipe.overwrite:
        checkpoints.remove()
        forget(folder)
    elif not checkpoints.path.exists():
        refuse_to_replace(path, path.with_suffix(".json"), *(folder / name for name in LEFT))
    with made(folder):
        trained, crossed = _train(recipe, folder, watch)
    write_weights(trained.weights, path)
    watch.stage("fitting the temperature of confidence")
    calibration = calibrate([trained.evaluation.pixels]) if crossed is None else crossed.calibration
    watch.stage("measuring the halo, and the cost of a pixel, on one core")
    spec = measured(trained.spec.with_weights(path), trained, recipe, crossed)
    temperature = None if calibration is None else calibration.temperature
    spec = replace(spec, temperature=temperature, seen_values=trained.spec.seen_values)
    watch.stage("writing the entry: item, picture, card")
    write_model_item(spec, folder, **_extent(trained.scenes))
    write_picture(recipe, trained.scenes, spec, folder / PICTURE)
    write_card(recipe, spec, trained, crossed, calibration, folder / CARD, origin)
    if calibration is not None:
        write_diagram(calibration, folder / DIAGRAM)
    if crossed is not None:
        write_json(folder / RECORD, crossed.summary())
    if exported is not None:
        export_model(Document(path.with_suffix(".json")), spec, exported)
    checkpoints.remove()
    forget(folder)
    return TrainResult(folder, spec, trained.evaluation, trained.layers, trained.log, crossed)


def _models(recipe: Recipe) -> Iterator[str]:
    """Models that a training reads: where it starts, and teachers."""
    if recipe.init is not None:
        yield recipe.init
    yield from (layer.teacher for layer in recipe.labels if isinstance(layer, TeacherLabels))


def _train(recipe: Recipe, folder: Path, watch: Watch) -> tuple[Trained, CrossValidation | None]:
    """Train by the recipe's split; or cross-validate, and train on everything by what that has chosen."""
    if not recipe.cross_validate:
        with Log(folder, tensorboard=recipe.tensorboard) as log:
            return fit_recipe(recipe, watch, Checkpoints.of(folder, recipe), log), None
    scenes, spec = read_scenes(recipe)
    watch.begin(recipe, scenes, spec, str(find_device(recipe.device)))
    crossed = cross_validate(recipe, folder, watch, (scenes, spec))
    watch.stage(f"training on everything for {crossed.steps:,} steps")
    final = crossed.final_recipe(recipe)
    data = scenes, replace(spec, watershed=crossed.watershed)
    with Log(folder, tensorboard=recipe.tensorboard) as log:
        trained = fit_recipe(final, watch, Checkpoints.of(folder, final), log, data=data)
    return replace(trained, evaluation=crossed.evaluation), crossed


def measured(spec: ModelSpec, trained: Trained, recipe: Recipe, crossed: CrossValidation | None) -> ModelSpec:
    """Return the spec with its scores, and with halo and cost of the network as measured.

    Scores of a cross-validation are the means of the folds, and the worst of the first metric.

    Both are measured on the CPU in float32, wherever it was trained: what an entry says does not depend on a GPU.
    The halo is rounded up to a multiple of the network's down-sampling. One that would be more than `WIDEST` of a tile,
    or that no tile is large enough for, is cut to that: the entry says what it leaves, and the ramp does the rest.
    """
    scoring = scoring_spec(spec) if spec.watershed else spec
    detects = family_of(recipe, spec.architecture).detects
    with reproducible(recipe):
        cost = measure_cost(load_model(spec))
        edge = measure_edge(load_model(scoring), **(probed(spec, trained.scenes) if detects else {}))
    widest = int(spec.tile_size * WIDEST) // spec.multiple * spec.multiple
    halo = widest if edge.halo is None else min(widest, -(-edge.halo // spec.multiple) * spec.multiple)
    metrics = trained.evaluation.metrics if crossed is None else crossed.headline
    return replace(
        spec,
        metrics=tuple((name, round(value, 4)) for name, value in metrics.items()),
        halo=halo,
        edge_errors=tuple((distance, float(f"{error:.2g}")) for distance, error in edge.errors.items()),
        activation_bytes=round(cost.activation_bytes, 1),
        seconds_per_mpx=round(cost.seconds_per_mpx, 3),
    )


def _extent(scenes: tuple[LabelledImage, ...]) -> dict[str, Any]:
    """The bounds, in degrees, of the images that were trained on; nothing when some are not placed on the ground."""
    if any(scene.geobox.crs is None for scene in scenes):
        return {}
    bounds = [scene.geobox.geographic_extent.boundingbox for scene in scenes]
    sides = [min(item.left for item in bounds), min(item.bottom for item in bounds)]
    sides += [max(item.right for item in bounds), max(item.top for item in bounds)]
    return {"bbox": [round(side, 6) for side in sides]}
