"""What goes into a model and what comes out, as an item's ``mlm:input`` and ``mlm:output`` say it.

Every version of the MLM extension is read, from 1.0 on. What cannot be used (a time axis, an expression of bands, a
task that is no segmentation) is refused by the name of its field; code that an item names is never run.
"""

from __future__ import annotations

import warnings
from typing import Any, cast, get_args

from geoseg.errors import GeosegWarning
from geoseg.models.item_document import NUMBER, Document
from geoseg.models.spec import SCALING_PARAMETERS, Band, ClassSpec, Scaling, ScalingType, Task
from geoseg.models.stac import Json

IDENTITY = "A"
"""The gdal-calc expression of a band that is used as it is."""

IMAGE_AXES = (("height", "width"), ("y", "x"), ("h", "w"), ("row", "column"))
"""Names of the last two axes of an input that is an image."""

IMAGE_DIMENSIONS = 3
"""Class, height and width."""

BATCH_AXES = ("batch", "b", "n", "sample", "samples")
"""Names of an axis before the channels."""

SMALLEST_TILE = 32
"""A shape with fewer px was taken from an example input; it says nothing of tiles."""

UNSCALED: Json = {"type": None}
"""How MLM before 1.4 says in so many words that a band is used as it is."""

TELLING = ("pytorch", "onnx")
"""Frameworks of networks of which it is known whether they end with an activation."""

STATISTICS = ("min-max", "z-score")
"""Kinds of ``norm_type`` (MLM before 1.3) that are kinds of ``value_scaling`` too."""


def read_task(document: Document) -> Task:
    """The task of an item; where it names several, the one that its outputs are for."""
    named = [_plain(task) for task in document.need(document.properties, "mlm:tasks", list)]
    outputs = document.objects("mlm:output", document.need(document.properties, "mlm:output", list))
    heads = [_plain(task) for output in outputs for task in output.get("tasks") or []]
    usable = [task for task in get_args(Task) if task in named]
    if not usable and "segmentation" in named:
        usable = [task for task in get_args(Task) if task in heads] or ["semantic-segmentation"]
    if not usable:
        raise document.error("mlm:tasks", f"has the value {named}; models for {', '.join(get_args(Task))} can be used")
    return cast(Task, next((task for task in usable if task in heads), usable[0]))


def _plain(task: Any) -> str:
    """A task's name as the extension spells it."""
    return str(task).lower().replace("_", "-").replace(" ", "-")


def read_input(document: Document) -> Json:
    """The only entry of ``mlm:input``, which must be one image."""
    entries = document.objects("mlm:input", document.need(document.properties, "mlm:input", list))
    if len(entries) != 1:
        raise document.error("mlm:input", f"has {len(entries)} entries; models with exactly one can be used")
    only = entries[0]
    if only.get("variables"):
        raise document.error("variables", f"has the value {only['variables']}; only models of bands can be used")
    only = {**only, "input": _bands_first(document.need(only, "input", dict))}
    _check_axes(document, only["input"])
    _warn_of_code(document, only, "pre_processing_function")
    return only


def _bands_first(structure: Json) -> Json:
    """The same axes with the channels before the image, where they stand behind it."""
    shape, order = structure.get("shape"), structure.get("dim_order")
    if not isinstance(shape, list) or not isinstance(order, list) or not len(shape) == len(order) >= IMAGE_DIMENSIONS:
        return structure
    if tuple(str(name).lower() for name in order[-3:-1]) not in IMAGE_AXES:
        return structure
    return {
        **structure,
        **{key: [*axes[:-3], axes[-1], *axes[-3:-1]] for key, axes in (("shape", shape), ("dim_order", order))},
    }


def _check_axes(document: Document, structure: Json) -> None:
    """Refuse an input that is not one image: (batch, channel, height, width), batch or not."""
    shape = document.need(structure, "shape", list)
    order = [str(name).lower() for name in document.need(structure, "dim_order", list)]
    image = len(order) == len(shape) and tuple(order[-2:]) in IMAGE_AXES
    if not set(order) & {name for names in IMAGE_AXES for name in names}:
        raise document.error(
            "dim_order",
            f"has the value {order}, which is no image; export a model of single pixels as ONNX that takes "
            "(batch, channel, height, width)",
        )
    if not image or len(order) not in (3, 4) or (len(order) == 4 and order[0] not in BATCH_AXES):
        raise document.error("dim_order", f"has the value {order}; only (batch, channel, height, width) can be used")


