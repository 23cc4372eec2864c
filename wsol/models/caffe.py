"""Caffe weights: a ``.caffemodel`` file, which holds structure and weights, becomes a torch network."""

import contextlib
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.io.paths import check_file
from wsol.models.base import Preprocessing

IMAGENET_BGR = (104.00698793, 116.66876762, 122.67891434)
"""Blue, green and red of the mean ILSVRC 2012 picture, 0 to 255, which Caffe's reference models subtract."""

Step = tuple[str, tuple[str, ...], tuple[str, ...], nn.Module]
"""Of a layer its name, the blobs it reads, those it makes, and the module."""


class CaffeNet(nn.Module):
    """Runs the layers of a Caffe network in their order.

    Args:
        steps: The layers; one may make a blob anew that it reads.
        source: The blob that is the image.
        output: The blob that is returned.
    """

    def __init__(self, steps: Sequence[Step], source: str, output: str) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        for index, (name, _, _, module) in enumerate(steps):
            # torch.fx writes module names into Python code that it runs, and a file may name its layers anything.
            self.layers[f"{index}_{re.sub('[^A-Za-z0-9_]', '_', name)}"] = module
        self.wiring = tuple((bottoms, tops) for _, bottoms, tops, _ in steps)
        self.source = source
        self.output = output

    def forward(self, images: Tensor) -> Tensor:
        """Return the class scores ``(n, classes)``, before softmax, of RGB images ``(n, 3, H, W)``."""
        blobs = {self.source: images}
        for (bottoms, tops), module in zip(self.wiring, self.layers.values(), strict=True):
            made = module(*(blobs[bottom] for bottom in bottoms))
            blobs.update(dict.fromkeys(tops, made))
        return blobs[self.output].flatten(1)


@dataclass(frozen=True)
class CaffeModel:
    """What a ``.caffemodel`` file holds.

    Attributes:
        network: With its weights, float32, on the CPU, in evaluation mode.
        preprocessing: What it expects of RGB images in [0, 1].
    """

    network: CaffeNet
    preprocessing: Preprocessing


def read_caffemodel(path: Path) -> CaffeModel:
    """Read a ``.caffemodel`` file, such as those of Zhou et al., CVPR 2016 (https://github.com/metalbubble/CAM).

    Both generations of the format are read (``layers`` and ``layer`` of ``caffe.proto``). Only the layers that the last
    classifier needs are kept: auxiliary classifiers, losses and data layers are left out. A pooling that nothing but
    the classifier follows is made global, so images may have any size.

    Caffe's networks take BGR images of 0 to 255. The convolutions that read the image are turned to RGB, and the
    preprocessing brings [0, 1] to that range. Mean and scale are those of the file's data layer; a mean that it lacks
    (it may name another file) is ``IMAGENET_BGR``.

    Raises:
        InputError: The file is damaged or no ``.caffemodel``, has layers that are not supported, or weights that do not
            fit its layers.
    """
    layers = _layers(path)
    kept, source, output = _needed(layers, path)
    _make_last_pooling_global(kept)
    network = CaffeNet(_steps(kept, source), source, output).eval()
    _check_outputs(network, path)
    return CaffeModel(network, _preprocessing(layers, source))


