"""ONNX files that tell what they need: by the shapes of their graph, and by the metadata of Deepness.

Deepness is a plugin of QGIS that maps with ONNX files and reads what it has to know from their ``metadata_props``, each
value as JSON (https://qgis-plugin-deepness.readthedocs.io, "Adding metadata to ONNX model"). It feeds bytes divided by
255, standardized where the file has a mean and a deviation, and expects probabilities.
"""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.errors import CatalogError
from geoseg.models.background import is_background_name
from geoseg.models.packagings.contents import BYTES, Classes, Contents, numbered_classes, scaled, tiles
from geoseg.models.weight_files import IMAGE_AXES, has_bands_last, image_axes, read_graph

KINDS = ("Segmentor", "Detector", "Regressor", "Recognition", "Superresolution")
"""What ``model_type`` may be; only the first gives a map of classes."""

OWN = ("standardization_mean", "standardization_std", "tiles_overlap", "seg_thresh", "seg_small_segment")
"""Keys that nobody but Deepness writes."""

PROBABILITIES = ("Softmax", "Sigmoid", "HardSigmoid")
"""Last steps of a graph that give probabilities."""

UINT8 = 2
"""ONNX's number of the type of bytes (TensorProto.DataType)."""

Metadata = Mapping[str, str]


def read_onnx(path: Path) -> Contents:
    """What an ONNX file tells of its model.

    Raises
    ------
    CatalogError
        It is not there, is no ONNX, maps no classes, or its metadata contradicts itself.
    """
    if not path.is_file():
        raise CatalogError(f"model '{path}' does not exist; give the path of an ONNX file, or a name of the catalog.")
    model = read_graph(path)
    if model is None:
        raise CatalogError(f"'{path}' is not an ONNX file or is damaged; fetch it again or export it again.")
    contents = _read_shapes(path, model)
    metadata = {item.key: item.value for item in model.metadata_props}
    if _is_of_deepness(metadata):
        contents = _read_deepness(path, metadata, contents)
    is_bytes = first_input(model).type.tensor_type.elem_type == UINT8
    return replace(contents, scaling=[]) if is_bytes else contents


def first_input(model: Any) -> Any:
    """Return the first input; None where there is none."""
    constants = {item.name for item in model.graph.initializer}
    return next((item for item in model.graph.input if item.name not in constants), None)


def axes_of(value: Any) -> list[int]:
    """Return the lengths of the axes of an input or output; 0 takes any length."""
    return [axis.dim_value for axis in value.type.tensor_type.shape.dim]


def _read_shapes(path: Path, model: Any) -> Contents:
    """What the graph tells: numbers of bands and scores, size of tiles, and whether scores are probabilities."""
    given = first_input(model)
    taken = [] if given is None else axes_of(given)
    output = next((item for item in model.graph.output if len(axes_of(item)) == IMAGE_AXES), None)
    shape = [] if output is None else axes_of(output)
    last = next((node.op_type for node in model.graph.node if output and output.name in node.output), "")
    contents = contents_of_shapes(path, taken, shape, gives_probabilities=last in PROBABILITIES)
    return replace(contents, architecture="ONNX", framework="ONNX", artifact="onnx")


def contents_of_shapes(path: Path, taken: list[int], given: list[int], *, gives_probabilities: bool) -> Contents:
    """Return what the shapes of a graph's input and output tell; what runs the graph is for the caller to name.

    Parameters
    ----------
    path : Path
        The graph's file.
    taken, given : list of int
        Lengths of the axes, 0 where they may vary; empty where there is no image.
    gives_probabilities : bool
        Whether scores are probabilities already.

    Raises
    ------
    CatalogError
        They do not tell how many bands and classes there are.
    """
    bands, scores = find_channels(taken), find_channels(given)
    if not bands or not scores:
        raise CatalogError(
            f"'{path}' takes the shape {taken} and gives {given or 'no image'} (0 is any length), which does not tell "
            "how many bands and classes it has; export it with one input (n, band, y, x) and one output (n, class, y, "
            "x) that fix them."
        )
    sides = image_axes(taken)
    return Contents(
        architecture="",
        framework="",
        bands=bands,
        classes=numbered_classes(scores),
        scores=scores,
        scaling=None,
        sides=[length or -1 for length in sides],
        properties={
            "geoseg:activation": "none" if gives_probabilities else "sigmoid" if scores == 1 else "softmax",
            **(tiles(max(sides)) if max(sides) else {}),
        },
        unsaid=("classes", "resolution"),
    )


def find_channels(shape: list[int]) -> int:
    """Return the length of the axis of bands or classes; 0 where it is not fixed."""
    return 0 if len(shape) != IMAGE_AXES else shape[3] if has_bands_last(shape) else shape[1]


