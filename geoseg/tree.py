"""Blocks of a raster, and the nodes that join them: which there are, and who is whose neighbour, parent and child.

A place is ``(row, column)`` of a block, or ``(level, row, column)`` of a node: nodes of level 1 join up to `ARITY` x
`ARITY` blocks, those of the next level as many of these, up to one root. Pure integers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

ARITY = 2
"""Nodes down and across that are joined at once: few, because the last join holds the frontiers of all of them."""

Place = tuple[int, ...]
"""Row and column of a block; level, row and column of a node."""


def id_of(place: Place) -> str:
    """A place as people and files write it: ``"row-col"``, ``"level-row-col"``."""
    return "-".join(map(str, place))


def place_of(name: str) -> Place:
    """The place that `id_of` wrote."""
    return tuple(map(int, name.split("-")))


@dataclass(frozen=True)
class BlockTree:
    """All blocks and nodes of a raster.

    Attributes
    ----------
    shape : (int, int)
        Blocks down and across.
    mapped : frozenset, optional
        Rows and columns of the blocks that are mapped; all of them unless given.
    """

    shape: tuple[int, int]
    mapped: frozenset[tuple[int, int]] | None = None

    @cached_property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """Nodes down and across of each level, blocks first; the last level has one."""
        sizes = [self.shape]
        while sizes[-1] != (1, 1):
            down, across = sizes[-1]
            sizes.append((-(-down // ARITY), -(-across // ARITY)))
        return tuple(sizes)

    @property
    def root(self) -> Place:
        """The node of the whole raster; where there is one block, that."""
        return _place(len(self.sizes) - 1, 0, 0)

    def is_mapped(self, place: Place) -> bool:
        """Say whether a block is mapped."""
        return self.mapped is None or place in self.mapped

    def mapped_blocks(self) -> Iterator[Place]:
        """Blocks that are mapped, in raster order."""
        return iter(product(*map(range, self.shape)) if self.mapped is None else sorted(self.mapped))

    def exists(self, place: Place) -> bool:
        """Say whether a block or node of the raster may hold polygons."""
        level, row, col = level_of(place)
        if self._existing is not None:
            return place in self._existing
        return row < self.sizes[level][0] and col < self.sizes[level][1]

    def blocks(self) -> Iterator[Place]:
        """Blocks that may hold polygons, in raster order: those mapped, and those that own a corner beside one."""
        return (place for place in self._level(0))

    def nodes(self) -> Iterator[Place]:
        """Nodes above blocks that may hold polygons, level by level, each in raster order."""
        return (place for level in range(1, len(self.sizes)) for place in self._level(level))

    def _level(self, level: int) -> Iterator[Place]:
        if self._existing is not None:
            yield from sorted(place for place in self._existing if level_of(place)[0] == level)
            return
        yield from (_place(level, row, col) for row, col in product(*map(range, self.sizes[level])))

    @cached_property
    def _existing(self) -> frozenset[Place] | None:
        if self.mapped is None:
            return None
        blocks = {reader for place in self.mapped for reader in self._inside(place, (0, 1))}
        levels = range(len(self.sizes))
        return frozenset(
            _place(level, row // ARITY**level, col // ARITY**level) for level in levels for row, col in blocks
        )

    def around(self, block: Place) -> list[Place]:
        """A block, and those left of it, above it and at the corner, whose labels and strips it reads."""
        return self._inside(block, (0, -1))

    def readers(self, block: Place) -> list[Place]:
        """A block, and those right of it, below it and at the corner, which read its labels and strips."""
        return self._inside(block, (0, 1))

    def _inside(self, block: Place, steps: tuple[int, int]) -> list[Place]:
        (row, col), (down, across) = block, self.shape
        places = ((row + y, col + x) for y in steps for x in steps)
        return [(y, x) for y, x in places if 0 <= y < down and 0 <= x < across]

    def parent(self, place: Place) -> Place | None:
        """The node that a place is joined into; None for the root."""
        level, row, col = level_of(place)
        return None if place == self.root else _place(level + 1, row // ARITY, col // ARITY)

    def parents(self, place: Place) -> list[Place]:
        """The same as a list."""
        parent = self.parent(place)
        return [] if parent is None else [parent]

    def children(self, place: Place) -> list[Place]:
        """What is joined to a node, in raster order."""
        level, row, col = level_of(place)
        if level == 0:
            return []
        down, across = self.sizes[level - 1]
        rows = range(row * ARITY, min((row + 1) * ARITY, down))
        cols = range(col * ARITY, min((col + 1) * ARITY, across))
        return [child for y, x in product(rows, cols) if self.exists(child := _place(level - 1, y, x))]


def is_block(place: Place) -> bool:
    """Say whether a place is a block, not a node."""
    return len(place) == 2


def level_of(place: Place) -> tuple[int, int, int]:
    """Level, row and column of a place; blocks are level 0."""
    level, row, col = (0, *place)[-3:]
    return level, row, col


def _place(level: int, row: int, col: int) -> Place:
    return (level, row, col) if level else (row, col)
