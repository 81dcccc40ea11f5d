"""What identifies imagery, models and machines: content, never a place, a spelling or a time."""

from __future__ import annotations

import ast
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import rasterio
from hypothesis import given
from hypothesis import strategies as st

import geoseg
from geoseg.errors import RasterError
from geoseg.models import FAMILIES, FRAMEWORKS, packages_of
from geoseg.models.spec import Band, ClassSpec, ModelSpec
from geoseg.raster import content, open_raster, unsigned
from geoseg.raster.addresses import real_address
from geoseg.raster.fingerprints import SAMPLE_BYTES, SAMPLES, file_digest, is_sampled
from geoseg.versions import HOME, OUTLINING, PREDICTING, deciding_versions, source_digest
from tests.networks import Box, write_model
from tests.rasters import noise, write_raster


def contents(path: str | Path, **options: Any) -> list[dict[str, Any]]:
    return [content(item) for item in open_raster(path, **options).fingerprint()]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", noise(2, 90, 80))


# Local files


def touch(path: Path) -> str:
    os.utime(path, (1, 1))
    return str(path)


def spell(path: Path) -> str:
    return os.path.relpath(path)


def copy(path: Path) -> str:
    (path.parent / "elsewhere").mkdir()
    return str(shutil.copy(path, path.parent / "elsewhere" / "renamed.tif"))


def link(path: Path) -> str:
    (path.parent / "mount").symlink_to(path.parent, target_is_directory=True)
    return str(path.parent / "mount" / path.name)


@pytest.mark.parametrize("move", [touch, spell, copy, link])
def test_the_same_content_is_the_same_input_wherever_it_lies(scene: Path, move: Callable[[Path], str]) -> None:
    before = contents(scene)
    assert contents(move(scene)) == before


@pytest.mark.parametrize("position", [0, 200, 7_000, -1])
def test_a_small_file_is_read_whole(scene: Path, position: int) -> None:
    before, damaged = file_digest(scene), bytearray(scene.read_bytes())
    damaged[position] ^= 1
    scene.write_bytes(damaged)
    assert file_digest(scene) != before


@given(st.integers(0, SAMPLES - 1), st.integers(0, SAMPLE_BYTES - 1))
def test_every_sample_of_a_large_file_decides(tmp_path_factory: pytest.TempPathFactory, sample: int, byte: int) -> None:
    path, size = tmp_path_factory.getbasetemp() / "large.bin", 40_000_000
    if not path.exists():
        with path.open("wb") as file:
            file.truncate(size)
    before = file_digest(path)
    at = (size - SAMPLE_BYTES) * sample // (SAMPLES - 1) + byte
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\1")
    try:
        assert file_digest(path) != before
    finally:
        with path.open("r+b") as file:
            file.seek(at)
            file.write(b"\0")


def test_a_file_of_a_hundred_gigabytes_is_identified_by_one_megabyte_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "huge.bin"
    with path.open("wb") as file:
        file.truncate(100 * 2**30)
    read: list[int] = []
    opened = Path.open

    def counting(self: Path, *arguments: Any) -> Any:
        file = opened(self, *arguments)
        return type("Counting", (), {
            "__enter__": lambda this: this, "__exit__": lambda *_: file.close(), "seek": lambda _, at: file.seek(at),
            "read": lambda _, count=-1: read.append(count) or file.read(count),
        })()  # fmt: skip

    monkeypatch.setattr(Path, "open", counting)
    assert len(file_digest(path)) == 64
    assert sum(read) == 2**20


def test_a_file_that_was_only_sampled_says_so(scene: Path) -> None:
    item = open_raster(scene).fingerprint()[0]
    assert not is_sampled(item)
    assert is_sampled({**item, "size": 2**21})


def test_statistics_that_a_viewer_leaves_beside_a_raster_change_nothing_and_a_nodata_value_does(scene: Path) -> None:
    before, sidecar = contents(scene), Path(f"{scene}.aux.xml")
    band = '<PAMDataset><PAMRasterBand band="1">{}</PAMRasterBand></PAMDataset>'
    statistics = '<Histograms/><Metadata><MDI key="STATISTICS_MEAN">3</MDI></Metadata>'
    sidecar.write_text(band.format(statistics))
    assert contents(scene) == before
    sidecar.write_text(band.format(f"<NoDataValue>7</NoDataValue>{statistics}"))
    declared = contents(scene)
    assert declared != before
    sidecar.write_text(band.format("<NoDataValue>7</NoDataValue>"))
    assert contents(scene) == declared


