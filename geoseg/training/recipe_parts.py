"""The parts of a recipe: classes, label layers, validation, loss, augmentation; each one checks what a person wrote.

It opens no image and knows no torch.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from geoseg.options import Options

Image = str | dict[str, str]
"""One scene: a file, or one file for each band."""


class ClassEntry(Options):
    """One class: its value in the label rasters, its name and its colour."""

    value: int = Field(ge=0, le=254)
    """Value in label rasters and maps."""

    name: str
    """Name."""

    color: str = Field(default="#808080", pattern="^#[0-9a-fA-F]{6}$")
    """Colour in maps, #rrggbb."""

    description: str = ""
    """What belongs to it."""


class ScalingEntry(Options):
    """How digital numbers become what the network sees, for all bands or for one; as in the STAC MLM extension."""

    type: Literal["min-max", "z-score", "clip", "clip-min", "clip-max", "offset", "scale", "processing", "none"]
    """Formula, as in the STAC MLM extension."""

    minimum: float | None = None
    """Smallest value, of min-max and clip."""

    maximum: float | None = None
    """Largest value, of min-max and clip."""

    mean: float | None = None
    """Mean, of z-score."""

    stddev: float | None = None
    """Standard deviation, of z-score."""

    value: float | None = None
    """Number, of offset and scale."""

    expression: str | None = None
    """Expression of A, the digital number, of processing."""


class TeacherLabels(Options):
    """Labels of another model: its most probable class where that is probable enough."""

    teacher: str
    """Model of the catalog whose most probable class is the label."""

    weights: str | None = None
    """Weights file in place of the catalog's."""

    trust_model: bool = False
    """Open TorchScript, which can read and write files: only from authors that you trust."""

    min_confidence: float = Field(default=0.0, ge=0, le=1)
    """Probability below which there is no label."""

    ignore: tuple[str, ...] = ()
    """Classes of the teacher that are no label."""

    where: str | None = None
    """Condition on bands that narrows the layer, such as B11 > 150."""


class RasterLabels(Options):
    """Labels of a raster of class values, brought onto the image's grid by nearest neighbour; one file an image.

    Values in ``ignore`` are no label; ``values`` says which class a value stands for where it is not the class's own,
    such as ``{255: building}``.
    """

    raster: str | tuple[str | None, ...]
    """Label raster, or a list with one file an image."""

    ignore: tuple[int, ...] = ()
    """Values that are no label."""

    values: dict[int, str | int] = Field(default_factory=dict)
    """Class of a value that is not the class's own, such as {255: building}."""

    where: str | None = None
    """Condition on bands that narrows the layer, such as B11 > 150."""


class PolygonLabels(Options):
    """Labels of polygons: class names or values from a column, or one class for all.

    ``select`` keeps the features whose attributes have these values; class ``ignore`` takes labels away. For models
    that find objects each polygon is one, and what lies outside of all polygons is none.
    """

    polygons: str
    """Vector file of polygons."""

    layer: str | None = None
    """Layer of the file (default: the first)."""

    column: str | None = None
    """Column with names or values of classes."""

    class_: str | int | None = Field(default=None, alias="class")
    """Class of all polygons; ignore takes labels away."""

    select: dict[str, str | int] = Field(default_factory=dict)
    """Keep the features whose attributes have these values."""

    where: str | None = None
    """Condition on bands that narrows the layer, such as B11 > 150."""

    @model_validator(mode="after")
    def _one_source(self) -> PolygonLabels:
        if (self.column is None) == (self.class_ is None):
            raise ValueError("polygons take their class from 'column' or from 'class'; name exactly one of the two")
        return self


class InstanceLabels(Options):
    """Objects of a raster of their numbers, 0 = none, all of one class; one file an image.

    In a recipe for semantic segmentation their pixels get the class, and what is outside of them gets no label.
    """

    instances: str | tuple[str | None, ...]
    """Raster of object numbers, 0 = none, or a list with one file an image."""

    class_: str | int = Field(alias="class")
    """Class of all objects."""

    where: str | None = None
    """Condition on bands that narrows the layer, such as B11 > 150."""


LabelLayer = TeacherLabels | RasterLabels | PolygonLabels | InstanceLabels
LAYERS: dict[str, type[TeacherLabels] | type[RasterLabels] | type[PolygonLabels] | type[InstanceLabels]] = {
    "teacher": TeacherLabels,
    "raster": RasterLabels,
    "polygons": PolygonLabels,
    "instances": InstanceLabels,
}


