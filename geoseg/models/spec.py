"""What a model promises before it is opened: the typed form of a STAC item with the MLM extension.

A spec is plain data: it is compared, hashed into the run's fingerprint and sent to workers. It knows
nothing of torch; the adapters beside this file turn it into a network.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import Any, Literal, SupportsIndex, get_args

from geoseg.errors import ModelError
from geoseg.models.refinement import Refinement
from geoseg.models.tta import TestTimeAugmentation
from geoseg.models.watershed import Watershed
from geoseg.probabilities import NODATA as NODATA
from geoseg.showing import card

RAMP = 32
"""Overlap of tiles, px, unless the model or a person says otherwise."""

HUB = "hub:"
"""What stands before the name of weights that a family's own library fetches."""

Task = Literal["semantic-segmentation", "instance-segmentation", "panoptic-segmentation"]
Activation = Literal["softmax", "sigmoid", "none"]
ScalingType = Literal["min-max", "z-score", "clip", "clip-min", "clip-max", "offset", "scale", "processing", "none"]


@dataclass(frozen=True)
class Band:
    """One input band of a model.

    Attributes
    ----------
    name : str
        The sensor's name of the band, such as ``"B04"``.
    common_name : str or None
        The name of the STAC eo extension, such as ``"red"``.
    scale, offset : float
        What a number x that the network was trained on means: ``scale * x + offset``. 0.0001 is reflectance x 10,000, 1
        is reflectance. Imagery that declares what its own numbers mean is brought to these. A scale of None says
        nothing: then numbers are taken as they are stored.
    """

    name: str
    common_name: str | None = None
    scale: float | None = None
    offset: float = 0.0

    @property
    def unit(self) -> tuple[float, float] | None:
        """Scale and offset; None when the entry does not say what the band's numbers mean."""
        return None if self.scale is None else (self.scale, self.offset)


@dataclass(frozen=True)
class ClassSpec:
    """One class of a model.

    Attributes
    ----------
    value : int
        The label in the output raster, 0 to 254.
    name : str
        The class's name, as it stands in the polygons.
    color : str
        ``"#rrggbb"``, the colour in the raster's colour table.
    description : str
        One sentence for people.
    isthing : bool
        Whether a panoptic model tells objects of the class apart; the other classes are stuff.
    implied : bool
        Whether no entry describes the class: background of a model with a threshold. It has no score of its own, and
        becomes polygons only when it is asked for.
    """

    value: int
    name: str
    color: str = "#808080"
    description: str = ""
    isthing: bool = False
    implied: bool = False


SCALING_PARAMETERS = {
    "min-max": ("minimum", "maximum"),
    "z-score": ("mean", "stddev"),
    "clip": ("minimum", "maximum"),
    "clip-min": ("minimum",),
    "clip-max": ("maximum",),
    "offset": ("value",),
    "scale": ("value",),
    "processing": ("expression",),
    "none": (),
}
"""Types of scaling (MLM's ``value_scaling``), and the parameters that each needs."""


@dataclass(frozen=True)
class Scaling:
    """How digital numbers become what the network sees, for one band (MLM ``value_scaling``).

    ``min-max`` is ``(x - minimum) / (maximum - minimum)``, ``z-score`` is ``(x - mean) / stddev``, ``scale`` is
    ``x / value``, ``offset`` is ``x - value``, ``clip`` is ``min(max(x, minimum), maximum)``, ``clip-max`` and
    ``clip-min`` are its halves, and ``processing`` is an arithmetic ``expression`` of ``A`` in gdal_calc's syntax.
    The formulas are those of the MLM extension, section "Value Scaling Object".
    """

    type: ScalingType
    minimum: float | None = None
    maximum: float | None = None
    mean: float | None = None
    stddev: float | None = None
    value: float | None = None
    expression: str | None = None


@dataclass(frozen=True)
class HalfPrecision:
    """What another arithmetic of the network does to a model, as measured on imagery.

    Attributes
    ----------
    agreement : float
        Part of the pixels whose label is that of float32, 0 to 1; of objects, intersection over union of what they
        cover.
    seconds_per_mpx : float
        Seconds of one CPU core per Mpx of input.
    """

    agreement: float
    seconds_per_mpx: float


@dataclass(frozen=True)
class Quantized(HalfPrecision):
    """8-bit weights of a model, as `geoseg.models.quantizing` makes them, and what they do to it.

    Attributes
    ----------
    graph : str
        Path or address of the file.
    checksum : str or None
        ``"sha256:<hex>"`` of it.
    half_range : bool
        Whether weights use half of the range of 8 bits: then no sum of products overflows on CPUs without instructions
        for bytes, and labels stay there as elsewhere.
    """

    graph: str
    checksum: str | None = None
    half_range: bool = False


