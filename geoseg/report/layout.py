"""A run as one map on a sheet of paper: title, graticule, legend, scale bar, north, CRS and credit.

Matplotlib writes it: text and lines stay text and lines in PDF and SVG. Measures are millimetres of paper.
"""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import OutputError
from geoseg.files import write_file
from geoseg.raster.options import configured
from geoseg.report.cartography import INK, MUTED, length_name, nice_length
from geoseg.report.findings import OpenImagery
from geoseg.report.framing import Frame
from geoseg.report.graticule import Graticule
from geoseg.report.lettering import Color
from geoseg.report.measures import geobox_of
from geoseg.report.naming import credit_of, subject_of
from geoseg.report.panels import Panels
from geoseg.report.record import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAPERS = {"a4": (210.0, 297.0), "a3": (297.0, 420.0), "letter": (215.9, 279.4)}
"""Width and height of each paper upright, mm."""

FORMATS = (".pdf", ".svg", ".png")
"""Endings of layouts."""

LAYOUTS_ONLY = (".pdf", ".svg")
"""Endings that only layouts have."""

DPI = 300
"""Pixels an inch of a layout's map, and of a whole layout in PNG."""

INCH = 25.4
POINT = INCH / 72
"""Length of an inch and of a point, mm."""

MARGIN, TITLE, FOOT, TICKS, SIDE, GAP = 12.0, 11.0, 7.0, 5.0, 56.0, 6.0
"""Margin of the paper, height of title and foot, room of the graticule's labels, width of a legend beside, and gaps."""

ROW, COLUMNS, MAX_CLASSES = 6.0, 3, 21
"""Height of a row of the legend, columns below a map (the last is that of the marks), and classes at most."""

NORTH, LINE, MARKS = 17.0, 3.4, 34.0
"""Height of the arrow to north and the scale bar beside it, of a line of notes, and of all of them at most, mm."""

LARGE, PLAIN, SMALL = 15.0, 9.0, 7.0
"""Sizes of letters, points."""

FAMILIES = (
    "DejaVu Sans",
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
    "Liberation Sans",
)
"""Fonts that are asked for a letter, one after the other; Matplotlib brings the first."""


