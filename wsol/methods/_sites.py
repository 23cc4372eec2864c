"""Attention in the graph of a vision transformer, and the nodes that its queries, keys and values come from."""

import operator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from wsol.errors import InputError
from wsol.models.graph import attention_kind


@dataclass(frozen=True, eq=False)
class Site:
    """Nodes of one attention outside ``nn.MultiheadAttention``.

    Attributes:
        output: Node of attention times values.
        softmax: Node of the attention; None where everything is computed in one call.
        paths: For queries, keys (transposed where there is a softmax) and values: the nodes from the linear layer that
            projects them to what enters the product.
    """

    output: fx.Node
    softmax: fx.Node | None
    paths: tuple[list[fx.Node], list[fx.Node], list[fx.Node]]

    @cached_property
    def nodes(self) -> set[fx.Node]:
        """All nodes whose results are needed."""
        return {node for path in self.paths for node in path}


def find_sites(part: fx.GraphModule) -> list[Site]:
    """Return all places of a graph that compute attention by one call, or by two matrix products around a softmax."""
    depends: set[fx.Node] = set()
    for node in part.graph.nodes:
        if node.op == "placeholder" or any(each in depends for each in node.all_input_nodes):
            depends.add(node)
    sites = []
    for node in part.graph.nodes:
        kind = attention_kind(node, part)
        inputs: list[fx.Node] | None = None
        output, softmax = node, None
        if kind == "call":
            given = {**dict(zip(("query", "key", "value"), node.args, strict=False)), **node.kwargs}
            inputs = [given[name] for name in ("query", "key", "value")]
        elif kind == "softmax":
            softmax = node
            product, after = _find_product(node, depends), _find_weighted_sum(node, part)
            if product is not None and after is not None:
                output = after
                inputs = [*product.args[:2], after.args[1]]  # type: ignore[list-item]  # _is_product has looked
        if inputs is not None:
            query, key, value = (_trace_back(each, part, depends) for each in inputs)
            sites.append(Site(output, softmax, (query, key, value)))
    return sites


def _is_product(node: fx.Node) -> bool:
    is_matmul = node.target in (operator.matmul, torch.matmul, torch.bmm, "matmul", "__matmul__")
    return is_matmul and len(node.args) == 2 and all(isinstance(each, fx.Node) for each in node.args)


def _find_product(node: fx.Node, depends: set[fx.Node]) -> fx.Node | None:
    """Return the product of queries and keys that a softmax is computed from; None if there is none."""
    while not _is_product(node):
        below = [each for each in node.all_input_nodes if each in depends]
        if not below:
            return None
        node = below[0]
    return node


def _find_weighted_sum(node: fx.Node, part: nn.Module) -> fx.Node | None:
    """Return the product of attention and values; None if something else is made of the attention."""
    while True:
        products = [user for user in node.users if _is_product(user) and user.args[0] is node]
        if products:
            return products[0]
        passed = [user for user in node.users if _keeps_values(user, part)]
        if not passed:
            return None
        node = passed[0]


def _keeps_values(node: fx.Node, part: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(part.get_submodule(str(node.target)), (nn.Dropout, nn.Identity))
    return node.target is functional.dropout or _get_name(node) in _MOVES | _NEUTRAL


def _trace_back(node: fx.Node, part: nn.Module, depends: set[fx.Node]) -> list[fx.Node]:
    """Return the nodes from the closest linear layer, or an input of the graph, to a node."""
    path = [node]
    while not _is_linear(path[-1], part):
        below = [each for each in path[-1].all_input_nodes if each in depends]
        if not below:
            break
        path.append(below[0])
    return path[::-1]


def _is_linear(node: fx.Node, part: nn.Module) -> bool:
    if node.op == "call_module":
        return isinstance(part.get_submodule(str(node.target)), nn.Linear)
    return node.target is functional.linear


def find_projected(name: str, path: list[tuple[fx.Node, Any]], given: Tensor) -> Tensor:
    """Return queries, keys or values as they were projected, ``(n, heads, tokens, d)``.

    Args:
        name: Name of the attention in messages.
        path: Nodes and their results, from the linear layer to what enters the product.
        given: What enters the product, ``(n, heads, tokens, d)``.

    Raises:
        InputError: They cannot be told from the rest of the layer's output.
    """
    tokens, width = given.shape[2:]
    tensors = [(node, each) for node, each in path if isinstance(each, Tensor)]
    if len(tensors) > 1 and given.shape == tensors[-2][1].shape and _is_move(tensors[-1][0]):
        tensors.pop()  # the transposition of keys for the product
    # The first that holds no more than the queries alone, then what only rearranges it.
    start = next((i for i, (_, each) in enumerate(tensors) if each.numel() <= given.numel()), len(tensors))
    end = start + 1
    while end < len(tensors) and _is_move(tensors[end][0]) and tensors[end][1].numel() == tensors[start][1].numel():
        end += 1
    if start < len(tensors):
        heads = tensors[end - 1][1]
        rest = [node for node, _ in tensors[end:]]
        if heads.dim() == 4 and not any(_is_move(node) for node in rest):
            if heads.shape[2:] == (tokens, width):
                return heads
            if end == len(tensors):  # keys that are made transposed
                return given
        elif heads.dim() in (3, 4) and heads.shape[1] == tokens and heads[0, 0].numel() % width == 0:
            return heads.reshape(len(heads), tokens, -1, width).transpose(1, 2)
    raise InputError(f"queries, keys and values of {name} cannot be told apart; use another method")


_MOVES = frozenset(("flatten", "unflatten", "view", "reshape", "permute", "transpose", "swapaxes", "movedim", "mT"))
_NEUTRAL = frozenset(("contiguous", "clone", "to", "type_as", "float"))


def _is_move(node: fx.Node) -> bool:
    return node.op in ("call_function", "call_method") and _get_name(node) in _MOVES


def _get_name(node: fx.Node) -> str:
    if node.target is getattr:
        return str(node.args[1])
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
