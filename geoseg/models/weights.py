"""Weights: where they are, and whether they are the right ones.

Weights are a file, whose tensors `geoseg.models.state_dicts` reads, or a folder that a family's own library wrote; what
its files mean is the matter of that family's adapter.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import quote, unquote, urljoin, urlsplit

from geoseg.errors import WeightsError
from geoseg.files import cache_home, move_into_place, working_folder
from geoseg.models.spec import HUB, RAMP, ModelSpec
from geoseg.models.stac import texts
from geoseg.models.state_dicts import PICKLES
from geoseg.models.weight_files import PARTS, digest, external_data, fixed_side, require_files, sha256, size

TIMEOUT = 60
"""Seconds without an answer after which a download is given up."""

CHUNK = 1 << 20
"""Bytes read at once."""

UNKNOWN_BYTES = 400 << 20
"""What weights are taken to be whose size nothing tells; SAM's of ViT-B have 357 MiB."""

SHORTEST = 8
"""Hexadecimal digits of a checksum that tell one file from another."""

Source = Literal["here", "entry", "guess"]

PAGE = re.compile(r"https://(huggingface\.co|hf\.co)/(?P<name>[\w.-]+/[\w.-]+)(/tree/(?P<revision>[^/?#]+))?/?")
"""The page of a model on the Hugging Face hub, and one of its revisions."""

FILE_ON_HUB = re.compile(r"hub:(?P<name>[\w.-]+/[\w.-]+)@(?P<revision>[^/@]+)/(?P<file>[\w.-]+)")
"""One file of a revision of a repository on the hub."""

SHELVES = ("datasets", "spaces", "collections", "papers", "docs", "blog")
"""What stands on the hub where the name of a model's owner stands, and holds no models."""

SOURCES = ("hf-hub:", "hf_hub:", "local-dir:")
"""What stands in the name of an encoder that timm would read from a hub or a folder."""


def require_weights(spec: ModelSpec) -> None:
    """Refuse a model whose weights nobody gave, or are a file or folder that is not there; addresses are not asked.

    Raises
    ------
    WeightsError
        Names the remedy.
    """
    if spec.weights is None:
        raise _without_weights(spec)
    path = local_weights(spec)
    if path is not None and not path.exists():
        raise WeightsError(
            f"the weights '{path}' of model '{spec.name}' do not exist; give others with --weights PATH."
        )


def _without_weights(spec: ModelSpec) -> WeightsError:
    if spec.parts:
        return WeightsError(
            f"model '{spec.name}' has {len(spec.parts)} members with weights each; give the entry of one."
        )
    remedy = spec.obtain or "give them with --weights FILE (Python: spec.with_weights(FILE))."
    return WeightsError(f"model '{spec.name}' ships without weights; {remedy}")


def resolve_weights(spec: ModelSpec) -> Path:
    """Return the local, verified weights file of a model; an address is downloaded once into the cache.

    Raises
    ------
    WeightsError
        When the spec names no weights, they cannot be found or fetched, or their checksum differs.
    """
    if spec.weights is None:
        raise _without_weights(spec)
    if urlsplit(spec.weights).scheme in ("http", "https"):
        return _download(spec)
    path = local_weights(spec) if _file_on_hub(spec) is None else _of_hub(lambda: _hub_file(spec), spec)
    if path is None:
        raise WeightsError(
            f"weights address '{spec.weights}' of model '{spec.name}' cannot be fetched; "
            "download it and give the file with --weights FILE."
        )
    if path.is_dir():
        raise WeightsError(
            f"weights '{path}' of model '{spec.name}' are a folder where a file is needed; give one of its files with "
            "--weights FILE."
        )
    if not path.is_file():
        raise WeightsError(
            f"weights file '{path}' of model '{spec.name}' does not exist; give another with --weights FILE."
        )
    _verify(path, spec)
    require_files(path)
    return path


def resolve_quantized(spec: ModelSpec) -> Path:
    """Return the local, verified file of a model's 8-bit weights.

    Raises
    ------
    WeightsError
        As `resolve_weights`.
    """
    found = spec.int8
    if found is None:
        return resolve_weights(spec)
    try:
        return resolve_weights(replace(spec, weights=found.graph, checksum=found.checksum))
    except WeightsError as error:  # --weights would replace those of the model
        text = str(error)
        what = text.rpartition("; ")[0] or text.removesuffix(".")
        remedy = "put the right file there, or give `--precision float32`"
        raise WeightsError(f"{what} (its asset int8); {remedy}.") from error