@dataclass(frozen=True)
class ModelSpec:
    """A model as a catalog entry describes it.

    Attributes
    ----------
    name : str
        The name in the catalog.
    task : str
        ``"semantic-segmentation"``, ``"instance-segmentation"`` or ``"panoptic-segmentation"``.
    bands : tuple of Band
        The input bands, in the network's order.
    classes : tuple of ClassSpec
        The output classes, in the network's order.
    scalings : tuple of Scaling
        One for all bands, or one a band; empty when digital numbers are used as they are.
    value_range : tuple of (float, float)
        Between which two numbers the pixels of the imagery mostly lie that the model is meant for, one for all bands,
        or one a band; empty leaves it to the scalings. ``(0, 255)`` are bytes, which nothing exceeds.
    resolution : float or None
        Metres on the ground per pixel that the model was trained for; None takes any.
    tile_size, halo, multiple : int
        Preferred tile (px), context discarded on each side (px), and down-sampling of the network (px).
    fixed_size : bool
        Whether the network takes tiles of that size only; then smaller rasters are reflected to fill one.
    activation : str
        What turns the network's output into probabilities.
    threshold : float or None
        Probability above which a binary or multi-label model gives a label, 0 to 1; below it a pixel is background. See
        `geoseg.models.background`.
    temperature : float or None
        What scores are divided by before confidence and probabilities are made of them: above 1 these fall. No label
        depends on it. For classes that exclude each other.
    channels : int or None
        Scores that the network gives a pixel, when they are one fewer than the classes: background has none.
    framework : str
        ``"pytorch"`` (architecture + weights), ``"onnx"``, ``"torchscript"`` or ``"torch.export"``.
    architecture : str
        For ``"pytorch"``: the family's name, such as ``"smp.Unet"``.
    hyperparameters : tuple of (str, value)
        Arguments of the architecture, sorted by name.
    weights : str or None
        Path or address of the weights file, path of a folder that the family's library saved, or ``"hub:NAME"`` for
        what that library fetches by name.
    checksum : str or None
        ``"sha256:<hex>"`` of the weights file.
    obtain : str
        How a person gets the weights when they are neither shipped nor fetched by address.
    activation_bytes : float
        Peak bytes per input pixel of one forward pass, as measured.
    seconds_per_mpx : float or None
        Seconds of one CPU core per Mpx of input, as measured in float32; for the plan's estimate.
    bfloat16 : HalfPrecision or None
        What bfloat16 does to labels and time on a CPU; None where it was not measured, and then it is never chosen.
    int8 : Quantized or None
        8-bit weights, and what they do to labels and time on a CPU; None where there are none.
    ramp : int or None
        Preferred overlap of neighbouring tiles, px; None leaves it to the workflow.
    min_score : float
        Objects with a lower score are left out; 0 to 1.
    parts : tuple of ModelSpec
        Two models that work together: one that scores stuff, and one that finds things; see `geoseg.models.together`.
        Or the members of an ensemble, whose probabilities are averaged: models of the same task, bands and classes.
    refine : Refinement or None
        What follows the network within each tile; its reach is not part of ``halo``.
    watershed : Watershed or None
        How objects come from a network that scores them and their boundaries; see `geoseg.models.separating`.
    tta : TestTimeAugmentation or None
        Views of a tile that are averaged; how much farther they see is not part of ``halo``.
    trust_model : bool
        Whether a person vouches for the author of the weights: TorchScript is opened only then. No entry can say so.
    weights_bytes : int or None
        Size of the weights as the entry has it; for the plan, while they are not on this machine.
    seen_values : tuple of (float, float, float)
        Of each band, quantiles of 2, 50 and 98 % of the pixels that the network was trained on; empty where they are
        not known.
    edge_errors : tuple of (int, float)
        Largest error of a probability at distances from a tile's edge, px, as measured.
    mask : tuple of str
        Classes whose pixels are not used where the model is the mask of an input.
    dates : tuple of str
        Names of the dates whose bands are stacked, in that order, each with as many bands; empty where it is one, or
        where they have no names.
    """

    name: str
    task: Task
    bands: tuple[Band, ...]
    classes: tuple[ClassSpec, ...]
    scalings: tuple[Scaling, ...] = ()
    value_range: tuple[tuple[float, float], ...] = ()
    resolution: float | None = None
    tile_size: int = 1024
    halo: int = 32
    multiple: int = 32
    fixed_size: bool = False
    activation: Activation = "softmax"
    threshold: float | None = None
    temperature: float | None = None
    channels: int | None = None
    framework: str = "pytorch"
    architecture: str = ""
    hyperparameters: tuple[tuple[str, Any], ...] = ()
    weights: str | None = None
    checksum: str | None = None
    obtain: str = ""
    activation_bytes: float = 600.0
    seconds_per_mpx: float | None = None
    bfloat16: HalfPrecision | None = None
    int8: Quantized | None = None
    ramp: int | None = None
    min_score: float = 0.5
    refine: Refinement | None = None
    watershed: Watershed | None = None
    tta: TestTimeAugmentation | None = None
    parts: tuple[ModelSpec, ...] = ()
    description: str = ""
    license: str = ""
    metrics: tuple[tuple[str, float], ...] = field(default=(), compare=False)
    seen_values: tuple[tuple[float, float, float], ...] = field(default=(), compare=False)
    edge_errors: tuple[tuple[int, float], ...] = field(default=(), compare=False)
    trust_model: bool = field(default=False, compare=False)
    weights_bytes: int | None = field(default=None, compare=False)
    mask: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(isinstance(number, Real) for number in self.value_range):  # one range, without the tuple around it
            object.__setattr__(self, "value_range", (tuple(self.value_range),))
        self._check_kinds()
        values: list[Any] = [item.value for item in self.classes]
        are_labels = all(isinstance(value, SupportsIndex) and 0 <= int(value) < NODATA for value in values)
        if not are_labels or len(set(values)) < len(values):
            raise ModelError(
                f"the classes of model '{self.name}' have the values {', '.join(map(str, values))}; each must be "
                f"another whole number, 0 to {NODATA - 1} ({NODATA} is nodata)"
            )

    def _check_kinds(self) -> None:
        """Refuse words that are none of a choice, and values of another type, which a program may give."""
        for name, choice in ("task", get_args(Task)), ("activation", get_args(Activation)):
            if getattr(self, name) not in choice:
                raise ModelError(
                    f"the {name} of model '{self.name}' is '{getattr(self, name)}'; give {', '.join(choice)}"
                )
        for name, kind in ("bands", Band), ("classes", ClassSpec), ("scalings", Scaling):
            others = [item for item in getattr(self, name) if not isinstance(item, kind)]
            if others:
                raise ModelError(
                    f"the {name} of model '{self.name}' hold {others[0]!r}; give each one as "
                    f"geoseg.{kind.__name__}(...)"
                )
        if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in self.value_range):
            raise ModelError(
                f"the value_range of model '{self.name}' is {self.value_range}; give two numbers, or two a band"
            )
        threshold: Any = self.threshold
        if threshold is not None and (isinstance(threshold, bool) or not isinstance(threshold, Real)):
            raise ModelError(f"the threshold of model '{self.name}' is {threshold!r}; give a number from 0 to 1")

    def __repr__(self) -> str:
        return f"ModelSpec({'; '.join(text for _, text in self._facts[:4])})"

    def _repr_html_(self) -> str:
        return card(f"Model {self.name}", self._facts)

    @property
    def _facts(self) -> list[tuple[str, str]]:
        seen = "any resolution" if self.resolution is None else f"{self.resolution:g} m"
        return [
            ("model", f"{self.name}: {self.task}"),
            ("bands", f"{', '.join(self.band_names)} at {seen}"),
            ("classes", ", ".join(self.class_names)),
            ("tile", f"{self.tile_size} px, halo {self.halo} px"),
            *([("licence", self.license)] if self.license else []),
            *([("description", self.description)] if self.description else []),
        ]

    @property
    def band_names(self) -> list[str]:
        """Names of the input bands, in the network's order."""
        return [band.name for band in self.bands]

    @property
    def units(self) -> tuple[tuple[float, float] | None, ...]:
        """What the numbers of each band mean, ``(scale, offset)``, in the network's order."""
        return tuple(band.unit for band in self.bands)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the network's order."""
        return [item.name for item in self.classes]

    @property
    def score_count(self) -> int:
        """Scores that the network gives a pixel, as far as the spec says it."""
        return self.channels or sum(not item.implied for item in self.classes)

    @property
    def is_ensemble(self) -> bool:
        """Say whether the parts are members whose probabilities are averaged."""
        return bool(self.parts) and all(part.task == self.task for part in self.parts)

    @property
    def networks(self) -> tuple[ModelSpec, ...]:
        """The models that have weights of their own: the parts, their parts, or this one."""
        return tuple(item for part in self.parts for item in part.networks) if self.parts else (self,)

    @property
    def things(self) -> tuple[ClassSpec, ...]:
        """Classes whose objects are told apart, in the network's order."""
        if self.task == "instance-segmentation":
            return self.classes
        return tuple(item for item in self.classes if item.isthing and self.task == "panoptic-segmentation")

    @property
    def stuff(self) -> tuple[ClassSpec, ...]:
        """Classes that every pixel is labelled with, in the network's order."""
        things = self.things
        return tuple(item for item in self.classes if item not in things)

    def with_weights(self, path: str | Path) -> ModelSpec:
        """Return the same model with its weights taken from a file of the user's."""
        return replace(self, weights=str(path), bfloat16=None, int8=None, temperature=None, seen_values=())


def class_attributes(spec: ModelSpec) -> dict[str, Any]:
    """Values, names and colours of classes as attributes of an array: flags of the CF conventions, section 3.5."""
    return {
        "flag_values": [item.value for item in spec.classes],
        "flag_meanings": " ".join(item.name.replace(" ", "_") for item in spec.classes),
        "flag_colors": [item.color for item in spec.classes],
        "class_names": spec.class_names,
    }
