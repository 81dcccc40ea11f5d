"""The report of a run: one HTML file with everything in it, that asks no network for anything.

A content security policy says so too: only this page's own script runs, and nothing can be fetched. It puts parts
together; what they say stands beside it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from importlib.metadata import version
from pathlib import Path
from string import Template
from typing import Any

from geoseg.files import write_file
from geoseg.raster import Raster
from geoseg.raster.options import configured
from geoseg.report import account, results, wording
from geoseg.report.findings import Findings, find, legend_of
from geoseg.report.mapping import map_data
from geoseg.report.naming import subject_of
from geoseg.report.record import LegendClass, RunRecord
from geoseg.report.shapes import Limits
from geoseg.report.values import values_section
from geoseg.report.viewer import asset, map_section

NAME = "report.html"

SIDE, PIXELS = 2048, 3_000_000
"""Largest side and size of the map's pictures, px."""

LIMITS = Limits(count=20_000, vertices=250_000)
"""Polygons of the map: about a megabyte, and drawn at once."""

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 4 4'%3E%3Cpath fill='%230a666d' "
    "d='M0 0h4v4H0z'/%3E%3Cpath fill='%23e49635' d='M2 0h2v2H2z'/%3E%3Cpath fill='%2388b053' d='M0 2h2v2H0z'/%3E"
    "%3C/svg%3E"
)


@configured()
def write_report(record: RunRecord, raster: Raster | None) -> Path:
    """Write the report of a run into its folder.

    Parameters
    ----------
    record : RunRecord
        The run.
    raster : Raster, optional
        Its imagery; without it the map lacks it.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ReportError
        The run's labels cannot be read.
    OutputError
        The page cannot be written.

    Warns
    -----
    ReportWarning
        Something that the report should show cannot be read.
    """
    page = make_page(record, find(record, raster, side=SIDE, pixels=PIXELS, limits=LIMITS))
    path = record.path / NAME
    write_file(path, lambda file: file.write_text(page, encoding="utf-8"))
    return path


def make_page(record: RunRecord, findings: Findings) -> str:
    """Put the page together."""
    classes = legend_of(record)
    script = asset("map.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    wide = account.failures_section(record), results.areas_section(findings, classes), values_section(record)
    sections = (
        results.features_section(record, findings, classes),
        results.confidence_section(findings),
        account.time_section(record),
        account.memory_section(record),
        account.inputs_section(record),
        account.model_section(record),
        account.repeat_section(record),
    )
    return Template(asset("page.html")).substitute(
        generator=f"geoseg {version('geoseg')}",
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        icon=ICON,
        title=escape(f"{subject_of(record)} - geoseg"),
        style=asset("page.css"),
        header=_header(record, findings, classes),
        map=map_section(record, findings, classes),
        wide="\n".join(wide),
        sections="\n".join(section for section in sections if section),
        footer=_footer(record),
        data=_embedded(map_data(record, findings, classes)),
        script=script,
    )


def _header(record: RunRecord, findings: Findings, classes: Sequence[LegendClass]) -> str:
    written = datetime.fromisoformat(record.content["written"])
    day = f"{written.day} {written:%B %Y, %H:%M} UTC"
    status = escape(record.status)
    return (
        f'<p class="eyebrow">geoseg report</p><h1>{escape(subject_of(record))}</h1>'
        f'<p class="lead">Mapped with {escape(record.model["name"])} on {day} '
        f'<span class="status {status}">{status}</span></p>'
        f"{_notice(record)}{_figures(record, findings, classes)}"
    )


def _notice(record: RunRecord) -> str:
    if record.status == "finished":
        return ""
    failed = wording.plural(len(record.failed), "block")
    text = (
        f"{failed} failed, so parts of this map have no data. Run the same command again to complete it."
        if record.failed
        else "This run has not ended. Run the same command again to complete it."
    )
    return f'<p class="notice" role="note">{escape(text)}</p>'


def _figures(record: RunRecord, findings: Findings, classes: Sequence[LegendClass]) -> str:
    """The five or six numbers that a person looks for first."""
    labelled, frame = findings.labelled, findings.frame
    height, width = map(int, frame.raster.shape)
    pixel = f" at {wording.metres(frame.metres / frame.factor)}" if frame.metres else ""
    found = sum(1 for item in classes if item.value in findings.areas)
    objects = sum(item.objects for item in findings.features.values())
    count = objects if record.instances else sum(item.count for item in findings.features.values())
    seconds = (record.content.get("seconds") or {}).get("total")
    memory = record.content.get("memory")
    figures = [
        ("Mapped", wording.own_area(labelled.area) if frame.has_place else f"{labelled.pixels:,} px", ""),
        ("Raster", f"{width:,} x {height:,}", f"px{pixel}"),
        ("Classes", str(found), f"of {len(classes)} in the model"),
        *([("Objects" if record.instances else "Polygons", f"{count:,}", "")] if findings.features else []),
        *([("Time", wording.duration(seconds), wording.plural(record.plan["workers"], "worker"))] if seconds else []),
        *([("Memory", wording.size(_sum_of_peaks(memory)), "of all processes")] if memory else []),
    ]
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>"
        for name, value, more in figures
    )
    return f'<dl class="figures">{items}</dl>'


def _sum_of_peaks(memory: Mapping[str, Any]) -> int:
    return sum((int(peak) for peak in memory["workers"].values()), int(memory["client"]))


def _footer(record: RunRecord) -> str:
    names = ", ".join(record.results) or "no results yet"
    return (
        f"<p>Beside this page: {escape(names)}, run.json. Everything on it is in this one file; it asks no network for "
        f"anything. Made by geoseg {version('geoseg')}.</p>"
    )


def _embedded(data: dict[str, Any]) -> str:
    """JSON that cannot end its element, whatever names it holds."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
