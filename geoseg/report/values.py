"""The section of a report about the numbers that the network saw, beside those that the model is meant for.

It knows a run's record, and HTML; nothing of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np

from geoseg.report import wording
from geoseg.report.charts import Series, histogram
from geoseg.report.record import RunRecord

OUTSIDE = "#c2572f"
"""Colour of numbers that the model is not meant for."""


def values_section(record: RunRecord) -> str:
    """A histogram a band; nothing where a plan has looked at no pixel."""
    values: Mapping[str, Any] = record.plan.get("values") or {}
    if not values.get("bands"):
        return ""
    note = f'<p class="notice" role="note">{escape(values["note"])}</p>' if values.get("note") else ""
    charts = "".join(_chart(band) for band in values["bands"])
    return (
        '<section class="wide" aria-labelledby="values"><h2 id="values">Pixel values</h2>'
        f"<p>{values['pixels']:,} pixels of a few windows, in the units in which the network read them; "
        f"columns outside of what the model is meant for have another colour.</p>{note}"
        f'<div class="charts">{charts}</div></section>'
    )


def _chart(band: Mapping[str, Any]) -> str:
    """One band: columns in what is expected, and outside of it."""
    counts, start, stop = np.array(band["counts"], float), band["start"], band["stop"]
    low, high = band["expected"] or (start, stop)
    step = (stop - start) / len(counts)
    centres = start + (np.arange(len(counts)) + 0.5) * step
    within = (centres >= low) & (centres <= high)
    series = [Series("meant for", "", counts * within), Series("outside", OUTSIDE, counts * ~within)]
    ends = sorted({start, low, high, stop} if stop - start < 20 * (high - low) else {start, stop})
    ticks = [((end - start) / step, _short(end)) for end in ends]
    meant = f", meant for {_short(low)} to {_short(high)}" if band["expected"] else ""
    told = f"{_short(band['low'])} to {_short(band['high'])}, middle {_short(band['middle'])}"
    title = f"{band['name']}: {told}{meant}"
    share = wording.percent(float(counts.max() / counts.sum()))
    return (
        f"<figure>{histogram(series, ticks, title=title, top=share)}"
        f"<figcaption><strong>{escape(band['name'])}</strong> {escape(told)}{escape(meant)}</figcaption></figure>"
    )


def _short(number: float) -> str:
    """A number on an axis or below it, without decimals where it is large."""
    return f"{number:,.0f}" if abs(number) >= 100 else wording.number(number)
