"""Classes of results as a person writes them in ``legend.yaml``: names, colours, order, and what is one class."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field

from geoseg.options.table import Options
from geoseg.options.values import Words, Written, legend_mapping

LARGEST_LABEL = 254
"""The largest value of a class; 255 is nodata."""


class LegendClass(Options):
    """A class of the results, made of one class of the model or of several."""

    name: str = Field(min_length=1)
    """Name in the results."""

    color: str | None = Field(default=None, pattern="^#[0-9A-Fa-f]{6}$")
    """Colour as #rrggbb (default: that of the model's class, or of the first of several)."""

    of: Words | None = None
    """Classes of the model that become this one, by name or value; an empty list makes a class that only corrections
    have (default: the class of the model that has this name)."""

    value: int | None = Field(default=None, ge=0, le=LARGEST_LABEL)
    """Label in the results, 0 to 254 (default: that of the model's class, or of the first of several)."""


class LegendFile(Options):
    """Classes of results in their order; classes of the model that no entry names follow as they are."""

    panel: ClassVar[str] = "Legend"

    classes: list[LegendClass]
    """Classes in the order of the legend."""


_Mapping = dict[int | str, str | dict[str, str]]

Legend = Annotated[
    _Mapping | list[LegendClass],
    BeforeValidator(legend_mapping, json_schema_input_type=str | _Mapping | list[LegendClass]),
    Written(
        "str | os.PathLike[str] | Mapping[int | str, str | Mapping[str, str]] | Sequence[Mapping[str, Any]]", "LEGEND"
    ),
]
"""Names and colours of classes: a mapping, a text with commas between them, a list of classes, or the file of one."""
