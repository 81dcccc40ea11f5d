"""What a network is trained for: what it must answer, how wrong an answer is, and how good the network is in the end.

A goal knows labels, losses and scores of its task; the loop that uses it knows none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor, nn

from geoseg.evaluation import IGNORE, Matches, Scores, confusion, match_instances
from geoseg.models import wrap
from geoseg.models.separating import scoring_spec, separate
from geoseg.models.spec import ModelSpec
from geoseg.models.watershed import Watershed
from geoseg.training.calibrating import HeldOutPixels, HeldOutSample, joined
from geoseg.training.losses import object_loss, segmentation_loss
from geoseg.training.recipe import Recipe
from geoseg.training.sampling import Batch
from geoseg.training.scenes import BACKGROUND, LabelledImage
from geoseg.training.teacher import predict_image, predict_scores

Found = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float64]]
"""Objects of an image: class indices uint8 (y, x), the number of classes where there is none; their numbers int64 (y,
x), 0 = none; and how sure each number is, from 1 on, 0 to 1."""

Targets = dict[str, Any]
"""What is to be answered on a batch: tensors on the CPU, or lists and dictionaries of them, by name."""

NO_OBJECT = 1 << 40
"""Larger than any number of an object; SciPy's filters compute in float64, which holds it."""


@dataclass(frozen=True)
class Site:
    """How good a network is on the held-out part of one image.

    Attributes
    ----------
    name : str
        The image's.
    scores : Scores
        Of its pixels.
    objects : Matches or None
        Of its objects at an IoU of 0.5.
    """

    name: str
    scores: Scores
    objects: Matches | None = None

    def __add__(self, other: Site) -> Site:
        """Both, as one image."""
        objects = self.objects if other.objects is None or self.objects is None else self.objects + other.objects
        return Site(self.name, Scores(self.scores.counts + other.scores.counts, self.scores.names), objects)


