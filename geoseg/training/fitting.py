"""From a recipe to a trained network: scenes with labels, the split, the network, the loop.

It writes nothing but checkpoints and the log; `geoseg.training.run` makes an entry of what it returns.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyproj
import torch
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from shapely import box
from torch import Tensor, nn

from geoseg.catalog import find_model
from geoseg.errors import RegionError, TrainingError
from geoseg.evaluation import IGNORE, Scores
from geoseg.grid import Window
from geoseg.models.running import find_device
from geoseg.models.scaling import Scaler
from geoseg.models.spec import HUB, Band, ModelSpec
from geoseg.models.state_dicts import read_state
from geoseg.models.weights import resolve_weights
from geoseg.training.checkpoints import Checkpoints
from geoseg.training.encoders import encoder_of, load_encoder
from geoseg.training.families import family_of
from geoseg.training.goals import Goal, HeldOutEvaluation
from geoseg.training.labels import LabelMap, check_layers, check_polygons, check_shown, make_labels
from geoseg.training.loading import batches
from geoseg.training.log import Log
from geoseg.training.loop import Epoch, TrainingState, fit
from geoseg.training.recipe import Recipe
from geoseg.training.recipe_parts import InstanceLabels, RasterLabels, TeacherLabels, Validation
from geoseg.training.sampling import Sampler
from geoseg.training.scenes import BACKGROUND, LabelledImage, content_of, image_name, placed, read_image
from geoseg.training.watching import Watch
from geoseg.vector.regions import Region, in_crs_of, read_region

SAMPLE = 250_000
"""Pixels of a scene that its usual numbers are taken from."""

Data = tuple[tuple[LabelledImage, ...], ModelSpec]
"""Scenes with their split, and what the model promises."""

NO_EVALUATION = HeldOutEvaluation(math.nan, Scores(np.zeros((0, 0), np.int64), ()), (), ())
"""Of a network that was trained on everything."""


@dataclass(frozen=True)
class Trained:
    """What a training run ends with, before anything is written.

    Attributes
    ----------
    spec : ModelSpec
        The model, without weights file.
    weights : dict of str to Tensor
        Averaged weights of the best epoch, on the CPU.
    evaluation : HeldOutEvaluation
        On the held-out labelled pixels.
    layers : tuple of str
        Names of the label layers.
    log : tuple of Epoch
        One entry an epoch.
    scenes : tuple of LabelledImage
        The images.
    """

    spec: ModelSpec
    weights: dict[str, Tensor]
    evaluation: HeldOutEvaluation
    layers: tuple[str, ...]
    log: tuple[Epoch, ...]
    scenes: tuple[LabelledImage, ...]


def fit_recipe(
    recipe: Recipe,
    watch: Watch | None = None,
    checkpoints: Checkpoints | None = None,
    log: Log | None = None,
    *,
    data: Data | None = None,
    keep: Callable[[int, nn.Module], None] | None = None,
    fold: str = "",
) -> Trained:
    """Train the network of a recipe; nothing is written but the log and the checkpoints.

    Parameters
    ----------
    recipe : Recipe
        What to do.
    watch : Watch, optional
        What is told of steps and epochs.
    checkpoints, log : optional
        Where the run stands, and its epochs, are written.
    data : (tuple of LabelledImage, ModelSpec), optional
        Scenes, whose ``held_out`` is the split, in place of the recipe's. Where nothing is held out, all steps are done
        and the last weights count.
    keep : callable, optional
        Called with the steps and the averaged network after each epoch.
    fold : str
        Name of what is held out, in a cross-validation.

    Raises
    ------
    TrainingError
        If the labels cannot be used: beside the images, of unknown classes, or none to train or validate on.
    """
    check_layers(recipe)
    watch = watch or Watch()
    with reproducible(recipe):
        scenes, spec = data or read_scenes(recipe)
        if data is None:
            watch.begin(recipe, scenes, spec, str(find_device(recipe.device)))
        is_validated = any(scene.held_out.any() for scene in scenes)
        network = make_network(recipe, spec)
        sampler = _sampler(recipe, scenes)
        fitting, goal = _begun(network, recipe, spec)
        if checkpoints is not None:
            checkpoints = replace(checkpoints, content=content_of(scenes))
        epochs = _resumed(fitting, checkpoints)
        if log is not None:
            log.begin(epochs)

        def report(epoch: Epoch) -> None:
            epochs.append(epoch)
            if keep is not None:
                keep(epoch.step, fitting.average)
            if checkpoints is not None:
                checkpoints.write({**fitting.state(), "epochs": [asdict(item) for item in epochs]})
            if log is not None:
                log.add(epoch)
            watch.epoch(replace(epoch, fold=fold), recipe.steps)

        numbers = range(fitting.step, recipe.steps)
        drawn = batches(sampler, goal, size=recipe.batch_size, numbers=numbers, loaders=recipe.loaders)
        validate = (lambda average: goal.evaluate(average, scenes).score) if is_validated else None
        with watch.steps(recipe, fitting.step, fold) as told:
            weights = fit(fitting, drawn, validate, report, told)
        network.load_state_dict(weights)
        adjust(network, recipe, spec)
        evaluation = NO_EVALUATION
        if is_validated and keep is None:  # a fold is evaluated later
            watch.stage("evaluating the best epoch on what was held out")
            evaluation = goal.evaluate(network.eval(), scenes)
    layers = tuple(layer_name(recipe, number) for number in range(len(recipe.labels)))
    cpu = {name: tensor.cpu() for name, tensor in network.state_dict().items()}
    return Trained(spec, cpu, evaluation, layers, tuple(epochs), scenes)


def _begun(network: nn.Module, recipe: Recipe, spec: ModelSpec) -> tuple[TrainingState, Goal]:
    """A network on its device before the first step, and what it is trained for."""
    device = find_device(recipe.device)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    goal = family_of(recipe, spec.architecture).goals[recipe.task](recipe, spec)
    return TrainingState(network, recipe, goal, Scaler(spec, device, torch.channels_last)), goal


def _sampler(recipe: Recipe, scenes: Sequence[LabelledImage]) -> Sampler:
    """What draws windows from the scenes that are not held out whole."""
    training = tuple(scene for scene in scenes if not scene.held_out.all())
    return Sampler(training, recipe.window, recipe.balance, recipe.augmentation, recipe.seed, recipe.scene_balance)


def _resumed(fitting: TrainingState, checkpoints: Checkpoints | None) -> list[Epoch]:
    """Take a training to where it was interrupted, and return the epochs that are done; none where it begins."""
    state = checkpoints.read() if checkpoints else None
    if state is None:
        return []
    epochs = [Epoch(**epoch) for epoch in state.pop("epochs")]
    fitting.resume(state)
    return epochs


def adjust(network: nn.Module, recipe: Recipe, spec: ModelSpec) -> None:
    """Add the recipe's `logit_adjustment` to the scores of a trained network."""
    shift_scores = family_of(recipe, spec.architecture).shift_scores
    if recipe.logit_adjustment and shift_scores is not None:
        shifts = [recipe.logit_adjustment.get(item.name, 0.0) for item in recipe.classes]
        shift_scores(network, torch.tensor(shifts, device=next(network.parameters()).device))


