"""Networks that score pixels, run by OpenVINO on a CPU: as graphs that it makes of torch's, or with 8-bit weights.

Strategy. A graph is made once for each size of tiles, compared with the network on a tile, and kept in the user's cache
folder under a name that says all that decides it; later runs open it without building the network. A graph computes one
tile at a time in one thread, so its bits depend on nothing but the tile. OpenVINO computes in bfloat16 and keeps
weights in float16 unless told otherwise, so both are always said. The arithmetic is chosen when a graph is opened:
float32 and bfloat16 share one. 8-bit weights come with the entry, see `geoseg.models.quantizing`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from geoseg.errors import GeosegWarning, ModelError, WeightsError
from geoseg.files import cache_home, make_folder, working_folder, write_file
from geoseg.models import packages_of
from geoseg.models.precision import Precision
from geoseg.models.running import Network, Opener, first_line, gives_same_scores
from geoseg.models.spec import ModelSpec
from geoseg.models.weights import resolve_quantized, weights_digest

# OpenVINO reports each import over the network unless this package is missing: see
# ``findings/openvino-reports-its-import.sh``.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402 - after the line above

KEY, TENSOR = "openvino", "weights"
"""Where a file of ours holds the text of a graph, and the tensor of its constants."""

HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}
"""OpenVINO's word for the arithmetic of layers that have no 8-bit weights."""

Shape = tuple[int, ...]


def opener(inner: Opener, precision: Precision) -> Opener:
    """Make an adapter's opener of networks that score one of networks that OpenVINO runs.

    Parameters
    ----------
    inner : Opener
        Opens what is converted.
    precision : str
        Of the graph: ``"float32"``, ``"bfloat16"`` or ``"int8"``.
    """

    def open_network(spec: ModelSpec, _device: torch.device) -> Network:
        return GraphNetwork(spec, inner, precision)

    return open_network


class GraphNetwork:
    """Scaled pixels, float32 (n, band, y, x), to scores, float32 (n, class, y, x), by a graph for each size of tiles.

    Parameters
    ----------
    spec, inner, precision
        As of `opener`, and the model.
    """

    def __init__(self, spec: ModelSpec, inner: Opener, precision: Precision) -> None:
        self._spec, self._inner, self._precision = spec, inner, precision
        self._compiled: dict[Shape, Any] = {}
        self._compiling, self._own = threading.Lock(), threading.local()

    def __call__(self, scaled: torch.Tensor) -> torch.Tensor:
        """Score tiles, one after the other.

        Raises
        ------
        ModelError
            OpenVINO cannot convert the network, or its graph gives other scores.
        """
        request = self._request((1, *scaled.shape[1:]))
        return torch.cat([_infer(request, tile) for tile in scaled.split(1)])

    def _request(self, shape: Shape) -> Any:
        """What computes tiles of a shape for this thread; two threads must not share one."""
        requests: dict[str, Any] = self._own.__dict__
        name = str(shape)
        if name not in requests:
            with self._compiling:
                if shape not in self._compiled:
                    self._compiled[shape] = compile_graph(self._graph(shape), self._precision)
            requests[name] = self._compiled[shape].create_infer_request()
        return requests[name]

    def _graph(self, shape: Shape) -> openvino.Model:
        if self._precision != "int8":
            return find_graph(self._spec, self._inner, shape)
        graph = read_graph(resolve_quantized(self._spec))
        graph.reshape({0: list(shape)})
        return graph


def _infer(request: Any, tile: torch.Tensor) -> torch.Tensor:
    """Scores of one tile; the request overwrites its own at the next."""
    return torch.from_numpy(request.infer({0: tile.contiguous().numpy()})[0].copy())


def compile_graph(graph: openvino.Model, precision: Precision) -> Any:
    """Compile a graph for this CPU: one thread, no core of its own, and the arithmetic that is asked for."""
    return _core().compile_model(
        graph,
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": 1,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,
        },
    )


@cache
def _core() -> openvino.Core:
    return openvino.Core()


