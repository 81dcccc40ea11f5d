"""Imports libraries of networks without torch's compiler, to which a third of the time of their import goes.

torchvision (for one function) and timm (for five decorators) import ``torch._dynamo`` when they are imported, and with
it sympy and ``torch._inductor``. Networks that are not compiled never call it. A stand-in is in its place while the
libraries are imported: what they took from it imports the compiler when it is called, and whatever else is asked of it
at once. Importing this module imports them so.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch  # noqa: F401 - itself it has to see its own modules

COMPILER, HELPERS = "torch._dynamo", "torch._dynamo.utils"

LIBRARIES = "torchvision", "timm"
"""What imports the compiler, and segmentation-models-pytorch and all adapters with them."""


class _StandIn(ModuleType):
    """A module that imports the one of its name when anything is asked of it that it does not have."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # inspect asks all modules for some, and import for __path__
            raise AttributeError(name)
        return getattr(_imported(self.__name__), name)


def _imported(name: str) -> ModuleType:
    """Import a module of the compiler itself."""
    _remove()
    return importlib.import_module(name)


def _remove() -> None:
    """Let the compiler be imported by who asks for it next."""
    for name in (COMPILER, HELPERS):
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _has_compiler() -> bool:
    """Whether the compiler itself is there; without it nothing is being compiled."""
    return COMPILER in sys.modules and not isinstance(sys.modules[COMPILER], _StandIn)


def disable(function: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Any:
    """Decorate a function as ``torch.compiler.disable`` does, for a program that may never compile anything."""
    if function is None:
        return functools.partial(disable, recursive=recursive, **options)

    @functools.cache
    def disabled() -> Callable[..., Any]:
        decorated: Callable[..., Any] = _imported(COMPILER).disable(function, recursive, **options)
        return decorated

    @functools.wraps(function)
    def called(*arguments: Any, **settings: Any) -> Any:
        return (disabled() if _has_compiler() else function)(*arguments, **settings)

    return called


def _is_compile_supported(device_type: str) -> bool:
    """Whether a device's networks can be compiled."""
    return bool(_imported(HELPERS).is_compile_supported(device_type))


@contextmanager
def late_compiler() -> Iterator[None]:
    """Have the stand-in while libraries are imported, unless the compiler is there."""
    if COMPILER not in sys.modules:
        compiler, helpers = _StandIn(COMPILER), _StandIn(HELPERS)
        vars(compiler).update(disable=disable, utils=helpers)
        vars(helpers).update(is_compile_supported=_is_compile_supported)
        sys.modules.update({COMPILER: compiler, HELPERS: helpers})
    try:
        yield
    finally:
        _remove()


def import_libraries() -> None:
    """Import `LIBRARIES`; with the compiler, where a version of them imports more of it than it did."""
    try:
        with late_compiler():
            for name in LIBRARIES:
                importlib.import_module(name)
    except ImportError:
        for name in LIBRARIES:
            importlib.import_module(name)


import_libraries()
