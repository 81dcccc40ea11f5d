"""Adapter for exported PyTorch programs: torch.export (``.pt2``) and TorchScript.

Both hold programs; `geoseg.models.safety` looks at what is in them before either is opened.
"""

from __future__ import annotations

from pathlib import Path

import torch

from geoseg.errors import WeightsError
from geoseg.models.running import Network, settle
from geoseg.models.safety import check_torchscript, clean_exported
from geoseg.models.spec import ModelSpec
from geoseg.models.weights import resolve_weights


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
    check_torchscript(path)
    try:
        module = torch.jit.load(str(path), map_location=device)
    except (RuntimeError, ValueError) as error:
        raise WeightsError(
            f"weights file '{path}' is not a TorchScript program that this torch can open; export it again."
        ) from error
    return settle(module, device)


def _moved(program: torch.export.ExportedProgram, device: torch.device) -> torch.export.ExportedProgram:
    """The same program with its weights and its constants on another device."""
    from torch.export.passes import move_to_device_pass  # newer than the oldest torch that runs the rest

    return move_to_device_pass(program, device)


def _open_exported(path: Path, device: torch.device) -> torch.nn.Module:
    archive = clean_exported(path)
    try:
        program = torch.export.load(archive)
        return (program if device.type == "cpu" else _moved(program, device)).module()
    except (RuntimeError, ValueError, KeyError, AssertionError) as error:
        raise WeightsError(
            f"weights file '{path}' is not a torch.export program that torch {torch.__version__} can open; export it "
            "again with this version."
        ) from error
