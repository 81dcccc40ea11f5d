"""What runs a network on a CPU: torch, or OpenVINO where it is installed; and which of them where nobody chooses.

Another runtime is one more row of `RUNTIMES`. It knows specs, packages and this machine; no runtime is loaded to choose
one, because planning needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, get_args

from geoseg.errors import ModelError
from geoseg.models.precision import AGREEMENT, Precision, overflows, precision_on_cpu
from geoseg.models.spec import ModelSpec

Runtime = Literal["auto", "torch", "openvino"]


@dataclass(frozen=True)
class RuntimeRow:
    """One row of the table of runtimes.

    Attributes
    ----------
    title : str
        How its makers write it.
    adapter : str
        The module whose ``opener`` takes an adapter's opener and gives one of networks that it runs; empty where the
        adapter's network is run as it is.
    packages : tuple of str
        What must be installed, and whose version may change a label; their extra has the runtime's name.
    precisions : tuple of str
        Arithmetic that it has on a CPU.
    own_bytes : int
        Memory of a worker that has loaded it, beyond torch's.
    """

    title: str
    adapter: str = ""
    packages: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    own_bytes: int = 0


RUNTIMES: dict[str, RuntimeRow] = {
    "torch": RuntimeRow("torch", precisions=("float32", "float16", "bfloat16")),
    "openvino": RuntimeRow(
        "OpenVINO",
        "geoseg.models.openvino",
        ("openvino",),
        ("float32", "bfloat16", "int8"),
        own_bytes=300 << 20,
    ),
}
"""What runs networks, by the value of the option ``runtime``."""


def choose_runtime(spec: ModelSpec, device: str, runtime: Runtime, precision: Precision) -> tuple[Runtime, Precision]:
    """Return runtime and precision, ``auto`` resolved; precisions of other devices than CPUs stay as they are.

    ``auto`` is torch, unless 8-bit weights of the entry were seen to keep at least `AGREEMENT` of the labels, and what
    runs them is installed.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    device : str
        Where it runs.
    runtime, precision : str
        As a workflow has them.

    Raises
    ------
    ModelError
        They do not go together, with this model, or with what is installed.
    """
    _require_words(runtime, precision)
    if device.partition(":")[0] != "cpu":
        return _elsewhere(device, runtime, precision), precision
    if runtime == "auto":
        runtime = "openvino" if precision == "int8" or (precision == "auto" and _keeps_labels(spec)) else "torch"
    if precision == "auto":
        precision = "int8" if runtime == "openvino" and _is_proved(spec) else precision_on_cpu(spec)
    _require(spec, runtime, precision)
    return runtime, precision


def run_by(runtime: Runtime, precision: Precision, opener: Callable[..., Any]) -> Callable[..., Any]:
    """Make an adapter's opener one whose networks a runtime runs."""
    adapter = RUNTIMES[runtime].adapter
    made: Callable[..., Any] = import_module(adapter).opener(opener, precision) if adapter else opener
    return made


def refuse_compile(runtime: Runtime) -> None:
    """Refuse torch.compile of what torch does not run."""
    if runtime != "torch":
        raise ModelError(f"compile is torch's, and {RUNTIMES[runtime].title} runs the network; leave one of them out.")


def require_installed(purpose: str, extra: str, *packages: str) -> None:
    """Refuse what needs packages that are not installed; the extra of geoseg brings them."""
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ModelError(f"{purpose} needs {missing[0]}; install it with pip install 'geoseg[{extra}]'.")


def is_installed(runtime: Runtime) -> bool:
    """Say whether the packages of a runtime are installed."""
    return all(find_spec(name) is not None for name in RUNTIMES[runtime].packages)


def _is_proved(spec: ModelSpec) -> bool:
    """Whether 8-bit weights were seen to keep the labels, and do so on this CPU."""
    return spec.int8 is not None and spec.int8.agreement >= AGREEMENT and not overflows(spec.int8)


def _keeps_labels(spec: ModelSpec) -> bool:
    return _is_proved(spec) and is_installed("openvino")


def _require_words(runtime: str, precision: str) -> None:
    """Refuse words that are no values of the options."""
    for word, kind, name in ((runtime, Runtime, "runtime"), (precision, Precision, "precision")):
        if word not in get_args(kind):
            raise ModelError(f"'{word}' is not a {name}; use {', '.join(get_args(kind))}.")


def _elsewhere(device: str, runtime: Runtime, precision: Precision) -> Runtime:
    """The runtime of a GPU, which is torch."""
    if runtime not in ("auto", "torch"):
        raise ModelError(
            f"runtime {runtime} computes on CPUs, and device is {device}; use device cpu or runtime torch."
        )
    if precision == "int8":
        raise ModelError(f"precision int8 computes on CPUs, and device is {device}; use device cpu, or bfloat16.")
    return "torch"


def _require(spec: ModelSpec, runtime: Runtime, precision: Precision) -> None:
    """Refuse a runtime that is not there, or that cannot run this model so."""
    row = RUNTIMES[runtime]
    if precision not in row.precisions:
        others = [name for name, other in RUNTIMES.items() if precision in other.precisions]
        raise ModelError(
            f"{row.title} does not compute in {precision} on a CPU; use precision {', '.join(row.precisions)}, or "
            f"runtime {' or '.join(others)}."
        )
    if runtime == "torch":
        return
    require_installed(f"runtime {runtime} (and precision int8)", runtime, *row.packages)
    for network in spec.networks:
        _require_scores(network, row)
    if precision == "int8" and spec.int8 is None:
        raise ModelError(
            f"model '{spec.name}' has no 8-bit weights; make them with geoseg models quantize, or use precision "
            "float32 or bfloat16."
        )


def _require_scores(spec: ModelSpec, row: RuntimeRow) -> None:
    """Refuse a network that is a graph already, or that finds objects by itself."""
    if spec.framework == "pytorch" and (spec.task == "semantic-segmentation" or spec.watershed is not None):
        return
    reason = "finds objects by itself" if spec.framework == "pytorch" else f"is a graph in {spec.framework} already"
    raise ModelError(f"model '{spec.name}' {reason}, which {row.title} is not used for; use runtime torch.")
