"""Entry point of evaluation: opens prediction and ground truth, chooses the task, and runs it.

It knows inputs and tasks; each task has its own module.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

from odc.geo.crs import CRS
from rasterio.errors import NotGeoreferencedWarning

from geoseg.errors import EvaluationError
from geoseg.evaluation.inputs import EvaluationInput, EvaluationInputLike, find_input
from geoseg.evaluation.instance_maps import evaluate_instances
from geoseg.evaluation.kinds import look_at
from geoseg.evaluation.label_sources import NothingComparedError
from geoseg.evaluation.objects import Progress
from geoseg.evaluation.panoptic_maps import evaluate_panoptic
from geoseg.evaluation.picture import save_confusion
from geoseg.evaluation.polygon_layers import evaluate_layers
from geoseg.evaluation.report import Scored, Table
from geoseg.evaluation.semantic_maps import SemanticScores, evaluate_semantic
from geoseg.files import local_path, plain, plain_value, write_file
from geoseg.held import folder_of
from geoseg.options import EvaluationOptions, read_options
from geoseg.raster.addresses import unsigned
from geoseg.raster.options import configured
from geoseg.showing import cards
from geoseg.signatures import EvaluateArguments
from geoseg.vector import Region, RegionLike, is_bare, read_region, region_text


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a prediction is.

    Attributes
    ----------
    task : str
        What was evaluated: ``"semantic"``, ``"instance"``, ``"panoptic"`` or ``"polygons"``.
    prediction, truth : str
        As they were given.
    scores : SemanticScores, InstanceScores, PanopticMapScores or PolygonScores
        The numbers, of the task.
    settings : EvaluationOptions
        Options.
    """

    task: str
    prediction: str
    truth: str
    scores: Scored
    settings: EvaluationOptions

    def __repr__(self) -> str:
        scores = {key: value for key, value in plain(self.scores.summary()).items() if isinstance(value, float)}
        shown = ", ".join(f"{key} {value:.3f}" for key, value in list(scores.items())[:4])
        return f"Evaluation({self.task}: '{self.prediction}' beside '{self.truth}'; {shown})"

    def _repr_html_(self) -> str:
        tables = [((table.title, *table.columns[1:]), [_shown(row) for row in table.rows]) for table in self.tables()]
        return cards(f"{self.task.capitalize()} evaluation of {self.prediction}", tables)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know beside the numbers."""
        notes: tuple[str, ...] = getattr(self.scores, "notes", ())
        share = self.scores.summary().get("compared", math.nan)
        if share < 1:
            notes = (*notes, f"{share:.1%} of the known truth is compared; elsewhere the prediction has no labels")
        return notes

    def summary(self) -> dict[str, Any]:
        """Every number by name, as JSON can hold it: None where there is none."""
        head = {"task": self.task, "prediction": self.prediction, "truth": self.truth, "geoseg": version("geoseg")}
        given = self.settings.model_dump(exclude_defaults=True)
        result: dict[str, Any] = plain(
            {**head, "settings": given, "notes": self.notes, "scores": self.scores.summary()}
        )
        return result

    def tables(self) -> list[Table]:
        """The numbers for people."""
        return self.scores.tables()

    def write_json(self, path: str | Path) -> None:
        """Write `summary` to a file.

        Raises
        ------
        OutputError
            The file cannot be written.
        """
        text = unsigned(json.dumps(self.summary(), indent=2, allow_nan=False)) + "\n"
        write_file(local_path(path, "json"), lambda unfinished: unfinished.write_text(text))

    def write_confusion(self, path: str | Path) -> None:
        """Draw the confusion of classes, as a PNG.

        Raises
        ------
        EvaluationError
            The task has no classes of pixels.
        OutputError
            The file cannot be written.
        """
        if not isinstance(self.scores, SemanticScores):
            raise EvaluationError(f"the task '{self.task}' has no confusion; it is one of the task 'semantic'")
        save_confusion(self.scores.pixels, local_path(path, "confusion"))


def _shown(row: Sequence[Any]) -> list[str]:
    """Cells as text; a share has three digits."""
    return ["" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]


Evaluate = Callable[[EvaluationInput, EvaluationInput, EvaluationOptions, Region | None, Progress | None], Scored]
"""Truth, prediction, options, region and progress to scores."""

_TASKS: Mapping[str, Evaluate] = MappingProxyType(
    {
        "semantic": evaluate_semantic,
        "instance": evaluate_instances,
        "panoptic": evaluate_panoptic,
        "polygons": lambda truth, prediction, settings, region, _: evaluate_layers(truth, prediction, settings, region),
    }
)


@configured()
def evaluate(
    prediction: EvaluationInputLike,
    truth: EvaluationInputLike,
    *,
    progress: Progress | None = None,
    **settings: Unpack[EvaluateArguments],
) -> Evaluation:
    """Evaluate a prediction against ground truth, from files of any size or from objects.

    Parameters
    ----------
    prediction, truth : path, DataArray, DatasetReader, GeoDataFrame, GeoSeries or RunResult
        Rasters of classes or of numbers of objects, polygons, or a run or its folder. A prediction on
        another grid than the truth's is brought onto it by the nearest pixel.
    progress : callable, optional
        Called with the number of windows that are done, and that of all.
    **settings
        Options of an evaluation (docs/options.md), such as ``task="instance"`` and ``region="aoi.geojson"``.

    Returns
    -------
    Evaluation
        The numbers.

    Raises
    ------
    GeosegError
        Something that was given cannot be used, or the two cannot be compared.
    """
    values = {key: _plain(key, value) for key, value in settings.items()}
    wanted = read_options(EvaluationOptions, values, "the evaluation")
    prediction, truth = map(folder_of, (prediction, truth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        sides = (
            find_input(truth, "truth", wanted.truth_instances),
            find_input(prediction, "prediction", wanted.instances),
        )
        region = None if wanted.region is None else read_region(wanted.region, crs=bare_crs(wanted.region, *sides))
        task = wanted.task or find_task(*sides)
        try:
            scores = _TASKS[task](*sides, wanted, region, progress)
        except NothingComparedError:
            if wanted.task is not None or task != "panoptic":
                raise
            task = "instance"  # a model of objects has found none in one of them
            scores = _TASKS[task](*sides, wanted, region, progress)
    return Evaluation(task, sides[1].path, sides[0].path, scores, wanted)


def _plain(key: str, value: Any) -> Any:
    """An option as text: paths and regions."""
    return region_text(value) if key == "region" and value is not None else plain_value(value, key)


def bare_crs(region: RegionLike, *sides: EvaluationInput) -> CRS | None:
    """The CRS of a geometry that says none: that of the first raster, the truth's before the prediction's."""
    rasters = (raster for side in sides for raster in (side.labels, side.instances) if raster is not None)
    return next((raster.crs for raster in rasters), None) if is_bare(region) else None


def find_task(truth: EvaluationInput, prediction: EvaluationInput) -> str:
    """Find the task that two inputs are meant for.

    Both with labels and instances: panoptic. Features, and something that has features: polygons. Objects without
    labels: instance. Else names and values of the rasters say whether they hold classes or numbers of objects.

    Raises
    ------
    EvaluationError
        A raster may hold either.
    """
    sides = (truth, prediction)
    if all(side.is_panoptic for side in sides):
        return "panoptic"
    if any(side.is_layer for side in sides) and all(side.layer is not None for side in sides):
        return "polygons"
    if any(side.labels is None and side.instances is not None for side in sides):
        return "instance"
    looks = {side.name: look_at(side.labels) for side in sides if side.labels is not None and not side.is_panoptic}
    kinds = [look.kind for look in looks.values()]
    if any(look.kind == "objects" and look.is_sure for look in looks.values()) or set(kinds) == {"objects"}:
        return "instance"
    unsure = {name: look for name, look in looks.items() if not look.is_sure}
    classes = {value for look in looks.values() if look.kind == "classes" for value in look.values}
    if all(look.is_byte or (look.kind is None and look.values <= classes) for look in unsure.values()):
        return "semantic"
    raise EvaluationError(
        f"{next(iter(unsure))} may hold classes or object ids; give --task semantic or --task instance"
    )
