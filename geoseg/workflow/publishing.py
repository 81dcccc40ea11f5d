"""Finished results at an address of a store that fsspec knows, such as ``s3://bucket/map``.

State and results of a run stay in its folder, so nothing of how it continues depends on the store. A record there says
what was put where, and as which version: what is as it was put is not put again, and what somebody else has written is
never replaced. It knows files and their names; not what they hold.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs

from geoseg.errors import ExistingOutputError, GeosegError, OutputError, WorkflowError
from geoseg.files import UNFINISHED, read_json, write_json
from geoseg.options import RECORD, RUN_FILE, Workflow
from geoseg.planning import Plan
from geoseg.raster import unsigned
from geoseg.store import RunFolder
from geoseg.vector import FORMATS
from geoseg.workflow.outputs import REPORT, Outputs, raster_files
from geoseg.workflow.result_item import NAME as ITEM

ADDRESS = re.compile(r"[a-z][a-z0-9+]+://.+")

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory"}
"""Protocols of stores in which a file is there whole or not at all; elsewhere it gets its name when it is whole."""

AT_ONCE = 8
"""Files on their way at the same time to a store that is safe for threads; to others it is one."""

_SPARE = re.compile(rf"\.[0-9a-f]{{8}}{re.escape(UNFINISHED)}$")
"""How names end of files that are not whole yet."""

_VERSIONS = (
    *("ETag", "etag", "md5Hash", "mtime", "last_modified", "LastModified", "updated", "created"),
    *("modify", "modified", "modificationTime", "last_write_time"),
)
"""What stores say of a file that changes with it, the best first."""


@dataclass(frozen=True)
class Address:
    """A place in a store, and what this run has put there.

    Attributes
    ----------
    text : str
        As a person wrote it.
    store : AbstractFileSystem
        Of fsspec.
    root : str
        Path within it.
    folder : RunFolder
        The run.
    """

    text: str
    store: Any
    root: str
    folder: RunFolder

    @classmethod
    def of(cls, text: str, folder: RunFolder) -> Address:
        """Find the store of an address.

        Raises
        ------
        WorkflowError
            It is no address, or its store is not known or not installed.
        """
        if not ADDRESS.match(text):
            raise WorkflowError(f"publish '{unsigned(text)}' is no address; give one such as s3://bucket/folder.")
        try:
            store, root = url_to_fs(text)
        except Exception as error:  # some stores connect here, with exceptions of their own
            remedy = "check address, credentials and network"
            if isinstance(error, ImportError) or "not known" in str(error):
                remedy = 'pip install "geoseg[s3]"' if text.startswith("s3") else "install the package of fsspec for it"
            reason = unsigned(" ".join(str(error).split()).rstrip(".")) or type(error).__name__
            raise WorkflowError(
                f"publish '{unsigned(text)}' cannot be used ({reason}); {remedy}, or give another."
            ) from error
        return cls(text, store, root.rstrip("/"), folder)

    @property
    def is_safe_for_threads(self) -> bool:
        """Whether several files may be on their way at once; a connection of FTP takes one command after the other."""
        return self._protocol in OBJECT_STORES or self._protocol == "file"

    @property
    def _protocol(self) -> str:
        return self.text.partition("://")[0]

    def listing(self) -> dict[str, dict[str, Any]]:
        """The files there by their names, with what tells one version from another; none that were never whole."""
        self.store.invalidate_cache()
        found = self.store.find(self.root, detail=True)
        names = {name: name[len(self.root) :].lstrip("/") for name in found}
        return {names[path]: _version(info) for path, info in found.items() if not _SPARE.search(names[path])}

    def remove_spares(self, names: Iterable[str]) -> None:
        """Remove what a start that was killed has left of some files."""
        kept = set(names)
        for path in self.store.find(self.root):
            spare = path[len(self.root) :].lstrip("/")
            if _SPARE.search(spare) and _SPARE.sub("", spare) in kept:
                self.store.rm_file(path)

    def recorded(self) -> dict[str, Any]:
        """What was put there, by name; without ``there`` what was on its way when a start ended."""
        return dict((read_json(self._file) or {}).get(unsigned(self.text), {}))

    def record(self, entries: Mapping[str, Any]) -> None:
        """Record what was put there; an address is told by what is no secret of it."""
        write_json(self._file, {**(read_json(self._file) or {}), unsigned(self.text): entries})

    @property
    def _file(self) -> Path:
        return self.folder.state / "published.json"

    def put(self, path: Path, name: str) -> None:
        """Put a file there, whole or not at all."""
        target = f"{self.root}/{name}"
        if self._protocol in OBJECT_STORES:
            self.store.put_file(str(path), target)
            return
        spare = f"{target}.{uuid.uuid4().hex[:8]}{UNFINISHED}"  # as in _SPARE
        self.store.makedirs(target.rpartition("/")[0], exist_ok=True)
        try:
            self.store.put_file(str(path), spare)
            self.store.mv(spare, target)
        finally:
            if self.store.exists(spare):
                self.store.rm_file(spare)

    def refuse_others(self, names: Iterable[str], there: Mapping[str, Any]) -> None:
        """Refuse to replace what this run has not put there, or what has been changed since.

        Raises
        ------
        ExistingOutputError
            Such a file is there; a name stands for all files below it too.
        """
        recorded, places = self.recorded(), tuple(names)
        for name, version in sorted(there.items()):
            own = recorded.get(name)
            is_own = own is not None and own.get("there") in (None, version)
            if not is_own and any(name == place or name.startswith(f"{place}/") for place in places):
                raise ExistingOutputError(
                    f"{unsigned(self.text)} holds {name}, which this run has not put there or somebody has changed "
                    "since; choose another address, remove it there, or give --overwrite to replace it."
                )


@contextmanager
def _told(address: Address, *, is_mapped: bool) -> Iterator[None]:
    """Put what a store says into one sentence; each has exceptions of its own."""
    try:
        yield
    except GeosegError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        verb, note = ("written", f"the results are in {address.folder.path}: ") if is_mapped else ("read", "")
        raise OutputError(
            f"{unsigned(address.text)} cannot be {verb} ({unsigned(reason)}); {note}check address, credentials and "
            "network, and run the same command again."
        ) from error


def check_address(wanted: Workflow, made: Plan) -> None:
    """Refuse an address that cannot be used before anything is computed; see `publish`."""
    if wanted.publish is None:
        return
    folder = RunFolder(Path(wanted.output))
    address = Address.of(wanted.publish, folder)
    outside = next((name for name in wanted.features if Path(name).is_absolute() or ".." in Path(name).parts), None)
    if outside is not None:
        raise WorkflowError(
            f"features '{outside}' lies outside of {folder.path}, and publish copies what is in it; give a name alone."
        )
    if not wanted.overwrite:
        with _told(address, is_mapped=False):
            files = [*map(str, raster_files(wanted, made)), *wanted.features]
            styles = [str(Path(name).with_suffix(ending)) for name in files for ending in (".qml", ".clr")]
            address.refuse_others([*files, *styles, REPORT, RECORD, ITEM, RUN_FILE], address.listing())


def publish(wanted: Workflow, folder: RunFolder) -> int:
    """Put finished results at the address of a workflow, if it has one: what describes them last.

    Parameters
    ----------
    wanted : Workflow
        The run.
    folder : RunFolder
        Holds its results, which are whole.

    Returns
    -------
    int
        Files that were put or removed; 0 where all was there.

    Raises
    ------
    ExistingOutputError
        Something there is of somebody else.
    OutputError
        The store refuses.
    """
    if wanted.publish is None:
        return 0
    address = Address.of(wanted.publish, folder)
    with _told(address, is_mapped=True):
        return _publish(address, _files_of(folder), is_replacing=wanted.overwrite)


def _publish(address: Address, files: Mapping[str, Path], *, is_replacing: bool) -> int:
    there, before, home = address.listing(), address.recorded(), address.folder.path
    entries = {name: _entry(path, before.get(name, {})) for name, path in files.items()}
    pending = [name for name in files if _is_pending(entries[name], before.get(name), there.get(name))]
    own = {name for name, old in before.items() if old["there"] in (None, there.get(name))}
    folders = [name for name in _result_names(address.folder) if (home / name).is_dir()]
    if is_replacing:  # a part of another map would be read as one of this
        own |= {name for name in there if name.startswith(tuple(f"{folder}/" for folder in folders))}
    else:
        address.refuse_others([*pending, *folders], there)
    gone = sorted(name for name in own if name not in files and name in there)
    if not pending and not gone:
        return 0
    address.record({**before, **{name: {**entries[name], "there": None} for name in pending}})
    last = [name for name in pending if name in (ITEM, RUN_FILE)]
    with ThreadPoolExecutor(AT_ONCE if address.is_safe_for_threads else 1) as threads:
        list(threads.map(lambda name: address.put(files[name], name), [name for name in pending if name not in last]))
    for name in last:
        address.put(files[name], name)
    for name in gone:  # what item.json does not name any more
        address.store.rm_file(f"{address.root}/{name}")
    address.remove_spares(files)
    there = address.listing()
    short = next((name for name in files if there.get(name, {}).get("size") != files[name].stat().st_size), None)
    if short is not None:
        raise OutputError(f"{unsigned(address.text)} does not hold {short} as it was put; run the same command again.")
    address.record({name: {**entry, "there": there[name]} for name, entry in entries.items()})
    return len(pending) + len(gone)


def _result_names(folder: RunFolder) -> dict[str, list[str]]:
    """Files and folders that belong to a result within the run's folder, by its name."""
    entries = (Outputs.recorded(folder) or {}).items()
    return {
        key: [Path(key).with_name(name).as_posix() for name in entry["files"]]
        for key, entry in entries
        if not Path(key).is_absolute()
    }


