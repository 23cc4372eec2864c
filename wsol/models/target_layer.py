"""The target layer: the one whose maps are looked at."""

import operator
from typing import Any

import torch
from torch import fx, nn

from wsol.errors import InputError
from wsol.models.classifier import Classifier, Tokens, find_layout
from wsol.models.global_pooling import find_global_pooling
from wsol.models.graph import TracedNetwork, attention_kind, split_graph, trace

Shapes = dict[fx.Node, tuple[int, ...]]


def find_classifier(network: nn.Module, name: str, layer: str | None = None) -> Classifier:
    """Cut a network at its target layer.

    That is what the network pools globally before one linear layer. Where it does not end so, the last layer that has
    maps: what goes into the pooling behind the last convolution; or, where a class token is read, what goes into the
    last attention, as no other patch of a later layer reaches the scores.

    Args:
        network: In evaluation mode; the parts share their tensors with it.
        name: What to call it in messages.
        layer: Dotted name of the target layer, as ``named_modules`` has it; None to find it.

    Raises:
        InputError: The network cannot be traced, there is no such layer, or the layer's output is no map.
    """
    traced = trace(network, name)
    node = traced.at(layer) if layer else None
    shapes = traced.shapes()
    result: Any = traced.graph.output_node().args[0]
    if len(given := shapes.get(result, ()) if isinstance(result, fx.Node) else ()) != 2:
        shape = " x ".join(map(str, given)) or "something other than one tensor"
        raise InputError(f"{name} gives {shape} for an image, not a row of class scores")
    pooled, obstacle = None, None
    try:
        pooled = find_global_pooling(traced)
        if find_layout(shapes[pooled.node]) is None:
            pooled, obstacle = None, f"{name}: at 224 x 224 nothing is left to pool where it pools"
    except InputError as error:
        obstacle = str(error)
    if pooled is not None and node in (None, pooled.node):
        return pooled.classifier(traced).eval()
    node = node or _last_map(traced, shapes)
    layout = find_layout(shapes.get(node, ()))
    if layout is None:
        shape = " x ".join(map(str, shapes.get(node, ()))) or "no tensor"
        raise InputError(
            f"{name}: the output of {layer} is {shape}, not maps or patches of an image; name another layer"
        )
    if pooled is not None:
        obstacle = f"{name}: {traced.names[node]} is not the layer that is pooled ({traced.names[pooled.node]})"
    return Classifier(*split_graph(traced, node), layer or traced.names[node], layout, obstacle).eval()


def _last_map(traced: TracedNetwork, shapes: Shapes) -> fx.Node:
    after: set[fx.Node] = set()  # what depends on the image; parameters may have the shape of maps
    for node in traced.graph.nodes:
        if node.op == "placeholder" or after & set(node.all_input_nodes):
            after.add(node)
    before = {traced.graph.output_node()}  # what the scores depend on
    for node in reversed(traced.graph.nodes):
        if node in before:
            before.update(node.all_input_nodes)
    maps = [node for node in after & before if node.op != "placeholder" and find_layout(shapes.get(node, ()))]
    if not maps:
        raise InputError(f"{traced.name}: no layer has maps of an image; name one")
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    node = max(maps, key=order.__getitem__)
    reading = [user for user in node.users if user in before and user.target is operator.getitem]
    if isinstance(find_layout(shapes[node]), Tokens) and any(find_layout(shapes.get(r, ())) is None for r in reading):
        node = _before_attention(traced, shapes, node)
    while _pools(node, traced):
        node = node.all_input_nodes[0]
    return node


def _before_attention(traced: TracedNetwork, shapes: Shapes, node: fx.Node) -> fx.Node:
    """Return the tokens that the last attention's first projection takes; the node itself if there are none."""
    attending = [n for n in traced.graph.nodes if attention_kind(n, traced.network) is not None]
    if not attending:
        return node
    walker: fx.Node = attending[-1]
    projected = False
    while walker.all_input_nodes:
        module = traced.module(walker)
        projected |= isinstance(module, (nn.Linear, nn.MultiheadAttention)) or walker.target is nn.functional.linear
        walker = walker.all_input_nodes[0]
        if projected and isinstance(find_layout(shapes.get(walker, ())), Tokens):
            return walker
    return node


_POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)
_POOL_CALLS = (nn.functional.max_pool2d, nn.functional.avg_pool2d, nn.functional.adaptive_avg_pool2d, torch.max_pool2d)


def _pools(node: Any, traced: TracedNetwork) -> bool:
    return isinstance(traced.module(node), (*_POOLS, nn.Dropout, nn.Identity)) or node.target in _POOL_CALLS
