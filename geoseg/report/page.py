"""The report of a run: one HTML file with everything in it, that asks no network for anything.

A content security policy says so too: only this page's own script runs, and nothing can be fetched. It gathers what
sections say; the templates in ``assets`` are how they look.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from geoseg.files import write_file
from geoseg.raster.options import configured
from geoseg.report import account, results, wording
from geoseg.report.findings import Findings, OpenImagery, find, legend_of
from geoseg.report.mapping import map_data
from geoseg.report.measures import LIMITS
from geoseg.report.naming import subject_of
from geoseg.report.record import LegendClass, RunRecord
from geoseg.report.values import values_section
from geoseg.report.viewer import map_section
from geoseg.thumbnails import PIXELS, SIDE

NAME = "report.html"


@configured()
def write_report(record: RunRecord, imagery: OpenImagery) -> Path:
    """Write the report of a run into its folder.

    Parameters
    ----------
    record : RunRecord
        The run.
    imagery : callable
        Gives its imagery, or None; called where the run folder has no picture of it.

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
    page = _page(record, find(record, imagery, side=SIDE, pixels=PIXELS, limits=LIMITS))
    path = record.path / NAME
    write_file(path, lambda file: file.write_text(page, encoding="utf-8"))
    return path


def _page(record: RunRecord, findings: Findings) -> str:
    classes = legend_of(record)
    script = _asset("map.js")
    written = datetime.fromisoformat(record.content["written"])
    return (
        _templates()
        .get_template("page.html")
        .render(
            version=version("geoseg"),
            digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
            style=_asset("page.css"),
            subject=subject_of(record),
            model_name=record.model["name"],
            day=f"{written.day} {written:%B %Y, %H:%M} UTC",
            status=record.status,
            notice=_notice(record),
            figures=_figures(record, findings, classes),
            map=map_section(record, findings, classes),
            sections={
                "failures": account.failures_section(record),
                "areas": results.areas_section(findings, classes),
                "values": values_section(record),
                "features": results.features_section(record, findings, classes),
                "confidence": results.confidence_section(findings),
                "time": account.time_section(record),
                "memory": account.memory_section(record),
                "inputs": account.inputs_section(record),
                "model": account.model_section(record),
                "repeat": account.repeat_section(record),
            },
            results=", ".join(record.results) or "no results yet",
            data=_embedded(map_data(record, findings, classes)),
            script=script,
        )
    )


@cache
def _templates() -> Environment:
    """Templates of the page, with numbers as `geoseg.report.wording` writes them."""
    loader = PackageLoader("geoseg.report", "assets")
    templates = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters = wording.area, wording.duration, wording.number, wording.percent, wording.size
    templates.filters.update({function.__name__: function for function in filters})
    return templates


def _asset(name: str) -> str:
    return (files("geoseg.report") / "assets" / name).read_text(encoding="utf-8")


def _notice(record: RunRecord) -> str:
    """What is missing in the map; empty where nothing is."""
    if record.status == "finished":
        skipped = record.raster.get("skipped") or []
        left_out = wording.plural(len(skipped), "file or scene was", "files or scenes were")
        return f"{left_out} left out, because they cannot be read; see Inputs." if skipped else ""
    if not record.failed:
        return "This run has not ended. Run the same command again to complete it."
    failed = wording.plural(len(record.failed), "block")
    return f"{failed} failed, so parts of this map have no data. Run the same command again to complete it."


def _figures(record: RunRecord, findings: Findings, classes: Sequence[LegendClass]) -> list[tuple[str, str, str]]:
    """The five or six numbers that a person looks for first."""
    labelled, frame = findings.labelled, findings.frame
    height, width = map(int, frame.raster.shape)
    pixel = f" at {wording.metres(frame.metres / frame.factor)}" if frame.metres else ""
    found = sum(1 for item in classes if item.value in findings.areas)
    objects = sum(item.objects for item in findings.features.values())
    count = objects if record.instances else sum(item.count for item in findings.features.values())
    seconds = (record.content.get("seconds") or {}).get("total")
    memory = record.content.get("memory")
    covered = "Area of objects" if record.model.get("task") == "instance-segmentation" else "Mapped"
    return [
        (covered, wording.own_area(labelled.area) if frame.has_place else f"{labelled.pixels:,} px", ""),
        ("Raster", f"{width:,} x {height:,}", f"px{pixel}"),
        ("Classes", str(found), f"of {len(classes)} in the legend"),
        *([("Objects" if record.instances else "Polygons", f"{count:,}", "")] if findings.features else []),
        *([("Time", wording.duration(seconds), wording.plural(record.plan["workers"], "worker"))] if seconds else []),
        *([("Memory", wording.size(_sum_of_peaks(memory)), "of all processes")] if memory else []),
    ]


def _sum_of_peaks(memory: Mapping[str, Any]) -> int:
    return sum((int(peak) for peak in memory["workers"].values()), int(memory["client"]))


def _embedded(data: dict[str, Any]) -> str:
    """JSON that cannot end its element, whatever names it holds."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
