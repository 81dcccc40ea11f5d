"""Which arithmetic a network has where nobody chooses: bfloat16 where it is fast and was seen to keep the labels.

On GPUs that have it bfloat16 is what networks are run in everywhere. On CPUs it is twice as fast as float32 where there
are instructions for it, and ten times as slow elsewhere; and whether a network keeps its labels is measured for each
model, with `geoseg probe`. It knows specs and this machine; torch stays out, because planning needs none.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

from geoseg.models.spec import ModelSpec, Quantized

Precision = Literal["auto", "float32", "float16", "bfloat16", "int8"]

AGREEMENT = 0.99
"""Part of the labels that another arithmetic must leave as they are, so that it is chosen on a CPU."""


def multiplies_halves() -> bool:
    """Whether this CPU has instructions for products of bfloat16: AVX512-BF16 or AMX."""
    return _has("avx512bf16", "amx-bf16")


def multiplies_bytes() -> bool:
    """Whether this CPU has instructions for products of bytes: AVX512-VNNI, AVX-VNNI or AMX."""
    return _has("avx512vnni", "avxvnni", "amx-int8")


def overflows(weights: Quantized) -> bool:
    """Whether sums of products of 8-bit weights overflow on this CPU, so that more labels change than was measured.

    Without instructions for bytes two products of a byte and a weight are added in 16 bits: 2 * 255 * 127 is too much
    for them, and with weights of half the range 2 * 255 * 64 is not.
    """
    return not (weights.half_range or multiplies_bytes())


@cache
def _has(*names: str) -> bool:
    """Whether this CPU has one of these instruction sets."""
    from llvmlite.binding import get_host_cpu_features

    features: dict[str, Any] = get_host_cpu_features()
    return any(features.get(name) for name in names)


def precision_on_cpu(spec: ModelSpec) -> Literal["float32", "bfloat16"]:
    """What ``auto`` means on this machine's CPU.

    Parameters
    ----------
    spec : ModelSpec
        The model; without a measurement of bfloat16 it is float32, and so is ONNX, whose file says how it computes.
    """
    is_measured = spec.bfloat16 is not None and spec.framework != "onnx"
    keeps_labels = is_measured and spec.bfloat16.agreement >= AGREEMENT  # type: ignore[union-attr]
    return "bfloat16" if keeps_labels and multiplies_halves() else "float32"
