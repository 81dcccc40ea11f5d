"""Sections of a report about how it was made: time, memory, failures, inputs, model, versions, the command.

It knows a run's record; nothing of pixels, nor of how the page looks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import Any

from geoseg.report import wording
from geoseg.report.record import RunRecord, spoken
from geoseg.stages import STAGES, WRITING

WALL = {"open": "open the model", "blocks": "blocks", "write": WRITING}
"""Stages of the wall time, and what they are."""

MAX_ROWS = 60
"""Rows of a table of files or failures; a page is for people."""

Section = dict[str, Any]
"""Values of a template of ``assets/sections``."""


def time_section(record: RunRecord) -> Section | None:
    """Wall time, and time of the workers by stage."""
    seconds = dict(record.content.get("seconds") or {})
    if not seconds:
        return None
    total = seconds.pop("total", sum(seconds.values()))
    rest = max(0.0, total - sum(seconds.values()))
    blocks = record.content.get("blocks") or {}
    done, kept = blocks.get("done") or {}, blocks.get("kept") or {}
    seconds_by_stage = dict(record.content.get("worker_seconds") or {})
    work = {name: seconds_by_stage[name] for name in (*STAGES, *seconds_by_stage) if name in seconds_by_stage}
    kept_only = [f"{name}: {count:,} kept from an earlier start" for name, count in kept.items() if name not in work]
    return {
        "total": total,
        "speed": _speed(record, seconds),
        "wall": {WALL.get(name, spoken(name)): value for name, value in seconds.items()}
        | {"start and stop workers": rest},
        "work": work,
        "counts": {
            name: f"{done.get(name, 0):,} done" + (f", {kept[name]:,} kept" if kept.get(name) else "") for name in work
        },
        "notes": [f"{'; '.join(kept_only)}."] if kept_only else [],
    }


def _speed(record: RunRecord, seconds: Mapping[str, float]) -> str:
    """How fast blocks went, where all of them ran now."""
    pixels, kept = math.prod(record.raster["shape"]), (record.content.get("blocks") or {}).get("kept") or {}
    if not seconds.get("blocks") or kept.get("predict"):
        return ""
    return f"; blocks went at {wording.number(pixels / 1e6 / seconds['blocks'])} Mpx/s"


def memory_section(record: RunRecord) -> Section | None:
    """The plan of a worker's memory by cause, and what workers really took."""
    causes = dict(record.plan.get("worker_bytes") or {})
    if not causes:
        return None
    planned = sum(causes.values())
    measured = record.content.get("memory") or {}
    peaks = sorted((measured.get("workers") or {}).values(), reverse=True)
    return {
        "planned": planned,
        "verdict": _verdict(planned, peaks),
        "causes": causes,
        "whole": max([planned, *peaks]) * 1.02,
        "peak": peaks[0] if peaks else None,
        "notes": _memory_notes(record, measured, peaks),
    }


def _verdict(planned: float, peaks: list[int]) -> str:
    if not peaks:
        return ""
    if len(peaks) == 1:
        return f" and took {wording.size(peaks[0])}, {wording.percent(peaks[0] / planned)} of it"
    span = f"{wording.size(peaks[-1])} to {wording.size(peaks[0])}"
    return f"; the {len(peaks)} of them took {span}, at most {wording.percent(peaks[0] / planned)} of it"


def _memory_notes(record: RunRecord, measured: Mapping[str, Any], peaks: list[int]) -> list[str]:
    if not peaks:
        return []
    own = int(measured.get("client") or 0)
    return [
        "Peaks as the system counted them; of pages that processes share each counts a part. The process that ran the "
        f"workers took {wording.size(own)}; altogether {wording.size(own + sum(peaks))} of "
        f"{wording.size(record.plan['planned_bytes'])} planned."
    ]


def failures_section(record: RunRecord) -> Section | None:
    """Blocks that failed, with their stage and reason; None where none did."""
    if not record.failed:
        return None
    rows = list(_reasons(list(record.failed.items())[:MAX_ROWS]))
    return {"rows": rows, "notes": _more(len(record.failed))}


def _more(count: int) -> list[str]:
    return [f"{count - MAX_ROWS:,} more stand in run.json."] if count > MAX_ROWS else []


def _reasons(failed: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str, str]]:
    for name, sentence in failed:
        stage, _, reason = sentence.partition(": ")
        yield (name, stage, reason) if reason else (name, "", stage)


def inputs_section(record: RunRecord) -> Section:
    """Files that were read."""
    files = list(record.content.get("inputs") or [])
    raster = record.raster
    skipped = list(raster.get("skipped") or [])
    height, width = raster["shape"]
    pixel = raster.get("resolution_m")
    return {
        "facts": {
            "Grid": f"{width:,} x {height:,} px"
            + (f" of {wording.metres(pixel[1])} x {wording.metres(pixel[0])}" if pixel else ""),
            "CRS": _crs_name(record),
            "Bands": ", ".join(map(str, raster.get("bands") or [])) + f" ({raster.get('dtype', '')})",
            "Resampled": "yes, onto this grid" if raster.get("resampled") else "no",
            "Region": str(record.workflow.get("region") or "everything"),
            **_corrections(record),
        },
        "files": [
            (_file_name(item), _file_size(item), _file_date(item), str(item.get("sha256") or "-")[:12])
            for item in files[:MAX_ROWS]
        ],
        "notes": [
            *_more(len(files)),
            *(f"{text}." for text in (raster.get("notes") or [])[:MAX_ROWS]),
        ],
        "skipped": skipped[:MAX_ROWS],
        "skipped_count": len(skipped),
    }


