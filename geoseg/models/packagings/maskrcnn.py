"""ONNX files of torchvision's Mask R-CNNs, told by their outputs: boxes, labels, scores and masks of objects.

torchvision's networks take pixels from 0 to 1 and standardize them themselves. How many classes there are is told by
the tensor that scores boxes, whose name the exporter keeps.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from geoseg.errors import CatalogError
from geoseg.models.packagings.contents import BYTES, Contents, object_tiles, scaled
from geoseg.models.packagings.folders import OBJECT_TILE
from geoseg.models.packagings.graph import UINT8, axes_of, first_input
from geoseg.models.weight_files import IMAGE_AXES, read_graph

INT64 = 7
"""ONNX's number of the type of whole numbers (TensorProto.DataType)."""

BOXES, MASKS = 2, IMAGE_AXES
"""Axes of the outputs that have boxes and masks; labels and scores have one."""

SCORED = "box_predictor.cls_score.bias"
"""How the name of the tensor ends that has a number for each class, background among them."""

MULTIPLE = 32
"""The network's down-sampling, px."""

BACKGROUND = 1
"""Classes that no object has."""


def is_maskrcnn(path: Path) -> bool:
    """Say whether a path is an ONNX file that lists boxes, labels and scores, with masks or without."""
    model = read_graph(path) if path.suffix.lower() == ".onnx" and path.is_file() else None
    outputs = [] if model is None else list(model.graph.output)
    axes = sorted(len(axes_of(item)) for item in outputs)
    has_labels = any(item.type.tensor_type.elem_type == INT64 for item in outputs)
    return has_labels and axes in ([1, 1, BOXES], [1, 1, BOXES, MASKS])


def read_maskrcnn(path: Path) -> Contents:
    """What a file of a Mask R-CNN tells of its network.

    Raises
    ------
    CatalogError
        It finds no masks, or does not tell its bands and classes.
    """
    model = read_graph(path)
    if MASKS not in [len(axes_of(item)) for item in model.graph.output]:
        raise CatalogError(
            f"'{path}' finds boxes and no masks, of which no map can be made; export a network that has masks, such as "
            "a Mask R-CNN."
        )
    given = first_input(model)
    bands, *sides = axes_of(given)[-3:]
    count = _class_count(model)
    if not bands or count < 1:
        raise CatalogError(
            f"'{path}' does not tell how many bands and classes it has; export it with an input (n, band, y, x) that "
            "fixes the bands, by an exporter that keeps names of tensors (torch.onnx.export(..., dynamo=False))."
        )
    side = max(*sides, 0)
    is_bytes = given.type.tensor_type.elem_type == UINT8
    return Contents(
        task="instance-segmentation",
        architecture="MaskRCNN",
        framework="ONNX",
        artifact="onnx",
        bands=bands,
        classes=[(value, f"class {value}") for value in range(1, count + 1)],
        scores=-1,
        scaling=[] if is_bytes else scaled(1 / BYTES),
        sides=[length or -1 for length in sides],
        properties={
            **object_tiles(side or OBJECT_TILE, math.gcd(side, MULTIPLE)),
            **({"geoseg:fixed_size": True} if side else {}),
            "geoseg:activation": "none",
            "geoseg:value_range": [0, BYTES],
        },
        unsaid=("classes", "resolution"),
    )


def _class_count(model: Any) -> int:
    """Classes that an object may have; less than one where nothing tells."""
    found = [item.dims[0] for item in model.graph.initializer if item.name.endswith(SCORED)]
    return found[0] - BACKGROUND if len(found) == 1 else 0
