"""A model as one file with its weights or its graph and its MLM item inside: for geoseg, and for tools without it.

Strategy. ONNX and torch.export hold the network's graph for scaled pixels of the model's tile size, which is compared
with the network on one tile before it is kept; safetensors hold the tensors as they are. What the graph cannot say,
such as scaling and classes, is the item's, and for the QGIS plugin Deepness in its own words too.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from geoseg.errors import ModelError, OutputError
from geoseg.files import write_file
from geoseg.models import SEMANTIC, open_scoring
from geoseg.models.embedding import KEY, embedded
from geoseg.models.item_assets import find_assets
from geoseg.models.item_document import Document
from geoseg.models.running import gives_same_scores
from geoseg.models.spec import ModelSpec
from geoseg.models.state_dicts import read_state
from geoseg.models.weights import resolve_weights

BYTES = 255.0


@dataclass(frozen=True)
class ExportFormat:
    """How a model is written.

    Attributes
    ----------
    artifact_type : str
        The extension's word for the file.
    properties : mapping
        Properties of the item that change; None takes one out.
    writer : callable
        From a model and the text of its item to what writes its file.
    """

    artifact_type: str
    properties: Mapping[str, Any]
    writer: Callable[[ModelSpec, str], Callable[[Path], object]]


def export_model(document: Document, spec: ModelSpec, path: Path) -> Path:
    """Write a model into one file that opens in geoseg by itself.

    Parameters
    ----------
    document : Document
        The model's item, or a packaging.
    spec : ModelSpec
        What it says.
    path : Path
        The file; its ending chooses the format, see `FORMATS`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ModelError
        The model cannot be written so, or its graph would give other scores.
    WeightsError
        Its weights are missing or damaged.
    OutputError
        The ending is none of a format, or the file cannot be written.
    """
    chosen = FORMATS[checked_export(path).suffix.lower()]
    keys = find_assets(document)
    if len(keys) > 1:
        raise ModelError(f"model '{spec.name}' is an ensemble of {len(keys)} files, which no file holds; export one.")
    changes = dict(chosen.properties) if spec.bfloat16 else {"geoseg:bfloat16": None, **chosen.properties}
    text = embedded(document.item, keys[0], chosen.artifact_type, changes)
    write_file(path, chosen.writer(spec, text))
    return path


def checked_export(path: Path) -> Path:
    """Return the path of a file that a model can be written into, by its ending.

    Raises
    ------
    OutputError
        The ending is none of a format.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"'{path}' has the ending of no format for models; use {', '.join(FORMATS)}.")
    return path


def _safetensors(spec: ModelSpec, item: str) -> Callable[[Path], object]:
    """The tensors as they are, bit for bit; the header has one entry, since of several the order is left to chance.

    See ``findings/safetensors-metadata-order-is-chance.sh``.
    """
    if spec.framework != "pytorch":
        open_scoring(spec)  # says that it is a graph
    tensors = {name: tensor.contiguous().clone() for name, tensor in read_state(resolve_weights(spec)).items()}
    return lambda path: save_file(tensors, path, metadata={KEY: item})


def _onnx(spec: ModelSpec, item: str) -> Callable[[Path], object]:
    """The graph as ONNX, run once by onnxruntime."""
    import onnxruntime

    network, program = _exported(spec)
    try:
        with _quiet():
            graph = torch.onnx.export(program, (), dynamo=True, verbose=False).model_proto  # type: ignore[union-attr]
    except ImportError as error:
        raise ModelError(
            "ONNX is written by the package onnxscript; install it with pip install onnxscript."
        ) from error
    for key, value in {KEY: item, **_deepness(spec)}.items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = key, value
    content = graph.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    _compare(spec, network, lambda pixels: torch.from_numpy(session.run(None, {name: pixels.numpy()})[0]))
    return lambda path: path.write_bytes(content)


