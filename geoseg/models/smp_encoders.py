"""Which encoder of segmentation-models-pytorch some weights are of, where nothing but their tensors tells.

Networks are built without memory (torch's meta device) until one has the same tensors by name and shape; it knows the
library's list of encoders, and nothing of files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import segmentation_models_pytorch as smp
import torch

from geoseg.models.spec import ModelSpec

PREFIX = "encoder."
"""How the names of an encoder's tensors begin."""

USUAL = ("resnet34", "resnet50", "resnet18", "efficientnet-b3", "efficientnet-b0", "mobilenet_v2")
"""Encoders that are looked at before the others, because most weights are of them."""

BLOCK = re.compile(r"decoder\.blocks\.(\d+)\.conv2\.0\.weight")
"""The last convolution of a step of a U-Net's decoder; its first axis are the channels that the step gives."""

DEPTH = 5
"""Steps of an encoder unless something else is said."""

Shapes = dict[str, torch.Size]


def with_found_encoder(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> ModelSpec:
    """Return the spec with the encoder, depth and channels of the decoder that its weights are of.

    Parameters
    ----------
    spec : ModelSpec
        One that says an ``encoder_name`` is returned as it is.
    state : mapping
        Tensors by name.

    Returns
    -------
    ModelSpec
        As it was where no encoder of the library has these tensors: loading them says what does not fit.
    """
    said = dict(spec.hyperparameters)
    if "encoder_name" in said:
        return spec
    shapes = {name: tensor.shape for name, tensor in state.items()}
    found = {**_decoder(spec, shapes), **said}
    name = _find(spec, shapes, int(found.get("encoder_depth", DEPTH)))
    if name is None:
        return spec
    return replace(spec, hyperparameters=tuple(sorted((found | {"encoder_name": name}).items())))


def _decoder(spec: ModelSpec, shapes: Shapes) -> dict[str, Any]:
    """Depth and channels of a U-Net's decoder; of others the library's own."""
    if spec.architecture != "smp.Unet":
        return {}
    blocks = {int(found[1]): size for name, size in shapes.items() if (found := BLOCK.fullmatch(name))}
    if sorted(blocks) != list(range(len(blocks))) or not blocks:
        return {}
    is_attentive = any(".attention1.attention." in name for name in shapes)
    return {
        "encoder_depth": len(blocks),
        "decoder_channels": tuple(blocks[step][0] for step in sorted(blocks)),
        **({"decoder_attention_type": "scse"} if is_attentive else {}),
    }


def _find(spec: ModelSpec, shapes: Shapes, depth: int) -> str | None:
    """The encoder whose tensors have these names and shapes."""
    own = {name.removeprefix(PREFIX): size for name, size in shapes.items() if name.startswith(PREFIX)}
    for name in _ordered(spec):
        if own and _shapes_of(name, len(spec.bands), depth) == own:
            return name
    return None


def _ordered(spec: ModelSpec) -> Iterator[str]:
    """All encoders of the library, once each: those that name or address of the model mention, the usual, the rest."""
    known = sorted(smp.encoders.encoders, key=lambda name: name.startswith("timm-"))  # the library gives them up
    words = _plain(f"{spec.name} {spec.weights}")
    mentioned = sorted((name for name in known if _plain(name) in words), key=len, reverse=True)
    yield from dict.fromkeys([*mentioned, *(name for name in USUAL if name in known), *known])


def _plain(text: str) -> str:
    """A name without what people leave out: ``efficientnet-b3`` is ``effb3``."""
    return re.sub(r"[^a-z0-9]", "", text.casefold()).replace("efficientnet", "eff")


def _shapes_of(name: str, bands: int, depth: int) -> Shapes | None:
    """Shapes of an encoder's tensors; None where the library cannot build it so."""
    for device in ("meta", "cpu"):  # a few encoders compute with numbers while they are built
        try:
            with torch.device(device):
                encoder = smp.encoders.get_encoder(name, in_channels=bands, depth=depth, weights=None)
        except (ValueError, KeyError, TypeError, RuntimeError, AssertionError, NotImplementedError, IndexError):
            continue
        return {key: tensor.shape for key, tensor in encoder.state_dict().items()}
    return None
