"""Markers: what a stage has left on disk, by name, size and checksum.

Strategy. A marker is written after its files, and nothing of it is synced: to wait for the disk at every block costs
milliseconds, and the system writes within half a minute anyway. Instead a marker counts only while its files are what
it says. After a power cut a file may be missing, cut off, or hold zeros; so a start compares sizes, which takes
microseconds, and whoever reads a file compares its checksum. What is not what it was is made again.

It knows files, not what they are for.
"""

from __future__ import annotations

import json
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import DamagedError
from geoseg.files import clear, remove, write_file

READ = 2**20
"""Bytes that are read at once."""


@dataclass(frozen=True)
class Digest:
    """What a file was when it was written.

    Attributes
    ----------
    name : str
        From the folder that the markers speak of.
    size : int
        Bytes.
    crc32 : int, optional
        Of the file, or of the arrays in it; None in formats that check themselves.
    """

    name: str
    size: int
    crc32: int | None = None

    @classmethod
    def of(cls, path: Path, root: Path, *, checks_itself: bool = False) -> Digest:
        """Take the digest of a file below a folder."""
        name = path.relative_to(root).as_posix()
        return cls(name, path.stat().st_size, None if checks_itself else _crc32(path))


@dataclass(frozen=True)
class Markers:
    """Markers of one stage.

    Attributes
    ----------
    root : Path
        Names of files begin here.
    folder : Path
        Holds the markers.
    ending : str
        What follows the name of a block or a node.
    """

    root: Path
    folder: Path
    ending: str = ""

    def write(self, name: str, digests: Iterable[Digest]) -> None:
        """Say that a stage is on disk, and what that is."""
        content = json.dumps({digest.name: [digest.size, digest.crc32] for digest in digests})
        write_file(self._path(name), lambda path: path.write_text(content), durable=False)

    def has(self, name: str) -> bool:
        """Say whether there is a marker."""
        return self._path(name).exists()

    def names(self, pattern: re.Pattern[str]) -> set[str]:
        """Names of the markers; files of others, such as ``.DS_Store``, are none."""
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(self.folder) as entries:
            names = [entry.name.removesuffix(self.ending) for entry in entries if entry.name.endswith(self.ending)]
            return {name for name in names if pattern.fullmatch(name)}
        return set()

    def read(self, name: str) -> dict[str, Digest] | None:
        """Digests by name of file; None when there is no marker, or one that was cut off."""
        try:
            content = json.loads(self._path(name).read_bytes())
            return {file: Digest(file, int(size), crc32) for file, (size, crc32) in content.items()}
        except (FileNotFoundError, IsADirectoryError, ValueError, TypeError, AttributeError):
            return None

    def is_intact(self, name: str, counts: Callable[[str], bool] = lambda _: True) -> bool:
        """Say whether the files that a marker speaks of, or those that count, are there and have their sizes."""
        return not self.differing(name, counts)

    def differing(self, name: str, counts: Callable[[str], bool] = lambda _: True) -> list[Path]:
        """Files that count and are not there in their sizes; the marker, when it was cut off or there is none."""
        digests, root = self.read(name), str(self.root)
        if digests is None:
            return [self._path(name)]
        files = (file for file, digest in digests.items() if counts(file) and digest.size != _size(f"{root}/{file}"))
        return [self.root / file for file in files]

    def remove(self, name: str) -> None:
        """Forget that a stage is on disk."""
        clear(self._path(name))

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{self.ending}"


def check(path: Path, root: Path, digests: Mapping[str, Digest] | None) -> None:
    """Refuse a file that is not what it was when it was written; one without a digest is taken as it is.

    Raises
    ------
    DamagedError
        It is missing or differs; what differs is removed, so that the next start makes it again.
    """
    digest = (digests or {}).get(path.relative_to(root).as_posix())
    if not path.exists():
        raise missing(path)
    if digest is not None and (_size(path) != digest.size or _crc32(path) != digest.crc32):
        raise damaged(path, "its checksum differs")


def missing(path: Path) -> DamagedError:
    """The error of a file that is gone."""
    return DamagedError(f"{path} is missing; start the run again, which makes it anew.")


def damaged(path: Path, reason: object) -> DamagedError:
    """The error of a damaged file, which is removed."""
    words = " ".join(str(reason).split()).rstrip(".")
    remove(path)
    if path.exists():
        return DamagedError(f"{path} is damaged ({words}); remove it and start the run again, which makes it anew.")
    return DamagedError(f"{path} was damaged ({words}) and is removed; start the run again, which makes it anew.")


def _size(path: str | Path) -> int:
    """Bytes; -1 when there is no such file."""
    try:
        found = os.stat(path)  # noqa: PTH116 - of 100,000 blocks, and a Path takes as long as the disk
    except (FileNotFoundError, NotADirectoryError):
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def _crc32(path: Path) -> int:
    crc32 = 0
    with path.open("rb") as file:
        while part := file.read(READ):
            crc32 = zlib.crc32(part, crc32)
    return crc32
