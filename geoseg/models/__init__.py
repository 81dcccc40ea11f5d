"""Models: what they promise (`spec`), how they are opened, and one small adapter a family.

Importing this package loads no deep-learning library, so that catalogs can be listed at once; the adapter
that a model needs is imported when the model is opened, and only that one.

An adapter is a module with ``open_network(spec, device)``, which returns what maps scaled pixels, float32 (n, band, y,
x), to what the spec's task needs: scores, float32 (n, class, y, x); with the prompts of each tile besides, the
`Detections` of each tile; or scores and detections.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache, partial
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any, Protocol

from geoseg.errors import ModelError, WeightsError, nearest
from geoseg.models.background import with_background
from geoseg.models.detections import Detections
from geoseg.models.prompts import Prompt, Prompts
from geoseg.models.runtimes import Runtime, choose_runtime, refuse_compile, run_by
from geoseg.models.spec import Activation, Band, ClassSpec, ModelSpec, Scaling, Task

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from geoseg.models.precision import Precision

__all__ = [
    "Activation",
    "AnyModel",
    "Band",
    "ClassSpec",
    "Detections",
    "Model",
    "ModelSpec",
    "ObjectModel",
    "PanopticModel",
    "Prompt",
    "Prompts",
    "Scaling",
    "Task",
    "find_family",
    "is_promptable",
    "load_model",
    "needs_words",
    "open_scoring",
    "packages_of",
    "require_trust",
    "trial_prompts",
    "wrap",
]


@dataclass(frozen=True)
class Family:
    """One row of the tables of families.

    Attributes
    ----------
    adapter : str
        The module that opens its models.
    packages : tuple of str
        Packages besides torch whose version may change what its models give.
    is_promptable : bool
        Whether its models can be asked for objects.
    needs_words : bool
        Whether they are asked in words only.
    """

    adapter: str
    packages: tuple[str, ...] = ()
    is_promptable: bool = False
    needs_words: bool = False

    def import_adapter(self) -> Any:
        """Import the adapter, and its libraries without what they need for compiling."""
        if "torchvision" in self.packages:
            import_module("geoseg.models.late_compiler")
        return import_module(self.adapter)


FRAMEWORKS = {
    "onnx": Family("geoseg.models.onnx", ("onnxruntime",)),
    "torchscript": Family("geoseg.models.exported"),
    "torch.export": Family("geoseg.models.exported"),
}
"""Families of files that hold their own graph, by framework."""

FINDERS = {
    "onnx/MaskRCNN": Family("geoseg.models.maskrcnn_exported", ("onnxruntime",)),
    "onnx/*": Family("geoseg.models.yolo", ("onnxruntime", "torchvision")),
}
"""Families of files that hold their own graph and find objects, by framework and architecture; the first that fits."""

_COMPACT = ("torchvision", "segmentation-models-pytorch", "timm")
_SAM = ("transformers", "scipy")

FAMILIES = {
    "smp.*": Family("geoseg.models.smp", ("segmentation-models-pytorch", "timm", "torchvision")),
    "torchvision.maskrcnn_*": Family("geoseg.models.maskrcnn", ("torchvision",)),
    "torchvision.MaskRCNN": Family("geoseg.models.maskrcnn", _COMPACT),
    "torchvision.*": Family("geoseg.models.torchvision", ("torchvision",)),
    "torchgeo.*": Family("geoseg.models.torchgeo", ("segmentation-models-pytorch",)),
    "geoseg.*": Family("geoseg.models.deeplab", ("torchvision",)),
    "transformers.Sam3Model": Family("geoseg.models.sam", _SAM, is_promptable=True, needs_words=True),
    "transformers.Sam*": Family("geoseg.models.sam", _SAM, is_promptable=True),
    "transformers.RfDetr*": Family("geoseg.models.detr", ("transformers",)),
    "transformers.*ForUniversalSegmentation": Family("geoseg.models.universal", ("transformers",)),
    "transformers.MaskFormerForInstanceSegmentation": Family("geoseg.models.universal", ("transformers",)),
    "transformers.*": Family("geoseg.models.transformers", ("transformers",)),
}
"""Families of architectures built from a library (framework ``"pytorch"``); the first pattern that fits counts."""

ENTRY_POINTS = "geoseg.families"
"""Where other packages register families: an entry point ``NAME = "module"`` opens the architectures ``NAME.*``."""

SEMANTIC: Task = "semantic-segmentation"

KINDS: dict[Task, str] = {
    "semantic-segmentation": "geoseg.models.semantic.SemanticModel",
    "instance-segmentation": "geoseg.models.instance.InstanceModel",
    "panoptic-segmentation": "geoseg.models.panoptic.PanopticRunner",
}
"""What an opened model is, by its task."""


class Model(Protocol):
    """An opened semantic model."""

    @property
    def spec(self) -> ModelSpec:
        """What the model promises."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def score(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """Turn pixels into scores, what the spec's activation turns into probabilities.

        Parameters
        ----------
        pixels, mask
            As in `predict`.

        Returns
        -------
        torch.Tensor
            float32, shape (n, class, y, x), in any order in memory, on the model's device; not to be overwritten.
            Background that has no score is not among the classes.
        """

    def predict(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> torch.Tensor:
        """Turn pixels into probabilities.

        Parameters
        ----------
        pixels : array
            Digital numbers in the file's dtype, shape (n, band, y, x), bands in the spec's order.
        mask : bool array
            Shape (n, y, x), True = valid; invalid pixels become 0 after scaling.

        Returns
        -------
        torch.Tensor
            float32, shape (n, class, y, x), contiguous, on the model's device; not to be overwritten.
        """


class ObjectModel(Protocol):
    """An opened instance model."""

    @property
    def spec(self) -> ModelSpec:
        """What the model promises."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def predict(
        self, pixels: NDArray[Any], mask: NDArray[np.bool_], prompts: Sequence[Prompts] | None = None
    ) -> list[Detections]:
        """Find objects.

        Parameters
        ----------
        pixels, mask
            As in `Model.predict`.
        prompts : sequence of Prompts, optional
            What is asked of each tile; everything unless given.

        Returns
        -------
        list of Detections
            One for each tile; scores are at least the spec's ``min_score``.
        """


