"""The catalog entry that training leaves behind: weights, a STAC MLM item, and a card for people.

It writes what training measured and nothing more: a score against a teacher is called agreement.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import safetensors.torch
from torch import Tensor

from geoseg.evaluation import Scores
from geoseg.models.spec import ModelSpec
from geoseg.training.loop import Epoch
from geoseg.training.recipe import Recipe, TeacherLabels


def write_weights(weights: dict[str, Tensor], path: Path) -> None:
    """Write weights as safetensors, float32, to a temporary name that is then renamed."""
    temporary = path.with_name(f".{path.name}.part")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    temporary.write_bytes(safetensors.torch.save(tensors, metadata={"format": "pt"}))
    os.replace(temporary, path)


def write_log(epochs: Iterable[Epoch], path: Path) -> None:
    """Write one CSV row an epoch."""
    temporary = path.with_name(f".{path.name}.part")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "mean_iou", "best", "seconds"])
        for epoch in epochs:
            writer.writerow(
                [epoch.step, f"{epoch.loss:.4f}", f"{epoch.score:.4f}", f"{epoch.best:.4f}", f"{epoch.seconds:.0f}"]
            )
    os.replace(temporary, path)


def write_card(
    recipe: Recipe, spec: ModelSpec, scores: Scores, by_layer: Sequence[tuple[str, Scores]], path: Path
) -> None:
    """Write the card: what the model is, what it was judged by, and what that does not say.

    A picture ``map.jpg`` in the same folder is shown; making it is left to a person.
    """
    parts = [f"# {recipe.title or recipe.name}", recipe.description.strip()]
    if (path.parent / "map.jpg").exists():
        parts.append("![Left: the imagery. Right: the map of this model.](map.jpg)")
    parts += [_facts(spec), "## Scores", _what_it_means(recipe, scores), _class_table(scores)]
    parts += ["By source of the label:", _layer_table(by_layer)]
    if recipe.provenance.strip():
        parts += ["## Provenance", recipe.provenance.strip()]
    parts += ["## Licence", recipe.license]
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    os.replace(temporary, path)


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
        rows.append(("cost", f"{spec.seconds_per_mpx:.2f} s per Mpx on one core of the machine that trained it"))
    return "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in rows)])


def _what_it_means(recipe: Recipe, scores: Scores) -> str:
    """Say in words what the figures are, by where the labels come from."""
    text = (
        f"On {scores.pixels:,} labelled pixels that were held out, {scores.accuracy:.1%} have the label's class; "
        f"mean IoU of the classes that occur there: {scores.mean_iou:.3f}. They also chose the best epoch."
    )
    teachers = [layer.teacher for layer in recipe.labels if isinstance(layer, TeacherLabels)]
    if teachers:
        text += (
            f" Labels come from the model {teachers[0]} where it is confident: this is agreement with a teacher on the "
            "images named here, not accuracy against ground truth."
        )
    return text


def _class_table(scores: Scores) -> str:
    """One row a class: held-out pixels, IoU, F1."""
    rows = ["| class | held-out pixels | IoU | F1 |", "| --- | ---: | ---: | ---: |"]
    for name, pixels, iou, f1 in zip(scores.names, scores.counts.sum(axis=1), scores.iou, scores.f1, strict=True):
        figures = f"{iou:.3f} | {f1:.3f}" if pixels else "- | -"
        rows.append(f"| {name} | {pixels:,} | {figures} |")
    return "\n".join(rows)


def _layer_table(by_layer: Sequence[tuple[str, Scores]]) -> str:
    """One row a label layer: held-out pixels and the share with the label's class."""
    rows = ["| labels | held-out pixels | same class |", "| --- | ---: | ---: |"]
    rows += [f"| {name} | {item.pixels:,} | {item.accuracy:.1%} |" for name, item in by_layer if item.pixels]
    return "\n".join(rows)
