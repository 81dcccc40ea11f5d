"""The recipe of a training run as a person writes it in YAML.

It checks keys and values and says what is wrong in one sentence; it opens no image and knows no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from geoseg.errors import InputNotFoundError, WorkflowError, nearest
from geoseg.models.spec import ClassSpec, Scaling

Image = str | dict[str, str]
"""One scene: a file, or one file for each band."""


class _Strict(BaseModel):
    """Unknown keys are errors; values do not change after they are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassEntry(_Strict):
    """One class: its value in the label rasters, its name and its colour."""

    value: int = Field(ge=0, le=254)
    name: str
    color: str = Field(default="#808080", pattern="^#[0-9a-fA-F]{6}$")
    description: str = ""


class ScalingEntry(_Strict):
    """How digital numbers become what the network sees, for all bands or for one; as in the STAC MLM extension."""

    type: Literal["min-max", "z-score", "clip", "clip-min", "clip-max", "offset", "scale", "processing", "none"]
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    stddev: float | None = None
    value: float | None = None
    expression: str | None = None


class TeacherLabels(_Strict):
    """Labels of another model: its most probable class where that is probable enough."""

    teacher: str
    weights: str | None = None
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    ignore: tuple[str, ...] = ()
    where: str | None = None


class RasterLabels(_Strict):
    """Labels of a raster of class values, brought onto the image's grid by nearest neighbour; one file an image."""

    raster: str | tuple[str, ...]
    where: str | None = None


class PolygonLabels(_Strict):
    """Labels of polygons: class names or values from a column, or one class for all.

    ``select`` keeps the features whose attributes have these values; class ``ignore`` takes labels away.
    """

    polygons: str
    layer: str | None = None
    column: str | None = None
    class_: str | int | None = Field(default=None, alias="class")
    select: dict[str, str | int] = Field(default_factory=dict)
    where: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> PolygonLabels:
        if (self.column is None) == (self.class_ is None):
            raise ValueError("polygons take their class from 'column' or from 'class'; name exactly one of the two")
        return self


LabelLayer = TeacherLabels | RasterLabels | PolygonLabels
LAYERS: dict[str, type[TeacherLabels] | type[RasterLabels] | type[PolygonLabels]] = {
    "teacher": TeacherLabels,
    "raster": RasterLabels,
    "polygons": PolygonLabels,
}


class Validation(_Strict):
    """Where the network is judged and never trained; exactly one key.

    A fraction of the image at one side, ``bounds`` (left, bottom, right, top; CRS of the image), a ``region`` file
    of polygons, or other ``images`` (label rasters then list one file for each image, training images first).
    """

    east: float | None = Field(default=None, gt=0, lt=1)
    west: float | None = Field(default=None, gt=0, lt=1)
    north: float | None = Field(default=None, gt=0, lt=1)
    south: float | None = Field(default=None, gt=0, lt=1)
    bounds: tuple[float, float, float, float] | None = None
    region: str | None = None
    images: tuple[Image, ...] | None = None

    @model_validator(mode="after")
    def _one_key(self) -> Validation:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"'validation' takes exactly one of {', '.join(type(self).model_fields)}")
        return self


class Loss(_Strict):
    """Weights of the terms of the loss."""

    cross_entropy: float = Field(default=1.0, ge=0)
    dice: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: dict[str, float] = Field(default_factory=dict)


class Augmentation(_Strict):
    """How windows are varied; digital numbers are multiplied by ``exp`` of normal numbers with these deviations."""

    flips: bool = True
    rotations: bool = True
    gain: float = Field(default=0.0, ge=0)
    band_gain: float = Field(default=0.0, ge=0)
    haze: float = Field(default=0.0, ge=0)
    noise: float = Field(default=0.0, ge=0)


