"""From a recipe to a catalog entry: scenes, network, loop, validation, files.

This is the one place that knows all parts of training; each of them knows only itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize
from shapely import box
from shapely.geometry.base import BaseGeometry
from torch import Tensor, nn

from geoseg.catalog import find_model, write_model_item
from geoseg.errors import OutputError, RegionError, TrainingError
from geoseg.evaluation import IGNORE, Scores, confusion
from geoseg.models import load_model, smp, wrap
from geoseg.models.probe import measure_cost, measure_halo
from geoseg.models.scaling import Scaler
from geoseg.models.spec import Band, ModelSpec
from geoseg.models.weights import read_state, resolve_weights
from geoseg.training import TrainResult
from geoseg.training.data import Sampler, Scene, read_image
from geoseg.training.entry import write_card, write_log, write_weights
from geoseg.training.labels import check_layers, make_labels
from geoseg.training.loop import Epoch, fit
from geoseg.training.recipe import RasterLabels, Recipe, TeacherLabels, Validation
from geoseg.training.teacher import predict_image


@dataclass(frozen=True)
class Trained:
    """What a training run ends with, before anything is written.

    Attributes
    ----------
    spec : ModelSpec
        The model, without weights file.
    weights : dict of str to Tensor
        Averaged weights of the best epoch, on the CPU.
    scores : Scores
        On the held-out labelled pixels.
    by_layer : tuple of (str, Scores)
        The same, apart by label layer.
    log : tuple of Epoch
        One entry an epoch.
    geoboxes : tuple of GeoBox
        Where the images lie.
    """

    spec: ModelSpec
    weights: dict[str, Tensor]
    scores: Scores
    by_layer: tuple[tuple[str, Scores], ...]
    log: tuple[Epoch, ...]
    geoboxes: tuple[GeoBox, ...]


def run(recipe: Recipe, folder: Path, report: Callable[[Epoch], None]) -> TrainResult:
    """Train, measure, and write the entry; see `geoseg.training.train`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror
        raise OutputError(f"output folder {folder} cannot be made ({reason}); name one that can be written") from error
    trained = fit_recipe(recipe, report)
    path = folder / f"{recipe.name}.safetensors"
    write_weights(trained.weights, path)
    write_log(trained.log, folder / "log.csv")
    spec = measured(trained.spec.with_weights(path), trained.scores, recipe)
    write_model_item(spec, folder, **_extent(trained.geoboxes))
    write_card(recipe, spec, trained.scores, trained.by_layer, folder / "README.md")
    return TrainResult(folder, spec, trained.scores, trained.by_layer, trained.log)