@contextmanager
def reproducible(recipe: Recipe) -> Iterator[None]:
    """Fix seeds and threads for a run; afterwards threads and random numbers of the program are as they were."""
    threads, state = torch.get_num_threads(), random.getstate()
    torch.set_num_threads(recipe.threads)
    try:
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            random.seed(recipe.seed)
            yield
    finally:
        torch.set_num_threads(threads)
        random.setstate(state)


def read_scenes(recipe: Recipe) -> Data:
    """Read every image with its labels; the spec's bands are those of the first image when the recipe names none.

    The split is that of ``validation``; with ``cross_validate`` nothing is held out.

    Raises
    ------
    TrainingError
        If there is nothing labelled to train on, or to validate on, or a window is larger than every image.
    """
    spec = make_spec(recipe)
    scenes, maps, bands = list[LabelledImage](), list[LabelMap](), tuple(spec.band_names)
    for number, image in enumerate([*recipe.images, *recipe.validation_images]):
        pixels, mask, geobox, names = read_image(recipe, image, bands, spec=spec)
        bands = bands or names
        found = make_labels(recipe, image, number, geobox)
        labels = np.where(mask, found.labels, np.uint8(IGNORE))
        instances = found.instances if recipe.finds_objects else None
        held_out = np.full(mask.shape, number >= len(recipe.images) and not recipe.cross_validate, np.bool_)
        if recipe.validation is not None and number < len(recipe.images) and not recipe.cross_validate:
            held_out = held_out_mask(recipe, recipe.validation, geobox)
        maps.append(found)
        scenes.append(LabelledImage(image_name(image), pixels, mask, labels, found.layers, held_out, geobox, instances))
    scenes = _named_apart(scenes)
    check_polygons(recipe, [scene.name for scene in scenes], maps)
    if not recipe.cross_validate:
        check_split(recipe, scenes)
    widest = max((max(scene.mask.shape) for scene in scenes if not scene.held_out.all()), default=recipe.window)
    if recipe.window > widest:
        raise TrainingError(
            f"'window' is {recipe.window} px and the largest image has {widest}; give a window that fits into an image"
        )
    check_shown(recipe, scenes)
    ranges = spec.value_range if spec.scalings or spec.value_range else (_spread(scenes),)
    seen = _seen_values(scenes)
    return tuple(scenes), replace(spec, bands=_bands(recipe, bands, spec.bands), value_range=ranges, seen_values=seen)