# Of each message "name:number:type" as in Caffe's caffe.proto; "*" repeats, "=" gives the default. Types differ from it
# where a file does not tell: enumerations are int32, packed floats the bytes that they consist of (so that no weight
# becomes a Python object), strings bytes, and what may be given once, or once a side, repeats.
_MESSAGES = {
    "Shape": "dim:1:int64*",
    "Blob": "shape:7:Shape data:5:bytes* double_data:8:bytes* "
    "num:1:int32 channels:2:int32 height:3:int32 width:4:int32",
    "Transform": "scale:1:float=1 mean_value:5:float*",
    "Concat": "axis:2:int32=1 concat_dim:1:uint32=1",
    "Convolution": "num_output:1:uint32 bias_term:2:bool=true group:5:uint32=1 axis:16:int32=1 "
    "kernel_size:4:uint32* kernel_h:11:uint32* kernel_w:12:uint32* pad:3:uint32* pad_h:9:uint32* pad_w:10:uint32* "
    "stride:6:uint32* stride_h:13:uint32* stride_w:14:uint32* dilation:18:uint32*",
    "Dropout": "dropout_ratio:1:float=0.5",
    "Flatten": "axis:1:int32=1 end_axis:2:int32=-1",
    "InnerProduct": "num_output:1:uint32 bias_term:2:bool=true axis:5:int32=1 transpose:6:bool=false",
    "LRN": "local_size:1:uint32=5 alpha:2:float=1 beta:3:float=0.75 norm_region:4:int32=0 k:5:float=1",
    "Pooling": "pool:1:int32=0 global_pooling:12:bool=false round_mode:13:int32=0 "
    "kernel_size:2:uint32* kernel_h:5:uint32* kernel_w:6:uint32* pad:4:uint32* pad_h:9:uint32* pad_w:10:uint32* "
    "stride:3:uint32* stride_h:7:uint32* stride_w:8:uint32*",
    "ReLU": "negative_slope:1:float=0",
    "Layer": "name:1:bytes type:2:bytes bottom:3:bytes* top:4:bytes* blobs:7:Blob* transform_param:100:Transform "
    "concat_param:104:Concat convolution_param:106:Convolution dropout_param:108:Dropout flatten_param:135:Flatten "
    "inner_product_param:117:InnerProduct lrn_param:118:LRN pooling_param:121:Pooling relu_param:123:ReLU",
    "V1Layer": "name:4:bytes type:5:int32 bottom:2:bytes* top:3:bytes* blobs:6:Blob* transform_param:36:Transform "
    "concat_param:9:Concat convolution_param:10:Convolution dropout_param:12:Dropout "
    "inner_product_param:17:InnerProduct lrn_param:18:LRN pooling_param:19:Pooling relu_param:30:ReLU",
    "Net": "layers:2:V1Layer* layer:100:Layer*",
}

# The first generation numbers the types, from 0.
_V1_TYPES = """None Accuracy BNLL Concat Convolution Data Dropout EuclideanLoss Flatten HDF5Data HDF5Output Im2col
ImageData InfogainLoss InnerProduct LRN MultinomialLogisticLoss Pooling ReLU Sigmoid Softmax SoftmaxWithLoss Split TanH
WindowData Eltwise Power SigmoidCrossEntropyLoss HingeLoss MemoryData ArgMax Threshold DummyData Slice MVN AbsVal
Silence ContrastiveLoss Exp Deconvolution"""


def _net_class() -> Any:
    """Build the protobuf class that parses a file."""
    field_types = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        for field in fields.split():
            name, number, kind = field.split(":")
            kind, _, default = kind.partition("=")
            label = field_types.LABEL_REPEATED if kind.endswith("*") else field_types.LABEL_OPTIONAL
            kind = kind.removesuffix("*")
            added = described.field.add(name=name, number=int(number), label=label)
            if kind in _MESSAGES:
                added.type_name = f".caffe.{kind}"
            else:
                added.type = getattr(field_types, f"TYPE_{kind.upper()}")
            if default:
                added.default_value = default
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.Net"))


@dataclass(frozen=True)
class _Layer:
    """A layer of either generation; ``message`` names its fields alike in both."""

    path: Path
    name: str
    kind: str
    bottoms: tuple[str, ...]
    tops: tuple[str, ...]
    message: Any

    def error(self, text: str) -> InputError:
        return InputError(f"{self.path}: layer {self.name!r:.80} of type {self.kind!r:.80} {text}")


