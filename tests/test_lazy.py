"""The lazy result: what its graph holds, and what of a model is left when it is computed."""

from __future__ import annotations

import gc
import pickle
import threading
import warnings
import weakref
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask
import numpy as np
import pytest
import rasterio
import torch
from rasterio.errors import NotGeoreferencedWarning

import geoseg
from geoseg import lazy
from geoseg.engine.cluster import _configured
from geoseg.errors import BandError, GeosegWarning, PlanError, WorkflowError
from geoseg.models import Band, ClassSpec, Model, ModelSpec, wrap
from geoseg.models.changing import changed
from geoseg.raster import open_raster
from geoseg.raster.handles import unplaced_allowed
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

    def spy(*arguments: Any, **options: Any) -> Model:
        model: Model = wrap(*arguments, **options)
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


@pytest.mark.slow
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


def test_every_option_of_prediction_is_obeyed(scene: Path) -> None:
    class Sided(torch.nn.Module):
        """Sees less of the first class the farther right a pixel is, which a flip takes away."""

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            across = torch.linspace(-1, 1, pixels.shape[-1]).expand(pixels[:, 0].shape)
            return torch.stack([pixels[:, 0] / 100 - 3 * across, pixels[:, 1] / 100], 1)

    given = {"spec": SPEC, "bands": [1, 2], "halo": 0, "ramp": 32}
    plain = geoseg.segment(scene, Sided(), **given).compute(scheduler="synchronous")
    for option in ({"tta": "flips"}, {"refine": {"contrast": 20}}, {"refine": {"contrast": 20, "window": 5}}):
        spec = changed(SPEC, **option)
        assert spec != SPEC
        expected = geoseg.segment(scene, Sided(), **{**given, "spec": spec}).compute(scheduler="synchronous")
        found = geoseg.segment(scene, Sided(), **given, **option).compute(scheduler="synchronous")
        assert (found == expected).all()
        assert (found != plain).any()


def test_what_is_no_argument_is_told_by_its_name(scene: Path) -> None:
    for name, words in {"min_score": "", "mosiac": "; did you mean 'mosaic'"}.items():
        with pytest.raises(WorkflowError, match=rf"segment has an unknown key '{name}'{words}"):
            geoseg.segment(scene, Own(), spec=SPEC, **{name: "x"})  # type: ignore[arg-type]
    with pytest.raises(WorkflowError, match="refine has the unknown key 'windows'"):
        geoseg.segment(scene, Own(), spec=SPEC, bands=[1, 2], refine={"windows": 3})
    with pytest.raises(WorkflowError, match="load them into it"):
        geoseg.segment(scene, Own(), spec=SPEC, weights="net.pt")
    with pytest.raises(WorkflowError, match="bands cannot change a raster that is opened already"):
        geoseg.segment(geoseg.open_raster(scene), Own(), spec=SPEC, bands=[2, 1])
    with pytest.raises(WorkflowError, match="scale cannot change a raster that is opened already"):
        geoseg.segment(geoseg.open_raster(scene), Own(), spec=SPEC, scale=2)


@pytest.mark.parametrize(
    "options", [{"bands": "1,2"}, {"bands": [1.0, 2.0]}, {"bands": "a,b"}, {"resolution": "10"}, {"tile_size": "64"}]
)
def test_arguments_are_those_of_the_table_of_options(scene: Path, options: dict[str, Any]) -> None:
    own = {"spec": replace(SPEC, resolution=10.0), "bands": [1, 2], "tile_size": 64, "halo": 0, "ramp": 32}
    if options.get("bands") == "a,b":
        with rasterio.open(scene, "r+") as file:
            file.descriptions = ("a", "b")
    expected = geoseg.segment(scene, Own(), **own).compute(scheduler="synchronous")
    found = geoseg.segment(scene, Own(), **{**own, **options}).compute(scheduler="synchronous")
    assert found.identical(expected)
    with pytest.raises(WorkflowError, match=r"segment has resolution: 'fine', which cannot be used"):
        geoseg.segment(scene, Own(), **own, resolution="fine")  # type: ignore[arg-type]


