"""A run as one picture: imagery, labels and outlines side by side, with legend, scale bar and north.

Everything is read from overviews and thinned reads, so memory depends on the picture's size alone. It lays out; panels
and marks are drawn by the modules beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from PIL import Image, ImageDraw

from geoseg.errors import OutputError
from geoseg.files import write_file
from geoseg.raster.options import configured
from geoseg.report.cartography import INK, MUTED, PAPER, draw_north, draw_scale
from geoseg.report.findings import OpenImagery
from geoseg.report.framing import Frame
from geoseg.report.lettering import Lettering
from geoseg.report.measures import geobox_of
from geoseg.report.naming import credit_of, subject_of
from geoseg.report.panels import Panels
from geoseg.report.record import LegendClass, RunRecord

FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 6}),  # the optimizer takes ten times as long for a tenth of the bytes
    ".jpg": ("JPEG", {"quality": 88, "optimize": True, "progressive": True}),
    ".jpeg": ("JPEG", {"quality": 88, "optimize": True, "progressive": True}),
    ".webp": ("WEBP", {"quality": 88}),
}
"""Endings of pictures, their formats, and how they are written."""

WIDTHS = range(400, 8001)
"""Px that a picture may be wide."""

UNIT = 1800
"""All measures below are those of a picture of this width, px."""

MARGIN, GAP, CAPTION, TITLE, TEXT, SMALL, LINE = 40, 20, 34, 30, 19, 15, 1.0

WIDE = 1.9
"""Rasters that are so many times as wide as high have their panels below each other."""

TALLEST = 1.6
"""Height of a panel, in widths of the picture, at most: it keeps a picture of a river's strip within its memory."""

MAX_CLASSES = 18
"""Classes in the legend; the rest is counted."""


