"""The digest of a network: another one for other scores, the same one in every process."""

from __future__ import annotations

import copy
import functools
import importlib
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
import rasterio
import torch
from torch import nn

import geoseg
from geoseg.errors import FingerprintError
from geoseg.models import Band, ClassSpec, ModelSpec, network_digest
from geoseg.models.network_digest import digest_of
from tests.rasters import write_raster

SPEC = ModelSpec(
    "mine", "semantic-segmentation", (Band("a"),), (ClassSpec(1, "x"),), activation="sigmoid", tile_size=64, halo=8,
    ramp=16,
)  # fmt: skip
FACTOR = 1.0


class Scaled(nn.Module):
    """A layer, and what multiplies its scores: kept in any way that a person may think of."""

    def __init__(self, factor: Any) -> None:
        super().__init__()
        self.factor = factor
        self.layer = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.layer.weight)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        factor = self.factor
        if isinstance(factor, dict | list):
            factor = factor["k"] if isinstance(factor, dict) else factor[0]
        return (self.layer(pixels) - 0.5) * torch.as_tensor(factor(torch.ones(1)) if callable(factor) else factor)


def of_global(pixels: torch.Tensor) -> torch.Tensor:
    return pixels * FACTOR


def hooked(sign: float) -> nn.Module:
    network = Scaled(1.0)
    network.register_forward_hook(lambda _module, _inputs, scores: scores * sign)
    return network


def patched(sign: float) -> nn.Module:
    network = Scaled(1.0)
    network.forward = types.MethodType(lambda self, pixels: self.layer(pixels) * sign, network)  # type: ignore[method-assign]
    return network


def without_gradients(sign: float) -> Callable[..., Any]:
    @torch.no_grad()
    def score(pixels: torch.Tensor) -> torch.Tensor:
        return pixels * sign

    return score


def traced(sign: float) -> nn.Module:
    return torch.fx.symbolic_trace(patched_class(sign)())


def patched_class(sign: float) -> type[nn.Module]:
    class Own(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels * sign

    return Own


def calling(sign: float) -> nn.Module:
    graph = torch.fx.Graph()
    graph.output(graph.call_function(without_gradients(sign), (graph.placeholder("pixels"),)))
    return torch.fx.GraphModule(nn.Module(), graph)


MADE: dict[str, Callable[[float], Any]] = {
    "tensor": lambda sign: Scaled(torch.tensor(sign)),
    "array": lambda sign: Scaled(np.array([sign])),
    "number of NumPy": lambda sign: Scaled(np.float32(sign)),
    "list": lambda sign: Scaled([sign]),
    "dict": lambda sign: Scaled({"k": sign}),
    "lambda": lambda sign: Scaled((lambda one: one) if sign > 0 else (lambda one: -one)),
    "partial": lambda sign: Scaled(functools.partial(torch.mul, torch.tensor(sign))),
    "hook": hooked,
    "method": patched,
    "class": lambda sign: patched_class(sign)(),
    "decorated": without_gradients,
    "graph": traced,
    "function in a graph": calling,
    "closure": lambda sign: (lambda network: lambda pixels: network(pixels))(Scaled(sign)),
}


@pytest.mark.parametrize("way", MADE)
def test_whatever_decides_the_scores_decides_the_digest(way: str) -> None:
    make = MADE[way]
    pixels = torch.rand(1, 1, 4, 4)
    assert not torch.equal(make(1.0)(pixels), make(-1.0)(pixels))
    assert digest_of(make(1.0)) == digest_of(make(1.0))
    assert digest_of(make(1.0)) != digest_of(make(-1.0))


@pytest.mark.parametrize("way", sorted(MADE.keys() - {"function in a graph"}))  # torch does not pickle that
def test_a_copy_that_was_sent_has_the_digest_of_its_original(way: str) -> None:
    network = MADE[way](1.0)
    assert digest_of(pickle.loads(cloudpickle.dumps(network))) == digest_of(network)


def test_globals_count_by_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_of(of_global)
    assert digest_of(of_global) == before
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    assert digest_of(of_global) != before


def test_a_module_of_an_installed_package_counts_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder := tmp_path / "site-packages").mkdir()
    monkeypatch.syspath_prepend(str(folder))
    found = []
    for sign in ("", "-", ""):
        (folder / "landnet.py").write_text(f"def score(pixels):\n    return {sign}pixels\n")
        monkeypatch.delitem(sys.modules, "landnet", raising=False)
        network_digest._installed.cache_clear()
        found.append(digest_of(importlib.import_module("landnet").score))
    monkeypatch.delitem(sys.modules, "landnet")
    assert found[0] == found[2] != found[1]


def test_what_leaves_the_scores_as_they_are_leaves_the_digest() -> None:
    network = Scaled([1.0])
    before = digest_of(network)
    other = copy.deepcopy(network)
    torch.compile(other)
    hooked(1.0)  # hooks are numbered by process
    assert digest_of(other.eval()) == before
    lonely = Scaled(1.0)
    lonely.lock = threading.Lock()  # type: ignore[assignment]
    assert digest_of(lonely) == digest_of(lonely)


