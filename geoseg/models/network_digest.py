"""A digest of what a network computes, the same in each process: of its tensors, its state and the code behind it.

A pickle cannot say it: cloudpickle numbers classes and torch names storages by chance, so each process has another one.
Importing this loads no deep-learning library.
"""

from __future__ import annotations

import copyreg
import dis
import enum
import hashlib
import io
import sys
import types
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

_SIMPLE = (bool, int, float, complex, str, bytes, types.NoneType, types.EllipsisType, range)
_COMPARED_BY_VERSION = ("torch", "geoseg")
_SHARED_BY_CHANCE = (tuple, frozenset)  # Python may keep equal ones as one object, or not
_WRITTEN_BY_PYTHON = frozenset(
    ("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate_func__",
     "__annotations_cache__", "__firstlineno__", "__static_attributes__", "__abstractmethods__", "_abc_impl",
     "__slots__")
)  # fmt: skip
_IS_NO_STATE = frozenset(
    ("training", "_compiled_call_impl", "_is_torch_compile", "_is_full_backward_hook", "_backward_hooks")
)
"""Attributes of a module that leave its scores as they are; each is computed in evaluation mode."""


def digest_of(network: Callable[..., Any]) -> str:
    """Say by 64 hex digits what a network, or another callable, computes.

    Two networks have the same digest where their parameters, buffers, hooks and other attributes are equal and the
    code of their classes and functions is, with the globals that it reads. Of an installed package the file counts that
    a class or function stands in; of torch, whose version is compared beside the digest, and Python the name alone.
    """
    return _digest(network, {})


def _digest(of: Any, seen: dict[int, int]) -> str:
    """The digest of an object; those with a number in ``seen`` are known by it, and those that it is made of join."""
    digest = hashlib.sha256()
    waiting: list[Any] = [of]
    kept: list[Any] = []  # the number of an object that is gone may be given to another
    while waiting:
        item = waiting.pop()
        if type(item) in _SIMPLE:
            digest.update(f"{type(item).__name__} {item!r};".encode())
            continue
        if id(item) in seen:
            digest.update(f"again {seen[id(item)]};".encode())
            continue
        if type(item) not in _SHARED_BY_CHANCE:
            seen[id(item)] = len(seen)
            kept.append(item)
        if type(item) in (set, frozenset):  # in no order, and what is in it may lead back to it
            members = (_digest(one, seen if type(one) in _SIMPLE else {**seen}) for one in item)
            digest.update(f"set {sorted(members)};".encode())
            continue
        label, content, parts = _opened(item)
        digest.update(f"{label} {len(content)} {len(parts)};".encode())
        digest.update(content)
        waiting.extend(reversed(parts))
    return digest.hexdigest()


def _opened(item: Any) -> tuple[str, bytes | memoryview, list[Any]]:
    """What an object is: the name of its kind, bytes that tell it, and the objects that it is made of."""
    import torch

    if isinstance(item, torch.Tensor):
        return _tensor(item)
    if isinstance(item, np.ndarray | np.generic):
        array = np.ascontiguousarray(item)
        if array.dtype.hasobject:
            return f"array {array.shape}", b"", array.ravel().tolist()
        return f"array {array.dtype.str} {array.shape}", array.tobytes(), []
    if isinstance(item, torch.nn.Module):
        return "module", b"", _module(item)
    if isinstance(item, torch.dtype | torch.device | torch.layout | torch.memory_format | torch._ops.OpOverload):
        return "torch", str(item).encode(), []
    if isinstance(item, enum.Enum):
        return "enum", f"{_named(type(item))}.{item.name}".encode(), [item.value]
    if type(item) in (list, tuple):
        return type(item).__name__, b"", list(item)
    if type(item) in (dict, types.MappingProxyType):
        return "dict", b"", [part for pair in item.items() for part in pair]
    return _of_code(item) or _reduced(item)


def _tensor(tensor: Any) -> tuple[str, bytes | memoryview, list[Any]]:
    import torch

    label = f"tensor {tensor.dtype} {tuple(tensor.shape)}"
    if tensor.layout is torch.strided and not tensor.is_quantized:
        flat = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().flatten()
        return label, memoryview(flat.view(torch.uint8).numpy()), []
    buffer = io.BytesIO()  # sparse, quantized
    torch.save(tensor.detach().cpu(), buffer)
    return label, buffer.getvalue(), []


