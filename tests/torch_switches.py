"""Values of the switches that torch has for the arithmetic of float32 numbers, read as a network would read them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

BACKENDS = torch.backends
IS_NEW = hasattr(BACKENDS, "fp32_precision")  # since torch 2.9


def read_switches() -> dict[str, Any]:
    """Return all switches; None where torch refuses to tell, as its old and new switches contradict each other."""
    switches: dict[str, Any] = {
        "convolutions": _try_read(BACKENDS.cudnn, "allow_tf32"),
        "products": _try_read(BACKENDS.cuda.matmul, "allow_tf32"),
        "all products": _try_call(torch.get_float32_matmul_precision),
        "benchmark": BACKENDS.cudnn.benchmark,
        "deterministic": BACKENDS.cudnn.deterministic,
        "bfloat16 sums": BACKENDS.cuda.matmul.allow_bf16_reduced_precision_reduction,
    }
    return {**switches, **{name: each.fp32_precision for name, each in list_new_switches().items()}}


def list_new_switches() -> dict[str, Any]:
    """Return what has an attribute ``fp32_precision``."""
    if not IS_NEW:
        return {}
    cudnn, onednn = BACKENDS.cudnn, BACKENDS.mkldnn
    return {
        "everything": BACKENDS,
        "cudnn": cudnn,
        "cudnn.conv": cudnn.conv,
        "cudnn.rnn": cudnn.rnn,
        "cuda.matmul": BACKENDS.cuda.matmul,
        "onednn.conv": onednn.conv,
        "onednn.rnn": onednn.rnn,
        "onednn.matmul": onednn.matmul,
    }


def arithmetic_of(switches: dict[str, Any]) -> str:
    """Return the precision that switches stand for, as far as a GPU computes in it: ``ieee``, ``tf32`` or ``mixed``."""
    old = switches["convolutions"], switches["products"], switches["all products"] != "highest"
    new = {switches[name] for name in ("cudnn", "cudnn.conv", "cudnn.rnn", "cuda.matmul") if IS_NEW}
    onednn = {switches[name] for name in ("onednn.conv", "onednn.rnn", "onednn.matmul") if IS_NEW}
    if onednn <= {"ieee"}:
        if old == (False, False, False) and new <= {"ieee"}:
            return "ieee"
        if old == (True, True, True) and new <= {"tf32"}:
            return "tf32"
    return "mixed"


def lower_everything() -> None:
    """Set what a host program may set to trade digits for speed."""
    BACKENDS.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("medium")
    BACKENDS.cudnn.benchmark = True
    BACKENDS.cudnn.deterministic = False


@contextmanager
def restored_switches() -> Iterator[None]:
    """Set torch's defaults on exit."""
    try:
        yield
    finally:
        for each in list_new_switches().values():
            each.fp32_precision = "none"
        BACKENDS.cudnn.allow_tf32 = True
        torch.set_float32_matmul_precision("highest")
        for name in ("cuda.matmul", "onednn.matmul") if IS_NEW else ():
            list_new_switches()[name].fp32_precision = "none"
        BACKENDS.cudnn.benchmark = BACKENDS.cudnn.deterministic = False
        BACKENDS.cuda.matmul.allow_bf16_reduced_precision_reduction = True


def _try_read(where: Any, name: str) -> Any:
    return _try_call(lambda: getattr(where, name))


def _try_call(read: Any) -> Any:
    try:
        return read()
    except RuntimeError:
        return None
