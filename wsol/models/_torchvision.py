"""Imports torchvision without the compiler behind ``torch.compile``, which takes about as long as torch itself.

Of all of torchvision only ``roi_align``, for detection, asks torch's compiler for anything, and only when it is called:
whether it supports a device. While torchvision is imported, modules stand in for the compiler that have this one
function and import the real one as soon as anything else is asked of them.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

_COMPILER = ("torch._dynamo", "torch._dynamo.utils")


class _StandIn(ModuleType):
    """A module that is imported when an attribute of it is used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by the import system
            raise AttributeError(name)
        if name == "is_compile_supported":
            return _is_compile_supported
        _remove_stand_ins()
        return getattr(importlib.import_module(self.__name__), name)


def _is_compile_supported(device_type: str) -> bool:
    supported: bool = importlib.import_module(_COMPILER[1]).is_compile_supported(device_type)
    return supported


def _remove_stand_ins() -> None:
    for name in _COMPILER:
        if isinstance(sys.modules.get(name), _StandIn):
            del sys.modules[name]


def _import_torchvision() -> None:
    if "torchvision" not in sys.modules and _COMPILER[0] not in sys.modules:
        sys.modules.update({name: _StandIn(name) for name in _COMPILER})
        sys.modules[_COMPILER[0]].__path__ = []  # so that it passes for a package
    try:
        importlib.import_module("torchvision")
    finally:
        _remove_stand_ins()


_import_torchvision()
