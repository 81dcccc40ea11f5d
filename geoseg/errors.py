"""Every exception and warning of geoseg: one sentence each that says what, the value, and the remedy.

This is level 0 of the house: it knows no other module. Each error also subclasses the builtin that a
caller would expect (``except FileNotFoundError`` works), and the command line prints its one sentence
instead of a traceback.
"""

from __future__ import annotations


class GeosegError(Exception):
    """Base of every error that geoseg raises on purpose."""


class InputNotFoundError(GeosegError, FileNotFoundError):
    """An input file, folder or pattern that does not exist."""


class RasterError(GeosegError, ValueError):
    """A file that is not a raster, or a raster that cannot be placed or used."""


class RasterReadError(GeosegError, OSError):
    """Pixels that cannot be read: a truncated or damaged file."""


class CrsError(RasterError):
    """A raster or vector layer without a coordinate reference system, or with one that cannot be used."""


class BandError(RasterError):
    """Bands that are missing, too many, or named by names the raster does not have."""


class WindowError(GeosegError, IndexError):
    """A window outside the raster it is read from."""


class RegionError(GeosegError, ValueError):
    """A region that is empty, unreadable, or lies outside the raster."""


class GridError(GeosegError, ValueError):
    """Tile size, halo and ramp that do not fit together."""


class WorkflowError(GeosegError, ValueError):
    """A workflow or recipe with an unknown key or a value that cannot be used."""


class CatalogError(GeosegError, LookupError):
    """A name that the catalog does not have, or an entry that is not valid."""


class ModelError(GeosegError, ValueError):
    """A model whose description or output does not fit what it is asked to do."""


class WeightsError(GeosegError, OSError):
    """A weights file that is missing, damaged, or unsafe to load."""


class PlanError(GeosegError, ValueError):
    """A run that does not fit in memory or cannot be laid out."""


class OutputError(GeosegError, OSError):
    """An output folder or file that is in use or cannot be written."""


class FingerprintError(GeosegError, RuntimeError):
    """A run folder that holds results of other inputs, another model or other settings."""


class VectorError(GeosegError, ValueError):
    """A vector layer or a vector format that cannot be read or written."""


class TrainingError(GeosegError, ValueError):
    """Training data that cannot be used to train."""


class EvaluationError(GeosegError, ValueError):
    """A prediction and a truth that cannot be compared."""


class BlockError(GeosegError, RuntimeError):
    """Blocks that failed after every retry; the rest of the run is finished."""


class ReportError(GeosegError, ValueError):
    """A run folder that no report or picture can be made from."""


class WorkerError(GeosegError, RuntimeError):
    """A worker or scheduler that cannot be reached or does not fit the plan."""


class GeosegWarning(UserWarning):
    """Base of every warning that geoseg gives."""


class FormatWarning(GeosegWarning):
    """A vector format that cannot hold everything that is written to it."""


class ReportWarning(GeosegWarning):
    """A report or a picture that could not be made, or lacks a part; the results themselves are whole."""


def nearest(name: str, known: list[str] | tuple[str, ...]) -> str:
    """Say which known name was probably meant.

    Parameters
    ----------
    name : str
        What was written.
    known : list of str
        The names that exist.

    Returns
    -------
    str
        ``"did you mean 'x'?"`` when one is close, else ``"known: a, b, c"``.
    """
    from difflib import get_close_matches

    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known) or 'none'}"