class PanopticModel(Protocol):
    """An opened panoptic model."""

    @property
    def spec(self) -> ModelSpec:
        """What the model promises."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def predict(self, pixels: NDArray[Any], mask: NDArray[np.bool_]) -> tuple[torch.Tensor, list[Detections]]:
        """Score stuff and find things.

        Parameters
        ----------
        pixels, mask
            As in `Model.predict`.

        Returns
        -------
        scores : torch.Tensor
            float32, shape (n, class, y, x), of the spec's ``stuff`` only, as `Model.score` has them.
        things : list of Detections
            One for each tile, as `ObjectModel.predict` has them.
        """


AnyModel = Model | ObjectModel | PanopticModel


def load_model(
    spec: ModelSpec,
    device: str = "cpu",
    *,
    precision: Precision = "auto",
    compile: bool = False,  # noqa: A002 - the word of the option
    runtime: Runtime = "auto",
) -> Any:
    """Open a model of the catalog.

    Parameters
    ----------
    spec : ModelSpec
        What to open; its weights are fetched, verified and loaded safely.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    precision, compile
        See `geoseg.models.running.Runner`.
    runtime : str
        What runs the network: see `geoseg.models.runtimes.choose_runtime`.

    Returns
    -------
    Model, ObjectModel or PanopticModel
        By the spec's task.

    Raises
    ------
    ModelError
        When runtime, precision and device do not go together, no adapter knows the framework or architecture, or the
        weights do not fit it.
    WeightsError
        When the weights are missing, damaged or unsafe.
    """
    require_trust(spec)
    spec = with_background(spec)
    if spec.parts and not spec.is_ensemble:
        opening = partial(load_model, device=device, precision=precision, compile=compile, runtime=runtime)
        return import_module("geoseg.models.together").Together(spec, *map(opening, spec.parts))
    runtime, precision = choose_runtime(spec, device, runtime, precision)
    opener = _opener(spec, partial(run_by, runtime, precision))
    return _model(spec, opener, device, runtime, precision, compile)


def _opener(spec: ModelSpec, run: Callable[..., Any] = lambda opener: opener) -> Callable[..., Any]:
    """What opens the network of a spec as a runtime runs it, or those of an ensemble as one."""
    if spec.is_ensemble:
        members: Callable[..., Any] = import_module("geoseg.models.averaging").ensemble(
            [_opener(part, run) for part in spec.parts]
        )
        return members
    adapter = _family(spec).import_adapter()
    if (spec.task if spec.watershed is None else SEMANTIC) not in getattr(adapter, "TASKS", (SEMANTIC,)):
        raise ModelError(
            f"model '{spec.name}' does {spec.task}, which {spec.architecture or spec.framework} cannot; correct "
            "mlm:tasks or mlm:architecture in its entry."
        )
    opener: Callable[..., Any] = run(adapter.open_network)
    return opener


def open_scoring(spec: ModelSpec) -> Any:
    """Open the network of a model by itself, to write it in another form.

    Returns
    -------
    torch.nn.Module
        From scaled pixels to scores, float32, on the CPU.

    Raises
    ------
    ModelError
        It does not score pixels, or is no network of a library but a graph already.
    WeightsError
        Its weights are missing, damaged or unsafe.
    """
    scores = spec.watershed is not None or spec.task == SEMANTIC
    if spec.framework != "pytorch":
        raise ModelError(f"model '{spec.name}' is a graph already ({spec.weights}); pass on that file with its entry.")
    if spec.parts or not scores:
        raise ModelError(
            f"model '{spec.name}' does not score pixels, so its graph cannot be written; export it as .safetensors."
        )
    if spec.watershed is not None:
        spec = import_module("geoseg.models.separating").scoring_spec(spec)
    device = import_module("torch").device("cpu")
    return _family(spec).import_adapter().open_network(with_background(spec), device)


def require_trust(spec: ModelSpec) -> None:
    """Refuse TorchScript unless a person vouches for its author: it may read and write files when it runs.

    Raises
    ------
    WeightsError
        The model, or a part of it, is TorchScript and not trusted.
    """
    for part in spec.networks:
        if part.framework == "torchscript" and not (part.trust_model or spec.trust_model):
            raise WeightsError(
                f"model '{part.name}' is a TorchScript program ({part.weights}), which can read and write files when "
                "it runs; give --trust-model (trust_model: true) if you trust its author, or export it again as ONNX "
                "or torch.export."
            )


def _augmented(spec: ModelSpec, opener: Callable[..., Any]) -> Callable[..., Any]:
    """Put before an adapter what looks several times, and what makes objects of scores, where the spec has them."""
    if spec.tta is not None:
        if spec.watershed is None and spec.task != SEMANTIC:
            raise ModelError(f"tta averages scores, and model '{spec.name}' finds objects without them; leave tta out.")
        opener = import_module("geoseg.models.averaging").averager(opener)
    return opener if spec.watershed is None else import_module("geoseg.models.separating").separator(opener)


def wrap(
    network: Callable[..., Any],
    spec: ModelSpec,
    device: str = "cpu",
    *,
    precision: Precision = "auto",
    compile: bool = False,  # noqa: A002 - the word of the option
    runtime: Runtime = "auto",
) -> Any:
    """Make a model of a person's own ``torch.nn.Module`` or callable.

    Parameters
    ----------
    network : callable
        Maps scaled pixels, float32 (n, band, y, x), to scores, float32 (n, class, y, x); for instances maps pixels and
        a list of `Prompts`, or pixels alone, to a list of `Detections`; for panoptic maps pixels to both. A module is
        put into evaluation mode and moved to the device.
    spec : ModelSpec
        What it promises: task, bands, classes, scalings, activation.
    device : str
        Where it runs.
    precision, compile, runtime
        As of `load_model`.

    Returns
    -------
    Model, ObjectModel or PanopticModel
        By the spec's task.
    """
    spec = replace(with_background(spec), weights=None, int8=None)  # which are not the network's
    runtime, precision = choose_runtime(spec, device, runtime, precision)
    opener = run_by(runtime, precision, import_module("geoseg.models.module").opener(network))
    return _model(spec, opener, device, runtime, precision, compile)


def packages_of(spec: ModelSpec) -> tuple[str, ...]:
    """Packages besides the runtime whose version may change what a model gives, those of its parts included."""
    family = _exported_family(spec) if spec.framework != "pytorch" else find_family(spec.architecture)
    own = () if family is None else family.packages
    separating = () if spec.watershed is None else ("scikit-image", "scipy")
    return tuple(dict.fromkeys([*own, *separating, *(name for part in spec.parts for name in packages_of(part))]))


def is_promptable(spec: ModelSpec) -> bool:
    """Say whether a model takes prompts."""
    family = find_family(spec.architecture)
    return family is not None and family.is_promptable


def needs_words(spec: ModelSpec) -> bool:
    """Say whether a model can do nothing without words."""
    family = find_family(spec.architecture)
    return family is not None and family.needs_words


def trial_prompts(spec: ModelSpec, size: int, text: str | None = None) -> Prompts | None:
    """What a model that takes prompts is asked on trial: words, or one point; everything takes minutes.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    size : int
        Side of the tile, px.
    text : str, optional
        Words that are going to be asked.

    Returns
    -------
    Prompts or None
        None for models that take none.
    """
    if not is_promptable(spec):
        return None
    if text is not None or needs_words(spec):
        return Prompts(text=text or "object")
    return Prompts((Prompt.at(0, size / 2, size / 2),))


def _model(
    spec: ModelSpec,
    opener: Callable[..., Any],
    device: str,
    runtime: Runtime,
    precision: Precision,
    compile: bool,  # noqa: A002
) -> Any:
    """Hold a network in the model of its task; torch is not asked for the arithmetic of another runtime."""
    home, _, kind = KINDS[spec.task].rpartition(".")
    if compile:
        refuse_compile(runtime)
    inner = precision if runtime == "torch" else "float32"
    opened = _augmented(spec, opener)
    runner = import_module("geoseg.models.running").Runner(spec, opened, device, inner, compile)
    return getattr(import_module(home), kind)(runner)


def find_family(architecture: str) -> Family | None:
    """Return the first family whose pattern fits an architecture's name; None where none does."""
    families = {**FAMILIES, **_installed_families()}
    return next((family for pattern, family in families.items() if fnmatchcase(architecture, pattern)), None)


