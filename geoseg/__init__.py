"""geoseg: from imagery of any size to maps and polygons.

Importing this package loads neither torch nor dask: its functions are found when they are first used.
"""

from __future__ import annotations

import logging
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoseg import errors
    from geoseg.area_estimation import areas, sample
    from geoseg.catalog import list_imagery, list_models
    from geoseg.comparison import compare
    from geoseg.evaluation import evaluate
    from geoseg.imagery import open_imagery
    from geoseg.lazy import segment
    from geoseg.models.spec import Band, ClassSpec, ModelSpec, Scaling
    from geoseg.raster import open_raster
    from geoseg.training import train
    from geoseg.workflow import PolygonizeResult, RunResult, Workflow, plan, polygonize, preview, resume, run, sieve

    __version__: str

logging.getLogger("geoseg").addHandler(logging.NullHandler())  # what is logged is shown where a program asks for it

_HOMES = {
    "Band": "geoseg.models.spec",
    "ClassSpec": "geoseg.models.spec",
    "ModelSpec": "geoseg.models.spec",
    "PolygonizeResult": "geoseg.workflow",
    "RunResult": "geoseg.workflow",
    "Scaling": "geoseg.models.spec",
    "Workflow": "geoseg.workflow",
    "areas": "geoseg.area_estimation",
    "compare": "geoseg.comparison",
    "evaluate": "geoseg.evaluation",
    "list_imagery": "geoseg.catalog",
    "list_models": "geoseg.catalog",
    "open_imagery": "geoseg.imagery",
    "open_raster": "geoseg.raster",
    "plan": "geoseg.workflow",
    "polygonize": "geoseg.workflow",
    "preview": "geoseg.workflow",
    "resume": "geoseg.workflow",
    "run": "geoseg.workflow",
    "sample": "geoseg.area_estimation",
    "segment": "geoseg.lazy",
    "sieve": "geoseg.workflow",
    "train": "geoseg.training",
}

__all__ = [
    "Band",
    "ClassSpec",
    "ModelSpec",
    "PolygonizeResult",
    "RunResult",
    "Scaling",
    "Workflow",
    "areas",
    "compare",
    "errors",
    "evaluate",
    "list_imagery",
    "list_models",
    "open_imagery",
    "open_raster",
    "plan",
    "polygonize",
    "preview",
    "resume",
    "run",
    "sample",
    "segment",
    "sieve",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name == "errors":
        return import_module("geoseg.errors")
    if name == "__version__":
        return import_module("importlib.metadata").version("geoseg")
    if name not in _HOMES:
        raise AttributeError(f"module 'geoseg' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
