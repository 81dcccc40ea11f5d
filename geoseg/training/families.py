"""What can be trained: how the network of an architecture is built, and the goal of each of its tasks.

It knows names of architectures and of tasks; adding a family to training is adding a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import nn

from geoseg.errors import TrainingError
from geoseg.models import maskrcnn, smp
from geoseg.models.separating import scoring_spec
from geoseg.models.spec import ModelSpec
from geoseg.training.detection import MaskRCNNGoal
from geoseg.training.goals import Goal, ObjectGoal, SemanticGoal
from geoseg.training.recipe import OBJECTS, Recipe
from geoseg.training.recipe_parts import InstanceLabels, PolygonLabels

SCORED = ("loss", "edge", "watershed")
"""Keys of a recipe that networks with a score for each pixel have a use for."""


@dataclass(frozen=True)
class Family:
    """Architectures that are trained alike.

    Attributes
    ----------
    build : callable
        Spec -> network with random weights.
    goals : mapping
        What the network is trained for, by its task.
    detects : bool
        Whether it finds objects itself, rather than scoring pixels.
    shift_scores : callable, optional
        Adds a number, float32 (class,), to the scores of a network; without it `logit_adjustment` is refused.
    """

    build: Callable[[ModelSpec], nn.Module]
    goals: Mapping[str, Callable[[Recipe, ModelSpec], Goal]]
    detects: bool = False
    shift_scores: Callable[[nn.Module, torch.Tensor], None] | None = None


def _build_scoring(spec: ModelSpec) -> nn.Module:
    """A network of segmentation-models-pytorch, with one score more where boundaries are learnt."""
    return smp.build(scoring_spec(spec) if spec.watershed else spec)


DETECTOR = Family(maskrcnn.build, {OBJECTS: MaskRCNNGoal}, detects=True)

FAMILIES = {
    "smp.*": Family(
        _build_scoring,
        {"semantic-segmentation": SemanticGoal, OBJECTS: ObjectGoal},
        shift_scores=smp.shift_scores,
    ),
    "torchvision.MaskRCNN": DETECTOR,
    "torchvision.maskrcnn_*": DETECTOR,
}
"""What can be trained, by the pattern of its architecture's name."""


def family_of(recipe: Recipe, architecture: str) -> Family:
    """The family of an architecture that a recipe trains.

    Raises
    ------
    TrainingError
        The architecture cannot be trained, does not do the recipe's task, or has no use for some of its keys.
    """
    family = next((item for pattern, item in FAMILIES.items() if fnmatchcase(architecture, pattern)), None)
    if family is None:
        raise TrainingError(
            f"architecture '{architecture}' cannot be trained; name one such as smp.Unet or torchvision.MaskRCNN"
        )
    if recipe.task not in family.goals:
        raise TrainingError(
            f"architecture '{architecture}' cannot be trained for {recipe.task}; set `task: {next(iter(family.goals))}`"
        )
    if recipe.logit_adjustment and family.shift_scores is None:
        raise TrainingError(f"recipe key 'logit_adjustment' does not apply to {architecture}; leave it out")
    if family.detects:
        _check_detector(recipe, architecture)
    return family


def _check_detector(recipe: Recipe, architecture: str) -> None:
    """Refuse a recipe with keys that mean nothing to a detector, or without objects."""
    needless = [key for key in SCORED if key in recipe.model_fields_set]
    if needless:
        raise TrainingError(
            f"recipe key '{needless[0]}' does not apply to {architecture}, which has losses and masks of its own; "
            "leave it out"
        )
    if not any(isinstance(layer, InstanceLabels | PolygonLabels) for layer in recipe.labels):
        raise TrainingError(
            f"labels have no instances, which {architecture} needs; add a layer of instances or polygons"
        )