def find_graph(spec: ModelSpec, inner: Opener, shape: Shape) -> openvino.Model:
    """Open the graph of a network from the cache; make it where it is not there, in one process at a time.

    Parameters
    ----------
    spec : ModelSpec
        The model; without weights, as a network of a person's own, its graph is not kept.
    inner : Opener
        Opens its network.
    shape : tuple of int
        One tile, (1, band, y, x).

    Raises
    ------
    ModelError
        OpenVINO cannot convert the network, or the graph gives other scores.
    WeightsError
        What is kept is damaged.
    OutputError
        The cache folder cannot be written.
    """
    if spec.weights is None:
        return convert(spec, inner, shape)
    path = graph_file(spec, shape)
    with _alone(path):
        if not path.is_file():
            started = time.perf_counter()
            graph = convert(spec, inner, shape)
            write_file(path, lambda unfinished: write_graph(graph, unfinished))
            warnings.warn(
                f"the network of model '{spec.name}' was converted for OpenVINO, once on this machine for tiles of "
                f"{shape[-1]} px, in {time.perf_counter() - started:.0f} s.",
                GeosegWarning,
                stacklevel=2,
            )
    return read_graph(path)


def graph_file(spec: ModelSpec, shape: Shape) -> Path:
    """Where the graph of a network is kept: its name is a digest of all that decides it."""
    packages = ("geoseg", "openvino", "torch", *packages_of(spec))
    facts = {
        "weights": weights_digest(spec),
        "network": [spec.framework, spec.architecture, spec.hyperparameters, spec.score_count, shape],
        "versions": {name: version(name) for name in packages},
        "source": _source_digest(),
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    return cache_home("graphs") / f"{digest}.safetensors"


@cache
def _source_digest() -> str:
    """A digest of the adapters' own source."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one process at a time look for a file; where the file system has no locks, each makes it for itself."""
    make_folder(path.parent)
    with path.with_suffix(".lock").open("a") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def convert(spec: ModelSpec, inner: Opener, shape: Shape) -> openvino.Model:
    """Let OpenVINO make a graph of a network, which gives the scores that the network gives.

    Raises
    ------
    ModelError
        It cannot, or it gives other scores.
    """
    network = inner(spec, torch.device("cpu"))
    if not isinstance(network, torch.nn.Module):
        raise ModelError(f"model '{spec.name}' is no torch.nn.Module, which OpenVINO converts; use runtime torch.")
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            graph = openvino.convert_model(network, example_input=torch.zeros(shape), input=[shape])
    except Exception as error:
        raise ModelError(
            f"the network of model '{spec.name}' has no graph that OpenVINO can make ({first_line(error)}); use "
            "runtime torch."
        ) from error
    require_same(spec, network, graph, shape)
    return graph


def require_same(spec: ModelSpec, network: Network, graph: openvino.Model, shape: Shape) -> None:
    """Refuse a graph that does not score tiles of a shape as its network does."""
    request = compile_graph(graph, "float32").create_infer_request()
    if not gives_same_scores(network, lambda pixels: _infer(request, pixels), shape):
        raise ModelError(
            f"the graph that OpenVINO makes of model '{spec.name}' gives other scores than its network for tiles of "
            f"{shape[-1]} px; use runtime torch."
        )


def write_graph(graph: openvino.Model, path: Path) -> None:
    """Write a graph, its constants as they are, into one file."""
    with working_folder(path) as folder:
        openvino.save_model(graph, folder / "graph.xml", compress_to_fp16=False)
        text = (folder / "graph.xml").read_text()
        constants = np.fromfile(folder / "graph.bin", np.uint8)
    save_file({TENSOR: constants}, path, metadata={KEY: text})


def read_graph(path: Path) -> openvino.Model:
    """Open a graph that `write_graph` wrote.

    Raises
    ------
    WeightsError
        The file is none.
    """
    try:
        with safe_open(path, "np") as file:
            text, constants = (file.metadata() or {})[KEY], file.get_tensor(TENSOR)
        return _core().read_model(text.encode(), openvino.Tensor(constants))
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise WeightsError(
            f"'{path}' does not hold a graph that OpenVINO {version('openvino')} can open; delete it, or make it again "
            "with geoseg models quantize."
        ) from error