def resolve_folder(spec: ModelSpec) -> Path:
    """Return the local, verified folder of a model's weights; one of the hub is fetched once into the hub's cache.

    Parameters
    ----------
    spec : ModelSpec
        Its ``weights`` are a folder as ``save_pretrained`` writes it, or ``"hub:ORG/NAME"``, with a revision as
        ``"hub:ORG/NAME@REVISION"``.

    Raises
    ------
    WeightsError
        When the folder is not there and cannot be fetched, its checksum differs, its tensors are pickles, or its
        configuration names an encoder that lies elsewhere.
    """
    name = _repository(spec)
    folder = local_weights(spec) if name is None else _of_hub(lambda: _snapshot(name), spec)
    if folder is None or not folder.is_dir():
        raise WeightsError(
            f"weights folder '{spec.weights}' of model '{spec.name}' does not exist; "
            "give another with --weights FOLDER."
        )
    _refuse_pickles(folder, spec)
    _refuse_sources(folder, spec)
    _verify(folder, spec)
    return folder


def find_source(told: Any) -> str | None:
    """Return the first name of an encoder that timm would read from elsewhere; None where there is none.

    Parameters
    ----------
    told : Any
        Arguments of a network, or the configuration that a library saved; texts at every depth count.
    """
    return next((text for text in texts(told) if any(source in text for source in SOURCES)), None)


def is_folder(spec: ModelSpec) -> bool:
    """Say whether the weights of a model are a folder, here or on the hub, rather than a file."""
    path = local_weights(spec)
    return _repository(spec) is not None or (path is not None and path.is_dir())


def local_weights(spec: ModelSpec) -> Path | None:
    """Return the file or folder that a spec names, there or not; None when weights are an address or a name."""
    parts = urlsplit(spec.weights or "")
    if spec.weights is None or (parts.scheme != "file" and len(parts.scheme) > 1):
        return None
    return Path(unquote(parts.path) if parts.scheme == "file" else spec.weights).expanduser()


def hub_name(href: str) -> str | None:
    """Return ``"hub:ORG/NAME"`` for the page of a model on the Hugging Face hub, None for any other address.

    A page of a revision (``.../tree/REVISION``) is ``"hub:ORG/NAME@REVISION"``; an address of one file is not a page.
    """
    page = PAGE.fullmatch(href)
    if page is None or page["name"].partition("/")[0] in SHELVES:
        return None
    return HUB + page["name"] + (f"@{page['revision']}" if page["revision"] else "")


def hub_page(name: str) -> str:
    """Return the page of ``"hub:ORG/NAME"``, or of its revision."""
    repository, _, revision = name.removeprefix(HUB).partition("@")
    return f"https://huggingface.co/{repository}" + (f"/tree/{revision}" if revision else "")


def file_address(href: str) -> str:
    """Return the address of a file where an address is that of the hub's page about it; any other as it is."""
    is_page = href.startswith(("https://huggingface.co/", "https://hf.co/"))
    return href.replace("/blob/", "/resolve/", 1) if is_page else href


def weights_digest(spec: ModelSpec) -> str:
    """Return ``"sha256:<hex>"`` of a model's weights, for the run's fingerprint.

    Of a folder, and of ONNX with external data, it is that of a list of the files that belong to the model, with the
    digest of each; of weights that a library knows by a name of its own, such as torchvision's, it is that name.

    Raises
    ------
    WeightsError
        As `resolve_weights` and `resolve_folder`.
    """
    if is_folder(spec):
        return digest(resolve_folder(spec))
    if spec.weights is not None and spec.weights.startswith(HUB):
        return spec.weights
    return digest(resolve_weights(spec))


def weights_size(spec: ModelSpec) -> int:
    """Return the bytes of a model's weights, all files of them; 0 while they are not on this machine."""
    path = _at_hand(spec)
    return 0 if path is None else size(path)


