"""Files that are whole or not there, after a kill and after a power cut.

A file is written under a name that no other process has, on whatever machine, and then renamed. What a killed process
was writing has `UNFINISHED` in its name and is removed by the next process that writes there. It knows files, not
their content.
"""

from __future__ import annotations

import errno
import glob
import json
import math
import os
import re
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from geoseg.errors import ExistingOutputError, InputTypeError, OutputError, WorkflowError

UNFINISHED = ".tmp"
"""In the name of every file and folder that is being written, and of no other."""

ABANDONED = 86_400.0
"""Seconds after which what a process of another machine was writing counts as left behind."""

_OWNER = re.compile(rf"\.(\w+)-(\d+)-[0-9a-f]{{8}}{re.escape(UNFINISHED)}")
HOST = re.sub(r"\W", "_", socket.gethostname())[:24]
"""The machine's name, as it stands in names of files."""

_NO_SUCH_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}  # what file systems say that cannot sync a folder

LONGEST_NAME = 255
"""Bytes of a name of a file or folder (NAME_MAX of Linux and macOS)."""

_SPACE = "free space on the disk, and run the same command again"
_PERMISSION = "give a file or folder that this user may read and write"

REMEDIES: dict[int, tuple[type[OutputError | WorkflowError], str]] = {
    errno.ENAMETOOLONG: (WorkflowError, "give the path of a file"),
    errno.ENOSPC: (OutputError, _SPACE),
    errno.EDQUOT: (OutputError, _SPACE),
    errno.EACCES: (OutputError, _PERMISSION),
    errno.EPERM: (OutputError, _PERMISSION),
    errno.EROFS: (OutputError, _PERMISSION),
    errno.EMFILE: (OutputError, "raise the limit of open files (ulimit -n)"),
    errno.ENFILE: (OutputError, "raise the machine's limit of open files"),
    errno.EIO: (OutputError, "see whether the disk is in order, and run the same command again"),
    errno.ESTALE: (OutputError, "see whether the disk is mounted, and run the same command again"),
}
"""Errors and remedies by what a system refuses wherever a file is touched, by a library too; others may be mistakes."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|/vsi|file:")
"""How an address begins; one letter is a drive."""

_VIRTUAL = re.compile(r"/vsi|[A-Za-z][A-Za-z0-9+.-]+://")
"""How what GDAL alone opens begins."""


def local_path(path: str | os.PathLike[str], what: str) -> Path:
    """Return a path that results are written to.

    Parameters
    ----------
    path : path
        Of a file or folder.
    what : str
        The option that names it.

    Raises
    ------
    WorkflowError
        It is an address, such as ``s3://bucket/folder``, empty, or has a name that no disk takes.
    """
    if not os.fspath(path).strip():
        raise WorkflowError(f"{what} is empty, as an unset variable of the shell is; give a path.")
    if _ADDRESS.match(os.fspath(path)):
        raise WorkflowError(
            f"{what} '{os.fspath(path)}' is an address, and results are written to disks of this machine only; give a "
            "local path, and copy the results from there (geoseg run does with --publish)."
        )
    longest = max(Path(path).parts, key=len, default="")
    if len(os.fsencode(longest)) > LONGEST_NAME:
        raise WorkflowError(
            f"{what} has the name '{longest[:32]}...' of {len(os.fsencode(longest))} bytes, and disks take "
            f"{LONGEST_NAME}; choose a shorter one."
        )
    return Path(path).expanduser()


def given_path(path: str | os.PathLike[str]) -> Path | str:
    """Return where a file is that is read: a path, also of a ``file://`` URL; as text where GDAL alone opens it.

    So ``/vsizip//data/a.zip/b.gpkg`` keeps its two slashes, without which the archive is looked for in another folder.
    """
    text = os.fspath(path)
    if text.startswith("file:/"):
        return Path(unquote(urlsplit(text).path))
    return text if _VIRTUAL.match(text) else Path(text).expanduser()


def plain_value(value: Any, key: str) -> Any:
    """Return what a caller gives as text, lists and dicts: every path-like object becomes its path.

    Raises
    ------
    InputTypeError
        It is an array or a table in memory.
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [plain_value(item, key) for item in value]
    if isinstance(value, Mapping):
        return {name: plain_value(item, key) for name, item in value.items()}
    kind = type(value)
    if kind.__module__.partition(".")[0] == "xarray":
        raise InputTypeError(
            f"{key} is an xarray.{kind.__name__}, and rasters are read from files; write it to one first, such as "
            "array.rio.to_raster('scene.tif')."
        )
    if kind.__module__.partition(".")[0] == "geopandas":
        raise InputTypeError(
            f"{key} is a {kind.__name__}, and is read from a file; write it to one first, such as "
            f"table.to_file('{key}.gpkg')."
        )
    return value


