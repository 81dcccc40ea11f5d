"""Adapter for exported PyTorch programs: torch.export (``.pt2``) and TorchScript.

Both hold programs: `geoseg.models.safety` looks at the first before it is opened, and the second must be trusted.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from geoseg.errors import ModelError, WeightsError
from geoseg.models.running import Network, settle
from geoseg.models.safety import clean_exported, other_kind
from geoseg.models.signature import Signature
from geoseg.models.spec import ModelSpec
from geoseg.models.weights import resolve_weights

_loading = threading.Lock()
"""Held while torch reads a program: it keeps what it reads in a global, and refuses a second thread."""


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Open the program on a device.

    Raises
    ------
    ModelError
        When a program takes something else than one image.
    WeightsError
        When the file is missing, damaged, of another format, or unsafe.
    """
    path = resolve_weights(spec)
    if spec.framework == "torchscript":
        return _open_torchscript(path, device)
    return _open_exported(path, spec, device)


def _open_torchscript(path: Path, device: torch.device) -> torch.nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own word on the future of TorchScript
            module = torch.jit.load(str(path), map_location=device)
    except (RuntimeError, ValueError) as error:
        raise other_kind(path, "TorchScript") from error
    return settle(module, device)


def _moved(program: torch.export.ExportedProgram, device: torch.device) -> torch.export.ExportedProgram:
    """The same program with its weights and its constants on another device."""
    from torch.export.passes import move_to_device_pass  # newer than the oldest torch that runs the rest

    return move_to_device_pass(program, device)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from printing a traceback before it reads a program of torch 2.6."""
    log = logging.getLogger("torch.export")
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _open_exported(path: Path, spec: ModelSpec, device: torch.device) -> Network:
    archive = clean_exported(path)
    try:
        with _loading, _quiet():
            program = torch.export.load(archive)
        module = (program if device.type == "cpu" else _moved(program, device)).module()
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise WeightsError(
            f"weights file '{path}' is not a torch.export program that torch {torch.__version__} can open; export it "
            "again with this version."
        ) from error
    return _signature(program, spec).fit(module, spec)


def _signature(program: torch.export.ExportedProgram, spec: ModelSpec) -> Signature:
    """What a program takes, as its graph says."""
    names = program.graph_signature.user_inputs
    inputs = [node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder" and node.name in names]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor):
        raise ModelError(
            f"model '{spec.name}' takes the inputs {', '.join(map(str, names))}; export it with one float32 input of "
            "shape (n, band, y, x)."
        )
    lengths = tuple(length if isinstance(length, int) else None for length in inputs[0].shape)
    return Signature(inputs[0].dtype, lengths)
