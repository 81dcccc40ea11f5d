"""Integer algebra of tiles and blocks: what is read, what is owned, what is blended.

Pure: it knows numbers of pixels, nothing of files, models or dask. Every rule here is an equation in a
docstring, and every equation is a Hypothesis test in ``tests/test_grid.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from geoseg.errors import GridError


@dataclass(frozen=True, order=True)
class Window:
    """A rectangle of pixels; rows before columns.

    It covers rows ``[y, y + height)`` and columns ``[x, x + width)``; a window may begin before pixel 0.
    """

    y: int
    x: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, int]:
        """``(height, width)`` in px."""
        return self.height, self.width

    @property
    def bottom(self) -> int:
        """The first row below the window."""
        return self.y + self.height

    @property
    def right(self) -> int:
        """The first column right of the window."""
        return self.x + self.width

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def intersect(self, other: Window) -> Window:
        """Return the pixels of both; its height or width is 0 when they do not meet."""
        y, x = max(self.y, other.y), max(self.x, other.x)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Window(y, x, max(0, bottom - y), max(0, right - x))

    def contains(self, other: Window) -> bool:
        """Say whether every pixel of ``other`` is in this window."""
        return self.y <= other.y and self.x <= other.x and other.bottom <= self.bottom and other.right <= self.right

    def relative_to(self, origin: Window) -> Window:
        """Return the same pixels, counted from the upper left corner of ``origin``."""
        return Window(self.y - origin.y, self.x - origin.x, self.height, self.width)

    def slices(self) -> tuple[slice, slice]:
        """Index of the window in an array ``(y, x)`` that begins at pixel (0, 0)."""
        return slice(self.y, self.bottom), slice(self.x, self.right)


@dataclass(frozen=True)
class Tiling:
    """How one model wants to be fed: the same numbers on both axes.

    Attributes
    ----------
    size : int
        Px that the model reads at once.
    halo : int
        Px of context discarded on each side.
    ramp : int
        Px over which neighbouring tiles are blended.
    multiple : int
        Down-sampling factor of the network; size and stride are multiples of it, or a tile would see
        another phase of the network's strides than the whole image does.
    """

    size: int
    halo: int
    ramp: int
    multiple: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that do not fit together."""
        if self.size < 1 or self.halo < 0 or self.ramp < 0 or self.multiple < 1:
            raise GridError(
                f"tile_size {self.size}, halo {self.halo}, ramp {self.ramp} and multiple {self.multiple} px cannot be "
                "laid out; size and multiple must be positive, halo and ramp not negative."
            )
        least = 2 * self.halo + self.ramp + max(1, self.ramp)
        if self.size < least:
            raise GridError(
                f"tile_size {self.size} px is too small for halo {self.halo} and ramp {self.ramp} px; "
                f"use at least {-(-least // self.multiple) * self.multiple}, or a smaller halo or ramp."
            )
        if self.size % self.multiple or self.stride % self.multiple:
            raise GridError(
                f"tile_size {self.size} and stride {self.stride} px (tile_size - 2 x halo - ramp) must be multiples "
                f"of the network's down-sampling {self.multiple} (multiple of the model's spec); make tile_size and "
                "2 x halo + ramp multiples of it."
            )

    @property
    def stride(self) -> int:
        """``size - 2 * halo - ramp``, px between the starts of neighbouring tiles."""
        return self.size - 2 * self.halo - self.ramp

    def fitted(self, shape: tuple[int, int]) -> Tiling:
        """Return the same tiling with a smaller size when one smaller tile covers the whole raster."""
        longest = max(1, max(shape) - self.ramp, self.ramp)
        stride = min(self.stride, -(-longest // self.multiple) * self.multiple)
        return Tiling(stride + 2 * self.halo + self.ramp, self.halo, self.ramp, self.multiple)


@dataclass(frozen=True)
class Axis:
    """Tiles and blocks along one axis of the raster.

    ``n = max(1, ceil((length - ramp) / stride))`` tiles; tile i owns the core ``[i * stride, (i + 1) * stride)``,
    the last one up to ``length``; it also predicts the overhang ``[(i + 1) * stride, (i + 1) * stride + ramp)``,
    which it shares with tile i + 1. Every core is at least ``ramp`` long, so an overhang never reaches
    beyond the next core.
    """

    length: int
    tiling: Tiling
    block_tiles: int = 1

    def __post_init__(self) -> None:
        """Refuse an empty axis and an empty block."""
        if self.length < 1:
            raise GridError(f"a raster axis of {self.length} px has nothing to map; give a raster with pixels.")
        if self.block_tiles < 1:
            raise GridError(f"block_tiles {self.block_tiles} is not a number of tiles; use 1 or more.")

    @property
    def tiles(self) -> int:
        """Number of tiles n."""
        return max(1, -(-(self.length - self.tiling.ramp) // self.tiling.stride))

    @property
    def blocks(self) -> int:
        """Number of blocks, ``ceil(n / block_tiles)``."""
        return -(-self.tiles // self.block_tiles)

    @property
    def chunk(self) -> int:
        """Px of a whole block's core, the chunk of the label store."""
        return self.block_tiles * self.tiling.stride

    def core(self, tile: int) -> tuple[int, int]:
        """Start and end of what a tile owns, px."""
        end = self.length if tile == self.tiles - 1 else (tile + 1) * self.tiling.stride
        return tile * self.tiling.stride, end

    def reach(self, tile: int) -> tuple[int, int]:
        """Start and end of what a tile predicts: its core and its overhang, px."""
        start, end = self.core(tile)
        return start, end if tile == self.tiles - 1 else end + self.tiling.ramp

    def read(self, tile: int) -> tuple[int, int]:
        """Start and end of what a tile reads, always ``size`` px.

        The last windows are moved inwards by a multiple of ``multiple``, so that they see real pixels rather
        than reflected ones; they still hold ``reach`` and a halo on both sides.
        """
        tiling = self.tiling
        beyond = max(0, self.length + 2 * tiling.halo - tiling.size)
        latest = -tiling.halo + -(-beyond // tiling.multiple) * tiling.multiple
        start = min(tile * tiling.stride - tiling.halo, latest)
        return start, start + tiling.size

    def block_range(self, block: int) -> tuple[int, int]:
        """First tile of a block, and the tile after its last."""
        return block * self.block_tiles, min(self.tiles, (block + 1) * self.block_tiles)

    def block_core(self, block: int) -> tuple[int, int]:
        """Start and end of what a block owns, px."""
        first, stop = self.block_range(block)
        return self.core(first)[0], self.core(stop - 1)[1]

    def block_reach(self, block: int) -> tuple[int, int]:
        """Start and end of what a block predicts: its core and its overhang, px."""
        first, stop = self.block_range(block)
        return self.core(first)[0], self.reach(stop - 1)[1]


@dataclass(frozen=True)
class Tile:
    """The unit of inference.

    Attributes
    ----------
    row, col : int
        Position among all tiles.
    read : Window
        What the model sees; it may reach outside the raster, where the raster is reflected.
    core : Window
        What the tile owns.
    reach : Window
        Core and overhang: what the tile predicts.
    """

    row: int
    col: int
    read: Window
    core: Window
    reach: Window


@dataclass(frozen=True, order=True)
class Block:
    """The unit of work, of storage and of resume: k x k tiles.

    Attributes
    ----------
    row, col : int
        Position among all blocks.
    core : Window
        What the block owns.
    reach : Window
        Core and overhang: what the block predicts.
    """

    row: int
    col: int
    core: Window
    reach: Window

    @property
    def id(self) -> str:
        """The block's name in file names, task names and messages: ``"row-col"``."""
        return f"{self.row}-{self.col}"


def _window(rows: tuple[int, int], cols: tuple[int, int]) -> Window:
    return Window(rows[0], cols[0], rows[1] - rows[0], cols[1] - cols[0])


@dataclass(frozen=True)
class TileGrid:
    """All tiles and blocks of a raster.

    Attributes
    ----------
    shape : (int, int)
        Raster height and width, px.
    tiling : Tiling
        Size, halo, ramp and multiple of the tiles.
    block_tiles : (int, int)
        Tiles of a block, down and across.
    """

    shape: tuple[int, int]
    tiling: Tiling
    block_tiles: tuple[int, int] = (2, 2)

    @property
    def rows(self) -> Axis:
        """The vertical axis."""
        return Axis(self.shape[0], self.tiling, self.block_tiles[0])

    @property
    def cols(self) -> Axis:
        """The horizontal axis."""
        return Axis(self.shape[1], self.tiling, self.block_tiles[1])

    @property
    def chunks(self) -> tuple[int, int]:
        """Px of a whole block's core; block (r, c) is the only one that writes the chunks under its core."""
        return self.rows.chunk, self.cols.chunk

    def tile(self, row: int, col: int) -> Tile:
        """Return the tile at a position."""
        return Tile(
            row,
            col,
            read=_window(self.rows.read(row), self.cols.read(col)),
            core=_window(self.rows.core(row), self.cols.core(col)),
            reach=_window(self.rows.reach(row), self.cols.reach(col)),
        )

    def block(self, row: int, col: int) -> Block:
        """Return the block at a position."""
        return Block(
            row,
            col,
            core=_window(self.rows.block_core(row), self.cols.block_core(col)),
            reach=_window(self.rows.block_reach(row), self.cols.block_reach(col)),
        )

    def blocks(self) -> Iterator[Block]:
        """All blocks in raster order, made one at a time."""
        rows, cols = self.rows.blocks, self.cols.blocks
        return (self.block(row, col) for row in range(rows) for col in range(cols))

    def tiles_of(self, block: Block) -> list[Tile]:
        """The tiles of a block in raster order."""
        rows, cols = self.rows.block_range(block.row), self.cols.block_range(block.col)
        return [self.tile(row, col) for row in range(*rows) for col in range(*cols)]

    def tiles_around(self, block: Block) -> list[Tile]:
        """Tiles that reach into a block's core: its own, and the nearest ones left, above and at the corner."""
        (top, bottom), (left, right) = self.rows.block_range(block.row), self.cols.block_range(block.col)
        rows, cols = range(max(0, top - 1), bottom), range(max(0, left - 1), right)
        return [self.tile(row, col) for row in rows for col in cols]

    def sources_of(self, block: Block) -> dict[str, tuple[int, int]]:
        """Whose strips a block needs: ``{"right": left neighbour, "below": upper, "corner": upper left}``.

        The key is the name of the strip, as its owner sees it.
        """
        row, col = block.row, block.col
        places = {"right": (row, col - 1), "below": (row - 1, col), "corner": (row - 1, col - 1)}
        return {strip: place for strip, place in places.items() if min(place) >= 0}

    def consumers_of(self, block: Block) -> dict[str, tuple[int, int]]:
        """Who needs a block's strips: ``{"right": right neighbour, "below": lower, "corner": lower right}``."""
        row, col = block.row, block.col
        places = {"right": (row, col + 1), "below": (row + 1, col), "corner": (row + 1, col + 1)}
        inside = (self.rows.blocks, self.cols.blocks)
        return {strip: place for strip, place in places.items() if place[0] < inside[0] and place[1] < inside[1]}
