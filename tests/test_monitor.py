"""What a person sees of a run in the terminal."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from rich.console import Console

import geoseg
from geoseg.engine import Compiling, Event, Started, Writing
from geoseg.monitor import Monitor
from tests.networks import Box, write_model
from tests.rasters import write_raster


def test_a_monitor_says_where_how_far_what_failed_and_what_is_written(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    scene = write_raster(tmp_path / "scene.tif", np.ones((2, 150, 140), np.uint8))
    plan = geoseg.plan({"model": str(model), "input": str(scene), "ramp": 8})
    page = io.StringIO()
    with Monitor(Console(file=page, width=100)) as monitor:
        totals = {"predict": plan.block_count, "finish": plan.block_count, "join": 1}
        monitor(Started("continuing with box: 140 x 150 px", "http://127.0.0.1:8787/status", totals))
        for block in plan.blocks():
            monitor(Event("predict", "done", (block.row, block.col), 0.1))
        monitor(Event("finish", "failed", (0, 0), message="the disk is full."))
        monitor(Event("join", "done", (1, 0, 0)))
        monitor(Writing(tmp_path / "labels.tif"))
    seen = page.getvalue()
    for words in (
        "dashboard http://127.0.0.1:8787/status",
        "continuing with box: 140 x 150 px",
        f"{plan.block_count}/{plan.block_count}",
        "block 0-0 failed in finish: the disk is full.",
        "labels.tif",
    ):
        assert words in seen


def test_a_run_that_never_starts_draws_nothing() -> None:
    page = io.StringIO()
    with Monitor(Console(file=page)):
        pass
    assert page.getvalue() == ""


def test_compiling_is_said() -> None:
    page = io.StringIO()
    with Monitor(Console(file=page)) as monitor:
        monitor(Compiling())
    assert "compiling, once" in page.getvalue()
