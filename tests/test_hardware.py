"""The device of a run is that of its workers, not of the process that plans it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

import geoseg
from geoseg.errors import ModelError, WorkerError
from geoseg.models import precision, running
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
    monkeypatch.setattr(hardware, "_on_worker", lambda *_: Hardware("cuda", "bfloat16", 2**33))
    monkeypatch.setattr(hardware, "find_hardware", lambda *_: Hardware("cpu", "float32"))
    plan = geoseg.plan(settings, ramp=8, tile_size=64, device="auto", client=workers)
    assert (plan.device, plan.precision) == ("cuda", "bfloat16")
    assert geoseg.plan(settings, ramp=8, tile_size=64, device="auto").device == "cpu"


@pytest.mark.parametrize(
    ("agreement", "has_instructions", "chosen"),
    [(0.995, True, "bfloat16"), (0.995, False, "float32"), (0.985, True, "float32"), (None, True, "float32")],
)
def test_a_cpu_computes_with_bfloat16_where_it_is_fast_and_keeps_the_labels(
    agreement: float | None,
    has_instructions: bool,
    chosen: str,
    settings: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precision, "multiplies_halves", lambda: has_instructions)
    entry = Path(settings["model"])
    item = json.loads(entry.read_text())
    weights = entry.with_name("box.onnx").rename(entry.with_name("box.safetensors"))  # a plan only reads its bytes
    item["properties"] |= {"mlm:framework": "PyTorch", "mlm:architecture": "smp.Unet", "geoseg:seconds_per_mpx": 2.0}
    item["assets"]["model"]["href"] = weights.name
    if agreement is not None:
        item["properties"]["geoseg:bfloat16"] = {"agreement": agreement, "seconds_per_mpx": 1.0}
    entry.write_text(json.dumps(item))
    options = {"ramp": 8, "tile_size": 64, "workers": 1}
    exact = geoseg.plan(settings, precision="float32", **options)
    plan = geoseg.plan(settings, **options)
    assert plan.precision == chosen
    assert exact.estimated_seconds == (2 if chosen == "bfloat16" else 1) * (plan.estimated_seconds or 0)
    assert (plan.fingerprint() == exact.fingerprint()) == (chosen == "float32")
    assert geoseg.plan(settings, weights=plan.spec.weights, **options).precision == "float32", "of other weights"
    assert precision.precision_on_cpu(replace(plan.spec, framework="onnx")) == "float32"


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