def _archive(spec: ModelSpec, item: str) -> Callable[[Path], object]:
    """The graph as torch.export writes it, without the pixels that it was traced with."""
    network, program = _exported(spec)
    _compare(spec, network, program.module())
    program.example_inputs = None

    def write(path: Path) -> None:
        with _quiet():
            torch.export.save(program, path, extra_files={KEY: item})

    return write


def _exported(spec: ModelSpec) -> tuple[torch.nn.Module, torch.export.ExportedProgram]:
    """The network of a model, and its program for any number of tiles of the model's size.

    Programs for tiles of any size are not offered: for networks whose padding depends on the size, such as EfficientNet
    of TensorFlow's kind, torch needs more than ten minutes to reason about it (torch 2.14).
    """
    network = open_scoring(spec)
    pixels = torch.zeros(2, len(spec.bands), spec.tile_size, spec.tile_size)
    shapes = {0: torch.export.Dim("batch", min=1)}
    try:
        with _quiet(), torch.no_grad():
            return network, torch.export.export(network, (pixels,), dynamic_shapes=(shapes,), strict=False)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise ModelError(
            f"the network of model '{spec.name}' has no graph that torch.export can write ({reason}); export it as "
            ".safetensors."
        ) from error


def _compare(spec: ModelSpec, network: torch.nn.Module, graph: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Refuse a graph that gives other scores than its network."""
    if not gives_same_scores(network, graph, (1, len(spec.bands), spec.tile_size, spec.tile_size)):
        raise ModelError(
            f"the graph of model '{spec.name}' gives other scores than its network; export it as .safetensors."
        )


def _deepness(spec: ModelSpec) -> dict[str, str]:
    """What the plugin Deepness of QGIS reads, where it scales pixels as the model wants them."""
    scaling = _standardization(spec)
    if spec.task != SEMANTIC or scaling is None or spec.activation == "sigmoid":  # it wants probabilities, not scores
        return {}
    overlap = 100 * (2 * spec.halo + (spec.ramp or 0)) / spec.tile_size
    values: dict[str, Any] = {
        "model_type": "Segmentor",
        "class_names": {str(position): item.name for position, item in enumerate(spec.classes)},
        "tile_size": spec.tile_size,
        "tiles_overlap": round(overlap, 1),
        **({"resolution": round(100 * spec.resolution, 3)} if spec.resolution else {}),
        **scaling,
    }
    return {key: json.dumps(value) for key, value in values.items()}


def _standardization(spec: ModelSpec) -> dict[str, list[float]] | None:
    """Mean and deviation of bytes divided by 255; nothing where it wants just these, None where it wants else."""
    kinds = {item.type for item in spec.scalings}
    if kinds == {"scale"} and {item.value for item in spec.scalings} == {BYTES}:
        return {}
    if kinds != {"z-score"} or any(item.mean is None or not item.stddev for item in spec.scalings):
        return None
    if max(float(item.mean or 0) + 2 * float(item.stddev or 0) for item in spec.scalings) > 2 * BYTES:
        return None  # digital numbers, which Deepness does not divide so
    each = spec.scalings if len(spec.scalings) == len(spec.bands) else spec.scalings * len(spec.bands)
    return {
        "standardization_mean": [float(item.mean or 0) / BYTES for item in each],
        "standardization_std": [float(item.stddev or 1) / BYTES for item in each],
    }


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch prints on the way."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


OF_GRAPH: Mapping[str, Any] = {"geoseg:fixed_size": True, "geoseg:bfloat16": None}
"""What of an item is another in a graph: bfloat16 was measured of the network that torch builds."""

FORMATS: Mapping[str, ExportFormat] = {
    ".onnx": ExportFormat("onnx", {"mlm:framework": "ONNX", **OF_GRAPH}, _onnx),
    ".pt2": ExportFormat("torch.export.save", OF_GRAPH, _archive),
    ".safetensors": ExportFormat("safetensors.torch.save_file", {}, _safetensors),
}
"""Formats by the ending of the file."""
