"""Boundaries that follow the imagery: mean-field inference of a fully connected CRF whose kernels end at a window.

It knows a `Refinement`, scalings and tensors of one tile, nothing of networks or of other tiles. Pixels without data
and pixels outside of the tile are absent: they neither send nor receive.

Strategy. A tile is laid out as a line: rows one after another, each followed by a radius of zeros, and zeros before
and behind. Two pixels of a given offset then lie a given shift apart wherever they are, an absent pixel is a zero,
and all that is done for an offset is done on whole lines. Kernels do not change from step to step, so the sum of the
two is kept, normalised and weighted, one number for each pair of pixels: ``window ** 2 // 2`` lines. A step adds, for
each shift, one product to each end of the pair, a piece of the line at a time, so that the piece stays in the cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import exp, log, sqrt

import torch
from torch.nn.functional import pad

from geoseg.errors import ModelError
from geoseg.models.background import THRESHOLD, find_background
from geoseg.models.refinement import Refinement
from geoseg.models.scaling import curve_of
from geoseg.models.spec import ModelSpec, Scaling

CONTRAST = 13 / 255
"""Standard deviation in colour as a share of a band's range (Krähenbühl and Koltun 2011: 13 of 8 bits)."""

NUMBERS = (0.0, 10_000.0, 65_535.0)
"""Digital numbers that an expression is tried with: nothing, as bright as ground gets, and the largest of 16 bits."""

LEVEL = 0.2
"""Part of its range that an expression which levels off may still have before it beyond bright ground."""

DEVIATIONS = 4.0
"""Range of a band in standard deviations: 95 % of a normal distribution."""

COLOURS = 3
"""Bands that the authors' contrast was chosen for."""

PIECE = 1 << 14
"""Pixels of a line that a CPU works on at a time."""

WHOLE = 1 << 62
"""Other devices work on all of them."""

FAINT = 1e-12
"""Likeness and belief are not less: products of less become subnormal floats, which make a CPU ten times slower."""

SMALLEST = torch.finfo(torch.float32).tiny
"""Stands for a probability of 0 or what rounding left below it, which has no logarithm."""


EVEN = 1e-6
"""Thresholds nearer to 0 or 1 count as this far, so that their log-odds are numbers."""


