"""Text in pictures: a font that has the letters, in any size, and how much room words take.

It knows Pillow; nothing of maps.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

FALLBACKS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "LiberationSans-Regular.ttf",
    "Arial.ttf",
)
"""Fonts of the system that have more letters than Pillow's own, which has little beyond ASCII."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Color = tuple[int, int, int]

_NOWHERE = "\U0010ffff"  # a code point that no font has: its sign is that of letters that are missing


class Lettering:
    """Writes on a picture.

    Parameters
    ----------
    picture : Image
        What is written on.
    letters : str
        Everything that will be written: one font is chosen that has it all.
    """

    def __init__(self, picture: Image.Image, letters: str) -> None:
        self._draw = ImageDraw.Draw(picture)
        self._name = next((name for name in (None, *FALLBACKS) if _has(name, letters)), None)
        self._is_plain = not _has(self._name, letters)

    def width(self, text: str, size: float) -> float:
        """Px that a text takes."""
        return self._font(size).getlength(self._shown(text))

    def write(self, place: tuple[float, float], text: str, size: float, color: Color, anchor: str = "ls") -> None:
        """Write a text; the anchor is Pillow's: ``"ls"`` is left on the baseline."""
        self._draw.text(place, self._shown(text), fill=color, font=self._font(size), anchor=anchor)

    def fitted(self, text: str, size: float, room: float) -> str:
        """Shorten a text in its middle until it fits into so many px."""
        if self.width(text, size) <= room:
            return text
        kept = len(text)
        while kept > 2 and self.width(_shortened(text, kept), size) > room:
            kept -= 1
        return _shortened(text, kept)

    def _font(self, size: float) -> Font:
        return _load(self._name, round(size, 2))

    def _shown(self, text: str) -> str:
        """The text itself, or without accents where no font of this machine has its letters."""
        return unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode() if self._is_plain else text


def _shortened(text: str, kept: int) -> str:
    head = -(-kept // 2)
    return f"{text[:head].rstrip()}...{text[len(text) - kept + head :].lstrip()}"


@lru_cache(maxsize=64)
def _load(name: str | None, size: float) -> Font:
    return ImageFont.load_default(size) if name is None else ImageFont.truetype(name, size)


@lru_cache(maxsize=32)
def _has(name: str | None, letters: str) -> bool:
    """Whether a font is there and has all letters of a text."""
    try:
        font = _load(name, 24)
    except OSError:
        return False
    missing = bytes(font.getmask(_NOWHERE))
    return all(letter.isspace() or bytes(font.getmask(letter)) != missing for letter in set(letters))
