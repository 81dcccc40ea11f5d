"""Numbers as people read them: areas, bytes, times and parts, rounded to what they are worth."""

from __future__ import annotations

import math
from collections.abc import Iterable

UNITS = {"m2": (1.0, "m²"), "ha": (1e4, "ha"), "km2": (1e6, "km²")}
"""Units of area: m2 in one, and how it is written."""


def unit_for(areas: Iterable[float]) -> str:
    """Choose the unit in which the largest of some areas, m2, reads best."""
    largest = max((area for area in areas if math.isfinite(area)), default=0.0)
    return "km2" if largest >= 1e7 else "ha" if largest >= 1e5 else "m2"


def number(value: float) -> str:
    """A number with about four digits that count: 1,234,567, 123.4, 12.34, 0.1234."""
    if not math.isfinite(value):
        return "-"
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}"


def area(square_metres: float, unit: str) -> str:
    """An area in a unit, as a column of areas has it: as many decimals for each."""
    size, name = UNITS[unit]
    value, decimals = square_metres / size, 0 if unit == "m2" else 2
    least = 10.0**-decimals
    return f"< {least:g} {name}" if 0 < value < least / 2 else f"{value:,.{decimals}f} {name}"


def own_area(square_metres: float) -> str:
    """An area in the unit that suits it: 845.0 m², 12.34 ha, 179.1 km²."""
    size, name = UNITS["km2" if square_metres >= 1e6 else "ha" if square_metres >= 1e4 else "m2"]
    return f"{number(square_metres / size)} {name}"


def metres(length: float) -> str:
    """A length on the ground: 10 m, 0.3 m, 0.0664 m, 1,113 m."""
    return f"{length:,.0f} m" if length >= 1000 else f"{length:.3g} m"


def percent(part: float) -> str:
    """A part as percent: 32.9 %, 0.03 %, < 0.01 %."""
    if not math.isfinite(part):
        return "-"
    if 0 < part < 1e-4:
        return "< 0.01 %"
    return f"{100 * part:.2f} %" if part < 0.001 else f"{100 * part:.1f} %"


def size(count: float) -> str:
    """Bytes: 640 MiB, 3.8 GiB."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if count >= unit:
            return (
                f"{count / unit:,.1f} {name}" if unit == 2**30 or count < 10 * unit else f"{count / unit:,.0f} {name}"
            )
    return f"{count:,.0f} bytes"


def duration(seconds: float) -> str:
    """A time: 0.31 s, 36.8 s, 12 min 5 s, 3 h 20 min."""
    if seconds < 1:
        return f"{seconds:.2f} s"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def plural(count: int, one: str, many: str | None = None) -> str:
    """A count with its noun."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
