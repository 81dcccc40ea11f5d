"""Benchmarks can be started: they are run by hand, and parts of them by these tests."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from benchmarks import bare_passes
from tests.networks import Box, write_model
from tests.rasters import write_raster

HOME = Path(bare_passes.__file__).parent


@pytest.mark.parametrize("name", sorted(path.stem for path in HOME.glob("bench_*.py")))
def test_every_benchmark_can_be_loaded_and_is_documented(name: str) -> None:
    assert callable(import_module(f"benchmarks.{name}").main)
    texts = [path.read_text(encoding="utf-8") for path in (HOME.parent / "docs").glob("*.md")]
    assert any(name in text for text in texts)


def test_forward_passes_of_a_workflow_are_timed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    scene = write_raster(tmp_path / "scene.tif", np.ones((2, 90, 90), np.uint8))
    settings = {"model": str(model), "input": str(scene), "output": str(tmp_path / "out"), "tile_size": 64, "ramp": 8}
    (tmp_path / "workflow.yaml").write_text(json.dumps(settings))
    bare_passes.main(str(tmp_path / "workflow.yaml"), str(scene), 1, 0)
    assert 0 < float(capsys.readouterr().out) < 60