def expected_size(spec: ModelSpec) -> tuple[int, Source]:
    """Return the bytes of a model's weights although they may not be on this machine yet, and what says so.

    Returns
    -------
    int
        Bytes.
    str
        ``"here"``: they were counted; ``"entry"``: the model's entry says it; ``"guess"``: `UNKNOWN_BYTES`.
    """
    if (found := weights_size(spec)) or spec.weights is None or local_weights(spec) is not None:
        return found, "here"
    return (UNKNOWN_BYTES, "guess") if spec.weights_bytes is None else (spec.weights_bytes, "entry")


def with_own_size(spec: ModelSpec, fetched: Path | None = None) -> ModelSpec:
    """Return the spec with the tile size of its file, where that holds a graph that takes no other.

    The file is on this machine, or was fetched before its entry was read. Halo and ramp of larger tiles become an
    eighth and a quarter of it where they leave less than a ramp of it.
    """
    paths = [path for network in spec.networks if (path := local_weights(network) or fetched) is not None]
    side = next((side for path in paths if (side := fixed_side(path)) is not None), None)
    if side is None:
        return spec
    halo, ramp = spec.halo, spec.ramp
    if 2 * (halo + (RAMP if ramp is None else ramp)) > side:
        halo, ramp = side // 8, side // 4
    multiple = math.gcd(side, spec.multiple, 2 * halo + (RAMP if ramp is None else ramp))
    return replace(spec, tile_size=side, fixed_size=True, halo=halo, ramp=ramp, multiple=multiple)


def word_model(spec: ModelSpec) -> ModelSpec | None:
    """Return the spec of the weights that understand words for a model, where these are another model's."""
    name = dict(spec.hyperparameters).get("text_model")
    return None if name is None else replace(spec, weights=str(name), checksum=None, weights_bytes=None)


def _verify(path: Path, spec: ModelSpec) -> None:
    """Refuse a file whose checksum is not the entry's."""
    if spec.checksum is None:
        return
    found, known = digest(path) if path.is_dir() else sha256(path), spec.checksum.lower()
    if len(known) < len("sha256:") + SHORTEST or not found.startswith(known):  # an entry may have the beginning alone
        kind = "folder" if path.is_dir() else "file"
        raise WeightsError(
            f"weights {kind} '{path}' has the checksum {found}, but the entry of model '{spec.name}' says "
            f"{spec.checksum}; fetch the {kind} again, or remove file:checksum from a copy of the entry to use it."
        )


def _at_hand(spec: ModelSpec) -> Path | None:
    """Where the weights of a spec lie on this machine, as far as that can be told without fetching them."""
    name = _repository(spec)
    if name is not None or _file_on_hub(spec) is not None:
        try:
            return _hub_file(spec, local_files_only=True) if name is None else _snapshot(name, local_files_only=True)
        except (OSError, ValueError):  # neither fetched nor a name: opening the model says so
            return None
    if urlsplit(spec.weights or "").scheme in ("http", "https"):
        return cached_file(str(spec.weights))
    return local_weights(spec)


def _repository(spec: ModelSpec) -> str | None:
    """``ORG/NAME`` or ``ORG/NAME@REVISION`` of weights on the hub; names without an owner are another library's."""
    name = (spec.weights or "").removeprefix(HUB)
    return name if name != spec.weights and "/" in name and _file_on_hub(spec) is None else None


def _file_on_hub(spec: ModelSpec) -> re.Match[str] | None:
    """Repository, revision and name of weights that are one file on the hub."""
    return FILE_ON_HUB.fullmatch(spec.weights or "")


def _hub_file(spec: ModelSpec, **options: Any) -> Path:
    """Let the hub's own library fetch such a file, or find it in its cache."""
    from huggingface_hub import hf_hub_download

    found = FILE_ON_HUB.fullmatch(str(spec.weights))
    assert found is not None  # its caller has looked  # noqa: S101
    return Path(hf_hub_download(found["name"], found["file"], revision=found["revision"], **options))


def _snapshot(name: str, **options: Any) -> Path:
    """Let the hub's own library fetch a repository, or find it in its cache."""
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    allowed = [f"*{suffix}" for suffix in PARTS]
    return Path(
        snapshot_download(
            repository, revision=revision or None, allow_patterns=allowed, ignore_patterns=["*/*"], **options
        )
    )


