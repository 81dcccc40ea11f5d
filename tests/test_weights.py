"""Weights files: found, fetched, verified, and never a way to run code."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from geoseg.errors import WeightsError
from geoseg.files import cache_home
from geoseg.models import Band, ClassSpec, ModelSpec, load_model
from geoseg.models.safety import clean_exported
from geoseg.models.spec import Quantized
from geoseg.models.state_dicts import read_state
from geoseg.models.weights import (
    UNKNOWN_BYTES,
    expected_size,
    hub_name,
    is_folder,
    resolve_folder,
    resolve_quantized,
    resolve_weights,
    weights_digest,
    weights_size,
)
from tests.networks import save_divided

SPEC = ModelSpec(
    "m", "semantic-segmentation", (Band("a"),), (ClassSpec(1, "x"),), architecture="smp.Unet", activation="sigmoid"
)
TWO = replace(SPEC, classes=(ClassSpec(0, "x"), ClassSpec(1, "y")))
CONTENT = b"weights " * 1000
CHECKSUM = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.bin"
    path.write_bytes(CONTENT)
    return path


def test_a_local_file_is_found_by_path_and_by_address(file: Path) -> None:
    for weights in (str(file), file.as_uri()):
        assert resolve_weights(replace(SPEC, weights=weights, checksum=CHECKSUM)) == file
    assert weights_digest(replace(SPEC, weights=str(file))) == CHECKSUM


def test_a_file_with_a_space_in_its_name_is_found(tmp_path: Path) -> None:
    path = tmp_path / "my weights.bin"
    path.write_bytes(CONTENT)
    assert resolve_weights(replace(SPEC, weights=path.as_uri())) == path


def test_a_wrong_checksum_is_refused_with_both(file: Path) -> None:
    wrong = f"sha256:{'0' * 64}"
    with pytest.raises(WeightsError) as caught:
        resolve_weights(replace(SPEC, weights=str(file), checksum=wrong))
    assert CHECKSUM in str(caught.value)
    assert wrong in str(caught.value)


def test_a_changed_file_is_noticed_although_its_digest_is_remembered(file: Path) -> None:
    before = weights_digest(replace(SPEC, weights=str(file)))
    file.write_bytes(CONTENT + b"!")
    assert weights_digest(replace(SPEC, weights=str(file))) != before


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (None, "--weights FILE"),
        ("/nowhere/weights.bin", "does not exist"),
        ("s3://bucket/weights.bin", "cannot be fetched"),
        ("https://127.0.0.1:1/weights.bin", "cannot be fetched"),
    ],
)
def test_weights_that_are_not_there_are_refused_with_the_remedy(
    weights: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsError, match=words):
        resolve_weights(replace(SPEC, weights=weights))


@pytest.mark.parametrize("checksum", ["", "sha256:", CHECKSUM[:14]])
def test_a_checksum_of_nothing_accepts_no_weights(tmp_path: Path, checksum: str) -> None:
    (tmp_path / "w.bin").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="has the checksum"):
        resolve_weights(replace(SPEC, weights=str(tmp_path / "w.bin"), checksum=checksum))
    assert resolve_weights(replace(SPEC, weights=str(tmp_path / "w.bin"), checksum=CHECKSUM[:15]))


def test_an_asset_of_8_bits_that_is_not_there_is_told_with_its_own_remedy(tmp_path: Path) -> None:
    lost = Quantized(1.0, 1.0, str(tmp_path / "int8.onnx"))
    with pytest.raises(WeightsError, match=r"int8\.onnx' .*exist \(its asset int8\); .*`--precision float32`"):
        resolve_quantized(replace(SPEC, int8=lost))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, with a note beside it."""
    path = tmp_path / "model"
    path.mkdir()
    save_file({"a": torch.zeros(2)}, path / "model.safetensors")
    (path / "config.json").write_text("{}")
    (path / "merges.txt").write_text("#")
    (path / "README.md").write_text("A model.")
    return path


