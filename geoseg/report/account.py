"""Sections of a report about how it was made: time, memory, failures, inputs, model, versions, the command.

It knows a run's record, and HTML; nothing of pixels.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from shlex import quote
from typing import Any

from geoseg.report import wording
from geoseg.report.charts import bar, shade, stack
from geoseg.report.record import RunRecord, spoken
from geoseg.stages import STAGES, WRITING

WALL = {"open": "open the model", "blocks": "blocks", "write": WRITING}
"""Stages of the wall time, and what they are."""

MAX_ROWS = 60
"""Rows of a table of files or failures; a page is for people."""


def time_section(record: RunRecord) -> str:
    """Wall time, and time of the workers by stage."""
    seconds = dict(record.content.get("seconds") or {})
    if not seconds:
        return ""
    total = seconds.pop("total", sum(seconds.values()))
    rest = max(0.0, total - sum(seconds.values()))
    wall = {WALL.get(name, spoken(name)): value for name, value in seconds.items()} | {"start and stop workers": rest}
    blocks = record.content.get("blocks") or {}
    done, kept = blocks.get("done") or {}, blocks.get("kept") or {}
    seconds_by_stage = dict(record.content.get("worker_seconds") or {})
    work = {name: seconds_by_stage[name] for name in (*STAGES, *seconds_by_stage) if name in seconds_by_stage}
    counts = {
        name: f"{done.get(name, 0):,} done" + (f", {kept[name]:,} kept" if kept.get(name) else "") for name in work
    }
    kept_only = [f"{name}: {count:,} kept from an earlier start" for name, count in kept.items() if name not in work]
    notes = f'<p class="note">{escape("; ".join(kept_only))}.</p>' if kept_only else ""
    return (
        '<section aria-labelledby="time"><h2 id="time">Time</h2>'
        f"<p>{escape(wording.duration(total))} from the first to the last step{_speed(record, seconds)}.</p>"
        f"{_bars(wall)}<h3>Work of the workers by stage</h3>{_bars(work, counts)}{notes}</section>"
    )


def _speed(record: RunRecord, seconds: Mapping[str, float]) -> str:
    """How fast blocks went, where all of them ran now."""
    pixels, kept = math.prod(record.raster["shape"]), (record.content.get("blocks") or {}).get("kept") or {}
    if not seconds.get("blocks") or kept.get("predict"):
        return ""
    return f"; blocks went at {wording.number(pixels / 1e6 / seconds['blocks'])} Mpx/s"


def _bars(values: Mapping[str, float], remarks: Mapping[str, str] | None = None) -> str:
    largest = max(values.values(), default=0.0) or 1.0
    cells = {name: f'<td class="number">{escape(text)}</td>' for name, text in (remarks or {}).items()}
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td class="bar">{bar(value / largest)}</td>'
        f'<td class="number">{wording.duration(value)}</td>{cells.get(name, "")}</tr>'
        for name, value in values.items()
    )
    return f'<div class="scroll"><table><tbody>{rows}</tbody></table></div>'


def memory_section(record: RunRecord) -> str:
    """The plan of a worker's memory by cause, and what workers really took."""
    causes = dict(record.plan.get("worker_bytes") or {})
    if not causes:
        return ""
    planned = sum(causes.values())
    measured = record.content.get("memory") or {}
    peaks = sorted((measured.get("workers") or {}).values(), reverse=True)
    whole = max([planned, *peaks]) * 1.02
    keys = "".join(
        f'<li>{shade(index)}<span>{escape(cause)}</span><span class="number">{wording.size(size)}</span></li>'
        for index, (cause, size) in enumerate(causes.items())
    )
    if peaks:
        keys += (
            '<li><span class="line"></span><span>largest peak that was measured</span>'
            f'<span class="number">{wording.size(peaks[0])}</span></li>'
        )
    return (
        '<section aria-labelledby="memory"><h2 id="memory">Memory</h2>'
        f"<p>A worker was planned to take at most {wording.size(planned)}{_verdict(planned, peaks)}.</p>"
        f'{stack(list(causes.values()), whole, peaks[:1])}<ul class="keys">{keys}</ul>'
        f"{_memory_notes(record, measured, peaks)}</section>"
    )


def _verdict(planned: float, peaks: list[int]) -> str:
    if not peaks:
        return ""
    if len(peaks) == 1:
        return f" and took {wording.size(peaks[0])}, {wording.percent(peaks[0] / planned)} of it"
    span = f"{wording.size(peaks[-1])} to {wording.size(peaks[0])}"
    return f"; the {len(peaks)} of them took {span}, at most {wording.percent(peaks[0] / planned)} of it"


def _memory_notes(record: RunRecord, measured: Mapping[str, Any], peaks: list[int]) -> str:
    if not peaks:
        return ""
    own = int(measured.get("client") or 0)
    return (
        '<p class="note">Peaks as the system counted them; of pages that processes share each counts a part. The '
        f"process that ran the workers took {wording.size(own)}; altogether {wording.size(own + sum(peaks))} of "
        f"{wording.size(record.plan['planned_bytes'])} planned.</p>"
    )


def failures_section(record: RunRecord) -> str:
    """Blocks that failed, with their stage and reason; nothing where none did."""
    if not record.failed:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(stage)}</td><td>{escape(reason)}</td></tr>'
        for name, stage, reason in _reasons(list(record.failed.items())[:MAX_ROWS])
    )
    more = len(record.failed) - MAX_ROWS
    note = f'<p class="note">{more:,} more stand in run.json.</p>' if more > 0 else ""
    return (
        '<section class="wide long" aria-labelledby="failures"><h2 id="failures">Blocks that failed</h2>'
        "<p>Fix the cause and run the same command again: only these blocks are repeated.</p>"
        '<div class="scroll"><table><thead><tr><th>Block</th><th>Stage</th><th>Reason</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}</section>"
    )