def _named_apart(scenes: list[LabelledImage]) -> list[LabelledImage]:
    """Give scenes whose files have one name numbers behind it."""
    names = [scene.name for scene in scenes]
    return [
        replace(scene, name=f"{scene.name} ({number})") if names.count(scene.name) > 1 else scene
        for number, scene in enumerate(scenes, start=1)
    ]


def check_split(recipe: Recipe, scenes: Sequence[LabelledImage]) -> None:
    """Refuse a split that holds out nothing that a network can be evaluated by."""
    if not any(scene.held_out.any() for scene in scenes):
        raise RegionError("the validation part does not overlap the images; give bounds in the CRS of the images")
    what, last = ("object", BACKGROUND) if recipe.finds_objects else ("labelled pixel", IGNORE)
    if not any((scene.held_out & (scene.labels < last)).any() for scene in scenes):
        raise TrainingError(f"no {what} lies in the validation part; make 'validation' larger or move it onto labels")


def _spread(scenes: Sequence[LabelledImage]) -> tuple[float, float]:
    """Between which numbers most pixels of all bands lie, where no scaling says what imagery a model is for."""
    limits = [np.percentile(sample, (1, 99)) for sample in _samples(scenes) if sample.size]
    low, high = float(min(item[0] for item in limits)), float(max(item[1] for item in limits))
    return float(f"{low:.3g}"), float(f"{high if high > low else low + 1:.3g}")


def _samples(scenes: Sequence[LabelledImage]) -> list[NDArray[Any]]:
    """Regularly spaced valid pixels of each scene, (band, pixel)."""
    samples = []
    for scene in scenes:
        every = math.ceil(math.sqrt(scene.mask.size / SAMPLE))
        kept = slice(None, None, every), slice(None, None, every)
        samples.append(scene.pixels[:, *kept][:, scene.mask[kept]])
    return samples


def _seen_values(scenes: Sequence[LabelledImage]) -> tuple[tuple[float, float, float], ...]:
    """Quantiles of 2, 50 and 98 % of each band of all scenes that are trained on; nothing where none has data."""
    samples = _samples([scene for scene in scenes if not scene.held_out.all()])
    pixels = np.concatenate(samples, axis=1) if samples else np.empty((0, 0))
    if not pixels.shape[1]:
        return ()
    found = np.percentile(pixels, (2, 50, 98), axis=1).T
    return tuple((float(f"{low:.4g}"), float(f"{middle:.4g}"), float(f"{high:.4g}")) for low, middle, high in found)


def make_spec(recipe: Recipe) -> ModelSpec:
    """Return what the trained model promises; architecture, bands and scaling of ``init`` where it is given."""
    start = find_model(recipe.init) if recipe.init is not None else None
    hyperparameters = tuple(sorted((name, _frozen(value)) for name, value in recipe.hyperparameters.items()))
    known = start.bands if start and not recipe.scalings else ()
    architecture = start.architecture if start else recipe.architecture
    detects = family_of(recipe, architecture).detects
    return ModelSpec(
        name=recipe.name,
        task=recipe.task,
        bands=_bands(recipe, recipe.bands, known) or (start.bands if start else ()),
        classes=recipe.class_specs,
        scalings=recipe.scalings or (start.scalings if start else ()),
        value_range=start.value_range if start and not recipe.scalings else (),
        resolution=recipe.resolution,
        tile_size=recipe.tile_size,
        multiple=start.multiple if start else 2 ** int(recipe.hyperparameters.get("encoder_depth", 5)),
        architecture=architecture,
        hyperparameters=start.hyperparameters if start else hyperparameters,
        activation="none" if detects else "sigmoid" if recipe.finds_objects else "softmax",
        watershed=None if detects else recipe.watershed_settings,
        description=recipe.title or recipe.description,
        license=recipe.license,
    )


