"""The features of a classifier, cut off to make room for global pooling, and the size of their maps."""

import contextlib
import io
import math
from typing import Any

import torch
import torchvision.ops
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer, create_feature_extractor

from wsol.errors import InputError

# What create_feature_extractor keeps as one node.
_TRACER: dict[str, Any] = {
    "autowrap_modules": (math, torchvision.ops),
    "leaf_modules": [m for m in vars(torchvision.ops).values() if isinstance(m, type) and issubclass(m, nn.Module)],
}
_SIDE = 224  # map sizes are those for images of this side


class FeatureExtractor(nn.Module):
    """The layers of a classifier before its pooling, for training and evaluation.

    Args:
        network: A classifier; the extractor shares its tensors.
        name: Name of the classifier in messages.
        last: Name of the last module to keep; None to keep all before the network's own pooling.

    Attributes:
        pools_to_one: Whether the classifier itself pools these features to 1 x 1.

    Raises:
        InputError: The classifier cannot be traced, or does not pool.
    """

    def __init__(self, network: nn.Module, name: str, last: str | None = None) -> None:
        super().__init__()
        tracer, train_tracer = NodePathTracer(**_TRACER), NodePathTracer(**_TRACER)
        try:
            graph = tracer.trace(network.eval())
            train_tracer.trace(network.train())
        except Exception as error:  # tracing runs the network's own code, which may raise anything
            raise InputError(f"{name}: its structure cannot be traced ({error})") from error
        pooling = next((node for node in reversed(graph.nodes) if _pooled_size(node, network) is not None), None)
        if pooling is None:
            raise InputError(f"{name}: it has no pooling over a feature map that global pooling could replace")
        self.pools_to_one = last is None and _pooled_size(pooling, network) == 1
        names = list(tracer.node_to_qualname.values())
        cut = last or names[names.index(tracer.node_to_qualname[pooling]) - 1]
        self.body: Any = create_feature_extractor(network, {cut: "features"})
        for traced, copied in ((train_tracer, self.body.train_graph), (tracer, self.body.eval_graph)):
            layers = {node.name: layer for node, layer in traced.node_to_qualname.items()}
            for node in copied.nodes:
                node.meta["layer"] = layers.get(node.name, "")  # as in wsol.models.graph

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``(n, C, h, w)``."""
        features: Tensor = self.body(images)["features"]
        return features


def measure_maps(features: nn.Module) -> tuple[int, int]:
    """Return channels and side of the feature maps for a 224 x 224 image."""
    training = features.training
    with torch.no_grad():
        maps = features.eval()(torch.zeros(1, 3, _SIDE, _SIDE))
    features.train(training)
    return int(maps.shape[1]), int(maps.shape[2])


def enlarge_maps(features: nn.Module, map_size: int, name: str) -> None:
    """Drop strides and pooling layers, the last ones first, until the maps have a side of ``map_size``, in place.

    A convolution gets a stride of 1 and padding that keeps the size; a pooling layer is removed.
    Zhou et al., CVPR 2016, section 3, do the latter to VGG; the WSOL literature does the former to ResNet and others.

    Args:
        features: Module that maps images to feature maps.
        map_size: Side of the feature maps for a 224 x 224 image.
        name: Name of the network in messages.

    Raises:
        InputError: No number of dropped reductions gives that side.
    """
    sizes = [measure_maps(features)[1]]
    while sizes[-1] < map_size:
        reductions = _find_last_reduction(features)
        if not reductions:
            break
        for path in reductions:
            parent, _, leaf = path.rpartition(".")
            module = features.get_submodule(path)
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
                module.padding = "same"
            else:
                setattr(features.get_submodule(parent), leaf, nn.Identity())
        try:
            with contextlib.redirect_stderr(io.StringIO()):  # fx prints its own explanation
                sizes.append(measure_maps(features)[1])
        except (RuntimeError, ValueError) as error:  # branches that no longer fit together
            raise InputError(f"{name}: its maps cannot be made larger than {sizes[-1]}") from error
        if sizes[-1] == sizes[-2]:
            break
    if sizes[-1] != map_size:
        raise InputError(
            f"{name}: maps of {map_size} x {map_size} are not possible; --map-size can be {', '.join(map(str, sizes))}"
        )


_POOL_LAYERS = (nn.MaxPool2d, nn.AvgPool2d)


def _find_last_reduction(features: nn.Module) -> list[str]:
    """Return the paths of the layers that reduce the smallest map that is reduced at all."""
    reductions: list[tuple[int, str]] = []

    def record(path: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if output.shape[-1] < inputs[0].shape[-1]:
                reductions.append((inputs[0].shape[-1], path))

        return hook

    layers = [(p, m) for p, m in features.named_modules() if isinstance(m, (nn.Conv2d, *_POOL_LAYERS))]
    hooks = [module.register_forward_hook(record(path)) for path, module in layers]
    try:
        measure_maps(features)
    finally:
        for hook in hooks:
            hook.remove()
    smallest = min((size for size, _ in reductions), default=0)
    return [path for size, path in reductions if size == smallest]


def _pooled_size(node: fx.Node, network: nn.Module) -> int | None:
    """Return the side of a node's output if it pools the whole map, else None."""
    size: Any = None
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        size = module.output_size if isinstance(module, nn.AdaptiveAvgPool2d) else None
    elif node.target is nn.functional.adaptive_avg_pool2d:
        size = _get_argument(node, "output_size")
    elif node.target in ("mean", torch.mean):
        size = 1 if _is_over_map(_get_argument(node, "dim")) else None
    if isinstance(size, (list, tuple)):
        size = size[0]
    return size if isinstance(size, int) else None


def _is_over_map(dims: Any) -> bool:
    """Return whether dimensions are height and width of ``(n, C, h, w)``."""
    return isinstance(dims, (list, tuple)) and {d % 4 for d in dims if isinstance(d, int)} == {2, 3}


def _get_argument(node: fx.Node, name: str) -> Any:
    """Return the argument of a call after its input, by position or by name."""
    return node.args[1] if len(node.args) > 1 else node.kwargs.get(name)
