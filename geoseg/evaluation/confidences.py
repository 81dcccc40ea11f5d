"""Scores of predicted objects: how sure a prediction is of each of them, from a table beside a raster.

It knows tables with the columns ``instance`` and ``score``, and numbers of objects.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyogrio

from geoseg.errors import EvaluationError, InputNotFoundError
from geoseg.evaluation.features import INSTANCE, SCORE
from geoseg.evaluation.inputs import EvaluationInput
from geoseg.evaluation.overlaps import Floats, Integers
from geoseg.files import given_path
from geoseg.options import EvaluationOptions

LAST = 0.0
"""Score of an object that has none among others that have."""

UNSCORED = "the prediction has no scores, so there is no average precision; read precision, recall and F1"
"""What a person should know who looks for it."""


def find_scores(
    side: EvaluationInput, numbers: Integers, settings: EvaluationOptions
) -> tuple[Floats | None, list[str]]:
    """Find the scores of the objects of a raster.

    They come from the table that the settings name; else from the features of the same run; else from a CSV file with
    the raster's name.

    Parameters
    ----------
    side : EvaluationInput
        The prediction.
    numbers : NDArray
        int64, shape (object,): numbers of the objects.
    settings : EvaluationOptions
        Options.

    Returns
    -------
    scores : NDArray or None
        float64, shape (object,); None where there are none.
    notes : list of str
        What a person should know.

    Raises
    ------
    InputNotFoundError
        The table that was named does not exist.
    EvaluationError
        It has not one score for every object; of features, which may lack small objects, those come last.
    """
    column = settings.score_column or SCORE
    named = settings.scores is not None
    path = given_path(settings.scores) if settings.scores is not None else _beside(side)
    if path is None:
        return None, [UNSCORED]
    if isinstance(path, Path) and not path.is_file():
        raise InputNotFoundError(f"the scores '{path}' do not exist; correct the path")
    table = _read(path)
    if not {INSTANCE, column} <= set(table.columns):
        if not named:
            return None, [UNSCORED]
        raise EvaluationError(f"the scores '{path}' lack one of the columns '{INSTANCE}' and '{column}'; add it")
    table = table[[INSTANCE, column]].apply(pd.to_numeric, errors="coerce").dropna()
    known = table.groupby(INSTANCE)[column].max()
    missing = numbers[~np.isin(numbers, known.index.to_numpy())]
    if len(missing) and (named or Path(path).suffix.lower() == ".csv"):
        raise EvaluationError(
            f"{len(missing)} of {len(numbers)} objects have no score in '{path}', the first is number {missing[0]}; "
            "give a table with one row for each object"
        )
    notes = [f"{len(missing):,} objects have no score in '{path}' and come last"] if len(missing) else []
    return known.reindex(numbers, fill_value=LAST).to_numpy(np.float64), notes


def _beside(side: EvaluationInput) -> Path | None:
    """The file in which scores of a raster's objects are looked for; None where there is none."""
    if isinstance(side.layer, Path):
        return side.layer
    beside = Path(side.path).expanduser().with_suffix(".csv")
    return beside if beside.is_file() else None


def _read(path: Path | str) -> pd.DataFrame:
    """A table without its geometry."""
    try:
        if isinstance(path, Path) and path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        if isinstance(path, Path) and path.suffix.lower() == ".csv":
            return pd.read_csv(path)
        named = [name for name, kind in pyogrio.list_layers(path) if kind is not None]  # styles are no layer
        table: pd.DataFrame = pyogrio.read_dataframe(path, layer=named[0] if named else None, read_geometry=False)
        return table
    except (pyogrio.errors.DataSourceError, ValueError, OSError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise EvaluationError(f"the scores '{path}' are not a table ({reason}); give a CSV or vector file") from error
