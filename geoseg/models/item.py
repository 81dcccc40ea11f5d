"""A model's catalog entry, read: a STAC Item with the MLM extension becomes a `ModelSpec`.

It knows JSON and the names of two vocabularies: MLM's (``mlm:``, https://github.com/stac-extensions/mlm) and what
tiling needs beyond it (``geoseg:``, every field optional). It opens no weights and runs nothing that an entry says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast, get_args
from urllib.parse import urlsplit

from geoseg.errors import WorkflowError
from geoseg.models.background import class_problem
from geoseg.models.item_document import NUMBER, Document
from geoseg.models.item_signature import (
    read_bands,
    read_channels,
    read_classes,
    read_input,
    read_output,
    read_scalings,
    read_task,
    read_tile_size,
    read_value_range,
)
from geoseg.models.refinement import read_refinement
from geoseg.models.spec import Activation, ModelSpec
from geoseg.models.stac import Json, absolute
from geoseg.models.tta import read_tta
from geoseg.models.watershed import read_watershed
from geoseg.models.weights import hub_name

_Settings = TypeVar("_Settings")

MULTIHASH = "1220"
"""Prefix of a SHA-256 in ``file:checksum``: code 0x12, 0x20 bytes (https://github.com/multiformats/multihash)."""

LIBRARIES = {"segmentation_models_pytorch": "smp", "torchvision": "torchvision", "transformers": "transformers"}
"""Packages whose class paths stand in ``mlm:architecture``, and the families that they are here."""

TORCH = (*LIBRARIES, "smp", "", "pytorch", "torch", "pytorch lightning", "lightning", "hugging face", "timm")
"""Words of ``mlm:framework`` for a network that torch runs, in lower case and before the first dot."""

MODEL_ROLES = ({"mlm:model", "mlm:weights"}, {"mlm:model"}, {"mlm:weights"})
"""Roles of the asset that holds the weights, the surest first."""


def read_model_item(path: str | Path) -> ModelSpec:
    """Read anyone's MLM item.

    Parameters
    ----------
    path : str or Path
        The item's JSON file, to whose folder addresses in it are relative; or a packaging (`geoseg.models.packagings`).

    Raises
    ------
    CatalogError
        When the file is missing or is not an item, or when a field is missing, of the wrong type, or asks for what
        cannot be done; the message names field and file.
    """
    document = Document(Path(path))
    properties, need = document.properties, document.need
    task = read_task(document)
    model_input, model_output = read_input(document), read_output(document, task)
    asset = _asset(document)
    activation = cast(Activation, document.choice("geoseg:activation", get_args(Activation), "softmax"))
    classes = read_classes(document, model_output, task)
    tile_size = need(properties, "geoseg:tile_size", int, read_tile_size(model_input) or ModelSpec.tile_size)
    bands = read_bands(document, model_input, asset)
    spec = ModelSpec(
        name=str(properties.get("mlm:name") or need(document.item, "id", str)),
        task=task,
        bands=bands,
        classes=classes,
        scalings=read_scalings(document, model_input),
        value_range=read_value_range(document, len(bands)),
        resolution=document.optional("geoseg:resolution") or document.optional("gsd"),
        tile_size=tile_size,
        halo=need(properties, "geoseg:halo", int, min(32, tile_size // 8)),
        multiple=need(properties, "geoseg:multiple", int, math.gcd(32, tile_size)),
        fixed_size=need(properties, "geoseg:fixed_size", bool, False),
        activation=activation,
        threshold=document.optional("geoseg:threshold"),
        channels=read_channels(model_output, len(classes), activation),
        framework=_framework(document, asset),
        architecture=_architecture(document),
        hyperparameters=_frozen(need(properties, "mlm:hyperparameters", dict, {})),
        weights=_weights(document, asset),
        checksum=_checksum(document, asset),
        weights_bytes=_weights_bytes(document, asset),
        obtain=str(asset.get("geoseg:obtain") or ""),
        activation_bytes=float(need(properties, "geoseg:activation_bytes", NUMBER, ModelSpec.activation_bytes)),
        seconds_per_mpx=document.optional("geoseg:seconds_per_mpx"),
        ramp=document.optional("geoseg:ramp", int),
        min_score=_min_score(document),
        refine=_settings(document, "geoseg:refine", read_refinement),
        watershed=_settings(document, "geoseg:watershed", read_watershed),
        tta=_settings(document, "geoseg:tta", read_tta),
        description=need(properties, "description", str, ""),
        license=_license(document),
        metrics=tuple(need(properties, "geoseg:metrics", dict, {}).items()),
        edge_errors=_edge_errors(document),
    )
    problem = class_problem(spec)
    if problem is not None:
        raise document.error("classification:classes", f"describes a model that {problem}")
    return spec


def find_model_asset(assets: Mapping[str, Json]) -> str | None:
    """The key of the asset that holds a model's weights, by its roles; None when there is none."""
    for wanted in MODEL_ROLES:
        for key, asset in assets.items():
            if wanted <= set(asset.get("roles") or []):
                return key
    return None


def _asset(document: Document) -> Json:
    """The asset that holds the weights."""
    assets = document.need(document.item, "assets", dict)
    document.objects("assets", list(assets.values()))
    key = find_model_asset(assets)
    if key is None:
        raise document.error("assets", "has no asset with the role 'mlm:model'; add one")
    return cast(Json, assets[key])


def _framework(document: Document, asset: Json) -> str:
    """The adapter's word for framework and artifact."""
    framework = str(document.properties.get("mlm:framework") or "").lower()
    artifact = str(asset.get("mlm:artifact_type") or "").lower()
    suffix = Path(urlsplit(str(asset.get("href"))).path).suffix.lower()
    if "onnx" in (framework, artifact) or suffix == ".onnx":
        return "onnx"
    if "jit" in artifact or "torchscript" in artifact or suffix in (".torchscript", ".pts"):
        return "torchscript"
    if artifact.startswith("torch.export") or suffix == ".pt2":
        return "torch.export"
    plain = framework.partition(".")[0].replace("-", " ").replace("huggingface", "hugging face")
    return "pytorch" if plain in TORCH else framework


def _architecture(document: Document) -> str:
    """The architecture; the class path of a library becomes ``family.Class``, any other name stays."""
    found = str(document.need(document.properties, "mlm:architecture", str))
    library, dot, _ = found.partition(".")
    return f"{LIBRARIES[library]}.{found.rpartition('.')[2]}" if dot and library in LIBRARIES else found


def _weights(document: Document, asset: Json) -> str | None:
    """A path, an address, or ``hub:NAME``; None when a person must get them."""
    href = document.need(asset, "href", str)
    if asset.get("geoseg:obtain") is not None:
        return None
    if href.startswith("https://huggingface.co/"):
        href = href.replace("/blob/", "/resolve/", 1)  # the page about a file; beside it lies the file itself
    return hub_name(href) or absolute(href, document.path)


def _checksum(document: Document, asset: Json) -> str | None:
    """``sha256:<hex>`` of a multihash."""
    found = asset.get("file:checksum") or document.properties.get("file:checksum")
    if found is None:
        return None
    text = str(found).lower()
    if text.startswith(MULTIHASH) and len(text) == len(MULTIHASH) + 64:
        return f"sha256:{text.removeprefix(MULTIHASH)}"
    raise document.error("file:checksum", f"has the value {found!r}; give a SHA-256 as multihash ({MULTIHASH}...)")


def _weights_bytes(document: Document, asset: Json) -> int | None:
    """The size of the weights: as it stands there, or four bytes a parameter."""
    size = document.need(asset, "file:size", int, 0) or document.optional("file:size", int)
    parameters = document.optional("mlm:total_parameters", int)
    for name, value in (("file:size", size), ("mlm:total_parameters", parameters)):
        if value is not None and value < 0:
            raise document.error(name, f"is {value}; give a number of 0 or more")
    return size or (4 * parameters if parameters else None)


def _license(document: Document) -> str:
    found = str(document.need(document.properties, "license", str, ""))
    return "" if found == "other" else found


def _min_score(document: Document) -> float:
    field = "geoseg:min_score"
    value = float(document.need(document.properties, field, NUMBER, ModelSpec.min_score))
    if not 0 <= value <= 1:
        raise document.error(field, f"has the value {value:g}; give a score from 0 to 1")
    return value


def _edge_errors(document: Document) -> tuple[tuple[int, float], ...]:
    """Pairs of distance and error, nearest first."""
    field = "geoseg:edge_errors"
    errors = document.need(document.properties, field, dict, {})
    if not all(distance.isdecimal() for distance in errors):
        raise document.error(field, f"has the keys {list(errors)}; give distances from the edge in whole px")
    pairs = [(int(distance), float(document.need(errors, distance, NUMBER))) for distance in errors]
    return tuple(sorted(pairs))


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
