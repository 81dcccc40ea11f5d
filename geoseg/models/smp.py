"""Adapter for segmentation-models-pytorch: ``"smp.Unet"`` and its siblings, with weights from a file.

Weights come from the catalog's file only: the library is never asked to download any.
"""

from __future__ import annotations

import inspect
from typing import Any

import segmentation_models_pytorch as smp
import torch

from geoseg.errors import ModelError, WeightsError, nearest
from geoseg.models.semantic import Network, settle
from geoseg.models.spec import ModelSpec
from geoseg.models.weights import read_state, resolve_weights

ARCHITECTURES: dict[str, type[torch.nn.Module]] = {
    item.__name__: item
    for item in (
        smp.Unet,
        smp.UnetPlusPlus,
        smp.MAnet,
        smp.Linknet,
        smp.FPN,
        smp.PSPNet,
        smp.PAN,
        smp.DeepLabV3,
        smp.DeepLabV3Plus,
        smp.UPerNet,
        smp.Segformer,
        smp.DPT,
    )
}
"""What may be built, by the name after ``smp.``"""

OURS = ("encoder_weights", "in_channels", "classes", "activation", "aux_params")
"""Arguments that the spec's bands, classes, weights and activation decide."""


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build the network of a spec with random weights, for training or to load weights into.

    Raises
    ------
    ModelError
        When the architecture or a hyperparameter does not exist, or they do not fit together.
    """
    name = spec.architecture.partition(".")[2]
    if name not in ARCHITECTURES:
        raise ModelError(
            f"model '{spec.name}' has the architecture '{spec.architecture}', which does not exist; "
            f"{nearest(name, list(ARCHITECTURES))}."
        )
    arguments = _arguments(spec, ARCHITECTURES[name])
    try:
        return ARCHITECTURES[name](
            encoder_weights=None, in_channels=len(spec.bands), classes=len(spec.classes), activation=None, **arguments
        )
    except (ValueError, KeyError, TypeError, RuntimeError, AssertionError) as error:
        raise ModelError(
            f"model '{spec.name}' cannot be built as {spec.architecture} with {arguments}: {str(error).rstrip('.')}; "
            "correct mlm:hyperparameters in its entry."
        ) from error


def _arguments(spec: ModelSpec, architecture: type[torch.nn.Module]) -> dict[str, Any]:
    """The hyperparameters that the architecture takes; others describe the training and are left out."""
    known = [name for name in inspect.signature(architecture).parameters if name not in OURS]
    for name, _ in spec.hyperparameters:
        if name not in known and name not in OURS and name.startswith(("encoder_", "decoder_")):
            raise ModelError(
                f"model '{spec.name}' has the hyperparameter '{name}', which {spec.architecture} does not take; "
                f"{nearest(name, known)}."
            )
    return {name: value for name, value in spec.hyperparameters if name in known}


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Build the network, load its weights strictly, and put it on its device.

    Raises
    ------
    ModelError
        When the weights do not fit the network.
    WeightsError
        When the weights are missing, damaged or unsafe.
    """
    path = resolve_weights(spec)
    state = read_state(path)
    network = build(spec)
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        found = f"lacks {missing[0]}" if missing else f"has {unknown[0]}"
        raise WeightsError(
            f"weights file '{path}' does not fit {spec.architecture} of model '{spec.name}' ({len(missing)} tensors "
            f"missing, {len(unknown)} unknown; it {found}); correct mlm:architecture and mlm:hyperparameters."
        )
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise WeightsError(
                f"weights file '{path}' does not fit model '{spec.name}': {name} has shape {tuple(tensor.shape)} where "
                f"{tuple(expected[name].shape)} is expected; correct its bands, classes or mlm:hyperparameters."
            )
    network.load_state_dict(state, strict=True)
    return settle(network, device)
