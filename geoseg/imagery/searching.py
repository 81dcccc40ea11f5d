"""Search of a STAC catalog: collections, dates, properties, area. The same parameters for a server and for files.

It turns words into the parameters of a STAC API, and decides alone where nobody searches for us.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import shapely
import shapely.geometry

from geoseg.errors import WorkflowError
from geoseg.vector import Region, every_reading, geographic_outline

Query = str | Sequence[str] | Mapping[str, Any]
Json = Mapping[str, Any]

MANY_VERTICES = 500
"""An outline with more vertices is sent to a server as its hull, and compared exactly with what comes back."""

_CONDITION = re.compile(r"\s*([\w:.-]+?)\s*(<=|>=|<>|!=|==|<|>|=)\s*((?![<>=!]).*?)\s*")
_WORDS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "=": "eq", "==": "eq", "!=": "neq", "<>": "neq"}
_TESTS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, wanted: bool(value == wanted),
    "neq": lambda value, wanted: bool(value != wanted),
    "lt": lambda value, wanted: bool(value < wanted),
    "lte": lambda value, wanted: bool(value <= wanted),
    "gt": lambda value, wanted: bool(value > wanted),
    "gte": lambda value, wanted: bool(value >= wanted),
    "in": lambda value, wanted: value in wanted,
    "startsWith": lambda value, wanted: str(value).startswith(wanted),
    "endsWith": lambda value, wanted: str(value).endswith(wanted),
    "contains": lambda value, wanted: wanted in value,
}


@dataclass(frozen=True)
class Search:
    """What of a catalog is wanted.

    Attributes
    ----------
    collections : tuple of str
        Ids of collections; all of them when empty.
    datetime : str or None
        A day, a month, a year, a moment, or two of them with a slash between, each end included.
    query : mapping
        Conditions on properties, as the STAC query extension has them; see `read_query`.
    region : Region or None
        Scenes that do not touch it are left out.
    """

    collections: tuple[str, ...] = ()
    datetime: str | None = None
    query: Mapping[str, Mapping[str, Any]] | None = None
    region: Region | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing but a place is wanted."""
        return not self.collections and self.datetime is None and not self.query

    @cached_property
    def outline(self) -> shapely.Geometry | None:
        """The region in degrees, cut at the antimeridian."""
        return None if self.region is None else geographic_outline(self.region)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """What `pystac_client.Client.search` is asked.

        Raises
        ------
        WorkflowError
            The dates cannot be read.
        """
        outline = self.outline
        if outline is not None and shapely.get_num_coordinates(outline) > MANY_VERTICES:
            parts = [shapely.convex_hull(part) for part in shapely.get_parts(outline)]
            outline = shapely.union_all(parts)
        asked = {
            "collections": list(self.collections) or None,
            "datetime": self._interval,
            "query": dict(self.query) if self.query else None,
            "intersects": None if outline is None else shapely.geometry.mapping(outline),
        }
        return {key: value for key, value in asked.items() if value is not None}

    @cached_property
    def _interval(self) -> str | None:
        """The dates as RFC 3339."""
        if self.datetime is None:
            return None
        from pystac_client.item_search import ItemSearch  # where it is needed: it takes a third of a second

        try:
            interval = str(ItemSearch("", datetime=self.datetime).get_parameters()["datetime"])
        except Exception as error:
            raise WorkflowError(
                f"datetime '{self.datetime}' cannot be read; write 2024-06-15, 2024-06, or 2024-06-01/2024-08-31."
            ) from error
        first, last = (_moment(text) for text in (interval.split("/") * 2)[:2])
        if first is not None and last is not None and first > last:
            raise WorkflowError(f"datetime '{self.datetime}' ends before it begins; write the earlier date first.")
        return interval

    def accepts(self, item: Json) -> bool:
        """Say whether an item is wanted."""
        properties = item.get("properties") or {}
        return (
            (not self.collections or item.get("collection") in self.collections)
            and self._is_in_time(properties)
            and all(_fulfils(properties.get(name), tests) for name, tests in (self.query or {}).items())
            and self._is_in_place(item)
        )

    def _is_in_time(self, properties: Json) -> bool:
        interval = self._interval
        if interval is None:
            return True
        begin, _, end = interval.partition("/")
        start = properties.get("start_datetime") or properties.get("datetime")
        stop = properties.get("end_datetime") or properties.get("datetime")
        if start is None or stop is None:
            return False
        first, last = _moment(begin), _moment(end or begin)
        return (last is None or read_moment(start) <= last) and (first is None or read_moment(stop) >= first)

    def _is_in_place(self, item: Json) -> bool:
        if self.outline is None:
            return True
        geometry, bbox = item.get("geometry"), item.get("bbox")
        if geometry is not None:
            return bool(shapely.intersects(self.outline, every_reading(shapely.geometry.shape(geometry))))
        if bbox is None:
            return True
        west, south, east, north = bbox if len(bbox) == 4 else (bbox[0], bbox[1], bbox[3], bbox[4])
        box = shapely.box(west, south, east if west <= east else east + 360.0, north)
        return bool(shapely.intersects(self.outline, every_reading(box)))


def read_query(given: Query | None) -> dict[str, dict[str, Any]]:
    """Read conditions on properties.

    Parameters
    ----------
    given : str, list of str or mapping, optional
        ``"eo:cloud_cover<20"``, several of them, or ``{"eo:cloud_cover": {"lt": 20}}`` as in the STAC query extension.

    Raises
    ------
    WorkflowError
        A condition has another form.
    """
    if given is None:
        return {}
    query: dict[str, dict[str, Any]] = {}
    if isinstance(given, Mapping):
        query = {
            str(name): dict(tests) if isinstance(tests, Mapping) else {"eq": tests} for name, tests in given.items()
        }
    else:
        for text in [given] if isinstance(given, str) else given:
            found = _CONDITION.fullmatch(text)
            if found is None:
                raise WorkflowError(f"query '{text}' cannot be read; write it like eo:cloud_cover<20.")
            name, sign, value = found.groups()
            query.setdefault(name, {})[_WORDS[sign]] = _number(value)
    for name, tests in query.items():
        for word in tests:
            if word not in _TESTS:
                raise WorkflowError(f"query of {name} has an unknown operator '{word}'; use {', '.join(_TESTS)}.")
    return query


def read_moment(text: str) -> datetime:
    """A moment of RFC 3339, of UTC where it does not say."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _moment(text: str) -> datetime | None:
    return None if text in ("", "..") else read_moment(text)


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _fulfils(value: Any, tests: Mapping[str, Any]) -> bool:
    """Say whether a property fulfils every condition; one that is missing fulfils none."""
    try:
        return value is not None and all(_TESTS[word](value, wanted) for word, wanted in tests.items())
    except TypeError:  # a number beside a word
        return False
