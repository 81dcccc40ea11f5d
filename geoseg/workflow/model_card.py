"""What a run's manifest says of its model: enough to know what was used when the catalog has changed.

It knows specs, and the card that may lie beside a model's entry.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from geoseg.catalog import locate_model
from geoseg.errors import GeosegError
from geoseg.models.spec import HUB, ModelSpec
from geoseg.options import Workflow

CARD = "README.md"
"""A model's card, beside its entry."""

_SECTION = re.compile(r"^## +Provenance *\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def model_card(workflow: Workflow, spec: ModelSpec) -> dict[str, Any]:
    """Describe a model in plain values.

    Parameters
    ----------
    workflow : Workflow
        Names the entry, whose card says where the model comes from.
    spec : ModelSpec
        The model that runs; its parts have cards of their own.
    """
    own = _provenance(str(workflow.model))
    names = [str(workflow.model), *([workflow.things] if workflow.things else [])]
    if spec.is_ensemble or not spec.parts:
        card, parts = _described(spec, own), [_described(part, "") for part in spec.parts]
    else:
        card = _described(spec, "")
        parts = [_described(part, _provenance(name)) for part, name in zip(spec.parts, names, strict=False)]
    return card | ({"parts": parts} if parts else {})


def _described(spec: ModelSpec, provenance: str) -> dict[str, Any]:
    weights = spec.weights if spec.weights is None or spec.weights.startswith(HUB) else Path(spec.weights).name
    return {
        "name": spec.name,
        "task": spec.task,
        "description": spec.description,
        "license": spec.license,
        "metrics": dict(spec.metrics),
        "bands": [{"name": band.name, "common_name": band.common_name} for band in spec.bands],
        "classes": [{"value": item.value, "name": item.name, "isthing": item.isthing} for item in spec.classes],
        "resolution": spec.resolution,
        "architecture": spec.architecture,
        "framework": spec.framework,
        "weights": weights,
        "checksum": spec.checksum,
        "provenance": provenance,
    }


def _provenance(name: str) -> str:
    """The section of that name in the card of a model's entry; empty where there is none."""
    try:
        path = Path(locate_model(name))
        folder = path if path.is_dir() else path.parent
        found = _SECTION.search((folder / CARD).read_text(encoding="utf-8"))
    except (GeosegError, OSError, UnicodeDecodeError):
        return ""
    return found[1].strip() if found else ""