def _of_hub(fetch: Callable[[], Path], spec: ModelSpec) -> Path:
    """What the hub's library fetches, or one sentence on what went wrong."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return fetch()
    except LocalEntryNotFoundError as error:
        raise WeightsError(
            f"weights '{spec.weights}' of model '{spec.name}' are not in the cache and the hub cannot be reached; "
            "connect once, or give a local folder with --weights FOLDER."
        ) from error
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise WeightsError(
            f"weights '{spec.weights}' of model '{spec.name}' cannot be fetched ({reason}); correct their name, sign "
            "in with 'hf auth login' where their owner asks for it, or give a local folder with --weights FOLDER."
        ) from error


def _refuse_pickles(folder: Path, spec: ModelSpec) -> None:
    """Refuse a folder without safetensors; pickles beside them are never opened."""
    suffixes = {path.suffix for path in folder.iterdir()}
    if ".safetensors" in suffixes:
        return
    if suffixes.isdisjoint(PICKLES):
        raise WeightsError(
            f"weights folder '{folder}' of model '{spec.name}' holds no .safetensors file; give a folder as "
            "save_pretrained writes it with --weights FOLDER."
        )
    raise WeightsError(
        f"weights folder '{folder}' of model '{spec.name}' holds its tensors as a pickle, which could run code when "
        "opened; it was not opened: load it where you trust it with from_pretrained, and save it with save_pretrained, "
        "which writes safetensors."
    )


def _refuse_sources(folder: Path, spec: ModelSpec) -> None:
    """Refuse a folder whose configuration would let a library read an encoder from elsewhere."""
    try:
        source = find_source(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError):  # the library that opens it says so
        return
    if source is not None:
        raise WeightsError(
            f"weights folder '{folder}' of model '{spec.name}' names the encoder '{source}', which would be read from "
            "elsewhere when its network is built; save it with an encoder that timm has itself, such as tu-resnet50."
        )


def cached_file(address: str) -> Path:
    """Return where a file from an address lies in the cache: in a folder of its own, with room for external data."""
    key = hashlib.sha256(address.encode()).hexdigest()[:16]
    return cache_home("weights") / key / Path(unquote(urlsplit(address).path)).name


def _download(spec: ModelSpec) -> Path:
    """Fetch an address and its external data into the cache, unless they are there."""
    address = str(spec.weights)
    target = cached_file(address)
    if not target.is_file():
        _place(address, target, spec)
    _verify(target, spec)
    for name in external_data(target):
        if not (target.parent / name).is_file():
            _place(urljoin(address, quote(name)), target.parent / name, replace(spec, checksum=None))
    return target


def _place(address: str, target: Path, spec: ModelSpec) -> None:
    """Fetch an address; the file appears under its name only when it is whole and verified."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(target) as folder:
            unfinished = folder / target.name
            with unfinished.open("wb") as file:
                _fetch(address, file, spec)
            _verify(unfinished, spec)
            move_into_place(unfinished, target)
    except WeightsError:
        raise
    except OSError as error:
        raise WeightsError(
            f"the cache folder '{target.parent}' cannot be written ({error}); set XDG_CACHE_HOME to one that can."
        ) from error


def _refuse_unverified(address: str, spec: ModelSpec) -> None:
    """Refuse an address without encryption where no checksum tells whether the file was exchanged on its way."""
    if spec.checksum is None and urlsplit(address).scheme != "https":
        raise WeightsError(
            f"weights of model '{spec.name}' would come from {address} without encryption or a checksum, so they "
            "could have been replaced on the way; give https, or file:checksum in the model's entry."
        )


def _fetch(address: str, file: IO[bytes], spec: ModelSpec) -> None:
    """Write what an address answers, all of it, to a file."""
    _refuse_unverified(address, spec)
    try:
        with urllib.request.urlopen(address, timeout=TIMEOUT) as answer:  # noqa: S310 - http(s) only, see resolve_weights
            _refuse_unverified(answer.url, spec)  # where it was redirected to
            length = answer.headers.get("Content-Length")
            received = 0
            while chunk := answer.read(CHUNK):
                received += file.write(chunk)
    except WeightsError:
        raise
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise WeightsError(
            f"weights of model '{spec.name}' cannot be fetched from {address} ({error}); check the connection, or "
            f"{spec.obtain or 'give a local file with --weights FILE.'}"
        ) from error
    if length is not None and received != int(length):
        raise WeightsError(f"the download of {address} ended after {received} of {length} bytes; run it again.")
