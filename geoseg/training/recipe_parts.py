"""The parts of a recipe: classes, label layers, validation, loss, augmentation; each one checks what a person wrote.

It opens no image and knows no torch.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Image = str | dict[str, str]
"""One scene: a file, or one file for each band."""


class Strict(BaseModel):
    """Unknown keys are errors; values do not change after they are read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClassEntry(Strict):
    """One class: its value in the label rasters, its name and its colour."""

    value: int = Field(ge=0, le=254)
    name: str
    color: str = Field(default="#808080", pattern="^#[0-9a-fA-F]{6}$")
    description: str = ""


class ScalingEntry(Strict):
    """How digital numbers become what the network sees, for all bands or for one; as in the STAC MLM extension."""

    type: Literal["min-max", "z-score", "clip", "clip-min", "clip-max", "offset", "scale", "processing", "none"]
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    stddev: float | None = None
    value: float | None = None
    expression: str | None = None


class TeacherLabels(Strict):
    """Labels of another model: its most probable class where that is probable enough."""

    teacher: str
    weights: str | None = None
    trust_model: bool = False
    min_confidence: float = Field(default=0.0, ge=0, le=1)
    ignore: tuple[str, ...] = ()
    where: str | None = None


class RasterLabels(Strict):
    """Labels of a raster of class values, brought onto the image's grid by nearest neighbour; one file an image.

    Values in ``ignore`` are no label; ``values`` says which class a value stands for where it is not the class's own,
    such as ``{255: building}``.
    """

    raster: str | tuple[str | None, ...]
    ignore: tuple[int, ...] = ()
    values: dict[int, str | int] = Field(default_factory=dict)
    where: str | None = None


class PolygonLabels(Strict):
    """Labels of polygons: class names or values from a column, or one class for all.

    ``select`` keeps the features whose attributes have these values; class ``ignore`` takes labels away. For models
    that find objects each polygon is one, and what lies outside of all polygons is none.
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


class InstanceLabels(Strict):
    """Objects of a raster of their numbers, 0 = none, all of one class; one file an image.

    In a recipe for semantic segmentation their pixels get the class, and what is outside of them gets no label.
    """

    instances: str | tuple[str | None, ...]
    class_: str | int = Field(alias="class")
    where: str | None = None


LabelLayer = TeacherLabels | RasterLabels | PolygonLabels | InstanceLabels
LAYERS: dict[str, type[TeacherLabels] | type[RasterLabels] | type[PolygonLabels] | type[InstanceLabels]] = {
    "teacher": TeacherLabels,
    "raster": RasterLabels,
    "polygons": PolygonLabels,
    "instances": InstanceLabels,
}


class Validation(Strict):
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


TERMS = ("cross_entropy", "dice", "focal", "boundary")


class Loss(Strict):
    """Weights of the terms of the loss: those that are named, or cross entropy and Dice where none is.

    ``focal`` is the focal loss with the exponent ``focal_exponent``, ``boundary`` the boundary loss, which counts how
    far outside of its class a probability lies. A model that finds objects has the same terms for objects and for
    their boundaries, where ``edges`` weighs the latter.
    """

    cross_entropy: float = Field(default=1.0, ge=0)
    dice: float = Field(default=1.0, ge=0)
    focal: float = Field(default=0.0, ge=0)
    focal_exponent: float = Field(default=2.0, ge=0)
    boundary: float = Field(default=0.0, ge=0)
    edges: float = Field(default=1.0, ge=0)
    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    class_weights: dict[str, float] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _named_terms(cls, content: Any) -> Any:
        """Leave out what is not named when something is."""
        if isinstance(content, dict) and any(term in content for term in TERMS):
            return {**dict.fromkeys(TERMS, 0.0), **content}
        return content


class Augmentation(Strict):
    """How windows are varied.

    Geometry: ``flips``; ``rotations`` by quarter turns; ``angle``, degrees at most to either side; ``scale``, the
    smallest and the largest factor of the size of things. Light: digital numbers are multiplied by ``exp`` of normal
    numbers with the deviations ``gain`` and ``band_gain``, ``haze`` is added, ``contrast``, ``gamma`` and
    ``saturation`` vary by ``exp`` of normal numbers, and ``hue`` turns colours by degrees at most. Sensor: ``noise``,
    and ``blur``, the factor by which detail is lost at most, as if the image had been resampled from coarser pixels.
    """

    flips: bool = True
    rotations: bool = True
    angle: float = Field(default=0.0, ge=0, le=180)
    scale: tuple[float, float] = (1.0, 1.0)
    gain: float = Field(default=0.0, ge=0)
    band_gain: float = Field(default=0.0, ge=0)
    haze: float = Field(default=0.0, ge=0)
    contrast: float = Field(default=0.0, ge=0)
    gamma: float = Field(default=0.0, ge=0)
    saturation: float = Field(default=0.0, ge=0)
    hue: float = Field(default=0.0, ge=0, le=180)
    noise: float = Field(default=0.0, ge=0)
    blur: float = Field(default=1.0, ge=1, le=16)

    @model_validator(mode="after")
    def _ordered(self) -> Augmentation:
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(f"augmentation.scale is {self.scale}; give two factors above 0, the smaller one first")
        return self


class WatershedEntry(Strict):
    """How objects come from scores of objects and boundaries; as `geoseg.models.watershed.Watershed`."""

    threshold: float = 0.5
    seed: float = 0.5
    seed_pixels: int = 8
    min_pixels: int = 16