def _warn_of_code(document: Document, where: Json, field: str) -> None:
    if where.get(field) is not None:
        warnings.warn(
            f"'{document.source}' names a {field}, which is code and is not run; describe it as value_scaling or "
            "geoseg:activation if the model needs it.",
            GeosegWarning,
            stacklevel=5,
        )


def read_tile_size(model_input: Json) -> int | None:
    """The smaller of height and width that the input's shape fixes, px."""
    fixed = [size for size in model_input["input"]["shape"][-2:] if isinstance(size, int) and size >= SMALLEST_TILE]
    return min(fixed, default=None)


def read_bands(document: Document, model_input: Json, asset: Json) -> tuple[Band, ...]:
    """Bands by name, with their common names from wherever the item describes them."""
    described = _common_names(document, asset)
    bands = []
    for entry in document.objects("bands", _named(document.need(model_input, "bands", list, []))):
        name = document.need(entry, "name", str)
        if entry.get("expression") is not None:
            raise document.error("bands", f"has '{name}', which is made by an expression; use plain bands")
        scale, offset = _unit(document, [entry, *_descriptions(document, asset, name)])
        bands.append(Band(name, described.get(name), scale, offset))
    channels = model_input["input"]["shape"][-3]
    if not bands:
        return _numbered_bands(document, channels)
    if isinstance(channels, int) and channels > 0 and channels != len(bands):
        raise document.error("shape", f"has {channels} channels and {len(bands)} bands are named; make them agree")
    _warn_of_dates(document, bands)
    return tuple(bands)


def _named(entries: list[Any]) -> list[Any]:
    """Bands as objects with a name; numbers are positions, counted from 1, or from 0 where there is a 0."""
    offset = 1 if 0 in entries else 0
    names = [str(item + offset) if type(item) is int else item for item in entries]
    return [{"name": item} if isinstance(item, str) else item for item in names]


def read_dates(document: Document, bands: int) -> tuple[str, ...]:
    """Names of the dates whose bands a model takes, each as many."""
    field = "geoseg:dates"
    names = document.need(document.properties, field, list, [])
    is_named = all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names)
    if names and (len(names) < 2 or not is_named or bands % len(names)):
        raise document.error(
            field, f"is {names}, and the model has {bands} bands; name two or more dates that share them evenly"
        )
    return tuple(names)


def _warn_of_dates(document: Document, bands: list[Band]) -> None:
    """Say that bands of several dates cannot be told apart by name."""
    twice = sorted({band.name for band in bands if bands.count(band) > 1})
    if twice and "geoseg:dates" not in document.properties:
        warnings.warn(
            f"'{document.source}' names the bands {', '.join(twice)} more than once, as models of several dates do; "
            "give each date in its order (docs/imagery.md), or one raster and its bands by number, date after date.",
            GeosegWarning,
            stacklevel=4,
        )


def _common_names(document: Document, asset: Json) -> dict[str, str | None]:
    """Name of each band that is described anywhere, with its common name."""
    described: dict[str, str | None] = {}
    for where in (asset, document.properties):
        for field in ("raster:bands", "eo:bands", "bands"):
            for band in document.objects(field, where.get(field) or []):
                common = band.get("eo:common_name") or band.get("common_name")
                described[str(band.get("name"))] = common or described.get(str(band.get("name")))
    return described


def _descriptions(document: Document, asset: Json, name: str) -> list[Json]:
    """Every description of a band, in the asset and in the item."""
    places = [(where, field) for where in (asset, document.properties) for field in ("raster:bands", "bands")]
    entries = [entry for where, field in places for entry in document.objects(field, where.get(field) or [])]
    return [entry for entry in entries if str(entry.get("name")) == name]


