"""Cross-validation: one network a fold, evaluated where it was not trained, and what is chosen by that.

Each fold leaves its weights and its evaluation in a folder of its own, so that a run that is interrupted goes on with
the folds, and within one with the epoch, that are not done. Folds are trained one after another, or side by side on
Dask. No fold chooses its own best epoch: all do the same number of steps, or that (early stopping) whose mean score is
best, so that what a fold is evaluated on chooses nothing for it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from distributed import KilledWorker, as_completed, get_worker
from safetensors.torch import load_file

from geoseg.engine.cluster import connect
from geoseg.engine.connection import connected
from geoseg.errors import WorkerError
from geoseg.evaluation import Cell, Matches, Scores, Table
from geoseg.files import clear, plain, read_json, write_file, write_json
from geoseg.models.running import find_device
from geoseg.models.spec import ModelSpec
from geoseg.models.watershed import Watershed
from geoseg.training.calibrating import Calibration, HeldOutPixels, calibrate
from geoseg.training.checkpoints import Checkpoints
from geoseg.training.families import family_of
from geoseg.training.fitting import Data, adjust, fit_recipe, make_network, read_scenes, reproducible
from geoseg.training.folder import made, write_weights
from geoseg.training.folds import Folds, split_folds
from geoseg.training.goals import HeldOutEvaluation, Site, pool
from geoseg.training.log import Log
from geoseg.training.loop import Epoch
from geoseg.training.recipe import Recipe
from geoseg.training.recipe_parts import WatershedEntry
from geoseg.training.scenes import content_of
from geoseg.training.watching import Watch

FOLDER = "folds"
"""Where folds are kept until the entry is written."""

RECORD = "cross_validation.json"
"""All figures, in the folder of the entry."""

TOPIC = "geoseg-train"
"""Of Dask, for epochs on workers."""

THRESHOLDS = (0.5, 0.4, 0.6)
SEEDS = (0.5, 0.3, 0.7)
SIZES = (1, 2, 4)
"""Thresholds of pixels and of seeds, and factors of the smallest objects, that are tried for a model of objects."""

RUIN = 0.02
"""A setting is not chosen that costs any fold more than this of its score."""

_one_at_a_time = Lock()
"""A process trains one network at a time: chance and threads are the process's."""


@dataclass(frozen=True)
class FoldResult:
    """How good the network is that has not seen a fold, on that fold.

    Attributes
    ----------
    name : str
        The fold's.
    evaluation : HeldOutEvaluation
        On all its labels.
    """

    name: str
    evaluation: HeldOutEvaluation


@dataclass(frozen=True)
class Spread:
    """A metric over the folds that have it.

    Attributes
    ----------
    mean, deviation : float
        Mean, and standard deviation of a sample.
    worst : float
        The smallest.
    fold : str
        Name of the fold that has it.
    """

    mean: float
    deviation: float
    worst: float
    fold: str


