"""A model's catalog entry, written: a `ModelSpec` as a STAC Item with the MLM extension.

It writes what `geoseg.models.item` reads, and nothing that the extension's own schema refuses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from geoseg.errors import ModelError
from geoseg.models.item_assets import INT8, MULTIHASH
from geoseg.models.item_signature import IDENTITY
from geoseg.models.spec import Band, ClassSpec, ModelSpec, Quantized, Scaling, Task
from geoseg.models.stac import Json, item_path, relative, write_item
from geoseg.models.state_dicts import PICKLES
from geoseg.models.weight_files import sha256
from geoseg.models.weights import FILE_ON_HUB, hub_page, weights_size

EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "https://stac-extensions.github.io/file/v2.1.0/schema.json",
)
"""Extensions that a written item uses, in the versions that pystac's packages know."""

ARTIFACTS = {
    "onnx": "onnx",
    "torchscript": "torch.jit.save",
    "torch.export": "torch.export.save",
    "pytorch": "safetensors.torch.save_file",
}
"""Framework to ``mlm:artifact_type``."""

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "torch.export": ".pt2", "pytorch": ".safetensors"}
"""Framework to the suffix of weights that are not shipped."""

WORLD = (-180.0, -90.0, 180.0, 90.0)
"""Bounds of a model that works anywhere, degrees."""

GEOSEG = (
    "resolution", "tile_size", "halo", "multiple", "activation", "threshold", "temperature", "activation_bytes",
    "seconds_per_mpx", "ramp",
)  # fmt: skip
"""Fields of a spec that stand in an item under ``geoseg:`` as they are."""


def write_model_item(
    spec: ModelSpec,
    path: str | Path,
    *,
    description: str | None = None,
    bbox: Sequence[float] = WORLD,
    geometry: Json | None = None,
    interval: tuple[str, str] = ("2015-06-23T00:00:00Z", "2100-01-01T00:00:00Z"),
    properties: Json | None = None,
    assets: Mapping[str, Json] | None = None,
) -> Path:
    """Write a model as a STAC item; ``read_model_item`` of it gives the same spec.

    A checksum that the spec lacks is computed when the weights are a local file. When the folder above the item's own
    holds a ``collection.json``, each links to the other.

    Parameters
    ----------
    spec : ModelSpec
        What to describe; weights inside the item's folder are written as a relative address.
    path : str or Path
        The item's file (``.json``), or a folder, where it is written as ``<name>.json``.
    description : str, optional
        Replaces the spec's.
    bbox : sequence of float
        West, south, east, north, degrees: where the model was trained or may be used.
    geometry : mapping, optional
        GeoJSON; the rectangle of ``bbox`` by default.
    interval : (str, str)
        First and last time of imagery that the model was made for, RFC 3339.
    properties, assets : mapping, optional
        Further properties and assets.

    Returns
    -------
    Path
        The item's file.

    Raises
    ------
    ModelError
        When the spec is one of several models.
    OutputError
        When it cannot be written.
    """
    if spec.parts:
        raise ModelError(f"model '{spec.name}' is made of {len(spec.parts)} models; write an entry of each.")
    path = item_path(path, spec.name)
    words = description or spec.description
    described = {
        **({"description": words} if words else {}),
        "datetime": None,
        "start_datetime": interval[0],
        "end_datetime": interval[1],
        **_properties(spec),
        **(properties or {}),
    }
    quantized = {INT8: quantized_asset(spec.int8, path)} if spec.int8 else {}
    model = {"model": _model_asset(spec, path), **quantized, **(assets or {})}
    return write_item(path, spec.name, bbox, described, geometry=geometry, extensions=_extensions(spec), assets=model)


def _extensions(spec: ModelSpec) -> list[str]:
    """The extensions whose fields an item has; the schemas of eo and raster refuse an item without any."""
    absent = {
        "eo": not any(band.common_name for band in spec.bands),
        "raster": all(band.scale is None for band in spec.bands),
    }
    return [url for url in EXTENSIONS if not absent.get(url.split("/")[3], False)]


def _properties(spec: ModelSpec) -> dict[str, Any]:
    """The part of an item that describes a spec."""
    return {
        "license": spec.license or "other",
        "bands": [_band_json(band) for band in spec.bands],
        "mlm:name": spec.name,
        "mlm:architecture": spec.architecture or spec.framework,
        "mlm:framework": _framework(spec),
        "mlm:tasks": [spec.task],
        "mlm:input": [_input_json(spec)],
        "mlm:output": [_output_json(spec)],
        **({"mlm:hyperparameters": dict(spec.hyperparameters)} if spec.hyperparameters else {}),
        **_extras(spec),
    }


def _framework(spec: ModelSpec) -> str:
    """The extension's word for what opens the model."""
    if spec.framework == "onnx":
        return "ONNX"
    return "Hugging Face" if spec.architecture.startswith("transformers.") else "PyTorch"


