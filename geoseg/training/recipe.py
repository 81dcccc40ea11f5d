"""The recipe of a training run as a person writes it in YAML.

It checks keys and values and says what is wrong in one sentence; it opens no image and knows no torch.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, cast, get_args

from pydantic import BaseModel, Field, FiniteFloat, ValidationError, model_validator
from pydantic_core import ErrorDetails

from geoseg.catalog import locate_workflow
from geoseg.errors import InputNotFoundError, WorkflowError, nearest
from geoseg.files import given_path, plain_value
from geoseg.models.spec import ClassSpec, Scaling
from geoseg.models.watershed import Watershed
from geoseg.options import TrainOptions
from geoseg.options.documents import read_document
from geoseg.training.recipe_parts import (
    LAYERS,
    Augmentation,
    ClassEntry,
    Image,
    LabelLayer,
    Loss,
    ScalingEntry,
    Validation,
    WatershedEntry,
)

OBJECTS = "instance-segmentation"


class Recipe(TrainOptions):
    """Everything that decides a training run; the same recipe and libraries give the same weights on one thread."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$")
    """Name of the model: small letters, digits and dashes."""

    task: Literal["semantic-segmentation", "instance-segmentation"] = "semantic-segmentation"
    """A class for every pixel, or objects that are told apart."""

    title: str = ""
    """Title of the model card."""

    description: str = ""
    """What the model is for; stands in the card and the catalog."""

    license: str = "proprietary"
    """License of the weights, an SPDX identifier."""

    provenance: str = ""
    """Where imagery and labels are from; stands in the card."""

    failures: str = ""
    """Where the model is known to fail; stands in the card."""

    picture: Literal["imagery", "map"] = "imagery"
    """What the card's picture shows; map where the imagery may not be shown."""

    output: str = "catalogs/models"
    """Folder in which the catalog entry is written, as a folder of its name."""

    images: tuple[Image, ...]
    """Scenes to train on: files, or {band: file}."""

    bands: tuple[str, ...] = ()
    """Bands that the network sees, in this order (default: the scene's)."""

    common_names: dict[str, str] = Field(default_factory=dict)
    """Common names of bands, by which other imagery is matched: {B04: red}."""

    resolution: float | None = Field(default=None, gt=0)
    """Ground sampling distance in metres that scenes are resampled to (default: their own)."""

    scale: FiniteFloat | None = Field(default=None, gt=0)
    """Scale in place of the declared one: pixels are read as scale * stored + offset (default: as declared)."""

    offset: FiniteFloat | None = None
    """Offset in place of the declared one: pixels are read as scale * stored + offset (default: as declared)."""

    nodata: float | Literal["none"] | None = None
    """Value of pixels without data, in place of the declared one; none: every value is data (default: as
    declared)."""

    labels: tuple[LabelLayer, ...] = Field(min_length=1)
    """Layers of labels, later ones over earlier ones: raster, polygons, instances or teacher."""

    classes: tuple[ClassEntry, ...] = Field(min_length=1)
    """Classes that the network tells apart."""

    validation: Validation | None = None
    """What is held out of training, and chooses the best epoch; not needed with cross_validate."""

    architecture: str = "smp.Unet"
    """Network: a class of segmentation-models-pytorch, or torchvision.MaskRCNN for objects."""

    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    """Arguments of the network, such as {encoder_name: resnet18}."""

    encoder_weights: str | None = None
    """Weights of the encoder: imagenet, or a file (default: random)."""

    watershed: WatershedEntry | None = None
    """How objects come from scores of objects and boundaries."""

    edge: int = Field(default=2, ge=1, le=16)
    """Half the width in px of the boundary that a model of objects learns."""

    scaling: tuple[ScalingEntry, ...] = ()
    """How digital numbers become what the network sees: one entry for all bands, or one a band."""

    tile_size: int = Field(default=1024, ge=64)
    """Size in px of the tiles that the model maps with."""

    window: int = Field(default=128, ge=32)
    """Size in px of the windows that it trains on."""

    batch_size: int = Field(default=16, ge=1)
    """Windows per step."""

    decay_steps: int | None = Field(default=None, ge=1)
    """Steps after which the learning rate would be 0 (default: steps)."""

    steps_per_epoch: int = Field(default=100, ge=1)
    """Steps between two validations."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Largest learning rate of AdamW."""

    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay of AdamW."""

    warm_up: int = Field(default=50, ge=0)
    """Steps in which the learning rate rises from 0."""

    ema: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the moving average of weights, which is what is kept."""

    balance: float = Field(default=0.5, ge=0, le=1)
    """Share of windows around a pixel of a class that is drawn first; the others lie around any labelled pixel."""

    scene_balance: float = Field(default=0.0, ge=0, le=1)
    """0: a scene is as likely as it has labelled pixels; 1: all scenes are equally likely."""

    loss: Loss = Loss()
    """Terms of the loss and their weights."""

    logit_adjustment: dict[str, float] = Field(default_factory=dict)
    """Added to the score of a class after training, because the class is exp of it times as frequent where you map
    (Menon et al. 2021, section 4)."""

    augmentation: Augmentation = Augmentation()
    """How windows are varied."""

    seed: int = 0
    """Seed of all random numbers."""

    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Arithmetic of the network; auto: bfloat16 on CUDA devices that have it, float32 elsewhere."""

    tensorboard: bool = False
    """Write tensorboard/ beside log.csv."""

    threads: int = Field(default=1, ge=1)
    """Threads of the network on a CPU; with one the same recipe gives the same weights."""

    folder: str = Field(default=".", exclude=True)
    file: str = Field(default="", exclude=True)

    @model_validator(mode="after")
    def _distinct_classes(self) -> Recipe:
        for key in ("value", "name"):
            seen = [getattr(item, key) for item in self.classes]
            twice = sorted({str(item) for item in seen if seen.count(item) > 1})
            if twice:
                raise ValueError(f"class {key} {twice[0]} stands twice in 'classes'; every class needs its own")
        if len(self.classes) < 2 and self.task != OBJECTS:
            raise ValueError("a recipe for semantic segmentation needs two classes or more; add what else there is")
        if self.init is not None and self.encoder_weights is not None:
            raise ValueError("'init' gives all weights and 'encoder_weights' those of an encoder; name one of the two")
        if self.freeze_encoder and self.init is None and self.encoder_weights is None:
            raise ValueError("'freeze_encoder' would keep random weights; name 'encoder_weights' or 'init'")
        if self.validation is None and not self.cross_validate:
            raise ValueError("the recipe has no key 'validation'; add it, or cross_validate: true")
        both = [image for image in self.validation_images if image in self.images]
        if both:
            raise ValueError(
                f"{both[0]} stands in 'images' and in 'validation'; leave it out of one, or its score means nothing"
            )
        if self.logit_adjustment and self.finds_objects:
            raise ValueError("'logit_adjustment' shifts classes that exclude each other; for objects set 'watershed'")
        return self

    @property
    def validation_images(self) -> tuple[Image, ...]:
        """Images that are there for validation only."""
        return (self.validation.images or ()) if self.validation is not None else ()

    def changed(self, changes: dict[str, Any]) -> Recipe:
        """Return the recipe with other values of top-level keys, checked anew.

        Raises
        ------
        WorkflowError
            As in `parse_recipe`.
        """
        kept = {key: getattr(self, key) for key in self.model_fields_set}
        return parse_recipe({**kept, **changes})

    def shared(self) -> Recipe:
        """Return the recipe for processes that may work in another folder: its own folders are absolute."""
        data = Path(self.data)
        changes = {"folder": str(Path(self.folder).resolve()), "data": str(data.resolve() if data.exists() else data)}
        return self.model_copy(update=changes)

    @property
    def finds_objects(self) -> bool:
        """Whether objects are told apart."""
        return self.task == OBJECTS

    @property
    def watershed_settings(self) -> Watershed | None:
        """How objects come from scores; None for semantic segmentation."""
        if not self.finds_objects:
            return None
        return Watershed(**(self.watershed or WatershedEntry()).model_dump())

    @property
    def class_specs(self) -> tuple[ClassSpec, ...]:
        """The classes as a model's spec has them."""
        return tuple(ClassSpec(**item.model_dump()) for item in self.classes)

    @property
    def scalings(self) -> tuple[Scaling, ...]:
        """The scaling as a model's spec has it."""
        return tuple(Scaling(**item.model_dump()) for item in self.scaling)

    def find(self, path: str) -> Path | str:
        """Return the file of a path in the recipe: looked for beside the recipe, then in ``data``.

        What GDAL alone opens, such as ``/vsizip/data/a.zip/b.gpkg``, is text.

        Raises
        ------
        InputNotFoundError
            If it is in neither place.
        """
        file, beside, data = given_path(path), Path(self.folder), Path(self.data)
        if isinstance(file, str):
            return file
        places = (beside / file, data / file, beside / data / file, beside.parent / data / file)
        for place in places:
            if place.exists():
                return place.resolve()
        raise InputNotFoundError(
            f"{path} is neither beside the recipe nor in the data folder {self.data}; "
            "set `data` in the recipe (or --data) to the folder that holds it"
        )


def load_recipe(path: str | os.PathLike[str], **changes: Any) -> Recipe:
    """Read a recipe from YAML, or a shipped one by its bare name; ``changes`` replace top-level keys.

    Raises
    ------
    InputNotFoundError
        If there is no such file.
    WorkflowError
        If it is not YAML, has an unknown key, or a value that cannot be used.
    """
    path = locate_workflow(os.fspath(path)) or Path(path)
    if not path.exists():
        raise InputNotFoundError(f"recipe {path} does not exist; name a YAML file, as in workflows/")
    content = read_document(path, "workflows/train_land_cover.yaml")
    return parse_recipe({**content, **changes, "folder": str(path.parent), "file": path.name})


def parse_recipe(content: dict[str, Any]) -> Recipe:
    """Check a recipe's content.

    Raises
    ------
    WorkflowError
        In one sentence: the key, the value, and the nearest known key or the values allowed.
    """
    content = plain_value(content, "the recipe")
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
    if isinstance(content, tuple(LAYERS.values())):
        return cast(LabelLayer, content)
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
        known = [name.rstrip("_") for name in _keys(model, error["loc"][:-1]) if name not in ("folder", "file")]
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
