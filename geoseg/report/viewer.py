"""The map of a page and what stands around it: layers, legend, notes.

What is drawn on it is the matter of ``assets/map.js``. It knows findings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoseg.models.spec import NODATA
from geoseg.report.findings import Findings
from geoseg.report.mapping import imagery_picture
from geoseg.report.naming import credit_of
from geoseg.report.record import LegendClass, RunRecord


def map_section(record: RunRecord, findings: Findings, classes: Sequence[LegendClass]) -> dict[str, Any]:
    """The map, with everything that belongs to it."""
    total = findings.labelled.area or 1.0
    return {
        "north": findings.frame.north,
        "imagery": imagery_picture(findings),
        "has_shapes": findings.shapes is not None and len(findings.shapes) > 0,
        "has_objects": record.instances is not None,
        "has_confidence": findings.confidence is not None,
        "has_failures": bool(record.failed_windows()),
        "classes": [
            (item, found.area / total)
            for item in classes
            if (found := findings.areas.get(item.value)) and item.value != NODATA
        ],
        "notes": _notes(record, findings),
    }


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
