"""What identifies the content of the files that a raster is read from, without reading large ones whole.

Content alone decides: not where a file lies, how its path is spelled, or when it was written. It knows files and
servers; what a run makes of their identity stands elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import Request, urlopen
from xml.etree import ElementTree

from rasterio.errors import RasterioError
from rasterio.windows import Window

from geoseg.errors import RasterReadError
from geoseg.raster.addresses import real_address, unsigned
from geoseg.raster.archives import archive_of
from geoseg.raster.handles import dataset, is_remote
from geoseg.raster.options import configured
from geoseg.raster.source import Source, files_of, reason

SAMPLES, SAMPLE_BYTES = 16, 64 * 1024
"""Parts of a large file that are read for its identity, evenly spaced from its first byte to its last, and their size:
at most 1 MiB a file. Files that are not larger are read whole."""

_TIMEOUT = 20  # s that a server has to say which version of a file it has
_AT_ONCE = 8  # files that are looked at at the same time
_PROBE = 64  # px of the windows by which a dataset without files is identified
_HTTP = "http://", "https://"
_SOURCE = re.compile(rb"<SourceFilename[^>]*>(?:[^<]*[/\\])?([^<]*)</SourceFilename>")
_PLACES = "path", "absolute", "mtime_ns", "attribution", "sources"


def identify(sources: Iterable[Source]) -> list[dict[str, Any]]:
    """Identify the content of files, sidecars and sources of a VRT included.

    Returns
    -------
    list of dict
        One a file, in the order of reading: ``path`` as given and ``absolute``, both without signatures; ``size`` in
        bytes, ``mtime_ns``, and ``sha256`` of the size and the content, `SAMPLES` parts of it where the file is large.
        A file that is not local has no time, and ``version``, what its server says changes with its content, or what
        its catalog says of it. ``sources`` are the positions of the sources that it is read for.

    Raises
    ------
    RasterReadError
        When a file is gone.
    """
    asked: dict[str, str] = {}
    described: dict[str, dict[str, Any]] = {}
    readers: dict[str, list[int]] = {}
    for number, source in enumerate(sources):
        if (own := source.identity()) is not None:
            names, described[f"{number}"] = [f"{number}"], own
        elif source.version is not None and is_remote(source.path):
            names = [real_address(source.path)]
            described.setdefault(names[0], _remote(unsigned(source.given), names[0]) | source.version)
        else:
            names = list(_files(source.path))
            for name in names:
                asked.setdefault(name, source.given if name == source.path else name)
        for name in dict.fromkeys(names):
            readers.setdefault(name, []).append(number)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda name: _identify(unsigned(asked[name]), name), asked)
        found = dict(zip(asked, answers, strict=True))
    items = (*described.items(), *found.items())
    return [{**item, "sources": readers[name]} for name, item in items if item]


def content(item: Mapping[str, Any]) -> dict[str, Any]:
    """What an item of `identify` says of content, and nothing of places; the address where nothing else is known."""
    facts = {key: value for key, value in item.items() if key not in _PLACES and value is not None}
    return facts or {"address": item["absolute"]}


def file_digest(path: Path) -> str:
    """SHA-256 of a local file's size and content, in hex; of `SAMPLES` parts of it when it is large."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= SAMPLES * SAMPLE_BYTES:
            parts = [_deciding(path, file.read())]
            size = len(parts[0])
        else:
            parts = []
            for number in range(SAMPLES):
                file.seek((size - SAMPLE_BYTES) * number // (SAMPLES - 1))
                parts.append(file.read(SAMPLE_BYTES))
    digest = hashlib.sha256(str(size).encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def is_sampled(item: Mapping[str, Any]) -> bool:
    """Say whether only parts of a local file were read for its identity."""
    return item.get("mtime_ns") is not None and (item["size"] or 0) > SAMPLES * SAMPLE_BYTES


def _files(path: str) -> Iterator[str]:
    """A dataset's files, those of a VRT's own sources included."""
    names = [name.removeprefix("/vsicurl/") for name in files_of(path)]
    yield names[0]
    for name in names[1:]:
        if name.lower().endswith(".vrt"):
            yield from _files(name)
            continue
        yield name
        if path.lower().endswith(".vrt") and not is_remote(name):
            yield from (side for side in (f"{name}.msk", f"{name}.aux.xml") if Path(side).is_file())


def _identify(path: str, name: str) -> dict[str, Any] | None:
    """Identify one file; None for a sidecar that decides nothing."""
    if name.startswith(_HTTP):
        return _remote(path, unsigned(name)) | _asked(name)
    archive, member = archive_of(name)
    if archive is not None:
        return _local(path, archive) | {"member": member}
    file = Path(name)
    if not file.is_file():
        return _remote(path, real_address(name)) | {"sha256": _pixels_digest(name)}
    if name.endswith(".aux.xml") and not _deciding(file, file.read_bytes()):
        return None
    return _local(path, file)


def _local(path: str, file: Path) -> dict[str, Any]:
    status = file.stat()
    facts = {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": file_digest(file)}
    if file.name.endswith((".aux.xml", ".vrt")):
        facts["size"] = None  # its statistics, and the spelling of paths in it, do not decide
    return {"path": path, "absolute": str(file), **facts}


def _remote(path: str, absolute: str) -> dict[str, Any]:
    return {"path": path, "absolute": absolute, "size": None, "mtime_ns": None, "sha256": None}


def _asked(address: str) -> dict[str, Any]:
    """Ask a server for what changes with a file's content; nothing where it does not say.

    An address may be signed for reading only, and its server then refuses to describe the file: so its first byte is
    read instead.
    """
    bare, headers = _with_password(address)
    for request in (
        Request(bare, method="HEAD"),  # noqa: S310 - of the schemes that may be given here
        Request(bare, headers={"Range": "bytes=0-0"}),  # noqa: S310
    ):
        for name, value in headers.items():  # for this server alone, and none that it refers to
            request.add_unredirected_header(name, value)
        try:
            with urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
                return _version(answer.headers)
        except HTTPError:
            continue
        except (OSError, ValueError):
            return {}
    return {}


def _with_password(address: str) -> tuple[str, dict[str, str]]:
    """An address as urllib takes it, and the header that says user and password where they stand in it."""
    parts = urlsplit(address)
    user, _, host = parts.netloc.rpartition("@")
    if not user:
        return address, {}
    word = base64.b64encode(unquote(user).encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {word}"}


def _version(headers: Mapping[str, str]) -> dict[str, Any]:
    """Size and version of a file, as the headers of an answer have them."""
    whole = (headers.get("Content-Range") or "").rpartition("/")[2]
    size = whole or headers.get("Content-Length")
    version = {name: headers[name] for name in ("ETag", "Last-Modified") if headers.get(name)}
    return {"size": int(size) if size and size.isdigit() else None, **({"version": version} if version else {})}


@configured()
def _pixels_digest(name: str) -> str:
    """SHA-256 of a dataset's header and of small windows at its corners and its centre, for what is no file."""
    try:
        opened = dataset(name)
        header = opened.shape, opened.count, opened.dtypes, opened.nodatavals, tuple(opened.transform), str(opened.crs)
        digest = hashlib.sha256(repr(header).encode())
        last = [max(0, length - _PROBE) for length in opened.shape]
        for row, col in ((0, 0), (0, last[1]), (last[0] // 2, last[1] // 2), (last[0], 0), tuple(last)):
            digest.update(opened.read(window=Window(col, row, _PROBE, _PROBE)).tobytes())
    except RasterioError as error:
        raise RasterReadError(f"'{unsigned(name)}' cannot be read ({reason(error)}); has it been moved?") from error
    return digest.hexdigest()


def _deciding(path: Path, content: bytes) -> bytes:
    """The part of a small file that decides pixels or their place; statistics that a viewer has left do not."""
    if path.suffix == ".vrt":
        return _SOURCE.sub(rb"<SourceFilename>\1</SourceFilename>", content)
    return _without_statistics(content) if path.name.endswith(".aux.xml") else content


def _without_statistics(content: bytes) -> bytes:
    """GDAL's sidecar without statistics and histograms; empty when it holds nothing else."""
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - a file beside the person's own raster, which GDAL reads too
    except ElementTree.ParseError:
        return content
    for parent in reversed(list(root.iter())):  # so what has become empty is seen by what holds it
        for child in list(parent):
            is_empty = child.tag in ("Metadata", "PAMRasterBand") and not len(child)
            if is_empty or child.tag == "Histograms" or str(child.get("key")).startswith("STATISTICS_"):
                parent.remove(child)
    return ElementTree.tostring(root) if len(root) else b""
