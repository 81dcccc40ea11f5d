"""The classes of the results as a person wants them: names, colours, order, and which of the model's are one.

It knows classes and what a person writes, and nothing that a network does: labels are mapped when they are read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from geoseg.errors import WorkflowError
from geoseg.models.spec import ClassSpec
from geoseg.options import LegendClass
from geoseg.workflow.outlines import value_of

Entry = str | Mapping[str, str]
"""A colour, a name, or both by the keys ``color`` and ``name``."""

_COLOR = re.compile(r"#[0-9A-Fa-f]{6}")


@dataclass(frozen=True)
class _Group:
    """A class of the results: the model's classes in it, and what a person has said of it."""

    members: list[ClassSpec] = field(default_factory=list)
    name: str | None = None
    color: str | None = None
    value: int | None = None

    def made(self) -> ClassSpec:
        """The class: like the one of its members that has its name, else like the first."""
        if not self.members:
            return ClassSpec(self.value or 0, self.name or "", self.color or "#808080")
        like = next((item for item in self.members if item.name == self.name), self.members[0])
        if len({item.isthing for item in self.members}) > 1:
            thing, stuff = (next(item.name for item in self.members if item.isthing == kind) for kind in (True, False))
            raise WorkflowError(
                f"legend makes one class '{self.name}' of '{thing}', whose objects are told apart, and '{stuff}', "
                "which has none; leave one of them out."
            )
        if len(self.members) > 1:
            like = replace(like, description="", implied=all(item.implied for item in self.members))
        value = like.value if self.value is None else self.value
        return replace(like, name=self.name or like.name, color=self.color or like.color, value=value)


@dataclass(frozen=True)
class ClassNames:
    """What the classes of the results, and those of the model, are called.

    Attributes
    ----------
    model, results : sequence of ClassSpec
        Both.
    groups : mapping of int to int
        As of `apply_legend`.
    """

    model: Sequence[ClassSpec]
    results: Sequence[ClassSpec]
    groups: Mapping[int, int]

    def label_of(self, item: int | str) -> int:
        """The label in the results of a class by its name or value there, or else by that which it has in the model.

        Raises
        ------
        WorkflowError
            There is no such class.
        """
        names = {one.value: one.name for one in self.results}
        former = {one.value: one.name for one in self.model}
        for known in (names, former):
            with suppress(WorkflowError):
                if (value := value_of(item, known)) in known:
                    return self.groups.get(value, value) if known is former else value
        listed = ", ".join(f"{value} {name}" for value, name in names.items())
        raise WorkflowError(f"the class '{item}' is none of the map's; give one of {listed}.")


def apply_legend(
    classes: Sequence[ClassSpec], legend: Mapping[int | str, Entry] | Sequence[LegendClass]
) -> tuple[tuple[ClassSpec, ...], dict[int, int]]:
    """Give classes other names and colours, or make one of several.

    Parameters
    ----------
    classes : sequence of ClassSpec
        The model's.
    legend : mapping of int or str to str or mapping, or sequence of LegendClass
        By value or by the model's name of the class: ``"#1b7837"``, ``"Forest"``, or both as ``{"name": "Forest",
        "color": "#1b7837"}``; classes that get one name are one, whose colour may stand under that name. A sequence
        gives the classes of the results in their order; those of the model that are in none of them follow.

    Returns
    -------
    classes : tuple of ClassSpec
        Those of the results.
    groups : dict of int to int
        Labels of the model that are others in the results, and what they are there.

    Raises
    ------
    WorkflowError
        There is no such class, no such key, no such colour, a class of the model is in two, or two would have one name
        or one value.
    """
    groups = _of_mapping(classes, legend) if isinstance(legend, Mapping) else _of_entries(classes, legend)
    shown = tuple(group.made() for group in groups)
    _check_unique(classes, shown)
    labels = {
        item.value: made.value
        for group, made in zip(groups, shown, strict=True)
        for item in group.members
        if item.value != made.value
    }
    return shown, labels


def _of_mapping(classes: Sequence[ClassSpec], legend: Mapping[int | str, Entry]) -> list[_Group]:
    """Classes of the results in the model's order, each where its first member stands."""
    names = {item.value: item.name for item in classes}
    changes = {key: _change(key, entry) for key, entry in legend.items()}
    renamed = {change["name"] for change in changes.values() if "name" in change}
    own = {key: change for key, change in changes.items() if key not in renamed or key in names.values()}
    by_value = {_member(key, classes).value: change for key, change in own.items()}
    groups: dict[str | int, _Group] = {}
    for item in classes:
        change = by_value.get(item.value, {})
        name, color = change.get("name"), change.get("color")
        key = name or item.name
        if key not in renamed:  # a model may have two classes of one name
            groups[item.value] = _Group([item], None, color)
            continue
        before = groups.get(key, _Group(name=key, color=changes.get(key, {}).get("color")))
        groups[key] = replace(before, members=[*before.members, item], color=before.color or color)
    return list(groups.values())


def _of_entries(classes: Sequence[ClassSpec], entries: Sequence[LegendClass]) -> list[_Group]:
    """Classes of the results in the order of the entries, and those that no entry has."""
    groups: list[_Group] = []
    taken: dict[int, str] = {}
    for entry in entries:
        keys = [entry.name] if entry.of is None else entry.of
        members = [_member(key, classes) for key in keys]
        if not members and entry.value is None:
            raise WorkflowError(
                f"legend has the class '{entry.name}' of no class of the model, for corrections; give it a value that "
                "no other class has, 0 to 254."
            )
        for item in members:
            if (other := taken.setdefault(item.value, entry.name)) != entry.name:
                raise WorkflowError(f"legend has '{item.name}' in '{other}' and in '{entry.name}'; leave it in one.")
        groups.append(_Group(members, entry.name, entry.color, entry.value))
    return [*groups, *(_Group([item]) for item in classes if item.value not in taken)]


def _member(key: int | str, classes: Sequence[ClassSpec]) -> ClassSpec:
    """The class of the model that a person means."""
    names = {item.value: item.name for item in classes}
    value = value_of(key, names)
    if value not in names:
        known = ", ".join(f"{value} {name}" for value, name in names.items())
        raise WorkflowError(f"legend has the value {value}, and the model's classes are {known}; give one of them.")
    return next(item for item in classes if item.value == value)


def _check_unique(classes: Sequence[ClassSpec], shown: Sequence[ClassSpec]) -> None:
    """Refuse two classes of one name, unless the model has such, or of one value."""
    before, names = Counter(item.name for item in classes), Counter(item.name for item in shown)
    twice = next((name for name, count in names.items() if count > max(1, before[name])), None)
    if twice is not None:
        raise WorkflowError(f"legend gives two classes the name '{twice}'; make them one class with both in 'of'.")
    owners: dict[int, str] = {}
    for item in shown:
        if (other := owners.setdefault(item.value, item.name)) is not item.name:
            raise WorkflowError(
                f"legend gives '{other}' and '{item.name}' the value {item.value}; give one of them another value."
            )


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
