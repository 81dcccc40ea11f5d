"""What every semantic model shares: scaling before the network, and one look at its output.

It knows tensors and a spec, not where the network comes from; an adapter hands it a callable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.errors import GeosegError, ModelError
from geoseg.models.scaling import Scaler
from geoseg.models.spec import Activation, ModelSpec

Network = Callable[[torch.Tensor], torch.Tensor]
"""Scaled pixels, float32 (n, band, y, x), to scores, float32 (n, class, y, x)."""

SLACK = 1e-3
"""How far outside 0 to 1 rounding may take a probability."""

Opener = Callable[[ModelSpec, torch.device], Network]
"""What an adapter offers: opens the network of a spec on a device."""


class SemanticModel:
    """A network that gives every pixel a probability of every class.

    Parameters
    ----------
    spec : ModelSpec
        What it promises.
    opener : Opener
        Opens its network.
    device : str
        Where it runs.
    """

    def __init__(self, spec: ModelSpec, opener: Opener, device: str = "cpu") -> None:
        self.spec = spec
        self.device = _device(device)
        self.network = opener(spec, self.device)
        self.scaler = Scaler(spec, self.device, memory_format(self.network, self.device))
        self._checked = False

    def score(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """See `geoseg.models.Model.score`."""
        with torch.inference_mode():
            scaled = self.scaler(pixels, mask)
            scores = self._run(scaled)
            if not self._checked:
                _check_scores(self.spec, scores, scaled)
                self._checked = True
            return scores.float()

    def predict(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """See `geoseg.models.Model.predict`."""
        with torch.inference_mode():
            probabilities = _activate(self.score(pixels, mask).contiguous(), self.spec.activation)
            if not torch.isfinite(probabilities.sum()):
                raise not_finite(self.spec)
        return probabilities

    def _run(self, scaled: torch.Tensor) -> torch.Tensor:
        try:
            return self.network(scaled)
        except (GeosegError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise ModelError(
                f"model '{self.spec.name}' cannot be run on pixels of shape {tuple(scaled.shape)} (n, band, y, x): "
                f"{_first_line(error)}; check its bands, tile_size and multiple ({self.spec.multiple} px)."
            ) from error


def _device(name: str) -> torch.device:
    """The device of a name, when this machine has it."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"'{name}' is not a device; use cpu, cuda, cuda:1 or mps.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device '{name}' is not available on this machine; use device cpu.")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise ModelError(f"device '{name}' does not exist; this machine has {torch.cuda.device_count()} CUDA devices.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError(f"device '{name}' is not available on this machine; use device cpu.")
    return device


def settle(module: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Put a module into its final state: evaluation mode, float32, its device, its memory format."""
    module = module.eval().to(device, torch.float32)
    return module.to(memory_format=memory_format(module, device))


def memory_format(network: Network, device: torch.device) -> torch.memory_format:
    """Channels last for networks that convolve: faster, and it fixes the bits of the result.

    A kernel of one pixel is a matrix product, which is several times slower that way.
    """
    convolves = isinstance(network, torch.nn.Module) and any(
        item.dim() == 4 and item.shape[2:].numel() > 1 for item in network.parameters()
    )
    return torch.channels_last if convolves and device.type in ("cpu", "cuda") else torch.contiguous_format


def _activate(scores: torch.Tensor, activation: Activation) -> torch.Tensor:
    if activation == "none":
        return scores
    return scores.softmax(1) if activation == "softmax" else scores.sigmoid()


def _check_scores(spec: ModelSpec, scores: Any, scaled: torch.Tensor) -> None:
    """Say in one sentence why a network's output is not what its spec promises."""
    if not isinstance(scores, torch.Tensor):
        raise ModelError(
            f"model '{spec.name}' returned a {type(scores).__name__} instead of a tensor; "
            "wrap it so that it returns scores of shape (n, class, y, x)."
        )
    expected = (scaled.shape[0], len(spec.classes), *scaled.shape[2:])
    found = tuple(scores.shape)
    if found == expected:
        _check_range(spec, scores)
    elif len(found) == 4 and found[:2] == expected[:2]:
        raise _misshapen(
            spec, found, expected, "let the network resample its scores to the size of its input, or export it so"
        )
    elif len(found) == 4:
        raise _misshapen(
            spec, found, expected, f"describe {found[1]} classes in its entry, or use weights of {expected[1]} classes"
        )
    else:
        raise _misshapen(spec, found, expected, "it must return scores of shape (n, class, y, x)")


def _check_range(spec: ModelSpec, scores: torch.Tensor) -> None:
    """Refuse scores that are said to be probabilities and are not."""
    lowest, highest = (float(value) for value in scores.float().aminmax())
    if spec.activation == "none" and (lowest < -SLACK or highest > 1 + SLACK):
        raise ModelError(
            f"model '{spec.name}' has the activation 'none' but gave values from {lowest:.3g} to {highest:.3g}, which "
            "are not probabilities; set geoseg:activation in its entry to softmax or sigmoid."
        )


def not_finite(spec: ModelSpec) -> ModelError:
    """Say what to do about scores that have no probability."""
    return ModelError(
        f"model '{spec.name}' gave values that are not finite (NaN or infinite); "
        "check that its scalings fit the raster's digital numbers, and its weights."
    )


def _misshapen(spec: ModelSpec, found: tuple[int, ...], expected: tuple[int, ...], remedy: str) -> ModelError:
    return ModelError(f"model '{spec.name}' returned shape {found} where {expected} is expected; {remedy}.")


def _first_line(error: Exception) -> str:
    """The first line of another library's message, without its full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