def unfinished(path: Path) -> Path:
    """A name beside a file, ``STEM.HOST-PID-RANDOM.tmp.SUFFIX``, that no other process writes to."""
    return path.with_name(f"{path.stem}.{_mine()}{path.suffix}")


def _mine() -> str:
    return f"{HOST}-{os.getpid()}-{uuid.uuid4().hex[:8]}{UNFINISHED}"


def write_file(path: Path, write: Callable[[Path], object], *, durable: bool = True) -> None:
    """Write a file so that it is either whole or not there: under another name, then renamed.

    Parameters
    ----------
    path : Path
        The file.
    write : callable
        Writes to the path it is given.
    durable : bool
        Whether it has to outlive a power cut; then what killed processes have left of it is removed too. Where it is
        known what was written, and what is lost is written again, it need not: then nothing waits for the disk, and a
        folder that has come into its place is removed.

    Raises
    ------
    OutputError
        The disk refuses, or a folder lies where what is durable goes.
    """
    temporary = unfinished(path)
    if durable:
        refuse_folder(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if durable:
            _remove_abandoned(path.parent, f"{glob.escape(path.stem)}.*{UNFINISHED}{glob.escape(path.suffix)}")
        write(temporary)
        if not durable and path.is_dir():
            remove(path)
        move_into_place(temporary, path, durable=durable)
    except OSError as error:
        with suppress(OSError):  # what cannot be removed was never there
            temporary.unlink()
        raise unwritable(path, error) from error


def cache_home(kind: str) -> Path:
    """The folder of what is downloaded and may be downloaded again, by the XDG convention."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geoseg" / kind


def refuse_folder(path: Path) -> None:
    """Refuse to write a file where a folder lies, which may be somebody's.

    Raises
    ------
    OutputError
        There is one.
    """
    if path.is_dir():
        raise OutputError(f"'{path}' is a folder; remove it, or choose another name or folder for the output.")


def refuse_file(folder: Path) -> None:
    """Refuse a folder that cannot be made, because a file has its name or that of one above it.

    Raises
    ------
    OutputError
        One has.
    """
    there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if there.exists() and not there.is_dir():
        raise OutputError(f"'{there}' is a file; choose another folder for the output.")


def make_folder(path: Path) -> None:
    """Make a folder, and those that it lies in; it may be there.

    Raises
    ------
    OutputError
        The disk refuses.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error of what the disk refuses, with the system's reason."""
    for link in (path, *path.parents):
        if os.path.islink(link) and not os.path.exists(link):  # noqa: PTH110, PTH114 - Path's raise for a long name
            return OutputError(
                f"{link} is a link to {link.readlink()}, which is not there; make that folder, or remove the link."
            )
    is_cut = "requested and" in str(error)  # all that numpy says where the system has written less
    reason = error.strerror or ("no space is left" if is_cut else error)
    return OutputError(f"{path} cannot be written ({reason}); choose an output folder with space and permission.")


def refused(error: OSError) -> OutputError | WorkflowError | None:
    """What the system has refused, in one sentence; None where it is none of `REMEDIES`."""
    if error.errno not in REMEDIES:
        return None
    kind, remedy = REMEDIES[error.errno]
    is_named = isinstance(error.filename, str | bytes | os.PathLike)
    name = " ".join(os.fsdecode(error.filename).split()) if is_named else "a file"
    return kind(f"the system refuses {name if len(name) < 100 else name[:96] + '...'} ({error.strerror}); {remedy}.")


def write_json(path: Path, content: object) -> None:
    """Write JSON through `write_file`."""
    write_file(path, lambda temporary: temporary.write_text(json.dumps(content, indent=2) + "\n"))


def plain(value: Any) -> Any:
    """Turn NumPy values into Python's, and NaN and infinity, which JSON lacks, into None, at every depth."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """What a JSON file holds; None when it is not there or was cut off."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None


def move_into_place(written: Path, path: Path, *, durable: bool = True) -> None:
    """Rename a file that is whole; what is durable is on the disk before, and its name after.

    Raises
    ------
    OSError
        The disk refuses.
    """
    if durable:
        _sync(written)
    os.replace(written, path)
    if durable:
        _sync(path.parent)


def swap_into_place(written: Path, path: Path) -> None:
    """Rename what is whole and on the disk where a folder is or will be; what is there goes to where it was written.

    Raises
    ------
    OSError
        The disk refuses; what was there is there again.
    """
    for file in (*written.rglob("*"), written):
        _sync(file)
    former = written.with_name(f"{path.name}.former")
    if path.exists():
        path.rename(former)
    try:
        written.rename(path)
    except OSError:
        if former.exists():
            former.rename(path)
        raise
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SUCH_SYNC:
            raise
    finally:
        os.close(descriptor)


@contextmanager
def working_folder(path: Path) -> Iterator[Path]:
    """Give a hidden folder beside a file to write it in; remove those that killed processes have left.

    Parameters
    ----------
    path : Path
        The file; its folder must be there.

    Raises
    ------
    OSError
        The disk refuses.
    """
    _remove_abandoned(path.parent, f".{glob.escape(path.name)}.*{UNFINISHED}")
    folder = path.with_name(f".{path.name}.{_mine()}")
    folder.mkdir()
    try:
        yield folder
    finally:
        remove(folder)


def _remove_abandoned(folder: Path, pattern: str) -> None:
    """Remove what killed processes have left of one file."""
    for left in folder.glob(pattern):
        if _is_abandoned(left):
            remove(left)


def sweep(folder: Path) -> None:
    """Remove unfinished files of killed processes in a folder, if it exists; only where no other process writes."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for path in folder.iterdir():
            if _OWNER.search(path.name):
                remove(path)


def refuse_read(path: Path, *read: object) -> None:
    """Refuse to write to a file that is read; what is no path of a file is none.

    Raises
    ------
    ExistingOutputError
        It is one of them.
    """
    # Path.is_file raises where a text, such as features of GeoJSON, is longer than a name of a file can be
    places = (given_path(item) for item in read if isinstance(item, str | os.PathLike))
    files = (place for place in places if os.path.isfile(place))  # noqa: PTH113
    if any(Path(file).resolve() == path.resolve() for file in files):
        raise ExistingOutputError(f"{path} is read and would be replaced; choose another output")


def refuse_to_replace(*paths: Path) -> None:
    """Refuse to write where a file is, unless ``overwrite`` is given, which the caller knows.

    Raises
    ------
    ExistingOutputError
        Naming the first one that is there.
    """
    for path in paths:
        if path.exists():
            raise ExistingOutputError(f"{path} is there already; give another output, or --overwrite to replace it")


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, as far as the disk allows; it need not be there."""
    with suppress(OSError):  # a network file system may hold a name for a while
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def clear(path: Path) -> None:
    """Remove a file or a folder that must not be there any more, because it would be taken for something new.

    Raises
    ------
    OutputError
        The disk refuses.
    """
    remove(path)
    if os.path.lexists(path):
        raise OutputError(f"{path} cannot be removed; remove it, or choose another output folder.")


def _is_abandoned(path: Path) -> bool:
    """Whether the process that was writing is gone: of this machine that is known, of others after a day."""
    owner = _OWNER.search(path.name)
    if owner and owner[1] == HOST:
        return not is_alive(int(owner[2]))
    with suppress(OSError):
        return time.time() - max(item.stat().st_mtime for item in (path, *path.glob("*"))) > ABANDONED
    return False


def is_alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def has_machine_code(loop: Any) -> bool:
    """Say whether an earlier start has left the machine code of one of numba's functions, as its source is, on disk.

    Parameters
    ----------
    loop : numba dispatcher
        Compiled with ``cache=True``; a function of Python where numba is told not to compile has none.
    """
    index = getattr(getattr(loop, "_cache", None), "_cache_file", None)
    return bool(getattr(index, "_load_index", dict)())  # numba looks whether the source has changed since