@dataclass(frozen=True)
class CrossValidation:
    """What cross-validation has found, and chosen.

    Attributes
    ----------
    by : str
        What stays together in a fold: ``"image"``, ``"block"``, or a column.
    folds : tuple of FoldResult
        The worst first.
    steps : int
        Steps that each network did, and the model of the entry too.
    watershed : Watershed or None
        How objects come from scores; None for a model without.
    """

    by: str
    folds: tuple[FoldResult, ...]
    steps: int
    watershed: Watershed | None = None

    @cached_property
    def evaluation(self) -> HeldOutEvaluation:
        """All folds together: each pixel is predicted by the network that has not seen it."""
        return pool([fold.evaluation for fold in self.folds])

    @cached_property
    def calibration(self) -> Calibration | None:
        """The temperature by all folds, and what those of the others do to the confidence on each."""
        return calibrate([fold.evaluation.pixels for fold in self.folds if fold.evaluation.pixels is not None])

    @cached_property
    def metrics(self) -> dict[str, Spread]:
        """Mean, spread and worst fold of each metric."""
        found: dict[str, list[tuple[float, str]]] = {}
        for fold in self.folds:
            for name, value in fold.evaluation.metrics.items():
                found.setdefault(name, []).extend([(value, fold.name)] if np.isfinite(value) else [])
        return {name: _spread(values) for name, values in found.items() if values}

    @property
    def headline(self) -> dict[str, float]:
        """What stands in the entry: the mean of each metric, and of the first the worst."""
        first, spread = next(iter(self.metrics.items()))
        return {**{name: item.mean for name, item in self.metrics.items()}, f"{first}_worst": spread.worst}

    def table(self) -> Table:
        """One row a fold, the worst first, then mean and standard deviation."""
        rows: list[tuple[Cell, ...]] = [
            (fold.name, *map(fold.evaluation.metrics.get, self.metrics)) for fold in self.folds
        ]
        spreads = self.metrics.values()
        rows.append(("mean", *(item.mean for item in spreads)))
        rows.append(("standard deviation", *(item.deviation for item in spreads)))
        columns = ("fold, worst first", *(_heading(name) for name in self.metrics))
        return Table(f"{len(self.folds)} folds by {self.by}", columns, tuple(rows))

    def summary(self) -> dict[str, Any]:
        """Every number by name."""
        folds = [{"name": item.name, "score": item.evaluation.score, **item.evaluation.metrics} for item in self.folds]
        chosen = None if self.watershed is None else asdict(self.watershed)
        spreads = {name: asdict(item) for name, item in self.metrics.items()}
        result: dict[str, Any] = plain(
            {"by": self.by, "steps": self.steps, "watershed": chosen, "metrics": spreads, "folds": folds}
        )
        return result

    def final_recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe of the model of the entry: the same steps and rates on everything."""
        changes: dict[str, Any] = {"steps": self.steps, "early_stopping": None}
        changes["decay_steps"] = recipe.decay_steps or recipe.steps
        if self.watershed is not None:
            changes["watershed"] = WatershedEntry(**asdict(self.watershed))
        return recipe.model_copy(update=changes)


def _heading(metric: str) -> str:
    """A metric above its column: ``iou_WATER`` is IoU WATER."""
    return f"IoU {metric[4:]}" if metric.startswith("iou_") else metric.replace("_", " ")


def _spread(values: Sequence[tuple[float, str]]) -> Spread:
    numbers = np.array([value for value, _ in values])
    worst, fold = min(values, key=lambda item: item[0])
    return Spread(float(numbers.mean()), float(numbers.std(ddof=1)) if len(numbers) > 1 else 0.0, worst, fold)


def cross_validate(recipe: Recipe, folder: Path, watch: Watch, data: Data) -> CrossValidation:
    """Train and evaluate a network a fold; what is done already is taken over.

    Parameters
    ----------
    recipe : Recipe
        With ``cross_validate``.
    folder : Path
        Of the entry; folds are kept in it until `forget`.
    watch : Watch
        Is told of each epoch, with the fold's name.
    data : (tuple of LabelledImage, ModelSpec)
        All scenes.

    Raises
    ------
    TrainingError
        Folds cannot be made, or were left by another recipe.
    WorkerError
        No worker trains.
    """
    folds = split_folds(recipe, data[0])
    paths = [folder / FOLDER / f"fold-{number + 1}" for number in range(len(folds.names))]
    named = enumerate(zip(folds.names, paths, strict=True))
    content = content_of(data[0])
    jobs = [_Job(recipe, number, name, path, content) for number, (name, path) in named]
    _each([job for job in jobs if job.scores() is None], train_fold, watch, data, folds)
    watch.stage(f"evaluating {len(jobs)} folds by the networks that have not seen them")
    steps = choose_steps(recipe, [job.scores() or {} for job in jobs])
    evaluating = [replace(job, steps=steps) for job in jobs]
    _each([job for job in evaluating if job.evaluations() is None], evaluate_fold, watch, data, folds)
    tried = [job.evaluations() or [] for job in evaluating]
    settings = candidates(recipe, data[1])
    best = choose_setting([[item.score for item in fold] for fold in tried])
    results = [FoldResult(name, fold[best]) for name, fold in zip(folds.names, tried, strict=True)]
    results.sort(key=lambda item: np.nan_to_num(item.evaluation.score, nan=np.inf))
    return CrossValidation(folds.by, tuple(results), steps, settings[best])


def forget(folder: Path) -> None:
    """Remove what folds have left in the folder of an entry."""
    clear(folder / FOLDER)


def candidates(recipe: Recipe, spec: ModelSpec) -> tuple[Watershed | None, ...]:
    """Settings that are tried on held-out predictions, the recipe's first; those that the recipe names stay."""
    own = spec.watershed
    if own is None or "watershed" in recipe.model_fields_set:
        return (own,)
    return tuple(
        replace(own, threshold=threshold, seed=seed, min_pixels=factor * own.min_pixels)
        for threshold, seed, factor in product(THRESHOLDS, SEEDS, SIZES)
    )


