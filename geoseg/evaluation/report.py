"""Numbers for people and for programs: tables of rows, and values that JSON can hold.

It knows nothing of what the numbers mean.
"""

from __future__ import annotations

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
