"""What workers warn of is read where a person reads: the terminal, run.json and the report."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from distributed import Client, LocalCluster, get_worker

import geoseg
from geoseg.engine import connect
from geoseg.engine.execution import _heard
from geoseg.errors import GeosegWarning, ModelError
from geoseg.models import Band, ClassSpec, ModelSpec
from geoseg.store import RunFolder
from geoseg.tasks import Job
from tests.networks import Box, write_item, write_model
from tests.rasters import noise, write_raster

SENTENCE = "gives probabilities (those of each pixel sum to 1)"


class Softmaxed(torch.nn.Module):
    """A network that takes the softmax itself."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = Box(1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.scores(pixels), 1)


@pytest.fixture
def model(tmp_path: Path) -> str:
    weights = tmp_path / "softmaxed.pt"
    torch.jit.script(Softmaxed().eval()).save(str(weights))
    item = tmp_path / "softmaxed.json"
    return str(write_item(item, weights, halo=1, tile_size=72, bands=["b1", "b2"], framework="TorchScript"))


def test_what_two_workers_warn_of_is_told_once_and_kept(model: str, tmp_path: Path) -> None:
    scene, out = write_raster(tmp_path / "scene.tif", noise(2, 150, 150)), tmp_path / "out"
    options = ["--model", model, "--output", str(out), "--workers", "2", "--trust-model"]
    command = [sys.executable, "-m", "geoseg", "run", str(scene), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert " ".join(done.stderr.split()).count(SENTENCE) == 1, done.stderr
    assert "UserWarning" not in done.stderr
    kept = json.loads((out / "run.json").read_text())["warnings"]
    assert len(kept) == 1
    assert SENTENCE in kept[0]
    assert (out / "report.html").read_text().count(SENTENCE) == 1
    (out / "report.html").unlink()
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert again.returncode == 0, again.stderr
    assert json.loads((out / "run.json").read_text())["warnings"] == kept


def open_at_its_first_block() -> None:
    get_worker().plugins["job"].open()


def test_a_worker_that_comes_late_is_heard(model: str, tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", noise(2, 150, 150))
    wanted = {"model": model, "input": str(scene), "trust_model": True, "output": str(tmp_path / "out")}
    with (
        LocalCluster(1, processes=False, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
        _heard(client, "job") as heard,
    ):
        plan = geoseg.plan(wanted, client=client)
        folder = RunFolder(tmp_path / "out")
        folder.prepare(plan.grid, plan.fingerprint_of(plan.raster.fingerprint()), overwrite=False)
        client.register_plugin(Job("job", plan, folder))
        client.submit(open_at_its_first_block).result()
        assert len(heard) == 1
        assert SENTENCE in heard[0]


class Probable(torch.nn.Module):
    """A network that takes the sigmoid itself; of zeros it gives nothing but halves."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(pixels - pixels.mean())


class Logits(torch.nn.Module):
    """A network whose scores are probabilities of zeros, and of nothing else."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels / 10


def test_scores_of_another_kind_are_noticed_by_pixels_of_the_raster(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", noise(2, 150, 150))
    spec = ModelSpec(
        "own",
        "semantic-segmentation",
        (Band("b1"), Band("b2")),
        (ClassSpec(1, "x"), ClassSpec(2, "y")),
        activation="sigmoid",
        tile_size=64,
        multiple=1,
    )
    settings = {"input": str(scene), "bands": [1, 2], "halo": 0, "ramp": 8, "workers": 1}
    with pytest.warns(GeosegWarning, match="as probabilities are, and its activation sigmoid is meant for"):
        geoseg.run(settings, model=Probable(), spec=spec, output=str(tmp_path / "one"))
    kept = json.loads((tmp_path / "one" / "run.json").read_text())["warnings"]
    assert [("as probabilities are" in sentence) for sentence in kept] == [True]
    with pytest.raises(ModelError, match="has the activation 'none' but gave values from 0"):
        geoseg.run(settings, model=Logits(), spec=replace(spec, activation="none"), output=str(tmp_path / "two"))


def test_imagery_without_a_valid_pixel_is_told_of(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    scene = write_raster(tmp_path / "scene.tif", np.zeros((2, 80, 90), np.uint8), nodata=0)
    with connect(None, 1) as client, pytest.warns(GeosegWarning, match="no pixel of labels.* has a class: the imagery"):
        geoseg.run(
            *({"input": str(scene), "model": str(model), "output": str(tmp_path / "out")},),
            client=client,
            report=False,
            tile_size=72,
            ramp=8,
        )
