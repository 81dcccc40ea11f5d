"""The map of a page and what stands around it: buttons, north, layers, legend, notes.

What is drawn on it is the matter of ``assets/map.js``. It knows findings, and HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

from geoseg.models.spec import NODATA
from geoseg.report import wording
from geoseg.report.charts import RAMP, swatch
from geoseg.report.findings import Findings
from geoseg.report.mapping import imagery_picture
from geoseg.report.naming import credit_of
from geoseg.report.record import LegendClass, RunRecord

_RAMP = f'<div class="slider">{RAMP}</div>'

OPACITY = 60
"""Of classes over imagery, percent, until somebody moves it."""

NORTH = (
    '<svg class="north" viewBox="-20 -26 40 52" role="img" '
    'aria-label="North is {degrees:.0f} degrees clockwise from up">'
    '<g transform="rotate({degrees:.2f})"><path d="M0 -22 L8 12 L0 6 Z" fill="#fff"/>'
    '<path d="M0 -22 L-8 12 L0 6 Z" fill="#101315" stroke="#fff" stroke-width="1"/>'
    '<text y="24" text-anchor="middle" fill="#fff" font-size="12" font-weight="700">N</text></g></svg>'
)

TOOLS = (
    ("in", "Zoom in", "M9 4v10M4 9h10"),
    ("out", "Zoom out", "M4 9h10"),
    ("fit", "Show everything", "M3 7V3h4M11 3h4v4M15 11v4h-4M7 15H3v-4"),
    ("full", "Full screen", "M10 3h5v5M15 3l-5 5M8 15H3v-5M3 15l5-5"),
)
"""Buttons of the map: value, name, and path of the sign."""


def map_section(record: RunRecord, findings: Findings, classes: Sequence[LegendClass]) -> str:
    """The map, with everything that belongs to it."""
    picture = imagery_picture(findings)
    north = findings.frame.north
    return Template(asset("map.html")).substitute(
        tools="".join(_tool(*tool) for tool in TOOLS),
        north="" if north is None else NORTH.format(degrees=north),
        imagery="" if picture is None else f'<img id="imagery" hidden alt="" src="{picture}">',
        layers=_layers(record, findings, has_imagery=picture is not None),
        classes=_classes(findings, classes),
        notes="".join(f'<p class="credit">{escape(note)}</p>' for note in _notes(record, findings)),
    )


def asset(name: str) -> str:
    """A file of the page's own."""
    return (files("geoseg.report") / "assets" / name).read_text(encoding="utf-8")


def _tool(value: str, name: str, path: str) -> str:
    return (
        f'<button type="button" value="{value}" aria-label="{name}" title="{name}">'
        f'<svg viewBox="0 0 18 18" aria-hidden="true"><path d="{path}"/></svg></button>'
    )


def _layers(record: RunRecord, findings: Findings, *, has_imagery: bool) -> str:
    """One box for each layer that there is, and a slider."""
    has_shapes = findings.shapes is not None and len(findings.shapes) > 0
    slider = (
        f'<label class="slider"><input type="range" id="opacity" min="10" max="100" '
        f'value="{OPACITY if has_imagery else 100}" aria-label="Opacity of classes"></label>'
    )
    layers = [
        _layer("imagery", "Imagery", is_on=True) if has_imagery else "",
        _layer("labels", "Classes", is_on=True) + slider,
        _layer("polygons", "Objects" if record.instances else "Polygons", is_on=True) if has_shapes else "",
        _layer("confidence", "Confidence", is_on=False) + _RAMP if findings.confidence is not None else "",
        _layer("failed", "Failed blocks", is_on=True) if record.failed_windows() else "",
    ]
    return "".join(layers)


def _layer(value: str, name: str, *, is_on: bool) -> str:
    checked = " checked" if is_on else ""
    return f'<label><input type="checkbox" name="layer" value="{value}"{checked}><span>{name}</span></label>'


def _classes(findings: Findings, classes: Sequence[LegendClass]) -> str:
    """One box for each class that was found, with its colour and its part."""
    total = findings.labelled.area or 1.0
    return "".join(
        f'<label><input type="checkbox" name="class" value="{item.value}" checked>{swatch(item.color)}'
        f"<span>{escape(item.name)}</span><small>{wording.percent(found.area / total)}</small></label>"
        for item in classes
        if (found := findings.areas.get(item.value)) and item.value != NODATA
    )


def _notes(record: RunRecord, findings: Findings) -> list[str]:
    """Whose imagery it is, and what the map lacks."""
    notes = []
    if findings.imagery is not None:
        notes += [credit_of(record), f"Imagery shows {', '.join(findings.imagery.bands)}.", *findings.imagery.notes]
    count, shapes = sum(item.count for item in findings.features.values()), findings.shapes
    if shapes is not None and len(shapes) < count and record.features is not None:
        notes.append(
            f"The {len(shapes):,} largest of {count:,} polygons are drawn; {record.features.name} has them all."
        )
    if findings.frame.factor > 1:
        notes.append(f"Pictures are thinned to one pixel in {findings.frame.factor} down and across.")
    return [note for note in notes if note]
