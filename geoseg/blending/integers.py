"""Scores to integers of scale 32,767, and to labels where one tile predicts alone.

Floating point sums depend on their order, so a result would depend on the layout of tiles and blocks. Probabilities
therefore become integers, here and nowhere else: ties, ramps and confidence all see the same ones. This module knows
the scores of a tile, nothing of ramps or of other tiles.

Strategy. A tile's probabilities never exist as an array. One compiled pass takes the scores as the network
left them, channels first or last, a row of pixels at a time: the row lies in the first-level cache while it is turned
into class planes, normalised, rounded and labelled. Its exponential is a polynomial of additions and multiplications,
each rounded as IEEE 754 says, so the integers are the same on every CPU, and the compiler makes vectors of it. Other
devices do the same on tensors (`geoseg.blending.fetching`).

A threshold is no part of that pass. What is stored of a pixel is its best class and the integer of it, so another
threshold makes other labels of the same predictions: `geoseg.probabilities`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from geoseg.grid import Window
from geoseg.probabilities import SCALE, Labels, Pixels, Stored, powers_of

if TYPE_CHECKING:
    import torch

Integers = NDArray[np.int16]
Mask = NDArray[np.bool_]
Flat = NDArray[np.float32]
"""The memory under scores, in whatever order."""
Planes = NDArray[np.float32]
"""A few pixels of every class, shape (class, pixel)."""
Line = NDArray[np.float32]
"""A number for each of a few pixels."""
Powers = NDArray[np.int32]
"""See `geoseg.probabilities.powers_of`."""
Three = tuple[int, int, int]

AS_THEY_ARE: Powers = powers_of(None)

ACTIVATIONS = {"none": 0, "softmax": 1, "sigmoid": 2}
"""What turns scores into probabilities, as the compiled loops know it."""

PIXELS = 1024
"""Pixels that are quantised together: their scores stay in the first-level cache."""

_NONE, _SOFTMAX = np.int64(ACTIVATIONS["none"]), np.int64(ACTIVATIONS["softmax"])
_ZERO, _ONE, _SCALE = np.float32(0), np.float32(1), np.float32(SCALE)
FARTHEST = np.float32(87)  # e^-87 is the smallest power whose float32 is not subnormal

# e^x = 2^n e^r with n = rint(x / ln 2); coefficients of expf in S. Moshier's Cephes library, ln 2 in two parts.
PER_OCTAVE = np.float32(1.4426950408889634)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
ROUNDER = np.float32(1.5 * 2**23)  # added, it leaves the rounded number in the lowest bits
C2, C3, C4 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
C5, C6, C7 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)


NOT_FINITE = "scores that are not finite have no probability; look for NaN in pixels or weights."

_compiled = njit(cache=True, nogil=True, error_model="numpy")  # Python's model looks for divisions by 0, one by one


def quantise(scores: torch.Tensor, activation: str = "none") -> Integers:
    """Turn scores into probabilities and these into integers, ``round(32,767 p)``, halves to even.

    Parameters
    ----------
    scores : torch.Tensor
        float32, shape (class, y, x), in any order in memory, on the CPU.
    activation : str
        ``"softmax"``, ``"sigmoid"``, or ``"none"`` for what is a probability already; what lies outside 0 to 1 is
        clipped.

    Returns
    -------
    int16 array
        Shape (class, y, x).

    Raises
    ------
    FloatingPointError
        A score is NaN, or so infinite that there is no probability.
    """
    integers = np.empty(tuple(scores.shape), np.int16)
    _refuse(_quantise_rows(*_laid_out(scores), ACTIVATIONS[activation], integers))
    return integers


def label(
    scores: torch.Tensor,
    activation: str,
    window: Window,
    values: Labels,
    wanted: Mask,
    pixels: Pixels,
    corner: tuple[int, int] = (0, 0),
    powers: Powers = AS_THEY_ARE,
) -> None:
    """Label the pixels that one tile predicts alone, and say how probable that is.

    Ties of the integers go to the first class. Pixels that are not wanted keep what they have.

    Parameters
    ----------
    scores, activation
        As in `quantise`.
    window : Window
        Which pixels, counted from the scores' first.
    values : uint8 array
        Shape (class,): the label of each class.
    wanted : bool array
        Shape (y, x), at least as large as the window, counted from its first pixel.
    pixels : Pixels
        Written where wanted; probabilities of all classes only if there is room for them.
    corner : (int, int)
        Row and column of the window's first pixel in ``pixels``.
    powers : int32 array
        Of the model's temperature, see `geoseg.probabilities.powers_of`: what is written of probabilities is tempered,
        labels are as without.

    Raises
    ------
    FloatingPointError
        As in `quantise`.
    """
    part, wanted = scores[(slice(None), *window.slices())], np.ascontiguousarray(wanted)
    target = pixels.labels, pixels.best, pixels.probabilities
    _refuse(_label_rows(*_laid_out(part), ACTIVATIONS[activation], values, wanted, *target, *corner, powers))


def _refuse(finite: bool) -> None:
    if not finite:
        raise FloatingPointError(NOT_FINITE)


def _laid_out(scores: torch.Tensor) -> tuple[Flat, Three, Three]:
    """The memory under a tensor (class, y, x) as a flat array, the tensor's shape, and its strides in elements.

    The loops are compiled once for every order in memory that way.
    """
    shape, strides = tuple(scores.shape), tuple(scores.stride())
    span = 1 + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    return scores.as_strided((span,), (1,)).numpy(), shape, strides  # type: ignore[return-value]


@_compiled
def _quantise_rows(flat: Flat, shape: Three, strides: Three, activation: int, integers: Integers) -> bool:
    """Quantise as many rows at once as make up for their number; returns whether every pixel has probabilities."""
    classes, height, width = shape
    count = max(1, PIXELS // width)
    scores, doubt = np.zeros((classes, count * width), np.float32), np.zeros(count * width, np.float32)
    spare = np.empty((2, count * width), np.float32)
    for y in range(0, height, count):
        rows = min(count, height - y)
        _load(flat, y, rows, width, strides, scores)
        _to_integers(scores, activation, doubt, spare)
        for position in range(classes):
            for row in range(rows):
                line, found = integers[position, y + row], scores[position, row * width : (row + 1) * width]
                for x in range(width):
                    line[x] = found[x]
    return bool(np.isfinite(doubt).all())


@_compiled
def _label_rows(
    flat: Flat,
    shape: Three,
    strides: Three,
    activation: int,
    values: Labels,
    wanted: Mask,
    labels: Labels,
    best: Stored,
    probabilities: Stored,
    top: int,
    left: int,
    powers: Powers,
) -> bool:
    """Quantise and label row by row; returns whether every pixel has probabilities."""
    classes, height, width = shape
    scores, doubt = np.empty((classes, width), np.float32), np.zeros(width, np.float32)
    spare, first = np.empty((2, width), np.float32), np.empty(width, np.uint8)
    for y in range(height):
        _load(flat, y, 1, width, strides, scores)
        _to_integers(scores, activation, doubt, spare)
        chosen_integers = _choose(scores, spare[0], first)
        if len(powers):
            _temper(scores, powers)
            for x in range(width):
                chosen_integers[x] = scores[first[x], x]
        for position in range(len(probabilities)):
            _store(scores[position], wanted[y], probabilities[position, top + y, left : left + width])
        _store(chosen_integers, wanted[y], best[top + y, left : left + width])
        shown, chosen = wanted[y], labels[top + y, left : left + width]
        for x in range(width):
            chosen[x] = values[first[x]] if shown[x] else chosen[x]
    return bool(np.isfinite(doubt).all())


@_compiled
def _store(integers: Line, shown: Mask, line: Stored) -> None:
    """Keep the integers of the pixels that are shown."""
    for x in range(len(line)):
        line[x] = np.uint16(integers[x]) if shown[x] else line[x]


@_compiled
def _choose(scores: Planes, best: Line, first: Labels) -> Line:
    """Find the largest integer of each pixel, and the first class that has it."""
    classes, width = scores.shape
    best[:], first[:] = scores[0], 0
    for position in range(1, classes):
        for x in range(width):
            larger = scores[position, x] > best[x]
            best[x] = scores[position, x] if larger else best[x]
            first[x] = np.uint8(position) if larger else first[x]
    return best


@_compiled
def _temper(scores: Planes, powers: Powers) -> None:
    """Temper integers, as `geoseg.probabilities.tempered` does."""
    classes, width = scores.shape
    for x in range(width):
        total = np.int64(0)
        for position in range(classes):
            total += powers[int(scores[position, x])]
        if total > 0:
            for position in range(classes):
                share = np.int64(powers[int(scores[position, x])])
                scores[position, x] = np.float32((SCALE * share + total // 2) // total)


@_compiled
def _load(flat: Flat, y: int, rows: int, width: int, strides: Three, scores: Planes) -> None:
    """Copy rows into class planes, (class, pixel), one row behind the other."""
    for position in range(len(scores)):
        for row in range(rows):
            start = position * strides[0] + (y + row) * strides[1]
            target = scores[position, row * width : (row + 1) * width]
            if strides[2] == 1:
                target[:] = flat[start : start + width]
            else:
                target[:] = flat[start : start + (width - 1) * strides[2] + 1 : strides[2]]


@_compiled
def _to_integers(scores: Planes, activation: int, doubt: Line, spare: Planes) -> None:
    """Replace scores by integers, still as float32.

    ``doubt`` (pixel,) gathers something that stays finite as long as every pixel had probabilities.
    """
    if activation == _SOFTMAX:
        _softmax(scores, doubt, spare[0], spare[1])
    elif activation == _NONE:
        _clip(scores, doubt)
    else:
        _sigmoid(scores, doubt)


@_compiled
def _softmax(scores: Planes, doubt: Line, largest: Line, total: Line) -> None:
    """``rint(32,767 e^(s - m) / sum)``, m the largest score of the pixel."""
    classes, width = scores.shape
    largest[:], total[:] = scores[0], 0
    for position in range(1, classes):
        for x in range(width):
            largest[x] = scores[position, x] if scores[position, x] > largest[x] else largest[x]
    for position in range(classes):
        for x in range(width):
            scores[position, x] = _exponential(scores[position, x] - largest[x])
            total[x] += scores[position, x]
    for x in range(width):
        doubt[x] += total[x]
        total[x] = _SCALE / total[x]
    for position in range(classes):
        for x in range(width):
            scores[position, x] = np.rint(scores[position, x] * total[x])


@_compiled
def _sigmoid(scores: Planes, doubt: Line) -> None:
    """``rint(32,767 / (1 + e^-|s|))`` for s >= 0, and what is left of 32,767 for s < 0."""
    classes, width = scores.shape
    for position in range(classes):
        for x in range(width):
            score = scores[position, x]
            power = _exponential(score if score < _ZERO else -score)
            doubt[x] += power
            scores[position, x] = np.rint(_SCALE * (power if score < _ZERO else _ONE) / (_ONE + power))


@_compiled
def _clip(scores: Planes, doubt: Line) -> None:
    """``rint(32,767 min(max(p, 0), 1))``."""
    classes, width = scores.shape
    for position in range(classes):
        for x in range(width):
            value = scores[position, x]
            doubt[x] += value
            value = _ZERO if value < _ZERO else value
            scores[position, x] = np.rint(_SCALE * (_ONE if value > _ONE else value))


@_compiled
def _exponential(x: np.float32) -> np.float32:
    """``e^x`` for x <= 0 with a relative error below 1e-7; 1 at 0, at most 2e-38 below -87, NaN for NaN."""
    x = -FARTHEST if x < -FARTHEST else x
    shifted = np.float32(x * PER_OCTAVE + ROUNDER)
    n = shifted - ROUNDER
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    series = ((((C7 * r + C6) * r + C5) * r + C4) * r + C3) * r + C2
    power = np.int32((shifted.view(np.int32) + np.int32(127)) << np.int32(23))  # the bits of 2^n
    return (series * r * r + r + _ONE) * power.view(np.float32)