def _is_of_deepness(metadata: Metadata) -> bool:
    kind = metadata.get("model_type", "").strip('" ').capitalize()
    return kind in KINDS or any(key in metadata for key in OWN)


def _read_deepness(path: Path, metadata: Metadata, contents: Contents) -> Contents:
    """The same with what Deepness wrote."""
    kind = str(read_value(path, metadata, "model_type", KINDS[0])).capitalize()
    if kind != KINDS[0]:
        raise CatalogError(
            f"'{path}' is a {kind} of Deepness, and only a {KINDS[0]} gives a map of classes; use one of those."
        )
    classes = _classes(path, metadata, contents.scores)
    threshold = read_number(path, metadata, "seg_thresh")
    has_rest = contents.scores == 1 or is_background_name(classes[0][1])
    resolution, side = read_number(path, metadata, "resolution"), contents.properties.get("geoseg:tile_size")
    size = side or int(read_number(path, metadata, "tile_size") or read_number(path, metadata, "tiles_size") or 0)
    overlap = read_number(path, metadata, "tiles_overlap")
    described = {
        **contents.properties,
        **(tiles(size, *([size * overlap / 100] if overlap else [])) if size else {}),
        "geoseg:activation": "none",
        "geoseg:threshold": threshold if threshold and has_rest else None,
        "gsd": resolution / 100 if resolution else None,
        "geoseg:value_range": [0, BYTES],
    }
    said = "class_names" in metadata, bool(resolution)
    return replace(
        contents,
        classes=classes,
        scaling=read_scaling(path, metadata, contents.bands),
        properties={key: value for key, value in described.items() if value is not None},
        unsaid=[word for word, is_said in zip(contents.unsaid, said, strict=True) if not is_said],
        notes=_notes(path, metadata, threshold if not has_rest else 0, classes),
    )


def _notes(path: Path, metadata: Metadata, threshold: float, classes: Classes) -> list[str]:
    """What Deepness would do and is not done."""
    notes = []
    if threshold:
        notes.append(
            f"has a seg_thresh of {threshold:g}, below which Deepness gives a pixel to its first class, "
            f"'{classes[0][1]}', which is no background: here the most probable class counts"
        )
    if read_number(path, metadata, "seg_small_segment"):
        notes.append("has a seg_small_segment, which is left out: --min-area merges small polygons")
    return notes


def _classes(path: Path, metadata: Metadata, scores: int) -> Classes:
    """Values and names; of one score the class has the value 1, and background is 0 where it is named."""
    found = read_value(path, metadata, "class_names", None)
    if found is None:
        return numbered_classes(scores)
    heads = found if isinstance(found, list) else [found]
    is_one = len(heads) == 1 and isinstance(heads[0], dict)
    names = {str(key): str(name) for key, name in heads[0].items()} if is_one else {}
    counts = (1, 2) if scores == 1 else (scores,)
    if len(names) not in counts or list(names) != [str(position) for position in range(len(names))]:
        raise CatalogError(
            f"'{path}' has the class_names {metadata['class_names']} and an output of {scores} scores; name the "
            f'classes of one output, such as {{"0": "background", "1": "building"}}.'
        )
    first = 1 if len(names) == 1 else 0
    return list(enumerate(names.values(), first))


def read_scaling(path: Path, metadata: Metadata, bands: int) -> list[Any]:
    """Bytes divided by 255, then standardized where the file says by what."""
    keys = "standardization_mean", "standardization_std"
    if not all(key in metadata for key in keys):
        return scaled(1 / BYTES)
    mean, deviation = (read_value(path, metadata, key, None) for key in keys)
    for key, values in zip(keys, (mean, deviation), strict=True):
        is_list = isinstance(values, list) and all(
            isinstance(item, int | float) and math.isfinite(item) for item in values
        )
        if not is_list or len(values) != bands or (values is deviation and 0 in values):
            raise CatalogError(f"'{path}' has the {key} {metadata[key]} for {bands} bands; give one number for each.")
    return scaled(1 / BYTES, mean, deviation)


def read_number(path: Path, metadata: Metadata, key: str) -> float:
    """A number of the metadata; 0 where there is none."""
    value = read_value(path, metadata, key, 0)
    number = float(value) if isinstance(value, int | float) else math.nan
    if not 0 <= number < math.inf:
        raise CatalogError(f"'{path}' has the {key} {metadata[key]}, which is no number from 0 on; correct it.")
    return number


def read_value(path: Path, metadata: Metadata, key: str, default: Any) -> Any:
    """A value of the metadata: JSON, or the literal of Python that older files have."""
    if key not in metadata:
        return default
    try:
        return json.loads(metadata[key])
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(metadata[key])
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise CatalogError(f"'{path}' has the {key} {metadata[key][:80]!r}, which is not JSON; correct it.") from error
