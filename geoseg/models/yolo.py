"""Adapter for ONNX files of YOLO's segmentation networks: boxes with coefficients, and prototypes of their masks.

A file has two outputs: objects (n, numbers, object) or (n, object, numbers), and prototypes (n, coefficient, y, x). The
mask of an object is where the sum of the prototypes times its coefficients is above 0, bilinearly resampled to the
tile, within its box (Bolya et al. 2019, arXiv:1904.02689, section 3.2). Which numbers an object has differs, and
whether logits or probabilities are resampled, see `LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional
from torchvision.ops import batched_nms, box_convert

from geoseg.errors import ModelError, nearest
from geoseg.models.detections import Detections, Mask
from geoseg.models.onnx import open_session
from geoseg.models.prompts import Prompts, refuse_prompts
from geoseg.models.running import Network
from geoseg.models.spec import ModelSpec

TASKS = ("instance-segmentation",)
"""What these files can do."""

OBJECTS, PROTOTYPES = 3, 4
"""Axes of the two outputs."""

IOU, MOST = 0.7, 300
"""Intersection over union above which the lower of two boxes of a class goes, and objects kept of one tile; the
hyperparameters ``iou`` and ``max_det`` say otherwise."""

MARGIN = 1
"""Cells of a prototype beside a box that bilinear resampling may look at."""

HIGHEST = 1.001
"""The largest probability, with the rounding of 16-bit floats."""

Numbers = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Boxes (object, 4): left, top, right, bottom, px; scores (object,), and classes (object,) as positions."""


@dataclass(frozen=True)
class Layout:
    """How a file lists objects.

    Attributes
    ----------
    axis : int
        The axis of the numbers of an object where both fit, 1 or 2.
    width : callable
        From the number of classes to that of an object's numbers, coefficients apart.
    read : callable
        From these numbers, float32 (object, width), to `Numbers`.
    is_chosen : bool
        Whether the file has removed the lower ones of overlapping boxes itself.
    is_squashed : bool
        Whether masks are resampled as probabilities, above 0.5, instead of as logits, and coefficients are multiplied
        by how sure it is an object (YOLOv5).
    """

    axis: int
    width: Callable[[int], int]
    read: Callable[[torch.Tensor], Numbers]
    is_chosen: bool = False
    is_squashed: bool = False


def _read_scores(numbers: torch.Tensor) -> Numbers:
    """Centre, width, height, and the score of each class."""
    scores, classes = numbers[:, 4:].max(1)
    return box_convert(numbers[:, :4], "cxcywh", "xyxy"), scores, classes


def _read_objectness(numbers: torch.Tensor) -> Numbers:
    """Centre, width, height, how sure it is an object, and the score of each class if it is one."""
    return _read_scores(torch.cat([numbers[:, :4], numbers[:, 4:5] * numbers[:, 5:]], 1))


def _read_chosen(numbers: torch.Tensor) -> Numbers:
    """Corners, score, class."""
    return numbers[:, :4], numbers[:, 4], numbers[:, 5].round().long()


LAYOUTS = {
    "v8": Layout(1, lambda classes: 4 + classes, _read_scores),
    "v5": Layout(2, lambda classes: 5 + classes, _read_objectness, is_squashed=True),
    "end2end": Layout(2, lambda _: 6, _read_chosen, is_chosen=True),
}
"""Layouts by the hyperparameter ``layout``: YOLOv8 and later, YOLOv5 and v7, and files that end with their own choice
of boxes. Without it the only one counts whose numbers fit."""


def open_network(spec: ModelSpec, device: torch.device) -> Network:
    """Open a session and return what finds objects with it.

    Raises
    ------
    ModelError
        When the file has other outputs or takes something else than one image, a hyperparameter cannot be used, or
        onnxruntime cannot use the device.
    WeightsError
        When the file is missing or is not ONNX.
    """
    settings = _Settings.of(spec)
    session, signature = open_session(spec, device)
    outputs = {len(item.shape): item.name for item in session.get_outputs()}
    if len(session.get_outputs()) != len(outputs) or set(outputs) != {OBJECTS, PROTOTYPES}:
        found = ", ".join(f"{item.name} {item.shape}" for item in session.get_outputs())
        raise ModelError(
            f"model '{spec.name}' gives {found} where objects (n, numbers, object) and prototypes (n, coefficient, y, "
            "x) of their masks are expected; export a segmentation network of YOLO as ONNX, or set mlm:architecture to "
            "MaskRCNN where it is one."
        )
    names = [outputs[OBJECTS], outputs[PROTOTYPES]]

    def find(pixels: torch.Tensor) -> list[Detections]:
        given = session.run(names, {session.get_inputs()[0].name: pixels.cpu().numpy()})
        with torch.autocast("cpu", enabled=False):
            found, prototypes = (torch.from_numpy(item).float() for item in given)
            tiles, size = zip(found, prototypes, strict=True), (pixels.shape[2], pixels.shape[3])
            return [_find(spec, settings, *tile, size) for tile in tiles]

    run = signature.fit(find, spec)

    def network(pixels: torch.Tensor, prompts: Sequence[Prompts] = ()) -> Any:
        refuse_prompts(spec.name, prompts)
        return run(pixels)

    return network


@dataclass(frozen=True)
class _Settings:
    """Hyperparameters of a spec, as they may be used."""

    layout: str | None
    iou: float
    most: int

    @classmethod
    def of(cls, spec: ModelSpec) -> _Settings:
        chosen = dict(spec.hyperparameters)
        layout, iou, most = chosen.get("layout"), chosen.get("iou", IOU), chosen.get("max_det", MOST)
        if layout is not None and layout not in LAYOUTS:
            raise ModelError(f"model '{spec.name}' has the layout '{layout}'; {nearest(str(layout), list(LAYOUTS))}.")
        if not isinstance(iou, int | float) or not 0 <= iou <= 1:
            raise ModelError(f"model '{spec.name}' has the iou {iou!r}; give a number from 0 to 1.")
        if not isinstance(most, int) or most < 1:
            raise ModelError(f"model '{spec.name}' has the max_det {most!r}; give a whole number of 1 or more.")
        return cls(layout, iou, most)