def vrt_of(path: Path, name: str, *, relative: bool) -> str:
    with rasterio.open(path) as source:
        height, width, to_gdal = source.height, source.width, source.transform.to_gdal()
    source_name = os.path.relpath(path, Path(name).parent) if relative else str(path)
    bands = "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource><SourceFilename relativeToVRT="{int(relative)}">'
        f"{source_name}</SourceFilename><SourceBand>{band}</SourceBand></SimpleSource></VRTRasterBand>"
        for band in (1, 2)
    )
    Path(name).write_text(
        f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}"><SRS>EPSG:32618</SRS>'
        f"<GeoTransform>{', '.join(map(str, to_gdal))}</GeoTransform>{bands}</VRTDataset>"
    )
    return name


def test_a_vrt_is_what_its_sources_are_however_it_names_them(scene: Path, tmp_path: Path) -> None:
    (tmp_path / "vrts").mkdir()
    before = contents(vrt_of(scene, str(tmp_path / "vrts" / "a.vrt"), relative=True))
    assert contents(vrt_of(scene, str(tmp_path / "b.vrt"), relative=False)) == before
    write_raster(scene, noise(2, 90, 80) ^ 1)
    assert contents(tmp_path / "b.vrt") != before


def test_sources_of_a_vrt_within_a_vrt_count(scene: Path, tmp_path: Path) -> None:
    inner = vrt_of(scene, str(tmp_path / "inner.vrt"), relative=True)
    outer = vrt_of(Path(inner), str(tmp_path / "outer.vrt"), relative=True)
    before = contents(outer)
    write_raster(scene, noise(2, 90, 80) ^ 1)
    assert contents(outer) != before


def test_files_of_an_archive_are_told_apart_by_its_content_and_their_name(tmp_path: Path) -> None:
    import zipfile

    first, second = (write_raster(tmp_path / f"{name}.tif", noise(1, 9, 9) ^ value) for value, name in enumerate("ab"))

    def pack(**members: Path) -> None:
        with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
            for name, path in members.items():
                archive.write(path, f"{name}.tif")

    def packed(name: str) -> list[dict[str, Any]]:
        return contents(f"/vsizip/{tmp_path}/s.zip/{name}.tif")

    pack(a=first, b=second)
    before = packed("a")
    assert packed("b") != before
    pack(a=second, b=second)
    assert packed("a") != before


def test_what_is_no_file_is_identified_by_its_pixels() -> None:
    prints = []
    for value in (3, 4):
        with rasterio.MemoryFile() as memory:
            options = {"driver": "GTiff", "width": 5, "height": 4, "count": 1, "dtype": "uint8", "crs": "EPSG:32618"}
            with memory.open(**options, transform=rasterio.Affine(10, 0, 0, 0, -10, 0)) as target:
                target.write(np.full((1, 4, 5), value, np.uint8))
            prints.append(contents(memory.name))
    assert prints[0][0]["sha256"] != prints[1][0]["sha256"]


# Addresses

SIGNED = [
    "https://a.blob.core.windows.net/s.tif?sv=2024-05-04&se=2026-01-01&sr=c&sp=rl&sig=AbC%2Bd%3D",
    "https://b.s3.amazonaws.com/s.tif?X-Amz-Algorithm=AWS4&X-Amz-Signature=12ab&X-Amz-Expires=60",
    "https://b.s3.amazonaws.com/s.tif?AWSAccessKeyId=AK&Signature=x%2F&Expires=1",
    "https://storage.googleapis.com/b/s.tif?X-Goog-Signature=9f&X-Goog-Credential=me",
    "https://cdn.example.org/s.tif?Expires=9&Signature=x&Key-Pair-Id=K",
    "https://me:secret@example.org/s.tif",
    "https://tiles.example.org/s.tif?api_key=12",
]


@pytest.mark.parametrize("address", SIGNED)
def test_a_signature_is_removed_from_addresses_sentences_and_documents(address: str) -> None:
    plain = address.partition("?")[0].replace("me:secret@", "")
    assert unsigned(address) == plain
    assert (
        unsigned(f"'{address}' cannot be opened (404); try again?") == f"'{plain}' cannot be opened (404); try again?"
    )
    assert json.loads(unsigned(json.dumps({"path": [address, 1]}))) == {"path": [plain, 1]}
    assert real_address(f"/vsicurl?pc_url_signing=yes&pc_collection=s&url={address}") == plain