@pytest.mark.parametrize(
    "tensor",
    [torch.tensor(1.0), torch.empty(0), torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.complex64),
     torch.eye(3).to_sparse(), torch.ones(2, dtype=torch.float8_e4m3fn)],
    ids=lambda tensor: str(tensor.dtype),
)  # fmt: skip
def test_tensors_of_every_kind_count(tensor: torch.Tensor) -> None:
    assert digest_of(Scaled(tensor)) == digest_of(Scaled(tensor.clone()))
    assert digest_of(Scaled(tensor)) != digest_of(Scaled(torch.ones(2)))


def test_each_process_finds_the_same_digest(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        textwrap.dedent(
            """
            import sys, torch, segmentation_models_pytorch as smp
            from dataclasses import dataclass
            from geoseg.models.network_digest import digest_of
            @dataclass
            class Settings:
                names: frozenset = frozenset(("sea", "land", "ice"))
            class Callable:
                settings = {"a", "b", "c"}
                def __init__(self, network): self.network, self.own = network, Settings()
                def __call__(self, pixels): return self.network(pixels) if "a" in {"a", "b", "c"} else pixels
            if len(sys.argv) > 1:
                torch.nn.Identity().register_forward_hook(print)
            torch.manual_seed(0)
            network = smp.Segformer("mit_b0", encoder_weights=None)
            print(digest_of(network), digest_of(Callable(network)), digest_of(lambda pixels: network(pixels)))
            """
        )
    )
    printed = {
        subprocess.run(
            [sys.executable, "-W", "ignore", str(tmp_path / "script.py"), *more], capture_output=True, text=True,
            check=True, timeout=300, env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed, more in (("1", []), ("2", ["x"]))
    }  # fmt: skip
    (line,) = printed
    assert re.fullmatch(r"[0-9a-f]{64} [0-9a-f]{64} [0-9a-f]{64}\n", line)


def test_a_run_with_a_network_of_other_state_is_another_run(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).random((1, 90, 90), np.float32)
    raster, is_clear = write_raster(tmp_path / "scene.tif", pixels), abs(pixels[0] - 0.5) > 0.01
    given: dict[str, Any] = {"spec": SPEC, "output": tmp_path / "out", "workers": 1, "report": False}
    geoseg.run(raster, model=Scaled([1.0]), **given)
    written = (tmp_path / "out" / "labels.tif").stat().st_mtime_ns
    geoseg.run(raster, model=Scaled([1.0]), **given)
    assert (tmp_path / "out" / "labels.tif").stat().st_mtime_ns == written
    with pytest.raises(FingerprintError, match=r"out holds another run: model network .* before, .* now\)"):
        geoseg.run(raster, model=Scaled([-1.0]), **given)
    geoseg.run(raster, model=Scaled([-1.0]), overwrite=True, **given)
    with rasterio.open(tmp_path / "out" / "labels.tif") as labels:
        assert np.array_equal((labels.read(1) == 1)[is_clear], (pixels[0] < 0.5)[is_clear])


def test_a_network_of_the_main_module_is_sent_from_a_process_that_multiprocessing_has_spawned(tmp_path: Path) -> None:
    raster = write_raster(tmp_path / "scene.tif", np.random.default_rng(0).random((1, 90, 90), np.float32))
    (tmp_path / "script.py").write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, geoseg
            from geoseg.models import Band, ClassSpec, ModelSpec
            SPEC = ModelSpec(
                "mine", "semantic-segmentation", (Band("a"),), (ClassSpec(1, "x"),), activation="sigmoid",
                tile_size=64, halo=8, ramp=16,
            )
            def network(pixels): return pixels - 0.5
            def child():
                geoseg.run({str(raster)!r}, model=network, spec=SPEC, output="out", workers=1, report=False)
            if __name__ == "__main__":
                process = multiprocessing.get_context("spawn").Process(target=child)
                process.start(); process.join()
                print(process.exitcode)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert (done.stdout.split()[-1:], (tmp_path / "out" / "labels.tif").exists()) == (["0"], True), done.stderr


class Linked:
    """One of several that know the set of all of them, and the next one."""

    def __init__(self, number: int, together: set[Linked], after: Linked | None = None) -> None:
        self.number, self.together, self.after = number, together, after
        together.add(self)


def linked(numbers: list[int]) -> nn.Module:
    network, together = Scaled(1.0), set[Linked]()
    first = last = Linked(numbers[0], together)
    for number in numbers[1:]:
        last = Linked(number, together, last)
    first.after = last
    network.links = together  # type: ignore[assignment]
    return network


def test_members_of_a_set_may_lead_back_to_it() -> None:
    assert digest_of(linked([1, 2, 3])) == digest_of(linked([1, 2, 3]))
    assert digest_of(linked([1, 2, 3])) != digest_of(linked([1, 2, 4])) != digest_of(linked([1, 2]))