def measured(spec: ModelSpec, scores: Scores, recipe: Recipe) -> ModelSpec:
    """Return the spec with its scores, and with halo and cost of the network as measured.

    The halo is rounded up to a multiple of the network's down-sampling.
    """
    with _reproducible(recipe):
        cost = measure_cost(load_model(spec, recipe.device))
        halo = measure_halo(load_model(spec, recipe.device))
    metrics = {"mean_iou": scores.mean_iou, "agreement": scores.accuracy}
    metrics |= {f"iou_{name}": value for name, value in scores.per_class().items()}
    return replace(
        spec,
        metrics=tuple((name, round(value, 4)) for name, value in metrics.items()),
        halo=-(-halo // spec.multiple) * spec.multiple,
        activation_bytes=round(cost.activation_bytes, 1),
        seconds_per_mpx=round(cost.seconds_per_mpx, 3),
    )


def _extent(geoboxes: tuple[GeoBox, ...]) -> dict[str, Any]:
    """Return the bounds, in degrees, of the images that were trained on."""
    bounds = [geobox.geographic_extent.boundingbox for geobox in geoboxes]
    sides = [min(item.left for item in bounds), min(item.bottom for item in bounds)]
    sides += [max(item.right for item in bounds), max(item.top for item in bounds)]
    return {"bbox": [round(side, 6) for side in sides]}


def fit_recipe(recipe: Recipe, progress: Callable[[Epoch], None] | None = None) -> Trained:
    """Train the network of a recipe; nothing is written.

    Raises
    ------
    TrainingError
        If the labels cannot be used: beside the images, of unknown classes, or none to train or validate on.
    """
    check_layers(recipe)
    with _reproducible(recipe):
        scenes, spec = read_scenes(recipe)
        network = make_network(recipe, spec)
        device, log = torch.device(recipe.device), list[Epoch]()
        network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        rng = np.random.default_rng(recipe.seed)
        training = tuple(scene for scene in scenes if not scene.held_out.all())
        sampler = Sampler(training, recipe.window, recipe.balance, recipe.augmentation, rng)

        def validate(average: nn.Module) -> float:
            return _validate(average, spec, scenes)[0].mean_iou

        def report(epoch: Epoch) -> None:
            log.append(epoch)
            if progress is not None:
                progress(epoch)

        weights = fit(network, recipe, sampler.batch, Scaler(spec, device, torch.channels_last), validate, report)
        network.load_state_dict(weights)
        scores, by_layer = _validate(network.eval(), spec, scenes)
    names = tuple(layer_name(recipe, number) for number in range(len(recipe.labels)))
    geoboxes = tuple(scene.geobox for scene in scenes)
    cpu = {name: tensor.cpu() for name, tensor in weights.items()}
    return Trained(spec, cpu, scores, tuple(zip(names, by_layer, strict=False)), tuple(log), geoboxes)


@contextmanager
def _reproducible(recipe: Recipe) -> Iterator[None]:
    """Fix seeds and threads for a run, and give the number of threads back after it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    random.seed(recipe.seed)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def read_scenes(recipe: Recipe) -> tuple[tuple[Scene, ...], ModelSpec]:
    """Read every image with its labels; the spec's bands are those of the first image when the recipe names none.

    Raises
    ------
    TrainingError
        If there is nothing labelled to train on, or to validate on.
    """
    spec = make_spec(recipe)
    scenes, bands = [], tuple(spec.band_names)
    apart = recipe.validation.images or ()
    for number, image in enumerate([*recipe.images, *apart]):
        pixels, mask, geobox, names = read_image(recipe, image, bands)
        bands = bands or names
        held_out = np.ones(mask.shape, np.bool_) if number >= len(recipe.images) else held_out_mask(recipe, geobox)
        found = make_labels(recipe, image, number, geobox)
        labels = np.where(mask, found.labels, np.uint8(IGNORE))
        scenes.append(Scene(pixels, mask, labels, found.layers, held_out, geobox))
    if not any((scene.held_out & (scene.labels != IGNORE)).any() for scene in scenes):
        raise TrainingError(
            "no labelled pixel lies in the validation part; make 'validation' larger or move it onto labels"
        )
    named = tuple(Band(name, recipe.common_names.get(name)) for name in bands)
    return tuple(scenes), replace(spec, bands=named)


def make_spec(recipe: Recipe) -> ModelSpec:
    """Return what the trained model promises; architecture, bands and scaling of ``init`` where it is given."""
    start = find_model(recipe.init) if recipe.init is not None else None
    hyperparameters = tuple(sorted((name, _frozen(value)) for name, value in recipe.hyperparameters.items()))
    bands = tuple(Band(name, recipe.common_names.get(name)) for name in recipe.bands)
    return ModelSpec(
        name=recipe.name,
        task="semantic-segmentation",
        bands=bands or (start.bands if start else ()),
        classes=recipe.class_specs,
        scalings=recipe.scalings or (start.scalings if start else ()),
        resolution=recipe.resolution,
        tile_size=recipe.tile_size,
        multiple=start.multiple if start else 2 ** int(recipe.hyperparameters.get("encoder_depth", 5)),
        architecture=start.architecture if start else recipe.architecture,
        hyperparameters=start.hyperparameters if start else hyperparameters,
        description=recipe.title or recipe.description,
        license=recipe.license,
    )


def _frozen(value: object) -> object:
    """Return lists as tuples, so that a spec can be hashed."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def make_network(recipe: Recipe, spec: ModelSpec) -> nn.Module:
    """Build the network: random weights, or those of ``init`` wherever name and shape are the same.

    Raises
    ------
    TrainingError
        If the architecture is not one that can be trained, or nothing of ``init`` fits.
    """
    if not spec.architecture.startswith("smp."):
        raise TrainingError(f"architecture '{spec.architecture}' cannot be trained; name one such as smp.Unet")
    network = smp.build(spec)
    if recipe.init is None:
        return network
    start, own = read_state(resolve_weights(find_model(recipe.init))), network.state_dict()
    fitting = {name: tensor for name, tensor in start.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise TrainingError(f"no weight of model '{recipe.init}' fits {spec.architecture}; leave 'init' out")
    network.load_state_dict({**own, **fitting})
    return network


def held_out_mask(recipe: Recipe, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return the validation part of an image: bool, shape (y, x), True = held out.

    Raises
    ------
    RegionError
        If bounds or region miss the image.
    """
    rule, (height, width) = recipe.validation, geobox.shape
    held_out = np.zeros((height, width), np.bool_)
    if rule.images is not None:
        return held_out
    if rule.bounds is not None or rule.region is not None:
        shapes = _validation_shapes(recipe, geobox)
        burnt = rasterize(shapes, out_shape=(height, width), transform=geobox.transform, dtype="uint8")
        held_out = np.asarray(burnt, np.bool_)
        if not held_out.any():
            raise RegionError("the validation part does not overlap the images; give bounds in the CRS of the images")
        return held_out
    held_out[_side(rule, height, width)] = True
    return held_out


def _side(rule: Validation, height: int, width: int) -> tuple[slice, slice]:
    """Return the strip of a validation rule such as ``east: 0.2``, at least one pixel wide."""
    everything = slice(None)
    if rule.east is not None:
        return everything, slice(width - max(1, round(rule.east * width)), None)
    if rule.west is not None:
        return everything, slice(0, max(1, round(rule.west * width)))
    if rule.south is not None:
        return slice(height - max(1, round(rule.south * height)), None), everything
    return slice(0, max(1, round((rule.north or 0) * height))), everything


def _validation_shapes(recipe: Recipe, geobox: GeoBox) -> list[BaseGeometry]:
    """Return bounds or region as shapes in the image's CRS."""
    if recipe.validation.bounds is not None:
        return [box(*recipe.validation.bounds)]
    path = recipe.find(str(recipe.validation.region))
    frame = pyogrio.read_dataframe(path)
    if frame.crs is None or frame.empty:
        raise RegionError(f"validation region {path} has no CRS or no polygon; give a file with both")
    return list(frame.to_crs(str(geobox.crs)).geometry)


def _validate(network: nn.Module, spec: ModelSpec, scenes: tuple[Scene, ...]) -> tuple[Scores, list[Scores]]:
    """Score a network on held-out labelled pixels: all together, and for each label layer."""
    count, device = len(spec.classes), str(next(network.parameters()).device)
    layers = 1 + max(int(scene.layers[scene.labels != IGNORE].max(initial=0)) for scene in scenes)
    sums = [np.zeros((count, count), np.int64) for _ in range(layers)]
    model = wrap(network, spec, device)
    for scene in scenes:
        judged = scene.held_out & (scene.labels != IGNORE)
        if not judged.any():
            continue
        classes, _ = predict_image(model, scene.pixels, scene.mask, judged)
        for layer in range(layers):
            here = judged & (scene.layers == layer)
            sums[layer] += confusion(scene.labels[here], classes[here], count)
    names = tuple(spec.class_names)
    return Scores(np.sum(sums, axis=0), names), [Scores(item, names) for item in sums]


def layer_name(recipe: Recipe, number: int) -> str:
    """Say in words where a label layer comes from."""
    layer = recipe.labels[number]
    condition = f" where {layer.where}" if layer.where is not None else ""
    if isinstance(layer, TeacherLabels):
        return f"teacher {layer.teacher}, confidence at least {layer.min_confidence:g}{condition}"
    if isinstance(layer, RasterLabels):
        return f"label raster{condition}"
    chosen = " ".join(str(value) for value in layer.select.values())
    kind = layer.class_ if layer.class_ is not None else f"column {layer.column}"
    return f"{chosen + ' ' if chosen else ''}polygons: {kind}{condition}"