def _layers(path: Path) -> list[_Layer]:
    try:
        check_file(path)
        net = _net_class().FromString(path.read_bytes())
        layers = [_layer(path, message) for message in (*net.layers, *net.layer)]
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); check --weights") from error
    except (DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a .caffemodel file, or a part of one; download it again") from error
    if len(layers) > _MOST_LAYERS:
        raise InputError(f"{path} has {len(layers)} layers; only networks of up to {_MOST_LAYERS} can be read")
    if not any(layer.message.blobs for layer in layers):
        raise InputError(f"{path} is not a .caffemodel file: it has no layers with weights; check --weights")
    return layers


def _layer(path: Path, message: Any) -> _Layer:
    bottoms, tops = (tuple(map(bytes.decode, blobs)) for blobs in (message.bottom, message.top))
    if isinstance(message.type, bytes):
        kind = message.type.decode()
    else:
        kind = dict(enumerate(_V1_TYPES.split())).get(message.type, f"number {message.type}")
    return _Layer(path, message.name.decode(), kind, bottoms, tops, message)


def _needed(layers: Sequence[_Layer], path: Path) -> tuple[list[_Layer], str, str]:
    """Return the layers that the last classifier needs, the blob that is the image, and the one with the scores."""
    heads = [i for i, layer in enumerate(layers) if layer.kind in ("Softmax", "SoftmaxWithLoss") and layer.bottoms]
    if heads:
        end, output = heads[-1], layers[heads[-1]].bottoms[0]
    else:
        ends = [i for i, layer in enumerate(layers) if layer.tops]
        end, output = (ends[-1] + 1, layers[ends[-1]].tops[0]) if ends else (0, "")
    kept: list[_Layer] = []
    needed = {output}
    for layer in reversed(layers[:end]):
        # What reads nothing is a data layer: it makes the image.
        if layer.bottoms and needed.intersection(layer.tops):
            needed = needed.difference(layer.tops).union(layer.bottoms)
            kept.insert(0, layer)
    if not kept or len(needed) != 1:
        blobs = ", ".join(map(repr, sorted(needed)))
        raise InputError(
            f"{path}: its classifier is not computed from one image but from {blobs:.200}; "
            "only networks with one input can be read"
        )
    return kept, needed.pop(), output


def _check_outputs(network: CaffeNet, path: Path) -> None:
    """Look for layers that make more of a 224 x 224 image than fits into memory; shapes are computed, not numbers."""
    sizes = []

    def note(_: nn.Module, __: Any, output: Tensor) -> None:
        sizes.append(output.numel())

    hooks = [module.register_forward_hook(note) for module in network.layers.values()]
    state = {name: value.to("meta") for name, value in network.state_dict().items()}
    with contextlib.suppress(Exception):  # what does not fit together is said when the network is looked at
        torch.func.functional_call(network, state, (torch.empty(1, 3, 224, 224, device="meta"),))
    for hook in hooks:
        hook.remove()
    if sum(sizes) > _MOST_NUMBERS:
        raise InputError(
            f"{path}: its layers make {sum(sizes):.0e} numbers of an image; only networks that fit into "
            "memory can be read"
        )


def _make_last_pooling_global(layers: Sequence[_Layer]) -> None:
    """Mark the pooling that only the classifier follows: at the size of its training crops it covers the whole map."""
    backwards = (layer for layer in reversed(layers) if layer.kind not in ("Dropout", "Flatten", "Split"))
    last = next(backwards, None)
    if last and last.kind == "InnerProduct":
        last = next(backwards, None)
    if last and last.kind == "Pooling":
        last.message.pooling_param.global_pooling = True


def _steps(layers: Sequence[_Layer], source: str) -> list[Step]:
    channels = {source: 3}
    images = {source}
    steps: list[Step] = []
    for layer in layers:
        _check(layer)
        module, made = _BUILDERS[layer.kind](layer, [channels[bottom] for bottom in layer.bottoms])
        if layer.kind == "Split" and images.issuperset(layer.bottoms):
            images.update(layer.tops)
        elif images.intersection(layer.bottoms):
            _turn_to_rgb(layer, module)
        channels.update(dict.fromkeys(layer.tops, made))
        steps.append((layer.name, layer.bottoms, layer.tops, module))
    return steps


_MOST_LAYERS = 10_000
_MOST_NUMBERS = 1 << 28  # that the layers make of one image, a GiB
_LARGEST = 1024  # of a window, and what goes with it: a larger one makes maps out of nothing

# Settings of which only the default is supported.
_FIXED = ("axis", "concat_dim", "end_axis", "transpose", "norm_region")


def _check(layer: _Layer) -> None:
    if layer.kind not in _BUILDERS:
        raise layer.error(f"is not supported; only networks of {', '.join(_BUILDERS)} can be read")
    if len(layer.bottoms) != 1 and layer.kind != "Concat":
        raise layer.error(f"reads {len(layer.bottoms)} blobs instead of one; download the file again")
    for part, settings in layer.message.ListFields():
        for setting, value in settings.ListFields() if part.name.endswith("_param") else ():
            if setting.name in _FIXED and value != setting.default_value:
                raise layer.error(f"has {setting.name} {value}; only {setting.default_value} can be read")


def _turn_to_rgb(layer: _Layer, module: nn.Module) -> None:
    if not isinstance(module, nn.Conv2d) or module.groups != 1:
        raise layer.error("reads the image; only networks whose first layer is a convolution of one group can be read")
    module.weight = nn.Parameter(module.weight.detach().flip(1))


def _preprocessing(layers: Sequence[_Layer], source: str) -> Preprocessing:
    mean, scale = list(IMAGENET_BGR), 1.0
    data = next((layer for layer in layers if source in layer.tops and not layer.bottoms), None)
    if data:
        transform = data.message.transform_param
        scale = transform.scale
        mean = list(transform.mean_value) or mean
        if len(mean) not in (1, 3) or not 0 < scale < math.inf:
            given = len(transform.mean_value)
            raise data.error(f"has {given} mean values and scale {scale:g}; one or three and a positive scale fit")
    b, g, r = (value / 255 for value in mean * (3 // len(mean)))
    return Preprocessing((r, g, b), (1 / 255 / scale,) * 3)


def _convolution(layer: _Layer, channels: list[int]) -> tuple[nn.Module, int]:
    settings = layer.message.convolution_param
    inputs, outputs, groups, biased = channels[0], settings.num_output, settings.group, settings.bias_term
    if not groups or inputs % groups or outputs % groups:
        raise layer.error(f"has {groups} groups for {inputs} to {outputs} channels; download the file again")
    kernel, stride, dilation = (_sides(layer, settings, name, 1) for name in ("kernel_size", "stride", "dilation"))
    pad = _sides(layer, settings, "pad", 0)
    weights = _weights(layer, (outputs, inputs // groups, *kernel), *[(outputs,)] * biased)
    # On the meta device no weights are drawn only to be replaced.
    module = nn.Conv2d(inputs, outputs, kernel, stride, pad, dilation, groups, biased, device="meta")
    return _filled(module, weights), outputs


def _inner_product(layer: _Layer, channels: list[int]) -> tuple[nn.Module, int]:
    settings = layer.message.inner_product_param
    inputs, outputs, biased = channels[0], settings.num_output, settings.bias_term
    weights = _weights(layer, (outputs, inputs), *[(outputs,)] * biased)
    return nn.Sequential(nn.Flatten(), _filled(nn.Linear(inputs, outputs, biased, device="meta"), weights)), outputs


def _pooling(layer: _Layer, channels: list[int]) -> tuple[nn.Module, int]:
    settings = layer.message.pooling_param
    if settings.pool not in (0, 1):
        raise layer.error(f"pools by method {settings.pool}; only 0, max, and 1, average, can be read")
    if settings.global_pooling:
        return (nn.AdaptiveAvgPool2d(1) if settings.pool else nn.AdaptiveMaxPool2d(1)), channels[0]
    kernel, stride = (_sides(layer, settings, name, 1) for name in ("kernel_size", "stride"))
    pad = _sides(layer, settings, "pad", 0)
    if any(2 * p > k for p, k in zip(pad, kernel, strict=True)):
        raise layer.error(f"pads by {pad}; only up to half of its kernel {kernel} can be read")
    # As in Caffe, sizes round up, no window starts in the padding behind the map, and an average counts the padding but
    # not what lies beyond it.
    make = nn.AvgPool2d if settings.pool else nn.MaxPool2d
    return make(kernel, stride, pad, ceil_mode=settings.round_mode == 0), channels[0]


def _lrn(layer: _Layer, channels: list[int]) -> tuple[nn.Module, int]:
    settings = layer.message.lrn_param
    if settings.local_size % 2 == 0 or settings.local_size > _LARGEST:
        raise layer.error(
            f"has local_size {settings.local_size}, which must be odd and at most {_LARGEST}; download the file again"
        )
    return nn.LocalResponseNorm(settings.local_size, settings.alpha, settings.beta, settings.k), channels[0]


def _relu(layer: _Layer, channels: list[int]) -> tuple[nn.Module, int]:
    slope = layer.message.relu_param.negative_slope
    return nn.LeakyReLU(slope) if slope else nn.ReLU(), channels[0]


def _dropout(layer: _Layer, channels: list[int]) -> tuple[nn.Module, int]:
    ratio = layer.message.dropout_param.dropout_ratio
    if not 0 <= ratio < 1:
        raise layer.error(f"has dropout_ratio {ratio:g}, which must be in [0, 1); download the file again")
    return nn.Dropout(ratio), channels[0]


class _Concat(nn.Module):
    def forward(self, *maps: Tensor) -> Tensor:
        return torch.cat(maps, 1)


_BUILDERS: dict[str, Callable[[_Layer, list[int]], tuple[nn.Module, int]]] = {
    "Convolution": _convolution,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "LRN": _lrn,
    "ReLU": _relu,
    "Dropout": _dropout,
    "Concat": lambda layer, channels: (_Concat(), sum(channels)),
    "Split": lambda layer, channels: (nn.Identity(), channels[0]),
    "Flatten": lambda layer, channels: (nn.Flatten(), channels[0]),
}


def _sides(layer: _Layer, settings: Any, name: str, least: int) -> tuple[int, int]:
    """Return a setting down and across: ``kernel_size`` may be ``kernel_h`` and ``kernel_w``, and so with the rest."""
    h, w = (list(getattr(settings, f"{name.removesuffix('_size')}_{side}", ())) for side in "hw")
    default = [0 if name == "kernel_size" else least]
    sides = [(h or default)[-1], (w or default)[-1]] if h or w else list(getattr(settings, name)) or default
    if len(sides) > 2 or min(sides) < least or max(sides) > _LARGEST:
        raise layer.error(
            f"has {name} {sides[:3]}, which must be one or two numbers from {least} to {_LARGEST}; "
            "download the file again"
        )
    return sides[0], sides[-1]


def _filled(module: nn.Module, tensors: list[Tensor]) -> nn.Module:
    module.load_state_dict(dict(zip(("weight", "bias"), tensors, strict=False)), assign=True)
    return module


def _weights(layer: _Layer, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Return the tensors of a layer, which must have these shapes."""
    blobs = layer.message.blobs
    if not blobs:
        raise layer.error("has no weights; use the file that training wrote")
    if len(blobs) != len(shapes):
        raise layer.error(
            f"has {len(blobs)} weight tensors where its settings ask for {len(shapes)}; download it again"
        )
    return [_tensor(layer, blob, shape) for blob, shape in zip(blobs, shapes, strict=True)]


def _tensor(layer: _Layer, blob: Any, shape: tuple[int, ...]) -> Tensor:
    # The older shapes have four sides, some of them 1 where fewer would do.
    held = tuple(blob.shape.dim) or (blob.num, blob.channels, blob.height, blob.width)
    content, dtype = (b"".join(blob.data), "<f4") if blob.data else (b"".join(blob.double_data), "<f8")
    count, rest = divmod(len(content), np.dtype(dtype).itemsize)
    if [n for n in held if n != 1] != [n for n in shape if n != 1] or count != math.prod(shape) or rest or not count:
        raise layer.error(
            f"has {count} weights of shape {held[:8]} where its settings and its input ask for {shape}; only a "
            "classifier after global pooling can be read, else the file is damaged"
        )
    return torch.from_numpy(np.frombuffer(content, dtype).astype(np.float32)).reshape(shape)