class Validation(Options):
    """Where the network is evaluated and never trained; exactly one key.

    A fraction of the image at one side, ``bounds`` (left, bottom, right, top; CRS of the image), a ``region`` file
    of polygons, or other ``images`` (label rasters then list one file for each image, training images first).
    """

    east: float | None = Field(default=None, gt=0, lt=1)
    """Share of each image at its east."""

    west: float | None = Field(default=None, gt=0, lt=1)
    """Share of each image at its west."""

    north: float | None = Field(default=None, gt=0, lt=1)
    """Share of each image at its north."""

    south: float | None = Field(default=None, gt=0, lt=1)
    """Share of each image at its south."""

    bounds: tuple[float, float, float, float] | None = None
    """Left, bottom, right, top in the CRS of the image."""

    region: str | None = None
    """Vector file of polygons."""

    images: tuple[Image, ...] | None = None
    """Other scenes; lists of label files then have training images first."""

    @model_validator(mode="after")
    def _one_key(self) -> Validation:
        if len(self.model_fields_set) != 1:
            raise ValueError(f"'validation' takes exactly one of {', '.join(type(self).model_fields)}")
        return self


TERMS = ("cross_entropy", "dice", "focal", "boundary")


class Loss(Options):
    """Weights of the terms of the loss: those that are named, or cross entropy and Dice where none is.

    ``focal`` is the focal loss with the exponent ``focal_exponent``, ``boundary`` the boundary loss, which counts how
    far outside of its class a probability lies. A model that finds objects has the same terms for objects and for
    their boundaries, where ``edges`` weighs the latter.
    """

    cross_entropy: float = Field(default=1.0, ge=0)
    """Weight of the cross entropy."""

    dice: float = Field(default=1.0, ge=0)
    """Weight of the Dice loss."""

    focal: float = Field(default=0.0, ge=0)
    """Weight of the focal loss."""

    focal_exponent: float = Field(default=2.0, ge=0)
    """Exponent of the focal loss."""

    boundary: float = Field(default=0.0, ge=0)
    """Weight of the boundary loss, which counts how far outside of its class a probability lies."""

    edges: float = Field(default=1.0, ge=0)
    """Weight of the boundaries of objects."""

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Probability that is taken from the true class and shared by all."""

    class_weights: dict[str, float] = Field(default_factory=dict)
    """Weights of classes by name, 1 unless given."""

    @model_validator(mode="before")
    @classmethod
    def _named_terms(cls, content: Any) -> Any:
        """Leave out what is not named when something is."""
        if isinstance(content, dict) and any(term in content for term in TERMS):
            return {**dict.fromkeys(TERMS, 0.0), **content}
        return content


class Augmentation(Options):
    """How windows are varied.

    Geometry: ``flips``; ``rotations`` by quarter turns; ``angle``, degrees at most to either side; ``scale``, the
    smallest and the largest factor of the size of things. Light: digital numbers are multiplied by ``exp`` of normal
    numbers with the deviations ``gain`` and ``band_gain``, ``haze`` is added, ``contrast``, ``gamma`` and
    ``saturation`` vary by ``exp`` of normal numbers, and ``hue`` turns colours by degrees at most. Sensor: ``noise``,
    and ``blur``, the factor by which detail is lost at most, as if the image had been resampled from coarser pixels.
    """

    flips: bool = True
    """Flip left to right and top to bottom."""

    rotations: bool = True
    """Rotate by quarter turns."""

    angle: float = Field(default=0.0, ge=0, le=180)
    """Rotate by at most so many degrees to either side."""

    scale: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest factor of the size of things."""

    gain: float = Field(default=0.0, ge=0)
    """Deviation of the logarithm of a factor of all bands."""

    band_gain: float = Field(default=0.0, ge=0)
    """Deviation of the logarithm of a factor of each band."""

    haze: float = Field(default=0.0, ge=0)
    """Deviation of what is added, as haze does."""

    contrast: float = Field(default=0.0, ge=0)
    """Deviation of the logarithm of contrast."""

    gamma: float = Field(default=0.0, ge=0)
    """Deviation of the logarithm of gamma."""

    saturation: float = Field(default=0.0, ge=0)
    """Deviation of the logarithm of saturation."""

    hue: float = Field(default=0.0, ge=0, le=180)
    """Turn colours by at most so many degrees."""

    noise: float = Field(default=0.0, ge=0)
    """Deviation of noise of the sensor."""

    blur: float = Field(default=1.0, ge=1, le=16)
    """Largest factor by which detail is lost, as if resampled from coarser pixels."""

    @model_validator(mode="after")
    def _ordered(self) -> Augmentation:
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(f"augmentation.scale is {self.scale}; give two factors above 0, the smaller one first")
        return self


class WatershedEntry(Options):
    """How objects come from scores of objects and boundaries; as `geoseg.models.watershed.Watershed`."""

    threshold: float = 0.5
    """Least probability of a pixel of an object, 0 to 1."""

    seed: float = 0.5
    """Least probability of being in an object and not at its boundary, of a seed."""

    seed_pixels: int = 8
    """Seeds with fewer pixels are none."""

    min_pixels: int = 16
    """Objects with fewer pixels are left out."""