def _module(module: Any) -> list[Any]:
    """What decides the scores of a module: its class, and its state without what only training reads."""
    import torch

    if type(module).__qualname__ == "OptimizedModule":  # of torch.compile, whose imports take a second
        return ["compiled", module._orig_mod]
    state = {key: value for key, value in vars(module).items() if key not in _IS_NO_STATE}
    if isinstance(module, torch.fx.GraphModule):  # its class is made from its code
        kinds = (torch.Tensor, torch.nn.Module, dict, *_SIMPLE)
        state = {key: value for key, value in state.items() if isinstance(value, kinds) and key != "meta"}
        state["_code"] = module.code  # compiled only now where it waited for a call
        state["targets"] = [node.target for node in module.graph.nodes if callable(node.target)]
    parts: list[Any] = [type(module)]
    for key, value in sorted(state.items()):
        is_numbered = key.startswith("_") and "hooks" in key  # by a count of all hooks that this process has had
        parts += [key, list(value.values()) if is_numbered and isinstance(value, dict) else value]
    return parts


def _of_code(item: Any) -> tuple[str, bytes | memoryview, list[Any]] | None:
    """Functions, methods, classes and modules; None for other objects."""
    if isinstance(item, types.FunctionType):
        return _function(item)
    if isinstance(item, types.CodeType):
        return "code", item.co_code, [item.co_names, item.co_varnames, item.co_freevars, item.co_flags, item.co_consts]
    if isinstance(item, types.CellType):
        return "cell", b"", _contents(item)
    if isinstance(item, types.MethodType):
        return "method", b"", [item.__func__, item.__self__]
    if isinstance(item, types.ModuleType):
        return "import", item.__name__.encode(), []
    if isinstance(item, staticmethod | classmethod):
        return type(item).__name__, b"", [item.__func__]
    if isinstance(item, property):
        return "property", b"", [item.fget]
    if isinstance(item, type):
        return _class(item)
    if isinstance(item, types.BuiltinFunctionType):
        owner = item.__self__
        return "builtin", _named(item).encode(), [] if isinstance(owner, types.ModuleType | type) else [owner]
    return None


def _function(function: types.FunctionType) -> tuple[str, bytes, list[Any]]:
    """Its code, defaults and variables from around it, with the globals that the code reads."""
    compiled = getattr(function, "_torchdynamo_orig_callable", None)
    if compiled is not None:
        return "compiled", b"", [compiled]
    parts: list[Any] = [function.__defaults__, function.__kwdefaults__, function.__closure__, vars(function)]
    installed = _installed(function.__globals__.get("__name__", ""))
    if installed is not None:
        return "function", f"{installed}.{function.__code__.co_qualname}".encode(), parts
    return "function", b"", [*parts, function.__code__, *_globals(function.__code__, function.__globals__)]


def _globals(code: types.CodeType, known: dict[str, Any]) -> Iterable[Any]:
    """Names and values that code reads from its module, and from modules that are not installed ones."""
    read, written, attributes = set(), set(), set()
    inside = [code]
    while inside:
        one = inside.pop()
        inside += [constant for constant in one.co_consts if isinstance(constant, types.CodeType)]
        attributes |= set(one.co_names)
        for step in dis.get_instructions(one):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                read.add(step.argval)
            elif step.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
                written.add(step.argval)
    for name in sorted((read - written) & set(known)):
        value = known[name]
        yield from (name, value)
        if isinstance(value, types.ModuleType) and _installed(value.__name__) is None:
            yield [(used, vars(value)[used]) for used in sorted(attributes & set(vars(value)))]


def _class(kind: type) -> tuple[str, bytes, list[Any]]:
    installed = _installed(kind.__module__)
    if installed is not None:
        return "class", f"{installed}.{kind.__qualname__}".encode(), []
    own = [(key, value) for key, value in sorted(vars(kind).items()) if key not in _WRITTEN_BY_PYTHON]
    return "class", b"", [kind.__bases__, own]


def _reduced(item: Any) -> tuple[str, bytes, list[Any]]:
    """Any other object by what copies of it are made from; one that cannot be copied by its class."""
    try:
        reduced: Callable[[Any], Any] | None = copyreg.dispatch_table.get(type(item))
        made: Any = reduced(item) if reduced else item.__reduce_ex__(4)
    except Exception:  # noqa: BLE001 - locks, open files and what else only this process has
        return "object", b"", [type(item)]
    if isinstance(made, str):
        return "global", f"{type(item).__module__}.{made}".encode(), [getattr(item, "__wrapped__", None)]
    function, arguments, state, items, pairs = [*made, None, None, None, None][:5]
    return "object", b"", [function, arguments, state, list(items or ()), list(pairs or ())]


def _contents(cell: types.CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # nothing has been put in
        return []


def _named(item: Any) -> str:
    return f"{getattr(item, '__module__', None)}.{item.__qualname__}"


@cache
def _installed(module: str) -> str | None:
    """The name of a module that is Python's or an installed package's, with a digest of its file; None for a user's."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top in _COMPARED_BY_VERSION:
        return module
    file = getattr(sys.modules.get(module) or sys.modules.get(top), "__file__", None) or ""
    if not {"site-packages", "dist-packages"} & set(Path(file).parts):
        return None
    is_readable = file.endswith(".py") and Path(file).is_file()
    return f"{module} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}" if is_readable else module
