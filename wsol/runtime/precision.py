"""The arithmetic of a network: the float32 of the processor, TF32, or bfloat16.

torch's switches for it belong to the whole process, and some lower float32 unasked: cuDNN convolves in TF32 by default.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Literal, get_args

import torch

from wsol.errors import InputError

Precision = Literal["float32", "tf32", "bfloat16"]


def has_bf16(device: torch.device) -> bool:
    """Return whether a device has bfloat16 instructions; emulated, bfloat16 is far slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        queries = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
        return any(bool(query()) for query in queries if query)
    return False


def check_precision(precision: Precision, device: torch.device) -> None:
    """Check that a device computes in a precision.

    Raises:
        InputError: It does not, or an environment variable decides otherwise, or there is no such precision.
    """
    if precision not in get_args(Precision):
        raise InputError(f"there is no precision {precision!r}; give {', '.join(get_args(Precision))}")
    if device.type == "cuda":
        if precision == "tf32" and torch.cuda.get_device_capability(device) < (8, 0):
            name = torch.cuda.get_device_name(device)
            raise InputError(f"{name} has no TF32, which GPUs have from compute capability 8.0; leave out --precision")
        override = os.environ.get("NVIDIA_TF32_OVERRIDE")
        if override is not None and (override == "0") is (precision == "tf32"):
            raise InputError(f"NVIDIA_TF32_OVERRIDE={override} in the environment excludes {precision}; unset it")
    elif precision == "tf32":
        raise InputError(f"tf32 is a format of GPUs, and the device is {device}; leave out --precision")
    for variable in ("ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"):
        mode = os.environ.get(variable, "STRICT")
        if device.type == "cpu" and mode.upper() != "STRICT":
            raise InputError(f"{variable}={mode} in the environment replaces float32 by fewer bits; unset it")


@contextmanager
def arithmetic(precision: Precision, *, repeatable: bool = True) -> Iterator[None]:
    """Set the arithmetic of networks while the context is active; afterwards torch's switches are as they were before.

    Convolutions and matrix products of float32 numbers are those of IEEE 754, with ``tf32`` those of TF32 on a GPU.
    With ``bfloat16`` they are those of IEEE 754 too; which layers run in bfloat16 instead is up to ``torch.autocast``
    inside the context. That of a host program around it has no effect.

    The switches are those of the process: a thread waits until no other thread is in a context with another arithmetic.
    Inside a context, a thread that enters one with another arithmetic has left the outer one meanwhile.

    Args:
        precision: The precision.
        repeatable: Whether cuDNN is kept to algorithms that give the same bits each time. Otherwise it takes what the
            host program has set.
    """
    mode, outer = (precision == "tf32", repeatable), getattr(_thread, "mode", None)
    if mode == outer:
        yield
        return
    _switches.change(outer, mode)
    _thread.mode = mode
    try:
        with ExitStack() as stack:
            for device in _AUTOCAST_DEVICES:
                if torch.is_autocast_enabled(device):
                    stack.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        _switches.change(mode, outer)
        _thread.mode = outer


_AUTOCAST_DEVICES = ("cpu", "cuda", "xpu")
_Mode = tuple[bool, bool]  # TF32, repeatable


class _Switches:
    """Torch's switches, set as long as any thread needs them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._threads = 0
        self._mode: _Mode | None = None
        self._restore = ExitStack()

    def change(self, old: _Mode | None, new: _Mode | None) -> None:
        """Give up the mode that this thread has, then wait until no other thread has another mode than the new one."""
        with self._changed:
            if old is not None:
                self._threads -= 1
                if self._threads == 0:
                    self._restore.close()
                    self._changed.notify_all()
            if new is not None:
                self._changed.wait_for(lambda: self._threads == 0 or self._mode == new)
                if self._threads == 0:
                    with ExitStack() as stack:
                        _set_switches(stack, *new)
                        self._restore = stack.pop_all()
                    self._mode = new
                self._threads += 1


_switches = _Switches()
_thread = threading.local()


def _set_switches(stack: ExitStack, tf32: bool, repeatable: bool) -> None:
    """Set the switches, and register on the stack how to restore them.

    Since torch 2.9 there are two kinds, which overlap: ``allow_tf32`` and ``set_float32_matmul_precision``, which raise
    where the other kind contradicts them; and ``fp32_precision``, by library and operation, which a value for several
    of them stands behind. Both are set, so that a network may read either, and none may be left out: ``allow_tf32 =
    False`` alone leaves TF32 to the values behind. A convolution that follows torch's default, TF32 unless a value
    behind it says otherwise, comes back as one that is set to TF32, since nothing but torch sets the former.
    """
    cudnn, cuda, onednn = torch.backends.cudnn, torch.backends.cuda, torch.backends.mkldnn
    legacy = _read_allow_tf32()
    fine: list[Any] = []
    if hasattr(torch.backends, "fp32_precision"):
        # From the outermost on, so that each shows its own value and not that of what stands behind it.
        for each in (torch.backends, cudnn):
            _set(stack, each, "fp32_precision", "none")
        fine = [cudnn.conv, cudnn.rnn, cuda.matmul, onednn.conv, onednn.rnn, onednn.matmul]  # type: ignore[attr-defined]  # since 2.9
        for each in fine:
            _set(stack, each, "fp32_precision", "ieee")
    legacy = legacy if legacy is not None else _read_allow_tf32() is None
    stack.callback(partial(setattr, cudnn, "allow_tf32", legacy))
    cudnn.allow_tf32 = tf32
    stack.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    if isinstance(getattr(onednn, "allow_tf32", None), bool):  # of Intel's GPUs
        _set(stack, onednn, "allow_tf32", tf32)
    if fine:
        for each in (cudnn, *fine):  # torch.compile reads the value for all of cuDNN
            each.fp32_precision = "tf32" if tf32 and each not in fine[3:] else "ieee"
    name = "allow_bf16_reduced_precision_reduction"
    split = getattr(cuda.matmul, f"{name}_split_k", None)
    before = getattr(cuda.matmul, name)
    stack.callback(setattr, cuda.matmul, name, before if split is None else (before, split))
    setattr(cuda.matmul, name, True)  # torch's default, so that bfloat16 is the same in every host program
    if repeatable:
        _set(stack, cudnn, "benchmark", False)
        _set(stack, cudnn, "deterministic", True)


def _read_allow_tf32() -> bool | None:
    """Return the value of ``torch.backends.cudnn.allow_tf32``; None where ``fp32_precision`` contradicts it."""
    try:
        return torch.backends.cudnn.allow_tf32
    except RuntimeError:
        return None


def _set(stack: ExitStack, where: Any, name: str, value: Any) -> None:
    stack.callback(setattr, where, name, getattr(where, name))
    setattr(where, name, value)
