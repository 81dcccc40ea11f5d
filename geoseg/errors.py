"""Every exception and warning of geoseg: one sentence each that says what, the value, and the remedy.

This is level 0 of the house: it knows no other module. Each error also subclasses the builtin that a
caller would expect (``except FileNotFoundError`` works), and the command line prints its one sentence
instead of a traceback and exits with the error's ``exit_code``.
"""

from __future__ import annotations

import re
import traceback

_WANT_OF_MEMORY = re.compile(r"OutOfMemoryError|can't allocate memory|out of memory|bad_alloc|Cannot allocate memory")
"""What libraries say that have no class for it."""

PART_FAILED = 1
"""Exit code: some blocks or scenes failed; the rest is finished and written."""

BAD_USAGE = 2
"""Exit code: an unknown option, or a setting with a value that cannot be used."""

BAD_INPUT = 3
"""Exit code: imagery, a model, a region or labels that cannot be used."""

OTHER_RUN = 4
"""Exit code: the output folder holds a run of other inputs, another model or other settings."""

ENVIRONMENT_FAILED = 5
"""Exit code: too little memory or disk, an output that cannot be written, workers that are lost."""


class GeosegError(Exception):
    """Base of every error that geoseg raises on purpose.

    Attributes
    ----------
    exit_code : int
        What the command line exits with.
    may_pass : bool
        Whether trying again may help; what a file or a setting says stays what it is.
    """

    exit_code = BAD_INPUT
    may_pass = False

    def __reduce__(self) -> tuple[object, ...]:
        """Travel to another process; the cause as text, because exceptions of other libraries may not be read there."""
        cause = self.__cause__ or self.__context__
        if cause is not None and not isinstance(cause, Cause):
            self.__cause__ = cause = Cause("".join(traceback.format_exception(cause)))
        self.__context__ = None  # Dask would send it too
        return _rebuilt, (type(self), self.args, cause)


class Cause(Exception):  # noqa: N818 - stands for an error of any name
    """What an error came of in another process: its traceback, as text."""


def _rebuilt(kind: type[GeosegError], arguments: tuple[object, ...], cause: Cause | None) -> GeosegError:
    """An error that has travelled."""
    error = kind(*arguments)
    error.__cause__ = cause
    return error


class InputNotFoundError(GeosegError, FileNotFoundError):
    """An input file, folder or pattern that does not exist."""


class InputTypeError(GeosegError, TypeError):
    """An object in memory where a path is read."""


class RasterError(GeosegError, ValueError):
    """A file that is not a raster, or a raster that cannot be placed or used."""


class RasterReadError(GeosegError, OSError):
    """Pixels that cannot be read: a truncated or damaged file.

    Attributes
    ----------
    files : dict of str to str
        Names of files that cannot be read, as they were given, and a sentence about each; where it was raised, and not
        in another process.
    """

    files: dict[str, str] = {}  # noqa: RUF012 - never changed in place
    may_pass = True  # a server or a network drive may answer the next time


class AssetMismatchError(RasterReadError):
    """A file that is not what the catalog's entry says of it."""


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

    exit_code = BAD_USAGE


class WorkflowError(GeosegError, ValueError):
    """A workflow or recipe with an unknown key or a value that cannot be used."""

    exit_code = BAD_USAGE


class CatalogError(GeosegError, LookupError):
    """A name that the catalog does not have, or an entry that is not valid."""


class ModelError(GeosegError, ValueError):
    """A model whose description or output does not fit what it is asked to do."""


class WeightsError(GeosegError, OSError):
    """A weights file that is missing, damaged, or unsafe to load."""

    may_pass = True  # it may come from a network


class PlanError(GeosegError, ValueError):
    """A run that does not fit in memory or cannot be laid out."""

    exit_code = ENVIRONMENT_FAILED


class OutputError(GeosegError, OSError):
    """An output folder or file that is in use or cannot be written."""

    exit_code = ENVIRONMENT_FAILED
    may_pass = True


class DamagedError(OutputError):
    """A file of a run's state that is missing or damaged; the next start makes it again."""

    exit_code = PART_FAILED
    may_pass = False


class ExistingOutputError(OutputError):
    """A file that would be replaced, which nothing has asked for."""

    exit_code = BAD_USAGE
    may_pass = False


class LayerError(OutputError):
    """A file or layer of another program that polygons would replace."""

    exit_code = BAD_USAGE


class FingerprintError(GeosegError, RuntimeError):
    """A run folder that holds results of other inputs, another model or other settings."""

    exit_code = OTHER_RUN


class VectorError(GeosegError, ValueError):
    """A vector layer or a vector format that cannot be read or written."""


class FormatError(VectorError):
    """A vector file with an ending that stands for no format that can be written."""

    exit_code = BAD_USAGE


class TrainingError(GeosegError, ValueError):
    """Training data that cannot be used to train."""


class EvaluationError(GeosegError, ValueError):
    """A prediction and a truth that cannot be compared."""


class BlockError(GeosegError, RuntimeError):
    """Blocks that failed after every retry; the rest of the run is finished."""

    exit_code = PART_FAILED


class ReportError(GeosegError, ValueError):
    """A run folder that no report or picture can be made from."""


class WorkerError(GeosegError, RuntimeError):
    """A worker or scheduler that cannot be reached or does not fit the plan."""

    exit_code = ENVIRONMENT_FAILED
    may_pass = True


class GeosegWarning(UserWarning):
    """Base of every warning that geoseg gives."""


class InputWarning(GeosegWarning):
    """A part of what was given that cannot be used and is left out."""


class ContinuationWarning(GeosegWarning):
    """A run whose blocks may come of inputs or processors of two kinds; what is done is kept."""


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
        ``"did you mean 'x'?"`` when one is close, else ``"known: a, b, c"``; of a part of a name with commas, how to
        write it.
    """
    from difflib import get_close_matches

    if cut := [item for item in known if "," in item and name and name in item.split(",")]:
        return f"write a name with commas in double quotes, such as '\"{cut[0]}\"'"
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    listed = [f'"{item}"' if "," in item else item for item in known]
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(listed) or 'none'}"


def is_want_of_memory(error: BaseException) -> bool:
    """Say whether memory has run out, by the class of an exception or by the words of libraries without a class."""
    return isinstance(error, MemoryError) or bool(_WANT_OF_MEMORY.search(f"{type(error).__name__}: {error}"))
