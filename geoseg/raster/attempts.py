"""Rasters of many that cannot be opened: all of them are named, and left out where that is asked for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from geoseg.errors import CatalogError, GeosegWarning, InputNotFoundError, RasterError, RasterReadError

OnError = Literal["stop", "skip"]
"""What happens to a raster or scene of several that cannot be opened."""

Item = TypeVar("Item")
Opened = TypeVar("Opened")

_KNOWN = (CatalogError, InputNotFoundError, RasterError, RasterReadError)


@dataclass
class Attempts:
    """Opens rasters one after another, and says at the end which could not be opened.

    Attributes
    ----------
    on_error : str
        ``"stop"`` raises when one of several cannot be opened, ``"skip"`` warns.
    skipped : list of str
        Why each raster that is left out could not be opened, one sentence each.
    """

    on_error: OnError = "stop"
    skipped: list[str] = field(default_factory=list)

    def each(
        self, items: Iterable[Item], open_one: Callable[[Item], Opened], name: Callable[[Item], str]
    ) -> list[Opened]:
        """Open all of several items.

        Raises
        ------
        GeosegError
            Of the kind of the first failure, with the names of all items that cannot be opened.
        """
        opened: list[Opened] = []
        failed: list[tuple[str, Exception]] = []
        for item in items:
            try:
                opened.append(open_one(item))
            except _KNOWN as error:
                failed.append((name(item), error))
        if failed:
            self._settle(failed, len(opened))
        return opened

    def _settle(self, failed: list[tuple[str, Exception]], opened: int) -> None:
        """Raise or warn; a single raster has its own sentence."""
        first = failed[0][1]
        if len(failed) + opened == 1:
            raise first
        names = ", ".join(f"'{name}'" for name, _ in failed)
        sentence = f"{len(failed)} of {len(failed) + opened} rasters cannot be used ({names})"
        if self.on_error == "stop" or not opened:
            remedy = "repair them" if not opened else "repair them, or leave them out with on_error: skip"
            raise type(first)(f"{sentence}, the first because {str(first).rstrip('.')}; {remedy}.") from first
        self.skipped += [str(error) for _, error in failed]
        warnings.warn(GeosegWarning(f"{sentence} and are left out, the first because {first}"), stacklevel=3)
