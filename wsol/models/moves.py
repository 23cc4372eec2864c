"""Nodes of a graph that only rearrange, slice or pool feature maps."""

import math
from collections.abc import Callable
from typing import Any

from torch import fx, nn
from torchvision.ops import Permute

from wsol.models.graph import TracedNetwork
from wsol.models.layout import Layout
from wsol.models.measure import Measurement


def skip_moves(traced: TracedNetwork, measurement: Measurement, node: fx.Node) -> fx.Node:
    """Return the node that computed the maps of a node, before any that only rearrange them."""
    while _is_move(node, traced):
        (below, *_) = node.all_input_nodes
        one, other = measurement.layout(node), measurement.layout(below)
        if one is None or other is None or one.grid != other.grid or below.op == "placeholder":
            break
        if math.prod(measurement.shape(below)) != math.prod(measurement.shape(node)):
            break
        node = below
    return node


def skip_slices(node: fx.Node, find_layout: Callable[[fx.Node], Layout | None]) -> fx.Node:
    """Return the node that computed the tokens of a node, before any that only take a part of them."""
    layout = find_layout(node)
    while layout is not None and node.all_input_nodes and _is_slice(node):
        below = node.all_input_nodes[0]
        if find_layout(below) is None and _is_slice(below) and below.all_input_nodes:  # a split returns several tensors
            below = below.all_input_nodes[0]
        whole = find_layout(below)
        if whole is None or whole.grid != layout.grid:
            break
        node = below
    return node


_SLICES = frozenset(
    ("getitem", "narrow", "select", "split", "chunk", "unbind", "tensor_split", "index_select", "contiguous", "clone")
)


def _is_slice(node: fx.Node) -> bool:
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in ("call_function", "call_method") and name in _SLICES


_MOVES = (nn.Flatten, nn.Unflatten, nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, Permute)
_MOVE_CALLS = frozenset(
    ("flatten", "unflatten", "view", "reshape", "permute", "transpose", "swapaxes", "movedim", "contiguous", "dropout")
)


def _is_move(node: fx.Node, traced: TracedNetwork) -> bool:
    if node.op == "call_module":
        return isinstance(traced.module(node), _MOVES)
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return node.op in ("call_function", "call_method") and name in _MOVE_CALLS


_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_POOL_CALLS = frozenset(("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d"))


def is_pooling(node: Any, traced: TracedNetwork) -> bool:
    """Return whether a node pools, or only rearranges its input."""
    if isinstance(traced.module(node), _POOLS) or _is_move(node, traced):
        return True
    return node.op == "call_function" and getattr(node.target, "__name__", "") in _POOL_CALLS