@dataclass(frozen=True)
class Page:
    """A sheet of paper and the places of what lies on it, mm from its lower left corner.

    Attributes
    ----------
    name : str
        Paper.
    width, height : float
        The paper as it lies.
    frame : tuple of float
        Left, bottom, width and height of the map.
    is_beside : bool
        Whether the legend stands beside the map, not below it.
    """

    name: str
    width: float
    height: float
    frame: tuple[float, float, float, float]
    is_beside: bool

    @classmethod
    def of(cls, name: str, tall: float, count: int) -> Page:
        """Lay out a map ``tall`` times as high as wide, and ``count`` classes, on the paper upright or across."""
        short, long = PAPERS[name]
        pages = []
        for (width, height), is_beside in product(((short, long), (long, short)), (False, True)):
            below = 0.0 if is_beside else GAP + max(MARKS, ROW * -(-count // (COLUMNS - 1)))
            room = width - 2 * MARGIN - TICKS - (SIDE + GAP if is_beside else 0)
            high = height - 2 * MARGIN - TITLE - FOOT - TICKS - below
            across = min(room, high / tall)
            top = height - MARGIN - TITLE
            pages.append(
                cls(name, width, height, (MARGIN + TICKS, top - across * tall, across, across * tall), is_beside)
            )
        return max(pages, key=lambda page: page.frame[2])


@configured()
def write_layout(
    record: RunRecord,
    imagery: OpenImagery,
    path: Path,
    paper: str,
    *,
    show: str | None = None,
    title: str | None = None,
    credit: str | None = None,
) -> Path:
    """Write one map of a run on paper; the scale is what fits.

    Parameters
    ----------
    record : RunRecord
        The run.
    imagery : callable
        Gives its imagery, or None; called where the run folder has no picture of it.
    path : Path
        The layout; its ending, .pdf, .svg or .png, chooses the format.
    paper : str
        One of `PAPERS`; upright or across, as the map is larger.
    show : str, optional
        ``"imagery"``, ``"classes"`` or ``"polygons"``: what the map shows; polygons for objects, else classes.
    title, credit : str, optional
        Instead of the names of the input, and what the catalog says.

    Returns
    -------
    Path
        The layout.

    Raises
    ------
    ReportError
        The run's labels cannot be read.
    OutputError
        The paper or the format is unknown, the run has no such panel, Matplotlib is not installed, or the file cannot
        be written.
    """
    check_layout(path, paper)
    library = _load_matplotlib()
    geobox = geobox_of(record)
    side = round(max(PAPERS[paper]) / INCH * DPI)
    panels = Panels.read(record, imagery, Frame.of(geobox, side=side))
    name = show or ("polygons" if panels.objects and "polygons" in panels.names else "classes")
    if name != "classes" and name not in panels.names:
        raise OutputError(f"the run {record.path} has no {name} to show; choose {' or '.join(panels.names)}.")
    sheet = _Sheet(panels, name, paper, _texts(record, title, credit))
    kind = path.suffix.lower().removeprefix(".")
    # the same map gives the same bytes: no date, no random names
    stamp: dict[str, Any] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    with library.rc_context(_style()):
        figure = sheet.draw()
        write_file(path, lambda file: figure.savefig(file, format=kind, dpi=DPI, metadata=stamp))
    return path


def check_layout(path: Path, paper: str) -> None:
    """Refuse paper that is unknown, and a format that layouts do not have.

    Raises
    ------
    OutputError
        It is one of these.
    """
    if paper not in PAPERS:
        raise OutputError(f"a layout on '{paper}' paper is not known; choose {', '.join(PAPERS)}.")
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"a layout cannot be written as '{path}'; its ending is one of {', '.join(FORMATS)}.")


class _Sheet:
    """A page with what is drawn on it.

    Parameters
    ----------
    panels : Panels
        What was read of the run.
    name : str
        The panel that is shown.
    paper : str
        One of `PAPERS`.
    texts : mapping of str to str
        ``title``, ``model`` and ``credit``.
    """

    def __init__(self, panels: Panels, name: str, paper: str, texts: dict[str, str]) -> None:
        self.panels, self.name, self.texts = panels, name, texts
        frame = panels.frame
        parts = panels.legend()
        self.parts, self.others = parts[:MAX_CLASSES], len(parts[MAX_CLASSES:])
        rows = len(self.parts) + bool(self.others)
        self.page = Page.of(paper, frame.shape[0] * frame.aspect / frame.shape[1], rows)

    def draw(self) -> Figure:
        """Draw everything."""
        from matplotlib.figure import Figure

        page = self.page
        figure = Figure(figsize=(page.width / INCH, page.height / INCH))
        sheet = figure.add_axes((0, 0, 1, 1))
        sheet.set_xlim(0, page.width)
        sheet.set_ylim(0, page.height)
        sheet.axis("off")
        left, bottom, width, height = page.frame
        self._draw_map(
            figure.add_axes((left / page.width, bottom / page.height, width / page.width, height / page.height))
        )
        top = page.height - MARGIN
        _write(sheet, MARGIN, top - 6, self.texts["title"], LARGE, weight="bold")
        foot = "\n".join(textwrap.wrap(self.texts["credit"], round((page.width - 2 * MARGIN) / (SMALL * 0.2))))
        _write(sheet, MARGIN, MARGIN, foot, SMALL, color=MUTED, va="bottom")
        self._draw_legend(sheet)
        self._draw_marks(sheet)
        return figure

    def _draw_map(self, axes: Axes) -> None:
        """The panel in its frame, and the graticule with its labels at the left and below."""
        rows, columns = self.panels.frame.shape
        *_, width, height = self.page.frame
        shape = max(1, round(width / INCH * DPI)), max(1, round(height / INCH * DPI))
        picture = self.panels.panel(self.name, shape, line=DPI / 120)
        axes.imshow(picture, extent=(0, columns, rows, 0), aspect="auto", interpolation="none")
        axes.tick_params(length=2, labelsize=SMALL, labelcolor=_hex(MUTED), color=_hex(MUTED), pad=2)
        for spine in axes.spines.values():
            spine.set(linewidth=0.6, color=_hex(INK))
        axes.set(xticks=[], yticks=[])
        if (graticule := Graticule.of(self.panels.frame, max(self.page.frame[2:]))) is not None:
            graticule.draw(axes)

    def _draw_legend(self, sheet: Axes) -> None:
        """Classes with their colours and parts: below each other beside the map, or in columns below it."""
        page, (left, bottom, width, height) = self.page, self.page.frame
        entries: list[tuple[Color | None, str, str]] = [(item.rgb, item.name, share) for item, share in self.parts]
        if self.others:
            entries.append((None, f"and {self.others} more", ""))
        if page.is_beside:
            across, x, top = 1, left + width + GAP, bottom + height
        else:
            across, x, top = COLUMNS - 1, MARGIN, bottom - TICKS - GAP
        rows = -(-len(entries) // across)
        column = SIDE if page.is_beside else (page.width - 2 * MARGIN) / COLUMNS
        for number, (color, name, share) in enumerate(entries):
            at, base = x + number // rows * column, top - 4 - number % rows * ROW
            if color is not None:
                _box(sheet, (at, base - 0.3), (5.5, 3.6), color)
            shown = textwrap.shorten(name, 26, placeholder="...") if " " in name else name[:26]
            _write(sheet, at + 7.5, base, f"{shown}  " if share else shown, PLAIN, more=share)

    def _draw_marks(self, sheet: Axes) -> None:
        """The scale bar, north, and the map's scale, CRS and model."""
        page, (left, bottom, width, _) = self.page, self.page.frame
        frame, notes = self.panels.frame, self._notes()
        if page.is_beside:
            x, base = left + width + GAP, max(bottom, MARGIN + FOOT)
        else:
            x, base = page.width - MARGIN - SIDE, bottom - TICKS - GAP - NORTH - len(notes) * LINE
        for number, note in enumerate(reversed(notes)):
            _write(sheet, x, base + number * LINE, note, SMALL, color=MUTED)
        base += len(notes) * LINE + 3
        ground = frame.metres or frame.factor
        pixel = ground * frame.shape[1] / width  # on the ground, of a millimetre of paper
        length = nice_length(36 * pixel)
        long, name = length / pixel, length_name(length, is_ground=frame.metres is not None)
        _box(sheet, (x, base), (long, 1.4), (255, 255, 255))
        _box(sheet, (x, base), (long / 2, 1.4), INK)
        for at, text, side in ((x, "0", "left"), (x + long, name, "right")):
            _write(sheet, at, base + 2.4, text, SMALL + 1, ha=side)
        if frame.north is not None:
            _draw_north(sheet, (x + SIDE - 8, base + 5), frame.north)

    def _notes(self) -> list[str]:
        frame, page = self.panels.frame, self.page
        notes = []
        if frame.metres is not None:
            scale = frame.metres * frame.shape[1] / page.frame[2] * 1000
            unit = 10 ** (math.floor(math.log10(scale)) - 2)
            notes.append(f"Scale about 1:{round(scale / unit) * unit:,.0f} on {page.name.title()}")
        if frame.crs is not None:
            code = frame.crs.to_authority()
            notes.append(frame.crs.name + (f" ({':'.join(code)})" if code else ""))
        room = round(SIDE / (SMALL * 0.2))
        return [line for note in [*notes, self.texts["model"]] for line in textwrap.wrap(note, room)]


def _texts(record: RunRecord, title: str | None, credit: str | None) -> dict[str, str]:
    return {
        "title": title or subject_of(record),
        "model": f"Mapped with {record.model['name']}",
        "credit": credit_of(record) if credit is None else credit,
    }


def _write(
    sheet: Axes, x: float, y: float, text: str, size: float, *, more: str = "", color: Color = INK, **options: Any
) -> None:
    """Write a text whose baseline starts at a place, mm; what is more stands behind it, smaller."""
    written = sheet.text(x, y, text, fontsize=size, color=_hex(color), parse_math=False, **options)
    if more:
        sheet.annotate(more, (1, y), xycoords=(written, "data"), fontsize=SMALL, color=_hex(MUTED), parse_math=False)


def _box(sheet: Axes, place: tuple[float, float], shape: tuple[float, float], color: Color) -> None:
    from matplotlib.patches import Rectangle

    sheet.add_patch(Rectangle(place, *shape, facecolor=_hex(color), edgecolor=_hex(INK), linewidth=0.4))


def _draw_north(sheet: Axes, place: tuple[float, float], degrees: float) -> None:
    """An arrow to north, ``degrees`` clockwise from up, with its letter at the tip."""
    from matplotlib.patches import Polygon
    from matplotlib.transforms import Affine2D

    turn = Affine2D().rotate_deg(-degrees).translate(*place)
    left, right = [(0, 4.5), (-2.3, -4.5), (0, -2.6)], [(0, 4.5), (2.3, -4.5), (0, -2.6)]
    for half, color in ((left, INK), (right, (255, 255, 255))):
        sheet.add_patch(
            Polygon(turn.transform(half), facecolor=_hex(color), edgecolor=_hex(INK), linewidth=0.5, joinstyle="round")
        )
    x, y = turn.transform((0, 6.6))
    _write(sheet, x, y, "N", PLAIN, ha="center", va="center")


def _hex(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)


def _load_matplotlib() -> Any:
    """Matplotlib, or the sentence that says how to install it."""
    try:
        import matplotlib as library
    except ImportError:
        raise OutputError(
            "layouts are drawn with Matplotlib, which is not installed; pip install 'geoseg[layout]'."
        ) from None
    return library


def _style() -> dict[str, Any]:
    """Fonts that have the letters, as text in PDF and SVG."""
    from matplotlib.font_manager import get_font_names

    known = set(get_font_names())
    families = [name for name in FAMILIES if name in known]
    return {"font.family": families, "pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "geoseg"}
