"""Versions and devices, for a bug report."""

import importlib
import os
import platform
import re
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from wsol import __version__
from wsol.errors import first_line
from wsol.runtime.threads import processor_count
from wsol.selfchecks.checks.packages import MODULES


def facts() -> Iterator[tuple[str, str]]:
    """Yield name and value of everything that a number may depend on; what cannot be told says why."""
    yield "wsol", __version__
    yield "python", platform.python_version()
    for package in MODULES:
        yield package, _told(lambda package=package: version(package))  # type: ignore[misc]  # bound now
    yield "platform", platform.platform()
    yield "processor", _told(_processor)
    yield "threads", _told(_threads)
    yield "arithmetic", _told(_arithmetic)
    yield "device cpu", f"{processor_count()} processors for this process"
    try:
        devices = list(_graphics())
    except Exception as error:
        devices = [("device cuda", _unknown(error))]
    yield from devices


def _told(tell: Callable[[], str]) -> str:
    try:
        return tell()
    except Exception as error:  # broken packages raise anything
        return _unknown(error)


def _unknown(error: Exception) -> str:
    return f"unknown ({type(error).__name__}: {first_line(error)})"


def _torch() -> Any:
    return importlib.import_module("torch")  # on its turn: it may be what is broken


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return named.group(1) if named else platform.processor() or platform.machine()


def _threads() -> str:
    set_ = [f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ]
    return ", ".join([f"{_torch().get_num_threads()} in torch", *set_])


def _arithmetic() -> str:
    """Return what torch's long description says of the libraries that multiply."""
    text = _torch().__config__.show()
    patterns = (
        r"Math Kernel Library Version ([\d.]+)",
        r"MKL-DNN (v\S+)",
        r"CPU capability usage: (\S+)",
        r"BLAS_INFO=(\w+)",
    )
    names = ("MKL", "oneDNN", "CPU capability", "BLAS")
    found = [(name, re.search(pattern, text)) for name, pattern in zip(names, patterns, strict=True)]
    told = [f"{name} {match.group(1)}" for name, match in found if match]
    return ", ".join([f"torch {_torch().__version__}", *told])


def _graphics() -> Iterator[tuple[str, str]]:
    torch = _torch()
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        parts = [
            device.name,
            f"{device.total_memory / 2**30:.1f} GiB",
            f"capability {device.major}.{device.minor}",
            f"CUDA {torch.version.cuda}",
            f"cuDNN {torch.backends.cudnn.version()}",
            f"TF32 {'on' if torch.backends.cudnn.allow_tf32 else 'off'}",
        ]
        yield f"device cuda:{index}", ", ".join(parts)
    if not torch.cuda.device_count():
        yield "device cuda", "none"
