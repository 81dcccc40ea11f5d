"""What identifies the content of the files that a raster is read from, without reading them whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

from geoseg.raster.handles import is_remote
from geoseg.raster.source import Source, files_of

_TIMEOUT = 20  # s that a server has to say which version of a file it has

_SAMPLE_BYTES = 64 * 1024  # read from each end of a file for its fingerprint


def identify(sources: Iterable[Source]) -> list[dict[str, Any]]:
    """Identify the content of files, sidecars and sources of a VRT included.

    Returns
    -------
    list of dict
        One a file, in the order of reading: ``path`` as given, ``absolute``, ``size`` in bytes, ``mtime_ns``, and
        ``sha256`` of the size and the first and last 64 KiB. A file that is not local has no size, time and sum, but
        what its catalog says of its version.

    Raises
    ------
    RasterReadError
        When a file is gone.
    """
    found: dict[str, dict[str, Any]] = {}
    for source in sources:
        if source.version is not None and is_remote(source.path):
            absolute = _unsigned(source.path)
            found.setdefault(absolute, _remote(_unsigned(source.given), absolute) | source.version)
            continue
        for name in (name.removeprefix("/vsicurl/") for name in files_of(source.path)):
            if name not in found:
                found[name] = _identify(source.given if name == source.path else name, name)
    return list(found.values())


def _unsigned(address: str) -> str:
    """An address without its query, in which a signature may stand that is another one tomorrow."""
    return urlunsplit(urlsplit(address)._replace(query="")) if "://" in address else address


def _remote(path: str, absolute: str) -> dict[str, Any]:
    return {"path": path, "absolute": absolute, "size": None, "mtime_ns": None, "sha256": None}


def _asked(address: str) -> dict[str, Any]:
    """Ask a server for what changes with a file's content; nothing where it does not say."""
    request = Request(address, method="HEAD")  # noqa: S310 - of the schemes that may be given here
    try:
        with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            headers = answer.headers
    except (OSError, ValueError):
        return {}
    size = headers.get("Content-Length")
    version = headers.get("ETag") or headers.get("Last-Modified")
    return {"size": int(size) if size else None, **({"version": version} if version else {})}


def _identify(path: str, absolute: str) -> dict[str, Any]:
    file = Path(absolute)
    if absolute.startswith(("http://", "https://")):
        return _remote(path, absolute) | _asked(absolute)
    if not file.is_file():
        return _remote(path, absolute)
    status = file.stat()
    digest = hashlib.sha256(str(status.st_size).encode())
    with file.open("rb") as content:
        digest.update(content.read(_SAMPLE_BYTES))
        content.seek(max(_SAMPLE_BYTES, status.st_size - _SAMPLE_BYTES))
        digest.update(content.read())
    return {
        "path": path,
        "absolute": absolute,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "sha256": digest.hexdigest(),
    }
