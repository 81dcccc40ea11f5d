"""A model's catalog entry, read: a STAC Item with the MLM extension becomes a `ModelSpec`.

It knows JSON and the names of two vocabularies: MLM's (``mlm:``, https://github.com/stac-extensions/mlm) and what
tiling needs beyond it (``geoseg:``, every field optional). It opens no weights and runs nothing that an entry says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

from geoseg.errors import WorkflowError, nearest
from geoseg.models.architectures import read_architecture
from geoseg.models.background import class_problem
from geoseg.models.item_assets import (
    ENSEMBLE,
    INT8,
    find_assets,
    read_checksum,
    read_framework,
    read_weights,
    read_weights_bytes,
)
from geoseg.models.item_document import NUMBER, Document
from geoseg.models.item_signature import (
    default_activation,
    read_bands,
    read_channels,
    read_classes,
    read_dates,
    read_input,
    read_output,
    read_scalings,
    read_seen_values,
    read_task,
    read_tile_size,
    read_value_range,
)
from geoseg.models.refinement import read_refinement
from geoseg.models.spec import RAMP, Activation, HalfPrecision, ModelSpec, Quantized
from geoseg.models.stac import Json, absolute
from geoseg.models.tta import read_tta
from geoseg.models.watershed import read_watershed

_Settings = TypeVar("_Settings")


def read_model_item(source: str | Path | Document) -> ModelSpec:
    """Read anyone's MLM item.

    Parameters
    ----------
    source : str, Path or Document
        The item's JSON file, to whose folder addresses in it are relative; a packaging (`geoseg.models.packagings`);
        the address of one of them (`geoseg.models.addresses`); or what was read of one.

    Raises
    ------
    CatalogError
        When the file is missing or is not an item, or when a field is missing, of the wrong type, or asks for what
        cannot be done; the message names field and file.
    """
    document = source if isinstance(source, Document) else Document(source)
    properties, need = document.properties, document.need
    task = read_task(document)
    model_input, model_output = read_input(document), read_output(document, task)
    keys = find_assets(document)
    asset = document.item["assets"][keys[0]]
    classes = read_classes(document, model_output, task)
    framework = read_framework(document, asset)
    default = default_activation(model_output, len(classes), task, framework)
    activation = cast(Activation, document.choice("geoseg:activation", get_args(Activation), default))
    bands = read_bands(document, model_input, asset)
    spec = ModelSpec(
        name=str(properties.get("mlm:name") or need(document.item, "id", str)),
        task=task,
        bands=bands,
        classes=classes,
        scalings=read_scalings(document, model_input),
        value_range=read_value_range(document, len(bands)),
        resolution=document.optional("geoseg:resolution") or document.optional("gsd"),
        **_tiling(document, model_input),
        activation=activation,
        threshold=document.optional("geoseg:threshold"),
        temperature=document.optional("geoseg:temperature"),
        channels=read_channels(model_output, len(classes), activation),
        framework=framework,
        architecture=read_architecture(need(properties, "mlm:architecture", str)),
        hyperparameters=_frozen(need(properties, "mlm:hyperparameters", dict, {})),
        weights=read_weights(document, asset),
        checksum=read_checksum(document, asset),
        weights_bytes=read_weights_bytes(document, asset),
        obtain=str(asset.get("geoseg:obtain") or ""),
        activation_bytes=float(need(properties, "geoseg:activation_bytes", NUMBER, ModelSpec.activation_bytes)),
        seconds_per_mpx=document.optional("geoseg:seconds_per_mpx"),
        bfloat16=_half_precision(document),
        int8=_quantized(document),
        min_score=_min_score(document),
        refine=_settings(document, "geoseg:refine", read_refinement),
        watershed=_settings(document, "geoseg:watershed", read_watershed),
        tta=_settings(document, "geoseg:tta", read_tta),
        description=need(properties, "description", str, ""),
        license=_license(document),
        metrics=tuple(need(properties, "geoseg:metrics", dict, {}).items()),
        edge_errors=_edge_errors(document),
        seen_values=read_seen_values(document, len(bands)),
        mask=_mask(document, [item.name for item in classes]),
        dates=read_dates(document, len(bands)),
    )
    problem = class_problem(spec)
    if problem is not None:
        raise document.error("classification:classes", f"describes a model that {problem}")
    return spec if len(keys) == 1 else _ensemble(document, spec, keys)


def _tiling(document: Document, model_input: Json) -> dict[str, Any]:
    """Size, halo, ramp and multiple of tiles; what an item leaves out fits the size that it has."""
    properties, need = document.properties, document.need
    size = need(properties, "geoseg:tile_size", int, read_tile_size(model_input) or ModelSpec.tile_size)
    halo = need(properties, "geoseg:halo", int, min(32, size // 8))
    ramp = document.optional("geoseg:ramp", int)
    if ramp is None and "geoseg:halo" not in properties and 2 * (halo + RAMP) > size:
        ramp = size // 4  # the usual ramp is too wide for tiles so small
    multiple = math.gcd(32, size, 0 if ramp is None else 2 * halo + ramp)
    return {
        "tile_size": size,
        "halo": halo,
        "ramp": ramp,
        "multiple": need(properties, "geoseg:multiple", int, multiple),
        "fixed_size": need(properties, "geoseg:fixed_size", bool, False),
    }


def _ensemble(document: Document, spec: ModelSpec, keys: Sequence[str]) -> ModelSpec:
    """The spec of an ensemble, whose members differ by their weights."""
    if spec.task != "semantic-segmentation" and spec.watershed is None:
        raise document.error(ENSEMBLE, f"averages scores, which a model for {spec.task} does not give; leave it out")
    members = [(key, document.item["assets"][key]) for key in keys]
    parts = tuple(
        replace(
            spec,
            name=f"{spec.name}: {key}",
            framework=read_framework(document, asset),
            weights=read_weights(document, asset),
            checksum=read_checksum(document, asset),
            weights_bytes=read_weights_bytes(document, asset),
        )
        for key, asset in members
    )
    return replace(spec, parts=parts, framework="pytorch", architecture="", weights=None, checksum=None, int8=None)


def _license(document: Document) -> str:
    found = str(document.need(document.properties, "license", str, ""))
    return "" if found == "other" else found


def _min_score(document: Document) -> float:
    field = "geoseg:min_score"
    value = float(document.need(document.properties, field, NUMBER, ModelSpec.min_score))
    if not 0 <= value <= 1:
        raise document.error(field, f"has the value {value:g}; give a score from 0 to 1")
    return value


def _mask(document: Document, classes: list[str]) -> tuple[str, ...]:
    """Names of the classes that are not used where the model is a mask."""
    field = "geoseg:mask"
    names = document.need(document.properties, field, list, [])
    if unknown := [name for name in names if name not in classes]:
        raise document.error(
            field, f"names '{unknown[0]}', which is none of the classes; {nearest(str(unknown[0]), classes)}"
        )
    return tuple(names)


def _edge_errors(document: Document) -> tuple[tuple[int, float], ...]:
    """Pairs of distance and error, nearest first."""
    field = "geoseg:edge_errors"
    errors = document.need(document.properties, field, dict, {})
    if not all(distance.isdecimal() for distance in errors):
        raise document.error(field, f"has the keys {list(errors)}; give distances from the edge in whole px")
    pairs = [(int(distance), float(document.need(errors, distance, NUMBER))) for distance in errors]
    return tuple(sorted(pairs))


def _half_precision(document: Document) -> HalfPrecision | None:
    """What bfloat16 does, as measured."""
    measured = document.need(document.properties, "geoseg:bfloat16", dict, {})
    return HalfPrecision(**_measured(document, "geoseg:bfloat16", measured)) if measured else None


def _quantized(document: Document) -> Quantized | None:
    """8-bit weights, and what they do, as measured."""
    asset = document.item["assets"].get(INT8)
    if asset is None:
        return None
    numbers = _measured(document, "geoseg:int8", document.need(asset, "geoseg:int8", dict))
    return Quantized(
        **numbers,
        graph=absolute(document.need(asset, "href", str), document.path),
        checksum=read_checksum(document, asset),
        half_range=document.need(asset["geoseg:int8"], "half_range", bool, False),
    )


def _measured(document: Document, field: str, measured: Json) -> dict[str, float]:
    """What another arithmetic does to labels and time."""
    numbers = {name: float(document.need(measured, name, NUMBER)) for name in ("agreement", "seconds_per_mpx")}
    if not 0 <= numbers["agreement"] <= 1:
        raise document.error(field, f"has the agreement {numbers['agreement']:g}; give a part of the labels, 0 to 1")
    return numbers


def _settings(document: Document, field: str, read: Callable[[Any], _Settings | None]) -> _Settings | None:
    """What precedes or follows the network, as in a workflow."""
    try:
        return read(document.properties.get(field))
    except WorkflowError as error:
        raise document.error(field, f"cannot be used: {error}") from error


def _frozen(values: Json) -> tuple[tuple[str, Any], ...]:
    """A mapping as sorted pairs; lists become tuples, so that a spec can be hashed."""
    return tuple((name, _freeze(values[name])) for name in sorted(values))


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value
