"""Training: from imagery with labels to a model in the catalog.

`train` reads a recipe and leaves a catalog entry: weights (safetensors), a STAC item with the MLM extension, a card,
and the log. Importing this package does not import torch; calling `train` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from geoseg.errors import InputTypeError
from geoseg.files import local_path, plain_value
from geoseg.options import TrainOptions, read_options
from geoseg.raster.options import configured
from geoseg.signatures import TrainArguments
from geoseg.training.recipe import Recipe, load_recipe, parse_recipe

if TYPE_CHECKING:
    from rich.console import Console

    from geoseg.models.spec import ModelSpec
    from geoseg.training.cross_validation import CrossValidation
    from geoseg.training.goals import HeldOutEvaluation
    from geoseg.training.loop import Epoch

__all__ = ["Recipe", "TrainResult", "load_recipe", "parse_recipe", "train"]


@dataclass(frozen=True)
class TrainResult:
    """What a training run left behind.

    Attributes
    ----------
    folder : Path
        The catalog entry: item, weights, card, log.
    spec : ModelSpec
        The trained model, as the entry describes it.
    evaluation : HeldOutEvaluation
        Scores on the held-out labels: of pixels, of objects, by image and by label layer.
    layers : tuple of str
        Names of the label layers.
    log : tuple of Epoch
        Loss and score, epoch by epoch.
    cross_validation : CrossValidation or None
        Scores fold by fold, where it was cross-validated; ``evaluation`` is then that of all folds together.
    """

    folder: Path
    spec: ModelSpec
    evaluation: HeldOutEvaluation
    layers: tuple[str, ...]
    log: tuple[Epoch, ...]
    cross_validation: CrossValidation | None = None


@configured()
def train(
    recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str],
    *,
    progress: Callable[[Epoch], None] | None = None,
    console: Console | None = None,
    **settings: Unpack[TrainArguments],
) -> TrainResult:
    """Train a model by a recipe and write it as a catalog entry.

    Parameters
    ----------
    recipe : Recipe, dict, str or path
        A recipe, its keys and values, or its YAML file.
    progress : callable, optional
        Called with an `Epoch` after every epoch.
    console : rich.console.Console, optional
        Where data, a bar of steps, epochs and stages are printed.
    **settings
        Options of `TrainOptions` (docs/options.md), such as ``data=`` and ``device=``, in place of the recipe's.

    Returns
    -------
    TrainResult

    Raises
    ------
    InputTypeError
        If the recipe is another object.
    WorkflowError
        If the recipe has an unknown key or a value that cannot be used.
    InputNotFoundError
        If an image, label or weights file does not exist.
    TrainingError
        If the labels do not overlap the images, have unknown classes, or leave nothing to train or validate on.
    OutputError
        If the entry cannot be written.
    ExistingOutputError
        If there is one already and ``overwrite`` is not given.

    Notes
    -----
    The same call continues a run that was interrupted, from the last epoch on, and gives the same weights.
    """
    values = {key: plain_value(value, key) for key, value in settings.items()}
    changes = read_options(TrainOptions, values, "the training").model_dump(exclude_unset=True)
    output = changes.pop("output", None)
    recipe = _recipe(recipe, changes)
    folder = local_path(recipe.output, "output") / recipe.name if output is None else local_path(output, "output")
    runner = import_module("geoseg.training.run")
    watch = import_module("geoseg.training.watching").Watch(progress, console)
    result: TrainResult = runner.run(recipe, folder, watch)
    watch.end(folder, result.spec)
    return result


def _recipe(given: Any, changes: dict[str, Any]) -> Recipe:
    """The recipe that a caller gives, with other values of some keys."""
    if isinstance(given, Recipe):
        return given.changed(changes)
    if isinstance(given, Mapping):
        return parse_recipe({**given, **changes})
    if isinstance(given, str | os.PathLike):
        return load_recipe(given, **changes)
    raise InputTypeError(f"a {type(given).__name__} is no recipe; give a path, a dict of its keys, or a Recipe.")