class Recipe(_Strict):
    """Everything that decides a training run; the same recipe and libraries give the same weights on one thread."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    title: str = ""
    description: str = ""
    license: str = "proprietary"
    provenance: str = ""
    data: str = "data"
    output: str = "catalogs/models"
    images: tuple[Image, ...]
    bands: tuple[str, ...] = ()
    common_names: dict[str, str] = Field(default_factory=dict)
    resolution: float | None = Field(default=None, gt=0)
    labels: tuple[LabelLayer, ...] = Field(min_length=1)
    classes: tuple[ClassEntry, ...] = Field(min_length=2)
    validation: Validation
    architecture: str = "smp.Unet"
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    init: str | None = None
    scaling: tuple[ScalingEntry, ...] = ()
    tile_size: int = Field(default=1024, ge=64)
    window: int = Field(default=128, ge=32)
    batch_size: int = Field(default=16, ge=1)
    steps: int = Field(default=1000, ge=1)
    steps_per_epoch: int = Field(default=100, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warm_up: int = Field(default=50, ge=0)
    ema: float = Field(default=0.99, ge=0, lt=1)
    balance: float = Field(default=0.5, ge=0, le=1)
    loss: Loss = Loss()
    augmentation: Augmentation = Augmentation()
    early_stopping: int | None = Field(default=None, ge=1)
    seed: int = 0
    device: str = "cpu"
    threads: int = Field(default=1, ge=1)
    folder: str = Field(default=".", exclude=True)

    @model_validator(mode="after")
    def _distinct_classes(self) -> Recipe:
        for key in ("value", "name"):
            seen = [getattr(item, key) for item in self.classes]
            twice = sorted({str(item) for item in seen if seen.count(item) > 1})
            if twice:
                raise ValueError(f"class {key} {twice[0]} stands twice in 'classes'; every class needs its own")
        return self

    @property
    def class_specs(self) -> tuple[ClassSpec, ...]:
        """The classes as a model's spec has them."""
        return tuple(ClassSpec(**item.model_dump()) for item in self.classes)

    @property
    def scalings(self) -> tuple[Scaling, ...]:
        """The scaling as a model's spec has it."""
        return tuple(Scaling(**item.model_dump()) for item in self.scaling)

    def find(self, path: str) -> Path:
        """Return the file of a path in the recipe: looked for beside the recipe, then in ``data``.

        Raises
        ------
        InputNotFoundError
            If it is in neither place.
        """
        beside, data = Path(self.folder), Path(self.data)
        places = (beside / path, data / path, beside / data / path, beside.parent / data / path)
        for place in places:
            if place.exists():
                return place.resolve()
        raise InputNotFoundError(
            f"{path} is neither beside the recipe nor in the data folder {self.data}; "
            "set `data` in the recipe (or --data) to the folder that holds it"
        )


def load_recipe(path: str | Path, **changes: Any) -> Recipe:
    """Read a recipe from YAML; ``changes`` replace top-level keys.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    WorkflowError
        If it is not YAML, has an unknown key, or a value that cannot be used.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputNotFoundError(f"recipe {path} does not exist; name a YAML file, as in workflows/") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WorkflowError(f"recipe {path} is not YAML ({' '.join(str(error).split())}); correct it there") from error
    if not isinstance(content, dict):
        raise WorkflowError(f"recipe {path} holds a {type(content).__name__}; write `key: value` lines")
    return parse_recipe({**content, **changes, "folder": str(path.parent)})


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """Check a recipe's content.

    Raises
    ------
    WorkflowError
        In one sentence: the key, the value, and the nearest known key or the values allowed.
    """
    content = {**content, "labels": [_layer(item) for item in _list(content.get("labels"))]}
    if isinstance(content.get("images"), str | dict):
        content["images"] = [content["images"]]
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise WorkflowError(_sentence(error.errors()[0], Recipe)) from error


def _list(value: object) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def _layer(content: Any) -> LabelLayer:
    """Read one label layer; its kind is the key it has."""
    if isinstance(content, TeacherLabels | RasterLabels | PolygonLabels):
        return content
    kinds = [kind for kind in LAYERS if isinstance(content, dict) and kind in content]
    if len(kinds) != 1:
        raise WorkflowError(f"label layer {content!r} needs exactly one of the keys {', '.join(LAYERS)}")
    model = LAYERS[kinds[0]]
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise WorkflowError(_sentence(error.errors()[0], model, "labels")) from error


def _sentence(error: ErrorDetails, model: type[BaseModel], *before: str) -> str:
    """Say one pydantic error in one sentence."""
    where = ".".join([*before, *(str(part) for part in error["loc"])])
    if error["type"] == "extra_forbidden":
        known = [name.rstrip("_") for name in _keys(model, error["loc"][:-1]) if name != "folder"]
        return f"unknown key '{where}' in the recipe; {nearest(str(error['loc'][-1]), known)}"
    if error["type"] == "missing":
        return f"the recipe has no key '{where}'; add it"
    message = error["msg"].removeprefix("Value error, ")
    return message if error["type"] == "value_error" else f"recipe key '{where}' is {error['input']!r}: {message}"


def _keys(model: type[BaseModel], path: Iterable[str | int]) -> list[str]:
    """Known keys of the entry that ``path`` leads to."""
    for part in path:
        if isinstance(part, int):
            continue
        annotation = model.model_fields[part].annotation
        inner = [item for item in (annotation, *get_args(annotation)) if isinstance(item, type)]
        found = [item for item in inner if issubclass(item, BaseModel)]
        if not found:
            return []
        model = found[0]
    return list(model.model_fields)
