"""A classifier that ends in global average pooling, found inside any network by inspection."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, fx, nn

from wsol.errors import InputError
from wsol.models.classifier import ChannelsFirst, ChannelsLast, Classifier, Layout, Tokens
from wsol.models.graph import TracedNetwork, split_graph, trace

Pooling = Literal["average", "max"]
POOLINGS: dict[Pooling, type[nn.Module]] = {"average": nn.AdaptiveAvgPool2d, "max": nn.AdaptiveMaxPool2d}


class GapClassifier(Classifier):
    """Features, global pooling, and at most one linear layer.

    With features ``F`` the logits are ``W mean(F) + b``, or ``mean(F)`` where the network's last convolution outputs
    one map per class and nothing follows the pooling. Global max pooling takes the maximum instead of the mean (GMP,
    Oquab et al., "Is object localization for free?", CVPR 2015).

    Args:
        trunk: Maps images ``(n, 3, H, W)`` to a tuple of one tensor, which is pooled.
        linear: The layer after the pooling, ``C`` to classes; None where the features are one map per class.
        pooling: ``average`` or ``max``.
        layer: Name of the layer that is pooled.
        layout: Layout of that layer's output.
    """

    def __init__(
        self,
        trunk: nn.Module,
        linear: nn.Linear | None,
        pooling: Pooling,
        layer: str,
        layout: Layout,
    ) -> None:
        super().__init__(trunk, nn.Identity() if linear is None else linear, layer, layout)
        self.linear = linear
        self.pooling = pooling

    def features(self, images: Tensor) -> Tensor:
        """Return the features that are pooled, ``(n, C, h, w)``."""
        return self.forward_features(images)[0]

    def pool(self, features: Tensor) -> Tensor:
        """Return the input of the linear layer, ``(n, C)``."""
        return features.mean((2, 3)) if self.pooling == "average" else features.amax((2, 3))

    def forward_head(self, maps: Tensor, extras: tuple[Any, ...] = ()) -> Tensor:
        """Return the class scores of features, ``(n, classes)``."""
        logits: Tensor = self.head(self.pool(maps))
        return logits

    def run_interpreted(self, interpreter: Callable[[nn.Module], fx.Interpreter], images: Tensor) -> Tensor:
        """Return the class scores of images, with the trunk run by an interpreter."""
        self.count_pass(len(images))
        return self.forward_head(self.layout.to_maps(*interpreter(self.trunk).run(images))[0])


@dataclass(frozen=True)
class GlobalPooling:
    """The global pooling of a network, and the layer after it.

    Attributes:
        node: Node whose output is pooled.
        pooling: ``average`` or ``max``.
        linear: The layer after the pooling, if there is one.
        layout: Layout of the node's output.
    """

    node: fx.Node
    pooling: Pooling
    linear: nn.Linear | None
    layout: Layout

    def build_classifier(self, traced: TracedNetwork) -> GapClassifier:
        """Return the network, split at the pooling."""
        return GapClassifier(
            split_graph(traced, self.node)[0], self.linear, self.pooling, traced.names[self.node], self.layout
        )


def find_gap(network: nn.Module, name: str) -> GapClassifier:
    """Find the global pooling of a network and split the network there.

    Args:
        network: A network in evaluation mode; the classifier shares its tensors.
        name: Name of the network in messages.

    Raises:
        InputError: The network does not end in global pooling and at most one linear layer, or cannot be traced.
    """
    traced = trace(network, name)
    return find_global_pooling(traced).build_classifier(traced)


def find_global_pooling(traced: TracedNetwork) -> GlobalPooling:
    """Follow a network back from its output to its global pooling.

    The way leads through dropout and flattening and at most one linear layer or 1 x 1 convolution, to a pooling to
    1 x 1 (average or max), or to a mean over height and width, or over all tokens.

    Raises:
        InputError: The network does not end in global pooling and at most one linear layer.
    """
    node = _skip_reshaping(traced.graph.output_node().args[0], traced)
    linear = _as_linear(traced.module(node))
    if linear is not None:
        node = _skip_reshaping(node.args[0], traced)
    pooling: Pooling = "max" if _is_global_max(node, traced) else "average"
    layout = ChannelsFirst() if pooling == "max" else _find_averaged_layout(node, traced)
    if layout is None:
        raise InputError(
            f"{traced.name}: class activation maps need global average pooling and at most one linear layer at the "
            f"end; found {_describe(node, traced)}"
        )
    pooled: Any = node.args[0]
    return GlobalPooling(pooled, pooling, linear, layout)


def is_over_map(dims: Any) -> bool:
    """Return whether dimensions are height and width of ``(n, C, h, w)``."""
    return isinstance(dims, (list, tuple)) and {d % 4 for d in dims if isinstance(d, int)} == {2, 3}


def get_argument(node: fx.Node, name: str) -> Any:
    """Return the argument of a call after its input, by position or by name."""
    return node.args[1] if len(node.args) > 1 else node.kwargs.get(name)


_RESHAPING = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten)  # dropout does nothing in evaluation mode
_RESHAPING_CALLS = (torch.flatten, nn.functional.dropout, "flatten", "view", "reshape", "squeeze")


def _skip_reshaping(node: Any, traced: TracedNetwork) -> Any:
    """Return the node before all nodes that change at most the shape."""
    while isinstance(node, fx.Node) and (
        isinstance(traced.module(node), _RESHAPING) or node.target in _RESHAPING_CALLS
    ):
        node = node.args[0]
    return node


def _as_linear(module: nn.Module | None) -> nn.Linear | None:
    """Return a linear layer, or a 1 x 1 convolution as one that shares its tensors; None for any other layer."""
    if isinstance(module, nn.Linear):
        return module
    if (
        not isinstance(module, nn.Conv2d)
        or module.kernel_size != (1, 1)
        or module.groups != 1
        or module.padding != (0, 0)
    ):
        return None
    linear = nn.Linear(module.in_channels, module.out_channels, bias=module.bias is not None, device="meta")
    linear.weight = nn.Parameter(module.weight.detach().flatten(1))
    if module.bias is not None:
        linear.bias = nn.Parameter(module.bias.detach())
    return linear


def _is_global_max(node: Any, traced: TracedNetwork) -> bool:
    module = traced.module(node)
    return isinstance(module, nn.AdaptiveMaxPool2d) and module.output_size in (1, (1, 1))


def _find_averaged_layout(node: Any, traced: TracedNetwork) -> Layout | None:
    """Return the layout of a node's input if the node averages it over all places; None if it does not."""
    module = traced.module(node)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return ChannelsFirst() if module.output_size in (1, (1, 1)) else None
    target = getattr(node, "target", None)
    if target is nn.functional.adaptive_avg_pool2d:
        return ChannelsFirst() if get_argument(node, "output_size") in (1, (1, 1), [1, 1]) else None
    return _find_mean_layout(node, traced) if target in ("mean", torch.mean) else None


def _find_mean_layout(node: fx.Node, traced: TracedNetwork) -> Layout | None:
    dims = get_argument(node, "dim")
    if is_over_map(dims):
        return ChannelsFirst()
    if dims in ((1, 2), [1, 2]):
        return ChannelsLast()
    tokens = dims in (1, (1,), [1]) and len(traced.measure_shapes().get(node.all_input_nodes[0], ())) == 3
    return Tokens(0) if tokens else None


def _describe(node: Any, traced: TracedNetwork) -> str:
    module = traced.module(node)
    if module is not None and isinstance(node, fx.Node):
        return f"{type(module).__name__} ({node.target})"
    target = getattr(node, "target", None)
    return str(getattr(target, "__name__", target or "something other than one tensor"))
