"""Attention between the tokens of a vision transformer, recorded in a forward pass."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from wsol.errors import InputError
from wsol.methods._forward import Forward
from wsol.methods._memory import max_batch_size
from wsol.methods._tokens import Readout, find_class_token, find_readout
from wsol.models import Classifier
from wsol.models.graph import attention_kind


@dataclass(frozen=True)
class AttentionPass:
    """A forward pass that recorded all attention between the tokens.

    Attributes:
        logits: Class scores, ``(n, classes)``.
        layers: Attention of each layer, ``(n, heads, tokens, tokens)``; rows add up to 1.
        readout: The tokens, and which of them are classified.
    """

    logits: Tensor
    layers: list[Tensor]
    readout: Readout

    def to_maps(self, matrix: Tensor) -> Tensor:
        """Return the row of the class token as maps, or the mean row of all tokens that are classified.

        Args:
            matrix: ``(n, ..., tokens, tokens)``.

        Returns:
            ``(n, ..., h, w)``.
        """
        return self.readout.to_maps(matrix)


def record_attention(
    forward: Forward, classes: Tensor, gradients: bool = False, readout: Readout | None = None
) -> Iterator[tuple[AttentionPass, Tensor]]:
    """Run the images again and record all attention, as many at once as the memory budget allows.

    Args:
        forward: A forward pass with the network, the images and the memory budget.
        classes: int64 ``(n, k)``.
        gradients: Whether the logits can be differentiated with respect to the attention.
        readout: The tokens; those that are classified if None.

    Yields:
        The recorded pass of each chunk of images, and their classes.

    Raises:
        InputError: No layer lets all tokens attend to each other.
    """
    network, size = forward.network, max_batch_size(forward, gradients=True)
    readout = readout or find_readout(network, (forward.images.shape[2], forward.images.shape[3]))
    assert readout is not None  # see attention_unsupported_reason
    for images, chosen in zip(torch.split(forward.images, size), torch.split(classes, size), strict=True):
        recorded: list[Tensor] = []
        with torch.inference_mode(False), torch.set_grad_enabled(gradients):
            logits = network.run_interpreted(
                lambda part: AttentionRecorder(part, recorded, gradients),  # noqa: B023
                images,
            )
        square = (readout.tokens, readout.tokens)
        layers = [each for each in recorded if each.shape[-2:] == square and len(each) == len(images)]
        if not layers:
            raise InputError("no layer lets all tokens attend to each other; use another method")
        yield AttentionPass(logits, layers, readout), chosen


def attention_unsupported_reason(network: Classifier) -> str | None:
    """Return why methods of attention cannot be applied to a network, in one sentence; None if they can."""
    graphs = [part for part in (network.trunk, network.head) if isinstance(part, fx.GraphModule)]
    attends = any(attention_kind(node, graph) for graph in graphs for node in graph.graph.nodes)
    if attends and find_readout(network, network.size) is not None:
        return None
    if find_class_token(network, network.size) is not None:
        return "the class scores are not read from the tokens that attend to each other; use another method"
    return f"{network.layer} has no tokens that attend to each other; use a vision transformer or another method"


class AttentionRecorder(fx.Interpreter):
    """Interpreter that records every attention; gradients are tracked from the first one on."""

    def __init__(self, part: nn.Module, recorded: list[Tensor], gradients: bool) -> None:
        super().__init__(part)
        self.recorded, self.gradients = recorded, gradients

    def run_node(self, n: fx.Node) -> Any:
        kind = attention_kind(n, self.module)
        if kind is None:
            return super().run_node(n)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        if kind == "call":
            attention = self._record(compute_attention(*args, **kwargs))
            return attention @ args[2]
        if kind == "module":
            if not attends_to_itself(n):  # other tokens, such as those of a pooling by attention
                return super().run_node(n)
            return self._run_multihead(str(n.target), *args, **kwargs)
        return self._record(super().run_node(n))

    def _record(self, attention: Tensor) -> Tensor:
        if attention.dim() != 4:
            return attention
        if self.gradients and not attention.requires_grad:
            attention.requires_grad_()
        self.recorded.append(attention)
        return attention

    def _run_multihead(self, name: str, *args: Any, **kwargs: Any) -> tuple[Tensor, None]:
        """Compute ``nn.MultiheadAttention`` from its parts, since the module returns no attention with gradients."""
        module: Any = self.module.get_submodule(name)
        query, key, value = project_heads(module, name, *args, **kwargs)
        return join_heads(module, self._record(compute_attention(query, key, value)) @ value), None


def attends_to_itself(node: fx.Node) -> bool:
    """Return whether a node calls ``nn.MultiheadAttention`` with the same tensor as queries and keys."""
    given = {**dict(zip(("query", "key"), node.args, strict=False)), **node.kwargs}
    return given["query"] is given["key"]


def project_heads(
    module: Any, name: str, query: Tensor, key: Tensor, value: Tensor, need_weights: bool = True, **others: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of ``nn.MultiheadAttention``, ``(n, heads, tokens, d)``.

    Args:
        module: The module.
        name: Its name in messages.
        query: First argument of the module.
        key: Second argument.
        value: Third argument.
        need_weights: Ignored.
        others: Its other arguments.

    Raises:
        InputError: The attention has masks or added keys.
    """
    unusual = module.in_proj_weight is None or module.bias_k is not None or module.add_zero_attn
    if unusual or any(each is not None and each is not False for each in others.values()):
        raise InputError(f"the attention of {name} has masks or added keys; use another method")
    biases = (None, None, None) if module.in_proj_bias is None else module.in_proj_bias.chunk(3)
    if not module.batch_first:
        query, key, value = (each.transpose(0, 1) for each in (query, key, value))
    query, key, value = (
        functional.linear(each, w, b).reshape(*each.shape[:2], module.num_heads, -1).transpose(1, 2)
        for each, w, b in zip((query, key, value), module.in_proj_weight.chunk(3), biases, strict=True)
    )
    return query, key, value


def join_heads(module: Any, output: Tensor) -> Tensor:
    """Return the output of ``nn.MultiheadAttention`` from attention times values, ``(n, heads, tokens, d)``."""
    joined: Tensor = module.out_proj(output.transpose(1, 2).flatten(2))
    return joined if module.batch_first else joined.transpose(0, 1)


def compute_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **_: Any,
) -> Tensor:
    """Return the attention of ``scaled_dot_product_attention``; the arguments are the same."""
    scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(-1)