@pytest.mark.parametrize(
    "address",
    ["https://e.org/cog?url=https://d.org/a.tif&st=3", "https://e.org/v1?item=7", "scene?.tif", "scenes/*.tif?", "a@b"],
)
def test_what_a_query_says_besides_stays(address: str) -> None:
    assert unsigned(address) == address


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("ftp://me:se@cret@h.org/x", "ftp://h.org/x"),
        ("SFTP://me:se@cret@h.org/x", "SFTP://me@h.org/x"),
        ("sftp://me@h.org/x", "sftp://me@h.org/x"),
        ("https://token@h.org/x", "https://h.org/x"),
        ("abfs://maps@account.dfs.core.windows.net/x", "abfs://maps@account.dfs.core.windows.net/x"),
    ],
)
def test_names_that_are_part_of_a_place_stay_and_passwords_go(address: str, plain: str) -> None:
    assert unsigned(f"'{address}' is there") == f"'{plain}' is there"
    assert unsigned(plain) == plain


class Storage(BaseHTTPRequestHandler):
    """Files that only signed requests may read, and nobody may describe, as presigned addresses are."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]

    def log_message(self, *_: Any) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:
        """Refuse what the signature is not for; GDAL then reads without asking."""
        self._answer(403, b"")

    def do_GET(self) -> None:
        """Answer a range."""
        address = urlsplit(self.path)
        if address.path == "/moved/a.tif":
            return self._answer(302, b"", {"Location": "/locked/a.tif?Signature=1"})
        data = self.files.get(address.path)
        if data is None or "Signature=" not in address.query:
            return self._answer(403 if data else 404, b"")
        first, _, last = self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        if "/locked/" in address.path and self.headers.get("Authorization") != "Basic bWU6YTpi":  # me, a:b
            return self._answer(401, b"")
        part = data[int(first) : int(last or len(data)) + 1]
        whole = f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}"
        return self._answer(206, part, {"Content-Range": whole, "ETag": f'"{hash(data)}"'})

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def storage() -> Iterator[tuple[str, dict[str, bytes]]]:
    files: dict[str, bytes] = {}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Files", (Storage,), {"files": files}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", files
    server.shutdown()


def test_a_presigned_file_is_known_by_its_server_whoever_signs_and_wherever_it_lies(
    scene: Path, storage: tuple[str, dict[str, bytes]]
) -> None:
    from geoseg.raster.fingerprints import _asked, identify

    root, files = storage
    files |= {"/a.tif": scene.read_bytes(), "/b/c.tif": scene.read_bytes(), "/d.tif": scene.read_bytes() + b"\0"}
    source = open_raster(scene).sources[0]

    def identity(address: str) -> dict[str, Any]:
        from geoseg.raster import fingerprints

        return fingerprints._identify(unsigned(address), address) or {}

    one, again, elsewhere, other = (
        identity(f"{root}/{name}?Signature={number}&Expires=1")
        for number, name in enumerate(("a.tif", "a.tif", "b/c.tif", "d.tif"))
    )
    assert one["size"] == scene.stat().st_size
    assert content(one) == content(again) == content(elsewhere) != content(other)
    assert "Signature" not in json.dumps([one, again, elsewhere, other])
    assert identify([source]) == open_raster(scene).fingerprint()
    files["/locked/a.tif"] = scene.read_bytes()
    locked = identity(f"{root.replace('//', '//me:a%3Ab@')}/locked/a.tif?Signature=1")
    assert content(locked) == content(one)
    assert "me" not in locked["path"] + locked["absolute"]
    assert _asked(f"{root.replace('//', '//me:a%3Ab@')}/moved/a.tif") == {}  # a password is not passed on
    with pytest.raises(RasterError, match=r"its server refuses to give it: sign its address anew, .*`--input`"):
        open_raster(f"{root}/a.tif?expired=1")


# Models and packages


def spec(framework: str = "pytorch", architecture: str = "") -> ModelSpec:
    classes = ClassSpec(0, "a"), ClassSpec(1, "b")
    return ModelSpec(
        "m", "semantic-segmentation", (Band("b1"),), classes, framework=framework, architecture=architecture
    )


@cache
def distributions() -> dict[str, list[str]]:
    """Distributions by the packages that they bring; finding them takes half a second."""
    return dict(packages_distributions())


def imported(module: str, seen: set[str]) -> set[str]:
    """Distributions that a module of geoseg imports, and those that modules of `geoseg.models` import that it does."""
    path = HOME.parent / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if module in seen or not path.is_file():
        return set()
    seen.add(module)
    files = sorted(path.parent.glob("*.py")) if path.name == "__init__.py" and path.parent.name != "models" else [path]
    names: set[str] = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = [f"{node.module}.{item.name}" for item in node.names] if node.module == "geoseg.models" else []
            names |= {node.module, *inner}
        elif isinstance(node, ast.Import):
            names |= {item.name for item in node.names}
    ours = {name for name in names if name.startswith("geoseg.models.")}
    own = {distributions().get(name.partition(".")[0], [""])[0] for name in names - ours}
    return own.union(*(imported(name, seen) for name in sorted(ours)))


LIBRARIES = {"segmentation-models-pytorch", "segmentation_models_pytorch", "timm", "torchvision", "transformers"}
LIBRARIES |= {"onnxruntime"}


@pytest.mark.parametrize("pattern", [*FRAMEWORKS, *FAMILIES])
def test_every_library_that_an_adapter_imports_is_among_the_packages_that_decide(pattern: str) -> None:
    if pattern in FRAMEWORKS:
        adapter, known = FRAMEWORKS[pattern].adapter, spec(pattern)
    else:
        adapter, known = FAMILIES[pattern].adapter, spec("pytorch", pattern.replace("*", "X"))
    used = {name.replace("_", "-") for name in imported(adapter, set()) & LIBRARIES}
    if pattern == "torchvision.maskrcnn_*":
        used -= {"segmentation-models-pytorch"}  # of geoseg's own compact network, which has another name
    assert used <= set(packages_of(known)), (adapter, used)


def test_only_packages_that_a_model_uses_decide() -> None:
    versions = {name: set(deciding_versions(spec(*name), is_resampled=False)) for name in (
        ("onnx",), ("pytorch", "smp.Unet"), ("pytorch", "transformers.Segformer"), ("torch.export",),
    )}  # fmt: skip
    always = {"geoseg", "gdal", "numba", "numpy", "rasterio", "torch"}
    assert versions["onnx",] - always == {"onnxruntime"}
    assert versions["pytorch", "smp.Unet"] - always == {"segmentation-models-pytorch", "timm", "torchvision"}
    assert versions["pytorch", "transformers.Segformer"] - always == {"transformers"}
    assert versions["torch.export",] == always
    assert "scipy" in deciding_versions(spec(), is_resampled=True)


def test_packages_of_both_parts_decide() -> None:
    both = replace(spec(), parts=(spec("onnx"), spec("pytorch", "torchvision.deeplabv3_resnet50")))
    assert packages_of(both) == ("onnxruntime", "torchvision")


@pytest.mark.parametrize(
    ("parts", "files"),
    [
        (PREDICTING, {"report/page.py": False, "raster/cog.py": False, "blending/ramps.py": True}),
        (OUTLINING, {"raster/cog.py": False, "raster/pixel_areas.py": True, "raster/source.py": True, "tree.py": True}),
    ],
)
def test_an_upgrade_of_geoseg_that_computes_alike_is_the_same_and_another_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: tuple[str, ...], files: dict[str, bool]
) -> None:
    shutil.copytree(HOME, tmp_path / "geoseg", ignore=shutil.ignore_patterns("__pycache__", "catalogs"))
    monkeypatch.setattr("geoseg.versions.HOME", tmp_path / "geoseg")

    def digest() -> str:
        source_digest.cache_clear()
        return source_digest(parts)

    before = digest()
    for name, decides in files.items():
        with (tmp_path / "geoseg" / name).open("a") as file:
            file.write("\n# changed\n")
        assert (digest() != before) == decides, name
        before = digest()
    source_digest.cache_clear()


# Plans


@pytest.fixture
def plan(tmp_path: Path, scene: Path) -> Callable[..., dict[str, Any]]:
    model = write_model(tmp_path / "model", Box(1), name="box", halo=3)

    def fingerprint(**more: Any) -> dict[str, Any]:
        made = geoseg.plan({"model": str(model), "input": str(scene), "ramp": 8, **more})
        return json.loads(json.dumps(made.fingerprint()))  # type: ignore[no-any-return]

    fingerprint.model = model  # type: ignore[attr-defined]
    return fingerprint


def test_words_and_colours_of_a_model_decide_no_label_and_its_scaling_does(plan: Any) -> None:
    before, item = plan(), json.loads(plan.model.read_text())
    item["id"] = "renamed"
    item["properties"]["description"] = "another"
    classes = item["properties"]["mlm:output"][0]["classification:classes"]
    classes[0] |= {"name": "sea", "color_hint": "112233"}
    plan.model.write_text(json.dumps(item))
    assert plan() == before
    item["properties"]["mlm:input"][0]["value_scaling"] = [{"type": "scale", "value": 128}] * 2
    plan.model.write_text(json.dumps(item))
    assert plan() != before


def test_the_precision_of_a_cpu_is_said_whatever_was_asked(plan: Any) -> None:
    assert plan()["precision"] == "float32"
    assert plan() == plan(precision="float32", device="cpu")


def test_a_corrected_crs_decides_polygons_and_no_label(plan: Any, tmp_path: Path) -> None:
    path = write_raster(tmp_path / "bare.tif", noise(2, 90, 80), crs=None)
    assert plan(input=str(path), crs="EPSG:32618") == plan(input=str(path), crs="EPSG:32617")