def test_a_folder_is_found_by_path_and_by_address(folder: Path) -> None:
    for weights in (str(folder), folder.as_uri()):
        spec = replace(SPEC, weights=weights)
        assert is_folder(spec)
        assert resolve_folder(spec) == folder
    assert not is_folder(replace(SPEC, weights=str(folder / "config.json")))
    assert not is_folder(SPEC)


def test_the_digest_of_a_folder_is_that_of_the_files_that_belong_to_the_model(folder: Path) -> None:
    spec = replace(SPEC, weights=str(folder))
    before = weights_digest(spec)
    (folder / "README.md").write_text("The same model.")
    copy = folder.rename(folder.with_name("elsewhere"))
    assert weights_digest(spec.with_weights(copy)) == before
    assert resolve_folder(replace(spec, weights=str(copy), checksum=before)) == copy
    digests = {before}
    for name in ("config.json", "merges.txt", "model.safetensors"):
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content + b" ")
        digests.add(weights_digest(spec.with_weights(copy)))
        (copy / name).write_bytes(content)
    (copy / "config.json").rename(copy / "configuration.json")
    digests.add(weights_digest(spec.with_weights(copy)))
    assert len(digests) == 5
    with pytest.raises(WeightsError, match=r"weights folder .* has the checksum"):
        resolve_folder(replace(spec, weights=str(copy), checksum=before))


def test_the_size_of_weights_is_known_without_fetching_them(folder: Path, server: Server) -> None:
    parts = sum((folder / name).stat().st_size for name in ("model.safetensors", "config.json", "merges.txt"))
    assert weights_size(replace(SPEC, weights=str(folder))) == parts
    assert weights_size(replace(SPEC, weights=str(folder / "merges.txt"))) == 1
    spec = replace(SPEC, weights=f"{server.address}/weights.bin", checksum=CHECKSUM)
    assert weights_size(spec) == 0
    assert server.requests == []
    resolve_weights(spec)
    assert weights_size(spec) == len(CONTENT)
    for weights in (None, "/nowhere/model", "hub:nobody/nothing", "hub:not a/name", "hub:DEFAULT", "s3://bucket/x"):
        assert weights_size(replace(SPEC, weights=weights)) == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no .safetensors file; give a folder"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "m.bin"), "as a pickle.*save_pretrained"),
        (lambda folder: folder.rename(folder.with_name("gone")), "does not exist; give another with --weights FOLDER"),
    ],
)
def test_a_folder_without_safetensors_is_refused(change: Callable[[Path], object], words: str, folder: Path) -> None:
    change(folder)
    with pytest.raises(WeightsError, match=words):
        resolve_folder(replace(SPEC, weights=str(folder)))


def test_a_folder_where_a_file_is_needed_is_refused(folder: Path) -> None:
    with pytest.raises(WeightsError, match="a folder where a file is needed; give one of its files"):
        resolve_weights(replace(SPEC, weights=str(folder)))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, with nothing to be reached beyond it."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_name_of_the_hub_is_its_folder_in_the_cache(hub: Path, folder: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    stored = hub / "models--org--name"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text(commit)
    (stored / "snapshots").mkdir()
    kept = folder.rename(stored / "snapshots" / commit)
    for weights in ("hub:org/name", "hub:org/name@main", f"hub:org/name@{commit}"):
        spec = replace(SPEC, weights=weights)
        assert is_folder(spec)
        assert resolve_folder(spec) == kept
        assert weights_digest(spec) == weights_digest(replace(SPEC, weights=str(kept)))
        assert weights_size(spec) == weights_size(replace(SPEC, weights=str(kept))) > 0
    with pytest.raises(WeightsError, match="connect once"):
        resolve_folder(replace(SPEC, weights="hub:org/name@v1"))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("hub:org/name", "not in the cache and the hub cannot be reached; connect once, or give a local folder"),
        ("hub:not a/name", r"cannot be fetched \(.*\); correct their name"),
    ],
)
@pytest.mark.usefixtures("hub")
def test_a_name_that_cannot_be_fetched_is_one_sentence(weights: str, words: str) -> None:
    for question in (resolve_folder, weights_digest):
        with pytest.raises(WeightsError, match=words) as caught:
            question(replace(SPEC, weights=weights))
        assert "\n" not in str(caught.value)


