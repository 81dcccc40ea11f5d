"""Whatever a file of a model holds, no command that takes a model runs it, fetches for it, or writes outside.

Each file would create another one, reach for the network, or be read from outside of its folder, were it trusted.
"""

from __future__ import annotations

import json
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from geoseg.cli import main
from tests.networks import save_divided
from tests.test_packagings import save_onnx, save_smp, save_transformers
from tests.test_published_items import torch_item, write
from tests.test_weights import Trap, rewrite, trap, unchanged
from tests.test_yolo import ULTRALYTICS, Drawn, save_constants
from tests.trained import GEOAI, MLM, build, save_program, save_script

HUB = "tu-hf-hub:org/net"


def checkpoint(folder: Path, suffix: str) -> Path:
    """Tensors of a network, and a trap beside them."""
    torch.save({"state_dict": build().state_dict(), "callbacks": Trap(folder / "sprung")}, folder / f"m{suffix}")
    return folder / f"m{suffix}"


def geoai(folder: Path) -> Path:
    saved = folder / "saved"
    saved.mkdir()
    (saved / "config.json").write_text(json.dumps(GEOAI))
    return checkpoint(folder, ".pth").rename(saved / "model.pth").parent


def smp_with_a_pickle(folder: Path) -> Path:
    save_smp(folder / "saved", classes=3)
    (folder / "saved" / "model.safetensors").unlink()
    (folder / "saved" / "pytorch_model.bin").write_bytes(trap(folder / "sprung"))
    return folder / "saved"


def smp_from_elsewhere(folder: Path) -> Path:
    save_smp(folder / "saved", classes=3)
    path = folder / "saved" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"encoder_name": HUB}))
    return folder / "saved"


def transformers_with_code(folder: Path) -> Path:
    save_transformers(folder / "saved", "Segformer")
    (folder / "saved" / "own.py").write_text(f"open({str(folder / 'sprung')!r}, 'w')\n")
    path = folder / "saved" / "config.json"
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModelForSemanticSegmentation": "own.Own"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    return folder / "saved"


def transformers_from_elsewhere(folder: Path) -> Path:
    save_transformers(folder / "saved", "Segformer")
    path = folder / "saved" / "config.json"
    backbone = {"model_type": "timm_backbone", "backbone": HUB.removeprefix("tu-"), "num_channels": 3}
    other = {"model_type": "upernet", "architectures": ["UperNetForSemanticSegmentation"], "backbone_config": backbone}
    path.write_text(json.dumps(json.loads(path.read_text()) | other))
    return folder / "saved"


def item_from_elsewhere(folder: Path) -> Path:
    torch.save(build().state_dict(), folder / "m.pth")
    return write(torch_item("smp.Unet", "m.pth", properties={"mlm:hyperparameters": {"encoder_name": HUB}}), folder)


def program(folder: Path, change: Callable[[str, bytes], bytes] = unchanged, metadata: str = "", **more: bytes) -> Path:
    return rewrite(save_program(folder / "m.pt2", torch.nn.Conv2d(3, 4, 1).eval(), metadata or MLM), change, **more)


def samples(sprung: Path) -> Callable[[str, bytes], bytes]:
    return lambda name, content: trap(sprung) if name.startswith("data/sample_inputs/") else content


def script(folder: Path) -> Path:
    path = save_script(folder / "m.pt", torch.nn.Conv2d(3, 4, 1).eval())
    pickled = pickle.dumps(Trap(folder / "sprung"), 2)
    return rewrite(path, lambda name, content: pickled if name == "data.pkl" else content)


def data_outside(folder: Path) -> Path:
    (folder / "inside").mkdir()
    path = save_divided(folder / "inside" / "m.onnx")
    (folder / "outside.bin").write_bytes((path.parent / "data" / "net.bin").read_bytes())
    model = onnx.load_model(path, load_external_data=False)
    model.graph.initializer[0].external_data[0].value = "../outside.bin"
    path.write_bytes(model.SerializeToString())
    return path


def code_for_names(folder: Path) -> Path:
    drawn, names = Drawn(), f"open({str(folder / 'sprung')!r}, 'w')"
    return save_constants(folder / "m.onnx", ULTRALYTICS | {"names": names}, drawn.rows("v8"), drawn.prototypes)


FILES: dict[str, Callable[[Path], Path]] = {
    "pickle.pt": lambda folder: checkpoint(folder, ".pt"),
    "pickle.pth": lambda folder: checkpoint(folder, ".pth"),
    "pickle.ckpt": lambda folder: checkpoint(folder, ".ckpt"),
    "pickle.bin": lambda folder: checkpoint(folder, ".bin"),
    "folder of geoai with a pickle": geoai,
    "folder of smp with a pickle": smp_with_a_pickle,
    "folder of smp with an encoder from elsewhere": smp_from_elsewhere,
    "folder of transformers with code": transformers_with_code,
    "folder of transformers with an encoder from elsewhere": transformers_from_elsewhere,
    "item with an encoder from elsewhere": item_from_elsewhere,
    "program with a pickle": lambda folder: program(folder, samples(folder / "sprung")),
    "program with a file outside": lambda folder: program(folder, **{"../../sprung": b""}),
    "program with a shared library": lambda folder: program(folder, **{"data/aotinductor/model/a.so": b""}),
    "program with metadata that call": lambda folder: program(
        folder, metadata=f"!!python/object/apply:builtins.open [{folder / 'sprung'}, w]"
    ),
    "script with a pickle": script,
    "ONNX with data outside": data_outside,
    "ONNX with code for names": code_for_names,
    "ONNX with code for classes": lambda folder: save_onnx(
        folder / "m.onnx", {"model_type": '"Segmentor"', "class_names": f"open({str(folder / 'sprung')!r}, 'w')"}
    ),
}


@pytest.mark.filterwarnings("ignore::geoseg.errors.GeosegWarning")
@pytest.mark.parametrize("kind", FILES)
def test_nothing_of_a_hostile_file_runs(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, asked = str(FILES[kind](tmp_path)), []

    def refuse(host: Any, *_: Any, **__: Any) -> None:
        asked.append(host)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setenv("GEOSEG_CATALOG", str(tmp_path / "own"))
    trusting = ["--trust-model"] if "script" in kind else []
    for command in (
        ["show", path],
        ["new", path, "--output", str(tmp_path / "new.json"), "--scaling", "255", *trusting],
        ["export", path, str(tmp_path / "out.safetensors")],
        ["add", path],
    ):
        main(["models", *command])  # what opens no weights may tell what it can
        assert not (tmp_path / "sprung").exists()
    if (tmp_path / "new.json").exists():
        path = str(tmp_path / "new.json")
    capsys.readouterr()
    assert main(["models", "check", path, *trusting]) != 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in said
    assert ("elsewhere" in kind) == ("which would be read from elsewhere when its network is built; " in said)
    assert not (tmp_path / "sprung").exists()
    assert not asked
