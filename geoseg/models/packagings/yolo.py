"""ONNX files of YOLO's segmentation networks, which tell their classes, stride and size in their metadata.

Exports of Ultralytics and of YOLOv5 write ``names`` and ``stride``, later ones ``task``, ``imgsz``, ``end2end`` and
``args`` too, each as a literal of Python. Deepness adds its own to the same files; see
`geoseg.models.packagings.graph`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from geoseg.errors import CatalogError
from geoseg.models.packagings.contents import BYTES, Classes, Contents, object_tiles, scaled
from geoseg.models.packagings.graph import Metadata, axes_of, first_input, read_number, read_scaling, read_value
from geoseg.models.weight_files import IMAGE_AXES, image_axes, read_graph

SEGMENT, WITH_MASKS = "segment", "segmentation"
"""How Ultralytics calls the task of these networks, and what the ``det_type`` of Deepness's has in its name."""

OBJECT_AXES = 3
"""Axes of the output that lists objects."""

SIZE, STRIDE = 640, 32
"""Side of tiles and the network's down-sampling, px, where the metadata does not tell them."""

MIN_SCORE = 0.25
"""Score that an object needs, as in the libraries' own predictions."""

CHOICES: dict[str, dict[str, Any]] = {"v5": {"iou": 0.45, "max_det": 1000}}
"""What YOLOv5's own predictions choose otherwise than `geoseg.models.yolo` does."""

MOST_CLASSES = 254
"""Classes that a map can have."""


def is_yolo(path: Path) -> bool:
    """Say whether a path is an ONNX file with metadata of YOLO; other tasks than segmentation are, too."""
    metadata = _metadata(path)
    return {"names", "stride"} <= metadata.keys() or WITH_MASKS in metadata.get("det_type", "").lower()


def _metadata(path: Path) -> Metadata:
    """The metadata of an ONNX file; empty where it is none."""
    model = read_graph(path) if path.suffix.lower() == ".onnx" and path.is_file() else None
    return {} if model is None else {item.key: item.value for item in model.metadata_props}


def read_yolo(path: Path) -> Contents:
    """What a file of YOLO tells of its network.

    Raises
    ------
    CatalogError
        It does another task, gives no masks, or its metadata cannot be used.
    """
    metadata, model = _metadata(path), read_graph(path)
    task = metadata.get("task", SEGMENT)
    outputs = {len(lengths): lengths for lengths in map(axes_of, model.graph.output)}
    if task != SEGMENT or set(outputs) != {OBJECT_AXES, IMAGE_AXES}:
        raise CatalogError(
            f"'{path}' is a YOLO network of the task '{task}' with {len(model.graph.output)} output(s), and only one "
            f"of the task '{SEGMENT}' gives masks, by objects and prototypes; train and export such a network "
            "(yolo11n-seg, yolov5s-seg)."
        )
    given = axes_of(first_input(model))
    classes, stride = _classes(path, metadata), int(read_number(path, metadata, "stride")) or STRIDE
    sides = [length or -1 for length in image_axes(given)]
    side = max(*sides, 0) or _size(path, metadata)
    layout = _layout(path, metadata, outputs, len(classes))
    iou, resolution = read_number(path, metadata, "det_iou_thresh"), read_number(path, metadata, "resolution")
    return Contents(
        task="instance-segmentation",
        architecture="YOLO",
        framework="ONNX",
        artifact="onnx",
        bands=given[1],
        classes=classes,
        scores=-1,
        scaling=read_scaling(path, metadata, given[1]) if "det_type" in metadata else scaled(1 / BYTES),
        sides=sides,
        properties={
            **object_tiles(side, stride),
            "geoseg:activation": "none",
            "geoseg:min_score": read_number(path, metadata, "det_conf") or MIN_SCORE,
            "geoseg:value_range": [0, BYTES],
            "mlm:hyperparameters": {"layout": layout, **CHOICES.get(layout, {}), **({"iou": iou} if iou else {})},
            **({"gsd": resolution / 100} if resolution else {}),
        },
        unsaid=() if resolution else ("resolution",),
    )


def _classes(path: Path, metadata: Metadata) -> Classes:
    """Values, which begin with 1, and names, in the network's order."""
    key = "names" if "names" in metadata else "class_names"
    found = read_value(path, metadata, key, None)
    found = dict(enumerate(found)) if isinstance(found, list) else found
    named = {str(number): str(name) for number, name in found.items()} if isinstance(found, dict) else {}
    if not 0 < len(named) <= MOST_CLASSES or {*named} != {str(number) for number in range(len(named))}:
        raise CatalogError(
            f"'{path}' has the {key} {metadata.get(key)}; name its classes by number from 0 on, {MOST_CLASSES} at "
            'most, such as {0: "building", 1: "pool"}.'
        )
    return [(number + 1, named[str(number)]) for number in range(len(named))]


def _size(path: Path, metadata: Metadata) -> int:
    """The side of tiles of a network that takes any: the larger of those that it was exported for."""
    size = read_value(path, metadata, "imgsz", None) or int(read_number(path, metadata, "tile_size")) or SIZE
    return int(max(size if isinstance(size, list) else [size])) or SIZE


def _layout(path: Path, metadata: Metadata, outputs: dict[int, list[int]], classes: int) -> str:
    """How the file lists objects: see `geoseg.models.yolo.LAYOUTS`."""
    arguments = read_value(path, metadata, "args", None) or {}
    if read_value(path, metadata, "end2end", False) or arguments.get("nms"):
        return "end2end"
    is_early = "task" not in metadata and 5 + classes + outputs[IMAGE_AXES][1] in outputs[OBJECT_AXES]
    return "v5" if is_early else "v8"
