"""Versions of what decides a result: packages by the model's family, geoseg's own source, the processor.

An upgrade of a package that a run does not use leaves the run what it is. It loads no package to ask for its version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import rasterio

from geoseg.models import packages_of
from geoseg.models.precision import multiplies_bytes
from geoseg.models.runtimes import RUNTIMES, Runtime
from geoseg.models.spec import ModelSpec

HOME = Path(__file__).parent

PREDICTING = (
    *("grid.py", "probabilities.py", "prompting.py"),
    *("blending", "raster", "models", "segmentation", "instances"),
)
"""Modules of geoseg that decide labels."""

OUTLINING = (
    *("tree.py", "workflow/outlines.py", "vector/clipping.py"),
    *("raster", "arcs", "vectorize", "outlines", "footprints"),
)
"""Modules that decide polygons of given labels, and how they are read."""

IDLE = (
    "addresses.py",
    "cog.py",
    "fingerprints.py",
    "legend.py",
    "availability.py",
    "item_writing.py",
    "item_copying.py",
)
"""Modules among them that decide neither."""


def deciding_versions(spec: ModelSpec, *, is_resampled: bool, runtime: Runtime = "torch") -> dict[str, str]:
    """Versions of what decides the labels of a model; every worker must have the same.

    Parameters
    ----------
    spec : ModelSpec
        The model.
    is_resampled : bool
        Whether files are brought onto another grid, which other packages take part in.
    runtime : str
        What runs its network.

    Returns
    -------
    dict
        Version by package; ``geoseg`` with a digest of the source that predicts, ``gdal`` of the library in rasterio.
    """
    placing = ("pyproj", "scipy") if is_resampled else ()
    names = sorted({"numba", "numpy", "rasterio", "torch", *placing, *packages_of(spec), *RUNTIMES[runtime].packages})
    return {
        "geoseg": f"{version('geoseg')} ({source_digest(PREDICTING)})",
        "gdal": str(rasterio.__gdal_version__),
        **{name: _version(name) for name in names},
    }


def _version(package: str) -> str:
    """The version of a package, which a worker may lack."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


@cache
def source_digest(parts: Sequence[str] = ("",)) -> str:
    """The first 12 hex digits of the SHA-256 of geoseg's own source; of all of it unless parts are named."""
    digest = hashlib.sha256()
    for path in _sources(parts):
        digest.update(f"{path.relative_to(HOME)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _sources(parts: Sequence[str]) -> Iterator[Path]:
    for part in parts:
        path = HOME / part
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        yield from (file for file in files if file.name not in IDLE)


def instructions(device: str, runtime: Runtime = "torch") -> str:
    """What a device computes with: the instruction set of a CPU as torch uses it, or a GPU's name.

    Other runtimes than torch use instructions for 8-bit products where a CPU has them, and round otherwise without.

    A network's floats may differ in their last bits between two of them.
    """
    import torch

    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    found = str(torch.backends.cpu.get_cpu_capability())
    return f"{found} with VNNI" if runtime != "torch" and multiplies_bytes() else found
