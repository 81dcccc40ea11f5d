"""The section of a report about the numbers that the network saw, beside those that the model is meant for.

It knows a run's record; nothing of pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geoseg.report import wording
from geoseg.report.charts import Histogram, Series
from geoseg.report.record import RunRecord

OUTSIDE = "#c2572f"
"""Colour of numbers that the model is not meant for."""


def values_section(record: RunRecord) -> dict[str, Any] | None:
    """A histogram a band; None where a plan has looked at no pixel."""
    values: Mapping[str, Any] = record.plan.get("values") or {}
    if not values.get("bands"):
        return None
    bands = [_band(band) for band in values["bands"]]
    return {"pixels": values["pixels"], "note": values.get("note"), "bands": bands}


def _band(band: Mapping[str, Any]) -> dict[str, Any]:
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
    caption = f"{_short(band['low'])} to {_short(band['high'])}, middle {_short(band['middle'])}{meant}"
    highest = wording.percent(float(counts.max() / counts.sum()))
    chart = Histogram(series, ticks, title=f"{band['name']}: {caption}", highest=highest)
    return {"name": band["name"], "caption": caption, "chart": chart}


def _short(number: float) -> str:
    """A number on an axis or below it, without decimals where it is large."""
    return f"{number:,.0f}" if abs(number) >= 100 else wording.number(number)
