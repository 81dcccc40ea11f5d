"""What is inside an exported program, looked at before torch opens it.

A torch.export file is a zip archive of a program, not only of numbers, and torch's own loader trusts it:
``torch.export.load`` unpickles whatever it finds, evaluates the text of symbolic sizes, resolves the names of
operators to any attribute of torch and opens shared libraries. Here an archive is read with zipfile alone, and
everything that a segmentation network does not need is refused. TorchScript may call operators that write files, in
more ways than can be listed; it is not looked at, and opened only where a person trusts its author.
"""

from __future__ import annotations

import ast
import io
import json
import pickle
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from geoseg.errors import WeightsError
from geoseg.models.weight_files import OLD_GRAPH, archive_kind, second_program

OPERATORS = re.compile(
    r"torch\.ops\.(aten|prims|quantized|torchvision)\.(?!save\b|from_file\b)\w+(\.\w+)?"
    r"|torch\.ops\.higher_order\.(cond|wrap_with_set_grad_enabled|wrap_with_autocast)"
    r"|torch\.sym_\w+|math\.(ceil|floor|trunc|sqrt)"
    r"|_operator\.(add|sub|mul|floordiv|truediv|mod|pow|neg|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
)
"""Operators that a graph of torch.export may call."""

SYMBOLIC = frozenset(
    re.findall(
        r"\w+",
        "Symbol Integer Float Rational Add Mul Pow Mod PythonMod FloorDiv CeilDiv CleanDiv IntTrueDiv Max Min "
        "Eq Ne Equality Unequality LessThan GreaterThan StrictLessThan StrictGreaterThan Identity FloatTrueDiv "
        "Where And Or Not ToFloat FloorToInt CeilToInt TruncToInt RoundToInt true false oo int_oo",
    )
)
"""Names that the text of a symbolic size may hold, besides symbols such as ``s0``."""

NODES = (
    ast.Expression,
    ast.Call,
    ast.keyword,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.UnaryOp,
    ast.USub,
    ast.BinOp,
    ast.operator,
    ast.Compare,
    ast.cmpop,
)
"""Kinds of syntax that the text of a symbolic size may hold."""

CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict")
"""What arguments and results of an exported program may be packed in."""

OLD_PICKLES = ("serialized_state_dict.pt", "serialized_constants.pt", "serialized_example_inputs.pt")
"""Its tensors."""

ARTIFACT_TYPES = {"torch.export": "torch.export.save", "TorchScript": "torch.jit.save"}
"""What ``mlm:artifact_type`` says of an archive."""

NAME = re.compile(r"[\w.]*")
SYMBOL = re.compile(r"[a-z]+\d+")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
TEXT_KEYS = ("in_spec", "out_spec")


def clean_exported(path: Path) -> io.BytesIO:
    """Check a torch.export archive, and copy what is needed of it.

    Parameters
    ----------
    path : Path
        A ``.pt2`` file as ``torch.export.save`` writes it, also that of torch 2.6.

    Returns
    -------
    io.BytesIO
        The same program without source positions, guards and notes, safe to give to ``torch.export.load``.

    Raises
    ------
    WeightsError
        When it is another kind of file, or holds a second program, or anything that could run code when opened.
    """
    members = _members(path)
    root = next(iter(members)).partition("/")[0]
    if members.get(f"{root}/archive_format") != b"pt2" and OLD_GRAPH not in members:
        raise other_kind(path, "torch.export")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            inner = name.partition("/")[2] or name
            if not inner.startswith("extra/"):  # notes, such as stac-model's copy of the item: nothing runs them
                archive.writestr(name, _clean_member(path, inner, content))
    buffer.seek(0)
    return buffer


