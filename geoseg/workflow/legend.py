"""Names and colours that a person gives to a model's classes: what results show, and nothing that a network does."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from geoseg.errors import WorkflowError
from geoseg.models.spec import ClassSpec
from geoseg.workflow.outlines import value_of

Entry = str | Mapping[str, str]
"""A colour, a name, or both by the keys ``color`` and ``name``."""

_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")


def apply_legend(classes: Sequence[ClassSpec], legend: Mapping[int | str, Entry]) -> tuple[ClassSpec, ...]:
    """Give classes other names and colours.

    Parameters
    ----------
    classes : sequence of ClassSpec
        The model's.
    legend : mapping of int or str to str or mapping
        By value or by the model's name of the class: ``"#1b7837"``, ``"Forest"``, or both as ``{"name": "Forest",
        "color": "#1b7837"}``.

    Raises
    ------
    WorkflowError
        There is no such class, no such key, no such colour, or two classes would have one name.
    """
    names = {item.value: item.name for item in classes}
    changes = {value_of(key, names): _change(key, entry) for key, entry in legend.items()}
    shown = tuple(replace(item, **changes.get(item.value, {})) for item in classes)
    called = [item.name for item in shown]
    twice = next((name for name in called if called.count(name) > 1), None)
    if twice is not None and len(set(names.values())) == len(names):
        raise WorkflowError(f"legend gives two classes the name '{twice}'; give each a name of its own.")
    return shown


def _change(key: int | str, entry: Entry) -> dict[str, Any]:
    """The fields of a class that change."""
    if isinstance(entry, str):
        entry = {"color" if entry.startswith("#") else "name": entry}
    unknown = [name for name in entry if name not in ("name", "color")]
    if unknown:
        raise WorkflowError(f"legend of '{key}' has the unknown key '{unknown[0]}'; give name, color, or both.")
    color, name = entry.get("color"), entry.get("name")
    if color is not None and not _COLOR.fullmatch(color):
        raise WorkflowError(f"legend of '{key}' has the colour '{color}'; write it as #rrggbb, such as #1b7837.")
    if name is not None and not name.strip():
        raise WorkflowError(f"legend of '{key}' has an empty name; give it one, or leave name out.")
    return dict(entry)