@configured()
def write_preview(
    record: RunRecord,
    imagery: OpenImagery,
    path: Path,
    *,
    width: int = UNIT,
    title: str | None = None,
    credit: str | None = None,
) -> Path:
    """Draw a run.

    Parameters
    ----------
    record : RunRecord
        The run.
    imagery : callable
        Gives its imagery, or None; called where the run folder has no picture of it.
    path : Path
        The picture; its ending chooses the format.
    width : int
        Px; the height follows from the raster's.
    title : str, optional
        Instead of the names of input and model.
    credit : str, optional
        Whose imagery it is; as the catalog says unless given.

    Returns
    -------
    Path
        The picture.

    Raises
    ------
    ReportError
        The run's labels cannot be read.
    OutputError
        The picture cannot be written, or nobody knows how.
    """
    check_picture(path, width)
    geobox = geobox_of(record)
    panels = Panels.read(record, imagery, Frame.of(geobox, side=max(256, 2 * width // 3)))
    shown = credit_of(record) if panels.colors is not None else ""
    subtitle = f"mapped with {record.model['name']}" if title is None else ""
    heading = title or subject_of(record), subtitle, shown if credit is None else credit
    write_sheet(path, panels, width, *heading)
    return path


def check_picture(path: Path, width: int = UNIT) -> None:
    """Refuse a picture of an unknown format, or of a width that none has.

    Raises
    ------
    OutputError
        It is one of these.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(
            f"the ending '{path.suffix}' of '{path}' is not a known picture format; use {', '.join(FORMATS)}."
        )
    if width not in WIDTHS:
        raise OutputError(f"a picture cannot be {width} px wide; give a width from {WIDTHS[0]} to {WIDTHS[-1]}.")


class Shown(Protocol):
    """What lies side by side on a picture; `Panels` are those of a run."""

    @property
    def frame(self) -> Frame:
        """The grid of all panels."""
        ...

    @property
    def count(self) -> int:
        """Number of panels."""
        ...

    def legend(self) -> list[tuple[LegendClass, str]]:
        """Classes, and what stands behind the name of each."""
        ...

    def draw(self, shape: tuple[int, int], line: float) -> list[tuple[str, Image.Image]]:
        """Captions and panels of a width and height, with lines of a width, px."""
        ...


def write_sheet(path: Path, panels: Shown, width: int, title: str, subtitle: str = "", credit: str = "") -> None:
    """Write panels side by side, with legend, scale bar and north, to a picture that `check_picture` allows."""
    kind, options = FORMATS[path.suffix.lower()]
    picture = _Sheet(panels, width, title, credit).draw(subtitle)
    write_file(path, lambda file: picture.save(file, kind, **options))


Entry = tuple[LegendClass, str, str, float, int]
"""Of the legend: a class, its name and its part as they are written, left edge (px) and row."""


class _Sheet:
    """The picture and where everything lies on it.

    Parameters
    ----------
    panels : Shown
        What is shown.
    width : int
        Px.
    title, credit : str
        What stands above and below.
    """

    def __init__(self, panels: Shown, width: int, title: str, credit: str) -> None:
        self.panels, self.width, self.title, self.credit = panels, width, title, credit
        self.unit = width / UNIT
        frame = panels.frame
        self.tall = frame.shape[0] * frame.aspect / frame.shape[1]
        self.is_stacked = 1 / self.tall > WIDE
        self.count = panels.count
        across = 1 if self.is_stacked else self.count
        margin, gap = MARGIN * self.unit, GAP * self.unit
        room = (width - 2 * margin - (across - 1) * gap) / across
        self.across = max(1, int(min(room, TALLEST * width / self.tall)))
        self.down = max(1, round(self.across * self.tall))

    def draw(self, subtitle: str) -> Image.Image:
        """Draw everything."""
        unit, parts = self.unit, self.panels.legend()
        rows = self.count if self.is_stacked else 1
        body = (MARGIN + TITLE + 18) * unit
        foot = body + rows * (self.down + CAPTION * unit) + (rows - 1) * GAP * unit
        letters = "".join([self.title, subtitle, self.credit, *(item.name for item, _ in parts), ASCII])
        probe = Lettering(Image.new("RGB", (1, 1)), letters)
        entries = self._legend(probe, parts, self.width - (2 * MARGIN + 420) * unit)
        legend = max(70 * unit, (1 + max((row for *_, row in entries), default=0)) * 32 * unit)
        height = round(foot + 26 * unit + legend + (SMALL + 18 if self.credit else 0) * unit + MARGIN * 0.6 * unit)
        picture = Image.new("RGB", (self.width, height), PAPER)
        lettering = Lettering(picture, letters)
        self._write_title(lettering, subtitle)
        self._paste(picture, lettering, body)
        self._draw_legend(picture, lettering, entries, foot + 26 * unit)
        self._draw_marks(picture, lettering, foot + 26 * unit)
        if self.credit:
            place = MARGIN * unit, height - MARGIN * 0.6 * unit
            lettering.write(
                place, lettering.fitted(self.credit, SMALL * unit, self.width - 2 * place[0]), SMALL * unit, MUTED
            )
        return picture

    def _write_title(self, lettering: Lettering, subtitle: str) -> None:
        unit, left = self.unit, MARGIN * self.unit
        base = (MARGIN + TITLE * 0.8) * unit
        title = lettering.fitted(self.title, TITLE * unit, self.width * 0.6)
        lettering.write((left, base), title, TITLE * unit, INK)
        end = left + lettering.width(title, TITLE * unit) + 14 * unit
        room = self.width - MARGIN * unit - end
        lettering.write((end, base), lettering.fitted(subtitle, TEXT * unit, room), TEXT * unit, MUTED)

    def _paste(self, picture: Image.Image, lettering: Lettering, top: float) -> None:
        """Put panels in their places, with captions above."""
        unit = self.unit
        line = max(0.5, LINE * unit)
        for number, (caption, panel) in enumerate(self.panels.draw((self.across, self.down), line)):
            left, above = MARGIN * unit, top
            if self.is_stacked:
                above += number * (self.down + (CAPTION + GAP) * unit)
            else:
                left += number * (self.across + GAP * unit)
            lettering.write((left, above + CAPTION * 0.62 * unit), caption, TEXT * unit, MUTED)
            place = round(left), round(above + CAPTION * unit)
            picture.paste(panel, place)
            edge = (place[0], place[1], place[0] + panel.width - 1, place[1] + panel.height - 1)
            ImageDraw.Draw(picture).rectangle(edge, outline=(120, 126, 130), width=max(1, round(unit)))

    def _legend(self, lettering: Lettering, parts: list[tuple[LegendClass, str]], room: float) -> list[Entry]:
        """Class, name, part, left edge and row of each entry."""
        unit, left, row, entries = self.unit, 0.0, 0, []
        for item, share in parts[:MAX_CLASSES]:
            name = lettering.fitted(item.name, TEXT * unit, 300 * unit)
            long = 32 * unit + lettering.width(name, TEXT * unit) + 8 * unit + lettering.width(share, SMALL * unit)
            if left and left + long > room:
                left, row = 0.0, row + 1
            entries.append((item, name, share, left, row))
            left += long + 30 * unit
        return entries

    def _draw_legend(self, picture: Image.Image, lettering: Lettering, entries: list[Entry], top: float) -> None:
        unit, draw = self.unit, ImageDraw.Draw(picture)
        for item, name, share, along, row in entries:
            left, above = MARGIN * unit + along, top + row * 32 * unit
            box = left, above, left + 22 * unit, above + 17 * unit
            draw.rectangle(box, fill=item.rgb, outline=INK, width=max(1, round(0.8 * unit)))
            base = above + 15 * unit
            lettering.write((left + 32 * unit, base), name, TEXT * unit, INK)
            after = left + 40 * unit + lettering.width(name, TEXT * unit)
            lettering.write((after, base), share, SMALL * unit, MUTED)

    def _draw_marks(self, picture: Image.Image, lettering: Lettering, top: float) -> None:
        """Scale bar and north, at the right."""
        unit, frame = self.unit, self.panels.frame
        right, size = self.width - MARGIN * unit, 70 * unit
        if frame.north is not None:
            draw_north(picture, lettering, (right - size / 2, top + size / 2 - 4 * unit), size, frame.north)
            right -= size + 22 * unit
        pixel = (frame.metres or frame.factor) * frame.shape[1] / self.across
        draw_scale(picture, lettering, right, top - 2 * unit, 260 * unit, pixel, is_ground=frame.metres is not None)


ASCII = "".join(map(chr, range(33, 127)))
