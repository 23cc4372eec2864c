"""A network as a graph: traced once, split in two."""

import importlib
import inspect
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from wsol.errors import InputError, first_line
from wsol.models._shape_tracer import ShapeTracer
from wsol.models.pooling import ThresholdedAvgPool2d


class UntraceableError(InputError):
    """The structure of a network cannot be traced."""


@dataclass(frozen=True)
class TracedNetwork:
    """The graph of a network in evaluation mode.

    Attributes:
        network: The network whose tensors the graph uses.
        name: Name of the network in messages.
        graph: From images to logits, in the order of execution.
        names: Dotted name of every node, as in ``named_modules``; calls inside a module add ``.add`` and the like.
        has_shapes: Whether shapes were known in tracing, so that the graph holds for images of one size alone.
    """

    network: nn.Module
    name: str
    graph: fx.Graph
    names: dict[fx.Node, str]
    has_shapes: bool = False

    def module(self, node: Any) -> nn.Module | None:
        """Return the module that a node calls; None if it calls none."""
        if isinstance(node, fx.Node) and node.op == "call_module":
            return self.network.get_submodule(str(node.target))
        return None

    @property
    def output_node(self) -> fx.Node:
        """The node that returns the scores."""
        node: fx.Node = next(iter(reversed(self.graph.nodes)))  # fx.Graph.output_node needs torch 2.5
        return node

    def find_node(self, layer: str) -> fx.Node:
        """Return the node that computes the output of a layer.

        Raises:
            InputError: There is no layer of that name.
        """
        nodes = [node for node, name in self.names.items() if name == layer or name.startswith(f"{layer}.")]
        if not nodes:
            children = ", ".join(name for name, _ in self.network.named_children())
            raise InputError(
                f"{self.name} has no layer {layer}; its children are {children}, and layers inside them are named with "
                "a dot"
            )
        return nodes[-1]


def trace(network: nn.Module, name: str, side: int | None = None) -> TracedNetwork:
    """Trace a network symbolically.

    Args:
        network: A network in evaluation mode, so that parts for training alone are left out.
        name: Name of the network in messages.
        side: Side of the square images that it will run; networks of transformers, whose code looks at shapes, can only
            be traced for one. None for any.

    Raises:
        UntraceableError: The network cannot be traced.
    """
    tracer = _make_tracer(network, side)
    has_shapes = isinstance(tracer, ShapeTracer)
    caches = [(d, dict(d)) for m in network.modules() for k, d in vars(m).items() if type(d) is dict and k[0] != "_"]
    try:
        graph = tracer.trace(network, _default_arguments(network))
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        reason = first_line(error)
        raise UntraceableError(
            f"{name}: its structure cannot be traced ({reason}); write it without data-dependent control flow"
        ) from error
    finally:
        for cache, content in caches:  # networks that cache tensors must not keep the tracer's proxies
            cache.clear()
            cache.update(content)
    for extra in [node for node in graph.nodes if node.op == "placeholder"][1:]:
        _erase_with_users(graph, extra)
    # torchvision replaces a number at the end of a name by a counter; a module keeps the name that it has.
    names = {node: str(node.target) if node.op == "call_module" else n for node, n in tracer.node_to_qualname.items()}
    for node in graph.nodes:
        node.meta["layer"] = names.get(node, "")  # copies of the node keep its meta
    return TracedNetwork(network, name, graph, {node: names[node] for node in graph.nodes if node in names}, has_shapes)


