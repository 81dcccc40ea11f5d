"""What a person may change of a model: its weights, and what stands before and behind its network.

The same for a run, a plan and a lazy array; it knows specs and what people write, and opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from geoseg.errors import InputNotFoundError, ModelError, WorkflowError
from geoseg.models.background import with_background
from geoseg.models.refinement import read_refinement
from geoseg.models.spec import HUB, ModelSpec
from geoseg.models.tta import read_tta
from geoseg.models.weights import with_own_size


def changed(
    spec: ModelSpec,
    *,
    weights: str | None = None,
    refine: str | Mapping[str, Any] | None = None,
    tta: bool | str | Mapping[str, Any] | None = None,
    threshold: float | None = None,
    trust_model: bool = False,
) -> ModelSpec:
    """Return a spec with what a person has given; None leaves the model's own.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    weights, refine, tta, threshold, trust_model
        As the keys of a workflow.

    Raises
    ------
    InputNotFoundError
        The weights do not exist.
    WorkflowError
        A value that cannot be used, or that this model has no use for.
    """
    if weights is not None and spec.is_ensemble:
        raise WorkflowError(
            f"weights are one file or folder, and model '{spec.name}' has {len(spec.parts)} members with weights each; "
            "change them in a copy of its entry."
        )
    if weights is not None:
        spec = with_own_size(spec.with_weights(_existing(weights)))
    refinement = spec.refine if refine is None else read_refinement(refine)
    if refinement is not None and spec.task != "semantic-segmentation":
        raise WorkflowError(
            f"refine works on models for semantic segmentation, and '{spec.name}' does {spec.task}; leave refine out."
        )
    views = spec.tta if tta is None else read_tta(tta)
    spec = replace(spec, refine=refinement, tta=views, trust_model=trust_model or spec.trust_model)
    if threshold is None:
        return spec
    try:
        return with_background(replace(spec, threshold=threshold))
    except ModelError as error:
        raise WorkflowError(str(error)) from error


def _existing(weights: str) -> str:
    if weights.startswith(HUB):
        return weights
    if not Path(weights).exists():
        raise InputNotFoundError(f"weights {weights} do not exist; give the path of the model's weights file.")
    return str(Path(weights).absolute())
