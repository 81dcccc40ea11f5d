"""8-bit weights of a network for OpenVINO, calibrated on imagery: four times less to multiply, nearly the same labels.

Strategy. NNCF looks at what flows through the graph of a network on some tiles, and chooses for each layer the range
that 8 bits span (post-training quantization: Jacob et al. 2018, "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference", section 3). Weights get half of that range, 7 bits: so no sum of products
overflows on CPUs without instructions for bytes, and one file serves all. It knows graphs and tiles; what the weights
do to labels is measured by `geoseg.models.probe`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.files import write_file
from geoseg.models import load_model, open_scoring
from geoseg.models.probe import measure_half_precision
from geoseg.models.runtimes import require_installed
from geoseg.models.scaling import Scaler
from geoseg.models.spec import ModelSpec, Quantized
from geoseg.models.weight_files import sha256

Tile = tuple[NDArray[Any], NDArray[np.bool_]]
"""Digital numbers, shape (band, y, x), and where they are valid, shape (y, x)."""

CALIBRATION_TILES = 30
"""Tiles that are looked at; more of them change little."""


def quantize(
    spec: ModelSpec, tiles: Iterable[Tile], validation: Iterable[Tile], path: Path, *, full_range: bool = False
) -> Quantized:
    """Make 8-bit weights of a model, and measure what they do.

    Parameters
    ----------
    spec : ModelSpec
        The model; it scores pixels.
    tiles : iterable of (array, array)
        Imagery that the model was trained on, of which ranges are learned.
    validation : iterable of (array, array)
        Imagery that it was not trained on, where labels are compared with those of float32.
    path : Path
        The file that is written, ``.safetensors``.
    full_range : bool
        Give weights all 8 bits: finer, and for CPUs that have instructions for bytes.

    Raises
    ------
    ModelError
        The network has no such graph, or one for tiles of a single size.
    OutputError
        The file cannot be written.
    """
    require_installed("geoseg models quantize", "quantize", "openvino", "nncf")
    from geoseg.models.openvino import write_graph

    graph = _calibrated(spec, list(tiles), full_range)
    write_file(path, lambda unfinished: write_graph(graph, unfinished))
    made = Quantized(1.0, 0.0, str(path.resolve()), sha256(path), half_range=not full_range)
    exact, rough = (load_model(replace(spec, int8=made), precision=name) for name in ("float32", "int8"))
    return replace(made, **asdict(measure_half_precision(exact, rough, validation)))


def _calibrated(spec: ModelSpec, tiles: list[Tile], full_range: bool) -> Any:
    """The graph of a model with ranges of 8 bits; NNCF shows its progress on standard output, where results go."""
    from geoseg.models.openvino import convert, require_same  # first: OpenVINO's reports are off then

    import nncf  # isort: skip

    if not tiles:
        raise ModelError(
            f"model '{spec.name}' sees no valid pixel of this imagery; give imagery that shows its classes."
        )
    shape = (1, len(spec.bands), spec.tile_size, spec.tile_size)
    network = open_scoring(spec)
    graph = convert(spec, lambda *_: network, shape)
    if not spec.fixed_size:
        half = -(-spec.tile_size // (2 * spec.multiple)) * spec.multiple
        smaller = graph.clone()
        smaller.reshape({0: [*shape[:2], half, half]})
        require_same(spec, network, smaller, (*shape[:2], half, half))
        graph.reshape({0: [*shape[:2], -1, -1]})  # small scenes have one smaller tile
    scaler = Scaler(spec, torch.device("cpu"), torch.contiguous_format)
    data = nncf.Dataset(tiles, lambda tile: scaler(tile[0][None], tile[1][None]).numpy())
    if full_range:
        preset, fix = nncf.QuantizationPreset.PERFORMANCE, nncf.OverflowFix.FIRST_LAYER
    else:  # activations have a zero of their own: more labels stay
        preset, fix = nncf.QuantizationPreset.MIXED, nncf.OverflowFix.ENABLE
    with redirect_stdout(sys.stderr):
        return nncf.quantize(
            graph,
            data,
            subset_size=len(tiles),
            preset=preset,
            target_device=nncf.TargetDevice.CPU,
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=fix),
        )