def split_graph(traced: TracedNetwork, node: fx.Node) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Split a network into trunk and head after a node.

    Args:
        traced: The network.
        node: Last node of the trunk.

    Returns:
        The trunk, from images to one tuple of the node's output and whatever else the head needs; and the head, from
        those to the logits. They share their tensors with the network.
    """
    trunk, head = split_graph_at(traced, [node])
    return trunk, head


def split_graph_at(traced: TracedNetwork, cuts: Sequence[fx.Node]) -> list[fx.GraphModule]:
    """Split a network into consecutive parts.

    Args:
        traced: The network.
        cuts: The last node of each part but the last, in the order of execution.

    Returns:
        The parts. Each but the last returns one tuple: the output of its last node, and whatever else the nodes behind
        need; the next part takes these. They share their tensors with the network.
    """
    nodes = list(traced.graph.nodes)
    ends = [nodes.index(cut) + 1 for cut in cuts]
    parts: list[fx.GraphModule] = []
    live: list[fx.Node] = []
    for start, end in zip([0, *ends], [*ends, len(nodes)], strict=True):
        graph, inputs = fx.Graph(), {}
        for each in live:
            inputs[each] = graph.placeholder(each.name)
            inputs[each].meta = dict(each.meta)
        # No part overwrites its inputs.
        if live and any(is_in_place(each, traced.network) for each in nodes[start:end]):
            inputs = {each: graph.call_function(_clone, (value,)) for each, value in inputs.items()}
        if end < len(nodes):
            copies = _copy_nodes(nodes[start:end], graph, inputs)
            behind = set(nodes[end:])
            cut = nodes[end - 1]
            live = [cut] + [other for other in nodes[: end - 1] if behind & set(other.users)]
            graph.output(tuple(copies[each] for each in live))
        else:
            copies, result = _copy_nodes(nodes[start:-1], graph, inputs), nodes[-1].args[0]
            graph.output(copies[result] if isinstance(result, fx.Node) else fx.map_arg(result, copies.__getitem__))
        parts.append(_to_module(traced, graph))
    return parts


def attention_kind(node: fx.Node, graph: nn.Module) -> str | None:
    """Return how a node computes attention: in one call, as a module, or by a softmax; None if it does not."""
    if node.target is nn.functional.scaled_dot_product_attention:
        return "call"
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        if isinstance(module, nn.MultiheadAttention):
            return "module"
        return "softmax" if isinstance(module, nn.Softmax) else None
    return "softmax" if node.target in _SOFTMAX else None


_SOFTMAX = (nn.functional.softmax, torch.softmax, "softmax")


def _to_module(traced: TracedNetwork, graph: fx.Graph) -> fx.GraphModule:
    for node in reversed(list(graph.nodes)):
        if not node.users and node.op not in ("placeholder", "output") and not is_in_place(node, traced.network):
            graph.erase_node(node)
    module = fx.GraphModule(traced.network, graph)
    module.recompile()
    module.delete_all_unused_submodules()
    return module


def _clone(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _default_arguments(network: nn.Module) -> dict[str, Any]:
    """Return the default values of a network's arguments other than the images."""
    arguments = list(inspect.signature(network.forward).parameters.values())[1:]
    return {each.name: each.default for each in arguments if each.default is not each.empty}


def _erase_with_users(graph: fx.Graph, node: fx.Node) -> None:
    """Remove a node and the assertions about it."""
    for user in list(node.users):
        _erase_with_users(graph, user)
    graph.erase_node(node)


def _copy_nodes(nodes: Iterable[fx.Node], graph: fx.Graph, inputs: dict[fx.Node, fx.Node]) -> dict[fx.Node, fx.Node]:
    copies = dict(inputs)
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    return copies


def is_in_place(node: fx.Node, root: nn.Module) -> bool:
    """Return whether a node of a graph writes into one of its inputs; its modules are those of ``root``."""
    if node.op == "call_module":
        return bool(getattr(root.get_submodule(str(node.target)), "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    writes = (name.endswith("_") and not name.endswith("__")) or node.target is operator.setitem
    return writes or bool(node.kwargs.get("inplace")) or node.kwargs.get("out") is not None


def _make_tracer(network: nn.Module, side: int | None) -> Any:
    if side is None or not any(type(module).__module__.startswith("transformers.") for module in network.modules()):
        return NodePathTracer(**_leaf_options(network))
    return ShapeTracer(side, next(network.parameters()))


def _leaf_options(network: nn.Module) -> dict[str, Any]:
    """Return the tracer's options: one node for thresholded pooling, and for what timm marks as not traceable."""
    leaves: list[type[nn.Module]] = [ThresholdedAvgPool2d]
    if not any(type(module).__module__.startswith("timm.") for module in network.modules()):
        return {"leaf_modules": leaves}
    marks: Any = importlib.import_module("timm.models._features_fx")  # an optional package
    leaves += marks.get_notrace_modules()
    return {"leaf_modules": leaves, "autowrap_functions": tuple(marks.get_notrace_functions())}
