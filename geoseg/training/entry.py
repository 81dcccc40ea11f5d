"""The catalog entry that training leaves behind: weights, a STAC MLM item, and a card for people.

It writes what training measured and nothing more: a score against a teacher is called agreement.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from geoseg.evaluation import Scores
from geoseg.files import write_file
from geoseg.models.running import find_device
from geoseg.models.spec import ModelSpec
from geoseg.training.calibrating import Calibration
from geoseg.training.cross_validation import CrossValidation
from geoseg.training.diagram import DIAGRAM
from geoseg.training.fitting import Trained
from geoseg.training.goals import HeldOutEvaluation
from geoseg.training.picture import CAPTIONS, PICTURE
from geoseg.training.recipe import Recipe
from geoseg.training.recipe_parts import TeacherLabels

CHOSE = " They also chose the best epoch."

CARD = "README.md"
"""File name of the card in a folder of an entry."""


@dataclass(frozen=True)
class Origin:
    """What trained a model.

    Attributes
    ----------
    commit : str
        Of the code; empty where it is not known.
    device : str
        What it computed on, such as ``CPU`` or ``NVIDIA H200``.
    torch : str
        Version of torch.
    """

    commit: str
    device: str
    torch: str


def write_card(
    recipe: Recipe,
    spec: ModelSpec,
    trained: Trained,
    crossed: CrossValidation | None,
    calibration: Calibration | None,
    path: Path,
    origin: Origin,
) -> None:
    """Write the card: what the model is, what it was evaluated by, and what that does not say.

    A picture `PICTURE` in the same folder is shown.
    """
    parts, evaluation, layers = [f"# {recipe.title or recipe.name}"], trained.evaluation, trained.layers
    parts.append(recipe.description.strip())
    if (path.parent / PICTURE).exists():
        caption = CAPTIONS[recipe.picture]
        parts.append(f"![{caption if crossed is None else caption.replace('held-out ', '')}]({PICTURE})")
    parts += [_facts(spec), "## Scores"]
    parts += [_what_it_means(recipe, evaluation, CHOSE)] if crossed is None else _cross_validated(recipe, crossed)
    parts.append(_class_table(evaluation.scores))
    parts += ["By image:", _site_table(evaluation)]
    if len(layers) > 1:
        parts += ["By source of the label:", _layer_table(layers, evaluation)]
    if calibration is not None:
        parts += ["## Confidence", _confidence(calibration, crossed)]
    if recipe.failures.strip():
        parts += ["## Known failures", recipe.failures.strip()]
    if recipe.provenance.strip():
        parts += ["## Provenance", recipe.provenance.strip()]
    parts += ["## Training", _training(recipe, origin), "## Licence", recipe.license]
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_file(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def _facts(spec: ModelSpec) -> str:
    """Say what the network needs and costs."""
    size = Path(spec.weights or "").stat().st_size / 1e6
    rows = [
        ("bands", ", ".join(spec.band_names)),
        ("resolution", f"{spec.resolution:g} m" if spec.resolution is not None else "that of the imagery"),
        ("network", f"{spec.architecture} with " + ", ".join(f"{key} {value}" for key, value in spec.hyperparameters)),
        ("weights", f"{size:.1f} MB"),
        ("halo", f"{spec.halo} px"),
    ]
    if spec.seconds_per_mpx is not None:
        rows.append(("cost", f"{spec.seconds_per_mpx:.2f} s per Mpx on one core of a CPU"))
    return "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows)])


def _cross_validated(recipe: Recipe, crossed: CrossValidation) -> list[str]:
    """Say in words and a table what cross-validation has found."""
    first, spread = next(iter(crossed.metrics.items()))
    table = crossed.table()
    text = (
        f"Cross-validated by {crossed.by}: {len(crossed.folds)} networks, each trained for {crossed.steps:,} steps "
        f"without one fold and evaluated on it. Mean {first.replace('_', ' ')} {spread.mean:.3f}, standard deviation "
        f"{spread.deviation:.3f}, worst {spread.worst:.3f} ({spread.fold}). The model of this entry was trained on "
        "everything, for the same number of steps; no label is left to evaluate it by."
    )
    if crossed.watershed is not None:
        settings = ", ".join(f"{key} {value:g}" for key, value in asdict(crossed.watershed).items())
        origin = "of the recipe" if "watershed" in recipe.model_fields_set else "chosen by the mean score of the folds"
        text += f" Objects are made with {settings}, {origin}."
    rows = [f"| {' | '.join(table.columns)} |", f"| --- |{' ---: |' * (len(table.columns) - 1)}"]
    for row in table.rows:
        cells = ["-" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell) for cell in row]
        rows.append(f"| {' | '.join(cells)} |")
    return [text, "\n".join(rows), f"All folds together: {_what_it_means(recipe, crossed.evaluation)}"]


def _confidence(calibration: Calibration, crossed: CrossValidation | None) -> str:
    """Say what the temperature does, with the reliability diagram."""
    where = "the held-out pixels that evaluate the model" if crossed is None else "the held-out pixels of all folds"
    text = (
        f"Scores are divided by the temperature {calibration.temperature:g} before confidence is made of them, fitted "
        f"on {where}; labels do not depend on it. The expected calibration error there is "
        f"{calibration.after.error:.3f}, and {calibration.before.error:.3f} without."
    )
    if crossed is not None and len(crossed.folds) > 1:
        text += " Each fold is measured with the temperature of the others."
    rows = ["| confidence | right | pixels |", "| ---: | ---: | ---: |"]
    rows += [f"| {mean:.2f} | {right:.2f} | {count:,} |" for mean, right, count in calibration.after.rows]
    return "\n\n".join([text, f"![Share of right pixels by confidence.]({DIAGRAM})", "\n".join(rows)])


def _what_it_means(recipe: Recipe, evaluation: HeldOutEvaluation, chose: str = "") -> str:
    """Say in words what the figures are, by where the labels come from."""
    scores, objects = evaluation.scores, evaluation.objects
    text = f"On {scores.pixels:,} labelled pixels that were held out, {scores.accuracy:.1%} have the label's class"
    if objects is None:
        text += f"; mean IoU of the classes that occur there: {scores.mean_iou:.3f}."
    else:
        text += (
            f". Of {objects.truths:,} objects {objects.recall:.1%} are found, and of {len(objects.partners):,} that "
            f"are found {objects.precision:.1%} are true, at an IoU of at least 0.5: F1 {objects.f1:.3f}, average "
            f"precision {objects.average_precision:.3f}."
            if len(objects.partners) and objects.truths
            else f". There are {objects.truths:,} objects, and {len(objects.partners):,} are found."
        )
    text += chose
    teachers = [layer.teacher for layer in recipe.labels if isinstance(layer, TeacherLabels)]
    if teachers:
        text += (
            f" Labels come from the model {teachers[0]} where it is confident: this is agreement with a teacher on the "
            "images named here, not accuracy against ground truth."
        )
    return text


def _training(recipe: Recipe, origin: Origin) -> str:
    """How it was trained, in a sentence."""
    start = "random weights" if recipe.encoder_weights is None else f"an encoder with {recipe.encoder_weights} weights"
    start = start if recipe.init is None else f"the model {recipe.init}"
    command, code = f"geoseg train {recipe.file}".strip(), f"geoseg {version('geoseg')}"
    code += f" at commit {origin.commit}" if origin.commit else ""
    return (
        f"`{command}` on {len(recipe.images)} images from {start}: at most {recipe.steps:,} steps of "
        f"{recipe.batch_size} windows of {recipe.window} px on {origin.device}, seed {recipe.seed}, {code}, "
        f"torch {origin.torch}. `log.csv` has loss and score of each epoch."
    )


def origin_of(recipe: Recipe) -> Origin:
    """Where a run of a recipe that begins now comes from."""
    device = find_device(recipe.device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()
    return Origin(revision(), name, version("torch"))


def revision() -> str:
    """The commit of the checkout that runs, followed by ``-dirty`` when it was changed; empty where there is none."""
    here = Path(__file__)
    try:
        _git("ls-files", "--error-unmatch", here.name, folder=here.parent)
        return _git("describe", "--always", "--dirty", "--exclude=*", folder=here.parent).strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*arguments: str, folder: Path) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout  # noqa: S603 - our own


def _site_table(evaluation: HeldOutEvaluation) -> str:
    """One row an image: IoU of each class that occurs, and F1 of objects."""
    names = evaluation.scores.names
    counted = [item for item in evaluation.sites if item.objects is not None]
    head = ["image", *(f"IoU {name}" for name in names), *(["objects", "F1 of objects"] if counted else [])]
    rows = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for site in evaluation.sites:
        occurs = site.scores.counts.sum(axis=1) > 0
        figures = [f"{iou:.3f}" if here else "-" for iou, here in zip(site.scores.iou, occurs, strict=True)]
        found = site.objects
        figures += [] if found is None else [f"{found.truths:,}", f"{found.f1:.3f}"]
        rows.append(f"| {' | '.join([site.name, *figures])} |")
    return "\n".join(rows)


def _class_table(scores: Scores) -> str:
    """One row a class: held-out pixels, IoU, F1."""
    rows = ["| class | held-out pixels | IoU | F1 |", "| --- | ---: | ---: | ---: |"]
    for name, pixels, iou, f1 in zip(scores.names, scores.counts.sum(axis=1), scores.iou, scores.f1, strict=True):
        figures = f"{iou:.3f} | {f1:.3f}" if pixels else "- | -"
        rows.append(f"| {name} | {pixels:,} | {figures} |")
    return "\n".join(rows)


def _layer_table(layers: Sequence[str], evaluation: HeldOutEvaluation) -> str:
    """One row a label layer: held-out pixels and the share with the label's class."""
    rows = ["| labels | held-out pixels | same class |", "| --- | ---: | ---: |"]
    named = zip(layers, evaluation.by_layer, strict=False)
    rows += [f"| {name} | {item.pixels:,} | {item.accuracy:.1%} |" for name, item in named if item.pixels]
    return "\n".join(rows)
