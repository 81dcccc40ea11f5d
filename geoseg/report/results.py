"""Sections of a report about what was found: areas by class, polygons or objects and their sizes, confidence.

It knows findings, and HTML; nothing of how the page is put together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

import numpy as np

from geoseg.models.spec import NODATA
from geoseg.report import wording
from geoseg.report.areas import ClassArea
from geoseg.report.charts import RAMP, Series, bar, histogram, swatch
from geoseg.report.features import BINS_PER_DECADE, DECADES, ClassFeatures
from geoseg.report.findings import CONFIDENCE_BINS, Findings
from geoseg.report.record import LegendClass, RunRecord

COLUMNS_PER_DECADE = 5
"""Columns of the chart of sizes: 1, 1.6, 2.5, 4, 6.3, 10."""

NOTABLE = 0.001
"""From which part on areas of polygons differ from those of pixels so that both are shown."""


def areas_section(findings: Findings, classes: Sequence[LegendClass]) -> str:
    """Areas by class: a table with bars, in a unit that can be chosen."""
    labelled = findings.labelled
    shown = [item for item in classes if findings.areas.get(item.value)]
    shown.sort(key=lambda item: -findings.areas[item.value].area)
    unit = wording.unit_for(findings.areas[item.value].area for item in shown)
    largest = max((findings.areas[item.value].area for item in shown), default=1.0) or 1.0
    differs = _differs(findings, shown)
    head = "".join(
        f"<th{css}>{name}</th>"
        for css, name in (
            ("", "Class"),
            (' class="bar"', '<span class="unseen">Bar</span>'),
            (' class="number"', "Part"),
            (' class="number"', "Area"),
            *([(' class="number"', "Of polygons")] if differs else []),
        )
    )
    rows = "".join(_area_row(findings, item, labelled.area, largest, unit, differs=differs) for item in shown)
    foot = _total_row(findings, labelled, unit, differs=differs)
    return (
        '<section class="wide" aria-labelledby="areas"><div class="title"><h2 id="areas">Areas by class</h2>'
        f"{_units(unit) if findings.frame.has_place else ''}</div>"
        f'<div class="scroll"><table class="areas"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        f"<tfoot>{foot}</tfoot></table></div>"
        f"{_area_notes(findings, classes, shown, differs=differs)}</section>"
    )


def _units(unit: str) -> str:
    choices = "".join(
        f'<label><input type="radio" name="unit" value="{key}"{" checked" if key == unit else ""}>{name}</label>'
        for key, (_, name) in wording.UNITS.items()
    )
    return f'<fieldset class="units"><legend class="unseen">Unit of areas</legend>{choices}</fieldset>'


def _area_row(findings: Findings, item: LegendClass, total: float, largest: float, unit: str, *, differs: bool) -> str:
    area = findings.areas[item.value].area
    polygons = findings.features.get(item.value, ClassFeatures()).area
    return (
        f'<tr><th scope="row">{swatch(item.color)}{escape(item.name)}</th>'
        f'<td class="bar">{bar(area / largest, item.color)}</td>'
        f'<td class="number">{wording.percent(area / total if total else math.nan)}</td>'
        f"{_area_cell(findings, area, unit)}{_area_cell(findings, polygons, unit) if differs else ''}</tr>"
    )


def _total_row(findings: Findings, labelled: ClassArea, unit: str, *, differs: bool) -> str:
    polygons = sum(item.area for item in findings.features.values())
    return (
        f'<tr><th scope="row">All classes</th><td></td><td class="number">100 %</td>'
        f"{_area_cell(findings, labelled.area, unit)}{_area_cell(findings, polygons, unit) if differs else ''}</tr>"
    )


def _area_cell(findings: Findings, area: float, unit: str) -> str:
    """A number that the page's script changes with the unit."""
    if not findings.frame.has_place:
        return f'<td class="number">{wording.number(area)} {findings.frame.square}</td>'
    return f'<td class="number" data-area="{area!r}">{wording.area(area, unit)}</td>'


