"""What is cut from a classifier to make room for global pooling."""

import contextlib
import io
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer, create_feature_extractor, get_graph_node_names

from wsol.errors import InputError
from wsol.models.global_pooling import get_argument, is_over_map

_SIDE = 224  # map sizes are those of images of this side


class Features(nn.Module):
    """The part of a classifier up to its pooling, in training as in evaluation.

    Args:
        network: A classifier; its tensors are shared.
        name: What to call it in messages.
        last: Name of the module to cut behind; None to cut where the network itself pools.

    Attributes:
        pools_to_one: Whether the classifier itself pools to 1 x 1 there.

    Raises:
        InputError: It cannot be traced, or does not pool.
    """

    def __init__(self, network: nn.Module, name: str, last: str | None = None) -> None:
        super().__init__()
        tracer = NodePathTracer()
        try:
            graph = tracer.trace(network.eval())
        except Exception as error:  # tracing runs the network's own code, which may raise anything
            raise InputError(f"{name}: its structure cannot be traced ({error})") from error
        pooling = next((node for node in reversed(graph.nodes) if _side(node, network) is not None), None)
        if pooling is None:
            raise InputError(f"{name}: it has no global pooling over a feature map that another could replace")
        self.pools_to_one = last is None and _side(pooling, network) == 1
        names = get_graph_node_names(network)[1]
        cut = last or names[names.index(tracer.node_to_qualname[pooling]) - 1]
        self.body = create_feature_extractor(network.train(), {cut: "features"})

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``(n, C, h, w)``."""
        features: Tensor = self.body(images)["features"]
        return features


def map_size(features: nn.Module) -> tuple[int, int]:
    """Return channels and side of the maps of a 224 x 224 image."""
    training = features.training
    with torch.no_grad():
        maps = features.eval()(torch.zeros(1, 3, _SIDE, _SIDE))
    features.train(training)
    return int(maps.shape[1]), int(maps.shape[2])


def enlarge_maps(features: nn.Module, size: int, name: str) -> None:
    """Drop late strides and pools, the last reduction first, until the maps have a side of ``size``, in place.

    A convolution with a stride loses it and is padded to keep the size, a pooling layer goes.
    Zhou et al., CVPR 2016, section 3, do the latter to VGG; the WSOL literature does the former to ResNet and others.

    Args:
        features: Images to feature maps.
        size: Side of the maps of a 224 x 224 image.
        name: What to call it in messages.

    Raises:
        InputError: No number of dropped reductions gives that side.
    """
    offered = [map_size(features)[1]]
    while offered[-1] < size:
        late = _last_reduction(features)
        if not late:
            break
        for path in late:
            parent, _, leaf = path.rpartition(".")
            module = features.get_submodule(path)
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
                module.padding = "same"
            else:
                setattr(features.get_submodule(parent), leaf, nn.Identity())
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # where fx explains itself
                offered.append(map_size(features)[1])
        except (RuntimeError, ValueError) as error:  # branches that no longer fit together
            raise InputError(f"{name}: its maps cannot be made larger than {offered[-1]}") from error
        if offered[-1] == offered[-2]:
            break
    if offered[-1] != size:
        raise InputError(
            f"{name}: maps of {size} x {size} cannot be had; --map-size can be {', '.join(map(str, offered))}"
        )


_POOL_LAYERS = (nn.MaxPool2d, nn.AvgPool2d)


def _last_reduction(features: nn.Module) -> list[str]:
    """Return the paths of the layers that shrink the smallest map that is shrunk."""
    found: list[tuple[int, str]] = []

    def note(path: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if output.shape[-1] < inputs[0].shape[-1]:
                found.append((inputs[0].shape[-1], path))

        return hook

    layers = [(p, m) for p, m in features.named_modules() if isinstance(m, (nn.Conv2d, *_POOL_LAYERS))]
    hooks = [module.register_forward_hook(note(path)) for path, module in layers]
    try:
        map_size(features)
    finally:
        for hook in hooks:
            hook.remove()
    smallest = min((size for size, _ in found), default=0)
    return [path for size, path in found if size == smallest]


def _side(node: fx.Node, network: nn.Module) -> int | None:
    """Return to what side a node pools, None if it is no pooling over the whole map."""
    size: Any = None
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        size = module.output_size if isinstance(module, nn.AdaptiveAvgPool2d) else None
    elif node.target is nn.functional.adaptive_avg_pool2d:
        size = get_argument(node, "output_size")
    elif node.target in ("mean", torch.mean):
        size = 1 if is_over_map(get_argument(node, "dim")) else None
    if isinstance(size, (list, tuple)):
        size = size[0]
    return size if isinstance(size, int) else None
