"""Layers of a Caffe network as torch modules, with their weights."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wsol.models._caffe_format import CaffeLayer

_MAX_WINDOW = 1024  # for a window and its stride and padding: a larger one makes maps out of nothing

# Settings for which only the default is supported.
_FIXED = ("axis", "concat_dim", "end_axis", "transpose", "norm_region")


def build_module(layer: CaffeLayer, channels: list[int]) -> tuple[nn.Module, int]:
    """Build the module of a layer, with its weights, and return it with its number of output channels.

    Args:
        layer: A layer of a ``.caffemodel`` file.
        channels: Number of channels of each blob that it reads.

    Raises:
        InputError: The layer is not supported, or its weights do not fit its settings.
    """
    if layer.kind not in _BUILDERS:
        raise layer.error(f"is not supported; only networks of {', '.join(_BUILDERS)} can be read")
    if len(layer.bottoms) != 1 and layer.kind != "Concat":
        raise layer.error(f"reads {len(layer.bottoms)} blobs instead of one; download the file again")
    for group, settings in layer.message.ListFields():
        for setting, value in settings.ListFields() if group.name.endswith("_param") else ():
            if setting.name in _FIXED and value != setting.default_value:
                raise layer.error(f"has {setting.name} {value}; only {setting.default_value} can be read")
    return _BUILDERS[layer.kind](layer, channels)


def _build_convolution(layer: CaffeLayer, channels: list[int]) -> tuple[nn.Module, int]:
    settings = layer.message.convolution_param
    inputs, outputs, groups, bias = channels[0], settings.num_output, settings.group, settings.bias_term
    if not groups or inputs % groups or outputs % groups:
        raise layer.error(f"has {groups} groups for {inputs} to {outputs} channels; download the file again")
    kernel, stride, dilation = (_read_pair(layer, settings, name, 1) for name in ("kernel_size", "stride", "dilation"))
    pad = _read_pair(layer, settings, "pad", 0)
    weights = _read_weights(layer, (outputs, inputs // groups, *kernel), *[(outputs,)] * bias)
    # On the meta device no random weights are drawn only to be replaced.
    module = nn.Conv2d(inputs, outputs, kernel, stride, pad, dilation, groups, bias, device="meta")
    return _load(module, weights), outputs


def _build_inner_product(layer: CaffeLayer, channels: list[int]) -> tuple[nn.Module, int]:
    settings = layer.message.inner_product_param
    inputs, outputs, bias = channels[0], settings.num_output, settings.bias_term
    weights = _read_weights(layer, (outputs, inputs), *[(outputs,)] * bias)
    return nn.Sequential(nn.Flatten(), _load(nn.Linear(inputs, outputs, bias, device="meta"), weights)), outputs


def _build_pooling(layer: CaffeLayer, channels: list[int]) -> tuple[nn.Module, int]:
    settings = layer.message.pooling_param
    if settings.pool not in (0, 1):
        raise layer.error(f"pools by method {settings.pool}; only 0, max, and 1, average, can be read")
    if settings.global_pooling:
        return (nn.AdaptiveAvgPool2d(1) if settings.pool else nn.AdaptiveMaxPool2d(1)), channels[0]
    kernel, stride = (_read_pair(layer, settings, name, 1) for name in ("kernel_size", "stride"))
    pad = _read_pair(layer, settings, "pad", 0)
    if any(2 * p > k for p, k in zip(pad, kernel, strict=True)):
        raise layer.error(f"pads by {pad}; only up to half of its kernel {kernel} can be read")
    # As in Caffe, sizes round up, no window starts in the padding after the map, and an average counts the padding but
    # nothing beyond it.
    pooling = nn.AvgPool2d if settings.pool else nn.MaxPool2d
    return pooling(kernel, stride, pad, ceil_mode=settings.round_mode == 0), channels[0]


def _build_lrn(layer: CaffeLayer, channels: list[int]) -> tuple[nn.Module, int]:
    settings = layer.message.lrn_param
    if settings.local_size % 2 == 0 or settings.local_size > _MAX_WINDOW:
        raise layer.error(
            f"has local_size {settings.local_size}, which must be odd and at most {_MAX_WINDOW}; "
            "download the file again"
        )
    return nn.LocalResponseNorm(settings.local_size, settings.alpha, settings.beta, settings.k), channels[0]


def _build_relu(layer: CaffeLayer, channels: list[int]) -> tuple[nn.Module, int]:
    slope = layer.message.relu_param.negative_slope
    return nn.LeakyReLU(slope) if slope else nn.ReLU(), channels[0]


def _build_dropout(layer: CaffeLayer, channels: list[int]) -> tuple[nn.Module, int]:
    ratio = layer.message.dropout_param.dropout_ratio
    if not 0 <= ratio < 1:
        raise layer.error(f"has dropout_ratio {ratio:g}, which must be in [0, 1); download the file again")
    return nn.Dropout(ratio), channels[0]


class _Concat(nn.Module):
    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, 1)


_BUILDERS: dict[str, Callable[[CaffeLayer, list[int]], tuple[nn.Module, int]]] = {
    "Convolution": _build_convolution,
    "InnerProduct": _build_inner_product,
    "Pooling": _build_pooling,
    "LRN": _build_lrn,
    "ReLU": _build_relu,
    "Dropout": _build_dropout,
    "Concat": lambda layer, channels: (_Concat(), sum(channels)),
    "Split": lambda layer, channels: (nn.Identity(), channels[0]),
    "Flatten": lambda layer, channels: (nn.Flatten(), channels[0]),
}


def _read_pair(layer: CaffeLayer, settings: Any, name: str, least: int) -> tuple[int, int]:
    """Return the vertical and horizontal value of a setting, ``kernel_size`` or ``kernel_h`` and ``kernel_w``."""
    h, w = (list(getattr(settings, f"{name.removesuffix('_size')}_{side}", ())) for side in "hw")
    default = [0 if name == "kernel_size" else least]
    values = [(h or default)[-1], (w or default)[-1]] if h or w else list(getattr(settings, name)) or default
    if len(values) > 2 or min(values) < least or max(values) > _MAX_WINDOW:
        raise layer.error(
            f"has {name} {values[:3]}, which must be one or two numbers from {least} to {_MAX_WINDOW}; "
            "download the file again"
        )
    return values[0], values[-1]


def _load(module: nn.Module, tensors: list[Tensor]) -> nn.Module:
    module.load_state_dict(dict(zip(("weight", "bias"), tensors, strict=False)), assign=True)
    return module


def _read_weights(layer: CaffeLayer, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Return the tensors of a layer, which must have these shapes."""
    blobs = layer.message.blobs
    if not blobs:
        raise layer.error("has no weights; use the file that training wrote")
    if len(blobs) != len(shapes):
        raise layer.error(
            f"has {len(blobs)} weight tensors where its settings require {len(shapes)}; download the file again"
        )
    return [_read_tensor(layer, blob, shape) for blob, shape in zip(blobs, shapes, strict=True)]


def _read_tensor(layer: CaffeLayer, blob: Any, shape: tuple[int, ...]) -> Tensor:
    # The older format stores four sides, with 1 for those that a tensor does not have.
    stored = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    content, dtype = (b"".join(blob.data), "<f4") if blob.data else (b"".join(blob.double_data), "<f8")
    count, rest = divmod(len(content), np.dtype(dtype).itemsize)
    if [n for n in stored if n != 1] != [n for n in shape if n != 1] or count != math.prod(shape) or rest or not count:
        raise layer.error(
            f"has {count} weights of shape {stored[:8]} where its settings and its input require {shape}; either the "
            "file is damaged, or its classifier does not follow global pooling, which cannot be read"
        )
    return torch.from_numpy(np.frombuffer(content, dtype).astype(np.float32)).reshape(shape)