def choose_steps(recipe: Recipe, scores: Sequence[dict[int, float]]) -> int:
    """All steps; with early stopping those after which the mean score of the folds is best."""
    if recipe.early_stopping is None:
        return recipe.steps
    means = {step: float(np.mean([item[step] for item in scores])) for step in scores[0]}
    return max(means, key=lambda step: np.nan_to_num(means[step], nan=-np.inf))


def choose_setting(scores: Sequence[Sequence[float]]) -> int:
    """Choose the setting with the best mean score that ruins no fold.

    Parameters
    ----------
    scores : sequence of sequences
        For each fold the score with each setting, the one that stands unless another is better first.
    """
    found = np.array(scores)
    loss = (found[:, :1] - found).max(axis=0)
    means = np.where(loss <= RUIN, found.mean(axis=0), -np.inf)
    return int(np.argmax(means)) if np.isfinite(means).any() else 0


@dataclass(frozen=True)
class _Job:
    """One fold: what is done, and where its files are.

    Attributes
    ----------
    recipe : Recipe
        Of the run.
    number, name
        Of the fold.
    path : Path
        Its folder.
    content : str
        Digest of the images and labels of all folds.
    steps : int
        Steps after which its network is evaluated.
    """

    recipe: Recipe
    number: int
    name: str
    path: Path
    content: str
    steps: int = 0

    @property
    def checkpoints(self) -> Checkpoints:
        """Where its training stands."""
        return replace(Checkpoints.of(self.path, self.recipe), content=self.content)

    @property
    def sample(self) -> Path:
        """The file of predictions of held-out pixels."""
        return self.path / "held-out.npz"

    def weights(self, step: int) -> Path:
        """The file of its averaged weights after some steps."""
        return self.path / f"step-{step}.safetensors"

    def scores(self) -> dict[int, float] | None:
        """Its score by steps; None until it is trained."""
        content = self._read("trained.json")
        return None if content is None else {int(step): _number(score) for step, score in content["scores"].items()}

    def evaluations(self) -> list[HeldOutEvaluation] | None:
        """Its evaluation with each setting; None until it is evaluated after these steps."""
        content = self._read("evaluation.json")
        if content is None or content["steps"] != self.steps:
            return None
        found = [_evaluation(item) for item in content["evaluations"]]
        if not self.sample.exists():
            return found
        with np.load(self.sample) as arrays:
            pixels = HeldOutPixels(arrays["integers"], arrays["truth"])
        return [replace(item, pixels=pixels) for item in found]

    def write(self, name: str, content: dict[str, Any]) -> None:
        """Write what is done."""
        write_json(self.path / name, plain({**content, "digest": self.checkpoints.digest, "content": self.content}))

    def _read(self, name: str) -> dict[str, Any] | None:
        content: dict[str, Any] | None = read_json(self.path / name)
        if content is not None:
            self.checkpoints.check(str(self.path / name), content.get("digest"), content.get("content"))
        return content


Task = Callable[[_Job, Watch, Data, Folds], None]


def train_fold(job: _Job, watch: Watch, data: Data, folds: Folds) -> None:
    """Train a network on all folds but one, and keep its averaged weights."""
    recipe = job.recipe.model_copy(update={"early_stopping": None})

    def keep(step: int, average: torch.nn.Module) -> None:
        if job.recipe.early_stopping is not None or step >= recipe.steps:
            write_weights(average.state_dict(), job.weights(step))

    own = folds.hold_out(data[0], job.number), data[1]
    with made(job.path), Log(job.path) as log:
        trained = fit_recipe(recipe, watch, job.checkpoints, log, data=own, keep=keep, fold=job.name)
    job.write("trained.json", {"scores": {epoch.step: epoch.score for epoch in trained.log}})
    job.checkpoints.remove()


