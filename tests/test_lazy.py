"""The lazy result: what its graph holds, and what of a model is left when it is computed."""

from __future__ import annotations

import gc
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

import geoseg
from geoseg import lazy
from geoseg.models import Band, ClassSpec, Model, ModelSpec, wrap
from tests.rasters import write_raster
from tests.test_scripts import as_a_file

SPEC = ModelSpec(
    "own", "semantic-segmentation", (Band("a"), Band("b")), (ClassSpec(0, "x"), ClassSpec(1, "y")), tile_size=64
)


class Own(torch.nn.Module):
    """A network of one's own, as large as a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.ballast = torch.nn.Parameter(torch.zeros(250_000))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels[:, :2]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", np.random.default_rng(7).integers(1, 200, (2, 300, 300), np.uint8))


def test_a_model_is_opened_once_for_all_threads_and_goes_with_the_computation(
    scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[weakref.ref[Model]] = []

    def spy(*arguments: object) -> Model:
        model = wrap(*arguments)  # type: ignore[arg-type]
        opened.append(weakref.ref(model))
        return model

    monkeypatch.setattr(lazy, "wrap", spy)
    labels = geoseg.segment(scene, Own(), spec=SPEC, bands=[1, 2], halo=0, ramp=32, block_tiles=1)
    first = labels.compute(scheduler="threads", num_workers=4)
    assert len(opened) == 1
    gc.collect()
    assert opened[0]() is None
    assert (labels.compute(scheduler="synchronous") == first).all()


def test_a_network_of_ones_own_is_in_one_task_of_the_graph(scene: Path) -> None:
    labels = geoseg.segment(scene, Own(), spec=SPEC, bands=[1, 2], halo=0, ramp=32, block_tiles=1)
    sizes = sorted(len(pickle.dumps(task)) for task in dict(labels.data.dask).values())
    assert len(sizes) > 50
    assert sizes[-1] > 1_000_000
    assert sizes[-2] < 10_000


def test_a_network_of_a_scripts_own_labels_on_workers_of_dask(scene: Path, tmp_path: Path) -> None:
    program = f"""
import torch
import geoseg
from geoseg.models import Band, ClassSpec, ModelSpec
from distributed import Client

class Own(torch.nn.Module):
    def forward(self, pixels):
        return pixels[:, :2]

classes = (ClassSpec(0, "x"), ClassSpec(1, "y"))
spec = ModelSpec("own", "semantic-segmentation", (Band("a"), Band("b")), classes, tile_size=64)
labels = geoseg.segment({str(scene)!r}, Own(), spec=spec, bands=[1, 2], halo=0, ramp=32)

if __name__ == "__main__":  # Dask's own workers import this file
    with Client(n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
        print((labels.compute() == labels.compute(scheduler="synchronous")).all().item())
"""
    assert as_a_file(tmp_path, program) == "True\n"
