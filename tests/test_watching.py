"""What a person sees of a training."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rich.console import Console

from geoseg.cli import main
from geoseg.training import parse_recipe
from geoseg.training.watching import TIMED, Watch
from tests.test_training import fields as fields
from tests.test_training import recipe_content


def test_a_training_says_what_it_learns_from_what_it_does_and_where_the_entry_is(
    fields: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, entry = tmp_path / "fields.yaml", tmp_path / "entry"
    recipe.write_text(json.dumps(recipe_content(fields, steps_per_epoch=6)))
    assert main(["train", str(recipe), "--steps", "12", "--output", str(entry)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "fields: semantic-segmentation with smp.Unet, 1 image, on cpu"
    with rasterio.open(fields / "labels.tif") as file:
        counts = [f"{np.count_nonzero(file.read(1) == value):,}" for value in (10, 20, 30)]
    assert next(line.split() for line in lines if line.split()[:1] == ["image"]) == ["image", *counts, "34%"]
    told = [line.split(":")[0].split("  ")[0] for line in lines if line.strip()]
    wanted = ["step 6/12", "step 12/12", "evaluating the best epoch on what was held out"]
    assert [line for line in told if line in wanted] == wanted
    assert any(line.startswith("a step takes ") and "12 steps, they take about" in line for line in lines)
    for words in ("fitting the temperature", "measuring the halo", "writing the entry"):
        assert any(line.startswith(words) for line in lines)
    item = entry / "fields.json"
    assert lines[-1] == f"map with it: geoseg run SCENE --model {item}; make it yours: geoseg models add {item}"


def test_there_is_a_bar_from_the_first_step(fields: Path) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    recipe = parse_recipe(recipe_content(fields, steps=TIMED + 5))
    with Watch(console=console).steps(recipe, 2, "north") as told:
        told(3)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "steps without north" in shown
    assert f"3/{TIMED + 5}" in shown
