"""Options of a training that may differ from its recipe."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from geoseg.options.table import Options
from geoseg.options.values import PathText


class TrainOptions(Options):
    """What may be given beside a recipe: each key is an option of geoseg train and an argument of geoseg.train."""

    panel: ClassVar[str] = "Training"

    data: PathText = "data"
    """Folder of imagery and labels: where paths of a recipe are looked for that are not beside it."""

    output: PathText | None = None
    """Folder of the catalog entry to write (default: the recipe's output and name)."""

    export: PathText | None = None
    """Also write the model into one file, as geoseg models export does: .safetensors, .onnx or .pt2."""

    cross_validate: bool = False
    """Train once without each fold, evaluate each fold by the model that has not seen it, then train on everything."""

    folds: int | None = Field(default=None, ge=2)
    """Number of folds (default: one an image, at most 10; else 5)."""

    fold_by: str | None = None
    """What stays together in a fold: image, block (squares of ground), or the name of a column of the label polygons
    (default: image where several have labels, else block)."""

    workers: int | None = Field(default=None, ge=1)
    """Local worker processes that train folds side by side (default: one fold after another in this process)."""

    scheduler: str | None = None
    """Address of a Dask scheduler whose workers train the folds, such as tcp://host:8786."""

    init: str | None = None
    """Model of the catalog whose weights are the start."""

    freeze_encoder: bool = False
    """Keep the encoder as it was loaded, its statistics included, and train what follows it: for few labels."""

    steps: int = Field(default=1000, ge=1)
    """Steps of training."""

    early_stopping: int | None = Field(default=None, ge=1)
    """Stop after so many epochs without a better score (default: never); with cross_validate, take the
    steps with the best mean score of the folds."""

    device: str = "cpu"
    """Device of the network: auto, cpu, cuda, cuda:1 or mps."""

    loaders: int = Field(default=0, ge=0)
    """Processes that draw windows ahead of the network; they change no weight."""

    overwrite: bool = False
    """Train from the start, and replace the entry that is in the output folder."""
