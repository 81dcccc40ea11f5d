"""What the adapters of torchvision's networks share: weights by the library's own names, and any number of bands.

It knows names of builders and first convolutions, nothing of what a network predicts.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any

import torch
from torch import nn
from torchvision.models import get_model_weights

from geoseg.errors import WeightsError, nearest
from geoseg.models.spec import HUB, ModelSpec
from geoseg.models.state_dicts import read_state
from geoseg.models.weights import resolve_weights


def read_torchvision_state(spec: ModelSpec, builder: str) -> Mapping[str, torch.Tensor]:
    """Read the weights of a spec for a network of torchvision.

    Parameters
    ----------
    spec : ModelSpec
        Its ``weights`` are a file, an address, or ``"hub:NAME"`` with a name of torchvision such as
        ``"COCO_WITH_VOC_LABELS_V1"`` or ``"DEFAULT"``, which the library keeps below ``TORCH_HOME``.
    builder : str
        The function of torchvision that builds the network, such as ``"fcn_resnet50"``.

    Returns
    -------
    dict of torch.Tensor
        By name, on the CPU.

    Raises
    ------
    WeightsError
        The weights are missing, unknown, out of reach, damaged or unsafe.
    """
    if spec.weights is None or not spec.weights.startswith(HUB):
        return read_state(resolve_weights(spec))
    return _fetch(_find(spec, builder), spec)


def _find(spec: ModelSpec, builder: str) -> Any:
    """The member of torchvision's enumeration of weights that has the name in a spec."""
    known = get_model_weights(builder)
    name = str(spec.weights).removeprefix(HUB)
    if name not in known.__members__:
        raise WeightsError(
            f"weights '{spec.weights}' of model '{spec.name}' do not exist in torchvision for {builder}; "
            f"{nearest(name, list(known.__members__))}."
        )
    return known[name]


def _fetch(weights: Any, spec: ModelSpec) -> Mapping[str, torch.Tensor]:
    """Let torchvision fetch weights, once, and read them without running code."""
    safely = {"progress": False, "check_hash": True, "map_location": "cpu", "weights_only": True}
    try:
        with redirect_stdout(sys.stderr):  # the library prints, and standard output is for results
            state: Mapping[str, torch.Tensor] = weights.get_state_dict(**safely)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise WeightsError(
            f"weights '{spec.weights}' of model '{spec.name}' cannot be fetched from {weights.url} and opened "
            f"({reason}); check the connection and the folder of TORCH_HOME, or give a local file with --weights FILE."
        ) from error
    return state


def take_bands(network: nn.Module, bands: int) -> None:
    """Replace the first convolution of a network by one of random weights, unless it takes that many bands already."""
    name, first = next((name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    if first.in_channels == bands:
        return
    replacement = nn.Conv2d(
        bands,
        first.out_channels,
        first.kernel_size,  # type: ignore[arg-type] # a tuple of two, as Conv2d keeps it
        first.stride,  # type: ignore[arg-type]
        first.padding,  # type: ignore[arg-type]
        first.dilation,  # type: ignore[arg-type]
        bias=first.bias is not None,
    )
    network.set_submodule(name, replacement)
