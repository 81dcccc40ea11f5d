"""What a run computes on, as the process says that will compute: another machine may have another device."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from distributed import Client

from geoseg.engine import connect, each_worker
from geoseg.errors import GeosegWarning, WorkerError
from geoseg.models.precision import Precision, overflows
from geoseg.models.runtimes import Runtime, choose_runtime
from geoseg.models.spec import ModelSpec


@dataclass(frozen=True)
class Hardware:
    """A device and what it is good at.

    Attributes
    ----------
    device : str
        ``auto`` resolved.
    precision : str
        ``auto`` resolved where the device is there to be asked.
    memory : int
        Of a CUDA device, bytes; 0 where there is none.
    count : int
        Devices of the kind.
    runtime : str
        What runs the network, ``auto`` resolved.
    """

    device: str
    precision: Precision
    memory: int = 0
    count: int = 1
    runtime: Runtime = "torch"


def hardware_of(
    device: str,
    runtime: Runtime,
    precision: Precision,
    spec: ModelSpec,
    scheduler: str | None,
    client: Client | None,
) -> Hardware:
    """What the workers of a run compute on.

    Parameters
    ----------
    device, runtime, precision : str
        As a workflow has them; other runtimes than torch need no GPU, so ``auto`` is a CPU then.
    spec : ModelSpec
        The model.
    scheduler : str, optional
        Whose workers are asked.
    client : Client, optional
        Whose workers are asked instead; without both it is this machine.

    Raises
    ------
    WorkerError
        A worker does not have the device, or workers have different ones.
    ModelError
        Runtime, precision, model and what is installed do not go together.
    """
    device = "cpu" if device == "auto" and (runtime not in ("auto", "torch") or precision == "int8") else device
    if scheduler is None and client is None:
        return find_hardware(device, runtime, precision, spec)
    with nullcontext(client) if client is not None else connect(scheduler, 1) as workers:
        found = each_worker(workers, _on_worker, device, runtime, precision, spec)
    devices = {hardware.device for hardware in found.values()}
    if len(devices) > 1:
        examples = ", ".join(f"{device} on {address}" for address, device in _one_each(found).items())
        raise WorkerError(f"workers have different devices ({examples}), which decide labels; give the device to use.")
    ways = {(hardware.runtime, hardware.precision) for hardware in found.values()}
    memory = min(hardware.memory for hardware in found.values())
    if len(ways) > 1:
        return Hardware(devices.pop(), "float32", memory)
    chosen, precision = ways.pop()
    return Hardware(devices.pop(), precision, memory, runtime=chosen)


def find_hardware(device: str, runtime: Runtime, precision: Precision, spec: ModelSpec) -> Hardware:
    """What this process computes on; torch is loaded only where there may be something to find."""
    is_here = _sees_gpu()
    if not is_here or device == "cpu":
        device = "cpu" if device == "auto" else device
        runtime, precision = choose_runtime(spec, device, runtime, precision)
        _warn_of_overflow(spec, precision)
        return Hardware(device, "float32" if (device, precision) == ("mps", "auto") else precision, runtime=runtime)
    import torch

    from geoseg.models.running import find_device, inner_type

    found = find_device(device)
    name = found.type if device == "auto" else device
    runtime, precision = choose_runtime(spec, name, runtime, precision)
    if precision == "auto":
        precision = "bfloat16" if inner_type("auto", found) is torch.bfloat16 else "float32"
    memory = torch.cuda.get_device_properties(found).total_memory if found.type == "cuda" else 0
    return Hardware(name, precision, memory, torch.cuda.device_count() if name == "cuda" else 1, runtime)


def _warn_of_overflow(spec: ModelSpec, precision: Precision) -> None:
    """Say that 8-bit weights keep fewer labels here than their entry says."""
    if precision == "int8" and spec.int8 is not None and overflows(spec.int8):
        sentence = (
            f"the 8-bit weights of model '{spec.name}' have their full range, and this CPU has no instructions for "
            "bytes (VNNI, AMX), so sums of products overflow and more labels change than the entry says; make weights "
            "that do not with geoseg models quantize, or give --precision float32."
        )
        warnings.warn(sentence, GeosegWarning, stacklevel=3)


def _on_worker(device: str, runtime: Runtime, precision: Precision, spec: ModelSpec) -> Hardware:
    """What a worker computes on; it must have what it is asked for."""
    from geoseg.models.running import find_device

    find_device(device)
    return find_hardware(device, runtime, precision, spec)


def _one_each(found: dict[str, Hardware]) -> dict[str, str]:
    """One worker of each device, by its address."""
    by_device = {hardware.device: address for address, hardware in found.items()}
    return {address: device for device, address in by_device.items()}


def _sees_gpu() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*"))
