"""Labels with a minimum mapping unit, as a raster: to the pixel what polygons with it show."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from geoseg.errors import OutputError, RasterError, WorkflowError
from geoseg.files import local_path, refuse_read, refuse_to_replace
from geoseg.grid import Window
from geoseg.held import value_of
from geoseg.monitor.watching import Progress, shown
from geoseg.options import Polygonizing, SieveOptions, read_options
from geoseg.outlines import OutlinePlan
from geoseg.raster import Raster, check_labels, common_nodata, open_raster, read_legend, write_cog
from geoseg.raster.calibration import Calibration
from geoseg.raster.given import ImageryLike, named
from geoseg.raster.options import configured
from geoseg.raster.sending import sendable
from geoseg.signatures import SieveArguments
from geoseg.store import RunFolder
from geoseg.tree import Place
from geoseg.workflow.outputs import refuse_folders
from geoseg.workflow.polygons import Outlining, kept_while_needed, plan_outline, run_outline
from geoseg.workflow.settings import plain_settings

ENDINGS = ".tif", ".tiff"


@configured()
def sieve(
    input: ImageryLike,  # noqa: A002
    output: str | os.PathLike[str],
    *,
    progress: Progress = None,
    client: Client | None = None,
    **settings: Unpack[SieveArguments],
) -> Path:
    """Give a classified raster a minimum mapping unit: smaller faces join the neighbour with the longest shared border.

    The result is that of `geoseg.polygonize` with the same ``min_area``, pixel by pixel, whatever the blocks are.

    Parameters
    ----------
    input : path, DatasetReader, DataArray, or list
        A raster of whole numbers in one band, or several that lie on one grid.
    output : path
        A GeoTIFF; it is replaced only with ``overwrite``.
    progress : callable or bool, optional
        As in `geoseg.run`.
    client : distributed.Client, optional
        Workers that are already there.
    **settings
        Options of a sieve (docs/options.md), such as ``min_area=1000``.

    Returns
    -------
    Path
        The raster: a Cloud Optimized GeoTIFF with the names, colours and nodata of the input.

    Raises
    ------
    BlockError
        Some blocks failed after every retry.
    ExistingOutputError
        The output is there already, or is read.
    GeosegError
        Something that was given cannot be used.
    """
    wanted = read_options(SieveOptions, plain_settings({**settings}), "sieve")
    path = local_path(output, "output").absolute()
    given, calibration = value_of(plain_settings({"input": input})["input"], "input"), Calibration(nodata=wanted.nodata)
    raster = open_raster(given, resampling="nearest", crs=wanted.crs, calibration=calibration)
    _check_place(path, wanted, raster)
    check_labels(raster, f"'{named(given)}'")
    shared = wanted.model_dump(exclude_unset=True, exclude={"overwrite"})
    outlining = Polygonizing(**shared, input=str(named(given)), output=str(path))
    folder = RunFolder(path.with_name(f".{path.name}.geoseg"))
    arrays = sendable(raster, folder.path / "arrays")
    with folder.locked(), kept_while_needed(folder), arrays as sent, shown(progress) as callback:
        plan, style, resumed = plan_outline(outlining, raster, sent, folder, classes=())
        if not plan.is_sifted:
            areas = wanted.min_area.values() if isinstance(wanted.min_area, dict) else [wanted.min_area]
            raise WorkflowError(f"min_area is {max(areas):g} m2, no more than a pixel; give a larger one")
        write = partial(
            write_sieved, path=path, dtype=_integers(raster.dtype), nodata=common_nodata(raster), legend=_legend(raster)
        )
        run_outline(Outlining(outlining, plan, path, write, style), callback, client, resumed=resumed)
    return path


def _integers(dtype: np.dtype[Any]) -> str:
    """The type of the output: the input's, or of floats, as QGIS and R write classes, one that holds them."""
    return str(dtype) if dtype.kind in "iu" else "int32"


def _check_place(path: Path, wanted: SieveOptions, raster: Raster) -> None:
    """Refuse a place that cannot be written, or that somebody's file is in."""
    if path.suffix.lower() not in ENDINGS:
        raise OutputError(f"'{path}' is no GeoTIFF; give a name that ends in .tif")
    if not path.parent.is_dir():
        raise OutputError(f"the folder {path.parent} does not exist; create it, or choose another output.")
    refuse_folders(path)
    refuse_read(path, wanted.region, *(source.path for source in raster.sources if source.is_file))
    if not wanted.overwrite:
        refuse_to_replace(path)


def _legend(raster: Raster) -> dict[str, Mapping[int, Any]]:
    """Names and colours for `write_cog`."""
    legend = read_legend(raster)
    colors = {"colors": legend.colors} if legend.colors and raster.dtype == "uint8" else {}
    return {**colors, "categories": legend.names}


def write_sieved(plan: OutlinePlan, path: Path, dtype: str, nodata: int | None, legend: Mapping[str, Any]) -> int:
    """Write the sieved labels of all blocks; return how many there are.

    Parameters
    ----------
    plan : OutlinePlan
        Whose blocks are sieved.
    path : Path
        The raster.
    dtype : str
        Of its numbers.
    nodata : int, optional
        As the input declares it.
    legend : dict
        Names and colours, as of `write_cog`.

    Raises
    ------
    RasterError
        Some pixels have no label, and there is no nodata that they could get.
    """
    blocks = list(plan.tree.blocks())

    def read(block: Place) -> tuple[Window, NDArray[Any]]:
        window = plan.window(block)
        labels = plan.folder.read_labels(block, window.shape)
        if nodata is None and (labels == plan.nodata).any():
            raise RasterError(
                "some pixels are masked or outside of the region, and no nodata is declared; give --nodata"
            )
        if labels.size and not (np.iinfo(dtype).min <= labels.min() and labels.max() <= np.iinfo(dtype).max):
            raise RasterError(f"labels from {labels.min()} to {labels.max()} do not fit {dtype}; give integers that do")
        return window, labels.astype(dtype)

    write_cog(
        path, plan.raster_shape, plan.transform, plan.crs, map(read, blocks),
        nodata=nodata, dtype=dtype, description="labels", overview_resampling="mode", **legend,
    )  # fmt: skip
    return len(blocks)
