"""Search for the target layer, whose feature maps the methods use."""

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
    """Split a network at its target layer.

    The target layer is the one that the network pools globally before one linear layer. If the network ends in another
    way, it is the last layer with feature maps: the input of the pooling after the last convolution; or, where a class
    token is classified, the input of the last attention, because patches of later layers do not reach the scores.

    Args:
        network: A network in evaluation mode; the classifier shares its tensors.
        name: Name of the network in messages.
        layer: Dotted name of the target layer, as in ``named_modules``; None to find it.

    Raises:
        InputError: The network cannot be traced, there is no such layer, or the layer's output has no feature maps.
    """
    traced = trace(network, name)
    node = traced.find_node(layer) if layer else None
    shapes = traced.measure_shapes()
    result: Any = traced.graph.output_node().args[0]
    if len(output := shapes.get(result, ()) if isinstance(result, fx.Node) else ()) != 2:
        shape = " x ".join(map(str, output)) or "something other than one tensor"
        raise InputError(f"{name} returns {shape} for an image, not a row of class scores")
    pooling, reason = None, None
    try:
        pooling = find_global_pooling(traced)
        if find_layout(shapes[pooling.node]) is None:
            pooling, reason = None, f"{name}: for a 224 x 224 image its global pooling has only one pixel to pool"
    except InputError as error:
        reason = str(error)
    if pooling is not None and node in (None, pooling.node):
        return pooling.build_classifier(traced).eval()
    node = node or _find_last_map(traced, shapes)
    layout = find_layout(shapes.get(node, ()))
    if layout is None:
        shape = " x ".join(map(str, shapes.get(node, ()))) or "no tensor"
        raise InputError(f"{name}: the output of {layer} is {shape}, not feature maps or patches; name another layer")
    if pooling is not None:
        reason = f"{name}: {traced.names[node]} is not the layer that is pooled ({traced.names[pooling.node]})"
    return Classifier(*split_graph(traced, node), layer or traced.names[node], layout, reason).eval()


def _find_last_map(traced: TracedNetwork, shapes: Shapes) -> fx.Node:
    from_image: set[fx.Node] = set()  # depends on the image; parameters may have the shape of maps
    for node in traced.graph.nodes:
        if node.op == "placeholder" or from_image & set(node.all_input_nodes):
            from_image.add(node)
    to_scores = {traced.graph.output_node()}  # the scores depend on it
    for node in reversed(traced.graph.nodes):
        if node in to_scores:
            to_scores.update(node.all_input_nodes)
    maps = [node for node in from_image & to_scores if node.op != "placeholder" and find_layout(shapes.get(node, ()))]
    if not maps:
        raise InputError(f"{traced.name}: no layer outputs feature maps; name one")
    order = {node: i for i, node in enumerate(traced.graph.nodes)}
    node = max(maps, key=order.__getitem__)
    readers = [user for user in node.users if user in to_scores and user.target is operator.getitem]
    if isinstance(find_layout(shapes[node]), Tokens) and any(find_layout(shapes.get(r, ())) is None for r in readers):
        node = _find_attention_input(traced, shapes, node)
    while _is_pooling(node, traced):
        node = node.all_input_nodes[0]
    return node


def _find_attention_input(traced: TracedNetwork, shapes: Shapes, node: fx.Node) -> fx.Node:
    """Return the tokens that the last attention's first projection takes; the node itself if there are none."""
    attention = [n for n in traced.graph.nodes if attention_kind(n, traced.network) is not None]
    if not attention:
        return node
    walker: fx.Node = attention[-1]
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


def _is_pooling(node: Any, traced: TracedNetwork) -> bool:
    """Return whether a node pools, or does nothing in evaluation mode."""
    return isinstance(traced.module(node), (*_POOLS, nn.Dropout, nn.Identity)) or node.target in _POOL_CALLS
