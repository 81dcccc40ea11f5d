"""Whether numbers and pixels of imagery are those that a model is meant for: looked at before anything is mapped."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError

from geoseg.errors import BandError, GeosegWarning, RasterError
from geoseg.grid import Window
from geoseg.models.spec import ModelSpec
from geoseg.models.value_ranges import expected_ranges
from geoseg.raster import Raster, ground_resolution
from geoseg.raster.handles import patiently
from geoseg.raster.values import Values, find_doubt, sample_values

MAGNIFIED = 2.0
"""How many times coarser than the grid it is read on imagery may be without a word; bands of 20 m beside 10 m are."""

SHOWN = 3
"""Bands whose numbers are told."""

LOOKED_AT = 64
"""Files whose pixels are measured."""


def check_values(
    raster: Raster, spec: ModelSpec, *, cores: Sequence[Window] | None = None, is_given: bool = False
) -> Values:
    """Look at pixels, and at a few windows, of imagery, and compare them with what a model is meant for.

    Parameters
    ----------
    raster : Raster
        As the model will see it.
    spec : ModelSpec
        The model.
    cores : sequence of Window, optional
        Where to look; everywhere when None.
    is_given : bool
        Whether a person has said scale or offset; then nothing is refused.

    Returns
    -------
    Values
        What was found, with what is doubtful about it.

    Raises
    ------
    BandError
        The raster has more or fewer bands than the model.
    RasterError
        The numbers cannot be meant for the model.

    Warns
    -----
    GeosegWarning
        They may not be, or the imagery is much coarser than the model's resolution.
    """
    if len(raster.bands) != len(spec.bands):
        raise BandError(
            f"{len(raster.bands)} bands are chosen ({', '.join(map(str, raster.bands))}) and model {spec.name} needs "
            f"{len(spec.bands)} ({', '.join(spec.band_names)}); name as many, in that order."
        )
    values = sample_values(raster, expected_ranges(spec), cores)
    doubt = find_doubt(values, raster, spec.name, is_given=is_given)
    if doubt is not None and doubt.is_certain:
        raise RasterError(doubt.sentence)
    sentences = [
        *_coarse(raster, spec.name),
        *_palette(raster, spec.name),
        *([] if doubt is None else [doubt.sentence]),
    ]
    if doubt is None:  # numbers of another kind are unlike the training data anyway
        sentences += unlike(values, spec)
    for sentence in sentences:
        warnings.warn(sentence, GeosegWarning, stacklevel=3)
    return replace(values, note=" ".join(sentences))


def unlike(values: Values, spec: ModelSpec) -> list[str]:
    """What there is to say of imagery that is darker or brighter than what the model was trained on.

    It is where, in half of the bands or more, the median lies beyond 96 % of the pixels of training.
    """
    pairs = list(zip(values.bands, spec.seen_values, strict=False))
    beyond = [(band, seen) for band, seen in pairs if not seen[0] <= band.middle <= seen[2]]
    if not pairs or 2 * len(beyond) < len(pairs):
        return []
    shown = ", ".join(
        f"{band.name} has a median of {band.middle:.4g} where training had {seen[1]:.4g} (96 % of its pixels from "
        f"{seen[0]:.4g} to {seen[2]:.4g})"
        for band, seen in beyond[:SHOWN]
    )
    more = f", and {len(beyond) - SHOWN} more bands are alike" if len(beyond) > SHOWN else ""
    return [
        f"the imagery is unlike the training data of model '{spec.name}': {shown}{more}; expect less of the map, and "
        "look at it before you use it."
    ]


def _palette(raster: Raster, name: str) -> list[str]:
    """What there is to say of one band whose numbers are those of a colour table."""
    source = raster.sources[0]
    if len(raster.bands) > 1 or not source.is_file:
        return []
    try:
        color = patiently(source.path, lambda opened: opened.colorinterp[source.indexes[0] - 1])
    except RasterioError:  # for the block to say that needs the file
        return []
    if color is not ColorInterp.palette:
        return []
    return [
        f"'{source.given}' has a colour table, and model '{name}' is given the numbers of its colours; if it looks at "
        "brightness, write the colours as bands first, with gdal_translate -expand rgb or -expand gray."
    ]


def _coarse(raster: Raster, name: str) -> list[str]:
    """What there is to say of imagery whose finest pixels are much larger than those that the model sees."""
    resampled = [piece.source.geobox for piece in raster.pieces if piece.resampled is not None]
    if raster.is_plain or raster.crs is None or not resampled or len(resampled) < len(raster.pieces):
        return []
    finest = min(min(ground_resolution(geobox)) for geobox in resampled[:: -(-len(resampled) // LOOKED_AT)])
    seen = max(raster.resolution)
    if finest <= MAGNIFIED * seen:
        return []
    times = (finest / seen) ** 2
    return [
        f"imagery of {finest:.3g} m is read at {seen:.3g} m for model '{name}', {times:,.0f} times as many pixels "
        f"without the detail that it looks for; give finer imagery, a model of about {finest:.3g} m, or --resolution "
        f"{finest:.3g} to map it as it is."
    ]
