"""What a person sees of a training: what it learns from, a bar from the first step, epochs, stages, and the entry.

It knows recipes, scenes and epochs, and decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from geoseg.models.spec import ModelSpec
    from geoseg.training.loop import Epoch
    from geoseg.training.recipe import Recipe
    from geoseg.training.scenes import LabelledImage

WARM = 3
"""Steps that are left out of the estimate: they allocate and compile."""

TIMED = 10
"""Steps after which the time is estimated."""


class Watch:
    """What is told while a model is trained.

    Parameters
    ----------
    progress : callable, optional
        Called with each `Epoch`.
    console : rich.console.Console, optional
        Where everything is printed; nothing is unless given.
    """

    def __init__(self, progress: Callable[[Epoch], None] | None = None, console: Console | None = None) -> None:
        self._progress, self._console = progress, console
        self._bar: Progress | None = None
        self._since, self._first, self._is_estimated = 0.0, 0, False

    def begin(self, recipe: Recipe, scenes: Sequence[LabelledImage], spec: ModelSpec, device: str) -> None:
        """Say what is learnt from: pixels by class and image."""
        if self._console is None:
            return
        count = f"{len(scenes)} image{'s' if len(scenes) > 1 else ''}"
        self._say(f"{recipe.name}: {recipe.task} with {spec.architecture}, {count}, on {device}")
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for place, heading in enumerate(("labelled px", *spec.class_names, "held out")):
            table.add_column(Text(heading), justify="left" if place == 0 else "right", no_wrap=place == 0)
        for scene in scenes:
            counts = np.bincount(scene.labels.ravel(), minlength=256)[: len(spec.classes)]
            share = float(scene.held_out.mean())
            cells = [scene.name, *(f"{count:,}" for count in counts), f"{share:.0%}" if share else "-"]
            table.add_row(*map(Text, cells))
        self._console.print(table)

    @contextmanager
    def steps(self, recipe: Recipe, done: int, fold: str = "") -> Iterator[Callable[[int], None]]:
        """A bar over the steps of one training; gives what is called with the steps that are done."""
        if self._console is None:
            yield lambda _: None
            return
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        with Progress(*columns, console=self._console, transient=True, disable=not self._console.is_terminal) as bar:
            task = bar.add_task(f"steps without {fold}" if fold else "steps", total=recipe.steps, completed=done)
            self._since, self._first = monotonic(), done

            def told(step: int) -> None:
                bar.update(task, completed=step)
                self._estimate(recipe, step)

            yield told

    def _estimate(self, recipe: Recipe, step: int) -> None:
        """Say once how long the steps of a training take."""
        if step - self._first == WARM:
            self._since = monotonic()
        if step - self._first != TIMED or self._is_estimated:
            return
        self._is_estimated = True
        each = (monotonic() - self._since) / (TIMED - WARM)
        trainings = "each training takes" if recipe.cross_validate else "they take"
        self._say(f"a step takes {each:.2g} s: {recipe.steps:,} steps, {trainings} about {_time(each * recipe.steps)}")

    def epoch(self, epoch: Epoch, steps: int) -> None:
        """Say what is known after an epoch."""
        if self._console is not None:
            fold = f"without {epoch.fold}: " if epoch.fold else ""
            score = f"score {epoch.score:.3f} " if math.isfinite(epoch.score) else ""
            best = f"(best {epoch.best:.3f}) " if score and not epoch.fold else ""
            self._say(f"{fold}step {epoch.step}/{steps}  loss {epoch.loss:.3f}  {score}{best} {epoch.seconds:.0f} s")
        if self._progress is not None:
            self._progress(epoch)

    def stage(self, words: str) -> None:
        """Say what is done now that no step is."""
        if self._console is not None:
            self._say(words)

    def end(self, folder: Path, spec: ModelSpec) -> None:
        """Say how good the model is, where it is, and how it is used."""
        if self._console is None:
            return
        self._say(f"{folder}: {', '.join(f'{name} {value:.3f}' for name, value in spec.metrics)}")
        item = folder / f"{spec.name}.json"
        self._say(f"map with it: geoseg run SCENE --model {item}; make it yours: geoseg models add {item}")

    def _say(self, line: str) -> None:
        if self._console is not None:
            self._console.print(line, markup=False, emoji=False, soft_wrap=True)


def _time(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
