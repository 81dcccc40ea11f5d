"""What the map of a page is drawn from: pictures, polygons and places as text that a page can hold.

It knows findings and how the page's script reads them (``assets/map.js``); nothing of the page around it.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.report import wording
from geoseg.report.coloring import stretched, webp_within
from geoseg.report.findings import Findings
from geoseg.report.framing import Frame
from geoseg.report.record import LegendClass, RunRecord
from geoseg.report.shapes import SUBPIXEL, encode

IMAGERY_BYTES = 1_500_000
"""Most bytes of the imagery's picture."""

GRID_BYTES = 1_200_000
"""Most bytes of labels, and of confidence, before they are made coarser."""

LEVELS = 32
"""Steps of confidence on the map: more cost bytes and are not visible."""


def map_data(record: RunRecord, findings: Findings, classes: Sequence[LegendClass]) -> dict[str, Any]:
    """Everything the page's script draws, as JSON values; see ``assets/map.js``.

    Parameters
    ----------
    record : RunRecord
        The run.
    findings : Findings
        What was read.
    classes : sequence of LegendClass
        The legend.
    """
    frame = findings.frame
    confidence = None
    if findings.confidence is not None:
        coarse, values, mask = findings.confidence
        steps = np.rint(values / 255 * (LEVELS - 1)) / (LEVELS - 1)
        confidence = _grid(np.where(mask, 1 + np.rint(steps * 254), 0).astype(np.uint8), coarse, frame)
    return {
        "frame": _frame(frame),
        "classes": [{"value": item.value, "name": item.name, "color": item.color} for item in classes],
        "labels": _grid(findings.labels, frame, frame),
        "confidence": confidence,
        "shapes": _shapes(findings),
        "failed": [
            {"name": name, "reason": record.failed[name], "box": list(frame.place(window))}
            for name, window in record.failed_windows().items()
        ],
        "units": wording.UNITS,
        "plain": None if frame.has_place else frame.square,
    }


def imagery_picture(findings: Findings) -> str | None:
    """The imagery as a data URI; None where there is none."""
    if findings.imagery is None:
        return None
    colors, mask = stretched(findings.imagery.pixels)
    if not mask.any():
        return None
    return f"data:image/webp;base64,{_text(webp_within(colors, mask, IMAGERY_BYTES))}"


def _frame(frame: Frame) -> dict[str, Any]:
    height, width = frame.shape
    lattice = frame.coordinates()
    return {
        "width": width,
        "height": height,
        "factor": frame.factor,
        "aspect": frame.aspect,
        "metres": frame.metres,
        "transform": list(frame.transform)[:6],
        "geographic": frame.crs is not None and frame.crs.is_geographic,
        "lattice": None
        if lattice is None
        else {
            "count": lattice.shape[1],
            "longitude": [_rounded(value) for value in lattice[0].ravel()],
            "latitude": [_rounded(value) for value in lattice[1].ravel()],
        },
    }


def _rounded(value: float) -> float | None:
    return round(float(value), 7) if np.isfinite(value) else None


def _grid(values: NDArray[np.uint8], own: Frame, frame: Frame) -> dict[str, Any]:
    """A picture of numbers, thinned until it is within its bytes, and where it lies on the map."""
    data, factor = zlib.compress(values.tobytes()), own.factor
    while len(data) > GRID_BYTES:
        values, factor = values[::2, ::2], factor * 2
        data = zlib.compress(values.tobytes())
    height, width = values.shape
    scale = factor / frame.factor
    # what a coarser picture has beyond the raster lies at the end of its rows, which are turned over with them
    top = frame.shape[0] - height * scale if frame.is_mirrored else 0
    box = [0, top, width * scale, top + height * scale]
    return {"width": width, "height": height, "box": box, "data": _text(data)}


def _shapes(findings: Findings) -> dict[str, Any] | None:
    """The polygons, the largest first; see `geoseg.report.shapes.encode`."""
    shapes = findings.shapes
    if shapes is None or not len(shapes):
        return None
    columns = shapes.columns
    score = columns["score" if "score" in columns else "confidence"]
    return {
        "data": _text(encode(shapes)),
        "subpixel": SUBPIXEL,
        "class": columns["class"].astype(int).tolist(),
        "area": [float(f"{area:.5g}") if np.isfinite(area) else None for area in columns["area_m2"]],
        "confidence": [round(float(value), 3) if np.isfinite(value) else None for value in score],
        "instance": columns["instance"].astype(int).tolist() if "instance" in columns else None,
        "score": "Score" if "score" in columns else "Mean confidence",
    }


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