def test_a_network_that_is_trained_stays_as_it_is(scene: Path) -> None:
    """Mode, type and weights are those of the training that goes on afterwards, and labels those of evaluation."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3, padding=1), torch.nn.BatchNorm2d(2), torch.nn.Dropout(0.9))
    network.double().train()
    network[0].eval()  # as who fine-tunes freezes layers
    before = {name: value.clone() for name, value in network.state_dict().items()}
    options: dict[str, Any] = {"spec": SPEC, "bands": [1, 2], "halo": 0, "ramp": 32, "block_tiles": 1}
    labels = geoseg.segment(scene, network, **options).compute()
    assert [module.training for module in network] == [False, True, True]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert {value.dtype for value in network.parameters()} == {torch.float64}
    expected = geoseg.segment(scene, network.float().eval(), **options).compute()
    np.testing.assert_array_equal(labels, expected)


def test_threads_leave_no_filter_of_warnings() -> None:
    """Rasters without a place are opened by several threads at once."""
    before = list(warnings.filters)
    barrier = threading.Barrier(4)

    def read(number: int) -> None:
        barrier.wait()
        for turn in range(50):
            with unplaced_allowed():
                warnings.warn(NotGeoreferencedWarning(f"{number} {turn}"), stacklevel=1)

    with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("error", NotGeoreferencedWarning)
        deque(pool.map(read, range(4)), maxlen=0)
        with pytest.raises(NotGeoreferencedWarning):
            warnings.warn(NotGeoreferencedWarning("after"), stacklevel=1)
    assert list(warnings.filters) == before


@pytest.mark.parametrize(
    ("given", "kind", "told"),
    [
        ({"batch_size": 0}, WorkflowError, "batch_size: 0, which cannot be used"),
        ({"batch_size": 2.5}, WorkflowError, "batch_size: 2.5, which cannot be used"),
        ({"tile_size": 0}, WorkflowError, "tile_size: 0, which cannot be used"),
        ({"halo": -1}, WorkflowError, "halo: -1, which cannot be used"),
        ({"bands": [1]}, BandError, r"1 bands are chosen \(1\) and model own needs 2 \(a, b\); name as many"),
        ({"resolution": 1e-9}, PlanError, "chunks, more than 100,000; check resolution, give a larger block_tiles"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
@pytest.mark.filterwarnings("ignore:imagery of 10 m is read at")
def test_what_cannot_be_used_is_refused_before_anything_is_computed(
    scene: Path, given: dict[str, Any], kind: type[Exception], told: str
) -> None:
    options: dict[str, Any] = {"spec": SPEC, "bands": [1, 2], "halo": 0, "ramp": 32, "block_tiles": 1, **given}
    with pytest.raises(kind, match=told):
        geoseg.segment(scene, Own(), **options)


def test_a_batch_of_auto_is_one_and_blocks_may_be_oblong(scene: Path) -> None:
    options: dict[str, Any] = {"spec": SPEC, "bands": [1, 2], "halo": 0, "ramp": 32}
    labels = geoseg.segment(scene, Own(), block_tiles=(1, 2), batch_size="auto", **options)
    assert [chunks[0] for chunks in labels.chunks] == [32, 64]
    assert (labels.values == geoseg.segment(scene, Own(), **options).values).all()


def test_the_numbers_of_a_colour_table_are_pointed_out(tmp_path: Path) -> None:
    pixels = np.random.default_rng(7).integers(0, 200, (1, 64, 64), np.uint8)
    path = write_raster(tmp_path / "colours.tif", pixels, photometric="palette")
    with rasterio.open(path, "r+") as dataset:
        dataset.write_colormap(1, {value: (255 - value, value, 7, 255) for value in range(256)})
    one = replace(SPEC, bands=(Band("a"),))
    with pytest.warns(GeosegWarning, match=r"colours.tif' has a colour table, and model 'own' is given the numbers of"):
        geoseg.segment(path, lambda pixels: torch.cat([pixels, -pixels], 1), spec=one, bands=[1], halo=0, ramp=32)
    with pytest.raises(BandError, match=r"1 band.*and 3 .* are needed; its numbers are of a colour table: gdal_tr"):
        open_raster(str(path), bands=[1, 2, 3])


def test_of_overlapping_runs_the_last_one_brings_dasks_configuration_back() -> None:
    name = "distributed.worker.profile.interval"
    first, second = _configured({name: "1s"}), _configured({name: "1s"})
    before = dask.config.get(name)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert dask.config.get(name) == "1s"
    second.__exit__(None, None, None)
    assert dask.config.get(name) == before
