"""One block of objects: read its tiles, find objects in them, paint them; and stuff besides, where the model scores it.

It knows nothing of where blocks are stored, of how objects of several tiles become one, or where it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from geoseg.grid import Block, Tile, TileGrid, Window
from geoseg.instances import TileObjects, paint
from geoseg.models import ObjectModel, PanopticModel
from geoseg.models.detections import Detections
from geoseg.models.prompts import Prompts
from geoseg.models.spec import ModelSpec
from geoseg.models.streams import in_flight
from geoseg.probabilities import Labels
from geoseg.segmentation.blocks import Draft, Prediction
from geoseg.segmentation.tiles import MaskSource, PixelSource, TileInput, batches, read_wanted, stack

Place = tuple[int, int]


class PromptSource(Protocol):
    """What is asked of a window of the raster."""

    def touches(self, window: Window) -> bool:
        """Say whether anything is asked there."""

    def within(self, window: Window) -> Prompts:
        """What is asked, in pixels of the window."""


def detect_block(
    raster: PixelSource,
    model: ObjectModel,
    grid: TileGrid,
    block: Block,
    *,
    region: MaskSource | None = None,
    batch_size: int = 1,
    prompts: PromptSource | None = None,
) -> dict[Place, TileObjects]:
    """Find objects in a block's tiles.

    Parameters
    ----------
    raster, grid, block, region, batch_size
        As in `geoseg.segmentation.predict_block`.
    model : ObjectModel
        What finds them.
    prompts : PromptSource, optional
        Tiles where nothing is asked are not read.

    Returns
    -------
    dict
        Objects by row and column of the tile; tiles without any are left out.
    """
    tiles: dict[Place, TileObjects] = {}
    for batch in batches(_asked(raster, grid, block, region, prompts), batch_size):
        asked = [prompts.within(item.tile.read) for item in batch] if prompts else [Prompts()] * len(batch)
        asked += asked[-1:] * (batch_size - len(batch))  # padded like the pixels; nothing at all asks for everything
        pixels = stack(batch, batch_size)
        with in_flight(model.device):
            found = model.predict(*pixels, asked)
        tiles |= _painted(batch, found, model.spec)
    return tiles


def parse_block(
    raster: PixelSource,
    model: PanopticModel,
    grid: TileGrid,
    block: Block,
    *,
    region: MaskSource | None = None,
    batch_size: int = 1,
    keep_probabilities: bool = False,
) -> tuple[Prediction, dict[Place, TileObjects]]:
    """Label stuff and find things in a block's tiles.

    Parameters
    ----------
    raster, grid, block, region, batch_size, keep_probabilities
        As in `geoseg.segmentation.predict_block`.
    model : PanopticModel
        What predicts both.

    Returns
    -------
    prediction : Prediction
        Pixels of stuff, and strips.
    tiles : dict
        Things by row and column of the tile, as in `detect_block`.
    """
    draft = Draft(grid, block, model.spec, keep_probabilities=keep_probabilities)
    tiles: dict[Place, TileObjects] = {}
    for batch in batches(read_wanted(raster, grid, block, region), batch_size):
        pixels = stack(batch, batch_size)
        with in_flight(model.device):
            scores, found = model.predict(*pixels)
            stuff = draft.take(batch, scores)
        draft.add(batch, stuff)
        tiles |= _painted(batch, found, model.spec)
    return draft.prediction(), tiles


def _asked(
    raster: PixelSource, grid: TileGrid, block: Block, region: MaskSource | None, prompts: PromptSource | None
) -> Iterator[TileInput]:
    """Tiles of a block where something is asked."""
    if prompts is None:
        return read_wanted(raster, grid, block, region)
    return read_wanted(raster, grid, block, region, where=lambda tile: prompts.touches(tile.read))


def _painted(batch: list[TileInput], found: list[Detections], spec: ModelSpec) -> dict[Place, TileObjects]:
    """Objects of the tiles of a batch that have any."""
    values: Labels = np.array([item.value for item in spec.classes], np.uint8)
    tiles = {}
    for item, objects in zip(batch, found, strict=False):  # a short batch is padded
        tile: Tile = item.tile
        painted = paint(objects, tile, item.wanted, values)
        if len(painted):
            tiles[tile.row, tile.col] = painted
    return tiles
