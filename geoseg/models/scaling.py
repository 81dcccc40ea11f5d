"""From digital numbers to what the network sees, on the model's device.

Pixels travel to the device in their file's dtype and are scaled there with the model's own numbers, never with
a statistic of the tile. It knows the formulas of the MLM extension, nothing of networks.

Strategy. A formula is evaluated on tensors. Integers of one or two bytes have few values, so on a CPU the formula is
evaluated once for each of them, and every pixel is looked up: the same bits, however long the formula is, written
straight into the order in memory that the network wants.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numba import njit
from numpy.typing import NDArray

from geoseg.errors import CatalogError, ModelError
from geoseg.models.expression import Evaluator, compile_expression
from geoseg.models.spec import SCALING_PARAMETERS, ModelSpec, Scaling
from geoseg.models.streams import to_device


class Scaler:
    """Turns pixels and mask into the network's input.

    Where every band's scaling is a line ``a x + b`` (min-max, z-score, offset, scale, none), all bands are scaled
    at once: ``x * a + b``. Other scalings are applied band by band, or to all bands when there is only one.

    Parameters
    ----------
    spec : ModelSpec
        Its bands and scalings.
    device : torch.device
        Where to scale.
    memory_format : torch.memory_format
        Of the result.

    Raises
    ------
    CatalogError
        When a scaling lacks a parameter, or their number fits neither one nor the bands.
    """

    def __init__(
        self,
        spec: ModelSpec,
        device: torch.device,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> None:
        if len(spec.scalings) not in (0, 1, len(spec.bands)):
            raise CatalogError(
                f"model '{spec.name}' has {len(spec.scalings)} scalings for {len(spec.bands)} bands; "
                "give one for all, or one a band."
            )
        self._name, self._bands = spec.name, spec.band_names
        self._device, self._memory_format = device, memory_format
        self._tables: dict[np.dtype[Any], NDArray[np.float32]] = {}
        lines = [line_of(scaling) for scaling in spec.scalings]
        self._curves: list[Evaluator] = []
        self._line: tuple[torch.Tensor, torch.Tensor] | None = None
        if any(line is None for line in lines):
            self._curves = [curve_of(scaling) for scaling in spec.scalings]
        elif any(line != (1.0, 0.0) for line in lines):
            factors, offsets = torch.tensor(lines, dtype=torch.float32, device=device).T
            self._line = factors.reshape(1, -1, 1, 1), offsets.reshape(1, -1, 1, 1)

    def __call__(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """Scale pixels (n, band, y, x) of any real dtype under mask (n, y, x); float32 of the same shape.

        Raises
        ------
        ModelError
            When the shapes do not fit the model.
        """
        self._check(pixels, mask)
        if self._device.type == "cpu" and pixels.dtype.kind in "bui" and pixels.dtype.itemsize <= 2:
            return self._look_up(pixels, mask)
        values = self._scale(to_device(_tensor(pixels), self._device))
        if not mask.all():
            invalid = to_device(torch.from_numpy(~mask), self._device)[:, None]
            values.masked_fill_(invalid, 0.0)
        return values.contiguous(memory_format=self._memory_format)

    def _scale(self, pixels: torch.Tensor) -> torch.Tensor:
        """Evaluate the formulas on pixels (n, band, y, x), which are left as they are."""
        values = pixels.to(torch.float32, copy=True)
        if self._line is not None:
            values.mul_(self._line[0]).add_(self._line[1])
        elif len(self._curves) == 1:
            values = self._curves[0](values)
        else:
            for band, curve in enumerate(self._curves):
                values[:, band] = curve(values[:, band])
        return values

    def _look_up(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """Scale pixels of one or two bytes through a table of all their values."""
        pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
        if pixels.dtype not in self._tables:
            self._tables[pixels.dtype] = self._table(pixels.dtype)
        result = torch.empty(pixels.shape, dtype=torch.float32, memory_format=self._memory_format)
        codes = pixels.view(np.uint8 if pixels.dtype.itemsize == 1 else np.uint16)
        _gather(self._tables[pixels.dtype], codes, np.ascontiguousarray(mask), result.numpy())
        return result

    def _table(self, dtype: np.dtype[Any]) -> NDArray[np.float32]:
        """What becomes of every value: shape (band, value), the values in the order of their bits read as unsigned."""
        codes = np.arange(1 << 8 * dtype.itemsize, dtype=np.uint8 if dtype.itemsize == 1 else np.uint16)
        values = codes if dtype.kind == "b" else codes.view(dtype)
        bands = torch.from_numpy(values).expand(1, len(self._bands), 1, len(codes))
        table: NDArray[np.float32] = self._scale(bands)[0, :, 0].numpy()
        return table

    def _check(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> None:
        if pixels.ndim != 4 or pixels.shape[1] != len(self._bands):
            raise ModelError(
                f"model '{self._name}' takes pixels of shape (n, {len(self._bands)}, y, x) with the bands "
                f"{', '.join(self._bands)}, not {pixels.shape}; choose the bands by name or position."
            )
        if mask.shape != (pixels.shape[0], *pixels.shape[2:]):
            raise ModelError(
                f"a mask of shape {mask.shape} does not fit pixels of shape {pixels.shape}; give it as (n, y, x)."
            )
        if pixels.dtype.kind not in "buif":
            raise ModelError(f"pixels of type {pixels.dtype} cannot be scaled; use integers or floating point numbers.")


def _tensor(pixels: NDArray[Any]) -> torch.Tensor:
    """The same numbers as a tensor; no copy when torch can use the memory as it is."""
    pixels = np.ascontiguousarray(pixels, dtype=pixels.dtype.newbyteorder("="))
    return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())


@njit(cache=True, nogil=True)
def _gather(
    table: NDArray[np.float32], codes: NDArray[Any], mask: NDArray[np.bool_], result: NDArray[np.float32]
) -> None:
    """``result[n, band, y, x] = table[band, codes[n, band, y, x]]`` where the mask (n, y, x) is True, else 0."""
    count, bands, height, width = codes.shape
    for n in range(count):
        for y in range(height):
            for band in range(bands):
                line, values, found, valid = result[n, band, y], table[band], codes[n, band, y], mask[n, y]
                for x in range(width):
                    line[x] = values[found[x]] if valid[x] else np.float32(0)


def line_of(scaling: Scaling) -> tuple[float, float] | None:
    """Slope and intercept (a, b) of a scaling that is ``a x + b``; None for any other.

    Raises
    ------
    CatalogError
        When a parameter is missing, or the slope is not finite.
    """
    _check_parameters(scaling)
    if scaling.type == "none":
        return 1.0, 0.0
    if scaling.type == "offset":
        return 1.0, -_number(scaling.value)
    origins = {"min-max": scaling.minimum, "z-score": scaling.mean, "scale": 0.0}
    if scaling.type not in origins:
        return None
    origin = _number(origins[scaling.type])
    spans = {
        "min-max": _number(scaling.maximum) - origin,
        "z-score": _number(scaling.stddev),
        "scale": _number(scaling.value),
    }
    span = spans[scaling.type]
    if span == 0:
        raise CatalogError(f"the scaling {scaling} divides by zero; give it different numbers.")
    return 1.0 / span, -origin / span


def curve_of(scaling: Scaling) -> Evaluator:
    """Any scaling as a function of float32 tensors."""
    line = line_of(scaling)
    if line is not None:
        factor, offset = line
        return lambda values: values * factor + offset
    if scaling.type == "processing":
        return compile_expression(scaling.expression or "")
    lowest = None if scaling.type == "clip-max" else scaling.minimum
    highest = None if scaling.type == "clip-min" else scaling.maximum
    return lambda values: values.clamp(lowest, highest)


def _check_parameters(scaling: Scaling) -> None:
    if scaling.type not in SCALING_PARAMETERS:
        raise CatalogError(f"'{scaling.type}' is not a type of scaling; use one of {', '.join(SCALING_PARAMETERS)}.")
    for name in SCALING_PARAMETERS[scaling.type]:
        if getattr(scaling, name) is None:
            raise CatalogError(f"a scaling of type '{scaling.type}' needs '{name}'; add it to the model's entry.")


def _number(value: float | None) -> float:
    """A number where `_check_parameters` has seen one; 0 where the formula does not use it."""
    return 0.0 if value is None else float(value)