def _differs(findings: Findings, shown: Sequence[LegendClass]) -> bool:
    """Whether polygons cover something else than pixels: simplified, clipped, chosen, or cleaned of specks."""
    if not findings.features:
        return False
    pairs = [
        (findings.areas[item.value].area, findings.features.get(item.value, ClassFeatures()).area) for item in shown
    ]
    return any(abs(pixels - polygons) > NOTABLE * max(pixels, 1e-9) for pixels, polygons in pairs)


def _area_notes(
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
    return f'<p class="note">{escape(" ".join(notes))}</p>'


def features_section(record: RunRecord, findings: Findings, classes: Sequence[LegendClass]) -> str:
    """Polygons or objects by class, and how their sizes are distributed."""
    if not findings.features:
        return ""
    things = record.instances is not None
    has_both = things and any(item.count > item.objects for item in findings.features.values())
    heading = "Objects and polygons" if has_both else "Objects" if things else "Polygons"
    head = "".join(
        f'<th class="number">{name}</th>' if index else f"<th>{name}</th>"
        for index, name in enumerate(("Class", "Count", "Median", "Largest", "Score" if things else "Confidence"))
    )
    rows = "".join(
        f'<tr><th scope="row">{swatch(item.color)}{escape(item.name)}</th><td class="number">{found.count:,}</td>'
        f'<td class="number">{_own_area(findings, found.median)}</td>'
        f'<td class="number">{_own_area(findings, found.largest)}</td>'
        f'<td class="number">{wording.percent(found.confidence)}</td></tr>'
        for item in classes
        if (found := findings.features.get(item.value))
    )
    total = sum(item.count for item in findings.features.values())
    return (
        f'<section aria-labelledby="features"><h2 id="features">{heading}</h2>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody>'
        f'<tfoot><tr><th scope="row">All</th><td class="number">{total:,}</td><td colspan="3"></td></tr></tfoot>'
        "</table></div>"
        f"<h3>How large they are</h3>{_sizes(findings, classes)}</section>"
    )


def _own_area(findings: Findings, area: float) -> str:
    if not math.isfinite(area):
        return "-"
    return wording.own_area(area) if findings.frame.has_place else f"{wording.number(area)} {findings.frame.square}"


def _sizes(findings: Findings, classes: Sequence[LegendClass]) -> str:
    """Counts by area, stacked by class, on a logarithmic axis."""
    step = BINS_PER_DECADE // COLUMNS_PER_DECADE
    total = np.sum([item.sizes for item in findings.features.values()], axis=0)
    if not total.any():
        return ""
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
    return histogram(series, ticks, title=title, top=f"{highest:,.0f}")


def _own_tick(findings: Findings, area: float) -> str:
    """An area on an axis, a power of ten, without zeros that say nothing."""
    if not findings.frame.has_place:
        return f"{area:g}"
    factor, name = wording.UNITS["km2" if area >= 1e6 else "ha" if area >= 1e4 else "m2"]
    return f"{area / factor:g} {name}"


def confidence_section(findings: Findings) -> str:
    """How sure the model was: parts of the map by confidence, and where."""
    parts = findings.confidence_parts()
    if parts is None:
        return ""
    series = [Series("Part of the map", "", parts)]
    ticks = [(place * CONFIDENCE_BINS, f"{place:.0%}".replace("%", " %")) for place in (0, 0.25, 0.5, 0.75, 1)]
    chart = histogram(
        series, ticks, title="Part of the map by confidence, 0 to 100 %", top=wording.percent(float(parts.max()))
    )
    low = wording.percent(float(parts[: CONFIDENCE_BINS // 2].sum()))
    return (
        '<section aria-labelledby="confidence"><h2 id="confidence">Confidence</h2>'
        f"<figure>{chart}<figcaption>Part of the map by confidence; {low} is below 50 %.</figcaption></figure>"
        '<figure><canvas id="confidence-picture" role="img" aria-label="Confidence over the map"></canvas>'
        f"<figcaption>{RAMP}</figcaption></figure></section>"
    )
