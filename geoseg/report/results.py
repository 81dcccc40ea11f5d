"""Sections of a report about what was found: areas by class, polygons or objects and their sizes, confidence.

It knows findings; nothing of how the page looks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from geoseg.models.spec import NODATA
from geoseg.report import wording
from geoseg.report.charts import Histogram, Series
from geoseg.report.features import BINS_PER_DECADE, DECADES, ClassFeatures
from geoseg.report.findings import CONFIDENCE_BINS, Findings
from geoseg.report.record import LegendClass, RunRecord

COLUMNS_PER_DECADE = 5
"""Columns of the chart of sizes: 1, 1.6, 2.5, 4, 6.3, 10."""

NOTABLE = 0.001
"""From which part on areas of polygons differ from those of pixels so that both are shown."""


def areas_section(findings: Findings, classes: Sequence[LegendClass]) -> dict[str, Any]:
    """Areas by class, the largest first, in a unit that can be chosen."""
    pixels = {value: item.area for value, item in findings.areas.items()}
    polygons = {value: item.area for value, item in findings.features.items()}
    shown = sorted((item for item in classes if item.value in pixels), key=lambda item: -pixels[item.value])
    total, largest = findings.labelled.area, max((pixels[item.value] for item in shown), default=1.0) or 1.0
    differs = _differs(findings, shown)
    return {
        "has_place": findings.frame.has_place,
        "square": findings.frame.square,
        "unit": wording.unit_for(pixels[item.value] for item in shown),
        "units": {key: name for key, (_, name) in wording.UNITS.items()},
        "differs": differs,
        "rows": [
            {
                "item": item,
                "length": pixels[item.value] / largest,
                "part": pixels[item.value] / total if total else math.nan,
                "pixels": pixels[item.value],
                "polygons": polygons.get(item.value, 0.0),
            }
            for item in shown
        ],
        "pixels": total,
        "polygons": sum(polygons.values()),
        "note": _area_note(findings, classes, shown, differs=differs),
    }


def _differs(findings: Findings, shown: Sequence[LegendClass]) -> bool:
    """Whether polygons cover something else than pixels: simplified, clipped, chosen, or cleaned of specks."""
    if not findings.features:
        return False
    pairs = [
        (findings.areas[item.value].area, findings.features.get(item.value, ClassFeatures()).area) for item in shown
    ]
    return any(abs(pixels - polygons) > NOTABLE * max(pixels, 1e-9) for pixels, polygons in pairs)


def _area_note(
    findings: Findings, classes: Sequence[LegendClass], shown: Sequence[LegendClass], *, differs: bool
) -> str:
    known = {item.value for item in shown}
    missing = [item.name for item in classes if item.value not in known]
    nodata = findings.areas.get(NODATA)
    ground = ", measured on the ellipsoid" if findings.frame.has_place else ""
    notes = [f"Pixels of labels.tif{ground}."]
    if differs:
        notes.append("Polygons differ where they were simplified, clipped, chosen by class or cleaned of small faces.")
    if missing:
        notes.append(f"Not found: {', '.join(missing)}.")
    if nodata is not None:
        part = nodata.pixels / math.prod(map(int, findings.frame.raster.shape))
        notes.append(
            f"Without a class: {wording.plural(nodata.pixels, 'pixel')}, {wording.percent(part)} of the raster."
        )
    return " ".join(notes)


def features_section(record: RunRecord, findings: Findings, classes: Sequence[LegendClass]) -> dict[str, Any] | None:
    """Polygons or objects by class, and how their sizes are distributed; None where there are none."""
    if not findings.features:
        return None
    things = record.instances is not None
    has_both = things and any(item.count > item.objects for item in findings.features.values())
    return {
        "heading": "Objects and polygons" if has_both else "Objects" if things else "Polygons",
        "score": "Score" if things else "Confidence",
        "rows": [
            (item, found, _own_area(findings, found.median), _own_area(findings, found.largest))
            for item in classes
            if (found := findings.features.get(item.value))
        ],
        "total": sum(item.count for item in findings.features.values()),
        "sizes": _sizes(findings, classes),
    }


def _own_area(findings: Findings, area: float) -> str:
    if not math.isfinite(area):
        return "-"
    return wording.own_area(area) if findings.frame.has_place else f"{wording.number(area)} {findings.frame.square}"


def _sizes(findings: Findings, classes: Sequence[LegendClass]) -> Histogram | None:
    """Counts by area, stacked by class, on a logarithmic axis."""
    step = BINS_PER_DECADE // COLUMNS_PER_DECADE
    total = np.sum([item.sizes for item in findings.features.values()], axis=0)
    if not total.any():
        return None
    first, last = np.flatnonzero(total.reshape(-1, step).sum(axis=1))[[0, -1]]
    first, last = (
        first // COLUMNS_PER_DECADE * COLUMNS_PER_DECADE,
        -(-(last + 1) // COLUMNS_PER_DECADE) * COLUMNS_PER_DECADE,
    )
    series = [
        Series(item.name, item.color, found.sizes.reshape(-1, step).sum(axis=1)[first:last].astype(float))
        for item in classes
        if (found := findings.features.get(item.value))
    ]
    decades = range(
        DECADES[first // COLUMNS_PER_DECADE],
        DECADES[first // COLUMNS_PER_DECADE] + (last - first) // COLUMNS_PER_DECADE + 1,
    )
    ticks = [(place * COLUMNS_PER_DECADE, _own_tick(findings, 10.0**decade)) for place, decade in enumerate(decades)]
    highest = float(np.sum([item.counts for item in series], axis=0).max())
    title = f"Number of polygons by area, from {ticks[0][1]} to {ticks[-1][1]}"
    return Histogram(series, ticks, title=title, highest=f"{highest:,.0f}")


def _own_tick(findings: Findings, area: float) -> str:
    """An area on an axis, a power of ten, without zeros that say nothing."""
    if not findings.frame.has_place:
        return f"{area:g}"
    factor, name = wording.UNITS["km2" if area >= 1e6 else "ha" if area >= 1e4 else "m2"]
    return f"{area / factor:g} {name}"


def confidence_section(findings: Findings) -> dict[str, Any] | None:
    """How sure the model was: parts of the map by confidence; None without confidence."""
    parts = findings.confidence_parts()
    if parts is None:
        return None
    series = [Series("Part of the map", "", parts)]
    ticks = [(place * CONFIDENCE_BINS, f"{place:.0%}".replace("%", " %")) for place in (0, 0.25, 0.5, 0.75, 1)]
    title, highest = "Part of the map by confidence, 0 to 100 %", wording.percent(float(parts.max()))
    low = float(parts[: CONFIDENCE_BINS // 2].sum())
    return {"chart": Histogram(series, ticks, title=title, highest=highest), "low": low}