def _members(path: Path) -> dict[str, bytes]:
    """All files of an archive; names that occur twice could be read differently by torch and are refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            roots = {name.rpartition("/")[0] and name.partition("/")[0] for name in names}
            if len(set(names)) != len(names) or len(roots) != 1:
                raise other_kind(path, "torch.export")
            return {name: archive.read(name) for name in names}
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError) as error:
        raise other_kind(path, "torch.export") from error


def _clean_member(path: Path, name: str, content: bytes) -> bytes:
    """One file of a torch.export archive, checked."""
    if name in ("archive_format", "archive_version", "byteorder", "version", ".data/version", ".data/serialization_id"):
        return content
    if (program := re.fullmatch(r"models/(\w+)\.json", name)) and program[1] != "model":
        raise second_program(path, program[1])
    if re.fullmatch(r"data/(weights|constants)/(weight|tensor)_\d+", name):
        return content
    if name in OLD_PICKLES or re.fullmatch(r"data/sample_inputs/\w+\.pt", name):
        return _checked_pickle(path, name, content)
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    if isinstance(document, dict) and re.fullmatch(r"data/(weights|constants)/\w+_config\.json", name):
        _check_payload(path, document)
        return content
    if isinstance(document, dict) and name in ("models/model.json", OLD_GRAPH):
        return _clean_graph(path, document)
    raise _unsafe(path, f"it holds {name}, which is not part of a network")


def _checked_pickle(path: Path, name: str, content: bytes) -> bytes:
    """A member that torch will unpickle: refused unless the restricted unpickler can read it; an empty one it skips."""
    if not content:
        return content
    try:
        torch.load(io.BytesIO(content), weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, IndexError, TypeError) as error:
        raise _unsafe(path, f"{name} is a pickle that holds more than tensors") from error
    return content


def _check_payload(path: Path, document: dict[str, Any]) -> None:
    """Refuse weights and constants that are pickled objects rather than plain memory."""
    for key, entry in document.get("config", {}).items():
        plain = isinstance(entry, dict) and entry.get("use_pickle") is False
        if not plain or not re.fullmatch(r"(weight|tensor)_\d+", str(entry.get("path_name"))):
            raise _unsafe(path, f"{key} is a pickled object")


def _clean_graph(path: Path, document: dict[str, Any]) -> bytes:
    """A graph without metadata and guards (text that torch parses or runs, and that predicting does not need)."""
    document["guards_code"] = []
    for key, value in _strings(document):
        if not _is_allowed(key, value):
            raise _unsafe(path, f"its graph holds '{key}': '{value[:80]}'")
    return json.dumps(document).encode()


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a document with the key it stands under; keys are texts too. Metadata of nodes is emptied."""
    if isinstance(value, dict):
        if isinstance(value.get("metadata"), dict):
            value["metadata"] = {}
        for name, item in value.items():
            yield "key", str(name)
            yield from _strings(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, key)
    elif isinstance(value, str):
        yield key, value


def _is_allowed(key: str, value: str) -> bool:
    """Whether a text of a graph is one that a network needs."""
    if key == "target":
        return OPERATORS.fullmatch(value) is not None
    if key == "expr_str":
        return _is_symbolic(value)
    if key in TEXT_KEYS:
        return _is_plain_structure(value)
    if key == "key" and _is_symbolic(value):  # the range of a size such as 8*s39 stands under it
        return True
    return key == "torch_version" or NAME.fullmatch(value) is not None


def _is_symbolic(text: str) -> bool:
    """Whether the text of a symbolic size is arithmetic of symbols and nothing else."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return (
        all(isinstance(node, NODES) for node in nodes)
        and all(isinstance(node.func, ast.Name) for node in nodes if isinstance(node, ast.Call))
        and all(name in SYMBOLIC or SYMBOL.fullmatch(name) for name in names)
        and all(SYMBOL.fullmatch(value) or NUMBER.fullmatch(value) for value in texts)
    )


def _is_plain_structure(text: str) -> bool:
    """Whether a description of arguments names only tuples, lists and dicts with plain keys."""
    try:
        document = json.loads(text)
        types = [value for key, value in _items(document) if key == "type"]
        contexts = [json.loads(value) for key, value in _items(document) if key == "context" and value is not None]
    except (ValueError, TypeError, RecursionError):
        return False
    plain = all(isinstance(item, str | int) for context in contexts for item in (context or []))
    return plain and all(value in CONTAINERS for value in types)


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a document, at every depth."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key, item
            yield from _items(item)
    elif isinstance(value, list):
        for item in value:
            yield from _items(item)


def other_kind(path: Path, kind: str) -> WeightsError:
    """What to raise of a file that is not what its entry says."""
    found = archive_kind(path)
    if found is None or found == kind:
        return WeightsError(
            f"weights file '{path}' is not a {kind} archive or is damaged; fetch it again, or correct mlm:framework "
            "and mlm:artifact_type in the model's entry."
        )
    return WeightsError(
        f"weights file '{path}' is a {found} program, not {kind}; correct mlm:artifact_type in the model's entry to "
        f"{ARTIFACT_TYPES[found]}."
    )


def _unsafe(path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"weights file '{path}' could run code when opened ({reason}); it was not opened: export the network again "
        "where you trust it, as ONNX or as safetensors with an architecture."
    )
