"""Named arrays in a file that checks itself: NumPy's npz, whose members have checksums."""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.files import write_file
from geoseg.store.journal import Digest, damaged, missing

DAMAGE = (
    ValueError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    EOFError,
    SyntaxError,
    tokenize.TokenError,  # of NumPy's headers, which are Python
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading a damaged file may raise."""


def write_arrays(path: Path, root: Path, arrays: Mapping[str, NDArray[Any]], *, compress: bool = False) -> Digest:
    """Write arrays, whole or not at all.

    Parameters
    ----------
    path : Path
        The file.
    root : Path
        Where its name in a marker begins.
    arrays : mapping of str to array
        By name.
    compress : bool
        Whether it is worth the time.
    """
    named: dict[str, Any] = dict(arrays)
    save = np.savez_compressed if compress else np.savez
    write_file(path, lambda temporary: save(temporary, **named), durable=False)
    with zipfile.ZipFile(path) as archive:
        return Digest.of(path, root, _crc32(archive))


def read_arrays(
    path: Path, digest: Digest | None, chosen: Callable[[str], bool] = lambda _: True
) -> dict[str, NDArray[Any]]:
    """Read arrays, or those whose name is chosen; ``digest`` is what a marker says of the file.

    Raises
    ------
    DamagedError
        The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if digest is not None and _crc32(arrays.zip) != digest.crc32:
                raise damaged(path, "it is another file")
            return {name: arrays[name] for name in arrays.files if chosen(name)}
    except FileNotFoundError as error:
        raise missing(path) from error
    except DAMAGE as error:
        raise damaged(path, error) from error


def _crc32(archive: zipfile.ZipFile) -> int:
    """One checksum of those that an archive has of its members, which are compared when one is read."""
    return zlib.crc32(repr([(item.filename, item.CRC) for item in archive.infolist()]).encode())
