"""Minimum area on labels, before there are polygons: small faces go to the class around them, whatever the blocks.

The rule. Of all faces with fewer pixels than the mapping unit of their class, the one with the fewest (then the one
that comes first in the raster) takes the class with the longest border to it in all, of several the smallest, and
unites with all its neighbours of that class; the united face is small or large in its turn. Nodata never receives, and
a face with nothing but nodata around it stays.

Strategy. Large faces only receive, so those of one class count as one face, and each connected group of small faces
can be decided alone. A block surveys its own pixels: groups that lie inside are decided at once, and those that reach
a side shared with other blocks stay open, with their borders and with the face of every pixel along the sides. Surveys
of neighbours merge into the survey of the rectangle they cover: over the sides equal labels are united, and different
ones have a border. Once a survey covers the raster, nothing is open. Each step also says what became of the faces that
went into it; read backwards, that leads to every face of every block::

    survey ──► merge ──► merge          upwards: what is open, and the fates of what went in
                           │
    apply  ◄── settled ◄── settled      downwards: the labels of what was open

A face that is large already is so wherever it goes on, thus the result is the same for every layout of blocks. This
module knows arrays and windows; it does not know files, or who calls it when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.arcs.chains import Coordinates, Integers
from geoseg.arcs.parts import number_parts
from geoseg.arcs.scanning import Runs
from geoseg.arcs.sieving import Graph, absorb, borders_of, lengths_of, roots_of, runs_of
from geoseg.errors import BlockError, PlanError
from geoseg.grid import Window
from geoseg.mapping_unit import MappingUnit
from geoseg.raster import PixelAreas

NOBODY = -1
"""The face of nodata and of what was never surveyed; in fates, of what is decided."""

UNUSED = int(np.iinfo(np.int64).min)
"""Stands for nodata where there is none."""

ROWS_AT_ONCE = 64
"""Rows whose areas of pixels are in memory together."""

SIDES = ("top", "right", "bottom", "left")

Labels = NDArray[Any]
Sides = dict[str, Coordinates]


@dataclass(frozen=True)
class Survey:
    """What is not decided yet about the small faces of a rectangle.

    Attributes
    ----------
    window : Window
        The rectangle.
    raster_shape : (int, int)
        Height and width of the raster, px.
    unit : MappingUnit
        What a face must have to be large.
    faces : Graph
        Faces as far as they are known and small so far; and one for all large faces of a class together, which has
        just as much as that.
    sides : dict of str to int32 array, shape (pixel,)
        The face of every pixel along the ``top``, ``right``, ``bottom`` and ``left``, -1 = nodata; empty on the
        raster's own edge.
    """

    window: Window
    raster_shape: tuple[int, int]
    unit: MappingUnit
    faces: Graph
    sides: Sides

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.to_arrays().values())

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as plain arrays, each under a name."""
        return {
            "window": np.array([self.window.y, self.window.x, self.window.height, self.window.width]),
            "raster_shape": np.array(self.raster_shape),
            **self.unit.to_arrays(),
            **{f"faces.{field.name}": getattr(self.faces, field.name) for field in fields(Graph)},
            **{f"sides.{name}": side for name, side in self.sides.items()},
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Survey:
        """Make a survey of what `to_arrays` gave; KeyError when something is missing."""
        height, width = (int(number) for number in arrays["raster_shape"])
        return cls(
            Window(*(int(number) for number in arrays["window"])),
            (height, width),
            MappingUnit.from_arrays(arrays),
            Graph(**{field.name: arrays[f"faces.{field.name}"] for field in fields(Graph)}),
            {name: arrays[f"sides.{name}"] for name in SIDES},
        )


@dataclass(frozen=True)
class Fates:
    """What became of the faces of a block, or of a survey, in the next survey.

    Attributes
    ----------
    which : int32, shape (fate,)
        The faces. Those of a block are counted in raster order of their first pixels, nodata left out, and only those
        are here that do not simply keep their label; of a survey all are.
    face : int32, shape (fate,)
        Its face in the next survey; -1 when it is decided.
    label : int64, shape (fate,)
        The label it gets, when it is decided.
    """

    which: Coordinates
    face: Coordinates
    label: Integers

    def take(self, index: Integers) -> Fates:
        """Return some of the fates."""
        return Fates(self.which[index], self.face[index], self.label[index])

    def settled(self, labels: Integers) -> Integers:
        """Labels of the faces, int64, shape (fate,), from those of the next survey's faces.

        The next survey's are what its own fates settle to; once nothing is open there are none.
        """
        open_ = self.face != NOBODY
        settled = self.label.copy()
        settled[open_] = labels[self.face[open_]]
        return settled

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Everything as plain arrays, each under a name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Fates:
        """Make fates of what `to_arrays` gave; KeyError when something is missing."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def survey(
    labels: Labels,
    core: Window,
    raster_shape: tuple[int, int],
    unit: MappingUnit,
    *,
    nodata: int | None = 255,
    max_bytes: int | None = None,
    areas: PixelAreas | None = None,
) -> tuple[Survey, Fates]:
    """Find the small faces of a block, and decide on those that no other block can touch.

    Parameters
    ----------
    labels : integers, shape (y, x)
        Classes of the block's core, and of nothing else: no neighbour has to be there yet.
    core : Window
        Where they lie in the raster.
    raster_shape : (int, int)
        Height and width of the raster, px.
    unit : MappingUnit
        What a face must have to stay.
    nodata : int, optional
        The label that is never a face.
    max_bytes : int, optional
        Largest survey that may be returned.
    areas : PixelAreas, optional
        What each pixel counts, and ``unit`` is in the same; 1 unless given.

    Returns
    -------
    survey : Survey
        What is open.
    fates : Fates
        Of the block's faces.

    Raises
    ------
    PlanError
        The survey is larger than ``max_bytes``.
    """
    runs, face, label = _numbered(labels, nodata)
    pixels, key = _counted(runs, face, label, core, raster_shape[1], areas)
    faces = Graph(label, pixels, key, *borders_of(runs, face, pixels < unit.of(label)))
    whole = Survey(core, raster_shape, unit, faces, _sides_of(runs, face, core, raster_shape))
    surveyed, fates = _resolve(whole, np.arange(len(faces), dtype=np.int32))
    _check_size(surveyed.nbytes, max_bytes)
    return surveyed, fates.take(np.flatnonzero((fates.face != NOBODY) | (fates.label != label)))


def merge(parts: Sequence[Survey], window: Window, max_bytes: int | None = None) -> tuple[Survey, list[Fates]]:
    """Merge the surveys of a rectangle's parts, and decide on closed faces.

    Parameters
    ----------
    parts : sequence of Survey
        At least one, of one grid, in any order; nothing is united across a part that is missing.
    window : Window
        The rectangle.
    max_bytes : int, optional
        Most bytes of the parts together; merging them takes about eight times as much memory.

    Returns
    -------
    survey : Survey
        What is open.
    fates : list of Fates
        Of the faces of each part.

    Raises
    ------
    BlockError
        Parts do not fit together, or not into the rectangle.
    PlanError
        They are larger than ``max_bytes``.
    """
    raster_shape, unit = parts[0].raster_shape, parts[0].unit
    _check_parts(parts, window)
    _check_size(sum(part.nbytes for part in parts), max_bytes)
    begins = np.cumsum([0, *(len(part.faces) for part in parts)])
    sides = {
        part.window: {name: _renumbered(side, np.arange(begin, end)) for name, side in part.sides.items()}
        for part, (begin, end) in zip(parts, pairwise(begins), strict=True)
    }
    faces = Graph.concatenate([part.faces for part in parts])
    one, other = _facing(sides)
    same = faces.label[one] == faces.label[other]
    faces = faces.with_borders(one[~same], other[~same])
    whole = Survey(window, raster_shape, unit, faces, _outline(sides, window, raster_shape))
    surveyed, fates = _resolve(whole, roots_of(len(faces), one[same], other[same]))
    of_parts = [fates.take(np.arange(begin, end)) for begin, end in pairwise(begins)]
    return surveyed, [replace(part, which=part.which - begin) for part, begin in zip(of_parts, begins, strict=False)]


def apply(labels: Labels, fates: Fates, settled: Integers, nodata: int | None = 255) -> Labels:
    """Give the faces of a block their labels.

    Parameters
    ----------
    labels : integers, shape (y, x)
        Classes of the block's core, as they were surveyed.
    fates : Fates
        Of the block's faces.
    settled : int64, shape (fate,)
        Their labels.
    nodata : int, optional
        The label that is never a face.

    Returns
    -------
    array of the same shape and type
        The classes without small faces.
    """
    runs, face, label = _numbered(labels, nodata)
    label[fates.which] = settled
    given = np.append(label, NOBODY if nodata is None else nodata)[face].astype(labels.dtype)  # -1 finds the last
    return np.repeat(given, lengths_of(runs)).reshape(labels.shape)


def _numbered(labels: Labels, nodata: int | None) -> tuple[Runs, Coordinates, Integers]:
    """Runs of an array, the face of each run, -1 = nodata, and the label of each face."""
    void = UNUSED if nodata is None else nodata
    is_byte = labels.dtype == np.uint8 and 0 <= void <= np.iinfo(np.uint8).max
    labels = np.ascontiguousarray(labels, np.uint8 if is_byte else np.int64)
    runs = runs_of(labels)
    face, faces = number_parts(runs, labels, void, np.zeros(len(labels), np.uint8))
    first = _first_runs(face, len(faces))
    row = np.searchsorted(runs.rows, first, side="right") - 1
    return runs, face, labels[row, runs.start[first]].astype(np.int64)


def _first_runs(face: Coordinates, count: int) -> Integers:
    """The first run of each face: of several that are assigned the last one stays, so they come backwards."""
    first = np.empty(count + 1, np.int64)
    first[face[::-1]] = np.arange(len(face))[::-1]
    return first[:count]


def _counted(
    runs: Runs,
    face: Coordinates,
    label: Integers,
    core: Window,
    raster_width: int,
    areas: PixelAreas | None,
) -> tuple[Integers, Integers]:
    """Pixels of each face of a block, or what they count, and the raster index of its first one."""
    is_valid = face >= 0
    sizes = lengths_of(runs) if areas is None else _weights_of(runs, core, areas)
    pixels = np.bincount(face[is_valid], sizes[is_valid], minlength=len(label)).astype(np.int64)
    first = _first_runs(face, len(label))
    row = np.searchsorted(runs.rows, first, side="right") - 1
    return pixels, (core.y + row) * raster_width + core.x + runs.start[first]


def _weights_of(runs: Runs, core: Window, areas: PixelAreas) -> Integers:
    """What the pixels of each run count, some rows at a time: areas of pixels take more memory than labels do."""
    if areas.is_by_row:
        rows = areas.of_window(Window(core.y, core.x, core.height, 1))[:, 0]
        return lengths_of(runs) * np.repeat(rows, np.diff(runs.rows))
    parts = []
    for row in range(0, core.height, ROWS_AT_ONCE):
        begins = runs.rows[row : row + ROWS_AT_ONCE + 1]
        height = len(begins) - 1
        lines = np.repeat(core.width * np.arange(height), np.diff(begins))
        pixels = areas.of_window(Window(core.y + row, core.x, height, core.width))
        parts.append(np.add.reduceat(pixels.ravel(), lines + runs.start[begins[0] : begins[-1]]))
    return np.concatenate(parts)


def _sides_of(runs: Runs, face: Coordinates, core: Window, raster_shape: tuple[int, int]) -> Sides:
    """The face of every pixel along the sides of a block; nothing along the raster's own edges."""
    lengths = lengths_of(runs)
    top, bottom = slice(*runs.rows[:2]), slice(*runs.rows[-2:])
    sides = {
        "top": np.repeat(face[top], lengths[top]),
        "right": face[runs.rows[1:] - 1],
        "bottom": np.repeat(face[bottom], lengths[bottom]),
        "left": face[runs.rows[:-1]],
    }
    return {name: side if _is_inner(core, name, raster_shape) else side[:0] for name, side in sides.items()}


def _place(window: Window, side: str) -> tuple[int, int, int]:
    """The line that a side lies on, and where it starts and ends along it."""
    return {
        "top": (window.y, window.x, window.right),
        "right": (window.right, window.y, window.bottom),
        "bottom": (window.bottom, window.x, window.right),
        "left": (window.x, window.y, window.bottom),
    }[side]


def _is_inner(window: Window, side: str, raster_shape: tuple[int, int]) -> bool:
    """Say whether there is raster beyond a side."""
    return _place(window, side)[0] != _place(Window(0, 0, *raster_shape), side)[0]


def _renumbered(side: Coordinates, number: Integers) -> Coordinates:
    """Replace the faces of a side by their numbers; `NOBODY` stays."""
    renumbered: Coordinates = np.append(number, NOBODY).astype(np.int32)[side]
    return renumbered


def _check_size(nbytes: int, max_bytes: int | None) -> None:
    if max_bytes is not None and nbytes > max_bytes:
        raise PlanError(
            f"polygons smaller than min_area hang together so widely that deciding on them needs {nbytes / 2**20:.0f} "
            f"MiB, more than the {max_bytes / 2**20:.0f} MiB there are; filter the labels first, or choose a smaller "
            "min_area."
        )


def _check_parts(parts: Sequence[Survey], window: Window) -> None:
    """Refuse surveys of different rasters, and parts outside of the rectangle."""
    for part in parts:
        if (part.raster_shape, part.unit) != (parts[0].raster_shape, parts[0].unit):
            raise BlockError(
                f"the survey of {part.window} is of a raster of {part.raster_shape} px with faces of "
                f"{part.unit.pixels} px, and another one of {parts[0].raster_shape} and {parts[0].unit.pixels}; "
                "run again with --overwrite."
            )
        if not window.contains(part.window):
            raise BlockError(f"the survey of {part.window} does not lie in {window}; merge it with its neighbours.")


def _facing(sides: Mapping[Window, Sides]) -> tuple[Integers, Integers]:
    """Pairs of faces that lie across from each other on the sides between parts, one for each pixel."""
    at = {(window.y, window.x): window for window in sides}
    pairs = [np.empty((2, 0), np.int32)]
    for window in sides:
        right, below = at.get((window.y, window.right)), at.get((window.bottom, window.x))
        for neighbour, near, far in ((right, "right", "left"), (below, "bottom", "top")):
            if neighbour is None:
                continue
            if _place(window, near) != _place(neighbour, far):
                raise BlockError(
                    f"the surveys of {window} and {neighbour} do not share a side; use blocks of one grid."
                )
            pairs.append(np.stack([sides[window][near], sides[neighbour][far]]))
    one, other = np.concatenate(pairs, axis=1).astype(np.int64)
    valid = (one != NOBODY) & (other != NOBODY)
    return one[valid], other[valid]


def _outline(sides: Mapping[Window, Sides], window: Window, raster_shape: tuple[int, int]) -> Sides:
    """The sides of a rectangle, from those of its parts; nobody where one is missing."""
    outline: Sides = {}
    for name in SIDES:
        line, start, end = _place(window, name)
        outline[name] = np.full(end - start if _is_inner(window, name, raster_shape) else 0, NOBODY, np.int32)
        for part, own in sides.items():
            part_line, part_start, part_end = _place(part, name)
            if part_line == line and len(outline[name]):
                outline[name][part_start - start : part_end - start] = own[name]
    return outline


def _resolve(whole: Survey, root: Coordinates) -> tuple[Survey, Fates]:
    """Unite faces with one root, decide on groups of small faces that reach no side, and keep the rest."""
    united, member = _united(whole, root)
    faces = united.faces
    is_open = _reaching_sides(united)
    has_open = is_open[faces.one] | is_open[faces.other]
    label = absorb(faces.take_borders(~has_open), united.unit)

    is_kept = is_open.copy()
    is_kept[faces.one[has_open]] = is_kept[faces.other[has_open]] = True
    for side in united.sides.values():
        is_kept[side[side != NOBODY]] = True
    number = np.where(is_kept, np.cumsum(is_kept) - 1, NOBODY)
    rest = replace(
        united,
        faces=faces.take_borders(has_open).take(np.flatnonzero(is_kept), number),
        sides={name: _renumbered(side, number) for name, side in united.sides.items()},
    )
    fate = np.where(is_open, number, NOBODY).astype(np.int32)
    return rest, Fates(np.arange(len(member), dtype=np.int32), fate[member], label[member])


def _united(survey: Survey, root: Coordinates) -> tuple[Survey, Integers]:
    """Unite faces with one root, and all large faces of a class; also says which face each one is then.

    Small faces come first, in their order, and then one large face for each class.
    """
    faces = survey.faces
    is_root = root == np.arange(len(root))
    group = (np.cumsum(is_root) - 1)[root]
    label = faces.label[is_root]
    key = np.full(len(label), np.iinfo(np.int64).max)
    np.minimum.at(key, group, faces.key)
    pixels = np.bincount(group, faces.pixels, minlength=len(label)).astype(np.int64)

    is_small = pixels < survey.unit.of(label)
    classes, which = np.unique(label[~is_small], return_inverse=True)
    number = np.cumsum(is_small) - 1
    number[~is_small] = is_small.sum() + which
    member = number[group]
    small_and_large = Graph(
        np.concatenate([label[is_small], classes]),
        np.concatenate([pixels[is_small], survey.unit.of(classes)]),
        np.concatenate([key[is_small], np.full(len(classes), NOBODY)]),
        *_summed(member[faces.one], member[faces.other], faces.length, int(is_small.sum())),
    )
    sides = {name: _renumbered(side, member) for name, side in survey.sides.items()}
    return replace(survey, faces=small_and_large, sides=sides), member


def _summed(one: Integers, other: Integers, length: Integers, small: int) -> tuple[Integers, Integers, Integers]:
    """Add up the borders of the same two faces; those between large faces, which are not the first ones, go."""
    low, high = np.minimum(one, other), np.maximum(one, other)
    wanted = low < small
    pair, which = np.unique((low[wanted] << 32) + high[wanted], return_inverse=True)
    total = np.bincount(which, length[wanted], minlength=len(pair)).astype(np.int64)
    return pair >> 32, pair & (2**32 - 1), total


def _reaching_sides(survey: Survey) -> NDArray[np.bool_]:
    """Say which small faces hang together, over small faces, with one on a side."""
    faces = survey.faces
    is_small = faces.pixels < survey.unit.of(faces.label)
    between = is_small[faces.one] & is_small[faces.other]
    group = roots_of(len(faces), faces.one[between], faces.other[between])
    reaches = np.zeros(len(faces), bool)
    for side in survey.sides.values():
        reaches[group[side[side != NOBODY]]] = True
    open_: NDArray[np.bool_] = reaches[group] & is_small
    return open_
