"""Between which numbers the pixels lie that a model is meant for: as its entry says, or as its scaling tells."""

from __future__ import annotations

from geoseg.models.spec import Band, ModelSpec, Scaling

SIGMAS = 3
"""Standard deviations around the mean that a z-score is taken to be for."""

Range = tuple[float, float]


def expected_ranges(spec: ModelSpec) -> tuple[Range | None, ...]:
    """Lowest and highest usual number of each band, in the network's order; None where nothing tells.

    ``scale`` by v is for ``(0, v)``, ``min-max`` and ``clip`` for their limits, ``z-score`` for the mean and three
    standard deviations around it, from 0 up where the mean is positive.
    """
    if spec.parts:
        return tuple(_of_parts(band, spec.parts) for band in spec.bands)
    told: tuple[Range | None, ...] = spec.value_range or tuple(map(_range_of, spec.scalings)) or (None,)
    return told * len(spec.bands) if len(told) == 1 else told


def _of_parts(band: Band, parts: tuple[ModelSpec, ...]) -> Range | None:
    """The range of a band in the first model that has it."""
    for part in parts:
        for own, told in zip(part.bands, expected_ranges(part), strict=True):
            if own.name == band.name or (own.common_name and own.common_name == band.common_name):
                return told
    return None


def _range_of(scaling: Scaling) -> Range | None:
    if scaling.type in ("min-max", "clip") and scaling.minimum is not None and scaling.maximum is not None:
        return _ordered(scaling.minimum, scaling.maximum)
    if scaling.type == "scale" and scaling.value:
        return _ordered(0.0, scaling.value)
    if scaling.type == "z-score" and scaling.mean is not None and scaling.stddev:
        low, high = _ordered(scaling.mean - SIGMAS * scaling.stddev, scaling.mean + SIGMAS * scaling.stddev)
        return (max(0.0, low) if scaling.mean > 0 else low), high
    return None


def _ordered(one: float, other: float) -> Range:
    return min(one, other), max(one, other)