def test_a_name_that_a_library_knows_is_its_own_digest() -> None:
    spec = replace(SPEC, weights="hub:COCO_V1")
    assert weights_digest(spec) == "hub:COCO_V1"
    assert not is_folder(spec)


@pytest.mark.parametrize(
    ("href", "name"),
    [
        ("https://huggingface.co/org/name", "hub:org/name"),
        ("https://huggingface.co/org/name-b0.5_x/", "hub:org/name-b0.5_x"),
        ("https://hf.co/org/name", "hub:org/name"),
        ("https://huggingface.co/org/name/tree/v1.0", "hub:org/name@v1.0"),
        ("https://huggingface.co/org/name/resolve/main/model.safetensors", None),
        ("https://huggingface.co/org", None),
        ("https://huggingface.co/datasets/name", None),
        ("https://example.com/org/name", None),
        ("./model.safetensors", None),
    ],
)
def test_a_page_of_the_hub_is_a_name_of_the_hub(href: str, name: str | None) -> None:
    assert hub_name(href) == name


class Server:
    """Answers on loopback: ``/weights.bin`` whole, ``/cut.bin`` less than it says, anything else not at all."""

    def __init__(self) -> None:
        requests = self.requests = []
        files = self.files = {"/weights.bin": CONTENT, "/cut.bin": CONTENT[:100]}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                if self.path not in files:
                    self.send_error(404)
                    return
                content = files[self.path]
                self.send_response(200)
                self.send_header("Content-Length", str(len(CONTENT if self.path == "/cut.bin" else content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def cached() -> list[str]:
    return [path.name for path in cache_home("weights").rglob("*") if path.is_file()]


def test_an_address_is_downloaded_once(server: Server) -> None:
    spec = replace(SPEC, weights=f"{server.address}/weights.bin", checksum=CHECKSUM)
    assert resolve_weights(spec).read_bytes() == CONTENT
    assert resolve_weights(spec).read_bytes() == CONTENT
    assert server.requests == ["/weights.bin"]
    assert len(cached()) == 1


@pytest.mark.parametrize(
    ("path", "checksum", "words"),
    [
        ("/weights.bin", f"sha256:{'1' * 64}", "checksum"),
        ("/cut.bin", CHECKSUM, "ended after|cannot be fetched"),
        ("/missing.bin", CHECKSUM, "404"),
    ],
)
def test_a_download_that_went_wrong_leaves_nothing_behind(
    server: Server, path: str, checksum: str | None, words: str
) -> None:
    with pytest.raises(WeightsError, match=words):
        resolve_weights(replace(SPEC, weights=server.address + path, checksum=checksum))
    assert cached() == []


def test_tensors_survive_every_format_that_is_read(tmp_path: Path) -> None:
    state = {"a": torch.rand(3, 4), "b": torch.arange(5)}
    save_file(state, tmp_path / "s.safetensors")
    torch.save(state, tmp_path / "s.pt")
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "s.ckpt")
    for name in ("s.safetensors", "s.pt", "s.ckpt"):
        found = read_state(tmp_path / name)
        assert found.keys() == state.keys()
        assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".safetensors", ".weird"])
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_malicious_pickle_is_refused_and_does_not_run(suffix: str, writer: str, tmp_path: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / f"weights{suffix}"
    if writer == "torch":
        torch.save({"a": torch.zeros(1), "b": Trap(sprung)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(WeightsError) as caught:
        load_model(SPEC.with_weights(path))
    assert not sprung.exists()
    assert str(path) in str(caught.value)
    assert "safetensors" in str(caught.value)


def test_the_trap_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung"))).close()
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("framework", ["torchscript", "torch.export", "onnx"])
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickle_that_claims_to_be_a_program_is_refused(framework: str, writer: str, tmp_path: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / "program.pt2"
    if writer == "torch":
        torch.save(Trap(sprung), path)
    else:
        path.write_bytes(pickle.dumps(Trap(sprung)))
    with pytest.raises(WeightsError):
        load_model(replace(SPEC, framework=framework, weights=str(path), trust_model=True))
    assert not sprung.exists()


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x04N.", b"not weights at all"])
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(content)
        with pytest.raises(WeightsError):
            read_state(path)


def test_a_file_that_holds_no_state_dict_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="list that is not a state dict"):
        read_state(tmp_path / "list.pt")


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    sizes = {0: torch.export.Dim("n", min=1), 2: torch.export.Dim("y", min=8), 3: torch.export.Dim("x", min=8)}
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Upsample(scale_factor=2)).eval()
    program = torch.export.export(network, (torch.zeros(2, 1, 32, 32),), dynamic_shapes=(sizes,))
    torch.export.save(program, tmp_path / "program.pt2")
    return tmp_path / "program.pt2"


def rewrite(path: Path, change: Callable[[str, bytes], bytes], **more: bytes) -> Path:
    """Copy an archive with its members changed, and further ones added."""
    changed = path.with_name(f"changed{path.suffix}")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, "w") as target:
        root = source.namelist()[0].partition("/")[0]
        for name in source.namelist():
            target.writestr(name, change(name.partition("/")[2], source.read(name)))
        for name, content in more.items():
            target.writestr(f"{root}/{name}", content)
    return changed


def unchanged(_name: str, content: bytes) -> bytes:
    return content


def trap(path: Path) -> bytes:
    buffer = io.BytesIO()
    torch.save(Trap(path), buffer)
    return buffer.getvalue()


def with_graph(change: Callable[[str], str]) -> Callable[[str, bytes], bytes]:
    return lambda name, content: change(content.decode()).encode() if name == "models/model.json" else content


def test_a_clean_program_still_predicts_the_same(exported: Path) -> None:
    pixels = torch.rand(3, 1, 24, 16)
    wanted = torch.export.load(exported).module()(pixels)
    assert torch.equal(torch.export.load(clean_exported(exported)).module()(pixels), wanted)


def refused(path: Path, sprung: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        load_model(replace(SPEC, framework="torch.export", weights=str(path)))
    assert not sprung.exists()
    return str(caught.value)


def test_a_program_with_a_pickle_in_its_sample_inputs_is_refused(exported: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = rewrite(exported, lambda name, content: trap(sprung) if "sample_inputs" in name else content)
    assert "more than tensors" in refused(path, sprung)


def test_a_program_with_pickled_weights_is_refused(exported: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"

    def change(name: str, content: bytes) -> bytes:
        if name.endswith("weights_config.json"):
            return content.replace(b'"use_pickle": false', b'"use_pickle": true')
        return trap(sprung) if name.startswith("data/weights/weight") else content

    assert "pickled object" in refused(rewrite(exported, change), sprung)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Symbol('s31', positive=True, integer=True)", "__import__('builtins').open('PATH', 'w')"),
        ("torch.ops.aten.conv2d.default", "torch.load"),
        ("torch.ops.aten.conv2d.default", "torch.ops.aten.from_file.default"),
        ("torch.ops.aten.conv2d.default", "_operator.attrgetter"),
        ('"name": "input"', "\"name\": \"x=open('PATH', 'w')\""),
        ("builtins.tuple", "collections.defaultdict"),
    ],
)
def test_a_program_whose_graph_reaches_outside_is_refused(old: str, new: str, exported: Path, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    with zipfile.ZipFile(exported) as archive:
        text = archive.read(next(name for name in archive.namelist() if name.endswith("models/model.json"))).decode()
    if old.startswith("Symbol"):
        old = next(item for item in _symbols(text))
    assert old in text
    new = new.replace("PATH", str(sprung))
    changed = rewrite(exported, with_graph(lambda graph: graph.replace(old, new)))
    assert "could run code" in refused(changed, sprung)


def _symbols(text: str) -> list[str]:
    """The texts of symbols in a graph."""
    found: list[str] = []

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found.extend(str(value) for key, value in pairs if key == "expr_str" and str(value).startswith("Symbol("))
        return dict(pairs)

    json.loads(text, object_pairs_hook=collect)
    return found


@pytest.mark.parametrize("member", ["data/aotinductor/model/a.so", "data/constants/custom_obj_0", "more/readme"])
def test_a_program_with_members_that_no_network_needs_is_refused(member: str, exported: Path, tmp_path: Path) -> None:
    path = rewrite(exported, unchanged, **{member: b"anything"})
    assert "not part of a network" in refused(path, tmp_path / "sprung")


def test_an_archive_with_one_name_twice_is_refused(exported: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = rewrite(exported, unchanged, archive_format=b"pt2")
    assert "not a torch.export archive" in refused(path, tmp_path / "sprung")


@pytest.mark.parametrize("framework", ["torch.export", "pytorch"])
def test_a_script_of_another_kind_is_told_by_the_word_for_it(framework: str, tmp_path: Path) -> None:
    path = save_script(torch.nn.Conv2d(1, 1, 1), tmp_path / "script.pt")
    with pytest.raises(WeightsError, match=r"is a TorchScript program, not .*mlm:artifact_type .* to torch.jit.save"):
        load_model(replace(SPEC, framework=framework, weights=str(path)))


@pytest.mark.parametrize("framework", ["torchscript", "pytorch"])
def test_a_program_of_another_kind_is_told_by_the_word_for_it(framework: str, exported: Path) -> None:
    path = exported.rename(exported.with_suffix(".pt"))
    with pytest.raises(WeightsError, match=r"is a torch.export program, not .*artifact_type .* to torch.export.save"):
        load_model(replace(SPEC, framework=framework, weights=str(path), trust_model=True))


def test_a_size_that_is_a_multiple_is_no_code(tmp_path: Path) -> None:
    sizes = {0: torch.export.Dim("n"), 2: 8 * torch.export.Dim("h"), 3: 8 * torch.export.Dim("w")}
    network = torch.nn.Conv2d(1, 2, 3, padding=1).eval()
    program = torch.export.export(network, (torch.zeros(2, 1, 32, 32),), dynamic_shapes=(sizes,))
    torch.export.save(program, tmp_path / "program.pt2")
    pixels = torch.rand(3, 1, 24, 16)
    clean = torch.export.load(clean_exported(tmp_path / "program.pt2")).module()
    assert torch.equal(clean(pixels), network(pixels))
    sprung = tmp_path / "sprung"
    key = re.compile(r'"8\*s\d+"')
    evil = with_graph(lambda graph: key.sub(json.dumps(f"8*open('{sprung}', 'w')"), graph))
    assert "could run code" in refused(rewrite(tmp_path / "program.pt2", evil), sprung)


def test_a_program_that_halves_its_image_is_no_code(tmp_path: Path) -> None:
    class Halving(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.interpolate(pixels, scale_factor=0.5)

    sizes = {0: torch.export.Dim("n"), 2: 8 * torch.export.Dim("h"), 3: 8 * torch.export.Dim("w")}
    program = torch.export.export(Halving(), (torch.zeros(2, 1, 32, 32),), dynamic_shapes=(sizes,))
    torch.export.save(program, tmp_path / "program.pt2")
    clean = torch.export.load(clean_exported(tmp_path / "program.pt2")).module()
    assert clean(torch.rand(3, 1, 24, 16)).shape == (3, 1, 12, 8)


def save_as_torch_2_6(program: torch.export.ExportedProgram, path: Path, **changes: bytes) -> Path:
    """Write the archive that torch 2.6 wrote: files without folders."""
    from torch._export.serde.schema import SCHEMA_VERSION
    from torch._export.serde.serialize import serialize

    parts = serialize(program)
    members = {
        "serialized_exported_program.json": parts.exported_program,
        "serialized_state_dict.pt": parts.state_dict,
        "serialized_constants.pt": parts.constants,
        "serialized_example_inputs.pt": parts.example_inputs,
        "version": ".".join(map(str, SCHEMA_VERSION)).encode(),
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, changes.get(name.partition(".")[0], content))
    return path


def test_a_program_of_torch_2_6_is_opened_in_silence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)  # scores that look like probabilities are warned of
    network = torch.nn.Conv2d(1, 2, 3, padding=1).eval()
    program = torch.export.export(network, (torch.zeros(2, 1, 32, 32),))
    path = save_as_torch_2_6(program, tmp_path / "old.pt2")
    model = load_model(replace(TWO, framework="torch.export", weights=str(path), fixed_size=True))
    pixels = np.ones((2, 1, 32, 32), np.uint8)
    scores = model.score(pixels, np.ones((2, 32, 32), np.bool_))
    with torch.no_grad():
        torch.testing.assert_close(scores, network(torch.ones(2, 1, 32, 32)))
    assert not [record for record in caplog.records if record.name.startswith("torch.export")]
    sprung = tmp_path / "sprung"
    assert "more than tensors" in refused(
        save_as_torch_2_6(program, tmp_path / "evil.pt2", serialized_constants=trap(sprung)), sprung
    )


def test_transforms_beside_a_network_are_not_left_out(tmp_path: Path) -> None:
    from torch.export.pt2_archive._package import package_pt2  # as stac-model packs them

    program = torch.export.export(torch.nn.Conv2d(1, 2, 1).eval(), (torch.zeros(2, 1, 8, 8),))
    notes: Any = {"mlm-metadata": "name: a"}
    package_pt2(str(tmp_path / "both.pt2"), exported_programs={"model": program, "transforms": program})
    assert "holds the program 'transforms' beside its network" in refused(tmp_path / "both.pt2", tmp_path / "none")
    package_pt2(str(tmp_path / "one.pt2"), exported_programs={"model": program}, extra_files=notes)
    pixels = torch.rand(2, 1, 8, 8)
    clean = torch.export.load(clean_exported(tmp_path / "one.pt2"))
    assert torch.equal(clean.module()(pixels), program.module()(pixels))


def save_script(network: torch.nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(network.eval()).save(str(path))
    return path


def test_torchscript_is_opened_only_where_a_person_trusts_it(tmp_path: Path) -> None:
    path = save_script(torch.nn.Conv2d(1, 2, 1), tmp_path / "script.pt")
    spec = replace(SPEC, framework="torchscript", weights=str(path))
    both = replace(SPEC, parts=(SPEC, spec))
    for untrusted in (spec, both):
        with pytest.raises(WeightsError, match=r"TorchScript .*can read and write files.*--trust-model"):
            load_model(untrusted)
    assert load_model(replace(spec, trust_model=True)).spec.weights == str(path)


def test_a_script_whose_tensors_are_replaced_by_a_pickle_is_refused(tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    path = save_script(torch.nn.Conv2d(1, 1, 1), tmp_path / "script.pt")
    changed = rewrite(path, lambda name, content: pickle.dumps(Trap(sprung), 2) if name == "data.pkl" else content)
    with pytest.raises(WeightsError, match="TorchScript archive or is damaged"):
        load_model(replace(SPEC, framework="torchscript", weights=str(changed), trust_model=True))
    assert not sprung.exists()


@pytest.fixture
def divided(tmp_path: Path) -> Path:
    """An ONNX model whose tensors lie in a folder beside it, one of them in a node."""
    return save_divided(tmp_path / "net.onnx")


def onnx_spec(path: Path) -> ModelSpec:
    return replace(TWO, framework="onnx", weights=str(path))


def test_the_data_of_an_onnx_model_is_part_of_it(divided: Path) -> None:
    spec, data = onnx_spec(divided), divided.parent / "data" / "net.bin"
    before = weights_digest(spec)
    assert weights_size(spec) == divided.stat().st_size + data.stat().st_size
    assert float(load_model(spec).score(np.ones((1, 1, 2, 2), np.uint8), np.ones((1, 2, 2), np.bool_)).max()) == 2
    data.write_bytes(np.full(data.stat().st_size // 4, 3, np.float32).tobytes())
    assert weights_digest(spec) != before
    own = f"sha256:{hashlib.sha256(divided.read_bytes()).hexdigest()}"
    assert resolve_weights(replace(spec, checksum=own)) == divided
    data.unlink()
    for question in (weights_digest, resolve_weights, load_model):
        with pytest.raises(WeightsError, match=r"net.onnx' keeps its tensors in 'data/net.bin', which is not"):
            question(spec)


@pytest.mark.parametrize("place", ["../../../n.bin", "/etc/passwd"])
def test_an_onnx_model_that_reaches_out_of_its_folder_is_refused(place: str, divided: Path) -> None:
    model = onnx.load_model(divided, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = place
    divided.write_bytes(model.SerializeToString())
    for question in (weights_digest, weights_size, load_model):
        with pytest.raises(WeightsError, match="not beside it; export it again"):
            question(onnx_spec(divided))


def test_the_data_of_an_onnx_model_is_fetched_with_it(
    divided: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = divided.parent / "data" / "net.bin"
    server.files |= {"/net.onnx": divided.read_bytes(), "/data/net.bin": data.read_bytes()}
    checksum = f"sha256:{hashlib.sha256(divided.read_bytes()).hexdigest()}"
    spec = replace(SPEC, framework="onnx", weights=f"{server.address}/net.onnx", checksum=checksum)
    with pytest.raises(WeightsError, match="without encryption or a checksum"):
        resolve_weights(spec)  # the checksum is that of the model's file, and says nothing of its data
    assert server.requests == ["/net.onnx"]
    monkeypatch.setattr("geoseg.models.weights._refuse_unverified", lambda *_: None)  # as over https
    assert weights_digest(spec) == weights_digest(spec) == weights_digest(onnx_spec(divided))
    assert server.requests == ["/net.onnx", "/data/net.bin"]


class Redirected(io.BytesIO):
    """An answer that came from an address without encryption."""

    url = "http://127.0.0.1:1/w.bin"
    headers: dict[str, str] = {}  # noqa: RUF012 - of one test


@pytest.mark.parametrize("weights", ["http://127.0.0.1:1/w.bin", "https://127.0.0.1:1/w.bin"])
def test_an_address_without_encryption_needs_a_checksum(
    weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: Redirected(CONTENT))
    with pytest.raises(WeightsError, match=r"without encryption or a checksum.*give https, or file:checksum"):
        resolve_weights(replace(SPEC, weights=weights))
    assert cached() == []
    assert resolve_weights(replace(SPEC, weights=weights, checksum=CHECKSUM)).read_bytes() == CONTENT


def test_weights_that_are_not_fetched_have_the_size_of_their_entry_or_a_guess(file: Path) -> None:
    assert expected_size(replace(SPEC, weights=str(file), weights_bytes=7)) == (len(CONTENT), "here")
    assert expected_size(replace(SPEC, weights="hub:nobody/nothing", weights_bytes=7)) == (7, "entry")
    assert expected_size(replace(SPEC, weights="https://example.org/w.bin")) == (UNKNOWN_BYTES, "guess")
    assert expected_size(SPEC) == (0, "here")