def _reasons(failed: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str, str]]:
    for name, sentence in failed:
        stage, _, reason = sentence.partition(": ")
        yield (name, stage, reason) if reason else (name, "", stage)


def inputs_section(record: RunRecord) -> str:
    """Files that were read."""
    files = list(record.content.get("inputs") or [])
    rows = "".join(
        f'<tr><th scope="row">{escape(_file_name(item))}</th><td class="number">{_file_size(item)}</td>'
        f"<td>{_file_date(item)}</td><td><code>{escape(str(item.get('sha256') or '-')[:12])}</code></td></tr>"
        for item in files[:MAX_ROWS]
    )
    more = len(files) - MAX_ROWS
    note = f'<p class="note">{more:,} more stand in run.json.</p>' if more > 0 else ""
    raster = record.raster
    note += "".join(
        f'<p class="note">GDAL reports of {escape(text)}</p>' for text in (raster.get("notes") or [])[:MAX_ROWS]
    )
    height, width = raster["shape"]
    pixel = raster.get("resolution_m")
    facts = _facts(
        {
            "Grid": f"{width:,} x {height:,} px"
            + (f" of {wording.metres(pixel[1])} x {wording.metres(pixel[0])}" if pixel else ""),
            "CRS": _crs_name(record),
            "Bands": ", ".join(map(str, raster.get("bands") or [])) + f" ({raster.get('dtype', '')})",
            "Resampled": "yes, onto this grid" if raster.get("resampled") else "no",
            "Region": str(record.workflow.get("region") or "everything"),
        }
    )
    return (
        '<section class="long" aria-labelledby="inputs"><h2 id="inputs">Inputs</h2>'
        f'{facts}<h3>Files</h3><div class="scroll"><table><thead><tr><th>File</th><th class="number">Size</th>'
        "<th>Changed</th><th>Fingerprint</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{note}{_skipped(raster)}</section>"
    )


def _skipped(raster: Mapping[str, Any]) -> str:
    """Files and scenes that were left out because they cannot be opened; nothing where all were used."""
    sentences = list(raster.get("skipped") or [])
    rows = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences[:MAX_ROWS])
    return f"<h3>Left out: {len(sentences):,} that cannot be opened</h3><ul>{rows}</ul>" if rows else ""


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


def model_section(record: RunRecord) -> str:
    """The model's card, and that of each part of two."""
    model = record.model
    cards = "".join(f"<h3>{escape(part['name'])}</h3>{_card(part)}" for part in model.get("parts") or [])
    plan = record.plan
    used = {
        "Tiles": f"{plan['tiles']:,} of {plan['tile_size']} px, halo {plan['halo']}, ramp {plan['ramp']}",
        "Device": f"{plan['device']}, {plan['precision']} precision, {wording.plural(plan['workers'], 'worker')}",
    }
    notes = "".join(f'<p class="note">{escape(text)}</p>' for text in record.content.get("warnings") or [])
    return (
        f'<section class="long" aria-labelledby="model"><h2 id="model">Model: {escape(model["name"])}</h2>'
        f"{_facts(used) if cards else _card(model, used)}{cards}{notes}</section>"
    )


def _card(model: Mapping[str, Any], more: Mapping[str, str] | None = None) -> str:
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
    facts = _facts(
        {
            "What": model.get("description") or "",
            "Task": spoken(str(model.get("task") or "").replace("-", " ")),
            "Licence": model.get("license") or "none given",
            "Classes": ", ".join(spoken(item["name"]) for item in model.get("classes") or []),
            "Bands": bands,
            "Resolution": "any" if resolution is None else f"{resolution:g} m",
            "Network": network,
            "Weights": weights,
            **(more or {}),
            "Metrics": ", ".join(f"{name} {value}" for name, value in metrics.items()),
        }
    )
    return facts + _provenance(str(model.get("provenance") or ""))


def _metric(name: str) -> str:
    """The name of a metric as papers write it."""
    return re.sub(r"\biou\b", "IoU", spoken(name))


def _short(checksum: object) -> str:
    """A checksum's algorithm and first digits."""
    kind, _, digits = str(checksum or "").rpartition(":")
    return f"({kind} {digits[:12]})" if digits else ""


def _provenance(text: str) -> str:
    """The card's own words: paragraphs and lists of Markdown, without its marks."""
    if not text:
        return ""
    items = [" ".join(item.split()) for item in re.split(r"^[-*] +", text, flags=re.MULTILINE) if item.strip()]
    plain = [escape(re.sub(r"\[([^\]]+)\]\([^)]+\)|[`*]", r"\1", item)) for item in items]
    listed = "".join(f"<li>{item}</li>" for item in plain)
    return f"<details><summary>Where it comes from</summary><ul>{listed}</ul></details>"


def repeat_section(record: RunRecord) -> str:
    """The command that makes the same again, and the versions that made this."""
    output = str(record.workflow.get("output") or record.path)
    command = f"geoseg run {quote(f'{output}/workflow.yaml')} --output {quote(f'{output}-again')}"
    versions = record.content.get("versions") or {}
    return (
        '<section aria-labelledby="repeat"><h2 id="repeat">The same again</h2>'
        f'<div class="command"><pre>{escape(command)}</pre><button type="button">Copy</button></div>'
        f"<h3>Made with</h3>{_facts({name: str(value) for name, value in versions.items()})}</section>"
    )


def _facts(facts: Mapping[str, str]) -> str:
    """A list of what is said about something; what is empty is not."""
    items = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(text))}</dd>" for name, text in facts.items() if text)
    return f'<dl class="facts">{items}</dl>'