@cache
def _installed_families() -> dict[str, Family]:
    """Families that other packages have registered; their modules are imported when a model is opened, not before.

    The version of the package that registers a family decides labels, as that of a library does.
    """
    points = metadata.entry_points(group=ENTRY_POINTS)
    return {f"{point.name}.*": Family(point.module, (point.dist.name,) if point.dist else ()) for point in points}


def _exported_family(spec: ModelSpec) -> Family | None:
    """The family of a file that holds its own graph; None for other frameworks."""
    finds_objects = spec.task != SEMANTIC and spec.watershed is None
    return (_finder(spec) if finds_objects else None) or FRAMEWORKS.get(spec.framework)


def _finder(spec: ModelSpec) -> Family | None:
    """The family of a file that finds objects."""
    name = f"{spec.framework}/{spec.architecture}"
    return next((family for pattern, family in FINDERS.items() if fnmatchcase(name, pattern)), None)


def _family(spec: ModelSpec) -> Family:
    """The family that opens a spec."""
    exported = _exported_family(spec)
    if exported is not None:
        return exported
    if spec.framework != "pytorch":
        known = ["pytorch", *FRAMEWORKS]
        raise ModelError(
            f"model '{spec.name}' has the framework '{spec.framework}', which cannot be opened; "
            f"{nearest(spec.framework, known)}."
        )
    found = find_family(spec.architecture)
    if found is not None:
        return found
    families = dict.fromkeys(pattern.partition(".")[0] for pattern in (*FAMILIES, *_installed_families()))
    raise ModelError(
        f"model '{spec.name}' has the architecture '{spec.architecture}', which no adapter knows; name it "
        f"FAMILY.CLASS with a family of {', '.join(families)}, install the package that adds its family, say with "
        "mlm:artifact_type that its weights are a program (torch.jit.save, torch.export.save), or export the model as "
        "ONNX or torch.export."
    )
