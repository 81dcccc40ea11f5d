"""Where and how exactly a network runs: devices, precision, compilation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from geoseg.errors import ModelError
from geoseg.models import Band, ClassSpec, ModelSpec, precision, running
from geoseg.models.running import Runner
from geoseg.models.semantic import SemanticModel
from geoseg.models.spec import HalfPrecision

SPEC = ModelSpec("small", "semantic-segmentation", (Band("a"),), (ClassSpec(0, "x"), ClassSpec(1, "y")))
PIXELS, MASK = np.random.default_rng(0).integers(0, 9, (1, 1, 16, 16), np.uint8), np.ones((1, 16, 16), np.bool_)


def opener(_spec: ModelSpec, device: torch.device) -> torch.nn.Module:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(8, 2, 1))
    return running.settle(network, device)


def test_a_cpu_without_instructions_for_16_bits_never_uses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "multiplies_halves", lambda: False)
    for half in ("bfloat16", "float16"):
        with pytest.raises(ModelError, match=f"no instructions for {half}"):
            Runner(SPEC, opener, "cpu", half)  # type: ignore[arg-type]
    seen: list[torch.dtype] = []

    def spy(_spec: ModelSpec, device: torch.device) -> torch.nn.Module:
        network = opener(_spec, device)
        network[0].register_forward_hook(lambda _layer, _inputs, output: seen.append(output.dtype))
        return network

    SemanticModel(Runner(SPEC, spy, "cpu", "auto")).score(PIXELS, MASK)
    assert seen == [torch.float32]


def test_16_bits_are_used_inside_and_scores_are_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (running, precision):
        monkeypatch.setattr(module, "multiplies_halves", lambda: True)
    exact = SemanticModel(Runner(SPEC, opener)).score(PIXELS, MASK)
    rough = SemanticModel(Runner(SPEC, opener, "cpu", "bfloat16")).score(PIXELS, MASK)
    assert rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    torch.testing.assert_close(rough, exact, atol=0.1, rtol=0.05)
    measured = replace(SPEC, bfloat16=HalfPrecision(0.999, 1.0))
    assert torch.equal(SemanticModel(Runner(measured, opener)).score(PIXELS, MASK), rough)


class Failing(torch.nn.Module):
    """A network of a person's own that raises."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, _pixels: torch.Tensor) -> torch.Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("roof\nwall"), r"KeyError: 'roof\\nwall'; check its bands"),
        (ValueError("two\nlines."), "two; check its bands"),
        (AssertionError(), "AssertionError; check its bands"),
    ],
)
def test_what_a_network_raises_is_told_in_one_line(error: Exception, told: str) -> None:
    model = SemanticModel(Runner(SPEC, lambda _spec, _device: Failing(error)))
    with pytest.raises(ModelError, match=f"cannot be run on pixels of shape .*: {told}"):
        model.score(PIXELS, MASK)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError(),
    ],
)
def test_memory_that_runs_out_is_no_fault_of_the_model(error: Exception) -> None:
    """So that the block is tried again, and the remedy is memory."""
    model = SemanticModel(Runner(SPEC, lambda _spec, _device: Failing(error)))
    with pytest.raises(type(error)) as caught:
        model.score(PIXELS, MASK)
    assert caught.value is error


def test_a_precision_that_is_none_is_refused() -> None:
    with pytest.raises(ModelError, match="'int8' is not a precision"):
        Runner(SPEC, opener, "cpu", "int8")  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "c++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_a_compiled_network_gives_what_it_gave() -> None:
    exact = SemanticModel(Runner(SPEC, opener)).score(PIXELS, MASK)
    fast = SemanticModel(Runner(SPEC, opener, compile=True)).score(PIXELS, MASK)
    torch.testing.assert_close(fast, exact, atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_machine_without_a_compiler_is_told_of_it(tmp_path: Path) -> None:
    code = "from tests.test_running import *; SemanticModel(Runner(SPEC, opener, compile=True)).score(PIXELS, MASK)"
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path), "CXX": "no-compiler", "CC": "no-compiler"}
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert "cannot be compiled: " in last
    assert last.endswith("; install a C++ compiler such as g++, or leave compile out.")


def test_recurring_names_of_devices_are_checked() -> None:
    with pytest.raises(ModelError, match="'gpu' is not a device"):
        Runner(SPEC, opener, "gpu")