def _unit(document: Document, entries: list[Json]) -> tuple[float | None, float]:
    """Scale and offset of the numbers that a band was trained on, as the raster extension declares them."""

    def said(word: str) -> Any:
        fields = [(entry, field) for entry in entries for field in (f"raster:{word}", word)]
        return next(
            (document.need(entry, field, NUMBER) for entry, field in fields if entry.get(field) is not None), None
        )

    scale, offset = said("scale"), said("offset")
    if scale == 0:
        raise document.error("raster:scale", "has the value 0; give what one step of the numbers means, such as 0.0001")
    return scale if scale is not None or offset is None else 1.0, offset or 0.0


def read_value_range(document: Document, bands: int) -> tuple[tuple[float, float], ...]:
    """``geoseg:value_range``: ``[0, 10000]``, or a pair for each band."""
    field = "geoseg:value_range"
    value = document.need(document.properties, field, list, [])
    pairs = [value] if value and not isinstance(value[0], list) else value
    if any(not _is_range(pair) for pair in pairs) or len(pairs) not in (0, 1, bands):
        raise document.error(
            field, f"has the value {value}; give the lowest and the highest number, such as [0, 10000]"
        )
    return tuple((float(low), float(high)) for low, high in pairs)


def read_seen_values(document: Document, bands: int) -> tuple[tuple[float, float, float], ...]:
    """``geoseg:seen_values``: for each band three ascending numbers."""
    field = "geoseg:seen_values"
    value = document.need(document.properties, field, list, [])
    if len(value) not in (0, bands) or not all(map(_is_ascending, value)):
        raise document.error(field, f"has the value {value}; give three ascending numbers for each of {bands} bands")
    return tuple((float(low), float(middle), float(high)) for low, middle, high in value)


def _is_ascending(three: Any) -> bool:
    numbers = isinstance(three, list) and len(three) == 3 and all(isinstance(item, int | float) for item in three)
    return numbers and bool(three[0] <= three[1] <= three[2])


def _is_range(pair: Any) -> bool:
    numbers = isinstance(pair, list) and len(pair) == 2 and all(isinstance(item, int | float) for item in pair)
    return numbers and bool(pair[0] < pair[1])


def _numbered_bands(document: Document, channels: Any) -> tuple[Band, ...]:
    """Bands of a model that names none: by position."""
    if not isinstance(channels, int) or channels < 1:
        raise document.error("mlm:input", "names no bands and has a shape without their number; add bands")
    return tuple(Band(str(position)) for position in range(1, channels + 1))


def read_scalings(document: Document, model_input: Json) -> tuple[Scaling, ...]:
    """One scaling for all bands, or one a band; MLM 1.3 calls them ``scaling`` in its examples."""
    field = next((name for name in ("value_scaling", "scaling") if model_input.get(name) is not None), None)
    if field is None:
        return _statistics(document, model_input)
    entries = document.need(model_input, field, list)
    if not entries:
        return _statistics(document, model_input)
    entries = document.objects(field, [UNSCALED if entry is None else entry for entry in entries])
    return tuple(_scaling(document, entry, field) for entry in entries)


def _scaling(document: Document, entry: Json, field: str) -> Scaling:
    kind = "none" if entry == UNSCALED else entry.get("type")
    if kind not in get_args(ScalingType):
        problem = f"has the type {kind!r}" if kind is not None else f"has the entry {entry}, which has no type"
        raise document.error(field, f"{problem}; use one of {', '.join(get_args(ScalingType))}")
    if kind == "processing":
        return _expression(document, entry, field)
    numbers = {name: document.need(entry, name, NUMBER) for name in SCALING_PARAMETERS[str(kind)]}
    return Scaling(cast(ScalingType, kind), **numbers)


def _expression(document: Document, entry: Json, field: str) -> Scaling:
    if entry.get("format") not in ("gdal-calc", "gdal_calc"):
        raise document.error(field, f"has the format {entry.get('format')!r}; write it as gdal-calc")
    expression = document.need(entry, "expression", str)
    return Scaling("none") if expression.strip() == IDENTITY else Scaling("processing", expression=expression)


