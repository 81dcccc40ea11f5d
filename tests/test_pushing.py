"""A model that is pushed to the hub opens from it as it was; a hub that refuses is one sentence."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geoseg.catalog import find_model
from geoseg.cli import main
from geoseg.models.weights import weights_digest
from tests.rasters import write_raster
from tests.test_addresses import COMMIT, hub
from tests.test_packagings import labels_of, patches
from tests.test_published_items import network, save, torch_item, write

__all__ = ["hub"]

TOKEN = "hf_" + "a" * 34


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's interface as a push uses; files are taken by a commit."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._send(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.path)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {"error": "Invalid username or password."})
        elif self.path.startswith("/api/models/org/net-b0.5/preupload/"):
            paths = [file["path"] for file in json.loads(body)["files"]]
            self._send(200, {"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]})
        elif self.path.startswith("/api/models/org/net-b0.5/commit/"):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            address = f"https://huggingface.co/org/net-b0.5/commit/{COMMIT}"
            self._send(200, {"success": True, "commitUrl": address, "commitOid": COMMIT})
        else:
            self._send(200, {"url": "https://huggingface.co/org/net-b0.5", "errors": [], "warnings": []})

    def _send(self, status: int, answer: Any) -> None:
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Error-Code", "EntryNotFound" if status == 404 else "")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


@pytest.fixture
def served() -> Iterator[tuple[str, type[Hub]]]:
    handler = type("Served", (Hub,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def push(address: str, *words: str, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """As a person does, in a process of its own: the hub's library reads its settings when it is imported."""
    hub = {"HF_ENDPOINT": address, "HF_TOKEN": token, "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}
    command = [sys.executable, "-m", "geoseg", "models", "push", *words]
    return subprocess.run(command, env={**os.environ, **hub}, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_what_is_pushed_opens_from_the_hub_as_it_was(
    tmp_path: Path, served: tuple[str, type[Hub]], request: pytest.FixtureRequest
) -> None:
    address, handler = served
    item = write(torch_item("smp.Unet", save(network(), tmp_path / "m.pth")), tmp_path, "item")
    done = push(address, str(item), "hub:org/net-b0.5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"hub:org/net-b0.5@{COMMIT}"
    assert set(handler.files) == {"README.md", "model.safetensors"}
    assert "geoseg run --input scene.tif --model hub:org/net-b0.5" in handler.files["README.md"].decode()
    snapshot = request.getfixturevalue("hub")
    snapshot.mkdir(parents=True)
    for name, content in handler.files.items():
        (snapshot / name).write_bytes(content)
    here, there = find_model(item), find_model("hub:org/net-b0.5")
    assert there.weights == f"hub:org/net-b0.5@{COMMIT}/model.safetensors"
    assert (there.classes, there.scalings, there.bands) == (here.classes, here.scalings, here.bands)
    assert weights_digest(there) == there.weights
    raster = str(write_raster(tmp_path / "scene.tif", patches(3)))
    expected = labels_of(raster, item)
    assert len(np.unique(expected)) > 1
    assert np.array_equal(labels_of(raster, "hub:org/net-b0.5"), expected)
    assert np.array_equal(labels_of(raster, snapshot), expected)
    run = ["run", "--input", raster, "--model", "hub:org/net-b0.5", "--output", str(tmp_path / "out"), "--workers", "1"]
    assert main(run) == 0
    assert main(["models", "add", "hub:org/net-b0.5", "--home", str(tmp_path / "own")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("repository", "token", "sentence"),
    [
        ("hub:org/net-b0.5", "hf_wrong", "and sign in with 'hf auth login' or HF_TOKEN, by a token that may write"),
        ("org/net-b0.5", TOKEN, "'org/net-b0.5' is no repository of the hub to push to; give hub:ORG/NAME."),
        ("hub:net", TOKEN, "'hub:net' is no repository of the hub to push to; give hub:ORG/NAME."),
        ("hub:org/a b", TOKEN, "'hub:org/a b' cannot be written ("),
    ],
)
def test_a_push_that_is_refused_is_one_sentence(
    tmp_path: Path, served: tuple[str, type[Hub]], repository: str, token: str, sentence: str
) -> None:
    item = write(torch_item("smp.Unet", save(network(), tmp_path / "m.pth")), tmp_path, "item")
    done = push(served[0], str(item), repository, token=token)
    assert done.returncode != 0
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not served[1].files


def test_a_hub_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    item = write(torch_item("smp.Unet", save(network(), tmp_path / "m.pth")), tmp_path, "item")
    done = push("http://127.0.0.1:9", str(item), "hub:org/net")
    assert done.returncode != 0
    assert "'hub:org/net' cannot be written (" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