def _corrections(record: RunRecord) -> dict[str, str]:
    """What a person has corrected, and what it came to; nothing where nothing was."""
    content = record.content.get("corrections")
    if not content:
        return {}
    features = f"{wording.plural(content['polygons'], 'polygon')} and {wording.plural(content['points'], 'point')}"
    pixels = f"{content.get('pixels', 0):,} px, of which {content.get('changed', 0):,} got another class"
    unused = content["outside"] + content.get("unused", 0)
    more = f"; {wording.plural(unused, 'feature')} outside of the data" if unused else ""
    return {"Corrections": f"{features} of {Path(content['file']).name}: {pixels}{more}"}


def _crs_name(record: RunRecord) -> str:
    """The CRS in a line; a long text of its definition by its first words."""
    text = str(record.raster.get("crs") or "none")
    named = re.match(r'\w+\["([^"]+)"', text)
    return named[1] if named else text


def _file_name(item: Mapping[str, Any]) -> str:
    """The path's last parts: whole paths are long, and tell of somebody's disk."""
    parts = Path(str(item.get("path"))).parts
    return str(Path(*parts[-2:])) if len(parts) > 2 else str(item.get("path"))


def _file_size(item: Mapping[str, Any]) -> str:
    return "-" if item.get("size") is None else wording.size(item["size"])


def _file_date(item: Mapping[str, Any]) -> str:
    if item.get("mtime_ns") is None:
        return "-"
    return datetime.fromtimestamp(item["mtime_ns"] / 1e9, UTC).strftime("%Y-%m-%d")


def model_section(record: RunRecord) -> Section:
    """The model's card, and that of each part of two."""
    model, plan = record.model, record.plan
    parts = [{"name": part["name"], **_card(part)} for part in model.get("parts") or []]
    arithmetic = f"{plan['precision']} precision by {plan.get('runtime', 'torch')}"
    used = {
        "Tiles": f"{plan['tiles']:,} of {plan['tile_size']} px, halo {plan['halo']}, ramp {plan['ramp']}",
        "Device": f"{plan['device']}, {arithmetic}, {wording.plural(plan['workers'], 'worker')}",
    }
    card = {"facts": used, "provenance": []} if parts else _card(model, used)
    return {"name": model["name"], **card, "parts": parts, "notes": record.content.get("warnings") or []}


def _card(model: Mapping[str, Any], more: Mapping[str, str] | None = None) -> Section:
    bands = ", ".join(
        f"{band['name']} ({band['common_name']})"
        if band.get("common_name") not in (None, band["name"])
        else band["name"]
        for band in model.get("bands") or []
    )
    metrics = {_metric(name): f"{value:g}" for name, value in (model.get("metrics") or {}).items()}
    resolution = model.get("resolution")
    weights = " ".join(str(item) for item in (model.get("weights"), _short(model.get("checksum"))) if item)
    network = " ".join(str(model[key]) for key in ("architecture", "framework") if model.get(key))
    return {
        "facts": {
            "What": model.get("description") or "",
            "Task": spoken(str(model.get("task") or "").replace("-", " ")),
            "Licence": model.get("license") or "none given",
            "Classes": ", ".join(spoken(item["name"]) for item in model.get("classes") or []),
            "Bands": bands,
            "Resolution": "not stated" if resolution is None else f"{resolution:g} m",
            "Network": network,
            "Weights": weights,
            **(more or {}),
            "Metrics": ", ".join(f"{name} {value}" for name, value in metrics.items()),
        },
        "provenance": _paragraphs(str(model.get("provenance") or "")),
    }


def _metric(name: str) -> str:
    """The name of a metric as papers write it."""
    return re.sub(r"\biou\b", "IoU", spoken(name))


def _short(checksum: object) -> str:
    """A checksum's algorithm and first digits."""
    kind, _, digits = str(checksum or "").rpartition(":")
    return f"({kind} {digits[:12]})" if digits else ""


def _paragraphs(text: str) -> list[str]:
    """The card's own words: paragraphs and lists of Markdown, without its marks."""
    items = [" ".join(item.split()) for item in re.split(r"^[-*] +", text, flags=re.MULTILINE) if item.strip()]
    return [re.sub(r"\[([^\]]+)\]\([^)]+\)|[`*]", r"\1", item) for item in items]


def repeat_section(record: RunRecord) -> Section:
    """The command that makes the same again, and the versions that made this."""
    output = str(record.workflow.get("output") or record.path)
    command = f"geoseg run {quote(f'{output}/workflow.yaml')} --output {quote(f'{output}-again')}"
    return {"command": command, "versions": record.content.get("versions") or {}}