def _statistics(document: Document, model_input: Json) -> tuple[Scaling, ...]:
    """Scalings as MLM had them before 1.3: a ``norm_type`` and the ``statistics`` of the bands."""
    kind = model_input.get("norm_type")
    if kind is None and model_input.get("pre_processing_function") is not None:
        raise document.error(
            "pre_processing_function",
            "is code, which is not run, and nothing else says how pixels are scaled; wrong scaling makes a wrong map: "
            'add value_scaling to a copy of the entry, such as [{"type": "scale", "value": 255}], or [{"type": null}] '
            "where numbers are used as they are stored",
        )
    if kind is None:
        return ()
    if kind not in STATISTICS:
        raise document.error("norm_type", f"has the value {kind!r}, which cannot be used; describe it as value_scaling")
    entries = document.objects("statistics", document.need(model_input, "statistics", list))
    names = SCALING_PARAMETERS[kind]
    return tuple(Scaling(kind, **{name: document.need(entry, name, NUMBER) for name in names}) for entry in entries)


def read_output(document: Document, task: Task) -> Json:
    """The entry of ``mlm:output`` for a task; a model may have others, such as boxes beside masks."""
    entries = document.objects("mlm:output", document.need(document.properties, "mlm:output", list))
    fitting = [entry for entry in entries if task in map(_plain, entry.get("tasks") or [])]
    chosen = entries if len(entries) == 1 else fitting
    if len(chosen) > 1:  # beside its map a model may describe a table of what is found in it
        chosen = [entry for entry in chosen if not entry.get("variables")] or chosen
    if len(chosen) != 1:
        raise document.error(
            "mlm:output", f"has {len(entries)} entries, {len(fitting)} for {task}; models with exactly one can be used"
        )
    _warn_of_code(document, chosen[0], "post_processing_function")
    return chosen[0]


def read_classes(document: Document, model_output: Json, task: Task) -> tuple[ClassSpec, ...]:
    """The classes of an output, in the network's order."""
    field = "classification:classes"
    entries = model_output.get(field) or model_output.get("classification_classes")
    if not entries:
        raise document.error(field, "is missing; add the classes of the output to mlm:output")
    numbered = enumerate(document.objects(field, entries))
    classes = tuple(_class(document, entry, position, task) for position, entry in numbered)
    values = [item.value for item in classes]
    if len(set(values)) != len(values) or min(values) < 0 or max(values) > 254:
        raise document.error(field, f"has the values {values}; each must be different, 0 to 254 (255 is nodata)")
    if task == "panoptic-segmentation" and not any(item.isthing for item in classes):
        raise document.error(field, "marks no class with geoseg:isthing: true; mark those whose objects are told apart")
    return classes


def default_activation(model_output: Json, classes: int, task: Task, framework: str) -> str:
    """What turns scores into probabilities where an item does not say it.

    A single score is a logit where a library builds the network, and where a file tells its last step; it may be a
    probability where nothing tells it.
    """
    is_binary = task == "semantic-segmentation" and classes <= 2 and _stated_scores(model_output) == 1
    return "sigmoid" if is_binary and framework in TELLING else "softmax"


def _stated_scores(model_output: Json) -> Any:
    """Scores of a pixel as the shape of an output's image states them; None where it states none."""
    result = model_output.get("result")
    shape = result.get("shape") if isinstance(result, dict) else None
    return shape[-3] if isinstance(shape, list) and len(shape) >= IMAGE_DIMENSIONS else None


def read_channels(model_output: Json, classes: int, activation: str) -> int | None:
    """Scores of a pixel as an output's shape states them, when they are one fewer than its classes."""
    stated = _stated_scores(model_output)
    return classes - 1 if stated == classes - 1 > 0 and activation != "softmax" else None


def _class(document: Document, entry: Json, position: int, task: Task) -> ClassSpec:
    value = document.need(entry, "value", NUMBER, position)
    if isinstance(value, float) and not value.is_integer():
        raise document.error("value", f"is {value} where a class needs a whole number; correct it")
    hint = entry.get("color_hint")
    if isinstance(hint, list):
        hint = "".join(f"{channel:02X}" for channel in hint)
    isthing = document.need(entry, "geoseg:isthing", bool, False)
    name = str(entry.get("name") or entry.get("title") or f"class {int(value)}")
    description = str(entry.get("description") or "")
    return ClassSpec(
        value=int(value),
        name=name,
        color=f"#{str(hint).removeprefix('#').upper()}" if hint else ClassSpec.color,
        description="" if description == name else description,
        isthing=isthing and task == "panoptic-segmentation",
    )
