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

from geoseg.errors import WeightsError
from geoseg.models.running import Network, settle
from geoseg.models.safety import clean_exported, other_kind
from geoseg.models.spec import ModelSpec
from geoseg.models.weights import resolve_weights

_loading = threading.Lock()
"""Held while torch reads a program: it keeps what it reads in a global, and refuses a second thread."""


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Open the program on a device.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, of another format, or unsafe.
    """
    path = resolve_weights(spec)
    if spec.framework == "torchscript":
        return _open_torchscript(path, device)
    return _open_exported(path, device)


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


def _open_exported(path: Path, device: torch.device) -> torch.nn.Module:
    archive = clean_exported(path)
    try:
        with _loading, _quiet():
            program = torch.export.load(archive)
        return (program if device.type == "cpu" else _moved(program, device)).module()
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise WeightsError(
            f"weights file '{path}' is not a torch.export program that torch {torch.__version__} can open; export it "
            "again with this version."
        ) from error
