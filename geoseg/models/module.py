"""Adapter for a person's own network: a ``torch.nn.Module`` or any callable on tensors."""

from __future__ import annotations

import torch

from geoseg.errors import ModelError
from geoseg.models.running import Network, Opener, settle
from geoseg.models.spec import ModelSpec


def opener(network: Network) -> Opener:
    """Return what opens a network that is already there.

    Raises
    ------
    ModelError
        When it cannot be called.
    """
    if not callable(network):
        raise ModelError(
            f"a {type(network).__name__} is not a model; give a torch.nn.Module or a callable that maps pixels "
            "(n, band, y, x) to what its task needs, such as scores (n, class, y, x)."
        )

    def open_network(_spec: ModelSpec, device: torch.device) -> Network:
        return settle(network, device) if isinstance(network, torch.nn.Module) else network

    return open_network