@dataclass(frozen=True)
class HeldOutEvaluation:
    """How good a network is on held-out labels.

    Attributes
    ----------
    score : float
        What chooses the best epoch, higher is better.
    scores : Scores
        Of all pixels.
    sites : tuple of Site
        Image by image.
    by_layer : tuple of Scores
        Of the pixels that each label layer decided.
    pixels : HeldOutPixels or None
        Probabilities of some of them, where classes exclude each other.
    """

    score: float
    scores: Scores
    sites: tuple[Site, ...]
    by_layer: tuple[Scores, ...]
    pixels: HeldOutPixels | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The scores that stand in an entry, by name; IoU of the classes that truly occur."""
        scores, objects = self.scores, self.objects
        per_class = {f"iou_{name}": value for name, value in scores.per_class().items()}
        if objects is None:
            return {"mean_iou": scores.mean_iou, "agreement": scores.accuracy, **per_class}
        found = {"f1": objects.f1, "precision": objects.precision, "recall": objects.recall}
        per_class.pop("iou_none", None)
        return {**found, "average_precision": objects.average_precision, **per_class}

    @property
    def objects(self) -> Matches | None:
        """Of all objects; None for semantic segmentation."""
        found = [site.objects for site in self.sites if site.objects is not None]
        if not found:
            return None
        total = found[0]
        for item in found[1:]:
            total = total + item
        return total


def pool(evaluations: Sequence[HeldOutEvaluation]) -> HeldOutEvaluation:
    """Add up evaluations of different pixels; parts of one image are one again."""
    sites: dict[str, Site] = {}
    for site in (site for item in evaluations for site in item.sites):
        sites[site.name] = site if site.name not in sites else sites[site.name] + site
    names = evaluations[0].scores.names
    scores = _summed([item.scores for item in evaluations], names)
    layers = zip_longest(*(item.by_layer for item in evaluations))
    by_layer = tuple(_summed([item for item in layer if item is not None], names) for layer in layers)
    return HeldOutEvaluation(_score(scores, tuple(sites.values())), scores, tuple(sites.values()), by_layer)


def _summed(scores: Sequence[Scores], names: tuple[str, ...]) -> Scores:
    none = np.zeros((len(names), len(names)), np.int64)
    return Scores(np.sum([none, *(item.counts for item in scores)], axis=0), names)


def _score(scores: Scores, sites: Sequence[Site]) -> float:
    """Mean IoU of pixels, or the mean score of images with objects; NaN where nothing was evaluated."""
    if all(site.objects is None for site in sites):
        return scores.mean_iou
    return float(np.mean([_object_score(site.scores, site.objects) for site in sites if site.objects is not None]))


class Goal(Protocol):
    """One task of training."""

    def targets(self, batch: Batch) -> Targets:
        """What the network is to answer on a batch; made where windows are drawn, maybe in another process."""

    def loss(self, network: nn.Module, inputs: Tensor, targets: Targets) -> Tensor:
        """How wrong the network is on windows whose scaled pixels are ``inputs``, on its device."""

    def evaluate(self, network: nn.Module, scenes: Sequence[LabelledImage]) -> HeldOutEvaluation:
        """How good the network, in evaluation mode, is on held-out labels."""

    def evaluate_each(
        self, network: nn.Module, scenes: Sequence[LabelledImage], settings: Sequence[Watershed | None]
    ) -> list[HeldOutEvaluation]:
        """How good it is with each setting that makes objects of scores; the settings are all None without such."""


class SemanticGoal:
    """A class for every pixel.

    Parameters
    ----------
    recipe : Recipe
        Loss and class weights.
    spec : ModelSpec
        The model.
    """

    def __init__(self, recipe: Recipe, spec: ModelSpec) -> None:
        self._recipe, self._spec = recipe, spec

    def targets(self, batch: Batch) -> Targets:
        """See `Goal.targets`: ``labels`` as in the batch."""
        return {"labels": torch.from_numpy(batch.labels)}

    def loss(self, network: nn.Module, inputs: Tensor, targets: Targets) -> Tensor:
        """See `Goal.loss`."""
        truth = targets["labels"].to(inputs.device).long()
        weights = class_weights(self._recipe, inputs.device)
        return segmentation_loss(network(inputs).float(), truth, self._recipe.loss, weights)

    def evaluate(self, network: nn.Module, scenes: Sequence[LabelledImage]) -> HeldOutEvaluation:
        """See `Goal.evaluate`: the score is the mean IoU of all held-out pixels."""
        model, count = wrap(network, self._spec, device_of(network)), len(self._spec.classes)
        names, sites, kept = tuple(self._spec.class_names), list[Site](), list[HeldOutPixels]()
        by_layer = [np.zeros((count, count), np.int64) for _ in range(_layers(scenes))]
        for scene, judged in _judged(scenes):
            sample = HeldOutSample(scene.labels, judged)
            classes, _ = predict_image(model, scene.pixels, scene.mask, judged, sample.look)
            kept.append(sample.pixels())
            sites.append(Site(scene.name, Scores(confusion(scene.labels[judged], classes[judged], count), names)))
            for layer, counts in enumerate(by_layer):
                here = judged & (scene.layers == layer)
                counts += confusion(scene.labels[here], classes[here], count)
        scores = _summed([site.scores for site in sites], names)
        layers = tuple(Scores(item, names) for item in by_layer)
        return HeldOutEvaluation(scores.mean_iou, scores, tuple(sites), layers, joined(kept) if kept else None)

    def evaluate_each(
        self, network: nn.Module, scenes: Sequence[LabelledImage], settings: Sequence[Watershed | None]
    ) -> list[HeldOutEvaluation]:
        """See `Goal.evaluate_each`."""
        return [self.evaluate(network, scenes)] * len(settings)


class ObjectGoal:
    """Objects, by a network that scores them and their boundaries.

    Parameters
    ----------
    recipe : Recipe
        Loss, class weights, and the width of boundaries.
    spec : ModelSpec
        The model, with its watershed.
    """

    def __init__(self, recipe: Recipe, spec: ModelSpec) -> None:
        self._recipe, self._spec = recipe, spec

    def targets(self, batch: Batch) -> Targets:
        """See `Goal.targets`: ``objects`` as `object_targets` gives them, and where they are ``known``."""
        objects = object_targets(batch, len(self._spec.classes), self._recipe.edge)
        return {"objects": torch.from_numpy(objects), "known": torch.from_numpy(batch.labels != IGNORE)}

    def loss(self, network: nn.Module, inputs: Tensor, targets: Targets) -> Tensor:
        """See `Goal.loss`."""
        truth, known = targets["objects"].to(inputs.device).float(), targets["known"].to(inputs.device)
        named = class_weights(self._recipe, inputs.device)
        objects = torch.ones(len(self._spec.classes), device=inputs.device) if named is None else named
        weights = torch.cat([objects, objects.new_tensor([self._recipe.loss.edges])])
        return object_loss(network(inputs).float(), truth, known, self._recipe.loss, weights)

    def evaluate(self, network: nn.Module, scenes: Sequence[LabelledImage]) -> HeldOutEvaluation:
        """See `Goal.evaluate`: the score is that of `evaluate_objects`."""
        return self.evaluate_each(network, scenes, [self._spec.watershed])[0]

    def evaluate_each(
        self, network: nn.Module, scenes: Sequence[LabelledImage], settings: Sequence[Watershed | None]
    ) -> list[HeldOutEvaluation]:
        """See `Goal.evaluate_each`: an image is predicted once for all settings."""
        model = wrap(network, scoring_spec(self._spec), device_of(network))
        found: list[list[HeldOutEvaluation]] = [[] for _ in settings]
        for scene, judged in _judged(scenes):
            scores = predict_scores(model, scene.pixels, scene.mask, judged)
            for evaluations, setting in zip(found, settings, strict=True):
                painted = paint_objects(scores, setting or Watershed())
                evaluations.append(evaluate_objects(self._spec, [scene], lambda *_, painted=painted: painted))
        return [pool(evaluations) for evaluations in found]


def evaluate_objects(
    spec: ModelSpec, scenes: Sequence[LabelledImage], find: Callable[[LabelledImage, NDArray[np.bool_]], Found]
) -> HeldOutEvaluation:
    """Evaluate what finds objects: the score is the mean over images of IoU of pixels and F1 of objects, half each.

    An image without objects in which none is found scores 1.

    Parameters
    ----------
    spec : ModelSpec
        Gives the classes.
    scenes : sequence of LabelledImage
        Those without held-out labels are left out.
    find : callable
        Scene and its pixels that are evaluated, bool (y, x) -> its objects.
    """
    names, sites = (*spec.class_names, "none"), list[Site]()
    by_layer = [np.zeros((len(names), len(names)), np.int64) for _ in range(_layers(scenes))]
    for scene, judged in _judged(scenes):
        labels, instances, certain = find(scene, judged)
        truth = np.where(scene.labels == BACKGROUND, len(names) - 1, scene.labels)
        objects = Matches(*(np.empty(0, np.int64), np.empty(0), np.empty(0)), 0)
        for number in range(len(names) - 1):
            own = np.where(judged & (scene.labels == number), _numbers(scene), 0)
            found = np.where(judged & (labels == number), instances, 0)
            kept = np.unique(found[found > 0])
            objects = objects + match_instances(own, found, 0.5, certain[kept - 1])
        counts = confusion(truth[judged], labels[judged], len(names))
        sites.append(Site(scene.name, Scores(counts, names), objects))
        for layer, sums in enumerate(by_layer):
            here = judged & (scene.layers == layer)
            sums += confusion(truth[here], labels[here], len(names))
    scores, layers = _summed([site.scores for site in sites], names), tuple(Scores(item, names) for item in by_layer)
    return HeldOutEvaluation(_score(scores, sites), scores, tuple(sites), layers)


def object_targets(batch: Batch, classes: int, edge: int) -> NDArray[np.bool_]:
    """What a network of objects and boundaries is to answer.

    A pixel is at a boundary when the square of ``2 edge + 1`` px around it holds two objects, or an object and none;
    pixels without a label, such as those beyond an image, are neither.

    Parameters
    ----------
    batch : Batch
        Labels and numbers of objects.
    classes : int
        How many there are.
    edge : int
        Px.

    Returns
    -------
    NDArray
        bool, shape (n, class + 1, y, x); the last channel is the boundary.
    """
    size = (1, 2 * edge + 1, 2 * edge + 1)
    numbers, known = batch.instances.astype(np.int64), batch.labels != IGNORE
    highest = maximum_filter(np.where(known, numbers, -1), size, mode="nearest")
    lowest = minimum_filter(np.where(known, numbers, NO_OBJECT), size, mode="nearest")
    boundary = known & (highest != lowest)
    inside = [batch.labels == number for number in range(classes)]
    return np.stack([*inside, boundary], axis=1)


def paint_objects(probabilities: NDArray[np.float32], settings: Watershed) -> Found:
    """Objects of a whole image; where two classes claim a pixel, the first has it.

    Parameters
    ----------
    probabilities : NDArray
        float32, shape (class + 1, y, x), the last of boundaries.
    settings : Watershed
        Thresholds.

    Returns
    -------
    Found
        Sure is the mean probability of an object's pixels.
    """
    classes = len(probabilities) - 1
    labels = np.full(probabilities.shape[1:], classes, np.uint8)
    instances, certain = np.zeros(labels.shape, np.int64), [np.empty(0)]
    for number in range(classes):
        found = separate(probabilities[number], probabilities[-1], settings)
        free = np.where(instances > 0, 0, found).ravel()
        values, dense = np.unique(np.append(0, free), return_inverse=True)  # 0 is none, also where objects fill all
        dense = dense[1:].reshape(labels.shape)
        sizes = np.bincount(dense.ravel(), minlength=len(values))[1:]
        sums = np.bincount(dense.ravel(), probabilities[number].ravel().astype(np.float64), len(values))[1:]
        before = sum(len(item) for item in certain)
        instances[dense > 0] = dense[dense > 0] + before
        labels[dense > 0] = number
        certain.append(sums / np.maximum(sizes, 1))
    return labels, instances, np.concatenate(certain)


def _object_score(scores: Scores, objects: Matches) -> float:
    """Score of one image; 1 where there is no object and none is found."""
    nothing = not objects.truths and not len(objects.partners)
    return 1.0 if nothing else float(np.nanmean(scores.iou[:-1]) + objects.f1) / 2


def class_weights(recipe: Recipe, device: torch.device) -> Tensor | None:
    """Weights of the classes in the cross entropy, 1 where the recipe names none."""
    named = recipe.loss.class_weights
    if not named:
        return None
    return torch.tensor([named.get(item.name, 1.0) for item in recipe.classes], device=device)


def _judged(scenes: Sequence[LabelledImage]) -> Iterator[tuple[LabelledImage, NDArray[np.bool_]]]:
    """Scenes that have held-out labels, and where."""
    for scene in scenes:
        judged = scene.held_out & scene.mask & (scene.labels != IGNORE)
        if judged.any():
            yield scene, judged


def _layers(scenes: Sequence[LabelledImage]) -> int:
    return 1 + max(int(scene.layers[scene.layers != IGNORE].max(initial=0)) for scene in scenes)


def _numbers(scene: LabelledImage) -> NDArray[np.int64]:
    """Numbers of objects; one object a class where the scene tells none apart."""
    return np.zeros(scene.labels.shape, np.int64) if scene.instances is None else scene.instances.astype(np.int64)


def device_of(network: nn.Module) -> str:
    """Name of the device that a network is on."""
    return str(next(network.parameters()).device)