def _find(
    spec: ModelSpec, settings: _Settings, found: torch.Tensor, prototypes: torch.Tensor, size: tuple[int, int]
) -> Detections:
    """The objects of one tile of a size (y, x), px, from the two outputs for it."""
    layout, rows = _rows(spec, settings.layout, found, len(prototypes))
    width = rows.shape[1] - len(prototypes)
    boxes, scores, classes = layout.read(rows[:, :width])
    keep = torch.nonzero(~(scores < spec.min_score))[:, 0]  # what is no number has to be noticed
    if not (rows[keep].isfinite().all() and (scores[keep] <= HIGHEST).all()):
        raise ModelError(
            f"model '{spec.name}' gave scores or boxes that are no numbers, or scores above 1; check its scaling, and "
            "the hyperparameter layout in its entry."
        )
    if layout.is_chosen:
        keep = keep[scores[keep].argsort(descending=True, stable=True)]
    else:
        keep = keep[batched_nms(boxes[keep], scores[keep], classes[keep], settings.iou)]
    keep = keep[: settings.most]
    _check_prototypes(spec, prototypes, size)
    weights = rows[keep, width:] * (rows[keep, 4:5] if layout.is_squashed else 1)
    masks = outline(prototypes, weights, boxes[keep], size, layout.is_squashed)
    return Detections.of(masks, classes[keep].numpy(), scores[keep].clamp(max=1).numpy())


def _rows(spec: ModelSpec, name: str | None, found: torch.Tensor, coefficients: int) -> tuple[Layout, torch.Tensor]:
    """The layout of an output, and its numbers as rows, float32 (object, width + coefficient)."""
    classes = len(spec.classes)
    widths = {item: LAYOUTS[item].width(classes) + coefficients for item in LAYOUTS if name in (None, item)}
    fitting = [item for item, width in widths.items() if width in found.shape]
    if len(fitting) != 1:
        expected = ", ".join(f"{width} ({item})" for item, width in widths.items())
        problem = "fits none" if not fitting else f"may be {' or '.join(fitting)}"
        remedy = "correct its classes" if not fitting else "say which with the hyperparameter layout in its entry"
        raise ModelError(
            f"model '{spec.name}' gave objects of shape {tuple(found.shape)}, which {problem}: {classes} class(es) and "
            f"{coefficients} coefficients are {expected} numbers of an object; {remedy}."
        )
    layout, width = LAYOUTS[fitting[0]], widths[fitting[0]]
    is_first = found.shape[layout.axis - 1] == width
    return layout, found.mT if (layout.axis == 1) == is_first else found


def _check_prototypes(spec: ModelSpec, prototypes: torch.Tensor, size: tuple[int, int]) -> None:
    """Refuse prototypes whose cells are no squares of whole px."""
    height, width = prototypes.shape[1:]
    if (height * (size[0] // height), width * (size[0] // height)) != size:
        raise ModelError(
            f"model '{spec.name}' gave prototypes of {height} x {width} cells for a tile of {size[0]} x {size[1]} px; "
            "export it with prototypes whose size divides that of its input."
        )


def outline(
    prototypes: torch.Tensor,
    coefficients: torch.Tensor,
    boxes: torch.Tensor,
    size: tuple[int, int],
    is_squashed: bool = False,
) -> Iterator[Mask]:
    """Give the masks of objects, one after the other.

    Parameters
    ----------
    prototypes : float32 tensor
        Shape (coefficient, y, x); each cell is a square of whole px.
    coefficients : float32 tensor
        Shape (object, coefficient).
    boxes : float32 tensor
        Left, top, right, bottom, px, shape (object, 4); a pixel belongs to a box that holds its upper left corner.
    size : (int, int)
        Of the tile: y, x, px.
    is_squashed : bool
        Whether probabilities are resampled, see `Layout`.

    Yields
    ------
    bool array
        Shape (y, x) of the tile; may be empty.
    """
    cell = size[0] // prototypes.shape[1]
    edges = boxes.clamp(0, max(size)).ceil().long()
    for weights, (left, top, right, bottom) in zip(coefficients, edges.tolist(), strict=True):
        mask = np.zeros(size, np.bool_)
        rows = _Span.of(top, bottom, cell, prototypes.shape[1])
        cols = _Span.of(left, right, cell, prototypes.shape[2])
        inside = mask[rows.pixels, cols.pixels]
        if inside.size:
            logits = torch.einsum("c,cyx->yx", weights, prototypes[:, rows.cells, cols.cells])
            cells = logits.sigmoid() - 0.5 if is_squashed else logits
            fine = functional.interpolate(cells[None, None], scale_factor=cell, mode="bilinear", align_corners=False)
            inside[:] = fine[0, 0, rows.within, cols.within] > 0
        yield mask


@dataclass(frozen=True)
class _Span:
    """A box along one axis: its pixels, the cells that they are resampled from, and its pixels within those cells."""

    pixels: slice
    cells: slice
    within: slice

    @classmethod
    def of(cls, start: int, stop: int, cell: int, count: int) -> _Span:
        """The span of a box's edges, px, where so many cells have so many px."""
        stop = min(stop, cell * count)
        first, last = max(0, start // cell - MARGIN), min(count, -(-stop // cell) + MARGIN)
        return cls(slice(start, stop), slice(first, last), slice(start - first * cell, stop - first * cell))
