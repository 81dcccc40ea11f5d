"""Whether the numbers of imagery are those that a model is meant for: looked at before anything is mapped."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from geoseg.errors import GeosegWarning, RasterError
from geoseg.grid import Window
from geoseg.models.spec import ModelSpec
from geoseg.models.value_ranges import expected_ranges
from geoseg.raster import Raster
from geoseg.raster.values import Values, find_doubt, sample_values


def check_values(
    raster: Raster, spec: ModelSpec, *, cores: Sequence[Window] | None = None, is_given: bool = False
) -> Values:
    """Look at a few windows of imagery, and compare them with what a model is meant for.

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
    RasterError
        The numbers cannot be meant for the model.

    Warns
    -----
    GeosegWarning
        They may not be.
    """
    values = sample_values(raster, expected_ranges(spec), cores)
    doubt = find_doubt(values, raster, spec.name, is_given=is_given)
    if doubt is None:
        return values
    if doubt.is_certain:
        raise RasterError(doubt.sentence)
    warnings.warn(doubt.sentence, GeosegWarning, stacklevel=3)
    return replace(values, note=doubt.sentence)
