"""Which semantic network of torchvision a state dict is of, told by the names and shapes of its tensors.

As for segmentation-models-pytorch (`geoseg.models.smp_networks`), candidates are built without memory and compared
tensor by tensor. Every argument of torchvision's builders leaves a trace.
"""

from __future__ import annotations

from collections.abc import Mapping

from geoseg.models.smp_networks import LibraryNetwork, build_shapes
from geoseg.models.state_dicts import COMPILED, TRAINING, Shapes
from geoseg.models.torchvision import ARCHITECTURES

BACKBONE, CLASSIFIER, AUXILIARY = "backbone.", "classifier.", "aux_classifier."
"""How names of tensors begin in every network of the library."""

FIRST = ("backbone.conv1.weight", "backbone.0.0.weight")
"""Convolutions that see the pixels."""

LAST = ("classifier.4.weight", "classifier.low_classifier.weight")
"""Convolutions that give the scores."""


def find_torchvision(shapes: Mapping[str, tuple[int, ...]]) -> list[LibraryNetwork]:
    """List the semantic networks of torchvision that have tensors of these names and shapes.

    Parameters
    ----------
    shapes : mapping
        Shape of each tensor by name; something such as ``model.`` may stand before all names of the network.
    """
    named = {name.replace(COMPILED, ""): shape for name, shape in shapes.items()}
    prefix = next((name.partition(BACKBONE)[0] for name in named if BACKBONE in name), "")
    own = {name.removeprefix(prefix): shape for name, shape in named.items() if name.startswith(prefix)}
    own = {name: shape for name, shape in own.items() if TRAINING.match(name) is None}
    bands, scores = (next((own[name] for name in names if name in own), None) for names in (FIRST, LAST))
    if bands is None or scores is None:
        return []
    fitting = [name for name in ARCHITECTURES if _shapes_of(name, own, bands[1], scores[0]) == own]
    return [LibraryNetwork(name, bands[1], scores[0], {}, (), library="torchvision") for name in fitting]


def _shapes_of(name: str, own: Shapes, bands: int, scores: int) -> Shapes:
    """Shapes by name of the library's network with so many bands and scores; empty where there is none."""
    auxiliary = {"aux_loss": True} if any(item.startswith(AUXILIARY) for item in own) else {}
    built = build_shapes(ARCHITECTURES[name], weights=None, weights_backbone=None, num_classes=scores, **auxiliary)
    first = [item for item in FIRST if item in (built or {})]
    return {**(built or {}), **{item: (built[item][0], bands, *built[item][2:]) for item in first if built}}
