"""Adapter for segmentation-models-pytorch: ``"smp.Unet"`` and its siblings, with any of the library's encoders.

Weights come from a file, from a folder that the library's ``save_pretrained`` wrote, or from such a folder on the
Hugging Face hub (``"hub:ORG/NAME"``); weights of an encoder alone are never asked for.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from typing import Any

import segmentation_models_pytorch as smp
import torch

from geoseg.errors import WeightsError
from geoseg.models import fitting
from geoseg.models.running import Network, settle
from geoseg.models.smp_networks import WithoutNumbers, with_found_encoder
from geoseg.models.spec import ModelSpec
from geoseg.models.state_dicts import network_state, read_state
from geoseg.models.weights import is_folder, resolve_folder, resolve_weights

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

SIZES = ("img_size", "dynamic_img_size")
"""Arguments of transformers of timm, which the library hands on without naming them."""


def build(spec: ModelSpec) -> torch.nn.Module:
    """Build the network of a spec with random weights, for training or to load weights into.

    Raises
    ------
    ModelError
        When the architecture or a hyperparameter does not exist, or they do not fit together.
    """
    architecture = fitting.find_architecture(spec, ARCHITECTURES)
    fitting.check_hyperparameters(spec, architecture, ("encoder_", "decoder_"), OURS)
    decided = {"encoder_weights": None, "in_channels": len(spec.bands), "classes": spec.score_count}
    return fitting.build(spec, architecture, **decided, activation=None, aux_params=None, **_sizes(spec))


def shift_scores(network: torch.nn.Module, shifts: torch.Tensor) -> None:
    """Add a number to each class's score, wherever it is asked for: to the bias of the last convolution.

    Parameters
    ----------
    network : torch.nn.Module
        As `build` makes it.
    shifts : Tensor
        float32, shape (class,), on the network's device.
    """
    head = network.get_submodule("segmentation_head")
    last = [layer for layer in head.modules() if isinstance(layer, torch.nn.Conv2d)][-1]
    with torch.no_grad():
        last.bias.add_(shifts)  # type: ignore[union-attr]  # no head of the library goes without


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Build the network, load its weights strictly, and put it on its device.

    Raises
    ------
    ModelError
        When the network cannot be built.
    WeightsError
        When the weights are missing, damaged, unsafe, out of reach, or do not fit the network.
    """
    network = _open_folder(spec) if is_folder(spec) else _open_file(spec)
    return settle(network, device)


def _sizes(spec: ModelSpec) -> dict[str, object]:
    """What a transformer of timm is told about its input: a tile of any size, unless the spec says otherwise."""
    any_size = {"dynamic_img_size": True} if spec.architecture == "smp.DPT" else {}
    return any_size | {name: value for name, value in spec.hyperparameters if name in SIZES}


def _open_file(spec: ModelSpec) -> torch.nn.Module:
    """Build the network that hyperparameters, or tensors where these do not say it, describe, with those tensors."""
    path = resolve_weights(spec)
    state = read_state(path)
    found = with_found_encoder(spec, {name: tuple(tensor.shape) for name, tensor in state.items()})
    with WithoutNumbers():  # the library builds encoders of timm a first time to look at them
        network = build(found)
    fitting.fit(network, network_state(state, network.state_dict().keys(), path), spec, path)
    return network


def _open_folder(spec: ModelSpec) -> torch.nn.Module:
    """Let the library build and load what it saved; its own head for whole images plays no part."""
    architecture, folder = fitting.find_architecture(spec, ARCHITECTURES), resolve_folder(spec).resolve()
    decided = {"encoder_weights": None, "activation": None, **_sizes(spec)}
    try:
        with redirect_stdout(sys.stderr):  # the library prints, and standard output is for results
            network: Any = smp.from_pretrained(str(folder), **decided)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".:") or type(error).__name__
        raise WeightsError(
            f"weights folder '{folder}' of model '{spec.name}' cannot be opened by segmentation_models_pytorch "
            f"({reason}); give one as save_pretrained writes it with --weights FOLDER."
        ) from error
    _check(network, architecture, spec)
    network.classification_head = None
    module: torch.nn.Module = network
    return module


def _check(network: Any, architecture: type[torch.nn.Module], spec: ModelSpec) -> None:
    """Refuse what was saved as something else than the spec says."""
    found = {**network.config, "architecture": type(network).__name__}
    said = {name: value for name, value in spec.hyperparameters if name in found and name not in OURS}
    wanted = {"architecture": architecture.__name__, "in_channels": len(spec.bands), "classes": spec.score_count}
    for name, value in (wanted | said).items():
        if json.dumps(found[name]) != json.dumps(value):  # tuples become lists in a file
            raise WeightsError(
                f"weights '{spec.weights}' have the {name} {found[name]} where the entry of model '{spec.name}' has "
                f"{value}; correct its architecture, bands, classes or mlm:hyperparameters."
            )
