"""Models: what they promise (`spec`), how they are opened, and one small adapter a family.

Importing this package loads no deep-learning library, so that catalogs can be listed at once; the adapter
that a model needs is imported when the model is opened, and only that one.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from geoseg.errors import ModelError, nearest
from geoseg.models.spec import Activation, Band, ClassSpec, ModelSpec, Scaling, Task

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

__all__ = [
    "Activation",
    "Band",
    "ClassSpec",
    "Model",
    "ModelSpec",
    "Scaling",
    "Task",
    "load_model",
    "wrap",
]

FRAMEWORKS = {
    "onnx": "geoseg.models.onnx",
    "torchscript": "geoseg.models.exported",
    "torch.export": "geoseg.models.exported",
}
"""Adapters of files that hold their own graph, by framework."""

FAMILIES = {"smp": "geoseg.models.smp"}
"""Adapters of architectures built from a library (framework ``"pytorch"``), by the name before the first dot."""


class Model(Protocol):
    """An opened model: what every stage after the catalog works with."""

    @property
    def spec(self) -> ModelSpec:
        """What the model promises."""

    def score(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """Turn pixels into scores, what the spec's activation turns into probabilities.

        Parameters
        ----------
        pixels, mask
            As in `predict`.

        Returns
        -------
        torch.Tensor
            float32, shape (n, class, y, x), in any order in memory, on the model's device; not to be overwritten.
        """

    def predict(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """Turn pixels into probabilities.

        Parameters
        ----------
        pixels : array
            Digital numbers in the file's dtype, shape (n, band, y, x), bands in the spec's order.
        mask : bool array
            Shape (n, y, x), True = valid; invalid pixels become 0 after scaling.

        Returns
        -------
        torch.Tensor
            float32, shape (n, class, y, x), contiguous, on the model's device; not to be overwritten.
        """


def load_model(spec: ModelSpec, device: str = "cpu") -> Model:
    """Open a model of the catalog.

    Parameters
    ----------
    spec : ModelSpec
        What to open; its weights are fetched, verified and loaded safely.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.

    Raises
    ------
    ModelError
        When no adapter knows the framework or architecture, or the weights do not fit it.
    WeightsError
        When the weights are missing, damaged or unsafe.
    """
    adapter = import_module(_adapter_name(spec))
    semantic = import_module("geoseg.models.semantic")
    model: Model = semantic.SemanticModel(spec, adapter.open_network, device)
    return model


def wrap(network: Callable[[torch.Tensor], torch.Tensor], spec: ModelSpec, device: str = "cpu") -> Model:
    """Make a model of a person's own ``torch.nn.Module`` or callable.

    Parameters
    ----------
    network : callable
        Maps scaled pixels, float32 (n, band, y, x), to scores, float32 (n, class, y, x). A module is put into
        evaluation mode and moved to the device.
    spec : ModelSpec
        What it promises: bands, classes, scalings, activation.
    device : str
        Where it runs.
    """
    module = import_module("geoseg.models.module")
    semantic = import_module("geoseg.models.semantic")
    model: Model = semantic.SemanticModel(spec, module.opener(network), device)
    return model


def _adapter_name(spec: ModelSpec) -> str:
    """The module that opens a spec."""
    if spec.task != "semantic-segmentation":
        raise ModelError(
            f"model '{spec.name}' does {spec.task}, which cannot be run yet; use a model for semantic-segmentation."
        )
    if spec.framework in FRAMEWORKS:
        return FRAMEWORKS[spec.framework]
    if spec.framework != "pytorch":
        known = ["pytorch", *FRAMEWORKS]
        raise ModelError(
            f"model '{spec.name}' has the framework '{spec.framework}', which cannot be opened; "
            f"{nearest(spec.framework, known)}."
        )
    family = spec.architecture.partition(".")[0]
    if family not in FAMILIES:
        raise ModelError(
            f"model '{spec.name}' has the architecture '{spec.architecture}', which no adapter knows; name it "
            f"FAMILY.CLASS with a family of {', '.join(FAMILIES)}, or export the model as ONNX or torch.export."
        )
    return FAMILIES[family]
