"""Adapter for ONNX files, run by onnxruntime on a CPU or a CUDA device."""

from __future__ import annotations

import onnxruntime
import torch

from geoseg.errors import ModelError, WeightsError
from geoseg.models.averaging import scores_of
from geoseg.models.running import Network
from geoseg.models.signature import IMAGE, Signature
from geoseg.models.spec import ModelSpec
from geoseg.models.weight_files import last_step
from geoseg.models.weights import resolve_weights

_STATE = onnxruntime.capi.onnxruntime_pybind11_state
UNREADABLE = (_STATE.InvalidProtobuf, _STATE.InvalidGraph, _STATE.InvalidArgument, _STATE.Fail, _STATE.NotImplemented)
"""What onnxruntime raises for a file it cannot open; its exceptions share no base."""

TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
    "tensor(uint8)": torch.uint8,
}
"""Pixels that a file may take, by onnxruntime's word."""


STEPS = {"softmax": "Softmax", "sigmoid": "Sigmoid"}
"""ONNX's operators that are activations: where a file ends with its model's own, it must not be applied twice."""


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Open a session and return what runs it.

    Raises
    ------
    ModelError, WeightsError
        As `open_session`.
    """
    session, signature = open_session(spec, device)
    name, output = session.get_inputs()[0].name, _scores_of(session)
    is_activated = last_step(resolve_weights(spec), output) == STEPS.get(spec.activation)

    def run(pixels: torch.Tensor) -> torch.Tensor:
        scores = torch.from_numpy(session.run([output], {name: pixels.cpu().numpy()})[0]).to(device)
        return scores_of(scores, spec.activation) if is_activated else scores

    return signature.fit(run, spec)


def open_session(spec: ModelSpec, device: torch.device) -> tuple[onnxruntime.InferenceSession, Signature]:
    """Open the file of a spec, and tell what its only input takes.

    Raises
    ------
    ModelError
        When the file takes something else than one image, or onnxruntime cannot use the device.
    WeightsError
        When the file is missing or is not ONNX.
    """
    path = resolve_weights(spec)
    providers = _providers(device)
    try:
        session = onnxruntime.InferenceSession(str(path), _options(), providers=providers)
    except UNREADABLE as error:
        raise WeightsError(
            f"weights file '{path}' of model '{spec.name}' is not an ONNX model that onnxruntime can open; "
            "fetch it again or export it again."
        ) from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in TYPES:
        found = ", ".join(f"{item.name}: {item.type}" for item in inputs)
        raise ModelError(
            f"model '{spec.name}' takes the inputs {found}; export it with one float32 input of shape (n, band, y, x)."
        )
    lengths = tuple(length if isinstance(length, int) and length > 0 else None for length in inputs[0].shape)
    return session, Signature(TYPES[inputs[0].type], lengths)


def _scores_of(session: onnxruntime.InferenceSession) -> str:
    """The name of the first output that is a batch of images; of the first where none says so."""
    outputs = session.get_outputs()
    images = [item for item in outputs if len(item.shape) == IMAGE]
    return str((images or outputs)[0].name)


def _options() -> onnxruntime.SessionOptions:
    """One thread and no choices made at run time: the same bits on every call."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    return options


def _providers(device: torch.device) -> list[str | tuple[str, dict[str, int]]]:
    """What onnxruntime calls a device."""
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        return [("CUDAExecutionProvider", {"device_id": device.index or 0})]
    raise ModelError(
        f"onnxruntime cannot run on device '{device}' here; use device cpu, or install onnxruntime-gpu for cuda."
    )
