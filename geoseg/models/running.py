"""What every model shares: a network on its device, fed with scaled pixels, and its failures in one sentence.

It knows a spec and a callable; what comes out of the network is the matter of the models that hold a runner.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from numpy.typing import NDArray

from geoseg.errors import GeosegError, ModelError, is_want_of_memory
from geoseg.models.precision import Precision, multiplies_halves, precision_on_cpu
from geoseg.models.runtimes import RUNTIMES
from geoseg.models.scaling import Scaler
from geoseg.models.spec import ModelSpec

Network = Callable[..., Any]
"""Scaled pixels, float32 (n, band, y, x), to what the model of its task takes: see `geoseg.models`."""

Opener = Callable[[ModelSpec, torch.device], Network]
"""What an adapter offers: opens the network of a spec on a device."""

_COMPILING = "torch._dynamo", "torch._inductor"
"""Modules of torch whose errors are those of compiling a network, not of the network."""

SAME = 1e-3
"""Largest difference between scores of two forms of a network, in parts of their spread."""


class Runner:
    """A network of a spec on a device.

    Parameters
    ----------
    spec : ModelSpec
        What it promises.
    opener : Opener
        Opens its network.
    device : str
        Where it runs.
    precision : str
        Of the network's inner arithmetic: ``"float32"``, ``"float16"``, ``"bfloat16"``, or ``"auto"``: bfloat16 on
        CUDA devices that have it, and on CPUs that have it where the spec says that labels stay; else float32.
    compile : bool
        Compile the network with torch.compile first; minutes once, for a faster pass on long runs.

    Raises
    ------
    ModelError
        The device or the precision is not there.
    """

    def __init__(
        self,
        spec: ModelSpec,
        opener: Opener,
        device: str = "cpu",
        precision: Precision = "auto",
        compile: bool = False,  # noqa: A002 - the word of the option
    ) -> None:
        self.spec, self.device = spec, find_device(device)
        if precision == "auto" and self.device.type == "cpu":
            precision = precision_on_cpu(spec)
        self._dtype = inner_type(precision, self.device)
        network = opener(spec, self.device)
        self.takes_prompts = takes(network, 2)
        self._scaler = Scaler(spec, self.device, memory_format(network, self.device))
        self._network = torch.compile(network) if compile and isinstance(network, torch.nn.Module) else network

    def scale(self, pixels: NDArray[Any], mask: NDArray[Any]) -> torch.Tensor:
        """Turn digital numbers into what the network sees, float32 (n, band, y, x) on the device."""
        return self._scaler(pixels, mask)

    def run(self, scaled: torch.Tensor, *more: Any) -> Any:
        """Run the network; whatever it raises becomes a ModelError."""
        try:
            with self._autocast():
                return self._network(scaled, *more)
        except GeosegError:
            raise
        except Exception as error:
            if is_want_of_memory(error):
                raise
            if type(error).__module__.startswith(_COMPILING):
                raise ModelError(
                    f"model '{self.spec.name}' cannot be compiled: {first_line(error)}; install a C++ compiler such "
                    "as g++, or leave compile out."
                ) from error
            remedy = f"check its bands, tile_size and multiple ({self.spec.multiple} px)"
            if not takes(self._network, 1 + len(more)):
                remedy = "give a network that takes pixels (n, band, y, x)"
            raise ModelError(
                f"model '{self.spec.name}' cannot be run on pixels of shape {tuple(scaled.shape)} (n, band, y, x): "
                f"{first_line(error)}; {remedy}."
            ) from error

    def _autocast(self) -> AbstractContextManager[object]:
        if self._dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self.device.type, self._dtype)


def takes(network: Network, count: int) -> bool:
    """Say whether a network can be called with so many arguments; one that does not tell is taken to."""
    function = network.forward if isinstance(network, torch.nn.Module) else network
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(*[None] * count)
    except TypeError:
        return False
    return True


def find_device(name: str) -> torch.device:
    """Find the device of a name; ``auto`` is a CUDA device where there is one, and the CPU elsewhere.

    Raises
    ------
    ModelError
        It is not a device, or this machine does not have it.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
    except RuntimeError as error:
        raise ModelError(f"'{name}' is not a device; use auto, cpu, cuda, cuda:1 or mps.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(f"device '{name}' is not available on this machine; use device cpu.")
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise ModelError(f"device '{name}' does not exist; this machine has {torch.cuda.device_count()} CUDA devices.")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ModelError(f"device '{name}' is not available on this machine; use device cpu.")
    return device


def inner_type(precision: Precision, device: torch.device) -> torch.dtype:
    """The type that autocast uses; ``auto`` is float32 but for CUDA devices that have bfloat16.

    Raises
    ------
    ModelError
        There is no such precision, or the device is no good at it.
    """
    known = ("auto", *RUNTIMES["torch"].precisions)
    if precision not in known:
        raise ModelError(f"'{precision}' is not a precision of torch; use {', '.join(known)}.")
    if precision == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    if device.type == "cpu" and precision != "float32" and not multiplies_halves():
        raise ModelError(
            f"this CPU has no instructions for {precision} and would be ten times slower; use precision float32."
        )
    dtype: torch.dtype = getattr(torch, precision)
    return dtype


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


def gives_same_scores(network: Network, graph: Network, shape: tuple[int, ...]) -> bool:
    """Say whether another form of a network scores a tile of a shape (n, band, y, x) as the network does."""
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected, found = network(pixels), graph(pixels)
    spread = float(expected.max() - expected.min()) or 1.0
    return bool(expected.shape == found.shape and float((expected - found).abs().max()) <= SAME * spread)


def first_line(error: Exception) -> str:
    """The first line of another library's message, without its full stop."""
    text = f"KeyError: {error}" if isinstance(error, KeyError) else str(error)  # a key alone says nothing
    lines = text.strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