class Refiner:
    """Refines the scores of tiles.

    Parameters
    ----------
    refinement : Refinement
        How.
    spec : ModelSpec
        Its activation, bands and scalings.
    device : torch.device
        Where.

    Raises
    ------
    ModelError
        When classes do not exclude each other, or no contrast follows from a scaling.
    """

    def __init__(self, refinement: Refinement, spec: ModelSpec, device: torch.device) -> None:
        background = find_background(spec)
        if spec.activation == "sigmoid" and len([item for item in spec.stuff if item != background]) > 1:
            raise _overlapping(spec)
        self._settings, self._activation, self._spec = refinement, spec.activation, spec
        widths = torch.tensor(contrasts(spec, refinement.contrast), device=device)
        self._sharpness = (sqrt(COLOURS / (2 * len(widths))) / widths)[:, None, None]

    def __call__(self, scores: torch.Tensor, pixels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Refine scores.

        Parameters
        ----------
        scores : torch.Tensor
            float32, shape (n, class, y, x): logits, or probabilities where the activation is none. One class excludes
            its background.
        pixels : torch.Tensor
            float32, shape (n, band, y, x): what the network sees.
        mask : torch.Tensor
            bool, shape (n, y, x), True = valid.

        Returns
        -------
        torch.Tensor
            float32, shape (n, class, y, x): scores of the same activation; log-probabilities where it is softmax.
        """
        if scores.shape[1] == 1:
            return self._refine_one(scores, pixels, mask)
        if self._activation == "sigmoid":
            raise _overlapping(self._spec)
        result = torch.empty_like(scores, memory_format=torch.contiguous_format)
        for own, seen, valid, refined in zip(scores, pixels, mask, result, strict=True):
            logits = own if self._activation == "softmax" else own.clamp_min(SMALLEST).log()
            refined.copy_(refine(self._settings, logits.log_softmax(0), seen * self._sharpness, valid))
        return result if self._activation == "softmax" else result.exp_()

    def _refine_one(self, scores: torch.Tensor, pixels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Refine the scores of one class and its background, as two classes that are alike at the threshold."""
        threshold = THRESHOLD if self._spec.threshold is None else self._spec.threshold
        even = torch.tensor(threshold, dtype=torch.float64).logit(EVEN).item()
        result = torch.empty_like(scores, memory_format=torch.contiguous_format)
        for own, seen, valid, refined in zip(scores, pixels, mask, result, strict=True):
            logit = (own if self._activation == "sigmoid" else own.logit(SMALLEST)) - even
            pair = torch.cat([torch.zeros_like(logit), logit]).log_softmax(0)
            below, above = refine(self._settings, pair, seen * self._sharpness, valid)
            refined.copy_(above - below + even)
        return result if self._activation == "sigmoid" else result.sigmoid_()


def _overlapping(spec: ModelSpec) -> ModelError:
    return ModelError(
        f"model '{spec.name}' has the activation 'sigmoid', whose classes do not exclude each other, and cannot be "
        "refined; leave refine out, or use a model with softmax or with one class."
    )


def contrasts(spec: ModelSpec, contrast: float | None) -> list[float]:
    """Standard deviation of the appearance kernel in each band, in units of what the network sees.

    A contrast that is given counts for every band. Otherwise it is 13 of 255 parts of the band's range, which its
    scaling tells without a look at the pixels: ``min-max`` and ``scale`` lead to 0 to 1, ``clip`` to its limits,
    ``z-score`` to a range of 4 standard deviations, and a ``processing`` expression that levels off, as a logistic
    curve does, from what 0 becomes to what 65,535 becomes.

    Raises
    ------
    ModelError
        No contrast is given, and a scaling does not tell the range.
    """
    if contrast is not None:
        return [contrast] * len(spec.bands)
    scalings = spec.scalings or (Scaling("none"),)
    ranges = [_range(spec, scaling) for scaling in scalings]
    return [CONTRAST * item for item in ranges * (len(spec.bands) // len(ranges))]


def _range(spec: ModelSpec, scaling: Scaling) -> float:
    """Range of a band after scaling."""
    if scaling.type == "clip" and scaling.minimum is not None and scaling.maximum is not None:
        return scaling.maximum - scaling.minimum
    if scaling.type == "processing":
        lowest, bright, highest = curve_of(scaling)(torch.tensor(NUMBERS)).tolist()
        if abs(highest - bright) < LEVEL * abs(highest - lowest):
            return abs(float(highest - lowest))
    ranges = {"min-max": 1.0, "scale": 1.0, "z-score": DEVIATIONS}
    if scaling.type not in ranges:
        raise ModelError(
            f"model '{spec.name}' has a scaling of type '{scaling.type}', from which the "
            "contrast of colours cannot be derived; set refine.contrast, in units of what the network sees."
        )
    return ranges[scaling.type]


def refine(settings: Refinement, unary: torch.Tensor, colours: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Refine one tile: algorithm 1 of Krähenbühl and Koltun (2011) with a Potts model.

    ``Q_i(l) <- exp(u_i(l) + sum over j != i of K_ij Q_j(l)) / Z_i``, from ``Q_i(l) = exp(u_i(l))``; the penalty of
    other labels, ``sum over m != l of Q_j(m)``, is this but for a summand that is the same for every label.

    Parameters
    ----------
    settings : Refinement
        How.
    unary : torch.Tensor
        float32, shape (class, y, x): log-probabilities.
    colours : torch.Tensor
        float32, shape (band, y, x): the squared distance of two pixels is the exponent of the appearance kernel.
    valid : torch.Tensor
        bool, shape (y, x): pixels that are not absent.

    Returns
    -------
    torch.Tensor
        float32, shape (class, y, x): log-probabilities; those of absent pixels are as they were.
    """
    height, width = valid.shape
    line = Line(height, width, settings.radius, PIECE if valid.device.type == "cpu" else WHOLE)
    present = line.lay(valid[None].float())[0]
    kernels = weigh_pairs(settings, line, line.lay(colours), present)
    own = line.lay(unary)[:, line.core].masked_fill_(present[line.core] == 0, 0.0)  # 0 times NaN would be heard
    beliefs, total = own.new_zeros(len(own), line.length), own
    for _ in range(settings.iterations):
        beliefs[:, line.core] = total.softmax(0).clamp_min_(FAINT)
        total = line.gather(kernels, beliefs).add_(own)
    return torch.where(valid, line.take_up(total).log_softmax(0), unary)


def weigh_pairs(settings: Refinement, line: Line, colours: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Sum of both kernels for each pair of pixels, float32, shape (shift, where the pair starts).

    ``K_ij = sum over kernels of w k_ij / sqrt(n_i n_j)`` with ``n_i = sum over j of k_ij``, j = i among them: the
    symmetric normalisation of the authors' program. Unlike a division by n_i alone it keeps K symmetric, as the
    energy of a pair is.
    """
    near, smooth = line.gaussians(settings.appearance_distance), line.gaussians(settings.smoothness_distance)
    kernels = present.new_empty(len(line.shifts), line.core.stop)
    for piece, number, there in line.pairs():
        kernels[number, piece] = _likeness(colours[:, piece], colours[:, there]) * near[number]
    appearance = _scale(settings.appearance, line, kernels, present)
    smoothness = _scale(settings.smoothness, line, present.new_tensor(smooth)[:, None].expand(kernels.shape), present)
    for piece, number, there in line.pairs():
        kernel = kernels[number, piece]
        kernel.mul_(appearance[piece]).mul_(appearance[there])
        kernel.addcmul_(smoothness[piece], smoothness[there], value=smooth[number])
    return kernels


def _likeness(here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """How much alike the colours (band, pixel) of pairs are, 0 to 1."""
    return (here - there).square_().sum(0).neg_().clamp_min_(log(FAINT)).exp_()


def _scale(weight: float, line: Line, kernels: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """``sqrt(w / n)`` of each pixel of a line, 0 where it is absent."""
    sums = torch.ones_like(present)
    sums[line.core] += line.gather(kernels, present[None])[0]
    return sums.reciprocal_().mul_(weight).sqrt_().mul_(present)


@dataclass(frozen=True)
class Line:
    """How the pixels of a tile follow one another.

    Attributes
    ----------
    height, width : int
        Of the tile, px.
    radius : int
        Largest offset of a pair in rows or columns, px.
    piece : int
        How many pixels to work on at a time.
    """

    height: int
    width: int
    radius: int
    piece: int

    @property
    def pitch(self) -> int:
        """From a pixel to the one below."""
        return self.width + self.radius

    @property
    def margin(self) -> int:
        """Zeros before and behind the pixels: the longest shift."""
        return self.radius * self.pitch + self.radius

    @property
    def core(self) -> slice:
        """Where pixels are."""
        return slice(self.margin, self.margin + self.height * self.pitch)

    @property
    def length(self) -> int:
        """From the first zero to the last."""
        return self.height * self.pitch + 2 * self.margin

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Rows and columns between the two pixels of a pair, each pair once."""
        radius = range(-self.radius, self.radius + 1)
        return [(dy, dx) for dy in range(self.radius + 1) for dx in radius if (dy, dx) > (0, 0)]

    @property
    def shifts(self) -> list[int]:
        """From the first to the second pixel of a pair, for each offset."""
        return [dy * self.pitch + dx for dy, dx in self.offsets]

    def gaussians(self, distance: float) -> list[float]:
        """``exp(-d ** 2 / (2 distance ** 2))`` of each offset, whose length is d."""
        return [exp(-(dy * dy + dx * dx) / (2 * distance * distance)) for dy, dx in self.offsets]

    def lay(self, planes: torch.Tensor) -> torch.Tensor:
        """Planes (plane, y, x) as lines (plane, length)."""
        return pad(pad(planes, (0, self.radius)).flatten(1), (self.margin, self.margin))

    def take_up(self, lines: torch.Tensor) -> torch.Tensor:
        """The core of lines as planes."""
        planes: torch.Tensor = lines.unflatten(1, (self.height, self.pitch))
        return planes[:, :, : self.width]

    def pairs(self) -> Iterator[tuple[slice, int, slice]]:
        """All pairs, a piece of the line at a time: where they start, the number of their offset, where they end."""
        for piece in self._pieces(0, self.core.stop):
            for number, shift in enumerate(self.shifts):
                yield piece, number, _moved(piece, shift)

    def gather(self, kernels: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """``sum over j != i of K_ij v_j`` for each pixel i of the core.

        Parameters
        ----------
        kernels : torch.Tensor
            As `weigh_pairs` returns them.
        values : torch.Tensor
            Shape (plane, length).
        """
        sums = torch.zeros_like(values[:, self.core])
        for piece in self._pieces(self.core.start, self.core.stop):
            own = sums[:, _moved(piece, -self.margin)]
            for kernel, shift in zip(kernels, self.shifts, strict=True):
                ahead, behind = _moved(piece, shift), _moved(piece, -shift)
                own.addcmul_(kernel[piece], values[:, ahead]).addcmul_(kernel[behind], values[:, behind])
        return sums

    def _pieces(self, start: int, stop: int) -> Iterator[slice]:
        """Cut a range into pieces."""
        return (slice(first, min(first + self.piece, stop)) for first in range(start, stop, self.piece))


def _moved(piece: slice, shift: int) -> slice:
    return slice(piece.start + shift, piece.stop + shift)
