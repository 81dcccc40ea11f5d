"""A model's catalog entry: a STAC Item with the MLM extension, read into a `ModelSpec` and written from one.

It knows JSON and the names of two vocabularies: MLM's (``mlm:``, https://github.com/stac-extensions/mlm) and what
tiling needs beyond it (``geoseg:``, every field optional). It opens no weights and runs nothing that an entry says.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast, get_args
from urllib.parse import urlsplit

from geoseg.errors import CatalogError, GeosegWarning
from geoseg.models.spec import Activation, Band, ClassSpec, ModelSpec, Scaling, ScalingType, Task
from geoseg.models.stac import Json, absolute, item_path, read_json, relative, write_item
from geoseg.models.weights import sha256

EXTENSIONS = (
    "https://stac-extensions.github.io/mlm/v1.4.0/schema.json",
    "https://stac-extensions.github.io/classification/v2.0.0/schema.json",
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
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

MULTIHASH = "1220"
"""Prefix of a SHA-256 in ``file:checksum``: code 0x12, 0x20 bytes (https://github.com/multiformats/multihash)."""

WORLD = (-180.0, -90.0, 180.0, 90.0)
"""Bounds of a model that works anywhere, degrees."""

GEOSEG = ("resolution", "tile_size", "halo", "multiple", "activation", "activation_bytes", "seconds_per_mpx")
"""Fields of a spec that stand in an item under ``geoseg:``."""


def read_model_item(path: str | Path) -> ModelSpec:
    """Read anyone's MLM item.

    Parameters
    ----------
    path : str or Path
        The item's JSON file; relative addresses in it are relative to its folder.

    Raises
    ------
    CatalogError
        When the file is missing or is not an item, or when a field is missing, of the wrong type, or asks for what
        cannot be done; the message names field and file.
    """
    return _Reader(Path(path)).spec()


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
    OutputError
        When it cannot be written.
    """
    path = item_path(path, spec.name)
    described = {
        "description": description or spec.description,
        "datetime": None,
        "start_datetime": interval[0],
        "end_datetime": interval[1],
        **_properties(spec),
        **(properties or {}),
    }
    model = {"model": _model_asset(spec, path), **(assets or {})}
    return write_item(path, spec.name, bbox, described, geometry=geometry, extensions=EXTENSIONS, assets=model)


def _properties(spec: ModelSpec) -> dict[str, Any]:
    """The part of an item that describes a spec."""
    shape = [-1, len(spec.bands), spec.tile_size, spec.tile_size]
    model_input = {
        "name": "pixels",
        "bands": spec.band_names,
        "input": {
            "shape": shape,
            "dim_order": ["batch", "channel", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [_scaling_json(item) for item in spec.scalings] or None,
        "resize_type": None,
        "pre_processing_function": None,
    }
    model_output = {
        "name": "scores",
        "tasks": [spec.task],
        "result": {
            "shape": [-1, len(spec.classes), *shape[2:]],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [_class_json(item) for item in spec.classes],
        "post_processing_function": None,
    }
    extra = {f"geoseg:{name}": getattr(spec, name) for name in GEOSEG}
    return {
        "license": spec.license or "other",
        "bands": [_band_json(band) for band in spec.bands],
        "mlm:name": spec.name,
        "mlm:architecture": spec.architecture or spec.framework,
        "mlm:framework": "ONNX" if spec.framework == "onnx" else "PyTorch",
        "mlm:tasks": [spec.task],
        "mlm:input": [model_input],
        "mlm:output": [model_output],
        **({"mlm:hyperparameters": dict(spec.hyperparameters)} if spec.hyperparameters else {}),
        **{name: value for name, value in extra.items() if value is not None},
        **({"geoseg:metrics": dict(spec.metrics)} if spec.metrics else {}),
    }


def _band_json(band: Band) -> dict[str, str]:
    common = {"eo:common_name": band.common_name} if band.common_name else {}
    return {"name": band.name, **common}


def _class_json(item: ClassSpec) -> dict[str, Any]:
    described = {"description": item.description} if item.description else {}
    return {
        "value": item.value,
        "name": item.name,
        "color_hint": item.color.removeprefix("#").upper(),
        **described,
    }


def _scaling_json(scaling: Scaling) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(scaling).items() if value is not None}
    if scaling.type == "none":
        return {**fields, "type": None}
    return {**fields, "format": "gdal-calc"} if scaling.type == "processing" else fields


def _model_asset(spec: ModelSpec, path: Path) -> dict[str, Any]:
    """The asset with the role ``mlm:model``."""
    asset: dict[str, Any] = {
        "href": relative(spec.weights, path) if spec.weights else f"./{spec.name}{SUFFIXES.get(spec.framework, '')}",
        "title": f"Weights of {spec.name}",
        "type": "application/octet-stream",
        "roles": ["mlm:model", "mlm:weights"],
        "mlm:artifact_type": ARTIFACTS.get(spec.framework, spec.framework),
        "bands": [{"name": name} for name in spec.band_names],  # STAC allows an item's bands only beside an asset's
    }
    local = Path(spec.weights) if spec.weights else None
    checksum = spec.checksum or (sha256(local) if local is not None and local.is_file() else None)
    if checksum is not None:
        asset["file:checksum"] = MULTIHASH + checksum.removeprefix("sha256:")
    if spec.weights is None:
        asset["geoseg:obtain"] = spec.obtain
    return asset


class _Reader:
    """One item being read: every question is answered with a field's value, or an error that names field and file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.item = read_json(path)
        if self.item.get("type") != "Feature":
            raise self.error("type", "is not 'Feature'; give a STAC item, not a catalog or collection")
        self.properties: Json = self.need(self.item, "properties", dict)

    def error(self, field: str, problem: str) -> CatalogError:
        return CatalogError(f"field '{field}' of catalog entry '{self.path}' {problem}.")

    def need(self, where: Json, field: str, kind: type | tuple[type, ...], default: Any = None) -> Any:
        """A field's value, which must be of a kind; an error when it is missing and there is no default."""
        value = where.get(field)
        if value is None:
            if default is not None:
                return default
            raise self.error(field, "is missing; add it")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(field, f"has the value {value!r}, which is of the wrong type; correct it")
        return value

    def objects(self, field: str, entries: Any) -> list[Json]:
        """The entries of a list, each of which must be an object."""
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.error(field, f"has the value {entries!r}; give a list of objects")
        return entries

    def spec(self) -> ModelSpec:
        """The whole item."""
        properties = self.properties
        model_input = self._only("mlm:input")
        model_output = self._only("mlm:output")
        asset = self._asset()
        tile_size = self._tile_size(model_input)
        number = (int, float)
        obtain = asset.get("geoseg:obtain")
        return ModelSpec(
            name=str(properties.get("mlm:name") or self.need(self.item, "id", str)),
            task=self._task(),
            bands=self._bands(model_input, asset),
            classes=self._classes(model_output),
            scalings=self._scalings(model_input),
            resolution=self._optional("geoseg:resolution", properties.get("gsd")),
            tile_size=tile_size,
            halo=self.need(properties, "geoseg:halo", int, min(32, tile_size // 8)),
            multiple=self.need(properties, "geoseg:multiple", int, math.gcd(32, tile_size)),
            activation=self._activation(),
            framework=self._framework(asset),
            architecture=self._architecture(),
            hyperparameters=_frozen(self.need(properties, "mlm:hyperparameters", dict, {})),
            weights=None if obtain is not None else absolute(self.need(asset, "href", str), self.path),
            checksum=self._checksum(asset),
            obtain=obtain or "",
            activation_bytes=float(self.need(properties, "geoseg:activation_bytes", number, 600.0)),
            seconds_per_mpx=self._optional("geoseg:seconds_per_mpx"),
            description=self.need(properties, "description", str, ""),
            license=self._license(),
            metrics=tuple(self.need(properties, "geoseg:metrics", dict, {}).items()),
        )

    def _optional(self, field: str, default: Any = None) -> float | None:
        value = self.properties.get(field, default)
        return None if value is None else float(self.need({field: value}, field, (int, float)))

    def _only(self, field: str) -> Json:
        """The single entry of ``mlm:input`` or ``mlm:output``."""
        entries = self.objects(field, self.need(self.properties, field, list))
        if len(entries) != 1:
            raise self.error(field, f"has {len(entries)} entries; models with exactly one can be used")
        return entries[0]

    def _license(self) -> str:
        found = str(self.need(self.properties, "license", str, ""))
        return "" if found == "other" else found

    def _architecture(self) -> str:
        """The architecture; a class path of segmentation-models-pytorch becomes ``smp.Class``."""
        found = str(self.need(self.properties, "mlm:architecture", str))
        if found.startswith("segmentation_models_pytorch."):
            return f"smp.{found.rpartition('.')[2]}"
        return found

    def _activation(self) -> Activation:
        value = self.properties.get("geoseg:activation", "softmax")
        if value not in get_args(Activation):
            raise self.error("geoseg:activation", f"has the value {value!r}; use softmax, sigmoid or none")
        return cast(Activation, value)

    def _task(self) -> Task:
        tasks = self.need(self.properties, "mlm:tasks", list)
        for task in get_args(Task):
            if task in tasks:
                return cast(Task, task)
        if "segmentation" in tasks:
            return "semantic-segmentation"
        raise self.error("mlm:tasks", f"has the value {tasks}; models for {', '.join(get_args(Task))} can be used")

    def _tile_size(self, model_input: Json) -> int:
        """The preferred tile: the entry's own, or the height and width of the input's shape."""
        structure = self.need(model_input, "input", dict)
        shape = self.need(structure, "shape", list)
        order = [str(name) for name in self.need(structure, "dim_order", list)]
        if len(order) != len(shape) or len(order) not in (3, 4) or tuple(order[-2:]) not in IMAGE_AXES:
            raise self.error("dim_order", f"has the value {order}; only (batch, channel, height, width) can be used")
        fixed = [size for size in shape[-2:] if isinstance(size, int) and size > 0]
        return int(self.need(self.properties, "geoseg:tile_size", int, min(fixed, default=1024)))

    def _bands(self, model_input: Json, asset: Json) -> tuple[Band, ...]:
        """Bands by name, with their common names from wherever the item describes them."""
        described: dict[str, str | None] = {}
        for where in (asset, self.properties):
            for field in ("raster:bands", "eo:bands", "bands"):
                for band in self.objects(field, where.get(field) or []):
                    common = band.get("eo:common_name") or band.get("common_name")
                    described[str(band.get("name"))] = common or described.get(str(band.get("name")))
        bands = []
        named = [{"name": item} if isinstance(item, str) else item for item in self.need(model_input, "bands", list)]
        for entry in self.objects("bands", named):
            name = self.need(entry, "name", str)
            if entry.get("expression") is not None:
                raise self.error("bands", f"has '{name}', which is made by an expression; use plain bands")
            bands.append(Band(name, described.get(name)))
        return tuple(bands) or self._numbered_bands(model_input)

    def _numbered_bands(self, model_input: Json) -> tuple[Band, ...]:
        """Bands of a model that names none: by position."""
        shape = model_input["input"]["shape"]
        if not isinstance(shape[-3], int) or shape[-3] < 1:
            raise self.error("mlm:input", "names no bands and has a shape without their number; add bands")
        return tuple(Band(str(position)) for position in range(1, shape[-3] + 1))

    def _scalings(self, model_input: Json) -> tuple[Scaling, ...]:
        if model_input.get("pre_processing_function") is not None:
            warnings.warn(
                f"'{self.path}' names a pre_processing_function, which is code and is not run; describe it as "
                "value_scaling if the model needs it.",
                GeosegWarning,
                stacklevel=4,
            )
        entries = self.need(model_input, "value_scaling", list, [])
        return tuple(self._scaling(entry) for entry in self.objects("value_scaling", entries))

    def _scaling(self, entry: Json) -> Scaling:
        kind = entry.get("type") or "none"
        if kind not in get_args(ScalingType):
            raise self.error("value_scaling", f"has the type {kind!r}; use one of {', '.join(get_args(ScalingType))}")
        if kind == "processing" and entry.get("format") not in ("gdal-calc", "gdal_calc"):
            raise self.error("value_scaling", f"has the format {entry.get('format')!r}; write it as gdal-calc")
        names = ("minimum", "maximum", "mean", "stddev", "value")
        numbers = {name: self.need(entry, name, (int, float)) for name in names if entry.get(name) is not None}
        expression = self.need(entry, "expression", str) if kind == "processing" else None
        return Scaling(cast(ScalingType, kind), expression=expression, **numbers)

    def _classes(self, model_output: Json) -> tuple[ClassSpec, ...]:
        field = "classification:classes"
        entries = model_output.get(field) or model_output.get("classification_classes")
        if not entries:
            raise self.error(field, "is missing; add the classes of the output to mlm:output")
        classes = tuple(self._class(entry, position) for position, entry in enumerate(self.objects(field, entries)))
        values = [item.value for item in classes]
        if len(set(values)) != len(values) or min(values) < 0 or max(values) > 254:
            raise self.error(field, f"has the values {values}; each must be different, 0 to 254 (255 is nodata)")
        return classes

    def _class(self, entry: Json, position: int) -> ClassSpec:
        value = self.need(entry, "value", int, position)
        hint = entry.get("color_hint")
        if isinstance(hint, list):
            hint = "".join(f"{channel:02X}" for channel in hint)
        return ClassSpec(
            value=value,
            name=str(entry.get("name") or entry.get("title") or f"class {value}"),
            color=f"#{str(hint).removeprefix('#').upper()}" if hint else ClassSpec.color,
            description=str(entry.get("description") or ""),
        )

    def _asset(self) -> Json:
        """The asset with the role ``mlm:model``; else one with the role ``mlm:weights``."""
        assets = self.need(self.item, "assets", dict)
        for role in ("mlm:model", "mlm:weights"):
            for asset in self.objects("assets", list(assets.values())):
                if role in (asset.get("roles") or []):
                    return asset
        raise self.error("assets", "has no asset with the role 'mlm:model'; add one")

    def _framework(self, asset: Json) -> str:
        """The adapter's word for framework and artifact."""
        framework = str(self.properties.get("mlm:framework") or "").lower()
        artifact = str(asset.get("mlm:artifact_type") or "").lower()
        suffix = Path(urlsplit(str(asset.get("href"))).path).suffix.lower()
        if framework == "onnx" or artifact == "onnx" or suffix == ".onnx":
            return "onnx"
        if "jit" in artifact or "torchscript" in artifact or suffix in (".torchscript", ".pts"):
            return "torchscript"
        if artifact.startswith("torch.export") or suffix == ".pt2":
            return "torch.export"
        smp = framework.startswith("segmentation_models_pytorch") or framework == "smp"
        return "pytorch" if smp or framework in ("", "pytorch", "torch") else framework

    def _checksum(self, asset: Json) -> str | None:
        """``sha256:<hex>`` of a multihash."""
        found = asset.get("file:checksum") or self.properties.get("file:checksum")
        if found is None:
            return None
        text = str(found).lower()
        if text.startswith(MULTIHASH) and len(text) == len(MULTIHASH) + 64:
            return f"sha256:{text.removeprefix(MULTIHASH)}"
        raise self.error("file:checksum", f"has the value {found!r}; give a SHA-256 as multihash ({MULTIHASH}...)")


IMAGE_AXES = (("height", "width"), ("y", "x"), ("h", "w"), ("row", "column"))
"""Names of the last two axes of an input that is an image."""


def _frozen(values: Json) -> tuple[tuple[str, Any], ...]:
    """A mapping as sorted pairs; lists become tuples, so that a spec can be hashed."""
    return tuple((name, _freeze(values[name])) for name in sorted(values))


def _freeze(value: Any) -> Any:
    return tuple(_freeze(item) for item in value) if isinstance(value, list) else value
