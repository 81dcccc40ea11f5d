"""An item being read: every question is answered with a field's value, or an error that names field and file.

It knows JSON, not what any field means.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geoseg.errors import CatalogError
from geoseg.models.addresses import is_address
from geoseg.models.packagings import read_item
from geoseg.models.stac import Json

Kind = type | tuple[type, ...]

NUMBER = (int, float)
"""What JSON's numbers become."""


class Document:
    """A STAC item in a file.

    Parameters
    ----------
    source : str or Path
        The item's file or address, or a packaging that is read as one.

    Raises
    ------
    CatalogError
        When it is not there or is not an item.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = source if is_address(source) else Path(source)
        self.item = read_item(self.source)
        self.path = Path(source)  # of an address, whose own addresses are absolute, never used
        if self.item.get("type") != "Feature":
            raise self.error("type", "is not 'Feature'; give a STAC item, not a catalog or collection")
        self.properties: Json = self.need(self.item, "properties", dict)

    def error(self, field: str, problem: str) -> CatalogError:
        """What to raise about a field."""
        sentence = f"field '{field}' of catalog entry '{self.source}' {problem}"
        return CatalogError(sentence if sentence.endswith((".", "?")) else f"{sentence}.")

    def need(self, where: Json, field: str, kind: Kind, default: Any = None) -> Any:
        """A field's value, which must be of a kind; an error when it is missing and there is no default."""
        value = where.get(field)
        if value is None:
            if default is not None:
                return default
            raise self.error(field, "is missing; add it")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.error(field, f"has the value {value!r}, which is of the wrong type; correct it")
        return value

    def objects(self, field: str, entries: Any) -> list[Json]:
        """The entries of a list, each of which must be an object."""
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise self.error(field, f"has the value {entries!r}; give a list of objects")
        return entries

    def optional(self, field: str, kind: Kind = NUMBER) -> Any:
        """A property's value of a kind, or None."""
        return None if self.properties.get(field) is None else self.need(self.properties, field, kind)

    def choice(self, field: str, known: Sequence[str], default: str) -> str:
        """A property's value, which must be one of a few words."""
        value = self.properties.get(field, default)
        if value not in known:
            raise self.error(field, f"has the value {value!r}; use {', '.join(known[:-1])} or {known[-1]}")
        return str(value)
