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


def collect_facts() -> Iterator[tuple[str, str]]:
    """Yield name and value of everything that may affect a number; an unknown value names the error."""
    yield "wsol", __version__
    yield "python", platform.python_version()
    for package in MODULES:
        yield package, _try_query(lambda package=package: version(package))  # type: ignore[misc]  # bound now
    yield "platform", platform.platform()
    yield "processor", _try_query(_query_processor)
    yield "threads", _try_query(_query_threads)
    yield "arithmetic", _try_query(_query_math_libraries)
    yield "device cpu", f"{processor_count()} processors for this process"
    try:
        devices = list(_query_gpus())
    except Exception as error:
        devices = [("device cuda", _format_unknown(error))]
    yield from devices


def _try_query(query: Callable[[], str]) -> str:
    try:
        return query()
    except Exception as error:  # broken packages can raise anything
        return _format_unknown(error)


def _format_unknown(error: Exception) -> str:
    return f"unknown ({type(error).__name__}: {first_line(error)})"


def import_torch() -> Any:
    """Import torch, only when needed: it may be the broken package."""
    return importlib.import_module("torch")


def _query_processor() -> str:
    info = Path("/proc/cpuinfo")
    text = info.read_text(encoding="utf-8", errors="replace") if info.is_file() else ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
    return name.group(1) if name else platform.processor() or platform.machine()


def _query_threads() -> str:
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    variables = [f"{name}={os.environ[name]}" for name in names if name in os.environ]
    return ", ".join([f"{import_torch().get_num_threads()} in torch", *variables])


def _query_math_libraries() -> str:
    """Return the versions of torch and of its math libraries, from torch's description of its build."""
    torch = import_torch()
    text = torch.__config__.show()
    patterns = {
        "MKL": r"Math Kernel Library Version ([\d.]+)",
        "oneDNN": r"MKL-DNN (v\S+)",
        "CPU capability": r"CPU capability usage: (\S+)",
        "BLAS": r"BLAS_INFO=(\w+)",
    }
    matches = {name: re.search(pattern, text) for name, pattern in patterns.items()}
    return ", ".join([f"torch {torch.__version__}", *(f"{name} {m.group(1)}" for name, m in matches.items() if m)])


def _query_gpus() -> Iterator[tuple[str, str]]:
    torch = import_torch()
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        properties = [
            device.name,
            f"{device.total_memory / 2**30:.1f} GiB",
            f"capability {device.major}.{device.minor}",
            f"CUDA {torch.version.cuda}",
            f"cuDNN {torch.backends.cudnn.version()}",
        ]
        yield f"device cuda:{index}", ", ".join(properties)
    if not torch.cuda.device_count():
        yield "device cuda", "none"
