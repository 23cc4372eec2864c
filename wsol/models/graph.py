"""A network as a graph: traced once, measured, cut in two."""

import importlib
import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torchvision.models.feature_extraction import NodePathTracer

from wsol.errors import InputError, first_line

_SIDE = 224  # sizes are those of an image of this side


@dataclass(frozen=True)
class TracedNetwork:
    """The graph of a network in evaluation mode.

    Attributes:
        network: Whose tensors the graph uses.
        name: What to call it in messages.
        graph: From images to logits, in the order of execution.
        names: Dotted name of every node, as ``named_modules`` has it; ``.add`` and the like behind a module's name.
    """

    network: nn.Module
    name: str
    graph: fx.Graph
    names: dict[fx.Node, str]

    def module(self, node: Any) -> nn.Module | None:
        """Return the module that a node calls; None if it calls none."""
        if isinstance(node, fx.Node) and node.op == "call_module":
            return self.network.get_submodule(str(node.target))
        return None

    def at(self, layer: str) -> fx.Node:
        """Return the node that gives the output of a layer.

        Raises:
            InputError: There is none of that name.
        """
        within = [node for node, name in self.names.items() if name == layer or name.startswith(f"{layer}.")]
        if not within:
            known = ", ".join(name for name, _ in self.network.named_children())
            raise InputError(f"{self.name} has no layer {layer}; its parts are {known}, and theirs by a dot")
        return within[-1]

    def shapes(self) -> dict[fx.Node, tuple[int, ...]]:
        """Return the shape of every tensor on the way of one 224 x 224 image.

        Raises:
            InputError: The network does not take such an image.
        """
        whole = fx.GraphModule(self.network, self.graph)
        tensor = next(iter(self.network.parameters()), torch.empty(0))
        try:
            with torch.no_grad():
                measuring = _Measuring(whole)
                measuring.run(torch.zeros(1, 3, _SIDE, _SIDE, device=tensor.device, dtype=tensor.dtype))
        except Exception as error:  # the network's own code may raise anything
            reason = re.sub(r" \(Proxy\([^)]*\)\)", "", first_line(error))  # what an assertion saw while it was traced
            raise InputError(f"{self.name} does not take images of {_SIDE} x {_SIDE} ({reason})") from error
        return measuring.shapes


def trace(network: nn.Module, name: str) -> TracedNetwork:
    """Trace a network symbolically.

    Args:
        network: In evaluation mode, as parts that only training uses are left out.
        name: What to call it in messages.

    Raises:
        InputError: It cannot be traced.
    """
    tracer = NodePathTracer(**_kept_whole(network))
    caches = [(d, dict(d)) for m in network.modules() for k, d in vars(m).items() if type(d) is dict and k[0] != "_"]
    try:
        graph = tracer.trace(network, _defaults(network))
    except Exception as error:  # tracing runs the network's own code, which may raise anything
        reason = first_line(error)
        raise InputError(
            f"{name}: its structure cannot be traced ({reason}); write it without data-dependent control flow"
        ) from error
    finally:
        for cache, content in caches:  # some networks would find what was traced in them
            cache.clear()
            cache.update(content)
    for extra in [node for node in graph.nodes if node.op == "placeholder"][1:]:
        _erase(graph, extra)
    # torchvision takes a number off the end of a name and counts anew; a module has the name that it has.
    names = {node: str(node.target) if node.op == "call_module" else n for node, n in tracer.node_to_qualname.items()}
    return TracedNetwork(network, name, graph, {node: names[node] for node in graph.nodes if node in names})


def split_graph(traced: TracedNetwork, node: fx.Node) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Cut a network in two behind a node.

    Args:
        traced: The network.
        node: The last one of the lower part.

    Returns:
        The lower part, from images to the node's output and whatever else goes past it, as one tuple; and the upper
        part, from those to the logits. They share their tensors with the network.
    """
    nodes = list(traced.graph.nodes)
    lower, upper = nodes[: nodes.index(node) + 1], nodes[nodes.index(node) + 1 :]
    beyond = set(upper)
    live = [node] + [other for other in lower if other is not node and beyond & set(other.users)]

    below = fx.Graph()
    copies = _copied(lower, below, {})
    below.output(tuple(copies[each] for each in live))

    above = fx.Graph()
    given = {each: above.placeholder(each.name) for each in live}
    for each, value in given.items():
        value.meta = dict(each.meta)
    if any(_in_place(each, traced) for each in upper):  # what is handed in stays as it is
        given = {each: above.call_function(_own, (value,)) for each, value in given.items()}
    copies = _copied(upper[:-1], above, given)
    result = upper[-1].args[0]
    above.output(copies[result] if isinstance(result, fx.Node) else fx.map_arg(result, copies.__getitem__))
    return _part(traced, below), _part(traced, above)


def attention_kind(node: fx.Node, graph: nn.Module) -> str | None:
    """Return how a node makes attention: in one call, as a module, or by a softmax of its own; None if it does not."""
    if node.target is nn.functional.scaled_dot_product_attention:
        return "call"
    if node.op == "call_module":
        module = graph.get_submodule(str(node.target))
        if isinstance(module, nn.MultiheadAttention):
            return "module"
        return "softmax" if isinstance(module, nn.Softmax) else None
    return "softmax" if node.target in _SOFTMAX else None


_SOFTMAX = (nn.functional.softmax, torch.softmax, "softmax")


def _part(traced: TracedNetwork, graph: fx.Graph) -> fx.GraphModule:
    part = fx.GraphModule(traced.network, graph)
    part.graph.eliminate_dead_code()
    part.recompile()
    part.delete_all_unused_submodules()
    return part


def _own(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _defaults(network: nn.Module) -> dict[str, Any]:
    """Return the arguments of a network beside the images, as they are if nobody gives them."""
    arguments = list(inspect.signature(network.forward).parameters.values())[1:]
    return {each.name: each.default for each in arguments if each.default is not each.empty}


def _erase(graph: fx.Graph, node: fx.Node) -> None:
    """Take a node out, and the assertions about it."""
    for user in list(node.users):
        _erase(graph, user)
    graph.erase_node(node)


def _copied(nodes: Iterable[fx.Node], graph: fx.Graph, known: dict[fx.Node, fx.Node]) -> dict[fx.Node, fx.Node]:
    copies = dict(known)
    for node in nodes:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    return copies


def _in_place(node: fx.Node, traced: TracedNetwork) -> bool:
    if node.op == "call_module":
        return bool(getattr(traced.module(node), "inplace", False))
    named = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return bool(node.kwargs.get("inplace")) or (named.endswith("_") and not named.endswith("__"))


class _Measuring(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = n.meta["shape"] = tuple(result.shape)  # a part that is cut off takes it along
        return result


def _kept_whole(network: nn.Module) -> dict[str, Any]:
    """Return the parts of timm's networks that timm itself marks as not to be looked into."""
    if not any(type(module).__module__.startswith("timm.") for module in network.modules()):
        return {}
    marks: Any = importlib.import_module("timm.models._features_fx")  # an optional package
    return {"leaf_modules": marks.get_notrace_modules(), "autowrap_functions": tuple(marks.get_notrace_functions())}
