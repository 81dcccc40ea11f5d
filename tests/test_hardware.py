"""The device of a run is that of its workers, not of the process that plans it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

import geoseg
from geoseg.errors import ModelError, WorkerError
from geoseg.models import running
from geoseg.workflow import hardware
from geoseg.workflow.hardware import Hardware
from tests.networks import Box, write_model
from tests.rasters import write_raster


@pytest.fixture(scope="module")
def workers() -> Iterator[Client]:
    """Workers that are threads of this process, so that what they see can be changed."""
    with (
        LocalCluster(1, processes=False, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    write_raster(tmp_path / "scene.tif", np.ones((2, 100, 100), np.uint8))
    model = write_model(tmp_path / "model", Box(1), name="box", halo=1)
    return {"model": str(model), "input": str(tmp_path / "scene.tif"), "output": str(tmp_path / "out")}


def test_auto_is_what_the_workers_have(
    workers: Client, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_on_worker", lambda _device, _precision: Hardware("cuda", "bfloat16", 2**33))
    monkeypatch.setattr(hardware, "find_hardware", lambda _device, _precision: Hardware("cpu", "float32"))
    plan = geoseg.plan(settings, ramp=8, tile_size=64, device="auto", client=workers)
    assert (plan.device, plan.precision) == ("cuda", "bfloat16")
    assert geoseg.plan(settings, ramp=8, tile_size=64, device="auto").device == "cpu"


def test_a_worker_without_the_device_is_named(
    workers: Client, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.torch.cuda, "is_available", lambda: False)
    with pytest.raises(WorkerError, match=r"^worker inproc://.*: device 'cuda' is not available on this machine; use"):
        geoseg.plan(settings, ramp=8, tile_size=64, device="cuda", client=workers)


def test_workers_of_different_devices_are_refused(
    workers: Client, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"tcp://a:1": Hardware("cuda", "bfloat16", 1), "tcp://b:2": Hardware("cpu", "float32")}
    monkeypatch.setattr(hardware, "each_worker", lambda *_: found)
    with pytest.raises(WorkerError, match=r"different devices \(cuda on tcp://a:1, cpu on tcp://b:2\)"):
        geoseg.plan(settings, ramp=8, tile_size=64, device="auto", client=workers)


def test_a_batch_of_a_device_that_is_not_here_is_no_traceback(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "_sees_gpu", lambda: False)
    with pytest.raises(ModelError, match="'cuda' is not available on this machine, so the batch size"):
        geoseg.plan(settings, ramp=8, tile_size=64, device="cuda", batch_size="auto")