def _extras(spec: ModelSpec) -> dict[str, Any]:
    """What tiling needs beyond the extension."""
    extras = {name: getattr(spec, name) for name in GEOSEG} | {
        "value_range": [list(pair) for pair in spec.value_range] or None,
        "fixed_size": spec.fixed_size or None,
        "min_score": spec.min_score if spec.things else None,
        "refine": asdict(spec.refine) if spec.refine else None,
        "watershed": asdict(spec.watershed) if spec.watershed else None,
        "tta": asdict(spec.tta) if spec.tta else None,
        "edge_errors": {str(distance): error for distance, error in spec.edge_errors} or None,
        "bfloat16": asdict(spec.bfloat16) if spec.bfloat16 else None,
        "metrics": {name: number for name, number in spec.metrics if math.isfinite(number)} or None,
        "dates": list(spec.dates) or None,
        "seen_values": [list(item) for item in spec.seen_values] or None,
    }
    return {f"geoseg:{name}": value for name, value in extras.items() if value is not None}


def _input_json(spec: ModelSpec) -> dict[str, Any]:
    return {
        "name": "pixels",
        "bands": spec.band_names,
        "input": {
            "shape": [-1, len(spec.bands), spec.tile_size, spec.tile_size],
            "dim_order": ["batch", "channel", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [_scaling_json(item) for item in spec.scalings] or None,
        "resize_type": None,
        "pre_processing_function": None,
    }


def _output_json(spec: ModelSpec) -> dict[str, Any]:
    """Scores of every class; of a model that only finds objects, one mask an object, however many there are."""
    scores = spec.task != "instance-segmentation"
    return {
        "name": "scores" if scores else "objects",
        "tasks": [spec.task],
        "result": {
            "shape": [-1, spec.score_count if scores else -1, spec.tile_size, spec.tile_size],
            "dim_order": ["batch", "class" if scores else "object", "height", "width"],
            "data_type": "float32" if scores else "uint8",
        },
        "classification:classes": [_class_json(item, spec.task) for item in spec.classes if not item.implied],
        "post_processing_function": None,
    }


def _band_json(band: Band) -> dict[str, Any]:
    common = {"eo:common_name": band.common_name} if band.common_name else {}
    unit = {} if band.scale is None else {"raster:scale": band.scale, "raster:offset": band.offset}
    return {"name": band.name, **common, **unit}


def _class_json(item: ClassSpec, task: Task) -> dict[str, Any]:
    """A class, which the extension wants described."""
    told_apart = {"geoseg:isthing": True} if item.isthing and task == "panoptic-segmentation" else {}
    return {
        "value": item.value,
        "name": item.name,
        "description": item.description or item.name,
        "color_hint": item.color.removeprefix("#").upper(),
        **told_apart,
    }


def _scaling_json(scaling: Scaling) -> dict[str, Any]:
    """An entry of ``value_scaling``, where the extension has no word for a band that is used as it is."""
    fields = {name: value for name, value in asdict(scaling).items() if value is not None}
    if scaling.type == "none":
        fields = {"type": "processing", "expression": IDENTITY}
    return {**fields, "format": "gdal-calc"} if fields["type"] == "processing" else fields


def _model_asset(spec: ModelSpec, path: Path) -> dict[str, Any]:
    """The asset with the role ``mlm:model``."""
    asset: dict[str, Any] = {
        "href": _href(spec, path),
        "title": f"Weights of {spec.name}",
        "type": "application/octet-stream",
        "roles": ["mlm:model", "mlm:weights"],
        "mlm:artifact_type": _artifact(spec),
        "bands": [{"name": name} for name in spec.band_names],  # STAC allows an item's bands only beside an asset's
    }
    local = Path(spec.weights) if spec.weights else None
    checksum = spec.checksum or (sha256(local) if local is not None and local.is_file() else None)
    if weights_bytes := weights_size(spec) or spec.weights_bytes:
        asset["file:size"] = weights_bytes
    if checksum is not None:
        digest = checksum.removeprefix("sha256:")
        asset["file:checksum"] = f"12{len(digest) // 2:02x}{digest}"
    if spec.weights is None:
        asset["geoseg:obtain"] = spec.obtain
    return asset


def quantized_asset(weights: Quantized, path: Path) -> dict[str, Any]:
    """The asset of 8-bit weights, in the item at a path: not the model itself, which others open."""
    checksum = {"file:checksum": MULTIHASH + weights.checksum.removeprefix("sha256:")} if weights.checksum else {}
    return {
        "href": relative(weights.graph, path),
        "title": "8-bit weights for OpenVINO",
        "type": "application/octet-stream",
        "roles": [f"geoseg:{INT8}"],
        **checksum,
        f"geoseg:{INT8}": {
            "agreement": weights.agreement,
            "seconds_per_mpx": weights.seconds_per_mpx,
            "half_range": weights.half_range,
        },
    }


def _href(spec: ModelSpec, path: Path) -> str:
    """Where the weights lie; a repository of a hub is given by its page, which a person can open."""
    if spec.weights is None:
        return f"./{spec.name}{SUFFIXES.get(spec.framework, '')}"
    if FILE_ON_HUB.fullmatch(spec.weights):
        return spec.weights
    name = spec.weights.removeprefix("hub:")
    if name == spec.weights or "/" not in name:
        return relative(spec.weights, path)
    return hub_page(name)


def _artifact(spec: ModelSpec) -> str:
    """How the weights file was saved; what torchvision fetches by name are pickles of tensors."""
    address = spec.weights or ""
    suffix = Path(urlsplit(address).path).suffix.lower()
    pickled = suffix in PICKLES or (address.startswith("hub:") and "/" not in address)
    return "torch.save" if spec.framework == "pytorch" and pickled else ARTIFACTS.get(spec.framework, spec.framework)
