"""Metrics for Prometheus: read by its own parser, from the scheduler of a real run, beside what the run says itself."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest

import geoseg
from geoseg.engine import Ended, Writing
from geoseg.monitor import Monitor
from geoseg.monitor.metrics import TABLE, RunCollector
from geoseg.monitor.page import PagePlugin
from tests.networks import Box, write_model
from tests.rasters import write_raster

parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")

Samples = dict[tuple[str, tuple[str, ...]], float]
"""Values by name and labels but for the run's name."""


def scrape(dashboard: str) -> Samples:
    """What Prometheus would store of the runs of a scheduler."""
    with urllib.request.urlopen(urljoin(dashboard, "/metrics")) as response:  # noqa: S310 - on this machine
        text = response.read().decode()
    families = list(parser.text_string_to_metric_families(text))
    assert any(family.name.startswith("dask_scheduler") for family in families)
    names = [family.name for family in families]
    assert len(set(names)) == len(names)
    return {
        (sample.name, tuple(value for label, value in sorted(sample.labels.items()) if label != "run")): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("geoseg_")
    }


def test_prometheus_reads_of_a_real_run_what_the_run_says_of_itself(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    scene = write_raster(tmp_path / "scene.tif", np.random.default_rng(0).integers(1, 200, (2, 150, 200), np.uint8))
    seen: list[Samples] = []
    with Monitor(form="quiet") as monitor:

        def progress(event: Any) -> None:
            monitor(event)
            if isinstance(event, Writing | Ended):
                seen.append(scrape(monitor.state.started.dashboard))

        settings = {"model": str(model), "input": str(scene), "output": str(tmp_path / "out"), "ramp": 8}
        geoseg.run(settings, progress=progress, workers=1, dashboard="127.0.0.1:0", block_tiles=1, features=["f.gpkg"])
        summary = monitor.state.summary()
    assert seen[0]["geoseg_run_finished", ()] == 0
    last = seen[-1]
    assert last["geoseg_run_finished", ()] == 1
    assert last["geoseg_run_info", ("done", monitor.state.started.title)] == 1
    assert last["geoseg_pixels_predicted_total", ()] == 150 * 200
    assert last["geoseg_run_seconds", ()] == pytest.approx(summary.elapsed)
    assert "predict" in summary.stages
    assert "join" in summary.stages
    for stage, work in summary.stages.items():
        assert last["geoseg_blocks_planned", (stage,)] == last["geoseg_blocks_done_total", (stage,)] == work.total
        assert last["geoseg_blocks_failed_total", (stage,)] == 0
        assert last["geoseg_worker_seconds_total", (stage,)] == pytest.approx(work.seconds)


def test_runs_of_one_scheduler_are_told_apart_and_what_is_unknown_is_left_out() -> None:
    page, collector = PagePlugin(), RunCollector()
    collector.views = page.views
    heads = {
        "a": {"phase": "broken", "stages": {"trace": dict.fromkeys(("total", "done", "kept", "failed", "seconds"), 3)}},
        "b": {"phase": "running", "stages": {}, "pixels": 7, "left": None},
    }
    page.scheduler = type("Scheduler", (), {"workers": {}})()
    for name, head in heads.items():
        message = {"run": name, "head": {"title": name, **head}, "layout": {}, "cells": b"", "picture": b""}
        page.tell(message)  # type: ignore[arg-type]
    found = {sample.name: dict(sample.labels) for metric in collector.collect() for sample in metric.samples}
    finished = next(metric for metric in collector.collect() if metric.name == "geoseg_run_finished")
    assert [(sample.labels["run"], sample.value) for sample in finished.samples] == [("a", 1), ("b", 0)]
    assert found["geoseg_blocks_failed_total"] == {"run": "a", "stage": "trace"}
    assert not {"geoseg_pixels_predicted_total", "geoseg_run_left_seconds"} & set(found)
    assert {metric.name for metric in collector.collect()} == {row.name for row in TABLE}