def _bands(recipe: Recipe, names: Sequence[str], known: Sequence[Band]) -> tuple[Band, ...]:
    """Bands by name, with the units of those that are known, and the recipe's common names."""
    units = {band.name: band for band in known}
    return tuple(replace(units.get(name, Band(name)), common_name=recipe.common_names.get(name)) for name in names)


def _frozen(value: object) -> object:
    """Return lists as tuples, so that a spec can be hashed."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def make_network(recipe: Recipe, spec: ModelSpec) -> nn.Module:
    """Build the network: random weights, or those of ``init`` wherever name and shape are the same.

    Raises
    ------
    TrainingError
        If the architecture is not one that can be trained, or nothing of ``init`` fits or its weights are no file.
    """
    network = family_of(recipe, spec.architecture).build(spec)
    if recipe.init is None:
        load_encoder(network, recipe, len(spec.bands))
        return network
    model = find_model(recipe.init)
    if model.weights is None or model.weights.startswith(HUB):
        raise TrainingError(
            f"init: the weights of model '{recipe.init}' are not a file ({model.weights or 'none ship'}); name a model "
            "whose entry has one, or leave 'init' out"
        )
    start, own = read_state(resolve_weights(model)), network.state_dict()
    fitting = {name: tensor for name, tensor in start.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise TrainingError(f"no weight of model '{recipe.init}' fits {spec.architecture}; leave 'init' out")
    network.load_state_dict({**own, **fitting})
    if recipe.freeze_encoder:
        kept = encoder_of(network, recipe, "freeze_encoder").state_dict()
        missing = [name for name in own if name.partition("encoder.")[2] in kept and name not in fitting]
        if missing:
            raise TrainingError(
                f"{len(missing)} tensors of the encoder are not in model '{recipe.init}', such as {missing[0]}, and "
                "freeze_encoder would keep them random; give its bands and encoder, or leave it out"
            )
    return network


def held_out_mask(recipe: Recipe, rule: Validation, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return the validation part of an image: bool, shape (y, x), True = held out.

    Raises
    ------
    RegionError
        The region has no place in the image's CRS.
    """
    grid = placed(geobox)
    if rule.bounds is None and rule.region is None:
        held_out = np.zeros(geobox.shape, np.bool_)
        if rule.images is None:
            held_out[_side(rule, grid)] = True
        return held_out
    crs: pyproj.CRS = grid.crs.proj  # type: ignore[union-attr]  # what is placed has one
    if rule.bounds is not None:
        region = Region(box(*rule.bounds), crs)
    else:
        own = crs if geobox.crs is None else None
        region = in_crs_of(read_region(recipe.find(str(rule.region)), crs=own), grid)
    return region.mask(Window(0, 0, *grid.shape), grid.transform)


SIDES = {"north": (0, 1), "south": (0, -1), "east": (1, 0), "west": (-1, 0)}
"""Directions on the ground that a share of an image may lie at."""


def _side(rule: Validation, geobox: GeoBox) -> tuple[slice, slice]:
    """Return the strip of a validation rule such as ``east: 0.2``, at least one pixel wide.

    It lies along the side of the image whose direction on the ground is the nearest: of a south-up raster the first
    rows are south.
    """
    name, share = next((name, share) for name in SIDES if (share := getattr(rule, name)) is not None)
    transform = geobox.transform
    outward = {(1, 1): (transform.a, transform.d), (0, 1): (transform.b, transform.e)}  # to higher columns and rows
    outward |= {(axis, 0): (-x, -y) for (axis, _), (x, y) in outward.items()}
    axis, is_last = max(outward, key=lambda side: np.dot(outward[side], SIDES[name]) / np.hypot(*outward[side]))
    length = geobox.shape[axis]
    count = max(1, round(share * length))
    strip = [slice(None), slice(None)]
    strip[axis] = slice(length - count, None) if is_last else slice(0, count)
    return strip[0], strip[1]


def layer_name(recipe: Recipe, number: int) -> str:
    """Say in words where a label layer comes from."""
    layer = recipe.labels[number]
    condition = f" where {layer.where}" if layer.where is not None else ""
    if isinstance(layer, TeacherLabels):
        return f"teacher {layer.teacher}, confidence at least {layer.min_confidence:g}{condition}"
    if isinstance(layer, RasterLabels):
        return f"label raster{condition}"
    if isinstance(layer, InstanceLabels):
        return f"objects: {layer.class_}{condition}"
    chosen = " ".join(str(value) for value in layer.select.values())
    kind = layer.class_ if layer.class_ is not None else f"column {layer.column}"
    return f"{chosen + ' ' if chosen else ''}polygons: {kind}{condition}"
