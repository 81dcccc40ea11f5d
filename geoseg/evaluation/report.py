"""Numbers for people and for programs: tables of rows, and values that JSON can hold.

It knows nothing of what the numbers mean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

Cell = str | int | float | None
"""A cell of a table; a share is a float."""


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    title : str
        What it shows.
    columns : tuple of str
        Headings; the first column names the rows.
    rows : tuple of tuple
        Cells.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


class Scored(Protocol):
    """Scores of a task."""

    def summary(self) -> dict[str, Any]:
        """Every number by name, NaN where there is none."""
        ...

    def tables(self) -> list[Table]:
        """The same for people."""
        ...


def plain(value: Any) -> Any:
    """Turn NumPy values into Python's, and NaN into None, in nested mappings and sequences."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