def evaluate_fold(job: _Job, watch: Watch, data: Data, folds: Folds) -> None:
    """Evaluate the network of a fold on it, with each setting that is tried."""
    del watch
    recipe, (scenes, spec) = job.recipe, data
    with reproducible(recipe):
        network = make_network(recipe, spec)
        network.load_state_dict(load_file(job.weights(job.steps)))
        adjust(network, recipe, spec)
        network.to(find_device(recipe.device)).eval()
        goal = family_of(recipe, spec.architecture).goals[recipe.task](recipe, spec)
        found = goal.evaluate_each(network, folds.hold_out(scenes, job.number), candidates(recipe, spec))
    pixels = found[0].pixels
    if pixels is not None:
        write_file(job.sample, lambda path: np.savez(path, integers=pixels.integers, truth=pixels.truth))
    job.write("evaluation.json", {"steps": job.steps, "evaluations": [_content(item) for item in found]})


def _each(jobs: Sequence[_Job], task: Task, watch: Watch, data: Data, folds: Folds) -> None:
    """Do a task for each fold, on Dask where the recipe names workers."""
    recipe = jobs[0].recipe if jobs else None
    if recipe is None or (recipe.workers is None and recipe.scheduler is None):
        for job in jobs:
            task(job, watch, data, folds)
        return
    with connect(recipe.scheduler, min(recipe.workers or 1, len(jobs))) as client, connected(client):
        shared, steps = recipe.shared(), recipe.steps
        client.subscribe_topic(TOPIC, lambda event: watch.epoch(Epoch(**event[1]["epoch"]), steps))
        futures = {client.submit(_on_worker, task, replace(job, recipe=shared), pure=False): job for job in jobs}
        for future in as_completed(futures, loop=client.loop):
            try:
                future.result()
            except KilledWorker as error:
                raise WorkerError(
                    f"the workers that trained fold '{futures[future].name}' have died, maybe for want of memory; give "
                    "fewer --workers, and run the same command again: folds that are done are kept."
                ) from error


def _on_worker(task: Task, job: _Job) -> None:
    """Do a task on a worker, which reads the scenes itself."""
    worker = get_worker()
    with _one_at_a_time:
        data = read_scenes(job.recipe)
        watch = Watch(lambda epoch: worker.log_event(TOPIC, {"epoch": asdict(epoch)}))
        task(job, watch, data, split_folds(job.recipe, data[0]))


def _content(evaluation: HeldOutEvaluation) -> dict[str, Any]:
    """An evaluation as JSON holds it."""
    sites = [
        {
            "name": site.name,
            "counts": site.scores.counts,
            "objects": None if site.objects is None else asdict(site.objects),
        }
        for site in evaluation.sites
    ]
    layers = [item.counts for item in evaluation.by_layer]
    content: dict[str, Any] = plain(
        {"score": evaluation.score, "names": evaluation.scores.names, "sites": sites, "layers": layers}
    )
    return content


def _evaluation(content: dict[str, Any]) -> HeldOutEvaluation:
    """The evaluation that JSON holds."""
    names = tuple(content["names"])
    parts = content["sites"]
    sites = tuple(Site(item["name"], _scores(item["counts"], names), _matches(item["objects"])) for item in parts)
    counts = np.sum([site.scores.counts for site in sites], axis=0)
    layers = tuple(_scores(item, names) for item in content["layers"])
    return HeldOutEvaluation(_number(content["score"]), Scores(counts, names), sites, layers)


def _scores(counts: list[list[int]], names: tuple[str, ...]) -> Scores:
    return Scores(np.array(counts, np.int64).reshape(len(names), len(names)), names)


def _matches(content: dict[str, Any] | None) -> Matches | None:
    if content is None:
        return None
    iou, scores = (np.array(content[name], np.float64) for name in ("iou", "scores"))
    return Matches(np.array(content["partners"], np.int64), iou, scores, content["truths"])


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
