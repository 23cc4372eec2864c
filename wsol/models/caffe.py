"""Caffe weights: a ``.caffemodel`` file, which contains structure and weights, read as a torch network."""

import contextlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wsol.errors import InputError
from wsol.models._caffe_format import CaffeLayer, read_layers
from wsol.models._caffe_layers import build_module
from wsol.models.base import Preprocessing

IMAGENET_BGR = (104.00698793, 116.66876762, 122.67891434)
"""Blue, green and red of the mean ILSVRC 2012 image, 0 to 255, which Caffe's reference models subtract."""

Step = tuple[str, tuple[str, ...], tuple[str, ...], nn.Module]
"""Name of a layer, the blobs that it reads, those that it writes, and its module."""

_MAX_VALUES = 1 << 28  # total of the layers' outputs for one image, a GiB


class CaffeNet(nn.Module):
    """A Caffe network, which runs its layers in their order.

    Args:
        steps: The layers; one may overwrite a blob that it reads.
        source: Name of the blob with the image.
        output: Name of the blob to return.
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
            output = module(*(blobs[bottom] for bottom in bottoms))
            blobs.update(dict.fromkeys(tops, output))
        return blobs[self.output].flatten(1)


@dataclass(frozen=True)
class CaffeModel:
    """Content of a ``.caffemodel`` file.

    Attributes:
        network: The network with its weights, float32, on the CPU, in evaluation mode.
        preprocessing: Preprocessing that it expects of RGB images in [0, 1].
    """

    network: CaffeNet
    preprocessing: Preprocessing


def read_caffemodel(path: Path) -> CaffeModel:
    """Read a ``.caffemodel`` file, such as those of Zhou et al., CVPR 2016 (https://github.com/metalbubble/CAM).

    Both generations of the format are read (``layers`` and ``layer`` of ``caffe.proto``). Only the layers that the last
    classifier needs are kept: auxiliary classifiers, losses and data layers are dropped. A pooling that only the
    classifier follows becomes global, so images may have any size.

    Caffe's networks take BGR images of 0 to 255. The convolutions that read the image are converted to RGB, and the
    preprocessing scales [0, 1] to that range. Mean and scale are those of the file's data layer; if it has no mean
    (it may name another file), the mean is ``IMAGENET_BGR``.

    Raises:
        InputError: The file is damaged or not a ``.caffemodel`` file, has layers that are not supported, or weights
            that do not fit its layers; or the package protobuf is not installed.
    """
    layers = read_layers(path)
    needed, source, output = _select_layers(layers, path)
    _make_last_pooling_global(needed)
    network = CaffeNet(_build_steps(needed, source), source, output).eval()
    _check_memory(network, path)
    return CaffeModel(network, _read_preprocessing(layers, source))


def _select_layers(layers: Sequence[CaffeLayer], path: Path) -> tuple[list[CaffeLayer], str, str]:
    """Return the layers that the last classifier needs, the blob with the image, and the one with the scores."""
    heads = [i for i, layer in enumerate(layers) if layer.kind in ("Softmax", "SoftmaxWithLoss") and layer.bottoms]
    if heads:
        end, output = heads[-1], layers[heads[-1]].bottoms[0]
    else:
        ends = [i for i, layer in enumerate(layers) if layer.tops]
        end, output = (ends[-1] + 1, layers[ends[-1]].tops[0]) if ends else (0, "")
    selected: list[CaffeLayer] = []
    needed = {output}
    for layer in reversed(layers[:end]):
        # A layer that reads nothing is a data layer: it provides the image.
        if layer.bottoms and needed.intersection(layer.tops):
            needed = needed.difference(layer.tops).union(layer.bottoms)
            selected.insert(0, layer)
    if not selected or len(needed) != 1:
        blobs = ", ".join(map(repr, sorted(needed)))
        raise InputError(
            f"{path}: its classifier is not computed from one image but from {blobs:.200}; "
            "only networks with one input can be read"
        )
    return selected, needed.pop(), output


def _make_last_pooling_global(layers: Sequence[CaffeLayer]) -> None:
    """Mark the pooling that only the classifier follows: for crops of the training size it covers the whole map."""
    backwards = (layer for layer in reversed(layers) if layer.kind not in ("Dropout", "Flatten", "Split"))
    last = next(backwards, None)
    if last and last.kind == "InnerProduct":
        last = next(backwards, None)
    if last and last.kind == "Pooling":
        last.message.pooling_param.global_pooling = True


def _build_steps(layers: Sequence[CaffeLayer], source: str) -> list[Step]:
    channels = {source: 3}
    images = {source}
    steps: list[Step] = []
    for layer in layers:
        module, outputs = build_module(layer, [channels[bottom] for bottom in layer.bottoms])
        if layer.kind == "Split" and images.issuperset(layer.bottoms):
            images.update(layer.tops)
        elif images.intersection(layer.bottoms):
            _convert_to_rgb(layer, module)
        channels.update(dict.fromkeys(layer.tops, outputs))
        steps.append((layer.name, layer.bottoms, layer.tops, module))
    return steps


def _convert_to_rgb(layer: CaffeLayer, module: nn.Module) -> None:
    if not isinstance(module, nn.Conv2d) or module.groups != 1:
        raise layer.error("reads the image; only networks whose first layer is a convolution of one group can be read")
    module.weight = nn.Parameter(module.weight.detach().flip(1))


def _check_memory(network: CaffeNet, path: Path) -> None:
    """Check that the layers' outputs for a 224 x 224 image fit into memory; computes shapes only."""
    sizes = []

    def record(_: nn.Module, __: Any, output: Tensor) -> None:
        sizes.append(output.numel())

    hooks = [module.register_forward_hook(record) for module in network.layers.values()]
    state = {name: value.to("meta") for name, value in network.state_dict().items()}
    with contextlib.suppress(Exception):  # the search for the target layer reports layers that do not fit together
        torch.func.functional_call(network, state, (torch.empty(1, 3, 224, 224, device="meta"),))
    for hook in hooks:
        hook.remove()
    if sum(sizes) > _MAX_VALUES:
        raise InputError(
            f"{path}: its layers compute {sum(sizes):.0e} numbers per image; only networks that fit into "
            "memory can be read"
        )


def _read_preprocessing(layers: Sequence[CaffeLayer], source: str) -> Preprocessing:
    mean, scale = list(IMAGENET_BGR), 1.0
    data = next((layer for layer in layers if source in layer.tops and not layer.bottoms), None)
    if data:
        transform = data.message.transform_param
        scale = transform.scale
        mean = list(transform.mean_value) or mean
        if len(mean) not in (1, 3) or not 0 < scale < math.inf:
            count = len(transform.mean_value)
            raise data.error(
                f"has {count} mean values and scale {scale:g}; only one or three and a positive scale can be read"
            )
    b, g, r = (value / 255 for value in mean * (3 // len(mean)))
    try:
        return Preprocessing((r, g, b), (1 / 255 / scale,) * 3)
    except ValueError as error:  # only numbers of the file can be out of range
        assert data is not None
        raise data.error(f"has mean values or a scale that no photo needs ({error})") from error