def _files_of(folder: RunFolder) -> dict[str, Path]:
    """The results of a run by their names, those that describe the others last."""
    results = _result_names(folder)
    paths = [folder.path / name for names in results.values() for name in names]
    styled = [folder.path / key for key in results if Path(key).suffix.lower() in (*FORMATS, ".tif")]
    paths += [path.with_suffix(ending) for path in styled for ending in (".qml", ".clr")]
    last = [folder.path / RECORD, folder.path / ITEM, folder.run_file]
    ordered = dict.fromkeys([*(path for path in paths if path not in last), *last])
    files = [file for path in ordered for file in (sorted(path.rglob("*")) if path.is_dir() else [path])]
    return {file.relative_to(folder.path).as_posix(): file for file in files if file.is_file()}


def _entry(path: Path, before: Mapping[str, Any]) -> dict[str, Any]:
    """What decides whether a file is put again: its content, read unless it was not written since."""
    state = path.stat()
    written = [state.st_size, state.st_mtime_ns]
    if before.get("written") == written:
        return {"written": written, "sha256": before["sha256"]}
    with path.open("rb") as file:
        return {"written": written, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _is_pending(entry: Mapping[str, Any], before: Mapping[str, Any] | None, there: Any) -> bool:
    """Whether a file is not there as it was put, or has another content now."""
    return there is None or before is None or (before["there"], before["sha256"]) != (there, entry["sha256"])


def _version(info: Mapping[str, Any]) -> dict[str, Any]:
    tag = next((str(info[key]) for key in _VERSIONS if info.get(key) is not None), None)
    return {"size": info.get("size"), "version": tag}
