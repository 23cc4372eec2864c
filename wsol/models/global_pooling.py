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

    With features ``F`` the logits are ``W mean(F) + b``, or ``mean(F)`` where the network's last convolution gives one
    map a class and nothing follows the pooling. Global max pooling takes the maximum in place of the mean (GMP, Oquab
    et al., "Is object localization for free?", CVPR 2015).

    Args:
        below: Images ``(n, 3, H, W)`` to a tuple of one, what is pooled.
        linear: The layer after the pooling, ``C`` to classes; None where the features are the class maps.
        pooling: ``average`` or ``max``.
        layer: Name of the layer that is pooled.
        layout: How its output becomes maps.
    """

    def __init__(
        self,
        below: nn.Module,
        linear: nn.Linear | None,
        pooling: Pooling,
        layer: str,
        layout: Layout,
    ) -> None:
        super().__init__(below, nn.Identity() if linear is None else linear, layer, layout)
        self.linear = linear
        self.pooling = pooling

    def features(self, images: Tensor) -> Tensor:
        """Return what is pooled, ``(n, C, h, w)``."""
        return self.forward_features(images)[0]

    def pooled(self, features: Tensor) -> Tensor:
        """Return what the linear layer takes, ``(n, C)``."""
        return features.mean((2, 3)) if self.pooling == "average" else features.amax((2, 3))

    def forward_head(self, maps: Tensor, past: tuple[Any, ...] = ()) -> Tensor:
        """Return the class scores of features, ``(n, classes)``."""
        logits: Tensor = self.head(self.pooled(maps))
        return logits

    def run_interpreted(self, interpreter: Callable[[nn.Module], fx.Interpreter], images: Tensor) -> Tensor:
        """Return the class scores of images, what is below the pooling run by an interpreter."""
        self.count_pass(len(images))
        return self.forward_head(self.layout.maps(*interpreter(self.trunk).run(images))[0])


@dataclass(frozen=True)
class GlobalPooling:
    """Where a network pools globally, and how it ends.

    Attributes:
        node: Gives what is pooled.
        pooling: ``average`` or ``max``.
        linear: The layer after the pooling, if there is one.
        layout: How the node's output becomes maps.
    """

    node: fx.Node
    pooling: Pooling
    linear: nn.Linear | None
    layout: Layout

    def classifier(self, traced: TracedNetwork) -> GapClassifier:
        """Return the network, cut there."""
        return GapClassifier(
            split_graph(traced, self.node)[0], self.linear, self.pooling, traced.names[self.node], self.layout
        )


def find_gap(network: nn.Module, name: str) -> GapClassifier:
    """Find the global pooling of a network and splits the network there.

    Args:
        network: In evaluation mode; the parts share their tensors with it.
        name: What to call it in messages.

    Raises:
        InputError: It does not end in global pooling and at most one linear layer, or cannot be traced.
    """
    traced = trace(network, name)
    return find_global_pooling(traced).classifier(traced)


def find_global_pooling(traced: TracedNetwork) -> GlobalPooling:
    """Follow a network back from its output to its global pooling.

    That is, through dropout and flattening, at most one linear layer or 1 x 1 convolution, to a pooling to 1 x 1
    (average or max) or a mean over height and width, or over all tokens.

    Raises:
        InputError: It does not end in global pooling and at most one linear layer.
    """
    node = _behind(traced.graph.output_node().args[0], traced)
    linear = _linear(traced.module(node))
    if linear is not None:
        node = _behind(node.args[0], traced)
    pooling: Pooling = "max" if _is_global_max(node, traced) else "average"
    layout = ChannelsFirst() if pooling == "max" else _averaged(node, traced)
    if layout is None:
        raise InputError(
            f"{traced.name}: class activation maps need global average pooling and at most one linear layer at the "
            f"end; there stands {_describe(node, traced)}"
        )
    pooled: Any = node.args[0]
    return GlobalPooling(pooled, pooling, linear, layout)


_PASSING = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.Flatten)
_PASSING_CALLS = (torch.flatten, nn.functional.dropout, "flatten", "view", "reshape", "squeeze")


def _linear(module: nn.Module | None) -> nn.Linear | None:
    """Return a layer that is linear on a pooled vector as a linear layer; a 1 x 1 convolution lends it its tensors."""
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


def _behind(node: Any, traced: TracedNetwork) -> Any:
    """Return what feeds a node, past everything that changes shape at most (dropout rests in evaluation mode)."""
    while isinstance(node, fx.Node) and (isinstance(traced.module(node), _PASSING) or node.target in _PASSING_CALLS):
        node = node.args[0]
    return node


def _is_global_max(node: Any, traced: TracedNetwork) -> bool:
    module = traced.module(node)
    return isinstance(module, nn.AdaptiveMaxPool2d) and module.output_size in (1, (1, 1))


def _averaged(node: Any, traced: TracedNetwork) -> Layout | None:
    """Return the layout of what a node averages over every place; None if it does not."""
    module = traced.module(node)
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return ChannelsFirst() if module.output_size in (1, (1, 1)) else None
    target = getattr(node, "target", None)
    if target is nn.functional.adaptive_avg_pool2d:
        return ChannelsFirst() if get_argument(node, "output_size") in (1, (1, 1), [1, 1]) else None
    return _averaged_over(node, traced) if target in ("mean", torch.mean) else None


def _averaged_over(node: fx.Node, traced: TracedNetwork) -> Layout | None:
    dims = get_argument(node, "dim")
    if is_over_map(dims):
        return ChannelsFirst()
    if dims in ((1, 2), [1, 2]):
        return ChannelsLast()
    tokens = dims in (1, (1,), [1]) and len(traced.shapes().get(node.all_input_nodes[0], ())) == 3
    return Tokens(0) if tokens else None


def is_over_map(dims: Any) -> bool:
    """Return whether dimensions are height and width of ``(n, C, h, w)``."""
    return isinstance(dims, (list, tuple)) and {d % 4 for d in dims if isinstance(d, int)} == {2, 3}


def get_argument(node: fx.Node, name: str) -> Any:
    """Return what a call gets beside its input, by position or by name."""
    return node.args[1] if len(node.args) > 1 else node.kwargs.get(name)


def _describe(node: Any, traced: TracedNetwork) -> str:
    module = traced.module(node)
    if module is not None and isinstance(node, fx.Node):
        return f"{type(module).__name__} ({node.target})"
    target = getattr(node, "target", None)
    return str(getattr(target, "__name__", target or "something other than one tensor"))
