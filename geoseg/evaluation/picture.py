"""The confusion of classes as a picture: a row for each true class, shaded by the share of its pixels.

It knows counts and names, and draws with Pillow, which torchvision brings along.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from geoseg.evaluation.classes import Scores, ratio
from geoseg.files import write_file

CELL, FONT, GAP = 72, 18, 10
"""Side of a cell, height of letters, and distance between things, px."""

LOW, HIGH = np.array([247, 251, 255]), np.array([8, 48, 107])
"""Colours of no pixel and of all pixels of a row (Blues of ColorBrewer)."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

INK, PAPER = (30, 30, 30), (255, 255, 255)


def save_confusion(scores: Scores, path: Path) -> None:
    """Draw a confusion as a PNG.

    Parameters
    ----------
    scores : Scores
        Counts and names; the number in a cell is the share of its row, in percent.
    path : Path
        The file.

    Raises
    ------
    OutputError
        It cannot be written.
    """
    write_file(path, lambda unfinished: draw_confusion(scores).save(unfinished, format="PNG"))


def draw_confusion(scores: Scores) -> Image.Image:
    """Draw a confusion; parameters as in `save_confusion`."""
    font, small = ImageFont.load_default(FONT), ImageFont.load_default(FONT - 4)
    names, count = scores.names, len(scores.names)
    widest = int(max((font.getlength(name) for name in names), default=0)) + 2 * GAP
    side = FONT + 2 * GAP  # of the strips for what rows and columns are
    left, top = side + widest, side + widest
    picture = Image.new("RGB", (left + count * CELL + GAP, top + count * CELL + GAP), PAPER)
    pen = ImageDraw.Draw(picture)
    pen.text((left + count * CELL / 2, GAP), "predicted", INK, font, anchor="ma")
    _turned(picture, "true", font, (GAP, top, GAP + FONT, top + count * CELL))
    shares = ratio(scores.counts, scores.counts.sum(axis=1, keepdims=True).repeat(count, axis=1))
    for row, name in enumerate(names):
        middle = top + (row + 0.5) * CELL
        pen.text((left - GAP, middle), name, INK, font, anchor="rm")
        start = left + row * CELL
        _turned(picture, name, font, (start, side, start + CELL, top - GAP), at_end=True)
        for col in range(count):
            _cell(pen, (left + col * CELL, top + row * CELL), float(shares[row, col]), small)
    return picture


def _cell(pen: ImageDraw.ImageDraw, corner: tuple[int, int], share: float, font: Font) -> None:
    """Draw a share; nothing where a row has no pixel."""
    x, y = corner
    known = np.isfinite(share)
    color = tuple(np.rint(LOW + (HIGH - LOW) * (share if known else 0)).astype(int).tolist())
    pen.rectangle((x, y, x + CELL - 2, y + CELL - 2), color)
    if known:
        ink = PAPER if share > 0.5 else INK
        pen.text((x + CELL / 2 - 1, y + CELL / 2 - 1), f"{100 * share:.1f}", ink, font, anchor="mm")


def _turned(
    picture: Image.Image,
    text: str,
    font: Font,
    box: tuple[int, int, int, int],
    *,
    at_end: bool = False,
) -> None:
    """Write from bottom to top in a box: in its middle, or from its lower end on."""
    left, top, right, bottom = box
    strip = Image.new("RGB", (bottom - top, right - left), PAPER)
    place, anchor = ((0, strip.height / 2), "lm") if at_end else ((strip.width / 2, strip.height / 2), "mm")
    ImageDraw.Draw(strip).text(place, text, INK, font, anchor=anchor)
    picture.paste(strip.transpose(Image.Transpose.ROTATE_90), (left, top))
