"""Types of options that a person may write in more than one form, read alike from YAML, options and arguments."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator


@dataclass(frozen=True)
class Written:
    """How a value is written where that is not its own type.

    Attributes
    ----------
    python : str
        Type of the argument in Python; that of the field unless given.
    metavar : str
        What stands for the value in the help of a command; by type unless given.
    """

    python: str = ""
    metavar: str = ""


OTHERS = "*"
"""Stands for the classes that have no key of their own in a mapping of classes."""

_QUOTED = re.compile(r'"((?:[^"]|"")*)"')
_DATE = re.compile(r"([\w-]+)=(.+)")
_WORD = re.compile(r'(?:"(?:[^"]|"")*"|[^,])+')


def words(text: str) -> list[str | int]:
    """Take a list of names and numbers apart at its commas, but not in double quotes, where two quotes are one."""
    stripped = [_QUOTED.sub(lambda found: found[1].replace('""', '"'), word).strip() for word in _WORD.findall(text)]
    return [int(word) if re.fullmatch("-?[0-9]+", word) else word for word in stripped if word]


def _listed(value: Any) -> Any:
    """Words of a text, and one number as a list of one; anything else as it is."""
    return words(value) if isinstance(value, str) else [value] if isinstance(value, int | float) else value


def _not_empty(value: list[int | str]) -> list[int | str]:
    """A list that names something."""
    if not value:
        raise ValueError("name at least one, or leave it out")
    return value


def _crs_text(value: Any) -> Any:
    """A CRS object of pyproj or rasterio as text; anything else as it is."""
    return value.to_string() if hasattr(value, "to_string") else value


def _names(value: Any) -> Any:
    """Names of a text, of which none is a number."""
    return [str(word) for word in words(value)] if isinstance(value, str) else value


def _several(value: Any) -> Any:
    """One text as a list of one."""
    return [value] if isinstance(value, str) else value


def whole(value: Any) -> Any:
    """A whole number that stands in a text, also as ``2.0``; anything else as it is."""
    is_whole = isinstance(value, str) and re.fullmatch(r"-?[0-9]+(\.0+)?", value)
    return int(value.partition(".")[0]) if is_whole else value


def legend_mapping(value: Any) -> Any:
    """``CLASS=#rrggbb`` and ``CLASS=name``, with commas between them; anything else as it is."""
    if not isinstance(value, str):
        return value
    legend: dict[str, dict[str, str]] = {}
    for word in map(str, words(value)):
        key, sign, text = word.rpartition("=") if "=#" in word else word.partition("=")
        if not sign:
            raise ValueError(f"'{word}' is neither CLASS=#rrggbb, nor CLASS=name, nor a .yaml file")
        legend.setdefault(key, {})["color" if text.startswith("#") else "name"] = text
    return legend


def _areas(value: Any) -> Any:
    """One area, or areas by class: a mapping, or ``1000,CLASS=AREA`` where the first is that of the other classes."""
    if isinstance(value, str):
        found: dict[str, str] = {}
        for key, sign, area in (str(word).rpartition("=") for word in words(value)):
            name = key.strip() if sign else OTHERS
            if name in found:
                raise ValueError(f"there are two areas for {'all classes' if name == OTHERS else repr(name)}; give one")
            found[name] = area
        value = found
    if not isinstance(value, Mapping):
        return _area(value)
    if not value:
        raise ValueError("give m2, or CLASS=M2")
    areas = {key: _area(area) for key, area in value.items()}
    return areas[OTHERS] if set(areas) == {OTHERS} else areas


def _area(value: Any) -> float:
    """M2, as a number or in a text."""
    try:
        area = float(value)
    except (TypeError, ValueError):
        area = math.nan
    if isinstance(value, bool) or not 0 <= area < math.inf:
        raise ValueError(f"'{value}' is no area; give 0 or more m2")
    return area


def by_date(value: Any) -> Any:
    """``NAME=PATH`` and ``NAME={input: PATH, ...}`` of two or more dates as a mapping; anything else as it is."""
    texts = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
    # Path.exists raises where a mapping is longer than a name of a file can be
    found = [_DATE.fullmatch(text) for text in texts if not os.path.exists(text)]  # noqa: PTH110
    dates: dict[str, list[Any]] = {}
    for match in found:
        if match is not None:
            dates.setdefault(match[1], []).append(_flow(match[2]))
    if len(dates) < 2 or None in found or len(found) < len(value):
        return value
    return {name: items[0] if len(items) == 1 else items for name, items in dates.items()}


def _flow(text: str) -> Any:
    """A mapping that is written in braces as YAML has it; other text as it is."""
    if not text.startswith("{"):
        return text
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"'{text}' is not YAML, such as {{input: scenes, datetime: 2024-06}}") from error


def _iso(value: Any) -> Any:
    """A date or a year of YAML as text; anything else as it is."""
    is_year = isinstance(value, int) and not isinstance(value, bool)
    return value.isoformat() if isinstance(value, date) else str(value) if is_year else value


def _joined(value: Any) -> Any:
    """The parts of a list as text with commas between them; anything else as it is."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


CrsText = Annotated[str | int, BeforeValidator(_crs_text, json_schema_input_type=str | int)]
"""A CRS by its code or as text; in Python also an object of pyproj or rasterio."""

DateText = Annotated[str, BeforeValidator(_iso, json_schema_input_type=str)]
"""A date or an interval."""

PathText = Annotated[str, Written("str | os.PathLike[str]", "PATH")]
"""A path, which is kept as text."""

PathTexts = Annotated[
    list[str],
    BeforeValidator(_several, json_schema_input_type=str | list[str]),
    Written("str | os.PathLike[str] | Sequence[str | os.PathLike[str]]", "PATH"),
]
"""One path or several."""

InputText = Annotated[
    str | list[str] | dict[str, str | list[str] | dict[str, Any]],
    BeforeValidator(by_date, json_schema_input_type=str | list[str] | dict[str, str | list[str] | dict[str, Any]]),
]
"""Imagery: a path or several, a file a band, or dates by name."""

RegionText = Annotated[
    str,
    BeforeValidator(_joined, json_schema_input_type=str | list[float | str]),
    Written("RegionLike", "REGION"),
]
"""A region as text, bounds as a list too; in Python also what holds polygons."""

Words = Annotated[
    list[int | str], BeforeValidator(_listed, json_schema_input_type=str | list[int | str]), Written(metavar="LIST")
]
"""Names and numbers: a list, or a text with commas between them."""

OneOrMore = Annotated[Words, AfterValidator(_not_empty)]
"""`Words` with at least one: an empty list, such as a script may have computed, never stands for all."""

Names = Annotated[list[str], BeforeValidator(_names, json_schema_input_type=str | list[str]), Written(metavar="LIST")]
"""Names: a list, or a text with commas between them."""

AreaByClass = Annotated[
    float | dict[int | str, float],
    BeforeValidator(_areas, json_schema_input_type=float | str | dict[int | str, float]),
    Written("float | str | Mapping[int | str, float]", "M2"),
]
"""An area in m2 for all classes, or areas by class: a mapping, or a text with commas between them."""
